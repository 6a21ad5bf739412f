"""Random changes of images: every outcome is listed by hand."""

from __future__ import annotations

import math
import random
import re
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from longcut import augment
from longcut.cli.settings import settings_of
from longcut.data import Dataset, Splits, generator
from longcut.errors import UserError
from longcut.fit import fit
from longcut.methods import build
from longcut.methods.base import Method
from longcut.plans import plan
from longcut.registry import load_file
from longcut.spec import options_of
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


# --- every row of the table -------------------------------------------------------------------------------------------

IMAGES = [name for name, rule in augment.AUGMENTS.items() if "image" in augment.kinds_of(rule)]
# what leaves images as they are, and what changes images of any size
OFF = {
    "none": "none",
    "crop": "crop:pad=0",
    "affine": "affine:rotate=0,shift=0,zoom=0,shear=0",
    "elastic": "elastic:strength=0",
    "lens": "lens:strength=0",
    "blur": "blur:sigma=0",
    "motion-blur": "motion-blur:length=0",
    "noise": "noise:strength=0",
    "salt-pepper": "salt-pepper:share=0",
    "pca-color": "pca-color:strength=0",
    "color-cast": "color-cast:strength=0",
    "vignette": "vignette:strength=0",
    "cutout": "cutout:side=1",
    "occlusion": "occlusion:share=0",
    "jitter": "jitter:brightness=0,contrast=0,saturation=0,hue=0",
    "grayscale": "grayscale:chance=0",
}
SMALL = {"cutout": "cutout:side=4", "salt-pepper": "salt-pepper:share=1", "grayscale": "grayscale:chance=0.5"}


@pytest.mark.parametrize("name", IMAGES)
def test_the_generator_decides_and_the_input_stays(name: str):
    x = images(8)
    before = x.clone()
    rule = augment.build(SMALL.get(name, name))
    assert torch.equal(rule(x, generator(3)), rule(x, generator(3)))
    assert torch.equal(x, before)
    assert torch.equal(rule(x, generator(3)), rule(x, generator(4))) == (name == "none")
    assert rule(x, generator(3)).is_contiguous()


@pytest.mark.parametrize("name", IMAGES)
def test_each_image_is_changed_in_its_own_way(name: str):
    changed = augment.build(SMALL.get(name, name))(images(1).expand(16, -1, -1, -1), generator(3))
    alike = (changed == changed[:1]).flatten(1).all(1)
    assert alike.all() if name == "none" else not alike.all()


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (1, 3, 1, 7), (3, 1, 9, 1), (2, 4, 5, 8)], ids=str)
@pytest.mark.parametrize("name", IMAGES)
def test_any_size_is_changed_and_what_is_an_image_stays_one(name, shape):
    for x in (torch.rand(shape, generator=generator(1)), torch.zeros(shape), torch.ones(shape)):
        for dtype in (torch.float32, torch.float64):
            changed = augment.AUGMENTS[name](x.to(dtype), generator(2))
            assert changed.shape == shape and changed.dtype == dtype
            assert (changed >= 0).all() and (changed <= 1).all()
    standardised = augment.AUGMENTS[name](3 * torch.randn(shape, generator=generator(1)), generator(2))
    assert standardised.isfinite().all()


@pytest.mark.parametrize("name", sorted(OFF))
def test_without_strength_nothing_changes(name):
    assert augment.names(OFF[name]) == [name]
    x = torch.rand(4, 3, 32, 20, generator=generator(1))
    torch.testing.assert_close(augment.build(OFF[name])(x, generator(2)), x, rtol=0, atol=1e-5)


def test_what_has_a_strength_is_tried_without():
    strong = {name for name in IMAGES if options_of(augment.AUGMENTS[name])}
    assert strong - {"resized-crop-flip"} == {*OFF} - {"none"}  # which mirrors in any case


@pytest.mark.gpu
@pytest.mark.parametrize("name", IMAGES)
def test_on_a_device_images_stay_there_and_the_generator_decides(name: str):
    x, rule = images(8).cuda(), augment.build(SMALL.get(name, name))
    first, second = (rule(x, generator(3, device="cuda")) for _ in range(2))
    assert first.device == x.device and torch.equal(first, second)


def test_images_that_are_standardised_are_not_cut_to_0_and_1():
    x = torch.tensor([-1.0, 0.5]).view(2, 1, 1, 1).expand(2, 1, 40, 40)
    changed = augment.noise(x, generator(0), strength=1.0)
    assert changed[0].min() < -1 and changed[1].min() == 0


# --- by name ----------------------------------------------------------------------------------------------------------


