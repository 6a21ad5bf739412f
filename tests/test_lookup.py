"""Who is asked, what answers say, and when to stop: oracles by hand."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

import numpy as np
import pytest
import torch

from longcut.data import Dataset
from longcut.errors import UserError
from longcut.lookup import advice as advising
from longcut.lookup.advice import CURVES, Curve, advise, expected
from longcut.lookup.answers import Answer, attach, names_of, read, write
from longcut.lookup.rounds import (
    choose,
    conflicting,
    filling,
    gain,
    standardised,
)
from longcut.lookup.rules import RULES, Seen, cells, diversity, in_turn, margin, random, suspicion
from longcut.methods.last_layer.balanced import cross_fitted, folds_of, usual_of

RNG = np.random.default_rng


def seen_of(own: list[float], label: list[int], *, x: object = None, closed: tuple[int, ...] = ()) -> Seen:
    """Two classes; ``own`` is the probability of each sample's label."""
    ids, p = np.array(label), np.array(own)
    probability = np.where(np.arange(2) == ids[:, None], p[:, None], 1 - p[:, None])
    features = np.zeros((len(ids), 1), np.float32) if x is None else np.array(x, np.float32)
    return Seen(features, ids, probability, ~np.isin(np.arange(len(ids)), closed))


# --- rules ------------------------------------------------------------------------------------------------------------


def test_suspicion_takes_the_least_probable_of_each_class_in_turn():
    seen = seen_of([0.9, 0.1, 0.3, 0.8, 0.7, 0.2], [0, 0, 0, 1, 1, 1])
    assert suspicion(seen, 4, RNG(0)).tolist() == [1, 5, 2, 4]
    assert suspicion(seen_of([0.9, 0.1, 0.3, 0.8], [0, 0, 0, 1], closed=(1,)), 9, RNG(0)).tolist() == [2, 3, 0]


def test_margin_takes_those_between_two_classes():
    seen = seen_of([0.02, 0.45, 0.9, 0.98, 0.6, 0.1], [0, 0, 0, 1, 1, 1])
    assert margin(seen, 3, RNG(0)).tolist() == [1, 4, 2]  # margins .96 .1 .8, .96 .2 .8


def test_diversity_takes_what_is_farthest_from_all_that_are_taken():
    x = [[0.0], [1.0], [10.0], [4.9], [-7.0]]
    seen = seen_of([0.5] * 5, [0] * 5, x=x)  # mean 1.78
    assert diversity(seen, 5, RNG(0)).tolist() == [1, 2, 4, 3, 0]
    closed = seen_of([0.5] * 5, [0] * 5, x=x, closed=(2,))
    assert diversity(closed, 9, RNG(0)).tolist() == [4, 1, 3, 0]  # 17 from what was asked; then 8, 3.9 and 1 from all


def test_diversity_is_the_greedy_k_centre_of_a_naive_loop():
    x = RNG(3).normal(size=(30, 4))
    rows = diversity(seen_of([0.5] * 30, [0] * 30, x=x), 8, RNG(0)).tolist()
    x = x.astype(np.float32)
    known = [int(np.linalg.norm(x - x.mean(0), axis=1).argmin())]
    while len(known) < 8:
        known.append(max(range(30), key=lambda i: min(np.linalg.norm(x[i] - x[j]) for j in known)))
    assert rows == known


def test_cells_asks_each_pair_of_class_and_prediction_as_often():
    own, label = [0.9] * 20 + [0.1] * 2 + [0.9] * 20 + [0.1] * 2, [0] * 22 + [1] * 22
    rows = cells(seen_of(own, label), 8, RNG(0))
    pairs = [(label[i], own[i] < 0.5) for i in rows]
    assert sorted(pairs) == sorted([(y, wrong) for y in (0, 1) for wrong in (False, True)] * 2)
    assert cells(seen_of(own, label), 8, RNG(1)).tolist() != rows.tolist()


def test_random_asks_anybody_once():
    seen = seen_of([0.5] * 30, [0, 1] * 15, closed=(3, 4))
    rows = random(seen, 99, RNG(0)).tolist()
    assert sorted(rows) == [i for i in range(30) if i not in (3, 4)]
    assert random(seen, 5, RNG(1)).tolist() != rows[:5]


@pytest.mark.parametrize("rule", RULES)
def test_no_rule_asks_twice_or_more_than_there_are(rule):
    seen = seen_of(RNG(1).random(9).tolist(), [0] * 8 + [1], x=RNG(2).normal(size=(9, 2)), closed=(0, 8))
    for n in (1, 4, 7, 50):
        rows, lot = choose(seen, n, rule, RNG(0))
        assert len(rows) == len(lot) == len(set(rows.tolist())) == min(n, 7)
        assert not {0, 8} & set(rows.tolist())
        assert lot.all() == (rule == "random") or rule == "suspicion"


