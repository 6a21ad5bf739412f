"""How many photographs a second EfficientNet-Lite0 takes, as published and as the encoder has it.

``python benchmarks/encoders.py`` prints images per second of processor time on one core, which other programs disturb
less than the clock, and the lowest cosine to the features of the published layout. Then, as much for training: a
step of the net ``efficientnet-lite0``, forward and backward, by what is trained and by the side of its images.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from longcut.data import Info, generator
from longcut.encoders.efficientnet import folded
from longcut.nets import build
from longcut.nets.efficientnet import published

IMAGES, SLICES = 64, (8, 32, 64)
BATCH, SIDES = 32, (224, 144, 96)


def features_of(net: nn.Module, memory: torch.memory_format, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
    net = copy.deepcopy(net).to(dtype).to(memory_format=memory)  # type: ignore[reportCallIssue]
    return lambda x: net(x.to(torch.float32, memory_format=memory).sub_(127).div_(128).to(dtype)).float()


def training() -> None:
    print(f"\n{'side of the images':32}", *(f"{side:>6}" for side in SIDES))
    for how in ("frozen", "last", "all"):
        rates = []
        for side in SIDES:
            net = build(f"efficientnet-lite0:tune={how},side={side}", Info("photos", (3, side, side), 2, kind="image"))
            x = torch.rand(BATCH, 3, side, side, generator=generator(0))
            spent = 0.0
            for _ in range(2):  # the first warms up
                began = time.process_time()
                net.train()(x).logsumexp(1).sum().backward()
                spent = time.process_time() - began
            rates.append(BATCH / spent)
        print(f"tune={how:27}", *(f"{rate:6.0f}" for rate in rates), flush=True)


def making() -> None:
    plain, last = torch.contiguous_format, torch.channels_last
    net = published()
    smaller = folded(copy.deepcopy(net))
    ways = {
        "as published": features_of(net, plain, torch.float32),
        "channels side by side": features_of(net, last, torch.float32),
        "folded": features_of(smaller, plain, torch.float32),
        "folded, channels side by side": features_of(smaller, last, torch.float32),
        "the same in bfloat16": features_of(smaller, last, torch.bfloat16),
    }
    x = torch.randint(0, 256, (IMAGES, 3, 224, 224), dtype=torch.uint8, generator=generator(0))
    expected = torch.cat([ways["as published"](some) for some in x.split(8)]).detach()
    print(f"{'images at a time':32}", *(f"{size:>6}" for size in SLICES), "cosine")
    with torch.no_grad():
        for name, features in ways.items():
            rates, found = [], expected
            for size in SLICES:
                features(x[:size])
                began = time.process_time()
                found = torch.cat([features(some) for some in x.split(size)])
                rates.append(len(x) / (time.process_time() - began))
            cosine = F.cosine_similarity(found, expected).min()
            print(f"{name:32}", *(f"{rate:6.0f}" for rate in rates), f"{cosine:.6f}", flush=True)


def main() -> None:
    torch.set_num_threads(1)
    making()
    training()


if __name__ == "__main__":
    main()
