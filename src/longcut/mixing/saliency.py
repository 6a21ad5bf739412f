"""Where in an image the eye, or a net, looks: saliency maps of whole batches, ``(n, C, H, W) -> (n, H, W)``."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from longcut.losses import cross_entropy

__all__ = ["gradient"]


def gradient(
    x: Tensor,
    label: Tensor,
    net: Callable[[Tensor], Tensor],
    loss: Callable[[Tensor, Tensor], Tensor] = cross_entropy,
) -> Tensor:
    """How strongly each pixel moves the loss: the root mean square, over the channels, of its gradient.

    No gradient reaches the weights. Whoever wants batch normalisation left alone shows the net in evaluation mode.

    Args:
        x: ``(n, C, H, W)``, floating point.
        label: what the loss takes, one row per image.
        net: from images to outputs.
        loss: ``(outputs, label) -> (n,)``.

    Returns:
        ``(n, H, W)``, at least 0, without gradient.

    Source: Kim et al., Puzzle Mix, ICML 2020, §3.

    >>> weight = torch.tensor([[0.0, 2.0], [0.0, 0.0]])
    >>> gradient(torch.ones(1, 1, 2, 2), torch.zeros(1), lambda x: x, lambda out, _: (out * weight).sum((1, 2, 3)))
    tensor([[[0., 2.],
             [0., 0.]]])
    """
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        (slope,) = torch.autograd.grad(loss(net(x), label).sum(), x)
    return slope.square().mean(1).sqrt()
