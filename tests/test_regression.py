"""Regression through the loop: standardised inside, its outputs in their own units; losses; old runs."""

from __future__ import annotations

import copy
import dataclasses
import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import context, unsealed
from safetensors.torch import load_file
from sklearn.metrics import r2_score
from test_contract import tiny_images

from longcut import runs
from longcut.cli import app
from longcut.context import Context
from longcut.data import Dataset, Info, Splits, balance, generator
from longcut.datasets import load
from longcut.deploy import export, load_exported, predict
from longcut.errors import UserError
from longcut.execute import execute
from longcut.files import to_json
from longcut.fit import fit
from longcut.losses import cross_entropy
from longcut.methods import build
from longcut.methods.erm import ERM
from longcut.nets import build as build_net
from longcut.plans import plan
from longcut.record import Plan, Record
from longcut.training import Training

QUICK = Training(epochs=4, batch=16, pool=1, lr=1e-2)
INFO = Info("table", (4,), 2, task="regression")


def of_targets(factor: float = 1.0, offset: float = 0.0, width: int = 1, n: int = 70, seed: int = 0) -> Dataset:
    """Targets that a line through the columns tells, in units of somebody's choice."""
    x = torch.randn(n, 4, generator=generator(seed, 2))
    label = torch.stack([x[:, k] + x[:, k + 1] for k in range(width)], 1)
    return Dataset.of(x, factor * label + offset, torch.arange(n) % 2, name="numbers")


def splits_of(**how: Any) -> Splits:
    return Splits(of_targets(**how), of_targets(**how, n=26, seed=1), of_targets(**how, n=40, seed=2))


def trained(splits: Splits, training: Training = QUICK, method: str = "erm", **how: Any) -> Any:
    return fit(build(method, splits.info, net="mlp:hidden=8"), splits, training, **how)


def outputs(fitted: Any, data: Dataset) -> torch.Tensor:
    return fitted.method(data.gather(torch.arange(len(data)))).detach()


# --- the net ----------------------------------------------------------------------------------------------------------


def test_a_net_of_targets_has_a_unit_and_one_of_classes_has_none():
    targets = build_net("mlp:hidden=8", INFO)
    classes = build_net("mlp:hidden=8", dataclasses.replace(INFO, task="classification"))
    features = build_net("mlp:hidden=8", INFO, 16)  # a net of something else
    assert targets.state_dict().keys() - classes.state_dict().keys() == {"shift", "scale"}
    assert classes.state_dict().keys() == features.state_dict().keys()
    assert classes.scale is features.scale is None
    values = torch.randn(3, 2)
    classes.standardize(values)
    assert classes.standardized(values) is values


