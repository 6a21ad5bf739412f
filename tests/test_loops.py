"""What other people's loops pass around and get back: dicts, tuples, targets, weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn import CrossEntropyLoss
from torch.nn import functional as F
from typer.testing import CliRunner

from longcut import Batch, Mix, load, mixing, runs
from longcut.cli import app
from longcut.errors import UserError
from longcut.execute import execute
from longcut.mixing import Target
from longcut.plans import plan
from longcut.weights import sample_weights

MIX = Mix(mixing.anyone(), mixing.beta(1.0), mixing.linear, mixing.proportional)
X, LABEL, ATTRIBUTE = torch.rand(6, 4), torch.tensor([0, 1, 2, 0, 1, 2]), torch.tensor([0, 0, 1, 1, 0, 1])


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(3)


# --- what is given ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given",
    [
        (X, LABEL),
        [X, LABEL],
        {"x": X, "label": LABEL},
        {"pixel_values": X, "labels": LABEL, "attention_mask": None, "name": ["a"] * 6},
        {"inputs_embeds": X, "labels": LABEL},
    ],
    ids=["tuple", "list", "dict", "pixels", "embeddings"],
)
def test_tuples_and_dicts_are_mixed_as_batches_are(given):
    want, got = MIX(Batch(X, LABEL), generator=generator()), MIX(given, generator=generator())
    assert torch.equal(got.x, want.x) and torch.equal(got.target.soft(3), want.target.soft(3))
    assert not torch.equal(got.x, X)
    pooled = MIX(given, given, generator())
    assert torch.equal(pooled.x, MIX(Batch(X, LABEL), Batch(X, LABEL), generator()).x)


def test_a_third_column_is_the_attribute():
    rule = Mix(mixing.same_label(other_attribute=True), mixing.uniform(0, 0), mixing.linear, mixing.own)
    want = rule(Batch(X, LABEL, ATTRIBUTE), generator=generator())
    for given in ((X, LABEL, ATTRIBUTE), {"x": X, "labels": LABEL, "attribute": ATTRIBUTE}):
        assert torch.equal(rule(given, generator=generator()).x, want.x)
    batch = Batch.of((X, LABEL, None, torch.arange(6)))
    assert batch.attribute is None and batch.index is not None


def test_what_is_no_batch_is_said():
    with pytest.raises(UserError, match=r"a batch was given as x, y; give a Batch, \(x, label\)"):
        MIX({"x": X, "y": LABEL})
    with pytest.raises(UserError, match="a batch was given as an empty dict"):
        MIX({})
    with pytest.raises(UserError, match="a batch was given as Tensor"):
        MIX(X)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="a batch was given as tuple"):
        MIX((X,))


# --- the target -------------------------------------------------------------------------------------------------------


def test_cross_entropy_takes_a_target_as_its_two_terms():
    logits = torch.randn(6, 3, dtype=torch.float64, generator=generator(), requires_grad=True)
    share, a, b = torch.rand(6), torch.rand(6) + 0.5, torch.rand(6) + 0.5
    target = Target(LABEL, LABEL.flip(0), share, a, b)
    log_p = logits.log_softmax(1)
    each = [
        -(a[i] * share[i] * log_p[i, LABEL[i]] + b[i] * (1 - share[i]) * log_p[i, LABEL[5 - i]]).item()
        for i in range(6)
    ]
    got = F.cross_entropy(logits, target, reduction="none")  # type: ignore[arg-type]
    assert got.tolist() == pytest.approx(each, rel=1e-6)
    assert F.cross_entropy(input=logits, target=target).item() == pytest.approx(np.mean(each), rel=1e-6)  # type: ignore[arg-type]
    loss = CrossEntropyLoss(label_smoothing=0.1)(logits, target)
    assert loss.item() == pytest.approx(F.cross_entropy(logits, target.soft(3).double(), label_smoothing=0.1).item())
    loss.backward()
    assert logits.grad is not None and bool(logits.grad.abs().sum() > 0)


def test_no_other_function_takes_one():
    target = Target(LABEL, LABEL, torch.ones(6), torch.ones(6), torch.ones(6))
    with pytest.raises(TypeError, match="nll_loss"):
        F.nll_loss(torch.randn(6, 3), target)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="cross_entropy"):
        F.cross_entropy(target, LABEL)  # type: ignore[arg-type]


# --- weights ----------------------------------------------------------------------------------------------------------


def test_chosen_and_others_of_each_class_weigh_the_same(tmp_path: Path):
    execute(plan("colored-digits", "jtt", settings={"epochs": 1, "helper_epochs": 3}), tmp_path / "run")
    frame: Any = sample_weights(tmp_path / "run")
    found = runs.read(tmp_path / "run").identification()
    assert frame["chosen"].tolist() == found["chosen"][found["index"]].tolist()
    assert frame["index"].tolist() == load("colored-digits").train.index.tolist()
    weight = frame.groupby(["label", "chosen"])["weight"].sum()
    assert len(weight) > 2
    assert weight.to_numpy() == pytest.approx(len(frame) / len(weight))
    assert frame["weight"].mean() == pytest.approx(1)
    assert frame["weight"].equals(sample_weights(runs.read(tmp_path / "run"))["weight"])


@pytest.mark.parametrize("method", ["gerne", "ula"])
def test_under_the_weights_of_found_values_they_say_nothing_of_the_label(method: str, tmp_path: Path):
    execute(plan("colored-digits", method, settings={"epochs": 1}), tmp_path / "run")
    frame: Any = sample_weights(tmp_path / "run")
    counts: Any = pd.crosstab(frame["label"], frame["shortcut"])
    shares: Any = pd.crosstab(frame["label"], frame["shortcut"], frame["weight"], aggfunc="sum", normalize="index")
    assert frame["weight"].mean() == pytest.approx(1)
    full = (counts > 0).all(axis=1)
    if full.sum() > 1:  # classes that have every value
        assert np.ptp(shares[full].to_numpy(), axis=0).max() < 1e-6


def test_an_audit_has_weights_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    rows = [f"{i % 2 + (i * 7 % 13) / 9},{(i % 2 if i % 10 else 1 - i % 2)},{i % 2}" for i in range(400)]
    (tmp_path / "odd.csv").write_text("\n".join(["u,light,kind", *rows]))
    done = CliRunner().invoke(app, ["audit", "odd.csv", "--label", "kind", "--out", "found"])
    assert done.exit_code == 0, done.output
    frame: Any = sample_weights(tmp_path / "found")
    assert list(frame) == ["index", "label", "shortcut", "weight"]
    assert len(frame) and frame["weight"].mean() == pytest.approx(1)
    held = frame.groupby("label")["weight"].sum() / frame["label"].value_counts()
    assert held.to_numpy() == pytest.approx(1, rel=1e-5), "classes weigh what they did"
    done = CliRunner().invoke(app, ["weights", "found", "-o", "weights.csv"])
    assert done.exit_code == 0, done.output
    assert len(pd.read_csv("weights.csv")) == len(frame)
