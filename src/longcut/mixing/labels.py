"""What the label of a mixed sample is: label rules, ``(own, partner, realised share) -> Target``, and their loss."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from longcut.mixing.types import Target

__all__ = ["binary_loss", "of_partner", "own", "proportional", "target_loss"]


def _target(own: Tensor, partner: Tensor, share: Tensor) -> Target:
    one = torch.ones_like(share)
    return Target(own, partner, share, one, one)


def proportional(own: Tensor, partner: Tensor, share: Tensor) -> Target:
    """Both labels, in the proportion of the two inputs (mixup, CutMix, LISA)."""
    return _target(own, partner, share)


def own(own: Tensor, partner: Tensor, share: Tensor) -> Target:
    """The anchor's label (class-conditional mixup, Just Mix Once)."""
    return _target(own, own, torch.ones_like(share))


def of_partner(own: Tensor, partner: Tensor, share: Tensor) -> Target:
    """The partner's label, hard, whatever the share (SelecMix)."""
    return _target(partner, partner, torch.zeros_like(share))


def target_loss(per_sample: Callable[[Tensor, Tensor], Tensor], outputs: Tensor, target: Target) -> Tensor:
    """The loss of mixed samples: ``share * w_a * l(out, label_a) + (1 - share) * w_b * l(out, label_b)``.

    Args:
        per_sample: ``(outputs, label) -> (n,)``, such as :func:`longcut.losses.cross_entropy`.
        outputs: ``(n, C)``.
        target: of the mixed samples.

    Returns:
        One value per sample ``(n,)``.
    """
    if target.label_a is target.label_b:  # a hard label is one term
        weight = target.share * target.weight_a + (1 - target.share) * target.weight_b
        return weight * per_sample(outputs, target.label_a)
    a, b = per_sample(outputs, target.label_a), per_sample(outputs, target.label_b)
    return target.share * target.weight_a * a + (1 - target.share) * target.weight_b * b


def binary_loss(outputs: Tensor, target: Target) -> Tensor:
    """The mean over the classes of the binary cross-entropy between each probability and the class's part ``(n,)``.

    The released programs of manifold mixup and PuzzleMix minimise it in place of the cross-entropy.

    Args:
        outputs: logits ``(n, C)``.
        target: of the mixed samples.

    >>> half = Target(torch.tensor([0]), torch.tensor([1]), *torch.tensor([[0.5], [1.0], [1.0]]))
    >>> binary_loss(torch.zeros(1, 2), half).exp()
    tensor([2.])
    """
    probability = outputs.softmax(1)
    soft = target.soft(outputs.shape[1]).to(probability)
    return F.binary_cross_entropy(probability, soft, reduction="none").mean(1)
