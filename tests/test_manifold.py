"""Manifold mixup: where is mixed, with one share and one permutation, and its two losses; class-conditional mixup."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from helpers import context
from scipy import stats

from longcut.data import Batch, Dataset, generator
from longcut.errors import UserError
from longcut.methods import build


def rows(n: int = 24, classes: int = 3) -> Dataset:
    return Dataset.of(torch.randn(n, 5, generator=generator(4)), torch.arange(n) % classes, name="rows")


def numbers(n: int = 24) -> Dataset:
    return Dataset.of(torch.randn(n, 5, generator=generator(4)), torch.randn(n, 2, generator=generator(5)), name="two")


def made(name: str, data: Dataset, net: str = "mlp:hidden=6-5-4", seed: int = 2, **options: Any) -> Any:
    method = build(name, data.info, net=net, options=options)
    method.on_epoch(context(data, seed))
    return method


@pytest.mark.parametrize(("depth", "levels"), [(1, {0}), (2, {0, 2}), (3, {0, 2, 3}), (9, {0, 2, 3, 4})])
def test_the_level_is_drawn_evenly_among_the_first(depth, levels):
    method = made("manifold-mixup", rows(), depth=depth)
    count = Counter(method.level() for _ in range(1200))
    assert set(count) == levels
    assert len(levels) == 1 or stats.chisquare(list(count.values())).pvalue > 1e-3


@pytest.mark.parametrize(("level", "stage"), [("input", 0), ("early", 2), ("output", 4)])
def test_a_level_can_be_fixed(level, stage):
    assert made("manifold-mixup", rows(), level=level).level() == stage


@pytest.mark.parametrize("task", ["cross-entropy", "bce", "regression"])
def test_the_loss_is_that_of_a_loop(task):
    data = numbers() if task == "regression" else rows()
    method = made("manifold-mixup", data, **({} if task == "regression" else {"objective": task})).double()
    method.on_epoch(context(data, 7))
    draw, levels = generator(7), []
    for _ in range(12):
        label = data.label.double() if task == "regression" else data.label
        batch = Batch(data.x.double(), label)
        loss = method.loss(batch)[0]
        levels.append(level := (0, 2, 3)[int(torch.randint(3, (), generator=draw))])
        order = torch.randperm(24, generator=draw)
        share = float(method.mix.ratio(24, draw)[0])
        total = 0.0
        for i, j in enumerate(order.tolist()):
            own, other = method.mixable(batch.x[[i]], level), method.mixable(batch.x[[j]], level)
            out = method.outputs(share * own + (1 - share) * other, level)[0]
            if task == "regression":  # share |f - y|^2 + (1 - share) |f - y'|^2, the mean over the target's width
                total += (share * (out - label[i]) ** 2 + (1 - share) * (out - label[j]) ** 2).mean()
                continue
            soft = share * torch.eye(3).double()[label[i]] + (1 - share) * torch.eye(3).double()[label[j]]
            p = out.softmax(0)
            if task == "bce":
                total -= (soft * p.log() + (1 - soft) * (1 - p).log()).mean()
            else:
                total -= (soft * p.log()).sum()
        torch.testing.assert_close(loss, total / 24, rtol=1e-5, atol=1e-6)
    assert len(set(levels)) == 3


def test_a_net_that_is_sure_still_has_a_finite_gradient():
    method = made("manifold-mixup", rows(), objective="bce")
    with torch.no_grad():
        method.net.head.weight.mul_(1e4)
    loss = method.loss(rows().batch(torch.arange(24)))[0]
    loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in method.parameters())


def test_a_regression_has_no_binary_loss():
    with pytest.raises(UserError, match="manifold-mixup with objective=bce needs classes, but two is regression"):
        made("manifold-mixup", numbers(), objective="bce")


# --- class-conditional mixup ------------------------------------------------------------------------------------------


def test_partners_in_the_batch_are_others_of_the_class_or_nobody():
    data = rows()
    method = made("class-mixup", data)
    batch = data.batch(torch.tensor([0, 3, 6, 1, 4, 2]))  # classes 0 0 0 1 1 2
    mixed, partners, _ = method.mixture(batch)
    assert partners.found.tolist() == [True] * 5 + [False]
    assert torch.equal(partners.label, batch.label) and partners.index is not None
    assert not (partners.index == batch.index)[:5].any()
    assert torch.equal(mixed.x[5], batch.x[5])
    assert torch.equal(mixed.target.label_a, batch.label) and (mixed.target.share == 1).all()


def test_partners_in_the_data_are_anyone_of_the_class():
    data = rows()
    method = made("class-mixup", data, source="data")
    batch, seen = data.batch(torch.tensor([2])), Counter()
    for _ in range(2000):
        _, partners, _ = method.mixture(batch)
        seen[int(partners.index)] += 1
    assert set(seen) == {i for i in range(24) if i % 3 == 2}
    assert stats.chisquare(list(seen.values())).pvalue > 1e-3


def test_partners_out_of_the_data_are_augmented():
    data = rows()
    method = made("class-mixup", data, source="data")
    method.context = context(data, augment=lambda x, generator: x + 100)
    assert (method.draw(data.batch(torch.arange(6)), 0).x > 50).all()
