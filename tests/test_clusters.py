"""Runs on clusters: real workers, one of which is lost; the same bits as here; folders that workers do not see."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from longcut import compare as module
from longcut import runs
from longcut.cli import app
from longcut.clusters import Cluster
from longcut.compare import compare, folders
from longcut.errors import UserError
from longcut.plans import plan
from longcut.record import Plan


def plans(epochs: int = 3, methods: tuple[str, ...] = ("erm", "jtt")) -> list[Plan]:
    settings = {"net": "mlp:hidden=4", "epochs": str(epochs)}
    return [plan("colored-digits", method, settings=settings, seed=seed) for method in methods for seed in (0, 1)]


def left(out: Path, made: list[Plan]) -> list[bytes]:
    return [(folder / runs.WEIGHTS).read_bytes() for folder in folders(made, out)]


class Here(Cluster):
    """A cluster of this process, where calls are made one after the other."""

    def map(self, function: Any, calls: Any) -> Iterator[Any]:
        return (function(*call) for call in calls)


@pytest.fixture
def dask_cluster() -> Iterator[Any]:
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as made:
        yield made


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # of what a killed worker held
def test_dask_loses_a_worker_and_no_run(tmp_path: Path, dask_cluster: Any):
    made = plans(epochs=12)
    compare(made, tmp_path / "here")
    pids = [worker.pid for worker in dask_cluster.workers.values()]
    before = set(pids)
    killed: list[int] = []

    def kill() -> None:
        """One worker, once a run of a helper or of an epoch is on."""
        while not list((tmp_path / "there").rglob(runs.HISTORY)):
            time.sleep(0.01)
        os.kill(pids[0], signal.SIGKILL)
        killed.append(pids[0])

    thread = threading.Thread(target=kill)
    thread.start()
    told: list[float] = []
    records = compare(
        made, tmp_path / "there", Cluster("dask", dask_cluster.scheduler_address), lambda done, _: told.append(done)
    )
    thread.join()
    assert killed
    assert killed[0] in before
    assert len(records) == 4
    assert told == [1, 2, 3, 4]
    assert left(tmp_path / "there", made) == left(tmp_path / "here", made)
    assert not list((tmp_path / "there").glob(".*"))


def test_workers_that_do_not_see_the_folder_send_their_runs_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    made = plans(methods=("erm",))
    compare(made, tmp_path / "here")
    monkeypatch.setattr(module, "Path", Unseen)
    records = compare(made, tmp_path / "there", Here("dask"))
    assert len(records) == 2
    assert left(tmp_path / "there", made) == left(tmp_path / "here", made)
    for folder in folders(made, tmp_path / "there"):
        runs.read(folder).verify()
        assert not (folder / ".lock").exists()
    again = compare(made, tmp_path / "there", Here("dask"))  # nothing is left to do
    assert [one.to_dict() for one in again] == [one.to_dict() for one in records]


class Unseen(type(Path())):  # type: ignore[misc]
    """A path on a machine that others do not see."""

    def exists(self, **how: Any) -> bool:
        return not self.name.endswith(".seen") and super().exists(**how)


def test_a_worker_with_another_version_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    real = module._attempt_far

    def elsewhere(folder: Path, one: Plan, device: str, watch: Any, files: Any, version: str, *where: Path) -> Any:
        return real(folder, one, device, watch, files, "0.0", *where)

    monkeypatch.setattr(module, "_attempt_far", elsewhere)
    with pytest.raises(
        UserError, match=r"2 of 2 runs failed: .* has longcut .*, and here it is 0\.0; install the same"
    ):
        compare(plans(methods=("erm",)), tmp_path, Here("dask"))


def test_workers_of_several_threads_are_refused(tmp_path: Path):
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None) as made,
        pytest.raises(UserError, match="has 2 threads, and runs need a process each; start workers with --nthreads 1"),
    ):
        compare(plans(), tmp_path, Cluster("dask", made.scheduler_address))


def test_nobody_at_the_address(tmp_path: Path):
    pytest.importorskip("distributed")
    with pytest.raises(UserError, match=r"no scheduler of Dask answers at nonsense://1; start one"):
        compare(plans(), tmp_path, Cluster("dask", "nonsense://1"))


@pytest.mark.parametrize("backend", ["dask", "ray"])
def test_a_missing_package_is_one_sentence(backend: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("distributed", "ray"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UserError, match=r"^(distributed|ray) is not installed; install it with pip install 'longcut"):
        compare(plans(), tmp_path, Cluster(backend))


def test_ray_gets_each_run_once_and_as_often_as_its_worker_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """By a stand-in with its calls; a real cluster is asked where the package is installed."""
    asked: dict[str, Any] = {}
    fake: Any = ModuleType("ray")

    def remote(**how: Any) -> Any:
        asked.update(how)
        return lambda function: SimpleNamespace(remote=lambda *call: (function, call))

    fake.init = lambda **where: asked.update(where)
    fake.remote, fake.get = remote, lambda one: one[0](*one[1])
    fake.wait = lambda waiting: (waiting[-1:], waiting[:-1])
    fake.shutdown = lambda: asked.update(ended=True)
    monkeypatch.setitem(sys.modules, "ray", fake)
    made = plans(methods=("erm",), epochs=1)
    assert len(compare(made, tmp_path, Cluster("ray", workers=3))) == 2
    assert (asked["num_cpus"], asked["max_retries"], asked["ended"]) == (1, 10, True)


def test_a_real_cluster_of_ray(tmp_path: Path):
    pytest.importorskip("ray")
    made = plans(methods=("erm",))
    compare(made, tmp_path / "here")
    assert len(compare(made, tmp_path / "there", Cluster("ray", workers=2))) == 2
    assert left(tmp_path / "there", made) == left(tmp_path / "here", made)


def test_the_command_line_says_who_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    seen: list[Any] = []
    monkeypatch.setattr(
        Cluster, "map", lambda self, function, calls: seen.append(self) or Here.map(self, function, calls)
    )
    words = ["compare", "colored-digits", "--methods", "erm", "--seeds", "1", "--net", "mlp:hidden=4", "--epochs", "1"]
    words += ["--out", str(tmp_path / "out"), "--device", "cpu"]
    result = CliRunner().invoke(app, [*words, "--backend", "dask", "--scheduler", "tcp://one:1", "--jobs", "2"])
    assert result.exit_code == 0, result.output
    assert seen == [Cluster("dask", "tcp://one:1", 2)]
    refused = CliRunner().invoke(app, [*words, "--scheduler", "tcp://one:1"])
    assert refused.exit_code == 2
    assert (
        refused.output == "longcut: --scheduler tcp://one:1 belongs to a cluster; say which: --backend dask, or ray.\n"
    )
