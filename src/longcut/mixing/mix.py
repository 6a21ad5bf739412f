"""Four rules in one object.

>>> from longcut.mixing import anyone, beta, linear, proportional
>>> mix = Mix(pair=anyone(), ratio=beta(1.0), blend=linear, label=proportional)
>>> batch = Batch(torch.rand(8, 3, 4, 4), torch.arange(8) % 2)
>>> mixed = mix(batch, generator=torch.Generator().manual_seed(0))
>>> mixed.x.shape, mixed.target.share.shape
(torch.Size([8, 3, 4, 4]), torch.Size([8]))
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from longcut.data import Batch, Dataset
from longcut.errors import UserError
from longcut.mixing.blends import IN_PLACE
from longcut.mixing.types import Blend, LabelRule, Mixed, PairRule, Partners, Pool, RatioRule, Seeing, Seen

__all__ = ["Mix"]


@dataclass(frozen=True)
class Mix:
    """Four rules in one frozen object, for anybody's training loop.

    Args:
        pair: who is mixed with whom.
        ratio: how much of the anchor is kept.
        blend: how the two inputs become one.
        label: what the label becomes.
    """

    pair: PairRule
    ratio: RatioRule
    blend: Blend
    label: LabelRule

    def __call__(
        self,
        batch: Batch | Mapping[str, Any] | Sequence[Any],
        pool: Pool | Mapping[str, Any] | Sequence[Any] | None = None,
        generator: torch.Generator | None = None,
        *,
        in_place: bool = False,
    ) -> Mixed:
        """Mix every sample of ``batch`` with a partner from ``pool`` (None: from the batch itself).

        Either may also be a tuple ``(x, label)`` or a dict with such columns, see :meth:`longcut.Batch.of`.

        A sample without a partner is returned as it is, with its own label. The pool may be another batch or a
        whole data set. With ``in_place`` the mixtures may be written over the batch's inputs, which then nobody else
        may hold: a linear blend or a cut needs no memory for them.
        """
        batch = Batch.of(batch)
        others = Batch.of(pool) if isinstance(pool, Mapping | Sequence) else pool
        partners = self.draw(batch, others, generator)
        if in_place:
            return self._blended(batch, partners, generator, None, batch.x)
        own_copy = others is None and partners.x is not batch.x  # what a foreign pool gives may be its own storage
        return self.blend_with(batch, partners, generator, fresh=own_copy)

    def draw(self, batch: Batch, pool: Pool | None = None, generator: torch.Generator | None = None) -> Partners:
        """The first half of mixing: who and how much. Partners can be drawn for a large pool and blended in slices."""
        source = batch if pool is None else pool
        pairs = self.pair(batch, source, generator)
        share = self.ratio(len(batch), generator).to(batch.label.device)
        found, rows = pairs.found, pairs.partner
        alone = (~found).nonzero().flatten()  # mostly there is nobody, and nothing to choose
        share = torch.where(found, share, 1) if len(alone) else share.contiguous()
        if not len(source):
            return Partners(batch.x, batch.label, share, found, batch.attribute, batch.index)

        def of_partner(column: Tensor | None, own: Tensor | None) -> Tensor | None:
            """The partners' column, and the anchor's own where there is no partner."""
            if column is None:
                return None
            theirs = column[rows.to(column.device)].to(found.device)
            return torch.where(_column(found, theirs), theirs, own) if own is not None and len(alone) else theirs

        x = source.gather(rows).to(batch.x.device)
        if len(alone):
            ours = isinstance(source, Batch | Dataset) and x.dtype == batch.x.dtype and not _learned(x, batch.x)
            if ours:  # a copy that nobody else holds: only the rows that change are written
                x.index_copy_(0, alone, batch.x.index_select(0, alone))
            else:
                x = torch.where(_column(found, x), x, batch.x)
        return Partners(
            x=x,
            label=cast(Tensor, of_partner(source.label, batch.label)),
            share=share,
            found=found,
            attribute=of_partner(source.attribute, None),
            index=of_partner(getattr(source, "index", None), batch.index),
            row=rows,
        )

    def blend_with(
        self,
        batch: Batch,
        partners: Partners,
        generator: torch.Generator | None = None,
        net: Callable[[Tensor], Tensor] | None = None,
        *,
        fresh: bool = False,
    ) -> Mixed:
        """The second half: how, and what label. A hidden level is mixed by passing its activations as both ``x``.

        Args:
            batch: the anchors.
            partners: drawn for them.
            generator: source of randomness.
            net: from what is mixed to outputs ``(n, C)``, for a blend that looks at it (see :class:`Seeing`).
            fresh: whether nobody else holds the partners' inputs, so that what is mixed may be written over them.
        """
        return self._blended(batch, partners, generator, net, partners.x if fresh else None)

    def _blended(
        self,
        batch: Batch,
        partners: Partners,
        generator: torch.Generator | None,
        net: Callable[[Tensor], Tensor] | None,
        out: Tensor | None,
    ) -> Mixed:
        if not batch.x.is_floating_point():
            raise UserError(
                f"mixing needs float inputs, but x is {batch.x.dtype}; for images divide by 255 first, "
                "for token ids mix behind the embedding."
            )
        own = batch.x, partners.x, partners.share, generator
        if isinstance(self.blend, Seeing):
            x, realised = self.blend.blend(*own, Seen(batch.label, partners.label, net))
        elif out is not None and getattr(self.blend, "func", self.blend) in IN_PLACE and not _learned(*own[:2]):
            x, realised = cast(Any, self.blend)(*own, out=out)  # half the time: no other memory is touched
        else:
            x, realised = self.blend(*own)
        return Mixed(x, self.label(batch.label, partners.label, realised), partners.found)


def _column(values: Tensor, like: Tensor) -> Tensor:
    return values.view(-1, *[1] * (like.ndim - 1))


def _learned(*inputs: Tensor) -> bool:
    """Whether gradients have to come through."""
    return any(x.requires_grad for x in inputs)
