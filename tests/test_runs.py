from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from longcut import runs
from longcut.data import Dataset, Info, Splits
from longcut.errors import UserError
from longcut.fit import Epoch
from longcut.methods.erm import ERM
from longcut.nets import build

PLAN = {"data": "toy", "method": "erm", "options": {}, "training": {"epochs": 3, "lr": 0.5}, "seed": 0}
INPUTS = runs.Inputs(Info("toy", (2,), 2, class_names=("no", "yes")), "float32", {"features": ["a", "b"]})


def epoch(number: int, weights: torch.Tensor | None = None, loss: float = 1.0) -> Epoch:
    rows = [{"epoch": n + 1, "loss": loss, "seconds": 0.25} for n in range(number)]
    weights = torch.zeros(2) if weights is None else weights
    return Epoch(number, 3, rows[-1], lambda: {"method": {"w": weights}, "history": rows})


def finish(run: runs.Writer, **results) -> dict:
    tensors = {"a": torch.arange(4.0).view(2, 2)}
    about = {"dataset": "toy"}
    return run.finish(results, inputs=INPUTS, weights=tensors, predictions=tensors, gallery=tensors, about=about)


def finished(folder: Path, plan: dict = PLAN) -> Path:
    with runs.Writer(folder, plan) as run:
        run.start("f")
        run.on_epoch(epoch(1))
        finish(run, scores={"test": {"values": {"average": 0.5}}, "valid": None})
    return folder


def begun(folder: Path, monkeypatch: pytest.MonkeyPatch, epochs: int = 2) -> Path:
    """A run that was interrupted after some epochs, each of them saved."""
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt), runs.Writer(folder, PLAN) as run:
        patch.setattr(runs, "CHECKPOINT_SECONDS", 0)
        run.start("f")
        for number in range(epochs):
            run.on_epoch(epoch(number + 1))
        raise KeyboardInterrupt
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(folder: Path, plan: dict = PLAN) -> str:
    """The message of the refusal, which must leave everything as it was."""
    before = contents(folder.parent)
    with pytest.raises(UserError) as caught, runs.Writer(folder, plan):
        pass
    assert contents(folder.parent) == before
    return str(caught.value)


# --- a run's life -----------------------------------------------------------------------------------------------------


def test_a_finished_run_is_read_back(tmp_path: Path):
    folder = tmp_path / "deep" / "run"
    with runs.Writer(folder, PLAN) as run:
        assert not run.done
        assert run.start("fingerprint") is None
        assert runs.read(folder).record["status"] == "running"
        run.on_epoch(epoch(1))
        run.on_epoch(epoch(2, loss=math.nan))
        record = finish(run, epoch=2, scores={"test": {"values": {"aligned": math.nan}}, "valid": None})
    stored = runs.read(folder)
    assert stored.done
    assert stored.record == record
    expected = {"schema": 1, "status": "done", "plan": PLAN, "fingerprint": "fingerprint", "epoch": 2}
    assert {key: record[key] for key in expected} == expected
    assert record["environment"].keys() == {"python", "torch", "longcut", "platform"}
    assert stored.scores() == {"values": {"aligned": None}}
    assert [(row["epoch"], row["loss"]) for row in stored.history()] == [(1, 1.0), (2, None)]
    for tensors in (stored.weights(), stored.predictions(), stored.gallery()[0]):
        assert tensors["a"].tolist() == [[0, 1], [2, 3]]
    assert stored.gallery()[1] == {"dataset": "toy"}
    assert stored.inputs() == INPUTS
    tensors = {"weights.safetensors", "predictions.safetensors", "gallery.safetensors"}
    assert {path.name for path in folder.iterdir()} == {"run.json", "history.jsonl", "inputs.json", *tensors, ".lock"}


def test_a_finished_run_is_not_touched_again(tmp_path: Path):
    folder = finished(tmp_path / "run")
    before = contents(folder)
    with runs.Writer(folder, PLAN) as run:
        assert run.done
        assert run.record == runs.read(folder).record
    assert contents(folder) == before


def test_an_interrupted_run_goes_on_after_its_last_epoch(tmp_path: Path):
    weights = torch.tensor([1.0, 2.0])
    with pytest.raises(KeyboardInterrupt), runs.Writer(tmp_path / "run", PLAN) as run:
        run.start("f")
        run.on_epoch(epoch(1))
        run.on_epoch(epoch(2, weights))
        assert not (tmp_path / "run" / "resume.pt").exists(), "saved only every few seconds"
        weights += 10  # the next epoch is under way when the key is pressed
        raise KeyboardInterrupt
    with runs.Writer(tmp_path / "run", PLAN) as run:
        state = run.start("f")
        assert state is not None
        assert state["method"]["w"].tolist() == [1.0, 2.0]
        assert len(state["history"]) == 2
        finish(run)
    assert not (tmp_path / "run" / "resume.pt").exists()


