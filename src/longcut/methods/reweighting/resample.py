"""Resampling: all classes, or all groups, equally often."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from longcut.data import Dataset, Info, balance, undersample
from longcut.methods.base import FitHelper, MakeNet, Method
from longcut.methods.shared import require_groups


class Resample(Method):
    """Empirical risk minimisation on a balanced training set: a change of the data, not of the step.

    With groups, of a regression the values of its attribute, it is the simplest of the methods that are told the
    answer. Samples of unknown attribute are in no group: in each class they are drawn as often as one group is, but
    nobody twice.
    """

    name = "resample"
    paper = "Idrissi et al., Simple data balancing achieves competitive worst-group-accuracy, CLeaR 2022"
    tasks = frozenset({"classification", "regression"})
    variants = ({"by": "group"}, {"by": "group", "how": "subsample"})

    def __init__(
        self,
        make_net: MakeNet,
        info: Info,
        *,
        by: Annotated[Literal["class", "group"], Field(description="what is made equally frequent")] = "class",
        how: Annotated[
            Literal["repeat", "subsample"],
            Field(description="small ones repeated, drawn anew in each epoch; or all cut to the smallest, once"),
        ] = "repeat",
    ) -> None:
        require_groups("resample", by, info)
        super().__init__(make_net, info)
        self.by: Literal["class", "group"] = by
        self.how = how

    def prepare(self, train: Dataset, fit: FitHelper) -> Dataset:
        """The training set, or as much of every class (or group) as there is of the smallest."""
        return undersample(train, self.by, self.generator) if self.how == "subsample" else train

    def epoch_data(self, train: Dataset) -> Dataset:
        """Balanced, at its size."""
        return balance(train, self.by, self.generator) if self.how == "repeat" else train
