"""The head for look-ups is scikit-learn's weighted regression, with unknown attributes filled and a strength chosen."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from test_dfr import gaussian
from torch import nn

from longcut.data import Dataset, Splits
from longcut.errors import UserError
from longcut.fit import Training, fit
from longcut.methods import build
from longcut.methods.last_layer.balanced import BalancedHead, chosen, filled, strength_to_c
from longcut.methods.last_layer.heads import even
from longcut.nets import Net

TRAINING = Training(epochs=1, batch=64, pool=1)


def head(train: Dataset, **options: Any) -> Any:
    """The method after its finish, on features that are the inputs, times 3 plus 1."""

    class Fixed(nn.Module):
        def forward(self, x):
            return 3 * x + 1

    method = BalancedHead(lambda: Net([Fixed()], nn.Linear(2, train.info.n_classes)), train.info, **options)
    return fit(method, Splits(train, None, train), TRAINING).method


def direction(method: Any) -> torch.Tensor:
    weight = method.net.head.weight.detach()
    return weight[1] - weight[0]


def hidden(data: Dataset, keep: torch.Tensor) -> Dataset:
    assert data.attribute is not None
    column = torch.where(keep, data.attribute, -1)
    return dataclasses.replace(data, attribute=column, info=dataclasses.replace(data.info, partial=True))


@pytest.mark.parametrize("classes", [2, 3])
def test_the_head_is_scikit_learns_regression_with_every_group_as_heavy(classes):
    counts = [60, 6, 9, 60, 20, 30][: 2 * classes]
    train = gaussian(counts, classes=classes)
    method = head(train, strengths="50")
    x = StandardScaler().fit_transform(train.x.double().numpy())
    weight = np.array([sum(counts) / len(counts) / counts[group] for group in train.group])
    known = LogisticRegression(C=50 / x.size, tol=1e-8, max_iter=5000).fit(x, train.label.numpy(), sample_weight=weight)
    logits = method(train.x).detach().double().numpy()
    found = logits[:, 1] - logits[:, 0] if classes == 2 else logits - logits.mean(1, keepdims=True)
    wanted = known.decision_function(x)
    wanted = wanted if classes == 2 else wanted - wanted.mean(1, keepdims=True)
    np.testing.assert_allclose(found, wanted, atol=5e-3)


def test_cells_weigh_the_same_by_hand():
    np.testing.assert_allclose(even(np.array([3, 3, 3, 0])), [2 / 3, 2 / 3, 2 / 3, 2])
    assert strength_to_c(100, np.zeros((20, 5))) == 1


def test_what_is_unknown_is_usual_or_left_out():
    label, attribute, x = np.array([0, 0, 1, 1]), np.array([-1, 1, -1, 0]), np.zeros((4, 1))
    assert filled(x, label, attribute, np.array([0, 1]), "usual").tolist() == [0, 1, 1, 0]
    assert filled(x, label, attribute, np.array([0, 1]), "leave-out").tolist() == attribute.tolist()


def test_what_is_unknown_is_spread_by_what_the_known_look_like():
    """Column 0 is the attribute; a tenth of each class is known."""
    rng = np.random.default_rng(0)
    label, attribute = np.arange(400) % 2, rng.integers(0, 2, 400)
    x = np.stack([attribute * 4 + rng.normal(size=400), rng.normal(size=400)], 1)
    known = np.where(np.arange(400) < 80, attribute, -1)
    usual = np.array([0, 1])
    spread = filled(x, label, known, usual, "spread")
    assert (spread[:80] == attribute[:80]).all()
    assert (
        (spread == attribute)[80:].mean()
        > 0.9
        > 0.6
        > (filled(x, label, known, usual, "usual") == attribute)[80:].mean()
    )


@pytest.mark.parametrize(("n", "seed"), [(60, 0), (60, 1), (240, 0), (240, 1), (240, 2)])
def test_the_strength_is_the_first_within_an_error_of_the_best_in_the_worst_cell(n, seed):
    """More columns than tell anything: the naive loop over the folds, judged on samples held out."""
    rng = np.random.default_rng(seed)
    label, cell = np.arange(n) % 2, np.arange(n) % 3
    x = rng.normal(size=(n, 100))
    x[:, :50] += 0.25 * label[:, None]
    fold = rng.permutation(n) % 4
    strengths = [1e-4, 20.0, 1e5]
    worst = []
    for strength in strengths:
        right = np.empty(n, bool)
        for part in range(4):
            held = fold == part
            fitted = LogisticRegression(C=strength / x[~held].size, max_iter=1000)
            fitted.fit(x[~held], label[~held], sample_weight=even(cell[~held]))
            right[held] = fitted.predict(x[held]) == label[held]
        worst.append(min((right[cell == one].mean(), (cell == one).sum()) for one in range(3)))
    best, size = max(worst)
    wanted = next(
        s for s, (value, _) in zip(strengths, worst, strict=True) if value >= best - (best * (1 - best) / size) ** 0.5
    )
    assert chosen(x, label, cell, strengths, fold) == wanted
    assert chosen(x, label, cell, [3.0], fold) == 3.0


def test_a_clear_best_is_taken_and_among_equals_the_first():
    label = np.arange(80) % 2
    x = np.stack([10.0 * label, np.random.default_rng(0).normal(size=80)], 1)
    x[:, 0] -= 2  # the penalty leaves a bias alone: with cells of unequal weight it says one class
    cell, fold = np.where(np.arange(80) < 4, 2, label), np.arange(80) % 4
    assert chosen(x, label, cell, [1e-9, 100.0, 1e4], fold) == 100.0
    assert chosen(x, label, cell, [1e4, 100.0], fold) == 1e4
    assert chosen(x, label, np.arange(80), [7.0, 8.0], fold) == 7.0  # no cell is large enough


def test_a_hundred_looked_up_conflicting_samples_take_the_shortcuts_weight_away():
    train = gaussian([900, 60, 60, 900])
    few = torch.arange(len(train)) < 50  # who say what is usual
    aligned, conflicting = (
        direction(head(hidden(train, keep | few & ~train.conflicting))).abs()
        for keep in (~train.conflicting, train.conflicting)
    )
    assert conflicting[0] > 5 * conflicting[1] and aligned[1] > 0.5 * aligned[0]


def test_what_is_usual_is_voted_for_whatever_is_known_of_how_many():
    """Ten of each group are known, so that neither value is the commoner one."""
    train = gaussian([900, 60, 60, 900])
    train = dataclasses.replace(train, info=dataclasses.replace(train.info, aligned=(1, 1)))
    ten = torch.cat([torch.nonzero(train.group == group)[:10, 0] for group in range(4)])
    keep = torch.zeros(len(train), dtype=torch.bool)
    keep[ten] = True
    core, shortcut = direction(head(hidden(train, keep), unknown="spread", strengths="2000")).abs()
    known = direction(head(train, strengths="2000")).abs()
    assert core > 3 * shortcut and abs(core - known[0]) < 0.3 * known[0]


@pytest.mark.parametrize("unknown", ["usual", "spread", "leave-out"])
def test_unknown_attributes_are_taken_as_said(unknown):
    train = gaussian([200, 20, 20, 200])
    assert train.attribute is not None
    keep = torch.rand(440, generator=torch.Generator().manual_seed(0)) < 0.3
    method = head(hidden(train, keep), unknown=unknown, strengths="50")
    x = StandardScaler().fit_transform(train.x.double().numpy())
    label, attribute = train.label.numpy(), torch.where(keep, train.attribute, -1).numpy()
    told = filled(x.astype(np.float32), label, attribute, np.array([0, 1]), unknown)
    rows = told >= 0
    c, weight = 50 / (2 * rows.sum()), even((label * 2 + told)[rows])
    known = LogisticRegression(C=c, tol=1e-8, max_iter=5000).fit(x[rows], label[rows], sample_weight=weight)
    logits = method(train.x).detach().double().numpy()
    np.testing.assert_allclose(logits[:, 1] - logits[:, 0], known.decision_function(x), atol=5e-3)


def test_what_cannot_be_fitted_is_refused_in_one_sentence():
    train = gaussian([20, 20, 20, 20])
    with pytest.raises(UserError, match="strengths=1-0 has a 0"):
        build("balanced-head", train.info, options={"strengths": "1-0"})
    with pytest.raises(
        UserError, match="balanced-head needs the attribute of each training sample, but gaussian has none"
    ):
        head(hidden(train, torch.zeros(80, dtype=torch.bool)))
    with pytest.raises(
        UserError, match="no sample of class '1' has a known attribute; look some up, or use unknown=usual"
    ):
        head(hidden(train, train.label == 0), unknown="leave-out")
