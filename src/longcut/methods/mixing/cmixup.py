"""C-Mixup: in a regression, the nearer two targets are, the likelier the two samples are mixed."""

from __future__ import annotations

import dataclasses
import math
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from longcut import mixing
from longcut.context import Context
from longcut.data import Batch, Dataset, Info
from longcut.errors import UserError
from longcut.methods.base import MakeNet
from longcut.methods.mixing.base import MixingMethod
from longcut.methods.mixing.regression import recipes
from longcut.methods.shared import Blend, Scope
from longcut.mixing.distances import near_weights, others
from longcut.mixing.types import Pool

MOST = 1024  # samples that the width of the kernel is found from


class CMixup(MixingMethod):
    """mixup with partners drawn by ``P(j | i) ∝ exp(-d(i, j)² / 2σ²)``, where ``d`` is how far apart the targets are.

    How selective that is depends on σ and on the scale of the targets: at the σ published for one data set, all
    samples are about equally likely. So of how many partners the law really chooses is logged, as the share
    ``effective_partners`` of all candidates: the exponential of the law's entropy over their number, mean over anchors.
    Where all targets are equal, so are all partners.
    """

    name = "c-mixup"
    paper = "Yao et al., C-Mixup: Improving generalization in regression, NeurIPS 2022"
    tasks = frozenset({"regression"})
    recipes = recipes("c-mixup")
    variants = (
        {"unit": "share"},
        {"pairs": "nearest", "k": 3},
        {"distance": "features", "unit": "share"},
        {"source": "pool", "scope": "sample", "level": "hidden", "unit": "target"},
        {"distance": "inputs", "own": False, "blend": "keep-both"},
    )

    def __init__(
        self,
        make_net: MakeNet,
        info: Info,
        *,
        sigma: Annotated[float, Field(gt=0, description="width of the kernel, in the unit that 'unit' says")] = 0.25,
        unit: Annotated[
            Literal["sd", "target", "share"],
            Field(
                description="of sigma; sd: deviations of the targets; target: their own unit, as released; "
                "share: the width at which the law chooses, on average, of this share of the candidates"
            ),
        ] = "sd",
        distance: Annotated[
            Literal["target", "inputs", "features"],
            Field(description="between targets, inputs, or what the net makes of them; unit is then of these"),
        ] = "target",
        pairs: Annotated[
            Literal["kernel", "nearest"], Field(description="by the kernel; nearest: any of the k nearest, the control")
        ] = "kernel",
        k: Annotated[int, Field(ge=1, description="how many, for pairs=nearest")] = 5,
        source: Annotated[
            Literal["data", "pool"],
            Field(description="where partners are sought: the whole training set, or the pool of minibatches"),
        ] = "data",
        own: Annotated[bool, Field(description="whether a sample may be its own partner, as released")] = True,
        alpha: Annotated[float, Field(gt=0, description="shares are Beta(alpha, alpha)")] = 2.0,
        scope: Scope = "batch",
        level: Annotated[
            Literal["input", "hidden"],
            Field(description="what is mixed; hidden: behind the first layer or stage (the paper's manifold)"),
        ] = "input",
        blend: Blend = "linear",
    ) -> None:
        super().__init__(make_net, info)
        if unit == "share" and sigma > 1:
            raise UserError(
                f"c-mixup: sigma={sigma:g} is no share of the candidates; with unit=share give one up to 1."
            )
        if distance == "inputs" and info.kind == "tokens":
            raise UserError(
                f"c-mixup: distance=inputs needs numbers, but {info.name} holds token ids; use distance=features."
            )
        self.sigma, self.unit, self.distance, self.pairing, self.k = sigma, unit, distance, pairs, k
        self.source, self.scope, self.shown = source, scope, mixing.BLENDS[blend]
        self.mixed_at = "early" if level == "hidden" else "input" if info.kind != "tokens" else None
        self.squared = self._squared if own else others(self._squared)
        pair, ratio = mixing.weighted(self.log_weight), mixing.beta(alpha, scope=scope)
        self.mix = mixing.Mix(pair, ratio, self.shown, mixing.proportional)
        self.register_buffer("width", torch.tensor(math.nan))  # of the kernel, once the training set is known

    width: Tensor

    def on_epoch(self, context: Context) -> None:
        """Where everybody is, and once (among features: anew) how wide the kernel is."""
        super().on_epoch(context)
        self._everyone = self._coordinates(context.data) if self.source == "data" else None
        if self.distance == "features" or bool(self.width.isnan()):
            self.width.fill_(self._width_for(context.data))

    def log_weight(self, batch: Batch, pool: Pool) -> Tensor:
        """The law in logarithms ``(n, p)``, up to a number per row."""
        squared = self.squared(batch, pool)
        return mixing.gaussian(squared, self.width) if self.pairing == "kernel" else near_weights(squared, self.k)

    def draw(self, pool: Batch, level: int) -> mixing.Partners:
        """Partners for all of a pool, from the training set or from the pool itself."""
        return self.on_pool(pool).extra["partners"]

    def on_pool(self, pool: Batch) -> Batch:
        """Partners are drawn, and of how many the law really chooses is noted."""
        candidates: Pool = self.context.data if self.source == "data" else pool
        law = self.log_weight(pool, candidates)
        mix = dataclasses.replace(self.mix, pair=mixing.weighted(lambda *_: law))
        effective = mixing.effective_number(law) / len(candidates)
        return pool.with_extra(partners=mix.draw(pool, candidates, self.generator), effective=effective)

    def mixture(self, batch: Batch) -> tuple[mixing.Mixed, mixing.Partners, int]:
        """A share for the batch is drawn in the batch, for partners are drawn for several."""
        if self.scope == "batch":
            partners: mixing.Partners = batch.extra["partners"]
            share = self.mix.ratio(len(batch), self.generator).to(partners.share.device)
            share = torch.where(partners.found, share, 1)
            batch = batch.with_extra(partners=dataclasses.replace(partners, share=share))
        return super().mixture(batch)

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean two-term loss of the mixtures."""
        loss, logs = super().loss(batch)
        return loss, logs | {"effective_partners": batch.extra["effective"].mean()}

    def _squared(self, batch: Batch, pool: Pool) -> Tensor:
        """Squared distances ``(n, p)``."""
        theirs = self._coordinates(pool) if self._everyone is None else self._everyone
        return mixing.squared_distance(self._coordinates(batch), theirs)

    @torch.no_grad()
    def _coordinates(self, rows: Batch | Dataset | Pool) -> Tensor:
        """Where samples are ``(n, d)``: their targets, inputs or features."""
        device = self.width.device
        if self.distance == "target":
            return rows.label.to(device).flatten(1)
        every = torch.arange(len(rows)).split(1024)
        if self.distance == "inputs":
            return torch.cat([rows.gather(some).to(device) for some in every]).flatten(1)
        training = self.net.training
        self.net.eval()  # a look changes no statistics of batch normalisation
        features = torch.cat([self.net.features(rows.gather(some).to(device)) for some in every])
        self.net.train(training)
        return features.flatten(1)

    def _width_for(self, data: Dataset) -> float:
        """σ in the unit of the distance, found on the training set or an even part of it; 1 where all is one point."""
        if self.unit == "target":
            return self.sigma
        some = data.take(torch.linspace(0, len(data) - 1, min(len(data), MOST)).round().long())
        if self.unit == "sd":
            at = self._coordinates(some)
            spread = float((at - at.mean(0)).square().sum(1).mean().sqrt())
            return self.sigma * spread if spread > 0 else 1.0
        self._everyone, everyone = None, self._everyone
        sigma = mixing.sigma_for(self.squared(some.batch(torch.arange(len(some)), self.width.device), some), self.sigma)
        self._everyone = everyone
        return sigma
