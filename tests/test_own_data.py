"""Somebody's own data from end to end: what is typed, what is read, trained, audited, judged, and refused."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import shutil
import struct
import tarfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import unsealed
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image
from test_cli import FAST, call, printed, printed_json, refused

from longcut import runs
from longcut.datasets import load, parse, resolve, spec_of
from longcut.errors import UserError
from longcut.places import short, slug

PHOTOS = "(folder with class/*.jpg or split/class/*.jpg)"
N = 120  # samples of an example; every other one is of the second class


# --- examples of what somebody may have -------------------------------------------------------------------------------


def columns() -> pd.DataFrame:
    """A label, an attribute that agrees with five in six of each class, and a part of each row."""
    row = np.arange(N)
    label = row % 2
    attribute = np.where(row // 2 % 6 == 0, 1 - label, label)
    part = np.array(["train", "train", "train", "valid", "test"])[row // 2 % 5]
    return pd.DataFrame({"label": label, "attribute": attribute, "part": part})


def pixels(frame: pd.DataFrame, side: int = 8) -> np.ndarray:
    """uint8 ``(n, side, side, 3)``: the label lights the left or the right half, the attribute the red or the green."""
    x = np.random.default_rng(1).integers(0, 60, (len(frame), side, side, 3), dtype=np.uint8)
    half = side // 2
    for image, label, attribute in zip(x, frame["label"], frame["attribute"], strict=True):
        image[:, label * half : (label + 1) * half] += 80
        image[:, :, attribute] += 100
    return x


def write_images(x: np.ndarray, paths: list[Path]) -> None:
    for image, path in zip(x, paths, strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)


def folder(root: Path) -> dict[str, Any]:
    frame = columns()
    places = [("land", "water")[label] for label in frame["label"]]
    write_images(pixels(frame), [root / "photos" / place / f"{i:03}.png" for i, place in enumerate(places)])
    return {"path": root / "photos"}


def parted(root: Path) -> dict[str, Any]:
    frame = columns()
    places = [f"{part}/{('land', 'water')[label]}" for part, label in zip(frame["part"], frame["label"], strict=True)]
    write_images(pixels(frame), [root / "parted" / place / f"{i:03}.png" for i, place in enumerate(places)])
    return {"path": root / "parted"}


def table(root: Path) -> dict[str, Any]:
    """Numbers, categories, gaps."""
    frame, draw = columns(), np.random.default_rng(2)
    age = draw.normal(40 + 10 * frame["label"], 4).round(1)
    people = pd.DataFrame(
        {
            "age": np.where(draw.random(N) < 0.1, np.nan, age),
            "town": np.where(draw.random(N) < 0.1, None, np.where(frame["attribute"], "Köln", "Bonn")),  # type: ignore[call-overload]
            "sex": np.where(frame["attribute"], "f", "m"),
            "part": frame["part"],
            "rich, or not": np.where(frame["label"], "yes", "no"),
        }
    )
    people.to_csv(root / "people.csv", index=False)
    return {"path": root / "people.csv", "label": "rich, or not", "attribute": "sex", "split": "part"}


def images(root: Path) -> dict[str, Any]:
    frame = columns()
    frame["file"] = [f"pictures/{i:03}.png" for i in range(N)]
    write_images(pixels(frame), [root / name for name in frame["file"]])
    frame.to_csv(root / "birds.csv", index=False)
    return {"path": root / "birds.csv", "image": "file", "label": "label", "attribute": "attribute", "split": "part"}


def text(root: Path) -> dict[str, Any]:
    frame, draw = columns(), np.random.default_rng(3)
    moods, topics = (["bad", "poor", "dull"], ["good", "fine", "great"]), ("train", "boat")
    rows = [
        {
            "title": f"a {draw.choice(moods[label])} trip",
            "body": f'The {topics[attribute]} was "{draw.choice(["late", "early"])}" on day {i % 7}',
            "mood": ("sad", "glad")[label],
            "topic": topics[attribute],
        }
        for i, (label, attribute) in enumerate(zip(frame["label"], frame["attribute"], strict=True))
    ]
    pd.DataFrame(rows).to_csv(root / "trips.tsv", index=False, sep="\t", quoting=csv.QUOTE_NONE)
    return {"path": root / "trips.tsv", "text": "title+body", "label": "mood", "attribute": "topic"}


def arrays(root: Path) -> dict[str, Any]:
    frame = columns()
    x = np.random.default_rng(4).normal(size=(N, 5)).astype(np.float32)
    x[:, 0] += 2 * frame["label"]
    x[:, 1] += 4 * frame["attribute"]
    np.savez(root / "cells.npz", x=x, label=frame["label"], hospital=np.where(frame["attribute"], "B", "A"))
    return {"path": root / "cells.npz", "attribute": "hospital"}


def shards(root: Path) -> dict[str, Any]:
    """Two tar files of as many images, with what is known of each."""
    frame = columns()
    about = frame.rename(columns={"label": "species"}).to_dict("records")
    for number, rows in enumerate(np.array_split(np.arange(N), 2)):
        (root / "tars").mkdir(exist_ok=True)
        with tarfile.open(root / "tars" / f"part-{number:03}.tar", "w") as tar:
            for row in rows:
                image = io.BytesIO()
                Image.fromarray(pixels(frame)[row]).save(image, "PNG")
                for suffix, content in (("png", image.getvalue()), ("json", json.dumps(about[row]).encode())):
                    member = tarfile.TarInfo(f"{row:04}.{suffix}")
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
    return {"path": root / "tars", "label": "species", "attribute": "attribute", "split": "part"}


EXAMPLES: dict[str, Callable[[Path], dict[str, Any]]] = {
    one.__name__: one for one in (folder, parted, table, images, text, arrays, shards)
}
every_kind = pytest.mark.parametrize("kind", EXAMPLES)


def spec(kind: str, root: Path) -> str:
    """Writes an example below ``root`` and returns the spec that reads it."""
    options = EXAMPLES[kind](root)
    return resolve(str(options.pop("path")), **options)


def typed(kind: str) -> list[str]:
    """Writes an example here and returns what one types for it."""
    options = EXAMPLES[kind](Path())
    words = [str(options.pop("path"))]
    for name, value in options.items():
        words += [f"--{name}", str(value)]
    return words


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("LONGCUT_CACHE", str(tmp_path / "cache"))


# --- what is typed ----------------------------------------------------------------------------------------------------

names = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.text(" ,%:=\n+2C5é图", max_size=8)


@given(path=names, label=names, attribute=names, size=st.integers(8, 1024))
@example(path="a,b=c:d%2C.csv", label=" label\u2003", attribute="%25", size=8)
@example(path="table:path=x", label="", attribute=" ", size=64)
def test_any_path_and_column_name_survives_being_written_as_a_spec(path: str, label: str, attribute: str, size: int):
    options = {"path": path, "label": label, "attribute": attribute, "size": size}
    written = spec_of("table", options)
    assert parse(written) == ("table", options)
    assert spec_of(*parse(written)) == written
    assert written.count(",") == 3


def test_what_is_typed_by_hand_need_not_be_quoted():
    assert parse("table: path = 50%.csv , label=a b") == ("table", {"path": "50%.csv", "label": "a b"})
    assert parse("table:path=a%2Cb.csv,label=50%25") == ("table", {"path": "a,b.csv", "label": "50%"})


@pytest.mark.parametrize(
    "name",
    [
        "a,b.csv", "50%.csv", "50%2C.csv", "a:b=c.csv", "x.csv:label=y.csv", "a=b.csv", "two  words.csv", " edges .csv",
        "größe-图.csv", "UPPER.CSV", "colored-digits:ratio=0.1.csv", "-dash.csv", "table.csv", "deep/er/x.csv",
    ],
)  # fmt: skip
def test_a_path_is_found_whatever_it_is_called(name: str):
    frame = columns().assign(part="")
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    frame[["attribute", "label"]].to_csv(Path("x.csv"), index=False)
    Path("x.csv").replace(name)
    head = f"./{name}" if name.startswith("colored") else name
    expected = ("table", {"path": name, "label": "label"})
    assert parse(resolve(head, label="label")) == expected
    assert parse(f"{head}:label=label") == expected
    assert len(load(resolve(head, label="label")).whole) == N
    assert load(f"{head}:label=label").info.name == name


def test_a_data_set_goes_before_a_folder_of_its_name():
    Path("folder").mkdir()
    Path("colored-digits").mkdir()
    with pytest.warns(UserWarning, match=r"colored-digits is the data set .* what lies here is \./colored-digits\."):
        assert resolve("colored-digits") == "colored-digits"
    assert resolve("./colored-digits", size=32) == "folder:path=colored-digits,size=32"
    assert resolve("./folder") == resolve("folder/") == "folder:path=folder"
    assert parse("folder:path=folder") == ("folder", {"path": "folder"})


def test_options_may_stand_behind_the_path_or_in_flags():
    table(Path())
    expected = ("table", {"path": "people.csv", "label": "sex", "split": "part"})
    assert parse(resolve("people.csv", label="sex", split="part", image=None)) == expected
    assert parse(resolve("people.csv:label=sex", split="part")) == expected
    assert parse(resolve("table:path=people.csv", label="sex", split="part")) == expected
    for given_twice in ("people.csv:label=sex", "people.csv:split=part, label = sex", "table:path=people.csv,label=x"):
        with pytest.raises(UserError, match=r"label is given by --label and in '.*'; leave out one of them"):
            resolve(given_twice, label="age")
    assert resolve("people.csv:split=label", label="age") == "table:path=people.csv,split=label,label=age"


@pytest.mark.parametrize("file", ["dataset_info.json", "dataset_dict.json", "state.json"])
def test_a_saved_hub_data_set_is_known_by_its_files(file: str):
    Path("saved").mkdir()
    assert resolve("saved") == "folder:path=saved"
    Path("saved", file).touch()
    assert resolve("saved", label="y") == "hub:path=saved,label=y"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("photo", "there is no file or folder photo; did you mean photos?"),
        ("./photos/lnad", "there is no file or folder ./photos/lnad; did you mean photos/land?"),
        ("poeple.csv", "there is no file or folder poeple.csv; did you mean people.csv?"),
        ("poeple.csv:label=sex", "there is no file or folder poeple.csv; did you mean people.csv?"),
        ("elsewhere/x", "there is no file or folder elsewhere/x; check the path (a data set of the hub is written"),
        ("unlike.npz", "there is no file or folder unlike.npz; check the path"),
        ("notes.doc", "notes.doc is neither a folder of images, a table (.csv .tsv .parquet) nor arrays (.npz"),
        ("photos/land/000.png", "photos/land/000.png is neither a folder of images, a table"),
        ("colored-digts", "unknown data set 'colored-digts': did you mean 'colored-digits'?"),
        ("digitz", "unknown data set 'digitz': did you mean 'digits'?"),  # and not .git
        ("", "unknown data set '': Known: adult, airfoil, answered, arrays, bar"),
        ("\udcff", r"the path '\udcff' is not UTF-8; rename it."),
    ],
)
def test_data_that_is_not_there(data: str, message: str):
    folder(Path())
    table(Path())
    Path("notes.doc").touch()
    Path(".git").mkdir()
    assert refused("train", data, *FAST).startswith(message.removesuffix("."))


def test_a_long_path_makes_a_folder_that_can_be_made():
    short, long = "folder:path=photos", f"folder:path={'/öffentlich' * 30}/photos"
    assert slug(short) == "folder-path=photos"
    assert slug(long).encode()[-15:-9] == b"photos"
    assert slug(long + "2") != slug(long)
    for data in (long, f"folder:path={'x' * 400}"):
        assert len(slug(data).encode()) <= 130
        Path(slug(data)).mkdir()


# --- what is read -----------------------------------------------------------------------------------------------------


@every_kind
def test_an_example_is_read(kind: str, tmp_path: Path):
    splits = load(spec(kind, tmp_path), seed=3)
    frame = columns()
    whole = splits.whole
    assert len(whole) == N
    assert torch.equal(whole.index, torch.arange(N))
    if kind not in ("folder", "parted"):  # there, files are in the order of their classes
        assert whole.label.tolist() == ((frame["label"]).tolist() if kind != "text" else (1 - frame["label"]).tolist())
        assert len(whole.info.aligned) == 2
        assert float(whole.conflicting.float().mean()) == pytest.approx(1 / 6)
    if splits.train.source is not None and splits.train.source.official:
        sizes = frame["part"].value_counts()
        assert splits.valid is not None
        found = [len(part) for part in (splits.train, splits.valid, splits.test)]
        assert found == [sizes["train"], sizes["valid"], sizes["test"]]
    else:
        assert [len(part) for part in (splits.train, splits.valid, splits.test)] == [72, 24, 24]  # type: ignore[arg-type]
        other = load(spec(kind, tmp_path), seed=4)
        assert not torch.equal(other.train.index, splits.train.index)


@every_kind
def test_parts_of_other_shares_are_drawn_unless_something_says_them(kind: str, tmp_path: Path):
    options = EXAMPLES[kind](tmp_path)
    path, says = str(options.pop("path")), options.pop("split", None)
    if says is not None:
        with pytest.raises(UserError, match=f"parts=70/15/15 are drawn, but the split '{says}' says the parts already"):
            load(resolve(path, **options, split=says, parts="70/15/15"))
    written = resolve(path, **options, parts="70/15/15")
    if kind == "parted":
        with pytest.raises(UserError, match="parts=70/15/15 are drawn, but its folders say the parts already; leave"):
            load(written)
        return
    splits = [load(written, seed) for seed in range(2)]
    for one in splits:
        assert [len(part) for part in (one.train, one.valid, one.test) if part is not None] == [84, 18, 18]
        assert one.train.label.bincount().tolist() == [42, 42], "within each class"
    assert not torch.equal(splits[0].test.index, splits[1].test.index), "two seeds are two splits"


def test_seeds_are_splits_of_those_shares():
    typed("arrays")
    words = ["cells.npz", "--attribute", "hospital", "--parts", "80/10/10", "--seeds", "3", "--methods", "erm"]
    printed_json("compare", *words, *FAST, "--net", "linear", "--out", "splits")
    tested = [runs.read(folder).predictions()["index"] for folder in runs.find(["splits"])]
    assert [len(index) for index in tested] == [12, 12, 12]
    assert len({tuple(sorted(index.tolist())) for index in tested}) == 3
    assert {runs.read(folder).record.plan.data for folder in runs.find(["splits"])} == {
        "arrays:path=cells.npz,attribute=hospital,parts=80/10/10"
    }


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ("70/30", "arrays: parts=70/30 is not allowed; give text such as 70/15/15."),
        ("70/15/20", "cells.npz: parts=70/15/20 sum to 105; give shares that sum to 100, such as 70/15/15."),
    ],
)
def test_parts_that_cannot_be_drawn(parts: str, message: str):
    typed("arrays")
    assert refused("train", "cells.npz", "--parts", parts, "-m", "erm", *FAST) == message


def test_images_are_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    written = spec("images", tmp_path)
    steps: list[tuple[int, int]] = []
    load(written, progress=lambda *done: steps.append(done))
    assert steps[-1] == (N, N)
    monkeypatch.setattr("longcut.sources.images._read", None)  # nothing is decoded any more
    x = load(written).train
    expected = torch.from_numpy(pixels(columns())).permute(0, 3, 1, 2)
    assert torch.equal(x.x[x.index], expected[x.index])


# --- from end to end --------------------------------------------------------------------------------------------------


@every_kind
def test_train_judge_predict_and_export(kind: str):
    words = typed(kind)
    data = words[0]
    record = printed_json("train", *words, "-m", "erm", *FAST)
    assert record["status"] == "done"
    (run,) = Path("runs").glob("*/erm-s0")
    assert run.parent.name == short(record["plan"]["data"])
    assert record["plan"]["net"] == "auto"
    assert printed_json("train", *words, "-m", "erm", *FAST) == record
    assert printed_json("evaluate", run) == record["scores"]["test"]
    assert printed_json("evaluate", run, "--data", record["plan"]["data"]) == record["scores"]["test"]
    whole = printed_json("evaluate", run, "--data", data)
    assert whole["n"] == N
    told = printed_json("predict", run, data, "-o", "said.csv")
    assert told["samples"] == N
    assert told["right"] == pytest.approx(whole["values"]["average"])
    said = pd.read_csv("said.csv")
    test = runs.read(run).predictions()
    right = said["right"].to_numpy()[test["index"].numpy()]
    assert right.tolist() == (test["outputs"].argmax(1) == test["label"]).tolist()
    if kind not in ("folder", "parted"):
        at = columns().eval("label != attribute").to_numpy()
        assert whole["values"]["conflicting"] == pytest.approx(said["right"][at].mean())
        assert whole["values"]["aligned"] == pytest.approx(said["right"][~at].mean())
    assert Path(printed_json("export", run, "--to", "safetensors")["export"]).is_file()
    assert str(run) in printed("train", *words, "-m", "erm", *FAST)
    assert f"{N} predictions" in printed("predict", run, data, "-o", "said.csv")


@pytest.mark.parametrize("kind", ["folder", "table", "text"])
def test_methods_are_compared_and_the_page_is_about_them(kind: str):
    rows = printed_json("compare", *typed(kind), "--methods", "erm,selecmix", "--seeds", "1", *FAST)
    assert [row["method"] for row in rows] == ["erm", "selecmix"]
    (out,) = Path("runs").iterdir()
    assert sorted(path.name for path in out.iterdir()) == ["erm-s0", "selecmix-s0", "summary.json"]
    assert printed_json("report", out, "-o", "page.html") == {"report": "page.html"}
    assert "selecmix" in Path("page.html").read_text()


def test_a_run_that_was_stopped_goes_on(monkeypatch: pytest.MonkeyPatch):
    words = (*typed("table"), "-m", "erm", "--set", "epochs=3", "--device", "cpu")

    @contextmanager
    def stopping(unit: str) -> Iterator[Callable[[float, int], None]]:
        def stop(done: float, total: int) -> None:
            if done == 2:
                raise KeyboardInterrupt

        yield stop

    with monkeypatch.context() as patch:
        patch.setattr("longcut.cli.show.bar", stopping)
        result = call("train", *words, "--out", "run")
    assert result.exit_code == 130
    assert [row["epoch"] for row in runs.read("run").history()] == [1, 2]
    resumed = printed_json("train", *words, "--out", "run")
    whole = printed_json("train", *words, "--out", "whole")
    assert resumed["scores"] == whole["scores"]
    weights = [Path(out, "weights.safetensors").read_bytes() for out in ("run", "whole")]
    assert weights[0] == weights[1]


def test_changed_data_is_not_gone_on_with(monkeypatch: pytest.MonkeyPatch):
    words = (*typed("table"), "-m", "erm", "--set", "epochs=3", "--device", "cpu", "--out", "run")
    with monkeypatch.context() as patch:
        patch.setattr("longcut.runs.Writer.finish", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        assert call("train", *words).exit_code == 130
    content = Path("people.csv").read_text()
    Path("people.csv").write_text(content.replace("Bonn", "Rome", 1))
    line = refused("train", *words)
    assert line.startswith("the data has changed since the run in run was begun; bring the old data back")


@pytest.fixture
def quick_audit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models of an audit that are hardly trained: what they find is asked elsewhere."""
    monkeypatch.setattr("longcut.audit.crossfit.EASY_UPDATES", 8)
    monkeypatch.setattr("longcut.audit.crossfit.UPDATES", 12)


