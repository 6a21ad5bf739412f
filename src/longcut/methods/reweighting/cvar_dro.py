"""CVaR-DRO: only the samples of a batch that lose most."""

from __future__ import annotations

import torch
from torch import Tensor

from longcut.data import Batch, Info
from longcut.methods.base import MakeNet, Method, Recipe
from longcut.methods.shared import SUBPOPBENCH, Alpha, Outliers


def largest_first(losses: Tensor, outliers: float = 0.0) -> Tensor:
    """Positions of the losses from large to small, without the ``floor(outliers * n)`` largest.

    Source: Zhai et al. 2021, "DORO: Distributional and outlier robust optimization".

    >>> largest_first(torch.tensor([3.0, 9.0, 5.0]), outliers=0.4)
    tensor([2, 0])
    """
    return losses.argsort(descending=True, stable=True)[int(outliers * len(losses)) :]


@torch.no_grad()
def cvar_weights(losses: Tensor, alpha: float, outliers: float = 0.0) -> Tensor:
    """Weights whose sum is 1 and none above ``1 / (alpha m)``, on the largest of the ``m`` losses that are kept.

    The ``floor(alpha m)`` largest have that weight, and the next one what remains.

    Args:
        losses: ``(n,)``.
        alpha: 0 < alpha ≤ 1; at 1 all weights are equal.
        outliers: share of the losses, the largest, that are not kept: weight 0.

    Returns:
        ``(n,)``, without gradient.

    Source: Levy et al. 2020, "Large-scale methods for distributionally robust optimization", the batch estimator.

    >>> cvar_weights(torch.tensor([1.0, 4.0, 2.0, 3.0]), alpha=0.4)  # 1.6 samples: one, and 0.6 of the next
    tensor([0.0000, 0.6250, 0.0000, 0.3750])
    """
    kept = largest_first(losses, outliers)
    samples = alpha * len(kept)
    weights = torch.zeros_like(losses)
    weights[kept] = (samples - torch.arange(len(kept), device=losses.device)).clamp(0, 1).to(losses.dtype) / samples
    return weights


class CVaRDRO(Method):
    """Mean loss of the share ``alpha`` of the batch that loses most."""

    name = "cvar-dro"
    paper = "Levy et al., Large-scale methods for distributionally robust optimization, NeurIPS 2020"
    tasks = frozenset({"classification", "regression"})
    variants = ({"outliers": 0.1},)
    recipes = {
        "subpopbench": Recipe(
            "Waterbirds in SubpopBench: 5001 updates; its frozen batch norm is not taken over",
            {"alpha": 0.1},
            SUBPOPBENCH,
        )
    }

    def __init__(self, make_net: MakeNet, info: Info, *, alpha: Alpha = 0.1, outliers: Outliers = 0.0) -> None:
        super().__init__(make_net, info)
        self.alpha, self.outliers = alpha, outliers

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The weights are found from the losses, and pass no gradient."""
        losses = self.per_sample_loss(self(batch.x), batch.label)
        return cvar_weights(losses, self.alpha, self.outliers) @ losses, {"mean_loss": losses.detach().mean()}
