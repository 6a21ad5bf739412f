"""What tests of methods, and of benchmarks, share."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from longcut.augment import Augment, unchanged
from longcut.context import Context
from longcut.data import Dataset, generator


def context(data: Dataset, seed: int = 0, epoch: int = 0, epochs: int = 1, augment: Augment = unchanged) -> Context:
    """What the loop would tell a method, with a generator of its own."""
    return Context(generator(seed), data, augment, epoch, epochs)


def entry_of(**fields: Any) -> Any:
    """A row of the table of data sets, of a function of a test's own."""
    return SimpleNamespace(target=None, **fields)


def script(name: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A program of ``benchmarks/`` as a module, with its neighbours in reach."""
    path = Path(__file__).parent.parent / "benchmarks" / f"{name}.py"
    monkeypatch.syspath_prepend(path.parent)
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", path)
    assert spec and spec.loader
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def unsealed(path: Path) -> dict[str, Any]:
    """A record without its checksums, as an older longcut would have written it: for a test to change."""
    stored = json.loads(path.read_text("utf-8"))
    del stored["checksums"]
    return stored


def declare(patch: pytest.MonkeyPatch, papers: dict[str, Any]) -> None:
    """Let the papers be these."""
    for name in ("recipes", "papers.queue", "papers.listed"):
        patch.setattr(sys.modules[f"longcut.{name}"], "contents", lambda: papers)
