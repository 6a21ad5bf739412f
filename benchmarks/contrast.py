"""What contrast costs: our losses beside those of libraries, and a step of WCL beside one of SimCLR.

``python benchmarks/contrast.py`` alternates, on one thread, forward and backward of each loss on 2 x 256 projections of
128 numbers, and whole steps of the methods. A ratio is a time over that of our ``simclr``. Peers that do not import are
named; they want an environment of their own (``pip install --no-deps pytorch-metric-learning lightly lightly-utils
pytorch-lightning`` beside torch).
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import normalize

from longcut import contrast
from longcut.context import Context
from longcut.data import Batch, Dataset, generator
from longcut.methods import build
from longcut.training import Training

PAIRS, WIDTH = 256, 128
Loss = Callable[[Tensor], Tensor]


def losses() -> dict[str, Loss]:
    """Ours first, then those of the libraries that are there."""
    biased = torch.randn(2 * PAIRS, WIDTH, generator=generator(1))
    found: dict[str, Loss] = {
        "simclr": contrast.simclr_loss,
        "dcl": contrast.debiased_contrastive,
        "hcl": contrast.hard_contrastive,
        "wcl, weights and triplet": lambda z: (
            contrast.weighted_contrastive(z, contrast.difficulty_weight(z, biased)) + contrast.contrastive_triplet(z)
        ),
    }
    try:
        from lightly.loss.ntx_ent_loss import NTXentLoss as Lightly  # type: ignore[import-not-found]

        lightly = Lightly(temperature=0.5)
        found["lightly, NT-Xent"] = lambda z: lightly(z[:PAIRS], z[PAIRS:])
    except ImportError as error:
        print(f"lightly does not import: {error}", file=sys.stderr)
    try:
        from pytorch_metric_learning.losses import NTXentLoss, SelfSupervisedLoss  # type: ignore[import-not-found]

        metric = SelfSupervisedLoss(NTXentLoss(temperature=0.5))
        found["pytorch-metric-learning, NT-Xent"] = lambda z: metric(z[:PAIRS], z[PAIRS:])
    except ImportError as error:
        print(f"pytorch-metric-learning does not import: {error}", file=sys.stderr)
    return found


def steps(net: str, size: int) -> dict[str, Callable[[], object]]:
    """A step of each method on a batch of images."""
    data = Dataset.of(torch.rand(PAIRS, 3, size, size, generator=generator(0)), torch.arange(PAIRS) % 2, name="noise")
    found: dict[str, Callable[[], object]] = {}
    for name in ("simclr", "dcl", "hcl", "wcl"):
        method = build(name, data.info, net=net)
        method.on_epoch(Context(generator(0), data))
        optimizers = method.optimizers(Training())
        batch = Batch(data.x, data.label)
        found[name] = lambda m=method, o=optimizers, b=batch: m.step(b, o, lambda loss: loss.backward())
    return found


def ratios(works: dict[str, Callable[[], object]], rounds: int) -> dict[str, tuple[float, float]]:
    """Median milliseconds, and the median of the ratios to ``simclr``, round by round."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for number in range(rounds + 1):
        for name, work in works.items():
            began = time.perf_counter()
            work()
            if number:  # the first warms up
                times[name].append(time.perf_counter() - began)
    return {
        name: (
            1e3 * statistics.median(own),
            statistics.median(a / b for a, b in zip(own, times["simclr"], strict=True)),
        )
        for name, own in times.items()
    }


def main() -> None:
    """Print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="alternating measurements of each")
    parser.add_argument("--net", default="resnet18:width=8", help="of the steps")
    parser.add_argument("--size", type=int, default=32, help="of the images, in pixels")
    given = parser.parse_args()
    torch.set_num_threads(1)
    z = normalize(torch.randn(2 * PAIRS, WIDTH, generator=generator(0)))

    def both_ways(loss: Loss) -> Callable[[], object]:
        return lambda: torch.autograd.grad(loss(leaf := z.clone().requires_grad_()), leaf)

    works = {name: both_ways(loss) for name, loss in losses().items()}
    for title, found in (("loss", ratios(works, given.rounds)), ("step", ratios(steps(given.net, given.size), 5))):
        for name, (milliseconds, ratio) in found.items():
            print(f"{title}  {name:34s} {milliseconds:9.2f} ms   {ratio:8.2f} of simclr's")


if __name__ == "__main__":
    main()
