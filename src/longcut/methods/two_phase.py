"""What methods share that first train an ordinary net and see whom it gets wrong: JTT, JM1, UMIX."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from longcut.data import Dataset, Info
from longcut.errors import UserError
from longcut.identify import Identification, Trajectory, load
from longcut.methods.base import FitHelper, MakeNet, Method, require_attribute
from longcut.methods.erm import ERM

Identify = Annotated[
    str, Field(description="helper: its errors; oracle: the conflicting ones; or a run's folder with a record")
]
Record = Annotated[
    Literal["online", "evaluated"],
    Field(description="the helper's predictions: as its training saw them, or by a pass of its own after each epoch"),
]
HelperEpochs = Annotated[int, Field(ge=1, description="epochs of the helper")]
HelperLr = Annotated[float | None, Field(gt=0, description="learning rate of the helper; by default the run's")]
HelperDecay = Annotated[float | None, Field(ge=0, description="weight decay of the helper; by default the run's")]
HelperOptimizer = Annotated[
    Literal["adam", "adamw", "adamw-inverted", "sgd"] | None,
    Field(description="optimizer of the helper; by default the run's"),
]


def helper_settings(epochs: int, lr: float | None, weight_decay: float | None, optimizer: str | None) -> dict[str, Any]:
    """Training settings of a helper: its own where given, else the run's; constant, and without averaged weights.

    >>> helper_settings(3, None, 0.1, None)
    {'average': 0.0, 'schedule': 'constant', 'epochs': 3, 'weight_decay': 0.1}
    """
    own = {"epochs": epochs, "lr": lr, "weight_decay": weight_decay, "optimizer": optimizer}
    return {"average": 0.0, "schedule": "constant"} | {name: v for name, v in own.items() if v is not None}


class TwoPhase(Method):
    """A method that first trains a helper, an ordinary net with the run's settings or its own, and watches it.

    Args:
        make_net, info: as for every method.
        identify: ``"helper"``, or the folder of a run with a record, which spares the helper.
        record: how the helper is watched.
        helper: its training settings.
    """

    def __init__(self, make_net: MakeNet, info: Info, identify: str, record: Any, helper: Mapping[str, Any]) -> None:
        super().__init__(make_net, info)
        self.identify, self.record, self.helper = identify, record, helper
        self.trajectory = Trajectory()

    def watch(self, train: Dataset, fit: FitHelper) -> Trajectory:
        """The record of the helper, trained now, or that of another run."""
        if self.identify == "helper":
            helper = ERM(self.make_net, self.info, record=self.record)
            fit(helper, train, **self.helper)
            record = helper.identification().trajectory.record  # pyright: ignore[reportOptionalMemberAccess]
        else:
            record = load(self.identify, train)
        self.trajectory.set_extra_state(record)
        return self.trajectory

    def identification(self) -> Identification | None:
        return Identification(trajectory=self.trajectory)


class ErrorSet(TwoPhase):
    """A two-phase method that takes the helper's errors in its last epoch for the minority.

    ``chosen (n_stored,)`` says who: all that passes from the helper to the method.
    """

    def __init__(self, make_net: MakeNet, info: Info, identify: str, record: Any, helper: Mapping[str, Any]) -> None:
        if identify == "oracle":
            require_attribute(f"{self.name} with identify=oracle", info.name, info.n_attributes > 0)
        super().__init__(make_net, info, identify, record, helper)
        self.register_buffer("chosen", torch.zeros(info.n_stored, dtype=torch.bool))

    chosen: Tensor

    def prepare(self, train: Dataset, fit: FitHelper) -> Dataset:
        """The training set as it is, once it is known who is chosen.

        Raises:
            UserError: when nobody is.
        """
        if self.identify == "oracle":
            self.chosen[train.index] = train.conflicting.to(self.chosen.device)
        elif self.identify != "none":
            self.chosen |= self.watch(train, fit).errors().to(self.chosen.device)
        if self.identify != "none" and not self.chosen.any():
            raise UserError(self._nobody(train.info.name))
        return train

    def _nobody(self, data: str) -> str:
        if self.identify == "oracle":
            return f"{self.name} with identify=oracle chose nobody: no training sample of {data} contradicts; take erm."
        how = f"its helper made no error in epoch {len(self.trajectory.correct)}"
        return (
            f"{self.name} chose nobody in {data}: {how}, as a helper does that learned the training set by heart; "
            "stop it earlier (helper_epochs), lower helper_lr, or raise helper_weight_decay (published: 1e-5 and 1.0)."
        )

    def identification(self) -> Identification | None:
        if self.identify == "none":
            return None
        return Identification(self.chosen, None if self.identify == "oracle" else self.trajectory)
