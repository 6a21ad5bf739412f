"""A data set without a shortcut, with one planted: ``planted:data=cifar10,cue=stripe``."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from longcut.cues import plant
from longcut.cues.planting import Ratio, Strength
from longcut.data import Dataset, Splits, generator, label_noise, split
from longcut.datasets import load, spec_of
from longcut.datasets.planted import Noise

__all__ = ["planted"]

Limit = Annotated[int, Field(ge=0, description="at most so many training samples, classes in proportion; 0: all")]


def planted(
    *,
    data: Annotated[str, Field(description="spec of the data; a comma in it is written %2C")] = "digits",
    cue: Annotated[
        str, Field(description="name, or names joined by +, each perhaps with its strength; none: the null case")
    ] = "patch",
    strength: Strength = "easy",
    ratio: Ratio = 0.02,
    samples: Limit = 0,
    tested: Annotated[int, Field(ge=0, description="at most so many test samples; 0: all")] = 0,
    noise: Noise = 0.0,
    seed: int = 0,
) -> Splits:
    """Any data set with classes, with a cue of the zoo planted (see :func:`longcut.cues.plant`).

    Args:
        data: spec of it; its own attribute is forgotten.
        cue: what is planted.
        strength: of each cue that does not say.
        ratio: share of the training samples of each class that conflict.
        samples, tested: at most so many; what is left out is drawn by ``seed``.
        noise: share of the training labels that is replaced by another one, after the cue was planted.
        seed: of the data and everything that is drawn.

    Raises:
        UserError: for data without classes, or a cue of other inputs.

    >>> planted(cue="stripe", ratio=0.05).train.conflicting.float().mean()
    tensor(0.0500)
    """
    options = {"data": data, "cue": cue, "strength": strength, "ratio": ratio, "samples": samples}
    name = spec_of("planted", {**options, "tested": tested, "noise": noise})
    base = load(data, seed)
    some = Splits(_some(base.train, samples, seed, 1), base.valid, _some(base.test, tested, seed, 2))
    made = plant(some, cue, strength=strength, ratio=ratio, seed=seed, name=name)
    return Splits(label_noise(made.train, noise, generator(seed, 2)), made.valid, made.test)


def _some(data: Dataset, n: int, seed: int, part: int) -> Dataset:
    """Of data with more than ``n`` samples about so many, each class in proportion."""
    if not 0 < n < len(data):
        return data
    return split(data, n / len(data), generator(seed, part, 73))[1]
