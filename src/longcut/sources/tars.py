"""Samples in tar files, as WebDataset lays them out: members that differ in their extension alone are one sample.

Python's own ``tarfile`` reads them as a stream, member by member, which is all that is needed: no package, no member
that is unpacked to disk, and no more in memory than one sample.
"""

from __future__ import annotations

import json
import lzma
import posixpath
import tarfile
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, BinaryIO, NamedTuple, cast

from longcut.sources.scan import HIDDEN, OWN, SUFFIXES, SYSTEM

__all__ = ["Sample", "samples", "scalars"]

TEXTS = ("cls", "cls2", "class", "label", "count", "index", "inx", "id", "txt", "text", "caption", "transcript")
OBJECTS = ("json", "jsn")
PICKLES = ("pkl", "pickle", "pyd", "pth", "pt", "ckpt", "joblib", "dill")
LARGEST = 256_000_000  # bytes of a member: more would not be one image or text
BROKEN = (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError)


class Sample(NamedTuple):
    """One sample, or the trouble with one.

    Attributes:
        name: its key, which no other in the shard has.
        fields: what is known of it, by name: texts, numbers and truth values.
        image: the file of its image.
        trouble: why it is none; empty if nothing keeps it from being one.
    """

    name: str
    fields: dict[str, Any]
    image: bytes = b""
    trouble: str = ""


def samples(file: BinaryIO, image: str | None, pictured: bool, left_out: Counter[tuple[str, str]]) -> Iterator[Sample]:
    """The samples of a tar file, in its order.

    A key is the path of a member up to the first dot of its name, what follows is its extension. ``json`` gives a field
    for each of its values, another text, such as ``cls``, one that is called as its extension; ``folder`` is the folder
    in the archive. Nothing is unpickled, and links, devices and names that lead out of the archive are passed over.

    Args:
        file: packed or not.
        image: extension of the image; None: the one member that is called like one.
        pictured: whether a sample needs an image.
        left_out: members that belong to no sample or cannot be read are counted here, by what they are and why.

    >>> import io
    >>> packed = io.BytesIO()
    >>> with tarfile.open(fileobj=packed, mode="w") as tar:
    ...     for name, content in {"a/0.cls": b"3", "a/0.json": b'{"place": "lake"}', "a/0.jpg": b"..."}.items():
    ...         about = tarfile.TarInfo(name); about.size = len(content)
    ...         tar.addfile(about, io.BytesIO(content))
    >>> [sample.fields for sample in samples(io.BytesIO(packed.getvalue()), None, True, Counter())]
    [{'folder': 'a', 'cls': '3', 'place': 'lake'}]
    """
    seen: set[str] = set()
    key, members = "", dict[str, bytes]()
    try:
        with tarfile.open(fileobj=file, mode="r|*") as tar:
            while (member := tar.next()) is not None:
                cast(Any, tar).members.clear()  # it would keep all, and they are never asked for again
                name, why = _name(member)
                if why:
                    if why != "folder":
                        left_out[name, why] += 1
                    continue
                folder, base = posixpath.split(name)
                stem, _, extension = base.partition(".")
                this, extension = posixpath.join(folder, stem), extension.lower()
                if this != key or extension in members:
                    if members:
                        yield _sample(key, members, image, pictured, seen)
                    key, members = this, {}
                if why := _unread(extension, member.size):
                    left_out[f"*.{extension}", why] += 1
                    continue
                content = tar.extractfile(member)
                members[extension] = b"" if content is None else content.read()
    except BROKEN as error:
        why = " ".join(str(error).split()) or type(error).__name__
        yield Sample("", {}, b"", f"truncated or damaged after {len(seen)} samples ({why})")
        return
    if members:
        yield _sample(key, members, image, pictured, seen)


def _name(member: tarfile.TarInfo) -> tuple[str, str]:
    """The path of a member, and why it is passed over; ``folder`` says nothing is lost by that."""
    shown = member.name.encode(errors="backslashreplace").decode()
    pieces = [piece for piece in shown.split("/") if piece not in ("", ".")]
    if shown.startswith("/") or ".." in pieces:
        return shown, "its name leads out of the archive"
    if member.isdir():
        return shown, "folder"
    if not member.isfile():
        return shown, "a link or device"
    if {piece.lower() for piece in pieces} & OWN:
        return shown, SYSTEM
    if pieces[-1].startswith("."):
        return shown, HIDDEN
    if "." not in pieces[-1]:
        return shown, "without an extension, so it belongs to no sample"
    if shown != member.name:
        return shown, "its name is not UTF-8"
    return "/".join(pieces), ""


def _unread(extension: str, size: int) -> str:
    """Why a member of a sample is not read; empty if it is."""
    last = extension.rpartition(".")[2]
    if last in PICKLES:
        return "pickles, which are never loaded"
    if last not in (*TEXTS, *OBJECTS) and f".{last}" not in SUFFIXES:
        return "neither images, texts nor json"
    return f"more than {LARGEST // 1_000_000} MB" if size > LARGEST else ""


def _sample(key: str, members: dict[str, bytes], image: str | None, pictured: bool, seen: set[str]) -> Sample:
    """The sample that members make."""
    if key in seen:
        return Sample(key, {}, b"", "its key came before")
    seen.add(key)
    images = [name for name in members if f".{name.rpartition('.')[2]}" in SUFFIXES]
    images = images if image is None else [image] if image in members else []
    if pictured and len(images) != 1:
        several = f"several images ({', '.join(images)}), of which none is chosen (--image)"
        return Sample(key, {}, b"", several if images else "no image")
    fields: dict[str, Any] = {"folder": posixpath.dirname(key)} if "/" in key else {}
    for name, content in members.items():
        last = name.rpartition(".")[2]
        if last not in (*TEXTS, *OBJECTS):
            continue
        try:
            text = content.decode("utf-8-sig")
            found = json.loads(text) if last in OBJECTS else text.strip()
        except (ValueError, RecursionError):
            return Sample(key, {}, b"", f".{name} is no {'JSON' if last in OBJECTS else 'UTF-8 text'}")
        fields |= scalars(found if isinstance(found, dict) else {name: found})
    return Sample(key, fields, members[images[0]] if pictured else b"")


def scalars(values: dict[Any, Any]) -> dict[str, Any]:
    """Those of some named values that a column can hold; a missing one is None.

    >>> scalars({"label": 3, "boxes": [[1, 2]], "place": None})
    {'label': 3, 'place': None}
    """
    kept: dict[str, Any] = {}
    for name, value in values.items():
        with suppress(AttributeError):
            value = value.item()  # of NumPy
        if value is None or isinstance(value, str | int | float | bool):
            kept[str(name)] = None if value == "" else value
    return kept
