"""Beginning and end of processes: signals end a command cleanly, and workers do not outlive who began them."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from typing import NoReturn

__all__ = ["STOPPED", "end_with", "interrupted", "stop_on_signals"]

WATCH_SECONDS = 0.5  # between looks at the parent
STOPPED = "stopped; the same command goes on from where this one was."


def stop_on_signals() -> None:
    """Let TERM, and HUP where it is not ignored (``nohup``), stop the program as a key press does (INT)."""

    def stop(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    for name in ("SIGTERM", "SIGHUP"):  # Windows has no HUP
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, stop)


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
