"""uLA: logit adjustment by what a biased net predicts, so that what it knows already need not be learned."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from longcut.cells import log_conditional
from longcut.data import Batch, Dataset, Info, require_index
from longcut.losses import cross_entropy
from longcut.methods import shared
from longcut.methods.base import FitHelper, MakeNet
from longcut.methods.identified.shortcut import ByShortcut

__all__ = ["ULA", "soft_counts"]


def soft_counts(probability: Tensor, label: Tensor) -> Tensor:
    """How much probability a net gives each class on the samples of each label: ``(predicted, label)``.

    Args:
        probability: of the net's classes ``(n, C)``.
        label: class ids ``(n,)``.

    >>> soft_counts(torch.tensor([[0.75, 0.25], [1.0, 0.0]]), torch.tensor([0, 1]))
    tensor([[0.7500, 1.0000],
            [0.2500, 0.0000]])
    """
    return probability.T @ functional.one_hot(label, probability.shape[1]).to(probability)


class ULA(ByShortcut):
    """``CE(f(x) + eta log P(y | s), y)``, where s is the class that a biased net predicts.

    The biased net is an ordinary one that is trained briefly; P(y | s) comes from its probabilities, softened by a
    temperature, on all training samples. The released program keeps a moving average of the batches instead, and its
    biased net is a linear head on features that were learned from the same images without labels (500 epochs of MoCo);
    the setting ``init`` starts the main net from such a run, but not the biased one. The program was read, not run.
    """

    name = "ula"
    paper = "Tsirigotis et al., Group robust classification without any group information, NeurIPS 2023"
    variants = ({"helper_optimizer": "sgd", "helper_lr": 0.1, "helper_epochs": 4},)

    def __init__(
        self,
        make_net: MakeNet,
        info: Info,
        *,
        eta: Annotated[float, Field(ge=0, description="how much the logits are adjusted; 0 is erm")] = 1.0,
        temperature: Annotated[
            float, Field(gt=0, description="of the biased net's probabilities, where P(y | s) is estimated")
        ] = 1.0,
        helper_net: shared.HelperNet = "same",
        helper_epochs: shared.HelperEpochs = 3,
        helper_lr: shared.HelperLr = None,
        helper_weight_decay: shared.HelperDecay = None,
        helper_optimizer: shared.HelperOptimizer = None,
    ) -> None:
        helper = shared.helper_settings(helper_epochs, helper_lr, helper_weight_decay, helper_optimizer)
        super().__init__(make_net, info, "helper", helper, {"few": 1.0, "surest": 1.0, "repeats": 0, "net": helper_net})
        self.eta, self.temperature = eta, temperature
        self.register_buffer("adjustment", torch.zeros(info.n_classes, info.n_classes))  # log P(y | s) by s

    adjustment: Tensor

    def prepare(self, train: Dataset, fit: FitHelper) -> Dataset:
        """The training set as it is, once the biased net has said what it predicts."""
        logits = self.logits(train, fit)
        self.keep(logits.argmax(1), train)
        self.adjustment.copy_(log_conditional(soft_counts((logits / self.temperature).softmax(1), train.label)))
        return train

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean cross-entropy of adjusted logits; at test time they are not adjusted."""
        outputs = self(batch.x)
        shift = self.adjustment[self.shortcut[require_index(batch)]]
        losses = cross_entropy(outputs + self.eta * shift, batch.label)
        self.context.saw(batch, outputs, losses)
        return losses.mean(), {}
