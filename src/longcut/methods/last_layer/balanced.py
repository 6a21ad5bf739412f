"""A head for look-ups: an l2 logistic regression in which every cell of label and attribute weighs the same."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from longcut.data import Dataset, Info, usual_attribute
from longcut.errors import UserError
from longcut.methods.base import FitHelper, MakeNet, Method
from longcut.methods.last_layer.heads import Scaler, even, features_of, logistic, put

__all__ = ["PROBE", "BalancedHead", "Unknown", "chosen", "filled", "strength_to_c"]

Unknown = Literal["usual", "spread", "leave-out"]
PROBE = 6000.0  # strength of the regression that guesses attributes
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
    """The strength whose head is best in its worst cell, on samples it was not fitted on; the first of equals.

    Cells with fewer samples than there are folds are too small to be judged by.
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
    counted = np.flatnonzero(np.bincount(cell) >= len(np.unique(fold)))
    worst = [min((row[cell == one].mean() for one in counted), default=0.0) for row in right]
    return strengths[int(np.argmax(worst))]


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
                description="inverse strengths of the penalty, C times samples times features, joined by '-'; the one "
                "with the best worst group in cross-validation is taken, the first of equals",
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
        usual = self.info.aligned or usual_attribute(data)
        attribute = filled(x, label, data.attribute.numpy(), np.array(usual), self.unknown)
        known = attribute >= 0
        if missing := set(range(self.info.n_classes)) - set(label[known].tolist()):
            name = self.info.class_names[min(missing)] if self.info.class_names else min(missing)
            raise UserError(
                f"balanced-head: no sample of class '{name}' has a known attribute; look some up, or use unknown=usual."
            )
        x, label = x[known], label[known]
        cell = label * self.info.n_attributes + attribute[known]
        fold = np.empty(len(cell), np.int64)
        order = torch.randperm(len(cell), generator=self.generator).numpy()
        order = order[np.argsort(cell[order], kind="stable")]
        fold[order] = np.arange(len(cell)) % FOLDS
        self.strength = chosen(x, label, cell, self.strengths, fold)
        layer = logistic(x, label, self.info.n_classes, strength_to_c(self.strength, x), even(cell))
        put(*scaler.fold(layer), self.net.head)
