"""CelebA: faces by the colour of their hair, which gender gives away."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from longcut.data import Splits
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
from longcut.sources import TEST, TRAIN, VALID

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["COUNTS", "celeba"]

COUNTS = {
    "training": (71_629, 66_874, 22_880, 1_387),
    "validation": (8_535, 8_276, 2_874, 182),
    "test": (9_767, 7_535, 2_480, 180),
}
"""Samples of (not blond, female), (not blond, male), (blond, female) and (blond, male)."""

COLUMNS = {"blond": "Blond_Hair", "attractive": "Attractive"}
ORIGIN = (
    "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html, WILDS (celebA_v1.0), or jessicali9530/celeba-dataset on Kaggle"
)


def celeba(
    *,
    size: Size = 64,
    counts: Counts = "published",
    target: Annotated[
        Literal["blond", "attractive"],
        Field(description="the label: the hair, as in most papers, or attractive, as in those on contrastive learning"),
    ] = "blond",
    folder: Annotated[str | None, Field(description="where list_attr_celeba.csv or .txt lies")] = None,
    progress: Progress | None = None,
) -> Splits:
    """CelebA, faces that are blond (or found attractive) or not, where gender gives it away, in any published layout.

    This reads ``list_attr_celeba`` and ``list_eval_partition`` as ``.csv`` (Kaggle, WILDS; parted by commas or blanks)
    or as ``.txt`` (the original, in the folder itself or in ``Anno`` and ``Eval``), and the aligned images in
    ``img_align_celeba``, in a folder of that name in it, or in ``Img``. Source: Liu et al. 2015, "Deep Learning Face
    Attributes in the Wild"; the groups are those of Sagawa et al. 2020.

    Args:
        size: of the middle square, 178 x 178 pixels, after resizing.
        counts: ``"published"`` refuses groups of other sizes than those published, ``"any"`` takes them; none are
            published for ``target="attractive"``.
        target: what the label says; numbers for the one say nothing of the other.
        folder: of the data; when None, the first of ``celeba``, ``celebA_v1.0`` and ``celebA`` below ``$LONGCUT_DATA``,
            else ``~/.cache/longcut/data``.
        progress: told how many of how many images are decoded.

    Returns:
        uint8 images ``(n, 3, size, size)`` in the order of the table; the label is blond (or attractive), the attribute
        male. Men who are not and women who are blond (attractive) are aligned.

    Raises:
        UserError: when a file or a column is missing, or the groups do not have the published sizes.

    Example::

        splits = celeba(size=224)
        splits.train.group.bincount()  # tensor([71629, 66874, 22880, 1387])
    """
    import pandas as pd

    name = name_of("celeba", size=size, counts=counts, target=target)
    usual = ["celeba", "celebA_v1.0", "celebA"]
    tables = ["list_attr_celeba.csv", "list_attr_celeba.txt", "Anno/list_attr_celeba.txt"]
    place, file = find(name, folder, usual, tables, ORIGIN)
    kind = Path(file).suffix
    parts = ["list_eval_partition" + kind, "Eval/list_eval_partition" + kind]
    _, partition = find(name, str(place), [], parts, ORIGIN)
    nested = ["img_align_celeba/img_align_celeba", "img_align_celeba", "Img/img_align_celeba"]
    _, images = find(name, str(place), [], nested, ORIGIN)

    about = Published(name, place, ORIGIN, (f"not {target}", target), ("female", "male"), (1, 0))
    rows, given = _table(place / file, skiprows=1), _table(place / partition, header=None, index_col=0)
    label, attribute = (ids(rows, one, {-1: 0, 1: 1}, place / file) for one in (COLUMNS[target], "Male"))
    given = given.set_axis(["partition"], axis=1).reindex(rows.index)
    part = ids(given, "partition", {0: TRAIN, 1: VALID, 2: TEST}, place / partition)
    if counts == "published" and target == "blond":
        compare(about, group_sizes(about, part, label, attribute), by_group(about, COUNTS))
    files = pd.DataFrame({"path": rows.index.astype(str)})
    return photos(about, files, place / images, label, attribute, part, size=size, progress=progress)


def _table(path: Path, **original: Any) -> pd.DataFrame:
    """A table by the names of its images; ``original`` says how to read one as it was first published."""
    if path.suffix == ".txt":
        return read_csv(path, ORIGIN, sep=r"\s+", **original)
    with path.open(encoding="utf-8") as file:
        separator = "," if "," in file.readline() else r"\s+"
    return read_csv(path, ORIGIN, sep=separator, index_col=0)
