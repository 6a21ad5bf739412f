"""What a contrastive biased model finds alike, while it learns."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from longcut import nets
from longcut.bias import ContrastiveBias
from longcut.context import calling
from longcut.data import Dataset, Splits, generator, subsample
from longcut.errors import UserError, unknown
from longcut.fit import fit
from longcut.methods.base import adam, require_attribute
from longcut.methods.mixing.likeness import WIDTH, BiasAlone
from longcut.predict import predict
from longcut.spec import validate
from longcut.training import Training

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["pair_cosines", "similarity_traces"]

# by 2 * (same label) + (same attribute)
KINDS = ("negatives", "contradicting_negatives", "contradicting_positives", "positives")


def pair_cosines(z: Tensor, label: Tensor, attribute: Tensor) -> dict[str, float]:
    """The mean cosine of each of the four kinds of pairs of different samples.

    The kinds do not overlap: ``positives`` share label and attribute, ``contradicting_positives`` the label alone,
    ``contradicting_negatives`` the attribute alone, ``negatives`` neither.

    Args:
        z: embeddings ``(n, d)`` of any length.
        label: ``(n,)``.
        attribute: ``(n,)``; samples of -1 are in no pair.

    Returns:
        Means in [-1, 1] by kind; every pair counts once, and a kind without pairs is ``nan``.

    >>> z = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 0.0]])
    >>> pair_cosines(z, torch.tensor([0, 0, 1]), torch.tensor([0, 1, 0]))["contradicting_negatives"]
    1.0
    """
    known = attribute >= 0
    z, label, attribute = z[known], label[known], attribute[known]
    one, other = torch.triu_indices(len(z), len(z), 1, device=z.device)
    z = F.normalize(z.double(), dim=1)
    kind = 2 * (label[one] == label[other]).long() + (attribute[one] == attribute[other])
    total = z.new_zeros(len(KINDS)).index_add_(0, kind, (z @ z.T)[one, other])
    return dict(zip(KINDS, (total / torch.bincount(kind, minlength=len(KINDS))).tolist(), strict=True))


def similarity_traces(
    data: Dataset,
    *,
    contrast: Literal["gsc", "sc"] = "gsc",
    net: str = "tiny",
    epochs: int = 20,
    batch: int = 256,
    lr: float = 0.001,
    temperature: float = 0.2,
    q: float = 0.7,
    scale: Literal["paper", "code"] = "paper",
    seed: int = 0,
    sample: int = 2000,
    device: torch.device | str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> pd.DataFrame:
    """How alike SelecMix's biased model finds the four kinds of pairs, before training and after each epoch.

    The biased model is trained alone. In SelecMix it shares no parameter with the main network and never sees a
    mixture, so it learns the same with it and without, up to what is drawn at random.

    Args:
        data: training samples with labels and attribute.
        contrast: its loss, generalized (``"gsc"``) or plain supervised contrastive (``"sc"``).
        net: spec of its network.
        epochs: passes over the data.
        batch: samples per update.
        lr: learning rate of Adam; the weight decay is 1e-4, as SelecMix trains it.
        temperature: of the loss.
        q: amplification, for ``"gsc"``.
        scale: weights ``p^q`` (``"paper"``) or ``q p^q`` (``"code"``), for ``"gsc"``.
        seed: of initial weights, order and the samples that are looked at.
        sample: how many training samples are looked at, the same ones at every epoch; all where there are fewer.
        device: where to compute.
        progress: called with the number of epochs done and their total.

    Returns:
        A row per epoch, from 0 (untrained): ``epoch`` and the means of :func:`pair_cosines`. Samples are embedded in
        evaluation mode, which leaves the model as it was.

    Raises:
        UserError: when the attribute is not known, or a setting is not allowed.

    Source: Hwang et al., NeurIPS 2022, Figure 2.

    >>> from longcut.datasets import load
    >>> list(similarity_traces(load("colored-digits").train, epochs=1)["epoch"])
    [0, 1]
    """
    import pandas as pd

    require_attribute("a trace of similarities", data.info.name, bool(data.known.any()))
    if contrast not in ("gsc", "sc"):
        raise unknown("contrast", contrast, ("gsc", "sc"))
    if sample < 2:
        raise UserError(f"a trace of similarities got sample={sample}; give at least 2 samples, which make a pair.")
    settings = {"epochs": epochs, "batch": batch, "lr": lr, "weight_decay": 1e-4, "every": epochs}
    training = Training(**validate("a trace of similarities", Training, settings))
    with torch.random.fork_rng(devices=[]):  # initial weights, as longcut.methods.build draws them
        torch.default_generator.manual_seed(generator(seed, 4).initial_seed())
        looker = nets.build(net, data.info, WIDTH)
    bias = ContrastiveBias(looker, data.info, WIDTH, loss=contrast, temperature=temperature, q=q, scale=scale)
    bias.to(device)
    method = BiasAlone(bias, data.info, lambda training: [adam(bias.parameters(), training)])
    known = data if data.known.all() else data.take(data.known)
    seen = subsample(known, min(sample, len(known)), generator(seed, 47))
    rows: list[dict[str, float]] = []

    def look(epoch: int) -> None:
        rows.append({"epoch": epoch, **_look(bias, seen, device)})
        if progress:
            progress(epoch, epochs)

    watch = calling(on_start=lambda *_: look(0), on_epoch=lambda epoch: look(epoch.epoch))
    fit(method, Splits(data, None, seen), training, seed=seed, device=device, observers=[watch])
    return pd.DataFrame(rows, columns=["epoch", *reversed(KINDS)])


def _look(bias: ContrastiveBias, data: Dataset, device: torch.device | str) -> dict[str, float]:
    """The means of the four kinds of pairs as the model sees them in evaluation mode."""
    assert data.attribute is not None
    return pair_cosines(predict(bias.embed, data, device), data.label, data.attribute)
