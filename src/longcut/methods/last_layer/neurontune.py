"""NeuronTune: features that are high where the net errs are silenced, and the last layer is fitted anew."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from longcut.data import Dataset, Info, balance
from longcut.methods.base import FitHelper, MakeNet
from longcut.methods.last_layer.aside import HeldFrom, HeldOut, Share
from longcut.methods.last_layer.heads import features_of, linear_head, put

__all__ = ["NeuronTune", "affected", "fitness", "spuriousness"]


def spuriousness(features: Tensor, wrong: Tensor, label: Tensor, n_classes: int) -> Tensor:
    """``median(feature | wrong) - median(feature | right)`` within each class ``(C, d)``.

    Where it is above 0, the feature is higher where the net errs. A class without errors, or with nothing else, has 0.
    The median of an even number of values is the mean of the middle two.

    Args:
        features: ``(n, d)``.
        wrong: whom the net gets wrong ``(n,)``.
        label: class ids ``(n,)``.
        n_classes: C.

    Source: Zheng et al. 2025, "NeuronTune: Towards self-guided spurious bias mitigation", delta.

    >>> x = torch.tensor([[1.0], [2.0], [6.0], [5.0]])
    >>> spuriousness(x, torch.tensor([False, False, True, False]), torch.tensor([0, 0, 0, 1]), 2)
    tensor([[4.5000],
            [0.0000]])
    """
    delta = features.new_zeros(n_classes, features.shape[1])
    for c in range(n_classes):
        erred, right = features[(label == c) & wrong], features[(label == c) & ~wrong]
        if len(erred) and len(right):
            delta[c] = erred.quantile(0.5, dim=0) - right.quantile(0.5, dim=0)
    return delta


def affected(delta: Tensor, threshold: float = 0.0, classes: Literal["all", "any"] = "all") -> Tensor:
    """Which features have a spuriousness above the threshold in all classes, or in any ``(d,)``.

    >>> affected(torch.tensor([[1.0, 1.0, -1.0], [2.0, -1.0, -1.0]]))
    tensor([ True, False, False])
    """
    above = delta > threshold
    return above.all(0) if classes == "all" else above.any(0)


def fitness(delta: Tensor) -> float:
    """SFit: the sum of ``|delta|``; the higher, the better errors are told apart, by which a run may be chosen.

    >>> fitness(torch.tensor([[1.0, -2.0]]))
    3.0
    """
    return float(delta.abs().sum())


class NeuronTune(HeldOut):
    """``mean(CE)`` of a new last layer in which the features of positive ``delta`` are silent; classes weigh alike.

    ``delta`` is how much higher a feature is, within a class, in held-out samples that the net gets wrong (difference
    of medians). Silenced are those that are higher so in all classes; descriptions of the paper leave open whether that
    is meant or any class, which silences nearly all. Its program was not run. The layer is fitted on the training set,
    or on what is held out. The sum of ``|delta|``, by which the paper chooses among runs, is told.
    """

    name = "neurontune"
    paper = "Zheng et al., NeuronTune: Towards self-guided spurious bias mitigation, ICML 2025"
    needs_classes = "it compares samples of a class that are right with those that are wrong"
    variants = (
        {"held_from": "train", "held": 0.4},
        {"tune_on": "held", "threshold": 0.1},
        {"classes": "any", "threshold": 0.1},
    )

    def __init__(
        self,
        make_net: MakeNet,
        info: Info,
        *,
        held_from: HeldFrom = "valid",
        held: Share = 0.2,
        tune_on: Annotated[
            Literal["train", "held"],
            Field(description="the samples the last layer is fitted on: those of training, or those held out"),
        ] = "train",
        threshold: Annotated[float, Field(ge=0, description="delta above which a feature is silenced (lambda)")] = 0.0,
        classes: Annotated[
            Literal["all", "any"], Field(description="silenced is what is above it in all classes, or in any")
        ] = "all",
    ) -> None:
        super().__init__(make_net, info, held_from, held)
        self.tune_on, self.threshold = tune_on, threshold
        self.classes: Literal["all", "any"] = classes
        self.said: tuple[str, ...] = ()

    @torch.no_grad()
    def finish(self, train: Dataset, valid: Dataset | None, fit: FitHelper) -> None:
        """Find the features, silence them, and fit the last layer anew."""
        head = self.net.head
        held = features_of(self.net, self.held_out(train, valid))
        features = held.x[held.index]
        wrong = head(features.to(head.weight.device)).argmax(1).cpu() != held.label
        delta = spuriousness(features, wrong, held.label, self.info.n_classes)
        silent = affected(delta, self.threshold, self.classes)
        found = f"{int(silent.sum())} of {len(silent)} features are silenced"
        if silent.all():
            silent, found = torch.zeros_like(silent), "no feature is silenced, for all are higher where it errs"
        self.said = (
            f"{found}, by {int(wrong.sum()):,} errors in {len(held):,} held-out samples; "
            f"the sum of |delta| is {fitness(delta):.4g}.",
        )
        learned = held if self.tune_on == "held" else features_of(self.net, self.epoch_data(train))
        tune = self._silenced(learned, silent)
        judge = None if self.tune_on == "held" else self._silenced(held, silent)
        weight, bias, _ = linear_head(tune, judge)
        put(weight * ~silent, bias, head)

    def _silenced(self, data: Dataset, silent: Tensor) -> Dataset:
        """Features ``(n, d)``, some of them 0, of as many samples of each class."""
        return balance(dataclasses.replace(data, x=data.x * ~silent), "class", self.generator)

    def remarks(self) -> Sequence[str]:
        """What was silenced, and by which errors."""
        return self.said
