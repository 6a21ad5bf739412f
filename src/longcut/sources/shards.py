"""Data in many files, here or at an address: tar files, Parquet and Arrow files, and Hugging Face streams.

Images are decoded once, into a cache (:mod:`longcut.sources.shard_cache`). Samples stand in the order of the shards'
names, and within one in its own order, so a sample's index does not depend on how shards are listed or by how many
threads they are decoded. Tables and texts are passed through, for they are in memory anyway.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from longcut.errors import UserError, unknown
from longcut.sources import Columns, columnar
from longcut.sources.addresses import TARS, Place, is_address, places, reaching
from longcut.sources.images import FACTS, Images
from longcut.sources.part_names import part_of
from longcut.sources.rows import Chosen
from longcut.sources.shard_cache import LeftOut, Shard, decoded, noted, refusal
from longcut.sources.table import ANY, read_rows
from longcut.sources.tars import Sample, samples

if TYPE_CHECKING:
    import pandas as pd

    from longcut.sources import Progress
    from longcut.sources.options import (
        Attribute,
        AttributeBins,
        Config,
        Image,
        OptionalLabel,
        OptionalParts,
        Size,
        Split,
        Task,
        Text,
        Unreadable,
    )

__all__ = ["read_shards"]

LABELS = ("cls", "label")  # what is taken for the label where none is named
PATH = "path"


def read_shards(
    path: str,
    *,
    label: OptionalLabel = None,
    attribute: Attribute = None,
    attribute_bins: AttributeBins = None,
    split: Split = None,
    parts: OptionalParts = None,
    image: Image = None,
    text: Text = None,
    config: Config = None,
    size: Size = None,
    unreadable: Unreadable = "refuse",
    task: Task = "auto",
    chosen: Chosen = ANY,
    seed: int = 0,
    encoding: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Columns:
    """The samples of shards.

    Args:
        path: of :func:`longcut.sources.addresses.places`; or ``hf:`` and the name of a Hugging Face data set, or its
            folder, which is streamed.
        label: field or column with the label; None takes ``cls`` or ``label``.
        attribute, attribute_bins, parts, text, size, task, seed, encoding: of :func:`longcut.sources.table.read_table`.
        split: field that says train, valid or test. Without one, the names of the shards say it, where they say more
            than one part (``train-000.tar``, ``val-000.tar``), else parts are drawn.
        image: extension of the members of a tar file, or column, with the images. Without images and without
            ``text``, columns are features.
        config: which variant of a Hugging Face data set.
        unreadable: what to do about samples that are none: without an image, one that cannot be read, without a label,
            of a key that came before; and about shards that break off. ``"refuse"`` them all, or ``"skip"`` them.
        chosen: what was said about the columns of a table.
        progress: told how many shards of how many are decoded.

    Raises:
        UserError: when there is no such shard, an address cannot be reached, a package is missing, samples are refused,
            their images differ in size and ``size`` is None, or the labels cannot be learned from.

    Example::

        columns = read_shards("train-{000..099}.tar", size=64)
        columns = read_shards("s3://bucket/photos/*.parquet", image="photo", label="species", size=64)
    """
    import pandas as pd

    if unreadable not in ("refuse", "skip"):
        raise unknown("way with unreadable images", unreadable, ("refuse", "skip"))
    known = encoding or {}
    if encoding:
        image, size = known.get("member"), known.get("size")
    pictured = known["kind"] == "image" if encoding else text is None
    opened = _open(path, image, config, pictured)
    shards, pictured = opened.shards, opened.pictured
    how: dict[str, Any] = {
        "where": path,
        "attribute": attribute,
        "attribute_bins": attribute_bins,
        "parts": parts,
        "text": text,
        "size": size,
        "unreadable": unreadable,
        "task": task,
        "seed": seed,
        "encoding": encoding,
        "progress": progress,
    }
    if opened.table is not None:
        marked = {"label": _label(label, opened.table, path, encoding), "split": split}
        return read_rows(opened.table, **how, **marked, root=Path(opened.root), image=image, chosen=chosen)
    wanted = [] if encoding else [label] if label else [*LABELS]
    if pictured:
        said = next((name for name, value in vars(chosen).items() if value is not None), None)
        if said is not None:
            raise UserError(f"{path}: {said} is about the columns of a table, and these are images; leave it out.")
        x, notes = decoded(shards, opened.image, wanted, size, known.get("squeeze"), progress, path)
    else:
        x, notes = None, [noted(shard, wanted) for shard in shards]
    frame = _frame(notes)
    troubles = tuple((name, why) for note in notes for name, why in note["troubles"])
    if not len(frame) or (troubles and unreadable == "refuse"):
        raise refusal(troubles, len(frame), path)
    if split is None and encoding is None and (named := _parts(shards, path)):
        split = "split" if "split" not in frame.columns else "split of the shards"
        frame[split] = np.repeat(named, [len(note["names"]) for note in notes])
    marked = {"label": _label(label, frame, path, encoding), "split": split}
    skipped = (*((name, why) for note in notes for name, why in note["left_out"]), *troubles)
    if x is None:
        found = read_rows(frame, **how, **marked, root=Path(), image=None, chosen=chosen)
        return dataclasses.replace(found, source=dataclasses.replace(found.source, skipped=skipped))
    names = tuple(name for note in notes for name in note["names"])
    facts = pd.DataFrame([fact for note in notes for fact in note["facts"]], columns=list(FACTS))
    facts = facts.astype(dict.fromkeys(FACTS[:3], np.int64))
    shown = known.get("image") or (PATH if PATH not in frame.columns else f"{PATH} of the sample")
    frame[shown] = names
    images = Images(x, np.ones(len(x), bool), names, facts, skipped)
    found = read_rows(frame, **how, **marked, root=Path(), image=shown, images=images)
    source = dataclasses.replace(found.source, root=None)
    if encoding is None:
        source.encoding["member"] = image  # type: ignore[index]
    return dataclasses.replace(found, source=source)


def _label(given: str | None, frame: pd.DataFrame, where: str, encoding: Mapping[str, Any] | None) -> str:
    """The field with the label: as it is named, or as such fields are called."""
    if given is not None and (encoding is None or given in frame.columns):
        return given
    found = next((name for name in LABELS if name in frame.columns), None)
    if found is None and encoding is None:
        fields = ", ".join(map(str, frame.columns)) or "nothing"
        raise UserError(f"{where}: which field is the label was not said; give --label, one of {fields}.")
    return found or given or LABELS[0]


def _parts(shards: Sequence[Shard], where: str) -> list[str] | None:
    """The part of each shard by its name, or the folders above it; None where they say no more than one."""
    found = [_part(shard.name) for shard in shards]
    kinds = {*found} - {None}
    if len(kinds) < 2:
        return None
    if None in found:
        raise UserError(
            f"{where}: shard '{shards[found.index(None)].name}' lies beside shards for training and testing; move it "
            "away, or call it train, valid or test."
        )
    return [("train", "valid", "test")[cast(int, part)] for part in found]


def _part(name: str) -> int | None:
    stems = (piece.split(".")[0] for piece in reversed(name.split("/")))
    return next((part for stem in stems if not stem.isdigit() and (part := part_of(stem)) is not None), None)


# --- shards -----------------------------------------------------------------------------------------------------------


class Opened(NamedTuple):
    """What lies at a place: shards of samples, or a table; and which member or column is the image."""

    shards: list[Shard]
    image: str | None
    pictured: bool
    table: pd.DataFrame | None = None
    root: str = ""


def _open(path: str, image: str | None, config: str | None, pictured: bool) -> Opened:
    if path.startswith("hf:") and not path.startswith("hf://"):
        image, streams = columnar.streams(path.removeprefix("hf:"), config, image)
        return Opened([Shard(*stream) for stream in streams], image, pictured and image is not None)
    if config is not None:
        raise UserError(f"{path}: config says which variant of a Hugging Face data set is meant; leave it out.")
    found = places(path)
    tars = [place.name.lower().endswith(TARS) for place in found]
    if all(tars):
        shards = [Shard(place.name, place.stamp, partial(_tar, place, image, pictured, path)) for place in found]
        return Opened(shards, image, pictured)
    if any(tars):
        other = found[tars.index(False)].name
        raise UserError(f"{path}: tar files and others, such as '{other}', lie together; give the path of either.")
    column = columnar.image_column(found[0], image, path) if pictured else None
    if column is None:
        if image is not None and is_address(path):
            raise UserError(f"{path}: column '{image}' holds no files, and paths are read from folders here alone.")
        return Opened([], None, False, columnar.frame(found, path), found[0].root)
    shards = [Shard(place.name, place.stamp, partial(_rows, place, column, path)) for place in found]
    return Opened(shards, column, pictured)


def _tar(place: Place, image: str | None, pictured: bool, where: str, left_out: LeftOut) -> Iterator[Sample]:
    with reaching(where), place.open() as file:
        yield from samples(file, image, pictured, left_out)


def _rows(place: Place, column: str, where: str, left_out: LeftOut) -> Iterator[Sample]:
    with reaching(where):
        yield from columnar.rows(place, column, where)


def _frame(notes: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """The fields of all samples."""
    import pandas as pd

    def column(name: str) -> list[Any]:
        return [
            value for note in notes for value in note["fields"].get(name) or itertools.repeat(None, len(note["names"]))
        ]

    names = dict.fromkeys(field for note in notes for field in note["fields"])
    index = pd.RangeIndex(sum(len(note["names"]) for note in notes))
    return pd.DataFrame({name: column(name) for name in names}, index=index)
