"""What contrastive losses share: unit vectors, their cosines, and sums of exponentials as logarithms."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from longcut.errors import UserError, unknown

__all__ = [
    "Reduction",
    "Terms",
    "check_tau",
    "check_temperature",
    "cosines",
    "log_sum",
    "negatives_of",
    "reduced",
    "terms",
    "unit_views",
]

Reduction = Literal["none", "sum", "mean"]


class Terms(NamedTuple):
    """Of each anchor ``(n,)``: the logarithms of ``p`` and ``G``, and whether ``G`` is at its floor."""

    p: Tensor
    g: Tensor
    clamped: Tensor


def terms(logits: Tensor, negative: Tensor, log_weight: Tensor | None, tau: float, floor: float) -> Terms:
    """``p`` and ``G = (sum_j w_j e_j - tau N p) / (1 - tau)``, at least ``N e^floor``, of each anchor.

    Args:
        logits: ``log e`` of each pair ``(2B, 2B)``.
        negative: which pairs are negatives.
        log_weight: of each pair, or None.
        tau: share of false negatives.
        floor: logarithm of the smallest score.
    """
    pairs, count = len(logits) // 2, len(logits) - 2
    p = torch.cat([logits.diagonal(pairs), logits.diagonal(-pairs)])
    total = log_sum(logits if log_weight is None else logits + log_weight, negative)
    if not tau:
        return Terms(p, total, torch.zeros_like(p, dtype=torch.bool))
    taken, lowest = p + math.log(tau * count) - total, math.log(count) + floor
    with torch.no_grad():  # where more is taken than there is, the logarithm is nan, which is above nothing
        clamped = ~(_corrected(total, taken, tau) > lowest)
    g = _corrected(total, taken.masked_fill(clamped, -1.0), tau)  # no gradient may come from there, nan least of all
    return Terms(p, torch.where(clamped, lowest, g), clamped)


def _corrected(total: Tensor, taken: Tensor, tau: float) -> Tensor:
    """Logarithm of ``e^total (1 - e^taken) / (1 - tau)``."""
    return total + torch.log(-torch.expm1(taken)) - math.log1p(-tau)


def unit_views(z: Tensor) -> Tensor:
    """Rows of length 1, in float32 at least."""
    if z.ndim != 2 or len(z) % 2:
        raise UserError(
            f"the contrastive loss got z of shape {tuple(z.shape)}; give (2B, d), two views of each of B samples."
        )
    if len(z) < 4:
        raise UserError(
            "a batch of one pair has no negatives to contrast it with; give the views of at least two samples."
        )
    return F.normalize(z if z.dtype == torch.float64 else z.float(), dim=1)


def cosines(z: Tensor) -> Tensor:
    """Of all pairs of unit vectors, in the precision that they have, whatever is automatic around it."""
    with torch.autocast(z.device.type, enabled=False):
        return z @ z.T


def negatives_of(z: Tensor) -> Tensor:
    """Which pairs are views of different samples ``(2B, 2B)``."""
    sample = torch.arange(len(z), device=z.device) % (len(z) // 2)
    return sample[:, None] != sample


def log_sum(logits: Tensor, negative: Tensor) -> Tensor:
    """Of the exponentials of the negatives of each anchor ``(2B,)``."""
    return logits.masked_fill(~negative, -torch.inf).logsumexp(1)


def check_temperature(temperature: float) -> None:
    """Refuse what is not above 0."""
    if not temperature > 0:
        raise UserError(f"the contrastive temperature is {temperature}; give a number above 0, such as 0.2.")


def check_tau(tau: float) -> None:
    """Refuse what is no share below 1."""
    if not 0 <= tau < 1:
        raise UserError(f"the share of false negatives is tau={tau}; give a number from 0 to below 1, such as 0.1.")


def reduced(loss: Tensor, reduction: str) -> Tensor:
    """The losses of the anchors, or their sum or mean."""
    if reduction not in ("none", "sum", "mean"):
        raise unknown("reduction", reduction, ("none", "sum", "mean"))
    if reduction == "none":
        return loss
    return loss.sum() if reduction == "sum" else loss.mean()