def test_turns_begin_with_whoever_is_first():
    assert in_turn(np.array([1, 1, 0]), np.array([1, 0, 2]), 2).tolist() == [1, 2]


# --- rounds -----------------------------------------------------------------------------------------------------------


def shortcut(n: int = 400, against: float = 0.1, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Column 0 tells the attribute clearly, column 1 the label less so; a share of each class conflicts."""
    rng = RNG(seed)
    label = np.arange(n) % 2
    attribute = np.where(rng.random(n) < against, 1 - label, label)
    x = rng.normal(size=(n, 6))
    x[:, 0] += 6 * attribute
    x[:, 1] += label
    return standardised(x), label, attribute


def test_features_are_standardised_by_hand():
    x = RNG(0).normal(3, 5, (20, 2, 2))
    flat = x.reshape(20, 4)
    np.testing.assert_allclose(standardised(x), (flat - flat.mean(0)) / flat.std(0), rtol=1e-5, atol=1e-6)


def test_parts_hold_each_cell_as_often():
    fold = folds_of(np.array([0] * 8 + [1] * 4), 4, RNG(0))
    assert [(fold[:8] == i).sum() for i in range(4)] == [2] * 4 and sorted(fold[8:].tolist()) == [0, 1, 2, 3]


def test_a_sample_is_judged_by_models_that_did_not_see_it():
    """One that every model which saw its label would remember, in a column that is its alone, is contradicted."""
    x, label, _ = shortcut(against=0)
    own = np.zeros((len(label), 1))
    own[7] = 1
    label = label.copy()
    label[7] = 1 - label[7]
    x = standardised(np.hstack([x, own]))
    p = cross_fitted(x, label, 2, RNG(0))
    np.testing.assert_allclose(p.sum(1), 1)
    assert p[7, label[7]] < 0.05 < 0.95 < p[np.arange(400) != 7][np.arange(399), np.delete(label, 7)].mean()


def test_suspicion_finds_counter_examples_and_draws_a_few_by_lot():
    x, label, attribute = shortcut()
    p = cross_fitted(x, label, 2, RNG(0))
    seen = Seen(x, label, p, np.ones(400, bool))
    rows, lot = choose(seen, 40, "suspicion", RNG(0))
    assert lot.sum() == 6 and lot[-6:].all() and np.bincount(label[rows[lot]]).tolist() == [3, 3]
    against = attribute != label
    assert against[rows[~lot]].mean() > 0.6 > 3 * against.mean()
    assert choose(seen, 100, "suspicion", RNG(0))[1].sum() == 10
    assert choose(seen, 12, "suspicion", RNG(0))[1].sum() == 3  # a quarter at most


def test_later_rounds_ask_who_conflicts_by_the_answers():
    x, label, attribute = shortcut()
    p = cross_fitted(x, label, 2, RNG(0))
    known = np.full(400, -1)
    rows = choose(Seen(x, label, p, known < 0), 20, "suspicion", RNG(0))[0]
    known[rows] = attribute[rows]
    seen, usual = Seen(x, label, p, known < 0), np.array([0, 1])
    probability = conflicting(seen, known, usual)
    against = attribute != label
    assert probability[against].mean() > 0.7 > 0.1 > probability[~against].mean()
    again, lot = choose(seen, 10, "suspicion", RNG(0), known, usual)
    assert not lot.any() and not set(again.tolist()) & set(rows.tolist())
    assert against[again].mean() >= 0.9 and np.bincount(label[again]).tolist() == [5, 5]


def test_what_is_unknown_is_spread_where_the_lot_says_that_the_usual_is_not_usual():
    label, usual = np.repeat([0, 1], 10), np.array([0, 1])
    as_usual = label.copy()
    assert filling(label, as_usual, usual, np.ones(20, bool)) == ("usual", 0.0)
    other = as_usual.copy()
    other[:5] = 1  # half of class 0, none of class 1
    assert filling(label, other, usual, np.ones(20, bool)) == ("spread", 0.25)
    few = as_usual.copy()
    few[:3] = 1
    assert filling(label, few, usual, np.ones(20, bool)) == ("usual", 0.15)
    assert filling(label, other, usual, np.arange(20) >= 5) == ("usual", 0.0)
    how, share = filling(label, other, usual, np.zeros(20, bool))
    assert how == "usual" and np.isnan(share)


def test_answers_bring_something_while_counter_examples_are_few_and_nothing_in_the_end():
    x, label, attribute = shortcut(n=2000, against=0.05)
    p, usual, against = cross_fitted(x, label, 2, RNG(0)), np.array([0, 1]), np.flatnonzero(attribute != label)
    brought = []
    for n in (8, len(against)):
        known = np.full(2000, -1)
        rows = np.concatenate([against[:n], np.flatnonzero(attribute == label)[:n]])
        known[rows] = attribute[rows]
        found = gain(Seen(x, label, p, known < 0), known, usual, RNG(0))
        assert found is not None and found.low <= found.value <= found.high
        brought.append(found)
    assert brought[0].value > brought[1].value
    assert brought[1].high - brought[1].low < brought[0].high - brought[0].low


def test_a_handful_of_answers_says_nothing_of_their_worth():
    x, label, _ = shortcut(40)
    known = np.full(40, -1)
    known[:7] = 0
    p = np.full((40, 2), 0.5)
    assert gain(Seen(x, label, p, known < 0), known, np.array([0, 1]), RNG(0)) is None


# --- answers ----------------------------------------------------------------------------------------------------------


def saved(path: Path, text: str) -> Path:
    path.write_text(text, "utf-8")
    return path


def test_answers_of_several_rounds_come_together(tmp_path: Path):
    one = saved(
        tmp_path / "1.csv", "row,name,label,score,drawn,attribute\n3,a,dog,0.9,by rule,land\n5,b,cat,,by lot,\n"
    )
    two = saved(tmp_path / "2.csv", "attribute,row\n?,5\nwater,7\nland,3\n")
    found = read([one, two], ["land", "water"])
    assert [(a.row, a.value, a.lot) for a in found] == [(3, "land", False), (5, "?", False), (7, "water", False)]
    assert found[0].score == 0.9 and np.isnan(found[2].score)


def test_what_is_written_is_read_again(tmp_path: Path):
    names = ['=1+1,"x"\n.jpg', "-0.5", "@me", "é猫", "'quoted'", "-x"]
    answers = [Answer(i, "=land", name, name, 0.25, i % 2 == 0) for i, name in enumerate(names)]
    write(answers, tmp_path / "a.csv")
    assert read([tmp_path / "a.csv"]) == answers
    cells = (tmp_path / "a.csv").read_text("utf-8")
    assert "'=land" in cells and ",'@me," in cells and "'-x" in cells and ",-0.5,-0.5," in cells


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty; give a file of answers"),
        ("  \n", "is empty"),
        ("row,name\n1,a\n", "has no column attribute; it needs row and attribute"),
        ("a,b\n1,2\n", "has no column row and no column attribute"),
        ("row,attribute\nx,land\n", "has an answer in a row called 'x'"),
        ("row,attribute\n1,sky\n", "answers 'sky' for sample 1, which is none of the values land, water"),
        ("row,attribute\n1,land\n1,water\n", "answers 'water' for sample 1, which is answered 'land', too"),
        ("row,attribute\n1,land\n1,?\n", "answers '\\?' for sample 1, which is answered 'land', too"),
    ],
)
def test_answers_that_cannot_be_are_refused(text, message, tmp_path: Path):
    with pytest.raises(UserError, match=message):
        read([saved(tmp_path / "a.csv", text)], ["land", "water"])


def test_files_that_are_no_answers_are_refused(tmp_path: Path):
    with pytest.raises(UserError, match=r"cannot read the answers in .*none\.csv"):
        read([tmp_path / "none.csv"])
    (tmp_path / "b.csv").write_bytes(b"row,attribute\n1,\xff\n")
    with pytest.raises(UserError, match="is not UTF-8 text"):
        read([tmp_path / "b.csv"])


def birds() -> Dataset:
    data = Dataset.of(torch.rand(6, 2), [0, 1, 0, 1, 0, 1], class_names=("cat", "dog"), name="birds")
    return data.take(torch.tensor([5, 1, 3]))


def test_answers_find_their_samples_wherever_they_stand():
    said = [Answer(3, "water", "row 3", "dog"), Answer(5, "?"), Answer(0, "land")]
    assert attach(birds(), said, ["land", "water"]).tolist() == [-1, -1, 1]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (Answer(6, "land"), "name sample 6, but birds has samples 0 to 5"),
        (
            Answer(3, "land", "a.jpg"),
            "about other data: they give sample 3 the name 'a.jpg', but in birds it is 'row 3'",
        ),
        (
            Answer(3, "land", "", "cat"),
            "about other data: they give sample 3 the label 'cat', but in birds it is 'dog'",
        ),
        (Answer(3, "sky"), "say 'sky' of sample 3, but the values are land, water"),
    ],
)
def test_answers_about_other_data_are_refused(answer, message):
    with pytest.raises(UserError, match=message):
        attach(birds(), [answer], ["land", "water"])


def test_values_are_those_declared_or_those_answered():
    said = [Answer(1, "10"), Answer(2, "9"), Answer(3, "?")]
    assert names_of(said) == ("9", "10") and names_of(said, ["b", "a"]) == ("b", "a") and names_of([]) == ()


def test_the_usual_value_is_voted_for_with_the_odds_of_the_label():
    label, attribute = np.array([0, 0, 0, 1, 1, 1]), np.array([0, 1, 1, 1, -1, 0])
    score = np.array([0.1, 0.9, 0.5, 0.5, 0.0, np.nan])  # votes 9 against 1/9 + 1; 1 against 1, and -1 has none
    assert usual_of(label, attribute, score, 2, 2).tolist() == [0, 0]
    assert usual_of(label, attribute, np.array([0.1, 0.05, 0.5, 0.4, 0.0, np.nan]), 2, 2).tolist() == [1, 1]


# --- advice -----------------------------------------------------------------------------------------------------------


def record(verdict: str, **verdicts: str) -> dict[str, object]:
    return {"verdict": verdict, "kind": "image", "findings": [{"name": k, "verdict": v} for k, v in verdicts.items()]}


def test_gains_are_read_between_what_was_measured():
    curve = {50: (4.0, 2.0, 6.0), 200: (8.0, 4.0, 12.0)}
    assert expected(curve, 100) == (6, 3, 9)
    assert expected(curve, 25) == (2, 1, 3)
    assert expected(curve, 999) == (8, 4, 12)


BIRDS = Curve("birds", False, {50: (4.0, 2.0, 6.0), 200: (8.0, 4.0, 12.0)})
PEOPLE = Curve("people", True, {50: (1.0, -1.0, 3.0)})


@pytest.fixture
def curves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(advising, "CURVES", {"features": BIRDS, "image": BIRDS, "table": PEOPLE})


@pytest.mark.usefixtures("curves")
def test_each_of_the_four():
    assert advise(record("clear")).kind == "nothing"
    assert advise(record("alarm", learned="alarm", columns="alarm")).kind == "unlabelled"
    found = advise(record("alarm", learned="notice"), budget=100, kind="image")
    assert (found.kind, found.n, found.gain) == ("look-up", 100, (6, 3, 9))
    assert found.sentence.endswith("+6 points of worst-group accuracy are to be expected (+3 to +9), as on birds.")
    later = advise(record("alarm", learned="alarm"), answered=50, counter=9, budget=50)
    assert (later.kind, later.gain) == ("look-up", (2, -1, 5))
    assert advise(record("clear"), answered=50, counter=9).kind == "look-up"
    done = advise(record("alarm"), answered=50, counter=9, enough=True)
    assert done.kind == "nothing" and "would hardly bring a point" in done.sentence
    assert advise(None, budget=50).gain == advise(None, budget=50, wide=1280).gain == (4, 2, 6)
    assert advise(None, budget=50, wide=12).gain == (1, -1, 3)
    assert advise(None, budget=50, kind="tokens", wide=12).gain == (4, 2, 6)
    unsure, sure = (advise(record(verdict, learned="notice"), kind="image").sentence for verdict in ("notice", "alarm"))
    assert unsure.startswith("Where the suspected samples do contradict a shortcut, look up 100 of these first: ")
    assert sure.startswith("Look up 100 of these first: ")


@pytest.mark.usefixtures("curves")
def test_by_lot_is_advised_where_the_usual_is_not_usual():
    found = advise(None, budget=50, unusual=0.4)
    assert found.gain == (1, -1, 3) and found.sentence.endswith("40% are not as usual: ask by lot, with --rule random.")
    assert "by lot" not in advise(None, budget=50, unusual=0.1).sentence


@pytest.mark.usefixtures("curves")
def test_a_value_for_each_class_and_no_other_is_said_to_be_confounded():
    apart, mixed = np.array([[0, 1], [0, 1]]), np.array([[0, 0, 1], [0, 1, 1]])
    found = advise(record("alarm"), answered=60, cells=apart)
    assert found.kind == "change" and "at most 5.0%" in found.sentence
    assert advise(record("alarm"), answered=60, cells=mixed).kind == "look-up"
    assert advise(record("alarm"), answered=20, cells=apart).kind == "look-up"


@pytest.mark.parametrize(
    ("kind", "data", "row", "way"),
    [
        ("features", "waterbirds", "suspicion", "usual"),
        ("image", "colored-mnist", "suspicion", "usual"),
        ("table", "adult", "random", "spread"),
    ],
)
def test_the_curves_are_those_that_were_measured(kind, data, row, way):
    """Against the nothing that is known, seed by seed."""
    stored = json.loads((Path(__file__).parent.parent / "results" / "lookup.json").read_text())
    runs = {tuple(json.loads(key)[:3]): run for key, run in stored.items()}
    for budget, told in CURVES[kind].gains.items():
        gains = [
            100 * (runs[data, row, s][str(budget)][way]["test"] - runs[data, "nothing", s]["0"]["usual"]["test"])
            for s in range(5)
        ]
        mean, two = statistics.fmean(gains), 2 * statistics.stdev(gains)
        assert told == pytest.approx((mean, mean - two, mean + two), abs=0.051)
