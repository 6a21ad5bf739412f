"""Boxes and what is pasted into them, against loops over samples and pixels and against closed forms."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor
from torch.nn import functional as F

from longcut.data import generator
from longcut.errors import UserError
from longcut.mixing import BLENDS, Seeing, Seen, beta, cut, resize
from longcut.mixing.regions import Corners, box, half_side, paste, paste_moved, paste_resized
from longcut.mixing.salient import DETECTORS, pasting, salient

SIDES = [(32, 32), (7, 12), (1, 9), (9, 1), (1, 1), (24, 5)]


def corners_of(n: int, h: int, w: int, seed: int = 0) -> Corners:
    """Any boxes, some of them with one or both sides empty."""
    g = generator(seed)
    rows, columns = (torch.randint(side + 1, (2, n), generator=g).sort(0).values for side in (h, w))
    rows[1, 0] = rows[0, 0]
    if n > 1:
        columns[1, 1] = columns[0, 1]
    return Corners(rows[0], rows[1], columns[0], columns[1])


def two(n: int, h: int, w: int, seed: int = 0) -> Tensor:
    return torch.rand(2, n, 3, h, w, generator=generator(seed))


# --- the law of the boxes ---------------------------------------------------------------------------------------------


def law(side: int, alpha: float) -> tuple[float, float]:
    """Mean area and P(empty) of CutMix's boxes in a square, without drawing: 1 - share is Beta(α, α) too.

    Half a side is k where 1 - share is between (2k / side)² and ((2k + 2) / side)², and the mean length of
    [centre - k, centre + k) that lies inside is counted out.
    """
    chance = stats.beta(alpha, alpha).cdf
    area = empty = 0.0
    for k in range(side // 2 + 1):
        p = chance(min(((2 * k + 2) / side) ** 2, 1)) - chance((2 * k / side) ** 2)
        inside = sum(min(centre + k, side) - max(centre - k, 0) for centre in range(side)) / side**2
        area += p * inside**2
        empty += p * (k == 0)
    return area, empty


@pytest.mark.parametrize(
    ("side", "alpha", "area", "empty"),
    [
        (32, 1.0, 0.2993, 0.0038),
        (64, 1.0, 0.3105, 0.0010),
        (224, 1.0, 0.3175, 0.0001),
        (32, 0.2, 0.276, 0.174),
        (64, 0.2, 0.289, 0.131),
        (224, 0.2, 0.296, 0.080),
    ],
)
def test_the_law_of_boxes(side, alpha, area, empty):
    """The numbers are another's simulation of the released code; ours come close to what can be counted out."""
    mean, none = law(side, alpha)
    assert mean == pytest.approx(area, abs=2e-3)
    assert none == pytest.approx(empty, abs=2e-3)
    n = 40000
    share = beta(alpha)(n, generator(1))
    left = box(share, side, side, generator(2)).share(side, side)
    assert float((1 - left).mean()) == pytest.approx(mean, abs=0.006)
    assert float((left == 1).float().mean()) == pytest.approx(none, abs=0.006)


@pytest.mark.parametrize(("h", "w"), SIDES)
@pytest.mark.parametrize("scope", ["sample", "batch"])
def test_a_box_is_the_clipped_one_of_a_loop(h, w, scope):
    n = 200
    share = torch.rand(n, generator=generator(3))
    share[:2] = torch.tensor([0.0, 1.0])
    top, bottom, left, right = box(share, h, w, generator(4), scope)
    g = generator(4)
    centres = [torch.randint(side, (n if scope == "sample" else 1,), generator=g).tolist() for side in (h, w)]
    for i in range(n):
        for length, start, stop, centre in ((h, top, bottom, centres[0]), (w, left, right, centres[1])):
            at = centre[i if scope == "sample" else 0]
            half = int(length * (1 - share[i]).sqrt()) // 2
            assert (int(start[i]), int(stop[i])) == (max(at - half, 0), min(at + half, length))


