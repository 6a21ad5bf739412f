from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from fairlearn.metrics import (
    MetricFrame,
    count,
    demographic_parity_difference,
    equal_opportunity_difference,
    equalized_odds_difference,
    false_positive_rate,
    selection_rate,
    true_positive_rate,
)
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom
from sklearn.calibration import calibration_curve
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    mean_absolute_error,
    mean_absolute_percentage_error,
    mean_squared_error,
    r2_score,
    recall_score,
    roc_auc_score,
    top_k_accuracy_score,
)

from longcut.data import Dataset, generator
from longcut.errors import UserError
from longcut.evaluate import (
    METRICS,
    Metric,
    lower_is_better,
    metrics,
    paired,
    paired_sets,
    rates_by_group,
    sample_values,
    scores,
)
from longcut.evaluate.outputs import Outputs, _curve
from longcut.evaluate.table import made
from longcut.registry import load_file


def dataset(label, attribute=None, **info) -> Dataset:
    return Dataset.of(torch.arange(len(label), dtype=torch.float32)[:, None], label, attribute, **info)


def one_hot(predicted: list[int], classes: int) -> torch.Tensor:
    return torch.eye(classes)[torch.tensor(predicted)]


# cell (label, attribute): right of all      (0, 0): 3 of 4    (0, 1): 1 of 2    (1, 0): 0 of 1    (1, 1): 1 of 3
LABEL = [0, 0, 0, 0, 0, 0, 1, 1, 1, 1]
ATTRIBUTE = [0, 0, 0, 0, 1, 1, 0, 1, 1, 1]
RIGHT = [1, 1, 1, 0, 1, 0, 0, 1, 0, 0]
TEST = dataset(LABEL, ATTRIBUTE, aligned=(0, 1))


# What every metric is held against; a new one needs an oracle too, and a line here.
ORACLES = {
    "average": "fairlearn, the binomial distribution, arithmetic by hand",
    "aligned": "arithmetic by hand",
    "conflicting": "arithmetic by hand, a loop",
    "worst_group": "fairlearn, a loop",
    "group_mean": "fairlearn, a loop",
    "train_weighted": "published averages of JTT and JM1",
    "worst_class": "scikit-learn's recall_score",
    "balanced": "scikit-learn's balanced_accuracy_score",
    "class_difference": "scikit-learn's recall_score over itertools.combinations",
    "ece": "scikit-learn's calibration_curve",
    "top5": "scikit-learn's top_k_accuracy_score",
    "auroc": "scikit-learn's roc_auc_score, Hanley and McNeil's interval, a loop over pairs",
    "rmse": "scikit-learn's mean_squared_error",
    "mae": "scikit-learn's mean_absolute_error",
    "mape": "scikit-learn's mean_absolute_percentage_error",
    "r2": "scikit-learn's r2_score",
    "worst_group_rmse": "scikit-learn's mean_squared_error in a loop over groups",
    "worst_fifth_rmse": "pandas' qcut and scikit-learn's mean_squared_error",
    "equalized_odds_sum": "fairlearn's rates by group, arithmetic by hand",
    "equalized_odds_max": "fairlearn's equalized_odds_difference",
    "equalized_odds_mean": "fairlearn's equalized_odds_difference(agg='mean')",
    "equal_opportunity": "fairlearn's equal_opportunity_difference",
    "demographic_parity": "fairlearn's demographic_parity_difference",
}
OF_NUMBERS = ("rmse", "mae", "mape", "r2", "worst_group_rmse", "worst_fifth_rmse")
EQUALIZED = ("equalized_odds_sum", "equalized_odds_max", "equalized_odds_mean")
OF_GROUPS = (*EQUALIZED, "equal_opportunity", "demographic_parity")


def test_every_metric_has_a_definition_and_an_oracle():
    assert METRICS.own.keys() == ORACLES.keys()
    for name, metric in METRICS.items():
        assert isinstance(metric, Metric)
        assert len(metric.definition) > 10
        assert metric.lower == metric.definition.endswith("; lower is better"), name


def test_every_metric_by_hand():
    train = dataset([0] * 5 + [0] * 1 + [1] * 1 + [1] * 3, [0] * 5 + [1] * 1 + [0] * 1 + [1] * 3, aligned=(0, 1))
    found = metrics(torch.tensor(RIGHT), TEST, train)
    assert found == pytest.approx(
        {
            "average": 5 / 10,
            "aligned": (3 + 1) / (4 + 3),
            "conflicting": (1 + 0) / (2 + 1),
            "worst_group": 0.0,
            "group_mean": (3 / 4 + 1 / 2 + 0 / 1 + 1 / 3) / 4,
            "train_weighted": 0.5 * 3 / 4 + 0.1 * 1 / 2 + 0.1 * 0 + 0.3 * 1 / 3,
            "worst_class": 1 / 4,
            "balanced": (4 / 6 + 1 / 4) / 2,
            "class_difference": 4 / 6 - 1 / 4,
            "ece": math.nan,
            "top5": math.nan,
            "auroc": math.nan,
            **dict.fromkeys(OF_NUMBERS, math.nan),
            # true positive rates 0 / 1 and 1 / 3, false ones 1 / 4 and 1 / 2, predicted 1 of 5 and 2 of 5
            "equalized_odds_sum": 1 / 3 + 1 / 4,
            "equalized_odds_max": 1 / 3,
            "equalized_odds_mean": (1 / 3 + 1 / 4) / 2,
            "equal_opportunity": 1 / 3,
            "demographic_parity": 2 / 5 - 1 / 5,
        },
        nan_ok=True,
    )
    assert found.keys() == METRICS.keys()


def test_what_is_not_known_is_nan():
    found = metrics(torch.tensor(RIGHT), dataset(LABEL))
    unknown = ["aligned", "conflicting", "train_weighted", "ece", "top5", "auroc", *OF_NUMBERS, *OF_GROUPS]
    assert [name for name, value in found.items() if math.isnan(value)] == unknown
    assert found["worst_group"] == pytest.approx(1 / 4), "without an attribute, groups are classes"
    no_shortcut = metrics(torch.tensor(RIGHT), dataset(LABEL, ATTRIBUTE))
    assert math.isnan(no_shortcut["aligned"])
    assert math.isnan(no_shortcut["conflicting"])


