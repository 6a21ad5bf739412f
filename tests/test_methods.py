"""Known answers of single methods, beside what the contract suite asks of all."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
from helpers import context

from longcut.context import calling
from longcut.data import Dataset, Splits, generator
from longcut.errors import UserError
from longcut.fit import Training, fit
from longcut.methods import build
from longcut.mixing import Partners


def data(n: int = 40, conflicting: int = 4) -> Dataset:
    label = torch.arange(n) % 2
    attribute = torch.where(torch.arange(n) < conflicting, 1 - label, label)
    x = torch.randn(n, 3, generator=generator(1)) + attribute[:, None]
    return Dataset.of(x, label, attribute, aligned=(0, 1))


def test_selecmix_freezes_its_biased_model_after_the_given_updates():
    part = data()
    method: Any = build("selecmix", part.info, net="mlp:hidden=4", options={"pairs": "learned", "auxiliary_steps": 3})
    after: list[dict[str, torch.Tensor]] = []

    def on_epoch(_):
        after.append({name: value.clone() for name, value in method.bias.net.state_dict().items()})

    training = Training(epochs=3, batch=20, pool=1)  # 2 updates each
    fit(method, Splits(part, None, part), training, observers=[calling(on_epoch=on_epoch)])
    assert int(method.updates) == 3
    assert any(not torch.equal(after[0][name], after[1][name]) for name in after[0])
    assert all(torch.equal(after[1][name], after[2][name]) for name in after[1])


def selecmix(part: Dataset, net: str = "mlp:hidden=4", **options: Any) -> Any:
    method: Any = build("selecmix", part.info, net=net, options={"pairs": "learned", **options})
    method.context = context(part, 7)
    return method


def state(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def test_a_pretrained_biased_model_learns_before_training_and_never_again():
    part = data()
    method = selecmix(part, pretrain=2)
    before, after = state(method.bias.net), []
    training = Training(epochs=3, batch=20, pool=1)
    watch = calling(on_epoch=lambda _: after.append(state(method.bias.net)))
    fit(method, Splits(part, None, part), training, observers=[watch])
    assert any(not torch.equal(before[name], after[0][name]) for name in before)
    parameters = dict(method.bias.net.named_parameters())
    assert all(torch.equal(after[0][name], after[2][name]) for name in parameters)
    assert method.candidate_set is not None  # the bank serves from the first epoch on
    held = {id(p) for optimizer in method.optimizers(training) for g in optimizer.param_groups for p in g["params"]}
    assert not held & {id(p) for p in parameters.values()}


def test_pretraining_lasts_as_many_epochs_as_asked():
    sizes, part = [], data()
    method = selecmix(part, pretrain=3)
    own = method.bias.learning_loss
    method.bias.learning_loss = lambda x, label: sizes.append(len(x)) or own(x, label)
    fit(method, Splits(part, None, part), Training(epochs=1, batch=20, pool=1))
    assert sizes == [20] * 6


@pytest.mark.parametrize("base", ["lff", "dfa", "end", "rebias"])
def test_beside_a_base_the_loss_is_the_bases_plus_the_weighted_mixtures(base):
    part = data()
    method = selecmix(part, base=base, mixed_weight=0.1, pretrain=1, partners="pool", unmixed=0.0)
    method.on_epoch(context(part, 7, 0, 99))  # DFA does not swap yet
    method.eval()
    batch = method.on_pool(part.batch(torch.arange(20)))
    kept = state(method)
    total = method.loss(batch)[0]
    method.load_state_dict(kept)  # LfF and DFA remember losses
    partners = batch.extra["partners"]
    mixed = partners.share[:, None] * batch.x + (1 - partners.share[:, None]) * partners.x
    expected = torch.nn.functional.cross_entropy(method.net(mixed), partners.label)
    torch.testing.assert_close(total, method.base.loss(batch)[0] + 0.1 * expected)
    assert method.net is method.base.net


def test_mixup_beside_lff_is_the_sum_of_both():
    part = data()
    method: Any = build(
        "mixup", part.info, net="mlp:hidden=4", options={"base": "lff", "mixed_weight": 0.3, "alpha": 0}
    )
    method.on_epoch(context(part, 1))
    batch = part.batch(torch.arange(20))
    kept = state(method)
    total = method.loss(batch)[0]
    method.load_state_dict(kept)
    plain = torch.nn.functional.cross_entropy(method(batch.x), batch.label)  # with alpha=0 mixtures are the samples
    torch.testing.assert_close(total, method.base.loss(batch)[0] + 0.3 * plain)


def test_mixup_beside_lff_needs_classes():
    numbers = Dataset.of(torch.rand(8, 3), torch.rand(8))
    with pytest.raises(UserError, match=r"base=lff needs classes, but data is regression; use base=erm"):
        build("mixup", numbers.info, options={"base": "lff"})


def test_mixtures_beside_dfa_leave_its_biased_encoder_alone():
    part = data()
    method = selecmix(part, base="dfa", pretrain=1, partners="pool", unmixed=0.0)
    method.on_epoch(context(part, 7, 0, 99))
    batch = method.on_pool(part.batch(torch.arange(20)))
    method.base.loss = lambda _: (torch.zeros(()), {})
    method.loss(batch)[0].backward()
    intrinsic, biased = method.net.stages[0].intrinsic, method.net.stages[0].biased
    assert any(p.grad is not None and p.grad.any() for p in intrinsic.parameters())
    others = [*biased.parameters(), *method.base.biased_head.parameters()]
    assert not any(p.grad is not None and p.grad.any() for p in others)


def test_batches_as_they_are_reach_batch_normalisation_alone():
    """After one step from zero, running mean = 0.9 * (0.1 plain) + 0.1 mixed, and the loss is that of the mixtures."""
    part = data()
    x = torch.rand(40, 3, 6, 6, generator=generator(2))
    images = Dataset.of(x, part.label, part.attribute, aligned=(0, 1))
    means = {}
    for shown in (False, True):
        method = selecmix(images, "conv:width=2", unmixed_forward=shown, partners="pool", unmixed=0.0).train()
        method.on_epoch(context(images, 7, 0, 2))
        batch = method.on_pool(images.batch(torch.arange(20)))
        first = method.net.stages[0]
        partners = batch.extra["partners"]
        share = partners.share[:, None, None, None]
        views = [first[0](view).mean((0, 2, 3)) for view in (batch.x, share * batch.x + (1 - share) * partners.x)]
        loss = method.loss(batch)[0]
        means[shown] = first[1].running_mean.clone(), loss, views
    found, loss, (plain, mixed) = means[True]
    torch.testing.assert_close(found, 0.09 * plain + 0.1 * mixed)
    torch.testing.assert_close(means[False][0], 0.1 * means[False][2][1])
    torch.testing.assert_close(loss, means[False][1])


def test_the_biased_model_may_learn_by_sgd_as_on_faces():
    part = data()
    method = selecmix(part, auxiliary_optimizer="sgd", auxiliary_lr=0.4)
    optimizer = method.optimizers(Training())[1]
    assert isinstance(optimizer, torch.optim.SGD)
    group = optimizer.param_groups[0]
    assert (group["lr"], group["momentum"], group["weight_decay"]) == (0.4, 0.9, 1e-4)


def test_conflicting_partners_are_counted_among_those_that_were_found():
    part = data()  # of 40, the first four conflict
    method = selecmix(part)
    partners = Partners(
        torch.zeros(4, 3),
        part.label[[0, 1, 20, 21]],
        torch.ones(4),
        torch.tensor([True, False, True, True]),
        part.attribute[[0, 1, 20, 21]],  # type: ignore[index]
    )
    logs = method.partner_logs(partners)
    assert logs["conflicting_partners"].tolist() == [1, 3]
    assert logs["paired"].item() == 0.75
    assert "conflicting_partners" not in method.partner_logs(dataclasses.replace(partners, attribute=None))


@pytest.mark.parametrize("name", ["mixup", "lisa", "selecmix:pairs=learned", "selecmix:pairs=attribute"])
def test_every_pairing_method_logs_its_conflicting_partners(name):
    part = data()
    name, _, option = name.partition(":")
    options = dict([option.split("=")]) if option else {}
    method = build(name, part.info, net="mlp:hidden=4", options={**options, **({"unmixed": 0.0} if option else {})})
    row = fit(method, Splits(part, None, part), Training(epochs=1, batch=40, pool=1)).history[0]
    assert 0 <= row["conflicting_partners"] <= 1
    if option == "pairs=attribute":  # the bank of true attributes holds nobody else
        assert row["conflicting_partners"] == 1


def test_with_the_released_argmax_partners_of_the_own_label_in_mode_b_are_counted():
    part = data()
    method = selecmix(part, argmax="code", mode="B", partners="pool", unmixed=0.0, within=0.0)
    method.on_epoch(context(part, 7, 0, 2))
    # the pool is remembered by what embed says of it: each label in a direction of its own, opposite to the other
    method.bias.embed = lambda x: torch.where(part.label[:20, None] == 0, 1.0, -1.0) * torch.eye(128)[0]
    batch = method.on_pool(part.batch(torch.arange(20)))
    assert method.loss(batch)[1]["same_label_in_b"] == 1
    method.bias.embed = lambda x: torch.eye(128)[0].expand(20, -1)  # everybody alike: negatives win
    assert method.loss(method.on_pool(part.batch(torch.arange(20))))[1]["same_label_in_b"] == 0


def test_partners_from_the_bank_are_augmented_as_the_pool_is():
    part = data()
    method = selecmix(part, pairs="attribute", unmixed=0.0)
    method.on_epoch(context(part, 7, augment=lambda x, generator: x + 100))
    batch = method.on_pool(part.batch(torch.arange(20)))
    assert (batch.extra["partners"].x > 50).all()


def mislabelled(n: int = 60) -> Dataset:
    """The cue (column 0) agrees with the label except in the first twelve; column 1 says which of those are right."""
    label = torch.arange(n) % 2
    cue = torch.where(torch.arange(n) < 12, 1 - label, label)
    shape = torch.where(torch.arange(n) < 8, cue, label)  # eight have wrong labels, four conflict
    return Dataset.of(torch.stack([cue, shape, shape], 1).float(), label, cue, aligned=(0, 1))


def confirming(part: Dataset, **options: Any) -> Any:
    """After the first epoch: the biased model sees the cue, the main net the shape."""
    method = selecmix(part, unmixed=8.0, **options)
    method.updates += 1
    method.bias.embed = lambda x: torch.nn.functional.one_hot(x[:, 0].long(), 128).float()
    method.net.forward = lambda x: torch.stack([-x[:, 1], x[:, 1] - 0.5], 1)
    method.on_epoch(context(part, 7, 1, 9))
    return method


def left_as_they_are(method: Any) -> float:
    """The share of samples that this epoch's rules leave alone."""
    return method._candidate_set(method.context.data)[1]


