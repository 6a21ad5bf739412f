"""Dogs and Cats: animals whose colour gives them away, except in a few training images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from longcut.data import Splits
from longcut.datasets import data_folder, spec_of
from longcut.datasets.archives import BIAS_ENSEMBLE, Archive, splits_by_name
from longcut.sources import Progress

__all__ = ["dogs_and_cats"]


def dogs_and_cats(
    *,
    percent: Annotated[
        Literal["1pct", "5pct"], Field(description="which of the published conflicting shares")
    ] = "1pct",
    size: Annotated[int, Field(ge=8, le=1024, description="side in pixels that images are brought to")] = 224,
    folder: Annotated[str | None, Field(description="the unpacked archive, which holds 1pct, 5pct and test")] = None,
    progress: Progress | None = None,
) -> Splits:
    """Dogs and Cats as published with BiasEnsemble: animals whose colour gives them away.

    The layout is ``<percent>/align/<class>/*``, ``<percent>/conflict/<class>/*``, ``<percent>/valid/*`` and
    ``test/<class>/*``; file names end in ``_<label>_<colour>``. Source: Lee et al. 2023, "Revisiting the Importance of
    Amplifying Bias for Debiasing", after Kim et al. 2019, "Learning Not to Learn".

    Args:
        percent: which training and validation set.
        size: the short side of images is brought to this, and the middle is cut out.
        folder: of the unpacked archive; ``$LONGCUT_DATA/dogs_and_cats`` when None, else
            ``~/.cache/longcut/data/dogs_and_cats``.
        progress: told how many of how many images of a part are decoded.

    Returns:
        uint8 images ``(n, 3, size, size)``; the attribute is the colour of the animal.

    Raises:
        UserError: when a folder has no images, or a file's name or content is not as described.

    Example::

        splits = dogs_and_cats(percent="5pct", folder="dogs_and_cats")
    """
    archive = Archive(
        name=spec_of("dogs-and-cats", {"percent": percent, "size": size}),
        folder=Path(folder) if folder else data_folder("dogs_and_cats"),
        origin=BIAS_ENSEMBLE,
        class_names=("animal 0", "animal 1"),
        attribute_names=("colour 0", "colour 1"),
        bias="colour",
        size=size,
        progress=progress,
    )
    return splits_by_name(archive, percent, valid=[f"{percent}/valid/*.*"], test=["test/*/*.*"], suffix=".*")