def test_an_empty_group_is_nan_and_counts_zero():
    data = dataset([0, 0, 1], [0, 0, 1], n_attributes=3, aligned=(0, 1))
    found = scores(torch.tensor([1.0, 0.0, 1.0]), data, draws=50)
    assert [(group.label, group.attribute, group.n) for group in found.groups] == [
        (0, 0, 2), (0, 1, 0), (0, 2, 0), (1, 0, 0), (1, 1, 1), (1, 2, 0),
    ]  # fmt: skip
    values = [group.value for group in found.groups]
    assert values == pytest.approx([0.5, math.nan, math.nan, math.nan, 1.0, math.nan], nan_ok=True)
    assert math.isnan(found.groups[1].low)
    assert math.isnan(found.groups[1].high)
    assert found.values["worst_group"] == 0.5, "an empty group is not the worst"
    assert found.values["group_mean"] == 0.75, "an empty group is not in the mean"
    assert math.isnan(found.values["conflicting"])
    assert all(math.isnan(bound) for bound in found.intervals["conflicting"])


def test_a_training_group_that_the_test_set_lacks_leaves_train_weighted_undefined():
    train = dataset([0, 0, 1, 1], [0, 1, 1, 1])
    test = dataset([0, 1], [0, 1])
    assert math.isnan(metrics(torch.ones(2), test, train)["train_weighted"])
    assert metrics(torch.ones(2), test, test)["train_weighted"] == 1


@pytest.mark.parametrize("other", [dataset(LABEL), dataset(LABEL, [*ATTRIBUTE[:-1], 2])])
def test_training_groups_that_are_not_those_of_the_test_set(other: Dataset):
    for test, train in ((TEST, other), (other, TEST)):
        found = metrics(torch.tensor(RIGHT), test, train)
        assert math.isnan(found["train_weighted"])
        assert found["average"] == 0.5


@given(st.integers(0, 10_000))
def test_groups_against_fairlearn_and_scikit_learn(seed: int):
    rng = np.random.default_rng(seed)
    label, attribute, predicted = rng.integers(0, 3, 60), rng.integers(0, 2, 60), rng.integers(0, 3, 60)
    data = dataset(label, attribute, n_classes=3, n_attributes=2)
    found = scores(sample_values(one_hot(list(predicted), 3), data), data, draws=2)
    groups = {"label": label, "attribute": attribute}
    frame = MetricFrame(metrics=accuracy_score, y_true=label, y_pred=predicted, sensitive_features=groups)
    for group in found.groups:
        if group.n:
            assert group.value == pytest.approx(frame.by_group[(group.label, group.attribute)])
    assert sum(group.n for group in found.groups) == found.n == 60
    assert found.values["average"] == pytest.approx(frame.overall)
    assert found.values["worst_group"] == pytest.approx(frame.group_min())
    assert found.values["group_mean"] == pytest.approx(frame.by_group.dropna().mean())
    assert found.values["balanced"] == pytest.approx(balanced_accuracy_score(label, predicted))
    recall = np.atleast_1d(recall_score(label, predicted, average=None))  # type: ignore[reportArgumentType]
    assert found.values["worst_class"] == pytest.approx(min(recall))
    pairs = [abs(one - other) for one, other in itertools.combinations(recall, 2)]
    assert found.values["class_difference"] == pytest.approx(np.mean(pairs), abs=1e-9)
    without = metrics(sample_values(one_hot(list(predicted), 3), dataset(label)), dataset(label))
    assert without["group_mean"] == pytest.approx(without["balanced"]), "without an attribute, groups are classes"


def test_regression_by_hand_and_against_scikit_learn():
    target = torch.tensor([[0.0, 0.0], [1.0, 1.0], [2.0, 0.0], [0.0, 4.0]])
    output = torch.tensor([[0.0, 2.0], [1.0, 1.0], [0.0, 0.0], [0.0, 4.0]])
    data = Dataset.of(torch.zeros(4, 1), target, [0, 0, 1, 1])
    values = sample_values(output, data)
    assert values.tolist() == [2.0, 0.0, 2.0, 0.0]
    found = metrics(torch.tensor([2.0, 0.0, 4.0, 0.0]), data)
    assert found["average"] == 1.5
    assert found["worst_group"] == 2.0, "the worst group has the largest error"
    assert found["group_mean"] == 1.5
    assert [
        name for name in ("worst_class", "balanced", "class_difference", "ece", "top5", "auroc") if found[name] >= 0
    ] == []
    assert metrics(values, data)["average"] == pytest.approx(mean_squared_error(target, output))
    alone = scores(values, Dataset.of(torch.zeros(4, 1), target), draws=20)
    assert [(group.label, group.attribute, group.n) for group in alone.groups] == [(0, None, 4)]


