"""Images averaged down once, where every net of a model would do so at each look."""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import nn
from torch.nn import functional as F

from longcut.data import Dataset
from longcut.data.batch import as_input
from longcut.nets.layers import Shrink
from longcut.nets.net import Net

__all__ = ["shrunk"]

LARGEST = 1 << 28  # bytes of small images that are held
AT_ONCE = 1024  # images


def shrunk(data: Dataset, model: nn.Module) -> Dataset:
    """The same samples, stored no larger than the nets of ``model`` look at them, to the bit; or ``data`` itself.

    Args:
        data: its ``info`` stays as it is, so only ``model`` may see what is returned.
        model: is looked at as it is now; a net that it makes later must look at no more, either.

    >>> from longcut import nets
    >>> from longcut.data import Dataset
    >>> data = Dataset.of(torch.rand(2, 3, 64, 64), [0, 1])
    >>> shrunk(data, nets.build("conv:side=32", data.info)).x.shape, shrunk(data, nets.build("conv", data.info)) is data
    (torch.Size([2, 3, 32, 32]), True)
    """
    first = [net.stages[0] for net in model.modules() if isinstance(net, Net)]
    sides = [stage.side for stage in first if isinstance(stage, Shrink)]
    shape = data.x.shape[1:]
    if len(shape) != 3 or not sides or len(sides) < len(first):
        return data
    k = math.ceil(min(shape[1:]) / max(sides))
    if k < 2 or 4 * len(data.x) * shape[0] * (shape[1] // k) * (shape[2] // k) > LARGEST:
        return data
    small = [F.avg_pool2d(as_input(some), k) for some in data.x.split(AT_ONCE)]
    return dataclasses.replace(data, x=torch.cat(small))
