"""What some known attributes are worth, and what is gained by guessing the others, on embeddings.

``python benchmarks/partial.py FILE.npz`` reads arrays ``x``, ``label``, ``attribute`` and ``split``. A linear net is
trained for ten epochs (batches of 64, a learning rate of 0.001 that falls to 0 by a cosine), and its last epoch is
judged on the test set. ``--table known`` tells methods the attribute of some training samples, drawn at random, the
others being unknown (``none``) or guessed (``spread``). ``--table held`` has the last-layer methods that need none.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from longcut import Splits, Training, fit, load
from longcut.data import generator
from longcut.datasets.spread import guess_attribute
from longcut.evaluate import metrics, sample_values
from longcut.methods import build
from longcut.predict import predict

HOW = Training(epochs=10, batch=64, lr=1e-3, schedule="cosine")
TOLD = {"resample": {"by": "group"}, "reweight": {"by": "group"}, "group-dro": {}}
DFR = {"penalties": "0.3-0.1", "subsamples": 5}
HELD: Sequence[tuple[str, Mapping[str, Any]]] = (
    ("erm", {}),
    ("resample", {}),
    ("afr", {}),
    *(("evals", {"held_from": held}) for held in ("valid", "train")),
    *(("neurontune", {"held_from": held, "classes": c}) for held in ("valid", "train") for c in ("all", "any")),
    ("neurontune", {"tune_on": "held"}),
    ("dfr", DFR),
)


def forgotten(splits: Splits, known: int, seed: int) -> Splits:
    """The attribute is known of so many training samples, drawn at random."""
    train = splits.train
    assert train.attribute is not None
    attribute = torch.full_like(train.attribute, -1)
    rows = torch.randperm(len(train), generator=generator(seed, 99))[:known]
    attribute[rows] = train.attribute[rows]
    info = dataclasses.replace(train.info, partial=known < len(train))
    return dataclasses.replace(splits, train=dataclasses.replace(train, attribute=attribute, info=info))


def judged(splits: Splits, method: str, options: Mapping[str, Any], seed: int) -> tuple[float, float]:
    """Worst-group and train-weighted accuracy on the test set, in percent."""
    fitted = fit(build(method, splits.info, net="linear", options=options, seed=seed), splits, HOW, seed=seed)
    outputs = predict(fitted.method, splits.test)
    found = metrics(sample_values(outputs, splits.test), splits.test, splits.train)
    return 100 * found["worst_group"], 100 * found["train_weighted"]


def line(name: str, found: Sequence[tuple[float, float]]) -> str:
    """Mean and deviation over seeds."""
    worst = [one for one, _ in found]
    spread = f" ± {statistics.stdev(worst):.1f}" if len(worst) > 1 else ""
    return f"| {name} | {statistics.mean(worst):.1f}{spread} | {statistics.mean(other for _, other in found):.1f} |"


def known(splits: Splits, numbers: Sequence[int], seeds: int) -> Iterator[str]:
    """The rows of the table of known attributes."""
    for number in numbers:
        some = [forgotten(splits, number, seed) for seed in range(seeds)]
        guesses = [guess_attribute(one.train, seed=seed) for seed, one in enumerate(some)]
        full = [dataclasses.replace(one, train=guess.data) for one, guess in zip(some, guesses, strict=True)]
        yield f"| {number} known: cross-fitted {100 * statistics.mean(guess.accuracy for guess in guesses):.0f} % | | |"
        for method, options in TOLD.items():
            for how, data in (("none", some), ("spread", full)):
                found = [judged(one, method, options, seed) for seed, one in enumerate(data)]
                yield line(f"{number} · {method} · {how}", found)
        yield line(f"{number} · ssa", [judged(one, "ssa", {"helper_epochs": 5}, s) for s, one in enumerate(some)])
    for method, options in TOLD.items():
        yield line(f"all · {method}", [judged(splits, method, options, seed) for seed in range(seeds)])


def held(splits: Splits, seeds: int) -> Iterator[str]:
    """The rows of the table of last layers that are fitted on held-out samples."""
    for method, options in HELD:
        name = ", ".join([method, *(f"{key}={value}" for key, value in options.items() if method != "dfr")])
        yield line(name, [judged(splits, method, options, seed) for seed in range(seeds)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file")
    parser.add_argument("--table", choices=("known", "held"), default="known")
    parser.add_argument("--known", type=int, nargs="+", default=[100])
    parser.add_argument("--seeds", type=int, default=5)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    splits = load(f"arrays:path={asked.file},attribute=attribute,split=split")
    rows = known(splits, asked.known, asked.seeds) if asked.table == "known" else held(splits, asked.seeds)
    print("| | worst group | train-weighted |\n|---|---|---|", flush=True)
    for row in rows:
        print(row, flush=True)


if __name__ == "__main__":
    main()
