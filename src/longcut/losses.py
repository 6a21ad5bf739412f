"""Losses, one value per sample, so that a method can weigh them; those of a regression also by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from longcut.errors import UserError, unknown
from longcut.registry import Registry, required
from longcut.spec import read, validate

__all__ = [
    "LOSSES",
    "absolute_error",
    "cross_entropy",
    "gce",
    "huber_error",
    "quantile_error",
    "regression_loss",
    "relative_difficulty",
    "squared_error",
]


def cross_entropy(logits: Tensor, label: Tensor) -> Tensor:
    """-log p(label) of each sample.

    Args:
        logits: ``(n, C)``.
        label: class ids ``(n,)``.

    Returns:
        ``(n,)``, at least 0.

    >>> cross_entropy(torch.zeros(2, 4), torch.tensor([0, 3])).exp()
    tensor([4., 4.])
    """
    return functional.cross_entropy(logits, label, reduction="none")


def gce(logits: Tensor, label: Tensor, q: float = 0.7, *, scale: Literal["paper", "code"] = "paper") -> Tensor:
    """Generalized cross entropy of each sample, which listens most to what the net already gets right.

    Its gradient is that of the cross entropy times p^q, where p is the probability of the label.

    Args:
        logits: ``(n, C)``.
        label: class ids ``(n,)``.
        q: 0 < q ≤ 1; towards 0 it becomes the cross entropy, at 1 it is 1 - p.
        scale: ``"paper"`` is (1 - p^q) / q. ``"code"`` is q · p^q, taken as a constant, times the cross entropy, as in
            the released programs of LfF and SelecMix: another value, and q times the gradient.

    Returns:
        ``(n,)``, at least 0.

    Raises:
        UserError: when ``q`` is out of range or ``scale`` unknown.

    Source: Zhang and Sabuncu 2018, "Generalized Cross Entropy Loss for Training Deep Neural Networks with Noisy
    Labels", the loss L_q; used for biased nets by Nam et al. 2020, "Learning from Failure".

    >>> gce(torch.zeros(1, 4), torch.tensor([0]), q=0.5)  # p = 1/4
    tensor([1.])
    """
    if not 0 < q <= 1:
        raise UserError(f"gce got q={q}; give a number above 0 and at most 1 (near 0 it is the cross entropy).")
    if scale not in ("paper", "code"):
        raise unknown("scale", scale, ("paper", "code"))
    entropy = cross_entropy(logits, label)
    if scale == "code":
        return q * torch.exp(-q * entropy.detach()) * entropy
    return -torch.expm1(-q * entropy) / q


def relative_difficulty(biased: Tensor, debiased: Tensor) -> Tensor:
    """How much harder a sample is for the biased net than for the debiased one: B / (B + D).

    Args:
        biased, debiased: losses of the two nets ``(n,)``, at least 0.

    Returns:
        ``(n,)`` in [0, 1), without gradient; 0 where both losses are 0.

    Source: Nam et al. 2020, "Learning from Failure", the weight W(x).

    >>> relative_difficulty(torch.tensor([3.0, 0.0]), torch.tensor([1.0, 0.0]))
    tensor([0.7500, 0.0000])
    """
    biased, debiased = biased.detach(), debiased.detach()
    return biased / (biased + debiased + 1e-8)


def squared_error(output: Tensor, label: Tensor) -> Tensor:
    """Mean over the target's width of the squared error of each sample.

    Args:
        output, label: ``(n, width)``.

    Returns:
        ``(n,)``, at least 0, in the square of the target's unit.

    >>> squared_error(torch.tensor([[1.0, 3.0]]), torch.tensor([[1.0, 1.0]]))
    tensor([2.])
    """
    return (output - label).square().mean(1)


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
