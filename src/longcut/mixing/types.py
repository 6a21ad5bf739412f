"""What mixing rules are given and what they return.

``share`` is everywhere the share of the *anchor*, the sample that a row of the batch started as, in [0, 1].
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from longcut.data import Batch, Rows

__all__ = [
    "Blend",
    "LabelRule",
    "Mixed",
    "PairRule",
    "Pairs",
    "Partners",
    "Pool",
    "RatioRule",
    "Seeing",
    "Seen",
    "Similarity",
    "Target",
]


class Pool(Protocol):
    """Where partners come from: a :class:`~longcut.Batch`, a :class:`~longcut.Dataset`, or anything like them."""

    @property
    def label(self) -> Tensor: ...
    @property
    def attribute(self) -> Tensor | None: ...
    @property
    def index(self) -> Tensor | None:
        """Who each sample is; asked only by rules that remember samples."""
        ...

    def __len__(self) -> int: ...
    def gather(self, rows: Tensor) -> Tensor:
        """Inputs of the samples at positions ``rows``."""
        ...


@dataclass(frozen=True)
class Pairs(Rows):
    """Who is mixed with whom.

    Attributes:
        partner: position in the pool of each anchor's partner ``(n,)``.
        found: False where an anchor has no partner and stays as it is ``(n,)``.
    """

    partner: Tensor
    found: Tensor


@dataclass(frozen=True)
class Partners(Rows):
    """Drawn partners, gathered: what is left to do is to blend.

    Attributes:
        x: the partners' inputs ``(n, ...)``; a sample without a partner is its own.
        label: theirs.
        share: how much of the anchor to keep ``(n,)``; 1 where there is no partner.
        found: False where there is none ``(n,)``.
        attribute: the partners', for the record; None when unknown.
        index: who the partners are; None where the pool does not say.
        row: where in the pool each partner stood, for what is known there of every sample; None when unknown.
    """

    x: Tensor
    label: Tensor
    share: Tensor
    found: Tensor
    attribute: Tensor | None = None
    index: Tensor | None = None
    row: Tensor | None = None


@dataclass(frozen=True)
class Target(Rows):
    """The canonical target of a mixed sample: two labels, how much each counts, and a weight for each term.

    ``torch.nn.functional.cross_entropy(logits, target)``, and so ``CrossEntropyLoss``, takes it as it is.

    Attributes:
        label_a, label_b: of anchor and partner: class ids ``(n,)``, soft labels ``(n, C)`` whose rows sum to 1, or the
            targets of a regression ``(n, width)``.
        share: how much of ``label_a`` counts ``(n,)``; the rest goes to ``label_b``.
        weight_a, weight_b: factors of the two terms ``(n,)``; UMIX weighs them apart, everybody else has ones.

    >>> target = Target(torch.tensor([0]), torch.tensor([1]), *torch.tensor([[0.75], [1.0], [1.0]]))
    >>> target.soft(2)
    tensor([[0.7500, 0.2500]])
    """

    label_a: Tensor
    label_b: Tensor
    share: Tensor
    weight_a: Tensor
    weight_b: Tensor

    @classmethod
    def __torch_function__(
        cls,
        function: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """What torch calls for a function that is given a target: of all functions, the cross-entropy knows one."""
        given = inspect.signature(function).bind(*args, **(kwargs or {})) if function is F.cross_entropy else None
        if given is None or not isinstance(given.arguments["target"], Target):
            return NotImplemented
        logits, target = given.arguments["input"], given.arguments["target"]
        given.arguments["target"] = target.soft(logits.shape[1]).to(logits.dtype)
        return function(*given.args, **given.kwargs)

    def soft(self, n_classes: int) -> Tensor:
        """The target as one row of class weights per sample ``(n, n_classes)``; rows sum to 1 if the weights are 1."""
        parts = (self.label_a, self.weight_a * self.share), (self.label_b, self.weight_b * (1 - self.share))
        if any(label.is_floating_point() for label, _ in parts):
            a, b = (
                part[:, None] * (label if label.is_floating_point() else F.one_hot(label, n_classes).to(part.dtype))
                for label, part in parts
            )
            return a + b
        soft = parts[0][1].new_zeros(len(self.share), n_classes)  # half the time of two one-hot rows
        for label, part in parts:
            soft.scatter_add_(1, label[:, None], part[:, None])
        return soft


@dataclass(frozen=True)
class Mixed(Rows):
    """What mixing returns: inputs ``(n, ...)``, their target, and which rows found a partner ``(n,)``."""

    x: Tensor
    target: Target
    found: Tensor


@dataclass(frozen=True)
class Seen:
    """What a blend may look at beside the two inputs.

    Attributes:
        label, partner_label: of anchors and partners.
        net: what is being mixed to outputs ``(n, C)``; None where the caller has none to show.
    """

    label: Tensor
    partner_label: Tensor
    net: Callable[[Tensor], Tensor] | None


PairRule = Callable[[Batch, Pool, torch.Generator | None], Pairs]
RatioRule = Callable[[int, torch.Generator | None], Tensor]
LabelRule = Callable[[Tensor, Tensor, Tensor], Target]
Similarity = Callable[[Batch, Pool], Tensor]


@dataclass(frozen=True)
class Seeing:
    """A blend that also looks at the labels and the net, as saliency from gradients does (PuzzleMix).

    Attributes:
        blend: ``(own, partner, share, generator, seen) -> (mixed, realised share)``.
    """

    blend: Callable[[Tensor, Tensor, Tensor, torch.Generator | None, Seen], tuple[Tensor, Tensor]]


Blend = Callable[[Tensor, Tensor, Tensor, torch.Generator | None], tuple[Tensor, Tensor]] | Seeing
