"""One run on processes that somebody else has begun, as torchrun does on several machines."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from blobs import blobs
from typer.testing import CliRunner

import longcut
from longcut import Fitted, Training, UserError, fit, runs
from longcut.cli import app
from longcut.data import Splits
from longcut.methods import build
from longcut.parallel import machines
from longcut.parallel.machines import leading
from longcut.processes import begun_together

pytestmark = pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="needs gloo")

FOLLOW = "from longcut.parallel.machines import follow; follow()"


def a_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """This process is the first of two; what is said to the other."""
    about = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": a_port()}
    for name, value in (about | {"RANK": "0"}).items():
        monkeypatch.setenv(name, value)
    return {**os.environ, **about, "RANK": "1"}


@pytest.fixture
def other(two: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen([sys.executable, "-c", FOLLOW], env=two, stderr=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def trained(splits: Splits, **how: Any) -> Fitted:
    method = build("lff", splits.info, net="mlp:hidden=4", seed=1)
    return fit(method, splits, Training(epochs=2, batch=16, lr=0.01), **how)


def alike(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert {*one} == {*other}
    for name, value in one.items():
        torch.testing.assert_close(other[name], value, rtol=1e-5, atol=1e-5)


def test_two_that_were_begun_together_give_what_one_gives(other: subprocess.Popen[str]):
    """And do it twice, for a run that begins anew trains twice."""
    splits = blobs()
    alone = trained(splits)
    with leading():
        both = [trained(splits, processes=2) for _ in range(2)]
        with pytest.raises(UserError, match="2 processes were begun together, and 3 are asked for; take 2"):
            trained(splits, processes=3)
    for fitted in both:
        alike(alone.method.state_dict(), fitted.method.state_dict())
        assert [row["loss"] for row in fitted.history] == pytest.approx([row["loss"] for row in alone.history])
    assert other.wait(60) == 0


def test_another_version_says_so(other: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(machines, "_versions", lambda: {"longcut": "0.0.1"})
    said = rf"process 2 of this run stopped: it has longcut {longcut.__version__}, and the first has 0\.0\.1"
    with pytest.raises(UserError, match=said), leading():
        trained(blobs(), processes=2)
    assert other.wait(60) != 0


def test_who_is_begun_together(monkeypatch: pytest.MonkeyPatch, two: dict[str, str]):
    assert begun_together() == (0, 2)
    refused = CliRunner().invoke(app, ["audit", "digits"])
    assert refused.exit_code == 2 and "only longcut train shares its work among such" in refused.stderr
    refused = CliRunner().invoke(app, ["train", "digits", "--processes", "3"])
    assert refused.exit_code == 2 and "--processes 3 is asked for, and 2 were begun together" in refused.stderr
    monkeypatch.delenv("MASTER_ADDR")
    assert begun_together() == (0, 1)


def test_an_address_that_is_none(two: dict[str, str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MASTER_PORT", "a")
    with pytest.raises(UserError, match=r"do not meet at 127\.0\.0\.1:a .*check address and port"), leading():
        pass


@pytest.mark.slow
def test_torchrun_on_two_nodes_gives_what_two_processes_give(tmp_path: Path):
    """Two agents of one process each, which share nothing but an address; only the first writes, in its own folder."""
    what = ["train", "colored-digits", "--method", "lff", "--epochs", "2", "--net", "mlp:hidden=8", "--device", "cpu"]
    port = a_port()
    nodes = []
    for node in range(2):
        (tmp_path / f"node{node}").mkdir()
        how = [*("--nnodes", "2", "--nproc-per-node", "1", "--node-rank", str(node)), "--master-addr", "127.0.0.1"]
        command = [sys.executable, "-m", "torch.distributed.run", *how, "--master-port", port, "-m", "longcut", *what]
        nodes.append(subprocess.Popen([*command, "--out", "run"], cwd=tmp_path / f"node{node}"))
    assert [node.wait(600) for node in nodes] == [0, 0]
    subprocess.run([sys.executable, "-m", "longcut", *what, "--processes", "2", "--out", tmp_path / "here"], check=True)
    there, here = runs.read(tmp_path / "node0" / "run"), runs.read(tmp_path / "here")
    assert there.record.environment["processes"] == "2"
    alike(here.weights(), there.weights())
    assert not [*(tmp_path / "node1").iterdir()]
