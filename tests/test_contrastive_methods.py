"""Methods that learn by contrast: their losses by hand, what reaches which encoder, and the probes at the end."""

from __future__ import annotations

import dataclasses
import io
import math
from typing import Any

import numpy as np
import pytest
import torch
from helpers import context
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler
from torch import Tensor
from torch.nn import functional as F

from longcut import contrast
from longcut.analyses import knn_probe, linear_probe
from longcut.context import calling
from longcut.data import Batch, Dataset, Splits, generator
from longcut.errors import UserError
from longcut.execute import execute
from longcut.fit import Training, fit
from longcut.methods import build
from longcut.methods.contrastive.simclr import SimCLR
from longcut.methods.last_layer.heads import Scaler, features_of, linear_head, logistic
from longcut.plans import plan
from longcut.record import Record
from longcut.runs import read

FOUR = ("simclr", "dcl", "hcl", "wcl")
QUICK = Training(epochs=2, batch=16, pool=1, lr=1e-2)


def blobs(n: int = 96, seed: int = 0, classes: int = 2) -> Dataset:
    """Classes that lie apart in the first of six columns; the second column shows an attribute."""
    label = torch.arange(n) % classes
    attribute = (torch.arange(n) % 8 < 2).long()
    x = torch.randn(n, 6, generator=generator(seed, 9))
    x[:, 0] += 4 * label
    x[:, 1] += 3 * attribute
    return Dataset.of(x, label, attribute, name="blobs", aligned=(0,) * classes)


def splits() -> Any:
    return Splits(blobs(), blobs(40, 1), blobs(60, 2))


def made(name: str, data: Dataset, **options: Any) -> Any:
    method = build(name, data.info, net="mlp:hidden=12", options=options)
    method.context = context(data, seed=3)
    return method


def views_and_projections(method: Any, batch: Batch) -> tuple[Tensor, Tensor]:
    x = method.views(torch.cat([batch.x, batch.x]), generator(3))
    return x, method.projection(method.net.features(x))


# --- losses -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FOUR)
def test_the_loss_is_that_of_two_fresh_views(name):
    data = blobs()
    method, batch = (
        made(name, data, temperature=0.4, **({} if name == "simclr" else {"tau": 0.05})),
        data.batch(torch.arange(20)),
    )
    loss, logs = method.loss(batch)
    x, z = views_and_projections(method, batch)
    assert not torch.equal(x[:20], x[20:]) and not torch.equal(x[:20], batch.x)
    if name == "simclr":
        expected = contrast.simclr_loss(z, 0.4)
        assert logs == {}
    elif name == "wcl":
        biased = method.biased(x)
        weight = contrast.difficulty_weight(z, biased)
        triplet = contrast.contrastive_triplet(biased, 0.05)
        expected = contrast.weighted_contrastive(z, weight, 0.4, 0.05) + triplet
        negative = torch.arange(40)[:, None] % 20 != torch.arange(40) % 20
        torch.testing.assert_close(logs["weight"], weight[negative].mean())
        torch.testing.assert_close(logs["triplet"], triplet.detach())
    else:
        expected = contrast.hard_contrastive(z, 0.4, 0.05, 1.0 if name == "hcl" else 0.0)
    torch.testing.assert_close(loss, expected)
    if name != "simclr":
        assert logs["clamped"] == contrast.anchor_losses(z, 0.4, 0.05).clamped.float().mean()


def test_the_share_at_the_floor_is_logged():
    data = blobs()
    batch = data.batch(torch.arange(40))
    assert made("dcl", data, tau=0.99, views="feature-noise").loss(batch)[1]["clamped"] > 0.8
    assert made("dcl", data, tau=1e-4).loss(batch)[1]["clamped"] == 0


@pytest.mark.parametrize("name", FOUR)
def test_labels_are_not_looked_at_before_the_probe(name):
    data = splits()
    label = torch.where(torch.arange(96) < 40, 1 - data.train.label, data.train.label)
    wrong = dataclasses.replace(data.train, label=label)
    one, other = (
        fit(made(name, data.train), dataclasses.replace(data, train=train), QUICK).method
        for train in (data.train, wrong)
    )
    states = [
        {key: value for key, value in method.state_dict().items() if not key.startswith("net.head")}
        for method in (one, other)
    ]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert not torch.equal(one.net.head.weight, other.net.head.weight)


