"""A classifier and a regressor that do not take the shortcut."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.utils import Tags

from longcut.errors import UserError
from longcut.estimators.base import Debiased
from longcut.estimators.rows import classes_of
from longcut.estimators.weights import by_class
from longcut.methods import Method
from longcut.spec import validate
from longcut.training import Training

FAR = 100  # ranges of a target; where its mean is farther from 0, single precision takes its digits


class DebiasedClassifier(ClassifierMixin, Debiased):
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
        early_stopping: hold rows out, and keep the epoch that is best on them: by the worst group where ``attribute``
            is given, else by accuracy.
        validation_fraction: of each class (or group) that is held out, with ``early_stopping``.
        n_iter_no_change: passes without a better one after which training stops, with ``early_stopping``.
        warm_start: go on from the weights of the last ``fit``, with its scaling, classes and network.
        verbose: print how far training is: 1 about ten lines, 2 one for each pass.
        class_weight: ``"balanced"``, or a weight for each label, by which ``sample_weight`` is multiplied.
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
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        warm_start: bool = False,
        verbose: bool | int = False,
        class_weight: Mapping[Any, float] | str | None = None,
        device: torch.device | str = "cpu",
        random_state: Any = None,
    ) -> None:
        super().__init__(
            method,
            options=options,
            hidden=hidden,
            net=net,
            epochs=epochs,
            steps=steps,
            batch_size=batch_size,
            lr=lr,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            n_iter_no_change=n_iter_no_change,
            warm_start=warm_start,
            verbose=verbose,
            device=device,
            random_state=random_state,
        )
        self.class_weight = class_weight

    def fit(
        self, X: Any, y: Any, *, attribute: ArrayLike | None = None, sample_weight: ArrayLike | None = None
    ) -> DebiasedClassifier:
        """Train on rows ``X``.

        Args:
            X: a table ``(n, d)``, or images ``(n, C, H, W)``, uint8 or floats in [0, 1].
            y: labels ``(n,)``, numbers or names.
            attribute: the value of the shortcut for each row ``(n,)``, for methods that are told it.
            sample_weight: ``(n,)``, at least 0: how often each row stands. Only their proportions count, in any unit.
                Up to ten times the rows given (or 1,000) are trained on in a pass; where that is too few for the exact
                proportions, those of classes and groups are kept, and a light row may stand for others.

        Raises:
            UserError: for settings that are not allowed, columns that are no numbers, one class, other classes than
                the fit to go on from, or a method without the attribute it needs.
        """
        rows = self._canonical_rows(X, y, attribute, sample_weight)
        classes, label = classes_of(rows.y)
        if self._warm and classes.tolist() != self.classes_.tolist():
            raise UserError(
                f"y has the classes {', '.join(map(str, classes[:10]))}, but the fit to go on from saw "
                f"{', '.join(map(str, self.classes_[:10]))}; give rows of each of those, or set warm_start=False."
            )
        self.classes_ = classes
        self._train(rows, label, class_names=tuple(map(str, self.classes_)))
        return self

    def _weigh(self, y: NDArray[Any], weight: NDArray[np.float64]) -> NDArray[np.float64]:
        return by_class(self.class_weight, y, weight)

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Probabilities ``(n, C)``, columns as in ``classes_``."""
        return self._outputs(X).double().softmax(1).numpy()

    def predict(self, X: Any) -> NDArray[Any]:
        """The most probable label of each row ``(n,)``."""
        likely = self.predict_proba(X).argmax(1)
        return self.classes_[likely]


