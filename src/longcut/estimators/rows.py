"""What estimators are given as ``X`` and ``y``: rows of numbers, or one sentence that says what to put in front."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import issparse
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import validate_data
from torch import Tensor

from longcut.errors import UserError

__all__ = ["as_array", "as_labels", "classes_of", "require_axes", "rows_of", "values_of"]

DENSE = 1 << 25  # numbers that a sparse table may have when it is written out; in double precision a quarter of a GB


def as_array(x: Any) -> Any:
    """Tensors as arrays; everything else is scikit-learn's to check."""
    return x.detach().cpu().numpy() if isinstance(x, Tensor) else x


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


def rows_of(estimator: Any, X: Any, y: Any = None, **checks: Any) -> tuple[NDArray[Any], Any]:
    """``X`` as an array of numbers, from arrays, frames, lists, tensors and sparse tables, and ``y`` if it is given.

    Raises:
        UserError: when columns are no numbers, or a sparse table is too large to be written out.
    """
    X = as_array(X)
    require_numbers(X)
    given = {} if checks.get("reset") is False else {"y": as_labels(y)}
    checked: Any = validate_data(estimator, X, **given, allow_nd=True, accept_sparse="csr", **checks)
    x, y = checked if given else (checked, None)
    if not issparse(x):
        return x, y
    if np.prod(x.shape, dtype=float) > DENSE:
        n, d = x.shape
        raise UserError(
            f"X is sparse, and its {n:,} x {d:,} numbers would take {8e-9 * n * d:.1f} GB when written out; put a "
            "TruncatedSVD (of sklearn.decomposition) in front, such as make_pipeline(TruncatedSVD(100), …)."
        )
    return x.toarray(), y


def require_numbers(X: Any) -> None:
    """Refuse columns of text, categories or dates: their codes are no quantities."""
    found = strange_columns(X)
    if found:
        names = [name for name, _ in found]
        listed = ", ".join(f"{name!r} ({kind})" for name, kind in found[:10]) + (", …" if len(found) > 10 else "")
        columns = repr(names) if len(names) <= 10 else "[…]"
        raise UserError(
            f"X has columns that are no numbers: {listed}; leave them out or put an encoder in front, such as "
            "make_pipeline(make_column_transformer((OneHotEncoder(handle_unknown='ignore', sparse_output=False), "
            f"{columns}), remainder=StandardScaler()), …) of scikit-learn."
        )


def strange_columns(X: Any) -> list[tuple[Any, str]]:
    """Name and kind of each column of a frame, list or array of objects that is not one of numbers.

    >>> strange_columns([["f", 31], ["m", 25]]), strange_columns([[1.0, 2], [3, True]])
    ([(0, 'text')], [])
    """
    if isinstance(X, list | tuple):
        try:
            X = np.asarray(X, dtype=object)
        except ValueError:  # ragged, which scikit-learn says
            return []
    objects = isinstance(X, np.ndarray) and X.ndim == 2 and X.dtype.kind in "OUSTMm"
    if not (objects or hasattr(X, "iloc")):
        return []
    import pandas as pd

    frame = pd.DataFrame(X)
    kinds = ((name, _kind(frame.iloc[:, i])) for i, name in enumerate(frame.columns))
    return [(name, kind) for name, kind in kinds if kind]


def _kind(column: Any) -> str | None:
    """What a column is if it is not of numbers."""
    import pandas as pd

    types = pd.api.types
    if isinstance(column.dtype, pd.CategoricalDtype):
        return "category"
    if types.is_numeric_dtype(column.dtype):
        return None
    if "date" in (held := types.infer_dtype(column, skipna=True)) or held in ("time", "timedelta", "period"):
        return "dates"
    return "text" if any(isinstance(value, str | bytes) for value in column) else None


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
