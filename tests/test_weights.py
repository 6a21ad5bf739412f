"""The weights of a finished run's training samples, as a table and as a file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from longcut import identify, runs
from longcut.cells import cell_weights
from longcut.cli import app
from longcut.datasets import load
from longcut.deploy import sample_weights
from longcut.errors import UserError
from longcut.execute import execute
from longcut.identify import Identification, columns
from longcut.plans import plan

TOLD = {"identify": "attribute", "epochs": 1, "net": "mlp:hidden=4"}


def weighed(folder: Path, data: str = "colored-digits", method: str = "fg-ccdb", **settings: object) -> runs.Run:
    execute(plan(data, method, settings={**TOLD, **settings}), folder)
    return runs.read(folder)


def test_a_row_for_each_training_sample_with_the_weight_it_was_drawn_by(tmp_path: Path):
    frame = sample_weights(weighed(tmp_path / "run"))
    train = load("colored-digits").train
    assert list(frame) == ["index", "label", "shortcut", "weight"]
    assert frame["index"].tolist() == train.index.tolist()
    assert frame["label"].tolist() == [train.info.class_names[y] for y in train.label]
    assert frame["shortcut"].tolist() == [train.info.attribute_names[a] for a in train.attribute]  # type: ignore[reportOptionalIterable]
    expected = cell_weights(train.attribute, train.label)
    assert np.array_equal(frame["weight"].to_numpy(), expected.numpy())
    assert float(frame["weight"].to_numpy().mean()) == pytest.approx(1.0, abs=1e-5)


def test_a_predicted_shortcut_has_the_name_of_a_class(tmp_path: Path):
    frame = sample_weights(weighed(tmp_path / "run", identify="helper", helper_epochs=30))
    info = load("colored-digits").train.info
    assert set(frame["shortcut"]) <= set(info.class_names)
    kept = runs.read(tmp_path / "run").identification()
    assert frame["shortcut"].tolist() == [info.class_names[s] for s in kept["shortcut"][kept["index"]]]


def photos(folder: Path, n: int = 24) -> Path:
    """Two classes in folders; one has pictures that are mostly red, the other mostly green, as a table says."""
    (folder / "shots").mkdir(parents=True)
    rows = []
    for i in range(n):
        label, color = i % 2, i % 2 if i % 6 else 1 - i % 2
        picture = np.random.default_rng(i).integers(0, 90, (8, 8, 3), dtype=np.uint8)
        picture[..., color] += 120
        Image.fromarray(picture).save(folder / "shots" / f"{i}.png")
        split = "train" if i < 16 else "test"
        rows.append({"file": f"shots/{i}.png", "bird": "ab"[label], "light": "rg"[color], "split": split})
    pd.DataFrame(rows).to_csv(folder / "birds.csv", index=False)
    return folder / "birds.csv"


def test_images_from_files_are_named_by_their_path(tmp_path: Path):
    table = photos(tmp_path / "photos")
    data = f"table:path={table},label=bird,attribute=light,image=file,split=split,size=8"
    frame = sample_weights(run := weighed(tmp_path / "run", data))
    assert frame["path"].tolist() == [f"shots/{i}.png" for i in frame["index"]]
    assert len(frame) == 16 and set(frame["shortcut"]) == {"r", "g"} and set(frame["label"]) == {"a", "b"}
    rows = pd.read_csv(table).iloc[frame["index"]]
    assert rows["light"].tolist() == frame["shortcut"].tolist()
    lines = table.read_text().splitlines()
    table.write_text("\n".join([lines[0], lines[2], lines[1], *lines[3:]]) + "\n")
    with pytest.raises(UserError, match=r"the data has changed since the run in .* was made; bring the old data back"):
        sample_weights(run)


def test_methods_without_weights_say_so_and_which_has_some(tmp_path: Path):
    execute(plan("colored-digits", "erm:record=online", settings={"epochs": 1}), tmp_path / "run")
    with pytest.raises(UserError, match="is of erm, which leaves no sample weights; train with fg-ccdb or jtt"):
        sample_weights(runs.read(tmp_path / "run"))
    execute(plan("colored-digits", "erm", settings={"epochs": 1}), tmp_path / "erm")
    assert runs.read(tmp_path / "erm").identification() == {}
    with pytest.raises(UserError, match="is of erm, which leaves no sample weights"):
        sample_weights(runs.read(tmp_path / "erm"))


def test_the_command_writes_the_table_and_tells_the_range(tmp_path: Path):
    run, out = weighed(tmp_path / "run"), tmp_path / "deep" / "weights.csv"
    done = CliRunner().invoke(app, ["weights", str(run.folder), "-o", str(out), "--json"])
    frame = pd.read_csv(out)
    assert json.loads(done.stdout) == {
        "weights": str(out),
        "samples": 1000,
        "smallest": pytest.approx(frame["weight"].min()),
        "largest": pytest.approx(frame["weight"].max()),
    }
    torch.testing.assert_close(
        torch.tensor(frame["weight"].to_numpy()).float(),
        torch.tensor(sample_weights(run)["weight"].to_numpy()),
    )
    text = CliRunner().invoke(app, ["weights", str(run.folder), "-o", str(out)]).stdout
    assert text.startswith("1000 weights, from 0.") and f"and 1 on average, are in {out}" in text


def test_the_command_refuses_in_one_line(tmp_path: Path):
    execute(plan("colored-digits", "erm", settings={"epochs": 1}), tmp_path / "run")
    done = CliRunner().invoke(app, ["weights", str(tmp_path / "run"), "-o", str(tmp_path / "w.csv")])
    assert done.exit_code == 2 and done.stderr.count("\n") == 1 and "leaves no sample weights" in done.stderr
    assert not (tmp_path / "w.csv").exists()


def test_what_a_run_keeps_of_others_is_what_it_was():
    train = load("colored-digits").train
    assert set(columns(Identification(torch.zeros(1797, dtype=torch.bool)), train)) == {
        "index",
        "label",
        "attribute",
        "chosen",
    }
    assert identify.NAME == "identification.safetensors"
