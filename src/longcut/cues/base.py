"""What a planted cue is: a change of the inputs that gives away one of several values."""

from __future__ import annotations

import colorsys
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["STRENGTHS", "Cue", "Plant", "fraction", "hues"]

Plant = Callable[[Tensor, Tensor, int, float, torch.Generator], Tensor]
STRENGTHS = ("easy", "medium", "hard")


@dataclass(frozen=True)
class Cue:
    """A shortcut that can be planted in data that has none.

    Attributes:
        plant: ``(x, value, n_values, amount, generator) -> x``: the stored inputs with the cue of each sample's value
            ``(n,)`` in ``0 … n_values - 1``; of the same type and shape, but a table may get further columns, and
            nothing changed in place. All that is drawn comes from the generator and does not depend on the values.
            Token ids below 0 are words of the cue's own: -1 the first, at most one for each value.
        kind: of the inputs it changes: ``"image"``, ``"table"`` or ``"tokens"``.
        amounts: how much is changed at each strength: ``easy`` is what a small net learns long before the label,
            ``hard`` what it learns as late (see ``docs/cues.md``).
        what: in a few words.
    """

    plant: Plant
    kind: str
    amounts: Mapping[str, float]
    what: str


def fraction(value: Tensor, n_values: int) -> Tensor:
    """Values as evenly spaced numbers from 0 to 1 ``(n,)``, ends included; a single value is 0.

    >>> fraction(torch.tensor([0, 1, 2]), 3)
    tensor([0.0000, 0.5000, 1.0000])
    """
    return value.float() / max(n_values - 1, 1)


def hues(n: int) -> Tensor:
    """``n`` saturated colours, evenly spaced on the colour circle ``(n, 3)`` in [0, 1].

    >>> hues(3)
    tensor([[1., 0., 0.],
            [0., 1., 0.],
            [0., 0., 1.]])
    """
    return torch.tensor([colorsys.hsv_to_rgb(i / n, 1.0, 1.0) for i in range(n)])
