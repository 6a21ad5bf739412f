"""The rows and columns of a paper's table as its file declares them. Nothing here needs torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from longcut.errors import UserError, unknown
from longcut.recipes import EVERY, declared, recipes

__all__ = ["CONTRASTS", "Column", "Row", "kept", "kinds", "rows_of", "usable"]

CONTRASTS = ("GSC", "SC")  # of a figure that traces contrastive models
UNPUBLISHED = "unpublished"


class Column(NamedTuple):
    """A column: a data set, none where we have no such, and which number of a run stands there."""

    spec: str | None
    reads: str
    relative: bool

    @classmethod
    def of(cls, given: str | Mapping[str, Any]) -> Column:
        one: Mapping[str, Any] = {"spec": given} if isinstance(given, str) else given
        return cls(one.get("spec"), one.get("reads", "average"), one.get("relative", False))


class Row(NamedTuple):
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


def rows_of(recipe: str) -> Iterator[Row]:
    """The rows of a table; one with a released program's reading or a control stands for two or three.

    Args:
        recipe: ``"paper/table"``.

    Raises:
        UserError: for an unknown recipe.
    """
    content, about, name = declared(recipe)
    shown = {data: content["data"][data] for data in about.get("only", content["data"])}
    for row in content["row"]:
        if name not in row["tables"]:
            continue
        published = {data: _published(row[data], list(columns)) for data, columns in shown.items() if data in row}
        one = Row(
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


def _renamed(row: Row, what: str) -> Row:
    return row._replace(name=f"{row.name} ({what})", label=f"{row.label} ({what})")


def _published(given: Any, columns: Sequence[str]) -> dict[str, Sequence[Any] | None]:
    """One value for each column in their order, or a value by column, or the word for nothing."""
    if given == UNPUBLISHED:
        return dict.fromkeys(columns)
    by_column = given if isinstance(given, Mapping) else dict(zip(columns, given, strict=True))
    return {column: None if value == UNPUBLISHED else value for column, value in by_column.items()}


def kinds(recipe: str) -> tuple[list[str], list[str], list[str]]:
    """The data sets, columns and rows of a table; of a figure that is made of other things than runs, its own.

    >>> kinds("selecmix/figure2")[2]
    ['GSC', 'SC']
    """
    content, about, _ = declared(recipe)
    if not (rows := list(rows_of(recipe))):
        at = about.get("at", {})
        return list(at), list(dict.fromkeys(at.values())), list(CONTRASTS) if at else []
    return (
        [data for data in content["data"] if any(data in row.published for row in rows)],
        [column for row in rows for columns in row.published.values() for column in columns],
        [row.name for row in rows],
    )


def kept(recipe: str, only: Sequence[str]) -> list[set[str]]:
    """The data sets, columns and rows that are named; of each kind all where none is.

    Args:
        recipe: ``"paper/table"``.
        only: what is named.

    Raises:
        UserError: for a name that is of no kind.
    """
    found = kinds(recipe)
    every = dict.fromkeys(name for kind in found for name in kind)
    for name in only:
        if name not in every:
            raise unknown(f"data set, column or row of {recipe}", name, every)
    return [{*kind} & {*only} or {*kind} for kind in found]


def usable(recipe: str, only: Sequence[str]) -> None:
    """Refuse what is named and is nowhere: of one table or figure, or of all.

    Raises:
        UserError: for an unknown recipe or name.
    """
    if recipe != EVERY:
        kept(recipe, only)
        return
    every = {name for one in recipes() for kind in kinds(one) for name in kind}
    if nowhere := sorted({*only} - every):
        raise UserError(
            f"no table or figure has a data set, column or row called {', '.join(nowhere)}; "
            "see longcut reproduce --list."
        )
