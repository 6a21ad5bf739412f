from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import binom

from longcut import load
from longcut.audit.association import balanced_accuracies
from longcut.audit.base import Finding, View
from longcut.audit.cues import SAMPLES, _forest, _statistics, draw
from longcut.audit.cues import cues as check
from longcut.data import Dataset
from longcut.sources import Source

RNG = np.random.default_rng


def cues(shown: View, ceiling: float = 1.0) -> Finding | None:
    return check(shown, cast(Any, SimpleNamespace(ceiling=ceiling)), {})


def found(data: Dataset, source: Source | None = None, ceiling: float = 1.0, **view) -> Finding:
    finding = cues(View(data, source, **view), ceiling)
    assert finding is not None
    return finding


def row(finding: Finding, cue: str) -> dict:
    return next(row for row in finding.table if row["cue"] == cue)


def with_source(x: np.ndarray, label: np.ndarray, rows: pd.DataFrame, **source) -> tuple[Dataset, Source]:
    where = Source("toy", rows, np.zeros(len(rows), np.int64), True, "y", **source)
    return dataclasses.replace(Dataset.of(x, label), source=where), where


def coloured(strength: float, n: int = 300, seed: int = 0) -> Dataset:
    """Noise, with red or blue stronger: the label says which with this probability, and else a coin."""
    rng = RNG([seed, 2])
    label = np.arange(n) % 2
    red = np.where(rng.random(n) < strength, label, rng.integers(0, 2, n))
    x = rng.integers(0, 200, (n, 3, 6, 6))
    x[np.arange(n), red * 2] += 50
    return Dataset.of(x.astype(np.uint8), label)


# --- no shortcut ------------------------------------------------------------------------------------------------------


def false_alarms(verdicts: list[str]) -> None:
    assert len(verdicts) - verdicts.count("clear") <= binom.ppf(0.999, len(verdicts), 0.05)
    assert "alarm" not in verdicts


@pytest.mark.parametrize("share", [0.5, 0.1])
def test_columns_without_a_shortcut_raise_no_more_false_alarms_than_they_may(share: float):
    x = RNG(0).normal(size=(150, 4)).astype(np.float32)
    x[:, 1] = x[:, 0] > 0
    x[:, 2] = x[:, 0].round()
    label = (np.arange(150) < share * 150) * 1
    verdicts = [found(Dataset.of(x, RNG(seed).permutation(label)), seed=seed).verdict for seed in range(120)]
    false_alarms(verdicts)


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.5, 0.1])
def test_images_without_a_shortcut_raise_no_more_false_alarms_than_they_may(share: float, monkeypatch):
    monkeypatch.setattr("longcut.audit.cues.TREES", 10)
    images = load("colored-digits").train.take(torch.arange(150))
    label = torch.arange(150) < share * 150
    info = dataclasses.replace(images.info, n_classes=2)
    verdicts = []
    for seed in range(100):
        permuted = label[torch.from_numpy(RNG(seed).permutation(150))].long()
        verdicts.append(found(dataclasses.replace(images, label=permuted, info=info), seed=seed).verdict)
    false_alarms(verdicts)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_digits_without_a_shortcut_raise_no_alarm(seed: int):
    finding = found(load("colored-digits:ratio=0.9", seed).train, ceiling=0.9, seed=seed)
    assert finding.verdict == "notice"  # the border of a digit does say something about it
    assert row(finding, "mean colour")["balanced_accuracy"] < 0.2


# --- planted ----------------------------------------------------------------------------------------------------------


def test_a_planted_colour_is_found_and_grows_with_its_strength():
    findings = [found(coloured(strength)) for strength in (0.2, 0.5, 0.8, 0.95)]
    assert [finding.verdict for finding in findings[2:]] == ["alarm", "alarm"]
    assert {finding.verdict for finding in findings[:2]} <= {"clear", "notice"}
    for finding in findings[1:]:
        assert finding.table[0]["cue"] in ("mean colour", "border pixels", "colour histogram")
        assert finding.p_value == pytest.approx(3 / 1000)
        assert finding.interval[0] <= finding.statistic <= finding.interval[1]
        assert finding.baseline < 0.2
    statistics = [finding.statistic for finding in findings]
    assert statistics == sorted(statistics)
    assert statistics[-1] == pytest.approx(0.95, abs=0.05)
    assert "Is that what the model is meant to look at?" in findings[-1].sentence


