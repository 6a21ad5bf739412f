"""EnD: features that agree within a label across the bias, and do not agree because of it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from longcut.data import Batch, Info
from longcut.losses import cross_entropy
from longcut.methods.base import MakeNet, Method, Recipe
from longcut.methods.shared import BIASED_MNIST
from longcut.penalties import disentangle, entangle


class EnD(Method):
    """``mean(CE) + alpha * R_orth + beta * R_par``, two penalties on the cosines of features within a batch."""

    name = "end"
    paper = "Tartaglione et al., EnD: Entangling and disentangling deep representations for bias correction, CVPR 2021"
    needs_classes = "it pulls samples together and apart by their class"
    needs = frozenset({"attribute"})
    partial = True
    variants = ({"pairs": "code"},)
    recipes = {
        "paper": Recipe(
            "Biased MNIST as released: sums that cancel, half of the parallel pairs; alpha and beta of its example "
            "call, for the authors search them anew for each data set",
            {"alpha": 0.1, "beta": 0.1, "pairs": "code"},
            BIASED_MNIST,
            "stack:kernel=7",
        )
    }

    def __init__(
        self,
        make_net: MakeNet,
        info: Info,
        *,
        alpha: Annotated[
            float, Field(ge=0, description="weight of R_orth: samples that share the attribute, orthogonal")
        ] = 0.3,
        beta: Annotated[
            float, Field(ge=0, description="weight of R_par: samples of one label with other attributes, parallel")
        ] = 0.3,
        pairs: Annotated[
            Literal["paper", "code"], Field(description="pairs and absolute values as the paper means, or as released")
        ] = "paper",
    ) -> None:
        super().__init__(make_net, info)
        self.alpha, self.beta = alpha, beta
        self.pairing: Literal["paper", "code"] = pairs

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean cross-entropy plus the two weighted penalties."""
        assert batch.attribute is not None  # method.needs
        features = self.net.features(batch.x)
        z = F.normalize(features, dim=1)
        orthogonal = disentangle(z, batch.label, batch.attribute, pairs=self.pairing)
        parallel = entangle(z, batch.label, batch.attribute, pairs=self.pairing)
        ce = cross_entropy(self.net.head(features), batch.label).mean()
        loss = ce + self.alpha * orthogonal + self.beta * parallel
        return loss, {"orthogonal": orthogonal.detach(), "parallel": parallel.detach()}
