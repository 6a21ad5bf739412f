"""Pixels that are wrong on their own."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from longcut.augment.base import column, kept, limits, uniform

__all__ = ["noise", "salt_pepper"]


def noise(
    x: Tensor,
    generator: torch.Generator | None,
    *,
    strength: Annotated[float, Field(ge=0, description="largest standard deviation; white is 1")] = 0.1,
) -> Tensor:
    """Each value plus a normal number, of a standard deviation that is the image's own.

    Args:
        x: ``(n, C, H, W)``, floating point.
        generator: source of randomness.
        strength: the standard deviation is uniform from 0 to this.

    >>> noise(torch.rand(2, 3, 8, 6), None).shape
    torch.Size([2, 3, 8, 6])
    """
    scale = column(uniform(x, 0, strength, generator))
    return kept(x + scale * torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype), x)


def salt_pepper(
    x: Tensor,
    generator: torch.Generator | None,
    *,
    share: Annotated[float, Field(ge=0, le=1, description="largest share of the pixels")] = 0.1,
) -> Tensor:
    """Some pixels of each image white or black, either as likely.

    That is 1 or 0, or in an image with other values its own brightest and darkest.

    Args:
        x: ``(n, C, H, W)``, floating point.
        generator: source of randomness.
        share: the probability of each pixel is uniform from 0 to this, one for the image.

    >>> salt_pepper(torch.rand(2, 3, 8, 6), None).shape
    torch.Size([2, 3, 8, 6])
    """
    low, high, inside = limits(x)
    salt, pepper = torch.where(inside, 1, high), torch.where(inside, 0, low)
    hit = column(uniform(x, 0, share, generator))
    drawn = torch.rand(len(x), 1, *x.shape[2:], generator=generator, device=x.device, dtype=x.dtype)
    return torch.where(drawn < hit / 2, salt, torch.where(drawn < hit, pepper, x))
