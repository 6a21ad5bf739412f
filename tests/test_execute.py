from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from blobs import blobs, break_loss, small_data, without_time  # noqa: F401
from helpers import entry_of

from longcut import runs
from longcut.data import Dataset, Splits
from longcut.datasets import DATASETS
from longcut.errors import UserError
from longcut.execute import execute, rescore
from longcut.files import to_json
from longcut.methods import METHODS
from longcut.plans import plan
from longcut.record import Best

pytestmark = pytest.mark.usefixtures("small_data")


def test_a_run_is_recorded(tmp_path: Path):
    seen = []
    chosen = plan("blobs", "lff", select="best:average", settings={"epochs": 9, "lr": 0.05})
    record = execute(chosen, tmp_path / "run", lambda epoch: seen.append(epoch.epoch))
    run = runs.read(tmp_path / "run")
    assert seen == list(range(1, 10)) == [row["epoch"] for row in run.history()]
    assert record == run.record
    assert record.plan == chosen
    assert record.parameters == (4 * 4 + 4) + (4 * 2 + 2), "of the network that is used"
    valid = [row["valid"]["average"] for row in run.history()]
    assert record.epoch == 1 + valid.index(max(valid))
    test = [row["test"]["average"] for row in run.history()]
    assert len(set(valid)) > 1 < len(set(test))
    assert record.best == Best(1 + test.index(max(test)), max(test))
    assert record.seconds == pytest.approx(sum(row["seconds"] for row in run.history()))
    predictions, data = run.predictions(), blobs(seed=0).test
    right = (predictions["outputs"].argmax(1) == data.label).double().mean()
    assert record.scores.test.values["average"] == pytest.approx(float(right)) == test[record.epoch - 1]
    assert torch.equal(predictions["label"], data.label)
    assert data.attribute is not None
    assert torch.equal(predictions["attribute"], data.attribute)
    assert torch.equal(predictions["index"], data.index)
    assert run.gallery()[1]["dataset"] == "blobs"
    assert run.gallery()[0]["embedding"].shape == (40, 4)


def test_what_the_method_says_of_the_run_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert "remarks" not in execute(plan("blobs"), tmp_path / "silent").to_dict()
    monkeypatch.setattr(METHODS["erm"], "remarks", lambda self: [f"has {len(self.net.levels)} levels."])
    record = execute(plan("blobs"), tmp_path / "run")
    assert record.remarks == runs.read(tmp_path / "run").record.remarks == ("has 2 levels.",)


def test_seeds_draw_the_data_and_can_be_told_not_to(tmp_path: Path):
    prints = {
        (seed, data_seed): execute(plan("blobs", seed=seed, data_seed=data_seed)).fingerprint
        for seed, data_seed in ((0, None), (1, None), (1, 0))
    }
    assert prints[0, None] == prints[1, 0] != prints[1, None]


def test_what_is_done_is_not_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    first = execute(plan("blobs"), tmp_path / "run")
    monkeypatch.setattr("longcut.execute.fit", lambda *_, **__: pytest.fail("it was trained again"))
    assert execute(plan("blobs"), tmp_path / "run") == first


def test_without_a_folder_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert execute(plan("blobs")).done
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
        assert runs.read(tmp_path / "parts").record.status == "running"
    assert without_time(execute(chosen, tmp_path / "parts")) == without_time(whole)
    for name in ("weights", "predictions", "gallery"):
        parts, wholes = ((tmp_path / f / f"{name}.safetensors").read_bytes() for f in ("parts", "whole"))
        assert parts == wholes
    assert without_time(runs.read(tmp_path / "parts").history()) == without_time(
        runs.read(tmp_path / "whole").history()
    )


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
    assert to_json(rescore(run, "blobs").to_dict()) == to_json(record.scores.test.to_dict())
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

    monkeypatch.setitem(DATASETS.own, "three", entry_of(function=three, training={}, options={}))
    execute(plan("blobs"), tmp_path / "run")
    with pytest.raises(UserError, match="knows classes 2, but three has 3; give similar data"):
        rescore(runs.read(tmp_path / "run"), "three")
