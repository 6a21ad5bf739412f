"""Is something easy learned first that contradicts some labels, and can more be learned than that?

Samples that the biased model (see :mod:`longcut.audit.crossfit`) gets wrong, and is as sure of as of what it gets
right, are *suspected* of contradicting a shortcut. Hard samples are among them in any data, so the ordinary model's
loss of accuracy on them proves nothing by itself. Its baseline is the debiased model's loss on the very same samples:
what a model loses that does not rely on the easy cue is due to their hardness, and what the ordinary model loses beyond
that is due to the shortcut.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from longcut.audit.association import resamples
from longcut.audit.base import Finding, View
from longcut.audit.judged import EASE, FEW, Judged, accuracy, gap

__all__ = ["learned", "loss"]

NOTICE = 0.5  # loss of accuracy worth a look, where the biased model goes that far from guessing to certainty
MARGIN = 0.05  # excess cost that a model may have by the chances of training, which no resampling of samples sees
DRAWS = 2000


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
    few = int(judged.suspected.sum()) < FEW
    gained = cost - baseline > MARGIN and p <= view.level and not few
    if gained:
        verdict = "notice" if view.data.info.encoder else "alarm"
    elif few or low < NOTICE or judged.ease < NOTICE or judged.numbers is not None:
        verdict = "clear"  # of numbers, whatever lies near an end of its part is hard
    else:
        verdict = "notice"
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
        sentence=_sentence(judged, verdict, few, gained),
        table=table,
    )


def loss(judged: Judged) -> str:
    """What the ordinary model loses, as a clause of a headline."""
    against, correct = judged.contradicts, judged.ordinary_correct
    return (
        f"an ordinary model is right on {correct[~against].mean():.0%} of the samples that agree with what is "
        f"learned first, and on {correct[against].mean():.0%} of the {against.sum():,} that contradict it"
    )


def _sentence(judged: Judged, verdict: str, few: bool, gained: bool) -> str:
    agree = float((judged.looks == judged.label).mean())
    found = f"A small model, stopped after {judged.stopped} updates, already gives {agree:.0%} of the labels"
    if judged.ease < EASE:
        return f"{found}, hardly more than guessing: nothing here is learned easily, so there is no easy cue."
    if few:
        return f"{found}, and contradicts hardly any with confidence: nothing easy stands against the labels."
    weight, once = judged.sureness * judged.contradicts, np.ones((1, len(judged.label)))
    answers = (judged.ordinary_correct, judged.debiased_correct)
    ordinary, debiased = (float(accuracy(correct, weight, once)[0]) for correct in answers)
    found += (
        f"; of the {judged.contradicts.sum():,} it contradicts, an ordinary model gets {ordinary:.0%} right, and one "
        f"that is kept from relying on the easy cue {debiased:.0%} (each sample weighs as much as it is clear)"
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
