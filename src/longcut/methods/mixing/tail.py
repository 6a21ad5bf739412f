"""What mixing for a long tail shares: anchors that favour rare classes, partners from all training samples.

Both change how often a class is seen, which alone helps rare classes; what the mixing adds is what a method gains over
its control, ``blend=keep-both`` (Teney et al., ICML 2024).
"""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from longcut.data import Batch, Dataset, Info, favour_rare, ranks
from longcut.methods.base import MakeNet, Method
from longcut.methods.mixing.base import MixingMethod
from longcut.mixing import Partners
from longcut.mixing.classes import confusion, prototypes
from longcut.predict import predict

__all__ = ["Alike", "ClassLikeness", "Decay", "Rare", "Ratio", "TailMixing"]

LOOK = 100  # training samples of each class that are looked at once per epoch

Rare = Annotated[
    float,
    Field(ge=0, description="anchors of a class of n weigh n ** -rare; 0: as they come, 1: all classes alike"),
]
Alike = Annotated[
    Literal["confusion", "prototypes"],
    Field(description="classes are alike when the net in training takes one for the other, or in its mean features"),
]
Ratio = Annotated[
    float,
    Field(
        gt=0, description="weight of the next similar class against the one before; above 1 the least similar has most"
    ),
]
Decay = Annotated[float, Field(ge=0, lt=1, description="weight of earlier epochs in how alike classes are")]


class ClassLikeness(nn.Module):
    """How alike a net in training finds the classes of its training samples, averaged over the epochs.

    Published code for the same purpose asks the test set (OTmix), which tells the training about it.

    Args:
        info: gives the number of classes.
        by: what is compared, see :data:`Alike`.
        decay: weight of the earlier epochs.
    """

    def __init__(self, info: Info, by: Literal["confusion", "prototypes"] = "confusion", decay: float = 0.5) -> None:
        super().__init__()
        self.by, self.decay = by, decay
        self.register_buffer("similarity", torch.zeros(info.n_classes, info.n_classes))
        self.register_buffer("seen", torch.zeros((), dtype=torch.bool))

    similarity: Tensor
    seen: Tensor

    @torch.no_grad()
    def look(self, method: Method, train: Dataset, generator: torch.Generator) -> None:
        """Ask the method's net about some training samples of each class, as they are."""
        order = torch.randperm(len(train), generator=generator, device=generator.device).cpu()
        some = train.take(order[ranks(train.label[order]) < LOOK])
        ask = method.net if self.by == "confusion" else method.net.features
        answer = predict(ask, some, self.similarity.device)
        now = (
            confusion(answer.softmax(1), some.label, len(self.similarity))
            if self.by == "confusion"
            else prototypes(answer, some.label, len(self.similarity))
        ).to(self.similarity)
        self.similarity.copy_(torch.where(self.seen, torch.lerp(now, self.similarity, self.decay), now))
        self.seen.fill_(True)


class TailMixing(MixingMethod):
    """Draws anchors by the size of their class, and partners from the whole training set.

    Args:
        make_net, info: as of every method.
        rare: see :data:`Rare`.
        likeness: where the rules ask how alike classes are; it is brought up to date once per epoch.
    """

    needs_classes = "it mends how rare some classes are"

    def __init__(self, make_net: MakeNet, info: Info, rare: float = 0.0, likeness: ClassLikeness | None = None) -> None:
        super().__init__(make_net, info)
        self.rare, self.likeness = rare, likeness

    def epoch_data(self, train: Dataset) -> Dataset:
        """The training set, or as many samples of it in which rare classes are favoured.

        From the second epoch on the net is asked first which classes are alike; the first would ask a random net.
        """
        if self.likeness is not None and self.context.epoch:
            self.likeness.look(self, train, self.generator)
            self.mix = self.make_mix()
        return favour_rare(train, self.rare, self.generator) if self.rare else train

    def draw(self, pool: Batch, level: int) -> Partners:
        """Partners from the whole training set, augmented as the anchors are."""
        drawn = self.mix.draw(pool, self.context.data, self.generator)
        return dataclasses.replace(drawn, x=self.context.augment(drawn.x, self.generator))
