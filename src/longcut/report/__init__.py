"""The report: run folders in, one self-contained page out.

The page needs no network, and no script to be read: figures are inline SVG, images are data URIs, and whatever comes
from data is escaped.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from longcut import runs as folders
from longcut.errors import UserError

__all__ = ["write"]


def write(runs: Sequence[Path | str], out: Path | str, *, title: str = "") -> Path:
    """Write a page about some runs.

    Args:
        runs: run folders, or folders that hold some.
        out: the HTML file, or an existing folder to put ``report.html`` in.
        title: of the page; default: the data sets.

    Returns:
        The file.

    Raises:
        UserError: when no run is finished, or the page cannot be written.
    """
    from longcut.report.page import page
    from longcut.report.study import studies

    found = studies(folders.read(folder) for folder in folders.find(runs))
    if not found:
        where = ", ".join(map(str, runs))
        raise UserError(f"no run in {where} is finished, so there is nothing to report; finish one first.")
    path = Path(out, "report.html") if Path(out).is_dir() else Path(out)
    text = page(found, title)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with folders.replacing(path) as temporary:
            temporary.write_text(text, "utf-8")
    except OSError as error:
        raise UserError(f"cannot write the report to {path} ({error.strerror}); choose another place.") from error
    return path
