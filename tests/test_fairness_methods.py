from __future__ import annotations

import copy
import dataclasses
import math
from itertools import permutations
from typing import Any

import pytest
import torch
from blobs import small_data  # noqa: F401, a fixture
from helpers import context
from torch import Tensor
from typer.testing import CliRunner

from longcut.cli import app
from longcut.data import Batch, Dataset, Splits, generator
from longcut.errors import UserError
from longcut.fit import Training, fit
from longcut.methods import build
from longcut.methods.fairness.laftr import missed
from longcut.postprocess import Rates, rates
from longcut.predict import predict


def unfair(n: int = 600, seed: int = 0, groups: int = 2) -> Dataset:
    """The label is half seen in one column, and the attribute, which often agrees with it, wholly in another."""
    g = generator(seed)
    label = torch.arange(n) % 2
    agrees = torch.rand(n, generator=g) < 0.8
    attribute = torch.where(agrees, label, torch.randint(groups, (n,), generator=g))
    x = torch.randn(n, 4, generator=g)
    x[:, 0] += 1.5 * label
    x[:, 1] = 3 * attribute + 0.3 * x[:, 1]
    return Dataset.of(x, label, attribute, name="unfair", n_attributes=groups, aligned=(0, 1))


def splits(**how: Any) -> Splits:
    return Splits(*(unfair(seed=seed, **how) for seed in range(3)))


def trained(method: str, epochs: int = 15, lr: float = 0.01, **options: Any) -> Any:
    data = splits()
    training = Training(epochs=epochs, batch=64, lr=lr)
    return fit(build(method, data.info, net="mlp:hidden=16-8", options=options), data, training).method


def judged(method: Any) -> Rates:
    test = splits().test
    return rates(predict(method, test).argmax(1), test)


def made(method: str, data: Dataset, **options: Any) -> Any:
    """In float64, and prepared."""
    built: Any = build(method, data.info, net="mlp:hidden=6-4,activation=leaky", options=options).double()
    built.context = context(data)
    built.prepare(data, None)
    return built


def batch(data: Dataset, n: int = 40) -> Batch:
    part = data.batch(torch.arange(n))
    return dataclasses.replace(part, x=part.x.double())


def probabilities(logits: Tensor) -> list[list[float]]:
    return [[math.exp(v) / sum(map(math.exp, row)) for v in row] for row in logits.tolist()]


# --- laftr ------------------------------------------------------------------------------------------------------------


def test_missed_is_the_distance_from_the_truth_of_two_values():
    logits = torch.randn(50, 2, generator=generator(1), dtype=torch.float64)
    truth = torch.arange(50) % 2
    chance = torch.sigmoid(logits[:, 1] - logits[:, 0])
    torch.testing.assert_close(missed(logits, truth), (chance - truth).abs())


@pytest.mark.parametrize("groups", [2, 3])
@pytest.mark.parametrize("constraint", ["equalized-odds", "equal-opportunity", "demographic-parity"])
@pytest.mark.parametrize("class_loss", ["ce", "l1"])
def test_laftr_loss_is_that_of_a_loop(groups, constraint, class_loss):
    data = unfair(90, groups=groups)
    assert data.attribute is not None
    method = made("laftr", data, fair=0.7, constraint=constraint, class_loss=class_loss, adversary=5)
    part = batch(data)
    loss, logs = method.loss(part)
    loss = loss.detach()
    labels, attributes = data.label.tolist(), data.attribute.tolist()
    z = method.net.features(part.x).detach()
    y_hat = probabilities(method.net.head(z))
    total = hidden = 0.0
    for i in range(40):
        y, a = labels[i], attributes[i]
        seen = z[i].tolist()
        if constraint == "demographic-parity":
            cell = sum(other == a for other in attributes)
        else:
            seen = [*seen, float(y == 0), float(y == 1)]
            cell = sum(pair == (y, a) for pair in zip(labels, attributes, strict=True))
        a_hat = probabilities(method.adversary(torch.tensor([seen], dtype=torch.float64)))[0]
        weight = 0.0 if constraint == "equal-opportunity" and y == 0 else 90 / cell
        total += (-math.log(y_hat[i][y]) if class_loss == "ce" else 1 - y_hat[i][y]) / 40
        hidden += weight * (1 - a_hat[a]) / 40
    assert float(loss) == pytest.approx(total - 0.7 * hidden, rel=1e-5)  # weights are float32
    assert float(logs["adversary_misses"]) == pytest.approx(hidden, rel=1e-5)


