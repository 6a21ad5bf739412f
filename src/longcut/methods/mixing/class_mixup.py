"""Class-conditional mixup: mixtures within a class, whose label stays."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal

from pydantic import Field

from longcut import mixing
from longcut.data import Batch, Info
from longcut.methods.base import MakeNet
from longcut.methods.mixing.mixup import Mixup
from longcut.methods.shared import Blend

Alpha = Annotated[float, Field(ge=0, description="shares are Beta(alpha, alpha); 1 is uniform, 0 is no mixing")]
Source = Annotated[
    Literal["batch", "data"],
    Field(description="partners: in the minibatch, where the only one of a class stays as it is; or in all the data"),
]


class ClassMixup(Mixup):
    """Train on ``s x + (1 - s) x'``, where ``x'`` is of the class of ``x``, with that class as the label."""

    name, tasks, recipes = "class-mixup", frozenset({"classification"}), {}
    needs_classes = "it mixes samples of one class"
    variants = {"source": "data"}, {"blend": "keep-both"}

    def __init__(
        self, make_net: MakeNet, info: Info, *, alpha: Alpha = 1.0, source: Source = "batch", blend: Blend = "linear"
    ) -> None:
        super().__init__(make_net, info, alpha=alpha, partner="same-label", blend=blend)
        self.data_pair = mixing.keyed(lambda batch: batch.label, lambda pool: pool.label) if source == "data" else None

    def draw(self, pool: Batch, level: int) -> mixing.Partners:
        """Another one of the class in the minibatch, or anyone of it in the training set."""
        if self.data_pair is None:
            return super().draw(pool, level)
        drawn = dataclasses.replace(self.mix, pair=self.data_pair).draw(pool, self.context.data, self.generator)
        return dataclasses.replace(drawn, x=self.context.augment(drawn.x, self.generator))
