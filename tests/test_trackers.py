"""Trackers: what real local stores hold afterwards, and that nothing of the run depends on them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from blobs import break_loss, small_data, without_time  # noqa: F401
from typer.testing import CliRunner

from longcut import runs
from longcut.cli import app
from longcut.compare import compare
from longcut.context import Epoch
from longcut.errors import UserError
from longcut.execute import execute
from longcut.plans import plan
from longcut.registry import load_file
from longcut.trackers import TRACKERS, openers, safe, tracked

pytestmark = [
    pytest.mark.usefixtures("small_data"),
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy"),  # MLflow asks SQLAlchemy for it
]


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def database(tmp_path: Path) -> str:
    """The address of an empty one."""
    pytest.importorskip("mlflow", reason="MLflow is not installed")
    pytest.importorskip("sqlalchemy", reason="MLflow's databases need SQLAlchemy")
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


def watched(*specs: str) -> Callable[..., Any]:
    return partial(tracked, specs)


def stopped_at(number: int, error: BaseException | type[BaseException] = KeyboardInterrupt) -> Callable[[Epoch], None]:
    def progress(epoch: Epoch) -> None:
        if epoch.epoch == number:
            raise error

    return progress


def events(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Steps and values of each curve in TensorBoard's files."""
    module = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found = module.EventAccumulator(str(folder))
    found.Reload()
    return {name: [(one.step, one.value) for one in found.Scalars(name)] for name in found.Tags()["scalars"]}


def mlflow_runs(uri: str, experiment: str = "longcut") -> tuple[Any, list[Any]]:
    from mlflow import MlflowClient

    client: Any = MlflowClient(tracking_uri=uri)
    return client, list(client.search_runs([client.get_experiment_by_name(experiment).experiment_id]))


def curve(client: Any, run: Any, name: str) -> list[tuple[int, float]]:
    return [(one.step, one.value) for one in client.get_metric_history(run.info.run_id, name)]


# --- real stores ------------------------------------------------------------------------------------------------------


def test_event_files_hold_the_history_and_the_scores(tmp_path: Path):
    pytest.importorskip("tensorboard")
    record = execute(plan("blobs", settings={"epochs": 3}), tmp_path / "run", watch=watched("tensorboard"))
    found = events(tmp_path / "run" / "tensorboard")
    history = runs.read(tmp_path / "run").history()
    worst = [(row["epoch"], row["test"]["worst_group"]) for row in history]
    assert found["test/worst_group"] == [(step, pytest.approx(value)) for step, value in worst]
    assert found["loss"] == [(row["epoch"], pytest.approx(row["loss"])) for row in history]
    assert found["final/test/average"] == [(3, pytest.approx(record.scores.test.values["average"]))]
    groups = {f"final/test/group/{one.label}/{one.attribute}": one.value for one in record.scores.test.groups}
    assert len(groups) == 4
    assert {name: found[name][0][1] for name in groups} == pytest.approx(groups)
    assert "<title>" in (tmp_path / "run" / "tensorboard" / "report.html").read_text("utf-8")


def test_event_files_elsewhere(tmp_path: Path):
    pytest.importorskip("tensorboard")
    execute(plan("blobs"), tmp_path / "run", watch=watched(f"tensorboard:dir={tmp_path / 'board'}"))
    (folder,) = (tmp_path / "board").iterdir()
    assert folder.name.startswith("blobs-erm-s0-")
    assert "loss" in events(folder)
    assert not (tmp_path / "run" / "tensorboard").exists()


def test_mlflow_holds_settings_curves_scores_and_the_report(database: str, tmp_path: Path):
    chosen = plan("blobs", "lff", settings={"epochs": 3, "lr": 0.05})
    record = execute(chosen, tmp_path / "run", watch=watched(f"mlflow:uri={database},experiment=mine"))
    client, (run,) = mlflow_runs(database, "mine")
    assert (run.info.status, run.info.run_name) == ("FINISHED", "lff-s0")
    assert run.data.params["training/lr"] == "0.05" and run.data.params["method"] == "lff"
    history = runs.read(tmp_path / "run").history()
    assert curve(client, run, "valid/average") == [(row["epoch"], row["valid"]["average"]) for row in history]
    assert run.data.metrics["final/valid/average"] == record.scores.valid.values["average"]  # type: ignore[union-attr]
    worst = min(one.value for one in record.scores.test.groups)
    assert min(v for name, v in run.data.metrics.items() if "/group/" in name and "test" in name) == worst
    assert [one.path for one in client.list_artifacts(run.info.run_id)] == ["report.html"]


