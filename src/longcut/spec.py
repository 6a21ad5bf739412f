"""``name:key=value,key=value``: read, checked and written in one place, for data sets, methods, nets and ``--set``.

Within a value, a comma is written ``%2C`` and a percent sign ``%25``, as in addresses of the web. What options there
are is declared once, as annotated keyword arguments of the function or class that takes them.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints
from urllib.parse import quote, unquote

from longcut.errors import UserError, unknown

__all__ = [
    "OneOf",
    "Option",
    "chain",
    "check",
    "options_of",
    "pairs",
    "parse_method",
    "read",
    "split",
    "validate",
    "write",
    "written",
]


# --- the text ---------------------------------------------------------------------------------------------------------


def read(spec: str, what: str) -> tuple[str, dict[str, str]]:
    """Name and options of a spec, as text and not yet checked.

    Args:
        spec: such as ``"mlp:hidden=8,scale=0.5"``.
        what: it is, for the error message, such as ``"net"``.

    Raises:
        UserError: when it is not written like this, or an option is given twice.

    >>> read("mlp:hidden=8, scale=0.5", "net")
    ('mlp', {'hidden': '8', 'scale': '0.5'})
    """
    name, _, text = spec.partition(":")
    name = name.strip()
    return name, pairs(text.split(",") if text else (), f"in {what} '{spec}' ", f"{name}:key=value,key=value")


def parse_method(spec: str) -> tuple[str, str | None, dict[str, str]]:
    """Name, recipe and settings of a method spec, not yet checked against the method.

    Raises:
        UserError: when it is not written ``name@recipe:key=value,key=value``.

    >>> parse_method("selecmix@paper:mode=A,net=mlp:hidden=8")
    ('selecmix', 'paper', {'mode': 'A', 'net': 'mlp:hidden=8'})
    """
    head, given = read(spec, "method")
    name, _, recipe = head.partition("@")
    return name, recipe or None, given


def pairs(pieces: Iterable[str], where: str, example: str) -> dict[str, str]:
    """``key=value`` pieces by key.

    Args:
        pieces: of text.
        where: they stand, for the error message.
        example: how they are written.

    Raises:
        UserError: when one is not ``key=value``, or a key is given twice.
    """
    given: dict[str, str] = {}
    for piece in pieces:
        key, equals, value = (part.strip() for part in piece.partition("="))
        if not equals or not key or key in given:
            wrong = "is given twice" if equals and key else "is not key=value"
            raise UserError(f"'{piece.strip()}' {where}{wrong}; write {example}.")
        given[key] = unquote(value)
    return given


def write(name: str, options: Mapping[str, Any]) -> str:
    """The reverse of :func:`read`.

    >>> write("table", {"path": "a,b.csv", "label": "y"})
    'table:path=a%2Cb.csv,label=y'
    """
    pieces = [f"{key}={_quoted(value)}" for key, value in options.items()]
    return f"{name}:{','.join(pieces)}" if pieces else name


def _quoted(value: Any) -> str:
    """A value as it stands in a spec, where commas part options and blanks around them do not count."""
    text = str(value).replace("%", "%25").replace(",", "%2C")
    return re.sub(r"\A\s+|\s+\Z", lambda blanks: quote(blanks[0]), text)


def split(text: str) -> list[str]:
    """The specs in a list joined by commas, each once.

    A piece with a ``=`` and no ``:`` before it goes on with the options of the spec before it.

    >>> split("erm,selecmix:mode=A,blend=keep-both,lff")
    ['erm', 'selecmix:mode=A,blend=keep-both', 'lff']
    """
    specs: list[str] = []
    for piece in map(str.strip, text.split(",")):
        key, equals, _ = piece.partition("=")
        if specs and equals and ":" not in key:
            specs[-1] += f",{piece}"
        else:
            specs.append(piece)
    return list(dict.fromkeys(specs))


def chain(text: str) -> list[str]:
    """The specs that are joined by ``+``, which in front of a digit belongs to a number.

    >>> chain("crop-flip+cutout:side=8")
    ['crop-flip', 'cutout:side=8']
    """
    return re.split(r"\+(?![\d.])", text)


# --- the options ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class OneOf:
    """Beside the ``Field`` of a text option: its values are the names in a table, to which others may add."""

    table: Collection[str]


@dataclass(frozen=True)
class Option:
    """One keyword option.

    Attributes:
        name: of the keyword.
        type: its annotation without the metadata, such as ``float``.
        default: its default value.
        help: the description from its annotation.
        hint: the whole annotation.
    """

    name: str
    type: Any
    default: Any
    help: str
    hint: Any

    @property
    def choices(self) -> tuple[Any, ...]:
        """The values it may have, where they are few and known: those of a ``Literal`` or a table."""
        table = next((mark.table for mark in get_args(self.hint) if isinstance(mark, OneOf)), None)
        kind = _kind(self.type)
        return tuple(table) if table is not None else get_args(kind) if get_origin(kind) is Literal else ()

    @property
    def allowed(self) -> str:
        """The allowed values in words, such as ``"a number from 0 to 0.9"``."""
        if self.choices:
            return " or ".join(map(str, self.choices))
        words = {float: "a number", int: "a whole number", bool: "true or false"}.get(_kind(self.type), "text")
        field = get_args(self.hint)[1]
        if field.examples:
            return f"{words} such as {field.examples[0]}"
        bounds = {
            key: getattr(rule, key) for rule in field.metadata for key in ("ge", "gt", "le", "lt") if hasattr(rule, key)
        }
        if {"ge", "le"} <= bounds.keys():
            return f"{words} from {bounds['ge']} to {bounds['le']}"
        signs = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
        return " ".join([words, " and ".join(f"{signs[key]} {bound}" for key, bound in bounds.items())]).strip()


def _kind(hint: Any) -> Any:
    """The type of an option without which something else is done, or of any other."""
    return (
        next((one for one in get_args(hint) if one is not type(None)), hint) if type(None) in get_args(hint) else hint
    )


@functools.cache
def options_of(function: Callable[..., Any]) -> tuple[Option, ...]:
    """The keyword-only parameters of ``function`` annotated as ``Annotated[type, Field(...)]``, in their order.

    >>> from pydantic import Field
    >>> def paint(*, share: Annotated[float, Field(ge=0, le=1, description="painted part")] = 0.5): ...
    >>> options_of(paint)[0].allowed
    'a number from 0 to 1'
    """
    hints = get_type_hints(function, include_extras=True)
    return tuple(
        Option(name, get_args(hint)[0], parameter.default, get_args(hint)[1].description or "", hint)
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY and get_origin(hint := hints.get(name)) is Annotated
    )


def validate(owner: str, function: Callable[..., Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The given options as values of their types; text is converted, and numbers are finite.

    Args:
        owner: whose options these are, for the error message.
        function: whose keyword options are meant.
        given: values or text by option name.

    Raises:
        UserError: on an unknown name, or a value that is not allowed.
    """
    return check(owner, options_of(function), given)


