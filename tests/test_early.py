"""The biased model that is chosen by evidence, against loops and on data where it is known what is easy."""

from __future__ import annotations

import itertools
from dataclasses import replace
from functools import partial
from typing import cast

import pytest
import torch
from torch import Tensor

from longcut import nets
from longcut.data import Dataset, Splits, generator
from longcut.datasets import load
from longcut.errors import UserError
from longcut.fit import Training, fit
from longcut.identify import margins
from longcut.methods import Method, build
from longcut.methods.base import FitHelper, MakeNet
from longcut.methods.biased import early, suspicion
from longcut.methods.biased.early import Explained, Member, clarity, explain, needed, per_round
from longcut.methods.biased.suspicion import Suspicion
from longcut.methods.erm import ERM
from longcut.methods.mixing import bank
from longcut.methods.mixing.selecmix import SelecMix


class Handed(ERM):
    """Keeps what the loop hands to a method that is prepared."""

    name = "handed"

    def prepare(self, train: Dataset, fit: FitHelper) -> Dataset:
        self.fit = fit
        return train


def helper(data: Dataset) -> FitHelper:
    method = build(Handed, data.info, net="linear")
    fit(method, Splits(data, None, data), Training(epochs=1))
    return method.fit  # type: ignore[return-value]


def bars(n: int, ratio: float, seed: int = 0, wrong: float = 0.0) -> Dataset:
    """Three classes as faint vertical bars in noise, and one of three colours of a corner that nearly always agrees."""
    draw = generator(seed, 4)
    label = torch.arange(n) % 3
    other = torch.rand(n, generator=draw) < ratio
    color = torch.where(other, (label + torch.randint(1, 3, (n,), generator=draw)) % 3, label)
    x = 0.3 * torch.rand(n, 3, 12, 12, generator=draw)
    x[torch.arange(n), :, :, 2 + 4 * label] += 0.1 * torch.rand(n, 3, 12, generator=draw)
    x[torch.arange(n), color, :3, :3] = 1.0
    flip = torch.rand(n, generator=draw) < wrong
    seen = torch.where(flip, (label + torch.randint(1, 3, (n,), generator=draw)) % 3, label)
    return Dataset.of((255 * x).to(torch.uint8), seen, color, aligned=(0, 1, 2))


def test_margins_and_clarity_against_loops():
    draw = generator(3)
    logits, label = torch.randn(40, 4, generator=draw), torch.randint(4, (40,), generator=draw)
    logits[:5] = 0.0  # ties: a margin of 0 is wrong
    expected = [
        float(row[y] - max(v for c, v in enumerate(row) if c != y)) for row, y in zip(logits, label, strict=True)
    ]
    margin = margins(logits, label)
    torch.testing.assert_close(margin, torch.tensor(expected))
    right, wrong = [m for m in expected if m > 0], [-m for m in expected if m <= 0]
    less_sure = [float(w > r) + 0.5 * float(w == r) for w, r in itertools.product(wrong, right)]
    assert clarity(margin) == pytest.approx(sum(less_sure) / len(wrong) / len(wrong))


@pytest.mark.parametrize("margin", [[1.0, 2.0], [-1.0] * 9, [], [9.0, *[-10.0] * 4]])
def test_nothing_is_clear_where_all_or_none_are_right_or_hardly_any_is_wrong(margin):
    assert clarity(torch.tensor(margin)) == 0.0


def test_the_clarity_of_doubt_in_closed_form():
    """Two classes, and probabilities p of the class that is said, right and evenly spread from 1/2 to 1.

    Those that are wrong have the density 2 (1 - p), a quarter of all; right below p are p^2 - 1/4. The integral of the
    product from 1/2 to 1 is 5/96; over the square of a quarter that is 5/6.
    """
    draw = generator(8)
    p = 0.5 + 0.5 * torch.rand(400_000, generator=draw)
    right = torch.rand(len(p), generator=draw) < p
    assert clarity(torch.where(right, p, -p)) == pytest.approx(5 / 6, rel=0.02)