def test_names_joined_by_plus_follow_each_other():
    x, draws = images(8), generator(5)
    expected = augment.crop(augment.noise(augment.flip(x, draws), draws, strength=0.5), draws, pad=2)
    assert torch.equal(augment.build("flip+noise:strength=0.5+crop:pad=2")(x, generator(5)), expected)
    assert torch.equal(augment.build("flip+crop")(x, generator(5)), augment.crop_flip(x, generator(5)))


def test_there_is_one_way_to_write_it():
    spec = " crop-flip + cutout:fill=mean, side=8+blur:sigma=1e+0"
    assert augment.written(spec) == "crop-flip+cutout:side=8+blur:sigma=1.0"
    assert [augment.written(name) for name in augment.AUGMENTS] == list(augment.AUGMENTS)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("crop-flop", "unknown augmentation 'crop-flop': did you mean 'crop-flip'"),
        ("crop-flip+", "unknown augmentation ''"),
        ("cutout:size=3", "unknown option of augmentation 'cutout' 'size': did you mean 'side'"),
        ("flip:side=3", "unknown option of augmentation 'flip' 'side': Known: none"),
        ("cutout:side=-1", "augmentation 'cutout': side=-1 is not allowed; give a whole number at least 0"),
        ("flip+lens:strength=0.5", "augmentation 'lens': strength=0.5 is not allowed; give a number from 0 to 0.3"),
        ("cutout:16", "'16' in augmentation 'cutout:16' is not key=value; write cutout:key=value,key=value"),
        ("cutout:fill=red", "augmentation 'cutout': fill=red is not allowed; give mean or zero"),
    ],
)
def test_what_is_not_there_is_said_before_training(spec, said):
    with pytest.raises(UserError, match=re.escape(said)):
        plan("colored-digits", settings={"augment": spec})
    data = Dataset.of(images(8), torch.arange(8) % 2)
    with pytest.raises(UserError, match=re.escape(said)):
        fit(build("erm", data.info), Splits(data, None, data), Training(epochs=1, augment=spec))


def test_a_plan_takes_it_from_set_and_from_within_a_method():
    wanted = "crop-flip+cutout:side=8,fill=zero"
    assert settings_of([f"augment={wanted}"], None, None) == {"augment": wanted}
    assert plan("colored-digits", settings={"augment": wanted}).training.augment == wanted
    assert plan("colored-digits", "erm:augment=crop-flip+cutout:side=8%2Cfill=zero").training.augment == wanted
    assert plan("colored-digits", "erm:augment=crop-flip").training.augment == "crop-flip"


def test_a_file_adds_to_the_table_and_the_plan_remembers_it(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("def dark(x, generator):\n    return x / 2\n\n\nAUGMENTS = {'dark': dark}\n")
    load_file(file)
    assert torch.equal(augment.build("dark+dark")(torch.ones(1, 1, 2, 2), None), torch.full((1, 1, 2, 2), 0.25))
    assert set(plan("colored-digits", settings={"augment": "flip+dark"}).files) == {"mine.py"}
    file.write_text("AUGMENTS = {'darker': 2}\n")
    with pytest.raises(UserError, match=r"'darker' is a int, but a row is a function \(x, generator"):
        load_file(file)


# --- in training ------------------------------------------------------------------------------------------------------


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
    for name, alike in (("none", True), ("crop-flip", False), ("flip+noise", False)):
        method: Any = build(Watcher, splits.info, net="mlp:hidden=4")
        fit(method, splits, Training(epochs=1, batch=16, augment=name))
        shown = {tuple(image.flatten().tolist()) for image in method.shown}
        stored = {tuple(image.flatten().tolist()) for image in data.gather(torch.arange(16))}
        assert (shown == stored) == alike


def test_tables_and_token_ids_are_changed_in_their_own_ways():
    data = Dataset.of(torch.rand(8, 3), torch.arange(8) % 2)
    texts = Dataset.of(torch.randint(1, 9, (8, 3)), torch.arange(8) % 2, kind="tokens", vocabulary=9)
    fit(build("erm", data.info), Splits(data, None, data), Training(epochs=1, augment="feature-noise+feature-swap"))
    augment.require_kind("token-dropout", texts.info)
    for spec, info, said in (
        ("feature-noise", texts.info, "changes tables, but data is of kind 'tokens'"),
        ("token-dropout+feature-swap", data.info, "changes token ids, but data is of kind 'table'"),
    ):
        with pytest.raises(UserError, match=rf"views={re.escape(spec)} {said}; use views=none"):
            augment.require_kind(spec, info, "views")


def test_tables_cannot_be_mirrored():
    data = Dataset.of(torch.rand(8, 3), torch.arange(8) % 2)
    with pytest.raises(
        UserError, match=r"augment=crop-flip changes images, but data is of kind 'table'; use augment=none"
    ):
        fit(build("erm", data.info), Splits(data, None, data), Training(epochs=1, augment="crop-flip"))
