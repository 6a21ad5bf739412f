"""LAFTR: features from which an adversary that knows the label cannot tell the attribute."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from longcut.data import Batch, Dataset, Info
from longcut.errors import UserError
from longcut.losses import cross_entropy
from longcut.methods.base import FitHelper, MakeNet, Method, Recipe, adam, optimizer
from longcut.methods.erm import ERM
from longcut.methods.last_layer.heads import features_of
from longcut.nets import Net
from longcut.training import Training

__all__ = ["LAFTR", "missed"]


def missed(logits: Tensor, truth: Tensor) -> Tensor:
    """One minus the probability of the truth, of each sample ``(n,)``; of two values, the distance |p - truth|.

    Args:
        logits: ``(n, K)``.
        truth: ids ``(n,)``.

    >>> missed(torch.tensor([[0.0, 0.0], [0.0, 1.0986]]), torch.tensor([0, 1]))
    tensor([0.5000, 0.2500])
    """
    return 1 - logits.softmax(1).gather(1, truth[:, None])[:, 0]


class LAFTR(Method):
    """``mean(CE) - fair * mean(W * |a_hat - a|)``, where an adversary minimises the latter from features and label.

    W is 1 / P(cell), of label and attribute together, so that each cell weighs the same and an adversary who knows
    nothing is at its optimum by a coin; it is 0 for a sample of unknown attribute. Where the adversary cannot win, a
    classifier on the features has equal rates of true and false positives in all groups. More than two attribute values
    are predicted as classes, at 1 - p(a). Features should be few (recipe ``paper``): among many, a
    new last layer finds what the adversary overlooked.
    """

    name = "laftr"
    paper = "Madras et al., Learning adversarially fair and transferable representations, ICML 2018"
    needs = frozenset({"attribute"})
    partial = True
    needs_classes = "its adversary asks who is who within each class"
    variants = (
        {"constraint": "demographic-parity"},
        {"constraint": "equal-opportunity", "class_loss": "l1"},
        {"refit": False, "adversary_steps": 2},
    )
    recipes = {
        "paper": Recipe(
            "Adult, as released: a narrow net and adversary, cross-entropy for the classes; up to 1000 epochs",
            {"adversary": 8},
            {"batch": 64, "lr": 1e-3, "pool": 1, "drop_last": True},
            "mlp:hidden=8-8,activation=leaky",
        )
    }

    def __init__(
        self,
        make_net: MakeNet,
        info: Info,
        *,
        fair: Annotated[float, Field(ge=0, description="weight of what the adversary misses")] = 1.0,
        constraint: Annotated[
            Literal["equalized-odds", "equal-opportunity", "demographic-parity"],
            Field(
                description="the adversary sees the label and all cells count; those of label 1 alone (the released "
                "program: of label 0); or it does not see the label"
            ),
        ] = "equalized-odds",
        class_loss: Annotated[
            Literal["ce", "l1"], Field(description="cross-entropy as in the paper, or 1 - p(label) as released")
        ] = "ce",
        adversary: Annotated[int, Field(ge=1, description="width of the adversary's hidden layer")] = 32,
        adversary_steps: Annotated[int, Field(ge=1, description="its updates after each of the net's")] = 1,
        refit: Annotated[
            bool, Field(description="at the end, fit a new last layer on the features, which stay as they are")
        ] = True,
    ) -> None:
        super().__init__(make_net, info)
        if constraint == "equal-opportunity" and info.n_classes > 2:
            raise UserError(
                f"laftr: equal opportunity is of two classes, of which 1 is the good one, but {info.name} has "
                f"{info.n_classes}; use constraint=equalized-odds."
            )
        self.fair, self.constraint, self.adversary_steps, self.refit = fair, constraint, adversary_steps, refit
        self.class_loss = cross_entropy if class_loss == "ce" else missed
        seen = self.net.width + (0 if constraint == "demographic-parity" else info.n_classes)
        self.adversary = nn.Sequential(
            nn.Linear(seen, adversary), nn.LeakyReLU(), nn.Linear(adversary, info.n_attributes)
        )
        self.register_buffer("weight", torch.ones(self.labels * info.n_attributes))

    weight: Tensor

    @property
    def labels(self) -> int:
        """How many labels the cells tell apart."""
        return 1 if self.constraint == "demographic-parity" else self.info.n_classes

    def cell(self, rows: Batch | Dataset) -> Tensor:
        """Of each sample ``(n,)``: its label and attribute, or its attribute alone; -1 where it is not known."""
        assert rows.attribute is not None  # method.needs
        return rows.attribute if self.labels == 1 else self.info.groups(rows.label, rows.attribute)

    def prepare(self, train: Dataset, fit: FitHelper) -> Dataset:
        """1 / P(cell) in the training set."""
        cell = self.cell(train)
        count = torch.bincount(cell[cell >= 0], minlength=len(self.weight))
        self.weight.copy_(torch.where(count > 0, len(train) / count, 0))
        if self.constraint == "equal-opportunity":
            self.weight[: self.info.n_attributes] = 0
        return train

    def unmasked(self, batch: Batch, z: Tensor) -> Tensor:
        """What the adversary misses, given features ``(n, width)``: in expectation, the sum of the cells' means."""
        assert batch.attribute is not None
        seen = z if self.labels == 1 else torch.cat([z, F.one_hot(batch.label, self.labels).to(z)], 1)
        weight = torch.where(batch.attribute < 0, 0, self.weight[self.cell(batch).clamp_min(0)])
        return (weight * missed(self.adversary(seen), batch.attribute.clamp_min(0))).mean()

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Of the net: be right, and let the adversary miss."""
        z = self.net.features(batch.x)
        outputs = self.net.answer(z)
        losses, hidden = self.class_loss(outputs, batch.label), self.unmasked(batch, z)
        self.context.saw(batch, outputs, losses)
        return losses.mean() - self.fair * hidden, {"adversary_misses": hidden.detach()}

    def step(
        self, batch: Batch, optimizers: list[torch.optim.Optimizer], backward: Callable[[Tensor], None]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """In turns, as published: the net, then the adversary on the features it has now."""
        net, adversary = optimizers
        loss, logs = super().step(batch, [net], backward)
        with torch.no_grad():
            z = self.net.features(batch.x)
        for _ in range(self.adversary_steps):
            adversary.zero_grad(set_to_none=True)  # also of what the net's turn left
            backward(self.unmasked(batch, z))
            adversary.step()
        return loss, logs

    def optimizers(self, training: Training) -> list[torch.optim.Optimizer]:
        """One for each player."""
        return [optimizer(self.net.parameters(), training), adam(self.adversary.parameters(), training)]

    def finish(self, train: Dataset, valid: Dataset | None, fit: FitHelper) -> None:
        """A classifier that knows nothing of fairness, fitted on the features as they are."""
        if self.refit:
            z, head = features_of(self.net, train), self.net.head
            naive = ERM(lambda: Net([nn.Flatten()], nn.Linear(head.in_features, head.out_features)), z.info)
            head.load_state_dict(fit(naive, z, augment="none").net.head.state_dict())
