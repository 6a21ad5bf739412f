"""Recipes: what is declared, what is printed of it, and a small paper of our own run from end to end."""

from __future__ import annotations

import dataclasses
import json
import re
from collections import Counter
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from longcut import reproduce
from longcut.compare import Plan, plan
from longcut.datasets import DATASETS
from longcut.errors import UserError
from longcut.methods import METHODS
from longcut.reproduce import Cell, cells, draw, markdown, notes, recipes, run, table

TABLES = [f"selecmix/table{number}" for number in range(1, 6)]
RESULTS = Path(__file__).parents[1] / "results" / "runs.json"


@cache
def every(recipe: str) -> list[Cell]:
    """The cells of a table, with a run each; made once, for a plan takes some milliseconds."""
    return cells(recipe, seeds=1)


def value(recipe: str, row: str, data: str, column: str) -> tuple[float, float] | None:
    (cell,) = (one for one in every(recipe) if (one.row, one.data, one.column) == (row, data, column))
    return cell.published


# --- the SelecMix paper -----------------------------------------------------------------------------------------------


def test_the_tables_and_figures_of_the_paper_are_there():
    assert set(recipes()) == {*TABLES, *(f"selecmix/figure{number}" for number in range(2, 6))}


@pytest.mark.parametrize(
    ("recipe", "rows", "columns"),
    [
        ("selecmix/table1", 8, 9),
        ("selecmix/table2", 15, 1),
        ("selecmix/table3", 3, 5),
        # Vanilla, LfF, V+SelecMix and L+SelecMix are Table 1's
        ("selecmix/table4", 4 + 6, 9),
        ("selecmix/table5", 6, 9),
    ],
)
def test_every_published_cell_is_there_once(recipe: str, rows: int, columns: int):
    known = [cell for cell in every(recipe) if cell.published and not cell.row.endswith("(released)")]
    assert len(known) == rows * columns
    assert set(Counter(cell.row for cell in known).values()) == {columns}


@pytest.mark.parametrize(
    ("recipe", "row", "data", "column", "published"),
    [
        ("selecmix/table1", "HEX", "corrupted-cifar10", "0.5%", (13.87, 0.06)),
        ("selecmix/table1", "ReBias", "colored-mnist", "5%", (96.92, 0.09)),
        ("selecmix/table1", "EnD", "colored-mnist", "0.5%", (56.98, 4.85)),
        ("selecmix/table1", "DFA", "corrupted-cifar10", "1%", (33.80, 1.83)),
        ("selecmix/table1", "L+SelecMix", "bffhq", "0.5%", (70.80, 2.95)),
        ("selecmix/table2", "L+SelecMix by kl", "corrupted-cifar10", "1%", (39.94, 1.48)),
        ("selecmix/table2", "L+SelecMix B by cosine", "corrupted-cifar10", "1%", (33.69, 0.97)),
        ("selecmix/table2", "true-attribute L+SelecMix A", "corrupted-cifar10", "1%", (41.71, 0.85)),
        ("selecmix/table3", "V+SelecMix", "corrupted-cifar10", "5%", (87.28, 0.20)),
        ("selecmix/table3", "LfF", "bffhq", "0.5%", (51.07, 3.06)),
        ("selecmix/table4", "V+mixup", "corrupted-cifar10", "2%", (31.88, 0.42)),
        ("selecmix/table4", "L+SelecMix B", "bffhq", "0.5%", (70.40, 2.23)),
        ("selecmix/table4", "L+mixup", "colored-mnist", "2%", (72.44, 2.10)),
        ("selecmix/table5", "LISA B", "corrupted-cifar10", "0.5%", (29.56, 0.93)),
        ("selecmix/table5", "true-attribute SelecMix B", "bffhq", "0.5%", (77.40, 2.09)),
        ("selecmix/table3", "DFA", "colored-mnist", "1%", None),
        ("selecmix/table1", "V+SelecMix (control)", "colored-mnist", "1%", None),
    ],
)
def test_published_values(recipe: str, row: str, data: str, column: str, published: tuple[float, float] | None):
    assert value(recipe, row, data, column) == published


def test_the_last_column_of_table_2_is_a_column_of_table_4():
    for row in ("L+SelecMix A", "L+SelecMix B", "L+SelecMix"):
        at = (row, "corrupted-cifar10", "1%")
        assert value("selecmix/table2", *at) == value("selecmix/table4", *at)


