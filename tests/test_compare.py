from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from longcut import compare as library
from longcut import runs
from longcut.compare import (
    Plan,
    compare,
    execute,
    folder_name,
    parse_method,
    plan,
    rescore,
    split_methods,
    summary,
    table,
)
from longcut.data import Dataset, Splits, generator
from longcut.datasets import DATASETS
from longcut.errors import UserError
from longcut.fit import Training
from longcut.methods import METHODS
from longcut.methods.base import Recipe
from longcut.spec import options_of


def blobs(*, seed: int = 0) -> Splits:
    """Two classes of 4-vectors with an attribute; nothing to download, milliseconds to learn."""

    def draw(n: int, number: int) -> Dataset:
        label = torch.arange(n) % 2
        x = torch.randn(n, 4, generator=generator(seed, number)) + label[:, None]
        return Dataset.of(x, label, (label + (torch.arange(n) % 5 == 0)) % 2, name="blobs", aligned=(0, 1))

    return Splits(draw(40, 0), draw(20, 1), draw(20, 2))


def bare(*, seed: int = 0) -> Splits:
    """The same without an attribute."""
    data = Dataset.of(torch.randn(20, 4, generator=generator(seed)), torch.arange(20) % 2, name="bare")
    return Splits(data, None, data)


@pytest.fixture(autouse=True)
def small_data(monkeypatch: pytest.MonkeyPatch) -> None:
    small = {"epochs": 2, "batch": 16, "net": "mlp:hidden=4"}
    monkeypatch.setitem(DATASETS.own, "blobs", SimpleNamespace(function=blobs, training=small, options={}))
    monkeypatch.setitem(DATASETS.own, "bare", SimpleNamespace(function=bare, training=small, options={}))


def without_time(value):
    if isinstance(value, Mapping):
        return {key: without_time(item) for key, item in value.items() if key != "seconds"}
    return [without_time(item) for item in value] if isinstance(value, list) else value


# --- plans ------------------------------------------------------------------------------------------------------------


def test_each_source_overrides_those_before_it(monkeypatch: pytest.MonkeyPatch):
    erm = METHODS["erm"]
    assert plan("colored-mnist", "erm").training.lr == DATASETS["colored-mnist"].training["lr"]
    sources = {"batch": 1, "pool": 2, "lr": 3.0, "epochs": 4, "every": 5, "net": "mlp:hidden=1"}

    def source(number: int) -> dict[str, object]:
        """Says all but the first ``number`` settings, with a value of its own."""
        kept = list(sources.items())[number:]
        return {key: f"mlp:hidden={number}" if key == "net" else value + 10 * number for key, value in kept}

    recipe = {key: value for key, value in source(2).items() if key != "net"}
    monkeypatch.setitem(DATASETS.own, "blobs", SimpleNamespace(function=blobs, training=source(0), options={}))
    monkeypatch.setattr(erm, "training_defaults", source(1))
    monkeypatch.setattr(erm, "recipes", {"paper": Recipe("why", {}, recipe, "mlp:hidden=2")})
    settings = {key: str(value) for key, value in source(3).items()}
    found = plan("blobs", "erm@paper:every=45,net=mlp:hidden=4", settings=settings)
    assert found.training == Training(batch=1, pool=12, lr=23.0, epochs=34, every=45)
    assert found.net == "mlp:hidden=4"
    assert plan("blobs", "erm@paper", settings=settings).net == "mlp:hidden=3"
    assert plan("blobs", "erm@paper").net == "mlp:hidden=2"
    assert plan("blobs", "erm").net == "mlp:hidden=1"
    assert plan("blobs", "erm").training == Training(batch=1, pool=12, lr=13.0, epochs=14, every=15)
    assert plan("blobs", "lff").training == Training(batch=1, pool=2, lr=3.0, epochs=4, every=5)


def test_options_are_kept_where_they_differ_from_the_default():
    found = plan("blobs", "lff:q=0.7,decay=0.5", settings={"scale": "code", "epochs": 9})
    assert found.options == {"decay": 0.5, "scale": "code"}
    assert found.training.epochs == 9
    assert plan("blobs", "lff@paper").options == {"scale": "code"}
    assert plan("blobs", "lff@paper:scale=paper").options == {}


