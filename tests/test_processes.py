"""Signals end a command as a key press does, and workers end with who began them."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import filelock
import pytest
from blobs import small_data  # noqa: F401

from longcut import compare as module
from longcut import runs
from longcut.compare import compare
from longcut.plans import plan
from longcut.processes import stop_on_signals

BUSY = """
import os, sys, time
from longcut.processes import end_with
end_with(os.getppid())
print(os.getpid(), flush=True)
time.sleep(60)
"""
PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdout=subprocess.PIPE, text=True)
print(child.stdout.readline(), flush=True)
child.wait()
"""


@pytest.fixture
def handlers():
    """Puts back what was done on signals."""
    before = {name: signal.getsignal(name) for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    yield
    for name, handler in before.items():
        signal.signal(name, handler)


def gone(process: int, within: float) -> bool:
    end = time.monotonic() + within
    while time.monotonic() < end:
        try:
            state = Path(f"/proc/{process}/stat").read_text("utf-8").rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return True
        if state == "Z":
            return True
        time.sleep(0.1)
    return False


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_term_and_hup_are_as_a_key_press(name: str):
    came = stop_on_signals()
    assert not came()
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), getattr(signal, name))
        time.sleep(1)
    assert came()


@pytest.mark.parametrize(("came", "status"), [("True", 130), ("False", 1)])
def test_whatever_fails_after_a_signal_is_an_interruption(came: str, status: int):
    """An import that is interrupted may fail with any error."""
    began = f"import longcut.__main__ as p, sys; p.stop_on_signals = lambda: lambda: {came}"
    failing = "sys.modules['longcut.cli'] = None"  # an ImportError
    done = subprocess.run(
        [sys.executable, "-c", f"{began}; {failing}; p.main()"], capture_output=True, text=True, check=False
    )
    assert done.returncode == status
    assert (done.stderr.count("\n") == 1) == (status == 130)


@pytest.mark.usefixtures("handlers")
def test_a_hup_that_is_ignored_stays_so():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    stop_on_signals()
    os.kill(os.getpid(), signal.SIGHUP)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks into /proc")
def test_a_worker_ends_with_its_parent_even_if_that_is_killed():
    parent = subprocess.Popen([sys.executable, "-c", PARENT, BUSY], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert not gone(child, within=0.8)
    parent.kill()
    parent.communicate()
    assert gone(child, within=10)


def test_an_interruption_while_the_program_starts_is_one_line():
    began = "import longcut.__main__ as p; p.wait_shortly = lambda: (_ for _ in ()).throw(KeyboardInterrupt)"
    done = subprocess.run([sys.executable, "-c", f"{began}; p.main()"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == "longcut: stopped; the same command goes on from where this one was.\n"


@pytest.mark.usefixtures("small_data")
def test_what_another_process_trains_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    plans = [plan("blobs", "erm", settings={"epochs": 1, "net": "mlp:hidden=4"}, seed=seed) for seed in range(2)]
    monkeypatch.setattr(module, "WAIT_SECONDS", 0.05)
    (tmp_path / "out" / "erm-s0").mkdir(parents=True)
    lock = filelock.FileLock(tmp_path / "out" / "erm-s0" / runs.LOCK, thread_local=False)
    lock.acquire()
    timer = threading.Timer(1.0, lock.release)
    timer.start()
    records = compare(plans, tmp_path / "out")
    timer.join()
    assert [record.done for record in records] == [True, True]
    assert [record.plan.seed for record in records] == [0, 1]


# --- threads ----------------------------------------------------------------------------------------------------------

ENDED = "import os, sys; from longcut.__main__ import main; sys.argv = ['longcut', '--version']\ntry: main()\n"
ENDED += (
    "except SystemExit: print('torch' in sys.modules, os.environ['OMP_WAIT_POLICY'], os.environ.get('GOMP_SPINCOUNT'))"
)


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({}, "PASSIVE 10000"),
        ({"GOMP_SPINCOUNT": "7"}, "PASSIVE 7"),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE None"),
    ],
)
def test_threads_soon_sleep_where_they_wait_unless_the_environment_says_otherwise(given: dict[str, str], found: str):
    """It is said before torch is loaded, for later it is not heard."""
    around = {name: value for name, value in os.environ.items() if name not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    done = subprocess.run([sys.executable, "-c", ENDED], capture_output=True, text=True, env=around | given, check=True)
    assert done.stdout.splitlines()[-1] == f"False {found}"


KEPT = """
import numpy as np, resource
from longcut.processes import keep_freed_memory
keep_freed_memory() if {asked} else None
for _ in range(20):
    rows = [np.ones(2**18) for _ in range(20)]  # 2 MB each: less than what numpy asks large pages for
    rows.clear()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another allocator")
def test_memory_that_was_freed_is_used_again_without_asking_for_it():
    faults = [
        int(subprocess.run([sys.executable, "-c", KEPT.format(asked=asked)], capture_output=True, check=True).stdout)
        for asked in (False, True)
    ]
    assert faults[0] > 20 * 40 * 2**8 * 0.5, "pages of 4 kB, asked for anew each time"
    assert faults[1] < 2 * 40 * 2**8 + 10_000, "once, and what the import takes"
