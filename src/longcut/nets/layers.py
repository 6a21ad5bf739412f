"""Layers that several nets share."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = [
    "ChannelsLast",
    "GlobalMean",
    "LocalStatistics",
    "MeanToken",
    "Resize",
    "Scale",
    "Shrink",
    "Standardize",
    "block",
]


class Scale(nn.Module):
    """Multiplies its input by a constant, and flattens it."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        """``(n, ...)`` to ``(n, d)``."""
        return x.flatten(1) if self.factor == 1 else x.flatten(1) * self.factor


def block(width_in: int, width: int, kernel: int, stride: int) -> nn.Sequential:
    """Convolution, batch normalisation, ReLU: ``(n, width_in, H, W)`` to ``(n, width, H / stride, W / stride)``."""
    conv = nn.Conv2d(width_in, width, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(width), nn.ReLU())


class GlobalMean(nn.Module):
    """Mean over the image axes."""

    def forward(self, x: Tensor) -> Tensor:
        """``(n, C, H, W)`` to ``(n, C)``."""
        return x.mean((2, 3))


class Shrink(nn.Module):
    """Averages non-overlapping squares until the image's short side is at most ``side``."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side

    def forward(self, x: Tensor) -> Tensor:
        """``(n, C, H, W)`` to ``(n, C, H / k, W / k)``."""
        k = -(-min(x.shape[-2:]) // self.side)
        return F.avg_pool2d(x, k) if k > 1 else x


class Resize(nn.Module):
    """Images of one channel or three to squares of three, whatever their ratio.

    Smaller ones are enlarged bilinearly. Of larger ones, whole squares of pixels are averaged first, so that none is
    skipped.
    """

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side

    def forward(self, x: Tensor) -> Tensor:
        """``(n, 1 or 3, H, W)`` to ``(n, 3, side, side)``."""
        height, width = (max(1, n // self.side) for n in x.shape[-2:])
        if height > 1 or width > 1:
            x = F.avg_pool2d(x, (height, width))
        if x.shape[-2:] != (self.side, self.side):
            x = F.interpolate(x, (self.side, self.side), mode="bilinear", align_corners=False)
        return x.expand(-1, 3, -1, -1)


class Standardize(nn.Module):
    """Subtracts a mean from each channel and divides it by a deviation."""

    def __init__(self, mean: tuple[float, ...], deviation: tuple[float, ...]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(deviation).view(-1, 1, 1), persistent=False)

    mean: Tensor
    deviation: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """``(n, C, H, W)``, in and out."""
        return (x - self.mean) / self.deviation


class ChannelsLast(nn.Module):
    """The same numbers with the channels side by side in memory: convolutions then take about a quarter less time."""

    def forward(self, x: Tensor) -> Tensor:
        """``(n, C, H, W)``, in and out."""
        return x.contiguous(memory_format=torch.channels_last)


class MeanToken(nn.Module):
    """Mean over the tokens whose embedding is not zero (padding is)."""

    def forward(self, x: Tensor) -> Tensor:
        """``(n, length, width)`` to ``(n, width)``."""
        real = x.detach().ne(0).any(2, keepdim=True)
        return x.sum(1) / real.sum(1).clamp_min(1)


class LocalStatistics(nn.Module):
    """Images ``(n, C, H, W)`` to statistics of the cells of a grid ``(n, 7 C, cells, cells)``.

    The mean, the largest and the smallest value, and the mean absolute difference of neighbours to the right, below,
    and on both diagonals. Images may be smaller than the grid, but not a single pixel along a side.
    """

    NUMBERS = 7  # of each cell and channel

    def __init__(self, cells: int) -> None:
        super().__init__()
        self.cells = cells

    def forward(self, x: Tensor) -> Tensor:
        """``(n, C, H, W)`` to ``(n, 7 C, cells, cells)``."""
        mean = partial(F.adaptive_avg_pool2d, output_size=self.cells)
        largest = partial(F.adaptive_max_pool2d, output_size=self.cells)
        x = F.pad(x, (0, 1, 0, 1), mode="replicate")
        here, right, below, beyond = x[..., :-1, :-1], x[..., :-1, 1:], x[..., 1:, :-1], x[..., 1:, 1:]
        apart = [(here - right).abs(), (here - below).abs(), (here - beyond).abs(), (right - below).abs()]
        return torch.cat([mean(here), largest(here), -largest(-here), *map(mean, apart)], 1)
