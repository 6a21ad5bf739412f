from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from test_audit_learned import RNG, cue_table, cue_texts, judged, view

import longcut
from longcut import report
from longcut.audit import CHECKS, Audit, Finding, View, audit, folder
from longcut.audit import whole as module
from longcut.audit.base import Verdict
from longcut.audit.crossfit import FOLDS
from longcut.audit.judged import Judged
from longcut.audit.learned import MARGIN
from longcut.data import Dataset, Splits
from longcut.errors import UserError
from longcut.sources import Source


def finding(name: str, verdict: Verdict, **first: Any) -> Finding:
    """Of which nothing matters but the verdict and the first row of the table."""
    return Finding(name, "?", 0.5, "share", 0.1, (0.4, 0.6), 0.01, verdict, "So it is.", (first,) if first else ())


def audited(**verdicts: Verdict) -> Audit:
    """100 samples, of which 20 contradict; of those an ordinary model has 5 right, and of the others 72."""
    n = np.arange(100)
    against = n < 20
    models = judged(n % 2, np.where(against, 1 - n % 2, n % 2), ordinary=np.where(against, n < 5, n < 92))
    rows = {"columns": {"column": "{size}"}, "cues": {"cue": "border pixels"}, "words": {"word": "not"}}
    found = tuple(finding(name, verdict, **rows.get(name, {})) for name, verdict in verdicts.items())
    return Audit(view(models.label), models, found, 0.05, 1.0)


# --- what the checks mean together ------------------------------------------------------------------------------------


def test_the_shares_of_the_level_are_the_level():
    assert module._shares() == {"learned": 0.4, "columns": 0.2, "cues": 0.2, "words": 0.2}
    assert sum(module._shares().values()) == pytest.approx(1)


def test_the_gravest_verdict_of_the_checks_that_look_for_a_shortcut():
    assert audited(learned="clear", columns="notice", cues="alarm").verdict == "alarm"
    assert audited(learned="clear", columns="notice", cues="clear").verdict == "notice"
    assert audited(learned="clear", columns="unknown").verdict == "clear"
    assert audited(learned="unknown").verdict == "unknown"
    assert audited(learned="clear", known="alarm", order="alarm", noise="alarm").verdict == "clear"


def test_hard_samples_alone_leave_nothing_in_the_picture(tmp_path: Path):
    """Eight columns that say as much as each other, and none that a model could live on: hard samples, no shortcut."""
    data, _ = cue_table(800, 0.5, seed=1, weak=0.3)
    found = audit(data, net="mlp:hidden=16", quick=True)
    learned, picture = found["learned"], found["learned"].more["picture"]
    assert learned.verdict != "alarm" and learned.statistic > 0.5, "what was drawn without its baseline"
    assert picture["interval"][0] <= MARGIN and abs(picture["remains"]) < 0.3 * learned.statistic
    assert "Nothing clear remains" in picture["caption"]
    assert [picture["aligned"][-1], picture["conflicting"][-1]] == pytest.approx(picture["ordinary"])
    record = folder.write(found, tmp_path / "a", data="toy", command="longcut audit toy")
    assert folder.read(tmp_path / "a")[0]["curves"] == record["curves"]
    page = report.write([tmp_path / "a"], tmp_path / "a.html").read_text("utf-8")
    assert record["curves"]["caption"] in page
    assert page.count("the same selection without relying on the easy cue</small>") == 2


def test_headline():
    learned = "an ordinary model loses 65 points where what it learns first is contradicted (0 if kept from it)"
    alarm = audited(learned="alarm", columns="notice", words="alarm", cues="alarm").headline
    cues = "the word 'not' and the cue 'border pixels' alone give the label away"
    assert alarm == f"There is a shortcut: {learned}, and {cues}."
    assert audited(learned="clear", columns="notice", cues="clear").headline == (
        "No clear shortcut, but worth a look: the column '{size}' gives the label partly away."
    )
    found = audited(learned="clear", cues="notice")
    strong = [dataclasses.replace(found["cues"], more={"most": True})]
    assert dataclasses.replace(found, findings=(*found.findings[:-1], *strong)).headline == (
        "No clear shortcut, but the cue 'border pixels' alone says most of what a model uses. Is that intended?"
    )
    found = audited(learned="notice", cues="notice")
    both = dataclasses.replace(found, findings=(*found.findings[:-1], *strong)).headline
    assert both.endswith(
        "is contradicted (0 if kept from it), and the cue 'border pixels' alone says most of what it "
        "uses. Is that intended?"
    )
    assert "the cue 'border pixels' alone gives the label away" in audited(learned="clear", cues="alarm").headline
    assert audited(learned="clear", columns="clear", known="alarm").headline == "No shortcut was found."


