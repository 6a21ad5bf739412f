"""Boxes in images, one for each sample of a batch: where they lie, how much they cover, what is pasted into them."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["Corners", "all_or_nothing", "box", "paste", "paste_resized"]


class Corners(NamedTuple):
    """A box for each sample, rows ``top ≤ y < bottom`` and columns ``left ≤ x < right``, in pixels ``(n,)``.

    >>> Corners(*torch.tensor([[0], [2], [1], [4]])).share(4, 6)  # what is left of the anchor
    tensor([0.7500])
    """

    top: Tensor
    bottom: Tensor
    left: Tensor
    right: Tensor

    def share(self, height: int, width: int) -> Tensor:
        """How much of an image is not in the box ``(n,)``, in [0, 1]."""
        return 1 - ((self.bottom - self.top) * (self.right - self.left)).float() / (height * width)

    def mask(self, height: int, width: int) -> Tensor:
        """Where the box is ``(n, 1, H, W)``."""
        y, x = (torch.arange(length, device=self.top.device) for length in (height, width))
        rows = (y >= self.top[:, None]) & (y < self.bottom[:, None])
        columns = (x >= self.left[:, None]) & (x < self.right[:, None])
        return (rows[:, :, None] & columns[:, None, :])[:, None]


def box(
    share: Tensor,
    height: int,
    width: int,
    generator: torch.Generator | None = None,
    scope: Literal["sample", "batch"] = "sample",
) -> Corners:
    """CutMix's boxes: sides are the fraction ``√(1 − share)`` of the image's, clipped at its border.

    The centre is any pixel with equal probability, and corners lie at ``centre ∓ side // 2``, so that an odd side loses
    a pixel, and one of 1 is empty.

    Args:
        share: what to keep of each anchor before clipping ``(n,)``, in [0, 1].
        height, width: of the images.
        generator: source of randomness.
        scope: one centre for each sample, or (as in released code) one for the batch.

    Source: Yun et al., CutMix, ICCV 2019, and its released code.

    >>> box(torch.tensor([1.0]), 8, 8).share(8, 8)
    tensor([1.])
    """
    side, n = (1 - share).sqrt(), len(share) if scope == "sample" else min(len(share), 1)

    def sides(length: int) -> tuple[Tensor, Tensor]:
        half = (length * side).int() // 2
        centre = torch.randint(length, (n,), generator=generator, device=share.device)
        return (centre - half).clamp(min=0), (centre + half).clamp(max=length)

    return Corners(*sides(height), *sides(width))


def paste(own: Tensor, partner: Tensor, corners: Corners) -> Tensor:
    """The partner's pixels in the box, at the same place; images ``(n, C, H, W)``."""
    return torch.where(corners.mask(*own.shape[2:]), partner, own)


def paste_resized(
    own: Tensor, partner: Tensor, corners: Corners, mode: Literal["nearest", "bilinear"] = "nearest"
) -> Tensor:
    """The whole partner, resized into the box.

    Nothing is pasted where the box has an empty side.

    Args:
        own: ``(n, C, H, W)``.
        partner: the same shape.
        corners: of the boxes.
        mode: pixel ``i`` of a side of ``h`` shows the partner's pixel ``⌊i · H / h⌋``, or is interpolated between
            those around ``(i + ½) · H / h − ½`` (neither smooths before it shrinks).

    Source: Qin et al., ResizeMix, 2020; Yang et al., RecursiveMix, NeurIPS 2022.

    >>> paste_resized(torch.zeros(1, 1, 2, 4), torch.ones(1, 1, 2, 4), Corners(*torch.tensor([[0], [1], [1], [3]])))
    tensor([[[[0., 1., 1., 0.],
              [0., 0., 0., 0.]]]])
    """
    height, width = own.shape[2:]

    def within(start: Tensor, stop: Tensor, length: int) -> tuple[Tensor, Tensor]:
        """Position in the box of each pixel of the image ``(n, length)``, and the box's side ``(n, 1)``."""
        return torch.arange(length, device=own.device) - start[:, None], (stop - start).clamp(min=1)[:, None]

    (y, h), (x, w) = within(corners.top, corners.bottom, height), within(corners.left, corners.right, width)
    if mode == "bilinear":
        y, x = (2 * (at + 0.5) / side - 1 for at, side in ((y, h), (x, w)))
        grid = torch.stack(torch.broadcast_tensors(x[:, None, :], y[:, :, None]), 3).to(partner.dtype)
        shown = F.grid_sample(partner, grid, padding_mode="border", align_corners=False)
    else:
        rows = (y * height // h).clamp(0, height - 1)
        columns = (x * width // w).clamp(0, width - 1)
        source = (rows[:, :, None] * width + columns[:, None, :]).flatten(1)[:, None].expand(-1, own.shape[1], -1)
        shown = partner.flatten(2).gather(2, source).view_as(partner)
    return torch.where(corners.mask(height, width), shown, own)


def all_or_nothing(corners: Corners, height: int, width: int, generator: torch.Generator | None = None) -> Corners:
    """The control of a box: the whole image with a probability of the box's area, else none of it.

    On average both images weigh what they weigh with the box, but nothing is mixed.

    Args:
        corners: of the boxes.
        height, width: of the images.
        generator: source of randomness.
    """
    share = corners.share(height, width)
    whole = (torch.rand(share.shape, generator=generator, device=share.device) >= share).long()
    return Corners(0 * whole, height * whole, 0 * whole, width * whole)
