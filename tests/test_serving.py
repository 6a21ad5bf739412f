"""ONNX files with the preparation of their samples in them, and in 8 bits."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest
import torch
from helpers import entry_of
from PIL import Image

from longcut import runs, serving
from longcut.data import Dataset, Splits, generator
from longcut.datasets import DATASETS
from longcut.deploy import export, predict
from longcut.errors import UserError
from longcut.execute import execute
from longcut.plans import plan
from longcut.record import Inputs
from longcut.runs import Run
from longcut.sources import encode

onnxruntime = pytest.importorskip("onnxruntime")


@pytest.fixture(autouse=True, scope="module")
def known() -> Iterator[None]:
    """Data sets of this module, which stay known, since 8 bits are judged on the data of the run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DATASETS, "own", {**DATASETS.own})
        yield


def trained(data: Splits, folder: Path, net: str, epochs: int = 3) -> Run:
    DATASETS.own[folder.name] = entry_of(function=lambda: data, training={"batch": 16}, options={})  # type: ignore[assignment]
    execute(plan(folder.name, "erm", settings={"epochs": epochs, "net": net, "lr": 0.01}), folder)
    return runs.read(folder)


def session(path: Path) -> Any:
    return onnxruntime.InferenceSession(path)


def people(n: int, seed: int) -> pd.DataFrame:
    """Numbers with gaps, numbers without, truth values, few and many categories, some of them missing."""
    draw = np.random.default_rng(seed)
    age = draw.normal(40, 10, n)
    towns = np.array(["Bonn", "Köln", "São Paulo", None], dtype=object)
    return pd.DataFrame(
        {
            "age": np.where(draw.random(n) < 0.15, np.nan, age),
            "income": draw.lognormal(10, 1, n),
            "member": draw.random(n) < 0.5,
            "town": draw.choice(towns, n),
            "street": [f"street {int(i)}" for i in draw.exponential(30, n)],
            "x": draw.integers(0, 9, n),
            "rich": np.where(age > 40, "yes", "no"),
        }
    )


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("people")
    people(400, 1).to_csv(folder / "people.csv", index=False)
    return trained(
        Splits.of(Dataset.from_table(folder / "people.csv", label="rich")), folder / "run-people", "mlp:hidden=16"
    )


def columns(frame: pd.DataFrame, model: Any) -> dict[str, np.ndarray]:
    """A frame as the inputs of a model: numbers, and text, which is empty where it is missing."""
    kinds = {one.name: one.type for one in model.get_inputs()}
    assert all(one.shape == ["n", 1] for one in model.get_inputs())
    return {
        name: frame[[name]].fillna("").to_numpy(str).astype(object)
        if kind == "tensor(string)"
        else frame[[name]].to_numpy(np.float64)
        for name, kind in kinds.items()
    }


@pytest.mark.parametrize("n", [1, 57])
def test_raw_columns_are_predicted_as_longcut_does(table: Run, tmp_path: Path, n: int):
    new = people(n, 2).drop(columns="rich")
    new.loc[0, "street"], new.loc[0, "town"] = "nowhere", "Rome"  # neither was seen
    new.to_csv(tmp_path / "new.csv", index=False)
    ours = predict(table, tmp_path / "new.csv")
    model = session(export(table, "onnx", tmp_path / "raw.onnx", raw=True))
    prediction, probability, outputs = model.run(["prediction", "probability", "outputs"], columns(new, model))
    assert prediction.tolist() == ours["prediction"].tolist()
    np.testing.assert_allclose(probability, ours[["p(no)", "p(yes)"]], atol=1e-6)
    np.testing.assert_allclose(np.exp(outputs) / np.exp(outputs).sum(1, keepdims=True), probability, atol=1e-6)


def test_what_is_inside_is_what_encode_does(table: Run, tmp_path: Path):
    """The features themselves, in the last bit but one, by a look into the graph."""
    new = people(200, 3)
    path = export(table, "onnx", tmp_path / "raw.onnx", raw=True)
    model = onnx.load(path)
    model.graph.output.append(onnx.helper.make_tensor_value_info("net/x", onnx.TensorProto.FLOAT, None))
    onnx.save(model, path)
    inside = session(path)
    (features,) = inside.run(["net/x"], columns(new, inside))
    inputs = table.inputs()
    assert inputs is not None and inputs.encoding is not None
    np.testing.assert_array_max_ulp(features, encode.apply(inputs.encoding, new), 1)


@pytest.mark.parametrize("text", ["NA", "null", "(missing)", ""])
def test_texts_that_stand_for_a_missing_one(table: Run, tmp_path: Path, text: str):
    new = people(3, 4).assign(town=text)
    model = session(export(table, "onnx", tmp_path / "raw.onnx", raw=True))
    same = session(tmp_path / "raw.onnx").run(["outputs"], columns(new.assign(town=None), model))[0]
    assert (model.run(["outputs"], columns(new, model))[0] == same).all()


def test_a_regression_says_numbers(tmp_path: Path):
    frame = people(200, 5)
    frame["wealth"] = frame["income"] / 1e4 + frame["x"]
    data = Splits.of(Dataset.from_table(frame.drop(columns="rich"), label="wealth", task="regression"))
    run = trained(data, tmp_path / "run-wealth", "mlp:hidden=8")
    frame.to_csv(tmp_path / "new.csv", index=False)
    model = session(export(run, "onnx", raw=True))
    assert [one.name for one in model.get_outputs()] == ["outputs"]
    (outputs,) = model.run(None, columns(frame, model))
    np.testing.assert_allclose(outputs[:, 0], predict(run, tmp_path / "new.csv")["prediction"], rtol=1e-4, atol=1e-4)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Run, Path]]:
    root = tmp_path_factory.mktemp("photos")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LONGCUT_CACHE", str(root / "cache"))
        for kind, level in (("day", 100), ("night", 0)):
            (root / "photos" / kind).mkdir(parents=True)
            pixels = torch.randint(level, level + 150, (60, 8, 12, 3), dtype=torch.uint8, generator=generator(level))
            for number, one in enumerate(pixels):
                Image.fromarray(one.numpy()).save(root / "photos" / kind / f"{number:03}.png")
        data = Splits.of(Dataset.from_folder(root / "photos"))
        yield trained(data, root / "run-photos", "conv:width=4"), root / "photos" / "day"


