"""Finished runs of a benchmark in a JSON file, so that a killed one goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from longcut.files import replacing

__all__ = ["Ledger"]

Run = dict[str, Any]


class Ledger:
    """Runs by what they are.

    Args:
        path: of the file, which is written after every run.
        make: ``(data, method, seed, settings)`` to a run.
        told: what is printed of a run when it is finished.
    """

    def __init__(self, path: Path, make: Callable[..., Run], told: Callable[[Run], object] = lambda run: run) -> None:
        self.path, self.make, self.told = path, make, told
        self.runs: dict[str, Run] = json.loads(path.read_text()) if path.exists() else {}

    def run(self, data: str, method: str, seed: int, settings: Mapping[str, Any]) -> Run:
        """A run, which is made unless it is known."""
        key = json.dumps([data, method, seed, dict(settings)])
        if key not in self.runs:
            self.runs[key] = self.make(data, method, seed, settings)
            with replacing(self.path) as temporary:
                temporary.write_text(json.dumps(self.runs, indent=1))
            print(f"{data} {method} {seed} {dict(settings)}: {self.told(self.runs[key])}", flush=True)
        return self.runs[key]
