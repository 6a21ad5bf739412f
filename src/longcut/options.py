"""The annotated keyword options of a function: listed for help, and checked where users' text comes in."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from longcut.errors import UserError, unknown

__all__ = ["Option", "options_of", "validate"]


@dataclass(frozen=True)
class Option:
    """One keyword option.

    Attributes:
        name: of the keyword.
        type: its annotation without the metadata, such as ``float``.
        default: its default value.
        help: the description from its annotation.
        allowed: the allowed values in words, such as ``"a number from 0 to 0.9"``.
    """

    name: str
    type: Any
    default: Any
    help: str
    allowed: str


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
        Option(name, get_args(hint)[0], parameter.default, get_args(hint)[1].description or "", _allowed(hint))
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY and get_origin(hint := hints.get(name)) is Annotated
    )


def validate(owner: str, function: Callable[..., Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The given options as values of their types; text is converted.

    Args:
        owner: whose options these are, for the error message.
        function: whose keyword options are meant.
        given: values or text by option name.

    Raises:
        UserError: on an unknown name, or a value that is not allowed.
    """
    from pydantic import TypeAdapter, ValidationError

    options = {option.name: option for option in options_of(function)}
    hints = get_type_hints(function, include_extras=True)
    valid = {}
    for name, value in given.items():
        if name not in options:
            raise unknown(f"option of {owner}", name, options)
        try:
            valid[name] = TypeAdapter(hints[name]).validate_python(value)
        except ValidationError:
            raise UserError(f"{owner}: {name}={value} is not allowed; give {options[name].allowed}.") from None
    return valid


def _allowed(hint: Any) -> str:
    kind, field, *_ = get_args(hint)
    if type(None) in get_args(kind):  # an option without which something else is done
        kind = next(one for one in get_args(kind) if one is not type(None))
    if get_origin(kind) is Literal:
        return " or ".join(map(str, get_args(kind)))
    words = {float: "a number", int: "a whole number", bool: "true or false"}.get(kind, "text")
    if field.examples:
        return f"{words} such as {field.examples[0]}"
    bounds = {
        key: getattr(rule, key) for rule in field.metadata for key in ("ge", "gt", "le", "lt") if hasattr(rule, key)
    }
    if {"ge", "le"} <= bounds.keys():
        return f"{words} from {bounds['ge']} to {bounds['le']}"
    signs = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    return " ".join([words, " and ".join(f"{signs[key]} {bound}" for key, bound in bounds.items())]).strip()
