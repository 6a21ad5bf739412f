from __future__ import annotations

import math
from collections.abc import Callable
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


# --- two views of each sample -----------------------------------------------------------------------------------------


def golden_views(a: float, b: float) -> Tensor:
    """Two views of eight samples in 16 dimensions, written down as sines."""
    i, k = torch.arange(8, dtype=torch.float64)[:, None], torch.arange(16, dtype=torch.float64)
    first = torch.sin(1 + a * i + b * k * (i + 1))
    return normalize(torch.cat([first, first + 0.5 * torch.cos(0.5 + 2 * i + 3 * k)]), dim=1)


DEBIASED, BIASED = golden_views(1.3, 0.7), golden_views(0.9, 1.1)
FORMS = {
    "paper": ("distance", "batch-max"),
    "released-distance": ("squared", "row"),
    "released": ("similarity", "row"),
}

# from the released code of each method, run once on these views: at tau = 0.05 and at tau = 0.1
GOLDEN: dict[str, tuple[Callable[[float], Tensor], float, float]] = {
    "simclr": (lambda tau: contrast.simclr_loss(DEBIASED), 1.1520151635962366, 1.1520151635962366),
    "dcl": (lambda tau: contrast.debiased_contrastive(DEBIASED, tau=tau), 0.9320465681173622, 0.6116988783985922),
    "hcl 0.5": (
        lambda tau: contrast.hard_contrastive(DEBIASED, tau=tau, beta=0.5),
        0.9689564800968414,
        0.6640572661744220,
    ),
    "hcl 1": (lambda tau: contrast.hard_contrastive(DEBIASED, tau=tau), 1.0052441988463814, 0.7145200740597759),
    "hcl 2": (lambda tau: contrast.hard_contrastive(DEBIASED, tau=tau, beta=2), 1.0730038714166280, 0.8063475255903875),
    "wcl paper": (lambda tau: golden_wcl("paper", tau), 1.2959312522665511, 1.1055418950817413),
    "wcl squared": (lambda tau: golden_wcl("released-distance", tau), 1.2959416431448, 1.1055413338968867),
    "wcl similarity": (lambda tau: golden_wcl("released", tau), 1.3129087729500248, 1.1270527980107594),
    "triplet": (lambda tau: contrast.contrastive_triplet(BIASED), -1.9319069671462201, -1.9319069671462201),
    "triplet debiased": (
        lambda tau: contrast.contrastive_triplet(BIASED, tau),
        -2.0335862812065475,
        -2.1465632968291333,
    ),
    "triplet sum": (
        lambda tau: contrast.contrastive_triplet(BIASED, tau, negatives="sum"),
        -30.882262970330782,
        -32.46394118904698,
    ),
}


def golden_wcl(form: str, tau: float) -> Tensor:
    weight = contrast.difficulty_weight(DEBIASED, BIASED, *FORMS[form])  # type: ignore[arg-type]
    return contrast.weighted_contrastive(DEBIASED, weight, tau=tau)


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_values(name):
    loss, *expected = GOLDEN[name]
    assert DEBIASED[0, :3].tolist() == pytest.approx([0.284334273, 0.335084986, 0.228239994], abs=1e-9)
    assert BIASED[0, :3].tolist() == pytest.approx([0.288619731, 0.296075872, -0.020021997], abs=1e-9)
    for tau, value in zip((0.05, 0.1), expected, strict=True):
        assert float(loss(tau)) == pytest.approx(value, rel=0, abs=1e-12)


def test_golden_weights():
    weight = contrast.difficulty_weight(DEBIASED, BIASED)
    negative = weight != 1
    assert weight[0, 1:5].tolist() == pytest.approx([1.4978636, 1.4982079, 1.4964252, 1.5003499], abs=1e-7)
    assert float(weight[negative].min()) == pytest.approx(1.4227, abs=1e-4)
    assert float(weight.max()) == pytest.approx(1.5849, abs=1e-4)


def pairs(n: int = 5, width: int = 3, seed: int = 4) -> Tensor:
    """Of any length."""
    return torch.randn(2 * n, width, generator=generator(seed), dtype=torch.float64)


