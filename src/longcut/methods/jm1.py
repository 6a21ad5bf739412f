"""Just mix once: mix what a first net got wrong with what it got right, within each class."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from longcut import mixing
from longcut.data import Batch, Dataset, Info, upweight
from longcut.errors import UserError
from longcut.losses import cross_entropy
from longcut.methods.base import MakeNet, Method, Recipe
from longcut.methods.jtt import TEXT_HELPER, TEXT_TRAINING
from longcut.methods.mixup import BLENDS
from longcut.methods.two_phase import (
    ErrorSet,
    HelperDecay,
    HelperEpochs,
    HelperLr,
    HelperOptimizer,
    Record,
    helper_settings,
)

Level = Annotated[
    Literal["input", "early", "output", "random"],
    Field(description="where is mixed: inputs, behind an early stage, the features, or any of the net's levels by lot"),
]


def level_of(method: Method, level: str) -> int:
    """How many stages of the method's net come before the mixing; ``"random"`` draws one of its levels.

    Raises:
        UserError: when the net has no such level.
    """
    levels = method.net.levels
    if level == "random":
        draw = torch.randint(len(levels), (), generator=method.generator, device=method.generator.device)
        return levels[int(draw)]
    if level != "output" and levels == (len(method.net.stages),):
        raise UserError(f"{method.name}: this net can be mixed at its output alone, not at level={level}.")
    return levels[{"input": 0, "early": min(1, len(levels) - 1), "output": -1}[level]]


class JM1(ErrorSet):
    """``mean(CE(a h_error + (1 - a) h_other, y))`` over pairs of one class from both sides of a first net's errors."""

    name = "jm1"
    paper = "Giannone et al., Just mix once: Worst-group generalization by group interpolation, 2022 (arXiv 2210.12195)"
    recipes = {
        "waterbirds": Recipe(
            "Table 7, CUB; everything that it leaves open as in JTT",
            {"helper_epochs": 41},
            {"optimizer": "sgd", "lr": 1e-5, "weight_decay": 1.0, "batch": 32, "pool": 1, "epochs": 200},
        ),
        "celeba": Recipe(
            "Table 7, CelebA",
            {"helper_epochs": 2, "level": "early"},
            {"optimizer": "sgd", "lr": 1e-5, "weight_decay": 0.1, "batch": 64, "pool": 1, "epochs": 40},
        ),
        "multinli": Recipe(
            "Table 7, MultiNLI; the helper is JTT's",
            {"level": "output", "law": "uniform", "helper_epochs": 3, **TEXT_HELPER},
            {**TEXT_TRAINING, "weight_decay": 0.1, "batch": 32, "epochs": 4},
        ),
    }

    def __init__(
        self,
        make_net: MakeNet,
        info: Info,
        *,
        identify: Annotated[
            str,
            Field(
                description="helper: its errors; oracle: the conflicting ones; none: any pair; or a run's folder with "
                "a record"
            ),
        ] = "helper",
        record: Record = "online",
        helper_epochs: HelperEpochs = 3,
        helper_lr: HelperLr = None,
        helper_weight_decay: HelperDecay = None,
        helper_optimizer: HelperOptimizer = None,
        conditional: Annotated[
            bool, Field(description="pairs of one class; false: of any, with both labels in proportion")
        ] = True,
        level: Level = "random",
        law: Annotated[
            Literal["uniform", "beta", "uniform-beta", "upper-half"],
            Field(description="of a: U(0, 1); Beta(2, 5); the first for half of the epochs, then the other; U(½, 1)"),
        ] = "uniform-beta",
        toward: Annotated[
            Literal["error", "other"],
            Field(description="which side Beta(2, 5) favours: the errors, as the text says, or the others, as Eq. 1"),
        ] = "error",
        scope: Annotated[
            Literal["sample", "batch"], Field(description="one a for each pair, or for the batch")
        ] = "sample",
        sampler: Annotated[
            Literal["minority", "full"], Field(description="an epoch walks the errors alone, or all samples")
        ] = "minority",
        oversample: Annotated[
            int | None,
            Field(
                ge=1,
                description="how often an error stands in an epoch (JM1+: above 1); by default once with sampler=full, "
                "and with sampler=minority until the epoch is as long as erm's",
            ),
        ] = None,
        blend: Annotated[
            Literal["linear", "keep-both"],
            Field(description="convex, or the control: the same pairs, one of the two shown whole"),
        ] = "linear",
    ) -> None:
        helper = helper_settings(helper_epochs, helper_lr, helper_weight_decay, helper_optimizer)
        super().__init__(make_net, info, identify, record, helper)
        self.conditional, self.level, self.law = conditional, level, law
        self.toward, self.oversample = toward, oversample
        self.sampler = "full" if identify == "none" else sampler
        self.scope: Literal["sample", "batch"] = scope
        self.shown = BLENDS[blend]
        if level != "random":
            level_of(self, level)

    def on_epoch(self, epoch: int, epochs: int) -> None:
        """Which law holds in this epoch, and who is mixed with whom."""
        late = 2 * epoch >= epochs
        law = {"uniform-beta": "beta" if late else "uniform"}.get(self.law, self.law)
        ratios = {
            "uniform": mixing.uniform(scope=self.scope),
            "upper-half": mixing.uniform(0.5, 1.0, scope=self.scope),
            "beta": mixing.beta(*((5.0, 2.0) if self.toward == "error" else (2.0, 5.0)), scope=self.scope),
        }
        if self.identify != "none":
            pair = mixing.across(self.chosen, conditional=self.conditional)
        else:
            pair = mixing.keyed(lambda b: b.label * self.conditional, lambda p: p.label * self.conditional)
        label = mixing.own if self.conditional else mixing.proportional
        self.mix = mixing.Mix(pair, ratios[law], self.shown, label)

    def epoch_data(self, train: Dataset) -> Dataset:
        """All samples, or the errors and the classes that have none, which would else be forgotten."""
        chosen = self.chosen.cpu()[train.index]
        if self.sampler == "full":
            return upweight(train, chosen, self.oversample) if self.oversample else train
        errors, alone = chosen.nonzero()[:, 0], (~torch.isin(train.label, train.label[chosen])).nonzero()[:, 0]
        size = self.oversample * len(errors) if self.oversample else max(len(train) - len(alone), len(errors))
        return train.take(torch.cat([errors[torch.arange(size) % len(errors)], alone]))

    def on_pool(self, pool: Batch) -> Batch:
        """Partners come from the whole training set; the law speaks of the error's share, whoever is the anchor."""
        drawn = self.mix.draw(pool, self.train_data, self.generator)
        swap = drawn.found & ~self.chosen[pool.identity] & (self.identify != "none")
        share = torch.where(swap, 1 - drawn.share, drawn.share)
        partners = dataclasses.replace(drawn, x=self.augment(drawn.x, self.generator), share=share)
        return pool.with_extra(partners=partners)

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Any]]:
        """Mean cross-entropy of the mixtures; a sample whose class has no other side stays as it is."""
        level = level_of(self, self.level)
        partners = batch.extra["partners"]
        mixed = self.blend(self.mix, batch, partners, level)
        loss = mixing.target_loss(cross_entropy, self.outputs(mixed.x, level), mixed.target).mean()
        return loss, self.partner_logs(partners)
