from __future__ import annotations

from math import comb

import numpy as np
import pytest
from scipy.stats import binom
from test_audit_learned import RNG, judged, view
from test_audit_noise import wilson

from longcut.audit.base import Finding, View
from longcut.audit.judged import Judged
from longcut.audit.known import known as check

LABEL = np.arange(40) % 2


def known(shown: View, models: Judged) -> Finding | None:
    return check(shown, models, {})


def found(against: np.ndarray, suspected: np.ndarray, label: np.ndarray = LABEL, level: float = 0.05) -> Finding:
    models = judged(label, np.where(suspected, 1 - label, label))
    shown = view(label, np.where(against, 1 - label, label), level, n_attributes=2, aligned=(0, 1))
    finding = known(shown, models)
    assert finding is not None
    return finding


def test_precision_recall_and_p_value_by_hand():
    against, suspected = np.arange(40) < 8, (np.arange(40) >= 2) & (np.arange(40) < 12)
    finding = found(against, suspected)
    # 10 suspected, 6 of them among the 8 that contradict
    assert finding.statistic == pytest.approx(0.6)
    assert finding.baseline == pytest.approx(8 / 40)
    assert finding.interval == pytest.approx(wilson(6, 10))
    assert finding.p_value == pytest.approx(sum(comb(8, k) * comb(32, 10 - k) for k in (6, 7, 8)) / comb(40, 10))
    assert finding.table[0] == {"chosen": "suspected", "samples": 10, "precision": 0.6, "recall": 0.75}
    assert finding.table[1]["samples"] == 8
    assert finding.table[1]["precision"] == finding.table[1]["recall"] == 6 / 8  # the first 8 of 10 equally suspicious
    assert finding.table[2] == {"chosen": "at random", "samples": 10, "precision": 0.2, "recall": 0.25}
    assert "60% of the 10 suspected samples contradict the attribute (20.0% of all samples do)" in finding.sentence
    assert "75% of the 8 that contradict it are suspected" in finding.sentence


def test_the_most_suspicious_come_first():
    against = np.arange(40) < 4
    looks = np.where(np.arange(40) < 10, 1 - LABEL, LABEL)
    rising = 0.5 + 0.04 * (np.arange(40) % 10)
    for sure, precision in ((rising, 0), (1.4 - rising, 1)):  # the surest are 6 to 9, and then 0 to 3
        finding = known(view(LABEL, np.where(against, 1 - LABEL, LABEL), aligned=(0, 1)), judged(LABEL, looks, sure))
        assert finding is not None
        assert finding.table[1]["precision"] == finding.table[1]["recall"] == precision


def test_verdicts():
    n = np.arange(400)
    label = n % 2
    same = found(n < 40, n < 40, label)
    assert (same.verdict, same.statistic, same.table[0]["recall"]) == ("alarm", 1, 1)
    assert "the biased model found this shortcut by itself" in same.sentence
    other = found(n < 40, n >= 360, label)
    assert (other.verdict, other.statistic, other.p_value) == ("clear", 0, 1)
    assert "what is learned first is another cue" in other.sentence
    some = found(n < 200, n % 200 < 60 - 30 * (n >= 200), label)  # 60 of 90, where half of all contradict
    assert some.p_value <= 0.05
    assert some.verdict == "notice"  # more than chance, but not twice as many


def test_nothing_to_compare():
    none, some = np.zeros(40, bool), np.arange(40) < 9
    assert found(some, none).sentence == "No sample is suspected."
    assert found(none, some).sentence == "No sample contradicts the attribute."
    assert found(some, none).verdict == found(none, some).verdict == "unknown"


def test_without_a_named_attribute_there_is_no_finding():
    models = judged(LABEL, LABEL)
    assert known(view(LABEL), models) is None
    assert known(view(LABEL, LABEL), models) is None  # nobody says which value goes with which label


def test_a_permuted_attribute_is_seldom_found():
    rng, label = RNG(0), np.arange(300) % 2
    suspected = rng.random(300) < 0.15
    p_values = [found(rng.permutation(np.arange(300) < 60), suspected, label).p_value for _ in range(200)]
    assert sum(p <= 0.05 for p in p_values) <= binom.ppf(0.999, 200, 0.05)
    assert np.median(p_values) < 0.8  # and they are p-values, not ones