def test_one_label_is_one_run_in_every_table():
    """So a cell that two tables share is trained once, and no two runs want one folder."""
    known: dict[tuple[str, str], Plan] = {}
    for recipe in recipes():
        found = [cell.plans[0] for cell in every(recipe)]
        assert len({(one.data, one.label) for one in found}) == len(found), f"a label stands twice in {recipe}"
        for one in found:
            assert known.setdefault((one.data, one.label), one) == one


@pytest.mark.parametrize("recipe", [name for name in TABLES if name != "selecmix/table3"])
def test_every_pairing_row_has_its_control_and_every_table_resampling(recipe: str):
    found = {cell.row: cell.plans[0] for cell in every(recipe)}
    assert found["resampling"].options == {"by": "group"}
    for row, one in found.items():
        if row.endswith(("(control)", "(released)")) or one.method not in ("selecmix", "lisa", "mixup"):
            continue
        control = found[f"{row} (control)"]
        assert dict(control.options) == {**one.options, "blend": "keep-both"}
        assert dataclasses.replace(control, label=row, options=one.options) == one


def test_settings_come_from_the_data_and_the_method():
    def chosen(row: str, data: str, column: str = "0.5%") -> Plan:
        found = every("selecmix/table1")
        return next(c.plans[0] for c in found if (c.row, c.data, c.column) == (row, data, column))

    for data, epochs, batch, lr, augment in [
        ("colored-mnist", 200, 256, 0.005, "none"),
        ("corrupted-cifar10", 300, 256, 0.001, "crop-flip"),
        ("bffhq", 200, 64, 0.0001, "crop-flip"),
    ]:
        for row in ("Vanilla", "EnD", "V+SelecMix"):
            training = chosen(row, data).training
            assert (training.epochs, training.batch, training.lr) == (epochs, batch, lr)
            assert (training.pool, training.drop_last, training.augment) == (4, True, augment)
    assert chosen("Vanilla", "bffhq").net == "resnet18:stem=imagenet,inputs=cifar"
    assert chosen("V+SelecMix", "corrupted-cifar10").options["auxiliary"] == "resnet18:inputs=cifar"
    bffhq = chosen("L+SelecMix", "bffhq").options
    assert (bffhq["auxiliary_optimizer"], bffhq["auxiliary_lr"]) == ("sgd", 0.4)
    for column, weight, lr in (("0.5%", None, 0.0005), ("1%", 5.0, 0.001), ("2%", 5.0, 0.001), ("5%", None, 0.001)):
        one = chosen("DFA", "corrupted-cifar10", column)
        assert (one.options.get("biased_weight"), one.training.lr) == (weight, lr)
    ours = chosen("selecmix", "colored-mnist", "5%")
    assert ours == plan("colored-mnist:ratio=0.05", "selecmix"), "as it comes"


def test_overrides_reach_every_row():
    for cell in cells("selecmix/table1", ["colored-mnist", "1%"], seeds=1, settings={"epochs": "7"}):
        assert cell.plans[0].training.epochs == 7


def test_rows_whose_results_are_stored_are_still_the_same_runs():
    """``results/runs.json`` is keyed by label, options, data, seed and epochs."""
    rows = {
        (cell.row, cell.plans[0].data): cell.plans[0]
        for recipe in ("selecmix/table1", "selecmix/table4", "selecmix/table5")
        for cell in every(recipe)
        if cell.data == "colored-mnist" and cell.published
    }
    stored = [
        (rows[key], line)
        for line in json.loads(RESULTS.read_text("utf-8"))
        if (key := (line["label"], line["dataset"])) in rows
    ]
    assert len(stored) >= 42
    for one, line in stored:
        assert (one.method, dict(one.options)) == (line["method"], line["options"])


# --- what is asked for ------------------------------------------------------------------------------------------------


def test_only_keeps_what_is_named_of_each_kind():
    found = cells("selecmix/table1", ["corrupted-cifar10", "1%", "5%", "HEX", "Vanilla"], seeds=2)
    assert [(cell.row, cell.data, cell.column) for cell in found] == [
        (row, "corrupted-cifar10", column) for row in ("Vanilla", "HEX") for column in ("1%", "5%")
    ]
    assert [one.seed for one in found[0].plans] == [0, 1]
    assert {cell.data for cell in cells("selecmix/table1", ["0.5%"], seeds=1)} == {
        "colored-mnist",
        "corrupted-cifar10",
        "bffhq",
    }


