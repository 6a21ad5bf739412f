"""The tables of ``results/``, from files whose answer is known."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest


def cell(method: str, cue: str, metric: str, worst: float, conflicting: float, average: float, gain: Any = None) -> Any:
    told = None if gain is None else {"metric": metric, "value": gain, "low": gain - 0.01, "high": gain + 0.01}
    scores = {"worst_group": worst, "conflicting": conflicting, "average": average}
    return {"method": method, "cue": cue, "runs": 5, **scores, "gain": told}


def test_the_zoo_tells_where_selecmix_gains_and_where_it_loses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "results")
    measured = importlib.import_module("measured")
    monkeypatch.setattr(measured, "HERE", tmp_path)
    (tmp_path / "zoo").mkdir()
    cells = [
        cell("erm", "frame, easy", "conflicting", 0.10, 0.20, 0.30),
        cell("erm", "jpeg, easy", "conflicting", 0.40, 0.50, 0.60),
        cell("erm", "none", "average", 0.90, 0.95, 0.95),
        cell("selecmix", "frame, easy", "conflicting", 0.20, 0.25, 0.345, 0.05),
        cell("selecmix", "jpeg, easy", "conflicting", 0.38, 0.54, 0.595, 0.04),
        cell("selecmix", "none", "average", 0.90, 0.93, 0.93, -0.02),
    ]
    stored = {"cues": ["frame, easy", "jpeg, easy", "none"], "cells": cells}
    (tmp_path / "zoo" / "toy.json").write_text(json.dumps(stored))
    *lines, empty, told = measured.zoo_table(data="toy")
    assert lines[2] == "| frame, easy | 10.0 · 20.0 · 30.0 | 20.0 · 25.0 · 34.5 | +5.0 (+4.0 to +6.0) |"
    assert (len(lines), empty) == (5, "")
    assert told == (
        "5 seeds. At least 5 points above in conflicting accuracy: 1 of 2 cues. "
        "More than a point below in worst group: jpeg, easy (-2.0); in average: none (-2.0)."
    )


def test_the_table_of_nets_has_a_column_for_each_net_and_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "results")
    measured = importlib.import_module("measured")
    monkeypatch.setattr(measured, "HERE", tmp_path)
    runs = [
        ("erm", "wide", "none", 0.05, 80.0),
        ("erm", "wide", "none", 0.005, 40.0),
        ("erm", "wide", "none", 0.05, 82.0),
    ]
    runs += [("ours", "narrow", "none", 0.005, 70.0), ("ours", "wide", "affine", 0.01, 90.0)]
    keys = ("row", "net", "augment", "ratio", "average")
    (tmp_path / "nets.json").write_text(json.dumps([dict(zip(keys, run, strict=True)) for run in runs]))
    assert measured.nets_table(augmented=True) == ["| method | `wide`: 1% |", "|---|---|", "| ours | 90.0 |"]
    assert measured.nets_table(augmented=False) == [
        "| method | `wide`: 0.5% | 5% | `narrow`: 0.5% |",
        "|---|---|---|---|",
        "| erm | 40.0 | 81.0 ± 1.4 |  |",
        "| ours |  |  | 70.0 |",
    ]
