"""Files of arrays: ``.npz``, which is read into memory, and ``.safetensors``, which is memory-mapped.

Nothing is unpickled, and an archive that would unpack to far more than it weighs is refused before it is unpacked.
"""

from __future__ import annotations

import math
import os
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib import format as npy

from longcut.errors import UserError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Arrays", "open_arrays"]

GIB = 1 << 30
LARGEST = 16 * GIB  # of what an archive may unpack to
EXPANSION = 1000  # of what is more than one GiB

Arrays = dict[str, "NDArray[Any]"]


def open_arrays(path: Path, where: str) -> tuple[Arrays, str]:
    """The arrays of a file by name, and which net made them, where it says.

    Args:
        path: of the file.
        where: what it is called.

    Raises:
        UserError: when it is not such a file, is damaged, or would unpack to more than is safe.
    """
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
