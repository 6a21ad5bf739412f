from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from longcut.data import Dataset, Splits
from longcut.errors import UserError
from longcut.sources import TEST, TRAIN, VALID, hub
from longcut.sources.hub import read_hub

datasets = pytest.importorskip("datasets")


@pytest.fixture(autouse=True)
def own_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LONGCUT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hub")


def birds(first: int, n: int) -> dict[str, list[Any]]:
    """Columns of ``n`` birds; their image has brightness 10 (first + i)."""
    rows = range(first, first + n)
    return {
        "photo": [Image.new("RGB", (5, 4), (10 * i,) * 3) for i in rows],
        "label": [i % 2 for i in rows],
        "place": ["lake" if i % 3 else "wood" for i in rows],
        "wing": [i / 7 for i in rows],
        "note": ["a bird by the lake" if i % 2 else "a bird" for i in rows],
    }


def features(**others: Any) -> Any:
    return datasets.Features(
        {
            "photo": datasets.Image(),
            "label": datasets.ClassLabel(names=["water", "land"]),
            "place": datasets.Value("string"),
            "wing": datasets.Value("float64"),
            "note": datasets.Value("string"),
            **others,
        }
    )


def rows(first: int, n: int, **others: Any) -> Any:
    return datasets.Dataset.from_dict({**birds(first, n), **others}, features=features())


def stored(folder: Path, **splits: Any) -> str:
    path = folder / "birds"
    datasets.DatasetDict(splits).save_to_disk(path)
    return str(path)


def test_images_of_a_saved_data_set(tmp_path: Path):
    name = stored(tmp_path, train=rows(0, 8), validation=rows(8, 4), test=rows(12, 4))
    columns = read_hub(name, attribute="place")
    assert columns.label is not None and columns.attribute is not None
    assert columns.x.shape == (16, 3, 4, 5)
    assert columns.x[:, 0, 0, 0].tolist() == [10 * i for i in range(16)]
    assert columns.class_names == ("land", "water")  # in the order of the alphabet
    assert [columns.class_names[i] for i in columns.label] == ["water", "land"] * 8
    assert [columns.attribute_names[i] for i in columns.attribute] == birds(0, 16)["place"]
    assert columns.source.part.tolist() == [TRAIN] * 8 + [VALID] * 4 + [TEST] * 4
    assert columns.source.official
    assert columns.source.image == "photo"
    assert columns.source.rows.columns.tolist() == ["label", "place", "wing", "note", "photo", "split"]
    assert len(Splits.of(Dataset.from_columns(columns)).train) == 8


def test_a_second_start_writes_no_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    name = stored(tmp_path, train=rows(0, 8), test=rows(8, 4))
    first = read_hub(name)
    monkeypatch.setattr(Path, "write_bytes", lambda *_: pytest.fail("wrote a file"))
    np.testing.assert_array_equal(read_hub(name).x, first.x)


def test_changed_images_are_written_anew(tmp_path: Path):
    read_hub(stored(tmp_path / "a", train=rows(0, 8), test=rows(8, 4)))
    columns = read_hub(stored(tmp_path / "b", train=rows(1, 8), test=rows(9, 4)))
    assert columns.x[:, 0, 0, 0].tolist() == [10 * i for i in range(1, 13)]


def test_images_of_different_sizes_need_a_size(tmp_path: Path):
    photo = [Image.new("RGB", (4 + i, 9)) for i in range(8)]
    name = stored(tmp_path, train=rows(0, 8, photo=photo), test=rows(8, 4))
    with pytest.raises(UserError, match="mixed sizes"):
        read_hub(name)
    assert read_hub(name, size=4).x.shape == (12, 3, 4, 4)


def test_a_missing_image_is_refused_or_left_out(tmp_path: Path):
    photo = [*birds(0, 2)["photo"], None, *birds(3, 5)["photo"]]
    name = stored(tmp_path, train=rows(0, 8, photo=photo), test=rows(8, 4))
    for _ in range(2):  # the second time, the files are in the cache
        with pytest.raises(UserError, match=rf"^{name}: image missing in row 3; .*--unreadable skip"):
            read_hub(name)
    columns = read_hub(name, unreadable="skip")
    assert columns.x[:, 0, 0, 0].tolist() == [10 * i for i in range(12) if i != 2]
    assert columns.source.skipped == (("row 3", "missing"),)
    assert columns.source.rows["wing"].tolist() == [i / 7 for i in range(12) if i != 2]


@pytest.mark.parametrize("path", [None, "", "/nowhere/a.png", "no\0file"])
def test_an_image_known_by_a_path_to_nothing_is_missing(path: str | None):
    assert hub._bytes({"bytes": None, "path": path}) is None


def test_an_image_known_by_its_path_is_read(tmp_path: Path):
    Image.new("RGB", (5, 4), (70, 70, 70)).save(tmp_path / "a.png")
    photo = [{"bytes": None, "path": str(tmp_path / "a.png")}, *birds(1, 7)["photo"]]
    name = stored(tmp_path, train=rows(0, 8, photo=photo), test=rows(8, 4))
    assert read_hub(name).x[0, 0, 0, 0] == 70


def test_broken_images_are_named_by_their_data_set(tmp_path: Path):
    photo = [{"bytes": b"", "path": None}, {"bytes": b"no image", "path": None}, *birds(2, 6)["photo"]]
    name = stored(tmp_path, train=rows(0, 8, photo=photo), test=rows(8, 4))
    with pytest.raises(UserError, match=rf"^{name}: 2 of 12 images cannot be read: 00000000 \(an empty file\)"):
        read_hub(name)
    assert len(read_hub(name, unreadable="skip").x) == 10


