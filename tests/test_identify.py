from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import context
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from longcut import identify
from longcut.context import Context, calling
from longcut.data import Batch, Dataset, Splits, generator, require_index
from longcut.errors import UserError
from longcut.execute import execute
from longcut.fit import Training, fit
from longcut.identify import Trajectory, quality
from longcut.losses import cross_entropy
from longcut.methods import METHODS, Method, build
from longcut.methods.identified.pseudo import environments
from longcut.plans import plan
from longcut.predict import predict

TRAINING = Training(epochs=3, batch=8, pool=2, lr=1e-2)


def toy(n: int = 40, seed: int = 0) -> Dataset:
    label = torch.arange(n) % 2
    attribute = torch.where(torch.arange(n) % 10 < 8, label, 1 - label)
    x = torch.randn(n, 5, generator=generator(seed)) + label[:, None] + 2 * attribute[:, None]
    return Dataset.of(x, label, attribute, name="toy", aligned=(0, 1))


def of(method: Method) -> Trajectory:
    found = method.identification()
    assert found is not None
    assert found.trajectory is not None
    return found.trajectory


def test_what_is_noted_by_hand():
    record = Trajectory()
    record.begin(epochs=2, n_stored=5)
    outputs = torch.tensor([[2.0, 0.5, 1.0], [0.0, 3.0, 1.0], [1e9, 0.0, 0.0]])
    label = torch.tensor([0, 2, 1])
    record.note(1, torch.tensor([4, 0, 2]), label, outputs, torch.tensor([0.25, 2.0, 1e9]))
    assert record.correct[1, [4, 0, 2]].tolist() == [1, 0, 0]
    assert record.margin[1, [4, 0]].tolist() == [1.0, -2.0]
    assert record.loss[1, [4, 0]].tolist() == [0.25, 2.0]
    assert torch.isfinite(record.margin[1, 2]), "half precision does not overflow"
    assert record.record[:, 1, [1, 3]].isnan().all()
    assert record.record[:, 0].isnan().all()
    assert record.errors().tolist() == [True, False, True, False, False], "who was not seen is no error"
    assert not record.errors(0).any()


def test_a_tie_is_judged_as_everywhere_else():
    record = Trajectory()
    record.begin(epochs=1, n_stored=2)
    record.note(0, torch.tensor([0, 1]), torch.tensor([0, 1]), torch.zeros(2, 2), torch.zeros(2))
    assert record.correct[0].tolist() == [1, 0], "argmax takes the first of equals"


def test_uncertainty_by_hand():
    record = Trajectory()
    record.begin(epochs=4, n_stored=3)
    wrong = [[1, 0, 0], [1, 1, 0], [0, 1, 0], [1, 0, 0]]
    for epoch, row in enumerate(wrong):
        outputs = torch.tensor([[1.0, 0.0] if not w else [0.0, 1.0] for w in row])
        record.note(epoch, torch.arange(3), torch.zeros(3).long(), outputs, torch.ones(3))
    assert record.uncertainty(0, 4).tolist() == [0.75, 0.5, 0.0]
    assert record.uncertainty(1, 3).tolist() == [0.5, 1.0, 0.0]
    assert record.uncertainty(1, 4, over=2).tolist() == [1.0, 1.0, 0.0], "Eq. 6: one more epoch than it divides by"


@pytest.mark.parametrize(
    ("hit", "missed", "precision", "recall"),
    [(107, 290, 0.269, 0.445), (115, 153, 0.429, 0.479), (110, 128, 0.462, 0.458)],
)
def test_precision_and_recall_are_those_of_jm1s_table_4(hit: int, missed: int, precision: float, recall: float):
    conflicting = torch.arange(4795) < 240
    chosen = (torch.arange(4795) < hit) | (torch.arange(4795) >= 4795 - missed)
    found = quality(chosen, conflicting)
    assert (found["conflicting"], found["aligned"]) == (hit, missed)
    assert found["precision"] == pytest.approx(precision, abs=1e-3)
    assert found["recall"] == pytest.approx(recall, abs=1e-3)


def test_precision_of_nobody_is_not_a_number():
    nobody = torch.zeros(4, dtype=torch.bool)
    assert quality(nobody, ~nobody)["recall"] == 0
    assert quality(nobody, ~nobody)["precision"] != quality(nobody, ~nobody)["precision"]


def test_a_pass_of_its_own_sees_the_net_after_the_epoch():
    data = toy()
    fitted = fit(
        build("erm", data.info, net="mlp:hidden=8,dropout=0.5", options={"record": "evaluated"}),
        Splits(data, None, data),
        TRAINING,
    )
    record = of(fitted.method)
    outputs = predict(fitted.method, data)
    assert record.record.shape == (3, 3, 40)
    assert torch.equal(record.correct[2].bool(), outputs.argmax(1) == data.label)
    torch.testing.assert_close(record.loss[2].float(), cross_entropy(outputs, data.label), atol=1e-2, rtol=1e-2)


