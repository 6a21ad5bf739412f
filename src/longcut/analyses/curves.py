"""Run folders to the numbers of a curve."""

from __future__ import annotations

import dataclasses
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from longcut.datasets import DATASETS, parse
from longcut.errors import UserError, unknown
from longcut.methods import METHODS
from longcut.numbers import spread
from longcut.record import Plan, Record
from longcut.runs import Run, require_one_data
from longcut.scales import scale_of
from longcut.spec import options_of

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["curve", "partner_share", "varied"]

Setting = tuple[str, str]  # what it belongs to ("data", "method" or "run"), and its name


def curve(found: Iterable[Run], over: str) -> pd.DataFrame:
    """Test accuracy, or error, over an option of the data (such as label noise) or of the method (such as pretraining).

    Runs that are alike in all but this option and their seeds make one line. An option that was not given counts with
    its default. Left out are runs that are not finished, whose data and method have no such option, or that are there
    a second time.

    Args:
        found: such as ``map(runs.read, runs.find(["noise"]))``.
        over: name of the option; where data and method both have it, that of the data is meant.

    Returns:
        A row for each line and value of the option, sorted by value within a line: ``method``, ``<over>``, ``runs``
        (how many), and mean and sample standard deviation (``nan`` for a single run) over these of ``average`` (at the
        selected epoch, which is the last unless the runs say otherwise) and ``best_average`` (at the epoch where it is
        highest, picked on the test set): ``average, average_sd, best_average, best_average_sd``. Of a regression:
        ``rmse, rmse_sd, best_rmse, best_rmse_sd``, the root mean squared error and where it is lowest.

    Raises:
        UserError: when no finished run has that option, or the data was changed between two of them.

    Source: Hwang et al., NeurIPS 2022, Figures 3 and 5.
    """
    import pandas as pd

    table = _table(found)
    known = {name for settings, _ in table for owner, name in settings if owner != "run"}
    if over not in known:
        raise unknown("option of these runs", over, known)
    lines = _lines(
        table, next(owner for owner in ("data", "method") if any((owner, over) in s for s, _ in table)), over
    )
    rows = []
    for name, levels in zip(_names(lines), lines, strict=True):
        for level in sorted(levels.runs, key=lambda value: (value is not None, value)):
            records = levels.runs[level]
            scale = scale_of(records[0].task)
            values = {
                scale.mean: [scale.score(record.scores.test, scale.mean) for record in records],
                scale.best: [scale.of_mean(record.best.average) for record in records],
            }
            row = {"method": name, over: level, "runs": len(records)}
            for metric, seeds in values.items():
                row |= dict(zip((metric, f"{metric}_sd"), map(_number, spread(seeds)), strict=True))
            rows.append(row)
    return pd.DataFrame(rows)


def varied(found: Iterable[Run]) -> list[str]:
    """Numeric options over which some of the runs differ and in nothing else: those with a :func:`curve` to show."""
    table = _table(found)
    numeric = {
        setting: None
        for settings, _ in table
        for setting, value in settings.items()
        if setting[0] != "run" and isinstance(value, int | float) and not isinstance(value, bool)
    }
    return [name for owner, name in numeric if any(len(line.runs) > 1 for line in _lines(table, owner, name))]


def partner_share(found: Iterable[Run]) -> pd.DataFrame:
    """How many of the partners that a method chose contradict the shortcut, epoch by epoch.

    Args:
        found: runs; those whose method logs no such share have no rows.

    Returns:
        A row for each run and epoch: ``method`` (its label), ``seed``, ``epoch``, ``share`` of the chosen partners that
        contradict the shortcut (``nan`` where none was found), and ``base``, the share of the training samples that do,
        which is what choosing at random gives (``nan`` in runs that were made before it was kept).
    """
    import pandas as pd

    rows = [
        {
            "method": run.record.label,
            "seed": run.record.plan.seed,
            "epoch": row["epoch"],
            "share": _number(row["conflicting_partners"]),
            "base": _number(run.record.conflicting_share),
        }
        for run in found
        for row in run.history()
        if "conflicting_partners" in row
    ]
    return pd.DataFrame(rows, columns=["method", "seed", "epoch", "share", "base"])


# --- lines ------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class _Line:
    """Runs that differ in one setting and their seeds."""

    label: str
    settings: dict[Setting, Any]  # without that one
    runs: dict[Any, list[Record]]  # records by its value


def _table(found: Iterable[Run]) -> list[tuple[dict[Setting, Any], Record]]:
    """Settings and record of each finished run, each once."""
    table: dict[Any, tuple[dict[Setting, Any], Record]] = {}
    done = [run for run in found if run.done]
    require_one_data(done)
    for run in done:
        plan = run.record.plan
        settings = _settings(plan)
        table.setdefault((frozenset(settings.items()), plan.seed, plan.data_seed), (settings, run.record))
    return list(table.values())


def _settings(plan: Plan) -> dict[Setting, Any]:
    """Everything that decides a run's numbers but the seeds; what was not said has its default."""
    try:
        data, own = parse(plan.data)
        own = _defaults(DATASETS[data].function) | own
    except UserError:  # data of a name that is not known here
        data, own = plan.data, {}
    method = METHODS.get(plan.method)
    options = (_defaults(method.__init__) if method else {}) | dict(plan.options)
    rest = {"method": plan.method, "net": plan.net, "select": plan.select, "data": data, **plan.files}
    rest |= plan.start | dataclasses.asdict(plan.training) | dict(plan.unknown)
    parts = {"data": own, "method": options if method else {}, "run": rest if method else rest | options}
    return {(owner, name): value for owner, part in parts.items() for name, value in part.items()}


def _defaults(function: Callable[..., Any]) -> dict[str, Any]:
    return {option.name: option.default for option in options_of(function)}


def _lines(table: Sequence[tuple[dict[Setting, Any], Record]], owner: str, name: str) -> list[_Line]:
    lines: dict[Any, _Line] = {}
    for settings, record in table:
        if (owner, name) in settings:
            rest = {key: value for key, value in settings.items() if key != (owner, name)}
            head = record.label.partition(":")[0]
            line = lines.setdefault(frozenset(rest.items()), _Line(head, rest, defaultdict(list)))
            line.runs[settings[owner, name]].append(record)
    return list(lines.values())


def _names(lines: Sequence[_Line]) -> list[str]:
    """Each line's label, followed by what sets it apart from others of that label."""
    names = []
    for line in lines:
        rivals = [other.settings for other in lines if other.label == line.label]
        own = {
            name: value
            for (owner, name), value in line.settings.items()
            if any(rival.get((owner, name)) != value for rival in rivals)
        }
        what = ", ".join(f"{name}={value}" for name, value in own.items())
        names.append(f"{line.label} ({what})" if what else line.label)
    return names


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)
