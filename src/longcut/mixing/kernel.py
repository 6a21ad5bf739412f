"""The Gaussian kernel of C-Mixup: how likely a partner is at which distance, and of how many the law really chooses."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["effective_number", "gaussian", "sigma_for", "squared_distance"]


def squared_distance(own: Tensor, theirs: Tensor) -> Tensor:
    """``‖own_i - theirs_j‖²`` of rows ``(n, d)`` and ``(p, d)``, as ``(n, p)``.

    Differences are squared as they are: by ``a² - 2ab + b²``, targets far from 0 would lose the digits that count.

    >>> squared_distance(torch.tensor([[120.0]]), torch.tensor([[121.0], [118.0]]))
    tensor([[1., 4.]])
    """
    return torch.cdist(own, theirs, compute_mode="donot_use_mm_for_euclid_dist").square()


def gaussian(squared: Tensor, sigma: Tensor | float) -> Tensor:
    """``-d² / 2σ²``: the logarithm of each weight, up to a number per row (C-Mixup, Yao et al., NeurIPS 2022).

    Args:
        squared: distances that are squared already ``(n, p)``.
        sigma: above 0, in the unit of the distance.
    """
    return squared / (-2 * sigma**2)


def effective_number(log_weight: Tensor) -> Tensor:
    """Of how many partners each row really chooses: the exponential of the entropy of its law.

    Args:
        log_weight: ``(n, p)`` up to a number per row; −∞ is never drawn.

    Returns:
        ``(n,)`` from 1, one partner alone, to p, all equally likely; 0 where nobody can be drawn.

    >>> effective_number(torch.tensor([[0.0, 0.0, -torch.inf], [-torch.inf, -torch.inf, -torch.inf]]))
    tensor([2., 0.])
    """
    law = log_weight.softmax(1)
    return torch.special.entr(law).sum(1).exp().nan_to_num(0)


def sigma_for(squared: Tensor, share: float) -> float:
    """The width at which rows choose, on average, of this share of their candidates; by bisection.

    The share rises with σ: the law is a Boltzmann distribution, and σ² its temperature. Ties set a least share, for
    candidates at one distance are equally likely whatever the width; below it the result is a very small σ.

    Args:
        squared: distances, squared ``(n, p)``, infinite for who is nobody's partner.
        share: in (0, 1], of all p candidates.

    Returns:
        σ in the unit of the distance; 1 where all distances are 0.

    >>> distance = squared_distance(*[torch.linspace(0, 1, 500)[:, None]] * 2)
    >>> sigma = sigma_for(distance, 0.2)
    >>> round(float(effective_number(gaussian(distance, sigma)).mean() / 500), 4)
    0.2
    """
    finite = squared[squared.isfinite()]
    if not finite.any():
        return 1.0
    scale = float(finite.mean().sqrt())
    low, high = math.log(scale) - 14, math.log(scale) + 14
    for _ in range(40):
        middle = (low + high) / 2
        found = float(effective_number(gaussian(squared, math.exp(middle))).mean()) / squared.shape[1]
        low, high = (middle, high) if found < share else (low, middle)
    return math.exp((low + high) / 2)
