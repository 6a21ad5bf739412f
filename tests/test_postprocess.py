from __future__ import annotations

import dataclasses
import itertools
import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from blobs import bare, blobs, small_data  # noqa: F401, a fixture
from helpers import entry_of
from torch import Tensor
from typer.testing import CliRunner

import longcut
from longcut import runs
from longcut.cli import app
from longcut.data import Dataset, Splits, generator
from longcut.datasets import DATASETS
from longcut.errors import UserError
from longcut.evaluate import metrics, sample_values
from longcut.execute import execute
from longcut.plans import plan
from longcut.postprocess import GAPS, fit_rule, hardt, rates

ODDS, OPPORTUNITY, PARITY = "equalized-odds", "equal-opportunity", "demographic-parity"


def table(n: int = 400, groups: int = 2, seed: int = 0) -> tuple[Tensor, Dataset]:
    """Outputs that are better, and higher, in one group than in the next, and their samples."""
    g = generator(seed)
    label = (torch.rand(n, generator=g) < 0.4).long()
    attribute = torch.randint(groups, (n,), generator=g)
    score = torch.randn(n, generator=g) + (2.0 - 0.4 * attribute) * (label - 0.5) + 0.3 * attribute - 0.3
    data = Dataset.of(torch.zeros(n, 1), label, attribute, name="scores", n_attributes=groups)
    return torch.stack([-score / 2, score / 2], 1), data


def error(p: Any, positives: Any, negatives: Any, tpr: Any, fpr: Any) -> float:
    """Expected number of errors of a rule, group by group."""
    total = 0.0
    for a in range(len(tpr)):
        new_tpr = p[1][a] * tpr[a] + p[0][a] * (1 - tpr[a])
        new_fpr = p[1][a] * fpr[a] + p[0][a] * (1 - fpr[a])
        total += positives[a] * (1 - new_tpr) + negatives[a] * new_fpr
    return total


# --- rates ------------------------------------------------------------------------------------------------------------


def test_rates_are_shares_of_each_cell():
    label = [1, 1, 1, 0, 0, 1, 0, 0]
    attribute = [0, 0, 0, 0, 0, 1, 1, 1]
    data = Dataset.of(torch.zeros(8, 1), label, attribute)
    found = rates(torch.tensor([1, 1, 0, 1, 0, 1, 0, 0]), data)
    assert found.accuracy == 6 / 8
    assert found.tpr == (2 / 3, 1.0)
    assert found.fpr == (1 / 2, 0.0)
    assert found.selected == (3 / 5, 1 / 3)
    assert found.equalized_odds_sum == pytest.approx(1 / 3 + 1 / 2)
    assert found.equalized_odds_max == 1 / 2
    assert found.equalized_odds_mean == pytest.approx((1 / 3 + 1 / 2) / 2)
    assert found.equal_opportunity == pytest.approx(1 / 3)
    assert found.demographic_parity == pytest.approx(3 / 5 - 1 / 3)


def test_rates_are_the_mean_of_many_draws():
    _, data = table()
    chance = torch.rand(len(data), generator=generator(3), dtype=torch.float64)
    found, draws = rates(chance, data), torch.rand(4000, len(data), generator=generator(4)) < chance
    each = [rates(draw, data) for draw in draws[:1000]]
    assert found.accuracy == pytest.approx(float(np.mean([one.accuracy for one in each])), abs=0.003)
    assert found.tpr == pytest.approx(np.mean([one.tpr for one in each], 0), abs=0.006)


def test_a_group_without_positives_has_no_rate_and_no_gap():
    data = Dataset.of(torch.zeros(5, 1), [1, 0, 0, 0, 0], [0, 0, 1, 1, 1])
    found = rates(torch.tensor([1, 0, 0, 1, 0]), data)
    assert math.isnan(found.tpr[1]) and found.fpr == (0.0, 1 / 3)
    assert all(
        math.isnan(value)
        for value in (
            found.equal_opportunity,
            found.equalized_odds_sum,
            found.equalized_odds_mean,
            found.equalized_odds_max,
        )
    )
    assert found.demographic_parity == pytest.approx(1 / 2 - 1 / 3)


