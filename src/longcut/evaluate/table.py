"""The table of metrics: a new one is a row here, a row that another package adds, or somebody's function."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, SupportsFloat

import torch
from torch import Tensor

from longcut.data import Dataset
from longcut.errors import UserError
from longcut.evaluate.cells import Draws
from longcut.registry import Registry

__all__ = ["METRICS", "Metric", "OwnMetric", "lower_is_better", "made"]

OwnMetric = Callable[[Tensor, Dataset], SupportsFloat]  # of outputs ``(n, C)`` and the samples they belong to
RESAMPLES = 200  # of somebody's function, which is called for each


@dataclass(frozen=True)
class Metric:
    """A row of the table.

    Attributes:
        definition: what it is, in words.
        of: from several resamples at once to one value for each, ``nan`` where it is not defined.
        lower: whether lower is better in classification; in regression, means of per-sample values are errors.
        outputs: whether it needs the outputs; if not, sums of per-sample values are enough.
        resamples: how many its interval is made of, at most; None for all that are drawn.
    """

    definition: str
    of: Callable[[Draws], Tensor]
    lower: bool = False
    outputs: bool = False
    resamples: int | None = None


# --- of per-sample values ---------------------------------------------------------------------------------------------


def _where(draws: Draws, conflict: bool) -> Tensor:
    """The mean over the cells that contradict the shortcut, or over the others."""
    if draws.cells.conflict is None:
        return draws.nan
    chosen = draws.cells.conflict == int(conflict)
    return (draws.total * chosen).sum(-1) / (draws.n * chosen).sum(-1)


def _worst(draws: Draws) -> Tensor:
    mean, n = draws.groups
    return _lowest(mean, n) if draws.cells.label is not None else -_lowest(-mean, n)


def _lowest(mean: Tensor, n: Tensor) -> Tensor:
    return torch.where(n > 0, mean, torch.inf).amin(-1).where((n > 0).any(-1), torch.nan)


def _each_once(mean: Tensor, n: Tensor) -> Tensor:
    return torch.where(n > 0, mean, 0).sum(-1) / (n > 0).sum(-1)


def _as_in_training(draws: Draws) -> Tensor:
    share = draws.cells.share
    return draws.nan if share is None else torch.where(share > 0, draws.groups[0] * share, 0).sum(-1)


def _difference(mean: Tensor, n: Tensor) -> Tensor:
    """Mean absolute difference over all pairs of filled columns; ``nan`` where there are fewer than two."""
    rising = torch.where(n > 0, mean, torch.inf).sort(-1).values
    known = (n > 0).sum(-1, keepdim=True)
    place = torch.arange(mean.shape[-1])
    sign = 2 * place - known + 1  # in how many pairs it is the higher one, less in how many it is the lower one
    total = torch.where(place < known, rising * sign, 0).sum(-1)
    return total.clamp_min(0) / (known * (known - 1) / 2).squeeze(-1)


def _gaps(draws: Draws) -> Tensor:
    """Largest differences between groups of their false positive, true positive and positive rates ``(3, …)``.

    The second class is the positive one. ``nan`` for other than two classes, where fewer than two groups have samples,
    and where one of these lacks those that a rate is about, in the data or in a resample.
    """
    cells = draws.cells
    if cells.classes != 2:
        return draws.nan.expand(3, *draws.nan.shape)
    mean, n = (values.unflatten(-1, (2, -1)) for values in draws.groups)  # (…, label, group)
    rate, size = torch.stack([1 - mean[..., 0, :], mean[..., 1, :]]), n.movedim(-2, 0)
    positive = torch.where(size > 0, rate * size, 0).sum(0) / size.sum(0)
    known = cells.by_group(torch.bincount(cells.cell, minlength=cells.cells).double()).reshape(2, -1).sum(0) > 0
    rates = torch.cat([rate, positive[None]])[..., known]
    if rates.shape[-1] < 2:
        return draws.nan.expand(3, *draws.nan.shape)
    return rates.amax(-1) - rates.amin(-1)


# --- of the outputs ---------------------------------------------------------------------------------------------------


def _of_logits(name: str, draws: Draws) -> Tensor:
    known = draws.outputs is not None and draws.outputs.are_logits
    return getattr(draws.outputs, name)(draws.weight) if known else draws.nan


def _of_numbers(name: str, draws: Draws) -> Tensor:
    known = draws.outputs is not None and draws.outputs.are_numbers
    return getattr(draws.outputs, name)(draws.weight) if known else draws.nan


def _rooted(mean: Callable[[Draws], Tensor], draws: Draws) -> Tensor:
    """The root of a mean squared error; classes have none."""
    return draws.nan if draws.cells.label is not None else mean(draws).sqrt()


def _average(draws: Draws) -> Tensor:
    return draws.total.sum(-1) / draws.n.sum(-1)


def made(name: str, given: Metric | OwnMetric) -> Metric:
    """The row of what somebody gives: a row, or a function of outputs ``(n, C)`` and the data set they belong to.

    The first line of the function's docstring is the definition; an attribute ``lower = True`` says that lower is
    better. Its interval is made of 200 resamples.

    Raises:
        UserError: when it is neither.
    """
    if isinstance(given, Metric):
        return given
    if not callable(given):
        raise UserError(f"metric '{name}' is no function; give one of outputs and data that returns a number.")
    definition = (inspect.getdoc(given) or "a metric without a description").partition("\n")[0].rstrip(".")
    lower = bool(getattr(given, "lower", False))
    of = partial(_of_samples, name, given)
    return Metric(f"{definition}; lower is better" if lower else definition, of, lower, True, RESAMPLES)


def _of_samples(name: str, function: OwnMetric, draws: Draws) -> Tensor:
    if draws.outputs is None or draws.weight is None or not len(draws.outputs.data):
        return draws.nan
    outputs, data = draws.outputs.outputs, draws.outputs.data
    rows = (torch.arange(len(data)).repeat_interleave(count.long()) for count in draws.weight)
    found = [_number(name, function, outputs[chosen], data.take(chosen)) for chosen in rows]
    return torch.tensor(found, dtype=torch.float64)


def _number(name: str, function: OwnMetric, outputs: Tensor, data: Dataset) -> float:
    try:
        value: Any = function(outputs, data)
    except Exception as error:
        raise UserError(
            f"metric '{name}' fails on {len(data)} samples of {data.info.name} ({type(error).__name__}: {error}); "
            "mend it, and let it return nan where it is not defined."
        ) from error
    try:
        return float("" if isinstance(value, str) else value)
    except (TypeError, ValueError, RuntimeError):
        raise UserError(
            f"metric '{name}' returns a {type(value).__name__} that is no number; let it return one, or nan."
        ) from None


# --- the table --------------------------------------------------------------------------------------------------------

_LARGEST = "largest difference between groups (attribute values, or memberships) of"
_FAIR = "of two classes, the second is the positive one; lower is better"

METRICS: Registry[Metric] = Registry(
    "metric",
    "METRICS",
    {
        "average": Metric("mean over all samples", _average),
        "aligned": Metric("mean over the samples that agree with the shortcut", lambda draws: _where(draws, False)),
        "conflicting": Metric("mean over the samples that contradict the shortcut", lambda draws: _where(draws, True)),
        "worst_group": Metric(
            "worst of the group means; a group is a (label, attribute) cell, or a class without an attribute, "
            "or a (label, membership) cell where the data has memberships, which may overlap",
            _worst,
        ),
        "group_mean": Metric(
            "mean of the group means, each group counting once", lambda draws: _each_once(*draws.groups)
        ),
        "train_weighted": Metric(
            "mean of the group means, each weighted by the group's share of the training set (the adjusted average)",
            _as_in_training,
        ),
        "worst_class": Metric(
            "lowest of the class means",
            lambda draws: draws.nan if draws.cells.label is None else _lowest(*draws.classes),
        ),
        "balanced": Metric(
            "mean of the class means, each class counting once (balanced accuracy)",
            lambda draws: _each_once(*draws.classes),
        ),
        "class_difference": Metric(
            "mean over all pairs of classes of the absolute difference of their means; lower is better",
            lambda draws: _difference(*draws.classes),
            lower=True,
        ),
        "ece": Metric(
            "expected calibration error: mean gap between confidence and accuracy over the 10 bins (0, 0.1], "
            "(0.1, 0.2], … (0.9, 1] of the confidence in the predicted class, each bin weighted by its samples; "
            "lower is better",
            partial(_of_logits, "ece"),
            lower=True,
            outputs=True,
        ),
        "top5": Metric(
            "share of the samples whose class is among the five likeliest (top-5 accuracy); not defined with five "
            "classes or fewer",
            partial(_of_logits, "top5"),
            outputs=True,
        ),
        "auroc": Metric(
            "area under the ROC curve: how often a sample of a class gets a higher probability of it than a sample of "
            "another class, ties (up to rounding) counting half, mean over the classes",
            partial(_of_logits, "auroc"),
            outputs=True,
        ),
        "rmse": Metric(
            "regression: root mean squared error, of all numbers of a target together; lower is better",
            partial(_rooted, _average),
            lower=True,
        ),
        "mae": Metric(
            "regression: mean absolute error, over all numbers of a target; lower is better",
            partial(_of_numbers, "mae"),
            lower=True,
            outputs=True,
        ),
        "mape": Metric(
            "regression: mean absolute error in per cent of the target, numbers that are 0 left out; lower is better",
            partial(_of_numbers, "mape"),
            lower=True,
            outputs=True,
        ),
        "r2": Metric(
            "regression: share of the target's variance that is explained (R²), below 0 where the mean would do "
            "better; of several numbers the plain mean, and not defined where one is always the same",
            partial(_of_numbers, "r2"),
            outputs=True,
        ),
        "worst_group_rmse": Metric(
            "regression: root mean squared error in the group where it is largest; lower is better",
            partial(_rooted, _worst),
            lower=True,
        ),
        "worst_fifth_rmse": Metric(
            "regression: root mean squared error in that fifth of the samples, by rising target (equal ones stay "
            "together), where it is largest; of several numbers the mean; lower is better",
            partial(_of_numbers, "worst_fifth_rmse"),
            lower=True,
            outputs=True,
        ),
        "equalized_odds_sum": Metric(
            f"equalized odds, sum: {_LARGEST} the true positive rate, plus that of the false positive rate (from 0 to "
            f"2); not defined where a group lacks one of the classes; {_FAIR}",
            lambda draws: _gaps(draws)[:2].sum(0),
            lower=True,
        ),
        "equalized_odds_max": Metric(
            "equalized odds, maximum: the larger one of the two differences of equalized_odds_sum; lower is better",
            lambda draws: _gaps(draws)[:2].amax(0),
            lower=True,
        ),
        "equalized_odds_mean": Metric(
            "equalized odds, mean: half of equalized_odds_sum (average odds difference); lower is better",
            lambda draws: _gaps(draws)[:2].mean(0),
            lower=True,
        ),
        "equal_opportunity": Metric(f"{_LARGEST} the true positive rate; {_FAIR}", lambda draws: _gaps(draws)[1], True),
        "demographic_parity": Metric(
            f"{_LARGEST} the rate of positive predictions; {_FAIR}", lambda draws: _gaps(draws)[2], True
        ),
    },
    made=made,
)


def lower_is_better(metric: str, task: str) -> bool:
    """Whether a model is better the lower this metric is.

    >>> lower_is_better("class_difference", "classification"), lower_is_better("average", "classification")
    (True, False)
    """
    row = METRICS[metric]
    return row.lower or (task == "regression" and not row.outputs)
