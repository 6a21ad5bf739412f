"""What features say of labels: probes that are fitted on frozen features of any encoder, and judged on others.

How a probe is fitted moves its number as much as many a method does, so a table needs one probe for all of its rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from longcut.data import Dataset
from longcut.errors import UserError
from longcut.methods.last_layer.heads import STRENGTHS, linear_head

__all__ = ["Probed", "knn_probe", "linear_probe"]

ROWS = 1024  # test samples at a time


@dataclass(frozen=True)
class Probed:
    """How a probe does.

    Attributes:
        scores: of each test sample ``(n, C)``; the largest one's class is what the probe says.
        accuracy: in [0, 1].
        worst_class: the lowest accuracy of a class that the test set has.
    """

    scores: Tensor
    accuracy: float
    worst_class: float


def linear_probe(
    features: Tensor,
    label: Tensor,
    test: Tensor,
    test_label: Tensor,
    *,
    valid: tuple[Tensor, Tensor] | None = None,
    strengths: Sequence[float] = STRENGTHS,
) -> Probed:
    """Logistic regression with an l2 penalty on standardised features.

    Args:
        features: ``(n, d)``, to fit on.
        label: class ids ``(n,)``.
        test, test_label: to judge by, likewise.
        valid: features and labels that choose the penalty by their accuracy; without, the last one is taken.
        strengths: inverse, of the penalty, from strong to weak.

    Raises:
        UserError: when shapes do not go together, or a feature is not finite.

    >>> x = torch.tensor([[-2.0], [-1.0], [1.0], [2.0]])
    >>> linear_probe(x, torch.tensor([0, 0, 1, 1]), torch.tensor([[-3.0], [5.0]]), torch.tensor([0, 1])).accuracy
    1.0
    """
    classes = _classes(features, label, test, test_label)
    held = None if valid is None else Dataset.of(valid[0].cpu().float(), valid[1].cpu(), n_classes=classes)
    known = Dataset.of(features.cpu().float(), label.cpu(), n_classes=classes)
    weight, bias, _ = linear_head(known, held, strengths)
    return _probed(test.cpu().double() @ weight.T + bias, test_label)


@torch.no_grad()
def knn_probe(
    features: Tensor, label: Tensor, test: Tensor, test_label: Tensor, *, k: int = 200, temperature: float = 0.5
) -> Probed:
    """The vote of the ``k`` samples whose features are nearest by cosine, each with ``exp(cosine / temperature)``.

    Args:
        features: ``(n, d)``, that vote.
        label: class ids ``(n,)``.
        test, test_label: to judge by, likewise.
        k: at least 1; of fewer samples, all vote.
        temperature: above 0; published: 0.5 for DCL and its family, 0.07 elsewhere.

    Raises:
        UserError: when shapes do not go together, or a number is out of range.

    Source: Wu et al. 2018, "Unsupervised feature learning via non-parametric instance discrimination", section 3.4.

    >>> x = torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]])
    >>> knn_probe(x, torch.tensor([0, 0, 1]), torch.tensor([[0.1, 1.0]]), torch.tensor([1]), k=1).accuracy
    1.0
    """
    if k < 1 or not temperature > 0:
        raise UserError(f"neighbours vote with k={k} and temperature={temperature}; give at least 1, and above 0.")
    classes = _classes(features, label, test, test_label)
    known, seen = (F.normalize(one.float(), dim=1) for one in (features, test))
    label = label.to(known.device)
    scores = []
    for rows in seen.split(ROWS):
        cosine, near = (rows.to(known) @ known.T).topk(min(k, len(known)))
        power = torch.exp((cosine - 1) / temperature)  # the common factor decides nothing
        scores.append(known.new_zeros(len(rows), classes).scatter_add_(1, label[near], power))
    return _probed(torch.cat(scores).cpu(), test_label)


def _classes(features: Tensor, label: Tensor, test: Tensor, test_label: Tensor) -> int:
    """How many there are."""
    shapes = [tuple(one.shape) for one in (features, label, test, test_label)]
    if (
        features.ndim != 2
        or not shapes[0][1:] == shapes[2][1:]
        or (shapes[1], shapes[3])
        != (
            shapes[0][:1],
            shapes[2][:1],
        )
    ):
        raise UserError(f"a probe got shapes {shapes}; give features (n, d), labels (n,), and both of a test set.")
    if not len(features) or not len(test):
        raise UserError("a probe needs samples to be fitted on and samples to be judged by; one of the two is empty.")
    return int(max(label.max(), test_label.max())) + 1


def _probed(scores: Tensor, label: Tensor) -> Probed:
    label = label.cpu()
    right = (scores.argmax(1) == label).double()
    return Probed(scores.float(), float(right.mean()), min(float(right[label == one].mean()) for one in label.unique()))
