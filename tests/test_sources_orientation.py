from __future__ import annotations

import struct
import warnings
from typing import Any

import pytest
from PIL import Image, ImageOps

from longcut.sources.orientation import orientation

SAME = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}  # as transpositions of Pillow
PACKED: dict[int, str] = {3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 11: "f", 12: "d", 13: "I", 1: "B", 2: "B", 7: "B"}


def block(kind: int, values: list[float], order: str = "<", tag: int = 0x0112) -> bytes:
    """An EXIF block of one entry, of any type."""
    pairs = kind in (5, 10)
    form = ("I" if kind == 5 else "i") * 2 if pairs else PACKED[kind]
    content = b"".join(struct.pack(f"{order}{form}", *((int(v), 1) if pairs else (v,))) for v in values)
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8)
    entry = struct.pack(f"{order}HHHI", 1, tag, kind, len(values))
    if len(content) <= 4:
        return b"Exif\0\0" + head + entry + content.ljust(4, b"\0") + bytes(4)
    return b"Exif\0\0" + head + entry + struct.pack(f"{order}I", 26) + bytes(4) + content


def pillows(info: dict[str, Any]) -> int:
    """What Pillow does to an image with this, as the orientation that does the same."""
    image = Image.new("L", (3, 2))
    image.putdata(range(6))
    image.info |= info
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            turned = ImageOps.exif_transpose(image)
        except (SyntaxError, ValueError):
            return 1
    for value, how in SAME.items():
        same = image.transpose(Image.Transpose(how))
        if same.size == turned.size and same.tobytes() == turned.tobytes():
            return value
    return 1


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("kind", [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12])
@pytest.mark.parametrize("values", [[1], [3], [6], [8], [0], [9], [54], [6, 1], [1, 6, 3], []])
def test_orientation_is_what_pillow_finds(order: str, kind: int, values: list[float]):
    exif = block(kind, values, order)
    assert orientation({"exif": exif}) == pillows({"exif": exif})


@pytest.mark.parametrize("value", [2.5, -1.0, float("nan"), float("inf"), 6.0])
def test_fractions_and_what_is_no_number(value: float):
    exif = block(12, [value])
    assert orientation({"exif": exif}) == pillows({"exif": exif}) == (6 if value == 6 else 1)


@pytest.mark.parametrize(
    "info",
    [
        {"xmp": b'<rdf:Description tiff:Orientation="8"/>'},
        {"xmp": b"<tiff:Orientation>6</tiff:Orientation>"},
        {"XML:com.adobe.xmp": "<tiff:Orientation>3</tiff:Orientation>"},
        {"xmp": b"<tiff:Orientation>9</tiff:Orientation>"},
        {"exif": block(3, [6]), "xmp": b"<tiff:Orientation>3</tiff:Orientation>"},
        {"exif": block(3, [1]), "xmp": b"<tiff:Orientation>3</tiff:Orientation>"},
        {"exif": block(3, [6], tag=0x0111), "xmp": b"<tiff:Orientation>3</tiff:Orientation>"},
        {"Raw profile type exif": "\nexif\n      32\n" + block(3, [6]).hex()},
        {"exif": b"Exif\0\0" + block(3, [6])},
        {"exif": block(3, [6])[6:]},
        {"exif": block(3, [6])[:20]},
        {"exif": block(12, [6.0])[:-3]},
        {"exif": b"nonsense"},
        {"exif": b""},
        {"Raw profile type exif": "no\nhexadecimal\ndigits\nhere"},
    ],
)
def test_where_it_may_stand(info: dict[str, Any]):
    assert orientation(dict(info)) == pillows(dict(info))


def test_a_rational_without_a_denominator():
    exif = block(5, [6])
    assert orientation({"exif": exif[:-4] + bytes(4)}) == 1