def test_the_outputs_are_those_of_the_head_times_scale_plus_shift():
    net, x = build_net("mlp:hidden=8", INFO), torch.randn(5, 4)
    plain = net(x)
    assert torch.equal(plain, net.head(net.features(x))), "until targets are known"
    target = torch.tensor([[1.0, 100.0], [3.0, 100.0], [8.0, 100.0]])
    net.standardize(target)
    scale, shift = [(26 / 3) ** 0.5, 1.0], [4.0, 100.0]  # of a target that never changes, 1
    torch.testing.assert_close(net(x), plain * torch.tensor(scale) + torch.tensor(shift))
    torch.testing.assert_close(net.standardized(net(x)), plain, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(net.standardized(target).mean(0), torch.zeros(2))


@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_state_without_units_is_read_as_one_that_had_none(prefix):
    net = build_net("mlp:hidden=8", INFO)
    old = {prefix + key: value for key, value in net.state_dict().items() if key not in ("shift", "scale")}
    again = build_net("mlp:hidden=8", INFO)
    again.standardize(torch.tensor([[1.0, 100.0], [3.0, 200.0]]))
    holder = torch.nn.ModuleDict({"module": again}) if prefix else again
    holder.load_state_dict(old)
    x = torch.randn(5, 4)
    assert torch.equal(again(x), net(x))


# --- the loop ---------------------------------------------------------------------------------------------------------


def test_what_is_learned_does_not_depend_on_the_units():
    """To factors that are powers of two, not even in the last bit; the loss is that of standardised targets."""
    plain, other = splits_of(), splits_of(factor=1024.0)
    one, two = trained(plain), trained(other)
    assert [row["loss"] for row in one.history] == pytest.approx([row["loss"] for row in two.history], rel=1e-5)
    torch.testing.assert_close(1024 * outputs(one, plain.test), outputs(two, other.test), rtol=1e-4, atol=0.1)
    shifted = splits_of(factor=1024.0, offset=5000.0)
    torch.testing.assert_close(
        outputs(two, other.test) + 5000, outputs(trained(shifted), shifted.test), rtol=1e-3, atol=5.0
    )


@pytest.mark.parametrize("average", [0.0, 0.8])
def test_outputs_weights_and_the_average_are_in_the_targets_units(average):
    splits = splits_of(factor=300.0, offset=7000.0, width=2)
    fitted = trained(splits, dataclasses.replace(QUICK, epochs=20, average=average))
    label = splits.train.label.double()
    torch.testing.assert_close(fitted.method.net.shift, label.mean(0).float())
    torch.testing.assert_close(fitted.method.net.scale, label.std(0, correction=0).float())
    error = outputs(fitted, splits.test) - splits.test.label
    assert float(error.square().mean()) < 0.3 * float(splits.test.label.var())
    assert fitted.history[-1]["test"]["average"] == pytest.approx(float(error.square().mean()), rel=1e-4)


def test_without_standardizing_the_loss_is_that_of_the_numbers_themselves():
    splits = splits_of(factor=3.0, offset=5.0)
    training = dataclasses.replace(QUICK, epochs=1, batch=70, standardize=False)
    method = build("erm", splits.info, net="mlp:hidden=8")
    before = method(splits.train.gather(torch.arange(70))).detach()
    fitted = fit(method, splits, training)
    assert fitted.history[0]["loss"] == pytest.approx(float((before - splits.train.label).square().mean()), rel=1e-5)
    assert torch.equal(fitted.method.net.standardized(splits.test.label), splits.test.label)


def test_a_helper_is_standardised_too():
    seen = []

    class Helped(ERM):
        name = "helped"

        def prepare(self, train, fit):
            seen.append(fit(ERM(self.make_net, self.info), train, epochs=2))
            return train

    splits = splits_of(factor=300.0, offset=7000.0)
    fit(Helped(lambda: build_net("mlp:hidden=8", splits.info), splits.info), splits, QUICK)
    torch.testing.assert_close(seen[0].net.shift, splits.train.label.mean(0))


def test_a_constant_target_is_learned_and_has_no_r2():
    x = torch.randn(20, 4, generator=generator(0))
    data = Dataset.of(x, torch.full((20,), 0.1), name="constant")
    fitted = trained(Splits(data, None, data), dataclasses.replace(QUICK, epochs=60))
    assert fitted.method.net.scale.tolist() == [1.0]
    torch.testing.assert_close(outputs(fitted, data), data.label, atol=0.05, rtol=0)


def test_targets_that_are_not_finite_are_refused():
    with pytest.raises(UserError, match=r"prices: label of row 1 holds a value that is not finite .*impute or drop"):
        Dataset.of(torch.rand(3, 2), [0.5, float("nan"), 1.5], name="prices")


# --- selection --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("metric", "pick"), [("rmse", min), ("worst_group_rmse", min), ("worst_fifth_rmse", min), ("r2", max)]
)
def test_the_epoch_that_is_best_by_a_metric_of_numbers(metric, pick):
    """A learning rate this large makes the best epoch another one than the last."""
    splits = splits_of(factor=20.0)
    fitted = trained(splits, dataclasses.replace(QUICK, epochs=8, lr=0.5), select=f"best:{metric}")
    values = [row["valid"][metric] for row in fitted.history]
    assert fitted.epoch == values.index(pick(values)) + 1
    assert fitted.epoch not in (1, 8), "there is something to choose"


