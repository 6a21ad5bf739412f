"""Where a net looks: which places of an image speak for a class."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from longcut.data import Info
from longcut.errors import UserError
from longcut.nets.maps import last_map
from longcut.nets.net import Net

__all__ = ["activation_maps"]

SMALLEST = 4  # places to each side: a map of one says nothing of where


def activation_maps(net: Net, info: Info, x: Tensor, target: Tensor, *, stage: int | None = None) -> Tensor:
    """Grad-CAM: the channels of a feature map weighted by the mean gradient of a class's output, where above 0.

    Behind the mean over the map and a linear head, the usual end of a net, it is the class activation map of Zhou et
    al. 2016 over the number of places: ``relu(sum_c head[target, c] map[c]) / (h w)``. The net is asked in evaluation
    mode, and neither its mode nor its gradients change.

    Args:
        net: with a stage that keeps features in place.
        info: of the images.
        x: a batch as the net takes it ``(n, C, H, W)``.
        target: classes ``(n,)``.
        stage: behind how many of ``net.stages``; by default the last whose map has at least four places to each side,
            and where none has, the last with a map.

    Returns:
        ``(n, h, w)``, at least 0, in the units of the net's output.

    Raises:
        UserError: when the net has no feature map there.

    Source: Selvaraju et al., Grad-CAM: Visual explanations from deep networks via gradient-based localization, 2017.

    >>> from longcut import nets
    >>> info = Info("photos", (3, 8, 8), 2, kind="image")
    >>> net = nets.build("conv:width=2", info)
    >>> activation_maps(net, info, torch.rand(5, 3, 8, 8), torch.zeros(5, dtype=torch.long)).shape
    torch.Size([5, 4, 4])
    """
    stage = _stage(net, info, x[:1]) if stage is None else stage
    if stage is None:
        raise UserError(
            "the net keeps no features in place, so there is no map of them; take a net of convolutions, such as "
            "resnet18."
        )
    was_training = net.training
    net.eval()
    try:
        maps = _through(net, x, 0, stage)
        if maps.ndim != 4:
            raise UserError(
                f"behind {stage} stages the net has features of shape {tuple(maps.shape[1:])} and no map; leave "
                "stage out for its last one."
            )
        with torch.enable_grad():
            held = maps.detach().requires_grad_()
            features = held
            for part in net.stages[stage:]:
                features = part(features)
            (slope,) = torch.autograd.grad(net.answer(features).gather(1, target[:, None]).sum(), held)
    finally:
        net.train(was_training)
    return F.relu((slope.mean((2, 3), keepdim=True) * maps).sum(1))


@torch.no_grad()
def _through(net: Net, x: Tensor, start: int, stop: int) -> Tensor:
    for part in net.stages[start:stop]:
        x = part(x)
    return x


def _stage(net: Net, info: Info, x: Tensor) -> int | None:
    """Behind which stage the map is looked at."""
    last = last_map(net, info)
    if last is None:
        return None
    was_training, sides = net.training, []
    net.eval()  # a single image moves no statistics
    for i in range(last):
        x = _through(net, x, i, i + 1)
        sides.append(min(x.shape[2:]) if x.ndim == 4 else 0)
    net.train(was_training)
    return max((i for i, side in enumerate(sides, 1) if side >= SMALLEST), default=last)
