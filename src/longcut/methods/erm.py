"""Empirical risk minimisation: what everybody does, and the baseline of every table."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from longcut.data import Batch, Info
from longcut.errors import UserError
from longcut.identify import Identification, Trajectory
from longcut.methods.base import MakeNet, Method

AT_ONCE = 32  # batches: noting each by itself would cost a small net a twentieth of its time


class ERM(Method):
    """Minimise the mean loss. Learns whatever predicts the label most easily, shortcut included."""

    name = "erm"
    paper = "Vapnik, Principles of risk minimization, NeurIPS 1991"
    tasks = frozenset({"classification", "regression"})

    def __init__(
        self,
        make_net: MakeNet,
        info: Info,
        *,
        record: Annotated[
            Literal["none", "online", "evaluated"],
            Field(description="keep who was right in each epoch, as training saw it or by a pass of its own after it"),
        ] = "none",
    ) -> None:
        super().__init__(make_net, info)
        if record != "none" and info.task == "regression":
            raise UserError(f"erm with record={record} needs classes, but {info.name} is regression; use record=none.")
        self.record: Literal["none", "online", "evaluated"] = record
        self.trajectory = None if record == "none" else Trajectory()

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean cross-entropy, or mean squared error."""
        outputs = self(batch.x)
        losses = self.per_sample_loss(outputs, batch.label)
        if self.trajectory is not None and self.record == "online":
            self.unnoted.append((batch.identity, batch.label, outputs.detach(), losses.detach()))
            if len(self.unnoted) == AT_ONCE:
                self._note()
        return losses.mean(), {}

    def on_epoch(self, epoch: int, epochs: int) -> None:
        self.epoch = epoch
        self.unnoted: list[tuple[Tensor, ...]] = []
        if self.trajectory is not None and epoch == 0:
            self.trajectory.begin(epochs, self.info.n_stored)

    def _note(self) -> None:
        if self.trajectory is not None and self.unnoted:
            self.trajectory.note(self.epoch, *map(torch.cat, zip(*self.unnoted, strict=True)))
            self.unnoted = []

    @torch.no_grad()
    def after_epoch(self, epoch: int) -> None:
        """What is left to note; or the pass of its own, with frozen weights and in evaluation mode."""
        self._note()
        if self.trajectory is None or self.record != "evaluated":
            return
        self.eval()
        for batch in self.train_data.batches(1024, next(self.parameters()).device):
            outputs = self(batch.x)
            losses = self.per_sample_loss(outputs, batch.label)
            self.trajectory.note(epoch, batch.identity, batch.label, outputs, losses)
        self.train()

    def identification(self) -> Identification | None:
        return None if self.trajectory is None else Identification(trajectory=self.trajectory)
