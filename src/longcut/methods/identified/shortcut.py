"""A net that learns the shortcut, and what it predicts: the attribute that nobody annotated, one value per class."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Literal, cast

import torch
from torch import Tensor

from longcut.cells import out_of_place
from longcut.data import Dataset, Info, ranks, subsample
from longcut.errors import UserError
from longcut.identify import Identification
from longcut.losses import cross_entropy
from longcut.methods.base import FitHelper, MakeNet, Method, require_attribute
from longcut.methods.erm import ERM
from longcut.nets import build as build_net
from longcut.predict import predict

__all__ = ["FEW", "SUREST", "ByShortcut", "biased_logits", "most_confident"]

FEW, SUREST = 0.1, 0.5  # gamma and beta of the two-step net, as published


def most_confident(loss: Tensor, label: Tensor, share: float) -> Tensor:
    """The share of each class that has the lowest loss, at least one sample of it, as a boolean mask ``(n,)``.

    >>> most_confident(torch.tensor([0.1, 0.3, 0.2, 0.9]), torch.tensor([0, 0, 0, 1]), 0.5)
    tensor([ True, False, False,  True])
    """
    order = loss.argsort(stable=True)
    quota = (torch.bincount(label) * share).long().clamp_min(1)
    kept = torch.zeros(len(label), dtype=torch.bool)
    kept[order] = ranks(label[order]) < quota[label[order]]
    return kept


def biased_logits(
    method: Method,
    train: Dataset,
    fit: FitHelper,
    *,
    few: float,
    surest: float,
    repeats: int,
    net: str,
    helper: Mapping[str, Any],
) -> Tensor:
    """What a net that was led to the shortcut says of every training sample, ``(n, C)`` float64 on the CPU.

    A first net learns from a random share of the samples, ``few``: too few to learn more than what is easy. Of every
    class, the share ``surest`` that it is surest of is what another net learns from, ``repeats`` times; the last one is
    asked. With few = 1 and no repeats that is an ordinary net.

    Args:
        method: whose generator draws the share, and whose nets are made where no others are named.
        train: the samples.
        fit: the loop, as ``prepare`` is handed it.
        few, surest: shares in (0, 1], the paper's gamma and beta.
        repeats: at least 0.
        net: spec of these nets, or ``"same"`` for nets as the method has.
        helper: their training settings.

    Source: the multi-stage selective retraining (MST) of Zhao and Zhang, ICLR 2026, as others describe it.
    """
    make_net = method.make_net if net == "same" else partial(build_net, net, method.info)

    def asked(data: Dataset) -> Tensor:
        biased = fit(ERM(make_net, method.info), data, **helper)
        return predict(biased, train, next(biased.parameters()).device).double()

    size = min(len(train), max(2, round(few * len(train))))
    logits = asked(train if few == 1 else subsample(train, size, method.generator))
    for _ in range(repeats):
        loss = cross_entropy(logits, train.label)
        logits = asked(train.take(most_confident(loss, train.label, surest)))
    return logits


class ByShortcut(Method):
    """A method that needs the value of the shortcut of each training sample: found by a biased net, or told.

    ``shortcut (n_stored,)`` is what it found.

    Args:
        make_net, info: as for every method.
        identify: ``"helper"``, a biased net, or ``"attribute"``, the true one.
        helper: training settings of the biased net.
        two_step: its ``few``, ``surest``, ``repeats`` and ``net``.
    """

    tasks = frozenset({"classification"})
    needs_classes = "its biased net predicts one value of the shortcut for each class"

    def __init__(
        self,
        make_net: MakeNet,
        info: Info,
        identify: Literal["helper", "attribute"],
        helper: Mapping[str, Any],
        two_step: Mapping[str, Any],
    ) -> None:
        if identify == "attribute":
            require_attribute(f"{self.name} with identify=attribute", info.name, info.n_attributes > 0)
        super().__init__(make_net, info)
        self.identify, self.helper, self.two_step = identify, helper, two_step
        self.n_values = info.n_attributes + info.partial if identify == "attribute" else info.n_classes
        self.register_buffer("shortcut", torch.zeros(info.n_stored, dtype=torch.long))
        self.register_buffer("chosen", torch.zeros(info.n_stored, dtype=torch.bool))

    shortcut: Tensor
    chosen: Tensor

    def find(self, train: Dataset, fit: FitHelper) -> Tensor:
        """The value of each training sample ``(n,)`` on the CPU, which is also kept.

        That the attribute is not known counts as one more value, and nobody's of whom that is so as a minority.

        Raises:
            UserError: when it says nothing beyond the label: within each class all samples have the same.
        """
        if self.identify != "attribute":
            return self.keep(self.logits(train, fit).argmax(1), train)
        told = self.keep(cast(Tensor, train.attribute), train)
        return torch.where(told < 0, self.info.n_attributes, told)

    def logits(self, train: Dataset, fit: FitHelper) -> Tensor:
        """What its biased net says of the training samples, see :func:`biased_logits`."""
        return biased_logits(self, train, fit, helper=self.helper, **self.two_step)

    def keep(self, found: Tensor, train: Dataset) -> Tensor:
        """Note the values ``(n,)``, -1 where there is none, and who has another one than its class; returns them."""
        known = found >= 0
        chosen = known.clone()
        chosen[known] = out_of_place(found[known], train.label[known])
        if not chosen.any():
            what = "its attribute" if self.identify == "attribute" else "the prediction of the biased net"
            raise UserError(
                f"{self.name} has nothing to correct in {train.info.name}: {what} is the same for all samples of a "
                "class; take erm, or train that net for fewer or more epochs (helper_epochs)."
            )
        self.shortcut[train.index] = found.to(self.shortcut.device)
        self.chosen[train.index] = chosen.to(self.chosen.device)
        return found

    def minority(self, train: Dataset) -> Tensor | None:
        """Who has another value than is usual in its class."""
        return None if self.identify == "attribute" else self.chosen.cpu()[train.index]

    def identification(self) -> Identification:
        """Who contradicts what is usual in its class, and by which value of the shortcut."""
        return Identification(self.chosen, shortcut=self.shortcut)
