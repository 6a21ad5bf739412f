from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import binom
from torch import Tensor

from longcut.audit import crossfit
from longcut.audit import learned as module
from longcut.audit.association import folds_of
from longcut.audit.base import Finding, View
from longcut.audit.crossfit import FOLDS, judge, see, suspicion
from longcut.audit.judged import EASE, FEW, SURE, Judged, gap
from longcut.audit.kept import nowhere
from longcut.audit.learned import DRAWS, MARGIN, NOTICE
from longcut.audit.storage import compact
from longcut.context import Epoch
from longcut.data import Dataset
from longcut.errors import UserError
from longcut.methods import Method
from longcut.methods.biased import early

RNG = np.random.default_rng


def judged(
    label, looks, sure: Any = 0.9, ordinary: Any = True, debiased: Any = True, classes: int = 2, **fields
) -> Judged:
    """By hand: the class each sample looks like, how far it is ahead of any other, and who is right about the label."""
    label, looks = np.asarray(label), np.asarray(looks)
    rows, n = np.arange(len(label)), len(label)
    easy = np.repeat((1 - np.broadcast_to(sure, n))[:, None] / classes, classes, axis=1)
    easy[rows, looks] += sure

    def says(hits: Any) -> np.ndarray:
        said = np.where(np.broadcast_to(hits, n), label, (label + 1) % classes)
        return np.eye(classes, dtype=np.float32)[said]

    fields = {"profile": easy, "ordinary": says(ordinary), "debiased": says(debiased)} | fields
    return Judged(label, easy.astype(np.float32), **fields)


def learned(shown: View, models: Judged) -> Finding:
    """What the check finds."""
    return module.learned(shown, models, {})


def view(label, attribute=None, level: float = 0.05, **info) -> View:
    """Of samples that nobody looks at."""
    data = Dataset.of(torch.zeros(len(label), 1), np.asarray(label), attribute, **info)
    return View(data, None, level)


# --- what is read off the models' answers -----------------------------------------------------------------------------


def test_sureness_score_and_looks_by_hand():
    easy = np.array([[0.7, 0.2, 0.1], [0.7, 0.2, 0.1], [0.7, 0.1, 0.2], [0.3, 0.3, 0.4]], np.float32)
    found = Judged(np.array([0, 1, 1, 2]), easy, easy, easy, easy)
    assert found.looks.tolist() == [0, 0, 0, 2]
    assert found.contradicts.tolist() == [False, True, True, False]
    # ahead of the next class where the label is right, ahead of the label where it is not
    assert found.sureness == pytest.approx([0.5, 0.5, 0.6, 0.1])
    assert found.score == pytest.approx([0.3, 0.8, 0.9, 0.6])


def test_suspected_are_mistakes_as_sure_as_all_but_five_per_cent_of_what_is_right():
    assert SURE == 0.05
    sure = np.concatenate([np.linspace(0, 1, 101), [0.04, 0.06, 0.9, 0.0]])
    label = np.zeros(105, np.int64)
    found = judged(label, np.repeat([0, 1], [101, 4]), sure)
    assert found.suspected.tolist() == [False] * 101 + [False, True, True, False]


def test_where_nothing_is_easy_nobody_is_suspected():
    barely = judged([0] * 10 + [1] * 10, [0] * 7 + [1] * 3 + [1] * 6 + [0] * 4)  # 65 % right: 0.3 of the way
    assert barely.ease == pytest.approx(0.3)
    assert barely.suspected.sum() == 7
    less = judged([0] * 10 + [1] * 10, [0] * 6 + [1] * 4 + [1] * 5 + [0] * 5)
    assert less.ease == pytest.approx(0.1)
    assert EASE == 0.2
    assert not less.suspected.any()
    assert "nothing here is learned easily" in learned(view(less.label), less).sentence
    assert not judged([0, 0, 1], [0, 0, 1]).suspected.any()


def test_ceiling_counts_every_class_the_same():
    found = judged([0] * 8 + [1] * 2, [0] * 10, ordinary=[True] * 8 + [True, False])
    assert found.ceiling == pytest.approx((1 + 0.5) / 2)
    assert found.ordinary_correct.sum() == 9


# --- the gap ----------------------------------------------------------------------------------------------------------


