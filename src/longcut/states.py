"""States of a training in files: each with its checksum, and one that is damaged is as good as none."""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from longcut.door import Damaged, Door, digest

__all__ = ["MARK", "copied", "read", "to_bytes"]

MARK = b"\nsha256 "  # between a state and its checksum


def to_bytes(state: Mapping[str, Any]) -> bytes:
    """The content of a file: plain containers and tensors."""
    buffer = BytesIO()  # torch aborts the process when a disk is full under its own writer
    torch.save(state, buffer)
    content = buffer.getvalue()
    return content + MARK + digest(content).encode()


def read(folder: Path, name: str, otherwise: str, form: Callable[[dict[str, Any]], object]) -> dict[str, Any] | None:
    """The state in a file; None where there is none, or a damaged one, which is said.

    Args:
        folder, name: of the file.
        otherwise: what happens without it, such as ``"the run begins anew"``.
        form: refuses, by any of the usual errors, what is not the state that is meant.
    """
    if not (folder / name).exists():
        return None
    door = Door(folder, otherwise)
    try:
        content = door.content(name)
        with door.reading(name):
            state, mark, said = content.rpartition(MARK)
            if digest(state) != said.decode() if mark else zipfile.ZipFile(BytesIO(content)).testzip():
                raise ValueError("another checksum")
            found = torch.load(BytesIO(state if mark else content), weights_only=True, map_location="cpu")
            form(found)
            return found
    except Damaged as error:
        warnings.warn(str(error), stacklevel=2)
        return None


def copied(state: Any) -> Any:
    """The same, on the CPU, in tensors of its own."""
    if isinstance(state, Tensor):
        return state.detach().to("cpu", copy=True)
    if isinstance(state, Mapping):
        return {key: copied(value) for key, value in state.items()}
    if isinstance(state, list | tuple):
        return type(state)(copied(value) for value in state)
    return state
