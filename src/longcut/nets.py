"""Networks by name. A ``Net`` is ``head(features(x))`` and its features are an ordered list of stages.

Mixing at a hidden level is then a loop over ``net.stages``, and a helper that needs an embedding takes
``net.features``; nobody registers a hook.
"""

from __future__ import annotations

import inspect
import math
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from longcut.data import Info
from longcut.errors import UserError, unknown

__all__ = [
    "NETS",
    "Net",
    "auto",
    "blank",
    "build",
    "conv",
    "densenet121",
    "hf",
    "mlp",
    "resnet18",
    "resnet50",
    "stack",
    "tiny",
    "tokens",
    "transformer",
]


class Net(nn.Module):
    """``head(features(x))``.

    Args:
        stages: applied one after the other; the last one's output, ``(n, width)``, are the features.
        head: maps features to outputs; linear.
        levels: numbers of stages behind which samples may be mixed, rising: 0 is the input, all stages are the
            features, and the second one is what the papers call early. Default: the input (behind it, if the first
            stage is an embedding), behind each stage that has parameters, and the features.

    >>> import torch
    >>> net = Net([nn.Flatten(), nn.Linear(12, 5)], nn.Linear(5, 2))
    >>> net(torch.zeros(7, 3, 2, 2)).shape, net.features(torch.zeros(7, 3, 2, 2)).shape
    (torch.Size([7, 2]), torch.Size([7, 5]))
    """

    def __init__(self, stages: Iterable[nn.Module], head: nn.Module, *, levels: Iterable[int] | None = None) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.head = head
        self.levels = self._levels() if levels is None else tuple(levels)

    def _levels(self) -> tuple[int, ...]:
        trained = [i for i, stage in enumerate(self.stages, 1) if any(True for _ in stage.parameters())]
        first = 1 if self.stages and isinstance(self.stages[0], nn.Embedding) else 0
        return tuple(sorted({first, *trained, len(self.stages)}))

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


def _probability(name: str, dropout: float) -> None:
    if not 0 <= dropout < 1:
        raise UserError(f"net '{name}': dropout is {dropout}; give a probability from 0 to below 1.")


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
    _probability("mlp", dropout)
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
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
STATISTICS = {"unit": None, "cifar": CIFAR, "imagenet": IMAGENET}


def _standardized(info: Info, name: str, inputs: str) -> list[nn.Module]:
    """The first stage of a net that wants its inputs standardised; none for ``inputs="unit"``."""
    if inputs not in STATISTICS:
        raise unknown("inputs", inputs, STATISTICS)
    found = STATISTICS[inputs]
    if found is None:
        return []
    if info.shape[0] != 3:
        raise UserError(
            f"net '{name}': inputs={inputs} needs three channels, but {info.name} has {info.shape[0]}; use inputs=unit."
        )
    return [Standardize(*found)]


def _fan_out(net: Net) -> Net:
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return net


def resnet18(info: Info, outputs: int, *, stem: str = "cifar", width: int = 64, inputs: str = "unit") -> Net:
    """ResNet-18 (He et al., CVPR 2016), from random weights (fan-out Kaiming).

    Args:
        info: images.
        outputs: how many numbers come out.
        stem: ``"cifar"``, 3x3 without stride or pooling (SelecMix's auxiliary net), or ``"imagenet"``, 7x7 with
            stride 2 and max-pooling (its main net, on 32x32 images too, where the last map is a single pixel).
        width: channels behind the stem; 64 is the published net, and 16 has a sixteenth of its parameters.
        inputs: ``"unit"``, as they come, in [0, 1]; ``"cifar"`` or ``"imagenet"``, standardised by its mean and
            deviation.
    """
    c = _image(info, "resnet18")
    before = _standardized(info, "resnet18", inputs)
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
    stages = [*before, first, *stages, GlobalMean()]
    levels = [0, *range(len(stages) - 4, len(stages) + 1)]  # not behind the stem
    return _fan_out(Net(stages, nn.Linear(8 * width, outputs), levels=levels))


# --- pretrained images ------------------------------------------------------------------------------------------------


class FrozenBatchNorm(nn.BatchNorm2d):
    """Batch normalisation by the statistics it came with, in training too; its factors and offsets are trained."""

    def train(self, mode: bool = True) -> FrozenBatchNorm:
        """Stays in evaluation mode."""
        return super().train(False)


NORMS: dict[str, type[nn.BatchNorm2d]] = {"batch": nn.BatchNorm2d, "frozen": FrozenBatchNorm}


