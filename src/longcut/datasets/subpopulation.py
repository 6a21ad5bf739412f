"""What data sets with published groups have in common: where their files lie, and how many samples each group has.

The group of a sample is ``label * n_attributes + attribute``, as everywhere. The sizes of the groups are compared with
those that were published, since papers weigh accuracies by them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import numpy as np
from pydantic import Field

from longcut.data import Dataset, Splits
from longcut.datasets import data_folder, spec_of
from longcut.errors import UserError
from longcut.sources import TEST, TRAIN, VALID, Source
from longcut.sources import text as tokens
from longcut.sources.images import decode
from longcut.sources.parts import column

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

__all__ = [
    "PARTS",
    "Counts",
    "Published",
    "assemble",
    "compare",
    "find",
    "group_sizes",
    "ids",
    "name_of",
    "photos",
    "read_csv",
    "texts",
]

PARTS = {"training": TRAIN, "validation": VALID, "test": TEST}

Progress = Callable[[int, int], None]

Counts = Annotated[
    Literal["published", "any"], Field(description="published: refuse groups of other sizes than those published")
]
Size = Annotated[int, Field(ge=8, le=1024, description="side in pixels that images are brought to; papers take 224")]
Tokenizer = Annotated[
    str | None, Field(description="of a Hugging Face model, by name or folder; without one, words are counted here")
]
Length = Annotated[int, Field(ge=2, le=4096, description="tokens of a text; what comes after is cut off")]


@dataclass(frozen=True)
class Published:
    """A data set that others published: where it lies, and what its numbers mean.

    Attributes:
        name: with its options.
        folder: where its files lie.
        origin: where they can be had.
        class_names, attribute_names: what labels and attributes are called.
        aligned: for each label, the attribute value that goes with it; empty where none does.
        attribute: what the attribute is.
    """

    name: str
    folder: Path
    origin: str
    class_names: tuple[str, ...]
    attribute_names: tuple[str, ...]
    aligned: tuple[int, ...] = ()
    attribute: str = "attribute"


def name_of(name: str, **options: Any) -> str:
    """The spec of a data set with some of its options; those that are None are left out."""
    return spec_of(name, {key: value for key, value in options.items() if value is not None})


# --- files ------------------------------------------------------------------------------------------------------------


def find(name: str, folder: str | None, usual: Sequence[str], files: Sequence[str], origin: str) -> tuple[Path, str]:
    """The folder of a data set, and the one of ``files`` that shows its layout.

    Args:
        name: of the data set.
        folder: as given; where None, the ``usual`` names below ``$LONGCUT_DATA`` are tried.
        usual: names of the folder, the official one first.
        files: one for each layout, relative to the folder.
        origin: where the data can be had.

    Raises:
        UserError: when none of them is there.
    """
    places = [Path(folder)] if folder else [data_folder(one) for one in usual]
    for place, file in product(places, files):
        if (place / file).exists():
            return place, file
    raise UserError(
        f"{name}: there is no {files[0]} in {places[0]}; it comes from {origin}: unpack it there, or name its folder "
        "with folder=… or LONGCUT_DATA."
    )


def read_csv(path: Path, origin: str, **how: Any) -> pd.DataFrame:
    """The rows of a file.

    Args:
        path: of the file.
        origin: where it can be had.
        **how: of ``pandas.read_csv``.

    Raises:
        UserError: when it is not there or cannot be read.
    """
    import pandas as pd

    try:
        return cast("pd.DataFrame", pd.read_csv(path, **how))
    except (ValueError, OSError) as error:
        why = "there is no such file" if isinstance(error, FileNotFoundError) else " ".join(str(error).split())
        raise UserError(f"{path} cannot be read ({why}); it comes from {origin}: unpack it again.") from error


def ids(rows: pd.DataFrame, name: str, known: Mapping[Any, int], where: Path | str) -> NDArray[np.int64]:
    """A column as ids ``(n,)``.

    Args:
        rows: of the file.
        name: of the column.
        known: the id of each value.
        where: the file, for messages.

    Raises:
        UserError: when there is no such column, or it holds another value.

    >>> import pandas as pd
    >>> ids(pd.DataFrame({"split": ["val", "train"]}), "split", {"train": 0, "val": 1}, "metadata.csv").tolist()
    [1, 0]
    """
    values = column(rows, name, "column", str(where))
    found = values.map(dict(known))
    if (absent := found.isna().to_numpy()).any():
        row = int(absent.argmax())
        allowed = " or ".join(map(str, known))
        raise UserError(
            f"{where}: column '{name}' holds '{values.iloc[row]}' in row {row + 1}, and must hold {allowed}; "
            "get the file again."
        )
    return found.to_numpy(np.int64, copy=True)


# --- counts -----------------------------------------------------------------------------------------------------------


def group_sizes(
    about: Published, part: NDArray[np.int64], label: NDArray[np.int64], attribute: NDArray[np.int64]
) -> dict[str, int]:
    """The number of samples of each group in each part, by their names."""
    cells = len(about.class_names) * len(about.attribute_names)
    group = label * len(about.attribute_names) + attribute
    return by_group(about, {word: np.bincount(group[part == i], minlength=cells).tolist() for word, i in PARTS.items()})


def by_group(about: Published, sizes: Mapping[str, Sequence[int]]) -> dict[str, int]:
    """Sizes of the groups in each part, in their order, by the names of part and group."""
    groups = list(product(about.class_names, about.attribute_names))
    return {
        f"{part} ({label}, {attribute})": n
        for part, found in sizes.items()
        for (label, attribute), n in zip(groups, found, strict=True)
    }


def compare(about: Published, seen: Mapping[str, int], published: Mapping[str, int]) -> None:
    """Refuses numbers of samples that are not the published ones.

    Args:
        about: the data set.
        seen: how many samples there are, by what they are called.
        published: how many there should be.

    Raises:
        UserError: where they differ.
    """
    odd = [f"{seen[what]:,} {what} samples (published: {n:,})" for what, n in published.items() if seen[what] != n]
    if odd:
        more = f" and {len(odd) - 3} more such differences" if len(odd) > 3 else ""
        raise UserError(
            f"{about.name}: {about.folder} has {', '.join(odd[:3])}{more}; get the files again from {about.origin}, or "
            "give counts=any if they are meant to differ."
        )


# --- data sets --------------------------------------------------------------------------------------------------------


def photos(
    about: Published,
    rows: pd.DataFrame,
    root: Path,
    label: NDArray[np.int64],
    attribute: NDArray[np.int64],
    part: NDArray[np.int64],
    *,
    size: int | None,
    squeeze: int | None = None,
    progress: Progress | None = None,
) -> Splits:
    """Images and what is known of them as parts that share their storage; decoded once, into the cache of images.

    Args:
        about: the data set.
        rows: one for each image, its ``path`` below ``root`` among the columns.
        root: the folder of the images.
        label, attribute, part: of each image ``(n,)``.
        size: the short side of images is brought to this, and the middle is cut out; None takes them as they are.
        squeeze: of :func:`longcut.sources.images.decode`.
        progress: told how many of how many images are decoded.

    Raises:
        UserError: when an image is missing or cannot be read.
    """
    files = rows["path"].tolist()
    try:
        images = decode(files, root, size=size, squeeze=squeeze, unreadable="skip", progress=progress)
    except UserError:
        if missing := next((file for file in files if not (root / file).is_file()), None):
            raise UserError(
                f"{about.name}: there is no image {root / missing}; it comes from {about.origin}: unpack it again."
            ) from None
        raise
    if images.skipped:
        (file, why), more = images.skipped[0], len(images.skipped) - 1
        others = f", nor can {more} more" if more else ""
        raise UserError(
            f"{root / file} cannot be read as an image ({why}){others}; it comes from {about.origin}: unpack it again."
        )
    encoding = {"kind": "image", "size": size, "shape": list(images.x.shape[1:]), "image": "path"}
    encoding |= {"squeeze": squeeze} if squeeze else {}
    known = {"image": "path", "root": str(root), "facts": images.facts}
    return assemble(about, images.x, rows, label, attribute, part, encoding=encoding, source=known)


def texts(
    about: Published,
    rows: pd.DataFrame,
    columns: Sequence[str],
    label: NDArray[np.int64],
    attribute: NDArray[np.int64],
    part: NDArray[np.int64],
    *,
    length: int,
    tokenizer: str | None = None,
    memberships: NDArray[np.bool_] | None = None,
    membership_names: tuple[str, ...] = (),
) -> Splits:
    """Texts and what is known of them as parts that share their storage, in token ids.

    Args:
        about: the data set.
        rows: one for each sample.
        columns: the column of ``rows`` with the text, or the two with a pair of texts.
        label, attribute, part: of each sample ``(n,)``.
        length: tokens of a sample at most.
        tokenizer: of a Hugging Face model; without, the vocabulary is the commonest words of the training part.
        memberships: which overlapping attributes each sample has ``(n, m)``, for evaluation.
        membership_names: what these are called.
    """
    cells = [rows[name].astype(object).where(rows[name].notna(), "").map(str).tolist() for name in columns]
    if tokenizer:
        how: dict[str, Any] = {"tokenizer": tokenizer, "length": length}
    else:
        known = [[text for text, of in zip(cell, part, strict=True) if of == TRAIN] for cell in cells]
        how = tokens.fit(known, length, rule=1)  # as for the results that were published for these texts
    x, vocabulary = tokens.apply(how, cells)
    return assemble(
        about,
        x,
        rows,
        label,
        attribute,
        part,
        encoding={"kind": "tokens", "text": list(columns), "pairs": len(columns) == 2, **how},
        source={"text": tuple(columns)},
        kind="tokens",
        vocabulary=vocabulary,
        memberships=memberships,
        membership_names=membership_names,
    )


def assemble(
    about: Published,
    x: NDArray[Any],
    rows: pd.DataFrame,
    label: NDArray[np.int64],
    attribute: NDArray[np.int64],
    part: NDArray[np.int64],
    *,
    encoding: Mapping[str, Any],
    source: Mapping[str, Any],
    **known: Any,
) -> Splits:
    """Numbers and what is known of them as parts that share their storage.

    Args:
        about: the data set.
        x: storage, one row for each sample.
        rows: what was read, one row for each sample.
        label, attribute, part: of each sample ``(n,)``.
        encoding: how rows become numbers, beside names and roles.
        source: further fields of :class:`longcut.sources.Source`.
        **known: of :meth:`longcut.data.Dataset.of`.
    """
    classes, attributes = about.class_names, about.attribute_names
    data = Dataset.of(
        x,
        label,
        attribute,
        name=about.name,
        n_classes=len(classes),
        class_names=classes,
        n_attributes=len(attributes),
        attribute_names=attributes,
        aligned=about.aligned,
        **known,
    )
    named = {"label": np.array(classes, object)[label], about.attribute: np.array(attributes, object)[attribute]}
    where = Source(
        name=str(about.folder),
        rows=rows.assign(**named),
        part=part,
        official=True,
        label="label",
        attribute=about.attribute,
        encoding={
            **encoding,
            "classes": list(classes),
            "attributes": list(attributes),
            "task": "classification",
            "label": "label",
            "attribute": about.attribute,
            "split": None,
        },
        **source,
    )
    return Splits.of(dataclasses.replace(data, source=where))
