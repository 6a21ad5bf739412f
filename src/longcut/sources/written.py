"""Numbers as people write them: with units, percent signs, decimal commas and thousands separators."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["EXACT", "Numbers", "Written", "code_signs", "read_numbers"]

EXACT = 1 << 53  # up to here, floats tell all whole numbers apart
ODDITIES = 20  # cells that are no numbers, by what they say, that are remembered

_MONEY = "$€£¥₹"
# a point at the end of a number is none before a letter: 12.png is a name
_DIGITS = r"(?:[0-9][0-9.,'’ ]*[0-9](?:\.(?!\w))?|[0-9](?:\.(?!\w))?|[.,][0-9]+)(?:[eE][-+]?[0-9]+)?"
_CELL = re.compile(
    rf"(?P<before>[{_MONEY}] ?|[A-Z]{{3}} )?(?P<number>[-+−]?{_DIGITS})"
    rf"(?P<after> ?(?:[^\W\d_]|[%‰°′″µ{_MONEY}]).{{0,14}})?"
)
_EXPONENT = r"(?:[eE][-+]?[0-9]+)?"


def _style(point: str, group: str) -> re.Pattern[str]:
    groups = rf"[1-9][0-9]{{0,2}}(?:{group}[0-9]{{2,3}})*{group}[0-9]{{3}}|[1-9][0-9]{{0,2}}(?:[ '’][0-9]{{3}})+"
    return re.compile(rf"[-+]?(?:[0-9]+{point}?[0-9]*|{point}[0-9]+|(?:{groups})(?:{point}[0-9]+)?){_EXPONENT}")


_POINT, _COMMA = _style(r"\.", ","), _style(",", r"\.")
_DROP_POINT, _DROP_COMMA = str.maketrans("", "", ",'’ "), str.maketrans(",", ".", ".'’ ")


@dataclass(frozen=True)
class Written:
    """How the numbers of a column are written.

    Attributes:
        before, after: what stands beside each, such as a unit.
        comma: whether a comma stands before the decimals.
        odd: what cells say that are no numbers.
    """

    before: str = ""
    after: str = ""
    comma: bool = False
    odd: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it; empty where all is as usual."""
        said = {"before": self.before, "after": self.after, "comma": self.comma, "odd": list(self.odd)}
        return {key: value for key, value in said.items() if value}

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> Written:
        """Of what :meth:`to_dict` made."""
        return cls(**{**said, "odd": tuple(said.get("odd", ()))})


@dataclass(frozen=True)
class Numbers:
    """Texts read as numbers.

    Attributes:
        values: the number of each text, NaN where it is none ``(n,)``.
        before, after, comma: of :class:`Written`.
        grouped: whether there are separators of thousands.
    """

    values: NDArray[np.float64]
    before: str = ""
    after: str = ""
    comma: bool = False
    grouped: bool = False
    whole: bool = False

    @property
    def unusual(self) -> bool:
        """Whether other programs would not read them as numbers."""
        return bool(self.before or self.after or self.comma or self.grouped)

    def written(self, odd: Mapping[str, int]) -> Written:
        """How they are written, for later files."""
        often = sorted(odd, key=lambda text: -odd[text])[:ODDITIES]
        return Written(self.before, self.after, self.comma, tuple(often))

    def notes(self) -> list[str]:
        """What was taken off."""
        beside = " and ".join(f"'{part.strip()}'" for part in (self.before, self.after) if part)
        return [
            *([f"{beside} was taken off the numbers"] if beside else []),
            *(["numbers have a decimal comma"] if self.comma else []),
            *(["numbers have separators of thousands"] if self.grouped else []),
        ]


