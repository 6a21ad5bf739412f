"""The pictures of a report.

Every function returns a new matplotlib ``Figure`` with its whole style written out, so the caller's settings are
neither read nor changed. :func:`longcut.report.embed.svg` makes a picture a part of a page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.colors import CSS4_COLORS, to_rgba
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from longcut.analyses import tsne
from longcut.datasets.planted import COLORS
from longcut.evaluate import METRICS
from longcut.numbers import number

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "Style",
    "accuracy",
    "blank",
    "curve",
    "dots",
    "flatten",
    "frame",
    "letters",
    "looks_of",
    "metric_title",
    "named_color",
    "points",
    "styles",
    "sweep",
    "ticks",
]

INK = "#1b1f24"
BASELINE = "#8c8c8c"
PALETTE = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#b8a800")
"""Okabe and Ito's colours, which the colour-blind tell apart; their yellow darkened to be seen on white."""
DASHES: tuple[Any, ...] = ("-", (0, (4, 2)), (0, (1, 1.5)), (0, (5, 1.5, 1, 1.5)))
MARKERS = "os^DvPX"
FONT = "DejaVu Sans"  # comes with matplotlib
WIDTH = 3.4  # inches, of a panel of which three stand in a row


class Style(NamedTuple):
    """How one thing looks in every figure of a page."""

    color: str
    dash: Any = "-"
    marker: str = "o"


def styles(names: Sequence[str], baseline: str | None = None) -> dict[str, Style]:
    """A look for each name: the baseline grey, the others in colours, then the colours again with other marks.

    >>> styles(["erm", "selecmix"], baseline="erm")["selecmix"].color
    '#0072b2'
    """
    result = {baseline: Style(BASELINE)} if baseline in names and baseline is not None else {}
    for i, name in enumerate(name for name in names if name != baseline):
        turn, place = divmod(i, len(PALETTE))
        result[name] = Style(PALETTE[place], DASHES[turn % len(DASHES)], MARKERS[turn % len(MARKERS)])
    return result


def named_color(name: str) -> str | None:
    """The colour that a word says, or None when it says none.

    >>> named_color("red"), named_color("7")
    ('#ff0000', None)
    """
    if name in COLORS:
        return "#{:02x}{:02x}{:02x}".format(*COLORS[name])
    return str(CSS4_COLORS[name.lower()]).lower() if name.lower() in CSS4_COLORS else None


def looks_of(names: Sequence[str], *, named: bool) -> list[Style]:
    """The colours that the names say, if ``named`` and all do; else colours that are easily told apart."""
    colors = [named_color(name) for name in names] if named else [None]
    if all(colors):
        return [Style(color) for color in colors if color]
    return list(styles([str(i) for i in range(len(names))]).values())