def test_a_plan_says_everything():
    found = plan("colored-digits:ratio=0.05", "erm", seed=3, select="best:worst_group", label="baseline")
    assert (found.data, found.label, found.select) == ("colored-digits", "baseline", "best:worst_group")
    assert (found.seed, found.data_seed) == (3, 3), "a seed also draws the data"
    assert plan("blobs", seed=3, data_seed=0).data_seed == 0
    assert json.loads(json.dumps(found.to_dict()))["training"] == dataclasses.asdict(found.training)


@pytest.mark.parametrize("name", METHODS)
def test_no_option_of_a_method_is_called_like_a_training_setting(name: str):
    options = {option.name for option in options_of(METHODS[name].__init__)}
    assert not options & {"net", *(field.name for field in dataclasses.fields(Training))}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"data": "blops"}, "unknown data set 'blops': did you mean 'blobs'"),
        ({"data": "colored-digits:ratio=2"}, "colored-digits: ratio=2 is not allowed; give a number from 0 to 0.9"),
        ({"method": "slecmix"}, "unknown method 'slecmix': did you mean 'selecmix'"),
        ({"method": "lff@papr"}, "unknown recipe of lff 'papr': did you mean 'paper'"),
        ({"method": "lff:decai=1"}, "unknown setting of lff 'decai': did you mean 'decay'"),
        ({"method": "lff:q=2"}, "method 'lff': q=2 is not allowed; give a number above 0"),
        ({"settings": {"epoch": 1}}, "unknown setting of erm 'epoch': did you mean 'epochs'"),
        ({"settings": {"lr": "fast"}}, "training: lr=fast is not allowed; give a number above 0"),
        ({"select": "first"}, "selection rule 'first' is not known"),
    ],
)
def test_what_a_plan_refuses(arguments: dict, message: str):
    with pytest.raises(UserError) as caught:
        plan(**{"data": "blobs", **arguments})
    assert str(caught.value).startswith(message)


def test_method_specs():
    assert parse_method("erm") == ("erm", None, {})
    assert parse_method(" lff@paper : q = 0.5 , lr=1 ") == ("lff", "paper", {"q": "0.5", "lr": "1"})
    assert split_methods("erm, lff:q=1,net=mlp:hidden=8,selecmix@paper,erm") == [
        "erm",
        "lff:q=1,net=mlp:hidden=8",
        "selecmix@paper",
    ]
    for spec, what in (("lff:q", "'q' in method 'lff:q' is not key=value"), ("lff:q=1,q=2", "'q=2' in .* given twice")):
        with pytest.raises(UserError, match=f"{what}; write lff:key=value"):
            parse_method(spec)


def test_folders_are_called_after_label_and_seed():
    assert folder_name(plan("blobs", "erm", seed=2)) == "erm-s2"
    assert folder_name(plan("blobs", "lff@paper")) == "lff@paper-s0"
    names = {folder_name(plan("blobs", spec)) for spec in ("lff:q=0.5", "lff:q=0.6", "lff")}
    assert len(names) == 3
    assert all(name.startswith("lff-") for name in names)
    assert folder_name(plan("blobs", "lff", label="LfF, ../ours!")).startswith("lff-")


# --- one run ----------------------------------------------------------------------------------------------------------