def test_groups_that_are_not_there_are_left_out_and_one_group_has_no_gap():
    label, attribute = [1, 0, 1, 0, 1], [0, 0, 2, 2, 2]
    data = Dataset.of(torch.zeros(5, 1), label, attribute, n_attributes=3)
    found = rates(torch.tensor([1, 0, 0, 0, 1]), data)
    assert found.tpr[0::2] == (1.0, 0.5) and math.isnan(found.tpr[1])
    assert found.equalized_odds_sum == 0.5
    alone = rates(torch.tensor([1, 0]), data.take(torch.arange(2)))
    assert all(math.isnan(getattr(alone, name)) for name in GAPS)


@pytest.mark.parametrize("groups", [2, 4])
def test_gaps_are_those_of_the_metrics(groups):
    outputs, data = table(groups=groups)
    found = rates(outputs.argmax(1), data)
    theirs = metrics(sample_values(outputs, data), data, None, outputs=outputs)
    assert {name: getattr(found, name) for name in GAPS} == pytest.approx({name: theirs[name] for name in GAPS})


def test_gaps_agree_with_fairlearn_in_three_groups():
    from fairlearn import metrics as theirs

    outputs, data = table(groups=3)
    predicted = outputs.argmax(1)
    found = rates(predicted, data)
    a = data.attribute
    assert a is not None
    given: dict[str, Any] = {"y_true": data.label.numpy(), "y_pred": predicted.numpy(), "sensitive_features": a.numpy()}
    assert found.equalized_odds_max == pytest.approx(theirs.equalized_odds_difference(**given))
    assert found.equalized_odds_mean == pytest.approx(theirs.equalized_odds_difference(**given, agg="mean"))
    assert found.equal_opportunity == pytest.approx(theirs.equal_opportunity_difference(**given))
    assert found.demographic_parity == pytest.approx(theirs.demographic_parity_difference(**given))


# --- hardt ------------------------------------------------------------------------------------------------------------


def test_hardt_by_hand_where_one_group_is_better_in_every_way():
    # the common point is the worse group's own, (0.3, 0.7), on the better group's chord
    even = torch.tensor([1.0, 1.0])
    p = hardt(even, even, torch.tensor([0.9, 0.7]), torch.tensor([0.1, 0.3]), constraint=ODDS)
    torch.testing.assert_close(p, torch.tensor([[0.25, 0.0], [0.75, 1.0]], dtype=torch.float64))


def test_hardt_weighs_errors_by_how_many_there_are_and_not_by_rates():
    # hardly any negatives: saying yes to all errs less than either group's own predictions
    positives, negatives = torch.tensor([90.0, 90.0]), torch.tensor([1.0, 1.0])
    p = hardt(positives, negatives, torch.tensor([0.9, 0.7]), torch.tensor([0.1, 0.3]), constraint=ODDS)
    torch.testing.assert_close(p, torch.ones(2, 2, dtype=torch.float64))


@pytest.mark.parametrize("constraint", [ODDS, OPPORTUNITY])
@pytest.mark.parametrize("seed", range(6))
def test_hardt_errs_no_more_than_the_best_of_all_rules_on_a_grid(constraint, seed):
    g = generator(seed)
    tpr, fpr = torch.rand(2, 2, generator=g, dtype=torch.float64)
    positives, negatives = torch.randint(1, 50, (2, 2), generator=g).double()
    p = hardt(positives, negatives, tpr, fpr, constraint=constraint)
    assert ((p >= 0) & (p <= 1)).all()
    new_tpr, new_fpr = (p[1] * rate + p[0] * (1 - rate) for rate in (tpr, fpr))
    assert float(new_tpr[0] - new_tpr[1]) == pytest.approx(0, abs=1e-9)
    if constraint == ODDS:
        assert float(new_fpr[0] - new_fpr[1]) == pytest.approx(0, abs=1e-9)
    tpr, fpr, positives, negatives = (column.tolist() for column in (tpr, fpr, positives, negatives))
    ours = error(p.tolist(), positives, negatives, tpr, fpr)
    # every rule of the first group; of the second, all that meet the constraint
    grid = np.linspace(0, 1, 41)
    best = math.inf
    for one, zero in itertools.product(grid, grid):
        target_tpr = one * tpr[0] + zero * (1 - tpr[0])
        target_fpr = one * fpr[0] + zero * (1 - fpr[0])
        if constraint == ODDS:
            system = np.array([[tpr[1], 1 - tpr[1]], [fpr[1], 1 - fpr[1]]])
            others = [np.linalg.solve(system, [target_tpr, target_fpr])]
        else:
            others = [[x, (target_tpr - x * tpr[1]) / (1 - tpr[1])] for x in (*grid, min(target_tpr / tpr[1], 1.0))]
        for x, y in others:
            if -1e-9 <= x <= 1 + 1e-9 and -1e-9 <= y <= 1 + 1e-9:
                best = min(best, error([[zero, y], [one, x]], positives, negatives, tpr, fpr))
    assert ours <= best + 1e-9
    assert ours == pytest.approx(best, abs=0.02 * sum(positives + negatives))


