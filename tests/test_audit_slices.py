from __future__ import annotations

import dataclasses
import json
from math import comb
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import binom
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from test_audit_learned import RNG, judged
from test_audit_whole import finding

from longcut.audit import Audit, Finding, View, folder
from longcut.audit.judged import Judged
from longcut.cli.show import print_audit
from longcut.data import Dataset
from longcut.sources import Source

module: Any = __import__("longcut.audit.slices", fromlist=["slices"])
N = 4000


def view(rows: pd.DataFrame, seed: int = 0, x: torch.Tensor | None = None, **columns: Any) -> View:
    """Column ``y`` is the label."""
    source = Source("toy", rows, np.zeros(len(rows), np.int64), True, "y", **columns)
    x = torch.zeros(len(rows), 1) if x is None else x
    data = Dataset.of(x, rows["y"].to_numpy(copy=True), class_names=("cat", "dog"))
    return View(dataclasses.replace(data, source=source), source, seed=seed)


def models(label: Any, wrong: np.ndarray) -> Judged:
    return judged(label, label, ordinary=~wrong)


def table(seed: int = 0, n: int = N) -> pd.DataFrame:
    rng = RNG([seed, 3])
    return pd.DataFrame(
        {
            "y": rng.integers(0, 2, n),
            "place": rng.choice(["lake", "wood", "street", "<b>"], n),
            "size": rng.choice(["small", "large"], n),
            "age": rng.normal(size=n),
            "code": rng.integers(0, 10, n),
        }
    )


FEATURES = ("place", "size", "age", "code")


def found(rows: pd.DataFrame, wrong: np.ndarray, seed: int = 0, **columns: Any) -> Finding:
    shown = view(rows, seed, **columns or {"features": FEATURES})
    made = module.slices(shown, models(shown.label, wrong), {})
    assert made is not None
    return made


# --- chance -----------------------------------------------------------------------------------------------------------


def test_errors_that_are_drawn_by_lot_make_no_slices():
    draws, rows = 200, table(n=1000)
    verdicts = [found(rows, RNG([seed, 4]).random(1000) < 0.15, seed).verdict for seed in range(draws)]
    assert set(verdicts) <= {"clear", "notice"}
    assert verdicts.count("notice") <= binom.ppf(0.999, draws, 0.05)


def test_a_model_that_errs_on_noise_has_no_slices():
    """Cross-fitted for real: labels are flipped by lot, and no column has to do with the input."""
    draws, n, x = 100, 400, RNG(1).normal(size=(400, 3))
    false = 0
    for seed in range(draws):
        rng = RNG([seed, 6])
        rows = table(seed, n)
        rows["y"] = ((x[:, 0] > 0) ^ (rng.random(n) < 0.2)).astype(int)
        said: Any = cross_val_predict(LogisticRegression(), x, rows["y"], cv=4)
        false += found(rows, said != rows["y"].to_numpy(), seed).verdict == "notice"
    assert false <= binom.ppf(0.999, draws, 0.05)


@pytest.mark.parametrize("twice", [False, True])
def test_many_parts_of_nothing(twice: bool):
    """Where both halves hold the same samples, what chance made is taken for a slice most of the time."""
    draws, n, false = 100, 1000, 0
    for seed in range(draws):
        rng = RNG([seed, 7])
        member, wrong = rng.random((150, n)) < rng.uniform(0.03, 0.5, (150, 1)), rng.random(n) < 0.15
        if twice:
            member, wrong = np.repeat(member, 2, 1), np.repeat(wrong, 2)
        test = np.arange(len(wrong)) % 2 == 1
        false += any(each.p_value <= 0.05 for each in module.find(member, wrong, test))
    assert false > draws / 2 if twice else false <= binom.ppf(0.999, draws, 0.05)


def test_a_pair_must_be_worse_than_what_else_is_in_its_parts():
    """In the half that is searched, nearly all errors of a part are where it meets another; in the other half, not."""
    n = np.arange(2000)
    test, part, other = n >= 1000, n % 1000 < 200, n % 2 == 0
    fifth, tenth = n % 1000 // 2 % 5 == 0, n % 1000 // 2 % 10 == 0
    wrong = np.where(part, np.where(test, fifth | (n % 3 == 0), other | tenth), tenth)
    each = next(each for each in module.find(np.stack([part, other]), wrong, test) if len(each.of) == 2)
    own = part & other
    rates = [wrong[own & half].mean() - wrong[part & ~other & half].mean() for half in (test, ~test)]
    assert abs(rates[0]) < 0.1
    assert rates[1] > 0.8
    assert module._p_value(own, wrong, test) < 1e-6  # worse than the rest
    assert each.p_value > 0.1


def test_a_further_slice_must_be_worse_where_the_clearer_one_is_not():
    """In the half that is searched it is, in the other one its errors are the other slice's."""
    n = np.arange(2000)
    place, test = n % 1000, n >= 1000
    clearer, further = place < 200, (place >= 100) & (place < 300)
    wrong = np.where(clearer, place % 10 < 6, place % 10 == 0) | (further & ~clearer & ~test & (place % 10 < 4))
    first, second = module.find(np.stack([clearer, further]), wrong, test)
    assert (first.of, second.of) == ((0,), (1,))
    assert first.p_value < 1e-6
    assert module._p_value(further, wrong, test) < 1e-6  # worse than the rest, because of the clearer one
    assert second.p_value > 0.1


