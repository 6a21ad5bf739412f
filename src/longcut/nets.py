"""Networks by name. A ``Net`` is ``head(features(x))`` and its features are an ordered list of stages.

Mixing at a hidden level is then a loop over ``net.stages``, and a helper that needs an embedding takes
``net.features``; nobody registers a hook.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from longcut.data import Info
from longcut.errors import UserError, unknown

__all__ = ["NETS", "Net", "auto", "build", "conv", "mlp", "resnet18", "stack", "tiny", "tokens"]


class Net(nn.Module):
    """``head(features(x))``.

    Args:
        stages: applied one after the other; the last one's output, ``(n, width)``, are the features.
        head: maps features to outputs; linear.

    >>> import torch
    >>> net = Net([nn.Flatten(), nn.Linear(12, 5)], nn.Linear(5, 2))
    >>> net(torch.zeros(7, 3, 2, 2)).shape, net.features(torch.zeros(7, 3, 2, 2)).shape
    (torch.Size([7, 2]), torch.Size([7, 5]))
    """

    def __init__(self, stages: Iterable[nn.Module], head: nn.Module) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.head = head

    @property
    def width(self) -> int:
        """Number of features."""
        return cast(nn.Linear, self.head).in_features

    def features(self, x: Tensor) -> Tensor:
        """Inputs ``(n, ...)`` to features ``(n, width)``."""
        for stage in self.stages:
            x = stage(x)
        return x

    def forward(self, x: Tensor) -> Tensor:
        """Inputs ``(n, ...)`` to outputs ``(n, outputs)``."""
        return self.head(self.features(x))


class Scale(nn.Module):
    """Multiplies its input by a constant, and flattens it."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        """``(n, ...)`` to ``(n, d)``."""
        return x.flatten(1) if self.factor == 1 else x.flatten(1) * self.factor


def mlp(info: Info, outputs: int, *, hidden: str = "100-100-16", scale: float = 1.0, dropout: float = 0.0) -> Net:
    """Fully connected layers with ReLU after each hidden one; the default widths are those of DFA and SelecMix.

    Args:
        info: what goes in.
        outputs: how many numbers come out.
        hidden: widths joined by ``-``.
        scale: constant that multiplies the input. The released Colored-MNIST code divides by 255 a second
            time inside its network, which is ``scale=0.00392156862745098``.
        dropout: probability that a hidden unit is dropped in training, in [0, 1).
    """
    if info.kind == "tokens":
        raise UserError(f"net 'mlp' needs numbers, but {info.name} holds token ids; use net 'tokens'.")
    if not all(w.isdecimal() and int(w) for w in hidden.split("-")):
        raise UserError(f"net 'mlp': hidden={hidden} is not widths joined by '-', such as 100-100-16.")
    if not 0 <= dropout < 1:
        raise UserError(f"net 'mlp': dropout is {dropout}; give a probability from 0 to below 1.")
    widths = [math.prod(info.shape), *(int(w) for w in hidden.split("-"))]
    stages: list[nn.Module] = [Scale(scale)]
    for width_in, width in pairwise(widths):
        stages.append(nn.Sequential(nn.Linear(width_in, width), nn.ReLU(), *[nn.Dropout(dropout)] * (dropout > 0)))
    return Net(stages, nn.Linear(widths[-1], outputs))


def _block(width_in: int, width: int, kernel: int, stride: int) -> nn.Sequential:
    conv = nn.Conv2d(width_in, width, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(width), nn.ReLU())


class GlobalMean(nn.Module):
    """Mean over the image axes."""

    def forward(self, x: Tensor) -> Tensor:
        """``(n, C, H, W)`` to ``(n, C)``."""
        return x.mean((2, 3))


def _image(info: Info, name: str) -> int:
    if len(info.shape) != 3:
        other = "tokens" if info.kind == "tokens" else "mlp"
        raise UserError(
            f"net '{name}' needs images (C, H, W), but {info.name} has shape {info.shape}; use net '{other}'."
        )
    return info.shape[0]


def conv(info: Info, outputs: int, *, width: int = 32, side: int = 1024) -> Net:
    """Four convolutions (two of stride 2) with batch normalisation, then the mean over the image.

    Args:
        info: images.
        outputs: how many numbers come out.
        width: channels of the first convolution.
        side: larger images are averaged down until their short side is at most this.
    """
    c = _image(info, "conv")
    stages = [
        *([Shrink(side)] if min(info.shape[1:]) > side else []),
        _block(c, width, 3, 1),
        _block(width, 2 * width, 3, 2),
        _block(2 * width, 2 * width, 3, 1),
    ]
    return Net([*stages, _block(2 * width, 4 * width, 3, 2), GlobalMean()], nn.Linear(4 * width, outputs))


def stack(info: Info, outputs: int, *, kernel: int = 7, width: int = 16) -> Net:
    """Four convolutions without stride, each twice as wide, and the mean over the image: ReBias's and EnD's net.

    Every convolution sees ``kernel`` x ``kernel`` pixels and the whole sees ``4 * kernel - 3``. With ``kernel=1`` that
    is a single pixel: colour without shape, ReBias's biased net (Bahng et al., ICML 2020).

    Args:
        info: images.
        outputs: how many numbers come out.
        kernel: side of each convolution in pixels, odd.
        width: channels of the first convolution.
    """
    c = _image(info, "stack")
    if kernel % 2 == 0:
        raise UserError(f"net 'stack': kernel={kernel} is even; give an odd number, such as 7.")
    widths = [c, width, 2 * width, 4 * width, 8 * width]
    return Net([*(_block(a, b, kernel, 1) for a, b in pairwise(widths)), GlobalMean()], nn.Linear(widths[-1], outputs))


class Shrink(nn.Module):
    """Averages non-overlapping squares until the image's short side is at most ``side``."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side

    def forward(self, x: Tensor) -> Tensor:
        """``(n, C, H, W)`` to ``(n, C, H / k, W / k)``."""
        k = -(-min(x.shape[-2:]) // self.side)
        return F.avg_pool2d(x, k) if k > 1 else x


def tiny(info: Info, outputs: int, *, width: int = 16, side: int = 8) -> Net:
    """A look at the easy cue for a few per cent of a network's cost: two strided convolutions on a shrunken image.

    Made for bias models, which should see what is easy and need not see more. Tables get one hidden layer and token
    ids a mean of embeddings instead.
    """
    if info.kind == "tokens":
        return tokens(info, outputs, width=2 * width)
    if len(info.shape) != 3:
        return mlp(info, outputs, hidden=str(4 * width))
    stages = [Shrink(side), _block(info.shape[0], width, 5, 2), _block(width, 2 * width, 3, 2), GlobalMean()]
    hidden = nn.Sequential(nn.Linear(2 * width, 8 * width), nn.ReLU())
    return Net([*stages, hidden], nn.Linear(8 * width, outputs))


def tokens(info: Info, outputs: int, *, width: int = 64) -> Net:
    """The mean of token embeddings (id 0 is padding and counts for nothing), then one hidden layer.

    The first stage is the embedding, so that text can be mixed right behind it.
    """
    if info.kind != "tokens":
        raise UserError(
            f"net 'tokens' needs token ids, but {info.name} is of kind '{info.kind}'; use net 'mlp' or 'conv'."
        )
    hidden = nn.Sequential(nn.Linear(width, width), nn.ReLU())
    return Net([nn.Embedding(info.vocabulary, width, padding_idx=0), MeanToken(), hidden], nn.Linear(width, outputs))


class MeanToken(nn.Module):
    """Mean over the tokens whose embedding is not zero (padding is)."""

    def forward(self, x: Tensor) -> Tensor:
        """``(n, length, width)`` to ``(n, width)``."""
        real = x.detach().ne(0).any(2, keepdim=True)
        return x.sum(1) / real.sum(1).clamp_min(1)


def auto(info: Info, outputs: int) -> Net:
    """What suits the data and a laptop: ``conv`` on images of 40 pixels, ``mlp`` on tables, ``tokens`` on text."""
    if info.kind == "tokens":
        return tokens(info, outputs)
    return conv(info, outputs, side=40) if len(info.shape) == 3 else mlp(info, outputs, hidden="100-100")


class _Residual(nn.Module):
    def __init__(self, width_in: int, width: int, stride: int) -> None:
        super().__init__()
        second = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.body = nn.Sequential(_block(width_in, width, 3, stride), second, nn.BatchNorm2d(width))
        same = stride == 1 and width_in == width
        project = nn.Conv2d(width_in, width, 1, stride, bias=False)
        self.skip = nn.Identity() if same else nn.Sequential(project, nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.body(x) + self.skip(x))


class Standardize(nn.Module):
    """Subtracts a mean from each channel and divides it by a deviation."""

    def __init__(self, mean: tuple[float, ...], deviation: tuple[float, ...]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(deviation).view(-1, 1, 1), persistent=False)

    mean: Tensor
    deviation: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """``(n, C, H, W)``, in and out."""
        return (x - self.mean) / self.deviation


class ChannelsLast(nn.Module):
    """The same numbers with the channels side by side in memory: convolutions then take about a quarter less time."""

    def forward(self, x: Tensor) -> Tensor:
        """``(n, C, H, W)``, in and out."""
        return x.contiguous(memory_format=torch.channels_last)


CIFAR = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)  # DFA and SelecMix take these for faces, too


