"""SelecMix's biased model: how it is made, what it may be asked, how it is trained."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from longcut import nets
from longcut.bias import ClassifierBias, ContrastiveBias, Likeness, Seen
from longcut.data import Batch, Info
from longcut.methods.base import MakeNet, Method, adam
from longcut.methods.biased.dfa import DFA
from longcut.methods.biased.lff import LfF
from longcut.nets import Net
from longcut.optimizers import SGD
from longcut.training import Training

__all__ = ["PASSES", "WIDTH", "BiasAlone", "biased_classifier", "contrastive_model", "optimizer_of"]

PASSES = 4  # a sample that the biased model has seen more often than that, it knows by heart
WIDTH = 128  # of the biased model's embedding, as in the paper

Asked = Annotated[
    Literal["early", "learned", "cosine", "l2", "kl", "attribute"],
    Field(
        description="who contradicts: early: who looks like another class to a biased model chosen by evidence; "
        "learned: asked of a contrastive biased model; or of LfF's biased net, the base's own where it has one, by "
        "cosine or distance of its features or divergence of its predictions; attribute: known"
    ),
]
Auxiliary = Annotated[
    str,
    Field(
        description="pairs=early and learned: net of the biased model; auto: chosen by evidence, or tiny. LfF's biased "
        "net is like the main one"
    ),
]
AuxiliaryLr = Annotated[float, Field(gt=0, description="pairs=learned: learning rate of the biased model")]
AuxiliarySteps = Annotated[
    int,
    Field(
        ge=0,
        description="pairs=learned: updates (within four epochs) after which the biased model is frozen; 0: never",
    ),
]
AuxiliaryOptimizer = Annotated[
    Literal["adam", "sgd"], Field(description="pairs=learned: of the biased model; sgd has momentum 0.9")
]
Pretrain = Annotated[
    int,
    Field(
        ge=0,
        description="pairs=learned: epochs the biased model learns alone, then frozen; 0: beside the main net",
    ),
]
Contrast = Annotated[Literal["gsc", "sc"], Field(description="its loss: generalized or plain supervised contrastive")]
Temperature = Annotated[float, Field(gt=0, description="of its loss")]
Q = Annotated[float, Field(gt=0, description="amplification, in its loss and in the base's GCE")]
GscScale = Annotated[Literal["paper", "code"], Field(description="GSC's weight: p^q, or q p^q as released")]


def contrastive_model(
    net: str,
    info: Info,
    *,
    contrast: Literal["gsc", "sc"] = "gsc",
    temperature: float = 0.2,
    q: float = 0.7,
    scale: Literal["paper", "code"] = "paper",
) -> ContrastiveBias:
    """A fresh contrastive biased model.

    Args:
        net: spec of its network.
        info: of the data.
        contrast, temperature, q, scale: of its loss.
    """
    embedding = nets.build(net, info, WIDTH)
    return ContrastiveBias(embedding, info, WIDTH, loss=contrast, temperature=temperature, q=q, scale=scale)


def biased_classifier(
    asked: str,
    base: Method | None,
    make_net: MakeNet,
    info: Info,
    *,
    q: float = 0.7,
    scale: Literal["paper", "code"] = "paper",
) -> ClassifierBias:
    """LfF's biased net (SelecMix, §4.2): that of the base itself, or beside a base without one another like the main.

    Args:
        asked: ``"cosine"``, ``"l2"`` or ``"kl"``.
        base: LfF and DFA have one, of DFA its biased encoder and head.
        make_net: of the main kind.
        info: of the data.
        q, scale: of the generalized cross-entropy.
    """
    net: Net | Seen
    if isinstance(base, LfF | DFA):
        width = base.biased.width if isinstance(base, LfF) else base.net.width // 2  # of DFA the second half
        net = Seen(base.embedding, base.biased_logits, width)
    else:
        net = make_net()
    return ClassifierBias(net, info, cast(Literal["cosine", "l2", "kl"], asked), q=q, scale=scale)


class BiasAlone(Method):
    """The biased model on its own.

    Args:
        bias: what learns.
        info: of the data.
        optimizers: what ``optimizers`` returns.
    """

    name = "bias-alone"
    paper = "Hwang et al., SelecMix: Debiased learning by contradicting-pair sampling, NeurIPS 2022"

    def __init__(
        self, bias: Likeness, info: Info, optimizers: Callable[[Training], list[torch.optim.Optimizer]]
    ) -> None:
        super().__init__(lambda: cast(Net, bias.net), info)
        self.bias, self.make_optimizers = bias, optimizers

    def optimizers(self, training: Training) -> list[torch.optim.Optimizer]:
        return self.make_optimizers(training)

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """What the biased model learns from."""
        return self.bias.learning_loss(batch.x, batch.label), {}


def optimizer_of(net: nn.Module, training: Training, kind: str, lr: float) -> torch.optim.Optimizer:
    """The biased model's own optimizer, ``"adam"``, or ``"sgd"`` with momentum 0.9."""
    if kind == "sgd":
        return SGD(net.parameters(), lr, momentum=0.9, weight_decay=1e-4)
    return adam(net.parameters(), training, lr=lr, weight_decay=1e-4)
