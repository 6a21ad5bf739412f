"""Figures of papers from finished runs: every kind is drawn, and says what it lacks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import declare
from test_cli import in_an_empty_folder, printed, printed_json, refused

from longcut import runs
from longcut.errors import UserError
from longcut.papers import DOCUMENTS, draw, lacking, listed, picture, recipes, run

__all__ = ["in_an_empty_folder"]  # around every test here, too

DIGITS = "colored-digits"
DRAWN = {
    "map": "embedding",
    "view": "encoder",
    "hard": "negatives",
    "grows": "training",
    "where": "activation",
    "doubt": "uncertainty",
}
PAPER: dict[str, Any] = {
    "source": "nobody",
    "metric": "Accuracy",
    "seeds": 2,
    "protocol": "ours",
    "data": {
        "digits": {
            "average": {"spec": DIGITS, "reads": "average"},
            "worst": {"spec": DIGITS, "reads": "worst_group"},
        },
    },
    "settings": {DIGITS: {"epochs": 2, "net": "conv:width=4", "selecmix": {"auxiliary": "tiny:width=4"}}},
    "recipe": {
        **{name: {"draws": kind} for name, kind in DRAWN.items()},
        "alias": {"same": "paper/grows"},
        "bare": {"controls": False},
    },
    "row": [
        {
            "name": "mixed",
            "tables": ["map", "view", "hard", "grows", "bare"],
            "method": "selecmix:pairs=learned",
            "control": "selecmix:pairs=learned,blend=keep-both",
            "digits": "unpublished",
        },
        {"name": "plain", "tables": ["grows", "where"], "method": "erm:record=online", "digits": "unpublished"},
        {"name": "doubts", "tables": ["doubt"], "method": "erm:record=online", "digits": "unpublished"},
    ],
}


@pytest.fixture(autouse=True)
def paper(monkeypatch: pytest.MonkeyPatch) -> None:
    declare(monkeypatch, {"paper": PAPER})
    monkeypatch.setattr("longcut.papers.pictures.tsne", lambda embedding: embedding[:, :2])  # which takes seconds


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of all figures, with one seed."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        declare(patch, {"paper": PAPER})
        patch.setattr("longcut.methods.identified.evidence.examine", lambda *told: None)
        for name in DRAWN:
            run(f"paper/{name}", seeds=1, out=folder)
    return folder


@pytest.mark.parametrize(
    ("name", "panels"),  # two rows; two views of both; 4 anchors with 5 and 5; 5 classes and their maps
    [("map", 2), ("view", 4), ("hard", 44), ("grows", 1), ("where", 10), ("doubt", 1)],
)
def test_every_kind_is_drawn_of_the_runs_that_are_there(name: str, panels: int, out: Path):
    results = run(f"paper/{name}", seeds=1, out=out, finished=True)
    assert lacking(results) == ""
    path = draw(f"paper/{name}", results, out)
    assert path is not None
    assert path.read_text("utf-8").startswith("<?xml")
    figure = picture(f"paper/{name}", results)
    assert figure is not None
    assert len(figure.axes) == panels


def test_lines_are_the_metric_of_each_epoch(out: Path):
    from longcut.papers import pictures

    results = [r for r in run("paper/grows", seeds=1, out=out, finished=True) if r["row"] == "plain"]
    history = runs.read(results[0]["folders"][0]).history()
    results = results[:1]
    (axes,) = pictures.training(results, {}).axes
    (line,) = axes.get_lines()
    assert np.array_equal(line.get_xdata(), [1, 2])
    assert np.asarray(line.get_ydata()).tolist() == [row["test"]["average"] for row in history]
    (axes,) = pictures.training(results, {"metric_of_lines": "worst_group"}).axes
    assert np.asarray(axes.get_lines()[0].get_ydata()).tolist() == [row["test"]["worst_group"] for row in history]
    with pytest.raises(UserError, match="identification is not measured while a method trains"):
        pictures.training(results, {"metric_of_lines": "identification"})


def test_bars_are_means_over_samples(out: Path):
    from longcut.analyses import uncertainty
    from longcut.papers import pictures

    results = run("paper/doubt", seeds=1, out=out, finished=True)
    table = uncertainty([runs.read(results[0]["folders"][0])])
    (axes,) = pictures.uncertain(results[:1], {}).axes
    drawn = sorted(float(line.get_ydata()[0]) for line in axes.get_lines() if line.get_linestyle() == "-")  # type: ignore[index]
    means = [
        np.average(own["uncertainty"], weights=own["samples"]) for _, own in table.groupby("conflicting") if len(own)
    ]
    assert drawn == pytest.approx(sorted(means))


def test_what_is_not_there_is_said(out: Path, tmp_path: Path):
    results = run("paper/grows", out=out, finished=True)
    assert {r["seeds"] for r in results} == {1}
    assert lacking(results) == "mixed: digits (1 more); mixed (control): digits (1 more); plain: digits (1 more)"
    assert draw("paper/grows", results, tmp_path) is not None, "with what there is"
    nothing = run("paper/grows", out=tmp_path / "empty", finished=True)
    assert {(r["seeds"], r["last"]) for r in nothing} == {(0, None)}
    assert lacking(nothing) == "mixed: digits; mixed (control): digits; plain: digits"
    with pytest.raises(UserError, match=r"no run of paper/grows is finished; leave --finished out"):
        draw("paper/grows", nothing, tmp_path / "empty")
    assert not (tmp_path / "empty").exists()


def test_a_run_that_keeps_no_embedding(out: Path):
    from longcut.papers import pictures

    results = [r for r in run("paper/grows", seeds=1, out=out, finished=True) if r["row"] == "plain"]
    with pytest.raises(UserError, match="the run of plain on digits keeps no pictures of negatives; take images and"):
        pictures.negatives(results, {})
    (axes, *_) = pictures.embeddings(results, {}).axes
    assert [text.get_text() for text in axes.texts] == ["no embedding was kept"]


def test_another_name_is_the_same_and_controls_may_be_left_out(out: Path):
    assert "paper/alias" in recipes()
    one, other = (run(name, seeds=1, out=out, finished=True) for name in ("paper/grows", "paper/alias"))
    assert [r["folders"] for r in one] == [r["folders"] for r in other]
    assert {r["row"] for r in run("paper/bare", seeds=1, out=out, finished=True)} == {"mixed"}


def test_the_command_trains_nothing(out: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "200")
    text = printed("reproduce", "paper/grows", "--finished", "--out", out)
    assert "Not there: mixed: digits (1 more)" in text
    assert "The picture:" in text
    assert refused("reproduce", "paper/grows", "--finished", "--out", out / "none").startswith("no run of paper/grows")


# --- the list ---------------------------------------------------------------------------------------------------------


GROUPS, GROUPED = {"waterbirds", "celeba", "multinli"}, {"waterbirds (groups)"}
REGRESSION = {"airfoil", "no2", "exchange-rate", "crime", "skillcraft", "rcf-mnist", "the others"}
SHOWN: dict[str, dict[str, set[str]]] = {
    "selecmix": {
        "table1": {"colored-mnist", "corrupted-cifar10", "bffhq"},
        "table2": {"corrupted-cifar10"},
        "table3": {"colored-mnist", "corrupted-cifar10", "bffhq"},
        "table4": {"colored-mnist", "corrupted-cifar10", "bffhq"},
        "table5": {"colored-mnist", "corrupted-cifar10", "bffhq"},
        "figure2": {"colored-mnist", "corrupted-cifar10", "bffhq"},
        "figure3": {"noisy-colored-mnist"},
        "figure4": {"colored-mnist"},
        "figure5": {"colored-mnist"},
    },
    "jm1": {
        "table1": GROUPS,
        "table2": GROUPED,
        "table3": {"waterbirds", "celeba"},
        "table4": {"waterbirds (raw)"},
        "table5": GROUPS,
        "table6": GROUPED,
        "identification": {"waterbirds (raw)"},
        "figure3": {"waterbirds"},
        "figures5-8": {""},
        "figure9": GROUPS,
        "figure10": GROUPS,
        "appendixC": {""},
    },
    "wcl": {
        "table1": {"cifar10", "cifar100"},
        "table2": {"waterbirds", "celeba"},
        "table3": {"adult", "compas"},
        "figure3": {"cifar10"},
        "figure4": {"waterbirds"},
        "embedding": {"waterbirds"},
        "appendix": {"imagenet-100"},
    },
    "slides": {
        "activation-maps": {"cifar10"},
        "saliencymix": {"cifar10"},
        "umix": {"waterbirds", "colored-mnist"},
        "c-mixup": REGRESSION,
        "long-tail": {"cifar10"},
        "pose": {""},
    },
}
"""What the four documents show, by data set.

