"""scikit-learn estimators: ``fit(X, y, attribute=…)`` around the one training loop, and tools for other classifiers."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn import config_context
from sklearn.base import BaseEstimator, ClassifierMixin, OneToOneFeatureMixin, RegressorMixin, TransformerMixin
from sklearn.metrics import make_scorer
from sklearn.utils import Tags, check_random_state
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data
from torch import Tensor

from longcut.data import Dataset, Splits, usual_attribute
from longcut.errors import UserError
from longcut.evaluate import predict
from longcut.fit import fit, steps_per_epoch
from longcut.methods import Method, build, get
from longcut.spec import validate
from longcut.training import Training

__all__ = [
    "DebiasedClassifier",
    "DebiasedRegressor",
    "GroupBalancer",
    "SuspectedConflict",
    "worst_group_accuracy",
    "worst_group_scorer",
]

STEPS, PASSES = 1000, 10  # updates when neither steps nor epochs are given, and passes over large data
PARTS = 10  # weights that are not whole numbers are kept to this part of their mean


def _array(x: Any) -> Any:
    """Tensors as arrays; everything else is scikit-learn's to check."""
    return x.detach().cpu().numpy() if isinstance(x, Tensor) else x


def _codes(attribute: ArrayLike, n: int) -> tuple[NDArray[np.intp], list[str]]:
    """Attribute values of any kind as ids ``(n,)``, and the name of each.

    Raises:
        UserError: when there is not one for each row, or one is missing.
    """
    import pandas as pd

    values = np.asarray(_array(attribute))
    if values.shape != (n,):
        raise UserError(f"attribute has shape {values.shape}, but X has {n} rows; give one value for each row.")
    codes, names = pd.factorize(values, sort=True)
    if (codes < 0).any():
        missing = int((codes < 0).argmax())
        raise UserError(f"the attribute of row {missing} is missing; name it, such as 'unknown', or drop the row.")
    return codes, [str(name) for name in names]


def _times(weight: NDArray[np.float64]) -> NDArray[np.int64]:
    """How often each row stands, for only the proportions of weights count; whole numbers are kept exactly.

    >>> _times(np.array([0.0, 2.0, 1.0])), _times(np.array([6.0, 6.0])), _times(np.array([0.25, 1.75]))
    (array([0, 2, 1]), array([1, 1]), array([1, 9]))
    """
    times = weight
    if (weight != np.rint(weight)).any():
        times = np.maximum(np.rint(PARTS * weight / weight[weight > 0].mean()), weight > 0)
    times = times.astype(np.int64)
    return times // np.gcd.reduce(times)


def _canonical(x: NDArray[Any], columns: Sequence[NDArray[Any]], times: NDArray[np.int64]) -> tuple[Any, Any]:
    """Distinct rows in an order that depends on nothing but what they hold, and how often each stands.

    So training sees the same whatever the order of the rows, and whether a row is repeated or weighted.

    >>> _canonical(np.array([[7], [5], [7]]), [np.array([1, 0, 1])], np.array([1, 2, 3]))
    (array([1, 0]), array([2, 4]))
    """
    flat = np.ascontiguousarray(x.reshape(len(x), -1))
    content = flat.view(np.dtype((np.void, flat.shape[1] * flat.itemsize))).ravel()
    order = content.argsort(kind="stable")
    order = order[np.lexsort([column[order] for column in columns])]
    differs = [values[order][1:] != values[order][:-1] for values in (content, *columns)]
    first = np.flatnonzero(np.r_[True, np.any(differs, axis=0)])
    return order[first], np.add.reduceat(times[order], first)


def _scaling(x: NDArray[Any], times: NDArray[np.int64] | None = None) -> tuple[Any, float]:
    """The mean of each column of a table, and one scale for all, which leaves the geometry as it is."""
    if x.ndim == 4:
        return 0.0, 1.0
    mean = np.average(x, axis=0, weights=times)
    spread = np.average(np.square(x - mean).mean(1), weights=times)
    return mean, float(np.sqrt(spread)) or 1.0


