"""Episodes: who is drawn, how evenly, and what cannot be drawn from."""

from __future__ import annotations

import pytest
import torch
from scipy import stats

from longcut.data import Dataset, episodes, generator
from longcut.errors import UserError


def data(n: int = 60) -> Dataset:
    """Classes 0 to 3 out of order, classes 1 and 2 larger, given in another order than stored."""
    label = torch.tensor([1, 2, 0, 2, 1, 3, 2, 1, 2, 1]).repeat(n // 10)
    made = Dataset.of(torch.arange(n, dtype=torch.float32)[:, None], label, torch.arange(n) % 5, name="few")
    return made.take(torch.randperm(n, generator=generator(8)))


def test_an_episode_holds_different_samples_of_its_ways():
    given = data()
    drawn = episodes(given, ways=3, shots=2, queries=4, count=50, generator=generator(0))
    assert len(drawn) == 50
    assert drawn.ways.shape == (50, 3) and drawn.support.shape == (50, 6) and drawn.query.shape == (50, 12)
    assert torch.equal(given.label[drawn.support].view(50, 3, 2), drawn.ways[:, :, None].expand(-1, -1, 2))
    assert torch.equal(given.label[drawn.query].view(50, 3, 4), drawn.ways[:, :, None].expand(-1, -1, 4))
    for ways, support, query in zip(drawn.ways, drawn.support, drawn.query, strict=True):
        assert len(ways.unique()) == 3
        assert len(torch.cat([support, query]).unique()) == 18, "a query is never in the support"
    again = episodes(given, ways=3, shots=2, queries=4, count=50, generator=generator(0))
    assert torch.equal(drawn.query, again.query)
    assert torch.equal(drawn[7:9].query, drawn.query[7:9])


def test_ways_and_samples_are_drawn_evenly():
    given = data()
    drawn = episodes(given, ways=2, shots=1, queries=1, count=4000, generator=generator(1))
    assert stats.chisquare(drawn.ways.flatten().bincount()).pvalue > 1e-3
    assert stats.chisquare(drawn.ways[:, 0].bincount()).pvalue > 1e-3
    for rows in (drawn.support, drawn.query):
        for label in range(4):
            counts = rows[given.label[rows] == label].bincount(minlength=60)[given.label == label]
            assert stats.chisquare(counts).pvalue > 1e-3


def test_tasks_of_a_regression_are_the_values_of_its_attribute():
    given = Dataset.of(torch.rand(30, 2), torch.rand(30), torch.arange(30) % 5, name="rooms")
    drawn = episodes(given, "attribute", ways=1, shots=3, queries=3, count=9, generator=generator(2))
    assert given.attribute is not None
    assert (given.attribute[drawn.support] == drawn.ways).all()
    assert (given.attribute[drawn.query] == drawn.ways).all()
    assert len(drawn.ways.unique()) > 1


def test_ways_may_be_anything():
    ids = torch.tensor([7, 7, -1, -1, 7, -1])
    drawn = episodes(data(60).take(torch.arange(6)), ids, ways=2, shots=1, queries=2, count=3, generator=generator(3))
    assert torch.equal(ids[drawn.query], drawn.ways.repeat_interleave(2, 1))
    assert set(drawn.ways.unique().tolist()) == {-1, 7}


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"shots": 0}, r"ways=2, shots=0, queries=1 \(count=1\) has nothing to learn from or to be asked; give at"),
        ({"queries": 0}, "queries=0 .* has nothing to learn from or to be asked"),
        ({"ways": 5}, "an episode of 5 ways needs as many kinds of class, but few has 4; lower ways to 4"),
        ({"queries": 6}, r"class 0 of few has 6 samples, but an episode draws shots \+ queries = 7 of each; lower"),
    ],
)
def test_what_cannot_be_drawn(wrong, match):
    with pytest.raises(UserError, match=match):
        episodes(data(), **{"ways": 2, "shots": 1, "queries": 1, **wrong})


def test_a_class_of_one_sample():
    alone = Dataset.of(torch.rand(4, 2), [0, 0, 0, 1], name="alone")
    with pytest.raises(UserError, match="class 1 of alone has 1 sample, but an episode draws"):
        episodes(alone, ways=2, shots=1, queries=1)


def test_columns_that_are_not_there():
    with pytest.raises(UserError, match="rows is a regression, which has no classes to draw episodes from; draw them"):
        episodes(Dataset.of(torch.rand(4, 2), torch.rand(4), name="rows"), ways=1, shots=1, queries=1)
    with pytest.raises(UserError, match="rows has no attribute to draw episodes from; pass attribute=…"):
        episodes(Dataset.of(torch.rand(4, 2), torch.rand(4), name="rows"), "attribute", ways=1, shots=1, queries=1)
