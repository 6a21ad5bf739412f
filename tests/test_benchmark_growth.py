"""``benchmarks/growth.py``: points in processes of their own, what they tell, and that memory is what it says."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

BESIDE = Path(__file__).parent.parent


@pytest.fixture
def growth(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(BESIDE / "benchmarks")
    pytest.importorskip("resource", reason="forks, and reads /proc")
    return importlib.import_module("growth")


SIZES = {"rows": 600, "classes": 4, "groups": 2, "features": 3}


def test_the_data_are_what_they_are_said_to_be_and_stay_in_their_file(growth: Any, tmp_path: Path):
    growth.written(tmp_path, SIZES)
    data = importlib.import_module("growth_points").opened(tmp_path)
    assert data.x.shape == (600, 3) and data.info.n_classes == 4 and data.info.n_attributes == 2
    assert torch.bincount(data.label).tolist() == [150] * 4
    assert 0 < data.conflicting.float().mean() < 0.1, "5 % draw another value, half of them the same"
    assert data.attribute is not None
    cue = data.x[:, -1] - torch.stack([data.x[data.label == c, -1].mean() for c in range(4)])[data.label]
    assert cue.std() > 1.5, "noise"
    before = data.x[0].clone()
    data.x[0] += 1  # copy on write: the file does not change
    assert torch.equal(torch.from_numpy(np.load(tmp_path / "x.npy"))[0], before)


def test_a_point_tells_seconds_and_the_memory_that_is_its_own(growth: Any, tmp_path: Path, monkeypatch: Any):
    points = importlib.import_module("growth_points")
    growth.written(tmp_path, SIZES)
    monkeypatch.setitem(points.WORKS, "holds", lambda data: np.ones(40_000_000))  # 320 MB
    monkeypatch.setitem(points.WORKS, "maps", lambda data: np.load(tmp_path / "large.npy", mmap_mode="r").sum())
    np.save(tmp_path / "large.npy", np.ones(40_000_000))
    nothing, holds, maps = (points.apart(points.measured, name, tmp_path) for name in ("opened", "holds", "maps"))
    assert holds["own"] - nothing["own"] > 2.4e8 and holds["peak"] >= holds["own"] > 0
    assert maps["own"] - nothing["own"] < 8e7, "pages of a file are not its own"
    assert maps["peak"] - nothing["peak"] > 2.4e8
    assert 0 <= nothing["seconds"] < holds["seconds"] < 30


def test_a_point_that_fails_says_why(growth: Any, tmp_path: Path, monkeypatch: Any):
    points = importlib.import_module("growth_points")

    def fails() -> dict[str, Any]:
        raise MemoryError("too large")

    assert points.apart(fails) == {"why": "MemoryError: too large"}
    assert points.apart(lambda: __import__("os")._exit(9)) == {"why": "ended with 9"}


def test_the_small_run_writes_points_and_a_figure_and_goes_on_where_it_was(growth: Any, tmp_path: Path, capsys: Any):
    file, picture = tmp_path / "growth.json", tmp_path / "growth.svg"
    given = ["--small", "--out", str(file), "--figure", str(picture)]
    growth.main(given)
    runs = json.loads(file.read_text())
    assert len(runs) == 4 and all(run["seconds"] > 0 and run["own"] > 5e7 for run in runs.values())
    assert picture.read_text().count("<svg") == 1
    assert len(capsys.readouterr().out.splitlines()) == 4
    growth.main(given)
    assert not capsys.readouterr().out, "all points are known"
    with pytest.raises(SystemExit):
        growth.main(["--small"])


def test_the_table_has_the_slope_of_the_last_two_points(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.syspath_prepend(BESIDE / "results")
    measured = importlib.import_module("measured")
    assert measured.exponent([10, 100, 1000], [5.0, 1.0, 10.0]) == pytest.approx(1)
    runs = {json.dumps(["rows", "lff", n, SIZES]): {"seconds": n / 100, "own": 10**6 + 50 * n} for n in (100, 1000)}
    runs[json.dumps(["rows", "lff", 10_000, SIZES])] = {"why": "MemoryError"}
    (tmp_path / "growth.json").write_text(json.dumps(runs))
    monkeypatch.setattr(measured, "HERE", tmp_path)
    assert measured.growth_table()[-1] == "| rows | two epochs of `lff` | 100, 1,000 | 1, 10 | 1.00 | 1, 1 | 50 |"
