"""A folder of images: ``class/*.jpg`` or ``split/class/*.jpg``."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from longcut.errors import UserError
from longcut.sources import TEST, TRAIN, Columns, Source
from longcut.sources.images import decode
from longcut.sources.layout import lay_out
from longcut.sources.part_names import part_of
from longcut.sources.parts import check_labels, draw_parts, number, parts_of, refuse_parts

if TYPE_CHECKING:
    import pandas as pd

    from longcut.sources import Progress
    from longcut.sources.options import OptionalParts, Size, Unreadable

__all__ = ["read_folder"]


def read_folder(
    path: str | Path,
    *,
    size: Size = None,
    unreadable: Unreadable = "refuse",
    parts: OptionalParts = None,
    seed: int = 0,
    encoding: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Columns:
    """Images whose folder is their class, with parts given by the folders above, or drawn.

    Where all top folders are called train, valid, test or the like, in anybody's spelling, they are the parts, and
    their folders the classes; they may also be all that is in each class folder. Data without a test folder is judged
    on its validation folder. Images may lie deeper below their class folder. A file is an image by its suffix or by how
    it begins. What is none is named in ``source.skipped``, with the reason: hidden files, those of the system, such as
    thumbnails of a network disk, and all others.

    Args:
        path: the folder.
        size: in pixels, of the centre square after the short side was brought to this size; None takes images as they
            are, all of one size.
        unreadable: ``"refuse"`` images that cannot be read, or ``"skip"`` them.
        parts: per cent that train, validate and test, where no folders say it; None: ``60/20/20``.
        seed: of the draw of parts.
        encoding: of an earlier reading: then sizes and classes are as before, all samples are test samples, and images
            may lie in the folder itself, without a class: their label is -1.
        progress: called now and then with how many files are done, and of how many.

    Raises:
        UserError: on a folder that is not laid out like this, one class only, a class without readable images or
            missing in a part, and whatever :func:`~longcut.sources.images.decode` refuses.
    """
    import pandas as pd

    root, where = Path(path), str(path)
    if not root.is_dir():
        raise UserError(f"{where}: there is no such folder; give a folder of class folders with images.")
    names: tuple[str, ...] = tuple(encoding["classes"]) if encoding else ()
    found = lay_out(root, where, names if encoding else None)
    parted = found.parted
    rows = pd.DataFrame(found.rows, columns=["path", "class", "split"]).drop(columns=[] if parted else "split")
    labelled = len(rows)
    if found.loose:
        rows = pd.concat([rows, pd.DataFrame({"path": found.loose})], ignore_index=True)
        if labelled:
            count, lie = len(found.loose), "images lie" if len(found.loose) > 1 else "image lies"
            warnings.warn(f"{where}: {count:,} {lie} in no class folder, and so without a label.", stacklevel=2)
    if parted and not encoding:
        refuse_parts(parts, "its folders say", where=where)
        _check_parts(sorted({split for _, _, split in found.rows}), where)

    label = None
    if labelled:
        classes = cast("pd.Series", rows["class"][:labelled])
        label, names = number(
            classes, what="the class folders", where=where, names=names or None, strangers=encoding is not None
        )
        if len(names) < 2:  # said here, before anything is decoded
            raise UserError(
                f"{where}: there is one class only, '{classes.iloc[0]}'; give one folder for each of at least two, or "
                "the path of the folder that has them."
            )
        label = np.concatenate([label, np.full(len(found.loose), -1)])
    else:
        rows = rows[["path"]]
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
            parts_of(rows["split"], what="the folders", where=where)
            if parted
            else draw_parts(label, len(rows), seed, where=where, names=names, parts=parts)
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
        skipped=(*found.left_out, *images.skipped),
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


def _check_parts(names: Sequence[str], where: str) -> None:
    """Refuse parts that nothing can be learned from or judged by."""
    kinds = {part_of(name) for name in names}
    if TRAIN not in kinds:
        raise UserError(f"{where}: there is no folder for training, only {', '.join(names)}; call one of them train.")
    if kinds == {TRAIN}:
        raise UserError(
            f"{where}: there are training images only, in '{names[0]}'; add a folder test, or give the path of "
            f"'{names[0]}' itself, and parts are drawn."
        )
