from __future__ import annotations

import colorsys
import io

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_image

from longcut.datasets.corrupted_cifar10 import LISTS, read_batches
from longcut.datasets.corruptions import CORRUPTIONS, corrupt
from longcut.errors import UserError

RANDOM = sorted(
    CORRUPTIONS.keys()
    - {"original", "brightness", "contrast", "saturate", "jpeg_compression", "pixelate"}
    - {"gaussian_blur", "defocus_blur", "zoom_blur"}
)


def spoilt(image: np.ndarray, name: str, severity: int = 5, number: int = 0) -> np.ndarray:
    """One image ``(32, 32, 3)``, corrupted."""
    return corrupt(image.transpose(2, 0, 1)[None], [name], severity, [number])[0].transpose(1, 2, 0)


def levels(x: np.ndarray) -> np.ndarray:
    """What is stored of values in [0, 1]: whole levels, cut off below the point."""
    return np.floor(np.clip(x, 0, 1) * 255 + 1e-6).astype(int)


def flat(level: int) -> np.ndarray:
    return np.full((32, 32, 3), level, np.uint8)


def dot() -> np.ndarray:
    """A white pixel in the middle of black ones."""
    image = flat(0)
    image[16, 16] = 255
    return image


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    whole = Image.fromarray(load_sample_image("china.jpg"))
    return np.asarray(whole.crop((100, 50, 420, 370)).resize((32, 32), Image.Resampling.BOX))


@pytest.fixture(scope="module")
def speckles() -> np.ndarray:
    return np.random.default_rng(5).integers(0, 256, (32, 32, 3), dtype=np.uint8)


# --- all of them ------------------------------------------------------------------------------------------------------


def test_the_lists_are_ten_different_corruptions():
    for names in LISTS.values():
        assert len(set(names)) == 10
        assert set(names) <= set(CORRUPTIONS)
    assert set(LISTS["type0"]) | set(LISTS["type1"]) == set(CORRUPTIONS)
    assert all(len(settings) == 5 for _, settings in CORRUPTIONS.values())


@pytest.mark.parametrize("name", RANDOM)
def test_the_number_of_the_image_is_what_chance_depends_on(name, photo):
    images = np.stack([photo.transpose(2, 0, 1)] * 3)
    together = corrupt(images, [name, "original", name], 5, [7, 8, 9])
    assert np.array_equal(corrupt(images[:1], [name], 5, [9])[0], together[2])
    assert np.array_equal(together[1], images[1])
    assert not np.array_equal(together[0], together[2])


@pytest.mark.parametrize("name", sorted(CORRUPTIONS.keys() - set(RANDOM)))
def test_what_is_not_random_is_the_same_for_every_number(name, photo):
    assert np.array_equal(spoilt(photo, name, number=1), spoilt(photo, name, number=2))


@pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])
def test_original_changes_nothing(severity, speckles):
    assert np.array_equal(spoilt(speckles, "original", severity), speckles)


@pytest.mark.parametrize(
    "name",
    sorted(
        CORRUPTIONS.keys()
        # the settings of the others change in kind, and not in strength alone
        - {"original", "saturate", "spatter", "glass_blur", "elastic_transform", "snow", "frost", "defocus_blur"}
    ),
)
def test_a_higher_severity_changes_more(name, photo):
    away = [
        np.mean([abs(spoilt(photo, name, severity, number) - photo.astype(float)).mean() for number in range(20)])
        for severity in range(1, 6)
    ]
    assert away == sorted(away) and away[0] > 0


@pytest.mark.parametrize(
    ("images", "names", "severity", "message"),
    [
        (np.zeros((1, 3, 32, 32)), ["snow"], 5, r"are float64 of shape \(1, 3, 32, 32\); give uint8"),
        (np.zeros((1, 32, 32, 3), np.uint8), ["snow"], 5, r"of shape \(1, 32, 32, 3\); give uint8 of shape \(n, 3, 32"),
        (np.zeros((1, 3, 32, 32), np.uint8), ["snou"], 5, "unknown corruption 'snou': did you mean 'snow'"),
        (np.zeros((1, 3, 32, 32), np.uint8), ["snow"], 6, "severity=6 is not allowed; give a whole number from 1 to 5"),
    ],
)
def test_wrong_arguments_are_refused(images, names, severity, message):
    with pytest.raises(UserError, match=message):
        corrupt(images, names, severity, [0])


# --- noise ------------------------------------------------------------------------------------------------------------

GREY = 120
N = 40 * 32 * 32 * 3


