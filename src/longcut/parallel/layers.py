"""Layers that look at the whole batch, where a process has some of its rows: batch normalisation and dropout."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from longcut.parallel.team import Team

__all__ = ["OfWhole"]


class OfWhole(TorchFunctionMode):
    """For the time of a ``with``, what is computed of this process's rows is what the whole batch would give them.

    Batch normalisation takes its statistics over the rows of all processes. Dropout draws for all rows, as one process
    would, and uses what it drew for this one's, so that every process has drawn the same.

    Args:
        team: the processes.
        rows: of the whole batch.
        total: the sum over the processes of what each has, through which gradients pass.
    """

    def __init__(self, team: Team, rows: int, total: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.team, self.rows, self.total = team, rows, total

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        ours = {F.batch_norm: self.batch_norm, F.dropout: self.dropout}
        return ours.get(func, func)(*args, **(kwargs or {}))

    def batch_norm(
        self,
        x: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Tensor:
        """:func:`torch.nn.functional.batch_norm`."""
        if not training:
            return F.batch_norm(x, running_mean, running_var, weight, bias, False, momentum, eps)
        of_each = x.new_zeros(self.team.size, 2, x.shape[1])
        of_each[self.team.rank] = torch.stack(torch.var_mean(x, [0, *range(2, x.ndim)], correction=0))
        variances, means = self.total(of_each).unbind(1)
        share = (x.new_tensor(self.team.shares(self.rows)) / self.rows)[:, None]
        mean = (share * means).sum(0)
        variance = (share * (variances + (means - mean).square())).sum(0)
        if running_mean is not None and running_var is not None:
            n = self.rows * x[0, 0].numel()
            with torch.no_grad():
                running_mean.lerp_(mean.to(running_mean), momentum)
                running_var.lerp_(variance.to(running_var) * (n / max(n - 1, 1)), momentum)
        scale = (variance + eps).rsqrt() * (1 if weight is None else weight)
        shift = (0 if bias is None else bias) - mean * scale
        shape = (1, -1, *[1] * (x.ndim - 2))
        return torch.addcmul(shift.view(shape), x, scale.view(shape))

    def dropout(self, x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        """:func:`torch.nn.functional.dropout`, not in place."""
        own = self.team.own(self.rows)
        if not training or len(x) != own.stop - own.start:
            return F.dropout(x, p, training)
        return x * F.dropout(x.new_ones(self.rows, *x.shape[1:]), p)[own]
