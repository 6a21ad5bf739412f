"""Collect finished runs into ``runs.json`` and write the tables of ``README.md`` from it.

``python results/make.py RUNS ...`` adds the runs in those folders; without folders the tables alone are written again.
Everything in the tables comes from ``runs.json`` and from the recipes' published values; those of speed and growth from
what their benchmarks wrote.
"""

from __future__ import annotations

import json
import math
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

from measured import growth_table, peers_table
from scipy.stats import t

from longcut import runs
from longcut.compare import difference
from longcut.files import to_json
from longcut.methods import METHODS
from longcut.numbers import spread, with_spread
from longcut.papers import cells

HERE = Path(__file__).parent
MNIST_1 = "colored-mnist:ratio=0.01"
RATIOS = {"0.005": "0.5%", "0.01": "1%", "0.02": "2%", "0.05": "5%", "0.9": "none planted"}
MNIST = {
    "colored-mnist" if ratio == "0.005" else f"colored-mnist:ratio={ratio}": name for ratio, name in RATIOS.items()
}
NOISE = {"colored-mnist": "0%", **{f"colored-mnist:noise={n / 10}": f"{10 * n}%" for n in range(1, 5)}}
CIFAR = {f"corrupted-cifar10:ratio={ratio}": name for ratio, name in RATIOS.items()}
Groups = dict[tuple[str, str, int], list[dict[str, Any]]]
KEYS = ("average", "aligned", "conflicting", "worst_group")
PREFIX = "worst-group-"
SMALL = "cifar10:per_class=200,valid=100"
BLENDS = ("linear", "cut", "saliency", "puzzle")
JUDGED = {"waterbirds:size=72": "worst_group", "multinli-dev:text=hypothesis": "worst_group", MNIST_1: "conflicting"}
CLAIMS = {  # what the papers say: the first is better than the second by so many points, at least
    ("JM1", "JTT"): -1,
    ("oracle JM1", "oracle JTT"): 5,
    ("UMIX", "JTT"): -1,
    ("UMIX", "UMIX, weights alone"): 0,
    ("JM1", "mixup"): 0,
    ("JM1", "JM1 unconditional"): 0,
    ("oracle JM1", "oracle JM1 unconditional"): 0,
    ("JM1", "JM1 (control)"): 0,
    ("GroupDRO", "JM1"): 0,
    ("DFR", "JM1"): 0,
}


def collected(folders: Iterable[str]) -> list[dict[str, Any]]:
    """A line for every finished run below the folders."""
    lines = []
    for folder in runs.find(folders):
        run = runs.read(folder)
        if not run.done:
            continue
        plan, record = run.record.plan, run.record
        known = {"bias": record.bias, "identification": record.identification}
        lines.append(
            {
                "label": plan.label,
                "method": plan.method,
                "options": plan.options,
                "dataset": plan.data,
                "seed": plan.seed,
                "epochs": plan.training.epochs,
                "selection": plan.select,
                **{key: record.scores.test.values[key] for key in (*KEYS, "train_weighted")},
                "best_average": record.best.average,
                "best_epoch": record.best.epoch,
                "seconds": round(record.seconds, 1),
                **{key: value for key, value in known.items() if value is not None},
                "partners": _last_partners(run.history()),
                "environment": record.environment,
            }
        )
    return json.loads(to_json(lines))  # what is not defined is None, as in the store


def identity(line: dict[str, Any]) -> tuple[str, ...]:
    """What makes two lines the same run made twice."""
    return tuple(json.dumps(line[k], sort_keys=True) for k in ("label", "options", "dataset", "seed", "epochs"))


def cell(values: list[float]) -> str:
    """Mean ± sample standard deviation, in %."""
    return with_spread(*spread(values))


def _last_partners(history: list[dict[str, Any]]) -> float | None:
    """The share of conflicting samples among the partners of the last epoch that had any."""
    shares = [row["conflicting_partners"] for row in history if row.get("conflicting_partners") is not None]
    return shares[-1] if shares else None


def grouped(lines: Iterable[dict[str, Any]]) -> Groups:
    """Runs that differ in their seed alone, by label, data set and epochs."""
    groups = defaultdict(list)
    for line in sorted(lines, key=lambda line: line["seed"]):
        groups[line["label"], line["dataset"], line["epochs"]].append(line)
    return dict(groups)


