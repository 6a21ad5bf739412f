from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Callable
from functools import partial
from itertools import pairwise, permutations, product
from typing import Any, cast

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor, nn
from torch.nn import functional as F

from longcut import mixing
from longcut.data import Batch, Dataset, generator
from longcut.errors import UserError
from longcut.losses import cross_entropy, squared_error
from longcut.mixing import (
    Mix,
    Pairs,
    Pool,
    Seeing,
    Seen,
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
    regions,
    require_contradiction,
    same_attribute,
    same_label,
    sometimes,
    target_loss,
    uniform,
    weighted,
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


def best(allowed: list[list[int]], score: Tensor, within: float) -> list[list[int]]:
    """Of each anchor's allowed partners those whose score is close enough to the best, by the range of the row."""
    found = []
    for i, js in enumerate(allowed):
        row = [float(score[i, j]) for j in js]
        # a hair of slack: which side a score right on the threshold falls is rounding
        found.append([j for j, v in zip(js, row, strict=True) if max(row) - v <= within * (max(row) - min(row)) + 1e-5])
    return found


@given(cases(), st.sampled_from([0.0, 0.1, 0.5, 1.0]))
def test_contradicting_positive_is_the_least_similar_of_the_label(case: Case, within: float):
    allowed = case.each(lambda i, j, itself: case.label(i, j) and not itself)
    pairs = case.draw(contradicting(lambda batch, pool: case.alike, "positive", within=within))
    assert_partners(pairs, best(allowed, -case.alike, within))


@given(cases(), st.sampled_from([0.0, 0.1, 0.5, 1.0]))
def test_contradicting_negative_is_the_most_similar_of_another_label(case: Case, within: float):
    allowed = case.each(lambda i, j, itself: not case.label(i, j))
    pairs = case.draw(contradicting(lambda batch, pool: case.alike, "negative", within=within))
    assert_partners(pairs, best(allowed, case.alike, within))


def test_no_partner_of_the_same_label_when_all_similarities_are_negative():
    """Multiplying similarities by a 0/1 mask, the released program's way, finds 1 for 0: its product is the largest."""
    batch = Batch(torch.zeros(3, 1), ids([0, 0, 1]))
    alike = torch.tensor([[1.0, -0.1, -0.9], [-0.1, 1.0, -0.8], [-0.9, -0.8, 1.0]])
    pairs = contradicting(lambda batch, pool: alike, "negative")(batch, batch, generator(0))
    assert pairs.partner.tolist() == [2, 2, 1]


def test_the_released_argmax_by_hand():
    """Labels 0 0 1 1. Sample 0 has both negatives below zero, so its own label's zeros win: the first, itself."""
    batch = Batch(torch.zeros(5, 1), torch.tensor([0, 0, 1, 1, 2]))
    alike = torch.tensor(
        [
            [1.0, 0.9, -0.5, -0.2, -0.1],
            [0.9, 1.0, 0.3, 0.7, -0.1],
            [-0.5, 0.3, 1.0, -0.8, 0.2],
            [-0.2, 0.7, -0.8, 1.0, -0.4],
            [-0.1, -0.1, 0.2, -0.4, 1.0],
        ]
    )

    def partners(mode, argmax):
        pairs = contradicting(lambda batch, pool: alike, mode, argmax=argmax)(batch, batch, generator(0))
        return pairs.partner.tolist(), pairs.found.tolist()

    assert partners("negative", "paper") == ([4, 3, 1, 1, 2], [True] * 5)
    assert partners("negative", "code") == ([0, 3, 1, 1, 2], [True] * 5)
    assert partners("positive", "paper")[0][:4] == [1, 0, 3, 2]
    assert partners("positive", "paper")[1] == [True] * 4 + [False]
    # the last sample has no other of its label: all count as 1, and the first of the row is taken
    assert partners("positive", "code") == ([1, 0, 3, 2, 0], [True] * 5)


def test_the_first_that_fits_is_one_for_a_whole_cell():
    label, attribute = torch.tensor([0, 0, 1, 0, 1, 1]), torch.tensor([0, 0, 0, 1, 1, 1])
    batch = Batch(torch.zeros(6, 1), label, attribute)
    a = same_label(other_attribute=True, take="first")(batch, batch, generator(0))
    b = same_attribute(take="first")(batch, batch, generator(0))
    assert a.partner[a.found].tolist() == [3, 3, 4, 0, 2, 2]
    assert b.partner[b.found].tolist() == [2, 2, 0, 4, 3, 3]
    alone = Batch(torch.zeros(2, 1), torch.tensor([0, 0]), torch.tensor([0, 1]))
    assert not same_attribute(take="first")(alone, alone, generator(0)).found.any()
    assert not same_attribute(take="first")(alone, alone[:0], generator(0)).found.any()


def test_partners_carry_their_attribute():
    batch = Batch(torch.zeros(4, 1), torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 0, 1]))
    mix = Mix(same_label(other_attribute=True), uniform(), linear, proportional)
    drawn = mix.draw(batch, generator=generator(0)).attribute
    assert drawn is not None
    assert drawn.tolist() == [1, 0, 1, 0]
    blind = Mix(same_label(), uniform(), linear, proportional).draw(Batch(batch.x, batch.label), generator=generator(0))
    assert blind.attribute is None


@pytest.mark.parametrize("rule", [same_label(), contradicting(lambda batch, pool: batch.x @ batch.x.T, "positive")])
def test_no_sample_is_its_own_partner_among_repeats(rule):
    """Rows 0 and 1 are one sample, drawn twice; row 3 has nobody but its repeat."""
    batch = Batch(torch.eye(5), ids([0, 0, 0, 1, 1]), index=ids([7, 7, 8, 9, 9]))
    pairs = rule(batch, batch, generator(0))
    assert pairs.found.tolist() == [True, True, True, False, False]
    assert pairs.partner[:2].tolist() == [2, 2]


# --- who: by chance ---------------------------------------------------------------------------------------------------

CROWD = Batch(torch.zeros(12000, 1), ids([0] * 12000), ids([0] * 12000))  # anchors that may all choose alike
POOL = Batch(torch.zeros(7, 1), ids([0, 1, 0, 0, 1, 0, 2]), ids([0, 0, 1, 0, 0, 1, 1]))