@pytest.mark.parametrize(
    ("recipe", "only", "message"),
    [
        ("selecmix/table9", [], "unknown recipe 'selecmix/table9': did you mean 'selecmix/table"),
        ("selecmix/table2", ["colored-mnist"], "unknown data set, column or row of selecmix/table2 'colored-mnist'"),
        ("selecmix/table1", ["V+SelecMi"], "'V+SelecMi': did you mean 'V+SelecMix'"),
    ],
)
def test_names_that_are_not_there(recipe: str, only: list[str], message: str):
    with pytest.raises(UserError, match=re.escape(message)):
        cells(recipe, only)


def test_names_that_leave_nothing(tmp_path: Path):
    with pytest.raises(UserError, match=r"nothing of selecmix/table1 is left by --only bffhq, 5%; leave one"):
        run("selecmix/table1", ["bffhq", "5%"], out=tmp_path)


def test_missing_data_is_said_before_any_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LONGCUT_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(reproduce, "compare", lambda *_, **__: pytest.fail("a run was begun"))
    with pytest.raises(UserError, match="bffhq") as caught:
        run("selecmix/table1", ["bffhq", "Vanilla"], seeds=1, out=tmp_path / "runs")
    assert "--only" not in str(caught.value)
    load = reproduce.datasets.load
    monkeypatch.setattr("longcut.datasets.load", lambda spec, *rest: spec if "mnist" in spec else load(spec, *rest))
    with pytest.raises(UserError, match=r"; or go on without it: --only colored-mnist\.$") as caught:
        run("selecmix/table1", ["bffhq", "colored-mnist", "0.5%"], seeds=1, out=tmp_path / "runs")
    assert str(caught.value).count(".\n") == 0
    assert not (tmp_path / "runs").exists()


# --- a paper of our own -----------------------------------------------------------------------------------------------

PAPER: dict[str, Any] = {
    "source": "nobody",
    "metric": "Accuracy",
    "seeds": 2,
    "data": {"digits": {"few": "colored-digits", "many": "colored-digits:ratio=0.2"}},
    "settings": {"colored-digits": {"epochs": 1, "net": "mlp:hidden=4", "selecmix": {"auxiliary": "tiny:width=4"}}},
    "recipe": {
        "knows": {"reads": "bias", "metric": "Accuracy for the colour"},
        "map": {"draws": "embedding"},
        "rates": {"draws": "curves", "x": "ratio", "lines": "row"},
        "ahead": {"draws": "curves", "x": "pretrain", "lines": "column"},
        "traces": {
            "draws": "similarity",
            "data": "digits",
            "column": "many",
            "settings": {"net": "tiny:width=4", "epochs": 2, "batch": 256},
        },
    },
    "row": [
        {"name": "plain", "tables": ["rates"], "method": "erm", "digits": "unpublished"},
        {
            "name": "told",
            "tables": ["one"],
            "method": {"digits": "resample", "digits many": "resample:by=group"},
            "note": "a note",
            "digits": [[50.0, 1.0], [60.0, 2.0]],
        },
        {
            "name": "mixed",
            "tables": ["one", "map", "knows", "rates"],
            "method": "selecmix",
            "released": "selecmix:argmax=code",
            "control": "selecmix:blend=keep-both",
            "digits": {"many": [60.0, 2.0]},
        },
        {"name": "later", "tables": ["ahead"], "method": "selecmix:pretrain=1", "digits": {"few": "unpublished"}},
        {"name": "at once", "tables": ["ahead"], "method": "selecmix", "digits": {"few": "unpublished"}},
        {"name": "own", "tables": ["own"], "method": "erm", "own_settings": True, "digits": "unpublished"},
    ],
}


@pytest.fixture
def paper(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reproduce, "_files", lambda: {"paper": PAPER})


