"""Attributes that are known for some samples: what is unknown, -1, belongs to no group, anywhere."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from test_contract import Case, cases, fitted, helped, made, tiny_images, tiny_targets
from torch import Tensor

from longcut import UserError, mixing, penalties
from longcut.context import Context
from longcut.data import (
    Batch,
    Dataset,
    Info,
    Splits,
    balance,
    episodes,
    generator,
    ranks,
    split,
    undersample,
    usual_attribute,
)
from longcut.estimators import DebiasedClassifier, GroupBalancer, worst_group_accuracy
from longcut.evaluate import METRICS, metrics, sample_values, scores
from longcut.losses import cross_entropy
from longcut.methods import METHODS, build
from longcut.methods.reweighting.group_dro import GroupWeights

TOLD = {
    ("by", "group"),
    ("pairs", "attribute"),
    ("identify", "oracle"),
    ("identify", "attribute"),
    ("probe", "balanced"),
}


def forgetting(data: Dataset, each: int) -> Dataset:
    """The attribute is known of that many samples of each group."""
    known = ranks(data.group) < each
    attribute = torch.where(known, data.attribute, -1)  # type: ignore[arg-type]
    return dataclasses.replace(data, attribute=attribute, info=dataclasses.replace(data.info, partial=True))


def parts(make: Any, n: int = 300) -> Splits:
    """A tenth of the training attributes is known, and about half of the others."""
    train, valid, test = make(n, 0), make(120, 1), make(120, 2)
    return Splits(forgetting(train, n // (10 * train.info.n_groups)), forgetting(valid, 12), forgetting(test, 12))


def told() -> list[Any]:
    chosen = [
        case
        for case in cases()
        if "attribute" in case.method.needs or TOLD & {*case.options.items()} or case.method.name == "dfr"
    ]
    return [pytest.param(case, id=case.id) for case in chosen]


@pytest.mark.parametrize("case", told())
def test_every_method_that_uses_the_attribute_learns_where_a_tenth_is_known(case: Case):
    data = parts(tiny_targets if case.data.startswith("target") else tiny_images)
    assert 0.05 < float(data.train.known.double().mean()) < 0.15
    if not (case.method.partial or "attribute" not in case.method.needs):
        with pytest.raises(
            UserError, match=r"needs the attribute of each training sample, but .* has it of \d+ of \d+"
        ):
            fitted(case.method, case.options, data)
        return
    select = "best:worst_group" if case.method.judged_by_epoch else "last"
    done = fitted(case.method, {"epochs": 2, **case.options}, data, select=select)
    assert all(torch.isfinite(value).all() for value in done.method.state_dict().values() if value.is_floating_point())
    assert all(np.isfinite(row["loss"]) for row in done.history)
    values = sample_values(done.method(data.test.gather(torch.arange(len(data.test)))).detach(), data.test)
    found, expected = metrics(values, data.test, data.train), by_hand(values, data.test, data.train)
    assert {name: found[name] for name in expected} == pytest.approx(expected)


def by_hand(values: Tensor, data: Dataset, train: Dataset) -> dict[str, float]:
    """A loop over samples, in double precision."""
    assert data.attribute is not None and train.attribute is not None
    cells: dict[tuple[int, int], list[float]] = {}
    sides: dict[bool, list[float]] = {True: [], False: []}
    classify = data.info.task == "classification"
    for value, label, a in zip(values.tolist(), data.label.tolist(), data.attribute.tolist(), strict=True):
        if a >= 0:
            cells.setdefault((label if classify else 0, a), []).append(value)
            if classify:
                sides[data.info.aligned[label] == a].append(value)
    means = {cell: sum(some) / len(some) for cell, some in cells.items()}
    found = {"average": float(values.double().mean()), "group_mean": sum(means.values()) / len(means)}
    found["worst_group"] = min(means.values()) if classify else max(means.values())
    if classify:
        found |= {
            "aligned": sum(sides[True]) / len(sides[True]),
            "conflicting": sum(sides[False]) / len(sides[False]),
        }
        pairs = [(y, a) for y, a in zip(train.label.tolist(), train.attribute.tolist(), strict=True) if a >= 0]
        found["train_weighted"] = sum(means[cell] * pairs.count(cell) / len(pairs) for cell in means)
    return found


# --- data -------------------------------------------------------------------------------------------------------------


def few(label: list[int], attribute: list[int], **info: Any) -> Dataset:
    return Dataset.of(torch.arange(len(label)).float()[:, None], label, attribute, **info)


def test_groups_parts_and_who_contradicts():
    data = few([0, 0, 1, 1, 1], [0, -1, 1, -1, 0], aligned=(0, 1))
    assert (data.info.partial, data.info.n_groups, data.info.n_attributes) == (True, 4, 2)
    assert data.group.tolist() == [0, -1, 3, -1, 2]
    assert data.info.strata(data.label, data.attribute).tolist() == [0, 4, 3, 5, 2]  # type: ignore[arg-type]
    assert data.conflicting.tolist() == [False, False, False, False, True]
    assert data.known.tolist() == [True, False, True, False, True]
    assert not few([0, 1], [0, 1]).info.partial
    assert Dataset.of(torch.rand(2, 1), [0, 1]).known.tolist() == [False, False]
    targets = Dataset.of(torch.rand(3, 1), [0.1, 0.2, 0.3], [1, -1, 0])
    assert targets.group.tolist() == [1, -1, 0]
    assert targets.info.strata(targets.label, targets.attribute).tolist() == [1, 2, 0]  # type: ignore[arg-type]


def test_a_guess_is_no_knowledge():
    data = dataclasses.replace(few([0, 1, 1], [0, 1, 0]), guessed=torch.tensor([False, False, True]))
    assert data.unguessed().attribute.tolist() == [0, 1, -1]  # type: ignore[union-attr]
    assert data.take(torch.tensor([2])).guessed.tolist() == [True]  # type: ignore[union-attr]
    assert data.unguessed().unguessed().guessed is None


@pytest.mark.parametrize(
    ("attribute", "message"),
    [
        (
            [-1, 1, 1],
            "attribute has no other values than -1 and 1, but -1 says that it is not known; number its",
        ),
        ([-1, -1, -1], "attribute has -1 alone, but -1 says that it is not known"),
        (
            [-2, 0, 1],
            r"attribute -2 is not in 0…1; number the attributes from 0 without gaps, -1 where it is not",
        ),
    ],
)
def test_attributes_that_are_refused(attribute: list[int], message: str):
    with pytest.raises(UserError, match=message):
        few([0, 1, 1], attribute)


def test_labels_are_never_unknown():
    with pytest.raises(UserError, match=r"label -1 is not in 0…1; number the labels from 0 without gaps\."):
        few([0, 1, -1], [0, 1, 0])


def test_what_is_usual_is_told_by_the_known():
    known = few([0, 0, 0, 1, 1, 1, 0, 1], [1, 1, 0, 0, 0, 1, -1, -1])
    assert usual_attribute(known) == usual_attribute(known.take(known.known)) == (1, 0)


def test_balancing_draws_groups_alike_and_nobody_unknown_twice():
    # 100 samples: 2 + 4 of known groups; 90 and 4 of no group in the two classes
    label = [0] * 2 + [1] * 4 + [0] * 90 + [1] * 4
    data = few(label, [0, 0] + [1] * 4 + [-1] * 94)
    drawn = balance(data, "group", generator(0))
    group = drawn.info.strata(drawn.label, drawn.attribute)  # type: ignore[arg-type]
    size = torch.bincount(group, minlength=6)
    # a part each of 25; the 4 of class 1 are not repeated, and the 21 places they leave go to the known groups
    assert size[5] == 4 and size[4] == 25
    assert sorted(size[[0, 3]].tolist()) == [35, 36]
    assert size[[1, 2]].tolist() == [0, 0]
    assert len(drawn.index[group >= 4].unique()) == 29, "nobody twice"


def test_balancing_where_nothing_is_known_balances_classes():
    drawn = balance(few([0] * 6 + [1] * 2, [-1] * 8, n_attributes=2), "group", generator(0))
    assert drawn.label.bincount().tolist() == [4, 4]


def test_cutting_keeps_no_more_of_the_unknown_than_of_the_smallest_group():
    data = few([0] * 5 + [1] * 3 + [0] * 9 + [1], [0] * 5 + [1] * 3 + [-1] * 10)
    kept = undersample(data, "group", generator(0))
    assert kept.info.strata(kept.label, kept.attribute).bincount().tolist() == [3, 0, 0, 3, 3, 1]  # type: ignore[arg-type]
    nobody = undersample(few([0] * 5 + [1] * 3, [-1] * 8, n_attributes=2), "group", generator(0))
    assert nobody.label.bincount().tolist() == [3, 3]


def test_splitting_by_group_splits_the_unknown_by_class():
    data = few([0] * 4 + [1] * 4 + [0] * 8 + [1], [0] * 4 + [1] * 4 + [-1] * 9)
    rest, held = split(data, 0.5, generator(0), "group")
    assert held.info.strata(held.label, held.attribute).bincount(minlength=6).tolist() == [2, 0, 0, 2, 4, 0]  # type: ignore[arg-type]
    assert len(rest) + len(held) == len(data), "the only unknown one of class 1 stays"


def test_tasks_are_drawn_of_known_ones():
    data = Dataset.of(torch.rand(30, 1), torch.rand(30), torch.arange(30) % 3 - 1)
    drawn = episodes(data, "attribute", ways=2, shots=3, queries=3, count=20, generator=generator(0))
    assert data.attribute is not None
    assert set(drawn.ways.unique().tolist()) == {0, 1}
    assert (data.attribute[drawn.support] == drawn.ways.repeat_interleave(3, 1)).all()
    assert (data.attribute[drawn.query] == drawn.ways.repeat_interleave(3, 1)).all()


# --- judging ----------------------------------------------------------------------------------------------------------


def judged(n: int = 60, **info: Any) -> tuple[Tensor, Dataset, Dataset]:
    g = generator(5)
    label = torch.randint(2, (n,), generator=g)
    attribute = torch.randint(-1, 3, (n,), generator=g)
    data = Dataset.of(torch.zeros(n, 1), label, attribute, aligned=(0, 2), **info)
    train = few([0, 0, 0, 1, 1, 1, 1], [0, 0, 1, 2, 1, -1, -1], n_attributes=3, aligned=(0, 2))
    return torch.rand(n, generator=g), data, train


def test_groups_are_judged_on_the_known_and_the_rest_on_all():
    values, data, train = judged()
    found = metrics(values, data, train)
    expected = by_hand(values, data, train)
    assert {name: found[name] for name in expected} == pytest.approx(expected)
    classes = [float(values[data.label == c].double().mean()) for c in (0, 1)]
    assert (found["worst_class"], found["balanced"]) == pytest.approx((min(classes), sum(classes) / 2))
    told = data.take(data.known)
    gaps = [name for name in METRICS if name.startswith(("equal", "demographic"))]
    alone = metrics(values[data.known], told, train)
    assert {name: found[name] for name in gaps} == pytest.approx({name: alone[name] for name in gaps})


def test_scores_have_the_known_groups_alone():
    values, data, train = judged()
    found, told = scores(values, data, train, draws=50), scores(values[data.known], data.take(data.known), draws=50)
    assert [(g.label, g.attribute, g.n) for g in found.groups] == [(g.label, g.attribute, g.n) for g in told.groups]
    assert [g.value for g in found.groups] == pytest.approx([g.value for g in told.groups])
    assert sum(group.n for group in found.groups) == int(data.known.sum()) < found.n == 60


def test_where_nothing_is_known_groups_are_not_defined():
    values, data, train = judged()
    blind = dataclasses.replace(data, attribute=torch.full((60,), -1))
    found = metrics(values, blind, train)
    assert np.isnan([found[name] for name in ("worst_group", "group_mean", "aligned", "conflicting")]).all()
    assert found["average"] == pytest.approx(float(values.double().mean()))
    nobody = dataclasses.replace(train, attribute=torch.full((7,), -1))
    assert np.isnan(metrics(values, data, nobody)["train_weighted"])


def test_overlapping_groups_are_told_apart_from_an_unknown_attribute():
    g = generator(3)
    members = torch.rand(50, 2, generator=g) < 0.5
    label, attribute = torch.randint(2, (50,), generator=g), torch.randint(-1, 2, (50,), generator=g)
    data = Dataset.of(torch.zeros(50, 1), label, attribute, memberships=members, aligned=(0, 1))
    values = torch.rand(50, generator=g)
    rows = [(label == c) & members[:, m] for c, m in itertools.product((0, 1), (0, 1))]
    found = metrics(values, data)
    assert found["worst_group"] == pytest.approx(min(float(values[row].double().mean()) for row in rows))
    against = (attribute >= 0) & (attribute != label)
    assert found["conflicting"] == pytest.approx(float(values[against].double().mean()))


def test_nothing_can_be_selected_by_groups_that_nobody_knows():
    data = parts(tiny_images)
    assert data.valid is not None
    blind = dataclasses.replace(data.valid, attribute=torch.full((len(data.valid),), -1))
    with pytest.raises(UserError, match="cannot select by worst_group: it is not defined on the valid set"):
        fitted(METHODS["erm"], {}, dataclasses.replace(data, valid=blind), select="best:worst_group")
    none = dataclasses.replace(data.train, attribute=torch.full((len(data.train),), -1))
    with pytest.raises(UserError, match=r"lisa needs the attribute of each training sample, but .* of some at least"):
        fitted(METHODS["lisa"], {}, dataclasses.replace(data, train=none))


# --- methods ----------------------------------------------------------------------------------------------------------


def test_weights_of_groups_move_by_known_samples_alone():
    losses, group = torch.tensor([2.0, 4.0, 1.0, 9.0]), torch.tensor([0, 0, 1, -1])
    told, all_of_them = GroupWeights(3, 0.5), GroupWeights(3, 0.5)
    told.start(group[:3])
    all_of_them.start(group)
    assert all_of_them.size.tolist() == [2, 1, 0]
    assert all_of_them.update(losses, group) == told.update(losses[:3], group[:3])
    assert torch.equal(all_of_them.q, told.q)


def test_group_dro_keeps_the_weight_of_the_unknown():
    data = few([0, 0, 1, 1, 1], [0, -1, 1, 1, -1])
    method = build("group-dro", data.info, net="linear", options={"step": 0.5})
    method.weights.start(data.group)  # type: ignore[union-attr, operator]
    losses = torch.tensor([1.0, 5.0, 2.0, 4.0, 7.0])
    q = np.array([0.5 * np.exp(0.5 * 1.0), 0.5 * np.exp(0.5 * 3.0)])
    robust = (q / q.sum()) @ np.array([1.0, 3.0])
    found = float(method.robust(losses, data.group))  # type: ignore[operator]
    assert found == pytest.approx(3 / 5 * robust + 2 / 5 * 6.0, rel=1e-6)


def test_the_worst_group_is_a_known_one():
    data = few([0, 0, 1, 1], [0, -1, 1, -1])
    method: Any = build("group-jm1", data.info, net="linear")
    assert int(method._worst(torch.tensor([1.0, 99.0, 2.0, 99.0]), data.group)) == 3


def test_reweighting_gives_the_unknown_of_a_class_one_groups_weight_and_nobody_more_than_a_known_one():
    # groups of 6, 2, 1 and 3; the unknown: 10 of class 0 and one of class 1
    label = [0] * 8 + [1] * 4 + [0] * 10 + [1]
    data = few(label, [0] * 6 + [1] * 2 + [0] + [1] * 3 + [-1] * 11)
    method: Any = build("reweight", data.info, net="linear", options={"by": "group"})
    method.prepare(data, helped)
    weight = method.weight[method.group(data)].double()
    each = weight / weight[0] / 6  # so that a group weighs 1 in all
    assert each[[0, 6, 8, 9]].tolist() == pytest.approx([1 / 6, 1 / 2, 1, 1 / 3])
    assert each[12:22].tolist() == pytest.approx([1 / 10] * 10), "ten of no group weigh as much as a group"
    assert float(each[22]) == pytest.approx(1 / 3), "the only one weighs what one of its class's largest group does"


def test_logits_of_the_unknown_are_adjusted_by_their_own_labels():
    data = few([0, 0, 0, 1, 0, 1, 1, 1], [0, 0, 0, 0, 1, -1, -1, -1])
    method: Any = build("logit-adjustment", data.info, net="linear", options={"by": "group"})
    method.prepare(data, helped)
    assert method.adjustment.exp()[:, 1].tolist() == pytest.approx([1 / 4, 0, 1], abs=1e-6)
    assert method.value(data).tolist() == [0, 0, 0, 0, 1, 2, 2, 2]


@pytest.mark.parametrize("name", ["fg-ccdb", "gerne"])
def test_that_it_is_unknown_is_one_more_value_and_nobodys_minority(name: str):
    data = few([0, 0, 0, 1, 1, 1], [0, 1, -1, 1, 1, -1])
    method: Any = build(name, data.info, net="linear", options={"identify": "attribute"})
    assert method.find(data, helped).tolist() == [0, 1, 2, 1, 1, 2]
    assert method.chosen.tolist() == [False, True, False, False, False, False]
    assert method.shortcut.tolist() == [0, 1, -1, 1, 1, -1]


def test_who_is_unknown_has_no_partner_and_is_nobodys():
    g = generator(1)
    label, attribute = torch.randint(3, (60,), generator=g), torch.randint(-1, 2, (60,), generator=g)
    batch = Batch(torch.zeros(60, 1), label, attribute, torch.arange(60))
    for take in ("random", "first"):
        for rule in (mixing.same_label(other_attribute=True, take=take), mixing.same_attribute(take=take)):  # type: ignore[arg-type]
            pairs = rule(batch, batch, generator(2))
            assert not pairs.found[attribute < 0].any()
            assert pairs.found[attribute >= 0].all()
            assert (attribute[pairs.partner[pairs.found]] >= 0).all()


def test_no_pair_among_the_known_is_refused():
    label, attribute = torch.tensor([0, 0, 1, 1]), torch.tensor([0, -1, 1, -1])
    with pytest.raises(UserError, match="lisa finds no pair to mix in mode A"):
        mixing.require_contradiction(label, attribute, "both", "lisa")


def test_the_share_of_conflicting_partners_is_of_the_known():
    data = parts(tiny_images).train
    method: Any = build("mixup", data.info, net="mlp:hidden=4")
    partners = mixing.Partners(
        torch.zeros(4, 1), torch.tensor([0, 0, 1, 1]), torch.ones(4), torch.tensor([True, True, True, False]),
        torch.tensor([1, -1, 1, 0]),
    )  # fmt: skip
    assert method.partner_logs(partners)["conflicting_partners"].tolist() == [1, 2]


@pytest.mark.parametrize("pairs", ["paper", "code"])
@pytest.mark.parametrize("penalty", [penalties.disentangle, penalties.entangle])
def test_penalties_are_those_of_the_known(penalty: Any, pairs: str):
    g = generator(4)
    z = torch.nn.functional.normalize(torch.randn(40, 3, generator=g, dtype=torch.float64), dim=1)
    label, attribute = torch.randint(2, (40,), generator=g), torch.randint(-1, 2, (40,), generator=g)
    told = attribute >= 0
    alone = penalty(z[told], label[told], attribute[told], pairs=pairs)
    torch.testing.assert_close(penalty(z, label, attribute, pairs=pairs), alone)
    assert float(penalty(z, label, torch.full_like(attribute, -1), pairs=pairs)) == 0


@pytest.mark.parametrize("given", ["label", "nothing"])
def test_dependence_is_that_of_the_known(given: str):
    g = generator(4)
    z, label = torch.randn(40, 3, generator=g), torch.randint(2, (40,), generator=g)
    attribute = torch.randint(-1, 2, (40,), generator=g)
    method: Any = build("hsic", Info("toy", (3,), 2, 2), net="linear", options={"given": given})
    told = attribute >= 0
    alone = method.dependence(z[told], label[told], attribute[told])
    torch.testing.assert_close(method.dependence(z, label, attribute), alone)
    assert float(method.dependence(z, label, torch.full_like(attribute, -1))) == 0


@pytest.mark.parametrize("constraint", ["equalized-odds", "demographic-parity"])
def test_the_adversary_is_asked_of_the_known(constraint: str):
    data = few([0, 0, 0, 1, 1, 1], [0, 1, -1, 1, -1, 0])
    method: Any = build("laftr", data.info, net="mlp:hidden=3", options={"constraint": constraint})
    method.prepare(data, helped)
    batch = data.batch(torch.arange(6))
    z = method.net.features(batch.x)
    found = method.unmasked(batch, z)
    told = data.known
    method.prepare(data.take(told), helped)  # of four known ones each cell has its share
    alone = method.unmasked(batch[told], z[told])
    torch.testing.assert_close(found, alone)  # a sum over cells of their means, whoever else is there


def test_dfr_fits_on_the_known_alone():
    data = parts(tiny_images)
    assert data.valid is not None
    told = dataclasses.replace(data, valid=data.valid.take(data.valid.known))
    one, other = (fitted(METHODS["dfr"], {"epochs": 1, "subsamples": 2}, some) for some in (data, told))
    assert torch.equal(one.method.net.head.weight, other.method.net.head.weight)  # type: ignore[union-attr]


def test_dfr_balances_classes_where_no_attribute_is_known():
    data = parts(tiny_images)
    assert data.valid is not None
    blind = dataclasses.replace(data.valid, attribute=torch.full((len(data.valid),), -1))
    one, other = (
        fitted(METHODS["dfr"], {"epochs": 1, **options}, dataclasses.replace(data, valid=blind))
        for options in ({}, {"by": "class"})
    )
    assert torch.equal(one.method.net.head.weight, other.method.net.head.weight)  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ["jtt", "jm1"])
def test_the_oracle_knows_the_known(name: str):
    data = parts(tiny_images)
    method = made(METHODS[name], {"identify": "oracle"}, data)
    method.context = Context(generator(0), data.train)
    method.prepare(data.train, helped)
    assert torch.equal(method.chosen[data.train.index], data.train.conflicting)
    assert 0 < int(method.chosen.sum()) < len(data.train) / 8


def test_selecmix_leaves_as_many_unmixed_as_contradict_among_the_known():
    data = parts(tiny_images)
    method = made(METHODS["selecmix"], {"pairs": "attribute"}, data)
    rows, unmixed = method._candidate_set(data.train)
    told = data.train.take(data.train.known)
    assert len(rows) == int(told.conflicting.sum())
    assert unmixed == min(1.0, 4 * float(told.conflicting.float().mean()))


# --- reading ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("kind", ["text", "numbers"])
def test_an_empty_cell_is_an_unknown_attribute(tmp_path, suffix: str, kind: str):
    values: list[Any] = ["lake", None, "wood", None] * 10 if kind == "text" else [2, None, 5, None] * 10
    frame = pd.DataFrame({"x": np.arange(40.0), "y": [0, 1, 1, 0] * 10, "place": values})
    path = tmp_path / f"birds{suffix}"
    frame.to_csv(path, index=False) if suffix == ".csv" else frame.to_parquet(path)
    data = Dataset.from_table(path, label="y", attribute="place")
    assert data.attribute is not None
    assert data.attribute.tolist() == [0, -1, 1, -1] * 10
    assert data.info.attribute_names == (("lake", "wood") if kind == "text" else ("2", "5"))
    assert data.info.partial
    assert len(data.info.aligned) == 2


def test_an_attribute_in_ranges_may_be_unknown():
    frame = pd.DataFrame({"x": np.arange(40.0), "y": [0, 1] * 20, "age": [None, *range(20, 59)]})
    data = Dataset.from_table(frame, label="y", attribute="age")
    assert data.attribute is not None
    assert (data.attribute < 0).nonzero().flatten().tolist() == [0]
    assert data.info.attribute_names == ("20–29", "30–39", "40–48", "49–58")


def test_known_values_that_agree_with_the_label_are_taken_for_chance():
    frame = pd.DataFrame({"x": np.arange(12.0), "y": [0, 1] * 6, "place": ["a", "b"] + [None] * 10})
    assert Dataset.from_table(frame, label="y", attribute="place").info.n_attributes == 2
    frame["place"] = ["a", "b"] * 6
    with pytest.raises(UserError, match="attribute 'place' says the same as label 'y' in every row"):
        Dataset.from_table(frame, label="y", attribute="place")


def test_an_attribute_that_is_nowhere_known_is_refused():
    frame = pd.DataFrame({"x": np.arange(12.0), "y": [0, 1] * 6, "place": [None] * 12})
    with pytest.raises(UserError, match="attribute 'place' is missing in every row; fill in some, or name none"):
        Dataset.from_table(frame, label="y", attribute="place")


def test_new_rows_by_an_encoding_keep_what_is_unknown():
    from longcut.sources.table import read_table

    frame = pd.DataFrame({"x": np.arange(12.0), "y": [0, 1] * 6, "place": ["a", "b", None] * 4})
    encoding = dict(read_table(frame, label="y", attribute="place").source.encoding)
    assert encoding["attributes"] == ["a", "b"]
    again = read_table(frame.assign(place=["b", None, "a"] * 4), label="y", attribute="place", encoding=encoding)
    assert again.attribute is not None
    assert again.attribute.tolist() == [1, -1, 0] * 4
    nothing = read_table(frame.assign(place=None), label="y", attribute="place", encoding=encoding)
    assert nothing.attribute is None
    before = {**encoding, "attributes": ["a", "b", "(missing)"]}  # as older runs have it
    older = read_table(frame, label="y", attribute="place", encoding=before)
    assert older.attribute is not None
    assert older.attribute.tolist() == [0, 1, 2] * 4


def test_minus_one_is_unknown_in_arrays(tmp_path):
    path = tmp_path / "data.npz"
    x, y = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32), [0, 1] * 10
    np.savez(path, x=x, y=y, place=[0, -1, 3, -1] * 5)
    data = Dataset.from_arrays(path, attribute="place")
    assert data.attribute is not None
    assert data.attribute.tolist() == [0, -1, 1, -1] * 5
    assert data.info.attribute_names == ("0", "3")
    np.savez(path, x=x, y=y, place=[1, -1] * 10)
    with pytest.raises(UserError, match="'place' has no other values than -1 and 1, but -1 says that the attribute is"):
        Dataset.from_arrays(path, attribute="place")


# --- estimators -------------------------------------------------------------------------------------------------------


def people() -> tuple[Any, Any, pd.Series]:
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=120)
    place = np.where(rng.random(120) < 0.8, y, 1 - y)
    known = pd.Series(place).where(np.arange(120) % 4 == 0)
    return np.c_[y, place] + rng.normal(scale=0.3, size=(120, 2)), y, known


@pytest.mark.parametrize("kind", ["nan", "none", "minus one", "object"])
def test_an_estimator_takes_attributes_that_are_known_for_some(kind: str):
    x, y, place = people()
    given: Any = {
        "nan": place,
        "none": place.map({0: "land", 1: "lake"}).astype(object).where(place.notna(), None),
        "minus one": place.fillna(-1).astype(int),
        "object": place.fillna(-1).astype(int).astype(object),
    }[kind]
    model = DebiasedClassifier("group-dro", steps=200, random_state=0).fit(x, y, attribute=given)
    info = model.method_.info
    assert info.partial
    assert set(info.attribute_names) == ({"land", "lake"} if kind == "none" else {"0", "1"})
    assert model.score(x, y) > 0.7


def test_rows_of_no_group_are_not_judged_and_weigh_as_one():
    y, place = np.array([0, 0, 0, 1, 1, 1, 0]), np.array([0, 0, 1, 1, 1, 0, -1])
    weight = GroupBalancer().fit(np.zeros((7, 1)), y, attribute=place).sample_weight_
    assert (weight / weight[2]).tolist() == pytest.approx([0.5, 0.5, 1, 0.5, 0.5, 1, 0.5])
    wrong = np.array([0, 0, 0, 1, 1, 1, 1])  # but for the last
    assert worst_group_accuracy(y, wrong, attribute=place) == 1
    assert worst_group_accuracy(y, wrong) == 0.75
    known = ["a", "a", "b", "b", "b", "a", None]
    assert worst_group_accuracy(y, wrong, attribute=known) == 1


def test_estimators_refuse_attributes_that_say_nothing():
    x, y, place = people()
    with pytest.raises(UserError, match="the attribute is known of no row; give that of some"):
        DebiasedClassifier("lisa").fit(x, y, attribute=np.full(120, np.nan))
    with pytest.raises(UserError, match="the attribute has no other values than 1 and -1, which says that it is not"):
        GroupBalancer().fit(x, y, attribute=np.where(place == 1, 1, -1))


def test_losses_of_odd_batches_are_finite():
    """One unknown sample alone, and none that is known."""
    data = parts(tiny_images)
    unknown = (~data.train.known).nonzero().flatten()
    for name, options in (("group-dro", {}), ("lisa", {}), ("end", {}), ("hsic", {}), ("laftr", {}), ("group-jm1", {})):
        method = made(METHODS[name], options, data)
        method.context = Context(generator(0), data.train)
        train = method.prepare(data.train, helped)
        method.on_epoch(Context(generator(0), train))
        for rows in (unknown[:1], unknown[:9]):
            loss, _ = method.loss(method.on_pool(train.batch(rows)))
            assert torch.isfinite(loss), name
            loss.backward()
    outputs = torch.zeros(2, 2)
    assert torch.isfinite(cross_entropy(outputs, torch.tensor([0, 1]))).all()