def test_hardt_makes_many_groups_equal():
    outputs, data = table(900, groups=4)
    assert data.attribute is not None
    found = rates(fit_rule(outputs, data, ODDS, rule="hardt")(outputs, data.attribute), data)
    before = rates(outputs.argmax(1), data)
    assert before.equalized_odds_sum > 0.3
    assert found.equalized_odds_sum < 1e-9
    assert found.accuracy <= before.accuracy


# --- rules on samples -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", ["hardt", "scores"])
def test_where_it_was_fitted_odds_are_equal_and_accuracy_is_above_a_coins(rule):
    outputs, data = table(2000)
    assert data.attribute is not None
    before = rates(outputs.argmax(1), data)
    after = rates(fit_rule(outputs, data, ODDS, rule=rule)(outputs, data.attribute), data)
    assert before.equalized_odds_sum > 0.1
    assert after.equalized_odds_sum < (1e-9 if rule == "hardt" else 2e-3)  # of scores, on a grid of 1000
    assert after.accuracy > 0.6
    assert rule == "scores" or after.accuracy <= before.accuracy


def by_hand() -> tuple[Tensor, Dataset]:
    """Log-odds of ten samples. The line at 0 has 8 right, and one of the second group's two positives missed."""
    score = [-3.0, -2, 1, 3, 5, -3, -2, -1, 2, 4]
    label = [0, 0, 0, 1, 1, 0, 0, 1, 0, 1]
    data = Dataset.of(torch.zeros(10, 1), label, [0] * 5 + [1] * 5)
    return torch.tensor([[0.0, one] for one in score]), data


def test_one_threshold_by_hand():
    """Between 2 and 3 nobody is called positive wrongly, and the groups differ by one of two positives."""
    outputs, data = by_hand()
    assert data.attribute is not None
    before = rates(outputs.argmax(1), data)
    assert before.equalized_odds_sum == pytest.approx(0.5 + abs(1 / 3 - 1 / 3))
    after = rates(fit_rule(outputs, data, ODDS, rule="threshold", loss=0.2)(outputs, data.attribute), data)
    assert after.equalized_odds_sum <= before.equalized_odds_sum
    dear = rates(fit_rule(outputs, data, ODDS, rule="threshold", loss=1)(outputs, data.attribute), data)
    assert dear.equalized_odds_sum == 0  # nobody, or everybody, is called positive


@pytest.mark.parametrize("constraint", [ODDS, PARITY, "equal-opportunity"])
@pytest.mark.parametrize("loss", [0.0, 0.02, 0.1])
def test_one_threshold_is_the_most_equal_of_those_that_cost_no_more(constraint, loss):
    outputs, data = table(2000)
    assert data.attribute is not None
    score, gap = outputs[:, 1] - outputs[:, 0], constraint.replace("-", "_").replace("odds", "odds_sum")
    least = rates(outputs.argmax(1), data).accuracy - loss
    tried = [rates((score > line).double(), data) for line in score.sort().values[::50]]
    best = min((getattr(one, gap) for one in tried if one.accuracy >= least), default=torch.inf)
    rule = fit_rule(outputs, data, constraint, rule="threshold", loss=loss)
    found = rates(rule(outputs, data.attribute), data)
    assert found.accuracy >= least and getattr(found, gap) <= best + 0.02  # which lines are tried differs
    assert torch.equal(rule(outputs, data.attribute), rule(outputs, 1 - data.attribute)), "nobody's group is looked at"


