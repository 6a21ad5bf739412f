from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import binom
from test_audit_learned import RNG, judged, view

from longcut.audit.base import Finding, Verdict
from longcut.audit.judged import FEW, Judged
from longcut.audit.order import order

SHORTCUT = {"words": Finding("words", "?", 0.5, "share", 0.1, (0.4, 0.6), 0.01, "alarm", "So it is.")}

N, AGAINST = 400, 100
LABEL = np.arange(N) % 2
CONFLICTING = np.arange(N) < AGAINST  # contradicting first, half of them of each class
UPDATES = [10, 20, 40, 80]


def hits(agreeing: list[float], contradicting: list[float]) -> np.ndarray:
    """Shares that are right, at each point of the curves."""
    rows = []
    for a, c in zip(agreeing, contradicting, strict=True):
        rank = np.where(CONFLICTING, np.arange(N) / AGAINST, (np.arange(N) - AGAINST) / (N - AGAINST))
        rows.append(rank < np.where(CONFLICTING, c, a))
    return np.array(rows)


def found(agreeing: list[float], contradicting: list[float], *, known: bool = True, shortcut: bool = True) -> Finding:
    looks = np.where(CONFLICTING, 1 - LABEL, LABEL)
    models = judged(LABEL, looks, updates=UPDATES, hits=hits(agreeing, contradicting))
    attribute = np.where(CONFLICTING, 1 - LABEL, LABEL) if known else None
    return said(view(LABEL, attribute, aligned=(0, 1) if known else ()), models, SHORTCUT if shortcut else {})


def said(*given: Any) -> Finding:
    finding = order(*given)
    assert finding is not None, "classes have one"
    return finding


@pytest.mark.parametrize("known", [True, False])
def test_the_shortcut_first(known: bool):
    finding = found([0.6, 0.8, 0.9, 0.95], [0.4, 0.3, 0.5, 0.9], known=known)
    # halfway from 0.5 to the best, 0.95, is 0.725: reached at 20 updates
    assert finding.verdict == "clear"
    assert finding.statistic == pytest.approx(0.8 - 0.3)
    assert finding.baseline == pytest.approx(0.95 - 0.9)
    assert finding.interval[0] < finding.statistic < finding.interval[1]
    spread = 1.96 * np.sqrt(0.8 * 0.2 / 300 + 0.3 * 0.7 / 100)
    assert finding.interval == pytest.approx((0.5 - spread, 0.5 + spread), abs=0.02)
    assert "after 20 updates, when 80% of the agreeing" in finding.sentence
    assert f"only 30% of those that the {'attribute' if known else 'biased model'} calls contradicting" in (
        finding.sentence
    )
    assert "they may be used here" in finding.sentence
    assert finding.table[1] == {"updates": 20, "agreeing": pytest.approx(0.8), "contradicting": pytest.approx(0.3)}
    assert [row["updates"] for row in finding.table] == UPDATES


def test_the_signal_first():
    finding = found([0.6, 0.8, 0.9, 0.95], [0.6, 0.82, 0.85, 0.8])
    assert finding.verdict == "alarm"
    assert finding.statistic == pytest.approx(-0.02)
    assert "do not use them here" in finding.sentence
    assert "after 20 updates" in finding.sentence


def test_without_an_attribute_the_sides_are_those_of_the_picture():
    """Each sample weighs as much as the biased model is sure: one number for one thing."""
    sure, looks = RNG(0).uniform(0.3, 1, N), np.where(CONFLICTING, 1 - LABEL, LABEL)
    models = judged(LABEL, looks, sure, updates=UPDATES, hits=hits([0.6, 0.8, 0.9, 0.95], [0.4, 0.3, 0.5, 0.9]))
    finding = said(view(LABEL), models, SHORTCUT)
    for row, hit in zip(finding.table, models.hits, strict=True):
        for name, side in (("agreeing", ~CONFLICTING), ("contradicting", CONFLICTING)):
            assert row[name] == pytest.approx(np.average(hit[side], weights=models.sureness[side]))
    assert finding.statistic == pytest.approx(finding.table[1]["agreeing"] - finding.table[1]["contradicting"])
    draws = RNG(1).integers(0, N, (2000, N))
    leads = [
        np.average(models.hits[1][rows[~CONFLICTING[rows]]], weights=models.sureness[rows[~CONFLICTING[rows]]])
        - np.average(models.hits[1][rows[CONFLICTING[rows]]], weights=models.sureness[rows[CONFLICTING[rows]]])
        for rows in draws
    ]
    assert finding.interval == pytest.approx(np.quantile(leads, [0.025, 0.975]), abs=0.03)


