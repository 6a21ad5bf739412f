"""The one door through which a file of a run or audit folder is read: whole, as it was written, and of the right form.

A folder's record (``run.json``, ``audit.json``) keeps the SHA-256 of every other file and, under its own name, that of
itself without that line; see :func:`sealed`. A record from before there were checksums has none, and then the form
alone is looked at. Whatever is wrong with a file is one sentence that names it and says what to do.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from longcut.errors import UserError
from longcut.files import to_json

__all__ = ["CHECKSUMS", "Damaged", "Door", "Missing", "digest", "sealed", "strict_json"]

CHECKSUMS = "checksums"  # the key of a record


class Damaged(UserError):
    """A file of a folder is missing, or it is not what was written."""


class Missing(Damaged):
    """It is not there."""


@dataclass(frozen=True)
class Door:
    """Reads the files of one folder.

    Attributes:
        folder: that holds them.
        remedy: what to do when one is damaged, as a sentence ends.
        checksums: of the files by name, in hexadecimal; a file without one is taken as it is.
    """

    folder: Path
    remedy: str
    checksums: Mapping[str, str] = field(default_factory=dict)

    def content(self, name: str) -> bytes:
        """All bytes of a file.

        Raises:
            Damaged: when it cannot be read, or is not what was written; :class:`Missing` when it is not there.
        """
        path = self.folder / name
        try:
            found = path.read_bytes()
        except FileNotFoundError:
            raise Missing(f"{path} is missing; {self.remedy}.") from None
        except OSError as error:
            raise Damaged(f"{path} cannot be read ({error.strerror}); {self.remedy}.") from None
        if name in self.checksums and digest(found) != self.checksums[name]:
            raise self._damaged(name)
        return found

    def tensors(
        self, name: str, form: Callable[[dict[str, Tensor]], object] | None = None
    ) -> tuple[dict[str, Tensor], dict[str, str]]:
        """The tensors of a safetensors file, and its metadata.

        Args:
            name: of the file.
            form: raises where they are not what they should be.

        Raises:
            Damaged: when it is not as it should be.
        """
        from safetensors.torch import load

        content = self.content(name)
        with self.reading(name):
            found = load(content)
            length = int.from_bytes(content[:8], "little")
            about = strict_json(content[8 : 8 + length]).get("__metadata__") or {}
            if form is not None:
                form(found)
            return found, about

    def record(self, name: str, kind: str, newest: int) -> tuple[dict[str, Any], Door]:
        """What a sealed record holds, without its checksums, and the door to the other files of the folder.

        Args:
            name: of the file.
            kind: of the folder, for the message.
            newest: version of the layout that is known.

        Raises:
            Damaged: when it is not as it should be.
            UserError: when a newer longcut wrote it.
        """
        content = self.content(name)
        with self.reading(name):
            stored = dict(strict_json(content))
            schema = int(stored["schema"])
            if schema > newest:
                raise UserError(
                    f"{self.folder} was written by a newer longcut ({kind} schema {schema}, this one knows {newest}); "
                    "upgrade with pip install --upgrade longcut."
                )
            sums = dict(stored.pop(CHECKSUMS, {}))
            others = {key: sums[key] for key in sums if key != name}
            if sums and sums != sealed(stored, name, others)[CHECKSUMS]:
                raise self._damaged(name)
            return stored, Door(self.folder, self.remedy, others)

    def beside(self, record: str) -> Door:
        """The door that knows the checksums in the record, where there is one; whether it is known is not asked."""
        if not (self.folder / record).exists():
            return self
        return self.record(record, "", sys.maxsize)[1]

    def verify(self) -> None:
        """Compare every file that has a checksum with it; who removes one to save space has the rest.

        Raises:
            Damaged: when one is not what was written.
        """
        for name in self.checksums:
            with suppress(Missing):
                self.content(name)

    def _damaged(self, name: str) -> Damaged:
        return Damaged(f"{self.folder / name} is damaged; {self.remedy}.")

    @contextmanager
    def reading(self, name: str) -> Iterator[None]:
        """For the time of a ``with``: whatever goes wrong with what a file says is its damage.

        A parser may say anything of bytes that nobody wrote, so every exception counts.
        """
        try:
            yield
        except UserError:
            raise
        except Exception as error:
            raise self._damaged(name) from error

    @contextmanager
    def trusting(self, name: str) -> Iterator[None]:
        """As :meth:`reading`, of a file without a checksum alone: with one, what goes wrong is a fault of ours."""
        if name in self.checksums:
            yield
        else:
            with self.reading(name):
                yield


def digest(content: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def sealed(record: Mapping[str, Any], name: str, checksums: Mapping[str, str]) -> dict[str, Any]:
    """The record with the checksums of the other files of its folder, and its own.

    Args:
        record: plain containers.
        name: of the file that it goes to.
        checksums: of the others, by name.

    >>> sorted(sealed({"schema": 1}, "run.json", {"weights": "ab"})["checksums"])
    ['run.json', 'weights']
    """
    own = digest(to_json({**record, CHECKSUMS: dict(checksums)}, sort_keys=True).encode())
    return {**record, CHECKSUMS: {**checksums, name: own}}


def strict_json(content: bytes) -> Any:
    """What JSON says; numbers that are not finite and text that is no Unicode are refused, for we never write them.

    Raises:
        ValueError, RecursionError: when it is something else.

    >>> strict_json(b'{"n": 3}')
    {'n': 3}
    """
    found = json.loads(content.decode("utf-8"))
    json.dumps(found, allow_nan=False, ensure_ascii=False).encode("utf-8")
    return found
