"""What the cells of a column are: numbers, however they are written, or names. It is decided here, for all readers.

A few cells that are no number do not make text of a column of numbers: they are missing. Codes that only look like
numbers (``007``, ``1.10`` beside ``1.1``, ``1E5``, ids of 17 digits) stay the texts that they are. Names that look
alike, such as composed and decomposed letters, are one. Whatever is taken for something else is said in a note.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

import numpy as np

from longcut.sources.header import tidy
from longcut.sources.written import EXACT, Written, code_signs, read_numbers

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

__all__ = ["EMPTY", "Settled", "called", "settle"]

EMPTY = ("", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "null", "NULL", "None")  # cells of a missing value
UNKNOWN = ("?", "-", "--", "---", "–", "—", "−", ".", "*")  # marks that stand for one
ABBREVIATED = ("n.d.", "n.a.", "nd", "na", "none", "missing", "unknown", "n/d", "n.d", "n.a", "nil", "not available")
FEW = 12  # numbers of which an audit takes each for itself
MANY = 50  # values that a column of categories has at most, each with a column of its own
STRAY = 0.1  # of the cells may be no numbers, whatever they say
CODES = 0.05  # of the cells that look like codes, where there are many numbers
TRUE, FALSE = ("true", "yes", "1", "1.0"), ("false", "no", "0", "0.0")

Role = Literal["feature", "label", "attribute"]
As = Literal["auto", "number", "text"]


def called(value: object) -> str:
    """The name of a value: a whole number is called by its digits, however it was stored.

    >>> called(7.0), called(1.5), called("7.0 ")
    ('7', '1.5', '7.0')
    """
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return tidy(str(value))


class Settled(NamedTuple):
    """A column as it is used.

    Attributes:
        values: numbers, booleans, or texts, with nothing where it is missing.
        notes: what was taken for something else than it says, each a sentence without its full stop.
        written: how numbers are written, for later files; None where as usual, or where there are none.
    """

    values: pd.Series
    notes: tuple[str, ...] = ()
    written: Written | None = None


def settle(
    values: pd.Series,
    role: Role = "feature",
    *,
    how: As = "auto",
    typed: bool = True,
    keep: Collection[str] = (),
    comma: bool = False,
    like: Written | None = None,
    known: Sequence[str] | None = None,
) -> Settled:
    """A column of a table as numbers or names.

    Args:
        values: the column; cells of a CSV file are texts, all of them.
        role: names of classes and groups are what is written, more strictly than categories among the features.
        how: what somebody said that it is.
        typed: whether the file says which columns are text; then names that are texts are no numbers.
        keep: texts that are values, although they usually stand for a missing one.
        comma: whether numbers with a decimal comma are likely.
        like: how the numbers of an earlier file were written, whose later part this is.
        known: names of an earlier reading; then a name is the one of these that it can be.

    >>> import pandas as pd
    >>> dose = pd.Series([f"{i}.5" for i in range(99)] + ["n.d."])
    >>> settle(dose).values.dtype.kind, settle(dose).notes
    ('f', ("'n.d.' in 1 of 100 cells is no number, and counts as missing",))
    >>> settle(pd.Series(["007", "7", "8"])).values.tolist()
    ['007', '7', '8']
    """
    import pandas as pd

    kind = pd.api.types.infer_dtype(values, skipna=True)
    if kind == "decimal":
        return Settled(cast("pd.Series", values.astype(object).where(values.notna()).astype(float)))
    if kind in ("integer", "floating", "mixed-integer-float", "boolean"):
        return _settle_numbers(values, kind, how if like is None else "number", role)
    if kind not in ("string", "mixed-integer", "mixed", "categorical"):
        return Settled(values)
    if kind == "categorical":
        how = "text" if how == "auto" else how
    elif kind != "string" and not _only_scalars(values):
        return Settled(values)
    if kind == "string" and typed and role != "feature" and how == "auto" and like is None:
        how = "text"
    return _settle_texts(values.astype(object), role, how, keep, comma, like, known, typed)


def _only_scalars(values: pd.Series) -> bool:
    import pandas as pd

    return all(isinstance(value, str | int | float | bool | np.generic) or pd.isna(value) is True for value in values)


def _settle_numbers(values: pd.Series, kind: str, how: As, role: Role) -> Settled:
    """Numbers that were stored as such: too long ones are codes."""
    known = values.dropna()
    long = kind == "integer" and bool(len(known)) and max(abs(int(known.min())), abs(int(known.max()))) > EXACT
    if how == "text" or (long and how == "auto"):
        names = cast("pd.Series", known.map(called).astype(object).reindex(values.index))
        note = f"numbers as long as {known.iloc[0]} are taken for codes" if long and how == "auto" else ""
        return Settled(names.where(names.notna(), None), (note,) if note else ())
    if kind == "floating" and role != "feature" and bool(len(known)):
        numbers = known.to_numpy(np.float64)
        if (np.abs(numbers[np.isfinite(numbers)]) > EXACT).any() and (numbers == np.floor(numbers)).all():
            return Settled(
                values,
                (
                    f"holds whole numbers beyond {EXACT:,} as floats, in which neighbours are the same; "
                    "store such ids as text or integers",
                ),
            )
    return Settled(values)


# --- texts ------------------------------------------------------------------------------------------------------------


class _Distinct(NamedTuple):
    """The distinct tidy texts of a column, how many cells hold each, and which each cell holds; -1 is missing."""

    texts: list[str]
    counts: NDArray[np.int64]
    codes: NDArray[np.int64]
    merged: tuple[str, str] | None  # two cells that look alike

    def spread(self, values: Sequence[Any] | NDArray[Any], missing: Any, dtype: Any = object) -> NDArray[Any]:
        """A value for each cell."""
        table = np.empty(len(values) + 1, dtype)
        table[:-1] = values
        table[-1] = missing
        return table[self.codes]


def _distinct(values: pd.Series, missing: Collection[str]) -> _Distinct:
    import pandas as pd

    codes, found = pd.factorize(values)
    place: dict[str, int] = {}
    raw: dict[str, str] = {}
    merged = None
    to = np.full(len(found) + 1, -1, np.int64)
    for i, value in enumerate(found):
        text = called(value)
        if text in missing:
            continue
        if text in place and isinstance(value, str) and merged is None:
            merged = raw[text], value
        to[i] = place.setdefault(text, len(place))
        raw.setdefault(text, str(value))
    codes = to[codes]
    return _Distinct(list(place), np.bincount(codes[codes >= 0], minlength=len(place)), codes, merged)


def _settle_texts(
    values: pd.Series,
    role: Role,
    how: As,
    keep: Collection[str],
    comma: bool,
    like: Written | None,
    known: Sequence[str] | None,
    typed: bool,
) -> Settled:
    import pandas as pd

    found = _distinct(values, {*EMPTY} - {*keep})

    def made(cells: Any, missing: Any, notes: Sequence[str], dtype: Any = object, written: Any = None) -> Settled:
        column = pd.Series(found.spread(cells, missing, dtype), index=values.index, name=values.name)
        return Settled(column, tuple(notes), written)

    numbers = read_numbers(found.texts, found.counts, comma=comma, like=like)
    if known is not None and not any("–" in name for name in known):
        return made(*_as_known(found, numbers.values, known, keep))
    odd = {text: n for text, n, bad in zip(found.texts, found.counts, np.isnan(numbers.values), strict=True) if bad}
    if how == "number" or (how == "auto" and _are_numbers(found, numbers, odd, role, like)):
        written = numbers.written(odd)
        notes = [*numbers.notes(), *_odd(odd, int(found.counts.sum())), *_same(found, numbers.values, role)]
        whole = numbers.whole and not odd and bool((found.codes >= 0).all())
        if whole:
            return made([int(value) for value in numbers.values], 0, notes, np.int64, written)
        return made(numbers.values, np.nan, notes, np.float64, written)
    if how == "auto" and (truth := _booleans(found.texts, role)) is not None:
        note = f"{_listed(found.texts)} are read as true and false" if len(found.texts) > 2 else ""
        if (found.codes >= 0).all():
            return made(truth, False, [note] if note else [], bool)
        return made(truth, None, [note] if note else [])
    texts: list[str | None] = list(found.texts)
    notes = []
    if role == "label" or (typed and role == "attribute"):
        said = [str(value) for value in pd.unique(values) if isinstance(value, str) and tidy(value)]
        gone = sorted({tidy(value) for value in said} & ({*EMPTY} - {*keep}))
        notes += [f"'{text}' counts as missing (--keep {text})" for text in gone]
    if role != "feature":
        gaps = {*UNKNOWN} - {*keep} - ({"-", "−"} if "+" in texts else set())
        gone = {text: int(n) for text, n in zip(found.texts, found.counts, strict=True) if text in gaps}
        texts = [None if text in gone else text for text in texts]
        notes += [
            f"'{text}' in {n} of {len(values)} cells counts as missing (--keep {text})" for text, n in gone.items()
        ]
    if found.merged:
        notes.append(f"{found.merged[0]!a} and {found.merged[1]!a} look alike, and are one")
    notes += _nearly_alike(found.texts, MANY if role == "feature" else 1000)
    return made(texts, None, notes)


def _as_known(
    found: _Distinct, numbers: NDArray[np.float64], known: Sequence[str], keep: Collection[str]
) -> tuple[list[str | None], None, list[str]]:
    """The name of an earlier reading that each text can be: as it is written, or as the number that it is."""
    names = {tidy(name) for name in known}
    cells: list[str | None] = []
    notes = []
    for text, number in zip(found.texts, numbers, strict=True):
        plain = {"true": "True", "false": "False"}.get(text.lower(), text.rstrip("."))
        other = called(float(number)) if np.isfinite(number) else plain
        if text not in names and other == plain != text and other in names:
            notes.append(f"'{text}' is taken for '{other}'")
        unknown = text not in names and text in UNKNOWN and text not in keep
        cells.append(None if unknown else text if text in names or other not in names else other)
    return cells, None, notes


def _are_numbers(found: _Distinct, numbers: Any, odd: Mapping[str, int], role: Role, like: Written | None) -> bool:
    """Whether a column of texts is one of numbers; ``odd`` are its texts that are none."""
    total, stray = int(found.counts.sum()), sum(odd.values())
    if like is not None:  # it was one before
        stray -= sum(n for text, n in odd.items() if text in like.odd)
        return total > 0 and 2 * stray < total
    if not total or 2 * stray > total:
        return False
    distinct = len(found.texts) - len(odd)
    if numbers.unusual and distinct <= (MANY if role == "label" else FEW):
        return False
    unknown = all(text in UNKNOWN or text.lower() in ABBREVIATED for text in odd)
    if distinct <= FEW and not unknown:
        return False
    if odd and not unknown and stray > STRAY * total and len(odd) > FEW:
        return False
    if numbers.unusual:
        return True
    good = ~np.isnan(numbers.values)
    texts = [text for text, fine in zip(found.texts, good, strict=True) if fine]
    signs = code_signs(texts, numbers.values[good], strict=role != "feature", few=distinct <= MANY)
    return not signs.any() if distinct <= MANY else bool(found.counts[good][signs].sum() <= CODES * total)


def _booleans(texts: Sequence[str], role: Role) -> list[bool] | None:
    """What each text says, where all of them say true or false."""
    lower = [text.lower() for text in texts]
    if role != "feature" or not lower:  # names stay as they are written
        return None
    plain = {*lower} <= {"true", "false"} and len(lower) == len({*lower})
    several = len(lower) > 2 and {*lower} <= {*TRUE, *FALSE}
    return [text in TRUE for text in lower] if plain or several else None


# --- what is said -----------------------------------------------------------------------------------------------------


def _listed(texts: Sequence[str], most: int = 4) -> str:
    shown = ", ".join(f"'{text[:40]}'" for text in texts[:most])
    return shown + (f" and {len(texts) - most} more" if len(texts) > most else "")


def _odd(odd: Mapping[str, int], total: int) -> list[str]:
    if not odd:
        return []
    n, often = sum(odd.values()), sorted(odd, key=lambda text: -odd[text])
    verb = ("is no number, and counts" if n == 1 else "are no numbers, and count") + " as missing"
    return [f"{_listed(often)} in {n} of {total} cells {verb}"]


def _same(found: _Distinct, numbers: NDArray[np.float64], role: Role) -> list[str]:
    """Texts that are one number; of measurements, those that differ in zeros behind the point need not be told."""
    first: dict[float, str] = {}
    for text, number in zip(found.texts, numbers, strict=True):
        other = first.setdefault(float(number), text) if np.isfinite(number) else text
        if other != text and (role != "feature" or (text.lstrip("+-").isdigit() and other.lstrip("+-").isdigit())):
            return [f"'{other}' and '{text}' are one number (--categorical COLUMN keeps codes apart)"]
    return []


def _nearly_alike(texts: Sequence[str], most: int) -> list[str]:
    """Names that differ in nothing but capital letters, or say true and false in several ways."""
    if not 1 < len(texts) <= most:
        return []
    folded = Counter(text.casefold() for text in texts)
    alike = [text for text in texts if folded[text.casefold()] > 1]
    notes = [f"{_listed(alike)} differ in capital letters alone, and are kept apart"] if alike else []
    if len(texts) > 2 and {text.lower() for text in texts} <= {*TRUE, *FALSE} and not alike:
        notes.append(f"{_listed(texts)} say true and false in several ways, and are kept apart")
    return notes
