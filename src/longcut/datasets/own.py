"""Somebody's own data as registered data sets: ``folder``, ``table``, ``arrays``, ``hub`` and ``shards``."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from longcut.data import Dataset, Splits
from longcut.datasets import require_label
from longcut.errors import UserError
from longcut.sources import Progress
from longcut.sources.options import (
    Attribute,
    AttributeBins,
    Categorical,
    Charset,
    Config,
    Drop,
    Image,
    Inputs,
    Keep,
    Label,
    Layer,
    Names,
    Numeric,
    OptionalLabel,
    OptionalParts,
    Separator,
    Size,
    Skip,
    Split,
    Task,
    Text,
    Unreadable,
    Vectors,
)
from longcut.sources.rows import Chosen

__all__ = ["arrays", "folder", "hub", "shards", "table"]


def folder(
    *,
    path: Annotated[str | None, Field(description="folder with class/*.jpg or split/class/*.jpg")] = None,
    size: Size = None,
    unreadable: Unreadable = "refuse",
    parts: OptionalParts = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Splits:
    """A folder of photos: ``class/*.jpg`` or ``split/class/*.jpg``.

    Args:
        path: of the folder.
        size: images become squares of this side; without it, all must have one size.
        unreadable: refuse, or skip them.
        parts, seed: of the parts that are drawn, where there are no split folders; parts are 60/20/20 without.
        progress: told how many images of how many are decoded.

    Raises:
        UserError: as :func:`longcut.sources.folder.read_folder` says.

    Example::

        splits = folder(path="photos", size=64)
    """
    place = _required("folder", path)
    how = {"size": size, "unreadable": unreadable, "parts": parts}
    return Splits.of(Dataset.from_folder(place, **how, seed=seed, progress=progress))


def table(
    *,
    path: Annotated[str | None, Field(description="CSV, TSV, JSON, Parquet or Excel file")] = None,
    label: OptionalLabel = None,
    attribute: Attribute = None,
    attribute_bins: AttributeBins = None,
    split: Split = None,
    parts: OptionalParts = None,
    image: Image = None,
    text: Text = None,
    size: Size = None,
    unreadable: Unreadable = "refuse",
    task: Task = "auto",
    vectors: Vectors = None,
    layer: Layer = None,
    columns: Inputs = None,
    drop: Drop = None,
    categorical: Categorical = None,
    numeric: Numeric = None,
    keep: Keep = None,
    separator: Separator = None,
    encoding: Charset = None,
    names: Names = None,
    skip: Skip = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Splits:
    """A CSV, TSV, JSON, Parquet or Excel table: feature columns, paths of images, or text.

    Args:
        path: of the table.
        label, attribute, split, image, text: columns; without ``image``, ``text`` and ``vectors`` the others are the
            input.
        attribute_bins: how many ranges a numeric attribute is cut into.
        size, unreadable: of images, as for a folder.
        task: classes or numbers; ``auto`` takes many distinct numbers for a regression.
        vectors: column with vectors, such as embeddings, or a ``.npy`` file of them.
        layer: which of them, where each row has several.
        columns: that are the input.
        drop: columns that are left out.
        categorical, numeric: columns of names, and of numbers.
        keep: texts that are values, such as ``NA``.
        separator, encoding, names, skip: the form of a text file.
        parts, seed: of the parts that are drawn, where there is no split column; parts are 60/20/20 without.
        progress: told how many images of how many are decoded.

    Raises:
        UserError: as :func:`longcut.sources.table.read_table` says.

    Example::

        splits = table(path="metadata.csv", image="img_filename", label="y", attribute="place", size=72)
    """
    place = _required("table", path)
    label = require_label(place, label)
    return Splits.of(
        Dataset.from_table(
            place,
            label=label,
            attribute=attribute,
            attribute_bins=attribute_bins,
            split=split,
            parts=parts,
            image=image,
            text=text,
            size=size,
            unreadable=unreadable,
            task=task,
            vectors=vectors,
            layer=layer,
            columns=columns,
            drop=drop,
            categorical=categorical,
            numeric=numeric,
            keep=keep,
            separator=separator,
            charset=encoding,
            names=names,
            skip=skip or 0,
            seed=seed,
            progress=progress,
        )
    )


def arrays(
    *,
    path: Annotated[str | None, Field(description=".npz or .safetensors file")] = None,
    label: Label = "label",
    attribute: Attribute = None,
    attribute_bins: AttributeBins = None,
    split: Split = None,
    parts: OptionalParts = None,
    layer: Layer = None,
    seed: int = 0,
) -> Splits:
    """Arrays in an ``.npz`` or ``.safetensors`` file, such as embeddings of a frozen model.

    Args:
        path: of the file.
        label, attribute, split: names of arrays.
        attribute_bins: how many ranges a numeric attribute is cut into.
        layer: which vectors, where there are several of each sample.
        parts, seed: of the parts that are drawn, where there is no split array; parts are 60/20/20 without.

    Raises:
        UserError: as :func:`longcut.sources.arrays.read_arrays` says.

    Example::

        splits = arrays(path="embeddings.npz", attribute="hospital")
    """
    place = _required("arrays", path)
    how = {"attribute": attribute, "attribute_bins": attribute_bins, "split": split, "parts": parts, "layer": layer}
    return Splits.of(Dataset.from_arrays(place, label=label, **how, seed=seed))


def hub(
    *,
    path: Annotated[str | None, Field(description="name on the Hugging Face hub, or folder of a saved one")] = None,
    config: Config = None,
    label: Label = "label",
    attribute: Attribute = None,
    attribute_bins: AttributeBins = None,
    split: Split = None,
    parts: OptionalParts = None,
    image: Image = None,
    text: Text = None,
    size: Size = None,
    unreadable: Unreadable = "refuse",
    seed: int = 0,
    progress: Progress | None = None,
) -> Splits:
    """A Hugging Face data set, by its name on the hub or its folder here (extra ``hub``).

    Args:
        path: name or folder.
        config: its configuration, where it has several.
        label, attribute, split, image, text: columns.
        attribute_bins: how many ranges a numeric attribute is cut into.
        size, unreadable: of images, as for a folder.
        parts, seed: of the parts that are drawn, where it has no splits; parts are 60/20/20 without.
        progress: told how many images of how many are decoded.

    Raises:
        UserError: as :func:`longcut.sources.hub.read_hub` says.

    Example::

        splits = hub(path="grodino/waterbirds", image="image", attribute="place", size=72)
    """
    place = _required("hub", path)
    return Splits.of(
        Dataset.from_hub(
            place,
            config=config,
            label=label,
            attribute=attribute,
            attribute_bins=attribute_bins,
            split=split,
            parts=parts,
            image=image,
            text=text,
            size=size,
            unreadable=unreadable,
            seed=seed,
            progress=progress,
        )
    )


def shards(
    *,
    path: Annotated[
        str | None, Field(description="folder, pattern or address of .tar, .parquet or .arrow files, or hf:NAME")
    ] = None,
    label: OptionalLabel = None,
    attribute: Attribute = None,
    attribute_bins: AttributeBins = None,
    split: Split = None,
    parts: OptionalParts = None,
    image: Image = None,
    text: Text = None,
    size: Size = None,
    unreadable: Unreadable = "refuse",
    task: Task = "auto",
    config: Config = None,
    columns: Inputs = None,
    drop: Drop = None,
    categorical: Categorical = None,
    numeric: Numeric = None,
    keep: Keep = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Splits:
    """Many files, here or at an address: WebDataset tars, Parquet or Arrow parts, or a Hugging Face stream.

    Args:
        path: of the shards.
        label: field or column; by default ``cls`` or ``label``.
        attribute, split, text: fields or columns.
        image: extension of a member, or column.
        attribute_bins: how many ranges a numeric attribute is cut into.
        size, unreadable: of images, as for a folder.
        task, columns, drop, categorical, numeric, keep: as for a table.
        config: which variant of a Hugging Face data set.
        parts, seed: of the parts that are drawn, where neither names of shards nor ``split`` say them.
        progress: told how many shards of how many are decoded.

    Raises:
        UserError: as :func:`longcut.sources.shards.read_shards` says.

    Example::

        splits = shards(path="s3://bucket/train-{000..099}.tar", label="cls", attribute="place", size=64)
    """
    place = _required("shards", path)
    return Splits.of(
        Dataset.from_shards(
            place,
            label=label,
            attribute=attribute,
            attribute_bins=attribute_bins,
            split=split,
            parts=parts,
            image=image,
            text=text,
            size=size,
            unreadable=unreadable,
            task=task,
            config=config,
            chosen=Chosen(columns, drop, categorical, numeric, keep),
            seed=seed,
            progress=progress,
        )
    )


def _required(name: str, path: str | None) -> str:
    if path is None:
        raise UserError(f"data set '{name}' was not told which; write {name}:path=….")
    return path
