"""AFR: its weights and its descent by hand, and who is set aside."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from helpers import context
from safetensors.torch import save_file

from longcut.data import Dataset, Splits, generator
from longcut.errors import UserError
from longcut.fit import Training, fit
from longcut.identify import NAME
from longcut.losses import cross_entropy
from longcut.methods import build
from longcut.methods.last_layer import afr as module
from longcut.methods.last_layer.afr import afr_weights, safe_sharpness

TRAINING = Training(epochs=3, batch=32, pool=1, lr=1e-2)


def toy(n: int = 400, conflicting: float = 0.1, seed: int = 0) -> Dataset:
    """Coordinate 0 tells the label through noise, coordinate 1 the attribute clearly."""
    label = (torch.rand(n, generator=generator(seed, 0)) < 0.3).long()
    other = torch.rand(n, generator=generator(seed, 1)) < conflicting
    attribute = torch.where(other, 1 - label, label)
    x = (
        2.0 * torch.stack([label, attribute], 1)
        - 1
        + torch.randn(n, 2, generator=generator(seed, 2)) * torch.tensor([0.9, 0.3])
    )
    return Dataset.of(x, label, attribute, name="toy", aligned=(0, 1))


def trained(data: Dataset, **options: Any) -> Any:
    method = build("afr", data.info, net="mlp:hidden=6", options=options)
    return fit(method, Splits(data, None, data), TRAINING).method


@pytest.mark.parametrize("balanced", [False, True])
def test_the_weights_are_those_of_a_loop(balanced):
    logits, label = torch.randn(9, 3, generator=generator(1)), torch.tensor([0, 0, 0, 0, 0, 1, 1, 2, 0])
    weights = []
    for row, own in zip(logits.tolist(), label.tolist(), strict=True):
        p = math.exp(row[own]) / sum(math.exp(z) for z in row)
        weights.append(math.exp(-2.5 * p) / (label.tolist().count(own) if balanced else 1))
    expected = torch.tensor(weights) / sum(weights)
    torch.testing.assert_close(afr_weights(cross_entropy(logits, label), label, 2.5, balanced), expected)


def test_at_gamma_zero_all_weigh_the_same_or_all_classes_do():
    losses, label = torch.rand(8, generator=generator(1)), torch.tensor([0] * 6 + [1] * 2)
    torch.testing.assert_close(afr_weights(losses, label, 0.0), torch.full((8,), 1 / 8))
    weight = afr_weights(losses, label, 0.0, balanced=True)
    assert weight[:6].sum() == pytest.approx(0.5)
    assert weight[6:].sum() == pytest.approx(0.5)


@pytest.mark.parametrize("balanced", [False, True])
@pytest.mark.parametrize("gamma", [50.0, 1e6])
def test_no_gamma_is_too_large_for_the_weights(gamma, balanced):
    """exp(-1e6 p) is 0 for all of them, in double precision too; its logarithm is not."""
    losses, label = 3 * torch.rand(40, generator=generator(1)), torch.tensor([0] * 30 + [1] * 10)
    log_weight = -gamma * np.exp(-losses.double().numpy())
    if balanced:
        log_weight -= np.log(np.where(label == 0, 30.0, 10.0))
    expected = np.exp(log_weight - log_weight.max())
    expected /= expected.sum()
    np.testing.assert_allclose(afr_weights(losses.double(), label, gamma, balanced), expected, rtol=1e-6)
    single = afr_weights(losses, label, gamma, balanced)
    assert torch.isfinite(single).all()
    assert float(single.sum()) == pytest.approx(1)
    assert int(single.argmax()) == int(expected.argmax())
    np.testing.assert_allclose(single, expected, rtol=1e-4, atol=1e-6 * gamma / 50)


# --- how sharp it is by default ---------------------------------------------------------------------------------------


MOST = 1 / 3


def sure_of(counts: dict[tuple[int, int], int], margin: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and labels of so many samples for each ``(prediction, label)``, all with this difference of the logits."""
    guess, label = (torch.tensor([pair[k] for pair, n in counts.items() for _ in range(n)]) for k in (0, 1))
    return margin * torch.nn.functional.one_hot(guess, 2).float(), label


@pytest.mark.parametrize(
    ("counts", "balanced", "ratio"),
    [
        ({(0, 0): 30, (0, 1): 3, (1, 1): 20}, False, 30 / 3),
        ({(0, 0): 30, (0, 1): 3, (1, 1): 20, (1, 0): 5}, False, 20 / 5),  # the class with more errors decides
        ({(0, 0): 30, (0, 1): 3, (1, 1): 20}, True, (30 / 30) / (3 / 23)),
    ],
)
def test_the_default_bounds_the_weight_of_the_errors_of_a_prediction(counts, balanced, ratio):
    """Right and wrong weigh ``1 - MOST`` to ``MOST`` at ``log(right / wrong * MOST / (1 - MOST)) / (p - (1 - p))``."""
    logits, label = sure_of(counts, 2.0)
    p = 1 / (1 + math.exp(-2.0))
    found = safe_sharpness(logits, cross_entropy(logits, label), label, balanced=balanced)
    assert found == pytest.approx(math.log(ratio * MOST / (1 - MOST)) / (2 * p - 1), rel=1e-4)
    weight = afr_weights(cross_entropy(logits, label), label, found, balanced)
    guess, shares = logits.argmax(1), []
    for c in (0, 1):
        shares.append(float(weight[(guess == c) & (label != c)].sum() / weight[guess == c].sum()))
    assert max(shares) == pytest.approx(MOST, abs=1e-4)


