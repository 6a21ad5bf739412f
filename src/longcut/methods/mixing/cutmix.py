"""CutMix: a box of another image pasted at the same place, labels in proportion to the pixels."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from pydantic import Field

from longcut import mixing
from longcut.data import Batch, Info
from longcut.methods.base import MakeNet, Recipe
from longcut.methods.mixing.base import MixingMethod
from longcut.methods.shared import Blend, Scope

Alpha = Annotated[float, Field(gt=0, description="shares are Beta(alpha, alpha), before clipping; 1 is uniform")]
Probability = Annotated[float, Field(gt=0, le=1, description="how often a batch is mixed; others stay as they are")]
BoxScope = Annotated[Scope, Field(description="one share and one box for each sample, or for the batch")]

RELEASED = {"optimizer": "sgd", "pool": 1, "schedule": "step"}  # without Nesterov's step, which the authors take


class Pasting(MixingMethod):
    """Boxes of random partners pasted into the images of some of the minibatches."""

    tasks = frozenset({"classification", "regression"})
    kinds = frozenset({"image"})
    drawn = "batch"

    def _mixes(self, alpha: float, scope: Scope, probability: float) -> None:
        """Every batch's mix, and the one that leaves some batches as they are."""
        ratio, anyone = mixing.beta(alpha, scope=scope), mixing.anyone()
        self.always = mixing.Mix(anyone, ratio, self.shown, mixing.proportional)
        pair = mixing.sometimes(anyone, probability, scope="batch") if probability < 1 else anyone
        self.mix = mixing.Mix(pair, ratio, self.shown, mixing.proportional)

    def every_kind(self, pool: Batch) -> list[mixing.Partners]:
        return [self.always.draw(pool, generator=self.generator)]


class CutMix(Pasting):
    """Train on images with a box of another one, with both labels in proportion to the pixels.

    By default it is ``mixup:blend=cut``; the released program draws one share and one box for a batch.
    """

    name = "cutmix"
    paper = (
        "Yun et al., CutMix: Regularization strategy to train strong classifiers with localizable features, ICCV 2019"
    )
    recipes = {
        "cifar": Recipe(
            "as released for CIFAR-100 (with a PyramidNet): every second batch is mixed, with one box",
            {"scope": "batch", "probability": 0.5},
            {
                **RELEASED,
                "augment": "crop-flip",
                "epochs": 300,
                "batch": 64,
                "lr": 0.25,
                "weight_decay": 1e-4,
                "milestones": "0.5-0.75",
            },
        ),
        "imagenet": Recipe(
            "as released for ImageNet (with a ResNet-50): every batch is mixed, with one box",
            {"scope": "batch"},
            {
                **RELEASED,
                "augment": "resized-crop-flip",
                "epochs": 300,
                "batch": 256,
                "lr": 0.1,
                "weight_decay": 1e-4,
                "milestones": "0.25-0.5-0.75",
            },
        ),
    }
    variants = (
        {"scope": "batch", "probability": 0.5},
        {"correct": False, "alpha": 0.2},
        {"blend": "keep-both", "probability": 0.5},
    )

    def __init__(
        self,
        make_net: MakeNet,
        info: Info,
        *,
        alpha: Alpha = 1.0,
        probability: Probability = 1.0,
        scope: BoxScope = "sample",
        correct: Annotated[
            bool, Field(description="labels by the pixels pasted; otherwise by the share drawn, before clipping")
        ] = True,
        blend: Blend = "cut",
    ) -> None:
        super().__init__(make_net, info)
        self.shown = partial(mixing.cut, scope=scope, correct=correct) if blend == "cut" else mixing.BLENDS[blend]
        self._mixes(alpha, scope, probability)