def test_colored_digits_give_their_colour_away():
    finding = found(load("colored-digits:ratio=0.05").train)
    assert finding.verdict == "alarm"
    assert row(finding, "mean colour")["balanced_accuracy"] == pytest.approx(0.95, abs=0.02)
    assert row(finding, "mean colour")["permuted"] == pytest.approx(0.1, abs=0.01)


def test_skill_is_measured_against_what_can_be_learned():
    x = np.array([[0.0], [0.0], [0.0], [1.0], [1.0], [1.0], [1.0], [0.0]] * 25, np.float32)
    data = Dataset.of(x, [0, 0, 0, 0, 1, 1, 1, 1] * 25)  # 75 % are right
    assert found(data).statistic == pytest.approx(0.5)
    assert found(data, ceiling=0.9).statistic == pytest.approx(0.25 / 0.4)
    assert found(data).verdict == "notice"
    assert "Is that intended?" not in found(data).sentence
    assert found(data, ceiling=0.6).statistic == pytest.approx(1)  # no more than all that can be learned
    assert "90% by an ordinary model" in found(data, ceiling=0.9).sentence


def test_what_says_nearly_all_of_a_little_is_no_alarm():
    """A predictor as good as a weak model may be what is meant; only one that nearly decides the label is an alarm."""
    x = np.array([[0.0], [0.0], [0.0], [1.0], [1.0], [1.0], [1.0], [0.0]] * 50, np.float32)
    weak = found(Dataset.of(x, [0, 0, 0, 0, 1, 1, 1, 1] * 50), ceiling=0.8)  # 75 % against 80 %
    assert weak.verdict == "notice"
    assert "most of what a model uses" in weak.sentence
    assert "Is that intended?" in weak.sentence
    x = x[:, 0]
    strong = found(Dataset.of(np.stack([x, x], 1), np.where(np.arange(400) % 20 < 18, x, 1 - x).astype(int)))
    assert strong.table[0]["balanced_accuracy"] == pytest.approx(0.9, abs=0.01)
    assert strong.verdict == "alarm"  # 80 % of the way to certainty, by a hair more than 60 % at the lower end


def test_where_hardly_anything_can_be_learned_no_cue_is_strong():
    label = np.arange(4000) % 2
    x = np.where(RNG(0).random(4000) < 0.04, label, RNG(1).integers(0, 2, 4000))[:, None]
    finding = found(Dataset.of(x.astype(np.float32), label), ceiling=0.5)
    assert finding.verdict != "alarm"
    assert finding.statistic < 0.6


def test_a_rare_class_counts_as_much_as_a_common_one():
    label = (np.arange(1000) < 50) * 1
    x = np.stack([label, RNG(0).normal(size=1000)], 1).astype(np.float32)
    x[50:145, 0] = 1  # a tenth of the common class
    finding = found(Dataset.of(x, label))
    assert row(finding, "column 0")["balanced_accuracy"] == pytest.approx(0.95)
    assert row(finding, "column 1")["balanced_accuracy"] == pytest.approx(0.5, abs=0.1)


# --- what is measured -------------------------------------------------------------------------------------------------


def test_statistics_of_a_plain_image():
    x = torch.empty(1, 3, 8, 8)
    x[:, 0], x[:, 1], x[:, 2] = 1, 0.5, 0
    found = {name: values[0].tolist() for name, values in _statistics(x).items()}
    light = 0.299 + 0.587 / 2
    assert found["mean colour"] == [1, 0.5, 0]
    assert found["brightness"] == pytest.approx([light] * 4)
    assert found["contrast"] == pytest.approx([0], abs=1e-6)
    assert found["sharpness"] == pytest.approx([0], abs=1e-6)
    assert found["border pixels"] == pytest.approx([1, 0.5, 0] * 4)
    assert np.flatnonzero(found["colour histogram"]).tolist() == [3 * 16 + 2 * 4]  # fourth red, third green, first blue
    assert sum(found["colour histogram"]) == 1