@pytest.mark.parametrize(
    ("rule", "cells"),
    [
        (anyone(), [0, 1, 2, 3, 4, 5, 6]),
        (same_label(), [0, 2, 3, 5]),
        (same_label(other_attribute=True), [2, 5]),
        (same_attribute(), [1, 4]),
        (contradicting(lambda batch, pool: torch.full((12000, 7), -1.0), "positive"), [0, 2, 3, 5]),
        (contradicting(lambda batch, pool: torch.full((12000, 7), -1.0), "negative"), [1, 4, 6]),
        (contradicting(lambda batch, pool: torch.arange(7.0).expand(12000, -1), "positive", within=0.6), [0, 2, 3]),
        (contradicting(lambda batch, pool: torch.arange(7.0).expand(12000, -1), "negative", within=0.4), [4, 6]),
    ],
)
def test_partners_are_drawn_alike(rule, cells):
    """Who may be chosen is chosen equally often, ties at the best score included."""
    assert is_uniform(rule(CROWD, POOL, generator(0)).partner, cells)


def test_ties_are_broken_among_the_best_alone():
    score = torch.tensor([2.0, -1.0, 2.0, 3.0, 2.0]).expand(12000, -1)
    allowed = torch.tensor([True, True, True, False, True]).expand(12000, -1)
    assert is_uniform(choose(score, allowed, generator(0)).partner, [0, 2, 4])


@pytest.mark.parametrize(("within", "cells"), [(0.4, [2, 4]), (0.7, [0, 2, 4]), (1, [0, 1, 2, 4])])
def test_within_draws_alike_from_what_is_allowed_and_close_to_the_best(within, cells):
    score = torch.tensor([0.0, -1.0, 2.0, 3.0, 1.0]).expand(12000, -1)
    allowed = torch.tensor([True, True, True, False, True]).expand(12000, -1)
    assert is_uniform(choose(score, allowed, generator(0), within=within).partner, cells)


def test_permutations_of_mixup_are_drawn_alike():
    """Also those that leave a sample where it is."""
    batch, draw = Batch(torch.zeros(3, 1), ids([0, 1, 2])), generator(0)
    drawn = [tuple(anyone()(batch, batch, draw).partner.tolist()) for _ in range(3000)]
    assert is_uniform(drawn, list(permutations(range(3))))


scores = st.floats(width=32, allow_nan=True, allow_infinity=True)


@given(st.lists(st.tuples(scores, st.booleans()), max_size=5), st.sampled_from([0.0, 0.3, 1.0]))
def test_choose_takes_no_forbidden_column_whatever_the_scores(row, within):
    score = torch.tensor([value for value, _ in row])[None]
    allowed = torch.tensor([may for _, may in row], dtype=torch.bool)[None]
    pairs = choose(score, allowed, generator(0), within=within)
    assert pairs.found.item() == bool(allowed.any())
    assert not pairs.found or allowed[0, pairs.partner]


def test_choose_takes_what_is_not_a_number_last():
    score = torch.tensor([[math.nan, -1.0], [-1.0, -math.inf]])
    assert choose(score, torch.ones(2, 2, dtype=torch.bool), None).partner.tolist() == [1, 0]


def constant(partner: int):
    return lambda batch, pool, draw: Pairs(torch.full((len(batch),), partner), torch.ones(len(batch)).bool())


def test_either_is_one_fair_coin_for_the_batch():
    rule, draw = either(constant(0), constant(1)), generator(0)
    batches = [rule(POOL, POOL, draw).partner.unique().tolist() for _ in range(1000)]
    assert {len(partners) for partners in batches} == {1}
    assert is_uniform([partners[0] for partners in batches], [0, 1])


def test_coin_is_fair():
    draw = generator(0)
    assert is_uniform([coin(draw) for _ in range(1000)], [False, True])
    assert stats.binomtest(sum(coin(draw, 0.2) for _ in range(1000)), 1000, 0.2).pvalue > RARE
    assert {coin(draw, 1.0) for _ in range(100)} == {True} and {coin(draw, 0.0) for _ in range(100)} == {False}


# --- who: in proportion to a weight -----------------------------------------------------------------------------------

LOG_WEIGHT = torch.tensor([[0.0, 1.0, -math.inf, 2.0, -1.0], [3.0, 3.0, 3.0, -math.inf, -math.inf]])


def by_weight(log_weight: Tensor, n: int, seed: int = 0) -> list[Pairs]:
    """``n`` draws for each row of weights."""
    rows = log_weight.repeat_interleave(n, 0)
    batch, pool = (Batch(torch.zeros(k, 1), torch.zeros(k, dtype=torch.long)) for k in (len(rows), rows.shape[1]))
    pairs = weighted(lambda ours, theirs: rows)(batch, pool, generator(seed))
    return [pairs[i * n : (i + 1) * n] for i in range(len(log_weight))]


def test_weighted_partners_are_drawn_in_proportion():
    n = 20_000
    for pairs, row in zip(by_weight(LOG_WEIGHT, n), LOG_WEIGHT, strict=True):
        count, p = torch.bincount(pairs.partner, minlength=5).numpy(), row.double().softmax(0).numpy()
        assert pairs.found.all()
        assert not count[p == 0].any(), "a weight of 0 is never drawn"
        assert stats.chisquare(count[p > 0], n * p[p > 0]).pvalue > RARE
        off = np.roll(p[p > 0], 1)
        if len(set(off)) > 1:
            assert stats.chisquare(count[p > 0], n * off).pvalue < 1e-9, "the test can tell"


def test_each_anchor_draws_its_own():
    """A chance for each row: of 2 x 2 outcomes for two anchors each has a quarter."""
    log_weight = torch.zeros(2, 2)
    one, other = by_weight(log_weight, 4000)
    assert is_uniform((2 * one.partner + other.partner), list(range(4)))


def test_who_has_no_weight_at_all_has_no_partner():
    rows = torch.tensor([[-math.inf] * 3, [-math.inf, 0.0, -math.inf], [-math.inf] * 3])
    nobody, sure, _ = by_weight(rows, 50)
    assert not nobody.found.any()
    assert sure.found.all() and (sure.partner == 1).all()


@pytest.mark.parametrize("constant", [-(2.0**22), 2.0**22, -1000.0])
def test_a_number_added_to_the_log_weights_of_a_row_changes_nothing(constant):
    whole = torch.tensor([[0.0, 1.0, 2.0, -1.0, 1.0]])  # of which each sum is exact
    (plain,), (shifted,) = by_weight(whole, 5000), by_weight(whole + constant, 5000)
    assert torch.equal(plain.partner, shifted.partner)


