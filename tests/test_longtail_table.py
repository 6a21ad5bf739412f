"""The table of the benchmark on the long tail, by hand."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

FILE = Path(__file__).parents[1] / "benchmarks" / "longtail.py"


def test_the_table_has_means_over_seeds_the_best_first():
    spec = importlib.util.spec_from_file_location("longtail", FILE)
    assert spec is not None and spec.loader is not None
    longtail: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(longtail)

    def run(row: str, factor: int, seed: int, head: float, tail: float, on: str = "test") -> dict[str, Any]:
        return {"row": row, "factor": factor, "seed": seed, "on": on, "accuracy": [head] * 7 + [tail] * 3}

    runs = [
        run("ERM", 50, 0, 0.5, 0.1),
        run("ERM", 50, 1, 0.7, 0.3),
        run("ERM", 100, 0, 0.4, 0.0),
        run("CMO", 50, 0, 0.8, 0.6),
        run("CMO", 100, 0, 0.8, 0.6),
        run("CMO", 100, 1, 0.0, 0.0, on="valid"),
    ]
    assert longtail.table(runs, "test").splitlines()[2:] == [
        "| CMO | 74.0 | 60.0 | 1 | 74.0 | 60.0 | 1 |",
        "| ERM | 48.0 ± 14.1 | 20.0 ± 14.1 | 2 | 28.0 | 0.0 | 1 |",
    ]
