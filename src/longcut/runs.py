"""The run folder: the only file that knows its file names and its schema version.

========================= ==========================================================================================
``run.json``              plan, status, data fingerprint, environment, scores; JSON has no nan, so it is ``null`` there
``history.jsonl``         one row per epoch, as :func:`longcut.fit.fit` made it
``weights.safetensors``   of the network that is used
``inputs.json``           what the network takes and what its outputs mean, see :class:`Inputs`
``predictions.safetensors`` of the test set: ``outputs (n, C), label, attribute`` (if known), ``index``
``gallery.safetensors``   pictures and small tensors for the report, see :func:`gallery`
``identification.safetensors`` who an ordinary net got wrong in which epoch, if the method looked; see
                          :mod:`longcut.identify`
``resume.pt``             what an unfinished run needs to go on with the same bits; gone when it is done
``.lock``                 held by the one process that writes
========================= ==========================================================================================

Every file is written under a temporary name and then renamed, so a reader or a killed run never sees half of one;
``history.jsonl`` grows line by line, and a resumed run first drops the rows after its resume point.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
import platform
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor

import longcut
from longcut import identify
from longcut.data import Dataset, Info, Splits, generator, in_turns
from longcut.errors import UserError
from longcut.training import Training

if TYPE_CHECKING:
    import filelock

    from longcut.context import Epoch
    from longcut.methods.base import Method

__all__ = [
    "SCHEMA",
    "Inputs",
    "Run",
    "Writer",
    "check",
    "check_parent",
    "environment",
    "find",
    "fingerprint",
    "gallery",
    "read",
    "replacing",
    "to_json",
]

SCHEMA = 1
CHECKPOINT_SECONDS = 5.0  # a killed run loses at most this much work, and the epoch it was in

RECORD, HISTORY, INPUTS, RESUME, LOCK = "run.json", "history.jsonl", "inputs.json", "resume.pt", ".lock"
WEIGHTS, PREDICTIONS, GALLERY = "weights.safetensors", "predictions.safetensors", "gallery.safetensors"


# --- reading ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Inputs:
    """What a network takes and what its outputs mean: with it, a network is built without its data.

    Attributes:
        info: of the data it was trained on.
        dtype: of the samples before :func:`longcut.data.as_input`, such as ``"uint8"``.
        encoding: how rows of files became numbers (see :class:`longcut.sources.Source`); None where there were none.

    >>> Inputs.of(Dataset.of(torch.rand(4, 2), [0, 1, 1, 0])).dtype
    'float32'
    """

    info: Info
    dtype: str
    encoding: dict[str, Any] | None = None

    @classmethod
    def of(cls, data: Dataset) -> Self:
        """Those of a network that is trained on ``data``."""
        encoding = None if data.source is None else dict(data.source.encoding)
        return cls(data.info, str(data.x.dtype).removeprefix("torch."), encoding)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The inverse of :meth:`to_json`."""
        stored = json.loads(text)
        info: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in stored["info"].items()
        }
        return cls(Info(**info), stored["dtype"], stored["encoding"])

    def to_json(self) -> str:
        """As a run folder stores it."""
        return to_json(dataclasses.asdict(self))


@dataclass(frozen=True)
class Run:
    """A run folder that was read.

    Attributes:
        folder: where it lies.
        record: what ``run.json`` holds; numbers that are not defined are None.
    """

    folder: Path
    record: dict[str, Any]

    @property
    def done(self) -> bool:
        """Whether the run was finished, so that scores, weights and predictions are there."""
        return self.record["status"] == "done"

    def history(self) -> list[dict[str, Any]]:
        """One row per epoch so far; numbers that are not defined are None."""
        path = self.folder / HISTORY
        lines = path.read_text("utf-8").splitlines(keepends=True) if path.exists() else []
        rows = [json.loads(line) for line in lines if line.endswith("\n")]  # a running writer may be within a line
        return [{key: _renamed(value) for key, value in row.items()} for row in rows]

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
        """Tensors as in :func:`gallery`, and ``dataset, kind, class_names, attribute_names, aligned``."""
        tensors, metadata = self._tensors(GALLERY)
        return tensors, json.loads(metadata["about"])

    def scores(self) -> dict[str, Any]:
        """Of the test set: :class:`longcut.evaluate.Scores` as plain containers; None where a number is not defined."""
        self._require_done()
        return self.record["scores"]["test"]

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
    folder = Path(folder)
    try:
        record = json.loads((folder / RECORD).read_text("utf-8"))
        schema = int(record["schema"])
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(
            f"{folder} is no run folder: it has no {RECORD}; name a folder that a run was written to."
        ) from None
    except (ValueError, TypeError, KeyError):
        raise UserError(f"{folder / RECORD} is damaged; delete the folder and run again.") from None
    if schema > SCHEMA:
        raise UserError(
            f"{folder} was written by a newer longcut (run schema {schema}, this one knows {SCHEMA}); "
            "upgrade with pip install --upgrade longcut."
        )
    for part in filter(None, record.get("scores", {}).values()):
        part |= {key: _renamed(part[key]) for key in ("values", "intervals") if key in part}
    return Run(folder, record)