@pytest.mark.parametrize("gap", [200.0, 1e30])
def test_weights_that_no_float_holds_are_drawn_from_all_the_same(gap):
    """exp(-200) is 0 in single precision; the heaviest is what remains."""
    (pairs,) = by_weight(torch.tensor([[-2 * gap, -gap, -gap - 0.5 * gap]]), 100)
    assert pairs.found.all() and (pairs.partner == 1).all()


@pytest.mark.parametrize(
    ("rule", "name"),
    [
        (same_attribute(), "'same_attribute'"),
        (same_label(other_attribute=True), r"'same_label\(other_attribute=True\)'"),
    ],
)
def test_rules_that_need_the_attribute_say_so(rule, name):
    without = dataclasses.replace(POOL, attribute=None)
    for batch, pool in [(without, without), (without, POOL), (POOL, without)]:
        with pytest.raises(UserError, match=f"{name} needs the attribute of each sample; pass Batch"):
            rule(batch, pool, None)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=5))
def test_refuses_data_in_which_nobody_contradicts(samples):
    label, attribute = (ids(list(column)) for column in zip(*samples, strict=True))
    pairs = list(product(samples, samples))
    partners = {
        "A": any(a[0] == b[0] and a[1] != b[1] for a, b in pairs),
        "B": any(a[0] != b[0] and a[1] == b[1] for a, b in pairs),
    }
    sentence = {"A": "mode A: .* every label has a single", "B": "mode B: .* every attribute has a single"}
    for mode, asked in (("A", ["A"]), ("B", ["B"]), ("both", ["A", "B"])):
        lacking = [rule for rule in asked if not partners[rule]]
        if lacking:
            with pytest.raises(UserError, match=f"lisa finds no pair to mix in {sentence[lacking[0]]}"):
                require_contradiction(label, attribute, cast(Any, mode), "lisa")
        else:
            require_contradiction(label, attribute, cast(Any, mode), "lisa")


def test_refuses_to_look_for_contradiction_without_the_attribute():
    with pytest.raises(UserError, match="lisa needs the attribute of each training sample; pass attribute="):
        require_contradiction(ids([0, 1]), None, "both", "lisa")


# --- how much ---------------------------------------------------------------------------------------------------------


def has_moments(share: Tensor, mean: float, variance: float) -> bool:
    """Within four standard errors; that of the variance is at most sqrt(variance / 4n) for shares in [0, 1]."""
    n = len(share)
    near_mean = abs(share.double().mean().item() - mean) < 4 * math.sqrt(variance / n)
    return near_mean and abs(share.double().var().item() - variance) < 4 * math.sqrt(variance / 4 / n)


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (0.0, 0.5), (0.2, 0.3)])
def test_uniform(low, high):
    share = uniform(low, high)(20000, generator(0))
    assert share.shape == (20000,)
    assert low <= share.min() and share.max() <= high
    assert has_moments(share, (low + high) / 2, (high - low) ** 2 / 12)
    assert stats.kstest(share.double().numpy(), stats.uniform(low, high - low).cdf).pvalue > RARE


def test_selecmix_share_is_the_smaller_of_a_uniform_share_and_the_rest():
    either_share = uniform()(20000, generator(1))
    folded = torch.minimum(either_share, 1 - either_share)
    assert stats.cramervonmises_2samp(uniform(0, 0.5)(20000, generator(0)).numpy(), folded.numpy()).pvalue > RARE


@pytest.mark.parametrize("alpha", [1e-3, 0.01, 0.2, 1, 2.0, 5.0, 240.0])
def test_beta_for_each_sample(alpha):
    share = beta(alpha)(20000, generator(0))
    assert share.shape == (20000,)
    assert share.min() >= 0 and share.max() <= 1
    assert has_moments(share, 0.5, 1 / (4 * (2 * alpha + 1)))
    law, edges = stats.beta(alpha, alpha), [0.0, 1e-30, 1e-3, 0.1, 0.4, 0.5, 0.6, 0.9, 0.999, 1.0]
    count = torch.histogram(share.double(), torch.tensor(edges, dtype=torch.float64)).hist
    chance = torch.tensor([law.cdf(high) - law.cdf(low) for low, high in pairwise(edges)], dtype=torch.float64)
    common = chance * len(share) > 5
    assert count[~common].sum() <= 10 * (~common).sum()
    expected = chance[common] / chance[common].sum() * count[common].sum()
    assert stats.chisquare(count[common].numpy(), expected.numpy()).pvalue > RARE
    if alpha >= 1:  # below, shares pile up at 1, where float32 rounds
        assert stats.kstest(share.double().numpy(), law.cdf).pvalue > RARE


def test_beta_for_the_batch_is_one_share_of_the_same_law():
    draw = generator(0)
    batches = torch.stack([beta(2.0, scope="batch")(3, draw) for _ in range(3000)])
    assert (batches == batches[:, :1]).all()
    assert stats.kstest(batches[:, 0].double().numpy(), stats.beta(2, 2).cdf).pvalue > RARE


@pytest.mark.parametrize("scope", ["sample", "batch"])
def test_beta_of_zero_keeps_every_sample(scope):
    assert beta(0, scope=scope)(3, generator(0)).tolist() == [1, 1, 1]


@pytest.mark.parametrize("alpha", [-0.1, math.nan])
def test_beta_refuses_alpha_below_zero(alpha):
    with pytest.raises(UserError, match=f"alpha is {alpha}; a Beta distribution needs alpha > 0"):
        beta(alpha)


# --- how --------------------------------------------------------------------------------------------------------------

shapes = st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(1, 9), st.integers(1, 9))


@given(shapes, st.integers(0, 99))
@pytest.mark.parametrize("blend", list(BLENDS.values()))
def test_share_one_is_the_identity(blend, shape, seed):
    a, b = images(shape[0], shape[1:], seed), images(shape[0], shape[1:], seed + 1)
    mixed, realised = blend(a, b, torch.ones(shape[0]), generator(seed))
    assert torch.equal(mixed, a)
    assert realised.tolist() == [1] * shape[0]


@pytest.mark.parametrize("blend", [linear, keep_both])
def test_share_zero_is_the_partner(blend):
    mixed, realised = blend(images(3), images(3, seed=1), torch.zeros(3), generator(0))
    assert torch.equal(mixed, images(3, seed=1))
    assert realised.tolist() == [0, 0, 0]