def numbers(width: int, n: int = 83) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Outputs, targets with ties, and an attribute; the outputs are worse where the target is large."""
    draw = generator(width)
    target = (2 * torch.randn(n, width, generator=draw)).round() + 0.5
    noise = torch.randn(n, width, generator=draw) * (1 + target.abs())
    return target + 0.3 * noise, target, torch.arange(n) % 3


def root(target, output) -> float:
    return math.sqrt(mean_squared_error(target, output))


@pytest.mark.parametrize("width", [1, 3])
def test_errors_of_numbers_are_scikit_learns(width: int):
    output, target, attribute = numbers(width)
    found = judged(output, target, attribute=attribute)
    fifths = [np.asarray(pd.qcut(column, 5, labels=False, duplicates="drop")) for column in target.double().numpy().T]
    worst_fifth = [
        max(root(target[chosen, k], output[chosen, k]) for chosen in (fifth == one for one in np.unique(fifth)))
        for k, fifth in enumerate(fifths)
    ]
    groups = [attribute == one for one in range(3)]
    expected = {
        "rmse": root(target, output),
        "mae": mean_absolute_error(target, output),
        "mape": 100 * mean_absolute_percentage_error(target, output),
        "r2": r2_score(target, output),
        "worst_group_rmse": max(root(target[group], output[group]) for group in groups),
        "worst_fifth_rmse": np.mean(worst_fifth),
    }
    assert {name: found[name] for name in OF_NUMBERS} == pytest.approx(expected, rel=1e-5)
    assert len(np.unique(fifths[0])) >= 4, "there are fifths to choose from"
    assert judged(output, target)["worst_group_rmse"] == pytest.approx(found["rmse"]), "without groups, all are one"


def test_targets_of_zero_have_no_percentage():
    output, target = torch.tensor([[1.0], [3.0], [2.0]]), torch.tensor([[0.0], [2.0], [-4.0]])
    assert judged(output, target)["mape"] == pytest.approx(100 * (1 / 2 + 6 / 4) / 2)
    assert math.isnan(judged(output, torch.zeros(3, 1))["mape"])


@pytest.mark.parametrize("level", [0.1, -7e8])
def test_a_constant_target_has_errors_and_no_r2(level: float):
    target = torch.full((7, 1), level)
    output = target + torch.linspace(-1, 1, 7)[:, None] * 128
    found = judged(output, target)
    assert math.isnan(found["r2"])
    assert found["rmse"] == pytest.approx(found["worst_fifth_rmse"], rel=1e-5)
    assert found["rmse"] == pytest.approx(root(target, output), rel=1e-5)


def test_intervals_of_numbers_are_those_of_drawn_samples():
    """Each draw of the bootstrap is what scikit-learn says of the samples, as often as they were drawn."""
    output, target, attribute = numbers(2)
    data = dataset(target, attribute)
    times = torch.randint(0, 4, (5, len(data)), generator=generator(5)).double()
    outputs = Outputs(output, data)
    for name, oracle in (("mae", mean_absolute_error), ("r2", r2_score)):
        expected = [oracle(target, output, sample_weight=weight) for weight in times]
        assert getattr(outputs, name)(times).tolist() == pytest.approx(expected, rel=1e-5)
    repeated = [torch.arange(len(data)).repeat_interleave(weight.long()) for weight in times]
    fifth = outputs._fifth
    expected = [
        np.mean([max(root(target[r, k][fifth[r, k] == f], output[r, k][fifth[r, k] == f]) for f in fifth[r, k].unique())
                 for k in range(2)])
        for r in repeated
    ]  # fmt: skip
    assert outputs.worst_fifth_rmse(times).tolist() == pytest.approx(expected, rel=1e-5)
    found = scores(sample_values(output, data), data, outputs=output)
    for name in OF_NUMBERS:
        low, high = found.intervals[name]
        assert low < found.values[name] < high, name


def test_two_models_differ_in_their_root_mean_squared_error():
    output, target, attribute = numbers(1)
    data = dataset(target, attribute)
    better, worse = sample_values(target + 0.5 * (output - target), data), sample_values(output, data)
    found = paired(better, worse, data, "rmse", draws=200)
    assert found.value == pytest.approx(-root(target, output) / 2, rel=1e-5)
    assert found.high < 0
    assert paired(better, worse, data, "worst_group_rmse", draws=50).value < 0


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_the_interval_of_an_accuracy_is_that_of_a_binomial(share: float):
    """The bootstrap of a mean of zeros and ones is Binomial(n, mean) / n, whose quantiles are known."""
    n = 400
    values = (torch.arange(n) < share * n).float()
    found = scores(values, dataset([0, 1] * (n // 2), [0] * n), draws=4000)
    noise = 4 * 0.04 * math.sqrt(share * (1 - share) / n)  # standard error of an outer quantile of 4000 draws
    for bound, level in zip(found.intervals["average"], (0.025, 0.975), strict=True):
        assert bound == pytest.approx(binom.ppf(level, n, share) / n, abs=noise + 1 / n)
    group = found.groups[0]
    half = 1.96 * math.sqrt(group.value * (1 - group.value) / group.n)
    assert (group.low, group.high) == pytest.approx((group.value - half, group.value + half), abs=0.015)


def test_scores_are_metrics_with_repeatable_intervals():
    values = torch.tensor(RIGHT)
    outputs = torch.randn(10, 2, generator=generator(3))
    found = scores(values, TEST, TEST, outputs=outputs)
    assert found.values == pytest.approx(metrics(values, TEST, TEST, outputs=outputs), rel=0, abs=0, nan_ok=True)
    assert found.values.keys() == found.intervals.keys() == METRICS.keys()
    for name, (low, high) in found.intervals.items():
        assert low <= found.values[name] <= high or name in (*OF_NUMBERS, "top5"), name
    assert str(scores(values, TEST, TEST, outputs=outputs)) == str(found), "as text, where nan is nan"
    assert scores(values, TEST, TEST, outputs=outputs, seed=1).intervals != found.intervals
    plain = found.to_dict()
    assert plain["groups"][3] == {**vars(found.groups[3])}
    assert plain["n"] == 10


# --- rates of groups --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("groups", [2, 4])
@pytest.mark.parametrize("seed", range(8))
def test_gaps_between_groups_are_fairlearns(groups: int, seed: int):
    rng = np.random.default_rng(seed)
    label, attribute, predicted = rng.integers(0, 2, 80), rng.integers(0, groups, 80), rng.integers(0, 2, 80)
    data = dataset(label, attribute, n_classes=2, n_attributes=groups)
    found = scores(sample_values(one_hot(list(predicted), 2), data), data, draws=2)
    how: dict = {"y_true": label, "y_pred": predicted, "sensitive_features": attribute}
    rates = {"true": true_positive_rate, "false": false_positive_rate, "all": selection_rate, "n": count}
    frame = MetricFrame(metrics=rates, **how)
    gaps = frame.difference()
    expected = {
        "equalized_odds_sum": gaps["true"] + gaps["false"],
        "equalized_odds_max": equalized_odds_difference(**how),
        "equalized_odds_mean": equalized_odds_difference(**how, agg="mean"),
        "equal_opportunity": equal_opportunity_difference(**how),
        "demographic_parity": demographic_parity_difference(**how),
    }
    assert {name: found.values[name] for name in expected} == pytest.approx(expected)
    assert [rates.attribute for rates in rates_by_group(found)] == list(range(groups))
    for rates in rates_by_group(found):
        row: Any = frame.by_group.loc[rates.attribute]
        assert (rates.true_positive[0], rates.false_positive[0]) == pytest.approx((row["true"], row["false"]))
        assert (rates.n, rates.positive) == pytest.approx((row["n"], row["all"]))
        assert rates.base == pytest.approx(label[attribute == rates.attribute].mean())
    swapped = dataset(1 - label, attribute, n_classes=2, n_attributes=groups)
    other = metrics(sample_values(one_hot(list(1 - predicted), 2), swapped), swapped)
    for name in (*EQUALIZED, "demographic_parity"):
        assert other[name] == pytest.approx(found.values[name]), "whichever class is the positive one"


@pytest.mark.parametrize(
    ("label", "attribute", "defined"),
    [
        ([0, 1, 0, 1, 0, 0], [0, 0, 1, 1, 2, 2], ["demographic_parity"]),  # group 2 has no positives
        ([0, 1, 0, 1, 1, 1], [0, 0, 1, 1, 2, 2], ["equal_opportunity", "demographic_parity"]),  # nor negatives
        ([0, 1, 0, 1], [0, 0, 0, 0], []),  # one value alone
        ([0, 1, 0, 1], [0, 0, 2, 2], list(OF_GROUPS)),  # a value that nobody has is no group
    ],
)
def test_a_gap_is_undefined_where_a_group_lacks_what_it_is_about(label, attribute, defined):
    data = dataset(label, attribute, n_classes=2, n_attributes=3)
    found = metrics(torch.ones(len(label)), data)
    assert [name for name in OF_GROUPS if not math.isnan(found[name])] == defined
    intervals = scores(torch.ones(len(label)), data, draws=30).intervals
    assert all(math.isnan(intervals[name][0]) for name in OF_GROUPS if name not in defined)


def test_rates_have_the_intervals_of_their_groups_and_are_undefined_without_samples():
    found = scores(torch.tensor([1.0, 0, 1, 0, 1]), dataset([0, 0, 0, 1, 1], [0, 0, 0, 0, 1], n_attributes=3), draws=99)
    first, second = rates_by_group(found)
    negative = found.groups[0]
    assert first.false_positive == pytest.approx((1 / 3, 1 - negative.high, 1 - negative.low))
    assert (first.n, first.positive, first.base) == pytest.approx((4, 1 / 4, 1 / 4))
    assert second.true_positive == (1, 1, 1)
    assert all(map(math.isnan, second.false_positive))
    assert (second.n, second.positive, second.base) == (1, 1, 1)


def test_gaps_are_of_two_classes_and_of_groups():
    three = dataset([0, 1, 2] * 4, [0, 1] * 6)
    alone = dataset([0, 1] * 4)
    for data in (three, alone):
        found = metrics(torch.ones(len(data)), data)
        assert all(math.isnan(found[name]) for name in OF_GROUPS)
        assert rates_by_group(scores(torch.ones(len(data)), data, draws=2)) == []


def test_gaps_between_memberships_are_those_of_overlapping_groups():
    label, members = torch.tensor([0, 1, 0, 1, 0, 1]), torch.tensor([[1, 0], [1, 1], [1, 1], [0, 1], [0, 1], [1, 0]])
    data = Dataset.of(torch.zeros(6, 1), label, memberships=members.bool())
    found = metrics(torch.tensor([1.0, 1, 0, 0, 1, 1]), data)  # predicted: 0, 1, 1, 0, 0, 1
    # first: true 2 / 2, false 1 / 2; second: true 1 / 2, false 1 / 2; predicted 3 of 4 and 2 of 4
    assert (found["equalized_odds_sum"], found["demographic_parity"]) == pytest.approx((0.5, 0.25))


def test_a_gap_has_a_paired_bootstrap():
    rng = np.random.default_rng(0)
    label, attribute = rng.integers(0, 2, 400), rng.integers(0, 2, 400)
    data = dataset(label, attribute)
    fair = torch.from_numpy(rng.random(400) < 0.8).double()
    unfair = torch.where(torch.from_numpy((attribute == 1) & (label == 1)), 0.0, fair)
    found = paired(fair, unfair, data, "equalized_odds_sum", draws=200)
    one, other = (metrics(values, data)["equalized_odds_sum"] for values in (fair, unfair))
    assert found.value == pytest.approx(one - other)
    assert found.low < found.value < found.high < 0
    assert lower_is_better("equalized_odds_sum", "classification")


# --- published arithmetic ---------------------------------------------------------------------------------------------


def counted(counts: tuple[int, ...]) -> Dataset:
    """Waterbirds by its group counts: land on land, land on water, water on land, water on water."""
    group = torch.repeat_interleave(torch.arange(4), torch.tensor(counts))
    return dataset(group // 2, group % 2, aligned=(0, 1))


@pytest.mark.parametrize(
    ("accuracy", "adjusted", "raw"),
    [((94.3, 86.7, 87.5, 91.6), 93.33, 90.29), ((94.2, 88.5, 88.9, 90.5), 93.10, 90.98)],
    ids=["JTT", "JM1"],
)
def test_the_two_averages_of_the_just_train_twice_and_just_mix_once_papers(accuracy, adjusted, raw):
    train, test = counted((3498, 184, 56, 1057)), counted((2255, 2255, 642, 642))
    found = metrics(torch.tensor(accuracy, dtype=torch.float64)[test.group] / 100, test, train)
    assert round(100 * found["train_weighted"], 2) == adjusted
    assert round(100 * found["average"], 2) == raw
    assert found["worst_group"] == pytest.approx(min(accuracy) / 100)
    assert found["group_mean"] == pytest.approx(sum(accuracy) / 400)


# --- classes ----------------------------------------------------------------------------------------------------------


def test_the_class_difference_is_the_mean_over_pairs_of_classes():
    # class means 1, 1/2, 0: differences 1/2, 1, 1/2
    data = dataset([0, 1, 1, 2], n_classes=4)
    found = metrics(torch.tensor([1.0, 1.0, 0.0, 0.0]), data)
    assert found["class_difference"] == pytest.approx(2 / 3), "a class without samples is in no pair"
    assert found["balanced"] == pytest.approx(1 / 2)
    assert found["worst_class"] == 0
    alone = metrics(torch.tensor([1.0, 0.0]), dataset([1, 1], n_classes=2))
    assert math.isnan(alone["class_difference"])
    assert (alone["balanced"], alone["worst_class"]) == (0.5, 0.5)


def test_equal_classes_differ_by_nothing():
    found = metrics(torch.tensor([1.0, 0.0, 0.0]).repeat(7), dataset(torch.arange(7).repeat_interleave(3)))
    assert found["class_difference"] == pytest.approx(0, abs=1e-12)


def test_which_metrics_are_better_low():
    low = [name for name in METRICS if lower_is_better(name, "classification")]
    assert low == ["class_difference", "ece", *(name for name in OF_NUMBERS if name != "r2"), *OF_GROUPS]
    assert [name for name in METRICS if not lower_is_better(name, "regression")] == ["top5", "auroc", "r2"]


# --- groups that overlap ----------------------------------------------------------------------------------------------


def test_overlapping_groups_by_hand():
    # memberships:    {0}, {0, 1}, {}, {1}, {0, 1}, {}
    members = [[True, False], [True, True], [False, False], [False, True], [True, True], [False, False]]
    data = dataset([0, 0, 0, 1, 1, 1], memberships=members, membership_names=("male", "black"))
    found = scores(torch.tensor([1.0, 0.0, 1.0, 1.0, 1.0, 0.0]), data, data, draws=20)
    assert [(group.label, group.attribute, group.n, group.value) for group in found.groups] == [
        (0, 0, 2, 0.5), (0, 1, 1, 0.0), (1, 0, 1, 1.0), (1, 1, 2, 1.0),
    ]  # fmt: skip
    assert found.values["average"] == pytest.approx(4 / 6), "over samples, those in no group too"
    assert found.values["worst_group"] == 0
    assert found.values["group_mean"] == pytest.approx(2.5 / 4)
    assert found.values["worst_class"] == pytest.approx(2 / 3)
    assert math.isnan(found.values["train_weighted"])


@given(st.integers(0, 10_000))
def test_the_sixteen_groups_of_civilcomments_against_a_loop(seed: int):
    rng = np.random.default_rng(seed)
    label, identity, right = rng.integers(0, 2, 200), rng.random((200, 8)) < 0.1, rng.random(200) < 0.8
    black = identity[:, 6].astype(int)  # a training attribute beside the groups of evaluation
    data = dataset(label, black, n_attributes=2, n_classes=2, aligned=(0, 1), memberships=identity)
    found = scores(torch.from_numpy(right).float(), data, draws=2)
    masks = [(label == y) & identity[:, a] for y in (0, 1) for a in range(8)]
    assert [group.n for group in found.groups] == [mask.sum() for mask in masks]
    means = [right[mask].mean() for mask in masks if mask.any()]
    assert [group.value for group in found.groups if group.n] == pytest.approx(means)
    assert found.values["worst_group"] == pytest.approx(min(means))
    assert found.values["group_mean"] == pytest.approx(np.mean(means))
    assert found.values["average"] == pytest.approx(right.mean())
    assert found.values["conflicting"] == pytest.approx(right[label != black].mean())


def test_memberships_that_are_a_partition_are_one():
    rng = np.random.default_rng(1)
    label, attribute, right = rng.integers(0, 2, 90), rng.integers(0, 3, 90), torch.from_numpy(rng.random(90)).float()
    plain = scores(right, dataset(label, attribute), draws=30)
    again = scores(right, dataset(label, memberships=attribute[:, None] == np.arange(3)), draws=30)
    for name in ("worst_group", "group_mean", "average", "balanced"):
        assert again.values[name] == pytest.approx(plain.values[name])
        assert again.intervals[name] == pytest.approx(plain.intervals[name])
    assert [g.value for g in again.groups] == pytest.approx([g.value for g in plain.groups])
    assert [(g.low, g.high) for g in again.groups] == [pytest.approx((g.low, g.high)) for g in plain.groups]


def test_overlapping_groups_in_regression():
    data = Dataset.of(torch.zeros(3, 1), [0.0, 1.0, 2.0], memberships=[[True, True], [True, False], [False, False]])
    found = scores(torch.tensor([4.0, 0.0, 8.0]), data, draws=5)
    assert [(group.label, group.attribute, group.value) for group in found.groups] == [(0, 0, 2.0), (0, 1, 4.0)]
    assert (found.values["worst_group"], found.values["average"]) == (4.0, 4.0)


# --- from the outputs -------------------------------------------------------------------------------------------------


def judged(outputs: torch.Tensor, label, **info) -> dict[str, float]:
    data = dataset(label, **info)
    return metrics(sample_values(outputs, data), data, outputs=outputs)


def test_the_calibration_error_by_hand():
    # confidences 0.9, 0.9, 0.8, 0.6 in bins (0.8, 0.9], (0.7, 0.8], (0.5, 0.6], right 1, 0, 1, 0
    p = torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.2, 0.8], [0.6, 0.4]], dtype=torch.float64)
    found = judged((p - 1e-9).log(), [0, 1, 1, 1])
    assert found["ece"] == pytest.approx((abs(1.8 - 1) + abs(0.8 - 1) + abs(0.6 - 0)) / 4)


@given(st.integers(0, 10_000), st.integers(2, 4))
def test_calibration_and_ranking_against_scikit_learn(seed: int, classes: int):
    rng = np.random.default_rng(seed)
    label = np.concatenate([np.arange(classes), rng.integers(0, classes, 60)])
    outputs = torch.from_numpy(rng.standard_normal((len(label), classes)))
    if classes == 2:
        outputs = outputs.mul(2).round()  # many ties
    found = judged(outputs, label, n_classes=classes)
    p = outputs.softmax(1).numpy()
    oracle = roc_auc_score(label, p[:, 1]) if classes == 2 else roc_auc_score(label, p, multi_class="ovr")
    assert found["auroc"] == pytest.approx(oracle)
    right, confidence = p.argmax(1) == label, p.max(1)
    accuracy, mean = calibration_curve(right, confidence, n_bins=10)
    n = np.histogram(confidence, np.linspace(0, 1, 11))[0]
    assert found["ece"] == pytest.approx((np.abs(accuracy - mean) * n[n > 0]).sum() / len(label))


def test_a_confidence_on_the_edge_of_two_bins_belongs_to_the_lower_one():
    # confidences 0.5 and 0.5 of three classes, wrong, and 0.45, right: all in (0.4, 0.5]; 0.55, right, in (0.5, 0.6]
    p = torch.tensor([[0.5, 0.5, 0.0], [0.45, 0.3, 0.25], [0.55, 0.45, 0.0]], dtype=torch.float64)
    outputs = p.log().clamp_min(-1e4)
    assert outputs.softmax(1)[0, 0] == 0.5
    found = judged(outputs, [1, 0, 0], n_classes=3)
    assert found["ece"] == pytest.approx((abs(0.5 + 0.45 - 1) + abs(0.55 - 1)) / 3)


def test_the_five_likeliest():
    """Of whole logits, many of them equal, the first classes come first, as in the class that is predicted."""
    drawn = generator(3)
    outputs = torch.randn(400, 12, generator=drawn)
    label = torch.randint(0, 12, (400,), generator=drawn)
    assert judged(outputs, label, n_classes=12)["top5"] == pytest.approx(
        top_k_accuracy_score(label.numpy(), outputs.double().numpy(), k=5, labels=np.arange(12))
    )
    tied = torch.randint(0, 3, (400, 7), generator=drawn).float()
    places = [
        sorted(range(7), key=lambda c, row=row: (-row[c], c)).index(y)
        for row, y in zip(tied.tolist(), (label % 7).tolist(), strict=True)
    ]
    assert judged(tied, label % 7, n_classes=7)["top5"] == pytest.approx(np.mean([place < 5 for place in places]))
    found = scores(sample_values(tied, dataset(label % 7, n_classes=7)), dataset(label % 7, n_classes=7), outputs=tied)
    low, high = found.intervals["top5"]
    assert 0 < low < found.values["top5"] < high < 1
    assert math.isnan(judged(torch.rand(6, 5), [0, 1, 2, 3, 4, 0], n_classes=5)["top5"]), "one of five is always right"


def test_the_ranking_by_hand():
    # scores of class 1: 0, 1, 1, 2 with labels 0, 0, 1, 1: pairs (0, 1) (0, 2) won, (1, 1) tied, (1, 2) won
    outputs = torch.tensor([[0.0, 0.0], [0.0, 1.0], [0.0, 1.0], [0.0, 2.0]])
    assert judged(outputs, [0, 0, 1, 1])["auroc"] == 3.5 / 4
    assert judged(-outputs, [0, 0, 1, 1])["auroc"] == 0.5 / 4


def test_a_ranking_of_samples_that_are_all_but_sure_is_kept():
    margin = torch.tensor([50.0, 60.0, 70.0, 80.0])
    outputs = torch.stack([torch.zeros(4), margin, torch.full((4,), -9.0)], 1)[:, :2]
    assert judged(outputs, [0, 0, 1, 1])["auroc"] == 1, "as probabilities in float64 they are all 1"


@pytest.mark.parametrize("shift", [0.0, 100.0])
def test_odds_that_differ_by_rounding_are_ties(shift: float):
    """Each sample has a copy in another class, the other classes' logits in another order and all of them moved."""
    z = torch.randn(80, 4, generator=generator(8), dtype=torch.float64)
    label = torch.arange(80) % 4
    here, there = ((label[:, None] + torch.tensor(steps)) % 4 for steps in ((0, 1, 2, 3), (0, 3, 1, 2)))
    copy = torch.empty_like(z).scatter_(1, here, z.gather(1, there)) + shift
    outputs, label = torch.cat([z, copy]), torch.cat([label, (label + 1) % 4])

    def area(rounding: float) -> float:
        odds, areas = outputs.softmax(1).logit(), []
        for c in range(4):
            gap = odds[label == c, c][:, None] - odds[label != c, c]
            areas.append(((gap > rounding).double() + (gap.abs() <= rounding).double() / 2).mean())
        return float(torch.stack(areas).mean())

    assert area(0) != area(1e-9), "there is rounding to see"
    assert area(1e-11) == area(1e-9)
    assert judged(outputs, label)["auroc"] == pytest.approx(area(1e-9), abs=1e-12)


