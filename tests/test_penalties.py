from __future__ import annotations

import math
from itertools import permutations, product

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from longcut.data import generator
from longcut.errors import UserError
from longcut.penalties import disentangle, entangle, hsic, rbf

N = 7


def normal(n: int = N, width: int = 3, seed: int = 0) -> Tensor:
    return torch.randn(n, width, generator=generator(seed), dtype=torch.float64)


def linear(x: Tensor) -> Tensor:
    return x @ x.T


KERNELS = pytest.mark.parametrize("kernel", [rbf, linear])

# --- the Gaussian kernel ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sigma", [0.5, 1.0, 3.0])
def test_rbf_is_the_loop(sigma):
    x = normal()
    expected = [[math.exp(-float((a - b).square().sum()) / (2 * sigma**2)) for b in x] for a in x]
    torch.testing.assert_close(rbf(x, sigma), torch.tensor(expected, dtype=torch.float64))


def test_the_median_is_of_the_distances_of_distinct_samples():
    x = torch.tensor([[0.0], [1.0], [3.0]])  # distances 1, 2 and 3
    torch.testing.assert_close(rbf(x, "median"), rbf(x, 2.0))


def test_the_median_passes_no_gradient():
    x, y = normal().requires_grad_(), normal().requires_grad_()
    rbf(x, "median").sum().backward()
    rbf(y, float(torch.pdist(y.detach()).median())).sum().backward()
    torch.testing.assert_close(x.grad, y.grad)


def test_rbf_does_not_mind_where_the_origin_is():
    x = normal().float()
    torch.testing.assert_close(rbf(x + 1000), rbf(x), atol=1e-3, rtol=0)


@pytest.mark.parametrize("n", [1, 2, 5])
@pytest.mark.parametrize("sigma", [1.0, "median"])
def test_samples_that_are_all_alike(n, sigma):
    x = torch.full((n, 2), 3.0, requires_grad=True)
    k = rbf(x, sigma)
    k.sum().backward()
    assert torch.equal(k, torch.ones(n, n))
    assert x.grad is not None and torch.equal(x.grad, torch.zeros(n, 2))


@pytest.mark.parametrize("sigma", [0.0, -1.0, math.nan])
def test_a_bandwidth_out_of_range(sigma):
    with pytest.raises(UserError, match=r"the kernel's sigma is .*; give a number above 0, such as 1, or 'median'\."):
        rbf(normal(), sigma)


# --- HSIC -------------------------------------------------------------------------------------------------------------


@KERNELS
def test_hsic_is_the_u_statistic(kernel):
    """The mean over all four different samples of what Song et al. call h."""
    x, y = kernel(normal(seed=0)), kernel(normal(seed=1) + normal(seed=0))
    values = [float(x[i, j] * (y[i, j] + y[q, r] - 2 * y[i, q])) for i, j, q, r in permutations(range(N), 4)]
    assert float(hsic(x, y)) == pytest.approx(math.fsum(values) / len(values), rel=1e-9)


def signs(n: int) -> list[Tensor]:
    return [torch.tensor(one, dtype=torch.float64)[:, None] for one in product((-1.0, 1.0), repeat=n)]


@KERNELS
def test_hsic_has_mean_zero_under_independence(kernel):
    """Two coins thrown five times, all 1,024 outcomes."""
    grams = [kernel(x) for x in signs(5)]
    values = [float(hsic(x, y)) for x, y in product(grams, grams)]
    assert math.fsum(values) / len(values) == pytest.approx(0, abs=1e-12)
    assert min(values) < 0 < max(values)


def test_hsic_of_a_coin_with_itself():
    """Population values: the squared covariance 1; (1 - c)² / 4, where c is the kernel of head and tail."""
    throws = signs(5)
    assert math.fsum(float(hsic(linear(x), linear(x))) for x in throws) / len(throws) == pytest.approx(1)
    expected = (1 - math.exp(-2)) ** 2 / 4
    assert math.fsum(float(hsic(rbf(x), rbf(x))) for x in throws) / len(throws) == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(5))
def test_hsic_tells_dependence_that_no_correlation_shows(seed):
    x = normal(200, 1, seed)
    other = normal(200, 1, seed + 100)
    assert float(hsic(rbf(x), rbf(x.square()))) > 10 * abs(float(hsic(rbf(x), rbf(other))))


def test_the_released_diagonal_is_the_same_for_a_constant_one():
    x, y = rbf(normal(seed=0)), rbf(normal(seed=1), 2.0)
    torch.testing.assert_close(hsic(x, y, diagonal="subtract"), hsic(x, y))


def test_the_released_diagonal_is_wrong_for_the_linear_kernel():
    x, y = linear(normal(seed=0)), linear(normal(seed=1))
    # what the released program writes, entry by entry
    a = [[float(x[i, j] - x[j, j]) for j in range(N)] for i in range(N)]
    b = [[float(y[i, j] - y[j, j]) for j in range(N)] for i in range(N)]
    trace = sum(a[i][j] * b[j][i] for i in range(N) for j in range(N))
    total = sum(map(sum, a)) * sum(map(sum, b)) / ((N - 1) * (N - 2))
    both = 2 * sum(sum(row[j] for row in a) * sum(row[j] for row in b) for j in range(N)) / (N - 2)
    released = (trace + total - both) / (N * (N - 3))
    assert float(hsic(x, y, diagonal="subtract")) == pytest.approx(released)
    assert abs(released - float(hsic(x, y))) > 0.1 * abs(released)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_hsic_of_fewer_than_four_samples_is_zero(n):
    x = normal(n).requires_grad_()
    value = hsic(rbf(x, "median"), rbf(normal(n, seed=1)))
    value.backward()
    assert float(value.detach()) == 0
    assert torch.equal(x.grad, torch.zeros(n, 3, dtype=torch.float64))  # type: ignore[arg-type]


