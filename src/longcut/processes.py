"""Processes: signals end a command cleanly, workers do not outlive who began them, threads wait without working."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

from longcut.errors import UserError

__all__ = [
    "STOPPED",
    "asked_to_stop",
    "begun_together",
    "end_with",
    "interrupted",
    "keep_freed_memory",
    "no_worker_lost",
    "one_thread",
    "stop_on_signals",
    "wait_shortly",
]

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # as glibc numbers them
WATCH_SECONDS = 0.5  # between looks at the parent
STOPPED = "stopped; the same command goes on from where this one was."


def stop_on_signals() -> Callable[[], bool]:
    """Let TERM, and HUP where it is not ignored (``nohup``), stop the program as a key press does (INT).

    Returns:
        Whether one of them came. An import that is interrupted may fail with any error, at once or later.
    """
    came = False

    def stop(*_: object) -> NoReturn:
        nonlocal came
        came = True
        raise KeyboardInterrupt

    for name in ("SIGINT", "SIGTERM", "SIGHUP"):  # Windows has no HUP
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, stop)
    return lambda: came


@contextmanager
def no_worker_lost(advice: str) -> Iterator[None]:
    """Say in one sentence that a process of joblib's was ended from outside.

    Args:
        advice: what to do.

    Raises:
        UserError: in place of joblib's error.
    """
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    try:
        yield
    except TerminatedWorkerError as error:
        raise UserError(
            f"a process that worked was ended from outside, as the system does where memory runs out; {advice}"
        ) from error


def begun_together() -> tuple[int, int]:
    """The number of this process, from 0, among those that torchrun or the like has begun, and how many they are.

    >>> begun_together()
    (0, 1)
    """
    said = [os.environ.get(name, "") for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")]
    return (int(said[0]), int(said[1])) if all(said) else (0, 1)


def wait_shortly() -> None:
    """Let threads of OpenMP, with which torch computes, soon sleep where they wait; call it before torch is imported.

    As they come, they try again and again: where other programs want the cores as well, a step of a small net on two
    threads took six times as long. Where they sleep at once, a step on idle cores takes twice as long; ten thousand
    looks before that, some tens of microseconds, cost neither. What the environment says already stands.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # GNU's OpenMP, which torch has on Linux, goes by this


def keep_freed_memory() -> None:
    """Let memory that is freed stay with this process up to 256 MB, for the next tensor; where there is glibc.

    As it comes, glibc hands back each large tensor and asks for the next, whose pages the system fills with zeros: a
    seventh of the time of convolutions.
    """
    with suppress(OSError, AttributeError):
        allocator = ctypes.CDLL("libc.so.6").mallopt
        allocator(_MMAP_THRESHOLD, 2**25)
        allocator(_TRIM_THRESHOLD, 2**28)


@contextmanager
def one_thread() -> Iterator[None]:
    """For the time of a ``with``, torch computes with one thread: with more, sums are rounded otherwise."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def asked_to_stop(told: Callable[[], None]) -> Iterator[Callable[[], bool]]:
    """For the time of a ``with``, the first key press (INT) asks to stop, and the second stops.

    Outside of the main thread, where signals cannot be caught, nobody asks.

    Args:
        told: called at the first.

    Returns:
        Whether somebody asked.
    """
    asked = False

    def ask(*_: object) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        told()

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = signal.signal(signal.SIGINT, ask)
    try:
        yield lambda: asked
    finally:
        signal.signal(signal.SIGINT, before)


def interrupted() -> NoReturn:
    """Say so, and end with status 130."""
    print(f"longcut: {STOPPED}", file=sys.stderr, flush=True)
    raise SystemExit(130)


def end_with(parent: int) -> None:
    """End this process, whatever it does, soon after its parent has ended: also where that was killed.

    A thread looks twice a second, which works on every system. Locks of files end with the process.

    Args:
        parent: process id of who began this one.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(WATCH_SECONDS)
        os._exit(1)

    if parent != os.getpid() and not any(thread.name == _WATCHER for thread in threading.enumerate()):
        threading.Thread(target=watch, name=_WATCHER, daemon=True).start()


_WATCHER = "longcut-parent"
