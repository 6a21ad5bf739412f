"""The benchmark of partial attributes on a small table."""

from __future__ import annotations

from helpers import script
from test_spread import table

from longcut import Splits, Training


def test_its_rows(monkeypatch):
    benchmark = script("partial", monkeypatch)
    monkeypatch.setattr(benchmark, "HOW", Training(epochs=1, batch=64))
    splits = Splits(table(240, 0), table(120, 1), table(120, 2))
    some = benchmark.forgotten(splits, 60, 3)
    assert int(some.train.known.sum()) == 60
    assert some.info.partial
    assert (some.train.attribute == splits.train.attribute)[some.train.known].all()
    assert not benchmark.forgotten(splits, 240, 0).info.partial
    rows = list(benchmark.known(splits, [60], 2))
    assert [row.split(" | ")[0] for row in rows][1:4] == [
        "| 60 · resample · none",
        "| 60 · resample · spread",
        "| 60 · reweight · none",
    ]
    assert len(rows) == 1 + 6 + 1 + 3
    assert len(list(benchmark.held(splits, 1))) == len(benchmark.HELD)


def test_a_line_has_mean_and_deviation(monkeypatch):
    benchmark = script("partial", monkeypatch)
    assert benchmark.line("a", [(1.0, 2.0), (3.0, 4.0)]) == "| a | 2.0 ± 1.4 | 3.0 |"
    assert benchmark.line("a", [(1.0, 2.0)]) == "| a | 1.0 | 2.0 |"
