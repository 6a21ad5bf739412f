"""The benchmark of cues: when something counts as learned, of what, and how it is shown."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from helpers import script

from longcut.cues import CUES
from longcut.data import Dataset, Splits, generator


@pytest.fixture
def cues(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return script("cues", monkeypatch)


def rows_of(label: torch.Tensor, scale: float) -> Dataset:
    x = scale * torch.nn.functional.one_hot(label, 2).float() + torch.randn(len(label), 2, generator=generator(2))
    return Dataset.of(x, label, name="rows", n_classes=2)


def test_what_is_plain_is_learned_soon_and_what_is_not_there_never(cues: ModuleType):
    label = torch.arange(400) % 2
    plain, faint, none = (Splits(rows_of(label, s), None, rows_of(label, s)) for s in (6.0, 2.0, 0.0))
    (soon, accuracy), (later, _) = (cues.updates(data, "mlp:hidden=32", 300) for data in (plain, faint))
    assert soon is not None
    assert later is not None
    assert soon <= later
    assert accuracy >= 0.75
    assert cues.updates(none, "mlp:hidden=32", 40) == (None, pytest.approx(0.5, abs=0.15))


def test_accuracy_is_balanced(cues: ModuleType):
    data = rows_of(torch.tensor([0] * 90 + [1] * 10), 0.0)
    assert cues.balanced(lambda x: torch.tensor([[1.0, 0.0]]).expand(len(x), 2), data) == 0.5


def test_the_value_is_learned_and_says_nothing_of_the_label(cues: ModuleType):
    splits = Splits(*(rows_of(torch.arange(400) % 2, 1.0) for _ in range(3)))
    made = cues.of_value(splits, "column", "easy")
    assert made.train.label.view(200, 2).sum(0).tolist() == [100, 100]  # half of each class has either value
    assert torch.equal(made.train.label, (made.train.x[:, 2] > 0).long())


def test_rows_are_kept_and_shown(
    cues: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    measured = []

    def measure(splits: Splits, name: str, cue: str, strength: str, cap: int) -> dict[str, object]:
        measured.append((cue, strength))
        found = None if strength == "hard" else 50 if not cue else 25
        amount = CUES[cue].amounts[strength] if cue else None
        return {"data": name, "cue": cue, "strength": strength, "amount": amount, "updates": found, "cap": cap,
                "accuracy": 0.5}  # fmt: skip

    monkeypatch.setattr(cues, "measure", measure)
    monkeypatch.setattr(sys, "argv", ["cues.py", str(tmp_path / "out.json"), "--data", "digits", "--cues", "patch"])
    cues.main()
    assert "| `patch` | 0.50 / 0.50 / > 6.00 |" in capsys.readouterr().out
    rows = json.loads((tmp_path / "out.json").read_text())
    assert [row.get("ratio") for row in rows] == [None, 0.5, 0.5, None]
    cues.main()
    assert len(measured) == 4, "what the file holds was measured again"
