"""What our own modules declare, read from their text: names and options, without the seconds that importing them takes.

The command line refuses by it what is misspelled or not allowed, before anything heavy is imported. What is not written
out here, such as a table that is computed, is None, and an option whose annotation is, may be anything: then nobody
refuses anything until the module itself is asked.
"""

from __future__ import annotations

import ast
import builtins
import sys
from functools import cache
from importlib import import_module
from inspect import Parameter
from pathlib import Path
from typing import Annotated, Any, NamedTuple, get_args

from longcut.spec import Option

__all__ = ["entry", "keys", "methods", "options", "recipes"]

PACKAGE = Path(__file__).parent


class _Text(NamedTuple):
    """A module: what stands at its top level by name, and where the names that it imports are from.

    ``imported`` are ours, by module below ``longcut`` and name; ``others`` are not, by module and name. ``needs`` are
    the modules of others that are imported with it.
    """

    defined: dict[str, ast.AST]
    imported: dict[str, tuple[str, str]]
    others: dict[str, tuple[str, str]]
    needs: frozenset[str]


def methods() -> dict[str, tuple[str, str]]:
    """The methods by name, each with its module and class.

    >>> methods()["selecmix"]
    ('methods.mixing.selecmix', 'SelecMix')
    """
    homes = ast.literal_eval(_text("methods").defined["HOMES"])  # type: ignore[arg-type]
    found = {}
    for module, _, name in (home.partition(":") for home in homes):
        place = f"methods.{module}", name
        _, called = _member(*place, "name")
        if isinstance(called, ast.Constant):
            found[str(called.value)] = place
    return found


def keys(module: str, table: str) -> tuple[str, ...] | None:
    """The names in a table, or tuple, that a module writes out.

    >>> "worst_group" in keys("evaluate.table", "METRICS")
    True
    """
    return _written_out(module, _rows(_text(module).defined.get(table)))


def entry(module: str, table: str, name: str) -> tuple[str, str] | None:
    """Module and function of a row in a table, where it is a function of ours.

    >>> entry("nets", "NETS", "mlp")
    ('nets.small', 'mlp')
    """
    rows = _rows(_text(module).defined.get(table))
    named = zip(rows.keys, rows.values, strict=True) if isinstance(rows, ast.Dict) else ()
    found = {key.value: value for key, value in named if isinstance(key, ast.Constant)}
    where, node = _resolved(module, found.get(name))
    return (where, node.name) if isinstance(node, ast.FunctionDef) else None


def options(module: str, name: str) -> dict[str, Option] | None:
    """The options of a function, or of a class's constructor, by name; as :func:`longcut.spec.options_of`.

    >>> options("datasets.colored_digits", "colored_digits")["ratio"].allowed
    'a number from 0 to 0.9'
    """
    where, node = _found(module, name)
    if isinstance(node, ast.ClassDef):
        where, node = _method(where, node, "__init__")
    if not isinstance(node, ast.FunctionDef):
        return None
    declared = zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
    found = (_option(where, argument, default) for argument, default in declared)
    return {option.name: option for option in found if option is not None}


def recipes(module: str, name: str) -> tuple[str, ...] | None:
    """The published settings that a class of a method names, where they are written out.

    >>> recipes("methods.biased.lff", "LfF")
    ('paper',)
    """
    return _written_out(*_member(module, name, "recipes"))


# --- the text ---------------------------------------------------------------------------------------------------------


def _file(module: str) -> Path:
    path = PACKAGE.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@cache
