"""Collect finished runs into ``runs.json`` and write the tables of ``README.md`` from it.

``python results/make.py RUNS ...`` adds the runs in those folders; without folders the tables alone are written again.
Everything in the tables comes from ``runs.json`` and from the recipes' published values.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from longcut import reproduce, runs

HERE = Path(__file__).parent
RATIOS = {"0.005": "0.5%", "0.01": "1%", "0.02": "2%", "0.05": "5%", "0.9": "none planted"}
KEYS = ("average", "aligned", "conflicting", "worst_group")


def collected(folders: Iterable[str]) -> list[dict[str, Any]]:
    """A line for every finished run below the folders."""
    lines = []
    for folder in runs.find(folders):
        run = runs.read(folder)
        if not run.done:
            continue
        plan, record = run.record["plan"], run.record
        lines.append(
            {
                "label": plan["label"],
                "method": plan["method"],
                "options": plan["options"],
                "dataset": plan["data"],
                "seed": plan["seed"],
                "epochs": plan["training"]["epochs"],
                "selection": plan["select"],
                **{key: record["scores"]["test"]["values"][key] for key in KEYS},
                "best_average": record["best"]["average"],
                "best_epoch": record["best"]["epoch"],
                "seconds": round(record["seconds"], 1),
                "environment": record["environment"],
            }
        )
    return lines


def identity(line: dict[str, Any]) -> tuple[str, ...]:
    """What makes two lines the same run made twice."""
    return tuple(json.dumps(line[k], sort_keys=True) for k in ("label", "options", "dataset", "seed", "epochs"))


def cell(values: list[float]) -> str:
    """Mean ± sample standard deviation, in %."""
    spread = f" ± {100 * statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{100 * statistics.fmean(values):.1f}{spread}"


def ratio_of(dataset: str) -> str:
    """``colored-mnist:ratio=0.01`` to ``0.01``; the default ratio is not spelled out in a spec."""
    options = dict(part.split("=") for part in dataset.partition(":")[2].split(",") if part)
    return options.get("ratio", "0.005")


def grouped(lines: Iterable[dict[str, Any]]) -> dict[tuple[str, str, int], list[dict[str, Any]]]:
    """Runs that differ in their seed alone, by label, ratio and epochs."""
    groups = defaultdict(list)
    for line in sorted(lines, key=lambda line: line["seed"]):
        groups[line["label"], ratio_of(line["dataset"]), line["epochs"]].append(line)
    return dict(groups)


def published() -> dict[tuple[str, str], tuple[float, float]]:
    """Row and ratio to the paper's mean and deviation."""
    found = {}
    for table in ("table1", "table4", "table5"):
        for one in reproduce.cells(f"selecmix/{table}", seeds=1):
            found[one.row, ratio_of(one.plans[0].data)] = one.published
    return found


def default_table(groups: dict[tuple[str, str, int], list[dict[str, Any]]], paper: dict) -> list[str]:
    """Methods as they come."""
    lines = [
        "| data | method | last epoch | best (oracle) | aligned | conflicting | worst group | seeds | s per run |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for ratio, name in RATIOS.items():
        for (label, at, _), rows in groups.items():
            if at != ratio or (label, ratio) in paper:
                continue
            numbers = [cell([row[key] for row in rows]) for key in ("average", "best_average", *KEYS[1:])]
            seconds = statistics.fmean(row["seconds"] for row in rows)
            lines.append(f"| {name} | `{label}` | {' | '.join(numbers)} | {len(rows)} | {seconds:.0f} |")
    return lines


def paper_table(groups: dict[tuple[str, str, int], list[dict[str, Any]]], paper: dict) -> list[str]:
    """Rows of the paper's tables beside ours."""
    lines = [
        "| data | row | published | ours, last | ours, best (oracle) | best is at | epochs | seeds | s per run |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for ratio, name in RATIOS.items():
        for row in dict.fromkeys(row for row, at in paper if at == ratio):
            for (label, at, epochs), mine in groups.items():
                if (label, at) != (row, ratio):
                    continue
                mean, deviation = paper[row, ratio]
                last, best = (cell([line[key] for line in mine]) for key in ("average", "best_average"))
                at_epochs = ", ".join(str(line["best_epoch"]) for line in mine)
                seconds = statistics.fmean(line["seconds"] for line in mine)
                lines.append(
                    f"| {name} | {row} | {mean:.1f} ± {deviation:.1f} | {last} | {best} | {at_epochs} | {epochs} "
                    f"| {len(mine)} | {seconds:.0f} |"
                )
    return lines


def summary_table(groups: dict[tuple[str, str, int], list[dict[str, Any]]], paper: dict) -> list[str]:
    """The few numbers of the project's README: last epoch, methods as they come."""
    columns = ("erm", "selecmix:blend=keep-both", "selecmix")
    lines = [
        "| conflicting samples | `erm` | control | `selecmix` | SelecMix as published |",
        "|---|---|---|---|---|",
    ]
    for ratio, name in RATIOS.items():
        found = {label: rows for (label, at, _), rows in groups.items() if at == ratio}
        cells = [cell([row["average"] for row in found[label]]) if label in found else "" for label in columns]
        mean, deviation = paper.get(("V+SelecMix", ratio), (None, None))
        lines.append(f"| {name} | {' | '.join(cells)} | {'' if mean is None else f'{mean:.1f} ± {deviation:.1f}'} |")
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
    lines = sorted(
        every.values(), key=lambda line: (ratio_of(line["dataset"]), line["label"], line["epochs"], line["seed"])
    )
    store.write_text("[\n" + ",\n".join(json.dumps(line, sort_keys=True) for line in lines) + "\n]\n", "utf-8")
    groups, paper = grouped(lines), published()
    parts = {"defaults": default_table, "paper": paper_table, "summary": summary_table}
    for page in (HERE / "README.md", HERE.parent / "README.md"):
        text = page.read_text("utf-8")
        for name, table in parts.items():
            if f"<!-- table: {name} -->" in text:
                text = replaced(text, name, table(groups, paper))
        page.write_text(text, "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
