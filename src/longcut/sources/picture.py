"""One image file to pixels: 8-bit RGB, upright, cut and resized."""

from __future__ import annotations

import io
import math
import os
import re
import threading
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import numpy as np

from longcut.sources.orientation import orientation

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image, ImageFile

__all__ = ["HEAD", "RAW", "Picture", "format_of", "read"]

MOST_PIXELS = 64_000_000  # a larger image is taken for a decompression bomb
LONGEST = 1_000_000  # pixels of a side: decoders keep something for each row
DEFLATE = 1032  # times as long as itself is what the compression of PNG can hold, at most
LARGE = 16_000_000  # pixels; of larger images, one at a time is in memory

RAW = (".arw", ".cr2", ".cr3", ".dng", ".nef", ".orf", ".pef", ".raf", ".rw2", ".srw")  # many begin like a TIFF

HEAD = 64  # bytes that tell a format


class Picture(NamedTuple):
    """One file: its pixels ``(3, H, W)`` and facts, or the trouble with it; neither where it has another size."""

    pixels: NDArray[np.uint8] | None
    facts: tuple[float, ...]
    trouble: str = ""


_one_large_image = threading.Lock()


def read(
    path: str | bytes,
    size: int | None,
    squeeze: int | None = None,
    shape: tuple[int, int] | None = None,
    resize: int = 0,
) -> Picture:
    """Decodes a file.

    Args:
        path: of the file; or its content.
        size, squeeze: of :func:`longcut.sources.images.decode`.
        shape: width and height, upright, that an image must have where ``size`` is None.
        resize: in pixels, of the short side, of which the middle square of ``size`` is cut out.

    Returns:
        The facts are width, height, bytes and quality.
    """
    try:
        with io.BytesIO(path) if isinstance(path, bytes) else open(path, "rb") as file:
            if isinstance(path, str) and path.lower().endswith(RAW):
                return Picture(None, (), "a raw photograph of a camera; export it as JPEG")
            stored, image = file.seek(0, os.SEEK_END), _open(file)
            width, height = image.size
            if trouble := _trouble(image, stored):
                return Picture(None, (), trouble)
            with _one_large_image if width * height > LARGE else nullcontext():
                if size and image.format == "JPEG":  # its decoder scales down, by up to 8: to twice the size, and the
                    short, least = min(image.size), 2 * (resize or squeeze or size)  # filter does the rest
                    image.draft(None, (least * width // short, least * height // short))
                image.load()
                if image.format != "JPEG":
                    width, height = image.size  # a TIFF turns when it is loaded
                turned = 1 if image.format == "TIFF" else orientation(image.info)
                upright = (height, width) if turned >= 5 else (width, height)
                facts = (*upright, stored, _quality(getattr(image, "quantization", {})))
                if size is None and shape not in (None, upright):
                    return Picture(None, facts)
                return Picture(_pixels(image, turned, size, squeeze, resize), facts)
    except Exception as error:  # a decoder can fail in any way on a broken file, and that is what is to be told
        return Picture(None, (), _told(error))


def _told(error: Exception) -> str:
    return " ".join(str(getattr(error, "strerror", None) or error).split()) or type(error).__name__


# --- formats ----------------------------------------------------------------------------------------------------------

FORMATS = {  # how a file begins, "." being any byte: its format
    rb"\xff\xd8\xff": "JPEG",
    rb"\x89PNG\r\n\x1a\n": "PNG",
    rb"GIF8": "GIF",
    rb"BM": "BMP",
    rb"RIFF....WEBP": "WebP",
    rb"II\*\0|MM\0\*|II\+\0|MM\0\+": "TIFF",
    rb"P[1-6Ff]\s": "PPM",
    rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51": "JPEG 2000",
    rb"....ftyp(?:avi[fs]|m[is]f1.*avi[fs])": "AVIF",
    rb"....ftyp(?:hei[cxms]|hev[cxms]|m[is]f1)": "HEIC",
}


def format_of(start: bytes) -> str:
    """The format of an image file by its first 64 bytes; empty if it is no image that can be read.

    >>> format_of(b"GIF89a"), format_of(b"%PDF-1.7")
    ('GIF', '')
    """
    return next((name for magic, name in FORMATS.items() if re.match(magic, start, re.DOTALL)), "")


def _open(file: BinaryIO) -> ImageFile.ImageFile:
    """The image in a file, with its header read.

    ``Image.open`` would do, but it warns about large images and tries formats that nobody stores photographs in.
    """
    file.seek(0)
    start = file.read(HEAD)
    file.seek(0)
    name = format_of(start)
    if not start:
        raise ValueError("an empty file")
    if not name:
        raise ValueError(f"not a {', '.join(list(FORMATS.values())[:-1])} or HEIC image")
    try:
        return _reader(name)(file)
    except ImportError as error:
        package = "pillow-heif" if name == "HEIC" else "a newer pillow"
        raise ValueError(f"{name}, which needs a further package: pip install {package}") from error


@cache
def _reader(name: str) -> type[ImageFile.ImageFile]:
    """Pillow's reader of a format."""
    if name == "HEIC":
        return import_module("pillow_heif").HeifImageFile
    if name == "JPEG":
        from PIL import JpegImagePlugin
        from PIL.Image import Exif

        class Jpeg(JpegImagePlugin.JpegImageFile):
            def getexif(self) -> Exif:
                return Exif()  # Pillow looks for a resolution here, and warns where the EXIF block is not quite right

        return Jpeg
    stem = {"JPEG 2000": "Jpeg2K", "WebP": "WebP"}.get(name, name.title())
    return getattr(import_module(f"PIL.{stem}ImagePlugin"), f"{stem}ImageFile")


def _trouble(image: ImageFile.ImageFile, stored: int) -> str:
    """What keeps an image of so many bytes from being read as 8-bit RGB, by its header; empty if nothing does."""
    width, height = image.size
    if width * height > MOST_PIXELS:
        return f"{width}×{height} pixels, more than {MOST_PIXELS // 1_000_000} million"
    if max(width, height) > LONGEST:
        return f"{width}×{height} pixels, a side of more than {LONGEST // 1_000_000} million"
    bits = {"RGB": 24, "RGBA": 32, "LA": 16}.get(image.mode, 1)
    if image.format == "PNG" and width * height * bits > 8 * DEFLATE * stored:
        return f"truncated: {stored} bytes cannot hold its {width}×{height} pixels"
    if image.mode == "CMYK":
        return "CMYK colours"
    if image.mode == "F" or image.mode.startswith("I") or re.search(r";16[BLNS]", str(image.tile)):
        return "more than 8 bits per channel"
    return ""


# --- pixels -----------------------------------------------------------------------------------------------------------


def _pixels(image: Image.Image, turned: int, size: int | None, squeeze: int | None, resize: int) -> NDArray[np.uint8]:
    """The image upright, in RGB, cut and resized: ``(3, H, W)``."""
    from PIL import Image

    if image.mode in ("1", "L", "RGB", "YCbCr") and "transparency" not in image.info:
        image = image.convert("RGB")
    else:  # a palette, too, may hold transparent colours
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    turn = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }.get(turned)
    if turn is not None:
        image = image.transpose(turn)
    if size and squeeze:
        before = (squeeze - size) // 2
        image = image.resize((squeeze, squeeze), Image.Resampling.BILINEAR)
        image = image.crop((before, before, before + size, before + size))
    elif size and resize:
        image = _middle(image, *(min(side, 8 * min(image.size)) for side in image.size))  # a long thin one gets huge
        width, height = (int(resize * side / min(image.size)) for side in image.size)
        image = _middle(image.resize((width, height), Image.Resampling.BILINEAR), size, size)
    elif size:  # cut first: resizing a long thin image would make it huge
        short = min(image.size)
        left, top = ((side - short) // 2 for side in image.size)
        square = image.crop((left, top, left + short, top + short))
        image = square.resize((size, size), Image.Resampling.BICUBIC, reducing_gap=2.0)
    return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))


def _middle(image: Image.Image, width: int, height: int) -> Image.Image:
    left, top = (round((side - kept) / 2) for side, kept in zip(image.size, (width, height), strict=True))
    return image.crop((left, top, left + width, top + height))


def _quality(tables: Mapping[int, Sequence[int]]) -> float:
    """The quality 1–100 whose quantisation table is nearest to that of a JPEG; NaN without tables."""
    if not tables:
        return math.nan
    luminance = np.array(next(iter(tables.values())))
    return float(1 + np.abs(_standard_tables() - luminance).sum(axis=1).argmin())


@cache
def _standard_tables() -> NDArray[np.int64]:
    """The luminance tables of qualities 1–100 that the common JPEG library writes ``(100, 64)``."""
    from PIL import Image
    from PIL.JpegImagePlugin import JpegImageFile

    tables = []
    for quality in range(1, 101):
        file = io.BytesIO()
        Image.new("L", (8, 8)).save(file, "JPEG", quality=quality)
        file.seek(0)
        tables.append(JpegImageFile(file).quantization[0])
    return np.array(tables)