def test_a_run_is_recorded(tmp_path: Path):
    seen = []
    chosen = plan("blobs", "lff", select="best:average", settings={"epochs": 9, "lr": 0.05})
    record = execute(chosen, tmp_path / "run", lambda epoch: seen.append(epoch.epoch))
    run = runs.read(tmp_path / "run")
    assert seen == list(range(1, 10)) == [row["epoch"] for row in run.history()]
    assert record == run.record
    assert record["plan"] == json.loads(json.dumps(chosen.to_dict()))
    assert record["parameters"] == (4 * 4 + 4) + (4 * 2 + 2), "of the network that is used"
    valid = [row["valid"]["average"] for row in run.history()]
    assert record["epoch"] == 1 + valid.index(max(valid))
    test = [row["test"]["average"] for row in run.history()]
    assert len(set(valid)) > 1 < len(set(test))
    assert record["best"] == {"epoch": 1 + test.index(max(test)), "average": max(test)}
    assert record["seconds"] == pytest.approx(sum(row["seconds"] for row in run.history()))
    predictions, data = run.predictions(), blobs(seed=0).test
    right = (predictions["outputs"].argmax(1) == data.label).double().mean()
    assert record["scores"]["test"]["values"]["average"] == pytest.approx(float(right)) == test[record["epoch"] - 1]
    assert torch.equal(predictions["label"], data.label)
    assert data.attribute is not None
    assert torch.equal(predictions["attribute"], data.attribute)
    assert torch.equal(predictions["index"], data.index)
    assert run.gallery()[1]["dataset"] == "blobs"
    assert run.gallery()[0]["embedding"].shape == (40, 4)


def test_seeds_draw_the_data_and_can_be_told_not_to(tmp_path: Path):
    prints = {
        (seed, data_seed): execute(plan("blobs", seed=seed, data_seed=data_seed))["fingerprint"]
        for seed, data_seed in ((0, None), (1, None), (1, 0))
    }
    assert prints[0, None] == prints[1, 0] != prints[1, None]


def test_what_is_done_is_not_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    first = execute(plan("blobs"), tmp_path / "run")
    monkeypatch.setattr(library, "load", lambda *_: pytest.fail("the data was loaded again"))
    assert execute(plan("blobs"), tmp_path / "run") == first


def test_without_a_folder_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert execute(plan("blobs"))["status"] == "done"
    assert not list(tmp_path.iterdir())


def interrupt_at(number: int):
    def progress(epoch) -> None:
        if epoch.epoch == number:
            raise KeyboardInterrupt

    return progress


@pytest.mark.parametrize("method", ["erm", "lff", "selecmix", "resample"])
def test_an_interrupted_run_ends_as_if_nothing_had_happened(method: str, tmp_path: Path):
    chosen = plan("blobs", method, settings={"epochs": 5, "average": 0.5}, select="best:average")
    whole = execute(chosen, tmp_path / "whole")
    for number in (2, 3):
        with pytest.raises(KeyboardInterrupt):
            execute(chosen, tmp_path / "parts", interrupt_at(number))
        assert runs.read(tmp_path / "parts").record["status"] == "running"
    assert without_time(execute(chosen, tmp_path / "parts")) == without_time(whole)
    for name in ("weights", "predictions", "gallery"):
        parts, wholes = ((tmp_path / f / f"{name}.safetensors").read_bytes() for f in ("parts", "whole"))
        assert parts == wholes
    assert without_time(runs.read(tmp_path / "parts").history()) == without_time(
        runs.read(tmp_path / "whole").history()
    )


def break_loss(monkeypatch: pytest.MonkeyPatch, epoch: int, name: str = "erm", seed: int | None = None) -> None:
    cls = METHODS[name]
    real = cls.loss

    def on_epoch(self, number, epochs):
        self.number = number + 1

    def loss(self, batch):
        value, logs = real(self, batch)
        chosen = seed is None or self.generator.initial_seed() == generator(seed, self.number - 1, 1).initial_seed()
        return value * (math.nan if chosen and self.number == epoch else 1), logs

    monkeypatch.setattr(cls, "on_epoch", on_epoch)
    monkeypatch.setattr(cls, "loss", loss)


def test_a_loss_that_is_no_number_keeps_the_last_good_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    chosen = plan("blobs", settings={"epochs": 5})
    with monkeypatch.context() as patch:
        break_loss(patch, epoch=4)
        with pytest.raises(UserError) as caught:
            execute(chosen, tmp_path / "run")
    assert "stopped being a finite number in epoch 4, step 1 of 3" in str(caught.value)
    assert str(caught.value).endswith(f"; the run up to epoch 3 is kept in {tmp_path / 'run'}.")
    assert without_time(execute(chosen, tmp_path / "run")) == without_time(execute(chosen))


