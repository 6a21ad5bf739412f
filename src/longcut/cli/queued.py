"""What ``longcut reproduce`` prints and does where a queue of runs is worked on for some hours."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from longcut.cli import show
from longcut.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from longcut.papers import Outcome, Queue, Task
    from longcut.record import Record

WHY = {
    "done": "all is done",
    "time": "the time is over",
    "asked": "stopped",
    "busy": "other processes train the rest",
}


def work_on(
    names: Sequence[str],
    only: Sequence[str],
    seeds: int | None,
    settings: Mapping[str, Any],
    out: Path,
    hours: float | None,
    known: Sequence[Path],
    plan: bool,
    device: Any,
    as_json: bool,
) -> None:
    """Print what is left and train it, or print it alone."""
    from longcut.papers import known_in, queue, work
    from longcut.processes import asked_to_stop

    elsewhere = [one for file in known for one in known_in(file)]
    with show.bar("data sets") as told:
        gpu = str(device).startswith("cuda")
        found = queue(names, only, seeds, settings, out=out, known=elsewhere, gpu=gpu, told=told)
    if plan:
        return print_json_plan(found) if as_json else print_plan(found)
    if not found.tasks and found.left_out:
        raise UserError(f"nothing of it can be trained here: {next(iter(found.left_out))}")
    if not as_json:
        say_left_out(found)
        show.warn(said(found))
    asking = "stopping after this epoch; press again to stop at once"
    with asked_to_stop(lambda: show.warn(asking)) as asked, show.bar("runs") as progress:
        seconds = None if hours is None else 3600 * hours
        outcome = work(found, seconds, device, progress, asked, None if as_json else say_done)
    if as_json:
        return show.print_json({**_plain(outcome), "left_out": found.left_out})
    print_outcome(outcome)


def said(found: Queue) -> str:
    """How much is left, in a sentence."""
    unknown = sum(task.seconds is None for task in found.tasks)
    have = f"{found.done} of {found.total} runs are done"
    if unknown and unknown == len(found.tasks):
        return f"{have}; how long the others take is not known yet"
    more = f", and {unknown} of which nothing is known yet" if unknown else ""
    return f"{have}; the others take about {show.duration(found.seconds)}{more}"


def say_left_out(found: Queue) -> None:
    """What cannot be trained here, and why."""
    for why, where in found.left_out.items():
        show.warn(f"left out: {', '.join(where)}: {why}")


def say_done(record: Record) -> None:
    """A run that was finished."""
    one = record.plan
    average = record.scores.test.values["average"]
    took = show.duration(record.seconds)
    show.warn(f"{one.label} on {one.data}, seed {one.seed}: average {100 * average:.2f} % ({took})")


def print_plan(found: Queue) -> None:
    """The cells with runs that are left, in the order of their first."""
    shown = show.table("row", "data", "seeds", "epochs", "", "time")
    for column in shown.columns[:2]:
        column.overflow = "fold"
    for tasks in _cells(found.tasks):
        first = tasks[0]
        state = f"from {first.epochs_done}" if first.epochs_done else "rising" if first.rising else ""
        seconds = [task.seconds for task in tasks if task.seconds is not None]
        shown.add_row(
            first.plan.label,
            first.plan.data,
            ", ".join(str(task.plan.seed) for task in tasks),
            str(first.plan.training.epochs),
            state,
            show.duration(sum(seconds)) if seconds else "unknown",
        )
    show.show(shown)
    show.say(f"{said(found)}.")
    show.say(
        "The time is that of all its seeds, of which the first of all rows come before the second of any. Rising is "
        "what was stopped before while it still rose."
    )
    for why, where in found.left_out.items():
        show.say(f"Left out: {', '.join(where)}: {why.rstrip('.')}.")


def _cells(tasks: Sequence[Task]) -> list[list[Task]]:
    """Tasks of one row and data set together."""
    found: dict[tuple[str, str], list[Task]] = {}
    for task in tasks:
        found.setdefault((task.plan.label, task.plan.data), []).append(task)
    return [sorted(some, key=lambda task: task.plan.seed) for some in found.values()]


def print_json_plan(found: Queue) -> None:
    """The same for programs, run by run."""
    tasks = [_task(task) for task in found.tasks]
    show.print_json({"done": found.done, "seconds": found.seconds, "tasks": tasks, "left_out": found.left_out})


def print_outcome(outcome: Outcome) -> None:
    """What was done, and what is left."""
    for what, why in outcome.failed:
        show.say(f"{what} cannot be trained: {why}")
    left = sum(task.seconds or 0.0 for task in outcome.left)
    more = "" if not outcome.left else f"; {len(outcome.left)} are left, about {show.duration(left)}"
    show.say(f"{len(outcome.done)} runs were finished, {WHY[outcome.why]}{more}.")
    if outcome.left:
        show.say("The same command goes on. Tables are printed by longcut reproduce PAPER/TABLE with the same --out.")


def _task(task: Task) -> dict[str, Any]:
    one = task.plan
    about = {"label": one.label, "data": one.data, "method": one.method, "seed": one.seed}
    own = {key: value for key, value in asdict(task).items() if key != "plan"}
    return about | {"epochs": one.training.epochs} | own


def _plain(outcome: Outcome) -> dict[str, Any]:
    done = [{"label": r.label, "data": r.plan.data, "seed": r.plan.seed, "seconds": r.seconds} for r in outcome.done]
    return {"why": outcome.why, "done": done, "left": [_task(task) for task in outcome.left], "failed": outcome.failed}
