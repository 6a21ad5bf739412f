"""RecursiveMix: each batch shows the one before it, mixtures and all, in a box."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from longcut import mixing
from longcut.context import Context
from longcut.data import Batch, Dataset, Info, generator
from longcut.errors import UserError
from longcut.losses import cross_entropy
from longcut.methods.base import MakeNet, Method, Recipe
from longcut.mixing import regions
from longcut.nets.maps import cell_features, last_map, roi_mean

STEPS = {"optimizer": "sgd", "weight_decay": 1e-4, "pool": 1, "epochs": 300}


class RecursiveMix(Method):
    """``CE(f(x), s y + (1 - s) y') + w (1 - s) CE(h(RoI), softmax(f(x')))``, where ``x', y'`` is the previous mixture.

    Row k of a batch shows, resized into a box, row k of the mixtures before it, whose soft label counts by the box's
    area. Nothing is remembered from one epoch to the next. In the control (``blend=keep-both``) a row is shown whole:
    the previous mixture, with its label and the second term over the whole image, with a probability of the box's area.
    """

    name = "recursivemix"
    paper = "Yang et al., RecursiveMix: Mixed learning with history, NeurIPS 2022"
    kinds = frozenset({"image"})
    needs_classes = "its second term compares probabilities of classes"
    variants = (
        {"consistency": 0.5, "head": "own", "net": "conv:width=4"},
        {"head": "shared", "net": "tiny"},
        {"blend": "keep-both"},
    )
    recipes = {
        "cifar": Recipe(
            "the released script for CIFAR, which has a PyramidNet; its published log warms up for 5 epochs, this not",
            {"alpha": 0.5, "consistency": 0.1},
            {**STEPS, "lr": 0.25, "batch": 64, "schedule": "step", "milestones": "0.5-0.75", "augment": "crop-flip"},
            "resnet18",
        ),
        "imagenet": Recipe(
            "the released script for ImageNet, without its warm-up and with weaker augmentation",
            {"alpha": 0.5, "consistency": 0.5},
            {**STEPS, "lr": 0.2, "batch": 512, "schedule": "cosine", "augment": "resized-crop-flip"},
            "resnet50",
        ),
    }

    def __init__(
        self,
        make_net: MakeNet,
        info: Info,
        *,
        alpha: Annotated[float, Field(gt=0, le=1, description="the box's area is U(0, alpha) of the image's")] = 0.5,
        consistency: Annotated[
            float | None,
            Field(ge=0, description="weight of the second term; by default 0.1, and 0 for a net without feature map"),
        ] = None,
        head: Annotated[
            Literal["own", "shared"], Field(description="of the second term: a linear layer of its own, or the net's")
        ] = "own",
        blend: Annotated[
            Literal["resize", "keep-both"],
            Field(description="the previous mixture in a box; keep-both: the control, one of the two whole"),
        ] = "resize",
    ) -> None:
        super().__init__(make_net, info)
        self.stages = last_map(self.net, info)
        if consistency and self.stages is None:
            raise UserError(
                f"recursivemix: consistency={consistency:g} needs a feature map, and this net has none; take a net of "
                "convolutions, such as conv or resnet18, or consistency=0."
            )
        self.consistency = (0.0 if self.stages is None else 0.1) if consistency is None else consistency
        own = self.consistency and head == "own"
        self.head = nn.Linear(self.net.width, info.n_classes) if own else None
        self.blend, self.ratio = blend, mixing.uniform(1 - alpha, 1.0, scope="batch")
        self.last: Batch | None = None

    def on_epoch(self, context: Context) -> None:
        """The previous mixtures are forgotten."""
        super().on_epoch(context)
        self.last = None

    def pasted(self, own: Tensor, last: Tensor, share: Tensor) -> tuple[Tensor, regions.Corners]:
        """Images with those of the batch before in a box, and the box."""
        height, width = own.shape[2:]
        corners = regions.box(share, height, width, self.generator, scope="batch")
        if self.blend == "keep-both":
            corners = regions.all_or_nothing(corners, height, width, self.generator)
        return regions.paste_resized(own, last, corners), corners

    @torch.no_grad()
    def pairs(self, train: Dataset, n: int) -> Mapping[str, Tensor]:
        """Samples as the second batch of an epoch shows them, with those of the first, each as it is, in the box."""
        anchor, partner = torch.randperm(len(train), generator=generator(len(train), 43))[: 2 * n].tensor_split(2)
        anchor = anchor[: len(partner)]  # of an odd number, one has nobody
        own, last = (train.gather(rows, self.generator.device) for rows in (anchor, partner))
        x, corners = self.pasted(own, last, self.ratio(len(anchor), self.generator).to(own))
        share = corners.share(own.shape[2], own.shape[3])
        return {"anchor": anchor, "partner": partner, "share": share.cpu(), "mixed": 255 * x.cpu()}

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Both terms; ``share`` is how much of the images is new."""
        n, classes, (height, width) = len(batch), self.info.n_classes, batch.x.shape[2:]
        soft = F.one_hot(batch.label, classes).to(batch.x.dtype)
        own = Batch(batch.x, soft, extra={"logits": soft})
        last = own[:0] if self.last is None else self.last[:n]
        share = self.ratio(n, self.generator).to(soft)
        share = torch.where(torch.arange(n, device=soft.device) < len(last), share, 1)  # the rest is new alone
        last = _continued(last, own[len(last) :])
        x, corners = self.pasted(own.x, last.x, share)
        share = corners.share(height, width)
        soft = mixing.proportional(own.label, last.label, share).soft(classes)
        maps = self.mixable(x, self.stages or 0)
        logits = self.outputs(maps, self.stages or 0)
        losses = cross_entropy(logits, soft)
        if self.consistency:
            region = roi_mean(maps, corners, height, width)[:, :, None, None]
            again = (self.head or self.net.head)(cell_features(self.net, region, self.stages)[:, 0, 0])
            losses = losses + self.consistency * (1 - share) * cross_entropy(again, last.extra["logits"].softmax(1))
        self.last = Batch(x, soft, extra={"logits": logits.detach()})
        return losses.mean(), {"share": share.mean()}


def _continued(first: Batch, then: Batch) -> Batch:
    """The rows of one batch, then those of the other."""
    logits = torch.cat([first.extra["logits"], then.extra["logits"]])
    return Batch(torch.cat([first.x, then.x]), torch.cat([first.label, then.label]), extra={"logits": logits})
