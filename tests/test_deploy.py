from __future__ import annotations

import dataclasses
import json
import logging
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import entry_of, unsealed
from PIL import Image
from torch import Tensor

from longcut import runs
from longcut.data import Dataset, Splits, as_input, generator
from longcut.datasets import DATASETS, load
from longcut.deploy import FORMATS, export, load_exported, load_net, predict, write_predictions
from longcut.errors import UserError
from longcut.execute import execute
from longcut.plans import plan
from longcut.runs import Run


def cut(data: Dataset) -> Splits:
    """Thirds, in turn."""
    turn = torch.arange(len(data)) % 3
    return Splits(data.take(turn == 0), data.take(turn == 1), data.take(turn == 2))


def few(*, seed: int = 0) -> Splits:
    """Colored digits, 150 of them."""
    test = load("colored-digits", seed).test
    return cut(Dataset.of(test.x[test.index][:150], test.label[:150], n_classes=10, name="few"))


def wide(*, seed: int = 0) -> Splits:
    """Images that are not square, as floats."""
    x = torch.rand(48, 3, 12, 20, generator=generator(seed))
    return cut(Dataset.of(x, torch.arange(48) % 2, name="wide", class_names=("dim", "bright")))


def words(*, seed: int = 0) -> Splits:
    """Token ids below 11; every other sample ends with padding."""
    x = torch.randint(1, 11, (60, 6), generator=generator(seed))
    x[::2, 4:] = 0
    return cut(Dataset.of(x, (x[:, 0] > 5).long(), kind="tokens", name="words"))


def line(*, seed: int = 0) -> Splits:
    x = torch.randn(60, 3, generator=generator(seed))
    return cut(Dataset.of(x, x[:, 0] - x[:, 1], name="line"))


CASES = {
    "mlp": ("colored-digits", "selecmix", "mlp"),  # its biased model has networks of its own
    "conv": ("few", "erm", "conv:width=4"),
    "tiny": ("wide", "erm", "tiny:side=6"),  # shrinks the image, by a factor that depends on its size
    "tokens": ("words", "lff", "tokens:width=8"),
    "transformer": ("words", "erm", "transformer:width=8,heads=2"),
    "regression": ("line", "erm", "mlp:hidden=4,dropout=0.5"),
    "resnet18": ("few", "erm", "resnet18"),
}

MakeRun = Callable[[str], Run]


@pytest.fixture(autouse=True, scope="module")
def small_data() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for function in (few, wide, words, line):
            patch.setitem(
                DATASETS.own,
                function.__name__,
                entry_of(function=function, training={"batch": 16}, options={}),
            )
        yield


@pytest.fixture(scope="module")
def run_of(tmp_path_factory: pytest.TempPathFactory) -> MakeRun:
    """A finished run of two epochs for each of ``CASES``, trained once."""
    made: dict[str, Run] = {}

    def make(case: str) -> Run:
        if case not in made:
            data, method, net = CASES[case]
            folder = tmp_path_factory.mktemp(case) / "run"
            execute(plan(data, method, settings={"net": net, "epochs": 2}, seed=1), folder)
            made[case] = runs.read(folder)
        return made[case]

    return make


def stored_samples(run: Run) -> Tensor:
    """The test set as it lies in the storage."""
    test = load(run.record.plan.data, run.record.plan.data_seed).test
    return test.x[test.index]


def from_onnx(path: Path) -> Callable[[Tensor], Tensor]:
    import onnxruntime

    session = onnxruntime.InferenceSession(path)
    return lambda x: torch.from_numpy(session.run(["outputs"], {"x": x.numpy()})[0])


def from_torchscript(path: Path) -> Callable[[Tensor], Tensor]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit", DeprecationWarning)
        return torch.jit.load(path)


def from_safetensors(path: Path) -> Callable[[Tensor], Tensor]:
    net, _ = load_exported(path)
    return lambda x: net(as_input(x)).detach()


READERS = {"onnx": from_onnx, "torchscript": from_torchscript, "safetensors": from_safetensors}