def check(owner: str, declared: Iterable[Option], given: Mapping[str, Any]) -> dict[str, Any]:
    """The same, of options that were declared somewhere else than in a function.

    Raises:
        UserError: as :func:`validate`.
    """
    from pydantic import ConfigDict, TypeAdapter, ValidationError

    options = {option.name: option for option in declared}
    valid = {}
    for name, value in given.items():
        if name not in options:
            raise unknown(f"option of {owner}", name, options)
        option = options[name]
        try:
            valid[name] = TypeAdapter(option.hint, config=ConfigDict(allow_inf_nan=False)).validate_python(value)
            if any(isinstance(mark, OneOf) for mark in get_args(option.hint)) and valid[name] not in option.choices:
                raise ValueError
        except (ValidationError, ValueError):
            raise UserError(f"{owner}: {name}={value} is not allowed; give {option.allowed}.") from None
    return valid


def written(name: str, function: Callable[..., Any], options: Mapping[str, Any]) -> str:
    """The one way to write a spec: checked options in the order of the function, defaults left out.

    Raises:
        UserError: as :func:`validate`.
    """
    values = validate(name, function, options)
    declared = [option for option in options_of(function) if option.name in values]
    return write(name, {o.name: values[o.name] for o in declared if values[o.name] != o.default})
