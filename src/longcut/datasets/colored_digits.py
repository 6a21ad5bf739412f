"""Colored digits: a shortcut that can be learned in seconds, without downloading anything."""

from __future__ import annotations

import torch
from torch import Tensor

from longcut.data import Dataset, Splits, generator, ranks
from longcut.datasets import spec_of
from longcut.datasets.planted import COLORS, TEN, Noise, Ratio, in_rotation, plant, splits

__all__ = ["colored_digits", "stratified_order"]


def colored_digits(
    *,
    ratio: Ratio = 0.05,
    noise: Noise = 0.0,
    seed: int = 0,
) -> Splits:
    """The 1,797 8 x 8 digits that come with scikit-learn, in colour.

    1,000 images train, 197 validate, 600 test, each with all classes in proportion. A pixel is one of ten saturated
    colours times its grey level, so shading stays. In training and validation ``ratio`` of the images, spread evenly
    over the classes, have one of the other nine colours; in the test set the colours are balanced within each class,
    so colour and label are independent.

    Args:
        ratio: 0…0.9; at 0.9 the colour is uniform whatever the label, so there is no shortcut. At the default
            there are five conflicting training images of each class.
        noise: 0…0.9; each training label is replaced with this probability, by another one drawn uniformly. The
            images, the validation and the test labels stay as they are.
        seed: of the split, the colours and the noise.

    Returns:
        uint8 images ``(n, 3, 8, 8)``; the attribute is the colour. The three sets share their storage, so that
        ``index`` is the number of the image in scikit-learn's data.

    >>> splits = colored_digits(ratio=0.02)
    >>> len(splits.train), len(splits.test), int(splits.train.conflicting.sum())
    (1000, 600, 20)
    """
    from sklearn.datasets import load_digits

    name = spec_of("colored-digits", {"ratio": ratio, "noise": noise})
    pixels, target = load_digits(return_X_y=True)
    level, label = torch.tensor(pixels).reshape(-1, 8, 8), torch.tensor(target).long()
    draw = generator(seed)
    order = stratified_order(label, draw)
    train, valid, test = order.tensor_split([1000, 1197])
    attribute = plant(label, [(part, round(ratio * len(part))) for part in (train, valid)], draw)
    attribute[test] = in_rotation(label[test])
    color = torch.tensor(list(COLORS.values()))[attribute]
    data = Dataset.of(
        (color[:, :, None, None] * level[:, None] / 16).round().to(torch.uint8),
        label,
        attribute,
        name=name,
        attribute_names=tuple(COLORS),
        **TEN,
    )
    return splits(data, train, valid, data.take(test.sort().values), noise, seed)


def stratified_order(label: Tensor, draw: torch.Generator) -> Tensor:
    """A random order in which every stretch has the classes in proportion, give or take one."""
    shuffled = torch.randperm(len(label), generator=draw)
    labels = label[shuffled]
    place = (ranks(labels) + 0.5) / labels.bincount()[labels]
    return shuffled[place.argsort(stable=True)]