def test_checkpoints_come_by_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    now = [100.0]
    monkeypatch.setattr(runs.time, "monotonic", lambda: now[0])
    with runs.Writer(tmp_path, PLAN) as run:
        run.start("f")
        kept = []
        for number, seconds in enumerate((4.9, 0.2, 4.9, 0.2), 1):
            now[0] += seconds
            run.on_epoch(epoch(number))
            path = tmp_path / "resume.pt"
            kept.append(len(torch.load(path, weights_only=True)["history"]) if path.exists() else 0)
        finish(run)
    assert kept == [0, 2, 2, 4]


def test_rows_after_the_resume_point_are_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = begun(tmp_path / "run", monkeypatch, epochs=2)
    with (folder / "history.jsonl").open("a") as file:  # killed one epoch and a half after the last save
        file.write('{"epoch": 3, "loss": 9}\n{"epoch": 4, "lo')
    assert [row["epoch"] for row in runs.read(folder).history()] == [1, 2, 3], "half a line is not read"
    with runs.Writer(folder, PLAN) as run:
        run.start("f")
        assert [row["epoch"] for row in runs.read(folder).history()] == [1, 2]
        run.on_epoch(epoch(3))
        assert [row["epoch"] for row in runs.read(folder).history()] == [1, 2, 3]


def test_killed_before_the_first_save_it_starts_again(tmp_path: Path):
    (tmp_path / ".lock").touch()
    (tmp_path / ".run.json.123.tmp").write_text("{")
    with runs.Writer(tmp_path, PLAN) as run:
        assert run.record is None
        assert run.start("f") is None
    assert not list(tmp_path.glob(".*.tmp"))


def test_a_mistake_before_the_first_epoch_leaves_nothing(tmp_path: Path):
    for folder in (tmp_path / "deep" / "er" / "run", tmp_path):
        with pytest.raises(UserError, match=r"^wrong\.$"), runs.Writer(folder, PLAN) as run:
            run.start("f")
            raise UserError("wrong.")
        assert tmp_path.is_dir(), "what was there stays"
        assert not list(tmp_path.iterdir())


def test_a_mistake_later_on_keeps_the_last_epoch_and_says_so(tmp_path: Path):
    folder = tmp_path / "run"
    with pytest.raises(UserError) as caught, runs.Writer(folder, PLAN) as run:
        run.start("f")
        run.on_epoch(epoch(1))
        run.on_epoch(epoch(2))
        raise UserError("the loss is no number.")
    assert str(caught.value) == f"the loss is no number; the run up to epoch 2 is kept in {folder}."
    with pytest.raises(UserError, match="up to epoch 2 is kept"), runs.Writer(folder, PLAN) as run:
        state = run.start("f")
        assert state is not None
        assert len(state["history"]) == 2
        raise UserError("the loss is no number.")


# --- refusals ---------------------------------------------------------------------------------------------------------


def test_a_folder_with_other_things_is_refused(tmp_path: Path):
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "cat.png").touch()
    assert refused(folder) == f"{folder} exists and is neither empty nor a run; choose a new or empty folder."
    assert "neither empty nor a run" in refused(folder / "cat.png")
    assert refused(folder / "cat.png" / "run").startswith(f"cannot write to {folder / 'cat.png' / 'run'} (")


def test_another_plan_is_refused_and_the_difference_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    other = PLAN | {"method": "lff", "options": {"q": 0.5}, "training": {"epochs": 3, "lr": 0.1}}
    for folder in (finished(tmp_path / "done"), begun(tmp_path / "begun", monkeypatch)):
        expected = (
            f"{folder} holds another run (method erm instead of lff, lr 0.5 instead of 0.1, q unset instead of 0.5);"
        )
        assert refused(folder, other).startswith(expected)


def test_a_run_from_before_a_setting_existed_had_its_default(tmp_path: Path):
    finished(tmp_path / "run")
    now = PLAN["training"] | {"augment": "none", "gamma": 0.1}  # pyright: ignore[reportOperatorIssue]
    assert runs.check(tmp_path / "run", PLAN | {"training": now}) is not None
    assert "augment none instead of crop-flip" in refused(
        tmp_path / "run", PLAN | {"training": now | {"augment": "crop-flip"}}
    )


def test_a_plan_with_tuples_is_the_same_after_json(tmp_path: Path):
    finished(tmp_path / "run", PLAN | {"options": {"widths": (1, 2)}})
    assert runs.check(tmp_path / "run", PLAN | {"options": {"widths": (1, 2)}}) is not None