@pytest.mark.parametrize("form", ["paper", "released", "released-distance"])
def test_each_encoder_learns_from_its_own_loss_alone(form):
    data = blobs()
    batch = data.batch(torch.arange(24))
    method = made("wcl", data, weight=form)
    method.loss(batch)[0].backward()
    x, z = views_and_projections(method, batch)
    own = torch.autograd.grad(contrast.contrastive_triplet(method.biased(x), 0.1), [*method.biased.parameters()])
    for parameter, alone in zip(method.biased.parameters(), own, strict=True):
        torch.testing.assert_close(parameter.grad, alone)
    kind = {
        "paper": ("distance", "batch-max"),
        "released": ("similarity", "row"),
        "released-distance": ("squared", "row"),
    }
    weight = contrast.difficulty_weight(z, method.biased(x), *kind[form])  # type: ignore[arg-type]
    main = [*method.net.stages.parameters(), *method.projection.parameters()]
    for parameter, alone in zip(main, torch.autograd.grad(contrast.weighted_contrastive(z, weight), main), strict=True):
        torch.testing.assert_close(parameter.grad, alone)


def test_the_options_of_the_triplet_loss():
    data = blobs()
    batch = data.batch(torch.arange(24))
    values = {}
    for options in ({}, {"triplet_debiased": False}, {"reduction": "sum"}):
        values[str(options)] = float(made("wcl", data, tau=0.2, **options).loss(batch)[1]["triplet"])
    plain, alone, summed = values.values()
    assert plain == pytest.approx(alone / 0.8)
    biased = made("wcl", data)
    z = biased.biased(views_and_projections(biased, batch)[0])
    assert summed == pytest.approx(float(contrast.contrastive_triplet(z, 0.2, negatives="sum").detach()), rel=1e-5)


def test_the_biased_encoder_has_its_own_learning_rate():
    method = made("wcl", blobs(), biased_lr=0.5)
    main, biased = method.optimizers(Training(lr=0.1))
    assert main.param_groups[0]["lr"] == 0.1 and biased.param_groups[0]["lr"] == 0.5
    assert {id(p) for p in biased.param_groups[0]["params"]} == {id(p) for p in method.biased.parameters()}
    assert len(main.param_groups[0]["params"]) + len(biased.param_groups[0]["params"]) == len([*method.parameters()])
    assert made("wcl", blobs()).optimizers(Training(lr=0.1))[1].param_groups[0]["lr"] == 0.1


def test_the_biased_encoder_can_be_looked_into():
    method, x = made("wcl", blobs(), projection=7), blobs().x[:5]
    assert torch.equal(method.embedding(x), method.biased.features(x)) and method.embedding(x).shape == (5, 12)
    method.eval()
    assert method.biased(x).shape == method.projection(method.net.features(x)).shape == (5, 7)
    assert method.biased_logits(x) is None and made("dcl", blobs()).embedding(x) is None


def test_a_sample_alone_loses_nothing():
    for name in FOUR:
        method, data = made(name, blobs()), blobs()
        loss, logs = method.loss(data.batch(torch.arange(1)))
        loss.backward()
        assert loss == 0 and logs == {}
        assert all((p.grad is None) or bool((p.grad == 0).all()) for p in method.parameters())


# --- views ------------------------------------------------------------------------------------------------------------


def test_views_suit_the_inputs_and_others_are_refused():
    texts = Dataset.of(torch.randint(1, 9, (8, 5)), torch.arange(8) % 2, kind="tokens", vocabulary=9, name="texts")
    images = Dataset.of(torch.randint(0, 255, (8, 3, 6, 5), dtype=torch.uint8), torch.arange(8) % 2, name="images")
    for data, net in ((texts, "tokens"), (images, "conv:width=2"), (blobs(), "mlp")):
        x = data.gather(torch.arange(8))
        method: Any = build("simclr", data.info, net=net)
        view = method.views(x, generator(0))
        assert view.shape == x.shape and view.dtype == x.dtype and not torch.equal(view, x)
    with pytest.raises(
        UserError, match="views=crop-flip changes images, but texts is of kind 'tokens'; use views=none"
    ):
        build("simclr", texts.info, net="tokens", options={"views": "crop-flip"})
    with pytest.raises(UserError, match="unknown augmentation 'blure': did you mean 'blur'"):
        build("wcl", images.info, options={"views": "blure"})