def _inputs(x: NDArray[Any], mean: Any, scale: float) -> Tensor:
    """Images as they are, uint8 or float32; a table centred and scaled, float32."""
    if x.ndim == 4:
        return torch.from_numpy(np.array(x, np.uint8 if x.dtype == np.uint8 else np.float32))
    return torch.from_numpy(((x - mean) / scale).astype(np.float32))


def _require_axes(x: NDArray[Any]) -> None:
    if x.ndim not in (2, 4):
        raise UserError(f"X has shape {x.shape}; give a table (n, d) or images (n, C, H, W).")


def _classes(y: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.intp]]:
    """The classes, and the number of each row's."""
    check_classification_targets(y)
    classes, label = np.unique(y, return_inverse=True)
    if len(classes) < 2:
        raise UserError(f"y has one class, '{classes[0]}'; give rows of at least two.")
    return classes, label


class _Debiased(BaseEstimator):
    """What classifier and regressor share: from arrays to a trained method, and from new arrays to its outputs."""

    method: str | type[Method]
    options: Mapping[str, Any] | None
    hidden: Sequence[int] | None
    net: str | None
    epochs: int | None
    steps: int | None
    batch_size: int
    lr: float
    device: torch.device | str
    random_state: Any
    feature_names_in_: NDArray[Any]

    def _canonical_rows(
        self, X: Any, y: Any, attribute: Any, sample_weight: Any, **checks: Any
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any] | None, list[str], NDArray[np.int64]]:
        """Checked ``X, y, attribute``, the names of the attribute's values, and how often each row stands."""
        checked: Any = validate_data(self, _array(X), _array(y), allow_nd=True, **checks)
        x, y = checked
        _require_axes(x)
        times = np.ones(len(x), np.int64)
        if sample_weight is not None:
            weight = _check_sample_weight(_array(sample_weight), x, dtype=np.float64, ensure_non_negative=True)
            times = _times(weight)
        present = np.flatnonzero(times)
        columns, names = [np.unique(y[present], return_inverse=True)[1]], []
        if attribute is not None:
            codes, every = _codes(attribute, len(x))
            values, codes = np.unique(codes[present], return_inverse=True)
            columns.append(codes)
            names = [every[value] for value in values]
        rows, times = _canonical(x[present], columns, times[present])
        return x[present][rows], y[present][rows], columns[1][rows] if names else None, names, times

    def _train(self, x: NDArray[Any], label: Any, attribute: Any, names: list[str], times: Any, **info: Any) -> None:
        """Scale, build, fit."""
        self.mean_, self.scale_ = _scaling(x, times)
        if names:
            info |= {"n_attributes": len(names), "attribute_names": tuple(names)}
        data = Dataset.of(_inputs(x, self.mean_, self.scale_), label, attribute, name="X", **info)
        data = data.take(torch.repeat_interleave(torch.from_numpy(times)))
        if names and data.info.task == "classification":
            data = dataclasses.replace(data, info=dataclasses.replace(data.info, aligned=usual_attribute(data)))
        net, training = self._net(), self._training(len(data))
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        method = build(self.method, data.info, net=net, options=self.options, seed=seed)
        first = data.take(torch.arange(1))  # the loop wants something to judge on; one row costs nothing
        fitted = fit(method, Splits(data, None, first), training, seed=seed, device=self.device)
        del method.train_data  # else every fitted estimator would hold its training set
        self.method_ = fitted.method
        self.history_ = [{key: value for key, value in row.items() if key != "test"} for row in fitted.history]
        self._built = {"method": self.method, "info": data.info, "net": net, "options": dict(self.options or {})}

    def _net(self) -> str:
        if self.net is not None and self.hidden is not None:
            raise UserError(f"hidden={self.hidden} and net='{self.net}' both say what the net is; give one of them.")
        if self.net is not None:
            return self.net
        hidden = (100,) if self.hidden is None else self.hidden
        if isinstance(hidden, str) or not isinstance(hidden, Sequence):
            raise UserError(f"hidden={hidden} is not a tuple of widths; give one per hidden layer, such as (100,).")
        return f"mlp:hidden={'-'.join(map(str, hidden))}"

    def _training(self, n: int) -> Training:
        """Settings of the loop for ``n`` rows; it counts in passes, so steps are rounded up to whole ones."""
        if self.steps is not None and self.epochs is not None:
            raise UserError(f"steps={self.steps} and epochs={self.epochs} both say how long; give one of them.")
        if self.steps is not None and not (isinstance(self.steps, int | np.integer) and self.steps > 0):
            raise UserError(f"steps={self.steps} is not allowed; give a whole number at least 1.")
        cls = get(self.method) if isinstance(self.method, str) else self.method
        given = {"batch": self.batch_size, "lr": self.lr, "epochs": 1 if self.epochs is None else self.epochs}
        training = Training(**validate("training", Training, {**cls.training_defaults, **given}))
        epochs = training.epochs
        if self.epochs is None:
            epochs = math.ceil((self.steps or STEPS) / steps_per_epoch(n, training))
        if self.epochs is None and self.steps is None:
            epochs = max(epochs, PASSES)
        return dataclasses.replace(training, epochs=epochs, every=epochs)

    def _outputs(self, X: Any) -> Tensor:
        """Outputs of the net for new rows ``(n, C)``."""
        check_is_fitted(self, "method_")
        x: Any = validate_data(self, _array(X), reset=False, allow_nd=True)
        if x.shape[1:] != self.method_.info.shape:
            raise UserError(f"X has rows of shape {x.shape[1:]}, but fit saw {self.method_.info.shape}; give the same.")
        data = Dataset.of(_inputs(x, self.mean_, self.scale_), torch.zeros(len(x)), name="X")
        return predict(self.method_, data, next(self.method_.parameters()).device)

    def __getstate__(self) -> dict[str, Any]:
        """A method holds functions, which cannot be pickled; its weights can, and the rest can be built again."""
        state: Any = super().__getstate__()
        if "method_" in state:
            state = dict(state)
            state["method_"] = {name: value.cpu() for name, value in self.method_.state_dict().items()}
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        if "method_" in state:
            method = build(**state["_built"])
            method.load_state_dict(state["method_"])
            state = {**state, "method_": method.eval()}
        super().__setstate__(state)


