"""CIFAR-10 and CIFAR-100 without a planted shortcut: whole, a few images of each class, or with a long tail."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from longcut.data import Dataset, Splits, generator, ranks
from longcut.datasets import data_folder, spec_of
from longcut.datasets.corrupted_cifar10 import CLASSES, read_batch, read_batches
from longcut.errors import UserError

__all__ = ["cifar10", "cifar100", "long_tail"]

Imbalance = Annotated[
    float, Field(ge=1, description="how many times larger the first class is than the last; 1: balanced")
]
PerClass = Annotated[
    int, Field(ge=0, description="training images of the largest class; 0: all but those of the validation part")
]

HUNDRED = "the official archive cifar-100-python.tar.gz (www.cs.toronto.edu/~kriz/cifar.html)"
CHECKSUMS = {"train": "16019d7e3df5f24257cddd939b257f8d", "test": "f0ef6b0ae62326f3e7ffdfab6717acfc"}


def cifar10(
    *,
    imbalance: Imbalance = 1.0,
    per_class: PerClass = 0,
    valid: Annotated[
        int, Field(ge=0, description="validation images of each class, taken from the training images; 0: no such part")
    ] = 500,
    folder: Annotated[str | None, Field(description="the unpacked folder cifar-10-batches-py")] = None,
    seed: int = 0,
) -> Splits:
    """CIFAR-10 (Krizhevsky, 2009), or CIFAR-10-LT: the same with fewer and fewer images from class to class.

    Class ``c`` of the ten has ``per_class * imbalance ** (-c / 9)`` training images, rounded down: the usual profile
    (Cui et al., CVPR 2019; Cao et al., NeurIPS 2019), in which airplanes are the head and trucks the tail. Published
    results have ``valid=0``: 12,406 images at ``imbalance=100`` and 13,996 at 50. Validation part and test set are
    balanced, so that their average accuracy is the balanced accuracy.

    Of each class the images stand in an order drawn by ``seed``; the first are the validation part, and the next train.
    So all profiles of one seed and ``valid`` have the same validation part, and a smaller one is part of a larger one.

    Args:
        imbalance: at least 1.
        per_class: 0, or up to 5000 - ``valid``.
        valid: 0 … 4999.
        folder: of the six batches; when None, ``$LONGCUT_DATA/cifar-10-batches-py``, else
            ``~/.cache/longcut/data/cifar-10-batches-py``.
        seed: of which images train and which validate.

    Returns:
        uint8 images ``(n, 3, 32, 32)`` without an attribute. Training and validation share their storage, so that
        ``index`` is the number of the image in CIFAR-10.

    Raises:
        UserError: when a class has too few images, or a file is missing or damaged.

    Example::

        splits = cifar10(imbalance=100, valid=0)
        splits.train.label.bincount()  # tensor([5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50])
    """
    images, labels = read_batches(Path(folder) if folder else data_folder("cifar-10-batches-py"))
    label, test_label = labels[:-1].reshape(-1), labels[-1]
    train, test = (images[: len(label)], label), (images[len(label) :], test_label)
    return _parts("cifar10", train, test, CLASSES, imbalance, per_class, valid, seed)


def cifar100(
    *,
    imbalance: Imbalance = 1.0,
    per_class: PerClass = 0,
    valid: Annotated[
        int, Field(ge=0, description="validation images of each class, taken from the training images; 0: no such part")
    ] = 50,
    folder: Annotated[str | None, Field(description="the unpacked folder cifar-100-python")] = None,
    seed: int = 0,
) -> Splits:
    """CIFAR-100 (Krizhevsky, 2009) with its hundred fine labels, or CIFAR-100-LT; as ``cifar10`` otherwise.

    Args:
        imbalance: at least 1.
        per_class: 0, or up to 500 - ``valid``.
        valid: 0 … 499.
        folder: of the files ``train`` and ``test``; when None, ``$LONGCUT_DATA/cifar-100-python``, else
            ``~/.cache/longcut/data/cifar-100-python``.
        seed: of which images train and which validate.

    Returns:
        uint8 images ``(n, 3, 32, 32)`` without an attribute; class names are the numbers of the fine labels.

    Raises:
        UserError: when a class has too few images, or a file is missing or damaged.

    Example::

        splits = cifar100(valid=0)
    """
    where = Path(folder) if folder else data_folder("cifar-100-python")
    train, test = (read_batch(where / name, HUNDRED, md5, b"fine_labels") for name, md5 in CHECKSUMS.items())
    return _parts("cifar100", train, test, tuple(map(str, range(100))), imbalance, per_class, valid, seed)


Images = tuple[NDArray[np.uint8], NDArray[np.int64]]


def _parts(
    name: str,
    train: Images,
    test: Images,
    classes: tuple[str, ...],
    imbalance: float,
    per_class: int,
    valid: int,
    seed: int,
) -> Splits:
    """Of each class as many training images as its place in the tail says, some to validate, and all to test."""
    options = {"imbalance": imbalance, "per_class": per_class, "valid": valid}
    info: dict[str, Any] = {"name": spec_of(name, options), "class_names": classes, "n_classes": len(classes)}
    label = torch.from_numpy(train[1])
    left = int(label.bincount(minlength=len(classes)).min()) - valid
    if not per_class <= left or left < 1:
        raise UserError(
            f"{name}: each class has {left + valid} images, so per_class={per_class} and valid={valid} are too many; "
            f"their sum is at most {left + valid}, of which one at least trains."
        )
    count = torch.tensor(long_tail(per_class or left, imbalance, len(classes)))
    order = torch.randperm(len(label), generator=generator(seed))
    place = torch.empty_like(order)
    place[order] = ranks(label[order])  # of each image in its class
    known, judged = (Dataset.of(torch.from_numpy(x), torch.from_numpy(y), **info) for x, y in (train, test))
    held = known.take(place < valid) if valid else None
    return Splits(known.take((place >= valid) & (place < valid + count[label])), held, judged)


def long_tail(largest: int, imbalance: float, n_classes: int) -> Sequence[int]:
    """How many samples each class has: ``largest * imbalance ** (-c / (n_classes - 1))``, rounded down.

    Raises:
        UserError: when the last class would have none.

    >>> long_tail(5000, 100, 10)
    [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]
    """
    if largest < imbalance:
        raise UserError(
            f"with {largest} images of the largest class, imbalance={imbalance:g} leaves the smallest without any; "
            f"give at most {largest}."
        )
    steps = max(n_classes - 1, 1)
    return [int(largest * imbalance ** (-c / steps) + 1e-9) for c in range(n_classes)]  # whole in spite of rounding
