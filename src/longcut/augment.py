"""Random changes of a batch of images that leave the label alone, drawn from a generator of the caller's.

Augmentation libraries draw from torch's global random state, which a run must leave alone to be resumable to the bit;
these few lines do not.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["AUGMENTS", "Augment", "crop_flip", "flip", "unchanged"]

Augment = Callable[[Tensor, torch.Generator | None], Tensor]
PAD = 4


def unchanged(x: Tensor, generator: torch.Generator | None) -> Tensor:
    """``x``."""
    return x


def flip(x: Tensor, generator: torch.Generator | None) -> Tensor:
    """Each image ``(n, C, H, W)`` mirrored left to right with probability one half."""
    mirrored = torch.rand(len(x), generator=generator, device=x.device) < 0.5
    return torch.where(mirrored[:, None, None, None], x.flip(3), x)


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
    n, _, height, width = x.shape
    x = F.pad(flip(x, generator), (PAD, PAD, PAD, PAD))
    top, left = torch.randint(2 * PAD + 1, (2, n, 1), generator=generator, device=x.device)
    rows = top + torch.arange(height, device=x.device)
    columns = left + torch.arange(width, device=x.device)
    at = torch.arange(n, device=x.device)[:, None, None]
    return x.permute(0, 2, 3, 1)[at, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2).contiguous()


AUGMENTS: dict[str, Augment] = {"none": unchanged, "crop-flip": crop_flip}
