"""Pretrained nets that make features once, for photographs and texts: ``efficientnet-lite0``, ``minilm``, hubs'."""

from __future__ import annotations

from collections.abc import Callable

from longcut.encoders.base import Encoder
from longcut.encoders.efficientnet import efficientnet_lite0
from longcut.encoders.hub import hf, timm
from longcut.encoders.minilm import minilm
from longcut.registry import Registry, required
from longcut.spec import read, validate, written

__all__ = ["ENCODERS", "Encoder", "build", "canonical"]

ENCODERS: Registry[Callable[..., Encoder]] = Registry(
    "encoder",
    "ENCODERS",
    {
        "efficientnet-lite0": efficientnet_lite0,
        "minilm": minilm,
        "hf": hf,
        "timm": timm,
    },
    made=required(callable, "a function (*, options) that returns an Encoder"),
)


def build(spec: str) -> Encoder:
    """The encoder that ``spec`` names, with its weights.

    Args:
        spec: a name, or a name with options: ``"hf:name=facebook/dinov2-small"``.

    Raises:
        UserError: for an unknown name or option, a missing package, or weights that cannot be loaded.
    """
    name, given = read(spec, "encoder")
    function = ENCODERS.find(name)
    return function(**validate(f"encoder '{name}'", function, given))


def canonical(spec: str) -> str:
    """The one way to write the spec of an encoder; nothing is loaded.

    Raises:
        UserError: for an unknown name or option, or a value that is not allowed.

    >>> canonical("hf: name=facebook/dinov2-small"), canonical("minilm")
    ('hf', 'minilm')
    """
    name, given = read(spec, "encoder")
    return written(name, ENCODERS.find(name), given)
