"""What is learned early: a biased model chosen by evidence, and what it makes of samples that it has not seen.

A shortcut is what little explains much of the label with, and soon. So a small family of nets, from simple to less
simple, learns for a few hundred updates from one half of the data, and is asked about the other half. Taken is the
simplest of those that do nearly as well as the best, and it learns no longer than it takes to do nearly as well as it
ever does. What it then says of each sample comes from the half that the sample is not in, for what a net has seen it
may know by heart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from longcut import nets
from longcut.context import calling
from longcut.data import Batch, Dataset, Info, balance, generator, ranks, split, subsample
from longcut.losses import gce
from longcut.methods.base import FitHelper, Method
from longcut.predict import predict

__all__ = ["Early", "Explained", "explain", "family"]

IMAGES = ("tiny:side=32,width=8", "glance", "linear")
TABLES = ("linear", "mlp:hidden=64")
TOKENS = ("tokens:width=32",)

BATCH, UPDATES, ROUNDS = 128, 50, 8  # what a member learns from, in rounds of so many updates
ASKED = 4096  # held-out samples at most, about which every member is asked after every round
NEARLY = 0.95  # the simplest member is taken whose accuracy, over chance, is that part of the best's
ENOUGH = 0.99  # it learns until its accuracy, over chance, is that part of what it reaches
LOOP = {
    "batch": BATCH,
    "pool": 1,
    "lr": 1e-3,
    "optimizer": "adam",
    "weight_decay": 0.0,
    "schedule": "constant",
    "average": 0.0,
    "augment": "none",
    "drop_last": True,
    "clip": 0.0,
}


def family(info: Info) -> tuple[str, ...]:
    """Specs of the nets that may be the biased model, from simple to less simple."""
    if info.kind == "tokens":
        return TOKENS
    return IMAGES if len(info.shape) == 3 else TABLES


class Early(Method):
    """A small net that learns the labels, all classes alike, in rounds of a few updates.

    Args:
        spec: of the net.
        info: of the data.
    """

    name = "early"

    def __init__(self, spec: str, info: Info) -> None:
        super().__init__(lambda: nets.build(spec, info), info)

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean generalized cross-entropy, which listens most to what is easy."""
        return gce(self(batch.x), batch.label).mean(), {}

    def epoch_data(self, train: Dataset) -> Dataset:
        """As many samples as one round takes, classes alike, each again and again where there are few."""
        rows = torch.arange(-(-BATCH * UPDATES // len(train)) * len(train)) % len(train)
        balanced = balance(train.take(rows), "class", self.generator)
        return subsample(balanced, BATCH * UPDATES, self.generator)


@dataclass(frozen=True)
class Explained:
    """What a biased model that was chosen by evidence makes of the training samples.

    Attributes:
        member: spec of its net.
        rounds: for how many rounds it learned.
        logits: of each sample, from a model that has not seen it ``(n, C)``.
        curves: balanced accuracy on held-out samples of each member of the family, after each round.
    """

    member: str
    rounds: int
    logits: Tensor
    curves: dict[str, list[float]] = field(default_factory=dict)

    @property
    def looks(self) -> Tensor:
        """The class that each sample looks like ``(n,)``."""
        return self.logits.argmax(1)

    def contradicted(self, label: Tensor, share: float = 0.5) -> Tensor:
        """Those that look like another class, the clearest of each class ``(n,)``, boolean.

        Args:
            label: ``(n,)``.
            share: of those of each class, rounded up.
        """
        own = self.logits.gather(1, label[:, None])
        margin = (own - self.logits.scatter(1, label[:, None], -torch.inf).amax(1, keepdim=True))[:, 0]
        odd = (margin < 0).nonzero().flatten()
        order = odd[margin[odd].argsort(stable=True)]
        size = torch.bincount(label[odd], minlength=self.logits.shape[1])
        clear = torch.zeros_like(label, dtype=torch.bool)
        clear[order[ranks(label[order]) < (share * size).ceil()[label[order]]]] = True
        return clear


def explain(
    train: Dataset, fit: FitHelper, *, seed: int = 0, device: torch.device | str = "cpu", members: Sequence[str] = ()
) -> Explained:
    """The biased model of a training set, and what it says of every sample.

    Args:
        train: classes, of which each has two samples at least.
        fit: the loop (see :meth:`longcut.methods.base.Method.prepare`).
        seed: of the halves and the members' first weights.
        device: where the nets are.
        members: specs of nets, from simple to less simple; by default :func:`family`.
    """
    members = members or family(train.info)
    one, other = split(train, 0.5, generator(seed, 81))
    asked = subsample(other, min(len(other), ASKED), generator(seed, 82))
    curves = {spec: _learn(spec, one, asked, fit, ROUNDS, seed, device)[0] for spec in members}
    chance = 1 / train.info.n_classes
    best = max(map(max, curves.values())) - chance
    member = next(spec for spec in members if max(curves[spec]) - chance >= NEARLY * best)
    curve = curves[member]
    rounds = 1 + next(i for i, hit in enumerate(curve) if hit - chance >= ENOUGH * (max(curve) - chance))
    place = torch.zeros(train.info.n_stored, dtype=torch.long)
    place[train.index] = torch.arange(len(train))  # samples that stand there several times are told alike
    logits = torch.zeros(len(train), train.info.n_classes)
    for learned, held in ((one, other), (other, one)):
        model = _learn(member, learned, None, fit, rounds, seed, device)[1]
        logits[place[held.index]] = predict(model, held, device)
    return Explained(member, rounds, logits[place[train.index]], curves)


def _learn(
    spec: str, data: Dataset, asked: Dataset | None, fit: FitHelper, rounds: int, seed: int, device: Any
) -> tuple[list[float], Method]:
    """A member that has learned for some rounds, and its balanced accuracy on other samples after each of them."""
    curve: list[float] = []

    def ask(method: Method) -> None:
        if asked is not None:
            curve.append(_balanced(predict(method, asked, device).argmax(1), asked.label))

    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(generator(seed, 83).initial_seed())
        model = Early(spec, data.info)
    fit(model, data, observers=[calling(on_trained=ask)], epochs=rounds, **LOOP)
    return curve, model


def _balanced(said: Tensor, label: Tensor) -> float:
    """Mean over the classes of the share that is right."""
    size = torch.bincount(label)
    right = torch.bincount(label[said == label], minlength=len(size))
    return float((right[size > 0] / size[size > 0]).mean())
