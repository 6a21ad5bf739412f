"""HSIC: outputs that are independent of the attribute, by a penalty on a kernel measure of dependence."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from longcut.data import Batch, Info
from longcut.losses import cross_entropy
from longcut.methods.base import MakeNet, Method
from longcut.penalties import hsic, rbf


class HSIC(Method):
    """``mean(CE) + weight * mean over labels of HSIC(outputs, attribute)`` among the samples of the label.

    What is independent of the attribute given the label has equalized odds. The kernel of the outputs is Gaussian, with
    the median distance as its width, so that no rescaling hides the dependence; that of the attribute is 1 for equal
    values and 0 for others. Samples of unknown attribute count in the cross-entropy alone.
    """

    name = "hsic"
    paper = "Pérez-Suay et al., Fair kernel learning, ECML PKDD 2017"
    needs = frozenset({"attribute"})
    partial = True
    needs_classes = "its penalty is taken within each class"
    variants = ({"on": "features"}, {"given": "nothing"})

    def __init__(
        self,
        make_net: MakeNet,
        info: Info,
        *,
        weight: Annotated[float, Field(ge=0, description="of the penalty")] = 10.0,
        on: Annotated[
            Literal["outputs", "features"],
            Field(
                description="what is to be independent: the probabilities of the classes, or what the last layer sees"
            ),
        ] = "outputs",
        given: Annotated[
            Literal["label", "nothing"],
            Field(description="label: independent within each class, equalized odds; nothing: demographic parity"),
        ] = "label",
    ) -> None:
        super().__init__(make_net, info)
        self.weight, self.on, self.given = weight, on, given

    def dependence(self, z: Tensor, label: Tensor, attribute: Tensor) -> Tensor:
        """HSIC of what is seen of samples ``(n, d)`` and their attribute, where it is known; 0 of fewer than 4."""
        classes = self.info.n_classes if self.given == "label" else 1
        terms = []
        for c in range(classes):
            own = ((attribute >= 0) & ((label == c) if self.given == "label" else True)).nonzero().flatten()
            a = attribute[own]
            terms.append(hsic(rbf(z[own], "median"), (a[:, None] == a).to(z)))
        return torch.stack(terms).mean()

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean cross-entropy plus the weighted penalty."""
        assert batch.attribute is not None  # method.needs
        features = self.net.features(batch.x)
        outputs = self.net.answer(features)
        losses = cross_entropy(outputs, batch.label)
        self.context.saw(batch, outputs, losses)
        shared = self.dependence(
            features if self.on == "features" else outputs.softmax(1), batch.label, batch.attribute
        )
        return losses.mean() + self.weight * shared, {"hsic": shared.detach()}
