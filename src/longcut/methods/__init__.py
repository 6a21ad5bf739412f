"""The table of contents: every method by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from longcut import nets
from longcut.data import Info, generator
from longcut.errors import unknown
from longcut.methods.afr import AFR
from longcut.methods.base import Method
from longcut.methods.chi2_dro import Chi2DRO
from longcut.methods.cvar_dro import CVaRDRO
from longcut.methods.dfa import DFA
from longcut.methods.dfr import DFR
from longcut.methods.eiil import EIIL
from longcut.methods.end import EnD
from longcut.methods.erm import ERM
from longcut.methods.group_dro import GroupDRO
from longcut.methods.group_jm1 import GroupJM1
from longcut.methods.hex import HEX
from longcut.methods.jm1 import JM1
from longcut.methods.jtt import JTT
from longcut.methods.lff import LfF
from longcut.methods.lisa import LISA
from longcut.methods.mixup import Mixup
from longcut.methods.rebias import ReBias
from longcut.methods.resample import Resample
from longcut.methods.reweight import Reweight
from longcut.methods.selecmix import SelecMix
from longcut.methods.umix import UMIX
from longcut.methods.xrm import XRM
from longcut.spec import validate

__all__ = ["METHODS", "Method", "build", "get"]

METHODS: dict[str, type[Method]] = {
    cls.name: cls
    for cls in (
        ERM,
        Mixup,
        Resample,
        Reweight,
        LfF,
        DFA,
        HEX,
        LISA,
        EnD,
        ReBias,
        SelecMix,
        GroupDRO,
        CVaRDRO,
        Chi2DRO,
        JTT,
        JM1,
        GroupJM1,
        UMIX,
        EIIL,
        XRM,
        DFR,
        AFR,
    )
}


def get(name: str) -> type[Method]:
    """The method of that name.

    Raises:
        UserError: when there is none; the nearest name is suggested.
    """
    if name not in METHODS:
        raise unknown("method", name, METHODS)
    return METHODS[name]


def build(
    method: str | type[Method], info: Info, *, net: str = "mlp", options: Mapping[str, Any] | None = None, seed: int = 0
) -> Method:
    """A fresh method, its networks initialised from ``seed``; the caller's random state is left as it was.

    Args:
        method: a name, or a class of your own.
        info: of the data.
        net: spec of the main network (see :func:`longcut.nets.build`).
        options: the method's hyperparameters by name; text is converted.
        seed: of the initial weights.

    Raises:
        UserError: for an unknown method, net or option, or a value out of range.

    >>> build("lff", Info("toy", (4,), 2), options={"q": "0.5"}).q
    0.5
    """
    cls = get(method) if isinstance(method, str) else method
    checked = validate(f"method '{cls.name}'", cls.__init__, options or {})
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(generator(seed, 4).initial_seed())
        return cls(lambda: nets.build(net, info), info, **checked)
