"""Random changes of images: every outcome is listed by hand."""

from __future__ import annotations

import math
import random
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


def stretched(image: torch.Tensor) -> list[torch.Tensor]:
    """Every box of an image, stretched to the whole by torch's own interpolation, mirrored or not."""
    _, height, width = image.shape
    found = []
    for tall in range(1, height + 1):
        for wide in range(1, width + 1):
            for top in range(height - tall + 1):
                for left in range(width - wide + 1):
                    box = image[None, :, top : top + tall, left : left + wide]
                    whole = F.interpolate(box, (height, width), mode="bilinear", align_corners=False)[0]
                    found += [whole, whole.flip(2)]
    return found


def test_a_resized_crop_is_a_box_stretched_to_the_whole():
    image = images(1)[0]
    changed = augment.resized_crop_flip(image.expand(500, -1, -1, -1), generator(1))
    candidates = torch.stack(stretched(image)).flatten(1)
    distance = torch.cdist(changed.flatten(1), candidates, p=float("inf"))
    assert distance.amin(1).max() < 1e-5
    seen = distance.argmin(1).unique()
    assert len(seen) > 20
    assert (seen % 2 == 0).any() and (seen % 2 == 1).any()  # mirrored or not


def drawn_boxes(n: int, height: int, width: int) -> torch.Tensor:
    """``tall, wide, top, left, mirrored`` of n boxes, read off an image whose pixels hold their own place."""
    rows, columns = torch.meshgrid(torch.arange(float(height)), torch.arange(float(width)), indexing="ij")
    seen = augment.resized_crop_flip(torch.stack([rows, columns]).expand(n, -1, -1, -1), generator(6))
    boxes = []
    for ramp, size in ((seen[:, 0, :, 0], height), (seen[:, 1, 0, :], width)):
        slope = (ramp[:, -4] - ramp[:, 3]) / (size - 7)  # the pixels at the border repeat its edge
        middle = (ramp[:, -4] + ramp[:, 3]) / 2
        length = (slope.abs() * size).round()
        boxes += [length, middle - (length - 1) / 2, slope < 0]
    tall, top, _, wide, left, mirrored = boxes
    return torch.stack([tall, wide, top, left, mirrored.float()])


def naive_boxes(n: int, height: int, width: int) -> torch.Tensor:
    """The rule of torchvision's ``RandomResizedCrop``, one image at a time."""
    draw = random.Random(0)
    boxes = []
    for _ in range(n):
        box = (height, width)
        for _ in range(10):
            area, aspect = draw.uniform(0.7, 1), math.exp(draw.uniform(math.log(3 / 4), math.log(4 / 3)))
            tall, wide = round(height * math.sqrt(area / aspect)), round(width * math.sqrt(area * aspect))
            if tall <= height and wide <= width:
                box = (tall, wide)
                break
        top, left = draw.randint(0, height - box[0]), draw.randint(0, width - box[1])
        boxes.append([*box, top, left, draw.random() < 0.5])
    return torch.tensor(boxes, dtype=torch.float32).T


@pytest.mark.parametrize("size", [(64, 64), (32, 96)])
def test_the_boxes_are_drawn_as_torchvision_draws_them(size):
    n = 4000
    drawn, naive = drawn_boxes(n, *size), naive_boxes(n, *size)
    assert (drawn[:2] >= 1).all() and (drawn[2:4] > -0.01).all()
    assert (drawn[0] + drawn[2] < size[0] + 0.01).all() and (drawn[1] + drawn[3] < size[1] + 0.01).all()
    area = drawn[0] * drawn[1] / math.prod(size)
    assert 0.67 < area.min() < 0.72 and area.max() > 0.98
    numbers = [torch.cat([boxes, boxes[:1] * boxes[1:2], boxes[:1] / boxes[1:2]]) for boxes in (drawn, naive)]
    for ours, theirs in zip(*numbers, strict=True):
        assert abs(ours.mean() - theirs.mean()) < 4 * theirs.std() * (2 / n) ** 0.5
        assert abs(ours.std() / theirs.std() - 1) < 0.06


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
    for name, alike in (("none", True), ("crop-flip", False), ("resized-crop-flip", False)):
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
