"""ReBias: features that are independent of those of a net which can only see the bias."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from longcut import nets
from longcut.data import Batch, Info
from longcut.losses import cross_entropy
from longcut.methods.base import MakeNet, Method, Recipe, adam, optimizer
from longcut.methods.shared import BIASED_MNIST
from longcut.penalties import hsic, rbf
from longcut.training import Training


class ReBias(Method):
    """``mean(CE(f)) + lambda_f * HSIC(f, g)`` against a biased net's ``mean(CE(g)) - lambda_g * HSIC(g, f)``."""

    name = "rebias"
    paper = "Bahng et al., Learning de-biased representations with biased representations, ICML 2020"
    needs_classes = "its loss is stated for classes alone"
    variants = ({"sigma": 1.0}, {"biased": "tiny"})
    recipes = {
        "paper": Recipe(
            "Biased MNIST: seven-pixel convolutions against one-pixel ones, both lambdas and sigma 1; the released "
            "estimator subtracts the diagonal instead of zeroing it, which is the same for this kernel",
            {"biased": "stack:kernel=1", "lambda_f": 1.0, "lambda_g": 1.0, "sigma": 1.0},
            BIASED_MNIST,
            "stack:kernel=7",
        )
    }

    def __init__(
        self,
        make_net: MakeNet,
        info: Info,
        *,
        biased: Annotated[
            str, Field(description="net of the biased model; small: stack:kernel=1 for images, tiny for other data")
        ] = "small",
        lambda_f: Annotated[float, Field(ge=0, description="weight of HSIC in the loss of the net that is used")] = 1.0,
        lambda_g: Annotated[float, Field(ge=0, description="weight of -HSIC in the loss of the biased net")] = 1.0,
        sigma: Annotated[
            float, Field(ge=0, description="bandwidth of both kernels; 0: the median distance in the batch")
        ] = 0.0,
    ) -> None:
        super().__init__(make_net, info)
        small = "stack:kernel=1" if len(info.shape) == 3 else "tiny"
        self.biased = nets.build(small if biased == "small" else biased, info)
        self.lambda_f, self.lambda_g, self.sigma = lambda_f, lambda_g, sigma

    def dependence(self, own: Tensor, other: Tensor) -> Tensor:
        """HSIC of two nets' features; the other's are looked at and not moved."""
        sigma = self.sigma or "median"
        return hsic(rbf(own, sigma), rbf(other.detach(), sigma))

    def biased_loss(self, batch: Batch, g: Tensor, f: Tensor) -> Tensor:
        """For the biased net, whose features are ``g``: be right, and find what ``f`` shares with it."""
        return cross_entropy(self.biased.head(g), batch.label).mean() - self.lambda_g * self.dependence(g, f)

    def debiased_loss(self, batch: Batch, f: Tensor, g: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """For the net that is used, whose features are ``f``: be right, and share nothing with ``g``."""
        shared = self.dependence(f, g)
        loss = cross_entropy(self.net.head(f), batch.label).mean() + self.lambda_f * shared
        return loss, {"hsic": shared.detach()}

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Both losses at once: the nets share no parameter and look without touching, so each gets its own gradient."""
        f, g = self.net.features(batch.x), self.biased.features(batch.x)
        debiased, logs = self.debiased_loss(batch, f, g)
        return self.biased_loss(batch, g, f) + debiased, logs

    def step(
        self, batch: Batch, optimizers: list[torch.optim.Optimizer], backward: Callable[[Tensor], None]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """In turns, as published: first the biased net, then the other against the features it has now."""
        net, biased = optimizers
        f = self.net.features(batch.x)
        biased_loss = self.biased_loss(batch, self.biased.features(batch.x), f)
        biased.zero_grad(set_to_none=True)
        backward(biased_loss)
        biased.step()
        with torch.no_grad():
            g = self.biased.features(batch.x)
        debiased_loss, logs = self.debiased_loss(batch, f, g)
        net.zero_grad(set_to_none=True)
        backward(debiased_loss)
        net.step()
        return (biased_loss + debiased_loss).detach(), logs

    def optimizers(self, training: Training) -> list[torch.optim.Optimizer]:
        """One for each player."""
        return [optimizer(self.net.parameters(), training), adam(self.biased.parameters(), training)]

    @torch.no_grad()
    def embedding(self, x: Tensor) -> Tensor:
        """Features of the biased net."""
        return self.biased.features(x)

    @torch.no_grad()
    def biased_logits(self, x: Tensor) -> Tensor:
        """Logits of the biased net."""
        return self.biased(x)
