"""What is known of finished runs without opening their folders."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from longcut.errors import UserError
from longcut.record import Record

__all__ = ["Known", "bias_of", "known_in", "merged"]

KEYS = ("label", "dataset", "method", "seed", "epochs", "best_epoch", "seconds")
RISING = 0.9  # a run whose best epoch comes after this share of its epochs was still rising


class Known(NamedTuple):
    """A finished run.

    Attributes:
        label, data, method, seed, epochs: as in its plan.
        best_epoch: on the test set.
        seconds: of its epochs.
        values: metrics of its test set, by name.
        folder: where its predictions are, if they are.
    """

    label: str
    data: str
    method: str
    seed: int
    epochs: int
    best_epoch: int
    seconds: float
    values: Mapping[str, float | None] = {}
    folder: Path | None = None

    @property
    def rising(self) -> bool:
        """Whether it was best near its end."""
        return self.best_epoch > RISING * self.epochs

    @classmethod
    def of(cls, record: Record, folder: Path | None = None) -> Known:
        """Of a record."""
        plan, scores = record.plan, record.scores
        whose = plan.label, plan.data, plan.method, plan.seed, plan.training.epochs
        values: dict[str, float | None] = dict(scores.test.values)
        if scores.valid is not None:
            values |= {f"valid {name}": value for name, value in scores.valid.values.items()}
        for name, value in (record.identification or {}).items():
            values[f"identification {name}"] = value
        values["bias"] = bias_of(record.bias)
        return cls(*whose, record.best.epoch, record.seconds, values, folder)


def bias_of(found: Mapping[str, float | None] | None) -> float | None:
    """How well a biased model tells the attribute: by its head where it has one, else by a probe.

    >>> bias_of({"probe": 0.9, "head": None})
    0.9
    """
    known = ((found or {}).get(by) for by in ("head", "probe"))
    return next((value for value in known if value is not None and value == value), None)


def merged(*sources: Iterable[Known]) -> list[Known]:
    """Runs of several sources, each once; of the same run in two, the later one's."""
    found: dict[tuple[str, str, int, int], Known] = {}
    for one in (one for source in sources for one in source):
        found[one.label, one.data, one.seed, one.epochs] = one
    return list(found.values())


def known_in(file: Path | str) -> list[Known]:
    """The runs in a file such as ``results/runs.json``, or one of the benchmarks' that keep every run.

    The first is a list of objects with ``label, dataset, method, seed, epochs, best_epoch, seconds`` and numbers by
    the names of metrics. The second is an object of runs, by the JSON of data, method, seed and settings.

    Raises:
        UserError: when it is neither.
    """
    try:
        content = json.loads(Path(file).read_text("utf-8"))
        if isinstance(content, dict):
            return [_of_ledger(key, run) for key, run in content.items()]
        return [_of_line(line) for line in content]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{file} cannot be read as a list of runs ({type(error).__name__}: {error}); "
            "give a file as results/make.py writes it."
        ) from error


def _of_line(line: Mapping[str, Any]) -> Known:
    label, data, method, seed, epochs, best, seconds = (line[key] for key in KEYS)
    values: dict[str, float | None] = {name: line[name] for name in line if isinstance(line[name], float)}
    values |= {f"identification {name}": value for name, value in (line.get("identification") or {}).items()}
    return Known(label, data, method, seed, epochs, best, seconds, {**values, "bias": bias_of(line.get("bias"))})


def _of_ledger(key: str, run: Mapping[str, Any]) -> Known:
    data, method, seed, settings = json.loads(key)
    epochs = settings.get("epochs", 0)
    values: dict[str, float | None] = {name: value for name, value in run["test"].items() if isinstance(value, float)}
    if "accuracy" in values:
        values["average"] = values["accuracy"]
    return Known(method, data, method, seed, epochs, run.get("epoch", epochs), run.get("cpu_seconds", 0.0), values)
