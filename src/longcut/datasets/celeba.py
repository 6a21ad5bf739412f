"""CelebA: faces by one of their 40 attributes, which another one gives away: the hair, and gender."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import torch
from pydantic import Field

from longcut.data import Dataset, Splits, usual_attribute
from longcut.datasets.subpopulation import (
    Counts,
    Progress,
    Published,
    Size,
    by_group,
    compare,
    find,
    group_sizes,
    ids,
    name_of,
    photos,
    read_csv,
)
from longcut.errors import UserError
from longcut.sources import TEST, TRAIN, VALID
from longcut.spec import OneOf

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["COUNTS", "celeba"]

COUNTS = {
    "training": (71_629, 66_874, 22_880, 1_387),
    "validation": (8_535, 8_276, 2_874, 182),
    "test": (9_767, 7_535, 2_480, 180),
}
"""Samples of (not blond, female), (not blond, male), (blond, female) and (blond, male)."""

COLUMNS = (
    "5_o_Clock_Shadow Arched_Eyebrows Attractive Bags_Under_Eyes Bald Bangs Big_Lips Big_Nose Black_Hair Blond_Hair "
    "Blurry Brown_Hair Bushy_Eyebrows Chubby Double_Chin Eyeglasses Goatee Gray_Hair Heavy_Makeup High_Cheekbones Male "
    "Mouth_Slightly_Open Mustache Narrow_Eyes No_Beard Oval_Face Pale_Skin Pointy_Nose Receding_Hairline Rosy_Cheeks "
    "Sideburns Smiling Straight_Hair Wavy_Hair Wearing_Earrings Wearing_Hat Wearing_Lipstick Wearing_Necklace "
    "Wearing_Necktie Young"
)
ATTRIBUTES = {"blond" if name == "Blond_Hair" else name.lower().replace("_", "-"): name for name in COLUMNS.split()}
"""The column of each attribute, by the name of the option: ``"blond"``, ``"male"``, ``"wearing-hat"``, …"""

ORIGIN = (
    "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html, WILDS (celebA_v1.0), or jessicali9530/celeba-dataset on Kaggle"
)


def celeba(
    *,
    size: Size = 64,
    counts: Counts = "published",
    target: Annotated[
        str,
        Field(description="the label, one of the 40 attributes: the hair, as in most papers, or another"),
        OneOf(ATTRIBUTES),
    ] = "blond",
    attribute: Annotated[str, Field(description="the shortcut, another of the 40"), OneOf(ATTRIBUTES)] = "male",
    folder: Annotated[str | None, Field(description="where list_attr_celeba.csv or .txt lies")] = None,
    progress: Progress | None = None,
) -> Splits:
    """CelebA, faces that are blond or not, where gender gives it away, or any two of its 40 attributes, in any layout.

    This reads ``list_attr_celeba`` and ``list_eval_partition`` as ``.csv`` (Kaggle, WILDS; parted by commas or blanks)
    or as ``.txt`` (the original, in the folder itself or in ``Anno`` and ``Eval``), and the aligned images in
    ``img_align_celeba``, in a folder of that name in it, or in ``Img``. Source: Liu et al. 2015, "Deep Learning Face
    Attributes in the Wild"; the groups are those of Sagawa et al. 2020.

    Args:
        size: of the middle square, 178 x 178 pixels, after resizing.
        counts: ``"published"`` refuses groups of other sizes than those published, ``"any"`` takes them; they are
            published for blond and male alone.
        target: what the label says, such as ``"attractive"`` in papers on contrastive learning; numbers for one say
            nothing of another.
        attribute: what goes with it.
        folder: of the data; when None, the first of ``celeba``, ``celebA_v1.0`` and ``celebA`` below ``$LONGCUT_DATA``,
            else ``~/.cache/longcut/data``.
        progress: told how many of how many images are decoded.

    Returns:
        uint8 images ``(n, 3, size, size)`` in the order of the table. Men who are not and women who are blond, or
        attractive, are aligned; of other pairs, what is seen together in the training part more often than by chance.

    Raises:
        UserError: when target and attribute are one, a file or a column is missing, or the groups do not have the
            published sizes.

    Example::

        splits = celeba(size=224)
        splits.train.group.bincount()  # tensor([71629, 66874, 22880, 1387])
    """
    import pandas as pd

    name = name_of("celeba", size=size, counts=counts, target=target, attribute=attribute)
    if target == attribute:
        raise UserError(f"{name}: the label and the attribute are both '{target}'; give two of the 40.")
    usual = ["celeba", "celebA_v1.0", "celebA"]
    tables = ["list_attr_celeba.csv", "list_attr_celeba.txt", "Anno/list_attr_celeba.txt"]
    place, file = find(name, folder, usual, tables, ORIGIN)
    kind = Path(file).suffix
    parts = ["list_eval_partition" + kind, "Eval/list_eval_partition" + kind]
    _, partition = find(name, str(place), [], parts, ORIGIN)
    nested = ["img_align_celeba/img_align_celeba", "img_align_celeba", "Img/img_align_celeba"]
    _, images = find(name, str(place), [], nested, ORIGIN)

    rows, given = _table(place / file, skiprows=1), _table(place / partition, header=None, index_col=0)
    label, other = (ids(rows, ATTRIBUTES[one], {-1: 0, 1: 1}, place / file) for one in (target, attribute))
    given = given.set_axis(["partition"], axis=1).reindex(rows.index)
    part = ids(given, "partition", {0: TRAIN, 1: VALID, 2: TEST}, place / partition)
    names = ("female", "male") if attribute == "male" else (f"not {attribute}", attribute)
    if attribute == "male" and target in ("blond", "attractive"):
        aligned = (1, 0)  # as published
    else:
        known = Dataset.of(torch.zeros(len(part), 1), label, other, n_classes=2, n_attributes=2)
        aligned = usual_attribute(known.take(torch.from_numpy(part == TRAIN)))
    about = Published(
        name, place, ORIGIN, (f"not {target}", target), names, aligned, "sex" if attribute == "male" else attribute
    )
    if counts == "published" and (target, attribute) == ("blond", "male"):
        compare(about, group_sizes(about, part, label, other), by_group(about, COUNTS))
    files = pd.DataFrame({"path": rows.index.astype(str)})
    return photos(about, files, place / images, label, other, part, size=size, progress=progress)


def _table(path: Path, **original: Any) -> pd.DataFrame:
    """A table by the names of its images; ``original`` says how to read one as it was first published."""
    if path.suffix == ".txt":
        return read_csv(path, ORIGIN, sep=r"\s+", **original)
    with path.open(encoding="utf-8") as file:
        separator = "," if "," in file.readline() else r"\s+"
    return read_csv(path, ORIGIN, sep=separator, index_col=0)
