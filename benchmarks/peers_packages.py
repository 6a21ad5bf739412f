"""The pieces of packages, measured in this process: ``python benchmarks/peers_packages.py timm``, a row a line.

``benchmarks/peers.py`` calls it in an environment that has the packages.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from peers_pieces import PACKAGES, Piece, torchvision_declared

SHORTEST = 0.01  # seconds of one measurement: what takes less is done several times in it


def seconds(work: Callable[[], Any], times: int) -> float:
    """Seconds of the processor for one call, mean over so many; all runs on one thread, and others may be at work."""
    began = time.process_time()
    for _ in range(times):
        work()
    return (time.process_time() - began) / times


def measured(piece: Piece, pairs: int, shortest: float = SHORTEST) -> dict[str, Any]:
    """Both sides in turns after a warm-up of each; ``ratio`` is the peer's time over ours, pair by pair."""
    for work in (piece.ours, piece.theirs):
        work()
    times = max(1, round(shortest / max(seconds(piece.ours, 1), seconds(piece.theirs, 1), 1e-9)))
    own, other = [], []
    for _ in range(pairs):
        own.append(seconds(piece.ours, times))
        other.append(seconds(piece.theirs, times))
    ratios = sorted(b / a for a, b in zip(own, other, strict=True))
    return {
        "what": piece.what,
        "ours_ms": 1e3 * statistics.median(own),
        "theirs_ms": 1e3 * statistics.median(other),
        "ratio": statistics.median(ratios),
        "low": ratios[0],
        "high": ratios[-1],
        "gap": None if piece.gap is None else piece.gap(),
        "about": piece.about,
    }


def rows(package: str, pairs: int, small: bool, shortest: float = SHORTEST) -> Iterator[dict[str, Any]]:
    """A row for each piece; one that says why, where the package does not import."""
    make, _ = PACKAGES[package]
    try:
        torchvision_declared()  # others import it where it is installed
        for piece in make(small):
            yield {"peer": package, **measured(piece, pairs, shortest)}
    except (ImportError, RuntimeError) as error:  # a compiled part that does not fit torch is a RuntimeError
        yield {"peer": package, "why": f"{type(error).__name__}: {error}".splitlines()[0]}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("packages", nargs="+", choices=PACKAGES)
    parser.add_argument("--pairs", type=int, default=9, help="alternating measurements of each piece")
    parser.add_argument("--small", action="store_true", help="tiny tensors: whether it runs, not how fast")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # of the peers
    for package in given.packages:
        for row in rows(package, given.pairs, given.small, 0.0 if given.small else SHORTEST):
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