@pytest.mark.usefixtures("paper")
def test_a_row_says_its_method_by_data_and_by_column():
    found = {(cell.row, cell.column): cell for cell in cells("paper/one", seeds=1)}
    assert list(found) == [
        ("told", "few"),
        ("told", "many"),
        ("mixed", "many"),
        ("mixed (released)", "many"),
        ("mixed (control)", "many"),
    ]
    assert found["told", "few"].plans[0].options == {}
    assert found["told", "many"].plans[0].options == {"by": "group"}
    assert found["mixed", "many"].plans[0].options == {"auxiliary": "tiny:width=4"}
    assert found["mixed (released)", "many"].published == found["mixed", "many"].published == (60.0, 2.0)
    assert found["mixed (control)", "many"].published is None
    assert [cell.plans[0].training.epochs for cell in cells("paper/own", ["few"], seeds=1)] == [
        DATASETS["colored-digits"].training["epochs"]
    ]


@pytest.mark.usefixtures("paper")
def test_ours_stands_beside_theirs(tmp_path: Path):
    results = run("paper/one", ["told"], out=tmp_path)
    few, many = results
    assert (few["row"], few["data"], few["column"], few["seeds"], few["epochs"]) == ("told", "digits", "few", 2, 1)
    assert few["last"] == pytest.approx(sum(few["lasts"]) / 2)
    assert few["last_sd"] == pytest.approx(abs(few["lasts"][0] - few["lasts"][1]) / 2**0.5)
    records = [json.loads((Path(folder) / "run.json").read_text()) for folder in many["folders"]]
    assert many["lasts"] == [100 * record["scores"]["test"]["values"]["average"] for record in records]
    assert many["bests"] == [100 * record["best"]["average"] for record in records]
    text = markdown("paper/one", results)
    assert "| told | digits few | 50.00 ± 1.00 |" in text
    for said in ("Accuracy, in %", "sample standard deviation over seeds", "an oracle picks", "told: a note."):
        assert said in text
    assert draw("paper/one", results, tmp_path) is None
    one = run("paper/one", ["told", "few"], seeds=1, out=tmp_path)
    assert (one[0]["lasts"], one[0]["last_sd"]) == (few["lasts"][:1], None), "what is done is not done again"


def record(last: float, best: float, **more: Any) -> Mapping[str, Any]:
    scores = {"test": {"values": {"average": last}}}
    return {"scores": scores, "best": {"average": best, "epoch": 3}, "seconds": 1.0, **more}


@pytest.mark.parametrize(
    ("lasts", "bests", "spans", "near"),
    [
        # published 60 ± 2; the deviation of two values is their distance over the root of 2
        ([0.50, 0.50], [0.63, 0.63], True, True),
        ([0.50, 0.50], [0.65, 0.65], True, False),
        ([0.50, 0.50], [0.57, 0.57], False, True),
        ([0.61, 0.61], [0.61, 0.61], False, True),
        ([0.60, 0.62], [0.61, 0.61], True, True),
        ([0.40, 0.40], [0.55, 0.61], True, True),
        ([0.40, 0.40], [0.55, 0.59], False, True),
        ([0.61], [0.65], False, False),
    ],
)
@pytest.mark.usefixtures("paper")
def test_verdicts(lasts: list[float], bests: list[float], spans: bool, near: bool, tmp_path: Path):
    (cell,) = cells("paper/one", ["told", "many"], seeds=len(lasts))
    records = [record(last, best) for last, best in zip(lasts, bests, strict=True)]
    result = reproduce._result(cell, records, None, tmp_path)
    assert (result["spans"], result["near"]) == (spans, near)
    (unpublished,) = cells("paper/one", ["mixed (control)"], seeds=len(lasts))
    result = reproduce._result(unpublished, records, None, tmp_path)
    assert (result["published"], result["spans"], result["near"]) == (None, None, None)
    assert table([result])[1][0][2:3] + table([result])[1][0][5:7] == ("–", "–", "–")


@pytest.mark.parametrize(("found", "known"), [({"probe": 0.9, "head": None}, 90), ({"probe": 0.9, "head": 0.6}, 60)])
@pytest.mark.usefixtures("paper")
def test_a_table_of_bias_models_reads_the_head_or_the_probe(found: dict, known: float, tmp_path: Path):
    (cell,) = cells("paper/knows", ["mixed"], seeds=1)
    result = reproduce._result(cell, [record(0.1, 0.2, bias=found)], "bias", tmp_path)
    assert (result["last"], result["best"], result["bests"]) == (known, None, [])
    assert (result["spans"], result["near"]) == (known == 60, known == 60)
    assert table([result])[1][0][4] == "–"
    (sentence, *_) = notes("paper/knows", [result])
    assert sentence.startswith("Accuracy for the colour, in %.")
    assert "oracle" not in sentence


