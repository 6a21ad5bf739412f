"""Accuracy against equalized odds on Adult and COMPAS: ``python benchmarks/fairness.py --figure fairness.svg``.

Every row sees the same random splits (70/15/15, one for each seed). A row with several settings is judged by the one
that is best on validation, mean over the splits: the lowest sum of differences among those that lose at most ``LOSS``
accuracy against ordinary training; of LfF, which is not told the attribute, the most accurate. Post-processing is
fitted on the validation set, and its rates are expected ones, as are those of fairlearn's reduction. "threshold" is one
for everybody: it, and the methods that are not told the attribute, need it on validation samples alone. Splits of one
data set overlap, so p is of Nadeau and Bengio's corrected paired t-test (2003).

Every finished run is written to ``results/fairness.json`` at once, so a killed benchmark goes on where it was.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import statistics
import time
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ledger import Ledger
from scipy.special import stdtr
from torch import Tensor

from longcut.data import Dataset, Splits
from longcut.datasets import load
from longcut.estimators import DebiasedClassifier
from longcut.fit import Training, fit
from longcut.methods import METHODS, build
from longcut.numbers import spread, with_spread
from longcut.postprocess import fit_rule, rates
from longcut.predict import predict

FILE = Path(__file__).parent.parent / "results" / "fairness.json"
DATA = ("adult", "compas")
PUBLISHED = {  # accuracy in per cent and equalized odds, taken to be the sum, in Jang and Wang 2023, Table 3
    "adult": {"erm": (84.3, 0.114), "hardt": (82.8, 0.055), "laftr": (83.9, 0.083), "lff": (82.1, 0.185)}
    | {"dcl": (81.8, 0.136), "hcl": (81.9, 0.132), "wcl": (82.6, 0.104)},
    "compas": {"erm": (65.2, 0.289), "hardt": (61.8, 0.115), "laftr": (62.6, 0.098), "lff": (62.5, 0.124)}
    | {"dcl": (61.9, 0.195), "hcl": (62.0, 0.198), "wcl": (64.3, 0.113)},
}
LOOP = {"net": "mlp:hidden=128-128", "batch": 256, "lr": 1e-3, "epochs": 20}
CONTRAST = {"batch": 128, "epochs": 10}
NARROW = {"net": "mlp:hidden=8-8,activation=leaky", "batch": 64, "adversary": 8}  # as published
ROWS: dict[str, tuple[str, list[dict[str, Any]]]] = {
    "erm": ("erm", [{}]),
    "reweight by group": ("reweight", [{"by": "group"}]),
    "laftr": ("laftr", [{**NARROW, "fair": fair} for fair in (0.1, 0.3, 1.0)]),
    "hsic": ("hsic", [{"weight": weight} for weight in (1.0, 3.0, 10.0, 30.0)]),
    "hsic, guessed": ("guessed", [{"weight": weight} for weight in (10.0, 30.0)]),
    "lff": ("lff", [{"q": q} for q in (0.01, 0.1, 0.3, 0.7)]),
    "exponentiated gradient": ("reduction", [{"bound": 0.01}]),
    **{name: (name, [CONTRAST]) for name in ("simclr", "dcl", "hcl", "wcl")},
}
FREE = (
    "erm",
    "hsic, guessed",
    "lff",
    "simclr",
    "dcl",
    "hcl",
    "wcl",
)  # which see no attribute, and with one threshold never do
RULES = {name: ("threshold",) for name in FREE if name in ROWS} | {"erm": ("hardt", "scores", "threshold")}
SHOWN = tuple(one for name in ROWS for one in (name, *(f"{name}, {rule}" for rule in RULES.get(name, ()))))
LOSS = 0.02
BELOW = 0.08  # accuracy, beyond which the figure does not look
SEEDS = 10
TRIALS = (100, 101)  # splits

Found = dict[str, Any]


# --- runs -------------------------------------------------------------------------------------------------------------


def told(run: Found) -> dict[str, float]:
    """What is printed of a run."""
    test = {name: round(run["test"][name], 4) for name in ("accuracy", "equalized_odds_sum")}
    return {**test, "cpu_seconds": run["cpu_seconds"]}


def made(data: str, method: str, seed: int, settings: Mapping[str, Any]) -> Found:
    """Train on the seed's split, and the rates on its validation and test sets, after the last epoch."""
    splits, began = load(data, seed), time.process_time()
    make = {"reduction": reduction, "guessed": guessed}.get(method, trained)
    found = make(splits, method, seed, settings)
    return {**found, "cpu_seconds": round(time.process_time() - began, 1)}


