"""What planted shortcuts have in common: ten classes, each with an attribute of its own, and a few samples without it.

Colours and corruptions are planted in the same way. A share of the images, the *ratio*, is bias-conflicting: it has one
of the other nine attributes, drawn uniformly. All others have the attribute with the number of their label.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from longcut.data import Dataset, Splits, generator, label_noise, ranks

__all__ = ["COLORS", "TEN", "Noise", "Ratio", "in_rotation", "plant", "splits"]

COLORS = {
    "red": (255, 0, 0),
    "orange": (255, 128, 0),
    "yellow": (255, 255, 0),
    "lime": (128, 255, 0),
    "green": (0, 255, 0),
    "cyan": (0, 255, 255),
    "blue": (0, 0, 255),
    "violet": (128, 0, 255),
    "rose": (255, 0, 128),
    "magenta": (255, 0, 255),
}
"""The saturated colour that goes with each of the labels 0…9."""

TEN = {"n_classes": 10, "n_attributes": 10, "aligned": tuple(range(10))}
"""What :class:`longcut.data.Info` says of ten classes, each with an attribute of its own."""

Ratio = Annotated[
    float,
    Field(ge=0, le=0.9, description="share of training images that contradict the shortcut; 0.9 is none"),
]
Noise = Annotated[float, Field(ge=0, le=0.9, description="share of training labels replaced by another one")]


def plant(label: Tensor, parts: Iterable[tuple[Tensor, int]], draw: torch.Generator) -> Tensor:
    """Each label's own attribute ``(n,)``, but in the first samples of each part one drawn from the other nine.

    Args:
        label: 0…9 ``(n,)``.
        parts: rows of each part, in random order, and how many of them are bias-conflicting.
        draw: generator of the attributes.

    >>> plant(torch.tensor([3, 7, 7]), [(torch.tensor([1, 2]), 0)], torch.Generator())
    tensor([3, 7, 7])
    """
    rows = torch.cat([part[:n] for part, n in parts])
    attribute = label.clone()
    attribute[rows] = (label[rows] + torch.randint(1, 10, (len(rows),), generator=draw)) % 10
    return attribute


def in_rotation(label: Tensor) -> Tensor:
    """Attributes ``(n,)`` that each label has equally often, give or take one: the ten in turn, in data order.

    >>> in_rotation(torch.tensor([4, 4, 5]))
    tensor([0, 1, 0])
    """
    return ranks(label) % 10


def splits(known: Dataset, train: Tensor, valid: Tensor, test: Dataset, noise: float, seed: int) -> Splits:
    """Training and validation part of one data set, and a test set; label noise is in the training part alone.

    Args:
        known: the data set, whose storage training and validation part share.
        train, valid: rows of the parts; samples stand in the order of the data set.
        test: the test set.
        noise: probability that a training label is replaced by another one.
        seed: of the noise.
    """
    learn = label_noise(known.take(train.sort().values), noise, generator(seed, 2))
    return Splits(learn, known.take(valid.sort().values), test)
