"""What the models of an audit said, kept until it is written, so that one that was killed goes on where it was."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from longcut.files import replacing

__all__ = ["FOLDER", "Keep", "forget", "in_folder", "nowhere"]

FOLDER = ".models.tmp"

Keep: TypeAlias = Callable[[str, Callable[[], Mapping[str, NDArray[Any]]]], Mapping[str, NDArray[Any]]]
"""Given a name and how its arrays are made, gives the arrays: those that were kept, or new ones."""


def nowhere(name: str, make: Callable[[], Mapping[str, NDArray[Any]]]) -> Mapping[str, NDArray[Any]]:
    """Keeps nothing."""
    return make()


def in_folder(folder: Path, *key: object) -> Keep:
    """Keeps arrays in a folder of files, each with its checksum in its name.

    Args:
        folder: of the audit; the files lie below it.
        key: everything that decides what the arrays are, beside their names; what was kept under another is not taken.
    """
    place = folder / FOLDER
    of = hashlib.sha256(repr(key).encode()).hexdigest()[:16]

    def keep(name: str, make: Callable[[], Mapping[str, NDArray[Any]]]) -> Mapping[str, NDArray[Any]]:
        from safetensors.numpy import load, save

        for path in place.glob(f"{name}-{of}-*.safetensors"):
            content = path.read_bytes()
            if path.stem.rpartition("-")[2] == _sum(content):
                return load(content)
        made = {key: np.ascontiguousarray(array) for key, array in make().items()}
        content = save(made)
        place.mkdir(parents=True, exist_ok=True)
        with replacing(place / f"{name}-{of}-{_sum(content)}.safetensors") as temporary:
            temporary.write_bytes(content)
        return made

    return keep


def forget(folder: Path) -> None:
    """Remove what was kept for an audit."""
    if (folder / FOLDER).exists():
        shutil.rmtree(folder / FOLDER)


def _sum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
