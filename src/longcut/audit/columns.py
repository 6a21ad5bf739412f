"""Do columns that are known beside the input go with the label?"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from longcut.audit.association import (
    balanced_accuracies,
    contingency,
    cramers_v,
    folds_of,
    guess,
    max_permutation,
    mutual_information,
    resampled_accuracy,
    resampled_v,
    residuals,
    verdict_of,
)
from longcut.audit.base import Finding, View
from longcut.audit.numbers import means_elsewhere, strongest
from longcut.errors import UserError
from longcut.sources.encode import EMPTY_OF_NEWS
from longcut.sources.parts import MISSING, number

if TYPE_CHECKING:
    import pandas as pd

    from longcut.audit.judged import Judged

__all__ = ["Values", "candidates", "columns", "left_out", "values_of"]

PURPOSE = 11
MOST_VALUES = 12  # numbers with more distinct values are cut into tenths
FOLDS = 5
DRAWS = 400
LONGEST = 40  # characters of a value in a note
CANNOT_TELL = (*EMPTY_OF_NEWS, "dropped")  # why a column is left out that cannot be missed

Values = tuple[NDArray[np.int64], tuple[str, ...]]


def columns(view: View, judged: Judged | None = None, shortcuts: Mapping[str, Finding] | None = None) -> Finding | None:
    """Compare every column beside the input with the label.

    The attribute is one of them; the label, the split and what the model sees are not. A column is strong when the
    label can be guessed from its value alone: skill is how far that goes, from 0 (as good as chance) to 1 (always
    right). Of an attribute that is known for some, all of it is of these.

    Args:
        view: what is audited.
        judged: not looked at where there are classes.
        shortcuts: not looked at.

    Returns:
        The statistic is the bias-corrected Cramér's V of the strongest column, the interval by bootstrap. None when
        there are no such columns, or fewer than two classes have two samples. Of a target of numbers, see
        :func:`longcut.audit.numbers.strongest`.

    >>> import torch
    >>> from longcut.data import Dataset
    >>> place = torch.arange(100) % 2
    >>> finding = columns(View(Dataset.of(torch.rand(100, 2), place, place), None), None, {})
    >>> finding.verdict, finding.statistic
    ('alarm', 1.0)
    """
    if view.original is not None and judged is not None:
        return strongest(view, judged, PURPOSE, "columns", "column", "column beside the input", partial(_told, view))
    if view.data.info.task == "regression" or (np.bincount(view.label) > 1).sum() < 2:
        return None
    found = candidates(view)
    if not found:
        return None
    rng = view.random(PURPOSE)
    used = {name: values for name, values in found.items() if not isinstance(values, str)}
    told = _told_of_some(view, used)
    p_of = _p_values({name: ids for name, (ids, _) in used.items()}, told, view.label, rng)
    fold = folds_of(view.label, FOLDS, rng)
    chance = 1 / len(np.unique(view.label))
    order = ("clear", "notice", "alarm")
    rows: dict[str, dict[str, Any]] = {}
    rank: dict[str, tuple[int, float]] = {}
    for name, (every, names) in used.items():
        among, p_value = told.get(name, slice(None)), p_of[name]
        ids, label = every[among], view.label[among]
        guesses, table = guess(ids, label, fold[among]), contingency(ids, label)
        low = (np.quantile(resampled_accuracy(guesses == label, label, rng), 0.025) - chance) / (1 - chance)
        rows[name] = {
            "column": name,
            "values": len(np.unique(ids)),
            "cramers_v": cramers_v(table),
            "mutual_information": mutual_information(table),
            "p_value": p_value,
            "skill": float((balanced_accuracies(guesses[None], label)[0] - chance) / (1 - chance)),
            "note": _note(view, name, names, table)
            + (f"; known for {len(ids):,} of {len(every):,} samples" if name in told else ""),
        }
        rank[name] = order.index(verdict_of(p_value, view.level, low)), rows[name]["cramers_v"]
    strongest_first = sorted(rows, key=lambda name: rank[name], reverse=True)
    skipped = [_skipped(name, why) for name, why in found.items() if isinstance(why, str)]
    table = (*(rows[name] for name in strongest_first), *skipped)
    question = "Do columns that are known beside the input go with the label?"
    measure = "bias-corrected Cramér's V of the strongest column"
    if not used:
        nan, why = math.nan, "what there is is always the same, or has nearly as many values as rows"
        sentence = f"No column beside the input can be compared with the label: {why}."
        return Finding("columns", question, nan, measure, nan, (nan, nan), nan, "unknown", sentence, table)
    name = strongest_first[0]
    ids, label = (column[told.get(name, slice(None))] for column in (used[name][0], view.label))
    counts = contingency(ids, label)
    shuffled = [cramers_v(contingency(ids, rng.permutation(label))) for _ in range(DRAWS)]
    low, high = np.quantile(resampled_v(counts, rng, DRAWS), [0.025, 0.975])
    verdict = order[rank[name][0]]
    return Finding(
        name="columns",
        question=question,
        statistic=rows[name]["cramers_v"],
        measure=measure,
        baseline=float(np.mean(shuffled)),
        interval=(float(low), float(high)),
        p_value=rows[name]["p_value"],
        verdict=verdict,
        sentence=_sentence(rows[name], verdict, chance, len(used)),
        table=table,
    )


def _told_of_some(view: View, used: Mapping[str, Values]) -> dict[str, NDArray[np.bool_]]:
    """The attribute, if it is known of some samples alone, and of whom: it is judged on these.

    Where they are not two of each class, that it is missing stays a value.
    """
    if view.attribute is None or (known := view.attribute >= 0).all():
        return {}
    enough = np.bincount(view.label[known], minlength=view.label.max() + 1)[np.unique(view.label)].min() > 1
    return {name: known for name in list(used)[:1] if name == _attribute_name(view) and enough}


def _p_values(
    columns: Mapping[str, NDArray[np.int64]],
    told: Mapping[str, NDArray[np.bool_]],
    label: NDArray[np.int64],
    rng: np.random.Generator,
) -> dict[str, float]:
    """Of each column, corrected for all; one that is known of some is tested on these, and Bonferroni joins the two."""
    whole = {name: ids for name, ids in columns.items() if name not in told}
    found = dict(zip(whole, max_permutation(list(whole.values()), label, rng)[1].tolist(), strict=True))
    for name, known in told.items():
        found[name] = float(max_permutation([columns[name][known]], label[known], rng)[1][0])
    return {name: min(1.0, p * (1 + bool(told and whole))) for name, p in found.items()}


def _told(view: View, rows: NDArray[np.int64], target: NDArray[np.float64], fold: NDArray[np.int64]) -> dict[str, Any]:
    """What each column says of a target of numbers."""
    used = {name: values[0] for name, values in candidates(view).items() if not isinstance(values, str)}
    return {name: means_elsewhere(ids[rows], target, fold) for name, ids in used.items()}


def _attribute_name(view: View) -> str:
    return view.source.attribute if view.source and view.source.attribute else "attribute"


def candidates(view: View, inputs: bool = False) -> dict[str, Values | str]:
    """Each column beside the input, or that is an input too, as ids and names, or why it is left out."""
    found: dict[str, Values | str] = {}
    source = view.source
    if view.attribute is not None:
        names = view.data.info.attribute_names
        ids, absent = view.attribute, view.attribute < 0  # missing is a value, as of other columns
        values = (np.where(absent, len(names), ids), (*names, MISSING)) if absent.any() else (ids, names)
        found[_attribute_name(view)] = values
    if source is not None:
        rows = source.rows.iloc[view.data.index.numpy()]
        seen = {source.label, source.split, source.attribute, source.image, *source.text}
        seen |= set() if inputs else set(source.features)
        for name in rows.columns:
            if name not in seen:
                found[str(name)] = values_of(rows[name])
    return found


def left_out(view: View) -> dict[str, str]:
    """The columns of a table that no check compares with the label, and why.

    >>> import torch
    >>> from longcut.data import Dataset
    >>> left_out(View(Dataset.of(torch.rand(4, 2), [0, 1, 0, 1]), None))
    {}
    """
    source = view.source
    if source is None:
        return {}
    rows = source.rows.iloc[view.data.index.numpy()]
    used = {source.label, source.split, source.attribute, source.image, *source.text, source.encoding.get("vectors")}
    why = {str(name): values_of(rows[name]) for name in rows.columns if name not in used}
    return dict.fromkeys(source.dropped, "dropped") | {
        name: told for name, told in why.items() if isinstance(told, str)
    }


def values_of(column: pd.Series) -> Values | str:
    """A column of any values as ids and what each is called, or why nothing can be learned from it.

    Numbers and times with more than 12 distinct values are cut into tenths. Missing is a value of its own.

    >>> import pandas as pd
    >>> values_of(pd.Series(["lake", None, "lake", "wood"]))
    (array([0, 2, 0, 1]), ('lake', 'wood', '(missing)'))
    >>> values_of(pd.Series(["a", "b", "c", "d"]))
    'nearly as many values as rows'
    """
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    if is_numeric_dtype(column) and not is_bool_dtype(column):
        numbers = column.to_numpy(np.float64, na_value=np.nan)
        if len(np.unique(numbers[~np.isnan(numbers)])) > MOST_VALUES:
            return _tenths(numbers, "{:.4g}".format)
    elif (times := _times(column)) is not None:
        return _tenths(times, lambda second: f"{np.datetime64(int(second), 's')}".removesuffix("T00:00:00"))
    try:
        ids, names = number(column, what=f"column '{column.name}'", where="the table", missing=MISSING)
    except UserError:  # lists and the like
        return "more than one value per row"
    if len(names) < 2:
        return "always missing" if names == (MISSING,) else "always the same"
    if len(names) > max(len(ids) / 2, MOST_VALUES) or len(names) == len(ids):
        return "nearly as many values as rows"
    return ids, names


def _times(column: pd.Series) -> NDArray[np.float64] | None:
    """The seconds of times, of which there are more than 12; None of what is none. Texts are ISO 8601, with hyphens."""
    import pandas as pd

    known, typed = column.dropna(), pd.api.types.is_datetime64_any_dtype(column)
    if not typed and not all(isinstance(value, str) and re.match(r"\d{4}-\d\d", value) for value in known):
        return None
    if known.nunique() <= MOST_VALUES:
        return None
    times = pd.to_datetime(column, format="ISO8601", errors="coerce", utc=True)
    if times.notna().sum() < len(known):
        return None
    return (times - pd.Timestamp(0, tz="UTC")).dt.total_seconds().to_numpy(np.float64)


def _tenths(numbers: NDArray[np.float64], written: Callable[[float], str]) -> Values:
    """Numbers as ids of at most ten ranges of about the same size; a range includes its upper end."""
    missing = np.isnan(numbers)
    known = np.sort(numbers[~missing])
    ends = np.unique(np.quantile(known, np.arange(1, 10) / 10, method="lower"))
    if ends[0] == known[-1]:  # nearly all have the largest value: it stands alone
        ends = known[[np.searchsorted(known, known[-1]) - 1]]
    _, ids = np.unique(np.searchsorted(ends, numbers), return_inverse=True)
    ids[missing] = ids[~missing].max() + 1
    inside = (numbers[ids == i] for i in range(int(ids.max()) + 1 - missing.any()))
    ends_of = ((written(part.min()), written(part.max())) for part in inside)
    names = tuple(low if low == high else f"{low} to {high}" for low, high in ends_of)
    return ids, (*names, MISSING) if missing.any() else names


def _skipped(name: str, why: str) -> dict[str, Any]:
    nothing = dict.fromkeys(("cramers_v", "mutual_information", "p_value", "skill"), math.nan)
    return {"column": name, "values": 0, **nothing, "note": f"not compared: {why}"}


def _note(view: View, name: str, names: tuple[str, ...], table: NDArray[np.int64]) -> str:
    """The value and the class that exceed independence most."""
    value, label = np.unravel_index(residuals(table).argmax(), table.shape)
    share = table[value, label] / table[value].sum()
    of = view.source.label if view.source and view.source.label else "label"
    called = names[value] if len(names[value]) <= LONGEST else f"{names[value][: LONGEST - 1]}…"
    return f"{name}={called} goes with {of}={view.classes[label]} ({share:.0%} of them)"


def _sentence(row: dict[str, Any], verdict: str, chance: float, count: int) -> str:
    name, accuracy = row["column"], chance + row["skill"] * (1 - chance)
    numbers = (
        f"Cramér's V {row['cramers_v']:.2f}, p {row['p_value']:.2g} corrected for {count} column{'s' * (count > 1)}"
    )
    told = f"by its value alone, the class is guessed right in {accuracy:.0%}, against {chance:.0%} by chance"
    if verdict == "alarm":
        return f"'{name}' goes with the label ({numbers}): {told}. Is that what the model is meant to look at?"
    if verdict == "notice":
        return f"'{name}' says something about the label, not enough to live on ({numbers}): {told}."
    return f"No column beside the input goes with the label more than by chance; the nearest is '{name}' ({numbers})."
