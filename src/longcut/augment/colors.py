"""Light and colours that change: along those of the data, by channel, by hue, or towards the corners."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from longcut.augment.base import column, kept, limits, pixels, uniform

__all__ = ["color_cast", "darkened", "gray", "grayscale", "jitter", "pca_color", "turned_hue", "vignette"]

LUMA = (0.299, 0.587, 0.114)  # how bright red, green and blue look (ITU-R BT.601)
Strength = Annotated[float, Field(ge=0, le=1, description="0.4: the factor is uniform from 0.6 to 1.4")]


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


def jitter(
    x: Tensor,
    generator: torch.Generator | None,
    *,
    brightness: Strength = 0.4,
    contrast: Strength = 0.4,
    saturation: Strength = 0.4,
    hue: Annotated[float, Field(ge=0, le=0.5, description="largest turn of the hue to either side; 0.5: half way")] = (
        0.1
    ),
    chance: Annotated[float, Field(ge=0, le=1, description="probability that an image is changed at all")] = 0.8,
) -> Tensor:
    """Brightness, contrast, saturation and hue of each image changed, one after the other, or none of them.

    Brightness is a factor; contrast scales the distance to the image's mean grey, saturation that of each pixel to its
    own grey. Images without three channels have no hue and no saturation.

    Source: Chen et al., SimCLR, ICML 2020, appendix A, which does it in any order and, beside CIFAR, twice as strongly.

    Args:
        x: ``(n, C, H, W)``, floating point.
        generator: source of randomness.
        brightness, contrast, saturation, hue: the limits of what is drawn.
        chance: of each image.

    >>> jitter(torch.rand(2, 3, 8, 6), None).shape
    torch.Size([2, 3, 8, 6])
    """
    light, spread, color = (
        column(uniform(x, 1 - most, 1 + most, generator)) for most in (brightness, contrast, saturation)
    )
    turn, coin = uniform(x, -hue, hue, generator), uniform(x, 0, 1, generator)
    *_, inside = limits(x)
    y = _cut(x * light, inside)
    mean = gray(y).mean((1, 2, 3), keepdim=True)
    y = _cut(mean + spread * (y - mean), inside)
    if x.shape[1] == 3:
        own = gray(y)
        y = turned_hue(_cut(own + color * (y - own), inside), turn)
    return torch.where(column(coin) < chance, _cut(y, inside), x)


def _cut(x: Tensor, inside: Tensor) -> Tensor:
    """What is in [0, 1] to begin with stays there."""
    return torch.where(inside, x.clamp(0, 1), x)


def gray(x: Tensor) -> Tensor:
    """How bright each pixel looks ``(n, 1, H, W)``; without three channels, their mean."""
    if x.shape[1] != 3:
        return x.mean(1, keepdim=True)
    return (x * x.new_tensor(LUMA).view(3, 1, 1)).sum(1, keepdim=True)


def turned_hue(x: Tensor, turn: Tensor) -> Tensor:
    """Images whose hue is turned; the largest and the smallest channel of each pixel stay what they are.

    Args:
        x: ``(n, 3, H, W)``, floating point.
        turn: of each image ``(n,)``, in whole turns: a third makes red green.

    >>> turned_hue(torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1), torch.tensor([1 / 3])).flatten().round()
    tensor([0., 1., 0.])
    """
    low, high = x.amin(1, keepdim=True), x.amax(1, keepdim=True)
    chroma = high - low
    red, green, blue = x.split(1, 1)
    safe = torch.where(chroma > 0, chroma, 1)
    sixths = torch.where(
        red == high,
        (green - blue) / safe,
        torch.where(green == high, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    sixths = (sixths + 6 * column(turn)) % 6
    near = torch.cat([(sixths - 3).abs() - 1, 2 - (sixths - 2).abs(), 2 - (sixths - 4).abs()], 1)
    return low + chroma * near.clamp(0, 1)


def grayscale(
    x: Tensor,
    generator: torch.Generator | None,
    *,
    chance: Annotated[float, Field(ge=0, le=1, description="probability that an image loses its colours")] = 0.2,
) -> Tensor:
    """Some images grey; those without three channels stay as they are.

    Source: Chen et al., SimCLR, ICML 2020, appendix A.

    Args:
        x: ``(n, C, H, W)``, floating point.
        generator: source of randomness.
        chance: of each image.

    >>> grayscale(torch.rand(2, 3, 8, 6), None, chance=1.0).std(1).max() < 1e-6
    tensor(True)
    """
    coin = column(uniform(x, 0, 1, generator))
    return torch.where((coin < chance) & (x.shape[1] == 3), gray(x), x)
