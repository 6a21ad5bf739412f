from __future__ import annotations

import math
from itertools import permutations
from typing import Any

import pytest
import torch
from torch import Tensor

from longcut.data import Batch, Dataset, Info, generator
from longcut.methods import METHODS, build
from longcut.training import Training

TRAINING = Training(lr=0.01, weight_decay=0.0)


def data(n: int = 7, kind: str = "table") -> Dataset:
    label = torch.arange(n) % 2
    if kind == "image":
        return Dataset.of(torch.randint(0, 256, (n, 3, 8, 8), generator=generator(2), dtype=torch.uint8), label)
    return Dataset.of(torch.randn(n, 4, generator=generator(3)) + label[:, None], label)


def made(**options: Any) -> Any:
    options = {"biased": "mlp:hidden=4", "sigma": 1.0, **options}
    return build("rebias", data().info, net="mlp:hidden=6-3", options=options).double()


def batch(n: int = 7) -> Batch:
    part = data(n).batch(torch.arange(n))
    return Batch(part.x.double(), part.label)


def kernel(x: Tensor, sigma: float) -> list[list[float]]:
    if sigma == 0:
        distances = sorted(math.dist(a, b) for i, a in enumerate(x.tolist()) for b in x.tolist()[:i])
        sigma = distances[len(distances) // 2]  # 21 of them
    return [[math.exp(-(math.dist(a, b) ** 2) / (2 * sigma**2)) for b in x.tolist()] for a in x.tolist()]


def hsic_loop(f: Tensor, g: Tensor, sigma: float) -> float:
    """The mean over all four different samples, of features without gradient."""
    x, y = kernel(f, sigma), kernel(g, sigma)
    values = [x[i][j] * (y[i][j] + y[q][r] - 2 * y[i][q]) for i, j, q, r in permutations(range(len(f)), 4)]
    return math.fsum(values) / len(values)


def entropy_loop(logits: Tensor, label: Tensor) -> float:
    rows = zip(logits.tolist(), label.tolist(), strict=True)
    return sum(math.log(sum(math.exp(v) for v in row)) - row[y] for row, y in rows) / len(label)


def features(method: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        return method.net.features(x), method.biased.features(x)


@pytest.mark.parametrize("sigma", [0.0, 1.0, 0.5])
@pytest.mark.parametrize(("lambda_f", "lambda_g"), [(1.0, 1.0), (3.0, 0.0), (0.0, 7.0)])
def test_both_losses_are_the_loops(lambda_f, lambda_g, sigma):
    method, part = made(lambda_f=lambda_f, lambda_g=lambda_g, sigma=sigma), batch()
    f, g = features(method, part.x)
    shared = hsic_loop(f, g, sigma)
    expected_g = entropy_loop(method.biased(part.x).detach(), part.label) - lambda_g * shared
    expected_f = entropy_loop(method.net(part.x).detach(), part.label) + lambda_f * shared
    assert float(method.biased_loss(part, g, f).detach()) == pytest.approx(expected_g)
    assert float(method.debiased_loss(part, f, g)[0].detach()) == pytest.approx(expected_f)
    loss, logs = method.loss(part)
    assert float(loss.detach()) == pytest.approx(expected_g + expected_f)
    assert float(logs["hsic"]) == pytest.approx(shared)
    assert not logs["hsic"].requires_grad


def gradients(module: torch.nn.Module, loss: Tensor) -> list[Tensor]:
    found = torch.autograd.grad(loss, list(module.parameters()), retain_graph=True, allow_unused=True)
    return [torch.zeros(()) if one is None else one for one in found]


def test_each_net_gets_nothing_from_the_loss_of_the_other():
    method, part = made(lambda_f=50.0, lambda_g=50.0), batch()
    f, g = method.net.features(part.x), method.biased.features(part.x)
    biased, debiased = method.biased_loss(part, g, f), method.debiased_loss(part, f, g)[0]
    assert all(not one.any() for one in gradients(method.net, biased))
    assert all(not one.any() for one in gradients(method.biased, debiased))
    # and in the sum each finds its own
    loss, _ = method.loss(part)
    for net, own in ((method.net, debiased), (method.biased, biased)):
        for one, other in zip(gradients(net, loss), gradients(net, own), strict=True):
            assert one.any()
            torch.testing.assert_close(one, other)


def test_the_two_losses_pull_hsic_in_opposite_directions():
    method, part = made(lambda_f=1.0, lambda_g=1.0), batch()
    f, g = method.net.features(part.x), method.biased.features(part.x)
    up, down = made(lambda_g=0.0), made(lambda_f=0.0)
    towards = torch.autograd.grad(method.biased_loss(part, g, f) - up.biased_loss(part, g, f), g, retain_graph=True)[0]
    away = torch.autograd.grad(method.debiased_loss(part, f, g)[0] - down.debiased_loss(part, f, g)[0], f)[0]
    before = hsic_loop(f.detach(), g.detach(), 1.0)
    assert hsic_loop(f.detach(), g.detach() - 1e-2 * towards / towards.norm(), 1.0) > before
    assert hsic_loop(f.detach() - 1e-2 * away / away.norm(), g.detach(), 1.0) < before


def test_a_step_moves_the_biased_net_first_and_the_other_against_what_it_became():
    part, options = batch(), {"lambda_f": 20.0, "lambda_g": 20.0}
    method, twin = made(**options), made(**options)
    reported, logs = method.step(part, method.optimizers(TRAINING), Tensor.backward)
    net, biased = (torch.optim.Adam(one.parameters(), lr=0.01) for one in (twin.net, twin.biased))
    f, g = features(twin, part.x)
    first = twin.biased_loss(part, twin.biased.features(part.x), f)
    first.backward()
    biased.step()
    _, moved = features(twin, part.x)
    assert not torch.allclose(g, moved)
    second, _ = twin.debiased_loss(part, twin.net.features(part.x), moved)
    net.zero_grad()
    second.backward()
    net.step()
    for own, other in zip(method.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(own, other)
    torch.testing.assert_close(reported, (first + second).detach())
    assert float(logs["hsic"]) == pytest.approx(hsic_loop(f, moved, 1.0))


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("sigma", [0.0, 1.0])
def test_batches_too_small_for_hsic_are_ordinary_training(n, sigma):
    method, part = made(sigma=sigma), batch(n)
    loss, logs = method.loss(part)
    loss.backward()
    ordinary = [entropy_loop(net(part.x).detach(), part.label) for net in (method.net, method.biased)]
    assert float(loss.detach()) == pytest.approx(sum(ordinary))
    assert float(logs["hsic"]) == 0
    assert all(torch.isfinite(parameter.grad).all() for parameter in method.parameters())


def test_the_default_biased_net_sees_single_pixels():
    part = data(5, "image")
    method: Any = build("rebias", part.info, net="mlp:hidden=6").eval()
    x = part.batch(torch.arange(5)).x
    shuffled = x.flatten(2)[:, :, torch.randperm(64, generator=generator(1))].view_as(x)
    torch.testing.assert_close(method.embedding(shuffled), method.embedding(x), atol=1e-5, rtol=1e-4)
    assert not torch.allclose(method(shuffled), method(x))
    torch.testing.assert_close(method.biased_logits(x), method.biased.head(method.embedding(x)))


@pytest.mark.parametrize("info", [Info("a table", (4,), 2), Info("a text", (6,), 2, kind="tokens", vocabulary=9)])
def test_other_data_have_a_small_biased_net_too(info):
    method: Any = build("rebias", info, net="auto")
    x = torch.ones(3, *info.shape, dtype=torch.long if info.kind == "tokens" else torch.float32)
    assert method.biased_logits(x).shape == (3, 2)
    assert len(method.embedding(x)) == 3


def test_the_paper_recipe_is_the_released_setting():
    recipe = METHODS["rebias"].recipes["paper"]
    assert dict(recipe.options) == {"biased": "stack:kernel=1", "lambda_f": 1.0, "lambda_g": 1.0, "sigma": 1.0}
    assert recipe.net == "stack:kernel=7"
    training = Training(**recipe.training)
    assert (training.epochs, training.batch, training.lr, training.weight_decay) == (80, 256, 1e-3, 1e-4)
    assert (training.schedule, training.milestones, training.gamma) == ("step", "0.25-0.5-0.75", 0.1)  # every 20 of 80