def test_the_default_is_bounded_from_both_sides():
    without_errors = sure_of({(0, 0): 30, (1, 1): 20}, 2.0)
    few = sure_of({(0, 0): 10**6, (0, 1): 1, (1, 1): 9}, 2.0)
    mostly_wrong = sure_of({(0, 0): 3, (0, 1): 4, (1, 1): 9}, 2.0)
    for (logits, label), most, expected in (
        (without_errors, 10.0, 10.0),
        (few, 10.0, 10.0),  # log(1e6) / 0.76 is 18
        (few, 4.0, 4.0),
        (mostly_wrong, 10.0, 0.0),
    ):
        assert safe_sharpness(logits, cross_entropy(logits, label), label, most) == expected


def separable(n: int, wrong: int, seed: int) -> Dataset:
    """Features that tell the label without error, and so many labels that are wrong."""
    truth = torch.arange(n) % 2
    x = 2.0 * truth[:, None] - 1 + 0.1 * torch.randn(n, 2, generator=generator(seed))
    label = truth.clone()
    label[torch.randperm(n, generator=generator(seed, 1))[:wrong]] ^= 1
    return Dataset.of(x, label, truth, name="separable", aligned=(0, 1))


@pytest.fixture(scope="module")
def with_wrong_labels() -> dict[float | None, float]:
    """Accuracy by sharpness. A thousand samples are set aside, of which the net is sure but for some wrong labels."""
    data, test = separable(5000, 25, seed=0), separable(1000, 0, seed=1)
    training = Training(epochs=8, batch=50, pool=1, lr=0.05)
    accuracy = {}
    for sharpness in (None, 10.0):
        method: Any = build("afr", data.info, net="linear", options={"sharpness": sharpness, "steps": 3000})
        method = fit(method, Splits(data, None, test), training).method
        aside = data.take(method.aside)
        assert len(aside) == 1000 and 2 <= int((aside.label != aside.attribute).sum()) <= 9
        accuracy[sharpness] = float((method(test.x).argmax(1) == test.label).float().mean())
    return accuracy


def test_a_few_wrong_labels_turn_the_predictions_round_unless_the_default_is_taken(with_wrong_labels):
    assert with_wrong_labels[10.0] < 0.5 < with_wrong_labels[None]


def test_with_the_default_a_few_wrong_labels_cost_little(with_wrong_labels):
    assert with_wrong_labels[None] > 0.95


def test_the_default_is_what_safe_sharpness_says(monkeypatch):
    data, seen = toy(), []
    monkeypatch.setattr(module, "safe_sharpness", lambda *given, **how: seen.append(how) or 1.5)
    one, other = trained(data, balanced=True), trained(data, balanced=True, sharpness=1.5)
    assert seen == [{"balanced": True}], "and a given one asks nobody"
    assert torch.equal(one.net.head.weight, other.net.head.weight)


def test_the_confidence_of_another_run_weighs(tmp_path, monkeypatch):
    data, seen = toy(80), []
    loss = torch.rand(1, 80, generator=generator(4)).half()
    kept = {"index": data.index, "label": data.label, "loss": loss, "correct": loss, "margin": loss}
    save_file({name: column.clone() for name, column in kept.items()}, tmp_path / NAME)
    real = module.afr_weights
    monkeypatch.setattr(module, "afr_weights", lambda *given: seen.append(given) or real(*given))
    method = trained(data, identify=str(tmp_path), sharpness=3.0, steps=1)
    losses, label = seen[0][:2]
    assert torch.equal(losses, loss[0, method.aside].float())
    assert torch.equal(label, data.label[method.aside])


