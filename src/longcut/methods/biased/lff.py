"""Learning from failure: a net that is encouraged to be prejudiced shows a second one what to attend to."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from longcut.bias import Difficulty
from longcut.data import Batch, Dataset, Info, require_index
from longcut.losses import cross_entropy, gce
from longcut.methods.base import MakeNet, Method, Recipe
from longcut.methods.shared import Decay, Scale


def failure_loss(
    batch: Batch,
    debiased: Tensor,
    biased: Tensor,
    difficulty: Difficulty,
    q: float = 0.7,
    scale: Literal["paper", "code"] = "paper",
) -> tuple[Tensor, Tensor]:
    """``mean(W * CE(debiased)) + mean(GCE(biased))``; the nets share no parameter, so each gets its own gradient.

    Args:
        batch: with the index of each sample.
        debiased, biased: logits of the two nets ``(n, C)``.
        difficulty: remembers the losses and says the weights W; updated.
        q: of the generalized cross-entropy.
        scale: of the generalized cross-entropy (see :func:`longcut.losses.gce`).

    Returns:
        The loss, and the weights ``(n,)``.
    """
    ce_biased, ce = cross_entropy(biased, batch.label), cross_entropy(debiased, batch.label)
    weight = difficulty.update(require_index(batch), batch.label, ce_biased.detach(), ce.detach())
    return (weight * ce).mean() + gce(biased, batch.label, q, scale=scale).mean(), weight


class LfF(Method):
    """``mean(W * CE(debiased)) + mean(GCE(biased))``, where W is the relative difficulty of each sample."""

    name = "lff"
    paper = "Nam et al., Learning from failure: training debiased classifier from biased classifier, NeurIPS 2020"
    needs_classes = "its biased net is amplified by how probable it finds the label"
    variants = ({"scale": "code"},)
    recipes = {"paper": Recipe("the released GCE: weight q p^q, detached, times cross-entropy", {"scale": "code"})}

    def __init__(
        self,
        make_net: MakeNet,
        info: Info,
        *,
        q: Annotated[
            float, Field(gt=0, le=1, description="how much the biased net trusts what it already knows")
        ] = 0.7,
        decay: Decay = 0.7,
        scale: Scale = "paper",
    ) -> None:
        super().__init__(make_net, info)
        self.biased = make_net()
        self.difficulty = Difficulty(info, decay)
        self.q = q
        self.scale: Literal["paper", "code"] = scale

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of both nets."""
        biased = self.biased(batch.x)
        loss, weight = failure_loss(batch, self(batch.x), biased, self.difficulty, self.q, self.scale)
        return loss, {"weight": weight.mean()}

    def minority(self, train: Dataset) -> Tensor:
        """Those that weigh more than one half: the biased net finds them harder than the other net does."""
        device = self.difficulty.loss.device
        return self.difficulty.weights(train.index.to(device), train.label.to(device)).cpu() > 0.5

    @torch.no_grad()
    def embedding(self, x: Tensor) -> Tensor:
        """Features of the biased net."""
        return self.biased.features(x)

    @torch.no_grad()
    def biased_logits(self, x: Tensor) -> Tensor:
        """Of the biased net."""
        return self.biased(x)