def test_linear_by_hand():
    a, b, share = (
        torch.tensor([[1.0, 2.0], [4.0, 0.0]]),
        torch.tensor([[5.0, 2.0], [0.0, 8.0]]),
        torch.tensor([0.25, 0.5]),
    )
    mixed, realised = linear(a, b, share, None)
    assert mixed.tolist() == [[4, 2], [2, 4]]
    assert realised is share


@pytest.mark.parametrize("scope", ["sample", "batch"])
@pytest.mark.parametrize("blend", ["linear", "cut"])
@pytest.mark.parametrize("missing", [False, True])
def test_mixtures_written_over_the_batch_are_the_same(scope: Any, blend: str, missing: bool):
    made = {"linear": mixing.linear, "cut": partial(mixing.cut, scope=scope)}[blend]
    pair = mixing.sometimes(anyone(), 0.5) if missing else anyone()
    mix = Mix(pair, beta(1.0, scope=scope), made, mixing.proportional)
    batch = Batch(torch.rand(16, 3, 6, 7, generator=generator(1)), torch.arange(16))
    kept = batch.x.clone()
    expected = mix(batch, generator=generator(2))
    assert torch.equal(batch.x, kept), "nothing is written over unless it is said that it may be"
    mixed = mix(batch, generator=generator(2), in_place=True)
    assert mixed.x is batch.x
    assert torch.equal(mixed.x, expected.x)
    assert torch.equal(mixed.target.soft(16), expected.target.soft(16))


@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 1.0])
@pytest.mark.parametrize("over", [None, "own", "partner"])
def test_one_box_for_all_is_pasted_as_many_are(share: float, over: str | None):
    own, partner = torch.rand(2, 5, 3, 8, 9, generator=generator(3))
    corners = regions.box(torch.full((5,), share), 8, 9, generator(4), "batch")
    expected, kept = regions.paste(own, partner, corners), corners.share(8, 9)
    out = {None: None, "own": own, "partner": partner}[over]
    mixed, realised = mixing.cut(own, partner, torch.full((5,), share), generator(4), scope="batch", out=out)
    assert torch.equal(mixed, expected)
    assert torch.equal(realised, kept)
    assert out is None or mixed is out


def test_linear_is_differentiable_in_both():
    """So it can mix at a hidden level."""
    a, b = images(3).requires_grad_(), images(3, seed=1).requires_grad_()
    share = torch.tensor([0.2, 0.5, 0.75])
    gradients = torch.autograd.grad(linear(a, b, share, None)[0].sum(), (a, b))
    for gradient, expected in zip(gradients, (share, 1 - share), strict=True):
        torch.testing.assert_close(gradient, expected[:, None, None, None].expand_as(gradient))


@given(shapes, st.floats(0, 1, width=32), st.integers(0, 99))
def test_cut_pastes_one_box_and_counts_its_pixels(shape, share, seed):
    n, _, h, w = shape
    number = torch.arange(math.prod(shape), dtype=torch.float32).reshape(shape)  # tells place and channel apart
    mixed, realised = cut(number, number + 1000, torch.full((n,), share), generator(seed))
    pasted = mixed - number == 1000
    assert torch.equal(pasted | (mixed == number), torch.ones(shape, dtype=torch.bool))
    assert (pasted == pasted[:, :1]).all()
    for box, left in zip(pasted[:, 0], realised.tolist(), strict=True):
        assert left == pytest.approx(1 - int(box.sum()) / (h * w), abs=1e-6)
        side = math.sqrt(1 - share)
        for line, length in [(box.any(1), h), (box.any(0), w)]:
            places = line.nonzero().flatten().tolist()
            assert places == list(range(places[0], places[-1] + 1)) if places else True
            assert len(places) <= length * side + 1e-4
        assert torch.equal(box, box.any(1)[:, None] & box.any(0))


def line(length: int, half: int) -> float:
    """Mean length of [centre - half, centre + half) inside [0, length), for a whole centre anywhere inside."""
    return sum(min(centre + half, length) - max(centre - half, 0) for centre in range(length)) / length


