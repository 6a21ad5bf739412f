"""Ways to spoil a photograph of 32 x 32 pixels, at the five severities of CIFAR-10-C (Hendrycks and Dietterich 2019).

Each is written from its description, without OpenCV or ImageMagick; where that makes a difference, its docstring says
so. The random draws depend on the number of the image, the corruption and the severity, and on nothing else.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from longcut.errors import UserError, unknown

__all__ = ["CORRUPTIONS", "SIDE", "corrupt"]

SIDE = 32
WHITE_GREY = (0.299, 0.587, 0.114)  # weights of red, green and blue in a grey level
WATER = np.array((175, 238, 238)) / 255
MUD = np.array((63, 42, 20)) / 255
TEXTURE_SIDE, N_TEXTURES = 128, 5  # of frost

Pixels = NDArray[np.float64]  # (32, 32, 3) or (32, 32), in [0, 1]
Draw = np.random.Generator


def corrupt(
    images: NDArray[np.uint8], names: Sequence[str], severity: int, numbers: Sequence[int] | NDArray[np.integer]
) -> NDArray[np.uint8]:
    """Images, each with its corruption.

    Args:
        images: uint8 ``(n, 3, 32, 32)``.
        names: of the corruption of each image, a key of :data:`CORRUPTIONS`.
        severity: 1…5.
        numbers: of each image: one number, corruption and severity always give the same pixels of one image.

    Returns:
        uint8 ``(n, 3, 32, 32)``; levels are cut off below the point, as in CIFAR-10-C.

    Raises:
        UserError: on images of another shape or type, an unknown corruption, or a severity that is not 1…5.

    >>> grey = np.full((1, 3, 32, 32), 100, np.uint8)
    >>> int(corrupt(grey, ["brightness"], 5, [0])[0, 0, 0, 0])  # 100 + 0.3 * 255
    176
    """
    if images.dtype != np.uint8 or images.shape[1:] != (3, SIDE, SIDE):
        raise UserError(
            f"images to corrupt are {images.dtype} of shape {images.shape}; give uint8 of shape (n, 3, {SIDE}, {SIDE})."
        )
    if severity not in range(1, 6):
        raise UserError(f"severity={severity} is not allowed; give a whole number from 1 to 5.")
    out = np.empty_like(images)
    for row, (image, name, number) in enumerate(zip(images, names, numbers, strict=True)):
        if name not in CORRUPTIONS:
            raise unknown("corruption", name, CORRUPTIONS)
        function, settings = CORRUPTIONS[name]
        draw = np.random.default_rng((int(number), zlib.crc32(name.encode()), severity))
        changed = function(image.transpose(1, 2, 0) / 255, draw, *settings[severity - 1])
        # the millionth keeps a level that is whole, but for rounding errors, from being cut to the one below
        out[row] = (changed.clip(0, 1) * 255 + 1e-6).astype(np.uint8).transpose(2, 0, 1)
    return out


# --- noise ------------------------------------------------------------------------------------------------------------


def _gaussian_noise(x: Pixels, draw: Draw, sd: float) -> Pixels:
    return x + draw.normal(0, sd, x.shape)


def _shot_noise(x: Pixels, draw: Draw, photons: float) -> Pixels:
    """White is ``photons`` photons on average, of which a Poisson number arrives."""
    return draw.poisson(x * photons) / photons


def _impulse_noise(x: Pixels, draw: Draw, share: float) -> Pixels:
    """A share of the values, channel by channel, becomes 0 or 1."""
    return np.where(draw.random(x.shape) < share, draw.integers(2, size=x.shape), x)


def _speckle_noise(x: Pixels, draw: Draw, sd: float) -> Pixels:
    return x + x * draw.normal(0, sd, x.shape)


# --- blur -------------------------------------------------------------------------------------------------------------


def _gaussian_blur(x: Pixels, draw: Draw, sigma: float) -> Pixels:
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(x, sigma, mode="nearest", axes=(0, 1))


def _defocus_blur(x: Pixels, draw: Draw, radius: float, alias: float) -> Pixels:
    """The mean over a disk whose rim is softened by a 3 x 3 Gaussian."""
    from scipy.ndimage import correlate

    from_centre = np.arange(-3, 4)
    disk = (from_centre[:, None] ** 2 + from_centre**2 <= radius**2).astype(float)
    soft = np.exp(-(np.arange(-1, 2) ** 2) / (2 * alias**2))
    kernel = correlate(disk, np.outer(soft, soft), mode="constant")
    return correlate(x, kernel[:, :, None] / kernel.sum(), mode="mirror")


def _glass_blur(x: Pixels, draw: Draw, sigma: float, reach: int, times: int) -> Pixels:
    """Pixels change places with pixels close by, between two Gaussian blurs.

    The order of the pixels is random and all directions are possible; CIFAR-10-C goes row by row and draws from half of
    the directions.
    """
    inner = np.arange(SIDE**2).reshape(SIDE, SIDE)[reach:-reach, reach:-reach].ravel()
    order = list(range(SIDE**2))
    for _ in range(times):
        down, right = draw.integers(-reach, reach + 1, (2, len(inner)))
        here = draw.permutation(inner)
        for one, other in zip(here.tolist(), (here + SIDE * down + right).tolist(), strict=True):
            order[one], order[other] = order[other], order[one]
    x = _gaussian_blur(x, draw, sigma).reshape(-1, 3)[order].reshape(x.shape)
    return _gaussian_blur(x, draw, sigma)


def _motion_blur(x: Pixels, draw: Draw, radius: int, sigma: float) -> Pixels:
    return _streak(x, radius, sigma, draw.uniform(-45, 45))


def _streak(x: Pixels, radius: int, sigma: float, degrees: float) -> Pixels:
    """Blurs to one side along a line: the weights are half a Gaussian, ``2 * radius + 1`` pixels long.

    The image is continued beyond its edge by its last pixels.
    """
    along = np.arange(2 * radius + 1)
    weight = np.exp(-(along**2) / (2 * sigma**2))
    angle = np.deg2rad(degrees)
    down, right = np.rint(along * np.sin(angle)).astype(int), np.rint(along * np.cos(angle)).astype(int)
    at = np.arange(SIDE)
    rows, columns = (at + down[:, None]).clip(0, SIDE - 1), (at + right[:, None]).clip(0, SIDE - 1)
    return cast(Pixels, np.tensordot(weight / weight.sum(), x[rows[:, :, None], columns[:, None, :]], axes=1))


def _zoom_blur(x: Pixels, draw: Draw, end: float) -> Pixels:
    """The mean of the image and its enlargements by 1, 1.01, 1.02, … up to ``end``."""
    factors = np.arange(1, end, 0.01)  # rounding decides, as in CIFAR-10-C, whether the end is one of them
    return np.mean([x, *(_enlarged(x, factor) for factor in factors)], axis=0)


def _enlarged(x: Pixels, factor: float) -> Pixels:
    """The middle of the image, enlarged to its size, linear between pixels: exact, where CIFAR-10-C cuts whole ones."""
    centre = (SIDE - 1) / 2
    at = centre + (np.arange(SIDE) - centre) / factor
    weight = (1 - abs(at[:, None] - np.arange(SIDE))).clip(0)  # of each old row in each new one
    return np.tensordot(weight, np.tensordot(weight, x, axes=1), axes=(1, 1)).swapaxes(0, 1)


# --- weather ----------------------------------------------------------------------------------------------------------


def _snow(
    x: Pixels,
    draw: Draw,
    mean: float,
    sd: float,
    zoom: float,
    threshold: float,
    radius: int,
    sigma: float,
    kept: float,
) -> Pixels:
    """Enlarged grains of noise, blurred by their fall, added to a whitened image; and once more, turned upside down."""
    flakes = _enlarged(draw.normal(mean, sd, (SIDE, SIDE)), zoom)
    flakes = np.where(flakes < threshold, 0, flakes).clip(0, 1)
    falling = _streak(flakes, radius, sigma, draw.uniform(-135, -45))[:, :, None]
    grey = (x @ WHITE_GREY)[:, :, None]
    whitened = kept * x + (1 - kept) * np.maximum(x, 1.5 * grey + 0.5)
    return whitened + falling + falling[::-1, ::-1]


def _frost(x: Pixels, draw: Draw, kept: float, ice: float) -> Pixels:
    """A random part of one of five textures of ice laid over the image; the textures are ours, not photographs."""
    texture = _textures()[draw.integers(N_TEXTURES)]
    top, left = draw.integers(TEXTURE_SIDE - SIDE + 1, size=2)
    return kept * x + ice * texture[top : top + SIDE, left : left + SIDE]


@cache
def _textures() -> Pixels:
    """Ice on a window ``(5, 128, 128, 3)``: needles in many directions over cloudy ground, from blue-grey to white."""
    frequency = np.fft.fftfreq(TEXTURE_SIDE)
    across, along = frequency[None, :], frequency[:, None]
    cloud = 1 / np.maximum(np.hypot(across, along), 1 / TEXTURE_SIDE) ** 1.6
    textures = []
    for number in range(N_TEXTURES):
        draw = np.random.default_rng(number)
        needles = []
        for angle in draw.uniform(0, np.pi) + np.arange(5) * np.pi / 5:
            length = across * np.cos(angle) + along * np.sin(angle)
            width = along * np.cos(angle) - across * np.sin(angle)
            needles.append(_field(draw, np.exp(-((40 * length) ** 2) - (3.5 * width) ** 2)))
        light = _field(draw, cloud) + 0.9 * np.max(needles, axis=0)
        low, high = np.quantile(light, (0.02, 0.98))
        level = ((light - low) / (high - low)).clip(0, 1)[:, :, None]
        dark, bright = np.array((0.22, 0.28, 0.36)), np.array((0.95, 0.98, 1.0))
        textures.append(dark + level * (bright - dark))
    return np.stack(textures)


def _field(draw: Draw, gain: Pixels) -> Pixels:
    """White noise after a filter, which is given as its gain at each frequency; of standard deviation 1."""
    field = np.fft.ifft2(np.fft.fft2(draw.normal(size=gain.shape)) * gain).real
    return field / field.std()


def _fog(x: Pixels, draw: Draw, amount: float, decay: float) -> Pixels:
    """A cloud added, and the sum scaled back."""
    brightest = x.max()
    return (x + amount * _plasma(draw, decay)[:, :, None]) * brightest / (brightest + amount)


def _plasma(draw: Draw, decay: float) -> Pixels:
    """A cloud by midpoint displacement (diamond-square) on a torus, from 0 to 1.

    Each finer level is displaced by ``decay`` squared less than the one before.
    """
    cloud = np.zeros((SIDE, SIDE))
    step, size = SIDE, 1.0
    while step > 1:
        half = step // 2
        corner = cloud[::step, ::step]
        right = np.roll(corner, -1, 1)
        middle = (corner + right + np.roll(corner, -1, 0) + np.roll(right, -1, 0)) / 4
        middle = middle + size * draw.uniform(-1, 1, middle.shape)
        top = (corner + right + middle + np.roll(middle, 1, 0)) / 4
        side = (corner + np.roll(corner, -1, 0) + middle + np.roll(middle, 1, 1)) / 4
        cloud[half::step, half::step] = middle
        cloud[::step, half::step] = top + size * draw.uniform(-1, 1, top.shape)
        cloud[half::step, ::step] = side + size * draw.uniform(-1, 1, side.shape)
        step, size = half, size / decay**2
    cloud -= cloud.min()
    return cloud / cloud.max()


def _spatter(
    x: Pixels, draw: Draw, mean: float, sd: float, sigma: float, threshold: float, amount: float, mud: bool
) -> Pixels:
    """Drops on the lens: of mud, which covers, or of water, which shines.

    Water is simpler than in CIFAR-10-C: the slope of the drop's surface, lit from the top left, is added as pale light.
    """
    from scipy.ndimage import distance_transform_edt, gaussian_filter

    drops = gaussian_filter(draw.normal(mean, sd, (SIDE, SIDE)), sigma, mode="nearest")
    drops = np.where(drops < threshold, 0, drops)
    if mud:
        cover = gaussian_filter((drops > 0).astype(float), amount, mode="nearest")
        cover = np.where(cover < 0.8, 0, cover)[:, :, None]
        return x * (1 - cover) + MUD * cover
    depth = np.asarray(distance_transform_edt(drops > 0))
    surface = gaussian_filter(np.sqrt(depth), 0.5, mode="nearest")
    shine = drops * np.sum(np.gradient(surface), axis=0).clip(0)
    return x + (amount * shine / max(shine.max(), 1e-9))[:, :, None] * WATER


# --- colour and form --------------------------------------------------------------------------------------------------


def _brightness(x: Pixels, draw: Draw, more: float) -> Pixels:
    """Added to the value of hue, saturation and value."""
    from matplotlib.colors import hsv_to_rgb, rgb_to_hsv

    return hsv_to_rgb((rgb_to_hsv(x) + np.array((0, 0, more))).clip(0, 1))


def _saturate(x: Pixels, draw: Draw, times: float, more: float) -> Pixels:
    """Saturation times a factor plus a term; grey, whose hue is 0, turns reddish where there is a term."""
    from matplotlib.colors import hsv_to_rgb, rgb_to_hsv

    return hsv_to_rgb((rgb_to_hsv(x) * np.array((1, times, 1)) + np.array((0, more, 0))).clip(0, 1))


def _contrast(x: Pixels, draw: Draw, share: float) -> Pixels:
    """A share of the distance to the mean of the channel."""
    mean = x.mean((0, 1))
    return mean + share * (x - mean)


def _elastic(x: Pixels, draw: Draw, reach: float, sigma: float, jitter: float) -> Pixels:
    """A jittered affine map, then pixels moved by smooth noise; all lengths are shares of the image's side."""
    from scipy.ndimage import gaussian_filter

    centre, third = SIDE // 2, SIDE // 3
    corners = np.array([(third, third), (third, -third), (-third, -third)]) + centre
    moved = corners + draw.uniform(-jitter, jitter, (3, 2)) * SIDE
    back = np.linalg.solve(np.column_stack([moved, np.ones(3)]), corners)  # from (row, column, 1) to where it was
    place = np.moveaxis(np.mgrid[:SIDE, :SIDE], 0, -1)
    affine = _sampled(x, place @ back[:2] + back[2], "mirror")
    noise = draw.uniform(-1, 1, (SIDE, SIDE, 2))
    shift = gaussian_filter(noise, sigma * SIDE, mode="reflect", truncate=3, axes=(0, 1)) * reach * SIDE
    return _sampled(affine, place + shift, "reflect")