def test_online_is_what_each_step_saw_before_it_learned():
    data = toy()
    model = build("erm", data.info, net="mlp:hidden=8", options={"record": "online"})
    start = build("erm", data.info, net="mlp:hidden=8")
    whole = dataclasses.replace(TRAINING, epochs=2, batch=40)  # one step an epoch
    fitted = fit(model, Splits(data, None, data), whole)
    record = of(fitted.method)
    assert torch.equal(record.correct[0].bool(), predict(start, data).argmax(1) == data.label)
    one = fit(start, Splits(data, None, data), dataclasses.replace(whole, epochs=1)).method
    torch.testing.assert_close(
        record.loss[1].float(), cross_entropy(predict(one, data), data.label), atol=1e-2, rtol=1e-2
    )


@pytest.mark.parametrize("how", ["online", "evaluated"])
def test_a_record_is_that_of_a_loop(how: str):
    """In every epoch: the outputs before each of its steps, or all after the last. 35 steps fill the buffer once."""
    data, expected = toy(70), torch.full((3, 3, 70), torch.nan)

    def note(index: Tensor, outputs: Tensor, epoch: int) -> None:
        for i, z in zip(index.tolist(), outputs.tolist(), strict=True):
            y = int(data.label[i])
            right = float(max(range(2), key=z.__getitem__) == y)
            margin = z[y] - z[1 - y]
            expected[:, epoch, i] = torch.tensor([right, math.log1p(math.exp(-margin)), margin])

    def seen(context: Context, batch: Batch, outputs: Tensor, losses: Tensor) -> None:
        note(require_index(batch), outputs, context.epoch)

    def trained(method: Method) -> None:
        outputs = torch.cat([method(data.x[i : i + 1]).detach() for i in range(70)])
        note(torch.arange(70), outputs, method.context.epoch)

    watch = calling(on_outputs=seen) if how == "online" else calling(on_trained=trained)
    model = build("erm", data.info, net="mlp:hidden=8", options={"record": how})
    training = dataclasses.replace(TRAINING, batch=2, pool=5)
    record = of(fit(model, Splits(data, None, data), training, observers=[watch]).method).record
    assert not expected.isnan().any()
    assert torch.equal(record[0].float(), expected[0])
    torch.testing.assert_close(record.float(), expected, atol=2e-3, rtol=2e-3)
    assert len({tuple(row.tolist()) for row in record[2]}) == 3, "no epoch is that of another"


def test_who_keeps_a_record():
    """A last layer that is fitted anew and samples that are drawn anew are no reason to keep one."""
    data = toy()
    keeping = set()
    for name, cls in METHODS.items():
        if "table" not in cls.kinds or "classification" not in cls.tasks:
            continue
        method = build(name, data.info)
        if any("trajectory" in part for part, _ in method.named_modules()) or method.observers():
            keeping.add(name)
    assert keeping == {"jtt", "jm1", "umix"}
    splits = Splits(data, data, data)
    for name in ("dfr", "afr", "resample", "reweight"):
        options = {"penalties": "1", "subsamples": 1} if name == "dfr" else {}
        method = fit(build(name, data.info, options=options), splits, dataclasses.replace(TRAINING, epochs=1)).method
        assert method.identification() is None
        assert not any("extra_state" in part for part in method.state_dict())
        with pytest.raises(UserError, match="unknown option of method"):
            build(name, data.info, options={"record": "online"})


@pytest.mark.parametrize("record", ["online", "evaluated"])
def test_watching_changes_nothing(record: str):
    data = toy()
    plain, watched = (
        fit(
            build("erm", data.info, options={"record": how}), Splits(data, None, data), TRAINING
        ).method.net.state_dict()
        for how in ("none", record)
    )
    assert all(torch.equal(plain[name], watched[name]) for name in plain)


@pytest.mark.parametrize("record", ["online", "evaluated"])
def test_a_regression_has_losses_to_record_in_standardised_units(record):
    data = Dataset.of(torch.rand(8, 2, generator=generator(0)), 1e6 * torch.arange(8).float(), name="prices")
    training = Training(epochs=2, batch=8, pool=1)
    method: Any = build("erm", data.info, net="mlp:hidden=4", options={"record": record})
    fitted = fit(method, Splits(data, None, data), training)
    trajectory = method.trajectory
    assert trajectory.correct.isnan().all() and trajectory.margin.isnan().all()
    assert trajectory.loss.shape == (2, 8)
    if record == "online":
        assert float(trajectory.loss[1].mean()) == pytest.approx(fitted.history[1]["loss"], rel=1e-5)
    else:
        error = method(data.x) - data.label
        expected = (error / data.label.std(correction=0)).square()[:, 0].detach()
        torch.testing.assert_close(trajectory.loss[1], expected)


