"""Arrays that are apart by part: ``x_train`` and ``x_test``, as Keras has them, or ``train_images``, as MedMNIST."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from longcut.errors import UserError
from longcut.sources import TRAIN
from longcut.sources.part_names import part_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["SPLIT", "joined", "stems"]

SPLIT = "split"  # what the array is called that says who is in which part


def stems(names: Iterable[str]) -> dict[str, dict[str, str]]:
    """What arrays are called without the word for the part, and which is that of each part.

    Nothing, unless the same parts, one of them for training, are there of all that are called so.

    >>> stems(["x_train", "y_train", "x_test", "y_test"])
    {'x': {'train': 'x_train', 'test': 'x_test'}, 'y': {'train': 'y_train', 'test': 'y_test'}}
    >>> stems(["x", "y"]), stems(["x_train", "x_test", "y_train"])
    ({}, {})
    """
    found: dict[str, dict[str, str]] = {}
    for name in names:
        words = re.split(r"[\W_]+", name)
        parts = [word for word in words if part_of(word) is not None and not word.isdigit()]
        if len(parts) == 1 and len(words) > 1:
            stem = "_".join(word for word in words if word != parts[0])
            found.setdefault(stem, {})[parts[0]] = name
    kinds = {tuple(sorted(parts)) for parts in found.values()}
    alike = len(kinds) == 1 and len(words := next(iter(kinds))) > 1 and TRAIN in map(part_of, words)
    return found if alike else {}


def joined(
    arrays: Mapping[str, NDArray[Any]], found: Mapping[str, Mapping[str, str]], where: str
) -> dict[str, NDArray[Any]]:
    """The arrays of all parts as one each, called by their stems, with one that says who is in which part.

    Args:
        arrays: of a file.
        found: of them, by :func:`stems`.
        where: the file, for messages.

    Raises:
        UserError: when arrays of a part have different numbers of samples, or those of several parts do not fit.
    """
    import numpy as np

    apart = {name for parts in found.values() for name in parts.values()}
    rest = {name: values for name, values in arrays.items() if name not in apart}
    first = next(iter(found.values()))
    counts = {
        part: len(np.atleast_1d(arrays[first[part]])) for part in sorted(first, key=lambda part: part_of(part) or 0)
    }
    for stem, parts in found.items():
        for part, name in parts.items():
            if (n := len(np.atleast_1d(arrays[name]))) != counts[part]:
                raise UserError(
                    f"{where}: '{name}' is of {n:,} and '{first[part]}' of {counts[part]:,} samples; give one for each."
                )
            if (now := arrays[name].shape[1:]) != (before := arrays[next(iter(parts.values()))].shape[1:]):
                raise UserError(f"{where}: a sample of '{stem}' has shape {before}, and in '{name}' {now}; give one.")
        rest[stem] = np.concatenate([arrays[parts[part]] for part in counts])
    rest[SPLIT] = np.repeat(list(counts), list(counts.values()))
    return rest
