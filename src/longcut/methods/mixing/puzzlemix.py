"""PuzzleMix: two images pieced together so that what is salient in both is kept."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from longcut import mixing
from longcut.data import Batch, Info
from longcut.losses import cross_entropy
from longcut.methods.base import MakeNet, Recipe
from longcut.methods.mixing.base import MixingMethod
from longcut.methods.shared import Blend, Objective, Scope
from longcut.mixing import Mixed, Partners
from longcut.mixing.puzzle import pieced, puzzling
from longcut.mixing.saliency import gradient

CIFAR = {"optimizer": "sgd", "lr": 0.2, "weight_decay": 1e-4, "batch": 100, "pool": 1, "augment": "crop-flip"}
CIFAR |= {"schedule": "step", "gamma": 0.1, "average": 0.0}
RELEASED = {"piece": 4, "objective": "bce"}


class PuzzleMix(MixingMethod):
    """Train on mixtures whose mask hides as little as possible of what moves the net's own loss."""

    name = "puzzlemix"
    paper = "Kim et al., Puzzle Mix: Exploiting saliency and local statistics for optimal mixup, ICML 2020"
    kinds = frozenset({"image"})
    needs_classes = "its saliency is that of the cross-entropy"
    drawn = "batch"
    recipes = {
        "cifar100": Recipe(
            "the released script for PreActResNet-18, without the noise of its adversarial variant; the net here is "
            "the ResNet-18 without preactivation",
            RELEASED,
            {**CIFAR, "epochs": 1200, "milestones": "0.3333-0.6667"},
            "resnet18:inputs=cifar",
        ),
        "cifar100-wide": Recipe(
            "the released script's loop for WRN-28-10, which is not among the nets here",
            RELEASED,
            {**CIFAR, "epochs": 400, "milestones": "0.5-0.75"},
        ),
    }
    variants = (
        {"transport": True, "move_cost": 0.02, "piece": 1, "grids": "2"},
        {"clean": 1.0, "objective": "bce"},
        {"blend": "keep-both"},
    )

    def __init__(
        self,
        make_net: MakeNet,
        info: Info,
        *,
        alpha: Annotated[float, Field(ge=0, description="shares wanted are Beta(alpha, alpha); 0 is no mixing")] = 1.0,
        scope: Scope = "batch",
        grids: Annotated[
            str,
            Field(
                pattern=r"^[1-9]\d*(-[1-9]\d*)*$",
                examples=["2-4-8-16"],
                description="cells a side, joined by '-'; one is drawn for each batch among those that the images have",
            ),
        ] = "2-4-8-16",
        beta: Annotated[float, Field(ge=0, description="weight of the mask's smoothness")] = 1.2,
        border: Annotated[
            float, Field(ge=0, description="weight in it of the colours on both sides of a border (gamma)")
        ] = 0.5,
        eta: Annotated[float, Field(ge=0, description="weight of the share that was wanted")] = 0.2,
        transport: Annotated[bool, Field(description="move salient cells to where their image is shown")] = True,
        move_cost: Annotated[float, Field(gt=0, description="cost of a move across the image, in saliency")] = 0.8,
        piece: Annotated[
            int, Field(ge=0, description="side of what is moved, in pixels, if cells are larger; 0: cells")
        ] = 0,
        clean: Annotated[
            float,
            Field(ge=0, description="weight of the loss on the samples as they are; then saliency is its by-catch"),
        ] = 0.0,
        objective: Objective = "cross-entropy",
        blend: Blend = "puzzle",
    ) -> None:
        super().__init__(make_net, info)
        self.clean, self.binary, self.pieces = clean, objective == "bce", blend == "puzzle"
        self.how: dict[str, Any] = {
            "grids": tuple(map(int, grids.split("-"))),
            "beta": beta,
            "gamma": border,
            "eta": eta,
            "move_cost": move_cost if transport else None,
            "piece": piece,
        }
        self.shown = puzzling(**self.how) if self.pieces else mixing.BLENDS[blend]
        ratio = mixing.beta(alpha, scope=scope)
        self.mix = mixing.Mix(mixing.anyone(), ratio, self.shown, mixing.proportional)

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean loss of the mixtures, plus ``clean`` times that of the samples as they are."""
        if not self.clean:
            return super().loss(batch)
        with torch.enable_grad():
            x = batch.x.detach().requires_grad_()
            clean = cross_entropy(self(x), batch.label)
            (slope,) = torch.autograd.grad(clean.sum(), x, retain_graph=True)
        mixed, partners, level = self.mixture(batch, slope.square().mean(1).sqrt())
        return self.mixed_losses(mixed, level).mean() + self.clean * clean.mean(), self.partner_logs(partners)

    def mixture(self, batch: Batch, saliency: Tensor | None = None) -> tuple[Mixed, Partners, int]:
        """As every method that mixes, with one look at the net: at the anchors alone, for partners are among them."""
        if not self.pieces:
            return super().mixture(batch)
        if saliency is None:
            saliency = gradient(batch.x, batch.label, self.looked_at(0))
        partners = self.draw(batch, 0)
        maps, how = (saliency, saliency[partners.row]), self.how

        def blend(own: Tensor, partner: Tensor, share: Tensor, generator: Any) -> tuple[Tensor, Tensor]:
            return pieced(own, partner, share, *maps, generator, **how)

        return replace(self.mix, blend=blend).blend_with(batch, partners, self.generator), partners, 0

    def mixed_losses(self, mixed: Mixed, level: int) -> Tensor:
        """The two-term cross-entropy, or the mean over the classes of the binary one."""
        if not self.binary:
            return super().mixed_losses(mixed, level)
        return mixing.binary_loss(self.outputs(mixed.x, level), mixed.target)
