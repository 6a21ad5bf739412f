"""Vectors that somebody made before: a column of a table with one per row, or a ``.npy`` file beside it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from longcut.errors import UserError
from longcut.sources.parts import column

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

__all__ = ["floats", "layer_of", "read_vectors"]


def read_vectors(
    rows: pd.DataFrame, vectors: str, root: Path, *, layer: int | None = None, where: str = "the table"
) -> NDArray[np.float32]:
    """One vector for each row, ``(n, d)``.

    Args:
        rows: of the table.
        vectors: column with lists of numbers, or the path of a ``.npy`` file ``(n, d)`` or ``(n, layers, d)``.
        root: the folder that this path is relative to.
        layer: which vector, where each row has several, counted from 0, or from the end: -1 is the last.
        where: the table, for messages.

    Raises:
        UserError: when there is no such column or file, it holds something else, another number of rows, vectors of
            several lengths, or a number that is not finite, or the layer is missing or not there.

    >>> import pandas as pd
    >>> read_vectors(pd.DataFrame({"e": [[1, 2], [3, 4]]}), "e", Path())
    array([[1., 2.],
           [3., 4.]], dtype=float32)
    """
    if vectors not in rows.columns and vectors.lower().endswith(".npy"):
        values, what = _file(root / vectors), vectors
        if values.ndim < 2 or len(values) != len(rows):
            raise UserError(
                f"{root / vectors} holds {values.dtype} of shape {values.shape}, but {where} has {len(rows):,} rows; "
                "give one vector for each row, in their order."
            )
    else:
        values, what = _stacked(column(rows, vectors, "vectors", where), where), f"column '{vectors}'"
    if values.dtype.kind not in "biuf":
        raise UserError(f"{where}: {what} holds {values.dtype}, and vectors are numbers; convert them.")
    return floats(layer_of(values, layer, what, where), what, where)


def layer_of(values: NDArray[Any], layer: int | None, what: str, where: str) -> NDArray[Any]:
    """The vectors ``(n, d)`` of one layer.

    Raises:
        UserError: when there are several and none is chosen, or the chosen one is not there.

    >>> layer_of(np.zeros((5, 14, 768)), -1, "column 'e'", "the table").shape
    (5, 768)
    """
    if values.ndim == 2 and layer is None:
        return values
    if values.ndim == 2:
        raise UserError(
            f"{where}: {what} has one vector in each row, so layer={layer} is none of several; leave it out."
        )
    if values.ndim != 3:
        raise UserError(f"{where}: {what} is of shape {values.shape}; give vectors as (n, d), or (n, layers, d).")
    count = values.shape[1]
    if layer is None or not -count <= layer < count:
        said = "none is chosen" if layer is None else f"there is no layer {layer}"
        raise UserError(
            f"{where}: {what} has {count} vectors in each row, and {said}; give --layer from 0 to {count - 1}, or -1 "
            "for the last."
        )
    return values[:, layer]


def floats(x: NDArray[Any], what: str, where: str) -> NDArray[np.float32]:
    """Numbers as float32, all of them finite.

    Raises:
        UserError: saying where one is not, and in how many rows.
    """
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite
        found = x.astype(np.float32, copy=False)
    wrong = [
        start + np.flatnonzero(~np.isfinite(block).reshape(len(block), -1).all(axis=1))
        for start, block in ((start, found[start : start + 4096]) for start in range(0, len(found), 4096))
    ]
    if len(rows := np.concatenate([np.empty(0, int), *wrong])):
        raise UserError(
            f"{where}: {what} holds a value that is not finite (NaN or infinity) in row {rows[0]}, counted from 0, and "
            f"in {len(rows):,} of {len(found):,} rows in all; impute or drop it first."
        )
    return found


def _file(path: Path) -> NDArray[Any]:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        why = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise UserError(f"{path} is not a .npy file that can be read ({why}); save it with numpy.save.") from error


def _stacked(cells: pd.Series, where: str) -> NDArray[Any]:
    """A column of lists, or of lists of lists, as one array."""
    first: tuple[int, ...] | None = None
    found = []
    for row, cell in enumerate(cells):
        try:
            vector = np.asarray(cell)
            if vector.dtype == object:
                vector = np.stack([np.asarray(one) for one in cell])
        except (TypeError, ValueError):
            vector = np.asarray(None)
        if vector.ndim not in (1, 2) or not vector.size or vector.dtype.kind not in "biuf":
            raise UserError(
                f"{where}: column '{cells.name}' holds no vector in row {row + 1}; give a list of numbers in each row, "
                "or leave the row out."
            )
        first = first or vector.shape
        if vector.shape != first:
            raise UserError(
                f"{where}: column '{cells.name}' has vectors of shape {first} in row 1 and {vector.shape} in row "
                f"{row + 1}; make them equal."
            )
        found.append(vector)
    return np.stack(found)
