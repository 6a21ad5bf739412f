"""Feature maps: where a net last keeps its features in place, and what it makes of a part of them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from longcut.data import Info
from longcut.mixing.regions import Corners
from longcut.nets.net import Net

__all__ = ["cell_features", "last_map", "roi_mean"]


@torch.no_grad()
def last_map(net: Net, info: Info) -> int | None:
    """After how many stages of the net its last feature map ``(n, C, h, w)`` stands; None where it has none.

    >>> from longcut import nets
    >>> info = Info("photos", (3, 8, 8), 2, kind="image")
    >>> last_map(nets.build("conv:width=2", info), info), last_map(nets.build("mlp", info), info)
    (4, None)
    """
    if info.kind != "image":
        return None
    was_training, found = net.training, None
    device = next(net.parameters()).device
    x = torch.zeros(1, *info.shape, device=device)
    net.eval()  # a single image moves no statistics
    for number, stage in enumerate(net.stages, 1):
        x = stage(x)
        found = number if x.ndim == 4 else found
    net.train(was_training)
    return found


def cell_features(net: Net, maps: Tensor, stages: int | None) -> Tensor:
    """The net's features of each cell of its maps, as if the cell were the whole map.

    Behind the mean over the map, the usual end of a net, they are the cells themselves, and the net's outputs are the
    mean over the cells of ``net.head`` of them.

    Args:
        net: the net.
        maps: ``(n, C, h, w)``, what its first ``stages`` stages make.
        stages: as :func:`last_map` says. None: ``maps`` are features ``(n, width)``, which are one cell.

    Returns:
        ``(n, h, w, width)``.
    """
    if stages is None:
        return maps[:, None, None]
    n, _, h, w = maps.shape
    cells = maps.permute(0, 2, 3, 1).flatten(0, 2)[:, :, None, None]
    return net.between(cells, stages).view(n, h, w, -1)


def roi_mean(maps: Tensor, corners: Corners, height: int, width: int) -> Tensor:
    """RoI-align with a single bin: the mean of a map over a box in the image, bilinear between the cells.

    The box is laid over the map with half a cell's shift (aligned) and sampled at the middles of ``⌈side⌉`` equal parts
    of each side (adaptive), in cells. An empty box has zeros.

    Args:
        maps: ``(n, C, h, w)``.
        corners: of a box for each map, in pixels of the image.
        height, width: of the image, at least those of the map.

    Returns:
        ``(n, C)``.

    Source: He et al., Mask R-CNN, ICCV 2017, §3, with the half cell of its later implementations.

    >>> maps = torch.tensor([[[[0.0, 1.0], [2.0, 3.0]]]])
    >>> roi_mean(maps, Corners(*torch.tensor([[0], [4], [4], [8]])), 8, 8)  # the upper right quarter
    tensor([[1.]])
    """
    rows = _weights(corners.top, corners.bottom, height, maps.shape[2])
    columns = _weights(corners.left, corners.right, width, maps.shape[3])
    return torch.einsum("nchw,nh,nw->nc", maps, rows.to(maps.dtype), columns.to(maps.dtype))


def _weights(start: Tensor, stop: Tensor, length: int, cells: int) -> Tensor:
    """How much each cell of one axis counts ``(n, cells)``: samples on a grid part into the two axes."""
    side = (stop - start)[:, None]
    parts = -(-side * cells // length)  # in whole numbers, where no rounding adds a part
    at = torch.arange(cells, device=start.device)
    place = (start[:, None] + side * (at + 0.5) / parts.clamp(min=1)) * (cells / length) - 0.5
    near = F.relu(1 - (place.clamp(0, cells - 1)[:, :, None] - at).abs())
    return (near * (at < parts)[:, :, None]).sum(1) / parts.clamp(min=1)
