"""Selection rules: which samples to look up, from what a classifier that did not see them says about them.

Each is a pure function: of the samples that may be asked it gives some, the most worthwhile first. Classes take turns,
because counter-examples of every class are needed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["RULES", "Seen", "cells", "diversity", "in_turn", "margin", "random", "suspicion"]

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Seen:
    """What is known of the samples.

    Attributes:
        features: standardised ``(n, d)``.
        label: class ids ``(n,)``.
        probability: of each class, by models that did not see the sample ``(n, C)``.
        open: which samples may be asked ``(n,)``.
    """

    features: NDArray[np.float32]
    label: NDArray[np.int64]
    probability: NDArray[np.float64]
    open: NDArray[np.bool_]

    @property
    def own(self) -> NDArray[np.float64]:
        """Probability of each sample's own label ``(n,)``."""
        return self.probability[np.arange(len(self.label)), self.label]


def in_turn(ids: NDArray[np.int64], order: Rows, n: int) -> Rows:
    """The first n of an order of rows in which the ids take turns.

    >>> in_turn(np.array([0, 0, 0, 1]), np.array([2, 1, 0, 3]), 3)
    array([2, 3, 1])
    """
    rank = np.empty(len(order), np.int64)
    for one in np.unique(ids[order]):
        rank[ids[order] == one] = np.arange((ids[order] == one).sum())
    return order[np.argsort(rank, kind="stable")][:n]


def _lowest(seen: Seen, score: NDArray[np.float64], n: int) -> Rows:
    rows = np.flatnonzero(seen.open)
    return in_turn(seen.label, rows[np.argsort(score[rows], kind="stable")], n)


def suspicion(seen: Seen, n: int, generator: np.random.Generator) -> Rows:
    """Those whose own label is least probable.

    >>> p = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.3, 0.7]])
    >>> seen = Seen(np.zeros((4, 1)), np.array([0, 0, 1, 1]), p, np.ones(4, bool))
    >>> suspicion(seen, 2, np.random.default_rng(0))
    array([1, 2])
    """
    return _lowest(seen, seen.own, n)


def margin(seen: Seen, n: int, generator: np.random.Generator) -> Rows:
    """Those whose two most probable classes are nearest to each other."""
    two = np.sort(seen.probability, 1)[:, -2:]
    return _lowest(seen, two[:, 1] - two[:, 0], n)


def diversity(seen: Seen, n: int, generator: np.random.Generator) -> Rows:
    """Greedy k-centre: again and again the sample that is farthest from all that are chosen or were asked before.

    Where nothing was asked, it begins with the sample nearest to the mean.

    Source: Sener and Savarese, "Active learning for convolutional neural networks: a core-set approach", ICLR 2018.
    """
    x, size = seen.features, np.square(seen.features).sum(1)

    def far(row: int) -> NDArray[np.float32]:
        return size - 2 * (x @ x[row]) + size[row]

    rows: list[int] = []
    if (~seen.open).any():
        distance = np.min([far(int(row)) for row in np.flatnonzero(~seen.open)], axis=0)
    else:
        middle = x.mean(0)
        rows.append(int(np.square(x - middle).sum(1).argmin()))
        distance = far(rows[0])
    closed = ~seen.open
    while len(rows) < min(n, int(seen.open.sum())):
        taken = closed.copy()
        taken[rows] = True
        rows.append(int(np.where(taken, -np.inf, distance).argmax()))
        distance = np.minimum(distance, far(rows[-1]))
    return np.array(rows[:n], np.int64)


def cells(seen: Seen, n: int, generator: np.random.Generator) -> Rows:
    """At random, but each pair of class and predicted class as often as every other."""
    classes = seen.probability.shape[1]
    cell = seen.label * classes + seen.probability.argmax(1)
    return in_turn(cell, generator.permutation(np.flatnonzero(seen.open)), n)


def random(seen: Seen, n: int, generator: np.random.Generator) -> Rows:
    """At random."""
    return generator.permutation(np.flatnonzero(seen.open))[:n]


RULES: dict[str, Callable[[Seen, int, np.random.Generator], Rows]] = {
    "suspicion": suspicion,
    "margin": margin,
    "diversity": diversity,
    "cells": cells,
    "random": random,
}
"""Selection rules by name."""
