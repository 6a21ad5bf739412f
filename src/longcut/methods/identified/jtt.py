"""Just train twice: train again, with the samples that a first net got wrong more often."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from longcut.data import Dataset, Info, upweight
from longcut.methods import shared
from longcut.methods.base import MakeNet, Recipe
from longcut.methods.identified.base import ErrorSet


class JTT(ErrorSet):
    """``mean(CE)`` over the training set in which each error of a first net stands several times.

    Targets that are numbers are never right; there the samples that lose most are the errors.
    """

    name = "jtt"
    paper = "Liu et al., Just train twice: Improving group robustness without training group information, ICML 2021"
    tasks = frozenset({"classification", "regression"})
    variants = (
        {"identify": "oracle"},
        {"epoch": 1, "helper_epochs": 6},
        {"upweight": 3, "count": "total"},
        {"record": "evaluated"},
    )
    recipes = {
        "waterbirds": Recipe(
            "the authors' README; its epoch T of the helper counts from 0",
            {"helper_epochs": 61, "upweight": 100},
            {"optimizer": "sgd", "lr": 1e-5, "weight_decay": 1.0, "batch": 64, "pool": 1, "epochs": 300},
        ),
        "celeba": Recipe(
            "the authors' README",
            {"helper_epochs": 2, "upweight": 50},
            {"optimizer": "sgd", "lr": 1e-5, "weight_decay": 0.1, "batch": 64, "pool": 1, "epochs": 50},
        ),
        "multinli": Recipe(
            "the authors' README; the helper has another optimizer than the net",
            {"helper_epochs": 3, "upweight": 4, **shared.BERT_HELPER},
            {**shared.BERT, "weight_decay": 0.1, "batch": 32, "epochs": 5},
        ),
        "civilcomments": Recipe(
            "the authors' README, but the helper has the batches of the net (16; 24 there)",
            {"helper_epochs": 3, "upweight": 6, **shared.BERT_HELPER},
            {**shared.BERT, "weight_decay": 0.01, "batch": 16, "epochs": 3},
        ),
    }

    def __init__(
        self,
        make_net: MakeNet,
        info: Info,
        *,
        identify: shared.Identify = "helper",
        epoch: shared.IdentifiedAt = 0,
        record: shared.Record = "online",
        helper_epochs: shared.HelperEpochs = 3,
        helper_lr: shared.HelperLr = None,
        helper_weight_decay: shared.HelperDecay = None,
        helper_optimizer: shared.HelperOptimizer = None,
        upweight: Annotated[
            int, Field(ge=0, description="λ; 0: as much as makes the errors weigh what the others weigh together")
        ] = 0,
        count: Annotated[
            Literal["extra", "total"],
            Field(description="λ copies beside the sample, as released, or λ in all, as the paper's loss has it"),
        ] = "extra",
        worst: shared.WorstShare = 0.2,
    ) -> None:
        helper = shared.helper_settings(helper_epochs, helper_lr, helper_weight_decay, helper_optimizer)
        super().__init__(make_net, info, identify, record, helper, worst, epoch=epoch)
        self.upweight, self.count = upweight, count

    def epoch_data(self, train: Dataset) -> Dataset:
        """The training set with the errors repeated."""
        chosen = self.chosen.cpu()[train.index]
        size, errors = len(train), int(chosen.sum())
        times = self.upweight + (self.count == "extra") if self.upweight else (size - errors) // errors
        return upweight(train, chosen, max(times, 1))
