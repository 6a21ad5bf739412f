"""GuidedMixup: each pixel is mixed in the proportion of how salient the two images are there."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from longcut.errors import UserError
from longcut.mixing.saliency import gradient, normalised, residual_of_spectrum, weighted_means
from longcut.mixing.types import Seeing, Seen

__all__ = ["by_gradient", "guided", "in_proportion", "overlap_distance", "smoothed", "spectral"]

SIDE = 128


def spectral(x: Tensor) -> Tensor:
    """What stands out of an image's smoothed log spectrum (Hou and Zhang, CVPR 2007), as GuidedMixup computes it.

    The grey image is resized to 128 × 128; the log of one plus its spectrum's amplitude, less its 3 × 3 mean (edges
    repeated), goes back with the old phase, and is squared, smoothed and resized.

    Args:
        x: ``(n, C, H, W)``, floating point.

    Returns:
        ``(n, H, W)``, each map with sum 1; the same everywhere where an image is flat.

    >>> image = torch.zeros(1, 1, 32, 32)
    >>> image[..., 5:7, 20:22] = 1
    >>> y, x = divmod(int(spectral(image).argmax()), 32)
    >>> 4 <= y <= 7, 19 <= x <= 22
    (True, True)
    """
    x = x.detach()
    colours = x.new_tensor([0.299, 0.587, 0.114]) if x.shape[1] == 3 else x.new_full((x.shape[1],), 1 / x.shape[1])
    grey = torch.einsum("nchw,c->nhw", x, colours)[:, None]
    flat = (grey.amax((1, 2, 3)) - grey.amin((1, 2, 3)) < 1e-6)[:, None, None]
    mean = weighted_means(x.new_ones(3), SIDE, "repeated")
    back = residual_of_spectrum(F.interpolate(255 * grey, (SIDE, SIDE), mode="bilinear")[:, 0], mean).square()
    found = F.interpolate(_gauss(back)[:, None], x.shape[2:], mode="bilinear")[:, 0]
    return normalised(torch.where(flat, 1, found))


def smoothed(saliency: Tensor) -> Tensor:
    """Maps ``(n, H, W)`` behind a Gaussian of 7 × 7 pixels, σ = 3, each with sum 1."""
    return normalised(_gauss(saliency))


def overlap_distance(first: Tensor, second: Tensor) -> Tensor:
    """How far maps are from each other, ``(n, p)``: the length of their difference, largest where none overlap."""
    return torch.cdist(first.flatten(1), second.flatten(1))


def in_proportion(
    own: Tensor, partner: Tensor, share: Tensor, own_map: Tensor, partner_map: Tensor
) -> tuple[Tensor, Tensor]:
    """Each pixel in the proportion of the two maps, and the mean of that: the share of the anchor.

    Args:
        own, partner: ``(n, C, H, W)``.
        share: 0 and 1 are kept, and what is between them counts for nothing ``(n,)``.
        own_map, partner_map: at least 0, each with sum 1 ``(n, H, W)``.
    """
    total = own_map + partner_map
    mask = torch.where(total > 0, own_map / total, 0.5)
    wanted = share.to(mask.dtype)[:, None, None]
    mask = torch.where((wanted == 0) | (wanted == 1), wanted, mask)
    return torch.lerp(partner, own, mask[:, None].to(own.dtype)), mask.mean((1, 2))


def guided(own: Tensor, partner: Tensor, share: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """GuidedMixup (Kang and Kim, AAAI 2023): each pixel in the proportion of the two spectral saliencies; any share."""
    _images(own)
    return in_proportion(own, partner, share, spectral(own), spectral(partner))


def _look(
    own: Tensor, partner: Tensor, share: Tensor, generator: torch.Generator | None, seen: Seen
) -> tuple[Tensor, Tensor]:
    """GuidedMixup by what moves the net's loss."""
    _images(own)
    if seen.net is None:
        raise UserError(
            "guidedmixup with detector=gradient looks at a net, but is shown none; "
            "pass net=… to blend_with, or take detector=spectral."
        )
    both, labels = torch.cat([own, partner]), torch.cat([seen.label, seen.partner_label])
    first, second = smoothed(gradient(both, labels, seen.net)).chunk(2)
    return in_proportion(own, partner, share, first, second)


by_gradient = Seeing(_look)
"""The same by the gradients of a net."""


def _images(x: Tensor) -> None:
    if x.ndim != 4:
        raise UserError(f"blend 'guided' needs images (n, C, H, W), but these inputs have shape {tuple(x.shape)}.")


def _gauss(x: Tensor) -> Tensor:
    """``(n, H, W)`` behind a Gaussian of 7 × 7 pixels, σ = 3."""
    weight = (-(torch.arange(-3, 4, device=x.device, dtype=x.dtype) ** 2) / (2 * 3**2)).exp()
    rows, columns = (weighted_means(weight, side, "repeated") for side in x.shape[1:])
    return rows @ x @ columns.T
