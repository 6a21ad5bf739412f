"""``make kill``: signals at random moments of commands, which are then given again, and must end with the same bits.

A case is a command that is hit up to ``HITS`` times and then left alone. A hit is INT, TERM, HUP or KILL, at a moment
of the time that the command takes, or before or after one of the files that it puts into its place. Half of the
commands begin in a process of their own, imports included; the others where all is imported, so that more of them are
hit in their work. Something is *lost* where

* a status or a message is another than that of an interruption, or a process is left over,
* epochs that were saved, runs that were done or models of an audit that were trained are done anew,
* an earlier audit or page cannot be read meanwhile, or
* what stands there in the end is not what an undisturbed command writes.
"""

from __future__ import annotations

import argparse
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
import traceback
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import torch

from longcut import runs, states
from longcut.audit import folder as audits

__all__ = ["KINDS", "Kind", "Lost", "Made", "case", "prepare"]

HITS = 3  # in a case
PATIENCE = 120  # seconds until a command hangs
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL)
DATA = "colored-digits:ratio=0.05"
SMALL = ("--net", "mlp:hidden=8")
TIMES = ("seconds", "checksums")  # fields that differ between two commands


class Lost(AssertionError):
    """What a signal cost."""


@dataclass(frozen=True)
class Kind:
    """A command that can be hit.

    Attributes:
        words: of the command, which writes to ``out``.
        share: how many of a hundred hits it gets.
        before: a command to the same place, that was done before.
        beside: whether the same command is on twice, of which one is hit.
    """

    words: tuple[str, ...]
    share: int
    before: tuple[str, ...] = ()
    beside: bool = False


def _train(method: str, epochs: int) -> tuple[str, ...]:
    return ("train", DATA, "-m", method, *SMALL, "--epochs", str(epochs), "--device", "cpu", "--out", "out")


_COMPARE = ("compare", DATA, "--methods", "erm,jtt", "--seeds", "2", *SMALL, "--epochs", "4", "--device", "cpu")
_AUDIT = ("audit", DATA, "--limit", "200", *SMALL, "--out", "out")
KINDS = {
    "erm": Kind(_train("erm", 20), 15),
    "jtt": Kind(_train("jtt", 12), 20),
    "selecmix": Kind(_train("selecmix", 12), 15),
    "compare": Kind((*_COMPARE, "--jobs", "2", "--out", "out"), 12),
    "beside": Kind((*_COMPARE, "--out", "out"), 6, beside=True),
    "audit": Kind(_AUDIT, 12),
    "again": Kind(_AUDIT, 8, before=("audit", "colored-digits:ratio=0.2", "--limit", "150", *SMALL, "--out", "out")),
    "report": Kind(("report", "runs", "-o", "out/report.html"), 12),
}


@dataclass
class Made:
    """What an undisturbed command takes and leaves.

    Attributes:
        seconds: in a process of its own, and where all is imported.
        replaced: how many files it puts into their place.
        left: their digests.
    """

    seconds: tuple[float, float]
    replaced: int
    left: Mapping[str, str]
    start: Path  # what stands there before


# --- commands ---------------------------------------------------------------------------------------------------------


@dataclass
class Command:
    """One that is on, in a session of its own.

    Attributes:
        forked: whether it began where all is imported.
        at: ``(n, signal, after)``: it is hit by itself, before or after its n-th file is put into its place.
    """

    words: Sequence[str]
    place: Path
    forked: bool
    at: tuple[int, signal.Signals, bool] | None = None
    said: Path = field(init=False)
    pid: int = field(init=False)

    def __post_init__(self) -> None:
        handle, name = tempfile.mkstemp(dir=self.place.parent, prefix="said-")
        self.said = Path(name)
        if self.forked:
            sys.stdout.flush()
            self.pid = os.fork()
            if self.pid == 0:
                self._go(handle)
        else:
            words = [sys.executable, "-m", "longcut", *self.words]
            self._process = subprocess.Popen(
                words, cwd=self.place, stdout=handle, stderr=handle, stdin=subprocess.DEVNULL, start_new_session=True
            )
            self.pid = self._process.pid
        os.close(handle)

    def _go(self, handle: int) -> None:
        """The forked process: it does not come back."""
        status = 1
        try:
            os.setsid()
            for number in SIGNALS[:3]:
                signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
            os.chdir(self.place)
            os.dup2(handle, 1)
            os.dup2(handle, 2)
            sys.argv = ["longcut", *self.words]
            _watch_replaced(self.at)
            from longcut.__main__ import main

            main()
            status = 0
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)

    def ended(self, within: float) -> int | None:
        """The status, or None where it is still on."""
        end = time.monotonic() + within
        while True:
            done, status = os.waitpid(self.pid, os.WNOHANG)
            if done:
                return os.waitstatus_to_exitcode(status)
            if time.monotonic() >= end:
                return None
            time.sleep(0.005)

    def hit(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def left_over(self) -> list[int]:
        """Processes of its session, some seconds after it ended."""
        end = time.monotonic() + 10
        while (found := [one for one in map(_process, Path("/proc").glob("[0-9]*")) if one[1] == self.pid]) and (
            time.monotonic() < end
        ):
            time.sleep(0.1)
        return [one[0] for one in found]


def _process(path: Path) -> tuple[int, int]:
    """Its id and that of its session; 0 for one that has ended."""
    try:
        fields = (path / "stat").read_text("utf-8").rpartition(")")[2].split()
    except OSError:
        return 0, 0
    return int(path.name), 0 if fields[0] == "Z" else int(fields[3])


def _watch_replaced(at: tuple[int, signal.Signals, bool] | None) -> None:
    """Count files that are put into their place, in ``.replaced``, and hit oneself at one of them."""
    own, count = os.replace, 0

    def replace(old: Any, new: Any) -> None:
        nonlocal count
        count += 1
        n, sent, after = at or (0, signal.SIGKILL, False)
        if n == count and not after:
            os.kill(os.getpid(), sent)
        own(old, new)
        if n == count and after:
            os.kill(os.getpid(), sent)
        if counted := os.environ.get("KILL_COUNT"):
            Path(counted).write_text(str(count))

    os.replace = replace


# --- what is there ----------------------------------------------------------------------------------------------------


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items() if key not in TIMES}
    return [_plain(item) for item in value] if isinstance(value, list) else value


