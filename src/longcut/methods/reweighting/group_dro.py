"""GroupDRO: the groups that lose most weigh most."""

from __future__ import annotations

import dataclasses
from typing import Annotated, ClassVar, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from longcut.data import Batch, Dataset, Info, balance
from longcut.methods.base import FitHelper, MakeNet, Method, Recipe
from longcut.methods.shared import SUBPOPBENCH, Balanced, Step


class GroupWeights(nn.Module):
    """A weight q for each group, which grows with the loss of its group; kept in the state, so a resumed run has it.

    Args:
        n_groups: number of groups.
        step: eta; q of a group is multiplied by ``exp(eta * its mean loss)`` at each update.
        adjustment: C; what is multiplied is as if the mean loss were larger by ``C / sqrt(samples of the group)``.
        updates: ``"all"``: the adjustment also moves the groups that the batch lacks; ``"present"``: it does not.
        normalise: divide the (adjusted) losses by their sum before they enter the update.

    Source: Sagawa et al. 2020, "Distributionally robust neural networks for group shifts", algorithm 1 and section 3.3.

    >>> weights = GroupWeights(2, step=1.0)
    >>> loss = weights.update(torch.tensor([0.0, 1.0986, 1.0986]), torch.tensor([0, 1, 1]))  # exp(1.0986) = 3
    >>> weights.q
    tensor([0.2500, 0.7500])
    """

    q: Tensor
    size: Tensor

    def __init__(
        self,
        n_groups: int,
        step: float = 0.01,
        *,
        adjustment: float = 0.0,
        updates: Literal["all", "present"] = "all",
        normalise: bool = False,
    ) -> None:
        super().__init__()
        self.step, self.adjustment, self.updates, self.normalise = step, adjustment, updates, normalise
        self.register_buffer("q", torch.full((n_groups,), 1 / n_groups))
        self.register_buffer("size", torch.ones(n_groups, dtype=torch.long))

    def start(self, group: Tensor) -> None:
        """Equal weights for the groups that occur among the training samples' ``(n,)``, none for the others."""
        self.size.copy_(torch.bincount(group[group >= 0], minlength=len(self.q)))
        self.q.copy_((self.size > 0) / (self.size > 0).sum())

    def update(self, losses: Tensor, group: Tensor) -> Tensor:
        """Move q by the losses ``(n,)`` of samples of these groups ``(n,)``, then give the groups' loss under it.

        A sample of no group, -1, counts in neither. Groups that are not in the batch have a mean loss of 0, so q of
        theirs only changes as the others' does.
        """
        member = (group[:, None] == torch.arange(len(self.q), device=group.device)).to(losses.dtype)
        count = member.sum(0)
        mean = losses @ member / count.clamp_min(1)
        with torch.no_grad():
            worse = mean + self.adjustment / self.size.clamp_min(1).sqrt()
            moved = self.size > 0 if self.updates == "all" else count > 0
            worse = torch.where(moved, worse, 0)
            if self.normalise:
                worse = worse / worse.sum().clamp_min(1e-12)
            self.q.copy_(torch.softmax(self.q.log() + self.step * worse, 0))  # q exp(step * worse), to the sum 1
        return self.q @ mean


class GroupDRO(Method):
    """``sum_g q_g * (mean loss of group g)``, where q follows the groups that lose most.

    Samples of unknown attribute are in no group. They keep their weight in the mean: with a share u of them in the
    batch, the loss is ``(1 - u)`` times the above and u times theirs, and q is moved by the others alone.

    A method that infers its attribute is a subclass: it sets ``inferred``, empties ``needs``, and hands ``prepare`` a
    training set that carries what it inferred.
    """

    name = "group-dro"
    paper = "Sagawa et al., Distributionally robust neural networks for group shifts, ICLR 2020"
    needs = frozenset({"attribute"})
    partial = True
    tasks = frozenset({"classification", "regression"})
    inferred: ClassVar[int] = 0  # number of values of an attribute that the method infers itself
    variants = (
        {"adjustment": 2.0, "updates": "present", "balanced": False, "step": 1.0},
        {"adjustment": 1.0, "normalise": True},
    )
    recipes = {
        "paper": Recipe(
            "Waterbirds as published: strong weight decay and a small learning rate; C is not known for certain",
            {"step": 0.01, "balanced": True},
            {
                "optimizer": "sgd",
                "lr": 1e-5,
                "weight_decay": 1.0,
                "batch": 128,
                "pool": 1,
                "epochs": 300,
            },
        ),
        "subpopbench": Recipe(
            "Waterbirds in SubpopBench: samples as they come, 5001 updates; its frozen batch norm is not taken over",
            {"step": 0.01, "balanced": False},
            SUBPOPBENCH,
        ),
        "wilds": Recipe(
            "CivilComments in WILDS; the method itself is the paper's, and groups without a sample are left out",
            {"step": 0.01, "balanced": True},
            {
                "optimizer": "adamw",
                "lr": 1e-5,
                "weight_decay": 0.01,
                "batch": 16,
                "pool": 1,
                "epochs": 5,
                "schedule": "linear",
                "clip": 1.0,
            },
        ),
    }

    def __init__(
        self,
        make_net: MakeNet,
        info: Info,
        *,
        step: Step = 0.01,
        balanced: Balanced = True,
        adjustment: Annotated[
            float, Field(ge=0, description="C: a group of n samples counts as losing C / sqrt(n) more")
        ] = 0.0,
        updates: Annotated[
            Literal["all", "present"],
            Field(description="whether the adjustment moves all groups at each update, or those in the batch"),
        ] = "all",
        normalise: Annotated[bool, Field(description="the groups' losses sum to 1 in the update of q")] = False,
    ) -> None:
        super().__init__(make_net, info)
        self.grouped = dataclasses.replace(info, n_attributes=self.inferred or info.n_attributes)
        self.weights = GroupWeights(
            self.grouped.n_groups, step, adjustment=adjustment, updates=updates, normalise=normalise
        )
        self.balanced = balanced

    def group(self, rows: Batch | Dataset) -> Tensor:
        """``label * n_attributes + attribute`` of each sample ``(n,)``, or -1; in regression, its attribute."""
        return self.grouped.groups(rows.label, cast(Tensor, rows.attribute))

    def prepare(self, train: Dataset, fit: FitHelper) -> Dataset:
        """Count the groups; those with no sample get no weight, ever."""
        self.weights.start(self.group(train))
        return train

    def epoch_data(self, train: Dataset) -> Dataset:
        """The training set, or as many samples drawn equally from every group."""
        return balance(train, self.group(train), self.generator) if self.balanced else train

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The weights move first, then weigh."""
        losses = self.per_sample_loss(self(batch.x), batch.label)
        return self.robust(losses, self.group(batch)), {"largest_weight": self.weights.q.max()}

    def robust(self, losses: Tensor, group: Tensor) -> Tensor:
        """Of losses ``(n,)`` of samples of these groups ``(n,)``, -1 for none."""
        alone = group < 0
        return (1 - alone.to(losses).mean()) * self.weights.update(losses, group) + (losses * alone).mean()
