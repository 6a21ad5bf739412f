"""Losses of a regression by name, one value per sample; outputs and targets are in standardised units."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from longcut.losses import squared_error
from longcut.registry import Registry, required
from longcut.spec import read, validate

__all__ = ["LOSSES", "absolute_error", "huber_error", "quantile_error", "regression_loss"]


def absolute_error(output: Tensor, label: Tensor) -> Tensor:
    """Mean over the target's width of the distance of each sample; least for the median.

    Args:
        output, label: ``(n, width)``.

    Returns:
        ``(n,)``, at least 0.

    >>> absolute_error(torch.tensor([[1.0, 4.0]]), torch.tensor([[1.0, 1.0]]))
    tensor([1.5000])
    """
    return (output - label).abs().mean(1)


def huber_error(
    output: Tensor,
    label: Tensor,
    *,
    delta: Annotated[float, Field(gt=0, description="error from which it grows no faster than the distance")] = 1.0,
) -> Tensor:
    """Half the squared error up to a distance of ``delta``, and from there on its tangent; mean over the width.

    Args:
        output, label: ``(n, width)``.
        delta: above 0, in the unit of both.

    Returns:
        ``(n,)``, at least 0.

    Source: Huber 1964, "Robust estimation of a location parameter".

    >>> huber_error(torch.tensor([[1.0], [3.0]]), torch.zeros(2, 1))
    tensor([0.5000, 2.5000])
    """
    return functional.huber_loss(output, label, reduction="none", delta=delta).mean(1)


def quantile_error(
    output: Tensor,
    label: Tensor,
    *,
    level: Annotated[
        float, Field(gt=0, lt=1, description="share of the targets that is to lie below the output")
    ] = 0.5,
) -> Tensor:
    """``level`` times what the output lacks, or ``1 - level`` times what it is too much; least for that quantile.

    Args:
        output, label: ``(n, width)``; the loss is the mean over the width.
        level: between 0 and 1; 0.5 is the median, at half the absolute error.

    Returns:
        ``(n,)``, at least 0.

    Source: Koenker and Bassett 1978, "Regression quantiles".

    >>> quantile_error(torch.tensor([[0.0], [2.0]]), torch.ones(2, 1), level=0.9)
    tensor([0.9000, 0.1000])
    """
    lacks = label - output
    return torch.maximum(level * lacks, (level - 1) * lacks).mean(1)


LOSSES: Registry[Callable[..., Tensor]] = Registry(
    "loss",
    "LOSSES",
    {"squared": squared_error, "huber": huber_error, "absolute": absolute_error, "quantile": quantile_error},
    made=required(callable, "a function (output, label, *, options) that returns a loss for each sample"),
)


def regression_loss(spec: str) -> Callable[[Tensor, Tensor], Tensor]:
    """The loss of each sample of a regression that ``spec`` names, such as ``"huber:delta=2"``.

    Raises:
        UserError: for an unknown name or option, or a value that its option does not allow.

    >>> regression_loss("quantile:level=0.9")(torch.zeros(1, 1), torch.ones(1, 1))
    tensor([0.9000])
    """
    name, given = read(spec, "loss")
    loss = LOSSES.find(name)
    return partial(loss, **validate(f"loss '{name}'", loss, given))
