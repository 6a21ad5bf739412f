"""Published nets for images, from random weights or from a file of pretrained ones."""

from __future__ import annotations

from collections import OrderedDict
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from longcut.data import Info
from longcut.errors import UserError
from longcut.nets.layers import ChannelsLast, GlobalMean, Standardize, block
from longcut.nets.net import Net, need_images

__all__ = ["FrozenBatchNorm", "densenet121", "resnet18", "resnet50"]

Inputs = Literal["unit", "cifar", "imagenet"]
InputsOption = Annotated[
    Inputs,
    Field(description="unit: as they come, in [0, 1]; the others: standardised by the mean and deviation of that data"),
]
StemWidth = Annotated[
    int, Field(ge=1, description="channels behind the stem; 64 is the published net, 16 has a sixteenth of its weights")
]

CIFAR = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)  # DFA and SelecMix take these for faces, too
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
STATISTICS = {"unit": None, "cifar": CIFAR, "imagenet": IMAGENET}


def _standardized(info: Info, name: str, inputs: Inputs) -> list[nn.Module]:
    """The first stage of a net that wants its inputs standardised; none for ``inputs="unit"``."""
    found = STATISTICS[inputs]
    if found is None:
        return []
    if info.shape[0] != 3:
        raise UserError(
            f"net '{name}': inputs={inputs} needs three channels, but {info.name} has {info.shape[0]}; use inputs=unit."
        )
    return [Standardize(*found)]


def _kaiming(net: Net, mode: Literal["fan_in", "fan_out"]) -> Net:
    """The net with its convolutions drawn anew by the rule of He et al., ICCV 2015."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode=mode, nonlinearity="relu")
    return net


class _Residual(nn.Module):
    def __init__(self, width_in: int, width: int, stride: int) -> None:
        super().__init__()
        second = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.body = nn.Sequential(block(width_in, width, 3, stride), second, nn.BatchNorm2d(width))
        same = stride == 1 and width_in == width
        project = nn.Conv2d(width_in, width, 1, stride, bias=False)
        self.skip = nn.Identity() if same else nn.Sequential(project, nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.body(x) + self.skip(x))


def resnet18(
    info: Info,
    outputs: int,
    *,
    stem: Annotated[
        Literal["cifar", "imagenet"],
        Field(
            description="cifar: 3x3 without stride or pooling, SelecMix's auxiliary net; imagenet: 7x7 with stride 2 "
            "and max-pooling, its main net, on 32x32 images too, where the last map is a single pixel"
        ),
    ] = "cifar",
    width: StemWidth = 64,
    inputs: InputsOption = "unit",
) -> Net:
    """ResNet-18 (He et al., CVPR 2016), from random weights (fan-out Kaiming)."""
    c = need_images(info, "resnet18")
    before = _standardized(info, "resnet18", inputs)
    if stem == "cifar":
        first = nn.Sequential(ChannelsLast(), block(c, width, 3, 1))
    else:
        first = nn.Sequential(ChannelsLast(), block(c, width, 7, 2), nn.MaxPool2d(3, 2, 1))
    widths = [width, width, 2 * width, 4 * width, 8 * width]
    stages = [
        nn.Sequential(_Residual(a, b, 1 if i == 0 else 2), _Residual(b, b, 1))
        for i, (a, b) in enumerate(pairwise(widths))
    ]
    stages = [*before, first, *stages, GlobalMean()]
    levels = [0, *range(len(stages) - 4, len(stages) + 1)]  # not behind the stem
    return _kaiming(Net(stages, nn.Linear(8 * width, outputs), levels=levels), "fan_out")


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
    weights: Annotated[
        str,
        Field(
            description="none: random ones; or a .safetensors or .pth file with torchvision's names, such as "
            "resnet50-0676ba61.pth, its IMAGENET1K_V1; the last layer in it is not taken"
        ),
    ] = "none",
    inputs: InputsOption = "imagenet",
    norm: Annotated[
        Literal["batch", "frozen"],
        Field(description="frozen: the statistics of batch normalisation stay as in the file, as in SubpopBench"),
    ] = "batch",
    width: StemWidth = 64,
    stem: Annotated[
        Literal["imagenet", "cifar"],
        Field(description="imagenet: 7x7 with stride 2 and max-pooling; cifar: 3x3 without, for images of 32x32"),
    ] = "imagenet",
) -> Net:
    """ResNet-50 (He et al., CVPR 2016) in torchvision's layout, from random weights or a file of pretrained ones."""
    c = need_images(info, "resnet50")
    before = _standardized(info, "resnet50", inputs)
    made = NORMS[norm]
    small = stem == "cifar"
    begin: OrderedDict[str, nn.Module] = OrderedDict(
        channels=ChannelsLast(),
        conv1=nn.Conv2d(c, width, 3, 1, 1, bias=False) if small else nn.Conv2d(c, width, 7, 2, 3, bias=False),
        bn1=made(width),
        relu=nn.ReLU(),
        maxpool=nn.Identity() if small else nn.MaxPool2d(3, 2, 1),
    )
    stages: list[nn.Module] = [*before, nn.Sequential(begin)]
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
    _kaiming(net, "fan_out")
    if weights != "none":
        _load(net, weights, first)
    return net


class _DenseLayer(nn.Module):
    """Appends ``growth`` channels to those it sees."""

    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(width), nn.Conv2d(width, 4 * growth, 1, bias=False)
        self.norm2, self.conv2 = nn.BatchNorm2d(4 * growth), nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(F.relu(self.norm1(x)))
        return torch.cat([x, self.conv2(F.relu(self.norm2(y)))], 1)


def densenet121(
    info: Info,
    outputs: int,
    *,
    inputs: InputsOption = "imagenet",
    growth: Annotated[int, Field(ge=1, description="channels that each layer adds; 32 is the published net")] = 32,
) -> Net:
    """DenseNet-121 (Huang et al., CVPR 2017) from random weights, WILDS' net for Camelyon17."""
    c = need_images(info, "densenet121")
    before = _standardized(info, "densenet121", inputs)
    width = 2 * growth
    stages: list[nn.Module] = [
        *before,
        nn.Sequential(ChannelsLast(), block(c, width, 7, 2), nn.MaxPool2d(3, 2, 1)),
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
    return _kaiming(net, "fan_in")


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
