"""What the page says of biased models, of the partners they chose, and of runs over an option."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import unsealed
from matplotlib.colors import to_hex
from test_report import BETTER, BIASED, HOSTILE, cell_of, check_self_contained, make_run, pictures, plan_of, report

from longcut import runs
from longcut.report import analyses, figures
from longcut.report.base import Page
from longcut.report.study import studies
from longcut.training import Training


def grown(folder: Path, shares: Sequence[float | None] = (), **record: Any) -> Path:
    """The run in ``folder`` with further fields in its record, and a share of partners in each row of its history."""
    path = folder / "run.json"
    path.write_text(json.dumps(unsealed(path) | record))
    rows = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    rows = [row | ({"conflicting_partners": shares[i]} if i < len(shares) else {}) for i, row in enumerate(rows)]
    (folder / "history.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def labels_of(found: Any) -> list[str]:
    return [attributes["aria-label"] for attributes in found.of("svg") if "aria-hidden" not in attributes]


def test_a_page_of_older_runs_has_none_of_it(tmp_path: Path):
    make_run(tmp_path / "a", plan_of(), BIASED)
    make_run(tmp_path / "b", plan_of("selecmix"), BETTER, gallery=pictures())
    text = report(tmp_path).text
    assert "Whom the methods chose" not in text
    assert "What the bias models know" not in text
    assert "everything else being the same" not in text


# --- biased models ----------------------------------------------------------------------------------------------------


def test_what_biased_models_know_stands_in_a_table(tmp_path: Path):
    cells = [cell_of(0, 0, 0.5, 20), cell_of(0, 1, 0.5, 30), cell_of(1, 0, 0.5, 10), cell_of(1, 1, 0.5, 40)]
    for seed in range(3):
        for method, bias in (
            ("erm", None),
            ("lff", {"probe": 0.8 + seed / 100, "head": 0.6}),
            ("selecmix", {"probe": 0.9, "head": None}),
        ):
            folder = make_run(tmp_path / f"{method}{seed}", plan_of(method, seed), BETTER, groups=cells)
            if bias:
                grown(folder, bias=bias)
    text = report(tmp_path).text
    part = text.partition("What the bias models know of the colour")[2].partition("Settings")[0]
    assert "Always naming the commonest is right on 70.0 %." in part  # (30 + 40) / 100
    assert "Method Linear probe Biased head" in part
    assert "LfF 81.0 ± 1.0 60.0 ± 0.0" in part
    assert "SelecMix 90.0 ± 0.0 –" in part
    assert "ERM" not in part


def test_who_was_taken_for_the_minority_stands_in_a_table(tmp_path: Path):
    for seed in range(2):
        make_run(tmp_path / f"erm{seed}", plan_of("erm", seed), BIASED)
        found = {"conflicting": 100 + 20 * seed, "aligned": 300, "precision": 0.25, "recall": 0.5}
        grown(make_run(tmp_path / f"jtt{seed}", plan_of("jtt", seed), BETTER), identification=found)
        nobody = {"conflicting": 0, "aligned": 0, "precision": None, "recall": 0.0}
        grown(make_run(tmp_path / f"xrm{seed}", plan_of("xrm", seed), BETTER), identification=nobody)
    text = report(tmp_path).text
    part = text.partition("Whom the methods took for the minority")[2].partition("Settings")[0]
    assert "Method Contradict Agree Precision Recall" in part
    assert re.search(r"JTT 110(\.0)? ± 14(\.1)? 300(\.0)? ± 0(\.0)? 25\.0 ± 0\.0 50\.0 ± 0\.0", part)
    assert re.search(r"XRM 0(\.0)? ± 0(\.0)? 0(\.0)? ± 0(\.0)? – 0\.0 ± 0\.0", part)
    assert "ERM" not in part.partition("</table>")[0].partition("Recall")[2].partition("What")[0]


def test_what_methods_say_of_their_runs_stands_below_the_table(tmp_path: Path):
    make_run(tmp_path / "erm", plan_of("erm"), BIASED)
    for seed in range(2):
        grown(make_run(tmp_path / f"lff{seed}", plan_of("lff", seed), BETTER), remarks=[f"chose <{seed}>.", "same."])
    text = report(tmp_path).text
    below = text.partition("nobody who trains a model has this number.")[2].lstrip()
    assert re.match(r"LfF, seed 0 ?: chose <0>\. LfF ?: same\. LfF, seed 1 ?: chose <1>\.", below), below[:200]


def test_what_an_attribute_without_a_name_is_called(tmp_path: Path):
    folder = make_run(tmp_path / "a", plan_of("lff"), BETTER, attributes=("1st", "2nd"), groups=[cell_of(0, None, 0.5)])
    grown(folder, bias={"probe": 0.9, "head": None})
    text = report(tmp_path).text
    assert "What the bias models know of the attribute The share of test samples, in percent, whose attribute" in text
    assert "Always naming" not in text


def test_half_told_is_not_told(tmp_path: Path):
    """One of the two runs is older: their mean would be that of one."""
    for seed in range(2):
        make_run(tmp_path / str(seed), plan_of("lff", seed), BETTER)
    grown(tmp_path / "0", bias={"probe": 0.9, "head": None})
    assert "What the bias models know" not in report(tmp_path).text


# --- partners ---------------------------------------------------------------------------------------------------------


def test_partners_over_the_epochs_beside_their_share_of_the_data(tmp_path: Path):
    for seed, shares in enumerate(([0.25, 0.5, 0.75], [0.25, 0.5, 0.65])):
        folder = make_run(tmp_path / f"s{seed}", plan_of("selecmix", seed), BETTER)
        grown(folder, shares, conflicting_share=0.04 + 0.02 * seed)
    make_run(tmp_path / "erm", plan_of("erm"), BIASED)
    found = report(tmp_path)
    part = found.text.partition("Whom the methods chose as partners")[2]
    assert "the share of the training samples that do, 5.0 %" in part
    assert "a band from the lowest to the highest" in part
    (label,) = [label for label in labels_of(found) if "chosen partners" in label]
    assert label.endswith("over the epochs; it ends with SelecMix 70.0 %.")


def test_partners_without_their_share_of_the_data_or_of_every_epoch(tmp_path: Path):
    grown(make_run(tmp_path / "a", plan_of("selecmix"), BETTER), [0.25, None, 0.75])
    grown(make_run(tmp_path / "b", plan_of("lisa"), BETTER), [None, None, None])
    found = report(tmp_path)
    part = found.text.partition("Whom the methods chose as partners")[2].partition("Make it again")[0]
    assert "dotted" not in part
    assert "band" not in part
    study = studies(runs.read(folder) for folder in runs.find([tmp_path]))[0]
    looks = figures.styles([contender.name for contender in study.contenders])
    panel = analyses.partners(study, Page("", looks, 1))
    assert panel is not None
    assert "<bdi>SelecMix</bdi>" in panel
    assert "<bdi>LISA</bdi>" not in panel


# --- runs over an option ----------------------------------------------------------------------------------------------


def test_data_sets_that_differ_in_one_number_have_a_panel_above(tmp_path: Path):
    for ratio, average in ((0.01, 0.5), (0.1, 0.7)):
        for seed in range(2):
            for method, gain in (("erm", 0.0), ("lff", 0.125)):
                plan = plan_of(method, seed, data=f"colored-digits:ratio={ratio}")
                make_run(tmp_path / f"{method}{ratio}{seed}", plan, {**BIASED, "average": average + gain + seed / 50})
    found = report(tmp_path)
    check_self_contained(found)
    head, _, rest = found.text.partition("colored-digits over ratio")
    assert "ERM follows" not in head
    assert "share of training images that contradict the shortcut" in rest
    assert "ERM LfF" in rest
    labels = labels_of(found)
    assert (
        "Average on the test set over ratio: ERM: 51.0 at 0.01, 71.0 at 0.1; LfF: 63.5 at 0.01, 83.5 at 0.1." in labels
    )
    assert "Best average (oracle) on the test set over ratio: ERM: 87.5 at 0.01, 87.5 at 0.1; LfF: 87.5 at 0.01, 87.5 at 0.1." in labels  # fmt: skip  # noqa: E501
    assert len(found.of("section")) == 3


def test_methods_that_differ_in_one_number_have_a_panel_of_their_own(tmp_path: Path):
    make_run(tmp_path / "erm", plan_of("erm", data="colored-digits"), BIASED)
    for q in (0.2, 0.5):
        plan = plan_of("selecmix", data="colored-digits", label=f"selecmix:q={q}", options={"q": q})
        make_run(tmp_path / str(q), plan, {**BETTER, "average": q})
    found = report(tmp_path)
    part = found.text.partition("Over q Test accuracy over q (amplification")[2]
    assert "everything else being the same. Its values" in part
    assert any("over q: SelecMix: 20.0 at 0.2, 50.0 at 0.5." in label for label in labels_of(found))
    assert len(found.of("section")) == 1


def test_two_data_sets_that_differ_in_more_have_no_panel(tmp_path: Path):
    make_run(tmp_path / "a", plan_of(data="colored-digits"), BIASED)
    make_run(tmp_path / "b", plan_of(data="colored-digits:ratio=0.1", training=Training(epochs=9)), BIASED)
    make_run(tmp_path / "c", plan_of(data="colored-mnist"), BIASED)
    assert "everything else being the same" not in report(tmp_path).text


def test_names_of_lines_stay_text(tmp_path: Path):
    for ratio in (0.01, 0.1):
        plan = plan_of("lff", label=HOSTILE, data=f"colored-digits:ratio={ratio}")
        grown(make_run(tmp_path / str(ratio), plan, BETTER), [0.5, 0.5, 0.5], bias={"probe": 0.5, "head": 0.5})
    found = report(tmp_path)
    assert len(found.of("script")) == 1
    assert not any(name.startswith("on") for _, attributes in found.tags for name in attributes)
    assert "What the bias models know" in found.text
    assert "over ratio" in found.text


# --- figures ----------------------------------------------------------------------------------------------------------


def test_a_sweep_goes_through_its_means_at_equal_distances():
    lines = {"a": ([0.0, 0.4], [0.9, 0.5], [0.1, math.nan]), "b": ([0.1], [0.25], [0.05])}
    looks = figures.styles(["a", "b"])
    axes = figures.sweep(lines, looks, "Average", unit="noise").axes[0]
    first, second = axes.lines
    assert np.asarray(first.get_xydata()).tolist() == [[0, 0.9], [2, 0.5]]
    assert np.asarray(second.get_xydata()).tolist() == [[1, 0.25]]
    assert first.get_color() == looks["a"].color != looks["b"].color
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["0", "0.1", "0.4"]
    assert axes.get_xlabel() == "noise"
    band = np.asarray(axes.collections[1].get_paths()[0].vertices)[:, 1]
    assert (band.min(), band.max()) == pytest.approx((0.2, 0.3))
    assert to_hex(axes.collections[1].get_facecolor()[0]) == looks["b"].color  # type: ignore[index]


@pytest.mark.parametrize(("share", "above"), [(0.01, True), (0.5, False)])
def test_the_words_at_a_guide_stay_within_the_panel(share: float, above: bool):
    lines: Mapping[str, Any] = {"a": ([1, 2], [[0.5, 0.6]])}
    axes = figures.curve(lines, figures.styles(["a"]), "", chance=share, guide="in the data").axes[0]
    (text,) = [text for text in axes.texts if text.get_text() == "in the data"]
    assert (text.get_position()[1] > share) == above
    assert re.match("bottom" if above else "top", text.get_verticalalignment())
