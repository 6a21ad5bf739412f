from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from longcut import contrast
from longcut.data import generator
from longcut.errors import UserError

# of each anchor; how they are reduced is one test below
supervised_contrastive = partial(contrast.supervised_contrastive, reduction="none")
generalized_supervised_contrastive = partial(contrast.generalized_supervised_contrastive, reduction="none")

LABEL = torch.tensor([0, 1, 0, 2, 1, 0, 1, 3])  # 2 and 3 have no positives


def unit_vectors(n: int = len(LABEL), width: int = 4, dtype: torch.dtype = torch.float64) -> Tensor:
    return normalize(torch.randn(n, width, generator=generator(0), dtype=dtype), dim=1)


def loop(z: Tensor, label: Tensor, temperature: float, q: float) -> Tensor:
    """The definition, anchor by anchor and positive by positive."""
    n, values = len(label), []
    for i in range(n):
        power = [math.exp(float(z[i] @ z[k]) / temperature) if k != i else 0.0 for k in range(n)]
        positives = [k for k in range(n) if k != i and label[k] == label[i]]
        p = [power[k] / sum(power) for k in positives]
        values.append(-sum(x**q * math.log(x) for x in p) / len(p) if p else 0.0)
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize("temperature", [0.05, 0.2, 1.0])
def test_supervised_is_the_loop(temperature):
    z = unit_vectors()
    torch.testing.assert_close(supervised_contrastive(z, LABEL, temperature), loop(z, LABEL, temperature, 0))


@pytest.mark.parametrize("temperature", [0.05, 0.2, 1.0])
@pytest.mark.parametrize("q", [0.3, 0.7, 2.0])
def test_generalized_is_the_loop(temperature, q):
    z, expected = unit_vectors(), loop(unit_vectors(), LABEL, temperature, q)
    torch.testing.assert_close(generalized_supervised_contrastive(z, LABEL, temperature, q), expected)
    code = generalized_supervised_contrastive(z, LABEL, temperature, q, scale="code")
    torch.testing.assert_close(code, q * expected)


@pytest.mark.parametrize("q", [0.0, 0.7])
def test_the_paper_sums_and_the_mean_counts_every_anchor(q):
    """Two of the eight anchors have no positives; the mean is over eight all the same."""
    z = unit_vectors()
    total = loop(z, LABEL, 0.2, q).sum()
    loss = partial(contrast.generalized_supervised_contrastive, z, LABEL, q=q)
    torch.testing.assert_close(loss(), total)
    torch.testing.assert_close(loss(reduction="sum"), total)
    torch.testing.assert_close(loss(reduction="mean"), total / 8)
    if q == 0:
        torch.testing.assert_close(contrast.supervised_contrastive(z, LABEL), total)
        torch.testing.assert_close(contrast.supervised_contrastive(z, LABEL, reduction="mean"), total / 8)


def test_generalized_becomes_supervised_as_q_vanishes():
    z = unit_vectors()
    plain = supervised_contrastive(z, LABEL)
    torch.testing.assert_close(generalized_supervised_contrastive(z, LABEL, q=1e-9), plain)
    torch.testing.assert_close(generalized_supervised_contrastive(z, LABEL, q=1e-9, scale="code") / 1e-9, plain)


def test_collapsed_embeddings():
    """All alike: each of the n-1 others has probability 1/(n-1)."""
    n = 9
    z, label = torch.ones(n, 1, dtype=torch.float64), torch.zeros(n).long()
    torch.testing.assert_close(supervised_contrastive(z, label), torch.full((n,), math.log(n - 1)).double())
    expected = math.log(n - 1) / math.sqrt(n - 1)
    torch.testing.assert_close(
        generalized_supervised_contrastive(z, label, q=0.5), torch.full((n,), expected, dtype=torch.float64)
    )


def test_two_opposite_pairs():
    """Own partner at cosine 1, two others at -1: p = 1 / (1 + 2 exp(-2 / temperature))."""
    z, label = torch.tensor([[1.0], [1.0], [-1.0], [-1.0]], dtype=torch.float64), torch.tensor([0, 0, 1, 1])
    expected = math.log(1 + 2 * math.exp(-2 / 0.5))
    torch.testing.assert_close(supervised_contrastive(z, label, 0.5), torch.full((4,), expected, dtype=torch.float64))


