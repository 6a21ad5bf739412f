"""Pixels that run into their neighbours: out of focus, or moved while the shutter was open.

What lies beyond the border is mirrored at it.
"""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from longcut.augment.base import kept, mirrored, uniform

__all__ = ["blur", "gaussian", "motion", "motion_blur"]


def blur(
    x: Tensor,
    generator: torch.Generator | None,
    *,
    sigma: Annotated[float, Field(ge=0, le=100, description="largest width of the Gaussian, in pixels")] = 1.5,
    chance: Annotated[float, Field(ge=0, le=1, description="probability that an image is blurred")] = 1.0,
) -> Tensor:
    """Each image out of focus, by a Gaussian of its own width.

    Args:
        x: ``(n, C, H, W)``, floating point.
        generator: source of randomness.
        sigma: the width is uniform from 0 to this.
        chance: of each image; others stay as they are.

    >>> blur(torch.rand(2, 3, 8, 6), None).shape
    torch.Size([2, 3, 8, 6])
    """
    width = uniform(x, 0, sigma, generator)
    if chance < 1:  # draws as many numbers as ever where it need not
        width = torch.where(uniform(x, 0, 1, generator) < chance, width, 0)
    return kept(gaussian(x, width, math.ceil(3 * sigma)), x)


def gaussian(x: Tensor, sigma: Tensor, radius: int) -> Tensor:
    """Images smoothed by a Gaussian that is sampled at the pixels and cut off.

    Args:
        x: ``(n, C, H, W)``, floating point.
        sigma: its width for each image ``(n,)``, in pixels; 0 leaves the image as it is.
        radius: where it is cut off, in pixels.
    """
    away = torch.arange(-radius, radius + 1, device=x.device, dtype=x.dtype)
    weight = torch.where(away == 0, 0.0, -(away.square()) / (2 * sigma.square()[:, None])).softmax(1)
    return _filtered(_filtered(x, weight[:, :, None]), weight[:, None, :])


def motion_blur(
    x: Tensor,
    generator: torch.Generator | None,
    *,
    length: Annotated[float, Field(ge=0, le=200, description="longest way that the camera moves, in pixels")] = 7.0,
) -> Tensor:
    """Each image smeared along a line, in a direction and over a length of its own.

    Args:
        x: ``(n, C, H, W)``, floating point.
        generator: source of randomness.
        length: the way is uniform from 0 to this, its direction any.

    >>> motion_blur(torch.rand(2, 3, 8, 6), None).shape
    torch.Size([2, 3, 8, 6])
    """
    ways, angles = uniform(x, 0, length, generator), uniform(x, 0, math.pi, generator)
    return kept(motion(x, ways, angles, math.ceil(length / 2)), x)


def motion(x: Tensor, length: Tensor, angle: Tensor, radius: int) -> Tensor:
    """The mean of images along a line about each pixel, at evenly spaced places between which is interpolated.

    Args:
        x: ``(n, C, H, W)``, floating point.
        length: of the line ``(n,)``, in pixels.
        angle: of the line ``(n,)``, from the right and downwards, in radians.
        radius: half of the longest line, rounded up; there are four places per pixel of it, and one in the middle.
    """
    away = torch.arange(-radius, radius + 1, device=x.device, dtype=x.dtype)
    along = torch.linspace(-0.5, 0.5, 8 * radius + 1, device=x.device, dtype=x.dtype) * length[:, None]
    down, right = (  # how much of each place falls to each row and column of the kernel (n, places, side)
        (1 - (along * step[:, None])[:, :, None].sub(away).abs()).clamp_min(0) for step in (angle.sin(), angle.cos())
    )
    return _filtered(x, down.transpose(1, 2) @ right / along.shape[1])


def _filtered(x: Tensor, kernel: Tensor) -> Tensor:
    """Images ``(n, C, H, W)``, each convolved with its own symmetric kernel ``(n, odd, odd)``."""
    n, channels, height, width = x.shape
    tall, wide = (side // 2 for side in kernel.shape[1:])
    rows, columns = mirrored(height, tall, x.device), mirrored(width, wide, x.device)
    padded = x[:, :, rows[:, None], columns].reshape(1, n * channels, len(rows), len(columns))
    return F.conv2d(padded, kernel.repeat_interleave(channels, 0)[:, None], groups=n * channels).view(x.shape)
