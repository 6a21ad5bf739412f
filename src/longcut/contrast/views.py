"""Losses of two views of each sample, which need no labels: four that are one with other weights, and a namesake.

>>> views = torch.eye(3).repeat(2, 1)  # three samples, told apart perfectly
>>> simclr_loss(views), debiased_contrastive(views, tau=0.1)
(tensor(0.4327), tensor(0.1459))
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from longcut.contrast.base import (
    Reduction,
    check_tau,
    check_temperature,
    cosines,
    log_sum,
    negatives_of,
    reduced,
    terms,
    unit_views,
)
from longcut.errors import UserError

__all__ = [
    "Anchors",
    "anchor_losses",
    "debiased_contrastive",
    "decoupled_contrastive",
    "hard_contrastive",
    "simclr_loss",
    "weighted_contrastive",
]


class Anchors(NamedTuple):
    """What :func:`anchor_losses` finds.

    Attributes:
        loss: of each anchor ``(2B,)``.
        clamped: True where the corrected sum of the negatives is at its floor ``(2B,)``; the negatives of such an
            anchor teach nothing.
    """

    loss: Tensor
    clamped: Tensor


def anchor_losses(
    z: Tensor, temperature: float = 0.5, tau: float = 0.0, *, beta: float = 0.0, weight: Tensor | None = None
) -> Anchors:
    """``-log p / (p + G)`` of each anchor, where ``G = (sum_j w_j e_j - tau N p) / (1 - tau)``.

    Here ``p`` and ``e_j`` are ``exp(cosine / temperature)`` of the positive and of the N negatives. Unless it is given,
    ``w_j`` is ``e_j^beta`` over its mean, through which gradients flow as in the released code. G is at
    least ``N e^(-1/t)``, the smallest sum of N scores that there is. Without ``tau`` nothing is corrected.

    Args:
        z: ``(2B, d)`` as the module says, B at least 2.
        temperature: t, above 0.
        tau: share of the negatives that are positives in truth, in [0, 1).
        beta: at least 0; how much more a negative counts that is near.
        weight: of each pair of anchor (row) and negative (column) ``(2B, 2B)``, at least 0; in place of ``beta``.

    Raises:
        UserError: when a number is out of range or a shape is another one; for a single pair, which has no negatives.

    >>> anchor_losses(torch.ones(4, 1), tau=0.9).clamped  # all alike: 2 p - 1.8 p is left, more than the floor
    tensor([False, False, False, False])
    """
    z = unit_views(z)
    check_temperature(temperature)
    check_tau(tau)
    if not beta >= 0:
        raise UserError(f"the contrastive loss got beta={beta}; give a number of at least 0, such as 1.")
    if weight is not None and weight.shape != (len(z), len(z)):
        raise UserError(f"the weights have shape {tuple(weight.shape)}; give one for each pair, {(len(z), len(z))}.")
    logits = cosines(z) / temperature
    negative = negatives_of(z)
    log_weight = None if weight is None else weight.to(z).log()
    if beta and weight is None:
        tilt = beta * logits
        log_weight = tilt - log_sum(tilt, negative)[:, None] + math.log(len(z) - 2)
    p, g, clamped = terms(logits, negative, log_weight, tau, -1 / temperature)
    return Anchors(torch.nn.functional.softplus(g - p), clamped)


def simclr_loss(z: Tensor, temperature: float = 0.5, *, reduction: Reduction = "mean") -> Tensor:
    """Cross-entropy of the other view among all views but the anchor (NT-Xent).

    Args:
        z: ``(2B, d)`` as the module says.
        temperature: above 0.
        reduction: over the anchors; ``"mean"`` as published.

    Raises:
        UserError: as :func:`anchor_losses`.

    Source: Chen et al. 2020, "A simple framework for contrastive learning of visual representations", eq. 1.

    >>> simclr_loss(torch.ones(4, 1))  # all alike: log 3
    tensor(1.0986)
    """
    return reduced(anchor_losses(z, temperature).loss, reduction)


def debiased_contrastive(
    z: Tensor, temperature: float = 0.5, tau: float = 0.1, *, reduction: Reduction = "mean"
) -> Tensor:
    """DCL: the share ``tau`` of the negatives that are of the anchor's own class is taken out of their sum.

    Not :func:`decoupled_contrastive`, which other libraries call DCL. With ``tau=0`` it is :func:`simclr_loss`.

    Args:
        z: ``(2B, d)`` as the module says.
        temperature: above 0.
        tau: in [0, 1); of balanced classes one over their number.
        reduction: over the anchors; ``"mean"`` as published.

    Raises:
        UserError: as :func:`anchor_losses`.

    Source: Chuang et al. 2020, "Debiased contrastive learning", eq. 8, with the N that its text leaves out.

    >>> debiased_contrastive(torch.ones(4, 1), tau=0.5)  # (2 - 0.5 * 2) / 0.5 is 2 again: log 3
    tensor(1.0986)
    """
    return reduced(anchor_losses(z, temperature, tau).loss, reduction)


def hard_contrastive(
    z: Tensor, temperature: float = 0.5, tau: float = 0.1, beta: float = 1.0, *, reduction: Reduction = "mean"
) -> Tensor:
    """HCL: the debiased loss in which a negative counts by its score to the power ``beta``; with 0 it is that loss.

    Args:
        z: ``(2B, d)`` as the module says.
        temperature: above 0.
        tau: in [0, 1).
        beta: at least 0.
        reduction: over the anchors; ``"mean"`` as published.

    Raises:
        UserError: as :func:`anchor_losses`.

    Source: Robinson et al. 2021, "Contrastive learning with hard negative samples", section 4; as released.

    >>> hard_contrastive(torch.ones(4, 1), tau=0.5)  # all negatives are as hard: log 3
    tensor(1.0986)
    """
    return reduced(anchor_losses(z, temperature, tau, beta=beta).loss, reduction)


def weighted_contrastive(
    z: Tensor, weight: Tensor, temperature: float = 0.5, tau: float = 0.1, *, reduction: Reduction = "mean"
) -> Tensor:
    """WCL: the debiased loss with a weight for each pair, such as :func:`difficulty_weight`; with 1 it is that loss.

    Args:
        z: ``(2B, d)`` as the module says.
        weight: of each pair of anchor (row) and negative (column) ``(2B, 2B)``; others are not looked at.
        temperature: above 0.
        tau: in [0, 1).
        reduction: over the anchors; ``"mean"`` as published.

    Raises:
        UserError: as :func:`anchor_losses`.

    Source: Jang and Wang 2023, "Difficulty-based sampling for debiased contrastive representation learning", eq. 5.

    >>> weighted_contrastive(torch.ones(4, 1), torch.full((4, 4), 2.0), tau=0)  # log (1 + 2 * 2)
    tensor(1.6094)
    """
    return reduced(anchor_losses(z, temperature, tau, weight=weight).loss, reduction)


def decoupled_contrastive(z: Tensor, temperature: float = 0.5, *, reduction: Reduction = "mean") -> Tensor:
    """``-log p / G``: SimCLR without the positive in the denominator. It corrects no bias.

    Beware of the name: lightly and others call this loss DCL, as papers do the *debiased* contrastive loss, which is
    :func:`debiased_contrastive`. It may be negative.

    Args:
        z: ``(2B, d)`` as the module says.
        temperature: above 0.
        reduction: over the anchors.

    Raises:
        UserError: as :func:`anchor_losses`.

    Source: Yeh et al. 2022, "Decoupled contrastive learning", eq. 6.

    >>> decoupled_contrastive(torch.ones(4, 1))  # log 2
    tensor(0.6931)
    """
    z = unit_views(z)
    check_temperature(temperature)
    p, g, _ = terms(cosines(z) / temperature, negatives_of(z), None, 0.0, -1 / temperature)
    return reduced(g - p, reduction)
