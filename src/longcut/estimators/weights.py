"""Weights as how often a row stands: any method then sees them, whatever its loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from longcut.errors import UserError

__all__ = ["by_class", "canonical", "in_places", "times_of", "whole_numbers"]

PARTS, FEW = 10, 1000  # rows stand at most this often on average; this many in all are never too many
LEAST = 2  # rows that a cell keeps however little it weighs, as every class needs in training


def times_of(weight: NDArray[np.float64], cell: NDArray[Any] | None = None) -> NDArray[np.int64]:
    """How often each row stands, in proportion to its weight, which is positive: exactly, or in so many places.

    >>> times_of(np.array([2.0, 1.0])), times_of(np.array([6.0, 6.0])), times_of(np.array([0.25, 1.75]))
    (array([2, 1]), array([1, 1]), array([1, 7]))
    >>> times_of(np.array([1.0, 1e6 + 0.5])), times_of(np.array([1.0, 1e6 + 0.5]), np.array([0, 1]))
    (array([   0, 1000]), array([   2, 1000]))
    """
    exact = whole_numbers(weight)
    return in_places(weight, cell, len(weight)) if exact is None else exact


def whole_numbers(weight: NDArray[np.float64]) -> NDArray[np.int64] | None:
    """The smallest whole numbers in these proportions ``(n,)``; None if they come to more than ``max(10 n, 1000)``."""
    most = _most(len(weight))
    if weight.max() < 1 << 53 and (weight == np.rint(weight)).all():
        times = weight.astype(np.int64)
        times //= np.gcd.reduce(times)
        return times if times.sum(dtype=float) <= most else None
    weight = weight / weight.max()
    least = weight.min()
    for factor in range(1, int(most * least / weight.sum()) + 1):
        exact = factor * weight / least
        if np.allclose(exact, np.rint(exact), rtol=1e-9, atol=0):
            return np.rint(exact).astype(np.int64)
    return None


def in_places(weight: NDArray[np.float64], cell: NDArray[Any] | None, given: int) -> NDArray[np.int64]:
    """``max(10 given, 1000)`` places along the rows ``(n,)``, each at its share of the whole (systematic sampling).

    A row stands as often as it should give or take one, and so does every stretch of rows, however light each is.

    Args:
        weight: ``(n,)``.
        cell: which rows belong together ``(n,)``, those of a cell in one stretch; a cell keeps at least two places.
        given: how many rows these were before equal ones became one.
    """
    weight = weight / weight.max()
    ends = np.round(_most(given) * weight.cumsum() / weight.sum(), 6)  # so that sums in any unit end alike
    times = np.diff(np.floor(ends + 0.5), prepend=0).astype(np.int64)
    if cell is not None:
        starts = np.flatnonzero(np.r_[True, cell[1:] != cell[:-1]])
        times[starts] += np.maximum(LEAST - np.add.reduceat(times, starts), 0)
    return times


def _most(given: int) -> int:
    return max(PARTS * given, FEW)


def canonical(
    x: NDArray[Any], columns: Sequence[NDArray[Any]], weight: NDArray[Any]
) -> tuple[NDArray[np.intp], NDArray[Any]]:
    """Distinct rows in an order that depends on nothing but what they hold, and what each weighs.

    So training sees the same whatever the order of the rows, and whether a row is repeated or weighted.

    >>> canonical(np.array([[7], [5], [7]]), [np.array([1, 0, 1])], np.array([1, 2, 3]))
    (array([1, 0]), array([2, 4]))
    """
    flat = np.ascontiguousarray(x.reshape(len(x), -1))
    content = flat.view(np.dtype((np.void, flat.shape[1] * flat.itemsize))).ravel()
    order = weight.argsort(kind="stable")  # so that the weights of equal rows are added up in one order
    order = order[content[order].argsort(kind="stable")]
    order = order[np.lexsort([column[order] for column in columns])]
    differs = [values[order][1:] != values[order][:-1] for values in (content, *columns)]
    first = np.flatnonzero(np.r_[True, np.any(differs, axis=0)])
    return order[first], np.add.reduceat(weight[order], first)


def by_class(given: Mapping[Any, float] | str | None, y: NDArray[Any], weight: NDArray[np.float64]) -> Any:
    """The weights times those of the rows' classes: ``"balanced"``, by label, or None for none.

    Raises:
        UserError: for anything else, a class that is not there, or a weight that is not at least 0.

    >>> by_class("balanced", np.array([0, 0, 0, 1]), np.ones(4)).round(2)
    array([0.67, 0.67, 0.67, 2.  ])
    """
    if given is None:
        return weight
    classes, label = np.unique(y, return_inverse=True)
    if isinstance(given, str) and given == "balanced":
        held = np.bincount(label, weight)
        factor = np.divide(held.sum(), np.count_nonzero(held) * held, out=np.zeros(len(held)), where=held > 0)
    elif isinstance(given, Mapping):
        if strange := [name for name in given if name not in classes]:
            raise UserError(
                f"class_weight is of a class '{strange[0]}', but y has {', '.join(map(str, classes[:10]))}; give those."
            )
        factor = np.array([given.get(name, 1.0) for name in classes.tolist()], dtype=np.float64)
        if not (np.isfinite(factor) & (factor >= 0)).all():
            raise UserError(f"class_weight={dict(given)} is not allowed; give numbers at least 0.")
    else:
        raise UserError(f"class_weight={given!r} is not allowed; give 'balanced' or a weight for each label.")
    return weight * factor[label]
