"""Files to columns: what a folder of images, a table, arrays or a hub data set hold, before it is a data set.

A reader returns :class:`Columns`; ``Dataset.from_folder`` and its siblings make a data set of them. What was read, and
how it was turned into numbers, stays beside the numbers as a :class:`Source`: the audit looks at it, a run keeps its
``encoding``, and new samples are turned into numbers the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

__all__ = ["TEST", "TRAIN", "VALID", "Columns", "Progress", "Source"]

TRAIN, VALID, TEST = 0, 1, 2

Progress = Callable[[int, int], None]  # is told how many of how many images are done


@dataclass(frozen=True)
class Source:
    """Where stored samples come from; all columns have one entry per stored sample, in the order of storage.

    Attributes:
        name: file or folder as given.
        rows: what was read, one row per stored sample, index 0…n−1. A table's columns as they were; for a folder
            ``path`` (below the folder), ``class`` and, if there is one, ``split``.
        part: 0 train, 1 validation, 2 test ``(n,)``.
        official: whether the parts are the data's own, or were drawn.
        label, attribute, split: columns of ``rows``; None where there is none.
        image: column of ``rows`` with the path of each image, for images.
        text: columns of ``rows`` that make the text, for text.
        features: columns of ``rows`` that make the input, for tables.
        facts: for images, of each file: ``width, height, bytes``, ``quality`` (JPEG, estimated; NaN for others).
        encoding: how rows become numbers, as plain containers that JSON can hold; empty where nobody else can repeat
            it, as of a registered data set that has a way of its own.
        skipped: files that were left out, because they cannot be read or are no samples, and why.
        notes: what was taken for something else than it says.
        dropped: columns that were left out by asking.
        root: folder that the paths of images are relative to; None where the images are not those files as they are.
    """

    name: str
    rows: pd.DataFrame
    part: NDArray[np.int64]
    official: bool
    label: str | None
    attribute: str | None = None
    split: str | None = None
    image: str | None = None
    text: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    facts: pd.DataFrame | None = None
    encoding: Mapping[str, Any] = field(default_factory=dict)
    skipped: tuple[tuple[str, str], ...] = ()
    root: str | None = None
    notes: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()


@dataclass(frozen=True)
class Columns:
    """What a reader found, as numbers.

    Attributes:
        x: one row per sample, perhaps memory-mapped: uint8 ``(n, 3, H, W)``, float32 ``(n, d)`` or int64 token ids
            ``(n, length)``, 0 being padding.
        label: class ids ``(n,)`` int64, float32 targets ``(n,)``, or None where new samples came without; of new
            samples -1 or NaN where there is none, or one of no known class.
        attribute: ids ``(n,)`` int64, -1 where it is not known; or None.
        class_names, attribute_names: what the ids mean; no class names for regression.
        source: where it came from.
        vocabulary: number of token ids, for text.
        encoder: of :class:`longcut.data.Info`, for features that say which net made them.
    """

    x: NDArray[Any]
    label: NDArray[Any] | None
    attribute: NDArray[np.int64] | None
    class_names: tuple[str, ...]
    attribute_names: tuple[str, ...]
    source: Source
    vocabulary: int = 0
    encoder: str = ""
