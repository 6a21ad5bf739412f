"""Penalties on a batch of features: one number that a method adds to its loss."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from longcut.errors import UserError, unknown

__all__ = ["disentangle", "entangle", "hsic", "rbf"]

Pairs = Literal["paper", "code"]


def rbf(x: Tensor, sigma: float | Literal["median"] = 1.0) -> Tensor:
    """Gram matrix of the Gaussian kernel exp(-|a - b|² / (2 sigma²)).

    Args:
        x: features ``(n, d)``.
        sigma: bandwidth, above 0, in units of ``x``; ``"median"`` takes the median distance of two samples in ``x``,
            which passes no gradient.

    Returns:
        ``(n, n)`` in [0, 1].

    Raises:
        UserError: when ``sigma`` is neither above 0 nor ``"median"``.

    >>> rbf(torch.tensor([[0.0], [2.0]]), sigma=2.0).log()
    tensor([[ 0.0000, -0.5000],
            [-0.5000,  0.0000]])
    """
    if sigma != "median" and not sigma > 0:
        raise UserError(f"the kernel's sigma is {sigma}; give a number above 0, such as 1, or 'median'.")
    width = _median_distance(x) if sigma == "median" else sigma
    x = x - x.mean(0)  # distances stay, and less is lost in the difference below
    norm = x.square().sum(1)
    distance = (norm[:, None] + norm - 2 * x @ x.T).clamp_min(0)
    return torch.exp(-distance / (2 * width**2))


def _median_distance(x: Tensor) -> Tensor:
    distance = torch.pdist(x.detach())
    # one sample has no distance, and samples that are all alike must not divide by zero
    return distance.median().clamp_min(1e-6) if len(distance) else distance.new_ones(())


def hsic(kx: Tensor, ky: Tensor, *, diagonal: Literal["zero", "subtract"] = "zero") -> Tensor:
    """Hilbert-Schmidt independence criterion of two kernels: how much one set of features tells of the other.

    The estimator is unbiased, so around independence it is negative as often as positive.

    Args:
        kx, ky: symmetric Gram matrices ``(n, n)`` of the two sets, of the same samples (see :func:`rbf`).
        diagonal: ``"zero"`` sets the diagonals to 0, as the estimator asks. ``"subtract"`` subtracts the diagonal
            from every row, as in the released program of ReBias: the same for kernels whose diagonal is constant,
            such as the Gaussian, and wrong for others, such as the linear.

    Returns:
        A number; 0 for fewer than four samples, for which it is not defined.

    Raises:
        UserError: when ``diagonal`` is unknown.

    Source: Song et al. 2012, "Feature Selection via Dependence Maximization", the estimator HSIC_1; used by Bahng et
    al. 2020, "Learning De-biased Representations with Biased Representations" (ReBias).

    >>> x = torch.tensor([[-1.0], [-1.0], [1.0], [1.0]])
    >>> hsic(x @ x.T, x @ x.T)  # off the diagonal all is 1 or -1: (12 + 16 / 6 - 2 * 4 / 2) / 4
    tensor(2.6667)
    """
    if diagonal not in ("zero", "subtract"):
        raise unknown("diagonal", diagonal, ("zero", "subtract"))
    n = len(kx)
    if n < 4:
        return 0 * (kx * ky).sum()
    if diagonal == "zero":
        kx, ky = kx - kx.diag().diag(), ky - ky.diag().diag()
    else:
        kx, ky = kx - kx.diag(), ky - ky.diag()
    trace, total, both = (kx * ky.T).sum(), kx.sum() * ky.sum(), kx.sum(0) @ ky.sum(0)
    return (trace + total / ((n - 1) * (n - 2)) - 2 * both / (n - 2)) / (n * (n - 3))


def disentangle(z: Tensor, label: Tensor, attribute: Tensor, *, pairs: Pairs = "paper") -> Tensor:
    """EnD's orthogonal term: features must not be alike because they share the bias.

    Args:
        z: unit vectors ``(n, d)``.
        label: class ids ``(n,)``.
        attribute: ids of the bias ``(n,)``; -1 where it is not known, and such a sample is in no pair.
        pairs: ``"paper"``, as we read it, is the mean of |cosine| over all pairs with the same attribute and another
            label. ``"code"`` takes every pair with the same attribute, whatever the label, and the absolute value of
            their *sum* for each attribute, so that opposite signs cancel, as in the released program.

    Returns:
        A number in [0, 1]; 0 where there is no such pair.

    Raises:
        UserError: when ``pairs`` is unknown.

    Source: Tartaglione et al. 2021, "EnD: Entangling and Disentangling deep representations for bias correction".

    >>> z = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
    >>> disentangle(z, torch.tensor([0, 1, 1]), torch.tensor([0, 0, 0]))  # |0.6| and |0|
    tensor(0.3000)
    """
    _check(pairs)
    cosine, same = z @ z.T, (attribute[:, None] == attribute) & (attribute >= 0)
    if pairs == "paper":
        return _mean(cosine.abs(), same & (label[:, None] != label))
    pair = same.tril(-1)
    total = same.to(z.dtype) @ (cosine * pair).sum(1)  # the sum for its attribute, once for each of its samples
    return (total.abs() / same.sum(1).clamp_min(1)).sum() / pair.sum().clamp_min(1)


def entangle(z: Tensor, label: Tensor, attribute: Tensor, *, pairs: Pairs = "paper") -> Tensor:
    """EnD's parallel term: features of one label must be alike whatever the bias.

    Args:
        z: unit vectors ``(n, d)``.
        label: class ids ``(n,)``.
        attribute: ids of the bias ``(n,)``; -1 where it is not known, and such a sample is in no pair.
        pairs: ``"paper"`` is 1 minus the mean of (1 + cosine) / 2 over all pairs with the same label and another
            attribute. ``"code"`` leaves out the pairs whose first sample in the batch has the lower attribute, as in
            the released program: about half of them.

    Returns:
        A number in [0, 1]; 0 where there is no such pair.

    Raises:
        UserError: when ``pairs`` is unknown.

    Source: Tartaglione et al. 2021, "EnD: Entangling and Disentangling deep representations for bias correction".

    >>> z = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
    >>> entangle(z, torch.tensor([0, 0, 0]), torch.tensor([0, 1, 1]))  # 1 - (0.8 + 0.5) / 2
    tensor(0.3500)
    """
    _check(pairs)
    known = attribute >= 0
    pair = (label[:, None] == label) & known[:, None] & known
    if pairs == "paper":
        pair = pair & (attribute[:, None] != attribute)
    else:
        pair = (pair & (attribute[:, None] < attribute)).tril(-1)
    return _mean((1 - z @ z.T) / 2, pair)


def _check(pairs: str) -> None:
    if pairs not in ("paper", "code"):
        raise unknown("pairs", pairs, ("paper", "code"))


def _mean(values: Tensor, where: Tensor) -> Tensor:
    return (values * where).sum() / where.sum().clamp_min(1)