def published() -> dict[tuple[str, str], tuple[float, float] | None]:
    """Row and data set to the paper's mean and deviation; None where the row is ours."""
    tables = (cells(f"selecmix/table{n}", seeds=1) for n in (1, 4, 5))
    return {(one.row, one.plans[0].data): one.published for found in tables for one in found}


def is_default(label: str) -> bool:
    """Whether the runs are of a method as it comes, not of a row of the paper's tables."""
    return label.partition(":")[0].partition("@")[0] in METHODS and not label.startswith(PREFIX)


def seconds_of(rows: list[dict[str, Any]]) -> str:
    """Mean time of a run."""
    return f"{statistics.fmean(row['seconds'] for row in rows):.0f}"


def default_table(groups: Groups, paper: dict) -> list[str]:
    """Methods as they come."""
    lines = [
        "| data | method | last epoch | best (oracle) | aligned | conflicting | worst group | seeds | s per run |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for data, name in MNIST.items():
        for (label, at, _), rows in groups.items():
            if at == data and is_default(label):
                numbers = [cell([row[key] for row in rows]) for key in ("average", "best_average", *KEYS[1:])]
                lines.append(f"| {name} | `{label}` | {' | '.join(numbers)} | {len(rows)} | {seconds_of(rows)} |")
    return lines


def paper_rows(groups: Groups, paper: dict, datasets: dict[str, str]) -> list[str]:
    """Rows of the paper's tables beside ours."""
    lines = [
        "| data | row | published | ours, last | ours, best (oracle) | best is at | within 2 sd | epochs | seeds "
        "| s per run |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for data, name in datasets.items():
        for row in dict.fromkeys(row for row, at in paper if at == data):
            for (label, at, epochs), mine in groups.items():
                if (label, at) != (row, data) or (is_default(label) and datasets is MNIST):
                    continue
                theirs, near = paper[row, data], ""
                last, best = (cell([line[key] for line in mine]) for key in ("average", "best_average"))
                if theirs is not None:
                    mean = 100 * statistics.fmean(line["best_average"] for line in mine)
                    near = "yes" if abs(mean - theirs[0]) <= 2 * theirs[1] else f"{mean - theirs[0]:+.1f}"
                at_epochs = ", ".join(str(line["best_epoch"]) for line in mine)
                shown = "ours" if theirs is None else f"{theirs[0]:.1f} ± {theirs[1]:.1f}"
                lines.append(
                    f"| {name} | {row} | {shown} | {last} | {best} | {at_epochs} | {near} | {epochs} "
                    f"| {len(mine)} | {seconds_of(mine)} |"
                )
    return lines


def noise_table(groups: Groups, paper: dict) -> list[str]:
    """Accuracy with wrong labels, last epoch; the same epochs in a row."""
    noisy = {(label, epochs) for label, data, epochs in groups if "noise=" in data}
    levels = [data for data in NOISE if any((*row[:1], data, *row[1:]) in groups for row in noisy)]
    lines = [
        f"| row | epochs | {' | '.join(NOISE[data] + ' wrong labels' for data in levels)} |",
        "|---" * (len(levels) + 2) + "|",
    ]
    for label, epochs in sorted(noisy):
        found = [groups.get((label, data, epochs)) for data in levels]
        cells = [cell([row["average"] for row in rows]) if rows else "" for rows in found]
        lines.append(f"| {label} | {epochs} | {' | '.join(cells)} |")
    return lines


def bias_table(groups: Groups, paper: dict) -> list[str]:
    """What biased models know of the attribute."""
    lines = [
        "| data | row | linear probe | biased head | conflicting partners | epochs | seeds |",
        "|---|---|---|---|---|---|---|",
    ]
    for data, name in {**MNIST, **{spec: f"CIFAR {at}" for spec, at in CIFAR.items()}}.items():
        for (label, at, epochs), rows in groups.items():
            if at != data or not any(row.get("bias") for row in rows):
                continue
            parts = [[row["bias"][part] for row in rows if row.get("bias")] for part in ("probe", "head")]
            parts.append([row.get("partners") for row in rows if row.get("bias")])
            shown = [cell(values) if None not in values else "" for values in parts]
            lines.append(f"| {name} | {label} | {' | '.join(shown)} | {epochs} | {len(parts[0])} |")
    return lines


def worst_group_table(groups: Groups, paper: dict, data: str) -> list[str]:
    """Every method under one protocol, the best first."""
    metric = JUDGED[data]
    head = {"worst_group": "worst group", "conflicting": "conflicting"}[metric]
    lines = [
        f"| row | {head} | adjusted average | average | precision | recall | epochs | seeds |",
        "|---|---|---|---|---|---|---|---|",
    ]
    mine = {(label, epochs): rows for (label, at, epochs), rows in groups.items() if at == data and PREFIX in label}
    for (label, epochs), rows in sorted(mine.items(), key=lambda one: -statistics.fmean(r[metric] for r in one[1])):
        shown = [
            cell([row[key] for row in rows]) for key in (metric, "train_weighted", "average") if row_has(rows, key)
        ]
        shown[1:1] = [""] * (3 - len(shown))
        for key in ("precision", "recall"):
            shown.append(cell([r["identification"][key] for r in rows]) if row_has(rows, "identification") else "")
        name = label.removeprefix(PREFIX)
        lines.append(f"| {name} | {' | '.join(shown)} | {epochs} | {len(rows)} |")
    return lines


def shapes_table(groups: Groups, paper: dict) -> list[str]:
    """What mixes images, on a small CIFAR-10, in the order of the recipe."""
    names = dict.fromkeys(one.plans[0].label for one in cells("mixing/cifar10", seeds=1))
    lines = ["| row | last epoch | seeds | s per run |", "|---|---|---|---|"]
    found = {label: rows for (label, at, _), rows in groups.items() if at == SMALL}
    for label in names:
        if rows := found.get(label):
            shown = cell([row["average"] for row in rows])
            lines.append(f"| {label.removeprefix('mixing-')} | {shown} | {len(rows)} | {seconds_of(rows)} |")
    return lines


def blends_table(groups: Groups, paper: dict, data: str) -> list[str]:
    """Methods against shortcuts by the blend they take, judged as in the tables of worst groups."""
    found = {label: rows for (label, at, _), rows in groups.items() if at == data and label.startswith("mixing-")}
    lines = [f"| method | {' | '.join(BLENDS)} | seeds |", "|---" * (len(BLENDS) + 2) + "|"]
    for method in dict.fromkeys(label.removeprefix("mixing-").partition(", ")[0] for label in found):
        sides = [found.get(f"mixing-{method}, {blend}", []) for blend in BLENDS]
        shown = [cell([row[JUDGED[data]] for row in rows]) if rows else "" for rows in sides]
        lines.append(f"| {method} | {' | '.join(shown)} | {', '.join(str(len(rows)) for rows in sides)} |")
    return lines


def row_has(rows: list[dict[str, Any]], key: str) -> bool:
    """Whether all runs have a number."""
    return all(row.get(key) is not None for row in rows)


def differences(folders: Iterable[str]) -> list[dict[str, Any]]:
    """Each claim on each data set where both sides were run: the paired bootstrap over test samples, seeds averaged."""
    by_row: dict[tuple[str, str], list[runs.Run]] = defaultdict(list)
    for run in map(runs.read, runs.find(folders)):
        plan = run.record.plan
        if run.done and plan.label.startswith(PREFIX):
            by_row[plan.data, plan.label.removeprefix(PREFIX)].append(run)
    found = []
    for data, metric in JUDGED.items():
        at = "output" if "multinli" in data else "random"
        names = {"JM1": f"JM1 {at} U/B", "JM1 (control)": f"JM1 {at} U/B (control)"}
        for (one, other), least in CLAIMS.items():
            sides = [by_row.get((data, names.get(name, name)), []) for name in (one, other)]
            shared = {r.record.plan.seed for r in sides[0]} & {r.record.plan.seed for r in sides[1]}
            if shared:
                sides = [[run for run in side if run.record.plan.seed in shared] for side in sides]
                measured = difference(*sides, metric=metric).to_dict()
                values = [{r.record.plan.seed: r.scores().values[metric] for r in side} for side in sides]
                apart = [values[0][seed] - values[1][seed] for seed in sorted(shared)]
                found.append({"data": data, "a": one, "b": other, "claim": least, "by_seed": apart, **measured})
    return found


def claims_table(groups: Groups, paper: dict) -> list[str]:
    """What the papers claim, and what held here."""
    lines = [
        "| claim | data | difference in points, over seeds | 95 % interval over test samples | seeds | holds |",
        "|---|---|---|---|---|---|",
    ]
    for row in json.loads((HERE / "differences.json").read_text("utf-8")):
        value, low, high = (100 * row[key] for key in ("value", "low", "high"))
        apart, n = [100 * one for one in row["by_seed"]], len(row["by_seed"])
        deviation = statistics.stdev(apart) if n > 1 else math.inf
        margin = float(t.ppf(0.975, max(n - 1, 1))) * deviation / math.sqrt(n)
        sure = min(low, value - margin) >= row["claim"], max(high, value + margin) < row["claim"]
        average = "yes" if value >= row["claim"] else "no"
        holds = "yes" if sure[0] else "no" if sure[1] else f"open: {average} on average"
        least = f" {row['claim']:+d}" if row["claim"] else ""
        what = f"{row['a']} ≥ {row['b']}{least}".replace("+", "+ ").replace("-1", "− 1")
        seeds = f" ± {deviation:.1f}" if n > 1 else ""
        shown = f"{value:+.1f}{seeds} | {low:+.1f} to {high:+.1f} | {n} | {holds}"
        lines.append(f"| {what} | {row['data'].partition(':')[0]} | {shown} |")
    return lines


def summary_table(groups: Groups, paper: dict) -> list[str]:
    """The few numbers of the project's README: last epoch, methods as they come."""
    columns = ("erm", "selecmix:blend=keep-both", "selecmix")
    lines = [
        "| conflicting samples | `erm` | control | `selecmix` | SelecMix as published |",
        "|---|---|---|---|---|",
    ]
    for data, name in MNIST.items():
        found = {label: rows for (label, at, _), rows in groups.items() if at == data}
        cells = [cell([row["average"] for row in found[label]]) if label in found else "" for label in columns]
        theirs = paper.get(("V+SelecMix", data))
        lines.append(
            f"| {name} | {' | '.join(cells)} | {'' if theirs is None else f'{theirs[0]:.1f} ± {theirs[1]:.1f}'} |"
        )
    return lines


def replaced(text: str, name: str, table: list[str]) -> str:
    """The text with the part between ``<!-- table: name -->`` and the next ``<!-- end table -->`` made anew."""
    start, end = f"<!-- table: {name} -->", "<!-- end table -->"
    head, rest = text.split(start)
    return head + start + "\n\n" + "\n".join(table) + "\n\n" + end + rest.split(end, 1)[1]


def main(folders: list[str]) -> None:
    """Collect and write."""
    store = HERE / "runs.json"
    known = json.loads(store.read_text("utf-8")) if store.exists() else []
    every = {identity(line): line for line in [*known, *(collected(folders) if folders else [])]}
    lines = sorted(every.values(), key=lambda line: (line["dataset"], line["label"], line["epochs"], line["seed"]))
    store.write_text("[\n" + ",\n".join(json.dumps(line, sort_keys=True) for line in lines) + "\n]\n", "utf-8")
    if measured := differences(folders) if folders else []:
        (HERE / "differences.json").write_text(json.dumps(measured, indent=1) + "\n", "utf-8")
    groups, paper = grouped(lines), published()
    parts = {
        "defaults": default_table,
        "paper": partial(paper_rows, datasets=MNIST),
        "cifar": partial(paper_rows, datasets=CIFAR),
        "noise": noise_table,
        "bias": bias_table,
        "summary": summary_table,
        **{f"worst-group {data.partition(':')[0]}": partial(worst_group_table, data=data) for data in JUDGED},
        "claims": claims_table,
        "mixing cifar10": shapes_table,
        "peers": peers_table,
        "growth": growth_table,
        **{
            f"blends {data.partition(':')[0]}": partial(blends_table, data=data)
            for data in ("waterbirds:size=72", MNIST_1)
        },
    }
    for page in (HERE / "README.md", HERE.parent / "README.md", HERE.parent / "docs" / "scale.md"):
        text = page.read_text("utf-8")
        for name, table in parts.items():
            if f"<!-- table: {name} -->" in text:
                text = replaced(text, name, table(groups, paper))
        page.write_text(text, "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
