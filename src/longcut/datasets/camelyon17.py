"""Camelyon17: tumours in patches of lymph nodes, from hospitals that were not trained on."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from longcut.data import Splits
from longcut.datasets.subpopulation import (
    PARTS,
    Counts,
    Progress,
    Published,
    compare,
    find,
    ids,
    name_of,
    photos,
    read_csv,
)
from longcut.sources import TEST, TRAIN, VALID
from longcut.sources.parts import column

__all__ = ["COUNTS", "camelyon17"]

COUNTS = {"training": 302_436, "validation": 34_904, "test": 85_054}
ORIGIN = "WILDS (camelyon17_v1.0, linked in the README of p-lambda/wilds)"
HOSPITALS = 5
VALID_HOSPITAL, TEST_HOSPITAL = 1, 2


def camelyon17(
    *,
    counts: Counts = "published",
    folder: Annotated[str | None, Field(description="where metadata.csv and patches lie")] = None,
    progress: Progress | None = None,
) -> Splits:
    """Camelyon17, patches of tissue with a tumour or without, from five hospitals, as published with WILDS.

    Hospitals 0, 3 and 4 train, hospital 1 validates and hospital 2 tests, whatever the table says of their patches.
    The patches of the training hospitals that WILDS holds back for validation in distribution are left out. Source:
    Bandi et al. 2018; Koh et al. 2021, "WILDS: A Benchmark of in-the-Wild Distribution Shifts".

    Args:
        counts: ``"published"`` refuses parts of other sizes than those published, ``"any"`` takes them.
        folder: of the data; when None, the first of ``camelyon17_v1.0`` and ``camelyon17`` below ``$LONGCUT_DATA``,
            else ``~/.cache/longcut/data``.
        progress: told how many of how many images are decoded.

    Returns:
        uint8 images ``(n, 3, 96, 96)`` in the order of the table; the label is the tumour, the attribute the hospital.

    Raises:
        UserError: when a file or a column is missing, or the parts do not have the published sizes.

    Example::

        splits = camelyon17()
        len(splits.train)  # 302436
    """
    import pandas as pd

    name = name_of("camelyon17", counts=counts)
    place, file = find(name, folder, ["camelyon17_v1.0", "camelyon17"], ["metadata.csv"], ORIGIN)
    hospitals = tuple(f"hospital {number}" for number in range(HOSPITALS))
    about = Published(name, place, ORIGIN, ("normal", "tumor"), hospitals, attribute="hospital")
    rows = read_csv(place / file, ORIGIN, dtype={"patient": str})
    hospital = ids(rows, "center", {number: number for number in range(HOSPITALS)}, place / file)
    held = ids(rows, "split", {0: 0, 1: 1}, place / file) == 1
    part = np.select([hospital == VALID_HOSPITAL, hospital == TEST_HOSPITAL], [VALID, TEST], TRAIN)
    kept = ~(held & (part == TRAIN))
    label = ids(rows, "tumor", {0: 0, 1: 1}, place / file)
    patient, node, x, y = (
        column(rows, one, "column", str(place / file)).astype(str) for one in ("patient", "node", "x_coord", "y_coord")
    )
    whose = "patient_" + patient + "_node_" + node
    path = "patches/" + whose + "/patch_" + whose + "_x_" + x + "_y_" + y + ".png"
    files = pd.DataFrame({"path": np.asarray(path)[kept]})
    if counts == "published":
        compare(about, {word: int((part[kept] == which).sum()) for word, which in PARTS.items()}, COUNTS)
    return photos(about, files, place, label[kept], hospital[kept], part[kept], size=None, progress=progress)
