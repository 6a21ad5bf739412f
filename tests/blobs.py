"""Data that is learnt in milliseconds, and a loss that breaks: for the tests of plans, runs and comparisons."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from helpers import entry_of

from longcut.data import Dataset, Splits, generator
from longcut.datasets import DATASETS
from longcut.files import to_json
from longcut.methods import METHODS
from longcut.record import Record


def blobs(*, seed: int = 0) -> Splits:
    """Two classes of 4-vectors with an attribute; nothing to download, milliseconds to learn."""

    def draw(n: int, number: int) -> Dataset:
        label = torch.arange(n) % 2
        x = torch.randn(n, 4, generator=generator(seed, number)) + label[:, None]
        return Dataset.of(x, label, (label + (torch.arange(n) % 5 == 0)) % 2, name="blobs", aligned=(0, 1))

    return Splits(draw(40, 0), draw(20, 1), draw(20, 2))


def bare(*, seed: int = 0) -> Splits:
    """The same without an attribute."""
    data = Dataset.of(torch.randn(20, 4, generator=generator(seed)), torch.arange(20) % 2, name="bare")
    return Splits(data, None, data)


@pytest.fixture
def small_data(monkeypatch: pytest.MonkeyPatch) -> None:
    small = {"epochs": 2, "batch": 16, "net": "mlp:hidden=4"}
    monkeypatch.setitem(DATASETS.own, "blobs", entry_of(function=blobs, training=small, options={}))
    monkeypatch.setitem(DATASETS.own, "bare", entry_of(function=bare, training=small, options={}))


def without_time(value: Any) -> Any:
    """Plain containers, also of records, without seconds."""
    if isinstance(value, Record):
        return without_time(json.loads(to_json(value.to_dict())))
    if isinstance(value, Mapping):
        return {key: without_time(item) for key, item in value.items() if key != "seconds"}
    return [without_time(item) for item in value] if isinstance(value, list) else value


def break_loss(monkeypatch: pytest.MonkeyPatch, epoch: int, name: str = "erm", seed: int | None = None) -> None:
    cls = METHODS[name]
    real = cls.loss

    def loss(self, batch):
        value, logs = real(self, batch)
        now = self.context.epoch
        chosen = seed is None or self.generator.initial_seed() == generator(seed, now, 1).initial_seed()
        return value * (math.nan if chosen and now == epoch - 1 else 1), logs

    monkeypatch.setattr(cls, "loss", loss)


MINE = """
from typing import Annotated

from pydantic import Field

from longcut.methods.erm import ERM


class Mine(ERM):
    '''Ordinary training under another name.'''

    name = "mine"

    def __init__(self, net, info, *, q: Annotated[float, Field(ge=0, description="nothing")] = 0.5):
        super().__init__(net, info)
        self.q = q

    def loss(self, batch):
        value, logs = super().loss(batch)
        return value * self.q, logs
"""