def check_audit(kind: str, words: list[str]) -> None:
    record = printed_json("audit", *words, "--out", "audit")
    assert (record["folder"], record["report"]) == ("audit", "audit/report.html")
    stored = unsealed(Path("audit/audit.json"))
    assert stored == {key: value for key, value in record.items() if key not in ("folder", "report")}
    official = kind in ("parted", "table", "images", "shards")
    assert record["n"] == (72 if official else N)  # of official parts, the training part
    findings = {finding["name"]: finding for finding in record["findings"]}
    assert {"learned", "cues", "order", "noise"} <= findings.keys()
    assert ("columns" in findings) == ("known" in findings) == ("--attribute" in words)
    assert findings.get("words") is not None or kind != "text"
    assert record["command"].startswith(f"longcut audit {words[0]}")
    assert Path("audit/suspects.csv").read_text().startswith("row,name,label,looks_like,score")
    assert "<html" in Path("audit/report.html").read_text()


@pytest.mark.usefixtures("quick_audit")
@pytest.mark.parametrize(
    "kind", [pytest.param(k, marks=[pytest.mark.slow] * (k in ("parted", "images", "shards"))) for k in EXAMPLES]
)
def test_an_audit(kind: str):
    check_audit(kind, typed(kind))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["images", "table", "text"])
