from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers import unsealed

from longcut import runs
from longcut.data import Info
from longcut.errors import UserError
from longcut.evaluate import Group, Scores
from longcut.files import to_json
from longcut.fit import Epoch
from longcut.record import Inputs, Judged, Plan, Record
from longcut.training import Training

PLAN = Plan("toy", 0, "erm", "erm", {}, "mlp", Training(epochs=3, lr=0.5), 0, "last")
INPUTS = Inputs(Info("toy", (2,), 2, class_names=("no", "yes")), "float32", {"features": ["a", "b"]})


def epoch(number: int, weights: torch.Tensor | None = None, loss: float = 1.0) -> Epoch:
    rows = [{"epoch": n + 1, "loss": loss, "seconds": 0.25} for n in range(number)]
    weights = torch.zeros(2) if weights is None else weights
    return Epoch(number, 3, rows[-1], lambda: {"method": {"w": weights}, "history": rows})


def judged(average: float = 0.5) -> Judged:
    intervals = {"average": (average, average)}
    return Judged(Scores({"average": average}, intervals, [Group(0, None, 3, average, math.nan, 1.0)], 3))


def finish(run: runs.Writer, **results) -> Record:
    tensors = {"a": torch.arange(4.0).view(2, 2)}
    about = {"dataset": "toy"}
    results = {"epoch": 1, "seconds": 0.5, "parameters": 7, "task": "classification", "scores": judged()} | results
    said = {"outputs": tensors["a"], "label": torch.tensor([0, 1])}
    return run.finish(results, inputs=INPUTS, weights=tensors, predictions=said, gallery=tensors, about=about)


def finished(folder: Path, plan: Plan = PLAN) -> Path:
    with runs.Writer(folder, plan) as run:
        run.start("f")
        run.on_epoch(epoch(1))
        finish(run)
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


def refused(folder: Path, plan: Plan = PLAN) -> str:
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
        assert runs.read(folder).record.status == "running"
        run.on_epoch(epoch(1))
        run.on_epoch(epoch(2, loss=math.nan))
        record = finish(run, epoch=2, scores=judged(math.nan))
    stored = runs.read(folder)
    assert stored.done
    assert stored.record.to_dict() == record.to_dict()
    assert (record.schema, record.status, record.plan, record.fingerprint) == (3, "done", PLAN, "fingerprint")
    assert (record.epoch, record.seconds, record.parameters, record.task) == (2, 0.5, 7, "classification")
    assert record.environment.keys() == {"python", "torch", "longcut", "platform", "threads"}
    assert math.isnan(stored.scores().values["average"])
    text = unsealed(folder / "run.json")
    assert text["scores"]["test"]["values"] == {"average": None}, "JSON has no nan"
    assert text == json.loads(to_json(record.to_dict()))
    assert [(row["epoch"], row["loss"]) for row in stored.history()] == [(1, 1.0), (2, None)]
    for tensors in (stored.weights(), stored.gallery()[0]):
        assert tensors["a"].tolist() == [[0, 1], [2, 3]]
    assert stored.predictions()["outputs"].tolist() == [[0, 1], [2, 3]]
    assert stored.gallery()[1] == {"dataset": "toy"}
    assert stored.inputs() == INPUTS
    tensors = {"weights.safetensors", "predictions.safetensors", "gallery.safetensors"}
    assert {path.name for path in folder.iterdir()} == {"run.json", "history.jsonl", "inputs.json", *tensors, ".lock"}


def test_a_finished_run_is_not_touched_again(tmp_path: Path):
    folder = finished(tmp_path / "run")
    before = contents(folder)
    with runs.Writer(folder, PLAN) as run:
        assert run.done
        assert run.record is not None and run.record.to_dict() == runs.read(folder).record.to_dict()
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
    other = replace(PLAN, method="lff", options={"q": 0.5}, training=Training(epochs=3, lr=0.1))
    for folder in (finished(tmp_path / "done"), begun(tmp_path / "begun", monkeypatch)):
        expected = (
            f"{folder} holds another run (method erm instead of lff, lr 0.5 instead of 0.1, q unset instead of 0.5);"
        )
        assert refused(folder, other).startswith(expected)


def test_a_run_from_before_a_setting_existed_had_its_default(tmp_path: Path):
    folder = finished(tmp_path / "run")
    stored = unsealed(folder / "run.json")
    del stored["plan"]["training"]["augment"], stored["plan"]["training"]["gamma"]
    (folder / "run.json").write_text(json.dumps(stored))
    assert runs.check(folder, PLAN) is not None
    other = replace(PLAN, training=replace(PLAN.training, augment="crop-flip"))
    assert "(augment none instead of crop-flip)" in refused(folder, other)


def test_a_setting_that_is_not_known_any_more_is_kept_and_said(tmp_path: Path):
    folder = finished(tmp_path / "run")
    stored = unsealed(folder / "run.json")
    stored["plan"]["training"]["warmup"] = 5
    (folder / "run.json").write_text(json.dumps(stored))
    record = runs.read(folder).record
    assert (record.plan.training, record.plan.unknown) == (PLAN.training, {"warmup": 5})
    assert record.setting != PLAN.setting
    assert json.loads(to_json(record.to_dict())) == stored
    assert "holds another run (warmup 5 instead of unset);" in refused(folder)


def test_files_that_were_loaded_are_a_part_of_the_run(tmp_path: Path):
    made = replace(PLAN, files={"mine.py": "0123456789abcdef"})
    folder = finished(tmp_path / "run", made)
    assert runs.read(folder).record.plan == made
    assert runs.check(folder, made) is not None
    changed = refused(folder, replace(PLAN, files={"mine.py": "f" * 16}))
    assert changed.startswith(f"{folder} holds another run (made before mine.py was changed); choose another folder")
    assert "(made with mine.py, which is not loaded)" in refused(folder)
    assert "(made without mine.py)" in refused(finished(tmp_path / "without"), made)


def test_a_plan_with_tuples_is_the_same_after_json(tmp_path: Path):
    plan = replace(PLAN, options={"widths": (1, 2)})
    finished(tmp_path / "run", plan)
    assert runs.check(tmp_path / "run", plan) is not None


def test_a_newer_schema_is_refused(tmp_path: Path):
    folder = finished(tmp_path / "run")
    path = folder / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema": 4}))
    message = f"{folder} was written by a newer longcut (run schema 4, this one knows 3); upgrade with pip install"
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


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"schema": "new"}', '{"schema": 1}', '{"schema": 1, "plan": 3}'])
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
    (tmp_path / "drawn").mkdir()
    (tmp_path / "drawn" / "selecmix-figure2.svg").touch()
    runs.check_parent(tmp_path / "drawn")
    (tmp_path / "other" / "src").mkdir(parents=True)
    (tmp_path / "other" / "src" / "code.py").touch()
    for folder in (tmp_path / "other", tmp_path / "other" / "src" / "code.py", tmp_path / "out" / "erm-s0"):
        with pytest.raises(UserError, match="is neither empty nor a folder of runs"):
            runs.check_parent(folder)