@pytest.mark.parametrize("ratio", [0.01, 0.05, 0.1])
def test_a_pure_shortcut_is_as_clear_as_its_counterexamples_are_rare(ratio):
    draw = generator(8)
    margin = torch.rand(100_000, generator=draw) * torch.where(torch.rand(100_000, generator=draw) < ratio, -1.0, 1.0)
    assert clarity(margin) == pytest.approx(0.5 * (1 - ratio) / ratio, rel=0.1)


def test_a_round_has_few_passes_over_few_samples():
    assert [per_round(n) for n in (1, 10, 1600, 1601, 10**6)] == [4, 40, 6400, 6400, 6400]


def said(margin: list[float], label: list[int]) -> tuple[Explained, Tensor]:
    """Two classes, told with these margins."""
    logits = torch.zeros(len(label), 2)
    logits[torch.arange(len(label)), torch.tensor(label)] = torch.tensor(margin, dtype=torch.float32)
    return Explained("linear", logits, True, None), torch.tensor(label)  # type: ignore[arg-type]


def test_of_those_that_look_like_another_class_the_clearest_of_each_are_taken():
    # thirty right ones with margins 1 … 30; of class 0 three wrong ones, of class 1 two
    margin = [*range(1, 31), -8.5, -20.5, -2.5, -4.5, -16.5]
    explained, label = said([float(m) for m in margin], [i % 2 for i in range(30)] + [0, 0, 0, 1, 1])
    assert explained.looks[30:].tolist() == [1, 1, 1, 0, 0]
    # clarity (8 + 20 + 2 + 4 + 16) / 5 / 5 = 2; with the last at 30.5 it is 64 / 25 = 2.56, of which 2 are doubt
    assert not explained.contradicted(label).any()
    margin[-1] = -30.5
    explained, label = said([float(m) for m in margin], label.tolist())
    # a share of 1 - 2 / 2.56 = 0.22, rounded up in each class: the clearest
    assert explained.contradicted(label).nonzero().flatten().tolist() == [31, 34]


def test_nobody_contradicts_where_all_is_explained():
    explained, label = said([1, 2], [0, 1])
    assert not explained.contradicted(label).any()


@pytest.fixture(scope="module")
def shortcut() -> tuple[Dataset, Explained]:
    data = bars(600, 0.05)
    return data, explain(data, helper(data), seed=1)


def test_a_planted_shortcut_is_separated_and_who_contradicts_it_is_found(shortcut):
    data, explained = shortcut
    chosen = explained.contradicted(data.label)
    assert explained.separates
    assert (explained.looks == data.attribute).float().mean() > 0.98
    assert (chosen & data.conflicting).sum() > 0.7 * data.conflicting.sum()
    assert data.conflicting[chosen].float().mean() > 0.9


def test_every_sample_is_told_by_a_model_that_has_not_seen_it(monkeypatch):
    data, seen, asked = bars(120, 0.05), [], []
    real = early._Learned.of.__func__  # type: ignore[attr-defined]

    def watched(cls, spec, how, learn, held, *rest):
        seen.append(set(learn.index.tolist()))
        asked.append(set(held.index.tolist()))
        return real(cls, spec, how, learn, held, *rest)

    monkeypatch.setattr(early._Learned, "of", classmethod(watched))
    explain(data, helper(data), members=["linear"])
    assert not seen[0] & asked[0]
    assert seen[0] | asked[0] == set(range(120))
    assert (seen[1], asked[1]) == (asked[0], seen[0])


def test_without_a_shortcut_nothing_is_separated():
    for seed in range(3):
        data = bars(600, 2 / 3, seed)  # the colour is uniform whatever the label
        assert not explain(data, helper(data), seed=seed).separates


