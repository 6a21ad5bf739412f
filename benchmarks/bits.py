"""Hashes of the weights of short runs: a change of structure changes no bits.

Every method with its defaults, with each of its recipes and with some options that act only together, on images, a
table and token ids: ``python benchmarks/bits.py > bits.txt`` before a change and after it, then compare the two files.
A line is the run and the first 16 digits of a SHA-256 over all that the trained method holds, or the sentence by which
the method refuses the data.
"""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from longcut import Splits, Training, UserError, fit, load
from longcut.data import Dataset, generator
from longcut.methods import METHODS, build

QUICK = {"epochs": 2, "batch": 32, "pool": 2}
HELPER = {"helper_epochs": 2, "helper_lr": 1e-4}  # a helper that still errs
VARIANTS: dict[str, list[dict[str, Any]]] = {
    "mixup": [{"blend": "cut"}, {"blend": "keep-both"}, {"partner": "same-label"}, {"base": "lff"}],
    "resample": [{"by": "group"}, {"by": "group", "how": "subsample"}],
    "reweight": [{"by": "group"}, {"weights": "effective"}],
    "jtt": [{"identify": "oracle"}, {"record": "evaluated"}],
    "jm1": [
        {"identify": "oracle", "level": "input"},
        {"identify": "none", "conditional": False},
        {"level": "output", "sampler": "full"},
        {"blend": "keep-both", "record": "evaluated"},
    ],
    "group-jm1": [{"objective": "erm", "level": "output"}],
    "umix": [{"blend": "cut"}, {"level": "output", "sigma": 1.0}, {"count": "paper"}],
    "eiil": [{"cross": True}],
    "dfr": [{"fit_on": "train", "by": "class"}],
    "afr": [{"balanced": True}],
    "lisa": [{"mode": "A"}, {"mode": "B", "blend": "keep-both"}, {"balanced": True}, {"blend": "cut"}],
    "selecmix": [
        {"base": "lff"},
        {"base": "dfa"},
        {"base": "end", "pairs": "attribute", "partner": "first"},
        {"base": "rebias"},
        {"pairs": "attribute"},
        {"partners": "pool", "mode": "A"},
        {"blend": "keep-both", "contrast": "sc", "mode": "B"},
        {"auxiliary_steps": 3, "unmixed": 0.5},
        {"pairs": "learned", "auxiliary_optimizer": "sgd"},
        {"pairs": "learned", "pretrain": 1},
        {"pairs": "kl"},
        {"base": "lff", "pairs": "cosine"},
        {"pairs": "l2", "argmax": "code", "partners": "pool", "unmixed_forward": True},
    ],
}

RENAMED = {  # what an option is called by a longcut that does not know its name of today
    ("selecmix", "unmixed"): "raw",
    ("selecmix", "unmixed_forward"): "raw_forward",
    ("umix", "blend"): "mix",
    ("umix", "level"): "mix",
}


def table(n: int, seed: int) -> Dataset:
    """Eight columns: one tells the label through noise, one the attribute clearly."""
    label = torch.arange(n) % 2
    attribute = torch.where(torch.arange(n) % 8 < 6, label, 1 - label)
    x = torch.randn(n, 8, generator=generator(seed, 1))
    x[:, 0] += 2 * label
    x[:, 1] += 6 * attribute
    wrong = torch.arange(n) % 16 == 3
    return Dataset.of(x, torch.where(wrong, 1 - label, label), attribute, name="table", aligned=(0, 1))


def tokens(n: int, seed: int) -> Dataset:
    """Twelve ids a text: some go with the label, one with the attribute."""
    label = torch.arange(n) % 2
    attribute = torch.where(torch.arange(n) % 8 < 6, label, 1 - label)
    x = torch.randint(5, 40, (n, 12), generator=generator(seed, 2))
    x[:, 3] = 1 + attribute
    x[:, 4] = 3 + label
    x[:, 9:] *= torch.arange(n)[:, None] % 3 > 0  # padding
    wrong = torch.arange(n) % 16 == 3
    noisy = torch.where(wrong, 1 - label, label)
    return Dataset.of(x, noisy, attribute, name="tokens", kind="tokens", aligned=(0, 1), vocabulary=40)


def settings(cls: Any) -> Iterator[tuple[str, dict[str, Any], dict[str, Any], str | None]]:
    """Name, options, training settings and net of each run of a method."""
    helper = HELPER if cls.name in ("jtt", "jm1") else {}
    yield cls.name, helper, dict(cls.training_defaults), None
    for name, recipe in cls.recipes.items():
        options = dict(recipe.options)
        options |= {key: value for key, value in HELPER.items() if key in options or key in helper}
        options |= {key: 4 for key in ("env_steps", "steps") if key in options}
        options = {key: value for key, value in options.items() if key not in ("start", "window")}
        yield f"{cls.name}@{name}", options, {**cls.training_defaults, **recipe.training}, recipe.net
    for options in VARIANTS.get(cls.name, []):
        name = ",".join(f"{key}={value}" for key, value in options.items())
        yield f"{cls.name}:{name}", {**helper, **options}, dict(cls.training_defaults), None


def digest(state: Mapping[str, Any]) -> str:
    found = hashlib.sha256()
    for name, value in sorted(state.items()):
        if isinstance(value, torch.Tensor):
            found.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
            found.update(
                value.detach().cpu().flatten().contiguous().view(torch.uint8).numpy().tobytes()
                if value.numel()
                else b""
            )
    return found.hexdigest()[:16]


def run(cls: Any, options: Any, training: Any, net: str | None, splits: Splits, kind: str) -> str:
    plain = {"image": "mlp:hidden=32", "conv": "conv:width=4", "table": "mlp:hidden=16", "tokens": "tokens:width=16"}[
        kind
    ]
    chosen = net if net is not None and kind == "image" and net.startswith("mlp") else plain
    known = inspect.signature(cls.__init__).parameters
    options = {name if name in known else RENAMED[cls.name, name]: value for name, value in options.items()}
    try:
        method = build(cls, splits.info, net=chosen, options=options, seed=1)
        augment = {} if kind in ("image", "conv") else {"augment": "none"}
        fitted = fit(method, splits, Training(**{**training, **augment, **QUICK}), seed=1)
        return digest(fitted.method.net.state_dict())
    except UserError as error:
        return f"refused: {error}"


def main() -> None:
    torch.set_num_threads(1)
    digits = load("colored-digits")
    few = torch.arange(512)
    images = Splits(digits.train.take(few), digits.valid, digits.test.take(torch.arange(64)))
    data = {
        "image": images,
        "conv": images,  # the same with batch normalisation and levels to mix at
        "table": Splits(table(192, 0), table(64, 1), table(64, 2)),
        "tokens": Splits(tokens(192, 0), tokens(64, 1), tokens(64, 2)),
    }
    for kind, splits in data.items():
        for cls in METHODS.values():
            for name, options, training, net in settings(cls):
                print(f"{kind} {name}: {run(cls, options, training, net, splits, kind)}", flush=True)
    print("done", file=sys.stderr)


if __name__ == "__main__":
    main()
