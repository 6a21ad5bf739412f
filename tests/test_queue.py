"""The queue of all runs that tables ask for: its order, its times, and how it is worked on."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from helpers import declare
from test_cli import in_an_empty_folder, printed, printed_json, refused

from longcut import papers, runs
from longcut.errors import UserError
from longcut.papers import Known, Queue, Task, known_in, queue, work
from longcut.plans import plan
from longcut.processes import asked_to_stop
from longcut.record import Plan

__all__ = ["in_an_empty_folder"]  # around every test here, too

WORK = sys.modules["longcut.papers.work"]
DIGITS = "colored-digits"
PAPER: dict[str, Any] = {
    "source": "nobody",
    "metric": "Accuracy",
    "seeds": 2,
    "gpu": ["large"],
    "data": {
        "digits": {"few": DIGITS, "many": f"{DIGITS}:ratio=0.2"},
        "faces": {"few": "bffhq:folder=nowhere"},
        "large": {"few": f"{DIGITS}:ratio=0.3"},
    },
    "settings": {
        DIGITS: {"epochs": 3, "net": "mlp:hidden=4", "lff": {"net": "resnet50:weights=FILE,width=2"}},
        "bffhq": {"epochs": 1},
    },
    "row": [
        {"name": "plain", "tables": ["one", "other"], "method": "erm", "digits": "unpublished", "faces": [[1.0]]},
        {"name": "drawn", "tables": ["one"], "method": "resample", "digits": {"many": [2.0]}, "large": [[3.0]]},
        {"name": "pretrained", "tables": ["one"], "method": "lff", "digits": {"few": [2.0]}},
        {"name": "twice", "tables": ["two"], "method": "jtt", "digits": {"few": [4.0]}},
    ],
}


@pytest.fixture(autouse=True)
def paper(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    declare(monkeypatch, {"paper": PAPER})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")


def known(label: str, data: str, seed: int, epochs: int, best: int = 1, seconds: float = 1.0) -> Known:
    return Known(label, data, {"drawn": "resample"}.get(label, "erm"), seed, epochs, best, seconds)


def names(found: Queue) -> list[tuple[str, str, int]]:
    return [(task.plan.label, task.plan.data.partition("=")[2], task.plan.seed) for task in found.tasks]


# --- what is left, and its order --------------------------------------------------------------------------------------


def test_every_cell_has_its_first_seed_before_any_has_its_second_and_a_run_of_two_tables_stands_once():
    found = queue(["all"])
    cells = [("plain", ""), ("plain", "0.2"), ("drawn", "0.2"), ("twice", "")]
    assert sorted(names(found)) == sorted((*cell, seed) for cell in cells for seed in (0, 1))
    assert [seed for *_, seed in names(found)] == [0] * 4 + [1] * 4
    assert {task.plan.label: task.recipes for task in found.tasks} == {
        "plain": ("paper/one", "paper/other"),
        "drawn": ("paper/one",),
        "twice": ("paper/two",),
    }
    assert (found.done, found.total, found.seconds) == (0, 8, 0.0)


def test_what_cannot_be_trained_here_is_named():
    found = queue(["all"])
    why = {reason: where for reason, where in found.left_out.items() if "bffhq" not in reason}
    assert why == {
        "needs a GPU with the published settings": ("paper/one: large",),
        "starts from pretrained weights; say where they are, --set weights=FILE": ("paper/one: digits",),
    }
    (missing,) = (reason for reason in found.left_out if "bffhq" in reason)
    assert found.left_out[missing] == ("paper/one: faces", "paper/other: faces")
    with_gpu = queue(["all"], gpu=True, settings={"weights": "none"})
    assert {one.plan.label for one in with_gpu.tasks} == {"plain", "drawn", "twice", "pretrained"}
    assert list(with_gpu.left_out) == [missing]


def test_the_order_is_by_finished_seeds_then_rising_then_cost():
    """By hand: drawn has one of two seeds, so it comes last; plain at 20 % was stopped while it rose."""
    lines = [
        known("drawn", f"{DIGITS}:ratio=0.2", 0, 3),
        known("plain", f"{DIGITS}:ratio=0.2", 0, 2, best=2, seconds=20.0),  # 10 s an epoch
        known("plain", DIGITS, 5, 2, best=1, seconds=2.0),  # 1 s an epoch, not rising, and no seed that is asked for
    ]
    found = queue(["paper/one"], known=lines)
    assert names(found) == [
        ("plain", "0.2", 0),
        ("plain", "", 0),
        ("plain", "0.2", 1),
        ("drawn", "0.2", 1),
        ("plain", "", 1),
    ]
    assert found.done == 1
    times = {(task.plan.label, task.plan.data): task.seconds for task in found.tasks}
    assert times == {
        ("plain", DIGITS): pytest.approx(3.0),
        ("plain", f"{DIGITS}:ratio=0.2"): pytest.approx(30.0),
        ("drawn", f"{DIGITS}:ratio=0.2"): pytest.approx(1.0),
    }
    with_gpu = queue(["paper/one"], known=lines, gpu=True)
    assert {task.seconds for task in with_gpu.tasks} == {None}, "a GPU has times of its own"


def test_times_come_from_what_is_most_alike():
    lines = [known("other", DIGITS, 0, 10, seconds=50.0)]
    found = {task.plan.label: task.seconds for task in queue(["all"], known=lines).tasks if task.finished == 0}
    assert found == {"plain": 15.0, "drawn": 15.0, "twice": 15.0}, "by the method, else by the data"
    lines += [known("drawn", f"{DIGITS}:ratio=0.2", 7, 1, seconds=4.0)]
    found = {task.plan.label: task.seconds for task in queue(["all"], known=lines).tasks}
    assert (found["drawn"], found["plain"]) == (12.0, 15.0)


def test_names_of_all_recipes():
    assert names(queue(["all"], ["few", "twice"])) == [("twice", "", 0), ("twice", "", 1)]
    assert {label for label, *_ in names(queue(["all"], ["many"], seeds=1))} == {"plain", "drawn"}
    with pytest.raises(UserError, match=r"no table or figure has a data set, column or row called manny; see longcut"):
        queue(["all"], ["many", "manny"])
    with pytest.raises(UserError, match="unknown setting of"):
        queue(["all"], settings={"nothing": 1})


def test_a_folder_that_holds_another_run_is_left_out(tmp_path: Path):
    first = work(queue(["paper/other"], ["few", "digits"], 1, {"epochs": 1}, out=tmp_path))
    assert len(first.done) == 1
    found = queue(["paper/other"], ["digits"], 1, out=tmp_path)
    assert names(found) == [("plain", "0.2", 0)]
    (why,) = found.left_out
    assert "holds another run (epochs 1 instead of 3)" in why


def test_files_of_what_ran_elsewhere(tmp_path: Path):
    whole = known_in(Path(__file__).parents[1] / "results" / "runs.json")
    assert len(whole) > 400
    assert all(isinstance(one.seconds, float) for one in whole)
    for text in ("", "{}x", '[{"label": "erm"}]', "3"):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(UserError, match=r"bad\.json cannot be read as a list of runs"):
            known_in(tmp_path / "bad.json")


# --- how it is worked on ----------------------------------------------------------------------------------------------


def weights(folder: Path) -> dict[str, dict[str, torch.Tensor]]:
    return {run.name: runs.read(run).weights() for run in runs.find([folder])}


@pytest.mark.parametrize("row", ["plain", "twice"])
def test_slices_end_in_the_same_bits(tmp_path: Path, row: str):
    """Without time, a slice is an epoch, of the run or of its helper."""
    asked: dict[str, Any] = {"only": [row, "few", "digits"], "seeds": 1, "settings": {"epochs": "2"}}
    if row == "twice":
        asked["settings"]["helper_epochs"] = "2"
    whole = work(queue(["all"], **asked, out=tmp_path / "whole"))
    assert (whole.why, len(whole.done), whole.left) == ("done", 1, ())
    reasons = []
    while "done" not in reasons and len(reasons) < 9:
        found = queue(["all"], **asked, out=tmp_path / "cut")
        outcome = work(found, seconds=0.0)
        reasons.append(outcome.why)
        if outcome.why == "time":
            assert [task.plan for task in outcome.left] == [task.plan for task in found.tasks]
    assert reasons == ["time"] * (1 if row == "plain" else 3) + ["done"]
    one, other = weights(tmp_path / "whole"), weights(tmp_path / "cut")
    assert one.keys() == other.keys()
    assert all(torch.equal(one[run][key], other[run][key]) for run in one for key in one[run])
    assert queue(["all"], **asked, out=tmp_path / "cut").tasks == ()


def test_what_was_begun_says_how_much_is_left(tmp_path: Path):
    asked: dict[str, Any] = {"only": ["plain", "few", "digits"], "seeds": 1, "out": tmp_path}
    work(queue(["paper/one"], **asked), seconds=0.0)
    (task,) = queue(["paper/one"], **asked).tasks
    (row,) = runs.read(task.folder).history()
    assert (task.epochs_done, task.seconds) == (1, pytest.approx(2 * row["seconds"]))


def test_it_stops_when_asked_and_goes_on(tmp_path: Path):
    epochs: list[int] = []
    found = queue(["paper/other"], ["digits", "few"], 1, out=tmp_path)
    outcome = work(found, asked=lambda: len(epochs) == 2, on_epoch=lambda plan, epoch: epochs.append(epoch.epoch))
    assert (outcome.why, epochs, [task.epochs_done for task in outcome.left]) == ("asked", [1, 2], [2])
    outcome = work(queue(["paper/other"], ["digits", "few"], 1, out=tmp_path), asked=lambda: False)
    assert (outcome.why, len(outcome.done)) == ("done", 1)


def test_a_run_has_one_writer_and_the_others_go_on(tmp_path: Path):
    found = queue(["paper/one"], ["digits", "plain"], 1, out=tmp_path)
    first, second = found.tasks
    with runs.Writer(first.folder, first.plan):
        outcome = work(found)
    assert (outcome.why, [record.plan for record in outcome.done]) == ("busy", [second.plan])
    assert [task.plan for task in outcome.left] == [first.plan]


def test_a_run_that_fails_does_not_stop_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    found = queue(["paper/one"], ["digits", "plain"], 1, out=tmp_path)
    bad = replace(found.tasks[0], plan=replace(found.tasks[0].plan, net="mlp:hidden=x"))
    outcome = work(replace(found, tasks=(bad, found.tasks[1])))
    assert [record.plan for record in outcome.done] == [found.tasks[1].plan]
    ((what, why),) = outcome.failed
    assert what == f"plain on {found.tasks[0].plan.data}, seed 0"
    assert "hidden=x is not allowed" in why


class Simulated:
    """Training that takes as long as it is told, by a clock of its own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, epoch: dict[str, float]) -> None:
        self.time, self.epoch, self.said = 0.0, epoch, []
        self.kept: dict[str, int] = {}
        monkeypatch.setattr(WORK.time, "monotonic", lambda: self.time)
        monkeypatch.setattr(WORK, "execute", self.execute)

    def execute(self, plan: Plan, folder: Path, on_epoch: Any, device: str, on_helper: Any) -> Any:
        for done in range(self.kept.get(plan.label, 0) + 1, plan.training.epochs + 1):
            self.time += self.epoch[plan.label]
            self.said.append((plan.label, done))
            self.kept[plan.label] = done
            on_epoch(SimpleNamespace(epoch=done, epochs=plan.training.epochs))
        return SimpleNamespace(plan=plan, label=plan.label)

    def queue(self, **seconds: float | None) -> Queue:
        made = [
            Task(plan(DIGITS, "erm", settings={"epochs": 4}, label=name), Path(name), ("a/b",), 0, False, 0, known)
            for name, known in seconds.items()
        ]
        return Queue(tuple(made), 0, {})