def test_an_audit_with_all_its_updates(kind: str):
    words = typed(kind)
    check_audit(kind, words)
    verdicts = {f["name"]: f["verdict"] for f in json.loads(Path("audit/audit.json").read_text())["findings"]}
    assert verdicts["columns"] in ("notice", "alarm")  # the attribute agrees with five in six


@pytest.mark.usefixtures("quick_audit")
def test_an_audit_goes_to_a_folder_of_its_own_and_replaces_an_earlier_one():
    words = typed("arrays")
    text = printed("audit", *words)
    place = Path("audits/cells")
    assert str(place / "report.html") in text
    first = json.loads((place / "audit.json").read_text())
    printed("audit", *words, "--seed", "1")
    assert json.loads((place / "audit.json").read_text())["seed"] == 1 != first["seed"]
    names = {
        "atlas.safetensors",
        "audit.json",
        "gallery.safetensors",
        "judged.safetensors",
        "report.html",
        "suspects.csv",
    }
    assert {path.name for path in place.iterdir()} == names
    assert printed_json("report", place, "-o", "page.html") == {"report": "page.html"}


@pytest.mark.usefixtures("quick_audit")
def test_an_audit_says_what_a_run_pays():
    words = typed("arrays")
    printed("train", *words, "-m", "erm", "--out", "run", *FAST)
    record = printed_json("audit", *words, "--model", "run", "--out", "audit")
    assert record["findings"][-1]["name"] == "model"
    assert "--model run" in record["command"]


