"""How strongly two columns go together, and whether chance can explain it: the statistics of the audit.

Columns are ids, integers from 0. A *guess* is the class that somebody who knows one thing about a sample, and has seen
other samples, would bet on. It is judged by its balanced accuracy, the mean over the classes of the share that is
guessed right, which is one over the number of classes for whoever knows nothing, however rare some classes are.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from longcut.audit.base import Verdict

__all__ = [
    "LARGE",
    "MOST",
    "balanced_accuracies",
    "contingency",
    "cramers_v",
    "folds_of",
    "guess",
    "held_out_test",
    "max_permutation",
    "max_permutation_of_cells",
    "mutual_information",
    "p_values",
    "resampled",
    "resampled_accuracy",
    "resampled_v",
    "residuals",
    "verdict_of",
    "wilson",
]

DRAWS, FEWEST_DRAWS = 999, 199
BLOCK = 2**24  # counts of bootstrap samples in memory at a time
WORK = 10**9  # table entries that a permutation test may count; larger data gets fewer draws
LARGE = (
    0.6  # of the way from guessing to certainty, from where on the label is nearly decided: four of five in two classes
)
MOST = 0.5  # of the way to what can be learned, from where on it is most of what a model uses

Ids = NDArray[np.int64]
Floats = NDArray[np.float64]


def contingency(a: NDArray[np.integer], b: NDArray[np.integer]) -> Ids:
    """How often each id of ``a`` meets each id of ``b``: counts ``(max(a) + 1, max(b) + 1)``.

    >>> contingency(np.array([0, 0, 1]), np.array([2, 2, 0]))
    array([[0, 0, 2],
           [1, 0, 0]])
    """
    rows, columns = int(a.max()) + 1, int(b.max()) + 1
    return np.bincount(a.astype(np.int64) * columns + b, minlength=rows * columns).reshape(rows, columns)


def cramers_v(table: NDArray[np.integer]) -> float:
    """Cramér's V of a table of counts, bias-corrected, in [0, 1].

    Rows and columns without counts are left out; with a single one left, V is 0. W. Bergsma, "A bias-correction for
    Cramér's V and Tschuprow's T", J. Korean Statistical Society 2013.

    >>> round(cramers_v(np.array([[30, 10], [10, 30]])), 4), round((25 / 104) ** 0.5, 4)
    (0.4903, 0.4903)
    """
    table = table[table.sum(1) > 0][:, table.sum(0) > 0]
    rows, columns = table.shape
    n = table.sum()
    if min(rows, columns) < 2:
        return 0.0
    phi2 = float((residuals(table) ** 2).sum() / n)
    phi2 = max(0.0, phi2 - (rows - 1) * (columns - 1) / (n - 1))
    most = min(k - (k - 1) ** 2 / (n - 1) for k in (rows, columns)) - 1
    return min(1.0, float(phi2 / most) ** 0.5) if most > 0 else 0.0


def residuals(table: NDArray[np.integer]) -> Floats:
    """By how much each cell exceeds independence: ``(observed - expected) / sqrt(expected)``, 0 where none is expected.

    >>> residuals(np.array([[3, 1], [1, 3]])).round(4)
    array([[ 0.7071, -0.7071],
           [-0.7071,  0.7071]])
    """
    expected = table.sum(1, keepdims=True) * table.sum(0, keepdims=True) / max(table.sum(), 1)
    return (table - expected) / np.sqrt(np.where(expected > 0, expected, 1))


def resampled_v(table: NDArray[np.integer], rng: np.random.Generator, draws: int = 400) -> Floats:
    """Cramér's V of tables that are drawn anew ``(draws,)``; their quantiles are the ends of its interval.

    A table of few counts exceeds independence by chance, and one drawn from it does so twice. So the tables are drawn
    from a mixture of this one and independence whose own V is the bias-corrected one.
    """
    expected = table.sum(1, keepdims=True) * table.sum(0, keepdims=True) / table.sum()
    smaller = min(np.count_nonzero(table.sum(1)), np.count_nonzero(table.sum(0)))
    uncorrected = float((residuals(table) ** 2).sum() / table.sum() / max(smaller - 1, 1)) ** 0.5
    kept = min(1.0, cramers_v(table) / uncorrected) if uncorrected > 0 else 0.0
    share = (kept * table + (1 - kept) * expected) / table.sum()
    drawn = rng.multinomial(table.sum(), share.ravel() / share.sum(), draws)
    return np.array([cramers_v(counts.reshape(table.shape)) for counts in drawn])


def mutual_information(table: NDArray[np.integer]) -> float:
    """Mutual information of a table of counts, in bits, without any correction.

    >>> mutual_information(np.diag([5, 5, 5, 5]))
    2.0
    """
    share = table / table.sum()
    independent = share.sum(1, keepdims=True) * share.sum(0, keepdims=True)
    seen = share > 0
    return max(0.0, float((share[seen] * np.log2(share[seen] / independent[seen])).sum()))


def max_permutation(
    columns: Sequence[NDArray[np.integer]], label: Ids, rng: np.random.Generator, draws: int = DRAWS
) -> tuple[Floats, Floats]:
    """Is any of many columns associated with the label? Single-step max-T test by permutation of the label.

    The statistic of a column is its chi-square, standardised by its degrees of freedom, ``(chi2 - df) / sqrt(2 df)``,
    so that columns with many values do not drown the others. Its p-value is the share of permutations in which the
    largest statistic of *all* columns reaches it: the chance of one false alarm among them is at most the level,
    however the columns depend on each other. P. Westfall and S. Young, "Resampling-Based Multiple Testing", Wiley 1993.

    Args:
        columns: ids ``(n,)`` each.
        label: class ids ``(n,)``.
        rng: draws the permutations.
        draws: how many; fewer, but at least 199, for data so large that it would take minutes.

    Returns:
        The standardised statistics and the corrected p-values, one per column.

    >>> label = np.arange(200) % 2
    >>> _, p = max_permutation([label, np.arange(200) // 2 % 2], label, np.random.default_rng(0))
    >>> p.tolist()
    [0.001, 1.0]
    """
    # The commonest value of a column is not counted: its counts are what the others leave.
    rows, cells, starts, count = [], [], [], 0
    for column in columns:
        distinct, ids = np.unique(column, return_inverse=True)
        commonest = np.bincount(ids).argmax()
        chosen = np.flatnonzero(ids != commonest)
        rows.append(chosen)
        cells.append(count + ids[chosen] - (ids[chosen] > commonest))
        starts.append(count)
        count += max(len(distinct) - 1, 1)
    if not columns:
        return np.zeros(0), np.zeros(0)
    return max_permutation_of_cells(
        np.concatenate(rows), np.concatenate(cells), np.array(starts), count, label, rng, draws
    )


def max_permutation_of_cells(
    rows: Ids, cells: Ids, starts: Ids, count: int, label: Ids, rng: np.random.Generator, draws: int = DRAWS
) -> tuple[Floats, Floats]:
    """:func:`max_permutation` for columns of which only the rarer values are listed, such as the words of texts.

    Args:
        rows: the sample of each entry.
        cells: the value that the sample has, numbered through all columns. A sample without an entry for a column has
            the value of that column that is not listed.
        starts: the first cell of each column.
        count: of all cells.
        label: class ids ``(n,)``.
        rng: draws the permutations.
        draws: how many, at most.
    """
    _, label = np.unique(label, return_inverse=True)
    of_class = np.bincount(label)
    n, classes = len(label), len(of_class)
    expected = np.bincount(cells, minlength=count)[:, None] * of_class / n
    rest = of_class - np.add.reduceat(expected, starts)
    weight, rest_weight = (1 / np.where(e > 0, e, np.inf) for e in (expected, rest))
    df = np.maximum(np.diff(starts, append=count) * (classes - 1), 1)
    base = cells * classes

    def standardised(label: Ids) -> Floats:
        observed = np.bincount(base + label[rows], minlength=count * classes).reshape(count, classes)
        excess = observed - expected
        chi2 = np.add.reduceat((excess**2 * weight).sum(1), starts)
        chi2 += (np.add.reduceat(excess, starts) ** 2 * rest_weight).sum(1)
        return (chi2 - df) / np.sqrt(2 * df)

    observed = standardised(label)
    draws = min(draws, max(FEWEST_DRAWS, WORK // max(len(rows), 1)))
    largest = np.array([standardised(rng.permutation(label)).max() for _ in range(draws)])
    return observed, p_values(observed, largest)


def p_values(observed: Floats, largest: Floats) -> Floats:
    """Share of draws whose largest statistic reaches the observed one, which counts as one of the draws."""
    slack = 1e-6 * np.maximum(np.abs(observed), 1)  # equal up to rounding is equal
    below = np.searchsorted(np.sort(largest), observed - slack)
    return (1 + len(largest) - below) / (1 + len(largest))


def folds_of(label: Ids, folds: int, rng: np.random.Generator) -> Ids:
    """The part 0…folds−1 of each sample ``(n,)``, drawn at random with the classes in proportion.

    Args:
        label: class ids ``(n,)``; at least one class has two samples.
        folds: number of parts, at most; where no class has so many samples, there are fewer.
        rng: draws the parts.

    >>> folds_of(np.array([0, 0, 1, 1]), 2, np.random.default_rng(0)).reshape(2, 2).sum(1).tolist()
    [1, 1]
    """
    from sklearn.model_selection import StratifiedKFold

    parts = min(folds, int(np.bincount(label).max()))
    cut = StratifiedKFold(parts, shuffle=True, random_state=int(rng.integers(2**31)))
    fold = np.zeros(len(label), np.int64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a class with fewer samples than parts is in some of them only
        for part, (_, held) in enumerate(cut.split(label, label)):
            fold[held] = part
    return fold


def guess(values: NDArray[np.integer], label: Ids, fold: Ids) -> Ids:
    """The class that each sample's value is most typical of in the other parts ``(n,)``.

    That is the class with the largest share of its samples at that value, so that all classes weigh the same. A value
    that the other parts do not hold gives class 0.

    Args:
        values: ids ``(n,)``.
        label: class ids ``(n,)``.
        fold: part of each sample ``(n,)``.

    >>> label, fold = np.array([0, 0, 0, 1, 1]), np.array([0, 1, 0, 1, 0])
    >>> guess(np.array([3, 3, 3, 0, 0]), label, fold).tolist()
    [0, 0, 0, 1, 1]
    """
    _, values = np.unique(values, return_inverse=True)
    parts, kinds, classes = int(fold.max()) + 1, int(values.max()) + 1, int(label.max()) + 1
    cell = (fold * kinds + values) * classes + label
    seen = np.bincount(cell, minlength=parts * kinds * classes).reshape(parts, kinds, classes)
    elsewhere = seen.sum(0) - seen
    typical = elsewhere / np.maximum(elsewhere.sum(1, keepdims=True), 1)
    return typical.argmax(2)[fold, values]


def balanced_accuracies(guesses: NDArray[np.integer], label: Ids) -> Floats:
    """Balanced accuracy of each row of guesses ``(m, n)``: ``(m,)``, over the classes that occur.

    >>> balanced_accuracies(np.array([[0, 0, 0, 1], [0, 0, 0, 0]]), np.array([0, 0, 0, 1])).tolist()
    [1.0, 0.5]
    """
    return np.stack([(guesses[:, label == value] == value).mean(1) for value in np.unique(label)]).mean(0)


def resampled_accuracy(correct: NDArray[np.bool_], label: Ids, rng: np.random.Generator, draws: int = 400) -> Floats:
    """Balanced accuracy in bootstrap samples, drawn within each class ``(draws,)``.

    The number of correct guesses among a class's redrawn samples is binomial, so only that number is drawn.
    """
    count = np.bincount(label)
    share = np.bincount(label, correct)[count > 0] / count[count > 0]
    return (rng.binomial(count[count > 0], share, (draws, len(share))) / count[count > 0]).mean(1)


def resampled(
    statistic: Callable[[NDArray[np.float32]], Floats], n: int, rng: np.random.Generator, draws: int
) -> Floats:
    """A statistic of bootstrap samples ``(draws, …)``, of some of them at a time, so that memory is bounded.

    Counting ids is twelve times as fast as numpy's multinomial, which asks a binomial of each sample in turn.

    Args:
        statistic: takes how often each sample stands in some bootstrap samples ``(d, n)``, and returns ``(d, …)``.
        n: how many samples there are.
        rng: draws them.
        draws: how many bootstrap samples.

    >>> resampled(lambda counts: counts.sum(1), 5, np.random.default_rng(0), 3)
    array([5., 5., 5.], dtype=float32)
    """
    found = []
    for first in range(0, draws, size := max(1, BLOCK // n)):
        counts = np.empty((min(size, draws - first), n), np.float32)
        for row in counts:
            row[:] = np.bincount(rng.integers(n, size=n), minlength=n)
        found.append(statistic(counts))
    return np.concatenate(found)


def held_out_test(
    guesses: NDArray[np.integer], label: Ids, fold: Ids, rng: np.random.Generator, draws: int = DRAWS
) -> tuple[Floats, Floats, float]:
    """Are cross-validated guesses better than chance? Permutation of the held-out labels within each part.

    The guesses about one part do not depend on its labels, so its permutations are an exact test; the largest accuracy
    of all guesses corrects for how many there are. Parts are not independent of each other, since each is learned from
    in guessing the others: adding their accuracies up would make chance look narrower than it is. So the smallest
    p-value of the parts counts, times the number of parts.

    Args:
        guesses: out of fold, ``(m, n)``.
        label: class ids ``(n,)``.
        fold: part of each sample ``(n,)``.
        rng: draws the permutations.
        draws: how many.

    Returns:
        The corrected p-values ``(m,)``; each one's mean balanced accuracy under permutation ``(m,)``; the mean of the
        largest of them.
    """
    parts = np.unique(fold)
    found, permuted = np.ones(len(guesses)), np.zeros((len(guesses), draws))
    for part in parts:
        own, held = label[fold == part], guesses[:, fold == part]
        shuffled = rng.permuted(np.broadcast_to(own, (draws, len(own))), axis=1)
        classes, count = np.unique(own, return_counts=True)
        observed, drawn = np.zeros(len(guesses)), np.zeros((len(guesses), draws))
        for value, size in zip(classes, count, strict=True):
            told = (held == value).astype(np.float32)
            drawn += told @ (shuffled == value).T.astype(np.float32) / (size * len(classes))
            observed += told @ (own == value).astype(np.float32) / (size * len(classes))
        found = np.minimum(found, len(parts) * p_values(observed, drawn.max(0)))
        permuted += drawn / len(parts)
    return found, permuted.mean(1), float(permuted.max(0).mean())


def wilson(hits: Any, n: Any, confidence: float = 0.95) -> tuple[Any, Any]:
    """Interval of a share, by score: E. B. Wilson, J. American Statistical Association 1927.

    >>> low, high = wilson(np.array([8]), np.array([10]))
    >>> low.round(3), high.round(3)
    (array([0.49]), array([0.943]))
    """
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    share = hits / n
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return np.maximum(centre - half, 0.0), np.minimum(centre + half, 1.0)


def verdict_of(p_value: float, level: float, low: float) -> Verdict:
    """Alarm for what chance does not explain and nearly decides the label, even at the lower end of its interval.

    What chance does not explain but is weaker gets a notice: to say something about the label is no shortcut yet, and
    where little can be learned, what says much of that may well be what is meant.

    >>> verdict_of(0.001, 0.05, low=0.7), verdict_of(0.001, 0.05, low=0.2), verdict_of(0.3, 0.05, low=0.7)
    ('alarm', 'notice', 'clear')
    """
    if p_value > level:
        return "clear"
    return "alarm" if low >= LARGE else "notice"