def test_what_another_net_learns_was_no_shortcut_but_too_hard_for_a_linear_one(monkeypatch: pytest.MonkeyPatch):
    """Where the second number is positive the first one says the other label: a linear net is as sure, and wrong."""
    draw = generator(2, 9)
    label, turned = torch.arange(2000) % 2, torch.rand(2000, generator=draw) < 0.08
    sign = 2.0 * torch.where(turned, 1 - label, label) - 1
    second = torch.where(turned, 2.0, -2.0) + 0.3 * torch.randn(2000, generator=draw)
    data = Dataset.of(torch.stack([sign * (1 + torch.rand(2000, generator=draw)), second], 1), label)
    explained = explain(data, helper(data), seed=2)
    assert explained.member == "linear" and explained.recovered > 0.9
    assert not explained.separates
    found = Suspicion(data.info)
    monkeypatch.setattr(suspicion, "explain", lambda *_, **__: explained)
    found.look(data, helper(data), generator(5), partial(nets.build, "linear", data.info))
    assert "but one that can learn more is right about 100% of these: they were merely hard" in found.remark()
    assert not found.chosen.any() and not found.too_many
    monkeypatch.setattr(early, "LEARNED", 1.0)
    assert explain(data, helper(data), seed=2).separates, "by itself it looks like one that knows a shortcut"


def test_how_many_of_those_whom_it_contradicts_one_that_can_learn_more_is_right_about():
    """Of members asked about the same six: who is wrong at their best, and who is right in the end."""
    short, long, linear = (early._Learned(how, bars(6, 0.0), "cpu") for how in (Member(), Member(3.0, 10), Member(5.0)))
    short.odd, short.right = torch.tensor([1, 1, 1, 1, 0, 0]).bool(), torch.tensor([1, 0, 0, 0, 1, 1]).bool()
    long.odd, long.right = torch.tensor([1, 0, 0, 0, 0, 1]).bool(), torch.tensor([0, 1, 1, 1, 1, 0]).bool()
    linear.odd, linear.right = torch.tensor([1, 1, 0, 0, 0, 0]).bool(), torch.ones(6).bool()
    short.evidence = long.evidence = linear.evidence = (True, 2.0)
    short.curve, long.curve, linear.curve = [(0.9, 5.0), (0.9, 4.0)], [(0.2, 0.0), (0.9, 1.0)], [(0.9, 1.0)]
    assert short.recovered([short, long]) == 0.75
    assert linear.recovered([linear, short]) == 0.5, "it is too simple, though both learn for as long"
    assert long.recovered([short, long]) == 0.0 and short.recovered([short, linear]) == 0.0, "who can learn less"
    long.curve.append((0.8, 1.0))
    assert short.recovered([short, long]) == 0.0, "who explains few labels"
    linear.evidence = (False, 0.9)
    assert linear.recovered([linear, short]) == 0.0, "it knows no shortcut in any case"


def test_the_next_best_that_seems_to_know_a_shortcut_is_taken_where_the_best_was_too_simple(shortcut, monkeypatch):
    data, _ = shortcut
    members = ["tiny:side=32,width=8", "glance"]
    best = explain(data, helper(data), seed=1, members=members)
    assert best.separates and best.member == "glance" and best.recovered < 0.5

    def recovered(learned, _):
        return 1.0 if learned.curve == best.curves["glance"] else 0.25

    monkeypatch.setattr(early._Learned, "recovered", recovered)
    other = explain(data, helper(data), seed=1, members=members)
    assert (other.member, other.separates, other.recovered) == (members[0], True, 0.25)


def test_samples_that_stand_there_twice_are_told_alike():
    data = bars(90, 0.05).take(torch.arange(180) % 90)
    explained = explain(data, helper(data), members=["linear"])
    assert torch.equal(explained.logits[:90], explained.logits[90:])


def test_a_class_of_one_sample_is_refused():
    data = bars(30, 0.0)
    data = data.take((data.label > 0) | (torch.arange(30) == 0))
    with pytest.raises(UserError, match="has one sample, so it cannot be in both parts"):
        explain(data, helper(bars(30, 0.0)))


def test_what_was_found_survives_an_interruption(shortcut):
    data, _ = shortcut
    found = Suspicion(data.info)
    found.look(data, helper(data), generator(5), partial(nets.build, "linear", data.info))
    again = Suspicion(data.info)
    assert again.embed(torch.rand(2, 3, 12, 12)) is None, "before it has learned"
    again.load_state_dict(found.state_dict())
    x = data.gather(torch.arange(4))
    torch.testing.assert_close(again.embed(x), found.embed(x))
    assert again.remark() == found.remark()
    assert torch.equal(again.chosen, found.chosen)
    assert again.separates


