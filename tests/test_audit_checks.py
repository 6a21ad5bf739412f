"""What every check of the table keeps to, and a check that another file adds."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import binom
from test_audit_learned import RNG, judged
from test_audit_whole import some_data, stubs
from test_report import Page

from longcut import registry
from longcut.audit import CHECKS, Check, Finding, View, audit, folder
from longcut.audit import whole as module
from longcut.audit.base import Verdict
from longcut.audit.judged import Judged
from longcut.data import Dataset
from longcut.errors import UserError
from longcut.report import write
from longcut.runs import to_json
from longcut.sources import Source

__all__ = ["stubs"]

DRAWS = 24
N = 240


def nothing(seed: int) -> tuple[View, Judged]:
    """Texts with columns, an attribute and models, none of which has to do with the label; a fifth is hard for all."""
    rng = RNG([seed, 77])
    label, attribute = rng.integers(0, 2, N), rng.integers(0, 2, N)
    said = [" ".join(rng.choice([f"word{i}" for i in range(40)], 8)) for _ in range(N)]
    rows = pd.DataFrame({"y": label, "text": said, "place": rng.choice(["lake", "wood"], N), "age": rng.normal(size=N)})
    source = Source("nothing", rows, np.zeros(N, np.int64), True, "y", text=("text",))
    data = Dataset.of(torch.ones(N, 4, dtype=torch.long), label, attribute, kind="tokens", aligned=(0, 1))
    hard = rng.random(N) < 0.2
    ordinary, debiased = (rng.random(N) < np.where(hard, 0.6, 0.95) for _ in range(2))
    looks = np.where(hard, 1 - label, label)
    hits = np.stack([rng.random(N) < 0.7, ordinary])
    models = judged(label, looks, rng.uniform(0.5, 1, N), ordinary, debiased, updates=[10, 20], hits=hits)
    return View(dataclasses.replace(data, source=source), source, seed=seed), models


@pytest.fixture(scope="module")
def found() -> dict[str, list[Finding]]:
    """What every check finds in data without a shortcut, by name."""
    every: dict[str, list[Finding]] = {name: [] for name in CHECKS}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("longcut.audit.cues.TREES", 5)
        patch.setattr("longcut.audit.learned.MARGIN", 0.0)  # with a margin there are fewer alarms still
        for seed in range(DRAWS):
            view, models = nothing(seed)
            for name, check in CHECKS.items():
                finding = check.function(view, models, {})
                assert finding is not None, name
                every[name].append(finding)
    return every


@pytest.mark.parametrize("name", list(CHECKS))
def test_a_check_says_its_question_and_its_baseline(name: str, found: dict[str, list[Finding]]):
    for finding in found[name]:
        assert finding.name == name
        assert finding.question.endswith("?")
        assert finding.measure
        assert finding.sentence.strip().endswith((".", "?"))
        assert np.isfinite(finding.baseline) or finding.verdict == "unknown"
        low, high = finding.interval
        assert np.isnan(finding.statistic) or low <= finding.statistic <= high
        assert np.isnan(finding.p_value) or 0 <= finding.p_value <= 1
        assert len({tuple(row) for row in finding.table}) <= 1, "every row has the same keys"
        json.loads(to_json(finding.table))


@pytest.mark.parametrize("name", list(CHECKS))
def test_a_check_is_silent_where_there_is_nothing(name: str, found: dict[str, list[Finding]]):
    verdicts = [finding.verdict for finding in found[name]]
    assert verdicts.count("alarm") <= binom.ppf(0.999, DRAWS, 0.05)
    if name not in ("learned", "noise"):  # hard samples are worth a look in any data
        assert verdicts.count("notice") <= binom.ppf(0.999, DRAWS, 0.05)


def test_the_headline_has_words_for_every_check_that_looks_for_a_shortcut():
    for name, check in CHECKS.own.items():
        assert (check.share is not None) == bool(check.cue or check.clause), name


# --- a check from another file ----------------------------------------------------------------------------------------


FILE = """
from longcut.audit import Check, Finding

def parity(view, judged, shortcuts):
    assert not shortcuts
    question, row = "Does the parity <go> with the label?", {"parity": "odd", "level": view.level}
    return Finding("?", question, 0.9, "skill", 0.1, (0.8, 1), 0.001, "alarm", "Yes.", (row,))

