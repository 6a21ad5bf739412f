"""Episodes: many small problems drawn from one data set, each with samples to learn from and samples to be asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from longcut.data.batch import Rows
from longcut.data.core import Dataset
from longcut.errors import UserError

__all__ = ["Episodes", "episodes"]


@dataclass(frozen=True)
class Episodes(Rows):
    """Positions in a data set, an episode in each row; the samples of one way stand together, in the order of ``ways``.

    Attributes:
        ways: which classes, or other groups, each episode is about ``(count, ways)``.
        support: what to learn from ``(count, ways * shots)``.
        query: what to be asked, other samples of the same groups ``(count, ways * queries)``.
    """

    ways: Tensor
    support: Tensor
    query: Tensor

    def __len__(self) -> int:
        return len(self.ways)


def episodes(
    data: Dataset,
    by: Literal["class", "attribute"] | Tensor = "class",
    *,
    ways: int,
    shots: int,
    queries: int,
    count: int = 1,
    generator: torch.Generator | None = None,
) -> Episodes:
    """Draw episodes: ``ways`` groups of the data without repetition, and of each other samples to learn and to ask.

    A few-shot problem of classes is drawn by class; the tasks of a regression, such as persons or places, are its
    attribute's values, one way to an episode.

    Args:
        data: the samples.
        by: what a way is, or an id for each sample ``(n,)``; by attribute, samples of an unknown one are left out.
        ways: groups in an episode.
        shots, queries: samples of each group to learn from, and to be asked.
        count: how many episodes, independent of each other.
        generator: of the draw.

    Raises:
        UserError: for an episode without a sample to learn from or to ask, or more groups or samples than there are.

    >>> data = Dataset.of(torch.rand(12, 2), torch.arange(12) % 3)
    >>> drawn = episodes(data, ways=2, shots=1, queries=3, count=5, generator=torch.Generator().manual_seed(0))
    >>> drawn.support.shape, drawn.query.shape, bool((data.label[drawn.support] == drawn.ways).all())
    (torch.Size([5, 2]), torch.Size([5, 6]), True)
    """
    if min(ways, shots, queries, count) < 1:
        raise UserError(
            f"an episode of ways={ways}, shots={shots}, queries={queries} (count={count}) has nothing to learn from or "
            "to be asked; give at least one of each."
        )
    ids = _ids(data, by)
    there = ((ids >= 0) if by == "attribute" else torch.ones_like(ids, dtype=torch.bool)).nonzero().flatten()
    groups, group, size = torch.unique(ids[there], return_inverse=True, return_counts=True)
    what = by if isinstance(by, str) else "group"
    if ways > len(groups):
        raise UserError(
            f"an episode of {ways} ways needs as many kinds of {what}, but {data.info.name} has {len(groups)}; "
            f"lower ways to {len(groups)}."
        )
    if int(size.min()) < shots + queries:
        few = int(size.argmin())
        raise UserError(
            f"{what} {int(groups[few])} of {data.info.name} has {int(size[few])} "
            f"sample{'' if size[few] == 1 else 's'}, but an episode draws shots + queries = {shots + queries} of each; "
            f"lower these, or leave that {what} out."
        )
    device = generator.device if generator else "cpu"
    chosen = torch.rand(count, len(groups), generator=generator, device=device).cpu().argsort(1)[:, :ways]
    members = torch.full((len(groups), int(size.max())), -1)  # a row per group, filled up with -1
    order = group.argsort(stable=True)
    members[group[order], torch.arange(len(order)) - (size.cumsum(0) - size)[group[order]]] = order
    lot = torch.rand(count, ways, members.shape[1], generator=generator, device=device).cpu()
    drawn = lot.masked_fill(members[chosen] < 0, -1).topk(shots + queries, dim=2).indices
    rows = members[chosen].gather(2, drawn)
    rows = there[rows]
    return Episodes(groups[chosen], rows[:, :, :shots].flatten(1), rows[:, :, shots:].flatten(1))


def _ids(data: Dataset, by: Literal["class", "attribute"] | Tensor) -> Tensor:
    if isinstance(by, Tensor):
        return by
    if by == "class" and data.info.task == "regression":
        raise UserError(
            f"{data.info.name} is a regression, which has no classes to draw episodes from; "
            "draw them by attribute, one task for each of its values."
        )
    if by == "attribute" and data.attribute is None:
        raise UserError(
            f"{data.info.name} has no attribute to draw episodes from; pass attribute=…, the number of each "
            "sample's task."
        )
    ids = data.label if by == "class" else data.attribute
    assert ids is not None
    return ids
