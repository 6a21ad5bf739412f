"""Data sets by name: ``load("colored-mnist:ratio=0.01")``.

A spec is a name, or a name and options: ``name:key=value,key=value``. Nothing heavy is imported before a data set is
used.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from longcut.errors import UserError, unknown

if TYPE_CHECKING:
    from longcut.data import Splits

__all__ = ["DATASETS", "Entry", "data_folder", "load", "parse", "spec_of"]


@dataclass(frozen=True)
class Entry:
    """A registered data set.

    Attributes:
        target: ``"module:function"``; the function has annotated keyword options, perhaps ``seed``, and returns Splits.
        training: recommended training settings.
    """

    target: str
    training: Mapping[str, Any] = field(default_factory=dict)

    @property
    def function(self) -> Callable[..., Splits]:
        module, name = self.target.split(":")
        return getattr(import_module(module), name)


_MNIST_TRAINING = {"epochs": 30, "batch": 256, "pool": 4, "lr": 0.001, "net": "mlp:hidden=100-100-16"}

DATASETS: dict[str, Entry] = {
    "colored-mnist": Entry("longcut.datasets.colored_mnist:colored_mnist", _MNIST_TRAINING),
    "colored-mnist-png": Entry("longcut.datasets.colored_mnist:colored_mnist_png", _MNIST_TRAINING),
    "colored-digits": Entry(
        "longcut.datasets.colored_digits:colored_digits",
        {"epochs": 100, "batch": 64, "pool": 4, "lr": 0.002, "net": "mlp:hidden=100-100-16"},
    ),
}


def load(spec: str, seed: int = 0) -> Splits:
    """The data set a spec describes.

    Args:
        spec: such as ``"colored-mnist:ratio=0.01,recipe=dfa"``.
        seed: of what is drawn at random when the data is made; data that is only read ignores it.

    Raises:
        UserError: when the name or an option is unknown, a value is not allowed, or files are missing.

    >>> load("colored-digits:ratio=0.1").info.name
    'colored-digits:ratio=0.1'
    """
    name, options = parse(spec)
    function = DATASETS[name].function
    seeded = {"seed": seed} if "seed" in inspect.signature(function).parameters else {}
    return function(**options, **seeded)


def parse(spec: str) -> tuple[str, dict[str, Any]]:
    """Name and checked options of a spec.

    Raises:
        UserError: when the name or an option is unknown, or a value is not allowed.

    >>> parse("colored-mnist:ratio=0.01")
    ('colored-mnist', {'ratio': 0.01})
    """
    from longcut.options import validate

    name, _, text = spec.partition(":")
    if name not in DATASETS:
        raise unknown("data set", name, DATASETS)
    given: dict[str, str] = {}
    for piece in text.split(",") if text else ():
        key, equals, value = (part.strip() for part in piece.partition("="))
        if not equals or key in given:
            what = "is given twice" if equals else "is not key=value"
            raise UserError(f"'{piece}' in data set '{spec}' {what}; write {name}:key=value,key=value.")
        given[key] = value
    return name, validate(name, DATASETS[name].function, given)


def spec_of(name: str, options: Mapping[str, Any]) -> str:
    """The one way to write a spec: options in the order of the function, defaults left out.

    >>> spec_of("colored-mnist", {"recipe": "lff", "ratio": 0.005})
    'colored-mnist:recipe=lff'
    """
    from longcut.options import options_of, validate

    if name not in DATASETS:
        raise unknown("data set", name, DATASETS)
    function = DATASETS[name].function
    values = validate(name, function, options)
    pieces = [
        f"{option.name}={values[option.name]}"
        for option in options_of(function)
        if option.name in values and values[option.name] != option.default
    ]
    return f"{name}:{','.join(pieces)}" if pieces else name


def data_folder(name: str) -> Path:
    """Where files of a data set lie: ``$LONGCUT_DATA/name``, else ``~/.cache/longcut/data/name``."""
    root = os.environ.get("LONGCUT_DATA")
    return (Path(root) if root else Path.home() / ".cache" / "longcut" / "data") / name