class DebiasedClassifier(ClassifierMixin, _Debiased):
    """A net trained by any classification method of longcut, as a scikit-learn classifier.

    The columns of a table are centred and divided by one common number, which leaves the geometry of an embedding as
    it is; where columns have different units, put a ``StandardScaler`` in front. The result does not depend on the
    order of the rows.

    Args:
        method: a name from ``longcut.METHODS``, or a class of your own.
        options: of the method, by name.
        hidden: widths of the hidden layers of a fully connected net; None is ``(100,)``.
        net: in place of ``hidden``, a net by name, such as ``"conv"`` for images ``(n, C, H, W)``.
        epochs: passes over the training set.
        steps: updates, rounded up to whole passes. Without ``epochs`` and ``steps``: 1,000, and at least 10 passes.
        batch_size: rows per update.
        lr: learning rate.
        device: where to train, such as ``"cuda"``.
        random_state: a number, a ``RandomState`` or None, as everywhere in scikit-learn.

    Attributes:
        classes_: the labels.
        n_features_in_: columns, or channels of images, seen by ``fit``.
        feature_names_in_: their names, when ``X`` was a DataFrame with names.
        method_: the trained longcut method, a ``torch.nn.Module``.
        history_: a row per pass: ``epoch, seconds, loss`` and the method's logs.
        mean_, scale_: the columns are centred by the one and divided by the other.

    >>> X, y = np.random.RandomState(0).randn(60, 2), np.arange(60) % 2
    >>> X[:, 0] += 4 * y
    >>> DebiasedClassifier("erm", steps=100, random_state=0).fit(X, y).predict([[0.0, 0.0], [4.0, 0.0]])
    array([0, 1])
    """

    def __init__(
        self,
        method: str | type[Method] = "selecmix",
        *,
        options: Mapping[str, Any] | None = None,
        hidden: Sequence[int] | None = None,
        net: str | None = None,
        epochs: int | None = None,
        steps: int | None = None,
        batch_size: int = 128,
        lr: float = 1e-3,
        device: torch.device | str = "cpu",
        random_state: Any = None,
    ) -> None:
        self.method = method
        self.options = options
        self.hidden = hidden
        self.net = net
        self.epochs = epochs
        self.steps = steps
        self.batch_size = batch_size
        self.lr = lr
        self.device = device
        self.random_state = random_state

    def fit(
        self, X: Any, y: Any, *, attribute: ArrayLike | None = None, sample_weight: ArrayLike | None = None
    ) -> DebiasedClassifier:
        """Train on rows ``X``.

        Args:
            X: a table ``(n, d)``, or images ``(n, C, H, W)``, uint8 or floats in [0, 1].
            y: labels ``(n,)``, numbers or names.
            attribute: the value of the shortcut for each row ``(n,)``, for methods that are told it.
            sample_weight: ``(n,)``, at least 0: how often each row stands. Only their proportions count, and others
                than whole numbers are rounded to a tenth of their mean.

        Raises:
            UserError: for settings that are not allowed, one class, or a method without the attribute it needs.
        """
        x, y, attribute, names, times = self._canonical_rows(X, y, attribute, sample_weight)
        self.classes_, label = _classes(y)
        self._train(x, label, attribute, names, times, class_names=tuple(map(str, self.classes_)))
        return self

    def predict_proba(self, X: Any) -> NDArray[np.float32]:
        """Probabilities ``(n, C)``, columns as in ``classes_``."""
        return self._outputs(X).softmax(1).numpy()

    def predict(self, X: Any) -> NDArray[Any]:
        """The most probable label of each row ``(n,)``."""
        likely = self.predict_proba(X).argmax(1)
        return self.classes_[likely]


