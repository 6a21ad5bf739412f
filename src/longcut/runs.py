"""The run folder: how it is read and written, its schema version and the names of its files.

The record of whom a net got wrong is named in :mod:`longcut.identify`, for methods read it, too.

========================= ==========================================================================================
``run.json``              plan, status, data fingerprint, environment, scores; JSON has no nan, so it is ``null`` there
``history.jsonl``         one row per epoch, as :func:`longcut.fit.fit` made it
``weights.safetensors``   of the network that is used
``inputs.json``           what the network takes and what its outputs mean, see :class:`longcut.record.Inputs`
``predictions.safetensors`` of the test set: ``outputs (n, C), label, attribute`` (if known), ``index``
``gallery.safetensors``   pictures and small tensors for the report, see :mod:`longcut.gallery`
``identification.safetensors`` who an ordinary net got wrong in which epoch, who was taken for the minority, and what
                          each sample weighs, where the method looked; see :mod:`longcut.identify`
``resume.pt``             what an unfinished run needs to go on with the same bits; gone when it is done
``.lock``                 held by the one process that writes
========================= ==========================================================================================

Every file is written under a temporary name and then renamed, so a reader or a killed run never sees half of one;
``history.jsonl`` grows line by line, and a resumed run first drops the rows after its resume point.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor

from longcut import identify
from longcut.errors import UserError
from longcut.files import replacing, to_json
from longcut.record import Inputs, Plan, Record, environment, renamed_metrics

if TYPE_CHECKING:
    import filelock

    from longcut.context import Epoch
    from longcut.evaluate import Scores

__all__ = [
    "SCHEMA",
    "Run",
    "Writer",
    "check",
    "check_parent",
    "find",
    "read",
]

SCHEMA = 3  # since options have other names and defaults, see longcut.record
CHECKPOINT_SECONDS = 5.0  # a killed run loses at most this much work, and the epoch it was in

RECORD, HISTORY, INPUTS, RESUME, LOCK = "run.json", "history.jsonl", "inputs.json", "resume.pt", ".lock"
WEIGHTS, PREDICTIONS, GALLERY = "weights.safetensors", "predictions.safetensors", "gallery.safetensors"


# --- reading ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Run:
    """A run folder that was read.

    Attributes:
        folder: where it lies.
        record: what ``run.json`` holds.
    """

    folder: Path
    record: Record

    @property
    def done(self) -> bool:
        """Whether the run was finished, so that scores, weights and predictions are there."""
        return self.record.done

    def history(self) -> list[dict[str, Any]]:
        """One row per epoch so far; numbers that are not defined are None."""
        path = self.folder / HISTORY
        lines = path.read_text("utf-8").splitlines(keepends=True) if path.exists() else []
        rows = [json.loads(line) for line in lines if line.endswith("\n")]  # a running writer may be within a line
        return [{key: renamed_metrics(value) for key, value in row.items()} for row in rows]

    def weights(self) -> dict[str, Tensor]:
        """The state dict of the network that is used."""
        return self._tensors(WEIGHTS)[0]

    def inputs(self) -> Inputs | None:
        """What the network takes and what its outputs mean; None in a run that was made before this was kept."""
        self._require_done()
        path = self.folder / INPUTS
        return Inputs.from_json(path.read_text("utf-8")) if path.exists() else None

    def predictions(self) -> dict[str, Tensor]:
        """Of the test set: ``outputs (n, C)``, ``label``, ``attribute`` and ``memberships`` (if known), ``index``."""
        return self._tensors(PREDICTIONS)[0]

    def gallery(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors as in :mod:`longcut.gallery`, and ``dataset, kind, class_names, attribute_names, aligned``."""
        tensors, metadata = self._tensors(GALLERY)
        return tensors, json.loads(metadata["about"])

    def identification(self) -> dict[str, Tensor]:
        """What the method found out about its training samples, see :func:`longcut.identify.columns`; or nothing."""
        self._require_done()
        return self._tensors(identify.NAME)[0] if (self.folder / identify.NAME).exists() else {}

    def scores(self) -> Scores:
        """Of the test set."""
        self._require_done()
        return self.record.scores.test

    def _require_done(self) -> None:
        if not self.done:
            raise UserError(f"the run in {self.folder} is not finished; start it again to finish it.")

    def _tensors(self, name: str) -> tuple[dict[str, Tensor], dict[str, str]]:
        from safetensors import safe_open

        self._require_done()
        with safe_open(self.folder / name, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}  # noqa: SIM118


