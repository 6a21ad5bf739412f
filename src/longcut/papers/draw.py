"""The picture of a paper's figure, made of our runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from longcut.datasets import parse
from longcut.files import written
from longcut.papers.cells import declared
from longcut.runs import read

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw"]


def draw(recipe: str, results: Sequence[Mapping[str, Any]], out: Path | str = "runs/reproduce") -> Path | None:
    """Write the picture of a figure below ``out`` as SVG; None for a table.

    Args:
        recipe: ``"paper/figure"``.
        results: what :func:`longcut.papers.run` returned.
        out: folder to write to.
    """
    _, about, _ = declared(recipe)
    if "draws" not in about:
        return None
    how = {"similarity": _similarity, "curves": _curves, "embedding": _embedding}[about["draws"]]
    path = Path(out) / f"{recipe.replace('/', '-')}.svg"
    with written(path) as temporary:
        how(results, about).savefig(temporary, format="svg", metadata={"Date": None})
    return path


def _similarity(results: Sequence[Mapping[str, Any]], about: Mapping[str, Any]) -> Figure:
    """A line for each loss and kind of pairs, from -1 to 1."""
    from longcut.report import figures

    lines = {f"{r['row']}, {r['column']}": (range(len(r["trace"])), [r["trace"]]) for r in results}
    figure = figures.curve(lines, figures.styles(list(lines)), "Mean cosine", percent=False)
    figure.axes[0].set_ylim(-1, 1)
    return _with_names(figure, list(lines))


def _curves(results: Sequence[Mapping[str, Any]], about: Mapping[str, Any]) -> Figure:
    """Accuracy at the last epoch over an option of the data or the method, a line for each row or column."""
    from longcut.report import figures

    lines: dict[str, list[tuple[float, float, float]]] = {}
    for r in results:
        options = {**parse(r["spec"])[1], **r["options"]}
        name = r["row"] if about["lines"] == "row" else f"{r['data']} {r['column']}"
        point = options.get(about["x"], 0), r["last"] / 100, (r["last_sd"] or 0) / 100
        lines.setdefault(name, []).append(point)
    drawn: dict[str, Any] = {name: tuple(zip(*sorted(found), strict=True)) for name, found in lines.items()}
    looks = figures.styles(list(lines), "Vanilla")
    return _with_names(figures.sweep(drawn, looks, "Accuracy, last epoch", unit=about["x"]), list(lines))


def _with_names(figure: Figure, names: Sequence[str]) -> Figure:
    """With a legend, for a picture that stands alone."""
    figure.set_size_inches(6.8, 4.2)
    axes = figure.axes[0]
    axes.legend(axes.get_lines(), names, fontsize=7, framealpha=0.6)
    return figure


def _embedding(results: Sequence[Mapping[str, Any]], about: Mapping[str, Any]) -> Figure:
    """The biased model's view of training samples by t-SNE, coloured by attribute; conflicting samples are ringed."""
    from longcut.analyses import tsne
    from longcut.report import figures

    tensors, said = read(results[0]["folders"][0]).gallery()
    names = list(map(str, said["attribute_names"]))
    place = tsne(tensors["embedding"].numpy())
    ringed = tensors["embedding_conflicting"].numpy()
    group = tensors["embedding_attribute"].tolist()
    return figures.points(place, group, figures.looks_of(names, named=True), ringed)
