"""The toy of Just Mix Once against its closed forms."""

from __future__ import annotations

import math
import re
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.linear_model import LogisticRegression

from longcut import mixing
from longcut.data import Dataset

ROOT = Path(__file__).parents[1]
RARE = 1e-3  # a p-value below which a draw is called wrong; the seeds are fixed, so it cannot flicker


@pytest.fixture(scope="module")
def toy() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "examples" / "jm1_toy.py"))


def mixes(toy: dict[str, Any], source: Dataset, alpha: float) -> Dataset:
    """One mix for each sample, in order; ``alpha`` is its own share."""
    pair = mixing.across(source.conflicting)
    return toy["mixed"](source, pair, 0, share=mixing.uniform(alpha, alpha), rounds=1)


# --- the groups -------------------------------------------------------------------------------------------------------


def test_the_groups_are_where_they_should_be(toy: dict[str, Any]):
    data = toy["groups"]((7, 4000, 4000, 9), labels=4, attributes=6, seed=0)
    assert data.group.bincount().tolist() == [7, 4000, 4000, 9]
    assert data.conflicting.sum() == 8000
    for group, centre in ((1, (3, -2)), (2, (-3, 2))):
        x = data.x[data.group == group].numpy()
        for axis in (0, 1):
            assert stats.kstest(x[:, axis] - centre[axis], "norm").pvalue > RARE
        assert abs(np.corrcoef(x.T)[0, 1]) < 4 / math.sqrt(4000)


