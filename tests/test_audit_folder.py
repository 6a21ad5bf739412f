from __future__ import annotations

import csv
import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from test_audit_learned import RNG, judged

import longcut
from longcut.audit import Audit, Finding, View, folder
from longcut.audit.judged import Judged
from longcut.audit.staged import STAGED
from longcut.data import Dataset
from longcut.errors import UserError
from longcut.sources import Source

N = 60
LABEL = np.arange(N) % 2
AGAINST = np.arange(N) < 9
HOSTILE = ['a,"b"\n.jpg', "=1+1.jpg", "</script><b>.jpg", "é ü 猫.jpg", " lead\r.jpg", "\udcff.jpg"]
UPDATES = [4, 8]


def models() -> Judged:
    """The first nine are suspected, the later the surer; three are confirmed, four mislabelled, two unclear."""
    sure = np.where(AGAINST, 0.87 + 0.01 * np.arange(N), 0.8)
    debiased = ~AGAINST | (np.arange(N) < 3)
    found = judged(LABEL, np.where(AGAINST, 1 - LABEL, LABEL), sure, ~AGAINST, debiased)
    found.ordinary[7:9] = 0.5 + 0.1 * (1 - 2 * LABEL[7:9, None]) * [-1, 1]
    found.debiased[7:9] = found.ordinary[7:9]
    hits = np.stack([~AGAINST & (np.arange(N) % 3 > 0), ~AGAINST])
    profile = (found.easy * 2 - 1).astype(np.float32)
    return dataclasses.replace(found, updates=UPDATES, hits=hits, profile=profile, stopped=4)


PICTURE = {"updates": UPDATES, "aligned": [2 / 3, float("nan")], "conflicting": [0.0, 0.5], "chance": 0.5}
PICTURE |= {"ordinary": [0.9, 0.5], "without": [0.9, 0.6], "remains": 0.1, "interval": [0.0, 0.2], "caption": "So."}


def findings(**more: Any) -> tuple[Finding, ...]:
    nan = float("nan")
    picture = {"picture": PICTURE}
    return (
        Finding("learned", "Q?", 0.5, "share", 0.1, (0.4, 0.6), 0.01, "alarm", "Found.", ({"samples": 3},), picture),
        Finding("words", "Q?", nan, "share", nan, (nan, nan), nan, "unknown", "Cannot tell.", more=more),
    )


def made(data: Dataset, source: Source | None, **more: Any) -> Audit:
    return Audit(View(dataclasses.replace(data, source=source), source), models(), findings(**more), 0.05, 2.5)


def source(rows: pd.DataFrame, official: bool = False, **columns: Any) -> Source:
    return Source("toy", rows, np.arange(len(rows)) % 3, official, "y", **columns)


def pictures(official: bool = False) -> Audit:
    """Stored in another order than they come in: sample ``i`` is stored in row ``N - 1 - i``."""
    names = [*HOSTILE, *(f"{i}.jpg" for i in range(6, N))][::-1]
    found = source(pd.DataFrame({"path": pd.Series(names, dtype=object), "y": LABEL[::-1]}), official, image="path")
    level = torch.arange(N, dtype=torch.uint8).flip(0)
    data = Dataset.of(
        level[:, None, None, None].expand(N, 3, 4, 4).clone(), LABEL[::-1].copy(), (LABEL[::-1] + 1) % 2,
        class_names=("cat", "dog"), attribute_names=("lawn", "<sofa>"),
    )  # fmt: skip
    return made(data.take(torch.arange(N - 1, -1, -1)), found)


def table() -> Audit:
    rng = RNG(0)
    looks = np.where(AGAINST, 1 - LABEL, LABEL)
    rows = pd.DataFrame(
        {
            "place": np.where(looks, "lake", "wood"),  # what the biased model looks at
            "zeros": np.where(rng.random(N) < 0.8, 0.0, np.arange(N) + 1.0),  # the same for both classes
            "age": np.arange(N) + 20,
            "half": rng.random(N).round(3),
            "y": LABEL,
        }
    )
    found = source(rows, features=("place", "zeros", "age", "half"))
    return made(Dataset.of(torch.zeros(N, 4), LABEL, class_names=("cat", "dog")), found)