def _sampled(x: Pixels, at: Pixels, mode: str) -> Pixels:
    """The image at points ``(32, 32, 2)``, linear between pixels."""
    from scipy.ndimage import map_coordinates

    points = np.moveaxis(at, -1, 0)
    return np.stack([map_coordinates(channel, points, order=1, mode=mode) for channel in np.moveaxis(x, -1, 0)], -1)


def _jpeg(x: Pixels, draw: Draw, quality: int) -> Pixels:
    from PIL import Image

    file = io.BytesIO()
    _picture(x).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file)) / 255


def _pixelate(x: Pixels, draw: Draw, share: float) -> Pixels:
    """Shrunk by the mean over boxes, and enlarged again by repetition."""
    from PIL import Image

    few = int(SIDE * share)
    small = _picture(x).resize((few, few), Image.Resampling.BOX)
    return np.asarray(small.resize((SIDE, SIDE), Image.Resampling.BOX)) / 255


def _picture(x: Pixels) -> Any:
    from PIL import Image

    return Image.fromarray(np.rint(x * 255).astype(np.uint8))


def _original(x: Pixels, draw: Draw) -> Pixels:
    return x


CORRUPTIONS: dict[str, tuple[Callable[..., Pixels], tuple[tuple[Any, ...], ...]]] = {
    "gaussian_noise": (_gaussian_noise, ((0.04,), (0.06,), (0.08,), (0.09,), (0.10,))),
    "shot_noise": (_shot_noise, ((500,), (250,), (100,), (75,), (50,))),
    "impulse_noise": (_impulse_noise, ((0.01,), (0.02,), (0.03,), (0.05,), (0.07,))),
    "speckle_noise": (_speckle_noise, ((0.06,), (0.1,), (0.12,), (0.16,), (0.2,))),
    "gaussian_blur": (_gaussian_blur, ((0.4,), (0.6,), (0.7,), (0.8,), (1,))),
    "defocus_blur": (_defocus_blur, ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1))),
    "glass_blur": (_glass_blur, ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2))),
    "motion_blur": (_motion_blur, ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5))),
    "zoom_blur": (_zoom_blur, ((1.06,), (1.11,), (1.16,), (1.21,), (1.26,))),
    "snow": (
        _snow,
        (
            (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
            (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
            (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
            (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
            (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
        ),
    ),
    "frost": (_frost, ((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45))),
    "fog": (_fog, ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75))),
    "brightness": (_brightness, ((0.05,), (0.1,), (0.15,), (0.2,), (0.3,))),
    "contrast": (_contrast, ((0.75,), (0.5,), (0.4,), (0.3,), (0.15,))),
    "spatter": (
        _spatter,
        (
            (0.62, 0.1, 0.7, 0.7, 0.5, False),
            (0.65, 0.1, 0.8, 0.7, 0.5, False),
            (0.65, 0.3, 1, 0.69, 0.5, False),
            (0.65, 0.1, 0.7, 0.69, 0.6, True),
            (0.65, 0.1, 0.5, 0.68, 0.6, True),
        ),
    ),
    "elastic_transform": (
        _elastic,
        ((0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03)),
    ),
    "jpeg_compression": (_jpeg, ((80,), (65,), (58,), (50,), (40,))),
    "pixelate": (_pixelate, ((0.95,), (0.9,), (0.85,), (0.75,), (0.65,))),
    "saturate": (_saturate, ((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2))),
    "original": (_original, ((), (), (), (), ())),
}
"""Each corruption and what it is told at severity 1…5."""