def test_where_a_class_is_absent_its_ranking_is_not_defined():
    assert math.isnan(judged(torch.rand(3, 2), [1, 1, 1], n_classes=2)["auroc"])
    assert math.isnan(judged(torch.rand(3, 3), [0, 1, 1], n_classes=3)["auroc"])
    assert judged(torch.rand(3, 3), [0, 1, 1], n_classes=3)["ece"] >= 0
    assert not Outputs(torch.full((2, 2), math.inf), dataset([0, 1])).are_logits


def test_the_interval_of_a_ranking_is_about_that_of_hanley_and_mcneil():
    draw = generator(5)
    label = torch.arange(400) % 2
    outputs = torch.stack([torch.zeros(400), torch.randn(400, generator=draw) + label], 1)
    data = dataset(label)
    found = scores(sample_values(outputs, data), data, outputs=outputs)
    a, n = found.values["auroc"], 200
    q1, q2 = a / (2 - a), 2 * a * a / (1 + a)
    error = math.sqrt((a * (1 - a) + (n - 1) * (q1 - a * a) + (n - 1) * (q2 - a * a)) / (n * n))
    low, high = found.intervals["auroc"]
    assert (high - low) / 3.92 == pytest.approx(error, rel=0.15)
    assert low < a < high
    assert 0 <= found.intervals["ece"][0] < found.intervals["ece"][1]


