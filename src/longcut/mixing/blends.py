"""How two inputs become one: blends, ``(own, partner, share, generator) -> (mixed, realised share)``."""

from __future__ import annotations

import torch
from torch import Tensor

from longcut.errors import UserError
from longcut.mixing.guided import guided
from longcut.mixing.puzzle import puzzle
from longcut.mixing.types import Blend, Seeing
from longcut.registry import Registry, required

__all__ = ["BLENDS", "cut", "guided", "keep_both", "linear", "puzzle"]


def linear(own: Tensor, partner: Tensor, share: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """``share * own + (1 - share) * partner``."""
    return torch.lerp(partner, own, _column(share, own)), share


def cut(own: Tensor, partner: Tensor, share: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """CutMix (Yun et al., ICCV 2019): a box of the partner pasted at the same place, clipped at the border.

    The box has area fraction ``1 - share`` before clipping, its own place for each sample, corners at
    ``centre ∓ side // 2``; the share returned is what is left of the anchor, in pixels.
    """
    if own.ndim != 4:
        raise UserError(f"blend 'cut' needs images (n, C, H, W), but these inputs have shape {tuple(own.shape)}.")
    n, _, h, w = own.shape
    device, side = own.device, (1 - share).sqrt()

    def inside(length: int) -> Tensor:
        half = (length * side).int() // 2
        centre = torch.randint(length, (n,), generator=generator, device=device)
        at = torch.arange(length, device=device)
        return (at >= (centre - half)[:, None]) & (at < (centre + half)[:, None])

    box = inside(h)[:, :, None] & inside(w)[:, None, :]
    realised = 1 - box.float().mean((1, 2))
    return torch.where(box[:, None], partner, own), realised


def keep_both(own: Tensor, partner: Tensor, share: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """The control of every pair rule: the same anchors and partners are drawn, but one of the two is shown whole.

    The anchor is shown with probability ``share``, so on average both weigh what they weigh in the blend. What a
    method gains over this is the mixing; the rest is resampling (Teney et al., ICML 2024).
    """
    keep = (torch.rand(len(own), generator=generator, device=own.device) < share).to(share.dtype)
    return torch.where(_column(keep, own) == 1, own, partner), keep


def _column(share: Tensor, like: Tensor) -> Tensor:
    return share.to(like.dtype).view(-1, *[1] * (like.ndim - 1))


BLENDS: Registry[Blend] = Registry(
    "blend",
    "BLENDS",
    {"linear": linear, "cut": cut, "keep-both": keep_both, "puzzle": puzzle, "guided": guided},
    made=required(lambda row: callable(row) or isinstance(row, Seeing), "a function, or a Seeing"),
)
"""Blends by name; ``keep-both`` is the control, which does not blend."""
