"""Somebody's own data as registered data sets: ``folder``, ``table``, ``arrays`` and ``hub``.

:func:`reread` reads new data for a trained network, with the encoding of the data it was trained on.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from longcut.data import Dataset, Splits
from longcut.datasets import DATASETS, load, parse, resolve
from longcut.errors import UserError, unknown
from longcut.files import to_json
from longcut.record import Inputs
from longcut.sources import Progress
from longcut.sources.options import (
    Attribute,
    AttributeBins,
    Config,
    Image,
    Label,
    Layer,
    OptionalLabel,
    Size,
    Split,
    Task,
    Text,
    Unreadable,
    Vectors,
)
from longcut.stored import INPUTS, Run

if TYPE_CHECKING:
    from longcut.sources import Columns

__all__ = ["arrays", "folder", "hub", "inputs_of", "reread", "table"]


def folder(
    *,
    path: Annotated[str | None, Field(description="folder with class/*.jpg or split/class/*.jpg")] = None,
    size: Size = None,
    unreadable: Unreadable = "refuse",
    seed: int = 0,
    progress: Progress | None = None,
) -> Splits:
    """A folder of photos: ``class/*.jpg`` or ``split/class/*.jpg``.

    Args:
        path: of the folder.
        size: images become squares of this side; without it, all must have one size.
        unreadable: refuse, or skip them.
        seed: of the parts, where there are no split folders.
        progress: told how many images of how many are decoded.

    Raises:
        UserError: as :func:`longcut.sources.folder.read_folder` says.

    Example::

        splits = folder(path="photos", size=64)
    """
    place = _required("folder", path)
    return Splits.of(Dataset.from_folder(place, size=size, unreadable=unreadable, seed=seed, progress=progress))


def table(
    *,
    path: Annotated[str | None, Field(description="CSV, TSV or Parquet file")] = None,
    label: OptionalLabel = None,
    attribute: Attribute = None,
    attribute_bins: AttributeBins = None,
    split: Split = None,
    image: Image = None,
    text: Text = None,
    size: Size = None,
    unreadable: Unreadable = "refuse",
    task: Task = "auto",
    vectors: Vectors = None,
    layer: Layer = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Splits:
    """A CSV, TSV or Parquet table: feature columns, paths of images, or text.

    Args:
        path: of the table.
        label, attribute, split, image, text: columns; without ``image``, ``text`` and ``vectors`` the others are the
            input.
        attribute_bins: how many ranges a numeric attribute is cut into.
        size, unreadable: of images, as for a folder.
        task: classes or numbers; ``auto`` takes many distinct numbers for a regression.
        vectors: column with vectors, such as embeddings, or a ``.npy`` file of them.
        layer: which of them, where each row has several.
        seed: of the parts, where there is no split column.
        progress: told how many images of how many are decoded.

    Raises:
        UserError: as :func:`longcut.sources.table.read_table` says.

    Example::

        splits = table(path="metadata.csv", image="img_filename", label="y", attribute="place", size=72)
    """
    place = _required("table", path)
    if label is None:
        raise UserError(f"{place} is a table, and which column is the label was not said; give --label COLUMN.")
    return Splits.of(
        Dataset.from_table(
            place,
            label=label,
            attribute=attribute,
            attribute_bins=attribute_bins,
            split=split,
            image=image,
            text=text,
            size=size,
            unreadable=unreadable,
            task=task,
            vectors=vectors,
            layer=layer,
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
    layer: Layer = None,
    seed: int = 0,
) -> Splits:
    """Arrays in an ``.npz`` or ``.safetensors`` file, such as embeddings of a frozen model.

    Args:
        path: of the file.
        label, attribute, split: names of arrays.
        attribute_bins: how many ranges a numeric attribute is cut into.
        layer: which vectors, where there are several of each sample.
        seed: of the parts, where there is no split array.

    Raises:
        UserError: as :func:`longcut.sources.arrays.read_arrays` says.

    Example::

        splits = arrays(path="embeddings.npz", attribute="hospital")
    """
    place = _required("arrays", path)
    how = {"attribute": attribute, "attribute_bins": attribute_bins, "split": split, "layer": layer, "seed": seed}
    return Splits.of(Dataset.from_arrays(place, label=label, **how))


def hub(
    *,
    path: Annotated[str | None, Field(description="name on the Hugging Face hub, or folder of a saved one")] = None,
    config: Config = None,
    label: Label = "label",
    attribute: Attribute = None,
    attribute_bins: AttributeBins = None,
    split: Split = None,
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
        seed: of the parts, where it has no splits.
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
            image=image,
            text=text,
            size=size,
            unreadable=unreadable,
            seed=seed,
            progress=progress,
        )
    )


def _required(name: str, path: str | None) -> str:
    if path is None:
        raise UserError(f"data set '{name}' was not told which; write {name}:path=….")
    return path


# --- new data for a trained network -----------------------------------------------------------------------------------


def inputs_of(run: Run) -> Inputs:
    """What the network of a finished run takes; a run from before this was kept has to load its data for it.

    Raises:
        UserError: when the run is not finished.
    """
    plan = run.record.plan
    return run.inputs() or Inputs.of(load(plan.data, plan.data_seed).train)


def reread(
    run: Run, data: Path | str, *, attribute: bool = False, progress: Progress | None = None
) -> tuple[Dataset, Dataset | None, bool]:
    """New data for the network of a finished run, turned into numbers in the same way as its training data.

    Args:
        run: finished.
        data: a folder of images; a table with the columns the network was trained on; an ``.npz`` or ``.safetensors``
            file with samples of the same shape; a saved Hugging Face data set; or the spec of a registered data set,
            whose test set is taken and is made with the data seed of the run.
        attribute: whether to read it, where files have it.
        progress: told how many images of how many are decoded.

    Returns:
        The samples; the training set beside them, of a registered data set; and whether the samples have labels.

    Raises:
        UserError: when the run is not finished, the data is not there, or it is unlike what the network was trained on.
    """
    from longcut.datasets.embedded import embed, encoder_of, pictured

    inputs, train, labelled = inputs_of(run), None, True
    encoded, who = inputs.info.encoder, f"the run in {run.folder}"
    if str(data).partition(":")[0] in DATASETS:
        splits = load(pictured(str(data)) if encoded else str(data), run.record.plan.data_seed, progress)
        if encoded and splits.info.kind != "table":
            splits = embed(splits, encoder_of(encoded, who), progress)
        samples, train = splits.test, splits.train
        if samples.source is not None and to_json(samples.source.encoding) != to_json(inputs.encoding):
            raise UserError(
                f"{data} would be turned into numbers in a way of its own, unlike what the run in {run.folder} was "
                "trained on; give the path of its files alone."
            )
    elif Path(data).exists():
        with run.door.trusting(INPUTS):
            columns = _read(run, inputs, Path(data), attribute, progress)
        samples, labelled = Dataset.from_columns(columns), columns.label is not None
        if encoded and samples.info.kind != "table":
            samples = embed(Splits(samples, None, samples), encoder_of(encoded, who), progress).test
        if samples.attribute is not None:  # what is usual was decided by the training set
            samples = dataclasses.replace(samples, info=dataclasses.replace(samples.info, aligned=inputs.info.aligned))
    else:
        raise unknown("file, folder or data set", str(data), DATASETS)
    own, new = inputs.info, samples.info
    for name, there, here, fits in (
        ("features of", own.encoder, new.encoder, own.encoder == new.encoder or not (own.encoder and new.encoder)),
        ("samples of shape", own.shape, new.shape, own.shape == new.shape),
        ("numbers of type", inputs.dtype, Inputs.of(samples).dtype, inputs.dtype == Inputs.of(samples).dtype),
        ("token ids below", own.vocabulary, new.vocabulary, own.vocabulary >= new.vocabulary),
        ("the task", own.task, new.task, own.task == new.task),
        ("classes", own.n_classes, new.n_classes, own.n_classes == new.n_classes or not labelled),
    ):
        if not fits:
            raise UserError(f"the run in {run.folder} knows {name} {there}, but {data} has {here}; give similar data.")
    return samples, train, labelled


def _read(run: Run, inputs: Inputs, path: Path, attribute: bool, progress: Progress | None) -> Columns:
    """The columns of a file or folder, read as the run's own data was."""
    from longcut.sources.arrays import read_arrays
    from longcut.sources.folder import read_folder
    from longcut.sources.hub import read_hub
    from longcut.sources.table import read_table

    encoding = dict(inputs.encoding or {})
    kind = encoding.get("kind")
    lies = parse(resolve(str(path)))[0]
    if lies == "folder":
        if inputs.info.kind != "image" and (not inputs.info.encoder or kind in ("table", "tokens", "vectors")):
            raise UserError(
                f"the run in {run.folder} was not trained on images, but {path} is a folder; give a file like the one "
                "it was trained on."
            )
        return read_folder(path, encoding=encoding if kind == "image" else _plain(inputs, "image"), progress=progress)
    if lies == "arrays":
        encoding = encoding if kind == "arrays" else _plain(inputs, "arrays")
    elif kind in (None, "arrays"):
        raise UserError(
            f"the run in {run.folder} was not trained on a table, so it cannot tell what the columns of {path} mean; "
            f"give an .npz file with samples x of shape {inputs.info.shape}."
        )
    marks = {"label": encoding["label"], "attribute": encoding["attribute"] if attribute else None}
    if lies == "arrays":
        return read_arrays(path, **marks, encoding=encoding)
    read = read_hub if lies == "hub" else read_table
    return read(str(path), **marks, encoding=encoding, progress=progress)


def _plain(inputs: Inputs, kind: str) -> dict[str, Any]:
    """The encoding of samples that are taken as they are; of images that become features, small."""
    from longcut.datasets.embedded import PICTURES

    info = inputs.info
    small = kind == "image" and info.encoder != ""
    return {
        "kind": kind,
        "size": PICTURES if small else None,
        "shape": [3, PICTURES, PICTURES] if small else list(info.shape),
        "dtype": inputs.dtype,
        "token_ids": info.vocabulary,
        "classes": list(info.class_names) if info.task == "classification" else [],
        "attributes": list(info.attribute_names),
        "task": info.task,
        "label": "label",
        "attribute": None,
        "split": None,
        "image": "path",
    }
