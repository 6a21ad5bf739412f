"""The other processes of a run: begun, listened to and ended by the first."""

from __future__ import annotations

import io
import os
import pickle
import socket
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, distributed
from torch.distributed import TCPStore  # pyright: ignore[reportPrivateImportUsage]

from longcut.errors import UserError
from longcut.parallel.team import LEAD, Lost, Team, joined
from longcut.processes import end_with, keep_freed_memory
from longcut.registry import load_file, loaded_files

__all__ = ["connected", "follow", "kind_of", "packed", "together"]

SILENCE = timedelta(hours=2)  # after which a process that is there, but says nothing, is given up
LOOK_SECONDS = 0.02
BEGUN = "begun"


@contextmanager
def together(processes: int, device: torch.device | str, call: Callable[[], object]) -> Iterator[None]:
    """For the time of a ``with``, this process and others that it begins work as one, on this machine.

    Where it was itself begun with others (:mod:`longcut.parallel.machines`), these are the others.

    The others make ``call``, which must do what the block does, step by step. On CUDA each process has the device of
    its number; elsewhere they share the cores, and each computes with its part of the threads.

    Args:
        processes: how many, with this one.
        device: where to compute.
        call: copied to each process with all it refers to; a memory-mapped data set is mapped by each.

    Raises:
        UserError: when the processes cannot be begun, or one of them ends before this one is done.
    """
    if (lead := LEAD.get()) is not None:
        with lead(processes, device, call):
            yield
        return
    kind = kind_of(processes, torch.device(device))
    threads = torch.get_num_threads()
    each = max(1, threads // processes) if kind == "cpu" else threads
    content = packed(call)
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    others = [_Other(rank, store) for rank in range(1, processes)]
    try:
        for other in others:
            about = Team(other.rank, processes), kind, store.port, each, os.getpid(), [*loaded_files()]
            other.tell(pickle.dumps(about) + content)
        for other in others:
            other.wait()
        torch.set_num_threads(each)
        with connected(Team(0, processes), kind, store):
            yield
    except Lost as error:
        said = next((said for other in others if (said := other.trouble())), "a process of this run does not answer")
        raise UserError(f"{said}; give the same command again, or take fewer processes.") from error
    finally:
        torch.set_num_threads(threads)
        for other in others:
            other.kill()


class _Other:
    """Another process, as the first sees it: what it says stands in the store, by its number."""

    def __init__(self, rank: int, store: Any) -> None:
        self.rank, self.store = rank, store
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed by kill)
        self.name = f"process {rank + 1} of this run"
        code = f"import sys; sys.path[:] = {sys.path!r}; from longcut.parallel.launch import follow; follow()"
        self.process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,  # the first says what is to be said
            stderr=self.errors,
            start_new_session=True,  # a key press is for the first alone, who ends the others
        )

    def tell(self, content: bytes) -> None:
        """What to do."""
        assert self.process.stdin
        with suppress(BrokenPipeError), self.process.stdin as stdin:  # it ended, which is found next
            stdin.write(content)

    def wait(self) -> None:
        """Until it has begun.

        Raises:
            Lost: when it ended before.
        """
        while self._said() is None:
            if self.process.poll() is not None:
                raise Lost
            time.sleep(LOOK_SECONDS)
        if self._said() != BEGUN:
            raise Lost

    def trouble(self) -> str | None:
        """Why it does not answer; None where it is there."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(2.0)
        if (said := self._said()) not in (None, BEGUN):
            return f"{self.name} stopped: {said.rstrip('.')}"
        code = self.process.returncode
        if not code:
            return None
        if code < 0:
            return f"{self.name} was killed by signal {-code}, as where memory is short"
        self.errors.seek(0)
        lines = self.errors.read().decode(errors="replace").split("\n")
        return f"{self.name} ended with status {code} ({next((line for line in lines[::-1] if line), 'silently')})"

    def kill(self) -> None:
        """It writes nothing that could be left half written."""
        self.process.kill()
        self.process.wait()
        self.errors.close()

    def _said(self) -> str | None:
        key = _key(self.rank)
        return self.store.get(key).decode() if self.store.check([key]) else None


def _key(rank: int) -> str:
    return f"said by {rank}"


def follow() -> None:
    """What another process does."""
    team, kind, port, threads, parent, files = pickle.load(sys.stdin.buffer)  # which the first wrote
    end_with(parent)
    keep_freed_memory()
    warnings.simplefilter("ignore")
    store = TCPStore("127.0.0.1", port)
    try:
        torch.set_num_threads(threads)
        if kind == "cuda":
            torch.cuda.set_device(team.rank)
        for file in files:
            load_file(file)
        call = pickle.load(sys.stdin.buffer)
        store.set(_key(team.rank), BEGUN)
        with connected(team, kind, store):
            call()
    except Lost:  # the first knows why
        os._exit(0)
    except BaseException as error:
        store.set(_key(team.rank), str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}")
        os._exit(1)


def kind_of(processes: int, device: torch.device) -> str:
    """The kind of device, if so many processes can compute there."""
    if distributed.is_initialized():
        raise UserError("this program is itself one of several that work together; train with one process in it.")
    if device.type not in ("cpu", "cuda") or device.index is not None:
        raise UserError(
            f"several processes compute on the cpu, or with device=cuda on a GPU each, not on {device}; "
            "change the device, or take one process."
        )
    if device.type == "cuda" and (there := torch.cuda.device_count()) < processes:
        raise UserError(f"{processes} processes need a GPU each, and here are {there}; take fewer, or device=cpu.")
    return device.type


@contextmanager
def connected(team: Team, kind: str, store: Any, here: bool = True) -> Iterator[None]:
    """For the time of a ``with``, the processes can send each other tensors: if ``here``, on this machine alone."""
    name = "GLOO_SOCKET_IFNAME"
    loopback = [found for _, found in socket.if_nameindex() if found in ("lo", "lo0")]
    unsaid = here and name not in os.environ and bool(loopback)
    if unsaid:
        os.environ[name] = loopback[0]
    try:
        distributed.init_process_group(
            "gloo" if kind == "cpu" else f"cpu:gloo,{kind}:nccl",
            store=store,
            rank=team.rank,
            world_size=team.size,
            timeout=SILENCE,
        )
    except RuntimeError as error:
        raise Lost from error
    finally:
        if unsaid:
            del os.environ[name]
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    try:
        if kind == "cuda":  # where sums may otherwise be taken in another order by each
            torch.use_deterministic_algorithms(True, warn_only=True)
        with joined(team):
            yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        distributed.destroy_process_group()


def packed(call: Callable[[], object]) -> bytes:
    """A call with all it refers to; of a tensor that is mapped from a file, how it is made.

    Raises:
        UserError: when something cannot be copied, such as an open file.
    """
    import cloudpickle

    class Pickler(cloudpickle.Pickler):
        def reducer_override(self, obj: Any) -> Any:
            made_by = getattr(obj, "made_by", None) if isinstance(obj, Tensor) else None  # see data.checks
            return super().reducer_override(obj) if made_by is None else made_by

    buffer = io.BytesIO()
    try:
        Pickler(buffer).dump(call)
    except (TypeError, pickle.PicklingError) as error:
        raise UserError(
            f"what is trained cannot be copied to other processes ({error}); leave that out, or take one process."
        ) from error
    return buffer.getvalue()