# --- somebody's own ---------------------------------------------------------------------------------------------------


def brier(outputs: torch.Tensor, data: Dataset) -> float:
    """Brier score: mean squared distance of the probabilities from the label.

    More about it.
    """
    return float((outputs.softmax(1) - torch.eye(2)[data.label]).square().sum(1).mean())


brier.lower = True  # type: ignore[reportFunctionMemberAccess]


def test_a_metric_of_your_own_has_a_value_and_an_interval():
    draw = generator(6)
    label = torch.arange(300) % 2
    outputs = torch.stack([torch.zeros(300), torch.randn(300, generator=draw) + label], 1)
    data = dataset(label)
    values = sample_values(outputs, data)
    found = scores(values, data, outputs=outputs, extra={"brier": brier, "size": lambda outputs, data: len(data)})
    each = (outputs.softmax(1) - torch.eye(2)[label]).square().sum(1)
    assert found.values["brier"] == pytest.approx(float(each.mean()))
    assert (found.values["size"], found.intervals["size"]) == (300, (300, 300))
    low, high = found.intervals["brier"]
    assert (high - low) / 3.92 == pytest.approx(float(each.std()) / math.sqrt(300), rel=0.15)
    assert low < found.values["brier"] < high
    assert metrics(values, data, outputs=outputs, extra={"brier": brier})["brier"] == found.values["brier"]
    plain = scores(values, data, outputs=outputs)
    for name, value in plain.values.items():
        with_it, without = (found.values[name], *found.intervals[name]), (value, *plain.intervals[name])
        assert with_it == pytest.approx(without, abs=0, rel=0, nan_ok=True)


