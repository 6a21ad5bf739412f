"""Train what a queue holds, within a time: run by run, and in the end what was done and what is left."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from longcut import runs
from longcut.context import Epoch
from longcut.errors import UserError
from longcut.execute import execute
from longcut.papers.queue import Queue, Task
from longcut.processes import one_thread
from longcut.record import Plan, Record

if TYPE_CHECKING:
    import torch

__all__ = ["Outcome", "work"]

RESERVE = 1.5  # an epoch may take this many times the longest of its run so far


@dataclass(frozen=True)
class Outcome:
    """What became of a queue.

    Attributes:
        done: records of the runs that were finished.
        left: tasks that were not, with what is known of them now.
        failed: of runs that cannot be trained, label and data set, and why.
        why: ``"done"``, ``"time"`` where it was over, ``"asked"`` where somebody asked to stop, or ``"busy"`` where
            others train the rest.
    """

    done: tuple[Record, ...]
    left: tuple[Task, ...]
    failed: tuple[tuple[str, str], ...]
    why: str


class _End(Exception):
    """No more epochs: of this run, or at all."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class _Watch:
    """Counts the epochs of one run, its helpers' too, and ends it where the next might not fit."""

    def __init__(self, task: Task, clock: _Clock, others: Sequence[Task], told: Callable[[Epoch], None]) -> None:
        self.task, self.clock, self.others, self.told = task, clock, others, told
        self.now, self.longest = clock.now(), 0.0
        self.epochs: list[float] = []
        self.resumed = len([*task.folder.glob(runs.HELPER.format("*"))])  # helpers that first say where they were

    def on_helper(self, done: int, total: int) -> None:
        if self.resumed:
            self.resumed -= 1
            return
        self._tick()
        self._look()

    def on_epoch(self, epoch: Epoch) -> None:
        self.epochs.append(self._tick())
        rest = statistics.fmean(self.epochs) * (epoch.epochs - epoch.epoch)
        self.task = replace(self.task, epochs_done=epoch.epoch, seconds=rest)
        self.told(epoch)
        if epoch.epoch == epoch.epochs:  # a last look at the test set follows, which is allowed to finish
            return
        self._look()
        if rest > self.clock.left() and any(self.clock.fits(other) for other in self.others):
            raise _End("aside")

    def _tick(self) -> float:
        before, self.now = self.now, self.clock.now()
        self.longest = max(self.longest, self.now - before)
        return self.now - before

    def _look(self) -> None:
        if self.clock.asked():
            raise _End("asked")
        if RESERVE * self.longest > self.clock.left():
            raise _End("time")


class _Clock:
    """How much time is left, and whether somebody asked to stop."""

    def __init__(self, seconds: float | None, asked: Callable[[], bool]) -> None:
        self.end = None if seconds is None else time.monotonic() + seconds
        self.asked = asked

    def now(self) -> float:
        return time.monotonic()

    def left(self) -> float:
        return float("inf") if self.end is None else self.end - self.now()

    def fits(self, task: Task) -> bool:
        """Whether a run is known to be finished in the time left."""
        return task.seconds is not None and task.seconds <= self.left()

    def first(self, tasks: Sequence[Task]) -> Task:
        """The first that is not known to take longer than that; the first of all where none is left."""
        fitting = (task for task in tasks if self.left() > 0 and (task.seconds is None or self.fits(task)))
        return next(fitting, tasks[0])


def work(
    queue: Queue,
    seconds: float | None = None,
    device: torch.device | str = "cpu",
    progress: Callable[[float, int], None] | None = None,
    asked: Callable[[], bool] = lambda: False,
    on_done: Callable[[Record], None] | None = None,
    on_epoch: Callable[[Plan, Epoch], None] | None = None,
) -> Outcome:
    """Train the tasks of a queue in their order; what would not be finished in the time left comes after what would.

    It ends after a whole epoch, of a run or of its helper, and before an epoch that might not fit; the first epoch of
    all is done in any case. What was begun goes on from there the next time. Several processes may work on the same
    folder: each run has one writer, and a task that another process trains is passed over.

    Args:
        queue: from :func:`longcut.papers.queue`.
        seconds: how long; None: until all is done.
        device: where to compute; on the CPU with one thread, as always.
        progress: called with the number of runs done (a fraction, within one) and of all.
        asked: whether somebody asked to stop: looked at after every epoch.
        on_done: called with the record of each run that was finished.
        on_epoch: called after every epoch of a run.
    """
    clock = _Clock(seconds, asked)
    pending = list(queue.tasks)
    done: list[Record] = []
    failed: list[tuple[str, str]] = []
    busy: list[Task] = []
    begun = False

    def outcome(why: str) -> Outcome:
        left = sorted((*pending, *busy), key=lambda task: task.order)
        return Outcome(tuple(done), tuple(left), tuple(failed), why)

    while pending:
        before = queue.total - len(pending) - len(busy)

        def told(part: float, before: int = before) -> None:
            if progress:
                progress(before + part, queue.total)

        told(0.0)
        if clock.asked():
            return outcome("asked")
        task = clock.first(pending)
        if begun and RESERVE * (_epoch(task) or 0.0) >= clock.left():
            return outcome("time")
        begun = True
        pending.remove(task)

        def on_each(epoch: Epoch, plan: Plan = task.plan, told: Callable[[float], None] = told) -> None:
            told(epoch.epoch / epoch.epochs)
            if on_epoch:
                on_epoch(plan, epoch)

        watch = _Watch(task, clock, pending, on_each)
        try:
            record = _finished(task)
            if record is None:
                with one_thread():
                    record = execute(task.plan, task.folder, watch.on_epoch, device, watch.on_helper)
                done.append(record)
                if on_done:
                    on_done(record)
        except runs.Busy:
            busy.append(task)
        except UserError as error:
            failed.append((f"{task.plan.label} on {task.plan.data}, seed {task.plan.seed}", str(error)))
        except _End as end:
            pending = sorted((*pending, watch.task), key=lambda task: task.order)
            if end.why != "aside":
                return outcome(end.why)
    return outcome("busy" if busy else "done")


def _epoch(task: Task) -> float | None:
    """Seconds for an epoch of a task, where they are known."""
    if task.seconds is None:
        return None
    return task.seconds / (task.plan.training.epochs - task.epochs_done)


def _finished(task: Task) -> Record | None:
    """Its record where another process has finished it meanwhile."""
    record = runs.check(task.folder, task.plan)
    return record if record is not None and record.done else None
