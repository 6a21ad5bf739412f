"""RecursiveMix: the recursion, the law of its boxes, and the second term, against loops."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers import context
from test_maps import naive as roi_align

from longcut.data import Batch, Dataset, generator
from longcut.errors import UserError
from longcut.methods import build
from longcut.mixing import regions, uniform


def photos(n: int = 40, height: int = 12, width: int = 8, classes: int = 3) -> Dataset:
    x = torch.rand(n, 3, height, width, generator=generator(1))
    return Dataset.of(x, torch.arange(n) % classes, name="photos")


def made(data: Dataset, net: str = "conv:width=2", seed: int = 0, **options: Any) -> Any:
    method = build("recursivemix", data.info, net=net, options=options)
    method.on_epoch(context(data, seed))
    return method


def resized(own: torch.Tensor, other: torch.Tensor, box: tuple[int, ...]) -> torch.Tensor:
    """Pixel by pixel: the whole of the other in the box, nearest."""
    own, (top, bottom, left, right) = own.clone(), box
    (height, width), h, w = own.shape[1:], bottom - top, right - left
    for y in range(h):
        for x in range(w):
            own[:, top + y, left + x] = other[:, y * height // h, x * width // w]
    return own


@pytest.mark.parametrize("head", ["own", "shared"])
def test_both_terms_are_those_of_a_loop(head):
    """Batches of 8, 5 and 9: what the one before does not reach stays as it is."""
    data = photos()
    method = made(data, seed=4, consistency=0.7, head=head).double().eval()
    draw, before, pasted = generator(4), [], 0
    for rows in (range(8), range(8, 13), range(13, 22)):
        batch = data.batch(torch.tensor(rows))
        batch = Batch(batch.x.double(), batch.label)
        loss = method.loss(batch)[0]
        area = 0.5 * float(1 - torch.rand(1, generator=draw))
        sides = []
        for length in (12, 8):
            half, centre = int(length * area**0.5) // 2, int(torch.randint(length, (1,), generator=draw))
            sides += [max(centre - half, 0), min(centre + half, length)]
        box, now, terms = tuple(sides), [], []
        for k, (x, label) in enumerate(zip(batch.x, batch.label, strict=True)):
            soft, new, logits_last = torch.eye(3).double()[label], 1.0, torch.zeros(3)
            if k < len(before):
                x_last, soft_last, logits_last = before[k]
                new = 1 - (box[1] - box[0]) * (box[3] - box[2]) / (12 * 8)
                x, soft = resized(x, x_last, box), new * soft + (1 - new) * soft_last
                pasted += new < 1
            maps = x[None]
            for stage in method.net.stages[:4]:
                maps = stage(maps)
            logits = method.net(x[None])[0]
            term = -(soft * logits.log_softmax(0)).sum()
            if k < len(before):
                region = torch.tensor([roi_align(plane, box, 12, 8) for plane in maps[0].detach()], dtype=torch.float64)
                again = (method.head or method.net.head)(region).log_softmax(0)
                term = term - 0.7 * (1 - new) * (logits_last.softmax(0) * again).sum()
            now.append((x, soft, logits.detach()))
            terms.append(term)
        before = now
        torch.testing.assert_close(loss, torch.stack(terms).mean(), rtol=1e-5, atol=1e-6)
    assert pasted >= 10, "the loop has pasted something"


@pytest.mark.parametrize(("side", "mean"), [(32, 0.166), (64, 0.175), (224, 0.182)])
def test_the_mean_area_is_that_of_the_released_code(side, mean):
    g = generator(side)
    corners = regions.box(uniform(0.5, 1.0)(200_000, g), side, side, g)
    assert abs(float(1 - corners.share(side, side).mean()) - mean) < 1e-3


def test_the_share_is_drawn_once_for_a_batch_from_alpha():
    method = made(photos(), alpha=0.3)
    shares = torch.stack([method.ratio(4, method.generator) for _ in range(2000)])
    assert (shares == shares[:, :1]).all()
    assert abs(float(shares.mean()) - 0.85) < 0.01 and float(shares.min()) >= 0.7


def test_labels_sum_to_one_for_ever_and_remember_many_batches():
    data = photos(classes=2)
    method = made(data, net="mlp:hidden=4")
    kept = []
    for step in range(60):
        method.loss(data.batch(torch.arange(8) + step % 4 * 9))
        torch.testing.assert_close(method.last.label.sum(1), torch.ones(8))
        assert (method.last.label >= 0).all()
        kept.append(method.last.label.max(1).values.mean())
    assert not method.last.extra["logits"].requires_grad
    assert kept[0] == 1 and min(kept) < 0.9, "some labels are mixed"


def test_the_first_batch_of_an_epoch_is_not_mixed():
    data = photos()
    method, batch = made(data), data.batch(torch.arange(8))
    method.loss(batch)
    assert torch.equal(method.last.x, batch.x)
    assert min(float(method.loss(data.batch(torch.arange(8, 16)))[1]["share"]) for _ in range(9)) < 0.8
    method.on_epoch(context(data, 1))
    _, logs = method.loss(batch)
    assert logs["share"] == 1 and torch.equal(method.last.x, batch.x)


def test_the_second_term_is_proportional_to_its_weight_and_to_the_box():
    data = photos()
    unmixed, mixed = [], []
    for weight in (0.0, 0.25, 0.5):
        method = made(data, seed=3, consistency=1.0).eval()
        method.consistency = weight  # the same weights and draws
        unmixed.append(method.loss(data.batch(torch.arange(8)))[0].detach())
        loss, logs = method.loss(data.batch(torch.arange(8, 16)))
        mixed.append(loss.detach())
        assert logs["share"] < 0.9
    assert unmixed[0] == unmixed[1] == unmixed[2], "without a box there is no second term"
    assert mixed[1] > mixed[0]
    torch.testing.assert_close(mixed[2] - mixed[1], mixed[1] - mixed[0])


def test_in_the_control_a_row_is_shown_whole_as_often_as_the_box_is_large():
    data = photos()
    control, shares = made(data, blend="keep-both", net="mlp:hidden=4"), []
    mixed = made(data, net="mlp:hidden=4")
    for step in range(400):
        batch = data.batch(torch.arange(8) + step % 4 * 8)
        last = control.last
        control.loss(batch)
        if last is not None:
            new = (control.last.x == batch.x).flatten(1).all(1)
            old = (control.last.x == last.x).flatten(1).all(1)
            assert (new | old).all()
            expected = torch.where(new[:, None], torch.eye(3)[batch.label], last.label)
            assert torch.equal(control.last.label[new != old], expected[new != old])
        shares.append((float(control.loss(batch)[1]["share"]), float(mixed.loss(batch)[1]["share"])))
    whole, boxes = torch.tensor(shares[1:]).mean(0)
    assert abs(whole - boxes) < 0.04


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 9), (3, 2)])
def test_images_of_a_pixel_are_fine(height, width):
    data = photos(height=height, width=width)
    method = made(data, consistency=0.5)
    for start in (0, 8, 16):
        loss = method.loss(data.batch(torch.arange(8) + start))[0]
        loss.backward()
        assert torch.isfinite(loss)
    if height == 1:
        assert torch.equal(method.last.x, data.gather(torch.arange(16, 24))), "no box has room"


def test_a_net_without_a_map_has_one_term_or_is_refused():
    data = photos()
    assert made(data, net="mlp:hidden=4").consistency == 0
    assert made(data).consistency == 0.1
    with pytest.raises(UserError, match=r"consistency=0.1 needs a feature map, and this net has none; take a net of"):
        made(data, net="mlp:hidden=4", consistency=0.1)


def test_tables_are_refused():
    table = Dataset.of(torch.rand(6, 4), torch.arange(6) % 2, name="rows")
    with pytest.raises(
        UserError, match=r"recursivemix needs images \(C, H, W\), but rows is of kind 'table' and shape \(4,\); t"
    ):
        made(table, net="mlp")


@pytest.mark.parametrize("blend", ["resize", "keep-both"])
@pytest.mark.parametrize("n", [9, 2, 1])
def test_the_report_is_shown_who_stands_in_whose_box(blend, n):
    """Of images in one colour each, a mixture's mean is that of the two in proportion to the share."""
    data = Dataset.of(
        torch.arange(n * 48).view(n, 3, 4, 4) // 48 / n, torch.arange(n) % 2, name="one colour", n_classes=2
    )
    method = made(data, blend=blend)
    method.on_epoch(context(data, 5))
    pairs = method.pairs(data, 6)
    anchor, partner, share = pairs["anchor"], pairs["partner"], pairs["share"]
    assert len(anchor) == len(partner) == len(share) == len(pairs["mixed"]) == min(n, 12) // 2
    assert not (anchor == partner).any()
    expected = (share * anchor + (1 - share) * partner) / n
    torch.testing.assert_close(pairs["mixed"].mean((1, 2, 3)) / 255, expected, atol=1e-6, rtol=0)
    assert blend == "resize" or ((share == 0) | (share == 1)).all()
