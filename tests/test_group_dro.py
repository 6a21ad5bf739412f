"""The group weights against arithmetic and loops, and the method around them."""

from __future__ import annotations

import dataclasses
import io
import math
from typing import Any

import pytest
import torch
from helpers import context
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from longcut.context import calling
from longcut.data import Dataset, Splits, generator
from longcut.fit import Training, fit
from longcut.losses import cross_entropy
from longcut.methods import build
from longcut.methods.reweighting.group_dro import GroupDRO, GroupWeights


def grouped(label: list[int], attribute: list[int], **info: Any) -> Dataset:
    """Column 0 shows the label with some noise, column 1 the attribute."""
    noise = torch.randn(len(label), generator=generator(3)) / 2
    x = torch.stack([torch.tensor(label) - 0.5 + noise, torch.tensor(attribute).float()], 1)
    return Dataset.of(x, label, attribute, name="groups", **info)


def biased(n: int = 64) -> Dataset:
    """Groups of 3/8, 1/8, 1/8, 3/8 of the samples."""
    label = [i % 2 for i in range(n)]
    return grouped(label, [y if i % 8 < 6 else 1 - y for i, y in enumerate(label)])


def looped(
    batches: list[tuple[list[float], list[int]]],
    size: list[int],
    step: float,
    *,
    start: float,
    adjustment: float = 0.0,
    updates: str = "all",
    normalise: bool = False,
) -> tuple[list[float], float]:
    """What the papers say, group by group in double precision: q at the end, and the last loss."""
    q = [start if n else 0.0 for n in size]
    loss = 0.0
    for losses, group in batches:
        mean, worse = {}, {}
        for g in range(len(size)):
            own = [value for value, of in zip(losses, group, strict=True) if of == g]
            mean[g] = sum(own) / len(own) if own else 0.0
            if size[g] and (own or updates == "all"):
                worse[g] = mean[g] + adjustment / math.sqrt(size[g])
        total = sum(worse.values()) if normalise else 1.0
        for g in worse:
            q[g] *= math.exp(step * worse[g] / total)
        q = [value / sum(q) for value in q]
        loss = sum(q[g] * mean[g] for g in mean)
    return q, loss


def test_two_updates_by_hand():
    weights = GroupWeights(2, step=math.log(2))
    # means 1 and 3: q ~ 2, 8, so 1/5 and 4/5; then means 2 and 0: q ~ 4/5, 4/5
    first = weights.update(torch.tensor([0.0, 2.0, 3.0]), torch.tensor([0, 0, 1]))
    torch.testing.assert_close(weights.q, torch.tensor([0.2, 0.8]))
    torch.testing.assert_close(first, torch.tensor(0.2 * 1 + 0.8 * 3))
    second = weights.update(torch.tensor([2.0, 2.0]), torch.tensor([0, 0]))
    torch.testing.assert_close(weights.q, torch.tensor([0.5, 0.5]))
    torch.testing.assert_close(second, torch.tensor(1.0))


@pytest.mark.parametrize("start", [0.25, 1.0])  # Sagawa et al., and SubpopBench: the first division makes them one
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"adjustment": 3.0},
        {"adjustment": 3.0, "updates": "present"},
        {"normalise": True},
        {"adjustment": 1.0, "normalise": True},
        {"adjustment": 1.0, "normalise": True, "updates": "present"},
    ],
    ids=str,
)
def test_a_run_of_updates_is_that_of_a_loop_over_groups(options: dict[str, Any], start: float):
    draw, size = generator(1), [30, 5, 0, 2]
    weights = GroupWeights(4, step=0.3, **options)
    weights.start(torch.repeat_interleave(torch.arange(4), torch.tensor(size)))
    batches = []
    loss = torch.zeros(())
    for n in (6, 1, 3, 8, 5):  # some without one group or another
        losses = 3 * torch.rand(n, generator=draw)
        group = torch.tensor([0, 1, 3])[torch.randint(0, 3, (n,), generator=draw)]
        loss = weights.update(losses, group)
        batches.append((losses.tolist(), group.tolist()))
    q, last = looped(batches, size, 0.3, start=start, **options)
    torch.testing.assert_close(weights.q, torch.tensor(q))
    torch.testing.assert_close(loss, torch.tensor(last))


