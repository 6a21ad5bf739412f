"""Differences between groups as scores, for anybody's classifier of two classes."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn import config_context
from sklearn.metrics import make_scorer

from longcut.data import Dataset
from longcut.errors import UserError
from longcut.estimators.base import codes_of, same_rows
from longcut.evaluate import metrics

__all__ = ["demographic_parity", "demographic_parity_scorer", "equalized_odds", "equalized_odds_scorer"]


def equalized_odds(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    attribute: ArrayLike | None = None,
    how: Literal["sum", "max", "mean"] = "sum",
) -> float:
    """How far true and false positive rates differ between groups; 0 is best (Hardt et al., NeurIPS 2016).

    The largest difference of each rate over the groups. It is the same whichever class is the positive one.

    Args:
        y_true: labels ``(n,)`` of two classes.
        y_pred: predicted labels ``(n,)``.
        attribute: the group of each row ``(n,)``, values of any kind.
        how: of the two differences the ``"sum"``, in [0, 2]; the ``"max"``, fairlearn's
            ``equalized_odds_difference``; or the ``"mean"``, its ``agg="mean"``. Papers report all three.

    Returns:
        ``nan`` where there are fewer than two groups, or one of them lacks one of the classes.

    Raises:
        UserError: on unequal lengths, more than two classes, without an attribute, or for another ``how``.

    >>> equalized_odds([0, 0, 1, 1, 0, 1], [0, 1, 1, 1, 0, 0], attribute=["a", "a", "a", "a", "b", "b"])
    1.5
    """
    if how not in ("sum", "max", "mean"):
        raise UserError(f"how='{how}' is not known; give sum, max or mean.")
    return _measured(f"equalized_odds_{how}", "equalized_odds", y_true, y_pred, attribute)


def demographic_parity(y_true: ArrayLike, y_pred: ArrayLike, *, attribute: ArrayLike | None = None) -> float:
    """Largest difference between groups of how often either class is predicted; in [0, 1], and 0 is best.

    Args:
        y_true: labels ``(n,)`` of two classes; they do not matter, and are here as in every score.
        y_pred: predicted labels ``(n,)``.
        attribute: the group of each row ``(n,)``, values of any kind.

    Returns:
        ``nan`` where there are fewer than two groups.

    Raises:
        UserError: on unequal lengths, more than two classes, or without an attribute.

    >>> demographic_parity([0, 1, 0, 1], [1, 1, 0, 1], attribute=["a", "a", "b", "b"])
    0.5
    """
    return _measured("demographic_parity", "demographic_parity", y_true, y_pred, attribute)


def _measured(metric: str, name: str, y_true: ArrayLike, y_pred: ArrayLike, attribute: ArrayLike | None) -> float:
    """A metric of the table of labels and predictions."""
    true, predicted = same_rows(y_true, y_pred)
    if attribute is None:
        raise UserError(
            f"{name} compares groups, and no attribute was given; give attribute=…, and in a search switch on "
            "scikit-learn's metadata routing."
        )
    classes, codes = np.unique(np.concatenate([true, predicted]), return_inverse=True)
    if len(classes) > 2:
        raise UserError(f"{name} is about two classes, and these labels are of {len(classes)}; merge some.")
    label, right = torch.from_numpy(codes[: len(true)]), torch.from_numpy(true == predicted).double()
    group, names = codes_of(attribute, len(true))
    data = Dataset.of(torch.zeros(len(true), 1), label, group, n_classes=2, n_attributes=len(names))
    return metrics(right, data)[metric]


with config_context(enable_metadata_routing=True):  # scorers that ask for the attribute by themselves
    equalized_odds_scorer = make_scorer(equalized_odds, greater_is_better=False).set_score_request(attribute=True)
    demographic_parity_scorer = make_scorer(demographic_parity, greater_is_better=False).set_score_request(
        attribute=True
    )
