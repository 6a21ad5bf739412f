"""The regression benchmark goes on where it was, and gives every row the same number of trials."""

from __future__ import annotations

import json
from typing import Any

import pytest
from helpers import script


@pytest.fixture
def benchmark(tmp_path, monkeypatch) -> Any:
    module = script("regression", monkeypatch)
    monkeypatch.setattr(module, "FILE", tmp_path / "regression.json")
    return module


def scores(valid: float, test: float) -> dict[str, Any]:
    of = {"rmse": 0.0, "mape": 0.0, "worst_group_rmse": 0.0}
    return {"valid": {**of, "rmse": valid}, "test": {**of, "rmse": test}, "epoch": 1, "cpu_seconds": 0.0}


def test_a_killed_benchmark_goes_on_where_it_was(benchmark, monkeypatch):
    made: list[int] = []

    def run(data: str, method: str, seed: int, settings: Any) -> dict[str, Any]:
        if len(made) == 3:
            raise KeyboardInterrupt
        made.append(seed)
        return scores(1.0, 2.0)

    monkeypatch.setattr(benchmark, "made", run)
    with pytest.raises(KeyboardInterrupt):
        list(benchmark.legacy(benchmark.Ledger(benchmark.FILE, benchmark.made), "no2", 2, None))
    assert len(json.loads(benchmark.FILE.read_text())) == 3
    made.clear()
    lines = list(benchmark.legacy(benchmark.Ledger(benchmark.FILE, benchmark.made), "no2", 2, None))
    assert len(made) == 3, "three of six were known"
    assert lines[0].startswith("| no2 | erm | 0.537 | 2 ± 0 | – | 100 epochs, 2 seeds |")


def test_every_row_has_the_same_trials_and_the_best_on_validation_is_run(benchmark, monkeypatch):
    tried: dict[tuple[str, str], int] = {}

    def run(data: str, method: str, seed: int, settings: Any) -> dict[str, Any]:
        if seed >= 100:
            loops = {name for loop in benchmark.LOOPS[data] for name in loop} | {"every"}
            own = str({name: value for name, value in settings.items() if name not in loops})
            tried[method, own] = tried.get((method, own), 0) + 1
        best = settings["lr"] == 0.01
        return scores(0.5 if best else 1.0, 0.1 * (seed % 10) + (0 if best else 9))

    monkeypatch.setattr(benchmark, "made", run)
    lines = list(benchmark.clean(benchmark.Ledger(benchmark.FILE, benchmark.made), "no2", 3))
    assert len(lines) == len(benchmark.ROWS) == 6
    assert set(tried.values()) == {len(benchmark.LOOPS["no2"]) * 2}
    assert len(tried) == 2 * len(benchmark.ROWS)
    some = list(benchmark.clean(benchmark.Ledger(benchmark.FILE, benchmark.made), "no2", 3, ["mixup"]))
    assert [line.split(" | ")[1] for line in some] == ["erm", "mixup"]
    assert all("lr=0.01" in line and "| 0.1 ± 0.1 |" in line for line in lines)


def test_paired_tests_and_spreads(benchmark):
    assert benchmark._p([1.0, 2.0, 3.0], [0.0, 1.0, 2.0]) == "–", "no spread"
    assert benchmark._p([1.0, 2.0, 4.0], [0.0, 1.5, 2.0]) == f"{0.1181:.2g}"
    assert benchmark.spread([1.0, 3.0]) == "2 ± 1.4"


def test_a_run_says_how_well_it_did(benchmark, monkeypatch):
    import torch

    from longcut.data import Dataset, Splits, generator

    x = torch.randn(60, 3, generator=generator(0))
    data = Dataset.of(x, 5 + x[:, 0])
    monkeypatch.setattr(benchmark, "load", lambda spec, seed: Splits(data, data, data))
    settings = {"net": "linear", "epochs": 3, "batch": 20, "lr": 0.1, "pool": 1, "sigma": 0.5, "every": 1}
    found = benchmark.made("toy", "c-mixup", 0, settings)
    assert 0 < found["effective_partners"] < 1
    assert found["test"]["rmse"] == found["valid"]["rmse"] > 0
