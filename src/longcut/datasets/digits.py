"""Handwritten digits without a shortcut: those that come with scikit-learn, and MNIST."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch
from pydantic import Field

from longcut.data import Dataset, Splits, generator, split
from longcut.datasets import data_folder
from longcut.datasets.colored_digits import stratified_order
from longcut.datasets.colored_mnist import mnist_files

__all__ = ["digits", "mnist"]

ENLARGED = 3  # eight pixels have no room for most cues


def digits(*, seed: int = 0) -> Splits:
    """The 1,797 digits that come with scikit-learn, three times as large: 24 x 24 pixels, grey in three channels.

    1,000 images train, 197 validate, 600 test, each with all classes in proportion.

    Args:
        seed: of the split.

    >>> digits().info.shape
    (3, 24, 24)
    """
    from sklearn.datasets import load_digits

    pixels, target = load_digits(return_X_y=True)
    label = torch.tensor(target).long()
    small = (torch.tensor(pixels, dtype=torch.float32).view(-1, 1, 8, 8) / 16).clamp(0, 1)
    side = 8 * ENLARGED
    large = torch.nn.functional.interpolate(small, (side, side), mode="bilinear", align_corners=False)
    x = (255 * large).round().to(torch.uint8).expand(-1, 3, -1, -1).contiguous()
    data = Dataset.of(x, label, name="digits")
    parts = stratified_order(label, generator(seed)).tensor_split([1000, 1197])
    train, valid, test = (data.take(part.sort().values) for part in parts)
    return Splits(train, valid, test)


def mnist(
    *,
    valid: Annotated[float, Field(ge=0, lt=1, description="share of the training images that validate")] = 1 / 12,
    folder: Annotated[str | None, Field(description="where the four MNIST files are, or are downloaded to")] = None,
    seed: int = 0,
) -> Splits:
    """MNIST, grey in three channels (LeCun et al., 1998), 28 x 28 pixels.

    Args:
        valid: 0 … 1; 0: no such part.
        folder: of the ``.gz`` files; when None, ``$LONGCUT_DATA/mnist``, else ``~/.cache/longcut/data/mnist``. Missing
            files are downloaded.
        seed: of which images validate.

    Raises:
        UserError: when a file cannot be had or is damaged.

    Example::

        splits = mnist()
        len(splits.train), len(splits.test)  # 55000, 10000
    """
    images, label, test_images, test_label = mnist_files(Path(folder) if folder else data_folder("mnist"))
    known, test = (
        Dataset.of(x[:, None].expand(-1, 3, -1, -1).contiguous(), y, name="mnist")
        for x, y in ((images, label), (test_images, test_label))
    )
    if not valid:
        return Splits(known, None, test)
    train, held = split(known, valid, generator(seed))
    return Splits(train, held, test)