def many(name: str, severity: int) -> np.ndarray:
    """Forty grey images, corrupted, as levels."""
    grey = np.full((40, 3, 32, 32), GREY, np.uint8)
    return corrupt(grey, [name] * 40, severity, range(40)).astype(float)


@pytest.mark.parametrize(
    ("name", "sd"),
    [
        ("gaussian_noise", [255 * c for c in (0.04, 0.06, 0.08, 0.09, 0.10)]),
        # the variance of a Poisson number is its mean: x * c photons, of 1 / c each
        ("shot_noise", [255 * (GREY / 255 / c) ** 0.5 for c in (500, 250, 100, 75, 50)]),
        ("speckle_noise", [GREY * c for c in (0.06, 0.1, 0.12, 0.16, 0.2)]),
    ],
)
@pytest.mark.parametrize("severity", [1, 3, 5])
def test_mean_and_deviation_of_noise(name, sd, severity):
    found = many(name, severity)
    # cutting off takes half a level on average, and adds the variance of a uniform number
    expected = (sd[severity - 1] ** 2 + 1 / 12) ** 0.5
    slack = 5 * expected / N**0.5
    if name == "shot_noise":  # whole numbers of photons: cutting off takes between none and one level of each
        photons = (500, 250, 100, 75, 50)[severity - 1]
        assert set(np.unique(found)) <= {np.floor(255 * k / photons + 1e-6) for k in range(photons + 1)}
        slack += 0.5
    assert abs(found.mean() - (GREY - 0.5)) < slack
    assert found.std() == pytest.approx(expected, rel=0.015)


def test_black_has_no_shot_noise_and_no_speckles():
    assert spoilt(flat(0), "shot_noise").max() == spoilt(flat(0), "speckle_noise").max() == 0


@pytest.mark.parametrize(("severity", "share"), [(1, 0.01), (5, 0.07)])
def test_impulses_are_black_and_white_values(severity, share):
    found = many("impulse_noise", severity)
    assert set(np.unique(found)) == {0, GREY, 255}
    for level in (0, 255):
        assert (found == level).mean() == pytest.approx(share / 2, abs=5 * (share / 2 / N) ** 0.5)
    assert ((found == 0).any(1) & (found == 255).any(1)).any()
    spared = (found == GREY).all(1).mean()
    assert spared == pytest.approx((1 - share) ** 3, abs=5 * (3 * share / N * 3) ** 0.5)  # channels for themselves


# --- blur -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("severity", "sigma"), [(1, 0.4), (3, 0.7), (5, 1.0)])
def test_gaussian_blur_of_a_dot(severity, sigma):
    away = np.arange(32) - 16
    weight = np.where(abs(away) <= int(4 * sigma + 0.5), np.exp(-(away**2) / (2 * sigma**2)), 0)
    weight /= weight.sum()
    expected = levels(np.outer(weight, weight))
    assert np.array_equal(spoilt(dot(), "gaussian_blur", severity), np.repeat(expected[:, :, None], 3, 2))


@pytest.mark.parametrize(("severity", "radius"), [(4, 1), (5, 1.5)])
def test_defocus_is_the_mean_over_a_disk_by_a_loop(severity, radius, speckles):
    """Where the rim is hardly softened: by 0.2 and 0.1 pixels."""

    def mirrored(place: int) -> int:
        return abs(place) if place < 32 else 62 - place

    expected = np.zeros((32, 32, 3))
    disk = [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1) if i * i + j * j <= radius * radius]
    for row in range(32):
        for column in range(32):
            expected[row, column] = np.mean([speckles[mirrored(row + i), mirrored(column + j)] for i, j in disk], 0)
    assert abs(spoilt(speckles, "defocus_blur", severity) - (expected - 0.5)).max() <= 0.51


def test_defocus_softens_the_rim_of_a_single_pixel():
    """At severity 3 the disk is one pixel, and the 3 x 3 Gaussian of 0.6 pixels remains."""
    soft = np.exp(-np.array([1, 0, 1]) / (2 * 0.6**2))
    expected = levels(np.outer(soft, soft) / soft.sum() ** 2)
    assert np.array_equal(spoilt(dot(), "defocus_blur", 3)[15:18, 15:18, 0], expected)


