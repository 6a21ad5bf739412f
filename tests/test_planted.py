"""Methods on a planted shortcut, and on none: colored digits in seconds, with the settings users get."""

from __future__ import annotations

import statistics

import pytest

from longcut.execute import execute
from longcut.plans import plan

pytestmark = pytest.mark.slow
SEEDS = (0, 1, 2)


def mean_accuracy(data: str, method: str, metric: str) -> float:
    records = [execute(plan(data, method, settings={"every": 100}, seed=seed)) for seed in SEEDS]
    return statistics.fmean(record.scores.test.values[metric] for record in records)


@pytest.fixture(scope="module")
def erm() -> float:
    return mean_accuracy("colored-digits", "erm", "conflicting")


@pytest.mark.parametrize(
    ("method", "margin"),
    [
        ("selecmix", 0.1),
        ("lff", 0.03),
        ("resample:by=group", 0.05),
        ("lisa", 0.05),
        ("selecmix:pairs=attribute", 0.1),
    ],
)
def test_beats_ordinary_training_where_samples_contradict_the_shortcut(erm, method, margin):
    assert mean_accuracy("colored-digits", method, "conflicting") > erm + margin


def test_mixing_is_worth_more_than_resampling_the_same_pairs():
    mixed = mean_accuracy("colored-digits", "selecmix", "conflicting")
    assert mixed > mean_accuracy("colored-digits", "selecmix:blend=keep-both", "conflicting")


def test_costs_little_where_no_shortcut_was_planted():
    data = "colored-digits:ratio=0.9"
    assert mean_accuracy(data, "selecmix", "average") > mean_accuracy(data, "erm", "average") - 0.03