def test_gap_by_hand():
    found = judged([0, 0, 0, 1], [0, 0, 1, 0], [0.5, 0.25, 0.8, 0.2])
    # right where it agrees: 0.5 of 0.75; where it does not: 0.2 of 1
    assert gap(np.array([True, False, False, True]), found) == pytest.approx([0.5 / 0.75 - 0.2])


def test_gap_as_a_loop_and_counts_as_repeated_samples():
    rng = RNG(0)
    label, looks = rng.integers(0, 3, 60), rng.integers(0, 3, 60)
    sure, hits = rng.random(60), rng.random(60) < 0.6
    counts = rng.multinomial(60, np.full(60, 1 / 60), size=5)
    found = judged(label, looks, sure, classes=3)
    for count, value in zip(counts, gap(hits, found, counts), strict=True):
        right, total = {True: 0.0, False: 0.0}, {True: 0.0, False: 0.0}
        for i in range(60):
            for _ in range(count[i]):
                right[looks[i] == label[i]] += sure[i] * hits[i]
                total[looks[i] == label[i]] += sure[i]
        assert value == pytest.approx(right[True] / total[True] - right[False] / total[False], abs=1e-5)
        rows = np.repeat(np.arange(60), count)
        again = judged(label[rows], looks[rows], sure[rows], classes=3)
        assert gap(hits[rows], again)[0] == pytest.approx(value, abs=1e-5)


@pytest.mark.parametrize("looks", [[0, 0, 1], [1, 1, 0]])
def test_gap_is_zero_where_a_side_is_empty(looks):
    assert gap(np.array([True, False, True]), judged([0, 0, 1], looks)).tolist() == [0]
    half = np.array([[0, 2, 1], [3, 0, 0]])  # nobody, or no certainty, in the resample
    assert gap(np.array([True, False, True]), judged([0, 0, 1], looks, 0.0), half).tolist() == [0, 0]


# --- the verdict ------------------------------------------------------------------------------------------------------


def planted(
    rng: np.random.Generator, n: int, excess: float, against: float = 0.2, classes: int = 2, right: float = 0.6
) -> Judged:
    """A fifth contradicts; there an ordinary model is right on 60 % less ``excess``, the debiased one on 60 %."""
    label = rng.integers(0, classes, n)
    opposed = rng.random(n) < against
    looks = np.where(opposed, (label + 1) % classes, label)
    rate = np.where(opposed, right, 0.9)
    ordinary, debiased = rng.random(n) < rate - excess * opposed, rng.random(n) < rate
    return judged(label, looks, rng.uniform(0.5, 1, n), ordinary, debiased, classes)


def test_a_loss_that_the_debiased_model_does_not_have_is_a_shortcut():
    found = planted(RNG(0), 1000, 0.5)
    finding = learned(view(found.label), found)
    assert finding.verdict == "alarm"
    assert finding.statistic == pytest.approx(gap(found.ordinary_correct, found)[0])
    assert finding.baseline == pytest.approx(gap(found.debiased_correct, found)[0])
    assert finding.p_value == pytest.approx(1 / (1 + DRAWS))
    assert finding.interval[0] < finding.statistic < finding.interval[1]
    assert "the ordinary model takes a shortcut" in finding.sentence
    assert f"of the {found.contradicts.sum():,} it contradicts" in finding.sentence