@pytest.mark.parametrize(("h", "w"), SIDES)
def test_share_and_pasted_pixels_add_up_exactly(h, w):
    corners = corners_of(50, h, w)
    pixels = corners.mask(h, w).sum((1, 2, 3))
    left = corners.share(h, w)
    assert torch.equal((left.double() * h * w).round().long() + pixels, torch.full((50,), h * w))
    assert torch.equal(left, 1 - pixels / (h * w))


def test_a_batch_without_samples():
    assert box(torch.rand(0), 4, 4, generator(0), "batch").share(4, 4).shape == (0,)
    for blend in ("cut", "resize", "saliency"):
        row = BLENDS[blend]
        assert not isinstance(row, Seeing)
        assert row(torch.rand(0, 3, 4, 4), torch.rand(0, 3, 4, 4), torch.rand(0), generator(0))[0].shape == (0, 3, 4, 4)


def test_cut_without_its_correction_returns_the_share_that_was_drawn():
    own, partner = two(40, 16, 12)
    share = torch.rand(40, generator=generator(1))
    mixed, drawn = cut(own, partner, share, generator(2), correct=False)
    again, realised = cut(own, partner, share, generator(2))
    assert torch.equal(mixed, again)
    assert torch.equal(drawn, share)
    assert not torch.equal(realised, share)


def test_cut_with_one_box_for_the_batch():
    own, partner = two(20, 16, 12)
    mixed, _ = cut(own, partner, torch.full((20,), 0.4), generator(2), scope="batch")
    pasted = (mixed == partner).all(1)
    assert pasted[0].any()
    assert (pasted == pasted[0]).all()
    places = (cut(own, partner, torch.full((20,), 0.4), generator(2))[0] == partner).all(1)
    assert not (places == places[0]).all()


