"""Mixing operations beside the libraries that have them: ``python benchmarks/mixing.py [--json]``.

Each operation is done to the same batch by longcut and by torchvision, timm, kornia and OpenMixup, alternating, on one
thread; a ratio is the peer's time over ours, so above 1 longcut is faster. What a peer needs to give a trainable batch
is inside its time, the soft label as well. The peers want an environment of their own, for their torch is not the one
that longcut is pinned to; a peer that does not import is named:

    python -m venv peers && peers/bin/pip install torch torchvision timm kornia gco-wrapper opencv-contrib-python-headless
    peers/bin/pip install --no-deps openmixup && peers/bin/pip install .
    peers/bin/python benchmarks/mixing.py

OpenMixup's functions are loaded from their files, because its package wants a compiled mmcv, and ``Tensor.cuda`` does
nothing meanwhile, because they call it on every index.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import sys
import time
import types
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from longcut import mixing
from longcut import augment as augmentation
from longcut.data import Batch

CLASSES = 10
SHAPES = ((256, 3, 32, 32), (64, 3, 224, 224))
Work = Callable[[Tensor, Tensor], Any]


def seconds(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def alternating(sides: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each side, in turns, after a warm-up of each."""
    for work in sides.values():
        work()
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, work in sides.items():
            times[name].append(seconds(work))
    return times


# --- longcut ----------------------------------------------------------------------------------------------------------


def ours(blend: str, scope: str = "batch") -> Work:
    """A batch mixed with a permutation of itself, and its soft label."""
    rules = mixing.anyone(), mixing.beta(1.0, scope=scope), mixing.BLENDS[blend], mixing.proportional  # type: ignore
    mix, generator = mixing.Mix(*rules), torch.Generator().manual_seed(0)

    def work(x: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        mixed = mix(Batch(x, label), generator=generator)
        return mixed.x, mixed.target.soft(CLASSES)

    return work


def augmented(spec: str) -> Work:
    augment, generator = augmentation.build(spec), torch.Generator().manual_seed(0)
    return lambda x, label: augment(x, generator)


# --- peers ------------------------------------------------------------------------------------------------------------


def torchvision() -> dict[str, Work]:
    from torchvision.transforms import v2

    mixup, cutmix = v2.MixUp(num_classes=CLASSES), v2.CutMix(num_classes=CLASSES)
    return {"mixup": mixup, "cutmix": cutmix}


def timm(mode: str) -> dict[str, Work]:
    from timm.data import Mixup

    common = {"mode": mode, "label_smoothing": 0.0, "num_classes": CLASSES}
    mixup = Mixup(mixup_alpha=1.0, **common)
    cutmix = Mixup(mixup_alpha=0.0, cutmix_alpha=1.0, **common)
    # timm mixes in place; the batch that is timed over and over stays of the same kind
    return {"mixup": mixup, "cutmix": cutmix}


def kornia() -> dict[str, Work]:
    from kornia.augmentation import RandomCutMixV2, RandomMixUpV2

    mixup, cutmix = (made(p=1.0, data_keys=["input", "class"]) for made in (RandomMixUpV2, RandomCutMixV2))
    return {"mixup": mixup, "cutmix": cutmix}


def openmixup() -> dict[str, Work]:
    """Its functions, from their files."""
    spec = importlib.util.find_spec("openmixup")
    if spec is None or not spec.submodule_search_locations:
        raise ImportError("openmixup is not installed")
    folder = Path(next(iter(spec.submodule_search_locations))) / "models" / "augments"
    stub = types.ModuleType("openmixup.models.utils")
    stub.batch_shuffle_ddp = None  # type: ignore[attr-defined]
    for name in ("openmixup", "openmixup.models"):
        sys.modules.setdefault(name, types.ModuleType(name))
    sys.modules["openmixup.models.utils"] = stub
    torch.Tensor.cuda = lambda self, *_, **__: self  # type: ignore[method-assign,assignment]
    found: dict[str, Work] = {}
    for name in ("mixup", "cutmix", "saliencymix", "resizemix"):
        module = importlib.util.spec_from_file_location(f"peer_{name}", folder / f"{name}.py")
        assert module is not None and module.loader is not None
        loaded = importlib.util.module_from_spec(module)
        module.loader.exec_module(loaded)
        found[name] = _openmixup(getattr(loaded, name))
    return found


def _openmixup(function: Any) -> Work:
    def work(x: Tensor, label: Tensor) -> Tensor:
        mixed, (a, b, share) = function(x, label, alpha=1.0)
        one, other = F.one_hot(a, CLASSES).float(), F.one_hot(b, CLASSES).float()
        return share * one + (1 - share) * other + 0 * mixed.flatten()[0]

    return work
