"""Cues of tables: further columns, and values that are missing."""

from __future__ import annotations

import math
from itertools import chain, combinations, islice

import torch
from torch import Tensor

from longcut.errors import UserError

__all__ = ["column", "missing", "pair"]

NOISE = 0.1  # of a new column


def column(x: Tensor, value: Tensor, n_values: int, amount: float, generator: torch.Generator) -> Tensor:
    """One more column that grows with the value: of mean 0 and deviation ``amount``, and noise of deviation 0.1."""
    return torch.cat([x, _shown(value, n_values, amount, generator)[:, None].to(x.dtype)], 1)


def pair(x: Tensor, value: Tensor, n_values: int, amount: float, generator: torch.Generator) -> Tensor:
    """Two more columns, which tell the value together and nothing alone: it is their sum modulo the number of values.

    Of two values that is the exclusive or. Each part of the sum is shown as by :func:`column`.
    """
    first = torch.randint(n_values, value.shape, generator=generator)
    parts = first, (value - first) % n_values
    shown = torch.stack([_shown(part, n_values, amount, generator) for part in parts], 1)
    return torch.cat([x, shown.to(x.dtype)], 1)


def _shown(value: Tensor, n_values: int, amount: float, generator: torch.Generator) -> Tensor:
    """Evenly spaced numbers of mean 0 and deviation ``amount`` over the values, in noise ``(n,)``."""
    deviation = math.sqrt((n_values**2 - 1) / 12) or 1.0
    spaced = (value.float() - (n_values - 1) / 2) / deviation
    return amount * spaced + NOISE * torch.randn(value.shape, generator=generator)


def missing(x: Tensor, value: Tensor, n_values: int, amount: float, generator: torch.Generator) -> Tensor:
    """The columns that are missing: one for each value, and where there are more values than columns, several.

    What stands there instead is the mean of the column plus ``amount`` of its deviations.

    Raises:
        UserError: where there are more values than sets of columns.
    """
    width = x.shape[1]
    if n_values > 2**width:
        raise UserError(
            f"cue 'missing' has no room for {n_values} values in {width} column{'s' * (width != 1)}; take another cue."
        )
    every = chain.from_iterable(combinations(range(width), size) for size in (*range(1, width + 1), 0))
    absent = torch.zeros(n_values, width, dtype=torch.bool)
    for row, columns in zip(absent, islice(every, n_values), strict=True):
        row[list(columns)] = True
    mean = x.mean(0)
    filler = mean + amount * (x - mean).square().mean(0).sqrt()
    return torch.where(absent[value], filler, x)
