"""The report: run folders and audit folders in, one self-contained page out.

The page needs no network, and no script to be read: figures are inline SVG, images are data URIs, and whatever comes
from data is escaped. Its parts are the panels of a table, ``longcut.report.panels.PANELS``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from longcut import runs
from longcut.errors import UserError
from longcut.files import replacing
from longcut.report.base import Page, Panel

__all__ = ["Page", "Panel", "write"]


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
    from longcut.audit import atlas, folder
    from longcut.report.page import page
    from longcut.report.study import studies

    audit_folders, run_folders = _find(paths)
    audits = []
    for path in audit_folders:
        record, tensors = folder.read(path)
        audits.append((record | {"atlas": atlas.read(path)}, tensors))
    found = studies(runs.read(path) for path in run_folders)
    if not (audits or found):
        where = ", ".join(map(str, paths))
        raise UserError(f"no run in {where} is finished, so there is nothing to report; finish one first.")
    path = Path(out, "report.html") if Path(out).is_dir() else Path(out)
    text = page(audits, found, title)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            temporary.write_text(text, "utf-8")
    except OSError as error:
        raise UserError(f"cannot write the report to {path} ({error.strerror}); choose another place.") from error
    return path


def _find(paths: Sequence[Path | str]) -> tuple[list[Path], list[Path]]:
    """All audit folders and all run folders at or below the paths, each once."""
    from longcut.audit import folder

    found: list[dict[Path, None]] = [{}, {}]
    for path in paths:
        here = [_below(find, path) for find in (folder.find, runs.find)]
        if not any(here):
            raise UserError(f"there is no run and no audit at or below {path}; name folders that they were written to.")
        for all_of_a_kind, some in zip(found, here, strict=True):
            all_of_a_kind.update(dict.fromkeys(some))
    return list(found[0]), list(found[1])


def _below(find: Callable[[Sequence[Path | str]], list[Path]], path: Path | str) -> list[Path]:
    try:
        return find([path])
    except UserError:  # none of this kind, but perhaps some of the other
        return []
