"""EVaLS and NeuronTune: last layers fitted anew on what is held out, against naive loops."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_contract import fitted, made, tiny_images

from longcut import UserError
from longcut.data import Dataset, Splits, generator
from longcut.methods import METHODS
from longcut.methods.last_layer.evals import loss_balanced, worst_part
from longcut.methods.last_layer.neurontune import affected, fitness, spuriousness


@pytest.fixture(scope="module")
def splits() -> Splits:
    return Splits(tiny_images(160, 0), tiny_images(80, 1), tiny_images(80, 2))


# --- evals ------------------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 5)), min_size=1, max_size=14), st.integers(1, 4))
def test_the_highest_and_lowest_losses_of_each_class_are_taken(samples: list[tuple[int, int]], count: int):
    label = torch.tensor([c for c, _ in samples])
    losses = torch.tensor([float(loss) + 0.01 * i for i, (_, loss) in enumerate(samples)], dtype=torch.float64)
    expected = set()
    for c in range(3):
        rows = sorted((i for i in range(len(samples)) if samples[i][0] == c), key=lambda i: float(losses[i]))
        expected |= {*rows[:count], *rows[len(rows) - min(count, len(rows)) :]}
    assert set(loss_balanced(losses, label, count).nonzero().flatten().tolist()) == expected


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 4)), min_size=1, max_size=20))
def test_the_worst_part_is_the_lowest_mean_of_any_that_is_there(samples: list[tuple[bool, int]]):
    parts = {part: [right for right, other in samples if other == part] for _, part in samples}
    right, part = torch.tensor([right for right, _ in samples]), torch.tensor([part for _, part in samples])
    assert worst_part(right, part) == min(sum(hits) / len(hits) for hits in parts.values())


def test_evals_takes_the_layer_that_is_best_in_the_worst_part_found(splits):
    """All candidates again, by scikit-learn, on the halves and environments of the run."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    from longcut.data import split
    from longcut.losses import cross_entropy
    from longcut.methods.identified.pseudo import environments
    from longcut.methods.last_layer.heads import features_of

    options: dict[str, Any] = {"sizes": "0.5-1", "penalties": "1-0.05", "env_steps": 50}
    plain = fitted(METHODS["erm"], {"epochs": 2}, splits, seed=3).method
    found = fitted(METHODS["evals"], {"epochs": 2, **options}, splits, seed=3).method
    held = features_of(plain.net, splits.valid)  # the net that evals has before it ends
    part, judge = split(held, 0.5, generator(3, 2, 3))
    with torch.no_grad():
        losses, logits = (plain.net.head(one.x[one.index]) for one in (part, judge))
    losses = cross_entropy(losses, part.label)
    environment = environments(logits, judge.label, _after_a_split(splits), steps=50)
    best: tuple[float, Any] = (-1.0, None)
    for size in (0.5, 1.0):
        count = max(1, round(size * int(part.label.bincount().min()) / 2))
        chosen = loss_balanced(losses, part.label, count)
        x, y = part.x[part.index][chosen].double().numpy(), part.label[chosen].numpy()
        scaler = StandardScaler().fit(x)
        for c in (1.0, 0.05):
            layer = LogisticRegression(C=c, solver="liblinear", l1_ratio=1.0, max_iter=1000, random_state=0)
            layer.fit(scaler.transform(x), y)
            right = layer.predict(scaler.transform(judge.x[judge.index].double().numpy())) == judge.label.numpy()
            parts = [
                right[((judge.label == y) & (environment == e)).numpy()].mean()
                for y in (0, 1)
                for e in (False, True)
                if ((judge.label == y) & (environment == e)).any()
            ]
            if min(parts) > best[0]:
                best = min(parts), (layer, scaler)
    layer, scaler = best[1]
    x = splits.test.gather(torch.arange(len(splits.test)))
    with torch.no_grad():
        outputs, features = found(x), plain.net.features(x)
    margin = layer.decision_function(scaler.transform(features.double().numpy()))
    np.testing.assert_allclose((outputs[:, 1] - outputs[:, 0]).numpy(), margin, atol=1e-3)
    assert f"{best[0]:.1%} right in the worst of" in found.remarks()[0]


def _after_a_split(splits: Splits) -> torch.Generator:
    """The generator of a run's end once a data set of two classes was halved."""
    from longcut.data import split

    rng = generator(3, 2, 3)
    split(splits.valid, 0.5, rng)  # type: ignore[arg-type]
    return rng


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"penalties": "1-0"}, "evals: penalties=1-0; give numbers above 0"),
        ({"sizes": "0.5-2"}, "evals: sizes=0.5-2; give numbers above 0 and up to 1"),
    ],
)
def test_numbers_that_are_refused(options: dict[str, str], message: str, splits):
    with pytest.raises(UserError, match=message):
        made(METHODS["evals"], options, splits)