def test_a_folder_of_images(tmp_path: Path):
    for split, n in (("train", 4), ("test", 2)):
        for i, bird in enumerate(["duck", "owl"]):
            (tmp_path / "photos" / split / bird).mkdir(parents=True)
            for k in range(n):
                Image.new("RGB", (4, 4), (100 * i + k,) * 3).save(tmp_path / "photos" / split / bird / f"{k}.png")
    columns = read_hub(str(tmp_path / "photos"))
    assert columns.label is not None
    assert columns.class_names == ("duck", "owl")
    assert (columns.x[:, 0, 0, 0] // 100).tolist() == columns.label.tolist()
    assert np.bincount(columns.source.part).tolist() == [8, 0, 4]


def test_features_and_text(tmp_path: Path):
    name = stored(tmp_path, train=rows(0, 8).remove_columns("photo"), test=rows(8, 4).remove_columns("photo"))
    table = read_hub(name, attribute="place")
    assert table.source.features == ("wing", "note")
    assert table.x.dtype == np.float32
    text = read_hub(name, text="note")
    assert text.source.encoding["vocabulary"] == ["a", "bird", "by", "lake", "the"]
    assert text.x[:2].tolist() == [[2, 3, 0, 0, 0], [2, 3, 4, 6, 5]]
    assert read_hub(stored(tmp_path / "photos", train=rows(0, 8), test=rows(8, 4)), text="note").vocabulary == 7


def test_an_encoding_reads_new_rows_as_before(tmp_path: Path):
    encoding = read_hub(stored(tmp_path / "a", train=rows(0, 8), test=rows(8, 4)), size=3).source.encoding
    new = stored(tmp_path / "b", train=rows(3, 2).remove_columns("label"), other=rows(9, 1).remove_columns("label"))
    columns = read_hub(new, encoding=json.loads(json.dumps(encoding)))
    assert columns.x.shape == (3, 3, 3, 3)
    assert columns.x[:, 0, 0, 0].tolist() == [30, 40, 90]
    assert columns.label is None
    assert columns.source.part.tolist() == [TEST] * 3


def test_splits_without_labels_are_left_out(tmp_path: Path):
    name = stored(tmp_path, train=rows(0, 8), validation_matched=rows(8, 4), unsupervised=rows(0, 5, label=[-1] * 5))
    with pytest.warns(UserWarning, match="no test part"):
        columns = read_hub(name)
    assert columns.source.part.tolist() == [TRAIN] * 8 + [TEST] * 4  # without test rows, validation is the test
    assert len(columns.x) == 12
    nothing = stored(tmp_path / "none", train=rows(0, 5, label=[-1] * 5))
    with pytest.raises(UserError, match=r"label 'label' is missing in 5 of 5 rows"):
        read_hub(nothing)


def test_a_data_set_of_one_split_is_cut(tmp_path: Path):
    rows(0, 10).save_to_disk(str(tmp_path / "one"))
    columns = read_hub(str(tmp_path / "one"))
    assert not columns.source.official
    assert np.bincount(columns.source.part).tolist() == [6, 2, 2]
    assert np.bincount(read_hub(str(tmp_path / "one"), parts="20/40/40").source.part).tolist() == [2, 4, 4]


def test_a_split_column_may_be_asked_for_or_be_in_the_way(tmp_path: Path):
    parts = [{"split": ["train", "test"] * 4}, {"split": ["train", "test"] * 2}]
    train, test = (
        datasets.Dataset.from_dict({**birds(0, n), **part}, features=features(split=datasets.Value("string")))
        for n, part in zip((8, 4), parts, strict=True)
    )
    name = stored(tmp_path, train=train, test=test)
    label = "place"  # not the even and odd rows
    assert read_hub(name, label=label, split="split").source.part.tolist() == [TRAIN, TEST] * 6
    columns = read_hub(name, label=label)
    assert columns.source.part.tolist() == [TRAIN] * 8 + [TEST] * 4
    assert columns.source.split == "split of the data set"


def test_a_column_without_images(tmp_path: Path):
    name = stored(tmp_path, train=rows(0, 8), test=rows(8, 4))
    with pytest.raises(UserError, match=r"column 'note' holds no images; columns with images: photo"):
        read_hub(name, image="note")
    with pytest.raises(UserError, match=r"label: unknown column 'lable': did you mean 'label'"):
        read_hub(name, label="lable")


@pytest.mark.parametrize(
    "error", [ConnectionError("no\n network"), ValueError("no\n network"), RuntimeError("no\n network")]
)
def test_a_data_set_that_cannot_be_loaded(monkeypatch: pytest.MonkeyPatch, error: Exception):
    def fail(name: str, config: str | None) -> None:
        assert (name, config) == ("nobody/birds", "small")
        raise error

    monkeypatch.setattr(datasets, "load_dataset", fail)
    with pytest.raises(UserError, match=r"nobody/birds: the data set cannot be loaded \(no network\); give its name"):
        read_hub("nobody/birds", config="small")


def test_an_empty_folder(tmp_path: Path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"the data set cannot be loaded \(.*doesn't contain any data files"):
        read_hub(str(tmp_path / "empty"))


def test_without_the_package(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UserError, match=r'pip install "longcut\[hub\]"'):
        read_hub("nobody/birds")


def test_images_that_are_not_rgb_go_through_the_same_decoder(tmp_path: Path):
    file = io.BytesIO()
    Image.new("I;16", (5, 4)).save(file, "PNG")
    photo = [{"bytes": file.getvalue(), "path": None}, *birds(1, 7)["photo"]]
    name = stored(tmp_path, train=rows(0, 8, photo=photo), test=rows(8, 4))
    with pytest.raises(UserError, match=r"1 of 12 images cannot be read: 00000000 \(more than 8 bits"):
        read_hub(name)
    assert len(read_hub(name, unreadable="skip").x) == 11
