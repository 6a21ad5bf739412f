"""MetaMix: inner steps and the gradient through them in closed form, mixing in the adapted net, tasks of sines."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import pytest
import torch
from helpers import context
from scipy import stats

from longcut.data import Batch, Dataset, Splits, generator
from longcut.errors import UserError
from longcut.fit import Training, fit
from longcut.losses import cross_entropy
from longcut.methods import build
from longcut.methods.mixing import metamix
from longcut.mixing import target_loss


def lines(n: int = 48) -> Dataset:
    """Four tasks of a regression, each with weights of its own."""
    x, task = torch.randn(n, 3, generator=generator(0)), torch.arange(n) % 4
    weights = torch.randn(4, 3, generator=generator(1))
    return Dataset.of(x, (x * weights[task]).sum(1), task, name="lines")


def classes(n: int = 48) -> Dataset:
    label = torch.arange(n) % 3
    return Dataset.of(torch.randn(n, 3, generator=generator(2)) + label[:, None], label, name="three")


def sines(tasks: int = 60, n: int = 30, seed: int = 0) -> Dataset:
    """MAML's (Finn et al., ICML 2017): amplitude U(0.1, 5), phase U(0, pi), inputs U(-5, 5)."""
    g = generator(seed, 9)
    amplitude, phase = 0.1 + 4.9 * torch.rand(tasks, 1, generator=g), math.pi * torch.rand(tasks, 1, generator=g)
    x = 10 * torch.rand(tasks, n, generator=g) - 5
    y = amplitude * (x - phase).sin()
    return Dataset.of(x.view(-1, 1), y.flatten(), torch.arange(tasks).repeat_interleave(n), name="sines")


def made(data: Dataset, net: str = "mlp:hidden=6-5-4", seed: int = 0, **options: Any) -> Any:
    method = build("metamix", data.info, net=net, options=options)
    method.on_epoch(context(data, seed))
    return method


def doubles(data: Dataset, rows: Any) -> Batch:
    batch = data.batch(torch.as_tensor(rows))
    label = batch.label.double() if batch.label.is_floating_point() else batch.label
    return Batch(batch.x.double(), label)


def gradients(method: Any) -> torch.Tensor:
    return torch.cat([p.grad.flatten() for p in method.net.parameters()])


def test_mamls_gradient_through_a_step_of_a_linear_model_is_the_closed_form():
    """With L(w) = |Xw - y|^2 / n, w' = w - a L'(w) and outer M(w'), the gradient is (I - a 2 X'X / n) M'(w')."""
    data, a = lines(), 0.07
    method = made(data, "linear", mix=False, inner_lr=a).double()
    support, query = doubles(data, range(0, 24, 4)), doubles(data, range(24, 48, 4))
    weights = method.adapted(support, 1, differentiable=True)
    method.query_losses(weights, query, support).mean().backward()
    x, z = (torch.cat([batch.x, torch.ones(6, 1).double()], 1) for batch in (support, query))
    w = torch.cat([method.net.head.weight[0], method.net.head.bias]).detach()
    stepped = w - a * 2 / 6 * x.T @ (x @ w - support.label[:, 0])
    torch.testing.assert_close(torch.cat([weights["head.weight"][0], weights["head.bias"]]), stepped)
    outer = 2 / 6 * z.T @ (z @ stepped - query.label[:, 0])
    torch.testing.assert_close(gradients(method), (torch.eye(4).double() - a * 2 / 6 * x.T @ x) @ outer)


def test_more_steps_are_more_steps_of_gradient_descent():
    data = classes()
    method = made(data, inner_lr=0.1).double()
    support = doubles(data, range(12))
    by_hand = [p.detach().clone() for p in method.net.parameters()]
    for _ in range(3):
        again = made(data).double()
        again.net.load_state_dict(dict(zip(dict(method.net.named_parameters()), by_hand, strict=True)))
        cross_entropy(again.net(support.x), support.label).mean().backward()
        by_hand = [(p - 0.1 * p.grad).detach() for p in again.net.parameters()]
    for found, expected in zip(method.adapted(support, 3).values(), by_hand, strict=True):
        torch.testing.assert_close(found.detach(), expected)


@pytest.mark.parametrize("level", [0, 2, 3, 4])
def test_the_adapted_net_makes_what_is_mixed(level):
    data = classes()
    method = made(data, inner_lr=0.5).double()
    method.net.levels = (level,)
    support, query = doubles(data, range(8)), doubles(data, range(8, 20))
    weights = method.adapted(support, 1)
    method.context = context(data, 3)
    losses = method.query_losses(weights, query, support)
    adapted = made(data).double()
    adapted.net.load_state_dict(weights)
    draw = generator(3)
    torch.randint(1, (), generator=draw)
    partner = torch.randint(8, (12,), generator=draw)
    share = method.mix.ratio(12, draw)[:, None]
    assert (share == share[0]).all(), "one for the task"
    own, others = adapted.mixable(query.x, level), adapted.mixable(support.x, level)[partner]
    outputs = adapted.outputs(share * own + (1 - share) * others, level)
    soft = share * torch.eye(3).double()[query.label] + (1 - share) * torch.eye(3).double()[support.label[partner]]
    torch.testing.assert_close(losses, -(soft * outputs.log_softmax(1)).sum(1), rtol=1e-5, atol=1e-6)
    assert not torch.allclose(
        losses, target_loss(cross_entropy, outputs, method.mix.label(query.label, query.label, share[:, 0]))
    )


