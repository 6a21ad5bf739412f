"""From an audit or a run to what is to be looked up, from answers to training."""

from __future__ import annotations

import base64
import csv
import dataclasses
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from test_audit_folder import pictures
from test_cli import FAST, call, printed, printed_json

from longcut import annotate as annotating
from longcut.annotate import annotate, write
from longcut.audit import folder as audits
from longcut.cli import explore
from longcut.data import Dataset, Splits
from longcut.datasets import DATASETS, Entry, load
from longcut.errors import UserError
from longcut.lookup.rounds import Gain

N = 300


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")


def table(path: Path = Path("birds.csv"), seed: int = 0) -> tuple[Path, list[str]]:
    """Column a shows the place, column b the bird less clearly; the place of each row, which the file does not say."""
    rng = np.random.default_rng(seed)
    label = np.arange(N) % 2
    place = np.where(rng.random(N) < 0.1, 1 - label, label)
    frame = pd.DataFrame(
        {
            "a": (6 * place + rng.normal(size=N)).round(3),
            "b": (label + rng.normal(size=N)).round(3),
            "bird": np.array(["gull", "wren"])[label],
            "part": np.where(np.arange(N) < 200, "train", "test"),
        }
    )
    frame.to_csv(path, index=False)
    return path, ["land" if one else "water" for one in place]


@pytest.fixture
def run() -> tuple[Path, list[str]]:
    path, places = table()
    printed("train", path, "--label", "bird", "--split", "part", "-m", "erm", "--net", "linear", *FAST, "--out", "run")
    return Path("run"), places


def answer(places: list[str], source: Path = Path("asked/to-look-up.csv"), to: str = "answers.csv") -> Path:
    """Fill the table in, as somebody would who sees the place."""
    with source.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row["attribute"] = places[int(row["row"])]
    with Path(to).open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return Path(to)


