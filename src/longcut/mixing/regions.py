"""Boxes in images, one for each sample of a batch: where they lie, how much they cover, what is pasted into them."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from longcut.errors import UserError

__all__ = [
    "Corners",
    "all_or_nothing",
    "box",
    "half_side",
    "image_sides",
    "paste",
    "paste_moved",
    "paste_one",
    "paste_resized",
]


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
        return self.cover(height, width, torch.float32) > 0

    def cover(self, height: int, width: int, dtype: torch.dtype) -> Tensor:
        """The same as numbers, 1 in the box and 0 outside: products of numbers are quicker than those of bits."""
        y, x = (torch.arange(length, device=self.top.device) for length in (height, width))
        rows = ((y >= self.top[:, None]) & (y < self.bottom[:, None])).to(dtype)
        columns = ((x >= self.left[:, None]) & (x < self.right[:, None])).to(dtype)
        return (rows[:, :, None] * columns[:, None, :])[:, None]


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
    n = len(share) if scope == "sample" else min(len(share), 1)

    def around(length: int) -> tuple[Tensor, Tensor]:
        half = half_side(share, length)
        centre = torch.randint(length, (n,), generator=generator, device=share.device)
        return (centre - half).clamp(min=0), (centre + half).clamp(max=length)

    return Corners(*around(height), *around(width))


def half_side(share: Tensor, length: int) -> Tensor:
    """Half the side of a box that leaves ``share`` of an image, in whole pixels, where the image's is ``length``."""
    return (length * (1 - share).sqrt()).int() // 2


def image_sides(blend: str, images: Tensor) -> tuple[int, int]:
    """Height and width.

    Raises:
        UserError: when these are no images.
    """
    if images.ndim != 4:
        raise UserError(
            f"blend '{blend}' needs images (n, C, H, W), but these inputs have shape {tuple(images.shape)}."
        )
    return images.shape[2], images.shape[3]


def paste(own: Tensor, partner: Tensor, corners: Corners, out: Tensor | None = None) -> Tensor:
    """The partner's pixels in the box, at the same place; images ``(n, C, H, W)``, written to ``out`` if given."""
    # exact at 0 and 1, and several times as fast as a choice by bits
    cover = corners.cover(own.shape[2], own.shape[3], own.dtype)
    return torch.lerp(own, partner, cover, out=out)


def paste_one(own: Tensor, partner: Tensor, corners: Corners, out: Tensor | None = None) -> Tensor:
    """:func:`paste` where all have one box: no pixel is touched but those that move.

    >>> corners = Corners(*torch.tensor([[0, 0], [1, 1], [1, 1], [2, 2]]))
    >>> paste_one(torch.zeros(2, 1, 1, 3), torch.ones(2, 1, 1, 3), corners).flatten(1)
    tensor([[0., 1., 0.],
            [0., 1., 0.]])
    """
    top, bottom, left, right = (int(side[0]) for side in corners)
    shown = partner[..., top:bottom, left:right]
    if out is None:
        out = own.clone()
    elif out is not own:
        shown = shown.clone()  # out may be the partner
        out.copy_(own)
    out[..., top:bottom, left:right] = shown
    return out


def paste_moved(own: Tensor, partner: Tensor, corners: Corners, down: Tensor, right: Tensor) -> Tensor:
    """The partner's pixels from elsewhere: pixel ``(y, x)`` of the box shows the partner's ``(y + down, x + right)``.

    Args:
        own: ``(n, C, H, W)``.
        partner: the same shape.
        corners: of the boxes in the anchors.
        down, right: how far away the partner's box lies, inside its image, in pixels ``(n,)``.

    >>> partner = torch.tensor([[[[1.0, 2.0, 3.0]]]])
    >>> corners = Corners(*torch.tensor([[0], [1], [0], [2]]))
    >>> paste_moved(torch.zeros(1, 1, 1, 3), partner, corners, torch.tensor([0]), torch.tensor([1]))
    tensor([[[[2., 3., 0.]]]])
    """
    height, width = own.shape[2:]
    y, x = (torch.arange(length, device=own.device) for length in (height, width))
    shown = _at(partner, y + down[:, None], x + right[:, None])
    return paste(own, shown, corners)


def _at(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """The pixels at ``rows`` ``(n, H)`` and ``columns`` ``(n, W)``, of those outside the nearest."""
    n, channels, height, width = images.shape
    source = rows.clamp(0, height - 1)[:, :, None] * width + columns.clamp(0, width - 1)[:, None, :]
    return images.flatten(2).gather(2, source.view(n, 1, height * width).expand(-1, channels, -1)).view_as(images)


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
        shown = _at(partner, y * height // h, x * width // w)
    return paste(own, shown, corners)


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
