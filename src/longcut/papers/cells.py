"""What a paper's table holds: its cells as plans, with the published values beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from longcut.plans import plan
from longcut.recipes import declared
from longcut.recipes.rows import Column, Row, kept, rows_of
from longcut.record import Plan
from longcut.spec import parse_method, write

__all__ = [
    "ANNOTATIONS",
    "ORIGINS",
    "PRETRAINED",
    "PROTOCOLS",
    "Cell",
    "cells",
]

Pair = tuple[float, float | None]
PRETRAINED = "weights=FILE"  # in the net of a recipe, where somebody's own path has to go
PROTOCOLS = {
    "paper": "settings, augmentation, average and selection as in the paper that printed the row",
    "subpopbench": "that of SubpopBench: ImageNet and BERT weights, no augmentation, batch normalisation frozen, the "
    "best of 16 random settings; the printed deviation is a standard error over three runs",
    "ours": "one setting for all methods, from random weights",
    "wilds": "that of WILDS: its data, splits and default optimisers, and the worst of its groups",
}
ANNOTATIONS = {
    "none": "no attribute is used, not even to select",
    "val-sel": "attributes of validation samples select epoch and settings",
    "val-fit": "attributes of validation samples are trained on",
    "train": "attributes of training samples are used",
}
ORIGINS = {
    "paper": ("", ""),
    "second hand": (" †", "second hand: read where others quote it"),
    "memory": (" ‡", "second hand, and from memory: not checked against anything printed"),
}


@dataclass(frozen=True)
class Cell:
    """One number of a table, and how we make ours.

    Attributes:
        row, data, column: names in the table: a method, a data set, and a variant of it or a metric.
        published: mean and deviation in %, as printed; None for what is ours alone.
        plans: one per seed; none where we have no such method or data set, so that the number stands alone.
        note: what to know before comparing.
        reads: which number of a run it is: a metric of the test set (``"worst_group"``) or of another one
            (``"valid average"``), the accuracy of a group (``"group 1,0"``: label, attribute), what is known of the
            samples that were taken for the minority (``"identification recall"``), or ``"bias"``.
        against: the runs of another row that the number is relative to, in per cent.
        protocol: whose settings and definitions: one of ``PROTOCOLS``, or empty.
        annotation: where attributes are used: one of ``ANNOTATIONS``, or empty.
        origin: how far the published number can be trusted: one of ``ORIGINS``.
        changed: what was set in place of an option that the row fixes, such as ``"pretrain=3"``: then it is no longer
            the paper's row, and its runs have a label of their own.
    """

    row: str
    data: str
    column: str
    published: Pair | None
    plans: tuple[Plan, ...]
    note: str = ""
    reads: str = "average"
    against: tuple[Plan, ...] = ()
    protocol: str = ""
    annotation: str = ""
    origin: str = "paper"
    changed: str = ""


def _printed(value: Sequence[Any] | None, origin: str) -> tuple[Pair | None, str]:
    """A mean, perhaps a deviation, and perhaps where the number is from; without, it is from ``origin``."""
    if value is None:
        return None, "paper"
    mean, *more = value
    if more and isinstance(more[-1], str):
        origin = more.pop()
    return (mean, more[0] if more else None), origin


def cells(
    recipe: str, only: Sequence[str] = (), seeds: int | None = None, settings: Mapping[str, Any] | None = None
) -> list[Cell]:
    """The cells of a table; a figure that is not made of runs has none.

    Args:
        recipe: ``"paper/table"``.
        only: names of data sets, columns or rows; of each kind that is named, the rest is left out.
        seeds: number of runs per cell; by default the paper's.
        settings: overrides, such as ``{"epochs": 30}``.

    Raises:
        UserError: for an unknown recipe or name.
    """
    content, about, _ = declared(recipe)
    rows = list(rows_of(recipe))
    if not rows:
        return []
    chosen = kept(recipe, only)
    by_name = {row.name: row for row in rows}
    made: dict[tuple[str | None, ...], tuple[Plan, ...]] = {}  # several columns may read the same runs

    def plans(row: Row, data: str, column: str, spec: str | None) -> tuple[Plan, ...]:
        key = row.label, data, spec, row.method_of(data, column)
        if key not in made:
            made[key] = _plans(content, row, data, spec, key[-1], seeds, settings or {})
        return made[key]

    found = []
    for row in rows:
        for data, columns in row.published.items():
            for column, value in columns.items():
                if data in chosen[0] and column in chosen[1] and row.name in chosen[2]:
                    what = Column.of(content["data"][data][column])
                    published, origin = _printed(value, content.get("origin", "paper"))
                    place = data, column, what.spec
                    changed = _changed(row.method_of(data, column), settings or {})
                    found.append(
                        Cell(
                            _with(row.name, changed),
                            data,
                            column,
                            published,
                            plans(row, *place),
                            row.note,
                            about.get("reads", what.reads),
                            plans(by_name[row.against], *place) if what.relative else (),
                            row.protocol,
                            row.annotation,
                            origin,
                            changed,
                        )
                    )
    return found


def _changed(method: str | None, settings: Mapping[str, Any]) -> str:
    """What is set of that which the row's method fixes, as text; empty where it is what it was."""
    fixed = {} if method is None else parse_method(method)[2]
    return ", ".join(f"{key}={settings[key]}" for key in fixed if key in settings and str(settings[key]) != fixed[key])


def _with(name: str, changed: str) -> str:
    return f"{name}, {changed}" if changed else name


def _plans(
    content: Mapping[str, Any],
    row: Row,
    data: str,
    spec: str | None,
    method: str | None,
    seeds: int | None,
    settings: Mapping[str, Any],
) -> tuple[Plan, ...]:
    """The runs of a cell, one per seed; none where the method or the data set is not here."""
    if method is None or spec is None:
        return ()
    chosen = _settings(content, row, method, spec) | dict(settings)
    select, weights = chosen.pop("select"), chosen.pop("weights", None)
    if weights is not None and "net" in chosen:
        chosen["net"] = chosen["net"].replace(PRETRAINED, f"weights={weights}")
    fixed = {key: value for key, value in parse_method(method)[2].items() if key not in settings}
    label = _with(row.label, _changed(method, settings))
    one = plan(spec, write(method.partition(":")[0], fixed), settings=chosen, label=label, select=select)
    return tuple(replace(one, seed=seed, data_seed=seed) for seed in range(seeds or _seeds(content, data)))


def _seeds(content: Mapping[str, Any], data: str) -> int:
    """The paper's number of runs, which may differ by data set."""
    return content["seeds"] if isinstance(content["seeds"], int) else content["seeds"][data]


def _settings(content: Mapping[str, Any], row: Row, method: str, spec: str) -> dict[str, Any]:
    """What the file sets on this data for every method, and for this one; and which epoch counts."""
    found = {"select": content.get("select", "last")}
    if not row.own_settings:
        declared = content["settings"][spec.partition(":")[0]]
        found |= {key: value for key, value in declared.items() if not isinstance(value, Mapping)}
        found |= declared.get(parse_method(method)[0], {})
    return found | ({"select": row.select} if row.select else {})
