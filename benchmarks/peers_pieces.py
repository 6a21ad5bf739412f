"""Pieces that packages of an index have too, on the same tensors: a mixed batch, a loss, a metric, a training.

Each package is a function that yields :class:`Piece`; it imports the package, and what does not import is for the
caller to tell.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, library, nn
from torch.nn import functional as F

from longcut import contrast, mixing, nets
from longcut.data import Batch, Dataset, Splits, generator
from longcut.evaluate import metrics, sample_values
from longcut.evaluate.outputs import Outputs
from longcut.fit import Training, fit
from longcut.methods import build
from longcut.predict import predict

CLASSES = 10
Work = Callable[[], Any]


@dataclass(frozen=True)
class Piece:
    """One thing that both can do.

    Attributes:
        what: it is.
        ours, theirs: do it once.
        gap: the largest difference between what both say, where they should agree; None where nothing is comparable.
        about: what the difference is of.
    """

    what: str
    ours: Work
    theirs: Work
    gap: Callable[[], float] | None = None
    about: str = ""


# --- mixing -----------------------------------------------------------------------------------------------------------

Mixes = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]  # images and labels to mixed ones, and (n, C) soft labels


def shapes(small: bool) -> list[tuple[int, ...]]:
    return [(8, 3, 16, 16)] if small else [(256, 3, 32, 32), (64, 3, 224, 224)]


def mixed_batches(
    what: str, make: Callable[[str, int], Mixes], small: bool, scope: str = "batch", *, in_place: bool = False
) -> Iterator[Piece]:
    """Mixup and CutMix by a peer that ``make`` builds for a number of classes, beside ours.

    Ours has a share and a box per ``scope``, and writes over its input where the peer does: what is timed over and over
    stays of the same kind.
    """
    for shape in shapes(small):
        x, label = torch.rand(shape, generator=generator(0)), torch.arange(shape[0]) % CLASSES
        size = "×".join(map(str, shape))
        for name in ("mixup", "cutmix"):
            theirs = make(name, CLASSES)
            blend = {"mixup": mixing.linear, "cutmix": partial(mixing.cut, scope=scope)}[name]  # type: ignore[arg-type]
            rules = mixing.anyone(), mixing.beta(1.0, scope=scope), blend, mixing.proportional  # type: ignore[arg-type]
            own, draw, copy, mine = mixing.Mix(*rules), generator(1), x.clone(), x.clone()

            def ours(own: Any = own, x: Tensor = mine, label: Tensor = label, draw: Any = draw) -> Any:
                mixed = own(Batch(x, label), generator=draw, in_place=in_place)
                return mixed.x, mixed.target.soft(CLASSES)

            check = {"mixup": formula, "cutmix": pixels}[name]
            yield Piece(
                f"{name}, {what}, {size}",
                ours,
                lambda theirs=theirs, copy=copy, label=label: theirs(copy, label),
                lambda check=check, name=name, shape=shape: check(make(name, shape[0]), shape),
                {"mixup": "mixed inputs", "cutmix": "the label's share and the pixels'"}[name],
            )


def formula(peer: Mixes, shape: tuple[int, ...]) -> float:
    """Between what a peer mixed and our blend of the same pairs by the same shares, which its soft labels tell.

    Every sample is a class of its own, so that a soft label names the partner.
    """
    x, label = torch.rand(shape, generator=generator(2)), torch.arange(shape[0])
    mixed, soft = peer(x.clone(), label)
    share, partner = soft.diagonal().float(), soft.clone().fill_diagonal_(0).argmax(1)
    alone = share > 1 - 1e-6
    partner = torch.where(alone, label, partner)
    return float((mixing.linear(x, x[partner], share, None)[0] - mixed).abs().max())


def pixels(peer: Mixes, shape: tuple[int, ...]) -> float:
    """Between the share that a soft label gives the anchor, and that of the pixels which are its own."""
    label = torch.arange(shape[0])
    x = label.float().view(-1, 1, 1, 1).expand(shape).clone()
    mixed, soft = peer(x.clone(), label)
    return float(((mixed == x).flatten(1).float().mean(1) - soft.diagonal()).abs().max())


def torchvision_declared() -> None:
    """Let torchvision import beside a torch that its compiled part was not built for.

    Its wheel wants CUDA; without, the operators that it describes do not exist, and that alone stops the import of all
    the rest, which needs none of them. They are declared here, and cannot be called.
    """
    found = importlib.util.find_spec("torchvision")
    if found is None or found.origin is None or hasattr(torch.ops.torchvision, "nms"):
        return
    described = Path(found.origin).with_name("_meta_registrations.py")
    names = re.findall(r'register_(?:fake|meta)\("(?:torchvision::)?(\w+)"', described.read_text("utf-8"))
    for name in dict.fromkeys(names):
        library.define(f"torchvision::{name}", "() -> Tensor")


def torchvision(small: bool) -> Iterator[Piece]:
    from torchvision.transforms import v2  # type: ignore[import-not-found]

    made = {"mixup": v2.MixUp, "cutmix": v2.CutMix}
    yield from mixed_batches("batch", lambda name, classes: made[name](num_classes=classes), small)


def timm(small: bool) -> Iterator[Piece]:
    from timm.data.mixup import Mixup  # type: ignore[import-not-found]

    for mode, scope in (("batch", "batch"), ("elem", "sample")):

        def make(name: str, classes: int, mode: str = mode) -> Mixes:
            alphas = {"mixup_alpha": float(name == "mixup"), "cutmix_alpha": float(name == "cutmix")}
            return Mixup(**alphas, mode=mode, label_smoothing=0.0, num_classes=classes)

        yield from mixed_batches(mode, make, small, scope, in_place=True)


def kornia(small: bool) -> Iterator[Piece]:
    from kornia.augmentation import RandomCutMixV2, RandomMixUpV2  # type: ignore[import-not-found]

    def make(name: str, classes: int) -> Mixes:
        peer = {"mixup": RandomMixUpV2, "cutmix": RandomCutMixV2}[name](p=1.0, data_keys=["input", "class"])

        def work(x: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
            mixed, told = peer(x, label)  # told: own and other label, and the other's share
            own, other, share = (column.flatten() for column in told.reshape(-1, len(x), 3)[0].unbind(-1))
            soft = torch.zeros(len(x), classes).scatter_(1, own.long()[:, None], (1 - share)[:, None])
            return mixed, soft.scatter_add_(1, other.long()[:, None], share[:, None])

        return work

    yield from mixed_batches("sample", make, small, "sample")


# --- losses -----------------------------------------------------------------------------------------------------------


def both_ways(loss: Callable[[Tensor], Tensor], z: Tensor) -> Work:
    """Forward and backward."""
    return lambda: torch.autograd.grad(loss(leaf := z.clone().requires_grad_()), leaf)


def losses(small: bool) -> tuple[Tensor, Tensor]:
    """Projections of unit length ``(n, 128)`` and labels."""
    n = 4 * CLASSES if small else 512
    return F.normalize(torch.randn(n, 128, generator=generator(3)), dim=1), torch.arange(n) % CLASSES


def compared(what: str, ours: Callable[[Tensor], Tensor], theirs: Callable[[Tensor], Tensor], z: Tensor) -> Piece:
    size = "×".join(map(str, z.shape))
    gap = lambda: float((ours(z) - theirs(z)).abs())  # noqa: E731
    return Piece(f"{what}, {size}, both ways", both_ways(ours, z), both_ways(theirs, z), gap, "the loss")


def pytorch_metric_learning(small: bool) -> Iterator[Piece]:
    from pytorch_metric_learning.losses import (  # type: ignore[import-not-found]
        NTXentLoss,
        SelfSupervisedLoss,
        SupConLoss,
    )

    z, label = losses(small)
    peer = SupConLoss(temperature=0.2)
    yield compared(
        "SupCon",
        lambda z: contrast.supervised_contrastive(z, label, temperature=0.2, reduction="mean"),
        lambda z: peer(z, label),
        z,
    )
    z = z[:128]  # seconds for the peer beyond
    half, pairs = len(z) // 2, SelfSupervisedLoss(NTXentLoss(temperature=0.5))
    yield compared("NT-Xent", contrast.simclr_loss, lambda z: pairs(z[:half], z[half:]), z)


def lightly(small: bool) -> Iterator[Piece]:
    from lightly.loss.ntx_ent_loss import NTXentLoss  # type: ignore[import-not-found]

    z, _ = losses(small)
    half, peer = len(z) // 2, NTXentLoss(temperature=0.5)
    yield compared("NT-Xent", contrast.simclr_loss, lambda z: peer(z[:half], z[half:]), z)


# --- metrics ----------------------------------------------------------------------------------------------------------


def judged(n: int, classes: int) -> tuple[Tensor, Dataset]:
    """Outputs that know something ``(n, C)``, and whom they are of: three groups, unlike in size."""
    draw = generator(4, n, classes)
    label = torch.randint(classes, (n,), generator=draw)
    attribute = torch.randint(4, (n,), generator=draw) % 3
    outputs = torch.randn(n, classes, generator=draw) + F.one_hot(label, classes)
    return outputs, Dataset.of(torch.zeros(n, 1), label, attribute, n_classes=classes)


def torchmetrics(small: bool) -> Iterator[Piece]:
    from torchmetrics.functional.classification import binary_auroc, multiclass_auroc, multiclass_calibration_error

    for n, classes in [(200, 2), (200, 4)] if small else [(10_000, 2), (100_000, 2), (10_000, 10), (100_000, 10)]:
        outputs, data = judged(n, classes)
        once = torch.ones(1, n, dtype=torch.float64)

        def theirs(outputs: Tensor = outputs, data: Dataset = data, classes: int = classes) -> Tensor:
            if classes == 2:
                return binary_auroc(outputs.softmax(1)[:, 1], data.label)
            return multiclass_auroc(outputs, data.label, classes)

        def error(outputs: Tensor = outputs, data: Dataset = data, classes: int = classes) -> Tensor:
            return multiclass_calibration_error(outputs.softmax(1), data.label, classes, n_bins=10)

        for name, own, peer in (
            ("AUROC", lambda o=outputs, d=data, w=once: Outputs(o, d).auroc(w), theirs),
            ("ECE", lambda o=outputs, d=data, w=once: Outputs(o, d).ece(w), error),
        ):
            gap = lambda own=own, peer=peer: abs(float(own()) - float(peer()))  # noqa: E731
            yield Piece(f"{name}, {n:,} × {classes}", own, peer, gap, "the value")


def fairlearn(small: bool) -> Iterator[Piece]:
    from fairlearn.metrics import MetricFrame, equalized_odds_difference
    from sklearn.metrics import accuracy_score

    n = 200 if small else 100_000
    outputs, data = judged(n, 2)
    assert data.attribute is not None
    label, attribute = data.label.numpy(), data.attribute.numpy()

    def ours() -> dict[str, float]:
        return metrics(sample_values(outputs, data), data)

    def theirs() -> tuple[float, float]:
        predicted = outputs.argmax(1).numpy()
        cells: Any = MetricFrame(
            metrics=accuracy_score, y_true=label, y_pred=predicted, sensitive_features=2 * attribute + label
        )
        odds = equalized_odds_difference(label, predicted, sensitive_features=attribute)
        return float(cells.group_min()), float(odds)

    def gap() -> float:
        found = ours()
        own, peer = (found["worst_group"], found["equalized_odds_max"]), theirs()
        return max(abs(a - b) for a, b in zip(own, peer, strict=True))

    what = f"worst group and equalized odds, {n:,} (ours: all that need no outputs)"
    yield Piece(what, ours, theirs, gap, "the values")


# --- training ---------------------------------------------------------------------------------------------------------

TRAINED = {  # what, shape of the inputs, net
    "mlp on 54 columns": ((54,), "mlp:hidden=100"),
    "mlp on 3×28×28": ((3, 28, 28), "mlp"),
    "linear head on 384 features": ((384,), "linear"),
    "linear head on 1,280 features": ((1280,), "linear"),
}
BATCHES, EPOCHS = (256, 1024), 2


def skorch(small: bool) -> Iterator[Piece]:
    from skorch import NeuralNetClassifier

    n = 300 if small else 20_480
    for what, (shape, net) in TRAINED.items():
        draw = generator(5)
        label = torch.randint(CLASSES, (n,), generator=draw)
        x = torch.randn(n, *shape, generator=draw)
        x.view(n, -1)[:, :CLASSES] += 2 * F.one_hot(label, CLASSES)  # something to be learned
        data = Dataset.of(x, label, n_classes=CLASSES)
        for batch in BATCHES:
            yield trained(f"{what}, batches of {batch}", data, net, batch, NeuralNetClassifier)


def trained(what: str, data: Dataset, net: str, batch: int, peer: Any) -> Piece:
    """The same net, tensors, batch, epochs and optimizer; orders and initial weights are drawn apart."""
    few = data.take(torch.arange(2))

    def ours() -> nn.Module:
        training = Training(epochs=EPOCHS, batch=batch, lr=1e-3, every=EPOCHS)
        return fit(build("erm", data.info, net=net), Splits(data, None, few), training).method

    def theirs() -> nn.Module:
        made = peer(
            nets.build(net, data.info),
            criterion=nn.CrossEntropyLoss,
            optimizer=torch.optim.Adam,
            optimizer__fused=True,
            lr=1e-3,
            batch_size=batch,
            max_epochs=EPOCHS,
            train_split=None,
            iterator_train__shuffle=True,
            verbose=0,
        )
        return made.fit(data.x, data.label).module_

    def gap() -> float:
        one, other = (float((predict(make(), data).argmax(1) == data.label).float().mean()) for make in (ours, theirs))
        return abs(one - other)

    return Piece(f"{what}, {len(data):,} rows, {EPOCHS} epochs", ours, theirs, gap, "training accuracy")


PACKAGES: dict[str, tuple[Callable[[bool], Iterator[Piece]], tuple[str, ...]]] = {
    "torchvision": (torchvision, ("torchvision==0.28.0",)),  # the one of torch 2.13
    "timm": (timm, ("torchvision==0.28.0", "timm==1.0.31")),
    "kornia": (kornia, ("kornia-rs==0.2.0", "kornia==0.9.0")),
    "torchmetrics": (torchmetrics, ("lightning-utilities==0.15.3", "torchmetrics==1.9.0")),
    "pytorch-metric-learning": (pytorch_metric_learning, ("pytorch-metric-learning==2.9.0",)),
    "lightly": (lightly, ("torchvision==0.28.0", "lightly-utils==0.0.2", "lightly==1.6.0")),
    "fairlearn": (fairlearn, ("fairlearn==0.15.0",)),
    "skorch": (skorch, ("skorch==1.4.0",)),
}
"""The pieces of each package, and what is installed for it; each without its dependencies."""
