"""Predict once, then measure: averages, groups, worst group, with bootstrap intervals."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from longcut.data import Dataset
from longcut.data import generator as seeded

__all__ = ["METRICS", "Group", "Scores", "metrics", "predict", "sample_values", "scores"]

METRICS: dict[str, str] = {
    "average": "mean over all samples",
    "aligned": "mean over the samples that agree with the shortcut",
    "conflicting": "mean over the samples that contradict the shortcut",
    "worst_group": "worst of the group means; a group is a (label, attribute) cell, or a class without an attribute",
    "balanced": "mean of the group means, each group counting once",
    "train_weighted": "mean of the group means, each weighted by the group's share of the training set",
}


@dataclass(frozen=True)
class Group:
    """One (label, attribute) cell: its size, mean and 95 % interval; ``nan`` where it is empty."""

    label: int
    attribute: int | None
    n: int
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Scores:
    """All metrics of one set of predictions.

    Attributes:
        values: metric name to value (see ``METRICS``); accuracy in [0, 1] for classes, mean squared error for
            regression; ``nan`` where a metric is not defined on the data.
        intervals: metric name to (low, high), 95 % percentile bootstrap over samples.
        groups: every cell.
        n: number of samples.
    """

    values: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    groups: list[Group]
    n: int

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, for JSON."""
        return asdict(self)


@torch.no_grad()
def predict(model: Callable[[Tensor], Tensor], data: Dataset, device: torch.device | str = "cpu", size: int = 1024):
    """Outputs of ``model`` for every sample, in the data's order, float32 ``(n, C)`` on the CPU.

    A module is put in evaluation mode for the time and back afterwards.
    """
    was_training = isinstance(model, nn.Module) and model.training
    if isinstance(model, nn.Module):
        model.eval()
    try:
        outputs = [model(data.gather(rows, device)).float().cpu() for rows in torch.arange(len(data)).split(size)]
    finally:
        if isinstance(model, nn.Module):
            model.train(was_training)
    return torch.cat(outputs)


def sample_values(outputs: Tensor, data: Dataset) -> Tensor:
    """What is averaged: 1 where the class is right and 0 where not, or the squared error ``(n,)``.

    >>> data = Dataset.of(torch.rand(2, 1), [0, 1])
    >>> sample_values(torch.tensor([[1.0, 0.0], [1.0, 0.0]]), data)
    tensor([1., 0.])
    """
    if data.info.task == "classification":
        return (outputs.argmax(1) == data.label).float()
    return (outputs - data.label).square().mean(1)


def _cells(data: Dataset) -> tuple[Tensor, int]:
    """Group id of each sample and the number of groups."""
    if data.info.task == "regression":
        has = data.attribute is not None
        return (data.attribute if has else torch.zeros(len(data)).long()), max(data.info.n_attributes, 1)  # type: ignore[return-value]
    if data.attribute is None:
        return data.label, data.info.n_classes
    return data.group, data.info.n_classes * data.info.n_attributes


def _share(train: Dataset | None, data: Dataset) -> Tensor | None:
    """The share of each group of ``data`` in the training set; None where that does not know the same groups."""
    if train is None or (train.attribute is None) != (data.attribute is None):
        return None
    cells, count = _cells(train)
    if count != _cells(data)[1]:
        return None
    return torch.bincount(cells, minlength=count).double() / max(len(train), 1)


def _summaries(
    total: Tensor, n: Tensor, conflict: Tensor | None, share: Tensor | None, worst: Any
) -> dict[str, Tensor]:
    """Every metric from per-cell sums: ``total`` and ``n`` are ``(..., cells)``, in float64."""
    nan = torch.full(total.shape[:-1], torch.nan, dtype=torch.float64)
    mean = total / n  # 0/0 is nan, as an empty cell should be
    filled = n > 0
    result = {"average": total.sum(-1) / n.sum(-1)}
    for name, where in (("aligned", None if conflict is None else ~conflict), ("conflicting", conflict)):
        result[name] = nan if where is None else (total * where).sum(-1) / (n * where).sum(-1)
    result["worst_group"] = worst(mean, filled)
    result["balanced"] = torch.where(filled, mean, 0).sum(-1) / filled.sum(-1)
    result["train_weighted"] = nan if share is None else torch.where(share > 0, mean * share, 0).sum(-1)
    return result