def _renamed(metrics: Any) -> Any:
    """``balanced`` of a run that was made when it still meant the mean of the group means, under its name now."""
    if not isinstance(metrics, dict) or "balanced" not in metrics or "group_mean" in metrics:
        return metrics
    return {"group_mean" if name == "balanced" else name: value for name, value in metrics.items()}


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


def check(folder: Path | str, plan: Mapping[str, Any]) -> dict[str, Any] | None:
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
    there, here = _flat(record["plan"]), _flat(json.loads(to_json(plan)))
    for name, value in dataclasses.asdict(Training()).items():
        if name in here:  # a run that was made before a setting existed had its default
            there.setdefault(name, value)
    differ = [name for name in {**there, **here} if there.get(name) != here.get(name)]
    if differ:
        what = ", ".join(f"{name} {there.get(name, 'unset')} instead of {here.get(name, 'unset')}" for name in differ)
        raise UserError(f"{folder} holds another run ({what}); choose another folder, or delete that one.")
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


def _flat(plan: Mapping[str, Any]) -> dict[str, Any]:
    nested = {key: value for key, value in plan.items() if isinstance(value, Mapping)}
    flat = {key: value for key, value in plan.items() if key not in nested}
    return flat | {key: value for part in nested.values() for key, value in part.items()}


# --- writing ----------------------------------------------------------------------------------------------------------


def to_json(value: Any, **options: Any) -> str:
    """Strict JSON: numbers that are not finite become ``null``.

    >>> to_json({"worst_group": float("nan"), "n": 3})
    '{"worst_group": null, "n": 3}'
    """
    return json.dumps(_finite(value), allow_nan=False, ensure_ascii=False, **options)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside ``path`` to write to; it takes the place of ``path`` when all went well."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


