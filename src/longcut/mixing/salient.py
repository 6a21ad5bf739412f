"""Pasting what is salient: where the partner's box is taken from, and where in the anchor it is put."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from longcut.errors import UserError
from longcut.losses import cross_entropy
from longcut.mixing import regions
from longcut.mixing.saliency import fine_grained, float_bytes, gradient, spectral_residual
from longcut.mixing.types import Blend, Seeing, Seen

__all__ = ["DETECTORS", "Detector", "Policy", "Scheme", "Ties", "pasting", "salient"]

Scheme = Literal[
    "salient-corresponding", "salient-salient", "salient-nonsalient", "nonsalient-salient", "nonsalient-nonsalient"
]
Detector = Literal["fine-grained", "spectral", "gradient", "released"]
Policy = Literal["clip", "shift"]
Ties = Literal["random", "first"]

DETECTORS = {"fine-grained": fine_grained, "spectral": spectral_residual, "released": float_bytes}


def salient(
    own: Tensor,
    partner: Tensor,
    share: Tensor,
    generator: torch.Generator | None,
    seen: Seen | None = None,
    *,
    detector: Detector = "fine-grained",
    scheme: Scheme = "salient-corresponding",
    policy: Policy = "clip",
    ties: Ties = "random",
    scope: Literal["sample", "batch"] = "sample",
    loss: Callable[[Tensor, Tensor], Tensor] = cross_entropy,
) -> tuple[Tensor, Tensor]:
    """SaliencyMix: a box around a salient pixel of the partner, pasted into the anchor.

    Sides are those of CutMix (:func:`~longcut.mixing.regions.box`). Salient is the pixel with the largest value of the
    map, nonsalient the one with the smallest.

    Args:
        own, partner: ``(n, C, H, W)``, in [0, 1] unless the detector is the gradient.
        share: of the anchor, before clipping ``(n,)``.
        generator: source of randomness.
        seen: labels and net, for the gradient.
        detector: of :mod:`longcut.mixing.saliency`; ``released`` is ``float_bytes``.
        scheme: around which of the partner's pixels the box is taken, and around which of the anchor's it is put;
            ``corresponding`` is the same place.
        policy: what becomes of boxes that reach over a border, the partner's or the anchor's: ``clip`` cuts both to
            what lies inside in both, ``shift`` moves each inside, so that areas are exact.
        ties: which of several largest (or smallest) pixels: any, or the first in reading order.
        scope: one box for each sample, or one for all from the maps of the first.
        loss: whose gradient it is, ``(outputs, label) -> (n,)``.

    Returns:
        Mixed images, and what is left of the anchor, in pixels ``(n,)``.

    Raises:
        UserError: for what is no image, or when there is no net to take a gradient of.

    Source: Uddin et al., SaliencyMix, ICLR 2021, §3; policy ``shift`` is the paper's, ``clip`` the released code's.
    """
    height, width = regions.image_sides("saliency", own)
    first = slice(len(own)) if scope == "sample" else slice(1)
    take, put = scheme.split("-")

    def place(images: Tensor, label: Tensor | None, wanted: str) -> tuple[Tensor, Tensor]:
        if detector != "gradient":
            found = DETECTORS[detector](images[first])
        elif label is None or seen is None or seen.net is None:
            raise UserError("saliency by gradients needs a net to look at; mix in a method, or pass net=….")
        else:
            found = gradient(images[first], label[first], seen.net, loss)
        at = _largest(found if wanted == "salient" else -found, ties, generator).expand(len(own))
        return at // width, at % width

    source = place(partner, seen and seen.partner_label, take)
    target = source if put == "corresponding" else place(own, seen and seen.label, put)
    corners, moved = [], []
    for length, theirs, ours in zip((height, width), source, target, strict=True):
        before = after = half = regions.half_side(share, length)
        if policy == "shift":
            theirs, ours = (torch.minimum(torch.maximum(at, half), length - half) for at in (theirs, ours))
        else:
            before = torch.minimum(half, torch.minimum(theirs, ours))
            after = torch.minimum(half, length - torch.maximum(theirs, ours))
        corners += [ours - before, ours + after]
        moved.append(theirs - ours)
    box = regions.Corners(*corners)
    if put == "corresponding":
        return regions.paste(own, partner, box), box.share(height, width)
    return regions.paste_moved(own, partner, box, *moved), box.share(height, width)


def pasting(*, detector: Detector = "fine-grained", **options) -> Blend:
    """:func:`salient` with these options as a blend, which sees labels and net where the gradient is asked for."""
    blend = partial(salient, detector=detector, **options)
    return Seeing(blend) if detector == "gradient" else blend


def _largest(score: Tensor, ties: Ties, generator: torch.Generator | None) -> Tensor:
    """Position of the largest value of each map ``(n, H, W)``, in reading order ``(n,)``."""
    score = score.flatten(1)
    if ties == "first":
        return score.argmax(1)
    passed = (score == score.amax(1, keepdim=True)).cumsum(1)
    count = passed[:, -1]
    chance = torch.rand(len(score), generator=generator, device=score.device)
    nth = torch.minimum((chance * count).long() + 1, count)
    return torch.searchsorted(passed, nth[:, None])[:, 0]
