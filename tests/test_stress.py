"""The stress test: what is planned, the numbers, the command, and its picture on the page."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from blobs import small_data  # noqa: F401
from test_cli import call, printed, printed_json, refused
from test_report import Page, check_self_contained

from longcut import registry, runs, stress
from longcut.compare import difference
from longcut.data import Dataset, Splits
from longcut.datasets import load
from longcut.errors import UserError
from longcut.report import study
from longcut.report import write as write_report
from longcut.report.base import Page as Shared
from longcut.report.figures import styles
from longcut.report.stress import heat
from longcut.report.stress import stress as panel

TINY = ("--epochs", "1", "--samples", "200", "--net", "mlp:hidden=8", "--device", "cpu", "--seeds", "2")
COMMAND = ("stress", "digits", "--methods", "lff", "--cues", "patch", *TINY, "--out", "out")


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """The folder of a stress test of the command, and what it printed."""
    folder = tmp_path_factory.mktemp("stress")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("COLUMNS", "100")
        yield folder, printed(*COMMAND)


def plans_of(data: str = "blobs", **how: Any) -> list[Any]:
    return stress.plans(data, load(data), **how)


# --- what is planned --------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("small_data")
def test_every_method_meets_every_cue_and_none():
    plans = plans_of(methods=["lff"], cues=["column", "pair:strength=hard"], strengths=["easy", "hard"], seeds=2)
    assert list(dict.fromkeys(one.data for one in plans)) == [
        "planted:data=blobs,cue=column",
        "planted:data=blobs,cue=column,strength=hard",
        "planted:data=blobs,cue=pair:strength=hard",
        "planted:data=blobs,cue=none",
        "planted:data=blobs,cue=none,noise=0.2",
    ]
    assert len(plans) == len(set(plans_key(plans))) == 5 * 2 * 2
    assert {(one.method, one.seed, one.data_seed) for one in plans} == {
        ("erm", 0, 0), ("erm", 1, 1), ("lff", 0, 0), ("lff", 1, 1),
    }  # fmt: skip


def plans_key(plans: list[Any]) -> list[tuple[str, str, int]]:
    return [(one.data, one.label, one.seed) for one in plans]


@pytest.mark.usefixtures("small_data")
def test_all_cues_of_the_kind_are_taken_by_default():
    cues = {re.findall("cue=([a-z]+)", one.data)[0] for one in plans_of(seeds=1)}
    assert cues == {"column", "pair", "missing", "none"}


@pytest.mark.usefixtures("small_data")
def test_none_and_erm_are_there_once():
    plans = plans_of(methods=["lff", "erm:lr=0.1"], cues=["none", "pair"], seeds=1, samples=20, ratio=0.1)
    assert [(one.data.partition(":")[2], one.label) for one in plans] == [
        (data, label)
        for data in (
            "data=blobs,cue=pair,ratio=0.1,samples=20",
            "data=blobs,cue=none,ratio=0.1,samples=20",
            "data=blobs,cue=none,ratio=0.1,samples=20,noise=0.2",
        )
        for label in ("lff", "erm:lr=0.1")
    ]


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"cues": ["collumn"]}, "unknown cue 'collumn'.*column"),
        ({"cues": ["patch"]}, "cue 'patch' is planted in inputs of kind 'image', but blobs is of kind 'table'"),
        ({"strengths": ["weak"]}, "unknown strength 'weak'"),
        ({"methods": ["selectmix"]}, "unknown method 'selectmix'.*selecmix"),
        ({"settings": {"epoch": 3}}, "unknown setting of erm 'epoch'.*epochs"),
    ],
)
@pytest.mark.usefixtures("small_data")
def test_mistakes_are_said_before_anything_is_trained(how: dict[str, Any], said: str):
    with pytest.raises(UserError, match=said):
        plans_of(**how)


def test_data_that_has_no_classes_or_no_room_is_refused():
    numbers = Dataset.of(torch.rand(8, 3), torch.rand(8), name="rents")
    with pytest.raises(UserError, match="rents: a cue is planted to give away one of several classes"):
        stress.plans("rents", Splits(numbers, None, numbers))
    narrow = Dataset.of(torch.rand(8, 1), torch.arange(8) % 4, name="narrow")
    with pytest.raises(UserError, match="cue 'missing' has no room for 4 values in 1 column"):
        stress.plans("narrow", Splits(narrow, None, narrow), cues=["column", "missing"])


MINE = """
from longcut.cues import Cue

def last(x, value, n_values, amount, generator):
    changed = x.clone()
    changed[:, -1] = amount * value
    return changed

