"""How much of a pretrained net is trained: nothing, its last part, or all, with a learning rate of its own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import Field
from torch import nn

__all__ = ["LR_SCALE", "LrScale", "Tune", "freeze_the_rest", "lr_scale", "train_only"]

Tune = Annotated[
    Literal["frozen", "last", "all"],
    Field(description="frozen: the head alone is trained; last: the last part of the pretrained net, too; all: all"),
]
LrScale = Annotated[
    float, Field(gt=0, description="learning rate of what is trained of the pretrained net, in that of the run")
]

LR_SCALE = "lr_scale"  # attribute of a parameter whose learning rate is another than the run's


def lr_scale(parameter: nn.Parameter) -> float:
    """What the run's learning rate is multiplied by for this parameter: 1, unless its net says otherwise."""
    return getattr(parameter, LR_SCALE, 1.0)


def train_only(
    how: Literal["frozen", "last", "all"],
    everything: Iterable[nn.Parameter],
    last: Iterable[nn.Parameter],
    scale: float,
) -> None:
    """Mark the parameters of a pretrained net: which are trained, and with which part of the run's learning rate.

    Args:
        how: ``"frozen"``, ``"last"`` or ``"all"``.
        everything: all its parameters.
        last: those of its last part.
        scale: see :func:`lr_scale`.

    >>> net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    >>> train_only("last", net.parameters(), net[1].parameters(), 0.1)
    >>> [(p.requires_grad, lr_scale(p)) for p in (net[0].weight, net[1].weight)]
    [(False, 1.0), (True, 0.1)]
    """
    everything = list(everything)
    trained = {"frozen": (), "last": last, "all": everything}[how]
    for parameter in everything:
        parameter.requires_grad_(False)
    for parameter in trained:
        parameter.requires_grad_(True)
        if scale != 1:
            setattr(parameter, LR_SCALE, scale)


def freeze_the_rest(net: nn.Module) -> None:
    """Parts of which no parameter is trained go to evaluation mode: there is no dropout in what is not trained."""
    for part in net.modules():
        parameters = list(part.parameters())
        if parameters and not any(parameter.requires_grad for parameter in parameters):
            part.eval()
