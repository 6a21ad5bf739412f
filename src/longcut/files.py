"""Strict JSON, and files that are there whole or not at all."""

from __future__ import annotations

import errno
import glob
import json
import math
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from longcut.errors import UserError

if TYPE_CHECKING:
    import pandas as pd


__all__ = ["escaped", "plain", "replacing", "to_json", "unwritable", "write_csv", "written"]

MINUTE = 60.0  # seconds until a temporary file nobody writes to is one of a process that was killed
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

FORMULA = (
    "=",
    "+",
    "-",
    "@",
    "\t",
    "\r",
    "\n",
    "＝",
    "＋",
    "－",
    "＠",
)  # what a cell begins with that a spreadsheet works out


def to_json(value: Any, **options: Any) -> str:
    """Strict JSON: numbers that are not finite become ``null``.

    >>> to_json({"worst_group": float("nan"), "n": 3})
    '{"worst_group": null, "n": 3}'
    """
    return json.dumps(_finite(value), allow_nan=False, ensure_ascii=False, **options)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside ``path`` to write to; it takes the place of ``path`` when all went well.

    What processes left there that were killed while they wrote the same file is removed.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    with suppress(OSError):
        for left in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
            if time.time() - left.stat().st_mtime > MINUTE:
                left.unlink()


@contextmanager
def written(path: Path, what: str = "") -> Iterator[Path]:
    """As :func:`replacing`, in a folder that is made where it is missing; what keeps it from being written is said.

    Args:
        path: of the file.
        what: it is, for the message, such as ``"the report to "``.

    Raises:
        UserError: when there is no space, or no way to write there.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            yield temporary
    except OSError as error:
        raise unwritable(path, error, what) from error


def unwritable(path: Path, error: OSError, what: str = "", otherwise: str = "choose another place") -> UserError:
    """The sentence about a file that could not be written."""
    why = error.strerror or str(error)
    return UserError(f"cannot write {what}{path} ({why}); {'make room, or ' * (error.errno in FULL)}{otherwise}.")


def escaped(cell: str) -> str:
    """A cell of a CSV file that no spreadsheet takes for a formula: with ``'`` before what could be one.

    >>> escaped("=1+1"), escaped("-0.5"), escaped("bird.jpg")
    ("'=1+1", '-0.5', 'bird.jpg')
    """
    if not cell.startswith(FORMULA):
        return cell
    try:
        float(cell)
    except ValueError:
        return f"'{cell}"
    return cell


def plain(cell: str) -> str:
    """A cell as it was before :func:`escaped`.

    >>> plain(escaped("=1+1"))
    '=1+1'
    """
    return cell[1:] if cell.startswith("'") and escaped(cell[1:]) == cell else cell


def write_csv(frame: pd.DataFrame, path: Path) -> None:
    """A table as a CSV file in which no name, of a column or in one, is a formula (see :func:`escaped`)."""
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    safe = frame.rename(columns=lambda name: escaped(str(name)))
    for name, dtype in zip(safe, safe.dtypes, strict=True):
        if not (is_numeric_dtype(dtype) or is_bool_dtype(dtype)):
            safe[name] = safe[name].map(lambda cell: escaped(cell) if isinstance(cell, str) else cell)
    text = safe.to_csv(index=False, lineterminator="\n")
    if "\r" in text:  # which is quoted only where it ends lines, too
        text = safe.to_csv(index=False, lineterminator="\r\n")
    path.write_text(text, encoding="utf-8", newline="")
