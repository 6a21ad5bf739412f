"""What a step costs by one process and by two, what they send each other, and what a billion samples would take.

``python benchmarks/scale.py`` measures on this machine: seconds of a step of ``erm`` for some nets and batches, the
messages and bytes that one process hands over in it (counted, not estimated), what a message costs, and what methods
keep of each sample. The model of docs/scale.md is fitted to the steps of one process and to the messages alone, and
held against the steps of two.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from longcut import Dataset, Splits, Training, fit
from longcut.data import Info, generator
from longcut.methods import METHODS, build
from longcut.parallel import Team
from longcut.parallel.launch import together

CASES = {"mlp:hidden=1024-1024": (784,), "conv:width=16": (3, 24, 24)}
BATCHES = (128, 256, 512)
STEPS, EPOCHS = 4, 5  # of each measurement; the fastest epoch counts, for the machine has other work
SIZES = (1, 1_000, 100_000, 1_000_000, 4_000_000)  # numbers in a message
KEEPING = ("erm", "group-dro", "jtt", "lff", "selecmix", "selecmix:pairs=learned", "wcl")


def data(shape: tuple[int, ...], n: int) -> Splits:
    x = torch.randint(0, 255, (n, *shape), generator=generator(0), dtype=torch.uint8)
    made = Dataset.of(x if len(shape) > 1 else x.float(), torch.arange(n) % 10, name="noise")
    return Splits(made, None, made.take(torch.arange(20)))


def sent(count: Counter[str], patch: pytest.MonkeyPatch) -> None:
    """From now on, ``count`` has the messages and bytes that this process hands over, by kind."""

    def counted(kind: str, function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def call(team: Team, part: Tensor, *told: Any) -> Tensor:
            count.update({f"{kind} messages": 1, f"{kind} bytes": part.numel() * part.element_size()})
            return function(team, part, *told)

        return call

    for kind in ("total", "gather"):
        patch.setattr(Team, kind, counted(kind, getattr(Team, kind)))


def steps(net: str, shape: tuple[int, ...], batch: int) -> tuple[float, Counter[str]]:
    """Seconds of a step, and what is sent in it."""
    splits, count = data(shape, STEPS * batch), Counter[str]()
    with pytest.MonkeyPatch.context() as patch:
        sent(count, patch)
        training = Training(epochs=EPOCHS, batch=batch, every=EPOCHS)
        fitted = fit(build("erm", splits.info, net=net), splits, training)
    each = Counter({name: round(number / (STEPS * EPOCHS)) for name, number in count.items()})
    return min(row["seconds"] for row in fitted.history) / STEPS, each


def message(size: int) -> float:
    """Seconds for the sum of so many numbers, the fastest of some."""
    from longcut.parallel.team import TEAM  # of the process, and not copied with this function

    team, part, seconds = TEAM.get(), torch.ones(size), []
    assert team is not None
    for _ in range(30):
        began = time.perf_counter()
        team.total(part)
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def everything() -> tuple[dict[tuple[str, int], tuple[float, Counter[str]]], dict[int, float]]:
    """All that two processes do."""
    found = {(net, batch): steps(net, shape, batch) for net, shape in CASES.items() for batch in BATCHES}
    return found, {size: message(size) for size in SIZES}


def line(x: Any, y: Any) -> tuple[float, float]:
    """Where a straight line begins, and its slope; each point counts by how large it is."""
    slope, start = np.polyfit(x, y, 1, w=1 / np.asarray(y))
    return float(start), float(slope)


def bytes_per_sample(spec: str) -> float:
    """What a method's state grows by with each sample of the data, beside the data's own columns."""
    name, _, given = spec.partition(":")

    def size(n: int) -> int:
        info = Info("noise", (8,), 10, 2, n_stored=n, aligned=tuple(range(2)) * 5)
        method = build(METHODS[name], info, options=dict([given.split("=")] if given else []))
        return sum(buffer.numel() * buffer.element_size() for buffer in method.buffers())

    return (size(3000) - size(1000)) / 2000


def main() -> None:
    torch.set_num_threads(1)
    alone = {(net, batch): steps(net, shape, batch)[0] for net, shape in CASES.items() for batch in BATCHES}
    with together(2, "cpu", everything):
        both, messages = everything()
    latency, per_byte = line([4 * size for size in messages], list(messages.values()))
    latency = max(latency, min(messages.values()))
    print(f"a message: {1e3 * latency:.2f} ms and {1e-9 / per_byte:.2f} GB/s\n")
    print("| net | batch | one, ms | two, ms | model, ms | messages | gradients, kB | rows, kB |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for net in CASES:
        fixed, per_row = line(BATCHES, [alone[net, batch] for batch in BATCHES])
        for batch in BATCHES:
            two, count = both[net, batch]
            number = count["total messages"] + count["gather messages"]
            size = count["total bytes"] + count["gather bytes"]
            model = max(fixed, 0) + per_row * batch / 2 + number * latency + size * per_byte
            cells = [f"{1e3 * seconds:.1f}" for seconds in (alone[net, batch], two, model)]
            moved = [f"{count[kind] / 1e3:.1f}" for kind in ("total bytes", "gather bytes")]
            print("|", " | ".join([f"`{net}`", str(batch), *cells, str(number), *moved]), "|")
        print(f"| {net}: {1e3 * fixed:.2f} ms, and {1e6 * per_row:.1f} µs a row |")
    print()
    for spec in KEEPING:
        print(f"{spec}: {bytes_per_sample(spec):g} bytes a sample")


if __name__ == "__main__":
    main()
