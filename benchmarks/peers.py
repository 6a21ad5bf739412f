"""Peers in the same run as longcut: packages of an index, and programs of other papers.

    python benchmarks/peers.py --env peers-env --json results/peers.json
    python benchmarks/peers.py --peer selecmix=SelecMix --command selecmix="{python} train.py --data {data} ..."

The first installs the packages into an environment of the benchmark's own, which is made when it is missing and sees
the project's torch, and does what both can do on the same tensors, in turns, on one thread. A ratio is the peer's time
(seconds of the processor) over ours, so above 1 longcut is faster. The second trains a program and ours on the same
files; what may stand in a command is told by ``benchmarks/peers_programs.py``. What cannot be had is a row that says
so.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from peers_env import installed, made, settings
from peers_pieces import PACKAGES
from peers_programs import ACCURACY, PROGRAMS, Same, beside

from longcut.datasets import load
from longcut.errors import UserError
from longcut.files import replacing

MEASURES = Path(__file__).parent / "peers_packages.py"
Row = dict[str, Any]


def packages(folder: Path, names: Sequence[str], pairs: int, small: bool) -> Iterator[Row]:
    """The rows of each package, measured in an interpreter of the environment; or why there are none."""
    python, there = made(folder), []
    for name in names:
        if why := installed(python, PACKAGES[name][1]):
            yield {"peer": name, "why": why}
        else:
            there.append(name)
    if not there:
        return
    command = [python, MEASURES, *there, "--pairs", pairs, *(["--small"] if small else [])]
    with subprocess.Popen(
        [str(word) for word in command], env=settings(), stdout=subprocess.PIPE, text=True, encoding="utf-8"
    ) as process:
        assert process.stdout is not None
        yield from (json.loads(line) for line in process.stdout if line.startswith("{"))
    if process.returncode:
        yield {"peer": ", ".join(there), "why": f"measuring ended with {process.returncode}"}


def shown(row: Row) -> str:
    """One line of the table."""
    if "why" in row:
        return f"{row['peer']:24s} {row['why']}"
    if "theirs" in row:
        sides = [
            f"{side['seconds']:.1f} s, {side['memory_mb']:.0f} MB, "
            + ("no accuracy" if side["accuracy"] is None else f"{100 * side['accuracy']:.1f} %")
            for side in (row["theirs"], row["ours"])
        ]
        return f"{row['peer']:24s} {row['method']:16s} {sides[0]}; ours {sides[1]}; ratio {row['ratio']:.2f}"
    gap = "" if row["gap"] is None else f"   {row['about']}: {row['gap']:.1g} apart"
    times = f"{row['ours_ms']:9.2f} ms   {row['ratio']:7.2f} ({row['low']:.2f} to {row['high']:.2f})"
    return f"{row['peer']:24s} {row['what']:62s} {times}{gap}"


def named(pairs: Sequence[str], option: str) -> dict[str, str]:
    """``NAME=VALUE`` of programs.

    Raises:
        UserError: for a name that is none of them.
    """
    found = {name: value for name, _, value in (pair.partition("=") for pair in pairs)}
    for name in found:
        if name not in PROGRAMS:
            raise UserError(f"{option} names '{name}'; there are {', '.join(PROGRAMS)}: give one as NAME=VALUE.")
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", type=Path, help="folder of the environment for packages, made when it is missing")
    parser.add_argument("--packages", nargs="+", default=list(PACKAGES), choices=PACKAGES)
    parser.add_argument("--pairs", type=int, default=9, help="alternating measurements of each piece")
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=FOLDER", help="a program's checkout")
    parser.add_argument("--command", action="append", default=[], metavar='NAME="..."', help="how it is called")
    parser.add_argument("--method", action="append", default=[], metavar="NAME=SPEC", help="ours that does the same")
    parser.add_argument("--accuracy", action="append", default=[], metavar="NAME=REGEX", help="finds its accuracy")
    parser.add_argument("--data", default="colored-digits", help="data of the programs")
    parser.add_argument("--net", default="mlp", help="ours; the program's stands in its command")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--small", action="store_true", help="tiny tensors, once: whether it runs, not how fast")
    parser.add_argument("--json", type=Path, help="file to write")
    given = parser.parse_args(arguments)
    rows: list[Row] = []

    def keep(row: Row) -> None:
        rows.append(row)
        print(shown(row), flush=True)

    if given.env is None and not given.peer:
        parser.error("give --env FOLDER for packages, --peer NAME=FOLDER for programs, or both")
    options = (given.peer, given.command, given.method, given.accuracy)
    peers, commands, methods, patterns = map(named, options, ("--peer", "--command", "--method", "--accuracy"))
    if given.env is not None:
        for row in packages(given.env.resolve(), given.packages, 1 if given.small else given.pairs, given.small):
            keep(row)
    if peers:
        data = load(given.data)
        same = Same(given.net, given.epochs, given.batch, given.lr)
        for name, folder in peers.items():
            pattern = patterns.get(name, ACCURACY)
            place = Path(folder).expanduser().resolve()
            keep(beside(name, place, commands.get(name, ""), data, same, pattern, methods.get(name, "")))
    if given.json:
        about = {"torch": torch.__version__, "python": platform.python_version(), "threads": 1, "rows": rows}
        with replacing(given.json) as temporary:
            temporary.write_text(json.dumps(about, indent=1, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    main()
