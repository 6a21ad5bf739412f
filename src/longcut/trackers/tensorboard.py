"""TensorBoard: event files, by default in the run folder."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from longcut.files import to_json
from longcut.trackers.base import EXTRA, Start, State, Tracker, needed

__all__ = ["tensorboard"]


def tensorboard(
    *,
    dir: Annotated[
        str, Field(description="folder for a folder of each run; without it event files go to the run folder")
    ] = "",
) -> Callable[[Start], Tracker]:
    """TensorBoard (extra ``trackers``): event files and the report beside them; ``tensorboard --logdir runs``.

    Raises:
        UserError: without the package.
    """
    module = needed("tensorboard", "torch.utils.tensorboard", "SummaryWriter", EXTRA)

    def begin(start: Start) -> Tracker:
        folder = Path(dir, f"{start.data}-{start.name}-{start.id[:8]}") if dir else start.folder / "tensorboard"
        return _Events(module.SummaryWriter(str(folder), purge_step=start.step), folder, start)

    return begin


class _Events:
    def __init__(self, writer: Any, folder: Path, start: Start) -> None:
        self.writer, self.folder = writer, folder
        self.text("plan", to_json(start.plan, indent=1), start.step)

    def text(self, name: str, text: str, step: int | None = None) -> None:
        """Shown as it is: Markdown takes lines that begin with four blanks for code."""
        self.writer.add_text(name, "\n".join(f"    {line}" for line in text.splitlines()), step)

    def log(self, values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)
        self.writer.flush()

    def finish(self, state: State, page: Path | None) -> None:
        self.text("state", state)
        if page is not None:
            shutil.copyfile(page, self.folder / page.name)
            self.text("report", str(self.folder / page.name))
        self.writer.close()
