"""An environment of a benchmark's own, in which packages of an index stand beside the project's torch.

The folder sees all that this interpreter sees, through a ``.pth`` file, so that the one torch of the project is
measured on both sides; what is installed into it comes without its dependencies, which would bring another.
"""

from __future__ import annotations

import os
import site
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

SRC = Path(__file__).parent.parent / "src"


def interpreter(folder: Path) -> Path:
    """The Python of the environment."""
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def made(folder: Path) -> Path:
    """The interpreter of the environment in ``folder``, which is made when it is missing; it has no pip of its own."""
    python = interpreter(folder)
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
        asked = [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
        own = Path(subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip())
        seen = "; ".join(f"site.addsitedir({place!r})" for place in site.getsitepackages())
        (own / "beside.pth").write_text(f"import site; {seen}\n", "utf-8")
    return python


def installed(python: Path, packages: Iterable[str]) -> str:
    """Install without dependencies; why it could not be done, or nothing."""
    command = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", *packages]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=600)
    if not done.returncode:
        return ""
    errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
    return (errors or done.stderr.splitlines() or ["pip said nothing"])[-1].removeprefix("ERROR: ")


def settings() -> dict[str, str]:
    """Of a process that is measured: one thread, and the longcut of this checkout."""
    path = os.pathsep.join([str(SRC), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
