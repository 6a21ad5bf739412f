"""Killing a run at any moment and starting it again gives the same bits as not killing it."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from longcut import runs
from longcut.execute import execute
from longcut.files import to_json
from longcut.plans import plan

pytestmark = pytest.mark.slow
EPOCHS = 24
SETTINGS = {"epochs": EPOCHS, "average": 0.9, "schedule": "cosine", "net": "mlp:hidden=32-8"}
# saves after every epoch, so that a run of seconds has something to go on from
EAGER = "import longcut.runs as r; r.CHECKPOINT_SECONDS = 0; from longcut.cli import main; main()"


def start(python: list[str], folder: Path) -> subprocess.Popen:
    settings = [f"--set={key}={value}" for key, value in SETTINGS.items()]
    arguments = ["train", "colored-digits", "--method=selecmix", "--seed=5", "--select=best:average", "--device=cpu"]
    command = [sys.executable, *python, *arguments, *settings, f"--out={folder}", "--json"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, text=True)


def rows(folder: Path) -> int:
    path = folder / "history.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def kill_after(folder: Path, epochs: int, seconds: float) -> None:
    """Start, wait until so many epochs are done in all and some time of the next has passed, and SIGKILL."""
    process = start(["-c", EAGER], folder)
    deadline = time.monotonic() + 120
    while rows(folder) < epochs:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.001)
    time.sleep(seconds)
    process.kill()
    process.communicate()
    assert process.returncode == -9, "it was done before it was killed"


def history(folder: Path) -> list[dict]:
    return [{key: value for key, value in row.items() if key != "seconds"} for row in runs.read(folder).history()]


def test_killed_and_resumed_is_as_never_killed(tmp_path: Path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    settings = {"settings": SETTINGS, "seed": 5, "select": "best:average"}
    expected = execute(plan("colored-digits", "selecmix", **settings), whole).to_dict()
    rng = random.Random(0)
    for epochs in (rng.randint(1, 8), rng.randint(10, 18)):
        kill_after(parts, epochs, rng.uniform(0, 0.1))
        assert runs.read(parts).record.status == "running"
        assert (parts / "resume.pt").exists()
    last = start(["-m", "longcut"], parts)
    output, errors = last.communicate(timeout=120)
    assert (last.returncode, errors) == (0, "")
    record = json.loads(output)
    expected = json.loads(to_json(expected))
    assert {k: v for k, v in record.items() if k != "seconds"} == {k: v for k, v in expected.items() if k != "seconds"}
    assert history(parts) == history(whole)
    assert len(history(parts)) == EPOCHS
    for name in ("weights", "predictions", "gallery"):
        assert (parts / f"{name}.safetensors").read_bytes() == (whole / f"{name}.safetensors").read_bytes()
    assert {path.name for path in parts.iterdir()} == {path.name for path in whole.iterdir()}
