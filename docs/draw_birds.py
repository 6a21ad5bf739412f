"""Draw a folder of small bird photos with a shortcut in it: ``python docs/draw_birds.py birds``.

Waterbirds have a long neck, a flat bill and a low body; landbirds a round head, a pointed beak and two legs. In the
training part nearly all of them are where one would look for them: on water, on land.
"""

from __future__ import annotations

import colorsys
import csv
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

BIRDS, PLACES = ("landbird", "waterbird"), ("land", "water")
COUNTS = {"train": 800, "valid": 120, "test": 300}
AT_HOME = {"train": 0.95, "valid": 0.95, "test": 0.5}
EACH_NEW = 6
FINE = 3  # drawn larger by this factor, then made small: soft edges

Color = tuple[int, int, int]


# --- the folder -------------------------------------------------------------------------------------------------------


def draw_folder(folder: Path, seed: int = 0) -> None:
    """Write ``SPLIT/BIRD/NNN.jpg``, and ``metadata.csv`` where somebody has noted the place of every photo."""
    rng = np.random.default_rng(seed)
    rows = [row for split in COUNTS for row in _listed(split, rng)]
    for path, bird, place, _ in rows:
        _save(photo(bird, place, rng), folder / path, rng)
    with (folder / "metadata.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("path", "bird", "place", "split"), *rows])


def draw_new(folder: Path, seed: int = 1) -> dict[str, str]:
    """Write a few photos as they came from the camera, every bird in every place; return the bird in each."""
    rng = np.random.default_rng(seed)
    kinds = rng.permutation([(bird, place) for bird in BIRDS for place in PLACES] * EACH_NEW).tolist()
    for number, (bird, place) in enumerate(kinds):
        _save(photo(bird, place, rng), folder / _new_name(number), rng)
    return {_new_name(number): bird for number, (bird, _) in enumerate(kinds)}


def _new_name(number: int) -> str:
    return f"IMG_{2041 + number}.jpg"


def _listed(split: str, rng: np.random.Generator) -> list[tuple[str, str, str, str]]:
    """Path, bird, place and split of each photo; the numbers of the files say nothing about the place."""
    rows = []
    each = COUNTS[split] // 2
    for home, bird in enumerate(BIRDS):
        away = rng.permutation(each) >= round(AT_HOME[split] * each)
        rows += [(f"{split}/{bird}/{i:03}.jpg", bird, PLACES[home ^ int(a)], split) for i, a in enumerate(away)]
    return rows


def _save(picture: Image.Image, path: Path, rng: np.random.Generator) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, quality=int(rng.integers(60, 90)))


# --- a photo ----------------------------------------------------------------------------------------------------------


def photo(bird: str, place: str, rng: np.random.Generator) -> Image.Image:
    """A bird in a place, 80 to 120 pixels wide and high, blurred and noisy; the bird is within the centre square."""
    width, height = (int(side) for side in rng.integers(80, 121, 2))
    picture = Image.new("RGB", (FINE * width, FINE * height))
    {"land": _woods, "water": _lake}[place](picture, rng)
    side = FINE * min(width, height)
    size = side * rng.uniform(0.72, 0.92)
    slack = (side - size) / 2
    x, y = (np.array(picture.size) / 2 + rng.uniform(-slack, slack, 2)).tolist()
    pen = _Pen(picture, x, y, size, tilt=rng.uniform(-0.12, 0.12), mirrored=rng.random() < 0.5)
    {"landbird": _landbird, "waterbird": _waterbird}[bird](pen, rng)
    small = picture.resize((width, height), Image.Resampling.BOX).filter(
        ImageFilter.GaussianBlur(rng.uniform(0.3, 1.0))
    )
    light = np.asarray(small) * rng.uniform(0.85, 1.1) + rng.normal(0, rng.uniform(3, 8), (height, width, 3))
    return Image.fromarray(light.clip(0, 255).astype(np.uint8))


