"""PatchMix: labels that lie where the boxes do, the tour through the classes, and the loss of whole episodes."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest
import torch
from helpers import context

from longcut import mixing
from longcut.data import Dataset, Splits, episodes, generator
from longcut.errors import UserError
from longcut.fit import Training, fit
from longcut.methods import build
from longcut.methods.mixing.patchmix import cells_of, hardest_tour
from longcut.mixing.regions import Corners


def photos(n: int = 60, height: int = 12, width: int = 8, classes: int = 4) -> Dataset:
    """The class is where the image is bright."""
    x, label = torch.rand(n, 3, height, width, generator=generator(1)), torch.arange(n) % classes
    x[torch.arange(n), :, label] += 1
    return Dataset.of(x / 2, label, name="photos")


def made(data: Dataset, net: str = "conv:width=2", seed: int = 0, **options: Any) -> Any:
    method = build("patchmix", data.info, net=net, options=options)
    method.on_epoch(context(data, seed))
    return method


def test_the_cells_of_a_box_by_hand():
    """An 84 x 84 image under 11 x 11 cells: 20 * 11 / 84 = 2.6, 63 * 11 / 84 = 8.25, 42 and 84 give 5.5 and 11."""
    boxes = torch.tensor([[20, 63, 42, 84], [0, 84, 0, 84], [40, 40, 0, 84], [0, 3, 0, 3]])
    found = cells_of(Corners(*boxes.T), (84, 84), (11, 11))
    expected = torch.zeros(4, 11, 11, dtype=torch.bool)
    expected[0, 3:8, 6:11] = True  # 5.5 is rounded to the even 6
    expected[1] = True
    assert torch.equal(found, expected)


def test_images_and_grids_need_not_be_square():
    found = cells_of(Corners(*torch.tensor([[3], [9], [0], [4]])), (12, 8), (4, 2))
    assert found[0].tolist() == [[False, False], [True, False], [True, False], [False, False]]


@pytest.mark.parametrize("k", [1, 2, 3, 4, 5, 6])
def test_no_tour_is_harder(k):
    raw = torch.randn(7, k, k, generator=generator(k))
    alike = raw + raw.mT
    following = hardest_tour(alike)
    for one, after in zip(alike, following.tolist(), strict=True):
        best = max(sum(float(one[t[i], t[(i + 1) % k]]) for i in range(k)) for t in permutations(range(k)))
        assert abs(sum(float(one[i, j]) for i, j in enumerate(after)) - best) < 1e-4
        at, seen = 0, []
        for _ in range(k):
            seen.append(at)
            at = after[at]
        assert at == 0 and sorted(seen) == list(range(k)), "a single round tour"


@pytest.mark.parametrize("score", ["projection", "cosine"])
@pytest.mark.parametrize("net", ["conv:width=2", "mlp:hidden=5"])
def test_the_loss_is_that_of_a_loop(net, score):
    data = photos()
    how: Any = {"ways": 3, "shots": 2, "queries": 3}
    method = made(data, net, seed=5, episodes=2, score=score, episode_weight=0.3, **how).eval()
    loss, logs = method.loss(data.batch(torch.arange(8)))
    draw = generator(5)
    drawn = episodes(data, **how, count=2, generator=draw)
    order = torch.rand(2, 3, 3, generator=draw).flatten(1).argsort(1)
    share = mixing.beta(1.0)(2, draw)
    centre = [torch.randint(12, (2,), generator=draw), torch.randint(8, (2,), generator=draw)]
    overall, local, own, images = [], [], [], 0
    for e in range(2):
        half = [int(length * float(1 - share[e]) ** 0.5) // 2 for length in (12, 8)]
        top, left = (max(int(c[e]) - h, 0) for c, h in zip(centre, half, strict=True))
        bottom, right = (min(int(c[e]) + h, length) for c, h, length in zip(centre, half, (12, 8), strict=True))
        own.append(1 - (bottom - top) * (right - left) / 96)
        support = data.gather(drawn.support[e])
        prototype = [method.cells(support[[2 * k, 2 * k + 1]]).mean((0, 1, 2)) for k in range(3)]
        for i in range(6 + 9):
            if i < 6:
                x, other, way, other_way = support[i], None, i // 2, i // 2
                label = other_label = int(data.label[drawn.support[e, i]])
            else:
                j = int(order[e, i - 6])
                x, other = data.gather(drawn.query[e])[i - 6].clone(), data.gather(drawn.query[e])[j]
                way, other_way = (i - 6) // 3, j // 3
                label, other_label = (int(data.label[drawn.query[e, at]]) for at in (i - 6, j))
                x[:, top:bottom, left:right] = other[:, top:bottom, left:right]
            cells = method.cells(x[None])[0]
            h, w = cells.shape[:2]
            for row in range(h):
                for column in range(w):
                    inside = round(top * h / 12) <= row < round(bottom * h / 12)
                    inside &= round(left * w / 8) <= column < round(right * w / 8)
                    cell = cells[row, column]
                    overall.append(-method.net.head(cell).log_softmax(0)[other_label if inside else label])
                    length = cell.norm() if score == "cosine" else 1
                    scores = torch.stack([cell @ p / p.norm() / length for p in prototype])
                    local.append(-scores.log_softmax(0)[other_way if inside else way])
            images += 1
    assert images == 30 and min(own) < 1
    torch.testing.assert_close(logs["share"], torch.tensor(own).mean())
    expected = torch.stack(overall).mean() + 0.3 * torch.stack(local).mean()
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-5)


def test_in_the_hardest_pairs_each_class_meets_the_next_of_the_tour():
    data = photos()
    method = made(data, pairs="hardest", ways=4, shots=1, queries=3)
    drawn = method.draw(data, 5, generator(1))
    support = data.gather(drawn.support.flatten()).unflatten(0, (5, 4))
    partner = method.partners(support).view(5, 4, 3)
    assert torch.equal(partner.flatten(1).sort().values, torch.arange(12).repeat(5, 1)), "each is a partner once"
    direction = method.prototypes(method.cells(support.flatten(0, 1)).unflatten(0, (5, 4)))
    assert torch.equal(partner // 3, hardest_tour(direction @ direction.mT)[:, :, None].expand(-1, -1, 3))
    assert not torch.equal(partner % 3, torch.arange(3).expand(5, 4, 3)), "in random order"


def test_in_the_control_an_image_is_whole(monkeypatch):
    data, seen = photos(), []
    method = made(data, blend="keep-both", ways=2, shots=1, queries=5, episodes=3)
    cells = method.cells
    monkeypatch.setattr(method, "cells", lambda x: seen.append(x) or cells(x))
    for _ in range(20):
        method.loss(data.batch(torch.arange(4)))
    stored = {tuple(image.flatten().tolist()) for image in data.x}
    assert all(tuple(image.flatten().tolist()) in stored for image in torch.cat(seen))


def test_an_episode_has_as_many_ways_as_there_are_classes():
    assert made(photos(classes=3), ways=5).ways == 3


def test_it_learns_the_classes():
    data = photos(120)
    method = build("patchmix", data.info, net="conv:width=8", options={"shots": 2, "queries": 4})
    fitted = fit(method, Splits(data, None, data), Training(epochs=12, batch=12, lr=1e-2))
    assert fitted.history[-1]["test"]["average"] > 0.6  # chance is 0.25


def test_what_is_refused():
    table = Dataset.of(torch.rand(6, 4), torch.arange(6) % 2, name="rows")
    with pytest.raises(
        UserError, match=r"patchmix needs images \(C, H, W\), but rows is of kind 'table' and shape \(4,\); t"
    ):
        made(table, net="mlp")
    with pytest.raises(UserError, match=r"pairs=hardest tries every tour .* but ways=7; give at most 6, or pairs=rand"):
        made(photos(classes=7), pairs="hardest", ways=7)
    few = photos(12)
    with pytest.raises(UserError, match=r"class 0 of photos has 3 samples, but an episode draws shots \+ queries = 7"):
        fit(made(few), Splits(few, None, few), Training(epochs=1))
