"""What a tracker is told, and what it has to do."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, Protocol

from longcut.errors import UserError

__all__ = ["EXTRA", "Start", "State", "Tracker", "needed"]

EXTRA = 'pip install "longcut[trackers]"'
State = Literal["finished", "stopped", "failed"]


@dataclass(frozen=True)
class Start:
    """A run that begins, or goes on after it was stopped.

    Attributes:
        id: 32 hexadecimal digits, the same when the run goes on.
        name: of its run folder, such as ``"selecmix-s0"``.
        data: the data set's name as a folder.
        plan: its settings by name, such as ``"training/lr"``; text, numbers and truth values.
        folder: of the run.
        step: the epoch that is logged first, from 1.
    """

    id: str
    name: str
    data: str
    plan: Mapping[str, Any]
    folder: Path
    step: int


class Tracker(Protocol):
    """One run in one tracker. Whatever it raises is said once, and the run goes on without it."""

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Finite numbers by name, after an epoch; names are letters, digits, blanks, ``_ . -``, parted by ``/``."""
        ...

    def finish(self, state: State, page: Path | None) -> None:
        """How the run ended, and its report where it was finished; nothing is logged afterwards."""
        ...


def needed(tracker: str, module: str, call: str, install: str) -> ModuleType:
    """A module that a tracker needs.

    Args:
        tracker: its name, for the message.
        module: to import.
        call: that it must have; a folder called like the module is no package.
        install: the command that brings it.

    Raises:
        UserError: when it is not there.
    """
    try:
        found = importlib.import_module(module)
    except ImportError as error:
        raise UserError(f"tracker '{tracker}' needs a further package; {install}.") from error
    if not hasattr(found, call):
        raise UserError(f"tracker '{tracker}' needs a further package; {install}.")
    return found
