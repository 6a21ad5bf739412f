"""DFA against a loop over samples, and what its gradients must not reach."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from helpers import context
from torch import Tensor, nn

from longcut.data import Batch, Dataset, Info, generator
from longcut.fit import Training
from longcut.loop import steps_per_epoch
from longcut.methods import build
from longcut.methods.biased.dfa import DFA
from longcut.nets import Net

OPTIONS = {"biased_weight": 3.0, "swap_weight": 0.5, "swap_biased_weight": 2.0, "q": 0.6, "decay": 0.8}


def data(n: int = 12, classes: int = 3) -> Dataset:
    x = torch.randn(n, 5, generator=generator(1))
    return Dataset.of(x, torch.arange(n) % classes)


def made(swapping: bool = True, **options: Any) -> DFA:
    model: Any = build("dfa", data().info, net="mlp:hidden=7-4", options={**OPTIONS, **options}, seed=3)
    model.double().context = context(data(), 5)
    model.difficulty.float()
    model.swapping = swapping
    return model


def batch_of(rows: list[int]) -> Batch:
    part = data().batch(torch.tensor(rows))
    return Batch(part.x.double(), part.label, index=part.index)


def numbers(z_l: Tensor, z_b: Tensor, head: nn.Linear, label: int) -> float:
    """Cross-entropy of one sample, the long way."""
    z = [*z_l.tolist(), *z_b.tolist()]
    logits = [
        sum(w * v for w, v in zip(row, z, strict=True)) + b
        for row, b in zip(head.weight.tolist(), head.bias.tolist(), strict=True)
    ]
    return math.log(sum(math.exp(value) for value in logits)) - logits[label]


def naive_gce(ce: float, q: float, scale: str) -> float:
    p = math.exp(-ce)
    return (1 - p**q) / q if scale == "paper" else q * p**q * ce


@pytest.mark.parametrize("scale", ["paper", "code"])
def test_the_loss_is_the_loop_over_samples_on_first_and_later_visits(scale):
    model = made(scale=scale)
    encoders: Any = model.net.stages[0]
    head: Any = model.net.head
    draw = generator(5)
    average: tuple[dict[int, float], dict[int, float]] = ({}, {})  # of the biased and of the intrinsic head
    for visit in ([0, 1, 2, 3, 4, 5, 6, 7], [3, 2, 8, 9, 10, 0, 5]):
        batch = batch_of(visit)
        loss, _ = model.loss(batch)
        z_l, z_b = encoders.intrinsic(batch.x), encoders.biased(batch.x)
        other = torch.randperm(len(visit), generator=draw).tolist()
        label = batch.label.tolist()
        ce, ce_biased = [], []
        for i, sample in enumerate(visit):
            ce_biased.append(numbers(z_l[i], z_b[i], model.biased_head, label[i]))
            ce.append(numbers(z_l[i], z_b[i], head, label[i]))
            for memory, now in zip(average, (ce_biased[i], ce[i]), strict=True):
                memory[sample] = 0.8 * memory[sample] + 0.2 * now if sample in memory else now
        dis = swap = dis_biased = swap_biased = 0.0
        for i, sample in enumerate(visit):
            peers = [known for known in average[0] if known % 3 == label[i]]  # labels go round
            b, d = (memory[sample] / max(memory[peer] for peer in peers) for memory in average)
            weight = b / (b + d)
            dis += weight * ce[i]
            dis_biased += naive_gce(ce_biased[i], 0.6, scale)
            swap += weight * numbers(z_l[i], z_b[other[i]], head, label[i])
            swapped = numbers(z_l[i], z_b[other[i]], model.biased_head, label[other[i]])
            swap_biased += naive_gce(swapped, 0.6, scale)
        expected = dis + 3.0 * dis_biased + 0.5 * (swap + 2.0 * swap_biased)
        assert float(loss.detach()) == pytest.approx(expected / len(visit), rel=1e-6)
        with torch.no_grad():  # what is learned between two visits, or an average of losses would be the loss itself
            head.weight.mul_(-2)
            model.biased_head.weight.mul_(3)


def gradients(model: DFA) -> dict[str, Tensor]:
    model.context = context(data(), 5)
    loss, _ = model.loss(batch_of(list(range(9))))
    named = dict(model.named_parameters())
    found = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
    return {name: torch.zeros(1) if g is None else g for (name, _), g in zip(named.items(), found, strict=True)}


def is_biased(name: str) -> bool:
    return name.startswith(("net.stages.0.biased", "biased_head"))


@pytest.mark.parametrize("swapping", [False, True])
def test_neither_head_teaches_the_other_encoder(swapping):
    both = gradients(made(swapping))
    intrinsic_alone = gradients(made(swapping, biased_weight=0.0, swap_biased_weight=0.0))
    assert {is_biased(name) for name in both} == {True, False}
    for name, gradient in both.items():
        assert gradient.abs().sum() > 0
        if is_biased(name):
            assert not intrinsic_alone[name].any(), f"the intrinsic head's loss reaches {name}"
        else:
            torch.testing.assert_close(gradient, intrinsic_alone[name], msg=f"the biased head's loss reaches {name}")


def test_what_is_learned_from_predictions_leaves_the_biased_encoder_alone():
    model = made()
    model(batch_of([0, 1, 2]).x).square().sum().backward()  # as when selecmix trains on mixtures on this base
    reached = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    assert reached == {name for name, _ in model.named_parameters() if not is_biased(name)}


@pytest.mark.parametrize(
    ("delay", "epochs", "first"), [(0.2, 50, 10), (0.2, 3, 1), (0.1, 4, 0), (0.0, 5, 0), (1.0, 5, 5), (0.5, 5, 2)]
)
def test_swapping_starts_after_the_delay(delay, epochs, first):
    model = made(delay=delay)
    swaps = []
    for epoch in range(epochs):
        model.on_epoch(context(data(), 5, epoch, epochs))
        before = model.generator.get_state()
        model.loss(batch_of([0, 1, 2, 3]))
        swaps.append(not torch.equal(before, model.generator.get_state()))
    assert swaps == [epoch >= first for epoch in range(epochs)]


def reader(biased_reads: str) -> DFA:
    """One-hot inputs are their own features; the intrinsic head reads z_l, the biased head what is said."""
    info = Info("one-hot", (3,), 3, n_stored=6)
    model = DFA(lambda: Net([nn.Identity()], nn.Linear(3, 3)), info, biased_weight=0.0, q=0.5)
    sure, blind = 100 * torch.eye(3), torch.zeros(3, 3)
    with torch.no_grad():
        for head in (model.net.head, model.biased_head):
            assert isinstance(head, nn.Linear)
            head.bias.zero_()
            reads_b = head is model.biased_head and biased_reads == "z_b"
            head.weight.copy_(torch.cat([blind, sure] if reads_b else [sure, blind], 1))
    model.context, model.swapping = context(data(), 7), True
    return model


def test_the_labels_of_the_biased_head_are_swapped_with_its_features():
    label = torch.tensor([0, 0, 1, 1, 2, 2])
    batch = Batch(torch.eye(3)[label], label, index=torch.arange(6))
    assert float(reader("z_b").loss(batch)[0].detach()) == pytest.approx(0, abs=1e-6)
    # a biased head that reads the features that stay says the label that stays: wrong wherever the swap changed it
    other = torch.randperm(6, generator=generator(7))
    wrong = int((label[other] != label).sum())
    assert wrong > 0
    assert float(reader("z_l").loss(batch)[0].detach()) == pytest.approx(wrong / 6 / 0.5)


def test_the_intrinsic_head_predicts_and_the_biased_one_is_there_for_the_report():
    model = made()
    x = batch_of([4, 5, 6]).x
    encoders: Any = model.net.stages[0]
    z = torch.cat([encoders.intrinsic(x), encoders.biased(x)], 1)
    torch.testing.assert_close(model.net.features(x), z)
    torch.testing.assert_close(model(x), model.net.head(z))
    torch.testing.assert_close(model.net(x), model(x))
    torch.testing.assert_close(model.biased_logits(x), model.biased_head(z))
    torch.testing.assert_close(model.embedding(x), encoders.biased(x))
    assert not model.biased_logits(x).requires_grad


def test_the_published_mlp_has_two_encoders_and_two_heads_and_nothing_else():
    info = Info("digits", (3, 28, 28), 10)
    model = build("dfa", info, net="mlp:hidden=100-100-16")
    encoder = (2352 + 1) * 100 + (100 + 1) * 100 + (100 + 1) * 16
    head = (16 + 16 + 1) * 10
    assert sum(parameter.numel() for parameter in model.parameters()) == 2 * encoder + 2 * head


def test_adam_does_not_see_a_factor_on_both_losses_of_the_biased_side():
    trained = []
    for factor in (1.0, 10.0):
        model = made(biased_weight=factor, swap_biased_weight=factor, swap_weight=1.0)
        optimizer = torch.optim.Adam(model.parameters(), 0.01, eps=1e-12)
        for _ in range(5):
            optimizer.zero_grad()
            model.loss(batch_of(list(range(9))))[0].backward()
            optimizer.step()
        trained.append(model.state_dict())
    for name, value in trained[0].items():
        torch.testing.assert_close(trained[1][name], value, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(
    ("recipe", "n"),
    [
        ("paper", 55_000),
        ("cifar-0.5", 45_060),
        ("cifar", 44_969),
        ("cifar", 45_032),
        ("cifar-5", 45_062),
        ("bffhq", 19_200),
    ],
)
def test_a_recipe_makes_the_published_50_000_updates(recipe, n):
    training = Training(**DFA.recipes[recipe].training)
    assert steps_per_epoch(n, training) == n // training.batch
    assert training.epochs * steps_per_epoch(n, training) == pytest.approx(50_000, abs=n / training.batch)


def test_learns_with_batch_normalisation():
    x = torch.rand(8, 3, 8, 8, generator=generator(2))
    part = Dataset.of(x, torch.arange(8) % 2)
    model: Any = build("dfa", part.info, net="conv:width=4")
    model.context, model.swapping = context(part, 5), True
    loss, _ = model.loss(part.batch(part.index))
    loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert model.eval()(x[:1]).shape == (1, 2)
    assert model.embedding(x).shape == (8, 16)
