"""DCL: debiased contrastive learning, which takes out of the negatives those of the anchor's own class."""

from __future__ import annotations

from torch import Tensor

from longcut.contrast import anchor_losses
from longcut.data import Info
from longcut.methods.base import MakeNet, Recipe
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
)


class DCL(Contrastive):
    """``simclr`` whose sum of negatives is corrected for the share ``tau`` of false ones: *debiased*, not decoupled."""

    name = "dcl"
    paper = "Chuang et al., Debiased contrastive learning, NeurIPS 2020"
    recipes = {"paper": Recipe("CIFAR-10 as a baseline of the paper of wcl, with its family's released code", *CIFAR)}

    def __init__(
        self,
        make_net: MakeNet,
        info: Info,
        *,
        temperature: Temperature = 0.5,
        tau: Tau = 0.1,
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
        self.tau, self.beta = tau, 0.0

    def contrast(self, z: Tensor, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The debiased loss, and the share of the anchors whose negatives are at the floor."""
        loss, clamped = anchor_losses(z, self.temperature, self.tau, beta=self.beta)
        return loss.mean(), {"clamped": clamped.float().mean()}
