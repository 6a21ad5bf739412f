"""The checks of :meth:`longcut.data.Dataset.of`: what it is given, as tensors that a data set can hold.

Each raises a :class:`~longcut.errors.UserError`, in which ``name`` is what the data is called and ``what`` the column.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from longcut.errors import UserError
from longcut.numbers import WHOLE

if TYPE_CHECKING:
    import numpy as np

__all__ = ["as_tensor", "check_finite", "column", "ids", "members", "stored", "targets"]

FEW = 10  # rows that may be one 1 among zeros by chance


def as_tensor(x: Tensor | np.ndarray) -> Tensor:
    """The storage as a tensor; a memory-mapped array stays memory-mapped."""
    import numpy as np

    if isinstance(x, Tensor):
        return x
    if isinstance(x, np.ndarray) and not x.flags.writeable:
        if not (isinstance(x, np.memmap) and x.filename and x.flags.c_contiguous):
            x = x.copy()
        else:  # torch wants writable memory: map the file again, private and copy-on-write, never written
            start = x.ctypes.data - cast(Any, _root(x)).ctypes.data
            return _mapped(x.filename, x.dtype, cast(Any, _root(x)).offset + start, x.shape)
    return torch.from_numpy(np.asarray(x))


def _mapped(*where: Any) -> Tensor:
    """The array in a file (name, type, offset, shape) as a tensor that says how another process maps it, too."""
    import numpy as np

    file, dtype, offset, shape = where
    found: Any = torch.from_numpy(np.asarray(np.memmap(file, dtype, "c", offset, shape)))
    found.made_by = _mapped, where
    return found


def _root(x: Any) -> Any:
    """The memory map that a view was cut from."""
    import numpy as np

    while isinstance(x.base, np.memmap):
        x = x.base
    return x


def stored(name: str, x: Tensor, kind: str | None) -> tuple[Tensor, str]:
    """The storage as it is kept, and what kind of inputs it holds, if that is not said."""
    if kind in (None, "image") and x.ndim == 4 and x.shape[3] == 3 and x.shape[1] > 4:
        raise UserError(
            f"{name}: x has shape {tuple(x.shape)}, so its colours come last; give them first, x.permute(0, 3, 1, 2) "
            "of a tensor, x.transpose(0, 3, 1, 2) of an array."
        )
    if x.is_floating_point():
        check_finite(name, "x", x)
        return x, kind or ("image" if x.ndim == 4 else "table")
    if kind == "tokens" or (x.dtype == torch.uint8 and x.ndim > 2):
        return x, kind or "image"
    if x.dtype.itemsize > 2 and (most := max(abs(int(x.min())), abs(int(x.max())))) > WHOLE:
        raise UserError(
            f"{name}: x has whole numbers up to {most:,}, and beyond {WHOLE:,} not all of them are told apart; give a "
            'table of quantities as floats, or token ids with kind="tokens".'
        )
    return x.float(), kind or "table"


def column(name: str, what: str, values: Any, rows: int) -> Tensor:
    """The values as a tensor with one entry for each of ``rows`` samples."""
    try:
        read_only = hasattr(values, "flags") and not values.flags.writeable  # torch wants writable memory
        column = torch.as_tensor(values.copy() if read_only else values)
    except (TypeError, ValueError) as error:
        raise UserError(f"{name}: {what} is not made of numbers; number its values from 0.") from error
    if len(column) != rows:
        raise UserError(f"{name}: x has {rows} rows but {what} has {len(column)}; give one {what} for each row.")
    return column


def ids(name: str, what: str, column: Tensor, count: int | None) -> tuple[Tensor, int]:
    """The column as checked ids, and how many there can be: ``count``, or one more than the largest.

    An attribute is -1 where it is not known.
    """
    if column.ndim != 1 or column.is_floating_point():
        kind, shape = str(column.dtype).removeprefix("torch."), tuple(column.shape)
        raise UserError(
            f"{name}: {what} is {kind} of shape {shape}; give one whole number per row, shape ({len(column)},)."
        )
    ids = column.long().contiguous()
    found = torch.unique(ids).tolist()
    if what == "attribute" and found[:1] == [-1]:
        found = found[1:]
        if found in ([], [1]) and not count:
            values = "-1 alone" if not found else "no other values than -1 and 1"
            raise UserError(
                f"{name}: attribute has {values}, but -1 says that it is not known; number its values from 0, or leave "
                "the attribute out."
            )
    total = count or max(found[-1], 0) + 1
    wrong = [value for value in found if not 0 <= value < total]
    if wrong:
        unknown = ", -1 where it is not known" if what == "attribute" else ""
        raise UserError(
            f"{name}: {what} {wrong[0]} is not in 0…{total - 1}; number the {what}s from 0 without gaps{unknown}."
        )
    if what == "label" and count is None and len(found) < total:
        gap = next(i for i, value in enumerate(found) if i != value)
        raise UserError(
            f"{name}: no sample has label {gap}; number the labels 0…C−1 without gaps, or pass n_classes=…."
        )
    return ids, total


def targets(name: str, column: Tensor) -> Tensor:
    """Numbers to predict ``(n, width)``; a class that is written as one 1 among zeros is none."""
    values = column.float().reshape(len(column), -1).contiguous()
    check_finite(name, "label", values)
    one_hot = len(values) >= FEW and values.shape[1] > 1 and ((values == 0) | (values == 1)).all()
    if one_hot and (values.sum(1) == 1).all():
        raise UserError(
            f"{name}: label has a single 1 among zeros in each row, which says the class; give its number, "
            "label.argmax(1)."
        )
    return values


def members(name: str, memberships: Any, n: int) -> Tensor:
    """The memberships as a tensor ``(n, A)`` of True and False: one row per sample, one column per group."""
    members = column(name, "membership", memberships, n)
    if members.dtype != torch.bool or members.ndim != 2 or not members.shape[1]:
        kind = str(members.dtype).removeprefix("torch.")
        raise UserError(
            f"{name}: memberships are {kind} of shape {tuple(members.shape)}; give True or False for each sample and "
            f"group, shape ({n}, number of groups)."
        )
    return members.contiguous()


def check_finite(name: str, what: str, values: Tensor) -> None:
    """Refuses NaN and infinity, and names the first row that holds one; block by block, as storage may be mapped."""
    for start, block in zip(range(0, len(values), 4096), values.split(4096), strict=True):
        good = torch.isfinite(block).flatten(1).all(1)
        if not good.all():
            row = start + int((~good).nonzero()[0])
            raise UserError(
                f"{name}: {what} of row {row} holds a value that is not finite (NaN or infinity); "
                "impute or drop it first."
            )