CUES = {"last": Cue(last, "table", {"easy": 1.0, "medium": 0.5, "hard": 0.2}, "the last column")}
"""


@pytest.mark.usefixtures("small_data")
def test_a_run_knows_the_file_of_its_cue(tmp_path: Path):
    path = tmp_path / "mine.py"
    path.write_text(MINE)
    registry.load_file(path)
    files = {one.data: list(one.files) for one in plans_of(cues=["pair+last:strength=hard", "pair"], seeds=1)}
    assert files["planted:data=blobs,cue=pair+last:strength=hard"] == ["mine.py"]
    assert files["planted:data=blobs,cue=pair"] == []


# --- the numbers ------------------------------------------------------------------------------------------------------


def naive(folder: Path, name: str) -> list[dict[str, Any]]:
    """Per-sample hits and groups of each seed, from what the runs keep."""
    found = []
    for seed in (0, 1):
        kept = runs.read(folder / f"{name}-s{seed}").predictions()
        right = (kept["outputs"].argmax(1) == kept["label"]).tolist()
        label, value = kept["label"].tolist(), kept["attribute"].tolist()
        groups: dict[tuple[int, bool], list[bool]] = {}
        for hit, y, v in zip(right, label, value, strict=True):
            groups.setdefault((y, y != v), []).append(hit)
        against = [hit for hit, y, v in zip(right, label, value, strict=True) if y != v]
        worst = min(sum(hits) / len(hits) for hits in groups.values())
        assert len(groups) == 20
        average, each = sum(right) / len(right), sum(sum(hits) / len(hits) for hits in groups.values()) / 20
        others = sum(against) / len(against)
        found.append({"worst_group": worst, "conflicting": others, "average": average, "group_mean": each})
    return found


def mean(rows: list[dict[str, Any]], metric: str) -> float:
    return sum(row[metric] for row in rows) / len(rows)


@pytest.mark.parametrize(
    ("cue", "folder", "metric"),
    [
        ("patch, easy", "planted-samples=200", "conflicting"),
        ("none", "planted-cue=none,samples=200", "average"),
        ("none, 20% wrong labels", "planted-cue=none,samples=200,noise=0.2", "average"),
    ],
)
def test_numbers_are_those_of_a_naive_count(done: tuple[Path, str], cue: str, folder: str, metric: str):
    out = done[0] / "out"
    stored = json.loads((out / "stress.json").read_text())
    cells = {(cell["method"], cell["cue"]): cell for cell in stored["cells"]}
    counted = {name: naive(out / folder, name) for name in ("erm", "lff")}
    for name, rows in counted.items():
        for one in ("worst_group", "conflicting", "average"):
            assert cells[name, cue][one] == pytest.approx(mean(rows, one))
        assert cells[name, cue]["runs"] == 2
    assert cells["erm", cue]["gain"] is None
    gain = cells["lff", cue]["gain"]
    assert gain["metric"] == metric
    assert gain["value"] == pytest.approx(mean(counted["lff"], metric) - mean(counted["erm"], metric))
    assert gain["low"] <= gain["value"] <= gain["high"]
    assert gain["low"] < gain["high"]


def test_what_is_stored_says_what_it_is(done: tuple[Path, str]):
    stored = json.loads((done[0] / "out" / "stress.json").read_text())
    assert (stored["data"], stored["ratio"], stored["samples"]) == ("digits", 0.02, 200)
    assert stored["methods"] == ["erm", "lff"]
    assert stored["cues"] == ["patch, easy", "none", "none, 20% wrong labels"]
    assert stored["definitions"] == stress.DEFINITIONS
    assert len(stored["cells"]) == 6


def test_groups_are_cut_by_agreement(done: tuple[Path, str]):
    run = runs.read(done[0] / "out" / "planted-samples=200" / "erm-s0")
    test = stress.by_agreement(run)
    kept = run.predictions()
    assert torch.equal(test.attribute, (kept["label"] != kept["attribute"]).long())  # type: ignore[arg-type]
    assert torch.equal(test.conflicting, kept["label"] != kept["attribute"])
    assert len(test.group.unique()) == 20


def test_a_difference_can_be_judged_by_other_groups(done: tuple[Path, str]):
    sides = [runs.read(done[0] / "out" / "planted-samples=200" / f"{name}-s0") for name in ("lff", "erm")]
    usual = difference(sides[:1], sides[1:], "group_mean", draws=20)
    ours = difference(sides[:1], sides[1:], "group_mean", draws=20, judged=stress.by_agreement)
    rows = [naive(done[0] / "out" / "planted-samples=200", name)[0]["group_mean"] for name in ("lff", "erm")]
    assert ours.value == pytest.approx(rows[0] - rows[1])
    assert usual.value != pytest.approx(ours.value)


def test_runs_on_other_data_are_left_out(done: tuple[Path, str]):
    run = runs.read(done[0] / "out" / "planted-samples=200" / "erm-s0")
    other = runs.Run(run.folder, run.record, run.door)
    object.__setattr__(other, "record", changed(run.record, data="colored-digits"))
    assert stress.matrices([("erm", [other])]) == []
    (alone,) = stress.matrices([("erm", [run])])
    assert [cell.gain for cell in alone.cells.values()] == [None]


def changed(record: Any, **plan: Any) -> Any:
    import dataclasses

    return dataclasses.replace(record, plan=dataclasses.replace(record.plan, **plan))


def test_a_method_with_other_seeds_has_no_gain(done: tuple[Path, str]):
    folder = done[0] / "out" / "planted-samples=200"
    erm, lff = ([runs.read(folder / f"{name}-s{seed}") for seed in seeds] for name, seeds in seeds_of.items())
    (found,) = stress.matrices([("erm", erm), ("lff", lff)])
    assert found.cells["lff", "patch, easy"].gain is None


seeds_of = {"erm": (0, 1), "lff": (0,)}


# --- the command ------------------------------------------------------------------------------------------------------


def test_the_table_is_printed(done: tuple[Path, str]):
    folder, text = done
    cells = {(c["method"], c["cue"]): c for c in json.loads((folder / "out" / "stress.json").read_text())["cells"]}
    cell = cells["lff", "patch, easy"]
    assert "digits, 2 runs of each method, in %: worst group · conflicting · average" in text
    assert " · ".join(f"{100 * cell[name]:.1f}" for name in stress.METRICS) in text
    gain = cell["gain"]
    assert f"{100 * gain['value']:+.1f} [{100 * gain['low']:+.1f}, {100 * gain['high']:+.1f}]" in text
    assert "two for each class" in text
    assert all(len(line) <= 120 for line in text.splitlines())


def test_the_same_command_goes_on(done: tuple[Path, str], monkeypatch: pytest.MonkeyPatch):
    folder, text = done
    monkeypatch.chdir(folder)
    before = (folder / "out" / "stress.json").read_text()
    (folder / "out" / "stress.json").unlink()
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr("longcut.execute.fit", lambda *_, **__: pytest.fail("trained again"))
    assert printed(*COMMAND) == text
    assert (folder / "out" / "stress.json").read_text() == before
    assert printed_json(*COMMAND) == json.loads(before)


def test_the_command_refuses_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert "unknown cue 'patsch'" in refused("stress", "digits", "--cues", "patsch")
    assert "cue 'word' is planted in inputs of kind 'tokens'" in refused("stress", "digits", "--cues", "patch,word")
    assert "unknown strength 'soft'" in refused("stress", "digits", "--strengths", "easy,soft")
    assert call("stress", "digits", "--ratio", "2").exit_code == 2


# --- the page ---------------------------------------------------------------------------------------------------------


def test_the_page_shows_a_map_of_the_differences(done: tuple[Path, str], tmp_path: Path):
    found = Page(write_report([done[0] / "out"], tmp_path / "page.html"))
    check_self_contained(found)
    assert "Planted cues in digits" in found.text
    html = (tmp_path / "page.html").read_text()
    cells = {(c["method"], c["cue"]): c for c in json.loads((done[0] / "out" / "stress.json").read_text())["cells"]}
    gain = cells["lff", "none"]["gain"]["value"]
    assert f"LfF on none: {100 * gain:+.1f}" in html
    assert html.index("Planted cues in") < html.index("Methods")


def studies_of(folder: Path) -> tuple[list[study.Study], Shared]:
    found = study.studies(runs.read(path) for path in runs.find([folder]))
    return found, Shared("page", styles([c.name for one in found for c in one.contenders]), len(found))


def test_a_map_has_a_field_for_each_difference(done: tuple[Path, str]):
    found, _ = studies_of(done[0] / "out")
    (one,) = stress.matrices([(c.name, c.runs) for each in found for c in each.contenders])
    shown: list[Any] = list(heat(one).axes[0].texts)
    texts = [text.get_text() for text in shown]
    gains = [cell.gain for cell in one.cells.values() if cell.gain]
    assert len(gains) == 3
    assert {f"{100 * gain.value:+.1f}" for gain in gains} <= set(texts)
    assert set(one.cues) <= set(texts)
    bold = [text.get_text() for text in shown if text.get_weight() == "bold"]
    clear = [f"{100 * gain.value:+.1f}" for gain in gains if gain.low > 0 or gain.high < 0]
    assert sorted(bold) == sorted(clear)


def test_one_method_alone_has_numbers_and_no_map(done: tuple[Path, str]):
    found, page = studies_of(done[0] / "out" / "planted-cue=none,samples=200" / "erm-s0")
    html = panel(found, page)
    assert html is not None
    assert "<svg" not in html
    assert "none" in html


def test_other_runs_have_no_such_panel(done: tuple[Path, str]):
    assert panel([], studies_of(done[0] / "out")[1]) is None
