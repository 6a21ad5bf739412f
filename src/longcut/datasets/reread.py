"""New data for a trained network, turned into numbers as the data was that it was trained on."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from longcut.data import Dataset, Splits
from longcut.datasets import DATASETS, FORMS, cut, load, parse, require_there, resolve
from longcut.errors import UserError
from longcut.files import to_json
from longcut.record import Inputs
from longcut.sources import Progress
from longcut.sources.addresses import is_address
from longcut.spec import options_of, read, validate
from longcut.stored import INPUTS, Run

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from longcut.sources import Columns

__all__ = ["inputs_of", "reread"]


def inputs_of(run: Run) -> Inputs:
    """What the network of a finished run takes; a run from before this was kept has to load its data for it.

    Raises:
        UserError: when the run is not finished.
    """
    plan = run.record.plan
    return run.inputs() or Inputs.of(load(plan.data, plan.data_seed).train)


def reread(
    run: Run, data: Path | str, *, attribute: bool = False, progress: Progress | None = None, **form: Any
) -> tuple[Dataset, Dataset | None, Tensor]:
    """New data for the network of a finished run, turned into numbers in the same way as its training data.

    Args:
        run: finished.
        data: a folder of images; a table with the columns the network was trained on; an ``.npz`` or ``.safetensors``
            file with samples of the same shape; a saved Hugging Face data set; or the spec of a registered data set,
            whose test set is taken and is made with the data seed of the run.
        attribute: whether to read it, where files have it.
        progress: told how many images of how many are decoded.
        **form: how to read the files, some of ``FORMS``; may also follow a path, as in ``photos:unreadable=skip``.

    Returns:
        The samples; the training set beside them, of a registered data set; and which samples have a label that the
        network knows ``(n,)``. The others have label 0.

    Raises:
        UserError: when the run is not finished, the data is not there, or it is unlike what the network was trained on.

    Warns when samples have labels that the network does not know, or images are skipped.
    """
    from longcut.datasets.embedded import embed, encoder_of, pictured

    inputs, train = inputs_of(run), None
    form = {key: value for key, value in form.items() if value is not None}
    place, options = cut(str(data))
    encoded, who = inputs.info.encoder, f"the run in {run.folder}"
    require_there(str(data))
    if str(data).partition(":")[0] in DATASETS:
        if form:
            raise UserError(f"{data} is a data set, not a file, so --{next(iter(form))} says nothing; leave it out.")
        spec = pictured(str(data), encoder_of(encoded, who)) if encoded else str(data)
        splits = load(spec, run.record.plan.data_seed, progress)
        if encoded and splits.info.kind != "table":
            splits = embed(splits, encoder_of(encoded, who), progress)
        samples, train = splits.test, splits.train
        if samples.source is not None and to_json(Inputs.of(samples).encoding) != to_json(inputs.encoding):
            raise UserError(
                f"{data} would be turned into numbers in a way of its own, unlike what the run in {run.folder} was "
                "trained on; give the path of its files alone."
            )
        labelled = torch.ones(len(samples), dtype=torch.bool)
    else:
        checked = _checked(place, options, form)
        with run.door.trusting(INPUTS):
            columns = _read(run, inputs, place if is_address(place) else str(Path(place)), attribute, progress, checked)
        known = _known(columns)
        _tell_strangers(columns, known)
        if skipped := columns.source.skipped:
            listed = ", ".join(f"{name} ({why})" for name, why in skipped)
            warnings.warn(f"{data}: left out because they cannot be read: {listed}.", stacklevel=2)
        label = None if columns.label is None else np.where(_beside(known, columns.label), columns.label, 0)
        columns = dataclasses.replace(columns, label=label if known.any() else None)
        samples, labelled = Dataset.from_columns(columns), torch.from_numpy(known)
        if encoded and samples.info.kind != "table":
            samples = embed(Splits(samples, None, samples), encoder_of(encoded, who), progress).test
        if samples.attribute is not None:  # what is usual was decided by the training set
            samples = dataclasses.replace(samples, info=dataclasses.replace(samples.info, aligned=inputs.info.aligned))
    own, new = inputs.info, samples.info
    for name, there, here, fits in (
        ("features of", own.encoder, new.encoder, own.encoder == new.encoder or not (own.encoder and new.encoder)),
        ("samples of shape", own.shape, new.shape, own.shape == new.shape),
        ("numbers of type", inputs.dtype, Inputs.of(samples).dtype, inputs.dtype == Inputs.of(samples).dtype),
        ("token ids below", own.vocabulary, new.vocabulary, own.vocabulary >= new.vocabulary),
        ("the task", own.task, new.task, own.task == new.task),
        ("classes", own.n_classes, new.n_classes, own.n_classes == new.n_classes or not labelled.any()),
    ):
        if not fits:
            raise UserError(f"the run in {run.folder} knows {name} {there}, but {data} has {here}; give similar data.")
    return samples, train, labelled


def _checked(place: str, options: str, form: Mapping[str, Any]) -> dict[str, Any]:
    """How to read a file, as it follows its path and as it is given, checked."""
    name = parse(resolve(place))[0]
    said = {**(read(f"{name}:{options}", "data set")[1] if options else {}), **form}
    if other := next((key for key in said if key not in FORMS), None):
        raise UserError(
            f"{other} of {place} is what it was when the network was trained; of new data, only {', '.join(FORMS)} can "
            f"be said: leave {other} out."
        )
    function = DATASETS[name].function
    taken = {option.name for option in options_of(function)}
    if other := next((key for key in said if key not in taken), None):
        raise UserError(f"--{other} does not go with {place}, which is read as '{name}'; leave it out.")
    return validate(name, function, said)


def _known(columns: Columns) -> NDArray[np.bool_]:
    """Which samples have a label that the network knows ``(n,)``."""
    if columns.label is None:
        return np.zeros(len(columns.x), bool)
    if columns.label.dtype.kind == "f":
        return np.asarray(np.isfinite(columns.label).reshape(len(columns.label), -1).all(1))
    return columns.label >= 0


def _beside(known: NDArray[np.bool_], label: NDArray[Any]) -> NDArray[np.bool_]:
    return known.reshape(-1, *[1] * (label.ndim - 1))


def _tell_strangers(columns: Columns, known: NDArray[np.bool_]) -> None:
    """Warn of labels that are no known class."""
    source = columns.source
    name = source.encoding.get("label") if source.image is None or source.root is None else source.label or "class"
    if name not in source.rows.columns:
        return
    others = [str(value) for value in source.rows.loc[~known, name].dropna()]
    found = sorted({*others} - {""})
    if found:
        shown = ", ".join(f"'{value}'" for value in found[:4]) + (" …" if len(found) > 4 else "")
        warnings.warn(
            f"{source.name}: the network does not know the label {shown} of {len(others)} of {len(known)} samples; "
            "they count as samples without a label.",
            stacklevel=3,
        )


def _read(
    run: Run, inputs: Inputs, path: str, attribute: bool, progress: Progress | None, form: Mapping[str, Any]
) -> Columns:
    """The columns of a file or folder, read as the run's own data was."""
    from longcut.datasets.embedded import encoder_of
    from longcut.sources.arrays import read_arrays
    from longcut.sources.folder import read_folder
    from longcut.sources.hub import read_hub
    from longcut.sources.shards import read_shards
    from longcut.sources.table import read_table

    encoding = dict(inputs.encoding or {})
    kind = encoding.get("kind")
    lies = parse(resolve(path))[0]
    shards = lies == "shards" and kind not in ("table", "tokens", "vectors")
    if lies == "folder" or shards:
        if inputs.info.kind != "image" and (not inputs.info.encoder or kind in ("table", "tokens", "vectors")):
            raise UserError(
                f"the run in {run.folder} was not trained on images, but {path} is a folder; give a file like the one "
                "it was trained on."
            )
        encoding = encoding if kind == "image" else _plain(inputs, "image")
    if lies == "folder":
        return read_folder(path, encoding=encoding, progress=progress, **form)
    if shards and inputs.info.encoder:  # which cannot look at the files again
        side = encoder_of(inputs.info.encoder, f"the run in {run.folder}").resize
        encoding |= {"size": side, "shape": [3, side, side]}
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
    if lies == "hub":
        return read_hub(path, **marks, encoding=encoding, progress=progress, **form)
    if lies == "shards":
        return read_shards(path, **marks, encoding=encoding, progress=progress, **form)
    named = {"charset" if key == "encoding" else key: value for key, value in form.items()}
    return read_table(path, **marks, encoding=encoding, progress=progress, **named)


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
