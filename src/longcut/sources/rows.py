"""The rows of a table with each column settled: chosen, named, and taken for numbers or for names."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from longcut.errors import UserError
from longcut.sources.frames import Table, check_names
from longcut.sources.header import NAMELESS, named, split_names, tidy
from longcut.sources.kinds import As, Role, Settled, settle
from longcut.sources.written import Written

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Chosen", "Rows", "rows_of", "tell"]

TOLD = 12  # notes about a file that are shown one by one


@dataclass(frozen=True)
class Chosen:
    """What somebody says about the columns of a table, each several names joined by commas or ``+``.

    Attributes:
        columns: that are the input; None: all that have no other use.
        drop: as if they were not there.
        categorical, numeric: what they hold.
        keep: texts that are values, although they usually stand for a missing one.
    """

    columns: str | None = None
    drop: str | None = None
    categorical: str | None = None
    numeric: str | None = None
    keep: str | None = None


@dataclass(frozen=True)
class Rows:
    """What was read.

    Attributes:
        frame: the rows, index 0…n−1.
        notes: what was taken for something else than it says.
        written: how the numbers of columns are written, where that is unusual.
        left_out: columns that are not in ``frame``, and why.
        inputs: columns that may be the input; None: all.
        keep: of :class:`Chosen`.
    """

    frame: pd.DataFrame
    notes: tuple[str, ...]
    written: Mapping[str, Written] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)
    inputs: Sequence[str] | None = None
    keep: tuple[str, ...] = ()


def rows_of(
    table: Table,
    *,
    label: str | None,
    attribute: str | None,
    verbatim: Sequence[str | None],
    task: str,
    chosen: Chosen,
    encoding: Mapping[str, Any] | None,
    where: str,
) -> Rows:
    """All columns of a table, settled.

    Args:
        table: the file or frame.
        label, attribute: their columns.
        verbatim: columns whose cells stay as they are: text, paths of images, vectors.
        task: what the labels are.
        chosen: what was said about the columns.
        encoding: of an earlier reading, by which columns are numbers or names as they were then.
        where: the file, for messages.

    Raises:
        UserError: when a column that was named is not there, or two of the same name hold different cells.
    """
    import pandas as pd

    kept = encoding or {}
    before = {*kept.get("features", ()), *verbatim, label, attribute}
    names = [name if name in before else tidy(name) or f"{NAMELESS}{i}" for i, name in enumerate(table.names)]
    drop, inputs, categorical, numeric = (
        named(names, given, what, where)
        for what, given in (
            ("drop", chosen.drop),
            ("columns", chosen.columns),
            ("categorical", chosen.categorical),
            ("numeric", chosen.numeric),
        )
    )
    if twice := next((name for name in categorical if name in numeric), None):
        raise UserError(f"{where}: column '{twice}' is called categorical and numeric; choose one.")
    if used := next((name for name in drop if name in {*verbatim, label, attribute, *inputs}), None):
        raise UserError(f"{where}: column '{used}' is dropped and used; leave one of the two out.")
    keep = tuple(split_names(chosen.keep)) if chosen.keep else tuple(kept.get("keep", ()))
    attributes = kept.get("attributes") or None
    notes: list[str] = list(table.notes)
    columns: dict[str, pd.Series] = {}
    written: dict[str, Written] = {}
    doubled: list[str] = []
    n = 0
    for position, values in _columns(table):
        name, n = names[position], len(values)
        if name in drop:
            continue
        values = values.reset_index(drop=True).rename(name)
        if name in verbatim:
            found = Settled(values)
        elif encoding is not None and name not in before:
            found = Settled(values)  # nobody looks at it
        else:
            role: Role = "label" if name == label else "attribute" if name == attribute else "feature"
            how: As = "text" if name in categorical or name in kept.get("categorical", ()) else "auto"
            how = "number" if name in numeric else how
            like = kept.get("numeric", {}).get(name)
            names_before = None if encoding is None else {"label": kept["classes"], "attribute": attributes}.get(role)
            found = settle(
                values,
                role,
                how="number" if role == "label" and task == "regression" else how,
                typed=table.typed,
                keep=keep,
                comma=table.comma,
                like=None if like is None else Written.of(like.get("written", {})),
                known=names_before or None,
            )
            if role == "label" and task == "regression" and found.written and found.written.odd:
                found = Settled(values)  # what is no number is refused as it is written
            if name in numeric and found.values.notna().sum() == 0 < values.notna().sum():
                raise UserError(f"{where}: column '{name}' is called numeric, and none of its cells is a number.")
        if name in columns:
            if not columns[name].equals(found.values):
                doubled.append(name)
            elif encoding is None:
                notes.append(f"column '{name}' is there twice with the same cells, and was taken once")
            continue
        columns[name] = found.values
        notes += [f"column '{name}': {note}" for note in found.notes]
        if found.written is not None and found.written.to_dict():
            written[name] = found.written
    if doubled:
        check_names([*columns, *doubled], where)
    left_out = dict.fromkeys(drop, "dropped")
    frame = pd.DataFrame(columns, index=pd.RangeIndex(n))
    frame.attrs = {**table.attrs}
    return Rows(frame, tuple(notes), written, left_out, inputs or None, keep)


def _columns(table: Table) -> Iterator[tuple[int, pd.Series]]:
    """Each column with its position; a block is let go before the next is read."""
    for block in table.blocks:
        for place, position in enumerate(block.columns):
            yield int(position), block.iloc[:, place]


def tell(notes: Sequence[str], where: str) -> None:
    """Warn of what was taken for something else than it says."""
    for note in notes[:TOLD]:
        warnings.warn(f"{where}: {note}.", stacklevel=2)
    if len(notes) > TOLD:
        warnings.warn(f"{where}: … and {len(notes) - TOLD} more remarks of this kind.", stacklevel=2)