def test_a_run_that_goes_on_is_the_same_one(database: str, tmp_path: Path):
    pytest.importorskip("tensorboard")
    chosen, watch = plan("blobs", settings={"epochs": 5}), watched("tensorboard", f"mlflow:uri={database}")
    with pytest.raises(KeyboardInterrupt):
        execute(chosen, tmp_path / "run", stopped_at(2), watch=watch)
    assert [one.info.status for one in mlflow_runs(database)[1]] == ["KILLED"]
    with pytest.raises(UserError, match="enough"):
        execute(chosen, tmp_path / "run", stopped_at(4, UserError("enough.")), watch=watch)
    assert [one.info.status for one in mlflow_runs(database)[1]] == ["FAILED"]
    execute(chosen, tmp_path / "run", watch=watch)
    client, (run,) = mlflow_runs(database)
    losses = [(row["epoch"], row["loss"]) for row in runs.read(tmp_path / "run").history()]
    assert run.info.status == "FINISHED"
    assert curve(client, run, "loss") == losses
    assert events(tmp_path / "run" / "tensorboard")["loss"] == [(n, pytest.approx(loss)) for n, loss in losses]
    assert not (tmp_path / "run" / ".tracked").exists()


def test_a_run_begun_anew_replaces_its_curves(tmp_path: Path):
    pytest.importorskip("tensorboard")
    chosen, watch = plan("blobs", settings={"epochs": 3}), watched("tensorboard")
    with pytest.raises(KeyboardInterrupt):
        execute(chosen, tmp_path / "run", stopped_at(2), watch=watch)
    (tmp_path / "run" / "resume.pt").unlink()
    execute(chosen, tmp_path / "run", watch=watch)
    assert [step for step, _ in events(tmp_path / "run" / "tensorboard")["loss"]] == [1, 2, 3]


def test_names_from_data_are_names_everywhere(database: str, tmp_path: Path):
    pytest.importorskip("tensorboard")
    rows = [
        f"{i % 7 + i / 97},{i * 3 % 11},{('a/b', '..', 'a:b')[i % 3]},{('<b>', '%b&')[i // 3 % 2]}" for i in range(90)
    ]
    (tmp_path / "odd.csv").write_text("\n".join(["u,v,kind,place", *rows]))
    chosen = plan("table:path=odd.csv,label=kind,attribute=place", settings={"epochs": 1, "net": "mlp:hidden=4"})
    record = execute(chosen, tmp_path / "run", watch=watched("tensorboard", f"mlflow:uri={database}"))
    names = {name for name in events(tmp_path / "run" / "tensorboard") if name.startswith("final/test/group/")}
    kinds = {name.split("/")[3] for name in names}
    assert kinds == {"a_b", "__"}
    assert len(names) == len([one for one in record.scores.test.groups if one.n]) == 6
    assert names <= set(mlflow_runs(database)[1][0].data.metrics)


def test_two_names_that_differ_in_signs_alone():
    assert safe("a/b") == safe("a:b") == "a_b"
    assert safe("x" * 999) == "x" * 100
    assert safe("") == "_"


# --- the three calls --------------------------------------------------------------------------------------------------


