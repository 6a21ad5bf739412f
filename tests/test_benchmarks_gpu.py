"""The scripts in ``benchmarks/gpu``, on the CPU and on digits."""

from __future__ import annotations

import copy
import importlib
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from helpers import declare
from safetensors.torch import load_file, save_file

from longcut import papers, runs
from longcut.data import Info
from longcut.errors import UserError
from longcut.methods import Method, build

FOLDER = Path(__file__).parents[1] / "benchmarks" / "gpu"
PAPER: dict[str, Any] = {
    "source": "nobody",
    "metric": "Accuracy",
    "seeds": 2,
    "data": {
        "digits": {"few": "colored-digits"},
        "worst": {
            "average": {"spec": "colored-digits", "reads": "train_weighted"},
            "worst": {"spec": "colored-digits", "reads": "worst_group"},
            "difference": {"spec": "colored-digits", "reads": "average", "relative": True},
        },
    },
    "settings": {
        "colored-digits": {"epochs": 3, "net": "mlp:hidden=4", "lff": {"net": "resnet50:weights=FILE,width=2"}}
    },
    "row": [
        {"name": "twice", "tables": ["groups"], "method": "jtt", "against": "once", "worst": "unpublished"},
        {"name": "once", "tables": ["groups"], "method": "erm", "worst": {"worst": [30.0]}},
        {"name": "theirs", "tables": ["groups"], "worst": {"worst": [40.0]}},
        {"name": "pretrained", "tables": ["photos"], "method": "lff", "worst": {"worst": [50.0]}},
        {"name": "plain", "tables": ["one"], "method": "erm", "digits": [[20.0, 1.0]]},
        {"name": "mixed", "tables": ["one"], "method": "selecmix", "digits": "unpublished"},
    ],
}
IMAGES = Info("images", (3, 12, 12), 3, n_stored=8)


def script(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module(name)


# --- run --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def sliced(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    declare(monkeypatch, {"paper": PAPER})
    return script("run", monkeypatch)


def test_slices_end_in_the_same_bits(sliced: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """A slice without time does a single epoch."""
    command = ["paper/one", "--seeds", "1", "--device", "cpu", "--out"]
    assert sliced.main([*command, str(tmp_path / "whole"), "--minutes", "9"]) == 0
    status = [sliced.MORE]
    while status[-1] == sliced.MORE and len(status) < 40:  # the biased model of mixed has epochs of its own
        status.append(sliced.main([*command, str(tmp_path / "cut"), "--minutes", "0"]))
    assert status[-1] == 0
    assert len(status) > 6
    assert "more to do" in capsys.readouterr().out
    whole, cut = (sorted(runs.find([tmp_path / name])) for name in ("whole", "cut"))
    assert [run.name for run in whole] == [run.name for run in cut]
    assert len(whole) == 2
    for one, other in zip(whole, cut, strict=True):
        weights, again = runs.read(one).weights(), runs.read(other).weights()
        assert all(torch.equal(weights[key], again[key]) for key in weights)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "cut").rglob("run.json")}
    results = papers.run("paper/one", seeds=1, out=tmp_path / "cut" / "plain")
    assert [r["row"] for r in results] == ["plain", "mixed"]
    assert {path: path.stat().st_mtime_ns for path in before} == before, "the table is made of these runs"


def test_a_run_of_several_columns_is_done_once(sliced: ModuleType, tmp_path: Path):
    plans = [task.plan for task in papers.queue(["paper/groups"]).tasks]
    assert [(one.label, one.seed) for one in plans] == [("twice", 0), ("once", 0), ("twice", 1), ("once", 1)]
    (difference, base) = papers.queue(["paper/groups"], ["difference"], 1).tasks
    assert (difference.plan.label, base.plan.label) == ("twice", "once"), "what a number is relative to is run, too"
    command = ["paper/groups", "--seeds", "1", "--epochs", "1", "--device", "cpu", "--out", str(tmp_path)]
    assert sliced.main(command) == 0
    results = papers.run("paper/groups", seeds=1, out=tmp_path / "plain", settings={"epochs": "1"})
    assert [(r["row"], r["column"], r["seeds"]) for r in results] == [
        *(("twice", column, 1) for column in ("average", "worst", "difference")),
        ("once", "worst", 1),
        ("theirs", "worst", 0),
    ]
    assert len(runs.find([tmp_path])) == 2


