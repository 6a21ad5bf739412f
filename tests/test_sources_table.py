from __future__ import annotations

import json
import re
import sys
import warnings
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.compose import ColumnTransformer
from sklearn.impute import MissingIndicator, SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from longcut.data import Dataset, Splits
from longcut.errors import UserError
from longcut.sources import TEST, TRAIN, Columns
from longcut.sources.encode import CATEGORIES, OTHER, apply, feature_names, fit
from longcut.sources.frames import open_table
from longcut.sources.header import Form, names_in, require_columns, tidy
from longcut.sources.parts import MISSING
from longcut.sources.table import read_table

N = 40
pytestmark = pytest.mark.filterwarnings("ignore:.*left out of the features. 'id'")  # which every table here has


def people(n: int = N) -> pd.DataFrame:
    """Columns of all kinds; the last quarter is the test part."""
    rng = np.random.default_rng(0)
    age = rng.normal(40, 10, n).round(1)
    age[::7] = np.nan
    town = rng.choice(["Bonn", "Köln", "Ulm"], n).astype(object)
    town[3::9] = None
    return pd.DataFrame(
        {
            "age": age,
            "town": town,
            "member": rng.random(n) < 0.5,
            "visits": rng.integers(0, 5, n),
            "sex": ["f", "m"] * (n // 2),
            "planet": "Earth",
            "nothing": np.nan,
            "id": [f"person {i}" for i in range(n)],
            "when": ["train"] * (n - n // 4) + ["test"] * (n // 4),
            "rich": [0, 1, 1, 0] * (n // 4),
        }
    )


def read(table: Any, **options: Any) -> Columns:
    return read_table(table, **{"label": "rich", "attribute": "sex", "split": "when", **options})


def written(folder: Path, text: str | bytes, name: str = "toy.csv") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def again(encoding: Any) -> Any:
    """The encoding as it comes back from a run folder."""
    return json.loads(json.dumps(dict(encoding)))


# --- features ---------------------------------------------------------------------------------------------------------


def test_features_are_all_that_is_left():
    columns = read(people())
    assert columns.source.features == ("age", "town", "member", "visits")
    assert columns.source.encoding["left_out"] == {
        "planet": "always the same",
        "nothing": "always missing",
        "id": "different in every row",
    }
    names = ["age", "age missing", "town=(missing)", "town=Bonn", "town=Köln", "town=Ulm", "member", "visits"]
    assert feature_names(columns.source.encoding) == names
    assert columns.x.shape == (N, len(names))
    assert columns.x.dtype == np.float32


def test_label_attribute_and_parts_are_numbered():
    columns = read(people())
    assert columns.label is not None and columns.attribute is not None
    assert columns.label.tolist() == [0, 1, 1, 0] * 10
    assert columns.attribute.tolist() == [0, 1] * 20
    assert (columns.class_names, columns.attribute_names) == (("0", "1"), ("f", "m"))
    assert columns.source.part.tolist() == [TRAIN] * 30 + [TEST] * 10
    assert columns.source.official
    pd.testing.assert_frame_equal(columns.source.rows, people())


def sklearn_says(frame: pd.DataFrame, train: np.ndarray) -> np.ndarray:
    """The features of ``people`` by scikit-learn's own transformers, fitted on the training rows."""
    numeric = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    missing: Any = None
    category = make_pipeline(
        SimpleImputer(strategy="constant", fill_value=MISSING, missing_values=missing),
        OneHotEncoder(handle_unknown="ignore", sparse_output=False),
    )
    oracle = ColumnTransformer(
        [
            ("age", numeric, ["age"]),
            ("age missing", MissingIndicator(), ["age"]),
            ("town", category, ["town"]),
            ("rest", numeric, ["member", "visits"]),
        ]
    )
    frame = frame.astype({"member": float, "town": object}).replace({"town": {np.nan: None}})
    return np.asarray(oracle.fit(frame[train]).transform(frame))


def test_features_are_those_of_scikit_learn():
    frame = people()
    frame.loc[35, "town"] = "Oslo"  # not seen in training
    frame.loc[36, "age"] = None
    columns = read(frame)
    expected = sklearn_says(frame, columns.source.part == TRAIN)
    np.testing.assert_array_equal(columns.x, expected.astype(np.float32))
    assert columns.x[35, 2:6].tolist() == [0, 0, 0, 0]


def test_what_is_rows_of_the_test_part_does_not_matter():
    before = read(people())
    frame = people()
    frame.loc[35, ["age", "town", "visits", "planet", "nothing", "id"]] = [1e6, "Oslo", 10**6, "Mars", 3, "person 1"]
    after = read(frame)
    assert after.source.encoding == before.source.encoding
    np.testing.assert_array_equal(after.x[:30], before.x[:30])
    assert (after.x[35] != before.x[35]).any()


def test_an_encoding_from_json_gives_the_same_bits(tmp_path: Path):
    frame = people()
    columns = read(frame)
    encoding = again(columns.source.encoding)
    shuffled = frame[sorted(frame.columns)].sample(frac=1, random_state=0)  # other order of rows and columns
    later = read(shuffled.drop(columns=["rich", "sex", "when", "planet"]), encoding=encoding)
    assert later.x.tobytes() == columns.x[shuffled.index].tobytes()
    frame.to_csv(tmp_path / "people.csv", index=False)
    assert read(tmp_path / "people.csv", encoding=encoding).x.tobytes() == columns.x.tobytes()


def test_with_an_encoding_the_label_is_used_if_present():
    encoding = again(read(people()).source.encoding)
    columns = read(people()[:2], encoding=encoding)
    assert columns.label is not None and columns.attribute is not None
    assert (columns.label.tolist(), columns.attribute.tolist()) == ([0, 1], [0, 1])
    assert columns.source.part.tolist() == [TEST, TEST]
    assert not columns.source.official
    for frame in (people().drop(columns=["rich", "sex"]), people().assign(rich=None).drop(columns="sex")):
        columns = read(frame, encoding=encoding)
        assert columns.label is None and columns.attribute is None
        assert columns.source.label is None and columns.source.attribute is None
        assert columns.class_names == ("0", "1")
    assert read(people().assign(rich=2), encoding=encoding).label is None  # no known class


def test_with_an_encoding_labels_may_be_missing_or_others():
    encoding = again(read(people()).source.encoding)
    columns = read(people().assign(rich=[1, 0, None, 2] * 10), encoding=encoding)
    assert columns.label is not None
    assert columns.label.tolist() == [1, 0, -1, -1] * 10
    numbers = people().assign(rich=np.linspace(0, 1, N) + 0.5)
    later = numbers.assign(rich=[1.5, None] * (N // 2))
    encoding = again(read(numbers).source.encoding)
    found = read(later, encoding=encoding).label
    assert found is not None
    assert np.isnan(found).tolist() == [False, True] * (N // 2)


def test_an_attribute_may_come_later_than_the_encoding():
    encoding = again(read(people().drop(columns="sex"), attribute=None).source.encoding)
    columns = read(people(), encoding=encoding)
    assert columns.attribute_names == ("f", "m")


def test_rare_categories_share_a_column_with_unseen_ones():
    often = [f"often {i:02}" for i in range(CATEGORIES - 1) for _ in range(3)]
    frame = pd.DataFrame({"town": [*often, "rare 1", "rare 2", "rare 2"]})
    encoding = fit(frame, np.ones(len(frame), bool))
    assert encoding["categorical"]["town"] == [*sorted(set(often)), OTHER]
    x = apply(encoding, pd.DataFrame({"town": ["rare 1", "rare 2", "Oslo", "often 01", None]}))
    assert x.argmax(1).tolist() == [49, 49, 49, 1, 49]
    assert x.sum(1).tolist() == [1] * 5
    assert OTHER not in fit(frame.iloc[:-3], np.ones(len(frame) - 3, bool))["categorical"]["town"]


def test_a_category_called_like_the_rare_ones_joins_them():
    frame = pd.DataFrame({"town": [*(f"town {i}" for i in range(60)), *[OTHER] * 5]})
    encoding = fit(frame, np.ones(len(frame), bool))
    assert encoding["categorical"]["town"].count(OTHER) == 1
    assert len(set(feature_names(encoding))) == apply(encoding, frame).shape[1]


def test_numbers_that_are_strings_of_objects_or_nullable():
    kinds = [
        pd.Series([1, 2, None, 4], dtype="Int64"),
        pd.Series([1, 2, None, 4], dtype=object),
        pd.Series([1.0, 2.0, np.nan, 4.0]),
    ]
    encodings = [fit(pd.DataFrame({"a": values}), np.ones(4, bool)) for values in kinds]
    assert encodings[0]["numeric"]["a"]["fill"] == 2
    assert encodings[0] == encodings[1] == encodings[2]
    flags = pd.DataFrame({"a": pd.Series([True, False, None, True], dtype=object)})
    assert fit(flags, np.ones(4, bool))["numeric"]["a"]["fill"] == 1
    strings = apply(encodings[0], pd.DataFrame({"a": ["4", None]}))
    np.testing.assert_array_equal(strings, apply(encodings[0], pd.DataFrame({"a": [4, None]})))


def test_columns_that_are_neither_numbers_nor_text_are_left_out():
    frame = pd.DataFrame(
        {"day": pd.date_range("2020-01-01", periods=4), "list": [[1], [2], [1], [2]], "n": [1, 2, 3, 4]}
    )
    left_out = {"day": "neither numbers nor text", "list": "more than one value per row"}
    assert fit(frame, np.ones(4, bool))["left_out"] == left_out


def test_a_number_that_is_always_the_same_or_missing_is_kept_for_its_being_missing():
    encoding = fit(pd.DataFrame({"a": [5, 5, np.nan]}), np.ones(3, bool))
    assert apply(encoding, pd.DataFrame({"a": [5, np.nan]})).tolist() == [[0, 0], [0, 1]]


@pytest.mark.parametrize("value", [np.inf, -1e300, "old"])
def test_a_cell_that_is_no_finite_number(value: Any):
    frame = pd.DataFrame({"age": [1.0, 2.0, 3.0]})
    encoding = fit(frame, np.ones(3, bool))
    with pytest.raises(UserError, match=rf"column 'age' holds '{re.escape(str(value))}' in row 2, and needs a fin"):
        apply(encoding, pd.DataFrame({"age": [1, value]}))
    if value != "old":  # then the column would be text
        with pytest.raises(UserError, match=r"column 'age' holds"):
            fit(pd.DataFrame({"age": [1, value]}), np.ones(2, bool))


def test_a_feature_that_is_not_there():
    encoding = again(read(people()).source.encoding)
    with pytest.raises(UserError, match=r"table: feature: unknown column 'visits': did you mean 'visit'\?"):
        read(people().rename(columns={"visits": "visit"}), encoding=encoding)


def test_nothing_is_left_to_learn_from():
    frame = people()[["planet", "id", "rich", "sex", "when"]]
    with pytest.raises(UserError, match=r"no column is left to learn from \('planet' is always the same; 'id' is diff"):
        read(frame)
    with pytest.raises(UserError, match=r"no column is left to learn from; add some"):
        read(frame[["rich", "sex", "when"]])


# --- files ------------------------------------------------------------------------------------------------------------

ROWS = "".join(f"{i},{'ab'[i % 2]},{i % 2}\n" for i in range(12))


@pytest.mark.parametrize("suffix", ["csv", "tsv", "parquet"])
def test_a_file_says_what_the_frame_says(tmp_path: Path, suffix: str):
    path, frame = tmp_path / f"people.{suffix}", people()
    if suffix == "parquet":
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False, sep="\t" if suffix == "tsv" else ",")
    from_file, from_frame = read(path), read(frame)
    assert from_file.source.name == str(path)
    assert from_file.source.encoding == from_frame.source.encoding
    np.testing.assert_array_equal(from_file.x, from_frame.x)


def test_blanks_after_commas_a_byte_order_mark_and_quotes(tmp_path: Path):
    rows = "".join(f'{i}, "a, b", {"yes" if i % 2 else "no"}\n' for i in range(12))
    columns = read_table(written(tmp_path, "\ufeffage, name, y\n" + rows), label="y")
    assert columns.source.rows.columns.tolist() == ["age", "name", "y"]
    assert columns.class_names == ("no", "yes")
    assert columns.source.rows["name"].tolist() == ["a, b"] * 12


def test_a_column_that_turns_to_text_far_down_is_text_throughout(tmp_path: Path):
    rows = "1,0\n2,1\n" * 150_000 + "many,0\n"  # more than the parser looks at in one go
    columns = read_table(written(tmp_path, "n,y\n" + rows), label="y")
    assert set(columns.source.rows["n"]) == {"1", "2", "many"}


def test_quotes_in_tsv_are_characters(tmp_path: Path):
    rows = "".join(f'{i % 2}\t"{i}" said\n' for i in range(11)) + '1\tan inch "\n'
    columns = read_table(written(tmp_path, "y\ttext\n" + rows, "toy.tsv"), label="y", text="text")
    assert len(columns.x) == 12
    assert columns.source.rows["text"].tolist() == [*(f'"{i}" said' for i in range(11)), 'an inch "']


def test_quotes_around_every_cell_of_a_tsv_column_are_no_part_of_it(tmp_path: Path):
    """As programs write it that quote all texts; the first column is bare, and in the last one only some cells are."""
    rows = "".join(
        f'{i % 2}\t"class {i % 2}"\t"word {i} ""so"""\t{"word" if i else chr(34) + "word" + chr(34)}\n'
        for i in range(8)
    )
    table = written(tmp_path, '"x"\t"y"\t"text"\tmore\n' + rows, "toy.tsv")
    columns = read_table(table, label="y", text="text")
    assert columns.class_names == ("class 0", "class 1")
    assert columns.source.rows["text"].tolist()[0] == 'word 0 "so"'
    assert read_table(table, label="y", text="more").source.rows["more"].tolist()[:2] == ['"word"', "word"]


def test_a_column_without_a_name_is_no_feature(tmp_path: Path):
    pd.DataFrame({"age": range(12), "y": [0, 1] * 6}).to_csv(tmp_path / "toy.csv")
    with pytest.warns(UserWarning, match=r"left out of the features: 'Unnamed: 0' \(without a name\)"):
        columns = read_table(tmp_path / "toy.csv", label="y")
    assert columns.source.features == ("age",)
    assert columns.source.encoding["left_out"] == {"Unnamed: 0": "without a name"}


def test_columns_in_which_something_may_be_learned_are_said_when_they_are_left_out():
    frame = people().assign(again=[[1], [2]] * 20, seen=pd.date_range("2020-01-01", periods=N))
    said = (
        r"'id' \(different in every row\), 'again' \(more than one value per row\), 'seen' \(neither numbers nor text\)"
    )
    with pytest.warns(UserWarning, match=rf"table: left out of the features: {said}\.$"):
        encoding = read(frame).source.encoding
    frame[[f"key{i}" for i in range(20)]] = np.array([[f"{i}-{row}" for i in range(20)] for row in range(N)])
    with pytest.warns(UserWarning, match=r"'key8' \(different in every row\) and 11 more\.$"):
        read(frame)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read(frame, encoding=again(encoding))  # it was said before
        read(frame, drop=",".join(["id", "again", "seen", *(f"key{i}" for i in range(20))]))  # nobody need be told
        read(frame, columns="age,planet")


def test_categories_that_look_like_numbers_in_a_later_file(tmp_path: Path):
    rows = "".join(f"{code},{i % 2}\n" for i, code in enumerate(["007", "1.50", "x"] * 4))
    encoding = read_table(written(tmp_path, "code,y\n" + rows), label="y").source.encoding
    later = read_table(written(tmp_path, "code\n1.50\n007\n", "later.csv"), label="y", encoding=again(encoding))
    assert later.x.tolist() == [[0, 1, 0], [1, 0, 0]]


@pytest.mark.parametrize("name", ["toy.doc", "toy.csv.rar", "toy"])
def test_another_kind_of_file(tmp_path: Path, name: str):
    with pytest.raises(UserError, match=r"a table is a \.csv, \.tsv or \.parquet file, not"):
        read_table(written(tmp_path, "a,y\n1,2\n", name), label="y")


def test_a_file_that_is_not_there(tmp_path: Path):
    with pytest.raises(UserError, match=r"toy\.csv: there is no such file"):
        read_table(tmp_path / "toy.csv", label="y")


def test_bytes_that_are_not_utf8_are_named(tmp_path: Path):
    text = "name,y\nKöln,1\n".encode() + "Köln,0\n".encode("latin-1")
    with pytest.raises(UserError, match=r"toy\.csv is not UTF-8 text: byte 17, in line 3, is 0xf6"):
        read_table(written(tmp_path, text), label="y")
    with pytest.raises(
        UserError, match=r"toy\.csv is not UTF-8 text: byte 1, in line 1, is 0xff; .* --encoding utf-16"
    ):
        read_table(written(tmp_path, "name,y\na,1\n".encode("utf-16")), label="y")
    late = b"name,y\n" + b"a,1\n" * 300_000 + b"\xff,0\n"  # beyond what the parser reads at once
    with pytest.raises(UserError, match=r"byte 1200008, in line 300002, is 0xff"):
        read_table(written(tmp_path, late), label="y")


def test_rows_of_json_stand_in_lines_or_in_a_list(tmp_path: Path):
    rows = people().to_dict("records")
    lines = read(written(tmp_path, "\n".join(map(json.dumps, rows)), "toy.jsonl"))
    listed = read(written(tmp_path, "\ufeff" + json.dumps(rows, indent=1), "toy.json"))
    assert (np.asarray(listed.x) == np.asarray(lines.x)).all()
    assert listed.source.features == lines.source.features
    for content, message in (
        (json.dumps({"data": rows}), r"toy\.json holds no list; write a list of objects of names and values"),
        (json.dumps([*rows, 3]), rf"toy\.json: element {N + 1} is no object of names and values; write a list of them"),
        ("[]", r"toy\.json is empty"),
        (json.dumps(rows)[:-9], r"toy\.json is not a table that can be read"),
    ):
        with pytest.raises(UserError, match=message):
            read(written(tmp_path, content, "toy.json"))


def test_sheets_that_are_not_read_are_said(tmp_path: Path):
    with pd.ExcelWriter(tmp_path / "toy.xlsx") as book:
        people().to_excel(book, sheet_name="2023", index=False)
        pd.DataFrame().to_excel(book, sheet_name="empty", index=False, header=False)
        people().to_excel(book, sheet_name="2024", index=False)
    with pytest.warns(UserWarning, match=r"toy\.xlsx: sheet '2023' was read, and not '2024'\.$"):
        assert len(read(tmp_path / "toy.xlsx").x) == N


def test_texts_that_are_missing_or_cut_are_said():
    frame = pd.DataFrame({"text": ["a bird"] * 9 + [None, " ".join(["lake"] * 128), "lake " * 500], "y": [0, 1] * 6})
    with pytest.warns(UserWarning) as said:
        columns = read_table(frame, label="y", text="text")
    assert [str(one.message) for one in said] == [
        "table: text 'text' is missing in 1 of 12 rows, and empty there.",
        "table: 2 of 12 texts have 128 words or more; what comes later is not read.",
    ]
    assert columns.x.shape == (12, 128)
    assert read_table(frame.head(9), label="y", text="text").x.shape == (9, 2)  # nothing to say


@pytest.mark.parametrize("content", ["", "\n\n"])
def test_an_empty_file(tmp_path: Path, content: str):
    with pytest.raises(UserError, match=r"toy\.csv is empty; give a line of column names"):
        read_table(written(tmp_path, content), label="y")


def test_a_file_without_rows(tmp_path: Path):
    with pytest.raises(UserError, match=r"toy\.csv has no rows"):
        read_table(written(tmp_path, "a,y\n"), label="y")


@pytest.mark.parametrize("header", ["a,b,a", "a, b,a", "b,a,a"])
def test_doubled_column_names(tmp_path: Path, header: str):
    with pytest.raises(UserError, match=r"toy\.csv has more than one column named 'a'; rename or drop"):
        read_table(written(tmp_path, f"{header}\n{ROWS}"), label="b")


def test_doubled_column_names_of_a_frame():
    frame = pd.DataFrame([[1, 2, 3, 4]], columns=["a", "b", "a", "b"])
    with pytest.raises(UserError, match=r"table has more than one column named 'a', 'b'"):
        read_table(frame, label="b")


def test_rows_that_do_not_fit_the_header(tmp_path: Path):
    with pytest.raises(UserError, match=r"not a table that can be read \(.*Expected 2 fields in line 2, saw 3"):
        read_table(written(tmp_path, f"a,y\n{ROWS}"), label="y")
    with pytest.raises(UserError, match=r"not a table that can be read \(.*Expected 3 fields in line 14, saw 4"):
        read_table(written(tmp_path, f"a,b,y\n{ROWS}1,2,3,4\n"), label="y")
    with pytest.raises(UserError, match=r"not a table that can be read \(.*EOF inside string"):
        read_table(written(tmp_path, f'a,b,y\n{ROWS}1,"2,3\n'), label="y")


def test_a_damaged_parquet_file(tmp_path: Path):
    with pytest.raises(UserError, match=r"toy\.parquet is not a table that can be read"):
        read_table(written(tmp_path, "no parquet", "toy.parquet"), label="y")


def test_parquet_without_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = written(tmp_path, "anything", "toy.parquet")
    for package in ("pyarrow", "fastparquet"):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=r'pip install "longcut\[parquet\]"'):
        read_table(path, label="y")


# --- labels and roles -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["label", "attribute", "split", "text", "image"])
def test_a_column_that_is_not_there(role: str):
    options: dict[str, Any] = {"label": "rich", role: "vizits"}
    with pytest.raises(UserError, match=rf"table: {role}: unknown column 'vizits': did you mean 'visits'\?"):
        read_table(people(), **options)


def test_a_column_with_two_roles():
    with pytest.raises(UserError, match=r"column 'rich' is given two roles"):
        read(people(), attribute="rich")


def test_image_and_text_together():
    with pytest.raises(UserError, match=r"image 'id' and text 'town' are both given; choose one"):
        read(people(), image="id", text="town")


def test_labels_that_cannot_be_learned_from():
    frame = people()
    with pytest.raises(UserError, match=r"label 'rich' is missing in 2 of 40 rows"):
        read(frame.assign(rich=frame["rich"].where(~frame.index.isin([3, 8]))))
    with pytest.raises(UserError, match=r"label 'rich' has one class only, '7'"):
        read(frame.assign(rich=7))
    with pytest.raises(UserError, match=r"class '1' of label 'rich' has no test samples"):
        read(frame.assign(rich=frame["rich"].where(frame.index < 30, 0)))
    with pytest.raises(UserError, match=r"attribute 'sex' says the same as label 'rich'"):
        read(frame.assign(rich=[3, 4] * 20))


def test_without_a_split_parts_are_drawn():
    columns = read_table(people(), label="rich", seed=1)
    assert not columns.source.official and columns.source.split is None
    assert np.bincount(columns.source.part).tolist() == [24, 8, 8]
    assert (read_table(people(), label="rich", seed=2).source.part != columns.source.part).any()


@pytest.mark.parametrize(
    ("label", "task"),
    [
        (np.arange(100) / 4, "regression"),  # fractions
        (np.arange(100) % 2 / 2, "regression"),
        (np.arange(100), "regression"),  # 100 whole numbers in 100 rows
        (np.arange(255) % 51, "classification"),  # 51 in exactly 20 % of the rows
        (np.arange(254) % 51, "regression"),  # in more
        (np.arange(150) % 50, "classification"),  # not more than 50
        (np.arange(150) % 50 * 1.0, "classification"),
        ((np.arange(153) % 51).astype(str), "classification"),
        (np.arange(100) % 2 == 0, "classification"),
    ],
)
def test_the_task_is_told_from_the_label(label: np.ndarray, task: str):
    columns = read_table(pd.DataFrame({"a": np.arange(len(label)), "y": label}), label="y")
    assert columns.source.encoding["task"] == task
    assert columns.label is not None
    assert columns.label.dtype == (np.float32 if task == "regression" else np.int64)
    assert bool(columns.class_names) == (task == "classification")
    assert Dataset.from_columns(columns).info.task == task


def test_the_task_can_be_said():
    frame = people().assign(half=[0, 0.5, 0.5, 0] * 10)
    assert read(frame, label="half", task="classification").class_names == ("0", "0.5")
    columns = read(frame, task="regression")
    assert columns.label is not None
    assert columns.label.tolist() == [0.0, 1.0, 1.0, 0.0] * 10
    with pytest.raises(UserError, match=r"unknown task 'clasification': did you mean 'classification'"):
        read(frame, task="clasification")


@pytest.mark.parametrize("value", ["tall", np.inf, None, 1e39])
def test_a_regression_label_must_be_a_finite_number(value: Any):
    frame = people().assign(rich=pd.Series([0.5] * 9 + [value] + [1.5] * 30, dtype=object))
    with pytest.raises(
        UserError, match=r"label 'rich' is '\w+(\.\d+)?(e\+39)?' in row 10, and regression needs finite"
    ):
        read(frame, task="regression")


def test_a_numeric_attribute_becomes_ranges():
    columns = read(people(), attribute="age")
    assert len(columns.attribute_names) == 4
    assert columns.attribute is not None
    assert (columns.attribute == -1).sum() == people()["age"].isna().sum() > 0
    assert "age" not in columns.source.features


# --- text -------------------------------------------------------------------------------------------------------------


def sentences() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "premise": ["The lake is blue", "A bird"] * 6,
            "hypothesis": ["It isn't", None] * 6,
            "y": [0, 1] * 6,
            "when": ["train"] * 6 + ["test"] * 6,
        }
    )


def test_text_becomes_token_ids():
    columns = read_table(sentences(), label="y", split="when", text="premise")
    assert columns.source.encoding["vocabulary"] == ["a", "bird", "blue", "is", "lake", "the"]  # all three times
    assert columns.x[:2].tolist() == [[7, 6, 5, 4], [2, 3, 0, 0]]
    assert columns.vocabulary == 8
    assert columns.source.text == ("premise",)


def test_texts_are_joined_and_missing_ones_are_empty():
    with pytest.warns(UserWarning, match="text 'hypothesis' is missing in 6 of 12 rows, and empty there"):
        columns = read_table(sentences(), label="y", split="when", text="premise+hypothesis")
    known = columns.source.encoding["vocabulary"]
    assert [known[i - 2] for i in columns.x[0]] == ["the", "lake", "is", "blue", "it", "isn't"]
    assert columns.x.shape[1] == columns.source.encoding["length"] == 6
    with pytest.warns(UserWarning, match="text 'hypothesis' is missing"):
        empty = read_table(sentences(), label="y", split="when", text="hypothesis")
    assert empty.x[1].tolist() == [1, 0]


def test_the_vocabulary_and_the_length_are_those_of_the_training_rows():
    frame = sentences()
    frame.loc[11, "premise"] = "an unseen word the test rows have, lake after lake"
    columns = read_table(frame, label="y", split="when", text="premise")
    assert columns.source.encoding == read_table(sentences(), label="y", split="when", text="premise").source.encoding
    assert columns.x[11].tolist() == [1, 1, 1, 7]  # cut to four words, of which "the" is known


def test_long_texts_are_cut():
    frame = sentences().assign(premise="word " * 300)
    with pytest.warns(UserWarning, match="12 of 12 texts have 128 words or more"):
        assert read_table(frame, label="y", split="when", text="premise").x.shape == (12, 128)


def test_a_column_whose_name_has_a_plus():
    frame = sentences().rename(columns={"premise": "a+b"})
    assert read_table(frame, label="y", split="when", text="a+b").source.text == ("a+b",)


def test_text_is_read_as_it_is_written(tmp_path: Path):
    rows = "".join(f"{text},{i % 2}\n" for i, text in enumerate(["001", "NA", "None", "1.50"] * 3))
    path = written(tmp_path, "text,y\n" + rows)
    columns = read_table(path, label="y", text="text")
    assert columns.source.rows["text"].tolist() == ["001", "NA", "None", "1.50"] * 3
    later = read_table(written(tmp_path, "text\nNA\n", "later.csv"), label="y", encoding=again(columns.source.encoding))
    assert later.x.tolist() == [columns.x[1].tolist()]
    assert later.vocabulary == columns.vocabulary


# --- images -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A table of twelve one-coloured images, of brightness 10 i, in a folder beside it."""
    monkeypatch.setenv("LONGCUT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "images").mkdir()
    for i in range(12):
        Image.new("RGB", (9, 8), (10 * i,) * 3).save(tmp_path / "images" / f"{i}.png")
    rows = "".join(f"images/{i}.png,{i % 2},{'train' if i < 8 else 'test'}\n" for i in range(12))
    return written(tmp_path, "file,y,when\n" + rows)


def test_images_by_their_paths(photos: Path):
    columns = read_table(photos, label="y", split="when", image="file")
    assert columns.x.shape == (12, 3, 8, 9)
    assert columns.x[:, 0, 0, 0].tolist() == [10 * i for i in range(12)]
    assert columns.source.image == "file"
    assert columns.source.facts is not None
    assert columns.source.facts["width"].tolist() == [9] * 12
    assert columns.source.rows.columns.tolist() == ["file", "y", "when"]
    assert (columns.source.encoding["kind"], columns.source.encoding["shape"]) == ("image", [3, 8, 9])


def test_images_of_a_frame_are_found_from_here(photos: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(photos.parent)
    assert read_table(pd.read_csv(photos), label="y", image="file").x.shape == (12, 3, 8, 9)


def test_images_that_are_skipped_leave_the_table_too(photos: Path):
    (photos.parent / "images" / "3.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"1 of 12 images cannot be read: images/3\.png"):
        read_table(photos, label="y", split="when", image="file")
    columns = read_table(photos, label="y", split="when", image="file", unreadable="skip")
    assert columns.label is not None
    kept = [i for i in range(12) if i != 3]
    assert columns.x[:, 0, 0, 0].tolist() == [10 * i for i in kept]
    assert columns.label.tolist() == [i % 2 for i in kept]
    assert columns.source.rows["file"].tolist() == [f"images/{i}.png" for i in kept]
    assert columns.source.rows.index.tolist() == list(range(11))
    assert len(columns.source.part) == 11


def test_new_images_are_made_as_large_as_the_earlier_ones(photos: Path):
    encoding = again(read_table(photos, label="y", image="file", size=4).source.encoding)
    later = read_table(written(photos.parent, "file\nimages/7.png\n", "later.csv"), label="y", encoding=encoding)
    assert later.x.shape == (1, 3, 4, 4)
    assert later.label is None


def test_new_images_of_another_size_are_refused(photos: Path):
    encoding = again(read_table(photos, label="y", image="file").source.encoding)
    Image.new("RGB", (7, 7)).save(photos.parent / "images" / "new.png")
    path = written(photos.parent, "file\nimages/new.png\n", "later.csv")
    with pytest.raises(UserError, match=r"images are \(3, 7, 7\), and were \(3, 8, 9\) before"):
        read_table(path, label="y", encoding=encoding)


def test_an_image_without_a_path(photos: Path):
    path = written(photos.parent, photos.read_text() + ",1,train\n")
    with pytest.raises(UserError, match=r"toy.csv: image missing in row 13"):
        read_table(path, label="y", split="when", image="file")


# --- real data --------------------------------------------------------------------------------------------------------


def groups(columns: Columns, part: int | None = None) -> list[list[int]]:
    """Samples of each class (rows) with each attribute value."""
    rows = slice(None) if part is None else columns.source.part == part
    assert columns.label is not None and columns.attribute is not None
    return pd.crosstab(columns.label[rows], columns.attribute[rows]).to_numpy().tolist()


@pytest.mark.data
def test_waterbirds(real_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LONGCUT_CACHE", str(tmp_path))
    table = real_data / "waterbirds_72px" / "metadata.csv"
    columns = read_table(table, label="y", attribute="place", split="split", image="img_filename", size=72)
    assert columns.x.shape == (11_788, 3, 72, 72)
    assert np.bincount(columns.source.part).tolist() == [4795, 1199, 5794]  # Sagawa et al. 2020, appendix C.1
    assert groups(columns, TRAIN) == [[3498, 184], [56, 1057]]
    assert Splits.of(Dataset.from_columns(columns)).info.aligned == (0, 1)


ADULT = (
    "age, workclass, fnlwgt, education, education_num, marital_status, occupation, relationship, race, sex, "
    "capital_gain, capital_loss, hours_per_week, native_country, income"
)


@pytest.mark.data
def test_adult(real_data: Path, tmp_path: Path):
    table = written(tmp_path, f"{ADULT}\n{(real_data / 'adult' / 'adult.data').read_text()}")
    columns = read_table(table, label="income", attribute="sex")
    assert len(columns.x) == 32_561  # adult.names
    assert columns.class_names == ("<=50K", ">50K")
    assert columns.attribute_names == ("Female", "Male")
    assert columns.source.features == tuple(name for name in ADULT.split(", ") if name not in ("sex", "income"))
    names = feature_names(columns.source.encoding)
    assert {"workclass=?", "occupation=?", "native_country=?"} <= set(names)
    assert not [name for name in names if name.endswith("missing")]
    unknown_work = columns.x[:, names.index("workclass=?")].sum()
    assert unknown_work == sum(line.split(", ")[1] == "?" for line in table.read_text().splitlines()[1:] if line)
    train = columns.source.part == TRAIN
    age = columns.x[train, names.index("age")].astype(float)
    assert (age.mean(), age.std()) == pytest.approx((0, 1), abs=1e-6)


@pytest.mark.data
@pytest.mark.parametrize("text", ["hypothesis", "premise+hypothesis"])
def test_mnli_with_the_negation_attribute(real_data: Path, text: str):
    table = real_data / "mnli" / "mnli_dev_matched_negation.tsv"
    long = pytest.warns(UserWarning, match=r"20 of 9,815 texts have 128 words or more")
    with long if "+" in text else nullcontext():
        columns = read_table(table, label="gold_label", attribute="sentence2_has_negation", text=text)
    assert len(columns.x) == 9815
    assert columns.class_names == ("contradiction", "entailment", "neutral")
    assert groups(columns) == [[3213 - 504, 504], [3479 - 91, 91], [3123 - 87, 87]]
    lines = table.read_text(encoding="utf-8").splitlines()[1:]
    assert columns.source.rows["hypothesis"].tolist() == [line.split("\t")[4] for line in lines]
    assert {"not", "n't", "isn't"} & set(columns.source.encoding["vocabulary"][:1000])


@pytest.mark.parametrize(
    ("name", "content", "options"),
    [
        ("a.csv", "age,sex,rich\n1,f,y\n", {}),
        ("a.csv", "\ufeffage, sex ,rich\n1,f,y\n", {}),
        ("a.csv", 'age;"a;b";rich\n1;f;y\n', {}),
        ("a.csv", '"a\nb",sex,rich\n1,f,y\n', {}),
        ("a.csv", "# made by hand\n\nage,sex,rich\n1,f,y\n", {"skip": "1"}),
        ("a.tsv", "age\tsex\trich\n1\tf\ty\n", {}),
        ("a.txt", "age sex  rich\n1 f  y\n", {"separator": "space"}),
        ("a.data", "1,f,y\n2,m,n\n", {"names": "age,sex,rich"}),
    ],
)
def test_the_first_line_alone_tells_the_columns(
    name: str, content: str, options: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / name
    path.write_text(content, "utf-8", newline="")
    form = Form(options.get("separator"), None, options.get("names"), int(options.get("skip", 0)))
    assert names_in(path, form) == [tidy(one) for one in open_table(path, form).names]
    require_columns(path, {**options, "label": "rich"})
    with pytest.raises(UserError, match=r"label: unknown column 'rihc': did you mean 'rich'\?"):
        require_columns(path, {**options, "label": "rihc"})


@pytest.mark.parametrize("content", ["", "age,,rich\n1,f,y\n", "age,age\n1,2\n", "\xff\xfe"])
def test_a_first_line_in_doubt_refuses_nothing(content: str, tmp_path: Path):
    path = tmp_path / "a.csv"
    path.write_text(content, "latin-1")
    require_columns(path, {"label": "nothing"})
    require_columns(tmp_path / "missing.csv", {"label": "nothing"})
