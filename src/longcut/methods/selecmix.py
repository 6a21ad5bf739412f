"""SelecMix: mix pairs that contradict the shortcut, found by a model that is encouraged to take it.

The biased model is a contrastive embedding in which samples that share the easy cue lie together. Two samples
contradict the shortcut when they share the label but not the cue (A, contradicting positives) or the cue but not the
label (B, contradicting negatives). Their mixture carries the partner's label.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from longcut import mixing, nets
from longcut.bias import ContrastiveBias, Difficulty, least_typical, unexplained
from longcut.data import Batch, Dataset, Info, generator, subsample
from longcut.losses import cross_entropy
from longcut.methods.base import FitHelper, MakeNet, Method, Recipe, adam, require_attribute
from longcut.methods.lff import failure_loss
from longcut.training import Training

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
    }

    def __init__(
        self,
        make_net: MakeNet,
        info: Info,
        *,
        base: Annotated[Literal["erm", "lff"], Field(description="train on mixtures alone, or beside LfF")] = "erm",
        mode: Annotated[
            Literal["A", "B", "both"],
            Field(
                description="A: same label, other cue; B: other label, same cue; both: one of them, by a coin per pool"
            ),
        ] = "both",
        a_rate: Annotated[float, Field(ge=0, le=1, description="mode both: how often the coin says A")] = 0.75,
        pairs: Annotated[
            Literal["learned", "attribute"], Field(description="who contradicts: asked of the biased model, or known")
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
        share_a: Annotated[float, Field(gt=0, le=1, description="A: the anchor's share is U(0, share_a)")] = 1.0,
        share_b: Annotated[float, Field(gt=0, le=1, description="B: the anchor's share is U(0, share_b)")] = 0.5,
        raw: Annotated[
            float,
            Field(ge=0, description="samples left as they are, in multiples of the share that contradicts the cue"),
        ] = 8.0,
        blend: Annotated[
            Literal["linear", "keep-both"],
            Field(description="mix, or the control: same pairs, one of the two shown whole"),
        ] = "linear",
        mixed_weight: Annotated[float, Field(ge=0, description="weight of the loss on mixtures")] = 1.0,
        auxiliary: Annotated[str, Field(description="net of the biased model")] = "tiny",
        auxiliary_lr: Annotated[float, Field(gt=0, description="learning rate of the biased model")] = 0.001,
        auxiliary_steps: Annotated[
            int,
            Field(ge=0, description="updates (within four epochs) after which the biased model is frozen; 0: never"),
        ] = 200,
        contrast: Annotated[
            Literal["gsc", "sc"], Field(description="its loss: generalized or plain supervised contrastive")
        ] = "gsc",
        temperature: Annotated[float, Field(gt=0, description="of its loss")] = 0.2,
        q: Annotated[float, Field(gt=0, description="amplification, in its loss and in LfF's GCE")] = 0.7,
        scale: Annotated[
            Literal["paper", "code"], Field(description="GSC's weight: p^q, or q p^q as released")
        ] = "paper",
        lff_scale: Annotated[
            Literal["paper", "code"], Field(description="GCE as in its paper, or as released")
        ] = "paper",
    ) -> None:
        super().__init__(make_net, info)
        if pairs == "attribute":
            require_attribute("selecmix with pairs=attribute", info.name, info.n_attributes > 0)
        self.mode: Literal["A", "B", "both"] = mode
        self.partners, self.base, self.by_attribute = partners, base, pairs == "attribute"
        self.candidates, self.search, self.a_rate, self.mixed_weight = candidates, search, a_rate, mixed_weight
        self.q, self.auxiliary_lr, self.auxiliary_steps = q, auxiliary_lr, auxiliary_steps
        self.lff_scale: Literal["paper", "code"] = lff_scale
        if self.by_attribute:
            positive, negative = mixing.same_label(other_attribute=True), mixing.same_attribute()
        else:
            net = nets.build(auxiliary, info, WIDTH)
            self.bias = ContrastiveBias(net, info, WIDTH, loss=contrast, temperature=temperature, q=q, scale=scale)
            positive = mixing.contradicting(self.bias.similarity, "positive", within=within)
            negative = mixing.contradicting(self.bias.similarity, "negative", within=within)
            # a shortcut is what is learned first: the count says when to stop learning
            self.updates: Tensor
            self.register_buffer("updates", torch.zeros((), dtype=torch.long))
            self.remembered = 0
        if base == "lff":
            self.biased, self.difficulty = make_net(), Difficulty(info)
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

    def _sparing(self, rule: mixing.PairRule) -> mixing.PairRule:
        """The rule, but a share of the samples, known when the biased model is, stays as it is."""
        return lambda batch, pool, rng: mixing.sometimes(rule, 1 - self.raw_share)(batch, pool, rng)

    def prepare(self, train: Dataset, fit: FitHelper) -> Dataset:
        """The training set as it is; refused when its known attribute leaves nobody to mix with."""
        if self.by_attribute:
            mixing.require_contradiction(train.label, train.attribute, self.mode, self.name)
        return train

    def on_epoch(self, epoch: int, epochs: int) -> None:
        """Choose who may be a partner in this epoch; before the first, pools serve themselves."""
        if self.by_attribute:
            self.lessons = 0.0
        elif not self.auxiliary_steps:
            self.lessons = math.inf
        else:  # the count is asked once per epoch, for asking waits for the device
            self.lessons = self.auxiliary_steps - int(self.updates) if epoch < PASSES else 0.0
        self.partner_set = None if epoch == 0 and not self.by_attribute else self._partner_set(self.train_data)

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
            view = self.bias.bank[data.index.to(self.bias.bank.device)].cpu(), data.label, data.info.n_classes
            rows, contradicting = least_typical(*view, self.candidates), unexplained(*view)
        self.raw_share = min(1.0, self.raw * contradicting)
        return data.take(rows)

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
        return pool.with_extra(partners=self.mixes[mode].draw(pool, source, self.generator))

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Mixed cross-entropy, with LfF's loss beside it on that base, plus the biased model's contrastive loss."""
        mixed = self.blend(self.mixes["A"], batch, batch.extra["partners"])  # A and B differ in whom and how much alone
        loss = self.mixed_weight * mixing.target_loss(cross_entropy, self.outputs(mixed.x), mixed.target).mean()
        if self.base == "lff":
            biased = self.biased(batch.x)
            loss = loss + failure_loss(batch, self(batch.x), biased, self.difficulty, self.q, self.lff_scale)[0]
        if self.lessons > 0:
            loss = loss + self.bias.loss(self.bias.embed(batch.x), batch.label)
            self.lessons -= 1
            self.updates += 1
        return loss, {"paired": mixed.found.float().mean()}

    def optimizers(self, training: Training) -> list[torch.optim.Optimizer]:
        """Adam for the nets of the main kind, and Adam with its own learning rate for the biased model."""
        main = [*self.net.parameters(), *(self.biased.parameters() if self.base == "lff" else [])]
        if self.by_attribute:
            return [adam(main, training)]
        return [
            adam(main, training),
            adam(self.bias.net.parameters(), training, lr=self.auxiliary_lr, weight_decay=1e-4),
        ]

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
        """How the biased model sees inputs ``(n, 128)``; None when the attribute is known instead."""
        return None if self.by_attribute else self.bias.embed(x)