def test_a_mistake_leaves_no_folder(tmp_path: Path):
    with pytest.raises(UserError, match="lisa needs the attribute"):
        execute(plan("bare", "lisa"), tmp_path / "run")
    with pytest.raises(UserError, match="unknown net 'mpl': did you mean 'mlp'"):
        execute(plan("blobs", settings={"net": "mpl"}), tmp_path / "run")
    assert not list(tmp_path.iterdir())


def test_a_run_is_judged_on_other_data(tmp_path: Path):
    record = execute(plan("blobs", seed=4), tmp_path / "run")
    run = runs.read(tmp_path / "run")
    assert json.loads(runs.to_json(rescore(run, "blobs").to_dict())) == record["scores"]["test"]
    elsewhere = rescore(run, "bare")
    assert elsewhere.n == 20
    assert math.isnan(elsewhere.values["conflicting"])
    for data, what in (("colored-digits", r"samples of shape \(4,\), but colored-digits has \(3, 8, 8\)"),):
        with pytest.raises(UserError, match=what):
            rescore(run, data)


def test_other_data_with_other_classes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def three(*, seed: int = 0) -> Splits:
        data = Dataset.of(torch.zeros(6, 4), torch.arange(6) % 3)
        return Splits(data, None, data)

    monkeypatch.setitem(DATASETS.own, "three", SimpleNamespace(function=three, training={}, options={}))
    execute(plan("blobs"), tmp_path / "run")
    with pytest.raises(UserError, match="knows classes 2, but three has 3; give similar data"):
        rescore(runs.read(tmp_path / "run"), "three")


# --- many runs --------------------------------------------------------------------------------------------------------


def six(**settings) -> list[Plan]:
    return [plan("blobs", m, seed=s, settings=settings) for m in ("erm", "lff:q=0.5", "lff@paper") for s in (0, 1)]


def test_a_comparison_is_summed_up(tmp_path: Path):
    steps = []
    records = compare(six(), tmp_path / "out", progress=lambda done, total: steps.append((done, total)))
    rows = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert rows == [summary(record) for record in records]
    assert [(row["method"], row["options"], row["seed"]) for row in rows] == [
        ("erm", {}, 0), ("erm", {}, 1), ("lff", {"q": 0.5}, 0), ("lff", {"q": 0.5}, 1),
        ("lff", {"scale": "code"}, 0), ("lff", {"scale": "code"}, 1),
    ]  # fmt: skip
    assert list(rows[0]) == [
        "method", "options", "dataset", "seed", "epochs", "seconds", "selection",
        "average", "aligned", "conflicting", "worst_group", "train_weighted", "best_average",
    ]  # fmt: skip
    assert (rows[0]["dataset"], rows[0]["epochs"], rows[0]["selection"]) == ("blobs", 2, "last")
    values = runs.read(tmp_path / "out" / "erm-s1").record["scores"]["test"]["values"]
    names = ("average", "aligned", "conflicting", "worst_group", "train_weighted")
    assert {name: rows[1][name] for name in names} == {name: values[name] for name in names}
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"erm-s0", "erm-s1", "lff@paper-s0", "lff@paper-s1", "summary.json"} < names
    assert len(names) == 7
    assert steps == sorted(steps)
    assert steps[0] == (0.5, 6)
    assert steps[-1] == (6, 6)


def test_a_comparison_goes_on_where_it_was_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def stop(done: float, total: int) -> None:
        if done == 2.5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compare(six(), tmp_path / "out", progress=stop)
    assert not (tmp_path / "out" / "summary.json").exists()
    trained = []
    real = library.fit

    def counting(method, *args, state=None, **how):
        trained.append((method.name, how["seed"], state is not None))
        return real(method, *args, state=state, **how)

    with monkeypatch.context() as patch:
        patch.setattr(library, "fit", counting)
        records = compare(six(), tmp_path / "out")
    assert trained == [("lff", 0, True), ("lff", 1, False), ("lff", 0, False), ("lff", 1, False)]
    assert without_time(records) == without_time(compare(six(), tmp_path / "new"))


