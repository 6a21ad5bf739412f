"""Arrays: an ``.npz`` or ``.safetensors`` file with the inputs and a label for each.

A ``.safetensors`` file is memory-mapped, an ``.npz`` is read into memory. Nothing is unpickled, and an archive that
would unpack to far more than it weighs is refused before it is unpacked.
"""

from __future__ import annotations

import math
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.lib import format as npy

from longcut.errors import UserError
from longcut.numbers import WHOLE
from longcut.sources import Columns, Source
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

GIB = 1 << 30
LARGEST = 16 * GIB  # of what an archive may unpack to
EXPANSION = 1000  # of what is more than one GiB

Arrays = dict[str, "NDArray[Any]"]


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
      with four axes likewise;
    * a table ``(n, d)`` of numbers of any kind, or of booleans;
    * token ids ``(n, length)``, whole numbers, 0 being padding: if the array is called ``tokens``, ``token_ids`` or
      ``input_ids``.

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
    arrays, encoder = _open(Path(path), where)
    label = label_in(arrays, label)
    used = [name for name in (label, attribute, split) if name is not None and (name in arrays or encoding is None)]
    require(arrays, used, where)
    layer = layer if encoding is None else encoding.get("layer")
    name, x = _input(arrays, used, layer, bool(encoding and encoding["token_ids"]), where)
    for column in used:
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


# --- the file ---------------------------------------------------------------------------------------------------------


def _open(path: Path, where: str) -> tuple[Arrays, str]:
    """The arrays of a file by name, and which net made them, where it says."""
    kind = path.suffix.lower()
    if kind not in (".npz", ".safetensors"):
        raise UserError(f"{where}: arrays are in a .npz or .safetensors file, not '{path.suffix}'; save them as one.")
    if not path.is_file():
        raise UserError(f"{where}: there is no such file; give the path of a .npz or .safetensors file.")
    if kind == ".safetensors":
        return _safetensors(path, where)
    arrays = _npz(path, where)
    told = "encoder" in arrays and arrays["encoder"].shape == () and arrays["encoder"].dtype.kind == "U"
    return arrays, str(arrays.pop("encoder")) if told else ""


def _npz(path: Path, where: str) -> Arrays:
    """Of an archive that says of itself that it does not unpack to too much; no more is unpacked than it says."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = [member for member in archive.infolist() if member.filename.endswith(".npy")]
        file = np.load(path, allow_pickle=False)
    except (zipfile.BadZipFile, EOFError, OSError, ValueError) as error:
        raise UserError(f"{where} is not an .npz file that can be read ({error}); save it with numpy.savez.") from error
    with file:
        size, unpacked = path.stat().st_size, sum(member.file_size for member in members)
        if unpacked > max(size, min(LARGEST, max(GIB, EXPANSION * size))):
            raise UserError(
                f"{where} has {size:,} bytes and unpacks to {unpacked:,}, which is more than is safe; "
                "save it with numpy.savez, without compression."
            )
        if unpacked > (memory := _memory()):
            raise UserError(
                f"{where} unpacks to {unpacked / 1e9:,.1f} GB, and there are {memory / 1e9:,.1f} GB of memory; save it "
                "as .safetensors, which stays on disk."
            )
        return {member.filename.removesuffix(".npy"): _member(file, member, where) for member in members}


def _memory() -> int:
    """Bytes that this machine has."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # where the system does not say
        return LARGEST


def _check_header(file: Any, member: zipfile.ZipInfo, where: str) -> None:
    """Refuse an array that says of itself that it is larger than what is stored, before memory is asked for."""
    with file.zip.open(member) as stream:
        version = npy.read_magic(stream)
        read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}.get(version)
        if read is None:
            return
        shape, _, dtype = read(stream)
        stored = member.file_size - stream.tell()
        needed = math.prod(shape) * dtype.itemsize
    if not dtype.hasobject and needed != stored:
        raise UserError(
            f"{where}: '{member.filename}' is damaged (it says that it is {dtype} of shape {shape}, {needed:,} bytes, "
            f"and holds {stored:,}); save it again."
        )


def _member(file: Any, info: zipfile.ZipInfo, where: str) -> NDArray[Any]:
    member = info.filename
    try:
        _check_header(file, info, where)
        values = file[member]
    except UserError:
        raise
    except MemoryError as error:
        raise UserError(
            f"{where}: '{member}' needs {info.file_size / 1e9:,.1f} GB of memory, which are not free; save it as "
            ".safetensors, which stays on disk."
        ) from error
    except Exception as error:  # a decoder can fail in any way on a broken file, and that is what is to be told
        if "allow_pickle" in str(error):
            raise UserError(
                f"{where}: array '{member.removesuffix('.npy')}' holds Python objects, which only pickle can read; "
                "save numbers or text, such as array.astype(str)."
            ) from error
        raise UserError(f"{where}: '{member}' is damaged ({error}); save it again.") from error
    if not isinstance(values, np.ndarray):
        raise UserError(f"{where}: '{member}' is damaged (it does not begin as an array does); save it again.")
    return values


def _safetensors(path: Path, where: str) -> tuple[Arrays, str]:
    from safetensors import SafetensorError, safe_open

    try:
        file = safe_open(path, framework="pt")  # unlike the framework numpy, it maps and does not read
    except SafetensorError as error:
        raise UserError(f"{where} is not a .safetensors file that can be read ({error}); save it again.") from error
    arrays = {name: _numpy(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118, it is no dict
    return arrays, (file.metadata() or {}).get("encoder", "")


def _numpy(tensor: Any) -> NDArray[Any]:
    import torch

    narrow = tensor.is_floating_point() and tensor.dtype != torch.float64  # bfloat16 and the like are not NumPy's
    return (tensor.float() if narrow else tensor).numpy()


# --- the arrays -------------------------------------------------------------------------------------------------------


def _input(arrays: Arrays, used: list[str], layer: int | None, tokens: bool, where: str) -> tuple[str, NDArray[Any]]:
    """The array of inputs, as :class:`Columns` holds them, and its name; whether they were ``tokens`` before."""
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
        images = floats(x, what, where) if kind == "f" else x
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
