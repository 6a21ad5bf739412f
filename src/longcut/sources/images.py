"""Image files to pixels, once: a memory-mapped cache of uint8 images, keyed by the files it was made from.

A folder of the cache (see :mod:`longcut.sources.cache`) holds the pixels (``x.npy``), what the files are like
(``facts.npy``) and which could not be read (``unreadable.json``). A changed file has another key.
"""

from __future__ import annotations

import io
import json
import math
import os
import re
import shutil
import stat
import struct
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, cast

import numpy as np

from longcut.errors import UserError, unknown
from longcut.sources.cache import cached, key_of, write_header

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray
    from PIL import Image, ImageFile

    from longcut.sources import Progress
    from longcut.sources.options import Unreadable

__all__ = ["Images", "decode", "key", "squares"]

VERSION = 1  # of the pixels: a change of how images are decoded makes all caches anew
FACTS = ("width", "height", "bytes", "quality")

MOST_PIXELS = 64_000_000  # a larger image is taken for a decompression bomb
LARGE = 16_000_000  # pixels; of larger images, one at a time is in memory
WORKERS = min(8, os.cpu_count() or 1)
CHUNK = 64_000_000  # bytes of pixels that wait to be written


@dataclass(frozen=True)
class Images:
    """Decoded images.

    Attributes:
        x: uint8 ``(m, 3, H, W)``, memory-mapped, of the images that could be read.
        kept: which of the paths these are ``(n,)``.
        facts: of each of the ``m`` files: ``width`` and ``height`` upright, in pixels; ``bytes``; ``quality``, a JPEG's
            estimated 1–100, else NaN.
        skipped: the paths that could not be read, and why.
    """

    x: np.memmap[Any, np.dtype[np.uint8]]
    kept: NDArray[np.bool_]
    facts: pd.DataFrame
    skipped: tuple[tuple[str, str], ...]


def decode(
    paths: Sequence[str],
    root: Path,
    *,
    size: int | None,
    squeeze: int | None = None,
    unreadable: Unreadable = "refuse",
    progress: Progress | None = None,
) -> Images:
    """Images as 8-bit RGB, decoded the first time and read from the cache from then on.

    Images are turned upright as their EXIF block says, transparent parts become white. A file cannot be read if it
    is no image or a broken one, has more than 8 bits per channel, is in CMYK, or has more than 64 million pixels.

    Args:
        paths: files below ``root``, relative to it.
        root: the folder.
        size: in pixels, of the centre square after the short side was brought to this size; None takes images as they
            are, all of one size.
        squeeze: in pixels: both sides are brought to this, whatever their ratio, and then the middle square of ``size``
            is cut out, as papers on Waterbirds do with 256 and 224.
        unreadable: ``"refuse"`` images that cannot be read, or ``"skip"`` them.
        progress: called now and then with how many files are done, and of how many.

    Raises:
        UserError: without paths, on a missing file, one outside ``root``, unreadable images, mixed sizes where ``size``
            is None, or a cache folder that cannot be written or is too full.
    """
    import pandas as pd

    if unreadable not in ("refuse", "skip"):
        raise unknown("way with unreadable images", unreadable, ("refuse", "skip"))
    if size is not None and size < 1:
        raise UserError(f"images of size {size} are not possible; give a side of at least 1 pixel, such as 64.")
    if not paths:
        raise UserError(f"{root}: no images were named; give at least one.")
    folder = cached(key(paths, root, size, squeeze), lambda place: _write(place, paths, root, size, squeeze, progress))
    broken: list[tuple[int, str]] = json.loads((folder / "unreadable.json").read_text(encoding="utf-8"))
    if broken and unreadable == "refuse":
        raise _refusal(paths, root, broken)
    kept = np.ones(len(paths), bool)
    kept[[row for row, _ in broken]] = False
    facts = pd.DataFrame(np.load(folder / "facts.npy"), columns=list(FACTS))
    x = np.load(folder / "x.npy", mmap_mode="r")
    skipped = tuple((paths[row], why) for row, why in broken)
    return Images(x, kept, facts.astype(dict.fromkeys(FACTS[:3], np.int64)), skipped)


def squares(paths: Sequence[str], root: Path, *, resize: int, crop: int) -> NDArray[np.uint8]:
    """The middle squares of images as a pretrained net wants them, 8-bit RGB ``(n, 3, crop, crop)``, not cached.

    Args:
        paths, root: of :func:`decode`.
        resize, crop: of :class:`longcut.encoders.Encoder`.

    Raises:
        UserError: on images that cannot be read.
    """
    files, read = [os.path.join(root, path) for path in paths], partial(_read, size=crop, resize=resize)
    with ThreadPoolExecutor(WORKERS) as pool:
        found = list(pool.map(read, files))
    if broken := [(row, image.trouble) for row, image in enumerate(found) if image.trouble]:
        raise _refusal(paths, root, broken)
    return np.stack([cast(Any, image.pixels) for image in found])