def test_statistics_of_a_gradient_by_hand():
    x = torch.arange(3.0).mul(0.25).repeat(2, 1, 3, 1)  # grey columns 0, ¼, ½
    x[1, 0, 1, 1] = 1  # a dot, ¾ above its neighbours' mean
    found = _statistics(x)
    assert "mean colour" not in found
    assert found["brightness"][0].tolist() == pytest.approx([0.25, 0, 0.25, 0.5])
    assert found["contrast"][0].item() == pytest.approx((2 / 3) ** 0.5 / 4)
    # top, bottom, left, right
    assert found["border pixels"][0].tolist() == pytest.approx([0.25, 0.25, 0, 0.5])
    wide = torch.zeros(2, 1, 3, 5)
    wide[1, 0, 1, 2] = 1  # the Laplacian is 1, −4, 1: mean −2/3, variance 6 − 4/9
    assert _statistics(wide)["sharpness"].flatten().tolist() == pytest.approx([0, 6 - 4 / 9])


@pytest.mark.parametrize(
    ("cue", "column"), [("file size", "bytes"), ("JPEG quality", "quality"), ("image size", "width")]
)
def test_facts_of_the_files(cue: str, column: str):
    label = np.arange(120) % 2
    facts = pd.DataFrame({"width": 64, "height": 64, "bytes": 9000, "quality": np.nan}, index=range(120))
    facts[column] = facts[column].fillna(0) + 20.0 * label
    x = RNG(0).integers(0, 255, (120, 3, 4, 4)).astype(np.uint8)
    finding = found(*with_source(x, label, pd.DataFrame({"y": label}), facts=facts))
    assert finding.table[0]["cue"] == cue
    assert finding.table[0]["balanced_accuracy"] == 1
    cues_of_files = {"image size", "aspect ratio", "file size", "JPEG quality"} & {row["cue"] for row in finding.table}
    assert cues_of_files == {cue} | ({"aspect ratio"} if column == "width" else set())  # the others do not vary


def test_texts_and_columns_follow_the_samples():
    label = np.arange(300) % 2
    rows = pd.DataFrame({"y": label, "town": np.where(label == 1, "Köln", "Bonn")})
    rows["text"] = np.where(label == 1, "so", "so!")
    some = torch.from_numpy(RNG(0).permutation(300)[:150])
    for cue, source in (("punctuation", {"text": ("text",)}), ("town", {"features": ("town",)})):
        data, where = with_source(np.ones((300, 2), np.int64), label, rows, **source)
        assert row(found(data.take(some), where), cue)["balanced_accuracy"] == 1


def test_facts_follow_the_samples():
    label = np.arange(200) % 2
    facts = pd.DataFrame({"width": 8, "height": 8, "bytes": label * 5, "quality": np.nan}, index=range(200))
    data, source = with_source(np.zeros((200, 3, 4, 4), np.uint8), label, pd.DataFrame({"y": label}), facts=facts)
    finding = found(data.take(torch.from_numpy(RNG(0).permutation(200)[:120])), source)
    assert finding.table == ({**finding.table[0], "cue": "file size", "balanced_accuracy": 1.0},)


@pytest.mark.parametrize(
    ("sample", "other", "cue"),
    [
        ("it is so!", "it is so.", "punctuation"),
        ("it is 10", "it is to", "punctuation"),
        ("it is SO", "it is so", "punctuation"),
        ("it is so", "it is so so", "length"),
    ],
)
def test_length_and_punctuation_of_texts(sample: str, other: str, cue: str):
    label = np.arange(90) % 2
    rows = pd.DataFrame({"y": label, "text": np.where(label == 1, sample, other)})
    data, source = with_source(np.ones((90, 2), np.int64), label, rows, text=("text",))
    finding = found(data, source)
    assert [(row["cue"], row["balanced_accuracy"]) for row in finding.table] == [(cue, 1)]


