"""How the camera was held, as Pillow finds it: in the EXIF block of a file, in ImageMagick's copy of it, or in XMP.

Pillow's own reader of these blocks warns where they are not quite right, which photographs often are.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from typing import Any

__all__ = ["orientation"]

_TAG = 0x0112
_ORDERS = {b"II*\0": "<", b"II\0*": "<", b"MM\0*": ">", b"MM*\0": ">"}
_NUMBERS = {3: "H", 4: "I", 5: "II", 6: "b", 8: "h", 9: "i", 10: "ii", 11: "f", 12: "d", 13: "I", 16: "Q"}  # by type
_TEXTS = (1, 2, 7)


def orientation(info: Mapping[Any, Any]) -> int:
    """A number from 1, upright, to 8; a value that EXIF does not have says nothing, so the image is upright.

    Args:
        info: of an image of Pillow, after the whole file was read: PNG may hold the block behind the pixels.

    >>> orientation({}), orientation({"xmp": b'<x tiff:Orientation="6"/>'}), orientation({"exif": b"nonsense"})
    (1, 6, 1)
    """
    block, profile = info.get("exif"), info.get("Raw profile type exif")
    if block is None and isinstance(profile, str):
        block = _unhexed(profile)
    value = _of_exif(block or b"")
    if value is None:
        said = info.get("XML:com.adobe.xmp") or info.get("xmp") or b""
        found = re.search(rb'tiff:Orientation(?:="|>)([0-9])', said.encode() if isinstance(said, str) else said)
        value = int(found[1]) if found else 1
    return int(value) if value in range(1, 9) else 1


def _unhexed(profile: str) -> bytes:
    try:
        return bytes.fromhex("".join(profile.split("\n")[3:]))
    except ValueError:
        return b""


def _of_exif(block: bytes) -> float | None:
    """The value of the tag; None if the block has none, or does not hold what it says."""
    block = re.sub(rb"^(Exif\0\0){1,2}", b"", block)
    order, found = _ORDERS.get(block[:4]), None
    if order is None:
        return None
    try:
        (start,) = struct.unpack_from(f"{order}I", block, 4)
        (entries,) = struct.unpack_from(f"{order}H", block, start)
        for place in range(start + 2, start + 2 + 12 * entries, 12):
            tag, kind, count = struct.unpack_from(f"{order}HHI", block, place)
            if tag == _TAG:
                found = _value(block, order, kind, count, place + 8)
    except struct.error:
        pass
    return found


def _value(block: bytes, order: str, kind: int, count: int, place: int) -> float | None:
    """The first number of an entry, which stands in its last four bytes if all fit; 0, no orientation, for texts."""
    if not count or kind not in (*_TEXTS, *_NUMBERS):
        return None
    each = struct.calcsize(f"{order}{_NUMBERS.get(kind, 's')}")
    if each * count > 4:
        (place,) = struct.unpack_from(f"{order}I", block, place)
    if place + each * count > len(block):
        return None
    if kind in _TEXTS:
        return 0
    numbers = struct.unpack_from(f"{order}{_NUMBERS[kind]}", block, place)
    return numbers[0] if len(numbers) == 1 else numbers[0] / numbers[1] if numbers[1] else 0