def test_a_constant_validation_target_has_no_r2_to_select_by():
    flat = dataclasses.replace(of_targets(), label=torch.full((70, 1), 3.0))
    with pytest.raises(UserError, match="cannot select by r2: it is not defined on the valid set of numbers"):
        trained(Splits(of_targets(), flat, flat), select="best:r2")


# --- the loss ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["erm", "mixup", "cvar-dro"])
def test_the_loss_of_the_run_is_taken_in_standardised_units(method):
    data = of_targets(factor=50.0, offset=900.0)
    model = build(method, data.info, net="mlp:hidden=8")
    model.net.standardize(data.label)
    given = []

    def note(output, label):
        given.append((output, label))
        return (output - label).abs().mean(1)

    model.on_epoch(Context(generator(0), data, loss=note))
    model.loss(model.on_pool(data.batch(torch.arange(70))))
    output, label = given[0]
    torch.testing.assert_close(label.mean(0), torch.zeros(1), atol=1e-5, rtol=0)
    torch.testing.assert_close(label.std(0, correction=0), torch.ones(1))
    assert float(output.detach().abs().max()) < 10


def test_a_quantile_is_learned():
    """Nothing tells the samples apart, so the best that can be said of them is the quantile itself."""
    x, label = torch.zeros(101, 1), torch.arange(101).float() ** 2
    data = Dataset.of(x, label, name="squares")
    how = Training(epochs=150, batch=101, pool=1, lr=0.02)
    for spec, expected in (("quantile:level=0.9", 90.0**2), ("absolute", 50.0**2), ("squared", 3350.0)):
        fitted = trained(Splits(data, None, data), dataclasses.replace(how, loss=spec))
        assert float(outputs(fitted, data)[0]) == pytest.approx(expected, rel=0.05), spec


def test_huber_counts_in_deviations():
    """Its delta is given in standardised units, so a change of units changes nothing."""
    losses = []
    for factor in (1.0, 1024.0):
        splits = splits_of(factor=factor)
        losses.append(
            [row["loss"] for row in trained(splits, dataclasses.replace(QUICK, loss="huber:delta=0.5")).history]
        )
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert losses[0] != pytest.approx([row["loss"] for row in trained(splits_of()).history], rel=1e-2)


def test_classes_have_the_cross_entropy_and_no_other():
    data = tiny_images(70, 0)
    model = build("erm", data.info, net="mlp:hidden=8")
    model.on_epoch(context(data))
    logits, label = torch.randn(7, 2), torch.arange(7) % 2
    assert torch.equal(model.per_sample_loss(logits, label), cross_entropy(logits, label))
    with pytest.raises(UserError, match=r"loss=absolute is of targets that are numbers, but tiny images has classes"):
        fit(model, Splits(data, None, data), Training(epochs=1, loss="absolute"))


def test_a_plan_refuses_a_loss_that_is_not_known():
    with pytest.raises(UserError, match="loss 'hubert'"):
        plan("colored-digits", "erm:loss=hubert")
    assert plan("colored-digits", "erm:loss=huber:delta=2").training.loss == "huber:delta=2"


# --- old runs ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("task", "expected"), [("regression", False), ("classification", True)])
def test_a_regression_from_before_it_was_standardised_says_so(task, expected):
    old = Record(2, "done", Plan("toy", 0, "erm", "erm", {}, "mlp", Training(), 0, "last"), "f", {}, task=task)
    stored = json.loads(to_json(old.to_dict()))
    new = copy.deepcopy(stored)
    del stored["plan"]["training"]["standardize"], stored["plan"]["training"]["loss"]
    training = Record.from_dict(stored).plan.training
    assert (training.standardize, training.loss) == (expected, "squared")
    assert Record.from_dict(new).plan.training == Training()


def test_an_interrupted_run_from_before_goes_on_as_it_was():
    splits = splits_of(factor=30.0)
    states: dict[int, Any] = {}
    from longcut.context import calling

    keep = calling(on_epoch=lambda epoch: states.update({epoch.epoch: copy.deepcopy(epoch.state())}))
    how = dataclasses.replace(QUICK, standardize=False, average=0.5)
    whole = trained(splits, how, observers=[keep], select="best:average")
    old = states[2]
    for part in (old["method"], old["average"], old["best"]["net"]):
        for name in [name for name in part if name.endswith(("shift", "scale"))]:
            del part[name]
    resumed = trained(splits, dataclasses.replace(how, standardize=True), state=old, select="best:average")
    assert torch.equal(outputs(whole, splits.test), outputs(resumed, splits.test))


