"""Light that changes: along the colours of the data, channel by channel, or towards the corners."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from longcut.augment.base import column, kept, pixels, uniform

__all__ = ["color_cast", "darkened", "pca_color", "vignette"]


def pca_color(
    x: Tensor,
    generator: torch.Generator | None,
    *,
    strength: Annotated[float, Field(ge=0, description="standard deviation of the factor of each eigenvalue")] = 0.1,
) -> Tensor:
    """Each image shifted along the principal components of the colours, ``sum_i a_i l_i v_i`` with ``a_i ~ N(0, s^2)``.

    The eigenvalues ``l`` and vectors ``v`` are those of the covariance of the pixels of all the images given, which in
    training is a whole pool, where the paper takes those of ImageNet. Normal factors look alike along any axes, so the
    shift is the covariance times a normal vector, and nothing need be decomposed.

    Source: Krizhevsky et al., NeurIPS 2012, section 4.1.

    Args:
        x: ``(n, C, H, W)``, floating point.
        generator: source of randomness.
        strength: ``s``.

    >>> pca_color(torch.rand(2, 3, 8, 6), None).shape
    torch.Size([2, 3, 8, 6])
    """
    values = x.transpose(0, 1).flatten(1)
    values = values - values.mean(1, keepdim=True)
    covariance = values @ values.T / values.shape[1]
    factors = strength * torch.randn(*x.shape[:2], generator=generator, device=x.device, dtype=x.dtype)
    return kept(x + column(factors @ covariance), x)


def color_cast(
    x: Tensor,
    generator: torch.Generator | None,
    *,
    strength: Annotated[
        float, Field(ge=0, description="largest change of a channel to either side; published: 20 of 255")
    ] = 0.08,
) -> Tensor:
    """Each channel of each image shifted or not, with probability one half, by one amount.

    Source: Wu et al., Deep Image, 2015 (arXiv 1501.02876).

    Args:
        x: ``(n, C, H, W)``, floating point.
        generator: source of randomness.
        strength: the amount is uniform in ± this.

    >>> color_cast(torch.rand(2, 3, 8, 6), None).shape
    torch.Size([2, 3, 8, 6])
    """
    change, coin = torch.rand(2, *x.shape[:2], generator=generator, device=x.device, dtype=x.dtype)
    return kept(x + column(torch.where(coin < 0.5, strength * (2 * change - 1), 0)), x)


def vignette(
    x: Tensor,
    generator: torch.Generator | None,
    *,
    strength: Annotated[float, Field(ge=0, le=1, description="largest share of the light that a corner loses")] = 0.8,
) -> Tensor:
    """Each image darker towards its corners.

    Source: Wu et al., Deep Image, 2015 (arXiv 1501.02876), which draws the area and the loss; the curve is ours.

    Args:
        x: ``(n, C, H, W)``, floating point; 0 is black.
        generator: source of randomness.
        strength: the loss is uniform from 0 to this, and it begins at 0 to 70 % of the way to the corner.

    >>> vignette(torch.rand(2, 3, 8, 6), None).shape
    torch.Size([2, 3, 8, 6])
    """
    return darkened(x, uniform(x, 0, strength, generator), uniform(x, 0, 0.7, generator))


def darkened(x: Tensor, loss: Tensor, start: Tensor) -> Tensor:
    """Images times ``1 - loss t^2``, where ``t`` rises from 0 at ``start`` to 1 at the corner.

    Args:
        x: ``(n, C, H, W)``, floating point.
        loss: of light at the corner ``(n,)``.
        start: as a share of the way from the middle to the corner ``(n,)``, below 1.
    """
    rows, columns = pixels(x)
    away = (rows.square() + columns.square()).sqrt() / ((x.shape[2] ** 2 + x.shape[3] ** 2) ** 0.5 / 2)
    start = column(start)
    return x * (1 - column(loss) * ((away - start) / (1 - start)).clamp_min(0).square())
