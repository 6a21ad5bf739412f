"""BAR: actions that their place gives away."""

from __future__ import annotations

import math
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

from pydantic import Field

from longcut.data import Splits
from longcut.datasets import data_folder, spec_of
from longcut.datasets.archives import BIAS_ENSEMBLE, Archive, compare, files, numbered, part_of
from longcut.errors import UserError
from longcut.sources import TEST, TRAIN, VALID, Progress

__all__ = ["bar"]

BAR = f"the repository alinlab/BAR, or {BIAS_ENSEMBLE}"
ACTIONS = ("climbing", "diving", "fishing", "pole vaulting", "racing", "throwing")


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
        found = {part: files(archive, f"{name}/*.*") for part, name in (("training", "train"), ("test", "test"))}
        if percent:
            raise UserError(
                f"bar: percent={percent} belongs to the layout of BiasEnsemble, but {place} has no train/align; leave "
                "percent out."
            )
        label = {part: [_action(archive, file) for file in files] for part, files in found.items()}
        seen = {f"{action} {part}": label[part].count(n) for part in label for n, action in enumerate(ACTIONS)}
        compare(archive, seen, "bar")
        train, test = (part_of(archive, n, found[p], label[p], None) for n, p in ((TRAIN, "training"), (TEST, "test")))
        return Splits(train, None, test)

    if percent is None:
        raise UserError(f"bar: {place} has the layout of BiasEnsemble; say which training set, percent=1pct or 5pct.")
    names = tuple(f"{what} {n}" for what in ("action", "place") for n in range(6))
    archive = Archive(name, place, BIAS_ENSEMBLE, names[:6], names[6:], "number", size, progress=progress)
    align, conflict = files(archive, "train/align/*/*.*"), files(archive, f"train/conflict/{percent}/*/*.*")
    found = {TRAIN: align + conflict, VALID: files(archive, "valid/*/*.*"), TEST: files(archive, "test/*/*.*")}
    own = {part: [label for _, label, _ in numbered(archive, found[part], (6, math.inf))] for part in found}
    bias = [(label + (row >= len(align))) % 6 for row, label in enumerate(own[TRAIN])]
    return Splits(*(part_of(archive, part, found[part], own[part], bias if part == TRAIN else None) for part in found))


def _action(archive: Archive, file: str) -> int:
    """The class of an image of the original BAR, from the word in its name."""
    word = PurePosixPath(file).stem.rpartition("_")[0].replace("_", " ").lower()
    if word not in ACTIONS:
        raise UserError(
            f"{archive.folder / file}: the name must be <action>_<number>, the action one of {', '.join(ACTIONS)}; "
            f"remove the file, or {archive.again}."
        )
    return ACTIONS.index(word)