@pytest.mark.parametrize(("pull", "clip"), [(0.0, 0.0), (0.3, 0.0), (0.3, 0.05)])
def test_the_second_stage_is_gradient_descent_by_hand(pull, clip):
    data = toy(80)
    method: Any = build(
        "afr",
        data.info,
        net="mlp:hidden=5",
        options={"pull": pull, "head_clip": clip, "sharpness": 3.0, "steps": 4, "head_lr": 0.2},
    )
    method.context = context(data)
    method.prepare(data, None)
    rows = method.aside[data.index]
    x = method.net.features(data.x[rows]).detach().double().numpy()
    label = np.eye(2)[data.label[rows].numpy()]
    weight = method.net.head.weight.detach().double().numpy()
    bias = method.net.head.bias.detach().double().numpy()

    def probability(w, b):
        e = np.exp(x @ w.T + b)
        return e / e.sum(1, keepdims=True)

    mu = np.exp(-3 * (probability(weight, bias) * label).sum(1))
    mu /= mu.sum()
    w, b = weight.copy(), bias.copy()
    for _ in range(4):
        error = mu[:, None] * (probability(w, b) - label)
        dw, db = error.T @ x + 2 * pull * (w - weight), error.sum(0) + 2 * pull * (b - bias)
        norm = math.sqrt((dw**2).sum() + (db**2).sum())
        shrink = min(1, clip / norm) if clip else 1
        w, b = w - 0.2 * shrink * dw, b - 0.2 * shrink * db
    method.finish(data, None, None)
    np.testing.assert_allclose(method.net.head.weight.detach(), w, atol=1e-5)
    np.testing.assert_allclose(method.net.head.bias.detach(), b, atol=1e-5)


def test_a_strong_pull_keeps_the_layer():
    """Where the pull balances the gradient, the distance is at most the gradient's norm over twice the pull."""
    data = toy()
    free, held = (trained(data, pull=pull, head_lr=0.004, steps=300) for pull in (0.0, 100.0))
    before = trained(data, head_lr=1e-9, steps=1).net.head.weight
    moved = [float((method.net.head.weight - before).detach().norm()) for method in (free, held)]
    assert moved[1] < 0.02 < moved[0]


def test_only_the_last_layer_moves_in_the_second_stage():
    data = toy()
    one, other = trained(data, steps=1, head_lr=1e-9), trained(data)
    assert torch.equal(one.net.features(data.x), other.net.features(data.x))
    assert not torch.equal(one.net.head.weight, other.net.head.weight)


def test_a_share_of_each_class_is_set_aside_and_not_trained_on():
    data = toy()
    method: Any = build("afr", data.info, options={"held": 0.25})
    method.context = context(data)
    assert method.prepare(data, None) is data
    counts = torch.bincount(data.label)
    torch.testing.assert_close(torch.bincount(data.label[method.aside]), (counts * 0.25).round().long())
    walked = method.epoch_data(data)
    assert torch.equal(walked.index.sort().values, (~method.aside).nonzero().flatten())


def test_what_is_walked_is_what_the_epochs_see():
    data, seen = toy(), []
    method: Any = build("afr", data.info, net="mlp:hidden=4")
    own = method.loss
    method.loss = lambda batch: seen.append(batch.index) or own(batch)
    fit(method, Splits(data, None, data), TRAINING)
    assert not method.aside[torch.cat(seen)].any()
    assert len(torch.cat(seen).unique()) == int((~method.aside).sum())


def test_a_sample_that_stands_twice_is_on_one_side():
    data = toy(40)
    twice = data.take(torch.cat([torch.arange(40), torch.arange(40)]))
    method: Any = build("afr", data.info)
    method.context = context(twice)
    method.prepare(twice, None)
    assert 6 <= int(method.aside.sum()) <= 10  # a fifth of forty, not of eighty
    assert len(method.epoch_data(twice)) == 2 * int((~method.aside).sum())


def test_minority_samples_gain_weight_and_accuracy():
    data, test = toy(2000, 0.05), toy(2000, 0.5, seed=1)
    erm = trained(data, steps=1, head_lr=1e-9)
    aside = data.take(erm.aside)
    logits = erm(aside.gather(torch.arange(len(aside))))
    weight = afr_weights(cross_entropy(logits, aside.label), aside.label, 4.0)
    assert weight[aside.conflicting].sum() > 3 * aside.conflicting.float().mean()
    afr = trained(data, sharpness=4.0, head_lr=0.05)

    def conflicting(method: Any) -> float:
        right = method(test.x).argmax(1) == test.label
        return float(right[test.conflicting].float().mean())

    assert conflicting(afr) > conflicting(erm) + 0.1


def test_without_a_shortcut_there_is_nothing_to_gain():
    data, test = toy(2000, 0.5), toy(2000, 0.5, seed=1)
    erm, afr = trained(data, steps=1, head_lr=1e-9), trained(data, sharpness=1.0)
    accuracy = [float((method(test.x).argmax(1) == test.label).float().mean()) for method in (erm, afr)]
    assert abs(accuracy[0] - accuracy[1]) < 0.03


def test_a_class_of_one_sample_cannot_be_set_aside():
    data = toy(40)
    few = data.take(
        torch.cat([(data.label == 0).nonzero().flatten(), (data.label == 1).nonzero().flatten()[:1].repeat(2)])
    )
    with pytest.raises(UserError, match=r"class 1 has one sample, so it cannot be in both parts"):
        trained(few)