# --- pasting ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("h", "w"), SIDES)
def test_resized_pasting_is_that_of_a_loop(h, w):
    own, partner = two(30, h, w)
    corners = corners_of(30, h, w)
    expected, smooth = own.clone(), own.clone()
    for i, (top, bottom, left, right) in enumerate(zip(*(side.tolist() for side in corners), strict=True)):
        for y, x in product(range(top, bottom), range(left, right)):
            expected[i, :, y, x] = partner[i, :, (y - top) * h // (bottom - top), (x - left) * w // (right - left)]
        if bottom > top and right > left:
            small = F.interpolate(partner[i : i + 1], (bottom - top, right - left), mode="bilinear")
            smooth[i, :, top:bottom, left:right] = small[0]
    assert torch.equal(paste_resized(own, partner, corners), expected)
    torch.testing.assert_close(paste_resized(own, partner, corners, "bilinear"), smooth, atol=1e-5, rtol=0)


def test_resize_shows_the_whole_partner():
    own, partner = torch.zeros(50, 1, 16, 16), torch.zeros(50, 1, 16, 16)
    partner[:, :, :8, :8], partner[:, :, :8, 8:], partner[:, :, 8:, :8], partner[:, :, 8:, 8:] = 1, 2, 3, 4
    mixed, left = resize(own, partner, torch.full((50,), 0.7), generator(0))
    for image, share in zip(mixed, left.tolist(), strict=True):
        assert share == 1 - int((image > 0).sum()) / 256
        assert set(image.unique().tolist()) >= {1.0, 2.0, 3.0, 4.0} or 0 < (image > 0).any(2).sum() < 2
    whole, left = resize(own, partner, torch.zeros(50), generator(1))
    assert torch.equal((whole > 0).sum((1, 2, 3)), ((1 - left) * 256).round().long())


def test_a_box_with_one_empty_side_pastes_nothing():
    own, partner = two(2, 8, 8)
    corners = Corners(*torch.tensor([[2, 0], [2, 8], [0, 3], [8, 3]]))
    for mode in ("nearest", "bilinear"):
        assert torch.equal(paste_resized(own, partner, corners, mode), own)
    assert torch.equal(corners.share(8, 8), torch.ones(2))


def test_moved_pasting_is_that_of_a_loop():
    own, partner = two(3, 6, 9)
    corners = Corners(*torch.tensor([[0, 2, 5], [2, 5, 6], [1, 0, 4], [4, 9, 4]]))
    down, right = torch.tensor([3, -2, 0]), torch.tensor([5, 0, 1])
    expected = own.clone()
    for i, (top, bottom, left, stop) in enumerate(zip(*(side.tolist() for side in corners), strict=True)):
        for y, x in product(range(top, bottom), range(left, stop)):
            expected[i, :, y, x] = partner[i, :, y + int(down[i]), x + int(right[i])]
    assert torch.equal(paste_moved(own, partner, corners, down, right), expected)
    still = torch.zeros(3, dtype=torch.long)
    assert torch.equal(paste_moved(own, partner, corners, still, still), paste(own, partner, corners))


def test_pasting_lets_gradients_through_to_both():
    """So it can mix at a hidden level."""
    own, partner = (image.requires_grad_() for image in two(4, 6, 5).unbind())
    corners = corners_of(4, 6, 5, seed=5)
    ours, theirs = torch.autograd.grad(paste_resized(own, partner, corners).sum(), (own, partner))
    area = ((corners.bottom - corners.top) * (corners.right - corners.left)).float()
    torch.testing.assert_close(theirs.sum((1, 2, 3)), 3 * area)
    torch.testing.assert_close(ours.sum((1, 2, 3)), 3 * (30 - area))


# --- salient boxes ----------------------------------------------------------------------------------------------------

SCHEMES = [
    "salient-corresponding",
    "salient-salient",
    "salient-nonsalient",
    "nonsalient-salient",
    "nonsalient-nonsalient",
]


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("policy", ["clip", "shift"])
@pytest.mark.parametrize("scope", ["sample", "batch"])
@pytest.mark.parametrize(("h", "w"), [(16, 16), (7, 12), (1, 9), (1, 1)])
def test_salient_boxes_are_those_of_a_loop(scheme, policy, scope, h, w):
    """Of each pixel of the box by its own distance from the two centres."""
    n = 12
    own, partner = two(n, h, w, seed=4)
    share = torch.rand(n, generator=generator(5))
    detect = DETECTORS["fine-grained"]
    take, put = scheme.split("-")

    def peak(image: Tensor, wanted: str) -> tuple[int, int]:
        score = detect(image[None])[0].flatten().tolist()
        return divmod(score.index(max(score) if wanted == "salient" else min(score)), w)

    expected, left = own.clone(), []
    for i in range(n):
        like = i if scope == "sample" else 0
        source = peak(partner[like], take)
        target = source if put == "corresponding" else peak(own[like], put)
        halves = [int(side * (1 - share[i]).sqrt()) // 2 for side in (h, w)]
        if policy == "shift":
            source, target = (
                tuple(min(max(at, k), side - k) for at, k, side in zip(place, halves, (h, w), strict=True))
                for place in (source, target)
            )
        pixels = 0
        for dy, dx in product(range(-halves[0], halves[0]), range(-halves[1], halves[1])):
            there, here = (source[0] + dy, source[1] + dx), (target[0] + dy, target[1] + dx)
            if all(0 <= y < h and 0 <= x < w for y, x in (there, here)):
                expected[i, :, here[0], here[1]] = partner[i, :, there[0], there[1]]
                pixels += 1
        if policy == "shift":
            assert pixels == 4 * halves[0] * halves[1], "no pixel is lost"
        left.append(1 - pixels / (h * w))
    mixed, realised = salient(own, partner, share, None, scheme=scheme, policy=policy, scope=scope, ties="first")
    assert torch.equal(mixed, expected)
    torch.testing.assert_close(realised, torch.tensor(left))


@given(st.integers(1, 20), st.integers(1, 20), st.floats(0, 1, width=32), st.integers(0, 99))
def test_a_shifted_box_holds_the_peak(h, w, share, seed):
    partner = torch.zeros(1, 1, h, w)
    place = seed % (h * w)
    partner.view(-1)[place] = 1
    kept = torch.tensor([share])
    sides = [int(half_side(kept, side)) for side in (h, w)]
    mixed, left = salient(torch.full_like(partner, 0.5), partner, kept, generator(seed), policy="shift")
    assert float(left) == pytest.approx(1 - 4 * sides[0] * sides[1] / (h * w), abs=1e-6)
    if all(sides) and DETECTORS["fine-grained"](partner).argmax() == place:
        peak = (DETECTORS["fine-grained"](partner) == 1).sum()
        assert peak > 1 or mixed.view(-1)[place] == 1


def test_ties_are_broken_at_random_among_the_largest_alone_or_by_reading_order():
    """The map is flat but where the gradient of the loss is: three pixels alike, and one smaller."""
    weight = torch.zeros(1, 4, 5)
    weight[0, 0, 3] = weight[0, 2, 2] = weight[0, 3, 4] = 3
    weight[0, 1, 1] = 2
    n = 3000
    own, partner = torch.zeros(n, 1, 4, 5), torch.ones(n, 1, 4, 5)
    label = torch.zeros(n)
    seen = Seen(label, label, lambda x: x)
    share = torch.full((n,), 1 - 0.5**2 - 1e-6)  # sides of two pixels, both ways

    def tops(ties):
        blend = pasting(
            detector="gradient",
            ties=ties,
            policy="shift",
            scheme="salient-corresponding",
            loss=lambda out, _: (out * weight).sum((1, 2, 3)),
        )
        assert isinstance(blend, Seeing)
        mixed, _ = blend.blend(own, partner, share, generator(0), seen)
        return [divmod(int(place), 5) for place in mixed.flatten(1).argmax(1)]

    assert set(tops("first")) == {(0, 2)}  # centre (1, 3), moved down from (0, 3)
    drawn = tops("random")
    places = [(0, 2), (1, 1), (2, 3)]
    assert set(drawn) == set(places)
    assert stats.chisquare([drawn.count(place) for place in places]).pvalue > 1e-3


def test_in_a_flat_image_every_pixel_is_the_most_salient_one():
    flat = torch.full((4000, 1, 3, 4), 0.5)
    mixed, _ = salient(torch.zeros_like(flat), flat, torch.full((4000,), 0.4), generator(0), policy="clip")
    boxes = {tuple(image.flatten().tolist()) for image in mixed}
    assert len(boxes) == 12, "a clipped box of 2 x 2 in each of the 12 places"


def test_a_salient_spot_comes_with_its_box_and_goes_where_the_scheme_says():
    partner, own = torch.zeros(1, 3, 32, 32), torch.zeros(1, 3, 32, 32)
    partner[..., 20:23, 8:11], own[..., 6:9, 24:27] = 1.0, 0.5
    share = torch.tensor([1 - (8 / 32) ** 2])
    for policy in ("clip", "shift"):
        same, _ = salient(own, partner, share, generator(0), policy=policy)
        assert torch.equal(same, own + partner)
        over, left = salient(own, partner, share, generator(0), policy=policy, scheme="salient-salient")
        assert (over == 1).sum() == (partner == 1).sum()
        assert (over[..., 5:10, 23:28] == 1).sum() == (partner == 1).sum(), "on top of the anchor's spot"
        assert float(left) == 1 - 64 / 32**2


def test_gradients_need_a_net_and_boxes_need_images():
    own, partner = two(2, 4, 4)
    share = torch.tensor([0.5, 0.5])
    with pytest.raises(UserError, match=r"saliency by gradients needs a net to look at; mix in a method, or pass net"):
        salient(own, partner, share, None, detector="gradient")
    with pytest.raises(UserError, match=r"saliency by gradients needs a net"):
        salient(own, partner, share, None, Seen(share, share, None), detector="gradient")
    for blend in ("resize", "saliency"):
        row = BLENDS[blend]
        assert not isinstance(row, Seeing)
        with pytest.raises(UserError, match=rf"'{blend}' needs images \(n, C, H, W\), but .* shape \(2, 3\)"):
            row(torch.zeros(2, 3), torch.zeros(2, 3), share, None)
