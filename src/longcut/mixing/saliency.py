"""Where in an image the eye, or a net, looks: saliency maps of whole batches, ``(n, C, H, W) -> (n, H, W)``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from longcut.errors import UserError

__all__ = [
    "fine_grained",
    "float_bytes",
    "gradient",
    "normalised",
    "residual_of_spectrum",
    "spectral_residual",
    "weighted_means",
]

SURROUNDS = (12, 24, 28, 48, 56, 112)  # half sides, in pixels
CROSS_ENTROPY = partial(F.cross_entropy, reduction="none")  # here, for torch alone is needed to mix
CACHED = 2**18  # pixels of the maps that a processor's cache holds at once


def fine_grained(x: Tensor) -> Tensor:
    """How much each pixel's brightness differs from that of six squares around it (OpenCV's fine-grained saliency).

    The images are taken as 8-bit ones, ``0.299 R + 0.587 G + 0.114 B``, and smoothed twice. Pixels brighter and those
    darker than their surround are summed over the squares, scaled by the largest sum of their kind, and added. The
    squares have a fixed number of pixels, so in an image of 32² three of six cover all: there the map is little but the
    contrast to the mean brightness.

    Args:
        x: ``(n, C, H, W)``, floats in [0, 1] or 8-bit integers. Of images with neither one channel nor three, the
            brightness is the channels' mean.

    Returns:
        ``(n, H, W)`` floats in [0, 1], multiples of 1/255; zeros where an image is flat.

    Raises:
        UserError: for images that are not in [0, 1], such as normalised ones.

    Source: Montabone and Soto, Human detection using a mobile platform and novel features derived from a visual
    saliency mechanism, 2010, as OpenCV computes it, but for two flaws: a flat image divides by zero there, and a sum
    above 255 wraps around.

    >>> image = torch.zeros(1, 1, 32, 32)
    >>> image[..., 5, 9] = 0.5
    >>> divmod(int(fine_grained(image).argmax()), 32)
    (5, 9)
    """
    return _in_chunks(_fine_grained, _images("fine_grained", x), x.shape[2] * x.shape[3])


def _fine_grained(x: Tensor) -> Tensor:
    grey = _brightness(x)
    if 255 * grey[0:1].numel() >= 2**24:  # sums of whole numbers stay exact
        grey = grey.double()
    grey = _smoothed(_smoothed(grey).add_(0.5).floor_()).add_(0.5).floor_()
    return _scaled(*_contrasts(grey, grey)).clamp_(max=255).div_(255)


def float_bytes(x: Tensor) -> Tensor:
    """What the released program of SaliencyMix takes for saliency, by handing the detector normalised floats.

    The fine-grained detector then reads as a pixel's own brightness a byte of its row: the first quarter of the row's
    floats, byte by byte, most of which are digits far behind the point. Only the surround is the image's. So the map
    is noise. Images are normalised with the mean and deviation of CIFAR-10, as in that program, and red and blue
    are swapped.

    Which digits those are depends on the order of additions in the build of OpenCV; where sums are exact, maps are too.

    Args:
        x: ``(n, C, H, W)``, floats in [0, 1] or 8-bit integers.

    Returns:
        ``(n, H, W)`` floats in [0, 1].

    Raises:
        UserError: for images that are not in [0, 1].
    """
    return _in_chunks(_float_bytes, _images("float_bytes", x), x.shape[2] * x.shape[3])


def _float_bytes(x: Tensor) -> Tensor:
    x = x.float() / 255 if x.dtype == torch.uint8 else x.float()
    if x.shape[1] == 3:
        red, green, blue = x.unbind(1)
        red, green, blue = (red - 0.4914) / 0.2471, (green - 0.4824) / 0.2435, (blue - 0.4467) / 0.2616
        grey = 0.114 * red + 0.587 * green + 0.299 * blue
    else:
        grey = (x.mean(1) - 0.5) / 0.25
    grey = _smoothed(_smoothed(grey))
    read = grey.contiguous().view(torch.uint8)[:, :, : x.shape[3]].float()
    return _scaled(*_contrasts(read, grey)).fmod_(256).div_(255)


def _images(detector: str, x: Tensor) -> Tensor:
    if x.ndim != 4:
        raise UserError(f"{detector} needs images (n, C, H, W), but these have shape {tuple(x.shape)}.")
    if x.dtype == torch.uint8 or not x.numel():
        return x
    low, high = (float(value) for value in x.detach().aminmax())
    if not (x.is_floating_point() and low >= -1e-3 and high <= 1 + 1e-3):  # what resizing and mixing round
        raise UserError(
            f"{detector} needs images of 8 bits or floats in [0, 1], but these are {x.dtype} in "
            f"[{low:.3g}, {high:.3g}]; give them as they were before they were normalised."
        )
    return x.detach()


def _brightness(x: Tensor) -> Tensor:
    """Whole numbers up to 255 ``(n, H, W)``, as floats, by OpenCV's weights of 15 bits."""
    x = x.float() if x.dtype == torch.uint8 else x.float().mul(255).round_()
    if x.shape[1] == 3:
        red, green, blue = x.unbind(1)
        return (9798 * red).add_(green, alpha=19235).add_(blue, alpha=3735).add_(2**14).mul_(2**-15).floor_()
    return x[:, 0] if x.shape[1] == 1 else x.mean(1).round_()


