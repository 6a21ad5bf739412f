"""What papers claim: how a claim is judged, on hand-made records of known verdicts."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers import declare
from test_cli import in_an_empty_folder, printed, printed_json, refused

from longcut import datasets
from longcut.errors import UserError
from longcut.evaluate import Difference
from longcut.papers import HOLDS, NOT, OPEN, Known, cells, claimants, claims, comparisons, judged, recipes, summary
from longcut.papers.claims import adjust, sampled, weigh
from longcut.papers.known import bias_of, known_in, merged

__all__ = ["in_an_empty_folder"]  # around every test here, too

CLAIMS = sys.modules["longcut.papers.claims"]
RESULTS = Path(__file__).parents[1] / "results"
DIGITS = "colored-digits"


# --- the statistic ----------------------------------------------------------------------------------------------------


def test_a_difference_is_students_t_of_paired_seeds():
    """By hand: 3, 4, 5 have mean 4, deviation 1 and error 1/sqrt(3); t with two degrees has a closed form."""
    found = weigh([(10, 7), (24, 20), (5, 0)])
    t = 4 * math.sqrt(3)
    assert (found.value, found.seeds) == (4, 3)
    assert found.p == pytest.approx(1 - t / math.sqrt(t * t + 2))
    assert (found.low, found.high) == pytest.approx((4 - 4.302653 / math.sqrt(3), 4 + 4.302653 / math.sqrt(3)))
    by = weigh([(10, 7), (24, 20), (5, 0)], by=4.0)
    assert by.p == pytest.approx(1.0), "four points is what it is"
    assert weigh([(1, 0), (1, 0), (1, 0)]).p == 0.0
    assert weigh([(1, 0), (1, 0), (1, 0)], by=1.0).p == 1.0


def test_too_few_seeds_are_not_judged():
    assert weigh([]).why == "no pair of runs"
    for n in (1, 2):
        found = weigh([(9.0, 1.0)] * n)
        assert (found.value, found.p, found.verdict, found.why) == (8.0, None, OPEN, f"too few seeds ({n} of 3)")


def test_test_samples_have_to_agree():
    """Seeds alone would tell; over test samples the same difference may be chance."""
    pairs = [(5.0, 0.0), (5.1, 0.0), (4.9, 0.0)]
    alone = weigh(pairs)
    assert alone.p is not None
    assert alone.p < 0.001
    wide = weigh(pairs, over_samples=Difference("average", 5.0, -2.0, 12.0, 0.2))
    assert (wide.p, wide.low, wide.high) == (0.2, -2.0, 12.0)
    narrow = weigh(pairs, over_samples=Difference("average", 5.0, 4.99, 5.01, 0.0001))
    assert (narrow.p, narrow.low, narrow.high) == (alone.p, alone.low, alone.high)
    shifted = weigh(pairs, by=4.0, over_samples=Difference("average", 5.0, 5 - 1.96, 5 + 1.96, 0.0001))
    assert shifted.p == pytest.approx(0.317311, abs=1e-5), "one standard error above what is claimed"


def test_many_claims_are_corrected():
    """Benjamini and Hochberg 1995: the k-th smallest of n times n / k, and never below a smaller one's."""
    values = [0.2, 0.01, 0.03, 0.04]
    assert adjust(values) == pytest.approx([0.2, 0.04, 4 / 3 * 0.04, 4 / 3 * 0.04])
    assert adjust([]) == []
    assert adjust([0.9, 1.0]) == [1.0, 1.0]


# --- claims on records of known verdicts ------------------------------------------------------------------------------

PAPER: dict[str, Any] = {
    "source": "nobody",
    "metric": "Accuracy",
    "seeds": 3,
    "data": {
        "digits": {"few": DIGITS, "many": f"{DIGITS}:ratio=0.2"},
        "worst": {"worst": {"spec": DIGITS, "reads": "worst_group"}},
    },
    "settings": {DIGITS: {"epochs": 10, "net": "mlp:hidden=4"}},
    "row": [
        {"name": name, "tables": ["one"], "method": method, "digits": "unpublished", "worst": "unpublished"}
        for name, method in (("good", "resample:by=group"), ("plain", "erm"), ("other", "mixup"))
    ]
    + [{"name": "theirs", "tables": ["one"], "digits": [[1.0], [2.0]]}],
}