def test_an_audit_refuses_before_any_work(monkeypatch: pytest.MonkeyPatch):
    words = typed("table")
    monkeypatch.setattr("longcut.datasets.load", None)  # nothing is read
    Path("photos").mkdir()
    Path("photos/cat.png").touch()
    message = "photos exists and is neither empty nor an audit; choose a new or empty folder."
    assert refused("audit", *words, "--out", "photos") == message
    assert refused("audit", *words, "--out", "people.csv") == "people.csv is a file; choose a folder."
    assert refused("audit", *words, "--model", "photos").startswith("photos is no run folder: it has no run.json;")
    from longcut.plans import plan

    with runs.Writer("run", plan("colored-digits")) as writer:
        writer.start("")
    assert refused("audit", *words, "--model", "run").startswith("the run in run is not finished;")


# --- other data for a run ---------------------------------------------------------------------------------------------


def test_new_rows_are_scaled_as_those_trained_on():
    """Alone, a few rows have other means, gaps and towns."""
    options = table(Path())
    words = [str(options["path"]), "--label", options["label"], "--attribute", "sex", "--split", "part"]
    printed("train", *words, "-m", "erm", "--out", "run", "--set", "lr=0.01", "--set", "epochs=5", "--device", "cpu")
    rows = pd.read_csv("people.csv").iloc[:30]
    rows.loc[rows["town"] == "Köln"].drop(columns="part").to_csv("new.csv", index=False)
    outputs = runs.read("run").predictions()["outputs"]  # of rows whose part is test
    found = printed_json("evaluate", "run", "--data", "new.csv")
    said = pd.read_csv(printed_json("predict", "run", "people.csv")["predictions"])
    test = pd.read_csv("people.csv")["part"] == "test"
    np.testing.assert_allclose(said.loc[test, "p(yes)"], outputs.softmax(1)[:, 1], atol=1e-5)
    chosen = (rows["town"] == "Köln").to_numpy()
    assert found["n"] == chosen.sum()
    assert found["values"]["average"] == pytest.approx(said["right"][:30][chosen].mean())


def test_what_is_usual_was_decided_where_the_run_was_trained():
    """In the new data, the attribute goes with the other label."""
    words = typed("images")
    printed("train", *words, "-m", "erm", "--out", "run", *FAST)
    frame = pd.read_csv("birds.csv")
    turned = frame[frame["label"] != frame["attribute"]]
    turned.to_csv("turned.csv", index=False)
    values = printed_json("evaluate", "run", "--data", "turned.csv")["values"]
    assert values["aligned"] is None
    assert values["conflicting"] == values["average"]
    frame.drop(columns="attribute").to_csv("blind.csv", index=False)
    values = printed_json("evaluate", "run", "--data", "blind.csv")["values"]
    assert values["conflicting"] is None
    assert values["worst_group"] is not None


def test_a_new_attribute_value_matters_to_groups_only():
    words = typed("images")
    printed("train", *words, "-m", "erm", "--out", "run", *FAST)
    pd.read_csv("birds.csv").replace({"attribute": {1: 2}}).to_csv("new.csv", index=False)
    assert printed_json("predict", "run", "new.csv")["samples"] == N
    line = refused("evaluate", "run", "--data", "new.csv")
    assert line.startswith("unknown value of attribute 'attribute' in new.csv: '2': Known: 0, 1")


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        ("table", lambda f: f.drop(columns="rich, or not"), "new.csv has no labels to judge by; add them, or see"),
        ("table", lambda f: f.rename(columns={"age": "Age"}), "new.csv: feature: unknown column 'age': did you mean"),
        ("images", lambda f: f.assign(file="gone.png"), "new.csv: image path missing: there is no 'gone.png' (row 1);"),
    ],
)
def test_other_data_that_does_not_fit(kind: str, change: Callable[[pd.DataFrame], pd.DataFrame], message: str):
    words = typed(kind)
    printed("train", *words, "-m", "erm", "--out", "run", *FAST)
    change(pd.read_csv(words[0])).to_csv("new.csv", index=False)
    assert refused("evaluate", "run", "--data", "new.csv").startswith(message)


