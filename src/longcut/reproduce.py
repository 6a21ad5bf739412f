"""Recipes: a paper's table as plans, and our numbers beside the published ones."""

from __future__ import annotations

import statistics
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from longcut.compare import Plan, compare, plan
from longcut.errors import UserError, unknown

__all__ = ["Cell", "cells", "markdown", "recipes", "run"]


@dataclass(frozen=True)
class Cell:
    """One number of a published table, and how we make ours.

    Attributes:
        row, column: names in the table.
        published: mean and deviation in %, as printed.
        plans: one per seed.
    """

    row: str
    column: str
    published: tuple[float, float]
    plans: tuple[Plan, ...]


def _files() -> dict[str, dict[str, Any]]:
    folder = files("longcut") / "recipes"
    return {f.name[:-5]: tomllib.loads(f.read_text("utf-8")) for f in folder.iterdir() if f.name.endswith(".toml")}


def recipes() -> dict[str, str]:
    """Every recipe, such as ``"selecmix/table1"``, with its source.

    >>> "selecmix/table1" in recipes()
    True
    """
    return {
        f"{paper}/{table}": content["source"]
        for paper, content in sorted(_files().items())
        for table in sorted({table for row in content["row"] for table in row["tables"]})
    }


def cells(
    recipe: str, only: Sequence[str] = (), seeds: int | None = None, settings: Mapping[str, Any] | None = None
) -> list[Cell]:
    """The cells of a table.

    Args:
        recipe: ``"paper/table"``.
        only: names of data sets, columns or rows; of each kind that is named, the rest is left out.
        seeds: number of runs per cell; by default the paper's.
        settings: overrides, such as ``{"epochs": 30}``.

    Raises:
        UserError: for an unknown recipe or name.
    """
    if recipe not in recipes():
        raise unknown("recipe", recipe, recipes())
    paper, table = recipe.split("/")
    content = _files()[paper]
    rows = [row for row in content["row"] if table in row["tables"]]
    kinds = (
        list(content["data"]),
        list(dict.fromkeys(column for columns in content["data"].values() for column in columns)),
        [row["name"] for row in rows],
    )
    for name in only:
        if not any(name in kind for kind in kinds):
            raise unknown(f"data set, column or row of {recipe}", name, [name for kind in kinds for name in kind])
    data, columns, names = ([n for n in kind if n in only] or kind for kind in kinds)
    found = []
    for row in (row for row in rows if row["name"] in names):
        for source in (source for source in data if source in row):
            for column, published in zip(content["data"][source], row[source], strict=True):
                if column not in columns:
                    continue
                chosen = {**content["settings"][source], **(settings or {})}
                plans = tuple(
                    plan(content["data"][source][column], row["method"], settings=chosen, seed=seed, label=row["name"])
                    for seed in range(seeds or content["seeds"])
                )
                found.append(Cell(row["name"], column, tuple(published), plans))
    return found


def run(
    recipe: str,
    only: Sequence[str] = (),
    seeds: int | None = None,
    out: Path | str = "runs/reproduce",
    jobs: int = 1,
    progress: Callable[[float, int], None] | None = None,
    settings: Mapping[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """Run the cells of a table and put ours beside the paper's.

    Args:
        recipe, only, seeds, settings: see :func:`cells`.
        out: folder of the runs; what is finished there is not done again.
        jobs: processes.
        progress: see :func:`longcut.compare.compare`.

    Returns:
        One object per cell: ``row, column, published, published_sd, epochs, seeds, seconds`` and, in %,
        ``last, last_sd, best, best_sd`` (mean and sample deviation over seeds).

    Raises:
        UserError: for an unknown recipe or name, or when runs fail.
    """
    wanted = cells(recipe, only, seeds, settings)
    if not wanted:
        raise UserError(f"nothing of {recipe} is left by --only {', '.join(only)}; leave one of the names out.")
    records = iter(compare([p for cell in wanted for p in cell.plans], out, jobs, progress, by_data=True))
    results = []
    for cell in wanted:
        mine = [next(records) for _ in cell.plans]
        last = [100 * r["scores"]["test"]["values"]["average"] for r in mine]
        best = [100 * r["best"]["average"] for r in mine]
        results.append(
            {
                "row": cell.row,
                "column": cell.column,
                "method": cell.plans[0].method,
                "options": dict(cell.plans[0].options),
                "published": cell.published[0],
                "published_sd": cell.published[1],
                "last": statistics.fmean(last),
                "last_sd": _spread(last),
                "best": statistics.fmean(best),
                "best_sd": _spread(best),
                "best_epochs": [r["best"]["epoch"] for r in mine],
                "epochs": cell.plans[0].training.epochs,
                "seeds": len(mine),
                "seconds": sum(r["seconds"] for r in mine),
            }
        )
    return results


def _spread(values: Sequence[float]) -> float | None:
    return statistics.stdev(values) if len(values) > 1 else None


def markdown(results: Sequence[Mapping[str, Any]]) -> str:
    """The comparison as a Markdown table."""
    lines = [
        "| row | data | published | ours, last epoch | ours, best epoch (oracle) | epochs | seeds | seconds |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for r in results:
        ours = (
            f"{r[k]:.2f}" + (f" ± {r[k + '_sd']:.2f}" if r[k + "_sd"] is not None else "") for k in ("last", "best")
        )
        lines.append(
            f"| {r['row']} | {r['column']} | {r['published']:.2f} ± {r['published_sd']:.2f} | {' | '.join(ours)} "
            f"| {r['epochs']} | {r['seeds']} | {r['seconds']:.0f} |"
        )
    return "\n".join(lines) + "\n"