class _Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 with torchvision's names; the 3x3 has the stride."""

    def __init__(self, width_in: int, width: int, stride: int, norm: type[nn.BatchNorm2d]) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(width_in, width, 1, bias=False), norm(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, stride, 1, bias=False), norm(width)
        self.conv3, self.bn3 = nn.Conv2d(width, 4 * width, 1, bias=False), norm(4 * width)
        same = stride == 1 and width_in == 4 * width
        project = nn.Conv2d(width_in, 4 * width, 1, stride, bias=False)
        self.downsample = nn.Identity() if same else nn.Sequential(project, norm(4 * width))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        return F.relu(self.bn3(self.conv3(y)) + self.downsample(x))


def resnet50(
    info: Info,
    outputs: int,
    *,
    weights: str = "none",
    inputs: str = "imagenet",
    norm: str = "batch",
    width: int = 64,
) -> Net:
    """ResNet-50 (He et al., CVPR 2016) in torchvision's layout, from a file of pretrained weights or from random ones.

    Args:
        info: images.
        outputs: how many numbers come out.
        weights: ``"none"``, or a ``.safetensors`` or ``.pth`` file with torchvision's names, such as
            ``resnet50-0676ba61.pth``, its ``IMAGENET1K_V1``. The last layer in it is not taken.
        inputs: ``"imagenet"`` or ``"cifar"``, standardised by its mean and deviation; ``"unit"``, as they come.
        norm: ``"batch"``, or ``"frozen"``: the statistics of batch normalisation stay as they are in the file, as in
            SubpopBench.
        width: channels behind the stem; 64 is the published net.
    """
    c = _image(info, "resnet50")
    before = _standardized(info, "resnet50", inputs)
    if norm not in NORMS:
        raise unknown("norm", norm, NORMS)
    made = NORMS[norm]
    stem = nn.Sequential(
        OrderedDict(
            channels=ChannelsLast(),
            conv1=nn.Conv2d(c, width, 7, 2, 3, bias=False),
            bn1=made(width),
            relu=nn.ReLU(),
            maxpool=nn.MaxPool2d(3, 2, 1),
        )
    )
    stages: list[nn.Module] = [*before, stem]
    width_in = width
    for i, depth in enumerate((3, 4, 6, 3)):
        inner = width * 2**i
        strides = [1 if i == 0 else 2, *[1] * (depth - 1)]
        stages.append(
            nn.Sequential(*(_Bottleneck(4 * inner if j else width_in, inner, s, made) for j, s in enumerate(strides)))
        )
        width_in = 4 * inner
    first = len(before)
    net = Net([*stages, GlobalMean()], nn.Linear(width_in, outputs), levels=[0, *range(first + 2, first + 7)])
    _fan_out(net)
    if weights != "none":
        _load(net, weights, first)
    return net


class _DenseLayer(nn.Module):
    """Appends 32 channels to those it sees."""

    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(width), nn.Conv2d(width, 4 * growth, 1, bias=False)
        self.norm2, self.conv2 = nn.BatchNorm2d(4 * growth), nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(F.relu(self.norm1(x)))
        return torch.cat([x, self.conv2(F.relu(self.norm2(y)))], 1)