# --- export -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("to", FORMATS)
@pytest.mark.parametrize(
    "case", [pytest.param(c, marks=[pytest.mark.slow] * (c in ("resnet18", "transformer"))) for c in CASES]
)
def test_what_was_exported_says_what_the_run_said(run_of: MakeRun, tmp_path: Path, case: str, to: str):
    run = run_of(case)
    expected, x = run.predictions()["outputs"], stored_samples(run)
    net = READERS[to](export(run, to, tmp_path / "net"))
    assert len(x) > 7
    for rows in (slice(1), slice(7), slice(None)):
        outputs = net(x[rows])
        torch.testing.assert_close(outputs, expected[rows], atol=1e-4, rtol=0)
        assert not outputs.requires_grad


def about_in(path: Path, to: str) -> dict[str, Any]:
    if to == "onnx":
        import onnxruntime

        return json.loads(onnxruntime.InferenceSession(path).get_modelmeta().custom_metadata_map["longcut"])
    if to == "torchscript":
        files: dict[str, Any] = {"longcut": b""}
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "`torch.jit", DeprecationWarning)
            torch.jit.load(path, _extra_files=files)
        return json.loads(files["longcut"])
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        return json.loads(file.metadata()["longcut"])


@pytest.mark.parametrize(("to", "name"), [("onnx", "model.onnx"), ("torchscript", "model.pt")])
def test_every_file_says_what_it_is(run_of: MakeRun, to: str, name: str):
    run = run_of("tiny")
    path = export(run, to)
    assert path == run.folder / name
    about = about_in(path, to)
    assert (about["method"], about["net"], about["dtype"]) == ("erm", "tiny:side=6", "float32")
    assert about["info"]["class_names"] == ["dim", "bright"]
    assert about == about_in(export(run, "safetensors"), "safetensors")
    assert not list(run.folder.glob(".*.tmp"))


def test_a_network_comes_back_without_its_data(run_of: MakeRun, monkeypatch: pytest.MonkeyPatch):
    run = run_of("mlp")
    exported = export(run, "safetensors")
    nothing = SimpleNamespace(
        function=None, training={}, options={}
    )  # deleted, it would come back at the end of the table
    monkeypatch.setitem(DATASETS.own, "colored-digits", nothing)
    for net, inputs in (load_net(run), load_exported(exported)):
        assert not net.training
        assert inputs.info.shape == (3, 8, 8)
        assert inputs.info.class_names == tuple("0123456789")
        assert (inputs.dtype, inputs.encoding) == ("uint8", None)
        assert all(torch.equal(value, run.weights()[key]) for key, value in net.state_dict().items())


def test_an_old_run_looks_at_its_data(run_of: MakeRun, tmp_path: Path):
    run = run_of("tokens")
    old = tmp_path / "old"
    old.mkdir()
    for file in run.folder.glob("*.*"):
        (old / file.name).write_bytes(file.read_bytes())
    (old / "inputs.json").unlink()
    (old / "run.json").write_text(json.dumps(unsealed(old / "run.json")))
    assert runs.read(old).inputs() is None
    assert load_net(runs.read(old))[1] == load_net(run)[1] == run.inputs()


def test_exporting_is_quiet_and_leaves_everything_else_as_it_was(
    run_of: MakeRun, tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
):
    run = run_of("tokens")
    log, state, filters = logging.getLogger("torch.onnx"), torch.get_rng_state(), list(warnings.filters)
    level = log.level
    log.addHandler(caplog.handler)
    for to in FORMATS:
        export(run, to, tmp_path / "new" / to)
    assert {path.name for path in (tmp_path / "new").iterdir()} == set(FORMATS)
    log.removeHandler(caplog.handler)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert capfd.readouterr() == ("", "")
    assert log.level == level
    assert torch.equal(torch.get_rng_state(), state)
    assert list(warnings.filters) == filters


def test_an_unknown_format_is_refused(run_of: MakeRun):
    with pytest.raises(UserError, match="unknown format 'onxn': did you mean 'onnx'"):
        export(run_of("tokens"), "onxn")


def test_an_unfinished_run_is_refused(run_of: MakeRun, tmp_path: Path):
    run = run_of("tokens")
    begun = dataclasses.replace(run, record=dataclasses.replace(run.record, status="running"))
    for work in (load_net, lambda run: export(run, "onnx"), lambda run: predict(run, "words")):
        with pytest.raises(UserError, match=r"the run in .* is not finished; start it again to finish it"):
            work(begun)


