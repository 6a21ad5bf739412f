"""Methods by name; each is one class in one file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from types import ModuleType
from typing import Any

import torch

from longcut import nets
from longcut.data import Info, generator
from longcut.errors import UserError
from longcut.methods.base import MakeNet, Method
from longcut.registry import Registry, required
from longcut.spec import validate

__all__ = ["METHODS", "Method", "build"]


def _in(module: ModuleType) -> dict[str, type[Method]]:
    """The methods that a module defines itself."""
    found: dict[str, type[Method]] = {}
    for cls in filter(_is_method, vars(module).values()):
        if cls.__module__ == module.__name__ and found.setdefault(cls.name, cls) is not cls:
            raise UserError(f"two methods in {module.__name__} are called '{cls.name}'; give one another name.")
    return found


def _is_method(thing: Any) -> bool:
    return isinstance(thing, type) and issubclass(thing, Method) and "name" in vars(thing)


def _ours(home: str) -> type[Method]:
    module, name = home.split(":")
    return getattr(import_module(f"longcut.methods.{module}"), name)


HOMES = (
    "erm:ERM",
    "mixing.mixup:Mixup",
    "reweighting.resample:Resample",
    "reweighting.reweight:Reweight",
    "biased.lff:LfF",
    "biased.dfa:DFA",
    "biased.hex:HEX",
    "mixing.lisa:LISA",
    "biased.end:EnD",
    "biased.rebias:ReBias",
    "mixing.selecmix:SelecMix",
    "reweighting.group_dro:GroupDRO",
    "reweighting.cvar_dro:CVaRDRO",
    "reweighting.chi2_dro:Chi2DRO",
    "identified.jtt:JTT",
    "identified.jm1:JM1",
    "mixing.group_jm1:GroupJM1",
    "identified.umix:UMIX",
    "identified.eiil:EIIL",
    "identified.xrm:XRM",
    "last_layer.dfr:DFR",
    "last_layer.afr:AFR",
    "mixing.cmo:CMO",
    "mixing.similar_mix:SimilarMix",
    "mixing.cutmix:CutMix",
    "mixing.saliencymix:SaliencyMix",
    "mixing.transplant:Transplant",
    "mixing.cmixup:CMixup",
    "mixing.recursivemix:RecursiveMix",
    "mixing.manifold:ManifoldMixup",
    "mixing.class_mixup:ClassMixup",
    "mixing.patchmix:PatchMix",
    "mixing.metamix:MetaMix",
    "mixing.puzzlemix:PuzzleMix",
    "mixing.guidedmixup:GuidedMixup",
    "contrastive.simclr:SimCLR",
    "contrastive.dcl:DCL",
    "contrastive.hcl:HCL",
    "contrastive.wcl:WCL",
    "fairness.laftr:LAFTR",
    "fairness.hsic:HSIC",
    "identified.fg_ccdb:FGCCDB",
    "identified.gerne:GERNE",
    "reweighting.logit_adjustment:LogitAdjustment",
    "identified.ula:ULA",
    "auto:Auto",
    "last_layer.balanced:BalancedHead",
    "last_layer.evals:EVaLS",
    "last_layer.neurontune:NeuronTune",
    "identified.ssa:SSA",
)
METHODS: Registry[type[Method]] = Registry(
    "method",
    "METHODS",
    {cls.name: cls for cls in map(_ours, HOMES)},
    _in,
    required(_is_method, "a class of longcut.Method with a name"),
)


def build(
    method: str | type[Method],
    info: Info,
    *,
    net: str = "mlp",
    options: Mapping[str, Any] | None = None,
    seed: int = 0,
    start: Callable[[nets.Net], None] | None = None,
) -> Method:
    """A fresh method, its networks initialised from ``seed``; the caller's random state is left as it was.

    Args:
        method: a name, or a class of your own.
        info: of the data.
        net: spec of the main network (see :func:`longcut.nets.build`).
        options: the method's hyperparameters by name; text is converted.
        seed: of the initial weights.
        start: is handed the main network when it is made, to change its weights; no other network of the method.

    Raises:
        UserError: for an unknown method, net or option, or a value out of range.

    >>> build("lff", Info("toy", (4,), 2), options={"q": "0.5"}).q
    0.5
    """
    cls = METHODS.find(method) if isinstance(method, str) else method
    checked = validate(f"method '{cls.name}'", cls.__init__, options or {})
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(generator(seed, 4).initial_seed())
        return cls(_maker(net, info, start), info, **checked)


def _maker(net: str, info: Info, start: Callable[[nets.Net], None] | None) -> MakeNet:
    """Makes networks; the first, which is the main one, begins as ``start`` says."""
    first = [] if start is None else [start]

    def make_net() -> nets.Net:
        made = nets.build(net, info)
        if first:
            first.pop()(made)
        return made

    return make_net
