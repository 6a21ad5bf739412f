"""Mixing for a long tail: who is drawn and how often, how alike classes are, what the label is."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
from helpers import context
from torch import Tensor
from torch.nn import functional as F

from longcut import mixing
from longcut.data import Batch, Dataset, Splits, favour_rare, generator
from longcut.errors import UserError
from longcut.fit import Training, fit
from longcut.losses import cross_entropy
from longcut.methods import build
from longcut.methods.mixing import transplant as method_file
from longcut.methods.mixing.tail import LOOK, ClassLikeness
from longcut.mixing import transplant
from longcut.mixing.classes import confusion, geometric, prototypes, simplex

SIZES = (50, 20, 9, 1)


def tail(sizes: tuple[int, ...] = SIZES, side: int = 8) -> Dataset:
    """Classes of these sizes, in mixed order; the first pixel says who an image is."""
    label = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    label = label[torch.randperm(len(label), generator=generator(1))]
    x = torch.randint(256, (len(label), 3, side, side), generator=generator(2)).to(torch.uint8)
    x[:, 0, 0, 0] = torch.arange(len(label))
    return Dataset.of(x, label, name="tail", n_classes=len(sizes))


def made(name: str, data: Dataset, epoch: int = 1, epochs: int = 9, seed: int = 0, **options: Any) -> Any:
    method = build(name, data.info, net="conv:width=2", options=options)
    method.on_epoch(context(data, seed, epoch, epochs))
    return method


def within(count: Tensor, law: Tensor, sigmas: float = 5.0) -> bool:
    """Whether counts are as near to a law as binomial numbers are; what cannot be drawn is not."""
    n = count.sum()
    return bool(((count - n * law).abs() <= sigmas * (n * law * (1 - law)).sqrt() + 1e-9).all())


def blank(label: Tensor) -> Batch:
    return Batch(torch.zeros(len(label), 1), label)


# --- who is drawn -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0, 2.0])
def test_samples_weigh_by_the_size_of_their_class(power):
    data = tail()
    drawn = torch.cat([favour_rare(data, power, generator(3, i)).index for i in range(600)])
    weight = torch.tensor(SIZES).double()[data.label] ** -power
    assert len(drawn) == 600 * len(data)
    assert within(drawn.bincount(minlength=len(data)).double(), weight / weight.sum())


def test_targets_of_a_regression_have_no_rare_classes():
    with pytest.raises(UserError, match="the targets of a regression are no classes, so they cannot be balanced"):
        favour_rare(Dataset.of(torch.rand(4, 2), torch.rand(4)), 1.0, generator(0))


def test_a_partners_class_by_the_law_and_then_anyone_in_it():
    weight = torch.tensor([[1.0, 2, 3, 4], [0, 1, 0, 0], [0, 0, 1, 1], [5, 0, 0, 1]])
    pool = blank(torch.tensor([0, 0, 1, 2, 2, 2, 0]))  # nobody of class 3
    rule = mixing.by_class(weight.log() + torch.tensor([[0.0], [90.0], [-500.0], [3.0]]))  # up to a number per row
    each = {0: [1, 1, 2, 3, 3, 3, 1], 1: [0, 0, 1, 0, 0, 0, 0], 2: [0, 0, 0, 1, 1, 1, 0], 3: [1, 1, 0, 0, 0, 0, 1]}
    for label, per_class in each.items():
        size = pool.label.bincount()[pool.label]
        law = torch.tensor(per_class).double() / size
        pairs = rule(blank(torch.full((20_000,), label)), pool, generator(label))
        assert pairs.found.all()
        assert within(pairs.partner.bincount(minlength=7).double(), law / law.sum())


def test_who_may_be_mixed_with_nobody_stays():
    alone = torch.zeros(2, 2).fill_diagonal_(-torch.inf)
    batch = blank(torch.tensor([0, 1, 0]))
    pairs = mixing.by_class(alone)(batch, blank(torch.tensor([0, 0])), generator(0))
    assert pairs.found.tolist() == [False, True, False]
    one = mixing.by_class(torch.full((1, 1), -torch.inf))(
        blank(torch.zeros(3).long()), blank(torch.zeros(2).long()), None
    )
    assert not one.found.any()
    assert len(mixing.by_class(alone)(blank(torch.tensor([], dtype=torch.long)), batch, None).partner) == 0


# --- how alike classes are --------------------------------------------------------------------------------------------


def test_confusion_and_prototypes_as_a_loop_says():
    label = torch.tensor([0, 2, 0, 2, 2, 0, 3])
    answer = torch.randn(7, 4, generator=generator(1), dtype=torch.float64)
    probability = answer.softmax(1)
    taken = confusion(probability, label, 4)
    cosine = prototypes(answer, label, 4)
    for one in range(4):
        rows = [i for i in range(7) if label[i] == one]
        mean = sum(probability[i] for i in rows) / len(rows) if rows else torch.zeros(4).double()
        torch.testing.assert_close(taken[one], mean)
        for other in range(4):
            theirs = [i for i in range(7) if label[i] == other]
            if rows and theirs:
                a, b = answer[rows].mean(0), answer[theirs].mean(0)
                assert float(cosine[one, other]) == pytest.approx(float(a @ b / a.norm() / b.norm()))
            else:
                assert cosine[one, other] == 0


def test_the_simplex_in_closed_form():
    similarity = torch.tensor([[7.0, 0.3, 0.1], [0.0, 7.0, 0.0], [0.2, 0.9, 7.0]])
    law = simplex(similarity, 0.2).softmax(1)
    odds = math.exp((0.3 - 0.1) / 0.2)
    torch.testing.assert_close(law[0], torch.tensor([0, odds / (1 + odds), 1 / (1 + odds)]))
    torch.testing.assert_close(law[1], torch.tensor([0.5, 0, 0.5]))
    reverse = simplex(similarity, -0.2).softmax(1)
    torch.testing.assert_close(reverse[0], torch.tensor([0, 1 / (1 + odds), odds / (1 + odds)]))
    with pytest.raises(UserError, match="the temperature is 0; give one above 0 for similar classes, or below"):
        simplex(similarity, 0.0)


def test_the_law_of_ranks_by_hand():
    """Of class 0 the others have ranks 2, 0, 0, 3: two are equally similar, and share the first rank."""
    similarity = torch.rand(5, 5, generator=generator(1))
    similarity[0] = torch.tensor([9.0, 0.2, 0.5, 0.5, -1.0])
    for ratio in (0.5, 1.0, 3.0):
        weight = torch.tensor([0, ratio**2, 1, 1, ratio**3])
        torch.testing.assert_close(geometric(similarity, ratio)[0].exp(), weight)
    assert torch.equal(geometric(torch.zeros(3, 3), 0.1), torch.zeros(3, 3).fill_diagonal_(-torch.inf)), "no preference"
    nearest = geometric(similarity, 1e-30).softmax(1)
    assert torch.equal(nearest[0], torch.tensor([0, 0, 0.5, 0.5, 0]))
    assert geometric(torch.ones(1, 1), 0.5).tolist() == [[-math.inf]]
    with pytest.raises(UserError, match=r"the ratio of the ranks is 0\.0; it must be above 0"):
        geometric(similarity, 0.0)


@pytest.mark.parametrize("by", ["confusion", "prototypes"])
def test_the_net_is_asked_about_training_samples_as_they_are(by):
    data = tail((30, 12, 5))
    method = build("erm", data.info, net="conv:width=2")
    method.train()
    likeness = ClassLikeness(data.info, by, decay=0.75)
    before = {name: value.clone() for name, value in method.state_dict().items()}
    likeness.look(method, data, generator(0))
    assert method.training and method.net.training, "as it was"
    assert all(torch.equal(value, before[name]) for name, value in method.state_dict().items()), "nothing is learned"
    method.eval()
    x, label = data.gather(torch.arange(len(data))), data.label
    with torch.no_grad():

        def now() -> Tensor:
            if by == "confusion":
                return confusion(method(x).softmax(1), label, 3)
            return prototypes(method.net.features(x), label, 3)

        first = now()
        torch.testing.assert_close(likeness.similarity, first)
        method.net.head.weight.mul_(9)
        next(method.net.parameters()).mul_(-1)
        likeness.look(method, data, generator(1))
        torch.testing.assert_close(likeness.similarity, 0.75 * first + 0.25 * now())
        assert not torch.allclose(likeness.similarity, first)


def test_no_more_than_some_samples_of_each_class_are_looked_at(monkeypatch):
    data = tail((2 * LOOK, LOOK + 1, 3))
    method = build("erm", data.info, net="conv:width=2")
    looked: list[Tensor] = []

    def ask(model: Any, some: Dataset, device: Any) -> Tensor:
        looked.append(some.label)
        return torch.zeros(len(some), 3)

    monkeypatch.setattr("longcut.methods.mixing.tail.predict", ask)
    ClassLikeness(data.info).look(method, data, generator(0))
    assert looked[0].bincount().tolist() == [LOOK, LOOK, 3]


# --- CMO --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weighting", [0.0, 1.0, 2.0])
def test_cmos_partners_are_rare_and_its_anchors_as_they_come(weighting):
    data = tail()
    method = made("cmo", data, start=0, end=0, probability=1.0, weighting=weighting)
    assert method.epoch_data(data) is data
    rows = torch.arange(len(data)).repeat(100)
    partners = method.on_pool(data.batch(rows)).extra["partners"]
    weight = torch.tensor(SIZES).double()[data.label] ** -weighting
    assert within(partners.index.bincount(minlength=len(data)).double(), weight / weight.sum())
    assert partners.found.all()
    assert torch.equal(partners.label, data.label[partners.index])


def test_cmo_mixes_some_samples_and_none_at_the_start_and_the_end():
    data = tail()
    rows = torch.arange(80).repeat(50)
    mixed = []
    for epoch in range(9):
        method = made("cmo", data, epoch, 9, start=2, end=3, probability=0.3)
        mixed.append(float(method.on_pool(data.batch(rows)).extra["partners"].found.float().mean()))
    assert mixed[:2] == [0, 0] and mixed[6:] == [0, 0, 0]
    assert all(abs(share - 0.3) < 5 * (0.21 / 4000) ** 0.5 for share in mixed[2:6])


def test_cmos_box_is_the_rare_images_and_the_label_goes_by_area():
    data = tail((30, 3))
    data.x[data.label == 0], data.x[data.label == 1] = 0, 255  # so that the partner is seen
    method = made("cmo", data, start=0, end=0, probability=1.0, weighting=9.0)
    batch = method.on_pool(data.batch((data.label == 0).nonzero().flatten()))
    mixed, _, level = method.mixture(batch)
    area = mixed.x.mean((1, 2, 3))
    assert level == 0 and 0.1 < area.mean() < 0.5
    torch.testing.assert_close(mixed.target.soft(2), torch.stack([1 - area, area], 1))
    log_p = method(mixed.x).log_softmax(1)
    expected = -((1 - area) * log_p[:, 0] + area * log_p[:, 1]).mean()
    torch.testing.assert_close(method.mixed_losses(mixed, 0).mean(), expected)


def test_the_report_shows_cmos_pairs_though_it_ends_without():
    data = tail((30, 12, 5))
    training = Training(epochs=2, batch=16, pool=2)
    method = fit(build("cmo", data.info, net="conv:width=2"), Splits(data, None, data), training).method
    pairs = method.pairs(data, 20)
    assert pairs is not None and len(pairs["anchor"]) == 20


def test_partners_are_augmented_as_the_anchors_are():
    data = tail((30, 12, 5))
    for name in ("cmo", "transplant", "similar-mix"):
        options = {"start": 0, "end": 0, "probability": 1.0} if name == "cmo" else {}
        method = build(name, data.info, net="conv:width=2", options=options)
        method.on_epoch(context(data, 1, 1, 9, augment=lambda x, _: 1 - x))
        partners = method.on_pool(data.batch(torch.arange(20))).extra["partners"]
        torch.testing.assert_close(partners.x[partners.found], 1 - data.gather(partners.index)[partners.found])


# --- similar classes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("options", "law"), [
    ({"ratio": 0.25}, [0, 1, 0.25]),
    ({"ratio": 4.0}, [0, 1, 4]),
    ({"law": "softmax", "temperature": 0.5}, [0, math.exp(0.8), math.exp(0.2)]),
])  # fmt: skip
def test_similar_mix_draws_classes_by_what_is_known_of_them(options, law):
    data = tail((30, 12, 5))
    method = made("similar-mix", data, epoch=0, **options)
    rows = (data.label == 0).nonzero().flatten().repeat(200)

    def counts() -> Tensor:
        partners = method.on_pool(data.batch(rows)).extra["partners"]
        return partners.label.bincount(minlength=3).double()

    assert within(counts(), torch.tensor([0, 0.5, 0.5]).double()), "nothing is known yet"
    method.likeness.similarity.copy_(torch.tensor([[9, 0.4, 0.1], [0, 9, 0], [0, 0, 9]]))
    method.on_epoch(context(data, 5, 1, 9))
    weight = torch.tensor(law).double()
    assert within(counts(), weight / weight.sum())


@pytest.mark.parametrize("name", ["similar-mix", "transplant"])
def test_the_net_is_asked_once_per_epoch_from_the_second_on(name, monkeypatch):
    data = tail((30, 12, 5))
    asked: list[tuple[int, Dataset]] = []

    def look(self: Any, method: Any, train: Dataset, g: Any) -> None:
        asked.append((method.context.epoch, train))
        self.similarity += 1

    monkeypatch.setattr(ClassLikeness, "look", look)
    options = {"source": "similar"} if name == "transplant" else {}
    other = tail((9, 9, 9))
    training = Training(epochs=3, batch=16, pool=2)
    method: Any = fit(
        build(name, data.info, net="conv:width=2", options=options), Splits(data, other, other), training
    ).method
    assert [epoch for epoch, _ in asked] == [1, 2]
    assert all(train is data for _, train in asked), "of training samples"
    method.pairs(data, 4)
    assert len(asked) == 2 and float(method.likeness.similarity[0, 0]) == 2, "the report changes nothing"


@pytest.mark.parametrize("name", ["similar-mix", "transplant"])
def test_what_the_net_says_holds_in_the_same_epoch(name, monkeypatch):
    def look(self: Any, *_: Any) -> None:
        self.similarity.copy_(torch.tensor([0.0, 0.1, 0.9]).expand(3, 3))

    monkeypatch.setattr(ClassLikeness, "look", look)
    data = tail((30, 12, 5))
    method = made(name, data, source="similar") if name == "transplant" else made(name, data)
    method.epoch_data(data)
    rows = (data.label == 0).nonzero().flatten().repeat(100)
    drawn = method.on_pool(data.batch(rows)).extra["partners"].label.bincount(minlength=3).double()
    assert within(drawn, torch.tensor([0, 1, 2]).double() / 3)


def test_similar_mix_is_linear_and_its_label_in_proportion():
    data = tail((30, 12, 5))
    method = made("similar-mix", data)
    batch = method.on_pool(data.batch(torch.arange(30)))
    mixed, partners, _ = method.mixture(batch)
    share = partners.share[:, None]
    assert partners.found.all() and (partners.label != batch.label).all()
    torch.testing.assert_close(mixed.x.flatten(1), share * batch.x.flatten(1) + (1 - share) * partners.x.flatten(1))
    both = share * F.one_hot(batch.label, 3) + (1 - share) * F.one_hot(partners.label, 3)
    torch.testing.assert_close(mixed.target.soft(3), both)
    torch.testing.assert_close(method.loss(batch)[0], -(both * method(mixed.x).log_softmax(1)).sum(1).mean())


@pytest.mark.parametrize("name", ["similar-mix", "transplant"])
@pytest.mark.parametrize("rare", [0.0, 1.0])
def test_anchors_favour_the_rare(name, rare):
    data = tail()
    method = made(name, data, epoch=0, rare=rare)
    label = torch.cat([method.epoch_data(data).label for _ in range(200)])
    weight = torch.tensor(SIZES).double() ** (1 - rare)
    if rare:
        assert within(label.bincount().double(), weight / weight.sum())
    else:
        assert method.epoch_data(data) is data


# --- transplant -------------------------------------------------------------------------------------------------------


@pytest.fixture
def seen(monkeypatch):
    """The first channel is what is salient."""
    monkeypatch.setattr(transplant, "spectral_residual", lambda x: x[:, 0])


def pair(method: Any) -> mixing.Mixed:
    """The mixtures of two anchors of class 0 with a partner of class 1: one of them has a corner to spare."""
    own = torch.tensor([[[0.4, 0.6], [0.0, 0.6]], [[0.4, 0.4], [0.4, 0.4]]])[:, None].expand(2, 3, 2, 2)
    theirs = torch.tensor([[0.8, 0.8], [0.2, 0.8]]).expand(2, 3, 2, 2)
    share, one = torch.tensor([0.75, 0.75]), torch.ones(2).long()
    partners = mixing.Partners(theirs, one, share, torch.ones(2).bool())
    return method.mix.blend_with(Batch(own, 0 * one), partners, generator(0))


@pytest.mark.parametrize(("label", "first"), [("target", 1.0), ("source", 0.0), ("area", 0.75), ("mass", 1.6 / 1.8)])
@pytest.mark.parametrize("blend", ["background-box", "background-moved"])
def test_what_the_label_of_a_transplant_is_by_hand(seen, label, first, blend):
    """An anchor that would lose a quarter of its saliency, where a fifth may go, stays whole and keeps its label."""
    mixed = pair(made("transplant", tail((30, 12)), label=label, blend=blend))
    assert mixed.x[0, 0].flatten().tolist() == pytest.approx([0.4, 0.6, 0.2, 0.6])
    assert mixed.x[1, 0].flatten().tolist() == pytest.approx([0.4] * 4)
    torch.testing.assert_close(mixed.target.soft(2), torch.tensor([[first, 1 - first], [1.0, 0.0]]))


def test_without_a_guard_everybody_gets_something(seen):
    mixed = pair(made("transplant", tail((30, 12)), label="source", guard=1.0))
    assert mixed.target.soft(2).tolist() == [[0, 1], [0, 1]]
    assert (mixed.x[1] == 0.2).sum() == 3


def test_without_mixing_there_are_the_anchors_alone():
    data = tail((30, 12, 5))
    method = made("transplant", data, alpha=0.0)
    batch = method.on_pool(data.batch(torch.arange(20)))
    torch.testing.assert_close(method.loss(batch)[0], cross_entropy(method(batch.x), batch.label).mean())


def test_sources_come_as_they_are_or_from_other_classes():
    data = tail()
    anyone = made("transplant", data).on_pool(data.batch(torch.arange(80).repeat(100))).extra["partners"]
    assert within(anyone.index.bincount(minlength=80).double(), torch.full((80,), 1 / 80).double())
    for source, law in (("similar", [0, 4, 2, 1]), ("dissimilar", [0, 1, 2, 4])):
        method = made("transplant", data, source=source)
        method.likeness.similarity.copy_(torch.tensor([0.0, 0.3, 0.2, 0.1]).expand(4, 4))
        method.on_epoch(context(data, 3))
        rows = (data.label == 0).nonzero().flatten().repeat(200)
        drawn = method.on_pool(data.batch(rows)).extra["partners"].label.bincount(minlength=4).double()
        assert within(drawn, torch.tensor(law).double() / 7)


def test_every_transplant_is_an_option():
    assert {name for name in mixing.BLENDS.own if name.startswith("background")} == {*method_file.TRANSPLANTS}


@pytest.mark.parametrize("blend", ["linear", "cut", "keep-both"])
def test_a_label_by_saliency_needs_a_blend_that_knows_it(blend):
    message = (
        f"label=mass needs a blend that knows what is salient, but blend is {blend}; use one of background-box, ba"
    )
    with pytest.raises(UserError, match=message):
        made("transplant", tail((30, 12)), label="mass", blend=blend)


@pytest.mark.parametrize("name", ["cmo", "transplant"])
def test_tables_are_refused(name):
    data = Dataset.of(torch.rand(9, 4), torch.arange(9) % 2, name="columns")
    with pytest.raises(
        UserError, match=rf"{name} needs images \(C, H, W\), but columns is of kind 'table' and shape \(4,\)"
    ):
        build(name, data.info, net="linear")


# --- corners ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["cmo", "similar-mix", "transplant"])
@pytest.mark.parametrize("sizes", [SIZES, (7,)], ids=["a class of one", "one class"])
@pytest.mark.parametrize("n", [1, 3])
def test_a_single_sample_flat_images_one_class_and_a_class_of_one(name, sizes, n):
    data = tail(sizes)
    data = dataclasses.replace(data, x=torch.full_like(data.x, 77))
    options = {"start": 0, "end": 0, "probability": 1.0} if name == "cmo" else {}
    method = build(name, data.info, net="mlp:hidden=4", options=options)
    for epoch in range(3):
        method.on_epoch(context(data, 1, epoch, 3))
        rare = method.epoch_data(data)
        assert len(rare) == len(data)
        loss, _ = method.loss(method.on_pool(rare.batch(torch.arange(n))))
        assert torch.isfinite(loss)
