"""Background transplants: what is not salient in the partner goes where the anchor keeps its object.

A box, or all that surrounds the object, of the partner takes the place of background of the anchor, so that the
anchor's label still holds. What is salient is said by :func:`~longcut.mixing.saliency.spectral_residual`, in 256 steps.

Source: Guo, slides on mixup, 2022 (unpublished): "non-salient to corresponding" and "non-salient to non-salient".
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from longcut.mixing import regions
from longcut.mixing.pairs import choose
from longcut.mixing.saliency import spectral_residual

__all__ = ["TRANSPLANTS", "background_around", "background_box", "background_moved", "box_sums"]

GUARD = 0.2
STEPS = 255  # of saliency: whole numbers, whose sums are exact and whose ties are ties
Counted = Literal["area", "mass"]


def background_box(
    own: Tensor,
    partner: Tensor,
    share: Tensor,
    generator: torch.Generator | None,
    *,
    guard: float = GUARD,
    counted: Counted = "area",
) -> tuple[Tensor, Tensor]:
    """The partner's least salient box, pasted at the same place, where that hides little of what the anchor shows.

    Of the boxes with area ``1 - share`` that hold at most ``guard`` of the anchor's saliency it is that with the least
    of the partner's (ties by lot); where there is none, the anchor stays whole.

    Args:
        own, partner: images ``(n, C, H, W)``.
        share: ``(n,)``, in [0, 1].
        generator: of the ties.
        guard: how much of its saliency an anchor may lose, in [0, 1]; 1 is all.
        counted: the share returned is the anchor's of the ``"area"``, or of the saliency ``"mass"`` that is left:
            ``Σ_kept S / (Σ_kept S + Σ_pasted S')``.
    """
    ours, theirs, sides = *_saliencies("background-box", own, partner), _sides(share, own)
    hidden, whole = box_sums(ours, *sides)
    top, left, found = _least(box_sums(theirs, *sides)[0], whole & _spared(hidden, ours, guard), generator)
    return _pasted(own, partner, _corners(top, left, found, *sides), 0 * top, 0 * left, ours, theirs, counted)


def background_moved(
    own: Tensor,
    partner: Tensor,
    share: Tensor,
    generator: torch.Generator | None,
    *,
    guard: float = GUARD,
    counted: Counted = "area",
) -> tuple[Tensor, Tensor]:
    """The partner's least salient box with area ``1 - share``, pasted onto the anchor's.

    Where that would hide more than ``guard`` of the anchor's saliency, the anchor stays whole. Arguments as of
    :func:`background_box`.
    """
    ours, theirs, sides = *_saliencies("background-moved", own, partner), _sides(share, own)
    hidden, whole = box_sums(ours, *sides)
    top, left, found = _least(hidden, whole & _spared(hidden, ours, guard), generator)
    y, x, _ = _least(*box_sums(theirs, *sides), generator)
    return _pasted(own, partner, _corners(top, left, found, *sides), y - top, x - left, ours, theirs, counted)


def background_around(
    own: Tensor,
    partner: Tensor,
    share: Tensor,
    generator: torch.Generator | None,
    *,
    guard: float = GUARD,
    counted: Counted = "area",
) -> tuple[Tensor, Tensor]:
    """The anchor's salient pixels before the partner, with a soft edge of two pixels.

    The most salient ``share`` of the anchor's pixels stays (ties by lot), or more, until all but ``guard`` of its
    saliency does. Arguments as of :func:`background_box`.
    """
    ours, theirs = _saliencies("background-around", own, partner)
    n, height, width = ours.shape
    noise = torch.rand(ours.shape, generator=generator, device=own.device, dtype=torch.float64)
    order = (ours + noise).flatten(1).argsort(1, descending=True)
    salient = ours.flatten(1).gather(1, order)
    before = salient.cumsum(1) - salient
    stays = torch.arange(height * width, device=own.device) < share[:, None] * height * width
    stays = stays | (before < (1 - guard) * salient.sum(1, keepdim=True))
    kept = torch.zeros(n, height * width, device=own.device).scatter_(1, order, stays.float())
    kept = _soft(kept.view(n, 1, height, width)).to(own.dtype)
    seen = torch.lerp(theirs, ours, kept[:, 0].double())
    return torch.lerp(partner, own, kept), _share(kept, ours, seen, counted)


TRANSPLANTS = {
    "background-box": background_box,
    "background-moved": background_moved,
    "background-around": background_around,
}
"""The blends of this file by name."""


def box_sums(weight: Tensor, height: Tensor, width: Tensor) -> tuple[Tensor, Tensor]:
    """Sums of a map over every box of a size of each sample's own, and which of the boxes lie inside.

    Args:
        weight: ``(n, H, W)``.
        height, width: of the boxes, in pixels ``(n,)``.

    Returns:
        At the place of a box's first row and column its sum ``(n, H, W)``, and whether it is whole ``(n, H, W)``.

    >>> sums, whole = box_sums(torch.ones(1, 2, 3), torch.tensor([1]), torch.tensor([2]))
    >>> sums[whole]
    tensor([2., 2., 2., 2.])
    """
    tall, wide = weight.shape[1:]
    integral = F.pad(weight.cumsum(1).cumsum(2), (1, 0, 1, 0))
    y, x = (torch.arange(length, device=weight.device) for length in (tall, wide))
    bottom, right = y + height[:, None], x + width[:, None]
    rows = integral.gather(1, bottom.clamp(max=tall)[:, :, None].expand(-1, -1, wide + 1)) - integral[:, :-1]
    sums = rows.gather(2, right.clamp(max=wide)[:, None, :].expand(-1, tall, -1)) - rows[:, :, :-1]
    return sums, (bottom <= tall)[:, :, None] & (right <= wide)[:, None, :]


def _saliencies(blend: str, own: Tensor, partner: Tensor) -> list[Tensor]:
    regions.image_sides(blend, own)
    return [(STEPS * spectral_residual(x)).round().double() for x in (own, partner)]


def _sides(share: Tensor, images: Tensor) -> tuple[Tensor, Tensor]:
    """Height and width, in pixels, of boxes with area ``1 - share``."""
    side = (1 - share).sqrt()
    return (images.shape[2] * side).round().long(), (images.shape[3] * side).round().long()


def _spared(hidden: Tensor, ours: Tensor, guard: float) -> Tensor:
    return hidden <= guard * ours.sum((1, 2))[:, None, None]


def _least(sums: Tensor, allowed: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor, Tensor]:
    """First row, first column and whether there is one, of an allowed box with the least sum."""
    pairs = choose(-sums.flatten(1), allowed.flatten(1), generator)
    return pairs.partner // sums.shape[2], pairs.partner % sums.shape[2], pairs.found


def _corners(top: Tensor, left: Tensor, found: Tensor, height: Tensor, width: Tensor) -> regions.Corners:
    """Of the boxes; empty where there is none."""
    return regions.Corners(top, top + height * found, left, left + width)


def _pasted(
    own: Tensor,
    partner: Tensor,
    corners: regions.Corners,
    down: Tensor,
    right: Tensor,
    ours: Tensor,
    theirs: Tensor,
    counted: Counted,
) -> tuple[Tensor, Tensor]:
    kept = (~corners.mask(*own.shape[2:])).to(own.dtype)
    seen = regions.paste_moved(ours[:, None], theirs[:, None], corners, down, right)[:, 0]
    return regions.paste_moved(own, partner, corners, down, right), _share(kept, ours, seen, counted)


def _share(kept: Tensor, ours: Tensor, seen: Tensor, counted: Counted) -> Tensor:
    """The anchor's, by how much of its pixels ``(n, 1, H, W)`` is kept, or of the saliency that is seen."""
    area = kept.mean((1, 2, 3))
    if counted == "area":
        return area
    left, total = (kept[:, 0] * ours).sum((1, 2)), seen.sum((1, 2))
    return torch.where(total > 0, left / total, area).to(area.dtype)


def _soft(mask: Tensor) -> Tensor:
    """Two passes of [1 2 1] / 4 along both sides, which at the border repeat its pixels; ones stay ones."""
    kernel = torch.tensor([1.0, 2.0, 1.0], device=mask.device)
    kernel = (kernel[:, None] * kernel / 16)[None, None]
    for _ in range(2):
        mask = F.conv2d(F.pad(mask, (1, 1, 1, 1), mode="replicate"), kernel)
    return mask
