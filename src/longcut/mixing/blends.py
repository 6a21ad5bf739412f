"""How two inputs become one: blends, ``(own, partner, share, generator) -> (mixed, realised share)``."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from longcut.mixing import regions
from longcut.mixing.guided import guided
from longcut.mixing.puzzle import puzzle
from longcut.mixing.salient import salient
from longcut.mixing.transplant import TRANSPLANTS, background_around, background_box, background_moved
from longcut.mixing.types import Blend, Seeing
from longcut.registry import Registry, required

__all__ = [
    "BLENDS",
    "background_around",
    "background_box",
    "background_moved",
    "cut",
    "guided",
    "keep_both",
    "linear",
    "puzzle",
    "resize",
    "saliency",
]


def linear(
    own: Tensor, partner: Tensor, share: Tensor, generator: torch.Generator | None, *, out: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """``share * own + (1 - share) * partner``, written to ``out`` if given, which may be one of the two."""
    return torch.lerp(partner, own, _column(share, own), out=out), share


def cut(
    own: Tensor,
    partner: Tensor,
    share: Tensor,
    generator: torch.Generator | None,
    *,
    scope: Literal["sample", "batch"] = "sample",
    correct: bool = True,
    out: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """CutMix (Yun et al., ICCV 2019): a box of the partner pasted at the same place, clipped at the border.

    The box has area fraction ``1 - share`` before clipping (see :func:`~longcut.mixing.regions.box`); the share
    returned is what is left of the anchor, in pixels.

    Args:
        own, partner: ``(n, C, H, W)``.
        share: of the anchor, before clipping ``(n,)``.
        generator: source of randomness.
        scope: one place for each sample, or for the batch as in released code.
        correct: whether the share returned is the one of the pixels, or the one given.
        out: to be written to, which may be one of the two.
    """
    height, width = regions.image_sides("cut", own)
    corners = regions.box(share, height, width, generator, scope)
    left = corners.share(height, width) if correct else share
    if scope == "batch" and not own.is_cuda and len(own) and (share == share[0]).all():  # a GPU would have to be asked
        return regions.paste_one(own, partner, corners, out), left
    return regions.paste(own, partner, corners, out), left


def resize(own: Tensor, partner: Tensor, share: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """ResizeMix (Qin et al., 2020): the whole partner, its nearest pixels, in a box like that of ``cut``."""
    height, width = regions.image_sides("resize", own)
    corners = regions.box(share, height, width, generator)
    return regions.paste_resized(own, partner, corners), corners.share(height, width)


def saliency(own: Tensor, partner: Tensor, share: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """SaliencyMix (Uddin et al., ICLR 2021): the box around the partner's most salient pixel, clipped at the border."""
    return salient(own, partner, share, generator)


def keep_both(own: Tensor, partner: Tensor, share: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """The control of every pair rule: the same anchors and partners are drawn, but one of the two is shown whole.

    The anchor is shown with probability ``share``, so on average both weigh what they weigh in the blend. What a
    method gains over this is the mixing; the rest is resampling (Teney et al., ICML 2024).
    """
    keep = (torch.rand(len(own), generator=generator, device=own.device) < share).to(share.dtype)
    return torch.where(_column(keep, own) == 1, own, partner), keep


def _column(share: Tensor, like: Tensor) -> Tensor:
    return share.to(like.dtype).view(-1, *[1] * (like.ndim - 1))


IN_PLACE = (linear, cut)
"""Those that take ``out``, with options or without: what is mixed may be written over one of the two inputs."""

BLENDS: Registry[Blend] = Registry(
    "blend",
    "BLENDS",
    {
        "linear": linear,
        "cut": cut,
        "keep-both": keep_both,
        "resize": resize,
        "saliency": saliency,
        "puzzle": puzzle,
        "guided": guided,
        **TRANSPLANTS,
    },
    made=required(lambda row: callable(row) or isinstance(row, Seeing), "a function, or a Seeing"),
)
"""Blends by name; ``keep-both`` is the control, which does not blend."""