def asked(folder: str = "asked") -> list[dict[str, str]]:
    with Path(folder, "to-look-up.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_from_a_run_to_answers_to_another_round_to_training(run):
    folder, places = run
    said = printed(
        "annotate", folder, "--budget", "40", "-o", "asked", "--values", "land,water", "--attribute", "place"
    )
    assert "To look up: asked/to-look-up.csv (40 samples)" in said and "Look up 40 of these first" in said
    rows = asked()
    assert list(rows[0]) == ["row", "name", "label", "score", "drawn", "attribute"]
    assert all(int(row["row"]) < 200 and row["name"] == f"row {row['row']}" and not row["attribute"] for row in rows)
    assert [row["drawn"] for row in rows] == ["by rule"] * 34 + ["by lot"] * 6
    first = answer(places)
    found = printed_json("annotate", folder, "--budget", "40", "-o", "asked", "--answers", first)
    assert (
        found["answers"] == 40 and found["counter_examples"] > 8 and found["usual"] == {"gull": "water", "wren": "land"}
    )
    assert not {row["row"] for row in asked()} & {row["row"] for row in rows}
    second = answer(places, to="second.csv")
    said = printed("annotate", folder, "-o", "asked", "--answers", first, "--answers", second)
    assert "80 answers so far" in said and "The later half of them brought" in said
    assert (
        "longcut train table:path=birds.csv,label=bird,split=part --answers asked/answers.csv -m balanced-head" in said
    )
    arguments = ("train", "birds.csv", "--label", "bird", "--split", "part", "--net", "linear", *FAST)
    plain = printed_json(*arguments, "-m", "balanced-head", "--answers", first, "--answers", second, "--out", "told")
    assert plain["plan"]["data"].startswith("answered:data=table") and plain["status"] == "done"
    merged = printed_json(*arguments, "-m", "balanced-head", "--answers", "asked/answers.csv", "--out", "merged")
    assert merged["scores"] == plain["scores"]
    for method in ("resample:by=group", "group-dro", "dfr:fit_on=train"):
        told = printed_json(*arguments, "-m", method, "--answers", "asked/answers.csv", "--out", method.split(":")[0])
        assert told["status"] == "done"
    again = printed_json("annotate", "told", "--answers", "asked/answers.csv", "-o", "more")
    assert again["answers"] == 80  # of a run on answers, the data is asked about


def test_answers_help_the_worst_group(run):
    """The place of the test part is what the head must not look at."""
    folder, places = run
    printed("annotate", folder, "--budget", "60", "-o", "asked", "--values", "land,water")
    answer(places)
    splits = load("answered:data=table:path=birds.csv%2Clabel=bird%2Csplit=part,answers=answers.csv", 0)
    assert splits.train.known.sum() == 60 and not splits.test.known.any() and splits.info.partial
    assert splits.info.attribute_names == ("land", "water") and splits.info.aligned == (1, 0)
    against = np.array([(place == "land") == bool(i % 2 == 0) for i, place in enumerate(places)])[splits.test.index]
    worst = {}
    for name, data in (("plain", ()), ("told", ("--answers", "answers.csv"))):
        method = "balanced-head" if data else "erm"
        arguments = (
            "birds.csv",
            "--label",
            "bird",
            "--split",
            "part",
            "--net",
            "linear",
            "--epochs",
            "30",
            "--device",
            "cpu",
        )
        printed("train", *arguments, "-m", method, *data, "--out", name)
        frame = pd.read_csv(printed_and_saved(name, "birds.csv"))
        right = (frame["prediction"] == frame["label"]).to_numpy()[200:]
        worst[name] = right[against].mean()
    assert worst["told"] > worst["plain"] + 0.2


def printed_and_saved(run: str, data: str) -> str:
    printed("predict", run, data, "-o", f"{run}.csv")
    return f"{run}.csv"


def test_everything_answered_is_said(run):
    folder, places = run
    printed("annotate", folder, "--budget", "999", "-o", "asked", "--values", "land,water")
    assert len(asked()) == 200
    said = printed("annotate", folder, "-o", "asked", "--answers", answer(places))
    assert "Every training sample is answered; there is nothing left to ask." in said


@pytest.mark.parametrize(("brought", "stop"), [(0.009, True), (0.011, False)])
def test_who_is_to_stop_is_not_told_to_go_on(brought: float, stop: bool, run, monkeypatch: pytest.MonkeyPatch):
    folder, places = run
    printed("annotate", folder, "--budget", "40", "-o", "asked", "--values", "land,water")
    monkeypatch.setattr(annotating, "gain", lambda *_: Gain(brought, -0.02, 0.04))
    said = printed("annotate", folder, "-o", "asked", "--answers", answer(places))
    assert ("Stop here: " in said) == stop and ("Look up 100 more" in said) == (not stop)


def test_cannot_tell_is_an_answer_that_is_not_asked_again(run):
    folder, _ = run
    printed("annotate", folder, "--budget", "5", "-o", "asked", "--values", "land,water")
    first = {row["row"] for row in asked()}
    printed(
        "annotate", folder, "--budget", "5", "-o", "asked", "--values", "land,water", "--answers", answer(["?"] * N)
    )
    assert not first & {row["row"] for row in asked()}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "answers.csv is empty"),
        ("row,place\n3,land\n", "has no column attribute"),
        ("row,attribute\n999,land\n", "name sample 999, but .* has samples 0 to 299; give answers about this data"),
        ("row,name,attribute\n3,b.jpg,land\n", "are about other data: they give sample 3 the name 'b.jpg'"),
        ("row,label,attribute\n3,gull,land\n", "are about other data: they give sample 3 the label 'gull'"),
        ("row,attribute\n3,sky\n", "answers 'sky' for sample 3, which is none of the values land, water"),
        ("row,attribute\n3,land\n3,water\n", "answers 'water' for sample 3, which is answered 'land', too"),
    ],
)
def test_answers_that_do_not_fit_are_refused_in_one_line(text, message, run):
    folder, _ = run
    Path("answers.csv").write_text(text)
    result = call("annotate", folder, "--answers", "answers.csv", "--values", "land,water", "-o", "asked")
    assert result.exit_code == 2 and not Path("asked").exists()
    with pytest.raises(UserError, match=message):
        annotate(folder, answers=["answers.csv"], values=["land", "water"])


