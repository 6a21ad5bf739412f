"""The points of ``benchmarks/growth.py``: what is done to the data, and seconds and peak memory of it.

A point is a child of this process, which has imported everything, so that neither imports nor what came before count.
"""

from __future__ import annotations

import json
import multiprocessing
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch._dynamo  # at an optimizer's first step

import longcut.audit as audits
from longcut.data import Dataset, Splits
from longcut.evaluate import sample_values, scores
from longcut.fit import Training, fit
from longcut.methods import build

Work = Callable[[Dataset], object]


def opened(folder: Path) -> Dataset:
    """The data, its inputs mapped from their file."""
    x, label, attribute = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("x", "label", "attribute"))
    classes, attributes = json.loads((folder / "sizes.json").read_text())
    return Dataset.of(
        x, label, attribute, n_classes=classes, n_attributes=attributes, aligned=usual(classes, attributes)
    )


def usual(classes: int, attributes: int) -> tuple[int, ...]:
    """The attribute value that goes with each class."""
    return tuple(c % attributes for c in range(classes))


def trained(method: str, epochs: int = 1, **options: Any) -> Work:
    """Epochs of a method on a linear net, judged on a thousand samples."""

    def work(data: Dataset) -> object:
        held = data.take(torch.arange(min(1000, len(data))))
        built = build(method, data.info, net="linear", options=options)
        own = {**built.training_defaults, "epochs": epochs, "batch": 1024}
        return fit(built, Splits(data, None, held), Training(**own))

    return work


def audited(limit: int | None) -> Work:
    """An audit of all samples, or of so many of them."""

    def work(data: Dataset) -> object:
        return audits.audit(data, limit=len(data) if limit is None else limit)

    return work


def judged(data: Dataset) -> object:
    """All metrics and groups with intervals, of outputs of one number for each class."""
    outputs = torch.nn.functional.one_hot(data.label, data.info.n_classes).float()
    outputs += torch.randn(outputs.shape, generator=torch.Generator().manual_seed(0))
    return scores(sample_values(outputs, data), data, outputs=outputs, draws=100)


WORKS: dict[str, Work] = {
    "opened": lambda data: data,
    "erm": trained("erm"),
    "lff": trained("lff", 2),  # from the second epoch on, averages fall
    "group-dro": trained("group-dro"),
    "selecmix": trained("selecmix"),
    "audit": audited(None),
    "audit, default": audited(20_000),
    "scores": judged,
}


class Watch:
    """The most memory that is a process's own, looked at every 20 ms; pages of a mapped file are not."""

    def __init__(self) -> None:
        self.peak, self._over = 0, threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        while not self._over.wait(0.02):
            self.peak = max(self.peak, status("RssAnon"))

    def ended(self) -> int:
        """Bytes."""
        self._over.set()
        self._thread.join()
        return max(self.peak, status("RssAnon"))


def status(what: str) -> int:
    """Bytes of a row of what the system tells of this process; what Linux alone does."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{what}:"))


def measured(name: str, folder: Path) -> dict[str, float]:
    """Seconds of the processor for opening and the work, and the peaks of the whole process in bytes."""
    few = Dataset.of(torch.rand(64, 2), torch.arange(64) % 2)
    trained("erm")(few)  # what is made ready at the first use is no cost of the data's
    watch, began = Watch(), time.process_time()
    _kept = WORKS[name](opened(folder))  # until the last look, which nothing makes too late
    seconds, own = time.process_time() - began, watch.ended()
    return {"seconds": seconds, "peak": status("VmHWM"), "own": own}


def apart(function: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    """What a function returns in a child of this process; or why it did not."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(False)
    child = context.Process(target=_sent, args=(sender, function, arguments))
    child.start()
    sender.close()
    try:
        found = receiver.recv()
    except EOFError:
        found = None
    child.join()
    return found or {"why": f"ended with {child.exitcode}"}


def _sent(sender: Any, function: Callable[..., dict[str, Any]], arguments: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    try:
        found = function(*arguments)
    except Exception as error:
        found = {"why": f"{type(error).__name__}: {error}"}
    sender.send(found)
