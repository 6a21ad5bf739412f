"""Random changes of images: every outcome is listed by hand."""

from __future__ import annotations

from typing import Any, cast

import pytest
import torch
from torch.nn import functional as F

from longcut import augment
from longcut.data import Dataset, Splits, generator
from longcut.errors import UserError
from longcut.fit import fit
from longcut.methods import build
from longcut.methods.base import Method
from longcut.training import Training


def images(n: int) -> torch.Tensor:
    return torch.rand(n, 3, 6, 5, generator=generator(n))


def windows(image: torch.Tensor) -> list[torch.Tensor]:
    """All 9 x 9 x 2 outcomes for one image, by slicing."""
    found = []
    for mirrored in (image, image.flip(2)):
        padded = F.pad(mirrored, (4, 4, 4, 4))
        found += [padded[:, top : top + 6, left : left + 5] for top in range(9) for left in range(9)]
    return found


def test_a_crop_is_one_of_the_162_windows_and_all_are_equally_likely():
    image = images(1)[0]
    counts = torch.zeros(162)
    changed = augment.crop_flip(image.expand(8100, -1, -1, -1), generator(1))
    candidates = torch.stack(windows(image))
    for one in changed:
        counts[(candidates == one).flatten(1).all(1).nonzero().flatten()] += 1
    assert counts.sum() == 8100
    chi2 = float(((counts - 50).square() / 50).sum())  # 161 degrees of freedom: mean 161, deviation 18
    assert 107 < chi2 < 215


def test_a_flip_mirrors_half_of_the_images_and_leaves_the_rest():
    x = images(400)
    changed = augment.flip(x, generator(2))
    mirrored = (changed == x.flip(3)).flatten(1).all(1)
    assert torch.equal(changed[~mirrored], x[~mirrored])
    assert 160 < int(mirrored.sum()) < 240


@pytest.mark.parametrize("name", augment.AUGMENTS)
def test_the_generator_decides_and_the_input_stays(name):
    x = images(8)
    before = x.clone()
    rule = augment.AUGMENTS[name]
    assert torch.equal(rule(x, generator(3)), rule(x, generator(3)))
    assert torch.equal(x, before)
    assert torch.equal(rule(x, generator(3)), rule(x, generator(4))) == (name == "none")
    assert rule(x, generator(3)).is_contiguous()


class Watcher(Method):
    """Keeps what it was shown."""

    name = "watcher"
    paper = "none"

    def on_pool(self, pool):
        self.shown = pool.x
        return pool

    def loss(self, batch):
        return self(batch.x).square().mean(), {}


def test_fit_changes_the_pools_of_training_and_nothing_that_is_judged():
    x = (255 * images(16)).byte()
    data = Dataset.of(x, torch.arange(16) % 2)
    splits = Splits(data, None, data)
    for name, alike in (("none", True), ("crop-flip", False)):
        method: Any = build(Watcher, splits.info, net="mlp:hidden=4")
        fit(method, splits, Training(epochs=1, batch=16, augment=cast(Any, name)))
        shown = {tuple(image.flatten().tolist()) for image in method.shown}
        stored = {tuple(image.flatten().tolist()) for image in data.gather(torch.arange(16))}
        assert (shown == stored) == alike


def test_tables_cannot_be_mirrored():
    data = Dataset.of(torch.rand(8, 3), torch.arange(8) % 2)
    with pytest.raises(
        UserError, match=r"augment=crop-flip changes images, but data is of kind 'table'; use augment=none"
    ):
        fit(build("erm", data.info), Splits(data, None, data), Training(epochs=1, augment="crop-flip"))
