from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from longcut.data import generator
from longcut.errors import UserError
from longcut.losses import cross_entropy, gce, relative_difficulty
from longcut.regression_losses import LOSSES, regression_loss
from longcut.spec import options_of


def batch(n: int = 7, classes: int = 5) -> tuple[Tensor, Tensor]:
    draw = generator(0)
    return (
        3 * torch.randn(n, classes, generator=draw, dtype=torch.float64),
        torch.randint(classes, (n,), generator=draw),
    )


def probability(logits: Tensor, label: int) -> float:
    """Of one sample, the long way."""
    powers = [math.exp(value) for value in logits.tolist()]
    return powers[label] / sum(powers)


def gradient(loss: Tensor, at: Tensor) -> Tensor:
    return torch.autograd.grad(loss.sum(), at)[0]


def test_cross_entropy_is_the_loop():
    logits, label = batch()
    expected = [-math.log(probability(row, y)) for row, y in zip(logits, label.tolist(), strict=True)]
    torch.testing.assert_close(cross_entropy(logits, label), torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("q", [0.1, 0.7, 1.0])
def test_gce_is_the_loop(q):
    logits, label = batch()
    p = [probability(row, y) for row, y in zip(logits, label.tolist(), strict=True)]
    paper = torch.tensor([(1 - value**q) / q for value in p], dtype=torch.float64)
    code = torch.tensor([q * value**q * -math.log(value) for value in p], dtype=torch.float64)
    torch.testing.assert_close(gce(logits, label, q), paper)
    torch.testing.assert_close(gce(logits, label, q, scale="code"), code)


def test_gce_gradients_are_weighted_cross_entropy_gradients():
    q = 0.7
    logits, label = batch()
    logits.requires_grad_()
    plain = gradient(cross_entropy(logits, label), logits)
    p = torch.tensor([probability(row, y) for row, y in zip(logits, label.tolist(), strict=True)], dtype=torch.float64)
    torch.testing.assert_close(gradient(gce(logits, label, q), logits), p[:, None] ** q * plain)
    torch.testing.assert_close(gradient(gce(logits, label, q, scale="code"), logits), q * p[:, None] ** q * plain)


def test_gradcheck():
    logits, label = batch()
    logits.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: cross_entropy(x, label), logits)
    assert torch.autograd.gradcheck(lambda x: gce(x, label, 0.7), logits)


def test_gce_closed_points():
    """With two equal logits p = 1/2; at q = 1 the loss is 1 - p, near q = 0 it is log 2."""
    logits, label = torch.zeros(1, 2, dtype=torch.float64), torch.tensor([0])
    assert gce(logits, label, 1.0).item() == pytest.approx(0.5)
    assert gce(logits, label, 1e-9).item() == pytest.approx(math.log(2))
    assert gce(logits, label, 0.5, scale="code").item() == pytest.approx(0.5 * math.sqrt(0.5) * math.log(2))


@pytest.mark.parametrize("loss", [cross_entropy, gce, lambda x, y: gce(x, y, scale="code")])
def test_extreme_logits_stay_finite(loss):
    """A label certainly right costs 0; certainly wrong costs 1/q (paper) with no gradient left."""
    logits = torch.tensor([[1e4, -1e4], [1e4, -1e4]], requires_grad=True)
    values = loss(logits, torch.tensor([0, 1]))
    assert values[0] == 0
    assert torch.isfinite(values).all()
    assert torch.isfinite(gradient(values, logits)).all()
    if loss is gce:
        assert values[1].item() == pytest.approx(1 / 0.7)


@pytest.mark.parametrize("loss", [cross_entropy, gce, lambda x, y: gce(x, y, scale="code")])
def test_order_of_the_batch_does_not_matter(loss):
    logits, label = batch()
    order = torch.randperm(len(label), generator=generator(1))
    torch.testing.assert_close(loss(logits[order], label[order]), loss(logits, label)[order])