@pytest.mark.parametrize("saved", [True, False])
def test_the_record_of_an_interrupted_run_from_before_says_what_was_done(saved, tmp_path):
    rows, folder = frame(), tmp_path / "run"
    rows.to_csv(tmp_path / "prices.csv", index=False)
    data, loop = f"table:path={tmp_path / 'prices.csv'},label=price", {"epochs": 4, "net": "mlp:hidden=8"}
    now, before = plan(data, "erm", settings=loop), plan(data, "erm", settings=loop | {"standardize": False})
    whole = execute(before, tmp_path / "whole")

    def stop_after(number: int) -> Any:
        def progress(epoch: Any) -> None:
            if epoch.epoch == number:
                raise KeyboardInterrupt

        return progress

    with pytest.raises(KeyboardInterrupt):
        execute(before, folder, stop_after(1))
    # the folder as it was written then: neither the plan nor the weights know of the option
    stored = unsealed(folder / "run.json")
    del stored["plan"]["training"]["standardize"]
    (folder / "run.json").write_text(json.dumps(stored))
    state = torch.load(folder / "resume.pt", weights_only=True)
    for name in ("net.shift", "net.scale"):
        del state["method"][name]
    torch.save(state, folder / "resume.pt")
    if not saved:  # killed in its first epoch: it begins anew, as runs do today
        (folder / "resume.pt").unlink()
    for number in (2, 3):  # what is saved now knows of the option
        with pytest.raises(KeyboardInterrupt):
            execute(now, folder, stop_after(number))
    record = execute(now, folder)
    assert record.plan.training.standardize is not saved
    assert runs.read(folder).record.plan.training.standardize is not saved
    same = record.scores.test.values == whole.scores.test.values
    assert same is saved


# --- a numeric attribute ----------------------------------------------------------------------------------------------


def frame(n: int = 120) -> pd.DataFrame:
    draw = np.random.default_rng(0)
    age = draw.uniform(20, 80, n)
    return pd.DataFrame({"a": draw.normal(size=n), "age": age, "price": age / 9 + draw.normal(size=n)})


@pytest.mark.parametrize("kind", ["table", "arrays"])
def test_a_numeric_attribute_in_ranges_from_files_to_the_worst_group(kind, tmp_path):
    rows = frame()
    path = tmp_path / ("prices.csv" if kind == "table" else "prices.npz")
    if kind == "table":
        rows.to_csv(path, index=False)
    else:
        np.savez(path, x=rows[["a"]].to_numpy(), label=rows["price"].to_numpy(), age=rows["age"].to_numpy())
    label = "label=price," if kind == "table" else ""
    splits = load(f"{kind}:path={path},{label}attribute=age,attribute_bins=3")
    assert splits.info.n_attributes == 3
    ages = rows["age"].to_numpy()[splits.train.index.numpy()]
    by_range = [ages[splits.train.attribute.numpy() == one] for one in range(3)]  # type: ignore[union-attr]
    assert by_range[0].max() <= by_range[1].min() and by_range[1].max() <= by_range[2].min()
    assert all("–" in name for name in splits.info.attribute_names)
    test = trained(splits).history[-1]["test"]
    assert test["worst_group_rmse"] > test["rmse"] > 0
    again = load(f"{kind}:path={path},{label}attribute=age,attribute_bins=2")
    assert again.info.n_attributes == 2