def summary(view, judged, shortcuts):
    said = ", ".join(sorted(shortcuts)) + "."
    return Finding("summary", "What was found?", 1, "alarms", 0, (1, 1), 1, "notice", said)

CHECKS = {
    "parity": Check(parity, share=0.25, cue="the {parity} number"),
    "summary": Check(summary),
    "silent": Check(lambda view, judged, shortcuts: None, share=0.25),
}
"""


@pytest.fixture
def loaded(tmp_path: Path) -> Path:
    path = tmp_path / "my_check.py"
    path.write_text(FILE)
    registry.load_file(path)
    return path


def test_a_check_from_another_file_takes_part(loaded: Path, stubs: dict[str, Any], tmp_path: Path):
    audited = audit(some_data(), level=0.1)
    ours = [[n for n, check in CHECKS.own.items() if bool(check.share) == shared] for shared in (True, False)]
    names = [*ours[0], "parity", *ours[1], "summary"]
    assert [finding.name for finding in audited.findings if finding.name in names] == names
    # shares of 1 and two of a quarter: each gets two thirds of what it declares
    assert stubs["learned"][0] == pytest.approx(0.1 * 0.4 / 1.5)
    assert audited["parity"].table[0]["level"] == pytest.approx(0.1 * 0.25 / 1.5)
    assert stubs["order"][1] == {"learned": "clear", "columns": "clear", "cues": "clear", "words": "alarm"} | {
        "parity": "alarm"
    }
    assert audited["summary"].sentence == "columns, cues, learned, parity, words."
    assert audited.verdict == "alarm"
    assert audited.headline == "There is a shortcut: the word 'c' and the odd number give the label away."

    record = folder.write(audited, tmp_path / "audit", data="toy", command="longcut audit toy")
    assert [finding["name"] for finding in record["findings"]] == [finding.name for finding in audited.findings]
    page = Page(write([tmp_path / "audit"], tmp_path / "page.html"))
    assert "Does the parity <go> with the label?" in page.text
    assert "What was found?" in page.text


def test_nothing_added_nothing_changed(loaded: Path):
    assert sum(module._shares().values()) == pytest.approx(1)
    CHECKS._forget(str(loaded))
    assert module._shares() == {name: check.share for name, check in CHECKS.own.items() if check.share}


def test_a_small_added_share_leaves_the_shares_as_they_are_declared_only_up_to_their_sum(monkeypatch):
    monkeypatch.setitem(CHECKS.own, "learned", dataclasses.replace(CHECKS["learned"], share=0.1))
    assert module._shares() == {"learned": 0.1, "columns": 0.2, "cues": 0.2, "words": 0.2}  # never scaled up


@pytest.mark.parametrize("verdict", ["alarm", "notice"])
def test_a_check_without_a_cue_is_named_in_the_headline(verdict: Verdict, monkeypatch):
    monkeypatch.setitem(CHECKS.own, "columns", dataclasses.replace(CHECKS["columns"], cue=""))
    finding = Finding("columns", "?", 0.5, "share", 0.1, (0.4, 0.6), 0.01, verdict, "So it is.")
    view, models = nothing(0)
    assert "what the check 'columns' found gives the label" in module.Audit(view, models, (finding,), 0.05, 1).headline


@pytest.mark.parametrize("share", [0, -0.1, 1.5, float("nan")])
def test_a_share_out_of_range_is_refused(share: float, tmp_path: Path):
    with pytest.raises(ValueError, match=rf"share={share} of the level; give one above 0 and at most 1, or None"):
        Check(lambda view, judged, shortcuts: None, share=share)
    path = tmp_path / "my_check.py"
    path.write_text(f"from longcut.audit import Check\nCHECKS = {{'a': Check(print, share=float('{share}'))}}")
    with pytest.raises(UserError, match="cannot be loaded"):
        registry.load_file(path)


def test_a_check_of_a_taken_name_is_refused(tmp_path: Path):
    path = tmp_path / "my_check.py"
    path.write_text("from longcut.audit import Check\nCHECKS = {'cues': Check(print)}")
    with pytest.raises(UserError, match=r"adds the audit check 'cues', but there is one of that name"):
        registry.load_file(path)