def _smoothed(grey: Tensor) -> Tensor:
    """Each pixel's mean with its neighbours, weights 1 2 1 both ways, mirrored at the border."""
    for dim in (1, 2):
        last = grey.shape[dim] - 1
        total = 2 * grey
        total.narrow(dim, 1, last).add_(grey.narrow(dim, 0, last))
        total.narrow(dim, 0, last).add_(grey.narrow(dim, 1, last))
        total.select(dim, 0).add_(grey.select(dim, min(1, last)))
        total.select(dim, last).add_(grey.select(dim, max(last - 1, 0)))
        grey = total
    return grey.mul_(1 / 16)


def _contrasts(grey: Tensor, around: Tensor) -> tuple[Tensor, Tensor]:
    """How far pixels lie below and above the means of their surrounds: sums of whole numbers, and twice that.

    What a pixel is in its own eyes may be another thing than what it is to those around it (:func:`float_bytes`); then
    differences can exceed 255, and wrap.
    """
    n, height, width = grey.shape
    integral = F.pad(around.cumsum(1).cumsum_(2), (1, 0, 1, 0))
    total, absolute = torch.zeros_like(grey), torch.zeros_like(grey)
    rows, window = grey.new_empty(n, height, width + 1), torch.empty_like(grey)
    sides = Counter((min(half, height), min(half, width)) for half in SURROUNDS)  # larger ones cover all as well
    for (half_height, half_width), times in sides.items():
        _difference(integral, half_height, 1, rows)
        _difference(rows, half_width, 2, window)
        area = _side(height, half_height, grey)[:, None] * _side(width, half_width, grey)
        # mean of the others - own = (sum - own) / (area - 1) - own, and its whole part, exactly
        contrast = window.addcmul_(grey, area, value=-1).div_((area - 1).clamp_(min=1), rounding_mode="trunc")
        if around is not grey:
            contrast.fmod_(256)
        total.add_(contrast, alpha=times)
        absolute.add_(contrast.abs_(), alpha=times)
    return absolute + total, absolute.sub_(total)


def _scaled(below: Tensor, above: Tensor) -> Tensor:
    """Both, each as whole numbers up to 255 by its own largest, added ``(n, H, W)``."""
    # OpenCV divides in single and multiplies in double precision, which decides about whole numbers
    parts = ((side / side.amax((1, 2), keepdim=True).clamp(min=1)).float() for side in (below, above))
    off, on = (part.double().mul_(255).floor_() for part in parts)
    return on.add_(off).float()


def _difference(sums: Tensor, half: int, dim: int, out: Tensor) -> None:
    """Sums over ``at - half < i ≤ at + half`` along a dimension, out of running sums that begin with zero."""
    length = out.shape[dim]
    inner = length - 2 * half  # places whose window lies inside, or minus those whose window covers all
    edge = min(half, length - half)
    whole = sums.narrow(dim, length, 1)
    out.narrow(dim, 0, edge).copy_(sums.narrow(dim, half + 1, edge))
    if inner > 0:
        stop, start = sums.narrow(dim, 2 * half + 1, inner), sums.narrow(dim, 1, inner)
        torch.sub(stop, start, out=out.narrow(dim, edge, inner))
    else:
        out.narrow(dim, edge, -inner).copy_(whole)
    torch.sub(whole, sums.narrow(dim, length - edge - half + 1, edge), out=out.narrow(dim, length - edge, edge))


def _side(length: int, half: int, like: Tensor) -> Tensor:
    at = torch.arange(length, device=like.device)
    return ((at + half + 1).clamp(max=length) - (at - half + 1).clamp(min=0)).to(like.dtype)


def spectral_residual(x: Tensor) -> Tensor:
    """What stands out of an image's smoothed log spectrum, back in the image (Hou and Zhang, CVPR 2007).

    With OpenCV's details: 64 × 64 pixels, ``log(1 + amplitude)`` less its 3 × 3 mean, the result smoothed by a Gaussian
    (5 × 5, σ = 8), squared, divided by its largest value and resized.

    Args:
        x: ``(n, C, H, W)``, floats in [0, 1] or 8-bit integers.

    Returns:
        ``(n, H, W)`` floats in [0, 1]; zeros where an image is flat.

    Raises:
        UserError: for images that are not in [0, 1], such as normalised ones.

    >>> image = torch.zeros(1, 1, 64, 64)
    >>> image[..., 20:24, 40:44] = 1
    >>> y, x = divmod(int(spectral_residual(image).argmax()), 64)
    >>> 18 <= y <= 25, 38 <= x <= 45
    (True, True)
    """
    return _in_chunks(_spectral_residual, _images("spectral_residual", x), max(64 * 64, x.shape[2] * x.shape[3]))