No rows have what reports no result: WCL's Figure 2, which draws the method, and JM1's Table 7, which holds the settings
of its recipes. JM1 has no Tables 8, 9 and 11; what its text calls Table 10 is captioned Figure 11 (``identification``).
Of WCL's appendix no more is known than what it is about.
"""


@pytest.mark.parametrize("document", DOCUMENTS)
def test_no_table_or_figure_of_the_documents_is_missing(document: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.undo()
    found: dict[str, set[str]] = {}
    for one in listed():
        paper, _, name = one.name.partition("/")
        if paper == document:
            found.setdefault(name, set()).add(one.data)
    assert found == SHOWN[document]


def test_the_list_is_of_the_four_documents_and_of_four_states(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    own = [one for one in listed() if one.name.partition("/")[0] in DOCUMENTS]
    assert {one.state for one in own} == {"run", "run shorter", "data not reachable", "needs a GPU"}
    shown = printed_json("reproduce", "--list")
    assert [row["name"] for row in shown] == [one.name for one in own]
    every = printed_json("reproduce", "all", "--list")
    assert len(every) == len(listed()) > len(shown)
    assert {row["name"].partition("/")[0] for row in printed_json("reproduce", "umix", "--list")} == {"umix"}
    assert refused("reproduce", "nobody", "--list").startswith("unknown paper 'nobody'")