def test_where_too_much_contradicts_the_cue_what_the_main_net_confirms_is_mixed():
    method = confirming(mislabelled())  # 12 of 60 are unexplained, times 8 is above 1
    assert method.candidate_set.index.tolist() == [8, 9, 10, 11]
    assert left_as_they_are(method) == pytest.approx(8 * 4 / 60)
    assert method.net.training


def test_without_confirmation_or_with_little_to_doubt_the_biased_model_is_believed():
    method = confirming(mislabelled(), confirm=False)
    assert left_as_they_are(method) == 1
    assert set(method.candidate_set.index.tolist()) <= set(range(12))
    few = confirming(mislabelled(600))  # 12 of 600, times 8 is below 1
    assert left_as_they_are(few) == pytest.approx(8 * 12 / 600)
    assert 0 in few.candidate_set.index


def test_where_the_main_net_confirms_nobody_samples_stay_as_they_are():
    part = mislabelled().take(torch.tensor([*range(8), *range(12, 60)]))
    method = confirming(part)
    assert left_as_they_are(method) == 1
    assert len(method.candidate_set)
    assert not method.on_pool(part.batch(torch.arange(20))).extra["partners"].found.any()


def test_token_ids_cannot_be_mixed_beside_dfa():
    words = Dataset.of(torch.randint(1, 9, (20, 5)), torch.arange(20) % 2, kind="tokens")
    with pytest.raises(UserError, match=r"base=dfa mixes inputs, but data holds token ids; use base=lff or base=erm"):
        build("selecmix", words.info, net="tokens", options={"base": "dfa"})


