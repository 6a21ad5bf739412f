from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from test_audit_learned import cue_table, judged, view

from longcut import identify
from longcut.audit.base import Finding, View
from longcut.audit.judged import Judged, gap
from longcut.data import Dataset
from longcut.door import Door
from longcut.errors import UserError
from longcut.plans import plan
from longcut.record import Record
from longcut.runs import Run

module = importlib.import_module("longcut.audit.model")
RECORD = Record(1, "done", plan("colored-digits"), "", {})


class Finished(Run):
    """A run that was right here and wrong there."""

    def __init__(self, label: torch.Tensor, correct: np.ndarray) -> None:
        super().__init__(Path("runs/one"), RECORD, Door(Path("runs/one"), ""))
        said = torch.where(torch.from_numpy(np.asarray(correct, bool)), label, 1 - label)
        self.__dict__["said"] = {"outputs": torch.nn.functional.one_hot(said, 2).float(), "label": label}

    def predictions(self) -> dict[str, Any]:
        return self.__dict__["said"]


def found(monkeypatch, against: np.ndarray, correct: np.ndarray, debiased: Any = True) -> tuple[Finding, Judged]:
    """Test samples on these sides, and audited ones of which a tenth contradicts, with a debiased model's answers."""
    n = len(against)
    label = np.arange(n) % 2
    sides = judged(label, np.where(against, 1 - label, label), np.linspace(0.5, 0.9, n))
    told: list[Any] = []
    monkeypatch.setattr(module, "see", lambda *args: told.append(args) or sides)
    audited = judged(np.arange(100) % 2, np.where(np.arange(100) < 10, 1, 0) ^ (np.arange(100) % 2), debiased=debiased)
    audited = cast(Any, audited).__class__(**{**vars_of(audited), "stopped": 40})
    shown, test = view(audited.label), view(label).data
    finding = module.model(shown, audited, Finished(test.label, correct), test)
    assert told == [(shown, test, 40, "")]
    return finding, sides


def vars_of(models: Judged) -> dict[str, Any]:
    return {name: getattr(models, name) for name in Judged.__dataclass_fields__}


def test_cost_by_hand(monkeypatch):
    against = np.arange(300) < 100
    correct = np.arange(300) % 10 < np.where(against, 3, 9)
    finding, sides = found(monkeypatch, against, correct)
    assert finding.statistic == pytest.approx(gap(correct, sides)[0])
    assert finding.baseline == 0
    assert finding.interval[0] < finding.statistic < finding.interval[1]
    assert finding.verdict == "alarm"
    assert finding.table == (
        {"easy cue": "agrees", "samples": 200, "accuracy": pytest.approx(0.9)},
        {"easy cue": "contradicts", "samples": 100, "accuracy": pytest.approx(0.3)},
    )
    assert "erm is right on 90% of the 200 test samples that agree" in finding.sentence
    assert "on 30% of the 100 that contradict it" in finding.sentence
    assert finding.question == "What does it cost erm?"


def test_a_cost_that_the_debiased_model_shares_is_a_notice(monkeypatch):
    against = np.arange(300) < 100
    correct = np.arange(300) % 10 < np.where(against, 3, 9)
    finding, _ = found(monkeypatch, against, correct, debiased=np.arange(100) >= 9)  # it has one of ten right
    assert finding.baseline == pytest.approx(0.9)
    assert finding.verdict == "notice"


def test_no_cost_is_clear(monkeypatch):
    finding, _ = found(monkeypatch, np.arange(300) < 100, np.arange(300) % 10 < 9)
    assert finding.verdict == "clear"
    assert finding.statistic == pytest.approx(0, abs=0.05)


@pytest.mark.parametrize("against", [True, False])
def test_an_empty_side_is_said_and_not_counted(against: bool, monkeypatch):
    finding, _ = found(monkeypatch, np.full(60, against), np.ones(60, bool))
    assert finding.statistic == 0
    assert finding.verdict == "clear"
    assert finding.table[0 if against else 1]["accuracy"] is None
    assert "none of the 0" in finding.sentence


def test_a_run_on_other_data_is_refused():
    models, audited = judged([0, 1], [0, 1]), view([0, 1])
    test = Dataset.of(torch.zeros(4, 1), [0, 1, 1, 0])
    for label in (torch.tensor([0, 1, 1]), torch.tensor([0, 1, 0, 1])):  # another size, other samples
        with pytest.raises(UserError, match=r"the run in runs.one was made with other data"):
            module.model(audited, models, Finished(label, np.ones(len(label))), test)
    renamed = Dataset.of(torch.zeros(4, 1), [0, 1, 1, 0], class_names=("cat", "dog"))
    with pytest.raises(UserError, match="was made with other data; name a run on the data that is audited"):
        module.model(audited, models, Finished(test.label, np.ones(4)), renamed)


def test_with_a_real_biased_model():
    """A run that follows the cue loses what the cue gives it, and one that knows the label loses nothing."""
    data, against = cue_table(700, 0.9)
    train, test = data.take(torch.arange(450)), data.take(torch.arange(450, 700))
    audited = Judged(**{**vars_of(judged(train.label.numpy(), train.label.numpy())), "stopped": 40})
    answers = (~against[450:], np.ones(250))
    cost = [module.model(View(train, None), audited, Finished(test.label, correct), test) for correct in answers]
    assert [finding.verdict for finding in cost] == ["alarm", "clear"]
    assert cost[0].statistic > 0.7


def test_a_record_of_the_run_is_told_for_both_sides(tmp_path):
    n = 8
    audited = judged(np.arange(n) % 2, np.where(np.arange(n) < 2, 1, 0) ^ (np.arange(n) % 2))
    assert audited.suspected.sum() == 2, "the first two"
    shown = view(audited.label)
    correct = torch.full((4, shown.data.info.n_stored), torch.nan, dtype=torch.float16)
    correct[:, :6] = torch.tensor(
        [[0, 1, 1, 1, 1, 0], [0, 1, 1, 1, 1, 1], [0, 0, 1, 1, 1, 1], [1, 0, 1, 1, 1, 1]]
    ).half()
    about = {"index": torch.arange(correct.shape[1]), "label": torch.zeros(correct.shape[1], dtype=torch.int64)}
    save_file({"correct": correct, **about}, tmp_path / identify.NAME)
    assert module._while_training(shown, audited, Run(tmp_path, RECORD, Door(tmp_path, ""))) == (
        pytest.approx(1 / 16),
        pytest.approx(5 / 8),
    )
    assert module._while_training(shown, audited, Run(tmp_path / "none", RECORD, Door(tmp_path / "none", ""))) is None
