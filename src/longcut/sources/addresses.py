"""Where the files of a data set lie: a folder, a pattern, or an address that fsspec opens, such as ``s3://``."""

from __future__ import annotations

import glob
import itertools
import os
import posixpath
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, cast

from longcut.errors import UserError

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

__all__ = ["SHARDS", "Place", "holds_shards", "is_address", "is_pattern", "places"]

TARS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
COLUMNS = (".parquet", ".arrow", ".feather")
SHARDS = (*TARS, *COLUMNS)
MOST = 1_000_000  # shards that a pattern may name
LOOKED_AT = 2_000  # names in a folder by which it is told what it holds
PACKAGES = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs"}
CONTENT = ("size", "ETag", "etag", "md5Hash", "generation", "LastModified", "last_modified", "updated", "created")

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*://")
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}|\{([^{}]*,[^{}]*)\}")


class Place(NamedTuple):
    """One file: its path below what all have in common, what tells this content from any other, and how to open it."""

    name: str
    stamp: str
    open: Callable[[], BinaryIO]
    root: str


def is_address(path: str) -> bool:
    """Whether this is the address of something that fsspec opens, or a Hugging Face data set to stream.

    >>> is_address("s3://bucket/a.tar"), is_address("hf:user/name"), is_address("C:/photos"), is_address("photos")
    (True, True, False, False)
    """
    return bool(_ADDRESS.match(path)) or path.startswith("hf:")


def is_pattern(path: str) -> bool:
    """Whether this names several shards: with a range, choices or a star.

    >>> is_pattern("train-{000..009}.tar"), is_pattern("*.parquet"), is_pattern("photos*"), is_pattern("a.tar")
    (True, True, False, False)
    """
    return path.lower().endswith(SHARDS) and (_RANGE.search(path) is not None or glob.has_magic(path))


def holds_shards(folder: Path) -> bool:
    """Whether a folder holds shards, at any depth, and no images; by the first names in it."""
    from longcut.sources.scan import SUFFIXES

    names = (name.lower() for _, _, files in os.walk(folder) for name in files if not name.startswith("."))
    found = list(itertools.islice(names, LOOKED_AT))
    return any(name.endswith(SHARDS) for name in found) and not any(name.endswith(SUFFIXES) for name in found)


def places(path: str) -> list[Place]:
    """The shards that somebody names, sorted by name, whatever the order in which they are listed.

    Args:
        path: a file; a folder, with all shards at any depth; or either with a range of numbers (``{000..009}``),
            choices (``{a,b}``) or stars; here, or at an address that fsspec opens.

    Raises:
        UserError: when there is nothing, something is no shard, or the address cannot be reached.

    >>> import tempfile
    >>> folder = tempfile.mkdtemp()
    >>> for name in ("b.tar", "a.tar", "notes.txt"): Path(folder, name).touch()
    >>> [place.name for place in places(folder)]
    ['a.tar', 'b.tar']
    """
    with reaching(path):
        system, plain = _system(path)
        named = _expanded(plain, path)
        if len(named) == 1 and system.isdir(named[0]):
            root, found = named[0].rstrip("/"), sorted(map(str, system.find(named[0])))
            found = [file for file in found if not _hidden(file[len(root) + 1 :])]
        else:
            found = [file for one in named for file in _matching(system, one)]
            found = sorted(dict.fromkeys(found))
            root = posixpath.commonpath([posixpath.dirname(file) for file in found]) if found else ""
        shards = [file for file in found if file.lower().endswith(SHARDS)]
        if not shards:
            other = f"; '{posixpath.basename(found[0])}' is none" if found else ""
            raise UserError(f"{path}: there is no shard here{other}; shards are files {' '.join(SHARDS)}.")
        return [_place(system, file, root) for file in shards]


def _place(system: AbstractFileSystem, file: str, root: str) -> Place:
    def opened() -> BinaryIO:
        return cast(BinaryIO, system.open(file, "rb"))

    return Place(file[len(root) :].lstrip("/"), _stamp(system, file), opened, root)


def _hidden(name: str) -> bool:
    return any(piece.startswith((".", "_")) for piece in name.split("/"))  # _SUCCESS, _metadata, .crc


def _system(path: str) -> tuple[AbstractFileSystem, str]:
    """The file system of a path, and the path in it."""
    import fsspec
    from fsspec.core import url_to_fs

    if _ADDRESS.match(path):
        return cast("tuple[AbstractFileSystem, str]", url_to_fs(path))
    return fsspec.filesystem("file"), os.path.abspath(path)


def _matching(system: AbstractFileSystem, path: str) -> list[str]:
    if glob.has_magic(path) and not system.exists(path):
        return [str(file) for file in cast(Sequence[str], system.glob(path))]
    if not system.exists(path):
        raise FileNotFoundError(path)
    return [path]


def _expanded(path: str, given: str) -> list[str]:
    """All paths that ranges and choices stand for.

    >>> _expanded("a-{08..10}.{tar,tgz}", "")[:3], len(_expanded("a-{08..10}.{tar,tgz}", ""))
    (['a-08.tar', 'a-08.tgz', 'a-09.tar'], 6)
    """
    found = _RANGE.search(path)
    if found is None:
        return [path]
    first, last, choices = found.groups()
    if choices is None:
        if not 0 <= int(last) - int(first) < MOST:
            raise UserError(f"{given}: the range {found[0]} names no shard, or more than {MOST:,}; write {{000..009}}.")
        choices = [f"{number:0{len(first)}}" for number in range(int(first), int(last) + 1)]
    else:
        choices = choices.split(",")
    rest = _expanded(path[found.end() :], given)
    if len(choices) * len(rest) > MOST:
        raise UserError(f"{given}: this names more than {MOST:,} shards; give fewer.")
    return [f"{path[: found.start()]}{choice}{end}" for choice in choices for end in rest]


def _stamp(system: AbstractFileSystem, file: str) -> str:
    """What tells this content from any other: for a file here as for an image, elsewhere what the store says of it."""
    if "file" in system.protocol:
        from longcut.sources.images import stamp  # and numpy with it

        return stamp(file, os.stat(file))
    about = system.info(file)
    return repr([(key, str(about[key])) for key in CONTENT if about.get(key) is not None])


@contextmanager
def reaching(path: str) -> Iterator[None]:
    """For the time of a ``with``: what keeps a place from being read is said in one sentence."""
    try:
        yield
    except UserError:
        raise
    except ImportError as error:
        package = PACKAGES.get(path.partition("://")[0])
        todo = f"pip install {package}" if package else " ".join(str(error).split())
        raise UserError(f"{path}: addresses of this kind need a further package; {todo}.") from error
    except FileNotFoundError as error:
        absent = error.filename or (error.args[-1] if error.args else "such file")
        raise UserError(f"{path}: there is no {absent}; check the path.") from error
    except Exception as error:  # of the network or a store's own package: the list is not ours to keep
        why = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, ValueError) and "rotocol" in why:
            known = "s3:// gs:// az:// http(s):// hf:// memory:// file://"
            raise UserError(f"{path}: addresses of this kind are not known; those are {known} and more.") from error
        raise UserError(
            f"{path} cannot be reached ({why}); check the address, the network and the rights; what is decoded stays."
        ) from error
