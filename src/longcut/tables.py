"""Finished runs in one line each, and in a table over seeds."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from longcut.numbers import spread
from longcut.record import Record

__all__ = ["COLUMNS", "summary", "table"]

COLUMNS = {
    "average": "accuracy on the test set, of the selected epoch",
    "best_average": "accuracy on the test set, of the epoch where it is highest; an oracle picks it",
    "aligned": "accuracy where the sample agrees with the shortcut",
    "conflicting": "accuracy where the sample contradicts the shortcut",
    "worst_group": "accuracy of the worst group, a (label, attribute) cell, or a class without an attribute",
    "train_weighted": "mean of the groups' accuracies, weighted by their share of the training set (adjusted average)",
}


def summary(record: Record) -> dict[str, Any]:
    """One line of ``summary.json``; accuracies are fractions, and ``nan`` where they are not defined."""
    plan, values = record.plan, record.scores.test.values
    return {
        "method": plan.method,
        "options": plan.options,
        "dataset": plan.data,
        "seed": plan.seed,
        "epochs": plan.training.epochs,
        "seconds": record.seconds,
        "selection": plan.select,
        **{name: values[name] for name in ("average", "aligned", "conflicting", "worst_group", "train_weighted")},
        "best_average": record.best.average,
    }


def table(records: Iterable[Record]) -> list[dict[str, Any]]:
    """Mean and standard deviation over seeds, for each data set, label and selection rule.

    Returns:
        Rows with ``data``, ``label``, ``selection``, ``task``, ``runs`` (how many) and, for each of ``COLUMNS``, a
        pair as :func:`longcut.numbers.spread` gives it.
    """
    import pandas as pd

    lines = [summary(one) | {"data": one.plan.data, "label": one.label, "task": one.task} for one in records]
    keys = ["data", "label", "selection", "task"]
    groups = pd.DataFrame(lines, columns=[*keys, *COLUMNS]).groupby(keys, sort=False)
    rows = groups[list(COLUMNS)].agg(spread)
    rows.insert(0, "runs", groups.size())
    return rows.reset_index().to_dict("records")
