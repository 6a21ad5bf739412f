"""All runs that tables and figures ask for, in the order of what they add: what is done, what is left, and how long.

A table gains most by the first run of a cell that has none. So runs come by the number of finished seeds of their cell;
among equals first those of cells that were stopped while they still rose, then the cheapest.
"""

from __future__ import annotations

import math
import statistics
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from longcut import datasets, runs
from longcut.errors import UserError
from longcut.papers.cells import Cell, cells
from longcut.papers.known import Known
from longcut.papers.run import folder_of, require_weights
from longcut.recipes import EVERY, contents, recipes
from longcut.recipes.rows import usable
from longcut.record import Plan, Record

__all__ = ["Queue", "Task", "queue"]

GPU = "needs a GPU with the published settings"


@dataclass(frozen=True)
class Task:
    """A run of the queue.

    Attributes:
        plan: what to train.
        folder: its run folder.
        recipes: tables and figures it stands in.
        finished: seeds of its cell that are finished before this one is.
        rising: whether its cell has runs that were stopped while they still rose.
        epochs_done: of this run.
        seconds: that it will still take, about; None where nothing like it was ever trained.
    """

    plan: Plan
    folder: Path
    recipes: tuple[str, ...]
    finished: int
    rising: bool
    epochs_done: int
    seconds: float | None

    @property
    def order(self) -> tuple[int, bool, float]:
        """What comes first: fewest finished seeds, still rising, cheapest."""
        return self.finished, not self.rising, math.inf if self.seconds is None else self.seconds


@dataclass(frozen=True)
class Queue:
    """What is left of tables and figures.

    Attributes:
        tasks: what is left, the first first.
        done: number of runs that are finished.
        left_out: why, and the cells that cannot be trained here, as ``"recipe: data set"``.
    """

    tasks: tuple[Task, ...]
    done: int
    left_out: Mapping[str, tuple[str, ...]]

    @property
    def total(self) -> int:
        """All runs, finished and not."""
        return self.done + len(self.tasks)

    @property
    def seconds(self) -> float:
        """What is left of those whose time is known, in all."""
        return sum(task.seconds or 0.0 for task in self.tasks)


def queue(
    names: Sequence[str],
    only: Sequence[str] = (),
    seeds: int | None = None,
    settings: Mapping[str, Any] | None = None,
    *,
    out: Path | str = "runs/reproduce",
    known: Sequence[Known] = (),
    gpu: bool = False,
    told: Callable[[float, int, str], None] | None = None,
) -> Queue:
    """What is left to train of tables and figures; nothing is trained.

    Args:
        names: recipes, or ``["all"]``.
        only, seeds, settings: see :func:`longcut.papers.cells`; of all recipes, those that have what is named.
        out: folder of the runs.
        known: runs that were made elsewhere; whole ones are not made again.
        gpu: whether one trains. Without, what needs one is left out; with, the times that ``known`` has do not count.
        told: progress of looking at the data sets.

    Raises:
        UserError: for an unknown recipe or name, or two different runs with one folder.
    """
    out = Path(out)
    wanted = list(_cells(names, only, seeds, settings))
    left_out: dict[str, dict[str, None]] = {}

    def leave(why: str, recipe: str, cell: Cell) -> None:
        left_out.setdefault(why, {})[f"{recipe}: {cell.data}"] = None

    plans: dict[Path, Plan] = {}
    used: dict[Path, dict[str, None]] = {}
    records: dict[Path, Record | None] = {}
    missing = _missing({one.data for _, cell in wanted for one in _runs(cell)}, told) if wanted else {}
    for recipe, cell in wanted:
        for one in _runs(cell):
            folder = folder_of(out, one)
            if plans.get(folder, one) != one:
                raise UserError(f"two different runs would be called {folder.name}; give them different labels.")
            why = _not_here(one, recipe, cell, missing, gpu)
            if not why and folder not in records:
                try:
                    records[folder] = runs.check(folder, one)
                except UserError as error:
                    why = str(error)
            if why:
                leave(why, recipe, cell)
                continue
            plans[folder] = one
            used.setdefault(folder, {})[recipe] = None
    finished = {folder for folder, record in records.items() if record is not None and record.done}
    own = [Known.of(record) for record in records.values() if record is not None and record.done]
    whole = {(line.label, line.data, line.seed): line.epochs for line in known}
    for folder, one in plans.items():
        if whole.get((one.label, one.data, one.seed), 0) >= one.training.epochs:
            finished.add(folder)
    costs, rising = _costs(own, () if gpu else known), {(one.label, one.data) for one in known if one.rising}
    counts: dict[tuple[str, str], int] = {}
    for folder in finished & plans.keys():
        key = plans[folder].label, plans[folder].data
        counts[key] = counts.get(key, 0) + 1
    tasks = []
    for folder, one in sorted(plans.items(), key=lambda item: item[1].seed):
        if folder in finished:
            continue
        key = one.label, one.data
        epochs, seconds = _rest(folder, one, records[folder], costs)
        tasks.append(Task(one, folder, tuple(used[folder]), counts.get(key, 0), key in rising, epochs, seconds))
        counts[key] = counts.get(key, 0) + 1
    return Queue(
        tuple(sorted(tasks, key=lambda task: task.order)),
        len(finished & plans.keys()),
        {why: tuple(where) for why, where in left_out.items()},
    )