@pytest.mark.parametrize("excess", [0.5, 0.0])
def test_the_picture_has_the_numbers_of_the_finding(excess: float):
    found = planted(RNG(3), 1000, excess)
    found = dataclasses.replace(found, updates=[5, 9], hits=np.stack([found.debiased_correct, found.ordinary_correct]))
    finding = learned(view(found.label), found)
    picture = finding.more["picture"]
    weight, against = found.sureness, found.contradicts

    def right(hit: np.ndarray) -> list[float]:
        return [np.average(hit[side], weights=weight[side]) for side in (~against, against)]

    assert picture["ordinary"] == pytest.approx(right(found.ordinary_correct))
    assert picture["without"] == pytest.approx(right(found.debiased_correct))
    assert [picture["aligned"][-1], picture["conflicting"][-1]] == picture["ordinary"]
    assert [picture["aligned"][0], picture["conflicting"][0]] == picture["without"]
    assert picture["ordinary"][0] - picture["ordinary"][1] == pytest.approx(finding.statistic)
    assert picture["without"][0] - picture["without"][1] == pytest.approx(finding.baseline)
    assert picture["remains"] == finding.statistic - finding.baseline
    low, high = picture["interval"]
    assert low < picture["remains"] < high
    said = f"{100 * picture['remains']:.0f} points (95 % interval {100 * low:.0f} to {100 * high:.0f})".replace(
        "-", "−"
    )
    assert said in picture["caption"] and (said in finding.sentence) == (picture["remains"] >= 0)
    assert f"{'more' if picture['remains'] >= 0 else 'less'} than the other" in finding.sentence
    lost, without = 100 * finding.statistic, 100 * finding.baseline
    assert f"loses {lost:.0f} points, and the same selection costs {without:.0f} without" in picture["caption"]
    contradict = picture["ordinary"][1]
    headline, kept = module.loss(found), f"({without:.0f} if kept from it)"
    assert f"loses {lost:.0f} points where what it learns first is contradicted" in headline
    assert kept in headline, "what the same selection costs without it, be it more"
    assert f"gets {contradict:.0%} right" in finding.sentence
    if excess:
        assert f"What remains: {said}." in picture["caption"]
        gain, lost = (100 * (picture["without"][i] - picture["ordinary"][i]) for i in (1, 0))
        trade = f"{gain:.1f} points are gained where it contradicts, {abs(lost):.1f} {'lost' if lost < 0 else 'gained'}"
        assert trade in picture["caption"] and "merely worse" not in picture["caption"]
        features = learned(view(found.label, encoder="net@1"), found).more["picture"]["caption"]
        assert "there is such a difference without a shortcut too" in features
    else:
        assert low < MARGIN and "Nothing clear remains" in picture["caption"]


def test_the_interval_of_what_remains_is_that_of_paired_differences():
    # equal weights; on one side the models differ on a tenth, on the other on three tenths: a normal interval
    label, n = np.arange(4000) % 2, np.arange(4000)
    against = n // 2 % 4 == 0  # 1,000 samples
    ordinary, debiased = n // 8 % 10 < np.where(against, 3, 9), n // 8 % 10 < np.where(against, 6, 10)
    found = judged(label, np.where(against, 1 - label, label), 0.9, ordinary, debiased)
    picture = learned(view(label), found).more["picture"]
    spread = 1.96 * np.sqrt(0.1 * 0.9 / 3000 + 0.3 * 0.7 / 1000)
    assert picture["remains"] == pytest.approx(0.6 - 0.4, abs=1e-5)
    assert picture["interval"] == pytest.approx([0.2 - spread, 0.2 + spread], abs=0.006)


def test_what_is_lost_where_the_cue_agrees_is_said():
    """A model that is merely worse errs less alike, and seems to do without a shortcut."""
    label, n = np.arange(1000) % 2, np.arange(1000)
    against = n // 2 % 5 == 0
    ordinary = n // 10 % 10 < np.where(against, 1, 10)
    looks = np.where(against, 1 - label, label)
    debiased = n // 10 % 10 < np.where(against, 6, 9)
    finding = learned(view(label), judged(label, looks, 0.9, ordinary, debiased))
    caption = finding.more["picture"]["caption"]
    assert "50.0 points are gained where it contradicts, 10.0 lost where it agrees" in caption
    assert "may be that this model is merely worse" in caption
    assert finding.verdict == "alarm"
    assert "takes a shortcut" in finding.sentence


@pytest.mark.parametrize(("right", "said"), [(0.17, True), (0.31, False), (0.6, False)])
def test_a_model_that_is_right_less_often_than_by_guessing_is_said(right: float, said: bool):
    """By guessing a third of 900, with a deviation of 2.7 % for each class of 300."""
    label = np.arange(900) % 3
    hit = np.random.default_rng(0).random(900) < right
    models = judged(label, label, np.full(900, 0.8), hit, hit, 3)
    found = learned(view(label), models).sentence
    assert ("fewer than by guessing (33%)" in found) == said