def test_a_lead_that_only_grows_later_is_no_early_shortcut():
    # the attribute is learned in the end, but halfway both are learned alike
    assert found([0.6, 0.8, 0.9, 1.0], [0.6, 0.75, 0.6, 0.5]).verdict == "alarm"


def test_suspected_samples_cannot_prove_that_the_order_is_wrong():
    finding = found([0.6, 0.8, 0.9, 0.95], [0.6, 0.82, 0.85, 0.8], known=False)
    assert finding.verdict == "unknown"
    assert finding.sentence.startswith("It cannot be told: after 20 updates")


def test_an_uncertain_lead_is_unknown():
    assert found([0.6, 0.8, 0.9, 0.95], [0.6, 0.68, 0.85, 0.95]).verdict == "unknown"


def test_without_a_shortcut_there_is_no_order():
    finding = found([0.6, 0.8, 0.9, 0.95], [0.4, 0.3, 0.5, 0.9], known=False, shortcut=False)
    assert finding.verdict == "unknown"
    assert np.isnan(finding.baseline)
    assert finding.sentence.startswith("No shortcut was found")
    assert "train as usual" in finding.sentence


@pytest.mark.parametrize(("against", "side"), [(FEW - 1, "contradicting"), (N - FEW + 1, "agreeing"), (N, "agreeing")])
def test_too_few_on_one_side(against: int, side: str):
    few = np.arange(N) < against
    models = judged(LABEL, LABEL, updates=[1], hits=np.ones((1, N), bool))
    finding = said(view(LABEL, np.where(few, 1 - LABEL, LABEL), aligned=(0, 1)), models, SHORTCUT)
    assert finding.verdict == "unknown"
    number = min(against, N - against)
    assert f"the attribute knows {number} {side} samples, too few for a learning curve" in finding.sentence


def test_the_attribute_goes_before_what_is_suspected():
    """The biased model suspects others than those that contradict the attribute."""
    models = judged(LABEL, np.where(CONFLICTING, LABEL, 1 - LABEL), updates=[5, 9], hits=hits([0.9, 0.9], [0.1, 0.9]))
    finding = said(view(LABEL, np.where(CONFLICTING, 1 - LABEL, LABEL), aligned=(0, 1)), models, SHORTCUT)
    assert finding.statistic == pytest.approx(0.8)
    assert finding.verdict == "clear"


def test_alike_curves_are_seldom_called_a_lead():
    """Samples that are drawn alike on both sides: 'clear' would need a lead of 10 % at least."""
    rng, leads = RNG(0), 0
    for _ in range(100):
        models: Judged = judged(LABEL, LABEL, updates=[1, 2], hits=rng.random((2, N)) < [[0.7], [0.9]])
        attribute = np.where(CONFLICTING, 1 - LABEL, LABEL)
        leads += said(view(LABEL, attribute, aligned=(0, 1)), models, SHORTCUT).verdict == "clear"
    assert leads <= binom.ppf(0.999, 100, 0.025)


@pytest.mark.parametrize(("learned", "verdict"), [("alarm", "clear"), ("notice", "unknown"), ("clear", "unknown")])
def test_no_method_is_recommended_that_learned_saw_no_gain_in(learned: Verdict, verdict: Verdict):
    """The two stand on one page: early is not enough where a model without the shortcut does no better."""
    own = Finding("learned", "?", 0.5, "share", 0.1, (0.4, 0.6), 0.01, learned, "So it is.")
    curves = hits([0.6, 0.8, 0.9, 0.95], [0.4, 0.3, 0.5, 0.9])
    models = judged(LABEL, np.where(CONFLICTING, 1 - LABEL, LABEL), updates=UPDATES, hits=curves)
    finding = said(view(LABEL), models, SHORTCUT | {"learned": own})
    assert finding.verdict == verdict
    assert ("may be used here" in finding.sentence) == (verdict == "clear")
    assert ("no clear gain" in finding.sentence) == (verdict == "unknown")