def left(place: Path) -> dict[str, str]:
    """The digest of each file below ``out``, without what is timed; locks are not counted.

    Nor are files half written, which go after a minute.
    """
    found = {}
    for path in sorted((place / "out").rglob("*")):
        if not path.is_file() or path.name == runs.LOCK or (path.name.startswith(".") and path.suffix == ".tmp"):
            continue
        content = path.read_bytes()
        if path.suffix in (".json", ".jsonl"):
            rows = content.splitlines() if path.suffix == ".jsonl" else [content]
            content = json.dumps([_plain(json.loads(row)) for row in rows]).encode()
        timed = path.suffix == ".html" and (path.parent / audits.RECORD).exists()
        found[str(path.relative_to(place))] = "page" if timed else hashlib.sha256(content).hexdigest()
    return found


def _work(place: Path) -> dict[str, Any]:
    """What is not to be done anew: epochs saved of a run, a run that is done, and models of an audit."""
    done: dict[str, Any] = {}
    for record in (place / "out").rglob(runs.RECORD):
        run = record.parent
        if json.loads(record.read_bytes())["status"] == "done":
            done[str(run)] = ("done", (run / runs.WEIGHTS).stat().st_mtime_ns)
        elif (run / runs.RESUME).exists():
            done[str(run)] = ("on", len(_state(run / runs.RESUME)["history"]))
        for helper in run.glob("helper-*.pt"):
            done[str(helper)] = ("helper", _state(helper)["epochs"])
    for model in (place / "out").rglob(".models.tmp/*.safetensors"):
        done[str(model)] = ("model", model.stat().st_mtime_ns)
    return done


def _state(path: Path) -> dict[str, Any]:
    return torch.load(BytesIO(path.read_bytes().rpartition(states.MARK)[0]), weights_only=True)


def _require_kept(before: Mapping[str, Any], after: Mapping[str, Any], finished: bool, place: Path) -> None:
    audited = (place / "out" / "report.html").exists()
    for name, (what, value) in before.items():
        now = after.get(name)
        if what == "model" and now is None and (finished or audited):
            continue
        if what == "helper" and after.get(str(Path(name).parent), ("",))[0] == "done":
            continue
        if what in ("on", "helper"):
            kept = now is not None and (now[0] == "done" or now[1] >= value)
        else:
            kept = now == (what, value)
        if not kept:
            raise Lost(f"{name} was {what, value} and is {now}")


# --- cases ------------------------------------------------------------------------------------------------------------


def prepare(made: Path, kinds: Sequence[str] = tuple(KINDS)) -> dict[str, Made]:
    """Each command once, undisturbed."""
    found = {}
    for name in kinds:
        kind = KINDS[name]
        start = made / name / "start"
        start.mkdir(parents=True)
        if name == "report":
            _undisturbed(("train", DATA, "-m", "jtt", *SMALL, "--epochs", "2", "--out", "runs/jtt"), start)
        if kind.before:
            _undisturbed(kind.before, start)
        seconds, counts = [], made / name / "count"
        for forked in (False, True):
            place = made / name / f"whole-{forked}"
            shutil.copytree(start, place)
            began = time.monotonic()
            os.environ["KILL_COUNT"] = str(counts)
            _undisturbed(kind.words, place, forked)
            del os.environ["KILL_COUNT"]
            seconds.append(time.monotonic() - began)
        if left(made / name / "whole-True") != left(made / name / "whole-False"):
            raise Lost(f"{name}: two undisturbed commands leave other files")
        found[name] = Made((seconds[0], seconds[1]), int(counts.read_text()), left(place), start)
    return found


