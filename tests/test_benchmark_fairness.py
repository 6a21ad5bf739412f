"""The fairness benchmark goes on where it was, chooses on validation, and corrects p for splits that overlap."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import torch
from helpers import script

from longcut.data import Dataset, Splits, generator


@pytest.fixture
def benchmark(tmp_path, monkeypatch) -> Any:
    module = script("fairness", monkeypatch)
    monkeypatch.setattr(module, "FILE", tmp_path / "fairness.json")
    return module


NAMES = ("accuracy", "equalized_odds_sum", "equalized_odds_max", "equalized_odds_mean")


def found(valid: tuple[float, float], test: tuple[float, float]) -> dict[str, Any]:
    parts = {part: dict(zip(NAMES, (*of, 0.0, 0.0), strict=True)) for part, of in (("valid", valid), ("test", test))}
    return {**parts, "hardt": parts, "scores": parts, "threshold": parts, "cpu_seconds": 1.0}


def test_a_killed_benchmark_goes_on_where_it_was(benchmark, monkeypatch):
    made: list[int] = []

    def run(data: str, method: str, seed: int, settings: Any) -> dict[str, Any]:
        if len(made) == 3:
            raise KeyboardInterrupt
        made.append(seed)
        return found((0.8, 0.1), (0.8, 0.1))

    monkeypatch.setattr(benchmark, "made", run)
    with pytest.raises(KeyboardInterrupt):
        benchmark.collected(benchmark.Ledger(benchmark.FILE, benchmark.made), "compas", ["erm"], 5)
    assert len(json.loads(benchmark.FILE.read_text())) == 3
    made.clear()
    every = benchmark.collected(benchmark.Ledger(benchmark.FILE, benchmark.made), "compas", ["erm"], 5)
    assert made == [3, 4]
    assert {*every} == {"erm", "erm, hardt", "erm, scores", "erm, threshold"}


def test_a_setting_is_chosen_on_validation_alone(benchmark):
    baseline = [found((0.80, 0.30), (0.8, 0.3))]
    settings = [
        ({"weight": 1}, [found((0.80, 0.20), (0.8, 0.01))]),
        ({"weight": 2}, [found((0.79, 0.10), (0.5, 0.50))]),
        ({"weight": 3}, [found((0.77, 0.01), (0.9, 0.01))]),  # loses too much
    ]
    assert benchmark.chosen("hsic", settings, baseline)[0] == {"weight": 2}
    assert benchmark.chosen("lff", settings, baseline)[0] == {"weight": 1}
    assert benchmark.chosen("hsic", settings[2:], baseline)[0] == {"weight": 3}
    every = {"erm": [({}, baseline)], "hsic": settings}
    erm, hsic = benchmark.table("compas", every)
    assert erm.startswith("| compas | erm | 80.0 | 30.0 |") and "65.2 / 28.9" in erm
    assert "| -30.0 (p = nan) | +20.0 (p = nan) |" in hsic and "weight=2" in hsic


def test_p_is_that_of_the_corrected_test(benchmark):
    from scipy.stats import t, ttest_1samp

    values = [0.01, 0.03, -0.01, 0.02, 0.04]
    plain: Any = ttest_1samp(values, 0)
    assert benchmark.corrected_p(values, ratio=0) == pytest.approx(plain.pvalue)
    shrunk = plain.statistic * math.sqrt((1 / 5) / (1 / 5 + 15 / 70))
    assert benchmark.corrected_p(values) == pytest.approx(2 * t.sf(shrunk, 4))
    assert math.isnan(benchmark.corrected_p([0.1])) and math.isnan(benchmark.corrected_p([0.1, 0.1]))


def people(seed: int) -> Splits:
    g = generator(seed)

    def part(n: int) -> Dataset:
        label, attribute = torch.randint(2, (2, n), generator=g)
        x = torch.randn(n, 3, generator=g) + torch.stack([label, attribute, label * attribute], 1)
        return Dataset.of(x, label, attribute, name="people", aligned=(0, 1))

    return Splits(part(200), part(100), part(100))


@pytest.mark.parametrize("row", ["erm", "laftr", "exponentiated gradient"])
def test_a_row_is_made_and_drawn(benchmark, monkeypatch, tmp_path, row):
    monkeypatch.setattr(benchmark, "load", lambda data, seed: people(seed))
    monkeypatch.setattr(benchmark, "LOOP", {**benchmark.LOOP, "net": "mlp:hidden=8", "epochs": 1})
    method, variants = benchmark.ROWS[row]
    short = {"iterations": 2} if method == "reduction" else {"epochs": 1}
    monkeypatch.setitem(benchmark.ROWS, row, (method, [{**variants[0], **short}]))
    monkeypatch.setattr(benchmark, "ROWS", {name: benchmark.ROWS[name] for name in ("erm", row)})
    every = benchmark.collected(benchmark.Ledger(benchmark.FILE, benchmark.made), "compas", [*benchmark.ROWS], 2)
    for settings in every.values():
        for _, runs in settings:
            assert all(0 <= run["test"]["accuracy"] <= 1 for run in runs)
    assert len(list(benchmark.table("compas", every))) == len(every)
    benchmark.draw({"compas": every}, tmp_path / "frontier.svg")
    assert (tmp_path / "frontier.svg").stat().st_size > 5000