def test_the_level_is_any_of_the_nets(monkeypatch):
    data, seen = lines(), Counter()
    method, forward = made(data), metamix._Between.forward

    def watched(self: Any, x: torch.Tensor, start: int, stop: int | None) -> torch.Tensor:
        seen[start, stop] += 1
        return forward(self, x, start, stop)

    monkeypatch.setattr(metamix._Between, "forward", watched)
    for _ in range(30):
        method.loss(data.batch(torch.arange(2)))
    below = [seen[0, level] for level in (0, 2, 3, 4)]
    assert sum(below) == 120 and below == [seen[level, None] for level in (0, 2, 3, 4)]
    assert stats.chisquare(below).pvalue > 1e-3


def test_c_mixup_draws_a_partner_by_its_kernel():
    data = Dataset.of(torch.arange(4.0)[:, None], torch.tensor([0.0, 1.0, 2.0, 4.0]), name="near")
    method = made(data, "linear", pairs="c-mixup", sigma=1.5)
    support = data.batch(torch.arange(4))
    query = Batch(torch.zeros(4000, 1), torch.full((4000, 1), 0.5))
    partner = method.mix.pair(query, support, generator(1)).partner
    weight = [math.exp(-((0.5 - y) ** 2) / (2 * 1.5**2)) for y in (0, 1, 2, 4)]
    expected = [4000 * w / sum(weight) for w in weight]
    assert stats.chisquare(partner.bincount(minlength=4), expected).pvalue > 1e-3


def test_c_mixup_of_classes_prefers_the_class():
    data = classes()
    method = made(data, pairs="c-mixup", sigma=0.5)
    batch = data.batch(torch.arange(48))
    partner = method.mix.pair(batch, batch, generator(1)).partner
    assert (data.label[partner] == data.label).float().mean() > 0.9  # 1 / (1 + 2 exp(-4)) is 0.96


def test_tasks_and_their_numbers():
    data = lines()
    method = made(data, shots=2, queries=3)
    drawn = method.draw(data, 6, generator(0))
    assert drawn.support.shape == (6, 2) and drawn.query.shape == (6, 3)
    assert data.attribute is not None and (data.attribute[drawn.query] == drawn.ways).all()
    blind = Dataset.of(data.x, data.label, name="blind")
    assert made(blind).draw(blind, 6, generator(0)).ways.unique().tolist() == [0]
    assert made(classes(), ways=5).ways == 3


def test_the_end_takes_steps_on_every_class_and_none_without_adapt():
    data = classes()
    for adapt in (0, 3):
        method = made(data, adapt=adapt, shots=4)
        before = {name: value.clone() for name, value in method.net.state_dict().items()}
        method.finish(data, None, None)
        again = made(data, shots=4)
        support = data.batch(again.draw(data, 1, again.generator, 3).support[0])
        assert support.label.bincount().tolist() == [4, 4, 4]
        expected = again.adapted(support, adapt)
        for name, value in method.net.state_dict().items():
            assert torch.equal(value, expected[name])
            assert torch.equal(value, before[name]) == (adapt == 0)


def test_more_inner_steps_fit_a_new_sine_better():
    data, fresh = sines(), sines(40, 30, seed=1)
    how = {"shots": 10, "queries": 10, "episodes": 4, "inner_lr": 0.02, "adapt": 0}
    method = build("metamix", data.info, net="mlp:hidden=40-40", options=how)
    trained: Any = fit(
        method, Splits(data, None, fresh), Training(epochs=10, batch=100, pool=1, lr=3e-3, every=10)
    ).method
    error = []
    for steps in (0, 1, 5):
        losses = []
        for task in range(40):
            support, query = (fresh.batch(30 * task + torch.arange(*part)) for part in ((10,), (10, 30)))
            net = build("erm", data.info, net="mlp:hidden=40-40").net
            net.load_state_dict({**trained.net.state_dict(), **trained.adapted(support, steps)})
            losses.append(float((net(query.x) - query.label).square().mean().detach()))
        error.append(sum(losses) / 40)
    assert error[0] > error[1] > error[2]
    assert error[2] < 0.85 * error[0]


def test_it_learns_the_classes():
    data = classes(120)
    fitted = fit(
        build("metamix", data.info, net="mlp:hidden=16"),
        Splits(data, None, data),
        Training(epochs=15, batch=20, lr=1e-2),
    )
    assert fitted.history[-1]["test"]["average"] > 0.6  # chance is 0.33


def test_a_task_that_is_too_small():
    few = lines(36)
    with pytest.raises(
        UserError, match=r"attribute 0 of lines has 9 samples, but an episode draws shots \+ queries = 10"
    ):
        fit(made(few), Splits(few, None, few), Training(epochs=1))