class _Pen:
    """Draws shapes given in a bird's own coordinates: x from -1 (tail) to 1 (beak), y from -1 (up) to 1."""

    def __init__(self, picture: Image.Image, x: float, y: float, size: float, *, tilt: float, mirrored: bool) -> None:
        self.draw, self.unit = ImageDraw.Draw(picture), size / 2
        turn = np.array([[np.cos(tilt), -np.sin(tilt)], [np.sin(tilt), np.cos(tilt)]])
        self.matrix = self.unit * np.diag([-1 if mirrored else 1, 1]) @ turn
        self.place = np.array([x, y])

    def _on_picture(self, points: object) -> list[tuple[float, float]]:
        return [(x, y) for x, y in (np.array(points) @ self.matrix.T + self.place).tolist()]

    def shape(self, points: object, color: Color) -> None:
        self.draw.polygon(self._on_picture(points), fill=color)

    def oval(self, x: float, y: float, width: float, height: float, color: Color, lean: float = 0.0) -> None:
        """With half axes ``width`` and ``height``; ``lean`` lifts its front."""
        angle = np.linspace(0, 2 * np.pi, 40)
        along, across = width * np.cos(angle), height * np.sin(angle)
        turned = [along * np.cos(lean) + across * np.sin(lean), across * np.cos(lean) - along * np.sin(lean)]
        self.shape(np.stack(turned, 1) + np.array([x, y]), color)

    def line(self, points: object, width: float, color: Color) -> None:
        """A smooth one through the points, with round ends."""
        points = np.array(points)
        t = np.linspace(0, 1, len(points))
        curve = np.polynomial.Polynomial
        fitted = [curve.fit(t, axis, len(t) - 1)(np.linspace(0, 1, 24)) for axis in points.T]
        for x, y in np.stack(fitted, 1).tolist():
            self.oval(x, y, width / 2, width / 2, color)
        self.draw.line(self._on_picture(np.stack(fitted, 1)), fill=color, width=max(1, round(width * self.unit)))


# --- birds ------------------------------------------------------------------------------------------------------------


def _waterbird(pen: _Pen, rng: np.random.Generator) -> None:
    body, wing, bill = _plumage(rng)
    long, thick = rng.uniform(0.85, 1.1), rng.uniform(0.15, 0.22)
    top = 0.25 - long
    pen.shape([(-0.55, 0.25), (-1.0, rng.uniform(-0.15, 0.15)), (-0.6, 0.6)], wing)
    pen.oval(-0.15, 0.48, 0.68, rng.uniform(0.3, 0.38), body)
    pen.oval(-0.25, 0.4, 0.42, 0.19, wing, lean=-0.12)
    pen.line([(0.38, 0.42), (0.62, 0.05), (0.3, top * 0.55), (0.45, top)], thick, body)
    pen.shape([(0.5, top - 0.08), (0.98, top + 0.06), (0.98, top + 0.14), (0.5, top + 0.12)], bill)
    pen.oval(0.48, top, 0.19, 0.14, body)
    _eye(pen, 0.52, top - 0.02)


def _landbird(pen: _Pen, rng: np.random.Generator) -> None:
    body, wing, bill = _plumage(rng)
    pen.line([(rng.uniform(-0.75, -0.5), 1.0), (rng.uniform(0.5, 0.75), 1.0)], 0.1, _color(0.08, 0.4, 0.35))  # a perch
    for x in (0.0, 0.2):
        pen.line([(x - 0.05, 0.5), (x, 0.93)], 0.055, bill)
        pen.line([(x - 0.08, 0.93), (x + 0.16, 0.93)], 0.055, bill)
    pen.shape([(-0.3, 0.2), (-0.95, rng.uniform(0.45, 0.75)), (-0.8, 0.85), (-0.1, 0.5)], wing)
    pen.oval(0.0, 0.15, 0.55, rng.uniform(0.32, 0.4), body, lean=rng.uniform(0.5, 0.8))
    pen.oval(-0.12, 0.2, 0.4, 0.22, wing, lean=0.5)
    head = rng.uniform(0.26, 0.32)
    pen.shape([(0.45, -0.62), (0.98, rng.uniform(-0.52, -0.4)), (0.45, -0.32)], bill)
    pen.oval(0.3, -0.48, head, head, body)
    _eye(pen, 0.4, -0.54)