def accuracy(
    values: Mapping[str, Mapping[str, Sequence[float]]],
    looks: Mapping[str, Style] | None = None,
    *,
    intervals: Mapping[str, Mapping[str, tuple[float, float]]] | None = None,
    percent: bool = True,
) -> Figure:
    """Bars of each method's mean, with a dot for each seed: a panel per metric, two in a row.

    Args:
        values: metric (see :data:`longcut.evaluate.METRICS`) to method to one value per seed; ``nan`` is not drawn.
        looks: method to style; default: ``erm`` grey, the others in colours.
        intervals: metric to method to the ends of a line through the end of its bar; ``nan`` is not drawn.
        percent: values are shares, shown in percent from 0 to 100; otherwise errors, shown as they are.

    >>> values = {"aligned": {"erm": [0.96, 0.97]}, "conflicting": {"erm": [0.21, 0.24]}}
    >>> len(accuracy(values).axes)
    2
    """
    names = list(dict.fromkeys(name for methods in values.values() for name in methods))
    looks = looks or styles(names, next((name for name in names if name.lower() == "erm"), None))
    finite = [v for methods in values.values() for seeds in methods.values() for v in seeds if np.isfinite(v)]
    top = 1.0 if percent else 1.05 * max(finite, default=1.0) or 1.0
    columns = min(2, len(values))
    rows = -(-len(values) // columns)
    height = 0.62 + 0.44 * len(names)
    figure = blank(4.4 * columns, height * rows)
    for i, (metric, methods) in enumerate(values.items()):
        left, bottom = (i % columns + 0.012) / columns, 1 - (i // columns + 1) / rows
        place = (left, bottom + 0.32 / height / rows, 0.82 / columns, (1 - 0.6 / height) / rows)
        axes = frame(figure, place)
        axes.set_xlim(0, top)
        axes.set_ylim(len(names) - 0.5, -0.6)
        axes.set_yticks([])
        axes.spines[["bottom"]].set_visible(False)
        axes.spines[["left"]].set(visible=True, alpha=0.5)
        ticks(axes.xaxis, percent)
        axes.grid(True, axis="x", color=INK, alpha=0.12, linewidth=0.6, linestyle="-")
        title = {"va": "top", "weight": "bold", **letters(9.5)}
        figure.text(left, bottom + (1 - 0.04 / height) / rows, metric_title(metric), **title)
        for row, name in enumerate(names):
            seeds = np.asarray(methods.get(name, ()), dtype=float)
            _bar(axes, row, name, seeds[np.isfinite(seeds)], looks[name].color, percent)
            ends = (intervals or {}).get(metric, {}).get(name, (np.nan, np.nan))
            if np.isfinite(ends).all():
                line = {"color": INK, "alpha": 0.55, "linewidth": 0.9, "linestyle": "-", "marker": ""}
                axes.plot(np.clip(ends, 0, top), [row + 0.09] * 2, **line)
    return figure


def _bar(axes: Axes, row: int, name: str, seeds: NDArray[Any], color: str, percent: bool) -> None:
    beside = {"va": "center", "weight": "bold", "transform": axes.get_yaxis_transform()}
    _label(axes, 0.008, row - 0.22, name, va="bottom", transform=axes.get_yaxis_transform())
    if not len(seeds):
        return _label(axes, 1.03, row + 0.09, number(np.nan), **beside)
    mean = float(seeds.mean())
    _label(axes, 1.03, row + 0.09, number(mean, percent), **beside)
    axes.barh(row + 0.09, mean, height=0.42, color=color, alpha=0.4, linewidth=0)
    axes.plot(
        [mean, mean], [row - 0.12, row + 0.3], color=color, linewidth=2.2, linestyle="-", marker="", clip_on=False
    )
    if len(seeds) > 1:
        dots(axes, seeds, row + 0.09 + np.linspace(-0.11, 0.11, len(seeds)), color, size=3.6)


def curve(
    lines: Mapping[str, tuple[Sequence[float], Sequence[Sequence[float]]]],
    looks: Mapping[str, Style],
    title: str,
    *,
    percent: bool = True,
    unit: str = "epoch",
    chance: float = np.nan,
    guide: str = "chance",
) -> Figure:
    """One metric while training: a line per method through its mean over seeds, a band from lowest to highest.

    Args:
        lines: method to (epochs ``(e,)``, values ``(seeds, e)``).
        looks: method to style.
        title: of the panel; empty for none.
        percent: as for :func:`accuracy`.
        unit: of the horizontal axis.
        chance: what guessing gets, drawn as a thin line; ``nan`` for none.
        guide: what stands at that line.
    """
    figure = blank(WIDTH, 2.3)
    axes = frame(figure, (0.12, 0.17, 0.84, 0.70 if title else 0.79))
    figure.text(0.02, 0.985, title, va="top", weight="bold", **letters(9.5))
    for name, (epochs, values) in lines.items():
        seeds, look = np.asarray(values, dtype=float), looks[name]
        if len(seeds) > 1:
            axes.fill_between(epochs, seeds.min(0), seeds.max(0), color=look.color, alpha=0.2, linewidth=0)
        marker = look.marker if seeds.shape[1] == 1 else ""
        axes.plot(
            epochs, seeds.mean(0), color=look.color, linestyle=look.dash, linewidth=1.6, marker=marker, markersize=4
        )
    axes.set_ylim(0, 1.0 if percent else None)
    axes.set_xmargin(0)
    if np.isfinite(chance):
        axes.axhline(chance, color=INK, alpha=0.6, linewidth=0.9, linestyle=(0, (1, 2)), marker="")
        side: dict[str, Any] = {"va": "top"} if chance > 0.1 else {"va": "bottom"}  # below, where there is room
        y = chance - 0.015 if chance > 0.1 else chance + 0.015
        axes.text(0.995, y, guide, transform=axes.get_yaxis_transform(), ha="right", **side, **letters(8))
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    ticks(axes.yaxis, percent)
    axes.grid(True, axis="y", color=INK, alpha=0.12, linewidth=0.6, linestyle="-")
    axes.set_xlabel(unit, labelpad=2, **letters(8))
    return figure


def sweep(
    lines: Mapping[str, tuple[Sequence[float], Sequence[float], Sequence[float]]],
    looks: Mapping[str, Style],
    title: str,
    *,
    percent: bool = True,
    unit: str = "",
) -> Figure:
    """One metric over a setting: a line per method through its means, a band of one standard deviation to each side.

    Args:
        lines: method to (values of the setting, means, standard deviations), each ``(k,)``; ``nan`` is not drawn.
        looks: method to style.
        title: of the panel.
        percent: as for :func:`accuracy`.
        unit: of the horizontal axis, on which all values stand at equal distances.
    """
    figure = blank(WIDTH, 2.3)
    axes = frame(figure, (0.12, 0.17, 0.84, 0.70))
    figure.text(0.02, 0.985, title, va="top", weight="bold", **letters(9.5))
    values = sorted({value for line in lines.values() for value in line[0]})
    for name, (at, means, deviations) in lines.items():
        x, mean, deviation, look = [values.index(v) for v in at], np.asarray(means), np.asarray(deviations), looks[name]
        axes.fill_between(x, mean - deviation, mean + deviation, color=look.color, alpha=0.2, linewidth=0)
        axes.plot(x, mean, color=look.color, linestyle=look.dash, linewidth=1.6, marker=look.marker, markersize=4)
    axes.set_ylim(0, 1.0 if percent else None)
    axes.set_xlim(-0.15, len(values) - 0.85)
    axes.set_xticks(range(len(values)), [f"{value:g}" for value in values])
    ticks(axes.yaxis, percent)
    axes.grid(True, axis="y", color=INK, alpha=0.12, linewidth=0.6, linestyle="-")
    axes.set_xlabel(unit, labelpad=2, **letters(8))
    return figure


def points(
    place: NDArray[Any], group: Sequence[int], looks: Sequence[Style], ringed: NDArray[Any] | None = None
) -> Figure:
    """A map of samples, coloured by group; those that contradict the shortcut have a ring.

    Args:
        place: ``(m, 2)``.
        group: number of each point's group ``(m,)``.
        looks: a style for each group.
        ringed: boolean ``(m,)``, or None when it is not known.
    """
    wide, high = np.ptp(place, axis=0)
    figure = blank(WIDTH, WIDTH * float(np.clip(high / max(wide, 1e-9), 0.4, 1.0)))
    axes = frame(figure, (0.01, 0.01, 0.98, 0.98))
    axes.spines[["bottom"]].set_visible(False)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_aspect("equal", adjustable="datalim")
    axes.margins(0.03)
    groups = np.asarray(group)
    for g in np.unique(groups):
        look = looks[int(g) % len(looks)]
        x, y = place[groups == g].T
        dots(axes, x, y, look.color, size=4.6, marker=look.marker)
    if ringed is not None and ringed.any():
        axes.plot(
            place[ringed, 0],
            place[ringed, 1],
            linestyle="",
            marker="o",
            markersize=8.5,
            markerfacecolor="none",
            markeredgecolor=INK,
            markeredgewidth=0.9,
        )
    return figure


def flatten(embedding: NDArray[Any]) -> NDArray[Any] | None:
    """Places in the plane ``(m, 2)`` that keep neighbours of an embedding ``(m, d)`` together, by t-SNE.

    None where there is nothing to draw: few points, all at one place, or values that are not finite.
    """
    if len(embedding) < 10 or not np.isfinite(embedding).all() or np.ptp(embedding, 0).max() == 0:
        return None
    if embedding.shape[1] <= 2:
        return np.pad(embedding, ((0, 0), (0, 2 - embedding.shape[1])))
    return tsne(embedding)


# --- words ------------------------------------------------------------------------------------------------------------


def metric_title(metric: str) -> str:
    """A metric's name as people write it.

    >>> metric_title("worst_group"), metric_title("worst_group_rmse")
    ('Worst group', 'Worst group RMSE')
    """
    if metric in ("ece", "auroc", "rmse", "mae"):
        return metric.upper()
    if metric in ("mape", "r2"):
        return {"mape": "MAPE (%)", "r2": "R²"}[metric]
    if metric.endswith("_rmse"):
        return f"{metric.removesuffix('_rmse').replace('_', ' ').capitalize()} RMSE"
    return metric.replace("_", " ").capitalize() if metric in METRICS else metric


# --- style ------------------------------------------------------------------------------------------------------------


def blank(width: float, height: float) -> Figure:
    """An empty figure of this size in inches."""
    figure = Figure(figsize=(width, height), dpi=150, facecolor="white", edgecolor="none")
    figure.set_layout_engine("none")
    return figure


def frame(figure: Figure, place: tuple[float, float, float, float]) -> Axes:
    """Axes at this place (left, bottom, width, height in shares of the figure) with nothing but a line below."""
    axes = figure.add_axes(place, facecolor="none")
    axes.grid(False)
    axes.set_axisbelow(True)
    axes.spines[:].set(visible=False, color=INK, linewidth=0.7)
    axes.spines[["bottom"]].set_visible(True)
    axes.tick_params(which="both", length=0, labelsize=8, labelcolor=INK, labelfontfamily=FONT, pad=3)
    return axes


def ticks(axis: Any, percent: bool) -> None:
    """Few numbers along an axis: shares in percent from 0 to 100, or what is there."""
    if percent:
        axis.set_ticks([0, 0.25, 0.5, 0.75, 1])
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.0f}{' %' if value == 1 else ''}"))
    else:
        axis.set_major_locator(MaxNLocator(4))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def dots(axes: Axes, x: Any, y: Any, color: str, *, size: float, marker: str = "o") -> None:
    """Points with a thin edge, so that they are seen on any ground."""
    axes.plot(
        x,
        y,
        linestyle="",
        marker=marker,
        markersize=size,
        markerfacecolor=color,
        markeredgecolor=to_rgba(INK, 0.45),
        markeredgewidth=0.5,
        clip_on=False,
    )


def letters(size: float) -> dict[str, Any]:
    """How text of this size looks."""
    return {"family": FONT, "size": size, "color": INK, "parse_math": False}


def _label(axes: Axes, x: float, y: float, text: str, **place: Any) -> None:
    """Somebody else's words: cut to fit, and no letter that the font would complain about."""
    known = font_manager.get_font(font_manager.findfont(FONT)).get_charmap()
    text = "".join(letter if ord(letter) in known else "□" for letter in " ".join(text.split()))
    axes.text(x, y, text if len(text) <= 44 else f"{text[:43]}…", clip_on=False, **{**letters(8.5), **place})