def mean_area(h: int, w: int) -> float:
    """Mean area fraction that cut pastes when the share is uniform, without drawing anything.

    With u = 1 - share, half a side is int(h √u) // 2 = k where (2k/h)² ≤ u < ((2k + 2)/h)²; between the steps of
    both sides the area is the product of two mean lengths.
    """
    steps = sorted({min((2 * k / side) ** 2, 1) for side in (h, w) for k in range(side)} | {1.0})
    total = 0.0
    for low, high in pairwise(steps):
        root = math.sqrt((low + high) / 2)
        total += (high - low) * line(h, int(h * root) // 2) * line(w, int(w * root) // 2) / (h * w)
    return total


@pytest.mark.parametrize(("side", "area"), [(32, 0.2993), (64, 0.3105), (224, 0.3175)])
def test_mean_area_without_drawing(side, area):
    """Another's simulation of the law; without whole pixels it is E[(√u - u/4)²] = 1/2 - 1/5 + 1/48 = 0.3208."""
    assert mean_area(side, side) == pytest.approx(area, abs=5e-4)


@pytest.mark.parametrize(
    ("h", "w", "n"),
    [(32, 32, 20000), (64, 64, 12000), (224, 224, 3000), (32, 64, 12000), (48, 9, 20000), (5, 7, 20000)],
)
def test_mean_area_of_cut(h, w, n):
    """Shares are uniform and evenly spread, so that only the places are left to chance."""
    share, empty = ((torch.arange(n) + 0.5) / n)[torch.randperm(n, generator=generator(1))], torch.zeros(1, 1, 1, 1)
    draw = generator(0)
    realised = torch.cat([cut(empty.expand(len(s), 1, h, w), empty, s, draw)[1] for s in share.split(250)])
    assert (1 - realised).mean().item() == pytest.approx(mean_area(h, w), abs=0.003)
    # a box is empty where a side is below two pixels: 1 - share < (2 / shorter side)²
    assert (realised == 1).float().mean().item() == pytest.approx((2 / min(h, w)) ** 2, abs=2 / n)


def test_cut_draws_a_place_for_each_sample():
    a, b = torch.zeros(2000, 1, 8, 8), torch.ones(2000, 1, 8, 8)
    box = cut(a, b, torch.full((2000,), 0.9), generator(0))[0][:, 0]  # int(8 √0.1) = 2 wide: centre - 1 and centre
    for places in (box.any(1), box.any(2)):
        last = torch.where(places, torch.arange(8), -1).amax(1)
        assert is_uniform(last, list(range(8)))
    assert abs(torch.corrcoef(torch.stack([box.any(1)[:, 0], box.any(2)[:, 0]]).float())[0, 1]) < 0.1


def test_cut_refuses_what_is_no_image():
    with pytest.raises(UserError, match=r"'cut' needs images \(n, C, H, W\), but these inputs have shape \(2, 3\)"):
        cut(torch.zeros(2, 3), torch.zeros(2, 3), torch.ones(2), None)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_keep_both_shows_one_of_the_two_whole(share):
    a, b = images(5000, (2,)), images(5000, (2,), seed=1)
    mixed, realised = keep_both(a, b, torch.full((5000,), share), generator(0))
    shown = (mixed == a).all(1)
    assert torch.equal(shown, ~(mixed == b).all(1))
    assert torch.equal(realised, shown.float())
    assert stats.binomtest(int(shown.sum()), 5000, share).pvalue > RARE


def test_keep_both_listens_to_each_share():
    share = torch.tensor([0.0, 1.0] * 50)
    assert torch.equal(keep_both(images(100), images(100, seed=1), share, generator(0))[1], share)


# --- what label -------------------------------------------------------------------------------------------------------

A, B, SHARE = ids([0, 1, 2]), ids([1, 1, 0]), torch.tensor([0.25, 0.5, 1.0])


@pytest.mark.parametrize(
    ("rule", "rows"),
    [
        (proportional, [[0.25, 0.75, 0], [0, 1, 0], [0, 0, 1]]),
        (own, [[1, 0, 0], [0, 1, 0], [0, 0, 1]]),
        (of_partner, [[0, 1, 0], [0, 1, 0], [1, 0, 0]]),
    ],
)
def test_labels_by_hand(rule, rows):
    assert rule(A, B, SHARE).soft(3).tolist() == rows


def test_soft_counts_the_weights():
    target = Target(A, B, SHARE, torch.tensor([2.0, 1.0, 3.0]), torch.tensor([4.0, 3.0, 9.0]))
    assert target.soft(3).tolist() == [[0.5, 3, 0], [0, 2, 0], [0, 0, 3]]


def random_target(rule, n: int = 50) -> Target:
    draw = generator(3)
    a, b = torch.randint(5, (2, n), generator=draw)
    weights = {f"weight_{k}": 3 * torch.rand(n, generator=draw, dtype=torch.float64) for k in "ab"}
    return dataclasses.replace(rule(a, b, torch.rand(n, generator=draw, dtype=torch.float64)), **weights)


@pytest.mark.parametrize("rule", list(LABELS.values()))
def test_two_terms_of_cross_entropy_are_one_of_the_soft_label(rule):
    """Value and gradient: the cross entropy is linear in the target."""
    target = random_target(rule)
    logits = torch.randn(50, 5, generator=generator(0), dtype=torch.float64, requires_grad=True)
    loss = target_loss(cross_entropy, logits, target)
    soft = -(target.soft(5) * logits.log_softmax(1)).sum(1)
    torch.testing.assert_close(loss, soft)
    torch.testing.assert_close(torch.autograd.grad(loss.sum(), logits), torch.autograd.grad(soft.sum(), logits))


def test_two_terms_of_squared_error_add_a_constant():
    """λ‖f - a‖² + (1 - λ)‖f - b‖² = ‖f - (λa + (1 - λ)b)‖² + λ(1 - λ)‖a - b‖²: another value, the same gradient."""

    def squares(outputs: Tensor, label: Tensor) -> Tensor:
        return (outputs - label).square().sum(1)

    a, b, values = torch.randn(3, 20, 4, generator=generator(0), dtype=torch.float64)
    outputs, share = values.requires_grad_(), torch.rand(20, generator=generator(1), dtype=torch.float64)
    loss = target_loss(squares, outputs, proportional(a, b, share))
    one = squares(outputs, share[:, None] * a + (1 - share)[:, None] * b)
    torch.testing.assert_close(loss, one + share * (1 - share) * squares(a, b))
    torch.testing.assert_close(torch.autograd.grad(loss.sum(), outputs), torch.autograd.grad(one.sum(), outputs))


def soft_rows(n: int, seed: int) -> Tensor:
    return torch.randn(n, 5, generator=generator(seed), dtype=torch.float64).softmax(1)


@pytest.mark.parametrize("kind", ["ids", "soft labels", "regression"])
def test_the_loss_of_a_target_is_that_of_a_loop(kind):
    n, draw = 30, generator(5)
    outputs = torch.randn(n, 5, generator=draw, dtype=torch.float64)
    share, w_a, w_b = torch.rand(3, n, generator=draw, dtype=torch.float64)
    a, b = {
        "ids": (torch.arange(n) % 5, torch.arange(n) % 3),
        "soft labels": (soft_rows(n, 1), soft_rows(n, 2)),
        "regression": tuple(torch.randn(2, n, 5, generator=draw, dtype=torch.float64)),
    }[kind]

    def naive(z: list[float], label: Any) -> float:
        if kind == "regression":
            return sum((value - wanted) ** 2 for value, wanted in zip(z, label, strict=True)) / 5
        total = math.log(sum(math.exp(value) for value in z))
        row = [float(c == label) for c in range(5)] if kind == "ids" else label
        return sum(wanted * (total - value) for value, wanted in zip(z, row, strict=True))

    loss = target_loss(
        squared_error if kind == "regression" else cross_entropy, outputs, Target(a, b, share, 3 * w_a, 5 * w_b)
    )
    expected = [
        float(share[i]) * 3 * float(w_a[i]) * naive(outputs[i].tolist(), a[i].tolist())
        + (1 - float(share[i])) * 5 * float(w_b[i]) * naive(outputs[i].tolist(), b[i].tolist())
        for i in range(n)
    ]
    torch.testing.assert_close(loss, torch.tensor(expected, dtype=torch.float64))


def test_soft_labels_are_mixed_as_they_are():
    """Twice mixed: the soft row of a target can be a label of the next one."""
    a, b, share = soft_rows(20, 1), soft_rows(20, 2), torch.rand(20, generator=generator(3), dtype=torch.float64)
    target = proportional(a, b, share)
    torch.testing.assert_close(target.soft(5), share[:, None] * a + (1 - share)[:, None] * b)
    torch.testing.assert_close(target.soft(5).sum(1), torch.ones(20, dtype=torch.float64))
    again = proportional(target.soft(5), F.one_hot(torch.arange(20) % 5, 5).double(), 0.5 * torch.ones(20).double())
    logits = torch.randn(20, 5, generator=generator(4), dtype=torch.float64, requires_grad=True)
    two, one = target_loss(cross_entropy, logits, again), cross_entropy(logits, again.soft(5))
    torch.testing.assert_close(two, one)
    torch.testing.assert_close(torch.autograd.grad(two.sum(), logits), torch.autograd.grad(one.sum(), logits))


@pytest.mark.parametrize("rule", [own, of_partner])
def test_a_hard_label_is_one_term(rule):
    calls = []
    target_loss(lambda out, label: calls.append(label) or torch.ones(3), torch.zeros(3, 3), rule(A, B, SHARE))
    assert len(calls) == 1


# --- together ---------------------------------------------------------------------------------------------------------


@given(
    samples=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=6),
    blend=st.sampled_from(sorted(BLENDS)),
    rule=st.sampled_from(sorted(LABELS)),
    seed=st.integers(0, 99),
)
def test_who_finds_no_partner_stays_as_it_is(samples, blend, rule, seed):
    """And who finds one is blended as the blend says, by hand with the same draws."""
    label, attribute = (list(column) for column in zip(*samples, strict=True))
    batch = Batch(images(len(label)), ids(label), ids(attribute))
    mix = Mix(same_attribute(), uniform(), BLENDS[blend], LABELS[rule])
    mixed = mix(batch, generator=generator(seed))
    draw = generator(seed)
    pairs, share = mix.pair(batch, batch, draw), mix.ratio(len(batch), draw)
    x, realised = BLENDS[blend](batch.x, batch.x[pairs.partner], share, draw)
    expected = mix.label(batch.label, batch.label[pairs.partner], realised).soft(3)
    alone = torch.tensor([not any(a != y and b == z for a, b in samples) for y, z in samples])
    assert torch.equal(mixed.found, ~alone)
    assert torch.equal(mixed.x, torch.where(alone[:, None, None, None], batch.x, x))
    assert torch.equal(mixed.target.soft(3), torch.where(alone[:, None], F.one_hot(batch.label, 3), expected))
    torch.testing.assert_close(mixed.target.soft(3).sum(1), torch.ones(len(label)))