def _eye(pen: _Pen, x: float, y: float) -> None:
    pen.oval(x, y, 0.06, 0.06, (250, 250, 245))
    pen.oval(x + 0.01, y, 0.04, 0.04, (15, 15, 15))


def _plumage(rng: np.random.Generator) -> tuple[Color, Color, Color]:
    """Body, wing and bill, from the same colours for all birds: from white to black, rust, sand or blue-grey."""
    hue = rng.choice([rng.uniform(0.02, 0.12), rng.uniform(0.52, 0.62)])
    saturation, value = rng.uniform(0.0, 0.7 if hue < 0.5 else 0.45), rng.uniform(0.2, 1.0)
    wing = value * rng.uniform(0.6, 0.8)
    return (
        _color(hue, saturation, value),
        _color(hue, saturation, wing),
        _color(rng.uniform(0.04, 0.14), rng.uniform(0.5, 0.95), rng.uniform(0.35, 1.0)),
    )


def _color(hue: float, saturation: float, value: float) -> Color:
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, value)
    return round(255 * red), round(255 * green), round(255 * blue)


# --- places -----------------------------------------------------------------------------------------------------------


def _lake(picture: Image.Image, rng: np.random.Generator) -> None:
    width, height = picture.size
    hue, saturation = rng.uniform(0.47, 0.62), rng.uniform(0.3, 0.65)
    _gradient(picture, _color(hue, saturation, rng.uniform(0.65, 0.9)), _color(hue, saturation, rng.uniform(0.35, 0.6)))
    draw = ImageDraw.Draw(picture)
    for _ in range(int(rng.integers(14, 34))):
        x, y, long = rng.uniform(-0.1, 0.95) * width, rng.uniform(0, 1) * height, rng.uniform(0.1, 0.4) * width
        across = np.linspace(0, 1, 16)
        wave = y + height * 0.008 * np.sin(2 * np.pi * (across * rng.uniform(1, 2.5) + rng.random()))
        shade = _color(hue, saturation * rng.uniform(0.3, 1), rng.uniform(0.4, 1.0))
        points = np.stack([x + long * across, wave], 1)
        draw.line([(a, b) for a, b in points.tolist()], fill=shade, width=int(rng.integers(2, 6)))


def _woods(picture: Image.Image, rng: np.random.Generator) -> None:
    width, height = picture.size
    hue = rng.uniform(0.2, 0.34)
    green = _color(hue, rng.uniform(0.35, 0.65), rng.uniform(0.45, 0.75))
    _gradient(picture, green, _color(rng.uniform(0.08, 0.2), rng.uniform(0.35, 0.6), rng.uniform(0.3, 0.5)))
    draw = ImageDraw.Draw(picture)
    for _ in range(int(rng.integers(2, 6))):
        x, wide, lean = rng.uniform(0, 1) * width, rng.uniform(0.03, 0.11) * width, rng.uniform(-0.06, 0.06) * width
        foot = rng.uniform(0.75, 1.0) * height
        bark = _color(rng.uniform(0.05, 0.11), rng.uniform(0.2, 0.5), rng.uniform(0.2, 0.5))
        draw.polygon([(x + lean, 0), (x + lean + 0.7 * wide, 0), (x + wide, foot), (x, foot)], fill=bark)
    for _ in range(int(rng.integers(6, 18))):
        x, y, r = rng.uniform(0, 1) * width, rng.uniform(0, 1) ** 1.5 * height, rng.uniform(0.02, 0.07) * width
        leaf = _color(hue + rng.uniform(-0.05, 0.03), rng.uniform(0.3, 0.7), rng.uniform(0.3, 0.8))
        draw.ellipse((x - r, y - 0.7 * r, x + r, y + 0.7 * r), fill=leaf)


def _gradient(picture: Image.Image, top: Color, bottom: Color) -> None:
    width, height = picture.size
    share = np.linspace(0, 1, height)[:, None, None]
    rows = (1 - share) * np.array(top) + share * np.array(bottom)
    picture.paste(Image.fromarray(np.broadcast_to(rows, (height, width, 3)).astype(np.uint8)))


if __name__ == "__main__":
    draw_folder(Path(sys.argv[1]))
