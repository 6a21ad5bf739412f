"""Open tables: what longcut knows by name, and what other packages and single files add to it.

Another package adds by an entry point of the group ``longcut`` that names one of its modules; a file is read by
:func:`load_file` (``--load`` on the command line). In both, every class of a method with a ``name`` is added to the
methods, and a dict that is called like one of the tables (``NETS``, ``DATASETS``, ``METRICS``, …) to that table.
"""

from __future__ import annotations

import hashlib
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from importlib.metadata import entry_points
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from longcut.errors import UserError, unknown

__all__ = ["Registry", "extended", "files_adding", "load_file", "loaded_files", "require_files", "required"]

T = TypeVar("T")
_TABLES: list[Registry[Any]] = []
_MODULES: dict[str, ModuleType] = {}  # by the name of the entry point, or the path of the file
_FILES: dict[str, str] = {}  # path to hash


class Registry(Mapping[str, T]):
    """Things by name; a mapping to read.

    Args:
        kind: what they are, for error messages, such as ``"net"``.
        constant: what the table is called, here and in modules that add to it.
        own: ours.
        found: what else a module adds, by name.
        made: from a name and what a module gives in its table, the thing; or it raises UserError.

    >>> table = Registry("net", "EXAMPLES", {"mlp": 1})
    >>> table["mlp"], list(table), "conv" in table
    (1, ['mlp'], False)
    """

    def __init__(
        self,
        kind: str,
        constant: str,
        own: Mapping[str, T],
        found: Callable[[ModuleType], Mapping[str, T]] = lambda module: {},
        made: Callable[[str, Any], T] = lambda name, given: given,
    ) -> None:
        self.kind, self.constant, self.own, self.found, self.made = kind, constant, dict(own), found, made
        self.added: dict[str, tuple[str, T]] = {}  # name to (from where, what)
        _TABLES.append(self)
        for where, module in _MODULES.items():
            if where in _FILES:
                self._absorb(where, module)
            else:
                _try(where, partial(self._absorb, where, module))

    def _absorb(self, where: str, module: ModuleType) -> None:
        """Take over what a module adds, in place of what it added before."""
        rows = vars(module).get(self.constant, {})
        if not isinstance(rows, Mapping):
            raise UserError(f"{self.constant} in {where} is a {type(rows).__name__}; give a dict of rows by name.")
        rows = {} if rows is self else rows  # which the module imported
        new = {**self.found(module), **{name: self.made(name, row) for name, row in rows.items()}}
        for name in new:
            if name in self.own or self.added.get(name, (where,))[0] != where:
                raise UserError(
                    f"{where} adds the {self.kind} '{name}', but there is one of that name; give it another."
                )
        self._forget(where)
        self.added |= {name: (where, thing) for name, thing in new.items()}

    def _forget(self, where: str) -> None:
        self.added = {name: one for name, one in self.added.items() if one[0] != where}

    def __getitem__(self, name: str) -> T:
        if name in self.own:
            return self.own[name]
        _load_packages()
        return self.added[name][1]

    def __iter__(self) -> Iterator[str]:
        _load_packages()
        yield from self.own
        yield from self.added

    def __len__(self) -> int:
        return len(list(iter(self)))

    def find(self, name: str) -> T:
        """The thing of that name.

        Raises:
            UserError: when there is none; the nearest name is suggested.
        """
        if name not in self:
            raise unknown(self.kind, name, self)
        return self[name]


def required(allowed: Callable[[Any], bool], what: str) -> Callable[[str, Any], Any]:
    """How a table takes over rows as they are, if they are what it needs (see ``made``).

    >>> required(callable, "a function")("mine", max)
    <built-in function max>
    """

    def made(name: str, given: Any) -> Any:
        if not allowed(given):
            raise UserError(f"'{name}' is a {type(given).__name__}, but a row is {what}; give one.")
        return given

    return made


def _absorb_all(where: str, module: ModuleType) -> None:
    """Into every table, or into none."""
    try:
        for table in _TABLES:
            table._absorb(where, module)
    except BaseException:
        for table in _TABLES:
            table._forget(where)
        raise
    _MODULES[where] = module


def _try(where: str, what: Callable[[], None]) -> None:
    """Somebody else's package must not take ours with it."""
    try:
        what()
    except Exception as error:
        warnings.warn(f"the additions of {where} are left out ({error}).", stacklevel=3)


def extended() -> bool:
    """Whether a file or another package may add to the tables, so that ours are not all there is."""
    return bool(_MODULES) or bool(entry_points(group="longcut"))


_asked = False


def _load_packages() -> None:
    """Import what other packages declare, once, and when something is looked for that we do not have."""
    global _asked
    if _asked:
        return
    _asked = True
    for point in entry_points(group="longcut"):
        _try(point.value, lambda point=point: _absorb_all(point.value, point.load()))


def load_file(path: Path | str) -> None:
    """Run a Python file and add what it defines; once for each content of the file.

    Raises:
        UserError: when there is no such file, it fails, or a name in it is taken.
    """
    path = Path(path).absolute()
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be loaded ({error.strerror}); give a Python file.") from None
    digest = hashlib.sha256(content).hexdigest()
    if _FILES.get(str(path)) == digest:
        return
    name = f"longcut_file_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}_{path.stem}"
    spec = spec_from_file_location(name, path)
    if path.suffix != ".py" or spec is None or spec.loader is None:
        raise UserError(f"{path.name} cannot be loaded; give a Python file (.py).")
    module = module_from_spec(spec)
    before, sys.modules[name] = sys.modules.get(name), module  # annotations are looked up there
    try:
        exec(compile(content, str(path), "exec"), module.__dict__)
        _absorb_all(str(path), module)
    except BaseException as error:
        sys.modules.pop(name)
        if before is not None:
            sys.modules[name] = before
        if isinstance(error, UserError) or not isinstance(error, Exception):
            raise
        raise UserError(f"{path.name} cannot be loaded ({type(error).__name__}: {error}); mend it.") from error
    _FILES[str(path)] = digest


def loaded_files() -> dict[str, str]:
    """Path and SHA-256 of the files that were loaded, in their order."""
    return dict(_FILES)


def files_adding(names: Iterable[str]) -> dict[str, str]:
    """Of the loaded files, those that add something by one of these names: path to SHA-256."""
    wanted = set(names)
    used = {where for table in _TABLES for name, (where, _) in table.added.items() if name in wanted}
    return {path: digest for path, digest in _FILES.items() if path in used}


def require_files(files: Mapping[str, str], who: str) -> None:
    """Refuse what was made with a file that is not loaded; warn where the file has changed.

    Args:
        files: name to the first digits of its SHA-256.
        who: was made with them.

    Raises:
        UserError: saying which to load.
    """
    loaded = {Path(path).name: digest for path, digest in _FILES.items()}
    for name, digest in files.items():
        if name not in loaded:
            raise UserError(f"{who} was made with {name}, which is not loaded; add --load {name}.")
        if not loaded[name].startswith(digest):
            warnings.warn(f"{name} has changed since {who} was made.", stacklevel=2)
