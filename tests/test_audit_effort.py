from __future__ import annotations

import dataclasses
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from test_audit_learned import judged

from longcut.audit import CHECKS, Finding, View, audit, crossfit, effort
from longcut.audit import whole as module
from longcut.audit.judged import Judged
from longcut.audit.whole import _usual
from longcut.data import Dataset


def table(n: int, side: int = 3) -> View:
    return View(Dataset.of(torch.rand(n, side), np.arange(n) % 2), None)


def test_the_work_of_the_ordinary_models_by_hand(monkeypatch: pytest.MonkeyPatch):
    """640 samples: minibatches of 40, 12 updates of the 480 in three folds, 600 updates are 50 epochs, four models."""
    now = iter([5.0, 8.0])  # twelve updates took three seconds
    monkeypatch.setattr(crossfit, "time", SimpleNamespace(perf_counter=lambda: next(now)))
    shown, before = table(640), torch.get_rng_state()
    assert crossfit.workload(shown, "mlp:hidden=4") == pytest.approx(3 / 12 * 12 * 50 * 4)
    assert torch.equal(torch.get_rng_state(), before)


def test_what_is_said_of_time_and_memory(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(effort, "workload", lambda view, net, folds: 10.0 * folds)
    said = effort.effort(table(1000), "auto", 2)
    assert said.seconds == pytest.approx(5.5 + 5 * 20)
    assert said.memory == pytest.approx(700e6 + 1000 * 3 * 4 + 24 * 1000 * 2)
    images = Dataset.of(torch.zeros(100, 3, 4, 4), np.arange(100) % 2)
    some = effort.effort(View(images.take(torch.arange(25)), None), "conv")
    assert some.seconds == pytest.approx(5.5 + 3 * 40)
    assert some.memory == pytest.approx(700e6 + 125 * 3 * 16 * 4 + 24 * 25 * 2 + 300e6)  # 25 of the 100 are copied


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    """What happens in an audit, in order, none of whose models are trained."""
    events: list[tuple[str, Any]] = []

    def judge(view: View, net: str, progress: Any, folds: int, keep: Any) -> Judged:
        events.append(("judge", (len(view.label), folds)))
        keep("some", lambda: {"x": np.zeros(1)})
        return judged(view.label, view.label, classes=len(view.classes))

    monkeypatch.setattr(module, "judge", judge)
    for name, check in list(CHECKS.own.items()):

        def noted(view: View, said: Judged | None, found: Any, name: str = name) -> Finding:
            events.append((name, said is None))
            return Finding(name, "?", 0.5, "share", 0.1, (0.4, 0.6), 0.01, "clear", "So it is.", ())

        monkeypatch.setitem(CHECKS.own, name, dataclasses.replace(check, function=noted))
    return events


def test_checks_that_ask_no_model_end_first_and_are_told(told: list[tuple[str, Any]]):
    ended: list[str] = []
    found = audit(table(40).data, ended=lambda finding: ended.append(finding.name))
    assert ended == ["columns", "words"]
    assert told[:3] == [("columns", True), ("words", True), ("judge", (40, 4))]
    assert [name for name, _ in told[3:]] == ["learned", "cues", "known", "order", "noise", "slices"]
    assert [finding.name for finding in found.findings] == list(CHECKS)
    assert found.preface == ""


def test_of_numbers_every_check_asks_the_models(told: list[tuple[str, Any]]):
    numbers = Dataset.of(torch.rand(40, 3), torch.arange(40.0))
    ended: list[Finding] = []
    audit(numbers, ended=ended.append)
    assert ended == []
    assert told[0][0] == "judge"
    assert not any(without for _, without in told[1:])


def test_a_quick_audit_says_what_it_left_out(told: list[tuple[str, Any]]):
    found = audit(table(6000).data, quick=True)
    assert ("judge", (5000, 2)) in told
    assert found.preface == (
        "quick: 5,000 of 6,000 samples were looked at, by models of 2 folds in place of 4; a full audit finds more."
    )
    fewer = audit(table(6000).data, quick=True, limit=300)
    assert fewer.preface.startswith("quick: 300 of 6,000 samples")
    assert audit(table(40).data, quick=True).preface.startswith("quick: all 40 samples")


def test_a_full_audit_of_a_sample_says_so(told: list[tuple[str, Any]]):
    found = audit(table(6000).data, limit=300)
    assert found.preface == "300 of 6,000 samples were looked at, every class in proportion (--limit)."


def test_the_effort_is_told_before_any_model_is_trained(told: list[tuple[str, Any]], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "effort", lambda view, net, folds: told.append(("effort", folds)))
    audit(table(40).data, foreseen=lambda _: None)
    assert told[0] == ("effort", 4)
    told.clear()
    audit(table(40).data)
    assert "effort" not in dict(told)  # nobody asked, nothing is measured


def test_what_a_quick_audit_kept_is_not_taken_by_a_full_one(told: list[tuple[str, Any]], tmp_path):
    data = table(40).data
    for quick, files in ((False, 1), (True, 2), (True, 2), (False, 2)):
        audit(data, quick=quick, folder=tmp_path)
        assert len(list(tmp_path.rglob("some-*.safetensors"))) == files


@pytest.mark.parametrize(
    ("n", "batch", "epochs"), [(1000, 62, 46), (12_000, 64, 4), (20_000, 100, 4), (40_000, 200, 4)]
)
def test_of_much_data_there_are_no_more_updates(n: int, batch: int, epochs: int):
    model = crossfit.build("erm", table(8).data.info, net="linear")
    training = crossfit._training(model, n, n - n // 4)
    assert (training.batch, training.epochs) == (batch, epochs)
    assert 560 <= epochs * math.ceil((n - n // 4) / batch) <= 640


def test_larger_pictures_are_seen_smaller():
    sides = {side: _usual(dataclasses.replace(table(8).data.info, shape=(3, side, side))) for side in (28, 40, 72)}
    assert [spec.partition("side=")[2] for spec in sides.values()] == ["40", "40", "32"]
    assert _usual(table(8).data.info) == "auto"