class Calls:
    """A module with ``init`` and what it returns with ``log`` and ``finish``, as wandb and trackio have them."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Any]] = []

    def init(self, **given: Any) -> Any:
        self.told.append(("init", given))
        print("a line on stdout")

        def log(values: dict[str, Any], step: int) -> None:
            self.told.append(("log", (step, values)))

        return SimpleNamespace(log=log, finish=lambda **given: self.told.append(("finish", given)))

    def Html(self, text: str, inject: bool) -> str:
        return f"page of {len(text) > 1000}"


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    found = Calls()
    monkeypatch.setitem(sys.modules, "wandb", found)
    monkeypatch.setitem(sys.modules, "trackio", found)
    return found


def test_wandb_is_told_by_three_calls(calls: Calls, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(KeyboardInterrupt):
        execute(plan("blobs"), tmp_path / "run", stopped_at(1), watch=watched("wandb:project=birds"))
    (_, first), *told = calls.told
    assert (first["project"], first["name"], first["resume"]) == ("birds", "erm-s0", "allow")
    assert first["config"]["data"] == "blobs" and first["config"]["training/epochs"] == 2
    assert told[-2:] == [("log", (1, {"finished": 0.0})), ("finish", {"exit_code": 1})]
    calls.told.clear()
    execute(plan("blobs"), tmp_path / "run", watch=watched("wandb:project=birds"))
    (_, again), *told = calls.told
    assert again["id"] == first["id"]
    logged = [given for name, given in told if name == "log"]
    assert [step for step, _ in logged] == [2] * 4
    assert "loss" in logged[0][1] and "final/test/group/0/1" in logged[1][1]
    assert logged[2][1] == {"report": "page of True"}
    assert told[-2:] == [("log", (2, {"finished": 1.0})), ("finish", {"exit_code": 0})]
    assert capsys.readouterr().out == "", "what a command prints is its own"


def test_trackio_is_told_by_the_same(calls: Calls, tmp_path: Path):
    execute(plan("blobs"), tmp_path / "run", watch=watched("trackio"))
    (_, first), *told = calls.told
    assert first.keys() == {"project", "name", "config", "resume"}
    assert first["name"].startswith("erm-s0-")
    assert [given[0] for name, given in told if name == "log"] == [1, 2, 2, 2]
    assert told[-1] == ("finish", {})


# --- nothing depends on it --------------------------------------------------------------------------------------------


def test_no_bit_changes(database: str, calls: Calls, tmp_path: Path):
    pytest.importorskip("tensorboard")
    chosen = plan("blobs", "selecmix", settings={"epochs": 3})
    alone = execute(chosen, tmp_path / "alone")
    seen = execute(
        chosen, tmp_path / "seen", watch=watched("tensorboard", f"mlflow:uri={database}", "wandb", "trackio")
    )
    assert without_time(seen) == without_time(alone)
    for name in ("weights", "predictions", "gallery"):
        one, other = ((tmp_path / folder / f"{name}.safetensors").read_bytes() for folder in ("alone", "seen"))
        assert one == other
    before, after = (without_time(runs.read(tmp_path / folder).history()) for folder in ("alone", "seen"))
    assert before == after


BROKEN = """
class Broken:
    def log(self, values, step):
        SEEN.append(step)
        if step == 2:
            raise ConnectionError("nobody answers\\nat length")
    def finish(self, state, page):
        SEEN.append(state)

SEEN = []

def broken():
    return lambda start: Broken()

def closed():
    def begin(start):
        raise OSError("no server")
    return begin

def late():
    return lambda start: Late()

class Late:
    def log(self, values, step): pass
    def finish(self, state, page): raise RuntimeError("too late")

TRACKERS = {"broken": broken, "closed": closed, "late": late}
"""


@pytest.fixture
def own() -> Iterator[None]:
    """Trackers of one's own, which fail in each place."""
    Path("own.py").write_text(BROKEN)
    load_file("own.py")
    yield


def test_a_tracker_that_fails_is_said_once_and_costs_nothing(own: None, tmp_path: Path):
    chosen = plan("blobs", settings={"epochs": 4})
    with pytest.warns(RuntimeWarning) as said:
        record = execute(chosen, tmp_path / "run", watch=watched("broken", "closed", "late"))
    assert [str(one.message).partition(" failed")[0] for one in said] == [
        "tracker 'closed'",
        "tracker 'broken'",
        "tracker 'late'",
    ]
    assert str(said[1].message).endswith("(ConnectionError: nobody answers).")
    assert TRACKERS["broken"].__globals__["SEEN"] == [1, 2], "nothing after the failure"
    assert without_time(record) == without_time(execute(chosen))


