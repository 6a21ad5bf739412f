from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import binom

from longcut.audit.base import Finding, View
from longcut.audit.words import words as check
from longcut.data import Dataset
from longcut.sources import Source

RNG = np.random.default_rng
WORDS = [f"word{i}" for i in range(60)]
RARE = np.arange(1, 61) ** -1.0


def words(shown: View) -> Finding | None:
    return check(shown, cast(Any, None), {})  # no model is asked


def texts(n: int, rng: np.random.Generator) -> list[str]:
    """Ten words each, some common and most rare."""
    return [" ".join(rng.choice(WORDS, 10, p=RARE / RARE.sum())) for _ in range(n)]


def view(rows: pd.DataFrame, *columns: str, seed: int = 0, **info) -> View:
    """Column ``y`` is the label."""
    found = Source("toy", rows, np.zeros(len(rows), np.int64), True, "y", text=columns)
    data = Dataset.of(torch.ones(len(rows), 1, dtype=torch.long), rows["y"].to_numpy(copy=True), kind="tokens", **info)
    return View(dataclasses.replace(data, source=found), found, seed=seed)


def found(*args, **kwargs) -> Finding:
    finding = words(view(*args, **kwargs))
    assert finding is not None
    return finding


def planted(strength: float, n: int = 600) -> pd.DataFrame:
    """A third of the texts says "not"; with this probability, its class is 1, and else it is like the others'."""
    rng = RNG(4)
    says = rng.random(n) < 1 / 3
    label = np.where(says & (rng.random(n) < strength), 1, rng.integers(0, 2, n))
    return pd.DataFrame(
        {"y": label, "text": [text + " not" * int(said) for text, said in zip(texts(n, rng), says, strict=True)]}
    )


@pytest.mark.parametrize("share", [0.5, 0.1])
def test_words_without_a_shortcut_raise_no_more_false_alarms_than_they_may(share: float, monkeypatch):
    monkeypatch.setattr("longcut.audit.association.WORK", 0)  # 199 draws
    rng = RNG(0)
    said = texts(200, rng)
    label = np.arange(200) < share * 200
    verdicts = []
    for seed in range(120):
        rows = pd.DataFrame({"y": rng.permutation(label) * 1, "text": said})
        verdicts.append(found(rows, "text", seed=seed).verdict)
    assert len(verdicts) - verdicts.count("clear") <= binom.ppf(0.999, 120, 0.05)
    assert "alarm" not in verdicts


def test_a_planted_word_is_found_and_grows_with_its_strength():
    findings = [found(planted(strength), "text", class_names=("yes", "no")) for strength in (0.3, 0.5, 0.8, 0.95)]
    for finding in findings:
        assert finding.table[0]["word"] == "not"
        assert finding.table[0]["class"] == "no"
        assert finding.p_value <= 0.05
        assert finding.interval[0] < finding.statistic < finding.interval[1]
    statistics = [finding.statistic for finding in findings]
    assert statistics == sorted(statistics)
    assert [finding.verdict for finding in findings] == ["notice", "notice", "alarm", "alarm"]
    assert findings[-1].more == {"cue_words": {"not": "no"}}
    assert findings[0].more == {"cue_words": {}}  # too weak to be marked


def test_numbers_of_a_word():
    rows = pd.DataFrame(
        {"y": [1] * 240 + [0] * 560, "text": ["bird"] * 80 + ["Lake"] * 160 + ["lake"] * 40 + ["bird"] * 520}
    )
    finding = found(rows, "text")
    # "lake" is in 200 texts, 160 of them in the class that 30 % of all are of: (0.8 − 0.3) / 0.7
    assert finding.table[0] == {
        "word": "lake",
        "count": 200,
        "class": "1",
        "share": 0.8,
        "base": 0.3,
        "skill": pytest.approx(5 / 7),
        "p_value": 0.001,
    }
    assert finding.statistic == pytest.approx(5 / 7)
    # Wilson: (0.8 + z²/400 ± z √(0.16/200 + z²/160000)) / (1 + z²/200), z = 1.96
    assert finding.interval == pytest.approx(((0.73914 - 0.3) / 0.7, (0.84955 - 0.3) / 0.7), abs=1e-4)
    assert finding.verdict == "alarm"
    assert "in 25.0% of the texts" in finding.sentence
    assert "Is that what the model is meant to look at?" in finding.sentence
    assert finding.table[1]["word"] == "bird"
    assert finding.table[1]["class"] == "0"  # the class that it goes with is the one in excess


