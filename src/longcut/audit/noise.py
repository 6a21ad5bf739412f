"""Label noise or conflict? Both look hard to a biased model.

A sample that contradicts a shortcut has the right label, and a model that learned more than the shortcut confirms it. A
mislabelled sample is contradicted by every model. How often a wrong label is confirmed by mistake can be measured:
it is how often the model, asked about samples that nothing is wrong with, gives one particular other class.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from longcut.audit.association import wilson
from longcut.audit.base import Finding, View
from longcut.audit.judged import FEW, Judged

__all__ = ["CONFLICTING", "MISLABELLED", "TYPICAL", "UNCLEAR", "kinds", "noise", "telling"]

CONFLICTING, MISLABELLED, UNCLEAR, TYPICAL = "conflicting", "mislabelled", "unclear", "typical"
CONFIDENT = 0.9  # probability with which two models must agree on another class to call a label wrong


def telling(shortcuts: Mapping[str, Finding]) -> bool:
    """Whether the debiased model can tell noise from conflict: it does without the shortcut, or none was found.

    Args:
        shortcuts: what the checks that look for a shortcut found, by name.
    """
    alarms = {name for name, finding in shortcuts.items() if finding.verdict == "alarm"}
    return "learned" in alarms or not alarms


def kinds(judged: Judged, telling: bool = True) -> NDArray[np.str_]:
    """What each sample is taken for ``(n,)``.

    Among the suspected: ``conflicting`` when the debiased model confirms the label; ``mislabelled`` when ordinary and
    debiased model agree with the biased one on another class, each with a probability of at least 0.9; else
    ``unclear``. All others are ``typical``.

    Args:
        judged: what the models say.
        telling: whether their agreement on another class says anything (see :func:`telling`). Where a shortcut was
            found and no model does without it, they agree because of it, and nothing is called ``mislabelled``.
    """
    rows = np.arange(len(judged.label))
    other = np.minimum(judged.ordinary[rows, judged.looks], judged.debiased[rows, judged.looks])
    unconfirmed = np.where((other >= CONFIDENT) & telling, MISLABELLED, UNCLEAR)
    kind = np.where(judged.debiased_correct, CONFLICTING, unconfirmed)
    return np.where(judged.suspected, kind, TYPICAL)


def noise(view: View, judged: Judged, shortcuts: Mapping[str, Finding]) -> Finding | None:
    """For which part of the suspected samples the debiased model confirms the label, against chance.

    The statistic is that part. The baseline is how often a wrong label would be confirmed: the share of the samples
    that are not suspected for which the model gives one particular other class.

    Args:
        view: what is audited.
        judged: what the models say.
        shortcuts: what the checks that look for a shortcut found; it decides :func:`telling`.

    Returns:
        None of a target of numbers, of which none is simply wrong.
    """
    if view.original is not None:
        return None
    count, classes = int(judged.suspected.sum()), len(view.classes)
    question = "Are the suspected samples mislabelled, or do they contradict a shortcut?"
    measure = "share of the suspected whose label a debiased model confirms"
    sound = ~judged.suspected
    confirms = float(judged.debiased_correct[sound].mean())
    by_chance = (1 - confirms) / (classes - 1)
    if count < FEW:
        return Finding(
            "noise", question, np.nan, measure, by_chance, (np.nan, np.nan), np.nan, "unknown",
            f"There are {count} suspected samples, too few to tell noise from conflict.",
        )  # fmt: skip
    from scipy.stats import binomtest

    confirmed = int(judged.debiased_correct[judged.suspected].sum())
    test = binomtest(confirmed, count, min(max(by_chance, 1e-9), 1 - 1e-9), alternative="greater")
    share, (low, high) = confirmed / count, wilson(confirmed, count)
    told = telling(shortcuts)
    kind = kinds(judged, told)
    number = {name: int((kind == name).sum()) for name in (CONFLICTING, MISLABELLED, UNCLEAR)}
    least = max(0.0, (low - by_chance) / max(confirms - by_chance, 1e-9))
    how = (
        f"a model that is kept from the easy cue confirms the labels of {share:.0%} of them "
        f"({low:.0%} to {high:.0%}), and would confirm a wrong label in {by_chance:.0%} of cases"
    )
    if not told and least < 0.5:
        verdict = "unknown"
        what = (
            "It cannot be told: a shortcut was found that no model here does without, so that they contradict these "
            f"labels proves little. At least {least:.0%} have the right label: {how}. Look at the others by hand."
        )
    elif least >= 0.5:
        verdict, what = "clear", f"Mostly conflict: {how}, so at least {least:.0%} have the right label."
    elif test.pvalue > view.level:
        verdict = "notice"  # no alarm, for nothing is shown: 55 of 800 audits without a shortcut end here
        what = f"They look like label noise, or are beyond what can be learned here: {how}. Check the labels by hand."
    else:
        verdict = "notice"
        what = f"Some of both: {how}. At least {least:.0%} have the right label; look at the others by hand."
    table = tuple({"taken for": name, "samples": n, "share": n / count} for name, n in number.items())
    return Finding("noise", question, share, measure, by_chance, (low, high), float(test.pvalue), verdict, what, table)
