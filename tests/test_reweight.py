"""The cheap baselines: weights and samples by the size of the class or group."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers import context
from hypothesis import given
from hypothesis import strategies as st

from longcut.data import Dataset, Splits, generator
from longcut.errors import UserError
from longcut.fit import Training, fit
from longcut.losses import cross_entropy
from longcut.methods import build
from longcut.methods.reweighting.reweight import size_weights

sizes = st.lists(st.integers(0, 5000), min_size=1, max_size=8).filter(any)


def data() -> Dataset:
    """Labels 6 : 2, groups 4, 2, 0, 2."""
    x = torch.randn(8, 3, generator=generator(1))
    return Dataset.of(x, [0, 0, 0, 0, 0, 0, 1, 1], [0, 0, 0, 0, 1, 1, 1, 1], name="small")


def method_of(name: str, part: Dataset, **options: Any) -> Any:
    method = build(name, part.info, net="mlp:hidden=4", options=options)
    method.context = context(part, 7)
    return method


# --- weights ----------------------------------------------------------------------------------------------------------


@given(sizes, st.sampled_from([0.0, 0.5, 0.99, 0.9999]))
def test_weights_are_those_of_a_loop(size: list[int], beta: float):
    rules: dict[Any, Any] = {
        "inverse": lambda n: 1 / n,
        "sqrt": lambda n: n**-0.5,
        "effective": lambda n: (1 - beta) / (1 - beta**n),
    }
    for rule, formula in rules.items():
        raw = [formula(n) if n else 0.0 for n in size]
        expected = torch.tensor([w * len(size) / sum(raw) for w in raw])
        torch.testing.assert_close(size_weights(torch.tensor(size), rule, beta), expected, rtol=1e-5, atol=1e-7)


def test_weights_by_hand():
    size = torch.tensor([1, 4, 0])
    assert size_weights(size).tolist() == pytest.approx([2.4, 0.6, 0])
    assert size_weights(size, "sqrt").tolist() == pytest.approx([2, 1, 0])
    assert size_weights(size, "effective", 0.5).tolist() == pytest.approx([3 * 15 / 23, 3 * 8 / 23, 0])


def test_equal_sizes_have_weights_1_and_so_does_beta_0():
    for rule in ("inverse", "sqrt", "effective"):
        torch.testing.assert_close(size_weights(torch.full((3,), 9), rule), torch.ones(3))
    torch.testing.assert_close(size_weights(torch.tensor([1, 50, 7]), "effective", 0.0), torch.ones(3))


def test_the_effective_number_lies_between_all_equal_and_inverse():
    size = torch.tensor([10, 1000])
    torch.testing.assert_close(size_weights(size, "effective", 1 - 1e-9), size_weights(size), rtol=1e-5, atol=0)
    ratios = [float(w[0] / w[1]) for w in (size_weights(size, "effective", b) for b in (0.5, 0.9, 0.99, 0.999))]
    assert ratios == sorted(ratios)
    assert ratios[0] == pytest.approx((1 - 0.5**1000) / (1 - 0.5**10))
    assert ratios[-1] < 100


@pytest.mark.parametrize(("by", "size"), [("class", [6, 2]), ("group", [4, 2, 0, 2])])
def test_the_loss_is_the_mean_over_the_batch_of_weight_times_cross_entropy(by: str, size: list[int]):
    part = data()
    method = method_of("reweight", part, by=by)
    method.prepare(part, None)
    assert torch.equal(method.weight, size_weights(torch.tensor(size)))
    batch = part.batch(torch.tensor([0, 4, 7]))
    ce = cross_entropy(method(batch.x), batch.label).tolist()
    group = [0, 1, 3] if by == "group" else [0, 0, 1]
    expected = sum(method.weight[g].item() * loss for g, loss in zip(group, ce, strict=True)) / 3
    assert method.loss(batch)[0].item() == pytest.approx(expected, rel=1e-5)


def test_inverse_weights_give_every_group_the_same_say():
    part = data()
    method = method_of("reweight", part, by="group")
    method.prepare(part, None)
    say = torch.zeros(4).index_add_(0, part.group, method.weight[part.group])
    torch.testing.assert_close(say[[0, 1, 3]], say[0].expand(3))


def test_reweighting_equal_groups_is_erm():
    part = Dataset.of(torch.randn(40, 3, generator=generator(1)), torch.arange(40) % 2)
    splits, training = Splits(part, None, part), Training(epochs=2, batch=8)
    one, other = (
        fit(build(name, part.info, net="mlp:hidden=4"), splits, training).method for name in ("erm", "reweight")
    )
    for name, value in one.state_dict().items():
        torch.testing.assert_close(other.state_dict()[name], value)


# --- samples ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("by", "counts"), [("class", [4, 4]), ("group", [3, 3, 0, 2])])
def test_resampling_draws_anew_in_each_epoch(by: str, counts: list[int]):
    part = data()
    method = method_of("resample", part, by=by)
    assert method.prepare(part, None) is part
    epochs = [method.epoch_data(part) for _ in range(6)]
    for drawn in epochs:
        found = torch.bincount(drawn.group if by == "group" else drawn.label, minlength=len(counts))
        assert sorted(found.tolist()) == sorted(counts)
    assert len({tuple(drawn.index.tolist()) for drawn in epochs}) > 1


@pytest.mark.parametrize(("by", "counts"), [("class", [2, 2]), ("group", [2, 2, 0, 2])])
def test_subsampling_cuts_to_the_smallest_and_stays(by: str, counts: list[int]):
    part = data()
    method = method_of("resample", part, by=by, how="subsample")
    small = method.prepare(part, None)
    assert torch.bincount(small.group if by == "group" else small.label, minlength=len(counts)).tolist() == counts
    assert len(set(small.index.tolist())) == len(small)
    assert method.epoch_data(small) is small


def test_lisa_balances_anew_in_each_epoch_if_asked():
    part = Dataset.of(torch.rand(40, 3), [0] * 30 + [1] * 10, [0] * 25 + [1] * 10 + [0] * 5)
    method = method_of("lisa", part, balanced=True)
    assert method.prepare(part, None) is part
    one, other = (method.epoch_data(part) for _ in range(2))
    assert torch.bincount(one.group).tolist() == torch.bincount(other.group).tolist() == [10] * 4
    assert not torch.equal(one.index, other.index)
    assert method_of("lisa", part).epoch_data(part) is part


def test_every_sample_of_a_large_group_is_seen_in_the_course_of_the_epochs():
    part = Dataset.of(torch.rand(100, 2), [0] * 90 + [1] * 10)
    method = method_of("resample", part)
    seen = torch.cat([method.epoch_data(part).index for _ in range(12)]).unique()
    assert len(seen) == 100  # a single draw holds 50 of the 90


@pytest.mark.parametrize("name", ["reweight", "resample"])
def test_groups_need_an_attribute_and_classes_do_not(name: str):
    blind = Dataset.of(torch.rand(4, 2), [0, 1, 0, 1], name="blind")
    method_of(name, blind)
    with pytest.raises(UserError, match=f"{name} by group needs the attribute of each training sample, but blind has"):
        method_of(name, blind, by="group")