def test_a_threshold_that_costs_more_than_there_is():
    outputs, data = table(200)
    with pytest.raises(UserError, match=r"a threshold may cost is 2; give a share from 0 to 1, such as 0\.02"):
        fit_rule(outputs, data, rule="threshold", loss=2)


def test_scores_lose_less_accuracy_than_classes_alone():
    outputs, data = table(2000)
    assert data.attribute is not None
    hard, soft = (
        rates(fit_rule(outputs, data, ODDS, rule=rule)(outputs, data.attribute), data).accuracy
        for rule in ("hardt", "scores")
    )
    assert soft >= hard


def test_hardt_errs_as_much_as_fairlearn_where_a_score_is_a_class():
    """With scores of 0 and 1 the two rules have the same choices, but flipping."""
    outputs, data = table(2000)
    assert data.attribute is not None
    hard = torch.nn.functional.one_hot(outputs.argmax(1), 2).float()
    ours, theirs = (
        rates(fit_rule(hard, data, ODDS, rule=rule)(hard, data.attribute), data) for rule in ("hardt", "scores")
    )
    assert ours.accuracy == pytest.approx(theirs.accuracy, abs=1e-3)
    assert ours.tpr == pytest.approx(theirs.tpr, abs=2e-3)


@pytest.mark.parametrize(
    ("constraint", "gap"),
    [(ODDS, "equalized_odds_sum"), (OPPORTUNITY, "equal_opportunity"), (PARITY, "demographic_parity")],
)
def test_the_chances_are_those_that_fairlearn_draws_with(constraint, gap):
    from fairlearn.postprocessing import ThresholdOptimizer
    from sklearn.linear_model import LogisticRegression

    outputs, data = table(1000)
    assert data.attribute is not None
    said: Any = {ODDS: "equalized_odds", OPPORTUNITY: "true_positive_rate_parity", PARITY: "demographic_parity"}[
        constraint
    ]
    x, y, a = (outputs[:, 1:] - outputs[:, :1]).double().numpy(), data.label.numpy(), data.attribute.numpy()
    theirs = ThresholdOptimizer(  # a regression with one rising coefficient has the same order
        estimator=LogisticRegression().fit(x, y), constraints=said, prefit=True, predict_method="decision_function"
    ).fit(x, y, sensitive_features=a)
    chance = fit_rule(outputs, data, constraint)(outputs, data.attribute)
    drawn = np.mean([theirs.predict(x, sensitive_features=a, random_state=k) for k in range(300)], 0)
    assert abs(chance.numpy() - drawn).max() < 0.12  # four deviations of the mean
    assert abs(chance.numpy() - drawn).mean() < 0.01
    assert getattr(rates(chance, data), gap) < 2e-3


def test_probabilities_that_are_1_are_still_told_apart():
    """In float32 the softmax of 20 and of 40 is the same; their order is not lost."""
    score = torch.tensor([20.0, 40.0] * 20)
    data = Dataset.of(torch.zeros(40, 1), [0, 1] * 20, [0] * 20 + [1] * 20)
    assert data.attribute is not None
    outputs = torch.stack([torch.zeros(40), score], 1)
    assert rates(fit_rule(outputs, data)(outputs, data.attribute), data).accuracy == 1


@pytest.mark.parametrize("rule", ["hardt", "scores"])
def test_a_named_group_without_samples_is_left_out(rule):
    outputs, data = table(300)
    wider = dataclasses.replace(
        data, info=dataclasses.replace(data.info, n_attributes=3, attribute_names=("a", "b", "c"))
    )
    assert wider.attribute is not None
    one, other = (fit_rule(outputs, d, rule=rule)(outputs, wider.attribute) for d in (data, wider))
    assert torch.equal(one, other)


# --- mistakes ---------------------------------------------------------------------------------------------------------