def test_a_metric_of_your_own_sees_the_samples_beside_their_outputs():
    """Also of a regression, and in its first 200 resamples alone."""
    x = torch.arange(50.0)[:, None]
    data, calls = Dataset.of(x, 2 * x[:, 0]), []

    def agreement(outputs, data):
        assert torch.equal(outputs, 2 * data.gather(torch.arange(len(data))))
        assert torch.equal(outputs, data.label)
        outputs.zero_()  # whatever it does to them is done to a copy
        calls.append(len(data))
        return torch.tensor(1.0)

    found = scores(torch.zeros(50), data, outputs=2 * x, extra={"agreement": agreement}, draws=300)
    assert (found.values["agreement"], found.intervals["agreement"]) == (1, (1, 1))
    assert calls == [50] * 201


def test_without_outputs_or_samples_a_metric_of_your_own_is_not_defined():
    assert math.isnan(metrics(torch.tensor(RIGHT), TEST, extra={"brier": brier})["brier"])
    nothing = TEST.take(torch.tensor([], dtype=torch.long))
    assert math.isnan(metrics(torch.ones(0), nothing, outputs=torch.ones(0, 2), extra={"brier": brier})["brier"])
    never = scores(torch.tensor(RIGHT), TEST, outputs=torch.rand(10, 2), extra={"never": lambda *_: math.nan})
    assert all(map(math.isnan, (never.values["never"], *never.intervals["never"])))


