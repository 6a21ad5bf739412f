"""Arrays: an ``.npz`` or ``.safetensors`` file with the inputs and a label for each."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from longcut.errors import UserError
from longcut.numbers import WHOLE
from longcut.sources import Columns, Source
from longcut.sources.apart import SPLIT, joined, stems
from longcut.sources.array_files import Arrays, open_arrays
from longcut.sources.contents import label_in, require
from longcut.sources.kinds import settle
from longcut.sources.marks import marks
from longcut.sources.vectors import floats, layer_of

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from longcut.sources.options import Attribute, AttributeBins, Label, Layer, OptionalParts, Split

__all__ = ["read_arrays"]

INPUTS = ("x", "X", "images", "features")
TOKENS = ("tokens", "token_ids", "input_ids")  # names of inputs whose whole numbers are no features
MOST_TOKENS = 1 << 22  # a vocabulary of more has no embedding that fits into memory

BRIGHT = 128  # pixels that are floats of 0 to 255 go beyond that somewhere


def read_arrays(
    path: Path | str,
    *,
    label: Label = "label",
    attribute: Attribute = None,
    attribute_bins: AttributeBins = None,
    split: Split = None,
    parts: OptionalParts = None,
    layer: Layer = None,
    seed: int = 0,
    encoding: Mapping[str, Any] | None = None,
) -> Columns:
    """The arrays of a file as samples.

    The input is the array ``x``, ``X``, ``images`` or ``features``, or the only one that has no other use:

    * images of whole numbers from 0 to 255, ``(n, H, W, 3)``, ``(n, H, W, 1)``, ``(n, H, W)`` or channel first; floats
      with four axes likewise, from 0 to 1 or standardised; those that are whole numbers up to 255 are such pixels;
    * a table ``(n, d)`` of numbers of any kind, or of booleans;
    * token ids ``(n, length)``, whole numbers, 0 being padding: if the array is called ``tokens``, ``token_ids`` or
      ``input_ids``.

    Where there is no array of labels, arrays may be apart by part: ``x_train``, ``y_train``, ``x_test``, ``y_test``, or
    ``train_images`` and so on; they are joined, and their names are the split.

    Images of float32 or uint8, tables of float32 and token ids of int64 in a ``.safetensors`` file stay memory-mapped.
    An ``.npz`` file is read into memory, all of it; data larger than memory belongs into a ``.safetensors`` file.
    What an ``.npz`` file says as ``encoder``, a single text, or a ``.safetensors`` file in its metadata, is the net
    that made its features, as ``longcut embed`` writes it.

    Args:
        path: of the file.
        label: name of the array with the classes ``(n,)``, or with the numbers to predict, ``(n,)`` or as floats
            several for each sample ``(n, width)``; where there is no ``label``, ``y``, ``labels`` or ``target`` is
            taken for it.
        attribute: name of the array with the suspected shortcut ``(n,)``; one with more than 12 numbers becomes ranges.
            Where it is -1 or NaN, it is not known.
        attribute_bins: how many ranges, of about as many samples each; then one with fewer numbers is cut, too.
        split: name of the array that says train, valid or test ``(n,)``; without, parts are drawn.
        parts: per cent that train, validate and test, of those that are drawn; None: ``60/20/20``.
        layer: which of several vectors, of floats ``(n, layers, d)``; -1 is the last.
        seed: of the parts that are drawn.
        encoding: of an earlier reading; then classes go by their earlier ids, and label and attribute may be absent.

    Raises:
        UserError: when the file cannot be read safely, an array is missing or of another shape, or a value is not
            finite.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "digits.npz"
    >>> np.savez(path, x=np.zeros((6, 8, 8), np.uint8), y=[7, 3, 3, 7, 7, 3])
    >>> columns = read_arrays(path)
    >>> columns.x.shape, columns.class_names, columns.label.tolist()
    ((6, 1, 8, 8), ('3', '7'), [1, 0, 0, 1, 1, 0])
    """
    import pandas as pd

    where = str(path)
    arrays, encoder = open_arrays(Path(path), where)
    if label_in(arrays, label) not in arrays and (apart := stems(arrays)):
        arrays, split = joined(arrays, apart, where), split or SPLIT
    label = label_in(arrays, label)
    used = [name for name in (label, attribute, split) if name is not None and (name in arrays or encoding is None)]
    require(arrays, used, where)
    layer = layer if encoding is None else encoding.get("layer")
    name, x = _input(arrays, used, layer, encoding, where)
    for column in used:
        if arrays[column].shape[1:] == (1,):
            arrays[column] = arrays[column][:, 0]
        if 0 in arrays[column].shape[1:]:
            raise UserError(
                f"array '{column}' in {where} has the shape {arrays[column].shape}; give one value a sample."
            )
    rows = pd.DataFrame(index=pd.RangeIndex(len(x)))
    several = arrays[label] if label in used and arrays[label].ndim == 2 and arrays[label].dtype.kind == "f" else None
    for column in used:
        first = arrays[column] if several is None or column != label else several[:, 0]
        values = pd.Series(_column(first, column, len(x), where), name=column)
        rows[column] = settle(values, "label" if column == label else "attribute").values
    if attribute in used:
        rows[attribute] = _without_unknown(cast("pd.Series", rows[attribute]), where)
    given = {"label": label, "attribute": attribute, "split": split}
    task = "auto" if several is None else "regression"
    how = {"attribute_bins": attribute_bins, "parts": parts, "task": task, "seed": seed}
    found = marks(rows, **given, **how, encoding=encoding, where=where)
    if encoding is None:
        form = {"kind": "arrays", "shape": list(x.shape[1:]), "dtype": str(x.dtype)}
        encoding = {**form, **found.names, **given, "token_ids": _token_ids(x)}
        encoding |= {} if layer is None else {"layer": layer}
    elif list(x.shape[1:]) != encoding["shape"] or str(x.dtype) != encoding["dtype"]:
        now, before = f"{x.dtype} {x.shape[1:]}", f"{encoding['dtype']} {tuple(encoding['shape'])}"
        raise UserError(f"{where}: each sample of '{name}' is {now}, and was {before}; give samples of the same shape.")
    elif _token_ids(x) > encoding["token_ids"]:
        largest = encoding["token_ids"] - 1
        raise UserError(
            f"{where}: '{name}' has token id {x.max()}, and the largest was {largest}; use the same tokens."
        )
    source = Source(
        name=where,
        rows=rows,
        part=found.part,
        official=found.official,
        label=None if found.label is None else label,
        attribute=None if found.attribute is None else attribute,
        split=split if found.official else None,
        encoding=encoding,
    )
    return Columns(
        x,
        found.label if several is None else several.astype(np.float32),
        found.attribute,
        found.class_names,
        found.attribute_names,
        source,
        vocabulary=encoding["token_ids"],
        encoder=encoder,
    )


# --- the arrays -------------------------------------------------------------------------------------------------------


def _input(
    arrays: Arrays, used: list[str], layer: int | None, known: Mapping[str, Any] | None, where: str
) -> tuple[str, NDArray[Any]]:
    """The array of inputs, as :class:`Columns` holds them, and its name; ``known`` is how it was read before."""
    tokens = bool(known and known["token_ids"])
    free = [name for name in arrays if name not in used]
    usual = [name for name in (*INPUTS, *TOKENS) if name in free]
    if not usual and len(free) != 1:
        raise UserError(
            f"{where}: none of the arrays {', '.join(arrays)} is the input, {', '.join(INPUTS[:-1])} or {INPUTS[-1]}; "
            "give it one of these names."
        )
    name = (usual or free)[0]
    x, what = arrays[name], f"'{name}'"
    kind = x.dtype.kind
    if layer is not None:
        x = layer_of(x, layer, what, where)
    if not x.shape or not x.size:
        raise UserError(
            f"{where}: {what} has no samples, or nothing in them (its shape is {x.shape}); give a row for each."
        )
    if x.ndim == 2 and kind in "iu" and (tokens or name in TOKENS):
        return name, _ids(x, what, where)
    if x.ndim == 2 and kind in "biuf":
        return name, floats(_exact(x, what, where), what, where)
    if kind in "iu" and x.dtype != np.uint8 and (x.ndim == 3 or (x.ndim == 4 and {x.shape[1], x.shape[3]} & {1, 3})):
        x = _pixels(x, what, where)
    if x.ndim == 3 and x.dtype == np.uint8:
        return name, x[:, None]
    if x.ndim == 4 and (x.dtype == np.uint8 or kind == "f") and {x.shape[1], x.shape[3]} & {1, 3}:
        images = _scaled(floats(x, what, where), what, where, known) if kind == "f" else x
        return name, np.moveaxis(images, 3, 1) if x.shape[3] in (1, 3) else images
    raise UserError(
        f"{where}: {what} is {x.dtype} of shape {x.shape}; give images as uint8 (n, H, W, 3) or (n, H, W), "
        "a table as numbers (n, d), or with --layer as (n, layers, d), or token ids as whole numbers (n, length) in an "
        f"array called {TOKENS[0]}."
    )


def _exact(x: NDArray[Any], what: str, where: str) -> NDArray[Any]:
    """Refuse whole numbers that would become others: so large ones are codes, not quantities."""
    if x.dtype.kind in "iu" and (most := max(abs(int(x.min())), abs(int(x.max())))) > WHOLE:
        raise UserError(
            f"{where}: {what} has whole numbers up to {most:,}, and beyond {WHOLE:,} not all of them are told apart; "
            f"save a table of quantities as floats, or token ids, numbered from 1, in an array called {TOKENS[0]}."
        )
    return x


def _ids(x: NDArray[Any], what: str, where: str) -> NDArray[np.int64]:
    if (least := x.min()) < 0:
        raise UserError(f"{where}: {what} has token id {least}; number tokens from 1, 0 being padding.")
    if (most := x.max()) >= MOST_TOKENS:
        raise UserError(
            f"{where}: {what} has token id {most}, and there can be {MOST_TOKENS:,} at most; number the tokens that "
            "occur, or call the array features if these are numbers to learn from."
        )
    return x.astype(np.int64, copy=False)


def _pixels(x: NDArray[Any], what: str, where: str) -> NDArray[np.uint8]:
    if (least := x.min()) < 0 or x.max() > 255:
        raise UserError(
            f"{where}: {what} has whole numbers from {least} to {x.max()}, and pixels go from 0 to 255; bring them "
            "there and save them as uint8."
        )
    return x.astype(np.uint8, copy=False)


def _scaled(
    x: NDArray[np.float32], what: str, where: str, known: Mapping[str, Any] | None
) -> NDArray[np.float32] | NDArray[np.uint8]:
    """Floats that are pixels from 0 to 255 as such, whatever their range where they were before."""
    bytes_before = known is not None and known["dtype"] == "uint8"
    if x.min() < 0 or not ((most := x.max()) >= BRIGHT or bytes_before):
        return x
    fits = most <= 255 and (known is None or bytes_before)
    pixels = np.empty(x.shape, np.uint8)
    for start in range(0, len(x), 4096):
        block = x[start : start + 4096]
        pixels[start : start + 4096] = block if fits else 0
        if not (pixels[start : start + 4096] == block).all():
            warnings.warn(
                f"{where}: {what} has numbers up to {most:.4g}, and images of floats go from 0 to 1 elsewhere; bring "
                "them there, or save pixels as uint8.",
                stacklevel=4,
            )
            return x
    if known is None:
        warnings.warn(f"{where}: {what} has whole numbers up to {most:.0f}, and is taken for pixels.", stacklevel=4)
    return pixels


def _column(values: NDArray[Any], name: str, n: int, where: str) -> NDArray[Any]:
    if values.shape != (n,) or values.dtype.kind not in "biufU":
        raise UserError(
            f"{where}: '{name}' is {values.dtype} of shape {values.shape}; give one number or text for each of the {n} "
            f"samples, shape ({n},)."
        )
    if values.dtype.kind == "f":
        return values.astype(np.float64)
    return values.astype(values.dtype.newbyteorder("="))


def _without_unknown(values: pd.Series, where: str) -> pd.Series:
    """An attribute with nothing in place of the number -1, unless that is a value like 1."""
    if values.dtype.kind not in "if" or not bool((values == -1).any()):
        return values
    known = values[(values != -1) & values.notna()]
    if set(known) == {1}:
        raise UserError(
            f"{where}: '{values.name}' has no other values than -1 and 1, but -1 says that the attribute is not known; "
            "number its values from 0."
        )
    return values.where(values != -1)


def _token_ids(x: NDArray[Any]) -> int:
    return int(x.max()) + 1 if x.dtype == np.int64 else 0