def test_targets_of_several_numbers_from_a_file_to_new_predictions(tmp_path):
    data = of_targets(factor=300.0, offset=7000.0, width=2, n=150)
    label = data.label.round().numpy()  # whole numbers, but two for each sample: no classes
    np.savez(tmp_path / "data.npz", x=data.x.numpy(), y=label, side=data.attribute.numpy())  # type: ignore[union-attr]
    spec = f"arrays:path={tmp_path / 'data.npz'},attribute=side"
    record = execute(plan(spec, "erm", settings={"epochs": 30, "lr": 0.01, "net": "mlp:hidden=8"}), tmp_path / "run")
    run = runs.read(tmp_path / "run")
    test = load(spec, 0).test
    kept = run.predictions()["outputs"]
    assert record.scores.test.values["r2"] == pytest.approx(r2_score(test.label, kept), rel=1e-5) and kept.shape[1] == 2
    assert record.scores.test.values["r2"] > 0.5
    assert set(run.weights()) >= {"shift", "scale"}
    for name in ("data.npz", "new.npz"):
        found = predict(run, tmp_path / name)
        told = ["prediction 0", "prediction 1", *(["label 0", "label 1"] if name == "data.npz" else [])]
        assert list(found.columns) == ["name", *told]
        rows = found.set_index("name").loc[test.index.numpy(), ["prediction 0", "prediction 1"]]
        np.testing.assert_allclose(rows, kept, rtol=1e-5)
        np.savez(tmp_path / "new.npz", x=data.x.numpy())
    net = load_exported(export(run, "safetensors"))[0]
    torch.testing.assert_close(net(test.gather(torch.arange(len(test)))).detach(), kept, rtol=1e-5, atol=1e-2)


@pytest.mark.parametrize("shape", [(9, 2, 2), (8, 2)])
def test_targets_of_another_shape(shape, tmp_path):
    np.savez(tmp_path / "data.npz", x=np.zeros((9, 4)), y=np.zeros(shape))
    with pytest.raises(UserError, match=r"'y' is float64 of shape .*; give one number or text for each of the 9"):
        load(f"arrays:path={tmp_path / 'data.npz'}")


def test_ranges_without_an_attribute_are_refused():
    with pytest.raises(UserError, match=r"attribute_bins=3 cuts an attribute, but none is named; name one"):
        Dataset.from_table(frame(), label="price", attribute_bins=3)


def test_ranges_are_a_flag_of_the_command_line(tmp_path, capsys):
    frame().to_csv(tmp_path / "prices.csv", index=False)
    given = ["--label", "price", "--attribute", "age", "--attribute-bins", "3", "--epochs", "1", "-m", "erm", "--json"]
    with pytest.raises(SystemExit) as done:
        app(["train", str(tmp_path / "prices.csv"), *given, "--out", str(tmp_path / "run")])
    assert done.value.code == 0
    record = json.loads(capsys.readouterr().out)
    assert "attribute_bins=3" in record["plan"]["data"]
    assert len(record["scores"]["test"]["groups"]) == 3


# --- methods ----------------------------------------------------------------------------------------------------------


def uneven(factor: float = 100.0) -> Dataset:
    """Three values of the attribute, of 8, 24 and 32 samples; in the first the target is far from the line."""
    attribute = torch.tensor([0] * 8 + [1] * 24 + [2] * 32)
    data = of_targets(factor=factor, n=64)
    label = data.label + factor * 5 * (attribute == 0)[:, None]
    return Dataset.of(data.x, label, attribute, name="uneven")


def made(name: str, data: Dataset, **options: Any) -> Any:
    method = build(name, data.info, net="linear", options=options)
    method.context = context(data)
    method.prepare(data, None)  # type: ignore[arg-type]
    method.net.standardize(data.label)
    return method


def standardised(method: Any, batch: Any, data: Dataset) -> torch.Tensor:
    """The squared error of each sample in deviations of the target."""
    return ((method(batch.x) - batch.label) / data.label.std(correction=0)).square()[:, 0]


@pytest.mark.parametrize(("how", "expected"), [("repeat", [64 / 3] * 3), ("subsample", [8, 8, 8])])
def test_a_regression_is_resampled_by_its_attribute(how, expected):
    data = uneven()
    method = build("resample", data.info, net="linear", options={"by": "group", "how": how})
    method.context = context(data)
    drawn: Any = method.epoch_data(method.prepare(data, None))  # type: ignore[arg-type]
    assert torch.bincount(drawn.attribute).tolist() == pytest.approx(expected, abs=1)


