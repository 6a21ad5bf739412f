"""EIIL: its gradient by autograd, its optimum in closed form, the shortcut it finds and the one that is not there."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from toys import blind
from toys import shortcut as toy

from longcut.data import Dataset, Splits, generator
from longcut.errors import UserError
from longcut.fit import Training, fit
from longcut.losses import cross_entropy
from longcut.methods import build
from longcut.methods.identified.pseudo import environments, slopes

TRAINING = Training(epochs=2, batch=50, pool=1, lr=1e-2)


def logits(n: int = 200, classes: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    z = 2 * torch.randn(n, classes, generator=generator(1))
    guess = torch.randint(classes, (n,), generator=generator(3))
    return z, torch.where(torch.rand(n, generator=generator(2)) < 0.7, z.argmax(1), guess)


def test_slopes_are_the_derivatives_by_the_scale():
    z, label = logits()
    expected = []
    for row, own in zip(z, label, strict=True):
        scale = torch.ones((), requires_grad=True)
        expected.append(torch.autograd.grad(cross_entropy(scale * row[None], own[None])[0], scale)[0])
    torch.testing.assert_close(slopes(z, label), torch.stack(expected))


@pytest.mark.parametrize("steps", [1, 7, 60])
def test_the_search_is_adam_on_the_penalty_by_autograd(steps):
    """The naive way: each environment's penalty from a scale that has a gradient, and w's gradient through that."""
    z, label = logits(60)
    w = torch.randn(60, generator=generator(5)).requires_grad_()
    adam = torch.optim.Adam([w], 0.1)
    for _ in range(steps):
        scale = torch.ones((), requires_grad=True)
        losses = cross_entropy(scale * z, label)
        penalties = []
        for share in (w.sigmoid(), 1 - w.sigmoid()):
            penalties.append(torch.autograd.grad((losses * share).mean(), scale, create_graph=True)[0] ** 2)
        adam.zero_grad()
        (-torch.stack(penalties).mean()).backward()
        adam.step()
    expected = w.sigmoid() > 0.5
    found = environments(z, label, generator(5), steps=steps, lr=0.1)
    assert torch.equal(found, expected) or torch.equal(found, ~expected)


def test_at_its_optimum_the_sign_of_the_slope_decides():
    """With a = mean(q s), D = mean(s), a^2 + (D - a)^2 is largest where a is: q = 1 for s > 0 and 0 for s < 0."""
    z, label = logits()
    found = environments(z, label, generator(5))
    assert torch.equal(found, slopes(z, label) > 0)
    assert 0 < found.sum() < len(found)


def test_the_released_search_ends_in_the_same_place():
    z, label = logits(50)
    assert torch.equal(
        environments(z, label, generator(5)), environments(z, label, generator(5), steps=10_000, lr=1e-3)
    )


def test_a_net_that_took_the_shortcut_gives_it_away():
    data = toy()
    attribute = data.attribute
    assert attribute is not None
    sure = 3.0 * torch.nn.functional.one_hot(attribute, 2)
    assert torch.equal(environments(sure, data.label, generator(0)), data.conflicting)


def test_the_order_of_the_samples_does_not_matter_at_the_optimum():
    z, label = logits()
    order = torch.randperm(len(z), generator=generator(9))
    found = environments(z, label, generator(5))
    assert torch.equal(environments(z[order], label[order], generator(6)), found[order])


def test_a_net_that_knows_nothing_has_no_environments_but_those_drawn():
    """All slopes are 0, so w stays where it was drawn: a coin for each sample, whatever its label and attribute."""
    data = toy(4000, 0.5)
    found = environments(torch.zeros(4000, 2), data.label, generator(0), steps=20)
    share = torch.stack([found[data.group == g].float().mean() for g in range(4)])
    assert ((share - 0.5).abs() < 0.05).all()


def test_without_a_shortcut_environments_say_nothing_of_the_attribute():
    data = toy(4000, 0.5)
    z = torch.stack([-data.x[:, 0], data.x[:, 0]], 1)  # a net that looks at the label's coordinate
    found = environments(z, data.label, generator(0))
    shares = [float(found[data.attribute == a].float().mean()) for a in (0, 1)]
    assert abs(shares[0] - shares[1]) < 0.04


def eiil(data: Dataset, training: Training = TRAINING, **options: Any) -> Any:
    method: Any = build("eiil", data.info, net="mlp:hidden=8", options={"helper_epochs": 2, **options})
    return fit(method, Splits(data, None, data), training)


@pytest.mark.parametrize("cross", [False, True])
def test_the_method_finds_what_nobody_told_it_and_protects_it(cross):
    data, test = toy(2000, 0.05), toy(2000, 0.5, seed=1)
    hidden = blind(data)
    erm = fit(build("erm", hidden.info, net="mlp:hidden=8"), Splits(hidden, None, hidden), TRAINING).method
    method = eiil(hidden, cross=cross, step=0.1).method
    found = method.chosen[data.index]
    assert found[data.conflicting].float().mean() > 3 * found[~data.conflicting].float().mean()
    assert torch.equal(method.identification().chosen, method.chosen)
    assert len(method.weights.size[method.weights.size > 0]) == (4 if cross else 2)

    def conflicting(model: Any) -> float:
        right = model(test.x).argmax(1) == test.label
        return float(right[test.conflicting].float().mean())

    assert conflicting(method) > conflicting(erm) + 0.1


def test_groups_are_the_environments_or_these_within_each_label():
    data = toy(8)
    for cross, expected in ((False, [0, 1, 0, 1]), (True, [0, 1, 2, 3])):
        method: Any = build("eiil", blind(data).info, options={"cross": cross})
        rows = Dataset.of(torch.zeros(4, 2), [0, 0, 1, 1], [0, 1, 0, 1])
        assert method.group(rows).tolist() == expected


def test_the_true_attribute_is_not_looked_at():
    data = toy()
    one, other = eiil(data), eiil(blind(data))
    assert torch.equal(one.method.chosen, other.method.chosen)
    assert torch.equal(one.method(data.x), other.method(data.x))


def test_a_helper_that_is_always_right_is_refused():
    data = toy()
    easy = Dataset.of(20.0 * data.label[:, None].float() - 10, data.label, name="easy")
    with pytest.raises(
        UserError, match=r"eiil found a single environment in easy: its helper is right, or wrong, about"
    ):
        eiil(easy, helper_lr=0.1)
