from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Callable
from itertools import pairwise, permutations, product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor, nn
from torch.nn import functional as F

from longcut.data import Batch, Dataset, generator
from longcut.errors import UserError
from longcut.losses import cross_entropy
from longcut.mixing import (
    Mix,
    Pairs,
    Pool,
    Target,
    anyone,
    beta,
    choose,
    coin,
    contradicting,
    cut,
    either,
    keep_both,
    linear,
    of_partner,
    own,
    proportional,
    same_attribute,
    same_label,
    target_loss,
    uniform,
)

BLENDS = {"linear": linear, "cut": cut, "keep_both": keep_both}
LABELS = {"proportional": proportional, "own": own, "of_partner": of_partner}
RARE = 1e-3  # a p-value below which a draw is called wrong; the seeds are fixed, so it cannot flicker


def ids(values: list[int]) -> Tensor:
    return torch.tensor(values, dtype=torch.long)


def images(n: int, shape: tuple[int, ...] = (2, 4, 4), seed: int = 0) -> Tensor:
    return torch.rand(n, *shape, generator=generator(seed))


def is_uniform(values: Tensor | list, cells: list) -> bool:
    """Whether the values are drawn from all the cells alike, and from nothing else."""
    count = Counter(values.tolist() if isinstance(values, Tensor) else values)
    return set(count) <= set(cells) and stats.chisquare([count[cell] for cell in cells]).pvalue > RARE


# --- who: against brute force -----------------------------------------------------------------------------------------


@dataclasses.dataclass
class Case:
    """A batch, a pool for it, and what identifies their samples."""

    batch: Batch
    pool: Pool
    kind: str
    alike: Tensor
    seed: int

    def each(self, allowed: Callable[[int, int, bool], bool]) -> list[list[int]]:
        """For each anchor its allowed partners, pair by pair; ``allowed`` is told whether a pair is one sample."""
        ours, theirs = self.batch.index, getattr(self.pool, "index", None)
        found = []
        for i in range(len(self.batch)):
            found.append([])
            for j in range(len(self.pool)):
                if ours is not None and theirs is not None:
                    itself = bool(ours[i] == theirs[j])
                else:
                    itself = self.pool is self.batch and i == j
                if allowed(i, j, itself):
                    found[i].append(j)
        return found

    def label(self, i: int, j: int) -> bool:
        return bool(self.batch.label[i] == self.pool.label[j])

    def attribute(self, i: int, j: int) -> bool:
        assert self.batch.attribute is not None and self.pool.attribute is not None
        return bool(self.batch.attribute[i] == self.pool.attribute[j])

    def draw(self, rule) -> Pairs:
        pairs = rule(self.batch, self.pool, generator(self.seed))
        assert pairs.partner.shape == pairs.found.shape == (len(self.batch),)
        return pairs


@st.composite
def cases(draw) -> Case:
    """Batches of one and more with repeats, pools of all kinds and none, similarities with ties, often all negative."""
    stored = draw(st.integers(1, 7))
    column = st.lists(st.integers(0, draw(st.integers(0, 2))), min_size=stored, max_size=stored)
    storage = torch.arange(2.0 * stored).reshape(-1, 2)
    data = Dataset.of(storage, draw(column), draw(column), n_classes=3, n_attributes=3)
    row = st.integers(0, stored - 1)
    ours = data.batch(ids(draw(st.lists(row, min_size=1, max_size=7))))
    rows = ids(draw(st.lists(row, max_size=7)))
    kind = draw(st.sampled_from(["itself", "itself, nameless", "batch", "dataset", "nameless"]))
    if kind == "itself, nameless":
        ours = dataclasses.replace(ours, index=None)
    if kind == "nameless":
        pool = dataclasses.replace(data.batch(rows), index=None)
    else:
        pool = {"batch": data.batch(rows), "dataset": data.take(rows)}.get(kind, ours)
    levels = draw(st.sampled_from([(-3.0, -2.0, -1.0), (-1.0, -0.5, 0.0, 0.5, 1.0)]))
    row = st.lists(st.sampled_from(levels), min_size=len(pool), max_size=len(pool))
    alike = torch.tensor([draw(row) for _ in range(len(ours))]).reshape(len(ours), len(pool))
    return Case(ours, pool, kind, alike, draw(st.integers(0, 1000)))


def assert_partners(pairs: Pairs, allowed: list[list[int]]) -> None:
    """An anchor has a partner exactly when it may have one, and it is one that it may have."""
    assert pairs.found.tolist() == [bool(partners) for partners in allowed]
    for partner, found, partners in zip(pairs.partner.tolist(), pairs.found.tolist(), allowed, strict=True):
        assert partner in partners or not found


@given(cases())
def test_anyone_is_a_permutation_of_the_batch_or_rows_of_the_pool(case: Case):
    pairs = case.draw(anyone())
    assert_partners(pairs, case.each(lambda i, j, itself: True))
    if case.pool is case.batch:
        assert sorted(pairs.partner.tolist()) == list(range(len(case.batch)))


@given(cases())
def test_same_label_is_another_sample_of_the_label(case: Case):
    pairs = case.draw(same_label())
    assert_partners(pairs, case.each(lambda i, j, itself: case.label(i, j) and not itself))


@given(cases())
def test_same_label_other_attribute(case: Case):
    pairs = case.draw(same_label(other_attribute=True))
    assert_partners(pairs, case.each(lambda i, j, itself: case.label(i, j) and not case.attribute(i, j)))


@given(cases())
def test_same_attribute_is_another_label(case: Case):
    pairs = case.draw(same_attribute())
    assert_partners(pairs, case.each(lambda i, j, itself: not case.label(i, j) and case.attribute(i, j)))


@given(cases(), st.integers(1, 8))
def test_contradicting_positive_is_the_least_similar_of_the_label(case: Case, top: int):
    allowed = case.each(lambda i, j, itself: case.label(i, j) and not itself)
    best = [
        sorted((case.alike[i, j].item(), j) for j in partners)[:top] and
        [j for j in partners if case.alike[i, j] <= sorted(case.alike[i, partners].tolist())[:top][-1]]
        for i, partners in enumerate(allowed)
    ]  # fmt: skip
    assert_partners(case.draw(contradicting(lambda batch, pool: case.alike, "positive", top=top)), best)


@given(cases(), st.integers(1, 8))
def test_contradicting_negative_is_the_most_similar_of_another_label(case: Case, top: int):
    allowed = case.each(lambda i, j, itself: not case.label(i, j))
    assert_partners(case.draw(contradicting(lambda batch, pool: case.alike, "negative", top=top)), allowed)


