"""Files as shards below a size, and back: ``pack.py pack FOLDER SHARDS`` and ``pack.py unpack SHARDS FOLDER``.

For taking a data folder (the CIFAR-10 batches, or the generated arrays of Corrupted CIFAR-10) to a machine that takes
small files alone. A shard is a safetensors file of byte tensors; its metadata says which part of which file they are.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from longcut.errors import UserError
from longcut.files import replacing

SHARD = 58_000_000  # bytes; with the header, below 60 MB


def pack(folder: Path, shards: Path, size: int = SHARD) -> list[Path]:
    """All files below ``folder`` as shards of at most ``size`` bytes each in ``shards``, and their paths."""
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    if not names:
        raise UserError(f"there are no files in {folder}; name the folder of a data set.")
    if shards.exists() and any(shards.iterdir()):
        raise UserError(f"{shards} is not empty; choose a new folder.")
    pieces: list[tuple[str, int, int]] = []  # file, begin, end
    for name in names:
        length = (folder / name).stat().st_size
        pieces += [(name, at, min(at + size, length)) for at in range(0, max(length, 1), size)]
    groups: list[list[tuple[str, int, int]]] = [[]]
    room = size
    for piece in pieces:
        length = piece[2] - piece[1]
        if length > room:
            groups.append([])
            room = size
        groups[-1].append(piece)
        room -= length
    digests = {name: _digest(folder / name) for name in names}
    shards.mkdir(parents=True, exist_ok=True)
    digits = math.ceil(math.log10(len(groups) + 1))
    paths = []
    for number, group in enumerate(groups):
        tensors = {str(i): _read(folder / name, begin, end) for i, (name, begin, end) in enumerate(group)}
        about = {"pieces": group, "sha256": {name: digests[name] for name, _, _ in group}, "shards": len(groups)}
        paths.append(shards / f"{number:0{digits}d}.safetensors")
        with replacing(paths[-1]) as temporary:
            save_file(tensors, temporary, {"about": json.dumps(about)})
    return paths


def unpack(shards: Path, folder: Path) -> list[Path]:
    """The files again, byte for byte, in ``folder``, and their paths."""
    digests: dict[str, str] = {}
    found = sorted(shards.glob("*.safetensors"))
    expected = len(found)
    parts: dict[str, list[tuple[int, Path, str]]] = {}
    for path in found:
        try:
            with safe_open(path, "pt") as shard:
                about = json.loads((shard.metadata() or {})["about"])
        except (SafetensorError, KeyError, ValueError):
            raise UserError(f"{path} is no shard, or is damaged; bring it again.") from None
        digests |= about["sha256"]
        expected = about["shards"]
        for i, (name, begin, _) in enumerate(about["pieces"]):
            parts.setdefault(name, []).append((begin, path, str(i)))
    if not found or len(found) != expected:
        raise UserError(f"{shards} holds {len(found)} of {expected or 'all'} shards; bring the others.")
    written = []
    for name, pieces in parts.items():
        target = folder / name
        if not target.resolve().is_relative_to(folder.resolve()):
            raise UserError(f"a shard in {shards} names the file {name}, outside of the folder; do not trust it.")
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as temporary:
            with temporary.open("wb") as file:
                for _, path, key in sorted(pieces):
                    with safe_open(path, "pt") as shard:
                        file.write(shard.get_tensor(key).numpy().data)
            if _digest(temporary) != digests[name]:
                raise UserError(f"{name} is not what was packed; bring the shards in {shards} again.")
        written.append(target)
    return written


def _read(path: Path, begin: int, end: int) -> torch.Tensor:
    return torch.from_numpy(np.fromfile(path, np.uint8, end - begin, offset=begin))


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["pack", "unpack"])
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    given = parser.parse_args(arguments)
    try:
        paths = {"pack": pack, "unpack": unpack}[given.what](given.source, given.target)
    except UserError as error:
        print(f"pack.py: {error}", file=sys.stderr)
        return 2
    print(f"{len(paths)} files, {sum(path.stat().st_size for path in paths) / 1e6:.1f} MB: {given.target}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
