"""Just mix once: mix what a first net got wrong with what it got right, within each class."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal

import torch
from pydantic import Field

from longcut import mixing
from longcut.data import Batch, Dataset, Info, require_index, upweight
from longcut.methods import shared
from longcut.methods.base import MakeNet, Recipe
from longcut.methods.identified.base import ErrorSet
from longcut.methods.mixing.base import MixingMethod


class JM1(MixingMethod, ErrorSet):
    """``mean(CE(a h_error + (1 - a) h_other, y))`` over pairs of one class from both sides of a first net's errors."""

    name = "jm1"
    paper = "Giannone et al., Just mix once: Worst-group generalization by group interpolation, 2022 (arXiv 2210.12195)"
    needs_classes = "it pairs an error with another sample of its class"
    variants = (
        {"identify": "oracle", "level": "input", "law": "upper-half"},
        {"identify": "none", "conditional": False},
        {"epoch": 1, "helper_epochs": 6},
        {"level": "output", "sampler": "full"},
        {"level": "early", "scope": "batch", "oversample": 3},
        {"conditional": False, "blend": "keep-both", "record": "evaluated"},
        {"partners": "batch", "level": "output"},
    )
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
            {"level": "output", "law": "uniform", "helper_epochs": 3, **shared.BERT_HELPER},
            {**shared.BERT, "weight_decay": 0.1, "batch": 32, "epochs": 4},
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
                description="helper: its errors; oracle: the conflicting ones; none: any pair; or the folder of a run "
                "with a record, in which {seed} stands for the seed"
            ),
        ] = "helper",
        epoch: shared.IdentifiedAt = 0,
        record: shared.Record = "online",
        helper_epochs: shared.HelperEpochs = 3,
        helper_lr: shared.HelperLr = None,
        helper_weight_decay: shared.HelperDecay = None,
        helper_optimizer: shared.HelperOptimizer = None,
        conditional: Annotated[
            bool, Field(description="pairs of one class; false: of any, with both labels in proportion")
        ] = True,
        level: shared.Level = "random",
        law: Annotated[
            Literal["uniform", "beta", "uniform-beta", "upper-half"],
            Field(description="of a: U(0, 1); Beta(2, 5); the first for half of the epochs, then the other; U(½, 1)"),
        ] = "uniform-beta",
        toward: Annotated[
            Literal["error", "other"],
            Field(description="which side Beta(2, 5) favours: the errors, as the text says, or the others, as Eq. 1"),
        ] = "error",
        scope: shared.Scope = "sample",
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
        partners: Annotated[
            Literal["data", "batch"],
            Field(
                description="an error's partner comes from the whole training set, and passes the net beside it; or "
                "batches are half errors, half others of their classes, mixed with one another"
            ),
        ] = "data",
        blend: shared.Blend = "linear",
    ) -> None:
        helper = shared.helper_settings(helper_epochs, helper_lr, helper_weight_decay, helper_optimizer)
        super().__init__(make_net, info, identify, record, helper, epoch=epoch)
        self.conditional, self.mixed_at, self.law = conditional, level, law
        self.toward, self.oversample = toward, oversample
        self.sampler = "full" if identify == "none" else sampler
        self.scope: Literal["sample", "batch"] = scope
        self.drawn = "activations" if partners == "batch" else "pool"
        self.shown = mixing.BLENDS[blend]
        if level != "random":
            self.level()

    def make_mix(self) -> mixing.Mix:
        """Which law holds in this epoch, and who is mixed with whom."""
        late = 2 * self.context.epoch >= self.context.epochs
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
        return mixing.Mix(pair, ratios[law], self.shown, label)

    def epoch_data(self, train: Dataset) -> Dataset:
        """All samples, or the errors and the classes that have none, which would else be forgotten.

        Where partners are found in the batch, there are half as many errors, and a partner for each.
        """
        chosen = self.chosen.cpu()[train.index]
        if self.sampler == "full":
            return upweight(train, chosen, self.oversample) if self.oversample else train
        errors, alone = chosen.nonzero()[:, 0], (~torch.isin(train.label, train.label[chosen])).nonzero()[:, 0]
        size = self.oversample * len(errors) if self.oversample else max(len(train) - len(alone), len(errors))
        rows = errors[torch.arange(size) % len(errors)]
        if self.drawn != "pool":
            rows = rows[: size - size // 2]
            own = Batch(torch.empty(len(rows), 0), train.label[rows], index=train.index[rows])
            pairs = self.mix.pair(own.to(self.generator.device), train, self.generator)
            others = torch.where(pairs.found.cpu(), pairs.partner.cpu(), rows)
            rows = torch.cat([rows, others[: size // 2]])
        return train.take(torch.cat([rows, alone]))

    def draw(self, pool: Batch, level: int) -> mixing.Partners:
        """The law speaks of the error's share, whoever is the anchor."""
        drawn = self.mix.draw(pool, self.context.data if self.drawn == "pool" else None, self.generator)
        swap = drawn.found & ~self.chosen[require_index(pool)] & (self.identify != "none")
        share = torch.where(swap, 1 - drawn.share, drawn.share)
        x = self.context.augment(drawn.x, self.generator) if self.drawn == "pool" else drawn.x
        return dataclasses.replace(drawn, x=x, share=share)
