"""Strict JSON, and files that are there whole or not at all."""

from __future__ import annotations

import errno
import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from longcut.errors import UserError

__all__ = ["escaped", "plain", "replacing", "to_json", "unwritable", "written"]

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a cell begins with that a spreadsheet works out


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
    """A temporary name beside ``path`` to write to; it takes the place of ``path`` when all went well."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


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
