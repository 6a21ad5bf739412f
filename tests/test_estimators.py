"""The estimators: scikit-learn's own checks, known answers, and what goes in and out."""

from __future__ import annotations

import copy
import pickle
import statistics
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from fairlearn.metrics import MetricFrame, demographic_parity_difference, equalized_odds_difference
from fairlearn.postprocessing import ThresholdOptimizer
from fairlearn.reductions import EqualizedOdds, ExponentiatedGradient
from sklearn import config_context
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError, UnsetMetadataPassedError
from sklearn.metrics import accuracy_score, r2_score
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import longcut
from longcut.context import Context
from longcut.data import Dataset
from longcut.errors import UserError
from longcut.estimators import (
    DebiasedClassifier,
    DebiasedRegressor,
    GroupBalancer,
    SuspectedConflict,
    demographic_parity,
    demographic_parity_scorer,
    equalized_odds,
    equalized_odds_scorer,
    worst_group_accuracy,
    worst_group_scorer,
)
from longcut.estimators.base import inputs
from longcut.estimators.weights import canonical, times_of
from longcut.methods.erm import ERM

QUICK: dict[str, Any] = {"steps": 20, "batch_size": 32, "lr": 0.01, "random_state": 0}


@pytest.fixture
def routing():
    with config_context(enable_metadata_routing=True):
        yield


