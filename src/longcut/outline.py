"""What our own modules declare, read from their text: names and options, without the seconds that importing them takes.

The command line refuses by it what is misspelled, before anything heavy is imported. What is not written out here, such
as a table that is computed, is None: then nobody refuses anything until the module itself is asked.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path
from typing import NamedTuple

__all__ = ["entry", "keys", "methods", "options", "recipes"]

PACKAGE = Path(__file__).parent


class _Text(NamedTuple):
    """A module: what stands at its top level by name, and where the names it imports from us are from."""

    defined: dict[str, ast.AST]
    imported: dict[str, tuple[str, str]]


def methods() -> dict[str, tuple[str, str]]:
    """The methods by name, each with its module and class.

    >>> methods()["selecmix"]
    ('methods.mixing.selecmix', 'SelecMix')
    """
    homes = ast.literal_eval(_text("methods").defined["HOMES"])  # type: ignore[arg-type]
    found = {}
    for module, _, name in (home.partition(":") for home in homes):
        place = f"methods.{module}", name
        called = _member(*place, "name")
        if isinstance(called, ast.Constant):
            found[str(called.value)] = place
    return found


def keys(module: str, table: str) -> tuple[str, ...] | None:
    """The names in a table that a module writes out.

    >>> "worst_group" in keys("evaluate.table", "METRICS")
    True
    """
    return _written_out(_rows(_text(module).defined.get(table)))


def entry(module: str, table: str, name: str) -> tuple[str, str] | None:
    """Module and function of a row in a table, where it is a function of ours.

    >>> entry("nets", "NETS", "mlp")
    ('nets.small', 'mlp')
    """
    rows = _rows(_text(module).defined.get(table))
    found = dict(zip(_written_out(rows) or (), rows.values if isinstance(rows, ast.Dict) else (), strict=False))
    where, node = _resolved(module, found.get(name))
    return (where, node.name) if isinstance(node, ast.FunctionDef) else None


def options(module: str, name: str) -> dict[str, str] | None:
    """The options of a function, or of a class's constructor, with what they are; as :func:`longcut.spec.options_of`.

    >>> options("datasets.colored_digits", "colored_digits")["ratio"]
    'share of training images that contradict the shortcut; 0.9 is none'
    """
    where, node = _found(module, name)
    if isinstance(node, ast.ClassDef):
        where, node = _method(where, node, "__init__")
    if not isinstance(node, ast.FunctionDef):
        return None
    known = {argument.arg: _about(where, argument.annotation) for argument in node.args.kwonlyargs}
    return {name: about for name, about in known.items() if about is not None}


def recipes(module: str, name: str) -> tuple[str, ...] | None:
    """The published settings that a class of a method names, where they are written out.

    >>> recipes("methods.biased.lff", "LfF")
    ('paper',)
    """
    return _written_out(_member(module, name, "recipes"))


# --- the text ---------------------------------------------------------------------------------------------------------


def _file(module: str) -> Path:
    path = PACKAGE.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@cache
def _text(module: str) -> _Text:
    defined: dict[str, ast.AST] = {}
    imported: dict[str, tuple[str, str]] = {}
    for node in ast.parse(_file(module).read_text("utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            defined[node.name] = node
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "longcut":
            origin = (node.module or "").partition(".")[2]
            imported |= {alias.asname or alias.name: (origin, alias.name) for alias in node.names}
        else:
            defined |= _assigned(node)
    return _Text(defined, imported)


def _assigned(node: ast.AST) -> dict[str, ast.AST]:
    """The names that a line gives values to."""
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
        return {node.target.id: node.value}
    found: dict[str, ast.AST] = {}
    for target in node.targets if isinstance(node, ast.Assign) else ():
        if isinstance(target, ast.Name):
            found[target.id] = node.value  # type: ignore[attr-defined]
        elif isinstance(target, ast.Tuple) and isinstance(values := node.value, ast.Tuple):  # type: ignore[attr-defined]
            pairs = zip(target.elts, values.elts, strict=False)
            found |= {name.id: value for name, value in pairs if isinstance(name, ast.Name)}
    return found


def _found(module: str, name: str) -> tuple[str, ast.AST | None]:
    """Where a name is defined, and how, also where it is imported from another module of ours."""
    if not _file(module).exists():
        return module, None
    text = _text(module)
    if name in text.defined:
        return module, text.defined[name]
    return _found(*text.imported[name]) if name in text.imported else (module, None)


def _resolved(module: str, node: ast.AST | None) -> tuple[str, ast.AST | None]:
    """What an expression stands for: a name, or the name within a module."""
    if isinstance(node, ast.Name):
        return _resolved(*_found(module, node.id))
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        origin = ".".join(filter(None, _text(module).imported.get(node.value.id, ())))
        return _resolved(*_found(origin, node.attr)) if origin else (module, None)
    return module, node


def _about(module: str, annotation: ast.AST | None) -> str | None:
    """The description within an annotation; None of one that is not ``Annotated``."""
    where, node = _resolved(module, annotation)
    if not (isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id == "Annotated"):
        return None
    _, field = _resolved(where, node.slice.elts[1] if isinstance(node.slice, ast.Tuple) else None)
    said = [word.value for word in field.keywords if word.arg == "description"] if isinstance(field, ast.Call) else []
    return str(said[0].value) if said and isinstance(said[0], ast.Constant) else ""


def _bases(module: str, node: ast.ClassDef) -> list[tuple[str, ast.ClassDef]]:
    found = (_resolved(module, base) for base in node.bases)
    return [(where, base) for where, base in found if isinstance(base, ast.ClassDef)]


def _method(module: str, node: ast.ClassDef, name: str) -> tuple[str, ast.AST | None]:
    """A method of a class, or of what it stands on."""
    own = next((one for one in node.body if isinstance(one, ast.FunctionDef) and one.name == name), None)
    if own is not None:
        return module, own
    inherited = (_method(where, base, name) for where, base in _bases(module, node))
    return next((one for one in inherited if one[1] is not None), (module, None))


def _member(module: str, name: str, member: str) -> ast.AST | None:
    """The value that a class, or what it stands on, gives to a name."""
    where, node = _found(module, name)
    if not isinstance(node, ast.ClassDef):
        return None
    for line in node.body:
        if member in (given := _assigned(line)):
            return _resolved(where, given[member])[1]
    inherited = (_member(at, base.name, member) for at, base in _bases(where, node))
    return next((one for one in inherited if one is not None), None)


def _rows(node: ast.AST | None) -> ast.AST | None:
    """The rows of a table, plain or registered."""
    return next((arg for arg in node.args if isinstance(arg, ast.Dict)), None) if isinstance(node, ast.Call) else node


def _written_out(node: ast.AST | None) -> tuple[str, ...] | None:
    if not isinstance(node, ast.Dict):
        return None
    names = [key.value for key in node.keys if isinstance(key, ast.Constant)]
    return tuple(map(str, names)) if len(names) == len(node.keys) else None
