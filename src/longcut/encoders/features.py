"""Features that a pretrained net makes, once: in slices that outlive a killed process, in a memory-mapped cache.

A folder of the cache (see :mod:`longcut.sources.cache`) holds ``x.npy``. While it is filled it is called
``KEY.unfinished``, and whoever fills it next goes on behind the last whole slice. What is encoded is decoded slice by
slice and never stored.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from longcut.data import generator
from longcut.encoders.base import Encoder
from longcut.errors import UserError
from longcut.sources import images
from longcut.sources.cache import cached, key_of, write_header

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from longcut.sources import Progress

__all__ = ["of_files", "of_pixels", "of_texts", "views_of_files", "views_of_pixels"]

VERSION = 1  # of the features: a change of how they are made makes all caches anew
SLICE = 64  # samples that are decoded, encoded and written at a time
ROOM = 8 / 7  # of the square that a view is cut out of, and of the view: 256 of 224 pixels, as is usual

Read = Callable[[slice], "Tensor | Sequence[str]"]


def of_files(encoder: Encoder, paths: Sequence[str], root: Path, progress: Progress | None = None) -> NDArray[Any]:
    """Features of image files, float32 ``(n, width)``, memory-mapped.

    Args:
        encoder: of images.
        paths: files below ``root``, relative to it.
        root: the folder.
        progress: told after every slice how many samples are done, and of how many.

    Raises:
        UserError: on a missing file, one outside ``root``, an image that cannot be read or whose features are not
            finite, or a cache folder that cannot be written.
    """

    def read(rows: slice) -> Tensor:
        return torch.from_numpy(images.squares(paths[rows], root, resize=encoder.resize, crop=encoder.crop))

    return _made_once(encoder, len(paths), images.key(paths, root), read, lambda row: str(root / paths[row]), progress)


def of_pixels(encoder: Encoder, x: Tensor, name: str, progress: Progress | None = None) -> NDArray[Any]:
    """Features of images that are a tensor, uint8 or floats in [0, 1] ``(n, C, H, W)``, brought to the encoder's size.

    Args:
        encoder: of images.
        x: the images; grey ones are shown to the encoder in three equal channels.
        name: what they are called, for messages.
        progress: as in :func:`of_files`.

    Raises:
        UserError: for images of another number of channels, or as in :func:`of_files`.
    """
    if x.shape[1] not in (1, 3):
        raise UserError(f"{name}: images have {x.shape[1]} channels, and '{encoder.name}' takes 1 or 3; convert them.")
    return _made_once(
        encoder,
        len(x),
        _digest(x),
        lambda rows: enlarged(x[rows], encoder.resize, encoder.crop),
        lambda row: f"image {row} of {name}",
        progress,
    )


def of_texts(encoder: Encoder, texts: Sequence[str], name: str, progress: Progress | None = None) -> NDArray[Any]:
    """Features of texts, float32 ``(n, width)``, memory-mapped.

    Args:
        encoder: of texts.
        texts: n of them.
        name: what they are called, for messages.
        progress: as in :func:`of_files`.

    Raises:
        UserError: as in :func:`of_files`.
    """
    key = json.dumps(list(texts))
    return _made_once(encoder, len(texts), key, lambda rows: texts[rows], lambda row: f"text {row} of {name}", progress)


def views_of_files(
    encoder: Encoder, paths: Sequence[str], root: Path, views: int, progress: Progress | None = None
) -> NDArray[Any]:
    """Features of other views of image files, float32 ``(n, views, width)``, memory-mapped.

    A view is a square of the size that the encoder takes, cut at random out of the middle one that is an eighth
    larger, and mirrored or not.

    Args:
        encoder, paths, root, progress: as in :func:`of_files`.
        views: how many of each image, one or more.

    Raises:
        UserError: as :func:`of_files`.
    """

    def squares(rows: Tensor, side: int) -> Tensor:
        some = [str(paths[row]) for row in rows.tolist()]
        return torch.from_numpy(images.squares(some, root, resize=side, crop=side))

    key = images.key(paths, root)
    return _views(encoder, len(paths), views, key, squares, lambda row: str(root / paths[row]), progress)


def views_of_pixels(
    encoder: Encoder, x: Tensor, views: int, name: str, progress: Progress | None = None
) -> NDArray[Any]:
    """Features of other views of images that are a tensor, as :func:`views_of_files`; the rest as :func:`of_pixels`."""

    def squares(rows: Tensor, side: int) -> Tensor:
        return enlarged(x[rows], side, side)

    return _views(encoder, len(x), views, _digest(x), squares, lambda i: f"image {i} of {name}", progress)


def _views(
    encoder: Encoder,
    n: int,
    views: int,
    content: str,
    squares: Callable[[Tensor, int], Tensor],
    name: Callable[[int], str],
    progress: Progress | None,
) -> NDArray[Any]:
    """``squares`` gives the middle squares of some samples, so many pixels wide."""
    side = round(encoder.crop * ROOM)
    drawn = generator(0)  # the same views whatever the seed of a run, so that they are made once
    corner = torch.randint(side - encoder.crop + 1, (n * views, 2), generator=drawn)
    mirrored = torch.rand(n * views, generator=drawn) < 0.5

    def read(rows: slice) -> Tensor:
        numbers = torch.arange(rows.start, rows.stop)
        samples, of = (numbers // views).unique(return_inverse=True)
        return cut(squares(samples, side)[of], corner[rows], mirrored[rows], encoder.crop)

    content = f"{views} views {side} {content}"
    found = _made_once(encoder, n * views, content, read, lambda row: f"a view of {name(row // views)}", progress)
    return found.reshape(n, views, encoder.width)


def cut(x: Tensor, corner: Tensor, mirrored: Tensor, side: int) -> Tensor:
    """A square of each image ``(n, C, H, W)``, from its own upper left corner ``(n, 2)``, mirrored or not ``(n,)``.

    >>> cut(torch.arange(9).view(1, 1, 3, 3), torch.tensor([[1, 0]]), torch.tensor([True]), 2).tolist()
    [[[[4, 3], [7, 6]]]]
    """
    parts = [
        image[:, top : top + side, left : left + side] for image, (top, left) in zip(x, corner.tolist(), strict=True)
    ]
    return torch.stack([part.flip(2) if turn else part for part, turn in zip(parts, mirrored.tolist(), strict=True)])


def enlarged(x: Tensor, resize: int, crop: int) -> Tensor:
    """Images as uint8 ``(n, 3, crop, crop)``: the short side brought to ``resize``, and the middle cut out.

    >>> enlarged(torch.zeros(1, 1, 4, 6), 8, 6).shape
    torch.Size([1, 3, 6, 6])
    """
    floats = x.float() if x.dtype == torch.uint8 else x.float().clamp(0, 1) * 255
    height, width = (int(resize * side / min(x.shape[2:])) for side in x.shape[2:])
    floats = F.interpolate(floats, size=(height, width), mode="bilinear", antialias=True)
    top, left = round((height - crop) / 2), round((width - crop) / 2)
    square = floats[..., top : top + crop, left : left + crop].round().clamp(0, 255)
    return square.to(torch.uint8).expand(-1, 3, -1, -1).contiguous()


def _digest(x: Tensor) -> str:
    digest = hashlib.sha256(f"{tuple(x.shape)} {x.dtype}".encode())
    for block in x.split(1024):
        digest.update(block.contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()


# --- the cache --------------------------------------------------------------------------------------------------------


def _made_once(
    encoder: Encoder, n: int, content: str, read: Read, name: Callable[[int], str], progress: Progress | None
) -> NDArray[Any]:
    """Features of n samples from the cache, where they are put first if need be.

    Args:
        encoder: makes them.
        n: how many.
        content: what is encoded, as text to tell it from anything else.
        read: gives the samples of some rows, as the encoder takes them.
        name: of the sample in a row, for messages.
        progress: told after every slice.
    """

    def fill(folder: Path) -> None:
        file = folder / "x.npy"
        file.touch()
        with file.open("r+b") as opened:
            _fill(opened, encoder, n, read, name, progress)

    how = [VERSION, encoder.name, encoder.version, encoder.resize, encoder.crop, n, content]
    folder = cached(key_of(json.dumps(how)), fill, "features", resumes=True)
    return np.load(folder / "x.npy", mmap_mode="r")


def _fill(
    file: BinaryIO, encoder: Encoder, n: int, read: Read, name: Callable[[int], str], progress: Progress | None
) -> None:
    """Writes what is missing behind the last whole slice; the next slice is decoded while one is encoded."""
    write_header(file, (n, encoder.width), "<f4")
    start, row = file.tell(), 4 * encoder.width
    there = max(0, file.seek(0, os.SEEK_END) - start) // (SLICE * row) * SLICE
    file.truncate(start + there * row)
    file.seek(0, os.SEEK_END)
    slices = [slice(begin, min(begin + SLICE, n)) for begin in range(there, n, SLICE)]
    with ThreadPoolExecutor(1) as ahead:
        coming = ahead.submit(read, slices[0]) if slices else None
        for rows, after in zip(slices, [*slices[1:], None], strict=True):
            assert coming is not None
            x, coming = coming.result(), None if after is None else ahead.submit(read, after)
            values = encoder(x)
            if not (finite := values.isfinite().all(1)).all():
                wrong = name(rows.start + int(finite.int().argmin()))
                raise UserError(
                    f"{wrong}: its features by '{encoder.name}' are not finite; leave it out, or take another net."
                )
            file.write(values.contiguous().numpy().astype("<f4", copy=False).data)
            file.flush()
            os.fsync(file.fileno())
            if progress:
                progress(rows.stop, n)
