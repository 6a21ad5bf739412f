"""``benchmarks/features.py`` on digits: what it trains, and that it goes on where it was stopped."""

from __future__ import annotations

import json
from types import ModuleType

import numpy as np
import pytest
from helpers import script


@pytest.fixture
def features(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return script("features", monkeypatch)


def of(module: ModuleType, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr("sys.argv", ["features.py", *arguments])
    module.main()


def test_a_row_for_each_method_that_can_and_what_it_is_told(features):
    table, image = features.rows("table"), features.rows("image")
    assert ("nothing", "erm", {}) in table and ("validation", "dfr", features.DFR) in table
    assert ("all", "resample", {"by": "group"}) in table and ("nothing", "resample", {}) in table
    assert {"cutmix", "saliencymix"} <= {name for _, name, _ in image} - {name for _, name, _ in table}
    assert [told for told, *_ in table] == sorted((t for t, *_ in table), key=["nothing", "validation", "all"].index)


def test_nothing_is_trained_twice_or_mixed_with_another_net(features, monkeypatch, tmp_path, capsys):
    out = tmp_path / "found.json"
    asked = ["colored-digits", str(out), "--net", "linear", "--epochs", "1", "--only", "erm,group-dro", "--seeds"]
    of(features, monkeypatch, *asked, "1")
    first = json.loads(out.read_text("utf-8"))
    assert [json.loads(key)[:2] for key in first] == [["nothing", "erm"], ["all", "group-dro"]]
    assert all(0 <= found["last"]["worst_group"] <= found["last"]["train_weighted"] <= 1 for found in first.values())
    out.write_text(json.dumps({key: found | {"kept": True} for key, found in first.items()}), "utf-8")
    of(features, monkeypatch, *asked, "2")
    both = json.loads(out.read_text("utf-8"))
    assert len(both) == 4 and sum("kept" in found for found in both.values()) == 2, "the first seed is not done again"
    assert "| nothing | erm |" in capsys.readouterr().out

    for wrong, said in ((["--net", "mlp"], "holds runs of"), (["--only", "erm,nope"], "--only nope: no such method")):
        with pytest.raises(SystemExit):
            of(features, monkeypatch, *asked, "2", *wrong)
        assert said in capsys.readouterr().err
    assert json.loads(out.read_text("utf-8")) == both


def test_a_file_of_features_is_read(features, monkeypatch, tmp_path):
    rng = np.random.default_rng(0)
    label = np.arange(120) % 2
    x = rng.normal(size=(120, 3)) + 6 * label[:, None] - 3
    split = np.repeat([0, 1, 2], 40)
    np.savez(tmp_path / "x.npz", x=x.astype(np.float32), label=label, attribute=rng.integers(0, 2, 120), split=split)
    asked = [str(tmp_path / "x.npz"), str(tmp_path / "2.json"), "--only", "erm", "--seeds", "1"]
    of(features, monkeypatch, *asked, "--net", "mlp", "--epochs", "60")
    (found,) = json.loads((tmp_path / "2.json").read_text("utf-8")).values()
    assert found["last"]["train_weighted"] > 0.9
