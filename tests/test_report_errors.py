"""The report of a regression: its words, what was predicted against what is true, and what is left over."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from test_report import cell_of, make_run, plan_of, report
from torch import Tensor

from longcut.data import Dataset, generator
from longcut.errors import UserError
from longcut.evaluate import metrics, sample_values
from longcut.report import errors, figures
from longcut.report.errors import _by_fifth, _Said

VALUES = {
    "average": 4.0,
    "worst_group": 9.0,
    "rmse": 2.0,
    "worst_group_rmse": 3.0,
    "mae": 1.5,
    "r2": 0.25,
    "mape": 12.0,
}
SITES = ("north", "south")


def kept(n: int = 60, width: int = 1, seed: int = 0, *, sites: int = 2) -> dict[str, Tensor]:
    draw = generator(seed)
    label = 10 * torch.rand(n, width, generator=draw)
    said = label + torch.randn(n, width, generator=draw)
    return {"outputs": said, "label": label, "attribute": torch.arange(n) % sites}


def of_regression(
    place: Path, predictions: dict[str, Tensor], method: str = "erm", seed: int = 0, **how: object
) -> Path:
    groups = [cell_of(0, 0, 1.0), cell_of(0, 1, 9.0)]
    how = {"groups": groups, "attributes": SITES, "aligned": ()} | how
    plan = plan_of(method, seed)
    return make_run(place / f"{method}{seed}", plan, VALUES, predictions=predictions, task="regression", **how)  # type: ignore[arg-type]


def said(true: object, output: object, group: object = None) -> _Said:
    true = np.asarray(true, float)
    return _Said(
        "erm", true, np.asarray(output, float), np.zeros(len(true), int) if group is None else np.asarray(group)
    )


# --- words ------------------------------------------------------------------------------------------------------------


def test_a_page_about_a_regression_speaks_of_errors(tmp_path: Path):
    for seed in range(2):
        of_regression(tmp_path, kept(), "erm", seed)
        of_regression(tmp_path, kept(), "mixup", seed)
    text = report(tmp_path).text
    assert "ERM has a root mean squared error of 2, and of 3 in its worst group; Mixup gets 3 there" in text
    assert "ccuracy" not in text
    assert "classes" not in text
    assert not re.search(r"\d %", text.replace("95 %", ""))
    for title in ("RMSE", "Worst group RMSE", "MAE", "MAPE (%)", "R²", "Lowest RMSE (oracle)"):
        assert title in text
    assert "Error in the units of the target (lower is better) on the test set" in text
    assert "Average" not in text
    assert "Group mean" not in text, "a mean of squares, in no unit that anybody has"
    assert "south 10 ▼"[:8] in text
    assert "What was taken for what" not in text


def test_groups_have_the_root_of_their_mean_squared_error(tmp_path: Path):
    of_regression(tmp_path, kept())
    text = report(tmp_path).text
    assert "south 10 3 [3, 3] north 10 1 [0.995, 1]" in text


def test_the_worst_group_is_not_said_where_no_group_is_known(tmp_path: Path):
    predictions = {name: kept()[name] for name in ("outputs", "label")}
    of_regression(tmp_path, predictions, groups=[cell_of(0, None, 4.0)])
    text = report(tmp_path).text
    assert "ERM has a root mean squared error of 2." in text
    assert "Worst group" not in text


# --- pictures ---------------------------------------------------------------------------------------------------------


def test_fifths_by_hand():
    #       fifths of two samples each; the residuals of each are -1 and +3 times its number
    true = np.arange(10.0)
    output = true + np.repeat(np.arange(5), 2) * np.tile([-1.0, 3.0], 5)
    rows = _by_fifth(said(true, output))
    assert [row["range"] for row in rows] == ["0 to 1", "2 to 3", "4 to 5", "6 to 7", "8 to 9"]
    assert [row["n"] for row in rows] == [2] * 5
    assert [float(row["mean"]["sort"]) for row in rows] == [0, 1, 2, 3, 4]
    assert [row["mean"]["mean"] for row in rows] == ["0", "+1", "+2", "+3", "+4"]
    assert [float(row["error"]["sort"]) for row in rows] == pytest.approx(
        [k * math.sqrt(5) for k in range(5)], rel=1e-5
    )
    assert [row["worst"] for row in rows] == [False] * 4 + [True]


@pytest.mark.parametrize("ties", [False, True])
def test_the_worst_fifth_is_that_of_the_metric(ties: bool):
    """The table and the metric ``worst_fifth_rmse`` cut the target at the same places."""
    found = kept(83)
    label = found["label"].round() if ties else found["label"]
    data = Dataset.of(torch.zeros(83, 1), label)
    value = metrics(sample_values(found["outputs"], data), data, outputs=found["outputs"])["worst_fifth_rmse"]
    rows = _by_fifth(said(label[:, 0].double(), found["outputs"][:, 0].double()))
    assert max(float(row["error"]["sort"]) for row in rows) == pytest.approx(value, rel=1e-4)


def test_a_constant_target_is_one_fifth():
    one = said([3.0] * 8, np.arange(8.0))
    assert math.isnan(one.r2)
    assert [(row["range"], row["n"]) for row in _by_fifth(one)] == [("3 to 3", 8)]
    figures_of = (
        errors._scatter(one, np.arange(8), [figures.Style("red")]),
        errors._spans(one, [figures.Style("red")]),
    )
    assert all(figure.axes for figure in figures_of)


def test_dots_lie_where_they_should_and_the_line_is_the_diagonal():
    one = said([1.0, 2.0, 3.0], [1.5, 2.0, 2.0], [0, 1, 0])
    axes = errors._scatter(one, np.arange(3), [figures.Style("red"), figures.Style("blue")]).axes[0]
    line, first, second = axes.lines
    assert np.asarray(line.get_xydata()).tolist() == [[end, end] for end in axes.get_xlim()]
    assert axes.get_xlim() == axes.get_ylim()
    assert np.asarray(first.get_xydata()).tolist() == [[1, 1.5], [3, 2]]
    assert np.asarray(second.get_xydata()).tolist() == [[2, 2]]
    assert (first.get_markerfacecolor(), second.get_markerfacecolor()) == ("red", "blue")
    assert one.r2 == pytest.approx(1 - 1.25 / 2)


def test_spans_are_the_quantiles_of_the_residuals():
    residual = np.linspace(-2, 4, 101)
    one = said(np.full(101, 7.0), 7 + residual)
    axes = errors._spans(one, [figures.Style("red")]).axes[0]
    _, thin, thick, dot = axes.lines
    assert np.asarray(thin.get_ydata()).tolist() == pytest.approx([-1.7, 3.7])
    assert np.asarray(thick.get_ydata()).tolist() == pytest.approx([-0.5, 2.5])
    assert np.asarray(dot.get_ydata()).tolist() == pytest.approx([1.0])


def test_what_is_drawn_is_said(tmp_path: Path):
    for seed in range(2):
        of_regression(tmp_path, kept(300, seed=seed), seed=seed)
    found = report(tmp_path)
    assert "400 of 600 predictions, R² 0." in found.text
    assert "from all seeds together" in found.text
    assert "Predicted against true Each dot is a test sample" in found.text
    assert "north south" in found.text, "the legend"
    again = report(tmp_path)
    assert again.source == found.source


def test_pictures_without_groups_and_of_several_numbers(tmp_path: Path):
    of_regression(tmp_path / "one", kept(sites=7), attributes=())
    text = report(tmp_path / "one").text
    assert "60 of 60 predictions" in text
    assert "drawn at random. 60 of" in text.replace("ERM ", ""), "more groups than colours: no legend"
    of_regression(tmp_path / "many", kept(width=5))
    text = report(tmp_path / "many").text
    assert text.count("60 of 60 predictions") == 3
    assert "ERM, number 3 of 5" in text
    assert "number 4" not in text


def test_predictions_that_are_no_numbers_are_refused(tmp_path: Path):
    predictions = kept()
    predictions["outputs"][:10] = math.inf
    of_regression(tmp_path, predictions)
    with pytest.raises(UserError, match=r"predictions\.safetensors is damaged; delete the folder and run again"):
        report(tmp_path)


def test_no_pictures_of_removed_predictions(tmp_path: Path):
    folder = of_regression(tmp_path, kept())
    (folder / "predictions.safetensors").unlink()
    text = report(tmp_path).text
    assert "Predicted against true" not in text
    assert "Residuals" not in text
