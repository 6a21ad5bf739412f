"""Environment inference: split the data where an ordinary net violates invariance most, then protect both parts."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from longcut.data import Dataset, Info
from longcut.errors import UserError
from longcut.identify import load
from longcut.methods import shared
from longcut.methods.base import FitHelper, MakeNet, Recipe
from longcut.methods.erm import ERM
from longcut.methods.identified.pseudo import Inferred, environments, slopes
from longcut.predict import predict


class EIIL(Inferred):
    """GroupDRO on two environments in which an ordinary net's IRM penalty is largest.

    Needs no attribute.
    """

    name = "eiil"
    paper = "Creager et al., Environment inference for invariant learning, ICML 2021"
    needs_classes = "its environments are told from how the logits of classes err"
    variants = (
        {"cross": True, "balanced": False, "env_lr": 0.001, "env_steps": 50},
        {"helper_epochs": 1, "helper_lr": 1e-3, "helper_weight_decay": 0.5},
    )
    recipes = {
        "paper": Recipe("the released search: ten times the steps, each a tenth", {"env_steps": 10_000, "env_lr": 1e-3})
    }

    def __init__(
        self,
        make_net: MakeNet,
        info: Info,
        *,
        identify: Annotated[
            str,
            Field(description="helper, or a run's folder with a record, whose last margins tell all of two classes"),
        ] = "helper",
        helper_epochs: shared.HelperEpochs = 3,
        helper_lr: shared.HelperLr = None,
        helper_weight_decay: shared.HelperDecay = None,
        helper_optimizer: shared.HelperOptimizer = None,
        env_steps: Annotated[
            int, Field(ge=1, description="Adam steps, on all samples, that look for environments")
        ] = 1000,
        env_lr: Annotated[float, Field(gt=0, description="learning rate of these steps")] = 1e-2,
        cross: Annotated[
            bool, Field(description="groups are label x environment; otherwise the two environments, as in the paper")
        ] = False,
        step: shared.Step = 0.01,
        balanced: shared.Balanced = True,
    ) -> None:
        if identify != "helper" and info.n_classes != 2:
            raise UserError(
                f"eiil reads the record of a run for two classes, but {info.name} has {info.n_classes}; "
                "use identify=helper."
            )
        super().__init__(make_net, info, step=step, balanced=balanced, cross=cross)
        self.identify = identify
        self.env_steps, self.env_lr = env_steps, env_lr
        self.helper = shared.helper_settings(helper_epochs, helper_lr, helper_weight_decay, helper_optimizer)

    def infer(self, train: Dataset, fit: FitHelper) -> Tensor:
        """Look at the logits of a reference net, trained now or in another run."""
        if self.identify == "helper":
            reference = fit(ERM(self.make_net, self.info), train, **self.helper)
            logits, label = predict(reference, train, self.chosen.device), train.label
        else:  # of two logits only the difference matters
            margin = load(self.identify, train)[2, -1, train.index].float()
            logits, label = torch.stack([margin, torch.zeros_like(margin)], 1), torch.zeros_like(train.label)
        found = environments(logits, label, self.generator, steps=self.env_steps, lr=self.env_lr)
        # where more confidence would help everywhere, the optimum is one environment, however far the search has come
        return found & (slopes(logits, label) > 0).any()