def test_glass_moves_pixels_a_little_and_keeps_them_all():
    """At severity 1 a Gaussian of 0.05 pixels blurs nothing. The color of a pixel tells where it was."""
    rows, columns = np.mgrid[:32, :32]
    image = np.stack([rows, columns, 0 * rows], -1).astype(np.uint8)
    found = spoilt(image, "glass_blur", 1)
    places = found[:, :, 0].astype(int) * 32 + found[:, :, 1]
    assert sorted(places.ravel()) == list(range(1024))
    away = np.maximum(abs(found[:, :, 0].astype(int) - rows), abs(found[:, :, 1].astype(int) - columns))
    assert 0.7 < (away[1:-1, 1:-1] > 0).mean() < 1
    assert away.mean() < 2
    assert not np.array_equal(spoilt(image, "glass_blur", 4)[:, :, :2], found[:, :, :2])


@pytest.mark.parametrize(("severity", "radius", "sigma"), [(1, 6, 1), (5, 9, 2.5)])
def test_motion_draws_a_dot_out_to_one_side(severity, radius, sigma):
    weight = np.exp(-(np.arange(2 * radius + 1) ** 2) / (2 * sigma**2))
    weight /= weight.sum()
    slopes = set()
    for number in range(10):
        found = spoilt(dot(), "motion_blur", severity, number)[:, :, 0].astype(int)
        rows, columns = found.nonzero()
        assert found[16, 16] == int(255 * weight[0])
        assert (columns <= 16).all() and (abs(rows - 16) <= 16 - columns).all()  # at most 45 degrees up or down
        assert 255 - len(weight) <= found.sum() <= 255  # no light is lost but by cutting off
        for step in range(1, 16):  # light that is at least so many columns away has taken at least so many steps
            assert found[:, : 17 - step].sum() <= 255 * weight[step:].sum() + 1e-6
        slopes.add(tuple(rows))
    assert len(slopes) > 2


def test_motion_of_an_even_image_changes_nothing():
    assert np.array_equal(spoilt(flat(77), "motion_blur"), flat(77))


@pytest.mark.parametrize(("severity", "n"), [(1, 7), (3, 16), (5, 26)])
def test_zoom_is_a_mean_of_enlargements_by_a_loop(severity, n, photo):
    total = photo.astype(float)
    for step in range(n):
        factor = 1 + step / 100
        at = 15.5 + (np.arange(32) - 15.5) / factor
        for row in range(32):
            for column in range(32):
                top, left = int(at[row]), int(at[column])
                down, right = at[row] - top, at[column] - left
                below, beside = min(top + 1, 31), min(left + 1, 31)
                total[row, column] += (1 - down) * ((1 - right) * photo[top, left] + right * photo[top, beside])
                total[row, column] += down * ((1 - right) * photo[below, left] + right * photo[below, beside])
    assert np.array_equal(spoilt(photo, "zoom_blur", severity), levels(total / (n + 1) / 255))


# --- weather ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("severity", "kept"), [(1, 0.95), (5, 0.8)])
@pytest.mark.parametrize("level", [0, 60])
def test_snow_falls_on_a_whitened_image_and_is_the_same_upside_down(severity, kept, level):
    found = np.stack([spoilt(flat(level), "snow", severity, number) for number in range(20)])
    ground = kept * level / 255 + (1 - kept) * (1.5 * level / 255 + 0.5)
    assert found.min() == levels(np.array(ground))
    assert np.array_equal(found, found[:, ::-1, ::-1])
    assert np.array_equal(found[..., 0], found[..., 2])
    light = found[..., 0] - found.min()
    assert light.max() > 20
    # streaks: by more alike above one another than beside one another
    assert abs(np.diff(light.astype(float), axis=1)).mean() < abs(np.diff(light.astype(float), axis=2)).mean()


@pytest.mark.parametrize(("severity", "kept", "ice"), [(1, 1, 0.2), (5, 0.75, 0.45)])
def test_frost_is_a_share_of_the_image_and_a_share_of_ice(severity, kept, ice, photo):
    dim = photo // 2
    seen = []
    for number in range(20):
        over_black = spoilt(flat(0), "frost", severity, number).astype(float)
        assert over_black.max() <= ice * 255
        assert over_black.min() >= np.floor(ice * 0.22 * 255)
        assert (over_black[..., 0] <= over_black[..., 2]).all()  # blue rather than red
        found = spoilt(dim, "frost", severity, number)
        assert abs(found - np.minimum(over_black + kept * dim, 255)).max() <= 1
        seen.append(over_black.mean())
    assert 0.4 < np.mean(seen) / ice / 255 < 0.8
    assert np.std(seen) > 0


@pytest.mark.parametrize(("severity", "amount"), [(1, 0.2), (3, 0.75), (5, 1.5)])
@pytest.mark.parametrize("level", [51, 204])
def test_fog_over_an_even_image_goes_from_its_square_to_itself(severity, amount, level):
    v = level / 255
    for number in range(5):
        found = spoilt(flat(level), "fog", severity, number)
        assert found.max() == level
        assert found.min() == levels(np.array(v * v / (v + amount)))
        assert np.array_equal(found[..., 0], found[..., 1]) and np.array_equal(found[..., 0], found[..., 2])


