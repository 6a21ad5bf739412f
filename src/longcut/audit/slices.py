"""Where does an ordinary model err most? In readable parts: values of columns, words, things that look alike.

What is searched for among many is found by chance, too. So one half of the samples is searched, and what was found is
tested on the other half, which gives the numbers that are told. The model saw none of the samples that it is asked
about (:mod:`longcut.audit.crossfit`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from longcut.audit.association import wilson
from longcut.audit.base import Finding, Verdict, View
from longcut.audit.columns import LONGEST, candidates
from longcut.audit.judged import FEW
from longcut.audit.words import presence
from longcut.files import escaped

if TYPE_CHECKING:
    from longcut.audit.judged import Judged

__all__ = ["Parts", "Slice", "excess", "find", "holm", "parts", "sheet", "slices"]

PURPOSE = 19
FEWEST, SMALLEST = 20, 0.01  # samples of a slice in each half: so many, and this share
LARGEST = 0.6  # share of the samples above which it is no slice
TESTED = 10  # slices that are tested, each of another place
JOINED = 30  # parts that others are joined to
MOST = 2000  # values of columns, the first ones
WORDS = 1000  # commonest words
CLUSTERS = 10
CLEAR = 2.0  # standard deviations, one in forty by chance: below, a slice is not worth a test
SURE = 3.0  # from where on a pair explains what its parts show
SEARCHED = 300  # the clearest slices that are compared with each other
OVERLAP = 0.5  # of the smaller one, from where on it is said that two overlap
WORSE = 1.5  # times the errors of the rest, from where on a slice is worth a look
TYPICAL = 3  # samples that a cluster is shown by

Ids = NDArray[np.int64]
Mask = NDArray[np.bool_]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Parts:
    """What slices are made of.

    Attributes:
        names: what each is called ``(m,)``.
        member: who is in it ``(m, n)``.
        typical: samples that show it, for those whose name does not.
    """

    names: Sequence[str]
    member: Mask
    typical: Mapping[int, Ids]


@dataclass(frozen=True)
class Slice:
    """A part, or what two have in common.

    Attributes:
        of: the numbers of its parts.
        member: who is in it ``(n,)``.
        overlaps: others that add nothing to it and share half of the smaller one's samples.
        p_value: of no more errors than in the rest, in what else is in each of its parts, and in what the clearer
            slices leave; all must be so, hence the largest (R. Berger, Technometrics 1982). Of the half that it was not
            found in, corrected for all that were tested.
    """

    of: tuple[int, ...]
    member: Mask
    overlaps: tuple[tuple[int, ...], ...] = ()
    p_value: float = math.nan


def slices(view: View, judged: Judged, shortcuts: Mapping[str, Finding] | None = None) -> Finding | None:
    """Find the few slices in which the ordinary model errs most.

    Slices are values of columns and of the label, words, and clusters of images or features, and what two of these
    have in common. A pair is one only where each of the two has a part in it: it must be worse than what else is in
    either. Of slices that overlap, those that are no worse where a clearer one is not are merged into it.

    Args:
        view: what is audited.
        judged: who is wrong.
        shortcuts: not looked at.

    Returns:
        The statistic is the share of errors in the clearest slice, the baseline that of the rest. It is a notice where
        chance does not explain a slice that errs 1.5 times as often as the rest, and never an alarm: that a model errs
        is no shortcut. None of a target of numbers.

    Source: the search is that of Y. Chung et al., "Slice Finder", ICDE 2019, with the test on another half; S. Holm,
    Scandinavian Journal of Statistics 1979.
    """
    if view.original is not None or view.data.info.task == "regression":
        return None
    wrong = ~judged.ordinary_correct
    question = "In which parts of the data does an ordinary model err most?"
    measure = "share of errors in the clearest slice, in the half that it was not found in"
    rng = view.random(PURPOSE)
    test = np.zeros(len(wrong), bool)
    test[rng.permutation(len(wrong))[: len(wrong) // 2]] = True
    errors = min(int(wrong[test].sum()), int(wrong[~test].sum()))
    if errors < FEW:
        why = f"The model is wrong about {wrong.sum():,} of {len(wrong):,} samples, too few to see where."
        nan = math.nan
        return Finding("slices", question, nan, measure, nan, (nan, nan), nan, "unknown", why)
    given = parts(view, judged)
    tested = find(given.member, wrong, test)
    found, rows = [], list[dict[str, Any]]()
    for each in tested:
        row = _row(view, given, each, wrong, test)
        if each.p_value <= view.level and row["errors"] >= WORSE * row["rest"]:
            found.append(each)
            rows.append(row)
    verdict: Verdict = "notice" if rows else "clear"
    nearest = _row(view, given, tested[0], wrong, test) if tested else None
    first = rows[0] if rows else nearest
    return Finding(
        name="slices",
        question=question,
        statistic=first["errors"] if first else math.nan,
        measure=measure,
        baseline=first["rest"] if first else float(wrong.mean()),
        interval=(first["low"], first["high"]) if first else (math.nan, math.nan),
        p_value=first["p_value"] if first else math.nan,
        verdict=verdict,
        sentence=_sentence(rows, len(given.names), len(tested), float(wrong.mean())),
        table=tuple(rows),
        more={"slices": tuple(found), "samples": tuple(_shown(given, each, judged) for each in found)},
    )


def _shown(given: Parts, of: Slice, judged: Judged) -> Ids:
    """Samples that show a slice: those in the midst of its clusters; else those about which the model is most wrong."""
    typical = [row for part in of.of for row in given.typical.get(part, ()) if of.member[row]]
    if typical:
        return np.array(typical[:TYPICAL])
    own = judged.ordinary[np.arange(len(judged.label)), judged.label]
    rows = np.flatnonzero(of.member & ~judged.ordinary_correct)
    return rows[np.argsort(own[rows], kind="stable")[:TYPICAL]]


def _row(view: View, given: Parts, of: Slice, wrong: Mask, test: Mask) -> dict[str, Any]:
    inside, outside = of.member & test, ~of.member & test
    hits, n = int(wrong[inside].sum()), int(inside.sum())
    low, high = wilson(hits, n)
    rest = float(wrong[outside].mean())
    typical = [view.name_of(int(row)) for part in of.of for row in given.typical.get(part, ())]
    return {
        "slice": _called(given, of.of),
        "samples": int(of.member.sum()),
        "errors": hits / n,
        "low": float(low),
        "high": float(high),
        "rest": rest,
        "lift": hits / n / rest if rest else math.nan,
        "p_value": of.p_value,
        "overlaps": "; ".join(_called(given, other) for other in of.overlaps),
        "typical": ", ".join(typical),
    }


def _called(given: Parts, of: Sequence[int]) -> str:
    return " and ".join(given.names[part] for part in of)


def _sentence(rows: Sequence[Mapping[str, Any]], looked_at: int, tested: int, errors: float) -> str:
    if not rows:
        return (
            f"In none more than chance would have it, or by too little to matter: the model is wrong about "
            f"{errors:.0%}, and of {looked_at:,} parts and pairs of them, {tested} were tested on other samples than "
            "they were found in."
        )
    first, others = rows[0], len(rows) - 1
    more = f"; {others} more slice{'s' * (others > 1)} stand{'s' * (others == 1)} out" if others else ""
    return (
        f"Where {first['slice']}: it is wrong about {first['errors']:.0%} [{first['low']:.0%}, {first['high']:.0%}] of "
        f"them, against {first['rest']:.0%} of the rest (in the half that was not searched; {first['samples']:,} "
        f"samples in all){more}."
    )


def sheet(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """A row for every slice that was found, as a spreadsheet may read it."""
    rows = (row for finding in findings if finding.name == "slices" for row in finding.table)
    return [{key: escaped(cell) if isinstance(cell, str) else cell for key, cell in row.items()} for row in rows]


# --- what slices are made of ------------------------------------------------------------------------------------------


def parts(view: View, judged: Judged) -> Parts:
    """Values of columns and of the label, the commonest words, and clusters of what has neither columns nor words.

    Of features, the clusters are of these; of images, of how the biased model sees them.
    """
    source = view.source
    label = source.label if source and source.label else "the label"
    names, member = list[str](), list[Mask]()
    found = {label: (view.label, view.classes), **candidates(view, inputs=True)}
    for column, values in found.items():
        if isinstance(values, str):
            continue
        enough = np.bincount(values[0]) >= max(2 * FEWEST, SMALLEST * len(values[0]))
        for value in np.flatnonzero(enough)[: max(0, MOST - len(names))]:
            called = str(values[1][value])
            called = called if len(called) <= LONGEST else f"{called[: LONGEST - 1]}…"
            names.append(f"'{column}' is '{called}'")
            member.append(values[0] == value)
    if source is not None and source.text:
        rows = source.rows.iloc[view.data.index.numpy()]
        words, text, cells = presence([rows[name].fillna("").astype(str).tolist() for name in source.text])
        held = np.zeros((min(len(words), WORDS), len(rows)), bool)
        held[cells[cells < WORDS], text[cells < WORDS]] = True  # the commonest come first
        several = len(source.text) > 1
        for (column, word), has in zip(words[:WORDS], held, strict=True):
            where = f"'{source.text[column]}'" if several else "the text"
            names.append(f"the word '{word}' is in {where}")
            member.append(has)
    typical = dict[int, Ids]()
    if source is None or not (source.text or source.features):
        for has, nearest in _clusters(view, judged):
            typical[len(names)] = nearest
            names.append(f"it looks like {view.name_of(int(nearest[0]))}")
            member.append(has)
    none = np.zeros((0, len(view.label)), bool)
    return Parts(names, np.stack(member) if member else none, typical)


def _clusters(view: View, judged: Judged) -> list[tuple[Mask, Ids]]:
    """Who is in each cluster ``(n,)``, and the samples in the midst of it."""
    import torch
    from sklearn.cluster import MiniBatchKMeans

    x = judged.profile
    if view.data.info.kind == "table":
        x = view.data.gather(torch.arange(len(view.data))).flatten(1).float().numpy()
        x = (x - x.mean(0)) / np.maximum(x.std(0), 1e-6)
    count = min(CLUSTERS, len(np.unique(x, axis=0)))
    found: Any = MiniBatchKMeans(count, n_init=cast(Any, 3), random_state=view.seed % 2**32).fit(x)
    made = []
    for k in np.unique(found.labels_):
        rows = np.flatnonzero(found.labels_ == k)
        far = np.square(x[rows] - found.cluster_centers_[k]).sum(1)
        made.append((found.labels_ == k, rows[np.argsort(far, kind="stable")[:TYPICAL]]))
    return made


# --- search and test --------------------------------------------------------------------------------------------------


def excess(n: Any, wrong: Any, of: Any, of_wrong: Any) -> Any:
    """By how many standard deviations there are more errors among ``n`` than if they were drawn by lot.

    Args:
        n, wrong: samples and errors of each slice.
        of, of_wrong: of that which they are drawn from; arrays that fit together.

    Returns:
        0 where nothing varies.

    >>> float(excess(4, 4, 8, 4))  # expected 2, variance 4 · ½ · ½ · 4/7
    2.6457513110645907
    """
    n, wrong, of, of_wrong = (np.asarray(each, np.float64) for each in (n, wrong, of, of_wrong))
    rate = of_wrong / np.maximum(of, 1)
    variance = n * rate * (1 - rate) * (of - n) / np.maximum(of - 1, 1)
    return np.where(variance > 0, (wrong - n * rate) / np.sqrt(np.where(variance > 0, variance, 1)), 0.0)


def find(member: Mask, wrong: Mask, test: Mask) -> list[Slice]:
    """The clearest slices of one half, tested on the other.

    A further one must be worse also where the earlier ones are not, in both halves; else it is merged into that which
    it overlaps with most.

    Args:
        member: who is in each part ``(m, n)``.
        wrong: where the model errs ``(n,)``.
        test: the half that is tested on ``(n,)``; the other one is searched.

    Returns:
        At most 10, the clearest in the half that was searched first.
    """
    chosen, overlaps, p_values = list[Slice](), list[list[tuple[int, ...]]](), list[float]()
    left = np.ones_like(wrong)  # who is in none of those that are chosen
    searched = _search(member[:, ~test], wrong[~test])
    explained = [of for of in searched if _because_of_a_pair(of, searched, member[:, ~test], wrong[~test])]
    for of in [*(of for of in searched if of not in explained), *explained]:
        own: Mask = np.logical_and.reduce(member[list(of)])
        counts = ((own & left & half).sum() >= max(FEWEST, SMALLEST * half.sum()) for half in (test, ~test))
        if len(chosen) < TESTED and all(counts) and _excess_in(own, wrong, left & ~test) >= CLEAR:
            within = [left, *(member[part] for part in of if len(of) > 1)]
            p_values.append(max(_p_value(own, wrong, within_ & test) for within_ in (np.ones_like(own), *within)))
            chosen.append(Slice(of, own))
            overlaps.append([])
            left = left & ~own
        elif chosen:
            shared = [(own & other.member).sum() / min(own.sum(), other.member.sum()) for other in chosen]
            if max(shared) >= OVERLAP:
                overlaps[int(np.argmax(shared))].append(of)
    return [
        Slice(each.of, each.member, tuple(sorted(others, key=len)[:2]), float(p))
        for each, others, p in zip(chosen, overlaps, holm(np.array(p_values)), strict=True)
    ]


def _search(member: Mask, wrong: Mask) -> dict[tuple[int, ...], float]:
    """Parts and pairs of them in which there are more errors than elsewhere, and by how much, the clearest first."""
    n = member.shape[1]
    smallest = max(FEWEST, SMALLEST * n)
    all_, bad = member.astype(np.float32), wrong.astype(np.float32)
    size, errors = all_.sum(1), all_ @ bad
    single = np.where((size >= smallest) & (size <= LARGEST * n), excess(size, errors, n, wrong.sum()), 0.0)
    found: dict[tuple[int, ...], float] = {(int(i),): float(single[i]) for i in np.flatnonzero(single >= CLEAR)}
    # the parts that are the clearest, large ones among them, for a pair of these may be small
    clear = np.argsort(-excess(size, errors, n, wrong.sum()), kind="stable")[:JOINED]
    joined, joined_bad = all_ @ all_[clear].T, all_ @ (all_[clear] * bad).T
    score = np.minimum(
        excess(joined, joined_bad, n, wrong.sum()),
        np.minimum(
            excess(joined, joined_bad, size[:, None], errors[:, None]),
            excess(joined, joined_bad, size[clear], errors[clear]),
        ),
    )
    score[(joined < smallest) | (joined > LARGEST * n)] = 0
    for i, j in zip(*np.nonzero(score >= CLEAR), strict=True):
        found[tuple(sorted((int(i), int(clear[j]))))] = float(score[i, j])
    return dict(sorted(found.items(), key=lambda each: (-each[1], each[0]))[:SEARCHED])


def _because_of_a_pair(
    of: tuple[int, ...], searched: Mapping[tuple[int, ...], float], member: Mask, wrong: Mask
) -> bool:
    """Whether a part is not half as clear without what it has in common with another one."""
    if len(of) > 1:
        return False
    part = max(of)
    own = member[part]
    pairs = (pair for pair, score in searched.items() if len(pair) == 2 and part in pair and score >= SURE)
    outside = (own & ~np.logical_and.reduce(member[list(pair)]) for pair in pairs)
    return any(_excess_in(left, wrong, left | ~own) < searched[of] / 2 for left in outside)


def _excess_in(own: Mask, wrong: Mask, of: Mask) -> float:
    return float(excess((own & of).sum(), (own & of & wrong).sum(), of.sum(), (of & wrong).sum()))


def _p_value(own: Mask, wrong: Mask, of: Mask) -> float:
    """How often as many errors were in the slice if those in ``of`` were drawn by lot: exact, one-sided."""
    from scipy.stats import hypergeom

    own = own & of
    return float(hypergeom.sf((own & wrong).sum() - 1, of.sum(), (of & wrong).sum(), own.sum()))


def holm(p_values: Floats) -> Floats:
    """p-values, each corrected for all, by Holm's step down.

    >>> holm(np.array([0.04, 0.01, 0.03])).round(2).tolist()
    [0.06, 0.03, 0.06]
    """
    order = np.argsort(p_values, kind="stable")
    corrected = np.minimum(1, np.maximum.accumulate(p_values[order] * np.arange(len(p_values), 0, -1)))
    return corrected[np.argsort(order, kind="stable")]
