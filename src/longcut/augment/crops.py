"""Mirrored, and cut to a part: what nearly everybody does to photos."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from longcut.augment.base import of_kinds

__all__ = ["crop", "crop_flip", "flip", "resized_crop_flip", "unchanged"]

ASPECT, TRIES = (3 / 4, 4 / 3), 10


@of_kinds("image", "table", "tokens")
def unchanged(x: Tensor, generator: torch.Generator | None) -> Tensor:
    """As it is."""
    return x


def flip(x: Tensor, generator: torch.Generator | None) -> Tensor:
    """Each image ``(n, C, H, W)`` mirrored left to right with probability one half."""
    mirrored = torch.rand(len(x), generator=generator, device=x.device) < 0.5
    return torch.where(mirrored[:, None, None, None], x.flip(3), x)


def crop(
    x: Tensor,
    generator: torch.Generator | None,
    *,
    pad: Annotated[int, Field(ge=0, le=1000, description="largest move to each side, in pixels")] = 4,
) -> Tensor:
    """Each image moved by some pixels up or down and to a side, black where nothing is.

    Args:
        x: ``(n, C, H, W)``.
        generator: source of randomness.
        pad: how far at most.

    >>> crop(torch.ones(2, 3, 8, 8), torch.Generator().manual_seed(0)).shape
    torch.Size([2, 3, 8, 8])
    """
    n, _, height, width = x.shape
    x = F.pad(x, (pad, pad, pad, pad))
    top, left = torch.randint(2 * pad + 1, (2, n, 1), generator=generator, device=x.device)
    rows = top + torch.arange(height, device=x.device)
    columns = left + torch.arange(width, device=x.device)
    at = torch.arange(n, device=x.device)[:, None, None]
    return x.permute(0, 2, 3, 1)[at, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2).contiguous()


def crop_flip(x: Tensor, generator: torch.Generator | None) -> Tensor:
    """Each image moved by up to four pixels each way, black where nothing is, and mirrored or not.

    This is the usual CIFAR augmentation, ``RandomCrop(side, padding=4)`` and a horizontal flip, which DFA and SelecMix
    take for CIFAR and for faces.

    Args:
        x: ``(n, C, H, W)``.
        generator: source of randomness.

    >>> crop_flip(torch.ones(2, 3, 8, 8), torch.Generator().manual_seed(0)).shape
    torch.Size([2, 3, 8, 8])
    """
    return crop(flip(x, generator), generator)


def resized_crop_flip(
    x: Tensor,
    generator: torch.Generator | None,
    *,
    scale: Annotated[
        float, Field(gt=0, le=1, description="smallest share of the area that a box has; for contrast, usually 0.08")
    ] = 0.7,
) -> Tensor:
    """A box of each image, stretched to the whole by bilinear interpolation, and mirrored or not.

    The box has ``scale`` to 100 % of the area and, against the image's own, an aspect ratio from 3/4 to 4/3 whose
    logarithm is uniform. It is drawn up to ten times until it fits; else it is the whole image. For square images, the
    default is what group DRO, JTT and UMIX take for Waterbirds, ``RandomResizedCrop(side, scale=(0.7, 1))`` and a
    horizontal flip.

    Args:
        x: ``(n, C, H, W)``, floating point.
        generator: source of randomness.
        scale: the share of the area is uniform from this to 1.

    >>> resized_crop_flip(torch.ones(2, 3, 8, 8), torch.Generator().manual_seed(0)).shape
    torch.Size([2, 3, 8, 8])
    """
    n, _, height, width = x.shape
    area, aspect = torch.rand(2, n, TRIES, generator=generator, device=x.device)
    area = scale + (1.0 - scale) * area
    aspect = ASPECT[0] * (ASPECT[1] / ASPECT[0]) ** aspect
    tall, wide = (height * (area / aspect).sqrt()).round(), (width * (area * aspect).sqrt()).round()
    fits = (tall <= height) & (wide <= width)
    first = fits.int().argmax(1, keepdim=True)
    found = fits.any(1, keepdim=True)
    tall, wide = (torch.where(found, size.gather(1, first), whole) for size, whole in ((tall, height), (wide, width)))
    down, right, mirror = torch.rand(3, n, 1, generator=generator, device=x.device)
    rows = _places(tall, down, height)
    columns = _places(wide, right, width)
    columns = torch.where(mirror < 0.5, columns.flip(1), columns)
    grid = torch.stack(torch.broadcast_tensors(columns[:, None, :], rows[:, :, None]), 3)
    return F.grid_sample(x, grid.to(x.dtype), mode="bilinear", padding_mode="border", align_corners=False)


def _places(size: Tensor, place: Tensor, whole: int) -> Tensor:
    """Where along an axis of ``whole`` pixels to look, in [-1, 1]: its pixels laid over a box ``(n, 1)`` of that size.

    The box begins at one of its ``whole - size + 1`` places, and nothing outside of it is seen.
    """
    first = (place * (whole - size + 1)).floor()
    pixel = (torch.arange(whole, device=size.device) + 0.5) * (size / whole) - 0.5
    pixel = first + torch.minimum(pixel.clamp_min(0), size - 1)
    return (2 * pixel + 1) / whole - 1