def read(folder: Path | str) -> Run:
    """The run in ``folder``.

    Raises:
        UserError: when there is none, it is damaged, or a newer longcut wrote it.
    """
    path = Path(folder) / RECORD
    try:
        stored = json.loads(path.read_text("utf-8"))
        schema = int(stored["schema"])
        record = Record.from_dict(stored) if schema <= SCHEMA else None
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(
            f"{folder} is no run folder: it has no {RECORD}; name a folder that a run was written to."
        ) from None
    except (ValueError, TypeError, KeyError, AttributeError):
        raise UserError(f"{path} is damaged; delete the folder and run again.") from None
    if record is None:
        raise UserError(
            f"{folder} was written by a newer longcut (run schema {schema}, this one knows {SCHEMA}); "
            "upgrade with pip install --upgrade longcut."
        )
    return Run(path.parent, record)


def find(paths: Iterable[Path | str]) -> list[Path]:
    """All run folders at or below the paths, each once, in order of their names.

    Raises:
        UserError: when a path has none.
    """
    found: dict[Path, None] = {}
    for path in map(Path, paths):
        below = sorted(file.parent for file in path.rglob(RECORD))
        if not below:
            raise UserError(f"there is no run at or below {path}; name folders that runs were written to.")
        found.update(dict.fromkeys(below))
    return list(found)


def check(folder: Path | str, plan: Plan) -> Record | None:
    """The record of this plan's run in ``folder``, or None where it can begin; nothing is touched.

    Raises:
        UserError: when the folder holds something else: files that are no run, or a run with another plan.
    """
    folder = Path(folder)
    if not os.path.lexists(folder) or is_blank(folder):
        return None
    if not (folder / RECORD).is_file():
        raise UserError(f"{folder} exists and is neither empty nor a run; choose a new or empty folder.")
    record = read(folder).record
    if said := ", ".join(_differences(record.plan, plan)):
        raise UserError(f"{folder} holds another run ({said}); choose another folder, or delete that one.")
    return record


def check_parent(out: Path) -> None:
    """Refuse a folder below which runs cannot go: one that holds files, but no runs, or that is itself a run.

    Raises:
        UserError: in these cases.
    """
    if not os.path.lexists(out):
        return
    below = [path for depth in ("*", "*/*") for path in out.glob(f"{depth}/{RECORD}")]
    ours = out.is_dir() and (below or all(map(is_blank, out.iterdir())))
    if not ours or (out / RECORD).exists():
        raise UserError(f"{out} exists and is neither empty nor a folder of runs; choose a new or empty folder.")


def is_blank(folder: Path) -> bool:
    """Whether ``folder`` holds nothing but the lock and temporary files of a run that was killed at once."""
    return folder.is_dir() and all(path.name == LOCK or path.match(".*.tmp") for path in folder.iterdir())


def _differences(there: Plan, here: Plan) -> list[str]:
    """What sets a stored plan apart from another one, in words."""
    one, other = _flat(there), _flat(here)
    names = [name for name in {**one, **other} if one.get(name) != other.get(name)]
    said = [f"{name} {one.get(name, 'unset')} instead of {other.get(name, 'unset')}" for name in names]
    for name in {**there.files, **here.files}:
        if name not in here.files:
            said.append(f"made with {name}, which is not loaded")
        elif name not in there.files:
            said.append(f"made without {name}")
        elif there.files[name] != here.files[name]:
            said.append(f"made before {name} was changed")
    if there.init == here.init and there.init_weights != here.init_weights:
        said.append(f"made before the weights in {here.source} were changed")
    return said


def _flat(plan: Plan) -> dict[str, Any]:
    """All settings by name, as JSON has them."""
    plain = json.loads(to_json(plan.to_dict() | {"files": {}}))
    plain.pop("init_weights", None)
    parts = [plain.pop(name) for name in ("options", "training", "files")]
    return {name: value for part in (plain, *parts) for name, value in part.items()}


# --- writing ----------------------------------------------------------------------------------------------------------


