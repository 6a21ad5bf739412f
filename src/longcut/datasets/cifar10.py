"""CIFAR-10 without a planted shortcut: whole, a few images of each class, or with a long tail."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field

from longcut.data import Dataset, Splits, generator, ranks
from longcut.datasets import data_folder, spec_of
from longcut.datasets.corrupted_cifar10 import CLASSES, read_batches
from longcut.errors import UserError

__all__ = ["cifar10", "long_tail"]


def cifar10(
    *,
    imbalance: Annotated[
        float, Field(ge=1, description="how many times larger the first class is than the last; 1: balanced")
    ] = 1.0,
    per_class: Annotated[
        int, Field(ge=0, description="training images of the largest class; 0: all but those of the validation part")
    ] = 0,
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
    options = {"imbalance": imbalance, "per_class": per_class, "valid": valid}
    info: dict[str, Any] = {"name": spec_of("cifar10", options), "class_names": CLASSES, "n_classes": len(CLASSES)}
    label, test_label = torch.from_numpy(labels[:-1]).flatten(), torch.from_numpy(labels[-1])
    left = int(label.bincount(minlength=len(CLASSES)).min()) - valid
    if not per_class <= left or left < 1:
        raise UserError(
            f"cifar10: each class has {left + valid} images, so per_class={per_class} and valid={valid} are too many; "
            f"their sum is at most {left + valid}, of which one at least trains."
        )
    count = torch.tensor(long_tail(per_class or left, imbalance, len(CLASSES)))
    order = torch.randperm(len(label), generator=generator(seed))
    place = torch.empty_like(order)
    place[order] = ranks(label[order])  # of each image in its class
    known = Dataset.of(torch.from_numpy(images[: len(label)]), label, **info)
    test = Dataset.of(torch.from_numpy(images[len(label) :]), test_label, **info)
    held = known.take(place < valid) if valid else None
    return Splits(known.take((place >= valid) & (place < valid + count[label])), held, test)


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