@given(st.lists(st.tuples(st.floats(0, 50), st.integers(0, 4)), min_size=1, max_size=12), st.floats(0.001, 5))
def test_the_weights_are_a_distribution_and_the_loss_lies_between_the_groups(samples, step: float):
    losses, group = torch.tensor([s[0] for s in samples]), torch.tensor([s[1] for s in samples])
    weights = GroupWeights(5, step)
    loss = weights.update(losses, group)
    assert weights.q.sum().item() == pytest.approx(1, abs=1e-5)
    assert (weights.q >= 0).all()
    assert -1e-4 <= loss.item() <= losses.max().item() + 1e-4


def test_with_equal_losses_the_weights_stay_equal_and_the_loss_is_the_common_one():
    weights = GroupWeights(3, step=0.5)
    loss = torch.zeros(())
    for _ in range(20):
        loss = weights.update(torch.full((6,), 0.7), torch.tensor([0, 0, 0, 1, 2, 2]))
    torch.testing.assert_close(weights.q, torch.full((3,), 1 / 3))
    torch.testing.assert_close(loss, torch.tensor(0.7))


def test_groups_that_the_batch_lacks_keep_their_proportions():
    weights = GroupWeights(3, step=1.0)
    weights.q.copy_(torch.tensor([0.2, 0.2, 0.6]))
    weights.update(torch.tensor([5.0]), torch.tensor([0]))
    assert weights.q[0] > 0.9
    assert (weights.q[2] / weights.q[1]).item() == pytest.approx(3, rel=1e-5)


def test_which_groups_update_only_matters_to_the_adjustment():
    results = {}
    for adjustment in (0.0, 4.0):
        for updates in ("all", "present"):
            weights = GroupWeights(2, step=1.0, adjustment=adjustment, updates=updates)  # type: ignore[arg-type]
            weights.start(torch.tensor([0] * 16 + [1] * 4))
            weights.update(torch.tensor([0.0]), torch.tensor([0]))
            results[adjustment, updates] = weights.q
    assert torch.equal(results[0.0, "all"], results[0.0, "present"])
    # adjustments 4 / 4 and 4 / 2: the absent group gains with "all", and loses to the present one otherwise
    torch.testing.assert_close(results[4.0, "all"], torch.softmax(torch.tensor([1.0, 2.0]), 0))
    torch.testing.assert_close(results[4.0, "present"], torch.softmax(torch.tensor([1.0, 0.0]), 0))


@pytest.mark.parametrize("options", [{}, {"adjustment": 5.0}, {"normalise": True}], ids=str)
def test_a_group_without_training_samples_never_weighs_anything(options: dict[str, Any]):
    weights = GroupWeights(4, step=1.0, **options)
    weights.start(torch.tensor([0, 0, 1, 3]))
    torch.testing.assert_close(weights.q, torch.tensor([1, 1, 0, 1]) / 3)
    loss = torch.zeros(())
    for _ in range(5):
        loss = weights.update(torch.tensor([1.0, 2.0, 9.0]), torch.tensor([0, 1, 2]))  # not even if it turns up
    assert weights.q[2] == 0
    assert torch.isfinite(loss)


def test_the_gradient_takes_the_weights_as_constants():
    losses = torch.tensor([1.0, 2.0, 4.0], requires_grad=True)
    weights = GroupWeights(2, step=0.2, adjustment=1.0)
    weights.update(losses, torch.tensor([0, 0, 1])).backward()
    q = weights.q
    assert not q.requires_grad
    torch.testing.assert_close(losses.grad, torch.stack([q[0] / 2, q[0] / 2, q[1]]))


def test_huge_losses_do_not_overflow():
    weights = GroupWeights(2, step=10.0)
    loss = weights.update(torch.tensor([1e4, 1.0]), torch.tensor([0, 1]))
    torch.testing.assert_close(weights.q, torch.tensor([1.0, 0.0]))
    assert loss == 1e4


