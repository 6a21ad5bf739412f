"""HCL: contrastive learning with hard negatives."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from longcut.data import Info
from longcut.methods.base import MakeNet, Recipe
from longcut.methods.contrastive.base import (
    CIFAR,
    Probe,
    ProbeEpochs,
    ProbeLr,
    Projection,
    Tau,
    Temperature,
    Views,
)
from longcut.methods.contrastive.dcl import DCL

Beta = Annotated[float, Field(ge=0, description="how much more a negative counts that is near; 0 is dcl")]


class HCL(DCL):
    """``dcl`` whose negatives weigh ``e^(beta s/t)`` over its mean: the nearest count most."""

    name = "hcl"
    paper = "Robinson et al., Contrastive learning with hard negative samples, ICLR 2021"
    recipes = {"paper": Recipe("CIFAR-10 as a baseline of the paper of wcl, with its family's released code", *CIFAR)}

    def __init__(
        self,
        make_net: MakeNet,
        info: Info,
        *,
        temperature: Temperature = 0.5,
        tau: Tau = 0.1,
        beta: Beta = 1.0,
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
            tau=tau,
            projection=projection,
            views=views,
            probe=probe,
            probe_epochs=probe_epochs,
            probe_lr=probe_lr,
        )
        self.beta = beta