def test_what_cannot_be_asked_is_refused_in_one_sentence(run, monkeypatch: pytest.MonkeyPatch):
    folder, _ = run
    with pytest.raises(UserError, match="unknown rule 'suspicious': did you mean 'suspicion'"):
        annotate(folder, rule="suspicious")
    with pytest.raises(UserError, match="two different values or more, but none is known; give them, such as --values"):
        annotate(folder)
    with pytest.raises(UserError, match="two different values or more, but land, land is known"):
        annotate(folder, values=["land", "land"])
    with pytest.raises(UserError, match="nowhere is neither an audit nor a run"):
        annotate("nowhere")
    table(seed=1)
    with pytest.raises(UserError, match="the data of the run in run has changed"):
        annotate(folder, values=["land", "water"])
    Path("full").mkdir()
    Path("full", "thesis.txt").write_text("")
    table()
    with pytest.raises(UserError, match="full exists and holds something else than look-ups"):
        write(annotate(folder, values=["land", "water"]), "full")
    Path("file").write_text("")
    with pytest.raises(UserError, match="cannot write the look-ups to file/below"):
        write(annotate(folder, values=["land", "water"]), "file/below")


def test_a_regression_and_known_attributes_are_refused():
    frame = pd.DataFrame(
        {"x": np.arange(60.0), "y": np.arange(60.0) * 2, "place": ["a", "b", "b"] * 20, "z": [0, 1] * 30}
    )
    frame.to_csv("r.csv", index=False)
    printed(
        "train", "r.csv", "--label", "y", "--task", "regression", "-m", "erm", "--net", "linear", *FAST, "--out", "r"
    )
    with pytest.raises(UserError, match=r"r.csv is a regression; annotate needs data with classes"):
        annotate("r", values=["a", "b"])
    printed(
        "train", "r.csv", "--label", "z", "--attribute", "place", "-m", "erm", "--net", "linear", *FAST, "--out", "k"
    )
    with pytest.raises(UserError, match=r"r.csv has the attribute values a, b, but the values given are b, a; leave"):
        annotate("k", values=["b", "a"])
    with pytest.raises(
        UserError, match=r"every training sample of r.csv has its attribute; there is nothing to look up"
    ):
        annotate("k")


# --- audits -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def audit(monkeypatch: pytest.MonkeyPatch) -> Path:
    """An audit of pictures with hostile names, whose data a registered name makes again."""
    found = pictures()
    part = dataclasses.replace(found.view.data, attribute=None)
    part = dataclasses.replace(part, info=dataclasses.replace(part.info, n_attributes=0, attribute_names=()))

    def made(*, seed: int = 0) -> Splits:
        rows = torch.arange(len(part))
        return Splits(part.take(rows % 3 != 2), None, part.take(rows % 3 == 2))

    monkeypatch.setitem(DATASETS.own, "pictures", Entry(made))
    audits.write(found, "audit", data="pictures", command="longcut audit pictures")
    return Path("audit")


def test_an_audit_asks_whom_its_biased_model_contradicts(audit: Path):
    found = annotate(audit, budget=8, values=["lawn", "sofa"])
    judged, where = pictures().judged, {int(i): k for k, i in enumerate(pictures().view.data.index)}
    rows = [where[int(found.train.index[i])] for i in found.rows[~found.lot]]
    assert len(found.rows) == 8 and found.lot.sum() == 2
    assert all(judged.suspected[row] for row in rows)
    np.testing.assert_allclose(found.score[found.rows[~found.lot]], judged.score[rows], atol=1e-6)
    assert found.advice.kind == "unlabelled"  # its check 'learned' alarms


def test_names_go_through_the_table_and_back(audit: Path):
    found = annotate(audit, budget=99, values=["lawn", "sofa"])
    write(found, "asked")
    rows = asked()
    assert {row["name"] for row in rows} >= {"'=1+1.jpg", 'a,"b"\n.jpg'}
    Path("answers.csv").write_text("row,name,attribute\n")
    answered = answer(["lawn"] * 60)
    assert len(annotate(audit, answers=[answered], values=["lawn", "sofa"]).answers) == len(rows)


def test_an_audit_of_other_data_or_an_old_one_is_refused(audit: Path, monkeypatch: pytest.MonkeyPatch):
    judged = audits.judged(audit)
    with monkeypatch.context() as patched:
        patched.setattr(annotating.audits, "judged", lambda _: {**judged, "label": 1 - judged["label"]})
        with pytest.raises(UserError, match="the audit in audit is of other data than pictures is now; audit again"):
            annotate(audit, values=["lawn", "sofa"])
    (audit / "judged.safetensors").write_bytes(b"x")
    with pytest.raises(UserError, match=r"judged\.safetensors is damaged"):
        audits.judged(audit)
    (audit / "judged.safetensors").unlink()
    with pytest.raises(UserError, match="was written before audits kept what every sample looks like; audit again"):
        audits.judged(audit)