@pytest.mark.parametrize("more", [{}, {"bias": {"probe": None, "head": None}}])
@pytest.mark.usefixtures("paper")
def test_a_run_without_a_bias_model_has_no_number_for_it(more: dict, tmp_path: Path):
    (cell,) = cells("paper/knows", ["mixed"], seeds=1)
    with pytest.raises(UserError, match="a run of mixed on digits many holds no accuracy for the attribute; it is"):
        reproduce._result(cell, [record(0.1, 0.2, **more)], "bias", tmp_path)


@pytest.mark.usefixtures("paper")
def test_pictures_of_runs(tmp_path: Path):
    results = run("paper/map", ["mixed"], seeds=1, out=tmp_path)
    picture = draw("paper/map", results, tmp_path)
    assert picture == tmp_path / "paper-map.svg"
    assert picture is not None
    assert "<svg" in picture.read_text("utf-8")
    assert run("paper/knows", ["mixed"], seeds=1, out=tmp_path)[0]["folders"] == results[0]["folders"]


def made(recipe: str, row: str, column: str, last: float, tmp_path: Path) -> dict[str, Any]:
    (cell,) = cells(recipe, [row, column], seeds=1)
    return reproduce._result(cell, [record(last, last)], None, tmp_path)


@pytest.mark.parametrize(
    ("recipe", "places", "line", "at"),
    [
        ("paper/rates", [("plain", "many"), ("plain", "few")], "plain", (0, 0.2)),
        ("paper/ahead", [("later", "few"), ("at once", "few")], "digits few", (0, 1)),
    ],
)
@pytest.mark.usefixtures("paper")
def test_a_curve_runs_over_an_option(
    recipe: str,
    places: list[tuple[str, str]],
    line: str,
    at: tuple[float, float],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    from longcut.report import figures

    drawn: dict[str, Any] = {}
    sweep = figures.sweep
    monkeypatch.setattr(
        figures, "sweep", lambda lines, *rest, **more: drawn.update(lines) or sweep(lines, *rest, **more)
    )
    results = [made(recipe, row, column, 0.3 - 0.1 * i, tmp_path) for i, (row, column) in enumerate(places)]
    text = draw(recipe, results, tmp_path)
    assert drawn == {line: (at, pytest.approx((0.2, 0.3)), (0, 0))}
    assert text is not None
    assert line in text.read_text("utf-8"), "the legend names the line"


@pytest.mark.usefixtures("paper")
def test_traces_of_similarity(tmp_path: Path):
    assert cells("paper/traces") == []
    asked = []
    once = {"epochs": "1"}
    results = run("paper/traces", seeds=2, out=tmp_path, settings=once, progress=lambda *at: asked.append(at))
    assert [(r["row"], r["column"]) for r in results[:4]] == [
        ("GSC", kind) for kind in ("positives", "contradicting positives", "contradicting negatives", "negatives")
    ]
    assert {r["row"] for r in results} == {"GSC", "SC"}
    for r in results:
        assert (r["data"], r["epochs"], r["seeds"], len(r["trace"])) == ("digits", 1, 2, 2)
        assert r["trace"] == pytest.approx([r["first"], r["last"]])
        assert -1 <= r["last"] <= 1
    assert results[0]["trace"][0] == results[4]["trace"][0], "the losses begin with the same weights"
    assert results[0]["trace"][1] != results[4]["trace"][1]
    assert asked[-1] == (4, 4)
    picture = draw("paper/traces", results, tmp_path)
    assert picture is not None
    assert "contradicting" in picture.read_text("utf-8")
    assert "| GSC | digits | positives |" in markdown("paper/traces", results)
    assert notes("paper/traces", results)[0].startswith("Mean cosine")
    (one, *_) = run("paper/traces", ["SC"], seeds=1, out=tmp_path, settings=once)
    assert (one["row"], one["last_sd"]) == ("SC", None)
    with pytest.raises(UserError, match="unknown setting of paper/traces 'lrr'"):
        run("paper/traces", settings={"lrr": "1"})


def test_methods_of_the_paper_are_methods_here():
    assert {cell.plans[0].method for name in TABLES for cell in every(name)} <= set(METHODS)
