"""What augmentations are, and what several of them need."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

__all__ = ["Augment", "column", "kept", "kinds_of", "limits", "mirrored", "of_kinds", "pixels", "uniform"]

Augment = Callable[[Tensor, torch.Generator | None], Tensor]
Rule = TypeVar("Rule", bound=Callable[..., Tensor])


def of_kinds(*kinds: str) -> Callable[[Rule], Rule]:
    """Declare what an augmentation changes: inputs of these kinds; of one that does not say so, images."""

    def declared(rule: Rule) -> Rule:
        rule.kinds = frozenset(kinds)  # type: ignore[attr-defined]
        return rule

    return declared


def kinds_of(rule: Any) -> frozenset[str]:
    """The kinds of inputs that an augmentation changes."""
    return getattr(rule, "kinds", frozenset({"image"}))


def uniform(x: Tensor, low: float, high: float, generator: torch.Generator | None) -> Tensor:
    """One number from ``low`` to ``high`` for each image of ``x`` ``(n,)``."""
    return low + (high - low) * torch.rand(len(x), generator=generator, device=x.device, dtype=x.dtype)


def column(values: Tensor) -> Tensor:
    """Numbers ``(n,)`` or ``(n, C)`` beside images ``(n, C, H, W)``."""
    return values.reshape(len(values), -1, 1, 1)


def pixels(x: Tensor) -> tuple[Tensor, Tensor]:
    """Row ``(H, 1)`` and column ``(1, W)`` of every pixel of images ``x``, counted from their middle.

    >>> pixels(torch.zeros(1, 1, 2, 3))
    (tensor([[-0.5000],
            [ 0.5000]]), tensor([[-1.,  0.,  1.]]))
    """
    height, width = x.shape[2:]
    rows, columns = (torch.arange(side, device=x.device, dtype=x.dtype) - (side - 1) / 2 for side in (height, width))
    return rows[:, None], columns[None, :]


def mirrored(side: int, margin: int, device: torch.device) -> Tensor:
    """Which pixel stands where on an axis with a margin on both ends, into which the axis is mirrored ``(side + 2m,)``.

    The pixel at the edge is repeated, and a margin may be longer than the axis.

    >>> mirrored(3, 4, torch.device("cpu")).tolist()
    [2, 2, 1, 0, 0, 1, 2, 2, 1, 0, 0]
    """
    at = torch.arange(-margin, side + margin, device=device).remainder(2 * side)
    return torch.minimum(at, 2 * side - 1 - at)


def limits(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Darkest and brightest value of each image, and whether all of it is in [0, 1]; each ``(n, 1, 1, 1)``."""
    low, high = x.amin((1, 2, 3), keepdim=True), x.amax((1, 2, 3), keepdim=True)
    return low, high, (low >= 0) & (high <= 1)


def kept(changed: Tensor, x: Tensor) -> Tensor:
    """The changed images; what was an image with values in [0, 1] is cut to them.

    >>> kept(torch.tensor([-0.5, 2.0]).view(2, 1, 1, 1), torch.tensor([0.5, 1.5]).view(2, 1, 1, 1)).flatten()
    tensor([0., 2.])
    """
    *_, inside = limits(x)
    return torch.where(inside, changed.clamp(0, 1), changed)
