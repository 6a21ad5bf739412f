"""Is something easy learned first that contradicts some labels, and can more be learned than that?

Samples that the biased model (see :mod:`longcut.audit.crossfit`) gets wrong, and is as sure of as of what it gets
right, are *suspected* of contradicting a shortcut. Hard samples are among them in any data, so the ordinary model's
loss of accuracy on them proves nothing by itself. Its baseline is the debiased model's loss on the very same samples:
what a model loses that does not rely on the easy cue is due to their hardness, and what the ordinary model loses beyond
that is due to the shortcut.

The picture of the audit draws that baseline. A permutation of who is suspected would destroy what makes them hard, and
strata of hardness would be cut by the very answers that are judged; the debiased model has answered the same samples,
chosen in the same way and weighed alike. It is a fair baseline as far as it is as good a model: one that is merely
worse loses where the cue agrees, and errs less alike where it contradicts. So the picture says how much of what remains
is gained where the cue contradicts, and how much is lost where it agrees.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

import numpy as np

from longcut.audit.association import resamples
from longcut.audit.base import Finding, View
from longcut.audit.judged import EASE, FEW, Judged, gap, sides

__all__ = ["learned", "loss"]

NOTICE = 0.5  # loss of accuracy worth a look, where the biased model goes that far from guessing to certainty
MARGIN = 0.05  # excess cost that a model may have by the chances of training, which no resampling of samples sees
DRAWS = 2000

Remains: TypeAlias = "tuple[float, tuple[float, float]]"
"""What the ordinary model loses beyond the debiased one, and its 95 % interval."""


def learned(view: View, judged: Judged, shortcuts: Mapping[str, Finding]) -> Finding:
    """What the easy cue costs an ordinary model, above what the hardness of the samples costs.

    The statistic is the ordinary model's :func:`gap`, its baseline the debiased model's on the same samples. The test
    asks whether the difference is above ``MARGIN``, by a bootstrap over samples; the margin stands for the chances of
    training, which the bootstrap does not see. On features of a pretrained net this raises no alarm: on those of
    Waterbirds, with label and place independent, the difference was significant in four of five audits.
    """
    counts = resamples(len(judged.label), view.random(2), DRAWS)
    cost, baseline = float(gap(judged.ordinary_correct, judged)[0]), float(gap(judged.debiased_correct, judged)[0])
    costs = gap(judged.ordinary_correct, judged, counts)
    excess = costs - gap(judged.debiased_correct, judged, counts)
    p = float((1 + (excess <= MARGIN).sum()) / (1 + DRAWS))
    low, high = np.quantile(costs, [0.025, 0.975])
    remains = cost - baseline, (float(np.quantile(excess, 0.025)), float(np.quantile(excess, 0.975)))
    few = int(judged.suspected.sum()) < FEW
    gained = cost - baseline > MARGIN and p <= view.level and not few
    if gained:
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
        sentence=_sentence(judged, verdict, few, gained, remains),
        table=table,
        more={} if nothing else {"picture": _picture(judged, remains, gained, bool(view.data.info.encoder))},
    )


def loss(judged: Judged) -> str:
    """What either model loses, as a clause of a headline."""
    (agree, against), (fair, without) = _rates(judged)
    return (
        f"an ordinary model is right on {agree:.0%} of the samples that agree with what is learned first, and on "
        f"{against:.0%} of the {judged.contradicts.sum():,} that contradict it (one that is kept from relying on it: "
        f"{fair:.0%} and {without:.0%})"
    )


def _rates(judged: Judged) -> tuple[tuple[float, float], tuple[float, float]]:
    """How many the ordinary and the debiased model get right where the easy cue agrees, and where it misleads."""
    (agree, against), (fair, without) = (
        [float(side[0]) for side in sides(correct, judged)]
        for correct in (judged.ordinary_correct, judged.debiased_correct)
    )
    return (agree, against), (fair, without)


def _left(remains: Remains) -> str:
    """The difference in points, with its interval.

    >>> _left((0.31, (0.24, 0.384)))
    '31 points (95 % interval 24 to 38)'
    """
    value, *ends = (f"{100 * share + 0:.0f}".replace("-", "\N{MINUS SIGN}") for share in (remains[0], *remains[1]))
    return f"{value} points (95 % interval {ends[0]} to {ends[1]})"


def _traded(lost: float) -> str:
    return f"{100 * abs(lost):.1f} {'lost' if lost >= 0 else 'gained'}"


def _picture(judged: Judged, remains: Remains, gained: bool, encoder: bool) -> dict[str, Any]:
    """What is drawn: how the ordinary model learns both sides, where the debiased one ends, and what remains."""
    (agree, against), (fair, without) = _rates(judged)
    curves = [sides(hit, judged) for hit in judged.hits]
    caption = (
        "The samples that contradict were chosen by what a small model gets wrong, so any model is worse on them: "
        f"the ordinary one loses {agree - against:.0%}, and the same selection costs {fair - without:.0%} without "
        "relying on the easy cue. "
    )
    if not gained:
        caption += (
            f"Nothing clear remains: a difference of {_left(remains)}, where up to {MARGIN * 100:.0f} points are the "
            "chances of training."
        )
    else:
        caption += (
            f"What remains: {_left(remains)}. Without relying on it, {100 * (without - against):.1f} points are gained "
            f"where it contradicts, {_traded(agree - fair)} where it agrees."
        )
    if gained and encoder:
        caption += " On features of a pretrained net there is such a difference without a shortcut too."
    elif gained and agree - fair > MARGIN:
        caption += " So much is lost that a part of the difference may be that this model is merely worse."
    return {
        "updates": judged.updates,
        "aligned": [float(side[0]) for side, _ in curves],
        "conflicting": [float(side[0]) for _, side in curves],
        "chance": 1 / judged.easy.shape[1],
        "ordinary": [agree, against],
        "without": [fair, without],
        "remains": remains[0],
        "interval": list(remains[1]),
        "caption": caption,
    }


def _sentence(judged: Judged, verdict: str, few: bool, gained: bool, remains: Remains) -> str:
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
        f"From the samples that agree to these, the ordinary one loses {_left(remains)} more than the other"
    )
    meaning = {
        "alarm": ": the ordinary model takes a shortcut.",
        "notice": ", which is no clear gain: these samples are hard, mislabelled, or contradict a shortcut that "
        "nothing else here can replace. Look at them.",
        "clear": ": no clear gain, and not much is lost.",
    }
    if verdict == "notice" and gained:
        return (
            f"{found}. On features of a pretrained net there is such a gain on data without a shortcut too, since what "
            "is meant may be the easier there: no alarm is raised. Look at these samples."
        )
    if judged.numbers is not None and verdict == "clear":
        return f"{found}: no clear gain; what lies near an end of its part is hard for any model."
    return found + meaning[verdict]


def _cells(view: View, judged: Judged) -> Iterator[dict[str, Any]]:
    """For each class and what its samples look like: how many, and how the models do."""
    for c, name in enumerate(view.classes):
        for k, looks in enumerate(view.classes):
            rows = (judged.label == c) & (judged.looks == k)
            if rows.any():
                yield {
                    "label": name,
                    "looks_like": looks,
                    "samples": int(rows.sum()),
                    "suspected": int(judged.suspected[rows].sum()),
                    "ordinary": float(judged.ordinary_correct[rows].mean()),
                    "debiased": float(judged.debiased_correct[rows].mean()),
                }