@pytest.mark.parametrize(
    ("verdicts", "said"),
    [
        ({"learned": "alarm", "order": "clear"}, "longcut compare DATA --methods erm,selecmix"),
        ({"learned": "alarm"}, "longcut compare DATA --methods erm,selecmix"),
        ({"learned": "alarm", "order": "alarm"}, "do not fit here; use the attribute"),
        ({"learned": "clear", "order": "alarm"}, "do not fit here; use the attribute"),
        (
            {"learned": "clear", "columns": "alarm", "order": "unknown"},
            "Ask whether the model is meant to look at this",
        ),
        ({"learned": "notice"}, "Look at the suspected samples before training"),
        ({"learned": "clear", "cues": "clear"}, "Train as usual"),
    ],
)
def test_advice(verdicts: dict[str, Any], said: str):
    assert said in audited(**verdicts).advice


def test_findings_by_name_and_one_more():
    found = audited(learned="clear")
    more = found.with_finding(finding("model", "alarm"))
    assert (len(found.findings), more["model"].verdict, more["learned"].verdict) == (1, "alarm", "clear")
    assert more.verdict == "clear"


# --- candidate groups -------------------------------------------------------------------------------------------------


def test_clusters_stand_apart_within_their_class():
    rng = RNG(0)
    label, side = np.repeat([0, 1], [90, 50]), np.r_[np.repeat([0, 1], [60, 30]), np.zeros(50, int)]
    profile = np.array([[0.0, 0.0], [1.0, 0.0]])[side] + rng.normal(0, 0.02, (140, 2))
    profile[label == 1] = rng.uniform(0, 1, (50, 2))  # no clusters
    models = judged(label, np.where(side, 1, label), profile=profile.astype(np.float32))
    shown = view(label, class_names=("cat", "dog"))
    found = Audit(shown, models, (finding("learned", "clear"),), 0.05, 1.0)
    groups = sorted(module.counts(found), key=lambda row: (str(row["class"]), -row["n"]))  # type: ignore[operator]
    assert [{**row, "cluster": 0} for row in groups[:2]] == [
        {"class": "cat", "cluster": 0, "n": 60, "share_suspected": 0.0, "looks_like": "cat"},
        {"class": "cat", "cluster": 0, "n": 30, "share_suspected": 1.0, "looks_like": "dog"},
    ]
    assert sum(row["n"] for row in groups) == 140  # type: ignore[misc]
    same = found.clusters[:90]
    assert len(set(same[:60])) == len(set(same[60:])) == 1
    assert same[0] != same[89]


@pytest.mark.parametrize("points", [1, 2, 3])
def test_few_different_points_are_one_cluster_or_as_many(points: int):
    profile = np.eye(3)[np.arange(40) % points].astype(np.float32)
    models = judged(np.zeros(40, int), np.zeros(40, int), profile=profile)
    assert len(set(module._clusters(view(np.arange(40) % 2), models))) <= points


def test_an_outlier_that_no_sample_of_the_points_holds_is_no_group():
    profile = RNG(0).normal(0, 0.01, (5000, 2)).astype(np.float32)
    profile[:2] = 100
    models = judged(np.zeros(5000, int), np.zeros(5000, int), profile=profile)
    assert set(module._clusters(View(view(np.arange(5000) % 2).data, None, seed=1), models)) == {0}


# --- what is audited --------------------------------------------------------------------------------------------------


def parts(official: bool) -> Splits:
    frame = pd.DataFrame({"x": range(10), "y": [0, 1] * 5})
    source = Source(
        "toy",
        frame,
        np.array([0, 0, 1, 2, 0, 0, 2, 0, 1, 0]),
        official,
        "y",
        features=("x",),
        encoding={"kind": "table"},
    )
    data = Dataset.of(torch.arange(10.0)[:, None], [0, 1] * 5)
    return Splits.of(dataclasses.replace(data, source=source))


def test_of_official_parts_the_training_part_and_of_drawn_ones_all():
    assert module._audited(parts(True)).index.tolist() == [0, 1, 4, 5, 7, 9]
    assert module._audited(parts(False)).index.tolist() == list(range(10))
    bare = dataclasses.replace(parts(True).train, source=None)
    assert module._audited(Splits(bare, None, parts(True).test)) is bare
    assert module._audited(bare) is bare


def test_a_large_data_set_is_audited_by_a_sample_in_proportion():
    label = RNG(0).permutation(np.repeat([0, 1, 2], [7000, 2990, 10]))
    data = Dataset.of(torch.zeros(10_000, 1), label)
    some = module._sample(data, 1000, 0)
    assert torch.bincount(some.label).tolist() == [700, 299, FOLDS]  # of a rare class enough to be cut
    assert len(some) <= 1000 + FOLDS
    assert (some.index.diff() > 0).all()
    assert torch.equal(some.label, data.label[some.index])
    assert torch.equal(some.index, module._sample(data, 1000, 0).index)
    assert not torch.equal(some.index, module._sample(data, 1000, 1).index)
    assert module._sample(data, 10_000, 0) is data


