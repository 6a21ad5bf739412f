"""Pixels that move: affine maps, elastic displacements, the distortion of a lens.

What comes from beyond the border is mirrored at it.
"""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from longcut.augment.base import column, kept, pixels, uniform
from longcut.augment.blurs import gaussian

__all__ = ["affine", "elastic", "lens", "looked_up", "radial", "transformed"]


def affine(
    x: Tensor,
    generator: torch.Generator | None,
    *,
    rotate: Annotated[float, Field(ge=0, le=180, description="largest rotation to either side, in degrees")] = 15.0,
    shift: Annotated[float, Field(ge=0, le=1, description="largest shift along each axis, as a share of it")] = 0.1,
    zoom: Annotated[float, Field(ge=0, le=3, description="0.1: from 1/1.1 to 1.1 times as large")] = 0.1,
    shear: Annotated[float, Field(ge=0, le=60, description="largest shear to either side, in degrees")] = 10.0,
) -> Tensor:
    """Each image turned, moved, scaled and sheared about its middle, by bilinear interpolation.

    Angles and shifts are uniform, the logarithm of the scale is.

    Args:
        x: ``(n, C, H, W)``, floating point.
        generator: source of randomness.
        rotate, shift, zoom, shear: the limits of what is drawn.

    >>> affine(torch.rand(2, 3, 8, 6), None).shape
    torch.Size([2, 3, 8, 6])
    """
    height, width = x.shape[2:]
    angle, lean = (uniform(x, -math.radians(most), math.radians(most), generator) for most in (rotate, shear))
    size = uniform(x, -math.log1p(zoom), math.log1p(zoom), generator).exp()
    right, down = (side * uniform(x, -shift, shift, generator) for side in (width, height))
    cos, sin, tan = angle.cos(), angle.sin(), lean.tan()
    back = torch.stack([cos, cos * tan + sin, -sin, cos - sin * tan], 1).view(-1, 2, 2)  # a rotation of a shear
    return transformed(x, back / size[:, None, None], torch.stack([right, down], 1))


def transformed(x: Tensor, matrix: Tensor, shift: Tensor) -> Tensor:
    """Images where a pixel at ``p`` shows what was at ``matrix @ (p - shift)``, both counted from the middle.

    Args:
        x: ``(n, C, H, W)``, floating point.
        matrix: ``(n, 2, 2)``, of ``(to the right, down)`` in pixels.
        shift: ``(n, 2)``, likewise.

    >>> quarter = torch.tensor([[[0.0, -1.0], [1.0, 0.0]]])
    >>> transformed(torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]), quarter, torch.zeros(1, 2))[0, 0]
    tensor([[2., 4.],
            [1., 3.]])
    """
    rows, columns = pixels(x)
    down, right = rows - shift[:, 1, None, None], columns - shift[:, 0, None, None]
    a, b, c, d = matrix.flatten(1)[:, :, None, None].unbind(1)
    return looked_up(x, c * right + d * down, a * right + b * down)


def looked_up(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """What images show at places between pixels, counted from the middle ``(n, H, W)``; beyond the border, mirrored."""
    height, width = x.shape[2:]
    grid = torch.stack(torch.broadcast_tensors(2 * columns / width, 2 * rows / height), 3)
    found = F.grid_sample(x, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    return kept(found, x)


def elastic(
    x: Tensor,
    generator: torch.Generator | None,
    *,
    strength: Annotated[float, Field(ge=0, description="alpha: pixels by which the smoothed field is scaled")] = 34.0,
    smooth: Annotated[float, Field(ge=0, le=100, description="sigma: of the Gaussian that smooths, in pixels")] = 4.0,
) -> Tensor:
    """Each pixel displaced by its own amount, smoothly over the image, by bilinear interpolation.

    Uniform noise in ±1 along both axes, smoothed and scaled; the defaults are the published ones, for digits of 29 by
    29 pixels, and displace by about 1.4 pixels.

    Source: Simard et al., ICDAR 2003, section 2.

    Args:
        x: ``(n, C, H, W)``, floating point.
        generator: source of randomness.
        strength: how far.
        smooth: how smoothly; a displacement shrinks as its neighbours even it out, so raise both together.

    >>> elastic(torch.rand(2, 3, 8, 6), None).shape
    torch.Size([2, 3, 8, 6])
    """
    n, _, height, width = x.shape
    noise = 2 * torch.rand(n, 2, height, width, generator=generator, device=x.device, dtype=x.dtype) - 1
    down, right = (strength * gaussian(noise, x.new_full((n,), smooth), math.ceil(3 * smooth))).unbind(1)
    rows, columns = pixels(x)
    return looked_up(x, rows + down, columns + right)


def lens(
    x: Tensor,
    generator: torch.Generator | None,
    *,
    strength: Annotated[float, Field(ge=0, le=0.3, description="largest distortion at the corner, to either side")] = (
        0.2
    ),
) -> Tensor:
    """Each image through a lens that bends straight lines: a barrel or a pincushion.

    Source: Wu et al., Deep Image, 2015 (arXiv 1501.02876), which names it; the model is Brown's first radial term.

    Args:
        x: ``(n, C, H, W)``, floating point.
        generator: source of randomness.
        strength: the coefficient is uniform in ± this.

    >>> lens(torch.rand(2, 3, 8, 6), None).shape
    torch.Size([2, 3, 8, 6])
    """
    return radial(x, uniform(x, -strength, strength, generator))


def radial(x: Tensor, k: Tensor) -> Tensor:
    """Images where a pixel at distance ``r`` from the middle shows what was at ``r (1 + k r^2)``; 1 is the corner.

    Args:
        x: ``(n, C, H, W)``, floating point.
        k: ``(n,)``, above -1/3, below which an image folds over; positive is a barrel.
    """
    rows, columns = pixels(x)
    corner = (x.shape[2] ** 2 + x.shape[3] ** 2) / 4
    stretch = (1 + column(k) * (rows.square() + columns.square()) / corner)[:, 0]
    return looked_up(x, rows * stretch, columns * stretch)