def test_a_metric_of_your_own_that_gives_no_number_is_named():
    def measure(function, name="mine"):
        return metrics(torch.tensor(RIGHT), TEST, outputs=torch.rand(10, 2), extra={name: function})

    with pytest.raises(UserError, match=r"metric 'mine' fails on 10 samples of .* \(ZeroDivisionError: .*\); mend it"):
        measure(lambda outputs, data: 1 / 0)
    for wrong, kind in ((None, "NoneType"), ("0.5", "str"), ([0.5], "list"), (torch.rand(2), "Tensor")):
        with pytest.raises(UserError, match=f"metric 'mine' returns a {kind} that is no number; let it return one"):
            measure(lambda outputs, data, wrong=wrong: wrong)
    with pytest.raises(UserError, match=r"there is a metric 'ece' already; give yours another name"):
        measure(brier, "ece")
    with pytest.raises(UserError, match=r"metric 'mine' is no function; give one of outputs and data"):
        measure(0.5)


def test_a_file_adds_a_function_to_the_table(tmp_path, monkeypatch):
    monkeypatch.setattr(METRICS, "added", {})
    file = tmp_path / "more.py"
    file.write_text(
        "def surprise(outputs, data):\n"
        '    """Mean cross-entropy."""\n'
        "    return -outputs.log_softmax(1).gather(1, data.label[:, None]).mean()\n"
        "surprise.lower = True\n"
        "METRICS = {'surprise': surprise}\n"
    )
    load_file(file)
    assert METRICS["surprise"].definition == "Mean cross-entropy; lower is better"
    assert lower_is_better("surprise", "classification")
    outputs = torch.tensor([[0.0, 0.0], [0.0, 0.0]])
    data = dataset([0, 1])
    found = scores(sample_values(outputs, data), data, outputs=outputs)
    assert found.values["surprise"] == pytest.approx(math.log(2))
    assert found.intervals["surprise"] == pytest.approx((math.log(2), math.log(2)))
    with pytest.raises(UserError, match=r"surprise is no mean of per-sample values"):
        paired(torch.ones(2), torch.ones(2), data, "surprise")
    file.write_text("METRICS = {'half': 0.5}\n")
    with pytest.raises(UserError, match=r"metric 'half' is no function; give one of outputs and data"):
        load_file(file)


def test_a_metric_of_a_users_own_function_says_itself_what_is_better_in_a_regression(monkeypatch):
    monkeypatch.setattr(METRICS, "added", {"fit": ("here", made("fit", lambda outputs, data: 1.0))})
    assert not lower_is_better("fit", "regression")
    assert METRICS["fit"].definition == "a metric without a description"


# --- two methods ------------------------------------------------------------------------------------------------------

BIRDS = counted((300, 300, 90, 90))


