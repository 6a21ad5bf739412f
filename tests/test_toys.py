"""The contract carries the shapes that come next (tests/toys.py), regression targets and token ids."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch
from toys import DFR, JTT, TOYS, Adversary, Meta, Recursive, SimCLR

from longcut.data import Dataset, Splits, generator
from longcut.fit import Training, fit
from longcut.methods import build
from longcut.methods.erm import ERM


def planted(n=160, seed=0):
    """A label in one column, an attribute that usually agrees in a louder one."""
    g = generator(seed)
    label = torch.randint(2, (n,), generator=g)
    attribute = torch.where(torch.rand(n, generator=g) < 0.9, label, 1 - label)
    x = torch.randn(n, 4, generator=g) + torch.stack([2.0 * label, 4.0 * attribute, 0 * label, 0 * label], 1)
    return Dataset.of(x, label, attribute, aligned=(0, 1))


@pytest.fixture(scope="module")
def splits():
    return Splits(planted(), planted(60, 1), planted(100, 2))


@pytest.mark.parametrize("toy", TOYS, ids=lambda toy: toy.name)
def test_a_toy_is_short_and_learns_more_than_chance(toy, splits):
    assert len(inspect.getsource(toy).splitlines()) <= 30
    method = build(toy, splits.info, net="mlp:hidden=16")
    fitted = fit(method, splits, Training(epochs=15, batch=32, lr=1e-2), seed=1)
    with torch.no_grad():
        right = (fitted.method(splits.test.gather(torch.arange(100))).argmax(1) == splits.test.label).float().mean()
    assert right > 0.7


def test_jtt_trains_on_more_rows_of_the_same_samples(splits):
    method = build(JTT, splits.info, net="mlp:hidden=16")
    fit(method, splits, Training(epochs=1, batch=32, lr=1e-2))
    train = method.train_data
    counts = torch.bincount(train.index)
    assert set(counts.tolist()) == {1, 5}  # what the helper got right once, what it got wrong five times
    assert len(train.index.unique()) == len(splits.train)


def test_dfr_changes_the_head_alone(splits):
    states = []
    for toy in (DFR, ERM):
        method = build(toy, splits.info, net="mlp:hidden=16")
        states.append(fit(method, splits, Training(epochs=2, batch=32, lr=1e-2)).method.net)
    dfr, erm = states
    assert all(torch.equal(a, b) for a, b in zip(dfr.stages.parameters(), erm.stages.parameters(), strict=True))
    assert not torch.equal(dfr.head.weight, erm.head.weight)


def test_the_adversary_is_trained_by_its_own_loss_alone(splits):
    method: Any = build(Adversary, splits.info, net="mlp:hidden=16")
    method.generator = generator(0)
    main, adversary = method.optimizers(Training())
    adversary.step = lambda: None
    before = [p.clone() for p in method.adversary.parameters()]
    method.step(splits.train.batch(torch.arange(32)), [main, adversary], torch.Tensor.backward)
    assert all(torch.equal(a, b) for a, b in zip(before, method.adversary.parameters(), strict=True))


def test_the_recursion_starts_anew_at_every_epoch(splits):
    method = build(Recursive, splits.info, net="mlp:hidden=16")
    method.generator = generator(0)
    batch, before = splits.train.batch(torch.arange(8)), splits.train.batch(torch.arange(8, 16))
    method.on_epoch(0, 2)
    fresh = method.loss(batch)[0]
    method.on_epoch(1, 2)
    method.loss(before)
    after_another = method.loss(batch)[0]
    method.on_epoch(2, 3)
    assert method.loss(batch)[0] == fresh
    assert after_another != fresh


def test_the_outer_loss_goes_through_the_inner_step(splits):
    losses = []
    for inner_lr in (0.0, 0.5):
        method: Any = build(Meta, splits.info, net="mlp:hidden=16")
        method.inner_lr, method.generator = inner_lr, generator(0)
        loss, _ = method.loss(splits.train.batch(torch.arange(32)))
        loss.backward()
        losses.append((float(loss.detach()), method.net.stages[1][0].weight.grad.clone()))
    assert losses[0][0] != losses[1][0]
    assert not torch.equal(losses[0][1], losses[1][1])


def test_two_views_need_no_label(splits):
    method = build(SimCLR, splits.info, net="mlp:hidden=16")
    method.generator = generator(0)
    batch = splits.train.batch(torch.arange(16))
    first, _ = method.loss(batch)
    method.generator = generator(0)
    other, _ = method.loss(type(batch)(batch.x, 1 - batch.label))
    assert first == other


@pytest.mark.parametrize("method", ["erm", "mixup"])
def test_regression_targets(method):
    g = generator(3)
    x = torch.randn(200, 3, generator=g)
    y = x @ torch.tensor([1.0, -2.0, 0.5])
    data = Dataset.of(x, y)
    model = build(method, data.info, net="mlp:hidden=32")
    fitted = fit(model, Splits(data, None, data), Training(epochs=40, batch=32, lr=1e-2))
    assert fitted.history[-1]["test"]["average"] < 0.3 * float(y.var())


@pytest.mark.parametrize("method", ["erm", "lff", "selecmix"])
def test_token_ids(method):
    """The label is the token at a random place; selecmix mixes behind the embedding, the first stage of the net."""
    g = generator(4)
    label = torch.randint(2, (200,), generator=g)
    tokens = torch.randint(3, 9, (200, 6), generator=g)
    tokens[torch.arange(200), torch.randint(5, (200,), generator=g)] = 1 + label
    tokens[:, 5] = 0
    data = Dataset.of(tokens, label, label, aligned=(0, 1))
    fitted = fit(
        build(method, data.info, net="tokens"), Splits(data, None, data), Training(epochs=10, batch=32, lr=1e-2)
    )
    assert fitted.history[-1]["test"]["average"] > 0.8
