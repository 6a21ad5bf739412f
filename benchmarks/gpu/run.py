"""Run cells of a recipe in slices of time: ``python benchmarks/gpu/run.py selecmix/table1 --only 1% --minutes 9``.

A slice ends before its time does, after a whole epoch, and says with exit status 75 that there is more to do; the same
command goes on from there, with the same bits wherever the device computes the same twice. The runs lie where
``longcut reproduce --out`` looks for them, so that it prints their table when all are done.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from fast import all_faster, ways_of

from longcut.errors import UserError
from longcut.fit import Epoch
from longcut.papers import queue, work
from longcut.record import Plan
from longcut.spec import pairs

MORE = 75  # exit status: try again


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
        found = queue([given.recipe], given.only, given.seeds, settings, out=out, gpu=True)
        for why, where in found.left_out.items():
            print(f"left out: {', '.join(where)}: {why}", file=sys.stderr)
        if found.left_out and not found.tasks:
            raise UserError(next(iter(found.left_out)))
        with all_faster(ways):
            outcome = work(found, 60 * given.minutes, given.device, on_epoch=told)
    except UserError as error:
        print(f"run.py: {error}", file=sys.stderr)
        return 2
    for what, why in outcome.failed:
        print(f"run.py: {what}: {why}", file=sys.stderr)
    print(f"{'more to do, the same command goes on' if outcome.left else 'all done'}: {out}")
    return MORE if outcome.left else 2 if outcome.failed else 0


def told(plan: Plan, epoch: Epoch) -> None:
    """A line for each epoch."""
    scores = epoch.row.get("test")
    at = f", test {100 * scores['average']:.2f} %, worst group {100 * scores['worst_group']:.2f} %" if scores else ""
    what = f"{plan.label} on {plan.data}, seed {plan.seed}"
    print(f"{what}: epoch {epoch.epoch}/{epoch.epochs}{at}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