@pytest.mark.parametrize(("right", "verdict"), [(0.4, "notice"), (0.5, "notice"), (0.6, "alarm")])
def test_a_model_that_is_more_often_taken_in_than_right_is_no_baseline(right, verdict):
    label, n = np.arange(1000) % 2, np.arange(1000)
    against = n // 2 % 5 == 0
    ordinary = n // 10 % 10 < np.where(against, 1, 10)
    debiased = n // 10 % 10 < np.where(against, 10 * right, 9)
    found = judged(label, np.where(against, 1 - label, label), 0.9, ordinary, debiased)
    finding = learned(view(label), found)
    assert finding.statistic - finding.baseline == pytest.approx(right)  # 0.9 less 0.9 - right
    assert finding.p_value <= 0.01, "the difference itself is clear"
    assert finding.verdict == verdict
    said = "there that model is not more often right than taken in" in finding.more["picture"]["caption"]
    assert (
        said == ("there the other is not more often right than taken in" in finding.sentence) == (verdict == "notice")
    )


def test_right_about_few_of_many_classes_is_not_taken_in():
    """Of ten classes: 40 % right, 30 % the class of the cue, the rest another; and the other way round."""
    n, label = np.arange(2000), np.arange(2000) % 10
    against = n // 10 % 5 == 0
    looks, other = np.where(against, (label + 1) % 10, label), (label + 2) % 10
    turn = n // 50 % 10
    for right, verdict in ((4, "alarm"), (3, "notice")):
        said = np.where(turn < right, label, np.where(turn < 7, looks, other))
        found = judged(label, looks, 0.9, ~against, classes=10)
        found = dataclasses.replace(found, debiased=np.eye(10, dtype=np.float32)[said])
        assert learned(view(label), found).verdict == verdict


def test_nothing_easy_is_no_picture():
    few = np.arange(200) < FEW - 1
    assert learned(view(np.arange(200) % 2), judged(np.zeros(200, np.int64), few * 1)).more == {}
    hard = judged([0] * 50 + [1] * 50, np.arange(100) % 2)
    assert learned(view(hard.label), hard).more == {}


def test_the_interval_is_that_of_a_bootstrap():
    # nobody's certainty differs, so each side's accuracy is a mean: the normal interval of a difference of two shares
    label = np.zeros(2000, np.int64)
    against = np.arange(2000) < 500
    correct = np.arange(2000) % 10 < np.where(against, 3, 9)
    finding = learned(view(np.arange(2000) % 2), judged(label, against * 1, 0.9, correct, correct))
    spread = 1.96 * np.sqrt(0.9 * 0.1 / 1500 + 0.3 * 0.7 / 500)
    assert finding.statistic == pytest.approx(0.6, abs=1e-5)
    assert finding.interval == pytest.approx((0.6 - spread, 0.6 + spread), abs=0.006)


def test_a_loss_that_the_debiased_model_shares_is_hardness():
    found = dataclasses.replace(planted(RNG(0), 1000, 0.5), debiased=planted(RNG(0), 1000, 0.5).ordinary)
    finding = learned(view(found.label), found)
    assert finding.statistic == finding.baseline > NOTICE
    assert finding.p_value == 1
    assert finding.verdict == "notice"
    assert "Look at them" in finding.sentence
    # the easy model is the ordinary one: what contradicts it is always wrong, but it is not easy
    small = dataclasses.replace(found, ordinary=found.debiased, easy=found.ordinary)
    assert small.ease < NOTICE < learned(view(found.label), small).statistic
    assert learned(view(found.label), small).verdict == "clear"


def test_ease_is_the_way_from_guessing_to_certainty():
    models = judged([0, 0, 0, 0, 1, 1], [0, 0, 0, 1, 1, 1])  # balanced: (3/4 + 1) / 2 = 0.875
    assert models.ease == pytest.approx(0.75)


def test_a_small_loss_is_no_obstacle():
    found = planted(RNG(0), 1000, 0.0)
    finding = learned(view(found.label), found)
    assert finding.verdict == "clear"
    assert finding.statistic < NOTICE
    assert "not much is lost" in finding.sentence


def test_an_excess_within_the_margin_is_no_alarm():
    # of 1,000 that contradict, the debiased model has 15 more and loses none: sure, but too little to matter
    label, against = np.zeros(4000, np.int64), np.arange(4000) < 1000
    found = judged(label, against * 1, ordinary=np.arange(4000) >= 115, debiased=np.arange(4000) >= 100)
    finding = learned(view(np.arange(4000) % 2), found)
    assert 0 < finding.statistic - finding.baseline < MARGIN
    assert finding.p_value > 0.5  # surely above 0, and hardly above the margin
    assert finding.verdict == "clear"


