"""Mistakes on the command line are said before anything slow is imported, in the words of who would say them later."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.numpy import save_file
from typer.testing import CliRunner

from longcut.cli import app, early, settings
from longcut.cli.settings import DEVICES, require_kind
from longcut.errors import UserError

READERS = ("numpy", "pyarrow")  # which a mistake in a binary file may need
SLOW = ("torch", "pandas", "scipy", "sklearn", "matplotlib", "jinja2", "joblib", *READERS)


def binary(line: str) -> bool:
    return any(kind in line for kind in (".parquet", ".safetensors", ".xlsx"))


NAMES = [
    "audit missing.csv --label y",
    "train nonsense -m erm",
    "compare nonsense",
    "embed missing/photos",
    "audit colored-digits --wrong 3",
    "train",
    "methods selecmx",
    "train colored-digits -m selecmx",
    "train colored-digits -m selecmx@papr",
    "train colored-digits -m lff --recipe papr",
    "train colored-digits -m selecmix:alpa=1",
    "train colored-digits -m erm --set lrr=1",
    "train colored-digits -m erm:net=mlpp",
    "train colored-digits --net mlp:hiden=3",
    "train colored-digits --select best:wrost_group",
    "train colored-digits --select bst",
    "train colored-digits --track tensorbord",
    "compare colored-digits --methods erm,selecmx",
    "compare colored-digits --helper erm:recrd=online",
    "stress colored-digits --methods selecmx",
    "stress colored-digits --cues strip",
    "stress colored-digits --strengths hrd",
    "audit colored-digits --net mlpp",
    "audit colored-digits:rato=1",
    "audit colored-digits --label y",
    "audit colored-digits --features minilmm",
    "audit colored-digits --baseline nowhere",
    "audit colored-digits --model nowhere",
    "audit people.csv",
    "audit people.csv --label rihc",
    "audit people.csv --label rich --attribute sx",
    "audit people.csv --label rich --columns age,hieght",
    "audit people.csv --label rich --column hieght",
    "audit people.parquet --label rihc",
    "audit people.parquet --label rich --attribute sx",
    "audit people.parquet --label rich --column hieght",
    "audit people.jsonl --label rihc",
    "audit people.jsonl --label rich --attribute sx",
    "audit people.json --label rihc",
    "audit people.xlsx --label rihc",
    "audit people.xlsx --label rich --column hieght",
    "audit people.npz --label rihc",
    "audit people.npz --attribute sx",
    "audit people.safetensors --split prat",
    "embed people.csv --label rich --text abuot",
    "embed colored-digits --with minilmm",
    "evaluate nowhere",
    "predict nowhere people.csv",
    "predict run nowhere.csv",
    "difference nowhere other",
    "difference run run --metric wrost_group",
    "postprocess nowhere",
    "postprocess run --constraint equal-ods",
    "postprocess run --rule scors",
    "weights nowhere",
    "export nowhere --to onnx",
    "export run --to onx",
    "report nowhere",
    "runs nowhere",
    "annotate nowhere",
    "annotate run --rule suspicious",
    "reproduce selecmix/tabel1",
    "reproduce selecmix/table1 --only 3%",
    "reproduce all --hours 1 --only nobody",
]
VALUES = [
    "train colored-digits --epochs 0",
    "train colored-digits --seed -1",
    "train colored-digits --processes 0",
    "train colored-digits --set lr=abc",
    "train colored-digits --set epochs=0",
    "train colored-digits --set epochs=2 --epochs 2",
    "train colored-digits -m erm:lr=-1",
    "train colored-digits -m erm:optimizer=adm",
    "train colored-digits -m erm:milestones=half",
    "train colored-digits -m erm:augment=crop-flp",
    "train colored-digits -m erm:augment=crop-flip+cutout:side=big",
    "train colored-digits -m erm:loss=huber:delta=0",
    "train colored-digits -m lff@paper --recipe paper",
    "train colored-digits -m lff:q=nan",
    "train colored-digits -m selecmix:mode=C",
    "train colored-digits -m selecmix:blend=linaer",
    "train colored-digits -m mixup:partner=anyon",
    "train colored-digits --net mlp:scale=abc",
    "train colored-digits --net mlp:norm=bacth",
    "train colored-digits:ratio=2",
    "train planted:data=colored-digits%3Aratio=2,cue=none",
    "train adult:sensitive=height",
    "train colored-digits --device cudda",
    "train colored-digits --device cuda:x",
    "train people.csv --label rich --task regresion",
    "compare colored-digits --methods erm,lff:q=abc",
    "compare colored-digits --helper erm:record=onlin",
    "compare colored-digits --seeds 0",
    "compare colored-digits --backend dsk",
    "compare colored-digits --scheduler tcp://10.0.0.1:8786",
    "stress colored-digits --methods lff:q=abc",
    "stress colored-digits --ratio 2",
    "audit colored-digits --level 7",
    "audit colored-digits --net mlp:dropout=1",
    "audit colored-digits --fail-on notce",
    "audit people.csv --label rich --attribute-bins 1",
    "embed colored-digits --with hf:nam=x",
    "evaluate run --device cudda",
    "predict run people.csv --device cudda",
    "postprocess run --device cudda",
    "postprocess run --loss 2",
    "reproduce selecmix/table1 --device cudda",
    "reproduce selecmix/table1 --scheduler tcp://10.0.0.1:8786",
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a table, arrays, and something like a run."""
    place = tmp_path_factory.mktemp("typed")
    table = pd.DataFrame({"age": range(30, 90), "sex": ["f", "m"] * 30, "rich": ["yes", "no", "no"] * 20})
    table.to_csv(place / "people.csv", index=False)
    table.set_index("age", drop=False).to_parquet(place / "people.parquet")
    table.to_json(place / "people.jsonl", orient="records", lines=True)
    table.to_json(place / "people.json", orient="records")
    table.to_excel(place / "people.xlsx", index=False)
    np.savez(place / "people.npz", x=np.zeros((2, 2)), y=[0, 1])
    save_file({"x": np.zeros((2, 2)), "label": np.array([0, 1])}, place / "people.safetensors")
    (place / "run").mkdir()
    (place / "run" / "run.json").write_text("{}")
    return place


