"""Manifold mixup: mixup at a level of the net that is drawn anew for every batch."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor

from longcut import mixing
from longcut.data import Info
from longcut.errors import UserError
from longcut.methods.base import MakeNet, Recipe
from longcut.methods.mixing.base import MixingMethod
from longcut.methods.shared import Blend, Level, Objective


class ManifoldMixup(MixingMethod):
    """Train on ``s h_k(x) + (1 - s) h_k(x')``, the net's level k, with both labels in that proportion.

    One level, one share and one permutation for the batch.
    """

    name = "manifold-mixup"
    paper = "Verma et al., Manifold mixup: Better representations by interpolating hidden states, ICML 2019"
    tasks = frozenset({"classification", "regression"})
    drawn = "activations"
    variants = (
        {"level": "output"},
        {"objective": "bce"},
        {"blend": "keep-both"},
        {"depth": 3, "net": "mlp:hidden=12-10-8-6"},
    )
    recipes = {
        "cifar": Recipe(
            "the released script: binary cross-entropy; its net is the pre-activation ResNet-18, this the usual one",
            {"alpha": 2.0, "depth": 3, "objective": "bce"},
            {
                "optimizer": "sgd",
                "lr": 0.1,
                "weight_decay": 1e-4,
                "batch": 100,
                "pool": 1,
                "epochs": 2000,
                "schedule": "step",
                "milestones": "0.25-0.5-0.75",
                "augment": "crop-flip",
            },
            "resnet18",
        )
    }

    def __init__(
        self,
        make_net: MakeNet,
        info: Info,
        *,
        alpha: Annotated[float, Field(ge=0, description="the share is Beta(alpha, alpha); 0 is no mixing")] = 2.0,
        level: Level = "random",
        depth: Annotated[
            int, Field(ge=1, description="level=random: from how many of the net's levels, the input's first")
        ] = 3,
        objective: Objective = "cross-entropy",
        blend: Blend = "linear",
    ) -> None:
        super().__init__(make_net, info)
        if objective == "bce" and info.task == "regression":
            raise UserError(
                f"manifold-mixup with objective=bce needs classes, but {info.name} is regression; leave it out, "
                "and set loss=… for another than the squared error."
            )
        self.binary, self.depth, self.mixed_at = objective == "bce", depth, level
        self.shown = mixing.BLENDS[blend]
        ratio = mixing.beta(alpha, scope="batch")
        self.mix = mixing.Mix(mixing.anyone(), ratio, self.shown, mixing.proportional)
        if level == "random":
            self.net.levels = self.net.levels[:depth]
        else:
            self.level()

    def mixed_losses(self, mixed: mixing.Mixed, level: int) -> Tensor:
        """The two-term loss of each mixture, or as released that of its soft label, the mean over the classes."""
        if not self.binary:
            return super().mixed_losses(mixed, level)
        return mixing.binary_loss(self.outputs(mixed.x, level), mixed.target)