def test_views_of_a_file_of_ones_own_are_in_the_plan(tmp_path):
    from longcut.registry import load_file

    (tmp_path / "mine_views.py").write_text(
        "def mirror(x, generator):\n    return x.flip(3)\n\nAUGMENTS = {'mirror13': mirror}\n"
    )
    load_file(tmp_path / "mine_views.py")
    assert "mine_views.py" in plan("colored-digits", "simclr:views=flip+mirror13").files


# --- probes -----------------------------------------------------------------------------------------------------------


def oracle(x: np.ndarray, label: np.ndarray, c: float, seen: np.ndarray) -> np.ndarray:
    scaler = StandardScaler().fit(x)
    return LogisticRegression(C=c, max_iter=1000).fit(scaler.transform(x), label).predict_proba(scaler.transform(seen))


@pytest.mark.parametrize("classes", [2, 3])
def test_a_linear_head_says_what_the_regression_says(classes):
    train, test = blobs(90, classes=classes), blobs(60, 1, classes=classes)
    weight, bias, c = linear_head(train)
    assert c == 1.0
    said = (test.x.double() @ weight.T + bias).softmax(1)
    expected = oracle(train.x.double().numpy(), train.label.numpy(), 1.0, test.x.double().numpy())
    np.testing.assert_allclose(said.numpy(), expected, atol=1e-5)


def test_the_validation_set_chooses_the_penalty():
    """Thirty features of which one matters, and few samples: how strong the penalty is shows."""
    parts = []
    for n, seed in ((40, 0), (80, 1)):
        x = torch.randn(n, 30, generator=generator(seed, 8))
        parts.append(Dataset.of(x, (x[:, 0] + 0.5 * x[:, 1] > 0.6).long()))
    train, valid = parts
    strengths = (0.001, 0.01, 0.1, 1.0)
    x, seen, known = train.x.double().numpy(), valid.x.double().numpy(), valid.label.numpy()
    accuracy = [(oracle(x, train.label.numpy(), c, seen).argmax(1) == known).mean() for c in strengths]
    assert len({*accuracy}) > 2
    assert linear_head(train, valid)[2] == strengths[int(np.argmax(accuracy))]
    turned = dataclasses.replace(valid, label=1 - valid.label)
    assert linear_head(train, turned)[2] == strengths[int(np.argmin(accuracy))]
    assert linear_head(train, None, (0.5,))[2] == 0.5


def test_classes_without_samples_are_never_said():
    x = blobs().x.double().numpy()
    layer = logistic(x, np.full(len(x), 2), 4, 1.0)
    assert (layer[:, :-1] == 0).all() and layer[:, -1].argmax() == 2
    two = logistic(x, 1 + 2 * (blobs().label.numpy()), 4, 1.0)
    said = (x @ two[:, :-1].T + two[:, -1]).argmax(1)
    assert set(said.tolist()) == {1, 3} and (said == 1 + 2 * blobs().label.numpy()).mean() > 0.9


@pytest.mark.parametrize("name", FOUR)
def test_a_run_ends_with_a_probe_of_its_frozen_features(name):
    data = splits()
    method = fit(made(name, data.train), data, QUICK).method
    known, held = features_of(method.net, data.train), features_of(method.net, data.valid)
    weight, bias, _ = linear_head(known, held)
    torch.testing.assert_close(method.net.head.weight, weight.float())
    torch.testing.assert_close(method.net.head.bias, bias.float())
    assert (method(data.test.x).argmax(1) == data.test.label).float().mean() > 0.8