def test_gradcheck():
    z = unit_vectors().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: supervised_contrastive(x, LABEL), z)


@pytest.mark.parametrize(("scale", "factor"), [("paper", 1.0), ("code", 0.7)])
def test_weights_pass_no_gradient(scale, factor):
    """The gradient is that of a loop in which the weights are numbers."""
    q, temperature = 0.7, 0.2
    z = unit_vectors().requires_grad_()
    total = torch.zeros((), dtype=torch.float64)
    for i in range(len(LABEL)):
        others = [k for k in range(len(LABEL)) if k != i]
        positives = [k for k in others if LABEL[k] == LABEL[i]]
        evidence = torch.stack([z[i] @ z[k] / temperature for k in others])
        for k in positives:
            log_p = z[i] @ z[k] / temperature - evidence.logsumexp(0)
            total = total - factor * math.exp(q * log_p.item()) * log_p / len(positives)
    loss = generalized_supervised_contrastive(z, LABEL, temperature, q, scale=scale)
    torch.testing.assert_close(torch.autograd.grad(loss.sum(), z), torch.autograd.grad(total, z))


@pytest.mark.parametrize("q", [0.0, 0.7])
def test_order_of_the_batch_does_not_matter(q):
    z = unit_vectors()
    order = torch.randperm(len(z), generator=generator(1))
    torch.testing.assert_close(
        generalized_supervised_contrastive(z[order], LABEL[order], q=q),
        generalized_supervised_contrastive(z, LABEL, q=q)[order],
    )


def test_names_of_the_labels_do_not_matter():
    z = unit_vectors()
    torch.testing.assert_close(supervised_contrastive(z, 10 - LABEL), supervised_contrastive(z, LABEL))


@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("q", [0.0, 0.7])
def test_without_positives_nothing_is_lost_and_nothing_learned(n, q):
    z = unit_vectors(n).requires_grad_()
    loss = generalized_supervised_contrastive(z, torch.arange(n), q=q)
    assert loss.tolist() == [0] * n
    assert torch.autograd.grad(loss.sum(), z)[0].abs().max() == 0


@pytest.mark.parametrize("q", [0.0, 0.7])
def test_extreme_similarities_stay_finite(q):
    """At temperature 0.001 logits reach 1000, where the exponential overflows and the smallest p is 0."""
    z = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]], requires_grad=True)
    loss = generalized_supervised_contrastive(z, torch.tensor([0, 0, 1, 1]), 0.001, q)
    assert torch.isfinite(loss).all()
    assert torch.isfinite(torch.autograd.grad(loss.sum(), z)[0]).all()
    assert loss[0].item() == (pytest.approx(2000) if q == 0 else 0)


@pytest.mark.parametrize("temperature", [0, -1, math.nan])
def test_refuses_a_temperature_out_of_range(temperature):
    with pytest.raises(UserError, match=r"temperature is .*above 0"):
        supervised_contrastive(unit_vectors(), LABEL, temperature)


@pytest.mark.parametrize("q", [-0.1, math.nan])
def test_refuses_q_out_of_range(q):
    with pytest.raises(UserError, match=r"got q=.*at least 0"):
        generalized_supervised_contrastive(unit_vectors(), LABEL, q=q)


def test_refuses_an_unknown_scale():
    with pytest.raises(UserError, match="unknown scale 'cod': did you mean 'code'"):
        generalized_supervised_contrastive(unit_vectors(), LABEL, scale="cod")  # pyright: ignore[reportArgumentType]


def test_refuses_an_unknown_reduction():
    for loss in (contrast.supervised_contrastive, contrast.generalized_supervised_contrastive):
        with pytest.raises(UserError, match="unknown reduction 'men': did you mean 'mean'"):
            loss(unit_vectors(), LABEL, reduction="men")  # pyright: ignore[reportArgumentType]
