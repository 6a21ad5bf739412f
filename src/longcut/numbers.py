"""The one rule for numbers over seeds: mean and sample standard deviation, and how they are written."""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Callable, Iterable

__all__ = ["WHOLE", "number", "spread", "with_spread"]

WHOLE = 1 << 24  # up to there, float32 tells all whole numbers apart


def spread(values: Iterable[float | None]) -> tuple[float | None, float | None]:
    """Mean and sample standard deviation.

    Both are None where there is no value or one of them is not defined (``nan`` or None); a single value has no
    deviation.

    >>> spread([1, 3]), spread([0.5]), spread([0.5, float("nan")])
    ((2.0, 1.4142135623730951), (0.5, None), (None, None))
    """
    given = [math.nan if value is None else float(value) for value in values]
    if not given or any(map(math.isnan, given)):
        return None, None
    return statistics.fmean(given), statistics.stdev(given) if len(given) > 1 else None


def number(value: float | None, percent: bool = True) -> str:
    """A value as it is written: a share in percent with one decimal, an error with three digits, a dash for ``nan``.

    An error of up to a million has no exponent, and one that needs it a short one: tables have 80 characters.

    >>> number(0.7123), number(float("nan")), number(0.01234, percent=False)
    ('71.2', '–', '0.0123')
    >>> number(23456.7, percent=False), number(2.345e9, percent=False), number(2.345e-7, percent=False)
    ('23500', '2.34e9', '2.34e-7')
    """
    if value is None or not math.isfinite(value):
        return "–"
    if percent:
        return f"{100 * value:.1f}"
    rounded = f"{value:.3g}"
    if 1000 <= abs(float(rounded)) <= 1e6:
        return f"{float(rounded):.0f}"
    return re.sub(r"e(-?)\+?0*", r"e\1", rounded)


def with_spread(
    mean: float | None, deviation: float | None, write: Callable[[float | None], str] = number, between: str = " ± "
) -> str:
    """A mean with its deviation where there is one, which has no more decimals than the mean, or with an exponent two.

    >>> with_spread(0.9333, 0.004), with_spread(0.9333, None), with_spread(None, None)
    ('93.3 ± 0.4', '93.3', '–')
    >>> with_spread(12.345, 0.4567, write=lambda value: number(value, percent=False))
    '12.3 ± 0.5'
    >>> with_spread(23456.7, 1.5, write=lambda value: number(value, percent=False))
    '23500 ± 2'
    >>> with_spread(2.345e9, 1.234e8, write=lambda value: number(value, percent=False))
    '2.34e9 ± 1.2e8'
    """
    if deviation is None:
        return write(mean)
    written, beside = write(mean), write(deviation)
    decimals = len(written.partition(".")[2])
    if "e" in beside:
        beside = write(float(f"{deviation:.2g}"))
    elif "e" not in written and len(beside.partition(".")[2]) > decimals:
        beside = f"{deviation:.{decimals}f}"
    return f"{written}{between}{beside}"
