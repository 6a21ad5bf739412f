"""Targets that are numbers: what alone explains much of them, and whether chance can explain that.

The models of the audit learn classes, so a target is cut into parts of about equal size for them (:func:`in_parts`).
What one column, cue or word says is told of the numbers themselves: R², the share of their variance that is explained,
and the error in their own units. Both are of predictions for samples that were not learned from.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from longcut.audit.association import DRAWS, MOST, folds_of, p_values, verdict_of
from longcut.audit.base import Finding, View
from longcut.data import Dataset
from longcut.errors import UserError

if TYPE_CHECKING:
    from longcut.audit.judged import Judged

__all__ = [
    "explained",
    "held_out_correlation_test",
    "in_parts",
    "means_elsewhere",
    "means_elsewhere_of_sets",
    "resampled_explained",
    "strongest",
    "trees_elsewhere",
]

PARTS = 4
SAMPLES = 4000
FOLDS = 3
TREES = 40
RESAMPLES = 400
LITTLE = 0.1  # of the variance: where no more than that can be learned, nothing is strong

Floats = NDArray[np.float64]
Ids = NDArray[np.int64]
Told = Callable[[Ids, Floats, Ids], Mapping[str, Floats]]


def in_parts(data: Dataset) -> Dataset:
    """The samples with the part of the targets that each is in as its class: at most four, of about equal size.

    Equal targets are in the same part. A part is called by its ends.

    Raises:
        UserError: for a target of several numbers, one that is always the same, and for values that are not finite.

    >>> data = in_parts(Dataset.of(torch.rand(8, 1), torch.arange(8.0)))
    >>> data.label.tolist(), data.info.class_names
    ([0, 0, 1, 1, 2, 2, 3, 3], ('0 to 1', '2 to 3', '4 to 5', '6 to 7'))
    """
    name, target = data.info.name, data.label.double().numpy()
    if target.shape[1] > 1:
        raise UserError(f"the targets of {name} are {target.shape[1]} numbers; audit one of them at a time.")
    if not np.isfinite(target).all():
        raise UserError(f"a target of {name} is no finite number; leave such samples out.")
    target = target[:, 0]
    if not len(target) or target.min() == target.max():
        raise UserError(f"the target of {name} is always the same; an audit needs different ones.")
    ends = np.unique(np.quantile(target, np.arange(1, PARTS) / PARTS, method="lower"))
    if ends[0] == target.max():  # nearly all have the largest value: it stands alone
        ends = np.array([target[target < target.max()].max()])
    _, part = np.unique(np.searchsorted(ends, target), return_inverse=True)
    sides = [target[part == i] for i in range(part.max() + 1)]
    names = [f"{side.min():.4g} to {side.max():.4g}" for side in sides]
    if len(set(names)) < len(names):  # ends that differ in later digits
        names = [f"{name} (part {i + 1})" for i, name in enumerate(names)]
    info = dataclasses.replace(data.info, task="classification", n_classes=len(names), class_names=tuple(names))
    return dataclasses.replace(data, label=torch.from_numpy(part.astype(np.int64)), info=info)


# --- predictions for samples that were not learned from ---------------------------------------------------------------


def means_elsewhere(values: NDArray[np.integer], target: Floats, fold: Ids) -> Floats:
    """The mean target of the samples of the other parts that have the same value ``(n,)``; of all, where none has.

    >>> means_elsewhere(np.array([0, 0, 0, 7]), np.array([1.0, 3.0, 9.0, 5.0]), np.array([0, 1, 1, 0])).tolist()
    [6.0, 1.0, 1.0, 6.0]
    """
    _, values = np.unique(values, return_inverse=True)
    parts, kinds = int(fold.max()) + 1, int(values.max()) + 1
    cell = fold * kinds + values
    count, total = (np.bincount(cell, weight, parts * kinds).reshape(parts, kinds) for weight in (None, target))
    others, sums = count.sum(0) - count, total.sum(0) - total
    mean = np.where(others > 0, sums / np.maximum(others, 1), (sums.sum(1) / others.sum(1))[:, None])
    return mean[fold, values]


def means_elsewhere_of_sets(member: NDArray[np.bool_], target: Floats, fold: Ids) -> Floats:
    """:func:`means_elsewhere` of many columns of two values at once: whether a sample is in a set, ``(m, n)``."""
    part = np.eye(int(fold.max()) + 1)[fold]
    inside = member.astype(np.float64)
    said = np.zeros(member.shape)
    sizes, totals = part.sum(0), target @ part
    count, total = inside @ part, (inside * target) @ part
    size, whole = sizes.sum() - sizes, totals.sum() - totals
    count, total = count.sum(1, keepdims=True) - count, total.sum(1, keepdims=True) - total
    overall = np.broadcast_to(whole / size, count.shape)
    with_it = np.where(count > 0, total / np.maximum(count, 1), overall)
    without = np.where(size > count, (whole - total) / np.maximum(size - count, 1), overall)
    for i in range(part.shape[1]):
        at = fold == i
        said[:, at] = np.where(member[:, at], with_it[:, i, None], without[:, i, None])
    return said


def trees_elsewhere(x: Floats, target: Floats, fold: Ids, seed: int) -> Floats:
    """What small random forests say of ``x (n, numbers)``; the one that says it of a part has learned from the others.

    >>> x = np.arange(60.0)[:, None]
    >>> float(explained(trees_elsewhere(x, x[:, 0], np.arange(60) % 3, 0)[None], x[:, 0])[0]) > 0.9
    True
    """
    from sklearn.ensemble import RandomForestRegressor

    said = np.zeros(len(target))
    for part in np.unique(fold):
        held = fold == part
        forest = RandomForestRegressor(TREES, min_samples_leaf=max(3, len(target) // 500), random_state=seed % 2**32)
        said[held] = forest.fit(x[~held], target[~held]).predict(x[held])
    return said


# --- how good they are ------------------------------------------------------------------------------------------------


def explained(said: Floats, target: Floats) -> Floats:
    """R² of each row of predictions ``(m, n)``: ``(m,)``, 1 at best, and below 0 where the mean would do better.

    >>> explained(np.array([[1.0, 2.0, 3.0], [2.0, 2.0, 2.0]]), np.array([1.0, 2.0, 3.0])).tolist()
    [1.0, 0.0]
    """
    return 1 - np.square(said - target).sum(1) / np.square(target - target.mean()).sum()


def resampled_explained(said: Floats, target: Floats, rng: np.random.Generator, draws: int = RESAMPLES) -> Floats:
    """R² of predictions ``(n,)`` in bootstrap samples ``(draws,)``."""
    n = len(target)
    count = rng.multinomial(n, np.full(n, 1 / n), size=draws).astype(np.float64)
    around = target - target.mean()
    variation = count @ np.square(around) - np.square(count @ around) / n
    return 1 - (count @ np.square(said - target)) / np.maximum(variation, 1e-300)


def held_out_correlation_test(
    said: Floats, target: Floats, fold: Ids, rng: np.random.Generator, draws: int = DRAWS
) -> tuple[Floats, Floats, float]:
    """Do predictions rise with the target more than by chance? Permutation of the held-out targets within each part.

    As in :func:`longcut.audit.association.held_out_test`, the predictions for a part do not depend on its targets, so
    its permutations are an exact test; the largest correlation of all predictions corrects for how many there are, and
    the smallest p-value of the parts counts, times the number of parts.

    Args:
        said: out of fold, ``(m, n)``.
        target: ``(n,)``.
        fold: part of each sample ``(n,)``.
        rng: draws the permutations.
        draws: how many.

    Returns:
        The corrected p-values ``(m,)``; each one's mean R² under permutation ``(m,)``; the mean of the largest of them.
    """
    centre = target.mean()
    target, said = target - centre, said - centre
    parts = np.unique(fold)
    p, left = np.ones(len(said)), np.zeros((len(said), draws))
    for part in parts:
        own, held = target[fold == part], said[:, fold == part]
        shuffled = rng.permuted(np.broadcast_to(own, (draws, len(own))), axis=1)
        around, spread = held - held.mean(1, keepdims=True), own - own.mean()
        norm = np.linalg.norm(around, axis=1) * np.linalg.norm(spread)
        usable = norm > 1e-9 * max(np.linalg.norm(own), 1e-300) ** 2
        scale = np.where(usable, 1 / np.where(usable, norm, 1), 0)  # what is constant in a part goes with nothing
        drawn, observed = (around @ shuffled.T) * scale[:, None], (around @ spread) * scale
        p = np.minimum(p, len(parts) * p_values(observed, drawn.max(0)))
        left += np.square(held).sum(1)[:, None] + np.square(own).sum() - 2 * held @ shuffled.T
    permuted = 1 - left / np.square(target).sum()
    return p, permuted.mean(1), float(permuted.max(0).mean())


# --- the finding ------------------------------------------------------------------------------------------------------


def strongest(view: View, judged: Judged, purpose: int, name: str, key: str, kind: str, told: Told) -> Finding | None:
    """What explains most of the target by itself, beside what an ordinary model explains.

    Skill is how far R² goes from 0 to what can be learned. Of large data, 4,000 samples are drawn.

    Args:
        view: what is audited; its numbers are known.
        judged: has what an ordinary model says of the numbers.
        purpose: of the random numbers.
        name: of the check.
        key: what one of the things compared is, a column of the finding's table.
        kind: the same in words, such as ``"trivial cue"``.
        told: from positions, their targets and their parts to what each thing predicts for them out of part, by name.

    Returns:
        The statistic is the skill of the strongest, the baseline the mean of the largest when targets are permuted.
        None when there is nothing to compare.
    """
    rng = view.random(purpose)
    rows = np.sort(rng.permutation(len(view.data))[:SAMPLES])
    target, fold = view.target[rows], folds_of(view.label[rows], FOLDS, rng)
    made = told(rows, target, fold)
    if not made:
        return None
    names, said = list(made), np.stack(list(made.values()))
    r2 = explained(said, target)
    p, permuted, largest_permuted = held_out_correlation_test(said, target, fold, rng)
    whole = judged.explained(view.target)
    room = max(whole, float(r2.max()), LITTLE)
    order = np.lexsort((-r2, p > view.level))  # what chance explains comes last
    best = order[0]
    drawn = np.quantile(resampled_explained(said[best], target, rng), [0.025, 0.975])
    low, high = np.minimum(drawn / room, 1)
    table = tuple(
        {
            key: names[i],
            "r2": float(r2[i]),
            "rmse": math.sqrt(float(np.square(said[i] - target).mean())),
            "permuted": float(permuted[i]),
            "skill": float(r2[i]) / room,
            "p_value": float(p[i]),
        }
        for i in order
    )
    verdict, most = verdict_of(float(p[best]), view.level, float(drawn[0])), bool(low >= MOST)
    return Finding(
        name=name,
        question=f"Does a single {kind} say too much about {view.called}?",
        statistic=table[0]["skill"],
        measure=f"how far the R² of the strongest {kind} goes from 0 to what can be learned",
        baseline=largest_permuted / room,
        interval=(float(low), float(high)),
        p_value=float(p[best]),
        verdict=verdict,
        sentence=_sentence(table, key, kind, verdict, most, view, whole, float(target.std())),
        table=table,
        more={"most": most},
    )


def _sentence(
    table: tuple[dict[str, Any], ...],
    key: str,
    kind: str,
    verdict: str,
    most: bool,
    view: View,
    whole: float,
    spread: float,
) -> str:
    row = table[0]
    told = f"'{row[key]}' alone has R² {row['r2']:z.2f} (error {row['rmse']:.3g})"
    compared = f"{told}, an ordinary model {whole:z.2f}, and the mean 0 (error {spread:.3g})"
    if verdict == "alarm":
        return f"A single {kind} nearly decides {view.called}: {compared}. Is that what the model is meant to look at?"
    if verdict == "notice" and most:
        return f"A single {kind} is most of what a model uses for {view.called}: {compared}. Is that intended?"
    if verdict == "notice":
        telling = sum(row["p_value"] <= view.level for row in table)
        which = f"1 {kind} says" if telling == 1 else f"{telling} {kind}s say"
        return f"{which} something about {view.called}, not enough to live on: {compared}."
    return f"None of {len(table)} {kind}s says more about {view.called} than chance would have it: {compared}."