class DebiasedRegressor(RegressorMixin, _Debiased):
    """A net trained by any regression method of longcut, as a scikit-learn regressor.

    The target is standardised inside; everything else is as in :class:`DebiasedClassifier`.

    Args:
        method: ``"mixup"``, ``"erm"`` or another whose ``tasks`` say regression.
        options: as in :class:`DebiasedClassifier`, like all that follow.
        hidden: see there.
        net: see there.
        epochs: see there.
        steps: see there.
        batch_size: see there.
        lr: see there.
        device: see there.
        random_state: see there.

    Attributes:
        method_, history_, mean_, scale_, n_features_in_, feature_names_in_: as in :class:`DebiasedClassifier`.
        target_mean_, target_scale_: what the target is standardised by.

    >>> X = np.linspace(-1, 1, 50)[:, None]
    >>> bool(DebiasedRegressor("erm", steps=200, random_state=0).fit(X, 300 * X[:, 0]).score(X, 300 * X[:, 0]) > 0.9)
    True
    """

    def __init__(
        self,
        method: str | type[Method] = "mixup",
        *,
        options: Mapping[str, Any] | None = None,
        hidden: Sequence[int] | None = None,
        net: str | None = None,
        epochs: int | None = None,
        steps: int | None = None,
        batch_size: int = 128,
        lr: float = 1e-3,
        device: torch.device | str = "cpu",
        random_state: Any = None,
    ) -> None:
        self.method = method
        self.options = options
        self.hidden = hidden
        self.net = net
        self.epochs = epochs
        self.steps = steps
        self.batch_size = batch_size
        self.lr = lr
        self.device = device
        self.random_state = random_state

    def fit(
        self, X: Any, y: Any, *, attribute: ArrayLike | None = None, sample_weight: ArrayLike | None = None
    ) -> DebiasedRegressor:
        """Train on rows ``X`` with targets ``y`` ``(n,)``; the rest as in :meth:`DebiasedClassifier.fit`.

        Raises:
            UserError: for settings that are not allowed, or a method that does not do regression.
        """
        checks = {"y_numeric": True, "ensure_min_samples": 2}
        x, y, attribute, names, times = self._canonical_rows(X, y, attribute, sample_weight, **checks)
        y = y.astype(np.float64)
        self.target_mean_ = float(np.average(y, weights=times))
        self.target_scale_ = float(np.sqrt(np.average(np.square(y - self.target_mean_), weights=times))) or 1.0
        self._train(x, (y - self.target_mean_) / self.target_scale_, attribute, names, times)
        return self

    def predict(self, X: Any) -> NDArray[np.float64]:
        """The target of each row ``(n,)``."""
        return self._outputs(X)[:, 0].double().numpy() * self.target_scale_ + self.target_mean_


