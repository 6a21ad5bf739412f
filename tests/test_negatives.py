"""Hard and easy negatives: answers that are known by hand, a naive loop, and cases where nothing is to be found."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from longcut.analyses import kinds, negatives
from longcut.analyses.negatives import Negatives, distances
from longcut.contrast import weight_of_distances
from longcut.errors import UserError


def circle(*degrees: float) -> Tensor:
    """Unit vectors at these angles: their distance is 2 sin(difference / 2)."""
    angle = torch.tensor(degrees).deg2rad()
    return torch.stack([angle.cos(), angle.sin()], 1)


def test_the_weight_by_hand():
    far, near = torch.tensor([0.5, 1.0, 2.0]), torch.tensor([4.0, 2.0, 0.0])
    # relative to 2 and to 4: (1/4, 1), (1/2, 1/2), (1, 0)
    assert weight_of_distances(far, near).tolist() == pytest.approx([1.2, 1.5, 2.0])
    assert torch.equal(weight_of_distances(8 * far, near), weight_of_distances(far, 0.25 * near)), "no unit matters"


def test_known_negatives_of_an_anchor():
    # The anchor is the first. The second is far in the net and close in the bias model, the third the reverse, and
    # the fourth is as far in both; the fifth is what the distances are relative to.
    debiased, biased = circle(0, 90, 10, 60, 180), 3 * circle(0, 10, 90, 60, 180)
    found = negatives(debiased, biased, torch.tensor([0]), k=2)
    assert found.row.tolist() == [[[1, 3], [2, 3]]]
    one, ten, ninety = 0.5, 2 * math.sin(math.radians(5)), math.sqrt(2)
    hard = 1 + ninety / (ninety + ten)
    assert found.weight[0, 0].tolist() == pytest.approx([hard, 1 + one])
    assert found.weight[0, 1].tolist() == pytest.approx([3 - hard, 1 + one])
    assert found.debiased[0, :, 0].tolist() == pytest.approx([ninety, ten])
    assert found.biased[0, :, 0].tolist() == pytest.approx([ten, ninety]), "lengths do not count"


def test_it_is_what_a_loop_finds():
    draw = torch.Generator().manual_seed(3)
    debiased, biased = torch.randn(17, 5, generator=draw), torch.randn(17, 3, generator=draw)
    anchors, k = torch.tensor([4, 0, 16]), 3
    found = negatives(debiased, biased, anchors, k)

    def distance(x: Tensor, i: int, j: int) -> float:
        one, other = (x[row].double() / x[row].double().norm() for row in (i, j))
        return float((one - other).norm())

    pairs = [(i, j) for i in range(17) for j in range(17)]
    largest = [max(distance(x, i, j) for i, j in pairs) for x in (debiased, biased)]
    for place, i in enumerate(anchors.tolist()):
        weights = {}
        for j in set(range(17)) - {i}:
            far, near = distance(debiased, i, j) / largest[0], distance(biased, i, j) / largest[1]
            weights[j] = 1 + far / (far + near)
        rising = sorted(weights, key=weights.__getitem__)
        assert found.row[place].tolist() == [rising[::-1][:k], rising[:k]]
        assert found.weight[place, 0].tolist() == pytest.approx([weights[j] for j in rising[::-1][:k]], abs=1e-6)
        assert found.biased[place, 1].tolist() == pytest.approx([distance(biased, i, j) for j in rising[:k]], abs=1e-6)


def test_equal_encoders_find_nothing_hard():
    same = torch.randn(30, 4, generator=torch.Generator().manual_seed(0))
    same[7] = same[3]  # even where both distances are 0
    found = negatives(same, same.clone(), torch.arange(30), k=29)
    assert torch.equal(found.weight, torch.full((30, 2, 29), 1.5))


def test_nobody_is_a_negative_of_their_own():
    draw = torch.Generator().manual_seed(1)
    found = negatives(torch.randn(6, 2, generator=draw), torch.randn(6, 2, generator=draw), torch.arange(6), k=9)
    assert found.row.shape == (6, 2, 5), "there are no more others"
    assert not (found.row == torch.arange(6)[:, None, None]).any()


@pytest.mark.parametrize("value", [1.0, 0.0])
def test_duplicates_and_vectors_without_a_direction(value: float):
    alike = torch.full((4, 3), value)
    found = negatives(alike, alike, torch.tensor([2]), k=2)
    assert found.weight.unique().tolist() == [1.5]
    assert found.row.tolist() == [[[0, 1], [0, 1]]], "of equally hard ones the first"


def test_half_precision_is_as_good():
    draw = torch.Generator().manual_seed(2)
    debiased, biased = torch.randn(9, 4, generator=draw).half(), torch.randn(9, 4, generator=draw).half()
    found = negatives(debiased, biased, torch.arange(9))
    assert torch.equal(found.row, negatives(debiased.float(), biased.float(), torch.arange(9)).row)
    assert found.weight.isfinite().all()


def test_small_distances_are_exact():
    near = distances(torch.tensor([[1.0, 0.0], [1.0, 1e-4]]))[0, 1]
    assert float(near) == pytest.approx(1e-4, rel=1e-3)


@pytest.mark.parametrize(
    ("debiased", "biased"),
    [(torch.zeros(3, 2), torch.zeros(4, 2)), (torch.zeros(1, 2), torch.zeros(1, 2)), (torch.zeros(3), torch.zeros(3))],
)
def test_embeddings_of_different_samples(debiased: Tensor, biased: Tensor):
    with pytest.raises(
        UserError, match=r"embeddings of shapes .* have no negatives in common; give \(n, d\) of the sam"
    ):
        negatives(debiased, biased, torch.tensor([0]))


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_values_that_are_not_finite(side: int, value: float):
    debiased, biased = torch.ones(3, 2), torch.ones(3, 2)
    (debiased, biased)[side][1, 1] = value
    with pytest.raises(UserError, match="an embedding holds a value that is not finite"):
        negatives(debiased, biased, torch.tensor([0]))


def test_what_hard_and_easy_negatives_are():
    #                       anchor, misleading, helpful, alike, neither
    label, attribute = torch.tensor([0, 1, 0, 0, 1]), torch.tensor([0, 0, 1, 0, 1])
    row = torch.tensor([[[1, 3], [2, 4]]])
    none = torch.zeros(row.shape)
    found = Negatives(torch.tensor([0]), row, none, none, none)
    assert kinds(found, label, attribute, label != attribute) == {
        "hardest": {"misleading": 0.5, "helpful": 0.0, "alike": 0.5, "conflicting": 0.5},
        "easiest": {"misleading": 0.0, "helpful": 0.5, "alike": 0.0, "conflicting": 0.5},
        "all": {"misleading": 0.25, "helpful": 0.25, "alike": 0.25, "conflicting": 0.5},
    }
    assert "conflicting" not in kinds(found, label, attribute)["all"]


def test_a_bias_model_that_sees_the_shortcut_alone_makes_misleading_ones_hard():
    """The claim of Figure 4, where it holds by construction: one encoder sees the label alone, one the attribute."""
    draw = torch.Generator().manual_seed(0)
    label, attribute = torch.arange(80) % 4, torch.arange(80) // 4 % 4
    noise = 0.02 * torch.randn(2, 80, 4, generator=draw)
    seen = torch.eye(4)[label] + noise[0], torch.eye(4)[attribute] + noise[1]
    shares = kinds(negatives(*seen, torch.arange(80), k=5), label, attribute)
    assert shares["hardest"]["misleading"] == 1
    assert shares["easiest"]["helpful"] == 1
    assert shares["all"]["misleading"] == pytest.approx(15 / 79)
