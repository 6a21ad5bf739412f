"""C-Mixup's regression benchmark, as released and done cleanly: ``python benchmarks/regression.py legacy|clean``.

``legacy`` takes over what the released programs do: raw targets, inputs scaled by the whole table, no schedule, the
epoch that is best on validation. ``clean`` standardises targets, scales inputs by the training part, and gives every
row the same number of trials (each of the data set's loops with each of the row's two variants), judged on validation
with seeds of their own; the best trial is then run with ten seeds and compared with ERM by paired tests.

Every finished run is written to ``results/regression.json`` at once, so a killed benchmark goes on where it was.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ledger import Ledger
from scipy.stats import ttest_rel

from longcut.datasets import load
from longcut.fit import Training, fit
from longcut.methods import METHODS, build
from longcut.predict import predict

FILE = Path(__file__).parent.parent / "results" / "regression.json"
PUBLISHED = {  # RMSE in C-Mixup's Tables 1 and 3 (of ERM, mixup and C-Mixup), averages and of the worst domain
    "airfoil": {"erm": 2.901, "mixup": 3.730, "c-mixup": 2.717},
    "no2": {"erm": 0.537, "mixup": 0.528, "c-mixup": 0.509},
    "exchange-rate": {"erm": 0.0236, "mixup": 0.0239, "c-mixup": 0.0203},
    "crime": {"erm": (0.134, 0.173), "mixup": (0.128, 0.154), "c-mixup": (0.123, 0.146)},
    "skillcraft": {"erm": (5.887, 10.182), "mixup": (5.764, 9.206), "c-mixup": (5.201, 7.362)},
}
DATA = tuple(PUBLISHED)
DOMAINS = ("crime", "skillcraft")

_DECAYED = {"optimizer": "adamw", "weight_decay": 0.1}
LOOPS: dict[str, list[dict[str, Any]]] = {
    "airfoil": [
        {"net": "mlp:hidden=256-256", "batch": 32, "lr": 0.01, "epochs": 250},
        {"net": "mlp:hidden=256-256-256", "batch": 32, "lr": 0.002, "epochs": 250},
    ],
    "no2": [
        {"net": "mlp:hidden=32-32", "batch": 32, "lr": 0.003, "epochs": 60},
        {"net": "mlp:hidden=64", "batch": 32, "lr": 0.01, "epochs": 60, **_DECAYED},
        {"net": "mlp:hidden=128-128,dropout=0.3", "batch": 32, "lr": 0.001, "epochs": 100},
    ],
    "exchange-rate": [
        {"net": "highway", "batch": 128, "lr": 1e-5, "epochs": 3},
        {"net": "highway", "batch": 128, "lr": 1e-4, "epochs": 3},
        {"net": "highway", "batch": 128, "lr": 1e-3, "epochs": 3},
    ],
    "crime": [
        {"net": "mlp:hidden=128-128,dropout=0.5", "batch": 64, "lr": 0.0003, "epochs": 40},
        {"net": "mlp:hidden=64", "batch": 64, "lr": 0.001, "epochs": 40, **_DECAYED},
        {"net": "linear", "batch": 64, "lr": 0.001, "epochs": 40, **_DECAYED},
    ],
    "skillcraft": [
        {"net": "mlp:hidden=128-128", "batch": 64, "lr": 0.001, "epochs": 50},
        {"net": "mlp:hidden=64", "batch": 64, "lr": 0.003, "epochs": 50, **_DECAYED},
        {"net": "mlp:hidden=128-128,dropout=0.3", "batch": 64, "lr": 0.001, "epochs": 50},
    ],
}
_KERNEL = [
    {"sigma": 0.25, "alpha": 2.0, "level": "hidden"},
    {"sigma": 0.05, "unit": "share", "alpha": 0.5, "scope": "sample"},
]
ROWS: dict[str, tuple[str, list[dict[str, Any]]]] = {
    "erm, raw targets": ("erm", [{"standardize": False}, {"standardize": False, "average": 0.99}]),
    "erm": ("erm", [{}, {"average": 0.99}]),
    "mixup": ("mixup", [{"alpha": 2.0}, {"alpha": 0.2}]),
    "c-mixup": ("c-mixup", _KERNEL),
    "k nearest": ("c-mixup", [{"pairs": "nearest", "k": k, "alpha": 2.0} for k in (5, 30)]),
    "keep both (control)": ("c-mixup", [{**options, "blend": "keep-both"} for options in _KERNEL]),
}
SEEDS = 10  # final runs
TRIALS = {"no2": (100, 101)}  # seeds of trials; one where a run is long

SAME_UNIT = {
    ("exchange-rate", "erm, raw targets")
}  # a net that starts from "no change" has inputs in the target's unit


# --- runs -------------------------------------------------------------------------------------------------------------


def made(data: str, method: str, seed: int, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Train and score: the epoch that is best on validation counts."""
    splits, began = load(data, seed), time.process_time()
    loop = {name: value for name, value in settings.items() if name in Training.__dataclass_fields__}
    options = {name: value for name, value in settings.items() if name not in {*loop, "net"}}
    model = build(method, splits.info, net=settings["net"], options=options, seed=seed)
    done = fit(model, splits, Training(**loop), seed=seed, select="best:average")
    row = done.history[done.epoch - 1]
    scores = {
        part: {name: row[part][name] for name in ("rmse", "mape", "worst_group_rmse")} for part in ("valid", "test")
    }
    logs = {name: row[name] for name in ("effective_partners",) if name in row}
    return {**scores, **logs, "epoch": done.epoch, "cpu_seconds": round(time.process_time() - began, 1)}


