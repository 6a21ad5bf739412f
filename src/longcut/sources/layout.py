"""How a folder of images is laid out: which folders are classes, and which are parts."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Collection
from pathlib import Path
from typing import NamedTuple

from longcut.errors import UserError
from longcut.sources import TRAIN
from longcut.sources.part_names import PARTS, part_of
from longcut.sources.scan import Scan, scan

__all__ = ["Layout", "lay_out"]

FOLDS = re.compile(r"(?:k?folds?|cv|parts?|splits?|batch|chunk|shard|subset)[\W_]*\d+", re.IGNORECASE)
PICTURES = {"image", "images", "img", "imgs", "jpegimages"}
WRAPPERS = {  # folders of these names hold kinds of files, not classes
    *(*PICTURES, "mask", "masks", "label", "labels", "annotation", "annotations"),
}


class Layout(NamedTuple):
    """What lies in a folder of images.

    Attributes:
        rows: of each image its path below the folder, its class, and its part, empty where there are no parts.
        loose: images in the folder itself, of no class.
        parted: whether there are parts.
        left_out: paths of what is no sample, and why.
    """

    rows: list[tuple[str, str, str]]
    loose: list[str]
    parted: bool
    left_out: list[tuple[str, str]]


def lay_out(root: Path, where: str, known: Collection[str] | None = None) -> Layout:
    """The images of a folder, by class and part.

    Args:
        root: the folder.
        where: what it is called.
        known: classes of an earlier reading; then images may lie in the folder itself, beside class folders or without
            any, and folders called like these are classes.

    Raises:
        UserError: on a layout that is neither ``class/*.jpg`` nor ``part/class/*.jpg`` nor ``class/part/*.jpg``, and
            one that may mean several things.

    Warns where all class folders hold the same folders, for then they may be parts in words that are not known here.
    """
    left_out: list[tuple[str, str]] = []
    seen: dict[str, Scan] = {}

    def look(folder: str) -> Scan:
        if folder not in seen:
            seen[folder] = scan(root / folder, where)
            left_out.extend((f"{folder}/{name}".removeprefix("/"), why) for name, why in seen[folder].left_out)
        return seen[folder]

    top, loose, _ = look("")
    if loose and known is None:
        raise UserError(
            f"{where}: image '{loose[0]}' lies in no class folder; make one folder per class and move the images there."
        )
    if not top and not loose:
        raise UserError(f"{where}: the folder has no class folders; make one folder per class with its images.")
    parted = not set(top) <= set(known or ()) and _parted(top, look, where)
    if parted:
        inside = {split: _unwrapped(split, look) for split in top}
        found = [(part, name, f"{inside[part]}/{name}") for part in top for name in _classes(inside[part], look, where)]
    elif top and all(_only_parts(look(name)) for name in top):
        found = [(split, name, f"{name}/{split}") for name in top for split in look(name).folders]
        parted = True
    else:
        found = [("", name, name) for name in top]
        if known is None and len(same := _in_each(top, look)) > 1:
            warnings.warn(
                f"{where}: {_some(top)} all hold the same folders ({_some(same)}), and are taken as the classes; if "
                "they are parts of the data, call them train, valid and test.",
                stacklevel=3,
            )
    rows = [(image, name, split) for split, name, folder in found for image in _below(folder, look, where)]
    names = {name for _, name, _ in found}
    if names and known is None and {name.lower() for name in names} <= WRAPPERS:
        raise UserError(
            f"{where}: the class folders would be {', '.join(sorted(names))}, which are no classes; make one folder "
            "for each class, or give the path of the folder that has them."
        )
    return Layout(rows, loose, parted, left_out)


Look = Callable[[str], Scan]


def _parted(top: list[str], look: Look, where: str) -> bool:
    """Whether the top folders are parts. A class may be called like a part: then what lies in it decides."""
    parts = {name: _part(name) for name in top}
    kinds = {*parts.values()} - {None}
    exact = {name for name in top if parts[name] is not None and name.lower() in PARTS}
    holds = {name: _inside(name, look) for name in top}
    alike = bool(_in_each(top, look))
    both = TRAIN in kinds and len(kinds) > 1
    if None not in parts.values():
        return both or alike or len(exact) == len(top)
    both &= all(name in exact or holds[name] for name in top if parts[name] is not None)
    alone = [name for name in top if holds[name]]  # train with the classes in it, beside a folder of plain images
    alone = len(alone) == 1 and alone[0] in exact and len(holds[alone[0]]) > 1
    if both or alone or (kinds and alike and len(holds[top[0]]) > 1):
        other = next(name for name in top if parts[name] is None)
        raise UserError(
            f"{where}: '{other}' lies beside folders for training and testing; move it away, or call it valid or test."
        )
    if alike and all(map(FOLDS.fullmatch, top)):
        raise UserError(
            f"{where}: {', '.join(top)} hold the same folders, so they seem to be parts of the data, but which is for "
            "training is not said; call them train, valid and test, or give a table with a column for the part."
        )
    return False


def _inside(name: str, look: Look) -> set[str]:
    """What is in a folder that holds nothing but folders."""
    return set() if look(name).images else set(look(name).folders)


def _in_each(top: list[str], look: Look) -> set[str]:
    """What is in each of several folders, where it is the same folders in all."""
    holds = [_inside(name, look) for name in top]
    return holds[0] if len(top) > 1 and all(names == holds[0] for names in holds) else set()


def _some(names: Collection[str]) -> str:
    return ", ".join(sorted(names)[:3]) + (", …" if len(names) > 3 else "")


def _unwrapped(split: str, look: Look) -> str:
    """Where the class folders of a part are: archives hold ``seg_train/seg_train/cat`` or ``train/images/cat``."""
    names = _inside(split, look)
    inner = next((f"{split}/{name}" for name in names if name.lower() in {split.lower(), *PICTURES}), split)
    return inner if len(names) == 1 and _inside(inner, look) else split


def _only_parts(found: Scan) -> bool:
    """Whether a class folder has nothing but folders for parts, one of them for training."""
    parts = {_part(name) for name in found.folders}
    return not found.images and {TRAIN} < parts and None not in parts


def _part(name: str) -> int | None:
    return None if name.isdigit() else part_of(name)  # folders 0 and 1 are classes


def _classes(split: str, look: Look, where: str) -> list[str]:
    """The class folders of a part."""
    classes, loose, _ = look(split)
    if loose:
        raise UserError(
            f"{where}: image '{split}/{loose[0]}' lies in no class folder; make one folder per class in '{split}'."
        )
    if not classes:
        raise UserError(f"{where}: folder '{split}' has no class folders; make one folder per class with its images.")
    return classes


def _below(folder: str, look: Look, where: str) -> list[str]:
    """The images of a class, at any depth."""
    found, rest = [], [folder]
    while rest:
        here = rest.pop()
        folders, images, _ = look(here)
        found += [f"{here}/{name}" for name in images]
        rest += [f"{here}/{name}" for name in folders]
    if not found:
        raise UserError(f"{where}: class folder '{folder}' has no images; put some there or remove it.")
    return sorted(found)
