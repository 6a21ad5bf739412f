"""Feature maps: where the last one is, its cells, and the mean over a box."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch

from longcut import nets
from longcut.data import Info, generator
from longcut.mixing import regions
from longcut.mixing.regions import Corners
from longcut.nets.maps import cell_features, last_map, roi_mean

IMAGES = Info("photos", (3, 20, 12), 4, kind="image")


def bilinear(plane: torch.Tensor, y: float, x: float) -> float:
    """RoI-align's reading between cells: the border is clamped."""
    (h, w), parts = plane.shape, 0.0
    y, x = min(max(y, 0.0), h - 1.0), min(max(x, 0.0), w - 1.0)
    for row in (math.floor(y), min(math.floor(y) + 1, h - 1)):
        for column in (math.floor(x), min(math.floor(x) + 1, w - 1)):
            near_y = 1 - (y - math.floor(y)) if row == math.floor(y) else y - math.floor(y)
            near_x = 1 - (x - math.floor(x)) if column == math.floor(x) else x - math.floor(x)
            same_row, same_column = math.floor(y) == h - 1, math.floor(x) == w - 1
            parts += float(plane[row, column]) * near_y * near_x / ((1 + same_row) * (1 + same_column))
    return parts


def naive(plane: torch.Tensor, box: tuple[int, ...], height: int, width: int) -> float:
    """The definition: one bin, aligned, as many samples as the box's sides in cells, rounded up."""
    h, w = plane.shape
    top, bottom, left, right = box
    y0, x0 = Fraction(top * h, height) - Fraction(1, 2), Fraction(left * w, width) - Fraction(1, 2)
    side_y, side_x = Fraction((bottom - top) * h, height), Fraction((right - left) * w, width)
    n_y, n_x = math.ceil(side_y), math.ceil(side_x)
    total = 0.0
    for i in range(n_y):
        for j in range(n_x):
            y = y0 + (i + Fraction(1, 2)) * side_y / n_y
            x = x0 + (j + Fraction(1, 2)) * side_x / n_x
            total += bilinear(plane, float(y), float(x))
    return total / max(n_y * n_x, 1)


@pytest.mark.parametrize(("height", "width", "h", "w"), [(8, 8, 8, 8), (20, 12, 5, 3), (21, 13, 6, 4), (7, 9, 1, 1)])
def test_the_mean_over_a_box_is_roi_aligns(height, width, h, w):
    g = generator(height)
    maps = torch.randn(60, 2, h, w, generator=g, dtype=torch.float64)
    corners = regions.box(torch.rand(60, generator=g), height, width, g)
    edges = torch.tensor([[0, height, 0, width], [0, 1, 0, 1], [height - 1, height, width - 1, width], [2, 2, 1, 5]])
    corners = Corners(*(torch.cat([own, edge]) for own, edge in zip(corners, edges.T, strict=True)))
    maps = torch.cat([maps, torch.randn(4, 2, h, w, generator=g, dtype=torch.float64)])
    found = roi_mean(maps, corners, height, width)
    boxes = [tuple(int(v) for v in box) for box in torch.stack([*corners], 1)]
    expected = [[naive(plane, box, height, width) for plane in one] for one, box in zip(maps, boxes, strict=True)]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), rtol=1e-6, atol=1e-6)
    assert not found[-1].any(), "an empty box has nothing"


@pytest.mark.parametrize(
    ("net", "stages"),
    [("conv:width=2", 4), ("tiny:width=2", 3), ("resnet18:width=4", 5), ("mlp:hidden=4", None), ("linear", None)],
)
def test_where_the_last_map_is(net, stages):
    built = nets.build(net, IMAGES)
    assert built.training
    before = {name: value.clone() for name, value in built.state_dict().items()}
    assert last_map(built, IMAGES) == stages
    assert built.training, "and the mode is as it was"
    assert all(torch.equal(value, before[name]) for name, value in built.state_dict().items())


def test_token_ids_have_no_map():
    info = Info("texts", (5,), 2, kind="tokens", vocabulary=9)
    assert last_map(nets.build("tokens", info), info) is None


@pytest.mark.parametrize("net", ["conv:width=2", "resnet18:width=4"])
def test_the_outputs_are_the_mean_over_the_cells(net):
    built = nets.build(net, IMAGES).eval()
    x, stages = torch.rand(3, *IMAGES.shape, generator=generator(0)), last_map(built, IMAGES)
    maps = x
    for stage in built.stages[:stages]:
        maps = stage(maps)
    cells = cell_features(built, maps, stages)
    assert cells.shape[1:3] == maps.shape[2:]
    torch.testing.assert_close(built.head(cells).mean((1, 2)), built(x))
    torch.testing.assert_close(cells.permute(0, 3, 1, 2), maps, msg="each cell at its place")


def test_a_net_without_a_map_has_one_cell():
    built = nets.build("mlp:hidden=4", IMAGES)
    x = torch.rand(3, *IMAGES.shape)
    assert torch.equal(cell_features(built, built.features(x), None)[:, 0, 0], built.features(x))
