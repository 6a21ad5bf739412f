"""A head for look-ups: an l2 logistic regression in which every cell of label and attribute weighs the same."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from longcut.data import Dataset, Info
from longcut.errors import UserError
from longcut.methods.base import FitHelper, MakeNet, Method
from longcut.methods.last_layer.heads import Scaler, even, features_of, logistic, put

__all__ = [
    "FOLDS",
    "PROBE",
    "BalancedHead",
    "Unknown",
    "chosen",
    "cross_fitted",
    "filled",
    "folds_of",
    "softmax",
    "strength_to_c",
    "usual_of",
]

Unknown = Literal["usual", "spread", "leave-out"]
PROBE = 6000.0  # strength of the regressions that guess attributes, and that say whose label is expected
FOLDS = 4


def strength_to_c(strength: float, x: NDArray[np.floating]) -> float:
    """Scikit-learn's C, which grows with samples and features, of a strength that does not.

    >>> strength_to_c(200, np.zeros((10, 5)))
    4.0
    """
    return strength / x.size


def filled(
    x: NDArray[np.floating],
    label: NDArray[np.int64],
    attribute: NDArray[np.int64],
    usual: NDArray[np.int64],
    how: Unknown,
) -> NDArray[np.int64]:
    """The attribute of every sample, where that of most is unknown (-1).

    Args:
        x: standardised features ``(n, d)``.
        label: class ids ``(n,)``.
        attribute: ids, or -1 ``(n,)``.
        usual: for each class the value that goes with it ``(C,)``.
        how: ``"usual"``: the usual value of its class. ``"spread"``: what a logistic regression says that learned the
            filled column with every cell of label and attribute weighing the same. ``"leave-out"``: it stays unknown.

    Returns:
        ``(n,)``.

    >>> filled(np.zeros((3, 1)), np.array([0, 1, 1]), np.array([-1, -1, 0]), np.array([0, 1]), "usual")
    array([0, 1, 0])
    """
    unknown = attribute < 0
    if how == "leave-out":
        return attribute
    taken = np.where(unknown, usual[label], attribute)
    if how == "usual" or not unknown.any():
        return taken
    values = int(taken.max()) + 1
    layer = logistic(x, taken, values, strength_to_c(PROBE, x), even(label * values + taken))
    return np.where(unknown, (x @ layer[:, :-1].T + layer[:, -1]).argmax(1), attribute)


def chosen(
    x: NDArray[np.floating],
    label: NDArray[np.int64],
    cell: NDArray[np.int64],
    strengths: list[float],
    fold: NDArray[np.int64],
) -> float:
    """The first strength whose head is, in its worst cell, within a standard error of the best one's.

    Heads are judged on samples that they were not fitted on. The error is that of the best head's accuracy in its worst
    cell, which is large while cells are small: then a choice among penalties is one among noise, and the first, which
    is to be the strongest, does. Cells with fewer samples than there are folds are too small to be judged by.

    Source: Breiman et al., "Classification and regression trees", 1984, for the rule of one standard error.
    """
    classes = int(label.max()) + 1
    if len(strengths) == 1:
        return strengths[0]
    right = np.empty((len(strengths), len(label)), bool)
    for part in np.unique(fold):
        held = fold == part
        for row, strength in zip(right, strengths, strict=True):
            own, weight = x[~held], even(cell[~held])
            layer = logistic(own, label[~held], classes, strength_to_c(strength, own), weight)
            row[held] = (x[held] @ layer[:, :-1].T + layer[:, -1]).argmax(1) == label[held]
    size = np.bincount(cell)
    counted = np.flatnonzero(size >= len(np.unique(fold)))
    if not len(counted):
        return strengths[0]
    accuracy = np.array([[row[cell == one].mean() for one in counted] for row in right])
    worst = accuracy.min(1)
    best = int(worst.argmax())
    error = np.sqrt(worst[best] * (1 - worst[best]) / size[counted[accuracy[best].argmin()]])
    return strengths[int((worst >= worst[best] - error).argmax())]


def folds_of(cell: NDArray[np.int64], folds: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """A part 0…folds−1 for each sample, each cell spread evenly over them ``(n,)``."""
    order = generator.permutation(len(cell))
    order = order[np.argsort(cell[order], kind="stable")]
    fold = np.empty(len(cell), np.int64)
    fold[order] = np.arange(len(cell)) % folds
    return fold


def cross_fitted(
    x: NDArray[np.float32], label: NDArray[np.int64], classes: int, generator: np.random.Generator, folds: int = FOLDS
) -> NDArray[np.float64]:
    """Probabilities ``(n, C)`` by logistic regressions with classes of equal weight that did not see the sample."""
    fold, probability = folds_of(label, folds, generator), np.empty((len(label), classes))
    for part in range(folds):
        held = fold == part
        own, y = x[~held], label[~held]
        layer = logistic(own, y, classes, strength_to_c(PROBE, own), even(y))
        probability[held] = softmax(x[held] @ layer[:, :-1].T + layer[:, -1])
    return probability


def softmax(logits: NDArray[Any]) -> NDArray[np.float64]:
    """Probabilities along the last axis."""
    shifted = np.exp(logits - logits.max(-1, keepdims=True))
    return shifted / shifted.sum(-1, keepdims=True)


def usual_of(label: np.ndarray, attribute: np.ndarray, score: np.ndarray, n_classes: int, n_values: int) -> np.ndarray:
    """For each class the value that goes with it ``(C,)``: each answer votes with the odds of its sample's own label.

    Most answers are of suspicious samples, which contradict what usually goes with their class; a few others, whose
    label is a thousand times as probable as any other, outvote them. Of equals the lowest id is taken.

    Args:
        label, attribute: of the samples ``(n,)``; an attribute of -1 is unknown.
        score: suspicion, one minus the probability of the own label ``(n,)``; nan, where it is unknown, counts as 0.5.

    >>> usual_of(np.array([0, 0, 0]), np.array([0, 1, 1]), np.array([0.01, 0.9, 0.8]), 1, 2)
    array([0])
    """
    score = np.clip(np.nan_to_num(score, nan=0.5), 1e-6, 1)
    known = attribute >= 0
    votes = np.zeros((n_classes, n_values))
    np.add.at(votes, (label[known], attribute[known]), ((1 - score) / score)[known])
    return votes.argmax(1)


class BalancedHead(Method):
    """Train as ever; then fit the last layer anew on the training set, every group weighing the same (l2 penalty).

    The attribute may be unknown for most training samples, as after a hundred look-ups: it is filled first.
    """

    name = "balanced-head"
    paper = (
        "the balance of Idrissi et al., Simple data balancing achieves competitive worst-group-accuracy, CLeaR 2022, "
        "in the last layer alone, as in Kirichenko et al., ICLR 2023"
    )
    needs = frozenset({"attribute"})
    partial = True
    needs_classes = "its last layer is a logistic regression"
    variants = ({"unknown": "spread"}, {"unknown": "leave-out"})

    def __init__(
        self,
        make_net: MakeNet,
        info: Info,
        *,
        unknown: Annotated[
            Unknown,
            Field(
                description="samples without an attribute: have the usual one of their class, one that is guessed from "
                "the features, or no part in the fit"
            ),
        ] = "usual",
        strengths: Annotated[
            str,
            Field(
                pattern=r"^(\d+|\d*\.\d+)(-(\d+|\d*\.\d+))*$",
                examples=["200"],
                description="inverse strengths of the penalty, C times samples times features, joined by '-'; "
                "taken is the first whose worst group is, in cross-validation, within a standard error of the best",
            ),
        ] = "200-2000-20000",
    ) -> None:
        super().__init__(make_net, info)
        self.unknown: Unknown = unknown
        self.strengths = [float(strength) for strength in strengths.split("-")]
        if min(self.strengths) == 0:
            raise UserError(
                f"balanced-head: strengths={strengths} has a 0, which leaves no weight; give numbers above 0."
            )

    def finish(self, train: Dataset, valid: Dataset | None, fit: FitHelper) -> None:
        """Fill the attribute, choose the strength by cross-validation, fit, and put the layer into the head."""
        data = features_of(self.net, train)
        assert data.attribute is not None  # of some: the loop has refused data of which none is known
        scaler = Scaler(data)
        x, label = scaler(data).astype(np.float32), data.label.numpy()
        random = np.random.default_rng(int(torch.randint(2**31, (), generator=self.generator)))
        attribute = data.attribute.numpy()
        if self.unknown != "leave-out" and (attribute < 0).any():
            classes = self.info.n_classes
            own = cross_fitted(x, label, classes, random)[np.arange(len(label)), label]
            usual = usual_of(label, attribute, 1 - own, classes, self.info.n_attributes)
            attribute = filled(x, label, attribute, usual, self.unknown)
        known = attribute >= 0
        if missing := set(range(self.info.n_classes)) - set(label[known].tolist()):
            name = self.info.class_names[min(missing)] if self.info.class_names else min(missing)
            raise UserError(
                f"balanced-head: no sample of class '{name}' has a known attribute; look some up, or use unknown=usual."
            )
        x, label = x[known], label[known]
        cell = label * self.info.n_attributes + attribute[known]
        fold = folds_of(cell, FOLDS, random)
        self.strength = chosen(x, label, cell, self.strengths, fold)
        layer = logistic(x, label, self.info.n_classes, strength_to_c(self.strength, x), even(cell))
        put(*scaler.fold(layer), self.net.head)
