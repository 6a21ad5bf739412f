"""DFR: the layer it fits is scikit-learn's, it balances what it says, and the shortcut's coordinate gets nothing."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from longcut.context import calling
from longcut.data import Dataset, Splits, generator
from longcut.errors import UserError
from longcut.fit import Training, fit
from longcut.methods import build
from longcut.methods.last_layer import dfr
from longcut.methods.last_layer.dfr import DFR, lasso
from longcut.methods.last_layer.heads import features_of
from longcut.nets import Net

TRAINING = Training(epochs=1, batch=64, pool=1)
EPSILON = 1e-4  # of liblinear, which is not run to the last digit


def gaussian(counts: list[int], seed: int = 0, classes: int = 2) -> Dataset:
    """Coordinate 0 tells the label, coordinate 1 as surely the attribute; so many samples per group."""
    cell = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    cell = cell[torch.randperm(len(cell), generator=generator(seed, 1))]
    label, attribute = cell // 2, cell % 2
    middle = torch.stack([label - (classes - 1) / 2, attribute - 0.5], 1)
    x = 2 * middle + 0.8 * torch.randn(len(cell), 2, generator=generator(seed, 2))
    return Dataset.of(
        x, label, attribute, n_classes=classes, n_attributes=2, name="gaussian", aligned=(0, 1, 1)[:classes]
    )


def raw(info: Any, scale: float = 1.0, shift: float = 0.0, **options: Any) -> DFR:
    """DFR whose features are the inputs, times ``scale`` plus ``shift``, whatever it is trained on."""

    class Fixed(nn.Module):
        def forward(self, x):
            return scale * x + shift

    return DFR(lambda: Net([Fixed()], nn.Linear(2, info.n_classes)), info, **options)


def fitted(method: Any, train: Dataset, valid: Dataset | None) -> Any:
    return fit(method, Splits(train, valid, train), TRAINING).method


def direction(method: Any) -> torch.Tensor:
    """What the difference of two logits listens to."""
    weight = method.net.head.weight.detach()
    return weight[1] - weight[0]


def oracle(x: np.ndarray, label: np.ndarray, c: float) -> Any:
    one = LogisticRegression(C=c, l1_ratio=1, solver="liblinear", max_iter=1000, random_state=0)
    return (one if len(np.unique(label)) == 2 else OneVsRestClassifier(one)).fit(x, label)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("c", [0.03, 1.0])
def test_the_layer_is_scikit_learns_l1_regression(classes, c):
    data = gaussian([40] * 2 * classes, classes=classes)
    x, label = data.x.double().numpy(), data.label.numpy()
    layer, regression = lasso(x, label, c), oracle(x, label, c)
    logits = x @ layer[:, :-1].T + layer[:, -1]
    margin = logits[:, 1] - logits[:, 0] if classes == 2 else logits
    assert layer.shape == (classes, 3)
    np.testing.assert_allclose(margin, regression.decision_function(x), atol=EPSILON)
    np.testing.assert_array_equal(logits.argmax(1), regression.predict(x))


def test_two_classes_have_the_probabilities_of_the_regression():
    data = gaussian([30] * 4)
    x, label = data.x.double().numpy(), data.label.numpy()
    layer = lasso(x, label, 0.3)
    probability = torch.softmax(torch.from_numpy(x @ layer[:, :-1].T + layer[:, -1]), 1)
    np.testing.assert_allclose(probability, oracle(x, label, 0.3).predict_proba(x), atol=EPSILON)


def test_a_strong_penalty_leaves_no_weight():
    data = gaussian([30] * 4)
    assert not lasso(data.x.double().numpy(), data.label.numpy(), 1e-4).any()


@pytest.mark.parametrize("scale", [1.0, 50.0])
def test_with_equal_groups_the_head_is_the_regression_on_scaled_features(scale):
    """Every balanced subsample is then the whole, so the mean of the fits is one fit, and known."""
    train, valid = gaussian([50, 5, 5, 50]), gaussian([20] * 4, seed=1)
    method = fitted(raw(train.info, scale, 3.0, penalties="0.3", subsamples=3), train, valid)
    x, label = (scale * valid.x + 3).double().numpy(), valid.label.numpy()
    known = make_pipeline(StandardScaler(), oracle(x, label, 0.3))
    known.fit(x, label)
    logits = method(valid.x).detach()
    np.testing.assert_allclose(logits[:, 1] - logits[:, 0], known.decision_function(x), atol=1e-3)


def test_the_scaler_may_be_that_of_the_training_set():
    train, valid = gaussian([50, 5, 5, 50]), gaussian([20] * 4, seed=1)
    train = dataclasses.replace(train, x=3 * train.x + 1)
    method = fitted(raw(train.info, penalties="0.3", scaler="train"), train, valid)
    scaler = StandardScaler().fit(train.x.double().numpy())
    x = np.asarray(scaler.transform(valid.x.double().numpy()))
    logits = method(valid.x).detach()
    known = oracle(x, valid.label.numpy(), 0.3).decision_function(x)
    np.testing.assert_allclose(logits[:, 1] - logits[:, 0], known, atol=1e-3)
    other = fitted(raw(train.info, penalties="0.3"), train, valid)
    assert not torch.allclose(direction(method), direction(other), rtol=0.01)


@pytest.mark.parametrize(("fit_on", "sizes"), [("valid", [160, 4 * 10]), ("train", [200])])
def test_while_the_penalty_is_chosen_features_are_scaled_by_what_is_fitted(fit_on, sizes, monkeypatch):
    """As released: the half that judges has no part in it; the training variant, judged elsewhere, has one scaler."""
    seen: list[np.ndarray] = []

    class Watched(dfr.Scaler):
        def __init__(self, data: Dataset) -> None:
            super().__init__(data)
            seen.append(data.x[data.index].double().numpy())
            np.testing.assert_allclose(np.asarray(self.scaler.mean_), seen[-1].mean(0))

    monkeypatch.setattr(dfr, "Scaler", Watched)
    train, valid = gaussian([80, 40, 40, 40]), gaussian([60, 60, 20, 20], seed=1)
    fitted(raw(train.info, fit_on=fit_on), train, valid)
    assert [len(x) for x in seen] == sizes


def test_balanced_groups_take_the_shortcuts_weight_away():
    """In balanced groups coordinate 1 says nothing of the label; in the whole it says as much as coordinate 0."""
    train, valid = gaussian([900, 100, 100, 900]), gaussian([900, 100, 100, 900], seed=1)
    for fit_on in ("valid", "train"):
        core, shortcut = direction(fitted(raw(train.info, fit_on=fit_on), train, valid)).abs()
        assert shortcut < 0.1 * core
    core, shortcut = direction(fitted(raw(train.info, by="class"), train, valid)).abs()
    assert shortcut > 0.3 * core


def test_without_an_attribute_classes_are_balanced():
    """With equal deviations the boundary of balanced classes lies in the middle, wherever the many are."""

    def boundary(by_hand: bool) -> float:
        data = gaussian([600, 600, 60, 60])
        blind = Dataset.of(data.x, data.label, name="blind")
        if by_hand:
            layer = lasso(data.x.double().numpy(), data.label.numpy(), 1.0)
            return float(-(layer[1, 2] - layer[0, 2]) / (layer[1, 0] - layer[0, 0]))
        method = fitted(raw(blind.info, penalties="1"), blind, blind)
        bias = method.net.head.bias.detach()
        return float(-(bias[1] - bias[0]) / direction(method)[0])

    assert abs(boundary(by_hand=False)) < 0.15
    assert boundary(by_hand=True) > 0.5


def test_the_penalty_is_the_one_whose_worst_group_is_best():
    train, valid = gaussian([50] * 4), gaussian([40] * 4, seed=1)
    method = fitted(raw(train.info, penalties="0.0001-1-0.9"), train, valid)
    assert method.penalty == 1.0  # 0.0001 leaves one class wrong; 0.9 is as good as 1, and later


@pytest.mark.parametrize("fit_on", ["valid", "train"])
def test_the_penalty_is_chosen_on_the_other_half_or_on_validation(fit_on, monkeypatch):
    asked = []

    def watched(x, label, c, seed=0):
        asked.append((len(x), c))
        return lasso(x, label, c, seed)

    monkeypatch.setattr("longcut.methods.last_layer.dfr.lasso", watched)
    train, valid = gaussian([60, 10, 10, 60]), gaussian([30, 8, 8, 30], seed=1)
    fitted(raw(train.info, fit_on=fit_on, penalties="1-0.5", subsamples=2), train, valid)
    size = {"valid": [4 * 4, 4 * 8], "train": [4 * 10, 4 * 10]}[fit_on]  # half of the smallest group, or all of it
    assert [n for n, _ in asked] == [size[0]] * 2 + [size[1]] * 2
    assert [c for _, c in asked[:2]] == [1.0, 0.5]


def test_without_validation_samples_the_training_set_is_halved():
    train = gaussian([60, 10, 10, 60])
    core, shortcut = direction(fitted(raw(train.info, fit_on="train"), train, None)).abs()
    assert shortcut < core


def test_three_classes():
    train, valid = gaussian([60] * 6, classes=3), gaussian([40] * 6, seed=1, classes=3)
    method = fitted(build("dfr", train.info, net="mlp:hidden=8"), train, valid)
    assert (method(valid.x).argmax(1) == valid.label).float().mean() > 0.5
    assert method.net.head.weight.dtype == torch.float32


def test_features_belong_to_the_samples_in_their_order():
    data = gaussian([30] * 4).take(torch.tensor([7, 3, 3, 50]))
    net = build("erm", data.info, net="mlp:hidden=5").net
    features = features_of(net, data)
    torch.testing.assert_close(features.x, net.features(data.gather(torch.arange(4))).detach())
    assert torch.equal(features.label, data.label)
    assert torch.equal(features.group, data.group)
    assert torch.equal(features.gather(torch.tensor([1])), features.gather(torch.tensor([2])))


def test_the_net_alone_predicts_what_the_method_does():
    train, valid = gaussian([50, 5, 5, 50]), gaussian([20] * 4, seed=1)
    method = fitted(build("dfr", train.info, net="mlp:hidden=6"), train, valid)
    again = build("dfr", train.info, net="mlp:hidden=6", seed=3).net
    again.load_state_dict(method.net.state_dict())
    assert torch.equal(again(valid.x), method(valid.x))


def test_no_validation_set_is_refused():
    train = gaussian([10] * 4)
    with pytest.raises(UserError, match=r"dfr fits on the validation set, but gaussian has none; use fit_on=train\."):
        fitted(raw(train.info), train, None)


def test_what_cannot_be_balanced_is_refused_before_training():
    train = gaussian([20] * 4)
    for valid in (None, gaussian([20, 0, 20, 20], seed=1), gaussian([20, 1, 20, 20], seed=1)):
        with pytest.raises(UserError):
            fit(
                build("dfr", train.info),
                Splits(train, valid, train),
                Training(epochs=1),
                observers=[calling(on_start=lambda method, epochs: pytest.fail("it was trained"))],
            )


def test_an_empty_group_is_refused():
    train, valid = gaussian([20] * 4), gaussian([20, 0, 20, 20], seed=1)
    wanted = (
        r"balances by group, but the valid set of gaussian has no sample of label '0' with attribute '1'; add some, or"
    )
    with pytest.raises(UserError, match=wanted):
        fitted(raw(train.info), train, valid)
    fitted(raw(train.info, by="class"), train, valid)
    missing = valid.take(valid.label == 1)
    with pytest.raises(
        UserError, match=r"balances by class, but the valid set of gaussian has no sample of label '0'; add"
    ):
        fitted(raw(train.info, by="class"), train, missing)


def test_a_group_of_one_is_refused():
    train, valid = gaussian([20] * 4), gaussian([20, 20, 1, 20], seed=1)
    with pytest.raises(UserError, match=r"group 2 has one sample, so it cannot be in both parts of a split"):
        fitted(raw(train.info), train, valid)


def test_a_penalty_of_zero_is_refused():
    with pytest.raises(UserError, match=r"dfr: penalties=1-0 has a 0, which leaves no weight; give numbers above 0\."):
        build("dfr", gaussian([5] * 4).info, options={"penalties": "1-0"})
    with pytest.raises(UserError, match=r"penalties=much is not allowed; give text such as 1-0.1-0.01"):
        build("dfr", gaussian([5] * 4).info, options={"penalties": "much"})
