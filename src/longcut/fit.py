"""The one training loop: pools, minibatches, schedule, averaging, selection, resumption."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from longcut import augment
from longcut.context import Epoch, Observer, calling
from longcut.data import Splits, generator
from longcut.errors import UserError
from longcut.evaluate import lower_is_better, metrics, sample_values
from longcut.fitting import check, require_finite
from longcut.helpers import Shelf, helper
from longcut.loop import Loop, derived, reseed
from longcut.methods.base import Method
from longcut.methods.identified import evidence
from longcut.notebook import trained
from longcut.parallel import from_first
from longcut.parallel.launch import together
from longcut.parallel.team import joined
from longcut.predict import predict
from longcut.selection import parse_selection
from longcut.training import Training

__all__ = ["Fitted", "StateError", "Training", "fit"]


class StateError(UserError):
    """What is to be resumed is the state of another training."""


@dataclass(frozen=True)
class Fitted:
    """A trained method.

    Attributes:
        method: with the selected weights in ``method.net``.
        epoch: the epoch the weights come from.
        history: a row per epoch: ``epoch, seconds, loss``, the method's logs, and where it was judged ``valid`` and
            ``test`` metrics.
        verdict: whether those are a minority whom the method took for one; None where it took nobody by itself, or
            nobody asked.
    """

    method: Method
    epoch: int
    history: list[dict[str, Any]]
    verdict: evidence.Verdict | None = None

    def _repr_html_(self) -> str:
        return trained(self.method, self.epoch, self.history)


def fit(
    method: Method,
    splits: Splits,
    training: Training,
    *,
    seed: int = 0,
    device: torch.device | str = "cpu",
    select: str = "last",
    observers: Sequence[Observer] = (),
    state: dict[str, Any] | None = None,
    examined: bool = False,
    patience: int | None = None,
    shelf: Shelf | None = None,
    processes: int = 1,
) -> Fitted:
    """Train ``method`` on ``splits.train``; watch validation and test; select; finish.

    The caller's random state is left as it was. All randomness of an epoch is derived from ``(seed, epoch)``, so a run
    resumed from any epoch's ``state`` ends with the same bits as one never interrupted.

    Args:
        method: freshly built (see :func:`longcut.methods.build`).
        splits: data.
        training: settings of the loop.
        seed: of order, mixing and everything else that is drawn.
        device: where to compute.
        select: which epoch's weights to keep: ``"last"``, ``"best:METRIC"`` on validation, ``"oracle:METRIC"`` on test
            (``"oracle"``: by the average). Best is lowest for a metric where lower is better; the first of equals.
        observers: who watches (see :class:`longcut.context.Observer`), beside those of the method.
        state: what an earlier ``Epoch.state()`` returned.
        examined: whether a minority that the method found by itself is judged in the end, by nets of its own (see
            :func:`longcut.methods.identified.evidence.examine`).
        patience: stop when the metric to select by was not better in so many epochs; None: never.
        shelf: where the states of helper models are kept, from which they go on.
        processes: how many share the work of each batch on this machine (see :mod:`longcut.parallel`): on CUDA each has
            a device of its own, elsewhere they share the cores. Observers and shelf are those of this one alone.

    Raises:
        UserError: when method and data do not fit each other, the loss or the weights stop being finite, the net cannot
            be computed by parts of a batch, or another process is lost.
        StateError: when the state is not of this training; the method is not fit for use then.
    """
    if processes > 1:
        how = {"seed": seed, "device": device, "select": select, "examined": examined, "patience": patience}
        call = partial(fit, method, splits, training, **how)
        with together(processes, device, call):
            return call(observers=[_asked_alone(observer) for observer in observers], state=state, shelf=shelf)
    watch, metric = parse_selection(select)
    check(method, splits, watch, metric)
    augment.require_kind(training.augment, splits.info)
    if training.loss != "squared" and splits.info.task == "classification":
        raise UserError(
            f"loss={training.loss} is of targets that are numbers, but {splits.info.name} has classes; leave it out."
        )
    lower = bool(watch) and lower_is_better(metric, splits.info.task)
    method.to(device)
    with torch.random.fork_rng(devices=_cuda_devices(device)):
        loop = Loop(method, training, device, observers)
        best: dict[str, Any] = {"epoch": 0, "value": math.inf if lower else -math.inf, "net": {}}
        state = from_first(state)
        if state is None:
            reseed(derived(seed, 0), device)
            method.context = loop.context(splits.train, generator(seed, 0, 2, device=device))
            train = method.prepare(splits.train, helper(training, seed, 1000, device, observers, shelf))
            history: list[dict[str, Any]] = []
            loop.start(train)
        else:
            try:
                train, history, best = loop.restore(state, splits.train)
            except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
                raise StateError("the state to resume from is not of this training; begin it anew.") from error
        for epoch in range(len(history), training.epochs):
            row = loop.epoch(train, epoch, seed)
            due = (epoch + 1) % training.every == 0 or epoch + 1 == training.epochs
            if due and method.judged_by_epoch:
                with _deployed(method, loop.net):
                    for name in ("valid", "test"):
                        data = getattr(splits, name)
                        if data is not None:
                            outputs = predict(method, data, device)
                            row[name] = metrics(sample_values(outputs, data), data, splits.train, outputs=outputs)
                if watch and (row[watch][metric] < best["value"] if lower else row[watch][metric] > best["value"]):
                    best = {"epoch": epoch + 1, "value": row[watch][metric], "net": _copy(loop.net.state_dict())}
            history.append(row)
            state_now = partial(loop.state, train, splits.train, history, best)
            for observer in loop.observers:
                observer.on_epoch(Epoch(epoch + 1, training.epochs, row, state_now))
            if watch and patience is not None and epoch + 1 - best["epoch"] >= patience:
                break
        chosen = best["epoch"] if watch else training.epochs
        method.net.load_state_dict(best["net"] if watch else loop.net.state_dict())
        reseed(derived(seed, training.epochs + 1), device)
        last = generator(seed, training.epochs, 3, device=device)
        method.context = loop.context(train, last, training.epochs - 1)
        method.eval()
        own = helper(training, seed, 2000, device, observers, shelf)  # a resumed run draws the same
        method.finish(train, splits.valid, own)
        method.eval()
        require_finite(method.net, training, "when training was over")
        verdict = None
        if examined:
            own = helper(training, seed, 3000, device, observers, shelf)
            verdict = evidence.examine(method, splits.train, own, generator(seed, 6).initial_seed())
    return Fitted(method, chosen, history, verdict)


def _asked_alone(observer: Observer) -> Observer:
    """The same, who asks nets without the other processes, in which nobody asks."""

    def alone(name: str, *told: Any) -> None:
        with joined(None):
            getattr(observer, name)(*told)

    return calling(**{name: partial(alone, name) for name in vars(Observer) if name.startswith("on_")})


@contextmanager
def _deployed(method: Method, net: nn.Module) -> Iterator[None]:
    """For the time of a ``with``: the method carries the weights that will be used."""
    own, method.net = method.net, net  # type: ignore[assignment]
    try:
        yield
    finally:
        method.net = own


def _cuda_devices(device: torch.device | str) -> list[torch.device]:
    return [torch.device(device)] if torch.device(device).type == "cuda" else []


def _copy(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in state.items()}
