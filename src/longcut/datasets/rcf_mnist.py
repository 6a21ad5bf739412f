"""Rotated coloured clothes or digits: the angle is to be told, and the colour tells it in training (C-Mixup)."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from PIL import Image
from pydantic import Field
from torch import Tensor

from longcut.data import Dataset, Splits, generator
from longcut.datasets import spec_of
from longcut.datasets.subpopulation import find
from longcut.errors import UserError

__all__ = ["rcf_mnist"]

FILE = "train-images-idx3-ubyte.gz"
USUAL = {"fashion": ["fashion-mnist", "FashionMNIST/raw"], "mnist": ["mnist"]}
ORIGIN = {"fashion": "github.com/zalandoresearch/fashion-mnist", "mnist": "yann.lecun.com/exdb/mnist"}
THRESHOLD = 5  # brighter pixels are coloured


def rcf_mnist(
    *,
    images: Annotated[
        Literal["fashion", "mnist"], Field(description="clothes, as published, or digits, which are more often at hand")
    ] = "fashion",
    folder: Annotated[str | None, Field(description=f"with {FILE}; by default below LONGCUT_DATA")] = None,
    seed: int = 0,
) -> Splits:
    """RCF-MNIST (Yao et al., C-Mixup, NeurIPS 2022): how far has this image been turned?

    Each image is turned by an angle from U[0, 360) and the target is the angle over 360, a line on which 0 and 1 are
    far apart. What is brighter than 5 becomes red in a share ``c`` and blue in the rest, and ``c`` is the target
    (aligned) or 1 less it (reversed): aligned for 80 % of the 40,000 training images, reversed for 80 % of the 10,000
    test images. In the 10,000 validation images ``c`` is uniform, and the attribute says which of the two is nearer.
    All are drawn from the 60,000 training images of the source.

    Args:
        images: which.
        folder: with their file.
        seed: of parts, angles and colours.

    Returns:
        uint8 images ``(n, 3, 28, 28)``, targets in [0, 1), the attribute 0 for aligned and 1 for reversed.

    Raises:
        UserError: when the file is missing or is another one.
    """
    name = spec_of("rcf-mnist", {"images": images})
    grey = _read(name, images, folder)
    draw = generator(seed)
    order = torch.randperm(len(grey), generator=draw)
    train, valid, test = order.tensor_split([len(grey) * 4 // 6, len(grey) * 5 // 6])
    target = torch.rand(len(grey), generator=draw)
    reverse = torch.zeros(len(grey))
    reverse[train[: len(train) // 5]] = 1
    reverse[test[len(test) // 5 :]] = 1
    share = torch.where(reverse == 1, 1 - target, target)
    share[valid] = torch.rand(len(valid), generator=draw)
    attribute = ((share - target).abs() > (share - (1 - target)).abs()).long()
    attribute[torch.cat([train, test])] = reverse[torch.cat([train, test])].long()
    x = painted(_turned(grey, 360 * target), share)
    data = Dataset.of(x, target, attribute, name=name, n_attributes=2, attribute_names=("aligned", "reversed"))
    return Splits(*(data.take(rows.sort().values) for rows in (train, valid, test)))


def painted(grey: Tensor, share: Tensor) -> Tensor:
    """Grey images ``(n, H, W)`` uint8 in red and blue, ``(n, 3, H, W)``; what is dark stays grey.

    Args:
        grey: the images.
        share: of red ``(n,)``, in [0, 1]; the rest is blue.

    >>> painted(torch.tensor([[[5, 100]]], dtype=torch.uint8), torch.tensor([0.25]))[0, :, 0].tolist()
    [[5, 25], [5, 0], [5, 75]]
    """
    share = share[:, None, None]
    colored = torch.stack([share * grey, torch.zeros_like(share) * grey, (1 - share) * grey], 1).round()
    return torch.where(grey[:, None] > THRESHOLD, colored.to(torch.uint8), grey[:, None])


def _turned(grey: Tensor, degrees: Tensor) -> Tensor:
    """Each image turned against the clock around its middle, by its nearest pixels."""
    turned = [
        np.asarray(Image.fromarray(image).rotate(angle))
        for image, angle in zip(grey.numpy(), degrees.tolist(), strict=True)
    ]
    return torch.from_numpy(np.stack(turned))


def _read(name: str, images: str, folder: str | None) -> Tensor:
    place, file = find(name, folder, USUAL[images], [FILE, FILE.removesuffix(".gz")], ORIGIN[images])
    path: Path = place / file
    try:
        content = gzip.decompress(path.read_bytes()) if file == FILE else path.read_bytes()
        magic, n, height, width = np.frombuffer(content, ">i4", count=4)
        if magic != 2051:
            raise ValueError("it has another beginning")
        return torch.from_numpy(np.frombuffer(content, np.uint8, offset=16).reshape(n, height, width).copy())
    except (OSError, EOFError, ValueError) as error:
        raise UserError(f"{name}: {path} is no file of images ({error}); get it again from {ORIGIN[images]}.") from None
