"""CMO: images of rare classes are pasted into images as they come."""

from __future__ import annotations

import dataclasses
from typing import Annotated

from pydantic import Field

from longcut import mixing
from longcut.data import Batch, Info
from longcut.methods.base import MakeNet, Recipe
from longcut.methods.mixing.tail import TailMixing
from longcut.methods.shared import Blend, Scope


class CMO(TailMixing):
    """CutMix whose partner, the one in the box, is drawn by the size of its class to the power ``-weighting``.

    Anchors come as they do in the data, so rare classes get the backgrounds of frequent ones. Labels are in proportion
    to the areas.
    """

    name = "cmo"
    paper = "Park et al., The majority can help the minority: Context-rich minority oversampling, CVPR 2022"
    kinds = frozenset({"image"})
    variants = (
        {"start": 0, "end": 0, "probability": 1.0, "weighting": 2.0, "alpha": 0.5, "scope": "batch", "blend": "linear"},
        {"start": 0, "end": 0, "blend": "keep-both"},
    )
    recipes = {
        "paper": Recipe(
            "CIFAR-100-LT; as released mixing begins with the fifth epoch, at one share for the batch (but each sample "
            "has its own coin and box here)",
            {"start": 4, "scope": "batch"},
            {
                "optimizer": "sgd",
                "lr": 0.1,
                "weight_decay": 2e-4,
                "batch": 128,
                "pool": 1,
                "epochs": 200,
                "schedule": "step",
                "milestones": "0.6-0.8",
                "augment": "crop-flip",
            },
        )
    }

    def __init__(
        self,
        make_net: MakeNet,
        info: Info,
        *,
        probability: Annotated[float, Field(ge=0, le=1, description="of each sample to be mixed")] = 0.5,
        weighting: Annotated[
            float, Field(ge=0, description="power with which small classes are favoured as partners; 1: all alike")
        ] = 1.0,
        alpha: Annotated[float, Field(gt=0, description="shares are Beta(alpha, alpha)")] = 1.0,
        scope: Scope = "sample",
        start: Annotated[int, Field(ge=0, description="epochs at the start without mixing")] = 3,
        end: Annotated[int, Field(ge=0, description="epochs at the end without mixing")] = 3,
        blend: Blend = "cut",
    ) -> None:
        super().__init__(make_net, info)
        self.probability, self.weighting, self.start, self.end = probability, weighting, start, end
        self.ratio, self.shown = mixing.beta(alpha, scope=scope), mixing.BLENDS[blend]

    def make_always(self) -> mixing.Mix:
        """Who is mixed with whom when all are; each sample of a class of n weighs ``n ** -weighting``."""
        count = self.context.data.label.bincount(minlength=self.info.n_classes).clamp_min(1)
        law = (1 - self.weighting) * count.log().expand(len(count), -1)
        return mixing.Mix(mixing.by_class(law), self.ratio, self.shown, mixing.proportional)

    def make_mix(self) -> mixing.Mix:
        """Some samples, or none at the start and at the end."""
        mixes = self.start <= self.context.epoch < self.context.epochs - self.end
        always = self.make_always()
        return dataclasses.replace(always, pair=mixing.sometimes(always.pair, self.probability * mixes))

    def every_kind(self, pool: Batch) -> list[mixing.Partners]:
        """Pairs as they are mixed in between."""
        self.mix = self.make_always()
        return super().every_kind(pool)
