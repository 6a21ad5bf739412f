"""What people hand to the estimators: weights in any unit, columns that are no numbers, sparse tables, other tools."""

from __future__ import annotations

import re
import time
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from fairlearn.postprocessing import ThresholdOptimizer
from fairlearn.preprocessing import CorrelationRemover
from fairlearn.reductions import BoundedGroupLoss, DemographicParity, ExponentiatedGradient, GridSearch, SquareLoss
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor, make_column_transformer
from sklearn.ensemble import (
    AdaBoostClassifier,
    AdaBoostRegressor,
    BaggingClassifier,
    BaggingRegressor,
    StackingClassifier,
    StackingRegressor,
    VotingClassifier,
)
from sklearn.feature_selection import SequentialFeatureSelector
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import (
    RandomizedSearchCV,
    TunedThresholdClassifierCV,
    cross_val_predict,
    learning_curve,
)
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier, OutputCodeClassifier
from sklearn.multioutput import ClassifierChain, MultiOutputClassifier, MultiOutputRegressor, RegressorChain
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.semi_supervised import SelfTrainingClassifier

from longcut.errors import UserError
from longcut.estimators import DebiasedClassifier, DebiasedRegressor, GroupBalancer, SuspectedConflict
from longcut.estimators.weights import by_class, times_of
from longcut.methods.erm import ERM

QUICK: dict[str, Any] = {"steps": 10, "batch_size": 32, "lr": 0.02, "random_state": 0}


