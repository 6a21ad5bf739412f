from __future__ import annotations

import builtins
import os
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from longcut.errors import UserError
from longcut.sources import TEST, TRAIN, VALID
from longcut.sources import images as decoding
from longcut.sources.folder import read_folder
from longcut.sources.part_names import part_of
from longcut.sources.parts import MISSING, check_labels, column, draw_parts, number, parts_of, ranges, shares


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LONGCUT_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "photos").mkdir()
    return tmp_path / "photos"


def save(path: Path, grey: int = 0, side: int = 4) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (side, side), grey).save(path)


def fill(root: Path, counts: Mapping[str, int], suffix: str = "png") -> Path:
    """Images ``0.png``, ``1.png``, … in each folder; the grey of each is its number."""
    for folder, count in counts.items():
        for i in range(count):
            save(root / folder / f"{i}.{suffix}", i)
    return root


# --- folders: class/*.jpg ---------------------------------------------------------------------------------------------


def test_class_folders(root: Path):
    found = read_folder(fill(root, {"dog": 10, "cat": 5}))
    assert found.class_names == ("cat", "dog")
    assert found.label is not None
    assert found.label.tolist() == [0] * 5 + [1] * 10
    assert found.attribute is None
    assert found.attribute_names == ()
    assert found.x.shape == (15, 3, 4, 4)
    assert found.x[:, 1, 2, 3].tolist() == [*range(5), *range(10)]
    source = found.source
    assert source.name == str(root)
    assert source.rows["path"].tolist() == [f"cat/{i}.png" for i in range(5)] + [f"dog/{i}.png" for i in range(10)]
    assert source.rows["class"].tolist() == ["cat"] * 5 + ["dog"] * 10
    assert list(source.rows) == ["path", "class"]
    assert not source.official
    assert (source.label, source.attribute, source.split, source.image) == ("class", None, None, "path")
    assert source.facts is not None
    assert source.facts["width"].tolist() == [4] * 15
    assert np.bincount(source.part[found.label == 0]).tolist() == [3, 1, 1]
    assert np.bincount(source.part[found.label == 1]).tolist() == [6, 2, 2]
    assert source.encoding == {
        "kind": "image",
        "size": None,
        "shape": [3, 4, 4],
        "classes": ["cat", "dog"],
        "attributes": [],
        "task": "classification",
        "label": "class",
        "attribute": None,
        "split": None,
        "image": "path",
    }


def test_classes_are_in_natural_order(root: Path):
    assert read_folder(fill(root, {"10": 3, "9": 3, "a": 3})).class_names == ("9", "10", "a")


def test_folders_0_and_1_are_classes_not_parts(root: Path):
    found = read_folder(fill(root, {"0": 3, "1": 3}))
    assert found.class_names == ("0", "1")
    assert not found.source.official


def test_which_files_are_images(root: Path):
    fill(root, {"dog": 3, "cat": 3})
    for name in ("A.JPG", "deep/er/b.jpeg", "c.Tiff", "d.gif", "e.webp", "f.bmp", "g.tif"):
        save(root / "cat" / name)
    for name in ("notes.txt", ".hidden.png", "deep/.more/d.png", "noseries.jpg.part"):
        path = root / "cat" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("no image")
    save(root / ".git" / "x.png")
    (root / "metadata.csv").write_text("a,b\n")
    save(root / "cat" / "deep" / "plain.jpg", side=4)
    (root / "cat" / "deep" / "plain.jpg").rename(root / "cat" / "deep" / "plain")
    (root / "cat" / "nothing").touch()
    found = read_folder(root)
    cats = [path for path in found.source.rows["path"] if path.startswith("cat/")]
    names = ["0.png", "1.png", "2.png", "A.JPG", "c.Tiff", "d.gif", "deep/er/b.jpeg", "deep/plain", "e.webp", "f.bmp"]
    names += ["g.tif"]
    assert cats == [f"cat/{name}" for name in names]
    assert dict(found.source.skipped) == {
        ".git": "hidden",
        "cat/.hidden.png": "hidden",
        "cat/deep/.more": "hidden",
        "cat/notes.txt": "no image: .txt",
        "cat/noseries.jpg.part": "no image: .part",
        "cat/nothing": "empty",
        "metadata.csv": "no image: .csv",
    }


def test_the_seed_draws_the_parts(root: Path):
    fill(root, {"dog": 20, "cat": 20})
    parts = [read_folder(root, seed=seed).source.part.tolist() for seed in (0, 0, 1)]
    assert parts[0] == parts[1] != parts[2]


def test_a_size_makes_mixed_images_equal(root: Path):
    fill(root, {"dog": 3, "cat": 3})
    save(root / "dog" / "big.png", side=9)
    with pytest.raises(UserError, match="mixed sizes"):
        read_folder(root)
    found = read_folder(root, size=2)
    assert found.x.shape == (7, 3, 2, 2)
    assert found.source.encoding["size"] == 2
    assert found.source.encoding["shape"] == [3, 2, 2]