def test_laftr_adversary_that_knows_nothing_misses_half_of_each_cell():
    data = unfair()
    method = made("laftr", data)
    with torch.no_grad():
        for parameter in method.adversary[2].parameters():
            parameter.zero_()
    assert float(method.loss(batch(data, 600))[1]["adversary_misses"]) == pytest.approx(4 / 2, rel=1e-5)


def test_laftr_a_cell_that_is_not_there_has_no_weight():
    data = unfair()
    assert data.attribute is not None
    data = data.take((data.label == 0) | (data.attribute == 1))
    weight = made("laftr", data).weight
    assert weight[2] == 0 and (weight[[0, 1, 3]] > 0).all()


def test_laftr_takes_turns_the_net_first_and_the_adversary_on_what_it_became():
    data = unfair()
    method = made("laftr", data, adversary_steps=2)
    twin = copy.deepcopy(method)
    part, rate = batch(data), 0.1
    net, adversary = (torch.optim.SGD(own.parameters(), rate) for own in (method.net, method.adversary))
    method.step(part, [net, adversary], torch.Tensor.backward)

    def descend(module: torch.nn.Module, loss: Tensor) -> None:
        own = list(module.parameters())
        for parameter, gradient in zip(own, torch.autograd.grad(loss, own), strict=True):
            parameter.data -= rate * gradient

    descend(twin.net, twin.loss(part)[0])
    for _ in range(2):
        descend(twin.adversary, twin.unmasked(part, twin.net.features(part.x).detach()))
    for name, value in method.state_dict().items():
        torch.testing.assert_close(value, twin.state_dict()[name], msg=name)


def test_laftr_refit_changes_the_last_layer_alone():
    one, other = trained("laftr", epochs=3), trained("laftr", epochs=3, refit=False)
    for name, value in one.net.state_dict().items():
        assert torch.equal(value, other.net.state_dict()[name]) != name.startswith("head"), name


def test_laftr_refit_is_ordinary_training_on_the_features_as_they_are():
    data = unfair(50)
    method: Any = build("laftr", data.info, net="mlp:hidden=6-4")
    z, before = predict(method.net.features, data), copy.deepcopy(method.net.state_dict())
    seen: list[Any] = []

    def stub(helper: Any, train: Dataset, **training: Any) -> Any:
        seen.append((helper, train, training))
        return helper

    method.finish(data, None, stub)
    ((helper, train, training),) = seen
    assert helper.name == "erm" and training == {"augment": "none"}
    assert torch.equal(train.gather(torch.arange(50)), z) and torch.equal(train.label, data.label)
    assert torch.equal(helper(z), method(data.gather(torch.arange(50))))
    for name, value in method.net.state_dict().items():
        assert torch.equal(value, before[name]) != name.startswith("head"), name


def test_laftr_hides_the_attribute_from_its_adversary():
    before, after = judged(trained("erm")), judged(trained("laftr", 60, 0.001))
    assert before.equalized_odds_sum > 0.5
    assert after.equalized_odds_sum < 0.5 * before.equalized_odds_sum
    assert after.accuracy > 0.7


def test_laftr_equal_opportunity_is_of_two_classes():
    three = Dataset.of(torch.rand(30, 4), torch.arange(30) % 3, torch.arange(30) % 2, name="three")
    with pytest.raises(UserError, match=r"equal opportunity is of two classes.*three has 3; use constraint=equalized"):
        build("laftr", three.info, options={"constraint": "equal-opportunity"})
    build("laftr", three.info)


# --- hsic -------------------------------------------------------------------------------------------------------------