def _refusal(paths: Sequence[str], root: Path, broken: Sequence[tuple[int, str]]) -> UserError:
    named = ", ".join(f"{paths[row]} ({why})" for row, why in broken[:5])
    more = f" and {len(broken) - 5} more" if len(broken) > 5 else ""
    todo = "mend or remove them, or leave them out with --unreadable skip" if len(broken) < len(paths) else "mend them"
    return UserError(f"{root}: {len(broken)} of {len(paths)} images cannot be read: {named}{more}; {todo}.")


# --- the cache --------------------------------------------------------------------------------------------------------


def key(paths: Sequence[str], root: Path, size: int | None = None, squeeze: int | None = None) -> str:
    """A fingerprint of the files, in order, and of what is made of them.

    The folder is part of it: archives give many files the same time, and uncompressed images have the same length.
    """
    real = os.path.realpath(root)
    lines = [json.dumps([VERSION, size, real] + [squeeze] * (squeeze is not None))]
    folders: dict[str, str] = {}
    for row, path in enumerate(paths, 1):
        if not isinstance(path, str) or not path:
            raise UserError(f"{root}: image path missing in row {row}; name a file in each row.")
        full, above = os.path.join(real, path), os.path.dirname(path)
        try:
            if above not in folders:
                folders[above] = os.path.realpath(os.path.join(real, above))
            target = os.path.realpath(full) if os.path.islink(full) else folders[above]
            outside = os.path.isabs(path) or os.path.commonpath([real, target]) != real
            about = None if outside else os.stat(full)
        except (OSError, ValueError) as error:
            raise UserError(
                f"{root}: image path missing: there is no {path!r} (row {row}); give paths relative to this folder."
            ) from error
        if about is None:
            raise UserError(
                f"{root}: image '{path}' (row {row}) lies outside the folder; "
                "give relative paths of files in it, without links that lead out."
            )
        if not stat.S_ISREG(about.st_mode):
            raise UserError(f"{root}: image '{path}' (row {row}) is no file; give the path of an image.")
        lines.append(f"{path}\0{about.st_size}\0{about.st_mtime_ns}")
    return key_of("\0".join(lines))


