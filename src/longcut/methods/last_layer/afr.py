"""Automatic feature reweighting: the last layer is tuned on held-out samples, most on those the net is unsure of."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from longcut.data import Dataset, Info
from longcut.identify import load
from longcut.losses import cross_entropy
from longcut.methods.base import FitHelper, MakeNet, Recipe
from longcut.methods.last_layer.aside import Aside, Share
from longcut.methods.last_layer.heads import features_of
from longcut.methods.shared import RESNET, RESNET_CELEBA
from longcut.optimizers import SGD

__all__ = ["AFR", "afr_weights", "safe_sharpness"]


def afr_weights(losses: Tensor, label: Tensor, gamma: float, balanced: bool = False) -> Tensor:
    """``exp(-gamma p)`` of each sample, where ``p = exp(-loss)`` is the probability of its label; the sum is 1.

    Args:
        losses: cross-entropies ``(n,)``.
        label: class ids ``(n,)``.
        gamma: at 0 all weigh the same.
        balanced: divide by the number of samples of the class.

    Source: Qiu et al. 2023, "Simple and fast group robustness by automatic feature reweighting".

    >>> afr_weights(torch.tensor([0.6931, 0.0]), torch.tensor([0, 0]), gamma=2 * 1.0986)  # p is 1/2 and 1, e^1.0986 = 3
    tensor([0.7500, 0.2500])
    """
    log_weight = -gamma * torch.exp(-losses)  # not its exponential, which a large gamma rounds to 0
    if balanced:
        log_weight = log_weight - torch.bincount(label)[label].to(losses).log()
    return log_weight.softmax(0)


def safe_sharpness(logits: Tensor, losses: Tensor, label: Tensor, most: float = 10.0, balanced: bool = False) -> float:
    """The largest gamma, up to ``most``, with which the layer's errors have at most a third of the weight.

    That holds for each class that it predicts. Where errors outweigh the rest, as a few wrong labels do beside
    thousands of samples that the layer is sure of, the best it can do is to turn these predictions round; at half of
    the weight, that is a matter of chance.

    Args:
        logits: of the layer as it is ``(n, C)``.
        losses: whose weights are meant ``(n,)``, see :func:`afr_weights`.
        label: class ids ``(n,)``.
        most: largest value.
        balanced: as there.

    >>> logits, label = torch.tensor([[9.0, 0.0]] * 4), torch.tensor([0, 0, 0, 1])
    >>> gamma = safe_sharpness(logits, cross_entropy(logits, label), label)
    >>> round(gamma, 2)  # the error may weigh 3/2, and p differs by nearly 1: log(3/2) = 0.41
    0.41
    """
    guess = logits.argmax(1)
    wrong = (guess != label).float()

    def turns(gamma: float) -> bool:
        weight = afr_weights(losses, label, gamma, balanced)
        total, errors = (
            weight.new_zeros(logits.shape[1]).index_add_(0, guess, part) for part in (weight, wrong * weight)
        )
        return bool((3 * errors > total).any())

    low, high = 0.0, most
    if turns(0.0) or not turns(most):
        return 0.0 if turns(0.0) else most
    for _ in range(32):
        middle = (low + high) / 2
        low, high = (low, middle) if turns(middle) else (middle, high)
    return low


class AFR(Aside):
    """``sum_i w_i CE_i + pull * |head - head_0|^2`` on samples set aside, where w falls with the net's confidence.

    Needs no attribute.
    """

    name = "afr"
    paper = "Qiu et al., Simple and fast group robustness by automatic feature reweighting, ICML 2023"
    needs_classes = "it weighs a sample by how probable a first net finds its label"
    variants = ({"pull": 0.1, "balanced": True, "head_clip": 0.0},)
    recipes = {
        "paper": Recipe(
            "Waterbirds, for a pretrained ResNet-50; gamma and pull were chosen by validation groups",
            {"sharpness": 10.0, "pull": 0.0, "steps": 500, "head_lr": 0.01, "head_clip": 1.0},
            {**RESNET, "batch": 32, "epochs": 50},
        ),
        "celeba": Recipe(
            "CelebA, for a pretrained ResNet-50; gamma and pull were chosen by validation groups",
            {"sharpness": 1.44, "pull": 1e-3, "steps": 1000, "head_lr": 0.02, "head_clip": 1.0},
            RESNET_CELEBA,
        ),
    }

    def __init__(
        self,
        make_net: MakeNet,
        info: Info,
        *,
        identify: Annotated[
            str, Field(description="whose confidence counts: own, or of a run's folder with a record, its last epoch's")
        ] = "own",
        sharpness: Annotated[
            float | None,
            Field(
                ge=0,
                description="gamma: how much more a sample counts if the net is unsure; by default as much as leaves "
                "its errors a third of the weight, at most 10",
            ),
        ] = None,
        pull: Annotated[
            float, Field(ge=0, description="weight of the squared distance from the layer as it was trained")
        ] = 0.0,
        held: Share = 0.2,
        balanced: Annotated[bool, Field(description="classes weigh the same in the second stage")] = False,
        steps: Annotated[int, Field(ge=1, description="full-batch gradient steps on the last layer")] = 500,
        head_lr: Annotated[float, Field(gt=0, description="learning rate of these steps")] = 0.01,
        head_clip: Annotated[float, Field(ge=0, description="largest norm of their gradient; 0: none")] = 1.0,
    ) -> None:
        super().__init__(make_net, info, held)
        self.identify = identify
        self.sharpness, self.pull, self.balanced = sharpness, pull, balanced
        self.steps, self.head_lr, self.head_clip = steps, head_lr, head_clip

    def finish(self, train: Dataset, valid: Dataset | None, fit: FitHelper) -> None:
        """Gradient descent on the last layer, from where it is."""
        head = self.net.head
        start = [parameter.detach().clone() for parameter in head.parameters()]
        data = features_of(self.net, train.take(self.aside.cpu()[train.index]))
        x, label = (column.to(start[0].device) for column in (data.x, data.label))
        logits = head(x).detach()
        losses = cross_entropy(logits, label)
        if self.identify != "own":
            aside = train.index[self.aside.cpu()[train.index]]
            losses = load(self.identify, train)[1, -1, aside].nan_to_num(0).to(losses)  # not seen: as if sure
        sharpness = self.sharpness
        if sharpness is None:
            sharpness = safe_sharpness(logits, losses, label, balanced=self.balanced)
        weight = afr_weights(losses, label, sharpness, self.balanced)
        optimizer = SGD(head.parameters(), self.head_lr)
        for _ in range(self.steps):
            distance = sum((now - was).square().sum() for now, was in zip(head.parameters(), start, strict=True))
            loss = weight @ cross_entropy(head(x), label) + self.pull * distance
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            if self.head_clip:
                torch.nn.utils.clip_grad_norm_(head.parameters(), self.head_clip)
            optimizer.step()