def test_weights_are_named(sliced: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    command = ["paper/photos", "--seeds", "1", "--epochs", "1", "--device", "cpu", "--out", str(tmp_path / "runs")]
    assert sliced.main(command) == 2
    assert "starts from pretrained weights; say where they are" in capsys.readouterr().err
    assert sliced.main([*command, "--weights", str(tmp_path / "resnet50.pth")]) == 2
    assert f"there is no file {tmp_path / 'resnet50.pth'}" in capsys.readouterr().err
    assert sliced.main([*command, "--weights", "none"]) == 0
    (folder,) = (tmp_path / "runs" / "plain").rglob("run.json")
    assert json.loads(folder.read_text("utf-8"))["plan"]["net"] == "resnet50:weights=none,width=2"


def test_ways_have_folders_of_their_own(sliced: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    command = [
        "paper/one",
        "--only",
        "plain",
        "--seeds",
        "1",
        "--epochs",
        "1",
        "--device",
        "cpu",
        "--out",
        str(tmp_path),
    ]
    assert sliced.main([*command, "--ways", "channels-last,bf16"]) == 0
    (folder,) = runs.find([tmp_path])
    assert folder.parts[len(tmp_path.parts)] == "bf16+channels-last"
    assert sliced.main([*command, "--ways", "fp4"]) == 2
    assert "way fp4 is not known; join some of bf16, channels-last, compile by commas." in capsys.readouterr().err
    assert sliced.main(["paper/two", "--out", str(tmp_path)]) == 2
    assert sliced.main([*command, "--set", "lr=0"]) == 2
    assert "lr=0 is not allowed" in capsys.readouterr().err
    assert sliced.main([*command, "--set", "lr"]) == 2
    assert "'lr' of --set is not key=value; write --set lr=0.01." in capsys.readouterr().err


# --- fast -------------------------------------------------------------------------------------------------------------


def method_of(name: str = "selecmix") -> Method:
    options = {"pairs": "learned"} if name == "selecmix" else {}  # with a second net beside the main one
    return build(name, IMAGES, net="conv:width=8", options=options).eval()


def test_half_precision_is_of_the_layers_alone(monkeypatch: pytest.MonkeyPatch):
    fast = script("fast", monkeypatch)
    plain, half = method_of(), fast.faster(method_of(), ["bf16"])
    x = torch.rand(8, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    for ask in (lambda method: method(x), lambda method: method.net.features(x), lambda method: method.embedding(x)):
        one, other = ask(plain), ask(half)
        assert other.dtype == torch.float32
        assert not torch.equal(one, other), "computed otherwise"
        torch.testing.assert_close(one, other, atol=0.05, rtol=0.05)
    assert plain.state_dict().keys() == half.state_dict().keys()
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), half.parameters(), strict=True))
    changed = copy.deepcopy(half.net)
    with torch.no_grad():
        changed.head.weight.zero_()  # type: ignore[union-attr]
    assert not torch.equal(changed(x), half(x)), "a copy computes with its own weights"


def test_channels_last_changes_nothing_but_the_order(monkeypatch: pytest.MonkeyPatch):
    fast = script("fast", monkeypatch)
    plain, other = method_of("erm"), fast.faster(method_of("erm"), ["channels-last"])
    x = torch.rand(4, 3, 12, 12)
    torch.testing.assert_close(plain(x), other(x))
    first = next(p for p in other.parameters() if p.ndim == 4 and p.shape[1] > 1)
    assert first.is_contiguous(memory_format=torch.channels_last)


def test_every_network_is_compiled(monkeypatch: pytest.MonkeyPatch):
    fast = script("fast", monkeypatch)
    compiled = []
    monkeypatch.setattr(fast.Net, "compile", lambda net: compiled.append(net))
    method = fast.faster(method_of(), ["compile"])
    assert len(compiled) == 2
    assert method.net in compiled


