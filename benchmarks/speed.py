"""What longcut costs, as ratios made in one run: ``python benchmarks/speed.py [--json]``.

Each comparison alternates its two sides and reports the median of the ratios pair by pair, so a machine whose speed
drifts does not decide it; a row is printed as soon as it is known. One thread by default; seconds are those of the
processor, so that others who are at work do not count. Data: Colored MNIST where
its files are found, else coloured patterns of the same shape and size, which cost the same; nothing is downloaded.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch.nn import functional as F

from longcut import nets
from longcut.bias import ContrastiveBias
from longcut.context import calling
from longcut.data import Batch, Dataset, Splits, generator
from longcut.datasets import data_folder, load
from longcut.datasets.colored_mnist import CHECKSUMS
from longcut.datasets.planted import COLORS, TEN, plant
from longcut.fit import Fitted, Training, fit
from longcut.methods import METHODS, build
from longcut.methods.mixing.base import MixingMethod
from longcut.mixing import Partners
from longcut.predict import predict

SAMPLES = 55_000  # training images of Colored MNIST
FEW = 20 * 1024  # twenty pools of them
EPOCHS = 30  # of a usual run
NETS = {"mlp": "mlp", "resnet18": "resnet18:stem=imagenet,width=8"}  # of the rows on second phases
Row = tuple[str, dict[str, float]]


def colored_mnist(n: int) -> Splits:
    """So many training images, and a test set too small to count."""
    if all((data_folder("mnist") / file).exists() for file in CHECKSUMS):
        data = load("colored-mnist:ratio=0.005")
    else:
        known = patterns(n + 256)
        data = Splits(known.take(torch.arange(n)), None, known.take(torch.arange(n, n + 256)))
    return Splits(data.train.take(torch.arange(n)), None, data.test.take(torch.arange(256)))


def patterns(n: int) -> Dataset:
    """Ten patterns under noise, each in its own colour but for every two-hundredth image."""
    draw, label, odd = generator(0), torch.arange(n) % 10, torch.arange(0, n, 200)
    label[20:] = torch.randint(10, (n - 20,), generator=draw)
    attribute = plant(label, [(odd, len(odd))], draw)
    clean = torch.randint(0, 256, (10, 28, 28), dtype=torch.uint8, generator=draw)[label]
    noise = torch.randint(0, 256, clean.shape, dtype=torch.uint8, generator=draw)
    grey = torch.where(noise < 128, noise, clean)[:, None]
    color = torch.tensor(list(COLORS.values()), dtype=torch.uint8)[attribute, :, None, None]
    return Dataset.of(torch.where(grey > 100, color, grey), label, attribute, name="patterns", **TEN)


Run = Callable[..., Fitted]


def seconds(work: Callable[[], object]) -> float:
    """Of the processor, of one call."""
    start = time.process_time()
    work()
    return time.process_time() - start


def trained(work: Run) -> float:
    """Seconds of a run's own epochs, without what came before them: the helper of a two-phase method."""
    began = [0.0]
    work(observers=[calling(on_start=lambda *_: began.append(time.process_time()))])  # a helper has other observers
    return time.process_time() - began[-1]


def ratio(
    one: Callable[[], Any], other: Callable[[], Any], pairs: int, measure: Callable[[Any], float] = seconds
) -> dict[str, float]:
    """Median, smallest and largest of ``one / other`` over alternating calls, after a warm-up of each."""
    one(), other()
    ratios = [measure(one) / measure(other) for _ in range(pairs)]
    return {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)}


def run_of(method: str, data: Splits, epochs: int = 2, net: str = "mlp", **options: object) -> Run:
    """A run of a method with its default settings, evaluated once at the end."""
    own = METHODS[method].training_defaults
    training = Training(**{"epochs": epochs, "lr": 1e-3, "every": epochs, **own})
    return lambda **watched: fit(build(method, data.info, net=net, options=options), data, training, **watched)


def two_phases(data: Splits, pairs: int) -> Iterator[Row]:
    """What watching a net costs it, and what the second phase of each method costs beside ``erm``."""
    small = replace(data, train=data.train.take(torch.arange(min(4096, len(data.train)))))
    for name, net in NETS.items():
        some = data if name == "mlp" else small
        erm = run_of("erm", some, net=net)
        for record in ("online", "evaluated"):
            watched = run_of("erm", some, net=net, record=record)
            yield f"erm, record={record} / erm, {name}", ratio(watched, erm, pairs, trained)
        helper, mixed = {"helper_epochs": 1, "helper_lr": 1e-4}, ("input", "early", "output", "random")
        methods: list[tuple[str, dict[str, Any]]] = [
            ("jtt", {"identify": "oracle"}),  # its errors weigh as much as the others: an epoch is twice as long
            *(("jm1", {"level": level, "partners": "data", **helper}) for level in mixed),
            *(("jm1", {"level": level, "partners": "batch", **helper}) for level in mixed),
            ("umix", helper),
        ]
        for method, options in methods:
            own = {"data": "", "batch": ", partners=batch"}[options.get("partners", "data")]
            what = f"{method} {options.get('level', '')}".strip() + own
            second = run_of(method, some, net=net, **options)
            yield f"{what}, second phase / erm, {name}", ratio(second, erm, pairs, trained)


