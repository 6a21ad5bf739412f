"""What an encoder is: a pretrained net that turns pictures or texts into features, and what it wants to be given."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from longcut.errors import UserError

__all__ = ["Encoder", "digest"]


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
    features: Callable[[Any], Tensor]
    resize: int = 0
    crop: int = 0

    def __call__(self, x: Tensor | Sequence[str]) -> Tensor:
        """Features of a batch ``(n, width)``, float32, without gradients; of no samples, ``(0, width)``.

        Raises:
            UserError: when it is given something else than it takes.
        """
        self._check(x)
        if not len(x):
            return torch.zeros(0, self.width)
        with torch.no_grad():
            return self.features(x).float()

    def _check(self, x: Any) -> None:
        if self.takes == "image":
            shape = (3, self.crop, self.crop)
            if not isinstance(x, Tensor) or x.dtype != torch.uint8 or x.shape[1:] != shape:
                given = f"{x.dtype} {tuple(x.shape)}" if isinstance(x, Tensor) else f"a {type(x).__name__}"
                raise UserError(
                    f"encoder '{self.name}' takes uint8 images {('n', *shape)}, but was given {given}; bring the short "
                    f"side to {self.resize} pixels and cut out the middle {self.crop}."
                )
            return
        other = "a tensor" if isinstance(x, Tensor) else "a single text" if isinstance(x, str) else None
        if other is None:
            other = next((f"a {type(text).__name__} among them" for text in x if not isinstance(text, str)), None)
        if other:
            raise UserError(f"encoder '{self.name}' takes a list of texts, but was given {other}; make them text.")


def digest(model: nn.Module, *constants: Any) -> str:
    """16 hexadecimal digits that change with the weights of a model, with these constants or with the version of torch.

    >>> digest(nn.Linear(2, 1)) == digest(nn.Linear(2, 1))
    False
    """
    found = hashlib.sha256(repr((torch.__version__, constants)).encode())
    for name, value in model.state_dict().items():
        found.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        found.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()[:16]
