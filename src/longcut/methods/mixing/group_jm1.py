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
from longcut.methods.mixing.base import MixingMethod
from longcut.methods.reweighting.group_dro import GroupDRO
from longcut.methods.shared import Balanced, Blend, Level, Step


class GroupJM1(MixingMethod, GroupDRO):
    """``CE(a h_worst + (1 - a) h_other, y)``, where the worst group of each minibatch is mixed within its class.

    Samples of unknown attribute are never the worst group, and among the others of their class.
    """

    name = "group-jm1"
    paper = "Giannone et al., Just mix once: Worst-group generalization by group interpolation, 2022 (arXiv 2210.12195)"
    tasks = frozenset({"classification"})
    needs_classes = "it pairs samples of one class"
    drawn = "activations"
    recipes = {}
    variants = ({"objective": "erm", "level": "output"}, {"blend": "keep-both"})

    def __init__(
        self,
        make_net: MakeNet,
        info: Info,
        *,
        objective: Annotated[
            Literal["dro", "erm"], Field(description="GroupDRO's weighted loss of the groups, or the mean loss")
        ] = "dro",
        level: Level = "random",
        blend: Blend = "linear",
        step: Step = 0.01,
        balanced: Balanced = True,
    ) -> None:
        super().__init__(make_net, info, step=step, balanced=balanced)
        self.objective, self.mixed_at, self.shown = objective, level, mixing.BLENDS[blend]
        if level != "random":
            self.level()

    def make_mix(self) -> mixing.Mix:
        """Within the class; whom with whom is decided minibatch by minibatch."""
        return mixing.Mix(mixing.same_label(), mixing.uniform(), self.shown, mixing.own)

    def draw(self, pool: Batch, level: int) -> mixing.Partners:
        """The group that is worst in this minibatch with the others of its class, and they with it."""
        with torch.no_grad():
            losses = cross_entropy(self.outputs(pool.x, level), pool.label)
        group = self.group(pool)
        worst = group == self._worst(losses, group)
        pair = mixing.keyed(lambda rows: 2 * rows.label + ~worst, lambda rows: 2 * rows.label + worst)
        return dataclasses.replace(self.mix, pair=pair).draw(pool, generator=self.generator)

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Once to find the worst group, once to learn from the mixtures."""
        mixed, partners, level = self.mixture(batch)
        losses = self.mixed_losses(mixed, level)
        loss = losses.mean() if self.objective == "erm" else self.robust(losses, self.group(batch))
        return loss, self.partner_logs(partners)

    def _worst(self, losses: Tensor, group: Tensor) -> Tensor:
        """The group whose mean loss in the batch is largest."""
        n = len(self.weights.q)
        place = torch.where(group < 0, n, group)  # those of no group behind all
        total = losses.new_zeros(n + 1).index_add_(0, place, losses)[:n]
        count = torch.bincount(place, minlength=n + 1)[:n]
        return torch.where(count > 0, total / count.clamp_min(1), -torch.inf).argmax()
