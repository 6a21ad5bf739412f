"""Finished runs in one line each, and in a table over seeds."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from longcut.datasets import metrics_of, title_of
from longcut.notebook import shown
from longcut.numbers import spread, with_spread
from longcut.record import Record
from longcut.scales import scale_of

if TYPE_CHECKING:
    from longcut.stored import Run

__all__ = ["Records", "listed", "remarks", "summary", "table"]

KEPT = ("average", "aligned", "conflicting", "worst_group", "train_weighted")  # whatever the task


class Records(list[Record]):
    """Records of runs, in any number; in a notebook, the table of means over seeds."""

    def _repr_html_(self) -> str:
        rows = []
        for line in table(self):
            scale = scale_of(line["task"])
            columns = {title: line[name] for name, (title, _) in scale.columns.items()}
            scores = {title: with_spread(pair[0], pair[1], scale.write) for title, pair in columns.items()}
            rows.append({"data": title_of(line["data"]), "method": line["label"], "runs": line["runs"]} | scores)
        names = list(dict.fromkeys(name for row in rows for name in row))
        defined = [name for name in names if any(row.get(name, "–") != "–" for row in rows)]
        rows = [{name: row.get(name, "–") for name in defined} for row in rows]
        units = dict.fromkeys(f"{scale_of(one.task).caption}, mean ± standard deviation over seeds." for one in self)
        return shown(f"{len(self)} run{'' if len(self) == 1 else 's'}", rows, notes=units)


def listed(run: Run) -> dict[str, Any]:
    """What a list of runs says of one: ``method, seed, data, state``, and its two scores as they are written.

    Raises:
        Damaged: when its history cannot be read.
    """
    record, plan = run.record, run.record.plan
    about = {"method": record.label, "seed": plan.seed, "data": title_of(plan.data)}
    if not run.done:
        state = f"epoch {len(run.history())} of {plan.training.epochs}"
        return about | {"state": state, "average": "–", "worst_group": "–"}
    scale = scale_of(record.task)
    scores = {"average": scale.mean, "worst_group": scale.judged[0]}
    return about | {"state": "done"} | {k: scale.write(scale.score(record.scores.test, v)) for k, v in scores.items()}


def summary(record: Record) -> dict[str, Any]:
    """One line of ``summary.json``; accuracies are fractions, and ``nan`` where they are not defined.

    Of a regression, ``average`` and the like are mean squared errors; its line also has the errors in the units of the
    target, and R².
    """
    plan, values = record.plan, record.scores.test.values
    return {
        "method": plan.method,
        "options": plan.options,
        "dataset": plan.data,
        "seed": plan.seed,
        "epochs": plan.training.epochs,
        "seconds": record.seconds,
        "selection": plan.select,
        **{name: values[name] for name in KEPT},
        "best_average": record.best.average,
        **_shown(record),
    }


def _shown(record: Record) -> dict[str, float]:
    """The columns of the table."""
    scale, asked = scale_of(record.task), metrics_of(record.plan.data)
    names = (name for name in scale.columns if name not in scale.asked or name in asked)
    scores = {name: scale.score(record.scores.test, name) for name in names}
    return scores | {scale.best: scale.of_mean(record.best.average)}


def table(records: Iterable[Record]) -> list[dict[str, Any]]:
    """Mean and standard deviation over seeds, for each data set, label and selection rule.

    Returns:
        Rows with ``data``, ``label``, ``selection``, ``task``, ``runs`` (how many) and, for each column of the task's
        :class:`~longcut.scales.Scale`, a pair as :func:`longcut.numbers.spread` gives it.
    """
    keys = ("data", "label", "selection", "task")
    groups: dict[tuple[str, ...], list[dict[str, float]]] = {}
    for one in records:
        groups.setdefault((one.plan.data, one.label, one.plan.select, one.task), []).append(_shown(one))
    return [
        dict(zip(keys, key, strict=True))
        | {"runs": len(lines)}
        | {name: spread(line.get(name) for line in lines) for name in scale_of(key[-1]).columns}
        for key, lines in groups.items()
    ]


def remarks(named: Iterable[tuple[str, Record]]) -> list[tuple[str, str]]:
    """What the methods of some runs say of them: who, and what, each once.

    Args:
        named: runs, and what each is called; runs of several seeds have one name.

    Returns:
        Pairs of the name, with the seeds that say it unless all of that name do, and the remark.
    """
    runs: dict[str, list[int]] = {}
    said: dict[str, dict[str, list[int]]] = {}
    for name, record in named:
        runs.setdefault(name, []).append(record.plan.seed)
        for remark in record.remarks:
            said.setdefault(name, {}).setdefault(remark, []).append(record.plan.seed)
    return [
        (name if len(seeds) == len(runs[name]) else f"{name}, seed {', '.join(map(str, seeds))}", remark)
        for name, own in said.items()
        for remark, seeds in own.items()
    ]