@pytest.mark.parametrize("rule", list(LABELS.values()))
def test_partners_drawn_for_a_pool_are_blended_in_slices(rule):
    pool = Batch(images(10), ids([0, 1, 2, 0, 1, 0, 1, 0, 1, 0]))
    mix = Mix(same_label(), uniform(), linear, rule)
    whole, partners = mix(pool, generator=generator(0)), mix.draw(pool, generator=generator(0))
    rows = ids([2, 7, 1])
    part = mix.blend_with(pool[rows], partners[rows])
    assert torch.equal(part.x, whole.x[rows]) and torch.equal(part.found, whole.found[rows])
    assert torch.equal(part.target.soft(3), whole.target.soft(3)[rows])
    assert partners.found.tolist() == [True] * 2 + [False] + [True] * 7
    assert partners.share[2] == 1 and torch.equal(partners.x[2], pool.x[2]) and partners.label[2] == 2


@pytest.mark.gpu
@pytest.mark.parametrize("pair", [anyone(), same_label(other_attribute=True), same_attribute()])
def test_a_data_set_serves_a_batch_on_another_device(pair):
    x = torch.randint(256, (40, 1, 4, 4), generator=generator(0)).to(torch.uint8)
    data = Dataset.of(x, [0, 1] * 20, [0, 0, 1, 1] * 10)
    batch, draw = data.batch(torch.arange(10), "cuda"), generator(0, device="cuda")
    mixed = Mix(pair, uniform(), linear, proportional)(batch, data, draw)
    assert mixed.found.all() and mixed.x.device == mixed.target.soft(2).device == batch.x.device


@pytest.mark.parametrize(("label", "values"), [([0.0, 4.0], [[0.0], [4.0]]), ([2.0, 2.0], [[2.0], [2.0]])])
def test_float_targets_stay_with_who_finds_no_partner(label, values):
    def nobody(batch: Batch, pool: Pool, draw: torch.Generator | None) -> Pairs:
        return Pairs(ids([1, 0]), ids([0, 0]).bool())

    batch = Batch(torch.rand(2, 3), torch.tensor(label)[:, None])
    target = Mix(nobody, uniform(), linear, proportional)(batch, generator=generator(0)).target
    assert target.label_a.tolist() == target.label_b.tolist() == values


def everything_alike(batch: Batch, pool: Pool) -> Tensor:
    return -torch.ones(len(batch), len(pool))


PAIRS = {
    "anyone": anyone(),
    "same_label": same_label(),
    "other_attribute": same_label(other_attribute=True),
    "same_attribute": same_attribute(),
    "positive": contradicting(everything_alike, "positive"),
    "negative, near the best": contradicting(everything_alike, "negative", within=0.2),
    "either": either(anyone(), same_label()),
    "weighted": weighted(lambda batch, pool: everything_alike(batch, pool)),
}


@pytest.mark.parametrize("pair", list(PAIRS))
@pytest.mark.parametrize("blend", list(BLENDS))
def test_an_empty_pool_changes_nothing(pair, blend):
    batch = Batch(images(3), ids([0, 1, 0]), ids([0, 0, 1]))
    nobody = batch[ids([])]
    mixed = Mix(PAIRS[pair], uniform(), BLENDS[blend], of_partner)(batch, nobody, generator(0))
    assert not mixed.found.any()
    assert torch.equal(mixed.x, batch.x)
    assert torch.equal(mixed.target.soft(2), F.one_hot(batch.label, 2).float())


@pytest.mark.parametrize("mode", ["positive", "negative"])
def test_selecmix(mode):
    """Inputs that spell their own identity tell who was mixed with whom, and how much."""
    n, draw = 40, generator(0)
    label, z = torch.randint(3, (n,), generator=draw), F.normalize(torch.randn(n, 2, generator=draw), dim=1)
    alike = z @ z.T
    mix = Mix(contradicting(lambda batch, pool: alike, mode), uniform(0, 0.5), linear, of_partner)
    mixed = mix(Batch(torch.eye(n), label), generator=draw)
    assert mixed.found.all()
    torch.testing.assert_close(mixed.x.sum(1), torch.ones(n))
    share, rest = mixed.x.diagonal(), mixed.x - torch.diag(mixed.x.diagonal())
    assert (share <= 0.5).all() and share.unique().numel() == n
    partner = rest.argmax(1)
    for i in range(n):
        score = {
            k: -alike[i, k] if mode == "positive" else alike[i, k]
            for k in range(n)
            if k != i and (label[i] == label[k]) == (mode == "positive")
        }
        assert partner[i] == max(score, key=lambda k: score[k])
    assert torch.equal(mixed.target.soft(3), F.one_hot(label[partner], 3).float())


