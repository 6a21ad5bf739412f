"""CIFAR-10 and its long tail: counts of the profile, parts that do not overlap, images with their labels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from test_corrupted_cifar10 import files, write  # noqa: F401 (a fixture)

from longcut.datasets import cifar10, corrupted_cifar10, load
from longcut.datasets.cifar10 import long_tail
from longcut.datasets.corrupted_cifar10 import read_batches
from longcut.errors import UserError


@pytest.fixture
def made(files, monkeypatch):  # noqa: F811
    """Small batches, 40 training images and 8 test images of each class, as those of the data set."""
    folder, sums = files
    monkeypatch.setenv("LONGCUT_DATA", str(folder.parent))
    monkeypatch.setattr(corrupted_cifar10, "CHECKSUMS", dict(sums))
    return folder


def test_the_profile_of_the_literature():
    """As Cao et al. 2019 make it; the totals are the published ones."""
    assert long_tail(5000, 100, 10) == [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]
    assert sum(long_tail(5000, 100, 10)) == 12_406
    assert sum(long_tail(5000, 50, 10)) == 13_996
    assert sum(long_tail(5000, 10, 10)) == 20_431
    assert sum(long_tail(500, 100, 100)) == 10_847
    assert long_tail(4500, 1, 10) == [4500] * 10
    assert long_tail(7, 7, 2) == [7, 1]
    assert long_tail(3, 1, 1) == [3]
    assert all(long_tail(n, n, 10)[-1] == 1 for n in range(1, 2000)), "not none, in spite of rounding"


def test_each_image_has_its_label_and_is_in_one_part(made):
    images, labels = read_batches(made)
    splits = load("cifar10:imbalance=9,valid=4", seed=3)
    assert splits.valid is not None
    assert splits.train.label.bincount().tolist() == [36, 28, 22, 17, 13, 10, 8, 6, 5, 4]
    assert splits.valid.label.bincount().tolist() == [4] * 10
    assert splits.test.label.bincount().tolist() == [8] * 10
    for part, first in ((splits.train, 0), (splits.valid, 0), (splits.test, 400)):
        number = part.index + first
        assert torch.equal(part.x[part.index], torch.from_numpy(images)[number])
        assert torch.equal(part.label, torch.from_numpy(labels).flatten()[number])
        assert len(number.unique()) == len(number)
    assert not {*splits.train.index.tolist()} & {*splits.valid.index.tolist()}
    assert splits.info.name == "cifar10:imbalance=9.0,valid=4"
    assert splits.info.n_attributes == 0


def test_balanced_by_default_few_on_request_and_no_validation_part_as_published(made):
    assert load("cifar10:valid=4").train.label.bincount().tolist() == [36] * 10
    few = load("cifar10:per_class=3,valid=2")
    assert few.train.label.bincount().tolist() == [3] * 10 and few.valid is not None and len(few.valid) == 20
    whole = load("cifar10:valid=0")
    assert whole.valid is None and torch.equal(whole.train.index, torch.arange(400))
    assert load("cifar10:valid=39").train.label.bincount().tolist() == [1] * 10


def test_the_seed_says_which_images_and_smaller_sets_are_part_of_larger_ones(made):
    def indices(spec: str, seed: int) -> tuple[set[int], list[int]]:
        splits = load(f"cifar10:valid=5,{spec}", seed)
        assert splits.valid is not None
        return {*splits.train.index.tolist()}, splits.valid.index.tolist()

    small, large, tail = (indices(spec, 1) for spec in ("per_class=5", "per_class=20", "per_class=20,imbalance=4"))
    assert small[0] < large[0] and tail[0] < large[0]
    assert small[1] == large[1] == tail[1]
    assert indices("per_class=5", 1) == small
    other = indices("per_class=5", 2)
    assert other[0] != small[0] and other[1] != small[1]


@pytest.mark.parametrize("options", ["per_class=37,valid=4", "valid=40", "per_class=41,valid=0", "valid=100"])
def test_more_images_than_there_are_is_refused(made, options):
    with pytest.raises(UserError, match=r"cifar10: each class has 40 images, so per_class=\d+ and valid=\d+ are too m"):
        load(f"cifar10:{options}")


def test_a_tail_without_images_is_refused(made):
    with pytest.raises(UserError, match="with 5 images of the largest class, imbalance=6 leaves the smallest without"):
        load("cifar10:per_class=5,valid=4,imbalance=6")
    assert load("cifar10:per_class=5,valid=4,imbalance=5").train.label.bincount()[9] == 1


def test_a_hundred_classes(tmp_path, monkeypatch):
    """Two pickles with fine labels, of which the coarse ones are not read."""
    (folder := tmp_path / "cifar-100-python").mkdir()
    draw, sums, made = np.random.default_rng(0), {}, {}
    for name, n in (("train", 500), ("test", 100)):
        pixels, fine = draw.integers(0, 256, (n, 3072), dtype=np.uint8), (np.arange(n) % 100).tolist()
        made[name] = pixels, fine
        sums[name] = write(folder, name, {b"data": pixels, b"fine_labels": fine, b"coarse_labels": [0] * n})
    monkeypatch.setattr(cifar10, "CHECKSUMS", sums)
    monkeypatch.setenv("LONGCUT_DATA", str(tmp_path))
    splits = load("cifar100:valid=1,imbalance=4", seed=1)
    assert splits.valid is not None and splits.info.n_classes == 100
    assert splits.train.label.bincount().tolist() == long_tail(4, 4, 100)
    assert len(splits.valid) == len(splits.test) == 100
    number = splits.train.index
    assert torch.equal(splits.train.label, torch.tensor(made["train"][1])[number])
    assert torch.equal(splits.train.x[number[0]].flatten(), torch.from_numpy(made["train"][0][number[0]]))
    with pytest.raises(UserError, match="cifar100: each class has 5 images, so per_class=0 and valid=5 are too many"):
        load("cifar100:valid=5")
    (folder / "test").write_bytes(b"cut short")
    with pytest.raises(UserError, match=r"test is damaged: its md5 .* unpack it again from .*cifar-100-python"):
        load("cifar100")


@pytest.mark.data
def test_the_real_files(real_data):
    splits = load("cifar10:imbalance=50,valid=0")
    assert len(splits.train) == 13_996 and splits.valid is None and len(splits.test) == 10_000
    assert splits.train.label.bincount().tolist()[::9] == [5000, 100]
    held = load("cifar10")
    assert held.valid is not None and (len(held.train), len(held.valid)) == (45_000, 5_000)