def toy(n: int = 80, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows ``(n, 3)`` of two classes, the first column telling, and a group of each row."""
    draw = np.random.default_rng(seed)
    y = np.arange(n) % 2
    x = draw.normal(size=(n, 3))
    x[:, 0] += 3 * y
    return x, y, draw.integers(2, size=n)


# --- weights ----------------------------------------------------------------------------------------------------------


def census(n: int) -> np.ndarray:
    """Weights as surveys have them: whole numbers without a common factor, some a hundred times others."""
    return np.random.default_rng(3).integers(12_000, 1_500_000, n).astype(float)


@pytest.mark.parametrize("unit", [1.0, 1e-3, 7.3, 1e-300, 1e300])
def test_the_unit_of_weights_does_not_count(unit):
    x, y, _ = toy()
    for weight in (census(80), np.arange(80) % 4 + 1.0, np.random.default_rng(0).random(80)):
        expected = DebiasedClassifier("erm", **QUICK).fit(x, y, sample_weight=weight).predict_proba(x)
        found = DebiasedClassifier("erm", **QUICK).fit(x, y, sample_weight=weight * unit).predict_proba(x)
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("n", [3, 40, 5000])
def test_weights_of_a_census_cost_ten_times_the_rows_at_most(n):
    weight = census(n)
    times = times_of(weight)
    assert times.sum() == max(10 * n, 1000)
    assert np.abs(times / times.sum() - weight / weight.sum()).max() <= 1 / times.sum(), "give or take one place"
    halves = [part.sum() / times.sum() for part in np.split(times, [n // 2])]
    np.testing.assert_allclose(halves[0], weight[: n // 2].sum() / weight.sum(), atol=1 / times.sum())


def test_light_rows_are_light_together():
    """A thousand to one, in two halves of many rows: none of them is worth a place, all of them are."""
    weight = np.where(np.arange(2000) < 1000, 0.5, 500.5)
    light = times_of(weight, np.arange(2000) // 1000)[:1000]
    assert set(light) == {0, 1} and light.sum() == pytest.approx(20_000 * 0.5 / 501, abs=1)


def test_a_class_that_weighs_next_to_nothing_is_still_a_class():
    x, y, _ = toy()
    model = DebiasedClassifier("erm", **QUICK).fit(x, y, sample_weight=np.where(y == 1, 1e-9, 1.0 + x[:, 0] ** 2))
    assert model.classes_.tolist() == [0, 1]
    assert model.predict_proba(x)[:, 1].mean() < 0.5


def test_a_default_fit_costs_the_same_with_weights_as_without():
    model = DebiasedClassifier("erm", batch_size=100)
    without, with_weights = model._training(1_000_000).epochs, model._training(10_000_000, 1_000_000).epochs
    assert (without, with_weights) == (10, 1)


def test_weights_take_no_longer_whatever_numbers_they_are():
    x, y, _ = toy(200)
    took = []
    for weight in (census(200), census(200) + 0.5):
        began = time.perf_counter()
        DebiasedClassifier("erm", **QUICK).fit(x, y, sample_weight=weight)
        took.append(time.perf_counter() - began)
    assert max(took) < 5


def test_rows_that_all_weigh_nothing_are_refused():
    x, y, _ = toy()
    with pytest.raises(UserError, match="every row weighs 0; give some of them a weight"):
        DebiasedClassifier("erm", class_weight={0: 0, 1: 0}, **QUICK).fit(x, y)


def test_class_weights_are_those_of_scikit_learn():
    y = np.array([2, 2, 2, 7, 7, 9])
    weight = np.arange(1.0, 7.0)
    found = by_class("balanced", y, weight)
    assert [found[y == c].sum() for c in (2, 7, 9)] == pytest.approx([weight.sum() / 3] * 3)
    np.testing.assert_allclose(by_class({7: 3.0}, y, weight), weight * [1, 1, 1, 3, 3, 1])
    x, y, _ = toy()
    y[:30] = 0
    for given, own in (
        ({0: 2.0, 1: 6.0}, np.where(y, 3, 1)),
        ("balanced", np.where(y, 1 / y.sum(), 1 / (1 - y).sum())),
    ):
        by_setting = DebiasedClassifier("erm", class_weight=given, **QUICK).fit(x, y)
        by_rows = DebiasedClassifier("erm", **QUICK).fit(x, y, sample_weight=own)
        np.testing.assert_allclose(by_setting.predict_proba(x), by_rows.predict_proba(x), atol=1e-6)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"two": 1}, "class_weight is of a class 'two', but y has 0, 1; give those"),
        ({1: -1}, r"class_weight={1: -1} is not allowed; give numbers at least 0"),
        ("equal", "class_weight='equal' is not allowed; give 'balanced' or a weight for each label"),
    ],
)
def test_class_weights_that_are_refused(given, message):
    x, y, _ = toy()
    with pytest.raises(UserError, match=message):
        DebiasedClassifier("erm", class_weight=given, **QUICK).fit(x, y)


# --- columns ----------------------------------------------------------------------------------------------------------


def people(n: int = 80) -> tuple[pd.DataFrame, np.ndarray]:
    x, y, _ = toy(n)
    frame = pd.DataFrame({"age": x[:, 0], "hours": np.arange(n), "member": y == 1})
    frame["sex"] = np.where(np.arange(n) % 3 == 0, "f", "m")
    frame["district"] = pd.Categorical(np.arange(n) % 4 + 1001)
    return frame, y


def test_columns_that_are_no_numbers_are_named_with_what_to_do():
    frame, y = people()
    frame["since"] = pd.Timestamp("2020-02-01")
    frame["code"] = pd.Series(["007", "7"] * 40, dtype=object)  # scikit-learn would read both as 7.0
    named = "'sex' (text), 'district' (category), 'since' (dates), 'code' (text)"
    with pytest.raises(
        UserError, match=f"X has columns that are no numbers: {re.escape(named)}; leave them out or put"
    ):
        DebiasedClassifier(**QUICK).fit(frame, y)
    with pytest.raises(UserError, match="no numbers: 'sex' \\(text\\)"):
        SuspectedConflict().fit(frame[["age", "sex"]], y)
    numbers = DebiasedClassifier("erm", **QUICK).fit(frame[["age", "hours"]], y)
    with pytest.raises(UserError, match="no numbers: 'hours' \\(category\\)"):
        numbers.predict(frame[["age", "hours"]].astype({"hours": "category"}))


@pytest.mark.parametrize("rows", [[["a", 1.0]] * 4, [("a", 1.0)] * 4, np.array([["a", 1.0]] * 4, dtype=object)])
def test_columns_of_lists_are_named_by_their_place(rows):
    with pytest.raises(UserError, match=r"no numbers: 0 \(text\); .*\[0\]"):
        DebiasedRegressor(**QUICK).fit(rows, [0.0, 1.0, 2.0, 3.0])


def test_what_the_sentence_advises_works():
    frame, y = people()
    with pytest.raises(UserError) as refused:
        DebiasedClassifier(**QUICK).fit(frame, y)
    found = re.search(r"make_pipeline\((make_column_transformer\(.*\)), …\)", str(refused.value))
    assert found
    names = {
        "make_column_transformer": make_column_transformer,
        "OneHotEncoder": OneHotEncoder,
        "StandardScaler": StandardScaler,
    }
    encoder = eval(found[1], names)
    model = make_pipeline(encoder, DebiasedClassifier("erm", steps=100, lr=0.02, random_state=0)).fit(frame, y)
    assert model.score(frame, y) == 1
    assert encoder.get_feature_names_out()[0] == "onehotencoder__sex_f"


def test_objects_that_are_numbers_are_numbers():
    x, y, _ = toy()
    expected = DebiasedClassifier("erm", **QUICK).fit(x, y).predict_proba(x)
    for given in (x.astype(object), pd.DataFrame(x).astype(object), pd.DataFrame(x).convert_dtypes()):
        np.testing.assert_array_equal(DebiasedClassifier("erm", **QUICK).fit(given, y).predict_proba(given), expected)


def test_groups_are_balanced_whatever_the_columns():
    frame, y = people()
    frame.loc[3, "age"] = np.nan
    balancer = GroupBalancer().fit(frame, y, attribute=frame["sex"])
    assert balancer.sample_weight_.sum() == pytest.approx(80)
    assert balancer.transform(frame).shape == frame.shape


@pytest.mark.parametrize("made", [sp.csr_matrix, sp.csc_array, sp.coo_array, pd.DataFrame.sparse.from_spmatrix])
def test_sparse_tables_are_the_same_rows(made):
    x, y, _ = toy()
    x[np.abs(x) < 0.5] = 0
    given = made(sp.csr_matrix(x))
    for model in (DebiasedClassifier("erm", **QUICK), DebiasedRegressor("erm", **QUICK)):
        answer = model.fit(x, y).predict(x)
        np.testing.assert_array_equal(model.fit(given, y).predict(given), answer)


def test_a_sparse_table_that_does_not_fit_is_refused_before_it_is_written_out():
    y = np.arange(40) % 2
    wide = sp.csr_array((40, 5_000_000))
    with pytest.raises(
        UserError, match=r"X is sparse, and its 40 x 5,000,000 numbers would take 1\.6 GB .*TruncatedSVD"
    ):
        DebiasedClassifier(**QUICK).fit(wide, y)


# --- going on, stopping early, being told -----------------------------------------------------------------------------


def test_a_warm_start_goes_on_where_the_last_fit_ended():
    x, y, _ = toy()
    cold = DebiasedClassifier("erm", epochs=1, random_state=0).fit(x, y)
    warm = DebiasedClassifier("erm", epochs=1, warm_start=True, random_state=0)
    losses = [warm.fit(x, y).history_[-1]["loss"] for _ in range(40)]
    assert losses[0] == cold.history_[-1]["loss"]
    assert losses[-1] < losses[20] < losses[0] - 0.1
    mean = warm.mean_
    shifted = warm.fit(x + 100, y)
    assert shifted.mean_ is mean, "the net was trained on rows that were scaled like this"


def test_a_warm_regressor_keeps_its_units():
    x = np.linspace(-1, 1, 60)[:, None]
    model = DebiasedRegressor("erm", steps=30, lr=0.01, warm_start=True, random_state=0)
    scores = [model.fit(x, 1e6 + 100 * x[:, 0]).score(x, 1e6 + 100 * x[:, 0]) for _ in range(8)]
    assert scores[-1] > 0.999 > scores[0]
    before, units = model.predict(x), (model.target_mean_, model.target_scale_)
    model.set_params(lr=1e-12).fit(x, 3e6 + 7 * x[:, 0])
    assert (model.target_mean_, model.target_scale_) == units
    np.testing.assert_allclose(model.predict(x), before, rtol=1e-9)


@pytest.mark.parametrize(
    ("change", "rows", "message"),
    [
        ({"hidden": (7,)}, lambda x, y: (x, y), "goes on with the same network, but method, options, hidden, net or"),
        ({}, lambda x, y: (x[:, 1:], y), r"X has rows of shape \(2,\), but the fit to go on from saw \(3,\)"),
        ({}, lambda x, y: (x, y + 1), "y has the classes 1, 2, but the fit to go on from saw 0, 1; give rows of each"),
    ],
)
def test_a_warm_start_that_cannot_go_on(change, rows, message):
    x, y, _ = toy()
    model = DebiasedClassifier("erm", warm_start=True, **QUICK).fit(x, y)
    with pytest.raises(UserError, match=message):
        model.set_params(**change).fit(*rows(x, y))


def test_training_stops_when_held_out_rows_are_told_no_better():
    """Labels by lot: nothing is to be learned, so it stops at once, and keeps the best epoch and not the last."""
    draw = np.random.default_rng(0)
    x, y = draw.normal(size=(300, 5)), draw.integers(2, size=300)
    model = DebiasedClassifier("erm", epochs=200, lr=0.05, early_stopping=True, n_iter_no_change=4, random_state=0)
    history = model.fit(x, y).history_
    judged = [row["valid"]["average"] for row in history]
    best = int(np.argmax(judged))
    assert len(history) == best + 5 < 200
    again = DebiasedClassifier(
        "erm", epochs=best + 1, lr=0.05, early_stopping=True, n_iter_no_change=99, random_state=0
    )
    np.testing.assert_array_equal(again.fit(x, y).predict_proba(x), model.predict_proba(x))


def test_what_is_held_out_is_judged_by_its_worst_group():
    x, y, group = toy(200)
    told = DebiasedClassifier("erm", epochs=3, early_stopping=True, validation_fraction=0.25, random_state=0)
    seen = []

    class Seen(ERM):
        def prepare(self, train, fit):
            seen.append(train)
            return train

    told.set_params(method=Seen).fit(x, y, attribute=group)
    cells = np.unique(2 * y + group, return_counts=True)[1]
    assert len(seen[0]) == 200 - sum(round(0.25 * n) for n in cells)
    assert all("worst_group" in row["valid"] for row in told.history_)
    errors = DebiasedRegressor("erm", epochs=3, early_stopping=True, random_state=0).fit(x, x[:, 0])
    assert all(row["valid"]["rmse"] > 0 for row in errors.history_)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_iter_no_change": 0}, "n_iter_no_change=0 is not allowed; give a whole number at least 1"),
        ({"validation_fraction": 1.5}, "the fraction to split off is 1.5; it must lie between 0 and 1"),
    ],
)
def test_early_stopping_that_is_refused(settings, message):
    x, y, _ = toy()
    with pytest.raises(UserError, match=message):
        DebiasedClassifier("erm", early_stopping=True, **settings, **QUICK).fit(x, y)


def test_verbose_says_how_far_it_is(capsys):
    x, y, _ = toy()
    DebiasedClassifier("erm", epochs=50, random_state=0).fit(x, y)
    assert capsys.readouterr().out == ""
    DebiasedClassifier("erm", epochs=50, verbose=True, random_state=0).fit(x, y)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(", ")[0] for line in lines] == [f"epoch {n} of 50" for n in (1, *range(5, 51, 5))]
    assert re.fullmatch(r"epoch 50 of 50, loss 0\.\d+; \d+ s, 0 s left", lines[-1])
    DebiasedClassifier("jtt", epochs=3, verbose=2, early_stopping=True, random_state=0).fit(x, y)
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("helper")] == [f"helper, epoch {n} of 3" for n in (1, 2, 3)]
    assert re.search(r"epoch 3 of 3, loss [\d.e-]+, average [\d.]+; ", lines[-1])


# --- other people's tools ---------------------------------------------------------------------------------------------


def classifier(**settings: Any) -> Any:
    return DebiasedClassifier("erm", **{**QUICK, **settings})


def regressor() -> Any:
    return DebiasedRegressor("erm", **QUICK)


X, Y, GROUP = toy()
SEVERAL, NUMBERS = np.c_[Y, 1 - Y, GROUP], np.c_[X[:, 0], -X[:, 0]]
importance: Any = permutation_importance
selector: Any = SequentialFeatureSelector
several: Any = OneVsRestClassifier


def first(found: Any) -> Any:
    """Of several columns."""
    return found[:, 0]


TOOLS: dict[str, Any] = {
    "calibrated": lambda: CalibratedClassifierCV(classifier(), cv=2).fit(X, Y, sample_weight=census(80)).predict(X),
    "bagging": lambda: (
        BaggingClassifier(classifier(), 2, random_state=0).fit(X, Y, sample_weight=census(80)).predict(X)
    ),
    "bagging numbers": lambda: BaggingRegressor(regressor(), 2, random_state=0).fit(X, X[:, 0]).predict(X),
    "boosting": lambda: AdaBoostClassifier(classifier(), n_estimators=3, random_state=0).fit(X, Y).predict(X),
    "boosting numbers": lambda: (
        AdaBoostRegressor(regressor(), n_estimators=2, random_state=0).fit(X, Y * 1.0).predict(X)
    ),
    "voting": lambda: (
        VotingClassifier([("a", classifier()), ("b", LogisticRegression())], voting="soft")
        .fit(X, Y, sample_weight=census(80))
        .predict(X)
    ),
    "stacking": lambda: (
        StackingClassifier([("a", classifier())], final_estimator=classifier(), cv=2).fit(X, Y).predict(X)
    ),
    "stacking numbers": lambda: StackingRegressor([("a", regressor())], Ridge(), cv=2).fit(X, X[:, 0]).predict(X),
    "one against the rest": lambda: first(several(classifier()).fit(X, SEVERAL).predict_proba(X)),
    "one against one": lambda: OneVsOneClassifier(classifier()).fit(X, Y + GROUP).predict(X),
    "codes": lambda: OutputCodeClassifier(classifier(), random_state=0).fit(X, Y + GROUP).predict(X),
    "several labels": lambda: first(MultiOutputClassifier(classifier()).fit(X, SEVERAL).predict(X)),
    "chain": lambda: ClassifierChain(classifier()).fit(X, SEVERAL).predict(X)[:, 0],
    "several numbers": lambda: MultiOutputRegressor(regressor()).fit(X, NUMBERS).predict(X)[:, 0],
    "chain of numbers": lambda: RegressorChain(regressor()).fit(X, NUMBERS).predict(X)[:, 0],
    "search": lambda: (
        RandomizedSearchCV(classifier(), {"hidden": [(3,), (4,)]}, n_iter=2, cv=2, random_state=0).fit(X, Y).predict(X)
    ),
    "threshold": lambda: TunedThresholdClassifierCV(classifier(), cv=2).fit(X, Y).predict(X),
    "self-training": lambda: (
        SelfTrainingClassifier(classifier(), max_iter=2).fit(X, np.where(np.arange(80) % 5 == 0, -1, Y)).predict(X)
    ),
    "selected columns": lambda: selector(classifier(), n_features_to_select=1, cv=2).fit(X, Y).transform(X)[:, 0],
    "importance": lambda: first(importance(classifier().fit(X, Y), X, Y, n_repeats=2).importances),
    "transformed target": lambda: (
        TransformedTargetRegressor(regressor(), transformer=StandardScaler()).fit(X, X[:, 0]).predict(X)
    ),
    "folds": lambda: first(cross_val_predict(classifier(), X, Y, cv=2, method="predict_proba")),
    "learning curve": lambda: learning_curve(classifier(), X, Y, cv=2, train_sizes=np.array([0.5, 1.0]))[2],
    "fair thresholds": lambda: (
        ThresholdOptimizer(estimator=classifier(), predict_method="predict_proba")
        .fit(X, Y, sensitive_features=GROUP)
        .predict(X, sensitive_features=GROUP, random_state=0)
    ),
    "fair weights": lambda: (
        ExponentiatedGradient(classifier(), DemographicParity(), max_iter=3)
        .fit(pd.DataFrame(X), pd.Series(Y), sensitive_features=pd.Series(GROUP))
        .predict(pd.DataFrame(X), random_state=0)
    ),
    "fair search": lambda: (
        GridSearch(classifier(), DemographicParity(), grid_size=3).fit(X, Y, sensitive_features=GROUP).predict(X)
    ),
    "fair errors": lambda: (
        GridSearch(regressor(), BoundedGroupLoss(SquareLoss(0, 1)), grid_size=2)
        .fit(X, Y * 1.0, sensitive_features=GROUP)
        .predict(X)
    ),
    "uncorrelated columns": lambda: (
        make_pipeline(CorrelationRemover(sensitive_feature_ids=[2]), classifier()).fit(X, Y).predict(X)
    ),
}


@pytest.mark.filterwarnings("ignore:Setting a")  # fairlearn 0.15 with pandas 3
@pytest.mark.parametrize("tool", TOOLS)
def test_tools_around_an_estimator(tool):
    found = np.asarray(TOOLS[tool](), dtype=float)
    assert np.isfinite(found).all()
    if len(found) == 80:
        truth = Y + GROUP if tool in ("one against one", "codes") else Y
        assert abs(np.corrcoef(found, truth)[0, 1]) > 0.3, "it learned something"


def test_halves_are_read_as_they_are():
    x, y, _ = toy()
    half = torch.from_numpy(x).half()
    assert DebiasedClassifier("erm", **QUICK).fit(half, y).predict_proba(half).dtype == np.float64
