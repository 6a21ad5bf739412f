"""What methods share that first train an ordinary net and see whom it gets wrong: JTT, JM1, UMIX."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from longcut.data import Dataset, Info
from longcut.errors import UserError
from longcut.identify import Identification, Recorder, Trajectory, load
from longcut.methods.base import FitHelper, MakeNet, Method, require_attribute
from longcut.methods.erm import ERM


class TwoPhase(Method):
    """A method that first trains a helper, an ordinary net with the run's settings or its own, and watches it.

    Args:
        make_net, info: as for every method.
        identify: ``"helper"``, or the folder of a run with a record, which spares the helper.
        record: how the helper is watched.
        helper: its training settings.
        worst: of a regression, the share of the samples that is taken for errors: those that lose most.
    """

    def __init__(
        self,
        make_net: MakeNet,
        info: Info,
        identify: str,
        record: Any,
        helper: Mapping[str, Any],
        worst: float | None = None,
    ) -> None:
        super().__init__(make_net, info)
        self.identify, self.record, self.helper = identify, record, helper
        self.worst = worst if info.task == "regression" else None
        self.trajectory = Trajectory()

    def watch(self, train: Dataset, fit: FitHelper) -> Trajectory:
        """The record of the helper, trained now, or that of another run."""
        if self.identify == "helper":
            recorder = Recorder(self.trajectory, self.record)
            fit(ERM(self.make_net, self.info), train, observers=[recorder], **self.helper)
        else:
            self.trajectory.set_extra_state(load(self.identify, train))
        return self.trajectory

    def identification(self) -> Identification | None:
        return Identification(trajectory=self.trajectory)


class ErrorSet(TwoPhase):
    """A two-phase method that takes the helper's errors in one epoch for the minority.

    ``chosen (n_stored,)`` says who: all that passes from the helper to the method.

    Args:
        make_net, info, identify, record, helper, worst: as for :class:`TwoPhase`; ``identify`` may be ``"oracle"`` or
            ``"none"``, too.
        epoch: which, from 1; 0 is the last.
    """

    def __init__(
        self,
        make_net: MakeNet,
        info: Info,
        identify: str,
        record: Any,
        helper: Mapping[str, Any],
        worst: float | None = None,
        *,
        epoch: int = 0,
    ) -> None:
        if epoch and identify in ("oracle", "none"):
            raise UserError(
                f"{self.name}: epoch={epoch} is of a helper, and identify={identify} has none; leave it out."
            )
        if identify == "helper":
            self._require(epoch, helper["epochs"])
        if identify == "oracle" and info.task == "regression":
            raise UserError(
                f"{self.name} with identify=oracle needs classes, for an attribute to contradict, but {info.name} is "
                "regression; use identify=helper."
            )
        if identify == "oracle":
            require_attribute(f"{self.name} with identify=oracle", info.name, info.n_attributes > 0)
        super().__init__(make_net, info, identify, record, helper, worst)
        self.identified_at = epoch
        self.register_buffer("chosen", torch.zeros(info.n_stored, dtype=torch.bool))

    chosen: Tensor

    def _require(self, epoch: int, epochs: int) -> None:
        """Refuse an epoch that the helper does not have."""
        if epoch > epochs:
            raise UserError(
                f"{self.name}: the errors of epoch {epoch} are asked for, but the helper has {epochs}; "
                "lower epoch, or train it longer."
            )

    def prepare(self, train: Dataset, fit: FitHelper) -> Dataset:
        """The training set as it is, once it is known who is chosen.

        Raises:
            UserError: when nobody is, or the record ends before the epoch.
        """
        if self.identify == "oracle":
            self.chosen[train.index] = train.conflicting.to(self.chosen.device)
        elif self.identify != "none":
            seen = self.watch(train, fit)
            self._require(self.identified_at, len(seen.correct))
            self.chosen |= seen.errors(self.identified_at - 1, self.worst).to(self.chosen.device)
        if self.identify != "none" and not self.chosen.any():
            raise UserError(self._nobody(train.info.name))
        return train

    def minority(self, train: Dataset) -> Tensor | None:
        """The helper's errors."""
        return None if self.identify in ("oracle", "none") else self.chosen.cpu()[train.index]

    def _nobody(self, data: str) -> str:
        if self.identify == "oracle":
            return f"{self.name} with identify=oracle chose nobody: no training sample of {data} contradicts; take erm."
        how = f"its helper made no error in epoch {self.identified_at or len(self.trajectory.correct)}"
        return (
            f"{self.name} chose nobody in {data}: {how}, as a helper does that learned the training set by heart; "
            "stop it earlier (helper_epochs), lower helper_lr, or raise helper_weight_decay (published: 1e-5 and 1.0)."
        )

    def identification(self) -> Identification | None:
        if self.identify == "none":
            return None
        return Identification(self.chosen, None if self.identify == "oracle" else self.trajectory)
