"""Draws from a data set (balanced, split, noisy, in pools), and ranks within groups.

Each draw takes an explicit generator and leaves the data set that it draws from as it is.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor

from longcut.data.batch import Batch
from longcut.data.core import Dataset
from longcut.errors import UserError

__all__ = [
    "balance",
    "draw",
    "favour_rare",
    "generator",
    "in_turns",
    "label_noise",
    "pools",
    "ranks",
    "split",
    "subsample",
    "undersample",
    "upweight",
]


def generator(*seed: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator whose stream depends on all of ``seed`` (such as run seed, epoch, purpose).

    Nearby seeds give unrelated streams: each number is folded in by a 64-bit mixing step.

    >>> torch.equal(torch.rand(3, generator=generator(0, 1)), torch.rand(3, generator=generator(0, 1)))
    True
    """
    mask, state = (1 << 64) - 1, 0x9E3779B97F4A7C15
    for number in seed:  # splitmix64 finaliser over the running state
        state = (state ^ (int(number) & mask)) * 0xBF58476D1CE4E5B9 & mask
        state = (state ^ (state >> 27)) * 0x94D049BB133111EB & mask
        state ^= state >> 31
    return torch.Generator(device).manual_seed(state >> 1)


# --- ranks within groups ----------------------------------------------------------------------------------------------


def ranks(ids: Tensor) -> Tensor:
    """How many earlier samples have the same id ``(n,)``.

    >>> ranks(torch.tensor([5, 2, 5, 5, 2]))
    tensor([0, 0, 1, 2, 1])
    """
    order = ids.argsort(stable=True)
    size = torch.unique_consecutive(ids[order], return_counts=True)[1]
    first = (size.cumsum(0) - size).repeat_interleave(size)
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(ids), device=ids.device) - first
    return rank


def in_turns(ids: Tensor, rows: Tensor) -> Tensor:
    """The rows with their ids ``ids[rows]`` taking turns: the first row of every id, then the second, and so on.

    >>> in_turns(torch.tensor([7, 7, 7, 4]), torch.tensor([2, 0, 1, 3]))
    tensor([2, 3, 0, 1])
    """
    return rows[ranks(ids[rows]).argsort(stable=True)]


# --- operations Dataset -> Dataset ------------------------------------------------------------------------------------


def _permutation(n: int, generator: torch.Generator) -> Tensor:
    return torch.randperm(n, generator=generator, device=generator.device).cpu()


def _groups(data: Dataset, by: Literal["class", "group"] | Tensor) -> tuple[Tensor, int]:
    """Who belongs together ``(n,)``, and the first id of those that belong to no group: the rest of each class."""
    if by == "group":
        by = data.group
    if isinstance(by, Tensor):
        first = int(by.max()) + 1 if len(by) else 0
        rest = first + data.label if data.info.task == "classification" else first
        return torch.where(by < 0, rest, by), first
    if data.info.task == "regression":
        raise UserError(
            f"{data.info.name}: the targets of a regression are no classes, so they cannot be balanced; "
            "balance its groups, by=group."
        )
    return data.label, data.info.n_classes


def split(
    data: Dataset, fraction: float, generator: torch.Generator, by: Literal["class", "group"] = "class"
) -> tuple[Dataset, Dataset]:
    """Two disjoint parts, the second with ``fraction`` of each class (or group), at least one of each.

    A regression has no classes; its samples are split at random. By group, the samples of unknown attribute are split
    within each class.

    Raises:
        UserError: when a class (or group) has a single sample, which cannot be in both parts.
    """
    if not 0 < fraction < 1:
        raise UserError(f"the fraction to split off is {fraction}; it must lie between 0 and 1.")
    held = torch.zeros(len(data), dtype=torch.bool)
    stratified = by == "group" or data.info.task == "classification"
    ids, first = _groups(data, by) if stratified else (torch.zeros(len(data)), 1)
    for value in torch.unique(ids):
        rows = (ids == value).nonzero().flatten()
        if len(rows) < 2 and value >= first:
            continue  # the only one of its class whose attribute is not known
        if len(rows) < 2:
            raise UserError(
                f"{data.info.name}: {by} {int(value)} has one sample, so it cannot be in both parts of a split; "
                f"add samples or drop that {by}."
            )
        count = min(max(round(fraction * len(rows)), 1), len(rows) - 1)
        held[rows[_permutation(len(rows), generator)[:count]]] = True
    return data.take(~held), data.take(held)


def subsample(data: Dataset, n: int, generator: torch.Generator) -> Dataset:
    """``n`` samples without repetition, in their old order."""
    if not 0 < n <= len(data):
        raise UserError(f"cannot draw {n} of {len(data)} samples; give a number from 1 to {len(data)}.")
    return data.take(_permutation(len(data), generator)[:n].sort().values)


def upweight(data: Dataset, chosen: Tensor, times: int) -> Dataset:
    """Each chosen sample (boolean mask ``(n,)``) is repeated ``times`` times, under its one index (JTT)."""
    return data.take(torch.repeat_interleave(torch.where(chosen, times, 1)))