# --- mixing: the paper's formula --------------------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [0.0, 0.25, 0.5, 0.8, 1.0])
@pytest.mark.parametrize("group", range(4))
def test_a_mix_of_two_groups_is_the_gaussian_between_them(toy: dict[str, Any], alpha: float, group: int):
    n, labels, attributes = 3000, 2.0, 6.0
    source = toy["groups"]((n,) * 4, labels, attributes, seed=3)
    x = mixes(toy, source, alpha).x[source.group == group].numpy()
    own, other = ((a - 0.5) * attributes for a in (group % 2, 1 - group % 2))
    mean = (alpha * own + (1 - alpha) * other, (group // 2 - 0.5) * labels)
    variance = alpha**2 + (1 - alpha) ** 2
    # Partners are drawn with repetition: the mean of theirs varies by 2 / n, not by 1 / n.
    spread = math.sqrt((alpha**2 + 2 * (1 - alpha) ** 2) / n)
    assert np.abs(x.mean(0) - mean).max() < 4 * spread
    assert np.abs(x.var(0) / variance - 1).max() < 4 * math.sqrt(2 * 2 / n)
    assert stats.kstest((x[:, 0] - x[:, 0].mean()) / x[:, 0].std(), "norm").statistic < 2 / math.sqrt(n / 2)


def test_at_the_ends_a_mix_is_one_of_the_two(toy: dict[str, Any]):
    source = toy["groups"]((40, 5, 5, 40), 2, 4, seed=1)
    assert torch.equal(mixes(toy, source, 1.0).x, source.x)
    for mix, label, attribute in zip(mixes(toy, source, 0.0).x, source.label, source.attribute, strict=True):
        (there,) = (source.x == mix).all(1).nonzero().flatten()
        assert source.label[there] == label and source.attribute[there] != attribute


def test_each_round_mixes_everybody_anew(toy: dict[str, Any]):
    source = toy["groups"]((40, 5, 5, 40), 2, 4, seed=1)
    data = toy["mixed"](source, mixing.across(source.conflicting), 0, rounds=3)
    assert torch.equal(data.label, source.label.repeat(3))
    assert len(data.x.unique(dim=0)) == 3 * 90


def test_without_an_error_nothing_is_mixed_or_repeated(toy: dict[str, Any]):
    source = toy["groups"]((40, 5, 5, 40), 2, 4, seed=1)
    nobody = torch.zeros(90, dtype=torch.bool)
    given = toy["sets"](source, nobody, 0)
    assert torch.equal(given["mixed"].x, source.x.repeat(toy["ROUNDS"], 1))
    assert torch.equal(given["oversampled"].index, source.index)


# --- support ----------------------------------------------------------------------------------------------------------


def test_oversampling_repeats_the_few_until_the_groups_are_alike(toy: dict[str, Any]):
    source = toy["groups"]((475, 25, 25, 475), 2, 4, seed=0)
    data = toy["oversampled"](source, source.conflicting)
    assert data.group.bincount().tolist() == [475, 25 * 19, 25 * 19, 475]
    times = data.index.bincount()
    assert torch.equal(times, torch.where(source.conflicting, 19, 1))


def test_oversampling_leaves_the_gap_empty_and_mixing_fills_it(toy: dict[str, Any]):
    """With means 20 apart, blends with a uniform share lie evenly between them: half in the middle half."""
    source = toy["groups"]((475, 25, 25, 475), 40, 20, seed=0)
    given = toy["sets"](source, source.conflicting, 0)
    middle = {name: (data.x[data.index, 0].abs() < 5).double() for name, data in given.items()}
    assert middle["source"].sum() == middle["oversampled"].sum() == 0
    n = len(middle["mixed"])
    assert abs(middle["mixed"].mean() - 0.5) < 4 * math.sqrt(0.25 / n)
    # The control crosses in one blend of two, when the partner is from the other side.
    assert abs(middle["both"].mean() - 0.25) < 4 * math.sqrt(0.25 * 0.75 / len(middle["both"]))
    for data in given.values():  # with labels 40 apart: no blend leaves its class
        assert torch.equal(data.x[data.index, 1] > 0, data.label == 1)


def test_mixing_shrinks_the_attribute_more_than_the_label(toy: dict[str, Any]):
    """Variance within a class: 1 + d²/4 and 1 after oversampling, 2/3 + d²/12 and 2/3 after mixing."""
    d, source = 6, toy["groups"]((9500, 500, 500, 9500), 2, 6, seed=0)
    given = toy["sets"](source, source.conflicting, 0)
    for name, along, across in (("oversampled", 1 + d**2 / 4, 1.0), ("mixed", 2 / 3 + d**2 / 12, 2 / 3)):
        data = given[name]
        for label in (0, 1):
            x = data.x[data.index[data.label == label]]
            assert x[:, 0].var().item() == pytest.approx(along, rel=0.1)
            assert x[:, 1].var().item() == pytest.approx(across, rel=0.1)


# --- lines ------------------------------------------------------------------------------------------------------------


def test_the_best_line_of_the_target_is_level(toy: dict[str, Any]):
    """By hand: the attribute cancels in the ratio of the two classes, and exp(labels * height) is left."""
    labels, attributes = 2.0, 4.0
    place = np.random.default_rng(0).uniform(-5, 5, (50, 2))
    up, down = (
        sum(stats.multivariate_normal([side * attributes / 2, y * labels / 2]).pdf(place) for side in (-1, 1))
        for y in (1, -1)
    )
    assert np.allclose(np.log(up / down), labels * place[:, 1])
    n = 20_000
    model = toy["line"](toy["groups"]((n,) * 4, labels, attributes, seed=0))
    assert [*model.coef_[0], *model.intercept_] == pytest.approx([0, labels, 0], abs=0.05)


@pytest.mark.parametrize("line", [(0.0, 1.0, 0.0), (1.0, 1.0, 0.0), (-0.4, 2.0, 0.7)])
def test_a_line_has_the_accuracy_of_the_normal_law(toy: dict[str, Any], line: tuple[float, float, float]):
    """In a group with mean g it is Φ(±(w·g + b) / |w|)."""
    n, labels, attributes = 20_000, 2.0, 3.0
    model = LogisticRegression()
    model.classes_, model.coef_, model.intercept_ = np.array([0, 1]), np.array([line[:2]]), np.array(line[2:])
    target = toy["groups"]((n,) * 4, labels, attributes, seed=5)
    by_hand = [
        stats.norm.cdf(y * (line[0] * c * attributes / 2 + line[1] * y * labels / 2 + line[2]) / math.hypot(*line[:2]))
        for y in (-1, 1)
        for c in (-1, 1)
    ]
    assert toy["worst_group"](model, target) == pytest.approx(min(by_hand), abs=4 * math.sqrt(0.25 / n))


def test_to_the_nearest_neighbour_copies_are_nothing_new(toy: dict[str, Any]):
    source = toy["groups"]((475, 25, 25, 475), 2, 4, seed=0)
    place = np.random.default_rng(0).uniform(-6, 6, (2000, 2))
    plain, copied = (toy["nearest"](data) for data in (source, toy["oversampled"](source, source.conflicting)))
    assert np.array_equal(plain.predict(place), copied.predict(place))


# --- the page and the picture -----------------------------------------------------------------------------------------


def test_without_the_class_constraint_a_blend_counts_for_both_labels(toy: dict[str, Any]):
    """Twice as many rows, weights that sum to 1 per blend, and places between any of the few and any of the many."""
    source = toy["groups"]((475, 25, 25, 475), 2, 40, seed=0)
    both, weights = toy["mixed_with_any_class"](source, source.conflicting, 0)
    half = len(both) // 2
    assert half == toy["ROUNDS"] * len(source)
    assert torch.equal(both.x[:half], both.x[half:])
    torch.testing.assert_close(weights[:half] + weights[half:], torch.ones(half))
    assert torch.equal(both.label[:half], source.label.repeat(toy["ROUNDS"])), "the anchor's first"
    other = both.label[half:] != both.label[:half]
    assert 0.4 < float(other.double().mean()) < 0.6, "half of the partners are of the other class"


def test_the_picture_has_its_sets(toy: dict[str, Any]):
    titles = [axes.get_title().splitlines()[0] for axes in toy["picture"]().axes]
    assert titles == ["source", "target", "oversampled (JTT)", "mixed (JM1)", "mixed, of any class"]


@pytest.mark.slow
def test_the_page_says_what_the_example_prints(toy: dict[str, Any]):
    """Up to a few samples, as another machine may round another way."""
    page = (ROOT / "docs" / "jm1-toy.md").read_text("utf-8")
    printed = {title: (toy["HEADER"], rows) for title, rows in toy["tables"]().items()}
    printed["A line, the few known, blended with any class"] = toy["ANY"], toy["unconstrained"]()
    for title, (header, rows) in printed.items():
        part = page[page.index(f"**{title}**") :]
        assert part.splitlines()[2] == f"| {' | '.join(header)} |"
        said = [line.strip("| ").split(" | ") for line in part.splitlines()[4:8]]
        made = [row for row in rows if row[0] == "25"]
        assert [row[:3] for row in said] == [list(row[:3]) for row in made]
        for ours, theirs in zip(said, made, strict=True):
            numbers = [re.findall(r"[-+]?\d+\.\d", " ".join(cells[3:])) for cells in (ours, theirs)]
            assert [*map(float, numbers[0])] == pytest.approx([*map(float, numbers[1])], abs=0.2)
