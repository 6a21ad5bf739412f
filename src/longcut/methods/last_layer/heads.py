"""Last layers that are fitted anew on the features of a trained net, standardised for the time."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from longcut.data import Dataset
from longcut.nets import Net
from longcut.predict import predict

__all__ = ["STRENGTHS", "Scaler", "even", "features_of", "linear_head", "logistic", "put"]

STRENGTHS = (0.001, 0.01, 0.1, 1.0)  # inverse, of the penalty of a linear probe
NEVER = -1e4  # logit of a class that nobody has


def features_of(net: Net, data: Dataset) -> Dataset:
    """The same samples with what the last layer is given in place of their inputs, on the CPU."""
    x = predict(net.features, data, next(net.parameters()).device)
    info = dataclasses.replace(data.info, kind="table", shape=tuple(x.shape[1:]), n_stored=len(x))
    own = {"index": torch.arange(len(x)), "source": None, "pictures": None, "views": None}  # of the old storage
    return dataclasses.replace(data, x=x, info=info, **own)


class Scaler:
    """Standardises features; and knows the layer that does so by itself."""

    def __init__(self, data: Dataset) -> None:
        from sklearn.preprocessing import StandardScaler

        self.scaler = StandardScaler().fit(data.x[data.index].double().numpy())

    def __call__(self, data: Dataset) -> np.ndarray:
        """``(n, d)``."""
        return np.asarray(self.scaler.transform(data.x[data.index].double().numpy()))

    def fold(self, layer: np.ndarray) -> tuple[Tensor, Tensor]:
        """Weight ``(C, d)`` and bias ``(C,)`` for features as they are, from a layer ``(C, d + 1)`` for scaled ones."""
        weight = layer[:, :-1] / np.asarray(self.scaler.scale_)
        return torch.from_numpy(weight), torch.from_numpy(layer[:, -1] - weight @ np.asarray(self.scaler.mean_))


def put(weight: Tensor, bias: Tensor, head: nn.Linear) -> None:
    """Make ``head`` this layer."""
    with torch.no_grad():
        head.weight.copy_(weight)
        head.bias.copy_(bias)


def even(cell: np.ndarray) -> np.ndarray:
    """Weights ``(n,)``, 1 on average, by which every cell that has samples weighs the same.

    Args:
        cell: ids from 0 ``(n,)``, at least one.

    >>> even(np.array([0, 0, 0, 2]))
    array([0.66666667, 0.66666667, 0.66666667, 2.        ])
    """
    weight = 1 / np.bincount(cell)[cell]
    return weight / weight.mean()


def logistic(x: np.ndarray, label: np.ndarray, classes: int, c: float, weight: np.ndarray | None = None) -> np.ndarray:
    """Logistic regression with an l2 penalty (lbfgs), as a layer with one output per class.

    Args:
        x: ``(n, d)``.
        label: class ids ``(n,)``; a class without samples is never said.
        classes: number of them.
        c: inverse strength of the penalty.
        weight: of each sample's loss ``(n,)``; by default 1.

    Returns:
        ``(classes, d + 1)``, weights and in the last column the bias.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    present = np.unique(label)
    layer = np.zeros((classes, x.shape[1] + 1))
    layer[np.setdiff1d(np.arange(classes), present), -1] = NEVER
    if len(present) > 1:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # it is good enough by then
            fitted = LogisticRegression(C=c, max_iter=1000).fit(x, label, sample_weight=weight)
        rows = np.hstack([fitted.coef_, fitted.intercept_[:, None]])
        layer[present] = rows if len(rows) > 1 else np.stack([-rows[0], rows[0]]) / 2
    return layer


def linear_head(
    train: Dataset, valid: Dataset | None = None, strengths: Sequence[float] = STRENGTHS
) -> tuple[Tensor, Tensor, float]:
    """A linear probe: :func:`logistic` on standardised features, as a layer for features as they are.

    Args:
        train: features ``(n, d)`` in place of inputs, see :func:`features_of`.
        valid: likewise; chooses among ``strengths`` by its accuracy, the first of equals. Without, the last is taken.
        strengths: inverse, of the penalty.

    Returns:
        Weight ``(C, d)``, bias ``(C,)`` and the strength that was taken.
    """
    scaler, label = Scaler(train), train.label.numpy()
    x, tried = scaler(train), strengths if valid is not None and len(valid) else strengths[-1:]
    layers = [logistic(x, label, train.info.n_classes, c) for c in tried]
    best = 0
    if valid is not None and len(tried) > 1:
        seen = scaler(valid)
        said = [(seen @ layer[:, :-1].T + layer[:, -1]).argmax(1) for layer in layers]
        best = int(np.argmax([(guess == valid.label.numpy()).mean() for guess in said]))
    return *scaler.fold(layers[best]), tried[best]