def test_onnx_needs_its_packages(run_of: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(UserError, match=r'install them: pip install "longcut\[onnx\]"'):
        export(run_of("tokens"), "onnx", tmp_path / "net.onnx")
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written(run_of: MakeRun, tmp_path: Path):
    (tmp_path / "file").write_text("")
    for place in (tmp_path, tmp_path / "file" / "net.onnx"):
        with pytest.raises(UserError, match=r"cannot write .*; choose another place"):
            export(run_of("tokens"), "safetensors", place)


@pytest.mark.parametrize("content", [None, b"", b"hello, I am no safetensors file", "foreign"])
def test_a_file_that_longcut_did_not_export(tmp_path: Path, content: bytes | str | None):
    from safetensors.torch import save

    path = tmp_path / "net.safetensors"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else save({"w": torch.zeros(1)}))
    with pytest.raises(UserError, match=r"net\.safetensors is no network that longcut exported; write one with"):
        load_exported(path)


# --- predict: registered data -----------------------------------------------------------------------------------------


def test_predictions_are_those_of_the_run(run_of: MakeRun):
    run = run_of("mlp")
    stored = run.predictions()
    frame = predict(run, "colored-digits")
    classes = [f"p({digit})" for digit in range(10)]
    assert list(frame.columns) == ["name", "prediction", "probability", *classes, "label", "right"]
    assert frame["name"].tolist() == stored["index"].tolist()
    odds = torch.exp(stored["outputs"].double())
    np.testing.assert_allclose(frame[classes], odds / odds.sum(1, keepdim=True), atol=1e-5)
    assert frame["prediction"].tolist() == [str(guess) for guess in stored["outputs"].argmax(1).tolist()]
    np.testing.assert_array_equal(frame["probability"], frame[classes].max(axis=1))
    assert frame["label"].tolist() == [str(label) for label in stored["label"].tolist()]
    assert np.mean(frame["right"]) == pytest.approx(run.scores().values["average"])


def test_a_regression_predicts_numbers(run_of: MakeRun):
    run = run_of("regression")
    frame = predict(run, "line")
    assert list(frame.columns) == ["name", "prediction", "label"]
    assert frame["name"].tolist() == run.predictions()["index"].tolist()
    np.testing.assert_allclose(frame["prediction"], run.predictions()["outputs"][:, 0], atol=1e-5)
    error = np.mean((frame["prediction"] - frame["label"]) ** 2)
    assert error == pytest.approx(run.scores().values["average"], rel=1e-4)


@pytest.mark.parametrize(
    ("x", "label", "what"),
    [
        (torch.zeros(9, 7).long(), [0, 1, 1] * 3, r"samples of shape \(6,\), but other has \(7,\)"),
        (torch.zeros(9, 6), [0, 1, 1] * 3, "numbers of type int64, but other has float32"),
        (torch.full((9, 6), 11), [0, 1, 1] * 3, "token ids below 11, but other has 12"),
        (torch.zeros(9, 6).long(), [0.5, 1, 1] * 3, "the task classification, but other has regression"),
        (torch.zeros(9, 6).long(), [0, 1, 2] * 3, "classes 2, but other has 3"),
    ],
)
def test_data_unlike_the_run_is_refused(
    run_of: MakeRun, monkeypatch: pytest.MonkeyPatch, x: Tensor, label: list[float], what: str
):
    data = Dataset.of(x, label, kind="table" if x.is_floating_point() else "tokens", name="other")
    monkeypatch.setitem(
        DATASETS.own,
        "other",
        entry_of(function=lambda: Splits(data, None, data), training={}, options={}),
    )
    with pytest.raises(UserError, match=rf"the run in .*run knows {what}; give similar data"):
        predict(run_of("tokens"), "other")


def test_data_that_is_not_there(run_of: MakeRun):
    with pytest.raises(UserError, match="unknown file, folder or data set 'word': did you mean 'words'"):
        predict(run_of("tokens"), "word")


# --- predict: files ---------------------------------------------------------------------------------------------------


def frame_of(n: int, seed: int) -> pd.DataFrame:
    """People whose income follows their age, with gaps."""
    draw = np.random.default_rng(seed)
    age = draw.normal(40, 10, n)
    rich = np.where(age + draw.normal(0, 5, n) > 40, "yes", "no")
    town = draw.choice(np.array(["Bonn", "Köln", None], dtype=object), n)
    return pd.DataFrame({"town": town, "age": np.where(draw.random(n) < 0.1, np.nan, age), "rich": rich})


