"""Folders of runs and audits as they lie on disk: which are there, and nothing of what they hold."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from longcut.errors import UserError

__all__ = [
    "AUDIT",
    "RUN",
    "STAGED",
    "find",
    "of_one_method",
    "require_audit",
    "require_either",
    "require_report",
    "require_run",
]

RUN, AUDIT = "run.json", "audit.json"  # the record in each
STAGED = ".new.tmp"  # a folder in an audit's, with a whole new audit


def find(paths: Iterable[Path | str]) -> list[Path]:
    """All run folders at or below the paths, each once, in order of their names.

    Raises:
        UserError: when a path has none.
    """
    found: dict[Path, None] = {}
    for path in map(Path, paths):
        below = sorted(file.parent for file in path.rglob(RUN))
        if not below:
            raise UserError(f"there is no run at or below {path}; name folders that runs were written to.")
        found.update(dict.fromkeys(below))
    return list(found)


def of_one_method(path: Path) -> list[Path]:
    """A run, all runs below a folder, or, of a name without ``-sSEED``, those of every seed.

    Raises:
        UserError: when there are none.
    """
    seeds = [one for one in path.parent.glob("*") if re.fullmatch(re.escape(path.name) + r"-s\d+", one.name)]
    return find(sorted(seeds) if seeds and not path.exists() else [path])


def require_run(folder: Path) -> None:
    """Refuse a folder that holds no run."""
    if not (folder / RUN).exists():
        raise UserError(f"{folder} is no run folder: it has no {RUN}; name a folder that a run was written to.")


def require_audit(folder: Path) -> None:
    """Refuse a folder that holds no audit."""
    if not (folder / AUDIT).exists():
        raise UserError(f"{folder} is no audit: it has no {AUDIT}; name a folder that longcut audit wrote.")


def require_either(folder: Path) -> None:
    """Refuse a folder that holds neither an audit nor a run."""
    if not ((folder / RUN).is_file() or (folder / AUDIT).is_file()):
        raise UserError(f"{folder} is neither an audit nor a run; name a folder that longcut audit or train wrote.")


def require_report(path: Path) -> None:
    """Refuse a folder with nothing to report at or below it."""
    if not any(any(path.rglob(name)) for name in (RUN, AUDIT)):
        raise UserError(f"there is no run and no audit at or below {path}; name folders that they were written to.")
