"""Trackers: a run in TensorBoard, MLflow, Weights & Biases or Trackio, by an observer that changes no number."""

from __future__ import annotations

import math
import re
import sys
import tempfile
import uuid
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

from longcut import runs
from longcut.context import Epoch, Observer
from longcut.errors import UserError
from longcut.files import written
from longcut.places import slug
from longcut.plans import folder_name
from longcut.record import Plan
from longcut.registry import Registry, required
from longcut.spec import read, validate
from longcut.trackers.base import Start, State, Tracker
from longcut.trackers.mlflow import mlflow
from longcut.trackers.modules import trackio, wandb
from longcut.trackers.tensorboard import tensorboard

__all__ = ["TRACKERS", "Start", "Tracker", "openers", "tracked"]

TRACKERS: Registry[Callable[..., Callable[[Start], Tracker]]] = Registry(
    "tracker",
    "TRACKERS",
    {"tensorboard": tensorboard, "mlflow": mlflow, "wandb": wandb, "trackio": trackio},
    made=required(callable, "a function (*, options) that returns a function from a Start to a Tracker"),
)

ID = ".tracked"  # in a run folder, while the run is tracked and not finished
LONGEST = 100  # letters of a part of a name


def openers(specs: Iterable[str]) -> dict[str, Callable[[Start], Tracker]]:
    """What begins each tracker, by its spec; nothing is begun.

    Raises:
        UserError: for an unknown name or option, or a missing package.
    """
    found = {}
    for spec in specs:
        name, given = read(spec, "tracker")
        function = TRACKERS.find(name)
        found[spec] = function(**validate(f"tracker '{name}'", function, given))
    return found


@contextmanager
def tracked(specs: Sequence[str], plan: Plan, folder: Path) -> Iterator[Observer]:
    """An observer by which trackers follow the run of ``plan`` in ``folder``, for the time of a ``with``.

    The trackers begin with the first epoch that is done, so a run that fails before leaves nothing in them either.
    A run that goes on after it was stopped is the same one to them, and one that is already finished is left alone.
    What fails in a tracker is warned of once, and the run goes on without it.

    Args:
        specs: of the trackers, such as ``["tensorboard", "mlflow:uri=http://127.0.0.1:5000"]``.
        plan: of the run.
        folder: of the run.

    Raises:
        UserError: on entering, for an unknown tracker or option, or a missing package.
    """
    watching = _Watching(openers(specs), plan, folder)
    try:
        yield watching
    except BaseException as error:
        watching.close("stopped" if isinstance(error, KeyboardInterrupt) else "failed")
        raise
    watching.close("finished")


class _Watching(Observer):
    """Tells each tracker of every epoch, and of the end."""

    def __init__(self, begin: Mapping[str, Callable[[Start], Tracker]], plan: Plan, folder: Path) -> None:
        self.begin, self.plan, self.folder = begin, plan, folder
        self.trackers: dict[str, Tracker] | None = None

    def on_epoch(self, epoch: Epoch) -> None:
        if self.trackers is None:
            self._open(epoch.epoch)
        values = curves(epoch.row)
        self._each("log", values, epoch.epoch)

    def close(self, state: State) -> None:
        """The last word; in the case of ``"finished"`` with the scores of what was kept, and the report."""
        if self.trackers is None and (state != "finished" or not (self.folder / ID).exists()):
            return
        if state != "finished":
            return self._each("finish", state, None)
        run = runs.read(self.folder)
        if self.trackers is None:  # the run was stopped when nothing but its end was missing
            self._open(run.record.epoch)
        self._each("log", finals(run), len(run.history()))
        with tempfile.TemporaryDirectory() as temporary:
            self._each("finish", state, self._page(Path(temporary, "report.html")))
        (self.folder / ID).unlink(missing_ok=True)

    def _open(self, step: int) -> None:
        start = Start(
            self._id(), folder_name(self.plan), slug(self.plan.data), _flat(self.plan.to_dict()), self.folder, step
        )
        self.trackers = {}
        for spec, begin in self.begin.items():
            tracker = self._tried(spec, begin, start)
            if tracker is not None:
                self.trackers[spec] = tracker

    def _id(self) -> str:
        """The run's, from its folder where it goes on."""
        path = self.folder / ID
        known = path.read_text("utf-8", errors="replace") if path.is_file() else ""
        if not re.fullmatch("[0-9a-f]{32}", known):
            known = uuid.uuid4().hex
            with written(path) as temporary:
                temporary.write_text(known, "utf-8")
        return known

    def _page(self, path: Path) -> Path | None:
        from longcut.report import write

        try:
            return write([self.folder], path)
        except UserError as error:
            warnings.warn(f"trackers get no report ({error})", RuntimeWarning, stacklevel=2)
            return None

    def _each(self, part: str, *given: Any) -> None:
        for spec, tracker in list((self.trackers or {}).items()):
            self._tried(spec, getattr(tracker, part), *given)

    def _tried(self, spec: str, function: Callable[..., Any], *given: Any) -> Any:
        """What the function returns; somebody else's server must not take the run with it."""
        try:
            with redirect_stdout(sys.stderr):  # what trackers say is no part of a command's result
                return function(*given)
        except Exception as error:
            if self.trackers is not None:
                self.trackers.pop(spec, None)
            said = f"tracker '{spec}' failed and is left out of the run in {self.folder} ({reason(error)})."
            warnings.warn(said, RuntimeWarning, stacklevel=2)
            return None


def reason(error: Exception) -> str:
    """Its first line."""
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0].rstrip('.')}"


# --- what is logged ---------------------------------------------------------------------------------------------------


def curves(row: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a row of the history by name; what is not defined is left out.

    >>> curves({"epoch": 3, "loss": 0.5, "test": {"average": 0.75, "worst_group": float("nan")}})
    {'loss': 0.5, 'test/average': 0.75}
    """
    return _numbers({name: value for name, value in row.items() if name != "epoch"})


def finals(run: runs.Run) -> dict[str, float]:
    """The scores of a finished run, those of each group among them."""
    from longcut.report.study import name_of

    judged, about = run.record.scores, run.gallery()[1]
    parts = {"test": judged.test, **({"valid": judged.valid} if judged.valid else {})}
    found: dict[str, Any] = {f"final/{part}": scores.values for part, scores in parts.items()}
    values = about.get("membership_names") or about.get("attribute_names", ())
    classes = about.get("class_names", ())
    for part, scores in parts.items():
        for group in scores.groups:
            name = [name_of(classes, group.label)] if run.record.task == "classification" else []
            name += [] if group.attribute is None else [name_of(values, group.attribute)]
            key = "/".join(["final", part, "group", *map(safe, name)])
            while key in found:  # names that differ in signs alone
                key += "_"
            found[key] = group.value
    return _numbers(found)


def safe(name: str) -> str:
    """A name from data as a part of a metric's: what trackers do not take is an underscore.

    >>> safe("water/bird: 50 %"), safe("..")
    ('water_bird_ 50 _', '__')
    """
    return re.sub(r"[^\w -]", "_", name)[:LONGEST] or "_"


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    flat = {name: float(value) for name, value in _flat(values).items() if isinstance(value, int | float)}
    return {name: value for name, value in flat.items() if math.isfinite(value)}


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= (
            {f"{name}/{key}": one for key, one in _flat(value).items()} if isinstance(value, Mapping) else {name: value}
        )
    return found
