"""UMIX: mixup whose two terms are weighted by how long an ordinary net was uncertain about each sample."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from longcut import mixing
from longcut.data import Batch, Dataset, Info, require_index
from longcut.errors import UserError
from longcut.methods import shared
from longcut.methods.base import FitHelper, MakeNet, Recipe
from longcut.methods.identified.base import TwoPhase
from longcut.methods.mixing.base import MixingMethod

AUGMENT = {"augment": "resized-crop-flip"}


class UMIX(MixingMethod, TwoPhase):
    """``mean(w_i a CE(mixed, y_i) + w_j (1 - a) CE(mixed, y_j))``, where ``w = eta u + 1`` grows with uncertainty.

    Targets that are numbers are never right; there the samples that lose most in an epoch are its errors.
    """

    name = "umix"
    paper = "Han et al., UMIX: Improving importance weighting for subpopulation shift via uncertainty-aware mixup, 2022"
    tasks = frozenset({"classification", "regression"})
    drawn = "activations"
    variants = (
        {"blend": "cut"},
        {"level": "output", "sigma": 1.0},
        {"count": "paper", "blend": "keep-both"},
        {"start": 1, "helper_epochs": 8},
    )
    recipes = {
        "waterbirds": Recipe(
            "the released script; its helper runs 300 epochs, of which those up to the hundredth are read",
            {"helper_epochs": 100, "start": 50, "window": 50, "eta": 80.0},
            {"optimizer": "sgd", "lr": 1e-5, "weight_decay": 1.0, "batch": 64, "pool": 1, "epochs": 300, **AUGMENT},
        ),
        "celeba": Recipe(
            "the released script; it crops CelebA to another range of shapes (1 to 4/3)",
            {
                "helper_epochs": 5,
                "helper_lr": 1e-5,
                "helper_weight_decay": 0.1,
                "eta": 50.0,
                "alpha": 1.5,
                "blend": "cut",
            },
            {"optimizer": "sgd", "lr": 1e-4, "weight_decay": 1e-4, "batch": 128, "pool": 1, "epochs": 20, **AUGMENT},
        ),
        "civilcomments": Recipe(
            "the released script; it judges every 100 steps, and its helper has smaller batches",
            {
                "helper_epochs": 4,
                "helper_lr": 1e-5,
                "helper_weight_decay": 0.01,
                "eta": 3.0,
                "sigma": 1.0,
                "level": "output",
            },
            {**shared.BERT, "lr": 5e-5, "weight_decay": 1e-4, "batch": 128, "epochs": 5},
        ),
        "camelyon17": Recipe(
            "the released script; there the last epoch counts as wrong for everybody, 0.2 more uncertainty for all",
            {"helper_epochs": 5, "helper_lr": 1e-3, "helper_weight_decay": 0.01, "eta": 5.0, "sigma": 1.0},
            {"optimizer": "sgd", "lr": 1e-5, "weight_decay": 0.01, "batch": 32, "pool": 1, "epochs": 5},
        ),
    }

    def __init__(
        self,
        make_net: MakeNet,
        info: Info,
        *,
        identify: Annotated[str, Field(description="helper, or a run's folder with a record")] = "helper",
        record: shared.Record = "online",
        helper_epochs: shared.HelperEpochs = 5,
        helper_lr: shared.HelperLr = None,
        helper_weight_decay: shared.HelperDecay = None,
        helper_optimizer: shared.HelperOptimizer = None,
        start: Annotated[int, Field(ge=0, description="first epoch of the helper that counts, from 0")] = 0,
        window: Annotated[
            int | None, Field(ge=1, description="how many epochs count; by default all from the first")
        ] = None,
        count: Annotated[
            Literal["code", "paper"],
            Field(description="u: over the window, as released; or the sum over one epoch more, as in Eq. 6"),
        ] = "code",
        eta: Annotated[float, Field(ge=0, description="how much uncertainty weighs")] = 20.0,
        sigma: Annotated[float, Field(ge=0, le=1, description="share of batches that are mixed")] = 0.5,
        alpha: Annotated[float, Field(gt=0, description="the share is Beta(alpha, alpha), one for the batch")] = 0.5,
        level: Annotated[
            Literal["input", "output"], Field(description="where is mixed: inputs, or the features")
        ] = "input",
        blend: shared.Blend = "linear",
        worst: shared.WorstShare = 0.5,
    ) -> None:
        helper = shared.helper_settings(helper_epochs, helper_lr, helper_weight_decay, helper_optimizer)
        super().__init__(make_net, info, identify, record, helper, worst)
        self.eta, self.sigma, self.mixed_at = eta, sigma, None if level == "input" else level
        self.start, self.window, self.count = start, window, count
        ratio = mixing.beta(alpha, scope="batch")
        self.shown = mixing.BLENDS[blend]
        self.mix = mixing.Mix(mixing.anyone(), ratio, self.shown, mixing.proportional)
        self.register_buffer("weight", torch.ones(info.n_stored))

    weight: Tensor

    def prepare(self, train: Dataset, fit: FitHelper) -> Dataset:
        """The training set as it is, once every sample has its weight ``eta u + 1``.

        Raises:
            UserError: when the window ends after the record.
        """
        trajectory = self.watch(train, fit)
        epochs = len(trajectory.correct)
        window = self.window or epochs - self.start - (self.count == "paper")
        stop = self.start + window + (self.count == "paper")
        if window < 1 or stop > epochs:
            raise UserError(
                f"umix: epochs {self.start} to {stop - 1} are to be counted, but the record has {epochs}, from 0; "
                "raise helper_epochs, or lower start or window."
            )
        self.weight = self.eta * trajectory.uncertainty(self.start, stop, window, self.worst).to(self.weight) + 1
        return train

    def minority(self, train: Dataset) -> Tensor:
        """Those that weigh more than the mean."""
        weight = self.weight.cpu()[train.index]
        return weight > weight.mean()

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted two-term loss of a mixed batch, or the weighted loss of one that is not."""
        weight = self.weight[require_index(batch)]
        if not mixing.coin(self.generator, self.sigma):
            return (weight * self.per_sample_loss(self(batch.x), batch.label)).mean(), {}
        mixed, partners, level = self.mixture(batch)
        assert partners.index is not None  # as of the batch
        target = dataclasses.replace(mixed.target, weight_a=weight, weight_b=self.weight[partners.index])
        losses = self.mixed_losses(dataclasses.replace(mixed, target=target), level)
        return losses.mean(), self.partner_logs(partners)
