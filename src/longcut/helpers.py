"""The loop as methods are handed it for their helper models, which go on where they were after an interruption."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

import torch

import longcut
from longcut.context import Observer
from longcut.data import Dataset, generator
from longcut.loop import Loop, derived
from longcut.methods.base import FitHelper, Method
from longcut.parallel import from_first
from longcut.training import Training

__all__ = ["Shelf", "helper"]


class Shelf(Protocol):
    """Where the states of helpers are kept, by their numbers."""

    def get(self, number: int) -> dict[str, Any] | None:
        """What was last put there; None where there is nothing."""
        ...

    def put(self, number: int, state: Callable[[], dict[str, Any]], ended: bool) -> None:
        """Called after every epoch of a helper; ``ended`` after its last."""
        ...


def helper(
    training: Training,
    seed: int,
    first: int,
    device: torch.device | str,
    told: Sequence[Observer],
    shelf: Shelf | None = None,
) -> FitHelper:
    """A trainer of helpers: no evaluation, no selection.

    Args:
        training: settings, where the method does not say.
        seed: of everything that is drawn.
        first: number of the first model, for whoever trains several kinds with one seed.
        device: where to compute.
        told: observers that are told of each epoch.
        shelf: where states are kept; a helper whose state is there goes on from it, and ends with the same bits.
    """
    calls = 0

    def run(method: Method, train: Dataset, *, observers: Sequence[Observer] = (), **overrides: Any) -> Method:
        nonlocal calls
        calls += 1
        number = first + calls
        loop = Loop(method.to(device), dataclasses.replace(training, **overrides), device, observers)
        whose: list[object] = [longcut.__version__, str(torch.__version__), str(device)]
        whose += [type(method).__name__, len(train), repr(overrides)]
        kept = from_first(None if shelf is None else shelf.get(number))
        done = 0
        if kept is not None and kept["whose"] == whose:
            done = _resume(loop, train, kept, derived(seed, number))
            _tell(told, done, loop)
        else:
            loop.start(train)
        for epoch in range(done, loop.training.epochs):
            loop.epoch(train, epoch, derived(seed, number))
            if shelf is not None:
                shelf.put(number, partial(_state, loop, train, epoch + 1, whose), epoch + 1 == loop.training.epochs)
            _tell(told, epoch + 1, loop)
        method.net.load_state_dict(loop.net.state_dict())
        return method.eval()

    return run


def _tell(told: Sequence[Observer], done: int, loop: Loop) -> None:
    for observer in told:
        observer.on_helper(done, loop.training.epochs)


def _state(loop: Loop, train: Dataset, epochs: int, whose: list[object]) -> dict[str, Any]:
    """All that is needed to go on, also for what comes after the helper, which draws from where that stopped."""
    return {
        **loop.state(train, train, [], {}),
        "epochs": epochs,
        "whose": whose,
        "observers": [observer.state() for observer in loop.observers],
        "drawn": loop.method.generator.get_state(),
        "random": torch.default_generator.get_state(),
        "random_cuda": torch.cuda.get_rng_state(loop.device) if torch.device(loop.device).type == "cuda" else None,
    }


def _resume(loop: Loop, train: Dataset, state: dict[str, Any], seed: int) -> int:
    """The reverse of ``state``: epochs done."""
    loop.restore(state, train)
    for observer, kept in zip(loop.observers, state["observers"], strict=True):
        observer.restore(kept)
    done = state["epochs"]
    context = loop.context(train, generator(seed, done - 1, 1, device=loop.device), done - 1)
    context.generator.set_state(state["drawn"])
    for part in loop.method.modules():
        if isinstance(part, Method):
            part.context = context
    torch.default_generator.set_state(state["random"])
    if state["random_cuda"] is not None:
        torch.cuda.set_rng_state(state["random_cuda"], loop.device)
    return done
