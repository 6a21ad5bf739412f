"""The run folder: how it is read, its schema version and the names of its files.

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
``resume.pt``             what an unfinished run needs to go on with the same bits, with its checksum; gone when done
``.lock``                 held by the one process that writes
========================= ==========================================================================================

All are read through :class:`longcut.door.Door`; the record of a finished run holds the checksums of all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from longcut import forms, identify
from longcut.door import Door, Missing, strict_json
from longcut.errors import UserError
from longcut.folders import RUN as RECORD
from longcut.folders import find, require_run
from longcut.record import Inputs, Record, renamed_metrics

if TYPE_CHECKING:
    from longcut.evaluate import Scores

__all__ = [
    "GALLERY",
    "HISTORY",
    "INPUTS",
    "PREDICTIONS",
    "RECORD",
    "REMEDY",
    "SCHEMA",
    "WEIGHTS",
    "Run",
    "find",
    "read",
    "require_one_data",
]

SCHEMA = 3  # since options have other names and defaults, see longcut.record

HISTORY, INPUTS = "history.jsonl", "inputs.json"
WEIGHTS, PREDICTIONS, GALLERY = "weights.safetensors", "predictions.safetensors", "gallery.safetensors"
REMEDY = "delete the folder and run again"


@dataclass(frozen=True)
class Run:
    """A run folder that was read.

    Attributes:
        folder: where it lies.
        record: what ``run.json`` holds.
        door: to its files.
    """

    folder: Path
    record: Record
    door: Door

    @property
    def done(self) -> bool:
        """Whether the run was finished, so that scores, weights and predictions are there."""
        return self.record.done

    def history(self) -> list[dict[str, Any]]:
        """One row per epoch so far; numbers that are not defined are None."""
        if not (self.folder / HISTORY).exists():
            return []
        lines = self.door.content(HISTORY).splitlines(keepends=True)
        with self.door.reading(HISTORY):
            rows = [strict_json(line) for line in lines if line.endswith(b"\n")]  # a writer may be within a line
            return forms.history([{key: renamed_metrics(value) for key, value in row.items()} for row in rows])

    def weights(self) -> dict[str, Tensor]:
        """The state dict of the network that is used."""
        return self._tensors(WEIGHTS, forms.weights)[0]

    def inputs(self) -> Inputs | None:
        """What the network takes and what its outputs mean; None in a run that was made before this was kept."""
        self._require_done()
        if INPUTS not in self.door.checksums and not (self.folder / INPUTS).exists():
            return None
        content = self.door.content(INPUTS)
        with self.door.reading(INPUTS):
            return forms.inputs(strict_json(content))

    def predictions(self) -> dict[str, Tensor]:
        """Of the test set: ``outputs (n, C)``, ``label``, ``attribute`` and ``memberships`` (if known), ``index``."""
        known = self.inputs()
        return self._tensors(PREDICTIONS, partial(forms.predictions, info=None if known is None else known.info))[0]

    def gallery(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors as in :mod:`longcut.gallery`, and ``dataset, kind, class_names, attribute_names, aligned``.

        Both are empty when somebody removed it.
        """
        self._require_done()
        if not (self.folder / GALLERY).exists():
            return {}, {}
        tensors, metadata = self._tensors(GALLERY, forms.gallery)
        with self.door.reading(GALLERY):
            return tensors, forms.about(strict_json(metadata["about"].encode()))

    def identification(self) -> dict[str, Tensor]:
        """What the method found out about its training samples, see :func:`longcut.identify.columns`; or nothing."""
        self._require_done()
        there = identify.NAME in self.door.checksums or (self.folder / identify.NAME).exists()
        return self._tensors(identify.NAME, identify.form)[0] if there else {}

    def scores(self) -> Scores:
        """Of the test set."""
        self._require_done()
        return self.record.scores.test

    def verify(self) -> None:
        """Read every file of a finished run that a report shows.

        Raises:
            Damaged: when one is not what was written.
        """
        if self.done:
            for read_one in (self.history, self.inputs, self.predictions, self.gallery, self.identification):
                with suppress(Missing):  # who removes a file to save space has the rest
                    read_one()

    def _require_done(self) -> None:
        if not self.done:
            raise UserError(f"the run in {self.folder} is not finished; start it again to finish it.")

    def _tensors(self, name: str, form: Callable[..., object]) -> tuple[dict[str, Tensor], dict[str, str]]:
        self._require_done()
        return self.door.tensors(name, form)


def read(folder: Path | str) -> Run:
    """The run in ``folder``.

    Raises:
        UserError: when there is none, it is damaged, or a newer longcut wrote it.
    """
    folder = Path(folder)
    require_run(folder)
    stored, door = Door(folder, REMEDY).record(RECORD, "run", SCHEMA)
    with door.reading(RECORD):
        return Run(folder, forms.record(stored), door)


def require_one_data(found: Iterable[Run]) -> None:
    """Refuse runs that say they are on the same data while it was changed in between: they are not to be compared.

    Raises:
        UserError: naming two of them.
    """
    first: dict[tuple[str, str, int], Run] = {}
    for run in found:
        record, plan = run.record, run.record.plan
        prints = {("fingerprint", plan.data_seed): record.fingerprint}
        prints |= {("source", 0): record.source} if record.source else {}
        for (name, seed), own in prints.items():
            other = first.setdefault((plan.data, name, seed), run)
            if getattr(other.record, name) != own:
                raise UserError(
                    f"{other.folder} and {run.folder} are both on {plan.data}, but the data was changed between them "
                    "(their fingerprints differ); name runs on the same data alone, or delete those on the old and run "
                    "them again."
                )
