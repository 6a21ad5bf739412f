"""Cells of shortcut value x label: their sizes, and sample weights under which the shortcut says nothing of the label.

Needs torch and nothing else, so that the weights serve anybody's classifier, or its ``WeightedRandomSampler``.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from longcut.errors import UserError, unknown

__all__ = ["Weighting", "cell_counts", "cell_weights", "log_conditional", "out_of_place"]

Weighting = Literal["matched", "printed"]
EMPTY = 1e-12  # stands for the size of a cell that has no sample, where a logarithm is taken


def cell_counts(shortcut: Tensor, label: Tensor, n_values: int, n_classes: int) -> Tensor:
    """M: how many samples have each value of the shortcut and each label, ``(n_values, n_classes)`` float64.

    >>> cell_counts(torch.tensor([0, 0, 1]), torch.tensor([0, 1, 1]), 2, 2)
    tensor([[1., 1.],
            [0., 1.]], dtype=torch.float64)
    """
    cells = torch.bincount(shortcut * n_classes + label, minlength=n_values * n_classes)
    return cells.view(n_values, n_classes).double()


def log_conditional(counts: Tensor) -> Tensor:
    """The logarithm of P(label | value) of cells counted ``(n_values, n_classes)``: float64, finite everywhere.

    A cell without a sample counts as 1e-12 of one; a value that nobody has says nothing, all its labels are alike.

    >>> log_conditional(torch.tensor([[3.0, 1.0]])).exp().round(decimals=4)
    tensor([[0.7500, 0.2500]], dtype=torch.float64)
    """
    counts = counts.double().clamp_min(EMPTY)
    return counts.log() - counts.sum(1, keepdim=True).log()


def out_of_place(shortcut: Tensor, label: Tensor) -> Tensor:
    """Who has another value of the shortcut than the commonest of its class ``(n,)``; of equals the lowest is meant.

    >>> out_of_place(torch.tensor([1, 1, 0, 0]), torch.tensor([0, 0, 0, 1]))
    tensor([False, False,  True, False])
    """
    usual = cell_counts(shortcut, label, int(shortcut.max()) + 1, int(label.max()) + 1).argmax(0)
    return shortcut != usual[label]


def cell_weights(shortcut: Any, label: Any, *, weights: Weighting = "matched") -> Tensor:
    """A weight for each sample that gives every class the same shares of the shortcut's values.

    With M[s, y] samples of value s and label y, P[s, y] = M[s, y] / sum_s M[s, y] and q[s] = sum_y M[s, y] / N, a
    sample weighs ``W[s, y] = q[s] / P[s, y]``, so that W P = q in each class, and classes weigh what they did. Cells
    need not become equally heavy, as in group balancing: values of the shortcut stay as frequent as they are.
    A value that a class has no sample of cannot be given to it; the others of that class share its part.

    Args:
        shortcut: value of each sample ``(n,)``, integers from 0: a true attribute, or the prediction of a biased net.
        label: class ids ``(n,)``.
        weights: ``"matched"`` is W. ``"printed"`` is W[s, y] / M[s, y], the weight the paper prints for a sampler: a
            cell then weighs W in all, so that the rare ones outweigh the frequent ones.

    Returns:
        ``(n,)`` float32, above 0, with mean 1; worked out in double precision.

    Raises:
        UserError: when the two are not integers of one length, or weights has another name.

    Source: Zhao and Zhang, "Fine-Grained Class-Conditional Distribution Balancing for Debiased Learning", ICLR 2026.

    >>> cell_weights([0, 0, 0, 1, 0, 1], [0, 0, 0, 0, 1, 1])  # q = 2/3, 1/3
    tensor([0.8889, 0.8889, 0.8889, 1.3333, 1.3333, 0.6667])
    """
    if weights not in ("matched", "printed"):
        raise unknown("weighting", weights, ("matched", "printed"))
    s, y = _ids("shortcut", shortcut), _ids("label", label)
    if len(s) != len(y):
        raise UserError(f"cell_weights got {len(s)} values of the shortcut and {len(y)} labels; give one per sample.")
    counts = cell_counts(s, y, int(s.max()) + 1, int(y.max()) + 1)
    size = counts.sum(0)
    wanted = counts.sum(1, keepdim=True) * (counts > 0)
    weight = size * wanted / wanted.sum(0).clamp_min(1) / counts.clamp_min(1)
    if weights == "printed":
        weight = weight / counts.clamp_min(1)
    each = weight[s, y]
    return (each / each.mean()).float()


def _ids(what: str, values: Any) -> Tensor:
    ids = torch.as_tensor(values)
    whole = not (ids.is_floating_point() or ids.is_complex())
    if ids.ndim != 1 or not len(ids) or not whole or bool((ids < 0).any()):
        raise UserError(
            f"cell_weights takes the {what} as integers from 0, one per sample and at least one, but got "
            f"{ids.dtype} of shape {tuple(ids.shape)}; number its values first."
        )
    return ids.long()
