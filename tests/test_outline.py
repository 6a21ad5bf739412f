"""What is read from the text of our modules is what importing them says."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from collections.abc import Callable

import pytest

from longcut import outline
from longcut.augment import AUGMENTS
from longcut.cues import CUES, STRENGTHS
from longcut.datasets import DATASETS
from longcut.deploy import FORMATS
from longcut.encoders import ENCODERS
from longcut.errors import UserError
from longcut.evaluate import METRICS
from longcut.lookup.rules import RULES as LOOKUP_RULES
from longcut.methods import METHODS
from longcut.mixing import BLENDS
from longcut.nets import NETS
from longcut.postprocess.rules import CONSTRAINTS, RULES
from longcut.regression_losses import LOSSES
from longcut.spec import Option, check, options_of
from longcut.trackers import TRACKERS


def same(found: dict[str, Option] | None, function: Callable[..., object]) -> bool:
    """Whether options that were read are those that are declared: what they are, and what is allowed."""
    read, declared = (
        [(one.name, one.type, one.default, one.help, one.allowed, one.choices) for one in options]
        for options in ((found or {}).values(), options_of(function))
    )
    return list(found or ()) == [one[0] for one in read] and read == declared


def test_methods_options_and_recipes():
    found = outline.methods()
    assert list(found) == list(METHODS.own)
    for name, place in found.items():
        assert same(outline.options(*place), METHODS[name].__init__), name
        assert outline.recipes(*place) in (None, tuple(METHODS[name].recipes)), name
    unread = [name for name, place in found.items() if outline.recipes(*place) is None]
    assert len(unread) < 5  # those that are computed


@pytest.mark.parametrize(
    ("module", "table", "real"),
    [
        ("nets", "NETS", NETS),
        ("encoders", "ENCODERS", ENCODERS),
        ("trackers", "TRACKERS", TRACKERS),
        ("regression_losses", "LOSSES", LOSSES),
        ("evaluate.table", "METRICS", METRICS),
        ("augment", "AUGMENTS", AUGMENTS),
    ],
)
def test_tables(module: str, table: str, real: dict[str, object]):
    assert outline.keys(module, table) == tuple(real.own)  # type: ignore[attr-defined]
    for name, row in real.own.items():  # type: ignore[attr-defined]
        place = outline.entry(module, table, name)
        assert (place is not None) == inspect.isfunction(row), name
        if place is not None and module != "evaluate.table":
            assert same(outline.options(*place), row), name


def test_data_sets():
    for name, entry in DATASETS.own.items():
        module, function = str(entry.target).removeprefix("longcut.").split(":")
        found = outline.options(module, function)
        assert same(found, entry.function), name


def test_tables_without_options():
    assert outline.keys("cues.table", "CUES") == tuple(CUES.own)
    assert outline.keys("cues.base", "STRENGTHS") == STRENGTHS
    assert outline.keys("mixing.blends", "BLENDS") == tuple(BLENDS.own)  # some of it is from another module
    assert outline.keys("postprocess.rules", "CONSTRAINTS") == tuple(CONSTRAINTS)
    assert outline.keys("postprocess.rules", "RULES") == tuple(RULES)
    assert outline.keys("lookup.rules", "RULES") == tuple(LOOKUP_RULES)
    assert outline.keys("deploy", "FORMATS") == tuple(FORMATS)


def test_what_is_allowed_is_known_without_importing_what_is_slow():
    code = "import sys; from longcut import outline; [outline.options(*place) for place in outline.methods().values()]"
    code += "; print({'torch', 'numpy'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_an_annotation_that_is_not_written_out_allows_anything(monkeypatch: pytest.MonkeyPatch):
    text = "def f(*, a: Annotated[int, Field(ge=slow())] = slow(), b: Annotated[int, Field(ge=1)] = 2, c=3): ..."
    tree = ast.parse(f"import torch\nfrom typing import Annotated\nfrom pydantic import Field\n{text}")
    monkeypatch.setattr(outline.ast, "parse", lambda _: tree)
    outline._text.cache_clear()
    found = outline.options("nets", "f")
    outline._text.cache_clear()
    assert found is not None
    assert list(found) == ["a", "b"]
    assert check("f", found.values(), {"a": "x", "b": "3"}) == {"a": "x", "b": 3}
    with pytest.raises(UserError, match="f: b=0 is not allowed; give a whole number at least 1"):
        check("f", found.values(), {"b": "0"})


def test_what_is_not_written_out_is_not_known():
    assert outline.keys("datasets", "DATASETS") is None
    assert outline.options("nets", "nothing") is None
    assert outline.entry("nets", "NETS", "nothing") is None
    assert outline.keys("deploy", "nothing") is None
