"""Data sets as they were published: archives of image files whose names or folders say label and bias.

What they have in common comes first (:class:`Archive` and the functions on it), then one function per data set.
"""

from __future__ import annotations

import dataclasses
import math
import re
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field

from longcut.data import Dataset, Splits
from longcut.datasets import data_folder, spec_of
from longcut.errors import UserError
from longcut.sources import TEST, TRAIN, VALID, Source
from longcut.sources.folder import SUFFIXES
from longcut.sources.images import decode

__all__ = ["DFA", "Archive", "bar", "bffhq", "corrupted_cifar10_png", "dogs_and_cats", "splits_by_name"]

DFA = "the Google Drive folder linked in the README of kakaoenterprise/Learning-Debiased-Disentangled"
BIAS_ENSEMBLE = "the Google Drive folder linked in the README of kakaoenterprise/BiasEnsemble"
BAR = f"the repository alinlab/BAR, or {BIAS_ENSEMBLE}"

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

Progress = Callable[[int, int], None]


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
    counts: Mapping[str, int] | None = None,
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
        counts: how many images there should be; a warning tells of others.

    Raises:
        UserError: when a part has no images, or a file's name or content is not as described.
    """
    align = _files(archive, f"{percent}/align/*/*{suffix}")
    conflict = _files(archive, f"{percent}/conflict/*/*{suffix}", f"{percent}/conlict/*/*{suffix}")
    found = {TRAIN: align + conflict, VALID: _files(archive, *valid), TEST: _files(archive, *test)}
    limits = len(archive.class_names), len(archive.attribute_names)
    rows = {part: _numbered(archive, files, limits, whole) for part, files in found.items()}
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
    _compare(archive, seen, counts or {}, strays)
    return Splits(*(_part(archive, part, *zip(*rows[part], strict=True)) for part in rows))


def _files(archive: Archive, *patterns: str) -> list[str]:
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


def _numbered(
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


def _compare(archive: Archive, seen: Mapping[str, int], counts: Mapping[str, int], strays: int = 0) -> None:
    """Warns, in one sentence, where there are not as many images as were published."""
    odd = [f"{seen[what]:,} {what} images (published: {n:,})" for what, n in counts.items() if seen[what] != n]
    if strays:
        odd.append(f"{strays:,} images in align or conflict against the numbers in their names, which count")
    if odd:
        warnings.warn(
            f"{archive.name}: {archive.folder} has {', '.join(odd)}; numbers may not compare with those of papers, so "
            "check that the archive was unpacked whole.",
            stacklevel=4,
        )


def _part(
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
        facts=images.facts,
        encoding=encoding,
    )
    known = None if bias is None else torch.tensor(bias)
    data = Dataset.of(images.x, torch.tensor(label), known, name=archive.name, **info)
    return dataclasses.replace(data, source=source)


# --- the data sets ----------------------------------------------------------------------------------------------------

ACTIONS = ("climbing", "diving", "fishing", "pole vaulting", "racing", "throwing")

Percent = Annotated[
    Literal["0.5pct", "1pct", "2pct", "5pct"], Field(description="which of the published conflicting shares")
]


def corrupted_cifar10_png(
    *,
    percent: Percent = "0.5pct",
    folder: Annotated[str | None, Field(description="the unpacked archive, which holds 0.5pct, …, and test")] = None,
    progress: Progress | None = None,
) -> Splits:
    """Corrupted CIFAR-10 as published with DFA: a folder of PNG files.

    The layout is ``<percent>/align/<class>/*.png``, ``<percent>/conflict/<class>/*.png``,
    ``<percent>/valid/<class>/*.png`` and ``test/<class>/*.png``; file names end in ``_<label>_<corruption>.png``.
    Source: Lee et al. 2021, "Learning Debiased Representation via Disentangled Feature Augmentation".

    Args:
        percent: which training and validation set.
        folder: of the unpacked archive; ``$LONGCUT_DATA/cifar10c`` when None, else ``~/.cache/longcut/data/cifar10c``.
        progress: told how many of how many images of a part are decoded.

    Returns:
        uint8 images ``(n, 3, 32, 32)``; the attribute is the corruption.

    Raises:
        UserError: when a folder has no images, or a file's name or content is not as described.

    Example::

        splits = corrupted_cifar10_png(percent="1pct", folder="cifar10c")
    """
    from longcut.datasets.corrupted_cifar10 import CLASSES, LISTS  # whose imports lead here

    archive = Archive(
        name=spec_of("corrupted-cifar10-png", {"percent": percent}),
        folder=Path(folder) if folder else data_folder("cifar10c"),
        origin=DFA,
        class_names=CLASSES,
        attribute_names=LISTS["type0"],
        bias="corruption",
        size=32,
        fixed=True,
        progress=progress,
    )
    return splits_by_name(
        archive,
        percent,
        valid=[f"{percent}/valid/*/*.png", f"{percent}/valid/*.png"],
        test=["test/*/*.png"],
        counts=COUNTS.get(f"corrupted-cifar10-png/{percent}"),
    )


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
        counts=COUNTS.get(f"bffhq/{percent}"),
    )


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