def test_ways_are_compared_with_plain(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    fast = script("fast", monkeypatch)
    monkeypatch.setattr(fast.Net, "compile", lambda net: (_ for _ in ()).throw(RuntimeError("no compiler\nhere")))
    command = ["--data", "colored-digits:ratio=0.5", "--method", "erm", "--net", "mlp:hidden=32", "--device", "cpu"]
    fast.main([*command, "--epochs", "12", "--seeds", "2", "--json"])
    ways = json.loads(capsys.readouterr().out)["ways"]
    assert list(ways) == ["bf16", "channels-last", "compile", "bf16+channels-last+compile"]
    assert ways["compile"] == {"failed": "RuntimeError: no compiler"}
    for name in ("bf16", "channels-last"):
        assert ways[name]["ratio"] > 0
        assert len(ways[name]["accuracy"]) == len(ways[name]["plain"]) == 2
    assert ways["channels-last"]["accuracy"] == ways["channels-last"]["plain"], "an mlp has no channels"
    for one, other in zip(ways["bf16"]["accuracy"], ways["bf16"]["plain"], strict=True):
        assert one == pytest.approx(other, abs=0.05)
    fast.main([*command, "--epochs", "1", "--seeds", "1"])
    text = capsys.readouterr().out
    assert "not possible here: RuntimeError: no compiler" in text
    assert "1 epochs, 1 seeds, last epoch" in text


# --- pack -------------------------------------------------------------------------------------------------------------


def filled(folder: Path) -> dict[str, bytes]:
    content = {"a.npy": bytes(range(256)) * 10, "deep/b.bin": b"xyz", "empty": b"", "z": b"\x00" * 999}
    for name, data in content.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return content


def test_what_is_unpacked_is_what_was_packed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    pack = script("pack", monkeypatch)
    content = filled(tmp_path / "data")
    shards = pack.pack(tmp_path / "data", tmp_path / "shards", size=1000)
    assert len(shards) == 4, "2560 + 3 + 0 + 999 bytes; the last 999 do not fit beside the third piece"
    for shard in shards:
        assert sum(tensor.numel() for tensor in load_file(shard).values()) <= 1000
    pack.unpack(tmp_path / "shards", tmp_path / "again")
    assert {name: (tmp_path / "again" / name).read_bytes() for name in content} == content
    assert len([path for path in (tmp_path / "again").rglob("*") if path.is_file()]) == len(content)


def test_shards_stay_below_60_megabytes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    pack = script("pack", monkeypatch)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "images.bin").write_bytes(bytes(70_000_000))
    assert pack.main(["pack", str(tmp_path / "data"), str(tmp_path / "shards")]) == 0
    sizes = [path.stat().st_size for path in sorted((tmp_path / "shards").iterdir())]
    assert len(sizes) == 2
    assert max(sizes) < 60_000_000


def test_shards_that_are_missing_damaged_or_not_to_be_trusted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    pack = script("pack", monkeypatch)
    filled(tmp_path / "data")
    one, *_ = pack.pack(tmp_path / "data", tmp_path / "shards", size=1000)
    with pytest.raises(UserError, match=r"shards is not empty; choose a new folder\."):
        pack.pack(tmp_path / "data", tmp_path / "shards")
    original = one.read_bytes()
    one.write_bytes(original[:-1] + bytes([original[-1] ^ 1]))
    with pytest.raises(UserError, match=r"is not what was packed; bring the shards"):
        pack.unpack(tmp_path / "shards", tmp_path / "again")
    one.write_bytes(original[:20])
    with pytest.raises(UserError, match=r"is no shard, or is damaged; bring it again\."):
        pack.unpack(tmp_path / "shards", tmp_path / "again")
    one.unlink()
    with pytest.raises(UserError, match=r"holds 3 of 4 shards; bring the others\."):
        pack.unpack(tmp_path / "shards", tmp_path / "again")
    (tmp_path / "none").mkdir()
    with pytest.raises(UserError, match=r"holds 0 of all shards; bring the others\."):
        pack.unpack(tmp_path / "none", tmp_path / "again")
    with pytest.raises(UserError, match=r"there are no files in .*none; name the folder of a data set\."):
        pack.pack(tmp_path / "none", tmp_path / "more")
    (tmp_path / "bad").mkdir()
    about = {"pieces": [["../out", 0, 1]], "sha256": {"../out": ""}, "shards": 1}
    save_file(
        {"0": torch.zeros(1, dtype=torch.uint8)}, tmp_path / "bad" / "0.safetensors", {"about": json.dumps(about)}
    )
    with pytest.raises(UserError, match=r"names the file \.\./out, outside of the folder; do not trust it\."):
        pack.unpack(tmp_path / "bad", tmp_path / "again")
    assert not (tmp_path / "out").exists()
    assert pack.main(["unpack", str(tmp_path / "bad"), str(tmp_path / "again")]) == 2
