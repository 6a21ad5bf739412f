"""Cell sizes and weights against naive loops in float64, and what they promise: a shortcut that says nothing."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from torch import Tensor

from longcut.cells import cell_counts, cell_weights, log_conditional, out_of_place
from longcut.data import generator
from longcut.errors import UserError


def columns(n: int = 400, values: int = 4, classes: int = 3, seed: int = 0) -> tuple[Tensor, Tensor]:
    """A shortcut that mostly goes with the label; no cell is empty."""
    g = generator(seed)
    label = torch.randint(classes, (n,), generator=g)
    other = torch.randint(values, (n,), generator=g)
    shortcut = torch.where(torch.rand(n, generator=g) < 0.8, label, other)
    every = torch.cartesian_prod(torch.arange(values), torch.arange(classes))
    return torch.cat([shortcut, every[:, 0]]), torch.cat([label, every[:, 1]])


def by_hand(shortcut: list[int], label: list[int], printed: bool) -> list[float]:
    """``q[s] / P[s, y]``, and over M[s, y], sample by sample; the mean made 1."""
    pairs = list(zip(shortcut, label, strict=True))
    size, of_class, of_value, n = Counter(pairs), Counter(label), Counter(shortcut), len(pairs)
    weights = []
    for s, y in pairs:
        weight = (of_value[s] / n) / (size[s, y] / of_class[y])
        weights.append(weight / size[s, y] if printed else weight)
    return [weight * n / sum(weights) for weight in weights]


@pytest.mark.parametrize("weights", ["matched", "printed"])
@pytest.mark.parametrize("seed", range(3))
def test_weights_are_those_of_a_loop(weights: Any, seed: int):
    shortcut, label = columns(seed=seed)
    found = cell_weights(shortcut, label, weights=weights)
    expected = torch.tensor(by_hand(shortcut.tolist(), label.tolist(), weights == "printed"))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)


def weighted(weight: Tensor, shortcut: Tensor, label: Tensor) -> Tensor:
    """Total weight of each cell."""
    total = torch.zeros(int(shortcut.max()) + 1, int(label.max()) + 1, dtype=torch.float64)
    return total.index_put((shortcut, label), weight.double(), accumulate=True)


def test_every_class_sees_the_shortcut_in_the_same_shares_and_weighs_what_it_did():
    shortcut, label = columns()
    mass = weighted(cell_weights(shortcut, label), shortcut, label)
    q = torch.bincount(shortcut).double() / len(shortcut)
    torch.testing.assert_close(mass / mass.sum(0), q[:, None].expand(4, 3), rtol=1e-6, atol=0)
    torch.testing.assert_close(mass.sum(0), torch.bincount(label).double(), rtol=1e-6, atol=0)


def test_a_cell_weighs_in_all_what_is_printed_for_it():
    shortcut, label = columns()
    mass = weighted(cell_weights(shortcut, label, weights="printed"), shortcut, label)
    counts = cell_counts(shortcut, label, 4, 3)
    ratio = counts.sum(1, keepdim=True) / (counts / counts.sum(0))
    torch.testing.assert_close(mass / mass.sum(), ratio / ratio.sum(), rtol=1e-6, atol=0)


def test_where_the_shortcut_says_nothing_all_weigh_the_same():
    pairs = torch.cartesian_prod(torch.arange(3), torch.arange(2)).repeat(5, 1)
    assert torch.equal(cell_weights(pairs[:, 0], pairs[:, 1]), torch.ones(30))


def test_a_value_that_a_class_lacks_leaves_its_part_to_the_others():
    shortcut, label = torch.tensor([0, 0, 1, 2, 0, 1]), torch.tensor([0, 0, 0, 0, 1, 1])
    found = cell_weights(shortcut, label)
    assert torch.isfinite(found).all() and (found > 0).all()
    mass = weighted(found, shortcut, label)
    torch.testing.assert_close(mass[:, 1], torch.tensor([2 * 3 / 5, 2 * 2 / 5, 0.0], dtype=torch.float64))
    torch.testing.assert_close(mass.sum(0), torch.tensor([4.0, 2.0], dtype=torch.float64))


def test_a_label_in_between_that_nobody_has_is_no_nan():
    assert torch.isfinite(cell_weights([0, 0, 3], [5, 0, 0])).all()


@pytest.mark.parametrize("n", [1, 2])
def test_one_or_two_samples(n: int):
    assert torch.equal(cell_weights([0] * n, [0] * n), torch.ones(n))


@pytest.mark.parametrize(
    ("shortcut", "label", "message"),
    [
        ([0, 1], [0], "got 2 values of the shortcut and 1 labels; give one per sample"),
        ([0.5, 1.0], [0, 1], r"takes the shortcut as integers from 0.*got torch.float32 of shape \(2,\); number its"),
        ([0, 1], [-1, 1], "takes the label as integers from 0"),
        ([], [], "at least one, but got"),
        ([[0], [1]], [0, 1], r"takes the shortcut .* of shape \(2, 1\)"),
    ],
)
def test_what_cannot_be_weighed_is_refused(shortcut: Any, label: Any, message: str):
    with pytest.raises(UserError, match=message):
        cell_weights(shortcut, label)


def test_an_unknown_weighting_is_refused():
    with pytest.raises(UserError, match="unknown weighting 'matchd': did you mean 'matched'"):
        cell_weights([0], [0], weights="matchd")  # type: ignore[reportArgumentType]


def test_log_conditional_is_that_of_a_loop_and_finite_without_samples():
    counts = torch.tensor([[3.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    found = log_conditional(counts)
    torch.testing.assert_close(found[0, :2].exp(), torch.tensor([0.75, 0.25], dtype=torch.float64))
    assert torch.isfinite(found).all() and found[0, 2] < -25
    torch.testing.assert_close(found[1].exp(), torch.full((3,), 1 / 3, dtype=torch.float64))


def test_out_of_place_is_who_differs_from_the_commonest_of_its_class():
    shortcut, label = columns(seed=4)
    usual = {y: Counter(shortcut[label == y].tolist()).most_common(1)[0][0] for y in range(3)}
    expected = [s != usual[y] for s, y in zip(shortcut.tolist(), label.tolist(), strict=True)]
    assert out_of_place(shortcut, label).tolist() == expected
