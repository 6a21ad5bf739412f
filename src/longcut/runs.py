"""How a run folder is written, and what may be written where; :mod:`longcut.stored` reads one, and says what it holds.

Every file is written under a temporary name and then renamed, so a reader or a killed run never sees half of one;
``history.jsonl`` grows line by line, and a resumed run first drops the rows after its resume point.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from torch import Tensor

from longcut import forms, identify, states
from longcut.door import digest, sealed
from longcut.errors import UserError
from longcut.files import replacing, to_json, unwritable
from longcut.record import Inputs, Plan, Record, environment
from longcut.stored import (
    GALLERY,
    HISTORY,
    INPUTS,
    PREDICTIONS,
    RECORD,
    REMEDY,
    SCHEMA,
    WEIGHTS,
    Run,
    find,
    read,
    require_one_data,
)

if TYPE_CHECKING:
    import filelock

    from longcut.context import Epoch

__all__ = [
    "HELPER",
    "PREDICTIONS",
    "RECORD",
    "REMEDY",
    "RESUME",
    "SCHEMA",
    "WEIGHTS",
    "Busy",
    "Run",
    "Writer",
    "check",
    "check_parent",
    "find",
    "read",
    "require_one_data",
    "require_same_data",
]

CHECKPOINT_SECONDS = 5.0  # a killed run loses at most this much work, and the epoch it was in
RESUME, LOCK = "resume.pt", ".lock"
HELPER = "helper-{}.pt"  # by its number, while the run is not finished


class Busy(UserError):
    """Another process writes the run."""


# --- who may write where ----------------------------------------------------------------------------------------------


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


def require_same_data(folder: Path, record: Record, fingerprint: str) -> None:
    """Refuse to go on with a run, or to take it for done, on other data than it was begun with.

    Raises:
        UserError: when its data has changed.
    """
    if record.fingerprint != fingerprint:
        raise UserError(
            f"the data has changed since the run in {folder} was begun; "
            "bring the old data back, choose another folder, or delete that one."
        )


def check_parent(out: Path) -> None:
    """Refuse a folder below which runs cannot go: one that holds files, but no runs, or that is itself a run.

    Pictures may lie there: some figures are drawn without a run.

    Raises:
        UserError: in these cases.
    """
    if not os.path.lexists(out):
        return
    below = [path for depth in ("*", "*/*") for path in out.glob(f"{depth}/{RECORD}")]
    ours = out.is_dir() and (below or all(path.suffix == ".svg" or is_blank(path) for path in out.iterdir()))
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
        processes: how many train it, for the record.

    Attributes:
        record: the stored record where the run is already there, else None.

    Raises:
        UserError: on entering, when the folder holds something else, cannot be written, or has another writer.
    """

    def __init__(self, folder: Path | str, plan: Plan, processes: int = 1) -> None:
        self.folder, self.plan, self.processes = Path(folder), plan, processes
        self.record: Record | None = None
        self._lock: filelock.BaseFileLock | None = None
        self._made: list[Path] = []  # folders made on entering, deepest first
        self._latest: tuple[int, dict[str, Any]] | None = None  # last epoch done, while it is not saved
        self._helper: tuple[int, dict[str, Any]] | None = None  # its number and state, while it is not saved
        self._checksums: dict[str, str] = {}  # of the files written
        self._kept, self._saved = 0, time.monotonic()  # last epoch saved, and when

    @property
    def done(self) -> bool:
        """Whether the folder already holds the finished run."""
        return self.record is not None and self.record.done

    def __enter__(self) -> Self:
        import filelock

        self.record = check(self.folder, self.plan)  # before anything is touched
        if self.done:
            with suppress(OSError):  # a kill came between the record and this
                self._drop_states()
            return self
        lock = filelock.FileLock(self.folder / LOCK)
        self._made = [folder for folder in (self.folder, *self.folder.parents) if not folder.exists()]
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=0)
        except filelock.Timeout:
            raise Busy(
                f"another process is writing {self.folder}; wait until it is done, or choose another folder."
            ) from None
        except OSError as error:
            raise unwritable(self.folder, error, "to ", "choose another folder") from error
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
                with suppress(UserError) if isinstance(error, UserError) else nullcontext():  # the first is said
                    self._save()
            nothing = isinstance(error, UserError) and not (self.folder / RESUME).exists()
            if nothing:
                for name in (RECORD, HISTORY):
                    (self.folder / name).unlink(missing_ok=True)
                self._drop_states()
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

    def start(self, fingerprint: str, source: str = "") -> dict[str, Any] | None:
        """Call before training: notes that the run is on, and returns the state to resume from, if there is one.

        Raises:
            UserError: when the data is not what the run was begun with.
        """
        if self.record is None:
            begun = environment(self.processes)
            self._write_record(Record(SCHEMA, "running", self.plan, fingerprint, begun, source=source))
        else:
            require_same_data(self.folder, self.record, fingerprint)
        state = self._resumed()
        self._begin(state["history"] if state else [])
        return state

    def restart(self) -> None:
        """Call when the state to resume from does not fit: the run begins anew."""
        self._drop_states()
        self._begin([])

    def _begin(self, rows: list[dict[str, Any]]) -> None:
        self._kept = len(rows)
        self._write(HISTORY, "".join(to_json(row) + "\n" for row in rows).encode())

    def _resumed(self) -> dict[str, Any] | None:
        """The state to resume from."""

        def form(found: dict[str, Any]) -> None:
            forms.history(found["history"])
            _ = found["method"]

        return states.read(self.folder, RESUME, "the run begins anew", form)

    def get(self, number: int) -> dict[str, Any] | None:
        """The state of a helper (see :class:`longcut.helpers.Shelf`)."""
        return states.read(self.folder, HELPER.format(number), "its helper begins anew", lambda found: found["whose"])

    def put(self, number: int, state: Callable[[], dict[str, Any]], ended: bool) -> None:
        """Keep the state of a helper: its last one, and while it is trained every some seconds."""
        self._helper = (number, states.copied(state()))
        if ended or time.monotonic() - self._saved >= CHECKPOINT_SECONDS:
            self._save()

    def on_epoch(self, epoch: Epoch) -> None:
        """Append the epoch's row, and save what is needed to go on if that was last done some seconds ago."""
        with self._writing(HISTORY), (self.folder / HISTORY).open("a", encoding="utf-8") as file:
            file.write(to_json(epoch.row) + "\n")
        self._latest = (epoch.epoch, states.copied(epoch.state()))  # a copy: the next epoch overwrites weights in place
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
        with self._writing(HISTORY):
            self._checksums[HISTORY] = digest((self.folder / HISTORY).read_bytes())
        known = {"schema": SCHEMA, "status": "done", "environment": environment(self.processes)}
        self._write_record(replace(self.record, **known, **results))
        self._latest = self._helper = None
        with suppress(OSError):  # else whoever reads the finished run next removes them
            self._drop_states()
        return read(self.folder).record

    def _write(self, name: str, content: bytes) -> None:
        with self._writing(name), replacing(self.folder / name) as temporary:
            temporary.write_bytes(content)
        self._checksums[name] = digest(content)

    def _write_record(self, record: Record) -> None:
        self.record = record
        sums = {name: self._checksums[name] for name in sorted(self._checksums) if record.done and name != RECORD}
        self._write(RECORD, (to_json(sealed(record.to_dict(), RECORD, sums), indent=1) + "\n").encode())

    def _save(self) -> None:
        if self._latest is not None:
            self._keep(RESUME, self._latest[1])
            self._kept, self._latest = self._latest[0], None
        if self._helper is not None:
            self._keep(HELPER.format(self._helper[0]), self._helper[1])
            self._helper = None

    def _keep(self, name: str, state: Mapping[str, Any]) -> None:
        self._write(name, states.to_bytes(state))
        self._saved = time.monotonic()
        del self._checksums[name]  # it goes when the run is done

    def _drop_states(self) -> None:
        for path in (self.folder / RESUME, *self.folder.glob(HELPER.format("*"))):
            path.unlink(missing_ok=True)

    @contextmanager
    def _writing(self, name: str) -> Iterator[None]:
        """For the time of a ``with``: what keeps a file from being written is one sentence."""
        try:
            yield
        except OSError as error:
            if not self.folder.is_dir():
                raise UserError(
                    f"{self.folder} was removed while its run was on; give the same command again to begin anew."
                ) from error
            raise unwritable(self.folder / name, error, otherwise="choose another folder") from error


def _contiguous(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
