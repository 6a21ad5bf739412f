"""A column that somebody asks about: areas by hand, and columns whose part in the data is known."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score
from test_cli import in_an_empty_folder, printed, printed_json, refused

from longcut.audit.base import Finding, View
from longcut.audit.columns import values_of
from longcut.audit.given import auc, given, named
from longcut.data import Dataset
from longcut.errors import UserError

__all__ = ["in_an_empty_folder"]  # around every test here, too

RNG = np.random.default_rng


def sites(
    n: int = 900, *, agrees: float = 0.9, seen: float = 2.0, values: int = 2, seed: int = 0, shift: float = 0.0
) -> pd.DataFrame:
    """A label, a site that goes with it so often, a number that says the site so clearly, and one that says the label.

    With a ``shift``, the second number says the opposite of the label at the last site.
    """
    rng = RNG(seed)
    y = rng.integers(2, size=n)
    site = np.where(rng.random(n) < agrees, y % values, rng.integers(values, size=n))
    told = np.where((site == values - 1) & (rng.random(n) < shift), -1, 1)
    frame = {"y": [f"class {v}" for v in y], "site": [f"site {v}" for v in site]}
    return pd.DataFrame(frame | {"a": seen * site + rng.normal(size=n), "b": 2 * y * told + rng.normal(size=n)})


def view_of(frame: pd.DataFrame, **how: Any) -> View:
    data = Dataset.from_table(frame, label="y", attribute="site")
    return View(data, data.source, **how)


def asked(view: View, name: str) -> Finding:
    return given(view, name, named(view, [name])[name])


# --- the statistic ----------------------------------------------------------------------------------------------------


def test_area_under_the_curve_is_that_of_scikit_learn():
    rng = RNG(0)
    score, member, count = rng.integers(0, 9, 80) / 9, rng.random(80) < 0.3, rng.integers(0, 4, 80)
    assert auc(score, member) == pytest.approx(float(roc_auc_score(member, score)))
    assert auc(score, member, count.astype(float)) == pytest.approx(
        float(roc_auc_score(member, score, sample_weight=count))
    )
    assert math.isnan(auc(score, np.ones(80, bool)))


# --- what is said -----------------------------------------------------------------------------------------------------


def test_a_column_that_is_read_and_goes_with_the_label_is_an_alarm():
    found = asked(view_of(sites()), "site")
    assert found.verdict == "alarm"
    assert found.name == "column site"
    # two normal numbers two deviations apart: Phi(sqrt 2) = 0.921
    assert found.interval[0] < 0.921 < found.interval[1]
    assert found.sentence.startswith("'site' is a shortcut that a model can take: ")
    assert {row["value"] for row in found.table} == {"site 0", "site 1"}
    assert np.isfinite(found.more["margin"]).sum() == 900


def test_a_column_that_cannot_be_read_is_none():
    found = asked(view_of(sites(seen=0.0)), "site")
    assert found.verdict == "clear"
    assert found.statistic < 0.6
    assert found.sentence.startswith("'site' does not look like a shortcut: ")


@pytest.mark.parametrize("seed", range(4))
def test_a_column_that_says_nothing_is_none_though_it_can_be_read(seed: int):
    found = asked(view_of(sites(agrees=0.0, seed=seed)), "site")
    assert found.verdict == "clear"
    assert found.statistic > 0.85
    assert max(abs(row["lost"]) for row in found.table) < 0.1


def test_a_site_where_a_model_fails_is_an_alarm_though_it_does_not_go_with_the_label():
    found = asked(view_of(sites(2000, agrees=0.0, values=3, shift=1.0)), "site")
    assert found.verdict == "alarm"
    worst = max(found.table, key=lambda row: row["at least"])
    assert worst["value"] == "site 2"
    assert worst["new"] < 0.4 and worst["seen"] > 0.6
    assert "where 'site 2' is new, a model is right on" in found.sentence


def test_what_decides_the_label_everywhere_is_confounded():
    frame = sites(agrees=1.0)
    frame.loc[0, "site"] = "site 1" if frame.loc[0, "site"] == "site 0" else "site 0"
    found = asked(view_of(frame), "site")
    assert (found.verdict, found.more["why"]) == ("alarm", "confounded")
    assert "1 of 900 samples have another class than most with the same value" in found.sentence


def test_too_few_samples_are_said():
    frame = sites(60)
    frame["site"] = ["site 0"] * 50 + ["site 1"] * 10
    found = asked(view_of(frame), "site")
    assert (found.verdict, found.more["why"]) == ("unknown", "too small")
    assert found.sentence.endswith("fewer than two of its values have 20 samples; collect more.")


def test_an_input_is_asked_about_without_itself():
    """The number 'a' says the site; asked about itself, it is not among what a model sees."""
    frame = sites(agrees=0.0, seen=0.0)
    found = asked(view_of(frame), "a")
    assert found.verdict == "clear"
    assert found.statistic == pytest.approx(0.5, abs=0.08)
    assert all(" to " in row["value"] for row in found.table)  # ranges of numbers


def test_texts_and_images():
    frame = sites(600)
    frame["text"] = [
        f"{'lake' if s == 'site 0' else 'wood'} {'wing' if y == 'class 0' else 'beak'} {i % 7}"
        for i, (s, y) in enumerate(zip(frame["site"], frame["y"], strict=True))
    ]
    data = Dataset.from_table(frame.drop(columns=["a", "b"]), label="y", attribute="site", text="text")
    found = asked(View(data, data.source), "site")
    assert (found.verdict, round(found.statistic, 2)) == ("alarm", 1.0)
    x = RNG(1).integers(0, 60, (600, 3, 20, 24)).astype(np.uint8)
    label = (frame["y"] == "class 1").to_numpy().astype(np.int64)
    place = (frame["site"] == "site 1").to_numpy().astype(np.int64)
    x[:, 0] += (80 * place[:, None, None]).astype(np.uint8)
    x[:, 1] += (80 * label[:, None, None]).astype(np.uint8)
    found = asked(View(Dataset.of(x, label, place), None), "attribute")
    assert (found.verdict, round(found.statistic, 2)) == ("alarm", 1.0)


def test_texts_without_words_and_of_a_script_without_blanks_can_be_asked():
    frame = sites(400)
    frame["text"] = np.where(frame["site"] == "site 0", "看电视剧", "看书") + pd.Series(["很好", "吗"] * 200)
    frame.loc[:50, "text"] = ""
    data = Dataset.from_table(frame.drop(columns=["a", "b"]), label="y", attribute="site", text="text")
    found = asked(View(data, data.source), "site")
    assert found.verdict == "alarm" and found.statistic > 0.85


def test_times_are_cut_into_tenths():
    """Scans of later years are of another class, and their texts say when they were made."""
    rng = RNG(3)
    day = rng.integers(0, 2000, 800)
    y = np.where(rng.random(800) < 0.95, day >= 1000, day < 1000)
    frame = pd.DataFrame({"y": np.where(y, "ill", "well"), "text": [f"scan of batch{d // 100}" for d in day]})
    when = pd.DatetimeIndex(pd.Timestamp("2019-01-01") + pd.to_timedelta(day, unit="D"))
    for written in (when, when.strftime("%Y-%m-%d"), when.strftime("%Y-%m-%dT10:00:00+02:00")):
        data = Dataset.from_table(frame.assign(made=written), label="y", text="text")
        view = View(data, data.source)
        ids, names = named(view, ["made"])["made"]
        assert len(names) == 10
        assert names[0].startswith(f"{when.min():%Y-%m-%d}")
        assert (np.diff(ids[np.argsort(day, kind="stable")]) >= 0).all()
    assert asked(view, "made").verdict == "alarm"
    codes = pd.Series([f"{i}" for i in range(1000, 1100)])  # which are years, too
    assert values_of(codes) == "nearly as many values as rows"


# --- the names --------------------------------------------------------------------------------------------------------


def test_names():
    frame = sites(100)
    frame["id"] = [f"n{i}" for i in range(100)]
    with pytest.warns(UserWarning, match="left out of the features: 'id'"):
        data = Dataset.from_table(frame, label="y", attribute="site")
    view = View(data, data.source)
    assert list(named(view, ["site", "b", "site"])) == ["site", "b"]
    assert list(named(view, ["all"])) == ["site"]
    assert named(view, []) == {}
    with pytest.raises(UserError, match=r"unknown column 'sita'.*site"):
        named(view, ["sita"])
    with pytest.raises(UserError, match="column 'id' cannot be asked about: it has nearly as many values as rows"):
        named(view, ["id"])
    alone = Dataset.from_table(frame.drop(columns=["b", "id"]), label="y", attribute="site")
    with pytest.raises(UserError, match="column 'a' cannot be asked about: it is the only input; name one beside it"):
        named(View(alone, alone.source), ["a"])
    with pytest.raises(UserError, match="the target is numbers"):
        named(dataclasses.replace(view, original=data), ["site"])


# --- the command ------------------------------------------------------------------------------------------------------


def test_the_command_asks_about_columns():
    sites(400).to_csv("t.csv", index=False)
    asked = ("audit", "t.csv", "--label", "y", "--attribute", "site", "--column", "site")
    assert "unknown column 'hospital'" in refused(*asked[:-1], "hospital")
    told = printed(*asked, "--out", "a")
    assert "'site' is a shortcut that a model can take" in " ".join(told.split())
    rows = pd.read_csv("a/columns.csv")
    assert list(rows.columns) == ["row", "name", "site", "margin of site"]
    assert len(rows) == len(json.loads(Path("a/audit.json").read_text("utf-8"))["classes"]) * 0 + 400
    record = printed_json(*asked, "--out", "b")
    assert record["findings"][-1]["name"] == "column site"
    assert record["verdict"] == "alarm"
    assert "Is &#39;site&#39; a shortcut?" in Path("a/report.html").read_text("utf-8")
