"""How often samples are called positive, by group, where that is left to chance."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from longcut.data import Dataset

__all__ = ["BY_GROUP", "GAPS", "Rates", "rates"]

GAPS = {  # between groups, and what they are
    "equalized_odds_sum": "difference of true positive rates between groups plus that of false positive rates",
    "equalized_odds_max": "the larger of the two",
    "equalized_odds_mean": "half the sum",
    "equal_opportunity": "difference of true positive rates between groups",
    "demographic_parity": "difference between groups of the shares that are called positive",
}
BY_GROUP = {
    "tpr": "share of the positives that is called positive",
    "fpr": "share of the negatives that is called positive",
    "selected": "share of all that is called positive",
}


@dataclass(frozen=True)
class Rates:
    """How often samples are called positive, by group: shares in [0, 1], ``nan`` where a group has no such samples.

    Differences are defined as the metrics of the same names are, see :data:`longcut.evaluate.METRICS`.

    Attributes:
        accuracy: of all.
        tpr: of each attribute value, the share of its positives that is called positive.
        fpr: the same of its negatives.
        selected: the same of all its samples.
    """

    accuracy: float
    tpr: tuple[float, ...]
    fpr: tuple[float, ...]
    selected: tuple[float, ...]

    @property
    def equal_opportunity(self) -> float:
        """Largest difference of ``tpr`` between two groups."""
        return self._gap(self.tpr)

    @property
    def demographic_parity(self) -> float:
        """Largest difference of ``selected`` between two groups."""
        return self._gap(self.selected)

    @property
    def equalized_odds_sum(self) -> float:
        """The differences of ``tpr`` and of ``fpr``, added."""
        return self._gap(self.tpr) + self._gap(self.fpr)

    @property
    def equalized_odds_mean(self) -> float:
        """Half the sum."""
        return self.equalized_odds_sum / 2

    @property
    def equalized_odds_max(self) -> float:
        """The larger of the two differences."""
        gaps = self._gap(self.tpr), self._gap(self.fpr)
        return math.nan if math.isnan(sum(gaps)) else max(gaps)

    def _gap(self, values: tuple[float, ...]) -> float:
        """Between groups that have samples; ``nan`` where there are not two, or one of these has no such samples."""
        there = [value for value, share in zip(values, self.selected, strict=True) if not math.isnan(share)]
        defined = len(there) > 1 and not any(map(math.isnan, there))
        return max(there) - min(there) if defined else math.nan

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers by name, the differences first."""
        gaps = {name: getattr(self, name) for name in GAPS}
        return {"accuracy": self.accuracy, **gaps} | {name: list(getattr(self, name)) for name in BY_GROUP}


def rates(chance: Tensor, data: Dataset) -> Rates:
    """Expected rates where each sample is called positive with a chance.

    Args:
        chance: ``(n,)`` in [0, 1]; 0 and 1 are predictions.
        data: the samples, of two classes and with an attribute, which may be known of some.

    >>> data = Dataset.of(torch.zeros(4, 1), [1, 1, 0, 0], [0, 1, 0, 1])
    >>> found = rates(torch.tensor([1.0, 0.5, 0.0, 0.0]), data)
    >>> found.accuracy, found.tpr, found.equalized_odds_sum
    (0.875, (1.0, 0.5), 0.5)
    """
    attribute, positive = cast(Tensor, data.attribute), data.label == 1
    chance = chance.double()

    def by_group(among: Tensor) -> tuple[float, ...]:
        among = among & (attribute >= 0)
        own = attribute[among]
        total = torch.bincount(own, chance[among], minlength=data.info.n_attributes)
        return tuple((total / torch.bincount(own, minlength=len(total))).tolist())

    right = torch.where(positive, chance, 1 - chance)
    return Rates(float(right.mean()), by_group(positive), by_group(~positive), by_group(positive | ~positive))
