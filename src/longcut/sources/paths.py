"""Which file a path in somebody's table means, and whether it is one inside the folder."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple
from unicodedata import normalize
from urllib.parse import unquote, urlsplit

from longcut.errors import UserError

__all__ = ["Found", "find", "refuse"]

MISSING, NOWHERE, OUTSIDE = "missing", "there is no such file", "outside the folder"


class Found(NamedTuple):
    """A path as it was given: the file relative to the folder, what the system says of it, or the trouble with it."""

    path: str
    about: os.stat_result | None = None
    trouble: str = ""


def find(paths: Sequence[object], root: Path) -> list[Found]:
    r"""The files that paths mean.

    A path is relative to the folder, or absolute and inside it. Where there is no such file, other ways to write the
    same path are tried: with backslashes, as a ``file:`` address, percent-encoded, with accents composed or decomposed,
    with blanks at its ends, and relative to the working directory. Links are followed, but not out of the folder.

    Args:
        paths: of files; what is no text or empty is missing.
        root: the folder.

    >>> import tempfile
    >>> root = Path(tempfile.mkdtemp())
    >>> (root / "my photos").mkdir(); (root / "my photos" / "a.png").touch()
    >>> [found.path for found in find(["my photos/a.png", "my photos\\a.png", "my%20photos/a.png"], root)]
    ['my photos/a.png', 'my photos/a.png', 'my photos/a.png']
    >>> find(["b.png"], root)[0].trouble
    'there is no such file'
    """
    real, folders = os.path.realpath(root), dict[str, str]()
    return [_find(path, real, folders) for path in paths]


def refuse(found: Sequence[Found], where: str) -> None:
    """Refuse the first path that means no file of the folder, if there is one.

    Raises:
        UserError: with its row, what is wrong with it, and what to do.
    """
    for row, (path, about, trouble) in enumerate(found, 1):
        if about is None:
            said, todo = {
                MISSING: (f"image missing in row {row}", "name one in each row"),
                NOWHERE: (
                    f"image path missing: there is no {path!r} (row {row})",
                    "give paths relative to this folder",
                ),
                OUTSIDE: (f"image '{path}' (row {row}) lies outside the folder", "give paths of files in it, no links"),
            }.get(trouble, (f"image '{path}' (row {row}) is {trouble}", "give the path of an image"))
            raise UserError(f"{where}: {said}; {todo}, or leave such rows out with --unreadable skip.")


def _find(path: object, real: str, folders: dict[str, str]) -> Found:
    if not isinstance(path, str) or not path.strip():
        return Found("", None, MISSING)
    tried = (_look(way, real, folders) for way in _ways(path))
    first = next(tried)
    found = next((one for one in (first, *tried) if one.about), first)
    return found if found.about else Found(path, None, found.trouble)


def _ways(path: str) -> Iterator[str]:
    """Ways to write a path, the one that was given first."""
    plain = path.strip()
    if plain.lower().startswith("file:"):
        address = urlsplit(plain)
        plain = address.netloc.removeprefix("localhost") + address.path
    slashes = plain.replace("\\", "/")
    forms = [path, *(form for way in (plain, slashes) for form in (way, unquote(way)))]
    forms += [normalize(kind, form) for kind in ("NFC", "NFD") for form in forms]
    return iter(dict.fromkeys([*forms, *(os.path.abspath(form) for form in forms[1:])]))


def _look(path: str, real: str, folders: dict[str, str]) -> Found:
    """What lies at one way to write a path, below the folder ``real``; ``folders`` remembers where folders lead."""
    full = os.path.join(real, path)
    above = os.path.dirname(full)
    try:
        if above not in folders:
            folders[above] = os.path.realpath(above)
        target = os.path.realpath(full) if os.path.islink(full) else folders[above]
        if os.path.commonpath([real, target]) != real:
            return Found(path, None, OUTSIDE)
        about = os.stat(full)
    except (OSError, ValueError):
        return Found(path, None, NOWHERE)
    if not stat.S_ISREG(about.st_mode):
        return Found(path, None, "no file")
    if os.path.isabs(path):
        path = os.path.relpath(os.path.join(folders[above], os.path.basename(path)), real)
    return Found(path, about)