def _write(
    folder: Path,
    paths: Sequence[str],
    root: Path,
    size: int | None,
    squeeze: int | None,
    progress: Progress | None,
) -> None:
    """Decodes all images, chunk by chunk: no more than a chunk is in memory."""
    n, shape = len(paths), (size, size) if size else None
    facts: list[tuple[float, ...]] = []
    broken: list[tuple[int, str]] = []
    start, first = 0, 0
    with (folder / "x.npy").open("wb") as file, ThreadPoolExecutor(WORKERS) as pool:
        while start < n:
            step = min(512, max(1, CHUNK // (3 * math.prod(shape)))) if shape else 1  # the first one gives the shape
            files = [os.path.join(root, path) for path in paths[start : start + step]]
            read = partial(_read, size=size, squeeze=squeeze, shape=shape)
            for row, image in enumerate(pool.map(read, files), start):
                if image.trouble:
                    broken.append((row, image.trouble))
                    continue
                if image.pixels is None:
                    raise _mixed(root, (paths[first], facts[0]), (paths[row], image.facts))
                if not facts:
                    first, shape = row, image.pixels.shape[:0:-1]
                    _check_space(folder.parent, n * image.pixels.nbytes)
                    write_header(file, (n, *image.pixels.shape))
                facts.append(image.facts)
                file.write(image.pixels.data)
            start += len(files)
            if progress:
                progress(start, n)
        if not facts or not shape:
            raise _refusal(paths, root, broken)
        file.seek(0)
        write_header(file, (len(facts), 3, *shape[::-1]))  # as long as the first one
        file.flush()
        os.fsync(file.fileno())
    np.save(folder / "facts.npy", np.array(facts, np.float64))
    (folder / "unreadable.json").write_text(json.dumps(broken), encoding="utf-8")


def _check_space(folder: Path, needed: int) -> None:
    if (free := shutil.disk_usage(folder).free) < needed:
        raise UserError(
            f"{folder}: the decoded images need {needed / 1e9:.1f} GB, but {free / 1e9:.1f} GB are free; "
            "set LONGCUT_CACHE to a folder with more room, or choose a smaller --size."
        )


def _mixed(root: Path, one: tuple[str, tuple[float, ...]], other: tuple[str, tuple[float, ...]]) -> UserError:
    named = " and ".join(f"{path} is {facts[0]}×{facts[1]}" for path, facts in (one, other))
    return UserError(
        f"{root}: the images have mixed sizes: {named}; pass --size 64, or another size, to make them equal."
    )


# --- one file ---------------------------------------------------------------------------------------------------------


class _Read(NamedTuple):
    """One file: its pixels ``(3, H, W)`` and facts, or the trouble with it; neither where it has another size."""

    pixels: NDArray[np.uint8] | None
    facts: tuple[float, ...]
    trouble: str = ""


_one_large_image = threading.Lock()


def _read(
    path: str, size: int | None, squeeze: int | None = None, shape: tuple[int, int] | None = None, resize: int = 0
) -> _Read:
    """Decodes a file; ``shape`` (width, height) is what images must have where ``size`` is None."""
    try:
        with open(path, "rb") as file:
            image = _open(file)
            width, height = image.size
            if trouble := _trouble(image):
                return _Read(None, (), trouble)
            orientation = _orientation(image.info.get("exif", b""))
            upright = (height, width) if orientation >= 5 else (width, height)
            facts = (*upright, os.fstat(file.fileno()).st_size, _quality(getattr(image, "quantization", {})))
            if size is None and shape not in (None, upright):
                return _Read(None, facts)
            with _one_large_image if width * height > LARGE else nullcontext():
                return _Read(_pixels(image, orientation, size, squeeze, resize), facts)
    except Exception as error:  # a decoder can fail in any way on a broken file, and that is what is to be told
        return _Read(None, (), str(error) or type(error).__name__)


@cache
def _readers() -> Mapping[bytes, type[ImageFile.ImageFile]]:
    """Pillow's readers by how a file begins.

    ``Image.open`` would do, but it warns about large images and tries formats that nobody stores photographs in.
    """
    from PIL import BmpImagePlugin, GifImagePlugin, JpegImagePlugin, PngImagePlugin, TiffImagePlugin, WebPImagePlugin
    from PIL.Image import Exif

    class Jpeg(JpegImagePlugin.JpegImageFile):
        def getexif(self) -> Exif:
            return Exif()  # Pillow looks for a resolution here, and warns where the EXIF block is not quite right

    return {
        b"\xff\xd8\xff": Jpeg,
        b"\x89PNG\r\n\x1a\n": PngImagePlugin.PngImageFile,
        b"GIF8": GifImagePlugin.GifImageFile,
        b"BM": BmpImagePlugin.BmpImageFile,
        b"RIFF": WebPImagePlugin.WebPImageFile,
        b"II*\0": TiffImagePlugin.TiffImageFile,
        b"MM\0*": TiffImagePlugin.TiffImageFile,
    }


def _open(file: BinaryIO) -> ImageFile.ImageFile:
    start = file.read(8)
    file.seek(0)
    for magic, reader in _readers().items():
        if start.startswith(magic):
            return reader(file)
    raise ValueError("not a JPEG, PNG, GIF, BMP, WebP or TIFF image")


def _trouble(image: ImageFile.ImageFile) -> str:
    """What keeps an image from being read as 8-bit RGB, by its header; empty if nothing does."""
    width, height = image.size
    if width * height > MOST_PIXELS:
        return f"{width}×{height} pixels, more than {MOST_PIXELS // 1_000_000} million"
    if image.mode == "CMYK":
        return "CMYK colours"
    if image.mode == "F" or image.mode.startswith("I") or re.search(r";16[BLNS]", str(image.tile)):
        return "more than 8 bits per channel"
    return ""


def _pixels(image: Image.Image, turned: int, size: int | None, squeeze: int | None, resize: int) -> NDArray[np.uint8]:
    """The image upright, in RGB, cut and resized: ``(3, H, W)``."""
    from PIL import Image

    if size:  # let a JPEG decoder scale down by up to 8, to no less than twice the size: the filter does the rest
        short, least = min(image.size), 2 * (resize or squeeze or size)
        image.draft(None, (least * image.size[0] // short, least * image.size[1] // short))
    image.load()
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


def _orientation(exif: bytes) -> int:
    """How the camera was held, 1–8 as in EXIF; 1, upright, if the block does not say.

    Pillow's own reader of these blocks warns where they are not quite right, which photographs often are.
    """
    block = exif.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(block[:2], "")
    try:
        (start,) = struct.unpack_from(f"{order}I", block, 4)
        (entries,) = struct.unpack_from(f"{order}H", block, start)
        for i in range(entries if order else 0):
            tag, _, _, value = struct.unpack_from(f"{order}HHIH", block, start + 2 + 12 * i)
            if tag == 0x0112:
                return value
    except struct.error:
        pass
    return 1


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