def partner_search(data: Splits, times: int, **options: Any) -> dict[str, float]:
    """The part of an epoch's time that ``selecmix`` spends on drawing partners, once its biased model is frozen."""

    def part() -> float:
        training = Training(**{"epochs": 6, "lr": 1e-3, "every": 6, **METHODS["selecmix"].training_defaults})
        method = build("selecmix", data.info, net="mlp", options=options)
        assert isinstance(method, MixingMethod)
        draw, spent, marks = method.draw, [0.0], [0.0]

        def timed(pool: Batch, level: int, *mode: Any) -> Partners:
            start = time.process_time()
            try:
                return draw(pool, level, *mode)
            finally:
                spent[0] += time.process_time() - start

        method.draw = timed
        ends = [0.0]

        def mark(_: Any) -> None:
            marks.append(spent[0])
            ends.append(time.process_time())

        fit(method, data, training, observers=[calling(on_epoch=mark)])
        return (marks[6] - marks[4]) / (ends[6] - ends[4])

    shares = [part() for _ in range(times)]
    return {"median": statistics.median(shares), "min": min(shares), "max": max(shares)}


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


def judging(n: int) -> tuple[Callable[[], object], Callable[[], object]]:
    """A small convolutional net on ``n`` images of 72 pixels: all at once, and as it comes."""
    photos = Dataset.of(torch.zeros(n, 3, 72, 72, dtype=torch.uint8), torch.arange(n) % 2)
    net = nets.build("conv", photos.info)
    return partial(predict, net, photos, size=n), partial(predict, net, photos)


def rows(samples: int, pairs: int) -> Iterator[Row]:
    """Each ratio with its name, as it is measured."""
    whole = colored_mnist(samples)
    data = replace(whole, train=whole.train.take(torch.arange(min(FEW, samples))))
    bare = replace(data, test=data.test.take(torch.arange(2)))
    erm, few = run_of("erm", data), min(pairs, 3)
    yield "fit(erm) / barest loop", ratio(run_of("erm", bare), barest_loop(data), pairs)
    both = run_of("selecmix", whole, EPOCHS), run_of("erm", whole, EPOCHS)
    yield f"selecmix / erm, a usual run of {EPOCHS} epochs", ratio(*both, 1)
    # 960 updates, where a usual run has 6,450, so the biased model learns for a larger part of it
    yield "selecmix / erm, twelve epochs", ratio(run_of("selecmix", data, 12), run_of("erm", data, 12), few)
    yield "selecmix while its biased model learns / erm", ratio(run_of("selecmix", data), erm, pairs)
    yield "selecmix, known attribute / erm", ratio(run_of("selecmix", data, pairs="attribute"), erm, pairs)
    search = f"partner search over {samples:,} samples"
    yield f"{search} / a step", partner_search(whole, few)
    among_all = {"pairs": "learned", "candidates": 1.0}  # by default nobody is compared with anybody
    yield f"{search}, pairs=learned / a step", partner_search(whole, few, **among_all)
    yield "lff / erm", ratio(run_of("lff", data), erm, pairs)
    steps = auxiliary_step("resnet18", data, 64), auxiliary_step("tiny", data, 64)
    yield "biased model: resnet18 / tiny, one update of 64", ratio(*steps, few)
    yield "photographs judged 1,024 at a time / as it comes", ratio(*judging(min(1024, samples)), few)
    yield from two_phases(data, pairs)


def main(arguments: list[str] | None = None) -> None:
    """Print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=7, help="alternating measurements of each ratio")
    parser.add_argument("--samples", type=int, default=SAMPLES, help=f"training images; most rows take {FEW}")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="all at the end, as JSON; the rows go to stderr")
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    results = {}
    for name, row in rows(given.samples, given.pairs):
        results[name] = row
        line = f"{name:56s} {row['median']:8.2f}   ({row['min']:.2f} to {row['max']:.2f})"
        print(line, file=sys.stderr if given.json else sys.stdout, flush=True)
    if given.json:
        print(json.dumps({"torch": torch.__version__, "threads": given.threads, "ratios": results}, indent=1))


if __name__ == "__main__":
    main()