def rights(accuracy, seed: int, seeds: int = 1, shared: float = 0.7) -> torch.Tensor:
    """Whether models with these group accuracies are right; what is hard is partly the same for all."""
    hard, draw = torch.rand(len(BIRDS), generator=generator(seed)), generator(seed, 1)
    own = torch.rand(seeds, len(BIRDS), generator=draw)
    level = torch.where(torch.rand(seeds, len(BIRDS), generator=draw) < shared, hard, own)
    return (level < torch.tensor(accuracy)[BIRDS.group]).float()


@pytest.mark.parametrize("metric", [name for name in METRICS if name not in ("ece", "top5", "auroc", *OF_NUMBERS)])
def test_a_method_does_not_differ_from_itself(metric: str):
    values = rights((0.9, 0.8, 0.7, 0.9), 0, seeds=2)
    found = paired(values, values, BIRDS, metric, BIRDS, draws=50)
    assert (found.value, found.low, found.high, found.p) == (0, 0, 0, 1)


@pytest.mark.parametrize(("metric", "seeds"), [("average", 1), ("worst_group", 1), ("worst_group", 3)])
def test_equal_methods_rarely_differ(metric: str, seeds: int):
    """At a level of 5 %, in 200 draws: two standard errors are 3 points."""
    accuracy, found = (0.95, 0.85, 0.7, 0.9), []
    for trial in range(200):
        both = rights(accuracy, trial, seeds=2 * seeds)
        found.append(paired(both[:seeds], both[seeds:], BIRDS, metric, draws=300))
    rejected = np.mean([difference.p < 0.05 for difference in found])
    outside = np.mean([not difference.low <= 0 <= difference.high for difference in found])
    assert 0.02 <= rejected <= 0.08
    assert 0.02 <= outside <= 0.08


def test_a_difference_of_averages_against_the_paired_normal_interval():
    a, b = rights((0.9, 0.85, 0.8, 0.9), 1)[0], rights((0.8, 0.7, 0.6, 0.8), 1)[0]
    found = paired(a, b, BIRDS, "average", draws=4000)
    gap = (a - b).double()
    error = float(gap.std() / math.sqrt(len(gap)))
    assert found.value == pytest.approx(float(gap.mean()))
    assert (found.low, found.high) == pytest.approx((found.value - 1.96 * error, found.value + 1.96 * error), abs=0.004)
    assert found.p == pytest.approx(2 / 4001), "as small as the draws can say"
    back = paired(b, a, BIRDS, "average", draws=4000)
    assert (back.value, back.low, back.high) == pytest.approx((-found.value, -found.high, -found.low))
    assert found.to_dict()["metric"] == "average"


def test_pairing_sees_what_is_hard_for_both():
    a, b = rights((0.9, 0.8, 0.7, 0.9), 2, seeds=2, shared=0.9).unbind()
    found = paired(a, b, BIRDS)
    apart = [high - low for low, high in (scores(v, BIRDS).intervals["worst_group"] for v in (a, b))]
    assert found.high - found.low < math.hypot(*apart) / 1.5


def test_seeds_are_averaged_and_may_be_unequally_many():
    a, b = rights((0.9, 0.8, 0.7, 0.9), 3, seeds=3), rights((0.9, 0.8, 0.6, 0.9), 4, seeds=2)
    found = paired(list(a), b, BIRDS)
    worst = [[metrics(row, BIRDS)["worst_group"] for row in rows] for rows in (a, b)]
    assert found.value == pytest.approx(np.mean(worst[0]) - np.mean(worst[1]))
    assert paired(a, b, BIRDS) == found
    assert paired(a, b, BIRDS, seed=1).low != found.low


def test_several_test_sets_are_averaged_and_narrow_the_interval():
    both = [rights((0.9, 0.8, 0.7, 0.9), 10 + i, seeds=2) for i in range(4)]
    alone = [paired(a, b, BIRDS) for a, b in both]
    found = paired_sets([(a, b, BIRDS, None) for a, b in both])
    assert found.value == pytest.approx(np.mean([one.value for one in alone]))
    width = math.hypot(*(one.high - one.low for one in alone)) / 4
    assert found.high - found.low == pytest.approx(width, rel=0.15)


def test_what_cannot_be_paired_is_refused():
    values = torch.ones(len(BIRDS))
    with pytest.raises(UserError, match=r"unknown metric 'worst': did you mean 'worst_class'\?|unknown metric 'worst'"):
        paired(values, values, BIRDS, "worst")
    with pytest.raises(UserError, match=r"ece is no mean of per-sample values.*; choose one of average, "):
        paired(values, values, BIRDS, "ece")
    with pytest.raises(UserError, match=r"train_weighted is not defined on the test set; choose another metric"):
        paired(values, values, BIRDS, "train_weighted")
    with pytest.raises(UserError, match=r"values of 779 samples, but the test set has 780; compare methods"):
        paired(values, values[1:], BIRDS)


def test_the_callers_random_state_is_left_alone():
    before = torch.get_rng_state()
    scores(torch.rand(10, generator=generator(0)), TEST, TEST)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("scale", [1.0, 300.0, 0.0])
def test_the_search_for_ties_finds_what_counting_pairs_does(scale: float):
    draw = torch.Generator().manual_seed(3)
    odds = (scale * torch.randn(60, generator=draw, dtype=torch.float64)).round(decimals=1)
    odds[:6] = torch.tensor([torch.inf, torch.inf, -torch.inf, 1.0, 1.0 + 1e-13, 1.0 - 1e-13])
    own = torch.arange(60) % 3 == 0
    positive, negative, below, not_above = _curve(odds, own, 1e-12)
    assert positive.sort().values.tolist() == own.nonzero().flatten().tolist()
    assert odds[negative].tolist() == sorted(odds[~own].tolist())
    for row, low, high in zip(positive, below, not_above, strict=True):
        assert int(low) == sum(float(odds[j]) < float(odds[row]) - 1e-12 for j in negative)
        assert int(high) == sum(float(odds[j]) <= float(odds[row]) + 1e-12 for j in negative)