def toy(n: int = 60, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows ``(n, 3)`` of two classes, told apart by the first column, and an attribute that mostly follows them."""
    draw = np.random.default_rng(seed)
    y = np.arange(n) % 2
    attribute = np.where(draw.random(n) < 0.8, y, 1 - y)
    x = draw.normal(size=(n, 3))
    x[:, 0] += 6 * y
    return x, y, attribute


# --- scikit-learn's checks --------------------------------------------------------------------------------------------


@parametrize_with_checks([DebiasedClassifier(steps=10, lr=0.02), DebiasedRegressor(steps=30, lr=0.02), GroupBalancer()])
def test_scikit_learn_checks(estimator, check):
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks([SuspectedConflict(folds=2)])
def test_scikit_learn_checks_of_suspected_conflict(estimator, check):
    check(estimator)


# --- rows and weights -------------------------------------------------------------------------------------------------


def test_equal_rows_are_one_that_stands_several_times():
    x = np.array([[7.0, 1.0], [5.0, 1.0], [7.0, 1.0], [7.0, 1.0]])
    rows, times = canonical(x, [np.array([0, 0, 0, 1])], np.array([2, 4, 4, 8]))
    found = {(*x[row], row == 3): time for row, time in zip(rows, times, strict=True)}
    assert found == {(7.0, 1.0, False): 6, (5.0, 1.0, False): 4, (7.0, 1.0, True): 8}


def test_weights_as_counts():
    assert times_of(np.array([3.0, 1.0])).tolist() == [3, 1]
    assert times_of(np.array([6.0, 4.0])).tolist() == [3, 2]
    assert times_of(np.array([0.7, 1.3])).tolist() == [7, 13]
    assert times_of(np.array([0.7, 0.7])).tolist() == [1, 1]
    assert times_of(np.array([0.001, 1.999]), np.arange(2)).tolist() == [2, 999]  # what counts little counts still


def test_a_weight_is_how_often_a_row_stands():
    """Nothing tells the rows apart, so the best that can be said of each is the weight of its label."""
    x, y = np.zeros((4, 1)), [0, 0, 1, 1]
    model = DebiasedClassifier("erm", steps=300, lr=0.02, random_state=0)
    for weight, share in (([1, 1, 1, 1], 0.5), ([3, 3, 1, 1], 0.25), ([0.2, 0.4, 2.0, 0.4], 0.8)):
        np.testing.assert_allclose(model.fit(x, y, sample_weight=weight).predict_proba(x)[:, 1], share, atol=0.01)


def test_equal_weights_are_no_weights_and_order_does_not_matter():
    x, y, attribute = toy()
    model = DebiasedClassifier(**QUICK)
    expected = model.fit(x, y, attribute=attribute).predict_proba(x)
    shuffle = np.random.default_rng(1).permutation(len(x))
    for rows, weight in ((slice(None), np.full(len(x), 0.7)), (slice(None), np.full(len(x), 4)), (shuffle, None)):
        model.fit(x[rows], y[rows], attribute=attribute[rows], sample_weight=weight)
        np.testing.assert_array_equal(model.predict_proba(x), expected)


def test_a_row_without_weight_is_absent():
    x, y, _ = toy()
    weight = np.ones(len(x))
    weight[:10] = 0
    x_with, y_with = np.vstack([x[:10] * 1e6, x[10:]]), np.r_[np.full(10, 7), y[10:]]
    place = np.array(["ghost"] * 10 + ["lake", "land"] * 25)
    model = DebiasedClassifier(**QUICK).fit(x_with, y_with, sample_weight=weight, attribute=place)
    assert model.classes_.tolist() == [0, 1]
    assert model.method_.info.attribute_names == ("lake", "land")
    np.testing.assert_array_equal(
        model.predict_proba(x), DebiasedClassifier(**QUICK).fit(x[10:], y[10:]).predict_proba(x)
    )


def test_tables_are_centred_and_scaled_by_one_number():
    x, weight = np.array([[10.0, 0.0], [12.0, 4.0], [14.0, 8.0], [12.0, 4.0]]), [3, 1, 1, 1]
    model = DebiasedClassifier("erm", steps=1).fit(x, [0, 0, 1, 1], sample_weight=weight)
    standing = x.repeat(weight, axis=0)
    np.testing.assert_allclose(model.mean_, standing.mean(0))
    assert model.scale_ == pytest.approx(np.sqrt(np.square(standing - standing.mean(0)).mean()))
    assert DebiasedClassifier("erm", steps=1).fit(np.ones((4, 2)), [0, 0, 1, 1]).scale_ == 1  # nothing to divide by


# --- what goes in -----------------------------------------------------------------------------------------------------


def test_frames_arrays_lists_and_tensors_are_the_same_rows():
    x, y, attribute = toy()
    names = np.array(["land", "lake"])
    expected = DebiasedClassifier("lisa", **QUICK).fit(x, y, attribute=attribute).predict_proba(x)
    frame = pd.DataFrame(x, columns=["a", "b", "c"])
    for given, label, group, new in (
        (frame, pd.Series(y), pd.Series(attribute), frame),
        (x.tolist(), y.tolist(), attribute.tolist(), x.tolist()),
        (*map(torch.from_numpy, (x, y, attribute)), torch.from_numpy(x)),
        (torch.from_numpy(x).requires_grad_(), y, names[1 - attribute], x),
    ):
        model = DebiasedClassifier("lisa", **QUICK).fit(given, label, attribute=group)
        np.testing.assert_array_equal(model.predict_proba(new), expected)
    assert DebiasedClassifier(**QUICK).fit(frame, y).feature_names_in_.tolist() == ["a", "b", "c"]


def test_labels_may_be_names():
    x, y, _ = toy()
    model = DebiasedClassifier("erm", **QUICK).fit(x, np.array(["sick", "well"])[y])
    assert model.classes_.tolist() == ["sick", "well"]
    assert model.predict([[0.0, 0.0, 0.0], [6.0, 0.0, 0.0]]).tolist() == ["sick", "well"]
    assert model.method_.info.class_names == ("sick", "well")


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_images_go_to_a_net_by_name(dtype):
    y = np.arange(40) % 2
    x = np.random.default_rng(0).random((40, 3, 6, 6)) / 2 + y[:, None, None, None] / 2
    x = (x * 255).astype(np.uint8) if dtype == np.uint8 else x.astype(np.float32)
    model = DebiasedClassifier("erm", net="conv:width=8", **QUICK).fit(x, y)
    assert model.score(x, y) == 1
    assert model.method_.info.kind == "image"
    assert inputs(x, 0.0, 1.0).numpy().dtype == dtype  # bytes stay bytes, which the loop divides by 255
    with pytest.raises(UserError, match=r"rows of shape \(3, 5, 6\), but fit saw \(3, 6, 6\); give the same"):
        model.predict(x[:, :, 1:])


def test_hidden_widths():
    x, y, _ = toy()
    model = DebiasedClassifier("erm", hidden=(7, 5), **QUICK).fit(x, y)
    shapes = [tuple(p.shape) for p in model.method_.net.parameters() if p.ndim == 2]
    assert shapes == [(7, 3), (5, 7), (2, 5)]


def test_the_attribute_reaches_the_method():
    seen = []

    class Seen(ERM):
        def prepare(self, train, fit):
            seen.append(train)
            return train

    x, y, attribute = toy()
    DebiasedClassifier(Seen, **QUICK).fit(x, y, attribute=np.array(["lake", "land"])[attribute])
    (train,) = seen
    assert train.info.attribute_names == ("lake", "land")
    assert train.info.aligned == (0, 1)
    rows = [tuple(row) for row in (x - x.mean(0)).round(3)]
    scale = np.sqrt(((x - x.mean(0)) ** 2).mean())
    place = [rows.index(tuple(row)) for row in (train.x.numpy().astype(float) * scale).round(3) + 0.0]
    assert train.attribute.tolist() == attribute[place].tolist()
    assert train.label.tolist() == y[place].tolist()


# --- how long, how random ---------------------------------------------------------------------------------------------


def test_steps_are_rounded_up_to_whole_passes():
    x, y, _ = toy(40)
    cases: list[tuple[dict[str, Any], int]] = [({"steps": 12}, 3), ({"epochs": 2}, 2), ({"steps": np.int64(10)}, 2)]
    for given, passes in cases:  # of 5 steps each
        model = DebiasedClassifier("erm", batch_size=8, **given).fit(x, y)
        assert [row["epoch"] for row in model.history_] == list(range(1, passes + 1))
        assert set(model.history_[0]) == {"epoch", "seconds", "loss"}
    assert DebiasedClassifier(batch_size=100)._training(1000).epochs == 100  # 1,000 updates
    assert DebiasedClassifier(batch_size=100)._training(1_000_000).epochs == 10


def test_settings_that_belong_to_the_method():
    training = DebiasedClassifier("selecmix", lr=0.5, batch_size=7)._training(10)
    assert training.average == longcut.METHODS["selecmix"].training_defaults["average"]
    assert (training.lr, training.batch) == (0.5, 7)


def test_random_state():
    x, y, _ = toy()

    def said(state: Any) -> list[float]:
        quick = {key: value for key, value in QUICK.items() if key != "random_state"}
        return DebiasedClassifier(random_state=state, **quick).fit(x, y).predict_proba(x)[:, 0].tolist()

    assert said(3) == said(3) == said(np.random.RandomState(3))
    assert said(3) != said(4)
    state = np.random.RandomState(3)
    assert said(state) != said(state)


def test_the_device_is_heeded():
    x, y, _ = toy()
    with pytest.raises(RuntimeError, match="device string: nowhere"):
        DebiasedClassifier("erm", device="nowhere", **QUICK).fit(x, y)


def test_torch_is_left_as_it_was():
    x, y, _ = toy()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    DebiasedClassifier(**QUICK).fit(x, y).predict(x)
    assert torch.equal(torch.rand(3), expected)


# --- regression -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "method", [name for name, cls in longcut.METHODS.items() if {"regression"} <= cls.tasks and "table" in cls.kinds]
)
def test_a_line_is_learned_whatever_its_unit(method):
    x = np.linspace(0, 1, 80)[:, None]
    y = 1e6 + 1e4 * x[:, 0]
    options = {"by": "group"} if method in ("resample", "reweight") else None
    model = DebiasedRegressor(method, options=options, steps=200, lr=0.01, random_state=0)
    model.fit(x, y, attribute=np.arange(80) % 2)
    assert model.score(x, y) > 0.9
    assert model.score(x, y) == pytest.approx(r2_score(y, model.predict(x)))
    assert (model.target_mean_, model.target_scale_) == (pytest.approx(y.mean()), pytest.approx(y.std()))


@pytest.mark.parametrize("width", [None, 2])
def test_a_line_is_learned_however_far_from_zero(width):
    x = np.linspace(-1, 1, 80)[:, None]
    y = 1e9 + x[:, 0] if width is None else np.hstack([1e9 + x, 1e-3 * x - 1e5])
    assert len(np.unique(y.astype(np.float32).reshape(80, -1)[:, 0])) == 1, "in single precision they are all the same"
    model = DebiasedRegressor("erm", steps=300, lr=0.01, random_state=0).fit(x, y)
    assert (np.abs(model.predict(x) - y).mean(0) < 0.1 * y.std(0)).all()
    np.testing.assert_allclose(model.target_mean_, y.mean(0), rtol=1e-15)
    np.testing.assert_allclose(model.target_scale_, y.std(0), rtol=1e-6)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict(x), model.predict(x))


def test_the_targets_keep_their_unit():
    x, _, _ = toy()
    found = [
        DebiasedRegressor("c-mixup", options={"unit": "target", "sigma": factor}, **QUICK).fit(x, factor * x[:, 0])
        for factor in (1.0, 1024.0)
    ]
    np.testing.assert_array_equal(1024 * found[0].predict(x), found[1].predict(x))


def test_target_statistics_are_weighted():
    model = DebiasedRegressor("erm", steps=1).fit([[0.0], [1.0]], [0.0, 4.0], sample_weight=[3, 1])
    assert (model.target_mean_, model.target_scale_) == (pytest.approx(1), pytest.approx(np.sqrt(3)))


def test_several_numbers_are_learned_at_once():
    x = np.linspace(0, 1, 80)[:, None]
    y = np.hstack([1e4 * x, 5 - x, np.full_like(x, 7.0)])
    model = DebiasedRegressor("erm", steps=300, lr=0.01, random_state=0).fit(x, y, sample_weight=np.ones(80))
    found = model.predict(x)
    assert found.shape == (80, 3) and found.dtype == np.float64
    np.testing.assert_allclose(model.target_mean_, y.mean(0))
    np.testing.assert_allclose(model.target_scale_, [*y[:, :2].std(0), 1.0], rtol=1e-6)
    assert (np.abs(found - y).mean(0) < 0.1 * model.target_scale_).all()
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict(x), found)
    column = DebiasedRegressor("erm", **QUICK).fit(x, y[:, :1]).predict(x)
    np.testing.assert_array_equal(column[:, 0], DebiasedRegressor("erm", **QUICK).fit(x, y[:, 0]).predict(x))


def test_rows_that_differ_in_one_number_are_not_the_same():
    x, y = np.zeros((4, 1)), np.array([[0.0, 1.0], [0.0, 3.0], [0.0, 1.0], [0.0, 3.0]])
    model = DebiasedRegressor("erm", steps=200, lr=0.02, random_state=0).fit(x, y)
    np.testing.assert_allclose(model.predict(x), [[0.0, 2.0]] * 4, atol=0.05)


@pytest.mark.parametrize(("loss", "expected"), [("quantile:level=0.9", 90.0**2), ("absolute", 50.0**2)])
def test_the_loss_can_be_chosen(loss, expected):
    x, y = np.zeros((101, 1)), np.arange(101.0) ** 2
    model = DebiasedRegressor("erm", loss=loss, epochs=150, lr=0.02, random_state=0).fit(x, y)
    assert model.predict(x[:1])[0] == pytest.approx(expected, rel=0.05)
    with pytest.raises(UserError, match="unknown loss 'cubic'"):
        DebiasedRegressor("erm", loss="cubic").fit(x, y)


def test_targets_may_be_learned_as_they_are():
    x, y, _ = toy()
    model = DebiasedRegressor("erm", standardize=False, **QUICK).fit(x, 100.0 * y)
    assert (model.target_mean_, model.target_scale_) == (0.0, 1.0)
    with pytest.raises(UserError, match="training: standardize=maybe is not allowed; give true or false"):
        DebiasedRegressor("erm", standardize="maybe").fit(x, y)  # type: ignore[reportArgumentType]


def test_a_constant_target_is_predicted():
    x, y = toy()[0], np.full(60, 3.0)
    model = DebiasedRegressor("erm", steps=400, lr=0.02, random_state=0).fit(x, y)
    assert model.target_scale_ == 1
    np.testing.assert_allclose(model.predict(x), y, atol=0.2)


def test_targets_that_are_missing_are_refused():
    with pytest.raises(ValueError, match="Input y contains NaN"):
        DebiasedRegressor().fit([[0.0], [1.0], [2.0]], [0.0, np.nan, 1.0])


# --- pickle, clone ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "options"),
    [
        *(
            (name, None)
            for name, cls in longcut.METHODS.items()
            if name not in ("dfr", "evals", "neurontune") and "table" in cls.kinds and "classification" in cls.tasks
        ),
        ("dfr", {"fit_on": "train"}),
        *((name, {"held_from": "train"}) for name in ("evals", "neurontune")),
        ("selecmix", {"base": "lff"}),
        ("mixup", {"base": "lff"}),
    ],
)
def test_a_fitted_estimator_can_be_pickled_and_copied(method, options):
    x, y, attribute = toy()
    model = DebiasedClassifier(method, options=options, hidden=(9,), **QUICK).fit(x, y, attribute=attribute)
    expected = model.predict_proba(x)
    model.set_params(hidden=(3,), method="erm")  # for the next fit; says nothing of this one
    for again in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        np.testing.assert_array_equal(again.predict_proba(x), expected)
        assert again.get_params() == model.get_params()
        assert type(again.method_) is type(model.method_)
    kept = [value for part in model.method_.modules() for value in vars(part).values()]
    assert not [value for value in kept if isinstance(value, Dataset | Context)], "it holds its training set"
    fresh: Any = clone(model)
    with pytest.raises(NotFittedError):
        fresh.predict(x)


# --- metadata ---------------------------------------------------------------------------------------------------------


def test_the_attribute_goes_through_a_pipeline(routing):
    x, y, attribute = toy()
    model = DebiasedClassifier("lisa", **QUICK).set_fit_request(attribute=True)
    pipe = make_pipeline(StandardScaler(), model).fit(x, y, attribute=attribute)
    scaled = StandardScaler().fit_transform(x)
    alone = DebiasedClassifier("lisa", **QUICK).fit(scaled, y, attribute=attribute)
    np.testing.assert_array_equal(pipe.predict_proba(x), alone.predict_proba(scaled))
    with pytest.raises(UnsetMetadataPassedError, match="attribute"):
        make_pipeline(StandardScaler(), DebiasedClassifier("lisa", **QUICK)).fit(x, y, attribute=attribute)


def test_weights_go_through_a_pipeline(routing):
    x, y = np.zeros((4, 1)), np.array([0, 0, 1, 1])
    model = DebiasedClassifier("erm", steps=300, lr=0.02, random_state=0).set_fit_request(sample_weight=True)
    pipe = make_pipeline(model).fit(x, y, sample_weight=[3, 3, 1, 1])
    assert pipe.predict_proba(x)[0, 1] == pytest.approx(0.25, abs=0.01)


def test_a_grid_search_by_worst_group(routing):
    x, y, attribute = toy(90)
    model = make_pipeline(DebiasedClassifier("lisa", **QUICK).set_fit_request(attribute=True))
    grid = {"debiasedclassifier__options": [{"mode": "A"}, {"mode": "B"}]}
    folds = KFold(3, shuffle=True, random_state=0)
    search = GridSearchCV(model, grid, scoring=worst_group_scorer, cv=folds).fit(x, y, attribute=attribute)
    by_hand = []
    for options in grid["debiasedclassifier__options"]:
        values = []
        for train, test in folds.split(x):
            own = DebiasedClassifier("lisa", options=options, **QUICK).fit(
                x[train], y[train], attribute=attribute[train]
            )
            values.append(worst_group_accuracy(y[test], own.predict(x[test]), attribute=attribute[test]))
        by_hand.append(statistics.fmean(values))
    assert search.cv_results_["mean_test_score"] == pytest.approx(by_hand)


def test_without_routing_the_scorer_takes_classes_as_groups():
    x, y, _ = toy(90)
    model = DebiasedClassifier("erm", steps=1, random_state=0)
    folds = KFold(3, shuffle=True, random_state=0)
    values = cross_val_score(model, x, y, scoring=worst_group_scorer, cv=folds)
    for value, (train, test) in zip(values, folds.split(x), strict=True):
        right = model.fit(x[train], y[train]).predict(x[test]) == y[test]
        assert value == min(right[y[test] == label].mean() for label in (0, 1))


@pytest.mark.parametrize(
    ("scorer", "score"),
    [(equalized_odds_scorer, equalized_odds), (demographic_parity_scorer, demographic_parity)],
    ids=["equalized odds", "demographic parity"],
)
def test_a_grid_search_by_a_gap_between_groups(routing, scorer, score):
    """The less, the better; the setting with the largest gap, which leaves out what matters, is the last one."""
    x, y, attribute = toy(120)
    x[:, 1] += 4 * attribute
    told, blind = FunctionTransformer(lambda rows: rows[:, 1:]), FunctionTransformer(lambda rows: rows[:, :1])
    net = DebiasedClassifier("erm", **QUICK).set_fit_request(attribute=False)
    model = Pipeline([("columns", told), ("net", net)])
    folds = KFold(2, shuffle=True, random_state=0)
    search = GridSearchCV(model, {"columns": [told, blind]}, scoring=scorer, cv=folds).fit(x, y, attribute=attribute)
    by_hand = []
    for columns in (told, blind):
        values = []
        for train, test in folds.split(x):
            own = Pipeline([("columns", columns), ("net", net)]).fit(x[train], y[train])
            values.append(score(y[test], own.predict(x[test]), attribute=attribute[test]))
        by_hand.append(statistics.fmean(values))
    assert search.cv_results_["mean_test_score"] == pytest.approx(-np.array(by_hand))
    assert by_hand[0] > by_hand[1] + 0.2
    assert search.best_params_ == {"columns": blind}


def test_without_routing_a_gap_has_no_groups():
    x, y, _ = toy(60)
    model = DebiasedClassifier("erm", steps=1, random_state=0)
    with pytest.raises(UserError, match="equalized_odds compares groups, and no attribute was given; give attribute=…"):
        cross_val_score(model, x, y, scoring=equalized_odds_scorer, cv=2, error_score="raise")  # type: ignore[arg-type]


# --- fairlearn around it ----------------------------------------------------------------------------------------------


def unequal(n: int = 300, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of two classes, told apart by one column with noise, and a group that another column gives away."""
    draw = np.random.default_rng(seed)
    group = np.arange(n) % 2
    y = (draw.random(n) < np.where(group == 1, 0.7, 0.3)).astype(int)
    x = draw.normal(size=(n, 3))
    x[:, 0] += 1.5 * y
    x[:, 1] += 2 * group
    return x, y, group


def test_probabilities_are_in_double_precision():
    x, y, _ = toy()
    for rows in (x, x.astype(np.float32)):
        found = DebiasedClassifier("erm", **QUICK).fit(rows, y).predict_proba(rows)
        assert found.dtype == np.float64
        np.testing.assert_allclose(found.sum(1), 1, rtol=0, atol=1e-15)


@pytest.mark.parametrize("constraints", ["demographic_parity", "equalized_odds"])
@pytest.mark.parametrize("prefit", [True, False])
def test_fairlearn_moves_the_thresholds_of_a_classifier(constraints, prefit):
    x, y, group = unequal()
    model = DebiasedClassifier("erm", **QUICK)
    before = model.fit(x, y).predict(x)
    moved = ThresholdOptimizer(estimator=model, constraints=constraints, prefit=prefit, predict_method="predict_proba")
    after = moved.fit(x, y, sensitive_features=group).predict(x, sensitive_features=group, random_state=0)
    gap = {"demographic_parity": demographic_parity, "equalized_odds": equalized_odds}[constraints]
    assert gap(y, after, attribute=group) < gap(y, before, attribute=group) / 2


@pytest.mark.filterwarnings("ignore:Setting a")  # fairlearn 0.15 with pandas 3
def test_fairlearn_reweights_a_classifier():
    x, y, group = unequal()
    model = DebiasedClassifier("erm", **QUICK)
    fair = ExponentiatedGradient(model, EqualizedOdds(difference_bound=0.02), max_iter=5).fit(
        x, y, sensitive_features=group
    )
    after = fair.predict(x, random_state=0)
    before = model.fit(x, y).predict(x)
    assert len(fair.predictors_) > 1
    assert equalized_odds(y, after, attribute=group) < equalized_odds(y, before, attribute=group) / 2


# --- groups -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("names", [np.arange(3), np.array(["sea", "lake", "land"])])
def test_worst_group_accuracy_is_that_of_fairlearn(names):
    draw = np.random.default_rng(0)
    true, predicted, attribute = draw.integers(3, size=(3, 50))
    groups = pd.DataFrame({"label": true, "attribute": names[attribute]})
    frame = MetricFrame(metrics=accuracy_score, y_true=true, y_pred=predicted, sensitive_features=groups)
    assert worst_group_accuracy(true, predicted, attribute=names[attribute]) == pytest.approx(frame.group_min())
    frame = MetricFrame(metrics=accuracy_score, y_true=true, y_pred=predicted, sensitive_features=groups[["label"]])
    assert worst_group_accuracy(torch.from_numpy(true), predicted.tolist()) == pytest.approx(frame.group_min())


@pytest.mark.parametrize("names", [np.arange(3), np.array(["x", "y", "z"])])
def test_gaps_between_groups_are_those_of_fairlearn(names):
    draw = np.random.default_rng(1)
    true, predicted = (np.array(["no", "yes"])[draw.integers(2, size=90)] for _ in range(2))
    group = names[draw.integers(3, size=90)]
    how: dict[str, Any] = {"y_true": true == "yes", "y_pred": predicted == "yes", "sensitive_features": group}
    found = {one: equalized_odds(true, predicted, attribute=group, how=one) for one in ("sum", "max", "mean")}
    mean = equalized_odds_difference(**how, agg="mean")
    expected = {"sum": 2 * mean, "max": equalized_odds_difference(**how), "mean": mean}
    assert found == pytest.approx(expected)
    assert equalized_odds(true, predicted, attribute=group) == found["sum"]
    parity = demographic_parity(torch.from_numpy(how["y_true"]), how["y_pred"].tolist(), attribute=group)
    assert parity == pytest.approx(demographic_parity_difference(**how))


def test_gaps_that_are_undefined():
    assert np.isnan(equalized_odds([0, 1, 0, 0], [0, 1, 1, 0], attribute=[0, 0, 1, 1])), "a group without positives"
    assert np.isnan(equalized_odds([0, 1], [0, 1], attribute=[0, 0]))
    assert np.isnan(demographic_parity([0, 1], [0, 1], attribute=[0, 0]))
    assert demographic_parity([0, 0, 0], [0, 0, 0], attribute=[0, 1, 1]) == 0, "all alike, whatever that is"


def test_fairlearn_takes_our_predictions():
    x, y, attribute = toy()
    model = DebiasedClassifier("erm", **QUICK).fit(x, y)
    frame = MetricFrame(metrics=accuracy_score, y_true=y, y_pred=model.predict(x), sensitive_features=attribute)
    by_group: Any = frame.by_group
    for value in (0, 1):
        assert by_group[value] == model.score(x[attribute == value], y[attribute == value])


def test_every_group_counts_the_same():
    y, attribute = np.array([0] * 6 + [1] * 4), np.array(list("aaaaabbbbb"))
    weight = GroupBalancer().fit(np.zeros((10, 1)), y, attribute=attribute).sample_weight_
    np.testing.assert_allclose(weight, [10 / 15] * 5 + [10 / 3] + [10 / 12] * 4)  # groups of 5, 1 and 4
    weight = GroupBalancer().fit(np.zeros((10, 1)), y).sample_weight_
    np.testing.assert_allclose(weight, [10 / 12] * 6 + [10 / 8] * 4)
    assert weight.mean() == pytest.approx(1)


def test_group_weights_are_weights_of_the_classifier():
    """Label and attribute are all there is to see: the weights make the rare groups as frequent as the others."""
    attribute = np.array([0] * 9 + [1] + [1] * 9 + [0])
    y = np.repeat([0, 1], 10)
    x = attribute[:, None].astype(float)
    weight = GroupBalancer().fit(x, y, attribute=attribute).sample_weight_
    model = DebiasedClassifier("erm", steps=300, lr=0.02, random_state=0)
    np.testing.assert_allclose(model.fit(x, y).predict_proba([[0.0], [1.0]])[:, 1], [0.1, 0.9], atol=0.01)
    fair = model.fit(x, y, sample_weight=weight).predict_proba([[0.0], [1.0]])[:, 1]
    np.testing.assert_allclose(fair, 0.5, atol=0.03)


def test_transformers_hand_on_what_they_get():
    frame = pd.DataFrame({"a": np.arange(8.0), "b": np.arange(8.0) % 3})
    balancer = GroupBalancer().set_output(transform="pandas").fit(frame, np.arange(8) % 2)
    pd.testing.assert_frame_equal(balancer.transform(frame), frame)


# --- suspects ---------------------------------------------------------------------------------------------------------


def hospitals(n: int = 800) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A loud column that gives the label away except in one row of twenty, and three quiet ones that are true."""
    draw = np.random.default_rng(0)
    y = draw.integers(2, size=n)
    conflicting = draw.random(n) < 0.05
    x = draw.normal(size=(n, 10))
    x[:, 0] += 8 * (y ^ conflicting)
    x[:, 1:4] += 1.2 * y[:, None]
    return x, y, conflicting


def test_suspects_are_those_that_contradict_the_easy_cue():
    x, y, conflicting = hospitals()
    suspects = SuspectedConflict(random_state=0).fit(x, np.array(["fine", "sick"])[y])
    assert suspects.scores_.shape == suspects.suspected_.shape == (len(x),)
    assert 0 <= suspects.scores_.min() <= suspects.scores_.max() <= 1
    assert suspects.scores_[conflicting].mean() > 0.6
    assert suspects.scores_[~conflicting].mean() < 0.4
    assert conflicting[suspects.suspected_].mean() > 0.8
    again = SuspectedConflict(random_state=0).fit(x, y)
    np.testing.assert_array_equal(again.suspected_, suspects.suspected_)


def test_folds_do_not_outnumber_the_smallest_class():
    x, y, _ = toy(24)
    y[3:] = 0
    y[:3] = 1
    assert SuspectedConflict(folds=5, random_state=0).fit(x, y).scores_.shape == (24,)


# --- mistakes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "slecmix"}, "unknown method 'slecmix': did you mean 'selecmix'"),
        ({"method": "lff", "options": {"p": 1}}, "unknown option of method 'lff' 'p'"),
        ({"method": "lff", "options": {"q": 2}}, "method 'lff': q=2 is not allowed; give a number"),
        ({"method": "lisa"}, "lisa needs the attribute of each training sample, but X has none; pass attribute="),
        ({"steps": 5, "epochs": 5}, "steps=5 and epochs=5 both say how long; give one of them"),
        ({"steps": 0}, "steps=0 is not allowed; give a whole number at least 1"),
        ({"steps": 2.5}, "steps=2.5 is not allowed"),
        ({"epochs": 0}, "epochs=0 is not allowed; give a whole number at least 1"),
        ({"batch_size": 0}, "batch=0 is not allowed"),
        ({"hidden": (5,), "net": "conv"}, r"hidden=\(5,\) and net='conv' both say what the net is; give one of them"),
        ({"hidden": 100}, r"hidden=100 is not a tuple of widths; give one per hidden layer, such as \(100,\)"),
        ({"hidden": (0,)}, "hidden=0 is not allowed"),
        ({"net": "conv"}, r"net 'conv' needs images \(C, H, W\), but X has shape \(3,\)"),
    ],
)
def test_settings_that_are_refused(settings, message):
    x, y, _ = toy()
    with pytest.raises(UserError, match=message):
        DebiasedClassifier(**settings).fit(x, y)


@pytest.mark.gpu
def test_trains_on_a_gpu_and_is_pickled_for_everybody():
    x, y, _ = toy()
    model = DebiasedClassifier("erm", device="cuda", **QUICK).fit(x, y)
    assert {p.device.type for p in model.method_.parameters()} == {"cuda"}
    again = pickle.loads(pickle.dumps(model))
    assert {p.device.type for p in again.method_.parameters()} == {"cpu"}
    for other in (again, DebiasedClassifier("erm", **QUICK).fit(x, y)):
        np.testing.assert_allclose(other.predict_proba(x), model.predict_proba(x), atol=1e-3)


@pytest.mark.parametrize("estimator", [GroupBalancer(), SuspectedConflict()])
def test_labels_are_required(estimator):
    with pytest.raises(ValueError, match="requires y to be passed"):
        estimator.fit([[0.0], [1.0]], None)


@pytest.mark.parametrize("estimator", [DebiasedClassifier(), SuspectedConflict()])
def test_data_that_is_refused(estimator):
    x, y, _ = toy()
    with pytest.raises(UserError, match="y has one class, '0'; give rows of at least two"):
        estimator.fit(x, np.zeros(len(x), int))
    with pytest.raises(UserError, match=r"X has shape \(60, 3, 1\); give a table \(n, d\) or images \(n, C, H, W\)"):
        estimator.fit(x[:, :, None], y)
    with pytest.raises(UserError, match="class '1' has 1"):
        estimator.fit(x, (np.arange(len(x)) == 0).astype(int))


def test_folds_that_are_refused():
    x, y, _ = toy()
    for folds in (1, 2.5):
        with pytest.raises(UserError, match=f"folds={folds} is not allowed; give a whole number at least 2"):
            SuspectedConflict(folds=folds).fit(x, y)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "take",
    [
        lambda x, y, attribute: DebiasedClassifier(**QUICK).fit(x, y, attribute=attribute),
        lambda x, y, attribute: DebiasedRegressor(**QUICK).fit(x, y, attribute=attribute),
        lambda x, y, attribute: GroupBalancer().fit(x, y, attribute=attribute),
        lambda x, y, attribute: worst_group_accuracy(y, y, attribute=attribute),
    ],
)
def test_attributes_that_are_refused(take):
    x, y, attribute = toy()
    with pytest.raises(UserError, match=r"attribute has shape \(59,\), but X has 60 rows; give one value for each row"):
        take(x, y, attribute[1:])
    with pytest.raises(UserError, match="the attribute is known of no row; give that of some, or leave it out"):
        take(x, y, np.full(60, None))


def test_predictions_of_another_length():
    with pytest.raises(UserError, match=r"y_true has shape \(3,\) and y_pred \(2,\); give one label for each row"):
        worst_group_accuracy([0, 1, 1], [0, 1])


@pytest.mark.parametrize("score", [equalized_odds, demographic_parity])
def test_gaps_that_are_refused(score):
    with pytest.raises(
        UserError, match=f"{score.__name__} is about two classes, and these labels are of 3; merge some"
    ):
        score([0, 1, 2], [0, 1, 1], attribute=[0, 1, 1])
    with pytest.raises(UserError, match=f"{score.__name__} compares groups, and no attribute was given"):
        score([0, 1], [0, 1])
    with pytest.raises(UserError, match=r"y_true has shape \(3,\) and y_pred \(2,\); give one label for each row"):
        score([0, 1, 1], [0, 1], attribute=[0, 1, 1])
    with pytest.raises(UserError, match=r"attribute has shape \(1,\), but X has 2 rows"):
        score([0, 1], [0, 1], attribute=[0])


def test_another_way_to_put_two_gaps_together_is_refused():
    with pytest.raises(UserError, match="how='worst' is not known; give sum, max or mean"):
        equalized_odds([0, 1], [0, 1], attribute=[0, 1], how="worst")  # type: ignore[arg-type]


def test_a_regressor_refuses_methods_for_classes():
    x, y, _ = toy()
    with pytest.raises(UserError, match="selecmix learns classification, but X is regression"):
        DebiasedRegressor("selecmix", **QUICK).fit(x, y)


# --- what it is for ---------------------------------------------------------------------------------------------------


def embedded_digits(ratio: float, seed: int) -> tuple[Any, ...]:
    """Coloured digits by their first fifty principal components: training rows, test rows, and who conflicts there."""
    splits = longcut.load(f"colored-digits:ratio={ratio}", seed)
    x, new = (part.x[part.index].flatten(1).numpy() for part in (splits.train, splits.test))
    pca = PCA(50, random_state=0).fit(x)
    test = pca.transform(new), splits.test.label.numpy(), splits.test.conflicting.numpy()
    return pca.transform(x), splits.train.label.numpy(), *test


def accuracies(method: str, ratio: float) -> tuple[float, float]:
    """Of conflicting and of all test rows, mean over three seeds, with the settings users get."""
    values = []
    for seed in range(3):
        x, y, new, label, conflicting = embedded_digits(ratio, seed)
        right = DebiasedClassifier(method, random_state=seed).fit(x, y).predict(new) == label
        values.append((right[conflicting].mean(), right.mean()))
    return tuple(np.mean(values, axis=0))


@pytest.mark.slow
def test_beats_ordinary_training_on_an_embedding_with_a_shortcut():
    assert accuracies("selecmix", 0.05)[0] > accuracies("erm", 0.05)[0] + 0.08


@pytest.mark.slow
def test_costs_little_on_an_embedding_without():
    assert accuracies("selecmix", 0.9)[1] > accuracies("erm", 0.9)[1] - 0.03
