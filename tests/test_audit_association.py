from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom, chi2_contingency
from sklearn.metrics import balanced_accuracy_score, mutual_info_score

from longcut.audit import association
from longcut.audit.association import (
    balanced_accuracies,
    contingency,
    cramers_v,
    folds_of,
    guess,
    held_out_test,
    max_permutation,
    max_permutation_of_cells,
    mutual_information,
    resampled,
    resampled_accuracy,
    resampled_v,
    verdict_of,
    wilson,
)

RNG = np.random.default_rng


def chi2(a: np.ndarray, b: np.ndarray) -> tuple[float, int]:
    found = chi2_contingency(contingency(np.unique(a, return_inverse=True)[1], b), correction=False)
    return found.statistic, found.dof  # type: ignore[attr-defined]


def most_by_chance(draws: int, level: float = 0.05) -> int:
    """False alarms that a calibrated test exceeds once in a thousand times."""
    return int(binom.ppf(0.999, draws, level))


# --- tables -----------------------------------------------------------------------------------------------------------


def test_contingency_counts_pairs():
    rng = RNG(0)
    a, b = rng.integers(0, 3, 50), rng.integers(0, 4, 50)
    expected = [[sum(x == i and y == j for x, y in zip(a, b, strict=True)) for j in range(4)] for i in range(3)]
    assert contingency(a.astype(np.uint8), b).tolist() == expected


def test_cramers_v_of_independence_and_of_a_diagonal():
    assert cramers_v(np.outer([1, 2, 3], [10, 20])) == 0
    for k in (2, 3, 10):
        assert cramers_v(np.diag([7] * k)) == pytest.approx(1)


def test_cramers_v_by_hand():
    # chi2 = 80 · (30·30 − 10·10)² / 40⁴ = 20, so phi2 = 1/4; corrected (1/4 − 1/79) / (1 − 1/79) = 25/104
    assert cramers_v(np.array([[30, 10], [10, 30]])) == pytest.approx((25 / 104) ** 0.5)


def test_cramers_v_follows_bergsma():
    table = RNG(1).integers(1, 30, (4, 3)) + np.diag([20] * 4)[:, :3]
    n, (rows, columns) = table.sum(), table.shape
    phi2 = chi2_contingency(table, correction=False).statistic / n  # type: ignore[attr-defined]
    corrected = phi2 - (rows - 1) * (columns - 1) / (n - 1)
    least = min(rows - (rows - 1) ** 2 / (n - 1), columns - (columns - 1) ** 2 / (n - 1))
    assert cramers_v(table) == pytest.approx((corrected / (least - 1)) ** 0.5)
    padded = np.pad(table, ((1, 1), (2, 0)))
    assert cramers_v(padded) == pytest.approx(cramers_v(table))


def test_cramers_v_where_nothing_can_be_said():
    assert cramers_v(np.array([[3, 4]])) == 0
    assert cramers_v(np.eye(3, dtype=int)) == 0  # as many values as samples


def test_mutual_information_by_hand():
    assert mutual_information(np.outer([1, 2, 3], [10, 20])) == pytest.approx(0, abs=1e-12)
    assert mutual_information(np.diag([4] * 8)) == pytest.approx(3)
    # two cells of 3/8 and two of 1/8, all of them 1/4 if independent
    assert mutual_information(np.array([[30, 10], [10, 30]])) == pytest.approx(0.75 * np.log2(1.5) - 0.25)
    a, b = RNG(2).integers(0, 5, 200), RNG(3).integers(0, 4, 200)
    assert mutual_information(contingency(a, b)) == pytest.approx(mutual_info_score(a, b) / np.log(2))


def test_interval_of_v_lies_around_it():
    independent = np.full((10, 10), 10)
    assert np.quantile(resampled_v(independent, RNG(0)), 0.5) < 0.05  # a plain bootstrap says 0.08 to 0.11 and more
    assert resampled_v(np.diag([9, 9]), RNG(0)) == pytest.approx(np.ones(400))
    table = contingency(*RNG(1).integers(0, 8, (2, 300)))
    assert np.quantile(resampled_v(table, RNG(0)), 0.025) <= cramers_v(table)
    strong = np.array([[300, 100], [100, 300]])  # 75 % agree, and phi is 2 · 0.75 − 1
    spread = resampled_v(strong, RNG(0), 2000).std()
    assert spread == pytest.approx(2 * (0.75 * 0.25 / 800) ** 0.5, rel=0.1)
    assert resampled_v(strong, RNG(0), 2000).mean() == pytest.approx(cramers_v(strong), abs=0.002)


# --- many columns against the label -----------------------------------------------------------------------------------


