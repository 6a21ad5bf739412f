"""The audit of a target that is a number: null before signal, each statistic against a loop or scikit-learn."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import binom
from sklearn.metrics import r2_score

from longcut import report
from longcut.audit import audit, folder
from longcut.audit.base import Finding, View
from longcut.audit.columns import columns
from longcut.audit.cues import cues
from longcut.audit.numbers import (
    explained,
    held_out_correlation_test,
    in_parts,
    means_elsewhere,
    means_elsewhere_of_sets,
    resampled_explained,
    trees_elsewhere,
)
from longcut.audit.words import words
from longcut.data import Dataset
from longcut.errors import UserError
from longcut.sources import Source

RNG = np.random.default_rng


def view_of(data: Dataset, **how: Any) -> View:
    return View(in_parts(data), data.source, original=data, **how)


def ask(check: Any, data: Dataset, whole: float = 0.9, **how: Any) -> Finding:
    """What a check says where an ordinary model has this R²."""
    finding = check(view_of(data, **how), cast(Any, SimpleNamespace(explained=lambda target: whole)), {})
    assert finding is not None
    return finding


def with_rows(y: np.ndarray, rows: pd.DataFrame, x: np.ndarray | None = None, **source: Any) -> Dataset:
    where = Source("toy", rows, np.zeros(len(rows), np.int64), True, "y", **source)
    data = Dataset.of(np.zeros((len(y), 1), np.float32) if x is None else x, y.astype(np.float32))
    return dataclasses.replace(data, source=where)


# --- parts ------------------------------------------------------------------------------------------------------------


def test_parts_by_hand():
    target = torch.tensor([[5.0], [1.0], [2.0], [8.0], [2.0], [7.0], [2.0], [4.0]])
    data = in_parts(Dataset.of(torch.rand(8, 2), target, torch.arange(8) % 2))
    # in order: 1 2 2 2 4 5 7 8; a quarter of the way lies 2, half of it 2, three quarters 5; equal ones stay together
    assert data.info.class_names == ("1 to 2", "4 to 5", "7 to 8")
    assert data.label.tolist() == [1, 0, 0, 2, 0, 2, 0, 1]
    assert (data.info.task, data.info.n_classes, data.attribute is None) == ("classification", 3, False)


@pytest.mark.parametrize(
    ("target", "names", "label"),
    [
        ([0.0] * 3 + [9.0] * 9, ("0 to 0", "9 to 9"), [0] * 3 + [1] * 9),
        ([0.0] + [9.0] * 9, ("0 to 0", "9 to 9"), [0] + [1] * 9),
        ([0.0] * 9 + [4.0], ("0 to 0", "4 to 4"), [0] * 9 + [1]),
        ([1.00001, 1.00002, 1.00003, 1.00004], ("part 1", "part 2", "part 3", "part 4"), [0, 1, 2, 3]),
    ],
)
def test_parts_of_targets_that_are_mostly_the_same(target: list[float], names: tuple[str, ...], label: list[int]):
    data = in_parts(Dataset.of(torch.rand(len(target), 1), torch.tensor(target).double()))
    assert data.label.tolist() == label
    assert all(name in called for name, called in zip(names, data.info.class_names, strict=True))


def test_targets_that_cannot_be_audited_are_refused():
    with pytest.raises(UserError, match="are 2 numbers; audit one of them at a time"):
        audit(Dataset.of(torch.rand(20, 3), torch.rand(20, 2)))
    with pytest.raises(UserError, match="is always the same; an audit needs different ones"):
        audit(Dataset.of(torch.rand(20, 3), torch.full((20,), 3.5)))
    with pytest.raises(UserError, match="is no finite number; leave such samples out"):
        in_parts(
            dataclasses.replace(Dataset.of(torch.rand(2, 3), torch.rand(2)), label=torch.tensor([[1.0], [np.nan]]))
        )
    with pytest.raises(UserError, match="too few to be cut into 4 parts"):
        audit(Dataset.of(torch.rand(12, 3), torch.rand(12)))


# --- statistics -------------------------------------------------------------------------------------------------------


def test_explained_is_scikit_learns():
    rng = RNG(0)
    target, said = rng.normal(size=50), rng.normal(size=(3, 50))
    assert explained(said, target) == pytest.approx([r2_score(target, row) for row in said])


def test_means_elsewhere_are_those_of_a_loop():
    rng = RNG(1)
    values, target, fold = rng.integers(0, 6, 40), rng.normal(size=40), np.arange(40) % 3
    values[0] = 99  # which nobody else has
    expected = []
    for i in range(40):
        others = [j for j in range(40) if fold[j] != fold[i]]
        alike = [j for j in others if values[j] == values[i]] or others
        expected.append(np.mean(target[alike]))
    assert means_elsewhere(values, target, fold) == pytest.approx(expected)


def test_sets_are_columns_of_two_values():
    rng = RNG(2)
    member, target, fold = rng.random((5, 30)) < 0.3, rng.normal(size=30), np.arange(30) % 3
    member[0], member[1], member[2] = False, True, np.arange(30) == 4
    expected = np.stack([means_elsewhere(row.astype(int), target, fold) for row in member])
    assert means_elsewhere_of_sets(member, target, fold) == pytest.approx(expected)


def test_resampled_r2_is_that_of_the_drawn_samples():
    rng = RNG(3)
    target = rng.normal(size=30)
    said = target + rng.normal(size=30)
    counts = RNG(9).multinomial(30, np.full(30, 1 / 30), size=20)
    expected = [r2_score(np.repeat(target, count), np.repeat(said, count)) for count in counts]
    assert resampled_explained(said, target, RNG(9), 20) == pytest.approx(expected)


def test_the_p_value_is_exact_and_corrected():
    target, fold = RNG(4).normal(size=60), np.arange(60) % 3
    said = np.stack([target, np.full(60, target.mean()), -target])
    p, permuted, _ = held_out_correlation_test(said, target, fold, RNG(0), draws=99)
    assert p.tolist() == [pytest.approx(3 / 100), 1, 1], "perfect; constant; the wrong way round"
    assert permuted[0] == pytest.approx(-1, abs=0.25), "R² of values that are as spread and have nothing to do with it"
    assert permuted[1] == pytest.approx(0)


def test_the_mean_of_the_largest_is_that_of_a_loop():
    rng, fold = RNG(5), np.arange(30) % 3
    target, said = rng.normal(size=30), rng.normal(size=(4, 30))
    shuffled = np.zeros((20, 30))
    again = RNG(7)
    for part in range(3):
        own = target[fold == part]
        shuffled[:, fold == part] = again.permuted(np.broadcast_to(own, (20, 10)), axis=1)
    expected = np.array([[r2_score(row, one) for row in shuffled] for one in said])
    _, permuted, largest = held_out_correlation_test(said, target, fold, RNG(7), draws=20)
    assert permuted == pytest.approx(expected.mean(1))
    assert largest == pytest.approx(expected.max(0).mean())


@pytest.mark.parametrize("heavy", [False, True])
def test_noise_is_as_rarely_significant_as_it_should_be(heavy: bool):
    """Over 200 draws, ten columns of noise are found in no more than the level allows, also with heavy tails."""
    found = 0
    for seed in range(200):
        rng, fold = RNG([seed, 6]), np.arange(120) % 3
        target = rng.standard_t(1.5, 120) if heavy else rng.normal(size=120)
        said = np.stack([means_elsewhere(rng.integers(0, 5, 120), target, fold) for _ in range(10)])
        p, _, _ = held_out_correlation_test(said, target, fold, rng, draws=199)
        found += p.min() <= 0.05
    assert found <= binom.ppf(0.999, 200, 0.05)


def test_trees_do_not_see_what_they_say():
    rng = RNG(8)
    noise, target, fold = rng.normal(size=(90, 3)), rng.normal(size=90), np.arange(90) % 3
    assert explained(trees_elsewhere(noise, target, fold, 0)[None], target)[0] < 0.1
    told = trees_elsewhere(noise, noise[:, 0] * 3, fold, 0)
    assert explained(told[None], noise[:, 0] * 3)[0] > 0.7


# --- checks: no shortcut ----------------------------------------------------------------------------------------------


def few_notices(verdicts: list[str]) -> None:
    assert "alarm" not in verdicts
    assert len(verdicts) - verdicts.count("clear") <= binom.ppf(0.999, len(verdicts), 0.05)


def test_cues_and_columns_are_silent_on_noise():
    verdicts: list[str] = []
    for seed in range(40):
        rng = RNG([seed, 1])
        rows = pd.DataFrame({"place": rng.integers(0, 3, 150), "size": rng.normal(size=150)})
        data = with_rows(rng.normal(size=150), rows, rng.normal(size=(150, 4)).astype(np.float32))
        verdicts += [ask(check, data, seed=seed).verdict for check in (cues, columns)]
    few_notices(verdicts)


def test_words_are_silent_on_noise():
    verdicts = []
    for seed in range(20):
        rng = RNG([seed, 2])
        texts = [" ".join(rng.choice(list("abcdefghijklmnop"), 5)) for _ in range(200)]
        data = with_rows(rng.normal(size=200), pd.DataFrame({"text": texts}), text=("text",))
        verdicts.append(ask(words, data, seed=seed).verdict)
    few_notices(verdicts)


def test_a_cue_that_is_one_of_many_is_no_alarm():
    rng = RNG(3)
    x = rng.normal(size=(400, 8)).astype(np.float32)
    finding = ask(cues, Dataset.of(x, x.sum(1)))
    assert finding.verdict == "notice"
    assert finding.statistic < 0.3
    assert "says something about the target, not enough to live on" in finding.sentence.replace("say ", "says ")


# --- checks: a shortcut -----------------------------------------------------------------------------------------------


def test_a_leaking_column_is_found():
    rng = RNG(4)
    x = rng.normal(size=(300, 3)).astype(np.float32)
    y = 3 * x[:, 1] + 0.1 * rng.normal(size=300)
    finding = ask(cues, Dataset.of(x, y.astype(np.float32)), whole=0.98)
    assert (finding.verdict, finding.table[0]["cue"]) == ("alarm", "column 1")
    assert finding.table[0]["r2"] == pytest.approx(0.94, abs=0.05), "cut into tenths"
    assert finding.table[0]["rmse"] == pytest.approx(math.sqrt((1 - finding.table[0]["r2"]) * y.var()), rel=1e-3)
    assert finding.statistic == pytest.approx(finding.table[0]["r2"] / 0.98, rel=1e-6)
    assert "nearly decides the target: 'column 1' alone has R² 0.9" in finding.sentence
    assert "an ordinary model 0.98" in finding.sentence
    assert "accuracy" not in finding.sentence + finding.measure + finding.question


def test_a_place_beside_the_input_is_found():
    rng = RNG(5)
    place = rng.integers(0, 3, 300)
    data = with_rows(
        10.0 * place + rng.normal(size=300), pd.DataFrame({"place": place, "coin": rng.integers(0, 2, 300)})
    )
    finding = ask(columns, data)
    assert (finding.verdict, [row["column"] for row in finding.table]) == ("alarm", ["place", "coin"])
    assert "'place' alone has R² 0.9" in finding.sentence
    assert "nearly decides 'y'" in finding.sentence


def test_brightness_is_found_in_pictures():
    rng = RNG(6)
    light = rng.integers(50, 200, 200)
    x = (light[:, None, None, None] + rng.integers(-40, 40, (200, 3, 8, 8))).astype(np.uint8)
    finding = ask(cues, Dataset.of(x, light.astype(np.float32) / 10), whole=0.95)
    assert finding.verdict == "alarm"
    assert finding.table[0]["cue"] in ("brightness", "mean colour")


def test_a_word_is_found_and_one_of_several_columns_is_named():
    rng = RNG(7)
    warm = rng.integers(0, 2, 300)
    texts = [("warm " if hot else "") + " ".join(rng.choice(["the", "day", "was", "long"], 3)) for hot in warm]
    y = 20.0 * warm + rng.normal(size=300)
    finding = ask(words, with_rows(y, pd.DataFrame({"text": texts}), text=("text",)))
    assert (finding.verdict, finding.table[0]["word"]) == ("alarm", "warm")
    assert finding.table[0]["r2"] == pytest.approx(1 - 1 / y.var(), abs=0.02)
    rows = pd.DataFrame({"title": ["day"] * 300, "text": texts})
    assert ask(words, with_rows(y, rows, text=("title", "text"))).table[0]["word"] == "warm (text)"


def test_nothing_to_compare_is_no_finding():
    data = Dataset.of(torch.zeros(40, 2), torch.rand(40))
    for check in (cues, columns, words):
        assert check(view_of(data), cast(Any, SimpleNamespace(explained=lambda target: 0.5)), {}) is None


# --- the whole --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def leaking() -> Any:
    rng = RNG(8)
    x = rng.normal(size=(240, 4)).astype(np.float32)
    rows = pd.DataFrame({"site": np.where(x[:, 0] > 0, "north", "south")})
    y = 50 + 4 * x[:, 0] + 0.3 * x[:, 1]
    return audit(with_rows(y, rows, x), net="mlp:hidden=16")


def test_a_leak_is_the_headline_and_the_preface_comes_first(leaking: Any, tmp_path: Path):
    assert leaking.verdict == "alarm"
    assert "the cue 'column 0' alone" in leaking.headline
    assert leaking.headline.endswith("gives 'y' away.") or leaking.headline.endswith("give 'y' away.")
    assert leaking.preface.startswith("'y' was cut into 4 parts of about equal size (")
    assert "selecmix" not in leaking.advice, "which learns no numbers"
    assert {finding.name for finding in leaking.findings} >= {"learned", "columns", "cues"}
    assert not {"order", "noise"} & {finding.name for finding in leaking.findings}
    record = folder.write(leaking, tmp_path / "a", data="toy", command="longcut audit toy")
    assert (record["task"], record["preface"]) == ("regression", leaking.preface)
    text = report.write([tmp_path / "a"], tmp_path / "page.html").read_text("utf-8")
    assert "was cut into 4 parts" in text
    assert "4 parts of the target" in text


def test_an_ordinary_model_learns_the_numbers_without_having_seen_them(leaking: Any):
    target = leaking.view.target
    assert leaking.judged.explained(target) == pytest.approx(r2_score(target, leaking.judged.numbers))
    assert leaking.judged.explained(target) > 0.9


def test_noise_is_clear():
    rng = RNG(9)
    found = audit(Dataset.of(rng.normal(size=(120, 3)).astype(np.float32), rng.normal(size=120).astype(np.float32)))
    assert found.verdict == "clear"
    assert found.judged.explained(found.view.target) < 0.1
    assert found.headline == "No shortcut was found."


def test_large_data_is_audited_by_a_sample(monkeypatch: pytest.MonkeyPatch):
    from longcut.audit import whole

    data = Dataset.of(torch.rand(1000, 2), torch.arange(1000.0))
    view = whole._view(data, 0.05, 0, 200)
    assert np.bincount(view.label).tolist() == [50] * 4
    assert torch.equal(view.data.index, cast(Dataset, view.original).index)
    assert np.array_equal(view.target, view.data.index.numpy())