def test_several_texts_are_told_apart():
    label = np.arange(90) % 2
    lengths = RNG(0).integers(1, 9, 90)
    rows = pd.DataFrame({"y": label, "a": ["x" * n for n in lengths], "b": ["x" * (n + 1) for n in label]})
    rows.loc[0, "a"] = None
    data, source = with_source(np.ones((90, 2), np.int64), label, rows, text=("a", "b"))
    assert row(found(data, source), "length of b")["balanced_accuracy"] == 1
    assert row(found(data, source), "length of a")["p_value"] > 0.05


def test_tokens_without_a_source_have_a_length():
    label = np.arange(90) % 2
    x = np.zeros((90, 5), np.int64)
    x[:, :2], x[label == 1, 2] = 3, 4
    finding = found(Dataset.of(x, label, kind="tokens"))
    assert [(row["cue"], row["balanced_accuracy"]) for row in finding.table] == [("length", 1)]


def test_columns_of_a_table_are_looked_at_as_they_were_read():
    label = np.arange(120) % 2
    rows = pd.DataFrame(
        {
            "y": label,
            "town": np.where(label == 1, "Köln", "Bonn"),
            "age": np.where(label == 1, np.nan, RNG(0).normal(size=120)),
            "size": RNG(1).normal(size=120),
            "secret": label,
        }
    )
    data, source = with_source(np.zeros((120, 7), np.float32), label, rows, features=("town", "age", "size"))
    finding = found(data, source)
    accuracy = {row["cue"]: row["balanced_accuracy"] for row in finding.table}
    assert accuracy == {"town": 1, "age": 1, "size": pytest.approx(0.5, abs=0.15)}


def test_the_forest_weighs_classes_alike_and_does_not_see_what_it_guesses():
    label, rng = (np.arange(300) < 30) * 1, RNG(0)
    noise, fold = rng.normal(size=(300, 2)), np.arange(300) % 3
    signal = _forest(noise + label[:, None], label, fold, 0)
    # at best Φ(1/√2) = 76 % of each class; a forest for which rare means unlikely guesses next to none of the rare
    assert balanced_accuracies(signal[None], label)[0] > 0.65
    assert balanced_accuracies(_forest(noise, label, fold, 0)[None], label)[0] < 0.65


def test_thedraw_takes_as_many_as_possible_of_each_class():
    rows = draw(np.repeat([0, 1, 2], [50, 9000, 3000]), RNG(0))
    assert len(rows) == SAMPLES
    assert np.bincount(np.repeat([0, 1, 2], [50, 9000, 3000])[rows]).tolist() == [50, 1975, 1975]
    assert (np.diff(rows) > 0).all()
    assert draw(np.array([0, 1, 1]), RNG(0)).tolist() == [0, 1, 2]


def test_memory_mapped_images_are_read_in_chunks(tmp_path, monkeypatch):
    sizes = []
    gather = Dataset.gather

    def recorded(self, rows, device="cpu"):
        sizes.append(len(rows))
        return gather(self, rows, device)

    monkeypatch.setattr(Dataset, "gather", recorded)
    stored = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.uint8, (600, 3, 4, 4))
    stored[:] = RNG(0).integers(0, 255, stored.shape)
    found(Dataset.of(stored, np.arange(600) % 2))
    assert sizes == [250, 250, 100]


def test_nothing_to_look_at():
    assert cues(View(Dataset.of(torch.zeros(8, 2), [0, 1] * 4), None)) is None  # nothing varies
    assert cues(View(Dataset.of(torch.rand(8, 2), torch.rand(8)), None)) is None
    assert cues(View(Dataset.of(torch.rand(5, 2), [0, 0, 0, 1, 1]), None)) is None
