from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import binom

from longcut.audit.association import contingency, cramers_v
from longcut.audit.base import Finding, View
from longcut.audit.columns import columns as check
from longcut.audit.columns import values_of
from longcut.data import Dataset
from longcut.sources import Source

RNG = np.random.default_rng


def columns(shown: View) -> Finding | None:
    return check(shown, cast(Any, None), {})  # no model is asked


def view(rows: pd.DataFrame, attribute: str | None = None, seed: int = 0, **source) -> View:
    """Blank images with columns beside them; column ``y`` is the label."""
    found = Source("toy", rows, np.zeros(len(rows), np.int64), True, "y", attribute, **source)
    marks = None if attribute is None else rows[attribute].to_numpy(copy=True)
    blank = torch.zeros(len(rows), 3, 2, 2, dtype=torch.uint8)
    data = dataclasses.replace(Dataset.of(blank, rows["y"].to_numpy(copy=True), marks), source=found)
    return View(data, found, seed=seed)


def planted(strength: float, n: int = 600, share: float = 0.5, seed: int = 0) -> pd.DataFrame:
    """A place that says the label with this probability, and else nothing."""
    rng = RNG([seed, 1])
    label = (rng.random(n) < share) * 1
    label[:2] = [0, 1]
    place = np.where(rng.random(n) < strength, label, rng.random(n) < share)
    return pd.DataFrame({"y": label, "place": np.array(["wood", "lake"])[place], "age": rng.normal(size=n)})


def cut(column: pd.Series) -> tuple[np.ndarray, tuple[str, ...]]:
    found = values_of(column)
    assert not isinstance(found, str)
    return found


# --- values -----------------------------------------------------------------------------------------------------------


def test_numbers_are_cut_into_tenths():
    ids, names = cut(pd.Series(RNG(0).permutation(200)))
    assert np.bincount(ids).tolist() == [20] * 10
    assert names[0] == "0 to 19"
    assert names[-1] == "180 to 199"


def test_missing_is_a_value():
    ids, names = cut(pd.Series([*range(100), *[math.nan] * 30]))
    assert names[-1] == "(missing)"
    assert (ids[100:] == 10).all()
    assert np.bincount(ids).tolist() == [10] * 10 + [30]


@pytest.mark.parametrize("sign", [1, -1])
def test_a_number_that_is_nearly_always_the_same(sign: int):
    ids, names = cut(pd.Series(sign * np.array([0] * 500 + list(range(1, 21)))))
    assert len(names) == 2
    assert sorted(np.bincount(ids).tolist()) == [20, 500]


def test_few_numbers_stay_as_they_are():
    ids, names = cut(pd.Series([3.0, 1.0, 3.0, 2.5]))
    assert names == ("1", "2.5", "3")
    assert ids.tolist() == [2, 0, 2, 1]