def trained(splits: Splits, method: str, seed: int, settings: Mapping[str, Any]) -> Found:
    """By a method of ours; where it is ordinary training, also post-processed."""
    given = {**LOOP, **METHODS[method].training_defaults, **settings}
    net = given.pop("net")
    loop = {name: value for name, value in given.items() if name in Training.__dataclass_fields__}
    options = {name: value for name, value in given.items() if name not in loop}
    model = build(method, splits.info, net=net, options=options, seed=seed)
    model = fit(model, splits, Training(**{"every": loop["epochs"], **loop}), seed=seed).method
    assert splits.valid is not None
    valid, test = (predict(model, part) for part in (splits.valid, splits.test))
    found: Found = {"valid": judged(valid.argmax(1), splits.valid), "test": judged(test.argmax(1), splits.test)}
    assert splits.test.attribute is not None
    for rule in ("hardt", "scores", "threshold") if method == "erm" else ("threshold",):
        chance = fit_rule(valid, splits.valid, rule=rule)
        assert splits.valid.attribute is not None
        found[rule] = {
            "valid": judged(chance(valid, splits.valid.attribute), splits.valid),
            "test": judged(chance(test, splits.test.attribute), splits.test),
        }
    return found


def guessed(splits: Splits, method: str, seed: int, settings: Mapping[str, Any]) -> Found:
    """HSIC where the attribute of training samples is guessed, by a regression fitted on validation samples."""
    told = dataclasses.replace(splits.train, attribute=guess(splits))
    return trained(Splits(told, splits.valid, splits.test), "hsic", seed, settings)


def guess(splits: Splits) -> Tensor:
    """The attribute of training samples ``(n,)``, as a regression on inputs and label says."""
    from sklearn.linear_model import LogisticRegression

    valid = splits.valid
    assert valid is not None and valid.attribute is not None

    def known(data: Dataset) -> Any:
        return np.column_stack([_rows(data), data.label.numpy()])

    fitted = LogisticRegression(C=0.1, max_iter=1000).fit(known(valid), valid.attribute.numpy())
    return torch.from_numpy(fitted.predict(known(splits.train)))


def reduction(splits: Splits, method: str, seed: int, settings: Mapping[str, Any]) -> Found:
    """By fairlearn's exponentiated gradient over weighted classifiers of ours; expected rates of the randomised one."""
    from fairlearn.reductions import EqualizedOdds, ExponentiatedGradient

    train = splits.train
    assert train.attribute is not None and splits.valid is not None
    steps = LOOP["epochs"] * math.ceil(len(train) / LOOP["batch"])
    base = DebiasedClassifier(
        "erm", net=LOOP["net"], steps=steps, batch_size=LOOP["batch"], lr=LOOP["lr"], random_state=seed
    )
    bound = EqualizedOdds(difference_bound=settings["bound"])
    reduced: Any = ExponentiatedGradient(base, bound, max_iter=settings.get("iterations", 10))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of fairlearn about the pandas that it uses
        reduced.fit(_rows(train), train.label.numpy(), sensitive_features=train.attribute.numpy())

    def chance(data: Dataset) -> Tensor:
        weighted = zip(reduced.weights_, reduced.predictors_, strict=False)
        return sum(weight * torch.from_numpy(one.predict(_rows(data))) for weight, one in weighted if weight)  # type: ignore[return-value]

    return {"valid": judged(chance(splits.valid), splits.valid), "test": judged(chance(splits.test), splits.test)}


