"""Pictures with several panels, made of finished runs: each takes results of :func:`longcut.papers.run`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from longcut.analyses import activation_maps, tsne, uncertainty
from longcut.datasets import load
from longcut.errors import UserError
from longcut.evaluate import METRICS
from longcut.methods import build
from longcut.report import figures
from longcut.runs import Run, read

__all__ = ["activation", "embeddings", "encoder", "negatives", "training", "uncertain"]

Result = Mapping[str, Any]
SIDE = 2.1  # inches of a panel
SHOWN = 5  # images, and negatives of each kind


def embeddings(results: Sequence[Result], about: Mapping[str, Any]) -> Figure:
    """Biased models' views of training samples by t-SNE: a row for each method, a column for each of the table's.

    Coloured by attribute; those that contradict the shortcut are ringed.
    """
    return _grid(results, lambda axes, tensors, said: _cloud(axes, tensors, said, "embedding", "attribute"))


def encoder(results: Sequence[Result], about: Mapping[str, Any]) -> Figure:
    """The main encoder's view of training samples by t-SNE, coloured by class (upper row) and by attribute (lower)."""
    found = {f"{r['row']}, {r['data']}": r for r in results}
    figure, panels = _panels(["class", "attribute"], list(found))
    for column, (name, result) in enumerate(found.items()):
        tensors, said = _gallery(result)
        for row, by in enumerate(("label", "attribute")):
            _cloud(panels[row][column], tensors, said, "features", by)
        panels[0][column].set_title(name, **figures.letters(8))
    return figure


def _grid(results: Sequence[Result], draw: Callable[[Axes, Mapping[str, Any], Mapping[str, Any]], None]) -> Figure:
    rows = list(dict.fromkeys(r["row"] for r in results))
    columns = list(dict.fromkeys((r["data"], r["column"]) for r in results))
    figure, panels = _panels(rows, [" ".join(column) for column in columns])
    for r in results:
        row, column = rows.index(r["row"]), columns.index((r["data"], r["column"]))
        draw(panels[row][column], *_gallery(r))
    return figure


def _panels(rows: Sequence[str], columns: Sequence[str], wide: float = SIDE) -> tuple[Figure, list[list[Axes]]]:
    """An empty grid with names above and beside it."""
    left, top, below = 1.1, 0.3, 0.3
    width, height = left + wide * len(columns), top + SIDE * len(rows) + below
    figure = figures.blank(width, height)
    made = []
    for i, row in enumerate(rows):
        bottom = 1 - (top + SIDE * (i + 1)) / height
        place = [((left + wide * j) / width, bottom) for j in range(len(columns))]
        size = 0.94 * wide / width, 0.9 * SIDE / height
        made.append([figures.frame(figure, (*at, *size)) for at in place])
        figure.text(0.05 / width, bottom + SIDE / 2 / height, row, va="center", wrap=True, **figures.letters(8))
    for j, column in enumerate(columns):
        figure.text(
            (left + wide * (j + 0.47)) / width, 1 - 0.06 / height, column, ha="center", va="top", **figures.letters(8)
        )
    return figure, made


def _gallery(result: Result) -> tuple[dict[str, Any], dict[str, Any]]:
    return read(result["folders"][0]).gallery()


def _cloud(axes: Axes, tensors: Mapping[str, Any], said: Mapping[str, Any], view: str, by: str) -> None:
    """Samples in the plane, in the colours of their class or attribute."""
    group = tensors.get(f"embedding_{by}")
    if view not in tensors or group is None:
        return _empty(axes, f"no {view} was kept")
    place = tsne(tensors[view].numpy())
    names = list(map(str, said["class_names" if by == "label" else "attribute_names"]))
    looks = figures.looks_of(names, named=by == "attribute")
    axes.set_aspect("equal", adjustable="datalim")
    for g in group.unique().tolist():
        look = looks[g % len(looks)]
        x, y = place[(group == g).numpy()].T
        figures.dots(axes, x, y, look.color, size=2.4, marker=look.marker)
    ringed = place[tensors["embedding_conflicting"].numpy()]
    mark = {"linestyle": "", "marker": "o", "markersize": 4.6, "markerfacecolor": "none", "markeredgewidth": 0.6}
    axes.plot(*ringed.T, markeredgecolor=figures.INK, **mark)
    _bare(axes)


