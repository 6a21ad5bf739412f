"""What is read from the text of our modules is what importing them says."""

from __future__ import annotations

import inspect

import pytest

from longcut import outline
from longcut.augment import AUGMENTS
from longcut.datasets import DATASETS, OWN
from longcut.encoders import ENCODERS
from longcut.evaluate import METRICS
from longcut.methods import METHODS
from longcut.nets import NETS
from longcut.spec import options_of


def declared(function: object) -> list[str]:
    return [option.name for option in options_of(function)]  # type: ignore[arg-type]


def test_methods_options_and_recipes():
    found = outline.methods()
    assert list(found) == list(METHODS.own)
    for name, place in found.items():
        assert list(outline.options(*place) or ()) == declared(METHODS[name].__init__), name
        assert outline.recipes(*place) in (None, tuple(METHODS[name].recipes)), name
    unread = [name for name, place in found.items() if outline.recipes(*place) is None]
    assert len(unread) < 5  # those that are computed


@pytest.mark.parametrize(
    ("module", "table", "real"),
    [
        ("nets", "NETS", NETS),
        ("encoders", "ENCODERS", ENCODERS),
        ("evaluate.table", "METRICS", METRICS),
        ("augment", "AUGMENTS", AUGMENTS),
    ],
)
def test_tables(module: str, table: str, real: dict[str, object]):
    assert outline.keys(module, table) == tuple(real.own)  # type: ignore[attr-defined]
    for name, row in real.own.items():  # type: ignore[attr-defined]
        place = outline.entry(module, table, name)
        assert (place is not None) == inspect.isfunction(row), name
        if place is not None and module in ("nets", "encoders"):
            assert list(outline.options(*place) or ()) == declared(row), name


def test_data_sets():
    for name, entry in DATASETS.own.items():
        module, function = str(entry.target).removeprefix("longcut.").split(":")
        found = outline.options(module, function)
        assert found is not None
        assert list(found) == declared(entry.function), name
        if name in OWN:  # a message quotes it
            assert found["path"] == options_of(entry.function)[0].help


def test_what_is_not_written_out_is_not_known():
    assert outline.keys("datasets", "DATASETS") is None
    assert outline.options("nets", "nothing") is None
    assert outline.entry("nets", "NETS", "nothing") is None
