"""The panel on which people explore the audited samples: a map that answers the pointer, a table, one sample in full.

Without scripts it is three drawn maps of some samples. The data of the script is JSON, whole columns at a time, numbers
as base64 of little-endian bytes; the script is ``map.js`` and ``explore.js``.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from markupsafe import Markup

from longcut.report import embed, figures
from longcut.report.base import Page
from longcut.report.figures import Style
from longcut.report.pictures import with_names
from longcut.report.samples import SUSPICIONS
from longcut.report.template import fragment, plain

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from longcut.report.audit import Audit

__all__ = ["explore"]

NEIGHBOURS = 5
GOOD, BAD = Style("#0072b2"), Style("#d55e00", marker="^")
DOUBTS = (Style("#8c8c8c"), BAD, Style("#cc79a7", marker="s"), Style("#e69f00", marker="D"))  # by kind of suspicion


def explore(audit: Audit, page: Page) -> Markup | None:
    """The map of the biased model's embedding, drawn, and with a script to be explored."""
    record, tensors = audit
    place = figures.flatten(tensors["map_embedding"].numpy()) if "map_embedding" in tensors else None
    if place is None:
        return None
    atlas = record.get("atlas")
    drawn = _drawn(record, tensors, place, page.ids)
    if atlas is None:
        return fragment("explore", "explore", drawn, None, "")
    data = Markup(plain(_data(record, atlas, place, tensors["map_embedding"].numpy())))
    return fragment("explore", "explore", drawn, data, _level(record.get("n"), atlas))


def _level(n: int | None, atlas: Mapping[str, Any]) -> str:
    """What a page about a large set leaves out; empty where it has everything."""
    here, pictured = len(atlas["label"]), atlas["words"].get("pictured")
    said = [f"Here are {here:,} of the {n:,} samples, all the suspected among them"] if n and n > here else []
    said += [f"the first {pictured:,}, the most suspected, have pictures"] if pictured and pictured < here else []
    return f"{'; '.join(said)}." if said else ""


# --- as a drawing -----------------------------------------------------------------------------------------------------


def _drawn(
    record: Mapping[str, Any], tensors: Mapping[str, Tensor], place: NDArray[Any], ids: Iterator[str]
) -> dict[str, Any]:
    ringed = tensors["map_suspected"].numpy() if "map_suspected" in tensors else None
    classes, attributes = record.get("classes") or (), record.get("attributes") or ()
    views = []
    for tensor, title, names in (
        ("map_label", "label", classes),
        ("map_looks", "what it looks like", classes),
        ("map_attribute", record.get("attribute") or "attribute", attributes),
    ):
        if tensor not in tensors:
            continue
        column, called = with_names(tensors[tensor], names)
        looks = figures.looks_of(called, named=tensor == "map_attribute")
        picture = figures.points(place, column.tolist(), looks, ringed)
        alt = f"Map of {len(place)} samples as the biased model sees them, coloured by {title}."
        legend = embed.legend(called, looks, ids, line=False)
        views.append({"title": title, "svg": embed.svg(picture, alt, next(ids)), "legend": legend})
    folded = tensors["map_embedding"].shape[1] > 2
    return {"views": views, "ringed": ringed is not None and bool(ringed.any()), "folded": folded}


# --- as data ----------------------------------------------------------------------------------------------------------


