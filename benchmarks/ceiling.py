"""How far a linear layer on features of Waterbirds comes in the worst group: ``python benchmarks/ceiling.py FILE.npz``.

Logistic regressions that weigh groups alike, of the validation set and of training and validation set, with the true
place or, in training, the one that the validation set predicts. All penalties are printed, judged on the test set:
their best is an upper bound and no result that somebody could have chosen.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

PENALTIES = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3)  # C: the smaller, the stronger


def balanced(
    x: NDArray[np.float32], target: NDArray[np.int64], group: NDArray[np.int64], c: float
) -> LogisticRegression:
    """Fitted with all groups weighed alike."""
    weight = len(group) / 4 / np.bincount(group, minlength=4)[group]
    return LogisticRegression(C=c, max_iter=300).fit(x, target, sample_weight=weight)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("file", type=Path, help="arrays x, label, attribute, split (0 train, 1 valid, 2 test)")
    file = np.load(parser.parse_args().file)
    x, label, place = file["x"].astype(np.float32), file["label"].astype(int), file["attribute"].astype(int)
    train, valid, test = (file["split"] == part for part in range(3))
    x = (x - x[train].mean(0)) / (x[train].std(0) + 1e-6)
    group = 2 * label + place
    guess = balanced(x[valid], place[valid], group[valid], 1e-3).predict(x)
    print(f"place in training, guessed from the validation set: {(guess == place)[train].mean():.1%} right")
    guessed, both = np.where(train, 2 * label + guess, group), train | valid
    for what, rows, known in (
        ("validation", valid, group),
        ("both, training guessed", both, guessed),
        ("both, true", both, group),
    ):
        for c in PENALTIES:
            hit = balanced(x[rows], label[rows], known[rows], c).predict(x[test]) == label[test]
            worst = min(hit[group[test] == one].mean() for one in range(4))
            print(f"{what}, C={c:g}: worst group {worst:.1%}", flush=True)


if __name__ == "__main__":
    main()