@pytest.mark.filterwarnings("always::UserWarning")
def test_new_data_needs_no_labels_and_may_have_others():
    words = typed("table")
    printed("train", *words, "-m", "erm", "--out", "run", *FAST)
    frame = pd.read_csv(words[0])
    label = frame["rich, or not"].astype(object)
    label.iloc[3], label.iloc[5] = None, "maybe"
    frame.assign(**{"rich, or not": label}).to_csv("new.csv", index=False)
    done = call("predict", "run", "new.csv")
    assert f"of the {len(frame) - 2} with a known label right" in done.stdout
    assert "does not know the label 'maybe' of 1 of 120 samples" in done.stderr
    found = pd.read_csv("predictions.csv")
    unknown = found["label"].isna().to_numpy() & found["right"].isna().to_numpy()
    assert np.flatnonzero(unknown).tolist() == [3, 5]
    assert found["prediction"].notna().to_numpy().all()
    judged = call("evaluate", "run", "--data", "new.csv")
    assert judged.exit_code == 0 and "2 samples have no known label, and are not judged" in judged.stderr
    frame.drop(columns="rich, or not").to_csv("new.csv", index=False)
    assert printed_json("predict", "run", "new.csv")["right"] is None


def test_new_files_are_read_as_is_said():
    words = typed("table")
    printed("train", *words, "-m", "erm", "--out", "run", *FAST)
    frame = pd.read_csv(words[0])
    frame.to_csv("new.txt", sep="^", index=False, encoding="utf-16")
    assert printed_json("predict", "run", "new.txt", "--separator", "^", "--encoding", "utf-16")["samples"] == len(
        frame
    )
    frame.to_csv("bare.csv", index=False, header=False)
    names = ",".join(name.replace(",", "") for name in frame.columns)
    assert printed_json("predict", "run", "bare.csv", "--names", names)["samples"] == len(frame)
    assert "label of new.txt is what it was" in refused("predict", "run", "new.txt:label=y")
    assert "--unreadable says how to read other data" in refused("evaluate", "run", "--unreadable", "skip")
    assert "--skip says nothing" in refused("predict", "run", "colored-digits", "--skip", "1")


@pytest.mark.filterwarnings("always::UserWarning")
def test_images_that_cannot_be_read_are_left_out_of_new_data_by_the_flag_that_is_advised():
    words = typed("images")
    printed("train", *words, "-m", "erm", "--out", "run", *FAST)
    frame = pd.read_csv(words[0]).iloc[:5]
    Path(frame["file"].iloc[2]).write_text("no image")
    frame.to_csv("new.csv", index=False)
    assert "--unreadable skip" in refused("predict", "run", "new.csv")
    for words in (("new.csv", "--unreadable", "skip"), ("new.csv:unreadable=skip",)):
        done = call("predict", "run", *words)
        assert done.stdout.startswith("4 predictions") and "left out because they cannot be read" in done.stderr


@pytest.mark.filterwarnings("always::UserWarning")
def test_images_beside_class_folders_are_predicted_and_counted():
    folder(Path())
    printed("train", "photos", "-m", "erm", "--out", "run", *FAST)
    Image.new("RGB", (8, 8)).save("photos/x.png")
    done = call("predict", "run", "photos")
    assert "photos: 1 image lies in no class folder, and so without a label." in done.stderr
    assert done.stdout.startswith(f"{N + 1} predictions, ") and f"of the {N} with a known label right" in done.stdout
    found = pd.read_csv("predictions.csv")
    assert found["label"].isna().to_numpy().sum() == 1 and found["prediction"].notna().to_numpy().all()


def test_a_spec_with_an_encoding_of_its_own_is_refused():
    printed("train", *typed("table"), "-m", "erm", "--out", "run", *FAST)
    shutil.copy("people.csv", "new.csv")
    pd.read_csv("people.csv").iloc[:60].to_csv("new.csv", index=False)
    written = spec_of("table", {"path": "new.csv", "label": "rich, or not"})
    message = f"{written} would be turned into numbers in a way of its own, unlike what the run in run was trained on;"
    assert refused("evaluate", "run", "--data", written).startswith(message)
    assert refused("predict", "run", "notthere").startswith("unknown file, folder or data set 'notthere'")


@pytest.mark.hub
def test_a_saved_hub_data_set_from_end_to_end():
    from datasets import Dataset as Saved
    from datasets import DatasetDict

    frame = columns()
    frame["x"] = np.random.default_rng(5).normal(size=N) + frame["label"]
    parts = {str(part): rows.drop(columns="part") for part, rows in frame.groupby("part")}
    saved = DatasetDict({part: Saved.from_pandas(rows, preserve_index=False) for part, rows in parts.items()})
    saved.save_to_disk("saved")
    record = printed_json("train", "saved", "--attribute", "attribute", "-m", "erm", "--out", "run", *FAST)
    assert record["plan"]["data"] == "hub:path=saved,attribute=attribute"
    assert printed_json("evaluate", "run", "--data", "saved")["n"] == N
    assert printed_json("predict", "run", "saved")["samples"] == N


# --- methods ----------------------------------------------------------------------------------------------------------


def test_regression_from_the_command_line():
    frame = pd.read_csv(table(Path())["path"])
    frame["pay"] = np.linspace(-1, 1, N)
    frame.to_csv("pay.csv", index=False)
    record = printed_json("train", "pay.csv", "--label", "pay", "-m", "erm", "--out", "run", *FAST)
    assert record["task"] == "regression"
    assert printed_json("evaluate", "run", "--data", "pay.csv")["n"] == N
    rounded = frame.assign(pay=(frame["pay"] > 0).astype(int))
    rounded.to_csv("pay.csv", index=False)
    record = printed_json("train", "pay.csv:task=regression", "--label", "pay", "-m", "erm", "--out", "run2", *FAST)
    assert record["task"] == "regression"
    assert refused("audit", "pay.csv", "--label", "pay", "--model", "run2").startswith(
        "the run in run2 is a regression"
    )


