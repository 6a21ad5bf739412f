"""Which method to use, and which does harm: from hand arithmetic, and on runs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
from scipy.stats import t as student
from scipy.stats import ttest_rel

from longcut.evaluate import Difference
from longcut.report.study import Paired
from longcut.report.verdict import adjusted, advice, verdicts
from longcut.scales import SCALES


class Stub:
    """A contender with these values of the metric."""

    def __init__(self, name: str, *values: float, knows: bool = False, seeds: Any = None) -> None:
        self.name, self.knows_shortcut, self.is_baseline = name, knows, name == "ERM"
        self.scale = SCALES["classification"]
        self.runs = [
            SimpleNamespace(
                inputs=lambda: True,
                record=SimpleNamespace(fingerprint="f", plan=SimpleNamespace(seed=seed)),
                scores=lambda value=value: SimpleNamespace(values={"worst_group": value}, groups=()),
            )
            for seed, value in zip(seeds or range(len(values)), values, strict=True)
        ]


ERROR = [0.0]  # of every difference, over test samples


def study(*contenders: Stub, judged: str = "worst_group") -> Any:
    def beside(other: Stub, metric: str) -> Paired:
        found = Difference(metric, 0.0, -1.96 * ERROR[0], 1.96 * ERROR[0], 1.0)
        return Paired(cast(Any, other.runs), cast(Any, contenders[0].runs), found)

    return cast(Any, SimpleNamespace(contenders=contenders, judged=judged, scale=contenders[0].scale, beside=beside))


@pytest.fixture
def error() -> Iterator[list[float]]:
    """The standard error over test samples of every pair; 0 unless a test says otherwise."""
    yield ERROR
    ERROR[0] = 0.0


# --- the numbers ------------------------------------------------------------------------------------------------------


def test_of_many_methods_some_are_better_by_chance():
    assert adjusted([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])  # 3·.01, then max(2·.03, …), then 1·.04
    assert adjusted([0.5, 0.9]) == [1.0, 1.0]
    assert adjusted([]) == []


def test_seeds_alone_give_the_paired_t_test(error: list[float]):
    ours, theirs = [0.6, 0.7, 0.75], [0.5, 0.58, 0.7]
    (found,) = verdicts(study(Stub("ERM", *theirs), Stub("A", *ours)))
    assert found.gain == pytest.approx(sum(ours) / 3 - sum(theirs) / 3)
    assert found.p == pytest.approx(ttest_rel(ours, theirs).pvalue)


def test_one_seed_leaves_the_error_over_test_samples(error: list[float]):
    error[0] = 0.05
    (found,) = verdicts(study(Stub("ERM", 0.5), Stub("A", 0.6)))
    assert found.p == pytest.approx(2 * student.sf(2.0, 1e6), rel=1e-3)
    assert found.seeds == 1


def test_both_errors_add_up(error: list[float]):
    error[0] = 0.03
    (found,) = verdicts(study(Stub("ERM", 0.5, 0.5), Stub("A", 0.58, 0.62)))
    own = 0.0004 * 2 / 2  # variance of the mean of 0.08 and 0.12
    total = 0.0009 + own / 1 * 0.5 * 2
    assert own == pytest.approx(((0.08 - 0.1) ** 2 + (0.12 - 0.1) ** 2) / 1 / 2)
    freedom = total**2 / own**2
    assert found.p == pytest.approx(2 * student.sf(0.1 / math.sqrt(total), freedom), rel=1e-6)


def test_other_seeds_are_not_paired(error: list[float]):
    (found,) = verdicts(study(Stub("ERM", 0.5, 0.6), Stub("A", 0.7, 0.6, seeds=[4, 5])))
    assert found.p == pytest.approx(2 * student.sf(0.1 / math.sqrt(2 * 0.0025), 2), rel=1e-6)  # Welch, equal variances


def test_the_same_predictions_are_no_difference(error: list[float]):
    (found,) = verdicts(study(Stub("ERM", 0.5), Stub("A", 0.5)))
    assert (found.p, found.kind) == (1.0, "unclear")


def test_an_error_is_better_where_it_is_lower(error: list[float], monkeypatch: pytest.MonkeyPatch):
    """Of a root of 2, an error e of the mean of squares is e / 2√4."""
    error[0] = 0.4
    one, other = Stub("ERM", 2.0), Stub("A", 2.0)
    for stub in (one, other):
        stub.scale = SCALES["regression"]
        stub.runs[0].scores = lambda: SimpleNamespace(values={"rmse": 2.0}, groups=())
    other.runs[0].scores = lambda: SimpleNamespace(values={"rmse": 1.8}, groups=())
    (found,) = verdicts(study(one, other, judged="rmse"))
    assert (found.gain, found.kind) == (pytest.approx(0.2), "better" if found.p <= 0.05 else "unclear")
    assert found.p == pytest.approx(2 * student.sf(0.2 / (0.4 / (2 * 1.9)), 1e6), rel=1e-3)


# --- the words --------------------------------------------------------------------------------------------------------


def test_who_is_to_be_taken_and_who_does_harm(error: list[float]):
    error[0] = 0.01
    found = advice(
        study(Stub("ERM", 0.5), Stub("A", 0.6), Stub("B", 0.7, knows=True), Stub("C", 0.3), Stub("D", 0.501))
    )
    assert found == [
        "Take B here: it is 20.0 points better than ERM in the worst group (p < .001); it is told the attribute.",
        "C is 20.0 points worse than ERM in the worst group (p < .001): do not use it here.",
        "Corrected for 4 methods tried; with one seed, nothing is known about the spread over training runs.",
    ]


def test_what_is_larger_but_not_sure_is_not_kept_back(error: list[float]):
    found = advice(study(Stub("ERM", 0.5, 0.5, 0.5), Stub("A", 0.54, 0.54, 0.541), Stub("B", 0.5, 0.6, 0.9)))
    assert found[0].startswith("Take A here: it is 4.0 points better than ERM")
    assert found[1].startswith("B may be better still, 16.7 points better than ERM in the worst group (p = .")
    assert found[1].endswith(": more seeds would tell.")


def test_nothing_is_better(error: list[float]):
    error[0] = 0.1
    found = advice(study(Stub("ERM", 0.5, 0.52), Stub("A", 0.48, 0.5)))
    assert found == ["Nothing is clearly better than ERM in the worst group: stay with it."]


def test_without_a_baseline_nothing_is_said(error: list[float]):
    assert advice(study(Stub("A", 0.5), Stub("B", 0.9))) == []
    assert advice(study(Stub("ERM", 0.5))) == []
    assert advice(study(Stub("ERM", 0.5), Stub("B", 0.9), judged="")) == []
