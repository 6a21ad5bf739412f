"""Cues planted in a data set: which value each sample gets, and the attribute that says so."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from longcut.cues.base import Cue
from longcut.cues.table import CUES
from longcut.data import Dataset, Info, Splits, generator, ranks
from longcut.errors import UserError
from longcut.spec import read, validate

__all__ = ["NONE", "Ratio", "Strength", "parse_cues", "plant", "values"]

NONE = "none"  # values are given out, and nothing shows them
AXES = {"image": 3, "table": 1, "tokens": 1}  # of one sample

Strength = Annotated[Literal["easy", "medium", "hard"], Field(description="how plain the cue is to see")]
Ratio = Annotated[float, Field(ge=0, le=1, description="share of the training samples of each class that conflict")]


def plant(
    splits: Splits, cue: str, *, strength: Strength = "easy", ratio: Ratio = 0.02, seed: int = 0, name: str = ""
) -> Splits:
    """Splits without a shortcut, with one or several planted.

    In training and validation part a share ``ratio`` of each class, at least one sample where it is above 0, gets the
    value of another class, uniformly; all others get the value of their own class. In the test set each class has all
    values equally often. Of several cues each is given out anew, so that one may conflict where the others agree.

    Args:
        splits: classes.
        cue: name, or names joined by ``+``, each perhaps with its own strength (``"stripe:strength=hard+patch"``);
            ``"none"`` gives values out and shows them nowhere: the null case.
        strength: of the cues that do not say.
        ratio: of conflicting samples.
        seed: of who conflicts, and of what else is drawn.
        name: of the data; by default that of ``splits`` and the cue.

    Returns:
        The same samples in storage of their own, numbered anew. The attribute is the value, one for each class. Of
        several cues it is which of them agree, all of them being the aligned one.

    Raises:
        UserError: for a regression, an unknown cue, or a cue of other inputs.

    >>> grey = Dataset.of(torch.zeros(40, 3, 16, 16, dtype=torch.uint8), torch.arange(40) % 2)
    >>> plant(Splits(grey, None, grey), "patch", ratio=0.1).train.conflicting.sum()  # 2 of each class
    tensor(4)
    """
    cues = parse_cues(cue, splits.info, strength)
    info = dataclasses.replace(splits.info, name=name or f"{splits.info.name}, {cue}", membership_names=())
    given = {"train": splits.train, "valid": splits.valid, "test": splits.test}
    made: dict[str, Any] = {}
    for part, (where, data) in enumerate(given.items()):
        draw = generator(seed, part, 71)
        made[where] = None if data is None else _planted(data, info, cues, None if where == "test" else ratio, draw)
    return Splits(**made)


def _planted(
    data: Dataset, info: Info, cues: Sequence[tuple[str, Cue | None, float]], ratio: float | None, draw: torch.Generator
) -> Dataset:
    x, classes, vocabulary, given = data.x[data.index], info.n_classes, info.vocabulary, []
    for _, cue, amount in cues:
        given.append(values(data.label, classes, ratio, draw))
        x = x if cue is None else cue.plant(x, given[-1], classes, amount, draw)
        if cue is not None and info.kind == "tokens":
            x = torch.where(x < 0, vocabulary - 1 - x, x)  # words of the cue's own
            vocabulary += classes
    if len(cues) == 1:
        attribute, names, aligned = given[0], tuple(map(str, range(classes))), tuple(range(classes))
    else:
        attribute = torch.stack([(v != data.label).long() << i for i, v in enumerate(given)]).sum(0)
        shown = [name for name, *_ in cues]
        names = tuple(
            " and ".join(f"{one} {'conflicts' if bits >> i & 1 else 'agrees'}" for i, one in enumerate(shown))
            for bits in range(2 ** len(cues))
        )
        aligned = (0,) * classes
    known = {"n_attributes": len(names), "attribute_names": names, "aligned": aligned}
    about = dataclasses.replace(info, n_stored=len(x), shape=tuple(x.shape[1:]), vocabulary=vocabulary, **known)
    return Dataset(x, torch.arange(len(x)), data.label, attribute, about)


def values(label: Tensor, n_classes: int, ratio: float | None, generator: torch.Generator) -> Tensor:
    """Who gets which value ``(n,)``.

    Args:
        label: ``(n,)``.
        n_classes: number of classes and of values.
        ratio: share of each class that gets one of the others; None: all values equally often in each class.
        generator: of the draw.

    >>> values(torch.tensor([0, 0, 0, 1, 1, 1]), 2, 0.3, torch.Generator().manual_seed(0)).ne(
    ...     torch.tensor([0, 0, 0, 1, 1, 1])
    ... ).view(2, 3).sum(1)
    tensor([1, 1])
    """
    order = torch.randperm(len(label), generator=generator)
    place = torch.empty_like(order)
    place[order] = ranks(label[order])
    step = torch.randint(1, max(n_classes, 2), label.shape, generator=generator)
    if ratio is None:
        return (label + place) % n_classes
    size = label.bincount(minlength=n_classes)
    conflicting = (ratio * size).round().clamp_min(float(ratio > 0)).long()
    return torch.where(place < conflicting[label], (label + step) % n_classes, label)


def parse_cues(cue: str, info: Info, strength: str = "easy") -> list[tuple[str, Cue | None, float]]:
    """Name, cue and amount of each cue in a spec.

    Raises:
        UserError: for a regression, an unknown cue or strength, or a cue of other inputs.
    """
    if info.task != "classification" or info.n_classes < 2:
        raise UserError(f"{info.name}: a cue is planted to give away one of several classes; take data with classes.")
    found = []
    for one in cue.split("+"):
        name, options = read(one.strip(), "cue")
        own = validate(f"cue '{name}'", _options, options).get("strength", strength)
        if name == NONE:
            found.append((name, None, 0.0))
            continue
        row = CUES.find(name)
        if info.kind != row.kind or len(info.shape) != AXES[row.kind]:
            fit = sorted(other for other, known in CUES.items() if known.kind == info.kind)
            raise UserError(
                f"cue '{name}' is planted in inputs of kind '{row.kind}', but {info.name} is of kind '{info.kind}' "
                f"and shape {info.shape}; take one of {', '.join(fit)}."
            )
        found.append((name, row, row.amounts[own]))
    return found


def _options(*, strength: Strength = "easy") -> None:
    """What can be said of a cue."""
