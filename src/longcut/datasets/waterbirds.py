"""Waterbirds: birds whose background gives them away, except in a few training images."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from longcut.data import Splits
from longcut.datasets.subpopulation import (
    Counts,
    Progress,
    Published,
    Size,
    assemble,
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
from longcut.sources.parts import column

__all__ = ["COUNTS", "waterbirds"]

COUNTS = {"training": (3498, 184, 56, 1057), "validation": (467, 466, 133, 133), "test": (2255, 2255, 642, 642)}
"""Samples of (landbird, land), (landbird, water), (waterbird, land) and (waterbird, water)."""

OFFICIAL = "waterbird_complete95_forest2water2"
ORIGIN = f"https://nlp.stanford.edu/data/dro/{OFFICIAL}.tar.gz, WILDS, or grodino/waterbirds on the Hugging Face hub"

# the file that tells a layout, the folder of its images, and its columns with path, label and place
LAYOUTS = {
    "metadata.csv": (".", "img_filename", "y", "place"),
    f"{OFFICIAL}/metadata.csv": (OFFICIAL, "img_filename", "y", "place"),
    "metadata_waterbirds.csv": (OFFICIAL, "filename", "y", "a"),
}
SAVED = ("dataset_dict.json", "state.json")  # of a data set of the Hugging Face hub


def waterbirds(
    *,
    size: Size = 64,
    crop: Annotated[
        Literal["square", "paper"],
        Field(
            description="square: the middle square; paper: all of it squeezed into a square, less a sixteenth around"
        ),
    ] = "square",
    counts: Counts = "published",
    folder: Annotated[str | None, Field(description="where metadata.csv lies, or a saved hub data set")] = None,
    progress: Progress | None = None,
) -> Splits:
    """Waterbirds: birds of land or water whose background gives them away, from any of its published layouts.

    This reads the folder of the official archive, that of WILDS, that of SubpopBench (with the official folder in it,
    or its own table), and a data set of the Hugging Face hub that was saved with ``save_to_disk``. Source: Sagawa
    et al. 2020, "Distributionally Robust Neural Networks for Group Shifts".

    Args:
        size: side of the images.
        crop: ``"square"`` brings the short side to ``size`` and cuts out the middle; ``"paper"`` brings both sides to
            8/7 of ``size`` and cuts out the middle, such as 224 of 256 pixels.
        counts: ``"published"`` refuses groups of other sizes than those published, ``"any"`` takes them.
        folder: of the data; when None, the first of ``waterbird_complete95_forest2water2``, ``waterbirds_v1.0``,
            ``waterbirds`` and ``waterbirds_72px`` below ``$LONGCUT_DATA``, else ``~/.cache/longcut/data``.
        progress: told how many of how many images are decoded.

    Returns:
        uint8 images ``(n, 3, size, size)`` in the order of the table; the label is the kind of bird, the attribute the
        place.

    Raises:
        UserError: when a file or a column is missing, or the groups do not have the published sizes.

    Example::

        splits = waterbirds(size=224, crop="paper")
        splits.train.group.bincount()  # tensor([3498, 184, 56, 1057])
    """
    import pandas as pd

    name = name_of("waterbirds", size=size, crop=crop, counts=counts)
    usual = [OFFICIAL, "waterbirds_v1.0", "waterbirds", "waterbirds_72px"]
    place, file = find(name, folder, usual, [*LAYOUTS, *SAVED], ORIGIN)
    about = Published(name, place, ORIGIN, ("landbird", "waterbird"), ("land", "water"), (0, 1), "background")
    squeeze = round(size * 8 / 7) if crop == "paper" else None
    if file in SAVED:
        return _saved(about, size, squeeze, counts, progress)
    root, path, y, a = LAYOUTS[file]
    rows = read_csv(place / file, ORIGIN)
    label, attribute = (ids(rows, one, {0: 0, 1: 1}, place / file) for one in (y, a))
    part = ids(rows, "split", {0: TRAIN, 1: VALID, 2: TEST}, place / file)
    files = pd.DataFrame({"path": column(rows, path, "image", str(place / file))})
    if counts == "published":
        compare(about, group_sizes(about, part, label, attribute), by_group(about, COUNTS))
    return photos(about, files, place / root, label, attribute, part, size=size, squeeze=squeeze, progress=progress)


def _saved(about: Published, size: int, squeeze: int | None, counts: str, progress: Progress | None) -> Splits:
    """A data set of the hub, by the columns of grodino/waterbirds."""
    import pandas as pd

    from longcut.sources.hub import read_hub

    found = read_hub(str(about.folder), attribute="place", size=size, squeeze=squeeze, progress=progress)
    source = found.source
    if not source.official or source.image is None:
        raise UserError(
            f"{about.folder}: {about.name} needs images and the splits train, validation and test; save all of it."
        )
    bird = ids(source.rows, "label", {0: 0, 1: 1, "landbird": 0, "waterbird": 1}, about.folder)
    ground = ids(source.rows, "place", {0: 0, 1: 1, "land": 0, "water": 1}, about.folder)
    if counts == "published":
        compare(about, group_sizes(about, source.part, bird, ground), by_group(about, COUNTS))
    rows = pd.DataFrame({"path": source.rows[source.image]})
    encoding = {"kind": "image", "size": size, "shape": list(found.x.shape[1:]), "image": "path"}
    encoding |= {"squeeze": squeeze} if squeeze else {}
    known = {"image": "path", "root": source.root, "facts": source.facts}
    return assemble(about, found.x, rows, bird, ground, source.part, encoding=encoding, source=known)