@pytest.mark.parametrize(
    ("values", "why"),
    [
        (["a"] * 30, "always the same"),
        ([None] * 30, "always missing"),
        ([str(i // 2) for i in range(60)][:59], "nearly as many values as rows"),
        ([[1], [2]] * 20, "more than one value per row"),
    ],
)
def test_columns_that_nothing_can_be_learned_from(values: list, why: str):
    assert values_of(pd.Series(values)) == why


# --- the check --------------------------------------------------------------------------------------------------------


def test_columns_without_a_shortcut_raise_no_more_false_alarms_than_they_may(monkeypatch):
    monkeypatch.setattr("longcut.audit.association.WORK", 0)  # 199 draws
    monkeypatch.setattr("longcut.audit.columns.DRAWS", 10)  # of the interval, which the verdict does not look at
    verdicts = []
    for seed in range(120):
        rows = planted(0, 120, (0.5, 0.1)[seed % 2], seed).assign(kind=RNG(seed).integers(0, 5, 120))
        rows["y"] = RNG(seed).permutation(rows["y"])
        found = columns(view(rows, seed=seed))
        assert found is not None
        verdicts.append(found.verdict)
    assert len(verdicts) - verdicts.count("clear") <= binom.ppf(0.999, 120, 0.05)
    assert "alarm" not in verdicts


def test_a_planted_column_is_found_and_grows_with_its_strength():
    found = [columns(view(planted(strength))) for strength in (0.2, 0.5, 0.8, 0.95)]
    assert all(one is not None and one.p_value == 0.001 for one in found)
    assert [one.table[0]["column"] for one in found if one] == ["place"] * 4
    assert [one.verdict for one in found if one] == ["notice", "notice", "alarm", "alarm"]
    statistics = [one.statistic for one in found if one]
    assert statistics == sorted(statistics)
    assert statistics == pytest.approx([0.2, 0.5, 0.8, 0.95], abs=0.1)  # the planted strength is the V of the place
    for one, strength in zip(found, (0.2, 0.5, 0.8, 0.95), strict=True):
        assert one is not None
        assert one.interval[0] < strength < one.interval[1]
        assert one.baseline < 0.05


def test_numbers_of_a_column():
    rows = pd.DataFrame({"y": [0] * 40 + [1] * 40, "place": ["wood"] * 30 + ["lake"] * 40 + ["wood"] * 10})
    found = columns(view(rows))
    assert found is not None
    assert found.table == (
        {
            "column": "place",
            "values": 2,
            "cramers_v": pytest.approx((25 / 104) ** 0.5),
            "mutual_information": pytest.approx(0.75 * np.log2(1.5) - 0.25),
            "p_value": 0.001,
            "skill": pytest.approx(0.5),  # 75 % are right, 50 % by chance
            "note": "place=lake goes with y=1 (75% of them)",
        },
    )
    assert found.verdict == "notice"  # a half, but its interval begins below


def test_a_rare_class_counts_as_much_as_a_common_one():
    label = np.array([0] * 950 + [1] * 50)
    rows = pd.DataFrame(
        {"y": label, "place": np.where(label == 1, "lake", np.where(np.arange(1000) < 95, "lake", "wood"))}
    )
    found = columns(view(rows))
    assert found is not None
    assert found.table[0]["skill"] == pytest.approx(0.9)  # all of the rare, 90 % of the common are right
    assert found.verdict == "alarm"
    assert found.statistic < 0.6  # Cramér's V does not say so
    assert found.table[0]["note"] == "place=lake goes with y=1 (34% of them)"  # more of them have y=0, as most do


def test_what_the_model_sees_is_not_compared():
    rows = planted(0.9).assign(
        split=lambda r: r["y"], path=lambda r: r["y"], text=lambda r: r["y"], width=lambda r: r["y"], name=range(600)
    )
    found = columns(view(rows, split="split", image="path", text=("text",), features=("width",)))
    assert found is not None
    assert {row["column"] for row in found.table} == {"place", "age", "name"}


def test_columns_that_are_not_compared_are_listed_with_the_reason():
    rows = planted(0.9).assign(planet="Earth", id=[f"sample {i}" for i in range(600)])
    found = columns(view(rows))
    assert found is not None
    notes = {row["column"]: row["note"] for row in found.table if math.isnan(row["p_value"])}
    assert notes == {
        "planet": "not compared: always the same",
        "id": "not compared: nearly as many values as rows",
    }
    alone = columns(view(rows.filter(["y", "id"])))
    assert alone is not None
    assert alone.verdict == "unknown"
    assert "No column beside the input can be compared" in alone.sentence


def test_the_attribute_is_compared_by_its_name():
    rows = pd.DataFrame({"y": [0, 1] * 50, "place": [0, 1] * 49 + [1, 0]})
    found = columns(view(rows, attribute="place"))
    assert found is not None
    assert [row["column"] for row in found.table] == ["place"]
    label, attribute = rows["y"].to_numpy(copy=True), rows["place"].to_numpy(copy=True)
    alone = columns(View(Dataset.of(np.zeros((100, 2), np.float32), label, attribute), None))
    assert alone is not None
    assert alone.table[0] == {
        **found.table[0],
        "column": "attribute",
        "note": "attribute=0 goes with label=0 (98% of them)",
    }
    assert alone.statistic == cramers_v(contingency(rows["place"].to_numpy(), label))


def test_the_attribute_is_taken_as_it_was_cut():
    rows = pd.DataFrame({"y": [0, 1] * 100, "age": range(200)})
    found = Source("toy", rows, np.zeros(200, np.int64), True, "y", "age")
    data = Dataset.of(torch.rand(200, 2), [0, 1] * 100, [0] * 100 + [1] * 100, attribute_names=("young", "old"))
    finding = columns(View(data, found))
    assert finding is not None
    assert [(row["column"], row["values"]) for row in finding.table] == [("age", 2)]
    assert finding.verdict == "clear"


def test_rows_follow_the_samples():
    rows = planted(1, 300)
    whole = view(rows)
    some = torch.from_numpy(RNG(0).permutation(300)[:200])
    found = columns(View(whole.data.take(some), whole.source))
    assert found is not None
    assert found.statistic == pytest.approx(1)
    assert "Is that what the model is meant to look at?" in found.sentence


def test_nothing_to_compare():
    assert columns(View(Dataset.of(torch.zeros(4, 2), [0, 1, 0, 1]), None)) is None
    assert columns(View(Dataset.of(torch.zeros(4, 2), [0.5, 1, 0, 1], [0, 1, 0, 1]), None)) is None
    assert columns(view(pd.DataFrame({"y": [0, 1] * 4}))) is None
    assert columns(View(Dataset.of(torch.zeros(4, 2), [0, 0, 0, 0], [0, 1, 0, 1]), None)) is None


@pytest.mark.data
def test_waterbirds_place(real_data: Path):
    rows = pd.read_csv(real_data / "waterbirds_72px" / "metadata.csv")
    whole = view(rows, attribute="place", split="split", image="img_filename")
    found = columns(View(whole.data.take(torch.from_numpy(rows["split"].to_numpy(copy=True) == 0)), whole.source))
    assert found is not None
    place, number, file = found.table
    assert place["column"] == "place"
    assert place["skill"] == pytest.approx(0.9, abs=0.01)  # 95 % agree within each class, by construction
    assert found.verdict == "alarm"
    assert number["column"] == "img_id"  # birds are numbered by species
    assert number["p_value"] == 0.001
    assert file["note"] == "not compared: nearly as many values as rows"


# --- an attribute that is known for some ------------------------------------------------------------------------------


def partly(frame: pd.DataFrame, known: np.ndarray, seed: int = 0, **beside: Any) -> View:
    """The attribute ``place`` is known where that says so; columns may stand beside it."""
    place = np.where(known, (frame["place"] == "lake").astype(int), -1)
    rows = frame[["y"]].assign(place=place, **beside)
    return view(rows, "place", seed=seed)


def test_an_attribute_that_is_known_for_some_is_judged_on_these():
    frame = planted(0.8, n=1200)
    known = RNG(5).random(1200) < 0.1
    found = columns(partly(frame, known))
    lake, label = ((frame[name] == value).to_numpy()[known] * 1 for name, value in (("place", "lake"), ("y", 1)))
    assert found is not None
    expected = cramers_v(contingency(lake, label))
    assert found.statistic == pytest.approx(expected)
    assert found.verdict == "alarm"
    (row,) = found.table
    assert row["values"] == 2
    assert row["note"].endswith(f"; known for {known.sum()} of 1,200 samples")


@pytest.mark.parametrize("seed", range(4))
def test_who_was_looked_up_says_nothing_of_the_attribute(seed: int):
    """Those of one class are looked up more often: the test is that of the known ones alone."""
    frame = planted(0.0, n=900, seed=seed)
    known = RNG([seed, 9]).random(900) < np.where(frame["y"] == 1, 0.4, 0.05)
    found = columns(partly(frame, known, seed))
    told = columns(partly(pd.DataFrame(frame.loc[known]), np.ones(known.sum(), dtype=bool), seed))
    assert found is not None and told is not None
    assert (found.p_value, found.statistic) == (told.p_value, told.statistic)
    assert found.p_value > 0.01


def test_another_column_beside_a_partial_attribute_is_judged_on_all():
    frame = planted(0.0, n=600)
    known = RNG(3).random(600) < 0.1
    scanner = np.where(RNG(4).random(600) < 0.7, frame["y"], 1 - frame["y"])
    found, alone = columns(partly(frame, known, scanner=scanner)), columns(view(frame[["y"]].assign(scanner=scanner)))
    assert found is not None and alone is not None
    first, other = found.table[0], alone.table[0]
    assert first["column"] == "scanner"
    assert first["cramers_v"] == other["cramers_v"]
    assert first["p_value"] == pytest.approx(2 * other["p_value"])


def test_where_too_few_are_known_missing_is_a_value():
    frame = planted(0.0, n=300)
    known = (frame["y"].to_numpy() == 1) & (RNG(2).random(300) < 0.5)
    found = columns(partly(frame, known))
    assert found is not None
    assert found.table[0]["values"] == 3
    assert found.verdict in ("notice", "alarm"), "that it is missing goes with the label"
