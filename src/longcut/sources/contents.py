"""The names of what a file holds, from its own table of contents; nothing slow is imported to read it."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Collection, Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import IO, Any

from longcut.errors import unknown
from longcut.sources.apart import SPLIT, stems

__all__ = ["LABELS", "arrays_in", "cells_in", "columns_in", "label_in", "names_of_rows", "require", "require_arrays"]

LARGE = 2**22  # bytes that are read in a moment
LABELS = ("label", "y", "labels", "target")


# --- arrays -----------------------------------------------------------------------------------------------------------


def arrays_in(path: Path) -> list[str]:
    """The arrays of an ``.npz`` or ``.safetensors`` file.

    Raises:
        Exception: any, where it is not such a file; who reads it whole says what is wrong.
    """
    if path.suffix.lower() == ".npz":
        with zipfile.ZipFile(path) as archive:
            return [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
    from safetensors import safe_open

    with safe_open(path, framework="np") as file:
        return list(file.keys())


def label_in(names: Collection[str], label: str) -> str:
    """The array with the labels: the one that was said, or in place of ``label`` another usual name that is there.

    >>> label_in(["x", "y"], "label"), label_in(["x", "y"], "colour")
    ('y', 'colour')
    """
    return next((name for name in LABELS if name in names), label) if label == LABELS[0] else label


def require(names: Collection[str], used: Iterable[str], where: str) -> None:
    """Refuse an array that is not there."""
    for name in used:
        if name not in names:
            raise unknown(f"array in {where}:", name, names)


def require_arrays(path: Path, options: Mapping[str, Any]) -> None:
    """Refuse an array that is not there, by the names alone; where in doubt, do nothing.

    Args:
        path: of the file.
        options: of the data set ``arrays``, as they are written.

    Raises:
        UserError: as :func:`longcut.sources.arrays.read_arrays`.
    """
    try:
        names = arrays_in(path)
    except Exception:  # whatever is odd about the file: who reads it says it
        return
    if (label := label_in(names, str(options.get("label", LABELS[0])))) not in names and (apart := stems(names)):
        names = [*names, *apart, SPLIT]
        label = label_in(names, label)
    said = label, options.get("attribute"), options.get("split")
    require(names, [str(name) for name in said if name is not None], str(path))


# --- tables -----------------------------------------------------------------------------------------------------------


def columns_in(path: Path) -> list[str]:
    """The columns of a Parquet file, without an index that has no name.

    Raises:
        Exception: any, where it is not such a file; who reads it whole says what is wrong.
    """
    from pyarrow import parquet

    return [name for name in parquet.read_schema(path).names if not re.fullmatch(r"__index_level_\d+__", name)]


def cells_in(path: Path) -> list[str]:
    """The first line of the first sheet of an Excel file.

    Raises:
        Exception: any, where it is not such a file; who reads it whole says what is wrong.
    """
    import openpyxl

    if path.stat().st_size > LARGE:
        raise ValueError("too many to be read twice")
    with closing(openpyxl.load_workbook(path, read_only=True, data_only=True)) as book:
        rows = book.worksheets[0].iter_rows(values_only=True)
        return [str(cell or "") for cell in next(row for row in rows if any(cell is not None for cell in row))]


def names_of_rows(file: IO[bytes]) -> list[str]:
    """The names in lines of JSON, each an object, or in a list of objects.

    Raises:
        Exception: any, where they are not, or are more than can be read in a moment; who reads all says what is wrong.
    """
    text = file.read(LARGE + 1)
    if len(text) > LARGE:
        raise ValueError("too many to be read twice")
    said = text.decode("utf-8-sig")
    whole = json.loads(said) if said.lstrip().startswith("[") else None
    rows = whole or (json.loads(line) for line in said.splitlines() if line.strip())
    return list(dict.fromkeys(name for row in rows for name in dict.keys(row)))  # which a list is refused by
