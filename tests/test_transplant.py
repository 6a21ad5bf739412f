"""Background transplants: where boxes go by a naive search, what the guard refuses, what the share counts."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from longcut.data import generator
from longcut.errors import UserError
from longcut.mixing import background_around, background_box, background_moved, transplant
from longcut.mixing.transplant import box_sums

ALL = {
    "background-box": background_box,
    "background-moved": background_moved,
    "background-around": background_around,
}


@pytest.fixture
def seen(monkeypatch):
    """The first channel is what is salient, in steps of 1/255."""
    monkeypatch.setattr(transplant, "spectral_residual", lambda x: x[:, 0])


def images(n: int, height: int = 7, width: int = 5, seed: int = 0, levels: int = 256) -> Tensor:
    return torch.randint(levels, (n, 3, height, width), generator=generator(seed)).float() / 255


def boxes(height: int, width: int, tall: int, wide: int) -> list[tuple[slice, slice]]:
    """All boxes of a size, as rows and columns."""
    places = itertools.product(range(height - tall + 1), range(width - wide + 1))
    return [(slice(y, y + tall), slice(x, x + wide)) for y, x in places]


def sizes(share: float, height: int, width: int) -> tuple[int, int]:
    return round(height * (1 - share) ** 0.5), round(width * (1 - share) ** 0.5)


# --- sums over boxes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("height", "width"), [(7, 5), (1, 4), (1, 1)])
def test_sums_over_all_boxes_of_each_samples_own_size(height, width):
    weight = torch.randint(256, (9, height, width), generator=generator(1)).double()
    tall = torch.randint(height + 1, (9,), generator=generator(2))
    wide = torch.randint(width + 1, (9,), generator=generator(3))
    sums, whole = box_sums(weight, tall, wide)
    for i, y, x in itertools.product(range(9), range(height), range(width)):
        h, w = int(tall[i]), int(wide[i])
        assert whole[i, y, x] == (y + h <= height and x + w <= width)
        if whole[i, y, x]:
            assert sums[i, y, x] == weight[i, y : y + h, x : x + w].sum()


# --- a box at the same place ------------------------------------------------------------------------------------------


def test_the_partners_least_salient_box_that_spares_the_anchor(seen):
    own, partner = images(40), images(40, seed=1)
    share = torch.rand(40, generator=generator(2)) * 0.8 + 0.1
    mixed, realised = background_box(own, partner, share, generator(3), guard=0.2)
    pasted = 0
    for i in range(40):
        ours, theirs = own[i, 0].double(), partner[i, 0].double()
        tall, wide = sizes(float(share[i]), 7, 5)
        spared = [box for box in boxes(7, 5, tall, wide) if ours[box].sum() <= 0.2 * ours.sum() + 1e-9]
        expected = own[i].clone()
        if spared and tall * wide:
            best = min(spared, key=lambda box: float(theirs[box].sum()))
            expected[:, best[0], best[1]] = partner[i][:, best[0], best[1]]
            assert realised[i] == pytest.approx(1 - tall * wide / 35)
            pasted += 1
        else:
            assert realised[i] == 1
        assert torch.equal(mixed[i], expected)
    assert 5 < pasted < 35, "some are made and some refused"


def test_the_guard_moves_a_box_or_refuses_it(seen):
    """The partner is least salient at the left, where all that the anchor shows is, and then in the middle."""
    own, partner = torch.zeros(2, 1, 1, 6), torch.tensor([0, 0, 0.2, 0.2, 1, 1]).expand(2, 1, 1, 6)
    own[:, 0, 0, :2] = 1
    own[1, 0, 0] = 1  # and here everywhere
    share = torch.full((2,), 1 - 1 / 9)  # a third of either side, but one row has no third

    def where(guard: float) -> list[list[float]]:
        mixed, _ = background_box(own[..., :], partner, share, generator(0), guard=guard)
        return mixed[:, 0, 0].tolist()

    assert where(1.0) == own[:, 0, 0].tolist(), "a box of no rows is empty"
    tall, rival = own.expand(2, 1, 3, 6), partner.expand(2, 1, 3, 6)
    free, _ = background_box(tall, rival, share, generator(0), guard=1.0)
    assert (free[:, 0, :, :2] == 0).any(1).all(), "without a guard it is the partner's least salient box"
    guarded, kept = background_box(tall, rival, share, generator(0), guard=0.05)
    assert (guarded[0, 0] == torch.tensor(0.2)).sum() == 2 and torch.equal(guarded[0, 0, :, :2], tall[0, 0, :, :2])
    assert torch.equal(guarded[1], tall[1]) and kept[1] == 1, "nowhere is spared"
    assert kept[0] == pytest.approx(1 - 2 / 18)


# --- a box that moves -------------------------------------------------------------------------------------------------


def test_the_least_salient_box_of_one_goes_onto_that_of_the_other(seen):
    own, partner = images(40), images(40, seed=1)
    share = torch.rand(40, generator=generator(2)) * 0.8 + 0.1
    mixed, realised = background_moved(own, partner, share, generator(3), guard=0.3)
    pasted = 0
    for i in range(40):
        ours, theirs = own[i, 0].double(), partner[i, 0].double()
        tall, wide = sizes(float(share[i]), 7, 5)
        every = boxes(7, 5, tall, wide)
        to = min(every, key=lambda box: float(ours[box].sum()))
        start = min(every, key=lambda box: float(theirs[box].sum()))
        expected = own[i].clone()
        if tall * wide and ours[to].sum() <= 0.3 * ours.sum():
            expected[:, to[0], to[1]] = partner[i][:, start[0], start[1]]
            pasted += to != start
        assert torch.equal(mixed[i], expected)
        assert realised[i] == pytest.approx(1 - float((mixed[i] != own[i]).any(0).float().mean()))
    assert pasted > 5


# --- all around -------------------------------------------------------------------------------------------------------


def test_what_is_salient_stays_and_all_around_is_the_partners(seen):
    """A naive mask, smoothed pixel by pixel."""
    own, partner = torch.rand(12, 3, 6, 7, generator=generator(4)), images(12, 6, 7, seed=5)
    own[:, 0] = torch.stack([torch.randperm(42, generator=generator(6, i)).view(6, 7) for i in range(12)]) / 255
    share = torch.linspace(0, 1, 12)
    mixed, realised = background_around(own, partner, share, generator(3), guard=0.4)
    for i in range(12):
        ours = own[i, 0].double().flatten()
        hard, lost, total = torch.zeros(42), 0.0, float(ours.sum())
        for place, pixel in enumerate(ours.argsort(descending=True).tolist()):
            if place < share[i] * 42 or lost < 0.6 * total - 1e-9:
                hard[pixel] = 1
            lost += float(ours[pixel])
        mask = hard.view(6, 7)
        for _ in range(2):
            smooth = torch.zeros(6, 7)
            for y, x, dy, dx in itertools.product(range(6), range(7), (-1, 0, 1), (-1, 0, 1)):
                near = mask[min(max(y + dy, 0), 5), min(max(x + dx, 0), 6)]
                smooth[y, x] += (2 - abs(dy)) * (2 - abs(dx)) / 16 * near
            mask = smooth
        torch.testing.assert_close(mixed[i], mask * own[i] + (1 - mask) * partner[i])
        assert realised[i] == pytest.approx(float(mask.mean()), abs=1e-6)


def test_the_guard_keeps_the_object_however_small_the_share(seen):
    own = torch.zeros(1, 3, 16, 16)
    own[:, :, 6:10, 6:10] = 1
    partner = torch.full((1, 3, 16, 16), 0.5)
    guarded, share = background_around(own, partner, torch.zeros(1), generator(0), guard=0.0)
    assert (guarded[0, :, 7:9, 7:9] >= 0.75).all() and 15 / 256 < share < 17 / 256
    alone, none = background_around(own, partner, torch.zeros(1), generator(0), guard=1.0)
    assert torch.equal(alone, partner) and none == 0


# --- what they share --------------------------------------------------------------------------------------------------


def test_the_share_may_count_what_is_seen_of_either(seen):
    """By hand: a 2 x 2 image loses its lower left pixel to one of saliency 0.2; it keeps 0.4 + 0.6 + 0.6."""
    own = torch.tensor([[0.4, 0.6], [0.0, 0.6]]).view(1, 1, 2, 2)
    partner = torch.tensor([[0.8, 0.8], [0.2, 0.8]]).view(1, 1, 2, 2)
    share = torch.tensor([0.75])
    for blend in (background_box, background_moved):
        mixed, area = blend(own, partner, share, generator(0), guard=0.5)
        assert torch.equal(mixed, torch.tensor([[0.4, 0.6], [0.2, 0.6]]).view(1, 1, 2, 2))
        assert area == 0.75
        assert blend(own, partner, share, generator(0), guard=0.5, counted="mass")[1] == pytest.approx(1.6 / 1.8)
    turned = partner.flip(2)  # its least salient pixel is now above, and is moved down
    assert background_moved(own, turned, share, generator(0), counted="mass")[1] == pytest.approx(1.6 / 1.8)
    assert background_moved(own, turned, share, generator(0))[0].flatten().tolist()[2] == pytest.approx(0.2)


@pytest.mark.parametrize("blend", ALL.values(), ids=ALL)
@pytest.mark.parametrize("counted", ["area", "mass"])
def test_flat_images_have_no_object_to_spare(blend, counted):
    own, partner = torch.zeros(300, 3, 8, 8), torch.ones(300, 3, 8, 8)
    mixed, share = blend(own, partner, torch.full((300,), 0.75), generator(0), guard=0.0, counted=counted)
    torch.testing.assert_close(share, 1 - mixed.mean((1, 2, 3)))
    torch.testing.assert_close(share, torch.full((300,), 0.75))
    seen = mixed[:, 0].mean(0)
    assert seen.min() > 0, "ties are by lot, so no place is left out"
    torch.testing.assert_close(seen, seen.flip(0, 1), atol=0.15, rtol=0)


@pytest.mark.parametrize("blend", ALL.values(), ids=ALL)
def test_real_saliency_one_sample_and_one_pixel(blend):
    x, other = images(1, 9, 12), images(1, 9, 12, seed=1)
    mixed, share = blend(x, other, torch.tensor([0.7]), generator(0))
    assert mixed.shape == x.shape and 0 <= share <= 1
    pixel = torch.rand(3, 1, 1, 1)
    mixed, share = blend(pixel, 1 - pixel, torch.tensor([0.0, 0.9, 1.0]), generator(0))
    assert torch.equal(mixed[2], pixel[2]) and share[2] == 1
    assert torch.equal(mixed[0], 1 - pixel[0]) and share[0] == 0
    whole, all_of_it = blend(x, other, torch.ones(1), generator(0), counted="mass")
    assert torch.equal(whole, x) and all_of_it == 1


@pytest.mark.parametrize("name", ALL)
def test_what_is_no_image_is_refused(name):
    with pytest.raises(
        UserError, match=rf"blend '{name}' needs images \(n, C, H, W\), but these inputs have shape \(4, 5\)"
    ):
        ALL[name](torch.rand(4, 5), torch.rand(4, 5), torch.rand(4), None)
