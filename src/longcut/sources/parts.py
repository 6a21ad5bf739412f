"""What all readers do: turn columns into ids and splits into parts, and check the labels.

``where`` names the file or folder in messages, ``what`` the column and its use, such as ``label 'y'``.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, cast

import numpy as np

from longcut.errors import UserError, unknown
from longcut.sources import TEST, TRAIN, VALID
from longcut.sources.header import tidy
from longcut.sources.kinds import called as name_of
from longcut.sources.part_names import PARTS, part_of

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

__all__ = [
    "MISSING",
    "check_labels",
    "column",
    "draw_parts",
    "number",
    "parts_of",
    "ranges",
    "refuse_parts",
    "shares",
]

MISSING = "(missing)"

DRAWN = "60/20/20"  # where nobody says other parts
MOST_VALUES = 12  # a numeric attribute with more distinct values is cut into ranges


def column(frame: pd.DataFrame, name: str, what: str, where: str) -> pd.Series:
    """The column of a table that was asked for.

    Raises:
        UserError: when there is none; the nearest name is suggested.
    """
    if name not in frame.columns:
        raise UserError(f"{where}: {what}: {unknown('column', name, map(str, frame.columns))}")
    return cast("pd.Series", frame[name])


def number(
    values: pd.Series,
    *,
    what: str,
    where: str,
    names: Sequence[str] | None = None,
    missing: str | None = None,
    strangers: bool = False,
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """A column of any values as ids 0…C−1, and the name of each id.

    Names are in natural order: numbers by size, then text by the alphabet, then the missing. A whole number is called
    by its digits, however it was stored: ``1.0`` is ``"1"``. Names that look alike are one
    (:func:`longcut.sources.kinds.tidy`).

    Args:
        values: one value per row: text, whole numbers, booleans, numbers.
        what: the column and its use.
        where: the file or folder.
        names: of an earlier reading; then ids go by these.
        missing: what missing values are called, for an attribute; None refuses them, for a label.
        strangers: whether other values than ``names`` are allowed; their id is -1.

    Raises:
        UserError: on a missing label, values that are lists or the like, or a value that is not among ``names``.

    Warns when names were made one that were written differently.

    >>> import pandas as pd
    >>> ids, names = number(pd.Series([10.0, 2.0, 10.0]), what="label 'y'", where="birds.csv")
    >>> ids.tolist(), names
    ([1, 0, 1], ('2', '10'))
    """
    import pandas as pd

    try:
        codes, distinct = pd.factorize(values)  # a missing value is -1
    except TypeError as error:
        raise UserError(f"{where}: {what} holds lists; choose a column with one value per row.") from error
    called = [name_of(value) for value in distinct]
    _tell_alike(distinct, called, what, where)
    if (absent := np.flatnonzero(codes < 0)).size:
        if missing is None:
            raise UserError(
                f"{where}: {what} is missing in {absent.size} of {len(codes)} rows, first in row {absent[0] + 1}; "
                "fill it in, or leave these rows out."
            )
        codes = np.where(codes < 0, len(called), codes)
        called.append(missing)
    if names is None:
        names = sorted(set(called), key=lambda name: (name == missing, *_natural(name)))
    ids = {tidy(name): i for i, name in enumerate(names)}
    for name in called:
        if name not in ids and not strangers:
            raise unknown(f"value of {what} in {where}:", name, names)
    return np.array([ids.get(name, -1) for name in called], np.int64)[codes], tuple(names)


def _tell_alike(values: Iterable[object], called: Sequence[str], what: str, where: str) -> None:
    """Warn of texts that have one name."""
    first: dict[str, object] = {}
    for value, name in zip(values, called, strict=True):
        if isinstance(value, str) and isinstance(other := first.setdefault(name, value), str) and other != value:
            warnings.warn(f"{where}: {what}: {other!a} and {value!a} look alike, and are one.", stacklevel=3)
            return


def _natural(name: str) -> tuple[float, str]:
    """Sorts numbers, and ranges by their lower end, before text."""
    try:
        size = float(name.partition("–")[0])
    except ValueError:
        size = math.inf
    return (size if not math.isnan(size) else math.inf), name


def ranges(
    values: pd.Series, names: Sequence[str] | None = None, *, bins: int | None = None, where: str = "the data"
) -> pd.Series:
    """A numeric attribute as ranges: up to four where it has more than 12 distinct values, or as many as are wanted.

    The ranges meet at quantiles (rounded to a thousandth of the spread) and hold their upper end, so equal values stay
    together, and there are fewer ranges where one value is frequent. Any other column is given back as it is.

    Args:
        values: the column.
        names: of an earlier reading; then values are cut where these ranges end, the first and the last one being open.
        bins: how many ranges, also of few distinct values.
        where: the file or folder.

    Raises:
        UserError: when ``bins`` are wanted of a column that is not numeric, or that says the same in every row.

    >>> import pandas as pd
    >>> ranges(pd.Series(range(17, 57))).unique().tolist()
    ['17–26', '27–36', '37–46', '47–56']
    """
    import pandas as pd
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    if not is_numeric_dtype(values) or is_bool_dtype(values):
        if bins is not None and names is None:
            raise UserError(
                f"{where}: attribute '{values.name}' is not made of numbers, so it cannot be cut into ranges; "
                "leave out attribute_bins."
            )
        return values
    numbers = values.to_numpy(np.float64, na_value=np.nan)
    if names is None:
        found = numbers[np.isfinite(numbers)]
        distinct = np.unique(found)
        if bins is not None and len(distinct) < 2:
            raise UserError(
                f"{where}: attribute '{values.name}' says the same in every row, so there is nothing to cut into "
                f"{bins} ranges; name another attribute, or none."
            )
        if bins is None and len(distinct) <= MOST_VALUES:
            return values
        wanted = bins or 4
        quantiles = np.quantile(found, np.arange(1, wanted + 1) / wanted)
        if quantiles[0] == distinct[-1]:  # most have the largest value: it stands alone
            quantiles[0] = distinct[-2]
        whole = bool((found == np.floor(found)).all())
        digits = 0 if whole else 3 - int(np.floor(np.log10(distinct[-1] - distinct[0])))
        ends = np.unique(np.floor(quantiles) if whole else quantiles.round(digits) + 0.0)  # + 0.0: no "-0"
        starts = [distinct[0].round(digits) + 0.0, *(ends[:-1] + whole)]
        names = [
            f"{end:.12g}" if start == end else f"{start:.12g}–{end:.12g}"
            for start, end in zip(starts, ends, strict=True)
        ]
    else:
        names = [name for name in names if name != MISSING]
        if not any("–" in name for name in names):  # the earlier column was not cut
            return values
    ends = np.array([float(name.split("–")[-1]) for name in names])
    range_of = np.searchsorted(ends, numbers).clip(max=len(ends) - 1)
    cut = np.array(names, dtype=object)[range_of]
    cut[np.isnan(numbers)] = None
    return pd.Series(cut, index=values.index, name=values.name, dtype=object)


def parts_of(values: pd.Series, *, what: str, where: str) -> NDArray[np.int64]:
    """A split column as parts: 0 train, 1 validation, 2 test ``(n,)``.

    Words (train, valid, test, in anybody's spelling; see :func:`longcut.sources.part_names.part_of`) and the numbers 0,
    1, 2 are understood. Data with a validation part and no test part is judged on the validation part: it becomes the
    test part.

    Raises:
        UserError: on another value, a missing value, no training part, or neither a validation nor a test part.

    Warns when the validation part becomes the test part, and of words that mean the same part.

    >>> import pandas as pd
    >>> parts_of(pd.Series(["Train", "dev", "test"]), what="split 'part'", where="birds.csv").tolist()
    [0, 1, 2]
    """
    codes, found = number(values, what=what, where=where)
    meant = [part_of(name) for name in found]
    if None in meant:
        raise unknown(f"value of {what} in {where}:", found[meant.index(None)], PARTS)
    part = np.array(meant, np.int64)[codes]
    if not (part == TRAIN).any():
        raise UserError(f"{where}: {what} has no training rows; call them train, or 0.")
    if (part == TRAIN).all():
        raise UserError(f"{where}: {what} has only training rows; call some valid or test, or leave the split out.")
    words = {kind: [name for name, is_of in zip(found, meant, strict=True) if is_of == kind] for kind in meant}
    for several in words.values():
        if len(several) > 1:
            warnings.warn(f"{where}: {what}: {', '.join(several)} are taken as one part.", stacklevel=2)
    if not (part == TEST).any():
        part[part == VALID] = TEST
        warnings.warn(
            f"{where}: there is no test part in {what}; the validation part ({', '.join(words[VALID])}) is tested on, "
            "and no epoch is chosen by it.",
            stacklevel=2,
        )
    return part


def shares(parts: str, *, where: str) -> tuple[int, int, int]:
    """Per cent of the samples that train, validate and test.

    Args:
        parts: three whole numbers, such as ``70/15/15``.
        where: the data, for the message.

    Raises:
        UserError: when they are not three whole numbers above 0 that sum to 100.

    >>> shares("70/15/15", where="birds.csv")
    (70, 15, 15)
    """
    found = [int(share) if share.isdecimal() else 0 for share in parts.split("/")]
    if len(found) != 3 or min(found) < 1:
        raise UserError(f"{where}: parts={parts} are not three shares above 0; give three, such as 70/15/15.")
    if sum(found) != 100:
        raise UserError(f"{where}: parts={parts} sum to {sum(found)}; give shares that sum to 100, such as 70/15/15.")
    return found[0], found[1], found[2]


def refuse_parts(parts: str | None, says: str, *, where: str) -> None:
    """Refuse to draw parts where something says them already.

    Raises:
        UserError: when ``parts`` is given.
    """
    if parts is not None:
        raise UserError(f"{where}: parts={parts} are drawn, but {says} the parts already; leave out one of them.")


def draw_parts(
    label: NDArray[np.int64] | None,
    n: int,
    seed: int,
    *,
    where: str,
    names: Sequence[str] = (),
    parts: str | None = None,
) -> NDArray[np.int64]:
    """Parts drawn at random within each class ``(n,)``.

    Each class has samples in every part; of few, a part may have more than its share.

    Args:
        label: class ids ``(n,)``, or None (regression) to draw from all samples alike.
        n: number of samples.
        seed: of the draw.
        where: the file or folder.
        names: of the classes.
        parts: of :func:`shares`; None: 60 % train, 20 % validation, 20 % test.

    Raises:
        UserError: when a class has fewer than three samples, or as :func:`shares`.

    >>> import numpy as np
    >>> np.bincount(draw_parts(None, 20, seed=0, where="birds.csv", parts="70/15/15")).tolist()
    [14, 3, 3]
    """
    _, valid, test = shares(parts or DRAWN, where=where)
    rng = np.random.default_rng(seed)
    part = np.full(n, TRAIN, np.int64)
    groups = [np.arange(n)] if label is None else [np.flatnonzero(label == i) for i in range(len(names))]
    for i, rows in enumerate(groups):
        if len(rows) < 3:
            whose = "the data" if label is None else f"class '{names[i]}'"
            samples = "sample" if len(rows) == 1 else "samples"
            raise UserError(
                f"{where}: {whose} has {len(rows)} {samples}, too few for training, validation and test; "
                "give at least 3, or a split."
            )
        tested = min(max(1, round(test * len(rows) / 100)), len(rows) - 2)
        held = tested + min(max(1, round(valid * len(rows) / 100)), len(rows) - tested - 1)
        drawn = rng.permutation(rows)
        part[drawn[:tested]] = TEST
        part[drawn[tested:held]] = VALID
    return part


def check_labels(
    label: NDArray[np.int64],
    names: Sequence[str],
    part: NDArray[np.int64],
    attribute: NDArray[np.int64] | None = None,
    *,
    what: str,
    attribute_what: str = "the attribute",
    where: str,
) -> None:
    """Refuses labels that nothing can be learned from or judged by.

    Args:
        label: class ids ``(n,)``.
        names: of the classes.
        part: 0 train, 1 validation, 2 test ``(n,)``.
        attribute: ids ``(n,)``, -1 where it is not known; or None.
        what: the label, such as ``label 'y'``.
        attribute_what: the attribute, such as ``attribute 'place'``.
        where: the file or folder.

    Raises:
        UserError: on one class only, a class without training or test samples, or an attribute that says the same as
            the label under other names.
    """
    if len(np.unique(label)) < 2:
        raise UserError(f"{where}: {what} has one class only, '{names[label[0]]}'; give at least two classes.")
    for called, which in (("training", TRAIN), ("test", TEST)):
        present = np.bincount(label[part == which], minlength=len(names))
        if (present == 0).any():
            raise UserError(
                f"{where}: class '{names[int(present.argmin())]}' of {what} has no {called} samples; "
                "move some there, or leave the class out."
            )
    if attribute is not None and (attribute >= 0).all():  # of some alone, the two may agree by chance
        pairs = np.unique(np.stack([label, attribute]), axis=1)
        if pairs.shape[1] == len(np.unique(label)) == len(np.unique(attribute)):
            raise UserError(
                f"{where}: {attribute_what} says the same as {what} in every row; "
                "name a column that differs from the label, or none."
            )
