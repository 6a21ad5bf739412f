"""Pair rules by a distance: the nearest, or those farthest apart."""

from __future__ import annotations

import torch
from torch import Tensor

from longcut.data import Batch
from longcut.errors import UserError
from longcut.mixing.pairs import same_sample, weighted
from longcut.mixing.types import PairRule, Pairs, Pool, Similarity

__all__ = ["apart", "near_weights", "nearest", "others"]


def nearest(k: int, distance: Similarity) -> PairRule:
    """Any of the k nearest with the same chance: the control of a kernel, for it tells near from far and no more.

    Args:
        k: how many; whoever is as near as the k-th counts, too.
        distance: ``(batch, pool) -> (n, p)``, larger is farther; who is infinitely far is nobody's partner.

    Raises:
        UserError: when k is below 1.

    >>> rule = nearest(1, lambda batch, pool: (batch.label[:, None] - pool.label).abs())
    >>> batch = Batch(torch.zeros(2, 1), torch.tensor([0.0, 5.0]))
    >>> rule(batch, Batch(torch.zeros(3, 1), torch.tensor([4.0, 9.0, 1.0])), None).partner
    tensor([2, 0])
    """
    return weighted(lambda batch, pool: near_weights(distance(batch, pool), k))


def near_weights(distance: Tensor, k: int) -> Tensor:
    """The law of :func:`nearest` in logarithms ``(n, p)``: 0 for the k nearest of each row, −∞ for the others."""
    if k < 1:
        raise UserError(f"nearest: k is {k}; a sample needs at least 1 neighbour to be mixed with.")
    if not distance.shape[1]:
        return distance
    last = distance.kthvalue(min(k, distance.shape[1]), 1, keepdim=True).values
    return torch.zeros_like(distance).masked_fill((distance > last) | distance.isinf(), -torch.inf)


def others(distance: Similarity) -> Similarity:
    """A distance by which nobody is their own partner: from a sample to itself, or a repeat of it, it is infinite."""

    def apart(batch: Batch, pool: Pool) -> Tensor:
        return distance(batch, pool).masked_fill(same_sample(batch, pool), torch.inf)

    return apart


def apart(distance: Similarity) -> PairRule:
    """The farthest first: each anchor another partner, the largest distance in the batch taken first, then the next.

    This is greedy: the sum of the distances is at least half of the largest possible one. A partner is nobody else's,
    so of a pool smaller than the batch some anchors get none, nor does the last of an odd batch. All pairs that are
    each other's best are taken at once, which gives the same pairs in few rounds.

    Args:
        distance: ``(batch, pool) -> (n, p)``, such as that of saliency maps in GuidedMixup (Kang and Kim, AAAI 2023).

    >>> rule = apart(lambda batch, pool: (batch.x - pool.x.T).abs())
    >>> batch = Batch(torch.tensor([[0.0], [1.0], [5.0], [7.0]]), torch.zeros(4))
    >>> rule(batch, batch, None).partner
    tensor([3, 2, 1, 0])
    """

    def rule(batch: Batch, pool: Pool, generator: torch.Generator | None) -> Pairs:
        n, p = len(batch), len(pool)
        partner = torch.zeros(n, dtype=torch.long, device=batch.label.device)
        found = torch.zeros_like(partner, dtype=torch.bool)
        if not p:
            return Pairs(partner, found)
        far = distance(batch, pool).nan_to_num(-torch.inf).masked_fill(same_sample(batch, pool), -torch.inf)
        order = far.flatten().argsort(descending=True, stable=True)
        place = torch.empty_like(order).scatter_(0, order, torch.arange(n * p, device=order.device)).view(n, p)
        place = place.masked_fill(far == -torch.inf, n * p)  # in one order, so that no two are alike
        rows = torch.arange(n, device=order.device)
        while True:
            best, column = place.min(1)
            taken = (place.argmin(0)[column] == rows) & (best < n * p)
            if not taken.any():
                return Pairs(partner, found)
            partner, found = torch.where(taken, column, partner), found | taken
            place[taken] = n * p
            place[:, column[taken]] = n * p

    return rule
