"""What the files of a run folder must look like; each function raises where it is not so.

They matter for files without a checksum: of runs from before there were any, and of unfinished ones. Types are those
of the dataclasses that the files become.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from functools import cache
from typing import Any

import torch
from pydantic import TypeAdapter
from torch import Tensor

from longcut.data import Info
from longcut.record import Inputs, Record

__all__ = ["about", "gallery", "history", "inputs", "predictions", "record", "weights"]

Row = dict[str, float | str | dict[str, float | None] | None]


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _check(kind: Any, value: Any) -> None:
    """Strict, nothing is converted; by way of JSON, whose lists may be tuples and whose objects dataclasses."""
    _adapter(kind).validate_json(json.dumps(value), strict=True)


def record(stored: Mapping[str, Any]) -> Record:
    """What ``run.json`` holds."""
    found = Record.from_dict(stored)
    _check(Record, dataclasses.asdict(found))
    if found.status not in ("running", "done"):
        raise ValueError(f"the status is {found.status}")
    return found


def history(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What ``history.jsonl`` holds: numbers by name, and those of a set of samples by the name of the set."""
    _check(list[Row], rows)
    for row in rows:
        if not isinstance(row["epoch"], int):
            raise TypeError("an epoch is a whole number")
    return rows


def inputs(stored: Mapping[str, Any]) -> Inputs:
    """What ``inputs.json`` holds."""
    found = Inputs.from_dict(stored)
    _check(Inputs, dataclasses.asdict(found))
    info = found.info
    if not isinstance(getattr(torch, found.dtype), torch.dtype):
        raise TypeError(f"{found.dtype} is no type")
    if min(info.n_classes, *info.shape, 1) < 1 or min(info.n_attributes, info.n_stored, info.vocabulary) < 0:
        raise ValueError("a size is below what it can be")
    names = {info.n_classes: info.class_names, info.n_attributes: info.attribute_names}
    if any(known and len(known) != size for size, known in names.items() if info.task == "classification"):
        raise ValueError("there are more or fewer names than classes or values")
    return found


def about(stored: Mapping[str, Any]) -> dict[str, Any]:
    """What stands beside the gallery."""
    names = ("class_names", "attribute_names", "membership_names")
    texts = dict.fromkeys(("dataset", "kind", "attribute"), str)
    for key, kind in {**texts, **dict.fromkeys(names, list[str]), "aligned": list[int]}.items():
        if key in stored:
            _check(kind, stored[key])
    return dict(stored)


def weights(found: Mapping[str, Tensor]) -> None:
    """Of a network."""
    if not all(tensor.isfinite().all() for tensor in found.values()):
        raise ValueError("weights that are not finite")


def predictions(found: Mapping[str, Tensor], info: Info | None) -> None:
    """Of a test set; ``info`` where it is known of what data."""
    outputs, label = found["outputs"], found["label"]
    n, width = outputs.shape
    _same_length(found, n)
    _require(outputs.is_floating_point() and bool(outputs.isfinite().all()))
    if label.is_floating_point():
        _require(label.shape == (n, width) and bool(label.isfinite().all()))
    else:
        _ids(label, width)
    if "attribute" in found:
        _ids(found["attribute"] + 1, None if info is None else info.n_attributes + 1)
    if "index" in found:
        _ids(found["index"])
    if "memberships" in found:
        _require(found["memberships"].ndim == 2 and found["memberships"].dtype == torch.bool)
    if info is not None:
        _require(width == info.n_classes and label.is_floating_point() == (info.task == "regression"))


def gallery(found: Mapping[str, Tensor]) -> None:
    """Pictures and small tensors, as :mod:`longcut.gallery` makes them."""
    for prefix in ("sample_", "pair_", "embedding"):
        some = {name: tensor for name, tensor in found.items() if name.startswith(prefix)}
        some |= {"features": found["features"]} if prefix == "embedding" and "features" in found else {}
        if some:
            _same_length(some, len(next(iter(some.values()))))
    for name, tensor in found.items():
        if name.endswith("_x"):
            _require(
                tensor.dtype == torch.uint8
                and tensor.ndim == 4
                and tensor.shape[1] == 3
                and (tensor.numel() > 0 or not len(tensor))
            )
        elif name.endswith("_attribute"):
            _ids(tensor + 1)
        elif name.endswith("_conflicting"):
            _require(tensor.ndim == 1 and tensor.dtype == torch.bool)
        elif name.endswith("_label") and not tensor.is_floating_point():
            _ids(tensor)
        elif name in ("embedding", "features"):
            _require(tensor.ndim == 2 and tensor.is_floating_point())
        elif name == "sample_map":
            _require(tensor.ndim == 3 and tensor.is_floating_point() and (tensor.numel() > 0 or not len(tensor)))
    if "sample_x" in found:
        _require({"sample_label", "sample_conflicting"} <= found.keys())
    if "pair_share" in found:
        _require({"pair_anchor_x", "pair_partner_x", "pair_mixed_x", "pair_anchor_label"} <= found.keys())
        _require(found["pair_share"].is_floating_point())
    if "sample_map" in found:
        _require("sample_x" in found)
    if "embedding" in found or "features" in found:
        _require({"embedding_label", "embedding_conflicting"} <= found.keys())
    if "negative_anchor" in found:
        _negatives(found)


def _negatives(found: Mapping[str, Tensor]) -> None:
    anchor, row, n = found["negative_anchor"], found["negative_row"], len(found["embedding"])
    _ids(anchor, n)
    _ids(row.flatten(), n)
    _require(row.ndim == 3 and len(row) == len(anchor))
    for name in ("weight", "debiased", "biased"):
        tensor = found[f"negative_{name}"]
        _require(tensor.is_floating_point() and tensor.shape == row.shape)
    if "negative_x" in found:
        _require(len(found["negative_x"]) == len(anchor) * (1 + row[0].numel()))


def _same_length(tensors: Mapping[str, Tensor], n: int) -> None:
    _require(all(tensor.ndim > 0 and len(tensor) == n for tensor in tensors.values()))


def _ids(tensor: Tensor, below: int | None = None) -> None:
    """Whole numbers from 0, one for each sample."""
    _require(tensor.ndim == 1 and tensor.dtype in (torch.int64, torch.int32))
    _require(not len(tensor) or (int(tensor.min()) >= 0 and (below is None or int(tensor.max()) < below)))


def _require(so: bool) -> None:
    if not so:
        raise ValueError("a tensor is not what it should be")
