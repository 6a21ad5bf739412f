"""What longcut costs, as ratios made in one run: ``python benchmarks/speed.py [--json]``.

Each comparison alternates its two sides and reports the median of the ratios pair by pair, so a machine whose speed
drifts does not decide it. One thread by default. Data: the tensors of Colored MNIST where it is found, else noise of
the same shape and size, which costs the same.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import torch
from torch.nn import functional as F

from longcut import nets
from longcut.bias import ContrastiveBias
from longcut.data import Dataset, Splits
from longcut.datasets import load
from longcut.errors import UserError
from longcut.fit import Training, fit
from longcut.methods import METHODS, build

SAMPLES = 20 * 1024


def colored_mnist() -> Splits:
    """Twenty pools of training data, and a test set too small to count."""
    try:
        data = load("colored-mnist:ratio=0.005")
    except UserError:
        x = torch.randint(0, 256, (60_000, 3, 28, 28), dtype=torch.uint8)
        label = torch.arange(60_000) % 10
        noise = Dataset.of(x, label, label.clone(), name="noise", aligned=tuple(range(10)))
        data = Splits(noise, None, noise)
    return Splits(data.train.take(torch.arange(SAMPLES)), None, data.test.take(torch.arange(256)))


def seconds(work: Callable[[], object]) -> float:
    """Wall seconds of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def ratio(one: Callable[[], object], other: Callable[[], object], pairs: int) -> dict[str, float]:
    """Median, smallest and largest of ``one / other`` over alternating calls, after a warm-up of each."""
    one(), other()
    ratios = [seconds(one) / seconds(other) for _ in range(pairs)]
    return {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)}


def run_of(method: str, data: Splits, epochs: int = 2, **options: object) -> Callable[[], object]:
    """A run of a method with its default settings, evaluated once at the end."""
    own = METHODS[method].training_defaults
    training = Training(**{"epochs": epochs, "lr": 1e-3, "every": epochs, **own})
    return lambda: fit(build(method, data.info, options=options), data, training)


def barest_loop(data: Splits) -> Callable[[], object]:
    """The same net, tensors, batches and optimizer in the shortest PyTorch loop."""
    x, label = data.train.x, data.train.label
    index = data.train.index

    def run() -> None:
        torch.manual_seed(0)
        net = nets.build("mlp", data.info)
        optimizer = torch.optim.Adam(net.parameters(), 1e-3, fused=True)
        for _ in range(2):
            for rows in torch.randperm(len(index)).split(256):
                loss = F.cross_entropy(net(x[index[rows]].float().div_(255)), label[rows])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()

    return run


def auxiliary_step(spec: str, data: Splits, n: int) -> Callable[[], object]:
    """Forward, contrastive loss, backward and update of a bias model on ``n`` samples."""
    bias = ContrastiveBias(nets.build(spec, data.info, 128), data.info, 128)
    optimizer = torch.optim.Adam(bias.net.parameters(), 1e-3, fused=True)
    batch = data.train.batch(torch.arange(n))

    def step() -> None:
        optimizer.zero_grad()
        bias.loss(bias.embed(batch.x), batch.label).backward()
        optimizer.step()

    return step


def main() -> None:
    """Print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=7, help="alternating measurements of each ratio")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    data = colored_mnist()
    bare = replace(data, test=data.test.take(torch.arange(2)))
    erm = run_of("erm", data)
    results = {
        "fit(erm) / barest loop": ratio(run_of("erm", bare), barest_loop(data), arguments.pairs),
        # 960 updates; a default run on Colored MNIST has 6,450, so its biased model learns for a smaller part of it
        "selecmix / erm, twelve epochs": ratio(run_of("selecmix", data, 12), run_of("erm", data, 12), 3),
        "selecmix while its biased model learns / erm": ratio(run_of("selecmix", data), erm, arguments.pairs),
        "selecmix, known attribute / erm": ratio(run_of("selecmix", data, pairs="attribute"), erm, arguments.pairs),
        "lff / erm": ratio(run_of("lff", data), erm, arguments.pairs),
        "biased model: resnet18 / tiny, one update of 64": ratio(
            auxiliary_step("resnet18", data, 64), auxiliary_step("tiny", data, 64), 3
        ),
    }
    if arguments.json:
        print(json.dumps({"torch": torch.__version__, "threads": arguments.threads, "ratios": results}, indent=1))
        return
    for name, row in results.items():
        print(f"{name:48s} {row['median']:8.2f}   ({row['min']:.2f} to {row['max']:.2f})")


if __name__ == "__main__":
    main()
