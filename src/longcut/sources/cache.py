"""The cache: what is decoded or made once lies in a folder of its own, whole or not at all.

Such a folder says in ``whole.json`` what its files were when it was made. One that is not so any more, because it was
damaged, cut short or tampered with, is made again.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np

from longcut.errors import UserError

__all__ = ["cache_folder", "cached", "key_of", "write_header"]

WHOLE = "whole.json"
SMALL = 64_000_000  # bytes that are read over each time


def key_of(content: str) -> str:
    """A fingerprint of what a folder is made from, by which it is called."""
    return hashlib.sha256(content.encode()).hexdigest()[:32]


def cache_folder(key: str, what: str = "images") -> Path:
    """Where the folder of this key lies: below ``$LONGCUT_CACHE``, else ``~/.cache/longcut``, in ``what``."""
    above = os.environ.get("LONGCUT_CACHE")
    return (Path(above) if above else Path.home() / ".cache" / "longcut").absolute() / what / key


def cached(key: str, fill: Callable[[Path], None], what: str = "images", *, resumes: bool = False) -> Path:
    """The folder of this key in the cache; where there is none yet, or it is damaged, it is made.

    Of two processes, the second waits and finds it made. One that is stopped leaves nothing behind, unless ``fill``
    can go on where another stopped.

    Args:
        key: of the folder.
        fill: puts into a folder what belongs there.
        what: is kept, by which the folder above is called.
        resumes: whether ``fill`` goes on in a folder that is half filled; otherwise it is given an empty one.

    Raises:
        UserError: when the cache cannot be written.
    """
    from filelock import FileLock

    folder = cache_folder(key, what)
    if _is_whole(folder):
        return folder
    unfinished = folder.with_suffix(".unfinished")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_suffix(".lock")):
            if not _is_whole(folder):
                if folder.exists():
                    shutil.rmtree(folder)
                if not resumes:
                    shutil.rmtree(unfinished, ignore_errors=True)  # of a process that was killed
                try:
                    unfinished.mkdir(exist_ok=resumes)
                    fill(unfinished)
                    _seal(unfinished)
                    unfinished.rename(folder)
                finally:
                    if not resumes:
                        shutil.rmtree(unfinished, ignore_errors=True)
    except OSError as error:
        raise UserError(
            f"{folder.parent}: cannot store {what} here ({error.strerror or error}); "
            "set LONGCUT_CACHE to another folder."
        ) from error
    return folder


def _seal(folder: Path) -> None:
    """Notes what the files of a folder are, so that :func:`_is_whole` can tell whether they still are."""
    files = sorted(path for path in folder.iterdir() if path.name != WHOLE)
    about = {path.name: [*_state(path), _digest(path)] for path in files}
    (folder / WHOLE).write_text(json.dumps(about), encoding="utf-8")


def _is_whole(folder: Path) -> bool:
    """Whether the files of a folder are there as they were made.

    A file is read over where it seems to have been written to since. The others are, too, where all of them are small:
    that also finds what a disk did.
    """
    try:
        about = json.loads((folder / WHOLE).read_text(encoding="utf-8"))
        state = {name: _state(folder / name) for name in about}
        touched = [name for name, (*before, _) in about.items() if state[name] != before]
        if not about or any(state[name][0] != about[name][0] for name in touched):
            return False
        small = sum(size for size, *_ in state.values()) < SMALL
        if any(_digest(folder / name) != about[name][-1] for name in (about if small else touched)):
            return False
    except (OSError, ValueError, TypeError, AttributeError, LookupError):  # not there, or not what was written
        return False
    if touched:  # as copies are: they need not be read over next time
        with suppress(OSError):
            _seal(folder)
    return True


def _state(path: Path) -> list[int]:
    about = path.stat()
    return [about.st_size, about.st_mtime_ns, about.st_ctime_ns]


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()


def write_header(file: BinaryIO, shape: tuple[int, ...], kind: str = "|u1") -> None:
    """The beginning of an ``.npy`` file, of uint8 unless another ``kind`` is said.

    It is as long for any number of rows, since NumPy leaves room for it.
    """
    np.lib.format.write_array_header_1_0(file, {"descr": kind, "fortran_order": False, "shape": shape})
