"""Cheaper arithmetic for the same training, and what it gains: ``python benchmarks/gpu/fast.py [--device cuda]``.

Three ways, each alone or together: ``bf16`` computes networks in bfloat16 and everything behind their outputs (losses,
similarities, memories) in float32; ``channels-last`` stores images as the GPU's convolutions want them; ``compile``
compiles the networks. Each is compared with plain training in one run: seconds per epoch as a ratio, alternating, and
the test accuracy of a short run over several seeds, which should not move by more than its spread.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from longcut import execute
from longcut.datasets import load
from longcut.errors import UserError
from longcut.fit import fit
from longcut.methods import Method, build
from longcut.nets import Net
from longcut.plans import plan
from longcut.record import Plan

WAYS = ("bf16", "channels-last", "compile")


class HalfNet(Net):
    """A net whose layers compute in bfloat16 and whose outputs are float32."""

    def features(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, torch.bfloat16):
            return super().features(x).float()

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, torch.bfloat16):
            return super().forward(x).float()


def ways_of(text: str) -> tuple[str, ...]:
    """``"bf16,channels-last"`` to its parts, in their order above; empty for plain."""
    given = set(filter(None, text.split(",")))
    if wrong := given - set(WAYS):
        raise UserError(f"way {min(wrong)} is not known; join some of {', '.join(WAYS)} by commas.")
    return tuple(way for way in WAYS if way in given)


def faster(method: Method, ways: Iterable[str]) -> Method:
    """The method, with its networks changed in place; weights are what they were."""
    nets = [module for module in method.modules() if type(module) is Net]
    if "bf16" in ways:
        for net in nets:
            net.__class__ = HalfNet  # the class, so that copies of the net (weight averaging) compute alike
    if "channels-last" in ways:
        method.to(memory_format=torch.channels_last)
    if "compile" in ways:
        for net in nets:
            net.compile()
    return method


@contextlib.contextmanager
def all_faster(ways: Iterable[str]) -> Iterator[None]:
    """For the time of a ``with``: methods that :func:`longcut.execute.execute` builds compute in these ways."""
    plain = execute.build
    execute.build = lambda *given, **more: faster(plain(*given, **more), ways)
    try:
        yield
    finally:
        execute.build = plain


def measured(one: Plan, ways: Sequence[str], device: str) -> tuple[float, float]:
    """Seconds of the fastest epoch but the first, which compiles and warms up, and the test accuracy at the end."""
    splits = load(one.data, one.data_seed)
    method = faster(build(one.method, splits.info, net=one.net, options=one.options, seed=one.seed), ways)
    history = fit(method, splits, one.training, seed=one.seed, device=device).history
    return min(row["seconds"] for row in history[1:] or history), history[-1]["test"]["average"]


def compared(data: str, method: str, settings: dict[str, Any], seeds: int, device: str) -> dict[str, dict[str, Any]]:
    """By way: ``ratio`` of seconds per epoch to plain (median over seeds), ``accuracy`` and ``plain`` by seed."""
    found: dict[str, dict[str, Any]] = {}
    for ways in [(way,) for way in WAYS] + [WAYS]:
        pairs = []
        try:
            for seed in range(seeds):
                one = plan(data, method, settings=settings, seed=seed)
                pairs.append((measured(one, (), device), measured(one, ways, device)))
        except Exception as error:  # a compiler that is not there must not hide the other rows
            found["+".join(ways)] = {"failed": f"{type(error).__name__}: {str(error).splitlines()[0]}"}
            continue
        found["+".join(ways)] = {
            "ratio": statistics.median(fast[0] / plain[0] for plain, fast in pairs),
            "plain": [plain[1] for plain, _ in pairs],
            "accuracy": [fast[1] for _, fast in pairs],
        }
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="corrupted-cifar10:ratio=0.01")
    parser.add_argument("--method", default="selecmix@released:auxiliary=resnet18")
    parser.add_argument("--net", default="resnet18:stem=imagenet,inputs=cifar")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    began = time.perf_counter()
    settings = {"net": given.net, "epochs": given.epochs}
    found = compared(given.data, given.method, settings, given.seeds, given.device)
    if given.json:
        print(json.dumps({"torch": torch.__version__, "device": given.device, "ways": found}, indent=1))
        return
    for way, row in found.items():
        if "failed" in row:
            print(f"{way:30s} not possible here: {row['failed']}")
            continue
        accuracy, plain = (100 * statistics.fmean(row[key]) for key in ("accuracy", "plain"))
        spread = 100 * statistics.stdev(row["plain"]) if len(row["plain"]) > 1 else float("nan")
        print(
            f"{way:30s} {row['ratio']:6.2f} of plain's time   accuracy {accuracy:.2f}, plain {plain:.2f} ± {spread:.2f}"
        )
    print(f"{given.epochs} epochs, {given.seeds} seeds, last epoch, {time.perf_counter() - began:.0f} s in all")


if __name__ == "__main__":
    main()
