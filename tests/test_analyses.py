"""The analyses: each number against a naive count, a closed form or scikit-learn."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from helpers import entry_of
from torch import Tensor
from torch.nn import functional as F

from longcut import nets, runs
from longcut.analyses import (
    bias_accuracy,
    curve,
    pair_cosines,
    partner_share,
    similarity_traces,
    tsne,
    varied,
)
from longcut.contrast import generalized_supervised_contrastive
from longcut.data import Dataset, Splits, generator
from longcut.datasets import DATASETS
from longcut.door import Door
from longcut.errors import UserError
from longcut.evaluate import Scores
from longcut.execute import execute
from longcut.methods import build
from longcut.methods.erm import ERM
from longcut.plans import plan
from longcut.record import Best, Judged, Plan, Record
from longcut.training import Training

# --- cosines of pairs -------------------------------------------------------------------------------------------------


def naive(z: Tensor, label: Tensor, attribute: Tensor) -> dict[str, float]:
    """The four means by a double loop over pairs of different samples."""
    names = {
        (True, True): "positives",
        (True, False): "contradicting_positives",
        (False, True): "contradicting_negatives",
        (False, False): "negatives",
    }
    found: dict[str, list[float]] = {name: [] for name in names.values()}
    for i in range(len(z)):
        for j in range(len(z)):
            if i != j:
                kind = names[bool(label[i] == label[j]), bool(attribute[i] == attribute[j])]
                found[kind].append(float(z[i] @ z[j] / (z[i].norm() * z[j].norm())))
    return {name: sum(values) / len(values) if values else math.nan for name, values in found.items()}


def test_cosines_are_those_of_a_double_loop():
    draw = generator(1)
    z = 3 * torch.randn(25, 4, generator=draw) + 1
    label, attribute = (torch.randint(k, (25,), generator=draw) for k in (3, 2))
    assert pair_cosines(z, label, attribute) == pytest.approx(naive(z, label, attribute), abs=1e-6)


def test_a_kind_without_pairs_is_not_a_number():
    found = pair_cosines(torch.eye(3), torch.tensor([0, 0, 1]), torch.tensor([0, 0, 1]))
    assert found["positives"] == found["negatives"] == 0
    assert math.isnan(found["contradicting_positives"])
    assert math.isnan(found["contradicting_negatives"])


# --- traces -----------------------------------------------------------------------------------------------------------


def images(n: int = 40, attribute: bool = True) -> Dataset:
    """Two classes of noisy images whose brightness is the attribute; every fifth contradicts."""
    label = torch.arange(n) % 2
    value = (label + (torch.arange(n) % 5 == 0)) % 2
    x = 100 * torch.rand(n, 3, 8, 8, generator=generator(2)) + 120 * value.view(-1, 1, 1, 1)
    return Dataset.of(x.to(torch.uint8), label, value if attribute else None, name="toy", aligned=(0, 1))


@pytest.mark.parametrize(("contrast", "scale"), [("gsc", "paper"), ("gsc", "code"), ("sc", "paper")])
def test_a_trace_is_that_of_a_plain_loop(contrast: Any, scale: Any):
    """One pool of 40, in minibatches of 16, 16 and 8; nothing is looked at in between."""
    data, seed = images(), 3
    settings: dict[str, Any] = {"epochs": 2, "batch": 16, "lr": 0.01, "temperature": 0.3, "q": 0.5, "seed": seed}
    found = similarity_traces(data, contrast=contrast, scale=scale, **settings)

    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(generator(seed, 4).initial_seed())
        net = nets.build("tiny", data.info, 128)
    adam = torch.optim.Adam(net.parameters(), 0.01, weight_decay=1e-4, fused=True)
    assert data.attribute is not None

    def seen() -> dict[str, float]:
        net.eval()
        with torch.no_grad():
            z = net(data.gather(torch.arange(40)))
        net.train()
        assert data.attribute is not None
        return naive(z, data.label, data.attribute)

    expected = [seen()]
    for epoch in range(2):
        for rows in torch.randperm(40, generator=generator(seed, epoch, 0)).split(16):
            z = F.normalize(net(data.gather(rows)), dim=1)
            loss = generalized_supervised_contrastive(
                z, data.label[rows], 0.3, 0.5 if contrast == "gsc" else 0, scale=scale, reduction="mean"
            )
            adam.zero_grad()
            loss.backward()
            adam.step()
        expected.append(seen())
    assert found["epoch"].tolist() == [0, 1, 2]
    for row, (_, got) in zip(expected, found.iterrows(), strict=True):
        assert got.drop("epoch").to_dict() == pytest.approx(row, abs=1e-4)


def test_the_same_samples_are_looked_at_at_every_epoch():
    found = similarity_traces(images(), epochs=2, batch=40, lr=1e-12, sample=12, net="mlp:hidden=4")
    whole = similarity_traces(images(), epochs=1, batch=40, lr=1e-12, sample=99, net="mlp:hidden=4")
    values = found.drop(columns="epoch").to_numpy()
    assert np.allclose(values, values[0], atol=1e-7)
    assert not np.allclose(values[0], whole.drop(columns="epoch").to_numpy()[0], atol=1e-7)


def test_a_trace_says_how_far_it_is_and_leaves_the_callers_random_state():
    state, told = torch.get_rng_state(), []
    similarity_traces(images(), epochs=2, net="mlp:hidden=4", progress=lambda *now: told.append(now))
    assert told == [(0, 2), (1, 2), (2, 2)]
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"contrast": "gcs"}, "unknown contrast 'gcs': did you mean 'gsc'"),
        ({"sample": 1}, "sample=1; give at least 2"),
        ({"epochs": 0}, "a trace of similarities: epochs=0 is not allowed"),
        ({"temperature": 0.0}, "the contrastive temperature is 0.0"),
    ],
)
def test_what_a_trace_refuses(settings: dict[str, Any], message: str):
    with pytest.raises(UserError, match=message):
        similarity_traces(images(), **{"epochs": 1, **settings})


def test_a_trace_needs_the_attribute():
    with pytest.raises(UserError, match=r"a trace of similarities needs the attribute .*, but toy has none"):
        similarity_traces(images(attribute=False))


# --- what a biased model knows ----------------------------------------------------------------------------------------


class Told(ERM):
    """Its biased model says what the first columns of x say: three for the label, then three for the attribute."""

    def __init__(self, info, seen: slice | None, said: slice | None = None):
        super().__init__(lambda: nets.build("mlp:hidden=4", info), info)
        self.seen, self.said = seen, said
        self.asked = 0

    def embedding(self, x):
        assert not self.training
        self.asked += len(x)
        return None if self.seen is None else x[:, self.seen]

    def biased_logits(self, x):
        assert not self.training
        return None if self.said is None else x[:, self.said]


LABEL, ATTRIBUTE, ALL = slice(0, 3), slice(3, 6), slice(0, 6)


def told(label: Tensor, attribute: Tensor | None, **info: Any) -> Dataset:
    shown = torch.zeros(len(label)).long() if attribute is None else attribute
    x = torch.cat([F.one_hot(label, 3), F.one_hot(shown, 3)], 1).float()
    return Dataset.of(x, label, attribute, name="told", **{"n_attributes": 3, "aligned": (1, 2, 0), **info})


def train_set() -> Dataset:
    """30 of each class, 27 of which have the attribute that goes with it: 1, 2, 0."""
    label = torch.arange(90) % 3
    return told(label, (label + 1 + (torch.arange(90) >= 81)) % 3)


def test_set() -> Dataset:
    """40 samples, 12 of which agree with the shortcut."""
    label = torch.arange(40) % 3
    return told(label, (label + 1 + (torch.arange(40) >= 12)) % 3)


test_set.__test__ = False  # type: ignore[attr-defined]


def known(seen: slice | None, said: slice | None = None, **options: Any) -> dict[str, float | None]:
    return bias_accuracy(Told(train_set().info, seen, said), train_set(), test_set(), **options)


def test_the_probe_reads_the_attribute_where_it_is_and_is_misled_where_only_the_label_is():
    assert known(ATTRIBUTE) == {"probe": 1.0, "head": None}
    assert known(LABEL) == {"probe": 12 / 40, "head": None}


def test_the_heads_class_stands_for_the_attribute_that_goes_with_it():
    assert known(None, LABEL) == {"probe": None, "head": 12 / 40}
    # classes 0, 1, 2 where the attribute is 1, 2, 0: what goes with the class is the attribute
    inverse = Told(train_set().info, None)
    inverse.biased_logits = lambda x: x[:, ATTRIBUTE].roll(-1, 1)  # type: ignore[method-assign]
    assert bias_accuracy(inverse, train_set(), test_set()) == {"probe": None, "head": 1.0}


def test_the_probe_is_scikit_learns_on_standardised_features():
    from sklearn.linear_model import LogisticRegression

    draw = generator(5)
    train, test = (
        Dataset.of(
            torch.randn(200, 5, generator=draw) * torch.tensor([1, 100, 1, 0.01, 1]) + 7,
            torch.arange(200) % 3,
            torch.randint(3, (200,), generator=draw),
            name="noise",
        )
        for _ in range(2)
    )
    assert train.attribute is not None
    assert test.attribute is not None
    x = np.asarray(train.x, dtype=np.float64)
    mean, deviation = x.mean(0), x.std(0)
    oracle = LogisticRegression(max_iter=1000).fit((x - mean) / deviation, train.attribute)
    score = oracle.score((np.asarray(test.x, dtype=np.float64) - mean) / deviation, test.attribute)
    assert bias_accuracy(Told(train.info, slice(None)), train, test)["probe"] == pytest.approx(score, abs=0.011)


def test_no_more_samples_are_embedded_than_the_limit_and_the_test_set():
    train, test = train_set(), test_set()
    method = Told(train.info, ATTRIBUTE).train()
    bias_accuracy(method, train, test, limit=15)
    assert method.asked == 15 + 40 + 2, "and one sample each, to see whether there is an embedding"
    assert method.training


def test_where_nothing_can_be_said():
    assert known(None) == {"probe": None, "head": None}
    one_value = told(torch.arange(9) % 3, torch.ones(9).long())
    assert bias_accuracy(Told(one_value.info, ALL), one_value, test_set())["probe"] is None
    unknown = told(torch.arange(9) % 3, torch.arange(9) // 3, aligned=())
    assert bias_accuracy(Told(unknown.info, ATTRIBUTE, LABEL), unknown, unknown) == {"probe": 1.0, "head": None}
    broken = Told(train_set().info, ALL)
    broken.embedding = lambda x: x / 0  # type: ignore[method-assign]
    assert bias_accuracy(broken, train_set(), test_set())["probe"] is None


def test_the_accuracy_of_a_biased_model_needs_both_attributes():
    bare = told(torch.arange(9) % 3, None, n_attributes=0)
    for sets in ((bare, test_set()), (train_set(), bare)):
        with pytest.raises(UserError, match="the accuracy of a biased model needs the attribute"):
            bias_accuracy(Told(train_set().info, ALL), *sets)


def blobs(*, attribute: bool = True, seed: int = 0) -> Splits:
    """Two classes of 4-vectors; of the 40 to train on, every fifth contradicts."""

    def draw(n: int, number: int) -> Dataset:
        label = torch.arange(n) % 2
        x = torch.randn(n, 4, generator=generator(seed, number)) + label[:, None]
        value = (label + (torch.arange(n) % 5 == 0)) % 2
        return Dataset.of(x, label, value if attribute else None, name="blobs", aligned=(0, 1) if attribute else ())

    return Splits(draw(40, 0), None, draw(20, 2))


@pytest.fixture
def small_data(monkeypatch: pytest.MonkeyPatch) -> None:
    small, bare = {"epochs": 1, "batch": 16, "net": "mlp:hidden=4"}, {"function": lambda: blobs(attribute=False)}
    monkeypatch.setitem(DATASETS.own, "blobs", entry_of(function=lambda: blobs(), training=small, options={}))
    monkeypatch.setitem(DATASETS.own, "bare", SimpleNamespace(**bare, training=small, options={}))


@pytest.mark.parametrize(("method", "parts"), [("erm", set()), ("lff", {"probe", "head"}), ("selecmix", {"probe"})])
def test_a_finished_run_says_what_its_biased_model_knows(method: str, parts: set[str], small_data: None):
    record = execute(plan("blobs", method))
    assert record.conflicting_share == 8 / 40
    assert (record.bias is not None) == bool(parts)
    assert {part for part, value in (record.bias or {}).items() if not math.isnan(value)} == parts
    bare = execute(plan("bare", method))
    assert bare.bias is bare.conflicting_share is None


def test_the_run_asks_of_its_own_sets_with_its_own_seed(small_data: None, monkeypatch: pytest.MonkeyPatch):
    asked: list[Any] = []

    def answer(method, train, test, **options):
        asked.append((method.name, len(train), len(test), options["seed"]))
        return {"probe": None, "head": 0.25}

    monkeypatch.setattr("longcut.execute.bias_accuracy", answer)
    record = execute(plan("blobs", "lff", seed=7))
    assert asked == [("lff", 40, 20, 7)]
    assert record.bias == pytest.approx({"probe": math.nan, "head": 0.25}, nan_ok=True)


# --- maps -------------------------------------------------------------------------------------------------------------


def test_a_map_keeps_groups_apart_and_is_the_same_each_time():
    rng = np.random.default_rng(0)
    group = np.repeat([0, 1], 20)
    z = rng.normal(size=(40, 6)) + 50 * group[:, None]
    place = tsne(z)
    distance = np.linalg.norm(place[:, None] - place[None], axis=2) + np.eye(40) * 1e9
    assert place.shape == (40, 2)
    assert (group[distance.argmin(1)] == group).all()
    assert np.array_equal(tsne(z), place)
    assert tsne(z[:5], perplexity=30).shape == tsne(z[:5, :1]).shape == (5, 2)


def test_what_a_map_refuses():
    for bad in (np.zeros((3, 2)), np.zeros(9)):
        with pytest.raises(UserError, match="is no map; give"):
            tsne(bad)
    with pytest.raises(UserError, match="holds a value that is not finite"):
        tsne(np.full((9, 2), np.nan))


# --- curves -----------------------------------------------------------------------------------------------------------


def run_of(
    average: float,
    best: float = 0.9,
    *,
    data: str = "colored-digits",
    method: str = "selecmix",
    label: str = "",
    options: Mapping[str, Any] | None = None,
    seed: int = 0,
    status: str = "done",
    **fields: Any,
) -> runs.Run:
    how: dict[str, Any] = {"net": "mlp", "training": Training(epochs=3), "select": "last", **fields}
    planned = Plan(data, seed, method, label or method, options or {}, seed=seed, **how)
    judged = Judged(Scores({"average": average}, {}, [], 10))
    return runs.Run(Path(), Record(1, status, planned, "f", {}, scores=judged, best=Best(1, best)), Door(Path(), ""))


def test_a_curve_over_data_that_was_changed_is_refused():
    first, second = (run_of(0.5, seed=seed, data="colored-digits:noise=0.2") for seed in (0, 0))
    changed = runs.Run(second.folder, replace(second.record, fingerprint="another"), second.door)
    with pytest.raises(UserError, match="but the data was changed between them"):
        curve([first, changed], "noise")


def test_a_curve_over_the_data_has_mean_and_deviation_and_defaults():
    found = [
        run_of(0.6, 0.7, seed=0),  # the default ratio is 0.05
        run_of(0.8, 0.9, seed=1),
        run_of(0.5, 0.5, data="colored-digits:ratio=0.01"),
        run_of(0.3, 0.4, data="colored-digits:ratio=0.01", method="erm"),
    ]
    table = curve(found, "ratio")
    assert table.columns.tolist() == [
        "method", "ratio", "runs", "average", "average_sd", "best_average", "best_average_sd"
    ]  # fmt: skip
    rows = [tuple(row) for row in table.itertuples(index=False)]
    deviation = 0.2 / math.sqrt(2)
    assert [row[:3] for row in rows] == [("selecmix", 0.01, 1), ("selecmix", 0.05, 2), ("erm", 0.01, 1)]
    assert rows[1][3:] == pytest.approx((0.7, deviation, 0.8, deviation))
    assert (rows[0][3], rows[0][5]) == (0.5, 0.5)
    assert math.isnan(rows[0][4])
    assert math.isnan(rows[0][6])


def test_a_curve_over_an_option_of_a_method():
    found = [
        run_of(0.7, options={"auxiliary_steps": 5}, label="selecmix:auxiliary_steps=5"),
        run_of(0.8, method="erm"),  # has no such option
        run_of(0.6),  # the default is 200
        run_of(0.5, options={"auxiliary_steps": 1000}),
    ]
    table = curve(found, "auxiliary_steps")
    assert table["method"].tolist() == ["selecmix"] * 3
    assert table["auxiliary_steps"].tolist() == [5, 200, 1000]
    assert table["average"].tolist() == [0.7, 0.6, 0.5]


def test_lines_of_one_label_are_told_apart_by_what_differs():
    found = [run_of(0.5, options={"contrast": c, "q": q}) for c in ("gsc", "sc") for q in (0.5, 0.6)]
    found.append(run_of(0.5, select="oracle", label="mine", options={"q": 0.5}))
    assert curve(found, "q")["method"].tolist() == [
        *["selecmix (contrast=gsc)"] * 2, *["selecmix (contrast=sc)"] * 2, "mine"
    ]  # fmt: skip


def test_runs_that_do_not_count_in_a_curve():
    found = [
        run_of(0.5),
        run_of(0.5),  # there twice
        run_of(0.9, status="running", seed=1),
        run_of(0.9, data="folder-of-old:ratio=0.5"),  # a data set that is not known here
        run_of(0.9, method="toy", options={"ratio": 0.5}, data="own"),
    ]
    assert curve(found, "ratio")["runs"].tolist() == [1]
    assert curve([run_of(math.nan, math.nan)], "ratio")["average"].isna().tolist() == [True]


def test_a_run_that_is_older_than_a_setting_had_its_default():
    plain = run_of(0.5).record.plan.to_dict()
    del plain["training"]["augment"]
    older = run_of(0.5)
    older = replace(older, record=replace(older.record, plan=Plan.from_dict(plain)))
    found = [older, run_of(0.7, seed=1)]
    assert curve(found, "ratio")["runs"].tolist() == [2]


def test_an_option_that_no_run_has():
    with pytest.raises(UserError, match="unknown option of these runs 'ratoi': did you mean 'ratio'"):
        curve([run_of(0.5)], "ratoi")
    with pytest.raises(UserError, match="unknown option of these runs 'lr'"):
        curve([run_of(0.5)], "lr")
    with pytest.raises(UserError, match="Known: none"):
        curve([], "ratio")


def test_options_that_vary_alone():
    assert varied([run_of(0.5), run_of(0.5, seed=1)]) == []
    assert varied([run_of(0.5), run_of(0.5, data="colored-digits:ratio=0.1")]) == ["ratio"]
    assert varied([run_of(0.5), run_of(0.5, options={"q": 0.5})]) == ["q"]
    assert varied([run_of(0.5), run_of(0.5, options={"q": 0.5, "within": 0.5})]) == [], "two at once"
    assert varied([run_of(0.5), run_of(0.5, options={"mode": "A"})]) == [], "a word is no place on an axis"
    assert varied([run_of(0.5), run_of(0.5, training=Training(epochs=9))]) == [], "not of data or method"
    assert varied([run_of(0.5, method="erm"), run_of(0.5, data="colored-digits:ratio=0.1")]) == []


# --- partners ---------------------------------------------------------------------------------------------------------


def test_the_share_of_conflicting_partners_by_run_and_epoch(tmp_path: Path):
    found = []
    for seed, shares in enumerate(([0.5, None], [0.25])):
        folder = tmp_path / str(seed)
        folder.mkdir()
        rows = [{"epoch": i + 1, "conflicting_partners": share} for i, share in enumerate(shares)]
        (folder / "history.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        record = replace(run_of(0.5, seed=seed, label="mine").record, conflicting_share=0.02 if seed else None)
        found.append(runs.Run(folder, record, Door(folder, "")))
    table = partner_share(found)
    assert table[["method", "seed", "epoch"]].to_numpy().tolist() == [["mine", 0, 1], ["mine", 0, 2], ["mine", 1, 1]]
    assert table["share"].tolist() == pytest.approx([0.5, math.nan, 0.25], nan_ok=True)
    assert table["base"].tolist() == pytest.approx([math.nan, math.nan, 0.02], nan_ok=True)


def test_runs_without_partners_have_no_rows():
    table = partner_share([run_of(0.5)])
    assert len(table) == 0
    assert table.columns.tolist() == ["method", "seed", "epoch", "share", "base"]


def test_a_method_without_a_biased_model_is_asked_in_vain():
    data = blobs()
    assert bias_accuracy(build("erm", data.info), data.train, data.test) == {"probe": None, "head": None}
