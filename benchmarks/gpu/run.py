"""Run cells of a recipe in slices of time: ``python benchmarks/gpu/run.py selecmix/table1 --only 1% --minutes 9``.

A slice ends before its time does, after a whole epoch, and says with exit status 75 that there is more to do; the same
command goes on from there, with the same bits wherever the device computes the same twice. The runs lie where
``longcut reproduce --out`` looks for them, so that it prints their table when all are done.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from fast import all_faster, ways_of

from longcut import runs
from longcut.errors import UserError
from longcut.execute import execute
from longcut.fit import Epoch
from longcut.papers import cells, require_weights
from longcut.plans import folder_name, slug
from longcut.record import Plan
from longcut.spec import pairs

MORE = 75  # exit status: try again
RESERVE = 1.5  # an epoch may take this many times the longest so far


class Stop(Exception):
    """The slice is over."""


class Slice:
    """Watches the time, and stops a run when its next epoch might not fit."""

    def __init__(self, seconds: float) -> None:
        self.end = time.monotonic() + seconds
        self.longest = 0.0
        self.now = time.monotonic()

    def begin(self) -> None:
        """Before a run: stop if no epoch would fit. The first epoch of a slice is done in any case."""
        self.now = time.monotonic()
        if self.longest and self.now + RESERVE * self.longest > self.end:
            raise Stop

    def on_epoch(self, epoch: Epoch) -> None:
        """After an epoch. The last one is followed by a last look at the test set, which is allowed to finish."""
        before, self.now = self.now, time.monotonic()
        self.longest = max(self.longest, self.now - before)
        print(f"  epoch {epoch.epoch}/{epoch.epochs} {_test(epoch)}", file=sys.stderr, flush=True)
        if epoch.epoch < epoch.epochs and self.now + RESERVE * self.longest > self.end:
            raise Stop


def _test(epoch: Epoch) -> str:
    if "test" not in epoch.row:
        return ""
    average, worst = (100 * epoch.row["test"][name] for name in ("average", "worst_group"))
    return f"test {average:.2f} %, worst group {worst:.2f} %"


def wanted(recipe: str, only: Sequence[str], seeds: int | None, settings: Mapping[str, str]) -> Iterator[Plan]:
    """The runs of the cells, each once, first seeds first, so that a whole table with one seed comes early."""
    found = [plans for cell in cells(recipe, only, seeds, settings) for plans in (cell.plans, cell.against)]
    once = {(one.data, one.label, one.seed): one for plans in found for one in plans}
    yield from sorted(once.values(), key=lambda one: one.seed)


def work(plans: Sequence[Plan], out: Path, seconds: float, device: str) -> bool:
    """Do as much as fits; whether all is done."""
    watch = Slice(seconds)
    for number, one in enumerate(plans, 1):
        folder = out / slug(one.data) / folder_name(one)
        record = runs.check(folder, one)
        if record is not None and record.done:
            continue
        print(f"{number}/{len(plans)} {one.label} on {one.data}, seed {one.seed}", file=sys.stderr, flush=True)
        try:
            watch.begin()
            execute(one, folder, watch.on_epoch, device)
        except Stop:
            return False
    return True


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", help="such as selecmix/table1")
    parser.add_argument("--only", action="append", default=[], help="data set, column or row; repeatable")
    parser.add_argument("--seeds", type=int)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="settings")
    parser.add_argument("--epochs", help="the same as --set epochs=…")
    parser.add_argument("--weights", help="file of pretrained weights, for nets that start from one; none: random ones")
    parser.add_argument("--minutes", type=float, default=9.0, help="of this slice")
    parser.add_argument("--out", type=Path, default=Path("runs/gpu"))
    parser.add_argument("--ways", default="", help="some of bf16, channels-last and compile, joined by commas")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    given = parser.parse_args(arguments)
    try:
        ways = ways_of(given.ways)
        # a run does not say how it was computed, so those that were computed alike have a folder of their own
        out = given.out / ("+".join(ways) or "plain")
        named = {"epochs": given.epochs, "weights": given.weights}
        settings = pairs(given.settings, "of --set ", "--set lr=0.01") | {
            key: value for key, value in named.items() if value
        }
        plans = list(wanted(given.recipe, given.only, given.seeds, settings))
        require_weights(plans)
        with all_faster(ways):
            done = work(plans, out, 60 * given.minutes, given.device)
    except UserError as error:
        print(f"run.py: {error}", file=sys.stderr)
        return 2
    print(f"{'all done' if done else 'more to do, the same command goes on'}: {out}")
    return 0 if done else MORE


if __name__ == "__main__":
    sys.exit(main())