# --- neurontune -------------------------------------------------------------------------------------------------------


@given(st.integers(1, 20), st.integers(0, 10_000))
def test_spuriousness_is_a_difference_of_medians(n: int, seed: int):
    g = generator(seed)
    x = torch.randint(-4, 5, (n, 3), generator=g).float()
    wrong, label = torch.rand(n, generator=g) < 0.4, torch.randint(3, (n,), generator=g)
    expected = np.zeros((3, 3))
    for c in range(3):
        for i in range(3):
            sides: dict[bool, list[float]] = {True: [], False: []}
            for row in range(n):
                if label[row] == c:
                    sides[bool(wrong[row])].append(float(x[row, i]))
            if sides[True] and sides[False]:
                expected[c, i] = np.median(sides[True]) - np.median(sides[False])
    found = spuriousness(x, wrong, label, 3)
    np.testing.assert_allclose(found.numpy(), expected)
    assert fitness(found) == pytest.approx(np.abs(expected).sum())
    assert affected(found, 0.5).tolist() == [all(row > 0.5) for row in expected.T]
    assert affected(found, 0.5, "any").tolist() == [any(row > 0.5) for row in expected.T]


def shifted(n: int, seed: int) -> Dataset:
    """Feature 0 says the label through noise, 1 is high where a linear net errs, in both classes; 2 is noise."""
    g = generator(seed, 9)
    label = torch.arange(n) % 2
    x = torch.randn(n, 3, generator=g)
    x[:, 0] += 3.0 * label - 1.5
    erring = torch.arange(n) % 5 == 0
    x[erring, 0] *= -1
    x[:, 1] += 4.0 * erring
    return Dataset.of(x, label, name="shifted")


@pytest.mark.parametrize("held_from", ["valid", "train"])
@pytest.mark.parametrize("tune_on", ["train", "held"])
def test_features_that_are_high_where_it_errs_are_silent(held_from: str, tune_on: str):
    data = Splits(shifted(200, 0), shifted(200, 1), shifted(200, 2))
    options = {"epochs": 3, "net": "linear", "held_from": held_from, "tune_on": tune_on, "threshold": 1.0}
    method = fitted(METHODS["neurontune"], options, data).method
    weight = method.net.head.weight.detach()
    assert (weight[:, 1] == 0).all()
    assert (weight[:, 0] != 0).all()
    assert method.remarks()[0].startswith("1 of 3 features are silenced, by ")
    assert bool(method.aside.any()) == (held_from == "train")


def test_where_all_features_are_high_none_is_silent():
    data = Splits(shifted(200, 0), shifted(200, 1), shifted(200, 2))
    only = [dataclasses.replace(part, x=part.x[:, 1:2]) for part in (data.train, data.valid, data.test)]  # type: ignore[union-attr]
    info = dataclasses.replace(data.info, shape=(1,))
    one = Splits(*(dataclasses.replace(part, info=info) for part in only))
    method = fitted(METHODS["neurontune"], {"epochs": 1, "net": "linear", "classes": "any"}, one).method
    assert (method.net.head.weight != 0).all()
    assert method.remarks()[0].startswith(("no feature is silenced, for all", "0 of 1 features"))


@pytest.mark.parametrize("name", ["evals", "neurontune"])
def test_without_a_validation_set_they_say_what_to_do(name: str, splits):
    with pytest.raises(UserError, match=f"{name} needs held-out samples, but .* has no validation set; use held_from="):
        fitted(METHODS[name], {}, dataclasses.replace(splits, valid=None))
    fitted(METHODS[name], {"held_from": "train", "epochs": 1}, dataclasses.replace(splits, valid=None))


@pytest.mark.parametrize("name", ["evals", "neurontune"])
def test_who_is_set_aside_is_not_learned_from(name: str, splits):
    method = made(METHODS[name], {"held_from": "train", "held": 0.25}, splits)
    from longcut.context import Context

    method.context = Context(generator(0), splits.train)
    method.prepare(splits.train, None)
    walked, held = method.epoch_data(splits.train), method.held_out(splits.train, splits.valid)
    assert not set(walked.index.tolist()) & set(held.index.tolist())
    assert len(walked) + len(held) == len(splits.train)
    assert len(held) == pytest.approx(0.25 * len(splits.train), abs=2)
