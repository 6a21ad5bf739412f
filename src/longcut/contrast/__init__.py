"""Contrastive losses over a batch: of samples with labels, and of two views of each sample without any.

The second kind takes ``z`` ``(2B, d)``, where rows ``i`` and ``i + B`` are two views of one sample. Each row is an
anchor, its other view its positive, and the 2B - 2 views of other samples its negatives. Rows are scaled to length 1
and half precision becomes float32, so any network's outputs will do.
"""

from longcut.contrast.difficulty import contrastive_triplet, difficulty_weight, weight_of_distances
from longcut.contrast.supervised import generalized_supervised_contrastive, supervised_contrastive
from longcut.contrast.views import (
    Anchors,
    anchor_losses,
    debiased_contrastive,
    decoupled_contrastive,
    hard_contrastive,
    simclr_loss,
    weighted_contrastive,
)

__all__ = [
    "Anchors",
    "anchor_losses",
    "contrastive_triplet",
    "debiased_contrastive",
    "decoupled_contrastive",
    "difficulty_weight",
    "generalized_supervised_contrastive",
    "hard_contrastive",
    "simclr_loss",
    "supervised_contrastive",
    "weight_of_distances",
    "weighted_contrastive",
]
