from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from helpers import context

from longcut.data import Batch, Dataset, generator
from longcut.methods import METHODS, build
from longcut.training import Training


def data(n: int = 12) -> Dataset:
    label, attribute = torch.arange(n) % 3, torch.arange(n) % 4 % 3
    x = torch.randn(n, 4, generator=generator(3)) + label[:, None]
    return Dataset.of(x, label, attribute, aligned=(0, 1, 2))


def made(**options: Any) -> Any:
    return build("end", data().info, net="mlp:hidden=8-5", options=options).double()


def batch(rows: int = 12) -> Batch:
    part = data().batch(torch.arange(rows))
    return Batch(part.x.double(), part.label, part.attribute)


def by_hand(method: Any, batch: Batch, alpha: float, beta: float, pairs: str) -> float:
    """The whole loss in loops over pairs."""
    features = method.net.features(batch.x).detach()
    logits = method.net(batch.x).detach()
    n = len(batch)
    ce = sum(
        math.log(sum(math.exp(v) for v in logits[i].tolist())) - float(logits[i, batch.label[i]]) for i in range(n)
    )
    orthogonal: list[float] = []
    released: dict[int, list[float]] = {}
    parallel: list[float] = []
    for i in range(n):
        for j in range(i):
            own, other = features[i].tolist(), features[j].tolist()
            cosine = sum(a * b for a, b in zip(own, other, strict=True)) / (math.hypot(*own) * math.hypot(*other))
            same_label, a, b = bool(batch.label[i] == batch.label[j]), int(batch.attribute[i]), int(batch.attribute[j])  # type: ignore[index]
            if a == b:
                released.setdefault(a, []).append(cosine)
                if not same_label:
                    orthogonal.append(abs(cosine))
            elif same_label and (pairs == "paper" or a < b):
                parallel.append((1 + cosine) / 2)
    r_orth = sum(orthogonal) / len(orthogonal)
    if pairs == "code":
        r_orth = sum(abs(sum(one)) for one in released.values()) / sum(map(len, released.values()))
    return ce / n + alpha * r_orth + beta * (1 - sum(parallel) / len(parallel))


@pytest.mark.parametrize("pairs", ["paper", "code"])
@pytest.mark.parametrize(("alpha", "beta"), [(0.3, 0.0), (0.0, 0.7), (2.0, 5.0)])
def test_the_loss_is_the_loop(alpha, beta, pairs):
    method = made(alpha=alpha, beta=beta, pairs=pairs)
    loss, _ = method.loss(batch())
    assert float(loss.detach()) == pytest.approx(by_hand(method, batch(), alpha, beta, pairs))


def test_the_logs_are_the_unweighted_terms():
    method = made(alpha=3.0, beta=5.0)
    loss, logs = method.loss(batch())
    plain, _ = made(alpha=0.0, beta=0.0).loss(batch())
    torch.testing.assert_close(loss - plain, 3 * logs["orthogonal"] + 5 * logs["parallel"])
    assert not any(value.requires_grad for value in logs.values())


def test_without_penalties_it_is_ordinary_training():
    method, erm = made(alpha=0.0, beta=0.0), build("erm", data().info, net="mlp:hidden=8-5").double()
    for one in (method, erm):
        one.context = context(data())
        one.loss(batch())[0].backward()
    for own, other in zip(method.parameters(), erm.parameters(), strict=True):
        assert own.grad is not None and other.grad is not None
        torch.testing.assert_close(own.grad, other.grad)


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_features_that_are_all_zero_stay_finite(rows):
    method = made(alpha=1.0, beta=1.0)
    with torch.no_grad():
        for stage in method.net.stages[1:]:
            stage[0].bias.fill_(-100.0)  # no unit of the net is ever on
    loss, _ = method.loss(batch(rows))
    loss.backward()
    assert torch.isfinite(loss)
    assert all(torch.isfinite(parameter.grad).all() for parameter in method.parameters())


def test_the_paper_recipe_is_the_released_setting():
    recipe = METHODS["end"].recipes["paper"]
    assert recipe.options["pairs"] == "code"
    assert recipe.net == "stack:kernel=7"
    training = Training(**recipe.training)
    assert (training.epochs, training.batch, training.lr, training.weight_decay) == (80, 256, 1e-3, 1e-4)
    assert (training.schedule, training.milestones, training.gamma) == ("step", "0.25-0.5-0.75", 0.1)  # every 20 of 80
