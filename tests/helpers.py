"""What tests of methods share."""

from __future__ import annotations

from longcut.augment import Augment, unchanged
from longcut.context import Context
from longcut.data import Dataset, generator


def context(data: Dataset, seed: int = 0, epoch: int = 0, epochs: int = 1, augment: Augment = unchanged) -> Context:
    """What the loop would tell a method, with a generator of its own."""
    return Context(generator(seed), data, augment, epoch, epochs)