def test_raw_pixels_are_predicted_as_longcut_does(photos: tuple[Run, Path], tmp_path: Path):
    run, folder = photos
    model = session(export(run, "onnx", tmp_path / "raw.onnx", raw=True))
    assert [(one.name, one.shape, one.type) for one in model.get_inputs()] == [
        ("image", ["n", 8, 12, 3], "tensor(uint8)")
    ]
    pixels = np.stack([np.asarray(Image.open(path)) for path in sorted(folder.iterdir())])
    ours = predict(run, folder)
    prediction, probability = model.run(["prediction", "probability"], {"image": pixels})
    assert prediction.tolist() == ours["prediction"].tolist()
    np.testing.assert_allclose(probability, ours[["p(day)", "p(night)"]], atol=1e-5)


def test_what_has_no_raw_form(table: Run, tmp_path: Path):
    model = onnx.load(export(table, "onnx", tmp_path / "plain.onnx"))
    inputs = table.inputs()
    assert inputs is not None and inputs.encoding is not None

    def refused(message: str, encoding: Any = inputs.encoding, **info: Any) -> None:
        other = Inputs(dataclasses.replace(inputs.info, **info), inputs.dtype, encoding)
        with pytest.raises(UserError, match=f"this run takes {message}.*; export it without raw"):
            serving.raw(model, other, "this run")

    refused("features of a pretrained net", encoder="efficientnet-lite0@1")
    refused("words that are looked up", kind="tokens")
    refused("numbers as they are", encoding=None)
    called = {**inputs.encoding, "features": ["outputs"], "numeric": {"outputs": inputs.encoding["numeric"]["age"]}}
    refused("a column called 'outputs', as an output is", encoding=called)


@pytest.mark.parametrize("how", [{"raw": True}, {"int8": True}])
def test_other_formats_are_as_they_are(table: Run, how: dict[str, Any]):
    with pytest.raises(UserError, match=f"{next(iter(how))} is for onnx, and torchscript was asked for"):
        export(table, "torchscript", **how)


# --- 8 bits -----------------------------------------------------------------------------------------------------------


def test_8_bits_of_a_table(table: Run, tmp_path: Path):
    path = export(table, "onnx", tmp_path / "small.onnx", raw=True, int8=True)
    judged = serving.about(path)["int8"]
    assert judged["on"] == "validation" and judged["n"] == 80
    assert judged["average"][0] - judged["average"][1] <= serving.MARGIN
    assert "MatMulInteger" in {node.op_type for node in onnx.load(path).graph.node}
    frame = people(200, 6)
    model = session(path)
    whole = session(export(table, "onnx", tmp_path / "whole.onnx", raw=True))
    small, large = (one.run(["probability"], columns(frame, one))[0] for one in (model, whole))
    assert 0 < np.abs(small - large).max() < 0.05


def test_8_bits_of_pixels(photos: tuple[Run, Path], tmp_path: Path):
    run, folder = photos
    path = export(run, "onnx", tmp_path / "small.onnx", raw=True, int8=True)
    assert {"QuantizeLinear", "Conv"} <= {node.op_type for node in onnx.load(path).graph.node}
    judged = serving.about(path)["int8"]
    pixels = np.stack([np.asarray(Image.open(one)) for one in sorted(folder.iterdir())])
    prediction = session(path).run(["prediction"], {"image": pixels})[0]
    assert (prediction == predict(run, folder)["prediction"].to_numpy()).mean() > 0.9
    assert judged["average"][0] - judged["average"][1] <= serving.MARGIN


@pytest.mark.parametrize(
    ("name", "before", "after", "refused"),
    [
        ("average", 0.900, 0.895, False),
        ("average", 0.900, 0.885, True),
        ("worst_group", 0.80, 0.78, False),  # one sample of 40 is more
        ("worst_group", 0.80, 0.77, True),
        ("rmse", 2.0, 2.01, False),
        ("rmse", 2.0, 2.03, True),
    ],
)
def test_8_bits_that_cost_too_much(
    table: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, before: float, after: float, refused: bool
):
    scores = iter([{name: before}, {name: after}])
    monkeypatch.setattr(serving, "_scores", lambda *_: next(scores))
    monkeypatch.setattr(serving, "_smallest", lambda _: 40)
    if not refused:
        assert serving.about(export(table, "onnx", tmp_path / "m.onnx", int8=True))["int8"][name] == [before, after]
        return
    with pytest.raises(UserError, match=rf"in 8 bits, its {name.replace('_', ' ')} on the validation part goes from"):
        export(table, "onnx", tmp_path / "m.onnx", int8=True)
    assert not (tmp_path / "m.onnx").exists()


def test_the_smallest_group():
    data = Dataset.of(torch.rand(6, 2), [0, 0, 0, 1, 1, 1], [0, 0, 1, 1, 1, -1])
    assert serving._smallest(data) == 1
    assert serving._smallest(Dataset.of(torch.rand(5, 2), [0, 0, 0, 1, 1])) == 2