def trained_on(data: Dataset, folder: Path, **settings: Any) -> Run:
    """A finished run of two epochs, which cannot load its data again."""
    name = folder.name
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(
            DATASETS.own,
            name,
            entry_of(function=lambda: Splits.of(data), training={"batch": 16}, options={}),
        )
        execute(plan(name, "erm", settings={"epochs": 2, **settings}), folder)
    return runs.read(folder)


def said(run: Run) -> np.ndarray:
    """What the run stored of its test set, as probabilities or numbers."""
    outputs = run.predictions()["outputs"]
    return (outputs.softmax(1) if run.record.task == "classification" else outputs).numpy()


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, pd.DataFrame]:
    """A run on a table, and the rows of its test set."""
    folder = tmp_path_factory.mktemp("people")
    frame = frame_of(90, seed=1).assign(split=["train", "valid", "test"] * 30)
    frame.to_csv(folder / "people.csv", index=False)
    run = trained_on(Dataset.from_table(folder / "people.csv", label="rich", split="split"), folder / "run-people")
    return run, frame.query("split == 'test'").drop(columns="split")


def test_a_table_is_read_as_the_one_trained_on(people: tuple[Run, pd.DataFrame], tmp_path: Path):
    """Alone, a few rows have other means and towns; they are scaled as those trained on."""
    run, test = people
    test.iloc[:5, ::-1].to_csv(tmp_path / "new.csv", index=False)
    frame = predict(run, tmp_path / "new.csv")
    assert list(frame.columns) == ["name", "prediction", "probability", "p(no)", "p(yes)", "label", "right"]
    assert frame["name"].tolist() == [0, 1, 2, 3, 4]
    np.testing.assert_allclose(frame[["p(no)", "p(yes)"]], said(run)[:5], atol=1e-5)
    assert frame["label"].tolist() == test["rich"].tolist()[:5]
    assert frame["right"].tolist() == (frame["prediction"] == frame["label"]).tolist()


@pytest.mark.parametrize("name", ["new.csv", "new.tsv", "new.parquet"])
def test_the_label_may_be_missing(people: tuple[Run, pd.DataFrame], tmp_path: Path, name: str):
    run, test = people
    test = test.drop(columns="rich")
    if name.endswith("parquet"):
        test.to_parquet(tmp_path / name)
    else:
        test.to_csv(tmp_path / name, index=False, sep="\t" if name.endswith("tsv") else ",")
    frame = predict(run, str(tmp_path / name))
    assert list(frame.columns) == ["name", "prediction", "probability", "p(no)", "p(yes)"]
    np.testing.assert_allclose(frame[["p(no)", "p(yes)"]], said(run), atol=1e-5)


def test_a_table_that_lacks_a_column_or_knows_other_classes(people: tuple[Run, pd.DataFrame], tmp_path: Path):
    run, test = people
    test.rename(columns={"age": "aged"}).to_csv(tmp_path / "column.csv", index=False)
    with pytest.raises(UserError, match="unknown column 'age': did you mean 'aged'"):
        predict(run, tmp_path / "column.csv")
    test.replace({"rich": {"yes": "very"}}).to_csv(tmp_path / "class.csv", index=False)
    with pytest.warns(UserWarning, match=r"does not know the label 'very' of 11 of 30 samples"):
        found = predict(run, tmp_path / "class.csv")
    assert found.loc[test["rich"].to_numpy() == "yes", "right"].isna().all()
    np.testing.assert_allclose(found[["p(no)", "p(yes)"]], said(run), atol=1e-5)


def test_a_spec_is_no_way_around_the_encoding(people: tuple[Run, pd.DataFrame], tmp_path: Path):
    run, test = people
    own = f"table:path={run.folder.parent / 'people.csv'},label=rich,split=split"
    np.testing.assert_allclose(predict(run, own)[["p(no)", "p(yes)"]], said(run), atol=1e-5)
    test.to_csv(tmp_path / "new.csv", index=False)
    with pytest.raises(UserError, match=r"in a way of its own, .* give the path of its files alone"):
        predict(run, f"table:path={tmp_path / 'new.csv'},label=rich")


def test_a_run_on_a_table_takes_no_folder(people: tuple[Run, pd.DataFrame], tmp_path: Path):
    with pytest.raises(UserError, match=r"was not trained on images, but .* is a folder; give a file like the one"):
        predict(people[0], tmp_path)