def _undisturbed(words: Sequence[str], place: Path, forked: bool = True) -> None:
    command = Command(words, place, forked)
    if (status := command.ended(PATIENCE * 3)) != 0:
        raise Lost(f"{' '.join(words)} ends with {status}: {command.said.read_text('utf-8')}")


def case(name: str, number: int, made: Made, hits: int = HITS, *, forked: bool | None = None) -> Counter[str]:
    """The signals that hit one command until it was left alone.

    Raises:
        Lost: with what was lost.
    """
    draw, kind, landed = random.Random(f"{name}-{number}"), KINDS[name], Counter[str]()
    with tempfile.TemporaryDirectory(prefix="longcut-kill-") as folder:
        place = Path(folder, "place")
        shutil.copytree(made.start, place)
        for _ in range(hits):
            alone = draw.random() < 0.5 if forked is None else not forked
            sent = draw.choice(SIGNALS)
            at = None
            if not alone and draw.random() < 0.5:
                at = (draw.randint(1, made.replaced), sent, draw.random() < 0.5)
            moment = draw.random() * made.seconds[not alone]
            before = _work(place)
            command = Command(kind.words, place, not alone, at)
            other = Command(kind.words, place, True) if kind.beside else None
            status = command.ended(PATIENCE if at else moment)
            if status is None and at:
                raise Lost(f"a hang before {at}")
            if status is None:
                command.hit(sent)
                status = command.ended(PATIENCE)
            ours = f"{sent.name} {f'at {at}' if at else f'after {moment:.2f} s'}, {'alone' if alone else 'forked'}"
            said = command.said.read_text("utf-8", "replace")
            if status == 0:
                finished = True
            else:
                landed[sent.name] += 1
                finished = False
                _require_clean(ours, sent, status, said)
            if over := command.left_over():
                raise Lost(f"{ours}: processes are left over: {over}")
            if other is not None and (status_of := other.ended(PATIENCE)) != 0:
                raise Lost(f"{ours}: the one beside ends with {status_of}: {other.said.read_text('utf-8')}")
            _require_kept(before, _work(place), finished or other is not None, place)
            _require_whole(kind, place)
            if finished or other is not None:
                break
        before = _work(place)
        _undisturbed(kind.words, place)
        _require_kept(before, _work(place), True, place)
        now = left(place)
        if now != made.left:
            differ = [file for file in {**now, **made.left} if now.get(file) != made.left.get(file)]
            raise Lost(f"after {dict(landed)}, other files than undisturbed: {differ}")
    return landed


def _require_clean(ours: str, sent: signal.Signals, status: int | None, said: str) -> None:
    """The status of an interruption (before Python listens, that of the signal), and no traceback."""
    ended = (-sent, -signal.SIGINT, 130)  # the last two are the same to a shell
    if status not in ended or (sent == signal.SIGKILL and status != -sent):
        raise Lost(f"{ours}: status {status}, and it said {said[-2000:]}")
    if "Traceback" in said:
        raise Lost(f"{ours}: a traceback: {said[-3000:]}")


def _require_whole(kind: Kind, place: Path) -> None:
    """What can be read meanwhile can be read whole."""
    if kind.before:
        audits.read(place / "out")
    page = place / "out" / "report.html"
    if page.exists() and not page.read_text("utf-8").rstrip().endswith("</html>"):
        raise Lost("half a page")


def main(words: Sequence[str] | None = None, tell: Callable[..., None] = print) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("n", nargs="?", type=int, default=200, help="how many signals")
    parser.add_argument("--only", help="a kind, or one case such as jtt-17")
    given = parser.parse_args(words)
    only, _, one = (given.only or "").partition("-")
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    runs.CHECKPOINT_SECONDS = 0.0  # where commands are forked, every epoch is saved
    counts = {name: Counter[str]() for name in KINDS if name == only or not only}
    with tempfile.TemporaryDirectory(prefix="longcut-kill-") as folder:
        whole = prepare(Path(folder), list(counts))
        for name, found in counts.items():
            wanted = given.n if only else max(1, given.n * KINDS[name].share // 100)
            number, last = (int(one), int(one) + 1) if one else (0, wanted * 4)
            while number < last and sum(found[sent.name] for sent in SIGNALS) < wanted:
                try:
                    found += case(name, number, whole[name])
                except Lost as lost:
                    found["lost"] += 1
                    tell(f"{name}-{number}: {lost}", flush=True)
                number += 1
            tell(f"{name}: {dict(found)}", flush=True)
    names = [sent.name for sent in SIGNALS]
    tell(f"{'command':10}{''.join(f'{name:>9}' for name in names)}{'lost':>9}")
    for name, found in [*counts.items(), ("all", sum(counts.values(), Counter()))]:
        tell(f"{name:10}{''.join(f'{found[sent]:9}' for sent in names)}{found['lost']:9}")
    return 1 if any(found["lost"] for found in counts.values()) else 0


if __name__ == "__main__":
    raise SystemExit(main())
