"""Stages of a net by rows of the batch, one share for each process, and back."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.func import functional_call

from longcut.errors import UserError
from longcut.parallel.layers import Drawn, Normalised
from longcut.parallel.team import TEAM, Team, joined

__all__ = ["by_rows"]

NEAR = 1e-2  # of the largest output: more than rounding does to a deep net, less than another batch does
_draws: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()  # of stages that can be computed by rows, in training


def by_rows(stages: nn.ModuleList, x: Tensor) -> Tensor:
    """``stages``, one after the other, of a batch that every process has; each computes its own rows.

    All compute all of it where there are fewer rows than processes, or no parameters: that is hardly any work.

    Args:
        stages: give a row for each row of their inputs.
        x: ``(n, ...)``, the same in every process.

    Returns:
        ``(n, ...)``, the same in every process.

    Raises:
        UserError: when the stages say something else of a part of a batch than of the whole.
    """
    team = TEAM.get()
    if team is None or len(x) < team.size or not any(True for stage in stages for _ in stage.parameters()):
        for stage in stages:
            x = stage(x)
        return x
    part, learning = nn.Sequential(*stages), any(stage.training for stage in stages)
    with joined(None):  # a net within a net is computed as a part of it
        if learning and not all(stage in _draws for stage in stages):
            _draws.update(dict.fromkeys(stages, _require_same(team, part, x[: 2 * team.size + 1].detach())))
        return _shared(team, part, x, learning and any(_draws[stage] for stage in stages))


def _shared(team: Team, part: nn.Module, x: Tensor, draws: bool) -> Tensor:
    learned = {name: parameter for name, parameter in part.named_parameters() if parameter.requires_grad}
    entered = _Enter.apply(team, *learned.values()) if learned else ()
    with ExitStack() as whole:
        whole.enter_context(Normalised(team, len(x), lambda moments: _Total.apply(moments, team)))
        if draws:
            whole.enter_context(Drawn(team, len(x)))
        own = functional_call(part, dict(zip(learned, entered, strict=True)), (_Share.apply(x, team),))
    return _Whole.apply(own, team, len(x))


@torch.no_grad()
def _require_same(team: Team, part: nn.Module, x: Tensor) -> bool:
    """Refuse what says something else of parts of a batch; buffers and random numbers stay as they are.

    Returns:
        Whether random numbers are drawn.
    """
    before = [buffer.clone() for buffer in part.buffers()]
    random = torch.cuda if x.is_cuda else torch
    state = random.get_rng_state()

    def after(outputs: Tensor) -> list[Tensor]:
        found = [outputs, *(buffer.clone() for buffer in part.buffers()), random.get_rng_state()]
        for buffer, value in zip(part.buffers(), before, strict=True):
            buffer.copy_(value)
        random.set_rng_state(state)
        return found

    whole = after(part(x))
    draws = not torch.equal(whole[-1], state)
    if not all(_near(*pair) for pair in zip(whole, after(_shared(team, part, x, draws)), strict=True)):
        raise UserError(
            f"this net cannot be trained by {team.size} processes, for it says other things of a part of a batch than "
            "of the whole, as where a layer takes statistics of the batch, or draws, in a way of its own; leave that "
            "out (dropout=0), or train it with one process."
        )
    return draws


def _near(one: Tensor, other: Tensor) -> bool:
    if one.shape != other.shape or not one.is_floating_point() or not one.numel():
        return torch.equal(one, other)
    return bool((one - other).abs().max() <= NEAR * one.abs().max())


class _Enter(torch.autograd.Function):
    """Parameters, which all have, where each computes something else of them: going back, gradients are summed."""

    @staticmethod
    def forward(ctx: Any, team: Team, *parameters: Tensor) -> tuple[Tensor, ...]:
        ctx.team = team
        return tuple(parameter.view_as(parameter) for parameter in parameters)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        return None, *_Leave.apply(ctx.team, *grads)


class _Leave(torch.autograd.Function):
    """The reverse: the sums of what each has, which all have; in one message."""

    @staticmethod
    def forward(ctx: Any, team: Team, *parts: Tensor) -> tuple[Tensor, ...]:
        ctx.team = team
        pieces = team.total(torch.cat([part.flatten() for part in parts])).split([part.numel() for part in parts])
        return tuple(piece.view_as(part).to(part.dtype) for piece, part in zip(pieces, parts, strict=True))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        return None, *_Enter.apply(ctx.team, *grads)


class _Share(torch.autograd.Function):
    """Of rows that all have, this process's; going back, those of all are gathered."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, team: Team) -> Tensor:
        ctx.team, ctx.rows = team, len(x)
        return x[team.own(len(x))].clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        return _Whole.apply(grads[0], ctx.team, ctx.rows), None


class _Whole(torch.autograd.Function):
    """The reverse: all rows, of those that each has; what comes back is the same in every process."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, team: Team, rows: int) -> Tensor:
        ctx.team = team
        return team.gather(own, rows)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        return _Share.apply(grads[0], ctx.team), None, None


class _Total(torch.autograd.Function):
    """The sum of what each has, which each then uses for its own rows: gradients are summed as well."""

    @staticmethod
    def forward(ctx: Any, part: Tensor, team: Team) -> Tensor:
        ctx.team = team
        return team.total(part.clone())

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        return _Total.apply(grads[0], ctx.team), None
