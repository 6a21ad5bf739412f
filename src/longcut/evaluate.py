"""Measure predictions: averages, groups, classes, calibration, with bootstrap intervals; compare in pairs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from longcut.data import Dataset
from longcut.data import generator as seeded
from longcut.errors import UserError, unknown

__all__ = [
    "METRICS",
    "Difference",
    "Group",
    "Scores",
    "lower_is_better",
    "metrics",
    "paired",
    "paired_sets",
    "sample_values",
    "scores",
]

METRICS: dict[str, str] = {
    "average": "mean over all samples",
    "aligned": "mean over the samples that agree with the shortcut",
    "conflicting": "mean over the samples that contradict the shortcut",
    "worst_group": "worst of the group means; a group is a (label, attribute) cell, or a class without an attribute, "
    "or a (label, membership) cell where the data has memberships, which may overlap",
    "group_mean": "mean of the group means, each group counting once",
    "train_weighted": "mean of the group means, each weighted by the group's share of the training set "
    "(the adjusted average)",
    "worst_class": "lowest of the class means",
    "balanced": "mean of the class means, each class counting once (balanced accuracy)",
    "class_difference": "mean over all pairs of classes of the absolute difference of their means; lower is better",
    "ece": "expected calibration error: mean gap between confidence and accuracy over 10 equally wide bins of the "
    "confidence in the predicted class, each bin weighted by its samples; lower is better",
    "auroc": "area under the ROC curve: how often a sample of a class gets a higher probability of it than a sample of "
    "another class, ties counting half, mean over the classes",
}
LOWER = frozenset({"class_difference", "ece"})  # of classification; in regression, every metric is an error
FROM_OUTPUTS = frozenset({"ece", "auroc"})
BINS = 10


def lower_is_better(metric: str, task: str) -> bool:
    """Whether a model is better the lower this metric is.

    >>> lower_is_better("class_difference", "classification"), lower_is_better("average", "classification")
    (True, False)
    """
    return task == "regression" or metric in LOWER


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


@dataclass(frozen=True)
class Difference:
    """How much higher a metric is for one method than for another on the same test samples.

    Attributes:
        metric: which.
        value: of the first minus of the second, seeds averaged.
        low, high: 95 % percentile interval of the paired bootstrap over samples.
        p: two-sided bootstrap p-value of no difference, at least 2 / (draws + 1).
    """

    metric: str
    value: float
    low: float
    high: float
    p: float

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, for JSON."""
        return asdict(self)


def sample_values(outputs: Tensor, data: Dataset) -> Tensor:
    """What is averaged: 1 where the class is right and 0 where not, or the squared error ``(n,)``.

    >>> data = Dataset.of(torch.rand(2, 1), [0, 1])
    >>> sample_values(torch.tensor([[1.0, 0.0], [1.0, 0.0]]), data)
    tensor([1., 0.])
    """
    if data.info.task == "classification":
        return (outputs.argmax(1) == data.label).float()
    return (outputs - data.label).square().mean(1)


@dataclass(frozen=True)
class _Parts:
    """How the metrics of a data set are put together.

    The samples are cut into cells, such that groups and classes are sums of cells also where groups overlap.

    Attributes:
        cell: of each sample ``(n,)``.
        cells: how many there are.
        groups: names (label, attribute or membership), in order.
        in_group: cells and the groups that they lie in ``(k,)``; None where the cells are the groups.
        label: of each cell ``(cells,)``; None in regression.
        classes: number of classes.
        conflict: cells that contradict the shortcut ``(cells,)``; None where that is not known.
        share: of each group in the training set; None where that does not know the same groups.
    """

    cell: Tensor
    cells: int
    groups: Sequence[tuple[int, int | None]]
    in_group: tuple[Tensor, Tensor] | None
    label: Tensor | None
    classes: int
    conflict: Tensor | None
    share: Tensor | None

    def by_group(self, total: Tensor) -> Tensor:
        """Sums over each group's cells, of sums over cells ``(…, cells)``."""
        return total if self.in_group is None else _gathered(total, *self.in_group, len(self.groups))

    def by_class(self, total: Tensor) -> Tensor:
        """Sums over each class's cells; ``(…, 0)`` in regression."""
        if self.label is None:
            return total[..., :0]
        return _gathered(total, torch.arange(self.cells), self.label, self.classes)