def test_too_few_confident_mistakes_say_nothing():
    label = np.zeros(200, np.int64)
    against = np.arange(200) < FEW - 1
    finding = learned(view(np.arange(200) % 2), judged(label, against * 1, ordinary=~against))
    assert finding.verdict == "clear"
    assert finding.p_value <= 0.05
    assert "contradicts hardly any with confidence" in finding.sentence
    against = np.arange(200) < FEW
    assert learned(view(np.arange(200) % 2), judged(label, against * 1, ordinary=~against)).verdict == "alarm"
    features = learned(view(np.arange(200) % 2, encoder="net@1"), judged(label, against * 1, ordinary=~against))
    assert features.verdict == "notice", "such a gain comes without a shortcut, too"
    assert "On features of a pretrained net there is such a gain on data without a shortcut too" in features.sentence


def test_table_of_labels_and_looks():
    found = judged([0, 0, 0, 1], [0, 1, 1, 1], [0.9, 0.9, 0.1, 0.9], [1, 0, 1, 1], [1, 1, 1, 0])
    finding = learned(view(found.label, class_names=("cat", "dog")), found)
    assert finding.table == (
        {"label": "cat", "looks_like": "cat", "samples": 1, "suspected": 0, "ordinary": 1.0, "debiased": 1.0},
        {"label": "cat", "looks_like": "dog", "samples": 2, "suspected": 1, "ordinary": 0.5, "debiased": 1.0},
        {"label": "dog", "looks_like": "dog", "samples": 1, "suspected": 0, "ordinary": 1.0, "debiased": 0.0},
    )


@pytest.mark.parametrize(("classes", "skew", "against"), [(2, 0.5, 0.2), (2, 0.9, 0.05), (5, 0.2, 0.5)])
def test_exchangeable_models_raise_no_more_false_alarms_than_they_may(classes, skew, against, monkeypatch):
    """Ordinary and debiased model are right on the same samples, but for draws that favour neither."""
    monkeypatch.setattr(module, "DRAWS", 199)
    monkeypatch.setattr(module, "MARGIN", 0.0)  # with a margin there are fewer still
    rng, alarms, tests = RNG(0), 0, 200
    share = np.full(classes, (1 - skew) / (classes - 1))
    share[0] = skew
    for seed in range(tests):
        label = rng.choice(classes, 250, p=share)
        label[:classes] = np.arange(classes)
        opposed = rng.random(250) < against
        rate = np.where(opposed, 0.4, 0.95)
        shared = rng.random(250) < rate  # both models' answer to three samples of four
        ordinary, debiased = (np.where(rng.random(250) < 0.75, shared, rng.random(250) < rate) for _ in range(2))
        looks = np.where(opposed, (label + 1) % classes, label)
        found = judged(label, looks, rng.uniform(0.3, 1, 250), ordinary, debiased, classes)
        alarms += learned(dataclasses.replace(view(label), seed=seed), found).verdict == "alarm"
    assert alarms <= binom.ppf(0.999, tests, 0.05)


def test_power_grows_with_the_excess(monkeypatch):
    monkeypatch.setattr(module, "DRAWS", 199)
    rng, power = RNG(1), []
    for excess in (0.0, 0.1, 0.2, 0.4):
        found = (planted(rng, 400, excess, right=0.8) for _ in range(25))
        power.append(sum(learned(view(each.label), each).verdict == "alarm" for each in found) / 25)
    assert power == sorted(power)
    assert power[0] <= 0.2
    assert power[-1] >= 0.95


# --- cross-fitting ----------------------------------------------------------------------------------------------------


class Memory(Method):
    """Says class 1 of exactly the samples that it was trained on; ``x`` is the index."""

    name, paper = "memory", "none"
    memory: Tensor

    def forward(self, x: Tensor) -> Tensor:
        seen = torch.isin(x[:, 0].long(), self.memory)
        return torch.stack([~seen, seen], 1) * 100.0


