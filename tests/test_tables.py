from __future__ import annotations

import math
from dataclasses import replace

import pytest

from longcut.evaluate import Scores
from longcut.plans import plan
from longcut.record import Best, Judged, Record
from longcut.tables import remarks, table


def record(label: str, seed: int, average: float, conflicting: float = 0.5) -> Record:
    values = {"average": average, "aligned": 1.0, "conflicting": conflicting, "worst_group": 0.0, "train_weighted": 0.9}
    judged, best = Judged(Scores(values, {}, [], 10)), Best(1, average + 0.1)
    planned = plan("colored-digits", "erm", seed=seed, label=label)
    return Record(1, "done", planned, "f", {}, 1, 1.0, 7, "classification", judged, best)


def test_the_table_has_mean_and_deviation_over_seeds():
    rows = table([record("a", 0, 0.2), record("b", 0, 0.7), record("a", 1, 0.4), record("a", 2, 0.9)])
    a, b = rows
    assert (a["label"], a["runs"], a["data"], a["selection"], a["task"]) == (
        "a",
        3,
        "colored-digits",
        "last",
        "classification",
    )
    # mean of 2, 4, 9 is 5; squared deviations 9 + 1 + 16 = 26, over n - 1 = 2
    assert a["average"] == pytest.approx((0.5, math.sqrt(0.13)))
    assert a["best_average"] == pytest.approx((0.6, math.sqrt(0.13)))
    assert a["aligned"] == (1.0, 0.0)
    assert (b["runs"], b["average"]) == (1, (0.7, None)), "one run has no spread"


def test_what_is_not_defined_stays_so_in_the_table():
    (row,) = table([record("a", 0, 0.2), record("a", 1, 0.2, conflicting=math.nan)])
    assert row["conflicting"] == (None, None)


def test_a_remark_is_said_once_with_the_seeds_that_say_it_unless_all_do():
    said = {("a", 0): ("x", "y"), ("b", 0): (), ("a", 1): ("x",), ("b", 1): ("x",), ("a", 2): ("x", "y")}
    records = [replace(record(label, seed, 0.2), remarks=own) for (label, seed), own in said.items()]
    assert remarks((one.label, one) for one in records) == [("a", "x"), ("a, seed 0, 2", "y"), ("b, seed 1", "x")]
    assert remarks([("a", record("a", 0, 0.2))]) == []
