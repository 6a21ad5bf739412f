"""Disentangled feature augmentation: shortcut and rest in two encoders, and then in combinations the data lacks."""

from __future__ import annotations

from typing import Annotated, Any, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from longcut.bias import Difficulty
from longcut.context import Context
from longcut.data import Batch, Dataset, Info, require_index
from longcut.losses import cross_entropy, gce
from longcut.methods.base import MakeNet, Method, Recipe
from longcut.methods.shared import DOUBLE_SCALED_MLP, Decay, Scale
from longcut.nets import Net

PAPER_TRAINING = {
    "batch": 256,
    "pool": 1,
    "weight_decay": 0.0,
    "schedule": "step",
    "milestones": "0.4-0.6-0.8",  # the released scheduler wakes up with the swapping, so its first step comes that late
    "gamma": 0.5,
    "augment": "crop-flip",
    "average": 0.0,
    "drop_last": True,
}
RESNET = "resnet18:stem=imagenet,inputs=cifar"


def _recipe(
    why: str, weight: float, lr: float, epochs: int, *, swap_weight: float = 1.0, net: str = RESNET, **training: Any
) -> Recipe:
    options = {
        "biased_weight": weight,
        "swap_weight": swap_weight,
        "swap_biased_weight": weight,
        "delay": 0.2,
        "scale": "code",
    }
    training = {**PAPER_TRAINING, "lr": lr, "epochs": epochs, **training}
    return Recipe(f"{why}; 50,000 updates, the released GCE", options, training, net)


class Both(nn.Module):
    """Two encoders side by side: ``[z_l, z_b]``, what is intrinsic and what is biased."""

    def __init__(self, intrinsic: nn.Module, biased: nn.Module) -> None:
        super().__init__()
        self.intrinsic, self.biased = intrinsic, biased

    def forward(self, x: Tensor) -> Tensor:
        """``(n, ...)`` to ``(n, 2 * width)``."""
        return torch.cat([self.intrinsic(x), self.biased(x)], 1)