def known(label: str, data: str, values: list[float], epochs: int = 10, metric: str = "average") -> list[Known]:
    return [
        Known(label, data, "erm", seed, epochs, epochs, 1.0, {metric: value})
        for seed, value in enumerate(values)
        if not math.isnan(value)
    ]


def judge(monkeypatch: pytest.MonkeyPatch, runs: list[Known], *given: dict[str, Any], over: Any = None) -> list[Any]:
    made = [{"says": "it is", "stands": "Table 1", "better": "good", "than": "plain", **one} for one in given]
    declare(monkeypatch, {"paper": PAPER})
    monkeypatch.setattr(CLAIMS, "_files", lambda: {"paper": {"source": "nobody", "claim": made}})
    CLAIMS._cells.cache_clear()
    found = judged("paper", runs, over)
    CLAIMS._cells.cache_clear()
    return found


GOOD, BAD = [0.9, 0.91, 0.89], [0.5, 0.52, 0.49]
ON = {"on": {"paper/one": "few"}}


@pytest.mark.parametrize(
    ("good", "plain", "by", "verdict", "why"),
    [
        (GOOD, BAD, 0.0, HOLDS, ""),
        (BAD, GOOD, 0.0, NOT, ""),
        (GOOD, BAD, 39.0, OPEN, "the interval includes both"),
        (GOOD, BAD, 60.0, NOT, ""),
        (BAD, GOOD, -60.0, HOLDS, ""),
        ([0.5, 0.9, 0.1], [0.4, 0.2, 0.6], 0.0, OPEN, "the interval includes both"),
        (GOOD[:2], BAD, 0.0, OPEN, "too few seeds (2 of 3)"),
        ([math.nan, *GOOD], BAD, 0.0, OPEN, "too few seeds (2 of 3)"),
        ([], BAD, 0.0, OPEN, "no runs of good"),
        ([], [], 0.0, OPEN, "no runs of good and of plain"),
    ],
)
def test_verdicts(
    monkeypatch: pytest.MonkeyPatch, good: list[float], plain: list[float], by: float, verdict: str, why: str
):
    runs = [*known("good", DIGITS, good), *known("plain", DIGITS, plain)]
    (found,) = judge(monkeypatch, runs, {**ON, "by": by})
    assert found.verdict == verdict
    assert [one.why for one in found.comparisons] == [why]


def test_pairs_are_of_one_seed(monkeypatch: pytest.MonkeyPatch):
    """Seeds move both rows by the same tens of points; the difference of two is seen all the same."""
    shift = [0.0, 0.2, 0.4]
    runs = known("good", DIGITS, [0.52 + s for s in shift]) + known("plain", DIGITS, [0.5 + s for s in shift])
    (found,) = judge(monkeypatch, runs, ON)
    assert found.verdict == HOLDS
    assert found.comparisons[0].value == pytest.approx(2.0)


def test_a_claim_of_several_columns_fails_where_one_fails(monkeypatch: pytest.MonkeyPatch):
    runs = [*known("good", DIGITS, GOOD), *known("plain", DIGITS, BAD)]
    every = {"on": {"paper/one": ""}}
    (found,) = judge(monkeypatch, runs, every)
    assert found.verdict == HOLDS
    assert [(one.where, one.verdict) for one in found.comparisons] == [
        ("digits few", HOLDS),
        ("digits many", OPEN),
        ("worst worst", OPEN),
    ]
    many = f"{DIGITS}:ratio=0.2"
    runs += [*known("good", many, BAD), *known("plain", many, GOOD)]
    (found,) = judge(monkeypatch, runs, every)
    assert found.verdict == NOT
    (line,) = summary([found])[2:]
    assert "*does not* | digits many -39.7" in line
    assert "but holds on digits few +39.7" in line


def test_only_runs_of_one_length_are_compared(monkeypatch: pytest.MonkeyPatch):
    short = known("good", DIGITS, GOOD, epochs=4)
    (found,) = judge(monkeypatch, short + known("plain", DIGITS, BAD), ON)
    assert found.comparisons[0].why == "no runs of as many epochs"
    (found,) = judge(monkeypatch, short + known("plain", DIGITS, BAD) + known("plain", DIGITS, BAD, epochs=4), ON)
    assert (found.verdict, found.comparisons[0].epochs) == (HOLDS, "4 of 10")
    whole = known("good", DIGITS, BAD) + known("plain", DIGITS, GOOD)
    (found,) = judge(monkeypatch, short + known("plain", DIGITS, BAD, epochs=4) + whole, ON)
    assert (found.verdict, found.comparisons[0].epochs) == (NOT, ""), "whole runs go before"


