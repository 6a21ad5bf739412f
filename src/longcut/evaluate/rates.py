"""Rates of positive predictions by group, where there are two classes: what fairness metrics compare."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from longcut.evaluate.bootstrap import Group, Scores

__all__ = ["Rates", "rates_by_group"]

Bounded = tuple[float, float, float]


@dataclass(frozen=True)
class Rates:
    """One value of the attribute, or one membership; the second class is the positive one.

    Attributes:
        attribute: which.
        n: number of its samples.
        true_positive: share of its positives that are predicted to be positive, and its 95 % interval.
        false_positive: likewise of its negatives.
        positive: share of all its samples that are predicted to be positive.
        base: share that is positive.
    """

    attribute: int
    n: int
    true_positive: Bounded
    false_positive: Bounded
    positive: float
    base: float


def rates_by_group(scores: Scores) -> list[Rates]:
    """The rates of each attribute value that has samples; none for other than two classes, or without an attribute.

    Rates are ``nan`` where a value has no samples of the class.

    >>> from longcut.evaluate.bootstrap import Group, Scores
    >>> groups = [Group(0, 0, 4, 0.75, 0.5, 1.0), Group(1, 0, 1, 1.0, 1.0, 1.0)]
    >>> rates_by_group(Scores({}, {}, groups, 5))[0].false_positive
    (0.25, 0.0, 0.5)
    """
    cells = {(group.label, group.attribute): group for group in scores.groups}
    if {label for label, _ in cells} != {0, 1}:
        return []
    values = dict.fromkeys(value for _, value in cells if value is not None)
    found = (_rates(value, cells[0, value], cells[1, value]) for value in values)
    return [rates for rates in found if rates.n]


def _rates(value: int, negative: Group, positive: Group) -> Rates:
    n = negative.n + positive.n
    predicted = sum(
        group.n * rate
        for group, rate in ((negative, 1 - negative.value), (positive, positive.value))
        if group.n  # of none there is no rate
    )
    return Rates(
        value,
        n,
        (positive.value, positive.low, positive.high),
        (1 - negative.value, 1 - negative.high, 1 - negative.low),
        predicted / n if n else math.nan,
        positive.n / n if n else math.nan,
    )
