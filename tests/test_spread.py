"""Guessing an attribute that is known for some: the data set ``spread``, and SSA."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_contract import HELPER, fitted, tiny_images
from test_partial import forgetting, parts

from longcut import Training, UserError, fit, load
from longcut.data import Dataset, Splits, generator
from longcut.datasets.spread import guess_attribute
from longcut.execute import execute
from longcut.methods import METHODS, build
from longcut.methods.identified.ssa import believed
from longcut.plans import plan


def table(n: int, seed: int, apart: float = 4.0) -> Dataset:
    """Column 0 tells the label, column 1 the attribute, by so many deviations."""
    g = generator(seed, 6)
    label = torch.arange(n) % 2
    attribute = torch.where(torch.rand(n, generator=g) < 0.8, label, 1 - label)
    x = torch.randn(n, 4, generator=g)
    x[:, 0] += 4 * label
    x[:, 1] += apart * attribute
    return Dataset.of(x, label, attribute, name="toy", aligned=(0, 1))


def blanked(data: Dataset, known: int) -> Dataset:
    attribute = torch.where(torch.arange(len(data)) < known, data.attribute, -1)  # type: ignore[arg-type]
    return dataclasses.replace(data, attribute=attribute, info=dataclasses.replace(data.info, partial=True))


def test_guesses_fill_the_gaps_and_are_marked():
    data = table(400, 0)
    found = guess_attribute(blanked(data, 60))
    full = found.data
    assert full.attribute is not None and full.guessed is not None and data.attribute is not None
    assert torch.equal(full.attribute[:60], data.attribute[:60]), "what is known stays"
    assert full.guessed.tolist() == [False] * 60 + [True] * 340
    right = float((full.attribute == data.attribute)[60:].double().mean())
    assert right > 0.93  # by 4 deviations, 97.7 of 100 can be told apart
    assert found.accuracy == pytest.approx(right, abs=0.06)
    assert not full.info.partial
    assert (found.known, found.values) == (60, 2)


def test_the_accuracy_is_of_samples_that_were_not_seen():
    """With more features than samples a classifier knows all by heart, and says nothing of others."""
    g = generator(1)
    x, attribute = torch.randn(500, 200, generator=g), torch.randint(2, (500,), generator=g)
    data = Dataset.of(x, torch.arange(500) % 2, torch.where(torch.arange(500) < 80, attribute, -1))
    found = guess_attribute(data)
    assert found.accuracy < 0.7
    assert found == dataclasses.replace(guess_attribute(data), data=found.data), "drawn by the seed alone"


def test_the_cross_fitted_accuracy_is_that_of_a_loop_over_folds():
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    from longcut.data import ranks

    data = blanked(table(90, 3, apart=1.0), 40)
    found = guess_attribute(data, seed=7)
    x = StandardScaler().fit(data.x.double().numpy()).transform(data.x.double().numpy())[:40]
    y = data.attribute[:40].numpy()  # type: ignore[index]
    order = torch.randperm(40, generator=generator(7, 83))
    fold = np.empty(40, int)
    fold[order.numpy()] = (ranks(torch.from_numpy(y)[order]) % 5).numpy()
    best = -1.0
    for c in (0.001, 0.01, 0.1, 1.0):
        said = np.empty(40)
        for k in range(5):
            model = LogisticRegression(C=c, class_weight="balanced", max_iter=1000).fit(x[fold != k], y[fold != k])
            said[fold == k] = model.predict(x[fold == k])
        best = max(best, np.mean([(said[y == v] == v).mean() for v in (0, 1)]))
    assert found.accuracy == pytest.approx(best)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda d: dataclasses.replace(d, info=dataclasses.replace(d.info, kind="image")),
            "but toy holds images; make",
        ),
        (lambda d: dataclasses.replace(d, info=dataclasses.replace(d.info, kind="tokens")), "but toy holds token ids"),
        (lambda d: blanked(d, 0), "spread has nothing to spread: no attribute is known in the training set of toy"),
        (
            lambda d: blanked(d.take(d.attribute == 0), 9),
            "in the training set of toy one value alone is known; look up",
        ),
        (
            lambda d: d.take(torch.cat([(d.attribute == 0).nonzero()[:5, 0], (d.attribute == 1).nonzero()[:1, 0]])),
            "the value '1' of one sample is known; look up at least two",
        ),
    ],
)
def test_what_cannot_be_spread_is_refused(change: Any, message: str):
    with pytest.raises(UserError, match=message):
        guess_attribute(change(table(60, 0)))


def written(tmp_path: Any, known: int) -> str:
    whole = [table(240, 0), table(80, 1), table(80, 2)]
    kept = [blanked(whole[0], known), *whole[1:]]
    path = tmp_path / "features.npz"
    columns: dict[str, Any] = {
        name: np.concatenate([getattr(part, name).numpy() for part in kept]) for name in ("x", "label", "attribute")
    }
    np.savez(path, split=np.repeat(["train", "valid", "test"], [240, 80, 80]), **columns)
    return f"arrays:path={path},attribute=attribute,split=split"


def test_a_spread_data_set_judges_by_what_is_known(tmp_path):
    spec = written(tmp_path, 60)
    base, full = load(spec), load("spread:data=" + spec.replace(",", "%2C"))
    assert full.train.known.all() and int(full.train.guessed.sum()) == 180  # type: ignore[union-attr]
    assert full.info.aligned == (0, 1)
    for one, other in ((base.valid, full.valid), (base.test, full.test)):
        assert torch.equal(one.attribute, other.attribute) and other.guessed is None  # type: ignore[union-attr, arg-type]
    record = execute(
        plan("spread:data=" + spec.replace(",", "%2C"), "group-dro", settings={"epochs": 2, "net": "linear"})
    )
    guessed, known = record.remarks[:2]
    assert guessed.startswith("the attribute of 180 of 240 training samples is guessed by a linear classifier")
    assert "of the 60 known ones (cross-fitted, mean over 2 values; by chance 50%)" in guessed
    assert known.startswith("the attribute is known for 60 of 240 training, 80 of 80 validation, 80 of 80 test samples")
    told = base.train.take(base.train.known)
    assert record.conflicting_share == pytest.approx(float(told.conflicting.double().mean()))


def test_how_many_are_known_is_said_with_every_run(tmp_path):
    spec = written(tmp_path, 60)
    record = execute(plan(spec, "erm", settings={"epochs": 1, "net": "linear"}))
    assert record.remarks[0].startswith("the attribute is known for 60 of 240 training, 80 of 80 validation")
    all_of_them = execute(plan(written(tmp_path, 240), "erm", settings={"epochs": 1, "net": "linear"}))
    assert not all_of_them.remarks


def test_nothing_to_guess_leaves_the_data_as_it_is(tmp_path):
    spec = written(tmp_path, 240)
    full = load("spread:data=" + spec.replace(",", "%2C"))
    assert full.train.guessed is None and not full.info.notes
    with pytest.raises(UserError, match="data set 'spread' was not told which; write spread:data="):
        load("spread")


# --- SSA --------------------------------------------------------------------------------------------------------------


@given(
    st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1), st.floats(0.5, 1)), min_size=1, max_size=16),
    st.lists(st.integers(0, 4), min_size=4, max_size=4).filter(any),
    st.floats(0.5, 1),
)
def test_groups_are_learned_from_alike(samples: list[tuple[int, int, float]], sizes: list[int], threshold: float):
    label = torch.tensor([y for y, _, _ in samples])
    sure = torch.tensor([p for _, _, p in samples], dtype=torch.float64) - 1e-4 * torch.arange(len(samples))
    value = torch.where(sure >= 0.5, torch.tensor([a for _, a, _ in samples]), 0)
    p = torch.stack([torch.where(value == 0, sure, 1 - sure), torch.where(value == 1, sure, 1 - sure)], 1)
    found = believed(p, label, torch.tensor(sizes).view(2, 2), threshold)

    conf, guess = [float(row.max()) for row in p], [int(row.argmax()) for row in p]
    rarest = min((size, g) for g, size in enumerate(sizes) if size)[1]
    expected = set()
    members = {g: [i for i in range(len(samples)) if 2 * int(label[i]) + guess[i] == g] for g in range(4)}
    enough = {g: [i for i in rows if conf[i] >= threshold] for g, rows in members.items()}
    budget = sizes[rarest] + len(enough[rarest])
    for g, rows in enough.items():
        best = sorted(rows, key=lambda i: -conf[i])
        expected |= set(rows if g == rarest else best[: max(budget - sizes[g], 0)])
    assert set(found.nonzero().flatten().tolist()) == expected


def test_ssa_is_group_dro_on_what_it_tells():
    data = parts(tiny_images)
    method: Any = build("ssa", data.info, net="mlp:hidden=12", options={"helper_epochs": 8, "helper_lr": 0.01})
    done = fit(method, data, Training(epochs=2, batch=32, lr=0.01))
    told: Any = done.method.context.data
    truth = tiny_images(300, 0).attribute
    assert truth is not None
    known = data.train.known
    assert torch.equal(told.attribute[known], truth[known]), "what is known stays"
    assert torch.equal(told.guessed, ~known)
    assert float((told.attribute == truth)[~known].double().mean()) > 0.95
    assert method.remarks() == [f"the attribute of {int((~known).sum())} training samples was told by its nets."]
    size = torch.bincount(told.group, minlength=4)
    assert torch.equal(method.weights.size, size)


def test_where_all_is_known_ssa_is_group_dro():
    data = Splits(tiny_images(70, 0), tiny_images(26, 1), tiny_images(44, 2))
    one, other = (fitted(METHODS[name], {}, data, seed=2).method for name in ("ssa", "group-dro"))
    assert torch.equal(one.net.head.weight, other.net.head.weight)
    assert not one.remarks()


def test_a_resumed_ssa_ends_as_one_that_was_not_interrupted():
    from longcut.context import calling

    states: list[Any] = []
    data = parts(tiny_images)
    options = {**HELPER, "epochs": 3}
    whole = fitted(METHODS["ssa"], options, data, observers=[calling(on_epoch=lambda e: states.append(e.state()))])
    import copy

    again = fitted(
        METHODS["ssa"], options, data, observers=[calling(on_epoch=lambda e: states.append(copy.deepcopy(e.state())))]
    )
    resumed = fitted(METHODS["ssa"], options, data, state=states[3])
    for other in (again, resumed):
        assert torch.equal(whole.method.net.head.weight, other.method.net.head.weight)
    assert resumed.method.remarks() == whole.method.remarks()


def test_one_unknown_sample_is_told():
    data = parts(tiny_images)
    train = tiny_images(300, 0)
    attribute = train.attribute.clone()  # type: ignore[union-attr]
    attribute[5] = -1
    alone = dataclasses.replace(train, attribute=attribute)
    done = fitted(METHODS["ssa"], {"helper_epochs": 1, "epochs": 1}, dataclasses.replace(data, train=alone))
    assert done.method.remarks() == ["the attribute of 1 training samples was told by its nets."]
    assert forgetting(train, 2).known.sum() == 8
