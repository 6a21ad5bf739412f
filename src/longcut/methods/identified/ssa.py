"""SSA: a net learns the attribute of the few for whom it is known, tells it of the others, and GroupDRO follows."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Annotated, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from longcut.data import Batch, Dataset, Info
from longcut.losses import cross_entropy
from longcut.methods import shared
from longcut.methods.base import FitHelper, MakeNet, Method
from longcut.methods.reweighting.group_dro import GroupDRO
from longcut.predict import predict

__all__ = ["SSA", "believed"]


def believed(probability: Tensor, label: Tensor, counts: Tensor, threshold: float) -> Tensor:
    """Whose most probable attribute is taken for true, such that groups are learned from alike: a mask ``(n,)``.

    In the rarest group of the labelled samples these are all that are sure enough. The other groups get as many as
    keep their labelled and believed samples together no more than those of the rarest one: their surest.

    Args:
        probability: of the attribute's values ``(n, A)``.
        label: class ids ``(n,)``.
        counts: labelled samples of each label and value ``(C, A)``; the rarest is that of the groups that have some.
        threshold: least probability, tau.

    Source: Nam et al. 2022, "Spread spurious attribute", group-wise adaptive thresholds, as described; that no group
    may be less sure than tau is ours.

    >>> p = torch.tensor([[0.9, 0.1], [0.96, 0.04], [0.02, 0.98], [0.97, 0.03]])
    >>> believed(p, torch.zeros(4, dtype=torch.long), torch.tensor([[2, 2]]), 0.95)
    tensor([False,  True,  True,  True])
    """
    sure, value = probability.max(1)
    values = counts.shape[1]
    group, size = label * values + value, counts.flatten()
    rarest = torch.where(size > 0, size, size.max() + 1).argmin()
    enough = sure >= threshold
    budget = size[rarest] + (enough & (group == rarest)).sum() - size
    order = torch.where(enough, sure, -1).argsort(descending=True, stable=True)
    sorted_group = group[order]
    member = sorted_group[:, None] == torch.arange(len(size), device=group.device)
    rank = torch.empty_like(order)
    rank[order] = (member.cumsum(0) - 1).gather(1, sorted_group[:, None])[:, 0]
    return enough & ((group == rarest) | (rank < budget[group]))


class Teller(Method):
    """A net that learns the attribute: ``mean(CE of labelled) + mean(CE of believed)``, see :func:`believed`.

    It walks samples of unknown attribute, and beside each minibatch stand as many of those whose attribute is known.

    Args:
        make_net, info: as for every method.
        labelled: the samples whose attribute is known.
        threshold: tau.
    """

    name = "ssa-teller"

    def __init__(self, make_net: MakeNet, info: Info, labelled: Dataset, threshold: float) -> None:
        def make() -> object:
            net = make_net()
            net.head = nn.Linear(net.width, info.n_attributes)
            return net

        super().__init__(cast(MakeNet, make), info)
        self.labelled, self.threshold = labelled, threshold

    def on_pool(self, pool: Batch) -> Batch:
        """With as many labelled samples, drawn with repetition."""
        rows = torch.randint(len(self.labelled), (len(pool),), generator=self.generator, device=self.generator.device)
        told = self.labelled.batch(rows.cpu(), pool.x.device)
        x = self.context.augment(told.x, self.generator)
        return pool.with_extra(told=x, told_label=told.label, told_attribute=told.attribute)

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Both halves pass the net as one batch."""
        told = batch.extra["told_attribute"]
        known, unknown = self(torch.cat([batch.extra["told"], batch.x])).chunk(2)
        shape = self.info.n_classes, self.info.n_attributes
        cell = batch.extra["told_label"] * shape[1] + told
        counts = torch.bincount(cell, minlength=shape[0] * shape[1]).view(shape)
        probability = unknown.detach().softmax(1)
        chosen = believed(probability, batch.label, counts, self.threshold)
        pseudo = (cross_entropy(unknown, probability.argmax(1)) * chosen).sum() / chosen.sum().clamp_min(1)
        return cross_entropy(known, told).mean() + pseudo, {"believed": chosen.float().mean()}


class SSA(GroupDRO):
    """GroupDRO on attributes of which some are known, and the others told by nets that were not trained on them.

    The samples of unknown attribute are cut into parts. For each part a net learns the attribute from the known ones
    and, by its own surest guesses, from the other parts; then it tells that of the part. As described; the program of
    the authors was not run. They keep half of the known samples to choose the net's epoch by; here all are learned
    from, for ``helper_epochs``. Where all attributes are known, this is ``group-dro``.
    """

    name = "ssa"
    paper = (
        "Nam et al., Spread spurious attribute: Improving worst-group accuracy with spurious attribute estimation, "
        "ICLR 2022"
    )
    tasks = frozenset({"classification"})
    needs_classes = "its groups are of a label and an attribute"
    recipes = {}
    variants = ({"step": 0.5, "balanced": False},)

    def __init__(
        self,
        make_net: MakeNet,
        info: Info,
        *,
        parts: Annotated[
            int, Field(ge=2, description="parts of the unknown (K); each is told by a net of its own")
        ] = 3,
        threshold: Annotated[
            float, Field(ge=0, le=1, description="least probability of a guess that is learned from (tau)")
        ] = 0.95,
        helper_epochs: shared.HelperEpochs = 10,
        helper_lr: shared.HelperLr = None,
        helper_weight_decay: shared.HelperDecay = None,
        helper_optimizer: shared.HelperOptimizer = None,
        step: shared.Step = 0.01,
        balanced: shared.Balanced = True,
    ) -> None:
        super().__init__(make_net, info, step=step, balanced=balanced)
        self.parts, self.threshold = parts, threshold
        self.helper = shared.helper_settings(helper_epochs, helper_lr, helper_weight_decay, helper_optimizer)
        self.register_buffer("told", torch.zeros((), dtype=torch.long))

    told: Tensor

    def prepare(self, train: Dataset, fit: FitHelper) -> Dataset:
        """The training set with every attribute, known or told."""
        unknown = (~train.known).nonzero().flatten()
        if len(unknown):
            train = self._spread(train, unknown, fit)
            self.told.fill_(len(unknown))
        return super().prepare(train, fit)

    def _spread(self, train: Dataset, unknown: Tensor, fit: FitHelper) -> Dataset:
        assert train.attribute is not None
        labelled, attribute = train.take(train.known), train.attribute.clone()
        order = unknown[torch.randperm(len(unknown), generator=self.generator, device=self.generator.device).cpu()]
        parts = order.tensor_split(min(self.parts, len(order)))
        for k, rows in enumerate(parts):
            others = torch.cat([part for i, part in enumerate(parts) if i != k]) if len(parts) > 1 else rows
            teller = Teller(self.make_net, self.info, labelled, self.threshold)
            teller = fit(teller, train.take(others), **self.helper)
            said = predict(teller, train.take(rows), next(teller.parameters()).device)
            attribute[rows] = said.argmax(1)
        return dataclasses.replace(train, attribute=attribute, guessed=~train.known)

    def remarks(self) -> Sequence[str]:
        """How many were told."""
        return [f"the attribute of {int(self.told):,} training samples was told by its nets."] if self.told else []