def _lowest(mean: Tensor, filled: Tensor) -> Tensor:
    return torch.where(filled, mean, torch.inf).amin(-1).where(filled.any(-1), torch.nan)


def _highest(mean: Tensor, filled: Tensor) -> Tensor:
    return torch.where(filled, mean, -torch.inf).amax(-1).where(filled.any(-1), torch.nan)


def _setting(data: Dataset, train: Dataset | None) -> tuple[Tensor, int, Tensor | None, Tensor | None, Any]:
    cells, count = _cells(data)
    conflict = None
    if data.info.aligned and data.attribute is not None:
        every = torch.arange(count)
        conflict = ~data.info.is_aligned(every // data.info.n_attributes, every % data.info.n_attributes)
    worst = _lowest if data.info.task == "classification" else _highest
    return cells, count, conflict, _share(train, data), worst


def metrics(values: Tensor, data: Dataset, train: Dataset | None = None) -> dict[str, float]:
    """Every metric of per-sample values, without intervals (cheap: for every epoch).

    Args:
        values: from :func:`sample_values`, ``(n,)``.
        data: the samples they belong to.
        train: gives the weights of ``train_weighted``; without it that metric is ``nan``.
    """
    cells, count, conflict, share, worst = _setting(data, train)
    total = torch.zeros(count, dtype=torch.float64).index_add_(0, cells, values.double())
    n = torch.bincount(cells, minlength=count).double()
    return {name: float(value) for name, value in _summaries(total, n, conflict, share, worst).items()}


def scores(values: Tensor, data: Dataset, train: Dataset | None = None, *, draws: int = 1000, seed: int = 0) -> Scores:
    """Every metric and every group with 95 % percentile bootstrap intervals over the samples of ``data``.

    The intervals speak of the finite test set alone; the spread over training runs is another thing, shown by seeds.

    Args:
        values: from :func:`sample_values`, ``(n,)``.
        data: the samples they belong to.
        train: gives the weights of ``train_weighted``.
        draws: bootstrap resamples.
        seed: of the resampling.
    """
    cells, count, conflict, share, worst = _setting(data, train)
    size, rng = len(data), seeded(seed, 77)
    totals, ns = [], []
    for chunk in torch.arange(draws).split(max(1, 2_000_000 // max(size, 1))):
        rows = torch.randint(max(size, 1), (len(chunk), size), generator=rng)
        where = cells[rows] + count * torch.arange(len(chunk))[:, None]
        cell = torch.zeros(len(chunk) * count, dtype=torch.float64)
        totals.append(cell.clone().index_add_(0, where.flatten(), values[rows].double().flatten()).view(-1, count))
        ns.append(torch.bincount(where.flatten(), minlength=len(cell)).double().view(-1, count))
    total, n = torch.cat(totals), torch.cat(ns)
    resampled = _summaries(total, n, conflict, share, worst)
    by_cell = [_interval(column) for column in (total / n).T]
    point = torch.zeros(count, dtype=torch.float64).index_add_(0, cells, values.double())
    sizes = torch.bincount(cells, minlength=count)
    has_attribute = data.attribute is not None
    width = data.info.n_attributes if has_attribute else 1
    groups = [
        Group(c // width, c % width if has_attribute else None, int(sizes[c]), float(point[c] / sizes[c]), *by_cell[c])
        for c in range(count)
    ]
    return Scores(
        metrics(values, data, train), {name: _interval(column) for name, column in resampled.items()}, groups, size
    )


def _interval(draws: Tensor) -> tuple[float, float]:
    good = draws[~draws.isnan()]
    if not len(good):
        return math.nan, math.nan
    low, high = torch.quantile(good, torch.tensor([0.025, 0.975], dtype=good.dtype)).tolist()
    return low, high
