"""What outputs are judged by: whether each sample is right, calibration, ROC curves, and errors of numbers."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from longcut.data import Dataset
from longcut.errors import UserError

__all__ = ["Outputs", "sample_values"]

BINS, TOP = 10, 5
FIFTHS = (0.2, 0.4, 0.6, 0.8)
ROUNDING = 1e-12  # by which equal odds may differ, for each unit of the largest logit


def sample_values(outputs: Tensor, data: Dataset) -> Tensor:
    """What is averaged: 1 where the class is right and 0 where not, or the squared error ``(n,)``.

    Raises:
        UserError: when an output is not a finite number, or so large that squared errors are not finite.

    >>> data = Dataset.of(torch.rand(2, 1), [0, 1])
    >>> sample_values(torch.tensor([[1.0, 0.0], [1.0, 0.0]]), data)
    tensor([1., 0.])
    """
    classes = data.info.task == "classification"
    values = (outputs.argmax(1) == data.label).float() if classes else (outputs - data.label).square().mean(1)
    if not (outputs.isfinite().all() and values.sum().isfinite()):
        raise UserError(
            "some outputs are no finite numbers, or too large for their errors to be finite, so there is no score; "
            "train with a lower learning rate (lr), or check the inputs."
        )
    return values


class Outputs:
    """The outputs of a model for a data set: calibration, ROC curves and errors of numbers, for weights of the samples.

    A weight says how often a sample stands in a resample.

    Args:
        outputs: ``(n, C)``, logits or predicted targets.
        data: the samples they belong to.
    """

    def __init__(self, outputs: Tensor, data: Dataset) -> None:
        self.outputs, self.data = outputs, data

    @cached_property
    def are_logits(self) -> bool:
        """Whether there is something to calibrate or to rank: finite logits of classes."""
        return self.data.info.task == "classification" and len(self.data) > 0 and bool(self.outputs.isfinite().all())

    @cached_property
    def probability(self) -> Tensor:
        """``(n, C)`` in float64."""
        return self.outputs.double().softmax(1)

    @cached_property
    def _gap(self) -> Tensor:
        """Confidence less accuracy of each sample, in the column of its bin ``(n, BINS)``.

        The bins are (0, 0.1], (0.1, 0.2], … (0.9, 1]: a confidence on an edge belongs to the bin below.
        """
        confidence, predicted = self.probability.max(1, keepdim=True)
        edges = torch.linspace(0, 1, BINS + 1, dtype=torch.float64)[1:-1]
        gap = confidence - (predicted == self.data.label[:, None]).double()
        return gap.new_zeros(len(gap), BINS).scatter_(1, torch.bucketize(confidence, edges), gap)

    @cached_property
    def _among_top(self) -> Tensor:
        """Whether the label is among the five largest outputs ``(n,)``; of equal ones the first class comes first."""
        own = self.outputs.gather(1, self.data.label[:, None])
        earlier = torch.arange(self.outputs.shape[1]) < self.data.label[:, None]
        return (((self.outputs > own) | ((self.outputs == own) & earlier)).sum(1) < TOP).double()

    @cached_property
    def _curves(self) -> list[tuple[Tensor, Tensor, Tensor, Tensor]]:
        """Of each class; of two classes both have the same one."""
        probability, predicted = self.probability, self.probability.argmax(1, keepdim=True)
        # one minus a probability near 1 would lose the order of the surest samples, hence the sum of the others
        others = (1 - probability).scatter(1, predicted, probability.scatter(1, predicted, 0).sum(1, keepdim=True))
        margin = ROUNDING * max(1.0, float(self.outputs.abs().max()))
        classes = range(probability.shape[1]) if probability.shape[1] > 2 else (1,)
        odds = (probability[:, c].log() - others[:, c].log() for c in classes)  # of all at once would be as much again
        return [_curve(own, self.data.label == c, margin) for c, own in zip(classes, odds, strict=True)]

    @property
    def are_numbers(self) -> bool:
        """Whether they are numbers, and there is one."""
        return self.data.info.task == "regression" and len(self.data) > 0

    @cached_property
    def _target(self) -> Tensor:
        """``(n, width)`` in float64."""
        return self.data.label.double()

    @cached_property
    def _distance(self) -> Tensor:
        """From the target, of each sample and each of its numbers ``(n, width)``, in float64."""
        return (self.outputs.double() - self._target).abs()

    @cached_property
    def _fifth(self) -> Tensor:
        """Which fifth of the targets a sample's is in, for each of its numbers ``(n, width)``; equal ones share it."""
        edges = [column.quantile(column.new_tensor(FIFTHS)) for column in self._target.T]
        found = [torch.bucketize(column.contiguous(), edge) for column, edge in zip(self._target.T, edges, strict=True)]
        return torch.stack(found, 1)

    def ece(self, weight: Tensor) -> Tensor:
        """Expected calibration error for each row of weights ``(k, n)``."""
        return (weight @ self._gap).abs().sum(1) / weight.sum(1)

    def top5(self, weight: Tensor) -> Tensor:
        """Share of samples whose class is among the five likeliest, for each row of weights ``(k, n)``.

        ``nan`` with five classes or fewer, of which it is always one.
        """
        if self.outputs.shape[1] <= TOP:
            return weight.new_full((len(weight),), torch.nan)
        return (weight @ self._among_top) / weight.sum(1)

    def auroc(self, weight: Tensor) -> Tensor:
        """Mean area under the curves for each row of weights ``(k, n)``; ``nan`` where a class is absent or alone."""
        total = torch.zeros(len(weight), dtype=torch.float64)
        weight = weight.float()  # counts, and their sums up to 2**24, are exact
        for own, other, below, not_above in self._curves:
            positive = weight[:, own]
            negatives = torch.nn.functional.pad(weight[:, other].cumsum(1), (1, 0))
            wins = (positive * (negatives[:, below] + negatives[:, not_above])).sum(1, dtype=torch.float64) / 2
            total += wins / (positive.sum(1).double() * negatives[:, -1].double())
        return total / len(self._curves)

    def mae(self, weight: Tensor) -> Tensor:
        """Mean absolute error for each row of weights ``(k, n)``."""
        return (weight @ self._distance.mean(1)) / weight.sum(1)

    def mape(self, weight: Tensor) -> Tensor:
        """Mean absolute error in per cent of the target, where that is not 0, for each row of weights ``(k, n)``."""
        known = self._target != 0
        share = torch.where(known, self._distance / self._target.abs(), 0)
        return 100 * (weight @ share.sum(1)) / (weight @ known.sum(1).double())

    def r2(self, weight: Tensor) -> Tensor:
        """Mean R² of the numbers for each row of weights ``(k, n)``; ``nan`` where one is the same in all samples."""
        around = self._target - self._target.median(0).values  # a number of the data, so that constants become 0
        square = weight @ around.square()
        variation = square - (weight @ around).square() / weight.sum(1, keepdim=True)
        left = (weight @ self._distance.square()) / torch.where(variation > ROUNDING * square, variation, torch.nan)
        return (1 - left).mean(1)

    def worst_fifth_rmse(self, weight: Tensor) -> Tensor:
        """Root mean squared error in the worst fifth, mean over the numbers, for each row of weights ``(k, n)``."""
        worst = []
        for square, fifth in zip(self._distance.square().T, self._fifth.T, strict=True):
            member = torch.nn.functional.one_hot(fifth, len(FIFTHS) + 1).double()
            count = weight @ member
            mean = (weight @ (member * square[:, None])) / count
            worst.append(torch.where(count > 0, mean, 0).amax(1).sqrt())
        return torch.stack(worst).mean(0)


def _curve(odds: Tensor, own: Tensor, margin: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Samples of the class; the others, lowest first; how many of these are below each of the class, or not above.

    Log-odds that differ by no more than the margin are equal.
    """
    order = torch.from_numpy(np.argsort(odds.numpy()))  # in two thirds of the time of torch's
    odds, own = odds[order], own[order]
    mine, rest = own.nonzero().flatten(), (~own).nonzero().flatten()
    below = mine - torch.arange(len(mine))  # all that come before and are not of the class
    not_above = below.clone()
    beside = torch.zeros(len(odds), dtype=torch.bool)  # who has an equal neighbour: few, so the others are not searched
    beside[1:] |= odds[:-1] >= odds[1:] - margin
    beside[:-1] |= odds[1:] <= odds[:-1] + margin
    equal = beside[mine].nonzero().flatten()
    if len(equal):
        others, values = odds[rest], odds[mine[equal]]
        below[equal] = torch.searchsorted(others, values - margin)
        not_above[equal] = torch.searchsorted(others, values + margin, right=True)
    return order[mine], order[rest], below, not_above
