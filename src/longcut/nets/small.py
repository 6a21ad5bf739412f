"""Small nets, from random weights: a layer, a few layers, and what suits the data."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field
from torch import nn

from longcut.data import Info
from longcut.errors import UserError
from longcut.nets.layers import GlobalMean, LocalStatistics, Scale, Shrink, block
from longcut.nets.net import Dropout, Net, need_images, need_numbers
from longcut.nets.text import tokens

__all__ = ["auto", "conv", "glance", "linear", "mlp", "stack", "tiny"]

Side = Annotated[
    int, Field(ge=1, description="larger images are averaged down until their short side is at most this, in pixels")
]
FirstWidth = Annotated[int, Field(ge=1, description="channels of the first convolution")]


def linear(info: Info, outputs: int) -> Net:
    """A single linear layer on the flattened inputs, which are the features: a last layer for embeddings."""
    need_numbers(info, "linear")
    return Net([nn.Flatten()], nn.Linear(math.prod(info.shape), outputs), levels=[0])


def mlp(
    info: Info,
    outputs: int,
    *,
    hidden: Annotated[
        str,
        Field(
            pattern=r"^[1-9][0-9]*(-[1-9][0-9]*)*$",
            examples=["100-100-16"],
            description="widths of the hidden layers, joined by -",
        ),
    ] = "100-100-16",
    scale: Annotated[
        float,
        Field(
            description="multiplies the input; the released Colored MNIST code divides by 255 a second time inside "
            "its net, which is 0.00392156862745098"
        ),
    ] = 1.0,
    dropout: Dropout = 0.0,
    activation: Annotated[
        Literal["relu", "leaky"], Field(description="after each hidden layer; leaky: a tenth of what is below 0")
    ] = "relu",
    norm: Annotated[
        Literal["none", "batch"], Field(description="behind each activation; batch: as in WCL's tables (section 6.2)")
    ] = "none",
) -> Net:
    """Fully connected layers with ReLU after each hidden one; the default widths are those of DFA and SelecMix."""
    need_numbers(info, "mlp")
    widths = [math.prod(info.shape), *map(int, hidden.split("-"))]
    stages: list[nn.Module] = [Scale(scale)]
    for width_in, width in pairwise(widths):
        bend = nn.ReLU() if activation == "relu" else nn.LeakyReLU(0.1)
        then = [*[nn.BatchNorm1d(width)] * (norm == "batch"), *[nn.Dropout(dropout)] * (dropout > 0)]
        stages.append(nn.Sequential(nn.Linear(width_in, width), bend, *then))
    return Net(stages, nn.Linear(widths[-1], outputs))


def conv(info: Info, outputs: int, *, width: FirstWidth = 32, side: Side = 1024) -> Net:
    """Four convolutions (two of stride 2) with batch normalisation, then the mean over the image."""
    c = need_images(info, "conv")
    stages = [
        *([Shrink(side)] if min(info.shape[1:]) > side else []),
        block(c, width, 3, 1),
        block(width, 2 * width, 3, 2),
        block(2 * width, 2 * width, 3, 1),
    ]
    return Net([*stages, block(2 * width, 4 * width, 3, 2), GlobalMean()], nn.Linear(4 * width, outputs))


def stack(
    info: Info,
    outputs: int,
    *,
    kernel: Annotated[int, Field(ge=1, description="side of each convolution in pixels, odd")] = 7,
    width: FirstWidth = 16,
) -> Net:
    """Four convolutions without stride, each twice as wide, and the mean over the image: ReBias's and EnD's net.

    Every convolution sees ``kernel`` x ``kernel`` pixels and the whole sees ``4 * kernel - 3``. With ``kernel=1`` that
    is a single pixel: colour without shape, ReBias's biased net (Bahng et al., ICML 2020).
    """
    c = need_images(info, "stack")
    if kernel % 2 == 0:
        raise UserError(f"net 'stack': kernel={kernel} is even; give an odd number, such as 7.")
    widths = [c, width, 2 * width, 4 * width, 8 * width]
    return Net([*(block(a, b, kernel, 1) for a, b in pairwise(widths)), GlobalMean()], nn.Linear(widths[-1], outputs))


def tiny(
    info: Info,
    outputs: int,
    *,
    width: Annotated[
        int, Field(ge=1, description="channels of the first convolution; all other widths are in proportion")
    ] = 16,
    side: Side = 8,
) -> Net:
    """A look at the easy cue for a few per cent of a network's cost: two strided convolutions on a shrunken image.

    Made for bias models, which should see what is easy and need not see more. Tables get one hidden layer and token
    ids a mean of embeddings instead.
    """
    if info.kind == "tokens":
        return tokens(info, outputs, width=2 * width)
    if len(info.shape) != 3:
        return mlp(info, outputs, hidden=str(4 * width))
    stages = [Shrink(side), block(info.shape[0], width, 5, 2), block(width, 2 * width, 3, 2), GlobalMean()]
    hidden = nn.Sequential(nn.Linear(2 * width, 8 * width), nn.ReLU())
    return Net([*stages, hidden], nn.Linear(8 * width, outputs))


def glance(
    info: Info,
    outputs: int,
    *,
    cells: Annotated[int, Field(ge=1, description="of the grid, along each side; small images have fewer")] = 8,
    width: Annotated[
        int, Field(ge=1, description="channels of the layer on them; all other widths are in proportion")
    ] = 32,
    where: Annotated[bool, Field(description="false: the mean over the grid, so that no place is known")] = True,
) -> Net:
    """What can be told at a glance: statistics of the cells of a coarse grid, one layer on them, and one hidden layer.

    Of each cell and channel it knows the mean, the extremes, and how much neighbours differ in four directions. Those
    show colours, small marks, lines, textures, blur and grain, and hardly any shape. Made for bias models; tables and
    token ids are treated as by ``tiny``.
    """
    if info.kind == "tokens" or len(info.shape) != 3:
        return tiny(info, outputs, width=width // 2)
    channels, cells = (
        LocalStatistics.NUMBERS * info.shape[0],
        min(cells, *(max(1, side // 2) for side in info.shape[1:])),
    )
    seen = nn.Sequential(LocalStatistics(cells), nn.BatchNorm2d(channels))
    if where:
        side = -(-cells // 2)
        layer, flat = (
            block(channels, width, 3, 2),
            nn.Sequential(nn.Flatten(), nn.Linear(width * side**2, 2 * width), nn.ReLU()),
        )
    else:
        layer, flat = block(channels, 2 * width, 1, 1), GlobalMean()
    return Net([seen, layer, flat], nn.Linear(2 * width, outputs))


def auto(info: Info, outputs: int) -> Net:
    """What suits the data and a laptop: ``conv`` on images of 40 pixels, ``mlp`` on tables, ``tokens`` on text."""
    if info.kind == "tokens":
        return tokens(info, outputs)
    return conv(info, outputs, side=40) if len(info.shape) == 3 else mlp(info, outputs, hidden="100-100")