def hsic_loop(z: Tensor, attribute: list[int]) -> float:
    """The mean over all four different samples, with the median distance as width."""
    rows = z.tolist()
    distances = sorted(math.dist(a, b) for i, a in enumerate(rows) for b in rows[:i])
    sigma = distances[(len(distances) - 1) // 2]  # the lower median, as torch has it
    x = [[math.exp(-(math.dist(a, b) ** 2) / (2 * sigma**2)) for b in rows] for a in rows]
    y = [[float(a == b) for b in attribute] for a in attribute]
    values = [x[i][j] * (y[i][j] + y[q][r] - 2 * y[i][q]) for i, j, q, r in permutations(range(len(rows)), 4)]
    return math.fsum(values) / len(values)


@pytest.mark.parametrize("on", ["outputs", "features"])
@pytest.mark.parametrize("given", ["label", "nothing"])
@pytest.mark.parametrize("groups", [2, 3])
def test_hsic_loss_is_that_of_a_loop(on, given, groups):
    data = unfair(groups=groups)
    assert data.attribute is not None
    method = made("hsic", data, weight=3.0, on=on, given=given)
    part = batch(data, 14)
    loss, logs = method.loss(part)
    loss = loss.detach()
    features = method.net.features(part.x).detach()
    rows = probabilities(method.net.head(features))
    entropy = -sum(math.log(row[y]) for row, y in zip(rows, part.label.tolist(), strict=True)) / 14
    z = features if on == "features" else torch.tensor(rows, dtype=torch.float64)
    parts = [part.label == c for c in (0, 1)] if given == "label" else [torch.ones(14, dtype=torch.bool)]
    shared = sum(hsic_loop(z[own], data.attribute[:14][own].tolist()) for own in parts) / len(parts)
    assert float(logs["hsic"]) == pytest.approx(shared, rel=1e-6)
    assert float(loss) == pytest.approx(entropy + 3 * shared, rel=1e-6)


def test_hsic_a_class_with_too_few_samples_or_one_attribute_adds_nothing():
    data = unfair()
    method = made("hsic", data)
    z = torch.randn(9, 2, dtype=torch.float64, generator=generator(1), requires_grad=True)
    label, attribute = torch.tensor([0] * 6 + [1] * 3), torch.tensor([0, 1, 0, 1, 1, 0, 1, 0, 1])
    both = method.dependence(z, label, attribute)
    assert float(both.detach()) == pytest.approx(hsic_loop(z[:6].detach(), attribute[:6].tolist()) / 2)
    alone = method.dependence(z[:6], label[:6], attribute[:6])
    torch.testing.assert_close(alone, both)
    assert float(method.dependence(z.detach(), label, torch.zeros(9).long())) == pytest.approx(0, abs=1e-12)
    same = method.dependence(0 * z, label, attribute)
    assert float(same.detach()) == pytest.approx(0, abs=1e-12)  # duplicates only
    same.backward()
    assert z.grad is not None and torch.isfinite(z.grad).all()
    one = method.dependence(z[:1], label[:1], attribute[:1])
    assert float(one.detach()) == 0


def test_hsic_makes_odds_more_equal():
    before = judged(trained("erm"))
    within, marginal = judged(trained("hsic", weight=100.0)), judged(trained("hsic", weight=100.0, given="nothing"))
    assert within.equalized_odds_sum < 0.5 * before.equalized_odds_sum
    assert within.accuracy > 0.7
    assert marginal.demographic_parity < 0.5 * before.demographic_parity


# --- on a table, by the command line ----------------------------------------------------------------------------------


@pytest.mark.usefixtures("small_data")
@pytest.mark.parametrize("method", ["lff", "reweight:by=group", "laftr", "hsic"])
def test_methods_train_and_are_post_processed_on_a_table_with_an_attribute(method, tmp_path):
    run = tmp_path / "run"
    for call in (
        ["train", "blobs", "-m", method, "--out", str(run), "--device", "cpu"],
        ["postprocess", str(run), "--rule", "hardt", "--device", "cpu"],
    ):
        told = CliRunner().invoke(app, call)
        assert told.exit_code == 0, told.output


@pytest.mark.usefixtures("small_data")
@pytest.mark.parametrize("method", ["laftr", "hsic"])
def test_methods_that_need_the_attribute_say_so(method, tmp_path):
    told = CliRunner().invoke(app, ["train", "bare", "-m", method, "--out", str(tmp_path / "run")])
    assert told.exit_code == 2
    assert f"{method} needs the attribute of each training sample, but bare has none" in told.stderr
