"""Reweighting: a sample of a small class, or group, counts more."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from longcut.data import Batch, Dataset, Info
from longcut.methods.base import FitHelper, MakeNet, Method
from longcut.methods.shared import require_groups

Rule = Literal["inverse", "sqrt", "effective"]


def size_weights(size: Tensor, rule: Rule = "inverse", beta: float = 0.9999) -> Tensor:
    """A weight for each class or group of so many samples; they sum to the number of classes or groups.

    Args:
        size: number of samples of each ``(G,)``; where it is 0, so is the weight.
        rule: ``"inverse"``: 1 / n. ``"sqrt"``: 1 / sqrt(n). ``"effective"``: (1 - beta) / (1 - beta^n), the inverse of
            the effective number of samples.
        beta: 0 ≤ beta < 1; at 0 all weights are equal, towards 1 they become those of ``"inverse"``.

    Returns:
        ``(G,)`` float32.

    Source: Cui et al. 2019, "Class-balanced loss based on effective number of samples", for the last; the sum as in
    SubpopBench, Yang et al. 2023, "Change is hard".

    >>> size_weights(torch.tensor([3, 1, 0]))
    tensor([0.7500, 2.2500, 0.0000])
    """
    n = size.double().clamp_min(1)
    if rule == "inverse":
        weight = 1 / n
    elif rule == "sqrt":
        weight = n.rsqrt()
    else:
        weight = -1 / torch.expm1(n * math.log(beta)) if beta else torch.ones_like(n)  # times 1 - beta, which cancels
    weight = torch.where(size > 0, weight, 0)
    return (weight * len(size) / weight.sum()).float()


class Reweight(Method):
    """``mean(w * loss)``, where w depends on how many samples the class, or group, has.

    Samples of unknown attribute are in no group. In each class they weigh together as one group does, but none of them
    more than a sample of the class's largest group.
    """

    name = "reweight"
    paper = "Yang et al., Change is hard: A closer look at subpopulation shift, ICML 2023"
    tasks = frozenset({"classification", "regression"})
    variants = ({"by": "group"}, {"by": "group", "weights": "sqrt"}, {"weights": "effective", "beta": 0.9})

    def __init__(
        self,
        make_net: MakeNet,
        info: Info,
        *,
        by: Annotated[Literal["class", "group"], Field(description="whose size sets the weight")] = "class",
        weights: Annotated[
            Rule, Field(description="1 / n, 1 / sqrt(n), or the inverse of the effective number of samples")
        ] = "inverse",
        beta: Annotated[
            float, Field(ge=0, lt=1, description="how little each further sample is new, with weights=effective")
        ] = 0.9999,
    ) -> None:
        require_groups("reweight", by, info)
        super().__init__(make_net, info)
        self.by, self.beta = by, beta
        self.rule: Rule = weights
        n_classes = info.n_classes if info.task == "classification" else 1
        n_groups = n_classes * (info.n_attributes + info.partial if by == "group" else 1)
        self.register_buffer("weight", torch.ones(n_groups))
        self.weight: Tensor

    def group(self, rows: Batch | Dataset) -> Tensor:
        """The class, or group, of each sample ``(n,)``; in regression, its attribute; behind all groups, the rest."""
        if self.info.task == "regression" and rows.attribute is not None:
            return self.info.strata(rows.label, rows.attribute)
        if self.by == "class" or rows.attribute is None:
            return rows.label
        return self.info.strata(rows.label, rows.attribute)

    def prepare(self, train: Dataset, fit: FitHelper) -> Dataset:
        """Weights by the sizes in the training set."""
        size = torch.bincount(self.group(train), minlength=len(self.weight))
        if self.by == "group" and self.info.partial:
            groups, rest = size.split([self.info.n_groups, len(size) - self.info.n_groups])
            largest = groups.view(len(rest), -1).amax(1)  # of each class
            size = torch.cat([groups, torch.where(rest > 0, torch.maximum(rest, largest), 0)])
        self.weight.copy_(size_weights(size, self.rule, self.beta))
        return train

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean over the batch, whatever its weights sum to."""
        losses = self.per_sample_loss(self(batch.x), batch.label)
        return (self.weight[self.group(batch)] * losses).mean(), {}