def test_skipped_images_leave_all_columns(root: Path):
    fill(root, {"dog": 4, "cat": 4})
    (root / "cat" / "1.png").write_text("no")
    with pytest.raises(UserError, match=r"1 of 8 images cannot be read: cat/1.png"):
        read_folder(root)
    said: list[tuple[int, int]] = []
    found = read_folder(root, unreadable="skip", progress=lambda done, total: said.append((done, total)))
    assert said == []  # the pixels were already there
    assert found.label is not None and found.source.facts is not None
    assert found.label.tolist() == [0] * 3 + [1] * 4
    assert found.source.rows.index.tolist() == list(range(7))
    assert found.source.rows["path"].tolist()[:3] == ["cat/0.png", "cat/2.png", "cat/3.png"]
    assert len(found.x) == len(found.source.part) == len(found.source.facts) == 7


@pytest.mark.parametrize(
    "name",
    [
        "@eaDir",
        "#recycle",
        "$RECYCLE.BIN",
        "__MACOSX",
        "lost+found",
        "System Volume Information",
        "@Recycle",
        "LOST.DIR",
    ],
)
def test_folders_of_the_system_hold_no_samples(root: Path, name: str):
    fill(root, {"dog": 3, "cat": 3, f"cat/{name}/1.jpg": 2, name: 4, f"cat/deep/{name}": 1, "cat/deep": 1})
    found = read_folder(root)
    assert found.class_names == ("cat", "dog")
    assert len(found.x) == 7
    assert set(found.source.skipped) == {(f"{above}{name}", "of the system") for above in ("", "cat/", "cat/deep/")}


@pytest.mark.parametrize("name", ["Thumbs.db", "desktop.ini", "Icon\r", "ZbThumbnail.info", "Picasa.ini"])
def test_files_of_the_system_hold_no_samples(root: Path, name: str):
    """Not even where they begin like an image, which thumbnails do."""
    save(fill(root, {"dog": 3, "cat": 3}) / "cat" / "x.jpg")
    (root / "cat" / "x.jpg").rename(root / "cat" / name)
    found = read_folder(root)
    assert len(found.x) == 6
    assert found.source.skipped == ((f"cat/{name}", "of the system"),)


@pytest.mark.parametrize("suffix", ["JPG", "jpe", "jfif", "ppm", "webp", "TIF", "avif", "jp2", "heic", "hif", "CR2"])
def test_a_file_that_is_called_like_an_image_is_one_be_it_damaged(root: Path, suffix: str):
    fill(root, {"dog": 3, "cat": 3})
    (root / "cat" / f"x.{suffix}").write_bytes(b"")
    with pytest.raises(UserError, match=rf"1 of 7 images cannot be read: cat/x.{suffix} \((an empty file|a raw photo)"):
        read_folder(root)
    (left_out,) = read_folder(root, unreadable="skip").source.skipped
    assert left_out[0] == f"cat/x.{suffix}"


def test_links_that_lead_nowhere_pipes_and_folders_called_like_images(root: Path):
    fill(root, {"dog": 3, "cat": 3, "cat/x.jpg": 1})
    (root / "cat" / "gone.png").symlink_to("nothing.png")
    (root / "cat" / "loop.png").symlink_to("loop.png")
    (root / "cat" / "gone").symlink_to("nothing")
    (root / "cat" / "loop").symlink_to("loop")
    os.mkfifo(root / "cat" / "pipe")  # reading it would wait forever
    os.mkfifo(root / "cat" / "pipe.png")
    with pytest.raises(UserError, match=r"there is no 'cat/gone.png' \(row 4\)"):
        read_folder(root)
    found = read_folder(root, unreadable="skip")
    assert len(found.x) == 7
    assert dict(found.source.skipped) == {
        "cat/gone.png": "there is no such file",
        "cat/loop.png": "there is no such file",
        "cat/gone": "a link to nothing",
        "cat/loop": "cannot be opened: Too many levels of symbolic links",
        "cat/pipe": "no file",
        "cat/pipe.png": "no file",
    }


def test_what_cannot_be_opened(root: Path, monkeypatch: pytest.MonkeyPatch):
    fill(root, {"dog": 3, "cat": 3})
    (root / "cat" / "locked").write_text("?")
    look, listed = builtins.open, os.scandir

    def refuses(path: Any, *how: Any, **more: Any) -> Any:
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied")
        return look(path, *how, **more)

    monkeypatch.setattr(builtins, "open", refuses)
    assert read_folder(root).source.skipped == (("cat/locked", "cannot be opened: Permission denied"),)

    def closed(path: Any) -> Any:
        if str(path).endswith("dog"):
            raise PermissionError(13, "Permission denied")
        return listed(path)

    monkeypatch.setattr(os, "scandir", closed)
    with pytest.raises(UserError, match=r"folder 'dog' cannot be opened \(Permission denied\); change its rights"):
        read_folder(root)


# --- folders: split/class/*.jpg ---------------------------------------------------------------------------------------


