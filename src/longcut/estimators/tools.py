"""For anybody's classifier: which rows contradict the easy cue, weights by group, and the worst group as a score."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn import config_context
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.metrics import make_scorer
from sklearn.utils import Tags, check_random_state
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from longcut.data import Dataset
from longcut.errors import UserError
from longcut.estimators.base import codes_of, inputs, same_rows, scaling
from longcut.estimators.rows import as_array, as_labels, classes_of, require_axes, rows_of


class AboutLabelled(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Says something about the rows with labels that ``fit`` sees, and has nothing to say about new ones."""

    any_columns = False  # whether X may be of anything, numbers or not, for it is not looked at

    def transform(self, X: Any) -> Any:
        """``X`` as it is: new rows have no label that could be contradicted or rare."""
        check_is_fitted(self)
        return validate_data(self, as_array(X), reset=False, allow_nd=True, accept_sparse="csr", **self._loose())

    def _loose(self) -> dict[str, Any]:
        return {"dtype": None, "ensure_all_finite": False} if self.any_columns else {}

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.input_tags.sparse = True
        tags.input_tags.allow_nan = tags.input_tags.string = self.any_columns
        return tags


class SuspectedConflict(AboutLabelled):
    """Which training rows contradict the easy cue? For anybody's classifier; no attribute is needed.

    A deliberately biased model judges rows that it was not trained on (:func:`longcut.audit.crossfit.suspicion`). What
    it says of a row is told by contrast with the row's label, so only rows with a label have a score, and ``transform``
    hands ``X`` on as it is.

    Args:
        folds: parts that are held out in turn; as many as the smallest class has rows, where that has fewer.
        random_state: a number, a ``RandomState`` or None.

    Attributes:
        scores_: of the rows that ``fit`` saw ``(n,)``, in [0, 1]: how sure the biased model is of other labels.
        suspected_: whether a row is suspected ``(n,)``: contradicted, and surely.

    Example::

        suspects = SuspectedConflict().fit(X, y)
        weight = GroupBalancer().fit(X, y, attribute=suspects.suspected_).sample_weight_
        LogisticRegression().fit(X, y, sample_weight=weight)
    """

    def __init__(self, *, folds: int = 4, random_state: Any = None) -> None:
        self.folds = folds
        self.random_state = random_state

    def fit(self, X: Any, y: Any) -> SuspectedConflict:
        """Score rows ``X``, a table ``(n, d)`` or images ``(n, C, H, W)``, by labels ``y`` ``(n,)``.

        Raises:
            UserError: for one class, a class with one row, or fewer than two folds.
        """
        from longcut.audit.crossfit import suspicion

        x, y = rows_of(self, X, y)
        require_axes(x)
        classes, label = classes_of(y)
        smallest = np.bincount(label).min()
        if not (isinstance(self.folds, int | np.integer) and self.folds > 1):
            raise UserError(f"folds={self.folds} is not allowed; give a whole number at least 2.")
        if smallest < 2:
            name = classes[np.bincount(label).argmin()]
            raise UserError(
                f"class '{name}' has 1 row, too few to be held out and trained on; add rows or leave it out."
            )
        data = Dataset.of(inputs(x, *scaling(x)), label, name="X", class_names=tuple(map(str, classes)))
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        self.scores_, self.suspected_ = suspicion(data, folds=min(self.folds, int(smallest)), seed=seed)
        return self


class GroupBalancer(AboutLabelled):
    """Weights for any classifier: every group counts the same, as a whole.

    A group is a (label, attribute) cell, or a class where no attribute is given; groups without rows are no groups.
    Rows of unknown attribute, missing or the number -1, are in no group: in each class they count together as one group
    does, but none of them more than a row of the class's largest group.

    Attributes:
        sample_weight_: of the rows that ``fit`` saw ``(n,)``, with mean 1; hand it on as ``sample_weight``.

    >>> GroupBalancer().fit([[1], [2], [3], [4]], [0, 0, 0, 1]).sample_weight_.round(2).tolist()
    [0.67, 0.67, 0.67, 2.0]
    """

    any_columns = True

    def fit(self, X: Any, y: Any, *, attribute: ArrayLike | None = None) -> GroupBalancer:
        """Weigh rows by labels ``y`` ``(n,)`` and, if given, ``attribute`` ``(n,)``.

        Raises:
            UserError: when the attribute is not one value for each row.
        """
        checked: Any = validate_data(
            self, as_array(X), as_labels(y), allow_nd=True, accept_sparse="csr", **self._loose()
        )
        x, y = checked
        check_classification_targets(y)
        label = np.unique(y, return_inverse=True)[1]
        group, known = label, np.ones(len(label), dtype=bool)
        if attribute is not None:
            codes, names = codes_of(attribute, x.shape[0])
            group, known = label * (len(names) + 1) + np.where(codes < 0, len(names), codes), codes >= 0
        self.sample_weight_ = compute_sample_weight("balanced", group)
        if not known.all():
            for c in np.unique(label):
                rest, least = (label == c) & ~known, self.sample_weight_[(label == c) & known]
                self.sample_weight_[rest] = np.minimum(self.sample_weight_[rest], least.min(initial=np.inf))
            self.sample_weight_ /= self.sample_weight_.mean()
        return self


def worst_group_accuracy(y_true: ArrayLike, y_pred: ArrayLike, *, attribute: ArrayLike | None = None) -> float:
    """Accuracy in the worst group; in [0, 1].

    Args:
        y_true: labels ``(n,)``.
        y_pred: predicted labels ``(n,)``.
        attribute: ``(n,)``. A group is a (label, attribute) cell that has rows, or a class when this is None. A row
            whose attribute is not known, missing or the number -1, is in no group.

    Raises:
        UserError: on unequal lengths, missing labels, labels of which some are text and some are not, or an attribute
            that is known of no row.

    >>> worst_group_accuracy([0, 0, 1, 1], [0, 0, 1, 0])
    0.5
    >>> worst_group_accuracy([0, 0, 1, 1], [0, 0, 1, 0], attribute=["land", "lake", "land", "lake"])
    0.0
    """
    import pandas as pd

    true, predicted = same_rows(y_true, y_pred)
    right, groups = true == predicted, [true]
    if attribute is not None:
        codes = codes_of(attribute, len(true))[0]
        right, groups = right[codes >= 0], [true[codes >= 0], codes[codes >= 0]]
    accuracy: Any = pd.Series(right).groupby(groups).mean()
    return float(accuracy.min())


with config_context(enable_metadata_routing=True):  # a scorer that asks for the attribute by itself
    worst_group_scorer = make_scorer(worst_group_accuracy).set_score_request(attribute=True)