def test_a_newer_schema_is_refused(tmp_path: Path):
    folder = finished(tmp_path / "run")
    path = folder / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema": 2}))
    message = f"{folder} was written by a newer longcut (run schema 2, this one knows 1); upgrade with pip install"
    assert refused(folder).startswith(message)
    with pytest.raises(UserError, match="newer longcut"):
        runs.read(folder)


def test_a_second_writer_is_refused(tmp_path: Path):
    folder = tmp_path / "run"
    with runs.Writer(folder, PLAN) as run:
        run.start("f")
        assert refused(folder).startswith(f"another process is writing {folder}; wait until it is done")
        run.on_epoch(epoch(1))
        finish(run)
    with runs.Writer(folder, PLAN) as run:
        assert run.done


def test_changed_data_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = begun(tmp_path / "run", monkeypatch)
    before = contents(folder)
    with (
        pytest.raises(
            UserError, match=rf"the data has changed since the run in {folder} was begun; bring the old data"
        ),
        runs.Writer(folder, PLAN) as run,
    ):
        run.start("g")
    assert contents(folder) == before


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"schema": "new"}'])
def test_a_damaged_record_is_refused(tmp_path: Path, text: str):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(UserError, match=r"run\.json is damaged; delete the folder"):
        runs.read(tmp_path)


def test_no_run_is_refused(tmp_path: Path):
    with pytest.raises(UserError, match=r"is no run folder: it has no run\.json"):
        runs.read(tmp_path / "nowhere")
    with pytest.raises(UserError, match="there is no run at or below"):
        runs.find([finished(tmp_path / "run"), tmp_path / "nowhere"])


def test_an_unfinished_run_has_no_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    run = runs.read(begun(tmp_path / "run", monkeypatch))
    assert not run.done
    for ask in (run.scores, run.weights, run.predictions, run.gallery):
        with pytest.raises(UserError, match="is not finished; start it again"):
            ask()


def test_find_lists_each_run_once(tmp_path: Path):
    folders = [finished(tmp_path / name) for name in ("b-s0", "a-s1", "deep/er/a-s0")]
    assert runs.find([tmp_path]) == sorted(folders)
    assert runs.find([folders[0], tmp_path]) == [folders[0], *sorted(folders[1:])]


def test_what_runs_may_go_below(tmp_path: Path):
    runs.check_parent(tmp_path / "new")
    runs.check_parent(tmp_path)
    finished(tmp_path / "out" / "erm-s0")
    (tmp_path / "out" / "notes.txt").touch()
    runs.check_parent(tmp_path / "out")
    (tmp_path / "killed" / "erm-s0").mkdir(parents=True)
    (tmp_path / "killed" / "erm-s0" / ".lock").touch()
    runs.check_parent(tmp_path / "killed")
    (tmp_path / "other" / "src").mkdir(parents=True)
    (tmp_path / "other" / "src" / "code.py").touch()
    for folder in (tmp_path / "other", tmp_path / "other" / "src" / "code.py", tmp_path / "out" / "erm-s0"):
        with pytest.raises(UserError, match="is neither empty nor a folder of runs"):
            runs.check_parent(folder)


# --- small parts ------------------------------------------------------------------------------------------------------


def test_a_replacement_is_whole_or_not_at_all(tmp_path: Path):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(ArithmeticError), runs.replacing(path) as temporary:
        temporary.write_text("ne")
        assert path.read_text() == "old"
        raise ArithmeticError
    assert contents(tmp_path) == {"file": b"old"}
    with runs.replacing(path) as temporary:
        temporary.write_text("new")
    assert contents(tmp_path) == {"file": b"new"}


def test_json_is_strict():
    value = {"a": (1, math.inf), "b": [{"c": -math.inf}, "π"], "d": None, "e": True, "f": 0.1}
    assert json.loads(runs.to_json(value)) == {"a": [1, None], "b": [{"c": None}, "π"], "d": None, "e": True, "f": 0.1}


