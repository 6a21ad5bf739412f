"""The settings of the training loop, which methods read and :mod:`longcut.fit` obeys."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

__all__ = ["Training"]


@dataclass(frozen=True, kw_only=True)
class Training:
    """How long and how fast: the settings every method shares, and nothing of a method's idea."""

    epochs: Annotated[int, Field(ge=1, description="passes over the training set")] = 30
    batch: Annotated[int, Field(ge=1, description="samples per update")] = 256
    pool: Annotated[int, Field(ge=1, description="minibatches per pool; partners are searched pool by pool")] = 4
    lr: Annotated[float, Field(gt=0, description="learning rate")] = 1e-3
    weight_decay: Annotated[float, Field(ge=0, description="weight decay of the main network")] = 0.0
    optimizer: Annotated[
        Literal["adam", "adamw", "adamw-inverted", "sgd"],
        Field(
            description="of the main network; sgd: momentum 0.9; adamw: decays weights, not biases and norms; "
            "adamw-inverted: biases and norms alone, as released by SubpopBench"
        ),
    ] = "adam"
    clip: Annotated[
        float, Field(ge=0, description="largest norm of a gradient, longer ones are cut to it; 0: none")
    ] = 0.0
    schedule: Annotated[
        Literal["constant", "cosine", "linear", "step"],
        Field(
            description="learning rate over the run; cosine and linear: down to 0; "
            "step: times gamma at each of the milestones"
        ),
    ] = "constant"
    milestones: Annotated[
        str,
        Field(
            pattern=r"^0?\.\d+(-0?\.\d+)*$",
            examples=["0.4-0.6-0.8"],
            description="shares of the run, joined by '-', for schedule=step",
        ),
    ] = "0.5-0.75"
    gamma: Annotated[float, Field(gt=0, le=1, description="factor of the learning rate at each milestone")] = 0.1
    augment: Annotated[
        str,
        Field(
            examples=["crop-flip+cutout:side=16"],
            description="how training images are changed: names of augmentations, joined by '+' where several follow "
            "each other, each with its options or without",
        ),
    ] = "none"
    average: Annotated[
        float, Field(ge=0, lt=1, description="decay per update of the averaged weights, smaller at first; 0: none")
    ] = 0.0
    drop_last: Annotated[bool, Field(description="leave out a last pool that is not full")] = False
    reshuffle: Annotated[bool, Field(description="a new order of the samples in each epoch; else one for all")] = True
    loss: Annotated[
        str,
        Field(
            examples=["squared, huber:delta=1, absolute or quantile:level=0.5"],
            description="regression: of a sample; huber:delta=1, absolute or quantile:level=0.5 in place of squared; "
            "delta is in deviations of the target",
        ),
    ] = "squared"
    standardize: Annotated[
        bool,
        Field(
            description="regression: the net learns targets of mean 0 and deviation 1; its outputs stay in their units"
        ),
    ] = True
    every: Annotated[int, Field(ge=1, description="epochs between evaluations")] = 1