def chosen_by(method: Method) -> Tensor:
    found = method.identification()
    assert found is not None and found.chosen is not None
    return found.chosen


def test_selecmix_says_what_was_found_and_trains_as_erm_where_nothing_is():
    blind = load("planted:data=digits,cue=none")
    small = Splits(blind.train, None, blind.test)
    training = Training(epochs=2, batch=64, pool=4, average=0.9)
    own = replace(training, weight_decay=SelecMix.training_defaults["weight_decay"])
    method = build("selecmix", small.info)
    fit(method, small, own, seed=3)
    (remark,) = method.remarks()
    assert "nothing is mixed, and selecmix trains as erm does, without the weight decay" in remark
    plain = build("erm", small.info)
    fit(plain, small, training, seed=3)
    for one, other in zip(method.net.parameters(), plain.net.parameters(), strict=True):
        assert torch.equal(one, other)
    assert not chosen_by(method).any()


def decay_of(data: Dataset, **settings: float) -> float:
    method = build("selecmix", data.info)
    training = Training(epochs=1, **{**SelecMix.training_defaults, **settings})
    fit(method, Splits(data, None, data), training)
    return method.optimizers(training)[0].param_groups[0]["weight_decay"]


def test_selecmix_decays_weights_where_it_mixes_or_labels_are_wrong_or_when_told(shortcut):
    blind = load("planted:data=digits,cue=none").train
    assert decay_of(blind) == 0.0
    assert decay_of(blind, weight_decay=0.01) == 0.01
    assert decay_of(shortcut[0]) == 0.002
    assert decay_of(bars(600, 0.0, wrong=0.3)) == 0.002


def test_a_net_that_cannot_see_the_shortcut_is_as_often_right_where_it_is_contradicted(shortcut):
    data, explained = shortcut
    suspected = explained.contradicted(data.label)  # by stored sample, for none is left out
    grey = data.x.clone()
    grey[:, :, :3, :3] = 40  # instead of the corner
    unseen = Dataset.of(grey, data.label)
    make_net = partial(nets.build, "mlp:hidden=32", data.info)
    assert early.resists(make_net, data, suspected, helper(data), seed=1) < 0.5
    assert early.resists(make_net, unseen, suspected, helper(data), seed=1) > 0.95


@pytest.mark.parametrize(("resisted", "mixed"), [(0.89, True), (0.9, False)])
def test_nothing_is_mixed_where_the_net_does_not_take_the_shortcut(resisted: float, mixed: bool, shortcut, monkeypatch):
    data, explained = shortcut
    monkeypatch.setattr(suspicion, "explain", lambda *_, **__: explained)
    monkeypatch.setattr(suspicion, "resists", lambda *_, **__: resisted)
    method = build("selecmix", data.info, net="linear")
    fit(method, Splits(data, None, data), Training(epochs=1))
    (remark,) = method.remarks()
    assert bool(chosen_by(method).any()) == mixed
    said = "the net to be trained is as often right about these: it does not take the shortcut; so no cue is told"
    assert (said in remark) != mixed


def test_of_labels_that_are_all_explained_nothing_is_said():
    label = torch.arange(400) % 2
    data = Dataset.of(torch.nn.functional.one_hot(label).float(), label)
    method = build("selecmix", data.info)
    fit(method, Splits(data, None, data), Training(epochs=1))
    assert method.remarks()[0].startswith(
        "of the biased models, linear comes nearest to what a shortcut would do: it explains 100.0% of the "
        "labels of samples it has not seen, and contradicts none, which leaves nothing to tell a shortcut by;"
    )


def test_selecmix_says_how_many_partners_there_are(shortcut):
    data, _ = shortcut
    method = build("selecmix", data.info)
    fit(method, Splits(data, None, data), Training(epochs=1))
    chosen = chosen_by(method)
    assert 20 < int(chosen.sum()) < 40
    assert f"so {int(chosen.sum())} samples that it contradicts clearly serve as partners" in method.remarks()[0]


