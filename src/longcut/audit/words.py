"""Does a single word give the label away?"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from longcut.audit.association import LARGE, max_permutation_of_cells, verdict_of, wilson
from longcut.audit.base import Finding, View
from longcut.audit.numbers import means_elsewhere_of_sets, strongest
from longcut.sources.words import cues, plain, stands_alone, whole

if TYPE_CHECKING:
    from longcut.audit.judged import Judged

__all__ = ["presence", "words"]

PURPOSE = 13
FEWEST, RAREST = 20, 0.003  # texts that a word must be in to be looked at: so many, and this share
MOST_WORDS = 5000
MOST_SETS = 1000  # words that are compared with a target of numbers
SHOWN = 50
MOST_NAMED = 200  # pairs of letters for which the word is looked for


def words(view: View, judged: Judged | None = None, shortcuts: Mapping[str, Finding] | None = None) -> Finding | None:
    """Compare the presence of each word with the label: of all that :func:`longcut.sources.words.cues` finds in a text.

    A word goes with the class in which it exceeds independence most. Its skill is how far the share of that
    class among the texts with the word goes from its share among all texts (0) to certainty (1). Where a text has
    several columns, a word in one is not the same as in another.

    Args:
        view: what is audited.
        judged: looked at for targets of numbers only.
        shortcuts: not looked at.

    Returns:
        The statistic is the skill of the strongest word that chance does not explain; the interval is Wilson's.
        ``more["cue_words"]`` says with which class the strong words go, those that chance does not explain and that
        go at least half as far as an alarm needs. None when there is no text, no word is common enough, or the label is
        always the same. Of a target of numbers, see :func:`longcut.audit.numbers.strongest`.
    """
    source = view.source
    if view.original is not None and judged is not None:
        return strongest(view, judged, PURPOSE, "words", "word", "word", partial(_told, view))
    if source is None or not source.text or view.data.info.task == "regression" or len(np.unique(view.label)) < 2:
        return None
    rows = source.rows.iloc[view.data.index.numpy()]
    said = [rows[name].fillna("").astype(str).tolist() for name in source.text]
    names, text, cells = presence(said)
    if not names:
        return None
    _, p_values = max_permutation_of_cells(
        text, cells, np.arange(len(names)), len(names), view.label, view.random(PURPOSE)
    )
    classes = len(view.classes)
    counts = np.bincount(cells * classes + view.label[text], minlength=len(names) * classes).reshape(-1, classes)
    base = np.bincount(view.label, minlength=classes) / len(view.label)
    count = counts.sum(1)
    expected = count[:, None] * base
    goes_with = ((counts - expected) / np.sqrt(np.where(base > 0, expected, 1))).argmax(1)
    hits, base = counts[np.arange(len(names)), goes_with], base[goes_with]
    skill, low, high = ((share - base) / (1 - base) for share in (hits / count, *wilson(hits, count)))

    # Those that chance does not explain come first; among them the one that is surest to say much.
    order = np.lexsort((-low, p_values > view.level))
    best = order[0]
    alarming = (p_values <= view.level) & (low >= LARGE)
    marked = [i for i in order if p_values[i] <= view.level and low[i] >= LARGE / 2]
    coverage = len(np.unique(text[alarming[cells]])) / len(view.label)
    for i in {*marked[:MOST_NAMED], *order[:SHOWN]}:
        column, word = names[i]
        if not stands_alone(word):
            names[i] = column, whole(word, (plain(said[column][row]) for row in text[cells == i]))
    first = {name: i for i, name in reversed(list(zip(order, (names[i] for i in order), strict=True)))}
    order = [i for i in order if first[names[i]] == i]  # pairs of letters that are the same word
    shown = order[:SHOWN]
    several = len(source.text) > 1
    table = [
        {
            "word": names[i][1],
            **({"column": source.text[names[i][0]]} if several else {}),
            "count": int(count[i]),
            "class": view.classes[goes_with[i]],
            "share": float(hits[i] / count[i]),
            "base": float(base[i]),
            "skill": float(skill[i]),
            "p_value": float(p_values[i]),
        }
        for i in shown
    ]
    verdict = verdict_of(float(p_values[best]), view.level, float(low[best]))
    return Finding(
        name="words",
        question="Does a single word give the label away?",
        statistic=float(skill[best]),
        measure="how far the strongest word goes from the share of its class to certainty",
        baseline=0.0,  # without a shortcut, a class is as common among the texts with a word as among all
        interval=(float(low[best]), float(high[best])),
        p_value=float(p_values[best]),
        verdict=verdict,
        sentence=_sentence(
            table, verdict, int(alarming[order].sum()), coverage, int((p_values[order] <= view.level).sum()), len(order)
        ),
        table=tuple(table),
        more={"cue_words": {names[i][1]: view.classes[goes_with[i]] for i in reversed(marked)}},
    )


def _told(
    view: View, rows: NDArray[np.int64], target: NDArray[np.float64], fold: NDArray[np.int64]
) -> dict[str, NDArray[np.float64]]:
    """What each word says of a target of numbers, of the commonest words; one of several columns says which."""
    source = view.source
    if source is None or not source.text:
        return {}
    texts = source.rows.iloc[view.data.index.numpy()[rows]]
    names, text, cells = presence([texts[name].fillna("").astype(str).tolist() for name in source.text])
    member = np.zeros((min(len(names), MOST_SETS), len(rows)), bool)
    member[cells[cells < MOST_SETS], text[cells < MOST_SETS]] = True  # the commonest come first
    called = [word if len(source.text) == 1 else f"{word} ({source.text[column]})" for column, word in names]
    return dict(zip(called[:MOST_SETS], means_elsewhere_of_sets(member, target, fold), strict=True))


def presence(texts: list[list[str]]) -> tuple[list[tuple[int, str]], NDArray[np.int64], NDArray[np.int64]]:
    """The words that are common enough, as (column, word), and which text (entry by entry) holds which of them."""
    seen: dict[tuple[int, str], int] = {}
    text, cells = array("q"), array("q")
    for column, values in enumerate(texts):
        for i, value in enumerate(values):
            held = {seen.setdefault((column, word), len(seen)) for word in cues(value)}
            text.extend([i] * len(held))
            cells.extend(held)
    of_text, of_word = np.array(text, np.int64), np.array(cells, np.int64)
    n, count = len(texts[0]), np.bincount(of_word, minlength=len(seen))
    commonest = np.argsort(-count, kind="stable")[:MOST_WORDS]
    # A word that is in every text cannot say anything.
    kept = commonest[(count[commonest] >= max(FEWEST, RAREST * n)) & (count[commonest] < n)]
    number = np.full(len(seen), -1)
    number[kept] = np.arange(len(kept))
    common = number[of_word] >= 0
    every = list(seen)
    return [every[i] for i in kept], of_text[common], number[of_word[common]]


def _sentence(
    table: list[dict[str, Any]], verdict: str, alarming: int, coverage: float, telling: int, looked_at: int
) -> str:
    row = table[0]
    numbers = f"{row['share']:.0%} of the {row['count']:,} texts with '{row['word']}' are '{row['class']}'"
    compared = f"{numbers}, against {row['base']:.0%} of all"
    if verdict == "alarm":
        which = "1 word gives" if alarming == 1 else f"{alarming} words give"
        told = f"{which} the label away, in {coverage:.1%} of the texts: {compared}"
        return f"{told}. Is that what the model is meant to look at?"
    if verdict == "notice":
        which = "1 word says" if telling == 1 else f"{telling} words say"
        return f"{which} something about the label, not enough to live on: {compared}."
    return f"None of {looked_at:,} words goes with a class more than chance would have it: {compared}."
