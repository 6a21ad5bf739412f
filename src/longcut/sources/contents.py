"""The names of what a file holds, from its own table of contents; nothing slow is imported to read it."""

from __future__ import annotations

import json
import re
import struct
import zipfile
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from longcut.errors import unknown

__all__ = ["LABELS", "arrays_in", "columns_in", "label_in", "require", "require_arrays"]

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
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        return [name for name in json.loads(file.read(min(length, path.stat().st_size))) if name != "__metadata__"]


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
    said = label_in(names, str(options.get("label", LABELS[0]))), options.get("attribute"), options.get("split")
    require(names, [str(name) for name in said if name is not None], str(path))


# --- Parquet ----------------------------------------------------------------------------------------------------------

_STRUCT, _LIST, _BINARY, _DOUBLE, _BYTE = 12, 9, 8, 7, 3


def columns_in(path: Path) -> list[str]:
    """The columns of a Parquet file, without an index that has no name.

    Raises:
        Exception: any, where it is not such a file; who reads it whole says what is wrong.

    Source: the format's ``parquet.thrift`` and Thrift's compact protocol.
    """
    with path.open("rb") as file:
        size = file.seek(-8, 2)
        length, mark = struct.unpack("<I4s", file.read(8))
        if mark != b"PAR1":
            raise ValueError("the footer is encrypted, or there is none")
        file.seek(size - length)
        root, *elements = _Compact(file.read(length)).first(2)
    names = []
    for _ in range(root[5]):  # the children of the first; those that have children themselves are followed by them
        names.append(elements[0][4].decode("utf-8"))
        left = 1
        while left:
            left += elements.pop(0).get(5, 0) - 1
    return [name for name in names if not re.fullmatch(r"__index_level_\d+__", name)]


class _Compact:
    """A reader of Thrift's compact protocol: a structure is a dict by the numbers of its fields."""

    def __init__(self, content: bytes) -> None:
        self.content, self.at = content, 0

    def first(self, wanted: int) -> Any:
        """The field of that number; what comes after it is not read."""
        return next(value for field, value in self._fields() if field == wanted)

    def _fields(self) -> Any:
        field = 0
        while head := self._byte():
            field = field + (head >> 4) if head >> 4 else self._number()
            kind = head & 15
            yield field, kind == 1 if kind in (1, 2) else self._value(kind)

    def _value(self, kind: int) -> Any:
        if kind == _STRUCT:
            return dict(self._fields())
        if kind == _LIST:
            head = self._byte()
            n = head >> 4 if head >> 4 < 15 else self._varint()
            return [self._value(head & 15) for _ in range(n)]
        if kind in (_BINARY, _DOUBLE):
            n = self._varint() if kind == _BINARY else 8
            self.at += n
            return self.content[self.at - n : self.at]
        if kind in (1, 2, _BYTE):
            return self._byte()
        if kind in (4, 5, 6):
            return self._number()
        raise ValueError(f"fields of type {kind} are not in these files")

    def _byte(self) -> int:
        self.at += 1
        return self.content[self.at - 1]

    def _varint(self) -> int:
        """Seven bits a byte, the lowest first."""
        found, shift = 0, 0
        while True:
            byte = self._byte()
            found |= (byte & 127) << shift
            if byte < 128:
                return found
            shift += 7

    def _number(self) -> int:
        """A whole number, small ones of both signs being short."""
        found = self._varint()
        return (found >> 1) ^ -(found & 1)