def test_a_run_without_columns_takes_no_table(run_of: MakeRun, tmp_path: Path):
    (tmp_path / "new.csv").write_text("a,b,c\n1,2,3\n")
    with pytest.raises(UserError, match=r"cannot tell what the columns .* mean; give an \.npz file .* shape \(3,\)"):
        predict(run_of("regression"), tmp_path / "new.csv")


def test_a_table_of_targets(tmp_path: Path):
    frame = frame_of(60, seed=2).drop(columns="rich").assign(pay=np.linspace(-1, 1, 60), split=["train", "test"] * 30)
    frame.to_csv(tmp_path / "pay.csv", index=False)
    run = trained_on(Dataset.from_table(tmp_path / "pay.csv", label="pay", split="split"), tmp_path / "run-pay")
    for columns in (["name", "prediction", "label"], ["name", "prediction"]):
        found = predict(run, tmp_path / "pay.csv")
        assert list(found.columns) == columns
        np.testing.assert_allclose(found["prediction"][1::2], said(run)[:, 0], atol=1e-5)
        frame.drop(columns="pay").to_csv(tmp_path / "pay.csv", index=False)


def test_text_is_read_as_the_text_trained_on(tmp_path: Path):
    """The third word is rare: it has an id only because the vocabulary is the run's."""
    moods = [("good", "fine"), ("bad", "poor")]
    text = [f"a {moods[i % 2][i // 2 % 2]} day number {i // 9}" for i in range(60)]
    frame = pd.DataFrame({"text": text, "mood": [i % 2 for i in range(60)], "split": ["train", "train", "test"] * 20})
    frame.to_csv(tmp_path / "moods.csv", index=False)
    data = Dataset.from_table(tmp_path / "moods.csv", label="mood", text="text", split="split")
    run = trained_on(data, tmp_path / "run-moods", net="tokens:width=4")
    frame.query("split == 'test'")[["text"]].iloc[::-1].to_csv(tmp_path / "new.csv", index=False)
    found = predict(run, tmp_path / "new.csv")
    np.testing.assert_allclose(found[["p(0)", "p(1)"]], said(run)[::-1], atol=1e-5)