def _gathered(total: Tensor, source: Tensor, target: Tensor, size: int) -> Tensor:
    return total.new_zeros(*total.shape[:-1], size).index_add_(-1, target, total[..., source])


def _parts(data: Dataset, train: Dataset | None) -> _Parts:
    info, classify = data.info, data.info.task == "classification"
    if data.memberships is None:
        cell, cells = _partition(data)
        every, width = torch.arange(cells), info.n_attributes if data.attribute is not None else 1
        label, attribute = every // width, every % width
        groups = [divmod(i, width) if data.attribute is not None else (i, None) for i in range(cells)]
        in_group = None
    else:
        cell, example = _patterns(data)
        cells, width = len(example), data.memberships.shape[1]
        label = data.label[example] if classify else torch.zeros(cells).long()
        attribute = None if data.attribute is None else data.attribute[example]
        groups = [divmod(i, width) for i in range(width * (info.n_classes if classify else 1))]
        where, member = data.memberships[example].nonzero(as_tuple=True)
        in_group = where, label[where] * width + member
    known = bool(info.aligned) and data.attribute is not None and attribute is not None and classify
    return _Parts(
        cell=cell,
        cells=cells,
        groups=groups,
        in_group=in_group,
        label=label if classify else None,
        classes=info.n_classes if classify else 0,
        conflict=~info.is_aligned(label, attribute) if known else None,  # type: ignore[arg-type]
        share=_share(train, data),
    )


def _partition(data: Dataset) -> tuple[Tensor, int]:
    """Group of each sample where groups do not overlap, and their number."""
    if data.info.task == "regression":
        attribute = torch.zeros(len(data)).long() if data.attribute is None else data.attribute
        return attribute, max(data.info.n_attributes, 1)
    if data.attribute is None:
        return data.label, data.info.n_classes
    return data.group, data.info.n_classes * data.info.n_attributes


def _patterns(data: Dataset) -> tuple[Tensor, Tensor]:
    """Samples alike in label, attribute and all memberships share a cell: cell of each sample, a sample of each."""
    assert data.memberships is not None
    columns = [*data.memberships.long().T, *([] if data.attribute is None else [data.attribute])]
    cell = data.label if data.info.task == "classification" else torch.zeros(len(data)).long()
    for column in columns:
        cell = torch.unique(cell * (int(column.max()) + 1 if len(column) else 1) + column, return_inverse=True)[1]
    cell = torch.unique(cell, return_inverse=True)[1]
    example = torch.zeros(int(cell.max()) + 1 if len(cell) else 0).long()
    example[cell] = torch.arange(len(cell))
    return cell, example


def _share(train: Dataset | None, data: Dataset) -> Tensor | None:
    """The share of each group of ``data`` in the training set; None where that does not know the same groups."""
    if train is None or data.memberships is not None or (train.attribute is None) != (data.attribute is None):
        return None
    cells, count = _partition(train)
    if count != _partition(data)[1]:
        return None
    return torch.bincount(cells, minlength=count).double() / max(len(train), 1)


def _summaries(total: Tensor, n: Tensor, parts: _Parts, regression: bool) -> dict[str, Tensor]:
    """Every metric of per-sample values from sums over cells: ``total`` and ``n`` are ``(…, cells)``, in float64."""
    nan = torch.full(total.shape[:-1], torch.nan, dtype=torch.float64)
    result = {"average": total.sum(-1) / n.sum(-1)}
    conflict = parts.conflict
    for name, where in (("aligned", None if conflict is None else ~conflict), ("conflicting", conflict)):
        result[name] = nan if where is None else (total * where).sum(-1) / (n * where).sum(-1)
    group, count = parts.by_group(total), parts.by_group(n)
    mean, filled = group / count, count > 0  # 0/0 is nan, as an empty group should be
    result["worst_group"] = -_lowest(-mean, filled) if regression else _lowest(mean, filled)
    result["group_mean"] = torch.where(filled, mean, 0).sum(-1) / filled.sum(-1)
    share = parts.share
    result["train_weighted"] = nan if share is None else torch.where(share > 0, mean * share, 0).sum(-1)
    of_class = parts.by_class(n)
    recall, there = parts.by_class(total) / of_class, of_class > 0
    result["worst_class"] = nan if regression else _lowest(recall, there)
    result["balanced"] = nan if regression else torch.where(there, recall, 0).sum(-1) / there.sum(-1)
    result["class_difference"] = nan if regression else _difference(recall, there)
    return result


