"""The other processes of a run: begun, listened to and ended by the first."""

from __future__ import annotations

import io
import os
import signal
import socket
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from multiprocessing import connection
from typing import Any

import torch
from torch import Tensor, distributed, multiprocessing

from longcut.errors import UserError
from longcut.parallel.team import Lost, Team, joined
from longcut.processes import end_with
from longcut.registry import load_file, loaded_files

__all__ = ["together"]

SILENCE = timedelta(hours=2)  # after which a process that is alive, but says nothing, is given up
END_SECONDS = 60.0  # that the others may take to end when the first is done


@contextmanager
def together(processes: int, device: torch.device | str, follow: Callable[..., object], *told: Any) -> Iterator[None]:
    """For the time of a ``with``, this process and others that it begins work as one on this machine.

    The others call ``follow(*told)``, which must do what the block does, step by step. On CUDA each process has a
    device of its own, by its number; elsewhere they share the cores, and each computes with its part of the threads.

    Args:
        processes: how many, with this one.
        device: where to compute, as this process calls it.
        follow: a function.
        told: what it is given, copied to each; memory-mapped data sets are mapped by each.

    Raises:
        UserError: when the processes cannot be begun, or one of them ends before this one is done.
    """
    kind = torch.device(device)
    _require_devices(processes, kind)
    threads = torch.get_num_threads()
    each = max(1, threads // processes) if kind.type == "cpu" else threads
    content = _packed((follow, told))
    context = multiprocessing.get_context("spawn")
    store = distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    others: list[_Other] = []
    try:
        for rank in range(1, processes):
            here, there = context.Pipe(duplex=False)
            about = Team(rank, processes), kind.type, store.port, each, os.getpid(), [*loaded_files()]
            process = context.Process(target=_follow, args=(*about, content, there), daemon=True)
            process.start()
            there.close()
            others.append(_Other(rank, process, here))
        torch.set_num_threads(each)
        for other in others:
            other.ready()
        with _connected(Team(0, processes), kind.type, store):
            yield
            for other in others:
                other.process.join(END_SECONDS)
    except Lost as error:
        raise UserError(next(filter(None, (other.trouble() for other in others)), SILENT)) from error
    finally:
        torch.set_num_threads(threads)
        for other in others:
            other.process.kill()  # they write nothing that could be left half written
            other.process.join()


SILENT = "a process of this run does not answer; give the same command again, or train with one process."


class _Other:
    """Another process, as the first sees it."""

    def __init__(self, rank: int, process: Any, pipe: connection.Connection) -> None:
        self.rank, self.process, self.pipe = rank, process, pipe

    def ready(self) -> None:
        """Wait until it has begun."""
        connection.wait([self.pipe, self.process.sentinel])
        with suppress(EOFError):
            if self.pipe.recv() is None:
                return
        raise Lost

    def trouble(self) -> str | None:
        """Why it does not answer; None where it does, or ended when it was done."""
        said = None
        if self.pipe.poll(1.0):
            with suppress(EOFError):
                said = self.pipe.recv()
        if said is not None:
            return f"process {self.rank + 1} of this run stopped: {said}"
        self.process.join(1.0)
        if self.process.exitcode is None or self.process.exitcode == 0:
            return None
        code = self.process.exitcode
        how = f"was killed (signal {-code}), as where memory is short" if code < 0 else f"ended with status {code}"
        return (
            f"process {self.rank + 1} of this run {how}; give the same command again, or train with fewer processes. "
            "A script calls fit(processes=…) below 'if __name__ == \"__main__\"'."
        )


def _require_devices(processes: int, device: torch.device) -> None:
    if distributed.is_initialized():
        raise UserError("this program is itself one of several that work together; train with processes=1 in it.")
    if device.type == "cpu":
        return
    if device.type != "cuda" or device.index is not None:
        raise UserError(
            f"several processes compute on the cpu, or each on a device of its own with device=cuda, not on {device}; "
            "change the device, or train with one process."
        )
    if (there := torch.cuda.device_count()) < processes:
        raise UserError(
            f"{processes} processes need a CUDA device each, but there {'is one' if there == 1 else f'are {there}'}; "
            "train with fewer processes, or on the cpu."
        )


@contextmanager
def _connected(team: Team, kind: str, store: Any) -> Iterator[None]:
    """For the time of a ``with``, the processes can send each other tensors; on this machine alone."""
    name = "GLOO_SOCKET_IFNAME"
    before, loopback = os.environ.get(name), [found for _, found in socket.if_nameindex() if found in ("lo", "lo0")]
    if before is None and loopback:
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
        if before is None:
            os.environ.pop(name, None)
    try:
        with joined(team):
            yield
    finally:
        distributed.destroy_process_group()


def _follow(
    team: Team,
    kind: str,
    port: int,
    threads: int,
    parent: int,
    files: Sequence[str],
    content: bytes,
    pipe: connection.Connection,
) -> None:
    """What another process does; it says None when it has begun, and why it stopped where it did not get to the end."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):  # of a key press all are told; the first ends the others
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    end_with(parent)
    warnings.simplefilter("ignore")  # the first says what is to be known
    try:
        torch.set_num_threads(threads)
        if kind == "cuda":
            torch.cuda.set_device(team.rank)
        for file in files:
            load_file(file)
        follow, told = _unpacked(content)
        pipe.send(None)
        store = distributed.TCPStore("127.0.0.1", port)
        with _connected(team, kind, store):
            follow(*told)
    except Lost:
        os._exit(0)  # the first knows why
    except BaseException as error:
        pipe.send(f"{error}" if isinstance(error, UserError) else f"{type(error).__name__}: {error}")
        os._exit(1)


# --- what they are given ----------------------------------------------------------------------------------------------


def _packed(what: Any) -> bytes:
    """Functions, methods and data as bytes; of a tensor that is mapped from a file, how it is made."""
    import cloudpickle

    class Pickler(cloudpickle.Pickler):
        def reducer_override(self, obj: Any) -> Any:
            made_by = getattr(obj, "made_by", None) if isinstance(obj, Tensor) else None  # see data.checks
            return super().reducer_override(obj) if made_by is None else made_by

    buffer = io.BytesIO()
    Pickler(buffer).dump(what)
    return buffer.getvalue()


def _unpacked(content: bytes) -> Any:
    import cloudpickle

    return cloudpickle.loads(content)