def test_the_gradient_of_hsic_is_that_of_finite_differences():
    x, y = normal(5).requires_grad_(), normal(5, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: hsic(rbf(a), rbf(b, 2.0)), (x, y))


def test_an_unknown_diagonal():
    with pytest.raises(UserError, match="unknown diagonal 'zeros': did you mean 'zero'"):
        hsic(rbf(normal()), rbf(normal()), diagonal="zeros")  # type: ignore[arg-type]


# --- EnD --------------------------------------------------------------------------------------------------------------

LABEL = torch.tensor([0, 1, 0, 1, 2, 0, 1, 0, 2])
ATTRIBUTE = torch.tensor([2, 1, 1, 1, 2, 0, 2, 1, 2])


def units(n: int = len(LABEL)) -> Tensor:
    return normalize(normal(n), dim=1)


def loops(z: Tensor, label: Tensor, attribute: Tensor) -> dict[tuple[str, str], float]:
    """Both terms in both variants, pair by pair; sample j comes before sample i in the batch."""
    orthogonal: list[float] = []
    parallel: dict[str, list[float]] = {"paper": [], "code": []}
    sums: dict[int, float] = {}
    count = 0
    for i in range(len(z)):
        for j in range(i):
            g = float(z[i] @ z[j])
            a, b = int(attribute[i]), int(attribute[j])
            if a == b:
                sums[a] = sums.get(a, 0) + g
                count += 1
                if label[i] != label[j]:
                    orthogonal.append(abs(g))
            elif label[i] == label[j]:
                parallel["paper"].append((1 + g) / 2)
                if a < b:
                    parallel["code"].append((1 + g) / 2)
    return {
        ("disentangle", "paper"): sum(orthogonal) / len(orthogonal),
        ("disentangle", "code"): sum(map(abs, sums.values())) / count,
        ("entangle", "paper"): 1 - sum(parallel["paper"]) / len(parallel["paper"]),
        ("entangle", "code"): 1 - sum(parallel["code"]) / len(parallel["code"]),
    }


@pytest.mark.parametrize("pairs", ["paper", "code"])
@pytest.mark.parametrize("term", [disentangle, entangle])
def test_the_terms_of_end_are_the_loops(term, pairs):
    expected = loops(units(), LABEL, ATTRIBUTE)
    assert len(set(expected.values())) == 4
    assert float(term(units(), LABEL, ATTRIBUTE, pairs=pairs)) == pytest.approx(expected[term.__name__, pairs])
    if pairs == "paper":
        assert float(term(units(), LABEL, ATTRIBUTE)) == pytest.approx(expected[term.__name__, pairs])


def test_opposite_signs_cancel_in_the_released_sum_alone():
    z = torch.tensor([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]])  # cosines 1, -1 and -1
    label, attribute = torch.tensor([0, 1, 2]), torch.zeros(3).long()
    assert float(disentangle(z, label, attribute)) == 1
    assert float(disentangle(z, label, attribute, pairs="code")) == pytest.approx(1 / 3)


def test_the_released_sum_pushes_samples_of_one_label_apart_too():
    z, label = torch.ones(4, 1), torch.zeros(4).long()
    assert float(disentangle(z, label, label)) == 0
    assert float(disentangle(z, label, label, pairs="code")) == 1


def test_the_released_parallel_pairs_depend_on_the_order_of_the_batch():
    label, order = torch.zeros(6).long(), torch.tensor([5, 4, 3, 2, 1, 0])
    attribute = torch.arange(6)
    everything = entangle(units(6), label, attribute)
    assert float(entangle(units(6), label, attribute, pairs="code")) == 0  # rising: no pair is left
    released = entangle(units(6)[order], label, attribute[order], pairs="code")  # falling: none is lost
    torch.testing.assert_close(released, everything)
    torch.testing.assert_close(entangle(units(6)[order], label, attribute[order]), everything)


@pytest.mark.parametrize(("cosine", "expected"), [(1.0, 0.0), (0.0, 0.5), (-1.0, 1.0)])
def test_two_samples_of_one_label(cosine, expected):
    z = torch.tensor([[1.0, 0.0], [cosine, math.sqrt(1 - cosine**2)]])
    label, attribute = torch.tensor([0, 0]), torch.tensor([1, 0])
    assert float(entangle(z, label, attribute)) == pytest.approx(expected)
    assert float(disentangle(z, attribute, label)) == pytest.approx(abs(cosine))


@pytest.mark.parametrize("pairs", ["paper", "code"])
@pytest.mark.parametrize("term", [disentangle, entangle])
@pytest.mark.parametrize("n", [1, 3])
def test_without_a_pair_a_term_is_zero(term, pairs, n):
    z = units(n).requires_grad_()
    value = term(z, torch.arange(n), torch.arange(n), pairs=pairs)
    value.backward()
    assert float(value.detach()) == 0
    assert torch.equal(z.grad, torch.zeros(n, 3, dtype=torch.float64))  # type: ignore[arg-type]


@pytest.mark.parametrize("term", [disentangle, entangle])
def test_unknown_pairs(term):
    with pytest.raises(UserError, match="unknown pairs 'all': Known: code, paper"):
        term(units(), LABEL, ATTRIBUTE, pairs="all")
