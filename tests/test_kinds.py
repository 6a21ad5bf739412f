from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from longcut import Dataset
from longcut.audit.base import View
from longcut.audit.columns import left_out
from longcut.audit.cues import cues
from longcut.errors import UserError
from longcut.sources import Columns
from longcut.sources.arrays import read_arrays
from longcut.sources.header import tidy
from longcut.sources.kinds import settle
from longcut.sources.parts import number
from longcut.sources.table import read_table
from longcut.sources.written import Written, read_numbers

N = 120


def told(values: Any, role: Any = "feature", **how: Any) -> tuple[list[Any], str, str]:
    """The values, the kind of their dtype, and what is said of them."""
    found = settle(pd.Series(values), role, **how)
    return found.values.tolist(), found.values.dtype.kind, "; ".join(found.notes)


def heard(table: Any, **how: Any) -> tuple[Columns, str]:
    """What was read, and what was said."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = read_table(table, **{"label": "y", **how})
    said = " ".join(str(warning.message) for warning in caught)
    assert all(note in said for note in found.source.notes)
    return found, said


def table(path: Path, cells: Any, name: str = "c", separator: str = ",") -> Path:
    """A file with a column of these cells, another and two classes."""
    rows = [
        (f'"{cell}"' if separator in str(cell) else str(cell), str(i * i % 17), "no" if i // 3 % 2 else "yes")
        for i, cell in enumerate(cells)
    ]
    lines = [separator.join((name, "b", "y")), *(separator.join(row) for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def repeated(values: Any, n: int = N) -> list[Any]:
    return [values[i % len(values)] for i in range(n)]


# --- numbers ----------------------------------------------------------------------------------------------------------

LEVELS = [3 + 0.25 * i for i in range(N)]


@pytest.mark.parametrize(
    ("write", "odd", "said"),
    [
        (lambda v: f"{v}", "?", "'?' in 4 of 120 cells are no numbers, and count as missing"),
        (lambda v: f"{v}", "below 2", "'below 2' in 4 of 120"),
        (lambda v: f"{v:.3f} mm", "n.a.", "'mm' was taken off the numbers"),
        (lambda v: f"{v}%", "-", "'%' was taken off the numbers"),
        (lambda v: f"£{v:.2f}", "—", "'£' was taken off"),
        (lambda v: f"{v:.2f}".replace(".", ","), "?", "decimal comma"),
        (lambda v: f"{1000 * v:,.2f}", "?", "separators of thousands"),
        (lambda v: f"{1000 * v:,.2f}".replace(",", "\u202f"), "?", "separators of thousands"),
        (lambda v: f"{1000 * v:,.2f}".translate(str.maketrans(",.", ".,")), "?", "decimal comma"),
        (lambda v: f"\u2212{v}\u00a0", "<0", "'<0' in 4 of 120"),
    ],
)
@pytest.mark.parametrize("typed", [False, True])
def test_numbers_with_exceptions_are_numbers_with_missing_values(write: Any, odd: str, said: str, typed: bool):
    cells = [odd if i % 30 == 7 else write(value) for i, value in enumerate(LEVELS)]
    values, kind, notes = told(cells, typed=typed)
    missing = np.arange(N) % 30 == 7
    assert kind == "f" and np.isnan(values).tolist() == missing.tolist()
    factor = 1000 if "," in write(3.25) or "\u202f" in write(3.25) else 1
    factor = 1 if write(3.25) == "3,25" else factor
    expected = factor * np.array(LEVELS) * (-1 if write(1.0)[0] == "\u2212" else 1)
    np.testing.assert_allclose(np.array(values)[~missing], expected[~missing], rtol=1e-12)
    assert said in notes


def test_many_censored_values_are_missing_and_many_texts_are_not():
    values, kind, _ = told([f"<{i % 3}" if i % 5 < 2 else f"{i}.5" for i in range(N)])
    assert kind == "f" and np.isnan(values).mean() == pytest.approx(0.4)
    tickets = [f"A/{i}" if i % 4 == 0 else f"{1000 + i}" for i in range(N)]  # a quarter, all different
    assert told(tickets)[1] == "O"
    assert told(["3+" if i % 4 == 3 else str(i % 4) for i in range(N)])[1] == "O"  # nothing is lost in categories


def test_text_that_is_only_partly_numbers_stays_text():
    assert told([f"{i}.5" if i % 3 == 0 else f"word {i}" for i in range(N)])[1] == "O"


def test_comma_and_point_are_told_from_the_whole_column():
    counts = np.ones(3, np.int64)
    assert read_numbers(["1,250", "12", "950"], counts).values.tolist() == [1250, 12, 950]
    assert read_numbers(["1,250", "0,5", "12,5"], counts).values.tolist() == [1.25, 0.5, 12.5]
    assert read_numbers(["1.250", "2.500", "3.750"], counts).values.tolist() == [1.25, 2.5, 3.75]
    assert read_numbers(["1,250", "2,500", "3,750"], counts, comma=True).values.tolist() == [1.25, 2.5, 3.75]
    assert read_numbers(["1,250", "12,5", "?"], counts, like=Written()).values[0] == 1250


def test_later_files_are_read_as_the_first_one(tmp_path: Path):
    cells = [f"{value} mg" if i % 40 else "n.d." for i, value in enumerate(LEVELS)]
    first, _ = heard(table(tmp_path / "a.csv", cells))
    encoding = json.loads(json.dumps(dict(first.source.encoding)))
    later, said = heard(table(tmp_path / "b.csv", ["n.d.", "4.25 mg", "30 mg"]), encoding=encoding)
    assert "'n.d.' in 1 of 3" in said
    assert later.x[1].tolist()[:2] == first.x[5].tolist()[:2] and later.x[0, 1] == 1
    with pytest.raises(UserError, match=r"column 'c' holds '4 kg' in row 1, and needs a finite number"):
        read_table(table(tmp_path / "b.csv", ["4 kg", "5 kg", "30 mg"]), label="y", encoding=encoding)


def test_truth_in_many_spellings_is_one_feature_but_own_classes():
    cells = repeated(["true", "False", "1", "no", "TRUE", "0"])
    values, kind, said = told(cells)
    assert kind == "b" and values[:6] == [True, False, True, False, True, False]
    assert "read as true and false" in said
    values, _, said = told(cells, "label")
    assert values == cells and "kept apart" in said
    assert told(["TRUE", "FALSE"], "label")[0] == ["TRUE", "FALSE"]


# --- codes ------------------------------------------------------------------------------------------------------------

CODES = [
    ("0042", "42", "9"),
    ("5e2", "500", "6"),
    ("3E4", "3E5", "4E4"),
    ("2.10", "2.1", "3.0"),
    ("2.20", "2.3", "3.1"),
    ("72057594037927937", "72057594037927936", "5"),
    ("8.0", "8", "9"),
    ("+7", "7", "6"),
]


@pytest.mark.parametrize("codes", CODES)
@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("suffix", ["csv", "parquet", "jsonl", "frame"])
def test_codes_stay_what_they_are(tmp_path: Path, codes: tuple[str, ...], gaps: bool, suffix: str):
    cells: list[Any] = repeated(codes)
    if gaps:
        cells[4::20] = [None] * len(cells[4::20])
    frame = pd.DataFrame({"c": cells, "b": range(N), "y": repeated(["no", "no", "no", "yes"])})
    path: Any = tmp_path / f"t.{suffix}"
    if suffix == "csv":
        frame.to_csv(path, index=False)
    elif suffix == "parquet":
        frame.to_parquet(path)
    elif suffix == "jsonl":
        frame.to_json(path, orient="records", lines=True)
    else:
        path = frame
    features = heard(path)[0].source.encoding["categorical"]
    assert {*features["c"]} - {"(missing)"} == {*codes}
    assert {*heard(path, attribute="c")[0].attribute_names} == {*codes}
    if not gaps:
        assert {*heard(path, label="c")[0].class_names} == {*codes}


@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("suffix", ["parquet", "frame"])
def test_long_whole_numbers_are_codes(tmp_path: Path, gaps: bool, suffix: str):
    ids = [2**60, 2**60 + 1, 2**60 + 2]
    frame = pd.DataFrame(
        {"c": pd.Series(repeated(ids), dtype="Int64"), "b": range(N), "y": [i // 3 % 2 for i in range(N)]}
    )
    if gaps:
        frame.loc[::10, "c"] = None
    path: Any = frame
    if suffix == "parquet":
        path = tmp_path / "t.parquet"
        frame.to_parquet(path)
    found, said = heard(path, attribute="c")
    assert {*found.attribute_names} == {*map(str, ids)}
    assert found.attribute is not None and (found.attribute < 0).any() == gaps
    assert "taken for codes" in said
    floats = frame.assign(c=frame["c"].astype(float))
    assert "in which neighbours are the same" in heard(floats, attribute="c")[1]


def test_somebody_may_say_what_a_column_holds(tmp_path: Path):
    path = table(tmp_path / "t.csv", repeated(["01", "02", "10", "x"]))
    assert "c" in heard(path)[0].source.encoding["categorical"]
    found, said = heard(path, numeric="c")
    assert found.source.encoding["numeric"]["c"]["missing"] and "'x' in 30 of 120" in said
    assert "b" in heard(path, categorical="b,c")[0].source.encoding["categorical"]
    with pytest.raises(UserError, match="column 'c' is called categorical and numeric; choose one"):
        read_table(path, label="y", categorical="c", numeric="b+c")
    with pytest.raises(UserError, match="column 'c' is called numeric, and none of its cells is a number"):
        read_table(table(tmp_path / "t.csv", repeated(["p", "q"])), label="y", numeric="c")


def test_plain_numbers_are_read_without_a_word(tmp_path: Path):
    for cells in (LEVELS, range(N), repeated(["1", "2"]), [f"{v:.2f}" for v in LEVELS], [f"{v:.3e}" for v in LEVELS]):
        found, said = heard(table(tmp_path / "t.csv", cells))
        assert "c" in found.source.encoding["numeric"] and not said
        assert found.source.rows["c"].tolist() == [float(cell) for cell in cells]


# --- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "pair", [("\u00fcber", "u\u0308ber"), ("on", "on "), ("on", "\u00a0on"), ("on", "o\u200bn"), ("a b", "a\u00a0b")]
)
def test_names_that_look_alike_are_one_and_that_is_said(tmp_path: Path, pair: tuple[str, str]):
    found, said = heard(table(tmp_path / "t.csv", repeated([*pair, "off"])), label="c")
    assert {*found.class_names} == {tidy(pair[0]), "off"}
    assert "look alike, and are one" in said
    with pytest.warns(UserWarning, match="look alike, and are one"):
        names = number(pd.Series([*pair, "off"]), what="the class folders", where="photos")[1]
    assert {*names} == {tidy(pair[0]), "off"}


def test_names_that_differ_in_capitals_are_not_one_but_that_is_said(tmp_path: Path):
    found, said = heard(table(tmp_path / "t.csv", repeated(["Lake", "lake", "wood"])), label="c")
    assert found.class_names == ("Lake", "lake", "wood")
    assert "'Lake', 'lake' differ in capital letters alone, and are kept apart" in said


@pytest.mark.parametrize("mark", ["NA", "null", "None", "-", "—", "?", ""])
def test_what_is_missing_is_no_group_and_no_class(tmp_path: Path, mark: str):
    path = table(tmp_path / "t.csv", repeated(["lake", "wood", mark]))
    found, _ = heard(path, attribute="c")
    assert found.attribute_names == ("lake", "wood")
    assert found.attribute is not None and (found.attribute < 0).tolist() == repeated([False, False, True])
    with pytest.raises(UserError, match="label 'c' is missing in 40 of 120 rows"):
        heard(path, label="c")
    if mark:
        assert {*heard(path, label="c", keep=mark)[0].class_names} == {"lake", "wood", mark}


def test_a_minus_beside_a_plus_is_a_class(tmp_path: Path):
    assert {*heard(table(tmp_path / "t.csv", repeated(["+", "-"])), label="c")[0].class_names} == {"+", "-"}


def test_arrays_with_missing_texts(tmp_path: Path):
    place = np.array(repeated(["lake", "wood", None])).astype(str)
    np.savez(tmp_path / "t.npz", x=np.zeros((N, 2)), y=[i // 3 % 2 for i in range(N)], place=place)
    found = read_arrays(tmp_path / "t.npz", attribute="place")
    assert found.attribute_names == ("lake", "wood")
    np.savez(tmp_path / "t.npz", x=np.zeros((N, 2)), y=place)
    with pytest.raises(UserError, match="label 'y' is missing in 40 of 120 rows"):
        read_arrays(tmp_path / "t.npz")


# --- audits -----------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("odd", [None, "pending", "?"])
def test_a_shortcut_is_seen_whatever_a_few_cells_say(tmp_path: Path, odd: str | None):
    rng = np.random.default_rng(1)
    y = rng.integers(0, 2, 300)
    level = rng.normal(size=300) + 5 * y
    rows = [f"{odd if odd and i % 40 == 3 else f'{level[i]:.4f}'},{rng.normal():.4f},{y[i]}\n" for i in range(300)]
    (tmp_path / "t.csv").write_text("level,b,y\n" + "".join(rows))
    data = Dataset.from_table(tmp_path / "t.csv", label="y")
    found = cues(View(data, data.source))
    assert found is not None and found.verdict == "alarm" and found.table[0]["cue"] == "level"


def test_what_is_not_compared_is_named():
    frame = pd.DataFrame(
        {
            "id": [f"row {i}" for i in range(N)],
            "a": range(N),
            "one": 1,
            "b": range(N),
            "y": [i // 3 % 2 for i in range(N)],
        }
    )
    with pytest.warns(UserWarning, match="left out of the features: 'id'"):
        data = Dataset.from_table(frame, label="y", drop="b")
    expected = {"b": "dropped", "id": "nearly as many values as rows", "one": "always the same"}
    assert left_out(View(data, data.source)) == expected
