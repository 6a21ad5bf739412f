"""The cache: what is decoded or made once lies in a folder of its own, whole or not at all."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np

from longcut.errors import UserError

__all__ = ["cache_folder", "cached", "key_of", "write_header"]


def key_of(content: str) -> str:
    """A fingerprint of what a folder is made from, by which it is called."""
    return hashlib.sha256(content.encode()).hexdigest()[:32]


def cache_folder(key: str, what: str = "images") -> Path:
    """Where the folder of this key lies: below ``$LONGCUT_CACHE``, else ``~/.cache/longcut``, in ``what``."""
    above = os.environ.get("LONGCUT_CACHE")
    return (Path(above) if above else Path.home() / ".cache" / "longcut").absolute() / what / key


def cached(key: str, fill: Callable[[Path], None], what: str = "images", *, resumes: bool = False) -> Path:
    """The folder of this key in the cache; where there is none yet, it is made.

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
    if folder.exists():
        return folder
    unfinished = folder.with_suffix(".unfinished")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_suffix(".lock")):
            if not folder.exists():
                if not resumes:
                    shutil.rmtree(unfinished, ignore_errors=True)  # of a process that was killed
                try:
                    unfinished.mkdir(exist_ok=resumes)
                    fill(unfinished)
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


def write_header(file: BinaryIO, shape: tuple[int, ...], kind: str = "|u1") -> None:
    """The beginning of an ``.npy`` file, of uint8 unless another ``kind`` is said.

    It is as long for any number of rows, since NumPy leaves room for it.
    """
    np.lib.format.write_array_header_1_0(file, {"descr": kind, "fortran_order": False, "shape": shape})
