"""What contrastive methods share: two views, a projection, and at the end a probe, which alone sees labels."""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, Any, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from longcut import augment
from longcut.data import Batch, Dataset, Info, undersample
from longcut.methods.base import FitHelper, MakeNet, Method
from longcut.methods.erm import ERM
from longcut.methods.last_layer.heads import features_of, linear_head, put
from longcut.nets import Net

__all__ = [
    "CIFAR",
    "Contrastive",
    "Probe",
    "ProbeEpochs",
    "ProbeLr",
    "Projection",
    "Tau",
    "Temperature",
    "Views",
    "projector",
]

Temperature = Annotated[float, Field(gt=0, description="of the loss")]
Tau = Annotated[
    float, Field(ge=0, lt=1, description="share of the negatives taken to be of the anchor's class (the class prior)")
]
Projection = Annotated[int, Field(ge=1, description="numbers that come out of the projection, which is contrasted")]
Views = Annotated[
    str,
    Field(
        examples=["resized-crop-flip:scale=0.08+jitter"],
        description="how a view is made: augmentations joined by '+'; auto: crops and colours of images, features of "
        "tables from other rows, dropped tokens",
    ),
]
Probe = Annotated[
    Literal["linear", "sgd", "balanced", "fine-tune"],
    Field(
        description="the classifier at the end; linear: logistic regression on frozen features, balanced: of as many "
        "samples of each group (class where none is known), sgd: by Adam; fine-tune: the whole net by cross-entropy"
    ),
]
ProbeEpochs = Annotated[int, Field(ge=1, description="of the probe, for sgd and fine-tune")]
ProbeLr = Annotated[float, Field(gt=0, description="learning rate of the probe, for sgd and fine-tune")]

VIEWS = {
    "image": "resized-crop-flip:scale=0.08+jitter+grayscale",
    "table": "feature-swap",  # by validation on Adult and COMPAS, docs/contrastive.md
    "tokens": "token-dropout",
}
HIDDEN = 512  # units in the projection, as released
SGD = {  # of the released probe
    "batch": 256,
    "optimizer": "adam",
    "weight_decay": 1e-6,
    "schedule": "constant",
    "clip": 0.0,
    "average": 0.0,
    "drop_last": False,
    "augment": "none",
}
CIFAR: tuple[dict[str, Any], dict[str, Any]] = (  # options and loop of the released code for CIFAR-10, as in Table 1
    {"views": f"{VIEWS['image']}+blur:sigma=2.0,chance=0.5", "probe": "sgd", "probe_epochs": 100},
    {"epochs": 500, "batch": 128, "optimizer": "adam", "lr": 1e-3, "weight_decay": 1e-6, "schedule": "constant"},
)


def projector(width: int, outputs: int) -> nn.Sequential:
    """Features ``(n, width)`` to what is contrasted ``(n, outputs)``, by one hidden layer with batch normalisation."""
    hidden = nn.Linear(width, HIDDEN, bias=False), nn.BatchNorm1d(HIDDEN), nn.ReLU()
    return nn.Sequential(*hidden, nn.Linear(HIDDEN, outputs))


class Contrastive(Method):
    """The loss of two views of each sample, projected; labels are looked at in ``finish`` alone."""

    needs_classes = "it is judged by a probe of its features that is a classifier"
    judged_by_epoch = False
    training_defaults = {"batch": 256, "augment": "none", "weight_decay": 1e-6}
    variants = (
        {"probe": "sgd", "probe_epochs": 3, "probe_lr": 0.01},
        {"probe": "balanced"},
        {"probe": "fine-tune", "probe_epochs": 2, "probe_lr": 0.01},
    )

    def __init__(
        self,
        make_net: MakeNet,
        info: Info,
        *,
        temperature: Temperature = 0.5,
        projection: Projection = 128,
        views: Views = "auto",
        probe: Probe = "linear",
        probe_epochs: ProbeEpochs = 100,
        probe_lr: ProbeLr = 1e-3,
    ) -> None:
        super().__init__(make_net, info)
        views = VIEWS[info.kind] if views == "auto" else views
        augment.require_kind(views, info, "views")
        self.views = augment.build(views)
        self.temperature, self.probe = temperature, probe
        self.probe_epochs, self.probe_lr = probe_epochs, probe_lr
        self.projection = projector(self.net.width, projection)

    @abstractmethod
    def contrast(self, z: Tensor, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of projections ``(2B, d)``, and numbers worth logging.

        Args:
            z: rows ``i`` and ``i + B`` are of two views of one sample.
            x: the views ``(2B, ...)``.
        """

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Of two fresh views of each sample, in one pass; a sample alone has nobody to be told from, and loses 0."""
        x = self.views(torch.cat([batch.x, batch.x]), self.generator)
        z = self.projection(self.net.features(x))
        return self.contrast(z, x) if len(batch) > 1 else (0 * z.sum(), {})

    def finish(self, train: Dataset, valid: Dataset | None, fit: FitHelper) -> None:
        """Fit the probe, whose layer becomes the head of the net."""
        if self.probe == "fine-tune":
            fit(ERM(lambda: self.net, self.info), train, epochs=self.probe_epochs, lr=self.probe_lr)
            return
        known = features_of(self.net, train)
        if self.probe == "sgd":
            head = Net([nn.Identity()], cast(nn.Linear, self.net.head))
            fit(ERM(lambda: head, known.info), known, epochs=self.probe_epochs, lr=self.probe_lr, **SGD)
            return
        held = None if valid is None else features_of(self.net, valid)
        if self.probe == "balanced":
            known, held = self._balanced(known), None if held is None else self._balanced(held)
        weight, bias, _ = linear_head(known, held)
        put(weight, bias, self.net.head)

    def _balanced(self, data: Dataset) -> Dataset:
        if not data.known.any():
            return undersample(data, "class", self.generator)
        return undersample(data if data.known.all() else data.take(data.known), "group", self.generator)