def test_split_folders(root: Path):
    counts = {"Train/dog": 2, "Train/cat": 1, "val/dog": 1, "val/cat": 1, "TEST/dog": 1, "TEST/cat/deep": 2}
    found = read_folder(fill(root, counts))
    assert found.source.official
    assert found.source.split == found.source.encoding["split"] == "split"
    assert found.class_names == ("cat", "dog")
    rows = found.source.rows
    assert list(rows) == ["path", "class", "split"]
    parts = {"Train": TRAIN, "val": VALID, "TEST": TEST}
    for path, name, split, part, label in zip(
        rows["path"], rows["class"], rows["split"], found.source.part, np.asarray(found.label), strict=True
    ):
        assert path.split("/")[:2] == [split, name]
        assert part == parts[split]
        assert found.class_names[label] == name
    assert len(rows) == 8


def test_without_test_folder_the_validation_folder_is_the_test_part(root: Path):
    with pytest.warns(
        UserWarning, match=r"there is no test part in the folders; the validation part \(dev\) is tested"
    ):
        found = read_folder(fill(root, {"train/a": 1, "train/b": 1, "dev/a": 1, "dev/b": 1}))
    assert found.source.part.tolist() == [TEST, TEST, TRAIN, TRAIN]


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("seg_train", "seg_test"),
        ("training_set", "test_set"),
        ("images_train", "images_val"),
        ("TRAINING", "Testing"),
        ("trainData", "validationData"),
        ("train2017", "val2017"),
        ("1 Training", "2 Hold-Out"),
        ("birds-trn", "birds-dev"),
        ("trainval", "evaluation"),
        ("train_val", "held_out"),
        ("TrainImages", "TestImages"),
    ],
)
def test_parts_in_anybodys_spelling(root: Path, train: str, test: str):
    for layout in ("{part}/{name}", "{name}/{part}"):
        for part, count in ((train, 2), (test, 1)):
            fill(root / layout[1:5], {layout.format(part=part, name=name): count for name in ("cat", "dog")})
        judged_by_valid = part_of(test) == VALID
        with pytest.warns(UserWarning, match=rf"\({test}\) is tested on") if judged_by_valid else nullcontext():
            found = read_folder(root / layout[1:5])
        assert found.class_names == ("cat", "dog")
        assert np.bincount(found.source.part, minlength=3).tolist() == [4, 0, 2]
        assert found.source.official
        assert set(found.source.rows["split"]) == {train, test}


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        (
            {"fold_0/cat": 3, "fold_0/dog": 3, "fold_1/cat": 3, "fold_1/dog": 3},
            "hold the same folders, so they seem to",
        ),
        (
            {"train/cat": 3, "train/dog": 3, "unlabelled": 3},
            "'unlabelled' lies beside folders for training and testing",
        ),
        ({"my_train/cat": 3, "my_train/dog": 3, "new/cat": 3, "new/dog": 3}, "'new' lies beside folders for training"),
        (
            {"images/train/cat": 3, "images/train/dog": 3},
            "the class folders would be images, which are no classes; .*, or give the path of",
        ),
        ({"train/masks": 3, "test/masks": 3}, "the class folders would be masks, which are no classes"),
        ({"train/masks/cat": 3, "test/masks/cat": 3}, "the class folders would be masks, which are no classes"),
        ({"train/images/cat": 3, "test/images/cat": 3}, "there is one class only, 'cat'"),
        ({"train/Images": 3, "train/masks": 3, "test/Images": 1, "test/masks": 1}, "would be Images, masks, which are"),
        (
            {"cats_train": 3, "cats_test": 3, "dogs_train": 3, "dogs_test": 3},
            r"image 'cats_test/0.png' lies in no class",
        ),
        ({"seg_test/cat": 3, "seg_test/dog": 3, "seg_val/cat": 3, "seg_val/dog": 3}, "there is no folder for training"),
    ],
)
def test_layouts_that_may_mean_several_things(root: Path, counts: dict[str, int], message: str):
    with pytest.raises(UserError, match=message):
        read_folder(fill(root, counts))


@pytest.mark.parametrize(
    ("counts", "names"),
    [
        ({"crash_test": 3, "road": 3}, ("crash_test", "road")),
        ({"blood_test": 3, "eye_test": 3}, ("blood_test", "eye_test")),
        ({"train/steam": 3, "train/diesel": 3, "bus/city": 3, "bus/coach": 3}, ("bus", "train")),
        ({"fold_1": 3, "fold_2": 3}, ("fold_1", "fold_2")),
        ({"landbird/nest": 3, "waterbird/nest": 3}, ("landbird", "waterbird")),
        ({"landbird/land": 3, "landbird/sea": 3, "waterbird/land": 3}, ("landbird", "waterbird")),
    ],
)
def test_classes_with_folders_in_them(root: Path, counts: dict[str, int], names: tuple[str, ...]):
    found = read_folder(fill(root, counts))
    assert found.class_names == names
    assert not found.source.official


