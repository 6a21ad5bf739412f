"""Draw what is done to pictures, everything by its name: ``python docs/make_gallery.py NEW-FOLDER``.

Augmentations, blends and methods that mix come from their tables, so that a new one appears by itself. All of them are
shown on the same eight photographs, crops of the two that come with scikit-learn.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.datasets import load_sample_image
from torch import Tensor
from torch.nn import functional as F

from longcut import Splits, Training, augment, fit, nets
from longcut.data import Dataset, generator
from longcut.errors import UserError
from longcut.methods import METHODS, build
from longcut.methods.base import Method
from longcut.methods.mixing.base import MixingMethod
from longcut.mixing import BLENDS, Mix, Partners, anyone, proportional, uniform

SIDE, GAP = 128, 6  # pixels, of a photograph and between two
LABELS, DISTANCES = ("temple", "flower"), ("far", "near")
COLORS = "#3b6ea5", "#e0843c"
INK, GREY = "#222222", "#777777"
CROPS = (  # photograph, left, top, side in pixels; label; distance
    ("china.jpg", 0, 0, 427, 0, 0),
    ("china.jpg", 62, 20, 290, 0, 0),
    ("china.jpg", 40, 170, 250, 0, 0),
    ("china.jpg", 108, 118, 105, 0, 1),
    ("flower.jpg", 90, 0, 427, 1, 0),
    ("flower.jpg", 166, 82, 185, 1, 1),
    ("flower.jpg", 235, 150, 140, 1, 1),
    ("flower.jpg", 300, 195, 150, 1, 1),
)
# strong enough to be seen at this size
STRONG = {
    "crop": "crop:pad=24",
    "affine": "affine:rotate=30,shift=0.15,zoom=0.3,shear=20",
    "elastic": "elastic:strength=250,smooth=9",
    "lens": "lens:strength=0.3",
    "blur": "blur:sigma=4",
    "jitter": "jitter:hue=0.3,chance=1.0",
    "grayscale": "grayscale:chance=0.5",
    "motion-blur": "motion-blur:length=24",
    "noise": "noise:strength=0.3",
    "salt-pepper": "salt-pepper:share=0.3",
    "pca-color": "pca-color:strength=1.5",
    "color-cast": "color-cast:strength=0.25",
    "vignette": "vignette:strength=1",
    "cutout": "cutout:side=56",
}
SHARE = 0.6  # of the anchor, asked of every blend
NET = "tiny:side=64"  # where one must be looked at
KNOWN = {"selecmix": {"pairs": "learned"}, "jm1": {"identify": "oracle"}}  # a net errs by chance on eight photographs


class Shown(NamedTuple):
    """Mixtures, one for each photograph in its turn: images, their share ``(n,)`` and label ``(n, classes)``."""

    own: Tensor
    partner: Tensor
    mixed: Tensor
    share: Tensor
    label: Tensor


def main(out: Path) -> None:
    out.mkdir(parents=True)
    data = photographs()
    augmentations(data, out)
    for what, drawn in (("blend", blends(data)), ("method", methods(data))):
        page = []
        for name, (about, shown) in drawn.items():
            mixtures(shown, out / f"{what}-{name}.jpg")
            page.append(
                f"### {name}\n\n{about}\n\n```{{image}} _gallery/{what}-{name}.jpg\n:alt: eight mixtures\n```\n"
            )
        (out / f"{what}s.md").write_text("\n".join(page), "utf-8")


def photographs() -> Dataset:
    """Eight crops; which photograph a sample was cut from is its label, and how close its attribute."""
    x = []
    for name, left, top, side, _, _ in CROPS:
        photo = torch.from_numpy(load_sample_image(name).copy()).permute(2, 0, 1).float()
        crop = photo[None, :, top : top + side, left : left + side]
        x.append(F.interpolate(crop, (SIDE, SIDE), mode="bilinear", antialias=True)[0])
    label, distance = (torch.tensor(column) for column in list(zip(*CROPS, strict=True))[4:])
    names = {"class_names": LABELS, "attribute_names": DISTANCES}
    return Dataset.of(torch.stack(x).round().byte(), label, distance, name="photographs", aligned=(0, 1), **names)


# --- what is done to them ---------------------------------------------------------------------------------------------


def augmentations(data: Dataset, out: Path) -> None:
    """Every augmentation of images, a row each."""
    x = data.gather(torch.arange(len(data)))
    of_images = [name for name, rule in augment.AUGMENTS.items() if "image" in augment.kinds_of(rule)]
    rows = {STRONG.get(name, name): augment.build(STRONG.get(name, name)) for name in of_images}
    pictures = {spec: change(x, generator(7)) for spec, change in rows.items()}
    sheet(pictures, out / "augment.jpg")


def blends(data: Dataset) -> dict[str, tuple[str, Shown]]:
    """What each blend makes of the same eight pairs, of which 60 % of the anchor are asked; a net is a random one."""
    rows = torch.arange(len(data))
    own = data.batch(rows, "cpu")
    other = data.batch(rows.roll(-3), "cpu")
    share = torch.full((len(rows),), SHARE)
    partners = Partners(other.x, other.label, share, share > 0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nets.build(NET, data.info).eval()
    shown = {}
    for name, blend in BLENDS.items():
        mixed = Mix(anyone(), uniform(), blend, proportional).blend_with(own, partners, generator(1), net)
        label = mixed.target.soft(len(LABELS))
        pictures = Shown(own.x, other.x, mixed.x.detach(), mixed.target.share.detach(), label.detach())
        shown[name] = first_line(getattr(blend, "blend", blend)), pictures
    return shown


def methods(data: Dataset) -> dict[str, tuple[str, Shown]]:
    """What each method that mixes shows its net, after a short training on the eight."""
    own, whole = data.gather(torch.arange(len(data))), torch.eye(len(LABELS))[data.label]
    shown = {}
    for name, cls in METHODS.items():
        if cls.pairs is Method.pairs or "classification" not in cls.tasks:
            continue
        try:
            method: Any = build(cls, data.info, net=NET, options=KNOWN.get(name, {}))
            fit(method, Splits(data, None, data), Training(epochs=1, batch=8, pool=1))
        except UserError as why:
            warnings.warn(f"the gallery has no {name}: {why}", stacklevel=1)
            continue
        pairs: Mapping[str, Tensor] | None = method.pairs(data, len(data))
        if pairs is None:  # it chose another method, which does not mix
            continue
        at, partner, share = pairs["anchor"], pairs["partner"], pairs["share"]
        rule = method.mix.label if isinstance(method, MixingMethod) else proportional
        label = rule(data.label[at], data.label[partner], share).soft(len(LABELS))
        mixed = pairs["mixed"] / 255 if "mixed" in pairs else torch.lerp(own[partner], own[at], share.view(-1, 1, 1, 1))
        nobody = Shown(own, torch.ones_like(own), own, torch.ones(len(own)), whole)  # who has no partner stays
        found = (own[at], own[partner], mixed, share, label)
        placed = (column.index_put((at,), new) for column, new in zip(nobody, found, strict=True))
        shown[name] = f"{first_line(cls)} *{cls.paper}.*", Shown(*placed)
    return shown


def first_line(thing: Any) -> str:
    """As the reference has it."""
    return (thing.__doc__ or "").partition("\n")[0].replace("``", "`")


def towards(own: Tensor, partner: Tensor, mixed: Tensor) -> Tensor:
    """How far each pixel has gone from the anchor to the partner, ``(n, 1, H, W)`` from 0 to 1.

    Where the two are alike nobody can tell, and it is as around it.
    """
    gone, left = ((mixed - end).square().sum(1, keepdim=True).sqrt() for end in (own, partner))
    around = [F.avg_pool2d(distance, 9, 1, 4) + 1e-6 for distance in (gone, left)]
    return torch.where(gone + left > 0.02, gone / (gone + left), around[0] / sum(around))


# --- pictures ---------------------------------------------------------------------------------------------------------


def mixtures(shown: Shown, path: Path) -> None:
    """Anchors, partners, mixtures, their masks and labels."""
    mask = towards(shown.own, shown.partner, shown.mixed).expand(-1, 3, -1, -1)
    rows = {"anchor": shown.own, "partner": shown.partner, "mixture": shown.mixed, "mask": mask}
    sheet(rows, path, shown.share, shown.label)


def sheet(rows: Mapping[str, Tensor], path: Path, *said: Tensor) -> None:
    """Rows of pictures, each with its name; below the last one, if anything was mixed, share and label."""
    step, margin, foot = SIDE + GAP, round(1.15 * SIDE), round(0.5 * SIDE) if said else 0
    canvas = torch.ones(3, len(rows) * step + foot, margin + len(CROPS) * step)
    for row, images in enumerate(rows.values()):
        for column, image in enumerate(images):
            top, left = row * step, margin + column * step
            canvas[:, top : top + SIDE, left : left + SIDE] = image
    height, width = canvas.shape[1:]
    figure = Figure(figsize=(width / SIDE, height / SIDE), dpi=SIDE, facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0))
    axes.set_axis_off()
    axes.imshow(canvas.clamp(0, 1).permute(1, 2, 0).numpy(), extent=(0, width, height, 0), interpolation="none")
    for row, spec in enumerate(rows):
        name, _, options = spec.partition(":")
        middle = row * step + SIDE / 2
        axes.text(4, middle, name, fontsize=8, va="bottom", weight="bold", color=INK)
        axes.text(4, middle + 4, options.replace(",", "\n"), fontsize=7.5, va="top", color=GREY)
    for column, values in enumerate(zip(*said, strict=True)):
        _label(axes, margin + column * step, len(rows) * step, *values)
    figure.savefig(path, pil_kwargs={"quality": 88})


def _label(axes: Axes, left: float, top: float, share: Tensor, label: Tensor) -> None:
    """A bar of the classes in the label, and what is said of them and the share."""
    ends = SIDE * torch.cat([torch.zeros(1), label.cumsum(0)])
    said = [f"share {share:.2f}"]
    for name, color, start, part in zip(LABELS, COLORS, ends.tolist(), label.tolist(), strict=False):
        axes.barh(top + 5, SIDE * part, 10, left + start, color=color)
        said += [f"{part:.2f} {name}".removeprefix("1.00 ")] * (part >= 0.005)
    axes.text(left + SIDE / 2, top + 14, "\n".join(said), fontsize=7, ha="center", va="top", color=INK)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