def test_a_regression_is_reweighted_by_its_attribute():
    data = uneven()
    method = made("reweight", data, by="group")
    size = torch.tensor([8.0, 24.0, 32.0])
    weight = 3 / size / (1 / size).sum()
    batch = data.batch(torch.arange(0, 64, 5))
    expected = (weight[batch.attribute] * standardised(method, batch, data)).mean()
    torch.testing.assert_close(method.loss(batch)[0], expected)


def test_group_dro_follows_the_value_of_the_attribute_that_loses_most():
    data = uneven()
    method = made("group-dro", data, step=0.5, balanced=False)
    assert method.weights.q.tolist() == pytest.approx([1 / 3] * 3)
    batch = data.batch(torch.arange(64))
    loss = standardised(method, batch, data).detach()
    mean = torch.stack([loss[data.attribute == a].mean() for a in range(3)])
    q = torch.exp(0.5 * mean) / torch.exp(0.5 * mean).sum()
    torch.testing.assert_close(method.loss(batch)[0].detach(), q @ mean)
    torch.testing.assert_close(method.weights.q, q)


@pytest.mark.parametrize("factor", [1.0, 1e5])
def test_jtt_repeats_the_samples_that_its_helper_loses_most_on(factor):
    """Those far from the line, whatever the unit."""
    data = uneven(factor)
    options = {"worst": 8 / 64, "helper_epochs": 30, "helper_lr": 0.02, "record": "evaluated", "upweight": 3}
    method: Any = build("jtt", data.info, net="linear", options=options)
    fit(method, Splits(data, None, data), QUICK)
    assert method.chosen.nonzero().flatten().tolist() == list(range(8))
    assert torch.bincount(method.epoch_data(data).attribute).tolist() == [32, 24, 32]


def test_jtt_reads_the_record_of_a_run(tmp_path):
    frame().to_csv(tmp_path / "prices.csv", index=False)
    spec = f"table:path={tmp_path / 'prices.csv'},label=price,attribute=age,attribute_bins=2"
    execute(plan(spec, "erm:record=online", settings={"epochs": 2, "net": "mlp:hidden=8"}), tmp_path / "erm")
    jtt = plan(spec, "jtt", settings={"identify": str(tmp_path / "erm"), "epochs": 1, "net": "mlp:hidden=8"})
    execute(jtt, tmp_path / "jtt")
    kept = load_file(tmp_path / "jtt" / "identification.safetensors")
    loss = load_file(tmp_path / "erm" / "identification.safetensors")["loss"][-1]
    worst = loss[kept["chosen"]]
    assert len(worst) == round(0.2 * len(kept["index"]))
    assert worst.min() >= loss[~kept["chosen"]].nan_to_num(0).max()


def test_umix_weighs_by_how_often_a_sample_was_among_those_that_lose_most():
    data = uneven()
    options = {"helper_epochs": 4, "eta": 3.0, "worst": 0.25, "record": "evaluated"}
    method: Any = build("umix", data.info, net="linear", options=options)
    fit(method, Splits(data, None, data), QUICK)
    times = torch.zeros(64)
    for loss in method.trajectory.loss:
        times += loss >= loss.sort(descending=True).values[15]
    torch.testing.assert_close(method.weight, 3.0 * times / 4 + 1)


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("resample", {}, "resample by class needs classes, but uneven is regression; use by=group"),
        ("reweight", {}, "reweight by class needs classes, but uneven is regression; use by=group"),
        (
            "jtt",
            {"identify": "oracle"},
            "jtt with identify=oracle needs classes, .* but uneven is regression; use",
        ),
    ],
)
def test_options_that_need_classes(method, options, message):
    with pytest.raises(UserError, match=message):
        build(method, uneven().info, net="linear", options=options)


def test_classes_of_a_regression_cannot_be_balanced():
    with pytest.raises(UserError, match="are no classes, so they cannot be balanced; balance its groups, by=group"):
        balance(uneven(), "class", generator(0))