def _spectral_residual(x: Tensor) -> Tensor:
    grey = _brightness(x)[:, None]
    small = F.interpolate(grey, (64, 64), mode="bilinear")[:, 0].add_(0.5).floor_()
    at = torch.arange(-2, 3, device=x.device)
    gauss = weighted_means((-(at**2) / (2 * 8**2)).exp(), 64, "mirrored")
    residual = residual_of_spectrum(small, weighted_means(small.new_ones(3), 64, "mirrored"))
    found = (gauss @ residual @ gauss.T).square_()
    found /= found.amax((1, 2), keepdim=True)
    flat = small.amax((1, 2)) == small.amin((1, 2))
    found.masked_fill_(flat[:, None, None], 0)
    return F.interpolate(found[:, None], x.shape[2:], mode="bilinear")[:, 0]


def residual_of_spectrum(grey: Tensor, mean: Tensor) -> Tensor:
    """What is left of images without the mean of their log spectrum, as an amplitude at each pixel ``(n, s, s)``.

    Args:
        grey: ``(n, s, s)``.
        mean: which smooths the spectrum along a side ``(s, s)`` (see :func:`weighted_means`).
    """
    spectrum = torch.fft.fft2(grey)
    amplitude = spectrum.abs()
    smooth = (mean @ amplitude.log1p() @ mean.T).neg_().exp_()
    # exp(log(1 + amplitude) - smooth) with the spectrum's phase, which is 0 where there is no amplitude
    residual = torch.where(amplitude > 0, spectrum * ((1 + 1 / amplitude) * smooth), smooth)
    return torch.fft.ifft2(residual).abs()


def weighted_means(weight: Tensor, side: int, border: Literal["mirrored", "repeated"]) -> Tensor:
    """A weighted mean of each pixel's surroundings along a side, as a matrix ``(side, side)``.

    Args:
        weight: of the pixels around, an odd number of them; divided by their sum.
        side: in pixels.
        border: what lies beyond it: the image mirrored at its last pixel, or that pixel again and again.

    >>> weighted_means(torch.tensor([1.0, 2.0, 1.0]), 3, "mirrored")
    tensor([[0.5000, 0.5000, 0.0000],
            [0.2500, 0.5000, 0.2500],
            [0.0000, 0.5000, 0.5000]])
    """
    reach = len(weight) // 2
    near = torch.arange(side, device=weight.device)[:, None] + torch.arange(-reach, reach + 1, device=weight.device)
    near = near.clamp(0, side - 1) if border == "repeated" else side - 1 - (side - 1 - near.abs()).abs()
    return weight.new_zeros(side, side).scatter_add_(1, near, (weight / weight.sum()).expand(side, -1))


def normalised(maps: Tensor) -> Tensor:
    """Maps ``(n, h, w)`` with sum 1; the same everywhere where nothing is salient.

    >>> normalised(torch.tensor([[[3.0, 1.0]], [[0.0, 0.0]]]))
    tensor([[[0.7500, 0.2500]],
    <BLANKLINE>
            [[0.5000, 0.5000]]])
    """
    total = maps.sum((1, 2), keepdim=True)
    return torch.where(total > 0, maps / total, 1 / maps[0].numel())


def _in_chunks(detector: Callable[[Tensor], Tensor], x: Tensor, pixels: int) -> Tensor:
    """Some images at a time, as many as a processor's cache holds; ``pixels`` are those of a map."""
    if not len(x):
        return x.new_zeros(0, *x.shape[2:], dtype=torch.float32)
    return detector(x) if x.is_cuda else torch.cat([detector(some) for some in x.split(max(1, CACHED // pixels))])


def gradient(
    x: Tensor,
    label: Tensor,
    net: Callable[[Tensor], Tensor],
    loss: Callable[[Tensor, Tensor], Tensor] = CROSS_ENTROPY,
) -> Tensor:
    """How strongly each pixel moves the loss: the root mean square, over the channels, of its gradient.

    No gradient reaches the weights. Whoever wants batch normalisation left alone shows the net in evaluation mode.

    Args:
        x: ``(n, C, H, W)``, floating point.
        label: what the loss takes, one row per image.
        net: from images to outputs.
        loss: ``(outputs, label) -> (n,)``.

    Returns:
        ``(n, H, W)``, at least 0, without gradient.

    Source: Kim et al., Puzzle Mix, ICML 2020, §3.

    >>> weight = torch.tensor([[0.0, 2.0], [0.0, 0.0]])
    >>> gradient(torch.ones(1, 1, 2, 2), torch.zeros(1), lambda x: x, lambda out, _: (out * weight).sum((1, 2, 3)))
    tensor([[[0., 2.],
             [0., 0.]]])
    """
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        (slope,) = torch.autograd.grad(loss(net(x), label).sum(), x)
    return slope.square().mean(1).sqrt()
