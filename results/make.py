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
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from measured import growth_table, nets_table, peers_table, zoo_table

from longcut import runs
from longcut.evaluate import Difference
from longcut.files import to_json
from longcut.methods import METHODS
from longcut.numbers import spread, with_spread
from longcut.papers import (
    HOW_JUDGED,
    Known,
    cells,
    claimants,
    comparisons,
    judged,
    known_in,
    merged,
    sampled,
    summary,
)

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
MORE = ("worst_class", "equalized_odds_sum")  # of some data sets
PREFIX = "worst-group-"
SMALL = "cifar10:per_class=200,valid=100"
BLENDS = ("linear", "cut", "saliency", "puzzle")
JUDGED = {"waterbirds:size=72": "worst_group", "multinli-dev:text=hypothesis": "worst_group", MNIST_1: "conflicting"}
CLEAN = {  # what is behind a row of the regressions that were done with care
    "erm": lambda settings: settings.get("standardize", True),
    "mixup": lambda settings: True,
    "c-mixup": lambda settings: "sigma" in settings and settings.get("blend") is None,
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
                **{key: value for key in MORE if not math.isnan(value := record.scores.test.values.get(key, math.nan))},
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


def published() -> dict[tuple[str, str], tuple[float, float | None] | None]:
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


def shapes_table(groups: Groups, paper: dict, recipe: str) -> list[str]:
    """What mixes images, on a small CIFAR-10, in the order of the recipe."""
    names = dict.fromkeys(one.plans[0].label for one in cells(recipe, seeds=1))
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


def elsewhere() -> list[Known]:
    """Runs of benchmarks that are of no recipe: regressions, people, contrastive learning, traces of similarity."""
    found = known_in(HERE / "fairness.json")
    found += [one for one in known_in(HERE / "regression.json") if "legacy" in one.data]
    chosen: dict[str, list[tuple[str, int, dict[str, Any]]]] = defaultdict(list)
    runs_of = json.loads((HERE / "regression.json").read_text("utf-8"))
    for key, run in runs_of.items():
        data, method, seed, settings = json.loads(key)
        if ":" not in data and method in CLEAN and CLEAN[method](settings):
            chosen[json.dumps([data, method, settings])].append((data, seed, run))
    for key, members in chosen.items():
        if len(members) > 9:  # the best trial, with seeds of its own
            method = json.loads(key)[1]
            found += [
                Known(method, data, method, seed, 0, 0, 0.0, run["test"]) for data, seed, run in members if seed < 100
            ]
    for data, folder in (("cifar10:valid=0", "cifar10"), ("waterbirds-frozen", "waterbirds-frozen")):
        for file in sorted((HERE / "contrast" / folder).glob("*.json")):
            run = json.loads(file.read_text("utf-8"))
            last = max(row["epoch"] for row in run["rows"])
            for row in run["rows"]:
                if row["epoch"] == last and not row["balanced"]:
                    method = run["method"].partition(":")[0]
                    label = method + {"net": "", "biased": ", E_b"}[row["encoder"]]
                    found.append(Known(label, data, method, run["seed"], last, last, run["seconds"], row["test"]))
    traces: dict[tuple[str, str], dict[str, float | None]] = defaultdict(dict)
    for trace in json.loads((HERE / "figure2.json").read_text("utf-8")):
        at = "figure2" if trace["data"] == "colored-mnist" else f"figure2 {trace['data']}"
        traces[trace["row"], at][trace["column"]] = trace["last"]
    return found + [Known(row, at, "selecmix", 0, 0, 0, 0.0, values) for (row, at), values in traces.items()]


def over_samples(stored: dict[str, Any]) -> Callable[..., Difference | None]:
    """The difference of two rows over test samples: of runs that were given, which is kept, else as it was kept."""

    def found(a: Sequence[Known], b: Sequence[Known], metric: str) -> Difference | None:
        key = json.dumps([a[0].label, b[0].label, a[0].data, metric, sorted(one.seed for one in a)])
        measured = sampled(a, b, metric)
        if measured is not None:
            stored[key] = measured.to_dict()
        return Difference(**stored[key]) if key in stored else None

    return found


def claims_table(groups: Groups, published: dict, paper: str, known: list[Known]) -> list[str]:
    """A line for each claim of a paper."""
    stored = json.loads((HERE / "differences.json").read_text("utf-8"))
    return summary(judged(paper, known, over_samples(stored)))


def claims_page(known: list[Known], stored: dict[str, Any]) -> list[str]:
    """Every claim of every paper with all its comparisons."""
    lines = ["# What the papers claim, and what holds here", "", HOW_JUDGED, ""]
    for paper, source in claimants().items():
        head, rows = comparisons(judged(paper, known, over_samples(stored)))
        lines += [f"## {paper}", "", source, ""]
        lines += ["| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows)] + [""]
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
    there = [(runs.read(folder), folder) for folder in (runs.find(folders) if folders else ())]
    own = [Known.of(run.record, folder) for run, folder in there if run.done]
    known = merged(elsewhere(), known_in(store), own)
    differences = json.loads((HERE / "differences.json").read_text("utf-8"))
    (HERE / "claims.md").write_text("\n".join(claims_page(known, differences)), "utf-8")
    (HERE / "differences.json").write_text(json.dumps(differences, indent=1) + "\n", "utf-8")
    groups, paper = grouped(lines), published()
    parts = {
        "defaults": default_table,
        "paper": partial(paper_rows, datasets=MNIST),
        "cifar": partial(paper_rows, datasets=CIFAR),
        "noise": noise_table,
        "bias": bias_table,
        "summary": summary_table,
        **{f"worst-group {data.partition(':')[0]}": partial(worst_group_table, data=data) for data in JUDGED},
        **{f"claims {paper}": partial(claims_table, paper=paper, known=known) for paper in claimants()},
        **{f"mixing {name}": partial(shapes_table, recipe=f"mixing/{name}") for name in ("cifar10", "schemes")},
        "peers": peers_table,
        "growth": growth_table,
        "nets": partial(nets_table, augmented=False),
        "nets augmented": partial(nets_table, augmented=True),
        **{f"zoo {data}": partial(zoo_table, data=data) for data in ("digits", "mnist", "cifar10")},
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
