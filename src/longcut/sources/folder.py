"""A folder of images: ``class/*.jpg`` or ``split/class/*.jpg``."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from longcut.errors import UserError
from longcut.sources import TEST, TRAIN, Columns, Source
from longcut.sources.images import decode
from longcut.sources.parts import PARTS, check_labels, draw_parts, number, parts_of

if TYPE_CHECKING:
    import pandas as pd

    from longcut.sources import Progress
    from longcut.sources.options import Size, Unreadable

__all__ = ["read_folder"]

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff")
SPLITS = {name: part for name, part in PARTS.items() if not name.isdigit()}  # folders 0 and 1 are classes


def read_folder(
    path: str | Path,
    *,
    size: Size = None,
    unreadable: Unreadable = "refuse",
    seed: int = 0,
    encoding: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Columns:
    """Images whose folder is their class, with parts given by the folders above, or drawn.

    Where all top folders are called train, valid, test or the like, they are the parts, and their folders the classes;
    data without a test folder is judged on its validation folder. Images may lie deeper below their class folder.
    Hidden files and files that are no images by their suffix are passed over.

    Args:
        path: the folder.
        size: in pixels, of the centre square after the short side was brought to this size; None takes images as they
            are, all of one size.
        unreadable: ``"refuse"`` images that cannot be read, or ``"skip"`` them.
        seed: of the draw of parts: 60 % train, 20 % validation, 20 % test.
        encoding: of an earlier reading: then sizes and classes are as before, all samples are test samples, and images
            may lie in the folder itself, without a class.
        progress: called now and then with how many files are done, and of how many.

    Raises:
        UserError: on a folder that is not laid out like this, one class only, a class without readable images or
            missing in a part, and whatever :func:`~longcut.sources.images.decode` refuses.
    """
    import pandas as pd

    root, where = Path(path), str(path)
    if not root.is_dir():
        raise UserError(f"{where}: there is no such folder; give a folder of class folders with images.")
    top, loose = _scan(root, where)
    if loose and (top or encoding is None):
        raise UserError(
            f"{where}: image '{loose[0]}' lies in no class folder; make one folder per class and move the images there."
        )
    if not top and not loose:
        raise UserError(f"{where}: the folder has no class folders; make one folder per class with its images.")
    parted = _parted(top, where)
    rows = _listing(root, top, parted, where) if top else pd.DataFrame({"path": loose})

    label = None
    names: tuple[str, ...] = tuple(encoding["classes"]) if encoding else ()
    if top:
        classes = cast("pd.Series", rows["class"])
        label, names = number(
            classes, what="the class folders", where=where, names=names or None, strangers=encoding is not None
        )
        if len(names) < 2:  # said here, before anything is decoded
            raise UserError(
                f"{where}: there is one class only, '{classes.iloc[0]}'; give one folder for each of at least two."
            )
    squeeze = None
    if encoding:
        size, squeeze = encoding["size"], encoding.get("squeeze")
    images = decode(rows["path"].tolist(), root, size=size, squeeze=squeeze, unreadable=unreadable, progress=progress)
    shape = list(images.x.shape[1:])
    if encoding and shape != list(encoding["shape"]):
        seen, known = (f"{width}×{height}" for _, height, width in (shape, encoding["shape"]))
        raise UserError(f"{where}: the images have {seen} pixels, but those before had {known}; resize them.")
    rows = rows.loc[images.kept].reset_index(drop=True)
    label = None if label is None else label[images.kept]

    if encoding:
        part = np.full(len(rows), TEST, np.int64)
    else:
        if lost := set(range(len(names))) - set(np.unique(cast(Any, label)).tolist()):
            raise UserError(f"{where}: class folder '{names[min(lost)]}' has no readable image; mend or remove it.")
        part = (
            parts_of(rows["split"], where=where)
            if parted
            else draw_parts(label, len(rows), seed, where=where, names=names)
        )
        check_labels(cast(Any, label), names, part, what="the class folders", where=where)
    source = Source(
        name=where,
        rows=rows,
        part=part,
        official=parted,
        label=None if label is None else "class",
        split="split" if parted else None,
        image="path",
        root=str(root),
        facts=images.facts,
        skipped=images.skipped,
        encoding=encoding
        or {
            "kind": "image",
            "size": size,
            "shape": shape,
            "classes": list(names),
            "attributes": [],
            "task": "classification",
            "label": "class",
            "attribute": None,
            "split": "split" if parted else None,
            "image": "path",
        },
    )
    return Columns(images.x, label, None, names, (), source)


def _listing(root: Path, top: Sequence[str], parted: bool, where: str) -> pd.DataFrame:
    """The images of all class folders: ``path``, ``class`` and, where the top folders are parts, ``split``."""
    import pandas as pd

    if not parted:
        found = [(image, name) for name in top for image in _below(root, name, where)]
        return pd.DataFrame(found, columns=["path", "class"])
    found = [
        (image, name, split)
        for split in top
        for name in _classes(root, split, where)
        for image in _below(root, f"{split}/{name}", where)
    ]
    return pd.DataFrame(found, columns=["path", "class", "split"])


def _parted(top: Sequence[str], where: str) -> bool:
    """Whether the top folders are parts."""
    parts = [SPLITS.get(name.lower()) for name in top]
    if TRAIN in parts and None in parts and len({*parts} - {None}) > 1:
        other = top[parts.index(None)]
        raise UserError(
            f"{where}: '{other}' lies beside folders for training and testing; move it away, or call it valid or test."
        )
    return bool(top) and None not in parts


def _classes(root: Path, split: str, where: str) -> list[str]:
    """The class folders of a part."""
    classes, loose = _scan(root / split, where)
    if loose:
        raise UserError(
            f"{where}: image '{split}/{loose[0]}' lies in no class folder; make one folder per class in '{split}'."
        )
    if not classes:
        raise UserError(f"{where}: folder '{split}' has no class folders; make one folder per class with its images.")
    return classes


def _below(root: Path, folder: str, where: str) -> list[str]:
    """The images of a class, at any depth, relative to ``root``."""
    found, rest = [], [folder]
    while rest:
        here = rest.pop()
        folders, images = _scan(root / here, where)
        found += [f"{here}/{name}" for name in images]
        rest += [f"{here}/{name}" for name in folders]
    if not found:
        raise UserError(f"{where}: class folder '{folder}' has no images; put some there or remove it.")
    return sorted(found)


def _scan(folder: Path, where: str) -> tuple[list[str], list[str]]:
    """The names of the folders and of the images in a folder, sorted, without the hidden."""
    folders, images = [], []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.name.encode(errors="ignore").decode() != entry.name:
                raise UserError(f"{where}: the file name {entry.name!a} is not UTF-8; rename it.")
            if not entry.is_dir():
                if entry.name.lower().endswith(SUFFIXES):
                    images.append(entry.name)
            elif entry.is_symlink():  # it may lead out, or in a circle
                raise UserError(f"{where}: folder '{entry.name}' is a symbolic link; put the folder itself there.")
            else:
                folders.append(entry.name)
    return sorted(folders), sorted(images)
