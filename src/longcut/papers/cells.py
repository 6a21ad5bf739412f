"""What a paper's table holds: its cells as plans, with the published values beside them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from longcut.errors import unknown
from longcut.plans import plan
from longcut.recipes import declared
from longcut.record import Plan
from longcut.spec import parse_method, write

__all__ = [
    "ANNOTATIONS",
    "ORIGINS",
    "PRETRAINED",
    "PROTOCOLS",
    "Cell",
    "cells",
    "kept",
]

Pair = tuple[float, float | None]
UNPUBLISHED = "unpublished"
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


# --- what is declared -------------------------------------------------------------------------------------------------


class _Column(NamedTuple):
    """A column: a data set, none where we have no such, and which number of a run stands there."""

    spec: str | None
    reads: str
    relative: bool

    @classmethod
    def of(cls, given: str | Mapping[str, Any]) -> _Column:
        one: Mapping[str, Any] = {"spec": given} if isinstance(given, str) else given
        return cls(one.get("spec"), one.get("reads", "average"), one.get("relative", False))


class _Row(NamedTuple):
    """A row of a table, with what is published by data set and column."""

    name: str
    label: str
    method: str | Mapping[str, str] | None
    published: Mapping[str, Mapping[str, Sequence[Any] | None]]
    own_settings: bool
    note: str
    select: str | None
    against: str
    protocol: str
    annotation: str

    def method_of(self, data: str, column: str) -> str | None:
        """The method of a cell; what is said for the column goes before what is said for the data set."""
        if self.method is None or isinstance(self.method, str):
            return self.method
        return self.method.get(f"{data} {column}") or self.method.get(data)


def _rows(content: Mapping[str, Any], about: Mapping[str, Any], name: str) -> Iterator[_Row]:
    """The rows of a table; one with a released program's reading or a control stands for two or three."""
    shown = {data: content["data"][data] for data in about.get("only", content["data"])}
    for row in content["row"]:
        if name not in row["tables"]:
            continue
        published = {data: _published(row[data], list(columns)) for data, columns in shown.items() if data in row}
        one = _Row(
            row["name"],
            content.get("prefix", "") + row.get("label", row["name"]),
            row.get("method"),
            published,
            row.get("own_settings", False),
            row.get("note", ""),
            row.get("select"),
            row.get("against", ""),
            row.get("protocol", content.get("protocol", "")),
            row.get("annotation", ""),
        )
        yield one
        if "released" in row:
            yield _renamed(one, "released")._replace(method=row["released"])
        if "control" in row and about.get("controls", True):
            nothing = {data: dict.fromkeys(columns) for data, columns in published.items()}
            note = "ours: the same pairs, one of the two shown whole"
            yield _renamed(one, "control")._replace(method=row["control"], published=nothing, note=note)


def _renamed(row: _Row, what: str) -> _Row:
    return row._replace(name=f"{row.name} ({what})", label=f"{row.label} ({what})")


def _published(given: Any, columns: Sequence[str]) -> dict[str, Sequence[Any] | None]:
    """One value for each column in their order, or a value by column, or the word for nothing."""
    if given == UNPUBLISHED:
        return dict.fromkeys(columns)
    by_column = given if isinstance(given, Mapping) else dict(zip(columns, given, strict=True))
    return {column: None if value == UNPUBLISHED else value for column, value in by_column.items()}


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
    content, about, name = declared(recipe)
    rows = list(_rows(content, about, name))
    if not rows:
        return []
    chosen = kept(
        recipe,
        only,
        [data for data in content["data"] if any(data in row.published for row in rows)],
        [column for row in rows for columns in row.published.values() for column in columns],
        [row.name for row in rows],
    )
    by_name = {row.name: row for row in rows}
    made: dict[tuple[str | None, ...], tuple[Plan, ...]] = {}  # several columns may read the same runs

    def plans(row: _Row, data: str, column: str, spec: str | None) -> tuple[Plan, ...]:
        key = row.label, data, spec, row.method_of(data, column)
        if key not in made:
            made[key] = _plans(content, row, data, spec, key[-1], seeds, settings or {})
        return made[key]

    found = []
    for row in rows:
        for data, columns in row.published.items():
            for column, value in columns.items():
                if data in chosen[0] and column in chosen[1] and row.name in chosen[2]:
                    what = _Column.of(content["data"][data][column])
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
    row: _Row,
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


def kept(recipe: str, only: Sequence[str], *kinds: Sequence[str]) -> list[set[str]]:
    """Of each kind of names, those that are named; all where none is."""
    for name in only:
        if not any(name in kind for kind in kinds):
            every = dict.fromkeys(name for kind in kinds for name in kind)
            raise unknown(f"data set, column or row of {recipe}", name, every)
    return [{*kind} & {*only} or {*kind} for kind in kinds]


def _settings(content: Mapping[str, Any], row: _Row, method: str, spec: str) -> dict[str, Any]:
    """What the file sets on this data for every method, and for this one; and which epoch counts."""
    found = {"select": content.get("select", "last")}
    if not row.own_settings:
        declared = content["settings"][spec.partition(":")[0]]
        found |= {key: value for key, value in declared.items() if not isinstance(value, Mapping)}
        found |= declared.get(parse_method(method)[0], {})
    return found | ({"select": row.select} if row.select else {})
