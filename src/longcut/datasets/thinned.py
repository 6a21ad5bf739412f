"""Any data with a few samples of each class, or with a long tail: ``thinned:data=celeba,per_class=20``."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import torch
from pydantic import Field

from longcut.data import Dataset, Splits, generator, ranks
from longcut.datasets import load, spec_of
from longcut.datasets.cifar10 import Imbalance, long_tail
from longcut.errors import UserError
from longcut.sources import Progress

__all__ = ["thin", "thinned"]


def thin(data: Dataset, per_class: int, imbalance: float, generator: torch.Generator) -> Dataset:
    """So many samples of each class, fewer and fewer from class to class, without repetition, in their old order.

    Class ``c`` of ``C`` keeps ``per_class * imbalance ** (-c / (C - 1))`` samples, rounded down (Cui et al., CVPR
    2019). With the same generator, fewer samples are some of more.

    Args:
        data: with classes.
        per_class: samples of the first class; 0: as many as the smallest class has.
        imbalance: how many times more the first class keeps than the last; 1: all the same.
        generator: of which samples stay.

    Raises:
        UserError: for a regression, or when a class has too few samples.

    >>> data = Dataset.of(torch.rand(9, 2), [0, 1, 2] * 3)
    >>> thin(data, 0, 3.0, torch.Generator()).label.bincount()
    tensor([3, 1, 1])
    """
    info = data.info
    if info.task != "classification":
        raise UserError(f"{info.name} is a regression; samples per class are of data with classes, take its whole.")
    size = torch.bincount(data.label, minlength=info.n_classes)
    count = torch.tensor(long_tail(per_class or int(size.min()), imbalance, info.n_classes))
    if (short := size < count).any():
        c = int(short.nonzero()[0])
        called = info.class_names[c] if info.class_names else c
        raise UserError(
            f"{info.name}: class '{called}' has {int(size[c]):,} training samples, and {int(count[c]):,} of it are "
            "asked for; give a smaller per_class."
        )
    order = torch.randperm(len(data), generator=generator)
    return data.take(order[ranks(data.label[order]) < count[data.label[order]]].sort().values)


def thinned(
    *,
    data: Annotated[str | None, Field(description="spec or path of the data; a comma in it is written %2C")] = None,
    per_class: Annotated[
        int, Field(ge=0, description="training samples of the first class; 0: as many as the smallest class has")
    ] = 0,
    imbalance: Imbalance = 1.0,
    seed: int = 0,
    progress: Progress | None = None,
) -> Splits:
    """Any data with classes of which few samples of each class train, or fewer and fewer from class to class.

    Validation and test set stay as they are. Samples are drawn within each class, so that those which contradict a
    shortcut remain in proportion, give or take chance.

    Args:
        data: spec of it.
        per_class: see :func:`thin`; few-shot learning takes 1 to 100.
        imbalance: see there; classes are in the order of their numbers.
        seed: of the data, and of which samples stay.
        progress: told how many images of how many are decoded.

    Raises:
        UserError: as :func:`thin`, and when it is not said which data.

    >>> thinned(data="colored-digits", per_class=5).train.label.bincount().tolist()
    [5, 5, 5, 5, 5, 5, 5, 5, 5, 5]
    """
    if data is None:
        raise UserError("data set 'thinned' was not told which; write thinned:data=….")
    base = load(data, seed, progress)
    name = spec_of("thinned", {"data": data, "per_class": per_class, "imbalance": imbalance})
    train = thin(base.train, per_class, imbalance, generator(seed, 89))
    return Splits(*(part and _called(part, name) for part in (train, base.valid, base.test)))  # type: ignore[arg-type]


def _called(data: Dataset, name: str) -> Dataset:
    return dataclasses.replace(data, info=dataclasses.replace(data.info, name=name))
