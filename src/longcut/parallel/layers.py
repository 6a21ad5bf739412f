"""What layers do to a whole batch, where a process has some of its rows: take statistics, and draw."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from longcut.parallel.team import Team

__all__ = ["Drawn", "Normalised"]


class Normalised(TorchFunctionMode):
    """For the time of a ``with``, batch normalisation takes its statistics over the rows of all processes.

    Args:
        team: the processes.
        rows: of the whole batch.
        total: the sum over the processes of what each has, through which gradients pass.
    """

    def __init__(self, team: Team, rows: int, total: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.team, self.rows, self.total = team, rows, total

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return (self.batch_norm if func is F.batch_norm else func)(*args, **(kwargs or {}))

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
        shape, over = (1, -1, *[1] * (x.ndim - 2)), (0, *range(2, x.ndim))
        of_each, own = x.new_zeros(self.team.size, 2, x.shape[1]), x.mean(over)
        of_each[self.team.rank] = torch.stack([own, (x - own.view(shape)).square().mean(over)])  # var_mean is slow
        means, variances = self.total(of_each).unbind(1)
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
        return torch.addcmul(shift.view(shape), x, scale.view(shape))


class Drawn(TorchDispatchMode):
    """For the time of a ``with``, dropout draws for all rows what one process would draw, and uses that of its own.

    So every process has drawn as much, and goes on from the same random state. It works below autograd, where all kinds
    of dropout are one: a tensor of coins whose first axis is that of the samples, or of the heads of each in turn.

    Args:
        team: the processes.
        rows: of the whole batch.
    """

    def __init__(self, team: Team, rows: int) -> None:
        super().__init__()
        self.rows, self.own = rows, team.own(rows)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = kwargs or {}
        if func is torch.ops.aten.bernoulli_.float:
            coins, *how = args
            whole, own = self._whole(coins)
            return coins.copy_(func(whole, *how, **given)[own])
        if func is torch.ops.aten.native_dropout.default:
            x, *how = args
            whole, own = self._whole(x)
            scale, kept = func(whole.fill_(1), *how, **given)
            return x * scale[own], kept[own]
        return func(*args, **given)

    def _whole(self, part: Tensor) -> tuple[Tensor, slice]:
        """Room for the same of all rows, as it would lie in memory, and where this part of it is."""
        start, here = self.own.start, self.own.stop - self.own.start
        each = max(1, len(part) // here)
        shape, order = (each * self.rows, *part.shape[1:]), sorted(range(part.ndim), key=part.stride, reverse=True)
        whole = torch.empty_permuted(shape, order, dtype=part.dtype, device=part.device)
        return whole, slice(each * start, each * start + len(part))
