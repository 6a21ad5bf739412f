"""What ``verbose`` prints: how far training is, how well it goes, and how long it will take."""

from __future__ import annotations

import time

from longcut.context import Epoch, Observer
from longcut.methods import Method

__all__ = ["Told"]

LINES = 10  # of a whole training, unless every epoch is asked for


class Told(Observer):
    """Prints a line for the first epoch and each tenth of them, or for every one.

    Args:
        verbose: 1, or 2 and more for every epoch.
        metric: what is judged on held-out rows, if anything is.
    """

    def __init__(self, verbose: int, metric: str = "") -> None:
        self.every = verbose > 1
        self.metric = metric
        self.began = time.perf_counter()

    def on_start(self, method: Method, epochs: int) -> None:
        self.began = time.perf_counter()

    def on_helper(self, done: int, total: int) -> None:
        if self._due(done, total):
            print(f"helper, epoch {done} of {total}", flush=True)

    def on_epoch(self, epoch: Epoch) -> None:
        done, total = epoch.epoch, epoch.epochs
        if not self._due(done, total):
            return
        took = time.perf_counter() - self.began
        said = f", {self.metric.replace('_', ' ')} {epoch.row['valid'][self.metric]:.3g}" if self.metric else ""
        left = took * (total - done) / done
        print(
            f"epoch {done} of {total}, loss {epoch.row['loss']:.4g}{said}; {took:.0f} s, {left:.0f} s left", flush=True
        )

    def _due(self, done: int, total: int) -> bool:
        return self.every or done in (1, total) or done * LINES // total > (done - 1) * LINES // total