@pytest.fixture(scope="module")
def answers(place: Path) -> dict[str, tuple[int, str, list[str]]]:
    """Status, what is said, and the slow packages that are there then, of each line; one process answers them all."""
    code = "\n".join(
        [
            "import contextlib, io, json, sys",
            "from longcut.__main__ import main",
            "lines, slow = json.load(sys.stdin)",
            "found = {}",
            "for line in lines:",
            "    sys.argv = ['longcut', *line.split()]",
            "    said, status = io.StringIO(), 0",
            "    try:",
            "        with contextlib.redirect_stderr(said): main()",
            "    except SystemExit as end: status = end.code",
            "    found[line] = status, said.getvalue(), sorted({*slow} & {*sys.modules})",
            "print(json.dumps(found))",
        ]
    )
    given = json.dumps([sorted([*NAMES, *VALUES], key=binary), SLOW])  # what was imported stays
    done = subprocess.run(
        [sys.executable, "-c", code], input=given, cwd=place, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize("line", [*NAMES, *VALUES])
def test_a_mistake_is_said_before_anything_slow_is_imported(line: str, answers: dict[str, tuple[int, str, list[str]]]):
    status, said, slow = answers[line]
    assert status == 2
    assert said
    assert not {*slow} - {*(READERS if binary(line) else ())}


def asleep(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody looks at what was typed but the library."""
    ignore: Any = lambda *_, **__: None  # noqa: E731
    monkeypatch.setattr("longcut.datasets.look_up", ignore)
    for name in ("given", "names", "metric", "one_of", "run"):
        monkeypatch.setattr(early, name, ignore)
    monkeypatch.setattr(settings, "require_kind", ignore)


LATER = (  # nothing is read for them but what lies there
    *(
        "--set lr",
        "lr=-1",
        "adm",
        "half",
        "crop-flp",
        "cutout",
        "huber",
        "q=nan",
        "mode=C",
        "linaer",
        "anyon",
        "ratio=2",
    ),
    *("sensitive", "regresion", "q=abc", "onlin", "--attribute-bins", "selecmx", "papr", "alpa", "lrr", "--cues"),
    *("--strengths", "rihc", "sx", "hieght", "prat", "minilmm"),
)


@pytest.mark.parametrize("line", [one for one in (*NAMES, *VALUES) if any(word in one for word in LATER)])
def test_it_is_said_as_the_library_says_it(
    line: str, place: Path, answers: dict[str, tuple[int, str, list[str]]], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(place)
    asleep(monkeypatch)
    later = CliRunner().invoke(app, line.split())
    assert (later.exit_code, later.stderr) == (2, answers[line][1])


@pytest.mark.parametrize(
    "line",
    [
        "train colored-digits -m jtt:upweight=20|50",  # several values, for longcut compare
        "train colored-digits --set net=mlp:hidden=8",
        "train colored-digits -m erm:augment=crop-flip+cutout:side=4",
        "train colored-digits -m selecmix:blend=background-box,pairs=learned",
        "audit people.parquet --label rich --column age --column sex",
        "audit people.csv --label rich --column all",
        "audit people.jsonl --label rich --attribute sex",
        "audit people.xlsx --label rich --column age",
        "compare people.npz --methods erm,lff@paper",
        "stress colored-digits --cues stripe:strength=hard+patch,none",
        "train colored-digits --device cuda:1 --track tensorboard",
    ],
)
def test_what_may_be_right_is_left_alone(line: str, place: Path, monkeypatch: pytest.MonkeyPatch):
    reached = []
    monkeypatch.chdir(place)
    monkeypatch.setattr("typer.core.TyperCommand.invoke", lambda self, ctx: reached.append(self.name))
    assert CliRunner().invoke(app, line.split()).exit_code == 0
    assert reached == [line.split()[0]]


def test_the_kinds_of_devices_are_those_of_torch():
    with pytest.raises(RuntimeError) as error:
        torch.device("nonsense")
    named = str(error.value).partition("Expected one of ")[2].partition(" device type")[0]
    assert sorted(named.split(", ")) == sorted(DEVICES)


def test_other_kinds_of_devices_come_with_their_packages(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(UserError, match="device 'npu:0' is not there; use cpu, or auto"):
        require_kind("npu:0")
    monkeypatch.setattr(settings, "entry_points", lambda group: [group])
    require_kind("npu:0")