def test_mistakes_of_a_rule_are_said():
    outputs, data = table(40)
    with pytest.raises(UserError, match="unknown constraint 'equalised-odds': did you mean 'equalized-odds'"):
        fit_rule(outputs, data, "equalised-odds")
    with pytest.raises(UserError, match="unknown rule 'score': did you mean 'scores'"):
        fit_rule(outputs, data, rule="score")
    with pytest.raises(UserError, match=r"rule hardt makes rates .* equal, not demographic-parity; use rule scores"):
        fit_rule(outputs, data, PARITY, rule="hardt")


@pytest.mark.parametrize("rule", ["hardt", "scores"])
def test_samples_that_no_rule_can_be_fitted_on_are_refused(rule):
    outputs, data = table(40)
    assert data.attribute is not None

    def refuse(data: Dataset, what: str) -> None:
        with pytest.raises(UserError, match=what):
            fit_rule(outputs[: len(data)], data, rule=rule)

    refuse(dataclasses.replace(data, attribute=None), "needs the attribute of each validation sample, but scores has")
    refuse(data.take(data.attribute == 1), "all validation samples of scores have the attribute '1'; add samples")
    lonely = "no sample with the attribute '0' has the label '{}', so a rate is not defined"
    refuse(data.take((data.attribute == 1) | (data.label == 0)), lonely.format(1))
    refuse(data.take((data.attribute == 1) | (data.label == 1)), lonely.format(0))
    three = Dataset.of(torch.zeros(6, 1), [0, 1, 2] * 2, [0, 1] * 3, name="three")
    refuse(three, "post-processing is for two classes, but three has 3 classes")
    numbers = Dataset.of(torch.zeros(6, 1), torch.rand(6), [0, 1] * 3, name="numbers")
    refuse(numbers, "post-processing is for two classes, but numbers has targets that are numbers")


def test_without_fairlearn_it_says_what_to_install(monkeypatch):
    outputs, data = table(40)
    monkeypatch.setitem(sys.modules, "fairlearn.postprocessing", None)
    with pytest.raises(UserError, match=r'pip install "longcut\[fairness\]", or use rule hardt'):
        fit_rule(outputs, data)
    fit_rule(outputs, data, rule="hardt")


# --- runs -------------------------------------------------------------------------------------------------------------


def made(name: str, splits: Any, monkeypatch: pytest.MonkeyPatch, folder: Path, epochs: int = 2) -> runs.Run:
    """A run on these splits."""
    small = {"epochs": epochs, "batch": 16, "net": "mlp:hidden=4"}
    entry = entry_of(function=lambda *, seed=0: splits, training=small, options={})
    monkeypatch.setitem(DATASETS.own, name, entry)
    execute(plan(name, "erm"), folder / name)
    return runs.read(folder / name)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("rule", ["hardt", "scores"])
def test_a_run_is_judged_before_and_after_and_stays_as_it_is(rule, monkeypatch, tmp_path):
    splits = blobs()
    run = made("shapes", splits, monkeypatch, tmp_path)
    kept = files(tmp_path)
    found = longcut.postprocess(run, rule=rule, seed=3)
    assert files(tmp_path) == kept
    assert torch.equal(found.prediction, longcut.postprocess(run.folder, ODDS, rule=rule, seed=3).prediction)
    outputs, test = run.predictions()["outputs"], splits.test
    assert found.before.accuracy == pytest.approx(run.scores().values["average"])
    assert found.before == rates(outputs.argmax(1), test)
    assert found.after == rates(found.chance, test)
    sure = (found.chance == 0) | (found.chance == 1)
    assert torch.equal(found.prediction[sure].double(), found.chance[sure])
    assert splits.valid is not None
    net, _ = longcut_net(run)
    held = net(splits.valid.gather(torch.arange(len(splits.valid)))).detach()
    assert test.attribute is not None
    torch.testing.assert_close(found.chance, fit_rule(held, splits.valid, rule=rule)(outputs, test.attribute))


def longcut_net(run: runs.Run) -> Any:
    from longcut.deploy import load_net

    return load_net(run)


