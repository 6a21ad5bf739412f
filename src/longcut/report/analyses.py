"""The panels about biased models, about the partners they chose, and about runs over an option."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from longcut.analyses import curve, partner_share, uncertainty, varied
from longcut.datasets import DATASETS
from longcut.door import Missing
from longcut.methods import METHODS
from longcut.numbers import number
from longcut.report import embed, figures, tables
from longcut.report.base import Page
from longcut.report.figures import Style, metric_title
from longcut.report.template import fragment
from longcut.scales import Scale
from longcut.spec import options_of

if TYPE_CHECKING:
    from longcut.report.study import Contender, Study
    from longcut.runs import Run

__all__ = ["data_sweeps", "knowledge", "method_sweeps", "minority", "partners", "unsure"]


# --- biased models ----------------------------------------------------------------------------------------------------


def knowledge(study: Study, page: Page) -> Markup | None:
    """What biased models know of the attribute, and how often its commonest value is right; None if no run says."""
    rows = [
        {"name": contender.name, "cells": [_known(contender, part) for part in ("probe", "head")]}
        for contender in study.contenders
        if all(run.record.bias for run in contender.runs)
    ]
    if not rows:
        return None
    sizes: dict[int, int] = {}
    for group in study.runs[0].scores().groups:
        if group.attribute is not None:
            sizes[group.attribute] = sizes.get(group.attribute, 0) + group.n
    total = sum(sizes.values())
    guess = number(max(sizes.values()) / total) if total else ""
    return fragment("analyses", "knowledge", rows, guess, study.cue or "attribute")


def _known(contender: Contender, part: str) -> dict[str, Any]:
    return tables.cell([(run.record.bias or {})[part] for run in contender.runs], percent=True)


def minority(study: Study, page: Page) -> Markup | None:
    """How well methods found the samples that contradict: a row for each that looked, where the true ones are known."""
    counts, shares = ("conflicting", "aligned"), ("precision", "recall")
    rows = []
    for contender in study.contenders:
        found = [run.record.identification for run in contender.runs if run.record.identification]
        if len(found) == len(contender.runs):
            columns = {key: [one[key] for one in found] for key in (*counts, *shares)}
            cells = [tables.cell(columns[key], percent=key in shares) for key in columns]
            rows.append({"name": contender.name, "cells": cells})
    return fragment("analyses", "minority", rows, study.shortcut) if rows else None


def unsure(study: Study, page: Page) -> Markup | None:
    """How often nets were wrong about samples while they learned, those that agree and those that contradict."""
    rows = []
    for contender in study.contenders:
        found = [_wrong(run) for run in contender.runs]
        if all(found):
            cells = [tables.cell(list(seeds), percent=True) for seeds in zip(*found, strict=True)]
            rows.append({"name": contender.name, "cells": cells})
    return fragment("analyses", "unsure", rows, study.shortcut) if rows else None


def _wrong(run: Run) -> list[float]:
    """Mean shares of wrong epochs, and of samples that were wrong in all; nothing where the run does not say."""
    inputs = run.inputs()
    try:
        kept = run.identification().keys()
    except Missing:  # somebody removed it
        return []
    if not {"correct", "attribute"} <= kept or inputs is None or not inputs.info.aligned:
        return []
    table = uncertainty([run])
    sides = [table[table["conflicting"] == side] for side in (False, True)]
    return [
        float(np.average(own[column], weights=own["samples"])) if len(own) else math.nan
        for column in ("uncertainty", "wrong_always")
        for own in sides
    ]


# --- partners ---------------------------------------------------------------------------------------------------------


def partners(study: Study, page: Page) -> Markup | None:
    """How many of the chosen partners contradict the shortcut, over the epochs; None if no run says."""
    lines: dict[str, tuple[list[float], list[list[float]]]] = {}
    base: list[float] = []
    for contender in study.contenders:
        table = partner_share(contender.runs)
        wide = table.pivot_table(index="epoch", columns="seed", values="share", aggfunc="mean").dropna()
        if len(wide):
            wide = wide.iloc[:: max(1, len(wide) // 150)]
            lines[contender.name] = wide.index.tolist(), wide.T.to_numpy().tolist()
            base += table["base"].dropna().tolist()
    if not lines:
        return None
    chance = fmean(base) if base else math.nan
    ends = ", ".join(f"{name} {number(fmean(s[-1] for s in seeds))} %" for name, (_, seeds) in lines.items())
    picture = figures.curve(lines, page.looks, "Conflicting partners", chance=chance, guide="in the training data")
    alt = f"Share of the chosen partners that contradict the shortcut, over the epochs; it ends with {ends}."
    svg = embed.svg(picture, alt, next(page.ids))
    legend = embed.legend(list(lines), [page.looks[name] for name in lines], page.ids, line=True)
    return fragment("analyses", "partners", study, svg, number(chance) if base else "", legend)


# --- runs over an option ----------------------------------------------------------------------------------------------


def method_sweeps(study: Study, page: Page) -> Markup | None:
    """Curves over each numeric option in which methods of this study differ and in nothing else; None without one."""
    known = {o.name: o.help for method in METHODS.values() for o in options_of(method.__init__)}
    found = [_sweep(study.runs, over, known[over], study.scale, {}, page.ids) for over in varied(study.runs)]
    return fragment("analyses", "method_sweeps", found) if found else None


def data_sweeps(found: Sequence[Study], page: Page) -> Markup | None:
    """Curves over each numeric option in which data sets of one kind differ and in nothing else; None without one."""
    by_data: dict[str, list[Study]] = {}
    for study in found:
        by_data.setdefault(study.data.partition(":")[0], []).append(study)
    panels = []
    for data, alike in by_data.items():
        if data in DATASETS and len(alike) > 1:
            runs = [run for study in alike for run in study.runs]
            known = {o.name: o.help for o in options_of(DATASETS[data].function)}
            for over in varied(runs):
                if over in known:
                    sweep = _sweep(runs, over, known[over], alike[0].scale, page.looks, page.ids)
                    panels.append(sweep | {"data": data})
    return fragment("analyses", "data_sweeps", panels) if panels else None


def _sweep(
    runs: Sequence[Run], over: str, about: str, scale: Scale, looks: Mapping[str, Style], ids: Iterator[str]
) -> dict[str, Any]:
    table = curve(runs, over)
    table["method"] = table["method"].map(_written)
    names = list(dict.fromkeys(table["method"]))
    if not all(name in looks for name in names):
        looks = figures.styles(names, next((name for name in names if name == "ERM"), None))
    pictures = []
    for metric, title in {scale.mean: metric_title(scale.mean), scale.best: scale.best_title}.items():
        lines = {str(name): _line(rows, over, metric) for name, rows in table.groupby("method", sort=False)}
        said = "; ".join(
            f"{name}: " + ", ".join(f"{scale.write(y)} at {x:g}" for x, y in zip(at, means, strict=True))
            for name, (at, means, _) in lines.items()
        )
        alt = f"{title} on the test set over {over}: {said}."
        pictures.append(embed.svg(figures.sweep(lines, looks, title, percent=scale.percent, unit=over), alt, next(ids)))
    return {
        "over": over,
        "about": about,
        "noun": scale.noun,
        "pictures": pictures,
        "several": bool((table["runs"] > 1).any()),
        "legend": embed.legend(names, [looks[name] for name in names], ids, line=True),
    }


def _line(rows: pd.DataFrame, over: str, metric: str) -> tuple[list[float], list[float], list[float]]:
    return rows[over].tolist(), rows[metric].tolist(), rows[f"{metric}_sd"].tolist()


def _written(name: str) -> str:
    """A line's name, its method written as its authors do.

    >>> _written("selecmix@paper (q=0.5)")
    'SelecMix@paper (q=0.5)'
    """
    method = re.split("[@ ]", name)[0]
    return METHODS[method].__name__ + name[len(method) :] if method in METHODS else name
