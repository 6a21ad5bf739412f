"""Empirical risk minimisation: what everybody does, and the baseline of every table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from longcut.context import Observer
from longcut.data import Info
from longcut.identify import Identification, Recorder, Trajectory
from longcut.methods.base import MakeNet, Method
from longcut.methods.mixing.regression import recipes


class ERM(Method):
    """Minimise the mean loss. Learns whatever predicts the label most easily, shortcut included."""

    name = "erm"
    paper = "Vapnik, Principles of risk minimization, NeurIPS 1991"
    tasks = frozenset({"classification", "regression"})
    recipes = recipes("erm")

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
        self.record: Literal["none", "online", "evaluated"] = record
        self.trajectory = None if record == "none" else Trajectory()

    def observers(self) -> Sequence[Observer]:
        """The recorder of the trajectory."""
        return [] if self.trajectory is None or self.record == "none" else [Recorder(self.trajectory, self.record)]

    def identification(self) -> Identification | None:
        return None if self.trajectory is None else Identification(trajectory=self.trajectory)