def read_numbers(
    texts: Sequence[str], counts: NDArray[np.int64], *, comma: bool = False, like: Written | None = None
) -> Numbers:
    """Distinct texts as numbers, in the one way in which most cells of a column can be read.

    Args:
        texts: distinct ones.
        counts: how many cells hold each.
        comma: whether a decimal comma is likely where both a comma and a point are possible.
        like: read them in this way.

    >>> read_numbers(["1.250,5", "3,5"], np.array([1, 1])).values.tolist()
    [1250.5, 3.5]
    >>> read_numbers(["12 mg", "7 mg", "?"], np.array([1, 1, 1])).values.tolist()
    [12.0, 7.0, nan]
    """
    values = _plain(texts)
    missed = np.flatnonzero(np.isnan(values))
    if like is None and not any(_CELL.fullmatch(texts[i]) for i in map(int, missed[:1000])):
        return Numbers(values, whole=_whole(texts, values))
    cells = [_CELL.fullmatch(text) for text in texts]
    beside = [None if cell is None else (cell["before"] or "", cell["after"] or "") for cell in cells]
    if like is None:
        often: Counter[tuple[str, str]] = Counter()
        for both, n in zip(beside, counts, strict=True):
            if both is not None:
                often[both] += int(n)
        before, after = often.most_common(1)[0][0]
    else:
        before, after = like.before, like.after
    digits = [
        cell["number"].replace("−", "-") if cell is not None and both == (before, after) else ""
        for cell, both in zip(cells, beside, strict=True)
    ]
    if like is None:
        fits = [
            sum(int(n) for text, n in zip(digits, counts, strict=True) if style.fullmatch(text))
            for style in (_POINT, _COMMA)
        ]
        has_comma = any("," in text for text in digits)
        use_comma = fits[1] > fits[0] or (fits[1] == fits[0] and comma and has_comma)
    else:
        use_comma, has_comma = like.comma, False
    style, drop = (_COMMA, _DROP_COMMA) if use_comma else (_POINT, _DROP_POINT)
    read = np.array([float(text.translate(drop)) if style.fullmatch(text) else np.nan for text in digits], np.float64)
    if not (before or after):
        infinite = np.isinf(values)
        read[infinite] = values[infinite]
    grouped = any(
        style.fullmatch(text) and (set(",'’ ") if not use_comma else set(".'’ ")) & set(text) for text in digits
    )
    whole = _whole([text.translate(drop) for text in digits], read)
    return Numbers(read, before, after, use_comma and (has_comma or like is not None), grouped, whole)


def _plain(texts: Sequence[str]) -> NDArray[np.float64]:
    """Texts that are numbers as programs write them, to the last bit; NaN are the others."""
    values = np.full(len(texts), np.nan)
    for i, text in enumerate(texts):
        try:
            values[i] = float(text)
        except ValueError:
            continue
        if "_" in text or not text.isascii():
            values[i] = np.nan
    return values


def _whole(texts: Sequence[str], values: NDArray[np.float64]) -> bool:
    """Whether all are whole numbers, written as such, that floats hold exactly."""
    return all(text.lstrip("+-").isdigit() for text in texts) and bool((np.abs(values) <= EXACT).all())


def code_signs(texts: Sequence[str], numbers: NDArray[np.float64], *, strict: bool, few: bool) -> NDArray[np.bool_]:
    """Which of the texts look like codes, although each is a number.

    Zeros in front of a whole number, and whole numbers that floats cannot tell apart. Where there are few values, also
    zeros in front of or behind others, exponents without a sign, and texts that are the same number.

    Args:
        texts: distinct ones.
        numbers: what each is.
        strict: also a plus in front.
        few: whether there are few values.

    >>> code_signs(["1.10", "1.1", "2.0", "3"], np.array([1.1, 1.1, 2, 3]), strict=False, few=True).tolist()
    [True, True, False, False]
    """
    bare = [text.lstrip("+-") for text in texts]
    digits = np.array([text.isdigit() for text in bare], bool)
    zeros = np.array([len(text) > 1 and text[0] == "0" and text[1].isdigit() for text in bare], bool)
    signs = np.isfinite(numbers) & (np.abs(numbers) > EXACT) & digits
    if not few:
        return signs | (zeros & bool(digits.all()))
    _, place, count = np.unique(numbers, return_inverse=True, return_counts=True)
    signs |= zeros | (count[place] > 1)
    signs |= np.array([re.fullmatch(r"[0-9]+[eE][0-9]+", text) is not None for text in bare], bool)
    tails = [text.partition(".")[2] if re.fullmatch(r"[0-9]+\.[0-9]+", text) else "" for text in bare]
    if len({len(tail) for tail in tails if tail}) > 1:
        signs |= np.array([len(tail) > 1 and tail[-1] == "0" for tail in tails], bool)
    if strict:
        signs |= np.array([text[0] == "+" for text in texts], bool)
    return signs
