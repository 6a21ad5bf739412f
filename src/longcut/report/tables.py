"""The panels about runs that are words and tables: methods, groups, and which class was taken for which."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from longcut.datasets import metrics_of, title_of
from longcut.door import Missing
from longcut.evaluate import METRICS
from longcut.numbers import number, spread
from longcut.report.base import Page
from longcut.report.figures import metric_title
from longcut.report.study import Contender, Paired, Study, name_of
from longcut.report.template import fragment
from longcut.report.verdict import advice
from longcut.scales import Scale
from longcut.selection import rule_in_words
from longcut.tables import remarks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from longcut.evaluate import Group
    from longcut.runs import Run

__all__ = ["against", "cell", "confusions", "groups", "methods", "opening"]

CLASSES = 12  # more make a confusion matrix that nobody reads
VALUES = 6  # of the attribute, each with a matrix of its own
MATRICES = 3  # methods with matrices, in all studies


def opening(study: Study, page: Page) -> Markup:
    """What was found, in a sentence, and what a reader wants to know before believing a number."""
    data = title_of(study.data)
    return fragment("study", "opening", study, "" if data == page.title else data, _facts(study), advice(study))


def _facts(study: Study) -> list[str]:
    seeds = sorted({len(contender.runs) for contender in study.contenders})
    how_many = f"{seeds[0]}–{seeds[-1]}" if len(seeds) > 1 else str(seeds[0])
    tested = study.runs[0].scores().n
    return [
        f"{len(study.contenders)} method{'s' * (len(study.contenders) > 1)}",
        f"{how_many} seed{'s' * (how_many != '1')}{' each' * (len(study.contenders) > 1)}",
        f"{tested:,} test samples",
    ]


# --- methods ----------------------------------------------------------------------------------------------------------


def methods(study: Study, page: Page) -> Markup:
    """A line for each method with its metrics, and what the metrics are."""
    away = study.scale.hidden if metrics_of(study.data) else study.scale.hidden | study.scale.asked
    columns = study.metrics(metric for metric in METRICS if metric not in away)
    rows = [_method(c, columns, page.looks[c.name].color) for c in study.contenders]
    said = remarks((c.name, run.record) for c in study.contenders for run in c.runs)
    return fragment("study", "methods", study, rows, columns, said)


def _method(contender: Contender, columns: Sequence[str], color: str) -> dict[str, Any]:
    """One line of the table of methods."""
    percent = contender.scale.percent
    oracle = [contender.scale.of_mean(run.record.best.average) for run in contender.runs]
    return {
        "name": contender.name,
        "color": color,
        "seeds": len(contender.runs),
        "rule": rule_in_words(contender.plan.select),
        "epoch": _range([run.record.epoch for run in contender.runs]),
        "last": max(run.record.epoch for run in contender.runs),
        "cells": [cell(contender.values(metric), percent, contender.interval(metric)) for metric in columns],
        "oracle": cell(oracle, percent),
    }


def cell(
    values: Sequence[float], percent: bool, interval: tuple[float, float] = (math.nan, math.nan)
) -> dict[str, Any]:
    """Mean and spread as text; with a single seed the interval over test samples stands for the spread."""
    mean, deviation = spread(values)
    beside = ""
    if deviation is not None:
        beside = f"± {number(deviation, percent)}"
    elif all(map(math.isfinite, interval)):
        beside = f"[{number(interval[0], percent)}, {number(interval[1], percent)}]"
    return {"mean": number(mean, percent), "spread": beside, "sort": "" if mean is None else f"{mean:.6g}"}


def _range(numbers: Sequence[int]) -> str:
    """The numbers' span.

    >>> _range([40, 31]), _range([7])
    ('31–40', '7')
    """
    return "–".join(dict.fromkeys(str(end) for end in (min(numbers), max(numbers))))


# --- beside the baseline ----------------------------------------------------------------------------------------------


def against(study: Study, page: Page) -> Markup | None:
    """How much higher each method is than the baseline, by the paired bootstrap; None where nothing can be paired."""
    metrics = study.metrics(study.scale.judged)
    first, *others = study.contenders
    if not first.is_baseline:
        return None
    rows = []
    for other in others:
        cells = [_difference(study.beside(other, metric), study.scale.percent) for metric in metrics]
        if any(cells):
            rows.append({"name": other.name, "cells": cells})
    titles = [metric_title(name) for name in metrics]
    return fragment("study", "against", study, first.name, titles, rows) if rows else None


def _difference(paired: Paired | None, percent: bool) -> dict[str, Any] | None:
    if paired is None:
        return None
    found = paired.difference
    value, low, high = (f"{'+' * (n > 0)}{number(n, percent)}" for n in (found.value, found.low, found.high))
    p = "p < 0.001" if found.p < 0.001 else f"p = {found.p:.2g}"
    return {"mean": value, "spread": f"[{low}, {high}] {p}", "sort": f"{found.value:.6g}"}


# --- groups -----------------------------------------------------------------------------------------------------------


def groups(study: Study, page: Page) -> Markup | None:
    """Each group of the test set by each method, the worst of the first method on top; None for a single group."""
    cells = [[_by_group(run) for run in contender.runs] for contender in study.contenders]
    first, scale = {key: group for key, group in cells[0][0].items() if group.n}, study.scale
    if len(first) < 2:
        return None
    about = study.runs[0].gallery()[1]
    values = about.get("membership_names") or about.get("attribute_names", ())  # groups that overlap have their own
    rows = []
    for (label, attribute), group in first.items():
        row = [_group_cell([run.get((label, attribute)) for run in runs], scale) for runs in cells]
        rows.append(
            {
                "label": name_of(about.get("class_names", ()), label) if scale.percent else None,
                "attribute": None if attribute is None else name_of(values, attribute),
                "conflicting": _contradicts(about, label, attribute) if scale.percent else None,
                "n": group.n,
                "cells": row,
            }
        )
    sign = 1 if scale.percent else -1
    for column in range(len(cells)):
        known = [row["cells"][column] for row in rows if row["cells"][column]["sort"]]
        for cell in known:
            cell["worst"] = sign * float(cell["sort"]) == min(sign * float(other["sort"]) for other in known)
    rows.sort(key=lambda row: (not row["cells"][0]["sort"], sign * float(row["cells"][0]["sort"] or 0)))
    names = [contender.name for contender in study.contenders]
    labels = {label for label, _ in first}
    positive = name_of(about.get("class_names", ()), 1) if metrics_of(study.data) and labels == {0, 1} else ""
    return fragment("study", "groups", study, names, rows, bool(about.get("membership_names")), positive)


def _by_group(run: Run) -> dict[tuple[int, int | None], Group]:
    return {(group.label, group.attribute): group for group in run.scores().groups}


def _group_cell(found: Sequence[Group | None], scale: Scale) -> dict[str, Any]:
    """The value of one group over the seeds of one method; a seed without the group does not count."""
    known = [group for group in found if group and math.isfinite(group.value)]
    if not known:
        return {"mean": number(math.nan), "spread": "", "sort": "", "worst": False}
    interval = scale.of_mean(known[0].low), scale.of_mean(known[0].high)
    return {**cell([scale.of_mean(group.value) for group in known], scale.percent, interval), "worst": False}


def _contradicts(about: dict[str, Any], label: int, attribute: int | None) -> bool | None:
    """Whether the group contradicts the shortcut; None where that is not known."""
    aligned = () if about.get("membership_names") else about.get("aligned") or ()
    return None if attribute is None or label >= len(aligned) else aligned[label] != attribute


# --- confusion --------------------------------------------------------------------------------------------------------


def confusions(study: Study, page: Page) -> Markup | None:
    """What the samples of each class were taken for, by group, for the first methods; None where nobody kept it."""
    found = list(_confusions(study, max(1, MATRICES // page.studies)))
    return fragment("study", "confusions", study, found) if found else None


def _confusions(study: Study, methods: int) -> Iterator[dict[str, Any]]:
    for contender in study.contenders[:methods] if study.scale.percent else ():
        parts: dict[str, NDArray[np.int64]] = {}
        about = contender.runs[0].gallery()[1]
        for run in contender.runs:
            for title, counts in _counted(run, about, study.shortcut):
                parts[title] = parts.get(title, 0) + counts
        matrices = [
            {"title": title, "n": int(counts.sum()), "rows": _shares(counts)} for title, counts in parts.items()
        ]
        if matrices:
            names = [name_of(about.get("class_names", ()), i) for i in range(len(matrices[0]["rows"]))]
            yield {"name": contender.name, "classes": names, "matrices": matrices, "seeds": len(contender.runs)}


def _counted(run: Run, about: dict[str, Any], cue: str) -> Iterator[tuple[str, NDArray[np.int64]]]:
    """Counts by label and predicted class ``(C, C)`` of each group of one run's test set."""
    try:
        tensors = run.predictions()
    except Missing:  # somebody removed it
        return
    classes = tensors["outputs"].shape[1]
    if classes > CLASSES:
        return
    cell = (tensors["label"] * classes + tensors["outputs"].argmax(1)).numpy()
    attribute, aligned = tensors.get("attribute"), about.get("aligned") or ()
    where = {"All test samples": np.ones(len(cell), dtype=bool)}
    if attribute is not None and len(aligned) == classes:
        agrees, known = np.asarray(aligned)[tensors["label"].numpy()] == attribute.numpy(), attribute.numpy() >= 0
        where = {f"The {cue} agrees with the label": agrees, f"The {cue} contradicts the label": ~agrees & known}
        if not known.all():
            where[f"The {cue} is not known"] = ~known
    elif attribute is not None and len(values := attribute.unique().tolist()) <= VALUES:
        where = {name_of(about.get("attribute_names", ()), value): (attribute == value).numpy() for value in values}
    for title, rows in where.items():
        if rows.any():
            yield title, np.bincount(cell[rows], minlength=classes**2).reshape(classes, classes)


def _shares(counts: NDArray[np.int64]) -> list[dict[str, Any]]:
    """Each row's size and its shares; a row without samples has none.

    >>> _shares(np.array([[3, 1], [0, 0]]))
    [{'n': 4, 'shares': [0.75, 0.25]}, {'n': 0, 'shares': [None, None]}]
    """
    return [
        {"n": sum(row), "shares": [count / sum(row) if sum(row) else None for count in row]} for row in counts.tolist()
    ]
