"""Is something easy learned first that contradicts some labels, and can more be learned than that?

Samples that the biased model (see :mod:`longcut.audit.crossfit`) gets wrong, and is as sure of as of what it gets
right, are *suspected* of contradicting a shortcut. Hard samples are among them in any data, so the ordinary model's
loss of accuracy on them proves nothing by itself. Its baseline is the debiased model's loss on the very same samples:
what a model loses that does not rely on the easy cue is due to their hardness, and what the ordinary model loses beyond
that is due to the shortcut.

The picture of the audit draws that baseline. A permutation of who is suspected would destroy what makes them hard, and
strata of hardness would be cut by the very answers that are judged; the debiased model has answered the same samples,
chosen in the same way and weighed alike.

It is a fair baseline as far as it knows another way to the label. A model that is merely worse errs less alike, too: it
loses where the cue agrees and gains where it contradicts, in data without any shortcut. But there it stays taken in: of
samples that all that can be known contradicts, no model is right about most. So an alarm also asks that the debiased
model, where the cue contradicts, says the label more often than what the cue says.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from longcut.audit.association import resampled
from longcut.audit.base import Finding, View
from longcut.audit.judged import EASE, FEW, Judged, gap, sides

__all__ = ["learned", "loss"]

NOTICE = 0.5  # loss of accuracy worth a look, where the biased model goes that far from guessing to certainty
MARGIN = 0.05  # excess cost that a model may have by the chances of training, which no resampling of samples sees
DRAWS = 2000


@dataclass(frozen=True)
class Remains:
    """What the ordinary model loses beyond the debiased one.

    Attributes:
        value: as a share.
        interval: of 95 %.
        clear: whether it is more than the chances of training.
        known: whether the debiased model, where the easy cue contradicts, is more often right than taken in.
    """

    value: float
    interval: tuple[float, float]
    clear: bool
    known: bool

    def __str__(self) -> str:
        """In points.

        >>> str(Remains(0.31, (0.24, 0.384), True, True))
        '31 points (95 % interval 24 to 38)'
        """
        value, *ends = (
            f"{100 * share + 0:.0f}".replace("-", "\N{MINUS SIGN}") for share in (self.value, *self.interval)
        )
        return f"{value} points (95 % interval {ends[0]} to {ends[1]})"

    @property
    def compared(self) -> str:
        """What the ordinary model loses, beside the other.

        >>> Remains(-0.1, (-0.11, -0.08), False, True).compared
        '10 points (95 % interval 8 to 11) less than the other'
        """
        if self.value >= 0:
            return f"{self} more than the other"
        low, high = self.interval
        return f"{replace(self, value=-self.value, interval=(-high, -low))} less than the other"

    @property
    def gained(self) -> bool:
        """Whether a shortcut explains it."""
        return self.clear and self.known


def learned(view: View, judged: Judged, shortcuts: Mapping[str, Finding]) -> Finding:
    """What the easy cue costs an ordinary model, above what the hardness of the samples costs.

    The statistic is the ordinary model's :func:`gap`, its baseline the debiased model's on the same samples. The test
    asks whether the difference is above ``MARGIN``, by a bootstrap over samples; the margin stands for the chances of
    training, which the bootstrap does not see. An alarm also asks that the debiased model is more often right than
    taken in where the easy cue contradicts: on tables of equally good columns, where it is merely worse, it was taken
    in by 60 to 84 % of those. On features of a pretrained net there is no alarm: on those of Waterbirds, with label and
    place independent, the difference was significant in four of five audits.
    """
    cost, baseline = float(gap(judged.ordinary_correct, judged)[0]), float(gap(judged.debiased_correct, judged)[0])

    def gaps(counts: NDArray[np.float32]) -> NDArray[np.float64]:
        return np.stack([gap(hit, judged, counts) for hit in (judged.ordinary_correct, judged.debiased_correct)], 1)

    costs, without = resampled(gaps, len(judged.label), view.random(2), DRAWS).T
    excess = costs - without
    p = float((1 + (excess <= MARGIN).sum()) / (1 + DRAWS))
    (low, high), ends = (np.quantile(values, [0.025, 0.975]) for values in (costs, excess))
    few = int(judged.suspected.sum()) < FEW
    clear = cost - baseline > MARGIN and p <= view.level and not few
    remains = Remains(cost - baseline, (float(ends[0]), float(ends[1])), clear, known=_lead(judged) > 0)
    if remains.gained:
        verdict = "notice" if view.data.info.encoder else "alarm"
    elif few or low < NOTICE or judged.ease < NOTICE or judged.numbers is not None:
        verdict = "clear"  # of numbers, whatever lies near an end of its part is hard
    else:
        verdict = "notice"
    nothing = few or judged.ease < EASE
    table = tuple(_cells(view, judged))
    return Finding(
        name="learned",
        question="Is something learned early that contradicts some labels?",
        statistic=cost,
        measure="accuracy an ordinary model loses on the samples that contradict the easy cue",
        baseline=baseline,
        interval=(float(low), float(high)),
        p_value=p,
        verdict=verdict,
        sentence=_sentence(judged, verdict, few, remains) + _below_guessing(judged),
        table=table,
        more={} if nothing else {"picture": _picture(judged, remains, bool(view.data.info.encoder))},
    )


def loss(judged: Judged) -> str:
    """What the ordinary model loses, as a clause of a headline, and the debiased one on the same selection."""
    ordinary, debiased = (100 * (agree - against) for agree, against in _rates(judged))
    lost = f"an ordinary model loses {ordinary:.0f} points where what it learns first is contradicted"
    return f"{lost} ({debiased:.0f} if kept from it)"


def _rates(judged: Judged) -> tuple[tuple[float, float], tuple[float, float]]:
    """How many the ordinary and the debiased model get right where the easy cue agrees, and where it misleads."""
    (agree, against), (fair, without) = (
        [float(side[0]) for side in sides(correct, judged)]
        for correct in (judged.ordinary_correct, judged.debiased_correct)
    )
    return (agree, against), (fair, without)


def _lead(judged: Judged) -> float:
    """By how much more often the debiased model says the label than what the easy cue says, where they differ."""
    right, taken_in = (sides(judged.debiased.argmax(1) == said, judged)[1] for said in (judged.label, judged.looks))
    return float(right[0] - taken_in[0])


def _traded(lost: float) -> str:
    return f"{100 * abs(lost):.1f} {'lost' if lost >= 0 else 'gained'}"


def _picture(judged: Judged, remains: Remains, encoder: bool) -> dict[str, Any]:
    """What is drawn: how the ordinary model learns both sides, where the debiased one ends, and what remains."""
    (agree, against), (fair, without) = _rates(judged)
    curves = [sides(hit, judged) for hit in judged.hits]
    caption = (
        "The samples that contradict were chosen by what a small model gets wrong, so any model is worse on them: "
        f"the ordinary one loses {100 * (agree - against):.0f} points, and the same selection costs "
        f"{100 * (fair - without):.0f} without relying on the easy cue. "
    )
    if not remains.clear:
        caption += (
            f"Nothing clear remains: a difference of {remains}, where up to {MARGIN * 100:.0f} points are the chances "
            "of training."
        )
    else:
        caption += (
            f"What remains: {remains}. Without relying on it, {100 * (without - against):.1f} points are gained where "
            f"it contradicts, {_traded(agree - fair)} where it agrees."
        )
    if remains.clear and not remains.known:
        caption += " But there that model is not more often right than taken in: it may be merely worse."
    elif remains.gained and encoder:
        caption += " On features of a pretrained net there is such a difference without a shortcut too."
    elif remains.gained and agree - fair > MARGIN:
        caption += " So much is lost that a part of the difference may be that this model is merely worse."
    return {
        "updates": judged.updates,
        "aligned": [float(side[0]) for side, _ in curves],
        "conflicting": [float(side[0]) for _, side in curves],
        "chance": 1 / judged.easy.shape[1],
        "ordinary": [agree, against],
        "without": [fair, without],
        "remains": remains.value,
        "interval": list(remains.interval),
        "caption": caption,
    }


def _sentence(judged: Judged, verdict: str, few: bool, remains: Remains) -> str:
    agree = float((judged.looks == judged.label).mean())
    found = f"A small model, stopped after {judged.stopped} updates, already gives {agree:.0%} of the labels"
    if judged.ease < EASE:
        return f"{found}, hardly more than guessing: nothing here is learned easily, so there is no easy cue."
    if few:
        return f"{found}, and contradicts hardly any with confidence: nothing easy stands against the labels."
    (_, ordinary), (_, debiased) = _rates(judged)
    found += (
        f"; of the {judged.contradicts.sum():,} it contradicts, an ordinary model gets {ordinary:.0%} right, and one "
        f"that is kept from relying on the easy cue {debiased:.0%} (each sample weighs as much as it is clear). "
        f"From the samples that agree to these, the ordinary one loses {remains.compared}"
    )
    meaning = {
        "alarm": ": the ordinary model takes a shortcut.",
        "notice": ", which is no clear gain: these samples are hard, mislabelled, or contradict a shortcut that "
        "nothing else here can replace. Look at them.",
        "clear": ": no clear gain, and not much is lost.",
    }
    if verdict == "notice" and remains.clear and not remains.known:
        return (
            f"{found}. But there the other is not more often right than taken in: it may be merely worse, or nothing "
            "here can replace the easy cue. No alarm is raised; look at these samples."
        )
    if verdict == "notice" and remains.gained:
        return (
            f"{found}. On features of a pretrained net there is such a gain on data without a shortcut too, since what "
            "is meant may be the easier there: no alarm is raised. Look at these samples."
        )
    if judged.numbers is not None and verdict == "clear":
        return f"{found}: no clear gain; what lies near an end of its part is hard for any model."
    return found + meaning[verdict]


def _below_guessing(judged: Judged) -> str:
    """That models say less than nothing, where the ordinary one is right less often than chance explains.

    Of samples that resemble one another and have different labels, such as three hypotheses on one premise, those that
    a model learned from tell it the wrong label of the others.
    """
    chance = 1 / judged.easy.shape[1]
    chances = math.sqrt(chance * (1 - chance) / np.bincount(judged.label).min())
    if judged.ceiling > chance - 4 * chances:
        return ""
    return (
        f" Beware: of samples that it did not learn from, an ordinary model gives {judged.ceiling:.0%} of the labels, "
        f"fewer than by guessing ({chance:.0%}). Samples that resemble one another have different labels here, such as "
        "texts with one part in common, so that what these models say tells little."
    )


def _cells(view: View, judged: Judged) -> Iterator[dict[str, Any]]:
    """For each class and what its samples look like: how many, and how the models do."""
    classes = len(view.classes)
    cell, of = np.unique(judged.label * classes + judged.looks, return_inverse=True)
    samples = np.bincount(of)
    suspected, ordinary, debiased = (
        np.bincount(of, hit) for hit in (judged.suspected, judged.ordinary_correct, judged.debiased_correct)
    )
    for i, (label, looks) in enumerate(zip(*divmod(cell, classes), strict=True)):
        yield {
            "label": view.classes[label],
            "looks_like": view.classes[looks],
            "samples": int(samples[i]),
            "suspected": int(suspected[i]),
            "ordinary": float(ordinary[i] / samples[i]),
            "debiased": float(debiased[i] / samples[i]),
        }