def test_the_worst_are_the_share_that_loses_most_of_those_seen():
    seen = Trajectory()
    seen.begin(2, 12, torch.float32)
    loss = torch.tensor([5.0, 1.0, 1e9, 3.0, 2.0, 4.0, 0.0, 1e8, 1e7, 1e6])
    seen.note(1, torch.arange(10), torch.zeros(10, 1), torch.zeros(10, 1), loss)
    assert seen.errors(worst=0.2).nonzero().flatten().tolist() == [2, 7]
    assert seen.errors(worst=0.01).nonzero().flatten().tolist() == [2], "at least one"
    assert int(seen.errors(worst=0.999).sum()) == 10, "nobody who was not seen"
    assert not seen.errors(0, worst=0.5).any()
    seen.note(1, torch.arange(10), torch.zeros(10, 1), torch.zeros(10, 1), torch.zeros(10))
    assert int(seen.errors(worst=0.3).sum()) == 3, "as many of equals"
    assert seen.uncertainty(0, 2, worst=0.3).sum() == 1.5


# --- in a run folder --------------------------------------------------------------------------------------------------


def recorded(folder: Path, seed: int = 0) -> Path:
    settings = {"record": "online", "epochs": 2, "net": "mlp:hidden=8"}
    execute(plan("colored-digits", "erm", settings=settings, seed=seed), folder)
    return folder


def test_a_run_keeps_its_record_with_the_fingerprint_of_the_data(tmp_path: Path):
    folder = recorded(tmp_path / "run")
    with safe_open(folder / identify.NAME, framework="pt") as file:
        assert file.metadata()["fingerprint"] == json.loads((folder / "run.json").read_text())["fingerprint"]
        assert file.get_tensor("correct").shape == (2, 1797)
        assert file.get_tensor("index").shape == (1000,)


@pytest.mark.parametrize("method", ["jtt", "jm1", "umix"])
def test_another_runs_record_spares_the_helper(tmp_path: Path, method: str):
    folder = recorded(tmp_path / "run")
    settings = {"identify": str(folder), "epochs": 1, "net": "mlp:hidden=8"}
    found = execute(plan("colored-digits", method, settings=settings), tmp_path / method).identification
    with (
        safe_open(folder / identify.NAME, framework="pt") as theirs,
        safe_open(tmp_path / method / identify.NAME, framework="pt") as ours,
    ):
        assert torch.equal(theirs.get_tensor("margin").isnan(), ours.get_tensor("margin").isnan())
        if method != "umix":
            errors = theirs.get_tensor("correct")[-1] == 0
            assert torch.equal(ours.get_tensor("chosen"), errors)
            assert found is not None
            assert found["conflicting"] + found["aligned"] == int(errors.sum())


def test_a_record_about_other_samples_is_refused(tmp_path: Path):
    folder = recorded(tmp_path / "run", seed=0)
    other = plan("colored-digits", "jtt", settings={"identify": str(folder), "epochs": 1}, seed=1)
    with pytest.raises(UserError, match=r"about other training samples than colored-digits; make it anew"):
        execute(other, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_record_of_other_samples_with_the_same_labels_is_refused(tmp_path: Path):
    data, record = toy(), Trajectory()
    record.begin(1, 40)
    kept = identify.columns(identify.Identification(trajectory=record), data.take(torch.arange(20)))
    save_file({name: column.contiguous() for name, column in kept.items()}, tmp_path / identify.NAME)
    assert identify.load(tmp_path, data.take(torch.arange(20).flip(0))).shape == (3, 1, 40), "whatever the order"
    with pytest.raises(UserError, match="about other training samples than toy"):
        identify.load(tmp_path, data.take(torch.arange(20, 40)))


def test_a_folder_without_a_record_is_refused(tmp_path: Path):
    execute(plan("colored-digits", "erm", settings={"epochs": 1}), tmp_path / "run")
    for folder in (tmp_path / "run", tmp_path / "nowhere"):
        with pytest.raises(UserError, match="has no record of who was wrong; name the folder of a run with one"):
            execute(plan("colored-digits", "jtt", settings={"identify": str(folder)}), tmp_path / "jtt")


def test_environments_from_a_record_are_those_of_its_logits(tmp_path: Path):
    data = toy(60)
    splits = Splits(data, None, data)
    fitted = fit(build("erm", data.info, options={"record": "evaluated"}), splits, Training(epochs=2, batch=8))
    logits = predict(fitted.method, data)
    kept = identify.columns(identify.Identification(trajectory=of(fitted.method)), data)
    save_file({name: column.contiguous() for name, column in kept.items()}, tmp_path / identify.NAME)
    method = build("eiil", data.info, options={"identify": str(tmp_path)})
    method.context = context(data, 5)
    found = method.prepare(data, None)  # pyright: ignore[reportArgumentType]
    expected = environments(logits, data.label, generator(5))
    assert found.attribute is not None
    assert (found.attribute.bool() == expected).float().mean() > 0.95, "but for the rounding to half precision"


def test_a_record_tells_environments_of_two_classes_alone():
    data = Dataset.of(torch.rand(9, 2), torch.arange(9) % 3, name="three")
    with pytest.raises(UserError, match="eiil reads the record of a run for two classes, but three has 3"):
        build("eiil", data.info, options={"identify": "runs/erm"})