def test_a_balanced_probe_sees_as_many_of_each_group():
    """Three in four samples of a class have the attribute 0, and so has a sample that is known to have it."""
    data = splits()
    seen: list[Tensor] = []

    class Watched(SimCLR):
        name = "watched"

        def _balanced(self, data: Dataset) -> Dataset:
            found = super()._balanced(data)
            seen.append(found.group.bincount() if found.attribute is not None else found.label.bincount())
            return found

    method = build(Watched, data.info, net="mlp:hidden=12", options={"probe": "balanced"})
    fit(method, data, QUICK)
    assert all(len(count) == 4 and (count == count[0]).all() for count in seen) and len(seen) == 2
    seen.clear()
    few = torch.cat([torch.arange(96), torch.arange(0, 96, 2)])
    blind = [dataclasses.replace(one, attribute=None) for one in (data.train.take(few), data.test)]
    fit(build(Watched, data.info, options={"probe": "balanced"}), Splits(blind[0], None, blind[1]), QUICK)
    assert [count.tolist() for count in seen] == [[48, 48]]


def test_a_probe_by_adam_leaves_the_features_and_is_fitted_by_them():
    data = splits()
    method = fit(made("simclr", data.train, probe="sgd", probe_epochs=60, probe_lr=0.05), data, QUICK).method
    frozen = fit(made("simclr", data.train), data, QUICK).method
    assert torch.equal(method.net.features(data.test.x), frozen.net.features(data.test.x))
    assert (method(data.test.x).argmax(1) == data.test.label).float().mean() > 0.8


def test_fine_tuning_moves_the_features():
    data = splits()
    method = fit(made("simclr", data.train, probe="fine-tune", probe_epochs=20, probe_lr=0.01), data, QUICK).method
    frozen = fit(made("simclr", data.train), data, QUICK).method
    assert not torch.allclose(method.net.features(data.test.x), frozen.net.features(data.test.x))
    assert (method(data.test.x).argmax(1) == data.test.label).float().mean() > 0.9


# --- runs -------------------------------------------------------------------------------------------------------------


def test_no_epoch_is_judged_or_selected():
    data = splits()
    done = fit(made("wcl", data.train), data, QUICK)
    assert all("test" not in row and "valid" not in row for row in done.history) and done.epoch == 2
    assert {"loss", "clamped", "weight", "triplet"} <= set(done.history[0])
    with pytest.raises(
        UserError, match=r"wcl has no classifier before training is over, .* selected by average; select"
    ):
        fit(made("wcl", data.train), data, QUICK, select="best:average")


@pytest.mark.parametrize("probe", ["linear", "sgd", "balanced", "fine-tune"])
def test_interrupted_and_resumed_equals_uninterrupted_with_every_probe(probe):
    data, files = splits(), []

    def keep(epoch: Any) -> None:
        files.append(io.BytesIO())
        torch.save(epoch.state(), files[-1])

    options = {"probe": probe, "probe_epochs": 2}
    whole = fit(made("wcl", data.train, **options), data, QUICK, seed=4, observers=[calling(on_epoch=keep)])
    files[0].seek(0)
    state = torch.load(files[0], weights_only=True)
    resumed = fit(made("wcl", data.train, **options), data, QUICK, seed=4, state=state)
    for one, other in zip(whole.method.state_dict().values(), resumed.method.state_dict().values(), strict=True):
        assert torch.equal(one, other)


def test_the_record_of_a_run_has_the_scores_of_the_probe(tmp_path):
    """Its best epoch is the last one, which alone was judged; the folder can be read, shown and reported."""
    from longcut import tables
    from longcut.report import write

    spec = plan("colored-digits:ratio=0.1", "wcl", settings={"epochs": "2", "net": "mlp:hidden=8"})
    record = execute(spec, tmp_path / "run")
    average = record.scores.test.values["average"]
    assert record.best.epoch == record.epoch == 2 and record.best.average == average > 0.1
    assert record.bias is not None and 0 <= record.bias["probe"] <= 1  # read from the biased encoder
    again = Record.from_dict(record.to_dict())
    assert again.best == record.best
    assert tables.summary(record)["best_average"] == average
    assert math.isfinite(tables.table([record])[0]["average"][0])
    assert read(tmp_path / "run").history()[1]["epoch"] == 2
    page = write([tmp_path / "run"], tmp_path / "page.html")
    assert "wcl" in page.read_text("utf-8")