def test_commands_about_a_regression_say_errors_and_no_accuracies():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(120, 3)), columns=list("abc"))
    frame.assign(pay=100 + 30 * frame["a"], site=np.where(frame["b"] > 0, "north", "south")).to_csv(
        "pay.csv", index=False
    )
    given = ("pay.csv", "--label", "pay", "--attribute", "site")
    text = printed("compare", *given, "--methods", "erm,mixup", "--seeds", "2", "--out", "out", *FAST)
    assert "ccuracy" not in text
    assert "in %" not in text
    assert "errors in the units of the target" in text
    for line in (
        "RMSE: root mean squared error",
        "of the epoch where it is lowest",
        "MAE: mean",
        "R²: share",
        "worst group:",
    ):
        assert line in text
    (first, *_) = printed_json("compare", *given, "--methods", "erm,mixup", "--seeds", "2", "--out", "out", *FAST)
    values = runs.read("out/erm-s0").scores().values
    assert first["rmse"] == values["rmse"] == pytest.approx(first["average"] ** 0.5)
    assert first["best_rmse"] == pytest.approx(first["best_average"] ** 0.5)
    assert {"average", "aligned", "conflicting", "worst_group", "train_weighted", "best_average"} < first.keys()
    assert f"{values['rmse']:.4g}" in printed("evaluate", "out/erm-s0")
    assert "accuracy" not in printed("evaluate", "out/erm-s0")
    assert "worst group rmse" in printed("difference", "out/erm", "out/mixup", "--draws", "200")
    told = printed_json("difference", "out/erm", "out/mixup", "--draws", "200")
    assert told["difference"]["metric"] == "worst_group_rmse"
    found = printed_json("predict", "out/erm-s0", "pay.csv")
    saved = pd.read_csv("predictions.csv")
    assert found["rmse"] == pytest.approx(((saved["prediction"] - saved["label"]) ** 2).mean() ** 0.5, rel=1e-4)
    assert found["right"] is None
    assert "120 predictions, off by" in printed("predict", "out/erm-s0", "pay.csv")


@pytest.mark.parametrize("unit", [1e-7, 300.0, 4e9])
def test_the_table_of_a_regression_is_legible_whatever_the_unit(unit: float, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "80")
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(120, 3)), columns=list("abc"))
    frame.assign(pay=unit * frame["a"], site=np.where(frame["b"] > 0, "north", "south")).to_csv("pay.csv", index=False)
    given = ("pay.csv", "--label", "pay", "--attribute", "site", "--methods", "erm,group-dro", "--seeds", "2")
    text = printed("compare", *given, "--out", "out", *FAST)
    table = text[: text.index("Mean ±")]
    assert "…" not in table, "no number is cut short"
    assert " erm " in table and "group-" in table, "and it is said whose they are"
    assert max(map(len, table.splitlines())) <= 80


def test_an_audit_of_numbers_says_first_what_became_of_them():
    rng = np.random.default_rng(1)
    frame = pd.DataFrame(rng.normal(size=(80, 2)), columns=["a", "b"])
    frame.assign(pay=20 * frame["a"]).to_csv("pay.csv", index=False)
    text = printed("audit", "pay.csv", "--label", "pay", "--net", "mlp:hidden=4", "--out", "found")
    assert text.startswith("'pay' was cut into 4 parts of about equal size (")
    assert "the cue 'a' alone gives 'pay' away" in " ".join(text.split())
    assert "Is that what the model is meant to look at?" in " ".join(text.split())
    assert Path("found/report.html").exists()


# --- mistakes: each is one sentence, status 2, and nothing is written -------------------------------------------------


def png_of(width: int, height: int, depth: int = 8, color: int = 2, body: bytes = b"") -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(body)) + chunk(b"IEND", b"")


def deep() -> None:
    Image.fromarray(np.full((8, 8), 40_000, np.uint16)).save("photos/land/deep.png")


def cmyk() -> None:
    Image.new("CMYK", (8, 8)).save("photos/land/print.jpg")


