"""``benchmarks/peers.py``: pieces that agree, packages that are not there, and programs that the tests make."""

from __future__ import annotations

import importlib
import json
import sys
import textwrap
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from longcut.data import Dataset, Splits
from longcut.datasets import load
from longcut.errors import UserError


def part(name: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module of ``benchmarks/``, as its neighbours see it."""
    monkeypatch.syspath_prepend(Path(__file__).parent.parent / "benchmarks")
    return importlib.import_module(name)


@pytest.fixture
def peers(monkeypatch: pytest.MonkeyPatch) -> Any:
    return part("peers", monkeypatch)


@pytest.fixture
def data() -> Splits:
    return load("colored-digits")


# --- packages ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("package", ["torchmetrics", "fairlearn", "skorch"])
def test_what_both_say_agrees(package: str, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip(package)
    rows = list(part("peers_packages", monkeypatch).rows(package, 1, True, 0.0))
    assert rows and all(0 < row["low"] <= row["ratio"] <= row["high"] for row in rows)
    assert all(row["gap"] < (0.3 if package == "skorch" else 1e-6) for row in rows), "a training is not to the bit"


def test_a_package_that_does_not_import_is_a_row_that_says_so(monkeypatch: pytest.MonkeyPatch):
    module = part("peers_packages", monkeypatch)
    monkeypatch.setitem(sys.modules, "skorch", None)
    (row,) = module.rows("skorch", 1, True)
    assert row["peer"] == "skorch" and "ModuleNotFoundError" in row["why"]


def test_a_ratio_is_of_the_pair_and_a_short_piece_is_done_often(monkeypatch: pytest.MonkeyPatch):
    module, clock, calls = part("peers_packages", monkeypatch), [0.0], {"ours": 0, "theirs": 0}

    def taking(side: str, seconds: float) -> Any:
        def work() -> None:
            calls[side] += 1
            clock[0] += seconds

        return work

    monkeypatch.setattr(module.time, "process_time", lambda: clock[0])
    piece = module.Piece("x", taking("ours", 0.001), taking("theirs", 0.003), lambda: 0.5, "it")
    row = module.measured(piece, 3, shortest=0.03)
    assert row["ratio"] == pytest.approx(3) and row["ours_ms"] == pytest.approx(1) and row["gap"] == 0.5
    assert calls == {"ours": 32, "theirs": 32}, "two to warm up, then three times ten"


def test_the_formula_is_told_from_labels_and_a_wrong_one_is_seen(monkeypatch: pytest.MonkeyPatch):
    pieces = part("peers_pieces", monkeypatch)

    def peer(x: torch.Tensor, label: torch.Tensor, share: float = 0.7) -> tuple[torch.Tensor, torch.Tensor]:
        soft = torch.eye(len(x))
        return 0.7 * x + 0.3 * x.flip(0), share * soft[label] + (1 - share) * soft[label.flip(0)]

    assert pieces.formula(peer, (4, 1, 2, 2)) < 1e-6
    assert pieces.formula(lambda x, label: peer(x, label, 0.6), (4, 1, 2, 2)) > 0.01

    def cut(x: torch.Tensor, label: torch.Tensor, rows: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
        mixed, soft = x.clone(), torch.eye(len(x))
        mixed[:, :, :rows] = x.flip(0)[:, :, :rows]
        return mixed, 0.75 * soft[label] + 0.25 * soft[label.flip(0)]

    assert pieces.pixels(cut, (4, 1, 4, 4)) == 0
    assert pieces.pixels(lambda x, label: cut(x, label, 2), (4, 1, 4, 4)) == pytest.approx(0.25)


def wheel(folder: Path) -> Path:
    """A package of one module, to be installed without any index."""
    path = folder / "standin-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("standin.py", "import torch\nfile = torch.__file__\n")
        about = "Metadata-Version: 2.1\nName: standin\nVersion: 1.0\nRequires-Dist: torch==0.1\n"
        archive.writestr("standin-1.0.dist-info/METADATA", about)
        archive.writestr(
            "standin-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr("standin-1.0.dist-info/RECORD", "")
    return path


def test_the_environment_keeps_the_torch_that_is_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    env = part("peers_env", monkeypatch)
    python = env.made(tmp_path / "env")
    assert env.made(tmp_path / "env") == python, "made once"
    assert env.installed(python, [str(wheel(tmp_path))]) == "", "without the torch that it asks for"
    programs = part("peers_programs", monkeypatch)
    asked = [str(python), "-c", "import standin; print(standin.file)"]
    assert programs.watched(asked, tmp_path, env.settings())[2].strip() == torch.__file__
    assert env.installed(python, ["--no-index", "nothing-of-this-name"]), "why it cannot be had"


def test_what_cannot_be_installed_is_a_row_and_the_rest_is_measured(
    peers: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(peers, "made", lambda folder: Path(sys.executable))
    monkeypatch.setattr(peers, "installed", lambda python, names: "not found" if "timm==1.0.31" in names else "")
    told = tmp_path / "measures.py"
    told.write_text(
        "import json, sys\nprint(json.dumps({'peer': sys.argv[1], 'arguments': sys.argv[2:]}))\nsys.exit(3)\n"
    )
    monkeypatch.setattr(peers, "MEASURES", told)
    rows = list(peers.packages(tmp_path, ["timm", "skorch"], 5, True))
    assert rows == [
        {"peer": "timm", "why": "not found"},
        {"peer": "skorch", "arguments": ["--pairs", "5", "--small"]},
        {"peer": "skorch", "why": "measuring ended with 3"},
    ]


# --- programs ---------------------------------------------------------------------------------------------------------


def first(data: Splits) -> Splits:
    """Forty samples of each part; the validation samples are the training samples."""
    return Splits(*(some.take(torch.arange(40)) for some in (data.train, data.train, data.test)))


STANDIN = """
    import argparse, subprocess, sys
    from pathlib import Path
    import numpy as np
    from PIL import Image

    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--epochs", type=int)
    given = parser.parse_args()
    train = given.data / "cmnist" / "1pct"
    for side in ("align", "conflict"):
        files = sorted((train / side).glob("*/*.png"))
        assert files, side
        for file in files:
            who, target, bias = file.stem.split("_")
            assert file.parent.name == target and (target == bias) == (side == "align")
            assert Image.open(file).mode == "RGB"
    assert list((train / "valid").glob("*.png")) and list((given.data / "cmnist" / "test").glob("*/*.png"))
    hold = "import numpy, time; x = numpy.ones(20_000_000); time.sleep(0.4)"
    subprocess.run([sys.executable, "-c", hold])  # 160 MB in a process of its own
    print("epoch", given.epochs, "best_acc: 12.5, test accuracy = 61.5")
"""


def standin(folder: Path, text: str = STANDIN) -> Path:
    folder.mkdir()
    (folder / "train.py").write_text(textwrap.dedent(text))
    return folder


def test_a_program_and_ours_train_on_the_same_files(peers: Any, tmp_path: Path, capsys: Any):
    folder, file = standin(tmp_path / "checkout"), tmp_path / "peers.json"
    command = "selecmix={python} train.py {data} --epochs {epochs}"
    options = ["--method", "selecmix=erm", "--epochs", "1", "--json", str(file)]
    peers.main(["--peer", f"selecmix={folder}", "--command", command, *options])
    (row,) = json.loads(file.read_text())["rows"]
    assert row["method"] == "erm" and row["theirs"]["accuracy"] == 0.615, "the last number"
    assert row["theirs"]["memory_mb"] > 170, "with what the child holds"
    assert 0.05 < row["ours"]["accuracy"] < 1 and row["ours"]["memory_mb"] > 100
    assert row["ratio"] == pytest.approx(row["theirs"]["seconds"] / row["ours"]["seconds"])
    assert "61.5 %" in capsys.readouterr().out


def test_without_a_command_or_with_one_that_fails_a_row_says_why(peers: Any, tmp_path: Path, data: Splits):
    folder = standin(tmp_path / "checkout", "import sys; sys.exit('no CUDA here')")
    same = peers.Same(epochs=1)
    assert "run_expt.py" in peers.beside("group_dro", folder, "", data, same)["why"]
    assert "no folder" in peers.beside("group_dro", tmp_path / "none", "true", data, same)["why"]
    assert (
        "theirs: it ended with 1: no CUDA here" in peers.beside("lff", folder, "{python} train.py", data, same)["why"]
    )
    with pytest.raises(UserError, match="--peer names 'lfff'"):
        peers.main(["--peer", "lfff=x"])


@pytest.mark.parametrize("name", ["selecmix", "dfa", "lff", "group_dro", "dfr", "jtt", "spuco", "subpopbench"])
def test_longcut_reads_what_it_wrote_for_others(
    name: str, tmp_path: Path, data: Splits, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("LONGCUT_CACHE", str(tmp_path / "cache"))
    programs, layouts = part("peers_programs", monkeypatch), part("peers_layouts", monkeypatch)
    few = first(data)
    program = programs.PROGRAMS[name]
    few = layouts.parity(few) if program.binary else few
    (tmp_path / "data").mkdir()
    back = load(layouts.LAYOUTS[program.layout](few, tmp_path / "data"))

    def every(some: Dataset) -> list[Any]:
        assert some.attribute is not None
        columns = some.gather(torch.arange(40)).flatten(1), some.label, some.attribute
        return sorted(zip(*(column.tolist() for column in columns), strict=True))

    assert every(back.train) == every(few.train) and every(back.test) == every(few.test)


def test_layouts_have_the_columns_that_programs_ask_for(tmp_path: Path, data: Splits, monkeypatch: pytest.MonkeyPatch):
    import numpy as np
    import pandas as pd

    layouts = part("peers_layouts", monkeypatch)
    few = layouts.parity(first(data))
    folders = {name: tmp_path / name for name in layouts.LAYOUTS}
    for name, folder in folders.items():
        folder.mkdir()
        layouts.LAYOUTS[name](few, folder)
    birds = pd.read_csv(folders["birds"] / layouts.BIRDS / "metadata.csv")
    assert list(birds) == ["img_id", "img_filename", "y", "split", "place", "place_filename"]
    assert birds["split"].value_counts().to_dict() == {0: 40, 1: 40, 2: 40} and set(birds["y"]) == {0, 1}
    assert "Unnamed: 0" in pd.read_csv(folders["jtt"] / layouts.BIRDS / "metadata.csv")
    assert (folders["wilds"] / "waterbirds_v1.0" / "RELEASE_v1.0.txt").exists()
    bench = folders["subpopbench"] / "waterbirds"
    table = pd.read_csv(bench / "metadata_waterbirds.csv")
    assert list(table) == ["id", "filename", "split", "y", "a"] and (bench / table["filename"][0]).exists()
    lff = folders["arrays"] / "ColoredMNIST-Skewed0.01-Severity4" / "train"
    images, told = np.load(lff / "images.npy"), np.load(lff / "attrs.npy")
    assert images.shape == (40, 8, 8, 3) and images.dtype == np.uint8
    assert told[:, 0].tolist() == few.train.label.tolist() and few.train.attribute is not None
    assert told[:, 1].tolist() == few.train.attribute.tolist()


@pytest.mark.parametrize(
    ("text", "found"),
    [("Test Acc: 91.2\ntest_acc_best=0.5", 0.5), ("accuracy 83", 0.83), ("acc@1: 40.0 loss 3", 0.4), ("loss 3", None)],
)
def test_accuracy_is_the_last_number_behind_its_name(text: str, found: float | None, monkeypatch: pytest.MonkeyPatch):
    programs = part("peers_programs", monkeypatch)
    assert programs.accuracy(text, programs.ACCURACY) == found
