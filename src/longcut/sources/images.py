"""Image files to pixels, once: a memory-mapped cache of uint8 images, keyed by the files it was made from.

A folder of the cache (see :mod:`longcut.sources.cache`) holds the pixels (``x.npy``), what the files are like
(``facts.npy``) and which could not be read (``unreadable.json``). A changed file has another key.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from longcut.errors import UserError, unknown
from longcut.sources.cache import cached, key_of, write_header
from longcut.sources.paths import Found, find, refuse
from longcut.sources.picture import Picture
from longcut.sources.picture import read as _read

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from longcut.sources import Progress
    from longcut.sources.options import Unreadable

__all__ = ["Images", "decode", "key", "mixed", "squares", "stamp"]

VERSION = 1  # of the pixels: a change of how images are decoded makes all caches anew
FACTS = ("width", "height", "bytes", "quality")

WORKERS = min(8, os.cpu_count() or 1)
CHUNK = 64_000_000  # bytes of pixels that wait to be written


@dataclass(frozen=True)
class Images:
    """Decoded images.

    Attributes:
        x: uint8 ``(m, 3, H, W)``, memory-mapped, of the images that could be read.
        kept: which of the paths these are ``(n,)``.
        paths: of all files ``(n,)``, relative to the folder.
        facts: of each of the ``m`` files: ``width`` and ``height`` upright, in pixels; ``bytes``; ``quality``, a JPEG's
            estimated 1–100, else NaN.
        skipped: the images that could not be read, and why.
    """

    x: np.memmap[Any, np.dtype[np.uint8]]
    kept: NDArray[np.bool_]
    paths: tuple[str, ...]
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
    where: str | None = None,
) -> Images:
    """Images as 8-bit RGB, decoded the first time and read from the cache from then on.

    Images are turned upright as their EXIF block says, transparent parts become white. A file cannot be read if it
    is no image or a broken one, has more than 8 bits per channel, is in CMYK, or has more than 64 million pixels.

    Args:
        paths: files below ``root``, relative to it or absolute; see :func:`longcut.sources.paths.find`.
        root: the folder.
        size: in pixels, of the centre square after the short side was brought to this size; None takes images as they
            are, all of one size.
        squeeze: in pixels: both sides are brought to this, whatever their ratio, and then the middle square of ``size``
            is cut out, as papers on Waterbirds do with 256 and 224.
        unreadable: ``"refuse"`` images that are missing or cannot be read, or ``"skip"`` them.
        progress: called now and then with how many files are done, and of how many.
        where: what the data is called in messages; by default, the folder.

    Raises:
        UserError: without paths, on a missing file, one outside ``root``, unreadable images, mixed sizes where ``size``
            is None, or a cache folder that cannot be written or is too full.
    """
    import pandas as pd

    where = where or str(root)
    if unreadable not in ("refuse", "skip"):
        raise unknown("way with unreadable images", unreadable, ("refuse", "skip"))
    if size is not None and size < 1:
        raise UserError(f"images of size {size} are not possible; give a side of at least 1 pixel, such as 64.")
    if not paths:
        raise UserError(f"{where}: no images were named; give at least one.")
    found = find(paths, root)
    if unreadable == "refuse":
        refuse(found, where)
    folder = cached(
        _key(found, root, size, squeeze), lambda place: _write(place, found, root, size, squeeze, progress, where)
    )
    broken: list[tuple[int, str]] = json.loads((folder / "unreadable.json").read_text(encoding="utf-8"))
    if broken and unreadable == "refuse":
        raise _refusal(found, where, broken)
    kept = np.ones(len(paths), bool)
    kept[[row for row, _ in broken]] = False
    facts = pd.DataFrame(np.load(folder / "facts.npy"), columns=list(FACTS))
    x = np.load(folder / "x.npy", mmap_mode="r")
    skipped = tuple((_named(found, row), why) for row, why in broken)
    names = tuple(one.path for one in found)
    return Images(x, kept, names, facts.astype(dict.fromkeys(FACTS[:3], np.int64)), skipped)


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
        raise _refusal([Found(path) for path in paths], str(root), broken)
    return np.stack([cast(Any, image.pixels) for image in found])


def _named(found: Sequence[Found], row: int) -> str:
    return found[row].path or f"row {row + 1}"


def _refusal(found: Sequence[Found], where: str, broken: Sequence[tuple[int, str]]) -> UserError:
    named = ", ".join(f"{_named(found, row)} ({why})" for row, why in broken[:5])
    more = f" and {len(broken) - 5} more" if len(broken) > 5 else ""
    todo = "mend or remove them, or leave them out with --unreadable skip" if len(broken) < len(found) else "mend them"
    return UserError(f"{where}: {len(broken)} of {len(found)} images cannot be read: {named}{more}; {todo}.")


# --- the cache --------------------------------------------------------------------------------------------------------


def key(paths: Sequence[str], root: Path, size: int | None = None, squeeze: int | None = None) -> str:
    """A fingerprint of the files, in order, and of what is made of them.

    The folder is part of it: archives give many files the same time, and uncompressed images have the same length.

    Raises:
        UserError: on a path that is missing or leads out of the folder.
    """
    found = find(paths, root)
    refuse(found, str(root))
    return _key(found, root, size, squeeze)


def _key(found: Sequence[Found], root: Path, size: int | None, squeeze: int | None) -> str:
    real = os.path.realpath(root)
    lines = [json.dumps([VERSION, size, real] + [squeeze] * (squeeze is not None))]
    for path, about, trouble in found:
        lines.append(f"{path}\0{trouble}")
        if about is not None:
            lines.append(stamp(os.path.join(real, path), about))
    return key_of("\0".join(lines))


def stamp(path: str, about: os.stat_result) -> str:
    """What tells a file from any other, and from itself before a change.

    That is size, time, inode and time of change. Size and time alone would know neither a file that another one of the
    same size and time replaced, which programs that keep times do, nor one that was written to and given back its time.
    Nobody can set the time of change: it moves with whatever is done to the file. It costs a needless decoding where
    rights were changed or a folder was copied. To read all files, as a digest of what they hold needs, would cost about
    as much each time. That is done where the time of change has no fractions of a second, for there two writes may have
    the same: in doubt the content decides.

    Args:
        path: of the file.
        about: what the system says of it.
    """
    said = f"{about.st_size}\0{about.st_mtime_ns}\0{about.st_ctime_ns}\0{about.st_ino}"
    if about.st_ctime_ns % 10**9:
        return said
    with open(path, "rb") as file:
        return f"{said}\0{hashlib.file_digest(file, 'blake2b').hexdigest()}"


def _write(
    folder: Path,
    found: Sequence[Found],
    root: Path,
    size: int | None,
    squeeze: int | None,
    progress: Progress | None,
    where: str,
) -> None:
    """Decodes all images, chunk by chunk: no more than a chunk is in memory."""

    def read(one: Found) -> Picture:
        if one.about is None:
            return Picture(None, (), one.trouble)
        return _read(os.path.join(root, one.path), size=size, squeeze=squeeze, shape=shape)

    n, shape = len(found), (size, size) if size else None
    facts: list[tuple[float, ...]] = []
    broken: list[tuple[int, str]] = []
    start, first = 0, 0
    with (folder / "x.npy").open("wb") as file, ThreadPoolExecutor(WORKERS) as pool:
        while start < n:
            step = min(512, max(1, CHUNK // (3 * math.prod(shape)))) if shape else 1  # the first one gives the shape
            chunk = found[start : start + step]
            for row, image in enumerate(pool.map(read, chunk), start):
                if image.trouble:
                    broken.append((row, image.trouble))
                    continue
                if image.pixels is None or shape not in (None, image.pixels.shape[:0:-1]):
                    raise mixed(where, (found[first].path, facts[0]), (found[row].path, image.facts))
                if not facts:
                    first, shape = row, image.pixels.shape[:0:-1]
                    _check_space(folder.parent, n * image.pixels.nbytes)
                    write_header(file, (n, *image.pixels.shape))
                facts.append(image.facts)
                file.write(image.pixels.data)
            start += len(chunk)
            if progress:
                progress(start, n)
        if not facts or not shape:
            raise _refusal(found, where, broken)
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


def mixed(where: str, one: tuple[str, Sequence[float]], other: tuple[str, Sequence[float]]) -> UserError:
    """The sentence about two images, each with its facts, that differ in size."""
    named = " and ".join(f"{path} is {facts[0]}×{facts[1]}" for path, facts in (one, other))
    return UserError(
        f"{where}: the images have mixed sizes: {named}; pass --size 64, or another size, to make them equal."
    )
