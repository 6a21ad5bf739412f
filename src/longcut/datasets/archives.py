"""What data sets published as archives have in common: images whose names or folders say label and bias."""

from __future__ import annotations

import dataclasses
import math
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field

from longcut.data import Dataset, Splits
from longcut.errors import UserError
from longcut.sources import TEST, TRAIN, VALID, Progress, Source
from longcut.sources.images import decode
from longcut.sources.scan import SUFFIXES

__all__ = [
    "BIAS_ENSEMBLE",
    "COUNTS",
    "DFA",
    "Archive",
    "Percent",
    "compare",
    "files",
    "numbered",
    "part_of",
    "splits_by_name",
]

DFA = "the Google Drive folder linked in the README of kakaoenterprise/Learning-Debiased-Disentangled"
BIAS_ENSEMBLE = "the Google Drive folder linked in the README of kakaoenterprise/BiasEnsemble"

# Those of BAR were counted in its repository. The others are quoted from the supplement of DFA (Lee et al. 2021) and
# were not checked against the archives, hence a warning and no error; other sources confirm the sum for BFFHQ.
COUNTS: dict[str, dict[str, int]] = {
    "corrupted-cifar10-png/0.5pct": {"aligned training": 44_832, "conflicting training": 228, "test": 10_000},
    "corrupted-cifar10-png/1pct": {"aligned training": 44_527, "conflicting training": 442, "test": 10_000},
    "corrupted-cifar10-png/2pct": {"aligned training": 44_145, "conflicting training": 887, "test": 10_000},
    "corrupted-cifar10-png/5pct": {"aligned training": 42_820, "conflicting training": 2_242, "test": 10_000},
    "bffhq/0.5pct": {
        "aligned training": 19_104,
        "conflicting training": 96,
        "validation": 1_000,
        "conflicting test": 500,
    },
    "bar": {
        "climbing training": 326,
        "diving training": 520,
        "fishing training": 163,
        "pole vaulting training": 279,
        "racing training": 336,
        "throwing training": 317,
        "climbing test": 105,
        "diving test": 159,
        "fishing test": 42,
        "pole vaulting test": 131,
        "racing test": 132,
        "throwing test": 85,
    },
}

Percent = Annotated[
    Literal["0.5pct", "1pct", "2pct", "5pct"], Field(description="which of the published conflicting shares")
]


@dataclass(frozen=True)
class Archive:
    """An unpacked archive: where it lies, and what its images and the numbers in their names are.

    Attributes:
        name: of the data set, with its options.
        folder: where it is unpacked.
        origin: where it can be had, for those who have not.
        class_names, attribute_names: what labels and biases are called; no attribute names where biases are unknown.
        bias: what the bias is, in one word.
        size: side in pixels that images are brought to; None takes them as they are.
        fixed: whether all images must have this size already.
        progress: told how many of how many images of a part are decoded.
    """

    name: str
    folder: Path
    origin: str
    class_names: tuple[str, ...]
    attribute_names: tuple[str, ...] = ()
    bias: str = "bias"
    size: int | None = None
    fixed: bool = False
    progress: Progress | None = None

    @property
    def again(self) -> str:
        """What to do about a file that is not as it should be."""
        return f"unpack the archive again, which comes from {self.origin}"


def splits_by_name(
    archive: Archive,
    percent: str,
    *,
    valid: Sequence[str],
    test: Sequence[str],
    suffix: str = ".png",
    whole: bool = False,
    only_conflicting: bool = False,
    counts: str = "",
) -> Splits:
    """The parts of an archive whose file names end in ``_<label>_<bias>``.

    A label and the bias that goes with it have the same number. The training set is ``<percent>/align/<class>/*`` and
    then ``<percent>/conflict/<class>/*``, each in sorted order; one README spells the second folder ``conlict``.

    Args:
        archive: the archive.
        percent: folder of the training set.
        valid, test: patterns for the files of these parts; the first that any file matches counts.
        suffix: of the training files, as a pattern.
        whole: whether names are ``<id>_<label>_<bias>`` and nothing else.
        only_conflicting: whether bias-aligned test images are left out.
        counts: how many images there should be, by the key of :data:`COUNTS`; a warning tells of others.

    Raises:
        UserError: when a part has no images, or a file's name or content is not as described.
    """
    align = files(archive, f"{percent}/align/*/*{suffix}")
    conflict = files(archive, f"{percent}/conflict/*/*{suffix}", f"{percent}/conlict/*/*{suffix}")
    found = {TRAIN: align + conflict, VALID: files(archive, *valid), TEST: files(archive, *test)}
    limits = len(archive.class_names), len(archive.attribute_names)
    rows = {part: numbered(archive, files, limits, whole) for part, files in found.items()}
    against = [row for row in rows[TEST] if row[1] != row[2]]
    if only_conflicting:
        if not against:
            raise UserError(f"{archive.name}: no image of {archive.folder / test[0]} is conflicting; {archive.again}.")
        rows[TEST] = against
    agrees = [label == bias for _, label, bias in rows[TRAIN]]
    strays = agrees[: len(align)].count(False) + agrees[len(align) :].count(True)
    seen = {
        "aligned training": len(align),
        "conflicting training": len(conflict),
        "validation": len(rows[VALID]),
        "test": len(rows[TEST]),
        "conflicting test": len(against),
    }
    compare(archive, seen, counts, strays)
    return Splits(*(part_of(archive, part, *zip(*rows[part], strict=True)) for part in rows))


