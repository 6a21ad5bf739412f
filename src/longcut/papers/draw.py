"""The picture of a paper's figure, made of our runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from longcut.datasets import parse
from longcut.errors import UserError
from longcut.files import written
from longcut.recipes import declared

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw", "picture"]


def draw(recipe: str, results: Sequence[Mapping[str, Any]], out: Path | str = "runs/reproduce") -> Path | None:
    """Write the picture of a figure below ``out`` as SVG; None for a table.

    Args:
        recipe: ``"paper/figure"``.
        results: what :func:`longcut.papers.run` returned; what has no run yet is left out.
        out: folder to write to.

    Raises:
        UserError: when no run is there, or those that are keep not what is drawn.
    """
    figure = picture(recipe, results)
    if figure is None:
        return None
    path = Path(out) / f"{recipe.replace('/', '-')}.svg"
    with written(path) as temporary:
        figure.savefig(temporary, format="svg", metadata={"Date": None})
    return path


def picture(recipe: str, results: Sequence[Mapping[str, Any]]) -> Figure | None:
    """The same as a matplotlib figure."""
    _, about, _ = declared(recipe)
    if "draws" not in about:
        return None
    there: dict[Any, Mapping[str, Any]] = {}
    for r in results:
        if r.get("folders") or "trace" in r:  # a run that several columns read is drawn once
            there.setdefault((r["row"], r.get("spec"), *r.get("folders", (r["data"], r["column"]))), r)
    if not there:
        raise UserError(f"no run of {recipe} is finished; leave --finished out to train them, or name their --out.")
    from longcut.papers import pictures

    kinds: dict[str, Callable[[Sequence[Mapping[str, Any]], Mapping[str, Any]], Figure]] = {
        "similarity": _similarity,
        "curves": _curves,
        "embedding": pictures.embeddings,
        "encoder": pictures.encoder,
        "negatives": pictures.negatives,
        "training": pictures.training,
        "uncertainty": pictures.uncertain,
        "activation": pictures.activation,
    }
    return kinds[about["draws"]](list(there.values()), about)


def _similarity(results: Sequence[Mapping[str, Any]], about: Mapping[str, Any]) -> Figure:
    """A line for each loss and kind of pairs, from -1 to 1."""
    from longcut.report import figures

    sets = list(dict.fromkeys(r["data"] for r in results))
    lines = {
        ", ".join(filter(None, (r["data"] if len(sets) > 1 else "", r["row"], r["column"]))): (
            range(len(r["trace"])),
            [r["trace"]],
        )
        for r in results
    }
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
        name += "".join(f", {options.get(key, usual)}" for key, usual in about.get("apart", {}).items())
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
