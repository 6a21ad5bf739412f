"""Logit adjustment: what the class, or the group, says of the label is added in training, and left out afterwards."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from longcut.cells import cell_counts, log_conditional
from longcut.data import Batch, Dataset, Info
from longcut.losses import cross_entropy
from longcut.methods.base import FitHelper, MakeNet, Method
from longcut.methods.shared import require_groups


class LogitAdjustment(Method):
    """``CE(f(x) + tau log P(y), y)``, or by group ``CE(f(x) + tau log P(y | a), y)``.

    By group, log P(y, a) would give the same loss: what all logits of a sample share does not change its softmax.
    For samples of unknown attribute, the labels among themselves are counted.
    """

    name = "logit-adjustment"
    paper = "Menon et al., Long-tail learning via logit adjustment, ICLR 2021"
    needs_classes = "it adjusts the logits of classes"
    variants = ({"by": "group"},)

    def __init__(
        self,
        make_net: MakeNet,
        info: Info,
        *,
        by: Annotated[
            Literal["class", "group"], Field(description="whose labels are counted: everybody's, or each attribute's")
        ] = "class",
        tau: Annotated[float, Field(ge=0, description="how much the logits are adjusted; 0 is erm")] = 1.0,
    ) -> None:
        require_groups("logit-adjustment", by, info)
        super().__init__(make_net, info)
        self.by, self.tau = by, tau
        values = info.n_attributes + info.partial if by == "group" else 1
        self.register_buffer("adjustment", torch.zeros(values, info.n_classes))

    adjustment: Tensor

    def value(self, rows: Batch | Dataset) -> Tensor:
        """The row of the adjustment for each sample ``(n,)``."""
        if self.by == "class" or rows.attribute is None:
            return torch.zeros_like(rows.label)
        return torch.where(rows.attribute < 0, self.info.n_attributes, rows.attribute)

    def prepare(self, train: Dataset, fit: FitHelper) -> Dataset:
        """Count the labels of the training set."""
        counts = cell_counts(self.value(train), train.label, *self.adjustment.shape)
        self.adjustment.copy_(log_conditional(counts))
        return train

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean cross-entropy of adjusted logits; at test time they are not adjusted."""
        outputs = self(batch.x)
        losses = cross_entropy(outputs + self.tau * self.adjustment[self.value(batch)], batch.label)
        self.context.saw(batch, outputs, losses)
        return losses.mean(), {}