class DebiasedRegressor(RegressorMixin, Debiased):
    """A net trained by any regression method of longcut, as a scikit-learn regressor.

    The net learns targets of mean 0 and deviation 1 and predicts them in their own units; several numbers at once are
    a target ``(n, width)``. Targets far from 0, such as 1e9 ± 1, keep their digits: their mean is taken off in double
    precision and added to the predictions (``method_`` itself then predicts without it). ``score`` is R². Everything
    else is as in :class:`DebiasedClassifier`.

    Args:
        method: ``"mixup"``, ``"erm"`` or another whose ``tasks`` say regression.
        loss: of a sample: ``"squared"``, ``"huber:delta=1"``, ``"absolute"`` or ``"quantile:level=0.5"``, with
            ``delta`` in deviations of the target.
        standardize: whether the net learns standardised targets; without, it learns the numbers as they are.
        early_stopping: as in :class:`DebiasedClassifier`, by the root mean squared error.
        options, hidden, net, epochs, steps, batch_size, lr, validation_fraction, n_iter_no_change, warm_start, verbose,
            device, random_state: as in :class:`DebiasedClassifier`.

    Attributes:
        method_, history_, mean_, scale_, n_features_in_, feature_names_in_: as in :class:`DebiasedClassifier`.
        target_mean_, target_scale_: what the target is standardised by, each a number, or ``(width,)``.

    >>> X = np.linspace(-1, 1, 50)[:, None]
    >>> bool(DebiasedRegressor("erm", steps=200, random_state=0).fit(X, 300 * X[:, 0]).score(X, 300 * X[:, 0]) > 0.9)
    True
    """

    def __init__(
        self,
        method: str | type[Method] = "mixup",
        *,
        loss: str = "squared",
        standardize: bool = True,
        options: Mapping[str, Any] | None = None,
        hidden: Sequence[int] | None = None,
        net: str | None = None,
        epochs: int | None = None,
        steps: int | None = None,
        batch_size: int = 128,
        lr: float = 1e-3,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        warm_start: bool = False,
        verbose: bool | int = False,
        device: torch.device | str = "cpu",
        random_state: Any = None,
    ) -> None:
        super().__init__(
            method,
            options=options,
            hidden=hidden,
            net=net,
            epochs=epochs,
            steps=steps,
            batch_size=batch_size,
            lr=lr,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            n_iter_no_change=n_iter_no_change,
            warm_start=warm_start,
            verbose=verbose,
            device=device,
            random_state=random_state,
        )
        self.loss = loss
        self.standardize = standardize

    def fit(
        self, X: Any, y: Any, *, attribute: ArrayLike | None = None, sample_weight: ArrayLike | None = None
    ) -> DebiasedRegressor:
        """Train on rows ``X`` with targets ``y``, ``(n,)`` or ``(n, width)``; more at :meth:`DebiasedClassifier.fit`.

        Raises:
            UserError: for settings that are not allowed, or a method that does not do regression.
        """
        checks = {"y_numeric": True, "multi_output": True, "ensure_min_samples": 2}
        rows = self._canonical_rows(X, y, attribute, sample_weight, **checks)
        y = rows.y.astype(np.float64)
        mean = np.average(y, axis=0, weights=rows.times)
        # the net computes in single precision, in which 1e9 and 1e9 + 1 are one number; less their mean, they are two
        far = np.abs(mean) > FAR * np.ptp(y, axis=0)
        if not self._warm:
            self._centre = np.where(far, mean, 0.0) if self.standardize else np.zeros_like(mean)
        self._train(rows, y - self._centre)
        self._one = y.ndim == 1
        shift, self.target_scale_ = map(self._as_given, (self.method_.net.shift, self.method_.net.scale))
        self.target_mean_ = shift + self._centre
        return self

    def predict(self, X: Any) -> NDArray[np.float64]:
        """The target of each row, in its own units: ``(n,)``, or ``(n, width)`` as ``fit`` saw it."""
        return self._as_given(self._outputs(X)) + self._centre

    def _as_given(self, targets: Any) -> Any:
        """Targets ``(…, width)`` as an array, without an axis for numbers where there was none in ``fit``."""
        found = targets.cpu().double().numpy()
        return found[..., 0] if self._one else found

    def _training(self, n: int, given: int | None = None) -> Training:
        own = validate("training", Training, {"loss": self.loss, "standardize": self.standardize})
        own["standardize"] &= not self._warm  # the net goes on in the units it knows
        return dataclasses.replace(super()._training(n, given), **own)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
