from __future__ import annotations

import hashlib
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import chi2

from longcut.data import Dataset, Splits
from longcut.datasets import corrupted_cifar10, data_folder, load
from longcut.datasets.corrupted_cifar10 import CHECKSUMS, CLASSES, LISTS, read_batches
from longcut.datasets.corruptions import corrupt
from longcut.errors import UserError

SIZE = 80  # images of a batch


def write(folder: Path, name: str, content: object) -> str:
    """A batch; its checksum."""
    packed = pickle.dumps(content, protocol=3)
    (folder / name).write_bytes(packed)
    return hashlib.md5(packed).hexdigest()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with the batches, 8 images of each class in each, and their checksums."""
    folder = tmp_path_factory.mktemp("cifar") / "cifar-10-batches-py"
    folder.mkdir()
    draw = np.random.default_rng(0)
    sums = {}
    for name in CHECKSUMS:
        label = draw.permutation(np.arange(SIZE) % 10).tolist()
        pixels = draw.integers(0, 256, (SIZE, 3072), dtype=np.uint8)
        sums[name] = write(folder, name, {b"data": pixels, b"labels": label, b"batch_label": b"some"})
    return folder, sums


@pytest.fixture
def made(files, monkeypatch):
    """The folder, as that of the data set, with a cache beside it that the tests of this file share."""
    folder, sums = files
    monkeypatch.setenv("LONGCUT_DATA", str(folder.parent))
    monkeypatch.setenv("LONGCUT_CACHE", str(folder.parent / "cache"))
    monkeypatch.setattr(corrupted_cifar10, "PUBLISHED_COUNTS", {0.005: (350, 6)})
    monkeypatch.setattr(corrupted_cifar10, "CHECKSUMS", dict(sums))
    return folder


@pytest.fixture
def elsewhere(made, tmp_path, monkeypatch):
    """An empty cache."""
    monkeypatch.setenv("LONGCUT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def same(a: Splits, b: Splits) -> bool:
    return all(
        torch.equal(getattr(p, name), getattr(q, name))
        for p, q in ((a.train, b.train), (a.valid, b.valid), (a.test, b.test))
        for name in ("x", "label", "attribute", "index")
    )


def attribute(data: Dataset | None) -> torch.Tensor:
    assert data is not None and data.attribute is not None
    return data.attribute


# --- what is made -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "severity", "seed"),
    [("type0", 5, 0), ("type0", 5, 1), ("type0", 2, 0), ("text", 5, 0), ("type1", 3, 0)],  # one cache for all
)
def test_pixels_by_the_rule(made, kind, severity, seed):
    splits = load(f"corrupted-cifar10:ratio=0.3,corruptions={kind},severity={severity}", seed)
    assert splits.valid is not None
    images, labels = read_batches(data_folder("cifar-10-batches-py"))
    for data, first in ((splits.train, 0), (splits.valid, 0), (splits.test, 400)):
        number = data.index.numpy() + first
        words = [LISTS[kind][value] for value in attribute(data)]
        assert np.array_equal(data.x[data.index].numpy(), corrupt(images[number], words, severity, number))
        assert np.array_equal(data.label.numpy(), labels.ravel()[number])
    assert splits.info.attribute_names == LISTS[kind]
    assert splits.info.class_names == CLASSES
    assert splits.info.aligned == tuple(range(10))
    assert splits.info.shape == (3, 32, 32) and splits.train.x.dtype == torch.uint8


def test_parts_and_their_conflicting_images(made):
    splits = load("corrupted-cifar10:ratio=0.1")
    assert splits.valid is not None
    assert [len(part) for part in (splits.train, splits.valid, splits.test)] == [360, 40, 80]
    assert [int(part.conflicting.sum()) for part in (splits.train, splits.valid)] == [36, 4]
    assert sorted(splits.train.index.tolist() + splits.valid.index.tolist()) == list(range(400))
    assert splits.info.name == "corrupted-cifar10:ratio=0.1"
    assert load("corrupted-cifar10:ratio=0").train.conflicting.sum() == 0


def test_published_counts_are_taken_where_there_are_some(made):
    splits = load("corrupted-cifar10", seed=3)
    assert splits.valid is not None
    assert [int(part.conflicting.sum()) for part in (splits.train, splits.valid)] == [6, 1]  # 6 of 356 is 0.7 of 44
    assert [len(splits.train), len(splits.valid)] == [356, 44]


def test_each_class_of_the_test_set_has_the_corruptions_in_turn(made):
    test = load("corrupted-cifar10:ratio=0.1").test
    for label in range(10):
        assert attribute(test)[test.label == label].tolist() == list(range(8))


def test_seeds_and_ratios_agree_on_the_pixels_and_the_test_set(made):
    one, other = load("corrupted-cifar10:ratio=0.1", 1), load("corrupted-cifar10:ratio=0.4", 2)
    assert torch.equal(one.test.x, other.test.x)
    assert torch.equal(attribute(one.test), attribute(other.test))
    assert not torch.equal(one.train.index, other.train.index[: len(one.train)])
    agree = 0
    for data in (one.train, one.valid):
        for twin in (other.train, other.valid):
            assert data is not None and twin is not None
            for row, index in enumerate(data.index):
                there = (twin.index == index).nonzero().flatten()
                if len(there) and attribute(twin)[there[0]] == attribute(data)[row]:
                    assert torch.equal(data.x[index], twin.x[index])
                    agree += 1
    assert agree > 200
    assert same(one, load("corrupted-cifar10:ratio=0.1", 1))


def test_noise_replaces_training_labels_and_nothing_else(made):
    clean, noisy = load("corrupted-cifar10:ratio=0.1", 4), load("corrupted-cifar10:ratio=0.1,noise=0.4", 4)
    assert noisy.info.name == "corrupted-cifar10:ratio=0.1,noise=0.4"
    assert clean.valid is not None and noisy.valid is not None
    for a, b in ((clean.train, noisy.train), (clean.valid, noisy.valid), (clean.test, noisy.test)):
        assert torch.equal(a.x, b.x) and torch.equal(a.index, b.index) and torch.equal(attribute(a), attribute(b))
    assert torch.equal(clean.valid.label, noisy.valid.label) and torch.equal(clean.test.label, noisy.test.label)
    changed = int((clean.train.label != noisy.train.label).sum())
    assert abs(changed - 0.4 * 360) < 5 * (360 * 0.4 * 0.6) ** 0.5
    assert same(noisy, load("corrupted-cifar10:ratio=0.1,noise=0.4", 4))
    other, other_clean = load("corrupted-cifar10:ratio=0.1,noise=0.4", 5), load("corrupted-cifar10:ratio=0.1", 5)
    assert not torch.equal(noisy.train.label != clean.train.label, other.train.label != other_clean.train.label)
    assert same(clean, load("corrupted-cifar10:ratio=0.1,noise=0", 4))


# --- the cache --------------------------------------------------------------------------------------------------------


def test_images_are_made_once(elsewhere, monkeypatch):
    told: list[tuple[int, int]] = []
    first = load("corrupted-cifar10:ratio=0.1", progress=lambda *step: told.append(step))
    assert told == [(480, 480), (40, 40)]  # all of them, and then the conflicting ones
    monkeypatch.setattr(corrupted_cifar10, "read_batches", None)
    assert same(first, load("corrupted-cifar10:ratio=0.1", progress=lambda *step: told.append(step)))
    assert len(told) == 2


def test_several_processes_make_the_same_images(elsewhere, monkeypatch, tmp_path):
    alone = load("corrupted-cifar10:ratio=0")
    monkeypatch.setenv("LONGCUT_CACHE", str(tmp_path / "other"))
    monkeypatch.setattr(corrupted_cifar10, "CHUNK", 200)
    told: list[tuple[int, int]] = []
    assert same(alone, load("corrupted-cifar10:ratio=0", progress=lambda *step: told.append(step)))
    assert told == [(200, 480), (400, 480), (480, 480)]


def test_an_interrupted_start_leaves_nothing_half_made(elsewhere, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(corrupted_cifar10, "corrupt", interrupt)
        with pytest.raises(KeyboardInterrupt):
            load("corrupted-cifar10:ratio=0.1")
    left = [path for path in (elsewhere / "images").iterdir() if path.is_dir()]
    assert [sorted(file.name for file in path.iterdir()) for path in left] == [["label.npy", "whole.json"]]


def test_what_a_killed_process_left_is_thrown_away(elsewhere):
    expected = load("corrupted-cifar10:ratio=0.1")
    for path in [path for path in (elsewhere / "images").iterdir() if path.is_dir()]:
        path.rename(elsewhere / path.name)  # still open: the images are mapped
        path.with_suffix(".unfinished").mkdir()
        (path.with_suffix(".unfinished") / "x.npy").write_bytes(b"half")
    assert same(expected, load("corrupted-cifar10:ratio=0.1"))
    assert not list((elsewhere / "images").glob("*.unfinished"))


def test_writing_to_a_data_set_does_not_change_the_cache(elsewhere):
    data = load("corrupted-cifar10:ratio=0.1")
    before = data.train.x[:2].clone()
    data.train.x[:2] = 0
    assert torch.equal(load("corrupted-cifar10:ratio=0.1").train.x[:2], before)


def test_a_cache_that_cannot_be_written_is_named(made, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LONGCUT_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match=r"file/images: cannot store images here \(.+\); set LONGCUT_CACHE"):
        load("corrupted-cifar10:ratio=0.1")


# --- the files --------------------------------------------------------------------------------------------------------


def test_batches(made):
    images, labels = read_batches(made)
    assert images.shape == (480, 3, 32, 32) and images.dtype == np.uint8
    assert labels.shape == (6, SIZE)
    with (made / "test_batch").open("rb") as file:
        test = pickle.load(file)
    assert labels[5].tolist() == test[b"labels"]
    assert images[400, 2, 1, 0] == test[b"data"][0, 2 * 1024 + 32]  # red rows, then green, then blue


def test_a_missing_file_is_named_and_where_it_comes_from(elsewhere, tmp_path):
    with pytest.raises(
        UserError, match=r"nowhere/data_batch_1 cannot be read \(No such .*cifar-10-python\.tar\.gz \(www"
    ):
        load(f"corrupted-cifar10:folder={tmp_path / 'nowhere'}")


def test_a_damaged_file_is_refused(made, tmp_path):
    for path in made.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes()[: -1 if path.name == "data_batch_3" else None])
    found = hashlib.md5((tmp_path / "data_batch_3").read_bytes()).hexdigest()
    expected = corrupted_cifar10.CHECKSUMS["data_batch_3"]
    with pytest.raises(UserError, match=f"_3 is damaged: its md5 checksum is {found}, expected {expected}; unpack it"):
        read_batches(tmp_path)


class Shell:
    """Runs a command when it is unpickled."""

    def __init__(self, command: str):
        self.command = command

    def __reduce__(self):
        import os

        return os.system, (self.command,)


class Lookup:
    """Asks for a function of numpy that the arrays themselves do not need."""

    def __reduce__(self):
        return np.load, ("some.npy",)


@pytest.mark.parametrize("content", ["shell", "numpy", "empty"])
def test_what_is_no_batch_is_refused_and_not_run(made, tmp_path, monkeypatch, content):
    mark = tmp_path / "mark"
    harmful = {"shell": Shell(f"touch {mark}"), "numpy": Lookup(), "empty": {b"data": np.zeros((2, 3072), np.uint8)}}
    asked = {"shell": r"it asks for (posix|nt)\.system", "numpy": r"it asks for numpy\S*\.load", "empty": "b'labels'"}
    found = write(tmp_path, "data_batch_1", harmful[content])
    monkeypatch.setitem(corrupted_cifar10.CHECKSUMS, "data_batch_1", found)
    with pytest.raises(UserError, match=rf"data_batch_1 is no batch of CIFAR \({asked[content]}\); unpack it again"):
        read_batches(tmp_path)
    assert not mark.exists()


def test_arrays_are_read_wherever_numpy_kept_what_makes_them(made, tmp_path, monkeypatch):
    """``_reconstruct`` was in ``numpy.core.multiarray`` when the official files were written, and may move again."""
    expected = read_batches(made)[0]
    for path in made.iterdir():
        new = path.read_bytes()
        old = new.replace(b"cnumpy._core.multiarray\n", b"cnumpy.older.multiarray\n")
        assert old != new
        (tmp_path / path.name).write_bytes(old)
        monkeypatch.setitem(corrupted_cifar10.CHECKSUMS, path.name, hashlib.md5(old).hexdigest())
    assert np.array_equal(read_batches(tmp_path)[0], expected)


# --- the real files ---------------------------------------------------------------------------------------------------


@pytest.fixture
def unspoilt(real_data, tmp_path, monkeypatch):
    """The real files, without the minutes of corrupting them: the images stay as they are."""
    monkeypatch.setenv("LONGCUT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(corrupted_cifar10, "CHUNK", 100_000)
    monkeypatch.setattr(corrupted_cifar10, "corrupt", lambda images, *_: images)


@pytest.mark.data
def test_published_counts(unspoilt):
    """Of Lee et al. 2021: aligned and conflicting training images. At 3 % there are none published."""
    published = {
        0.005: (44_832, 228),
        0.01: (44_527, 442),
        0.02: (44_145, 887),
        0.05: (42_820, 2_242),
        0.03: (43_650, 1_350),
    }
    for ratio, (aligned, conflicting) in published.items():
        splits = load(f"corrupted-cifar10:ratio={ratio}", seed=7)
        assert splits.valid is not None
        against = splits.train.conflicting
        assert (int((~against).sum()), int(against.sum())) == (aligned, conflicting)
        assert len(splits.train) + len(splits.valid) == 50_000 and len(splits.test) == 10_000
        share = conflicting / (aligned + conflicting)
        assert int(splits.valid.conflicting.sum()) == round(share * len(splits.valid))
        assert splits.test.group.bincount(minlength=100).tolist() == [100] * 100
        steps = ((attribute(splits.train) - splits.train.label) % 10).bincount(minlength=10)[1:].double()
        expected = conflicting / 9  # the other nine corruptions are equally likely
        assert float(((steps - expected) ** 2 / expected).sum()) < chi2.isf(1e-6, 8)


@pytest.mark.data
def test_no_shortcut_at_nine_tenths(unspoilt):
    splits = load("corrupted-cifar10:ratio=0.9")
    cells = splits.train.group.bincount(minlength=100).double().view(10, 10)
    expected = cells.sum(1, keepdim=True) / 10
    assert float(((cells - expected) ** 2 / expected).sum()) < chi2.isf(1e-6, 90)


@pytest.mark.data
def test_real_labels_go_with_their_images(unspoilt):
    """What the first images of the training and of the test files show is well known."""
    splits = load("corrupted-cifar10:ratio=0")
    assert splits.valid is not None
    label = torch.empty(50_000, dtype=torch.long)
    for data in (splits.train, splits.valid):
        label[data.index] = data.label
    assert [CLASSES[value] for value in label[:4]] == ["frog", "truck", "truck", "deer"]
    assert [CLASSES[value] for value in splits.test.label[:4]] == ["cat", "ship", "ship", "airplane"]
