"""The state of one training: optimizers, averaged weights, position in the schedule; and one pass over the data."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from longcut import augment
from longcut.context import Context, Observer
from longcut.data import COLUMNS, Batch, Dataset, generator, pools
from longcut.errors import UserError
from longcut.fitting import require_finite
from longcut.methods.base import Method
from longcut.nets import Net
from longcut.parallel import require_lockstep
from longcut.regression_losses import regression_loss
from longcut.training import Training

__all__ = ["Loop", "derived", "reseed", "steps_per_epoch"]


class Loop:
    """One run of the loop."""

    def __init__(
        self, method: Method, training: Training, device: torch.device | str, observers: Sequence[Observer]
    ) -> None:
        self.method, self.training, self.device = method, training, device
        self.augment = augment.build(training.augment)
        self.observers = [*method.observers(), *observers]
        self.loss = regression_loss(training.loss)

    def context(self, data: Dataset, generator: torch.Generator, epoch: int = 0) -> Context:
        """What the method is told."""
        return Context(generator, data, self.augment, epoch, self.training.epochs, self.observers, self.loss)

    def start(self, train: Dataset, resumed: bool = False) -> None:
        """Once the method is prepared: ``prepare`` may have replaced parameters."""
        if not resumed:
            for net in self.method.modules():
                if isinstance(net, Net) and self.training.standardize:
                    net.standardize(train.label)
            for observer in self.observers:
                observer.on_start(self.method, self.training.epochs)
        self.optimizers = self.method.optimizers(self.training)
        self.base_lr = [[group["lr"] for group in optimizer.param_groups] for optimizer in self.optimizers]
        self.average = AveragedModel(self.method.net, use_buffers=True) if self.training.average else None
        if self.average is not None:
            self.follow = _moving_average(self.average, self.method.net, self.training.average)

    @property
    def net(self) -> nn.Module:
        """The weights to be used: the average's where there is one."""
        return self.average.module if self.average is not None else self.method.net

    def epoch(self, train: Dataset, epoch: int, seed: int) -> dict[str, Any]:
        """One pass over ``train``; returns the history row."""
        method, training = self.method, self.training
        began = time.perf_counter()
        reseed(derived(seed, epoch + 1), self.device)
        method.train()
        method.on_epoch(self.context(train, generator(seed, epoch, 1, device=self.device), epoch))
        train = method.epoch_data(train)
        steps = steps_per_epoch(len(train), training)
        total = torch.zeros((), device=self.device)
        losses = torch.zeros(steps, device=self.device)
        sums: dict[str, Tensor] = {}
        done = 0
        order = generator(seed, epoch if training.reshuffle else 0, 0)
        for batch in self._minibatches(train, order):
            if training.schedule != "constant":
                factor = _factor(training, (epoch * steps + done) / (training.epochs * steps))
                for optimizer, rates in zip(self.optimizers, self.base_lr, strict=True):
                    for group, rate in zip(optimizer.param_groups, rates, strict=True):
                        group["lr"] = rate * factor
            loss, logs = method.step(batch, self.optimizers, self._backward)
            if self.average is not None:
                self.follow()
            losses[done] = loss  # looked at in the end: an .item() here would make the device wait for every step
            total += loss
            for name, value in logs.items():
                sums[name] = sums.get(name, 0) + value.detach()
            done += 1
        for observer in self.observers:
            observer.on_trained(method)
        bad = (~losses.isfinite()).nonzero()
        if len(bad):
            raise UserError(
                f"the loss stopped being a finite number in epoch {epoch + 1}, step {int(bad[0]) + 1} of {done}; "
                f"lower the learning rate (lr={training.lr:g}) or check the inputs."
            )
        require_finite(self.net, training, f"in epoch {epoch + 1}")
        require_lockstep(method, method.generator, f"in epoch {epoch + 1}")
        return {
            "epoch": epoch + 1,
            "seconds": time.perf_counter() - began,
            "loss": float(total) / max(done, 1),
            **{name: _mean(value, done) for name, value in sums.items()},
        }

    def _backward(self, loss: Tensor) -> None:
        """Gradients, cut to the length allowed; each optimizer's on their own, for players take turns."""
        loss.backward()
        if self.training.clip:
            for optimizer in self.optimizers:
                own = [parameter for group in optimizer.param_groups for parameter in group["params"]]
                nn.utils.clip_grad_norm_(own, self.training.clip)

    def _minibatches(self, train: Dataset, order: torch.Generator) -> Iterator[Batch]:
        method, training = self.method, self.training
        size = training.batch
        for pool in pools(train, size * training.pool, order, self.device, whole_only=training.drop_last):
            if train.views is not None and pool.index is not None:
                pool = dataclasses.replace(pool, x=train.viewed(pool.index, method.generator))
            if training.augment != "none":
                pool = dataclasses.replace(pool, x=method.context.augment(pool.x, method.generator))
            pool = method.on_pool(pool)
            for start, stop in _cuts(len(pool), size):
                yield pool[start:stop]

    def state(self, train: Dataset, given: Dataset, history: list[dict], best: dict) -> dict[str, Any]:
        """Everything a resumed run needs."""
        prepared = None
        if train is not given:
            prepared = {name: getattr(train, name) for name in COLUMNS}
        return {
            "method": self.method.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "average": self.average.state_dict() if self.average is not None else None,
            "history": history,
            "best": best,
            "train": prepared,
        }

    def restore(self, state: dict[str, Any], given: Dataset) -> tuple[Dataset, list[dict], dict]:
        """The reverse of ``state``: (training set, history, best so far)."""
        self.method.load_state_dict(state["method"])
        train = given if state["train"] is None else dataclasses.replace(given, **state["train"])
        self.start(train, resumed=True)
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        return train, list(state["history"]), state["best"]