def test_what_would_not_be_finished_comes_after_what_would(monkeypatch: pytest.MonkeyPatch):
    world = Simulated(monkeypatch, {"long": 10.0, "short": 1.0})
    outcome = work(world.queue(long=40.0, short=4.0), seconds=30.0)
    assert [record.label for record in outcome.done] == ["short"]
    assert world.said == [("short", 1), ("short", 2), ("short", 3), ("short", 4), ("long", 1), ("long", 2)]
    assert (outcome.why, world.time) == ("time", 24.0), "a third epoch of 10 s, or 15, does not fit into 6"
    (left,) = outcome.left
    assert (left.epochs_done, left.seconds) == (2, 20.0)


def test_with_time_without_end_the_order_stands(monkeypatch: pytest.MonkeyPatch):
    world = Simulated(monkeypatch, {"unknown": 10.0, "short": 1.0})
    outcome = work(world.queue(unknown=None, short=4.0))
    assert [record.label for record in outcome.done] == ["unknown", "short"]


def test_a_run_that_turns_out_too_long_is_set_aside(monkeypatch: pytest.MonkeyPatch):
    world = Simulated(monkeypatch, {"unknown": 10.0, "short": 1.0})
    told = []
    outcome = work(world.queue(unknown=None, short=4.0), seconds=30.0, progress=lambda *one: told.append(one))
    assert [label for label, _ in world.said] == ["unknown"] + ["short"] * 4 + ["unknown"]
    assert ([record.label for record in outcome.done], outcome.why) == (["short"], "time")
    assert told[:2] == [(0, 2), (0.25, 2)]
    assert told[-1] == (1.5, 2)


