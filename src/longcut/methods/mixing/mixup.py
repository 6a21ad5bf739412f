"""mixup: convex combinations of random pairs, labels in proportion."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field
from torch import Tensor

from longcut import mixing
from longcut.data import Batch, Info
from longcut.errors import UserError
from longcut.methods.base import MakeNet, Recipe, beside
from longcut.methods.biased.lff import LfF
from longcut.methods.mixing.base import MixingMethod
from longcut.methods.mixing.regression import recipes
from longcut.methods.shared import Blend, Scale, Scope
from longcut.spec import OneOf


class Mixup(MixingMethod):
    """Train on ``share * x + (1 - share) * partner`` alone, with both labels in that proportion.

    Mixing is not selective, so pairs carry the shortcut as often as the data does.
    """

    name = "mixup"
    paper = "Zhang et al., mixup: Beyond empirical risk minimization, ICLR 2018; Yun et al., CutMix, ICCV 2019"
    tasks = frozenset({"classification", "regression"})
    drawn = "batch"
    recipes = {
        "paper-lff": Recipe(
            "L+mixup of SelecMix's Table 4: LfF as released plus 0.1 times the mixed loss, as in its other L rows",
            {"base": "lff", "mixed_weight": 0.1, "lff_scale": "code"},
        ),
        **recipes("mixup"),
    }
    variants = {"blend": "cut"}, {"blend": "keep-both"}, {"partner": "same-label"}, recipes["paper-lff"].options

    def __init__(
        self,
        make_net: MakeNet,
        info: Info,
        *,
        alpha: Annotated[
            float, Field(ge=0, description="shares are Beta(alpha, alpha); 1 is uniform, 0 is no mixing")
        ] = 1.0,
        scope: Scope = "sample",
        partner: Annotated[str, Field(description="who is mixed with whom"), OneOf(mixing.PAIRS)] = "anyone",
        blend: Blend = "linear",
        base: Annotated[
            Literal["erm", "lff"],
            Field(description="erm: train on mixtures alone; lff: beside LfF on the samples as they are"),
        ] = "erm",
        mixed_weight: Annotated[float, Field(ge=0, description="weight of the loss on mixtures")] = 1.0,
        lff_scale: Scale = "paper",
    ) -> None:
        super().__init__(make_net, info)
        if base == "lff" and info.task == "regression":
            raise UserError(f"mixup with base=lff needs classes, but {info.name} is regression; use base=erm.")
        self.mixed_weight = mixed_weight
        self.base = None if base == "erm" else beside(LfF, self, scale=lff_scale)
        label = mixing.own if partner == "same-label" else mixing.proportional
        self.shown = mixing.BLENDS[blend]
        self.mix = mixing.Mix(mixing.PAIRS[partner](), mixing.beta(alpha, scope=scope), self.shown, label)

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Any]]:
        """Mean over the batch of the two-term loss of the mixed samples, and the base's loss beside it."""
        loss, logs = super().loss(batch)
        loss = self.mixed_weight * loss
        return loss if self.base is None else loss + self.base.loss(batch)[0], logs