def save(folder: Path, pixels: Tensor) -> None:
    """Images ``(n, 3, H, W)`` as files without loss, in their order."""
    folder.mkdir(parents=True)
    for number, image in enumerate(pixels.permute(0, 2, 3, 1).numpy()):
        Image.fromarray(image).save(folder / f"{number:03}.png")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Run, Path]]:
    """A run on a folder of images, scaled to 8 pixels, and its test images."""
    root = tmp_path_factory.mktemp("photos")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LONGCUT_CACHE", str(root / "cache"))
        for seed, part in enumerate(("train", "test")):
            pixels = torch.randint(0, 120, (2, 12, 3, 16, 16), dtype=torch.uint8, generator=generator(seed))
            for kind, level in (("day", 120), ("night", 0)):
                save(root / "photos" / part / kind, pixels[level // 120] + level)
        yield trained_on(Dataset.from_folder(root / "photos", size=8), root / "run-photos"), root / "photos" / "test"


def test_a_folder_is_read_as_the_one_trained_on(photos: tuple[Run, Path]):
    run, folder = photos
    steps = []
    found = predict(run, folder, progress=lambda *done: steps.append(done))
    assert found["name"].tolist() == [f"{kind}/{n:03}.png" for kind in ("day", "night") for n in range(12)]
    np.testing.assert_allclose(found[["p(day)", "p(night)"]], said(run), atol=1e-5)
    assert found["label"].tolist() == ["day"] * 12 + ["night"] * 12
    assert np.mean(found["right"]) == pytest.approx(run.scores().values["average"])
    assert steps[-1] == (24, 24)


def test_images_need_no_class_folders(photos: tuple[Run, Path]):
    run, folder = photos
    found = predict(run, folder / "night")
    assert found["name"].tolist() == [f"{n:03}.png" for n in range(12)]
    assert "label" not in found.columns
    np.testing.assert_allclose(found[["p(day)", "p(night)"]], said(run)[12:], atol=1e-5)


def test_images_may_be_listed_in_a_table(photos: tuple[Run, Path]):
    run, folder = photos
    (folder.parent / "list.csv").write_text("path,weather\ntest/night/003.png,rain\ntest/day/000.png,sun\n")
    found = predict(run, folder.parent / "list.csv")
    assert found["name"].tolist() == ["test/night/003.png", "test/day/000.png"]
    np.testing.assert_allclose(found[["p(day)", "p(night)"]], said(run)[[15, 0]], atol=1e-5)


def test_a_class_that_the_run_does_not_know(photos: tuple[Run, Path], tmp_path: Path):
    save(tmp_path / "nigth", torch.zeros(1, 3, 16, 16, dtype=torch.uint8))
    with pytest.warns(UserWarning, match="does not know the label 'nigth' of 1 of 1 samples"):
        found = predict(photos[0], tmp_path)
    assert "label" not in found


def test_images_for_a_run_on_generated_data_are_taken_as_they_are(
    run_of: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("LONGCUT_CACHE", str(tmp_path / "cache"))
    run = run_of("mlp")
    save(tmp_path / "digits", stored_samples(run)[:20])
    found = predict(run, tmp_path / "digits")
    np.testing.assert_allclose(found[[f"p({digit})" for digit in range(10)]], said(run)[:20], atol=1e-5)
    save(tmp_path / "large", torch.zeros(1, 3, 16, 16, dtype=torch.uint8))
    with pytest.raises(UserError, match=r"16×16 pixels, but .* 8×8"):
        predict(run, tmp_path / "large")


@pytest.mark.parametrize("case", ["mlp", "tiny", "tokens", "regression"])
def test_arrays_are_taken_as_they_are(run_of: MakeRun, tmp_path: Path, case: str):
    run = run_of(case)
    np.savez(tmp_path / "new.npz", x=stored_samples(run).numpy())
    found = predict(run, tmp_path / "new.npz")
    classes = [name for name in found.columns if name.startswith("p(")] or ["prediction"]
    np.testing.assert_allclose(found[classes], said(run), atol=1e-5)
    assert not {"label", "right"} & set(found.columns)


def test_arrays_with_labels(run_of: MakeRun, tmp_path: Path):
    run = run_of("mlp")
    label = run.predictions()["label"].numpy()
    np.savez(tmp_path / "new.npz", x=stored_samples(run).numpy(), y=label)
    found = predict(run, tmp_path / "new.npz")
    assert found["label"].tolist() == [str(value) for value in label]
    assert np.mean(found["right"]) == pytest.approx(run.scores().values["average"])


def test_arrays_read_as_those_trained_on(tmp_path: Path):
    x = np.random.default_rng(0).normal(size=(60, 5)).astype(np.float32)
    np.savez(tmp_path / "all.npz", x=x, species=np.where(x[:, 0] > 0, "wren", "robin"))
    run = trained_on(Dataset.from_arrays(tmp_path / "all.npz", label="species"), tmp_path / "run-species")
    test = run.predictions()["index"].numpy()
    np.savez(tmp_path / "new.npz", x=x[test], species=np.array(["wren"] * len(test)))
    found = predict(run, tmp_path / "new.npz")
    np.testing.assert_allclose(found[["p(robin)", "p(wren)"]], said(run), atol=1e-5)
    assert set(found["label"]) == {"wren"}
    np.savez(tmp_path / "new.npz", x=x[:, :4])
    with pytest.raises(UserError, match="give samples of the same shape"):
        predict(run, tmp_path / "new.npz")


# --- predictions as a file --------------------------------------------------------------------------------------------


def test_predictions_are_written_and_read_back(tmp_path: Path):
    names = ["=1+1.png", 'a,"b".png', "zwei\nZeilen", "größer.png"]
    frame = pd.DataFrame({"name": names, "probability": np.array([0.1, 1, 0.25, 0], np.float32)})
    path = write_predictions(frame, tmp_path / "new" / "predictions.csv")
    assert [file.name for file in path.parent.iterdir()] == ["predictions.csv"]
    back = pd.read_csv(path)
    assert back["name"].tolist() == ["'=1+1.png", *names[1:]]  # which no spreadsheet works out
    assert back["probability"].tolist() == [0.1, 1, 0.25, 0]


def test_predictions_that_cannot_be_written(tmp_path: Path):
    with pytest.raises(UserError, match=r"cannot write .*; choose another place"):
        write_predictions(pd.DataFrame({"name": [1]}), tmp_path)
