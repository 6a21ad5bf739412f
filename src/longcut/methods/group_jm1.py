"""GroupJM1: Just Mix Once where the groups are known, mixing toward the one that is worst at the moment."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from longcut import mixing
from longcut.data import Batch, Info
from longcut.losses import cross_entropy
from longcut.methods.base import MakeNet
from longcut.methods.group_dro import Balanced, GroupDRO, Step
from longcut.methods.jm1 import Level, level_of


class GroupJM1(GroupDRO):
    """``CE(a h_worst + (1 - a) h_other, y)``, where the worst group of each minibatch is mixed within its class."""

    name = "group-jm1"
    paper = "Giannone et al., Just mix once: Worst-group generalization by group interpolation, 2022 (arXiv 2210.12195)"
    recipes = {}

    def __init__(
        self,
        make_net: MakeNet,
        info: Info,
        *,
        objective: Annotated[
            Literal["dro", "erm"], Field(description="GroupDRO's weighted loss of the groups, or the mean loss")
        ] = "dro",
        level: Level = "random",
        step: Step = 0.01,
        balanced: Balanced = True,
    ) -> None:
        super().__init__(make_net, info, step=step, balanced=balanced)
        self.objective, self.level = objective, level
        if level != "random":
            level_of(self, level)

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Once to find the worst group, once to learn from the mixtures."""
        group = self.group(batch)
        level = level_of(self, self.level)
        own = self.mixable(batch.x, level)
        with torch.no_grad():
            worst = self._worst(cross_entropy(self.outputs(own, level), batch.label), group)
        flag = group == worst
        pair = mixing.keyed(lambda rows: 2 * rows.label + ~flag, lambda rows: 2 * rows.label + flag)
        mix = mixing.Mix(pair, mixing.uniform(), mixing.linear, mixing.own)
        mixed = mix(dataclasses.replace(batch, x=own), generator=self.generator)
        losses = cross_entropy(self.outputs(mixed.x, level), batch.label)
        loss = losses.mean() if self.objective == "erm" else self.weights.update(losses, group)
        return loss, {"paired": mixed.found.float().mean()}

    def _worst(self, losses: Tensor, group: Tensor) -> Tensor:
        """The group whose mean loss in the batch is largest."""
        total = losses.new_zeros(len(self.weights.q)).index_add_(0, group, losses)
        count = torch.bincount(group, minlength=len(total))
        return torch.where(count > 0, total / count.clamp_min(1), -torch.inf).argmax()
