"""Learning from failure: a net that is encouraged to be prejudiced shows a second one what to attend to."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from longcut.bias import Difficulty
from longcut.data import Batch, Info
from longcut.losses import cross_entropy, gce
from longcut.methods.base import MakeNet, Method, Recipe


class LfF(Method):
    """``mean(W * CE(debiased)) + mean(GCE(biased))``, where W is the relative difficulty of each sample."""

    name = "lff"
    paper = "Nam et al., Learning from failure: training debiased classifier from biased classifier, NeurIPS 2020"
    recipes = {"paper": Recipe("the released GCE: weight q p^q, detached, times cross-entropy", {"scale": "code"})}

    def __init__(
        self,
        make_net: MakeNet,
        info: Info,
        *,
        q: Annotated[
            float, Field(gt=0, le=1, description="how much the biased net trusts what it already knows")
        ] = 0.7,
        decay: Annotated[
            float, Field(ge=0, lt=1, description="weight of the old value in each sample's loss average")
        ] = 0.7,
        scale: Annotated[
            Literal["paper", "code"], Field(description="GCE as in its paper, or as released (gradient q times that)")
        ] = "paper",
    ) -> None:
        super().__init__(make_net, info)
        self.biased = make_net()
        self.difficulty = Difficulty(info, decay)
        self.q = q
        self.scale: Literal["paper", "code"] = scale

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """One summed loss of two networks on disjoint parameters: each receives its own gradient."""
        biased, debiased = self.biased(batch.x), self.net(batch.x)
        ce_biased, ce = cross_entropy(biased, batch.label), cross_entropy(debiased, batch.label)
        weight = self.difficulty.update(batch.identity, batch.label, ce_biased.detach(), ce.detach())
        loss = (weight * ce).mean() + gce(biased, batch.label, self.q, scale=self.scale).mean()
        return loss, {"weight": weight.mean()}

    @torch.no_grad()
    def embedding(self, x: Tensor) -> Tensor:
        """Features of the biased net."""
        return self.biased.features(x)