@pytest.fixture
def training_sets(monkeypatch) -> list[tuple[Dataset, int]]:
    """``fit`` only shows the training set to a :class:`Memory`; here are those it was shown, and the epochs."""
    shown: list[tuple[Dataset, int]] = []

    def fit(model, splits, training, *, seed, observers):
        model.memory = splits.train.index
        shown.append((splits.train, training.epochs))
        for epoch in range(1, training.epochs + 1):
            observers[0].on_epoch(Epoch(epoch, training.epochs, {}, dict))

    monkeypatch.setattr(crossfit, "fit", fit)
    return shown


def numbered(label: np.ndarray, stored: int = 0) -> View:
    """Samples whose input is their index, stored in another order than they come in."""
    index = torch.from_numpy(RNG(5).permutation(max(stored, len(label)))[: len(label)])
    held = np.zeros(max(stored, len(label)), np.int64)
    held[index] = label
    data = Dataset.of(torch.arange(len(held)).float()[:, None], held, n_classes=int(label.max()) + 1)
    return View(data.take(index), None)


@pytest.mark.parametrize("n", [120, 129, 131])  # 129: parts of 32 and 33, so that epochs would be of 3 and 4 updates
def test_no_sample_is_judged_by_a_model_that_saw_it(n, training_sets):
    shown = numbered(RNG(2).permutation(np.arange(n) < 0.8 * n) * 1, 150)
    assert np.array_equal(shown.data.x[shown.data.index, 0], shown.data.index)
    fold = folds_of(shown.label, 4, RNG(0))
    told: list[tuple[float, int]] = []
    counter = crossfit._Counter(lambda done, total: told.append((done, total)), 4)
    updates, chosen, said = crossfit._crossfit(shown, fold, Memory, "mlp", counter, nowhere, asked=None)
    assert len(training_sets) == 4
    assert said.shape == (len(updates), n, 2)
    assert np.array_equal(chosen, said.argmax(2))
    assert updates == sorted(set(updates))
    assert (said.round() == [1, 0]).all()  # each was judged, at every point, by who had not seen it
    assert len({epochs for _, epochs in training_sets}) == 1
    for part, (train, _) in enumerate(training_sets):
        held = shown.data.index[torch.from_numpy(fold == part)]
        assert not torch.isin(train.index, held).any()
        assert set(train.index.tolist()) | set(held.tolist()) <= set(shown.data.index.tolist())
        counts = torch.bincount(train.label)  # balanced, by repeating those of the rare class
        assert counts.max() - counts.min() <= 1
    assert told[-1] == (4, 4)
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def curve(
    monkeypatch, label: np.ndarray, hits: list[list[bool]], early: float, large: int = crossfit.LARGE
) -> tuple[Any, ...]:
    """What ``_easy`` makes of a biased model that is right on these samples, point by point."""
    seen = np.zeros((len(hits), len(label), 2, 2), np.float32)
    for point, right in enumerate(hits):
        said = np.where(right, label, 1 - label)
        seen[point, :, 0] = np.eye(2)[said] * 0.9 + 0.05
        seen[point, :, 1] = point
    updates = list(range(10, 10 + len(hits)))

    def learned(*_: object, asked: Sequence[int] | None) -> crossfit._Curve:
        whole = seen if asked is None else seen[list(asked)]
        return crossfit._Curve(updates, seen[:, :, 0].argmax(2).astype(np.int32), whole)

    monkeypatch.setattr(crossfit, "_crossfit", learned)
    monkeypatch.setattr(crossfit, "EARLY", early)
    monkeypatch.setattr(crossfit, "LARGE", large)
    return crossfit._easy(view(label), 4, crossfit._Counter(None, 4), nowhere)


@pytest.mark.parametrize("large", [0, crossfit.LARGE])
def test_the_biased_model_is_stopped_when_it_is_nearly_as_good_as_it_gets(large, monkeypatch):
    label = np.repeat([0, 1], 20)
    shares = [10, 15, 18, 19, 20, 17]  # of 20 in each class; 18 is 80 % of the way from guessing, 19 is 90 %
    hits = [[i % 20 < share for i in range(40)] for share in shares]
    for within, stop in ((0.85, 3), (0.8, 2), (0.91, 4), (0.4, 1)):
        easy, profile, stopped, _ = curve(monkeypatch, label, hits, within, large)[1]
        assert stopped == 10 + stop
        assert ((easy.argmax(1) == label) == hits[stop]).all()
        assert (profile == stop).all()