def balance(data: Dataset, by: Literal["class", "group"] | Tensor, generator: torch.Generator) -> Dataset:
    """As many samples, drawn with repetition so that all classes (or groups) are equally likely.

    Every member of a group stands equally often, give or take one, before any stands once more. Where some attributes
    are not known, the samples of no group are, in each class, drawn as often as a group is, but nobody twice.

    Args:
        data: what to draw from.
        by: what is balanced, or an id for each sample ``(n,)``, -1 for one of no group.
        generator: of the draw.
    """
    ids, first = _groups(data, by)
    values, size = torch.unique(ids, return_counts=True)
    quota, rest = _parts(len(data), len(values), generator), values >= first
    spare = (quota - size).clamp_min(0) * rest
    if spare.any() and not rest.all():
        quota -= spare
        quota[~rest] += _parts(int(spare.sum()), int((~rest).sum()), generator)
    rows = []
    for value, count in zip(values, quota.tolist(), strict=True):
        members = (ids == value).nonzero().flatten()
        order = members[_permutation(len(members), generator)]
        rows.append(order.repeat(-(-count // len(members)))[:count])
    return data.take(torch.cat(rows))


def _parts(n: int, parts: int, generator: torch.Generator) -> Tensor:
    """``n`` cut into whole numbers as equal as can be ``(parts,)``."""
    quota = torch.full((parts,), n // parts)
    quota[_permutation(parts, generator)[: n % parts]] += 1
    return quota


def favour_rare(data: Dataset, power: float, generator: torch.Generator) -> Dataset:
    """As many samples, each drawn with repetition in proportion to ``size of its class ** -power``.

    Power 0 draws all samples alike, 1 all classes alike; above 1 the rare ones become the frequent ones.

    Args:
        data: what to draw from, with classes.
        power: see above.
        generator: of the draw.

    >>> data = Dataset.of(torch.rand(300, 2), [0] * 290 + [1] * 10)
    >>> favour_rare(data, 1.0, generator(0)).label.float().mean().round(decimals=1)
    tensor(0.5000)
    """
    label, _ = _groups(data, "class")
    return draw(data, torch.bincount(label).double()[label] ** -power, generator)


def draw(data: Dataset, weight: Tensor, generator: torch.Generator, n: int | None = None) -> Dataset:
    """``n`` samples, by default as many as there are, drawn with repetition in proportion to ``weight (n,)``.

    >>> draw(Dataset.of(torch.rand(2, 1), [0, 1]), torch.tensor([0.0, 1.0]), generator(0), 3).label
    tensor([1, 1, 1])
    """
    size = len(data) if n is None else n
    rows = torch.multinomial(weight.to(generator.device), size, replacement=True, generator=generator)
    return data.take(rows.cpu())


def undersample(data: Dataset, by: Literal["class", "group"] | Tensor, generator: torch.Generator) -> Dataset:
    """As many samples of each class (or group) as the smallest has, without repetition, in their old order.

    Where some attributes are not known, no more of the samples of no group are kept in each class.

    Args:
        data: what to draw from.
        by: what is balanced, or an id for each sample ``(n,)``, -1 for one of no group.
        generator: of the draw.

    Source: SUBY and SUBG of Idrissi et al. 2022, "Simple data balancing achieves competitive worst-group-accuracy".

    >>> data = Dataset.of(torch.rand(6, 2), [0, 1, 0, 0, 1, 0])
    >>> undersample(data, "class", generator(0)).label.bincount()
    tensor([2, 2])
    """
    ids, first = _groups(data, by)
    values, count = torch.unique(ids, return_counts=True)
    known = values < first
    smallest = (count[known] if known.any() else count).min()
    order = _permutation(len(data), generator)
    return data.take(order[ranks(ids[order]) < smallest].sort().values)


def label_noise(
    data: Dataset, rate: float, generator: torch.Generator, kind: Literal["symmetric", "asymmetric"] = "symmetric"
) -> Dataset:
    """Each label is replaced with probability ``rate``: by another label drawn uniformly, or by the next one.

    ``"asymmetric"`` turns label ``c`` into ``c + 1 mod C``, the usual pair flip.
    """
    if not 0 <= rate <= 1:
        raise UserError(f"the label noise rate is {rate}; it must lie between 0 and 1.")
    if data.info.task != "classification" or data.info.n_classes < 2:
        raise UserError(f"{data.info.name}: label noise needs at least two classes.")
    n, classes = len(data), data.info.n_classes
    flip = torch.rand(n, generator=generator) < rate
    step = torch.randint(1, classes, (n,), generator=generator) if kind == "symmetric" else torch.ones(n).long()
    noisy = torch.where(flip, (data.label + step) % classes, data.label)
    return dataclasses.replace(data, label=noisy)


def pools(
    data: Dataset,
    pool: int,
    generator: torch.Generator,
    device: torch.device | str = "cpu",
    *,
    whole_only: bool = False,
) -> Iterator[Batch]:
    """One epoch in random order, in pools of ``pool`` samples; the last may be smaller.

    A single sample that is left over joins the pool before it, since batch normalisation needs more than one sample.

    Args:
        whole_only: leave out a last pool that is not full, as the released code of SelecMix does (unless it is the
            only one).
    """
    chunks = list(torch.randperm(len(data), generator=generator).split(pool))
    if not whole_only and pool > 1 and len(chunks) > 1 and len(chunks[-1]) == 1:
        chunks[-2:] = [torch.cat(chunks[-2:])]
    for rows in chunks:
        if whole_only and len(rows) < pool <= len(data):
            return
        yield data.batch(rows, device)
