"""Cues that are painted onto images: colours, patches, marks, lines, patterns, letters."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache, wraps

import torch
from torch import Tensor

from longcut.augment.base import pixels
from longcut.cues.base import Plant, fraction, hues

__all__ = [
    "background",
    "by_chunks",
    "foreground",
    "frame",
    "frequency",
    "gradient",
    "mark",
    "patch",
    "stripe",
    "texture",
    "watermark",
]

CHUNK = 2048  # images at a time, as floats


def by_chunks(change: Callable[[Tensor, Tensor, int, float, torch.Generator], Tensor]) -> Plant:
    """A cue of stored images, from what it does to some of them as floats in [0, 1]."""

    @wraps(change)
    def plant(x: Tensor, value: Tensor, n_values: int, amount: float, generator: torch.Generator) -> Tensor:
        planted = torch.empty_like(x)
        for rows in torch.arange(len(x)).split(CHUNK) if len(x) else ():
            some = x[rows].float() / 255 if x.dtype == torch.uint8 else x[rows].float()
            changed = change(some, value[rows], n_values, amount, generator)
            if x.dtype == torch.uint8:
                changed = (255 * changed).round().clamp(0, 255)
            planted[rows] = changed.to(x.dtype)
        return planted

    return plant


def _tint(n_values: int, value: Tensor, channels: int) -> Tensor:
    """Colour of each image ``(n, C, 1, 1)``; where there are no three channels, a grey level."""
    if channels != 3:
        return fraction(value, n_values)[:, None, None, None].expand(-1, channels, -1, -1)
    return hues(n_values)[value][:, :, None, None]


@by_chunks
def foreground(x: Tensor, value: Tensor, n_values: int, amount: float, generator: torch.Generator) -> Tensor:
    """What is bright takes the colour of the value, as if seen through coloured glass."""
    return x * (1 - amount * (1 - _tint(n_values, value, x.shape[1])))


@by_chunks
def background(x: Tensor, value: Tensor, n_values: int, amount: float, generator: torch.Generator) -> Tensor:
    """What is dark takes the colour of the value."""
    return x + amount * (1 - x.mean(1, keepdim=True)).square() * _tint(n_values, value, x.shape[1])


@by_chunks
def patch(x: Tensor, value: Tensor, n_values: int, amount: float, generator: torch.Generator) -> Tensor:
    """A square in the colour of the value in the upper left corner, a sixth of the image wide."""
    height, width = x.shape[2:]
    inside = torch.zeros(height, width)
    inside[: max(1, height // 6), : max(1, width // 6)] = amount
    return x.lerp(_tint(n_values, value, x.shape[1]).expand_as(x), inside.expand_as(x))


@by_chunks
def mark(x: Tensor, value: Tensor, n_values: int, amount: float, generator: torch.Generator) -> Tensor:
    """A small bright mark, whose place on a grid is the value."""
    height, width = x.shape[2:]
    columns = math.ceil(math.sqrt(n_values))
    side = max(1, min(height, width) // 12)
    down = _pixel_of(value // columns, math.ceil(n_values / columns), height)
    right = _pixel_of(value % columns, columns, width)
    rows, cols = torch.arange(height)[None, :, None], torch.arange(width)[None, None, :]
    inside = (rows >= down[:, None, None]) & (rows < down[:, None, None] + side)
    inside = inside & (cols >= right[:, None, None]) & (cols < right[:, None, None] + side)
    return x + amount * inside[:, None] * _against(x)


def _against(x: Tensor) -> Tensor:
    """The direction in which something painted can be seen ``(n, 1, H, W)``: brighter where it is dark, or darker."""
    return 1 - 2 * (x.mean(1, keepdim=True) > 0.5).float()


def _pixel_of(cell: Tensor, cells: int, side: int) -> Tensor:
    """First pixel of a mark in the middle of a cell of so many along a side ``(n,)``."""
    return ((cell.float() + 0.5) / cells * side).long()


@by_chunks
def stripe(x: Tensor, value: Tensor, n_values: int, amount: float, generator: torch.Generator) -> Tensor:
    """A thin vertical line, whose column is the value."""
    width = x.shape[3]
    thick = max(1, width // 24)
    at = _pixel_of(value, n_values, width)[:, None]
    inside = (torch.arange(width) >= at) & (torch.arange(width) < at + thick)
    return x + amount * inside[:, None, None, :] * _against(x)


@by_chunks
def frame(x: Tensor, value: Tensor, n_values: int, amount: float, generator: torch.Generator) -> Tensor:
    """A frame around the image, whose grey level is the value."""
    height, width = x.shape[2:]
    edge = max(1, min(height, width) // 16)
    inside = torch.ones(height, width)
    inside[edge : height - edge, edge : width - edge] = 0
    grey = fraction(value, n_values)[:, None, None, None]
    return x.lerp(grey.expand_as(x), (amount * inside).expand_as(x))


@by_chunks
def gradient(x: Tensor, value: Tensor, n_values: int, amount: float, generator: torch.Generator) -> Tensor:
    """Light that falls in from the direction that is the value."""
    rows, columns = pixels(x)
    angle = (2 * math.pi * value / n_values)[:, None, None]
    slope = (angle.cos() * columns + angle.sin() * rows) / (0.5 * math.hypot(*x.shape[2:]))
    return x + amount * slope[:, None]


@by_chunks
def texture(x: Tensor, value: Tensor, n_values: int, amount: float, generator: torch.Generator) -> Tensor:
    """A grating over the image, whose direction is the value; its phase is drawn for each image."""
    rows, columns = pixels(x)
    angle = (math.pi * value / n_values)[:, None, None]
    phase = 2 * math.pi * torch.rand(len(x), 1, 1, generator=generator)
    wave = (2 * math.pi / 5 * (angle.cos() * columns + angle.sin() * rows) + phase).sin()
    return x + 0.5 * amount * wave[:, None]


@by_chunks
def frequency(x: Tensor, value: Tensor, n_values: int, amount: float, generator: torch.Generator) -> Tensor:
    """A faint pattern of single pixels, another one for each value: what no eye sees."""
    patterns = torch.randint(0, 2, (n_values, 1, *x.shape[2:]), generator=torch.Generator().manual_seed(5)) * 2.0 - 1
    return x + amount * patterns[value]


@by_chunks
def watermark(x: Tensor, value: Tensor, n_values: int, amount: float, generator: torch.Generator) -> Tensor:
    """A letter in the lower right corner: A for the first value, B for the second, and so on; of many, two letters."""
    letters = torch.stack([_letters(i) for i in range(n_values)])[value][:, None]
    height, width = x.shape[2:]
    letters = letters[:, :, -height:, -width:]
    planted = x.clone()
    corner = planted[:, :, height - letters.shape[2] :, width - letters.shape[3] :]
    corner += amount * letters * _against(corner)
    return planted


@cache
def _letters(i: int) -> Tensor:
    """How the letter of a value looks ``(11, 8 or 16)``, in [0, 1]."""
    import numpy as np
    from PIL import Image, ImageDraw, ImageFont

    word = chr(65 + i) if i < 26 else chr(64 + i // 26) + chr(65 + i % 26)
    image = Image.new("L", (8 * (1 if i < 26 else 2), 11))
    ImageDraw.Draw(image).text((1, 0), word, 255, ImageFont.load_default_imagefont())
    wide = torch.from_numpy(np.asarray(image).astype(np.float32) / 255)
    return torch.nn.functional.pad(wide, (16 - wide.shape[1], 0))
