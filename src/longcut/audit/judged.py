"""What the three models say about each sample, and how much worse a model is where the easy cue misleads."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from longcut.audit.association import balanced_accuracies

__all__ = ["EASE", "FEW", "Judged", "accuracy", "gap", "sides"]

SURE = 0.05  # a mistake is confident when it is as sure as all but this share of what is right
FEW = 8  # confident mistakes below which nothing is said
EASE = 0.2  # way from guessing to certainty below which a biased model knows nothing easy


@dataclass(frozen=True)
class Judged:
    """What models that did not see a sample say about it; see :mod:`longcut.audit.crossfit`.

    Attributes:
        label: ``(n,)``.
        easy: probabilities of the biased model ``(n, C)``.
        profile: cosine with each class's centre in the biased embedding ``(n, C)``.
        ordinary, debiased: probabilities ``(n, C)``.
        updates: of the ordinary model, at the points of its learning curve ``(p,)``.
        hits: whether the ordinary model was right by then ``(p, n)``.
        stopped: updates after which the biased model was stopped.
        member: spec of its net, where it was chosen from a family by evidence; else empty.
        numbers: of a target of numbers, what an ordinary model that learned the numbers says ``(n,)``; else None.
    """

    label: NDArray[np.int64]
    easy: NDArray[np.float32]
    profile: NDArray[np.float32]
    ordinary: NDArray[np.float32]
    debiased: NDArray[np.float32]
    updates: list[int] = field(default_factory=list)
    hits: NDArray[np.bool_] = field(default_factory=lambda: np.zeros((0, 0), bool))
    stopped: int = 0
    member: str = ""
    numbers: NDArray[np.float32] | None = None

    @cached_property
    def looks(self) -> NDArray[np.int64]:
        """The class each sample looks like to the biased model ``(n,)``."""
        return self.easy.argmax(1)

    @cached_property
    def contradicts(self) -> NDArray[np.bool_]:
        """Where the biased model contradicts the label ``(n,)``."""
        return self.looks != self.label

    @cached_property
    def sureness(self) -> NDArray[np.float32]:
        """By how much the class that a sample looks like leads: over its label or, where they agree, the next class."""
        rows, rest = np.arange(len(self.label)), self.easy.copy()
        rest[rows, self.looks] = -1
        rival = np.where(self.contradicts, self.easy[rows, self.label], rest.max(1))
        return self.easy.max(1) - rival

    @cached_property
    def suspected(self) -> NDArray[np.bool_]:
        """Where the biased model contradicts the label and is as sure as it is of most that it gets right ``(n,)``.

        Nobody is suspected where it hardly knows more than guessing: then nothing is easy, and nothing contradicts it.
        Of a target of numbers, a part next to a sample's own is no contradiction.
        """
        if self.ease < EASE:
            return np.zeros_like(self.contradicts)
        sure = self.sureness >= np.quantile(self.sureness[~self.contradicts], SURE)
        near = self.numbers is not None and np.abs(self.looks - self.label) == 1
        return self.contradicts & sure & np.logical_not(near)

    @cached_property
    def score(self) -> NDArray[np.float32]:
        """Suspicion: the probability that the biased model gives to other labels than the sample's own ``(n,)``."""
        return 1 - self.easy[np.arange(len(self.label)), self.label]

    @cached_property
    def ordinary_correct(self) -> NDArray[np.bool_]:
        """Where the ordinary model gives the sample's own label ``(n,)``."""
        return self.ordinary.argmax(1) == self.label

    @cached_property
    def debiased_correct(self) -> NDArray[np.bool_]:
        """Where the debiased model gives the sample's own label ``(n,)``."""
        return self.debiased.argmax(1) == self.label

    @property
    def ease(self) -> float:
        """How far the biased model goes from guessing (0) to certainty (1), every class counting the same."""
        chance = 1 / self.easy.shape[1]
        return (_balanced(self.easy, self.label) - chance) / (1 - chance)

    def explained(self, target: NDArray[np.float64]) -> float:
        """Held-out R² of the ordinary model that learned the numbers."""
        assert self.numbers is not None
        left = np.square(self.numbers - target).mean()
        return float(1 - left / target.var())

    @property
    def ceiling(self) -> float:
        """Held-out accuracy of the ordinary model, every class counting the same."""
        return _balanced(self.ordinary, self.label)


def gap(correct: NDArray[Any], judged: Judged, counts: NDArray[Any] | None = None) -> NDArray[np.float64]:
    """Accuracy where the biased model agrees with the label minus where it does not, weighted by how sure it is.

    Args:
        correct: whether some model gives the sample's own label ``(n,)``.
        judged: says on which side a sample is, and its weight.
        counts: how often each sample stands in a resample ``(draws, n)``; default: once, in a single draw.

    Returns:
        ``(draws,)``; 0 where one of the sides is empty.
    """
    agree, against = sides(correct, judged, counts)
    return np.nan_to_num(agree - against)


def sides(
    correct: NDArray[Any], judged: Judged, counts: NDArray[Any] | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The two accuracies that :func:`gap` is the difference of: where the biased model agrees, where it does not.

    Whatever a page says of these two sides is said by these numbers, so that they are the same everywhere.

    Returns:
        Two of ``(draws,)``; ``nan`` where a side is empty.
    """
    counts = np.ones((1, len(correct))) if counts is None else counts
    agree, against = (judged.sureness * side for side in (~judged.contradicts, judged.contradicts))
    return accuracy(correct, agree, counts), accuracy(correct, against, counts)


def accuracy(correct: NDArray[Any], weight: NDArray[Any], counts: NDArray[Any]) -> NDArray[np.float64]:
    """Weighted accuracy in each resample ``(draws,)``; ``nan`` where no weight is left."""
    total = counts @ weight
    return np.divide(counts @ (weight * correct), total, out=np.full(len(total), np.nan), where=total > 0)


def _balanced(probability: NDArray[np.float32], label: NDArray[np.int64]) -> float:
    """Balanced accuracy of the most probable class."""
    return float(balanced_accuracies(probability.argmax(1)[None], label)[0])
