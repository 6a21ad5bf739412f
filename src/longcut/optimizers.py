"""torch's optimizers without what they do for its compiler.

The first step of one imports the compiler, which takes seconds, and each step goes through its guards, which takes as
long as a small net's own arithmetic. Here only the arithmetic is left; its bits are the same.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch.optim import Optimizer

__all__ = ["SGD", "Adam", "AdamW"]


class _Plain(Optimizer):
    """What all of them share."""

    add_param_group = inspect.unwrap(Optimizer.add_param_group)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients."""
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad = None


class Adam(_Plain, torch.optim.Adam):
    """:class:`torch.optim.Adam`."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:  # type: ignore[override]
        return inspect.unwrap(torch.optim.Adam.step)(self, closure)


class AdamW(_Plain, torch.optim.AdamW):
    """:class:`torch.optim.AdamW`."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:  # type: ignore[override]
        return inspect.unwrap(torch.optim.AdamW.step)(self, closure)


class SGD(_Plain, torch.optim.SGD):
    """:class:`torch.optim.SGD`."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:  # type: ignore[override]
        return inspect.unwrap(torch.optim.SGD.step)(self, closure)