def test_the_weights_find_the_minimax_where_the_mean_does_not():
    """Losses w^2 of nine samples and (w - 1)^2 of one: the mean is best at 0.1, the worst group at 0.5."""
    group = torch.tensor([0] * 9 + [1])
    for step, best in ((None, 0.1), (0.1, 0.5)):
        w = torch.zeros((), requires_grad=True)
        weights = GroupWeights(2, step or 1.0)
        for _ in range(3000):
            losses = torch.where(group == 0, w**2, (w - 1) ** 2)
            loss = losses.mean() if step is None else weights.update(losses, group)
            (gradient,) = torch.autograd.grad(loss, w)
            w = (w - 0.05 * gradient).detach().requires_grad_()
        assert w.item() == pytest.approx(best, abs=1e-3)


# --- the method -------------------------------------------------------------------------------------------------------


def prepared(data: Dataset, **options: Any) -> GroupDRO:
    method: Any = build("group-dro", data.info, net="mlp:hidden=6", options=options)
    method.context = context(data)
    method.prepare(data, lambda *_, **__: None)
    return method


def test_the_loss_is_that_of_a_loop():
    data = biased()
    method = prepared(data, step=0.5, adjustment=2.0)
    batch = data.batch(torch.arange(20))
    losses = cross_entropy(method(batch.x), batch.label).tolist()
    group = [2 * int(y) + int(a) for y, a in zip(batch.label, batch.attribute, strict=True)]  # type: ignore[arg-type]
    size = torch.bincount(data.group).tolist()
    q, expected = looped([(losses, group)], size, 0.5, start=0.25, adjustment=2.0)
    loss, logs = method.loss(batch)
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    assert logs["largest_weight"].item() == pytest.approx(max(q), rel=1e-5)


def test_equal_groups_are_drawn_anew_in_each_epoch_and_the_sizes_are_those_of_the_data():
    data = biased()
    method = prepared(data)
    epochs = [method.epoch_data(data) for _ in range(2)]
    for drawn in epochs:
        assert torch.bincount(drawn.group).tolist() == [16] * 4
    assert not torch.equal(epochs[0].index, epochs[1].index)
    assert method.weights.size.tolist() == [24, 8, 8, 24]
    assert prepared(data, balanced=False).epoch_data(data) is data


def test_an_empty_group_is_neither_drawn_nor_weighed():
    data = biased()
    data = data.take(data.group != 1)
    method = prepared(data)
    assert torch.bincount(method.epoch_data(data).group, minlength=4)[1] == 0
    assert method.weights.q.tolist() == pytest.approx([1 / 3, 0, 1 / 3, 1 / 3])


def test_the_weights_are_part_of_the_state_and_not_of_the_net():
    state = prepared(biased()).state_dict()
    assert {"weights.q", "weights.size"} <= state.keys()
    assert not any(name.startswith("net.") and "weights" in name for name in state)


class Inferring(GroupDRO):
    """Says that the attribute is whether column 1 is above a half."""

    name, needs, inferred = "toy-inferring", frozenset(), 2

    def prepare(self, train, fit):
        attribute = (train.x[train.index, 1] > 0.5).long()
        return super().prepare(dataclasses.replace(train, attribute=attribute), fit)


@pytest.mark.parametrize("known", ["nothing", "another attribute"])
def test_a_method_that_infers_its_groups_is_the_one_that_is_told_them(known: str):
    told = biased()
    other = None if known == "nothing" else torch.arange(len(told)) % 5  # five values, not two
    blind = Dataset.of(told.x, told.label, other, name="blind")
    training = Training(epochs=3, batch=16, pool=2, lr=0.01)
    states = {}

    def nets(data: Dataset, cls: type[GroupDRO], state: dict | None = None) -> dict[str, Tensor]:
        method = build(cls, data.info, net="mlp:hidden=6")
        fitted = fit(method, Splits(data, None, data), training, observers=[calling(on_epoch=keep)], state=state)
        return fitted.method.state_dict()

    def keep(epoch) -> None:
        torch.save(epoch.state(), states.setdefault(epoch.epoch, io.BytesIO()))

    inferred = nets(blind, Inferring)
    states[1].seek(0)
    resumed = nets(blind, Inferring, torch.load(states[1], weights_only=True))
    expected = nets(told, GroupDRO)
    for name, value in expected.items():
        assert torch.equal(value, inferred[name]), name
        assert torch.equal(value, resumed[name]), name
