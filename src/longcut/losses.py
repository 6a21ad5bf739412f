"""Losses, one value per sample, so that a method can weigh them. Needs torch and nothing else."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from longcut.errors import UserError, unknown

__all__ = ["cross_entropy", "gce", "relative_difficulty", "squared_error"]


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