def test_the_way_to_the_best_is_measured_with_every_class_counting_the_same(monkeypatch):
    label = np.repeat([0, 1], [30, 10])
    always = [i < 30 for i in range(40)]  # three quarters right by saying the large class: no better than guessing
    some = [i < 24 or i >= 32 for i in range(40)]  # 80 % of each class
    assert curve(monkeypatch, label, [always, some], 0.5)[1].stopped == 11
    assert curve(monkeypatch, label, [always, always], 0.5)[1].stopped == 10
    assert (
        curve(monkeypatch, label, [[not right for right in always]], 0.5)[1].stopped == 10
    )  # never better than guessing


def test_marks_of_the_learning_curve():
    assert crossfit._marks(4) == [1, 2, 3, 4]
    marks = crossfit._marks(100)
    assert marks[0] == 1
    assert marks[-1] == 100
    assert len(marks) <= crossfit.POINTS
    assert crossfit._marks(100, 0) == [100]


# --- with real models -------------------------------------------------------------------------------------------------


def cue_table(n: int, share: float, seed: int = 0, weak: float = 0.15) -> tuple[Dataset, np.ndarray]:
    """Eight columns that say little each, and one that is the label in ``share`` of the rows; those it is not in."""
    rng = RNG(seed)
    label = rng.integers(0, 2, n)
    frame = pd.DataFrame(rng.normal(size=(n, 8)) + weak * (2 * label[:, None] - 1)).add_prefix("signal")
    cue = np.where(rng.random(n) < share, label, 1 - label)
    frame["cue"], frame["y"] = np.where(cue, "b", "a"), label
    return Dataset.from_table(frame, label="y"), cue != label


def cue_texts(n: int, share: float, seed: int = 0) -> tuple[Dataset, np.ndarray]:
    """Fifteen words each, that hardly tell; "lake" in ``share`` of one class, and in the rest of the other."""
    rng = RNG(seed)
    label = rng.integers(0, 2, n)
    has = np.where(rng.random(n) < share, label, 1 - label)
    common, rare = np.arange(60), 1 / np.arange(1, 61)
    said = []
    for y, cue in zip(label, has, strict=True):
        side = np.where(rng.random(5) < 0.55, y, 1 - y)
        words = [*(f"word{i}" for i in rng.choice(common, 10, p=rare / rare.sum())), *(f"side{s}" for s in side)]
        said.append(" ".join(rng.permutation([*words, *["lake"] * cue])))
    return Dataset.from_table(pd.DataFrame({"text": said, "y": label}), label="y", text="text"), has != label


@pytest.mark.parametrize(
    ("made", "n", "share"), [(cue_table, 1200, 0.95), (cue_texts, 900, 0.9)], ids=["table", "text"]
)
def test_suspected_are_those_that_contradict_a_planted_cue(made, n, share):
    data, against = made(n, share)
    score, suspected = suspicion(data)
    assert against[suspected].mean() > 0.9
    assert suspected[against].mean() > 0.5
    assert score[against].mean() > score[~against].mean() + 0.5


def test_where_a_net_of_the_family_separates_it_is_the_biased_model(monkeypatch):
    monkeypatch.setattr(crossfit, "_crossfit", lambda *_: pytest.fail("another one was trained"))
    data, against = cue_table(1200, 0.95)
    fold, biased = crossfit._easy(View(data, None), 4, crossfit._Counter(None, 4), nowhere)
    assert biased.member in early.TABLES
    assert biased.stopped % early.UPDATES == 0 < biased.stopped
    assert np.bincount(fold).tolist() == [300] * 4
    assert biased.easy.sum(1) == pytest.approx(np.ones(1200), abs=1e-5)
    assert np.square(biased.profile).sum(1) == pytest.approx(np.ones(1200), abs=1e-5)
    assert (biased.easy.argmax(1) == biased.profile.argmax(1)).all()
    assert ((biased.easy.argmax(1) != data.label.numpy()) == against).mean() > 0.97