def _data(record: Mapping[str, Any], atlas: Mapping[str, Any], place: NDArray[Any], known: NDArray[Any]) -> Any:
    words, classes = atlas["words"], list(record.get("classes") or ())
    attribute, values = record.get("attribute") or "attribute", list(record.get("attributes") or ())
    said, wrong, kinds = atlas["said"], atlas["said"][:, 1] != atlas["label"], ("not suspected", *SUSPICIONS.values())
    modes = [_mode("label", atlas["label"], classes), _mode("what it looks like", said[:, 0], classes)]
    if "attribute" in atlas:
        modes.append(_mode(attribute, atlas["attribute"], values, what="attribute"))
    modes.append(_mode("correctness", wrong, ("ordinary model right", "ordinary model wrong"), looks=(GOOD, BAD)))
    modes.append(_mode("suspicion", atlas["kind"], kinds, what="suspicion", looks=DOUBTS))
    asked = json.dumps([record.get("data"), record.get("fingerprint"), classes])
    sheet = atlas.get("sheet")
    return {
        "key": f"longcut-{hashlib.sha256(asked.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}",
        "n": len(said),
        "classes": classes,
        "attribute": attribute,
        "values": values,
        "modes": modes,
        "place": _packed(_screen(_placed(atlas["profile"], place, known)), np.uint16),
        "row": _packed(atlas["index"], np.uint32),
        "label": _packed(atlas["label"], np.uint16),
        "said": _packed(said, np.uint16),
        "sure": _packed(np.rint(100 * atlas["sure"]), np.uint8),
        "score": _packed(np.rint(10_000 * atlas["score"]), np.uint16),
        "kind": _packed(atlas["kind"], np.uint8),
        "near": _packed(_neighbours(atlas["profile"]), np.uint16),
        "codes": _packed(atlas["codes"], np.uint16),
        "cells": words["values"],
        **{name: words.get(name) for name in ("names", "texts", "columns", "side", "across", "pictured")},
        "sheet": sheet and f"data:image/webp;base64,{base64.b64encode(sheet).decode('ascii')}",
    }


def _mode(
    title: str, column: NDArray[Any], names: Sequence[str], *, what: str = "", looks: Sequence[Style] = ()
) -> dict[str, Any]:
    """One way to colour the points: what each group is called, looks like, and who is in it."""
    ids, called = with_names(torch.from_numpy(np.asarray(column, np.int64)), names)
    looks = looks or figures.looks_of(called, named=what == "attribute")
    styles = [looks[i % len(looks)] for i in range(len(called))]
    return {
        "title": title,
        "names": called,
        "colors": [style.color for style in styles],
        "marks": [style.marker for style in styles],
        "group": _packed(ids.numpy(), np.uint16),
        "what": what,
    }


def _packed(column: NDArray[Any], kind: type) -> str:
    """The numbers, row by row, as base64 of their little-endian bytes; numbers that do not fit are cut off.

    >>> _packed(np.array([1, 258]), np.uint16)
    'AQACAQ=='
    """
    most = np.iinfo(kind).max
    whole = np.clip(np.asarray(column), 0, most).astype(np.dtype(kind).newbyteorder("<"))
    return base64.b64encode(np.ascontiguousarray(whole).tobytes()).decode("ascii")


def _placed(profile: NDArray[Any], place: NDArray[Any], known: NDArray[Any]) -> NDArray[Any]:
    """Places in the plane of all samples ``(n, 2)``: amid those of the few on the drawn map that they are most like."""
    from sklearn.neighbors import NearestNeighbors

    if profile.shape[1] <= 2:
        return np.pad(profile, ((0, 0), (0, 2 - profile.shape[1])))
    distance, who = NearestNeighbors(n_neighbors=min(3, len(known))).fit(known).kneighbors(profile)
    weight = 1 / (distance**2 + 1e-9)
    return (weight[:, :, None] * place[who]).sum(1) / weight.sum(1, keepdims=True)


def _screen(place: NDArray[Any]) -> NDArray[Any]:
    """Places from 0 to 65535, both axes by the same factor, up as on a drawing."""
    low, high = place.min(0), place.max(0)
    middle, extent = (low + high) / 2, max(float((high - low).max()), 1e-9)
    return np.rint(((place - middle) / extent * (1, -1) + 0.5) * 65535)


def _neighbours(profile: NDArray[Any]) -> NDArray[Any]:
    """The samples that the biased model finds most like each ``(n, k)``, the nearest first."""
    from sklearn.neighbors import NearestNeighbors

    k = min(NEIGHBOURS, len(profile) - 1)
    return np.asarray(NearestNeighbors(n_neighbors=k).fit(profile).kneighbors(return_distance=False))
