"""Signals at random moments of training, comparing, auditing and reporting: nothing is lost, and the bits are the same.

    python tests/kill.py 200

Each try starts a command, sends it INT, TERM, HUP or KILL after a random part of the time that it takes undisturbed,
perhaps several times, gives the same command again until it is done, and compares what it wrote with what it writes
undisturbed. A traceback, a refusal, a worker that is left or another bit is a fault.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

SHORT = ("colored-digits:ratio=0.05", "--epochs", "20", "--net", "mlp:hidden=32", "--device", "cpu")
COMMANDS: dict[str, tuple[str, ...]] = {
    "train erm": ("train", *SHORT, "--method", "erm", "--out", "out"),
    "train jtt": ("train", *SHORT, "--method", "jtt", "--out", "out"),
    "train selecmix": ("train", *SHORT, "--method", "selecmix", "--out", "out"),
    "compare": ("compare", *SHORT, "--methods", "erm,lff", "--seeds", "1", "--jobs", "2", "--out", "out"),
    "audit": ("audit", SHORT[0], "--limit", "200", "--net", "mlp:hidden=8", "--out", "out"),
    "report": ("report", "given", "-o", "out/page.html"),
}
SIGNALS = ("INT", "TERM", "HUP", "KILL")
VARYING = ("seconds", "environment", "checksums", "command")  # what differs between undisturbed runs


def printed(path: Path) -> str:
    """A print of a file, of a record without what differs between undisturbed runs."""
    if path.name in ("run.json", "audit.json"):
        record = {key: value for key, value in json.loads(path.read_bytes()).items() if key not in VARYING}
        return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()
    return hashlib.sha256(path.read_bytes()).hexdigest()


def left(folder: Path) -> dict[str, str]:
    """Prints of all that a command left, by name; histories and summaries hold seconds, a page is made from them."""
    kept = ("weights", "predictions", "gallery", "judged", "suspects", "run", "audit", "inputs", "resume", "page")
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name.startswith(kept))
    return {str(path.relative_to(folder)): printed(path) for path in files}


def start(words: tuple[str, ...], folder: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "LONGCUT_CACHE": str(folder.parent / "cache")}
    return subprocess.Popen(
        [sys.executable, "-m", "longcut", *words],
        cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


def undisturbed(name: str, place: Path) -> tuple[dict[str, str], float]:
    """What the command leaves, and the seconds it takes."""
    began = time.monotonic()
    process = start(COMMANDS[name], place)
    _, error = process.communicate()
    if process.returncode:
        raise SystemExit(f"{name} fails undisturbed: {error}")
    return left(place / "out"), time.monotonic() - began


def prepared(root: Path, name: str) -> Path:
    place = root / name
    place.mkdir()
    if (root / "given").exists():
        shutil.copytree(root / "given", place / "given")
    return place


def attempt(draw: random.Random, name: str, root: Path, expected: dict[str, str], seconds: float) -> tuple[int, str]:
    """How many signals were sent, and what went wrong; empty when nothing did."""
    place, sent = prepared(root, "try"), 0
    for _ in range(draw.randint(1, 3)):
        process = start(COMMANDS[name], place)
        what = draw.choice(SIGNALS)
        try:
            _, error = process.communicate(timeout=draw.uniform(0.1, seconds))
        except subprocess.TimeoutExpired:
            process.send_signal(getattr(signal, f"SIG{what}"))
            sent += 1
            _, error = process.communicate(timeout=120)
        if "Traceback" in error and "KeyboardInterrupt" not in error.splitlines()[-1]:
            return sent, f"{what}: {error}"
    process = start(COMMANDS[name], place)
    _, error = process.communicate(timeout=600)
    found = left(place / "out")
    other = sorted(key for key in {*expected, *found} if expected.get(key) != found.get(key))
    shutil.rmtree(place)
    if process.returncode or other:
        return sent, f"status {process.returncode}, {', '.join(other) or error}"
    return sent, ""


def main(signals: int, seed: int = 0) -> int:
    """Send so many signals; the number of faults."""
    draw, faults, sent = random.Random(seed), 0, 0
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        given = root / "first"
        given.mkdir()
        undisturbed("train erm", given)
        shutil.move(given / "out", root / "given")
        known: dict[str, Any] = {}
        for name in COMMANDS:
            known[name] = undisturbed(name, prepared(root, f"as it is, {name}"))
        counts = dict.fromkeys(COMMANDS, 0)
        while sent < signals:
            name = draw.choice(list(COMMANDS))
            more, fault = attempt(draw, name, root, *known[name])
            sent, counts[name] = sent + more, counts[name] + more
            if fault:
                faults += 1
                shutil.rmtree(root / "try", ignore_errors=True)
                print(f"{name}: {fault}", flush=True)
            print(f"{sent} of {signals} signals, {faults} faults", file=sys.stderr, flush=True)
    print(f"{sent} signals ({', '.join(f'{name} {n}' for name, n in counts.items())}), {faults} faults")
    return faults


if __name__ == "__main__":
    sys.exit(bool(main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)))
