"""The processes of a run, and what they send each other."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, distributed, nn

from longcut.errors import UserError

__all__ = ["LEAD", "TEAM", "Lost", "Team", "from_first", "joined", "require_lockstep"]


class Lost(Exception):
    """Another process of the run does not answer any more."""


@dataclass(frozen=True)
class Team:
    """The processes of a run, as one of them sees it.

    Attributes:
        rank: of this process, from 0, which alone writes and is watched.
        size: how many there are.
    """

    rank: int
    size: int

    def shares(self, rows: int) -> list[int]:
        """How many of so many rows each process computes; they differ by one at most."""
        return [rows // self.size + (rank < rows % self.size) for rank in range(self.size)]

    def own(self, rows: int) -> slice:
        """Which of the rows are this process's.

        >>> [Team(rank, 3).own(8) for rank in range(3)]
        [slice(0, 3, None), slice(3, 6, None), slice(6, 8, None)]
        """
        edges = list(accumulate(self.shares(rows), initial=0))
        return slice(edges[self.rank], edges[self.rank + 1])

    def total(self, part: Tensor) -> Tensor:
        """The sum over all processes, which takes the place of ``part``."""
        with _answered():
            distributed.all_reduce(part)
        return part

    def gather(self, own: Tensor, rows: int) -> Tensor:
        """All of so many rows, of which ``own`` are this process's."""
        shares = self.shares(rows)
        padded = own.new_zeros(max(shares), *own.shape[1:])  # the blocks that are sent are of one size
        padded[: len(own)] = own
        blocks = [torch.empty_like(padded) for _ in shares]
        with _answered():
            distributed.all_gather(blocks, padded)
        return torch.cat([block[:share] for block, share in zip(blocks, shares, strict=True)])

    def told(self, content: bytes) -> bytes:
        """What the first process has."""
        length = torch.tensor([len(content)])
        with _answered():
            distributed.broadcast(length, 0)
            sent = torch.frombuffer(bytearray(content if self.rank == 0 else int(length)), dtype=torch.uint8)
            distributed.broadcast(sent, 0)
        return sent.numpy().tobytes()


@contextmanager
def _answered() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise Lost from error


TEAM: ContextVar[Team | None] = ContextVar("TEAM", default=None)  # None where this process works for itself

Lead = Callable[[int, torch.device | str, Callable[[], object]], AbstractContextManager[None]]
LEAD: ContextVar[Lead | None] = ContextVar("LEAD", default=None)  # how others are led that somebody else has begun


@contextmanager
def joined(team: Team | None) -> Iterator[None]:
    """For the time of a ``with``, this process works with others, or for itself."""
    before = TEAM.set(team)
    try:
        yield
    finally:
        TEAM.reset(before)


def from_first(state: dict[str, Any] | None) -> dict[str, Any] | None:
    """What the first process has, in every one: plain containers and tensors, on the CPU; alone, what is given."""
    team = TEAM.get()
    if team is None:
        return state
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return torch.load(io.BytesIO(team.told(buffer.getvalue())), weights_only=True, map_location="cpu")


def require_lockstep(module: nn.Module, generator: torch.Generator, when: str) -> None:
    """Refuse to go on when processes have come to other weights or random numbers; one alone has nobody to ask.

    Args:
        module: its parameters are compared.
        generator: of the run.
        when: to which the message speaks, such as ``"in epoch 3"``.

    Raises:
        UserError: in this case.
    """
    team = TEAM.get()
    if team is None:
        return
    sums = [parameter.detach().double().sum().cpu() for parameter in module.parameters()]
    states = [generator.get_state().double(), torch.get_rng_state().double()]
    own = torch.stack([*sums, *(state @ torch.arange(len(state)).double() for state in states)])[None]
    if not torch.equal(team.gather(own, team.size), own.expand(team.size, -1)):
        raise UserError(
            f"the {team.size} processes came to different weights or random numbers {when}, as with a method or net "
            "that draws from a generator other than the run's; train it with one process."
        )
