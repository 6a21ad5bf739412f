"""Does the assumption hold: is the shortcut learned before what is meant?

Every method of this family finds the samples to mix, weight or contrast by what a model learns *first*. Where the
shortcut is learned later than the signal, these methods find hard samples instead and do harm.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from longcut.audit.base import Finding, View
from longcut.audit.judged import FEW, Judged, accuracy

__all__ = ["order"]

HALFWAY = 0.5  # of the way from guessing to the best: the moment that is called early
EARLIER = 0.1  # lead, as a share of accuracy, that makes one of the two the first
DRAWS = 1000


def order(view: View, judged: Judged, shortcuts: Mapping[str, Finding]) -> Finding | None:
    """Learning curves of an ordinary model on held-out samples that agree with the shortcut and that contradict it.

    Where the attribute is known, its conflicting samples are meant, else those that the biased model contradicts, each
    weighing as much as it is sure, as in :func:`~longcut.audit.judged.gap`: the curves that the page draws. The
    statistic is the lead of the agreeing samples halfway through learning, its baseline their lead at the end.

    Args:
        view: what is audited.
        judged: gives the curves.
        shortcuts: what the checks that look for one found; without an alarm among them there is no order, and where
            ``learned`` saw no gain in doing without what is easy, this check recommends none of these methods either.

    Returns:
        None of a target of numbers, for these methods are for classes.
    """
    if view.original is not None:
        return None
    known = view.attribute is not None and bool(view.data.info.aligned)
    against, hits, weight, suspected = judged.contradicts, judged.hits, judged.sureness, judged.suspected
    if known and view.attribute is not None:
        told = view.attribute >= 0
        against, hits = view.data.conflicting.numpy()[told], [some[told] for some in judged.hits]
        weight, suspected = np.ones(len(against)), against
    shortcut = any(finding.verdict == "alarm" for finding in shortcuts.values())
    chance = 1 / len(view.classes)
    words = "attribute" if known else "biased model"
    question = "Is the shortcut learned before what is meant, as these methods need?"
    measure = "lead of the agreeing over the contradicting samples, halfway through learning"
    fewer = min(int(suspected.sum()), int((~suspected).sum()))
    if fewer < FEW or not shortcut:
        why = "No shortcut was found, so there is nothing that these methods could find first: train as usual."
        if shortcut:
            side = "contradicting" if suspected.sum() == fewer else "agreeing"
            why = f"It cannot be told: the {words} knows {fewer} {side} samples, too few for a learning curve."
        return Finding(
            "order", question, np.nan, measure, np.nan, (np.nan, np.nan), np.nan, "unknown", why
        )  # fmt: skip
    weights = weight * ~against, weight * against
    once = np.ones((1, len(against)))
    curves = np.array([[float(accuracy(some, side, once)[0]) for side in weights] for some in hits])
    reached = curves[:, 0] - chance >= HALFWAY * (curves[:, 0].max() - chance)
    early = int(reached.argmax())
    lead, end = (float(curves[at, 0] - curves[at, 1]) for at in (early, -1))
    low, high = _interval(curves[early], weights, view.random(3))
    table = tuple(
        {"updates": updates, "agreeing": float(a), "contradicting": float(c)}
        for updates, (a, c) in zip(judged.updates, curves, strict=True)
    )
    at = f"after {judged.updates[early]} updates, when {curves[early, 0]:.0%} of the agreeing samples are right"
    learned = shortcuts.get("learned")
    if low > EARLIER and learned is not None and learned.verdict != "alarm":
        verdict = "unknown"
        sentence = (
            f"It is first: {at}, only {curves[early, 1]:.0%} of those that the {words} calls contradicting are. "
            "But a model that is kept from relying on what is learned first has no clear gain ('learned'), so these "
            "methods may have nothing to work with: compare one with an ordinary model before you use it."
        )
    elif low > EARLIER:
        verdict = "clear"
        sentence = (
            f"Yes: {at}, only {curves[early, 1]:.0%} of those that the {words} calls contradicting are. What these "
            "methods look for is what is learned first, so they may be used here."
        )
    elif known and high < max(EARLIER, end):
        verdict = "alarm"
        sentence = (
            f"No: {at}, {curves[early, 1]:.0%} of the contradicting ones are right too. The attribute is not what is "
            "learned first, and these methods would chase hard samples instead: do not use them here. If the attribute "
            "is known in training, use it (resample by group, LISA)."
        )
    else:
        verdict = "unknown"
        sentence = f"It cannot be told: {at}, {curves[early, 1]:.0%} of the contradicting ones are."
    return Finding("order", question, lead, measure, end, (low, high), np.nan, verdict, sentence, table)


def _interval(
    shares: NDArray[np.float64], weights: tuple[NDArray[Any], NDArray[Any]], draw: np.random.Generator
) -> tuple[float, float]:
    """95 % bootstrap interval of the lead; weighted samples count as Kish's effective number of equal ones."""
    sizes = [max(1, round(float(weight.sum() ** 2 / np.square(weight).sum()))) for weight in weights]
    ends = [draw.binomial(n, share, DRAWS) / n for n, share in zip(sizes, shares, strict=True)]
    low, high = np.quantile(ends[0] - ends[1], [0.025, 0.975])
    return float(low), float(high)
