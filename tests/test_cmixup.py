"""C-Mixup: its law, how wide its kernel is, whence partners come, and the published settings."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from helpers import context

from longcut import mixing
from longcut.data import Batch, Dataset, Splits, generator
from longcut.datasets import load
from longcut.errors import UserError
from longcut.fit import Training, fit
from longcut.losses import squared_error
from longcut.methods import METHODS, build
from longcut.mixing.distances import near_weights


def numbers(n: int = 120, width: int = 1, seed: int = 0) -> Dataset:
    """Targets far from 0, as decibels are, with some ties."""
    g = generator(seed)
    label = 125 + 7 * torch.randn(n, width, generator=g)
    label[1::10] = label[::10]
    return Dataset.of(torch.randn(n, 3, generator=g), label, torch.arange(n) % 2, name="numbers")


def made(data: Dataset, **options: Any) -> Any:
    method = build("c-mixup", data.info, net="mlp:hidden=16-8", options=options)
    method.on_epoch(context(data))
    return method


# --- the law ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [1, 3])
@pytest.mark.parametrize("source", ["data", "pool"])
def test_the_law_is_the_softmax_of_squared_distances(width, source):
    """By a loop in float64, with the published exponent: -d² / 2σ² and no other square."""
    data = numbers(width=width)
    method = made(data, sigma=1.75, unit="target", source=source)
    batch = data.batch(torch.arange(40))
    candidates = data if source == "data" else batch
    law = method.log_weight(batch, candidates).softmax(1)
    y = data.label.double().tolist()
    for i in range(0, 40, 7):
        weight = [
            math.exp(-sum((a - b) ** 2 for a, b in zip(y[i], y[j], strict=True)) / (2 * 1.75**2))
            for j in range(len(candidates))
        ]
        expected = torch.tensor([w / sum(weight) for w in weight])
        torch.testing.assert_close(law[i], expected, rtol=1e-4, atol=1e-6)


def test_a_wide_kernel_is_mixup_and_a_narrow_one_pairs_equals():
    data = numbers()
    wide = made(data, sigma=1e6, unit="target")
    torch.testing.assert_close(
        wide.log_weight(data.batch(torch.arange(9)), data).softmax(1), torch.full((9, 120), 1 / 120)
    )
    narrow = made(data, sigma=1e-6, unit="target")
    partners = narrow.draw(data.batch(torch.arange(120)), 0)
    assert torch.equal(partners.label, data.label)
    assert not torch.equal(partners.index, data.index), "an equal target is as good as one's own"


def test_partners_are_drawn_by_the_law():
    data = numbers(12)
    method = made(data, sigma=0.5)
    anchors = data.batch(torch.zeros(6000, dtype=torch.long))
    drawn = torch.bincount(method.draw(anchors, 0).index, minlength=12) / 6000
    law = method.log_weight(anchors[:1], data).softmax(1)[0]
    assert float((drawn - law).abs().sum() / 2) < 0.03


@pytest.mark.parametrize("pairs", ["kernel", "nearest"])
def test_oneself_can_be_left_out(pairs):
    data = numbers()
    batch = data.batch(torch.arange(120))
    method = made(data, own=False, sigma=0.01, pairs=pairs, k=1)
    partners = method.draw(batch, 0)
    assert partners.found.all()
    assert not (partners.index == data.index).any()
    alone = data.take(torch.tensor([5]))
    method = made(alone, own=False, pairs=pairs)
    lonely = method.on_pool(alone.batch(torch.zeros(1, dtype=torch.long)))
    assert not lonely.extra["partners"].found.any()
    assert torch.equal(lonely.extra["partners"].share, torch.ones(1))
    assert torch.equal(lonely.extra["effective"], torch.zeros(1))
    assert torch.isfinite(method.loss(lonely)[0])


def test_the_nearest_are_any_of_the_k_with_the_same_chance():
    data = Dataset.of(torch.randn(6, 2), torch.tensor([0.0, 1.0, 1.0, 3.0, 10.0, 11.0]))
    law = made(data, pairs="nearest", k=2).log_weight(data.batch(torch.arange(6)), data).softmax(1)
    third = 1 / 3  # as near as the second counts, too
    assert torch.allclose(law[0], torch.tensor([third, third, third, 0, 0, 0]))
    assert torch.allclose(law[4], torch.tensor([0, 0, 0, 0, 0.5, 0.5]))
    with pytest.raises(UserError, match=r"k is 0; a sample needs at least 1 neighbour"):
        near_weights(torch.zeros(2, 2), 0)


@pytest.mark.parametrize("distance", ["inputs", "features"])
def test_distances_of_inputs_and_features(distance):
    data = numbers()
    method = made(data, distance=distance, unit="target", sigma=1.0)
    batch = data.batch(torch.arange(20))
    method.train()
    at = data.x if distance == "inputs" else method.net.features(data.x).detach()
    expected = (-torch.cdist(at[:20].double(), at.double()).square() / 2).softmax(1).float()
    torch.testing.assert_close(method.log_weight(batch, data).softmax(1), expected, rtol=1e-4, atol=1e-6)


def test_looking_at_features_changes_no_statistics_of_batch_normalisation():
    data = Dataset.of(torch.randint(0, 255, (20, 3, 8, 8), dtype=torch.uint8), torch.rand(20))
    method: Any = build("c-mixup", data.info, net="conv:width=4", options={"distance": "features"})
    method.train()
    before = {name: value.clone() for name, value in method.net.state_dict().items()}
    method.on_epoch(context(data))
    method.on_pool(data.batch(torch.arange(10)))
    assert method.net.training
    assert all(torch.equal(value, before[name]) for name, value in method.net.state_dict().items())


# --- how wide ---------------------------------------------------------------------------------------------------------


def test_effective_number_is_the_exponential_of_the_entropy():
    law = torch.tensor([[0.5, 0.25, 0.25]])
    entropy = -(0.5 * math.log(0.5) + 0.5 * math.log(0.25))
    torch.testing.assert_close(mixing.effective_number(law.log()), torch.tensor([math.exp(entropy)]))
    torch.testing.assert_close(
        mixing.effective_number(law.log() + 100), torch.tensor([math.exp(entropy)]), rtol=1e-4, atol=0
    )


@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
@pytest.mark.parametrize("own", [True, False])
def test_sigma_of_a_share_gives_that_share(share, own):
    data = numbers(300)
    method = made(data, sigma=share, unit="share", own=own)
    pool = method.on_pool(data.batch(torch.arange(300)))
    assert float(pool.extra["effective"].mean()) == pytest.approx(share, rel=1e-3)


def test_ties_set_a_least_share():
    data = Dataset.of(torch.randn(100, 2), torch.arange(100) % 4 * 1.0)
    pool = made(data, sigma=0.01, unit="share").on_pool(data.batch(torch.arange(100)))
    assert float(pool.extra["effective"].mean()) == pytest.approx(0.25, rel=1e-3)


def test_deviations_of_the_target_follow_its_unit():
    """In milli-units the law is the same."""
    data = numbers()
    milli = Dataset.of(data.x, 1000 * data.label)
    batch, milli_batch = data.batch(torch.arange(30)), milli.batch(torch.arange(30))
    law = made(data, sigma=0.25).log_weight(batch, data).softmax(1)
    torch.testing.assert_close(
        made(milli, sigma=0.25).log_weight(milli_batch, milli).softmax(1), law, rtol=1e-3, atol=1e-6
    )
    assert float(made(data, sigma=0.25).width) == pytest.approx(0.25 * float(data.label.std(correction=0)), rel=1e-4)


@pytest.mark.parametrize("unit", ["sd", "share", "target"])
@pytest.mark.parametrize("source", ["data", "pool"])
def test_equal_targets_are_equally_likely_partners(unit, source):
    data = Dataset.of(torch.randn(30, 3), torch.full((30,), 4.0))
    pool = made(data, unit=unit, source=source).on_pool(data.batch(torch.arange(10)))
    torch.testing.assert_close(pool.extra["effective"], torch.ones(10))
    assert len(pool.extra["partners"].index.unique()) > 3


def test_a_width_of_zero_or_a_share_above_one_is_refused():
    info = numbers().info
    for sigma in (0, -1.0):
        with pytest.raises(UserError, match=r"sigma=.* is not allowed; give a number above 0"):
            build("c-mixup", info, options={"sigma": sigma})
    with pytest.raises(UserError, match=r"sigma=2 is no share of the candidates; with unit=share give one up to 1"):
        build("c-mixup", info, options={"sigma": 2.0, "unit": "share"})


def test_distances_of_token_ids_are_refused_and_those_of_targets_are_not():
    tokens = Dataset.of(
        torch.randint(1, 9, (40, 5), generator=generator(0)), torch.rand(40), kind="tokens", name="reviews"
    )
    with pytest.raises(UserError, match=r"distance=inputs needs numbers, but reviews holds token ids; use distance="):
        build("c-mixup", tokens.info, net="tokens", options={"distance": "inputs"})
    for options in ({}, {"level": "hidden"}):
        method = build("c-mixup", tokens.info, net="tokens:width=4", options=options)
        history = fit(method, Splits(tokens, None, tokens), Training(epochs=1, batch=16)).history
        assert math.isfinite(history[0]["loss"])


# --- in training ------------------------------------------------------------------------------------------------------


def test_the_loss_is_that_of_a_loop_up_to_what_the_net_cannot_change():
    """``share l(f, a) + (1 - share) l(f, b) = l(f, mixed) + share (1 - share) (a - b)²``, Facts on squared errors."""
    data = numbers()
    method = made(data, scope="sample", sigma=1.0)
    pool = method.on_pool(data.batch(torch.arange(16)))
    partners = pool.extra["partners"]
    expected = []
    for i in range(16):
        share = float(partners.share[i])
        x = share * data.x[i].double() + (1 - share) * partners.x[i].double()
        y = share * data.label[i].double() + (1 - share) * partners.label[i].double()
        error = float(method(x[None].float()).detach()) - float(y)
        gap = float(data.label[i] - partners.label[i])
        expected.append(error**2 + share * (1 - share) * gap**2)
    assert float(method.loss(pool)[0].detach()) == pytest.approx(sum(expected) / 16, rel=1e-5)


@pytest.mark.parametrize("width", [1, 4])
def test_both_forms_of_the_squared_error_have_one_gradient(width):
    g = generator(3)
    a, b = torch.randn(2, 8, width, generator=g, dtype=torch.float64)
    share = torch.rand(8, generator=g, dtype=torch.float64)
    output = torch.randn(8, width, generator=g, dtype=torch.float64, requires_grad=True)
    target = mixing.proportional(a, b, share)
    two_terms = mixing.target_loss(squared_error, output, target)
    one_term = squared_error(output, target.soft(width))
    rest = share * (1 - share) * (a - b).square().mean(1)
    torch.testing.assert_close(two_terms, one_term + rest)
    gradients = [torch.autograd.grad(loss.sum(), output)[0] for loss in (two_terms, one_term)]
    torch.testing.assert_close(*gradients)


def test_one_share_for_each_minibatch_of_a_pool_as_released():
    data = numbers()
    method = made(data)
    pool = method.on_pool(data.batch(torch.arange(32)))
    shares = [method.mixture(pool[start : start + 16])[0].target.share for start in (0, 16)]
    assert all(len(share.unique()) == 1 for share in shares)
    assert shares[0][0] != shares[1][0]
    method = made(data, scope="sample")
    pool = method.on_pool(data.batch(torch.arange(32)))
    assert len(method.mixture(pool[:16])[0].target.share.unique()) == 16


def test_partners_come_from_the_whole_training_set_or_from_the_pool():
    data = numbers()
    pool = data.batch(torch.arange(20))
    assert int(made(data, sigma=1e3).draw(pool, 0).index.max()) >= 20
    assert int(made(data, sigma=1e3, source="pool").draw(pool, 0).index.max()) < 20


def test_a_hidden_level_is_behind_the_first_layer():
    data = numbers()
    method = made(data, level="hidden")
    pool = method.on_pool(data.batch(torch.arange(16)))
    mixed, _, level = method.mixture(pool)
    first = method.net.stages[1]
    share = mixed.target.share[:, None]
    assert level == 2
    others = pool.extra["partners"].x
    torch.testing.assert_close(mixed.x, share * first(pool.x) + (1 - share) * first(others))


def test_the_width_is_found_once_and_survives():
    data = numbers()
    method = made(data, unit="share", sigma=0.1)
    assert "width" in method.state_dict()
    width = method.width.clone()
    method.on_epoch(context(data.take(torch.arange(20)), epoch=1))
    assert torch.equal(method.width, width)


def test_the_log_says_of_how_many_partners_the_law_chooses():
    data = numbers()
    history = fit(made(data, sigma=0.2, unit="share"), Splits(data, None, data), Training(epochs=2, batch=32)).history
    assert all(row["effective_partners"] == pytest.approx(0.2, rel=0.05) for row in history)


def test_the_order_of_samples_is_drawn_once_where_it_is_not_to_change():
    data, seen = numbers(40), {True: [], False: []}
    for reshuffle, orders in seen.items():
        method: Any = build("erm", data.info, net="linear")
        loss = method.loss

        def noting(batch: Any, loss: Any = loss, orders: list[Any] = orders) -> Any:
            orders.append(batch.index.tolist())
            return loss(batch)

        method.loss = noting
        fit(method, Splits(data, None, data), Training(epochs=2, batch=40, reshuffle=reshuffle))
    assert seen[False][0] == seen[False][1] == seen[True][0]
    assert seen[True][0] != seen[True][1]


# --- the published settings -------------------------------------------------------------------------------------------


def total_variation(method: Any, data: Dataset) -> float:
    law = method.log_weight(data.batch(torch.arange(len(data))), data).softmax(1)
    return float((law - 1 / len(data)).abs().sum(1).mean() / 2)


@pytest.mark.data
@pytest.mark.parametrize(("name", "share"), [("airfoil", 0.28), ("skillcraft", 0.07), ("crime", 1.0)])
def test_how_selective_the_published_kernels_are(real_data, name, share):
    data = load(f"{name}:protocol=legacy").train
    options = METHODS["c-mixup"].recipes[name].options
    method: Any = build("c-mixup", data.info, net="mlp:hidden=8,activation=leaky", options=options)
    method.on_epoch(context(data))
    effective = method.on_pool(data.batch(torch.arange(len(data)))).extra["effective"]
    assert float(effective.mean()) == pytest.approx(share, abs=0.02)
    distances = {"airfoil": 0.69, "skillcraft": 0.90, "crime": 0.002}  # from the uniform law
    assert total_variation(method, data) == pytest.approx(distances[name], abs=0.02 if name != "crime" else 1e-3)


@pytest.mark.parametrize("method", ["erm", "mixup", "c-mixup"])
def test_every_data_set_of_the_benchmark_has_its_recipe(method):
    recipes = METHODS[method].recipes
    assert {"airfoil", "no2", "exchange-rate", "crime", "skillcraft", "rcf-mnist"} <= {*recipes}
    assert not recipes["airfoil"].training["standardize"]


def test_a_regression_is_learned():
    data = numbers(200)
    target = data.x @ torch.tensor([1.0, -2.0, 0.5])
    data = Dataset.of(data.x, target)
    fitted = fit(made(data), Splits(data, None, data), Training(epochs=40, batch=32, lr=1e-2))
    assert fitted.history[-1]["test"]["average"] < 0.3 * float(target.var())
    batch = Batch(data.x[:4], data.label[:4])
    assert fitted.method(batch.x).shape == (4, 1)