def texts() -> Audit:
    rows = pd.DataFrame({"a": [f"text {i}" for i in range(N)], "b": ["<i>wet</i>"] * N, "y": LABEL})
    data = Dataset.of(torch.ones(N, 3, dtype=torch.long), LABEL, kind="tokens", class_names=("cat", "dog"))
    return made(data, source(rows, text=("a", "b")), cue_words={"wet": "dog", "dry": "cat", "sea": "dog"})


def bare() -> Audit:
    """Of a data set that is generated, pictures of one channel."""
    return made(Dataset.of(torch.rand(N, 1, 4, 4), LABEL, class_names=("cat", "dog")), None)


def write(audit: Audit, place: Path) -> dict[str, Any]:
    return folder.write(audit, place, data="toy:x=1", command="longcut audit toy:x=1")


def rows_of(place: Path) -> list[dict[str, str]]:
    with (place / "suspects.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


# --- what is written --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [pictures, table, texts, bare])
def test_what_is_written_is_read(make, tmp_path: Path):
    audit = make()
    record = write(audit, tmp_path / "new" / "audit")
    text = (tmp_path / "new" / "audit" / "audit.json").read_text("utf-8")
    assert "NaN" not in text
    assert "Infinity" not in text
    read, tensors = folder.read(tmp_path / "new" / "audit")
    assert read == json.loads(folder.to_json(record))
    known = {"schema": 1, "longcut": longcut.__version__, "data": "toy:x=1", "n": N, "level": 0.05, "seed": 0}
    known |= {"kind": audit.view.data.info.kind, "classes": ["cat", "dog"], "class_counts": [30, 30]}
    known |= {"verdict": "alarm", "headline": audit.headline, "advice": audit.advice, "seconds": 2.5}
    known |= {"suspected": 9, "suspected_share": 9 / N, "command": "longcut audit toy:x=1"}
    assert {key: read[key] for key in known} == known
    assert len(read["fingerprint"]) == 64
    assert read["curves"] == PICTURE | {"aligned": [2 / 3, None]}
    assert [finding["name"] for finding in read["findings"]] == ["learned", "words"]
    assert read["findings"][0]["table"] == [{"samples": 3}]
    assert read["findings"][1]["statistic"] is read["findings"][1]["p_value"] is None
    assert "more" not in read["findings"][0]
    assert sum(cluster["n"] for cluster in read["clusters"]) == N
    assert len(tensors["map_embedding"]) == N
    assert tensors["map_suspected"].sum() == 9
    assert {path.name for path in (tmp_path / "new" / "audit").iterdir()} == {
        "audit.json", "suspects.csv", "gallery.safetensors", "judged.safetensors", "atlas.safetensors"
    }  # fmt: skip
    judged, view = folder.judged(tmp_path / "new" / "audit"), audit.view
    assert torch.equal(judged["index"], view.data.index) and judged["label"].tolist() == view.label.tolist()
    np.testing.assert_array_equal(judged["probability"], audit.judged.easy)
    np.testing.assert_array_equal(judged["profile"], audit.judged.profile)
    assert folder.find([tmp_path]) == folder.find([tmp_path, tmp_path / "new"]) == [tmp_path / "new" / "audit"]


def test_suspects_come_in_order_and_hostile_names_survive(tmp_path: Path):
    write(pictures(), tmp_path)
    rows = rows_of(tmp_path)
    assert tuple(rows[0]) == folder.SUSPECT_COLUMNS
    names = [*HOSTILE[:5], "\\udcff.jpg", "6.jpg", "7.jpg", "8.jpg"]  # bytes that are no text are spelt out
    names[1] = "'=1+1.jpg"  # which a spreadsheet would work out
    names.reverse()  # the surest is the last of them
    assert [row["name"] for row in rows] == names
    assert [int(row["row"]) for row in rows] == [N - 1 - i for i in range(8, -1, -1)]
    assert [row["label"] for row in rows] == ["cat", "dog"] * 4 + ["cat"]
    assert [row["looks_like"] for row in rows] == ["dog", "cat"] * 4 + ["dog"]
    # far ahead by s of two classes: the other class has (1 + s) / 2
    assert [float(row["score"]) for row in rows] == pytest.approx([0.975 - 0.005 * i for i in range(9)], abs=1e-4)
    assert [row["kind"] for row in rows] == ["unclear"] * 2 + ["mislabelled"] * 4 + ["conflicting"] * 3
    assert [row["attribute"] for row in rows] == ["<sofa>", "lawn"] * 4 + ["<sofa>"]
    assert {row["split"] for row in rows} == {""}
    assert [name["name"] for name in folder.read(tmp_path)[0]["gallery"]["suspects"]][:2] == names[:2]


def test_parts_of_the_data_are_named_where_they_are_its_own(tmp_path: Path):
    write(pictures(official=True), tmp_path)
    assert [row["split"] for row in rows_of(tmp_path)] == [
        ("train", "valid", "test")[(N - 1 - i) % 3] for i in range(8, -1, -1)
    ]


def test_pictures_are_those_of_their_samples(tmp_path: Path):
    record = write(pictures(), tmp_path)
    picture = folder.read(tmp_path)[1]["picture"]
    assert picture.dtype == torch.uint8
    assert picture.shape[1:] == (3, 4, 4)
    shown = [*record["gallery"]["suspects"], *record["gallery"]["typical"]]
    shown += [sample for pair in record["pairs"] for sample in pair.values()]
    assert len(record["gallery"]["typical"]) == folder.SHOWN
    for sample in shown:
        assert (picture[sample["picture"]] == N - 1 - sample["row"]).all()
    assert len(picture) == len({sample["row"] for sample in shown})  # each once
    assert {sample["kind"] for sample in record["gallery"]["typical"]} == {"typical"}
    assert [sample["label"] for sample in record["gallery"]["typical"][:4]] == ["dog", "cat"] * 2  # in turn
    for pair in record["pairs"]:
        assert pair["looks_like"]["label"] == pair["suspect"]["looks_like"] != pair["suspect"]["label"]
        assert pair["same_label"]["label"] == pair["suspect"]["label"]


def test_a_rare_class_has_its_turn():
    found = judged([0, 0, 0, 0, 1], [0] * 5)
    order = folder._in_turn(found, np.array([0, 2, 3, 4]), np.array([0.9, 1.0, 0.7, 0.8, 0.1]))
    assert order.tolist() == [0, 4, 3, 2]


def test_a_suspect_stands_beside_its_likest_and_the_least_like_of_its_class(tmp_path: Path):
    line = np.stack([np.arange(N), np.zeros(N)], 1).astype(np.float32)
    pair = write(dataclasses.replace(table(), judged=dataclasses.replace(models(), profile=line)), tmp_path)["pairs"][0]
    assert {key: sample["row"] for key, sample in pair.items()} == {"suspect": 8, "looks_like": 9, "same_label": 58}


def test_grey_pictures_get_three_channels(tmp_path: Path):
    audit = bare()
    record = write(audit, tmp_path)
    picture, first = folder.read(tmp_path)[1]["picture"], record["gallery"]["suspects"][0]
    own = (audit.view.data.x[first["row"]] * 255).round().to(torch.uint8)
    assert torch.equal(picture[first["picture"]], own.expand(3, 4, 4))
    assert first["name"] == f"row {first['row']}"
    assert record["attribute"] is None


def test_the_odd_cell_is_marked(tmp_path: Path):
    record = write(table(), tmp_path)
    for suspect in record["gallery"]["suspects"]:
        row = suspect["row"]
        cells = {cell["column"]: cell for cell in suspect["cells"]}
        # "lake" is in 26 of 30 that are called dog and in 5 of 30 called cat, "wood" the other way round
        assert cells["place"]["odd"]
        assert suspect["cells"][0]["column"] == "place"
        assert cells["age"]["value"] == str(row + 20)  # a whole number, though another column holds fractions
        assert not cells["age"]["odd"]
        assert suspect["text"] is None
    for sample in record["gallery"]["typical"]:
        assert not any(cell["odd"] for cell in sample["cells"])
    for pair in record["pairs"]:
        assert len({tuple(cell["column"] for cell in sample["cells"]) for sample in pair.values()}) == 1


def alike(values: list[Any], row: int) -> list[int]:
    """Whose value is about that of ``row``."""
    place, width = folder._places(pd.Series(values))
    return np.flatnonzero(np.abs(place - place[row]) <= width).tolist()


def test_which_values_are_about_the_same():
    assert alike([0.0] * 80 + list(range(1, 21)), 3) == list(range(80))  # the commonest value, and nothing beyond
    assert alike(list(range(105)), 50) == list(range(40, 61))  # a tenth of the samples on each side
    gaps = [None] * 100 + list(range(105))
    assert alike(gaps, 150) == list(range(140, 161))  # of those that have a value
    assert alike(gaps, 0) == list(range(100))
    assert alike(["a", "b", None, "a", None], 0) == [0, 3]
    assert alike(["a", "b", None, "a", None], 2) == [2, 4]
    assert alike([1, 2, 3, 2], 1) == [1, 3]


def test_words_of_the_class_that_a_text_looks_like_are_marked(tmp_path: Path):
    record = write(texts(), tmp_path)
    for sample in record["gallery"]["suspects"]:
        assert sample["marks"] == (["wet", "sea"] if sample["looks_like"] == "dog" else ["dry"])
        assert sample["text"] == f"text {sample['row']} / <i>wet</i>"
        assert sample["cells"] is sample["picture"] is None


def test_nothing_suspected(tmp_path: Path):
    agreeing = dataclasses.replace(models(), easy=np.eye(2, dtype=np.float32)[LABEL])
    nothing = dataclasses.replace(findings()[0], verdict="clear", more={})
    audit = dataclasses.replace(table(), judged=agreeing, findings=(nothing,))
    record = write(audit, tmp_path)
    assert rows_of(tmp_path) == record["gallery"]["suspects"] == record["pairs"] == []
    assert record["curves"] is None


def test_large_data_shows_some_and_maps_some(tmp_path: Path, monkeypatch):
    for name, few in (("SHOWN", 5), ("PAIRS", 2), ("MAPPED", 12), ("CELLS", 2)):
        monkeypatch.setattr(folder, name, few)
    record = write(table(), tmp_path)
    assert (len(record["gallery"]["suspects"]), len(record["gallery"]["typical"]), len(record["pairs"])) == (5, 5, 2)
    assert len(record["gallery"]["suspects"][0]["cells"]) == 2
    tensors = load_file(tmp_path / "gallery.safetensors")
    assert tensors["map_suspected"].tolist() == [True] * 4 + [False] * 8
    assert len(rows_of(tmp_path)) == 9


def test_the_same_audit_is_written_again(tmp_path: Path):
    first = write(table(), tmp_path)
    (tmp_path / "report.html").write_text("page")
    before = (tmp_path / "audit.json").read_bytes()
    assert write(table(), tmp_path)["fingerprint"] == first["fingerprint"]
    assert (tmp_path / "audit.json").read_bytes() == before


# --- what goes wrong --------------------------------------------------------------------------------------------------


def test_a_foreign_folder_is_refused_and_untouched(tmp_path: Path):
    (tmp_path / "thesis.tex").write_text("years")
    for act in (folder.check, lambda place: write(table(), place)):
        with pytest.raises(UserError, match="exists and is neither empty nor an audit; choose a new or empty folder"):
            act(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_file_is_refused(tmp_path: Path):
    (tmp_path / "file").write_text("text")
    for act in (folder.check, lambda place: write(table(), place)):
        with pytest.raises(UserError, match="is a file; choose a folder"):
            act(tmp_path / "file")
    with pytest.raises(UserError, match=r"cannot write the audit to .*; choose another folder"):
        write(table(), tmp_path / "file" / "below")
    assert (tmp_path / "file").read_text() == "text"


def test_an_audit_that_cannot_be_described_leaves_nothing(tmp_path: Path, monkeypatch):
    def fails(*_: Any) -> None:
        raise RuntimeError("out of ideas")

    for step in ("suspects", "counts"):
        with monkeypatch.context() as patch, pytest.raises(RuntimeError):
            patch.setattr(folder, step, fails)
            write(table(), tmp_path / "audit")
        assert not (tmp_path / "audit").exists()


@pytest.mark.parametrize("at", ["gallery.safetensors", "suspects.csv", "audit.json"])
def test_a_second_audit_that_finds_no_space_leaves_the_first(at: str, tmp_path: Path, monkeypatch):
    write(table(), tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    own = Path.open

    def full(path: Path, mode: str = "r", *args: Any, **options: Any) -> Any:
        if "w" in mode and path.name.startswith(at):
            raise OSError(28, "No space left on device")
        return own(path, mode, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", full)
        with pytest.raises(UserError, match=r"cannot write the audit .*No space left on device.*choose another folder"):
            write(texts(), tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert write(texts(), tmp_path)["kind"] == "tokens"
    assert folder.read(tmp_path)[0]["kind"] == "tokens"


@pytest.mark.parametrize("moves", range(7))
def test_a_kill_while_an_audit_is_replaced_leaves_one_of_the_two(moves: int, tmp_path: Path, monkeypatch):
    """After so many renames; the first of them is the point from which on the new audit counts."""
    write(table(), tmp_path)
    done, own = 0, os.replace

    def killed(old: Path, new: Path) -> None:
        nonlocal done
        if done == moves:
            raise KeyboardInterrupt
        done += 1
        own(old, new)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", killed)
        if moves < 6:  # it is six
            with pytest.raises(KeyboardInterrupt):
                write(texts(), tmp_path)
        else:
            write(texts(), tmp_path)
    assert folder.find([tmp_path]) == [tmp_path]
    record, _ = folder.read(tmp_path)
    assert record["kind"] == ("tokens" if moves else "table")
    assert len(folder.judged(tmp_path)["label"]) == record["n"]
    assert write(texts(), tmp_path)["kind"] == "tokens"
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "atlas.safetensors", "audit.json", "gallery.safetensors", "judged.safetensors", "suspects.csv"
    ]  # fmt: skip


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"checksums": 3}'])
def test_a_damaged_audit_that_was_not_put_into_its_place_costs_nothing(content: bytes, tmp_path: Path):
    write(table(), tmp_path)
    (tmp_path / STAGED).mkdir()
    (tmp_path / STAGED / "audit.json").write_bytes(content)
    assert folder.read(tmp_path)[0]["kind"] == "table"
    assert write(texts(), tmp_path)["kind"] == "tokens"
    assert folder.read(tmp_path)[0]["kind"] == "tokens"


def test_what_is_no_audit_cannot_be_read(tmp_path: Path):
    for place in (tmp_path, tmp_path / "nowhere", tmp_path / "file"):
        (tmp_path / "file").touch()
        with pytest.raises(UserError, match=r"is no audit: it has no audit.json; name a folder that"):
            folder.read(place)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"schema": "new"}', '{"schema": null}', "\xff"])
def test_a_damaged_record(text: str, tmp_path: Path):
    (tmp_path / "audit.json").write_text(text, "latin-1")
    with pytest.raises(UserError, match=r"audit.json is damaged; delete the folder and audit again"):
        folder.read(tmp_path)


def test_a_newer_record(tmp_path: Path):
    write(table(), tmp_path)
    path = tmp_path / "audit.json"
    path.write_text(path.read_text("utf-8").replace('"schema": 1', '"schema": 2'), "utf-8")
    with pytest.raises(UserError, match=r"newer longcut \(audit schema 2, this one knows 1\); upgrade"):
        folder.read(tmp_path)


def test_a_damaged_gallery_and_a_missing_one(tmp_path: Path):
    write(table(), tmp_path)
    (tmp_path / "gallery.safetensors").write_bytes(b"half")
    with pytest.raises(UserError, match=r"gallery.safetensors is damaged; delete the folder and audit again"):
        folder.read(tmp_path)
    (tmp_path / "gallery.safetensors").unlink()
    assert folder.read(tmp_path)[1] == {}
