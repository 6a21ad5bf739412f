"""SelecMix: mix pairs that contradict the shortcut, found by a model that is encouraged to take it.

The biased model is a contrastive embedding in which samples that share the easy cue lie together. Two samples
contradict the shortcut when they share the label but not the cue (A, contradicting positives) or the cue but not the
label (B, contradicting negatives). Their mixture carries the partner's label.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from longcut import mixing
from longcut.bias import Seen
from longcut.context import Context
from longcut.data import Batch, Dataset, Info, require_index, subsample
from longcut.errors import UserError
from longcut.identify import Identification
from longcut.losses import cross_entropy
from longcut.methods.base import FitHelper, MakeNet, optimizer, require_attribute
from longcut.methods.biased.suspicion import Suspicion
from longcut.methods.mixing import bank, likeness
from longcut.methods.mixing.base import MixingMethod
from longcut.methods.mixing.bases import Base, build_base
from longcut.methods.mixing.likeness import PASSES, BiasAlone, biased_classifier, contrastive_model
from longcut.methods.mixing.published import RECIPES
from longcut.methods.shared import Blend, Scale
from longcut.training import Training

Mode = Annotated[
    Literal["A", "B", "both"],
    Field(description="A: same label, other cue; B: other label, same cue; both: one of them, by a coin per pool"),
]
ARate = Annotated[float, Field(ge=0, le=1, description="mode both: how often the coin says A")]
ShareA = Annotated[float, Field(gt=0, le=1, description="A: the anchor's share is U(0, share_a)")]
ShareB = Annotated[float, Field(gt=0, le=1, description="B: the anchor's share is U(0, share_b)")]
Weight = Annotated[float, Field(ge=0, description="weight of the loss on mixtures")]
UnmixedForward = Annotated[
    bool, Field(description="show batch normalisation each batch as it is before the mixtures, as released")
]

DECAY = 2e-3


class SelecMix(MixingMethod):
    """``mean(CE(mixed, partner's label))`` plus the loss of the biased model, on disjoint parameters.

    The defaults differ from the paper in what was found to matter on development data. The biased model learns for a
    few hundred updates and is then frozen, for what is learned first is the shortcut. Partners are sought among the
    samples of the whole training set that are least typical of their class in its eyes, instead of in the current
    pool. The less it leaves unexplained, the fewer samples are trained on as they are. See ``docs/methods.md`` for
    each difference and its reason.
    """

    name = "selecmix"
    paper = "Hwang et al., SelecMix: Debiased learning by contradicting-pair sampling, NeurIPS 2022"
    needs_classes = "its partners have the same label, or another one, and numbers are hardly ever the same"
    training_defaults = {"average": 0.999, "weight_decay": DECAY}
    variants = (
        {"base": "lff", "lff_scale": "code"},
        {"base": "dfa", "pairs": "learned"},
        {"base": "end", "pairs": "attribute", "partner": "first"},
        {"base": "rebias", "pairs": "learned"},
        {"pairs": "attribute"},
        {"pairs": "attribute", "a_rate": 0.25, "unmixed": 0.5},
        {"pairs": "attribute", "partner": "first", "unmixed": 0.0},
        {"pairs": "attribute", "unmixed": 1.0},
        {"auxiliary": "linear", "partners": "pool", "unmixed": 0.5},
        {"pairs": "learned", "partners": "pool", "mode": "A", "share_a": 0.5},
        {"pairs": "learned", "blend": "keep-both", "contrast": "sc", "mode": "B", "share_b": 1.0},
        {"pairs": "learned", "auxiliary": "tiny:width=8", "within": 0.5, "unmixed": 0.5},
        {"pairs": "learned", "search": 5, "candidates": 1.0},
        {"pairs": "learned", "temperature": 0.5, "q": 0.5, "scale": "code"},
        {"pairs": "learned", "auxiliary_steps": 3, "auxiliary_lr": 0.01},
        {"pairs": "learned", "confirm": False, "unmixed": 5.0, "auxiliary_lr": 1e-6},
        {"pairs": "learned", "argmax": "code", "partners": "pool", "mode": "B", "unmixed": 0.0},
        {"pairs": "learned", "unmixed_forward": True, "net": "conv:width=2"},
        {"pairs": "learned", "auxiliary_optimizer": "sgd", "auxiliary_lr": 0.01},
        {"pairs": "learned", "pretrain": 1},
        {"pairs": "kl"},
        {"pairs": "cosine", "base": "lff"},
        {"pairs": "kl", "base": "dfa", "partners": "pool"},
        {"pairs": "l2", "argmax": "code", "partners": "pool", "unmixed_forward": True},
    )
    recipes = RECIPES

    def __init__(
        self,
        make_net: MakeNet,
        info: Info,
        *,
        base: Base = "erm",
        mode: Mode = "both",
        a_rate: ARate = 0.75,
        pairs: likeness.Asked = "early",
        partners: bank.Where = "bank",
        candidates: bank.Candidates = 0.05,
        search: bank.Search = 512,
        within: bank.Within = 0.1,
        argmax: bank.Argmax = "paper",
        partner: bank.Partner = "random",
        share_a: ShareA = 1.0,
        share_b: ShareB = 0.5,
        unmixed: bank.Unmixed = 4.0,
        confirm: bank.Confirm = True,
        blend: Blend = "linear",
        mixed_weight: Weight = 1.0,
        unmixed_forward: UnmixedForward = False,
        auxiliary: likeness.Auxiliary = "auto",
        auxiliary_lr: likeness.AuxiliaryLr = 0.001,
        auxiliary_steps: likeness.AuxiliarySteps = 200,
        auxiliary_optimizer: likeness.AuxiliaryOptimizer = "adam",
        pretrain: likeness.Pretrain = 0,
        contrast: likeness.Contrast = "gsc",
        temperature: likeness.Temperature = 0.2,
        q: likeness.Q = 0.7,
        scale: likeness.GscScale = "paper",
        lff_scale: Scale = "paper",
    ) -> None:
        super().__init__(make_net, info)
        self.pairs_by = pairs
        self.modes = ("A", "B") if mode == "both" else (mode,)
        self.mode: Literal["A", "B", "both"] = mode
        self.a_rate, self.mixed_weight, self.unmixed = a_rate, mixed_weight, unmixed
        self.partners, self.candidates, self.search, self.confirm = partners, candidates, search, confirm
        self.auxiliary_lr, self.auxiliary_steps, self.pretrain = auxiliary_lr, auxiliary_steps, pretrain
        self.auxiliary_optimizer, self.unmixed_forward = auxiliary_optimizer, unmixed_forward
        self.asks = pairs not in ("early", "attribute")  # a biased model that learns beside the main net
        self.alone = pairs == "learned"  # with an optimizer of its own, and for as long as it is told
        if pretrain and not self.alone:
            raise UserError(
                f"selecmix: pretrain={pretrain} goes with pairs=learned alone, whose biased model can learn before the "
                f"main net; with pairs={pairs} leave it out."
            )
        self.same_label_possible = argmax == "code" and self.asks
        if pairs == "attribute":
            require_attribute("selecmix with pairs=attribute", info.name, info.n_attributes > 0)
            self.who = mixing.same_label(other_attribute=True, take=partner), mixing.same_attribute(take=partner)
        elif pairs == "early":
            self.early = Suspicion(info, () if auxiliary == "auto" else (auxiliary,))
            self.who = self._contradicting(lambda rows: rows.label), self._contradicting(self._looks_of)
        elif self.alone:
            net = "tiny" if auxiliary == "auto" else auxiliary
            self.bias = contrastive_model(net, info, contrast=contrast, temperature=temperature, q=q, scale=scale)
        self.base = build_base(self, base, q=q, scale=lff_scale)
        if self.asks and not self.alone:
            self.bias = biased_classifier(pairs, self.base, self.make_net, info, q=q, scale=lff_scale)
        if self.asks:
            ask = partial(mixing.contradicting, self.bias.similarity, within=within, argmax=argmax)
            self.who = ask("positive"), ask("negative")
            # a shortcut is what is learned first: the count says when to stop learning
            self.register_buffer("updates", torch.zeros((), dtype=torch.long))
            self.remembered = 0
        self.how_much, self.shown = (mixing.uniform(0, share_a), mixing.uniform(0, share_b)), mixing.BLENDS[blend]
        # of a mixture the label is the partner's; the control shows one of the two whole, under its own label
        self.label = mixing.proportional if blend == "keep-both" else mixing.of_partner

    updates: Tensor

    @property
    def base_learns(self) -> bool:
        """Whether the base has the biased model that is asked, and so trains it."""
        return self.asks and isinstance(self.bias.net, Seen)

    def _looks_of(self, rows: Batch | mixing.Pool) -> Tensor:
        return self.early.looks[require_index(rows)]

    def _contradicting(self, of: Callable[[Batch | mixing.Pool], Tensor]) -> mixing.PairRule:
        """A contradicting sample, a random one, of which something is what it is of the anchor."""

        def key(pool: mixing.Pool) -> Tensor:
            return torch.where(self.early.odd[require_index(pool)], of(pool), self.info.n_classes)

        return mixing.keyed(of, key)

    def prepare(self, train: Dataset, fit: FitHelper) -> Dataset:
        """The training set as it is; refused when its known attribute leaves nobody to mix with.

        A biased model that is to be frozen from the start learns here.
        """
        if self.pairs_by == "attribute":
            mixing.require_contradiction(train.label, train.attribute, self.mode, self.name)
        elif self.pairs_by == "early":
            self.early.look(train, fit, self.generator, self.make_net)
        elif self.pretrain:
            fit(BiasAlone(self.bias, self.info, self._bias_optimizer), train, epochs=self.pretrain, average=0.0)
            self.updates += 1
        return train

    def on_epoch(self, context: Context) -> None:
        """How long the biased model still learns; the count is asked once per epoch, for that waits for the device."""
        super().on_epoch(context)
        frozen = self.pretrain or (self.auxiliary_steps and context.epoch >= PASSES)
        if self.alone:
            self.updates_left = 0.0 if frozen else (self.auxiliary_steps or math.inf) - int(self.updates)
        else:
            self.updates_left = math.inf if self.asks and not self.base_learns else 0.0

    def make_mix(self) -> mixing.Mix:
        """Those of this epoch, of both modes: they differ in whom and how much alone."""
        self.candidate_set, unmixed = None, 0.0
        if self.partners == "bank" and (not self.asks or self.pretrain or self.context.epoch > 0):
            self.candidate_set, unmixed = self._candidate_set(self.context.data)
        self.mixes = {
            mode: mixing.Mix(mixing.sometimes(who, 1 - unmixed), how_much, self.shown, self.label)
            for mode, who, how_much in zip("AB", self.who, self.how_much, strict=True)
        }
        return self.mixes["A"]

    def _candidate_set(self, data: Dataset) -> tuple[Dataset, float]:
        """Who may be a partner, and the share of the samples that stays as it is."""
        ask = self if self.confirm else None
        if self.pairs_by == "attribute":
            rows, contradicting = data.conflicting, float(data.conflicting[data.known].float().mean())
        elif self.pairs_by == "early":
            rows, contradicting = bank.contradicting(self.early, data, ask)
        else:
            if self.base_learns or self.remembered != int(self.updates):
                self._remember(data)
            rows, contradicting = bank.atypical(self.bias, data, self.candidates, ask, self.unmixed)
        return data.take(rows), min(1.0, self.unmixed * contradicting)

    def _remember(self, data: Dataset) -> None:
        """What the biased model says of all samples, wherever it stands, in evaluation mode."""
        owner = self.base if self.base is not None and self.base_learns else self.bias
        was_training = owner.training
        owner.eval()
        self.bias.remember_all(data)
        owner.train(was_training)
        self.remembered = int(self.updates)

    def draw(self, pool: Batch, level: int, mode: str = "A") -> mixing.Partners:
        """Out of the bank or, without one, of the pool by its fresh embedding with the pool's batch statistics."""
        if self.candidate_set is not None:
            source = self.candidate_set
            if self.pairs_by != "early":  # which finds a partner among any number
                source = subsample(source, min(self.search, len(source)), self.generator)
            drawn = self.mixes[mode].draw(pool, source, self.generator)
            return dataclasses.replace(drawn, x=self.context.augment(drawn.x, self.generator))
        if self.asks:
            with torch.no_grad():
                self.bias.remember(require_index(pool), self.bias.embed(pool.x))
        return self.mixes[mode].draw(pool, pool, self.generator)

    def on_pool(self, pool: Batch) -> Batch:
        """One mode for the whole pool."""
        mode = self.mode
        if mode == "both":
            mode = "A" if mixing.coin(self.generator, self.a_rate) else "B"
        partners = self.draw(pool, 0, mode)
        pool = pool.with_extra(partners=partners)
        if not self.same_label_possible:
            return pool
        return pool.with_extra(same_label=(partners.label == pool.label) & (mode == "B"))

    def every_kind(self, pool: Batch) -> list[mixing.Partners]:
        return [self.draw(pool, 0, mode) for mode in self.modes]

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Mixed cross-entropy, with the base's loss beside it, plus the biased model's own."""
        on_unmixed = 0.0
        if self.base is not None:
            on_unmixed = self.base.loss(batch)[0]
        elif self.unmixed_forward:
            with torch.no_grad():
                self(batch.x)
        mixed, partners, level = self.mixture(batch)
        outputs = (self.base or self).outputs(mixed.x, level)  # a base stops gradients where its paper does
        loss = self.mixed_weight * mixing.target_loss(cross_entropy, outputs, mixed.target).mean() + on_unmixed
        if self.updates_left > 0:
            loss = loss + self.bias.learning_loss(batch.x, batch.label)
            self.updates_left -= 1
            self.updates += 1
        logs = self.partner_logs(partners)
        if self.same_label_possible:
            logs["same_label_in_b"] = batch.extra["same_label"].float().mean()
        return loss, logs

    def optimizers(self, training: Training) -> list[torch.optim.Optimizer]:
        """The run's for the nets of the main kind, and one with its own rate for a biased model that learns alone.

        Where nothing is mixed for want of a cue, the method's own weight decay is left out: it goes with mixing, and
        makes a net rely the more on a cue that the biased models did not see.
        """
        if self.pairs_by == "early" and self.early.quiet and training.weight_decay == DECAY:
            training = dataclasses.replace(training, weight_decay=Training().weight_decay)
        apart = "bias." if self.alone else ()  # LfF's biased net learns as the main one does
        main = [parameter for name, parameter in self.named_parameters() if not name.startswith(apart)]
        own = [] if not self.alone or self.pretrain else self._bias_optimizer(training)
        return [optimizer(main, training), *own]

    def _bias_optimizer(self, training: Training) -> list[torch.optim.Optimizer]:
        return [likeness.optimizer_of(self.bias, training, self.auxiliary_optimizer, self.auxiliary_lr)]

    def identification(self) -> Identification | None:
        """Who looks like another class, with ``pairs=early``."""
        return Identification(self.early.chosen) if self.pairs_by == "early" else None

    def remarks(self) -> Sequence[str]:
        """What the biased model that was chosen by evidence found, and what followed."""
        if self.pairs_by != "early":
            return ()
        then = f"so {int(self.early.chosen.sum()):,} samples that it contradicts clearly serve as partners"
        if self.early.too_many:
            then = "so too many labels are left unexplained for a shortcut, as where labels are wrong or hard"
            then += ": only what the main net confirms is mixed" if self.confirm else ": nothing is mixed, as in erm"
        elif self.early.quiet:
            then = "so no cue is told from the label: nothing is mixed, and selecmix trains as erm does"
            then += ", without the weight decay that goes with mixing"
        return (f"{self.early.remark()}; {then}.",)

    @torch.no_grad()
    def embedding(self, x: Tensor) -> Tensor | None:
        """How the biased model sees inputs ``(n, width)``; None where the attribute is known instead."""
        if self.pairs_by == "early":
            return self.early.embed(x)
        return self.bias.embed(x) if self.asks else None

    @torch.no_grad()
    def biased_logits(self, x: Tensor) -> Tensor | None:
        """Those of the base or of LfF's biased net beside it, where one is a classifier."""
        if self.asks and not self.alone:
            return self.bias.net(x)
        return None if self.base is None else self.base.biased_logits(x)