@pytest.mark.parametrize(("unmixed", "expected"), [(0.0, 0.0), (2.0, 0.2), (8.0, 0.8), (20.0, 1.0)])
def test_selecmix_leaves_samples_as_they_are_in_proportion_to_what_contradicts(unmixed, expected):
    part = data()  # a tenth of it conflicts
    method: Any = build("selecmix", part.info, net="mlp:hidden=4", options={"pairs": "attribute", "unmixed": unmixed})
    history = fit(method, Splits(part, None, part), Training(epochs=60, batch=20, pool=1)).history
    assert left_as_they_are(method) == pytest.approx(expected)
    alone = 1 - sum(row["paired"] for row in history) / len(history)
    # with two values, a conflicting anchor (one in ten) has no contradicting partner among the conflicting
    assert alone == pytest.approx(expected + (1 - expected) * 0.1, abs=0.03)


def test_lff_against_a_loop_over_samples():
    part = data(8, 2)
    method: Any = build("lff", part.info, net="mlp:hidden=4", options={"q": 0.7})
    batch = part.batch(torch.arange(8))
    loss, _ = method.loss(batch)
    p = [net(batch.x).double().softmax(1) for net in (method.biased, method.net)]
    ce = [[-math.log(float(rows[i, int(part.label[i])].detach())) for i in range(8)] for rows in p]
    total = 0.0
    for i in range(8):
        peers = [j for j in range(8) if part.label[j] == part.label[i]]
        biased, debiased = (values[i] / max(values[j] for j in peers) for values in ce)
        likely = math.exp(-ce[0][i])
        total += biased / (biased + debiased) * ce[1][i] + (1 - likely**0.7) / 0.7
    assert float(loss.detach()) == pytest.approx(total / 8, rel=1e-5)
