"""The panel about planted cues: what each method gains on each, and what it costs where there is none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from markupsafe import Markup
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from longcut.datasets import title_of
from longcut.numbers import number
from longcut.report import embed, figures
from longcut.report.base import Page
from longcut.report.template import fragment
from longcut.stress import DEFINITIONS, Cell, Matrix, matrices

if TYPE_CHECKING:
    from longcut.report.study import Study

__all__ = ["heat", "stress"]

HIGHER, LOWER = figures.PALETTE[0], figures.PALETTE[3]
FULL = 0.5  # a difference of this much has the whole colour


def stress(found: Sequence[Study], page: Page) -> Markup | None:
    """A map of the differences, and all numbers, for each data set in which cues were planted; None without one."""
    sides = [(contender.name, contender.runs) for study in found for contender in study.contenders]
    try:
        panels = [_panel(one, page) for one in matrices(sides)]
    except FileNotFoundError:  # somebody removed the predictions
        return None
    return fragment("stress", "stress", panels, DEFINITIONS) if panels else None


def _panel(found: Matrix, page: Page) -> dict[str, Any]:
    rows = [
        {"cue": cue, "cells": [_written(found.cells.get((method, cue))) for method in found.methods]}
        for cue in found.cues
    ]
    known = [(method, cue, cell.gain) for (method, cue), cell in found.cells.items() if cell.gain]
    picture = ""
    if known:
        said = "; ".join(f"{method} on {cue}: {_signed(gain.value)}" for method, cue, gain in known)
        alt = f"How much higher than {found.methods[0]} each method is on each cue, in points of 100: {said}."
        picture = embed.svg(heat(found), alt, next(page.ids))
    return {"data": title_of(found.data), "methods": found.methods, "rows": rows, "picture": picture}


def _written(cell: Cell | None) -> dict[str, Any]:
    if cell is None:
        return {"mean": "–", "spread": "", "sort": ""}
    conflicting = cell.values["conflicting"]
    lines = f"{number(cell.values['worst_group'])} · {number(cell.values['average'])}"
    if cell.gain:
        lines += f"; {_signed(cell.gain.value)} [{_signed(cell.gain.low)}, {_signed(cell.gain.high)}]"
    return {"mean": number(conflicting), "spread": lines, "sort": f"{conflicting:.6g}"}


def _signed(value: float) -> str:
    return f"{100 * value:+.1f}"


def heat(found: Matrix) -> Figure:
    """Differences to the baseline, a row for each cue and a column for each other method; bold beyond its interval."""
    methods = [method for method in found.methods[1:] if any(found.cells.get((method, cue)) for cue in found.cues)]
    left, step, high = 2.2, 1.0, 0.26  # inches
    width, height = left + step * len(methods) + 0.05, high * (len(found.cues) + 1.2)
    figure = figures.blank(width, height)
    place = (left / width, 0, step * len(methods) / width, high * len(found.cues) / height)
    axes = figures.frame(figure, place)
    axes.spines[["bottom"]].set_visible(False)
    axes.set(xlim=(0, len(methods)), ylim=(len(found.cues), 0), xticks=[], yticks=[])
    for row, cue in enumerate(found.cues):
        axes.text(-0.08, row + 0.5, cue, ha="right", va="center", clip_on=False, **figures.letters(8))
        for column, method in enumerate(methods):
            cell = found.cells.get((method, cue))
            if cell is None or cell.gain is None:
                continue
            share = min(abs(cell.gain.value) / FULL, 1.0)
            color = to_rgba(HIGHER if cell.gain.value > 0 else LOWER, 0.04 + 0.5 * share)
            axes.add_patch(Rectangle((column + 0.02, row + 0.06), 0.96, 0.88, facecolor=color, edgecolor="none"))
            clear = cell.gain.low > 0 or cell.gain.high < 0
            weight = "bold" if clear else "normal"
            axes.text(
                column + 0.5, row + 0.5, _signed(cell.gain.value), ha="center", va="center", weight=weight,
                **figures.letters(8),
            )  # fmt: skip
    for column, method in enumerate(methods):
        text = method if len(method) <= 14 else f"{method[:13]}…"
        axes.text(column + 0.5, -0.25, text, ha="center", va="bottom", clip_on=False, **figures.letters(8))
    return figure
