"""An attribute that is known for some, guessed for the rest of the training set: ``spread:data=birds.csv``."""

from __future__ import annotations

import dataclasses
import warnings
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from pydantic import Field

from longcut.data import Dataset, Splits, generator, ranks, usual_attribute
from longcut.datasets import load, spec_of
from longcut.errors import UserError
from longcut.methods.last_layer.heads import STRENGTHS, Scaler

__all__ = ["Guessed", "guess_attribute", "spread"]

FOLDS = 5


@dataclass(frozen=True)
class Guessed:
    """A training set without gaps in its attribute, and how well these are filled.

    Attributes:
        data: the samples; ``data.guessed`` says whose attribute is a guess.
        accuracy: of the known attributes, each told by a classifier that did not see it: the share of each value that
            is right, the mean over the values.
        known: how many these are.
        values: how many of the attribute's values are among them; by chance, accuracy is one over that.
        strength: inverse, of the classifier's penalty.
    """

    data: Dataset
    accuracy: float
    known: int
    values: int
    strength: float

    @property
    def note(self) -> str:
        """For who reads results."""
        guessed = int(self.data.known.sum()) - self.known
        return (
            f"the attribute of {guessed:,} of {len(self.data):,} training samples is guessed by a linear classifier of "
            f"the inputs, which is right in {self.accuracy:.1%} of the {self.known:,} "
            f"known ones (cross-fitted, mean over {self.values} values; by chance {1 / self.values:.0%})."
        )


def guess_attribute(data: Dataset, *, seed: int = 0) -> Guessed:
    """Fill the attributes that are not known by a logistic regression of the inputs, fitted on those that are.

    The inputs are standardised over all samples, the values of the attribute weigh alike, and the label is not looked
    at. The strength of the l2 penalty is the one of 0.001 to 1 (inverse) that guesses best what it did not see, in five
    folds, or as many as the rarest value has samples.

    Args:
        data: a table of features, with an attribute that is known of some.
        seed: of the folds.

    Raises:
        UserError: for inputs that are no features, and where a value is known once, or only one value is.

    >>> x = torch.arange(20.0).view(-1, 1) % 2
    >>> attribute = torch.where(torch.arange(20) < 8, x[:, 0].long(), -1)
    >>> found = guess_attribute(Dataset.of(x, torch.arange(20) % 2, attribute))
    >>> found.accuracy, found.data.attribute[8:12].tolist(), int(found.data.guessed.sum())
    (1.0, [0, 1, 0, 1], 12)
    """
    info, known = data.info, data.known
    if info.kind != "table":
        what = "images" if info.kind == "image" else "token ids"
        raise UserError(
            f"spread guesses attributes from features, but {info.name} holds {what}; make features of them first "
            "(longcut embed), or take the method ssa."
        )
    if data.attribute is None or not known.any():
        raise UserError(f"spread has nothing to spread: no attribute is known in the training set of {info.name}.")
    values, place, count = torch.unique(data.attribute[known], return_inverse=True, return_counts=True)
    if len(values) < 2 or int(count.min()) < 2:
        rare = int(values[count.argmin()])
        seen = "one value alone" if len(values) < 2 else f"the value '{info.attribute_names[rare]}' of one sample"
        raise UserError(
            f"spread learns to tell the attribute's values apart, but in the training set of {info.name} {seen} is "
            "known; look up at least two samples of two values."
        )
    every = Scaler(data)(data)
    x, y, rows = every[known.numpy()], place.numpy(), len(place)
    order = torch.randperm(rows, generator=generator(seed, 83))
    fold = torch.empty(rows, dtype=torch.long)
    fold[order] = ranks(place[order]) % min(FOLDS, int(count.min()))
    told = {c: _cross_fitted(x, y, fold.numpy(), c) for c in STRENGTHS}
    accuracy = {
        c: float(np.mean([(guess[y == v] == v).mean() for v in range(len(values))])) for c, guess in told.items()
    }
    best = max(STRENGTHS, key=lambda c: accuracy[c])
    found = values[torch.from_numpy(_classifier(x, y, best).predict(every)).long()]
    attribute = torch.where(known, data.attribute, found)
    full = dataclasses.replace(data, attribute=attribute, guessed=~known, info=dataclasses.replace(info, partial=False))
    return Guessed(full, accuracy[best], rows, len(values), best)


def _classifier(x: np.ndarray, y: np.ndarray, c: float):
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # it is good enough by then
        return LogisticRegression(C=c, class_weight="balanced", max_iter=1000).fit(x, y)


def _cross_fitted(x: np.ndarray, y: np.ndarray, fold: np.ndarray, c: float) -> np.ndarray:
    """What each sample is taken for by a classifier that did not see it ``(n,)``."""
    said = np.empty_like(y)
    for k in np.unique(fold):
        said[fold == k] = _classifier(x[fold != k], y[fold != k], c).predict(x[fold == k])
    return said


def spread(
    *,
    data: Annotated[str | None, Field(description="spec of the data; a comma in it is written %2C")] = None,
    seed: int = 0,
) -> Splits:
    """Any table of features, such as embeddings, in whose training set the unknown attributes are guessed.

    Validation and test set stay as they are, so that nothing is judged or selected by a guess. What goes with which
    label is worked out anew for data that was read from files. Runs say how good the guesses are.

    Args:
        data: spec of it.
        seed: of the data and the folds.

    Raises:
        UserError: as :func:`guess_attribute`, and when it is not said which data.

    Example::

        splits = spread(data="arrays:path=embeddings.npz%2Cattribute=place")
    """
    if data is None:
        raise UserError("data set 'spread' was not told which; write spread:data=….")
    base = load(data, seed)
    if base.train.known.all():
        return base
    found = guess_attribute(base.train, seed=seed)
    train = found.data
    about = {"name": spec_of("spread", {"data": data}), "notes": (*base.info.notes, found.note)}
    if train.source is not None and train.source.encoding and train.info.task == "classification":
        about["aligned"] = usual_attribute(train)
    told = (None if part is None else _told(part, about) for part in (train, base.valid, base.test))
    return Splits(*told)  # type: ignore[arg-type]


def _told(data: Dataset, about: dict) -> Dataset:
    return dataclasses.replace(data, info=dataclasses.replace(data.info, **about))
