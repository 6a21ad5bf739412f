"""Recipes: what is declared, what is printed of it, and a small paper of our own run from end to end."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import re
import sys
from collections import Counter
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import declare
from PIL import Image

from longcut import datasets
from longcut.data import Info
from longcut.datasets import DATASETS
from longcut.datasets.waterbirds import COUNTS
from longcut.errors import UserError
from longcut.evaluate import METRICS, Group, Scores
from longcut.methods import METHODS, build
from longcut.papers import (
    ANNOTATIONS,
    DOCUMENTS,
    ORIGINS,
    PROTOCOLS,
    READS,
    STATES,
    Cell,
    cells,
    draw,
    listed,
    markdown,
    notes,
    recipes,
    require_weights,
    run,
    table,
)
from longcut.plans import plan
from longcut.recipes import contents
from longcut.record import Best, Judged, Plan, Record

TABLES = [f"selecmix/table{number}" for number in range(1, 6)]
SUBPOPULATION = [
    *(f"mixing/{name}" for name in ("activation-maps", "cifar10", "cifar100", "colored-mnist", "schemes")),
    "mixing/waterbirds",
    *(f"jm1/{name}" for name in ("identification", *(f"table{number}" for number in range(1, 7)))),
    *(f"jm1/figure{number}" for number in (3, 9, 10)),
    *(f"subpopbench/{name}" for name in ("celeba", "civilcomments", "multinli", "others", "waterbirds")),
    *(f"umix/{name}" for name in ("camelyon17", "table")),
    *(f"worst-group/{name}" for name in ("colored-mnist", "multinli-dev", "waterbirds")),
    *(f"worst-group/{name}" for name in ("figure3", "figure9", "uncertainty")),
]
RUN = sys.modules["longcut.papers.run"]
RESULTS = Path(__file__).parents[1] / "results" / "runs.json"


@cache
def every(recipe: str) -> list[Cell]:
    """The cells of a table, with a run each; made once, for a plan takes some milliseconds."""
    return cells(recipe, seeds=1)


def value(recipe: str, row: str, data: str, column: str) -> tuple[float, float | None] | None:
    (cell,) = (one for one in every(recipe) if (one.row, one.data, one.column) == (row, data, column))
    return cell.published


# --- the SelecMix paper -----------------------------------------------------------------------------------------------


CONTRAST = ["wcl/table1", "wcl/table2", "wcl/table3"]
PICTURED = [f"wcl/{name}" for name in ("figure3", "figure4", "embedding")]
PICTURED += [f"slides/{name}" for name in ("activation-maps", "saliencymix", "umix")]
NEWEST = ["fg-ccdb/table1"]


@pytest.mark.parametrize(
    ("recipe", "row", "data", "column", "expected"),
    [
        ("wcl/table1", "WCL E_d", "cifar10", "top-1", (92.71, 0.3)),
        ("wcl/table1", "HCL", "cifar100", "worst class", (29.0, 0.8)),
        ("wcl/table1", "WCL E_b", "cifar100", "worst class", (1.0, 0.5)),
        ("wcl/table2", "SimCLR", "waterbirds", "worst group", (0.0, None)),
        ("wcl/table2", "DCL", "celeba", "top-1", (77.12, 1.6)),
        ("wcl/table3", "baseline", "adult", "equalized odds", (11.4, None)),
        ("wcl/table3", "WCL E_d, table", "compas", "accuracy", (64.3, None)),
    ],
)
def test_published_cells_of_contrastive_learning(recipe, row, data, column, expected):
    """Read off Jang and Wang 2023, Tables 1 to 3."""
    assert value(recipe, row, data, column) == expected


def test_every_row_of_contrastive_learning_has_its_way_to_be_run():
    """All but the biased encoder, which is a part of a run, and post-processing, which is of a finished one."""
    assert set(CONTRAST) <= set(recipes())
    alone = {cell.row for recipe in CONTRAST for cell in every(recipe) if not cell.plans}
    assert alone == {"WCL E_b", "equalized-odds post-processing"}


def test_the_tables_and_figures_of_the_paper_are_there():
    figures = {f"selecmix/figure{number}" for number in range(2, 6)}
    assert set(recipes()) == {*TABLES, *figures, *SUBPOPULATION, *CONTRAST, *PICTURED, *NEWEST}


@pytest.mark.parametrize(
    ("row", "data", "column", "expected"),
    [
        ("ERM", "colored-mnist", "5%", (82.17, 0.74)),
        ("GroupDRO", "corrupted-cifar10", "0.5%", (33.44, None)),
        ("uLA", "corrupted-cifar10", "5%", (74.49, 0.58)),
        ("GERNE", "colored-mnist", "0.5%", (77.25, 0.17)),
        ("GERNE, attributes known", "corrupted-cifar10", "0.5%", (45.34, None)),
        ("CCDB", "colored-mnist", "0.5%", (83.20, 2.17)),
        ("FG-CCDB", "colored-mnist", "5%", (98.21, 0.02)),
        ("FG-CCDB, attributes known", "corrupted-cifar10", "5%", (78.53, 0.37)),
        ("FG-CCDB, attributes known", "colored-mnist", "0.5%", None),
    ],
)
def test_published_cells_of_balanced_class_conditionals(row, data, column, expected):
    """Zhao and Zhang 2026, as others quote them; so is every one of them marked."""
    assert value("fg-ccdb/table1", row, data, column) == expected
    known = [cell for cell in every("fg-ccdb/table1") if cell.published]
    assert {cell.origin for cell in known} == {"second hand"}
    assert {cell.row for cell in every("fg-ccdb/table1") if not cell.plans} == {"CCDB"}


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
        if recipe.startswith("selecmix/"):
            found = [(cell.plans[0].data, cell.plans[0].label) for cell in every(recipe)]
            assert len(set(found)) == len(found), f"a label stands twice in {recipe}"
        for one in (one for cell in every(recipe) for one in (*cell.plans, *cell.against)):
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
        then = {"pairs": "learned"} if line["method"] == "selecmix" else {}  # the default when these were run
        assert (one.method, dict(one.options)) == (line["method"], then | line["options"])


def test_what_a_row_fixes_can_be_set_and_then_it_is_no_longer_the_papers():
    settings = {"pretrain": "3", "epochs": "4"}
    found = {cell.row: cell for cell in cells("selecmix/figure5", ["0.5%"], seeds=1, settings=settings)}
    assert list(found)[:3] == [
        "V+SelecMix",
        "V+SelecMix (pretrain=1), pretrain=3",
        "V+SelecMix (pretrain=2), pretrain=3",
    ]
    for row, cell in found.items():
        assert (cell.plans[0].label, cell.plans[0].options["pretrain"], cell.plans[0].training.epochs) == (row, 3, 4)
    same = cells("selecmix/figure5", ["0.5%", "V+SelecMix (pretrain=2)"], seeds=1, settings={"pretrain": "2"})
    assert [(cell.row, cell.changed) for cell in same] == [("V+SelecMix (pretrain=2)", "")]
    chosen = {"helper_epochs": 1}
    jm1 = {cell.row: cell for cell in cells("jm1/table4", ["JM1-avg T=20"], seeds=1, settings=chosen)}
    (row,) = jm1
    assert (row, jm1[row].plans[0].options["helper_epochs"]) == ("JM1-avg T=20, helper_epochs=1", 1)
    assert jm1[row].plans[0].label == "jm1-JM1-avg T=20, helper_epochs=1"


# --- how far they are -------------------------------------------------------------------------------------------------


def test_all_that_is_shown_is_listed_and_every_recipe_is():
    found = listed()
    assert {one.name for one in found if one.recipe} == set(recipes())
    assert {one.state for one in found} <= set(STATES)
    assert len({(one.name, one.data) for one in found}) == len(found)
    papers = list(dict.fromkeys(one.name.partition("/")[0] for one in found))
    assert tuple(papers[:4]) == DOCUMENTS == ("selecmix", "jm1", "wcl", "slides")
    assert all(one.about for one in found)
    for one in found:
        assert not one.by or (RESULTS.parents[1] / one.by).exists(), one.by


def stored() -> dict[tuple[str, str], set[tuple[int, int]]]:
    """Of each label and data set the seeds and epochs that results/ holds."""
    known: dict[tuple[str, str], set[tuple[int, int]]] = {}
    for line in json.loads(RESULTS.read_text("utf-8")):
        known.setdefault((line["label"], line["dataset"]), set()).add((line["seed"], line["epochs"]))
    return known


@pytest.mark.parametrize("recipe", sorted(recipes()))
def test_the_state_of_a_recipe_is_what_results_hold(recipe: str):
    known = stored()
    said = {one.data: one for one in listed() if one.name == recipe}
    made = {cell.data: [] for cell in every(recipe)}
    for cell in cells(recipe):
        if cell.plans:
            made[cell.data].append(cell)
    if recipe == "selecmix/figure2":  # not made of runs
        there = {trace["data"] for trace in json.loads((RESULTS.parent / "figure2.json").read_text("utf-8"))}
        assert {data for data, one in said.items() if one.state == "run shorter"} == there
        return
    assert set(made) <= set(said), "each of its data sets has a state"
    beyond = {one.state for data, one in said.items() if data not in made}
    assert beyond <= {"not built", "data not reachable"}, "what the recipe does not run"
    for data, found in made.items():
        state, by = said[data].state, said[data].by
        some = [one for one in found if (one.plans[0].label, one.plans[0].data) in known]
        whole = found and all(
            any(seed == p.seed and epochs >= p.training.epochs for seed, epochs in known.get((p.label, p.data), ()))
            for one in found
            for p in one.plans
        )
        if state == "run":
            assert whole, data
        elif state == "run shorter":
            assert (some or by) and not whole, data
        else:
            assert not some, f"{recipe} on {data} has runs"
            assert bool(found) == (state != "not built"), data


# --- worst groups -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("recipe", "row", "data", "column", "published"),
    [
        ("jm1/table1", "ERM", "waterbirds", "average", (97.6, None)),
        ("jm1/table1", "JM1", "celeba", "worst", (83.3, 0.7)),
        ("jm1/table1", "JM1", "multinli", "average", (80.3, 0.2)),
        ("jm1/table1", "LfF", "multinli", "worst", (70.2, None)),
        ("jm1/table1", "JM1 unconditional", "celeba", "worst", None),
        ("jm1/table2", "JM1", "waterbirds (groups)", "average", (93.1, None)),
        ("jm1/table3", "oracle JTT", "celeba", "worst", (57.2, None)),
        ("jm1/table3", "oracle JM1", "waterbirds", "average", (95.0, None)),
        ("jm1/table4", "JM1-avg T=40", "waterbirds (raw)", "worst, difference", (-4.5, None)),
        ("jm1/table4", "JM1-avg T=20", "waterbirds (raw)", "NS", (290, None)),
        ("jm1/table5", "GroupJM1 (ERM)", "multinli", "worst", (81.5, None)),
        ("jm1/table5", "GroupJM1 (DRO)", "celeba", "worst", (90.0, None)),
        ("jm1/table6", "JM1+ random U/B", "waterbirds (groups)", "w,l", (90.7, None)),
        ("jm1/table6", "JM1 input U(0.5)", "waterbirds (groups)", "l,w", (84.8, None)),
        ("jm1/identification", "JM1-robust T=100", "waterbirds (raw)", "worst", (81.3, None)),
        ("jm1/identification", "JM1-avg T=10", "waterbirds (raw)", "worst", (39.7, None)),
        ("umix/table", "UMIX", "celeba", "worst", (85.3, None)),
        ("umix/table", "V-REx", "camelyon17", "average", (71.5, None)),
        ("umix/table", "χ²-DORO", "civilcomments", "average", (90.1, None)),
        ("umix/camelyon17", "ERM", "camelyon17, both", "test", (70.8, 7.2)),
        ("umix/camelyon17", "Fish", "camelyon17, both", "validation", (82.5, None)),
        ("subpopbench/waterbirds", "LISA", "waterbirds", "worst", (88.7, 0.6)),
        ("subpopbench/waterbirds", "DFR without attributes", "waterbirds", "worst", (89.0, 0.2)),
        ("subpopbench/waterbirds", "gDRO (BalancingGroups)", "waterbirds", "worst", (87.1, 3.4)),
        ("subpopbench/celeba", "JTT", "celeba", "worst", (70.0, 10.2)),
        ("subpopbench/civilcomments", "CBLoss", "civilcomments", "worst", (73.3, None)),
        ("subpopbench/celeba", "GroupDRO without attributes", "celeba", "worst", (68.5, None)),
        ("subpopbench/others", "MEDRO gated", "others", "mean of 8", (70.0, None)),
        ("worst-group/waterbirds", "oracle JM1", "waterbirds", "worst", None),
    ],
)
def test_published_worst_groups(recipe: str, row: str, data: str, column: str, published: Any):
    assert value(recipe, row, data, column) == published


@pytest.mark.parametrize(
    ("recipe", "values"),
    [
        # EIIL has no more than Waterbirds
        ("jm1/table1", 7 * 6 - 4),
        ("jm1/table2", 2 * 6),
        ("jm1/table3", 2 * 4),
        ("jm1/table4", 3 * 8 + 3 * 2),
        ("jm1/table5", 3 * 6),
        # the average of JTT's row is Table 2's
        ("jm1/table6", 11 * 5 + 1),
        ("jm1/identification", 10 * 4),
        ("umix/table", 15 * 7),
        ("umix/camelyon17", 11 * 2),
        ("subpopbench/waterbirds", 21 + 5 + 6),
        ("subpopbench/celeba", 21 + 5 + 2),
        ("subpopbench/others", 21 * 5 + 5),
        ("worst-group/waterbirds", 0),
    ],
)
def test_nothing_that_is_published_is_left_out(recipe: str, values: int):
    assert sum(cell.published is not None for cell in every(recipe)) == values


@pytest.mark.parametrize("recipe", SUBPOPULATION)
def test_every_row_says_whose_numbers_and_by_what_means(recipe: str):
    for cell in every(recipe):
        assert cell.protocol in PROTOCOLS
        assert cell.annotation in ANNOTATIONS
        assert cell.origin in ORIGINS
        kind, _, name = cell.reads.rpartition(" ")
        assert kind in (*READS, "valid") or name in METRICS
        assert all(one.label.startswith(f"{recipe.partition('/')[0]}-") for one in cell.plans)
        selects = {one.select for one in cell.plans}
        assert selects <= (
            {"last", "best:average", "best:worst_class"} if cell.annotation == "none" else {one for one in selects}
        )


def test_what_others_quote_is_marked():
    found = {(c.row, c.data, c.column): c.origin for c in every("umix/table")}
    quoted = {("UMIX", "waterbirds", "worst"), ("UMIX", "celeba", "average"), ("UMIX", "civilcomments", "worst")}
    quoted |= {(row, "camelyon17", "average") for row in ("UMIX", "IRM", "V-REx", "CORAL", "GroupDRO", "LISA")}
    assert {key for key, origin in found.items() if origin == "second hand"} == quoted
    assert set(found.values()) == {"second hand", "memory"}
    for recipe, origin in (("jm1/table1", "paper"), ("subpopbench/celeba", "second hand")):
        assert {c.origin for c in every(recipe) if c.published} == {origin}


def weighted(accuracies: list[float], sizes: tuple[int, ...]) -> float:
    return sum(a * n for a, n in zip(accuracies, sizes, strict=True)) / sum(sizes)


def test_which_average_each_table_prints():
    """The four groups say: Table 2 weighs them by their share in training, Table 4 by that in the test set."""
    groups = ("l,l", "l,w", "w,l", "w,w")
    found = {(c.row, c.column): c for c in every("jm1/table2")}
    for row in ("JTT", "JM1"):
        accuracies = [found[row, group].published[0] for group in groups]  # type: ignore[index]
        published = found[row, "average"].published
        assert published is not None
        assert weighted(accuracies, COUNTS["training"]) == pytest.approx(published[0], abs=0.05)
        assert min(accuracies) == found[row, "worst"].published[0]  # type: ignore[index]
        assert found[row, "average"].reads == "train_weighted"
        if row == "JTT":
            raw = value("jm1/table4", "JTT T=60", "waterbirds (raw)", "average")
            assert raw is not None
            assert weighted(accuracies, COUNTS["test"]) == pytest.approx(raw[0], abs=0.05)
    assert {c.reads for c in every("jm1/table4") if c.column == "average"} == {"average"}
    assert [found["JTT", group].reads for group in groups] == [f"group {y},{a}" for y in (0, 1) for a in (0, 1)]


def test_the_columns_of_table_4_agree_with_each_other():
    def printed(row: str, column: str) -> float:
        found = value("jm1/table4", row, "waterbirds (raw)", column)
        assert found is not None
        return found[0]

    minority = COUNTS["training"][1] + COUNTS["training"][2]
    for t in (20, 40, 60):
        ours, theirs = f"JM1-avg T={t}", f"JTT T={t}"
        for column in ("average", "worst"):
            relative = 100 * (printed(ours, column) / printed(theirs, column) - 1)
            assert printed(ours, f"{column}, difference") == pytest.approx(relative, abs=0.06)
        assert printed(ours, "P") == pytest.approx(
            100 * printed(ours, "S") / (printed(ours, "S") + printed(ours, "NS")), abs=0.1
        )
        assert printed(ours, "R") == pytest.approx(100 * printed(ours, "S") / minority, abs=0.1)


def test_worst_is_the_worst_of_the_groups_in_table_6():
    for row in {cell.row for cell in every("jm1/table6")}:
        found = {cell.column: cell.published[0] for cell in every("jm1/table6") if cell.row == row and cell.published}
        assert found["worst"] == min(found[group] for group in ("l,l", "l,w", "w,l", "w,w"))


def test_the_mean_of_subpopbench_is_that_of_its_eight_columns():
    names = ("waterbirds", "celeba", "civilcomments", "multinli")
    others = {(c.row, c.column): c.published for c in every("subpopbench/others")}
    rows = [row for row, column in others if column == "mean of 8"]
    assert len(rows) == 21
    for row in rows:
        four = [value(f"subpopbench/{name}", row, name, "worst") for name in names]
        four += [others[row, column] for column in ("MetaShift", "NICO++", "CheXpert", "Living17")]
        mean = sum(found[0] for found in four if found) / 8
        assert mean == pytest.approx(others[row, "mean of 8"][0], abs=0.1)  # type: ignore[index]


def planned(recipe: str, row: str, data: str) -> Plan:
    return next(cell.plans[0] for cell in every(recipe) if (cell.row, cell.data) == (row, data))


def test_one_run_fills_several_columns_and_several_tables():
    jm1 = planned("jm1/table1", "JM1", "waterbirds")
    for recipe, row, data in [
        ("jm1/table2", "JM1", "waterbirds (groups)"),
        ("jm1/table6", "JM1 random U/B", "waterbirds (groups)"),
        ("jm1/identification", "JM1-robust T=40", "waterbirds (raw)"),
    ]:
        assert all(c.plans[0] == jm1 for c in every(recipe) if (c.row, c.data) == (row, data))
    jtt = planned("jm1/table1", "JTT", "waterbirds")
    assert planned("jm1/table4", "JTT T=60", "waterbirds (raw)") == jtt
    difference = next(c for c in every("jm1/table4") if (c.row, c.column) == ("JM1-avg T=60", "worst, difference"))
    assert difference.against == (jtt,)


def test_published_settings_are_whole():
    for recipe, row, data, training, options in [
        ("jm1/table1", "ERM", "waterbirds", ("sgd", 300, 128, 1e-3, 1e-4), {}),
        ("jm1/table1", "ERM", "celeba", ("sgd", 50, 128, 1e-4, 1e-4), {}),
        ("jm1/table1", "JTT", "waterbirds", ("sgd", 300, 64, 1e-5, 1.0), {"helper_epochs": 61, "upweight": 100}),
        ("jm1/table1", "JTT", "celeba", ("sgd", 50, 64, 1e-5, 0.1), {"helper_epochs": 2, "upweight": 50}),
        ("jm1/table1", "JM1", "waterbirds", ("sgd", 200, 32, 1e-5, 1.0), {"helper_epochs": 41}),
        ("jm1/table1", "JM1", "celeba", ("sgd", 40, 64, 1e-5, 0.1), {"helper_epochs": 2, "level": "early"}),
        ("jm1/table1", "GroupDRO", "celeba", ("sgd", 50, 128, 1e-5, 0.1), {}),
        ("jm1/table3", "oracle JM1", "celeba", ("sgd", 80, 64, 1e-5, 0.1), {"identify": "oracle", "level": "early"}),
        ("jm1/table3", "oracle JM1", "waterbirds", ("sgd", 200, 32, 1e-5, 1.0), {"identify": "oracle"}),
        ("jm1/table1", "JTT", "multinli", ("adamw", 5, 32, 1e-5, 0.1), {"helper_optimizer": "sgd", "upweight": 4}),
        ("jm1/table1", "JM1", "multinli", ("adamw", 4, 32, 1e-5, 0.1), {"level": "output", "law": "uniform"}),
        ("umix/table", "UMIX", "waterbirds", ("sgd", 300, 64, 1e-5, 1.0), {"start": 50, "window": 50, "eta": 80.0}),
        ("umix/table", "UMIX", "celeba", ("sgd", 20, 128, 1e-4, 1e-4), {"alpha": 1.5, "blend": "cut", "eta": 50.0}),
        ("umix/table", "UMIX", "civilcomments", ("adamw", 5, 128, 5e-5, 1e-4), {"sigma": 1.0, "window": 4}),
        ("umix/table", "LISA", "waterbirds", ("sgd", 300, 64, 1e-3, 1e-4), {"balanced": True}),
        ("subpopbench/waterbirds", "ERM", "waterbirds", ("sgd", 113, 108, 1e-3, 1e-4), {}),
        ("subpopbench/multinli", "LISA", "multinli", ("adamw-inverted", 5, 32, 1e-5, 1e-4), {}),
    ]:
        one = planned(recipe, row, data)
        t = one.training
        assert (t.optimizer, t.epochs, t.batch, t.lr, t.weight_decay) == training, (recipe, row, data)
        assert {**one.options, **options} == one.options
    assert planned("jm1/table1", "JM1", "waterbirds").options.keys() == {"helper_epochs"}, "the rest is as it comes"
    assert planned("jm1/table4", "JM1-avg T=40", "waterbirds (raw)").select == "best:average"
    assert planned("umix/table", "UMIX", "camelyon17").select == "best:average"
    assert planned("jm1/table1", "JM1", "multinli").training.clip == 1
    assert len(cells("umix/table", ["UMIX", "waterbirds", "worst"])[0].plans) == 11
    assert len(cells("umix/table", ["UMIX", "celeba", "worst"])[0].plans) == 3


def test_methods_of_every_plan_can_be_built():
    """With a small net in the place of a large one: names, options and levels fit."""
    images = Info("images", (3, 16, 16), 2, 2, n_stored=4, aligned=(0, 1))
    tokens = Info("text", (8,), 2, 2, n_stored=4, kind="tokens", vocabulary=9, aligned=(0, 1))
    seen = {}
    for recipe in SUBPOPULATION:
        for one in (one for cell in every(recipe) for one in cell.plans):
            text = one.data.startswith(("multinli", "civilcomments"))
            seen[one.method, tuple(sorted(one.options.items())), text] = one
    for (method, options, text), one in seen.items():
        built = build(
            method, tokens if text else images, net="tokens" if text else "conv:width=2", options=dict(options)
        )
        assert built.name == one.method


def test_pretrained_weights_have_to_be_given(tmp_path: Path):
    (cell,) = cells("jm1/table1", ["JM1", "waterbirds", "worst"], seeds=1)
    with pytest.raises(
        UserError, match=r"jm1-JM1 on waterbirds:size=224,crop=paper starts from pretrained weights; say where they"
    ):
        require_weights(cell.plans)
    with pytest.raises(
        UserError, match=r"--set weights=FILE, or take random ones, which is another setting: --set weig"
    ):
        run("jm1/table1", ["JM1", "waterbirds", "worst"], seeds=1, out=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()
    for given in ("resnet50.pth", "none"):
        found = cells("jm1/table1", seeds=1, settings={"weights": given})
        nets = {cell.data: cell.plans[0].net for cell in found}
        assert nets["waterbirds"] == nets["celeba"] == f"resnet50:weights={given}"
        assert nets["multinli"] == "hf:name=bert-base-uncased"
        require_weights([one for cell in found for one in cell.plans])
    (frozen,) = cells("subpopbench/waterbirds", ["ERM"], seeds=1, settings={"weights": "resnet50.pth"})
    assert frozen.plans[0].net == "resnet50:weights=resnet50.pth,norm=frozen"


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
    monkeypatch.setattr(RUN, "compare", lambda *_, **__: pytest.fail("a run was begun"))
    with pytest.raises(UserError, match="bffhq") as caught:
        run("selecmix/table1", ["bffhq", "Vanilla"], seeds=1, out=tmp_path / "runs")
    assert "--only" not in str(caught.value)
    load = datasets.load
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
            "at": {"digits": "many"},
            "settings": {"digits": {"net": "tiny:width=4", "epochs": 2, "batch": 256}},
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
    declare(monkeypatch, {"paper": PAPER})


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


def record(last: float, best: float, **more: Any) -> Record:
    return made_of(Scores({"average": last}, {}, [], 10), best=Best(3, best), **more)


def made_of(test: Scores, valid: Scores | None = None, **more: Any) -> Record:
    plain = plan("colored-digits", "erm")
    return Record(1, "done", plain, "f", {}, seconds=1.0, scores=Judged(test, valid), **more)


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
    result = RUN._result(cell, records, tmp_path)
    assert (result["spans"], result["near"]) == (spans, near)
    (unpublished,) = cells("paper/one", ["mixed (control)"], seeds=len(lasts))
    result = RUN._result(unpublished, records, tmp_path)
    assert (result["published"], result["spans"], result["near"]) == (None, None, None)
    assert table([result])[1][0][2:3] + table([result])[1][0][5:7] == ("–", "–", "–")


@pytest.mark.usefixtures("paper")
def test_nothing_is_compared_with_a_row_that_was_changed(tmp_path: Path):
    """Its method fixes by=group; its note says what was set instead."""
    (cell,) = cells("paper/one", ["told", "many"], seeds=1, settings={"by": "class"})
    assert cell.plans[0].options == {} and cell.row == "told, by=class"
    result = RUN._result(cell, [record(0.6, 0.6)], tmp_path)
    assert (result["changed"], result["published"], result["spans"], result["near"]) == ("by=class", 60, None, None)
    assert table([result])[1][0][0] == "told, by=class"
    assert "by=class: set in place of what the row fixes, so it is no longer the paper's" in markdown(
        "paper/one", [result]
    )
    (cell,) = cells("paper/one", ["told", "many"], seeds=1, settings={"by": "group"})
    assert "in place of" not in markdown("paper/one", [RUN._result(cell, [record(0.6, 0.6)], tmp_path)])


@pytest.mark.parametrize(
    ("found", "known"), [({"probe": 0.9, "head": math.nan}, 90), ({"probe": 0.9, "head": 0.6}, 60)]
)
@pytest.mark.usefixtures("paper")
def test_a_table_of_bias_models_reads_the_head_or_the_probe(found: dict, known: float, tmp_path: Path):
    (cell,) = cells("paper/knows", ["mixed"], seeds=1)
    result = RUN._result(cell, [record(0.1, 0.2, bias=found)], tmp_path)
    assert (result["last"], result["best"], result["bests"]) == (known, None, [])
    assert (result["spans"], result["near"]) == (known == 60, known == 60)
    assert table([result])[1][0][4] == "–"
    (sentence, *_) = notes("paper/knows", [result])
    assert sentence.startswith("Accuracy for the colour, in %.")
    assert "oracle" not in sentence


@pytest.mark.parametrize("more", [{}, {"bias": {"probe": math.nan, "head": math.nan}}])
@pytest.mark.usefixtures("paper")
def test_a_run_without_a_bias_model_has_no_number_for_it(more: dict, tmp_path: Path):
    (cell,) = cells("paper/knows", ["mixed"], seeds=1)
    with pytest.raises(UserError, match="a run of mixed on digits many holds no accuracy for the attribute; if"):
        RUN._result(cell, [record(0.1, 0.2, **more)], tmp_path)


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
    return RUN._result(cell, [record(last, last)], tmp_path)


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
    assert len(run("paper/one", ["told", "few"], seeds=1, out=tmp_path)) == 1, "a picture alone is no reason to refuse"
    (one, *_) = run("paper/traces", ["SC"], seeds=1, out=tmp_path, settings=once)
    assert (one["row"], one["last_sd"]) == ("SC", None)
    with pytest.raises(UserError, match="unknown setting of paper/traces 'lrr'"):
        run("paper/traces", settings={"lrr": "1"})


# --- a paper of worst groups ------------------------------------------------------------------------------------------

DIGITS = "colored-digits:ratio=0.2"
GROUPS: dict[str, Any] = {
    "source": "nobody",
    "metric": "Accuracy",
    "seeds": {"digits": 2, "elsewhere": 9},
    "prefix": "paper-",
    "protocol": "paper",
    "origin": "second hand",
    "select": "best:worst_class",
    "data": {
        "digits": {
            "adjusted": {"spec": DIGITS, "reads": "train_weighted"},
            "watched": {"spec": DIGITS, "reads": "valid average"},
            "3, 3": {"spec": DIGITS, "reads": "group 3,3"},
            "S": {"spec": DIGITS, "reads": "identification conflicting"},
            "P": {"spec": DIGITS, "reads": "identification precision"},
            "difference": {"spec": DIGITS, "reads": "average", "relative": True},
        },
        "elsewhere": {"worst": {"reads": "worst_group"}},
    },
    "settings": {"colored-digits": {"epochs": 2, "net": "mlp:hidden=16", "jtt": {"helper_epochs": 1}}},
    "recipe": {"one": {"only": ["digits"], "note": "a word on the table"}},
    "row": [
        {
            "name": "twice",
            "tables": ["one"],
            "method": "jtt",
            "against": "plain",
            "annotation": "val-sel",
            "digits": [[50.0], [51.0, 2.0], [52.0, "memory"], [9], [12.5], [-3.0, 1.0, "paper"]],
            "elsewhere": [[1.0]],
        },
        {
            "name": "plain",
            "tables": ["one"],
            "method": "erm",
            "select": "last",
            "label": "ERM",
            "annotation": "none",
            "digits": {"adjusted": "unpublished", "watched": [30.0]},
        },
        {"name": "theirs", "tables": ["one"], "protocol": "wilds", "digits": {"adjusted": [70.0, 1.5]}},
        {"name": "theirs", "tables": ["two"], "elsewhere": [[2.0]]},
    ],
}


@pytest.fixture
def groups(monkeypatch: pytest.MonkeyPatch) -> None:
    declare(monkeypatch, {"paper": GROUPS})


@pytest.mark.usefixtures("groups")
def test_several_numbers_of_one_run(tmp_path: Path):
    results = run("paper/one", out=tmp_path)
    assert sorted(path.parent.name for path in tmp_path.rglob("run.json")) == [
        f"paper-{name}-s{seed}" for name in ("ERM", "twice") for seed in (0, 1)
    ]
    assert len(json.loads((tmp_path / "summary.json").read_text("utf-8"))) == 4
    twice, plain = {r["column"]: r for r in results[:6]}, {r["column"]: r for r in results[6:8]}
    records = [json.loads((Path(folder) / "run.json").read_text("utf-8")) for folder in twice["S"]["folders"]]
    others = [json.loads((Path(folder) / "run.json").read_text("utf-8")) for folder in plain["watched"]["folders"]]

    def test_of(record: dict[str, Any]) -> dict[str, Any]:
        return record["scores"]["test"]["values"]

    assert twice["adjusted"]["lasts"] == [100 * test_of(record)["train_weighted"] for record in records]
    assert twice["watched"]["lasts"] == [100 * record["scores"]["valid"]["values"]["average"] for record in records]
    assert plain["watched"]["lasts"] == [100 * other["scores"]["valid"]["values"]["average"] for other in others]
    assert twice["S"]["lasts"] == [record["identification"]["conflicting"] for record in records]
    assert twice["P"]["lasts"] == [100 * record["identification"]["precision"] for record in records]
    accuracies = [
        100 * group["value"]
        for record in records
        for group in record["scores"]["test"]["groups"]
        if (group["label"], group["attribute"]) == (3, 3)
    ]
    assert twice["3, 3"]["lasts"] == accuracies
    assert twice["difference"]["lasts"] == pytest.approx(
        [100 * (test_of(a)["average"] / test_of(b)["average"] - 1) for a, b in zip(records, others, strict=True)]
    )
    assert twice["difference"]["against"] == "paper-ERM"
    assert {r["selection"] for r in twice.values()} == {"best:worst_class"}
    assert {r["best"] for r in twice.values()} == {None}, "a rule selects, so no oracle does"
    assert [twice[column]["origin"] for column in ("watched", "3, 3", "difference")] == [
        "second hand",
        "memory",
        "paper",
    ]
    (theirs,) = results[8:]
    assert (theirs["published"], theirs["last"], theirs["seeds"], theirs["epochs"]) == (70.0, None, 0, None)
    assert (theirs["spans"], theirs["near"], theirs["folders"]) == (None, None, [])


@pytest.mark.usefixtures("groups")
def test_a_table_of_worst_groups_defines_what_it_prints(tmp_path: Path):
    test = Scores({"train_weighted": 0.5, "average": 0.25}, {}, [Group(3, 3, 9, 0.52, 0.5, 0.6)], 10)
    found = {"conflicting": 9, "precision": 0.125}
    one = made_of(test, Scores({"average": 0.3}, {}, [], 10), best=Best(1, 1.0), identification=found)
    results = [
        RUN._result(cell, [one] * len(cell.plans), tmp_path, [one] * len(cell.against)) for cell in cells("paper/one")
    ]
    head, lines = table(results)
    assert head == ("row", "data", "metric", "protocol", "published", "ours", "near", "epochs", "seeds")
    assert [line[2:7] for line in lines] == [
        ("train_weighted (best:worst_class)", "paper, val-sel", "50.00 †", "50.00 ± 0.00", "yes"),
        ("valid average (best:worst_class)", "paper, val-sel", "51.00 ± 2.00 †", "30.00 ± 0.00", "no"),
        ("group 3,3 (best:worst_class)", "paper, val-sel", "52.00 ‡", "52.00 ± 0.00", "yes"),
        ("identification conflicting (best:worst_class)", "paper, val-sel", "9.00 †", "9.00 ± 0.00", "yes"),
        ("identification precision (best:worst_class)", "paper, val-sel", "12.50 †", "12.50 ± 0.00", "yes"),
        ("average against paper-ERM (best:worst_class)", "paper, val-sel", "-3.00 ± 1.00", "0.00 ± 0.00", "no"),
        ("train_weighted (last)", "paper, none", "–", "50.00 ± 0.00", "–"),
        ("valid average (last)", "paper, none", "30.00 †", "30.00 ± 0.00", "yes"),
        ("train_weighted", "wilds", "70.00 ± 1.50 †", "–", "–"),
    ]
    said = notes("paper/one", results)
    assert said[0].startswith("Accuracy, in %. ")
    assert "the epoch that best:worst_class or last selects" in said[0]
    assert table(results[:6])[1][0][2] == "train_weighted", "one rule stands in the notes alone"
    assert "oracle" not in said[0]
    for line in (
        f"train_weighted: {METRICS['train_weighted'].definition}.",
        f"valid average: {METRICS['average'].definition}, of the validation set.",
        f"worst_class: {METRICS['worst_class'].definition}.",
        f"paper: {PROTOCOLS['paper']}.",
        f"val-sel: {ANNOTATIONS['val-sel']}.",
        "† second hand: read where others quote it.",
        "‡ second hand, and from memory: not checked against anything printed.",
        "a word on the table",
    ):
        assert said.count(line) == 1
    assert sum(line.startswith("identification: ") for line in said) == 1
    assert any(line.startswith("Without a value of ours") for line in said)
    assert markdown("paper/one", results).count("\n\n") == 1


@pytest.mark.usefixtures("groups")
def test_numbers_that_are_not_there(tmp_path: Path):
    empty = made_of(Scores({}, {}, [], 10))
    for column, what in (
        ("adjusted", "train_weighted"),
        ("watched", "average"),
        ("3, 3", "such group of label and attribute"),
        ("S", "count of the samples that were taken for the minority"),
    ):
        (cell,) = cells("paper/one", ["twice", column], seeds=1)
        with pytest.raises(UserError, match=f"a run of twice on digits {column} holds no {what}; if it is older"):
            RUN._result(cell, [empty], tmp_path)
    (cell,) = cells("paper/one", ["twice", "difference"], seeds=1)
    nothing = record(0.0, 0.0)
    assert RUN._result(cell, [nothing], tmp_path, [nothing])["last"] is None


def waterbirds(folder: Path) -> Path:
    """Noise in the layout of Waterbirds: four samples of each group in each split, eight where they agree."""
    rows = ["img_id,img_filename,y,split,place,place_filename"]
    rng = np.random.default_rng(0)
    for split, y, place in product(range(3), range(2), range(2)):
        for _ in range(8 if y == place else 4):
            name = f"{len(rows)}.png"
            Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8)).save(folder / name)
            rows.append(f"{len(rows)},{name},{y},{split},{place},/a/b.jpg")
    (folder / "metadata.csv").write_text("\n".join(rows), "utf-8")
    return folder


def test_table_4_from_end_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """As declared, but for the images, the net, and fewer epochs of the second stage."""
    (tmp_path / "birds").mkdir()
    monkeypatch.setenv("LONGCUT_CACHE", str(tmp_path / "cache"))
    content = copy.deepcopy(contents()["jm1"])
    birds = waterbirds(tmp_path / "birds")
    for column in content["data"]["waterbirds (raw)"].values():
        column["spec"] = f"waterbirds:size=16,counts=any,folder={birds}"
    declare(monkeypatch, {"jm1": content})
    small = {"net": "conv:width=2", "epochs": 2}
    results = run("jm1/table4", ["JM1-avg T=20", "JTT T=20"], seeds=1, out=tmp_path / "runs", settings=small)
    ours = {r["column"]: r["last"] for r in results if r["row"] == "JM1-avg T=20"}
    theirs = {r["column"]: r["last"] for r in results if r["row"] == "JTT T=20"}
    assert ours["average, difference"] == pytest.approx(100 * (ours["average"] / theirs["average"] - 1))
    assert ours["P"] == pytest.approx(100 * ours["S"] / (ours["S"] + ours["NS"]))
    assert ours["R"] == pytest.approx(100 * ours["S"] / 8)
    assert {len(r["folders"]) for r in results} == {1}
    assert len({folder for r in results for folder in r["folders"]}) == 2
    assert (
        "| JM1-avg T=20 | waterbirds (raw) S | identification conflicting (best:average) | paper, none | 107.00 |"
        in (markdown("jm1/table4", results))
    )


@pytest.mark.usefixtures("groups")
def test_a_table_that_only_stands_there(tmp_path: Path):
    assert [cell.plans for cell in cells("paper/two")] == [()]
    (one,) = run("paper/two", out=tmp_path)
    assert (one["published"], one["last"]) == (2.0, None)


def test_methods_of_the_paper_are_methods_here():
    assert {cell.plans[0].method for name in TABLES for cell in every(name)} <= set(METHODS)
