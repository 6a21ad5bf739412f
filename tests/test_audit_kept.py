"""An audit that was killed goes on where it was, and ends with the same bits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_audit_whole import cue_table
from test_cli import in_an_empty_folder, printed_json

from longcut.audit import audit
from longcut.audit import crossfit as module
from longcut.audit.kept import FOLDER, forget, in_folder, nowhere

__all__ = ["in_an_empty_folder"]


def test_what_is_kept_is_not_made_again(tmp_path: Path):
    made = []

    def make() -> dict[str, Any]:
        made.append(1)
        return {"a": np.arange(3) * len(made)}

    keep = in_folder(tmp_path, "data", 1)
    assert keep("x", make)["a"].tolist() == keep("x", make)["a"].tolist() == [0, 1, 2]
    assert in_folder(tmp_path, "data", 2)("x", make)["a"].tolist() == [0, 2, 4], "another key"
    for damaged in tmp_path.glob(f"{FOLDER}/x-*"):
        damaged.write_bytes(damaged.read_bytes()[:-1])
    assert keep("x", make)["a"].tolist() == [0, 3, 6], "damaged ones are made again"
    assert nowhere("x", make)["a"].tolist() == [0, 4, 8]
    forget(tmp_path)
    forget(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("stopped", [0, 6])
def test_a_killed_audit_goes_on(stopped: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    data, _ = cue_table(200, 0.9)
    whole = audit(data).judged
    trained, own = [], module.fit

    def fit(*args: Any, **options: Any) -> Any:
        trained.append(1)
        if len(trained) == stopped + 1:
            raise KeyboardInterrupt
        return own(*args, **options)

    monkeypatch.setattr(module, "fit", fit)
    with pytest.raises(KeyboardInterrupt):
        audit(data, folder=tmp_path)
    trained[:] = [0] * 100  # no more interruptions
    told = []
    again = audit(data, folder=tmp_path, progress=lambda done, total: told.append((done, total))).judged
    for name in ("easy", "profile", "ordinary", "debiased", "hits"):
        assert np.array_equal(getattr(whole, name), getattr(again, name)), name
    assert (whole.updates, whole.stopped, whole.member) == (again.updates, again.stopped, again.member)
    models = len(trained) - 100
    assert models + stopped == (8 if whole.member else 12)
    assert told[-1][0] == told[-1][1] == 12
    trained[:] = [0] * 100
    audit(data, folder=tmp_path)
    assert len(trained) == 100, "all are known"


def test_a_finished_audit_keeps_no_models():
    record = printed_json("audit", "colored-digits:ratio=0.05", "--limit", "200", "--net", "mlp:hidden=8", "--out", "a")
    assert record["n"] <= 200
    assert sorted(path.name for path in Path("a").iterdir()) == [
        "atlas.safetensors", "audit.json", "gallery.safetensors", "judged.safetensors", "report.html", "suspects.csv"
    ]  # fmt: skip
    assert json.loads(Path("a/audit.json").read_text("utf-8"))["checksums"].keys() >= {"suspects.csv"}