def naive(z: Tensor, temperature: float, tau: float, beta: float = 0.0, weight: Tensor | None = None) -> Tensor:
    """Anchor by anchor, with sums of exponentials and a clamp, as the papers write it."""
    z, total = z / z.norm(dim=1, keepdim=True), torch.zeros((), dtype=torch.float64)
    pairs_, count = len(z) // 2, len(z) - 2
    for i in range(len(z)):
        other = (i + pairs_) % len(z)
        negatives = [j for j in range(len(z)) if j not in (i, other)]
        p = torch.exp(z[i] @ z[other] / temperature)
        e = torch.stack([torch.exp(z[i] @ z[j] / temperature) for j in negatives])
        w = e**beta / (e**beta).mean() if weight is None else weight[i, negatives]
        g = (w * e).sum()
        if tau:
            g = torch.clamp((g - tau * count * p) / (1 - tau), min=count * math.exp(-1 / temperature))
        total = total - torch.log(p / (p + g)) / len(z)
    return total


@pytest.mark.parametrize("tau", [0.0, 0.05, 0.3, 0.9])
@pytest.mark.parametrize("beta", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("temperature", [0.3, 1.0])
def test_the_losses_and_their_gradients_are_those_of_the_loop(temperature, beta, tau):
    """At tau=0.3 some anchors are at the floor, at 0.9 nearly all."""
    z = pairs().requires_grad_()
    loss = contrast.hard_contrastive(z, temperature, tau, beta)
    expected = naive(z, temperature, tau, beta)
    torch.testing.assert_close(loss, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(torch.autograd.grad(loss, z), torch.autograd.grad(expected, z), rtol=0, atol=1e-12)


@pytest.mark.parametrize("tau", [0.0, 0.1])
def test_weights_and_their_gradient_are_those_of_the_loop(tau):
    z = pairs().requires_grad_()
    weight = 1 + torch.rand(10, 10, generator=generator(5), dtype=torch.float64)
    loss, expected = contrast.weighted_contrastive(z, weight, 0.5, tau), naive(z, 0.5, tau, weight=weight)
    torch.testing.assert_close(loss, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(torch.autograd.grad(loss, z), torch.autograd.grad(expected, z), rtol=0, atol=1e-12)


@pytest.mark.parametrize("negatives", ["mean", "sum"])
@pytest.mark.parametrize("tau", [0.0, 0.2])
def test_the_triplet_loss_and_its_gradient_are_those_of_the_loop(tau, negatives):
    z = pairs().requires_grad_()
    unit, total = z / z.norm(dim=1, keepdim=True), torch.zeros((), dtype=torch.float64)
    for i in range(10):
        other = (i + 5) % 10
        near = (unit[i] - unit[other]).square().sum()
        far = torch.stack([(unit[i] - unit[j]).square().sum() for j in range(10) if j not in (i, other)])
        if negatives == "mean":
            total = total + (near - (far.mean() - tau * near) / (1 - tau)) / 10
        else:
            total = total + (near - (far.sum() - 8 * tau * near) / (1 - tau)) / 10
    loss = contrast.contrastive_triplet(z, tau, negatives=negatives)
    torch.testing.assert_close(loss, total, rtol=0, atol=1e-12)
    torch.testing.assert_close(torch.autograd.grad(loss, z), torch.autograd.grad(total, z), rtol=0, atol=1e-12)


def test_the_decoupled_loss_leaves_the_positive_out():
    z = pairs()
    unit = z / z.norm(dim=1, keepdim=True)
    values = []
    for i in range(10):
        other = (i + 5) % 10
        far = [float(unit[i] @ unit[j]) / 0.5 for j in range(10) if j not in (i, other)]
        values.append(-float(unit[i] @ unit[other]) / 0.5 + math.log(sum(map(math.exp, far))))
    expected = torch.tensor(values, dtype=torch.float64)
    torch.testing.assert_close(contrast.decoupled_contrastive(z, reduction="none"), expected)


@pytest.mark.parametrize("form", FORMS)
def test_the_weights_are_those_of_the_loop(form):
    z, biased = pairs(), pairs(seed=6)
    kind, norm = FORMS[form]
    seen = []
    for one in (z, biased):
        unit, table = one / one.norm(dim=1, keepdim=True), torch.zeros(10, 10, dtype=torch.float64)
        for i in range(10):
            for j in range(10):
                if (i - j) % 5:
                    distance = float((unit[i] - unit[j]).norm())
                    likeness = math.exp(float(unit[i] @ unit[j]) / 0.5)
                    table[i, j] = {"distance": distance, "squared": distance**2, "similarity": likeness}[kind]
        seen.append(table / (table.max() if norm == "batch-max" else table.norm(dim=1, keepdim=True)))
    own, other = seen
    for i in range(10):
        for j in range(10):
            small = 0 if norm == "batch-max" else 1e-6
            expected = 1 + float(own[i, j] / (own[i, j] + other[i, j] + small)) if (i - j) % 5 else 1
            weight = contrast.difficulty_weight(z, biased, kind, norm)  # type: ignore[arg-type]
            assert float(weight[i, j]) == pytest.approx(expected, rel=1e-12)


def test_one_loss_is_another_with_its_option_off():
    z = pairs()
    plain, debiased = contrast.simclr_loss(z), contrast.debiased_contrastive(z, tau=0.05)
    torch.testing.assert_close(contrast.debiased_contrastive(z, tau=0), plain)
    torch.testing.assert_close(contrast.debiased_contrastive(z, tau=1e-12), plain)
    torch.testing.assert_close(contrast.hard_contrastive(z, tau=0.05, beta=0), debiased)
    torch.testing.assert_close(contrast.weighted_contrastive(z, torch.ones(10, 10), tau=0.05), debiased)


def test_the_biased_share_of_the_triplet_loss_is_a_factor():
    """So Adam is indifferent to it."""
    plain = contrast.contrastive_triplet(pairs())
    for tau in (0.05, 0.3, 0.9):
        torch.testing.assert_close(contrast.contrastive_triplet(pairs(), tau), plain / (1 - tau))


@pytest.mark.parametrize("n", [2, 4, 128])
def test_two_opposite_points_attain_the_least_triplet_loss(n):
    sign = torch.tensor([1.0, -1.0], dtype=torch.float64).repeat(n // 2)
    z = (sign[:, None] * torch.tensor([[0.6, 0.8]], dtype=torch.float64)).repeat(2, 1)
    assert float(contrast.contrastive_triplet(z)) == pytest.approx(-2 * n / (n - 1))
    assert float(contrast.contrastive_triplet(pairs(n))) > -2 * n / (n - 1)


def test_lengths_do_not_matter():
    """Of what the encoders give; and of the distances that are compared, since each is normalised."""
    z, biased = pairs(), pairs(seed=6)
    torch.testing.assert_close(contrast.hard_contrastive(3e4 * z), contrast.hard_contrastive(z))
    torch.testing.assert_close(contrast.contrastive_triplet(3e4 * z), contrast.contrastive_triplet(z))
    own, other = (torch.rand(6, 6, generator=generator(seed), dtype=torch.float64) for seed in (1, 2))
    for weigh in (contrast.weight_of_distances, partial(contrast.weight_of_distances, norm="row")):
        torch.testing.assert_close(weigh(7 * own, other), weigh(own, other), rtol=0, atol=1e-12)
        torch.testing.assert_close(weigh(own, 7 * other), weigh(own, other), rtol=0, atol=1e-12)
    weight = contrast.difficulty_weight(z, biased)
    assert (weight >= 1).all() and (weight <= 2).all()


@pytest.mark.parametrize("form", FORMS)
def test_no_gradient_reaches_either_encoder_through_the_weights(form):
    z, biased = pairs().requires_grad_(), pairs(seed=6).requires_grad_()
    weight = contrast.difficulty_weight(z, biased, *FORMS[form])  # type: ignore[arg-type]
    assert not weight.requires_grad
    loss = contrast.weighted_contrastive(z, weight)
    assert torch.autograd.grad(loss, biased, allow_unused=True) == (None,)
    numbers = contrast.weighted_contrastive(z, torch.tensor(weight.tolist(), dtype=torch.float64))
    torch.testing.assert_close(torch.autograd.grad(loss, z, retain_graph=True), torch.autograd.grad(numbers, z))


def test_the_two_forms_of_the_weight_point_in_opposite_directions():
    """What the biased encoder alone finds close weighs more by distance, and less by likeness."""
    z = torch.eye(3, dtype=torch.float64).repeat(2, 1)
    near, far = torch.tensor([1.0, 0.1]), torch.tensor([-0.2, 1.0])
    biased = torch.stack([torch.tensor([1.0, 0.0]), near, far]).double().repeat(2, 1)  # 0 and 1 alike, 2 is not
    by_distance = contrast.difficulty_weight(z, biased)
    by_likeness = contrast.difficulty_weight(z, biased, "similarity", "row")
    assert by_distance[0, 1] > by_distance[0, 2] and by_likeness[0, 1] < by_likeness[0, 2]


def test_who_is_at_the_floor_is_known():
    """With well-spread negatives it is everybody at tau=0.3, as mean e^(s/t) must be 2.311 there, and it is about 1."""
    z = torch.eye(64, dtype=torch.float64).repeat(2, 1).requires_grad_()
    for tau, temperature in ((0.1, 0.5), (0.3, 0.5)):
        loss, clamped = contrast.anchor_losses(z, temperature, tau)
        floor = tau * math.exp(1 / temperature) + (1 - tau) * math.exp(-1 / temperature)
        assert clamped.all() if floor > 1 else not clamped.any()
        assert bool(clamped.all()) == (tau == 0.3)
    lowest = math.log(1 + 126 * math.exp(-4))  # p = e^2 and G = N e^-2
    torch.testing.assert_close(loss, torch.full_like(loss, lowest))
    assert not contrast.anchor_losses(z, 0.5, 0.0).clamped.any()


def test_anchors_at_the_floor_learn_from_their_positive_alone():
    z = torch.cat([pairs(2, 30), pairs(2, 30) + 0.3 * pairs(2, 30, seed=5)]).requires_grad_()
    loss, clamped = contrast.anchor_losses(z, 0.5, 0.9)
    assert clamped.all()
    unit = z / z.norm(dim=1, keepdim=True)
    p = (unit * unit.roll(4, 0)).sum(1) / 0.5
    alone = torch.log1p(6 * math.exp(-2) / p.exp())
    torch.testing.assert_close(loss, alone)
    torch.testing.assert_close(torch.autograd.grad(loss.sum(), z), torch.autograd.grad(alone.sum(), z))


def test_what_is_taken_may_exceed_what_there_is_by_any_factor():
    """At t=0.01 the positive is e^200 times a negative, which float32 cannot hold; no gradient is nan for it."""
    sign = torch.tensor([1.0, -1.0, 1.0, -1.0])
    z = (sign[:, None] * torch.tensor([[0.6, 0.8]])).requires_grad_()
    loss, clamped = contrast.anchor_losses(z, 0.01, 0.1)
    assert clamped.all() and torch.isfinite(loss).all()
    assert torch.isfinite(torch.autograd.grad(loss.sum(), z)[0]).all()


def test_weights_that_are_given_stand_in_place_of_beta():
    weight = 1 + torch.rand(10, 10, generator=generator(5), dtype=torch.float64)
    one, other = (contrast.anchor_losses(pairs(), beta=beta, weight=weight).loss for beta in (0.0, 2.0))
    assert torch.equal(one, other)


def test_a_row_of_distant_negatives_is_weighed_as_well():
    """At t=0.01 the last sample's negatives are e^-200 times as like it as the others are each other."""
    z = torch.tensor([[1.0, 0.0], [1.0, 0.01], [-1.0, 0.0]]).repeat(2, 1)
    biased = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]]).repeat(2, 1)
    weight = contrast.difficulty_weight(z, biased, "similarity", "row", 0.01)
    exact = contrast.difficulty_weight(z.double(), biased.double(), "similarity", "row", 0.01)
    torch.testing.assert_close(weight, exact.float(), rtol=1e-3, atol=1e-3)
    assert weight[2].max() > 1.5


VIEWS: dict[str, Callable[[Tensor], Tensor]] = {
    "simclr": lambda z: contrast.simclr_loss(z, 0.05),
    "dcl": lambda z: contrast.debiased_contrastive(z, 0.05),
    "hcl": lambda z: contrast.hard_contrastive(z, 0.05, beta=2.0),
    "wcl": lambda z: contrast.weighted_contrastive(z, contrast.difficulty_weight(z, z.roll(1, 0)), 0.05),
    "released": lambda z: contrast.weighted_contrastive(
        z, contrast.difficulty_weight(z, z.roll(1, 0), "similarity", "row", 0.05), 0.05
    ),
    "triplet": lambda z: contrast.contrastive_triplet(z, 0.1),
    "decoupled": lambda z: contrast.decoupled_contrastive(z, 0.05),
}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("name", VIEWS)
def test_half_precision_stays_finite_at_a_low_temperature(name, dtype):
    """e^20 is beyond float16, as are the squares of numbers above 256: each is computed in float32."""
    z = (400 * pairs(32, 8)).to(dtype).requires_grad_()
    loss = VIEWS[name](z)
    exact = VIEWS[name](z.detach().double())
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(exact.item(), rel=1e-4)
    assert torch.isfinite(torch.autograd.grad(loss, z)[0]).all()


def test_automatic_half_precision_stays_out():
    z = pairs(32, 8).float()
    for loss in (contrast.simclr_loss, contrast.contrastive_triplet, partial(contrast.difficulty_weight, z)):
        with torch.autocast("cpu", torch.bfloat16):
            inside = loss(z)
        assert torch.equal(inside, loss(z))


@pytest.mark.parametrize("name", VIEWS)
@pytest.mark.parametrize(
    "rows", [torch.ones(6, 3), torch.zeros(6, 3), torch.tensor([[1.0, 0, 0]] * 3 + [[-1.0, 0, 0]] * 3)]
)
def test_duplicates_only_are_finite(name, rows):
    z = rows.requires_grad_()
    loss = VIEWS[name](z)
    assert torch.isfinite(loss) and torch.isfinite(torch.autograd.grad(loss, z)[0]).all()


def test_duplicates_are_as_hard_for_both():
    """Rounding makes no distance where there is none, and where neither encoder sees one, they agree."""
    alike = torch.rand(1, 50, generator=generator(0)).expand(8, -1)
    apart = torch.randn(8, 50, generator=generator(1))
    negative = (torch.arange(8)[:, None] - torch.arange(8)) % 4 != 0
    assert torch.equal(contrast.difficulty_weight(alike, alike), 1 + 0.5 * negative)
    assert (contrast.difficulty_weight(alike, apart) == 1).all()
    weight = contrast.difficulty_weight(apart, alike)
    assert (weight[negative] == 2).all() and (weight[~negative] == 1).all()


def test_order_of_the_pairs_does_not_matter():
    z, order = pairs(), torch.randperm(5, generator=generator(1))
    moved = torch.cat([order, order + 5])
    for loss in (contrast.hard_contrastive, contrast.contrastive_triplet, contrast.decoupled_contrastive):
        torch.testing.assert_close(loss(z[moved], reduction="none"), loss(z, reduction="none")[moved])
        torch.testing.assert_close(loss(z.roll(5, 0)), loss(z))  # nor which view is the first


def test_reductions_of_the_losses_of_views():
    z = pairs()
    losses = (
        contrast.simclr_loss,
        contrast.debiased_contrastive,
        contrast.hard_contrastive,
        partial(contrast.weighted_contrastive, weight=torch.full((10, 10), 1.5)),
        contrast.contrastive_triplet,
        contrast.decoupled_contrastive,
    )
    for loss in losses:
        each = loss(z, reduction="none")
        assert each.shape == (10,)
        torch.testing.assert_close(loss(z), each.mean())
        torch.testing.assert_close(loss(z, reduction="sum"), each.sum())


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda z: contrast.simclr_loss(z[:2]), "a batch of one pair has no negatives .*at least two samples"),
        (lambda z: contrast.contrastive_triplet(z[:2]), "a batch of one pair has no negatives"),
        (lambda z: contrast.simclr_loss(z[:0]), "a batch of one pair has no negatives"),
        (lambda z: contrast.simclr_loss(z[:5]), r"got z of shape \(5, 3\); give \(2B, d\)"),
        (lambda z: contrast.simclr_loss(z[0]), r"got z of shape \(3,\); give \(2B, d\)"),
        (lambda z: contrast.simclr_loss(z, 0), "temperature is 0; give a number above 0"),
        (lambda z: contrast.decoupled_contrastive(z, -1), "temperature is -1; give a number above 0"),
        (lambda z: contrast.difficulty_weight(z, z, temperature=math.nan), "temperature is nan"),
        (lambda z: contrast.debiased_contrastive(z, tau=1.0), r"tau=1.0; give a number from 0 to below 1"),
        (lambda z: contrast.hard_contrastive(z, tau=-0.1), r"tau=-0.1; give a number from 0"),
        (lambda z: contrast.contrastive_triplet(z, math.nan), "tau=nan"),
        (lambda z: contrast.hard_contrastive(z, beta=-1.0), "beta=-1.0; give a number of at least 0"),
        (lambda z: contrast.weighted_contrastive(z, torch.ones(10)), r"weights have shape \(10,\); .*\(10, 10\)"),
        (lambda z: contrast.difficulty_weight(z, z[:8]), "encoders were given 10 and 8 views"),
        (lambda z: contrast.difficulty_weight(z, z, "distances"), "unknown weight 'distances': did you mean"),  # pyright: ignore[reportArgumentType]
        (lambda z: contrast.difficulty_weight(z, z, norm="rows"), "unknown norm 'rows': did you mean 'row'"),  # pyright: ignore[reportArgumentType]
        (lambda z: contrast.contrastive_triplet(z, negatives="max"), "unknown way to join negatives 'max'"),  # pyright: ignore[reportArgumentType]
        (lambda z: contrast.simclr_loss(z, reduction="men"), "unknown reduction 'men': did you mean 'mean'"),  # pyright: ignore[reportArgumentType]
    ],
)
def test_what_cannot_be_contrasted_is_refused(call, said):
    with pytest.raises(UserError, match=said):
        call(pairs())