def _runs(cell: Cell) -> tuple[Plan, ...]:
    return *cell.plans, *cell.against


def _cells(
    names: Sequence[str], only: Sequence[str], seeds: int | None, settings: Mapping[str, Any] | None
) -> Iterator[tuple[str, Cell]]:
    """The cells of recipes. Of all recipes, one that lacks a name that another has is left out."""
    if EVERY not in names:
        for name in names:
            yield from ((name, cell) for cell in cells(name, only, seeds, settings))
        return
    usable(EVERY, only)
    found = []
    refused: UserError | None = None
    for name in recipes():
        try:
            found += [(name, cell) for cell in cells(name, only, seeds, settings)]
        except UserError as error:
            refused = error
    if refused and not found:
        raise refused
    yield from found


def _missing(specs: Iterable[str], told: Callable[[float, int, str], None] | None) -> dict[str, str]:
    """The data sets that cannot be made here, and why; where images are decoded, they are there."""

    class Found(Exception):
        pass

    def found(*_: object) -> None:
        raise Found

    wrong: dict[str, str] = {}
    every = sorted(specs)
    for number, spec in enumerate(every):
        if told:
            told(number, len(every), "data sets looked at")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # whoever trains on it is told
            try:
                datasets.load(spec, 0, found)
            except Found:
                continue
            except UserError as error:
                wrong[spec] = str(error)
    return wrong


def _not_here(one: Plan, recipe: str, cell: Cell, missing: Mapping[str, str], gpu: bool) -> str:
    """Why a run cannot be made here; empty where it can."""
    if one.data in missing:
        return missing[one.data]
    if not gpu and cell.data in contents()[recipe.partition("/")[0]].get("gpu", ()):
        return GPU
    try:
        require_weights([one])
    except UserError:
        return "starts from pretrained weights; say where they are, --set weights=FILE"
    return ""


# --- how long ---------------------------------------------------------------------------------------------------------


def _costs(own: Sequence[Known], known: Sequence[Known]) -> list[dict[tuple[str, ...], float]]:
    """Seconds for an epoch, in tables from the most like a run to the least: by its row, its method and its data."""
    tables: list[dict[tuple[str, ...], float]] = []
    for keys in (_row, _method, _family, _data):
        for lines in (own, known):
            found: dict[tuple[str, ...], list[float]] = {}
            for line in lines:
                found.setdefault(keys(line.label, line.method, line.data), []).append(line.seconds / line.epochs)
            tables.append({key: statistics.median(values) for key, values in found.items()})
    return tables


def _row(label: str, method: str, data: str) -> tuple[str, ...]:
    return "row", label, data


def _method(label: str, method: str, data: str) -> tuple[str, ...]:
    return "method", method, data


def _family(label: str, method: str, data: str) -> tuple[str, ...]:
    return "family", method, data.partition(":")[0]


def _data(label: str, method: str, data: str) -> tuple[str, ...]:
    return "data", data.partition(":")[0]


def _rest(
    folder: Path, one: Plan, record: Record | None, costs: Sequence[Mapping[tuple[str, ...], float]]
) -> tuple[int, float | None]:
    """The epochs that are done of a run, and the seconds that are left."""
    history = [] if record is None else runs.read(folder).history()
    epochs = one.training.epochs
    if history:
        return len(history), statistics.fmean(row["seconds"] for row in history) * (epochs - len(history))
    keys = {key[0]: key for key in (keys(one.label, one.method, one.data) for keys in (_row, _method, _family, _data))}
    for table in costs:
        for key in keys.values():
            if key in table:
                return 0, table[key] * epochs
    return 0, None