def test_holm_by_hand():
    # the smallest times 4, then 3, 2, 1, never falling below an earlier one
    assert module.holm(np.array([0.02, 0.01, 0.5, 0.025])) == pytest.approx([0.06, 0.04, 0.5, 0.06])
    assert module.holm(np.array([0.4, 0.9])) == pytest.approx([0.8, 0.9])
    assert len(module.holm(np.zeros(0))) == 0


def test_the_p_value_counts_the_ways_to_draw_as_many_errors():
    own, wrong = np.arange(10) < 4, np.isin(np.arange(10), [0, 1, 2, 9])
    # 4 of 10 are wrong; 3 of them or more are among the 4 that are drawn
    ways = comb(4, 3) * comb(6, 1) + comb(4, 4)
    assert module._p_value(own, wrong, np.ones(10, bool)) == pytest.approx(ways / comb(10, 4))
    # among the first 5, 3 are wrong, and all of them are among the 4 that are drawn
    assert module._p_value(own, wrong, np.arange(10) < 5) == pytest.approx(comb(2, 1) / comb(5, 4))


def test_excess_is_the_hypergeometric_score():
    n, wrong, of, of_wrong = 30, 12, 100, 20
    mean, var = 6.0, 30 * 0.2 * 0.8 * 70 / 99
    assert module.excess(n, wrong, of, of_wrong) == pytest.approx((wrong - mean) / var**0.5)
    assert module.excess([5, 0], [5, 0], 5, 5).tolist() == [0, 0]  # nothing varies


# --- what is planted --------------------------------------------------------------------------------------------------