def _mean(total: Tensor, batches: int) -> float:
    """Of what was logged in an epoch: a scalar over its batches, or a sum over its own count."""
    return float(total[0] / total[1] if total.ndim else total / batches)


def _factor(training: Training, done: float) -> float:
    """What the learning rates are multiplied by when this share of the run is done."""
    if training.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * done))
    if training.schedule == "linear":
        return 1 - done
    return training.gamma ** sum(done >= float(at) for at in training.milestones.split("-"))


def _moving_average(average: AveragedModel, net: nn.Module, decay: float) -> Callable[[], None]:
    """Exponential, and short at first: after ``n`` updates the decay is at most ``(1 + n) / (10 + n)``.

    Without that, the first weights would still weigh a third after as many updates as a small data set needs.

    Returns:
        An update: what ``average.update_parameters(net)`` would do, which looks all tensors up anew each time.
    """
    weights = [[weight.detach() for weight in of.parameters()] for of in (average.module, net)]
    counts = any(True for _ in net.buffers())

    @torch.no_grad()
    def update() -> None:
        n = average.n_averaged
        weight = float(((1 + n) / (10 + n)).clamp(max=decay)) if n else 0.0
        pairs = zip(*weights, strict=True)
        if counts:  # which, unlike weights, a layer may replace
            pairs = chain(pairs, zip(average.module.buffers(), net.buffers(), strict=True))
        for mean, one in pairs:
            if weight and mean.is_floating_point():
                torch.lerp(one, mean, weight, out=mean)
            else:  # the first time, and counters of batch normalisation
                mean.copy_(one)
        n += 1

    return update


def _cuts(n: int, size: int) -> list[tuple[int, int]]:
    """Slices of ``size``; a last one of a single sample joins the one before, for batch normalisation's sake."""
    edges = [*range(0, n, size), n]
    if size > 1 and len(edges) > 2 and n - edges[-2] == 1:
        del edges[-2]
    return list(pairwise(edges)) if n else []


def steps_per_epoch(n: int, training: Training) -> int:
    """Updates in one epoch over ``n`` samples.

    >>> steps_per_epoch(55_000, Training(batch=256, pool=4, drop_last=True))
    212
    """
    pool = training.batch * training.pool
    whole, rest = divmod(n, pool)
    alone = rest == 1 and training.batch > 1  # joins the last whole pool
    rest = 0 if whole and (training.drop_last or alone) else rest
    return whole * training.pool + len(_cuts(rest, training.batch))


def derived(seed: int, number: int) -> int:
    """A seed for one of many trainings with one seed."""
    return generator(seed, number, 5).initial_seed() % (1 << 62)


def reseed(seed: int, device: torch.device | str) -> None:
    """``torch.manual_seed`` for the devices in use alone; the whole costs as much as a small epoch on the CPU."""
    torch.default_generator.manual_seed(seed)
    if torch.device(device).type == "cuda":
        torch.cuda.manual_seed(seed)
