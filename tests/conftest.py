from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from hypothesis import settings

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