class Writer:
    """One open run folder, locked against a second writer: a context manager.

    When an exception ends the block (a key press, a loss that is no number), the state after the last epoch is saved,
    and a :class:`~longcut.errors.UserError` says so; where no epoch was done, a mistake leaves nothing behind.

    Args:
        folder: new, empty, or with an unfinished or finished run of the same plan.
        plan: what identifies the run, as plain containers.

    Attributes:
        record: the stored record where the run is already there, else None.

    Raises:
        UserError: on entering, when the folder holds something else, cannot be written, or has another writer.
    """

    def __init__(self, folder: Path | str, plan: Mapping[str, Any]) -> None:
        self.folder, self.plan = Path(folder), plan
        self.record: dict[str, Any] | None = None
        self._lock: filelock.BaseFileLock | None = None
        self._made: list[Path] = []  # folders made on entering, deepest first
        self._latest: tuple[int, dict[str, Any]] | None = None  # last epoch done, while it is not saved
        self._kept, self._saved = 0, time.monotonic()  # last epoch saved, and when

    @property
    def done(self) -> bool:
        """Whether the folder already holds the finished run."""
        return self.record is not None and self.record["status"] == "done"

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
            self.record = {"schema": SCHEMA, "status": "running", "plan": self.plan, "fingerprint": fingerprint}
            self._write_record(environment=environment())
        elif self.record["fingerprint"] != fingerprint:
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
    ) -> dict[str, Any]:
        """Write everything, the record last, and return the record.

        Args:
            results: further fields of the record, such as scores.
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
        if identification is not None:
            said = {"fingerprint": (self.record or {})["fingerprint"]}
            self._write(identify.NAME, save(_contiguous(identification), said))
        self._write_record(status="done", environment=environment(), **results)
        self._latest = None
        (self.folder / RESUME).unlink(missing_ok=True)
        return read(self.folder).record

    def _write(self, name: str, content: bytes) -> None:
        with replacing(self.folder / name) as temporary:
            temporary.write_bytes(content)

    def _write_record(self, **fields: Any) -> None:
        self.record = {**(self.record or {}), **fields}
        self._write(RECORD, (to_json(self.record, indent=1) + "\n").encode())

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


# --- what is recorded -------------------------------------------------------------------------------------------------


def environment() -> dict[str, str]:
    """The versions that a number may depend on."""
    return {
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "longcut": longcut.__version__,
        "platform": f"{sys.platform}-{platform.machine()}",
    }


def fingerprint(splits: Splits) -> str:
    """SHA-256 over the columns and storage of all three sets; storage that sets share is read once."""
    sets = [data for data in (splits.train, splits.valid, splits.test) if data is not None]
    every = [column for data in sets for column in (data.index, data.label, data.attribute, data.memberships)]
    columns = [column for column in every if column is not None]
    storage = {data.x.data_ptr(): data.x for data in sets}
    digest = hashlib.sha256()
    for column in (*columns, *storage.values()):
        digest.update(f"{tuple(column.shape)} {column.dtype}".encode())
        for block in column.split(4096):  # memory-mapped storage may be larger than memory
            digest.update(block.contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def gallery(method: Method, train: Dataset, device: torch.device | str = "cpu") -> dict[str, Tensor]:
    """Pictures and small tensors by which a report shows what a method saw and did.

    Returns:
        For images, uint8 ``(k, 3, H, W)``: ``sample_x`` with ``sample_label``, ``sample_attribute`` and
        ``sample_conflicting``, a few of every class. If the method mixes: ``pair_anchor_x, pair_partner_x,
        pair_mixed_x, pair_share`` and labels and attributes of both. If it has a bias model: ``embedding (m, d)`` of
        up to 600 training samples, a third of them conflicting if there are so many, with ``embedding_label``,
        ``embedding_attribute`` and ``embedding_conflicting``. Attributes are left out where they are not known.
    """
    draw = generator(len(train), 41)
    known = train.attribute is not None and bool(train.info.aligned) and train.info.task == "classification"
    conflicting = train.conflicting if known else torch.zeros(len(train), dtype=torch.bool)
    order = torch.randperm(len(train), generator=draw)
    tensors: dict[str, Tensor] = {}
    if train.info.kind == "image":
        rows = torch.cat([_of_every_class(train, order[conflicting[order] == flag], 20) for flag in (False, True)])
        tensors["sample_x"] = _pixels(train, rows)
        tensors |= _columns("sample", train, rows) | {"sample_conflicting": conflicting[rows]}
        pairs = method.pairs(train, 24)
        if pairs is not None:
            anchor, partner, share = pairs["anchor"], pairs["partner"], pairs["share"]
            own, other = _pixels(train, anchor), _pixels(train, partner)
            part = share.view(-1, 1, 1, 1).cpu()
            mixed = pairs.get("mixed", part * own + (1 - part) * other)
            tensors |= {"pair_anchor_x": own, "pair_partner_x": other, "pair_mixed_x": mixed.round().to(torch.uint8)}
            tensors |= _columns("pair_anchor", train, anchor) | _columns("pair_partner", train, partner)
            tensors["pair_share"] = share
    few = order[conflicting[order]][:200]
    rows = torch.cat([few, order[~conflicting[order]][: 600 - len(few)]])
    with torch.no_grad():
        parts = [method.embedding(train.gather(chunk, device)) for chunk in rows.split(100)]
    found = [part.float() for part in parts if part is not None]
    if found:
        tensors |= {"embedding": torch.cat(found), "embedding_conflicting": conflicting[rows]}
        tensors |= _columns("embedding", train, rows)
    return tensors


def _of_every_class(train: Dataset, rows: Tensor, n: int) -> Tensor:
    """Up to ``n`` of the rows, taking turns among the classes."""
    if train.info.task == "regression":
        return rows[:n]
    return in_turns(train.label, rows[train.label[rows].argsort(stable=True)])[:n]


def _pixels(train: Dataset, rows: Tensor) -> Tensor:
    x = (train.gather(rows).clamp(0, 1) * 255).round().to(torch.uint8)
    return x.expand(-1, 3, -1, -1) if x.shape[1] == 1 else x[:, :3]


def _columns(prefix: str, train: Dataset, rows: Tensor) -> dict[str, Tensor]:
    columns = {f"{prefix}_label": train.label[rows]}
    return columns if train.attribute is None else columns | {f"{prefix}_attribute": train.attribute[rows]}
