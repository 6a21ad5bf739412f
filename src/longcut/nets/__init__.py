"""The table of contents: every net by name."""

from __future__ import annotations

from collections.abc import Callable

from longcut.data import Info
from longcut.nets.efficientnet import efficientnet_lite0
from longcut.nets.layers import Shrink
from longcut.nets.net import Net
from longcut.nets.pretrained import hf
from longcut.nets.series import highway, lstnet
from longcut.nets.small import auto, conv, glance, linear, mlp, stack, tiny
from longcut.nets.text import tokens, transformer
from longcut.nets.vision import densenet121, resnet18, resnet50
from longcut.registry import Registry, required
from longcut.spec import options_of, read, validate, write, written

__all__ = ["NETS", "Net", "Shrink", "blank", "build", "canonical"]

NETS: Registry[Callable[..., Net]] = Registry(
    "net",
    "NETS",
    {
        "auto": auto,
        "conv": conv,
        "densenet121": densenet121,
        "glance": glance,
        "hf": hf,
        "linear": linear,
        "mlp": mlp,
        "resnet18": resnet18,
        "resnet50": resnet50,
        "stack": stack,
        "tiny": tiny,
        "tokens": tokens,
        "transformer": transformer,
        "highway": highway,
        "lstnet": lstnet,
        "efficientnet-lite0": efficientnet_lite0,
    },
    made=required(callable, "a function (info, outputs, *, options) that returns a Net"),
)


def build(spec: str, info: Info, outputs: int | None = None) -> Net:
    """The network that ``spec`` names, for data described by ``info``.

    Args:
        spec: a name, or a name with options: ``"mlp:hidden=100-100-16,scale=0.5"``.
        info: gives the shape of the input and, if ``outputs`` is None, the number of classes, or of a regression the
            targets, which the net then predicts in their own units.
        outputs: how many numbers come out.

    Raises:
        UserError: for an unknown name or option, a value that its option does not allow, or a net that does not take
            such data.

    >>> import torch
    >>> build("mlp:hidden=8", Info("toy", (4,), 3))(torch.zeros(2, 4)).shape
    torch.Size([2, 3])
    """
    name, given = read(spec, "net")
    net = NETS.find(name)
    made = net(info, info.n_classes if outputs is None else outputs, **validate(f"net '{name}'", net, given))
    return made.of_targets() if info.task == "regression" and outputs is None else made


def blank(spec: str) -> str:
    """The spec of the same net from random weights: for a trained net's weights to be loaded into.

    A net that starts from weights has an option ``weights``, for which ``none`` means random ones. What is no spec of
    such a net comes back as it is.

    >>> blank("resnet50:weights=resnet50.pth,norm=frozen"), blank("mlp:hidden=8")
    ('resnet50:weights=none,norm=frozen', 'mlp:hidden=8')
    """
    name = spec.partition(":")[0].strip()
    if name not in NETS or "weights" not in (option.name for option in options_of(NETS[name])):
        return spec
    return write(name, {**read(spec, "net")[1], "weights": "none"})


def canonical(spec: str) -> str:
    """The one way to write the spec of a net, whatever weights it starts from: equal for nets that are built alike.

    Raises:
        UserError: as :func:`build`, for the spec itself.

    >>> canonical("mlp: hidden=8, scale=1") == canonical("mlp:hidden=8"), canonical("resnet50:weights=resnet50.pth")
    (True, 'resnet50')
    """
    name, given = read(blank(spec), "net")
    return written(name, NETS.find(name), given)