def _rows(data: Dataset) -> Any:
    return data.gather(torch.arange(len(data))).numpy()


def judged(chance: Tensor, data: Dataset) -> Found:
    """Rates by name."""
    return rates(chance, data).to_dict()


# --- tables and figure ------------------------------------------------------------------------------------------------


def collected(ledger: Ledger, data: str, rows: list[str], seeds: int) -> dict[str, list[tuple[Found, list[Found]]]]:
    """Of each row, its settings with their runs; of post-processing, the runs of erm."""
    every = {}
    for name in rows:
        method, variants = ROWS[name]
        every[name] = [(one, [ledger.run(data, method, seed, one) for seed in range(seeds)]) for one in variants]
    for name, settings in list(every.items()):
        for rule in RULES.get(name, ()):
            seconds = [[{**run[rule], "cpu_seconds": run["cpu_seconds"]} for run in runs] for _, runs in settings]
            every[f"{name}, {rule}"] = [(one, runs) for (one, _), runs in zip(settings, seconds, strict=True)]
    return every


def mean(runs: list[Found], part: str, name: str) -> float:
    return statistics.fmean(run[part][name] for run in runs)


def chosen(name: str, settings: list[tuple[Found, list[Found]]], baseline: list[Found]) -> tuple[Found, list[Found]]:
    """The setting that is best on validation."""
    least = mean(baseline, "valid", "accuracy") - LOSS
    accurate = [one for one in settings if mean(one[1], "valid", "accuracy") >= least]
    if name.startswith("lff") or not accurate:
        return max(settings, key=lambda one: mean(one[1], "valid", "accuracy"))
    return min(accurate, key=lambda one: mean(one[1], "valid", "equalized_odds_sum"))


def table(data: str, every: Mapping[str, list[tuple[Found, list[Found]]]]) -> Iterator[str]:
    """A line for each row."""
    ((_, baseline),) = every["erm"]
    for name in (name for name in SHOWN if name in every):
        setting, runs = chosen(name, every[name], baseline)
        cells = [
            _spread(runs, key)
            for key in ("accuracy", "equalized_odds_sum", "equalized_odds_max", "equalized_odds_mean")
        ]
        against = ["–", "–"]
        if name != "erm":
            against = [_against(runs, baseline, key) for key in ("accuracy", "equalized_odds_sum")]
        shown = ", ".join(f"{key}={value}" for key, value in setting.items() if key not in NARROW) or "–"
        theirs = PUBLISHED[data].get(name.removeprefix("erm, "))
        published = f"{theirs[0]} / {100 * theirs[1]:.1f}" if theirs else "–"
        seconds = f"{statistics.fmean(run['cpu_seconds'] for run in runs):.0f}"
        yield f"| {' | '.join([data, name, *cells, *against, published, shown, seconds])} |"


def _spread(runs: list[Found], name: str) -> str:
    """In points of 100."""
    return with_spread(*spread(run["test"][name] for run in runs))


def _against(runs: list[Found], baseline: list[Found], name: str) -> str:
    """Mean difference in points of 100, and p."""
    differences = [one["test"][name] - other["test"][name] for one, other in zip(runs, baseline, strict=True)]
    return f"{100 * statistics.fmean(differences):+.1f} (p = {corrected_p(differences):.2g})"


def corrected_p(differences: list[float], ratio: float = 15 / 70) -> float:
    """Two-sided p of a mean difference over random splits; nan where all are equal, or there is one.

    The variance is of ``1 / n + ratio``, with the ratio of the sizes of test and training sets, in place of ``1 / n``.
    """
    n = len(differences)
    deviation = statistics.stdev(differences) if n > 1 else 0.0
    if not deviation:
        return math.nan
    t = statistics.fmean(differences) / (deviation * math.sqrt(1 / n + ratio))
    return 2 * float(stdtr(n - 1, -abs(t)))


