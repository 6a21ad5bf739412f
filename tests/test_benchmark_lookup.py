"""The benchmark of look-ups: what it judges, what it hides, and which way of filling it counts as advised."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers import script
from test_lookup import shortcut


@pytest.fixture
def benchmark(tmp_path, monkeypatch) -> Any:
    module = script("lookup", monkeypatch)
    monkeypatch.setattr(module, "FILE", tmp_path / "lookup.json")
    return module


def toy(benchmark: Any) -> Any:
    parts = [
        benchmark.Part(*shortcut(n, against, seed))
        for seed, (n, against) in enumerate([(400, 0.1), (200, 0.5), (400, 0.5)])
    ]
    return benchmark.Data("adult", *parts, 2, 2)


def test_the_worst_group_is_a_cell_or_of_many_classes_those_that_conflict(benchmark):
    x = np.array([[1.0], [1.0], [-1.0], [-1.0]], np.float32)
    part = benchmark.Part(x, np.array([1, 0, 0, 0]), np.array([1, 1, 0, 0]))
    layer = np.array([[-1.0, 0], [1.0, 0]])  # says 1 where x is above 0: wrong in row 1 alone
    two = benchmark.Data("toy", part, part, part, 2, 2)
    assert two.worst(layer, part) == 0
    many = benchmark.Data("toy", part, part, part, 10, 10)
    assert many.worst(np.vstack([layer, np.full((8, 2), -9.0)]), part) == 0
    fine = benchmark.Part(x, np.array([1, 1, 0, 0]), np.array([1, 0, 0, 1]))
    assert two.worst(layer, fine) == 1


def test_rows_know_what_they_are_told_and_more_is_better(benchmark, monkeypatch):
    monkeypatch.setattr(benchmark, "made_data", lambda name, seed: toy(benchmark))
    settings = {"strength": 2000, "budgets": (40,)}
    nothing = benchmark.made("adult", "nothing", 0, settings)["0"]["usual"]["test"]
    everything = benchmark.made("adult", "everything", 0, settings)["all"]["usual"]["test"]
    assert everything > nothing + 0.1
    for row in benchmark.ROWS:
        cell = benchmark.made("adult", row, 0, settings)["40"]
        assert {*cell} >= {"usual", "spread", "share", "counter", "usual_values"} and cell["usual_values"] == [0, 1]
        assert (row == "suspicion") == ("gain" in cell)
    suspicion, lot = (benchmark.made("adult", row, 0, settings)["40"] for row in ("suspicion", "random"))
    assert suspicion["counter"] > 2 * lot["counter"]


def test_forty_of_the_validation_set_are_judged_by_the_rest(benchmark):
    data = toy(benchmark)
    assert set(benchmark.told(data, 0, 2000)) == {"valid", "test"}
    assert benchmark.told(data, 0, 2000) == benchmark.told(data, 0, 2000) != benchmark.told(data, 1, 2000)


def test_what_is_advised_hangs_on_those_drawn_by_lot(benchmark):
    cell = {"usual": {"test": 0.1}, "spread": {"test": 0.2}}
    runs = [{"100": {**cell, "share": share}} for share in (0.0, 0.15, 0.2, float("nan"))]
    assert benchmark.values_of(runs, "100", "advised") == [10, 10, 20, 10]
    assert benchmark.values_of(runs, "100", "spread") == [20] * 4


def test_the_figure_and_the_table_are_made(benchmark, tmp_path):
    def run(value: float) -> dict[str, Any]:
        cell = {"usual": {"test": value}, "spread": {"test": value / 2}, "share": 0.0}
        return {str(budget): cell for budget in benchmark.BUDGETS}

    ends = {"nothing": [{"0": {"usual": {"test": 0.5}}}] * 2, "everything": [{"all": {"usual": {"test": 0.9}}}] * 2}
    found = {"waterbirds": {**ends, "random": [run(0.6), run(0.8)]}}
    lines = benchmark.table(found)
    assert any(line.startswith("| waterbirds | random | usual | 70.0 ± 14.1 |") for line in lines)
    assert any(line.startswith("| waterbirds | nothing known | | 50.0 ± 0.0 |") for line in lines)
    benchmark.draw(found, tmp_path / "figure.svg")
    assert "</svg>" in (tmp_path / "figure.svg").read_text()
