"""Which classes go together: how alike they are, and the law by which the class of a partner is drawn."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from longcut.errors import UserError

__all__ = ["confusion", "geometric", "prototypes", "simplex"]


def confusion(probability: Tensor, label: Tensor, n_classes: int) -> Tensor:
    """Mean predicted probabilities of each class's samples ``(C, C)``; zeros for a class without samples.

    Args:
        probability: ``(n, C)``.
        label: ``(n,)``.
        n_classes: C.

    >>> confusion(torch.tensor([[0.5, 0.5], [1.0, 0.0], [0.2, 0.8]]), torch.tensor([0, 0, 1]), 2)
    tensor([[0.7500, 0.2500],
            [0.2000, 0.8000]])
    """
    count = torch.bincount(label, minlength=n_classes).clamp_min(1)
    return probability.new_zeros(n_classes, n_classes).index_add_(0, label, probability) / count[:, None]


def prototypes(z: Tensor, label: Tensor, n_classes: int) -> Tensor:
    """Cosines of the classes' mean features ``(C, C)``, symmetric; 0 for a class without samples.

    Args:
        z: features ``(n, d)``.
        label: ``(n,)``.
        n_classes: C.

    >>> prototypes(torch.tensor([[2.0, 0.0], [0.0, 2.0], [1.0, 1.0]]), torch.tensor([0, 1, 1]), 2)[0, 1]
    tensor(0.3162)
    """
    total = z.new_zeros(n_classes, z.shape[1]).index_add_(0, label, z)
    centre = F.normalize(total, dim=1)
    return centre @ centre.T


def simplex(similarity: Tensor, temperature: float) -> Tensor:
    """Logarithms of weights ``exp(similarity / temperature)`` of the other classes, as ``by_class`` takes them.

    Args:
        similarity: ``(C, C)``, of each row's class with every other; the diagonal is not looked at.
        temperature: not 0; below 0 the least similar weigh most.

    Returns:
        ``(C, C)`` with −∞ on the diagonal.

    Raises:
        UserError: when the temperature is 0.

    >>> simplex(torch.tensor([[9.0, 2.0, 1.0]] * 3), 0.5)[0]
    tensor([-inf, 4., 2.])
    """
    if temperature == 0:
        raise UserError("the temperature is 0; give one above 0 for similar classes, or below for dissimilar ones.")
    return _others(similarity / temperature)


def geometric(similarity: Tensor, ratio: float) -> Tensor:
    """Logarithms of weights ``ratio ** rank``: 1 for the most similar of the other classes, ``ratio`` for the next, ….

    The rank is how many classes are more similar, so equals weigh alike. Below 1 the law prefers similar classes and,
    going to 0, the most similar alone; 1 is indifferent, and above 1 the least similar weigh most.

    Args:
        similarity: as in :func:`simplex`.
        ratio: above 0.

    Returns:
        ``(C, C)`` with −∞ on the diagonal.

    Raises:
        UserError: when the ratio is not above 0.

    >>> geometric(torch.tensor([[9.0, 2.0, 1.0]] * 3), 0.5)[0].exp()
    tensor([0.0000, 1.0000, 0.5000])
    """
    if not ratio > 0:
        raise UserError(f"the ratio of the ranks is {ratio}; it must be above 0.")
    distance = -_others(similarity)  # of itself: infinite, so it is ahead of nobody
    rank = torch.searchsorted(distance.sort(1).values, distance.contiguous())
    return _others(rank * torch.tensor(ratio, dtype=similarity.dtype, device=similarity.device).log())


def _others(score: Tensor) -> Tensor:
    return score.clone().fill_diagonal_(-torch.inf)
