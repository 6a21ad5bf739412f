"""What the estimators share: from arrays to numbers, to a trained method, and from new arrays to its outputs."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, is_classifier
from sklearn.utils import Tags, check_random_state
from sklearn.utils.validation import _check_sample_weight, check_is_fitted
from torch import Tensor

from longcut.data import Dataset, Splits, generator, split, usual_attribute
from longcut.errors import UserError
from longcut.estimators.rows import as_array, require_axes, rows_of, values_of
from longcut.estimators.told import Told
from longcut.estimators.weights import canonical, in_places, whole_numbers
from longcut.fit import fit
from longcut.loop import steps_per_epoch
from longcut.methods import METHODS, Method, build
from longcut.nets import Net
from longcut.predict import predict
from longcut.spec import validate
from longcut.training import Training

STEPS, PASSES = 1000, 10  # updates when neither steps nor epochs are given, and passes over large data


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


class Rows(NamedTuple):
    """Distinct rows, names of the attribute's values, how often each row stands, and how many were given."""

    x: NDArray[Any]
    y: NDArray[Any]
    attribute: NDArray[Any] | None
    names: list[str]
    times: NDArray[np.int64]
    given: int


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
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        warm_start: bool = False,
        verbose: bool | int = False,
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
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.warm_start = warm_start
        self.verbose = verbose
        self.device = device
        self.random_state = random_state

    @property
    def _warm(self) -> bool:
        """Whether training goes on from an earlier fit."""
        return bool(self.warm_start) and hasattr(self, "method_")

    def _weigh(self, y: NDArray[Any], weight: NDArray[np.float64]) -> NDArray[np.float64]:
        """The weights with what the settings say of them."""
        return weight

    def _canonical_rows(self, X: Any, y: Any, attribute: Any, sample_weight: Any, **checks: Any) -> Rows:
        """Checked, distinct and in their own order."""
        x, y = rows_of(self, X, y, **checks)
        require_axes(x)
        weight = np.ones(len(x))
        if sample_weight is not None:
            weight = _check_sample_weight(as_array(sample_weight), x, dtype=np.float64, ensure_non_negative=True)
        weight = self._weigh(y, weight)
        present = np.flatnonzero(weight)
        if not len(present):
            raise UserError("every row weighs 0; give some of them a weight.")
        columns, names = [np.unique(y[present], axis=0, return_inverse=True)[1].ravel()], []
        if attribute is not None:
            codes, every = codes_of(attribute, len(x))
            codes = codes[present]
            values, place = np.unique(codes[codes >= 0], return_inverse=True)
            codes[codes >= 0] = place
            columns.append(codes)
            names = [every[value] for value in values]
        exact = whole_numbers(weight[present])
        rows, times = canonical(x[present], columns, weight[present] if exact is None else exact)
        if exact is None:
            cell = None
            if is_classifier(self):
                cell = np.unique(np.stack([column[rows] for column in columns]), axis=1, return_inverse=True)[1].ravel()
            times = in_places(times, cell, len(present))
            rows, times = rows[times > 0], times[times > 0]
        return Rows(x[present][rows], y[present][rows], columns[1][rows] if names else None, names, times, len(present))

    def _train(self, rows: Rows, label: Any, **info: Any) -> None:
        """Scale, build, fit."""
        x, names, times = rows.x, rows.names, rows.times
        if self._warm and x.shape[1:] != self.method_.info.shape:
            raise UserError(
                f"X has rows of shape {x.shape[1:]}, but the fit to go on from saw {self.method_.info.shape}; give the "
                "same, or set warm_start=False."
            )
        if not self._warm:
            self.mean_, self.scale_ = scaling(x, times)
        if names:
            info |= {"n_attributes": len(names), "attribute_names": tuple(names)}
        data = Dataset.of(inputs(x, self.mean_, self.scale_), label, rows.attribute, name="X", **info)
        if names and data.info.task == "classification":
            standing = _standing(data, times)
            data = dataclasses.replace(data, info=dataclasses.replace(data.info, aligned=usual_attribute(standing)))
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        train, held, metric = data, data.take(torch.arange(1)), ""  # the loop judges on something; one row is cheap
        if self.early_stopping:
            classes = data.info.task == "classification"
            metric = ("worst_group" if names else "average") if classes else "rmse"
            by = "group" if names else "class"
            train, held = split(data, self.validation_fraction, generator(seed, 7), by)
            held = _standing(held, times)
        train = _standing(train, times)
        net, training = self._net(), self._training(len(train), rows.given)
        method = build(
            self.method, data.info, net=net, options=self.options, seed=seed, start=self._go_on if self._warm else None
        )
        told = [Told(int(self.verbose), metric)] if self.verbose else []
        fitted = fit(
            method,
            Splits(train, held if metric else None, held),
            training,
            seed=seed,
            device=self.device,
            select=f"best:{metric}" if metric else "last",
            patience=self.n_iter_no_change if metric else None,
            observers=told,
        )
        self.history_ = [{key: value for key, value in row.items() if key != "test"} for row in fitted.history]
        self._built = {"method": self.method, "info": data.info, "net": net, "options": dict(self.options or {})}
        self.method_ = _built_again(self._built, fitted.method.state_dict()).to(self.device)

    def _go_on(self, net: Net) -> None:
        """The main network begins with the weights of the earlier fit."""
        try:
            net.load_state_dict(self.method_.net.state_dict())
        except RuntimeError:
            raise UserError(
                "warm_start=True goes on with the same network, but method, options, hidden, net or y's width have "
                "changed since the last fit; leave them as they were, or set warm_start=False."
            ) from None

    def _net(self) -> str:
        if self.net is not None and self.hidden is not None:
            raise UserError(f"hidden={self.hidden} and net='{self.net}' both say what the net is; give one of them.")
        if self.net is not None:
            return self.net
        hidden = (100,) if self.hidden is None else self.hidden
        if isinstance(hidden, str) or not isinstance(hidden, Sequence):
            raise UserError(f"hidden={hidden} is not a tuple of widths; give one per hidden layer, such as (100,).")
        return f"mlp:hidden={'-'.join(map(str, hidden))}"

    def _training(self, n: int, given: int | None = None) -> Training:
        """Settings of the loop for ``n`` rows that stand for those ``given``.

        It counts in passes, so steps are rounded up to whole ones.
        """
        if self.steps is not None and self.epochs is not None:
            raise UserError(f"steps={self.steps} and epochs={self.epochs} both say how long; give one of them.")
        if self.steps is not None and not (isinstance(self.steps, int | np.integer) and self.steps > 0):
            raise UserError(f"steps={self.steps} is not allowed; give a whole number at least 1.")
        if self.early_stopping and not (
            isinstance(self.n_iter_no_change, int | np.integer) and self.n_iter_no_change > 0
        ):
            raise UserError(f"n_iter_no_change={self.n_iter_no_change} is not allowed; give a whole number at least 1.")
        cls = METHODS.find(self.method) if isinstance(self.method, str) else self.method
        own = {"batch": self.batch_size, "lr": self.lr, "epochs": 1 if self.epochs is None else self.epochs}
        training = Training(**validate("training", Training, {**cls.training_defaults, **own}))
        epochs = training.epochs
        if self.epochs is None:
            epochs = math.ceil((self.steps or STEPS) / steps_per_epoch(n, training))
        if self.epochs is None and self.steps is None:
            epochs = max(epochs, math.ceil(PASSES * min((given or n) / n, 1)))
        return dataclasses.replace(training, epochs=epochs, every=1 if self.early_stopping else epochs)

    def _outputs(self, X: Any) -> Tensor:
        """Outputs of the net for new rows ``(n, C)``."""
        check_is_fitted(self, "method_")
        x, _ = rows_of(self, X, reset=False)
        if x.shape[1:] != self.method_.info.shape:
            raise UserError(f"X has rows of shape {x.shape[1:]}, but fit saw {self.method_.info.shape}; give the same.")
        data = Dataset.of(inputs(x, self.mean_, self.scale_), torch.zeros(len(x)), name="X")
        return predict(self.method_, data, next(self.method_.parameters()).device)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

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


def _standing(data: Dataset, times: NDArray[np.int64]) -> Dataset:
    """The samples, each as often as it stands by its place in the storage."""
    return data.take(torch.repeat_interleave(torch.from_numpy(times)[data.index]))


def _built_again(how: Mapping[str, Any], weights: Mapping[str, Tensor]) -> Method:
    """A trained method without what it gathered while it was trained, such as its training set."""
    method = build(**how)
    method.load_state_dict(weights)
    return method.eval()