# --- the data set of answers ------------------------------------------------------------------------------------------


def spec(**options: Any) -> dict[str, Any]:
    return {"data": "table:path=birds.csv,label=bird,split=part", "answers": "answers.csv", **options}


def test_answers_as_data_are_refused_where_they_do_not_fit():
    table()
    made = DATASETS["answered"].function
    with pytest.raises(UserError, match="needs both: write answered:data=SPEC,answers=FILE"):
        made(data="birds.csv")
    Path("answers.csv").write_text("row,attribute\n1,\n")
    with pytest.raises(UserError, match=r"answers\.csv answer nothing; an attribute needs two values"):
        made(**spec())
    Path("answers.csv").write_text("row,attribute\n1,land\n")
    with pytest.raises(UserError, match="with one value only, 'land'"):
        made(**spec())
    with pytest.raises(UserError, match="is a regression; answers are about data with classes"):
        made(data="table:path=birds.csv,label=a,split=part", answers="answers.csv")
    splits = made(**spec(values="land|water"))
    assert splits.train.known.sum() == 1 and splits.info.attribute_names == ("land", "water")


def test_what_a_column_knows_stays_known():
    path, places = table()
    frame = pd.read_csv(path)
    frame["place"] = [place if i % 5 == 0 else None for i, place in enumerate(places)]
    frame.to_csv(path, index=False)
    Path("answers.csv").write_text(f"row,attribute\n1,{places[1]}\n201,{places[201]}\n")
    data = "table:path=birds.csv,label=bird,split=part,attribute=place"
    splits = DATASETS["answered"].function(data=data, answers="answers.csv")
    assert splits.train.known.sum() == 41 and splits.test.known.sum() == 21
    names = splits.info.attribute_names
    for part in (splits.train, splits.test):
        assert part.attribute is not None
        assert all(names[a] == places[i] for a, i in zip(part.attribute, part.index, strict=True) if a >= 0)
    with pytest.raises(UserError, match="has the attribute values land, water, but the values given are water, sea"):
        Path("answers.csv").write_text("row,attribute\n1,sea\n")
        DATASETS["answered"].function(data=data, answers="answers.csv", values="water|sea")
    assert json.loads(json.dumps(splits.info.aligned))


# --- what an audit advises --------------------------------------------------------------------------------------------


def advised(capsys: pytest.CaptureFixture[str], verdict: str, train: Any) -> str:
    explore._print_advice(
        {"verdict": verdict, "kind": "table", "findings": []}, train, Path("audit"), "longcut compare x"
    )
    return capsys.readouterr().out


def test_an_audit_ends_with_what_to_do(capsys: pytest.CaptureFixture[str]):
    table()
    train = load("table:path=birds.csv,label=bird,split=part", 0).train
    assert advised(capsys, "clear", train).startswith("\nNothing to do")
    said = advised(capsys, "alarm", train)
    assert "Look up 100 of these first" in said and "longcut annotate audit --values ONE,OTHER" in said
    mixed = dataclasses.replace(train, attribute=(torch.arange(200) // 2) % 2)
    assert advised(capsys, "alarm", mixed) == ""  # every attribute is there
    assert advised(capsys, "alarm", dataclasses.replace(train, attribute=1 - train.label)).startswith(
        "\nChange the data"
    )


def test_the_page_shows_the_file_and_not_the_small_copy():
    from longcut.report.lookup import shown

    for name in ("a", "b"):
        Path("photos", name).mkdir(parents=True)
        for i in range(3):
            Image.new("RGB", (300, 400), "red").save(Path("photos", name, f"{i}.png"))
    data = Dataset.from_folder("photos", size=8)
    first = shown(data, [2], [("0.5", "by rule")])[0]
    assert first.uri is not None and not first.small
    picture = Image.open(io.BytesIO(base64.b64decode(first.uri.partition(",")[2])))
    assert picture.size == (256, 256)
