"""Saliency maps against loops over pixels, and against OpenCV where it is installed."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from longcut.data import generator
from longcut.errors import UserError
from longcut.mixing import saliency
from longcut.mixing.saliency import fine_grained, float_bytes, gradient, spectral_residual

SIZES = [(32, 32), (28, 28), (9, 7), (40, 70), (1, 12), (12, 1), (1, 1), (2, 2)]
DETECTORS = [fine_grained, spectral_residual, float_bytes]


def pictures(n: int, h: int, w: int, channels: int = 3, seed: int = 0) -> Tensor:
    """8-bit noise with brighter and darker rectangles, from faint to full contrast."""
    g = generator(seed)
    x = torch.randint(0, 40, (n, channels, h, w), generator=g, dtype=torch.uint8)
    for i in range(n):
        for _ in range(3):
            (top, bottom), (left, right) = (sorted(torch.randint(s + 1, (2,), generator=g).tolist()) for s in (h, w))
            x[i, :, top:bottom, left:right] = torch.randint(0, 256, (channels, 1, 1), generator=g, dtype=torch.uint8)
    return x


# --- fine-grained, step by step ---------------------------------------------------------------------------------------


def mirrored(i: int, length: int) -> int:
    return 0 if length == 1 else -i if i < 0 else 2 * (length - 1) - i if i >= length else i


def grey_of(image: Any) -> list[list[int]]:
    if len(image) == 1:
        return [[int(v) for v in row] for row in image[0]]
    red, green, blue = (channel.astype(int) for channel in image)
    of_red, of_green = round(0.299 * 2**15), round(0.587 * 2**15)
    return ((of_red * red + of_green * green + (2**15 - of_red - of_green) * blue + 2**14) // 2**15).tolist()


def smoothed(grey: Any, whole: bool) -> Any:
    h, w = len(grey), len(grey[0])
    weight = {-1: 1, 0: 2, 1: 1}
    total = [
        [
            sum(
                weight[dy] * weight[dx] * grey[mirrored(y + dy, h)][mirrored(x + dx, w)]
                for dy in weight
                for dx in weight
            )
            for x in range(w)
        ]
        for y in range(h)
    ]
    return [[(v + 8) // 16 if whole else v / 16 for v in row] for row in total]


def contrasts(centre: Any, around: Any, byte: Callable[[float], int]) -> tuple[np.ndarray, np.ndarray]:
    h, w = len(centre), len(centre[0])
    around = np.array(around, dtype=float)
    on, off = np.zeros((h, w), int), np.zeros((h, w), int)
    for n in (12, 24, 48, 28, 56, 112):
        for y in range(h):
            for x in range(w):
                window = around[max(y - n + 1, 0) : y + n + 1, max(x - n + 1, 0) : x + n + 1]
                mean = (window.sum() - centre[y][x]) / (window.size - 1) if window.size > 1 else centre[y][x]
                on[y, x] += byte(max(centre[y][x] - mean, 0))
                off[y, x] += byte(max(mean - centre[y][x], 0))
    return on, off


def scaled(on: np.ndarray, off: np.ndarray) -> np.ndarray:
    parts = (np.floor(255 * side / side.max()) if side.max() else side for side in (on, off))
    return sum(parts, np.zeros(on.shape))


@pytest.mark.parametrize(("h", "w"), SIZES)
@pytest.mark.parametrize("channels", [1, 3])
def test_fine_grained_is_that_of_a_loop(h, w, channels):
    x = pictures(3, h, w, channels)
    maps = fine_grained(x)
    assert maps.shape == (3, h, w)
    for image, found in zip(x.numpy(), maps, strict=True):
        grey = smoothed(smoothed(grey_of(image), True), True)
        expected = np.minimum(scaled(*contrasts(grey, grey, math.floor)), 255)
        found = (255 * found).round().long().numpy()
        # what is 255 v / max, a whole number, may be one less in the single precision that OpenCV divides in
        assert np.abs(found - expected).max() <= 1
        assert (found != expected).mean() <= 0.02
        assert expected.flat[found.argmax()] == expected.max()


def test_chunks_and_large_images_change_nothing(monkeypatch):
    x = pictures(5, 40, 30)
    whole = fine_grained(x), spectral_residual(x)
    monkeypatch.setattr(saliency, "CACHED", 1)
    assert torch.equal(fine_grained(x), whole[0])
    torch.testing.assert_close(spectral_residual(x), whole[1])
    # beyond 2^24 sums need double precision: the lower right corner sees as well as the upper left
    large = torch.zeros(1, 1, 300, 300, dtype=torch.uint8)
    large[..., 3:290, 3:290] = 251
    assert torch.equal(fine_grained(large), fine_grained(large.mT).mT)


# --- the bytes of floats ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("h", "w"), [(32, 32), (9, 7), (5, 1)])
def test_float_bytes_reads_the_bytes_of_each_row(h, w):
    """One channel in steps of 1/64, whose normalised and smoothed values are exact."""
    x = torch.randint(0, 65, (3, 1, h, w), generator=generator(1)) / 64
    maps = float_bytes(x)
    for image, found in zip(x[:, 0].tolist(), maps, strict=True):
        grey = smoothed(smoothed([[4 * v - 2 for v in row] for row in image], False), False)
        read = [list(struct.pack(f"<{w}f", *row)[:w]) for row in grey]
        expected = scaled(*contrasts(read, grey, lambda v: int(v) % 256)) % 256
        found = (255 * found).round().long().numpy()
        assert np.abs(found - expected).max() <= 1
        assert (found != expected).mean() <= 0.02


def test_float_bytes_has_nothing_to_do_with_what_the_eye_sees():
    x = pictures(60, 32, 32).float() / 255
    both = torch.stack([float_bytes(x).flatten(), fine_grained(x).flatten()])
    assert abs(torch.corrcoef(both)[0, 1]) < 0.05
    assert float(fine_grained(x).flatten().corrcoef()) == pytest.approx(1)


# --- spectral residual ------------------------------------------------------------------------------------------------


def bilinear(image: np.ndarray, height: int, width: int) -> np.ndarray:
    h, w = image.shape
    out = np.zeros((height, width))
    for y in range(height):
        for x in range(width):
            down, right = (max((i + 0.5) * s / t - 0.5, 0) for i, s, t in ((y, h, height), (x, w, width)))
            top, left = int(down), int(right)
            bottom, end = min(top + 1, h - 1), min(left + 1, w - 1)
            a, b = down - top, right - left
            upper = (1 - b) * image[top, left] + b * image[top, end]
            lower = (1 - b) * image[bottom, left] + b * image[bottom, end]
            out[y, x] = (1 - a) * upper + a * lower
    return out


def filtered(image: np.ndarray, weight: np.ndarray) -> np.ndarray:
    half = len(weight) // 2
    padded = np.pad(image, half, mode="reflect")
    window = np.lib.stride_tricks.sliding_window_view(padded, (len(weight), len(weight)))
    return (window * np.outer(weight, weight)).sum((2, 3)) / weight.sum() ** 2


@pytest.mark.parametrize(("h", "w"), [(64, 64), (32, 32), (96, 128)])
def test_spectral_residual_is_that_of_the_steps_in_double_precision(h, w):
    """Sizes whose resizing weights are exact, so that rounding to 8 bits is not a matter of luck."""
    x, compared = pictures(4, h, w, seed=2), 0
    for image, found in zip(x.numpy(), spectral_residual(x), strict=True):
        small = np.floor(bilinear(np.array(grey_of(image), float), 64, 64) + 0.5)
        spectrum = np.fft.fft2(small)
        if np.abs(spectrum).min() < 1e-6:  # what has no amplitude has no phase
            continue
        compared += 1
        log = np.log(1 + np.abs(spectrum))
        residual = np.exp(log - filtered(log, np.ones(3))) * np.exp(1j * np.angle(spectrum))
        back = filtered(np.abs(np.fft.ifft2(residual)), np.exp(-(np.arange(-2.0, 3) ** 2) / 128)) ** 2
        np.testing.assert_allclose(found.numpy(), bilinear(back / back.max(), h, w), atol=1e-4)
    assert compared >= 3


# --- OpenCV -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def opencv() -> Any:
    cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed")
    if not hasattr(cv2, "saliency"):
        pytest.skip("this OpenCV has no saliency; opencv-contrib-python-headless has")
    return cv2.saliency


def by_opencv(detector: Any, x: Tensor) -> Tensor:
    images = (image[0] if len(image) == 1 else image.transpose(1, 2, 0)[..., ::-1].copy() for image in x.numpy())
    return torch.stack([torch.from_numpy(detector.computeSaliency(image)[1]) for image in images])


@pytest.mark.parametrize(("n", "h", "w"), [(40, 32, 32), (20, 64, 64), (10, 9, 7), (10, 40, 150), (6, 224, 224)])
@pytest.mark.parametrize("channels", [1, 3])
def test_opencv_finds_the_same(opencv, n, h, w, channels):
    x = pictures(n, h, w, channels, seed=3)
    x = x[(x.flatten(1).amax(1) != x.flatten(1).amin(1))]
    theirs, ours = by_opencv(opencv.StaticSaliencyFineGrained_create(), x), fine_grained(x)
    assert ((theirs - ours).abs() > 1e-3).float().mean() <= 1e-4
    assert torch.equal(theirs.flatten(1).argmax(1), ours.flatten(1).argmax(1))
    theirs, ours = by_opencv(opencv.StaticSaliencySpectralResidual_create(), x), spectral_residual(x)
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)


def test_opencv_reads_the_same_bytes_of_floats(opencv):
    x = torch.randint(0, 65, (10, 1, 32, 32), generator=generator(1)) / 64
    theirs = by_opencv(opencv.StaticSaliencyFineGrained_create(), 4 * x - 2)
    torch.testing.assert_close(float_bytes(x), theirs)


# --- all of them ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("detector", DETECTORS)
@pytest.mark.parametrize("channels", [1, 2, 3, 5])
@pytest.mark.parametrize(("h", "w"), SIZES)
def test_every_detector_takes_every_image(detector, channels, h, w):
    x = pictures(4, h, w, channels)
    maps = detector(x)
    assert maps.shape == (4, h, w)
    assert maps.dtype == torch.float32
    assert ((maps >= 0) & (maps <= 1)).all()
    for other in (x.float() / 255, x.double() / 255, (x.float() / 255).requires_grad_()):
        again = detector(other)
        assert not again.requires_grad
        if detector is not float_bytes:  # whose bytes tell apart what is the same
            torch.testing.assert_close(again, maps)
    one = torch.cat([detector(image[None]) for image in x])
    torch.testing.assert_close(one, maps, atol=1e-5, rtol=0)
    assert detector(x[:0]).shape == (0, h, w)


@pytest.mark.parametrize("detector", [fine_grained, spectral_residual])
@pytest.mark.parametrize("value", [0, 77, 255])
def test_a_flat_image_has_nothing_salient(detector, value):
    x = pictures(3, 20, 20)
    x[1] = value
    maps = detector(x)
    assert torch.equal(maps[1], torch.zeros(20, 20))
    assert torch.equal(maps[[0, 2]], detector(x[[0, 2]]))
    assert (maps[[0, 2]].amax((1, 2)) > 0.3).all()


@pytest.mark.parametrize("detector", DETECTORS)
def test_what_is_no_image_is_refused(detector):
    name = detector.__name__
    image = torch.rand(2, 3, 8, 8, generator=generator(0))
    image[0, 0, 0, :2] = torch.tensor([0.0, 1.0])
    for wrong, said in (
        (2 * image - 1, r"torch.float32 in \[-1, 1\]"),
        (255 * image, r"torch.float32 in \[0, 255\]"),
        ((255 * image).long(), r"torch.int64"),
        (image * torch.nan, r"torch.float32 in \[nan, nan\]"),
    ):
        with pytest.raises(
            UserError, match=rf"{name} needs images of 8 bits or floats in \[0, 1\], but these are {said}"
        ):
            detector(wrong)
    with pytest.raises(UserError, match=rf"{name} needs images \(n, C, H, W\), but these have shape \(3, 8, 8\)"):
        detector(image[0])
    assert detector(image * (1 + 1e-6)).shape == (2, 8, 8), "what rounding leaves outside is no other picture"


def test_gradient_is_that_of_the_loss():
    g = generator(0)
    x, weight = torch.rand(3, 2, 4, 5, generator=g), torch.randn(2 * 4 * 5, 3, generator=g)
    label = torch.tensor([0, 2, 1])
    p = (x.flatten(1) @ weight).softmax(1)
    slope = ((p - torch.eye(3)[label]) @ weight.T).view_as(x)
    found = gradient(x, label, lambda images: images.flatten(1) @ weight)
    torch.testing.assert_close(found, slope.square().mean(1).sqrt())