def test_a_server_that_is_not_there_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("mlflow", reason="MLflow is not installed")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.warns(RuntimeWarning, match="tracker 'mlflow:uri=http://127.0.0.1:9' failed and is left out"):
        assert execute(plan("blobs"), tmp_path / "run", watch=watched("mlflow:uri=http://127.0.0.1:9")).done


@pytest.mark.parametrize("name", ["tensorboard", "mlflow", "wandb", "trackio"])
def test_a_missing_package_is_one_sentence(name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, name if name != "tensorboard" else "torch.utils.tensorboard", None)
    how = 'pip install "longcut[trackers]"' if name in ("tensorboard", "mlflow") else f"pip install {name}"
    with pytest.raises(UserError) as caught:
        openers([name])
    assert str(caught.value) == f"tracker '{name}' needs a further package; {how}."


def test_a_folder_called_wandb_is_no_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace())
    with pytest.raises(UserError, match="tracker 'wandb' needs a further package; pip install wandb"):
        openers(["wandb"])


def test_unknown_trackers_and_options():
    with pytest.raises(UserError, match="unknown tracker 'tensorbord': did you mean 'tensorboard'"):
        openers(["tensorbord"])
    with pytest.raises(UserError, match="unknown option of tracker 'wandb' 'projct': did you mean 'project'"):
        openers(["wandb:projct=x"])


def test_a_run_that_fails_before_its_first_epoch_leaves_nothing(
    calls: Calls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    break_loss(monkeypatch, epoch=1)
    with pytest.raises(UserError, match="stopped being a finite number"):
        execute(plan("blobs"), tmp_path / "run", watch=watched("wandb"))
    assert calls.told == []
    assert not list(tmp_path.iterdir())


def test_what_is_done_is_left_alone(calls: Calls, tmp_path: Path):
    execute(plan("blobs"), tmp_path / "run")
    execute(plan("blobs"), tmp_path / "run", watch=watched("wandb"))
    assert calls.told == []
    (tmp_path / "run" / ".tracked").write_text("0123456789abcdef" * 2)  # killed before the tracker heard of the end
    execute(plan("blobs"), tmp_path / "run", watch=watched("wandb"))
    assert calls.told[0][1]["id"] == "0123456789abcdef" * 2
    assert calls.told[-1] == ("finish", {"exit_code": 0})


def test_a_damaged_id_is_replaced(calls: Calls, tmp_path: Path):
    execute(plan("blobs"), tmp_path / "run")
    (tmp_path / "run" / ".tracked").write_bytes(b"\xff'; drop")
    execute(plan("blobs"), tmp_path / "run", watch=watched("wandb"))
    assert len(calls.told[0][1]["id"]) == 32


# --- comparisons and the command line ---------------------------------------------------------------------------------


@pytest.mark.slow
def test_runs_in_other_processes_are_tracked(database: str, tmp_path: Path):
    plans = [plan("colored-digits", settings={"epochs": 1}, seed=seed) for seed in range(2)]
    compare(plans, tmp_path / "runs", jobs=2, watch=watched(f"mlflow:uri={database}"))
    assert sorted(one.info.run_name for one in mlflow_runs(database)[1]) == ["erm-s0", "erm-s1"]
    assert {one.info.status for one in mlflow_runs(database)[1]} == {"FINISHED"}


@pytest.mark.parametrize("words", [("train", "-m", "erm"), ("compare", "--methods", "erm", "--seeds", "1")])
def test_the_command_line_takes_specs(words: tuple[str, ...], calls: Calls):
    first, *rest = words
    track = ("--track", "wandb:project=one,trackio", "--epochs", "1", "--json")
    result = CliRunner().invoke(app, [first, "blobs", *rest, *track])
    assert result.exit_code == 0, result.output
    assert [given["project"] for name, given in calls.told if name == "init"] == ["one", "longcut"]
    assert result.stdout.startswith(("{", "["))


def test_the_command_line_says_what_is_missing_before_it_trains(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    result = CliRunner().invoke(app, ["train", "blobs", "-m", "erm", "--track", "wandb"])
    assert (result.exit_code, result.stderr) == (
        2,
        "longcut: tracker 'wandb' needs a further package; pip install wandb.\n",
    )
    assert not Path("runs").exists()
