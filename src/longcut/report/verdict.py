"""Which method to use, and which does harm: each beside the baseline, corrected for how many were tried."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

import numpy as np
from scipy.special import stdtr

from longcut.report.study import Contender, Study

__all__ = ["Verdict", "adjusted", "advice", "verdicts"]

LEVEL = 0.05
WHERE = {
    "conflicting": "on the samples that contradict the shortcut",
    "worst_group": "in the worst group",
    "worst_group_rmse": "in the worst group",
}


@dataclass(frozen=True)
class Verdict:
    """One method beside the baseline.

    Attributes:
        name: of the method.
        metric: by which they were judged.
        gain: by how much it is better, negative where it is worse: a share, or an error in its own units.
        p: of no difference, corrected for the number of methods.
        seeds: runs of either that the error of the gain is from; with one, nothing is known about the spread over
            training runs, and only that over test samples counts.
    """

    name: str
    metric: str
    gain: float
    p: float
    seeds: int

    @property
    def kind(self) -> str:
        """``"better"``, ``"worse"``, or ``"unclear"``."""
        return "unclear" if not self.p <= LEVEL else "better" if self.gain > 0 else "worse"


def verdicts(study: Study) -> list[Verdict]:
    """Every method beside the baseline, in the order of the study; none where there is no baseline.

    The difference is that of the means over seeds on the same test samples. Its error has two parts, that of the test
    samples by a paired bootstrap and that of training by the spread over seeds (of the differences, where both have the
    same seeds), whose squares add up; the p-value is of Student's t with the degrees of freedom of Welch and
    Satterthwaite, and over the methods those of Holm.

    Source: S. Holm, "A simple sequentially rejective multiple test procedure", Scand. J. Statistics 1979.
    """
    baseline, *others = study.contenders
    metric = study.judged
    if not baseline.is_baseline or not metric:
        return []
    found = [(other.name, one) for other in others if (one := _beside(study, other, metric)) is not None]
    p_values = adjusted([p for _, (_, p, _) in found])
    sign = 1 if study.scale.percent else -1
    return [
        Verdict(name, metric, sign * gain, p, seeds)
        for (name, (gain, _, seeds)), p in zip(found, p_values, strict=True)
    ]


def adjusted(p_values: Sequence[float]) -> list[float]:
    """Holm's p-values: each of so many tests may be read alone.

    >>> adjusted([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    result, largest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(np.argsort(p_values, kind="stable")):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[i]))
        result[int(i)] = largest
    return result


def advice(study: Study) -> list[str]:
    """What to do, in sentences: the method to take and why, then what does harm."""
    found = verdicts(study)
    if not found:
        return []
    baseline, metric = study.contenders[0], found[0].metric
    where, unit = WHERE.get(metric, "on the test set"), "points" if study.scale.percent else "of error"

    def beside(one: Verdict) -> str:
        size = study.scale.write(abs(one.gain))
        more = "better" if one.gain > 0 else "worse"
        p = "p < .001" if one.p < 0.001 else f"p = {one.p:.2g}".replace("0.", ".", 1)
        return f"{size} {unit} {more} than {baseline.name} {where} ({p})"

    better = sorted((one for one in found if one.kind == "better"), key=lambda one: -one.gain)
    first = f"Nothing is clearly better than {baseline.name} {where}: stay with it."
    if better:
        told = next(c for c in study.contenders if c.name == better[0].name).knows_shortcut
        needs = "; it is told the attribute" if told else ""
        first = f"Take {better[0].name} here: it is {beside(better[0])}{needs}."
    lines, gained = [first], better[0].gain if better else 0.0
    open_ = max(
        (one for one in found if one.kind == "unclear" and one.gain > gained), key=lambda o: o.gain, default=None
    )
    if open_:
        lines.append(f"{open_.name} may be better{' still' if better else ''}, {beside(open_)}: more seeds would tell.")
    lines += [f"{one.name} is {beside(one)}: do not use it here." for one in found if one.kind == "worse"]
    tried = f"corrected for {len(found)} methods tried" if len(found) > 1 else ""
    alone = "with one seed, nothing is known about the spread over training runs" if found[0].seeds == 1 else ""
    if notes := "; ".join(filter(None, (tried, alone))):
        lines.append(f"{notes[0].upper()}{notes[1:]}.")
    return lines


def _beside(study: Study, one: Contender, metric: str) -> tuple[float, float, int] | None:
    """Difference in the metric, its p-value, and of how many seeds; None where the two cannot be paired."""
    paired = study.beside(one, one.scale.roots.get(metric, metric))
    if paired is None:
        return None
    sides, drawn = (paired.runs, paired.others), paired.difference
    values = [[one.scale.score(run.scores(), metric) for run in side] for side in sides]
    gain, error = fmean(values[0]) - fmean(values[1]), (drawn.high - drawn.low) / 3.92
    if one.scale.roots.get(metric):  # the bootstrap is of squares: d√m = dm / 2√m
        error /= 2 * max(fmean(fmean(side) for side in values), 1e-12)
    if [run.record.plan.seed for run in sides[0]] == [run.record.plan.seed for run in sides[1]]:
        values = [[a - b for a, b in zip(*values, strict=True)]]
    of_seeds = [(stdev(side) ** 2 / len(side), len(side) - 1) for side in values if len(side) > 1]
    variance = error**2 + sum(own for own, _ in of_seeds)
    if not variance:
        return gain, 0.0 if gain else 1.0, min(map(len, values))
    freedom = sum(own**2 / k for own, k in of_seeds)
    freedom = variance**2 / freedom if freedom else 1e6
    return gain, 2 * float(stdtr(freedom, -abs(gain) / math.sqrt(variance))), min(map(len, values))
