"""A search on validation data: a method with several values of its options, and which of them validation chooses.

In ``jm1:epoch=20|40,law=uniform|beta`` the bars part values, and every combination is a setting of its own. What is
chosen, setting and epoch together, is what is best on the validation set; the test set is looked at for that alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from longcut.compare import folders
from longcut.errors import UserError
from longcut.evaluate import lower_is_better
from longcut.methods import METHODS, Method
from longcut.numbers import spread
from longcut.record import SEED, Plan
from longcut.runs import Run
from longcut.spec import options_of, parse_method, write

__all__ = ["RULES", "Choice", "alternatives", "choices", "with_record"]

RULES = ("average", "worst_group")  # as JM1-avg, which needs no attribute, and JM1-robust


def alternatives(spec: str) -> list[str]:
    """The settings that a method spec stands for, in the order they are written.

    >>> alternatives("jtt:epoch=1|2,upweight=5|9")
    ['jtt:epoch=1,upweight=5', 'jtt:epoch=1,upweight=9', 'jtt:epoch=2,upweight=5', 'jtt:epoch=2,upweight=9']
    >>> alternatives("erm")
    ['erm']
    """
    head, colon, text = spec.partition(":")
    if not colon or "|" not in text:
        return [spec]
    pieces = [piece.partition("=") for piece in text.split(",")]
    values = [[f"{key}={value}" for value in given.split("|")] for key, _, given in pieces]
    return [f"{head}:{','.join(chosen)}" for chosen in product(*values)]


def with_record(specs: Iterable[str], helper: Plan, out: Path) -> list[str]:
    """Method specs that read the record of a helper, a run of its own, where they would train one each.

    Args:
        specs: of methods; those without an option ``identify``, or that say it, stay as they are.
        helper: the run of any seed; its method must keep a record, as ``erm:record=online`` does.
        out: folder of the runs.

    Raises:
        UserError: when the helper keeps no record.
    """
    if helper.options.get("record", "none") == "none" and helper.method == "erm":
        raise UserError(f"the helper '{helper.label}' keeps no record of whom it gets wrong; write erm:record=online.")
    folder = str(folders([helper], out)[0]).removesuffix(str(helper.seed)) + SEED
    found = []
    for spec in specs:
        name, recipe, given = parse_method(spec)
        takes = name in METHODS and any(one.name == "identify" for one in options_of(METHODS[name].__init__))
        head = f"{name}@{recipe}" if recipe else name
        found.append(write(head, {**given, "identify": folder}) if takes and "identify" not in given else spec)
    return found


@dataclass(frozen=True)
class Choice:
    """What a rule chooses of the settings of one method.

    Attributes:
        rule: the metric of the validation set by which setting and epoch are chosen.
        data, task, method: whose settings.
        label: of the setting.
        settings: how many there were.
        runs: of it, one per seed.
        epochs: chosen, by seed.
        valid: the metric on the validation set, mean and deviation over seeds.
        test: by metric, the same of the test set.
    """

    rule: str
    data: str
    task: str
    method: str
    label: str
    settings: int
    runs: int
    epochs: tuple[int, ...]
    valid: tuple[float | None, float | None]
    test: dict[str, tuple[float | None, float | None]]


def choices(runs: Sequence[Run], rules: Sequence[str] = RULES) -> list[Choice]:
    """Of each method with several settings, what each rule chooses: one setting for all seeds, one epoch for each.

    An epoch is judged as it was while training went on; methods that go on after it (``finish``) are left out, and so
    is a rule that is not defined on the validation set.

    Args:
        runs: finished.
        rules: metrics.
    """
    found: dict[tuple[str, str], dict[str, list[Run]]] = {}
    for run in runs:
        plan = run.record.plan
        if METHODS[plan.method].finish is Method.finish:
            found.setdefault((plan.data, plan.method), {}).setdefault(plan.label, []).append(run)
    chosen = []
    for (data, method), settings in found.items():
        if len(settings) < 2:
            continue
        for rule in rules:
            task = next(iter(settings.values()))[0].record.task
            lower = lower_is_better(rule, task)
            best = [_best(label, some, rule, lower) for label, some in settings.items()]
            known = [one for one in best if one is not None]
            if known:
                label, rows = (min if lower else max)(known, key=lambda one: spread(row[0] for row in one[1])[0] or 0.0)
                test = {name: spread(row[2].get(name) for row in rows) for name in rules}
                epochs = tuple(row[1] for row in rows)
                valid = spread(row[0] for row in rows)
                chosen.append(Choice(rule, data, task, method, label, len(settings), len(rows), epochs, valid, test))
    return chosen


def _best(
    label: str, runs: Sequence[Run], rule: str, lower: bool
) -> tuple[str, list[tuple[float, int, dict[str, Any]]]] | None:
    """Of each run of a setting, its best epoch: value on the validation set, number, and the test set's metrics."""
    rows = []
    for run in runs:
        judged = [row for row in run.history() if row.get("valid", {}).get(rule) is not None and "test" in row]
        if not judged:
            return None
        row = (min if lower else max)(judged, key=lambda one: one["valid"][rule])
        rows.append((row["valid"][rule], row["epoch"], row["test"]))
    return label, rows
