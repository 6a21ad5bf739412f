"""``benchmarks/speed.py`` on a machine without data."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import script

from longcut.datasets import colored_mnist


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a benchmark does not download")

    monkeypatch.setenv("LONGCUT_DATA", str(tmp_path))
    monkeypatch.setattr(colored_mnist, "urlopen", refuse)
    return script("speed", monkeypatch)


def test_every_row_is_measured_without_data(benchmark: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any):
    step = benchmark.auxiliary_step
    monkeypatch.setattr(benchmark, "auxiliary_step", lambda spec, data, n: step("tiny:width=2", data, 4))
    monkeypatch.setattr(benchmark, "NETS", {"mlp": "mlp", "resnet18": "conv:width=2"})
    monkeypatch.setattr(benchmark, "EPOCHS", 3)
    benchmark.main(["--samples", "64", "--pairs", "1", "--json"])
    captured = capsys.readouterr()
    ratios = json.loads(captured.out)["ratios"]
    assert len(ratios) == 10 + 2 * 12
    assert all(0 < row["min"] <= row["median"] <= row["max"] for row in ratios.values())
    searches = [row["max"] for name, row in ratios.items() if name.startswith("partner search over 64 samples")]
    assert len(searches) == 2
    assert max(searches) < 1, "a part of the whole"
    assert [line[:56].rstrip() for line in captured.err.splitlines()] == list(ratios)


def test_a_row_is_printed_before_the_next_is_measured(benchmark: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any):
    def rows(samples: int, pairs: int) -> Iterator[tuple[str, dict[str, float]]]:
        assert (samples, pairs) == (55_000, 7)
        yield "one", {"median": 1.5, "min": 1.0, "max": 2.0}
        assert capsys.readouterr().out.split() == ["one", "1.50", "(1.00", "to", "2.00)"]
        raise KeyboardInterrupt

    monkeypatch.setattr(benchmark, "rows", rows)
    with pytest.raises(KeyboardInterrupt):
        benchmark.main([])


def test_the_patterns_stand_in_for_colored_mnist(benchmark: Any):
    data = benchmark.colored_mnist(4000)
    assert data.train.x.shape[1:] == (3, 28, 28)
    assert data.train.x.dtype == torch.uint8
    assert (len(data.train), len(data.test)) == (4000, 256)
    assert int(data.train.conflicting.sum()) == 20, "0.5 %, as in the data it stands for"
    assert torch.bincount(data.train.label).min() > 300