def resnet18(info: Info, outputs: int, *, stem: str = "cifar", width: int = 64, inputs: str = "unit") -> Net:
    """ResNet-18 (He et al., CVPR 2016), from random weights (fan-out Kaiming).

    Args:
        info: images.
        outputs: how many numbers come out.
        stem: ``"cifar"``, 3x3 without stride or pooling (SelecMix's auxiliary net), or ``"imagenet"``, 7x7 with
            stride 2 and max-pooling (its main net, on 32x32 images too, where the last map is a single pixel).
        width: channels behind the stem; 64 is the published net, and 16 has a sixteenth of its parameters.
        inputs: ``"unit"``, as they come, in [0, 1]; ``"cifar"``, standardised by CIFAR-10's mean and deviation.
    """
    c = _image(info, "resnet18")
    if inputs not in ("unit", "cifar"):
        raise unknown("inputs", inputs, ["unit", "cifar"])
    if inputs == "cifar" and c != 3:
        raise UserError(f"net 'resnet18': inputs=cifar needs three channels, but {info.name} has {c}; use inputs=unit.")
    if stem == "cifar":
        first = nn.Sequential(ChannelsLast(), _block(c, width, 3, 1))
    elif stem == "imagenet":
        first = nn.Sequential(ChannelsLast(), _block(c, width, 7, 2), nn.MaxPool2d(3, 2, 1))
    else:
        raise unknown("stem", stem, ["cifar", "imagenet"])
    widths = [width, width, 2 * width, 4 * width, 8 * width]
    stages = [
        nn.Sequential(_Residual(a, b, 1 if i == 0 else 2), _Residual(b, b, 1))
        for i, (a, b) in enumerate(pairwise(widths))
    ]
    before = [Standardize(*CIFAR)] if inputs == "cifar" else []
    net = Net([*before, first, *stages, GlobalMean()], nn.Linear(8 * width, outputs))
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return net


