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
from typing import Any

import torch
from torch.nn import functional as F

from longcut import nets
from longcut.bias import ContrastiveBias
from longcut.data import Dataset, Splits
from longcut.datasets import load
from longcut.errors import UserError
from longcut.fit import Fitted, Training, fit
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


def trained(work: Callable[[], Fitted]) -> float:
    """Seconds of a run's own epochs, without what came before them: the helper of a two-phase method."""
    return sum(row["seconds"] for row in work().history)


def ratio(
    one: Callable[[], Any], other: Callable[[], Any], pairs: int, measure: Callable[[Any], float] = seconds
) -> dict[str, float]:
    """Median, smallest and largest of ``one / other`` over alternating calls, after a warm-up of each."""
    one(), other()
    ratios = [measure(one) / measure(other) for _ in range(pairs)]
    return {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)}


def run_of(method: str, data: Splits, epochs: int = 2, net: str = "mlp", **options: object) -> Callable[[], Fitted]:
    """A run of a method with its default settings, evaluated once at the end."""
    own = METHODS[method].training_defaults
    training = Training(**{"epochs": epochs, "lr": 1e-3, "every": epochs, **own})
    return lambda: fit(build(method, data.info, net=net, options=options), data, training)


def two_phases(data: Splits, pairs: int) -> dict[str, dict[str, float]]:
    """What watching a net costs it, and what the second phase of each method costs beside ``erm``."""
    small = replace(data, train=data.train.take(torch.arange(4096)))
    results = {}
    for name, net, some in (("mlp", "mlp", data), ("resnet18", "resnet18:stem=imagenet,width=8", small)):
        erm = run_of("erm", some, net=net)
        for record in ("online", "evaluated"):
            watched = run_of("erm", some, net=net, record=record)
            results[f"erm, record={record} / erm, {name}"] = ratio(watched, erm, pairs, trained)
        helper = {"helper_epochs": 1, "helper_lr": 1e-4}
        methods: list[tuple[str, dict[str, Any]]] = [
            ("jtt", {"identify": "oracle"}),  # its errors weigh as much as the others: an epoch is twice as long
            *(("jm1", {"level": level, **helper}) for level in ("input", "early", "output", "random")),
            ("umix", helper),
        ]
        for method, options in methods:
            what = f"{method} {options.get('level', '')}".strip()
            second = run_of(method, some, net=net, **options)
            results[f"{what}, second phase / erm, {name}"] = ratio(second, erm, pairs, trained)
    return results


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
        **two_phases(data, arguments.pairs),
    }
    if arguments.json:
        print(json.dumps({"torch": torch.__version__, "threads": arguments.threads, "ratios": results}, indent=1))
        return
    for name, row in results.items():
        print(f"{name:48s} {row['median']:8.2f}   ({row['min']:.2f} to {row['max']:.2f})")


if __name__ == "__main__":
    main()
