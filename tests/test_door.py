"""Damaged folders, other data, outputs that are no numbers, full disks: one sentence each, nothing silently wrong."""

from __future__ import annotations

import errno
import json
import shutil
import warnings
from pathlib import Path
from random import Random

import mutate
import pytest
import torch
from helpers import unsealed
from safetensors.torch import load_file, save_file

from longcut import deploy, execute, runs
from longcut.compare import compare, difference, seeds_of
from longcut.data import Dataset
from longcut.door import Damaged, Door, digest, sealed, strict_json
from longcut.errors import UserError
from longcut.evaluate import sample_values
from longcut.files import to_json
from longcut.plans import plan
from longcut.predict import predict
from longcut.record import Plan
from longcut.report import write as report

ROWS = [(f"{(-1) ** i * (1 + i % 7) / 3:.3f}", "abc"[i % 3], "yes" if i % 2 else "no") for i in range(48)]


def table(path: Path, flip: int = 0) -> Path:
    """A table whose first ``flip`` labels are the other one."""
    other = {"yes": "no", "no": "yes"}
    lines = [f"{a},{b},{other[y] if i < flip else y}" for i, (a, b, y) in enumerate(ROWS)]
    path.write_text("\n".join(["a,b,y", *lines]) + "\n")
    return path


def planned(path: Path, seed: int = 0, method: str = "erm", **settings: str) -> Plan:
    return plan(
        f"table:label=y,path={path}", method, seed=seed, settings={"epochs": 2, "net": "mlp:hidden=4"} | settings
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a table and a finished run of a method that leaves every file."""
    place = tmp_path_factory.mktemp("made")
    execute.execute(planned(table(place / "t.csv"), method="jtt"), place / "run")
    return place


# --- the door ---------------------------------------------------------------------------------------------------------


def test_a_sealed_record_is_read_and_any_other_is_not(tmp_path: Path):
    (tmp_path / "other").write_bytes(b"content")
    record = sealed({"schema": 1, "n": 3}, "record.json", {"other": digest(b"content")})
    path = tmp_path / "record.json"
    path.write_text(to_json(record))
    stored, door = Door(tmp_path, "delete it").record("record.json", "run", 1)
    assert stored == {"schema": 1, "n": 3}
    assert door.content("other") == b"content"
    (tmp_path / "other").write_bytes(b"contend")
    with pytest.raises(Damaged, match=r"other is damaged; delete it\."):
        door.content("other")
    path.write_text(to_json(record | {"n": 4}))
    with pytest.raises(Damaged, match=r"record\.json is damaged; delete it\."):
        Door(tmp_path, "delete it").record("record.json", "run", 1)


@pytest.mark.parametrize("text", [b'{"a": NaN}', b'{"a": 1e999}', b'["\\ud800"]', b"\xff", b"[" * 100_000, b""])
def test_what_we_never_write_is_no_json(text: bytes):
    with pytest.raises((ValueError, RecursionError)):
        strict_json(text)


def test_every_file_of_a_run_is_guarded(made: Path, tmp_path: Path):
    """A flipped bit in any of them is noticed by whoever reads it."""
    readers = {
        "history.jsonl": runs.Run.history,
        "inputs.json": runs.Run.inputs,
        "weights.safetensors": runs.Run.weights,
        "predictions.safetensors": runs.Run.predictions,
        "gallery.safetensors": runs.Run.gallery,
        "identification.safetensors": runs.Run.identification,
    }
    names = {path.name for path in (made / "run").iterdir()} - {"run.json", ".lock"}
    assert names == readers.keys()
    for name, reader in readers.items():
        folder = tmp_path / name
        shutil.copytree(made / "run", folder)
        content = bytearray((folder / name).read_bytes())
        content[len(content) // 2] ^= 1
        (folder / name).write_bytes(content)
        with pytest.raises(Damaged, match=f"{name} is damaged; delete the folder and run again"):
            reader(runs.read(folder))
        (folder / name).unlink()
        if name not in ("history.jsonl", "gallery.safetensors"):
            with pytest.raises(Damaged, match=f"{name} is missing; delete the folder"):
                reader(runs.read(folder))


@pytest.mark.parametrize("seed", range(60))
def test_readings_of_damaged_files_without_checksums(made: Path, tmp_path: Path, seed: int):
    """Of a run from before there were any: read, or refused in one line."""
    random = Random(seed)
    shutil.copytree(made / "run", tmp_path / "run")
    record = tmp_path / "run" / "run.json"
    record.write_text(json.dumps(unsealed(record)))
    name = random.choice(sorted(path.name for path in (made / "run").iterdir() if path.name != ".lock"))
    path = tmp_path / "run" / name
    path.write_bytes(mutate.damaged(name, path.read_bytes(), random))
    try:
        run = runs.read(tmp_path / "run")
        run.verify()
        execute.with_added(run)
        execute.rescore(run, made / "t.csv")
        deploy.predict(run, made / "t.csv")
    except UserError as error:
        assert "\n" not in str(error)


# --- resume -----------------------------------------------------------------------------------------------------------


def begun(folder: Path, one: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(epoch) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(runs, "CHECKPOINT_SECONDS", 0)
        execute.execute(one, folder, stop)


@pytest.mark.parametrize("how", ["flipped", "truncated", "emptied", "pickled", "another"])
def test_a_bad_resume_point_is_said_and_costs_no_run(
    how: str, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    one = planned(made / "t.csv")
    execute.execute(one, tmp_path / "straight")
    begun(tmp_path / "run", one, monkeypatch)
    path = tmp_path / "run" / "resume.pt"
    if how == "another":
        torch.save({"method": {"w": torch.ones(1)}, "history": []}, path)
    else:
        path.write_bytes(mutate.BYTES[how](path.read_bytes(), Random(3)))
    with pytest.warns(UserWarning, match=r"resume\.pt is .*the run begins anew"):
        execute.execute(one, tmp_path / "run")
    ours, straight = (runs.read(tmp_path / name) for name in ("run", "straight"))
    assert all(torch.equal(value, straight.weights()[key]) for key, value in ours.weights().items())
    assert len(ours.history()) == 2
    assert not path.exists()


def test_each_bit_of_a_resume_point_counts(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    one = planned(made / "t.csv")
    begun(tmp_path / "run", one, monkeypatch)
    path = tmp_path / "run" / "resume.pt"
    content = path.read_bytes()
    with runs.Writer(tmp_path / "run", one) as run:
        assert run._resumed() is not None
        for place in range(0, len(content) - 80, 97):
            path.write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])
            with pytest.warns(UserWarning, match="damaged"):
                assert run._resumed() is None


def test_a_resume_point_that_outlived_its_run_goes(made: Path, tmp_path: Path):
    one = planned(made / "t.csv")
    execute.execute(one, tmp_path / "run")
    (tmp_path / "run" / "resume.pt").touch()
    execute.execute(one, tmp_path / "run")
    assert not (tmp_path / "run" / "resume.pt").exists()


def test_a_resume_point_that_cannot_be_removed_costs_no_finished_run(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    begun(tmp_path / "run", planned(made / "t.csv"), monkeypatch)
    own = Path.unlink

    def kept(path: Path, missing_ok: bool = False) -> None:
        if path.name == "resume.pt":
            raise PermissionError(errno.EACCES, "Permission denied")
        own(path, missing_ok)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", kept)
        assert execute.execute(planned(made / "t.csv"), tmp_path / "run").done
    execute.execute(planned(made / "t.csv"), tmp_path / "run")
    assert not (tmp_path / "run" / "resume.pt").exists()


# --- other data -------------------------------------------------------------------------------------------------------


def test_a_finished_run_is_not_taken_for_one_on_changed_labels(tmp_path: Path):
    path = table(tmp_path / "t.csv")
    one = planned(path)
    first = execute.execute(one, tmp_path / "out" / "erm-s0")
    assert execute.execute(one, tmp_path / "out" / "erm-s0") == first
    table(path, flip=24)
    with pytest.raises(UserError, match="the data has changed since the run"):
        execute.execute(one, tmp_path / "out" / "erm-s0")
    with pytest.raises(UserError, match="the data has changed since the run"):
        compare([one, planned(path, 1)], tmp_path / "out")
    assert not (tmp_path / "out" / "erm-s1").exists()
    table(path)
    assert compare([one], tmp_path / "out") == [first]


@pytest.mark.parametrize("name", ["weights.safetensors", "history.jsonl", "gallery.safetensors"])
def test_a_damaged_run_is_not_taken_for_done(name: str, tmp_path: Path):
    """Also by a command that needs no more than its scores; what was removed to save space is not missed."""
    one = planned(table(tmp_path / "t.csv"))
    first = execute.execute(one, tmp_path / "out" / "erm-s0")
    path = tmp_path / "out" / "erm-s0" / name
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    for again in (lambda: execute.execute(one, path.parent), lambda: compare([one], tmp_path / "out")):
        with pytest.raises(Damaged, match=f"{name} is damaged; delete the folder and run again"):
            again()
    path.unlink()
    assert compare([one], tmp_path / "out") == [first]


def test_data_that_is_changed_while_a_comparison_is_on_is_not_averaged(tmp_path: Path):
    path = table(tmp_path / "t.csv")

    def change(done: float, total: int) -> None:
        if done == 1:
            table(path, flip=6)

    with pytest.raises(UserError, match="the data was changed between them"):
        compare([planned(path, 0), planned(path, 1)], tmp_path / "out", progress=change)
    assert not (tmp_path / "out" / "summary.json").exists()


def test_names_that_were_swapped_are_noticed(tmp_path: Path):
    path = table(tmp_path / "t.csv")
    execute.execute(planned(path), tmp_path / "run")
    path.write_text(path.read_text().replace("no", "nay"))
    with pytest.raises(UserError, match=r"class names were no, yes, and now they are nay, yes; bring the old data"):
        execute.execute(planned(path), tmp_path / "run")


def test_seeds_on_two_states_of_a_file_are_never_averaged(tmp_path: Path):
    path = table(tmp_path / "t.csv")
    for seed in (0, 1):
        execute.execute(planned(path, seed), tmp_path / "out" / f"erm-s{seed}")
    assert len(seeds_of(tmp_path / "out" / "erm")) == 2
    report([tmp_path / "out"], tmp_path / "page.html")
    table(path, flip=6)
    execute.execute(planned(path, 2), tmp_path / "out" / "erm-s2")
    execute.execute(planned(path, 0), tmp_path / "new" / "erm-s0")
    for found in ([tmp_path / "out"], [tmp_path / "out" / "erm-s0", tmp_path / "new"]):
        with pytest.raises(UserError, match="but the data was changed between them"):
            report(found, tmp_path / "page.html")
    with pytest.raises(UserError, match="but the data was changed between them"):
        seeds_of(tmp_path / "out" / "erm")
    old, new = ([runs.read(tmp_path / name / "erm-s0")] for name in ("out", "new"))
    with pytest.raises(UserError, match="but the data was changed between them"):
        difference(old, new, "average")


# --- numbers that are none --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lr", ["1e38", "1e30"])
@pytest.mark.parametrize("method", ["erm", "lff", "jtt"])
def test_weights_that_left_the_numbers_are_not_scored(made: Path, tmp_path: Path, lr: str, method: str):
    with pytest.raises(UserError, match=r"lower the learning rate|a lower learning rate"):
        execute.execute(planned(made / "t.csv", method=method, lr=lr, epochs="6"), tmp_path / "run")
    assert not (tmp_path / "run" / "predictions.safetensors").exists()


def test_errors_too_large_to_be_numbers_are_no_score(tmp_path: Path):
    """The outputs themselves are finite."""
    (tmp_path / "t.csv").write_text("a,y\n" + "".join(f"{i % 7 / 3},{i % 2 + i / 17}\n" for i in range(60)))
    one = plan(f"table:label=y,path={tmp_path / 't.csv'}", settings={"epochs": 1, "lr": "1e15", "net": "mlp:hidden=4"})
    with pytest.raises(UserError, match=r"too large for their errors to be finite.*lower learning rate"):
        execute.execute(one, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("outputs", [[[1e30], [0.0]], [[torch.nan], [0.0]]])
def test_no_mean_of_what_is_no_number(outputs: list[list[float]]):
    data = Dataset.of(torch.zeros(2, 1), torch.tensor([[0.5], [1.5]]))
    with pytest.raises(UserError, match="there is no score; train with a lower learning rate"):
        sample_values(torch.tensor(outputs), data)
    with pytest.raises(UserError, match="there is no score"):
        sample_values(torch.tensor([[torch.nan, 0.0], [0.0, 1.0]]), Dataset.of(torch.zeros(2, 1), [0, 1]))
    with pytest.raises(UserError, match="some outputs are no finite numbers"):
        sample_values(torch.tensor([[torch.inf, 0.0], [0.0, 1.0]]), Dataset.of(torch.zeros(2, 1), [0, 1]))


def test_outputs_that_are_no_numbers_are_counted():
    data = Dataset.of(torch.tensor([[0.0], [1.0], [2.0]]), [0, 1, 0])
    with pytest.raises(UserError, match=r"1 of 3 samples is not a finite number; train it with a lower learning rate"):
        predict(lambda x: 1 / (x - 1), data)


def test_a_run_with_weights_that_are_no_numbers_predicts_nothing(made: Path, tmp_path: Path):
    shutil.copytree(made / "run", tmp_path / "run")
    record, path = tmp_path / "run" / "run.json", tmp_path / "run" / "weights.safetensors"
    record.write_text(json.dumps(unsealed(record)))
    save_file({key: torch.full_like(value, torch.nan) for key, value in load_file(path).items()}, path)
    with pytest.raises(UserError, match=r"weights\.safetensors is damaged"):
        deploy.predict(runs.read(tmp_path / "run"), made / "t.csv")


# --- a full disk, and a folder that is gone ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["run.json", "history.jsonl", "resume.pt", "weights.safetensors", "gallery.safetensors"]
)
def test_no_space_for_a_file_of_a_run(name: str, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    own = Path.write_bytes

    def full(path: Path, content: bytes) -> int:
        if path.name.startswith(f".{name}."):
            raise OSError(errno.ENOSPC, "No space left on device")
        return own(path, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    monkeypatch.setattr(runs, "CHECKPOINT_SECONDS", 0)
    with pytest.raises(UserError, match=rf"cannot write .*{name} \(No space left on device\); make room"):
        execute.execute(planned(made / "t.csv"), tmp_path / "run")
    monkeypatch.undo()
    assert execute.execute(planned(made / "t.csv"), tmp_path / "run").done


@pytest.mark.parametrize("to", ["safetensors", "torchscript"])
def test_no_space_for_an_export(to: str, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(path: Path, content: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with warnings.catch_warnings(), pytest.raises(UserError, match=r"No space left on device\); make room"):
        deploy.export(runs.read(made / "run"), to, tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_a_run_folder_that_is_removed_meanwhile(made: Path, tmp_path: Path):
    def remove(epoch) -> None:
        shutil.rmtree(tmp_path / "run")

    with pytest.raises(UserError, match="was removed while its run was on; give the same command again"):
        execute.execute(planned(made / "t.csv"), tmp_path / "run", remove)


# --- report -----------------------------------------------------------------------------------------------------------


def test_a_report_names_the_damaged_run_and_shows_the_others(made: Path, tmp_path: Path):
    for method in ("erm", "lff"):
        execute.execute(planned(made / "t.csv", method=method), tmp_path / "out" / method)
    (tmp_path / "out" / "lff" / "predictions.safetensors").write_bytes(b"half")
    with pytest.warns(UserWarning, match=r"left out of the report: .*lff.*predictions\.safetensors is damaged"):
        page = report([tmp_path / "out"], tmp_path / "page.html")
    text = page.read_text("utf-8")
    assert "1 damaged and left out" in text
    assert "predictions.safetensors" in text
    with pytest.raises(UserError, match=r"predictions\.safetensors is damaged; delete the folder"):
        report([tmp_path / "out" / "lff"], tmp_path / "page.html")
