"""transplant: rare classes get the backgrounds of other images, and keep their label."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from longcut import mixing
from longcut.data import Info
from longcut.errors import UserError
from longcut.methods.base import MakeNet
from longcut.methods.mixing.tail import ClassLikeness, Rare, TailMixing
from longcut.methods.shared import Blend
from longcut.mixing import Target
from longcut.mixing.classes import geometric
from longcut.mixing.transplant import TRANSPLANTS

NEXT = {"similar": 0.5, "dissimilar": 2.0}  # how much the next similar class weighs against the one before


class Transplant(TailMixing):
    """Background of a source, the partner, takes the place of background of an anchor from a rare class.

    The label is the anchor's, for its object is still there: a transplant that would hide more than ``guard`` of the
    anchor's saliency is not made.
    """

    name = "transplant"
    paper = "Guo, slides, 2022, unpublished; see Gao et al., Enhancing minority classes by mixing, NeurIPS 2023"
    kinds = frozenset({"image"})
    variants = (
        {"blend": "background-moved", "label": "mass", "source": "similar"},
        {"blend": "background-around", "label": "area", "source": "dissimilar"},
        {"blend": "keep-both", "rare": 0.0},
        {"label": "source", "guard": 1.0},
    )

    def __init__(
        self,
        make_net: MakeNet,
        info: Info,
        *,
        blend: Blend = "background-box",
        label: Annotated[
            Literal["target", "source", "area", "mass"],
            Field(
                description="target: the anchor's; source: the partner's where something is pasted, as the slides have "
                "it; or both, in proportion to the areas or to the saliency that is seen of either"
            ),
        ] = "target",
        guard: Annotated[
            float, Field(ge=0, le=1, description="how much of its saliency an anchor may lose; 1: all")
        ] = 0.2,
        source: Annotated[
            Literal["anyone", "similar", "dissimilar"],
            Field(
                description="partners as they come; or from other classes, the most often confused with the anchor's, "
                "or the least often, weighing most"
            ),
        ] = "anyone",
        rare: Rare = 1.0,
        alpha: Annotated[
            float, Field(ge=0, description="shares are Beta(alpha, alpha); 0 is no mixing: the anchors alone")
        ] = 1.0,
    ) -> None:
        if label == "mass" and blend not in TRANSPLANTS:
            raise UserError(
                f"transplant with label=mass needs a blend that knows what is salient, but blend is {blend}; "
                f"use one of {', '.join(TRANSPLANTS)}, or label=area."
            )
        super().__init__(make_net, info, rare, None if source == "anyone" else ClassLikeness(info))
        options: dict[str, Any] = {"guard": guard, "counted": "mass" if label == "mass" else "area"}
        self.shown = partial(TRANSPLANTS[blend], **options) if blend in TRANSPLANTS else mixing.BLENDS[blend]
        rules = {"target": mixing.own, "source": literal}
        self.label = mixing.proportional if blend == "keep-both" else rules.get(label, mixing.proportional)
        self.share, self.source = mixing.beta(alpha), source
        self.mix = self.make_mix()

    def make_mix(self) -> mixing.Mix:
        """By what is known of the classes so far, where that is asked."""
        if self.likeness is None:
            pair = mixing.anyone()
        else:
            pair = mixing.by_class(geometric(self.likeness.similarity, NEXT[self.source]))
        return mixing.Mix(pair, self.share, self.shown, self.label)


def literal(own: Tensor, partner: Tensor, share: Tensor) -> Target:
    """The partner's label wherever something of it is seen."""
    one = torch.ones_like(share)
    shown = torch.where(share < 1, partner, own)
    return Target(shown, shown, one, one, one)
