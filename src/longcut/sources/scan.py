"""Which files in a folder are images, which folders lie in it, and what is left out, and why."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from longcut.errors import UserError
from longcut.sources.picture import HEAD, RAW, format_of

__all__ = ["HIDDEN", "SYSTEM", "Scan", "scan"]

SUFFIXES = (  # files that are called so are images, be they damaged; others are looked into
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".bmp", ".dib", ".gif", ".webp", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".jpf", ".jpx", ".avif", ".heic", ".heif", ".hif", *RAW),
)
HIDDEN, SYSTEM = "hidden", "of the system"
OWN = {  # what systems, cameras and network disks put into folders: thumbnails, settings, what was thrown away
    *("@eadir", "@tmp", "@recycle", "@recently-snapshot", "@sharebin", "@synoresource", "@__thumb"),
    *("#recycle", "#snapshot", "$recycle.bin", "recycler", "recycled", "system volume information", "found.000"),
    *("__macosx", "lost+found", "lost.dir", "network trash folder", "temporary items", "icon\r", "__pycache__"),
    *("thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "folder.ini", "picasa.ini", "zbthumbnail.info"),
}


class Scan(NamedTuple):
    """The names of the folders and of the images in a folder, sorted, and of what is left out, with the reason."""

    folders: list[str]
    images: list[str]
    left_out: list[tuple[str, str]]


def scan(folder: Path, where: str) -> Scan:
    """What lies in a folder.

    A file is an image if it is called like one, or if it begins like one.

    Args:
        folder: any.
        where: the folder that was given, for messages.

    Raises:
        UserError: on a folder that cannot be opened, one that is a link, and a name that is not UTF-8.

    >>> import tempfile
    >>> place = Path(tempfile.mkdtemp())
    >>> for name in ("a.JPG", "notes.txt", ".b.png"): (place / name).touch()
    >>> scan(place, "photos")
    Scan(folders=[], images=['a.JPG'], left_out=[('.b.png', 'hidden'), ('notes.txt', 'empty')])
    """
    found = Scan([], [], [])
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                _sort_in(entry, found, where)
    except OSError as error:
        raise UserError(
            f"{where}: folder '{folder.name}' cannot be opened ({error.strerror or error}); change its rights, or move "
            "it away."
        ) from error
    return Scan(sorted(found.folders), sorted(found.images), sorted(found.left_out))


def _sort_in(entry: os.DirEntry[str], found: Scan, where: str) -> None:
    name = entry.name
    if name.startswith("."):
        found.left_out.append((name.encode(errors="backslashreplace").decode(), HIDDEN))
    elif name.lower() in OWN:
        found.left_out.append((name, SYSTEM))
    elif name.encode(errors="ignore").decode() != name:
        raise UserError(f"{where}: the file name {name!a} is not UTF-8; rename it.")
    elif _is_folder(entry):
        if entry.is_symlink():  # it may lead out, or in a circle
            raise UserError(f"{where}: folder '{name}' is a symbolic link; put the folder itself there.")
        found.folders.append(name)
    elif name.lower().endswith(SUFFIXES) or not (why := _no_image(entry)):
        found.images.append(name)
    else:
        found.left_out.append((name, why))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link in a circle
        return False


def _no_image(entry: os.DirEntry[str]) -> str:
    """Why a file that is not called like an image is none; empty if it begins like one."""
    try:
        if not entry.is_file():  # a pipe would be waited for
            return "a link to nothing" if entry.is_symlink() else "no file"
        with open(entry.path, "rb") as file:
            start = file.read(HEAD)
    except OSError as error:
        return f"cannot be opened: {error.strerror or error}"
    if not start:
        return "empty"
    return "" if format_of(start) else f"no image: {os.path.splitext(entry.name)[1].lower() or 'no suffix'}"
