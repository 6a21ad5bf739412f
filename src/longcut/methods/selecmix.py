"""SelecMix: mix pairs that contradict the shortcut, found by a model that is encouraged to take it.

The biased model is a contrastive embedding in which samples that share the easy cue lie together. Two samples
contradict the shortcut when they share the label but not the cue (A, contradicting positives) or the cue but not the
label (B, contradicting negatives). Their mixture carries the partner's label.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Annotated, Literal, cast

import torch
from pydantic import Field
from torch import Tensor

from longcut import mixing, nets
from longcut.bias import ClassifierBias, ContrastiveBias, Likeness, class_similarity, least_typical, unexplained
from longcut.data import Batch, Dataset, Info, generator, subsample
from longcut.errors import UserError
from longcut.losses import cross_entropy
from longcut.methods.base import FitHelper, MakeNet, Method, Recipe, adam, beside, optimizer, require_attribute
from longcut.methods.dfa import DFA
from longcut.methods.end import EnD
from longcut.methods.lff import LfF, Scale
from longcut.methods.rebias import ReBias
from longcut.nets import Net
from longcut.predict import predict
from longcut.training import Training

BASES: dict[str, Callable[..., Method]] = {"lff": LfF, "dfa": DFA, "end": EnD, "rebias": ReBias}
PASSES = 4  # a sample that the biased model has seen more often than that, it knows by heart
WIDTH = 128  # of the biased model's embedding, as in the paper

PAPER = {
    "a_rate": 0.5,
    "partners": "pool",
    "share_a": 0.5,
    "within": 0.0,
    "raw": 0.0,
    "scale": "code",
    "auxiliary": "tiny:side=14",
    "auxiliary_lr": 0.005,
    "auxiliary_steps": 0,
}
PAPER_TRAINING = {
    "epochs": 200,
    "batch": 256,
    "pool": 4,
    "lr": 0.005,
    "weight_decay": 0.0,
    "schedule": "constant",
    "average": 0.0,
    "drop_last": True,
}
RELEASED = {"argmax": "code", "partner": "first", "raw_forward": True}
PAPER_MLP = "mlp:hidden=100-100-16,scale=0.00392156862745098"


class SelecMix(Method):
    """``mean(CE(mixed, partner's label))`` plus the loss of the biased model, on disjoint parameters.

    The defaults differ from the paper in what was found to matter on development data. The biased model learns for a
    few hundred updates and is then frozen, for what is learned first is the shortcut. Partners are sought among the
    samples of the whole training set that are least typical of their class in its eyes, instead of in the current
    pool. The less it leaves unexplained, the fewer samples are trained on as they are. See ``docs/methods.md`` for
    each difference and its reason.
    """

    name = "selecmix"
    paper = "Hwang et al., SelecMix: Debiased learning by contradicting-pair sampling, NeurIPS 2022"
    training_defaults = {"average": 0.999, "weight_decay": 2e-3}
    recipes = {
        "paper": Recipe(
            "V+Ours for Colored MNIST as released: partners from a pool of four minibatches, the best one, mixed "
            "loss only, contrastive weights with an extra factor q, an MLP that divides its input by 255 a second time",
            PAPER,
            PAPER_TRAINING,
            PAPER_MLP,
        ),
        "paper-lff": Recipe(
            "L+Ours as released: the whole LfF loss plus 0.1 times the mixed loss, a weight the paper does not state",
            {**PAPER, "base": "lff", "mixed_weight": 0.1, "lff_scale": "code"},
            PAPER_TRAINING,
            PAPER_MLP,
        ),
        "released": Recipe(
            "V+Ours with what the released program does beside its paper: similarities masked by zero, one partner by "
            "true attribute for all samples of a cell, raw batches shown to batch normalisation",
            {**PAPER, **RELEASED},
            PAPER_TRAINING,
            PAPER_MLP,
        ),
        "released-lff": Recipe(
            "L+Ours with the same",
            {**PAPER, **RELEASED, "base": "lff", "mixed_weight": 0.1, "lff_scale": "code", "raw_forward": False},
            PAPER_TRAINING,
            PAPER_MLP,
        ),
    }

    def __init__(
        self,
        make_net: MakeNet,
        info: Info,
        *,
        base: Annotated[
            Literal["erm", "lff", "dfa", "end", "rebias"],
            Field(description="erm: train on mixtures alone; else beside that method on the samples as they are"),
        ] = "erm",
        mode: Annotated[
            Literal["A", "B", "both"],
            Field(
                description="A: same label, other cue; B: other label, same cue; both: one of them, by a coin per pool"
            ),
        ] = "both",
        a_rate: Annotated[float, Field(ge=0, le=1, description="mode both: how often the coin says A")] = 0.75,
        pairs: Annotated[
            Literal["learned", "cosine", "l2", "kl", "attribute"],
            Field(
                description="who contradicts: asked of a contrastive biased model; of a biased classifier, by cosine "
                "or distance of its features or divergence of its predictions; or known"
            ),
        ] = "learned",
        partners: Annotated[
            Literal["bank", "pool"], Field(description="partners from the whole training set, or from the current pool")
        ] = "bank",
        candidates: Annotated[
            float, Field(gt=0, le=1, description="bank: the most atypical share of each class that may be a partner")
        ] = 0.05,
        search: Annotated[
            int, Field(ge=2, description="bank: candidates, drawn anew, that each pool is compared with")
        ] = 512,
        within: Annotated[
            float, Field(ge=0, le=1, description="how far from the best a partner may be, in parts of the row's range")
        ] = 0.1,
        argmax: Annotated[
            Literal["paper", "code"],
            Field(description="what cannot be a partner is left out, or as released counts as 1 (A) or 0 (B)"),
        ] = "paper",
        partner: Annotated[
            Literal["random", "first"],
            Field(description="pairs=attribute: any sample that fits, or the first in the pool, one for a whole cell"),
        ] = "random",
        share_a: Annotated[float, Field(gt=0, le=1, description="A: the anchor's share is U(0, share_a)")] = 1.0,
        share_b: Annotated[float, Field(gt=0, le=1, description="B: the anchor's share is U(0, share_b)")] = 0.5,
        raw: Annotated[
            float,
            Field(ge=0, description="samples left as they are, in multiples of the share that contradicts the cue"),
        ] = 8.0,
        confirm: Annotated[
            bool,
            Field(
                description="bank: where too much contradicts the cue to mix, as with wrong labels, mix what the "
                "main net confirms"
            ),
        ] = True,
        blend: Annotated[
            Literal["linear", "keep-both"],
            Field(description="mix, or the control: same pairs, one of the two shown whole"),
        ] = "linear",
        mixed_weight: Annotated[float, Field(ge=0, description="weight of the loss on mixtures")] = 1.0,
        raw_forward: Annotated[
            bool, Field(description="show batch normalisation each batch as it is before the mixtures, as released")
        ] = False,
        auxiliary: Annotated[str, Field(description="net of the biased model")] = "tiny",
        auxiliary_lr: Annotated[float, Field(gt=0, description="learning rate of the biased model")] = 0.001,
        auxiliary_steps: Annotated[
            int,
            Field(ge=0, description="updates (within four epochs) after which the biased model is frozen; 0: never"),
        ] = 200,
        auxiliary_optimizer: Annotated[
            Literal["adam", "sgd"], Field(description="of the biased model; sgd has momentum 0.9")
        ] = "adam",
        pretrain: Annotated[
            int,
            Field(ge=0, description="epochs the biased model learns alone, then frozen; 0: beside the main net"),
        ] = 0,
        contrast: Annotated[
            Literal["gsc", "sc"], Field(description="its loss: generalized or plain supervised contrastive")
        ] = "gsc",
        temperature: Annotated[float, Field(gt=0, description="of its loss")] = 0.2,
        q: Annotated[float, Field(gt=0, description="amplification, in its loss and in the base's GCE")] = 0.7,
        scale: Annotated[
            Literal["paper", "code"], Field(description="GSC's weight: p^q, or q p^q as released")
        ] = "paper",
        lff_scale: Scale = "paper",
    ) -> None:
        super().__init__(make_net, info)
        if pairs == "attribute":
            require_attribute("selecmix with pairs=attribute", info.name, info.n_attributes > 0)
        self.mode: Literal["A", "B", "both"] = mode
        self.partners, self.by_attribute = partners, pairs == "attribute"
        self.candidates, self.search, self.a_rate, self.mixed_weight = candidates, search, a_rate, mixed_weight
        self.confirm = confirm
        self.auxiliary_lr, self.auxiliary_steps, self.pretrain = auxiliary_lr, auxiliary_steps, pretrain
        self.auxiliary_optimizer, self.raw_forward = auxiliary_optimizer, raw_forward
        self.slips = argmax == "code" and not self.by_attribute
        if pairs == "attribute":
            positive = mixing.same_label(other_attribute=True, take=partner)
            negative = mixing.same_attribute(take=partner)
        else:
            self.bias: Likeness
            if pairs == "learned":
                net = nets.build(auxiliary, info, WIDTH)
                self.bias = ContrastiveBias(net, info, WIDTH, loss=contrast, temperature=temperature, q=q, scale=scale)
            else:
                self.bias = ClassifierBias(nets.build(auxiliary, info), info, pairs, q=q, scale=scale)
            positive = mixing.contradicting(self.bias.similarity, "positive", within=within, argmax=argmax)
            negative = mixing.contradicting(self.bias.similarity, "negative", within=within, argmax=argmax)
            # a shortcut is what is learned first: the count says when to stop learning
            self.updates: Tensor
            self.register_buffer("updates", torch.zeros((), dtype=torch.long))
            self.remembered = 0
        self.base = self._build_base(base, q, lff_scale)
        self.raw, self.raw_share = raw, 0.0
        # of a mixture the label is the partner's; the control shows one of the two whole, under its own label
        how, label = {
            "linear": (mixing.linear, mixing.of_partner),
            "keep-both": (mixing.keep_both, mixing.proportional),
        }[blend]
        self.mixes = {
            "A": mixing.Mix(self._sparing(positive), mixing.uniform(0, share_a), how, label),
            "B": mixing.Mix(self._sparing(negative), mixing.uniform(0, share_b), how, label),
        }

    def _build_base(self, name: str, q: float, scale: Literal["paper", "code"]) -> Method | None:
        """The method beside which mixtures are trained on; the net that is used is its net."""
        if name == "erm":
            return None
        if name == "dfa" and self.info.kind == "tokens":
            raise UserError(
                f"selecmix with base=dfa mixes inputs, but {self.info.name} holds token ids; use base=lff or base=erm."
            )
        return beside(BASES[name], self, **({"q": q, "scale": scale} if name in ("lff", "dfa") else {}))

    def _sparing(self, rule: mixing.PairRule) -> mixing.PairRule:
        """The rule, but a share of the samples, known when the biased model is, stays as it is."""
        return lambda batch, pool, rng: mixing.sometimes(rule, 1 - self.raw_share)(batch, pool, rng)

    def prepare(self, train: Dataset, fit: FitHelper) -> Dataset:
        """The training set as it is; refused when its known attribute leaves nobody to mix with.

        A biased model that is to be frozen from the start learns here.
        """
        if self.by_attribute:
            mixing.require_contradiction(train.label, train.attribute, self.mode, self.name)
        elif self.pretrain:
            fit(Lessons(self.bias, self.info, self._bias_optimizer), train, epochs=self.pretrain, average=0.0)
            self.updates += 1
        return train

    def on_epoch(self, epoch: int, epochs: int) -> None:
        """Choose who may be a partner in this epoch; before the first, pools serve themselves."""
        if self.by_attribute or self.pretrain:
            self.lessons = 0.0
        elif not self.auxiliary_steps:
            self.lessons = math.inf
        else:  # the count is asked once per epoch, for asking waits for the device
            self.lessons = self.auxiliary_steps - int(self.updates) if epoch < PASSES else 0.0
        known = self.by_attribute or self.pretrain or epoch > 0
        self.partner_set = self._partner_set(self.train_data) if known else None
        if self.base is not None:
            self.base.generator = self.generator
            self.base.on_epoch(epoch, epochs)

    def _partner_set(self, data: Dataset) -> Dataset | None:
        """The samples least typical of their class in the biased model's eyes, or known to be conflicting."""
        if self.partners == "pool":
            return None
        if self.by_attribute:
            rows, contradicting = data.conflicting, float(data.conflicting.float().mean())
        else:
            if self.remembered != int(self.updates):
                self.bias.remember_all(data)
                self.remembered = int(self.updates)
            z = self.bias.direction(self.bias.bank[data.index.to(self.bias.bank.device)]).cpu()
            view = z, data.label, data.info.n_classes
            rows, contradicting = least_typical(*view, self.candidates), unexplained(*view)
            if self.confirm and self.raw * contradicting >= 1 and len(sure := self._confirmed(data, z)):
                rows, contradicting = sure, len(sure) / len(data)
        self.raw_share = min(1.0, self.raw * contradicting)
        return data.take(rows)

    def _confirmed(self, data: Dataset, z: Tensor) -> Tensor:
        """The samples that look like another class to the biased model and whose label the main net still gives.

        Wrong labels contradict the cue like nothing else, and are what a net gets right last.
        """
        odd = (class_similarity(z, data.label, data.info.n_classes).argmax(1) != data.label).nonzero().flatten()
        return odd[predict(self, data.take(odd), self.bias.bank.device).argmax(1) == data.label[odd]]

    def _source(self, pool: Batch, partners: Dataset | None) -> Batch | Dataset:
        """Where the partners of this pool are sought."""
        if partners is not None:
            return subsample(partners, min(self.search, len(partners)), self.generator)
        if not self.by_attribute:
            with torch.no_grad():  # as released: by the pool's fresh embedding, with the batch statistics of the pool
                self.bias.remember(pool.identity, self.bias.embed(pool.x))
        return pool

    def on_pool(self, pool: Batch) -> Batch:
        """Find partners, once for the pool."""
        mode = self.mode
        if mode == "both":
            mode = "A" if mixing.coin(self.generator, self.a_rate) else "B"
        source = self._source(pool, self.partner_set)
        partners = self.mixes[mode].draw(pool, source, self.generator)
        if source is not pool:
            partners = dataclasses.replace(partners, x=self.augment(partners.x, self.generator))
        pool = pool.with_extra(partners=partners)
        return pool.with_extra(slipped=(partners.label == pool.label) & (mode == "B")) if self.slips else pool

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Mixed cross-entropy, with the base's loss beside it, plus the biased model's own."""
        partners = batch.extra["partners"]
        on_raw = 0.0
        if self.base is not None:
            on_raw = self.base.loss(batch)[0]
        elif self.raw_forward:
            with torch.no_grad():
                self(batch.x)
        mixed = self.blend(self.mixes["A"], batch, partners)  # A and B differ in whom and how much alone
        outputs = (self.base or self).outputs(mixed.x)  # a base stops gradients where its paper does
        loss = self.mixed_weight * mixing.target_loss(cross_entropy, outputs, mixed.target).mean() + on_raw
        if self.lessons > 0:
            loss = loss + self.bias.lesson(batch.x, batch.label)
            self.lessons -= 1
            self.updates += 1
        logs = self.partner_logs(partners)
        if self.slips:
            logs["same_label_in_b"] = batch.extra["slipped"].float().mean()
        return loss, logs

    def optimizers(self, training: Training) -> list[torch.optim.Optimizer]:
        """The run's for the nets of the main kind, and an optimizer with its own learning rate for the biased model."""
        if self.by_attribute:
            return [optimizer(self.parameters(), training)]
        main = [parameter for name, parameter in self.named_parameters() if not name.startswith("bias.")]
        return [optimizer(main, training), *([] if self.pretrain else self._bias_optimizer(training))]

    def _bias_optimizer(self, training: Training) -> list[torch.optim.Optimizer]:
        parameters = self.bias.net.parameters()
        if self.auxiliary_optimizer == "sgd":
            return [torch.optim.SGD(parameters, self.auxiliary_lr, momentum=0.9, weight_decay=1e-4)]
        return [adam(parameters, training, lr=self.auxiliary_lr, weight_decay=1e-4)]

    @torch.no_grad()
    def pairs(self, train: Dataset, n: int) -> Mapping[str, Tensor]:
        """Some pairs as the last epoch would mix them: half of mode A, half of mode B."""
        rows = torch.randperm(len(train), generator=generator(len(train), 43))[: max(n, 1024)]
        pool = train.batch(rows, self.generator.device)
        source = self._source(pool, self._partner_set(train))
        position = torch.empty(train.info.n_stored, dtype=torch.long)
        position[train.index] = torch.arange(len(train))
        modes = ["A", "B"] if self.mode == "both" else [self.mode]
        columns: list[tuple[Tensor, Tensor, Tensor]] = []
        for mode, anchors in zip(modes, torch.arange(min(n, len(pool))).chunk(len(modes)), strict=True):
            drawn = self.mixes[mode].pair(pool[anchors], source, self.generator)
            own = pool.x[anchors].float()
            share = self.mixes[mode].ratio(len(anchors), self.generator)
            _, share = self.mixes[mode].blend(own, own, share, self.generator)  # 0 or 1 where nothing is blended
            partner = position[source.identity[drawn.partner].cpu()]
            keep = drawn.found.cpu()
            columns.append((rows[anchors][keep], partner[keep], share.cpu()[keep]))
        anchor, partner, share = (torch.cat(column) for column in zip(*columns, strict=True))
        return {"anchor": anchor, "partner": partner, "share": share}

    @torch.no_grad()
    def embedding(self, x: Tensor) -> Tensor | None:
        """How the biased model sees inputs, ``(n, 128)`` by default; None when the attribute is known instead."""
        return None if self.by_attribute else self.bias.embed(x)

    @torch.no_grad()
    def biased_logits(self, x: Tensor) -> Tensor | None:
        """Those of the base, where it has a biased classifier."""
        return None if self.base is None else self.base.biased_logits(x)


class Lessons(Method):
    """The biased model on its own.

    Args:
        bias: what learns.
        info: of the data.
        optimizers: what ``optimizers`` returns.
    """

    name = "lessons"
    paper = SelecMix.paper

    def __init__(
        self, bias: Likeness, info: Info, optimizers: Callable[[Training], list[torch.optim.Optimizer]]
    ) -> None:
        super().__init__(lambda: cast(Net, bias.net), info)
        self.bias, self.make_optimizers = bias, optimizers

    def optimizers(self, training: Training) -> list[torch.optim.Optimizer]:
        return self.make_optimizers(training)

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """What the biased model learns from."""
        return self.bias.lesson(batch.x, batch.label), {}