class SuspectedConflict(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
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

        checked: Any = validate_data(self, _array(X), _array(y), allow_nd=True)
        x, y = checked
        _require_axes(x)
        classes, label = _classes(y)
        smallest = np.bincount(label).min()
        if not (isinstance(self.folds, int | np.integer) and self.folds > 1):
            raise UserError(f"folds={self.folds} is not allowed; give a whole number at least 2.")
        if smallest < 2:
            name = classes[np.bincount(label).argmin()]
            raise UserError(
                f"class '{name}' has 1 row, too few to be held out and trained on; add rows or leave it out."
            )
        data = Dataset.of(_inputs(x, *_scaling(x)), label, name="X", class_names=tuple(map(str, classes)))
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        self.scores_, self.suspected_ = suspicion(data, folds=min(self.folds, int(smallest)), seed=seed)
        return self

    def transform(self, X: Any) -> Any:
        """``X`` as it is: new rows have no label that something could contradict."""
        check_is_fitted(self)
        return validate_data(self, _array(X), reset=False, allow_nd=True)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags


class GroupBalancer(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Weights for any classifier: every group counts the same, as a whole.

    A group is a (label, attribute) cell, or a class where no attribute is given; groups without rows are no groups.

    Attributes:
        sample_weight_: of the rows that ``fit`` saw ``(n,)``, with mean 1; hand it on as ``sample_weight``.

    >>> GroupBalancer().fit([[1], [2], [3], [4]], [0, 0, 0, 1]).sample_weight_.round(2).tolist()
    [0.67, 0.67, 0.67, 2.0]
    """

    def fit(self, X: Any, y: Any, *, attribute: ArrayLike | None = None) -> GroupBalancer:
        """Weigh rows by labels ``y`` ``(n,)`` and, if given, ``attribute`` ``(n,)``.

        Raises:
            UserError: when the attribute is not one value for each row.
        """
        checked: Any = validate_data(self, _array(X), _array(y), allow_nd=True, accept_sparse="csr")
        x, y = checked
        check_classification_targets(y)
        group = np.unique(y, return_inverse=True)[1]
        if attribute is not None:
            codes, names = _codes(attribute, x.shape[0])
            group = group * len(names) + codes
        self.sample_weight_ = compute_sample_weight("balanced", group)
        return self

    def transform(self, X: Any) -> Any:
        """``X`` as it is: new rows need no weight."""
        check_is_fitted(self)
        return validate_data(self, _array(X), reset=False, allow_nd=True, accept_sparse="csr")

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.input_tags.sparse = True
        return tags


def worst_group_accuracy(y_true: ArrayLike, y_pred: ArrayLike, *, attribute: ArrayLike | None = None) -> float:
    """Accuracy in the worst group; in [0, 1].

    Args:
        y_true: labels ``(n,)``.
        y_pred: predicted labels ``(n,)``.
        attribute: ``(n,)``. A group is a (label, attribute) cell that has rows, or a class when this is None.

    Raises:
        UserError: on unequal lengths, or a missing attribute.

    >>> worst_group_accuracy([0, 0, 1, 1], [0, 0, 1, 0])
    0.5
    >>> worst_group_accuracy([0, 0, 1, 1], [0, 0, 1, 0], attribute=["land", "lake", "land", "lake"])
    0.0
    """
    import pandas as pd

    true, predicted = np.asarray(_array(y_true)), np.asarray(_array(y_pred))
    if true.shape != predicted.shape or true.ndim != 1 or not len(true):
        raise UserError(
            f"y_true has shape {true.shape} and y_pred {predicted.shape}; give one label for each row in both."
        )
    groups = [true] if attribute is None else [true, _codes(attribute, len(true))[0]]
    accuracy: Any = pd.Series(true == predicted).groupby(groups).mean()
    return float(accuracy.min())


with config_context(enable_metadata_routing=True):  # a scorer that asks for the attribute by itself
    worst_group_scorer = make_scorer(worst_group_accuracy).set_score_request(attribute=True)