def files(archive: Archive, *patterns: str) -> list[str]:
    """Images below the folder of an archive, in sorted order: of the first pattern that any matches.

    Raises:
        UserError: when there are none.
    """
    for pattern in patterns:
        found = sorted(path.relative_to(archive.folder) for path in archive.folder.glob(pattern))
        shown = (path for path in found if not any(name.startswith(".") for name in path.parts))
        if images := [path.as_posix() for path in shown if path.suffix.lower() in SUFFIXES]:
            return images
    raise UserError(
        f"{archive.name}: there is no image {archive.folder / patterns[0]}; unpack the archive, which comes from "
        f"{archive.origin}, and name its folder with folder=…."
    )


def numbered(
    archive: Archive, files: Iterable[str], limits: tuple[float, float], whole: bool = False
) -> list[tuple[str, int, int]]:
    """Each file with the two numbers at the end of its name, which must be below their limits."""
    pattern = re.compile(rf"{'[^_]+' if whole else '.*'}_([0-9]+)_([0-9]+)")
    rows = []
    for file in files:
        match = pattern.fullmatch(PurePosixPath(file).stem)
        label, bias = (int(number) for number in match.groups()) if match else limits
        if not (label < limits[0] and bias < limits[1]):
            form = f"{'be <id>' if whole else 'end in '}_<label>_<{archive.bias}>{PurePosixPath(file).suffix}"
            ranges = f"the label from 0 to {limits[0] - 1}"
            if limits[1] < math.inf:
                ranges += f" and the {archive.bias} from 0 to {limits[1] - 1}"
            raise UserError(
                f"{archive.folder / file}: the name must {form}, {ranges}; remove the file, or {archive.again}."
            )
        rows.append((file, label, bias))
    return rows


def compare(archive: Archive, seen: Mapping[str, int], counts: str, strays: int = 0) -> None:
    """Warns, in one sentence, where there are not as many images as were published, by that key of :data:`COUNTS`."""
    published = COUNTS.get(counts, {})
    odd = [f"{seen[what]:,} {what} images (published: {n:,})" for what, n in published.items() if seen[what] != n]
    if strays:
        odd.append(f"{strays:,} images in align or conflict against the numbers in their names, which count")
    if odd:
        warnings.warn(
            f"{archive.name}: {archive.folder} has {', '.join(odd)}; numbers may not compare with those of papers, so "
            "check that the archive was unpacked whole.",
            stacklevel=4,
        )


def part_of(
    archive: Archive, part: int, files: Sequence[str], label: Sequence[int], bias: Sequence[int] | None
) -> Dataset:
    """One part, decoded once into the cache of images."""
    import pandas as pd

    size, names = archive.size, archive.attribute_names
    images = decode(files, archive.folder, size=size, unreadable="skip", progress=archive.progress)
    if images.skipped:
        (file, why), more = images.skipped[0], len(images.skipped) - 1
        others = f", nor can {more} more" if more else ""
        raise UserError(f"{archive.folder / file} cannot be read as an image ({why}){others}; {archive.again}.")
    for file, width, height in zip(files, images.facts["width"], images.facts["height"], strict=True):
        if archive.fixed and (width, height) != (size, size):
            raise UserError(
                f"{archive.folder / file} is {width} x {height} pixels, not {size} x {size}; remove the file, or "
                f"{archive.again}."
            )
    rows = pd.DataFrame({"path": files, "label": [archive.class_names[number] for number in label]})
    classes = len(archive.class_names)
    info: dict[str, Any] = {"n_classes": classes, "class_names": archive.class_names}
    if bias is not None:
        rows["attribute"] = [names[number] for number in bias]
        info |= {"n_attributes": len(names), "attribute_names": names, "aligned": tuple(range(classes))}
    encoding = {
        "kind": "image",
        "size": size,
        "shape": list(images.x.shape[1:]),
        "classes": list(archive.class_names),
        "attributes": list(names),
        "task": "classification",
        "label": "label",
        "attribute": "attribute" if names else None,
        "split": None,
        "image": "path",
    }
    source = Source(
        name=str(archive.folder),
        rows=rows,
        part=np.full(len(files), part, np.int64),
        official=True,
        label="label",
        attribute=None if bias is None else "attribute",
        image="path",
        root=str(archive.folder),
        facts=images.facts,
        encoding=encoding,
    )
    known = None if bias is None else torch.tensor(bias)
    data = Dataset.of(images.x, torch.tensor(label), known, name=archive.name, **info)
    return dataclasses.replace(data, source=source)
