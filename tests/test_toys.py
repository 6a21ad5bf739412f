"""The contract carries the shapes that come next (tests/toys.py), regression targets and token ids."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch
from helpers import context
from toys import TOYS, Adversary, SimCLR

from longcut.data import Dataset, Splits, generator
from longcut.fit import Training, fit
from longcut.methods import build


def planted(n=160, seed=0):
    """A label in one column, an attribute that usually agrees in a louder one."""
    g = generator(seed)
    label = torch.randint(2, (n,), generator=g)
    attribute = torch.where(torch.rand(n, generator=g) < 0.9, label, 1 - label)
    x = torch.randn(n, 4, generator=g) + torch.stack([2.0 * label, 4.0 * attribute, 0 * label, 0 * label], 1)
    return Dataset.of(x, label, attribute, aligned=(0, 1))


def numbers(n=200, seed=3):
    """A target that is linear in three columns."""
    x = torch.randn(n, 3, generator=generator(seed))
    return Dataset.of(x, x @ torch.tensor([1.0, -2.0, 0.5]))


@pytest.fixture(scope="module")
def splits():
    return Splits(planted(), planted(60, 1), planted(100, 2))


@pytest.mark.parametrize("toy", TOYS, ids=lambda toy: toy.name)
def test_a_toy_is_short(toy):
    assert len(inspect.getsource(toy).splitlines()) <= 30


@pytest.mark.parametrize("toy", [toy for toy in TOYS if "classification" in toy.tasks], ids=lambda toy: toy.name)
def test_a_toy_learns_more_than_chance(toy, splits):
    method = build(toy, splits.info, net="mlp:hidden=16")
    fitted = fit(method, splits, Training(epochs=15, batch=32, lr=1e-2), seed=1)
    with torch.no_grad():
        right = (fitted.method(splits.test.gather(torch.arange(100))).argmax(1) == splits.test.label).float().mean()
    assert right > 0.7


def test_the_adversary_is_trained_by_its_own_loss_alone(splits):
    method: Any = build(Adversary, splits.info, net="mlp:hidden=16")
    method.context = context(splits.train)
    main, adversary = method.optimizers(Training())
    adversary.step = lambda: None
    before = [p.clone() for p in method.adversary.parameters()]
    method.step(splits.train.batch(torch.arange(32)), [main, adversary], torch.Tensor.backward)
    assert all(torch.equal(a, b) for a, b in zip(before, method.adversary.parameters(), strict=True))


def test_two_views_need_no_label(splits):
    method = build(SimCLR, splits.info, net="mlp:hidden=16")
    method.context = context(splits.train)
    batch = splits.train.batch(torch.arange(16))
    first, _ = method.loss(batch)
    method.context = context(splits.train)
    other, _ = method.loss(type(batch)(batch.x, 1 - batch.label))
    assert first == other


@pytest.mark.parametrize("method", ["erm", "mixup", "c-mixup"])
def test_regression_targets(method):
    data = numbers()
    model = build(method, data.info, net="mlp:hidden=32")
    fitted = fit(model, Splits(data, None, data), Training(epochs=40, batch=32, lr=1e-2))
    assert fitted.history[-1]["test"]["average"] < 0.3 * float(data.label.var())


@pytest.mark.parametrize("method", ["erm", "lff", "selecmix"])
def test_token_ids(method):
    """The label is the token at a random place; selecmix mixes behind the embedding, the first stage of the net."""
    g = generator(4)
    label = torch.randint(2, (200,), generator=g)
    tokens = torch.randint(3, 9, (200, 6), generator=g)
    tokens[torch.arange(200), torch.randint(5, (200,), generator=g)] = 1 + label
    tokens[:, 5] = 0
    data = Dataset.of(tokens, label, label, kind="tokens", aligned=(0, 1))
    fitted = fit(
        build(method, data.info, net="tokens"), Splits(data, None, data), Training(epochs=10, batch=32, lr=1e-2)
    )
    assert fitted.history[-1]["test"]["average"] > 0.8
