"""What all methods that mix share: partners are drawn, blended at a level, logged, and shown in pictures."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Literal, cast

import torch
from torch import Tensor

from longcut.context import Context
from longcut.data import Batch, Dataset, Splits, generator
from longcut.errors import UserError
from longcut.methods.base import Method
from longcut.mixing import Blend, Mix, Mixed, Partners, anyone, linear, proportional, target_loss, uniform

__all__ = ["MixingMethod"]


class MixingMethod(Method):
    """Trains on the samples that its ``Mix`` makes.

    A subclass says which one it uses, in its constructor or anew for each epoch (``make_mix``), and, where that is not
    the pool itself, where partners come from (``draw``). Its ``blend`` option, which it keeps as ``shown``, takes any
    blend by name; ``keep-both`` is its control.

    Attributes:
        drawn: where partners are sought: in the ``"pool"`` of several minibatches, in the minibatch (``"batch"``), or
            there among what the net has made of it up to the level that is mixed (``"activations"``).
    """

    drawn: Literal["pool", "batch", "activations"] = "pool"
    mixed_at: str | None = None  # "input", "early", "output" or "random"; None: as early as the net allows
    shown: Blend = staticmethod(linear)  # the constructor's option
    mix: Mix  # of the moment

    def make_mix(self) -> Mix:
        """The rules of this epoch (``self.context`` knows which); by default those of the constructor."""
        return self.mix

    def on_epoch(self, context: Context) -> None:
        """The rules may be made anew, so that they can be frozen."""
        super().on_epoch(context)
        self.mix = self.make_mix()

    def check(self, splits: Splits) -> None:
        """Refuse a blend that cannot be made at a level where this method mixes."""
        self.context = Context(generator(0), splits.train)
        self.eval()
        two = splits.train.batch(torch.zeros(2, dtype=torch.long), next(self.parameters()).device)
        half, mix = torch.full((2,), 0.5, device=two.x.device), Mix(anyone(), uniform(), self.shown, proportional)
        for level in self.net.levels if self.mixed_at == "random" else [self.level()]:
            with torch.no_grad():
                own = dataclasses.replace(two, x=self.mixable(two.x, level))
                partners = Partners(own.x, own.label, half, half > 0)
                mix.blend_with(own, partners, self.generator, self.looked_at(level))

    def draw(self, pool: Batch, level: int) -> Partners:
        """Partners for all of a pool, which is also where they are sought."""
        return self.mix.draw(pool, generator=self.generator)

    def on_pool(self, pool: Batch) -> Batch:
        """Partners are drawn for the whole pool, and so blended minibatch by minibatch."""
        return pool.with_extra(partners=self.draw(pool, 0)) if self.drawn == "pool" else pool

    def level(self) -> int:
        """How many stages of the net come before the mixing; ``"random"`` draws one of its levels.

        Raises:
            UserError: when the net has no such level.
        """
        levels, wanted = self.net.levels, self.mixed_at
        if wanted == "random":
            return levels[int(torch.randint(len(levels), (), generator=self.generator, device=self.generator.device))]
        if wanted in ("input", "early") and self.net.stages and levels == (len(self.net.stages),):
            raise UserError(f"{self.name}: this net can be mixed at its output alone, not at level={wanted}.")
        return levels[{None: 0, "input": 0, "early": min(1, len(levels) - 1), "output": -1}[wanted]]

    def mixture(self, batch: Batch) -> tuple[Mixed, Partners, int]:
        """A minibatch mixed with its partners, and at which level.

        Anchors and partners pass the stages below the level as one batch, so that batch normalisation sees one.
        """
        level = self.level()
        if self.drawn == "activations":
            batch = dataclasses.replace(batch, x=self.mixable(batch.x, level))
            partners = self.draw(batch, level)
        else:
            partners: Partners = batch.extra["partners"] if self.drawn == "pool" else self.draw(batch, level)
            if level:
                own, others = self.mixable(torch.cat([batch.x, partners.x]), level).chunk(2)
                batch, partners = dataclasses.replace(batch, x=own), dataclasses.replace(partners, x=others)
        fresh = self.drawn != "pool" and partners.x is not batch.x
        mixed = self.mix.blend_with(batch, partners, self.generator, self.looked_at(level), fresh=fresh)
        return mixed, partners, level

    def looked_at(self, level: int) -> Callable[[Tensor], Tensor]:
        """The net above a level as a blend sees it: in evaluation mode, so that a look leaves no trace in it."""

        def outputs(x: Tensor) -> Tensor:
            training = [module for module in self.modules() if module.training]
            self.eval()
            try:
                return self.outputs(x, level)
            finally:
                for module in training:
                    module.training = True

        return outputs

    def mixed_losses(self, mixed: Mixed, level: int) -> Tensor:
        """The two-term loss of each mixture ``(n,)``."""
        return target_loss(self.per_sample_loss, self.outputs(mixed.x, level), mixed.target)

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean two-term loss of the mixtures; a sample without a partner stays as it is."""
        mixed, partners, level = self.mixture(batch)
        return self.mixed_losses(mixed, level).mean(), self.partner_logs(partners)

    def partner_logs(self, partners: Partners) -> dict[str, Tensor]:
        """How many samples have a partner and, where it can be known, how many partners contradict the shortcut.

        ``paired`` is the share of samples with a partner, ``conflicting_partners`` the share of bias-conflicting
        samples among these partners.
        """
        logs = {"paired": partners.found.float().mean()}
        if partners.attribute is not None and self.info.aligned:
            conflicting = partners.found & self.info.conflicts(partners.label, partners.attribute)
            told = partners.found & (partners.attribute >= 0)
            logs["conflicting_partners"] = torch.stack([conflicting.sum(), told.sum()])
        return logs

    def every_kind(self, pool: Batch) -> list[Partners]:
        """For the report: partners of each kind that the method draws, for all of a pool of inputs."""
        return [self.draw(pool, 0)]

    @torch.no_grad()
    def pairs(self, train: Dataset, n: int) -> Mapping[str, Tensor]:
        """Some pairs as the last epoch would mix them, and what becomes of them where inputs are mixed."""
        self.on_epoch(self.context)  # a run that was resumed at its end has had no epoch
        rows = torch.randperm(len(train), generator=generator(len(train), 43))[: max(n, 1024)]
        pool = train.batch(rows, self.generator.device)
        position = torch.empty(train.info.n_stored, dtype=torch.long)
        position[train.index] = torch.arange(len(train))
        kinds = self.every_kind(pool)
        columns = []
        for partners, anchors in zip(kinds, torch.arange(min(n, len(pool))).chunk(len(kinds)), strict=True):
            some, own = partners[anchors], pool[anchors]
            mixed, share = self.blended(own, some)
            keep = some.found.cpu()
            partner = position[cast(Tensor, some.index).cpu()]
            found = (column[keep] for column in (rows[anchors], partner, share.cpu(), 255 * mixed.cpu()))
            columns.append(tuple(found))
        names = ("anchor", "partner", "share", "mixed")
        return dict(zip(names, map(torch.cat, zip(*columns, strict=True)), strict=True))

    def blended(self, own: Batch, partners: Partners) -> tuple[Tensor, Tensor]:
        """Inputs blended as at level 0, and the realised share ``(n,)``."""
        mix = dataclasses.replace(self.mix, label=proportional)
        mixed = mix.blend_with(own, partners, self.generator, self.looked_at(0))
        return mixed.x, mixed.target.share
