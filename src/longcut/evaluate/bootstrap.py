"""Every metric and every group of one set of predictions, with bootstrap intervals."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from longcut.data import Dataset
from longcut.data import generator as seeded
from longcut.errors import UserError
from longcut.evaluate.cells import Cells, Draws, cells_of
from longcut.evaluate.outputs import Outputs
from longcut.evaluate.table import METRICS, Metric, OwnMetric, made

__all__ = ["Group", "Scores", "interval", "metrics", "resamples", "scores"]

NONE: Mapping[str, OwnMetric] = {}


@dataclass(frozen=True)
class Group:
    """One (label, attribute) cell: its size, mean and 95 % interval; ``nan`` where it is empty.

    Where the data has memberships, which may overlap, ``attribute`` is the column of the membership.
    """

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


def metrics(
    values: Tensor,
    data: Dataset,
    train: Dataset | None = None,
    *,
    outputs: Tensor | None = None,
    extra: Mapping[str, OwnMetric] = NONE,
) -> dict[str, float]:
    """Every metric, without intervals (cheap: for every epoch).

    Args:
        values: from :func:`sample_values`, ``(n,)``.
        data: the samples they belong to.
        train: gives the weights of ``train_weighted``; without it that metric is ``nan``.
        outputs: logits ``(n, C)``, for ``ece``, ``auroc`` and metrics of your own; without them these are ``nan``.
        extra: metrics of your own by name (see :func:`scores`).

    Raises:
        UserError: when a metric of your own has a name that is taken, fails, or returns no number.
    """
    table = _table(extra)
    whole = _whole(cells_of(data, train), values, None if outputs is None else Outputs(outputs, data))
    return {name: float(metric.of(whole)) for name, metric in table.items()}


def _table(extra: Mapping[str, OwnMetric]) -> dict[str, Metric]:
    """The table of metrics with those of a user."""
    taken = next((name for name in extra if name in METRICS), None)
    if taken is not None:
        raise UserError(f"there is a metric '{taken}' already; give yours another name.")
    return {**METRICS, **{name: made(name, given) for name, given in extra.items()}}


def _whole(cells: Cells, values: Tensor, outputs: Outputs | None) -> Draws:
    """The samples as they are, each once."""
    total, n = cells.sums(values[None])
    return Draws(cells, total, n, torch.ones(1, len(values), dtype=torch.float64), outputs)


def scores(
    values: Tensor,
    data: Dataset,
    train: Dataset | None = None,
    *,
    outputs: Tensor | None = None,
    extra: Mapping[str, OwnMetric] = NONE,
    draws: int = 1000,
    seed: int = 0,
) -> Scores:
    """Every metric and every group with 95 % percentile bootstrap intervals over the samples of ``data``.

    The intervals speak of the finite test set alone; the spread over training runs is another thing, shown by seeds.

    A metric of your own is a function of the outputs ``(n, C)`` and the data set they belong to. The first line of its
    docstring is its definition, and an attribute ``lower = True`` says that lower is better. It is called for the
    samples and for the first 200 resamples, in which a class may be absent; where it is not defined it returns ``nan``.

    Args:
        values: from :func:`sample_values`, ``(n,)``.
        data: the samples they belong to.
        train: gives the weights of ``train_weighted``.
        outputs: logits ``(n, C)``, for ``ece``, ``auroc`` and metrics of your own.
        extra: metrics of your own by name.
        draws: bootstrap resamples.
        seed: of the resampling.

    Raises:
        UserError: when a metric of your own has a name that is taken, fails, or returns no number.

    >>> def surest(outputs, data):
    ...     "largest probability of any class"
    ...     return outputs.softmax(1).max()
    >>> data = Dataset.of(torch.rand(2, 1), [0, 1])
    >>> scores(torch.ones(2), data, outputs=torch.zeros(2, 2), extra={"surest": surest}).values["surest"]
    0.5
    """
    table, cells = _table(extra), cells_of(data, train)
    judged = None if outputs is None else Outputs(outputs, data)
    drawn: dict[str, list[Tensor]] = {name: [] for name in table}
    by_group: list[Tensor] = []
    done = 0
    for weight, (total,), n in resamples(cells, values.double()[None], draws, seeded(seed, 77)):
        some = Draws(cells, total, n, weight, judged)
        for name, metric in table.items():
            few = some if metric.resamples is None else some.first(metric.resamples - done)
            drawn[name].append(metric.of(few))
        by_group.append(some.groups[0])
        done += len(weight)
    whole = _whole(cells, values, judged)
    (mean,), (n,) = whole.groups
    bounds = [interval(column) for column in torch.cat(by_group).T]
    groups = [
        Group(*name, int(count), float(value), *bound)
        for name, count, value, bound in zip(cells.groups, n, mean, bounds, strict=True)
    ]
    return Scores(
        {name: float(metric.of(whole)) for name, metric in table.items()},
        {name: interval(torch.cat(parts)) for name, parts in drawn.items()},
        groups,
        len(data),
    )


def resamples(
    cells: Cells, values: Tensor, draws: int, rng: torch.Generator
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Resamples of the samples, some at a time, for several sets of values ``(s, n)`` alike.

    Yields:
        How often each sample stands in each resample ``(k, n)``; sums of the values over cells ``(s, k, cells)``;
        sizes of the cells ``(k, cells)``.
    """
    size = len(cells.cell)
    order = cells.cell.argsort(stable=True)
    ends = torch.bincount(cells.cell, minlength=cells.cells).cumsum(0).tolist()
    values = values[:, order].T.contiguous()
    for chunk in torch.arange(draws).split(max(1, 2_000_000 // max(size, 1))):
        rows = torch.randint(max(size, 1), (len(chunk), size), generator=rng)
        weight = torch.zeros(len(chunk), size, dtype=torch.float64)
        weight.scatter_add_(1, rows, torch.ones((), dtype=torch.float64).expand(rows.shape))
        total = torch.zeros(len(values.T), len(chunk), cells.cells, dtype=torch.float64)
        n = torch.zeros(len(chunk), cells.cells, dtype=torch.float64)
        by_cell = weight[:, order]
        for c, (start, end) in enumerate(zip([0, *ends], ends, strict=False)):
            if start < end:
                total[:, :, c] = (by_cell[:, start:end] @ values[start:end]).T
                n[:, c] = by_cell[:, start:end].sum(1)
        yield weight, total, n


def interval(draws: Tensor) -> tuple[float, float]:
    """The 95 % percentile interval of the draws that are not ``nan``; ``nan`` where there are none."""
    good = draws[~draws.isnan()]
    if not len(good):
        return math.nan, math.nan
    low, high = torch.quantile(good, torch.tensor([0.025, 0.975], dtype=good.dtype)).tolist()
    return low, high
