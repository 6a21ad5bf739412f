"""FG-CCDB, GERNE, uLA and logit adjustment against naive loops in float64, closed forms and hand arithmetic."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from typing import Any, cast

import pytest
import torch
from helpers import context
from torch import Tensor, nn

from longcut.cells import cell_counts, cell_weights
from longcut.data import Batch, Dataset, Splits, draw, generator
from longcut.errors import UserError
from longcut.fit import Training, fit
from longcut.methods import build
from longcut.methods.identified.gerne import extrapolated, less_biased
from longcut.methods.identified.shortcut import biased_logits, most_confident
from longcut.methods.identified.ula import soft_counts


def toy(n: int = 60, known: bool = True) -> Any:
    """Two labels; the last column of the table is the attribute, which agrees with four in five of class 0."""
    label = (torch.arange(n) % 3 == 0).long()
    attribute = torch.where(torch.arange(n) % 5 == 1, 1 - label, label)
    x = torch.randn(n, 4, generator=generator(1))
    x[:, 3] = attribute
    told = {"attribute": attribute, "aligned": (0, 1)} if known else {}
    return Dataset.of(x, label, name="toy", **told)


class Says(nn.Module):
    """A biased net that has learned the last column, by this much."""

    def __init__(self, scale: float = 4.0) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(scale))

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * torch.stack([1 - x[:, 3], x[:, 3]], 1)


def prepared(name: str, data: Dataset, says: nn.Module | None = None, **options: Any) -> tuple[Any, Dataset, list[Any]]:
    """A method with its preparation done, what it trains on, and what its helpers were trained on and how."""
    method: Any = build(name, data.info, net="mlp:hidden=6", options=options)
    method.context = context(data, 3)
    calls: list[Any] = []

    def helper(_: Any, train: Dataset, **training: Any) -> Any:
        calls.append((train, training))
        return says or Says()

    train = method.prepare(data, helper)
    method.on_epoch(context(train, 4))
    return method, train, calls


# --- the biased net ---------------------------------------------------------------------------------------------------


def test_the_most_confident_of_each_class_are_those_of_a_loop():
    loss, label = torch.rand(50, generator=generator(1)), torch.randint(3, (50,), generator=generator(2))
    expected: set[int] = set()
    for y in range(3):
        mine = sorted((i for i in range(50) if label[i] == y), key=lambda i: float(loss[i]))
        expected |= set(mine[: max(1, int(0.3 * len(mine)))])
    assert set(most_confident(loss, label, 0.3).nonzero().flatten().tolist()) == expected


def test_a_class_of_one_is_kept_and_all_where_all_are_asked_for():
    loss, label = torch.rand(9, generator=generator(1)), torch.tensor([0] * 8 + [1])
    assert most_confident(loss, label, 0.01).sum() == 2
    assert most_confident(loss, label, 1.0).all()


def test_the_two_steps_train_on_a_random_tenth_and_then_on_the_surest_half():
    data = toy(100)
    method, _, calls = prepared("fg-ccdb", data, helper_epochs=7, helper_lr=0.5, repeats=2)
    first, second, third = (train for train, _ in calls)
    assert len(first) == 10 and len(set(first.index.tolist())) == 10
    assert Counter(second.label.tolist()) == Counter(third.label.tolist()) == {0: 33, 1: 17}
    agreeing = {int(i) for i in data.index[data.attribute == data.label]}
    assert set(second.index.tolist()) <= agreeing, "the surest are those whom the shortcut serves"
    assert all(training == calls[0][1] for _, training in calls)
    assert (calls[0][1]["epochs"], calls[0][1]["lr"]) == (7, 0.5)
    again = prepared("fg-ccdb", data, repeats=0, few=1.0)[2]
    assert [len(train) for train, _ in again] == [100]
    assert torch.equal(method.shortcut, data.attribute)


def test_two_samples_are_the_fewest_that_the_first_net_learns():
    assert len(prepared("fg-ccdb", toy(12), few=0.001)[2][0][0]) == 2


def test_the_biased_net_may_be_of_another_kind():
    data, kinds = toy(), []

    def helper(method: Any, *_: Any, **__: Any) -> Any:
        kinds.append([parameter.shape[0] for parameter in method.net.parameters() if parameter.ndim == 2])
        return Says()

    for net in ("same", "mlp:hidden=3"):
        method: Any = build("ula", data.info, net="mlp:hidden=6", options={"helper_net": net})
        method.context = context(data)
        method.prepare(data, helper)
    assert kinds == [[6, 2], [3, 2]]


def test_logits_are_those_of_the_last_net_for_every_sample():
    data, helper = toy(), cast(Any, lambda *_, **__: Says())
    method: Any = build("ula", data.info)
    method.context = context(data)
    found = biased_logits(method, data, helper, few=0.1, surest=0.5, repeats=1, net="same", helper={})
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, Says()(data.x).detach().double())


@pytest.mark.parametrize("name", ["fg-ccdb", "gerne", "ula"])
@pytest.mark.parametrize("says", ["the label", "one class"])
def test_a_net_that_names_nobody_is_refused(name: str, says: str):
    data = toy()
    if says == "the label":
        data = dataclasses.replace(data, x=torch.cat([data.x[:, :3], data.label[:, None].float()], 1))
    net = Says() if says == "the label" else Says(0.0)
    with pytest.raises(
        UserError, match=rf"{name} has nothing to correct in toy: the prediction of the biased net is the"
    ):
        prepared(name, data, net)


def test_an_attribute_that_is_the_label_is_refused():
    label = torch.arange(8) % 2
    data = Dataset.of(torch.rand(8, 4), label, label, name="clear")
    with pytest.raises(UserError, match="fg-ccdb has nothing to correct in clear: its attribute is the same for all"):
        prepared("fg-ccdb", data, identify="attribute")


@pytest.mark.parametrize("name", ["fg-ccdb", "gerne"])
def test_identify_attribute_needs_one(name: str):
    with pytest.raises(UserError, match=f"{name} with identify=attribute needs the attribute of each training sample"):
        build(name, toy(known=False).info, options={"identify": "attribute"})


def test_who_is_out_of_place_is_identified_whatever_part_of_the_data_is_trained_on():
    data = toy().take(torch.arange(60) % 4 != 0)
    found = prepared("fg-ccdb", data)[0].identification()
    assert torch.equal(found.chosen[data.index], data.conflicting)
    assert not found.chosen[torch.arange(60) % 4 == 0].any()
    torch.testing.assert_close(found.weights[data.index], cell_weights(data.attribute, data.label))
    assert torch.equal(found.shortcut[data.index], data.attribute)


# --- FG-CCDB ----------------------------------------------------------------------------------------------------------


def test_draws_are_in_proportion_to_their_weights():
    data = toy(200)
    method, train, _ = prepared("fg-ccdb", data)
    seen = torch.zeros(200)
    for epoch in range(300):
        method.on_epoch(context(train, epoch))
        drawn = method.epoch_data(train)
        assert len(drawn) == 200
        seen += torch.bincount(drawn.index, minlength=200)
    weight = cell_weights(data.attribute, data.label)
    for cell in range(4):
        mine = data.group == cell
        assert float(seen[mine].sum() / seen.sum()) == pytest.approx(float(weight[mine].sum() / 200), abs=0.01)


def test_a_weighted_draw_takes_nobody_who_weighs_nothing_and_as_many_as_asked():
    data = toy()
    drawn = draw(data, (data.label == 1).double(), generator(0), 7)
    assert len(drawn) == 7 and (drawn.label == 1).all()


def test_told_the_attribute_no_net_is_trained():
    method, _, calls = prepared("fg-ccdb", toy(), identify="attribute", weights="printed")
    assert not calls
    expected = cell_weights(toy().attribute, toy().label, weights="printed")
    torch.testing.assert_close(method.weight, expected)


def test_the_loss_is_the_plain_mean_of_what_is_drawn():
    data = toy()
    method, train, _ = prepared("fg-ccdb", data)
    batch = train.batch(torch.arange(20))
    z = method(batch.x).tolist()
    each = [-math.log(math.exp(z[i][y]) / sum(map(math.exp, z[i]))) for i, y in enumerate(batch.label.tolist())]
    assert float(method.loss(batch)[0].detach()) == pytest.approx(sum(each) / 20, rel=1e-5)


# --- GERNE ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("c", [0.0, 0.5, 1.0, 1.4])
def test_shares_move_towards_balance_as_the_paper_has_it(c: float):
    counts = torch.tensor([[8.0, 1.0, 3.0], [1.0, 2.0, 0.0], [1.0, 7.0, 1.0]])
    found = less_biased(counts, c)
    for y in range(3):
        there = [a for a in range(3) if counts[a, y]]
        for a in range(3):
            alpha = float(counts[a, y] / counts[:, y].sum())
            expected = alpha + c * (1 / len(there) - alpha) if a in there else 0.0
            assert float(found[a, y]) == pytest.approx(expected)
        assert float(found[:, y].sum()) == pytest.approx(1.0)


def test_a_class_without_samples_gets_nothing():
    assert torch.equal(less_biased(torch.tensor([[1.0, 0.0], [1.0, 0.0]]), 0.5)[:, 1], torch.zeros(2).double())


@pytest.mark.parametrize(("c", "beta"), [(0.5, 1.0), (1.0, 0.0), (0.7, -1.0), (0.3, 0.6)])
def test_extrapolated_losses_are_those_of_extrapolated_shares(c: float, beta: float):
    counts = torch.tensor([[8.0, 2.0], [2.0, 8.0]])
    losses = torch.rand(2, 2, generator=generator(5), dtype=torch.float64)  # of each cell
    one, less, both = ((less_biased(counts, share) * losses).sum() for share in (0.0, c, c * (1 + beta)))
    torch.testing.assert_close(extrapolated(one, less, beta), both)


def test_the_two_batches_are_drawn_from_the_two_distributions():
    data = toy(300)
    method, train, _ = prepared("gerne", data, identify="attribute", c=0.8, beta=0.1)
    counts = cell_counts(data.attribute, data.label, 2, 2)
    seen = torch.zeros(2, 2, 2, dtype=torch.float64)
    for epoch in range(100):
        method.on_epoch(context(train, epoch))
        biased = method.epoch_data(train)
        pool = method.on_pool(biased.batch(torch.arange(300)))
        assert (pool.extra["x"][:, 3] >= 0).all()
        seen[0] += cell_counts(pool.attribute, pool.label, 2, 2)
        seen[1] += cell_counts(pool.extra["x"][:, 3].long(), pool.extra["label"], 2, 2)
    for row, share in enumerate((0.0, 0.8)):
        torch.testing.assert_close(seen[row] / seen[row].sum(), less_biased(counts, share) / 2, atol=0.01, rtol=0)


def test_the_loss_of_a_step_is_that_of_a_loop():
    data = toy()
    method, _, _ = prepared("gerne", data, identify="attribute", c=0.5, beta=0.7)
    pool = method.on_pool(data.batch(torch.arange(20)))
    losses: list[list[float]] = [[], []]
    for row, (x, label) in enumerate(((pool.x, pool.label), (pool.extra["x"], pool.extra["label"]))):
        for i in range(20):
            z = method(x[i : i + 1])[0].detach().double()
            losses[row].append(float(-torch.log_softmax(z, 0)[label[i]]))
    biased, less = (sum(one) / 20 for one in losses)
    loss, logs = method.loss(pool)
    assert float(loss.detach()) == pytest.approx(less + 0.7 * (less - biased), rel=1e-5)
    assert float(logs["biased"]) == pytest.approx(biased, rel=1e-5)
    assert float(logs["less_biased"]) == pytest.approx(less, rel=1e-5)


def test_what_is_drawn_beside_a_batch_is_augmented_as_the_batch_was():
    data = toy()
    method, train, _ = prepared("gerne", data, identify="attribute")
    method.on_epoch(context(train, 4, augment=lambda x, _: x + 100))
    assert (method.on_pool(data.batch(torch.arange(20))).extra["x"] > 50).all()


def test_a_loss_without_a_lower_bound_is_refused_at_the_largest_beta_that_has_one():
    """95 of 100 aligned, two values: 0.95 + c (1 + beta) (0.5 - 0.95) = 0 at c (1 + beta) = 19/9."""
    label = torch.arange(400) % 2
    attribute = torch.where(torch.arange(400) // 2 % 20 == 0, 1 - label, label)
    data = Dataset.of(torch.rand(400, 4), label, attribute, name="steep")
    prepared("gerne", data, identify="attribute", c=0.5, beta=3.22)
    with pytest.raises(UserError, match=r"gerne with c=0.5 and beta=3.23 would give .* steep .* beta of at most 3.222"):
        prepared("gerne", data, identify="attribute", c=0.5, beta=3.23)


# --- uLA and logit adjustment -----------------------------------------------------------------------------------------


def silent(method: Any) -> Any:
    """The method with a net that outputs 0, whatever it sees."""
    for parameter in method.net.parameters():
        nn.init.zeros_(parameter)
    return method


@pytest.mark.parametrize("by", ["class", "group"])
@pytest.mark.parametrize("tau", [1.0, 0.5])
def test_adjusted_losses_are_those_of_a_loop(by: str, tau: float):
    data = toy()
    method, train, _ = prepared("logit-adjustment", data, by=by, tau=tau)
    batch = train.batch(torch.arange(25))
    total = 0.0
    for i in range(25):
        attribute, group = cast(Tensor, data.attribute), cast(Tensor, batch.attribute)
        same = data.label[attribute == group[i]] if by == "group" else data.label
        prior = [float((same == y).double().mean()) for y in (0, 1)]
        z = [v + tau * math.log(p) for v, p in zip(method(batch.x)[i].tolist(), prior, strict=True)]
        total -= z[int(batch.label[i])] - math.log(sum(map(math.exp, z)))
    assert float(method.loss(batch)[0].detach()) == pytest.approx(total / 25, rel=1e-5)


def test_a_silent_net_loses_what_the_prior_does():
    """At tau = 1 and outputs of 0 the loss is the mean of -log P(y | a)."""
    data = toy()
    method, train, _ = prepared("logit-adjustment", data, by="group")
    batch = train.batch(torch.arange(60))
    counts = cell_counts(data.attribute, data.label, 2, 2)
    p = counts / counts.sum(1, keepdim=True)
    expected = -p[data.attribute, data.label].log().mean()
    torch.testing.assert_close(silent(method).loss(batch)[0].detach().double(), expected, rtol=1e-6, atol=0)


def test_at_tau_0_it_is_erm_and_predictions_are_never_adjusted():
    data = toy()
    method, train, _ = prepared("logit-adjustment", data, tau=0.0)
    batch = train.batch(torch.arange(25))
    torch.testing.assert_close(method.loss(batch)[0], method.per_sample_loss(method(batch.x), batch.label).mean())
    assert torch.equal(method(batch.x), method.net(batch.x))


def test_a_group_that_no_training_sample_has_is_no_nan():
    data = Dataset.of(torch.rand(4, 4), [0, 1, 1, 0], [0, 0, 1, 1], n_attributes=3, n_classes=3)
    method, train, _ = prepared("logit-adjustment", data, by="group")
    rare = Batch(torch.rand(2, 4), torch.tensor([2, 2]), torch.tensor([0, 2]))
    assert torch.isfinite(method.loss(rare)[0])
    assert torch.isfinite(method.loss(train.batch(torch.arange(4)))[0])


def test_soft_counts_are_those_of_a_loop():
    p = torch.rand(30, 3, generator=generator(1), dtype=torch.float64)
    label = torch.randint(2, (30,), generator=generator(2))
    expected = torch.zeros(3, 3, dtype=torch.float64)
    for i in range(30):
        for s in range(3):
            expected[s, int(label[i])] += p[i, s]
    torch.testing.assert_close(soft_counts(p, label), expected)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_the_loss_of_ula_is_that_of_a_loop(temperature: float):
    data = toy()
    method, train, _ = prepared("ula", data, eta=0.8, temperature=temperature)
    joint = [[0.0, 0.0], [0.0, 0.0]]
    for x, y in zip(data.x, data.label.tolist(), strict=True):
        s = int(x[3])
        sure = 1 / (1 + math.exp(-4.0 / temperature))
        joint[s][y] += sure
        joint[1 - s][y] += 1 - sure
    batch = train.batch(torch.arange(5, 30))
    total = 0.0
    for i, y in enumerate(batch.label.tolist()):
        row = joint[int(batch.x[i, 3])]
        z = [v + 0.8 * math.log(row[k] / sum(row)) for k, v in enumerate(method(batch.x)[i].tolist())]
        total -= z[y] - math.log(sum(map(math.exp, z)))
    assert float(method.loss(batch)[0].detach()) == pytest.approx(total / 25, rel=1e-5)


def test_with_a_net_that_is_sure_of_the_attribute_ula_is_logit_adjustment_by_group():
    data = toy()
    told, train, _ = prepared("logit-adjustment", data, by="group")
    found, _, _ = prepared("ula", data, Says(60.0))
    found.net.load_state_dict(told.net.state_dict())
    batch = train.batch(torch.arange(60))
    torch.testing.assert_close(found.loss(batch)[0], told.loss(batch)[0])


def test_ula_needs_to_know_who_is_who():
    method, _, _ = prepared("ula", toy())
    with pytest.raises(UserError, match="needs to know who is who"):
        method.loss(Batch(torch.rand(2, 4), torch.tensor([0, 1])))


# --- all of them ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("fg-ccdb", {"few": 0.5}),
        ("fg-ccdb", {"identify": "attribute"}),
        ("gerne", {"identify": "attribute"}),
        ("logit-adjustment", {"by": "group"}),
        ("ula", {"helper_epochs": 1}),
    ],
)
def test_what_contradicts_a_shortcut_is_learned_better_than_by_erm(name: str, options: dict[str, Any]):
    """A loud column that agrees with the label in 95 of 100, and a faint one that always tells it."""

    def table(n: int, conflicting: float, seed: int) -> Dataset:
        g = generator(seed)
        label = torch.arange(n) % 2
        attribute = torch.where(torch.rand(n, generator=g) < conflicting, 1 - label, label)
        x = torch.randn(n, 4, generator=g)
        x[:, 0] += 1.2 * (2 * label - 1)
        x[:, 3] = 3.0 * (2 * attribute - 1) + 0.3 * x[:, 3]
        return Dataset.of(x, label, attribute, name="loud", aligned=(0, 1))

    train, test = table(1500, 0.05, 0), table(800, 0.5, 1)
    splits, training = Splits(train, None, test), Training(epochs=8, batch=50, lr=3e-3, every=8)

    def conflicting(method: str, options: dict[str, Any]) -> float:
        built = build(method, train.info, net="mlp:hidden=8", options=options)
        model = fit(built, splits, training).method
        right = model(test.x).argmax(1) == test.label
        return float(right[test.conflicting].float().mean())

    assert conflicting(name, options) > conflicting("erm", {}) + 0.15
