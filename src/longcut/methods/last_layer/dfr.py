"""Deep feature reweighting: the features of an ordinary net are good enough; its last layer is fitted anew."""

from __future__ import annotations

from typing import Annotated, Any, Literal, cast

import numpy as np
import torch
from pydantic import Field

from longcut.data import Dataset, Info, Splits, generator, split, undersample
from longcut.errors import UserError
from longcut.methods.base import FitHelper, MakeNet, Method, Recipe
from longcut.methods.last_layer.heads import Scaler, features_of, put
from longcut.methods.shared import RESNET, RESNET_CELEBA

__all__ = ["DFR", "lasso"]


def lasso(x: np.ndarray, label: np.ndarray, c: float, seed: int = 0) -> np.ndarray:
    """Logistic regression with an l1 penalty (liblinear), as a layer with one output per class.

    Several classes are fitted one against the rest. Of two, the layer's logits differ by the regression's.

    Args:
        x: ``(n, d)``.
        label: class ids ``(n,)``, each class present.
        c: inverse strength of the penalty.
        seed: of the solver.

    Returns:
        ``(C, d + 1)``, weights and in the last column the bias.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier

    # scikit-learn 1.8 renamed the argument
    l1: dict[str, Any] = {"l1_ratio": 1.0} if LogisticRegression().penalty == "deprecated" else {"penalty": "l1"}
    one = LogisticRegression(C=c, solver="liblinear", max_iter=1000, random_state=seed, **l1)
    fitted: Any = OneVsRestClassifier(one).fit(x, label).estimators_
    rows = [np.append(regression.coef_, regression.intercept_) for regression in fitted]
    return np.stack(rows) if len(rows) > 1 else np.stack([-rows[0], rows[0]]) / 2


class DFR(Method):
    """Train as ever; then fit the last layer anew, by l1 logistic regression on group-balanced held-out samples.

    It needs the attribute where it fits, in the validation set, and balances classes where none is known. Where it is
    known of some, it fits on these alone.
    """

    name = "dfr"
    paper = "Kirichenko et al., Last layer re-training is sufficient for robustness to spurious correlations, ICLR 2023"
    needs_classes = "its last layer is a logistic regression"
    variants = ({"fit_on": "train", "by": "class"}, {"scaler": "train", "subsamples": 2})
    recipes = {
        "paper": Recipe(
            "Waterbirds, for a pretrained ResNet-50: the newer released code",
            {},
            {**RESNET, "schedule": "cosine", "batch": 32, "epochs": 100},
        ),
        "celeba": Recipe(
            "CelebA, for a pretrained ResNet-50: the newer released code, which tries stronger penalties",
            {"penalties": "3-1-0.3-0.1-0.03-0.01-0.003"},
            RESNET_CELEBA,
        ),
        "text": Recipe(
            "MultiNLI and CivilComments, for BERT: the newer released code",
            {},
            {
                "optimizer": "adamw",
                "lr": 1e-5,
                "weight_decay": 1e-4,
                "schedule": "linear",
                "batch": 16,
                "epochs": 10,
            },
        ),
        "train": Recipe(
            "the paper's variant without held-out groups: fitted on the training set, mean of 10 subsamples",
            {"fit_on": "train", "subsamples": 10},
        ),
    }

    def __init__(
        self,
        make_net: MakeNet,
        info: Info,
        *,
        fit_on: Annotated[
            Literal["valid", "train"],
            Field(description="the samples the last layer is fitted on: held out, or those the features come from"),
        ] = "valid",
        by: Annotated[
            Literal["group", "class"],
            Field(description="what its subsamples balance, and whose worst accuracy chooses the penalty"),
        ] = "group",
        penalties: Annotated[
            str,
            Field(
                pattern=r"^(\d+|\d*\.\d+)(-(\d+|\d*\.\d+))*$",
                examples=["1-0.1-0.01"],
                description="inverse strengths of the l1 penalty to choose from, joined by '-'; the first wins a tie",
            ),
        ] = "1-0.7-0.3-0.1-0.07-0.03-0.01",
        subsamples: Annotated[int, Field(ge=1, description="balanced subsamples; their fits are averaged")] = 20,
        scaler: Annotated[
            Literal["fitted", "train"],
            Field(
                description="what features are standardised by: all samples that may be fitted on, or those of training"
            ),
        ] = "fitted",
    ) -> None:
        super().__init__(make_net, info)
        self.penalties = [float(c) for c in penalties.split("-")]
        if min(self.penalties) == 0:
            raise UserError(f"dfr: penalties={penalties} has a 0, which leaves no weight; give numbers above 0.")
        self.fit_on: Literal["valid", "train"] = fit_on
        self.by: Literal["group", "class"] = by
        self.subsamples, self.scaler = subsamples, scaler

    def check(self, splits: Splits) -> None:
        """Refuse a missing validation set, and one with too few samples of a group to balance and to halve."""
        held = splits.train if self.fit_on == "train" else splits.valid
        if held is None:
            raise UserError(f"dfr fits on the validation set, but {splits.info.name} has none; use fit_on=train.")
        held = self._usable(held)
        _require_all(held, self._balanced(held), self.fit_on)
        split(held, 0.5, generator(0), self._balanced(held))

    def _balanced(self, held: Dataset) -> Literal["group", "class"]:
        return self.by if held.known.any() else "class"

    def _usable(self, held: Dataset) -> Dataset:
        """Those of a group, where groups are balanced."""
        return held.take(held.known) if self._balanced(held) == "group" and not held.known.all() else held

    def finish(self, train: Dataset, valid: Dataset | None, fit: FitHelper) -> None:
        """Choose the penalty on one half of the samples, fit on all, put the mean of the fits into the head."""
        held = self._usable(cast(Dataset, train if self.fit_on == "train" else valid))
        by = self._balanced(held)
        held = features_of(self.net, held)
        scaler = Scaler(features_of(self.net, train) if self.scaler == "train" else held)
        part, judge = split(held, 0.5, self.generator, by)
        if self.fit_on == "train" and valid is not None:
            part, judge = held, features_of(self.net, self._usable(valid))
        part = undersample(part, by, self.generator)
        # what judges has no part in the fit, so it has none in the scaler: judged on other data, the usual one will do
        tuning = scaler if self.fit_on == "train" and valid is not None else Scaler(part)
        layers = [lasso(tuning(part), part.label.numpy(), c) for c in self.penalties]
        accuracy = [_worst(layer, tuning(judge), judge, by) for layer in layers]
        self.penalty = self.penalties[int(np.argmax(accuracy))]
        drawn = (undersample(held, by, self.generator) for _ in range(self.subsamples))
        layers = [lasso(scaler(part), part.label.numpy(), self.penalty) for part in drawn]
        put(*scaler.fold(np.mean(layers, axis=0)), self.net.head)


def _worst(layer: np.ndarray, x: np.ndarray, data: Dataset, by: Literal["group", "class"]) -> float:
    """Accuracy of a layer ``(C, d + 1)`` where it is lowest."""
    right = (x @ layer[:, :-1].T + layer[:, -1]).argmax(1) == data.label.numpy()
    ids = (data.group if by == "group" and data.known.any() else data.label).numpy()
    return min(right[ids == value].mean() for value in np.unique(ids))


def _require_all(data: Dataset, by: Literal["group", "class"], where: str) -> None:
    """Refuse to balance groups of which one is empty."""
    info = data.info
    width = info.n_attributes if by == "group" else 1
    count = torch.bincount(data.group if by == "group" else data.label, minlength=info.n_classes * width)
    if not count.all():
        empty = int(count.argmin())
        what = f"label '{info.class_names[empty // width]}'"
        if by == "group":
            what += f" with attribute '{info.attribute_names[empty % width]}'"
        raise UserError(
            f"dfr balances by {by}, but the {where} set of {info.name} has no sample of {what}; "
            f"add some{', or use by=class' if by == 'group' else ''}."
        )
