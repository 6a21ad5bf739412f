from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import count, product
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from longcut.data import Dataset, Splits
from longcut.datasets import archives, load
from longcut.datasets.bar import ACTIONS
from longcut.errors import UserError

SPECS = ("corrupted-cifar10-png:percent=1pct", "bffhq:test=all", "bar:size=16", "bar:percent=5pct", "dogs-and-cats")


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    prepare(tmp_path, monkeypatch)
    return tmp_path


def prepare(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Archives lie below ``root``, and small ones have no published number of images to differ from."""
    monkeypatch.setenv("LONGCUT_CACHE", str(root / "cache"))
    monkeypatch.setenv("LONGCUT_DATA", str(root))
    monkeypatch.setattr(archives, "COUNTS", {})


# --- small archives ---------------------------------------------------------------------------------------------------


def write(path: Path, red: int, green: int, width: int = 32, height: int = 0) -> Path:
    """An image of one colour, which tells label and bias apart."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height or width), (20 * red, 20 * green, 200)).save(path, quality=95)
    return path


def write_named(
    root: Path, percent: str, classes: int, valid: str, test: str, side: int, first: str = "x_{}_{}_{}"
) -> None:
    """Of each class two aligned images, a conflicting one (the next bias), and a validation and two test images.

    In ``valid`` and ``test``, ``<c>`` stands for the folder of the class. Numbers run backwards, so that the order of
    names is not that in which files were made.
    """
    number = count(900, -1)
    for label in range(classes):
        for part, steps in (
            (f"{percent}/align/<c>", (0, 0)),
            (f"{percent}/conflict/<c>", (1,)),
            (valid, (0,)),
            (test, (1, 0)),
        ):
            for step in steps:
                bias = (label + step) % classes
                name = first.format(next(number), label, bias)
                write(root / part.replace("<c>", str(label)) / f"{name}.png", label, bias, side)


def write_bar(root: Path) -> None:
    """The original layout: of each action three training and two test images, of several sizes."""
    for label, action in enumerate(ACTIONS):
        for number in range(5):
            part = "train" if number < 3 else "test"
            write(root / part / f"{action}_{number + 8}.jpg", label, number, 24 + number, 48)


def write_bar_ensemble(root: Path) -> None:
    for label in range(6):
        for percent in ("1pct", "5pct"):
            write(root / f"train/conflict/{percent}/{label}/{percent}_{label}_77.jpg", label, 7, 20, 40)
        for number in range(3):
            write(root / f"train/align/{label}/place_{label}_{number}.jpg", label, number, 40, 20)
        write(root / f"valid/{label}/place_{label}_31.jpg", label, 8, 20)
        write(root / f"test/{label}/place_{label}_32.jpg", label, 9, 20)


def make(spec: str, root: Path) -> str:
    """The archive that a spec reads, below ``root``; returns the spec."""
    name, _, options = spec.partition(":")
    if name == "corrupted-cifar10-png":
        write_named(root / "cifar10c", "1pct", 10, "1pct/valid/<c>", "test/<c>", 32)
    elif name == "bffhq":
        write_named(root / "bffhq", "0.5pct", 2, "valid", "test", 12, "{}_{}_{}")
        write(root / "bffhq/valid/3_1_1.png", 1, 1, 12)
    elif name == "dogs-and-cats":
        write_named(root / "dogs_and_cats", "1pct", 2, "1pct/valid", "test/<c>", 30)
        write(root / "dogs_and_cats/1pct/valid/jpg_1_1.jpg", 1, 1, 30)
    elif "percent" in options:
        write_bar_ensemble(root / "bar")
    else:
        write_bar(root / "bar")
    return spec


def colours(data: Dataset) -> list[tuple[int, int]]:
    """Label and bias as the pixels tell; every image must be of one colour, with a blue of 200."""
    pixels = data.x[data.index].long()
    flat = pixels.flatten(2)
    assert (flat - flat[:, :, :1]).abs().max() <= 3  # JPEG is not quite exact
    assert (flat[:, 2] - 200).abs().max() <= 3
    return [(round(red / 20), round(green / 20)) for red, green, _ in flat[:, :, 0].tolist()]


def names(data: Dataset) -> list[str]:
    assert data.source is not None
    return data.source.rows["path"].iloc[data.index.numpy()].tolist()


def parts(splits: Splits) -> Iterable[Dataset]:
    return [part for part in (splits.train, splits.valid, splits.test) if part is not None]


# --- what all have in common ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", SPECS)
def test_columns_are_in_the_order_of_sorted_paths_and_agree_with_the_pixels(spec, place, monkeypatch):
    splits = load(make(spec, place))
    assert splits.info.name == spec
    for number, part in enumerate((splits.train, splits.valid, splits.test)):
        if part is None:
            continue
        assert part.info.kind == "image" and part.x.dtype == torch.uint8
        assert part.label.tolist() == [label for label, _ in colours(part)]
        if part.attribute is not None and not spec.startswith("bar"):
            assert part.attribute.tolist() == [bias for _, bias in colours(part)]
        aligned = [path for path in names(part) if "/conflict/" not in path]
        assert names(part) == sorted(aligned) + sorted(path for path in names(part) if "/conflict/" in path)
        assert part.source is not None and part.source.official and set(part.source.part) == {number}
        assert part.source.rows["label"].tolist() == [part.info.class_names[y] for y in part.label]

    # the same bits, whatever order the file system lists files in
    listed = Path.glob
    monkeypatch.setattr(Path, "glob", lambda self, pattern: reversed(list(listed(self, pattern))))
    for one, other in zip(parts(splits), parts(load(spec)), strict=True):
        assert names(one) == names(other) and torch.equal(one.x, other.x) and torch.equal(one.label, other.label)


@pytest.mark.parametrize("spec", SPECS)
def test_images_are_decoded_once(spec, place):
    seen = []
    load(make(spec, place), progress=lambda done, total: seen.append((done, total)))
    assert seen and all(0 < done <= total for done, total in seen)
    seen.clear()
    load(spec, progress=lambda done, total: seen.append((done, total)))
    assert not seen


def test_hidden_files_and_files_that_are_no_images_are_passed_over(place):
    make("dogs-and-cats", place)
    before = load("dogs-and-cats")
    for stray in ("align/0/._x_899_0_0.png", "align/0/.thumbs/x_1_0_0.png", "align/0/readme.txt", "valid/Thumbs.db"):
        path = place / "dogs_and_cats/1pct" / stray
        path.parent.mkdir(exist_ok=True)
        path.write_text("no image")
    assert [names(part) for part in parts(load("dogs-and-cats"))] == [names(part) for part in parts(before)]


def test_the_folder_can_be_given(place):
    make("bffhq", place / "else where")
    assert len(load(f"bffhq:folder={place}/else where/bffhq").test) == 2
    with pytest.raises(UserError, match=r"there is no image .*/bffhq/0\.5pct/align/\*/\*\.png; unpack the archive"):
        load("bffhq")


# --- Corrupted CIFAR-10 -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("valid", ["1pct/valid/<c>", "1pct/valid"])
def test_corrupted_cifar10_png(place, valid):
    write_named(place / "cifar10c", "1pct", 10, valid, "test/<c>", 32)
    splits = load("corrupted-cifar10-png:percent=1pct")
    assert splits.info.shape == (3, 32, 32)
    assert splits.info.class_names[3] == "cat" and splits.info.attribute_names[5] == "spatter"
    assert splits.train.label.tolist() == [label for label in range(10) for _ in range(2)] + list(range(10))
    assert splits.train.conflicting.tolist() == [False] * 20 + [True] * 10
    assert splits.valid is not None and not splits.valid.conflicting.any() and len(splits.valid) == 10
    assert sorted(splits.test.conflicting.tolist()) == [False] * 10 + [True] * 10
    assert splits.info.aligned == tuple(range(10))


def test_the_conflict_folder_may_be_spelt_as_in_the_readme(place):
    make("corrupted-cifar10-png", place)
    before = load("corrupted-cifar10-png:percent=1pct").train
    (place / "cifar10c/1pct/conflict").rename(place / "cifar10c/1pct/conlict")
    after = load("corrupted-cifar10-png:percent=1pct").train
    assert torch.equal(after.label, before.label) and torch.equal(after.conflicting, before.conflicting)


def test_another_percent_is_another_folder(place):
    make("corrupted-cifar10-png", place)
    origin = "kakaoenterprise/Learning-Debiased-Disentangled, and name its folder with folder=…"
    message = rf"corrupted-cifar10-png: there is no image .*cifar10c/0\.5pct/align/\*/\*\.png; unpack .*{origin}"
    with pytest.raises(UserError, match=message):
        load("corrupted-cifar10-png")


# --- BFFHQ ------------------------------------------------------------------------------------------------------------


def test_bffhq_is_tested_on_conflicting_images_as_released(place):
    make("bffhq", place)
    splits, whole = load("bffhq"), load("bffhq:test=all")
    assert splits.info.shape == (3, 12, 12)
    assert splits.train.label.tolist() == [0, 0, 1, 1, 0, 1]
    assert splits.train.conflicting.tolist() == [False] * 4 + [True] * 2
    assert splits.test.attribute is not None
    assert list(zip(splits.test.label.tolist(), splits.test.attribute.tolist(), strict=True)) == [(1, 0), (0, 1)]
    assert sorted(whole.test.conflicting.tolist()) == [False, False, True, True]
    assert [name for name in names(whole.test) if name in names(splits.test)] == names(splits.test)
    assert names(splits.train) == names(whole.train)
    assert (splits.info.name, whole.info.name) == ("bffhq", "bffhq:test=all")
    assert (splits.info.class_names, splits.info.attribute_names) == (("age 0", "age 1"), ("gender 0", "gender 1"))


def test_bffhq_of_another_size(place):
    make("bffhq", place)
    splits = load("bffhq:size=20")
    assert splits.info.shape == (3, 20, 20) and splits.info.name == "bffhq:size=20"
    assert [label for label, _ in colours(splits.train)] == splits.train.label.tolist()


@pytest.mark.parametrize("name", ["7_0.png", "a_7_0_0.png", "7_0_2.png", "7_2_0.png", "7_0_x.png", "_0_1.png"])
def test_bffhq_with_a_malformed_name_is_refused(place, name):
    make("bffhq", place)
    write(place / "bffhq/0.5pct/align/0" / name, 0, 0, 12)
    message = (
        rf"align/0/{re.escape(name)}: the name must be <id>_<label>_<gender>\.png, the label from 0 to 1 and the "
        "gender from 0 to 1; remove the file, or unpack the archive again, which comes from the Google Drive folder"
    )
    with pytest.raises(UserError, match=message):
        load("bffhq")


def test_bffhq_without_conflicting_test_images(place):
    make("bffhq", place)
    for path in (place / "bffhq/test").glob("*.png"):
        path.rename(path.with_name(f"{path.stem.split('_')[0]}_0_0.png"))
    assert len(load("bffhq:test=all").test) == 4
    with pytest.raises(UserError, match=r"bffhq: no image of .*bffhq/test/\*\.png is conflicting; unpack the archive"):
        load("bffhq")


def test_bffhq_images_of_mixed_sizes_need_a_size(place):
    make("bffhq", place)
    write(place / "bffhq/0.5pct/align/0/5_0_0.png", 0, 0, 14)
    with pytest.raises(UserError, match=r"the images have mixed sizes: .* pass --size 64, or another size"):
        load("bffhq")
    assert load("bffhq:size=12").info.shape == (3, 12, 12)


# --- BAR --------------------------------------------------------------------------------------------------------------


def test_bar_as_its_authors_published_it(place):
    make("bar", place)
    splits = load("bar:size=16")
    assert splits.valid is None
    assert (splits.info.shape, splits.info.n_attributes, splits.info.aligned) == ((3, 16, 16), 0, ())
    assert splits.info.class_names == ("climbing", "diving", "fishing", "pole vaulting", "racing", "throwing")
    for part, size in ((splits.train, 3), (splits.test, 2)):
        assert part.attribute is None
        assert part.label.tolist() == [label for label in range(6) for _ in range(size)]
    assert names(splits.train)[:3] == ["train/climbing_10.jpg", "train/climbing_8.jpg", "train/climbing_9.jpg"]
    assert [number for _, number in colours(splits.train)[:3]] == [2, 0, 1]
    assert load("bar").info.shape == (3, 224, 224)


@pytest.mark.parametrize("name", ["vaulting_3.jpg", "climbing.jpg", "3.jpg"])
def test_bar_with_a_malformed_name_is_refused(place, name):
    make("bar", place)
    write(place / "bar/train" / name, 0, 0)
    message = rf"{name}: the name must be <action>_<number>, the action one of climbing, .*; remove .* alinlab/BAR"
    with pytest.raises(UserError, match=message):
        load("bar")


@pytest.mark.parametrize("percent", ["1pct", "5pct"])
def test_bar_as_bias_ensemble_published_it(place, percent):
    write_bar_ensemble(place / "bar")
    splits = load(f"bar:percent={percent},size=8")
    assert splits.train.label.tolist() == [label for label in range(6) for _ in range(3)] + list(range(6))
    assert splits.train.attribute is not None
    assert splits.train.attribute.tolist() == [label for label in range(6) for _ in range(3)] + [1, 2, 3, 4, 5, 0]
    assert splits.train.conflicting.tolist() == [False] * 18 + [True] * 6
    assert names(splits.train)[18] == f"train/conflict/{percent}/0/{percent}_0_77.jpg"
    for part, told in ((splits.valid, 8), (splits.test, 9)):
        assert part is not None and part.attribute is None and part.info.n_attributes == 0
        assert colours(part) == [(label, told) for label in range(6)]
    assert splits.info.class_names[2] == "action 2" and splits.info.attribute_names[2] == "place 2"


def test_bar_percent_goes_with_one_layout(place):
    write_bar_ensemble(place / "ensemble")
    write_bar(place / "original")
    with pytest.raises(UserError, match=r"ensemble has the layout of BiasEnsemble; say which .* percent=1pct or 5pct"):
        load(f"bar:folder={place}/ensemble")
    with pytest.raises(UserError, match=r"percent=5pct belongs to the layout of BiasEnsemble, but .*original has no"):
        load(f"bar:folder={place}/original,percent=5pct")


def test_bar_of_bias_ensemble_needs_a_label_in_the_name(place):
    write_bar_ensemble(place / "bar")
    write(place / "bar/valid/0/climbing_12.jpg", 0, 0)
    with pytest.raises(UserError, match=r"12\.jpg: the name must .* _<label>_<number>\.jpg, the label from 0 to 5; "):
        load("bar:percent=1pct")


# --- Dogs and Cats ----------------------------------------------------------------------------------------------------


def test_dogs_and_cats(place):
    make("dogs-and-cats", place)
    splits = load("dogs-and-cats:size=16")
    assert splits.info.shape == (3, 16, 16)
    assert splits.train.label.tolist() == [0, 0, 1, 1, 0, 1]
    assert splits.train.conflicting.tolist() == [False] * 4 + [True] * 2
    assert splits.valid is not None and names(splits.valid)[0] == "1pct/valid/jpg_1_1.jpg" and len(splits.valid) == 3
    assert splits.test.conflicting.tolist() == [False, True, False, True]
    with pytest.raises(UserError, match=r"dogs_and_cats/5pct/align/\*/\*\.\*; unpack .* kakaoenterprise/BiasEnsemble"):
        load("dogs-and-cats:percent=5pct")


# --- files that are not as they should be -----------------------------------------------------------------------------


def test_images_that_cannot_be_read_are_refused(place):
    make("bffhq", place)
    broken = sorted((place / "bffhq/0.5pct/align/1").iterdir())
    broken[0].write_bytes(b"text")
    message = rf"align/1/{broken[0].name} cannot be read as an image \(not a JPEG.*\); unpack .*-Disentangled"
    with pytest.raises(UserError, match=message):
        load("bffhq")
    broken[1].write_bytes(broken[1].read_bytes()[:-30])
    with pytest.raises(UserError, match=r"cannot be read as an image \(.*\), nor can 1 more; unpack"):
        load("bffhq")


def test_images_of_another_size_are_refused_where_all_have_one(place):
    make("corrupted-cifar10-png", place)
    path = write(place / "cifar10c/test/3/y_3_3.png", 3, 3, 32, 40)
    with pytest.raises(UserError, match=rf"{path} is 32 x 40 pixels, not 32 x 32; remove the file, or unpack"):
        load("corrupted-cifar10-png:percent=1pct")


# --- counts -----------------------------------------------------------------------------------------------------------


def test_other_counts_than_published_are_warned_about(place, monkeypatch):
    make("bffhq", place)
    right = {"aligned training": 4, "conflicting training": 2, "validation": 3, "conflicting test": 2}
    monkeypatch.setitem(archives.COUNTS, "bffhq/0.5pct", right)
    for silent in ("bffhq", "bffhq:test=all"):
        load(silent)
    monkeypatch.setitem(archives.COUNTS, "bffhq/0.5pct", right | {"aligned training": 19_104, "conflicting test": 500})
    message = (
        r"bffhq: .*/bffhq has 4 aligned training images \(published: 19,104\), 2 conflicting test images "
        r"\(published: 500\); numbers may not compare with those of papers, so check that the archive was unpacked"
    )
    with pytest.warns(UserWarning, match=message) as caught:
        load("bffhq")
    assert len(caught) == 1


def test_the_counts_of_bar_are_by_class(place, monkeypatch):
    make("bar", place)
    right = {f"{name} {part}": n for (part, n), name in product([("training", 3), ("test", 2)], ACTIONS)}
    monkeypatch.setitem(archives.COUNTS, "bar", right)
    load("bar:size=8")  # silent
    monkeypatch.setitem(archives.COUNTS, "bar", right | {"racing test": 132})
    with pytest.warns(UserWarning, match=r"2 racing test images \(published: 132\);"):
        load("bar:size=8")


def test_published_counts_add_up(monkeypatch):
    """55,000, about 45,000 and 19,200 training images; 1,941 and 654 are the totals in the README of alinlab/BAR."""
    monkeypatch.undo()
    sums = {name: sum(n for what, n in found.items() if "test" not in what) for name, found in archives.COUNTS.items()}
    cifar = {"0.5pct": 45_060, "1pct": 44_969, "2pct": 45_032, "5pct": 45_062}
    assert sums == {f"corrupted-cifar10-png/{share}": n for share, n in cifar.items()} | {
        "bffhq/0.5pct": 19_200 + 1_000,
        "bar": 1941,
    }
    assert sum(n for what, n in archives.COUNTS["bar"].items() if what.endswith("test")) == 654


def test_a_folder_that_contradicts_the_names_is_warned_about(place):
    make("bffhq", place)
    write(place / "bffhq/0.5pct/align/0/1_0_1.png", 0, 1, 12)
    write(place / "bffhq/0.5pct/conflict/1/2_1_1.png", 1, 1, 12)
    with pytest.warns(UserWarning, match=r"2 images in align or conflict against the numbers in their names, which"):
        train = load("bffhq").train
    assert train.conflicting.tolist() == [True] + [False] * 4 + [True, False, True]


# --- what is made of them ---------------------------------------------------------------------------------------------


def test_a_network_trained_on_an_archive_predicts_photos_of_any_size(place):
    from longcut.deploy import predict
    from longcut.execute import execute
    from longcut.plans import plan
    from longcut.runs import read

    make("bffhq", place)
    execute(plan("bffhq:size=12", "erm", settings={"epochs": "1", "net": "tiny:width=2"}), place / "run")
    write(place / "photos/new.jpg", 1, 1, 50, 40)
    frame = predict(read(place / "run"), place / "photos")
    assert frame["name"].tolist() == ["new.jpg"] and set(frame["prediction"]) < {"age 0", "age 1"}
    assert len(predict(read(place / "run"), "bffhq:size=12,test=all")) == 4


def test_pixels_are_those_of_the_file(place):
    """Not resized, not recoded: noise comes back bit by bit."""
    make("corrupted-cifar10-png", place)
    stored = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    Image.fromarray(stored).save(place / "cifar10c/test/0/a_0_0.png")
    test = load("corrupted-cifar10-png:percent=1pct").test
    assert names(test)[0] == "test/0/a_0_0.png"
    assert np.array_equal(test.x[0].numpy(), stored.transpose(2, 0, 1))
