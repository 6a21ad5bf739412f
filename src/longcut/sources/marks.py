"""Label, attribute and part of each row, as numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

import numpy as np

from longcut.errors import UserError, unknown
from longcut.sources import TEST
from longcut.sources.parts import MISSING, check_labels, column, draw_parts, number, parts_of, ranges, refuse_parts

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from longcut.sources.options import Attribute, AttributeBins, Label, OptionalParts, Split, Task

__all__ = ["Marks", "marks"]

TASKS = ("auto", "classification", "regression")


class Marks(NamedTuple):
    """What is known about each sample besides its input."""

    label: NDArray[Any] | None
    class_names: tuple[str, ...]
    attribute: NDArray[np.int64] | None
    attribute_names: tuple[str, ...]
    part: NDArray[np.int64]
    official: bool
    task: str

    @property
    def names(self) -> dict[str, Any]:
        """The task and the names of classes and attributes, as an encoding keeps them."""
        return {"task": self.task, "classes": list(self.class_names), "attributes": list(self.attribute_names)}


def marks(
    rows: pd.DataFrame,
    *,
    label: Label,
    attribute: Attribute,
    attribute_bins: AttributeBins = None,
    split: Split,
    parts: OptionalParts = None,
    task: Task = "auto",
    seed: int,
    encoding: Mapping[str, Any] | None,
    where: str,
) -> Marks:
    """Label, attribute and part of each row, as numbers.

    Args:
        rows: index 0…n−1.
        label, attribute, attribute_bins, split, parts, task, seed, encoding: of :func:`read_table`.
        where: what the data is called, for messages.

    Raises:
        UserError: when a column is missing, the labels cannot be learned from, or the attribute cannot be cut.
    """
    if attribute_bins is not None and attribute is None:
        raise UserError(f"{where}: attribute_bins={attribute_bins} cuts an attribute, but none is named; name one.")
    what, attribute_what = f"label '{label}'", f"attribute '{attribute}'"
    if task not in TASKS:
        raise unknown("task", task, TASKS)
    known = encoding or {"task": task, "classes": None, "attributes": None}
    task, labels, classes, class_names = known["task"], None, None, ()
    if encoding is None or label in rows.columns:
        values = column(rows, label, "label", where)
        task = _task_of(values) if task == "auto" else task
        if task == "regression":
            labels = _targets(values, what, where, any_missing=encoding is not None)
            labels = None if np.isnan(labels).all() else labels
        elif encoding is None:
            labels, class_names = number(values, what=what, where=where)
            classes = labels
        else:
            labels = _of_known(values, known["classes"], what=what, where=where)
    ids, attribute_names = None, ()
    if attribute is not None and (encoding is None or attribute in rows.columns):
        before = known["attributes"] or None
        values = ranges(column(rows, attribute, "attribute", where), before, bins=attribute_bins, where=where)
        ids, attribute_names = _known(values, attribute_what, where, before)
        if ids is None and encoding is None:
            raise UserError(f"{where}: {attribute_what} is missing in every row; fill in some, or name none.")
    if encoding is not None:
        part = np.full(len(rows), TEST, np.int64)
    elif split is not None:
        refuse_parts(parts, f"the split '{split}' says", where=where)
        part = parts_of(column(rows, split, "split", where), what=f"split '{split}'", where=where)
    else:
        part = draw_parts(classes, len(rows), seed, where=where, names=class_names, parts=parts)
    if encoding is None and classes is not None:
        check_labels(classes, class_names, part, ids, what=what, attribute_what=attribute_what, where=where)
    return Marks(
        label=labels,
        class_names=tuple(known["classes"] or class_names),
        attribute=ids,
        attribute_names=tuple(attribute_names),
        part=part,
        official=split is not None and encoding is None,
        task=task,
    )


def _known(
    values: pd.Series, what: str, where: str, names: Sequence[str] | None
) -> tuple[NDArray[np.int64] | None, tuple[str, ...]]:
    """Ids of an attribute, -1 where it is not known, and their names; None where it is known of nobody."""
    if names is not None and MISSING in names:  # an encoding from before, in which that was a value like others
        return number(values, what=what, where=where, names=names, missing=MISSING)
    known = values.notna().to_numpy()
    if not known.any():
        return None, tuple(names or ())
    found, called = number(cast("pd.Series", values[known]), what=what, where=where, names=names)
    ids = np.full(len(values), -1, np.int64)
    ids[known] = found
    return ids, called


def _of_known(values: pd.Series, names: Sequence[str], *, what: str, where: str) -> NDArray[np.int64] | None:
    """Ids by the names of an earlier reading, -1 for what is missing or was not among them; None if all are."""
    ids, _ = number(values, what=what, where=where, names=names, missing="", strangers=True)
    return ids if (ids >= 0).any() else None


def _task_of(values: pd.Series) -> Literal["classification", "regression"]:
    if values.dtype.kind not in "iuf":
        return "classification"
    numbers = values.dropna().to_numpy(np.float64)
    if not (np.isfinite(numbers) & (numbers == np.floor(numbers))).all():
        return "regression"
    distinct = len(np.unique(numbers))
    return "regression" if distinct > 50 and distinct > 0.2 * len(numbers) else "classification"


def _targets(values: pd.Series, what: str, where: str, any_missing: bool) -> NDArray[np.float32]:
    import pandas as pd

    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite
        numbers: Any = pd.to_numeric(values, errors="coerce")
        targets = numbers.to_numpy(np.float64, na_value=np.nan).astype(np.float32)
    if any_missing:
        return np.where(np.isfinite(targets), targets, np.float32(np.nan))
    if not (finite := np.isfinite(targets)).all():
        row = int(finite.argmin())
        raise UserError(
            f"{where}: {what} is '{values.iloc[row]}' in row {row + 1}, and regression needs finite numbers; "
            "correct it, leave the row out, or choose task='classification'."
        )
    return targets