def test_fog_is_smooth_and_smoother_where_it_decays_faster():
    """Neighbours, also over the edge, differ by much less than the fog does."""

    def rough(severity: int) -> float:
        fog = np.stack([spoilt(flat(200), "fog", severity, number)[..., 0] for number in range(30)]).astype(float)
        steps = abs(fog - np.roll(fog, 1, 1)).mean((1, 2)) + abs(fog - np.roll(fog, 1, 2)).mean((1, 2))
        return float(np.mean(steps / fog.std((1, 2))))

    assert rough(1) < rough(3) < rough(5) < 0.6  # of independent pixels it would be 2.3


@pytest.mark.parametrize("severity", [4, 5])
def test_mud_covers_with_its_color(severity):
    """White under mud is 255 (1 - m) + color * m in each channel, with one m of at least 0.8."""
    found = np.stack([spoilt(flat(255), "spatter", severity, number) for number in range(30)]).astype(float)
    covered = (found < 255).any(-1)
    assert 0.01 < covered.mean() < 0.5
    cover = (255 - found[covered]) / (255 - np.array([63, 42, 20]))
    assert abs(cover - cover.mean(1, keepdims=True)).max() < 0.01  # a level more or less
    assert cover.min() > 0.8 - 1e-9 and cover.max() < 1.005
    assert (abs(found - [63, 42, 20]) <= 1).all(-1).any()


@pytest.mark.parametrize("severity", [1, 2, 3])
def test_water_shines_in_its_color(severity):
    found = np.stack([spoilt(flat(20), "spatter", severity, number) for number in range(30)]).astype(float) - 20
    assert found.min() == 0
    assert (found.max((1, 2, 3)) == np.floor(0.5 * 238)).mean() > 0.9  # the brightest place of nearly every image
    assert np.array_equal(found[..., 1], found[..., 2])
    assert abs(found[..., 0] - found[..., 1] * 175 / 238).max() <= 1


# --- color and form ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])
@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("brightness", lambda h, s, v, k: (h, s, min(v + (0.05, 0.1, 0.15, 0.2, 0.3)[k], 1))),
        (
            "saturate",
            lambda h, s, v, k: (h, min(s * (0.3, 0.1, 1.5, 2, 2.5)[k] + (0, 0, 0, 0.1, 0.2)[k], 1), v),
        ),
    ],
)
def test_hue_saturation_and_value_pixel_by_pixel(name, change, severity, speckles):
    image = speckles.copy()
    image[:4] = image[:4, :, :1]  # greys, too
    expected = np.zeros((32, 32, 3))
    for row in range(32):
        for column in range(32):
            hsv = colorsys.rgb_to_hsv(*(image[row, column] / 255))
            expected[row, column] = colorsys.hsv_to_rgb(*change(*hsv, severity - 1))
    assert np.array_equal(spoilt(image, name, severity), levels(expected))


def test_brightness_5_adds_three_tenths_of_the_value():
    assert np.array_equal(spoilt(flat(100), "brightness"), flat(176))  # 100 + 76.5


@pytest.mark.parametrize(("severity", "share"), [(1, 0.75), (2, 0.5), (3, 0.4), (4, 0.3), (5, 0.15)])
def test_contrast_is_a_share_of_the_distance_to_the_mean_of_the_channel(severity, share, speckles):
    x = speckles.astype(float)
    expected = np.stack([x[..., c].mean() + share * (x[..., c] - x[..., c].mean()) for c in range(3)], -1)
    assert np.array_equal(spoilt(speckles, "contrast", severity), levels(expected / 255))


def test_contrast_5_spans_38_levels_from_black_to_white():
    image = flat(0)
    image[::2] = 255
    assert np.unique(spoilt(image, "contrast")).tolist() == [108, 146]  # 127.5 - and + 0.15 * 127.5


@pytest.mark.parametrize(("severity", "quality"), [(1, 80), (2, 65), (3, 58), (4, 50), (5, 40)])
def test_jpeg_is_pillows_at_this_quality(severity, quality, photo):
    file = io.BytesIO()
    Image.fromarray(photo).save(file, "JPEG", quality=quality)
    assert np.array_equal(spoilt(photo, "jpeg_compression", severity), np.asarray(Image.open(file)))


