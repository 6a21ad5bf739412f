"""WCL: negatives that only a biased encoder takes for alike weigh more."""

from __future__ import annotations

from typing import Annotated, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from longcut.contrast import anchor_losses, contrastive_triplet, difficulty_weight
from longcut.data import Info
from longcut.methods.base import MakeNet, Recipe, optimizer
from longcut.methods.contrastive.base import (
    CIFAR,
    Contrastive,
    Probe,
    ProbeEpochs,
    ProbeLr,
    Projection,
    Tau,
    Temperature,
    Views,
    projector,
)
from longcut.training import Training

FORMS: dict[str, tuple[Literal["distance", "squared", "similarity"], Literal["batch-max", "row"]]] = {
    "paper": ("distance", "batch-max"),
    "released": ("similarity", "row"),
    "released-distance": ("squared", "row"),
}
RELEASED = {**CIFAR[1], "batch": 256, "drop_last": True}


class WCL(Contrastive):
    """``dcl`` with weights ``1 + D / (D + D_b)`` on negatives, plus the triplet loss of the biased encoder they ask.

    D is how far apart the net sees a pair and ``D_b`` the biased encoder, which is a second net with a projection of
    its own, ``method.biased``. Gradients of either loss reach its own encoder alone.
    """

    name = "wcl"
    paper = "Jang and Wang, Difficulty-based sampling for debiased contrastive representation learning, CVPR 2023"
    variants = (
        *Contrastive.variants,
        {"weight": "released", "reduction": "sum", "biased_lr": 0.01},
        {"weight": "released-distance", "triplet_debiased": False},
    )
    recipes = {
        "paper": Recipe("CIFAR-10: weights by distance, both encoders trained alike", *CIFAR),
        "released": Recipe(
            "CIFAR-10 by the script that bears the conference's name: weights by likeness, which point the other way",
            {**CIFAR[0], "weight": "released", "reduction": "sum", "biased_lr": 1e-2},
            {**RELEASED, "schedule": "step", "milestones": "0.7"},
        ),
        "released-distance": Recipe(
            "CIFAR-10 by the other released script: weights by squared distance",
            {**CIFAR[0], "weight": "released-distance", "biased_lr": 5e-3},
            RELEASED,
        ),
        "waterbirds": Recipe(
            "Waterbirds, for a pretrained ResNet-18, as released: no change of colours; judged on the validation set",
            {
                "weight": "released",
                "reduction": "sum",
                "biased_lr": 1e-3,
                "views": "resized-crop-flip",
                "probe": "sgd",
                "probe_epochs": 150,
            },
            {**RELEASED, "optimizer": "sgd", "weight_decay": 1e-4, "epochs": 400},
        ),
    }

    def __init__(
        self,
        make_net: MakeNet,
        info: Info,
        *,
        temperature: Temperature = 0.5,
        tau: Tau = 0.1,
        weight: Annotated[
            Literal["paper", "released", "released-distance"],
            Field(
                description="paper: by distance, over the largest of the batch; released: by likeness, over the length "
                "of the row, which points the other way; released-distance: by squared distance, over that length"
            ),
        ] = "paper",
        reduction: Annotated[
            Literal["mean", "sum"], Field(description="over the negatives of the triplet loss; sum: as one script")
        ] = "mean",
        triplet_debiased: Annotated[
            bool, Field(description="correct the triplet loss by tau too; with the mean, a constant factor")
        ] = True,
        biased_lr: Annotated[
            float | None, Field(gt=0, description="learning rate of the biased encoder; by default the run's")
        ] = None,
        projection: Projection = 128,
        views: Views = "auto",
        probe: Probe = "linear",
        probe_epochs: ProbeEpochs = 100,
        probe_lr: ProbeLr = 1e-3,
    ) -> None:
        super().__init__(
            make_net,
            info,
            temperature=temperature,
            projection=projection,
            views=views,
            probe=probe,
            probe_epochs=probe_epochs,
            probe_lr=probe_lr,
        )
        self.tau, self.form, self.biased_lr = tau, FORMS[weight], biased_lr
        self.reduction: Literal["mean", "sum"] = reduction
        self.triplet_tau = tau if triplet_debiased else 0.0
        self.biased = make_net()
        self.biased.head = cast(nn.Linear, projector(self.biased.width, projection))  # it is no classifier

    def contrast(self, z: Tensor, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted loss of the one encoder, and the triplet loss of the other."""
        biased = self.biased(x)
        weight = difficulty_weight(z, biased, *self.form, self.temperature)
        loss, clamped = anchor_losses(z, self.temperature, self.tau, weight=weight)
        triplet = contrastive_triplet(biased, self.triplet_tau, negatives=self.reduction)
        n = len(z)
        mean = (weight.sum() - 2 * n) / (n * (n - 2))  # over the negatives; the two others of a row have weight 1
        logs = {"clamped": clamped.float().mean(), "weight": mean, "triplet": triplet.detach()}
        return loss.mean() + triplet, logs

    def optimizers(self, training: Training) -> list[torch.optim.Optimizer]:
        """The run's for the net and its projection, and one with its own learning rate for the biased encoder."""
        main = [parameter for name, parameter in self.named_parameters() if not name.startswith("biased.")]
        return [optimizer(main, training), optimizer(self.biased.parameters(), training, lr=self.biased_lr)]

    @torch.no_grad()
    def embedding(self, x: Tensor) -> Tensor:
        """Features of the biased encoder; what it projects them to is ``method.biased(x)``."""
        return self.biased.features(x)
