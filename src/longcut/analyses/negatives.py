"""Which negatives of an anchor are hard: its biased encoder finds them close, and the debiased one far."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from longcut.contrast import weight_of_distances
from longcut.errors import UserError

__all__ = ["Negatives", "distances", "kinds", "negatives"]


@dataclass(frozen=True)
class Negatives:
    """The hardest and the easiest negatives of some anchors.

    All but ``anchor`` are ``(a, 2, k)``: the hardest with falling weights, then the easiest with rising ones.

    Attributes:
        anchor: rows ``(a,)``.
        row: of the negatives.
        weight: their difficulty, in [1, 2].
        debiased, biased: their distance from the anchor in each encoder, in [0, 2].
    """

    anchor: Tensor
    row: Tensor
    weight: Tensor
    debiased: Tensor
    biased: Tensor


def distances(embedding: Tensor) -> Tensor:
    """Euclidean distances ``(n, n)`` between the directions of ``(n, d)``, in [0, 2].

    >>> distances(torch.tensor([[1.0, 0.0], [5.0, 0.0], [-2.0, 0.0]]))[0]
    tensor([0., 0., 2.])
    """
    unit = normalize(embedding.float())
    return torch.cdist(unit, unit, compute_mode="donot_use_mm_for_euclid_dist")  # the other is not exact near 0


def negatives(debiased: Tensor, biased: Tensor, anchors: Tensor, k: int = 5) -> Negatives:
    """The hardest and the easiest negatives of each anchor among all other samples.

    A negative is hard where the biased encoder finds it closer to the anchor than the debiased one does: it shares the
    shortcut and little else. Distances are relative to the largest in each encoder.

    Args:
        debiased, biased: the samples in each encoder ``(n, d)``; the widths may differ. Memory grows with n squared.
        anchors: rows ``(a,)``.
        k: how many of each kind; fewer where there are not so many others. Of equally hard ones the first come first.

    Raises:
        UserError: when the encoders are about different samples, there are fewer than two, or a value is not finite.

    Source: Jang & Wang 2023, Figures 3 and 4.

    >>> debiased, biased = torch.tensor([[0.0], [0.4], [0.5], [3.1]]), torch.tensor([[0.0], [0.1], [3.1], [3.0]])
    >>> found = negatives(*(torch.cat([x.cos(), x.sin()], 1) for x in (debiased, biased)), torch.tensor([0]), k=1)
    >>> found.row.tolist()  # the second is as close, but to both
    [[[1], [2]]]
    """
    if debiased.ndim != 2 or biased.ndim != 2 or len(debiased) != len(biased) or len(debiased) < 2:
        raise UserError(
            f"embeddings of shapes {tuple(debiased.shape)} and {tuple(biased.shape)} have no negatives in common; give "
            "(n, d) of the same samples, at least 2."
        )
    if not (debiased.isfinite().all() and biased.isfinite().all()):
        raise UserError("an embedding holds a value that is not finite (NaN or infinity); leave such samples out.")
    far, near = distances(debiased), distances(biased)
    weight = weight_of_distances(far, near)
    others = ~torch.eye(len(weight), dtype=torch.bool, device=weight.device)[anchors]
    k = min(k, len(weight) - 1)
    both = []
    for sign in (-1, 1):
        order = (sign * weight[anchors]).masked_fill(~others, torch.inf).argsort(dim=1, stable=True)
        both.append(order[:, :k])
    row = torch.stack(both, 1)
    at = anchors[:, None, None], row
    return Negatives(anchors, row, weight[at], far[at], near[at])


def kinds(
    found: Negatives, label: Tensor, attribute: Tensor, conflicting: Tensor | None = None
) -> dict[str, dict[str, float]]:
    """Who the hard and the easy negatives are: shares of what they have in common with their anchor.

    Args:
        found: of these samples.
        label, attribute: of all samples ``(n,)``, ids; an attribute is -1 where it is not known, and such a sample is
            neither alike nor another.
        conflicting: which samples contradict the shortcut ``(n,)`` boolean, where that is known.

    Returns:
        For ``hardest``, ``easiest`` and ``all`` negatives of the anchors, the shares of ``misleading`` ones (the
        anchor's attribute with another label), ``helpful`` ones (its label with another attribute), and those ``alike``
        (both the same); the rest has neither. And of those that are ``conflicting``, if it is given.

    >>> label, attribute = torch.tensor([0, 1, 0]), torch.tensor([0, 0, 1])  # the second misleads about the first
    >>> found = Negatives(torch.tensor([0]), torch.tensor([[[1], [2]]]), *3 * [torch.zeros(1, 2, 1)])
    >>> [kinds(found, label, attribute)[of]["misleading"] for of in ("hardest", "easiest", "all")]
    [1.0, 0.0, 0.5]
    """
    n = len(label)
    every = torch.ones(len(found.anchor), n, dtype=torch.bool, device=label.device)
    every[torch.arange(len(found.anchor)), found.anchor] = False
    same_label = label[found.anchor, None] == label
    told = (attribute[found.anchor, None] >= 0) & (attribute >= 0)
    same_attribute = (attribute[found.anchor, None] == attribute) & told
    masks = {
        "misleading": same_attribute & ~same_label,
        "helpful": same_label & ~same_attribute & told,
        "alike": same_label & same_attribute,
    }
    if conflicting is not None:
        masks["conflicting"] = conflicting.expand_as(same_label)
    shares: dict[str, dict[str, float]] = {}
    for i, name in enumerate(("hardest", "easiest")):
        rows = found.row[:, i]
        shares[name] = {kind: float(mask.gather(1, rows).double().mean()) for kind, mask in masks.items()}
    shares["all"] = {kind: float(mask[every].double().mean()) for kind, mask in masks.items()}
    return shares
