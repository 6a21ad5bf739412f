"""What a step costs by one process and by two, what they send each other, and what methods keep of each sample.

``python benchmarks/scale.py`` measures on this machine: CPU time of a step of ``erm`` for some nets and batches, in
each process, so that other work on the machine counts for little; the messages and bytes that one process hands over in
a step, counted; and what a message costs. The model of docs/scale.md, which knows the steps of one process and the
messages alone, is held against the steps of two. Last, what an epoch costs before its first step.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from longcut import Dataset, Splits, Training, fit
from longcut.context import calling
from longcut.data import Info, balance, generator
from longcut.methods import METHODS, build
from longcut.parallel import Team
from longcut.parallel.launch import together

CASES = {"mlp:hidden=1024-1024": (784,), "conv:width=16": (3, 24, 24)}
BATCHES = (64, 128, 256, 512)
STEPS, EPOCHS = 4, 6  # of each measurement; the epoch that took least counts
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
    """CPU seconds of a step in this process, and what it sends."""
    splits, count, ends = data(shape, STEPS * batch), Counter[str](), list[float]()
    with pytest.MonkeyPatch.context() as patch:
        sent(count, patch)
        training = Training(epochs=EPOCHS, batch=batch, every=EPOCHS)
        clock = calling(on_trained=lambda method: ends.append(time.process_time()))
        fit(build("erm", splits.info, net=net), splits, training, observers=[clock])
    each = Counter({name: round(number / (STEPS * EPOCHS)) for name, number in count.items()})
    return min(stop - start for start, stop in pairwise(ends)) / STEPS, each


def message(size: int) -> tuple[float, float]:
    """Seconds, and CPU seconds of this process, for the sum of so many numbers: the least of some."""
    from longcut.parallel.team import TEAM  # of the process, and not copied with this function

    team, part, found = TEAM.get(), torch.ones(size), []
    assert team is not None
    for _ in range(30):
        began = time.perf_counter(), time.process_time()
        team.total(part)
        found.append((time.perf_counter() - began[0], time.process_time() - began[1]))
    seconds, busy = zip(*found, strict=True)
    return min(seconds), min(busy)


def everything() -> tuple[dict[tuple[str, int], tuple[float, Counter[str]]], dict[int, tuple[float, float]]]:
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


def order_seconds(n: int) -> dict[str, float]:
    """CPU seconds of an epoch's order of samples, and of drawing as many of each group."""
    label = torch.arange(n) % 2
    rows, found = Dataset.of(torch.zeros(n, 1), label, torch.arange(n) % 3 // 2, name="rows"), {}
    for name, draw in {
        "order": lambda: torch.randperm(n, generator=generator(0)),
        "balance": lambda: balance(rows, "group", generator(0)),
    }.items():
        began = time.process_time()
        draw()
        found[name] = time.process_time() - began
    return found


def main() -> None:
    torch.set_num_threads(1)
    alone = {(net, batch): steps(net, shape, batch)[0] for net, shape in CASES.items() for batch in BATCHES}
    with together(2, "cpu", everything):
        both, messages = everything()
    sizes = [4 * size for size in messages]
    waiting, busy = (line(sizes, costs) for costs in zip(*messages.values(), strict=True))
    for name, (start, per_byte) in (("waits", waiting), ("computes", busy)):
        print(f"a process {name} {1e3 * start:.2f} ms for a message and {1e9 * per_byte:.2f} s for a GB")
    print("\n| net | batch | one, ms | two, ms each | model, ms | messages | summed, kB | gathered, kB |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for net in CASES:
        fixed, per_row = line(BATCHES, [alone[net, batch] for batch in BATCHES])
        for batch in BATCHES[1:]:
            two, count = both[net, batch]
            sums, rows = count["total bytes"], count["gather bytes"]
            number = count["total messages"] + count["gather messages"]
            model = alone[net, batch // 2] + number * busy[0] + (sums + rows) * busy[1]
            cells = [f"{1e3 * seconds:.1f}" for seconds in (alone[net, batch], two, model)]
            print(
                "|",
                " | ".join([f"`{net}`", str(batch), *cells, str(number), f"{sums / 1e3:.1f}", f"{rows / 1e3:.1f}"]),
                "|",
            )
        print(f"{net}: {1e3 * fixed:.2f} ms and {1e6 * per_row:.1f} µs a row\n")
    for spec in KEEPING:
        print(f"{spec}: {bytes_per_sample(spec):g} bytes a sample")

    for n in (1_000_000, 10_000_000):
        for name, seconds in order_seconds(n).items():
            print(f"{name} of {n:,}: {1e9 * seconds / n:.0f} ns a sample")


if __name__ == "__main__":
    main()
