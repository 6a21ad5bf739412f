"""JTT, JM1, GroupJM1 and UMIX against naive loops in float64 and hand arithmetic."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from helpers import context
from torch import Tensor

from longcut.context import calling
from longcut.data import Batch, Dataset, Splits, generator
from longcut.errors import UserError
from longcut.fit import Training, fit
from longcut.identify import Recorder, Trajectory
from longcut.methods import build

TRAINING = Training(epochs=4, batch=8, pool=2, lr=1e-2)


def toy(n: int = 60, seed: int = 0, classes: int = 2) -> Dataset:
    label = torch.arange(n) % classes
    attribute = torch.where(torch.arange(n) % 10 < 8, label % 2, 1 - label % 2)
    x = torch.randn(n, 5, generator=generator(seed)) + label[:, None] + 2 * attribute[:, None]
    return Dataset.of(x, label, attribute, name="toy", aligned=(0, 1, 0)[:classes])


def wrong_in(rows: list[Tensor], n: int) -> Trajectory:
    """A record of as many epochs as rows, in which these samples are wrong."""
    record = Trajectory()
    record.begin(epochs=len(rows), n_stored=n)
    for epoch, wrong in enumerate(rows):
        outputs = torch.where(wrong[:, None], torch.tensor([0.0, 1.0]), torch.tensor([1.0, 0.0]))
        record.note(epoch, torch.arange(n), torch.zeros(n).long(), outputs, torch.ones(n))
    return record


def helped_by(wrong: list[Tensor], n: int) -> Any:
    """The loop as a method is handed it, whose helpers are wrong in this way."""

    def helper(method: Any, train: Dataset, *, observers: Sequence[Recorder], **training: Any) -> Any:
        (recorder,) = observers
        recorder.trajectory.set_extra_state(wrong_in(wrong, n).record)
        return method

    return helper


def prepared(name: str, data: Dataset, wrong: list[Tensor], **options: Any) -> Any:
    """The method after its preparation, with a helper that was wrong in this way."""
    net = options.pop("net", "mlp:hidden=6-4")
    method = build(name, data.info, net=net, options=options)
    method.context = context(data, 3)
    train = method.prepare(data, helped_by(wrong, len(data)))
    method.on_epoch(context(train, 3, epochs=4))
    return method


def some(n: int, every: int = 7) -> Tensor:
    return torch.arange(n) % every == 0


# --- who is chosen ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["jtt", "jm1"])
def test_the_error_set_is_who_was_wrong_in_the_helpers_last_epoch(name: str):
    data = toy()
    method = prepared(name, data, [~some(60), some(60)])
    assert torch.equal(method.chosen, some(60))
    assert torch.equal(method.identification().chosen, some(60))


@pytest.mark.parametrize("name", ["jtt", "jm1", "umix"])
def test_the_helper_has_its_own_settings_and_else_the_runs(name: str):
    data, seen = toy(), []
    method: Any = build(name, data.info, options={"helper_epochs": 6, "helper_lr": 0.5, "helper_optimizer": "sgd"})

    def helper(method: Any, train: Dataset, *, observers: Sequence[Recorder], **training: Any) -> Any:
        seen.append(([recorder.how for recorder in observers], training))
        return helped_by([some(60)] * 6, 60)(method, train, observers=observers)

    method.context = context(data)
    method.prepare(data, helper)
    expected = {"epochs": 6, "lr": 0.5, "optimizer": "sgd", "average": 0.0, "schedule": "constant"}
    assert seen == [(["online"], expected)]


@pytest.mark.parametrize("name", ["jtt", "jm1"])
def test_the_oracle_chooses_all_that_contradicts(name: str):
    data = toy()
    method = prepared(name, data, [], identify="oracle")
    assert torch.equal(method.chosen, data.conflicting)
    aligned = data.take(~data.conflicting)
    with pytest.raises(UserError, match="identify=oracle chose nobody: no training sample of toy contradicts"):
        build(name, data.info, options={"identify": "oracle"}).prepare(aligned, None)  # pyright: ignore


@pytest.mark.parametrize("name", ["jtt", "jm1"])
def test_an_empty_error_set_says_what_causes_it(name: str):
    with pytest.raises(UserError, match=rf"{name} chose nobody in toy: .* no error in epoch 2.*helper_weight_decay"):
        prepared(name, toy(), [some(60), torch.zeros(60, dtype=torch.bool)])


def test_the_helpers_epochs_are_told():
    data, told = toy(), []
    method = build("umix", data.info, options={"helper_epochs": 3})
    fit(method, Splits(data, None, data), TRAINING, observers=[calling(on_helper=lambda *done: told.append(done))])
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_a_helper_that_learned_by_heart_leaves_nobody():
    data = toy(20)
    method = build("jtt", data.info, net="mlp:hidden=64", options={"helper_epochs": 200, "helper_lr": 0.02})
    with pytest.raises(UserError, match="chose nobody"):
        fit(method, Splits(data, None, data), TRAINING)


# --- JTT --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "times"),
    [
        ({"upweight": 5}, 6),  # the sample and 5 copies
        ({"upweight": 5, "count": "total"}, 5),
        ({"upweight": 1, "count": "total"}, 1),
        ({}, (60 - 9) // 9),  # 9 errors: ⌊(N − |B|) / |B|⌋ in all
    ],
)
def test_how_often_jtt_shows_an_error(options: dict[str, Any], times: int):
    data = toy()
    walked = prepared("jtt", data, [some(60)], **options).epoch_data(data)
    counts = torch.bincount(walked.index, minlength=60)
    assert torch.equal(counts, torch.where(some(60), times, 1))


def test_most_samples_wrong_are_not_shown_less_than_once():
    data = toy()
    assert len(prepared("jtt", data, [~some(60)]).epoch_data(data)) == 60


def test_jtt_without_weight_is_erm():
    data = toy()
    splits = Splits(data, None, data)
    jtt = build("jtt", data.info, options={"upweight": 1, "count": "total", "identify": "oracle"})
    erm = build("erm", data.info)
    ours, theirs = (fit(method, splits, TRAINING).method.net.state_dict() for method in (jtt, erm))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


# --- JM1 --------------------------------------------------------------------------------------------------------------


def pooled(method: Any, data: Dataset, rows: Tensor, epoch: int = 0, epochs: int = 4) -> Batch:
    method.on_epoch(context(method.context.data, 3, epoch, epochs))
    return method.on_pool(data.batch(rows))


def test_jm1_pairs_are_of_one_class_and_of_both_sides():
    data = toy(classes=3)
    method = prepared("jm1", data, [some(60)])
    pool = pooled(method, data, torch.arange(60))
    partners = pool.extra["partners"]
    rows = (data.x[None] == partners.x[:, None]).all(2).float().argmax(1)  # who the partners are
    assert partners.found.all()
    assert torch.equal(data.label[rows], data.label)
    assert torch.equal(some(60)[rows], ~some(60))
    assert len(rows[~some(60) & (data.label == 0)].unique()) == int((some(60) & (data.label == 0)).sum()), "all errors"


def test_a_class_without_an_error_stays_as_it_is():
    data = toy(classes=3)
    wrong = some(60) & (data.label != 1)
    method = prepared("jm1", data, [wrong], level="input")
    pool = pooled(method, data, torch.arange(60))
    assert torch.equal(pool.extra["partners"].found, data.label != 1)
    alone = pool[data.label == 1]
    expected = torch.nn.functional.cross_entropy(method(alone.x), alone.label)
    torch.testing.assert_close(method.loss(alone)[0], expected)


@pytest.mark.parametrize(
    ("options", "epoch", "mean", "low"),
    [
        ({"law": "uniform"}, 0, 0.5, 0.0),
        ({"law": "upper-half"}, 0, 0.75, 0.5),
        ({"law": "beta"}, 0, 5 / 7, 0.0),
        ({"law": "beta", "toward": "other"}, 0, 2 / 7, 0.0),
        ({}, 1, 0.5, 0.0),
        ({}, 2, 5 / 7, 0.0),  # the second half of 4 epochs
        ({"toward": "other"}, 3, 2 / 7, 0.0),
    ],
)
def test_the_law_is_of_the_errors_share_whoever_is_the_anchor(
    options: dict[str, Any], epoch: int, mean: float, low: float
):
    data = toy(6000)
    method = prepared("jm1", data, [some(6000, 3)], **options)
    share = pooled(method, data, torch.arange(6000), epoch).extra["partners"].share
    error = torch.where(some(6000, 3), share, 1 - share)
    for side in (some(6000, 3), ~some(6000, 3)):
        assert float(error[side].mean()) == pytest.approx(mean, abs=0.02)
    assert float(error.min()) >= low - 1e-6
    assert float(error.var()) == pytest.approx({0.5: 1 / 12, 0.75: 1 / 48}.get(mean, 10 / 392), rel=0.1)  # Beta(2, 5)


def test_one_share_for_the_batch():
    data = toy()
    method = prepared("jm1", data, [some(60)], scope="batch")
    share = pooled(method, data, torch.arange(60)).extra["partners"].share
    assert len(torch.where(some(60), share, 1 - share).unique()) <= 2  # 1 − (1 − a) may differ in the last bit


def forward(net: Any, x: Tensor, start: int, stop: int | None) -> Tensor:
    for stage in list(net.stages)[start:stop]:
        x = stage(x)
    return x


@pytest.mark.parametrize("level", ["input", "early", "output"])
@pytest.mark.parametrize("conditional", [True, False])
def test_jm1_is_the_naive_loop(level: str, conditional: bool):
    data = toy()
    method = prepared("jm1", data, [some(60)], level=level, conditional=conditional)
    pool = pooled(method, data, torch.arange(30))
    loss = method.loss(pool)[0]
    at = {"input": 0, "early": method.net.levels[1], "output": len(method.net.stages)}[level]
    net, partners, total = method.net.double(), pool.extra["partners"], torch.zeros(())
    for i in range(30):
        a = float(partners.share[i])
        h = a * forward(net, pool.x[i : i + 1].double(), 0, at) + (1 - a) * forward(
            net, partners.x[i : i + 1].double(), 0, at
        )
        log_p = net.head(forward(net, h, at, None)).log_softmax(1)[0]
        own, other = -log_p[pool.label[i]], -log_p[partners.label[i]]
        total = total + (own if conditional else a * own + (1 - a) * other)
    assert loss.item() == pytest.approx(total.item() / 30, rel=1e-5)


def test_unconditional_pairs_are_of_both_sides_and_any_class():
    data = toy()
    method = prepared("jm1", data, [some(60)], conditional=False)
    partners = pooled(method, data, torch.arange(60)).extra["partners"]
    rows = (data.x[None] == partners.x[:, None]).all(2).float().argmax(1)
    assert torch.equal(some(60)[rows], ~some(60))
    assert (data.label[rows] != data.label).any()
    assert (data.label[rows] == data.label).any()


def test_random_draws_every_level_and_one_for_a_batch():
    data = toy()
    method = prepared("jm1", data, [some(60)], net="mlp:hidden=6-5-4")
    pool = pooled(method, data, torch.arange(30))
    seen = []
    method.outputs = lambda mixed, level: seen.append((level, tuple(mixed.shape))) or torch.zeros(len(mixed), 2)
    for _ in range(60):
        method.loss(pool)
    widths = {0: 5, 2: 6, 3: 5, 4: 4}
    assert {level for level, _ in seen} == set(method.net.levels) == set(widths)
    assert all(shape == (30, widths[level]) for level, shape in seen)


@pytest.mark.parametrize(
    ("options", "errors", "others"),
    [
        ({"sampler": "full"}, 1, 1),
        ({"sampler": "full", "oversample": 4}, 4, 1),
        ({"oversample": 1}, 1, 0),
        ({"oversample": 3}, 3, 0),
    ],
)
def test_who_walks_an_epoch(options: dict[str, Any], errors: int, others: int):
    data = toy()
    counts = torch.bincount(prepared("jm1", data, [some(60)], **options).epoch_data(data).index, minlength=60)
    assert torch.equal(counts, torch.where(some(60), errors, others))


def test_by_default_the_errors_fill_an_epoch():
    data = toy()
    counts = torch.bincount(prepared("jm1", data, [some(60)]).epoch_data(data).index, minlength=60)
    assert counts.sum() == 60
    assert counts[~some(60)].sum() == 0
    assert set(counts[some(60)].tolist()) == {6, 7}, "9 errors"


def test_a_class_without_an_error_is_not_forgotten():
    data = toy(classes=3)
    wrong = some(60) & (data.label != 1)
    counts = torch.bincount(prepared("jm1", data, [wrong]).epoch_data(data).index, minlength=60)
    assert counts.sum() == 60
    assert (counts[data.label == 1] == 1).all()
    assert (counts[wrong] >= 1).all()
    assert counts[~wrong & (data.label != 1)].sum() == 0


def test_without_identification_pairs_are_random_in_the_class():
    data = toy()
    method = prepared("jm1", data, [], identify="none")
    assert method.epoch_data(data) is data
    partners = pooled(method, data, torch.arange(60)).extra["partners"]
    assert torch.equal(partners.label, data.label)
    free = prepared("jm1", data, [], identify="none", conditional=False)
    assert (pooled(free, data, torch.arange(60)).extra["partners"].label != data.label).any()
    assert method.identification() is None


def test_a_net_that_mixes_at_its_output_alone_says_so():
    data = Dataset.of(torch.randint(0, 9, (8, 4)), torch.arange(8) % 2, kind="tokens", name="texts")
    with pytest.raises(UserError, match="jm1: this net can be mixed at its output alone, not at level=early"):
        build("jm1", data.info, net="transformer:width=8,layers=1,heads=2", options={"level": "early"})


# --- GroupJM1 ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", ["input", "output"])
def test_group_jm1_mixes_the_class_of_the_worst_group_with_it(level: str, monkeypatch: pytest.MonkeyPatch):
    data = toy()
    method = prepared("group-jm1", data, [], level=level, objective="erm")
    batch, group = data.batch(torch.arange(40)), data.group[:40]
    at = 0 if level == "input" else len(method.net.stages)
    with torch.no_grad():
        losses = torch.nn.functional.cross_entropy(method(batch.x), batch.label, reduction="none")
        h = forward(method.net, batch.x, 0, at)
    means = [float(losses[group == g].mean()) for g in range(4)]
    worst = means.index(max(means))
    blended, lerp = [], torch.lerp
    monkeypatch.setattr(
        torch, "lerp", lambda *given, out=None: blended.append([g.clone() for g in given]) or lerp(*given)
    )
    loss, logs = method.loss(batch)
    partner, own, share = (tensor.detach() for tensor in blended[0])
    torch.testing.assert_close(own, h)
    total, paired = 0.0, 0
    for i in range(40):
        mixed = share[i] * own[i] + (1 - share[i]) * partner[i]
        if batch.label[i] != worst // 2:
            assert torch.equal(partner[i], own[i])
        else:
            others = (batch.label == worst // 2) & ((group == worst) != (group[i] == worst))
            assert (h[others] == partner[i]).all(1).any(), "of the same class, in the worst group or out of it"
            paired += 1
        with torch.no_grad():
            total -= float(
                method.net.head(forward(method.net, mixed[None], at, None)).log_softmax(1)[0, batch.label[i]]
            )
    assert loss.item() == pytest.approx(total / 40, rel=1e-4)
    assert float(logs["paired"]) == pytest.approx(paired / 40)


def test_the_worst_group_has_the_largest_mean_and_is_in_the_batch():
    method = prepared("group-jm1", toy(), [])
    assert int(method._worst(torch.tensor([3.0, 1.0, 1.0, 1.0, 1.0]), torch.tensor([3, 0, 0, 0, 0]))) == 3
    assert int(method._worst(torch.zeros(2), torch.tensor([2, 2]))) == 2


def test_group_jm1_with_dro_moves_the_weights():
    data = toy()
    method = prepared("group-jm1", data, [], objective="dro", step=1.0)
    before = method.weights.q.clone()
    method.loss(data.batch(torch.arange(40)))
    assert not torch.equal(before, method.weights.q)


# --- UMIX -------------------------------------------------------------------------------------------------------------


def test_umix_weighs_by_the_share_of_wrong_epochs():
    wrong = [some(60, 2), some(60, 3), some(60, 5), some(60, 7)]
    u = torch.stack(wrong[1:3]).float().mean(0)
    method = prepared("umix", toy(), wrong, helper_epochs=4, start=1, window=2, eta=10.0)
    torch.testing.assert_close(method.weight, 10 * u + 1)
    paper = prepared("umix", toy(), wrong, helper_epochs=4, start=1, window=2, eta=10.0, count="paper")
    torch.testing.assert_close(paper.weight, 10 * torch.stack(wrong[1:4]).float().sum(0) / 2 + 1)
    whole = prepared("umix", toy(), wrong, helper_epochs=4, eta=4.0)
    torch.testing.assert_close(whole.weight, torch.stack(wrong).float().sum(0) + 1)


@pytest.mark.parametrize("options", [{"start": 3}, {"window": 4}, {"start": 1, "window": 2, "count": "paper"}])
def test_a_window_that_the_record_does_not_have(options: dict[str, Any]):
    with pytest.raises(UserError, match="are to be counted, but the record has 3, from 0; raise helper_epochs"):
        prepared("umix", toy(), [some(60)] * 3, helper_epochs=3, **options)


@pytest.mark.parametrize("level", ["input", "output"])
def test_umix_is_the_naive_loop(level: str, monkeypatch: pytest.MonkeyPatch):
    data = toy()
    method = prepared("umix", data, [some(60, 3), some(60)], sigma=1.0, level=level, alpha=2.0)
    shares, orders = [], []
    lerp, randperm = torch.lerp, torch.randperm
    monkeypatch.setattr(torch, "lerp", lambda a, b, w, out=None: shares.append(w) or lerp(a, b, w))
    monkeypatch.setattr(torch, "randperm", lambda *a, **k: orders.append(randperm(*a, **k)) or orders[0])
    batch = data.batch(torch.arange(20, 40))
    loss = method.loss(batch)[0]
    share = float(shares[0].flatten()[0])
    at = 0 if level == "input" else len(method.net.stages)
    net, total = method.net.double(), torch.zeros(())
    w = method.weight.double()
    h = forward(net, batch.x.double(), 0, at)
    for i, j in enumerate(orders[0].tolist()):
        log_p = net.head(forward(net, share * h[i : i + 1] + (1 - share) * h[j : j + 1], at, None)).log_softmax(1)[0]
        total = total - w[20 + i] * share * log_p[batch.label[i]] - w[20 + j] * (1 - share) * log_p[batch.label[j]]
    assert len(shares[0].unique()) == 1, "one share for the batch"
    assert loss.item() == pytest.approx(total.item() / 20, rel=1e-4)


def test_umix_that_never_mixes_is_a_weighted_mean():
    data = toy()
    method = prepared("umix", data, [some(60)], sigma=0.0, eta=3.0)
    batch = data.batch(torch.arange(60))
    losses = torch.nn.functional.cross_entropy(method(batch.x), batch.label, reduction="none")
    torch.testing.assert_close(method.loss(batch)[0], (losses * torch.where(some(60), 4.0, 1.0)).mean())


def test_umix_mixes_as_many_batches_as_sigma_says():
    data = toy()
    method = prepared("umix", data, [some(60)], sigma=0.3)
    batch, mixed = data.batch(torch.arange(8)), []
    own = method.mixture
    method.mixture = lambda batch: mixed.append(1) or own(batch)
    for _ in range(2000):
        method.loss(batch)
    assert len(mixed) / 2000 == pytest.approx(0.3, abs=0.04)


@pytest.mark.parametrize("name", ["jtt", "jm1", "umix"])
def test_published_settings_fit_the_loop(name: str):
    data = toy()
    for recipe in build(name, data.info).recipes.values():
        assert dataclasses.replace(TRAINING, **recipe.training).epochs >= 3
