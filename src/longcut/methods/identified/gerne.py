"""GERNE: go from the loss of a biased batch to that of a less biased one, and beyond."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from longcut.cells import cell_counts
from longcut.data import Batch, Dataset, Info, draw
from longcut.errors import UserError
from longcut.methods import shared
from longcut.methods.base import FitHelper, MakeNet
from longcut.methods.identified.shortcut import FEW, SUREST, ByShortcut

__all__ = ["GERNE", "extrapolated", "less_biased"]


def less_biased(counts: Tensor, c: float) -> Tensor:
    """P(a | y) moved by c towards equal shares: ``alpha + c (1 / A - alpha)`` with ``alpha = M[a, y] / n_y``.

    Args:
        counts: samples of each value and label ``(A, C)``.
        c: 0 leaves the shares as they are, 1 makes the values of a class equally frequent; beyond, rare ones win.

    Returns:
        ``(A, C)`` float64; a class with samples sums to 1. A cell without a sample keeps 0, and A of its class is the
        number of its values that have some.

    Source: Asaad et al. 2025, "Gradient Extrapolation for Debiased Representation Learning", p_lb(a | y).

    >>> less_biased(torch.tensor([[9.0], [1.0]]), 0.5)[:, 0]
    tensor([0.7000, 0.3000], dtype=torch.float64)
    """
    counts = counts.double()
    alpha = counts / counts.sum(0).clamp_min(1)
    there = (counts > 0).double()
    return alpha + c * (there / there.sum(0).clamp_min(1) - alpha)


def extrapolated(biased: Tensor, less: Tensor, beta: float) -> Tensor:
    """``L_lb + beta (L_lb - L_b)``: in expectation the loss under ``less_biased(counts, c (1 + beta))``.

    >>> extrapolated(torch.tensor(1.0), torch.tensor(3.0), 1.0)
    tensor(5.)
    """
    return less + beta * (less - biased)


class GERNE(ByShortcut):
    """``L_lb + beta (L_lb - L_b)`` of two batches that are drawn in each step, one as biased as the data, one less.

    Both draw classes equally. Within a class, L_b's values of the attribute are as frequent as in the data, and L_lb's
    are moved by c towards equal shares. With beta = -1 only the biased batch counts; c = 1 and beta = 0 is resampling
    of groups; c (1 + beta) = 1 is that in expectation, with a loss that varies more, to which the paper ascribes its
    gain. The two batches go through the net together. Attributes that are not known are predicted by the two-step
    biased net of fg-ccdb; the paper splits the classes of an ERM net by its confidence instead. As described; its
    program was not run.
    """

    name = "gerne"
    paper = "Asaad et al., Gradient extrapolation for debiased representation learning, ICCV 2025"
    variants = (
        {"identify": "attribute"},
        {"identify": "attribute", "c": 1.0, "beta": -0.5},
        {"helper_net": "same", "helper_epochs": 3},
    )

    def __init__(
        self,
        make_net: MakeNet,
        info: Info,
        *,
        identify: shared.ShortcutFrom = "helper",
        c: Annotated[float, Field(gt=0, le=1, description="how far the less biased batch is moved to balance")] = 0.5,
        beta: Annotated[
            float, Field(ge=-1, description="how far beyond it; no value may get a negative weight in the end")
        ] = 1.0,
        helper_net: shared.HelperNet = "same",
        helper_epochs: shared.HelperEpochs = 10,
        helper_lr: shared.HelperLr = None,
        helper_weight_decay: shared.HelperDecay = None,
        helper_optimizer: shared.HelperOptimizer = None,
    ) -> None:
        helper = shared.helper_settings(helper_epochs, helper_lr, helper_weight_decay, helper_optimizer)
        super().__init__(
            make_net, info, identify, helper, {"few": FEW, "surest": SUREST, "repeats": 1, "net": helper_net}
        )
        self.c, self.beta = c, beta
        self.register_buffer("weight", torch.zeros(2, info.n_stored))  # in the biased, and in the less biased batch

    weight: Tensor

    def prepare(self, train: Dataset, fit: FitHelper) -> Dataset:
        """The training set as it is, once it is known how likely each sample is in either batch.

        Raises:
            UserError: when beta is so large that a value of the attribute would get a negative weight.
        """
        value, label = self.find(train, fit), train.label
        counts = cell_counts(value, label, self.n_values, self.info.n_classes)
        if (less_biased(counts, self.c * (1 + self.beta)) < -1e-9).any():
            alpha, equal = less_biased(counts, 0), less_biased(counts, 1)
            most = float((alpha / (alpha - equal))[alpha > equal].min()) / self.c - 1
            raise UserError(
                f"gerne with c={self.c:g} and beta={self.beta:g} would give the commonest samples of {train.info.name} "
                f"a negative weight, and its loss no lower bound; take beta of at most {most:.4g}."
            )
        for row, share in enumerate((0.0, self.c)):
            each = (less_biased(counts, share) / counts.clamp_min(1))[value, label]
            self.weight[row, train.index] = each.to(self.weight)
        return train

    def epoch_data(self, train: Dataset) -> Dataset:
        """As many samples, drawn with repetition for the biased batches."""
        return draw(train, self.weight[0].cpu()[train.index], self.generator)

    def on_pool(self, pool: Batch) -> Batch:
        """For every sample of a biased batch, one for the less biased batch beside it, augmented as it is."""
        data = self.context.data
        chosen = draw(data, self.weight[1].cpu()[data.index], self.generator, len(pool))
        other = chosen.batch(torch.arange(len(pool)), pool.x.device)
        return pool.with_extra(x=self.context.augment(other.x, self.generator), label=other.label)

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The extrapolated loss; ``biased`` and ``less_biased`` are the two it is made of."""
        outputs = self(torch.cat([batch.x, batch.extra["x"]]))
        losses = self.per_sample_loss(outputs, torch.cat([batch.label, batch.extra["label"]]))
        biased, less = losses.view(2, -1).mean(1)
        return extrapolated(biased, less, self.beta), {"biased": biased.detach(), "less_biased": less.detach()}