def densenet121(info: Info, outputs: int, *, inputs: str = "imagenet", growth: int = 32) -> Net:
    """DenseNet-121 (Huang et al., CVPR 2017) from random weights, WILDS' net for Camelyon17.

    Args:
        info: images.
        outputs: how many numbers come out.
        inputs: ``"imagenet"`` or ``"cifar"``, standardised by its mean and deviation; ``"unit"``, as they come.
        growth: channels that each layer adds; 32 is the published net.
    """
    c = _image(info, "densenet121")
    before = _standardized(info, "densenet121", inputs)
    width = 2 * growth
    stages: list[nn.Module] = [
        *before,
        nn.Sequential(ChannelsLast(), _block(c, width, 7, 2), nn.MaxPool2d(3, 2, 1)),
    ]
    for depth in (6, 12, 24, 16):
        layers: list[nn.Module] = []
        if len(stages) > len(before) + 1:  # between two blocks, half of the channels and of the side
            half = nn.Conv2d(width, width // 2, 1, bias=False)
            layers += [nn.BatchNorm2d(width), nn.ReLU(), half, nn.AvgPool2d(2, ceil_mode=True)]
            width //= 2
        for _ in range(depth):
            layers.append(_DenseLayer(width, growth))
            width += growth
        stages.append(nn.Sequential(*layers))
    stages.append(nn.Sequential(nn.BatchNorm2d(width), nn.ReLU(), GlobalMean()))
    first = len(before)
    net = Net(stages, nn.Linear(width, outputs), levels=[0, *range(first + 2, first + 7)])
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
    return net


def _load(net: Net, weights: str, first: int) -> None:
    """Fill a ResNet-50 whose stem is stage ``first`` from a file with torchvision's names."""
    advice = "give torchvision's ResNet50_Weights.IMAGENET1K_V1, resnet50-0676ba61.pth of download.pytorch.org/models"
    path = Path(weights).expanduser()
    if not path.is_file():
        raise UserError(f"net 'resnet50': there is no file {weights}; {advice}.")
    places = {f"layer{i}": f"{first + i}" for i in range(1, 5)}
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
        renamed = {}
        for name, value in state.items():
            part, _, rest = name.partition(".")
            if part != "fc":
                renamed[f"{places[part]}.{rest}" if part in places else f"{first}.{name}"] = value
        net.stages.load_state_dict(renamed)
    except Exception as error:  # of two readers and of what does not fit: the list is not ours to keep
        why = " ".join(str(error).split())[:200]
        raise UserError(f"net 'resnet50': the weights in {weights} do not fit ({why}); {advice}.") from error


# --- text -------------------------------------------------------------------------------------------------------------


def _attended(x: Tensor) -> Tensor:
    """Where token ids are no padding; the first place always, so that a row of padding has something to look at."""
    return x.ne(0) | (torch.arange(x.shape[1], device=x.device) == 0)


class _Transformer(nn.Module):
    """Token ids to features, all in one."""

    def __init__(self, info: Info, width: int, layers: int, heads: int, dropout: float, pool: str) -> None:
        super().__init__()
        self.token = nn.Embedding(info.vocabulary, width, padding_idx=0)
        self.position = nn.Embedding(info.shape[0], width)
        for embedding in (self.token, self.position):
            nn.init.normal_(embedding.weight, std=0.02)
        self.dropout = nn.Dropout(dropout)
        layer = nn.TransformerEncoderLayer(width, heads, 4 * width, dropout, F.gelu, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, layers, nn.LayerNorm(width), enable_nested_tensor=False)
        self.pool = pool

    def forward(self, x: Tensor) -> Tensor:
        """``(n, length)`` to ``(n, width)``."""
        real = _attended(x)
        y = self.dropout(self.token(x) + self.position.weight[: x.shape[1]])
        y = self.encoder(y, src_key_padding_mask=~real)
        if self.pool == "first":
            return y[:, 0]
        return (y * real[:, :, None]).sum(1) / real.sum(1, keepdim=True)


def transformer(
    info: Info,
    outputs: int,
    *,
    width: int = 128,
    layers: int = 2,
    heads: int = 4,
    dropout: float = 0.1,
    pool: str = "mean",
) -> Net:
    """A small transformer encoder on token ids (id 0 is padding and is not looked at), from random weights.

    It has learned positions, normalises before attention, and is one stage: text is mixed at the pooled features.

    Args:
        info: token ids.
        outputs: how many numbers come out.
        width: of the embeddings and the features; the hidden layers are four times as wide.
        layers: of attention.
        heads: of each layer; they divide the width.
        dropout: probability that a unit is dropped in training, in [0, 1).
        pool: features are the ``"mean"`` over the tokens, or those of the ``"first"``.
    """
    if info.kind != "tokens":
        raise UserError(
            f"net 'transformer' needs token ids, but {info.name} is of kind '{info.kind}'; use net 'mlp' or 'conv'."
        )
    if width % heads:
        raise UserError(f"net 'transformer': {heads} heads do not divide width={width}; give a multiple, such as 128.")
    if pool not in ("mean", "first"):
        raise unknown("pool", pool, ["mean", "first"])
    _probability("transformer", dropout)
    stage = _Transformer(info, width, layers, heads, dropout, pool)
    return Net([stage], nn.Linear(width, outputs), levels=[1])


class _Pretrained(nn.Module):
    """Token ids to what a Hugging Face encoder says about the whole of them."""

    def __init__(self, model: nn.Module, separator: int, dropout: float) -> None:
        super().__init__()
        self.model, self.separator, self.dropout = model, separator, nn.Dropout(dropout)
        segments = getattr(model.config, "type_vocab_size", 0)
        self.pairs = segments > 1 and "token_type_ids" in inspect.signature(model.forward).parameters

    def forward(self, x: Tensor) -> Tensor:
        """``(n, length)`` to ``(n, width)``: the pooler's output where there is one, else that of the first token."""
        inputs = {"input_ids": x, "attention_mask": _attended(x).long()}
        if self.pairs:
            ends = x.eq(self.separator).long()
            second = ends.cumsum(1) > ends  # behind the first separator
            inputs["token_type_ids"] = (second & x.ne(0)).long()
        said = self.model(**inputs)
        pooled = getattr(said, "pooler_output", None)
        return self.dropout(said.last_hidden_state[:, 0] if pooled is None else pooled)


def hf(
    info: Info,
    outputs: int,
    *,
    name: str = "bert-base-uncased",
    weights: str = "pretrained",
    separator: int = 102,
    dropout: float = 0.1,
) -> Net:
    """A pretrained encoder of Hugging Face (extra ``hub``) on the token ids of its own tokenizer.

    Like BERT's classifier it puts dropout and a linear head on the pooled first token; DistilBERT has no pooler, so
    there it is the first token itself. Padding (id 0) is not looked at. What stands behind the first separator is the
    second segment. It is one stage: text is mixed at the pooled features. Weights are read from safetensors only, and
    no code that comes with a model is run.

    Args:
        info: token ids, as of :func:`longcut.sources.text.tokenize`.
        outputs: how many numbers come out.
        name: of the model on the hub, or a folder with ``config.json`` and ``model.safetensors``.
        weights: ``"pretrained"``, or ``"none"`` for random ones of the same layout.
        separator: id of the token that ends a segment; 102 is ``[SEP]`` of BERT.
        dropout: probability that a feature is dropped in training, in [0, 1).
    """
    if info.kind != "tokens":
        raise UserError(f"net 'hf' needs token ids, but {info.name} is of kind '{info.kind}'; use net 'mlp' or 'conv'.")
    if weights not in ("pretrained", "none"):
        raise unknown("weights", weights, ["pretrained", "none"])
    _probability("hf", dropout)
    model = _hugging_face(name, weights == "pretrained")
    config = model.config
    padding = getattr(config, "pad_token_id", 0)
    if padding not in (0, None):
        raise UserError(f"net 'hf': {name} pads with id {padding}, but here 0 is padding; take one like BERT.")
    known, longest = config.vocab_size, getattr(config, "max_position_embeddings", info.shape[0])
    if info.vocabulary > known:
        raise UserError(
            f"net 'hf': {info.name} has {info.vocabulary} token ids, but {name} knows {known}; "
            "make them with its own tokenizer."
        )
    if info.shape[0] > longest:
        raise UserError(f"net 'hf': texts of {info.name} have {info.shape[0]} tokens, but {name} takes {longest}; cut.")
    return Net([_Pretrained(model, separator, dropout)], nn.Linear(config.hidden_size, outputs), levels=[1])


def _hugging_face(name: str, pretrained: bool) -> Any:
    """The encoder of that name: from the cache or a folder if it is there, else from the hub."""
    try:
        from transformers import AutoConfig, AutoModel
    except ImportError as error:
        raise UserError("net 'hf' needs a further package; pip install \"longcut[hub]\".") from error

    def load(**where: bool) -> Any:
        if not pretrained:
            return AutoModel.from_config(AutoConfig.from_pretrained(name, trust_remote_code=False, **where))
        model, told = AutoModel.from_pretrained(
            name,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=torch.float32,  # files of half the precision are made for inference
            output_loading_info=True,
            **where,
        )
        missing = sorted(key for key in told["missing_keys"] if not key.startswith("pooler."))
        if missing:
            raise ValueError(f"its file lacks {missing[0]}")
        return model

    with _quiet():
        try:
            try:
                return load(local_files_only=True)
            except OSError:  # not in the cache, or not whole
                if Path(name).is_dir():
                    raise
                return load()
        except Exception as error:  # of the hub, the network or a reader: the list is not ours to keep
            why = " ".join(str(error).split())[:200] or type(error).__name__
            raise UserError(
                f"net 'hf': {name} cannot be loaded ({why}); give a model's name where the hub can be reached, "
                "or a folder with config.json and model.safetensors."
            ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """For the time of a ``with``: transformers shows no bar and no table of weights that are not needed."""
    from transformers.utils import logging

    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()


NETS: dict[str, Callable[..., Net]] = {
    "auto": auto,
    "conv": conv,
    "densenet121": densenet121,
    "hf": hf,
    "mlp": mlp,
    "resnet18": resnet18,
    "resnet50": resnet50,
    "stack": stack,
    "tiny": tiny,
    "tokens": tokens,
    "transformer": transformer,
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


def blank(spec: str) -> str:
    """The spec of the same net from random weights: for a trained net's weights to be loaded into.

    >>> blank("resnet50:weights=resnet50.pth,norm=frozen"), blank("mlp:hidden=8")
    ('resnet50:norm=frozen,weights=none', 'mlp:hidden=8')
    """
    name, _, given = spec.partition(":")
    if name not in NETS or "weights" not in inspect.signature(NETS[name]).parameters:
        return spec
    kept = [item for item in given.split(",") if item and not item.startswith("weights=")]
    return f"{name}:{','.join([*kept, 'weights=none'])}"
