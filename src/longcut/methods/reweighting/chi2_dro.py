"""Chi-square DRO: the worst distribution within a chi-square ball around the batch."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from longcut.data import Batch, Info
from longcut.methods.base import MakeNet, Method
from longcut.methods.reweighting.cvar_dro import largest_first
from longcut.methods.shared import Alpha, Outliers


@torch.no_grad()
def chi2_weights(losses: Tensor, alpha: float, outliers: float = 0.0) -> Tensor:
    """The worst distribution over the losses that are kept, within a chi-square ball around the uniform one.

    The loss it expects is ``min_eta C sqrt(mean(relu(loss - eta)^2)) + eta`` with ``C^2 = 1 + (1/alpha - 1)^2``, and
    its gradient is that of this minimum. The weights are proportional to ``relu(loss - eta)`` at the best eta, which
    lies between the eta that would be best with every loss above it, and the largest loss; the slope says in which
    half. A ball that is wide enough holds all the mass on the largest: where ``C^2`` is at least the number of losses.

    Args:
        losses: ``(n,)``.
        alpha: 0 < alpha ≤ 1; at 1 the ball has no radius, and all weights are equal.
        outliers: share of the losses, the largest, that are not kept: weight 0.

    Returns:
        ``(n,)`` of sum 1, without gradient.

    Source: Hashimoto et al. 2018, "Fairness without demographics in repeated loss minimization"; the outliers from
    Zhai et al. 2021, "DORO".

    >>> chi2_weights(torch.tensor([0.0, 1.0, 2.0]), alpha=0.5)  # C^2 = 2, eta = (3 - sqrt(3)) / 2
    tensor([0.0000, 0.2113, 0.7887])
    """
    kept = largest_first(losses, outliers)
    some, radius = losses[kept], (1 / alpha - 1) ** 2
    weights = torch.zeros_like(losses)
    if radius == 0:
        weights[kept] = 1 / len(kept)
        return weights
    high = some.max()
    low = torch.minimum(some.min(), some.mean() - some.std(correction=0) / math.sqrt(radius))
    for _ in range(32):  # by then the bracket is as narrow as its ends are exact
        eta = (low + high) / 2
        above = (some - eta).clamp_min(0)
        falls = above.square().mean() < (1 + radius) * above.mean().square()
        low, high = torch.where(falls, eta, low), torch.where(falls, high, eta)
    above = (some - low).clamp_min(0)
    above = torch.where(above.sum() > 0, above, (some == some.max()).to(some.dtype))  # nothing is above the largest
    weights[kept] = above / above.sum()
    return weights


class Chi2DRO(Method):
    """Mean loss under the worst distribution of the batch; smoother than the worst share of it."""

    name = "chi2-dro"
    paper = "Hashimoto et al., Fairness without demographics in repeated loss minimization, ICML 2018"
    tasks = frozenset({"classification", "regression"})
    variants = ({"outliers": 0.1},)

    def __init__(self, make_net: MakeNet, info: Info, *, alpha: Alpha = 0.25, outliers: Outliers = 0.0) -> None:
        super().__init__(make_net, info)
        self.alpha, self.outliers = alpha, outliers

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The weights are found from the losses, and pass no gradient."""
        losses = self.per_sample_loss(self(batch.x), batch.label)
        return chi2_weights(losses, self.alpha, self.outliers) @ losses, {"mean_loss": losses.detach().mean()}
