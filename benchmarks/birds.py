"""A hundred photographs that mislead, and what thirty look-ups are worth: ``python benchmarks/birds.py FOLDER``.

FOLDER holds ``metadata.csv`` and photographs of Waterbirds; a few hundred of them do. Of each bird 100 before the usual
background and 5 before the other are learned from, and 25 of each bird before each background are the test set; five
such picks. ``erm`` is told nothing, ``balanced-head`` the background of the thirty photographs that
``longcut annotate`` asks for, and then of all. All see features of a frozen EfficientNet-Lite0.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
from typer.testing import CliRunner

from longcut.cli import app

USUAL, ODD, TEST, BUDGET = 100, 5, 25, 30


def pick(folder: Path, seed: int) -> pd.DataFrame:
    """The photographs of one pick: columns path, bird, place and split."""
    birds = pd.read_csv(folder / "metadata.csv").sample(frac=1, random_state=seed)
    usual = birds.y == birds.place
    cell = birds.groupby([birds.y, usual]).cumcount()
    kept = cell < TEST + usual.map({True: USUAL, False: ODD})
    named = pd.DataFrame(
        {
            "path": "photos/" + birds.img_filename,
            "bird": birds.y.map({0: "landbird", 1: "waterbird"}),
            "place": birds.place.map({0: "land", 1: "water"}),
            "split": (cell < TEST).map({True: "test", False: "train"}),
        }
    )
    return named[kept].reset_index(drop=True)


def ran(*words: object) -> None:
    """One command of longcut."""
    done = CliRunner().invoke(app, [str(word) for word in words])
    if done.exit_code:
        raise SystemExit(f"longcut {' '.join(map(str, words))}: {done.output}")


def judged(birds: pd.DataFrame) -> dict[str, float]:
    """Accuracy of what was said of the test photographs, of all and of the worst pair of bird and background."""
    said = pd.read_csv("said.csv").prediction.to_numpy()
    test = birds[birds.split == "test"]
    right = (said == test.bird.to_numpy()).astype(float)
    groups = pd.Series(right).groupby([test.bird.to_numpy(), test.place.to_numpy()]).mean()
    return {"average": 100 * float(right.mean()), "worst group": 100 * float(groups.min())}


def measure(seed: int) -> dict[str, Any]:
    """The three rows of one pick, and how many counter-examples the look-ups found."""
    birds = pick(Path("photos"), seed)
    birds.to_csv("birds.csv", index=False)
    birds[birds.split == "test"][["path"]].to_csv("new.csv", index=False)
    place = dict(zip(birds.path, birds.place, strict=True))
    own = ["--image", "path", "--label", "bird", "--split", "split", "--drop", "place"]
    own += ["--features", "efficientnet-lite0", "--seed", seed, "--net", "linear"]
    ran("train", "birds.csv", *own, "-m", "erm", "--out", f"erm-{seed}")
    rows: dict[str, Any] = {}
    for name, budget in (("30 look-ups", BUDGET), ("all looked up", 2 * (USUAL + ODD))):
        ran("annotate", f"erm-{seed}", "--budget", budget, "--values", "land,water", "--seed", seed, "-o", "asked")
        asked = pd.read_csv("asked/to-look-up.csv")
        asked["attribute"] = asked.name.map(place)
        asked.to_csv("answers.csv", index=False)
        ran(
            "train",
            "birds.csv",
            *own,
            "-m",
            "balanced-head",
            "--answers",
            "answers.csv",
            "--epochs",
            1,
            "--out",
            f"{name}-{seed}",
        )
        usual = asked.label.map({"landbird": "land", "waterbird": "water"})
        rows[f"{name}: counter-examples"] = int((usual != asked.attribute).sum())
    for run in ("erm", "30 look-ups", "all looked up"):
        ran("predict", f"{run}-{seed}", "new.csv", "-o", "said.csv")
        rows[run] = judged(birds)
    print(rows, file=sys.stderr, flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, help="of metadata.csv and photographs")
    parser.add_argument("--picks", type=int, default=5)
    given = parser.parse_args()
    folder = given.folder.resolve()
    with tempfile.TemporaryDirectory() as work:
        os.chdir(work)
        shutil.copytree(folder, "photos")
        found = [measure(seed) for seed in range(given.picks)]
        os.chdir(folder)
    for run in ("erm", "30 look-ups", "all looked up"):
        for what in ("average", "worst group"):
            values = [row[run][what] for row in found]
            print(f"{run}, {what}: {statistics.fmean(values):.1f} ± {statistics.stdev(values):.1f}")
    counts = [row["30 look-ups: counter-examples"] for row in found]
    print(f"counter-examples found by {BUDGET} look-ups, of {2 * ODD}: {statistics.fmean(counts):.1f}")


if __name__ == "__main__":
    main()
