"""SaliencyMix: the box that is pasted holds what is salient in its image."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from longcut import mixing
from longcut.data import Info
from longcut.methods.base import MakeNet, Recipe
from longcut.methods.mixing.cutmix import RELEASED, Alpha, BoxScope, Pasting, Probability
from longcut.methods.shared import Blend
from longcut.mixing import salient

TRAINING = {
    **RELEASED,
    "augment": "crop-flip",
    "epochs": 200,
    "batch": 128,
    "lr": 0.1,
    "weight_decay": 5e-4,
    "milestones": "0.3-0.6-0.8",
    "gamma": 0.2,
}


class SaliencyMix(Pasting):
    """CutMix whose box lies around the partner's most salient pixel.

    The defaults are the paper's. Its released program does something else: one box for a batch, found in the first
    partner alone, by a detector that reads the bytes of normalised floats as if they were pixels, so that what it takes
    for salient is noise (``detector=released``, recipe ``as_released``).
    """

    name = "saliencymix"
    paper = (
        "Uddin et al., SaliencyMix: A saliency guided data augmentation strategy for better regularization, ICLR 2021"
    )
    recipes = {
        "as_paper": Recipe(
            "as the paper says, in the loop of the released program for CIFAR (without Nesterov's step): 8-bit images, "
            "a box of its own for each sample, shifted where it would reach over the border",
            {"probability": 0.5},
            TRAINING,
        ),
        "as_released": Recipe(
            "as the released program does it for CIFAR (without Nesterov's step): one box for a batch, from the noise "
            "that it takes for the saliency of the first partner, clipped at the border",
            {"probability": 0.5, "scope": "batch", "detector": "released", "policy": "clip", "ties": "first"},
            TRAINING,
        ),
    }
    variants = (
        recipes["as_released"].options,
        {"scheme": "salient-salient", "policy": "clip", "detector": "spectral"},
        {"scheme": "nonsalient-salient", "detector": "gradient"},
        {"scheme": "salient-nonsalient", "scope": "batch"},
        {"blend": "keep-both"},
    )

    def __init__(
        self,
        make_net: MakeNet,
        info: Info,
        *,
        alpha: Alpha = 1.0,
        probability: Probability = 1.0,
        scope: BoxScope = "sample",
        scheme: Annotated[
            salient.Scheme,
            Field(description="around which of the partner's pixels the box is taken, and the anchor's it is put"),
        ] = "salient-corresponding",
        detector: Annotated[
            salient.Detector,
            Field(
                description="of what is salient; gradient: of the loss; released: the bytes of floats, which is noise"
            ),
        ] = "fine-grained",
        policy: Annotated[
            salient.Policy, Field(description="boxes that reach over a border are clipped, or shifted inside")
        ] = "shift",
        ties: Annotated[
            salient.Ties, Field(description="of pixels alike: any, or the first in reading order as released")
        ] = "random",
        blend: Blend = "saliency",
    ) -> None:
        super().__init__(make_net, info)
        own = salient.pasting(
            detector=detector, scheme=scheme, policy=policy, ties=ties, scope=scope, loss=self.per_sample_loss
        )
        self.shown = own if blend == "saliency" else mixing.BLENDS[blend]
        self._mixes(alpha, scope, probability)
