"""What a run folder keeps for its report: pictures and small tensors that show what a method saw and did."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from longcut.analyses import activation_maps, negatives
from longcut.data import Dataset, generator, in_turns
from longcut.nets.maps import last_map

if TYPE_CHECKING:
    from longcut.methods.base import Method

__all__ = ["gallery"]

ANCHORS, NEGATIVES = 4, 5  # whose negatives are shown, and how many of the hardest and of the easiest


def gallery(method: Method, train: Dataset, device: torch.device | str = "cpu") -> dict[str, Tensor]:
    """Pictures and small tensors by which a report shows what a method saw and did.

    Returns:
        For images, uint8 ``(k, 3, H, W)``: ``sample_x`` with ``sample_label``, ``sample_attribute`` and
        ``sample_conflicting``, a few of every class; and ``sample_map (k, h, w)``, which places of them speak for their
        class in a net that keeps features in place (:func:`longcut.analyses.activation_maps`). If the method mixes:
        ``pair_anchor_x, pair_partner_x, pair_mixed_x, pair_share`` and labels and attributes of both.

        ``features (m, e)`` of up to 600 training samples in the net that is used, a third of them conflicting if there
        are so many, with ``embedding_label``, ``embedding_attribute`` and ``embedding_conflicting``. If the method has
        a bias model: ``embedding (m, d)``, the same samples in that; and what :func:`longcut.analyses.negatives` finds
        among them for a few anchors: ``negative_anchor, negative_row`` (rows of the embedding), ``negative_weight,
        negative_debiased, negative_biased``, and for images ``negative_x``, of each anchor itself, its hardest and its
        easiest negatives. Attributes are -1 where they are not known, and left out where they are known of nobody.
    """
    draw = generator(len(train), 41)
    train = train.unguessed()
    told = bool(train.known.any() and train.info.aligned) and train.info.task == "classification"
    conflicting = train.conflicting if told else torch.zeros(len(train), dtype=torch.bool)
    agreeing = train.known & ~conflicting if told else ~conflicting
    order = torch.randperm(len(train), generator=draw)
    tensors: dict[str, Tensor] = {}
    if train.seen(order[:0]) is not None:
        rows = torch.cat([_of_every_class(train, order[side[order]], 20) for side in (agreeing, conflicting)])
        tensors["sample_x"] = _pixels(train, rows)
        tensors |= _columns("sample", train, rows) | {"sample_conflicting": conflicting[rows]}
        tensors |= _maps(method, train, rows, device)
        pairs = method.pairs(train, 24) if train.pictures is None else None  # features are mixed, and no pictures
        if pairs is not None:
            anchor, partner, share = pairs["anchor"], pairs["partner"], pairs["share"]
            own, other = _pixels(train, anchor), _pixels(train, partner)
            part = share.view(-1, 1, 1, 1).cpu()
            mixed = pairs.get("mixed", part * own + (1 - part) * other)
            tensors |= {"pair_anchor_x": own, "pair_partner_x": other, "pair_mixed_x": mixed.round().to(torch.uint8)}
            tensors |= _columns("pair_anchor", train, anchor) | _columns("pair_partner", train, partner)
            tensors["pair_share"] = share
    few = order[conflicting[order]][:200]
    rows = torch.cat([few, order[~conflicting[order]][: 600 - len(few)]])
    biased, debiased = [], []
    with torch.no_grad():
        for chunk in rows.split(100):
            x = train.gather(chunk, device)
            debiased.append(method.net.features(x).float().cpu())
            if (seen := method.embedding(x)) is not None:
                biased.append(seen.float().cpu())
    tensors |= _columns("embedding", train, rows)
    tensors |= {"embedding_conflicting": conflicting[rows], "features": torch.cat(debiased)}
    if biased:
        tensors["embedding"] = torch.cat(biased)
        tensors |= _negatives(train, rows, tensors)
    return tensors


def _maps(method: Method, train: Dataset, rows: Tensor, device: torch.device | str) -> dict[str, Tensor]:
    """Where the net looks for the class of each image; nothing where it keeps no features in place, or has no class."""
    if train.info.task == "regression" or last_map(method.net, train.info) is None:
        return {}
    maps = activation_maps(method.net, train.info, train.gather(rows, device), train.label[rows].to(device))
    return {"sample_map": maps.float().cpu()}


def _negatives(train: Dataset, rows: Tensor, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The hardest and easiest negatives of a few anchors among the embedded samples: some of every kind of anchor."""
    debiased, biased, conflicting = (tensors[name] for name in ("features", "embedding", "embedding_conflicting"))
    if len(rows) < 2 or not (debiased.isfinite().all() and biased.isfinite().all()):
        return {}
    place = torch.empty(len(train), dtype=torch.long)
    place[rows] = torch.arange(len(rows))
    against = _of_every_class(train, rows[conflicting], ANCHORS // 2)
    anchor = place[torch.cat([_of_every_class(train, rows[~conflicting], ANCHORS - len(against)), against])]
    found = negatives(debiased, biased, anchor, NEGATIVES)
    shown = {f"negative_{name}": value for name, value in vars(found).items()}
    if train.seen(rows[:0]) is not None:
        shown["negative_x"] = _pixels(train, rows[torch.cat([anchor[:, None], found.row.flatten(1)], 1).flatten()])
    return shown


def _of_every_class(train: Dataset, rows: Tensor, n: int) -> Tensor:
    """Up to ``n`` of the rows, taking turns among the classes."""
    if train.info.task == "regression":
        return rows[:n]
    return in_turns(train.label, rows[train.label[rows].argsort(stable=True)])[:n]


def _pixels(train: Dataset, rows: Tensor) -> Tensor:
    x = (cast(Tensor, train.seen(rows)).clamp(0, 1) * 255).round().to(torch.uint8)
    return x.expand(-1, 3, -1, -1) if x.shape[1] == 1 else x[:, :3]


def _columns(prefix: str, train: Dataset, rows: Tensor) -> dict[str, Tensor]:
    columns = {f"{prefix}_label": train.label[rows]}
    if train.attribute is None or not train.known.any():
        return columns
    return columns | {f"{prefix}_attribute": train.attribute[rows]}