def truncated() -> None:
    content = Path("photos/land/000.png").read_bytes()
    Path("photos/land/half.png").write_bytes(content[: len(content) // 2])


def bomb() -> None:
    Path("photos/land/bomb.png").write_bytes(png_of(30_000, 30_000))


def larger() -> None:
    Image.new("RGB", (9, 8)).save("photos/land/wide.png")


def not_utf8() -> None:
    Path(os.fsdecode(b"photos/land/caf\xe9.png")).write_bytes(b"")


def linked() -> None:
    Path("../secret").mkdir()
    Image.new("RGB", (8, 8)).save("../secret/x.png")
    Path("photos/land/x.png").symlink_to(Path("../secret/x.png").absolute())


def linked_folder() -> None:
    Path("../secret").mkdir()
    Path("photos/secret").symlink_to(Path("../secret").absolute())


@pytest.mark.filterwarnings("always::UserWarning")
def test_what_is_said_of_data_is_said_once():
    folder(Path())
    for part in ("train", "val"):
        shutil.copytree("photos", f"parted/{part}")
    done = call("compare", "parted", "--methods", "erm,resample", "--seeds", "2", "--out", "runs", *FAST)
    assert done.exit_code == 0
    assert [line for line in done.stderr.splitlines() if "test part" in line] == [
        "longcut: parted: there is no test part in the folders; the validation part (val) is tested on, and no epoch "
        "is chosen by it."
    ]


def one_class() -> None:
    shutil.rmtree("photos/water")


def empty_class() -> None:
    Path("photos/air").mkdir()


def few() -> None:
    Path("photos/air").mkdir()
    Image.new("RGB", (8, 8)).save("photos/air/x.png")


def loose() -> None:
    Image.new("RGB", (8, 8)).save("photos/x.png")


@pytest.mark.parametrize(
    ("mess", "message"),
    [
        (deep, "photos: 1 of 121 images cannot be read: land/deep.png (more than 8 bits per channel); mend or remove"),
        (cmyk, "photos: 1 of 121 images cannot be read: land/print.jpg (CMYK colours); mend or remove"),
        (truncated, "photos: 1 of 121 images cannot be read: land/half.png ("),
        (bomb, "photos: 1 of 121 images cannot be read: land/bomb.png (30000×30000 pixels, more than 64 million)"),
        (larger, "photos: the images have mixed sizes: land/000.png is 8×8 and land/wide.png is 9×8; pass --size 64"),
        (not_utf8, "photos: the file name 'caf\\udce9.png' is not UTF-8; rename it."),
        (linked, "photos: image 'land/x.png' (row 61) lies outside the folder; give paths of files in it"),
        (linked_folder, "photos: folder 'secret' is a symbolic link; put the folder itself there."),
        (one_class, "photos: there is one class only, 'land'; give one folder for each of at least two, or"),
        (empty_class, "photos: class folder 'air' has no images; put some there or remove it."),
        (few, "photos: class 'air' has 1 sample, too few for training, validation and test; give at least 3"),
        (loose, "photos: image 'x.png' lies in no class folder; make one folder per class"),
    ],
)
def test_a_bad_folder(mess: Callable[[], None], message: str):
    folder(Path())
    mess()
    for command in (("train", "photos", *FAST), ("audit", "photos")):
        assert refused(*command).startswith(message)


def test_bad_images_may_be_skipped():
    folder(Path())
    for mess in (deep, cmyk, truncated, bomb):
        mess()
    done = call("train", "photos", "--unreadable", "skip", "-m", "erm", "--out", "run", *FAST, "--json")
    record = json.loads(done.stdout)
    assert record["plan"]["data"] == "folder:path=photos,unreadable=skip"
    (line,) = done.stderr.splitlines()
    assert line.startswith("longcut: left out: 1 ")
    for name in ("bomb", "deep", "half", "print"):
        assert f"/{name}." in line
    larger()
    done = call(
        "train", "photos", "--unreadable", "skip", "--size", "8", "-m", "erm", "--out", "sized", *FAST, "--json"
    )
    record = json.loads(done.stdout)
    assert len(load(record["plan"]["data"]).whole) == N + 1


def test_a_class_that_a_part_lacks():
    parted(Path())
    shutil.rmtree("parted/test/water")
    message = "parted: class 'water' of the class folders has no test samples; move some there, or leave the class out."
    assert refused("train", "parted", *FAST) == message
    shutil.rmtree("parted/test/land")
    assert refused("train", "parted", *FAST).startswith("parted: folder 'test' has no class folders;")


def rows_of(**changed: Any) -> pd.DataFrame:
    draw = np.random.default_rng(6)
    return columns().assign(age=draw.normal(size=N), note="a lake", file="x.png", **changed)


@pytest.mark.parametrize(
    ("frame", "flags", "message"),
    [
        (rows_of(), "", "rows.csv is a table, and which column is the label was not said; give --label COLUMN."),
        (rows_of(), "--label lable", "rows.csv: label: unknown column 'lable': did you mean 'label'? Known: age, "),
        (rows_of(), "--label label --attribute atribute", "rows.csv: attribute: unknown column 'atribute': did you"),
        (rows_of(), "--label label --split prt", "rows.csv: split: unknown column 'prt': did you mean 'part'?"),
        (rows_of(), "--label label --image fil", "rows.csv: image: unknown column 'fil': did you mean 'file'?"),
        (rows_of(), "--label label --text note+aeg", "rows.csv: text: unknown column 'aeg': did you mean 'age'?"),
        (
            rows_of(),
            "--label label --image file",
            "rows.csv: image path missing: there is no 'x.png' (row 1); give paths",
        ),
        (rows_of().assign(file=""), "--label label --image file", "rows.csv: image missing in row 1; name one in"),
        (
            rows_of().assign(file="../x.png"),
            "--label label --image file",
            "rows.csv: image '../x.png' (row 1) lies outside",
        ),
        (
            rows_of().assign(file="/etc/hostname"),
            "--label label --image file",
            "rows.csv: image '/etc/hostname' (row 1) lies",
        ),
        (rows_of(), "--label label --image file --text note", "rows.csv: image 'file' and text 'note' are both given;"),
        (rows_of(), "--label label --attribute label", "rows.csv: column 'label' is given two roles; name each column"),
        (rows_of(label="same"), "--label label", "rows.csv: label 'label' has one class only, 'same'; give at least"),
        (
            rows_of(label=[None, *["a", "b"] * 59, "a"]),
            "--label label",
            "rows.csv: label 'label' is missing in 1 of 120 rows, first in row 1; fill it in, or leave these rows out.",
        ),
        (
            rows_of(attribute=["x", "y"] * 60),
            "--label label --attribute attribute",
            "rows.csv: attribute 'attribute' says the same as label 'label' in every row; name a column that differs",
        ),
        (
            rows_of(part=["train", "train", "test", "train"] * 30),
            "--label label --split part",
            "rows.csv: class '1' of label 'label' has no test samples; move some there, or leave the class out.",
        ),
        (rows_of(part="train"), "--label label --split part", "rows.csv: split 'part' has only training rows; call"),
        (rows_of(), "--label label --size 4", "table: size=4 is not allowed; give "),
        (rows_of(), "--label label --size 4000", "table: size=4000 is not allowed; give "),
        (rows_of(), "--label label --unreadable hide", "table: unreadable=hide is not allowed; give refuse or skip."),
        (rows_of()[[]], "--label label", "rows.csv is empty; give a line of column names, and rows."),
        (rows_of()[:0], "--label label", "rows.csv has no rows; give at least one."),
        (rows_of()[["label"]], "--label label", "rows.csv: no column is left to learn from; add some, or say which"),
    ],
)
def test_a_bad_table(frame: pd.DataFrame, flags: str, message: str):
    frame.to_csv("rows.csv", index=False)
    for command in (("train", "rows.csv", *flags.split(), *FAST), ("audit", "rows.csv", *flags.split())):
        assert refused(*command).startswith(message)
    if not flags.endswith(("4", "4000", "hide")):  # which is said before anything runs
        line = refused("compare", "rows.csv", *flags.split(), "--methods", "erm", "--seeds", "1", *FAST)
        # images are decoded before any run begins, and names are looked at
        read_first = "--image" in flags or not flags or "unknown column" in message
        assert line.startswith(message if read_first else f"1 of 1 runs failed: {message}")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a,b,a\n1,2,3\n", "rows.csv has more than one column named 'a'; rename or drop all but one."),
        (b"a,b\n1,2\n3,caf\xe9\n", "rows.csv is not UTF-8 text: byte 14, in line 3, is 0xe9; save it as UTF-8."),
        (b"a,b\n1,2\n1,2,3\n", "rows.csv is not a table that can be read ("),
        (b"", "rows.csv is empty; give a line of column names, and rows."),
    ],
)
def test_a_file_that_is_no_table(content: bytes, message: str):
    Path("rows.csv").write_bytes(content)
    for flags in ("--label b", "--label a --text b"):
        assert message.rstrip(".") in refused("train", "rows.csv", *flags.split(), *FAST)


