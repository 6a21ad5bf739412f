"""BFFHQ: faces whose gender gives the age away, except in a few training images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from longcut.data import Splits
from longcut.datasets import data_folder, spec_of
from longcut.datasets.archives import BIAS_ENSEMBLE, DFA, Archive, Percent, splits_by_name
from longcut.sources import Progress

__all__ = ["bffhq"]


def bffhq(
    *,
    percent: Percent = "0.5pct",
    test: Annotated[
        Literal["conflicting", "all"], Field(description="which test images; papers take the bias-conflicting")
    ] = "conflicting",
    size: Annotated[
        int | None, Field(ge=8, le=1024, description="side in pixels that images are brought to; papers take 224")
    ] = None,
    folder: Annotated[str | None, Field(description="the unpacked archive, which holds 0.5pct, valid and test")] = None,
    progress: Progress | None = None,
) -> Splits:
    """BFFHQ, faces by age where gender gives the age away, as published with DFA: a folder of PNG files.

    The layout is ``<percent>/align/<class>/*.png``, ``<percent>/conflict/<class>/*.png``, ``valid/*.png`` and
    ``test/*.png``; file names are ``<id>_<age>_<gender>.png``. The archive of DFA has 0.5pct, that of BiasEnsemble the
    others too. Source: Kim, Lee and Choo 2021, "BiaSwap"; Lee et al. 2021, "Learning Debiased Representation via
    Disentangled Feature Augmentation".

    Args:
        percent: which training set.
        test: ``"conflicting"``, as released: "unbiased accuracy" on BFFHQ means the accuracy on these 500 images; or
            ``"all"``.
        size: images are brought to this side; without it, they stay as they are, 128 x 128.
        folder: of the unpacked archive; ``$LONGCUT_DATA/bffhq`` when None, else ``~/.cache/longcut/data/bffhq``.
        progress: told how many of how many images of a part are decoded.

    Returns:
        uint8 images ``(n, 3, size, size)``; the label is the age, the attribute the gender.

    Raises:
        UserError: when a folder has no images, or a file's name or content is not as described.

    Example::

        splits = bffhq(folder="bffhq", size=224)
    """
    archive = Archive(
        name=spec_of("bffhq", {"percent": percent, "test": test, **({"size": size} if size else {})}),
        folder=Path(folder) if folder else data_folder("bffhq"),
        origin=DFA if percent == "0.5pct" else BIAS_ENSEMBLE,
        class_names=("age 0", "age 1"),
        attribute_names=("gender 0", "gender 1"),
        bias="gender",
        size=size,
        progress=progress,
    )
    return splits_by_name(
        archive,
        percent,
        valid=["valid/*.png"],
        test=["test/*.png"],
        whole=True,
        only_conflicting=test == "conflicting",
        counts=f"bffhq/{percent}",
    )
