"""Data of which some attributes were looked up: ``answered:data=birds.csv,answers=answers.csv``."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from longcut.data import Dataset, Splits
from longcut.datasets import load
from longcut.errors import UserError
from longcut.lookup.answers import Answer, attach, names_of, read
from longcut.methods.last_layer.balanced import usual_of
from longcut.sources import Progress

__all__ = ["answered"]


def answered(
    *,
    data: Annotated[str | None, Field(description="spec or path of the data; a comma in it is written %2C")] = None,
    answers: Annotated[str | None, Field(description="CSV files of answers, joined by |")] = None,
    values: Annotated[
        str | None, Field(description="values of the attribute, joined by |; by default those of the data or answers")
    ] = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Splits:
    """Data with the answers of ``longcut annotate`` as its attribute, which stays unknown for all other samples.

    Answers go to the parts that share the training samples' storage. A part nothing is known of has no attribute.

    Args:
        data: what was looked at.
        answers: what was seen.
        values: of the attribute.
        seed: of the parts and what is drawn, where the data draws some.
        progress: told how many images of how many are decoded.

    Raises:
        UserError: for a regression, a missing file, no answer at all, or answers about other data.

    Example::

        splits = answered(data="table:path=birds.csv%2Clabel=bird", answers="answers.csv")
    """
    if data is None or answers is None:
        raise UserError("data set 'answered' needs both: write answered:data=SPEC,answers=FILE.")
    base = load(data, seed, progress)
    if base.info.task != "classification":
        raise UserError(f"{base.info.name} is a regression; answers are about data with classes, leave them out.")
    files = [Path(file) for file in answers.split("|")]
    known = base.info.attribute_names
    declared = tuple(values.split("|")) if values else known
    said = read(files, declared)
    where = ", ".join(map(str, files))
    names = names_of(said, declared)
    if len(names) < 2:
        raise UserError(
            f"{where} answer {f'with one value only, {names[0]!r}' if names else 'nothing'}; "
            "an attribute needs two values, look more samples up."
        )
    if known and known != names:
        raise UserError(
            f"{base.info.name} has the attribute values {', '.join(known)}, but the values given are "
            f"{', '.join(names)}; leave --values out."
        )
    told = [_told(part, base.train, said, names, where) for part in (base.train, base.valid, base.test)]
    train = told[0]
    assert train is not None
    usual = base.info.aligned if base.train.known.any() else _usual(train, said, len(names))
    about = {
        "n_attributes": len(names),
        "attribute_names": names,
        "aligned": tuple(int(value) for value in usual),
        "partial": True,
    }
    parts = [part and dataclasses.replace(part, info=dataclasses.replace(part.info, **about)) for part in told]
    assert parts[0] is not None and parts[2] is not None
    return Splits(parts[0], parts[1], parts[2])


def _told(
    part: Dataset | None, train: Dataset, said: list[Answer], names: tuple[str, ...], where: str
) -> Dataset | None:
    """A part with what is known of it: by itself, and by the answers where they are about its storage."""
    if part is None or part.x is not train.x:
        return part
    column = attach(part, said, names, where)
    if part.attribute is not None:
        column = torch.where(column < 0, part.attribute, column)
    none = part is not train and bool((column < 0).all())
    return dataclasses.replace(part, attribute=None if none else column)


def _usual(train: Dataset, said: list[Answer], n_values: int) -> Tensor:
    """The usual value of each class, told by the answers about training samples."""
    assert train.attribute is not None
    scores = {answer.row: answer.score for answer in said}
    score = np.array([scores.get(row, float("nan")) for row in train.index.tolist()])
    return torch.from_numpy(
        usual_of(train.label.numpy(), train.attribute.numpy(), score, train.info.n_classes, n_values)
    )
