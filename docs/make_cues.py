"""Make the picture of all cues of images, on a photo and a digit: ``python docs/make_cues.py``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn import functional as F

from longcut.cues import CUES, STRENGTHS
from longcut.data import generator
from longcut.datasets import load
from longcut.files import replacing

PICTURE = Path(__file__).parent / "_static" / "cues.jpg"
SIDE, GAP, NAME, HEAD, VALUES = 72, 4, 84, 30, 10
SHOWN = 7  # of the ten values


def photo() -> Tensor:
    """A flower, 72 x 72 pixels: one of the two photos that come with scikit-learn."""
    from sklearn.datasets import load_sample_image

    image = torch.from_numpy(load_sample_image("flower.jpg").copy()).permute(2, 0, 1)[None].float()
    return F.interpolate(image[:, :, :, 100:527], (SIDE, SIDE), mode="area").round().to(torch.uint8)


def shown(x: Tensor, name: str, strength: str) -> np.ndarray:
    """The image with one of the values, enlarged."""
    cue = CUES[name]
    made = cue.plant(x, torch.tensor([SHOWN]), VALUES, cue.amounts[strength], generator(0))
    return F.interpolate(made.float(), (SIDE, SIDE)).to(torch.uint8)[0].permute(1, 2, 0).numpy()


def main() -> None:
    names = [name for name, cue in CUES.items() if cue.kind == "image"]
    images = [photo(), load("digits").train.x[2:3]]
    columns, half = 2, -(-len(names) // 2)
    wide = NAME + 2 * 3 * (SIDE + GAP) + 3 * GAP
    sheet = Image.new("RGB", (columns * wide, HEAD + half * (SIDE + GAP)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for i, name in enumerate(names):
        left, top = i // half * wide, HEAD + i % half * (SIDE + GAP)
        draw.text((left + 6, top + SIDE // 2 - 8), name, "black", font)
        for j, x in enumerate(images):
            for k, strength in enumerate(STRENGTHS):
                at = left + NAME + (3 * j + k) * (SIDE + GAP) + j * 2 * GAP
                sheet.paste(Image.fromarray(shown(x, name, strength)), (at, top))
                if i % half == 0:
                    draw.text((at + 12, 8), strength, "black", font)
    with replacing(PICTURE) as temporary:
        sheet.save(temporary, "JPEG", quality=78)


if __name__ == "__main__":
    main()
