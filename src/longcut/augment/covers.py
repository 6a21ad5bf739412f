"""Parts that are covered."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from longcut.augment.base import limits, uniform
from longcut.mixing.regions import Corners

__all__ = ["cutout", "occlusion"]

ASPECT = (0.3, 1 / 0.3)


def cutout(
    x: Tensor,
    generator: torch.Generator | None,
    *,
    side: Annotated[
        int, Field(ge=0, description="of the square, in pixels; published: 16 for CIFAR-10, 8 for CIFAR-100")
    ] = 16,
    fill: Annotated[
        Literal["mean", "zero"],
        Field(description="with the mean colour, as released, where 0 is the mean; or with 0, which is black"),
    ] = "mean",
) -> Tensor:
    """A square cut out of each image, about any of its pixels and so perhaps partly beyond the border.

    Its side is ``2 * (side // 2)``, as released. The mean colour is that of all the images given, in training a whole
    pool.

    Source: DeVries and Taylor, Cutout, 2017 (arXiv 1708.04552), and its released code.

    Args:
        x: ``(n, C, H, W)``, floating point.
        generator: source of randomness.
        side: of the square.
        fill: with what.

    >>> cutout(torch.ones(2, 3, 8, 8), None, side=4, fill="zero").amin((1, 2, 3))
    tensor([0., 0.])
    """
    half = side // 2
    top, left = (
        torch.randint(length, (len(x),), generator=generator, device=x.device) - half for length in x.shape[2:]
    )
    filling = x.mean((0, 2, 3), keepdim=True) if fill == "mean" else x.new_zeros(())
    return torch.where(Corners(top, top + 2 * half, left, left + 2 * half).mask(*x.shape[2:]), filling, x)


def occlusion(
    x: Tensor,
    generator: torch.Generator | None,
    *,
    share: Annotated[float, Field(ge=0, le=1, description="largest share of the image, published: 0.4")] = 0.4,
) -> Tensor:
    """A box of each image covered with noise, like random erasing, but in every image.

    The box lies within the image. Its area is uniform and the logarithm of its aspect ratio is, from 0.3 to 1/0.3; a
    side that would be longer than the image is as long. The noise is uniform between 0 and 1, or in an image with other
    values between its own darkest and brightest.

    Source: Zhong et al., Random erasing, AAAI 2020, which erases 2 to 40 % of every other image.

    Args:
        x: ``(n, C, H, W)``, floating point.
        generator: source of randomness.
        share: the share of the image is uniform from 0 to this.

    >>> occlusion(torch.rand(2, 3, 8, 6), None).shape
    torch.Size([2, 3, 8, 6])
    """
    low, high, inside = limits(x)
    low, high = torch.where(inside, 0, low), torch.where(inside, 1, high)
    area = x.shape[2] * x.shape[3] * uniform(x, 0, share, generator)
    aspect = ASPECT[0] * (ASPECT[1] / ASPECT[0]) ** uniform(x, 0, 1, generator)
    corners: list[Tensor] = []
    for length, size in zip(x.shape[2:], ((area * aspect).sqrt(), (area / aspect).sqrt()), strict=True):
        size = size.round().clamp_max(length)
        start = (uniform(x, 0, 1, generator) * (length - size + 1)).floor()
        corners += [start, start + size]
    drawn = torch.rand(x.shape, generator=generator, device=x.device, dtype=x.dtype)
    return torch.where(Corners(*corners).mask(*x.shape[2:]), low + (high - low) * drawn, x)
