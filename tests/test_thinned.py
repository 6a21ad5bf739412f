"""Few samples per class, and a long tail, of any data with classes."""

from __future__ import annotations

import pytest
import torch

from longcut.data import Dataset, generator
from longcut.datasets import DATASETS, load, metrics_of
from longcut.datasets.thinned import thin
from longcut.errors import UserError
from longcut.plans import plan


def data(sizes: tuple[int, ...] = (30, 20, 25, 40)) -> Dataset:
    label = torch.cat([torch.full((n,), c) for c, n in enumerate(sizes)])
    label = label[torch.randperm(len(label), generator=generator(1))]
    return Dataset.of(torch.arange(len(label))[:, None].float(), label, name="mine")


@pytest.mark.parametrize(
    ("per_class", "imbalance", "expected"),
    [(7, 1, [7] * 4), (0, 1, [20] * 4), (16, 8, [16, 8, 4, 2]), (0, 20, [20, 7, 2, 1]), (1, 1, [1] * 4)],
)
def test_how_many_stay_of_each_class(per_class: int, imbalance: float, expected: list[int]):
    """By hand: 16 * 8 ** (-c / 3), and 20 * 20 ** (-c / 3) = 20, 7.37, 2.71, 1."""
    whole = data()
    kept = thin(whole, per_class, imbalance, generator(3))
    assert kept.label.bincount().tolist() == expected
    assert kept.index.tolist() == sorted(kept.index.tolist()) and len(kept.index.unique()) == sum(expected)
    assert torch.equal(kept.label, whole.label[kept.index])


def test_fewer_are_some_of_more_and_the_seed_draws_them():
    drawn = [{*thin(data(), n, 1, generator(seed)).index.tolist()} for n, seed in ((3, 0), (12, 0), (12, 1))]
    assert drawn[0] < drawn[1] and drawn[1] != drawn[2]


def test_the_rest_stays_as_it_is_and_recommendations_are_those_of_the_data_behind():
    spec = "thinned:data=colored-digits:ratio=0.1,per_class=6,imbalance=3"
    few, whole = load(spec, 2), load("colored-digits:ratio=0.1", 2)
    assert few.train.label.bincount().tolist() == [6, 5, 4, 4, 3, 3, 2, 2, 2, 2]
    assert few.valid is not None and whole.valid is not None
    for one, other in ((few.valid, whole.valid), (few.test, whole.test)):
        assert torch.equal(one.index, other.index) and torch.equal(one.label, other.label)
    assert few.info.name == "thinned:data=colored-digits:ratio=0.1,per_class=6,imbalance=3.0"
    assert few.info.aligned == whole.info.aligned and few.train.attribute is not None
    assert plan(spec).training.lr == DATASETS["colored-digits"].training["lr"]
    assert metrics_of("thinned:data=adult") == metrics_of("adult") != () == metrics_of("thinned")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("thinned", r"data set 'thinned' was not told which; write thinned:data="),
        ("thinned:data=colored-digits,per_class=5000", r"class '0' has [\d,]+ training samples, and 5,000 of it are"),
        ("thinned:data=colored-digits,per_class=3,imbalance=9", r"imbalance=9 leaves the smallest without any"),
        ("thinned:data=colored-digits,imbalance=0.5", r"imbalance=0.5 is not allowed; give a number at least 1"),
    ],
)
def test_what_is_refused(spec: str, message: str):
    with pytest.raises(UserError, match=message):
        load(spec)


def test_a_regression_has_no_classes():
    with pytest.raises(UserError, match="mine is a regression; samples per class are of data with classes"):
        thin(Dataset.of(torch.rand(4, 1), torch.rand(4), name="mine"), 1, 1, generator(0))
