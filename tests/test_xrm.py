"""XRM: cross-mistakes, flips and the twins' loss by naive loops, and the shortcut they find."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers import context
from toys import blind
from toys import shortcut as toy

from longcut.data import Batch, Dataset, Splits, generator
from longcut.errors import UserError
from longcut.fit import Training, fit
from longcut.losses import cross_entropy
from longcut.methods import build
from longcut.methods.identified.pseudo import class_balanced, cross_mistakes, flip_probability
from longcut.methods.identified.xrm import Twins

TRAINING = Training(epochs=2, batch=50, pool=1, lr=1e-2)


def twins(data: Dataset) -> Any:
    method = Twins(build("erm", data.info, net="mlp:hidden=4").make_net, data.info, data, generator(3))
    method.context = context(data, 4)
    return method


def test_cross_mistakes_are_those_of_a_loop():
    one, other = torch.randn(40, 3, generator=generator(1)), torch.randn(40, 3, generator=generator(2))
    label = torch.randint(3, (40,), generator=generator(3))
    expected = [
        max(range(3), key=a.__getitem__) != y or max(range(3), key=b.__getitem__) != y
        for a, b, y in zip(one.tolist(), other.tolist(), label.tolist(), strict=True)
    ]
    found = cross_mistakes(one, other, label)
    assert found.tolist() == expected
    assert torch.equal(found, cross_mistakes(other, one, label))


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_a_flip_is_as_likely_as_the_net_is_sure(classes):
    even, sure = torch.zeros(1, classes), torch.zeros(1, classes)
    sure[0, 1] = 100
    torch.testing.assert_close(flip_probability(torch.cat([even, sure])), torch.tensor([0.0, 1.0]))
    logits = torch.randn(20, classes, generator=generator(1))
    p = logits.softmax(1).amax(1)
    torch.testing.assert_close(flip_probability(logits), (p - 1 / classes) * classes / (classes - 1))


def test_of_two_classes_the_probability_is_twice_the_distance_from_a_half():
    logits = torch.tensor([[0.0, 1.0986]])  # 1 : 3
    assert flip_probability(logits).item() == pytest.approx(0.5, abs=1e-4)


def test_the_loss_of_a_class_is_its_mean_however_rare_it_is():
    losses, label = torch.rand(30, generator=generator(1)), torch.tensor([0] * 25 + [2] * 5)
    expected = sum(losses[label == c].mean() for c in (0, 2))
    torch.testing.assert_close(class_balanced(losses, label, 4), torch.as_tensor(expected))


def test_each_sample_teaches_the_net_whose_half_it_is_in():
    data = toy(30)
    method = twins(data)
    batch = data.batch(torch.arange(30))
    expected = 0.0
    for c in (0, 1):
        losses = []
        for i in range(30):
            if int(data.label[i]) == c:
                net = method.net if method.first[i] else method.other
                losses.append(cross_entropy(net(data.x[i : i + 1]), data.label[i : i + 1])[0])
        expected = expected + torch.stack(losses).mean()
    assert 5 < method.first.sum() < 25
    torch.testing.assert_close(method.loss(batch)[0], expected)


def test_a_net_gets_no_gradient_from_the_others_half():
    data = toy(30)
    method = twins(data)
    method.first[:] = True
    method.loss(data.batch(torch.arange(30)))[0].backward()
    assert any(parameter.grad.any() for parameter in method.net.parameters())
    assert not any(parameter.grad.any() for parameter in method.other.parameters())


@pytest.mark.parametrize("sure", [True, False])
def test_labels_follow_a_held_out_net_that_is_sure(sure):
    """The other net says 1, always: who is in the first half is told so, the rest by a net that does not know."""
    data = toy(40)
    method = twins(data)
    for net, bias in ((method.net, [0.0, 0.0]), (method.other, [0.0, 100.0 if sure else 0.0])):
        torch.nn.init.zeros_(net.head.weight)
        net.head.bias.data = torch.tensor(bias)
    method.loss(data.batch(torch.arange(40)))
    expected = torch.where(method.first, 1, data.label) if sure else data.label
    assert torch.equal(method.label, expected)


def test_flips_are_as_frequent_as_they_should_be():
    data = toy(4000)
    method = twins(data)
    held_out = torch.tensor([[0.0, 1.0986]]).repeat(4000, 1)  # 1 : 3, so every second label becomes 1
    method.flip(data.index, held_out)
    changed = (method.label != data.label)[data.label == 0].float().mean()
    assert changed == pytest.approx(0.5, abs=0.04)
    assert method.label[data.label == 1].all()


def test_a_flipped_label_is_what_the_next_visit_teaches():
    data = toy(10)
    method = twins(data)
    method.label[:] = 1 - data.label
    turned = Batch(data.x, 1 - data.label, index=data.index)
    other = twins(data)
    other.load_state_dict(method.state_dict())
    assert torch.equal(method.loss(turned)[0], other.loss(data.batch(torch.arange(10)))[0])


def xrm(data: Dataset, **options: Any) -> Any:
    method: Any = build("xrm", data.info, net="mlp:hidden=8", options={"helper_epochs": 3, **options})
    return fit(method, Splits(data, None, data), TRAINING)


def test_the_method_finds_what_nobody_told_it_and_protects_it():
    data, test = toy(2000, 0.05), toy(2000, 0.5, seed=1)
    hidden = blind(data)
    erm = fit(build("erm", hidden.info, net="mlp:hidden=8"), Splits(hidden, None, hidden), TRAINING).method
    fitted = xrm(hidden, step=0.1)
    found = fitted.method.chosen[data.index]
    assert found[data.conflicting].float().mean() > 0.8
    assert found[data.conflicting].float().mean() > 3 * found[~data.conflicting].float().mean()
    assert torch.equal(fitted.method.identification().chosen, fitted.method.chosen)

    def conflicting(model: Any) -> float:
        right = model(test.x).argmax(1) == test.label
        return float(right[test.conflicting].float().mean())

    assert conflicting(fitted.method) > conflicting(erm) + 0.1


def test_the_history_says_how_many_labels_flipped():
    data = toy()
    fitted = xrm(data)
    rates = {row["flipped"] for row in fitted.history}
    assert len(rates) == 1
    assert 0 < rates.pop() < 0.5


def test_without_a_shortcut_mistakes_say_nothing_of_the_attribute():
    data = toy(4000, 0.5)
    found = xrm(data).method.chosen[data.index]
    shares = [float(found[data.attribute == a].float().mean()) for a in (0, 1)]
    assert abs(shares[0] - shares[1]) < 0.1


def test_the_true_attribute_is_not_looked_at():
    data = toy()
    one, other = xrm(data), xrm(blind(data))
    assert torch.equal(one.method.chosen, other.method.chosen)
    assert torch.equal(one.method(data.x), other.method(data.x))


def test_twins_that_are_always_right_are_refused():
    data = toy()
    easy = Dataset.of(20.0 * data.label[:, None].float() - 10, data.label, name="easy")
    with pytest.raises(UserError, match=r"xrm found a single environment in easy: .* \(helper_epochs\)"):
        xrm(easy)
