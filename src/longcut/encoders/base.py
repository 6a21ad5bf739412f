"""What an encoder is: a pretrained net that turns pictures or texts into features, and what it wants to be given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

__all__ = ["Encoder"]


@dataclass(frozen=True)
class Encoder:
    """A pretrained net, frozen.

    Attributes:
        name: its spec, as registered.
        takes: ``"image"`` or ``"text"``.
        width: of its features.
        version: what features depend on beside what is encoded: a digest of weights, transform and library.
        features: images uint8 ``(n, 3, crop, crop)`` or a list of n texts, to float32 ``(n, width)``. It is in
            evaluation mode, and says the same of a sample whatever stands beside it.
        resize: images: pixels that the short side is brought to, bilinearly with antialiasing.
        crop: images: pixels of the middle square that is cut out after that.
    """

    name: str
    takes: Literal["image", "text"]
    width: int
    version: str
    features: Callable[[Tensor | Sequence[str]], Tensor]
    resize: int = 0
    crop: int = 0

    def __call__(self, x: Tensor | Sequence[str]) -> Tensor:
        """Features of a batch ``(n, width)``, float32, without gradients."""
        with torch.no_grad():
            return self.features(x).float()
