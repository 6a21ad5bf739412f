"""One round after the other: who is asked next, what the answers brought, and whether to go on."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from longcut.lookup.rules import RULES, Rows, Seen, in_turn, random
from longcut.methods.last_layer.balanced import FOLDS, PROBE, Unknown, filled, folds_of, softmax, strength_to_c
from longcut.methods.last_layer.heads import even, logistic

__all__ = ["UNUSUAL", "Gain", "choose", "conflicting", "filling", "gain", "standardised"]

LOT = 0.1  # share of the first round that is drawn by lot
UNUSUAL = 0.15  # share of samples that are not as usual, above which "as usual" is a bad guess
HEAD = 200.0  # strength of the head that answers are judged by
ENOUGH = 0.01  # of accuracy: a round that brings less is not worth it


def standardised(x: NDArray[Any]) -> NDArray[np.float32]:
    """Features with mean 0 and deviation 1, in rows; a constant one becomes 0.

    >>> standardised(np.array([[1.0, 5.0], [3.0, 5.0]]))
    array([[-1.,  0.],
           [ 1.,  0.]], dtype=float32)
    """
    flat = x.reshape(len(x), -1).astype(np.float64)
    flat -= flat.mean(0)
    deviation = flat.std(0)
    return (flat / np.where(deviation > 1e-12, deviation, 1)).astype(np.float32)


def conflicting(seen: Seen, attribute: NDArray[np.int64], usual: NDArray[np.int64]) -> NDArray[np.float64]:
    """How probable it is that a sample has another value than the usual one of its class ``(n,)``.

    A logistic regression learns the attribute from those that are known and, of all others, the usual value, with every
    cell of label and attribute weighing the same.
    """
    taken = filled(seen.features, seen.label, attribute, usual, "usual")
    values = int(max(taken.max(), usual.max())) + 1
    c = strength_to_c(PROBE, seen.features)
    layer = logistic(seen.features, taken, values, c, even(seen.label * values + taken))
    probability = softmax(seen.features @ layer[:, :-1].T + layer[:, -1])
    return 1 - probability[np.arange(len(taken)), usual[seen.label]]


def choose(
    seen: Seen,
    n: int,
    rule: str,
    generator: np.random.Generator,
    attribute: NDArray[np.int64] | None = None,
    usual: NDArray[np.int64] | None = None,
) -> tuple[Rows, NDArray[np.bool_]]:
    """Who is asked in the next round: at most n rows, the most worthwhile first, and which of them were drawn by lot.

    By ``suspicion`` a tenth of the first round, or three of each class, but no more than a quarter, is drawn by lot:
    who else says which value usually goes with a class, and how usual it is? In later rounds those come first that the
    answers say to conflict.

    Args:
        seen: the samples.
        n: at most so many.
        rule: one of ``RULES``.
        generator: of what is drawn.
        attribute: ids of what is known so far, -1 of the rest ``(n,)``; None in the first round.
        usual: for each class the value that goes with it, in later rounds.
    """
    if rule != "suspicion":
        rows = RULES[rule](seen, n, generator)
        return rows, np.full(len(rows), rule == "random")
    if attribute is None or usual is None or not (attribute >= 0).any():
        few = min(max(round(LOT * n), 3 * len(np.unique(seen.label))), n // 4)
        lot = in_turn(seen.label, random(seen, len(seen.label), generator), few)
        still = seen.open.copy()
        still[lot] = False
        rest = RULES[rule](dataclasses.replace(seen, open=still), n - len(lot), generator)
        return np.concatenate([rest, lot]), np.repeat([False, True], [len(rest), len(lot)])
    rows = np.flatnonzero(seen.open)
    order = rows[np.argsort(-conflicting(seen, attribute, usual)[rows], kind="stable")]
    rows = in_turn(seen.label, order, n)
    return rows, np.zeros(len(rows), bool)


def filling(
    label: NDArray[np.int64], attribute: NDArray[np.int64], usual: NDArray[np.int64], lot: NDArray[np.bool_]
) -> tuple[Unknown, float]:
    """How to fill what is unknown, and the share of samples that are not as usual, all classes counting the same.

    Args:
        label, attribute: of the answered samples ``(m,)``.
        usual: for each class the value that goes with it.
        lot: whether they were drawn by lot ``(m,)``; where none was, the share is nan.

    Returns:
        ``"usual"`` while that is wrong of at most 15 %, else ``"spread"``.
    """
    drawn = [attribute[lot & (label == one)] != usual[one] for one in np.unique(label[lot])]
    share = float(np.mean([other.mean() for other in drawn])) if drawn else float("nan")
    return ("spread" if share > UNUSUAL else "usual"), share


@dataclass(frozen=True)
class Gain:
    """What the later half of the answers brought: accuracy, all cells of label and attribute counting the same.

    Attributes:
        value: the difference, measured on answered samples that had no part in the fit.
        low, high: its 95 % interval.
    """

    value: float
    low: float
    high: float

    @property
    def enough(self) -> bool:
        """Whether as many answers again would bring less than a point: those so far brought less."""
        return self.value < ENOUGH


def gain(
    seen: Seen,
    attribute: NDArray[np.int64],
    usual: NDArray[np.int64],
    generator: np.random.Generator,
    repeats: int = 3,
) -> Gain | None:
    """What all answers bring beyond a random half of them; None where no cell has two answers.

    Each repeat cuts the answered samples into parts. A head fitted without one part, and one fitted without it and with
    only half of the other answers, are judged on it. What a doubling brings becomes less with each doubling, so that
    as many answers again will hardly bring more.
    """
    known = np.flatnonzero(attribute >= 0)
    values = int(max(attribute.max(), usual.max())) + 1
    cell = seen.label[known] * values + attribute[known]
    if len(known) < 2 * FOLDS or np.bincount(cell).max() < 2:
        return None
    better = np.zeros(len(known))
    for _ in range(repeats):
        fold = folds_of(cell, FOLDS, generator)
        half = folds_of(cell, 2, generator) == 0
        for part in range(FOLDS):
            held = fold == part
            rest = np.ones(len(attribute), bool)
            rest[known[held]] = False
            for sign, told in ((1, attribute), (-1, _without(attribute, known[half & ~held]))):
                better[held] += sign * _right(seen, told, usual, rest, known[held], values) / repeats
    counts = np.bincount(cell)
    present = np.flatnonzero(counts)
    mean = np.array([better[cell == one].mean() for one in present])
    spread = np.array([better[cell == one].var(ddof=1) / counts[one] if counts[one] > 1 else 0.0 for one in present])
    value, error = float(mean.mean()), float(np.sqrt(spread.sum()) / len(present))
    return Gain(value, value - 1.96 * error, value + 1.96 * error)


def _without(attribute: NDArray[np.int64], rows: Rows) -> NDArray[np.int64]:
    fewer = attribute.copy()
    fewer[rows] = -1
    return fewer


def _right(
    seen: Seen,
    attribute: NDArray[np.int64],
    usual: NDArray[np.int64],
    fitted: NDArray[np.bool_],
    judged: Rows,
    values: int,
) -> NDArray[np.bool_]:
    """Whether the head of the fitted samples is right about the judged ones."""
    x, label = seen.features[fitted], seen.label[fitted]
    taken = np.where(attribute < 0, usual[seen.label], attribute)[fitted]
    layer = logistic(x, label, seen.probability.shape[1], strength_to_c(HEAD, x), even(label * values + taken))
    return (seen.features[judged] @ layer[:, :-1].T + layer[:, -1]).argmax(1) == seen.label[judged]
