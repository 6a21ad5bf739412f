"""What last-layer methods share: samples that the net does not learn from, on which its last layer is fitted anew."""

from __future__ import annotations

from typing import Annotated, Literal, cast

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from longcut.data import Dataset, Info, Splits, generator, split
from longcut.errors import UserError
from longcut.methods.base import FitHelper, MakeNet, Method

__all__ = ["Aside", "HeldFrom", "HeldOut", "Share"]

Share = Annotated[
    float, Field(gt=0, lt=1, description="share of the training set that is set aside for the last layer")
]
HeldFrom = Annotated[
    Literal["valid", "train"],
    Field(description="the samples held out: the validation set, or a share of the training set that is set aside"),
]


class Aside(Method):
    """A method that sets a share of the training set aside, drawn within each class, before the net learns.

    ``aside (n_stored,)`` says who.

    Args:
        make_net, info: as for every method.
        held: the share; 0 for none.
    """

    aside: Tensor

    def __init__(self, make_net: MakeNet, info: Info, held: float) -> None:
        super().__init__(make_net, info)
        self.held = held
        self.register_buffer("aside", torch.zeros(info.n_stored, dtype=torch.bool))

    def prepare(self, train: Dataset, fit: FitHelper) -> Dataset:
        """Draw who is set aside, a share of each class; a sample that stands twice is on one side."""
        if self.held:
            once = train.take(torch.from_numpy(np.unique(train.index, return_index=True)[1]))
            _, aside = split(once, self.held, self.generator)
            self.aside[aside.index] = True
        return train

    def epoch_data(self, train: Dataset) -> Dataset:
        """The others."""
        return train.take(~self.aside.cpu()[train.index]) if self.held else train


class HeldOut(Aside):
    """A method that needs held-out samples in the end: those it set aside, or the validation set.

    Args:
        make_net, info: as for every method.
        held_from, held: see ``HeldFrom`` and ``Share``.
    """

    def __init__(self, make_net: MakeNet, info: Info, held_from: str, held: float) -> None:
        super().__init__(make_net, info, held if held_from == "train" else 0.0)
        self.held_from = held_from

    def check(self, splits: Splits) -> None:
        """Refuse a missing validation set, and one with a class that cannot be halved."""
        if self.held:
            return
        if splits.valid is None:
            raise UserError(
                f"{self.name} needs held-out samples, but {splits.info.name} has no validation set; "
                "use held_from=train."
            )
        split(splits.valid, 0.5, generator(0))

    def held_out(self, train: Dataset, valid: Dataset | None) -> Dataset:
        """The samples that the net has not learned from."""
        return train.take(self.aside.cpu()[train.index]) if self.held else cast(Dataset, valid)
