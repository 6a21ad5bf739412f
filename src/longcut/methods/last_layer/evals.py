"""EVaLS: a last layer fitted on as many samples with a high loss as with a low one, chosen by environments found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from longcut.data import Dataset, Info, ranks, split
from longcut.errors import UserError
from longcut.losses import cross_entropy
from longcut.methods.base import FitHelper, MakeNet
from longcut.methods.identified.pseudo import environments, slopes
from longcut.methods.last_layer.aside import HeldFrom, HeldOut, Share
from longcut.methods.last_layer.dfr import lasso
from longcut.methods.last_layer.heads import Scaler, features_of, put

__all__ = ["EVaLS", "loss_balanced", "worst_part"]

NUMBERS = r"^(\d+|\d*\.\d+)(-(\d+|\d*\.\d+))*$"


def loss_balanced(losses: Tensor, label: Tensor, count: int) -> Tensor:
    """The ``count`` samples of each class with the highest loss, and as many with the lowest: a mask ``(n,)``.

    A class of fewer than ``2 count`` samples is taken whole.

    Source: Ghaznavi et al. 2025, "Trained models tell us how to make them robust to spurious correlation without group
    annotation" (EVaLS), loss-based sampling.

    >>> loss_balanced(torch.tensor([0.1, 0.5, 0.9, 0.2, 0.3]), torch.tensor([0, 0, 0, 1, 1]), 1)
    tensor([ True, False,  True,  True,  True])
    """
    chosen = torch.zeros(len(label), dtype=torch.bool)
    for order in (losses.argsort(stable=True), losses.argsort(stable=True, descending=True)):
        chosen[order[ranks(label[order]) < count]] = True
    return chosen


def worst_part(right: Tensor, part: Tensor) -> float:
    """The lowest accuracy among parts that have samples.

    Args:
        right: boolean ``(n,)``.
        part: ids ``(n,)``.

    >>> worst_part(torch.tensor([True, False, True]), torch.tensor([0, 0, 3]))
    0.5
    """
    size = torch.bincount(part)
    hits = torch.bincount(part, right.double())
    return float((hits / size)[size > 0].min())


class EVaLS(HeldOut):
    """``mean(CE) + |layer|_1 / C`` on loss-balanced samples; the worst (label, environment) chooses their number and C.

    Half of the held-out samples are fitted on: those of each class that the net loses most and least on, for what it
    learned by a shortcut it loses most where that fails. On the other half two environments are looked for, as
    ``eiil`` does, and the candidate that is best in the worst part of them is taken, so no attribute is needed.
    As described; its program was not run.
    """

    name = "evals"
    paper = (
        "Ghaznavi et al., Trained models tell us how to make them robust to spurious correlation without group "
        "annotation, TMLR 2025"
    )
    needs_classes = "its last layer is a logistic regression"
    variants = ({"held_from": "train", "held": 0.4}, {"sizes": "0.5", "penalties": "0.1", "env_steps": 50})

    def __init__(
        self,
        make_net: MakeNet,
        info: Info,
        *,
        held_from: HeldFrom = "valid",
        held: Share = 0.2,
        sizes: Annotated[
            str,
            Field(
                pattern=NUMBERS,
                examples=["0.1-0.5"],
                description="samples of each class that are fitted on, as shares of the smallest class, to choose from",
            ),
        ] = "0.1-0.25-0.5-1",
        penalties: Annotated[
            str,
            Field(
                pattern=NUMBERS,
                examples=["1-0.1-0.01"],
                description="inverse strengths of the l1 penalty to choose from, joined by '-'; the first wins a tie",
            ),
        ] = "1-0.3-0.1-0.03-0.01",
        env_steps: Annotated[int, Field(ge=1, description="Adam steps that look for environments")] = 1000,
    ) -> None:
        super().__init__(make_net, info, held_from, held)
        self.sizes, self.penalties = ([float(one) for one in text.split("-")] for text in (sizes, penalties))
        for what, values, most in (("penalties", self.penalties, np.inf), ("sizes", self.sizes, 1)):
            if not all(0 < value <= most for value in values):
                bound = "above 0" if most > 1 else "above 0 and up to 1"
                raise UserError(f"evals: {what}={'-'.join(f'{v:g}' for v in values)}; give numbers {bound}.")
        self.env_steps = env_steps
        self.said: tuple[str, ...] = ()

    def finish(self, train: Dataset, valid: Dataset | None, fit: FitHelper) -> None:
        """Choose the number of samples and the penalty, and put that layer into the head."""
        held = features_of(self.net, self.held_out(train, valid))
        part, judge = split(held, 0.5, self.generator)
        losses = cross_entropy(self._logits(part), part.label)
        logits = self._logits(judge)
        found = environments(logits, judge.label, self.generator, steps=self.env_steps)
        found &= (slopes(logits, judge.label) > 0).any()  # else the optimum is one environment
        cell = 2 * judge.label + found
        smallest = int(torch.bincount(part.label, minlength=self.info.n_classes).min())
        tried: list[tuple[float, float, float, tuple[Tensor, Tensor]]] = []
        for size in self.sizes:
            some = part.take(loss_balanced(losses, part.label, max(1, round(size * smallest / 2))))
            scaler = Scaler(some)
            x, seen = scaler(some), scaler(judge)
            for c in self.penalties:
                layer = lasso(x, some.label.numpy(), c)
                guess = torch.from_numpy((seen @ layer[:, :-1].T + layer[:, -1]).argmax(1))
                tried.append((worst_part(guess == judge.label, cell), size, c, scaler.fold(layer)))
        best, size, c, layer = max(tried, key=lambda one: one[0])
        put(*layer, self.net.head)
        self.said = (
            f"its last layer is fitted on {size:g} of the smallest class from each class, with an l1 penalty of "
            f"{1 / c:g}, chosen by {best:.1%} right in the worst of {len(cell.unique())} parts that were found.",
        )

    @torch.no_grad()
    def _logits(self, features: Dataset) -> Tensor:
        head = self.net.head
        return head(features.x[features.index].to(head.weight.device)).cpu()

    def remarks(self) -> Sequence[str]:
        """What was chosen, and by what."""
        return self.said
