"""One run on processes that another program has begun, such as torchrun on several machines.

Each of them is given the same command. The first (``RANK`` 0) does what it says; the others wait until it trains, are
sent what it trains with all that refers to, and train with it, as those do that :mod:`longcut.parallel.launch` begins.
They meet where ``MASTER_ADDR`` and ``MASTER_PORT`` say, and each machine computes with its own threads or GPUs.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import partial
from itertools import count
from typing import Any

import torch
from torch import distributed
from torch.distributed import PrefixStore, rendezvous  # pyright: ignore[reportPrivateImportUsage]

import longcut
from longcut.errors import UserError
from longcut.parallel import launch
from longcut.parallel.team import LEAD, TEAM, Lost, Team
from longcut.registry import load_file, loaded_files

__all__ = ["follow", "leading"]

PARTING = timedelta(minutes=1)  # for which the first waits until the others know that all is done
READY = "ready"


@contextmanager
def leading() -> Iterator[None]:
    """For the time of a ``with``, what this process trains by several processes is trained with the others.

    Raises:
        UserError: when one of them cannot take part, or does not answer any more.
    """
    store, size = _meeting()
    numbers = count()
    before = LEAD.set(lambda processes, device, call: _led(store, size, numbers, processes, device, call))
    patience = timedelta(milliseconds=1)
    try:
        yield
        patience = PARTING
    finally:
        LEAD.reset(before)
        with suppress(RuntimeError):  # of others that are gone
            store.set(_call(next(numbers)), b"")
            store.wait([_ended(rank) for rank in range(1, size)], patience)


@contextmanager
def _led(
    store: Any,
    size: int,
    numbers: Iterator[int],
    processes: int,
    device: torch.device | str,
    call: Callable[[], object],
) -> Iterator[None]:
    """A single thing that is trained."""
    if processes != size:
        raise UserError(f"{size} processes were begun together, and {processes} are asked for; take {size}.")
    kind = launch.kind_of(_here(), torch.device(device))
    content = launch.packed(call)
    threads, number = torch.get_num_threads(), next(numbers)  # of what the others can be told
    about = kind, [*loaded_files()], _versions()
    said = partial(_said, store, number)
    try:
        store.set(_call(number), pickle.dumps(about))
        store.wait([_answer(number, rank) for rank in range(1, size)], launch.SILENCE)
        if why := next((why for rank in range(1, size) if (why := said(rank)) != READY), None):
            raise UserError(why)
        _share_threads(kind, threads)
        with launch.connected(Team(0, size), kind, _own(store, number), here=False):
            _team().told(content)
            yield
    except (Lost, distributed.DistError) as error:
        why = next((why for rank in range(1, size) if (why := said(rank)) not in (None, READY)), None)
        why = why or "a process of this run, perhaps on another machine, does not answer"
        raise UserError(f"{why}; begin all of them again, and the run goes on.") from error
    finally:
        torch.set_num_threads(threads)


def follow() -> None:
    """What every process but the first does: train what that trains, until it has no more.

    Raises:
        UserError: when this process cannot take part, which the first is told too.
    """
    store, size = _meeting()
    rank, threads = int(os.environ["RANK"]), torch.get_num_threads()
    for number in count():
        store.wait([_call(number)], launch.SILENCE)
        about = store.get(_call(number))
        if not about:
            return store.set(_ended(rank), b"")
        try:
            kind = _prepared(*pickle.loads(about))  # which the first wrote
            _share_threads(kind, threads)
            store.set(_answer(number, rank), READY)
            with launch.connected(Team(rank, size), kind, _own(store, number), here=False):
                pickle.loads(_team().told(b""))()
        except Lost:  # the first says why
            raise UserError("another process of this run does not answer; its first process says more.") from None
        except BaseException as error:
            said = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
            store.set(_answer(number, rank), f"process {rank + 1} of this run stopped: {said.rstrip('.')}")
            raise


def _prepared(kind: str, files: list[str], versions: dict[str, str]) -> str:
    """The kind of device, if this process can do what the first does.

    Raises:
        UserError: when it cannot.
    """
    for name, there in versions.items():
        if (own := _versions()[name]) != there:
            raise UserError(f"it has {name} {own}, and the first has {there}; install the same everywhere.")
    for file in files:
        load_file(file)
    if kind == "cuda":
        launch.kind_of(_here(), torch.device("cuda"))
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    return kind


def _meeting() -> tuple[Any, int]:
    """Where the processes leave each other messages, and how many they are.

    Raises:
        UserError: when the others do not come, or the address is not right.
    """
    try:
        store, _, size = next(iter(rendezvous("env://", timeout=launch.SILENCE)))
    except (RuntimeError, ValueError) as error:
        place = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        raise UserError(
            f"the processes that were begun together do not meet at {place} ({error}); check address and port."
        ) from error
    return store, size


def _versions() -> dict[str, str]:
    return {"longcut": longcut.__version__, "torch": str(torch.__version__)}


def _here() -> int:
    """How many of the processes are on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def _share_threads(kind: str, threads: int) -> None:
    torch.set_num_threads(max(1, threads // _here()) if kind == "cpu" else threads)


def _own(store: Any, number: int) -> Any:
    return PrefixStore(f"processes of {number}", store)


def _team() -> Team:
    team = TEAM.get()
    assert team is not None
    return team


def _said(store: Any, number: int, rank: int) -> str | None:
    """What another process has said last."""
    with suppress(RuntimeError):  # of a store that is gone
        key = _answer(number, rank)
        return store.get(key).decode() if store.check([key]) else None
    return None


def _call(number: int) -> str:
    return f"call {number}"


def _answer(number: int, rank: int) -> str:
    return f"said by {rank} of call {number}"


def _ended(rank: int) -> str:
    return f"ended {rank}"
