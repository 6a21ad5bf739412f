"""What is decoded of shards: their pixels in one memory-mapped file of the cache, and a note of each shard beside it.

The note is written when the pixels of its shard are on the disk. Whoever fills the cache next goes on behind the last
shard of which there is one (see :mod:`longcut.sources.cache`).
"""

from __future__ import annotations

import itertools
import json
import math
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import numpy as np

from longcut.errors import UserError
from longcut.files import replacing
from longcut.sources.cache import cached, key_of, write_header
from longcut.sources.images import WORKERS, mixed
from longcut.sources.picture import Picture, read
from longcut.sources.tars import Sample

if TYPE_CHECKING:
    from longcut.sources import Progress

__all__ = ["LeftOut", "Shard", "decoded", "noted", "refusal"]

VERSION = 1  # of what is kept: a change makes all caches anew
CHUNK = 32_000_000  # bytes of files, and of pixels, that are in memory at a time

LeftOut = Counter[tuple[str, str]]


class Shard(NamedTuple):
    """A shard: its name, what tells its content from any other, and its samples; it counts what it leaves out."""

    name: str
    stamp: str
    samples: Callable[[LeftOut], Iterator[Sample]]


def _note() -> dict[str, Any]:
    """What is known of a shard: its samples, and what is none."""
    return {"names": [], "fields": {}, "facts": [], "troubles": [], "left_out": []}


def _add(note: dict[str, Any], name: str, fields: Mapping[str, Any]) -> None:
    for field, value in fields.items():
        column = note["fields"].setdefault(field, [])
        column.extend([None] * (len(note["names"]) - len(column)))
        column.append(value)
    note["names"].append(name)


def _closed(note: dict[str, Any], shard: Shard, left_out: LeftOut) -> dict[str, Any]:
    for column in note["fields"].values():
        column.extend([None] * (len(note["names"]) - len(column)))
    for (name, why), count in left_out.items():
        note["left_out"].append([f"{shard.name}/{name}" + (f" ({count:,} times)" if count > 1 else ""), why])
    return note


def _trouble(sample: Sample, wanted: Sequence[str]) -> str:
    lacks = wanted and all(sample.fields.get(name) is None for name in wanted)
    return sample.trouble or (f"no label ({' or '.join(wanted)})" if lacks else "")


def noted(shard: Shard, wanted: Sequence[str]) -> dict[str, Any]:
    """All samples of a shard that has no images."""
    note, left_out = _note(), LeftOut()
    for sample in shard.samples(left_out):
        if trouble := _trouble(sample, wanted):
            note["troubles"].append([f"{shard.name}/{sample.name}", trouble])
        else:
            _add(note, f"{shard.name}/{sample.name}", sample.fields)
    return _closed(note, shard, left_out)


def refusal(troubles: Sequence[tuple[str, str]], n: int, where: str) -> UserError:
    """The sentence about what is no sample, beside ``n`` that are."""
    named = ", ".join(f"{name} ({why})" for name, why in troubles[:5])
    more = f" and {len(troubles) - 5:,} more" if len(troubles) > 5 else ""
    todo = "mend them, or leave them out with --unreadable skip"
    if not n:
        todo = "say which member or column is the image (--image), the text (--text) and the label (--label)"
    return UserError(
        f"{where}: {len(troubles):,} of {len(troubles) + n:,} samples cannot be used: {named}{more}; {todo}."
    )


# --- the cache --------------------------------------------------------------------------------------------------------


def decoded(
    shards: Sequence[Shard],
    image: str | None,
    wanted: Sequence[str],
    size: int | None,
    squeeze: int | None,
    progress: Progress | None,
    where: str,
) -> tuple[Any, list[dict[str, Any]]]:
    """Pixels of all samples, memory-mapped, and what is known of each shard."""
    how = [VERSION, image, wanted, size, squeeze, [(shard.name, shard.stamp) for shard in shards]]

    def fill(folder: Path) -> None:
        (folder / "x.npy").touch()
        with (folder / "x.npy").open("r+b") as file:
            _fill(folder, file, shards, wanted, size, squeeze, progress, where)

    folder = cached(key_of(json.dumps(how)), fill, "shards", resumes=True)
    return np.load(folder / "x.npy", mmap_mode="r"), _notes(folder, len(shards))


