"""How much of the anchor is kept: ratio rules, ``(n, generator) -> share``."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from longcut.errors import UserError
from longcut.mixing.types import RatioRule

__all__ = ["beta", "uniform"]


def uniform(low: float = 0.0, high: float = 1.0, *, scope: Literal["sample", "batch"] = "sample") -> RatioRule:
    """A share from U(low, high), one for each sample or for the batch; SelecMix's is U(0, ½), that of min(λ, 1−λ)."""

    def rule(n: int, generator: torch.Generator | None) -> Tensor:
        device = generator.device if generator else None
        size = n if scope == "sample" else 1
        return (low + (high - low) * torch.rand(size, generator=generator, device=device)).expand(n)

    return rule


def beta(alpha: float, other: float | None = None, *, scope: Literal["sample", "batch"] = "sample") -> RatioRule:
    """A share from Beta(α, α), one for each sample or (mixup's and CutMix's released code) one for the batch.

    ``alpha=0`` keeps every sample as it is, as in the released code of mixup. With ``other`` the law is
    Beta(α, other), whose mean is ``α / (α + other)``.
    """
    if not (alpha >= 0 and (other is None or other > 0)):
        raise UserError(f"alpha is {alpha}; a Beta distribution needs alpha > 0 (0 switches mixing off).")
    both = torch.tensor([[alpha], [alpha if other is None else other]], dtype=torch.float32)

    def rule(n: int, generator: torch.Generator | None) -> Tensor:
        device = generator.device if generator else None
        size = n if scope == "sample" else 1
        if alpha == 0:
            return torch.ones(n, device=device)
        # A Beta variate is G / (G + G') of two gammas, and torch's gamma sampler is the one that takes a generator. In
        # logarithms, with G(α) = G(α + 1) · U^(1/α), no gamma of a small α rounds to the smallest float (and two to ½).
        shape = both.to(device).expand(2, size)
        gamma = torch._standard_gamma(shape + 1, generator=generator)  # pyright: ignore[reportPrivateImportUsage]
        u = torch.rand(2, size, generator=generator, device=device)
        log = gamma.log() + torch.log1p(-u) / shape
        return (log[0] - log[1]).sigmoid().expand(n)

    return rule
