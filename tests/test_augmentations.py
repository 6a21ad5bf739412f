"""Augmentations against what is known of them: naive loops, torch's own maps, hand arithmetic, published shares."""

from __future__ import annotations

import colorsys
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from longcut import augment
from longcut.augment import blurs, colors, geometry
from longcut.augment.base import limits, mirrored
from longcut.data import generator

Pixel = Callable[[int, int, int, int], float]


def doubles(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=generator(seed), dtype=torch.float64)


def fold(at: int, side: int) -> int:
    """A place beyond the border, mirrored at it as often as needed."""
    while not 0 <= at < side:
        at = -1 - at if at < 0 else 2 * side - 1 - at
    return at


def one_by_one(x: Tensor, pixel: Pixel) -> Tensor:
    n, channels, height, width = x.shape
    places = [
        (i, c, row, column)
        for i in range(n)
        for c in range(channels)
        for row in range(height)
        for column in range(width)
    ]
    return torch.tensor([pixel(*place) for place in places], dtype=torch.float64).view(x.shape)


def between(image: Tensor, row: float, column: float) -> float:
    """Bilinear interpolation in ``(H, W)``, at a place in pixels from the corner."""
    height, width = image.shape
    top, left = math.floor(row), math.floor(column)
    total = 0.0
    for r, down in ((top, 1 - (row - top)), (top + 1, row - top)):
        for c, right in ((left, 1 - (column - left)), (left + 1, column - left)):
            total += down * right * float(image[fold(r, height), fold(c, width)])
    return total


# --- geometry ---------------------------------------------------------------------------------------------------------


