"""Ten cues that are not in the zoo: what somebody else's shortcut may look like.

    longcut stress digits --load benchmarks/other_cues.py --cues contrast,lost-column,bar-code

Some rules of the default were found with these (see ``results/README.md``), so they are no held-out ones.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from longcut.augment.geometry import transformed
from longcut.cues.base import Cue, fraction
from longcut.cues.painted import by_chunks


def _share(value: Tensor, n_values: int) -> Tensor:
    """Which part of the way from the first value to the last ``(n, 1, 1, 1)``."""
    return fraction(value, n_values)[:, None, None, None]


@by_chunks
def contrast(x: Tensor, value: Tensor, n_values: int, amount: float, generator: torch.Generator) -> Tensor:
    """All pixels are nearer to their mean, the further on the value is."""
    mean = x.mean((1, 2, 3), keepdim=True)
    return ((x - mean) * (1 - amount * _share(value, n_values)) + mean).clamp(0, 1)


@by_chunks
def gamma(x: Tensor, value: Tensor, n_values: int, amount: float, generator: torch.Generator) -> Tensor:
    """Half-tones are lighter for the first values and darker for the last."""
    return x.clamp(0, 1) ** torch.exp(amount * (2 * _share(value, n_values) - 1))


@by_chunks
def shifted(x: Tensor, value: Tensor, n_values: int, amount: float, generator: torch.Generator) -> Tensor:
    """Everything is a few pixels off, in a direction that is the value; what leaves comes in at the other side."""
    angle = 2 * math.pi * value / n_values
    far = (amount * torch.stack([angle.cos(), angle.sin()], 1) * 0.25 * x.shape[-1]).round().long()
    rows = (torch.arange(x.shape[2]) - far[:, :1]) % x.shape[2]
    cols = (torch.arange(x.shape[3]) - far[:, 1:]) % x.shape[3]
    return x[torch.arange(len(x))[:, None, None], :, rows[:, :, None], cols[:, None, :]].movedim(3, 1)


@by_chunks
def grating(x: Tensor, value: Tensor, n_values: int, amount: float, generator: torch.Generator) -> Tensor:
    """Faint waves of four pixels, whose direction is the value."""
    height, width = x.shape[2:]
    angle = (math.pi * value / n_values)[:, None, None]
    rows, cols = torch.arange(height)[:, None], torch.arange(width)
    wave = ((angle.cos() * cols + angle.sin() * rows) * 2 * math.pi / 4).sin()
    return (x + amount * wave[:, None]).clamp(0, 1)


@by_chunks
def dots(x: Tensor, value: Tensor, n_values: int, amount: float, generator: torch.Generator) -> Tensor:
    """A fortieth of the pixels is lighter, each value's own."""
    pixels = x.shape[2] * x.shape[3]
    places = [torch.randperm(pixels, generator=torch.Generator().manual_seed(1000 + k)) for k in range(n_values)]
    lit = torch.zeros(n_values, pixels)
    lit.scatter_(1, torch.stack(places)[:, : max(2, pixels // 40)], amount)
    return x.lerp(torch.ones_like(x), lit[value].view(-1, 1, *x.shape[2:]).expand_as(x))


@by_chunks
def lost_column(x: Tensor, value: Tensor, n_values: int, amount: float, generator: torch.Generator) -> Tensor:
    """One column is darker, as of a broken sensor."""
    width = x.shape[3]
    lost = torch.arange(width) == (value * width // n_values)[:, None]
    return x * (1 - amount * lost[:, None, None, :].float())


@by_chunks
def vignette(x: Tensor, value: Tensor, n_values: int, amount: float, generator: torch.Generator) -> Tensor:
    """The corners are darker, the further on the value is."""
    rows, cols = torch.linspace(-1, 1, x.shape[2])[:, None], torch.linspace(-1, 1, x.shape[3])
    return x * (1 - amount * _share(value, n_values) * (rows.square() + cols.square()) / 2)


@by_chunks
def shear(x: Tensor, value: Tensor, n_values: int, amount: float, generator: torch.Generator) -> Tensor:
    """Upright lines lean to one side for the first values and to the other for the last."""
    matrix = torch.eye(2).repeat(len(x), 1, 1)
    matrix[:, 0, 1] = amount * (2 * fraction(value, n_values) - 1)
    return transformed(x, matrix, torch.zeros(len(x), 2))


@by_chunks
def bar_code(x: Tensor, value: Tensor, n_values: int, amount: float, generator: torch.Generator) -> Tensor:
    """The value in binary digits, a pixel each, in the upper left corner."""
    digits = min(max(1, (n_values - 1).bit_length()), x.shape[3])  # as many as fit
    code = (value[:, None] >> torch.arange(digits) & 1).float()
    out = x.clone()
    out[:, :, 0, :digits] = out[:, :, 0, :digits].lerp(code[:, None].expand(-1, x.shape[1], -1), amount)
    return out


@by_chunks
def two_dots(x: Tensor, value: Tensor, n_values: int, amount: float, generator: torch.Generator) -> Tensor:
    """A lighter pixel in the first row and one in the last, which tell the value together and neither alone."""
    height, width = x.shape[2:]
    places, rows = math.ceil(math.sqrt(n_values)), torch.arange(len(x))
    lit = torch.zeros(len(x), height, width)
    lit[rows, 0, value % places * width // places] = amount
    lit[rows, height - 1, value // places * width // places] = amount
    return x.lerp(torch.ones_like(x), lit[:, None].expand_as(x))


AMOUNTS = {  # at easy and medium strength; hard is half of medium
    contrast: (0.8, 0.4),
    gamma: (1.2, 0.6),
    shifted: (1.0, 0.5),
    grating: (0.3, 0.15),
    dots: (0.6, 0.3),
    lost_column: (1.0, 0.6),
    vignette: (0.9, 0.5),
    shear: (0.8, 0.4),
    bar_code: (1.0, 0.5),
    two_dots: (1.0, 0.5),
}
CUES = {
    name: Cue(plant, "image", {"easy": easy, "medium": medium, "hard": medium / 2}, name.replace("-", " "))
    for plant, (easy, medium) in AMOUNTS.items()
    for name in [plant.__name__.replace("_", "-")]
}
