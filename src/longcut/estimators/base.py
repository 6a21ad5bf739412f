"""What the estimators share: from arrays to numbers, to a trained method, and from new arrays to its outputs."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data
from torch import Tensor

from longcut.data import Dataset, Splits, usual_attribute
from longcut.errors import UserError
from longcut.fit import fit, steps_per_epoch
from longcut.methods import METHODS, Method, build
from longcut.predict import predict
from longcut.spec import validate
from longcut.training import Training

PARTS = 10  # weights that are not whole numbers are kept to this part of their mean
STEPS, PASSES = 1000, 10  # updates when neither steps nor epochs are given, and passes over large data


def as_array(x: Any) -> Any:
    """Tensors as arrays; everything else is scikit-learn's to check."""
    return x.detach().cpu().numpy() if isinstance(x, Tensor) else x


def codes_of(attribute: ArrayLike, n: int) -> tuple[NDArray[np.intp], list[str]]:
    """Attribute values of any kind as ids ``(n,)``, and the name of each.

    Where it is not known, missing, or the number -1, the id is -1.

    Raises:
        UserError: when there is not one for each row, or none is known.
    """
    import pandas as pd

    values = values_of(attribute)
    if values.shape != (n,):
        raise UserError(f"attribute has shape {values.shape}, but X has {n} rows; give one value for each row.")
    known = pd.Series(values).infer_objects()
    if pd.api.types.is_numeric_dtype(known) and not pd.api.types.is_bool_dtype(known):
        known = known.where(known != -1)
    codes, names = pd.factorize(known, sort=True)
    if not (codes < 0).any():
        return codes, [str(name) for name in names]
    if not len(names) or [*names] == [1]:
        raise UserError(
            "the attribute has no other values than 1 and -1, which says that it is not known; number its values from "
            "0, or leave it out."
            if len(names)
            else "the attribute is known of no row; give that of some, or leave it out."
        )
    return codes, [str(int(name)) if isinstance(name, float) and name.is_integer() else str(name) for name in names]


def values_of(values: ArrayLike) -> NDArray[Any]:
    """Values of any kind as an array, in which nothing beside text does not become the text ``nan``."""
    given = as_array(values)
    array = np.asarray(given)
    return array if array.dtype.kind not in "US" or isinstance(given, np.ndarray) else np.asarray(given, dtype=object)


def as_labels(y: Any) -> Any:
    """Labels as scikit-learn takes them; missing numbers are its to refuse, but not missing texts.

    Raises:
        UserError: when a label is missing beside others that are text.
    """
    import pandas as pd

    if y is not None and (values := values_of(y)).dtype == object and (missing := pd.isna(values)).any():
        raise UserError(f"y is missing (NaN or None) in {missing.sum()} of {len(values)} rows; leave these rows out.")
    return as_array(y)


def same_rows(y_true: ArrayLike, y_pred: ArrayLike) -> tuple[NDArray[Any], NDArray[Any]]:
    """Labels and predicted labels ``(n,)`` as arrays.

    Raises:
        UserError: on unequal lengths, missing labels, or labels of which some are text and some are not.
    """
    import pandas as pd

    true, predicted = values_of(y_true), values_of(y_pred)
    if true.shape != predicted.shape or true.ndim != 1 or not len(true):
        raise UserError(
            f"y_true has shape {true.shape} and y_pred {predicted.shape}; give one label for each row in both."
        )
    for name, labels in (("y_true", true), ("y_pred", predicted)):
        if (missing := pd.isna(labels)).any():
            raise UserError(
                f"{name} is missing (NaN or None) in {missing.sum()} of {len(labels)} rows; leave these rows out."
            )
    if len({isinstance(label, str) for labels in (true, predicted) for label in labels.tolist()}) > 1:
        raise UserError("some labels are text and some are not; give those of y_true and y_pred as the same kind.")
    return true, predicted


def times_of(weight: NDArray[np.float64]) -> NDArray[np.int64]:
    """How often each row stands, for only the proportions of weights count; whole numbers are kept exactly.

    >>> times_of(np.array([0.0, 2.0, 1.0])), times_of(np.array([6.0, 6.0])), times_of(np.array([0.25, 1.75]))
    (array([0, 2, 1]), array([1, 1]), array([1, 9]))
    """
    times = weight
    if (weight != np.rint(weight)).any():
        times = np.maximum(np.rint(PARTS * weight / weight[weight > 0].mean()), weight > 0)
    times = times.astype(np.int64)
    return times // np.gcd.reduce(times)


def canonical(x: NDArray[Any], columns: Sequence[NDArray[Any]], times: NDArray[np.int64]) -> tuple[Any, Any]:
    """Distinct rows in an order that depends on nothing but what they hold, and how often each stands.

    So training sees the same whatever the order of the rows, and whether a row is repeated or weighted.

    >>> canonical(np.array([[7], [5], [7]]), [np.array([1, 0, 1])], np.array([1, 2, 3]))
    (array([1, 0]), array([2, 4]))
    """
    flat = np.ascontiguousarray(x.reshape(len(x), -1))
    content = flat.view(np.dtype((np.void, flat.shape[1] * flat.itemsize))).ravel()
    order = content.argsort(kind="stable")
    order = order[np.lexsort([column[order] for column in columns])]
    differs = [values[order][1:] != values[order][:-1] for values in (content, *columns)]
    first = np.flatnonzero(np.r_[True, np.any(differs, axis=0)])
    return order[first], np.add.reduceat(times[order], first)