def test_partners_come_from_a_data_set():
    """Stored as uint8, and in another order than the batch."""
    x = torch.randint(256, (9, 1, 4, 4), generator=generator(0)).to(torch.uint8)
    data = Dataset.of(x, [0, 1, 2] * 3)
    pool = data.take(ids([8, 1, 6, 3, 0]))
    batch = data.batch(ids([0, 4, 5]))
    mix = Mix(same_label(), uniform(), linear, proportional)
    mixed = mix(batch, pool, generator(1))
    draw = generator(1)
    pairs, share = same_label()(batch, pool, draw), mix.ratio(3, draw)
    identity = pool.index[pairs.partner]
    assert identity[0] in (3, 6) and identity[1] == 1 and identity[2] == 8
    expected = share[:, None, None, None] * x[[0, 4, 5]] + (1 - share)[:, None, None, None] * x[identity]
    torch.testing.assert_close(mixed.x, expected / 255)
    assert torch.equal(mixed.target.label_b, data.label[identity])


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64])
def test_mixing_refuses_whole_numbers(dtype):
    batch = Batch(torch.zeros(2, 3, 4, 4, dtype=dtype), ids([0, 1]))
    with pytest.raises(UserError, match=f"needs float inputs, but x is {dtype}; for images divide by 255 first"):
        Mix(anyone(), beta(1.0), linear, proportional)(batch)


def test_a_similarity_that_is_being_trained_gets_no_gradient():
    weight = torch.randn(32, 4, generator=generator(0), requires_grad=True)
    pair = contradicting(
        lambda batch, pool: (batch.x.flatten(1) @ weight) @ (batch.x.flatten(1) @ weight).T, "negative"
    )
    mixed = Mix(pair, uniform(0, 0.5), linear, of_partner)(Batch(images(6), ids([0, 1] * 3)), generator=generator(0))
    assert not mixed.x.requires_grad and not mixed.target.share.requires_grad


@pytest.mark.parametrize("pair", list(PAIRS))
@pytest.mark.parametrize("blend", list(BLENDS))
@pytest.mark.parametrize("ratio", [uniform(), beta(0.3), beta(0.3, scope="batch"), beta(0)])
def test_the_generator_decides_and_the_callers_is_left_alone(pair, blend, ratio):
    batch, before = Batch(images(16), ids([0, 1] * 8), ids([0, 0, 1, 1] * 4)), torch.get_rng_state()
    mix = Mix(PAIRS[pair], ratio, BLENDS[blend], proportional)
    first, again = mix(batch, generator=generator(5)), mix(batch, generator=generator(5))
    assert torch.equal(first.x, again.x) and torch.equal(first.target.soft(2), again.target.soft(2))
    assert torch.equal(torch.get_rng_state(), before)
    if ratio(1, generator(0)) < 1:
        assert any(not torch.equal(first.x, mix(batch, generator=generator(seed)).x) for seed in range(3))


def test_rows_of_what_was_mixed():
    """A pool is mixed once and then sliced into minibatches."""
    mixed = Mix(anyone(), uniform(), linear, proportional)(Batch(images(6), ids([0, 1, 2] * 2)), generator=generator(0))
    rows = ids([4, 0])
    assert torch.equal(mixed[rows].x, mixed.x[rows])
    assert torch.equal(mixed.target[rows].soft(3), mixed.target.soft(3)[rows])


@pytest.mark.parametrize(("blend", "rule"), list(product([linear, keep_both], LABELS.values())))
def test_in_a_plain_training_loop(blend, rule):
    """Nothing but inputs and labels; the seed is the loop's own."""

    def train() -> tuple[float, float]:
        torch.manual_seed(0)
        x = torch.randn(64, 2)
        label = (x[:, 0] > 0).long()
        net = nn.Linear(2, 2)
        optimizer = torch.optim.SGD(net.parameters(), 0.5)
        mix = Mix(same_label() if rule is own else anyone(), beta(0.2), blend, rule)
        start = cross_entropy(net(x), label).mean().item()
        for _ in range(30):
            mixed = mix(Batch(x, label))
            optimizer.zero_grad()
            target_loss(cross_entropy, net(mixed.x), mixed.target).mean().backward()
            optimizer.step()
        return start, cross_entropy(net(x), label).mean().item()

    with torch.random.fork_rng():
        start, end = train()
        assert (start, end) == train()
    if rule is not of_partner:  # whose label goes to the larger share only when the share is at most 1/2
        assert end < 0.6 * start


# --- a blend that looks -----------------------------------------------------------------------------------------------


def toward_the_anchor(own: Tensor, partner: Tensor, share: Tensor, draw: Any, seen: Seen) -> tuple[Tensor, Tensor]:
    """The pixel whose gradient is largest for the anchor's label is the anchor's, all others the partner's."""
    assert seen.net is not None
    x = own.detach().requires_grad_()
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(cross_entropy(seen.net(x), seen.label).sum(), x)
    keep = F.one_hot(gradient.abs().flatten(1).argmax(1), own[0].numel()).view_as(own)
    return torch.where(keep == 1, own, partner), torch.full_like(share, 1 / own[0].numel())


def test_a_seeing_blend_is_shown_labels_and_net():
    seen = []

    def looking(own: Tensor, partner: Tensor, share: Tensor, draw: Any, what: Seen) -> tuple[Tensor, Tensor]:
        seen.append(what)
        return linear(own, partner, share, draw)

    batch, net = Batch(images(6), ids([0, 1, 2, 0, 1, 2])), nn.Linear(2, 2)
    mix = Mix(anyone(), uniform(), Seeing(looking), proportional)
    partners = mix.draw(batch, generator=generator(1))
    mixed = mix.blend_with(batch, partners, generator(2), net)
    blind = dataclasses.replace(mix, blend=linear).blend_with(batch, partners, generator(2))
    assert torch.equal(seen[0].label, batch.label)
    assert torch.equal(seen[0].partner_label, partners.label)
    assert seen[0].net is net
    assert torch.equal(mixed.x, blind.x) and torch.equal(mixed.target.share, blind.target.share)
    mix(batch, generator=generator(1))
    assert seen[1].net is None, "who mixes without a net shows none"


