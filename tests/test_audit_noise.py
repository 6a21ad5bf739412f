from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom
from test_audit_learned import RNG, judged, view

from longcut.audit.base import Finding, Verdict
from longcut.audit.judged import FEW, Judged
from longcut.audit.noise import CONFIDENT, kinds, noise, telling


def said(name: str, verdict: Verdict) -> dict[str, Finding]:
    return {name: Finding(name, "?", 0.5, "share", 0.1, (0.4, 0.6), 0.01, verdict, "So it is.")}


SHORTCUT = said("columns", "alarm")  # which the debiased model takes, too


def found(confirmed: int, count: int, sound: int = 400, missed: int = 20, classes: int = 2) -> tuple[Finding, Judged]:
    """So many suspected, of which so many are confirmed; of the others, ``missed`` are not."""
    n = count + sound
    label = np.arange(n) % classes
    suspected = np.arange(n) < count
    debiased = np.where(suspected, np.arange(n) < confirmed, np.arange(n) >= count + missed)
    looks = np.where(suspected, (label + 1) % classes, label)
    models = judged(label, looks, 0.9, debiased, debiased, classes)
    assert models.suspected.sum() == count
    return decided(view(label, class_names=tuple("abcde"[:classes])), models, {}), models


def decided(*given: Any) -> Finding:
    finding = noise(*given)
    assert finding is not None, "classes have one"
    return finding


def wilson(hits: int, n: int) -> tuple[float, float]:
    z = 1.959964
    middle, spread = hits / n + z * z / (2 * n), z * np.sqrt(hits / n * (1 - hits / n) / n + z * z / (4 * n * n))
    return (middle - spread) / (1 + z * z / n), (middle + spread) / (1 + z * z / n)


def test_mostly_conflict():
    finding, _ = found(90, 100)
    # the model gives the wrong one of two classes to 20 of 400
    assert finding.baseline == pytest.approx(0.05)
    assert finding.statistic == pytest.approx(0.9)
    assert finding.interval == pytest.approx(wilson(90, 100))
    assert finding.p_value == pytest.approx(binom.sf(89, 100, 0.05))
    assert finding.verdict == "clear"
    # of the right labels 95 % are confirmed, of the wrong ones 5 %
    least = (wilson(90, 100)[0] - 0.05) / (0.95 - 0.05)
    assert f"at least {least:.0%} have the right label" in finding.sentence
    assert finding.sentence.startswith("Mostly conflict")


def test_mostly_noise():
    finding, _ = found(6, 100)
    assert finding.p_value == pytest.approx(binom.sf(5, 100, 0.05))
    assert finding.p_value > 0.05
    assert finding.verdict == "notice" and finding.sentence.startswith("They look like label noise")
    assert "Check the labels by hand" in finding.sentence


def test_some_of_both():
    finding, _ = found(40, 100)
    assert finding.verdict == "notice"
    assert finding.sentence.startswith("Some of both")


def test_more_classes_confirm_a_wrong_label_less_often():
    assert found(90, 100, classes=5)[0].baseline == pytest.approx(0.05 / 4)


def test_a_perfect_model_confirms_no_wrong_label():
    finding, _ = found(50, 100, missed=0)
    assert finding.baseline == 0
    assert finding.p_value < 1e-9
    finding, _ = found(0, 100, missed=0)
    assert finding.p_value == pytest.approx(1)
    assert finding.verdict == "notice" and finding.sentence.startswith("They look like label noise")


def test_table_counts_the_kinds():
    finding, models = found(90, 100)
    assert finding.table == (
        {"taken for": "conflicting", "samples": 90, "share": 0.9},
        {"taken for": "mislabelled", "samples": 10, "share": 0.1},
        {"taken for": "unclear", "samples": 0, "share": 0.0},
    )
    assert (kinds(models) == "typical").sum() == 400


def test_too_few():
    finding, _ = found(FEW - 1, FEW - 1)
    assert finding.verdict == "unknown"
    assert f"There are {FEW - 1} suspected samples, too few" in finding.sentence
    assert found(FEW, FEW)[0].verdict == "clear"


def test_kinds_by_hand():
    """Fifteen agreeing samples, and five that the biased model takes for class 1."""
    models = judged([0] * 20, [0] * 15 + [1] * 5, [0.9] * 19 + [0.2])
    ordinary = np.array([[1, 0]] * 15 + [[0, 1], [0.1, 0.9], [0, 1], [0, 1], [0, 1]])
    debiased = np.array([[1, 0]] * 15 + [[0.6, 0.4], [0.05, 0.95], [0.2, 0.8], [0.5, 0.5], [0, 1]])
    models = dataclasses.replace(models, ordinary=ordinary, debiased=debiased)
    assert CONFIDENT == 0.9
    # confirmed; both say 1 with 0.9 at least; one with 0.8 only; a tie goes to the label; not suspected
    taken = ["typical"] * 15 + ["conflicting", "mislabelled", "unclear", "conflicting", "typical"]
    assert kinds(models).tolist() == taken
    taken[16] = "unclear"  # where no model does without the shortcut, their agreement says nothing
    assert kinds(models, telling=False).tolist() == taken


def test_the_debiased_model_tells_where_it_does_without_the_shortcut_or_there_is_none():
    assert telling({})
    assert telling(said("columns", "notice"))
    assert not telling(SHORTCUT)
    assert telling(SHORTCUT | said("learned", "alarm"))
    assert not telling(SHORTCUT | said("learned", "notice"))


def test_where_no_model_does_without_the_shortcut_noise_cannot_be_told():
    finding, models = found(5, 100)
    assert finding.verdict == "notice"
    untold = decided(view(models.label), models, SHORTCUT)
    assert untold.verdict == "unknown"
    assert "a shortcut was found that no model here does without" in untold.sentence
    assert untold.table[1]["samples"] == 0
    sound, models = found(95, 100)
    assert sound.verdict == decided(view(models.label), models, SHORTCUT).verdict == "clear"


def test_false_confirmations_are_seldom_taken_for_conflict():
    """Labels that are all wrong are confirmed as often as the model errs: "some of both" at the level alone."""
    draws = RNG(0).binomial(100, 0.05, 100)
    findings = [found(int(confirmed), 100)[0] for confirmed in draws]
    assert {finding.verdict for finding in findings} == {"notice"}
    assert sum(finding.sentence.startswith("Some of both") for finding in findings) <= binom.ppf(0.999, 100, 0.05)
