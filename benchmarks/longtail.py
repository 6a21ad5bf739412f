"""Who helps the tail? Methods that mix, resampling, and the controls that do not blend, on CIFAR-10-LT.

Of CIFAR-10 the largest class has 1,000 images here instead of the published 5,000, and the net is small, so that a run
takes less than a minute of one core: the numbers compare the rows with each other, not with papers.
``python benchmarks/longtail.py results/longtail.json`` adds the runs that the file does not have yet and prints the
table; ``--on valid --seeds 10`` judges by the validation part instead, by which settings were chosen.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from longcut import Splits, Training, fit, load
from longcut.evaluate import sample_values
from longcut.files import replacing, to_json
from longcut.methods import build
from longcut.numbers import spread, with_spread
from longcut.predict import predict

ROWS: dict[str, tuple[str, dict[str, Any]]] = {
    "ERM": ("erm", {}),
    "resampling": ("resample", {}),
    "mixup": ("mixup", {}),
    "mixup within a class": ("mixup", {"partner": "same-label"}),
    "CutMix": ("mixup", {"blend": "cut"}),
    "CMO": ("cmo", {"start": 1, "end": 1}),
    "CMO, unmixed": ("cmo", {"start": 1, "end": 1, "blend": "keep-both"}),
    "transplant, same place": ("transplant", {}),
    "transplant, moved": ("transplant", {"blend": "background-moved"}),
    "transplant, all around": ("transplant", {"blend": "background-around"}),
    "transplant, unmixed": ("transplant", {"blend": "keep-both"}),
    "transplant, anchors alone": ("transplant", {"alpha": 0.0, "blend": "linear"}),
    "similar classes": ("similar-mix", {}),
    "similar classes, cut": ("similar-mix", {"blend": "cut"}),
    "similar classes, unmixed": ("similar-mix", {"blend": "keep-both"}),
}
FACTORS = (50, 100)
NET = "conv:width=16,side=16"  # which averages 2 x 2 pixels of what was mixed
TRAINING = Training(epochs=25, batch=64, pool=4, lr=5e-3, schedule="cosine", augment="crop-flip", every=1000)
TAIL = 3  # the last classes, which are the rarest


@lru_cache(1)
def images(factor: int, seed: int) -> Splits:
    """Those that all rows of a factor and a seed share."""
    return load(f"cifar10:imbalance={factor},per_class=1000", seed)


def measure(row: str, factor: int, seed: int, on: str, training: Training = TRAINING, net: str = NET) -> dict[str, Any]:
    """One run: accuracy of each class after the last epoch."""
    method, options = ROWS[row]
    splits = images(factor, seed)
    began = time.process_time()
    model = build(method, splits.info, net=net, options=options, seed=seed)
    data = getattr(splits, on)
    fitted = fit(model, Splits(splits.train, None, data), training, seed=seed)
    right = sample_values(predict(fitted.method, data), data)
    accuracy = [float(right[data.label == label].float().mean()) for label in range(splits.info.n_classes)]
    seconds = round(time.process_time() - began, 1)
    return {"row": row, "factor": factor, "seed": seed, "on": on, "accuracy": accuracy, "cpu_seconds": seconds}


def table(runs: Iterable[dict[str, Any]], on: str) -> str:
    """Balanced accuracy and that of the tail, mean and deviation over the seeds; the best of factor 100 first."""
    known: dict[tuple[str, int], list[list[float]]] = {}
    for run in runs:
        if run["on"] == on:
            known.setdefault((run["row"], run["factor"]), []).append(run["accuracy"])

    def cell(row: str, factor: int, classes: slice) -> tuple[float | None, float | None]:
        return spread(sum(one[classes]) / len(one[classes]) for one in known.get((row, factor), []))

    rows = sorted({row for row, _ in known}, key=lambda row: -(cell(row, FACTORS[-1], slice(None))[0] or 0))
    lines = [
        "| row | " + " | ".join(f"factor {f} | tail | seeds" for f in FACTORS) + " |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = []
        for f in FACTORS:
            seeds = str(len(known.get((row, f), [])))
            cells += [with_spread(*cell(row, f, slice(None))), with_spread(*cell(row, f, slice(-TAIL, None))), seeds]
        lines.append(f"| {row} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("out", type=Path, help="JSON file of results, which grows")
    parser.add_argument("--seeds", default="0,1,2", help="of data and run, joined by commas")
    parser.add_argument("--factors", default="100,50", help="of imbalance, joined by commas")
    parser.add_argument("--on", choices=("valid", "test"), default="test", help="what is judged")
    parser.add_argument("--rows", help="some of the rows, joined by semicolons")
    given = parser.parse_args()
    torch.set_num_threads(1)
    done = json.loads(given.out.read_text("utf-8")) if given.out.exists() else []
    have = {(run["row"], run["factor"], run["seed"], run["on"]) for run in done}
    rows = given.rows.split(";") if given.rows else list(ROWS)
    for seed in map(int, given.seeds.split(",")):
        for factor in map(int, given.factors.split(",")):
            for row in rows:
                if (row, factor, seed, given.on) not in have:
                    done.append(measure(row, factor, seed, given.on))
                    with replacing(given.out) as temporary:
                        temporary.write_text(to_json(done, indent=1) + "\n", "utf-8")
    print(table(done, given.on))


if __name__ == "__main__":
    main()