def test_the_metric_is_that_of_the_column_and_errors_are_better_where_less(monkeypatch: pytest.MonkeyPatch):
    runs = known("good", DIGITS, GOOD, metric="worst_group") + known("plain", DIGITS, BAD, metric="worst_group")
    (found,) = judge(monkeypatch, runs, {"on": {"paper/one": "worst"}})
    assert (found.verdict, round(found.comparisons[0].value, 1)) == (HOLDS, 39.7)
    for metric, scale in (("rmse", 1), ("equalized_odds_sum", 100)):
        runs = known("good", "people", BAD, metric=metric) + known("plain", "people", GOOD, metric=metric)
        (found,) = judge(monkeypatch, runs, {"data": {"people": "people"}, "reads": metric})
        assert found.verdict == HOLDS, "a smaller error"
        assert found.comparisons[0].value == pytest.approx(scale * (sum(GOOD) - sum(BAD)) / 3)


def test_a_row_that_falls_less(monkeypatch: pytest.MonkeyPatch):
    many = f"{DIGITS}:ratio=0.2"
    runs = known("good", DIGITS, GOOD) + known("good", many, [one - 0.05 for one in GOOD])
    runs += known("plain", DIGITS, GOOD) + known("plain", many, [0.61, 0.61, 0.58])
    (found,) = judge(monkeypatch, runs, {"on": {"paper/one": ""}, "falls": ["few", "many"]})
    (one,) = found.comparisons
    assert (found.verdict, one.where, round(one.value, 1)) == (HOLDS, "digits few to many", 25.0)
    (found,) = judge(monkeypatch, runs[:6], {"on": {"paper/one": ""}, "falls": ["few", "many"]})
    assert found.comparisons[0].why == "no runs of plain"


def test_rows_that_lie_further_apart(monkeypatch: pytest.MonkeyPatch):
    """Of several rows on a side, how far they lie apart is compared, seed by seed."""
    runs = known("good", DIGITS, [0.1, 0.2, 0.1]) + known("plain", DIGITS, [0.5, 0.61, 0.52])
    runs += known("other", DIGITS, [0.5, 0.6, 0.5])
    wide = {"better": ["good", "plain"], "than": ["plain", "other"]}
    (found,) = judge(monkeypatch, runs, {**ON, **wide})
    assert found.verdict == HOLDS
    assert found.comparisons[0].value == pytest.approx((40 + 40 + 40) / 3)
    (found,) = judge(monkeypatch, runs, {**ON, "better": wide["than"], "than": wide["better"]})
    assert found.verdict == NOT


def test_beside_many_claims_one_is_less_sure(monkeypatch: pytest.MonkeyPatch):
    runs = [*known("good", DIGITS, [0.58, 0.53, 0.52]), *known("plain", DIGITS, [0.50, 0.49, 0.48])]
    runs += [*known("other", DIGITS, [0.3, 0.6, 0.2])]
    (found,) = judge(monkeypatch, runs, ON)
    assert found.comparisons[0].p is not None
    assert (found.verdict, found.comparisons[0].adjusted) == (OPEN, found.comparisons[0].p)
    runs[0] = runs[0]._replace(values={"average": 0.565})
    (alone,) = judge(monkeypatch, runs, ON)
    assert alone.verdict == HOLDS
    beside = judge(monkeypatch, runs, ON, *[{**ON, "better": "other"}] * 3)
    assert (beside[0].verdict, beside[0].comparisons[0].why) == (OPEN, "not sure enough beside so many claims")


def test_predictions_are_asked_where_they_are(monkeypatch: pytest.MonkeyPatch):
    asked = []

    def over(a: list[Known], b: list[Known], metric: str) -> Difference:
        asked.append(([one.label for one in a], [one.label for one in b], metric))
        return Difference(metric, 0.4, -0.1, 0.9, 0.3)

    runs = [*known("good", DIGITS, GOOD), *known("plain", DIGITS, BAD)]
    (found,) = judge(monkeypatch, runs, ON, over=over)
    assert asked == [(["good"] * 3, ["plain"] * 3, "average")]
    assert (found.verdict, found.comparisons[0].p) == (OPEN, 0.3)
    assert found.comparisons[0].low == pytest.approx(-10 + 39.7 - 40, abs=0.1)
    assert sampled(runs[:1], runs[3:4], "average") is None, "no folder"