def test_an_archive_that_would_fill_the_memory():
    header = {"descr": "<f4", "fortran_order": False, "shape": ((1 << 30) // 4 + 1, 1)}
    with zipfile.ZipFile("cells.npz", "w", zipfile.ZIP_DEFLATED) as archive, archive.open("x.npy", "w") as member:
        np.lib.format.write_array_header_1_0(member, header)  # type: ignore[arg-type]
        member.write(b"\0" * 48)
    content = Path("cells.npz").read_bytes()
    told, claimed = (struct.pack("<I", 128 + length) for length in (48, 4 * header["shape"][0]))  # 128: of the header
    assert content.count(told) == 2
    Path("cells.npz").write_bytes(content.replace(told, claimed))
    for command in (("train", "cells.npz", "--label", "x", *FAST), ("audit", "cells.npz", "--label", "x")):
        assert "unpacks to 1,073,741,956, which is more than is safe; save it with" in refused(*command)


@pytest.mark.parametrize(
    ("data", "flag", "message"),
    [
        ("photos", "--label", f"folder' {PHOTOS} takes --parts, --size, --unreadable"),
        ("photos", "--image", f"folder' {PHOTOS} takes --parts, --size, --unreadable"),
        (
            "cells.npz",
            "--text",
            "arrays' (.npz or .safetensors file) takes --label, --attribute, --attribute-bins, "
            "--split, --parts, --layer",
        ),
        ("colored-mnist", "--label", "colored-mnist' takes no such flag"),
        ("colored-digits:ratio=0.1", "--attribute", "colored-digits' takes no such flag"),
    ],
)
def test_a_flag_that_does_not_belong(data: str, flag: str, message: str):
    folder(Path())
    arrays(Path())
    expected = f"{flag} does not go with {data}, since data set '{message}; leave {flag} out."
    assert refused("train", data, flag, "x", *FAST) == expected


# --- real data --------------------------------------------------------------------------------------------------------


@pytest.mark.data
def test_waterbirds_in_the_layout_it_is_published_in(real_data: Path, monkeypatch: pytest.MonkeyPatch):
    table = real_data / "waterbirds_72px" / "metadata.csv"
    given = {"image": "img_filename", "label": "y", "attribute": "place", "split": "split", "size": 72}
    written = spec_of(*parse(resolve(str(table), **given)))
    steps: list[tuple[int, int]] = []
    splits = load(written, progress=lambda *done: steps.append(done))
    assert steps[-1] == (11_788, 11_788)
    assert splits.valid is not None
    # Sagawa et al., ICLR 2020, appendix C.1: landbirds on land, landbirds on water, waterbirds on land and on water
    counts = [torch.bincount(part.group).tolist() for part in (splits.train, splits.valid, splits.test)]
    assert counts == [[3498, 184, 56, 1057], [467, 466, 133, 133], [2255, 2255, 642, 642]]
    assert splits.info.aligned == (0, 1)
    assert splits.info.shape == (3, 72, 72)
    monkeypatch.setattr("longcut.sources.images._read", None)  # nothing is decoded any more
    start = time.perf_counter()
    again = load(written)
    assert time.perf_counter() - start < 5  # under one, on a machine that does nothing else
    rows = torch.arange(0, 4795, 500)
    assert torch.equal(again.train.gather(rows), splits.train.gather(rows))


ADULT = (
    "age,workclass,fnlwgt,education,education_num,marital_status,occupation,relationship,race,sex,capital_gain,"
    "capital_loss,hours_per_week,native_country,income"
)


@pytest.mark.data
def test_adult_as_a_table(real_data: Path):
    parts = []
    for file, part, skipped in (("adult.data", "train", 0), ("adult.test", "test", 1)):
        path = real_data / "adult" / file
        parts.append(
            pd.read_csv(path, names=ADULT.split(","), skipinitialspace=True, skiprows=skipped).assign(part=part)
        )
    frame = pd.concat(parts)
    frame["income"] = frame["income"].str.rstrip(".")
    frame.to_csv("adult.csv", index=False)
    words = ("adult.csv", "--label", "income", "--attribute", "sex", "--split", "part")
    record = printed_json("train", *words, "-m", "erm", "--out", "run", "--set", "batch=256", *FAST)
    score = record["scores"]["test"]
    assert score["n"] == 16_281  # adult.names
    assert score["values"]["average"] > 0.8  # the commoner class has 76 %
    assert [group["n"] for group in score["groups"]] == frame[frame["part"] == "test"].groupby(
        ["income", "sex"]
    ).size().tolist()


@pytest.mark.filterwarnings("ignore:.*20 of 9,815 texts have 128 words")
@pytest.mark.data
def test_mnli_as_text_with_the_negation_attribute(real_data: Path):
    path = real_data / "mnli" / "mnli_dev_matched_negation.tsv"
    words = (path, "--text", "premise+hypothesis", "--label", "gold_label", "--attribute", "sentence2_has_negation")
    record = printed_json("train", *words, "-m", "erm", "--out", "run", *FAST)
    assert record["task"] == "classification"
    inputs = runs.read("run").inputs()
    assert inputs is not None
    assert inputs.info.class_names == ("contradiction", "entailment", "neutral")
    assert inputs.info.aligned[0] == 1  # a negation goes with a contradiction (Gururangan et al. 2018)
    assert printed_json("evaluate", "run", "--data", path)["n"] == 9815


@pytest.mark.data
def test_mnist_as_a_folder_of_pictures(real_data: Path):
    shown = {}
    for part, stem in (("train", "train"), ("test", "t10k")):
        with gzip.open(real_data / "mnist" / f"{stem}-images-idx3-ubyte.gz") as file:
            x = np.frombuffer(file.read(16 + 200 * 784), np.uint8, offset=16).reshape(200, 28, 28)
        with gzip.open(real_data / "mnist" / f"{stem}-labels-idx1-ubyte.gz") as file:
            label = np.frombuffer(file.read(8 + 200), np.uint8, offset=8)
        write_images(x, [Path("mnist", part, str(y), f"{i:05}.png") for i, y in enumerate(label)])
        shown[part] = np.bincount(label, minlength=10).tolist()
    record = printed_json("train", "./mnist", "-m", "erm", "--out", "run", *FAST)
    assert [group["n"] for group in record["scores"]["test"]["groups"]] == shown["test"]
    splits = load(record["plan"]["data"])
    assert torch.bincount(splits.train.label).tolist() == shown["train"]
    assert (splits.valid, splits.info.shape) == (None, (3, 28, 28))