NETS: dict[str, Callable[..., Net]] = {
    "auto": auto,
    "conv": conv,
    "mlp": mlp,
    "resnet18": resnet18,
    "stack": stack,
    "tiny": tiny,
    "tokens": tokens,
}


def build(spec: str, info: Info, outputs: int | None = None) -> Net:
    """The network that ``spec`` names, for data described by ``info``.

    Args:
        spec: a name, or a name with options: ``"mlp:hidden=100-100-16,scale=0.5"``.
        info: gives the shape of the input and, if ``outputs`` is None, the number of classes.
        outputs: how many numbers come out.

    Raises:
        UserError: for an unknown name or option, a value that its option does not allow, or a net that does not take
            such data.

    >>> import torch
    >>> build("mlp:hidden=8", Info("toy", (4,), 3))(torch.zeros(2, 4)).shape
    torch.Size([2, 3])
    """
    name, _, given = spec.partition(":")
    if name not in NETS:
        raise unknown("net", name, NETS)
    known = {p.name: p.default for p in inspect.signature(NETS[name]).parameters.values() if p.kind is p.KEYWORD_ONLY}
    options = {}
    for item in filter(None, given.split(",")):
        key, _, value = item.partition("=")
        if key not in known:
            raise unknown(f"option of net '{name}'", key, known)
        try:
            options[key] = type(known[key])(value)
            if isinstance(known[key], int) and options[key] < 1:
                raise ValueError
        except ValueError:
            kind = "whole number above 0," if isinstance(known[key], int) else "number"
            raise UserError(f"net '{name}': {key}={value} is not a {kind} such as {known[key]}.") from None
    return NETS[name](info, info.n_classes if outputs is None else outputs, **options)