def test_a_seeing_blend_may_take_gradients_through_the_net():
    """Of a linear net on four pixels the largest gradient is by hand, and the caller's gradients are left alone."""
    layer = nn.Linear(4, 2)
    net = nn.Sequential(nn.Flatten(), layer)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[0.1, 2.0, 0.3, 0.0], [0.1, -2.0, 0.3, 0.0]]))
    batch = Batch(images(4, (1, 2, 2)), ids([0, 0, 1, 1]))
    mix = Mix(anyone(), uniform(), Seeing(toward_the_anchor), proportional)
    partners = mix.draw(batch, generator=generator(3))
    with torch.no_grad():
        mixed = mix.blend_with(batch, partners, None, net)
    expected = partners.x.flatten(1).clone()
    expected[:, 1] = batch.x.flatten(1)[:, 1]
    assert torch.equal(mixed.x.flatten(1), expected)
    assert mixed.target.share.tolist() == [0.25] * 4
    assert all(parameter.grad is None for parameter in net.parameters())


# --- who the partners are, and what a Mix remembers -------------------------------------------------------------------


@pytest.mark.parametrize("source", ["batch", "dataset", "itself"])
def test_partners_say_who_they_are(source):
    data = Dataset.of(torch.arange(20.0)[:, None], torch.arange(20) % 2, (torch.arange(20) % 4 == 0).long())
    data = data.take(torch.randperm(20, generator=generator(8)))
    batch = data.batch(torch.arange(12))
    pool = {"batch": data.batch(torch.arange(6, 20)), "dataset": data, "itself": None}[source]
    partners = Mix(same_label(other_attribute=True), uniform(), linear, proportional).draw(batch, pool, generator(0))
    assert partners.index is not None
    assert partners.index.tolist() == partners.x.flatten().long().tolist(), "inputs spell their identity"
    assert torch.equal(partners.found, batch.label == 0), "of label 1 all have the same attribute"
    alone = ~partners.found
    assert torch.equal(partners.index[alone], cast(Tensor, batch.index)[alone])


def test_partners_out_of_a_nameless_pool_have_no_name_but_the_own():
    known = Batch(images(3), ids([0, 1, 0]), index=ids([7, 8, 9]))
    mix = Mix(anyone(), uniform(), linear, proportional)
    assert mix.draw(known, Batch(images(4), ids([0] * 4)), generator(0)).index is None
    nobody = mix.draw(known, known[ids([])], generator(0))
    assert cast(Tensor, nobody.index).tolist() == [7, 8, 9]


def test_a_mix_is_frozen_and_remembers_nothing():
    def made() -> Mix:
        near = weighted(lambda ours, theirs: -((ours.label[:, None] - theirs.label).float() ** 2))
        return Mix(sometimes(near, 0.7), beta(0.5), cut, proportional)

    batch, another = Batch(images(16), torch.arange(16) % 4), Batch(images(9, seed=4), torch.arange(9) % 2)
    one, other = made(), made()
    other(another, generator=generator(5))
    first, second = one(batch, generator=generator(6)), other(batch, generator=generator(6))
    assert torch.equal(first.x, second.x)
    assert torch.equal(first.found, second.found) and 0 < int(first.found.sum()) < 16
    assert torch.equal(first.target.soft(4), second.target.soft(4))
    assert not torch.equal(first.x, one(batch, generator=generator(7)).x)
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.blend = linear  # pyright: ignore[reportAttributeAccessIssue]


# --- memory -----------------------------------------------------------------------------------------------------------


class Shelf:
    """A pool that gives out its own storage, as anybody's may."""

    def __init__(self, x: torch.Tensor) -> None:
        self.x, self.label, self.attribute, self.index = x, torch.zeros(len(x), dtype=torch.long), None, None

    def __len__(self) -> int:
        return len(self.x)

    def gather(self, rows: torch.Tensor) -> torch.Tensor:
        return self.x


@pytest.mark.parametrize("blend", [mixing.linear, mixing.cut, partial(mixing.cut, scope="batch")])
def test_what_is_mixed_is_written_over_nothing_that_somebody_holds(blend):
    batch, shelf = Batch(torch.rand(6, 3, 8, 8), torch.arange(6) % 2), Shelf(torch.rand(6, 3, 8, 8))
    before = batch.x.clone(), shelf.x.clone()
    mix = mixing.Mix(mixing.anyone(), mixing.beta(1.0), blend, mixing.proportional)
    for pool in (None, shelf):
        mixed = mix(batch, pool, generator(1))
        assert mixed.x.data_ptr() not in (batch.x.data_ptr(), shelf.x.data_ptr())
        drawn = mix.draw(batch, pool, draw := generator(1))
        torch.testing.assert_close(mixed.x, mix.blend_with(batch, drawn, draw).x, rtol=0, atol=0)
        assert torch.equal(batch.x, before[0]) and torch.equal(shelf.x, before[1])
    leaf = batch.x.clone().requires_grad_()
    mix(Batch(leaf, batch.label), None, generator(1)).x.sum().backward()
    assert leaf.grad is not None


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_who_stays_alone_is_written_over_nothing_that_somebody_holds(kind):
    x = torch.rand(6, 3, 8, 8)
    batch, label = Batch(x, torch.arange(6) % 2), torch.zeros(6, dtype=torch.long)
    shelf, data = Shelf(torch.rand(6, 3, 8, 8, dtype=kind)), Dataset.of(torch.rand(6, 3, 8, 8), label, n_classes=1)
    before = x.clone(), shelf.x.clone(), data.x.clone()
    some = mixing.Mix(mixing.sometimes(mixing.anyone(), 0.5), mixing.uniform(), mixing.linear, mixing.of_partner)
    for pool in (None, batch, data, shelf):
        drawn = some.draw(batch, pool, generator(3))
        assert 0 < drawn.found.sum() < 6
        who = shelf.x if pool is shelf else (batch if pool is None else pool).gather(cast(Tensor, drawn.row))
        assert torch.equal(drawn.x, torch.where(drawn.found.view(-1, 1, 1, 1), who, x))
        assert torch.equal(x, before[0]) and torch.equal(shelf.x, before[1]) and torch.equal(data.x, before[2])