def test_where_too_much_contradicts_selecmix_says_so():
    data = bars(600, 0.0, wrong=0.3)
    for confirm, said in ((True, "only what the main net confirms is mixed"), (False, "nothing is mixed, as in erm")):
        method = build("selecmix", data.info, options={"confirm": confirm})
        fit(method, Splits(data, None, data), Training(epochs=2))
        assert said in method.remarks()[0]


def test_a_net_that_is_in_doubt_of_the_few_that_it_gets_wrong_knows_no_shortcut():
    """Of a share r that is wrong, a sixth of the clarity 1 / (2 r) is asked, and three in any case."""
    few, many = (torch.cat([torch.ones(right), -torch.ones(5)]) for right in (245, 20))
    assert clarity(few) == 24.5 and needed(few, Member()) == pytest.approx(25 / 6)
    assert needed(few, Member(need=5.0)) == 5.0 and needed(many, Member()) == 3.0
    assert needed(few, early.IMAGES["glance"]) == pytest.approx(25 / 4), "it learns the label of most images"


class Said(torch.nn.Module):
    """Says what stands in the first column."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.nn.functional.one_hot(x[:, 0].long(), 4).float()


@pytest.mark.parametrize(("suspected", "halves"), [(10, 2), (100, 1)])
def test_how_often_a_net_is_right_where_a_shortcut_is_contradicted_against_a_loop(suspected, halves, monkeypatch):
    draw = generator(7)
    label, said = torch.arange(400) % 4, torch.randint(0, 4, (400,), generator=draw)
    said = torch.where(torch.rand(400, generator=draw) < 0.6, label, said)
    data = Dataset.of(said[:, None].float(), label)
    those = torch.zeros(400, dtype=torch.bool)
    those[torch.randperm(400, generator=draw)[:suspected]] = True
    asked = list[Tensor]()

    def learn(_, half: Dataset, *__: object, **___: object) -> torch.nn.Module:
        asked.append(half.index)
        return Said()

    monkeypatch.setattr(early, "learn", learn)
    monkeypatch.setattr(early, "predict", lambda net, held, _: net(held.gather(torch.arange(len(held)))))
    got = early.resists(cast(MakeNet, Said), data, those, helper(data), seed=3)
    hits, shares = list[float](), list[float]()
    for half in asked:
        held = sorted(set(range(400)) - set(half.tolist()))
        hits += [float(said[i] == label[i]) for i in held if those[i]]
        others = [i for i in held if not those[i]]
        right = [[float(said[i] == label[i]) for i in others if label[i] == c] for c in range(4)]
        shares.append(sum(sum(of) / len(of) for of in right) / 4)
    usual = sum(shares) / len(shares)
    assert len(asked) == halves and (len(hits) == suspected or halves == 1)
    assert got == pytest.approx((sum(hits) / len(hits) - 0.25) / (usual - 0.25))
    assert early.resists(cast(MakeNet, Said), data, torch.zeros(400, dtype=torch.bool), helper(data)) == 0.0


def test_partners_are_what_the_main_net_confirms_where_it_is_neither_few_nor_much(monkeypatch: pytest.MonkeyPatch):
    """Of 1,000 odd ones at least 5 for each of the 2 classes, and fewer than 150."""
    data = Dataset.of(torch.zeros(1200, 1), torch.arange(1200) % 2)
    found = Suspicion(data.info)
    found.odd[:1000] = True
    found.evidence.copy_(torch.tensor([0.0, 0.0, 0.2, 3.0, 0.0, 0.0]))  # a fifth is explained
    assert found.too_many
    for n, told in ((9, False), (10, True), (149, True), (150, False)):
        monkeypatch.setattr(bank, "confirmed", lambda *_, n=n: torch.arange(n))
        rows, share = bank.contradicting(found, data, build("erm", data.info))
        assert rows.tolist() == list(range(n * told)) and share == 2 * n * told / 1200