def _lowest(mean: Tensor, filled: Tensor) -> Tensor:
    return torch.where(filled, mean, torch.inf).amin(-1).where(filled.any(-1), torch.nan)


def _difference(mean: Tensor, filled: Tensor) -> Tensor:
    """Mean absolute difference over all pairs of filled columns; ``nan`` where there are fewer than two."""
    rising = torch.where(filled, mean, torch.inf).sort(-1).values
    known = filled.sum(-1, keepdim=True)
    place = torch.arange(mean.shape[-1])
    sign = 2 * place - known + 1  # in how many pairs it is the higher one, less in how many it is the lower one
    total = torch.where(place < known, rising * sign, 0).sum(-1)
    return total.clamp_min(0) / (known * (known - 1) / 2).squeeze(-1)


# --- metrics of the outputs -------------------------------------------------------------------------------------------


class _Outputs:
    """Calibration and ROC curves for weights of the samples: how often each stands in a resample.

    Args:
        outputs: ``(n, C)`` logits; finite.
        label: ``(n,)``.
    """

    def __init__(self, outputs: Tensor, label: Tensor) -> None:
        probability = outputs.double().softmax(1)
        confidence, predicted = probability.max(1, keepdim=True)
        edges = torch.linspace(0, 1, BINS + 1, dtype=torch.float64)[1:-1]
        gap = confidence - (predicted == label[:, None]).double()
        self.gap = gap.new_zeros(len(label), BINS).scatter_(1, torch.bucketize(confidence, edges), gap)
        # one minus a probability near 1 would lose the order of the surest samples, hence the sum of the others
        others = (1 - probability).scatter(1, predicted, probability.scatter(1, predicted, 0).sum(1, keepdim=True))
        odds = probability.log() - others.log()
        classes = range(outputs.shape[1]) if outputs.shape[1] > 2 else (1,)  # of two classes, both have one curve
        self.curves = [_curve(odds[:, c], label == c) for c in classes]

    def ece(self, weight: Tensor) -> Tensor:
        """For each row of weights ``(k, n)``."""
        return (weight @ self.gap).abs().sum(1) / weight.sum(1)

    def auroc(self, weight: Tensor) -> Tensor:
        """For each row of weights ``(k, n)``; ``nan`` where a class is absent or alone."""
        total = torch.zeros(len(weight), dtype=torch.float64)
        weight = weight.float()  # counts, and their sums up to 2**24, are exact
        for own, other, below, not_above in self.curves:
            positive = weight[:, own]
            negatives = torch.nn.functional.pad(weight[:, other].cumsum(1), (1, 0))
            wins = (positive * (negatives[:, below] + negatives[:, not_above])).sum(1, dtype=torch.float64) / 2
            total += wins / (positive.sum(1).double() * negatives[:, -1].double())
        return total / len(self.curves)