class DFA(Method):
    """LfF on two encoders that see each other's features; later those of the biased one are swapped between samples.

    The loss is ``L_dis + swap_weight * L_swap``. The defaults are the paper's, with its weights written as 1: Adam does
    not see a factor on all that a parameter's gradient is made of (see ``docs/methods.md``).
    """

    name = "dfa"
    paper = "Lee et al., Learning debiased representation via disentangled feature augmentation, NeurIPS 2021"
    needs_classes = "its biased net is amplified by how probable it finds the label"
    variants = ({"scale": "code"}, {"delay": 0.0})
    recipes = {
        "paper": _recipe(
            "Colored MNIST at all ratios, with an MLP that divides its input by 255 a second time",
            *(10.0, 0.01, 234),
            net=DOUBLE_SCALED_MLP,
            augment="none",
        ),
        "cifar-0.5": _recipe("Corrupted CIFAR-10 at 0.5 %, with ImageNet's stem on 32 x 32", 1.0, 0.0005, 284),
        "cifar": _recipe("Corrupted CIFAR-10 at 1 and 2 %, with ImageNet's stem on 32 x 32", 5.0, 0.001, 286),
        "cifar-5": _recipe("Corrupted CIFAR-10 at 5 %, with ImageNet's stem on 32 x 32", 1.0, 0.001, 284),
        "bffhq": _recipe(
            "BFFHQ, standardised like CIFAR-10, with a tenfold step of the rate that comes from an unset flag",
            *(2.0, 0.0001, 167),
            swap_weight=0.1,
            batch=64,
            gamma=0.1,
        ),
    }

    def __init__(
        self,
        make_net: MakeNet,
        info: Info,
        *,
        biased_weight: Annotated[
            float, Field(ge=0, description="weight of the biased head's loss (the paper's lambda_dis)")
        ] = 1.0,
        swap_weight: Annotated[
            float, Field(ge=0, description="weight of both losses on swapped features (lambda_swap)")
        ] = 1.0,
        swap_biased_weight: Annotated[
            float, Field(ge=0, description="weight of the biased head's loss among those two (lambda_swap_b)")
        ] = 1.0,
        delay: Annotated[
            float, Field(ge=0, le=1, description="share of the epochs that pass before features are swapped")
        ] = 0.2,
        q: Annotated[
            float, Field(gt=0, le=1, description="how much the biased head trusts what it already knows")
        ] = 0.7,
        decay: Decay = 0.7,
        scale: Scale = "paper",
    ) -> None:
        super().__init__(make_net, info)
        width = cast(nn.Linear, self.net.head).in_features
        encoders = Both(nn.Sequential(*self.net.stages), nn.Sequential(*make_net().stages))
        levels = sorted({self.net.levels[0], 1})  # token ids cannot be mixed
        self.net = Net([encoders], nn.Linear(2 * width, info.n_classes), levels=levels)
        self.biased_head = nn.Linear(2 * width, info.n_classes)
        self.difficulty = Difficulty(info, decay)
        self.biased_weight, self.swap_weight, self.swap_biased_weight = biased_weight, swap_weight, swap_biased_weight
        self.delay, self.swapping = delay, False
        self.q = q
        self.scale: Literal["paper", "code"] = scale

    def on_epoch(self, context: Context) -> None:
        """Swap from the epoch on that is nearest to ``delay``: features must come apart before they are exchanged."""
        super().on_epoch(context)
        self.swapping = context.epoch >= round(self.delay * context.epochs)

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of both heads on each sample's own features and, after the delay, on swapped ones."""
        label, (z_l, z_b) = batch.label, self._features(batch.x)
        intrinsic, biased = self._intrinsic(z_l, z_b), self._biased(z_l, z_b)
        ce, ce_biased = cross_entropy(intrinsic, label), cross_entropy(biased, label)
        weight = self.difficulty.update(require_index(batch), label, ce_biased.detach(), ce.detach())
        loss = (weight * ce).mean() + self.biased_weight * self._gce(biased, label)
        if self.swapping:
            other = torch.randperm(len(batch), generator=self.generator, device=label.device)
            intrinsic, biased = self._intrinsic(z_l, z_b[other]), self._biased(z_l, z_b[other])
            swapped = (weight * cross_entropy(intrinsic, label)).mean()
            loss = loss + self.swap_weight * (swapped + self.swap_biased_weight * self._gce(biased, label[other]))
        return loss, {"weight": weight.mean()}

    def forward(self, x: Tensor) -> Tensor:
        """Outputs of the intrinsic head ``(n, C)``; what is learned from them leaves the biased encoder alone."""
        return self._intrinsic(*self._features(x))

    def _features(self, x: Tensor) -> tuple[Tensor, Tensor]:
        z_l, z_b = self.net.features(x).chunk(2, 1)
        return z_l, z_b

    def _intrinsic(self, z_l: Tensor, z_b: Tensor) -> Tensor:
        return self.net.head(torch.cat([z_l, z_b.detach()], 1))

    def _biased(self, z_l: Tensor, z_b: Tensor) -> Tensor:
        return self.biased_head(torch.cat([z_l.detach(), z_b], 1))

    def _gce(self, logits: Tensor, label: Tensor) -> Tensor:
        return gce(logits, label, self.q, scale=self.scale).mean()

    def minority(self, train: Dataset) -> Tensor:
        """Those that weigh more than one half: the biased net finds them harder than the other net does."""
        device = self.difficulty.loss.device
        return self.difficulty.weights(train.index.to(device), train.label.to(device)).cpu() > 0.5

    @torch.no_grad()
    def embedding(self, x: Tensor) -> Tensor:
        """Features of the biased encoder ``(n, width)``."""
        return self._features(x)[1]

    @torch.no_grad()
    def biased_logits(self, x: Tensor) -> Tensor:
        """Outputs of the biased head ``(n, C)``."""
        return self._biased(*self._features(x))
