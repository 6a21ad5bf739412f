"""Programs of other papers, run beside ours: the same files, net, batch and epochs, each in a process of its own.

What a program reads is known from its public description (``peers_layouts.py``). How it is called is not: none of the
descriptions at hand gives a whole command line, so that is given as ``--command NAME="..."``, in which stand

    {python} {folder} {data} {out} {epochs} {updates} {batch} {lr} {seed}

for the interpreter, the checkout (which is also where the command runs), the data in the program's own layout, a folder
to write to, and the settings; ``{updates}`` is for programs that count updates in place of epochs. The accuracy is the
last number that follows "acc" or "accuracy" in what it prints, in per cent if above 1, or what a pattern of one's own
finds. Peak memory is that of all its processes together, looked at every 20 ms.
"""

from __future__ import annotations

import json
import math
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from peers_env import settings
from peers_layouts import LAYOUTS, parity

from longcut.data import Splits

ACCURACY = r"(?i)acc(?:uracy)?\w*(?:@\d+)?[\"']?[\s:=]+(\d+(?:\.\d+)?)"


@dataclass(frozen=True)
class Program:
    """What is known of one.

    Attributes:
        layout: a name of :data:`LAYOUTS`.
        method: ours that does the same, with the settings of its paper where there are some.
        known: of its command line.
        binary: whether its data has two classes.
    """

    layout: str
    method: str
    known: str
    binary: bool = False


PROGRAMS = {
    "selecmix": Program("by_alignment", "selecmix@paper", "trains by epochs; mode by --intra, --inter or --rand"),
    "dfa": Program("by_alignment", "dfa", "trains by iterations"),
    "lff": Program("arrays", "lff@paper", "its data is named by skew and severity"),
    "group_dro": Program("birds", "group-dro", "begins with run_expt.py", True),
    "dfr": Program("birds", "dfr", "no program was described, only its steps", True),
    "jtt": Program("jtt", "jtt", "run_expt.py, by scripts that it generates, in five steps", True),
    "spuco": Program("wilds", "erm", "a library without a command; name a script of yours", True),
    "subpopbench": Program("subpopbench", "erm", "begins with python -m subpopbench.train", True),
}


@dataclass(frozen=True)
class Same:
    """The settings of both sides."""

    net: str = "mlp"
    epochs: int = 2
    batch: int = 256
    lr: float = 1e-3
    seed: int = 0


def watched(command: Sequence[str], cwd: Path, env: Mapping[str, str]) -> tuple[float, float, str]:
    """Seconds, peak memory of the process and all that come of it in MB, and what it printed.

    Raises:
        RuntimeError: when it fails, with the end of what it said.
    """
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as said:
        began = time.perf_counter()
        process = psutil.Popen(command, cwd=cwd, env=dict(env), stdout=said, stderr=subprocess.STDOUT)
        peak = 0
        while process.poll() is None:
            peak = max(peak, tree(process))
            time.sleep(0.02)
        seconds = time.perf_counter() - began
        said.seek(0)
        text = said.read()
    if process.returncode:
        raise RuntimeError(f"it ended with {process.returncode}: {' '.join(text.split())[-300:]}")
    return seconds, peak / 1e6, text


def tree(process: psutil.Process) -> int:
    """Resident bytes of a process and its descendants."""
    total = 0
    try:
        family = [process, *process.children(recursive=True)]
    except psutil.Error:
        return 0
    for one in family:
        try:
            total += one.memory_info().rss
        except psutil.Error:  # it has ended meanwhile
            continue
    return total


def accuracy(text: str, pattern: str) -> float | None:
    """The last number that the pattern finds, in [0, 1]; None where there is none."""
    found = re.findall(pattern, text)
    if not found:
        return None
    value = float(found[-1])
    return value / 100 if value > 1 else value


def ours(spec: str, method: str, same: Same, out: Path) -> dict[str, Any]:
    """Our side: the command line, on the files that were written for the peer."""
    command = [sys.executable, "-m", "longcut", "train", spec, "--method", method, "--net", same.net]
    command += ["--epochs", str(same.epochs), "--seed", str(same.seed), "--out", str(out), "--device", "cpu", "--json"]
    command += ["--set", f"batch={same.batch}", "--set", f"lr={same.lr}"]
    seconds, memory, text = watched(command, out.parent, {**settings(), "LONGCUT_CACHE": str(out.parent / "cache")})
    scores = json.loads(text[text.index("{") :])["scores"]["test"]["values"]
    return {"seconds": seconds, "memory_mb": memory, "accuracy": scores["average"]}


def beside(
    name: str, folder: Path, command: str, data: Splits, same: Same, pattern: str = ACCURACY, method: str = ""
) -> dict[str, Any]:
    """A row: seconds, peak memory and accuracy of a program and of ours; or why there is none."""
    program = PROGRAMS[name]
    row: dict[str, Any] = {"peer": name, "method": method or program.method}
    if not command:
        return {**row, "why": f'give --command {name}="..."; of its own command this is known: {program.known}'}
    if not folder.is_dir():
        return {**row, "why": f"{folder} is no folder"}
    if program.binary:
        data = parity(data)
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        (place / "data").mkdir()
        (place / "out").mkdir()
        spec = LAYOUTS[program.layout](data, place / "data")
        updates = same.epochs * math.ceil(len(data.train) / same.batch)
        words = {"python": sys.executable, "folder": folder, "data": place / "data", "out": place / "out"}
        words |= {"epochs": same.epochs, "updates": updates, "batch": same.batch, "lr": same.lr, "seed": same.seed}
        called = [word.format(**words) for word in shlex.split(command)]
        try:
            seconds, memory, text = watched(called, folder, settings())
            row["theirs"] = {"seconds": seconds, "memory_mb": memory, "accuracy": accuracy(text, pattern)}
            row["ours"] = ours(spec, row["method"], same, place / "run")
        except (OSError, RuntimeError) as error:
            side = "ours" if "theirs" in row else "theirs"
            return {**row, "why": f"{side}: {error}"}
    return {**row, "ratio": row["theirs"]["seconds"] / row["ours"]["seconds"]}