def test_a_word_goes_with_the_class_in_excess_even_if_another_is_commoner():
    label = np.repeat([0, 1, 2], [600, 300, 100])
    said = [word for n, lake in ((600, 70), (300, 12), (100, 18)) for word in ["lake"] * lake + ["wood"] * (n - lake)]
    finding = found(pd.DataFrame({"y": label, "text": said}), "text", class_names=("land", "air", "water"))
    lake = next(row for row in finding.table if row["word"] == "lake")
    # of 100, 60, 30 and 10 are expected: the excess of land is 10 / √60, that of water 8 / √10
    assert (lake["class"], lake["share"], lake["base"]) == ("water", 0.18, 0.1)


def test_of_two_columns_the_word_that_says_more_is_marked():
    label = np.arange(400) % 2
    surely, mostly = np.where(label == 1, "no", "yes"), np.where((label == 0) ^ (np.arange(400) % 20 < 2), "no", "yes")
    for rows in ({"y": label, "a": surely, "b": mostly}, {"y": label, "a": mostly, "b": surely}):
        assert found(pd.DataFrame(rows), "a", "b").more["cue_words"]["no"] == "1"


def test_rare_words_and_words_in_every_text_are_left_out():
    rows = pd.DataFrame({"y": [0, 1] * 100, "text": ["the rare"] * 19 + ["the common"] * 20 + ["the"] * 161})
    assert [row["word"] for row in found(rows, "text").table] == ["common"]
    assert words(view(rows.assign(text="the"), "text")) is None


def test_a_word_counts_once_in_a_text():
    rows = pd.DataFrame({"y": [0, 1] * 50, "text": ["lake lake Lake"] * 30 + ["wood"] * 70})
    assert {row["word"]: row["count"] for row in found(rows, "text").table} == {"wood": 70, "lake": 30}


def test_words_of_several_columns_are_told_apart():
    rng = RNG(0)
    label = np.arange(400) % 2
    no = np.where(label == 1, "no", "yes")
    rows = pd.DataFrame({"y": label, "premise": rng.permutation(no), "hypothesis": no})
    finding = found(rows, "premise", "hypothesis")
    of = {(row["column"], row["word"]): row["p_value"] for row in finding.table}
    assert len(of) == 4
    assert of["hypothesis", "no"] == of["hypothesis", "yes"] == 0.001
    assert of["premise", "no"] > 0.05
    assert finding.more["cue_words"] == {"no": "1", "yes": "0"}


def test_rows_follow_the_samples_and_missing_text_is_empty():
    rows = planted(1, 900)
    rows.loc[::7, "text"] = None
    whole = view(rows, "text")
    some = torch.from_numpy(RNG(0).permutation(900)[:600])
    finding = words(View(whole.data.take(some), whole.source))
    assert finding is not None
    assert finding.table[0]["word"] == "not"
    assert finding.table[0]["share"] == 1


def test_only_text_with_classes_has_words():
    plain = Dataset.of(torch.zeros(4, 2), [0, 1, 0, 1])
    assert words(View(plain, None)) is None
    rows = planted(1)
    assert words(view(rows)) is None
    assert words(view(rows.assign(y=0.5), "text")) is None
    assert words(view(rows.assign(y=0), "text")) is None


@pytest.mark.data
def test_negation_in_mnli(real_data: Path):
    rows = pd.read_csv(real_data / "mnli" / "mnli_dev_matched_negation.tsv", sep="\t", quoting=3)
    names, label = np.unique(rows["gold_label"].to_numpy(str), return_inverse=True)
    finding = found(rows.assign(y=label), "hypothesis", class_names=tuple(names))
    assert finding.verdict == "notice"  # no word stands in enough texts to decide the label nearly
    for word in ("never", "no", "nothing"):
        assert finding.more["cue_words"][word] == "contradiction"
        assert next(row for row in finding.table if row["word"] == word)["p_value"] <= 0.05
    assert "the" not in finding.more["cue_words"]
