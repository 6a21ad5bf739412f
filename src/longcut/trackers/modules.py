"""Trackers that are a module with ``init``, ``log`` and ``finish``: Weights & Biases and Trackio."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from longcut.trackers.base import Start, State, Tracker, needed

__all__ = ["trackio", "wandb"]

Project = Annotated[str, Field(description="that the runs are put in", min_length=1)]


def wandb(*, project: Project = "longcut") -> Callable[[Start], Tracker]:
    """Weights & Biases (``pip install wandb``): curves, scores and the report; offline with ``WANDB_MODE=offline``.

    Raises:
        UserError: without the package.
    """
    module = needed("wandb", "wandb", "init", "pip install wandb")

    def begin(start: Start) -> Tracker:
        run = _init(module, project, start, start.name, id=start.id)

        def finish(state: State) -> None:
            run.finish(exit_code=int(state != "finished"))

        return _Run(run, finish, lambda page: {"report": module.Html(page.read_text("utf-8"), inject=False)})

    return begin


def trackio(*, project: Project = "longcut") -> Callable[[Start], Tracker]:
    """Trackio (``pip install trackio``): curves and scores, without the report; ``trackio show``.

    Raises:
        UserError: without the package.
    """
    module = needed("trackio", "trackio", "init", "pip install trackio")

    def begin(start: Start) -> Tracker:
        run = _init(module, project, start, f"{start.name}-{start.id[:8]}")  # it knows runs by their names

        return _Run(run, lambda state: run.finish(), None)

    return begin


def _init(module: Any, project: str, start: Start, name: str, **more: Any) -> Any:
    return module.init(project=project, name=name, config={**start.plan}, resume="allow", **more)


class _Run:
    def __init__(
        self,
        run: Any,
        end: Callable[[State], None],
        shown: Callable[[Path], dict[str, Any]] | None,
    ) -> None:
        self.run, self.end, self.shown = run, end, shown
        self.step = 0

    def log(self, values: Mapping[str, float], step: int) -> None:
        self.step = step
        self.run.log({**values}, step=step)

    def finish(self, state: State, page: Path | None) -> None:
        if page is not None and self.shown is not None:
            self.run.log(self.shown(page), step=self.step)
        self.run.log({"finished": float(state == "finished")}, step=self.step)
        self.end(state)
