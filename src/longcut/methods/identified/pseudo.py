"""Groups that nobody annotated: found by looking at what ordinary nets get wrong, then handed to GroupDRO."""

from __future__ import annotations

import dataclasses
from typing import cast

import torch
from torch import Tensor

from longcut.data import Batch, Dataset, Info
from longcut.errors import UserError
from longcut.identify import Identification
from longcut.methods.base import FitHelper, MakeNet
from longcut.methods.reweighting.group_dro import GroupDRO
from longcut.optimizers import Adam

__all__ = ["Inferred", "class_balanced", "cross_mistakes", "environments", "flip_probability", "slopes"]


def slopes(logits: Tensor, label: Tensor) -> Tensor:
    """How fast each sample's cross-entropy grows with a scale of its logits, at scale 1: ``(n,)``.

    That is ``sum_c p_c z_c - z_label``: below 0 where more confidence would help, above where it would hurt. IRM's
    penalty of an environment is the square of its mean (Arjovsky et al. 2019).

    >>> slopes(torch.tensor([[2.0, 2.0], [0.0, 9.0]]), torch.tensor([0, 0])).round()
    tensor([0., 9.])
    """
    return (logits.softmax(1) * logits).sum(1) - logits.gather(1, label[:, None])[:, 0]


def environments(
    logits: Tensor, label: Tensor, generator: torch.Generator, *, steps: int = 1000, lr: float = 1e-2
) -> Tensor:
    """EIIL's two environments, between which a net that is looked at violates invariance most.

    Free numbers w, drawn from N(0, 1), give each sample to the environments with shares ``q = sigmoid(w)`` and
    ``1 - q``. Adam makes ``(mean(q s)^2 + mean((1 - q) s)^2) / 2`` large, where s are the ``slopes``; q is cut at 1/2.

    Args:
        logits: of the net ``(n, C)``.
        label: class ids ``(n,)``.
        generator: draws w.
        steps: of Adam, on all samples at once.
        lr: of Adam.

    Returns:
        ``(n,)``, True in the environment where the mean slope is larger: the net errs there with more confidence.

    Source: Creager et al. 2021, "Environment inference for invariant learning", and its released code.
    """
    slope = slopes(logits, label)
    w = torch.randn(len(slope), generator=generator, device=generator.device).to(slope)
    adam = Adam([w], lr, maximize=True, fused=True)
    each = slope / len(slope)
    for _ in range(steps):
        q = w.sigmoid()
        one = q @ each
        other = each.sum() - one
        w.grad = (one - other) * each * q * (1 - q)
        adam.step()
    second = w > 0
    return second if slope[second].sum() * len(slope) >= slope.sum() * second.sum() else ~second


def cross_mistakes(one: Tensor, other: Tensor, label: Tensor) -> Tensor:
    """XRM's groups: True where either of two nets, trained on different halves, misses the label ``(n,)``.

    Args:
        one, other: logits ``(n, C)``.
        label: class ids ``(n,)``.

    >>> right, wrong = [1.0, 0.0], [0.0, 1.0]
    >>> cross_mistakes(torch.tensor([right, right]), torch.tensor([right, wrong]), torch.tensor([0, 0]))
    tensor([False,  True])
    """
    return (one.argmax(1) != label) | (other.argmax(1) != label)


def flip_probability(logits: Tensor) -> Tensor:
    """How likely a label gives way to a prediction: ``(p - 1/C) C / (C - 1)``, with the largest probability p ``(n,)``.

    From 0 for a net that does not know to 1 for one that is sure.

    >>> flip_probability(torch.tensor([[0.0, 0.0], [0.0, 99.0]]))
    tensor([0., 1.])
    """
    classes = logits.shape[1]
    return ((logits.softmax(1).amax(1) - 1 / classes) * classes / (classes - 1)).clamp(0, 1)


def class_balanced(losses: Tensor, label: Tensor, n_classes: int) -> Tensor:
    """Sum over the classes in the batch of their mean loss.

    >>> class_balanced(torch.tensor([1.0, 3.0, 5.0]), torch.tensor([0, 0, 2]), 3)
    tensor(7.)
    """
    member = (label[:, None] == torch.arange(n_classes, device=label.device)).to(losses.dtype)
    return (losses @ member / member.sum(0).clamp_min(1)).sum()


class Inferred(GroupDRO):
    """GroupDRO on two values of an attribute that the method infers: ``self.chosen (n_stored,)`` has the second."""

    needs = frozenset()
    tasks = frozenset({"classification"})
    recipes = {}
    inferred = 2

    def __init__(self, make_net: MakeNet, info: Info, *, step: float, balanced: bool, cross: bool) -> None:
        super().__init__(make_net, info, step=step, balanced=balanced)
        self.cross = cross
        self.register_buffer("chosen", torch.zeros(info.n_stored, dtype=torch.bool))

    chosen: Tensor

    def group(self, rows: Batch | Dataset) -> Tensor:
        """Label x attribute, or the attribute alone ``(n,)``."""
        return super().group(rows) if self.cross else cast(Tensor, rows.attribute)

    def infer(self, train: Dataset, fit: FitHelper) -> Tensor:
        """Who has the second value ``(n,)``, boolean."""
        raise NotImplementedError

    def prepare(self, train: Dataset, fit: FitHelper) -> Dataset:
        """The training set with the inferred attribute."""
        self.chosen[train.index] = self.infer(train, fit).to(self.chosen.device)
        second = self.chosen.cpu()[train.index]
        if second.all() or not second.any():
            raise UserError(
                f"{self.name} found a single environment in {train.info.name}: its helper is right, or wrong, about "
                "every sample; train it for fewer or more epochs (helper_epochs)."
            )
        return super().prepare(dataclasses.replace(train, attribute=second.long()), fit)

    def identification(self) -> Identification:
        return Identification(self.chosen)
