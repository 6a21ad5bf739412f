"""The method beside which SelecMix trains on its mixtures: it sees the samples as they are, and shares its net."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import Field

from longcut.errors import UserError
from longcut.methods.base import Method, beside
from longcut.methods.biased.dfa import DFA
from longcut.methods.biased.end import EnD
from longcut.methods.biased.lff import LfF
from longcut.methods.biased.rebias import ReBias

__all__ = ["build_base"]

BASES: dict[str, Callable[..., Method]] = {"lff": LfF, "dfa": DFA, "end": EnD, "rebias": ReBias}
Base = Annotated[
    Literal["erm", "lff", "dfa", "end", "rebias"],
    Field(description="erm: train on mixtures alone; else beside that method on the samples as they are"),
]


def build_base(method: Method, name: str, **gce: Any) -> Method | None:
    """The base of that name, whose net becomes the method's; None for ``"erm"``, which is no other method.

    Args:
        method: has its network, and will get the base's.
        name: one of those of the option.
        **gce: ``q`` and ``scale`` of the generalized cross-entropy, for a base that has one.

    Raises:
        UserError: when the base cannot do with the data.
    """
    if name == "dfa" and method.info.kind == "tokens":
        raise UserError(
            f"{method.name} with base=dfa mixes inputs, but {method.info.name} holds token ids; "
            "use base=lff or base=erm."
        )
    return None if name == "erm" else beside(BASES[name], method, **(gce if name in ("lff", "dfa") else {}))
