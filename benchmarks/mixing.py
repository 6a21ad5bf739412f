"""Mixing operations beside the libraries that have them: ``python benchmarks/mixing.py [--json]``.

Each operation is done to the same batch by longcut and by torchvision, timm, kornia and OpenMixup, alternating, on one
thread; a ratio is the peer's time over ours, so above 1 longcut is faster. What a peer needs to give a trainable batch
is inside its time, the soft label as well. The peers want an environment of their own, for their torch is not the one
that longcut is pinned to; a peer that does not import is named:

    python -m venv peers && peers/bin/pip install torch torchvision timm kornia opencv-contrib-python-headless .
    peers/bin/pip install --no-deps openmixup
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
from longcut.data import Batch
from longcut.mixing.saliency import fine_grained, spectral_residual
from longcut.mixing.salient import pasting

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
    how = mixing.BLENDS[blend]
    if blend == "saliency":  # one box for all, like the share, from the map of the first image: what OpenMixup does
        how = pasting(scope=scope)  # type: ignore[arg-type]
    rules = mixing.anyone(), mixing.beta(1.0, scope=scope), how, mixing.proportional  # type: ignore
    mix, generator = mixing.Mix(*rules), torch.Generator().manual_seed(0)

    def work(x: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        mixed = mix(Batch(x, label), generator=generator)
        return mixed.x, mixed.target.soft(CLASSES)

    return work


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
    names = ("openmixup", "openmixup.models", "openmixup.models.utils")
    sys.modules |= dict(zip(names, (types.ModuleType(names[0]), types.ModuleType(names[1]), stub), strict=True))
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


# --- what is measured -------------------------------------------------------------------------------------------------

OPERATIONS: dict[str, tuple[str, str]] = {  # ours, and whether one share and one box is drawn for a batch or a sample
    "mixup": ("linear", "batch"),
    "cutmix": ("cut", "batch"),
    "saliencymix": ("saliency", "batch"),
    "resizemix": ("resize", "batch"),
}
PEERS: dict[str, Callable[[], dict[str, Work]]] = {
    "torchvision": torchvision,
    "timm, batch": lambda: timm("batch"),
    "timm, elem": lambda: timm("elem"),
    "kornia": kornia,
    "OpenMixup": openmixup,
}


def available() -> dict[str, dict[str, Work]]:
    """The operations of each peer that imports; the others are named."""
    found: dict[str, dict[str, Work]] = {}
    for name, peer in PEERS.items():
        try:
            found[name] = peer()
        except ImportError as error:
            print(f"{name} does not import: {error}", file=sys.stderr)
    return found


def opencv(detector: str, x: Tensor) -> Callable[[], Any]:
    """OpenCV's detector, image by image, from and to arrays."""
    import cv2
    import numpy as np

    pixels = (255 * x).byte().permute(0, 2, 3, 1).contiguous().numpy()
    created = f"StaticSaliency{detector}_create"
    made = getattr(cv2.saliency, created)()
    return lambda: np.stack([made.computeSaliency(image)[1] for image in pixels])


def measured(rounds: int) -> list[dict[str, Any]]:
    """Each operation on each shape: our milliseconds, and the peers' in multiples of ours."""
    rows, peers = [], available()
    for shape in SHAPES:
        x, label = torch.rand(shape), torch.randint(CLASSES, shape[:1])
        for operation, (blend, scope) in OPERATIONS.items():
            for own in dict.fromkeys((scope, "sample")):
                works = {"ours": ours(blend, own)} | {n: p[operation] for n, p in peers.items() if operation in p}
                rows.append(row(f"{operation}, one for each {own}", shape, works, (x, label), rounds))
        for ours_, theirs in ((fine_grained, "FineGrained"), (spectral_residual, "SpectralResidual")):
            peer = opencv(theirs, x)
            calls: dict[str, Work] = {"ours": lambda x, _, f=ours_: f(x), "OpenCV": lambda *_, f=peer: f()}
            rows.append(row(f"saliency, {theirs}", shape, calls, (x, label), rounds))
    return rows


def row(
    what: str, shape: tuple[int, ...], works: dict[str, Work], given: tuple[Tensor, Tensor], rounds: int
) -> dict[str, Any]:
    """One line of the table: medians of ratios, round by round."""
    times = alternating({name: lambda w=work: w(*given) for name, work in works.items()}, rounds)
    mine = times.pop("ours")
    ratios = {n: statistics.median(a / b for a, b in zip(t, mine, strict=True)) for n, t in times.items()}
    return {"what": what, "shape": list(shape), "ours_ms": 1e3 * statistics.median(mine), "ratios": ratios}


def main() -> None:
    """Print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="alternating measurements of each")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # of the peers
    rows = measured(arguments.rounds)
    if arguments.json:
        return print(json.dumps({"torch": torch.__version__, "rows": rows}, indent=1))
    for one in rows:
        ratios = "  ".join(f"{name} {value:.2f}" for name, value in one["ratios"].items())
        print(f"{one['what']:36s} {'×'.join(map(str, one['shape'])):14s} {one['ours_ms']:8.2f} ms   {ratios}")


if __name__ == "__main__":
    main()
