"""Cues that change an image as a whole: its size, its direction, its sharpness, how it was saved."""

from __future__ import annotations

import io
import math

import torch
from torch import Tensor

from longcut.augment.blurs import gaussian
from longcut.augment.geometry import transformed
from longcut.cues.base import fraction
from longcut.cues.painted import by_chunks

__all__ = ["blurred", "jpeg", "noisy", "rotated", "sized"]


@by_chunks
def sized(x: Tensor, value: Tensor, n_values: int, amount: float, generator: torch.Generator) -> Tensor:
    """What is seen is larger, the larger the value: from ``1 / (1 + amount)`` to ``1 + amount`` times as large."""
    zoom = (1 + amount) ** (2 * fraction(value, n_values) - 1)
    return transformed(x, torch.eye(2) / zoom[:, None, None], torch.zeros(len(x), 2))


@by_chunks
def rotated(x: Tensor, value: Tensor, n_values: int, amount: float, generator: torch.Generator) -> Tensor:
    """The image is turned, from ``-90 amount`` to ``90 amount`` degrees."""
    angle = amount * math.pi / 2 * (2 * fraction(value, n_values) - 1)
    cos, sin = angle.cos(), angle.sin()
    return transformed(x, torch.stack([cos, sin, -sin, cos], 1).view(-1, 2, 2), torch.zeros(len(x), 2))


@by_chunks
def blurred(x: Tensor, value: Tensor, n_values: int, amount: float, generator: torch.Generator) -> Tensor:
    """The image is out of focus, the more the larger the value: a Gaussian of up to ``amount`` tenths of a side."""
    sigma = 0.1 * amount * min(x.shape[2:]) * fraction(value, n_values)
    return gaussian(x, sigma, max(1, math.ceil(3 * float(sigma.max()))))


@by_chunks
def noisy(x: Tensor, value: Tensor, n_values: int, amount: float, generator: torch.Generator) -> Tensor:
    """Grain, the more the larger the value: Gaussian noise of deviation up to ``amount``."""
    grain = torch.randn(x.shape, generator=generator)
    return x + amount * fraction(value, n_values)[:, None, None, None] * grain


def jpeg(x: Tensor, value: Tensor, n_values: int, amount: float, generator: torch.Generator) -> Tensor:
    """The image was saved as JPEG, at a quality from 95 for the first value down to ``95 - 90 amount`` for the last."""
    import numpy as np
    from PIL import Image

    quality = (95 - 90 * amount * fraction(value, n_values)).round().long().tolist()
    images = x if x.dtype == torch.uint8 else (255 * x).round().clamp(0, 255).to(torch.uint8)
    planted = torch.empty_like(images)
    mode = "RGB" if x.shape[1] == 3 else "L"
    for i, q in enumerate(quality):
        for first in range(0, x.shape[1], 3 if mode == "RGB" else 1):
            channels = images[i, first : first + (3 if mode == "RGB" else 1)].permute(1, 2, 0).numpy()
            file = io.BytesIO()
            Image.fromarray(channels if mode == "RGB" else channels[:, :, 0], mode).save(file, "JPEG", quality=q)
            back = np.asarray(Image.open(file)).reshape(channels.shape)
            planted[i, first : first + channels.shape[2]] = torch.from_numpy(back.copy()).permute(2, 0, 1)
    return planted if x.dtype == torch.uint8 else planted.to(x.dtype) / 255