def _curve(odds: Tensor, own: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Samples of the class; the others, lowest first; how many of these are below each of the class, or not above."""
    own_rows, other_rows = own.nonzero().flatten(), (~own).nonzero().flatten()
    other, order = odds[other_rows].sort()
    return (
        own_rows,
        other_rows[order],
        torch.searchsorted(other, odds[own_rows]),
        torch.searchsorted(other, odds[own_rows], right=True),
    )


def _outputs(outputs: Tensor | None, data: Dataset) -> _Outputs | None:
    usable = outputs is not None and data.info.task == "classification" and len(data) > 0
    return _Outputs(outputs, data.label) if usable and bool(outputs.isfinite().all()) else None  # type: ignore[union-attr, arg-type]


# --- all together -----------------------------------------------------------------------------------------------------


def metrics(
    values: Tensor, data: Dataset, train: Dataset | None = None, *, outputs: Tensor | None = None
) -> dict[str, float]:
    """Every metric, without intervals (cheap: for every epoch).

    Args:
        values: from :func:`sample_values`, ``(n,)``.
        data: the samples they belong to.
        train: gives the weights of ``train_weighted``; without it that metric is ``nan``.
        outputs: logits ``(n, C)``, for ``ece`` and ``auroc``; without them these are ``nan``.
    """
    parts = _parts(data, train)
    total, n = _sums(parts, values.double())
    found = _summaries(total, n, parts, data.info.task == "regression")
    judged, once = _outputs(outputs, data), torch.ones(1, len(data), dtype=torch.float64)
    for name in ("ece", "auroc"):
        found[name] = torch.tensor(math.nan) if judged is None else getattr(judged, name)(once)
    return {name: float(value) for name, value in found.items()}


def _sums(parts: _Parts, values: Tensor) -> tuple[Tensor, Tensor]:
    total = torch.zeros(parts.cells, dtype=torch.float64).index_add_(0, parts.cell, values)
    return total, torch.bincount(parts.cell, minlength=parts.cells).double()


def scores(
    values: Tensor,
    data: Dataset,
    train: Dataset | None = None,
    *,
    outputs: Tensor | None = None,
    draws: int = 1000,
    seed: int = 0,
) -> Scores:
    """Every metric and every group with 95 % percentile bootstrap intervals over the samples of ``data``.

    The intervals speak of the finite test set alone; the spread over training runs is another thing, shown by seeds.

    Args:
        values: from :func:`sample_values`, ``(n,)``.
        data: the samples they belong to.
        train: gives the weights of ``train_weighted``.
        outputs: logits ``(n, C)``, for ``ece`` and ``auroc``.
        draws: bootstrap resamples.
        seed: of the resampling.
    """
    parts, judged = _parts(data, train), _outputs(outputs, data)
    found: dict[str, list[Tensor]] = {name: [] for name in METRICS}
    by_group = []
    for weight, (total,), n in _resamples(parts, values.double()[None], draws, seeded(seed, 77)):
        for name, value in _summaries(total, n, parts, data.info.task == "regression").items():
            found[name].append(value)
        by_group.append(parts.by_group(total) / parts.by_group(n))
        for name in ("ece", "auroc"):
            found[name].append(torch.tensor([math.nan]) if judged is None else getattr(judged, name)(weight))
    bounds = [_interval(column) for column in torch.cat(by_group).T]
    total, n = map(parts.by_group, _sums(parts, values.double()))
    groups = [
        Group(*name, int(count), float(value / count), *bound)
        for name, count, value, bound in zip(parts.groups, n, total, bounds, strict=True)
    ]
    intervals = {name: _interval(torch.cat(drawn)) for name, drawn in found.items()}
    return Scores(metrics(values, data, train, outputs=outputs), intervals, groups, len(data))


def _resamples(
    parts: _Parts, values: Tensor, draws: int, rng: torch.Generator
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Resamples of the samples, some at a time, for several sets of values ``(s, n)`` alike.

    Yields:
        How often each sample stands in each resample ``(k, n)``; sums of the values over cells ``(s, k, cells)``;
        sizes of the cells ``(k, cells)``.
    """
    size = len(parts.cell)
    order = parts.cell.argsort(stable=True)
    ends = torch.bincount(parts.cell, minlength=parts.cells).cumsum(0).tolist()
    values = values[:, order].T.contiguous()
    for chunk in torch.arange(draws).split(max(1, 2_000_000 // max(size, 1))):
        rows = torch.randint(max(size, 1), (len(chunk), size), generator=rng)
        weight = torch.zeros(len(chunk), size, dtype=torch.float64)
        weight.scatter_add_(1, rows, torch.ones((), dtype=torch.float64).expand(rows.shape))
        total = torch.zeros(len(values.T), len(chunk), parts.cells, dtype=torch.float64)
        n = torch.zeros(len(chunk), parts.cells, dtype=torch.float64)
        by_cell = weight[:, order]
        for c, (start, end) in enumerate(zip([0, *ends], ends, strict=False)):
            if start < end:
                total[:, :, c] = (by_cell[:, start:end] @ values[start:end]).T
                n[:, c] = by_cell[:, start:end].sum(1)
        yield weight, total, n


def _interval(draws: Tensor) -> tuple[float, float]:
    good = draws[~draws.isnan()]
    if not len(good):
        return math.nan, math.nan
    low, high = torch.quantile(good, torch.tensor([0.025, 0.975], dtype=good.dtype)).tolist()
    return low, high


# --- two methods ------------------------------------------------------------------------------------------------------


def paired(
    a: Tensor | Sequence[Tensor],
    b: Tensor | Sequence[Tensor],
    data: Dataset,
    metric: str = "worst_group",
    train: Dataset | None = None,
    *,
    draws: int = 2000,
    seed: int = 0,
) -> Difference:
    """How much higher a metric is for one method than for another, by a paired bootstrap over the test samples.

    Both are judged on the same resamples, so that what is hard for both does not blur the difference. With several
    seeds, the metric is averaged over them within each resample: the interval speaks of these trained models, not of
    the spread over training runs.

    Args:
        a: of the first method, per-sample values from :func:`sample_values` ``(n,)``, or one row per seed ``(s, n)``.
        b: of the second, for the same samples; it may have another number of seeds.
        data: the samples.
        metric: one of ``METRICS``, but not ``ece`` or ``auroc``, which per-sample values do not give.
        train: gives the weights of ``train_weighted``.
        draws: bootstrap resamples.
        seed: of the resampling.

    Raises:
        UserError: for a metric that is unknown, needs more than per-sample values, or is not defined on the data, and
            for values of other samples.

    >>> data = Dataset.of(torch.rand(4, 1), [0, 0, 1, 1])
    >>> paired(torch.tensor([1.0, 1, 1, 0]), torch.tensor([1.0, 0, 1, 0]), data, "average").value
    0.25
    """
    return paired_sets([(a, b, data, train)], metric, draws=draws, seed=seed)


def paired_sets(
    sets: Sequence[tuple[Tensor | Sequence[Tensor], Tensor | Sequence[Tensor], Dataset, Dataset | None]],
    metric: str = "worst_group",
    *,
    draws: int = 2000,
    seed: int = 0,
) -> Difference:
    """As :func:`paired`, where seeds also drew the data: the difference is averaged over several test sets.

    Every test set is resampled for itself.

    Args:
        sets: for each test set ``a``, ``b``, ``data`` and ``train`` of :func:`paired`.
        metric: see there.
        draws: see there.
        seed: see there.

    Raises:
        UserError: as there.
    """
    if metric not in METRICS:
        raise unknown("metric", metric, METRICS)
    if metric in FROM_OUTPUTS:
        raise UserError(
            f"{metric} is no mean of per-sample values, so it has no paired bootstrap here; "
            f"choose one of {', '.join(name for name in METRICS if name not in FROM_OUTPUTS)}."
        )
    values, drawn = [], []
    for i, (a, b, data, train) in enumerate(sets):
        first, second = _rows(a, data), _rows(b, data)
        parts, regression = _parts(data, train), data.info.task == "regression"

        def difference(total: Tensor, n: Tensor) -> Tensor:
            found = _summaries(total, n, parts, regression)[metric]  # noqa: B023
            return found[: len(first)].mean(0) - found[len(first) :].mean(0)  # noqa: B023

        both = torch.cat([first, second])
        point = torch.stack([_sums(parts, row)[0] for row in both])
        values.append(difference(point, _sums(parts, both[0])[1].expand_as(point)))
        resampled = _resamples(parts, both, draws, seeded(seed, 78, i))
        drawn.append(torch.cat([difference(total, n.expand_as(total)) for _, total, n in resampled]))
    value, differences = float(torch.stack(values).mean()), torch.stack(drawn).mean(0)
    if math.isnan(value):
        raise UserError(f"{metric} is not defined on the test set; choose another metric, such as average.")
    differences = differences[~differences.isnan()]
    tail = min(int((differences <= 0).sum()), int((differences >= 0).sum()))
    p = min(1.0, 2 * (tail + 1) / (len(differences) + 1))
    return Difference(metric, value, *_interval(differences), p)


def _rows(values: Tensor | Sequence[Tensor], data: Dataset) -> Tensor:
    """Per-sample values as one row per seed, in float64."""
    rows = values if isinstance(values, Tensor) else torch.stack(list(values))
    rows = torch.atleast_2d(rows).double()
    if rows.shape[1] != len(data):
        raise UserError(
            f"a method has values of {rows.shape[1]} samples, but the test set has {len(data)}; "
            "compare methods on the same test set."
        )
    return rows