def test_max_permutation_is_the_naive_loop():
    rng = RNG(0)
    label = rng.integers(0, 3, 60) * 2  # ids with gaps
    columns = [rng.integers(0, k, 60) * 3 for k in (2, 5, 9)] + [label // 2 + (rng.random(60) < 0.4)]
    z, p = max_permutation(columns, label, RNG(7), draws=99)

    def standardised(label):
        return [(value - df) / (2 * df) ** 0.5 for value, df in (chi2(column, label // 2) for column in columns)]

    again = RNG(7)
    _, ids = np.unique(label, return_inverse=True)
    largest = [max(standardised(again.permutation(ids) * 2)) for _ in range(99)]
    assert z == pytest.approx(standardised(label))
    assert p == pytest.approx([(1 + sum(m >= value - 1e-9 for m in largest)) / 100 for value in z])


@pytest.mark.parametrize("share", [0.5, 0.1])
def test_max_permutation_raises_no_more_false_alarms_than_it_may(share: float):
    alarms = 0
    for draw in range(400):
        rng = RNG([draw, 5])
        base = rng.integers(0, 2, 40)
        columns = [rng.integers(0, k, 40) for k in (2, 4, 12)] + [base, 1 - base, base | (rng.random(40) < 0.1)]
        alarms += max_permutation(columns, (rng.random(40) < share) * 1, rng, draws=99)[1].min() <= 0.05
    assert alarms <= most_by_chance(400)
    assert alarms >= 2  # nor is it silent


def test_max_permutation_finds_a_planted_column_among_many():
    statistics = []
    for strength in (0.2, 0.5, 0.8, 0.95):
        rng = RNG(3)
        label = rng.integers(0, 2, 500)
        planted = np.where(rng.random(500) < strength, label, rng.integers(0, 2, 500))
        z, p = max_permutation([*(rng.integers(0, 50, 500) for _ in range(10)), planted], label, rng)
        assert p[-1] < 0.05 < p[:-1].min()
        statistics.append(z[-1])
    assert statistics == sorted(statistics)


def test_a_column_that_never_changes_says_nothing():
    label = np.arange(50) % 2
    _, p = max_permutation([np.zeros(50, int), label], label, RNG(0), draws=99)
    assert p.tolist() == [1, 0.01]
    z, p = max_permutation([], label, RNG(0))
    assert len(z) == len(p) == 0


def test_cells_are_columns_with_the_commonest_value_left_out():
    rng = RNG(0)
    label, present = rng.integers(0, 3, 80), rng.random((80, 6)) < 0.3
    rows, cells = np.nonzero(present)
    listed = max_permutation_of_cells(rows, cells, np.arange(6), 6, label, RNG(1), 99)
    whole = max_permutation(list(present.T.astype(int)), label, RNG(1), 99)
    for a, b in zip(listed, whole, strict=True):
        assert a == pytest.approx(b)


def test_large_data_gets_fewer_draws(monkeypatch):
    label = np.arange(60) % 2
    for work, draws in ((10**9, 999), (30 * 500, 500), (30, 199)):  # 30 rows have the rarer value
        monkeypatch.setattr(association, "WORK", work)
        assert max_permutation([label], label, RNG(0))[1].tolist() == [pytest.approx(1 / (1 + draws))]


# --- guesses ----------------------------------------------------------------------------------------------------------


def test_folds_have_the_classes_in_proportion():
    label = np.array([0] * 30 + [1] * 7 + [2] * 2)
    fold = folds_of(label, 3, RNG(0))
    assert np.bincount(fold).tolist() == [13, 13, 13]
    for value in range(3):
        assert np.ptp(np.bincount(fold[label == value], minlength=3)) <= 1
    assert np.array_equal(fold, folds_of(label, 3, RNG(0)))
    assert not np.array_equal(fold, folds_of(label, 3, RNG(1)))


def test_folds_of_small_classes():
    label = np.repeat([0, 1, 2], [4, 41, 102])
    fold = folds_of(label, 4, RNG(0))
    for value in range(3):
        assert np.ptp(np.bincount(fold[label == value], minlength=4)) <= 1
    assert np.bincount(folds_of(np.array([0, 0, 1, 2]), 5, RNG(0))).tolist() == [2, 2]  # no class has more than two


def test_guess_is_the_naive_loop():
    rng = RNG(0)
    label, values, fold = rng.integers(0, 3, 90), rng.integers(0, 6, 90) * 2, rng.integers(0, 4, 90)
    found = guess(values, label, fold)
    for i in range(90):
        other = fold != fold[i]
        share = [np.mean(values[other & (label == c)] == values[i]) for c in range(3)]
        assert share[found[i]] == max(share)


def test_guess_does_not_look_at_the_part_it_guesses():
    rng = RNG(1)
    label, values, fold = rng.integers(0, 2, 60), rng.integers(0, 4, 60), rng.integers(0, 3, 60)
    changed = np.where(fold == 1, 1 - label, label)
    held = fold == 1
    assert (guess(values, label, fold)[held] == guess(values, changed, fold)[held]).all()


def test_balanced_accuracy_is_that_of_scikit_learn():
    rng = RNG(0)
    label, guesses = rng.choice(4, 200, p=[0.7, 0.2, 0.06, 0.04]), rng.integers(0, 4, (3, 200))
    expected = [balanced_accuracy_score(label, row) for row in guesses]
    assert balanced_accuracies(guesses, label) == pytest.approx(expected)


def test_resampled_accuracy_spreads_as_the_binomial_does():
    label = np.repeat([0, 2], [100, 25])
    right = np.concatenate([np.arange(100) < 80, np.arange(25) < 10])
    drawn = resampled_accuracy(right, label, RNG(0), 20_000)
    assert drawn.mean() == pytest.approx(0.6, abs=0.002)
    assert drawn.std() == pytest.approx((0.8 * 0.2 / 100 + 0.4 * 0.6 / 25) ** 0.5 / 2, rel=0.05)


def test_held_out_test_is_the_naive_loop():
    rng = RNG(0)
    label, fold = rng.integers(0, 3, 45), np.arange(45) % 3
    guesses = np.where(rng.random((4, 45)) < 0.3, label, rng.integers(0, 3, (4, 45)))
    p, permuted, largest = held_out_test(guesses, label, fold, RNG(3), draws=50)
    again, expected, pooled = RNG(3), [], np.zeros((4, 50))
    for part in range(3):
        own, held = label[fold == part], guesses[:, fold == part]
        shuffled = again.permuted(np.broadcast_to(own, (50, 15)), axis=1)
        drawn = np.array([[balanced_accuracy_score(y, row) for y in shuffled] for row in held])
        seen = [balanced_accuracy_score(own, row) for row in held]
        expected.append([(1 + (drawn.max(0) >= value - 1e-9).sum()) / 51 for value in seen])
        pooled += drawn / 3
    assert p == pytest.approx(np.minimum(3 * np.min(expected, 0), 1), abs=1e-6)
    assert permuted == pytest.approx(pooled.mean(1), abs=1e-6)
    assert largest == pytest.approx(pooled.max(0).mean(), abs=1e-6)


@pytest.mark.parametrize("share", [0.5, 0.12])
def test_held_out_test_raises_no_more_false_alarms_than_it_may(share: float):
    alarms = 0
    for draw in range(400):
        rng = RNG([draw, 6])
        label = (rng.random(90) < share) * 1
        label[:6] = [0, 0, 0, 1, 1, 1]
        fold = folds_of(label, 3, rng)
        guesses = np.stack([guess(rng.integers(0, k, 90), label, fold) for k in (2, 5, 30)])
        alarms += held_out_test(guesses, label, fold, rng, 99)[0].min() <= 0.05
    assert 2 <= alarms <= most_by_chance(400)


def test_held_out_test_sees_what_is_told():
    label, rng = np.arange(90) % 3, RNG(0)
    fold = folds_of(label, 3, rng)
    p, permuted, _ = held_out_test(np.stack([label, rng.integers(0, 3, 90)]), label, fold, rng)
    assert p[0] == pytest.approx(3 / 1000)
    assert p[1] > 0.05
    assert permuted == pytest.approx([1 / 3, 1 / 3], abs=0.01)  # whatever is guessed


def test_wilson_at_the_ends():
    z2 = 1.959963984540054**2
    low, high = wilson(np.array([0, 20]), np.array([20, 20]))
    assert low == pytest.approx([0, 20 / (20 + z2)], abs=1e-12)
    assert high == pytest.approx([z2 / (20 + z2), 1])


def test_an_alarm_needs_both():
    assert verdict_of(0.05, 0.05, 0.6) == "alarm"
    assert verdict_of(0.05, 0.05, 0.599) == "notice"
    assert verdict_of(0.0501, 0.05, 1.0) == "clear"


# --- resamples --------------------------------------------------------------------------------------------------------


def same(counts: np.ndarray) -> np.ndarray:
    return counts


def test_resamples_are_those_of_a_multinomial():
    """Each count is binomial, any two are negatively correlated, and a share's spread is the binomial one."""
    n, draws = 6, 20_000
    counts = resampled(same, n, RNG(3), draws)
    assert counts.shape == (draws, n)
    assert counts.dtype == np.float32
    assert (counts.sum(1) == n).all()
    covariance = np.cov(counts.T)
    expected = n * (np.eye(n) / n - 1 / n**2)
    assert np.abs(covariance - expected).max() < 5 * np.sqrt(2 / draws)
    some = binom.pmf(np.arange(4), n, 1 / n)
    assert [(counts == k).mean() for k in range(4)] == pytest.approx(some, abs=5 * np.sqrt(0.25 / draws))
    assert (resampled(same, n, RNG(3), 2) == counts[:2]).all()


def test_resamples_are_drawn_a_block_at_a_time(monkeypatch):
    whole = resampled(same, 6, RNG(3), 10)
    shapes = []

    def seen(counts: np.ndarray) -> np.ndarray:
        shapes.append(counts.shape)
        return counts

    monkeypatch.setattr(association, "BLOCK", 20)
    found = resampled(seen, 6, RNG(3), 10)
    assert shapes == [(3, 6), (3, 6), (3, 6), (1, 6)]
    assert (found == whole).all()
    assert resampled(same, 100, RNG(3), 2).shape == (2, 100)