class Writer:
    """One open run folder, locked against a second writer: a context manager.

    When an exception ends the block (a key press, a loss that is no number), the state after the last epoch is saved,
    and a :class:`~longcut.errors.UserError` says so; where no epoch was done, a mistake leaves nothing behind.

    Args:
        folder: new, empty, or with an unfinished or finished run of the same plan.
        plan: what identifies the run.

    Attributes:
        record: the stored record where the run is already there, else None.

    Raises:
        UserError: on entering, when the folder holds something else, cannot be written, or has another writer.
    """

    def __init__(self, folder: Path | str, plan: Plan) -> None:
        self.folder, self.plan = Path(folder), plan
        self.record: Record | None = None
        self._lock: filelock.BaseFileLock | None = None
        self._made: list[Path] = []  # folders made on entering, deepest first
        self._latest: tuple[int, dict[str, Any]] | None = None  # last epoch done, while it is not saved
        self._kept, self._saved = 0, time.monotonic()  # last epoch saved, and when

    @property
    def done(self) -> bool:
        """Whether the folder already holds the finished run."""
        return self.record is not None and self.record.done

    def __enter__(self) -> Self:
        import filelock

        self.record = check(self.folder, self.plan)  # before anything is touched
        if self.done:
            return self
        lock = filelock.FileLock(self.folder / LOCK)
        self._made = [folder for folder in (self.folder, *self.folder.parents) if not folder.exists()]
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=0)
        except filelock.Timeout:
            raise UserError(
                f"another process is writing {self.folder}; wait until it is done, or choose another folder."
            ) from None
        except OSError as error:
            raise UserError(f"cannot write to {self.folder} ({error.strerror}); choose another folder.") from error
        try:
            self.record = check(self.folder, self.plan)  # again: now nobody else can change it
            for leftover in self.folder.glob(".*.tmp"):
                leftover.unlink()
        except BaseException:
            lock.release()
            raise
        self._lock = lock
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._lock is None:
            return
        try:
            if error is not None:
                self._save()
            nothing = isinstance(error, UserError) and not (self.folder / RESUME).exists()
            if nothing:
                for name in (RECORD, HISTORY):
                    (self.folder / name).unlink(missing_ok=True)
        finally:
            self._lock.release()
        if nothing:
            with suppress(OSError):  # a folder that is not empty now is somebody else's
                (self.folder / LOCK).unlink(missing_ok=True)
                for folder in self._made:
                    folder.rmdir()
        elif isinstance(error, UserError) and self._kept:
            sentence = str(error).rstrip(".")
            raise UserError(f"{sentence}; the run up to epoch {self._kept} is kept in {self.folder}.") from error

    def start(self, fingerprint: str) -> dict[str, Any] | None:
        """Call before training: notes that the run is on, and returns the state to resume from, if there is one.

        Raises:
            UserError: when the data is not what the run was begun with.
        """
        if self.record is None:
            self._write_record(Record(SCHEMA, "running", self.plan, fingerprint, environment()))
        elif self.record.fingerprint != fingerprint:
            raise UserError(
                f"the data has changed since the run in {self.folder} was begun; "
                "bring the old data back, or choose another folder."
            )
        state = None
        if (self.folder / RESUME).exists():
            state = torch.load(self.folder / RESUME, weights_only=True, map_location="cpu")
        rows = state["history"] if state else []
        self._kept = len(rows)
        self._write(HISTORY, "".join(to_json(row) + "\n" for row in rows).encode())
        return state

    def on_epoch(self, epoch: Epoch) -> None:
        """Append the epoch's row, and save what is needed to go on if that was last done some seconds ago."""
        with (self.folder / HISTORY).open("a", encoding="utf-8") as file:
            file.write(to_json(epoch.row) + "\n")
        self._latest = (epoch.epoch, _copied(epoch.state()))  # a copy: the next epoch overwrites weights in place
        if time.monotonic() - self._saved >= CHECKPOINT_SECONDS:
            self._save()

    def finish(
        self,
        results: Mapping[str, Any],
        *,
        inputs: Inputs,
        weights: Mapping[str, Tensor],
        predictions: Mapping[str, Tensor],
        gallery: Mapping[str, Tensor],
        about: Mapping[str, Any],
        identification: Mapping[str, Tensor] | None = None,
    ) -> Record:
        """Write everything, the record last, and return the record.

        Args:
            results: fields of the record that come with the end, by name.
            inputs: what the network takes.
            weights, predictions, gallery: tensors by name.
            about: stands beside the gallery.
            identification: tensors by name, see :func:`longcut.identify.columns`; None writes no file.
        """
        from safetensors.torch import save

        self._write(INPUTS, inputs.to_json().encode())
        self._write(WEIGHTS, save(_contiguous(weights)))
        self._write(PREDICTIONS, save(_contiguous(predictions)))
        self._write(GALLERY, save(_contiguous(gallery), {"about": to_json(about)}))
        assert self.record is not None  # the run was started
        if identification is not None:
            said = {"fingerprint": self.record.fingerprint}
            self._write(identify.NAME, save(_contiguous(identification), said))
        self._write_record(replace(self.record, schema=SCHEMA, status="done", environment=environment(), **results))
        self._latest = None
        (self.folder / RESUME).unlink(missing_ok=True)
        return read(self.folder).record

    def _write(self, name: str, content: bytes) -> None:
        with replacing(self.folder / name) as temporary:
            temporary.write_bytes(content)

    def _write_record(self, record: Record) -> None:
        self.record = record
        self._write(RECORD, (to_json(record.to_dict(), indent=1) + "\n").encode())

    def _save(self) -> None:
        if self._latest is not None:
            with replacing(self.folder / RESUME) as temporary:
                torch.save(self._latest[1], temporary)
            self._kept, self._latest, self._saved = self._latest[0], None, time.monotonic()


def _copied(state: Any) -> Any:
    if isinstance(state, Tensor):
        return state.detach().to("cpu", copy=True)
    if isinstance(state, Mapping):
        return {key: _copied(value) for key, value in state.items()}
    if isinstance(state, list | tuple):
        return type(state)(_copied(value) for value in state)
    return state


def _contiguous(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