def test_a_run_that_fails_does_not_stop_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    break_loss(monkeypatch, epoch=2, name="erm", seed=1)
    with pytest.raises(
        UserError, match=r"^1 of 6 runs failed: the loss stopped .* up to epoch 1 is kept in .*erm-s1\.$"
    ):
        compare(six(), tmp_path / "out")
    rows = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert [(row["method"], row["seed"]) for row in rows] == [
        ("erm", 0),
        ("lff", 0),
        ("lff", 1),
        ("lff", 0),
        ("lff", 1),
    ]


@pytest.mark.slow
def test_processes_give_the_same_numbers(tmp_path: Path):
    """On built-in data, because worker processes do not know what a test has registered."""
    plans = [plan("colored-digits", "erm", seed=seed, settings={"epochs": 1}) for seed in (0, 1)]
    steps = []
    records = compare(plans, tmp_path / "two", jobs=2, progress=lambda *step: steps.append(step))
    assert steps == [(1, 2), (2, 2)]
    assert without_time(records) == without_time(compare(plans, tmp_path / "one"))


def test_data_sets_get_folders_of_their_own(tmp_path: Path):
    plans = [plan("blobs"), plan("bare")]
    records = compare([*plans, plans[0]], tmp_path / "out")
    assert [record["plan"]["data"] for record in records] == ["blobs", "bare", "blobs"], "one record for each plan"
    assert runs.find([tmp_path / "out"]) == [
        tmp_path / "out" / "bare" / "erm-s0",
        tmp_path / "out" / "blobs" / "erm-s0",
    ]
    compare(plans[:1], tmp_path / "alone", by_data=True)
    assert runs.find([tmp_path / "alone"]) == [tmp_path / "alone" / "blobs" / "erm-s0"]


def test_what_a_comparison_refuses_before_it_begins(tmp_path: Path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.png").touch()
    with pytest.raises(UserError, match="is neither empty nor a folder of runs"):
        compare(six(), tmp_path / "photos")
    compare(six(), tmp_path / "out")
    before = (tmp_path / "out" / "summary.json").read_bytes()
    with pytest.raises(UserError, match=r"erm-s0 holds another run \(epochs 2 instead of 3\)"):
        compare(six(epochs=3), tmp_path / "out")
    assert (tmp_path / "out" / "summary.json").read_bytes() == before
    same = [plan("blobs", "erm", label="ours"), plan("blobs", "lff", label="ours")]
    with pytest.raises(UserError, match="two different runs would be called ours-s0; give them different labels"):
        compare(same, tmp_path / "new")
    assert not (tmp_path / "new").exists()


# --- tables -----------------------------------------------------------------------------------------------------------


def record(label: str, seed: int, average: float, conflicting: float | None = 0.5) -> dict:
    values = {"average": average, "aligned": 1.0, "conflicting": conflicting, "worst_group": 0.0, "train_weighted": 0.9}
    return {
        "plan": plan("blobs", "erm", seed=seed, label=label).to_dict(),
        "task": "classification",
        "seconds": 1.0,
        "scores": {"test": {"values": values}},
        "best": {"epoch": 1, "average": average + 0.1},
    }


def test_the_table_has_mean_and_deviation_over_seeds():
    rows = table([record("a", 0, 0.2), record("b", 0, 0.7), record("a", 1, 0.4), record("a", 2, 0.9)])
    a, b = rows
    assert (a["label"], a["runs"], a["data"], a["selection"], a["task"]) == ("a", 3, "blobs", "last", "classification")
    # mean of 2, 4, 9 is 5; squared deviations 9 + 1 + 16 = 26, over n - 1 = 2
    assert a["average"] == pytest.approx((0.5, math.sqrt(0.13)))
    assert a["best_average"] == pytest.approx((0.6, math.sqrt(0.13)))
    assert a["aligned"] == (1.0, 0.0)
    assert (b["runs"], b["average"]) == (1, (0.7, None)), "one run has no spread"


def test_what_is_not_defined_stays_so_in_the_table():
    (row,) = table([record("a", 0, 0.2), record("a", 1, 0.2, conflicting=None)])
    assert row["conflicting"] == (None, None)