@pytest.fixture
def stubs(monkeypatch) -> dict[str, Any]:
    """Checks that only note what they are told, by name: level and what the checks for shortcuts found; and the net."""
    told: dict[str, Any] = {}
    models = judged([0, 1] * 10, [0, 1] * 10, ordinary=np.arange(20) < 15)

    def noting(name: str, verdict: Verdict) -> Any:
        def run(shown: View, said: Judged, shortcuts: Mapping[str, Finding]) -> Finding:
            assert said is (None if CHECKS[name].early else models)
            told[name] = shown.level, {key: each.verdict for key, each in shortcuts.items()}
            return finding(name, verdict, column="a", cue="b", word="c")

        return run

    monkeypatch.setattr(module, "judge", lambda shown, net, progress, folds, keep: told.update(net=net) or models)
    for name, check in list(CHECKS.own.items()):
        row = dataclasses.replace(check, function=noting(name, "alarm" if name == "words" else "clear"))
        monkeypatch.setitem(CHECKS.own, name, row)
    return told


def some_data() -> Dataset:
    return Dataset.of(torch.rand(20, 3), [0, 1] * 10)


def test_each_check_gets_its_share_of_the_level(stubs: dict[str, Any]):
    found = audit(some_data(), level=0.1, seed=4)
    net = stubs.pop("net")
    levels = {name: level for name, (level, _) in stubs.items()}
    shares = {"learned": 0.4, "columns": 0.2, "cues": 0.2, "words": 0.2}
    assert levels == {name: share * 0.1 for name, share in shares.items()} | dict.fromkeys(
        ("known", "order", "noise", "slices"), 0.1
    )
    assert stubs["cues"][1] == {}
    assert stubs["order"][1] == stubs["noise"][1] == dict.fromkeys(shares, "clear") | {"words": "alarm"}
    assert net == "auto"
    assert [each.name for each in found.findings] == [
        "learned",
        "columns",
        "cues",
        "words",
        "known",
        "order",
        "noise",
        "slices",
    ]
    assert (found.level, found.view.seed, found.seconds > 0) == (0.1, 4, True)
    audit(Dataset.of(torch.rand(20, 3, 4, 4), [0, 1] * 10))
    assert stubs["net"].startswith("conv")
    audit(Dataset.of(torch.rand(20, 3, 4, 4), [0, 1] * 10), net="mlp")
    assert stubs["net"] == "mlp"


@pytest.mark.parametrize(("shape", "threads"), [((3,), 1), ((3, 4, 4), 2)])
def test_small_nets_are_computed_by_one_thread(
    shape: tuple[int, ...], threads: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """Those of images by as many as there are; the record says it, and what was kept with others is not taken."""
    seen: list[int] = []

    def judge(view: View, *_: Any, **__: Any) -> Judged:
        seen.append(torch.get_num_threads())
        return judged(view.label, view.label)

    monkeypatch.setattr(module, "judge", judge)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        found = audit(Dataset.of(torch.rand(20, *shape), [0, 1] * 10))
        record = folder.write(found, tmp_path / "audit", data="x", command="y")
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert seen == [threads]
    assert record["environment"]["threads"] == str(threads)


@pytest.mark.parametrize("level", [0, 1, -0.1, 1.5, float("nan")])
def test_a_level_out_of_range_is_refused(level: float):
    with pytest.raises(UserError, match=rf"the level is {level}; give a share of false alarms above 0 and below 1"):
        audit(Dataset.of(torch.rand(20, 3), [0, 1] * 10), level=level)


def test_data_that_cannot_be_audited_is_refused():
    with pytest.raises(UserError, match="class '2' has 3 samples, too few to be cut into 4 parts"):
        audit(Dataset.of(torch.rand(20, 3), [0, 1] * 8 + [0, 2, 2, 2]))
    with pytest.raises(UserError, match="of one class; an audit needs at least two"):
        audit(Dataset.of(torch.rand(20, 3), [0] * 20))


# --- with real models -------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_shortcut_in_pictures_is_found_and_so_are_those_that_contradict_it():
    found = audit(longcut.load("colored-digits:ratio=0.05"), net="mlp:hidden=100-100-16")
    assert found.verdict == found["learned"].verdict == "alarm"
    against = found.view.data.conflicting.numpy()
    assert len(against) == 1000
    assert against[found.judged.suspected].mean() > 0.8
    assert found["known"].statistic == pytest.approx(against[found.judged.suspected].mean())
    assert found["known"].verdict == "alarm"
    assert found["order"].verdict == "clear"
    assert "erm,selecmix" in found.advice


@pytest.mark.slow
def test_no_alarm_where_the_colour_says_nothing():
    found = audit(longcut.load("colored-digits:ratio=0.9", seed=3), net="mlp:hidden=100-100-16", seed=3)
    assert found.verdict != "alarm"
    assert found["known"].verdict == "clear"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("made", "share", "check", "said"),
    [(cue_table, 0.95, "cues", "the cue 'cue' alone"), (cue_texts, 0.9, "words", "the word 'lake'")],
    ids=["table", "text"],
)
def test_a_shortcut_in_tables_and_texts_is_found(made, share, check, said):
    data, against = made(1200, share)
    found = audit(data)
    assert found.verdict == found[check].verdict == "alarm"
    assert said in found.headline
    assert against[found.judged.suspected].mean() > 0.85


@pytest.mark.slow
@pytest.mark.parametrize("made", [cue_table, cue_texts])
def test_no_alarm_in_tables_and_texts_without_a_cue(made):
    assert audit(made(700, 0.5, seed=2)[0]).verdict != "alarm"