def doubled(image: np.ndarray) -> tuple[int, int]:
    """How many rows, and how many columns, are the same as the one before."""
    x = image.astype(int)
    return int((np.diff(x, axis=0) == 0).all((1, 2)).sum()), int((np.diff(x, axis=1) == 0).all((0, 2)).sum())


@pytest.mark.parametrize(("severity", "side"), [(1, 30), (2, 28), (3, 27), (4, 24), (5, 20)])
def test_pixelate_doubles_rows_and_columns(severity, side, speckles):
    assert doubled(spoilt(speckles, "pixelate", severity)) == (32 - side, 32 - side)


def test_pixelate_takes_the_mean_of_what_lies_in_a_box(speckles):
    """Of the pixels whose centre lies in the box of 1.6 pixels; here columns only, since all rows are alike."""
    image = np.repeat(speckles[:1], 32, 0)
    small = [
        image[0, [j for j in range(32) if -0.8 < j + 0.5 - (i + 0.5) * 1.6 <= 0.8]].astype(float).mean(0)
        for i in range(20)
    ]
    expected = np.array([small[int((i + 0.5) * 20 / 32)] for i in range(32)])
    assert abs(spoilt(image, "pixelate") - expected).max() <= 0.5


def test_elastic_leaves_an_even_image_even():
    assert np.array_equal(spoilt(flat(90), "elastic_transform"), flat(90))


def ramps() -> np.ndarray:
    rows, columns = np.mgrid[:32, :32]
    return np.stack([rows * 8, columns * 8, 0 * rows], -1).astype(np.uint8)


def test_elastic_1_is_an_affine_map_by_at_most_the_jitter():
    """A slope stays a slope, and where the three corners went is at most 0.08 of the side from where they were."""
    for number in range(10):
        found = spoilt(ramps(), "elastic_transform", 1, number)[8:24, 8:24, :2].astype(float)
        rows, columns = np.mgrid[8:24, 8:24]
        plane = np.stack([rows.ravel(), columns.ravel(), np.ones(256)], 1)
        fitted, *_ = np.linalg.lstsq(plane, found.reshape(-1, 2) + 0.5, rcond=None)
        assert abs(plane @ fitted - found.reshape(-1, 2) - 0.5).max() < 1.1  # levels; an eighth of a pixel
        # where the map takes from: the corner (r, c), moved by u, shows what was at (r, c)
        linear, shift = fitted[:2] / 8, fitted[2] / 8
        for corner in ((26, 26), (26, 6), (6, 6)):
            moved = np.linalg.solve(linear.T, np.array(corner) - shift)
            assert abs(moved - corner).max() < 2.56 + 0.3
        assert abs(found / 8 - np.stack([rows, columns], -1)).max() > 0.1


def test_elastic_5_moves_pixels_by_smooth_noise():
    """The noise has the variance 1/3 of U(-1, 1), is smoothed by a Gaussian of 0.96 pixels, and counts 3.2 times."""
    grid = np.arange(-3, 4)
    weight = np.exp(-(grid**2) / (2 * 0.96**2))
    weight /= weight.sum()
    expected = 3.2 * (1 / 3) ** 0.5 * (weight**2).sum()
    left = []
    for number in range(40):
        found = (spoilt(ramps(), "elastic_transform", 5, number)[8:24, 8:24, :2] + 0.5) / 8
        rows, columns = np.mgrid[8:24, 8:24]
        plane = np.stack([rows.ravel(), columns.ravel(), np.ones(256)], 1)
        fitted, *_ = np.linalg.lstsq(plane, found.reshape(-1, 2), rcond=None)
        left.append((found.reshape(-1, 2) - plane @ fitted).std())
    assert np.mean(left) == pytest.approx(expected, rel=0.1)


# --- on photographs of CIFAR-10 ---------------------------------------------------------------------------------------


@pytest.mark.data
def test_what_was_measured_on_the_published_images(real_data):
    """Pixelated tiles have 12 doubled rows and columns; tiles of low contrast span at most 38.25 levels, which are 39
    when cut off at the wrong place; no other corruption of the list does that to most photographs."""
    images = read_batches(real_data / "cifar-10-batches-py")[0][:200]
    for name in LISTS["type0"]:
        found = corrupt(images, [name] * 200, 5, range(200)).transpose(0, 2, 3, 1)
        twelve = np.mean([doubled(image) == (12, 12) for image in found])
        span = np.ptp(found.astype(int), axis=(1, 2)).max(1)
        assert twelve > 0.95 if name == "pixelate" else twelve < 0.01
        assert span.max() <= 39 if name == "contrast" else np.median(span) > 60
