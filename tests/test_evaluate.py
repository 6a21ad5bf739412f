from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from fairlearn.metrics import MetricFrame
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom
from sklearn.metrics import accuracy_score, balanced_accuracy_score, mean_squared_error
from torch import nn

from longcut.data import Dataset, generator
from longcut.evaluate import METRICS, metrics, predict, sample_values, scores


def dataset(label, attribute=None, **info) -> Dataset:
    return Dataset.of(torch.arange(len(label), dtype=torch.float32)[:, None], label, attribute, **info)


def one_hot(predicted: list[int], classes: int) -> torch.Tensor:
    return torch.eye(classes)[torch.tensor(predicted)]


# cell (label, attribute): right of all      (0, 0): 3 of 4    (0, 1): 1 of 2    (1, 0): 0 of 1    (1, 1): 1 of 3
LABEL = [0, 0, 0, 0, 0, 0, 1, 1, 1, 1]
ATTRIBUTE = [0, 0, 0, 0, 1, 1, 0, 1, 1, 1]
RIGHT = [1, 1, 1, 0, 1, 0, 0, 1, 0, 0]
TEST = dataset(LABEL, ATTRIBUTE, aligned=(0, 1))


def test_every_metric_by_hand():
    train = dataset([0] * 5 + [0] * 1 + [1] * 1 + [1] * 3, [0] * 5 + [1] * 1 + [0] * 1 + [1] * 3, aligned=(0, 1))
    found = metrics(torch.tensor(RIGHT), TEST, train)
    assert found == pytest.approx(
        {
            "average": 5 / 10,
            "aligned": (3 + 1) / (4 + 3),
            "conflicting": (1 + 0) / (2 + 1),
            "worst_group": 0.0,
            "balanced": (3 / 4 + 1 / 2 + 0 / 1 + 1 / 3) / 4,
            "train_weighted": 0.5 * 3 / 4 + 0.1 * 1 / 2 + 0.1 * 0 + 0.3 * 1 / 3,
        }
    )
    assert found.keys() == METRICS.keys()


def test_what_is_not_known_is_nan():
    found = metrics(torch.tensor(RIGHT), dataset(LABEL))
    assert [name for name, value in found.items() if math.isnan(value)] == ["aligned", "conflicting", "train_weighted"]
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
    assert found.values["balanced"] == 0.75, "an empty group is not in the mean"
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
    assert found.values["balanced"] == pytest.approx(frame.by_group.dropna().mean())
    without = dataset(label, n_classes=3)
    balanced = metrics(sample_values(one_hot(list(predicted), 3), without), without)["balanced"]
    assert balanced == pytest.approx(balanced_accuracy_score(label, predicted))


def test_regression_by_hand_and_against_scikit_learn():
    target = torch.tensor([[0.0, 0.0], [1.0, 1.0], [2.0, 0.0], [0.0, 4.0]])
    output = torch.tensor([[0.0, 2.0], [1.0, 1.0], [0.0, 0.0], [0.0, 4.0]])
    data = Dataset.of(torch.zeros(4, 1), target, [0, 0, 1, 1])
    values = sample_values(output, data)
    assert values.tolist() == [2.0, 0.0, 2.0, 0.0]
    found = metrics(torch.tensor([2.0, 0.0, 4.0, 0.0]), data)
    assert found["average"] == 1.5
    assert found["worst_group"] == 2.0, "the worst group has the largest error"
    assert found["balanced"] == 1.5
    assert metrics(values, data)["average"] == pytest.approx(mean_squared_error(target, output))
    alone = scores(values, Dataset.of(torch.zeros(4, 1), target), draws=20)
    assert [(group.label, group.attribute, group.n) for group in alone.groups] == [(0, None, 4)]


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
    found = scores(values, TEST, TEST)
    assert found.values == metrics(values, TEST, TEST)
    for name, (low, high) in found.intervals.items():
        assert low <= found.values[name] <= high
    assert scores(values, TEST, TEST) == found
    assert scores(values, TEST, TEST, seed=1).intervals != found.intervals
    plain = found.to_dict()
    assert plain["groups"][3] == {**vars(found.groups[3])}
    assert plain["n"] == 10


class Double(nn.Module):
    def forward(self, x):
        assert not self.training
        assert not torch.is_grad_enabled()
        return torch.cat([x, 2 * x], 1).double()


def test_predict_keeps_the_order_of_the_data_and_the_mode_of_the_model():
    data = dataset([0, 1] * 5).take(torch.tensor([7, 7, 0, 3, 9]))
    model = Double().train()
    outputs = predict(model, data, size=2)
    assert outputs.tolist() == [[7, 14], [7, 14], [0, 0], [3, 6], [9, 18]]
    assert outputs.dtype == torch.float32
    assert model.training
    assert not predict(model.eval(), data).requires_grad
    assert not model.training
    assert torch.equal(predict(lambda x: torch.cat([x, 2 * x], 1), data), outputs), "any function will do"


def test_predict_on_nothing_and_after_a_failure():
    data = dataset([0, 1, 2])
    assert predict(Double(), data.take(torch.tensor([], dtype=torch.long))).shape == (0, 2)

    class Broken(nn.Module):
        def forward(self, x):
            raise ArithmeticError

    model = Broken().train()
    with pytest.raises(ArithmeticError):
        predict(model, data)
    assert model.training


def test_the_callers_random_state_is_left_alone():
    before = torch.get_rng_state()
    scores(torch.rand(10, generator=generator(0)), TEST, TEST)
    assert torch.equal(torch.get_rng_state(), before)
