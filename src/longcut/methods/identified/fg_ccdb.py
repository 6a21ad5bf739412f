"""FG-CCDB: let a biased net predict the shortcut, then draw samples so that every class sees it in the same shares."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from longcut.cells import Weighting, cell_weights
from longcut.data import Dataset, Info, draw
from longcut.identify import Identification
from longcut.methods import shared
from longcut.methods.base import FitHelper, MakeNet, Recipe
from longcut.methods.identified.shortcut import FEW, SUREST, ByShortcut

__all__ = ["FGCCDB"]


class FGCCDB(ByShortcut):
    """``mean(CE)`` over samples drawn in proportion to ``w_i = q[s_i] / P(s_i | y_i)``, see :mod:`longcut.cells`.

    s is what a net says that was led to the shortcut in two steps: it is trained on a small random share of the data,
    and again on the half of each class that it is surest of. The paper prints w_i / M[s_i, y_i] for the sampler, which
    does not reach the equal shares its equation asks for; that is ``weights=printed``. The paper and its program were
    read where others describe them, and the program was not run.
    """

    name = "fg-ccdb"
    paper = "Zhao and Zhang, Fine-grained class-conditional distribution balancing for debiased learning, ICLR 2026"
    variants = (
        {"identify": "attribute"},
        {"weights": "printed", "few": 0.2, "helper_epochs": 3},
        {"repeats": 2, "helper_net": "same", "helper_epochs": 3},
    )
    recipes = {
        "paper": Recipe(
            "sampler weights and repeats as printed; net, epochs and learning rate are not known",
            {"weights": "printed", "repeats": 3},
        )
    }

    def __init__(
        self,
        make_net: MakeNet,
        info: Info,
        *,
        identify: shared.ShortcutFrom = "helper",
        weights: Annotated[
            Weighting,
            Field(
                description="q[s] / P(s|y), so that each class sees the shortcut alike; or that over the cell's size"
            ),
        ] = "matched",
        few: Annotated[
            float, Field(gt=0, le=1, description="share of the data that the first net learns (gamma)")
        ] = FEW,
        surest: Annotated[
            float, Field(gt=0, le=1, description="share of each class that the next net learns (beta): the surest")
        ] = SUREST,
        repeats: Annotated[int, Field(ge=0, description="nets after the first, each by the one before it")] = 1,
        helper_net: shared.HelperNet = "same",
        helper_epochs: shared.HelperEpochs = 10,
        helper_lr: shared.HelperLr = None,
        helper_weight_decay: shared.HelperDecay = None,
        helper_optimizer: shared.HelperOptimizer = None,
    ) -> None:
        helper = shared.helper_settings(helper_epochs, helper_lr, helper_weight_decay, helper_optimizer)
        super().__init__(
            make_net, info, identify, helper, {"few": few, "surest": surest, "repeats": repeats, "net": helper_net}
        )
        self.weights: Weighting = weights
        self.register_buffer("weight", torch.zeros(info.n_stored))

    weight: Tensor

    def prepare(self, train: Dataset, fit: FitHelper) -> Dataset:
        """The training set as it is, once every sample has its weight."""
        found = cell_weights(self.find(train, fit), train.label, weights=self.weights)
        self.weight[train.index] = found.to(self.weight.device)
        return train

    def epoch_data(self, train: Dataset) -> Dataset:
        """As many samples, drawn with repetition in proportion to their weights, anew in each epoch."""
        return draw(train, self.weight.cpu()[train.index], self.generator)

    def identification(self) -> Identification:
        return dataclasses.replace(super().identification(), weights=self.weight)
