"""CVaR and chi-square weights against linear programming, scipy's minimiser, loops and arithmetic."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linprog, minimize_scalar

from longcut.data import Dataset, generator
from longcut.losses import cross_entropy
from longcut.methods import build
from longcut.methods.reweighting.chi2_dro import chi2_weights
from longcut.methods.reweighting.cvar_dro import cvar_weights, largest_first

ALPHAS = [0.01, 0.1, 0.25, 0.37, 0.5, 0.9, 0.99, 1.0]
WEIGHTS = {"cvar": cvar_weights, "chi2": chi2_weights}
every_kind = pytest.mark.parametrize("weights_of", WEIGHTS.values(), ids=WEIGHTS)
some_losses = st.lists(st.floats(0, 20, width=32), min_size=1, max_size=15)


def random_losses(n: int, seed: int = 0) -> torch.Tensor:
    return -torch.rand(n, generator=generator(seed)).log()


def looped(losses: list[float], alpha: float, outliers: float = 0.0) -> list[float]:
    """CVaR weights, one loss after the other in double precision."""
    order = sorted(range(len(losses)), key=lambda i: -losses[i])[math.floor(outliers * len(losses)) :]
    weights, left = [0.0] * len(losses), 1.0
    most = 1 / (alpha * len(order))
    for i in order:
        weights[i] = min(most, left)
        left -= weights[i]
    return weights


# --- both -------------------------------------------------------------------------------------------------------------


@every_kind
@given(losses=some_losses, alpha=st.sampled_from(ALPHAS), outliers=st.sampled_from([0.0, 0.2, 0.9]))
def test_weights_are_a_distribution_that_follows_the_losses(weights_of, losses, alpha, outliers):
    values = torch.tensor(losses)
    weights = weights_of(values, alpha, outliers)
    assert weights.dtype == torch.float32
    assert weights.sum().item() == pytest.approx(1, abs=1e-5)
    assert (weights >= 0).all()
    kept = largest_first(values, outliers)
    assert not weights.index_fill(0, kept, 0).any()
    assert (weights[kept].diff() <= 1e-6).all()  # from large losses to small
    assert weights @ values >= values[kept].mean() - 1e-3


@every_kind
def test_at_alpha_1_every_loss_weighs_the_same(weights_of):
    torch.testing.assert_close(weights_of(random_losses(7), 1.0), torch.full((7,), 1 / 7))
    kept = weights_of(torch.tensor([5.0, 1.0, 2.0, 3.0]), 1.0, 0.25)
    torch.testing.assert_close(kept, torch.tensor([0, 1, 1, 1]) / 3)


@every_kind
@pytest.mark.parametrize("n", [1, 2, 9])
@pytest.mark.parametrize("alpha", ALPHAS)
def test_equal_losses_have_a_mean_and_nothing_more(weights_of, n, alpha):
    losses = torch.full((n,), 0.3)
    assert (weights_of(losses, alpha) @ losses).item() == pytest.approx(0.3)


@every_kind
def test_small_alpha_is_the_largest_loss(weights_of):
    losses = torch.tensor([1.0, 7.0, 3.0])
    torch.testing.assert_close(weights_of(losses, 0.01), torch.tensor([0.0, 1.0, 0.0]))
    torch.testing.assert_close(weights_of(losses, 0.01, 0.4), torch.tensor([0.0, 0.0, 1.0]))  # 7 is an outlier


@every_kind
def test_weights_do_not_care_for_order_shift_and_scale(weights_of):
    losses, order = random_losses(40), torch.randperm(40, generator=generator(2))
    weights = weights_of(losses, 0.37, 0.1)
    torch.testing.assert_close(weights_of(losses[order], 0.37, 0.1), weights[order])
    torch.testing.assert_close(weights_of(100 * losses, 0.37, 0.1), weights)
    torch.testing.assert_close(weights_of(losses - 30, 0.37, 0.1), weights, atol=1e-4, rtol=1e-3)


@every_kind
def test_weights_pass_no_gradient(weights_of):
    assert not weights_of(random_losses(5).requires_grad_(), 0.5).requires_grad


@pytest.mark.parametrize(
    ("outliers", "n", "dropped"), [(0.0, 5, 0), (0.19, 5, 0), (0.2, 5, 1), (0.5, 5, 2), (0.9, 1, 0)]
)
def test_as_many_outliers_are_dropped_as_fit_whole(outliers, n, dropped):
    losses = torch.arange(float(n))
    assert largest_first(losses, outliers).tolist() == list(range(n))[::-1][dropped:]


@pytest.mark.parametrize("name", ["cvar-dro", "chi2-dro"])
def test_the_methods_loss_is_the_weighted_one(name: str):
    x = torch.randn(30, 4, generator=generator(5))
    data = Dataset.of(x, (x[:, 0] > 0).long())
    weights_of = WEIGHTS[name.partition("-")[0]]
    batch = data.batch(torch.arange(30))
    for options in ({"alpha": 1.0}, {"alpha": 0.3}, {"alpha": 0.3, "outliers": 0.2}):
        method: Any = build(name, data.info, net="mlp:hidden=5", options=options)
        losses = cross_entropy(method(batch.x), batch.label).detach()
        loss, logs = method.loss(batch)
        expected = losses.mean() if options == {"alpha": 1.0} else weights_of(losses, **options) @ losses  # 1: erm
        torch.testing.assert_close(loss.detach(), expected)
        torch.testing.assert_close(logs["mean_loss"], losses.mean())


@pytest.mark.parametrize("name", ["cvar-dro", "chi2-dro"])
def test_a_regression_has_losses_too(name: str):
    data = Dataset.of(torch.randn(20, 3, generator=generator(5)), torch.randn(20, generator=generator(6)))
    method: Any = build(name, data.info, net="mlp:hidden=5")
    batch = data.batch(torch.arange(20))
    loss = method.loss(batch)[0].item()
    errors = (method(batch.x)[:, 0] - batch.label[:, 0]).square()
    assert errors.mean() < loss <= errors.max() + 1e-6


# --- CVaR -------------------------------------------------------------------------------------------------------------


@given(some_losses, st.sampled_from(ALPHAS), st.sampled_from([0.0, 0.2, 0.7]))
def test_cvar_weights_are_those_of_a_loop(losses, alpha, outliers):
    found = cvar_weights(torch.tensor(losses), alpha, outliers)
    torch.testing.assert_close(found, torch.tensor(looped(losses, alpha, outliers)), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("n", [1, 4, 13])
def test_cvar_is_the_worst_that_bounded_weights_can_do(alpha, n):
    losses = random_losses(n, n)
    worst = linprog(-losses.numpy(), A_eq=np.ones((1, n)), b_eq=[1], bounds=(0, max(1 / (alpha * n), 1 / n)))
    assert (cvar_weights(losses, alpha) @ losses).item() == pytest.approx(-worst.fun, rel=1e-5)


def test_a_whole_number_of_samples_is_their_mean_and_a_fraction_counts_as_one():
    losses = torch.tensor([4.0, 1.0, 3.0, 2.0, 0.0])
    assert (cvar_weights(losses, 0.4) @ losses).item() == pytest.approx((4 + 3) / 2)
    assert (cvar_weights(losses, 0.5) @ losses).item() == pytest.approx((4 + 3 + 0.5 * 2) / 2.5)
    assert (cvar_weights(losses, 0.5, 0.2) @ losses).item() == pytest.approx((3 + 2) / 2)  # two of the four that stay


# --- chi-square -------------------------------------------------------------------------------------------------------


def dual(losses: np.ndarray, alpha: float) -> float:
    """min over eta of C sqrt(mean(relu(loss - eta)^2)) + eta, by scipy in double precision."""
    c = math.sqrt(1 + (1 / alpha - 1) ** 2)
    width = 1 + losses.max() - losses.min()

    def value(eta: float) -> float:
        return c * math.sqrt(np.square(np.maximum(losses - eta, 0)).mean()) + eta

    bounds = (losses.min() - width * 20 / (1 / alpha - 1), losses.max())
    return min(minimize_scalar(value, bounds=bounds, method="bounded", options={"xatol": 1e-9}).fun, value(bounds[1]))


@pytest.mark.parametrize("alpha", ALPHAS[:-1])
@pytest.mark.parametrize("outliers", [0.0, 0.15])
@pytest.mark.parametrize("n", [2, 7, 64, 300])
def test_chi2_is_the_minimum_over_eta(alpha, outliers, n):
    losses = random_losses(n, n)
    kept = losses.sort(descending=True).values[int(outliers * n) :]
    found = chi2_weights(losses, alpha, outliers) @ losses
    assert found.item() == pytest.approx(dual(kept.double().numpy(), alpha), rel=2e-5)


@given(some_losses, st.sampled_from(ALPHAS))
def test_chi2_weights_stay_within_the_ball_and_reach_its_edge(losses, alpha):
    """The mean of (n p - 1)^2 is the squared radius, unless the ball holds all the mass on the largest."""
    values = torch.tensor(losses)
    weights = chi2_weights(values, alpha).double()
    divergence = (len(losses) * weights - 1).square().mean().item()
    radius = (1 / alpha - 1) ** 2
    assert divergence <= radius + 1e-3 * (1 + radius)
    largest = (values == values.max()).double().mean().item()
    if max(losses) - min(losses) > 0.1 and radius < 1 / largest - 1:
        assert divergence == pytest.approx(radius, rel=0.02, abs=1e-4)


def test_the_gradient_of_chi2_is_that_of_its_minimum():
    losses = random_losses(30, 4).double().requires_grad_()
    weights = chi2_weights(losses, 0.3)
    assert weights.dtype == torch.float64
    top = losses.detach().max()
    etas = torch.linspace(float(top) - 10, float(top) - 1e-3, 200_001, dtype=torch.float64)
    c = math.sqrt(1 + (1 / 0.3 - 1) ** 2)
    above = torch.stack([(losses.detach() - eta).clamp_min(0).square().mean() for eta in etas[::100]])
    eta = etas[::100][(c * above.sqrt() + etas[::100]).argmin()]
    (c * (losses - eta).clamp_min(0).square().mean().sqrt() + eta).backward()
    torch.testing.assert_close(losses.grad, weights, atol=2e-3, rtol=0)


def test_chi2_by_hand():
    # C^2 = 2: 2 (3 - 2 eta)^2 / 9 = ((1 - eta)^2 + (2 - eta)^2) / 3 gives eta = (3 - sqrt 3) / 2
    eta = (3 - math.sqrt(3)) / 2
    expected = torch.tensor([0, 1 - eta, 2 - eta]) / (3 - 2 * eta)
    torch.testing.assert_close(chi2_weights(torch.tensor([0.0, 1.0, 2.0]), 0.5), expected)
    # all above eta: eta = mean - std / sqrt(radius); radius 1/9 at alpha = 3/4
    losses = torch.tensor([1.0, 2.0, 3.0, 6.0])
    above = losses - (3 - math.sqrt(3.5) * 3)
    torch.testing.assert_close(chi2_weights(losses, 0.75), above / above.sum())