def planted(seed: int = 0) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Every second large thing at the lake is taken for another, and one in ten elsewhere: to the sample."""
    rows = table(seed)
    inside = ((rows["place"] == "lake") & (rows["size"] == "large")).to_numpy()
    wrong = np.zeros(N, bool)
    for part, every in ((inside, 2), (~inside, 10)):
        chosen = RNG([seed, 5]).permutation(np.flatnonzero(part))
        wrong[chosen[: len(chosen) // every]] = True
    return rows, inside, wrong


def test_a_slice_with_its_error_rate_size_and_lift():
    rows, inside, wrong = planted()
    made = found(rows, wrong)
    first = made.table[0]
    assert (made.verdict, first["slice"]) == ("notice", "'place' is 'lake' and 'size' is 'large'")
    assert first["samples"] == inside.sum()
    test = np.zeros(N, bool)
    test[RNG([0, module.PURPOSE]).permutation(N)[: N // 2]] = True  # the half that is not searched
    errors, rest = wrong[inside & test].mean(), wrong[~inside & test].mean()
    assert (first["errors"], first["rest"]) == pytest.approx((errors, rest))
    assert abs(errors - 0.5) < 0.1
    assert abs(rest - 0.1) < 0.02
    assert first["lift"] == pytest.approx(errors / rest)
    assert first["low"] < errors < first["high"]
    assert (made.statistic, made.baseline, made.interval) == (errors, rest, (first["low"], first["high"]))
    assert made.p_value == first["p_value"] < 1e-6
    assert "'place' is 'lake' and 'size' is 'large': it is wrong about" in made.sentence
    # what is large or at the lake is worse than the rest too, but only where it is both
    assert "'place' is 'lake'" in first["overlaps"].split("; ")
    assert all("lake" not in row["slice"] and "large" not in row["slice"] for row in made.table[1:])


def test_most_draws_find_what_is_planted_and_nothing_beside_it():
    hits = extra = 0
    for seed in range(20):
        rows, inside, wrong = planted(seed)
        slices = found(rows, wrong, seed).more["slices"]
        hits += bool(slices) and bool((slices[0].member == inside).all())
        extra += any(not (each.member & inside).any() for each in slices)
    assert hits >= 18
    assert extra <= binom.ppf(0.999, 20, 0.05)


def test_a_single_value_is_not_joined_to_what_has_no_part_in_it():
    rows = table(2)
    wrong = RNG(7).random(N) < np.where(rows["code"] == 3, 0.4, 0.1)
    assert [row["slice"] for row in found(rows, wrong).table] == ["'code' is '3'"]


def test_two_slices_that_are_apart_are_both_told():
    rows = table(3)
    wrong = RNG(8).random(N) < np.where((rows["code"] == 3) | (rows["place"] == "<b>"), 0.4, 0.1)
    made = found(rows, wrong)
    assert sorted(row["slice"] for row in made.table) == ["'code' is '3'", "'place' is '<b>'"]
    assert "1 more slice stands out" in made.sentence


def test_a_small_effect_in_much_data_is_not_worth_a_look():
    rows = table(4, 20_000)
    wrong = RNG(9).random(20_000) < np.where(rows["place"] == "lake", 0.24, 0.19)
    made = found(rows, wrong)
    assert (made.verdict, made.table) == ("clear", ())
    assert made.p_value < 0.05
    assert "by too little to matter" in made.sentence


def test_a_word():
    rows = table(5)
    rng = RNG(10)
    rows["text"] = [" ".join(rng.choice([f"word{i}" for i in range(50)], 6)) + " not" * (i % 5 == 0) for i in range(N)]
    wrong = rng.random(N) < np.where(np.arange(N) % 5 == 0, 0.4, 0.1)
    made = found(rows.drop(columns=list(FEATURES)), wrong, text=("text",))
    assert [row["slice"] for row in made.table] == ["the word 'not' is in the text"]


def test_a_cluster_of_features_with_its_typical_samples():
    rng = RNG(11)
    kind = rng.integers(0, 4, N)
    x = torch.from_numpy(8 * np.eye(4)[kind] + rng.normal(size=(N, 4))).float()
    wrong = rng.random(N) < np.where(kind == 2, 0.5, 0.05)
    shown = view(pd.DataFrame({"y": rng.integers(0, 2, N)}), x=x)
    made = module.slices(shown, models(shown.label, wrong), {})
    assert made is not None
    assert made.verdict == "notice"
    for row, each in zip(made.table, made.more["slices"], strict=True):
        assert (kind[each.member] == 2).mean() > 0.95
        typical = [int(name.removeprefix("row ")) for name in row["typical"].split(", ")]
        assert len(typical) == 3
        assert each.member[typical].all()
        assert row["slice"].startswith(f"it looks like row {typical[0]}")
        away = (x - x[torch.from_numpy(each.member)].mean(0)).norm(dim=1)
        assert away[typical].max() < away[torch.from_numpy(each.member)].quantile(0.2)


def test_the_class_that_is_hard():
    rows = table(6)
    rows["y"] = RNG(1).random(N) < 0.2
    wrong = RNG(12).random(N) < np.where(rows["y"], 0.5, 0.1)
    assert found(rows.astype({"y": int}), wrong).table[0]["slice"] == "'y' is 'dog'"


def test_values_that_are_too_rare_or_too_many_are_left_out(monkeypatch: pytest.MonkeyPatch):
    rows = table(7)
    rows["user"] = [f"u{i // 3}" for i in range(N)]  # as many values as a third of the rows, none of them common
    shown = view(rows, features=(*FEATURES, "user"))
    of = module.parts(shown, models(shown.label, np.zeros(N, bool)))
    assert len(of.names) == 2 + 4 + 2 + 10 + 10
    monkeypatch.setattr(module, "MOST", 5)
    assert list(module.parts(shown, models(shown.label, np.zeros(N, bool))).names) == list(of.names)[:5]


# --- bad days ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 40])
@pytest.mark.parametrize("wrong", [0.0, 0.5, 1.0])
def test_small_and_extreme_data(n: int, wrong: float):
    label = np.arange(n) % 2
    rows = pd.DataFrame({"y": label, "size": np.where(label, "a", "b")})
    shown = view(rows, features=("size",))
    made = module.slices(shown, models(label, np.arange(n) < wrong * n), {})
    assert made is not None
    assert made.verdict in ("unknown", "clear")
    assert ("too few to see where" in made.sentence) == (made.verdict == "unknown")


def test_no_slices_of_a_target_of_numbers():
    data = Dataset.of(torch.zeros(40, 1), np.arange(40) % 2)
    shown = View(data, None, original=Dataset.of(torch.zeros(40, 1), torch.rand(40, 1)))
    assert module.slices(shown, models(data.label.numpy(), np.arange(40) < 20), {}) is None


# --- where it is told -------------------------------------------------------------------------------------------------


def test_terminal_and_sheet(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    rows, _, wrong = planted()
    rows["place"] = rows["place"].replace("lake", "=1+\x1b[31m1")
    shown = view(rows, features=FEATURES)
    said = models(shown.label, wrong)
    made = module.slices(shown, said, {})
    assert made is not None
    audit = Audit(shown, said, (finding("learned", "clear"), made), 0.05, 1.0)
    assert audit.verdict == "clear"  # that a model errs is no shortcut
    record = folder.write(audit, tmp_path / "a", data="toy", command="longcut audit toy")
    sheet = pd.read_csv(tmp_path / "a" / "slices.csv")
    assert list(sheet) == list(made.table[0])
    assert sheet["samples"].tolist() == [row["samples"] for row in made.table]
    print_audit(record)
    printed = capsys.readouterr().out
    assert f"{made.table[0]['samples']:,}" in printed
    assert f"{made.table[0]['low']:.0%} to" in printed
    assert "\x1b" not in printed
    folder.write(dataclasses.replace(audit, findings=audit.findings[:1]), tmp_path / "a", data="toy", command="")
    assert not (tmp_path / "a" / "slices.csv").exists()
    assert json.loads((tmp_path / "a" / "audit.json").read_text())["verdict"] == "clear"
