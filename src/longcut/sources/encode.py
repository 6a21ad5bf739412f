"""Columns of a table as numbers, by an encoding of plain numbers and text that JSON can hold.

Numbers are standardised, and missing ones become the median; text becomes one column per category. Everything is
estimated with scikit-learn on the training rows alone and kept as a dict, the *encoding*. With it :func:`apply` turns
new rows into numbers in the same way, bit for bit, without scikit-learn.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from longcut.errors import UserError
from longcut.sources.kinds import called
from longcut.sources.parts import MISSING, column

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

__all__ = ["CATEGORIES", "EMPTY_OF_NEWS", "OTHER", "apply", "feature_names", "fit"]

OTHER = "(other)"
CATEGORIES = 50  # of one column; the rarer ones share the last
EMPTY_OF_NEWS = ("always missing", "always the same")  # why a column is left out in which there is nothing to learn


def fit(frame: pd.DataFrame, train: NDArray[np.bool_], *, where: str = "the table") -> dict[str, Any]:
    """What is needed to turn the columns of a table into numbers, estimated on its training rows.

    Booleans are numbers. A column is left out when its training rows are all missing, all the same, all different text
    (an identifier), or neither numbers nor text.

    Args:
        frame: the features, any number of rows.
        train: True for the training rows ``(n,)``.
        where: the file, for messages.

    Returns:
        ``features``: the columns that are used; ``numeric``: for each its ``fill``, ``mean``, ``scale`` and whether it
        was ``missing`` anywhere; ``categorical``: for each the values that get a column; ``left_out``: for each, why.

    Raises:
        UserError: when no column can be used, or a number is not finite.

    >>> import pandas as pd
    >>> frame = pd.DataFrame({"age": [20, 40, 90], "town": ["Bonn", "Bonn", "Köln"], "planet": "Earth"})
    >>> encoding = fit(frame, np.array([True, True, False]))
    >>> encoding["numeric"]
    {'age': {'fill': 30.0, 'mean': 30.0, 'scale': 10.0, 'missing': False}}
    >>> encoding["left_out"]
    {'town': 'always the same', 'planet': 'always the same'}
    """
    numeric: dict[str, Any] = {}
    categorical: dict[str, list[str]] = {}
    left_out: dict[str, str] = {}
    for name in frame.columns:
        values = frame.loc[train, name].infer_objects().convert_dtypes()
        if reason := _useless(values):
            left_out[name] = reason
        elif _is_numeric(values):
            numeric[name] = _fit_numeric(_numbers(values, where))
        else:
            categorical[name] = _fit_categorical(_text(values))
    if not numeric and not categorical:
        why = "; ".join(f"'{name}' is {reason}" for name, reason in left_out.items())
        raise UserError(
            f"{where}: no column is left to learn from{why and f' ({why})'}; "
            "add some, or say which column is the image or the text."
        )
    features = [name for name in frame.columns if name not in left_out]
    return {"features": features, "numeric": numeric, "categorical": categorical, "left_out": left_out}


def _useless(values: pd.Series) -> str | None:
    from pandas.api.types import is_list_like

    if values.dtype.kind not in "biufO":
        return "neither numbers nor text"
    if values.dtype == object and values.map(is_list_like).any():
        return "more than one value per row"
    distinct = values.nunique(dropna=False)
    if distinct == 1:
        return EMPTY_OF_NEWS[0 if values.isna().all() else 1]
    if distinct == len(values) and not _is_numeric(values):
        return "different in every row"
    return None


def _is_numeric(values: pd.Series) -> bool:
    return values.dtype.kind in "biuf"


def _fit_numeric(values: NDArray[np.float64]) -> dict[str, float | bool]:
    from sklearn.impute import SimpleImputer
    from sklearn.preprocessing import StandardScaler

    imputer: Any = SimpleImputer(strategy="median")
    scaler: Any = StandardScaler().fit(imputer.fit_transform(values[:, None]))
    return {
        "fill": float(imputer.statistics_[0]),
        "mean": float(scaler.mean_[0]),
        "scale": float(scaler.scale_[0]),
        "missing": bool(np.isnan(values).any()),
    }


def _fit_categorical(values: NDArray[np.object_]) -> list[str]:
    from sklearn.preprocessing import OneHotEncoder

    encoder = OneHotEncoder(max_categories=CATEGORIES, handle_unknown="infrequent_if_exist").fit(values[:, None])
    rare = encoder.infrequent_categories_[0]
    if rare is None:
        return encoder.categories_[0].tolist()
    frequent = [value for value in encoder.categories_[0] if value not in set(rare)]
    return list(dict.fromkeys([*frequent, OTHER]))  # a value that is itself called "(other)" joins the rare ones


def apply(encoding: Mapping[str, Any], frame: pd.DataFrame, *, where: str = "the table") -> NDArray[np.float32]:
    """Rows of a table as numbers ``(n, d)`` float32, by an encoding that :func:`fit` made.

    A number is ``(value − mean) / scale``, a missing one being ``fill``, with a further 0/1 column where training rows
    were missing too. A category is 1 in its own column. One that was not seen in training is 1 in the column of the
    rare ones, or 0 everywhere if there is none.

    Args:
        encoding: of the training rows.
        frame: has the columns of the encoding, in any order; others are ignored.
        where: the file, for messages.

    Raises:
        UserError: when a column is missing, holds text where numbers were, or a number that is not finite.

    >>> import pandas as pd
    >>> frame = pd.DataFrame({"age": [20, 40, None], "town": ["Bonn", "Köln", "Bonn"]})
    >>> encoding = fit(frame, np.array([True, True, True]))
    >>> feature_names(encoding)
    ['age', 'age missing', 'town=Bonn', 'town=Köln']
    >>> apply(encoding, pd.DataFrame({"age": [30, None], "town": ["Köln", "Rome"]}))
    array([[0., 0., 0., 1.],
           [0., 1., 0., 0.]], dtype=float32)
    """
    import pandas as pd

    if len(absent := [name for name in encoding["features"] if name not in frame.columns]) > 1:
        listed = ", ".join(f"'{name}'" for name in absent)
        raise UserError(f"{where}: {len(absent)} columns that were features are not there, {listed}; add them.")
    x = np.zeros((len(frame), len(feature_names(encoding))), np.float32)
    place = 0
    for name in encoding["features"]:
        values = column(frame, name, "feature", where)
        if name in encoding["numeric"]:
            how = encoding["numeric"][name]
            numbers = _numbers(values, where)
            missing = np.isnan(numbers)
            x[:, place] = (np.where(missing, how["fill"], numbers) - how["mean"]) / how["scale"]
            if how["missing"]:
                x[:, place + 1] = missing
            place += 1 + how["missing"]
        else:
            known = encoding["categorical"][name]
            codes = pd.Index(known, dtype=object).get_indexer(pd.Index(_text(values), dtype=object))
            if OTHER in known:
                codes[codes < 0] = known.index(OTHER)
            rows = np.flatnonzero(codes >= 0)
            x[rows, place + codes[rows]] = 1
            place += len(known)
    return x


def feature_names(encoding: Mapping[str, Any]) -> list[str]:
    """What each of the ``d`` columns that :func:`apply` makes stands for.

    >>> feature_names({"features": ["sex"], "numeric": {}, "categorical": {"sex": ["Female", "Male"]}})
    ['sex=Female', 'sex=Male']
    """
    names: list[str] = []
    for name in encoding["features"]:
        if name in encoding["numeric"]:
            names += [name, f"{name} missing"] if encoding["numeric"][name]["missing"] else [name]
        else:
            names += [f"{name}={value}" for value in encoding["categorical"][name]]
    return names


def _numbers(values: pd.Series, where: str) -> NDArray[np.float64]:
    """A column of numbers, missing ones being NaN."""
    import pandas as pd

    if not _is_numeric(values):
        values = values.infer_objects().convert_dtypes()
    numbers: Any = values if _is_numeric(values) else pd.to_numeric(values, errors="coerce")
    found = numbers.to_numpy(np.float64, na_value=np.nan)
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite
        wrong = np.isinf(found.astype(np.float32)) | (np.isnan(found) & values.notna().to_numpy())
    if wrong.any():
        row = int(wrong.argmax())
        raise UserError(
            f"{where}: column '{values.name}' holds '{values.iloc[row]}' in row {row + 1}, and needs a finite number; "
            "correct it, or leave the cell empty."
        )
    return found


def _text(values: pd.Series) -> NDArray[np.object_]:
    """A column of categories as text, the missing ones too."""
    import pandas as pd

    codes, distinct = pd.factorize(values)  # a missing value is -1, the last
    return np.array([*map(called, distinct), MISSING], dtype=object)[codes]