def turned(degrees: float) -> Tensor:
    angle = math.radians(degrees)
    rows = [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
    return torch.tensor([rows], dtype=torch.float64)


def test_a_quarter_turn_is_that_of_torch():
    x = doubles(1, 2, 5, 5)
    for quarters in range(4):
        moved = geometry.transformed(x, turned(90 * quarters), x.new_zeros(1, 2))
        torch.testing.assert_close(moved, torch.rot90(x, quarters, (2, 3)))


def test_whole_pixels_are_moved_and_the_border_is_mirrored():
    x = torch.arange(8.0).view(1, 1, 2, 4)
    moved = geometry.transformed(x, torch.eye(2)[None], torch.tensor([[2.0, 1.0]]))
    assert moved[0, 0].tolist() == [[1, 0, 0, 1], [1, 0, 0, 1]]
    moved = geometry.transformed(x, torch.eye(2)[None], torch.tensor([[-1.0, 0.0]]))
    assert moved[0, 0].tolist() == [[1, 2, 3, 3], [5, 6, 7, 7]]


def test_a_linear_map_is_a_naive_look_up():
    x, matrix, shift = doubles(2, 1, 5, 7), 2 * doubles(2, 2, 2, seed=1) - 0.5, 3 * doubles(2, 2, seed=2)

    def pixel(i: int, c: int, row: int, column: int) -> float:
        right, down = column - 3 - float(shift[i, 0]), row - 2 - float(shift[i, 1])
        (a, b), (d, e) = matrix[i].tolist()
        return between(x[i, c], d * right + e * down + 2, a * right + b * down + 3)

    torch.testing.assert_close(geometry.transformed(x, matrix, shift), one_by_one(x, pixel))


def test_a_linear_map_is_that_of_affine_grid():
    x, matrix = doubles(3, 2, 6, 6), torch.eye(2) + 0.3 * doubles(3, 2, 2, seed=1)
    shift = doubles(3, 2, seed=2)
    theta = torch.cat([matrix, -(matrix @ shift[:, :, None]) / 3], 2)  # half a side is 1 there
    grid = F.affine_grid(theta, [3, 2, 6, 6], align_corners=False)
    expected = F.grid_sample(x, grid, padding_mode="reflection", align_corners=False)
    torch.testing.assert_close(geometry.transformed(x, matrix, shift), expected)


def drawn_maps(n: int, height: int, width: int, **most: float) -> tuple[Tensor, Tensor]:
    """The maps ``(n, 2, 2)`` and shifts ``(n, 2)`` of affine, read off an image that is a slope along both axes."""
    rows, columns = torch.meshgrid(
        torch.arange(height, dtype=torch.float64) - (height - 1) / 2,
        torch.arange(width, dtype=torch.float64) - (width - 1) / 2,
        indexing="ij",
    )
    seen = augment.affine(100 + torch.stack([columns, rows]).expand(n, -1, -1, -1), generator(0), **most) - 100
    top, left = (height - 1) // 2, (width - 1) // 2
    here = seen[:, :, top, left]
    matrix = torch.stack([seen[:, :, top, left + 1] - here, seen[:, :, top + 1, left] - here], 2)
    middle = here - (matrix @ torch.stack([columns[top, left], rows[top, left]])[:, None])[..., 0]
    return matrix, -torch.linalg.solve(matrix, middle)


def test_what_affine_draws_is_within_its_limits_and_fills_them():
    n = 2000
    still = {"rotate": 0.0, "shift": 0.0, "zoom": 0.0, "shear": 0.0}
    matrix, _ = drawn_maps(n, 41, 61, **{**still, "rotate": 30.0})
    degrees = torch.atan2(matrix[:, 0, 1], matrix[:, 0, 0]).rad2deg()
    torch.testing.assert_close(matrix @ matrix.mT, torch.eye(2, dtype=torch.float64).expand(n, 2, 2))
    assert -30 <= degrees.min() < -29 and 29 < degrees.max() <= 30 and degrees.mean().abs() < 2
    matrix, _ = drawn_maps(n, 41, 61, **{**still, "zoom": 0.5})
    torch.testing.assert_close(matrix, matrix[:, :1, :1] * torch.eye(2, dtype=torch.float64))
    assert 1 / 1.5 <= matrix[:, 0, 0].min() < 0.68 and 1.47 < matrix[:, 0, 0].max() <= 1.5 + 1e-9
    assert matrix[:, 0, 0].log().mean().abs() < 0.03
    matrix, _ = drawn_maps(n, 41, 61, **{**still, "shear": 20.0})
    torch.testing.assert_close(matrix[:, [0, 1, 1], [0, 0, 1]], torch.tensor([1.0, 0, 1]).double().expand(n, 3))
    lean = matrix[:, 0, 1].atan().rad2deg()
    assert -20 <= lean.min() < -19 and 19 < lean.max() <= 20
    matrix, shift = drawn_maps(n, 41, 61, **{**still, "shift": 0.2})
    torch.testing.assert_close(matrix, torch.eye(2, dtype=torch.float64).expand(n, 2, 2))
    assert (shift.abs().amax(0) <= torch.tensor([12.2, 8.2])).all() and (shift.amax(0) > torch.tensor([12, 8])).all()
    assert (shift.amin(0) < -torch.tensor([12, 8])).all()


def test_a_displacement_of_a_pixel_each_way():
    x = torch.tensor([[[[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]]]])
    rows, columns = torch.meshgrid(torch.tensor([-0.5, 0.5]), torch.tensor([-1.0, 0.0, 1.0]), indexing="ij")
    down = torch.tensor([[[0.0, 1.0, 0.5], [-1.0, 0.0, 0.0]]])
    right = torch.tensor([[[1.0, 0.0, 0.0], [0.0, -0.5, 1.0]]])
    seen = geometry.looked_up(x, rows + down, columns + right)
    torch.testing.assert_close(seen, torch.tensor([[[[0.2, 0.5, 0.45], [0.1, 0.45, 0.6]]]]))


def test_elastic_looks_up_smoothed_noise(monkeypatch: pytest.MonkeyPatch):
    x, looked = torch.rand(500, 1, 29, 29, generator=generator(0)), []
    monkeypatch.setattr(geometry, "looked_up", lambda x, rows, columns: looked.append((rows, columns)) or x)
    augment.elastic(x, generator(1))
    at = torch.arange(29.0) - 14
    down, right = looked[0][0] - at[:, None], looked[0][1] - at
    # far from the border a sum of uniform numbers, of variance 1/3, with the squares of the weights
    weight = torch.exp(-torch.arange(-12.0, 13).square() / 32)
    expected = 34 * (1 / 3) ** 0.5 * float((weight / weight.sum()).square().sum())
    assert 1.35 < expected < 1.45  # pixels
    for field in (down, right):
        assert abs(float(field[:, 14, 14].std()) / expected - 1) < 0.1
        pairs = field[:, 14, 12:16:2].T
        assert 0.9 < float(torch.corrcoef(pairs)[0, 1]) < 0.97  # exp(-2^2 / (4 * 16)) = 0.94
    assert abs(float(torch.corrcoef(torch.stack([down.flatten(), right.flatten()]))[0, 1])) < 0.1


def test_a_lens_moves_the_corner_and_the_edge_by_its_formula():
    x, k = doubles(2, 1, 6, 8), torch.tensor([0.2, -0.25], dtype=torch.float64)

    def pixel(i: int, c: int, row: int, column: int) -> float:
        down, right = row - 2.5, column - 3.5
        stretch = 1 + float(k[i]) * (down**2 + right**2) / (3**2 + 4**2)
        return between(x[i, c], down * stretch + 2.5, right * stretch + 3.5)

    torch.testing.assert_close(geometry.radial(x, k), one_by_one(x, pixel))


def test_a_lens_is_drawn_evenly_to_both_sides(monkeypatch: pytest.MonkeyPatch):
    drawn = []
    monkeypatch.setattr(geometry, "radial", lambda x, k: drawn.append(k) or x)
    augment.lens(torch.zeros(2000, 1, 1, 1), generator(0), strength=0.1)
    assert -0.1 <= drawn[0].min() < -0.099 and 0.099 < drawn[0].max() <= 0.1
    assert drawn[0].mean().abs() < 0.01


# --- blurs ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("side", "margin"), [(1, 3), (2, 5), (5, 2)])
def test_a_margin_is_mirrored_as_often_as_needed(side: int, margin: int):
    expected = [fold(at, side) for at in range(-margin, side + margin)]
    assert mirrored(side, margin, torch.device("cpu")).tolist() == expected


@pytest.mark.parametrize("shape", [(2, 2, 6, 5), (2, 1, 1, 3)], ids=str)
def test_gaussian_is_a_naive_sum(shape: tuple[int, int, int, int]):
    x, sigma, radius = doubles(*shape), [0.8, 1.7], 4

    def pixel(i: int, c: int, row: int, column: int) -> float:
        total = weights = 0.0
        for down in range(-radius, radius + 1):
            for right in range(-radius, radius + 1):
                weight = math.exp(-(down**2 + right**2) / (2 * sigma[i] ** 2))
                total += weight * float(x[i, c, fold(row + down, shape[2]), fold(column + right, shape[3])])
                weights += weight
        return total / weights

    seen = blurs.gaussian(x, torch.tensor(sigma, dtype=torch.float64), radius)
    torch.testing.assert_close(seen, one_by_one(x, pixel))


def test_gaussian_is_that_of_scipy():
    from scipy.ndimage import gaussian_filter

    x = doubles(1, 1, 12, 9)
    seen = blurs.gaussian(x, torch.tensor([1.3], dtype=torch.float64), 5)
    expected = gaussian_filter(x[0, 0].numpy(), 1.3, mode="reflect", radius=5)
    torch.testing.assert_close(seen[0, 0], torch.from_numpy(expected))


def test_blur_is_drawn_up_to_its_width():
    spot = torch.zeros(400, 1, 31, 31)
    spot[:, :, 15, 15] = 1
    seen = augment.blur(spot, generator(0), sigma=2.0)[:, 0]
    torch.testing.assert_close(seen.sum((1, 2)), torch.ones(400))
    width = (seen.sum(1) * (torch.arange(31) - 15).square()).sum(1).sqrt()
    assert width.min() < 0.1 and 1.9 < width.max() < 2.0 and 0.9 < width.mean() < 1.1


def test_motion_is_a_naive_mean_along_the_line():
    x, length, angle, radius = doubles(2, 1, 5, 6), [2.5, 6.0], [0.4, 2.0], 3

    def pixel(i: int, c: int, row: int, column: int) -> float:
        steps = [length[i] * (t / (8 * radius) - 0.5) for t in range(8 * radius + 1)]
        seen = [between(x[i, c], row + s * math.sin(angle[i]), column + s * math.cos(angle[i])) for s in steps]
        return sum(seen) / len(seen)

    moved = blurs.motion(x, torch.tensor(length).double(), torch.tensor(angle).double(), radius)
    torch.testing.assert_close(moved, one_by_one(x, pixel))


def test_a_spot_becomes_a_line_of_that_length_and_direction():
    spot = torch.zeros(2, 1, 21, 21)
    spot[:, :, 10, 10] = 1
    flat, steep = blurs.motion(spot, torch.tensor([8.0, 8.0]), torch.tensor([0.0, math.pi / 2]), 5)[:, 0]
    torch.testing.assert_close(flat.T, steep)
    assert flat[:10].abs().max() < 1e-6 and flat[11:].abs().max() < 1e-6
    assert (flat[10] > 0.01).nonzero().flatten().tolist() == list(range(6, 15))
    assert flat.sum().item() == pytest.approx(1)


def test_motion_goes_in_all_directions_and_up_to_its_length(monkeypatch: pytest.MonkeyPatch):
    drawn = []
    monkeypatch.setattr(blurs, "motion", lambda x, length, angle, radius: drawn.append((length, angle, radius)) or x)
    augment.motion_blur(torch.zeros(2000, 1, 1, 1), generator(0), length=7.0)
    ((length, angle, radius),) = drawn
    assert radius == 4
    assert length.min() < 0.02 and 6.98 < length.max() <= 7
    assert angle.min() < 0.01 and 3.13 < angle.max() <= math.pi


# --- colours ----------------------------------------------------------------------------------------------------------


def test_pca_color_has_the_law_of_the_published_formula():
    """Shifts are ``sum_i a_i l_i v_i``: their covariance is ``s^2 V L^2 V^T``, from numpy's own decomposition."""
    n = 20_000
    common = torch.randn(n, 1, 2, 2, generator=generator(0)) * torch.tensor([1.0, 0.8, 0.2]).view(3, 1, 1)
    x = (10 + common + 0.3 * torch.randn(n, 3, 2, 2, generator=generator(1))).double()
    shift = colors.pca_color(x, generator(2), strength=0.5) - x
    torch.testing.assert_close(shift, shift[:, :, :1, :1].expand_as(shift))  # the same everywhere in an image
    values, vectors = np.linalg.eigh(np.cov(x.transpose(0, 1).flatten(1).numpy(), bias=True))
    expected = 0.5**2 * vectors @ np.diag(values**2) @ vectors.T
    found = np.cov(shift[:, :, 0, 0].T.numpy(), bias=True)
    assert np.abs(found - expected).max() < 0.05 * np.abs(expected).max()
    assert shift.mean((0, 2, 3)).abs().max() < 0.02


def test_pca_color_leaves_a_batch_of_one_colour_alone():
    x = torch.tensor([0.2, 0.5, 0.7]).view(1, 3, 1, 1).expand(4, 3, 5, 5)
    torch.testing.assert_close(colors.pca_color(x, generator(0), strength=1.0), x)


def test_a_cast_shifts_half_of_the_channels_by_up_to_its_strength():
    x = torch.full((2000, 3, 2, 2), 0.5)
    shift = augment.color_cast(x, generator(0), strength=0.2) - x
    assert (shift == shift[:, :, :1, :1]).all()
    shift = shift[:, :, 0, 0]
    assert 0.47 < (shift == 0).float().mean() < 0.53
    assert -0.2 <= shift.min() < -0.195 and 0.195 < shift.max() <= 0.2001 and shift.mean().abs() < 0.005
    assert abs(float(torch.corrcoef(shift.T)[0, 1])) < 0.06  # each channel on its own


def test_a_vignette_is_its_formula():
    x, loss, start = doubles(2, 2, 3, 5), [0.8, 0.3], [0.0, 0.5]

    def pixel(i: int, c: int, row: int, column: int) -> float:
        away = math.hypot(row - 1, column - 2) / math.hypot(1.5, 2.5)
        t = max(0.0, (away - start[i]) / (1 - start[i]))
        return float(x[i, c, row, column]) * (1 - loss[i] * t**2)

    seen = colors.darkened(x, *(torch.tensor(values, dtype=torch.float64) for values in (loss, start)))
    torch.testing.assert_close(seen, one_by_one(x, pixel))


def test_a_vignette_darkens_up_to_its_strength():
    seen = augment.vignette(torch.ones(2000, 1, 101, 101), generator(0), strength=0.6)[:, 0]
    assert (seen[:, 50, 50] == 1).all()
    corner = 1 - seen[:, 0, 0]
    assert corner.min() < 0.01 and 0.56 < corner.max() < 0.6
    edge = (seen < 0.999).float().mean((1, 2))
    assert edge.max() > 0.85 and edge.median() < 0.85


# --- noise and covers -------------------------------------------------------------------------------------------------


def test_noise_is_normal_with_a_deviation_of_each_image_up_to_its_strength():
    x = torch.full((400, 1, 40, 40), 5.0)  # no image, so nothing is cut
    change = augment.noise(x, generator(0), strength=0.2) - x
    spread = change.std((1, 2, 3))
    assert spread.min() < 0.005 and 0.19 < spread.max() < 0.21 and 0.09 < spread.mean() < 0.11
    z = change / spread[:, None, None, None]
    assert abs(float(z.pow(4).mean()) - 3) < 0.05


def test_salt_and_pepper_in_equal_shares_up_to_the_given():
    x = torch.full((400, 3, 40, 40), 0.5)
    seen = augment.salt_pepper(x, generator(0), share=0.2)
    assert set(seen.unique().tolist()) == {0.0, 0.5, 1.0}
    assert (seen == seen[:, :1]).all()  # whole pixels
    salt, pepper = ((seen == value).float().mean((1, 2, 3)) for value in (1, 0))
    assert abs(float(salt.mean()) - 0.05) < 0.005 and abs(float(pepper.mean()) - 0.05) < 0.005
    assert 0.17 < (salt + pepper).max() < 0.22 and (salt + pepper).min() < 0.01


def test_salt_and_pepper_of_other_images_are_their_own_extremes():
    x = torch.tensor([-2.0, 0.0, 3.0, 1.0]).view(1, 1, 2, 2).expand(50, 1, 2, 2)
    seen = augment.salt_pepper(x, generator(0), share=1.0)
    assert set(seen.unique().tolist()) == {-2.0, 0.0, 1.0, 3.0}
    assert {float(value) for value in seen[:, 0, 0, 1].unique()} == {-2.0, 0.0, 3.0}


@pytest.mark.parametrize(("side", "share"), [(16, 0.191), (8, 0.055), (20, 0.278)])
def test_cutout_erases_the_published_shares(side: int, share: float):
    erased = (augment.cutout(torch.ones(20_000, 1, 32, 32), generator(0), side=side, fill="zero") == 0).float()
    exact = sum((min(c + side // 2, 32) - max(c - side // 2, 0)) for c in range(32)) / 32**2
    assert exact**2 == pytest.approx(share, abs=6e-4)  # each axis on its own
    assert float(erased.mean()) == pytest.approx(exact**2, abs=1e-3)


@pytest.mark.parametrize("side", [4, 5])
def test_cutout_is_one_of_the_boxes_about_a_pixel(side: int):
    seen = augment.cutout(torch.ones(3000, 1, 6, 9), generator(0), side=side, fill="zero")
    boxes = set()
    for row in range(6):
        for column in range(9):
            image = torch.ones(6, 9)
            image[max(row - 2, 0) : row + 2, max(column - 2, 0) : column + 2] = 0
            boxes.add(tuple(image.flatten().tolist()))
    assert {tuple(image.flatten().tolist()) for image in seen} == boxes


def test_cutout_fills_with_the_mean_colour_of_all():
    x = doubles(5, 3, 8, 8)
    seen = augment.cutout(x, generator(0), side=4)
    mean = x.mean((0, 2, 3)).view(3, 1, 1)
    same, filled = seen == x, (seen - mean).abs() < 1e-12
    assert (same | filled).all() and 0.1 < filled.double().mean() < 0.25
    assert torch.equal(augment.cutout(x, generator(0), side=4, fill="zero") == 0, filled)


def test_cutout_larger_than_the_image_covers_it():
    assert (augment.cutout(torch.ones(2, 1, 3, 5), generator(0), side=16, fill="zero") == 0).all()


def test_an_occlusion_is_one_box_of_noise_up_to_its_share():
    n, height, width = 1000, 40, 60
    x = torch.full((n, 1, height, width), 2.0)
    x[:, :, 0, 0] = 4.0
    hidden = augment.occlusion(x, generator(0), share=0.5)
    changed = (hidden != x)[:, 0]
    tall, wide = changed.any(2).sum(1), changed.any(1).sum(1)
    assert ((tall * wide - changed.sum((1, 2))) <= 1).all()  # a box, where no pixel of noise repeats what was there
    share = tall * wide / (height * width)
    assert share.min() < 0.01 and 0.45 < share.max() < 0.54 and 0.22 < share.float().mean() < 0.26
    free = (tall > 3) & (wide > 3) & (tall < height) & (wide < width)
    aspect = (tall / wide)[free]
    assert 0.25 < aspect.min() < 0.45 and 2.2 < aspect.max() < 4
    noise = hidden[(hidden != x)]
    assert 2 <= noise.min() < 2.01 and 3.99 < noise.max() <= 4 and abs(float(noise.mean()) - 3) < 0.01
    rows = changed.any(2).float().mean(0)
    assert rows[0] > 0.1 and rows[-1] > 0.1  # up to the border on both ends


def test_an_occlusion_of_a_dark_image_is_not_dark():
    noise = augment.occlusion(torch.full((20, 1, 20, 20), 0.1), generator(0))
    assert noise.min() < 0.01 and noise.max() > 0.99


def test_every_place_of_an_occlusion_is_as_likely():
    x = torch.zeros(20_000, 1, 1, 5)
    covered = (augment.occlusion(x, generator(0), share=0.4) != 0)[:, 0, 0]
    counts = covered[covered.sum(1) == 1].sum(0)
    assert counts.sum() > 5000
    assert float(((counts - counts.float().mean()).square() / counts.float().mean()).sum()) < 18.5  # 4 degrees: 0.1 %


def test_images_are_told_from_other_numbers_one_by_one():
    x = torch.tensor([[0.0, 1.0], [0.0, 1.001], [-0.001, 1.0]]).view(3, 1, 1, 2)
    low, high, inside = limits(x)
    assert inside.flatten().tolist() == [True, False, False]
    assert low.flatten().tolist() == pytest.approx([0, 0, -0.001])
    assert high.flatten().tolist() == pytest.approx([1, 1.001, 1])


# --- views for contrast -----------------------------------------------------------------------------------------------


def test_a_turn_of_the_hue_is_that_of_colorsys():
    x, turn = doubles(3, 3, 5, 4), torch.tensor([0.3, -0.45, 0.0], dtype=torch.float64)
    x[0, :, 0, 0] = 0.5  # grey has no hue
    turned = colors.turned_hue(x, turn)
    for i, row, column in np.ndindex(3, 5, 4):
        hue, saturation, value = colorsys.rgb_to_hsv(*x[i, :, row, column].tolist())
        expected = colorsys.hsv_to_rgb((hue + float(turn[i])) % 1, saturation, value)
        assert turned[i, :, row, column].tolist() == pytest.approx(expected)


def test_jitter_is_its_parts_one_after_the_other():
    """Each alone, image by image: a factor, a distance to the mean grey, a distance to the own grey."""
    x = doubles(50, 3, 4, 4)
    weight = torch.tensor([0.299, 0.587, 0.114], dtype=torch.float64).view(3, 1, 1)
    off = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0, "chance": 1.0}
    dark = x / 2  # so that no factor reaches 1
    factor = (augment.jitter(dark, generator(0), **{**off, "brightness": 0.4}) / dark).flatten(1)
    torch.testing.assert_close(factor, factor[:, :1].expand_as(factor))
    assert 0.6 <= factor.min() < 0.65 and 1.35 < factor.max() <= 1.4
    own = (x * weight).sum(1, keepdim=True)
    for name, center in (("contrast", own.mean((1, 2, 3), keepdim=True)), ("saturation", own)):
        changed = augment.jitter(x, generator(0), **{**off, name: 0.4})
        seen, before = changed - center, x - center
        factor = ((seen * before).sum((1, 2, 3)) / before.square().sum((1, 2, 3)))[:, None, None, None]
        free = (changed > 0) & (changed < 1)
        assert free.double().mean() > 0.8
        near = (changed - (center + factor * before)).abs()[free & (factor < 1)]  # where nothing was cut
        assert near.max() < 1e-12
        assert 0.6 <= factor.min() < 0.65 and factor.max() > 1.2
    everything = augment.jitter(x, generator(0), chance=1.0)
    assert not torch.allclose(everything, augment.jitter(x, generator(0), hue=0.0, chance=1.0))


def test_some_images_are_jittered_blurred_and_grey():
    x = doubles(4000, 3, 2, 2)
    for change, chance in ((augment.jitter, 0.8), (augment.grayscale, 0.2)):
        share = (change(x, generator(0)) != x).flatten(1).any(1).double().mean()
        assert abs(share - chance) < 4 * (chance * (1 - chance) / len(x)) ** 0.5
    share = (augment.blur(x, generator(0), chance=0.3) != x).flatten(1).any(1).double().mean()
    assert abs(share - 0.3) < 4 * (0.3 * 0.7 / len(x)) ** 0.5
    grey = augment.grayscale(x, generator(0), chance=1.0)
    torch.testing.assert_close(grey[:, 0], 0.299 * x[:, 0] + 0.587 * x[:, 1] + 0.114 * x[:, 2])
    assert torch.equal(grey[:, 0], grey[:, 1]) and torch.equal(grey[:, 0], grey[:, 2])


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_without_three_channels_there_is_no_colour(channels):
    x = doubles(40, channels, 3, 3) / 2
    assert torch.equal(augment.grayscale(x, generator(0), chance=1.0), x)
    torch.testing.assert_close(augment.jitter(x, generator(0), brightness=0.0, contrast=0.0), x)


def test_a_box_may_be_small():
    """A ramp tells which part of an image is seen: with scale=0.08, its share of the area goes down to that."""
    ramp = torch.linspace(0, 1, 60, dtype=torch.float64).expand(3000, 1, 60, 60)
    both = torch.cat([ramp, ramp.transpose(2, 3)], 1)
    seen = augment.resized_crop_flip(both, generator(0), scale=0.08)
    area = (seen.amax((2, 3)) - seen.amin((2, 3))).prod(1)
    assert 0.05 < area.min() < 0.09 and area.max() > 0.9
    assert abs(area.mean() - 0.54) < 0.08  # nearly uniform from 0.08 to 1; large boxes fit less often


def test_noise_on_a_table_is_in_deviations_and_spares_what_has_two_values():
    x = torch.stack([torch.randn(5000, generator=generator(1)) * 30 + 7, torch.arange(5000) % 2, torch.ones(5000)], 1)
    change = augment.feature_noise(x, generator(0), sigma=0.5) - x
    assert change[:, 0].std() == pytest.approx(0.5 * 30, rel=0.05)
    assert (change[:, 1:] == 0).all()
    assert torch.equal(augment.feature_noise(x[:1], generator(0)), x[:1])


def test_features_are_swapped_with_other_rows_at_the_rate():
    n = 4000
    x = torch.arange(2.0 * n).view(n, 2, 1)  # every value is its own
    changed = augment.feature_swap(x, generator(0), rate=0.3)
    hit = changed != x
    assert abs(hit.double().mean() - 0.3) < 4 * (0.3 * 0.7 / (2 * n)) ** 0.5
    assert torch.equal(changed % 2, x % 2)  # of the same column
    assert (augment.feature_swap(x, generator(0), rate=1.0) != x).all()
    assert not torch.equal(hit[:, 0], hit[:, 1])
    assert torch.equal(augment.feature_swap(x[:1], generator(0)), x[:1])


def test_tokens_become_padding_at_the_rate_but_the_first():
    x = torch.full((2000, 6), 7)
    changed = augment.token_dropout(x, generator(0), rate=0.25)
    assert (changed[:, 0] == 7).all() and set(changed.unique().tolist()) == {0, 7}
    share = (changed[:, 1:] == 0).double().mean()
    assert abs(share - 0.25) < 4 * (0.25 * 0.75 / 10_000) ** 0.5


@pytest.mark.parametrize(
    ("spec", "x"),
    [
        ("feature-noise", torch.rand(8, 3, generator=generator(9))),
        ("feature-swap", torch.rand(8, 3, generator=generator(9))),
        ("token-dropout", torch.ones(8, 6, dtype=torch.long)),
    ],
)
def test_rows_are_changed_by_the_generator_alone(spec, x):
    before, rule = x.clone(), augment.build(spec)
    assert torch.equal(rule(x, generator(3)), rule(x, generator(3))) and torch.equal(x, before)
    assert not torch.equal(rule(x, generator(3)), rule(x, generator(4)))
    assert rule(x, generator(3)).dtype == x.dtype