# --- what is declared -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("paper", sorted(claimants()))
def test_claims_name_what_there_is(paper: str):
    """Each recipe, column and row; a claim that could never be judged would go unnoticed else."""
    said = [(one.says, one.falls) for one in claims(paper)]
    assert len(set(said)) == len(said), "a claim stands once"
    for one in claims(paper):
        assert bool(one.on) != bool(one.data)
        for recipe, column in one.on.items():
            assert recipe in recipes()
            found = cells(recipe, seeds=1)
            assert {*one.better, *one.than} <= {cell.row for cell in found}, one.says
            assert not column or column in {cell.column for cell in found}
            assert {*one.falls} <= {cell.column for cell in found}
        if one.data:
            assert one.reads
            for spec in one.data.values():
                assert spec.startswith(("figure2", "waterbirds-frozen")) or datasets.parse(spec)
    shown = comparisons(judged(paper, []))
    assert {line[-1] for line in shown[1] if line[0]} == {OPEN}


def test_papers_that_are_not_known():
    with pytest.raises(UserError, match="unknown paper with claims 'selecmixx': did you mean 'selecmix'"):
        claims("selecmixx")
    assert refused("reproduce", "nobody", "--claims").startswith("unknown paper with claims 'nobody'")


def test_what_results_say_is_what_the_page_says():
    """The page is made of the numbers that are there: a claim of SaliencyMix by hand, three pairs of runs."""
    at = "cifar10:per_class=200,valid=100"
    lines = [one for one in known_in(RESULTS / "runs.json") if one.data == at]
    by_label = {
        label: {
            one.seed: one.values["average"] or 0.0 for one in lines if (one.label, one.data) == (f"mixing-{label}", at)
        }
        for label in ("SaliencyMix", "vanilla")
    }
    apart = [100 * (by_label["SaliencyMix"][seed] - by_label["vanilla"][seed]) for seed in (0, 1, 2)]
    page = (RESULTS / "claims.md").read_text("utf-8")
    assert f"| cifar10 accuracy | {sum(apart) / 3:+.3g} |" in page


# --- records ----------------------------------------------------------------------------------------------------------


def test_runs_are_known_from_files(tmp_path: Path):
    line = {"label": "a", "dataset": "d", "method": "erm", "seed": 1, "epochs": 2, "best_epoch": 2, "seconds": 3.0}
    line |= {"average": 0.5, "worst_group": None, "bias": {"probe": 0.25, "head": None}}
    line |= {"identification": {"precision": 0.75}}
    ledger = {json.dumps(["people", "laftr", 3, {"epochs": 9}]): {"test": {"accuracy": 0.5, "tpr": [1]}}}
    (tmp_path / "lines.json").write_text(json.dumps([line]))
    (tmp_path / "ledger.json").write_text(json.dumps(ledger))
    (one,), (other,) = (known_in(tmp_path / f"{name}.json") for name in ("lines", "ledger"))
    assert one[:7] == ("a", "d", "erm", 1, 2, 2, 3.0)
    assert one.values == {"seconds": 3.0, "average": 0.5, "identification precision": 0.75, "bias": 0.25}
    assert one.rising
    assert (other.label, other.data, other.seed, other.epochs) == ("laftr", "people", 3, 9)
    assert other.values == {"accuracy": 0.5, "average": 0.5}
    again = one._replace(values={"average": 0.75})
    assert merged([one, other], [again]) == [again, other]
    assert (bias_of(None), bias_of({"head": math.nan, "probe": 0.5})) == (None, 0.5)


def test_the_command_judges_what_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "220")
    known_file = str(RESULTS / "runs.json")
    text = printed("reproduce", "jm1", "--claims", "--known", known_file)
    assert "JM1 is better than EIIL" in text
    assert "holds here" in text
    assert "cannot be told: no runs of JTT and of JM1" in text
    assert "corrected for all comparisons of the paper" in text
    told = printed_json("reproduce", "jm1", "--claims", "--known", known_file)["jm1"]
    (claim,) = [one for one in told if one["says"] == "JM1 is better than EIIL"]
    assert claim["verdict"] == HOLDS
    assert claim["comparisons"][0]["seeds"] == 3
    assert set(printed_json("reproduce", "all", "--claims")) == set(claimants())