def images(attribute: bool = True, channels: int = 3, classes: int = 4, n: int = 200) -> Dataset:
    x = (torch.arange(n * channels * 4) % 251).to(torch.uint8).view(n, channels, 2, 2)
    label = torch.arange(n) % classes
    color = torch.where(torch.arange(n) // classes % 10 == 0, (label + 1) % classes, label)
    return Dataset.of(x, label, color if attribute else None, aligned=tuple(range(classes)) if attribute else ())


def test_the_fingerprint_sees_every_value_and_nothing_else():
    data = images()
    base = runs.fingerprint(Splits(data, None, data))
    clone = dataclasses.replace(data, x=data.x.clone(), label=data.label.clone())
    assert runs.fingerprint(Splits(clone, None, clone)) == base, "who shares storage with whom does not matter"
    pixel = data.x.clone()
    pixel[150, 2, 1, 1] += 1
    label = data.label.clone()
    label[7] = 0
    for changed in (
        dataclasses.replace(data, x=pixel),
        dataclasses.replace(data, x=data.x.view(200, 3, 4, 1)),
        dataclasses.replace(data, label=label),
        dataclasses.replace(data, attribute=data.label),
        dataclasses.replace(data, attribute=None),
        data.take(torch.arange(200).flip(0)),
    ):
        assert runs.fingerprint(Splits(changed, None, changed)) != base
        assert runs.fingerprint(Splits(data, changed, data)) != base


def test_the_fingerprint_of_memory_mapped_storage_is_that_of_its_values(tmp_path: Path):
    values = np.random.default_rng(0).normal(size=(5000, 3)).astype("float32")
    np.save(tmp_path / "x.npy", values)
    label = np.arange(5000) % 2
    mapped, loaded = Dataset.of(np.load(tmp_path / "x.npy", mmap_mode="r"), label), Dataset.of(values, label)
    assert runs.fingerprint(Splits(mapped, None, mapped)) == runs.fingerprint(Splits(loaded, None, loaded))


# --- the gallery ------------------------------------------------------------------------------------------------------


class Shown(ERM):
    """Mixes sample 0 with 1 (keeping a quarter) and 2 with 3; its bias model sees the mean of the image."""

    def pairs(self, train, n):
        return {
            "anchor": torch.tensor([0, 2]),
            "partner": torch.tensor([1, 3]),
            "share": torch.tensor([0.25, 1.0]),
        }

    def embedding(self, x):
        return x.flatten(1).mean(1, keepdim=True)


def shown(data: Dataset, cls: type[ERM] = Shown) -> dict[str, torch.Tensor]:
    return runs.gallery(cls(lambda: build("mlp:hidden=4", data.info), data.info), data)


def test_the_gallery_shows_some_of_every_class():
    data = images()
    found = shown(data)
    assert found["sample_x"].dtype == torch.uint8
    assert found["sample_x"].shape == (40, 3, 2, 2)
    assert found["sample_conflicting"].sum() == 20
    assert torch.equal(found["sample_conflicting"], found["sample_label"] != found["sample_attribute"])
    assert found["sample_label"].bincount().tolist() == [10] * 4
    stored = {tuple(x.flatten().tolist()): y for x, y in zip(data.x, data.label.tolist(), strict=True)}
    assert [stored[tuple(x.flatten().tolist())] for x in found["sample_x"]] == found["sample_label"].tolist()
    assert torch.equal(shown(data)["sample_x"], found["sample_x"]), "nothing is left to chance"


def test_the_gallery_shows_pairs():
    data = images()
    found = shown(data)
    a, b = data.x[0].float(), data.x[1].float()
    assert torch.equal(found["pair_mixed_x"][0], (0.25 * a + 0.75 * b).round().to(torch.uint8))
    assert torch.equal(found["pair_mixed_x"][1], data.x[2])
    assert torch.equal(found["pair_anchor_x"], data.x[[0, 2]])
    assert torch.equal(found["pair_partner_x"], data.x[[1, 3]])
    assert found["pair_share"].tolist() == [0.25, 1.0]
    for who, rows in (("anchor", [0, 2]), ("partner", [1, 3])):
        assert torch.equal(found[f"pair_{who}_label"], data.label[rows])
        assert data.attribute is not None
        assert torch.equal(found[f"pair_{who}_attribute"], data.attribute[rows])


@pytest.mark.parametrize(("n", "rows", "conflicting"), [(200, 200, 20), (5000, 600, 200)])
def test_the_gallery_embeds_more_of_the_conflicting(n: int, rows: int, conflicting: int):
    found = shown(images(n=n))
    assert found["embedding"].shape == (rows, 1)
    assert int(found["embedding_conflicting"].sum()) == conflicting
    assert torch.equal(found["embedding_conflicting"], found["embedding_label"] != found["embedding_attribute"])


def test_the_gallery_without_attribute_or_pairs_or_images():
    bare = shown(images(attribute=False, channels=1), ERM)
    assert bare.keys() == {"sample_x", "sample_label", "sample_conflicting"}
    assert bare["sample_x"].shape == (20, 3, 2, 2), "grey images are shown in three equal channels"
    assert not bare["sample_conflicting"].any()
    table = Dataset.of(torch.randn(30, 5), torch.arange(30) % 3)
    assert shown(table, ERM) == {}
    assert shown(table).keys() == {"embedding", "embedding_label", "embedding_conflicting"}
    regression = Dataset.of(torch.rand(30, 3, 2, 2), torch.rand(30))
    assert shown(regression)["sample_x"].dtype == torch.uint8
