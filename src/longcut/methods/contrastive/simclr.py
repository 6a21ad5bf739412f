"""SimCLR: two views of a sample find each other among all views of the batch."""

from __future__ import annotations

from torch import Tensor

from longcut.contrast import simclr_loss
from longcut.methods.base import Recipe
from longcut.methods.contrastive.base import CIFAR, Contrastive


class SimCLR(Contrastive):
    """``mean(-log e^(s+/t) / (e^(s+/t) + sum_j e^(s_j/t)))`` over two views of each sample; then a linear probe."""

    name = "simclr"
    paper = "Chen et al., A simple framework for contrastive learning of visual representations, ICML 2020"
    recipes = {"paper": Recipe("CIFAR-10 as a baseline of the paper of wcl, with its family's released code", *CIFAR)}

    def contrast(self, z: Tensor, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """NT-Xent."""
        return simclr_loss(z, self.temperature), {}