def test_drawn_predictions_follow_the_seed_and_the_chances(monkeypatch, tmp_path):
    parts = [table(120, seed=k) for k in range(3)]
    data = [Dataset.of(outputs, data.label, data.attribute, name="noisy") for outputs, data in parts]
    run = made("noisy", Splits(*data), monkeypatch, tmp_path, epochs=40)
    draws = [longcut.postprocess(run, rule="hardt", seed=seed) for seed in range(200)]
    assert any(not torch.equal(draws[0].prediction, one.prediction) for one in draws)
    assert all(one.after == draws[0].after for one in draws)
    mean = torch.stack([one.prediction for one in draws]).double().mean(0)
    torch.testing.assert_close(mean, draws[0].chance, atol=0.15, rtol=0)


def test_runs_that_cannot_be_made_equal_are_refused(monkeypatch, tmp_path):
    splits = blobs()
    none = made("alone", Splits(splits.train, None, splits.test), monkeypatch, tmp_path)
    with pytest.raises(UserError, match="is fitted on a validation set, but blobs has none; take data that has one"):
        longcut.postprocess(none)
    plain = bare()
    blind = made("blind", Splits(plain.train, plain.test, plain.test), monkeypatch, tmp_path)
    with pytest.raises(UserError, match="needs the attribute of each validation sample, but bare has none"):
        longcut.postprocess(blind)
    test_blind = dataclasses.replace(splits.test, attribute=None)
    half = made("half", Splits(splits.train, splits.valid, test_blind), monkeypatch, tmp_path)
    with pytest.raises(UserError, match="needs the attribute of each test sample, but blobs has none"):
        longcut.postprocess(half)
    three = Dataset.of(torch.rand(30, 4), torch.arange(30) % 3, torch.arange(30) % 2, name="three")
    run = made("three", Splits(three, three, three), monkeypatch, tmp_path)
    with pytest.raises(UserError, match="is for two classes, but three has 3 classes; take data with two"):
        longcut.postprocess(run)


def test_a_group_of_the_test_set_that_validation_lacks_is_refused(monkeypatch, tmp_path):
    attribute = torch.arange(60) % 3
    data = Dataset.of(torch.rand(60, 4), torch.arange(60) % 2, attribute, name="late", attribute_names=("x", "y", "z"))
    run = made("late", Splits(data, data.take(attribute < 2), data), monkeypatch, tmp_path)
    with pytest.raises(UserError, match="the test set of late has the attribute 'z', which its validation set has not"):
        longcut.postprocess(run)


def test_data_that_changed_is_refused(monkeypatch, tmp_path):
    run = made("shapes", blobs(), monkeypatch, tmp_path)
    monkeypatch.setitem(
        DATASETS.own,
        "shapes",
        entry_of(function=lambda *, seed=0: blobs(seed=9), training={}, options={}),
    )
    with pytest.raises(UserError, match=r"the data has changed since the run in .* was made"):
        longcut.postprocess(run)


@pytest.mark.parametrize("constraint", [ODDS, OPPORTUNITY, PARITY])
def test_the_command_prints_a_table_or_json(constraint, monkeypatch, tmp_path):
    monkeypatch.setenv("COLUMNS", "120")
    run = made("shapes", blobs(), monkeypatch, tmp_path)
    call = ["postprocess", str(run.folder), "--constraint", constraint, "--device", "cpu"]
    told = CliRunner().invoke(app, call)
    assert told.exit_code == 0, told.output
    for word in ("equalized odds sum", "tpr of 0", "fpr of 1", "selected of 1", f"{constraint} by rule scores"):
        assert word in told.stdout
    stored = json.loads(CliRunner().invoke(app, [*call, "--json"]).stdout)
    found = longcut.postprocess(run, constraint)
    assert stored == json.loads(json.dumps(found.to_dict()))
    assert stored["after"]["tpr"] == pytest.approx(found.after.tpr)


def test_the_command_says_mistakes_in_one_line(monkeypatch, tmp_path):
    run = made("shapes", blobs(), monkeypatch, tmp_path)
    told = CliRunner().invoke(app, ["postprocess", str(run.folder), "--rule", "coin"])
    assert told.exit_code == 2
    assert told.stderr == "longcut: unknown rule 'coin': Known: hardt, scores, threshold.\n"