def bar(
    *,
    percent: Annotated[
        Literal["1pct", "5pct"] | None, Field(description="which training set, in the layout of BiasEnsemble")
    ] = None,
    size: Annotated[int, Field(ge=8, le=1024, description="side in pixels that images are brought to")] = 224,
    folder: Annotated[str | None, Field(description="the unpacked archive, which holds train and test")] = None,
    progress: Progress | None = None,
) -> Splits:
    """BAR, actions that their place gives away, as its authors or as BiasEnsemble published it.

    The layout is recognised. The original one has ``train/`` and ``test/`` with files such as ``climbing_12.jpg``, no
    validation set and no bias labels; every test image is bias-conflicting. That of BiasEnsemble has
    ``train/align/<class>/*``, ``train/conflict/<percent>/<class>/*``, ``valid/<class>/*`` and ``test/<class>/*``, with
    the label in the second last field of file names. As in its released code, an aligned training image has the bias
    that goes with its label, and a conflicting one that of the next label, whatever its place; the biases of validation
    and test images are not known. Source: Nam et al. 2020, "Learning from Failure"; Lee et al. 2023, "Revisiting the
    Importance of Amplifying Bias for Debiasing".

    Args:
        percent: which training set; of the layout of BiasEnsemble only, which needs it.
        size: the short side of images is brought to this, and the middle is cut out.
        folder: of the unpacked archive; ``$LONGCUT_DATA/bar`` when None, else ``~/.cache/longcut/data/bar``.
        progress: told how many of how many images of a part are decoded.

    Returns:
        uint8 images ``(n, 3, size, size)``; without attribute, but for the training set in the layout of BiasEnsemble.

    Raises:
        UserError: when a folder has no images, a file's name or content is not as described, or ``percent`` does not
            go with the layout.

    Example::

        splits = bar(folder="bar")
    """
    chosen = {"percent": percent} if percent else {}
    place = Path(folder) if folder else data_folder("bar")
    name = spec_of("bar", {**chosen, "size": size})
    if not (place / "train/align").is_dir():
        archive = Archive(name, place, BAR, ACTIONS, size=size, progress=progress)
        found = {part: _files(archive, f"{name}/*.*") for part, name in (("training", "train"), ("test", "test"))}
        if percent:
            raise UserError(
                f"bar: percent={percent} belongs to the layout of BiasEnsemble, but {place} has no train/align; leave "
                "percent out."
            )
        label = {part: [_action(archive, file) for file in files] for part, files in found.items()}
        seen = {f"{action} {part}": label[part].count(n) for part in label for n, action in enumerate(ACTIONS)}
        _compare(archive, seen, COUNTS.get("bar", {}))
        train, test = (_part(archive, n, found[p], label[p], None) for n, p in ((TRAIN, "training"), (TEST, "test")))
        return Splits(train, None, test)

    if percent is None:
        raise UserError(f"bar: {place} has the layout of BiasEnsemble; say which training set, percent=1pct or 5pct.")
    numbered = tuple(f"{what} {n}" for what in ("action", "place") for n in range(6))
    archive = Archive(name, place, BIAS_ENSEMBLE, numbered[:6], numbered[6:], "number", size, progress=progress)
    align, conflict = _files(archive, "train/align/*/*.*"), _files(archive, f"train/conflict/{percent}/*/*.*")
    files = {TRAIN: align + conflict, VALID: _files(archive, "valid/*/*.*"), TEST: _files(archive, "test/*/*.*")}
    own = {part: [label for _, label, _ in _numbered(archive, files[part], (6, math.inf))] for part in files}
    bias = [(label + (row >= len(align))) % 6 for row, label in enumerate(own[TRAIN])]
    return Splits(*(_part(archive, part, files[part], own[part], bias if part == TRAIN else None) for part in files))


def _action(archive: Archive, file: str) -> int:
    """The class of an image of the original BAR, from the word in its name."""
    word = PurePosixPath(file).stem.rpartition("_")[0].replace("_", " ").lower()
    if word not in ACTIONS:
        raise UserError(
            f"{archive.folder / file}: the name must be <action>_<number>, the action one of {', '.join(ACTIONS)}; "
            f"remove the file, or {archive.again}."
        )
    return ACTIONS.index(word)