def test_a_second_run_is_not_begun_where_no_epoch_would_fit(monkeypatch: pytest.MonkeyPatch):
    world = Simulated(monkeypatch, {"first": 2.0, "second": 3.0})
    outcome = work(world.queue(first=8.0, second=12.0), seconds=12.0)
    assert (outcome.why, world.time, [task.plan.label for task in outcome.left]) == ("time", 8.0, ["second"])


def test_the_first_key_press_asks_and_the_second_stops():
    told = []
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), asked_to_stop(lambda: told.append("asked")) as asked:
        assert not asked()
        os.kill(os.getpid(), signal.SIGINT)
        assert asked()
        os.kill(os.getpid(), signal.SIGINT)
    assert told == ["asked"]
    assert signal.getsignal(signal.SIGINT) is before


# --- the command ------------------------------------------------------------------------------------------------------


def test_the_plan_is_printed_and_nothing_is_trained(tmp_path: Path):
    (tmp_path / "runs.json").write_text(
        json.dumps([{**known("plain", DIGITS, 0, 2, 2, 7200.0)._asdict(), "dataset": DIGITS}])
    )
    command = ("reproduce", "all", "--plan", "--known", "runs.json", "--device", "cpu")
    text = printed(*command)
    first = next(line for line in text.splitlines() if line.startswith(" plain"))
    assert re.split(r" {2,}", first.strip()) == ["plain", DIGITS, "0, 1", "3", "rising", "6.0 h"]
    assert "0 of 8 runs are done; the others take about 24.0 h." in text
    assert "Left out: paper/one: large: needs a GPU with the published settings." in text
    told = printed_json(*command)
    assert (told["done"], len(told["tasks"]), told["tasks"][0]["rising"]) == (0, 8, True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["runs.json"]


def test_a_plan_of_rows_that_never_ran_names_no_time():
    assert "0 of 8 runs are done; how long the others take is not known yet." in printed("reproduce", "all", "--plan")


def test_the_command_works_on_the_queue_and_the_table_finds_the_runs(tmp_path: Path):
    command = ("reproduce", "all", "--only", "plain", "--only", "digits", "--seeds", "1", "--device", "cpu")
    text = printed(*command, "--hours", "0")
    assert "0 runs were finished, the time is over; 2 are left" in text
    assert "2 runs were finished, all is done." in printed(*command)
    (few, many) = papers.run("paper/other", ["digits"], 1, out="runs/reproduce")
    assert (few["seeds"], many["seeds"]) == (1, 1)
    told = printed_json(*command, "--hours", "1")
    assert (told["why"], told["done"], told["left"]) == ("done", [], [])


def test_what_a_queue_refuses():
    assert refused("reproduce", "all", "--jobs", "2").startswith("a queue trains one run at a time; leave --jobs and")
    assert refused("reproduce", "paper/one", "--known", "x").startswith("--known is for a queue and for claims; give")
    assert refused("reproduce", "all", "--known", "nowhere.json").startswith("nowhere.json cannot be read as a list")
    assert refused("reproduce", "all", "--only", "large", "--device", "cpu").startswith(
        "nothing of it can be trained here: needs a GPU"
    )
