"""Two methods on the same test samples: a paired bootstrap."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from longcut.data import Dataset
from longcut.data import generator as seeded
from longcut.errors import UserError
from longcut.evaluate.bootstrap import interval, resamples
from longcut.evaluate.cells import Draws, cells_of
from longcut.evaluate.table import METRICS

__all__ = ["Difference", "paired", "paired_sets"]


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
        metric: one of ``METRICS``, but none that needs outputs, such as ``ece``, which per-sample values do not give.
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
    row = METRICS.find(metric)
    if row.outputs:
        raise UserError(
            f"{metric} is no mean of per-sample values, so it has no paired bootstrap here; "
            f"choose one of {', '.join(name for name, other in METRICS.items() if not other.outputs)}."
        )
    values, drawn = [], []
    for i, (a, b, data, train) in enumerate(sets):
        first, second = _rows(a, data), _rows(b, data)
        cells, both = cells_of(data, train), torch.cat([first, second])

        def difference(total: Tensor, n: Tensor) -> Tensor:
            found = row.of(Draws(cells, total, n))  # noqa: B023
            return found[: len(first)].mean(0) - found[len(first) :].mean(0)  # noqa: B023

        values.append(difference(*cells.sums(both)))
        resampled = resamples(cells, both, draws, seeded(seed, 78, i))
        drawn.append(torch.cat([difference(total, n.expand_as(total)) for _, total, n in resampled]))
    value, differences = float(torch.stack(values).mean()), torch.stack(drawn).mean(0)
    if math.isnan(value):
        raise UserError(f"{metric} is not defined on the test set; choose another metric, such as average.")
    differences = differences[~differences.isnan()]
    tail = min(int((differences <= 0).sum()), int((differences >= 0).sum()))
    p = min(1.0, 2 * (tail + 1) / (len(differences) + 1))
    return Difference(metric, value, *interval(differences), p)


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
