"""Supervised contrastive losses over a batch of unit vectors."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from longcut.contrast.base import Reduction, check_temperature, reduced
from longcut.errors import UserError, unknown

__all__ = ["generalized_supervised_contrastive", "supervised_contrastive"]


def supervised_contrastive(
    z: Tensor, label: Tensor, temperature: float = 0.2, *, reduction: Reduction = "sum"
) -> Tensor:
    """Pulls samples of one label together: -mean over positives k of log p_ik, for each anchor i.

    p_ik is the softmax of z_i · z_k / temperature over all samples but i; the positives of i are the other samples with
    its label.

    Args:
        z: unit vectors ``(n, d)``.
        label: class ids ``(n,)``.
        temperature: above 0.
        reduction: over the anchors; ``"none"`` keeps one value for each.

    Returns:
        A number, or ``(n,)``; at least 0. An anchor without positives counts 0, in the mean too.

    Raises:
        UserError: when ``temperature`` is not above 0, or ``reduction`` unknown.

    Source: Khosla et al. 2020, "Supervised Contrastive Learning", eq. 2 (L_out).

    >>> z = torch.ones(3, 1)  # all alike: each of the others has probability 1/2
    >>> supervised_contrastive(z, torch.tensor([0, 0, 1]), reduction="none").exp()
    tensor([2., 2., 1.])
    """
    return generalized_supervised_contrastive(z, label, temperature, 0, reduction=reduction)


def generalized_supervised_contrastive(
    z: Tensor,
    label: Tensor,
    temperature: float = 0.2,
    q: float = 0.7,
    *,
    scale: Literal["paper", "code"] = "paper",
    reduction: Reduction = "sum",
) -> Tensor:
    """The supervised contrastive loss with each term weighed by p_ik^q, which pulls most on what is close already.

    So the embedding keeps the easy (biased) likeness instead of learning the label: anchor i has
    -mean over positives k of p_ik^q log p_ik, where the weight p_ik^q passes no gradient.

    Args:
        z: unit vectors ``(n, d)``.
        label: class ids ``(n,)``.
        temperature: above 0.
        q: at least 0; at 0 it is :func:`supervised_contrastive`.
        scale: ``"code"`` multiplies by q, as the released program of SelecMix does.
        reduction: over the anchors: ``"sum"`` as in the paper, ``"mean"`` as in the released program; ``"none"`` keeps
            one value for each.

    Returns:
        A number, or ``(n,)``; at least 0. An anchor without positives counts 0, in the mean too.

    Raises:
        UserError: when ``temperature`` or ``q`` is out of range, or ``scale`` or ``reduction`` unknown.

    Source: Hwang et al. 2022, "SelecMix: Debiased Learning by Contradicting-pair Sampling", eq. 3.

    >>> z = torch.ones(3, 1)  # all alike: each of the others has probability 1/2
    >>> generalized_supervised_contrastive(z, torch.tensor([0, 0, 1]), q=1)  # log(2) / 2, twice
    tensor(0.6931)
    """
    check_temperature(temperature)
    if not q >= 0:
        raise UserError(f"the contrastive loss got q={q}; give a number of at least 0, such as 0.7.")
    if scale not in ("paper", "code"):
        raise unknown("scale", scale, ("paper", "code"))
    itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
    positive = (label[:, None] == label) & ~itself
    log_p = (z @ z.T / temperature).masked_fill(itself, -torch.inf).log_softmax(1)
    log_p = log_p.masked_fill(itself, 0)  # before anything multiplies: 0 * -inf is not a number
    cost = torch.where(positive, torch.exp(q * log_p.detach()) * -log_p, 0)
    loss = cost.sum(1) / positive.sum(1).clamp(min=1)
    return reduced(q * loss if scale == "code" else loss, reduction)