def test_what_is_too_large_to_be_held_at_all_points_is_said_with_the_same_bits(monkeypatch):
    data, _ = cue_table(120, 0.5)
    shown = View(data, None)
    monkeypatch.setattr(crossfit, "UPDATES", 40)
    whole = judge(shown, "mlp:hidden=4")
    assert not whole.member
    monkeypatch.setattr(crossfit, "LARGE", 0)
    again = judge(shown, "mlp:hidden=4")
    assert whole.stopped == again.stopped
    for name in ("easy", "profile", "ordinary", "debiased", "hits"):
        assert np.array_equal(getattr(whole, name), getattr(again, name)), name


def test_some_samples_of_many_are_judged_as_if_they_were_all(monkeypatch):
    data, _ = cue_table(400, 0.9)
    some = data.take(torch.arange(400).remainder(4) == 1)
    monkeypatch.setattr(crossfit, "UPDATES", 40)
    few = compact(View(some, None)).data
    assert few.info.n_stored == len(few.x) == len(some) == 100
    assert torch.equal(few.x[few.index], some.x[some.index])
    found = judge(View(some, None), "mlp:hidden=4")
    monkeypatch.setattr("longcut.audit.storage.COPIED", 0)
    assert compact(View(some, None)).data is some
    there = judge(View(some, None), "mlp:hidden=4")
    for name in ("easy", "profile", "ordinary", "debiased", "hits"):
        assert np.array_equal(getattr(found, name), getattr(there, name)), name


def test_see_takes_the_net_that_was_chosen():
    data, against = cue_table(800, 0.95)
    first, second = data.take(torch.arange(500)), data.take(torch.arange(500, 800))
    before = torch.get_rng_state()
    found = [see(View(first, None), second, 300, "mlp:hidden=64") for _ in range(2)]
    assert torch.equal(torch.get_rng_state(), before)
    assert np.array_equal(found[0].easy, found[1].easy)
    assert against[500:][found[0].contradicts].mean() > 0.9
    assert found[0].contradicts[against[500:]].mean() > 0.9


def test_see_judges_other_samples():
    data, against = cue_table(800, 0.95)
    first, second = data.take(torch.arange(500)), data.take(torch.arange(500, 800))
    sides = see(View(first, None), second, 40)
    assert np.array_equal(sides.label, second.label)
    assert against[500:][sides.contradicts].mean() > 0.8
    assert sides.contradicts[against[500:]].mean() > 0.8
    assert sides.profile.shape == sides.easy.shape == (300, 2)
    assert sides.easy.sum(1) == pytest.approx(np.ones(300))
    assert np.abs(sides.profile).max() <= 1 + 1e-5


def test_same_seed_same_bits_and_the_callers_random_state_stays(monkeypatch):
    monkeypatch.setattr(crossfit, "UPDATES", 30)
    monkeypatch.setattr(crossfit, "EASY_UPDATES", 20)
    data, _ = cue_table(80, 0.9)
    torch.manual_seed(3)
    before, told = torch.get_rng_state(), []
    found = [judge(View(data, None, seed=seed), "mlp:hidden=4", lambda *a: told.append(a)) for seed in (0, 0, 1)]
    assert torch.equal(torch.get_rng_state(), before)
    for field in dataclasses.fields(Judged):
        assert np.array_equal(getattr(found[0], field.name), getattr(found[1], field.name))
    assert not np.array_equal(found[0].easy, found[2].easy)
    assert told[-1] == (3 * FOLDS, 3 * FOLDS)
    assert found[0].hits.shape == (len(found[0].updates), 80)
    assert np.array_equal(found[0].hits[-1], found[0].ordinary_correct)
    assert found[0].stopped > 0
    for said in (found[0].easy, found[0].ordinary, found[0].debiased):
        assert said.sum(1) == pytest.approx(np.ones(80), abs=1e-5)


# --- mistakes ---------------------------------------------------------------------------------------------------------


def test_refused():
    with pytest.raises(UserError, match="is a regression; suspicion needs classes"):
        suspicion(Dataset.of(torch.rand(20, 2), torch.rand(20)))
    with pytest.raises(UserError, match="are of one class; an audit needs at least two"):
        suspicion(Dataset.of(torch.rand(20, 2), [0] * 20))
    with pytest.raises(UserError, match="class 'rare' has 3 samples, too few to be cut into 4 parts"):
        suspicion(Dataset.of(torch.rand(20, 2), [0] * 17 + [1] * 3, class_names=("common", "rare")))
