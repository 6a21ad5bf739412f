"""SelecMix as published."""

from __future__ import annotations

from longcut.methods.base import Recipe
from longcut.methods.shared import DOUBLE_SCALED_MLP

__all__ = ["RECIPES"]

PAPER = {
    "pairs": "learned",
    "a_rate": 0.5,
    "partners": "pool",
    "share_a": 0.5,
    "within": 0.0,
    "unmixed": 0.0,
    "scale": "code",
    "auxiliary": "tiny:side=14",
    "auxiliary_lr": 0.005,
    "auxiliary_steps": 0,
}
PAPER_TRAINING = {
    "epochs": 200,
    "batch": 256,
    "pool": 4,
    "lr": 0.005,
    "weight_decay": 0.0,
    "schedule": "constant",
    "average": 0.0,
    "drop_last": True,
}
RELEASED = {"argmax": "code", "partner": "first", "unmixed_forward": True}

RECIPES = {
    "paper": Recipe(
        "V+Ours for Colored MNIST as released: partners from a pool of four minibatches, the best one, mixed "
        "loss only, contrastive weights with an extra factor q, an MLP that divides its input by 255 a second time",
        PAPER,
        PAPER_TRAINING,
        DOUBLE_SCALED_MLP,
    ),
    "paper-lff": Recipe(
        "L+Ours as released: the whole LfF loss plus 0.1 times the mixed loss, a weight the paper does not state",
        {**PAPER, "base": "lff", "mixed_weight": 0.1, "lff_scale": "code"},
        PAPER_TRAINING,
        DOUBLE_SCALED_MLP,
    ),
    "released": Recipe(
        "V+Ours with what the released program does beside its paper: similarities masked by zero, one partner by "
        "true attribute for all samples of a cell, raw batches shown to batch normalisation",
        {**PAPER, **RELEASED},
        PAPER_TRAINING,
        DOUBLE_SCALED_MLP,
    ),
    "released-lff": Recipe(
        "L+Ours with the same",
        {**PAPER, **RELEASED, "base": "lff", "mixed_weight": 0.1, "lff_scale": "code", "unmixed_forward": False},
        PAPER_TRAINING,
        DOUBLE_SCALED_MLP,
    ),
}
