"""The panels about the errors of a regression: what was predicted against what is true, and what is left over."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from longcut.door import Missing
from longcut.numbers import number
from longcut.report import embed, figures
from longcut.report.base import Page
from longcut.report.figures import INK, WIDTH, Style
from longcut.report.study import Study, name_of
from longcut.report.template import fragment

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

__all__ = ["predicted", "residuals"]

POINTS = 400  # predictions in a picture
METHODS = 3  # with pictures, in all studies
VALUES = 6  # of the attribute, each with a colour of its own
NUMBERS = 3  # of a target, each with pictures of its own
FIFTHS = ("lowest\nfifth", "second", "third", "fourth", "highest\nfifth")

Floats = NDArray[np.float64] if TYPE_CHECKING else Any


@dataclass(frozen=True)
class _Said:
    """What one method said about one number of the target, all seeds together.

    Attributes:
        name: of the method, and which number where there are several.
        true, said: ``(m,)``.
        group: value of the attribute ``(m,)``; all 0 where it is not known, or has too many values.
    """

    name: str
    true: Floats
    said: Floats
    group: NDArray[np.int64]

    @property
    def residual(self) -> Floats:
        return self.said - self.true

    @property
    def fifth(self) -> NDArray[np.int64]:
        """Which fifth of the targets a sample is in, from 0; equal targets are in the same."""
        return np.searchsorted(np.quantile(self.true, [0.2, 0.4, 0.6, 0.8]), self.true)

    @property
    def r2(self) -> float:
        variation = float(np.square(self.true - self.true.mean()).sum())
        return 1 - float(np.square(self.residual).sum()) / variation if variation > 0 else float("nan")


def predicted(study: Study, page: Page) -> Markup | None:
    """Predicted against true values, coloured by group, for the first methods; None where nobody kept them."""
    found, looks, legend = _found(study, page)
    pictures = []
    for one in found:
        shown = np.random.default_rng(len(one.true)).permutation(len(one.true))[:POINTS]
        note = f"{len(shown):,} of {len(one.true):,} predictions, R² {number(one.r2, False)}"
        svg = embed.svg(
            _scatter(one, shown, looks), f"Predicted against true values of {one.name}: {note}.", next(page.ids)
        )
        pictures.append({"name": one.name, "svg": svg, "note": note})
    return fragment("study", "predicted", study, pictures, legend) if pictures else None


def residuals(study: Study, page: Page) -> Markup | None:
    """Predicted minus true values by fifth of the target and by group, and the error in each fifth; None likewise."""
    found, looks, legend = _found(study, page)
    pictures = []
    for one in found:
        rows = _by_fifth(one)
        said = "; ".join(f"{row['range']}: {row['mean']['mean']}" for row in rows)
        alt = f"Predicted minus true values of {one.name} by fifth of the target; the mean is {said}."
        svg = embed.svg(_spans(one, looks), alt, next(page.ids))
        pictures.append({"name": one.name, "svg": svg, "rows": rows})
    return fragment("study", "residuals", study, pictures, legend) if pictures else None


def _found(study: Study, page: Page) -> tuple[list[_Said], list[Style], list[dict[str, Any]]]:
    """What the first methods said, the looks of the groups, and their legend if there are several."""
    if study.scale.percent:
        return [], [], []
    found = list(_said(study, max(1, METHODS // page.studies)))
    present = sorted({int(value) for one in found for value in np.unique(one.group)})
    names = study.runs[0].gallery()[1].get("attribute_names", ())
    called = [name_of(names, value) for value in range(max(present, default=0) + 1)]
    several = len(present) > 1
    looks = figures.looks_of(called, named=True) if several else [Style(figures.PALETTE[0])]
    shown = [(called[value], looks[value % len(looks)]) for value in present]
    legend = embed.legend([name for name, _ in shown], [look for _, look in shown], page.ids, line=False)
    return found, looks, legend if several else []


def _said(study: Study, methods: int) -> Iterator[_Said]:
    for contender in study.contenders[:methods]:
        try:
            kept = [run.predictions() for run in contender.runs]
        except Missing:  # somebody removed it
            continue
        true, said = (np.concatenate([one[name].double().numpy() for one in kept]) for name in ("label", "outputs"))
        group = np.zeros(len(true), np.int64)
        if all("attribute" in one for one in kept):
            group = np.concatenate([one["attribute"].numpy() for one in kept])
            group = np.where(group < 0, group.max() + 1, group)  # where it is not known
            group = group if len(np.unique(group)) <= VALUES else np.zeros_like(group)
        width = true.shape[1]
        for i in range(min(width, NUMBERS)):
            known = np.isfinite(true[:, i]) & np.isfinite(said[:, i])
            if known.any():
                name = contender.name if width == 1 else f"{contender.name}, number {i + 1} of {width}"
                yield _Said(name, true[known, i], said[known, i], group[known])


def _by_fifth(one: _Said) -> list[dict[str, Any]]:
    """A row for each fifth of the target: its range, its size, the mean residual and the error; the worst is marked."""
    rows: list[dict[str, Any]] = []
    for fifth in np.unique(one.fifth):
        inside = one.fifth == fifth
        true, residual = one.true[inside], one.residual[inside]
        error = float(np.sqrt(np.square(residual).mean()))
        mean = float(residual.mean())
        rows.append(
            {
                "range": f"{number(float(true.min()), False)} to {number(float(true.max()), False)}",
                "n": len(true),
                "low": float(true.min()),
                "mean": {"mean": f"{'+' * (mean > 0)}{number(mean, False)}", "spread": "", "sort": f"{mean:.6g}"},
                "error": {"mean": number(error, False), "spread": "", "sort": f"{error:.6g}"},
            }
        )
    worst = max(float(row["error"]["sort"]) for row in rows)
    return [row | {"worst": float(row["error"]["sort"]) == worst} for row in rows]


# --- pictures ---------------------------------------------------------------------------------------------------------


def _axes(figure: Figure, across: str, up: str) -> Axes:
    axes = figures.frame(figure, (0.17, 0.15, 0.8, 0.82))
    axes.spines[["left"]].set(visible=True, alpha=0.5)
    axes.set_xlabel(across, labelpad=2, **figures.letters(8))
    axes.set_ylabel(up, labelpad=2, **figures.letters(8))
    return axes


def _scatter(one: _Said, shown: NDArray[np.int64], looks: Sequence[Style]) -> Figure:
    """Dots of some samples and the line on which the predicted value is the true one, on equal scales."""
    figure = figures.blank(WIDTH, WIDTH)
    axes = _axes(figure, "true", "predicted")
    both = np.concatenate([one.true[shown], one.said[shown]])
    margin = 0.04 * float(np.ptp(both)) or 1.0
    ends = (float(both.min()) - margin, float(both.max()) + margin)
    axes.set(xlim=ends, ylim=ends)
    axes.plot(ends, ends, color=INK, alpha=0.5, linewidth=0.9, linestyle="-", marker="")
    for value in np.unique(one.group[shown]):
        rows = shown[one.group[shown] == value]
        look = looks[int(value) % len(looks)]
        figures.dots(axes, one.true[rows], one.said[rows], look.color, size=3.2, marker=look.marker)
    for axis in (axes.xaxis, axes.yaxis):
        figures.ticks(axis, percent=False)
    return figure


def _spans(one: _Said, looks: Sequence[Style]) -> Figure:
    """For each fifth and group: the median residual, a thick line over the middle half, a thin one from 5 % to 95 %."""
    figure = figures.blank(WIDTH, 0.72 * WIDTH)
    axes = _axes(figure, "true value", "predicted minus true")
    axes.axhline(0, color=INK, alpha=0.5, linewidth=0.9, linestyle="-", marker="")
    values = np.unique(one.group)
    for place, value in zip((np.arange(len(values)) - (len(values) - 1) / 2) * 0.8 / len(values), values, strict=True):
        look = looks[int(value) % len(looks)]
        for fifth in np.unique(one.fifth):
            residual = one.residual[(one.fifth == fifth) & (one.group == value)]
            if len(residual):
                low, quarter, median, most, high = np.quantile(residual, [0.05, 0.25, 0.5, 0.75, 0.95])
                for ends, width in (((low, high), 1.1), ((quarter, most), 3.2)):
                    axes.plot([fifth + place] * 2, ends, color=look.color, linewidth=width, linestyle="-", marker="")
                figures.dots(axes, [fifth + place], [median], look.color, size=4.6, marker=look.marker)
    axes.set_xlim(-0.6, len(FIFTHS) - 0.4)
    axes.set_xticks(range(len(FIFTHS)), FIFTHS)
    figures.ticks(axes.yaxis, percent=False)
    axes.grid(True, axis="y", color=INK, alpha=0.12, linewidth=0.6, linestyle="-")
    return figure