def _text(module: str) -> _Text:
    defined: dict[str, ast.AST] = {}
    imported: dict[str, tuple[str, str]] = {}
    others: dict[str, tuple[str, str]] = {}
    needs: set[str] = set()
    for node in ast.parse(_file(module).read_text("utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            defined[node.name] = node
        elif isinstance(node, ast.Import):
            needs |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            package, _, origin = (node.module or "").partition(".")
            ours = package == "longcut"
            known = imported if ours else others
            known |= {a.asname or a.name: (origin if ours else node.module or "", a.name) for a in node.names}
            needs |= set() if ours else {package}
        else:
            defined |= _assigned(node)
    return _Text(defined, imported, others, frozenset(needs))


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


def _option(module: str, argument: ast.arg, default: ast.expr | None) -> Option | None:
    """An argument as an option; None where its annotation is not ``Annotated``."""
    where, node = _resolved(module, argument.annotation)
    if not (isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id == "Annotated"):
        return None
    try:
        hint = _value(where, node)
    except Exception:  # whatever an expression may raise: it is not for us to read
        from pydantic import Field

        hint = Annotated[Any, Field()]
    try:
        usual = Parameter.empty if default is None else _value(module, default)
    except Exception:
        usual = Parameter.empty
    return Option(argument.arg, get_args(hint)[0], usual, get_args(hint)[1].description or "", hint)


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


def _member(module: str, name: str, member: str) -> tuple[str, ast.AST | None]:
    """The value that a class, or what it stands on, gives to a name, and the module that it is written in."""
    where, node = _found(module, name)
    if not isinstance(node, ast.ClassDef):
        return where, None
    for line in node.body:
        if member in (given := _assigned(line)):
            return _resolved(where, given[member])
    inherited = (_member(at, base.name, member) for at, base in _bases(where, node))
    return next((one for one in inherited if one[1] is not None), (where, None))


def _rows(node: ast.AST | None) -> ast.AST | None:
    """The rows of a table, plain or registered."""
    return next((arg for arg in node.args if isinstance(arg, ast.Dict)), None) if isinstance(node, ast.Call) else node


def _written_out(module: str, node: ast.AST | None) -> tuple[str, ...] | None:
    """The names in a dict, also in what it takes over from another, or in a tuple."""
    if isinstance(node, ast.Tuple):
        named = [one.value for one in node.elts if isinstance(one, ast.Constant)]
        return tuple(map(str, named)) if len(named) == len(node.elts) else None
    if not isinstance(node, ast.Dict):
        return None
    found: list[str] = []
    for key, value in zip(node.keys, node.values, strict=True):
        if key is None:
            some = _written_out(*_resolved(module, value))
        else:
            some = (str(key.value),) if isinstance(key, ast.Constant) else None
        if some is None:
            return None
        found += some
    return tuple(found)


# --- values -----------------------------------------------------------------------------------------------------------


class _Names(dict[str, Any]):
    """What the names in a module stand for, each worked out when it is asked for."""

    def __init__(self, module: str) -> None:
        super().__init__()
        self.module = module

    def __missing__(self, name: str) -> Any:
        text = _text(self.module)
        if name in text.defined:
            return _defined(self.module, name)
        if name in text.imported:
            origin, original = text.imported[name]
            inner = f"{origin}.{original}".lstrip(".")
            return _Module(inner) if _file(inner).exists() else _Names(origin)[original]
        if name in text.others and _quick(frozenset({text.others[name][0].partition(".")[0]})):
            origin, original = text.others[name]
            return getattr(import_module(origin), original)
        raise KeyError(name)  # then it is built in


class _Module:
    """A module of ours as a value."""

    def __init__(self, module: str) -> None:
        self._names = _Names(module)

    def __getattr__(self, name: str) -> Any:
        return self._names[name]


def _value(module: str, node: ast.expr) -> Any:
    """What an expression in a module is.

    Raises:
        Exception: any, where it needs what is slow to import, or is none that is written out.
    """
    expression = ast.fix_missing_locations(ast.Expression(node))
    return eval(compile(expression, module, "eval"), {"__builtins__": builtins}, _Names(module))


def _defined(module: str, name: str) -> Any:
    """What a module defines: itself where it is quick to import, or as it is written; of a table its names."""
    if _is_quick(module):
        return getattr(import_module(f"longcut.{module}"), name)
    node = _text(module).defined[name]
    rows = _written_out(module, _rows(node))
    if rows is not None and isinstance(node, ast.Call):
        return rows
    if not isinstance(node, ast.expr):
        raise LookupError(f"{name} in {module} is slow to import")
    return _value(module, node)


@cache
def _is_quick(module: str) -> bool:
    """Whether a module imports nothing that is slow, nor do the packages that it is in."""
    seen: set[str] = set()
    left = [module]
    while left:
        one = left.pop()
        if one in seen:
            continue
        seen.add(one)
        text = _text(one)
        if not _quick(text.needs):
            return False
        inner = {f"{origin}.{name}".lstrip(".") for origin, name in text.imported.values()}
        left += [origin for origin, _ in text.imported.values() if origin]
        left += [below for below in inner if _file(below).exists()]
        left += [one.rpartition(".")[0]] if "." in one else []
    return True


def _quick(packages: frozenset[str]) -> bool:
    """Whether these packages take no time: those of Python itself, and what declares options."""
    return packages <= sys.stdlib_module_names | {"pydantic", "typing_extensions"}