def draw(found: Mapping[str, Mapping[str, list[tuple[Found, list[Found]]]]], path: Path) -> None:
    """Accuracy against equalized odds, mean over the splits: each setting of a row a point, the chosen one a ring.

    What is more than ``BELOW`` less accurate than ordinary training lies outside the frame.
    """
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2 * len(found), 5.6), layout="constrained")
    lines: dict[str, Any] = {}
    for data, axes in zip(found, figure.subplots(1, len(found), squeeze=False)[0], strict=True):
        every = found[data]
        ((_, baseline),) = every["erm"]
        for number, name in enumerate(SHOWN):
            if name not in every:
                continue
            color = colormaps["tab20"](number % 20)
            points = sorted(_point(runs) for _, runs in every[name])
            lines[name] = axes.plot(*zip(*points, strict=True), marker="o", markersize=4, color=color)[0]
            axes.plot(
                *_point(chosen(name, every[name], baseline)[1]), marker="o", markersize=10, mfc="none", color=color
            )
        axes.set(title=data, xlabel="equalized odds, sum of differences (points)", ylabel="accuracy (per cent)")
        accuracy = _point(baseline)[1]
        axes.set_ylim(accuracy - 100 * BELOW, max(_point(runs)[1] for row in every.values() for _, runs in row) + 1)
    figure.legend(lines.values(), lines.keys(), loc="outside lower center", ncols=4, fontsize=8)
    figure.savefig(path)


def _point(runs: list[Found]) -> tuple[float, float]:
    return 100 * mean(runs, "test", "equalized_odds_sum"), 100 * mean(runs, "test", "accuracy")


def choice(data: str) -> Iterator[str]:
    """What was looked at before the rows were fixed, on splits that no row has."""
    both = [load(data, seed) for seed in TRIALS]
    for views in ("feature-noise", "feature-swap"):
        settings = {"batch": 128, "epochs": 5, "views": views}
        runs = [trained(splits, "simclr", seed, settings) for splits, seed in zip(both, TRIALS, strict=True)]
        yield f"{data}: probe of simclr, views by {views}, validation: {100 * mean(runs, 'valid', 'accuracy'):.1f} %"
    right = [float((guess(splits) == splits.train.attribute).double().mean()) for splits in both]
    yield f"{data}: the guess of the attribute is right for {100 * statistics.fmean(right):.1f} % of training samples"


def main() -> None:
    """Run what is missing, print the table, draw the figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", nargs="+", default=list(DATA), choices=DATA)
    parser.add_argument("--rows", nargs="+", default=list(ROWS), choices=ROWS, help="these, and erm")
    parser.add_argument("--splits", type=int, default=SEEDS)
    parser.add_argument("--figure", type=Path, help="file to draw to, .png or .svg")
    parser.add_argument("--choice", action="store_true", help="what the choice of views was made by, and no more")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.choice:
        return print("\n".join(line for data in arguments.data for line in choice(data)))
    ledger = Ledger(FILE, made, told)
    rows = [name for name in ROWS if name in {"erm", *arguments.rows}]
    found = {data: collected(ledger, data, rows, arguments.splits) for data in arguments.data}
    head = "| data | row | accuracy | EOd sum | max | mean | accuracy against erm | EOd sum against erm | published |"
    head += " setting | CPU s |"
    lines = [line for data, every in found.items() for line in table(data, every)]
    print("\n".join([head, "|---" * (head.count("|") - 1) + "|", *lines]))
    print("Test sets, in points of 100: mean ± standard deviation over the splits.")
    if arguments.figure:
        draw(found, arguments.figure)


if __name__ == "__main__":
    main()
