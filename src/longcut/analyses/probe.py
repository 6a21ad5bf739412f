"""How well a biased model knows the attribute that nobody told it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from longcut.data import Dataset, generator, in_turns
from longcut.errors import UserError
from longcut.methods.base import Method, require_attribute
from longcut.predict import predict

__all__ = ["bias_accuracy"]


def bias_accuracy(
    method: Method,
    train: Dataset,
    test: Dataset,
    *,
    seed: int = 0,
    device: torch.device | str = "cpu",
    limit: int = 5000,
) -> dict[str, float | None]:
    """The share of test samples whose attribute a method's biased model gives away, read from it in two ways.

    ``probe``: a logistic regression on the frozen, standardised embedding, fitted on training samples and their
    attribute. The samples are drawn at random with every attribute value equally often, as far as there are enough.
    They are not balanced over labels: aligned samples outnumber conflicting ones as they do in training, so where
    the embedding holds the label and not the attribute, the probe is misled, and the test set tells.

    ``head``: the class that the biased head gives stands for the attribute value that usually goes with it.

    Args:
        method: trained.
        train: has the attribute; the probe is fitted on some of it.
        test: has the attribute; all of it is judged.
        seed: of the draw.
        device: where to compute.
        limit: most samples that the probe is fitted on.

    Returns:
        ``probe`` and ``head`` in [0, 1]; None where the method has no such part, or where it cannot be read: a single
        attribute value to fit on, an embedding that is not finite, or no knowledge of what goes with which label.

    Raises:
        UserError: when the attribute of either set is not known.

    Source: Hwang et al., NeurIPS 2022, Table 3; which samples their probe saw is not stated.

    >>> from longcut.datasets import load
    >>> from longcut.methods import build
    >>> splits = load("colored-digits")
    >>> bias_accuracy(build("erm", splits.info), splits.train, splits.test)
    {'probe': None, 'head': None}
    """
    for data in (train, test):
        require_attribute("the accuracy of a biased model", data.info.name, bool(data.known.any()))
    train, test = (data if data.known.all() else data.take(data.known) for data in (train, test))
    was_training = method.training
    method.eval()
    try:
        return {
            "probe": _probe(method, train, test, seed, device, limit),
            "head": _head(method, test, device),
        }
    finally:
        method.train(was_training)


def _probe(
    method: Method, train: Dataset, test: Dataset, seed: int, device: torch.device | str, limit: int
) -> float | None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    assert train.attribute is not None
    assert test.attribute is not None
    rows = in_turns(train.attribute, torch.randperm(len(train), generator=generator(seed, 53)))[:limit]
    known, value = _answers(method.embedding, train.take(rows), device), train.attribute[rows]
    seen = _answers(method.embedding, test, device)
    if known is None or seen is None or len(value.unique()) < 2:
        return None
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    return float(probe.fit(known.numpy(), value.numpy()).score(seen.numpy(), test.attribute.numpy()))


def _head(method: Method, test: Dataset, device: torch.device | str) -> float | None:
    logits = _answers(method.biased_logits, test, device)
    if logits is None or not test.info.aligned:
        return None
    assert test.attribute is not None
    told = torch.tensor(test.info.aligned)[logits.argmax(1)]
    return float((told == test.attribute).double().mean())


def _answers(ask: Callable[[Tensor], Tensor | None], data: Dataset, device: torch.device | str) -> Tensor | None:
    """What ``ask`` says of every sample ``(n, …)``, on the CPU; None where it says nothing."""
    if ask(data.gather(torch.arange(1), device)) is None:
        return None
    try:
        return predict(ask, data, device)  # type: ignore[arg-type]
    except UserError:  # what is not finite says nothing
        return None
