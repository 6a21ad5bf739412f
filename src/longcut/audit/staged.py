"""A new audit takes the place of an earlier one whole, or not at all."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from longcut.door import CHECKSUMS, digest, sealed
from longcut.files import to_json
from longcut.folders import STAGED

__all__ = ["settle", "stage"]


def stage(
    folder: Path, write: Callable[[Path], None], record: dict[str, Any], name: str, optional: Sequence[str]
) -> None:
    """Write an audit beside the earlier one, and then put it into its place.

    Args:
        folder: of the audit.
        write: writes all files but the record into a folder.
        record: which is sealed with their checksums, and written last.
        name: of the record's file.
        optional: files that the earlier audit may have and this one may not.

    Raises:
        OSError: when it cannot be written; the earlier audit is as it was.
    """
    new = folder / STAGED
    if new.exists():  # what a killed audit had not written whole
        shutil.rmtree(new)
    new.mkdir(parents=True)
    try:
        write(new)
        sums = {path.name: digest(path.read_bytes()) for path in sorted(new.iterdir())}
        part = new / f"{name}.part"
        part.write_bytes((to_json(sealed(record, name, sums), indent=1) + "\n").encode())
    except OSError:
        shutil.rmtree(new, ignore_errors=True)
        raise
    os.replace(part, new / name)  # from here on, the new one counts
    settle(folder, name, optional)


def settle(folder: Path, name: str, optional: Sequence[str] = ()) -> None:
    """Move an audit that was written whole into the place of the earlier one, its record last.

    Whoever is killed meanwhile is taken over from by the next that writes or reads here.

    Args:
        folder, name, optional: of :func:`stage`.
    """
    new = folder / STAGED
    if not (new / name).exists():
        return
    try:
        kept = dict(json.loads((new / name).read_bytes())[CHECKSUMS])
    except (ValueError, KeyError, TypeError):  # damaged before it counted: the earlier audit stands
        return
    for other in optional:
        if other not in kept:
            (folder / other).unlink(missing_ok=True)
    for path in sorted(new.iterdir(), key=lambda path: path.name == name):
        with suppress(FileNotFoundError):  # somebody else was quicker
            os.replace(path, folder / path.name)
    with suppress(OSError):
        new.rmdir()
