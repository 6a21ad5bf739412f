"""A biased encoder and what it knows: the loss that makes it one, and which negatives it cannot tell apart."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from longcut.contrast.base import Reduction, check_tau, check_temperature, cosines, negatives_of, reduced, unit_views
from longcut.errors import UserError, unknown

__all__ = ["contrastive_triplet", "difficulty_weight", "weight_of_distances"]

Norm = Literal["batch-max", "row"]
TINY = 1e-12  # what a sum of distances is never less than
RELEASED = 1e-6  # what the released code adds to it


def contrastive_triplet(
    z: Tensor, tau: float = 0.0, *, negatives: Literal["mean", "sum"] = "mean", reduction: Reduction = "mean"
) -> Tensor:
    """Squared distance to the positive, less that to the negatives, without a margin: what is easy to tell apart wins.

    ``d+ - (mean_j d_j - tau d+) / (1 - tau)``. With one positive that is ``1 / (1 - tau)`` times the loss without
    ``tau``, to which Adam is indifferent; with ``negatives="sum"`` the positive weighs less as well. On unit vectors it
    is at least ``-2B / (B - 1)``, which a collapse to two opposite points attains too.

    Args:
        z: ``(2B, d)`` as the module says.
        tau: in [0, 1).
        negatives: their mean as in the paper, or sum as in a released script.
        reduction: over the anchors; ``"mean"`` as published.

    Raises:
        UserError: when an argument is not allowed; for a single pair, which has no negatives.

    Source: Jang and Wang 2023, section 5.1.

    >>> contrastive_triplet(torch.tensor([[1.0], [-1.0]]).repeat(2, 1))  # two samples at opposite points
    tensor(-4.)
    """
    check_tau(tau)
    if negatives not in ("mean", "sum"):
        raise unknown("way to join negatives", negatives, ("mean", "sum"))
    z = unit_views(z)
    count = len(z) - 2
    positive = (z * z.roll(len(z) // 2, 0)).sum(1)
    near, far = 2 - 2 * positive, 2 * count - 2 * ((z * z.sum(0)).sum(1) - z.square().sum(1) - positive)
    many = 1 if negatives == "sum" else count
    return reduced(near - (far - tau * count * near) / (1 - tau) / many, reduction)


@torch.no_grad()
def difficulty_weight(
    z: Tensor,
    biased: Tensor,
    weight: Literal["distance", "squared", "similarity"] = "distance",
    norm: Norm = "batch-max",
    temperature: float = 0.5,
) -> Tensor:
    """``1 + D / (D + D_b)`` of each anchor and negative: near 2 where the biased encoder alone finds them alike.

    D is how far apart the debiased encoder sees them, ``D_b`` the biased one, each normalised. No gradient flows: it
    would reward the one for pulling negatives closer, and train the other. Beware: ``"similarity"``, the released
    script that bears the name of the conference, weighs by likeness in place of distance and so points the other way.

    Args:
        z, biased: views ``(2B, d)`` and ``(2B, d')`` of the same samples, as the module says.
        weight: ``"distance"`` as in the paper, ``"squared"`` as in one released script, ``"similarity"``
            (``exp(cosine / temperature)``) as in the other.
        norm: over the largest of the batch, as in the paper, or over the length of the anchor's row, as released.
        temperature: above 0; of the similarity.

    Returns:
        ``(2B, 2B)`` in [1, 2]; 1 where there is no negative. Where both encoders see no difference at all it is 1.5,
        and 1 in the released forms.

    Raises:
        UserError: when an argument is not allowed, or the encoders were given different numbers of views.

    Source: Jang and Wang 2023, section 5.2; their released code has the other forms.

    >>> z = torch.eye(2).repeat(2, 1)  # the debiased encoder tells two samples apart, the biased one does not
    >>> difficulty_weight(z, torch.ones(4, 2))[0]
    tensor([1., 2., 1., 2.])
    """
    if len(z) != len(biased):
        raise UserError(f"the encoders were given {len(z)} and {len(biased)} views; give both the same.")
    if weight not in ("distance", "squared", "similarity"):
        raise unknown("weight", weight, ("distance", "squared", "similarity"))
    if norm not in ("batch-max", "row"):
        raise unknown("norm", norm, ("batch-max", "row"))
    check_temperature(temperature)
    own, other = (unit_views(one) for one in (z, biased))
    negative = negatives_of(own)
    seen = [_apart(cosines(one), negative, weight, norm, temperature) for one in (own, other)]
    return torch.where(negative, weight_of_distances(seen[0], seen[1], norm), 1)


def _apart(cosine: Tensor, negative: Tensor, weight: str, norm: str, temperature: float) -> Tensor:
    """What is compared, of each pair; 0 where there is no negative."""
    if weight == "similarity":  # up to a factor, which the norm takes out again, and so nothing overflows or vanishes
        logits = (cosine / temperature).masked_fill(~negative, -torch.inf)
        return torch.exp(logits - (logits.amax(1, keepdim=True) if norm == "row" else logits.max()))
    squared = F.threshold(2 - 2 * cosine, 16 * torch.finfo(cosine.dtype).eps, 0) * negative  # less is rounding alone
    return squared.sqrt() if weight == "distance" else squared


def weight_of_distances(debiased: Tensor, biased: Tensor, norm: Norm = "batch-max") -> Tensor:
    """``1 + D / (D + D_b)`` of distances that are normalised first; 1.5 where both are 0, and 1 with ``norm="row"``.

    Args:
        debiased, biased: distances of the same pairs in each encoder, at least 0; a row for each anchor.
        norm: over the largest of all, or over the length of the row.

    Source: Jang and Wang 2023, section 5.2.

    >>> weight_of_distances(torch.tensor([2.0, 1.0, 1.0]), torch.tensor([0.0, 1.0, 0.5]))
    tensor([2.0000, 1.3333, 1.5000])
    """
    if norm == "row":
        far, near = (F.normalize(one, dim=1, eps=TINY) for one in (debiased, biased))
        return 1 + far / (far + near + RELEASED)
    far, near = (one / one.max().clamp_min(TINY) for one in (debiased, biased))
    return 1 + torch.where(far + near > 0, far / (far + near), 0.5)
