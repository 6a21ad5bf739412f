"""similar-mix: partners from classes that are like the anchor's own."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from longcut import mixing
from longcut.data import Info
from longcut.methods.base import MakeNet
from longcut.methods.mixing.tail import Alike, ClassLikeness, Decay, Rare, Ratio, TailMixing
from longcut.methods.shared import Blend
from longcut.mixing.classes import geometric, simplex


class SimilarMix(TailMixing):
    """The partner's class is drawn from the other classes by how alike they are, and then anyone in it.

    How alike two classes are is asked of the net in training, of training samples, once per epoch; before that all
    other classes are drawn alike. The label is in proportion to the two inputs.
    """

    name = "similar-mix"
    paper = "Guo, slides, 2022, unpublished; see Gao et al., Enhancing minority classes by mixing, NeurIPS 2023"
    variants = (
        {"law": "softmax", "temperature": 0.1, "rare": 0.0},
        {"alike": "prototypes", "ratio": 2.0, "blend": "cut"},
        {"blend": "keep-both", "decay": 0.9},
    )

    def __init__(
        self,
        make_net: MakeNet,
        info: Info,
        *,
        alike: Alike = "confusion",
        law: Annotated[
            Literal["rank", "softmax"],
            Field(description="other classes weigh ratio ** rank, or exp(similarity / temperature)"),
        ] = "rank",
        ratio: Ratio = 0.5,
        temperature: Annotated[
            float, Field(description="of law=softmax; below 0 the least similar class weighs most")
        ] = 0.1,
        decay: Decay = 0.5,
        rare: Rare = 1.0,
        alpha: Annotated[float, Field(gt=0, description="shares are Beta(alpha, alpha), one for each sample")] = 1.0,
        blend: Blend = "linear",
    ) -> None:
        self.law, self.ratio, self.temperature = law, ratio, temperature
        super().__init__(make_net, info, rare, ClassLikeness(info, alike, decay))
        self.share, self.shown = mixing.beta(alpha), mixing.BLENDS[blend]
        self.mix = self.make_mix()

    likeness: ClassLikeness

    def make_mix(self) -> mixing.Mix:
        """By what is known so far."""
        known = self.likeness.similarity
        law = simplex(known, self.temperature) if self.law == "softmax" else geometric(known, self.ratio)
        return mixing.Mix(mixing.by_class(law), self.share, self.shown, mixing.proportional)
