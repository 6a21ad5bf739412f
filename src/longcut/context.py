"""What a method is told while it trains, and who watches it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from longcut.augment import Augment, unchanged
from longcut.data import Batch, Dataset
from longcut.errors import unknown
from longcut.losses import squared_error

if TYPE_CHECKING:
    from longcut.methods.base import Method

__all__ = ["Context", "Epoch", "Observer", "calling"]


class Observer:
    """Who watches a run without taking part in it; every part has a default that does nothing.

    The loop calls each in this order: ``on_start`` once, unless the run is resumed; in every epoch ``on_outputs`` for
    each minibatch whose outputs the method shows, ``on_trained`` after the last update, and ``on_epoch`` when the epoch
    is judged; ``on_helper`` after every epoch of a helper.
    """

    def on_start(self, method: Method, epochs: int) -> None:
        """Before the first epoch of ``epochs``."""

    def on_outputs(self, context: Context, batch: Batch, outputs: Tensor, losses: Tensor) -> None:
        """What the net said of a minibatch in training ``(n, C)``, and the loss of each sample ``(n,)``."""

    def on_trained(self, method: Method) -> None:
        """After the last update of an epoch; ``method.context`` says which."""

    def on_epoch(self, epoch: Epoch) -> None:
        """After an epoch, with its line of the history. Helpers have none."""

    def on_helper(self, done: int, total: int) -> None:
        """After an epoch of a helper, with the number done and to do."""

    def state(self) -> dict[str, Any]:
        """What whoever watches a helper has seen: plain containers and tensors, to go on from after an interruption."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """The reverse of ``state``, in place of ``on_start``."""


def calling(**functions: Callable[..., None]) -> Observer:
    """An observer made of functions, by the names of the parts of :class:`Observer`.

    >>> calling(on_helper=lambda done, total: print(done, "of", total)).on_helper(1, 3)
    1 of 3
    """
    observer = Observer()
    for name, function in functions.items():
        parts = [part for part in vars(Observer) if part.startswith("on_")]
        if name not in parts:
            raise unknown("part of an observer", name, parts)
        setattr(observer, name, function)
    return observer


@dataclass(frozen=True)
class Epoch:
    """What observers are told after an epoch.

    Attributes:
        epoch: number of epochs done.
        epochs: number to do.
        row: this epoch's line of the history.
        state: call it for everything needed to go on from here with the same bits: plain containers and tensors.
    """

    epoch: int
    epochs: int
    row: dict[str, Any]
    state: Callable[[], dict[str, Any]]


@dataclass(frozen=True)
class Context:
    """What holds while a method is prepared, in an epoch, and while it is finished.

    Attributes:
        generator: from the run's seed, another one in every epoch.
        data: the training samples: in an epoch what ``prepare`` returned, before that what it is given.
        augment: of the run. Pools are augmented already; what a method gathers itself is not.
        epoch: number of the epoch, from 0.
        epochs: number of all.
        observers: who is shown outputs.
        loss: of each sample of a regression, from outputs and targets in standardised units.
    """

    generator: torch.Generator
    data: Dataset
    augment: Augment = unchanged
    epoch: int = 0
    epochs: int = 1
    observers: Sequence[Observer] = ()
    loss: Callable[[Tensor, Tensor], Tensor] = squared_error

    def saw(self, batch: Batch, outputs: Tensor, losses: Tensor) -> None:
        """Show observers what the net said of a minibatch of samples as they are."""
        for observer in self.observers:
            observer.on_outputs(self, batch, outputs.detach(), losses.detach())