def test_what_has_no_classes_is_refused():
    data = Dataset.of(torch.rand(20, 3), torch.rand(20), name="numbers")
    with pytest.raises(UserError, match=r"dcl learns classification, but numbers is regression: .*a classifier"):
        fit(build("dcl", data.info), Splits(data, None, data), QUICK)


# --- probes of any features -------------------------------------------------------------------------------------------


def test_neighbours_vote_as_scikit_learn_finds_them():
    train, test = blobs(80, classes=3), blobs(30, 1, classes=3)
    unit = [F.normalize(one.x.double(), dim=1).numpy() for one in (train, test)]
    distance, near = NearestNeighbors(n_neighbors=7).fit(unit[0]).kneighbors(unit[1])
    votes = np.zeros((30, 3))
    for i in range(30):
        for d, j in zip(distance[i], near[i], strict=True):
            votes[i, int(train.label[j])] += math.exp((1 - d**2 / 2) / 0.2)
    found = knn_probe(train.x, train.label, test.x, test.label, k=7, temperature=0.2)
    ours = found.scores / found.scores.sum(1, keepdim=True)
    np.testing.assert_allclose(ours.numpy(), votes / votes.sum(1, keepdims=True), atol=1e-4)
    right = votes.argmax(1) == test.label.numpy()
    assert found.accuracy == pytest.approx(right.mean())
    assert found.worst_class == pytest.approx(min(right[test.label.numpy() == c].mean() for c in range(3)))


def test_more_neighbours_than_samples_all_vote():
    train, test = blobs(6), blobs(4, 1)
    every, many = (knn_probe(train.x, train.label, test.x, test.label, k=k).scores for k in (6, 200))
    assert torch.equal(every, many)


def test_a_probe_of_features_is_the_regression():
    train, valid, test = blobs(80, classes=3), blobs(40, 1, classes=3), blobs(30, 2, classes=3)
    found = linear_probe(train.x, train.label, test.x, test.label, strengths=(0.3,))
    expected = oracle(train.x.double().numpy(), train.label.numpy(), 0.3, test.x.double().numpy())
    np.testing.assert_allclose(found.scores.softmax(1).numpy(), expected, atol=1e-4)
    assert found.accuracy == pytest.approx((expected.argmax(1) == test.label.numpy()).mean())
    chosen = linear_probe(train.x, train.label, test.x, test.label, valid=(valid.x, valid.label))
    assert chosen.accuracy > 0.7


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"features": torch.rand(4)}, r"a probe got shapes \[\(4,\)"),
        ({"label": torch.tensor([0, 1])}, "a probe got shapes"),
        ({"test": torch.rand(2, 3)}, "a probe got shapes"),
        ({"test": torch.rand(0, 2), "test_label": torch.zeros(0).long()}, "one of the two is empty"),
    ],
)
def test_what_cannot_be_probed_is_refused(change, said):
    given = {"features": torch.rand(4, 2), "label": torch.tensor([0, 1, 0, 1]), "test": torch.rand(2, 2)}
    given = {**given, "test_label": torch.tensor([0, 1]), **change}
    for probe in (linear_probe, knn_probe):
        with pytest.raises(UserError, match=said):
            probe(**given)


@pytest.mark.parametrize("how", [{"k": 0}, {"temperature": 0.0}])
def test_votes_out_of_range_are_refused(how):
    x, label = torch.rand(4, 2), torch.tensor([0, 1, 0, 1])
    with pytest.raises(UserError, match=r"neighbours vote with k=.*give at least 1, and above 0"):
        knn_probe(x, label, x, label, **how)


def test_a_scaler_knows_its_layer():
    data = blobs()
    scaler, layer = Scaler(data), torch.rand(2, 7, generator=generator(0)).double().numpy()
    weight, bias = scaler.fold(layer)
    np.testing.assert_allclose(
        (data.x.double() @ weight.T + bias).numpy(), scaler(data) @ layer[:, :-1].T + layer[:, -1]
    )