@pytest.mark.parametrize("q", [0, -1, 1.5, math.nan])
def test_gce_refuses_q_out_of_range(q):
    with pytest.raises(UserError, match=r"gce got q=.*above 0 and at most 1"):
        gce(*batch(), q)


def test_gce_refuses_an_unknown_scale():
    with pytest.raises(UserError, match="unknown scale 'papr': did you mean 'paper'"):
        gce(*batch(), scale="papr")  # pyright: ignore[reportArgumentType]


def test_relative_difficulty():
    biased = torch.tensor([3.0, 1.0, 0.0, 0.0, 5.0], requires_grad=True)
    debiased = torch.tensor([1.0, 3.0, 2.0, 0.0, 0.0], requires_grad=True)
    share = relative_difficulty(biased, debiased)
    torch.testing.assert_close(share, torch.tensor([0.75, 0.25, 0.0, 0.0, 1.0]))
    assert not share.requires_grad


# --- losses of a regression -------------------------------------------------------------------------------------------


def numbers(n: int = 9, width: int = 3) -> tuple[Tensor, Tensor]:
    output, label = torch.randn(2, n, width, generator=generator(1), dtype=torch.float64)
    return 2 * output, label


def pinball(output: float, label: float, level: float) -> float:
    return level * (label - output) if label > output else (1 - level) * (output - label)


def huber(output: float, label: float, delta: float) -> float:
    far = abs(output - label)
    return far**2 / 2 if far <= delta else delta * far - delta**2 / 2


LOOPS = {
    "squared": lambda output, label: (output - label) ** 2,
    "absolute": lambda output, label: abs(output - label),
    "huber": lambda output, label: huber(output, label, 1.0),
    "huber:delta=0.3": lambda output, label: huber(output, label, 0.3),
    "quantile": lambda output, label: pinball(output, label, 0.5),
    "quantile:level=0.9": lambda output, label: pinball(output, label, 0.9),
}


@pytest.mark.parametrize("spec", LOOPS)
def test_a_loss_of_numbers_is_the_loop(spec):
    output, label = numbers()
    rows = zip(output.tolist(), label.tolist(), strict=True)
    expected = [sum(map(LOOPS[spec], *row)) / len(row[0]) for row in rows]
    torch.testing.assert_close(regression_loss(spec)(output, label), torch.tensor(expected, dtype=torch.float64))
    torch.testing.assert_close(regression_loss(spec)(label, label), torch.zeros(9, dtype=torch.float64))


@pytest.mark.parametrize(
    ("spec", "expected"),
    [("squared", 25.6), ("absolute", 3.0), ("quantile:level=0.7", 4.0), ("quantile:level=0.3", 2.0)],
)
def test_what_is_least_is_the_mean_the_median_or_a_quantile(spec, expected):
    label = torch.tensor([1.0, 2.0, 3.0, 4.0, 118.0])[:, None]
    guesses = torch.linspace(0, 120, 1201)
    total = torch.stack([regression_loss(spec)(guess.expand(5, 1), label).sum() for guess in guesses])
    assert float(guesses[total.argmin()]) == pytest.approx(expected, abs=0.01)


def test_every_loss_by_name_says_what_its_options_are():
    assert set(LOSSES.own) == {spec.partition(":")[0] for spec in LOOPS}
    assert all(option.help for loss in LOSSES.own.values() for option in options_of(loss))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("hubert", "unknown loss 'hubert': did you mean 'huber'"),
        ("huber:delta=0", "loss 'huber': delta=0 is not allowed; give a number above 0"),
        ("quantile:level=1", "loss 'quantile': level=1 is not allowed; give a number above 0 and below 1"),
        ("absolute:delta=1", "unknown option of loss 'absolute' 'delta'"),
    ],
)
def test_a_loss_that_is_not_allowed(spec, message):
    with pytest.raises(UserError, match=message):
        regression_loss(spec)