@pytest.mark.parametrize(
    ("top", "inside"),
    [
        (("landbird", "waterbird"), ("land", "sea")),
        (("1", "2"), ("a", "b")),
        (("cat", "dog"), ("bus", "train")),
        (("entrenamiento", "prueba"), ("gato", "perro")),  # parts, in words that are not known
    ],
)
def test_classes_that_may_be_parts_are_said(root: Path, top: tuple[str, str], inside: tuple[str, str]):
    fill(root, {f"{one}/{other}": 3 for one in top for other in inside})
    with pytest.warns(
        UserWarning, match=rf"{', '.join(top)} all hold the same folders \({', '.join(inside)}\), and are"
    ):
        found = read_folder(root)
    assert found.class_names == top
    assert not found.source.official
    read_folder(root, encoding=found.source.encoding)  # of which classes are known already


@pytest.mark.parametrize(
    ("layout", "parted"),
    [
        ("{part}/{part}/{name}", True),
        ("{part}/Images/{name}", True),
        ("{part}/{name}", True),
        ("{part}/birds/{name}", False),  # somebody's class, all of whose images lie deeper
    ],
)
def test_a_folder_around_the_classes_of_a_part_is_no_class(root: Path, layout: str, parted: bool):
    fill(
        root, {layout.format(part=part, name=name): 2 for part in ("seg_train", "seg_test") for name in ("cat", "dog")}
    )
    if not parted:
        with pytest.raises(UserError, match="there is one class only, 'birds'"):
            read_folder(root)
        return
    found = read_folder(root)
    assert found.class_names == ("cat", "dog")
    assert np.bincount(found.source.part, minlength=3).tolist() == [4, 0, 4]
    assert all((root / path).is_file() for path in found.source.rows["path"])


def test_two_words_for_one_part_are_said(root: Path):
    counts = {f"{part}/{name}": 2 for part in ("train", "dev", "eval", "test") for name in ("cat", "dog")}
    with pytest.warns(UserWarning, match="the folders: dev, eval are taken as one part"):
        assert np.bincount(read_folder(fill(root, counts)).source.part).tolist() == [4, 8, 4]


def test_new_samples_of_classes_that_are_called_like_parts(root: Path, tmp_path: Path):
    known = read_folder(fill(tmp_path / "before", {"train": 3, "bus": 3})).source.encoding
    found = read_folder(fill(root, {"train": 2}), encoding=known)
    assert np.asarray(found.label).tolist() == [1, 1]


def test_a_class_missing_in_a_part(root: Path):
    fill(root, {"train/a": 1, "train/b": 1, "test/a": 1, "test/b": 1, "test/c": 1})
    with pytest.raises(UserError, match="class 'c' of the class folders has no training samples"):
        read_folder(root)


def test_only_training_folders(root: Path):
    with pytest.raises(UserError, match=r"training images only, in 'train'; add a folder test, or give the path of"):
        read_folder(fill(root, {"train/a": 3, "train/b": 3}))
    assert not read_folder(root / "train").source.official


def test_no_training_folder(root: Path):
    with pytest.raises(UserError, match="there is no folder for training, only test, val; call one of them train"):
        read_folder(fill(root, {"val/a": 3, "val/b": 3, "test/a": 3, "test/b": 3}))


def test_a_part_without_class_folders(root: Path):
    fill(root, {"train/a": 1, "train/b": 1})
    (root / "test").mkdir()
    with pytest.raises(UserError, match="folder 'test' has no class folders"):
        read_folder(root)
    save(root / "test" / "x.png")
    with pytest.raises(
        UserError, match=r"image 'test/x.png' lies in no class folder; make one folder per class in 'test'"
    ):
        read_folder(root)


def test_parts_beside_something_else(root: Path):
    fill(root, {"train/a": 1, "train/b": 1, "test/a": 1, "test/b": 1, "extra": 1})
    with pytest.raises(UserError, match="'extra' lies beside folders for training and testing"):
        read_folder(root)


@pytest.mark.parametrize(("one", "other"), [("blood", "test"), ("bus", "train")])
def test_a_class_may_be_called_like_a_part(root: Path, one: str, other: str):
    assert read_folder(fill(root, {one: 3, other: 3})).class_names == (one, other)


# --- folders: mistakes ------------------------------------------------------------------------------------------------


def test_no_such_folder(root: Path):
    with pytest.raises(UserError, match="there is no such folder"):
        read_folder(root / "nowhere")


def test_an_empty_folder(root: Path):
    with pytest.raises(UserError, match="the folder has no class folders; make one"):
        read_folder(root)


def test_images_without_class_folders(root: Path):
    save(root / "b.png")
    save(root / "a.png")
    with pytest.raises(UserError, match=r"image 'a.png' lies in no class folder; make one folder per class"):
        read_folder(root)
    fill(root, {"dog": 3, "cat": 3})
    with pytest.raises(UserError, match=r"image 'a.png' lies in no class folder"):
        read_folder(root)


