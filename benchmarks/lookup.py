"""Worst group against the number of looked-up attributes: ``python benchmarks/lookup.py --figure lookup.svg``.

Three data sets: Waterbirds as features of a frozen EfficientNet-Lite0 (``waterbirds_embeddings``), 3,000 images of
Colored MNIST (2 % conflicting; 28 pixels pooled to 7), and 6,000 persons of Adult, whose attribute is the sex.
Attributes of training samples are hidden and looked up by a rule; then a head is fitted, all cells of label and
attribute weighing the same, with the rest's attribute taken as usual for its class, spread by a classifier on the
features, or as the answers that were drawn by lot advise. Judged is the worst group of the test set: cells of label and
attribute; of Colored MNIST, which has a hundred, aligned and conflicting samples.

The strength of each data set's penalty is the best of ``STRENGTHS`` on its validation set, mean over ``TRIALS``, whose
seeds no row has (``--choice``). The row "40 of the validation set" is told ten samples of each validation group beside
the training set, nothing else, and its attribute is spread.

Every finished run is written to ``results/lookup.json`` at once, so a killed benchmark goes on where it was.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from ledger import Ledger
from numpy.typing import NDArray
from torch.nn import functional as F

from longcut.data import Dataset
from longcut.datasets import data_folder, load
from longcut.lookup.rounds import UNUSUAL, choose, filling, gain
from longcut.lookup.rules import RULES, Seen
from longcut.methods.last_layer.balanced import Unknown, cross_fitted, filled, strength_to_c, usual_of
from longcut.methods.last_layer.heads import even, logistic

FILE = Path(__file__).parent.parent / "results" / "lookup.json"
BUDGETS = (25, 50, 100, 200, 400)
STRENGTHS = (200, 2000, 20000)
CHOSEN = {"waterbirds": 200, "colored-mnist": 20000, "adult": 20000}  # by --choice
ROWS = (*RULES, "two rounds")
SEEDS, TRIALS = 5, (100, 101)
SIZE = {"colored-mnist": 3000, "adult": 6000}

Found = dict[str, Any]


# --- data -------------------------------------------------------------------------------------------------------------


class Part(NamedTuple):
    """Standardised features, label and attribute."""

    x: NDArray[np.float32]
    label: NDArray[np.int64]
    attribute: NDArray[np.int64]


class Data(NamedTuple):
    """Three parts, numbers of classes and of values."""

    name: str
    train: Part
    valid: Part
    test: Part
    classes: int
    values: int

    def worst(self, layer: NDArray[np.float64], part: Part) -> float:
        """Accuracy of a head in the worst group of a part."""
        right = (part.x @ layer[:, :-1].T + layer[:, -1]).argmax(1) == part.label
        group = part.label * self.values + part.attribute
        if self.classes > 2:
            group = (part.label != part.attribute).astype(int)
        return float(min(right[group == one].mean() for one in np.unique(group)))


@cache
def made_data(name: str, seed: int) -> Data:
    """The data of a seed; Waterbirds is always the same."""
    if name == "waterbirds":
        file = np.load(data_folder("waterbirds_embeddings") / "efficientnet_lite0_224.npz")
        columns = file["x"].astype(np.float32), file["label"].astype(int), file["attribute"].astype(int)
        parts = [tuple(column[file["split"] == part] for column in columns) for part in range(3)]
        classes = values = 2
    else:
        splits = load({"colored-mnist": "colored-mnist:ratio=0.02", "adult": "adult:sensitive=sex"}[name], seed)
        assert splits.valid is not None
        most = (SIZE[name], 3000, 8000)
        parts = [
            _columns(part, n, seed) for part, n in zip((splits.train, splits.valid, splits.test), most, strict=True)
        ]
        classes, values = splits.info.n_classes, splits.info.n_attributes
    mean, deviation = parts[0][0].mean(0), parts[0][0].std(0)
    train, valid, test = (Part((x - mean) / np.maximum(deviation, 1e-6), y, a) for x, y, a in parts)
    return Data(name, train, valid, test, classes, values)


def _columns(data: Dataset, most: int, seed: int) -> tuple[NDArray[Any], ...]:
    assert data.attribute is not None
    rows = torch.from_numpy(np.sort(np.random.default_rng([seed, 9]).permutation(len(data))[:most]))
    x = data.gather(rows)
    x = F.avg_pool2d(x, 4) if x.ndim == 4 else x
    return x.flatten(1).numpy(), data.label[rows].numpy(), data.attribute[rows].numpy()


# --- runs -------------------------------------------------------------------------------------------------------------


def head(part: Part, classes: int, values: int, attribute: NDArray[np.int64], strength: float) -> NDArray[np.float64]:
    """The layer that weighs all cells the same."""
    return logistic(part.x, part.label, classes, strength_to_c(strength, part.x), even(part.label * values + attribute))


def made(name: str, row: str, seed: int, settings: Mapping[str, Any]) -> Found:
    """One seed of a row: at each budget, the worst group by how the rest is filled."""
    began, data = time.process_time(), made_data(name, seed)
    train, generator = data.train, np.random.default_rng([seed, 1])
    found: Found = {}
    strength = settings.get("strength", CHOSEN[name])

    def judged(attribute: NDArray[np.int64]) -> dict[str, float]:
        layer = head(train, data.classes, data.values, attribute, strength)
        return {"valid": data.worst(layer, data.valid), "test": data.worst(layer, data.test)}

    if row in ("nothing", "everything"):
        none = np.zeros_like(train.label)
        found["0" if row == "nothing" else "all"] = {
            "usual": judged(none if row == "nothing" else train.attribute),
        }
        return {**found, "cpu_seconds": round(time.process_time() - began, 1)}
    if row == "40 of the validation set":
        return {"40": {"spread": told(data, seed, strength)}, "cpu_seconds": round(time.process_time() - began, 1)}
    probability = cross_fitted(train.x, train.label, data.classes, generator)
    seen = Seen(train.x, train.label, probability, np.ones(len(train.label), bool))
    for budget in settings.get("budgets", BUDGETS):
        known, lot, usual = np.full(len(train.label), -1), np.zeros(len(train.label), bool), None
        for size in (budget - budget // 2, budget // 2) if row == "two rounds" else (budget,):
            still = Seen(seen.features, seen.label, probability, known < 0)
            rule = "suspicion" if row == "two rounds" else row
            rows, drawn = choose(still, size, rule, generator, None if usual is None else known, usual)
            known[rows], lot[rows[drawn]] = train.attribute[rows], True
            usual = usual_of(train.label, known, 1 - seen.own, data.classes, data.values)
        assert usual is not None
        asked = np.flatnonzero(known >= 0)
        _, share = filling(train.label[asked], known[asked], usual, lot[asked])
        ways: tuple[Unknown, ...] = ("usual", "spread")
        here: Found = {way: judged(filled(train.x, train.label, known, usual, way)) for way in ways}
        counter = known[asked] != usual[train.label[asked]]
        here |= {"share": share, "counter": int(counter.sum()), "usual_values": usual.tolist()}
        if row == "suspicion" and data.classes == 2:
            brought = gain(seen, known, usual, generator)
            here["gain"] = None if brought is None else [brought.value, brought.low, brought.high]
        found[str(budget)] = here
    return {**found, "cpu_seconds": round(time.process_time() - began, 1)}


def told(data: Data, seed: int, strength: float) -> dict[str, float]:
    """Ten validation samples of each group beside the training set; the rest of the validation set judges, too."""
    generator, train, valid = np.random.default_rng([seed, 2]), data.train, data.valid
    group = valid.label * data.values + valid.attribute
    rows = np.concatenate([generator.permutation(np.flatnonzero(group == one))[:10] for one in np.unique(group)])
    both = Part(*(np.concatenate([getattr(train, c), getattr(valid, c)[rows]]) for c in ("x", "label", "attribute")))
    known = np.full(len(both.label), -1)
    known[len(train.label) :] = valid.attribute[rows]
    probability = cross_fitted(both.x, both.label, data.classes, generator)
    own = probability[np.arange(len(both.label)), both.label]
    usual = usual_of(both.label, known, 1 - own, data.classes, data.values)
    layer = head(both, data.classes, data.values, filled(both.x, both.label, known, usual, "spread"), strength)
    left = np.setdiff1d(np.arange(len(valid.label)), rows)
    rest = Part(valid.x[left], valid.label[left], valid.attribute[left])
    return {"valid": data.worst(layer, rest), "test": data.worst(layer, data.test)}


def said(run: Found) -> dict[str, Any]:
    """What is printed of a run."""
    budgets = {key: value for key, value in run.items() if key != "cpu_seconds"}
    ways = ("usual", "spread")
    shown = {k: [round(100 * v[w]["test"], 1) for w in ways if w in v] for k, v in budgets.items()}
    return {**shown, "cpu_seconds": run["cpu_seconds"]}


# --- tables and figure ------------------------------------------------------------------------------------------------

Every = dict[str, dict[str, list[Found]]]


def values_of(runs: list[Found], budget: str, way: str) -> list[float]:
    """Worst group in points of 100, of each seed."""
    cells = [run[budget] for run in runs]
    return [100 * cell[_advised(cell) if way == "advised" else way]["test"] for cell in cells]


def _advised(cell: Found) -> str:
    """How the answers that were drawn by lot say that the rest is to be filled."""
    return "spread" if cell["share"] > UNUSUAL else "usual"


def shown(values: list[float]) -> str:
    """Mean and standard deviation."""
    return f"{statistics.fmean(values):.1f} ± {statistics.stdev(values) if len(values) > 1 else 0:.1f}"


def table(found: Every) -> list[str]:
    """Rows of a Markdown table."""
    lines = [f"| data | rule | rest | {' | '.join(map(str, BUDGETS))} |", "|---" * (3 + len(BUDGETS)) + "|"]
    for name, rows in found.items():
        for row, runs in rows.items():
            if row in ("nothing", "everything"):
                key = "0" if row == "nothing" else "all"
                cells = [shown(values_of(runs, key, "usual")), *[""] * (len(BUDGETS) - 1)]
                lines.append(f"| {name} | {row} known | | {' | '.join(cells)} |")
            elif row in ROWS:
                for way in ("usual", "spread", "advised"):
                    cells = [shown(values_of(runs, str(budget), way)) for budget in BUDGETS]
                    lines.append(f"| {name} | {row} | {way} | {' | '.join(cells)} |")
            else:
                lines.append(f"| {name} | {row} | spread | {shown(values_of(runs, '40', 'spread'))} | | | | |")
    return lines


def draw(found: Every, path: Path) -> None:
    """Worst group against budget, one line a rule, the rest filled as advised."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.2 * len(found), 4.4), layout="constrained")
    lines: dict[str, Any] = {}
    for (name, rows), axes in zip(found.items(), figure.subplots(1, len(found), squeeze=False)[0], strict=True):
        for number, row in enumerate(ROWS):
            if row in rows:
                each = [values_of(rows[row], str(budget), "advised") for budget in BUDGETS]
                middle, error = [statistics.fmean(v) for v in each], [statistics.stdev(v) for v in each]
                lines[row] = axes.errorbar(
                    BUDGETS, middle, error, marker="o", markersize=4, capsize=2, color=f"C{number}"
                )
        for row, key, dash in (("nothing", "0", ":"), ("everything", "all", "--")):
            height = statistics.fmean(values_of(rows[row], key, "usual"))
            lines[f"{row} known"] = axes.axhline(height, linestyle=dash, color="0.4")
        axes.set(title=name, xlabel="attributes looked up", ylabel="worst group (per cent)", xscale="log")
        axes.set_xticks(BUDGETS, labels=list(map(str, BUDGETS)))
        axes.minorticks_off()
    figure.legend(lines.values(), lines.keys(), loc="outside lower center", ncols=4, fontsize=8)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def choice(name: str) -> None:
    """Validation of each strength, at budgets 100 and 200 by suspicion, on seeds that no row has."""
    for strength in STRENGTHS:
        runs = [made(name, "suspicion", s, {"strength": strength, "budgets": (100, 200)}) for s in TRIALS]
        worst = {
            way: statistics.fmean(100 * run[b][way]["valid"] for run in runs for b in ("100", "200"))
            for way in ("usual", "spread")
        }
        print(f"{name}, strength {strength}: validation {worst}", flush=True)


def main() -> None:
    """Run what is missing, print the table, draw the figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", nargs="+", default=list(CHOSEN), choices=CHOSEN)
    parser.add_argument("--rows", nargs="+", default=list(ROWS), choices=ROWS)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--figure", type=Path, help="file to draw to, .png or .svg")
    parser.add_argument("--choice", action="store_true", help="which strength is chosen, and no more")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.choice:
        for name in arguments.data:
            choice(name)
        return
    ledger, found = Ledger(FILE, made, said), Every()
    for name in arguments.data:
        rows = [
            "nothing",
            "everything",
            *arguments.rows,
            *(["40 of the validation set"] if name == "waterbirds" else []),
        ]
        found[name] = {row: [ledger.run(name, row, seed, {}) for seed in range(arguments.seeds)] for row in rows}
    print("\n".join(table(found)))
    print("Test sets, worst group in points of 100: mean ± standard deviation over the seeds.")
    if arguments.figure:
        draw(found, arguments.figure)


if __name__ == "__main__":
    main()
