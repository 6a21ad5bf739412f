"""Empirical risk minimisation: what everybody does, and the baseline of every table."""

from __future__ import annotations

from torch import Tensor

from longcut.data import Batch
from longcut.methods.base import Method


class ERM(Method):
    """Minimise the mean loss. Learns whatever predicts the label most easily, shortcut included."""

    name = "erm"
    paper = "Vapnik, Principles of risk minimization, NeurIPS 1991"
    tasks = frozenset({"classification", "regression"})

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean cross-entropy, or mean squared error."""
        return self.per_sample_loss(self(batch.x), batch.label).mean(), {}
