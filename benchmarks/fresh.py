"""A wheel in environments that hold nothing else: whether it installs and runs the demo, on which Python.

    python benchmarks/fresh.py dist/longcut-0.1.0-py3-none-any.whl --python python3.11 python3.12 python3.13

Each environment gets the versions of constraints.txt, torch first, and is removed afterwards.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

CONSTRAINTS = Path(__file__).parent.parent / "constraints.txt"


def checked(*command: object, cwd: Path) -> str:
    """What a command prints, which must succeed; nothing of this checkout is on its path."""
    plain = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run([str(word) for word in command], cwd=cwd, env=plain, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    return done.stdout


def tried(wheel: Path, python: str) -> dict[str, object]:
    """One environment: its Python, the number of packages, and seconds to install and to run the demo."""
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        checked(python, "-m", "venv", place / "venv", cwd=place)
        own = place / "venv" / ("Scripts" if os.name == "nt" else "bin")
        install = (own / "python", "-m", "pip", "install", "--quiet", "-c", CONSTRAINTS)
        began = time.perf_counter()
        checked(*install, "torch", cwd=place)
        checked(*install, wheel, cwd=place)
        installed = time.perf_counter() - began
        checked(own / "python", "-m", "pip", "check", cwd=place)
        version = checked(own / "python", "-c", "import platform; print(platform.python_version())", cwd=place)
        packages = checked(own / "python", "-m", "pip", "list", "--format=freeze", cwd=place).splitlines()
        began = time.perf_counter()
        checked(own / "longcut", "demo", "--out", place / "demo", cwd=place)
        seconds = time.perf_counter() - began
        if not list((place / "demo").rglob("*.html")):
            sys.exit(f"the demo wrote no report on Python {version}")
    return {"python": version.strip(), "packages": len(packages), "install_s": installed, "demo_s": seconds}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--python", nargs="+", default=[sys.executable], help="interpreters to try")
    given = parser.parse_args(arguments)
    print(f"{'python':>8} {'packages':>8} {'install s':>9} {'demo s':>7}")
    for python in given.python:
        row = tried(given.wheel.resolve(), python)
        print(f"{row['python']:>8} {row['packages']:>8} {row['install_s']:>9.0f} {row['demo_s']:>7.0f}", flush=True)


if __name__ == "__main__":
    main()
