"""What several methods share: options with one declaration, and published settings of the loop."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from longcut import mixing
from longcut.data import Info
from longcut.errors import UserError
from longcut.methods.base import require_attribute
from longcut.spec import OneOf

# --- options ----------------------------------------------------------------------------------------------------------

Blend = Annotated[
    str,
    Field(description="how two inputs become one; keep-both: the control, the same pairs and one of the two whole"),
    OneOf(mixing.BLENDS),
]
Level = Annotated[
    Literal["input", "early", "output", "random"],
    Field(description="where is mixed: inputs, behind an early stage, the features, or any of the net's levels by lot"),
]
Objective = Annotated[
    Literal["cross-entropy", "bce"],
    Field(description="of mixtures; bce: the binary one of every class's probability, as released"),
]
Scope = Annotated[Literal["sample", "batch"], Field(description="one share for each sample, or for the batch")]
Decay = Annotated[float, Field(ge=0, lt=1, description="weight of the old value in each sample's loss average")]
Scale = Annotated[
    Literal["paper", "code"], Field(description="GCE as in its paper, or as released (gradient q times that)")
]
Step = Annotated[float, Field(gt=0, description="step size of the group weights' exponentiated ascent (eta)")]
Balanced = Annotated[bool, Field(description="draw equally from every group, anew in each epoch")]
Alpha = Annotated[float, Field(gt=0, le=1, description="smallest share of the data to do well on; 1 is erm")]
Outliers = Annotated[
    float, Field(ge=0, lt=1, description="share of each batch, its largest losses, left out first (DORO's epsilon)")
]
Identify = Annotated[
    str,
    Field(
        description="helper: its errors; oracle: the conflicting ones; or the folder of a run with a record, in which "
        "{seed} stands for the seed"
    ),
]
ShortcutFrom = Annotated[
    Literal["helper", "attribute"],
    Field(description="each sample's value of the shortcut: a biased net's prediction, or the true attribute"),
]
Record = Annotated[
    Literal["online", "evaluated"],
    Field(description="the helper's predictions: as its training saw them, or by a pass of its own after each epoch"),
]
IdentifiedAt = Annotated[
    int, Field(ge=0, description="epoch of the helper, or of the record, whose errors count, from 1 (T); 0: the last")
]
HelperEpochs = Annotated[int, Field(ge=1, description="epochs of the helper")]
HelperLr = Annotated[float | None, Field(gt=0, description="learning rate of the helper; by default the run's")]
HelperDecay = Annotated[float | None, Field(ge=0, description="weight decay of the helper; by default the run's")]
HelperNet = Annotated[
    str, Field(description="net of the helper, such as conv:width=8, which sees colours before shapes; same: the run's")
]
WorstShare = Annotated[
    float, Field(gt=0, lt=1, description="regression: share of the samples, those that lose most, that is an error")
]
HelperOptimizer = Annotated[
    Literal["adam", "adamw", "adamw-inverted", "sgd"] | None,
    Field(description="optimizer of the helper; by default the run's"),
]

Ways = Annotated[int, Field(ge=1, description="classes in an episode; of data with fewer, all")]
Shots = Annotated[int, Field(ge=1, description="samples of each way that an episode learns from")]
Queries = Annotated[int, Field(ge=1, description="other samples of each way that it is asked")]
Episodic = Annotated[int, Field(ge=1, description="episodes in each step")]


def require_groups(who: str, by: str, info: Info) -> None:
    """Refuse groups without an attribute, and classes of a regression.

    Raises:
        UserError: saying what to do.
    """
    if by == "group":
        require_attribute(f"{who} by group", info.name, info.n_attributes > 0)
    elif info.task == "regression":
        raise UserError(f"{who} by class needs classes, but {info.name} is regression; use by=group.")


def helper_settings(epochs: int, lr: float | None, weight_decay: float | None, optimizer: str | None) -> dict[str, Any]:
    """Training settings of a helper: its own where given, else the run's; constant, and without averaged weights.

    >>> helper_settings(3, None, 0.1, None)
    {'average': 0.0, 'schedule': 'constant', 'epochs': 3, 'weight_decay': 0.1}
    """
    own = {"epochs": epochs, "lr": lr, "weight_decay": weight_decay, "optimizer": optimizer}
    return {"average": 0.0, "schedule": "constant"} | {name: v for name, v in own.items() if v is not None}


# --- published settings -----------------------------------------------------------------------------------------------

DOUBLE_SCALED_MLP = "mlp:hidden=100-100-16,scale=0.00392156862745098"  # divides its input by 255 a second time
BIASED_MNIST = {  # the loop of ReBias's experiment, and of EnD's after it
    "epochs": 80,
    "batch": 256,
    "lr": 1e-3,
    "weight_decay": 1e-4,
    "schedule": "step",
    "milestones": "0.25-0.5-0.75",
    "gamma": 0.1,
    "average": 0.0,
}
SUBPOPBENCH = {  # on Waterbirds
    "optimizer": "sgd",
    "lr": 1e-3,
    "weight_decay": 1e-4,
    "batch": 108,
    "pool": 1,
    "drop_last": True,
    "epochs": 114,
}
RESNET = {"optimizer": "sgd", "lr": 3e-3, "weight_decay": 1e-4, "augment": "resized-crop-flip"}  # of DFR and AFR
RESNET_CELEBA = {**RESNET, "schedule": "cosine", "batch": 100, "epochs": 20}
BERT = {"optimizer": "adamw", "schedule": "linear", "clip": 1.0, "lr": 1e-5, "pool": 1}  # of JTT, JM1 and UMIX
BERT_HELPER = {"helper_lr": 2e-5, "helper_weight_decay": 0.0, "helper_optimizer": "sgd"}
