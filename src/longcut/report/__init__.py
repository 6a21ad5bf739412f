"""The report: run folders and audit folders in, one self-contained page out.

The page needs no network, and no script to be read: figures are inline SVG, images are data URIs, and whatever comes
from data is escaped. Its parts are the panels of a table, ``longcut.report.panels.PANELS``.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from longcut import runs
from longcut.door import Damaged
from longcut.errors import UserError
from longcut.files import written
from longcut.folders import require_report
from longcut.report.base import Page, Panel

if TYPE_CHECKING:
    from longcut.report.audit import Audit

__all__ = ["Page", "Panel", "write"]

Read = TypeVar("Read")


def write(paths: Sequence[Path | str], out: Path | str, *, title: str = "") -> Path:
    """Write a page about some audits and some runs.

    Args:
        paths: run folders, audit folders, or folders that hold some of either.
        out: the HTML file, or an existing folder to put ``report.html`` in.
        title: of the page; default: the data sets.

    Returns:
        The file.

    Raises:
        UserError: when a path holds neither, no run is finished, or the page cannot be written.
    """
    from longcut.report.page import page
    from longcut.report.study import studies

    audit_folders, run_folders = _find(paths)
    audits, broken = _readable(_with_samples, audit_folders)
    done, broken_runs = _readable(_verified, run_folders)
    left_out = [*broken, *broken_runs]
    if left_out and not (audits or done):
        raise left_out[0]
    for error in left_out:
        warnings.warn(f"left out of the report: {error}", stacklevel=2)
    found = studies(done)
    if broken_runs:
        names = ", ".join(str(error).partition(" is ")[0] for error in broken_runs)
        said = f"{len(broken_runs)} damaged and left out: {names}."
        found = [replace(study, notes=(*study.notes, said)) for study in found]
    if not (audits or found):
        where = ", ".join(map(str, paths))
        raise UserError(f"no run in {where} is finished, so there is nothing to report; finish one first.")
    path = Path(out, "report.html") if Path(out).is_dir() else Path(out)
    text = page(audits, found, title)
    with written(path, "the report to ") as temporary:
        temporary.write_text(text, "utf-8")
    return path


def _readable(read: Callable[[Path], Read], folders: Sequence[Path]) -> tuple[list[Read], list[Damaged]]:
    """What can be read, and what is damaged."""
    found: list[Read] = []
    broken: list[Damaged] = []
    for path in folders:
        try:
            found.append(read(path))
        except Damaged as error:
            broken.append(error)
    return found, broken


def _with_samples(path: Path) -> Audit:
    from longcut.audit import folder

    record, tensors = folder.read(path)
    return record | {"atlas": folder.samples(path)}, tensors


def _verified(folder: Path) -> runs.Run:
    run = runs.read(folder)
    run.verify()
    return run


def _find(paths: Sequence[Path | str]) -> tuple[list[Path], list[Path]]:
    """All audit folders and all run folders at or below the paths, each once."""
    from longcut.audit import folder

    found: list[dict[Path, None]] = [{}, {}]
    for path in paths:
        here = [_below(find, path) for find in (folder.find, runs.find)]
        if not any(here):
            require_report(Path(path))
        for all_of_a_kind, some in zip(found, here, strict=True):
            all_of_a_kind.update(dict.fromkeys(some))
    return list(found[0]), list(found[1])


def _below(find: Callable[[Sequence[Path | str]], list[Path]], path: Path | str) -> list[Path]:
    try:
        return find([path])
    except UserError:  # none of this kind, but perhaps some of the other
        return []
