"""Who imports whom, what an import costs, and what the package exports."""

from __future__ import annotations

import ast
import json
import pickle
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import longcut

PACKAGE = Path(longcut.__file__).parent

# A room (module or folder) imports rooms of lower rows, or of its own row without going round in a circle.
ROWS = [
    {"errors", "processes", "clusters"},
    {"spec", "registry", "files", "folders", "outline", "numbers", "scales", "notebook", "parallel", "recipes"},
    {"data", "sources", "training", "optimizers"},
    {
        "mixing",
        "losses",
        "regression_losses",
        "contrast",
        "penalties",
        "nets",
        "augment",
        "cells",
        "cues",
        "encoders",
    },
    {"predict", "bias", "context", "identify", "door"},
    {"methods"},
    {"fit", "fitting", "loop", "helpers", "evaluate", "selection"},
    {"record", "forms", "states", "stored", "runs", "backbone"},
    {"datasets", "analyses", "gallery", "audit", "estimators", "plans", "lookup"},
    {"execute", "compare", "places", "tables", "stress", "search"},
    {"deploy", "serving", "report", "papers", "postprocess", "annotate", "trackers", "weights", "card"},
    {"cli", "__main__"},
]
ROW = {room: row for row, rooms in enumerate(ROWS) for room in rooms}
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def executed(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes below ``node``, functions included, without the blocks that only a type checker reads."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            continue
        yield child
        yield from executed(child)


def imported_rooms(source: str, package: str) -> set[str]:
    """The rooms of longcut that ``source``, a module of ``package``, imports."""
    modules: set[str] = set()
    for node in executed(ast.parse(source)):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) + 1 - node.level] if node.level else []
            origin = ".".join([*above, *([node.module] if node.module else [])])
            if origin == "longcut":  # a public name stands for the room it lives in
                modules |= {f"longcut.{longcut._HOME.get(alias.name, alias.name)}" for alias in node.names}
            else:
                modules.add(origin)
    rooms = {module.split(".")[1] for module in modules if module.startswith("longcut.")}
    return rooms - {"__version__"}


def test_imported_rooms_sees_every_form_of_import():
    source = """
import numpy, longcut.data
from longcut.losses import gce
from longcut import nets, Mix, __version__
from . import base
from ..errors import UserError
if TYPE_CHECKING:
    from longcut.fit import Training
def late():
    from longcut.evaluate import predict
"""
    rooms = {"data", "losses", "nets", "mixing", "methods", "errors", "evaluate"}
    assert imported_rooms(source, "longcut.methods") == rooms


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_imports_point_down(path: Path):
    room = room_of(path)
    assert room in ROW, f"{room} has no row yet; give it one in ROWS"
    package = ".".join(["longcut", *path.relative_to(PACKAGE).parent.parts])
    for other in imported_rooms(path.read_text(encoding="utf-8"), package):
        assert ROW[other] <= ROW[room], f"{path.name} imports {other}, which is above {room}"


def test_rooms_do_not_import_in_circles():
    graph: dict[str, set[str]] = {}
    for path in FILES:
        package = ".".join(["longcut", *path.relative_to(PACKAGE).parent.parts])
        rooms = imported_rooms(path.read_text(encoding="utf-8"), package)
        graph.setdefault(room_of(path), set()).update(rooms - {room_of(path)})
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


HEAVY = {
    "PIL",
    "datasets",
    "jinja2",
    "matplotlib",
    "pandas",
    "pyarrow",
    "pydantic",
    "rich",
    "scipy",
    "sklearn",
    "typer",
}


def loaded_by(statement: str) -> set[str]:
    """Top-level modules in a fresh interpreter after ``statement``."""
    code = f"import json, sys; {statement}; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {name.split(".")[0] for name in json.loads(done.stdout)}


def test_importing_the_package_does_not_load_torch():
    assert not loaded_by("import longcut") & {"torch", "numpy", *HEAVY}


def test_importing_a_piece_loads_torch_and_nothing_heavier():
    modules = loaded_by("import longcut.mixing")
    assert "torch" in modules
    assert not modules & HEAVY


def test_all_is_what_the_package_exports():
    assert set(longcut.__all__) == {*longcut._HOME, "__version__"}
    assert dir(longcut) == sorted(longcut.__all__)
    for name, home in longcut._HOME.items():
        assert getattr(longcut, name) is getattr(sys.modules[f"longcut.{home}"], name)


def test_type_checkers_see_the_same_names():
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    seen = {alias.name: node.module for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert seen == {name: f"longcut.{home}" for name, home in longcut._HOME.items()}


def test_the_package_can_be_named_to_another_process():
    assert pickle.loads(pickle.dumps(longcut)) is longcut


def test_a_name_that_does_not_exist():
    with pytest.raises(AttributeError, match="module 'longcut' has no attribute 'slecmix'"):
        _ = longcut.slecmix  # type: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize("first", ["import longcut.fit", "from longcut.fit import Training", "import longcut"])
def test_fit_is_the_function_whatever_was_imported_first(first: str):
    code = f"{first}; import longcut, sys; from longcut import fit; assert longcut.fit is fit"
    subprocess.run([sys.executable, "-c", f"{code} is sys.modules['longcut.fit'].fit"], check=True)