def legacy(ledger: Ledger, data: str, seeds: int, epochs: int | None) -> Iterator[str]:
    """The released settings; lines of a table."""
    for method in ("erm", "mixup", "c-mixup"):
        recipe = METHODS[method].recipes[data]
        settings = {"net": recipe.net, **recipe.training, **recipe.options}
        settings |= {"epochs": epochs} if epochs else {}
        runs = [ledger.run(f"{data}:protocol=legacy", method, seed, settings) for seed in range(seeds)]
        published, columns = PUBLISHED[data][method], ["rmse", "worst_group_rmse"][: 1 + (data in DOMAINS)]
        ours = " / ".join(spread([run["test"][column] for run in runs]) for column in columns)
        theirs = " / ".join(map(str, published if isinstance(published, tuple) else [published]))
        effective = f"{runs[0]['effective_partners']:.0%}" if "effective_partners" in runs[0] else "–"
        note = f"{settings['epochs']} epochs, {seeds} seed{'s' * (seeds > 1)}"
        yield f"| {data} | {method} | {theirs} | {ours} | {effective} | {note} |"


def clean(ledger: Ledger, data: str, seeds: int, rows: Collection[str] = tuple(ROWS)) -> Iterator[str]:
    """The same budget for every row, and paired tests; lines of a table."""
    scores: dict[str, list[float]] = {}
    found: dict[str, tuple[dict[str, Any], list[dict[str, Any]]]] = {}
    for name, (method, variants) in ROWS.items():
        if name not in {"erm", *rows}:
            continue
        trials = [
            {"pool": 16, "schedule": "cosine", "every": max(1, loop["epochs"] // 30), **loop, **variant}
            for loop in LOOPS[data]
            for variant in variants
        ]
        spec = f"{data}:protocol=legacy" if (data, name) in SAME_UNIT else data
        judged = [
            statistics.fmean(
                ledger.run(spec, method, seed, settings)["valid"]["rmse"] for seed in TRIALS.get(data, (100,))
            )
            for settings in trials
        ]
        best = trials[int(np.argmin(judged))]
        found[name] = best, [ledger.run(spec, method, seed, best) for seed in range(seeds)]
        scores[name] = [run["test"]["rmse"] for run in found[name][1]]
    for name, (best, runs) in found.items():
        difference = [a - b for a, b in zip(scores[name], scores["erm"], strict=True)]
        test = "–" if name == "erm" else f"{statistics.fmean(difference):+.4g} (p = {_p(scores[name], scores['erm'])})"
        worst = spread([run["test"]["worst_group_rmse"] for run in runs]) if data in DOMAINS else "–"
        effective = f"{runs[0]['effective_partners']:.1%}" if "effective_partners" in runs[0] else "–"
        shown = ", ".join(f"{k}={v}" for k, v in best.items() if k not in ("pool", "schedule", "every"))
        yield f"| {data} | {name} | {spread(scores[name])} | {worst} | {test} | {effective} | {shown} |"


def _p(one: list[float], other: list[float]) -> str:
    """Of a paired t-test; none where every difference is the same."""
    return (
        "–"
        if len(one) < 2 or len({a - b for a, b in zip(one, other, strict=True)}) < 2
        else f"{ttest_rel(one, other).pvalue:.2g}"
    )  # type: ignore[attr-defined]


def spread(values: list[float]) -> str:
    """Mean, and the sample standard deviation where there are several."""
    mean = f"{statistics.fmean(values):.4g}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.2g}"


def no_change() -> str:
    """Test RMSE on Exchange of repeating the last rate, without learning anything."""
    test = load("exchange-rate:protocol=legacy").test
    error = predict(lambda x: x[:, -1], test) - test.label
    return f"Repeating the last rate: RMSE {float(error.square().mean().sqrt()):.4f} on the test part of exchange-rate."


def main() -> None:
    """Run what is missing and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("track", choices=["legacy", "clean"])
    parser.add_argument("--data", nargs="+", default=list(DATA), choices=DATA)
    parser.add_argument("--rows", nargs="+", default=list(ROWS), choices=ROWS, help="clean: these, and erm")
    parser.add_argument("--seeds", type=int, help="by default 3 (legacy) or 10 (clean)")
    parser.add_argument("--epochs", type=int, help="legacy: fewer than published")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    ledger, lines = Ledger(FILE, made), []
    for data in arguments.data:
        if arguments.track == "legacy":
            lines += legacy(ledger, data, arguments.seeds or 3, arguments.epochs)
        else:
            lines += clean(ledger, data, arguments.seeds or SEEDS, arguments.rows)
    head = {
        "legacy": "| data | method | published RMSE | ours | effective partners | runs |",
        "clean": "| data | row | test RMSE | worst domain | against erm | effective partners | best trial |",
    }[arguments.track]
    print("\n".join([head, "|---" * (head.count("|") - 1) + "|", *lines]))
    if "exchange-rate" in arguments.data:
        print(no_change())


if __name__ == "__main__":
    main()
