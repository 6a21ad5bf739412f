"""The tables about people, from small files of the published layouts, and from the real ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from longcut.audit import audit
from longcut.cli import app
from longcut.data import Splits
from longcut.datasets import DATASETS, load
from longcut.datasets.regression import standardized
from longcut.errors import UserError
from longcut.record import Inputs, source_print

SPECS = [
    *("adult", "adult:sensitive=race", "adult:inputs=with"),
    *("compas", "compas:sensitive=sex", "compas:rows=black-white", "compas:inputs=with"),
    *("german", "german:sensitive=age", "german:inputs=with", "german:sensitive=age,inputs=with"),
]

ADULT = (
    "{age}, {work}, 77516, Bachelors, 13, Never-married, Sales, Not-in-family, {race}, {sex}, {gain}, 0, 40, {place}, "
    "{y}"
)
COMPAS = (
    "id,sex,age,age_cat,race,juv_fel_count,decile_score,juv_misd_count,juv_other_count,priors_count,"
    "days_b_screening_arrest,c_charge_degree,c_charge_desc,is_recid,decile_score,score_text,priors_count,two_year_recid"
)
GERMAN = "A11 {months} A34 A43 1169 A65 A75 4 {personal} A101 4 A121 {age} A143 A152 2 A173 1 A192 A201 {y} "


def write_adult(root: Path, n: int = 40) -> None:
    """Half of the rows in each file; those of the test file end with a dot, below a line that is no row."""
    (root / "adult").mkdir(parents=True, exist_ok=True)
    rows = [
        ADULT.format(
            age=20 + i,
            work="?" if i % 10 == 7 else ("Private", "State-gov")[i % 2],
            race="White" if i % 4 else "Black",
            sex="Male" if i % 3 else "Female",
            gain=100 * (i % 5),
            place="Cuba" if i % 7 == 0 else "United-States",
            y=">50K" if i % 5 < 2 else "<=50K",
        )
        for i in range(n)
    ]
    (root / "adult" / "adult.data").write_text("\n".join(rows[n // 2 :]) + "\n\n")
    (root / "adult" / "adult.test").write_text("|1x3 Cross validator\n" + ".\n".join(rows[: n // 2]) + ".\n\n")


def compas_row(i: int, **other: object) -> str:
    row = {
        "sex": "Male" if i % 3 else "Female", "age": 20 + i, "age_cat": ("25 - 45", "Less than 25")[i % 2],
        "race": ("African-American", "Caucasian", "Hispanic")[i % 3 if i % 2 else 0], "fel": 0, "decile": 9,
        "misd": i % 4, "other": 0, "priors": i, "days": i % 60 - 29, "degree": "FM"[i % 2],
        "desc": ("Battery", "Theft")[i % 5 < 2],
        "is_recid": i % 2, "decile2": 9, "text": "High", "priors2": i, "y": i % 2,
    } | other  # fmt: skip
    return ",".join(map(str, [i, *row.values()]))


def write_compas(root: Path, rows: list[str] | None = None) -> None:
    (root / "compas").mkdir(parents=True, exist_ok=True)
    rows = [compas_row(i) for i in range(40)] if rows is None else rows
    (root / "compas" / "compas-scores-two-years.csv").write_text("\n".join([COMPAS, *rows]) + "\n")


def write_german(root: Path, n: int = 40) -> None:
    (root / "german").mkdir(parents=True, exist_ok=True)
    rows = [
        GERMAN.format(months=6 + i % 9, personal=f"A9{1 + i % 5}", age=19 + i % 30, y=1 + (i % 10 > 6))
        for i in range(n)
    ]
    (root / "german" / "german.data").write_text("\n".join(rows) + "\n")


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("LONGCUT_DATA", str(tmp_path))
    for write in (write_adult, write_compas, write_german):
        write(tmp_path)
    return tmp_path


def loaded(spec: str, seed: int = 0) -> Splits:
    return load(f"{spec}{',' if ':' in spec else ':'}counts=any", seed)


@pytest.mark.parametrize("spec", SPECS)
def test_parts_are_drawn_by_seed_and_numbers_are_standardised_by_the_training_part(root, spec):
    splits = loaded(spec, 3)
    assert splits.valid is not None
    parts = [splits.train, splits.valid, splits.test]
    n = len(splits.whole)
    train, valid = 7 * n // 10, (n - 7 * n // 10) // 2
    assert [len(part) for part in parts] == [train, valid, n - train - valid]
    assert len(torch.cat([part.index for part in parts]).unique()) == n
    assert torch.equal(loaded(spec, 3).train.index, splits.train.index)
    assert not torch.equal(loaded(spec, 4).train.index, splits.train.index)
    assert splits.info.kind == "table" and splits.info.n_classes == splits.info.n_attributes == 2
    assert splits.info.aligned == ()
    seen = splits.train.gather(torch.arange(train))
    number = ~((splits.whole.x == 0) | (splits.whole.x == 1)).all(0)
    assert number.any()
    torch.testing.assert_close(seen[:, number].mean(0), torch.zeros(int(number.sum())), atol=1e-5, rtol=0)
    torch.testing.assert_close(seen[:, number].std(0, correction=0), torch.ones(int(number.sum())), atol=1e-4, rtol=0)


def test_adult_row_by_row(root):
    data = loaded("adult").whole
    rows = [i for i in range(40) if i % 10 != 7]  # the others miss a value
    assert len(data) == len(rows) == 36
    assert data.label.tolist() == [i % 5 < 2 for i in rows], "with a dot or without"
    assert data.attribute is not None
    assert data.attribute.tolist() == [i % 3 != 0 for i in rows]
    assert data.info.class_names == ("<=50K", ">50K") and data.info.attribute_names == ("Female", "Male")
    # numbers, race, and one column for each value that is seen: two of work, one of each other, two countries
    assert data.x.shape[1] == 5 + 1 + 2 + 4 + 2
    assert data.x[:, 5].tolist() == [i % 4 != 0 for i in rows], "race"
    assert data.x[:, 6].tolist() == [i % 2 == 0 for i in rows], "works in private"
    assert np.corrcoef(data.x[:, 0], rows)[0, 1] == pytest.approx(1), "age"
    race = loaded("adult:sensitive=race").whole
    assert race.attribute is not None
    assert race.attribute.tolist() == [i % 4 != 0 for i in rows]
    assert race.x[:, 5].tolist() == [i % 3 != 0 for i in rows], "sex, and no race"
    both = loaded("adult:inputs=with").whole
    assert torch.equal(both.x[:, 5:7], torch.stack([race.attribute, data.attribute], 1).float())


def test_compas_row_by_row(root):
    kept = [compas_row(i) for i in range(40)]
    away = [
        compas_row(40, days=31), compas_row(41, days=""), compas_row(42, days=-31), compas_row(43, is_recid=-1),
        compas_row(44, degree="O"), compas_row(45, text="N/A"), compas_row(46, desc=""),
    ]  # fmt: skip
    write_compas(root, kept[:20] + away + kept[20:])
    data, rows = loaded("compas").whole, range(40)
    assert len(data) == 40
    assert data.label.tolist() == [i % 2 for i in rows]
    assert data.attribute is not None
    assert data.attribute.tolist() == [i % 2 == 1 and i % 3 == 1 for i in rows]
    assert data.info.attribute_names == ("other", "Caucasian")
    assert data.x.shape[1] == 5 + 1 + 2 + 2 + 2
    assert np.corrcoef(data.x[:, 4], rows)[0, 1] == pytest.approx(1), "priors"
    assert data.x[:, 5].tolist() == [i % 3 != 0 for i in rows], "sex, and no race"
    some = loaded("compas:rows=black-white").whole
    assert len(some) == sum(not (i % 2 and i % 3 == 2) for i in rows)
    assert some.info.attribute_names == ("African-American", "Caucasian")
    sex = loaded("compas:sensitive=sex").whole
    assert sex.attribute is not None
    assert sex.attribute.tolist() == [i % 3 != 0 for i in rows]
    assert sex.x[:, 5].tolist() == data.attribute.tolist(), "race, and no sex"
    (root / "compas" / "compas-scores-two-years.csv").rename(root / "compas" / "compas-scores-two-years.noname.csv")
    assert torch.equal(loaded("compas").whole.x, data.x)


def test_german_row_by_row(root):
    data, rows = loaded("german").whole, range(40)
    assert data.label.tolist() == [i % 10 <= 6 for i in rows]
    assert data.info.class_names == ("bad", "good")
    assert data.attribute is not None
    assert data.attribute.tolist() == [i % 5 not in (1, 4) for i in rows], "A92 and A95 are women"
    assert data.x.shape[1] == 7 + 12, "numbers, and the one value of each other column; no personal status"
    age = loaded("german:sensitive=age").whole
    assert age.attribute is not None
    assert age.attribute.tolist() == [19 + i % 30 > 25 for i in rows]
    assert age.x.shape[1] == 6 + 1 + 12
    assert age.x[:, 6].tolist() == data.attribute.tolist(), "sex, and no age"
    assert loaded("german:inputs=with").whole.x[:, 7].tolist() == data.attribute.tolist()
    assert loaded("german:sensitive=age,inputs=with").whole.x.shape[1] == 7 + 1 + 12


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize(("parts", "shares"), [("70/15/15", (0.7, 0.15, 0.15)), ("50/30/20", (0.5, 0.3, 0.2))])
def test_shares_of_the_parts(root, spec: str, parts: str, shares: tuple[float, ...]):
    found, plain = loaded(f"{spec}{',' if ':' in spec else ':'}parts={parts}", 4), loaded(spec, 4)
    assert found.valid is not None and plain.valid is not None
    every = [len(one) for one in (found.train, found.valid, found.test)]
    assert every[0] == int(shares[0] * sum(every) + 1e-9)
    assert all(abs(n - share * sum(every)) < 1 for n, share in zip(every, shares, strict=True))
    if parts == "70/15/15":
        assert torch.equal(found.train.x, plain.train.x) and found.info.name == plain.info.name
    else:
        assert found.info.name.endswith(f"parts={parts},counts=any")
        numbers = found.train.gather(torch.arange(len(found.train)))[:, 0]
        assert abs(float(numbers.mean())) < 1e-5, "standardised by these training rows"


def test_shares_that_make_no_parts(root):
    with pytest.raises(UserError, match=r"parts=70/15/20 sum to 105; give shares that sum to 100, such as 70/15/15"):
        loaded("adult:parts=70/15/20")
    with pytest.raises(UserError, match=r"of 36 rows, parts=98/1/1 leaves a part empty"):
        loaded("adult:parts=98/1/1")
    with pytest.raises(UserError, match=r"parts=70/30 is not allowed; give text such as 70/15/15"):
        loaded("adult:parts=70/30")


@pytest.mark.parametrize("name", ["adult", "compas", "german"])
def test_files_that_are_not_the_published_ones(root, name):
    with pytest.raises(UserError, match=rf"{name}: .* has \d+ usable rows \(published: [\d,]+\); get the files again"):
        load(name)


def test_files_that_cannot_be_read(root, tmp_path):
    for name, file in (("adult", "adult.data"), ("compas", "compas-scores-two-years.csv"), ("german", "german.data")):
        with pytest.raises(UserError, match=f"there is no {file} in .*; it comes from"):
            load(f"{name}:folder={tmp_path / 'nowhere'}")
    (root / "adult" / "adult.test").unlink()
    with pytest.raises(UserError, match=r"adult\.test cannot be read \(there is no such file\)"):
        loaded("adult")
    (root / "german" / "german.data").write_text("1 2 3\n4 5 6\n7 8 9\n")
    with pytest.raises(UserError, match=r"german\.data has 3 columns, published are 21; get it again from"):
        loaded("german")
    write_german(root, 2)
    with pytest.raises(UserError, match=r"has 2 usable rows \(at least 3 are needed\)"):
        loaded("german")
    write_compas(root, [compas_row(i, priors="many" if i == 5 else i) for i in range(9)])
    with pytest.raises(UserError, match=r"compas.*: in .*, age, .* must be numbers \(.*many.*\); get it again"):
        loaded("compas")
    (root / "compas" / "compas-scores-two-years.csv").write_text("id,sex\n1,Male\n")
    with pytest.raises(UserError, match="has no column 'age'; get it again from"):
        loaded("compas")


# --- what a run shows -------------------------------------------------------------------------------------------------


def test_a_run_shows_equalized_odds_and_can_be_selected_by_it(root, monkeypatch):
    """Where it is the question, and nowhere else."""
    monkeypatch.chdir(root)
    write_compas(root, [compas_row(i, days=0) for i in range(400)])

    def printed(*words: str) -> str:
        result = CliRunner().invoke(app, list(words), catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.output

    how = ("--method", "erm", "--epochs", "2", "--net", "mlp:hidden=8", "--select", "best:equalized_odds_sum")
    text = printed("train", "compas:sensitive=sex,counts=any", *how, "--out", "runs/people")
    assert "EOd" in text and "best equalized odds sum on validation" in text
    assert "EOd" not in printed("train", "colored-digits", *how[:6], "--out", "runs/digits")
    shown = printed("evaluate", "runs/people")
    assert "equalized_odds_max" in shown and "demographic_parity" in shown
    assert "'charged again' is positive" in shown and "TPR" in shown
    assert "TPR" not in printed("evaluate", "runs/digits"), "ten classes have no such rates"
    (root / "runs" / "people" / "gallery.safetensors").unlink()
    assert "'1' is positive" in printed("evaluate", "runs/people"), "names are in the gallery"
    printed("report", "runs/people", "--out", "people.html")
    page = (root / "people.html").read_text("utf-8")
    assert "Equalized odds sum" in page
    printed("report", "runs/digits", "--out", "digits.html")
    assert "qualized odds" not in (root / "digits.html").read_text("utf-8")


def test_a_split_in_which_a_group_lacks_positives_cannot_select_by_equalized_odds(root, monkeypatch):
    monkeypatch.chdir(root)
    write_compas(
        root, [compas_row(i, days=0, sex="Female", y=0) if i % 3 else compas_row(i, days=0) for i in range(90)]
    )
    words = ["train", "compas:sensitive=sex,counts=any", "-m", "erm", "--epochs", "1"]
    result = CliRunner().invoke(app, [*words, "--select", "best:equalized_odds_sum"])
    assert result.exit_code != 0
    assert "cannot select by equalized_odds_sum: it is not defined on the valid set" in " ".join(result.output.split())


def test_the_report_labels_group_accuracies_as_rates(root, monkeypatch):
    monkeypatch.chdir(root)
    write_compas(root, [compas_row(i, days=0) for i in range(200)])
    words = ["train", "compas:sensitive=sex,counts=any", "-m", "erm", "--epochs", "1", "--out", "run"]
    assert CliRunner().invoke(app, words, catch_exceptions=False).exit_code == 0
    assert CliRunner().invoke(app, ["report", "run"], catch_exceptions=False).exit_code == 0
    page = (root / "report.html").read_text("utf-8")
    assert "Where the label is <bdi>charged again</bdi>, this is the true positive rate" in page


# --- the real ones ----------------------------------------------------------------------------------------------------


@pytest.mark.data
@pytest.mark.parametrize(
    ("spec", "inputs", "parts", "share", "sizes", "shares"),
    [
        # AIF360's numbers of rows and inputs; shares of positives overall and by attribute value
        ("adult", 97, (31655, 6783, 6784), 0.2478, (14695, 30527), (0.114, 0.312)),
        ("adult:inputs=with", 98, (31655, 6783, 6784), 0.2478, (14695, 30527), (0.114, 0.312)),
        ("adult:sensitive=race", 97, (31655, 6783, 6784), 0.2478, (6319, 38903), None),
        ("compas", 400, (4316, 925, 926), 0.455, (4067, 2100), None),
        ("compas:inputs=with", 401, (4316, 925, 926), 0.455, (4067, 2100), None),
        # 3,175 and 2,103 people, 5 of whom are without a description of their charge
        ("compas:rows=black-white", None, (3691, 791, 791), None, (3173, 2100), (0.523, 0.391)),
    ],
)
def test_the_published_numbers(spec, inputs, parts, share, sizes, shares):
    splits = load(spec)
    whole = splits.whole
    assert splits.valid is not None and whole.attribute is not None
    assert (len(splits.train), len(splits.valid), len(splits.test)) == parts
    assert inputs in (whole.x.shape[1], None)
    assert tuple(whole.attribute.bincount().tolist()) == sizes
    mean = whole.label.double().mean()
    assert share is None or float(mean) == pytest.approx(share, abs=6e-4)
    if shares:
        found = [float(whole.label[whole.attribute == value].double().mean()) for value in (0, 1)]
        assert found == pytest.approx(shares, abs=6e-4)


@pytest.mark.data
def test_how_many_columns_each_kind_has():
    """Of Adult 5 numbers, and levels as published once rows with missing values are gone."""
    x = load("adult:inputs=with").whole.x
    assert ((x == 0) | (x == 1)).all(0).tolist() == [False] * 5 + [True] * 93
    ends = np.cumsum([7, 16, 7, 14, 6, 41]) + 7
    for start, end in zip([7, *ends], ends, strict=False):
        assert torch.equal(x[:, start:end].sum(1), torch.ones(len(x))), "each person has one value"
    assert ends[-1] == 98
    x = load("compas:inputs=with").whole.x
    for start, end in ((7, 10), (10, 12), (12, 401)):
        assert torch.equal(x[:, start:end].sum(1), torch.ones(len(x)))


def test_entries_say_what_they_are_there_to_measure():
    asked = {name for name, entry in DATASETS.own.items() if entry.metrics}
    assert asked == {"adult", "compas", "german"}


@pytest.mark.parametrize("spec", SPECS)
def test_columns_are_called_as_they_were_and_hold_what_was_read(root, spec):
    """What the net sees, made of the named columns: numbers standardised, one of two names as 1, others one-hot."""
    splits = loaded(spec)
    source, whole, at = splits.train.source, splits.whole, 0
    assert source is not None and source.label is not None and source.attribute is not None
    for name in source.features:
        column = source.rows[name]
        if column.dtype.kind in "if":
            made = standardized(column.to_numpy(float)[:, None], splits.train.index.numpy())
        elif name in ("sex", "race"):
            made = column.isin(["Male", "male", "White", "Caucasian"]).to_numpy(float)[:, None]
        else:
            made = np.stack([column == value for value in sorted(column.unique())], 1)
        np.testing.assert_array_equal(whole.x[:, at : (at := at + made.shape[1])], made.astype(np.float32))
    assert at == whole.x.shape[1]
    assert source.rows[source.label].tolist() == [whole.info.class_names[i] for i in whole.label]
    assert whole.attribute is not None
    assert source.rows[source.attribute].tolist() == [whole.info.attribute_names[i] for i in whole.attribute]
    assert source.part.tolist() == [
        part for row in range(len(whole)) for part in range(3) if row in parts_of(splits)[part]
    ]


def parts_of(splits: Splits) -> list[set[int]]:
    return [{*part.index.tolist()} for part in (splits.train, splits.valid, splits.test) if part is not None]


def test_an_audit_speaks_of_the_columns_and_a_run_keeps_what_it_kept(root):
    """Who has a gain of 200 and more earns less: that column is the cue, and not one of five numbers without a name."""
    write_adult(root, 300)
    splits = loaded("adult")
    found = audit(splits, net="mlp:hidden=4", quick=True)
    assert {row["cue"] for row in found["cues"].table} == {"age", "workclass", "capital-gain", "native-country", "race"}
    assert "'capital-gain' alone" in found["cues"].sentence
    assert found.view.called == "'income'" and found["columns"].table[0]["column"] == "sex"
    assert len(found.view.data) == len(splits.train), "what a model would learn from"
    assert Inputs.of(splits.train).encoding is None and source_print(splits) == ""