def negatives(results: Sequence[Result], about: Mapping[str, Any]) -> Figure:
    """Anchors, each with its hardest and its easiest negatives, and the weight of each negative."""
    tensors, said = _gallery(results[0])
    if "negative_x" not in tensors:
        raise UserError(
            f"the run of {results[0]['row']} on {results[0]['data']} keeps no pictures of negatives; take images and a "
            "method with a biased model."
        )
    k = min(SHOWN, tensors["negative_row"].shape[2])
    every = 1 + 2 * tensors["negative_row"].shape[2]
    classes, attributes = (list(map(str, said[f"{name}_names"])) for name in ("class", "attribute"))
    names = ["anchor", *(f"hard {i + 1}" for i in range(k)), *(f"easy {i + 1}" for i in range(k))]
    anchors = tensors["negative_anchor"].tolist()
    label, attribute = tensors["embedding_label"], tensors.get("embedding_attribute")

    def words(row: int) -> str:
        name = classes[int(label[row])]
        return name if attribute is None or attribute[row] < 0 else f"{name}, {attributes[int(attribute[row])]}"

    figure, panels = _panels([words(row) for row in anchors], names, wide=0.8 * SIDE)
    for i, row in enumerate(anchors):
        shown = [(row, every * i, "")]
        for j in range(2):
            shown += [
                (
                    int(tensors["negative_row"][i, j, n]),
                    every * i + 1 + j * tensors["negative_row"].shape[2] + n,
                    f"{float(tensors['negative_weight'][i, j, n]):.2f}",
                )
                for n in range(k)
            ]
        for axes, (sample, picture, weight) in zip(panels[i], shown, strict=True):
            axes.imshow(tensors["negative_x"][picture].permute(1, 2, 0).numpy())
            axes.set_xlabel(f"{words(sample)} {weight}", labelpad=1, **figures.letters(6))
            _bare(axes)
    return figure


def training(results: Sequence[Result], about: Mapping[str, Any]) -> Figure:
    """A metric of the test set while methods train: a panel for each data set, a line for each row."""
    by_data: dict[str, list[Result]] = {}
    for r in results:
        by_data.setdefault(r["data"], []).append(r)
    looks = figures.styles(list(dict.fromkeys(r["row"] for r in results)), "ERM")
    figure, (panels,) = _panels([""], list(by_data), wide=1.6 * SIDE)
    for axes, found in zip(panels, by_data.values(), strict=True):
        metric = about.get("metric_of_lines", found[0]["reads"])
        for r in found:
            epochs, values = _traced([read(folder) for folder in r["folders"]], metric)
            look = looks[r["row"]]
            if len(values) > 1:
                axes.fill_between(epochs, values.min(0), values.max(0), color=look.color, alpha=0.15, linewidth=0)
            mark = {"marker": look.marker if len(epochs) == 1 else "", "markersize": 4}
            axes.plot(
                epochs, values.mean(0), color=look.color, linestyle=look.dash, linewidth=1.4, label=r["row"], **mark
            )
        axes.set_ylim(0, 1)
        figures.ticks(axes.yaxis, True)
        axes.set_xlabel(f"epoch; {figures.metric_title(metric).lower()}", labelpad=1, **figures.letters(7))
        axes.legend(fontsize=6, framealpha=0.6)
    return figure


