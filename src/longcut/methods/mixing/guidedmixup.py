"""GuidedMixup: partners whose salient regions lie elsewhere, and pixels mixed in the proportion of saliency."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import Field
from torch import Tensor

from longcut import mixing
from longcut.data import Batch, Info
from longcut.methods.base import MakeNet, Method, Recipe
from longcut.methods.mixing.base import MixingMethod
from longcut.methods.shared import Blend
from longcut.mixing import Mixed, Partners, Pool
from longcut.mixing.guided import by_gradient, in_proportion, overlap_distance, smoothed, spectral
from longcut.mixing.saliency import gradient


class GuidedMixup(MixingMethod):
    """Train on batches whose images are paired so that what is salient in the two overlaps little."""

    name = "guidedmixup"
    paper = "Kang and Kim, GuidedMixup: An efficient mixup strategy guided by saliency maps, AAAI 2023"
    kinds = frozenset({"image"})
    needs_classes = "its label is a mixture of classes in the proportion of the pixels"
    drawn = "batch"
    recipes = {
        "spectral": Recipe("Guided-SR as released: spectral saliency, half of the batches", {"probability": 0.5}),
        "gradient": Recipe(
            "Guided-AP as released: the gradients of the net, four batches in five",
            {"detector": "gradient", "probability": 0.8},
        ),
    }
    variants = {"detector": "gradient"}, {"blend": "keep-both", "probability": 1.0}, {"blend": "linear"}

    def __init__(
        self,
        make_net: MakeNet,
        info: Info,
        *,
        detector: Annotated[
            Literal["spectral", "gradient"],
            Field(description="saliency: what stands out of the image's spectrum, or what moves the net's loss"),
        ] = "spectral",
        probability: Annotated[float, Field(gt=0, le=1, description="share of batches that are mixed")] = 0.5,
        blend: Blend = "guided",
    ) -> None:
        super().__init__(make_net, info)
        self.detector, self.probability, self.guided = detector, probability, blend == "guided"
        self.shown = by_gradient if self.guided and detector == "gradient" else mixing.BLENDS[blend]
        pair = mixing.apart(lambda batch, pool: overlap_distance(self.maps(batch), self.maps(pool)))
        self.mix = mixing.Mix(pair, mixing.uniform(), self.shown, mixing.proportional)

    def maps(self, batch: Batch | Pool) -> Tensor:
        """Saliency of images, each map with sum 1 ``(n, H, W)``."""
        assert isinstance(batch, Batch)  # partners come from the minibatch
        if self.detector == "spectral":
            return spectral(batch.x)
        return smoothed(gradient(batch.x, batch.label, self.looked_at(0)))

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean two-term loss of the mixtures, or the mean loss of a batch that is not mixed."""
        if mixing.coin(self.generator, self.probability):
            return super().loss(batch)
        return Method.loss(self, batch)

    def mixture(self, batch: Batch) -> tuple[Mixed, Partners, int]:
        """As every method that mixes, but each image's saliency is found once, for pairs and masks."""
        maps = self.maps(batch)
        mix = replace(self.mix, pair=mixing.apart(lambda *_: overlap_distance(maps, maps)))
        partners = mix.draw(batch, generator=self.generator)

        def blend(own: Tensor, partner: Tensor, share: Tensor, generator: Any) -> tuple[Tensor, Tensor]:
            return in_proportion(own, partner, share, maps, maps[partners.row])

        mix = replace(mix, blend=blend) if self.guided else mix
        return mix.blend_with(batch, partners, self.generator, self.looked_at(0)), partners, 0