def _notes(folder: Path, n: int) -> list[dict[str, Any]]:
    """The notes of the first shards, up to one of which there is none."""
    paths = itertools.takewhile(Path.exists, (folder / f"{number:06}.json" for number in range(n)))
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths]


def _fill(
    folder: Path,
    file: BinaryIO,
    shards: Sequence[Shard],
    wanted: Sequence[str],
    size: int | None,
    squeeze: int | None,
    progress: Progress | None,
    where: str,
) -> None:
    """Decodes the shards of which there is no note yet, and puts their pixels behind those that are there."""
    done = _notes(folder, len(shards))
    held = next((note for note in done if note["names"]), None)
    shape: tuple[int, int] | None = (size, size) if size else None
    if held and not shape:
        width, height = map(int, held["facts"][0][:2])
        shape = width, height
    n = sum(len(note["names"]) for note in done)
    if shape:
        write_header(file, (n, 3, *shape[::-1]))
        file.truncate(file.tell() + n * 3 * math.prod(shape))
        file.seek(0, os.SEEK_END)
    with ThreadPoolExecutor(WORKERS) as pool:
        for number, shard in enumerate(shards[len(done) :], len(done)):
            note, left_out = _note(), LeftOut()
            all_samples = shard.samples(left_out)
            while chunk := _chunk(all_samples, shape):
                one = partial(_picture, size=size, squeeze=squeeze, shape=shape, wanted=wanted)
                for sample, picture in zip(chunk, pool.map(one, chunk), strict=True):
                    name = f"{shard.name}/{sample.name}"
                    if picture.trouble:
                        note["troubles"].append([name, picture.trouble])
                        continue
                    held = held or {"names": [name], "facts": [picture.facts]}
                    if picture.pixels is None:
                        shutil.rmtree(folder)  # nothing of it would be of use
                        raise mixed(where, (held["names"][0], held["facts"][0]), (name, picture.facts))
                    if shape is None:
                        shape = (picture.pixels.shape[2], picture.pixels.shape[1])
                        write_header(file, (0, *picture.pixels.shape))
                    _add(note, name, sample.fields)
                    note["facts"].append(picture.facts)
                    file.write(picture.pixels.data)
            n += len(note["names"])
            file.flush()
            os.fsync(file.fileno())
            with replacing(folder / f"{number:06}.json") as temporary:
                temporary.write_text(json.dumps(_closed(note, shard, left_out)), encoding="utf-8")
            if progress:
                progress(number + 1, len(shards))
    if not n or not shape:
        troubles = [(name, why) for note in _notes(folder, len(shards)) for name, why in note["troubles"]]
        shutil.rmtree(folder)
        raise refusal(troubles, 0, where)
    file.seek(0)
    write_header(file, (n, 3, *shape[::-1]))  # as long as the first one
    file.flush()
    os.fsync(file.fileno())


def _chunk(rest: Iterator[Sample], shape: tuple[int, int] | None) -> list[Sample]:
    """The next samples, as many as may be in memory at a time; the first one alone, which gives the shape."""
    most = min(512, max(1, CHUNK // (3 * math.prod(shape)))) if shape else 1
    found: list[Sample] = []
    stored = 0
    while len(found) < most and stored < CHUNK and (sample := next(rest, None)) is not None:
        found.append(sample)
        stored += len(sample.image)
    return found


def _picture(
    sample: Sample, *, size: int | None, squeeze: int | None, shape: tuple[int, int] | None, wanted: Sequence[str]
) -> Picture:
    if trouble := _trouble(sample, wanted):
        return Picture(None, (), trouble)
    return read(sample.image, size, squeeze, shape)