def test_one_class(root: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(decoding, "_read", None)  # known before anything is decoded
    with pytest.raises(UserError, match="there is one class only, 'dog'"):
        read_folder(fill(root, {"dog": 5}))


def test_an_empty_class_folder(root: Path):
    fill(root, {"dog": 3, "cat": 3})
    (root / "eel" / "deep").mkdir(parents=True)
    (root / "eel" / "deep" / "notes.txt").write_text("")
    with pytest.raises(UserError, match="class folder 'eel' has no images"):
        read_folder(root)


def test_a_class_without_readable_images(root: Path):
    fill(root, {"dog": 3, "cat": 3})
    (root / "eel").mkdir()
    (root / "eel" / "a.png").write_text("no")
    with pytest.raises(UserError, match="class folder 'eel' has no readable image"):
        read_folder(root, unreadable="skip")


def test_too_few_of_a_class(root: Path):
    with pytest.raises(UserError, match="class 'cat' has 2 samples, too few"):
        read_folder(fill(root, {"dog": 3, "cat": 2}))


def test_links(root: Path, tmp_path: Path):
    fill(root, {"dog": 3, "cat": 3})
    save(tmp_path / "out.png")
    (root / "dog" / "link.png").symlink_to(tmp_path / "out.png")
    with pytest.raises(UserError, match=r"image 'dog/link.png' \(row 7\) lies outside the folder"):
        read_folder(root)
    (root / "dog" / "link.png").unlink()
    (root / "dog" / "again").symlink_to(root / "dog")
    with pytest.raises(UserError, match="folder 'again' is a symbolic link"):
        read_folder(root)


@pytest.mark.skipif(os.name != "posix", reason="file names are bytes on POSIX only")
@pytest.mark.parametrize("name", [b"\xff.png", b"\xff"])
def test_names_that_are_not_utf8(root: Path, name: bytes):
    fill(root, {"dög": 3, "cat": 3})
    path = os.fsencode(root / "cat") + b"/" + name
    try:
        with open(path, "wb"):
            pass
    except OSError:
        pytest.skip("this file system takes UTF-8 only")
    with pytest.raises(UserError, match=r"the file name '\\udcff(.png)?' is not UTF-8; rename it"):
        read_folder(root)


# --- folders: new samples ---------------------------------------------------------------------------------------------


@pytest.fixture
def known(tmp_path: Path) -> Mapping[str, Any]:
    return read_folder(fill(tmp_path / "before", {"dog": 3, "cat": 3}), size=2).source.encoding


def test_new_samples_in_class_folders(root: Path, known: Mapping[str, Any]):
    fill(root, {"dog": 2})
    found = read_folder(root, encoding=known)
    assert found.class_names == ("cat", "dog")
    assert np.asarray(found.label).tolist() == [1, 1]
    assert found.x.shape == (2, 3, 2, 2)
    assert found.source.part.tolist() == [TEST, TEST]
    assert found.source.encoding == known
    assert not found.source.official


def test_new_samples_without_class(root: Path, known: Mapping[str, Any]):
    save(root / "b.png", 9, side=5)
    save(root / "a.png", 8, side=7)
    found = read_folder(root, encoding=known)
    assert found.label is None
    assert found.source.label is None
    assert found.class_names == ("cat", "dog")
    assert list(found.source.rows) == ["path"]
    assert found.source.rows["path"].tolist() == ["a.png", "b.png"]
    assert found.x[:, 0, 0, 0].tolist() == [8, 9]
    assert found.source.part.tolist() == [TEST, TEST]


def test_new_samples_beside_class_folders_have_no_label(root: Path, known: Mapping[str, Any]):
    fill(root, {"dog": 2, "cat": 1})
    save(root / "new.png", 8)
    with pytest.warns(UserWarning, match="1 image lies in no class folder, and so without a label"):
        found = read_folder(root, encoding=known)
    assert found.source.rows["path"].tolist() == ["cat/0.png", "dog/0.png", "dog/1.png", "new.png"]
    assert np.asarray(found.label).tolist() == [0, 1, 1, -1]
    assert len(found.x) == 4


def test_new_samples_of_an_unknown_class(root: Path, known: Mapping[str, Any]):
    found = read_folder(fill(root, {"cats": 2, "dog": 1}), encoding=known)
    assert found.label is not None
    assert sorted(found.label.tolist()) == [-1, -1, found.class_names.index("dog")]


def test_new_samples_of_another_size(root: Path, tmp_path: Path):
    encoding = read_folder(fill(tmp_path / "before", {"dog": 3, "cat": 3})).source.encoding
    save(root / "a.png", side=6)
    with pytest.raises(UserError, match="the images have 6×6 pixels, but those before had 4×4; resize them"):
        read_folder(root, encoding=encoding)


def test_new_samples_do_not_need_a_readable_image_of_each_class(root: Path, known: Mapping[str, Any]):
    fill(root, {"dog": 2, "cat": 1})
    (root / "cat" / "0.png").write_text("no")
    found = read_folder(root, encoding=known, unreadable="skip")
    assert np.asarray(found.label).tolist() == [1, 1]


# --- columns to ids ---------------------------------------------------------------------------------------------------


def numbered(values: Sequence[Any] | pd.Series, **how: Any) -> tuple[list[int], tuple[str, ...]]:
    ids, names = number(pd.Series(values), what="label 'y'", where="t.csv", **how)
    assert ids.dtype == np.int64
    return ids.tolist(), names


@pytest.mark.parametrize(
    ("values", "ids", "names"),
    [
        (["b", "a", "b"], [1, 0, 1], ("a", "b")),
        ([10, 9, -1], [2, 1, 0], ("-1", "9", "10")),
        ([1.0, 0.0, 2.0], [1, 0, 2], ("0", "1", "2")),
        ([0.5, 2.0], [0, 1], ("0.5", "2")),
        (["10", "9", "x", "nan"], [1, 0, 3, 2], ("9", "10", "nan", "x")),
        ([True, False], [1, 0], ("False", "True")),
        (pd.Series(["b", "a"], dtype="category"), [1, 0], ("a", "b")),
        (pd.Series([3, 1], dtype="Int64"), [1, 0], ("1", "3")),
        ([float("inf"), 1.0], [1, 0], ("1", "inf")),
        (["20–29", "3–19"], [1, 0], ("3–19", "20–29")),
        ([1, "1"], [0, 0], ("1",)),
    ],
)
def test_any_column_becomes_ids(values: Any, ids: list[int], names: tuple[str, ...]):
    assert numbered(values) == (ids, names)


@pytest.mark.parametrize("values", [["b", None, "a", None], [2.0, np.nan, 1.0, np.nan]])
def test_missing_values(values: list[Any]):
    with pytest.raises(UserError, match=r"t.csv: label 'y' is missing in 2 of 4 rows, first in row 2; fill it in"):
        numbered(values)
    ids, names = numbered(values, missing=MISSING)
    assert ids == [1, 2, 0, 2]
    assert names[2] == "(missing)"


def test_ids_by_earlier_names():
    assert numbered([2, 0], names=("0", "1", "2")) == ([2, 0], ("0", "1", "2"))
    assert numbered(["z", "a"], names=["z", "a"]) == ([0, 1], ("z", "a"))
    with pytest.raises(UserError, match=r"unknown value of label 'y' in t.csv: 'landbrd': did you mean 'landbird'"):
        numbered(["landbrd"], names=["landbird", "waterbird"])
    with pytest.raises(UserError, match=r"unknown value of label 'y' in t.csv: '\(missing\)'"):
        numbered([None, "a"], names=["a"], missing=MISSING)


def test_lists_are_no_values():
    with pytest.raises(UserError, match=r"label 'y' holds lists; choose a column with one value per row"):
        numbered([[1], [2]])


def test_a_column_that_is_not_there():
    frame = pd.DataFrame({"label": [1], 3: [2]})
    assert column(frame, "label", "label", "t.csv").tolist() == [1]
    with pytest.raises(
        UserError, match=r"t.csv: the label: unknown column 'lable': did you mean 'label'\? Known: 3, label"
    ):
        column(frame, "lable", "the label", "t.csv")


# --- ranges -----------------------------------------------------------------------------------------------------------


def test_whole_numbers_are_cut_at_quartiles():
    ages = pd.Series([*range(17, 57)], index=range(100, 140), name="age")
    cut = ranges(ages)
    assert cut.tolist() == [name for name in ("17–26", "27–36", "37–46", "47–56") for _ in range(10)]
    assert cut.name == "age"
    assert cut.index.tolist() == ages.index.tolist()


def test_fractions_are_cut_at_rounded_quartiles():
    values = pd.Series([i / 16 for i in range(17)])  # quartiles 0.25, 0.5, 0.75
    assert ranges(values).value_counts(sort=False).to_dict() == {"0–0.25": 5, "0.25–0.5": 4, "0.5–0.75": 4, "0.75–1": 4}
    assert set(ranges(values / 3 - 1e-9)) == {"0–0.0833", "0.0833–0.1667", "0.1667–0.25", "0.25–0.3333"}  # no −0


@pytest.mark.parametrize(
    ("most", "names"), [(0, {"0": 81, "1–20": 20}), (20, {"0–19": 20, "20": 81})], ids=["smallest", "largest"]
)
def test_a_value_that_most_have_stands_alone(most: int, names: dict[str, int]):
    values = pd.Series([most] * 80 + list(range(21)))
    assert ranges(values).value_counts().to_dict() == names


@pytest.mark.parametrize("bins", [2, 3, 5])
def test_as_many_ranges_as_are_wanted_of_as_many_values_each(bins: int):
    values = pd.Series([i**2 / 7 for i in range(300)], name="age")
    sizes = ranges(values, bins=bins).value_counts()
    assert len(sizes) == bins
    assert sizes.max() - sizes.min() <= 1
    assert ranges(values, bins=4).tolist() == ranges(values).tolist()


def test_few_values_are_cut_only_if_that_is_wanted():
    values = pd.Series([1, 2, 3, 4, 5, 6] * 4)
    assert ranges(values, bins=3).value_counts().to_dict() == {"1–2": 8, "3–4": 8, "5–6": 8}
    assert ranges(pd.Series([0.5, 1.5] * 4), bins=2).value_counts().to_dict() == {"0.5–1": 4, "1–1.5": 4}


def test_a_frequent_value_leaves_fewer_ranges():
    values = pd.Series([0] * 70 + list(range(1, 31)))
    assert ranges(values, bins=5).value_counts().to_dict() == {"0": 70, "1–10": 10, "11–30": 20}
    assert set(ranges(pd.Series([7] * 99 + [1]), bins=9)) == {"1", "2–7"}


def test_what_cannot_be_cut_into_ranges():
    with pytest.raises(UserError, match=r"t\.csv: attribute 'a' is not made of numbers, so it cannot be cut"):
        ranges(pd.Series(["x", "y"], name="a"), bins=3, where="t.csv")
    with pytest.raises(UserError, match=r"t\.csv: attribute 'a' says the same in every row, .* cut into 3 ranges"):
        ranges(pd.Series([2.0, 2.0, None], name="a"), bins=3, where="t.csv")
    assert ranges(pd.Series(["x", "y"]), ["x", "y"], bins=3).tolist() == ["x", "y"], "of an earlier reading"


def test_what_is_not_cut():
    for values in ([*range(12)] * 3, [str(i) for i in range(40)], [True, False] * 10):
        assert ranges(pd.Series(values)).tolist() == values
    ids = pd.Series([1.0, None] * 10)
    assert ranges(ids) is ids


def test_missing_and_infinite_values_of_ranges():
    cut = ranges(pd.Series([*range(40), None, np.inf, -np.inf]))
    assert cut.tolist()[39:] == ["30–39", None, "30–39", "0–9"]
    assert ranges(pd.Series([*range(40), None], dtype="Int64")).tolist()[39:] == ["30–39", None]


@pytest.mark.parametrize(
    "values",
    [range(40), [0] * 80 + list(range(20)), [i**2 / 7 for i in range(-9, 40)], [1e9 * i for i in range(30)]],
)
def test_new_values_fall_into_the_earlier_ranges(values: Sequence[float]):
    series = pd.Series([*values, None])
    ids, names = number(ranges(series), what="a", where="t", missing=MISSING)
    again, _ = number(
        ranges(pd.Series([None, *values[::-1]]), names), what="a", where="t", names=names, missing=MISSING
    )
    assert again.tolist() == ids[::-1].tolist()
    ends = number(ranges(pd.Series([-1e12, 1e12]), names), what="a", where="t", names=names)[0]
    assert ends.tolist() == [0, len(names) - 2]


def test_earlier_values_that_were_not_cut_stay_uncut():
    values = pd.Series(range(40))
    assert ranges(values, ("0", "1", "2")) is values


# --- parts ------------------------------------------------------------------------------------------------------------


def split_of(*values: Any) -> list[int]:
    return parts_of(pd.Series(values), what="split 'split'", where="t.csv").tolist()


def test_split_words_and_numbers():
    words = ("train", "Training", " TRAIN "), ("valid", "VAL", "validation", "dev"), ("test", "Test", "testing")
    for train, valid, test in product(*words):
        assert split_of(train, valid, test) == [0, 1, 2]
    assert split_of(0, 1, 2, 0) == split_of(0.0, 1.0, 2.0, 0.0) == split_of("0", "1", "2", "0") == [0, 1, 2, 0]


def test_without_test_part_the_validation_part_is_it():
    for values in (("train", "dev"), (0, 1)):
        with pytest.warns(UserWarning, match=rf"no test part in split 'split'; the validation part \({values[1]}\)"):
            assert split_of(*values) == [0, 2]


def test_mistakes_in_splits():
    with pytest.raises(UserError, match=r"unknown value of split 'split' in t.csv: 'tset': did you mean 'test'"):
        split_of("train", "tset")
    with pytest.raises(UserError, match=r"unknown value of split 'split' in t.csv: '3'"):
        split_of(0, 3)
    with pytest.raises(UserError, match="split 'split' is missing in 1 of 2 rows, first in row 2"):
        split_of("train", None)
    with pytest.raises(UserError, match="split 'split' has no training rows"):
        split_of("valid", "test")
    with pytest.raises(UserError, match="split 'split' has only training rows; call some valid or test"):
        split_of("train", "train")


@pytest.mark.parametrize(("count", "parts"), [(3, [1, 1, 1]), (4, [2, 1, 1]), (10, [6, 2, 2]), (99, [59, 20, 20])])
def test_parts_are_drawn_within_each_class(count: int, parts: list[int]):
    label = np.array([0] * count + [1] * 50)
    part = draw_parts(label, len(label), 3, where="t.csv", names=("a", "b"))
    assert np.bincount(part[:count]).tolist() == parts
    assert np.bincount(part[count:]).tolist() == [30, 10, 10]
    assert np.bincount(draw_parts(None, count, 3, where="t.csv")).tolist() == parts


@pytest.mark.parametrize(
    ("parts", "count", "found"),
    [
        ("70/15/15", 100, [70, 15, 15]),
        ("80/5/15", 20, [16, 1, 3]),
        ("50/25/25", 3, [1, 1, 1]),
        ("98/1/1", 10, [8, 1, 1]),  # a part of its own for each, though a tenth of a sample were its share
        ("1/1/98", 10, [1, 1, 8]),
        ("1/98/1", 10, [1, 8, 1]),
    ],
)
def test_parts_of_other_shares(parts: str, count: int, found: list[int]):
    label = np.array([0] * count + [1] * 100)
    part = draw_parts(label, len(label), 3, where="t.csv", names=("a", "b"), parts=parts)
    assert np.bincount(part[:count]).tolist() == found
    assert np.bincount(part[count:]).tolist() == [int(share) for share in parts.split("/")]
    other = draw_parts(label, len(label), 4, where="t.csv", names=("a", "b"), parts=parts)
    assert (other[count:] != part[count:]).any(), "another seed is another split"


def test_the_usual_parts_are_60_20_20():
    label = np.arange(90) % 2
    told = draw_parts(label, 90, 5, where="t.csv", names=("a", "b"), parts="60/20/20")
    assert np.array_equal(draw_parts(label, 90, 5, where="t.csv", names=("a", "b")), told)


@pytest.mark.parametrize("parts", ["70/30", "70/0/30", "70/15/1.5", "70/-5/35", "a/b/c", ""])
def test_parts_that_are_no_shares(parts: str):
    with pytest.raises(UserError, match=f"t.csv: parts={parts} are not three shares above 0; give three, such as"):
        shares(parts, where="t.csv")


def test_shares_that_do_not_sum_to_100():
    with pytest.raises(UserError, match=r"t.csv: parts=70/15/14 sum to 99; give shares that sum to 100, such as"):
        shares("70/15/14", where="t.csv")


def test_parts_are_drawn_evenly():
    """Each of ten samples is a test sample in one of five draws: 400 of 2000, give or take 5 standard deviations."""
    test = sum(draw_parts(None, 10, seed, where="t.csv") == TEST for seed in range(2000))
    assert abs(np.asarray(test) - 400).max() < 5 * np.sqrt(2000 * 0.2 * 0.8)


def test_too_few_to_draw_from():
    with pytest.raises(UserError, match="class 'b' has 1 sample, too few for training, validation and test; give at"):
        draw_parts(np.array([0, 0, 0, 1]), 4, 0, where="t.csv", names=("a", "b"))
    with pytest.raises(UserError, match="the data has 2 samples, too few"):
        draw_parts(None, 2, 0, where="t.csv")


def check(label: list[int], part: list[int], attribute: list[int] | None = None, names: Sequence[str] = "ab") -> None:
    check_labels(
        np.array(label),
        names,
        np.array(part),
        None if attribute is None else np.array(attribute),
        what="label 'y'",
        attribute_what="attribute 'place'",
        where="t.csv",
    )


def test_good_labels():
    check([0, 1, 0, 1], [TRAIN, TRAIN, TEST, TEST])
    check([0, 1, 0, 1], [TRAIN, TRAIN, TEST, TEST], [0, 1, 1, 1])
    check([0, 1, 0, 1], [TRAIN, TRAIN, TEST, TEST], [2, 1, 0, 1])  # tells the label, and more
    check([0, 1, 2, 0, 1, 2], [TRAIN] * 3 + [TEST] * 3, [0, 1, 1, 0, 1, 1], "abc")  # says less
    check([0, 1, 0, 1], [TRAIN, TRAIN, TEST, TEST], [0, 0, 0, 0])


def test_one_class_is_refused():
    with pytest.raises(UserError, match="label 'y' has one class only, 'b'; give at least two"):
        check([1, 1], [TRAIN, TEST])


def test_a_class_that_a_part_lacks():
    with pytest.raises(UserError, match="class 'b' of label 'y' has no training samples"):
        check([0, 1, 0, 1], [TRAIN, VALID, TEST, TEST])
    with pytest.raises(UserError, match="class 'a' of label 'y' has no test samples"):
        check([0, 1, 0, 1], [TRAIN, TRAIN, VALID, TEST])


@pytest.mark.parametrize("attribute", [[0, 1, 0, 1], [1, 0, 1, 0], [5, 2, 5, 2]])
def test_an_attribute_that_is_the_label(attribute: list[int]):
    with pytest.raises(UserError, match="attribute 'place' says the same as label 'y' in every row"):
        check([0, 1, 0, 1], [TRAIN, TRAIN, TEST, TEST], attribute)


# --- real images ------------------------------------------------------------------------------------------------------


@pytest.mark.data
def test_mnist_as_a_folder_of_digits(real_data: Path, root: Path):
    import gzip

    def array(name: str, start: int) -> np.ndarray:
        with gzip.open(real_data / "mnist" / name) as file:
            return np.frombuffer(file.read(), np.uint8, offset=start)

    digits = array("t10k-images-idx3-ubyte.gz", 16)[: 300 * 784].reshape(300, 28, 28)
    labels = array("t10k-labels-idx1-ubyte.gz", 8)[:300]
    for i, (digit, label) in enumerate(zip(digits, labels, strict=True)):
        (root / str(label)).mkdir(exist_ok=True)
        Image.fromarray(digit).save(root / str(label) / f"{i}.png")
    found = read_folder(root)
    assert found.class_names == tuple("0123456789")
    order = [int(Path(path).stem) for path in found.source.rows["path"]]
    assert sorted(order) == list(range(300))
    np.testing.assert_array_equal(found.label, labels[order])
    np.testing.assert_array_equal(found.x, np.repeat(digits[order][:, None], 3, axis=1))