def _traced(found: Sequence[Run], metric: str) -> tuple[list[int], np.ndarray]:
    """Epochs at which all were judged, and values ``(runs, epochs)``."""
    if metric not in METRICS:
        raise UserError(f"{metric} is not measured while a method trains; draw another column.")
    lines = [{row["epoch"]: row["test"][metric] for row in run.history() if "test" in row} for run in found]
    epochs = sorted(set.intersection(*(set(line) for line in lines)))
    return epochs, np.array([[np.nan if (v := line[e]) is None else v for e in epochs] for line in lines])


def uncertain(results: Sequence[Result], about: Mapping[str, Any]) -> Figure:
    """In what share of its epochs a net was wrong about groups; those that contradict the shortcut in colour."""
    figure, (panels,) = _panels([""], [f"{r['row']}, {r['data']}" for r in results], wide=1.6 * SIDE)
    for axes, r in zip(panels, results, strict=True):
        table = uncertainty(map(read, r["folders"]))
        for conflicting, color in ((False, figures.BASELINE), (True, figures.PALETTE[3])):
            own = table[table["conflicting"] == conflicting]
            x = int(conflicting) + np.linspace(-0.25, 0.25, len(own)) if len(own) > 1 else [int(conflicting)] * len(own)
            figures.dots(axes, x, own["uncertainty"], color, size=4)
            if len(own):
                mean = np.average(own["uncertainty"], weights=own["samples"])
                axes.plot([conflicting - 0.3, conflicting + 0.3], [mean] * 2, color=color, linewidth=1.6)
        axes.set_xticks([0, 1], ["agree", "contradict"])
        axes.set_ylim(0, 1)
        figures.ticks(axes.yaxis, True)
        axes.set_xlabel("groups; share of epochs in which a sample is wrong", labelpad=1, **figures.letters(7))
    return figure


def activation(results: Sequence[Result], about: Mapping[str, Any]) -> Figure:
    """Where nets look: images of the test set, and over them the activation map of their class, by method."""
    rows = [r["row"] for r in results]
    first = read(results[0]["folders"][0]).record.plan
    test = load(first.data, first.data_seed).test
    seen = [int((test.label == c).nonzero()[0]) for c in range(min(SHOWN, test.info.n_classes))]
    x, label = test.gather(torch.tensor(seen)), test.label[seen]
    pictures = test.seen(torch.tensor(seen))
    assert pictures is not None  # the net would have no map
    names = [str(test.info.class_names[int(c)]) for c in label]
    figure, panels = _panels(["image", *rows], names)
    for i, line in enumerate(panels):
        maps = None if i == 0 else _maps(read(results[i - 1]["folders"][0]), x, label)
        for j, axes in enumerate(line):
            axes.imshow(_shown(pictures[j]))
            if maps is not None:
                side = (-0.5, x.shape[3] - 0.5, x.shape[2] - 0.5, -0.5)
                top = float(maps[j].max()) or 1.0
                heat = {"cmap": "inferno", "alpha": 0.6, "vmin": 0.0, "vmax": top, "interpolation": "bilinear"}
                axes.imshow(maps[j].numpy(), extent=side, **heat)
            _bare(axes)
    return figure


def _maps(run: Run, x: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """Of a run's net, for the classes of images."""
    plan, inputs = run.record.plan, run.inputs()
    assert inputs is not None
    method = build(plan.method, inputs.info, net=plan.net, options=plan.options, seed=plan.seed)
    method.net.load_state_dict(run.weights())
    return activation_maps(method.net, inputs.info, x, label)


def _shown(image: torch.Tensor) -> np.ndarray:
    image = image.clamp(0, 1)
    return (image.expand(3, -1, -1) if len(image) == 1 else image).permute(1, 2, 0).numpy()


def _bare(axes: Axes) -> None:
    axes.spines[["bottom"]].set_visible(False)
    axes.set_xticks([])
    axes.set_yticks([])


def _empty(axes: Axes, why: str) -> None:
    axes.text(0.5, 0.5, why, ha="center", va="center", transform=axes.transAxes, **figures.letters(7))
    _bare(axes)
