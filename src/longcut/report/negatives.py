"""The panel about hard and easy negatives: whom the bias model finds close to an anchor, and the net does not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch
from markupsafe import Markup

from longcut import analyses
from longcut.report import embed
from longcut.report.base import Page
from longcut.report.pictures import PICTURED, Words, contenders_with
from longcut.report.study import Study
from longcut.report.template import fragment

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["negatives"]


def negatives(study: Study, page: Page) -> Markup | None:
    """Anchors with their hardest and easiest negatives, by method; None where no method has a bias model."""
    found = list(_negatives(study, max(1, PICTURED // page.studies)))
    return fragment("study", "negatives", found, study.cue or "attribute") if found else None


def _negatives(study: Study, methods: int) -> Iterator[dict[str, Any]]:
    for contender, tensors, about in contenders_with(study, "negative_row")[:methods]:
        words = Words(about)
        anchors = [_anchor(tensors, words, i) for i in range(len(tensors["negative_anchor"]))]
        yield {
            "name": contender.name,
            "anchors": anchors,
            "count": tensors["negative_row"].shape[2],
            "pool": len(tensors["features"]),
            "shares": _shares(tensors),
            "known": bool(tensors["embedding_conflicting"].any()),
        }


def _anchor(tensors: Mapping[str, Tensor], words: Words, i: int) -> dict[str, Any]:
    """An anchor as the template shows it, with its negatives."""
    own, rows = int(tensors["negative_anchor"][i]), tensors["negative_row"][i]
    k = rows.shape[1]
    first = i * (1 + 2 * k)  # of its pictures
    found: dict[str, Any] = {"anchor": _sample(tensors, words, own, first)}
    for j, kind in enumerate(("hardest", "easiest")):
        found[kind] = [
            _sample(tensors, words, int(rows[j, n]), first + 1 + j * k + n)
            | {what: float(tensors[f"negative_{what}"][i, j, n]) for what in ("weight", "debiased", "biased")}
            for n in range(k)
        ]
    return found


def _sample(tensors: Mapping[str, Tensor], words: Words, row: int, picture: int) -> dict[str, Any]:
    label, attribute = words(tensors, "embedding", row)
    pictures = tensors.get("negative_x")
    uri = None if pictures is None else embed.uri(pictures[picture].numpy())
    return {"uri": uri, "label": label, "attribute": attribute}


def _shares(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, float]] | None:
    """What hard and easy negatives of all embedded samples have in common with them; None where it is not known."""
    label, attribute = tensors["embedding_label"], tensors.get("embedding_attribute")
    if attribute is None or label.is_floating_point():
        return None
    every = torch.arange(len(label))
    k = tensors["negative_row"].shape[2]
    found = analyses.negatives(tensors["features"], tensors["embedding"], every, k)
    return analyses.kinds(found, label, attribute, tensors["embedding_conflicting"])
