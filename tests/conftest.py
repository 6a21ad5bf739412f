from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from longcut import registry

torch.set_num_threads(1)  # the same bits on every machine, and test processes do not fight for cores

settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("no CUDA device")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data, for tests marked ``data``."""
    if "LONGCUT_DATA" not in os.environ:
        pytest.skip("LONGCUT_DATA does not name a folder of real data")
    return Path(os.environ["LONGCUT_DATA"]).resolve(strict=True)


@pytest.fixture(autouse=True)
def _nothing_stays_loaded() -> Iterator[None]:
    """What a test loads is forgotten behind it."""
    yield
    forget_files()


def forget_files() -> None:
    """As in a process in which nothing was loaded."""
    for where in [*registry._FILES]:
        for table in registry._TABLES:
            table._forget(where)
        registry._MODULES.pop(where)
        registry._FILES.pop(where)


@pytest.fixture(autouse=True)
def _no_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    """What stderr says does not depend on how busy the machine is."""
    monkeypatch.setattr("longcut.cli.show.EVERY", float("inf"))


@pytest.fixture(autouse=True)
def _unexamined(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody's minority is judged, which would cost each run more than its training; ``examined`` lets it be."""
    if not request.node.get_closest_marker("examined"):
        monkeypatch.setattr("longcut.methods.identified.evidence.examine", lambda *told: None)


@pytest.fixture
def mine(tmp_path: Path) -> Iterator[Path]:
    """A file with a method, loaded until the end of the test."""
    from blobs import MINE
    from joblib.externals.loky import get_reusable_executor

    path = tmp_path / "my_method.py"
    path.write_text(MINE)
    registry.load_file(path)
    yield path
    get_reusable_executor().shutdown()  # its processes have loaded the file, too