def scaling(x: NDArray[Any], times: NDArray[np.int64] | None = None) -> tuple[Any, float]:
    """The mean of each column of a table, and one scale for all, which leaves the geometry as it is."""
    if x.ndim == 4:
        return 0.0, 1.0
    mean = np.average(x, axis=0, weights=times)
    spread = np.average(np.square(x - mean).mean(1), weights=times)
    return mean, float(np.sqrt(spread)) or 1.0


def inputs(x: NDArray[Any], mean: Any, scale: float) -> Tensor:
    """Images as they are, uint8 or float32; a table centred and scaled, float32."""
    if x.ndim == 4:
        return torch.from_numpy(np.array(x, np.uint8 if x.dtype == np.uint8 else np.float32))
    return torch.from_numpy(((x - mean) / scale).astype(np.float32))


def require_axes(x: NDArray[Any]) -> None:
    """Refuse what is neither a table nor images."""
    if x.ndim not in (2, 4):
        raise UserError(f"X has shape {x.shape}; give a table (n, d) or images (n, C, H, W).")


def classes_of(y: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.intp]]:
    """The classes, and the number of each row's."""
    check_classification_targets(y)
    classes, label = np.unique(y, return_inverse=True)
    if len(classes) < 2:
        raise UserError(f"y has one class, '{classes[0]}'; give rows of at least two.")
    return classes, label


class Debiased(BaseEstimator):
    """The settings, and the way from rows to a trained method and from new rows to its outputs."""

    feature_names_in_: NDArray[Any]

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

    def _canonical_rows(
        self, X: Any, y: Any, attribute: Any, sample_weight: Any, **checks: Any
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any] | None, list[str], NDArray[np.int64]]:
        """Checked ``X, y, attribute``, the names of the attribute's values, and how often each row stands."""
        checked: Any = validate_data(self, as_array(X), as_labels(y), allow_nd=True, **checks)
        x, y = checked
        require_axes(x)
        times = np.ones(len(x), np.int64)
        if sample_weight is not None:
            weight = _check_sample_weight(as_array(sample_weight), x, dtype=np.float64, ensure_non_negative=True)
            times = times_of(weight)
        present = np.flatnonzero(times)
        columns, names = [np.unique(y[present], axis=0, return_inverse=True)[1].ravel()], []
        if attribute is not None:
            codes, every = codes_of(attribute, len(x))
            codes = codes[present]
            values, place = np.unique(codes[codes >= 0], return_inverse=True)
            codes[codes >= 0] = place
            columns.append(codes)
            names = [every[value] for value in values]
        rows, times = canonical(x[present], columns, times[present])
        return x[present][rows], y[present][rows], columns[1][rows] if names else None, names, times

    def _train(self, x: NDArray[Any], label: Any, attribute: Any, names: list[str], times: Any, **info: Any) -> None:
        """Scale, build, fit."""
        self.mean_, self.scale_ = scaling(x, times)
        if names:
            info |= {"n_attributes": len(names), "attribute_names": tuple(names)}
        data = Dataset.of(inputs(x, self.mean_, self.scale_), label, attribute, name="X", **info)
        data = data.take(torch.repeat_interleave(torch.from_numpy(times)))
        if names and data.info.task == "classification":
            data = dataclasses.replace(data, info=dataclasses.replace(data.info, aligned=usual_attribute(data)))
        net, training = self._net(), self._training(len(data))
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        method = build(self.method, data.info, net=net, options=self.options, seed=seed)
        first = data.take(torch.arange(1))  # the loop wants something to judge on; one row costs nothing
        fitted = fit(method, Splits(data, None, first), training, seed=seed, device=self.device)
        self.history_ = [{key: value for key, value in row.items() if key != "test"} for row in fitted.history]
        self._built = {"method": self.method, "info": data.info, "net": net, "options": dict(self.options or {})}
        self.method_ = _built_again(self._built, fitted.method.state_dict()).to(self.device)

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
        cls = METHODS.find(self.method) if isinstance(self.method, str) else self.method
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
        x: Any = validate_data(self, as_array(X), reset=False, allow_nd=True)
        if x.shape[1:] != self.method_.info.shape:
            raise UserError(f"X has rows of shape {x.shape[1:]}, but fit saw {self.method_.info.shape}; give the same.")
        data = Dataset.of(inputs(x, self.mean_, self.scale_), torch.zeros(len(x)), name="X")
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
            state = {**state, "method_": _built_again(state["_built"], state["method_"])}
        super().__setstate__(state)


def _built_again(how: Mapping[str, Any], weights: Mapping[str, Tensor]) -> Method:
    """A trained method without what it gathered while it was trained, such as its training set."""
    method = build(**how)
    method.load_state_dict(weights)
    return method.eval()
