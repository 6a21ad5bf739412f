"""Features of a pretrained net from end to end: written, read again, audited, trained on, asked, and refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.numpy import load_file
from test_cli import FAST, call, in_an_empty_folder, printed, printed_json, refused
from test_embedded import EYE, nets, photos, sentences
from test_own_data import columns, write_images

from longcut import runs
from longcut.audit import folder as audits
from longcut.data import Dataset, Splits
from longcut.datasets import load, parse, resolve, spec_of
from longcut.datasets.store import write_features
from longcut.encoders import features
from longcut.errors import UserError
from longcut.sources.table import read_table
from longcut.sources.vectors import layer_of, read_vectors

__all__ = ["in_an_empty_folder", "nets"]  # around every test here, too


def own(path: Path | str, features: str | None = None, **flags: Any):
    return load(spec_of(*parse(resolve(str(path), features, **flags))))


@pytest.fixture
def birds(tmp_path: Path) -> Path:
    """Photos of two classes, each seen mostly in one place, with a table."""
    frame, draw = columns(), np.random.default_rng(5)
    frame["file"] = [f"{i:03}.png" for i in range(len(frame))]
    x = draw.integers(0, 60, (len(frame), 24, 30, 3), dtype=np.uint8)
    x[:, :12] += (100 * frame["label"].to_numpy(np.uint8))[:, None, None, None]
    x[:, 12:] += (100 * frame["attribute"].to_numpy(np.uint8))[:, None, None, None]
    write_images(x, [tmp_path / "birds" / name for name in frame["file"]])
    frame.to_csv(tmp_path / "birds" / "metadata.csv", index=False)
    return tmp_path / "birds" / "metadata.csv"


FLAGS = ("--label", "label", "--attribute", "attribute", "--split", "part", "--image", "file")


# --- written and read again -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".npz", ".parquet", ".npy", ".safetensors"])
def test_what_is_written_is_read_again(birds, suffix, tmp_path):
    told = printed("embed", birds, *FLAGS, "--with", "eye", "-o", f"out/f{suffix}")
    assert "5 features of each of 120 samples are in" in told.replace("\n", " ")
    typed = told.split("To read them: ")[1].split()
    path, flags = Path(typed[0]), dict(zip(typed[1::2], typed[2::2], strict=True))
    if suffix == ".npy":
        assert np.load("out/f.npy").shape == (120, 5)
    again = own(path, **{key.removeprefix("--"): value for key, value in flags.items()})
    first = own(birds, "eye", label="label", attribute="attribute", split="part", image="file")
    for part in ("train", "valid", "test"):
        one, two = getattr(first, part), getattr(again, part)
        assert torch.equal(one.gather(torch.arange(len(one))), two.gather(torch.arange(len(two))))
        assert torch.equal(one.label, two.label) and torch.equal(one.attribute, two.attribute)
        assert two.info.encoder == ("" if suffix == ".npy" else "eye@1")
        if suffix != ".safetensors":
            assert (one.info.class_names, one.info.attribute_names) == (two.info.class_names, two.info.attribute_names)
    if suffix in (".parquet", ".npy"):
        assert two.source.rows["path"].tolist() == pd.read_csv(birds)["file"].tolist()


def test_parts_with_a_storage_of_their_own_follow_each_other(tmp_path):
    made = [Dataset.of(torch.rand(n, 2), torch.arange(n) % 2, class_names=("a", "b")) for n in (4, 2, 3)]
    splits = Splits(made[0].take(torch.tensor([3, 0, 1])), made[1], made[2])
    write_features(splits, tmp_path / "f.npz")
    with np.load(tmp_path / "f.npz") as file:
        assert file["split"].tolist() == ["train"] * 3 + ["valid"] * 2 + ["test"] * 3
        assert np.array_equal(file["x"], torch.cat([made[0].x[[3, 0, 1]], made[1].x, made[2].x]).numpy())
        assert file["label"].tolist() == ["b", "a", "b", "a", "b", "a", "b", "a"]
    write_features(Splits(splits.train, None, splits.test), tmp_path / "f.safetensors")
    found = load_file(tmp_path / "f.safetensors")
    assert found["split"].tolist() == [0] * 3 + [2] * 3 and found["label"].tolist() == [1, 0, 1, 0, 1, 0]


def test_several_targets_need_a_file_of_arrays(tmp_path):
    data = Dataset.of(torch.rand(4, 2), torch.rand(4, 2))
    with pytest.raises(UserError, match="a table holds one target of each sample, and here are several; write an"):
        write_features(Splits(data, None, data), tmp_path / "f.parquet")
    other = dataclasses.replace(data, x=data.x.clone())
    write_features(Splits(data, None, other), tmp_path / "f.npz")
    assert np.array_equal(np.load(tmp_path / "f.npz")["label"], np.tile(data.label.numpy(), (2, 1)))


def test_another_kind_of_file_is_refused_before_anything_is_encoded(birds):
    assert "features are written to .npz, .npy, .parquet, .safetensors, and f.txt is none of these" in refused(
        "embed", birds, *FLAGS, "--with", "eye", "-o", "f.txt"
    )


# --- audited and trained on -------------------------------------------------------------------------------------------


def test_an_audit_of_features_shows_the_pictures(birds):
    record = printed_json("audit", birds, *FLAGS, "--features", "eye", "--out", "audit", "--net", "linear")
    assert record["kind"] == "image" and record["encoder"] == "eye@1"
    assert "--features eye" in record["command"]
    _, tensors = audits.read("audit")
    shown = record["gallery"]["typical"][0]
    small = own(birds, label="label", split="part", image="file", size=64).train
    picture = tensors["picture"][shown["picture"]]
    assert torch.equal(picture, small.x[shown["row"]]) and shown["name"] == f"{shown['row']:03}.png"
    cues = next(finding for finding in record["findings"] if finding["name"] == "cues")
    assert "brightness" in {row["cue"] for row in cues["table"]}
    assert not any("column" in row["cue"] for row in cues["table"]), "features are no trivial cues"
    page = Path("audit/report.html").read_text("utf-8")
    assert "data:image" in page and "72 images" in page and "eye@1" in page


def test_an_audit_of_features_shows_the_texts(tmp_path):
    path = sentences(tmp_path)
    record = printed_json("audit", path, "--label", "label", "--text", "text", "--features", "ear", "--out", "audit")
    assert record["kind"] == "tokens"
    assert any(sample["text"] for sample in record["gallery"]["typical"])


@pytest.fixture
def run(birds) -> Path:
    printed_json(
        "train", birds, *FLAGS, "--features", "eye", "-m", "erm", "--out", "run", "--epochs", "3", "--device", "cpu"
    )
    return Path("run")


def test_a_run_on_features_has_a_linear_head_and_is_resumed_and_reported(birds, run):
    found = runs.read(run)
    assert found.record.plan.net == "linear" and found.record.parameters == 5 * 2 + 2
    assert found.record.plan.data.startswith("embedded:data=table:path=") and "encoder=eye" in found.record.plan.data
    printed(
        "train", birds, *FLAGS, "--features", "eye", "-m", "erm", "--out", "run", "--epochs", "3", "--device", "cpu"
    )
    printed("report", run, "-o", "page.html")
    assert "data:image" in Path("page.html").read_text("utf-8")


@pytest.mark.parametrize(
    ("given", "net", "said"),
    [
        (("-m", "auto"), "eye", "auto sees these images as features of eye; for pixels: --features none"),
        (("-m", "auto", "--features", "none"), "", ""),
        (("-m", "auto", "--net", "mlp:hidden=8"), "", ""),
        (("-m", "erm"), "", ""),
    ],
)
def test_auto_sees_photographs_as_features(birds, monkeypatch, given, net, said):
    monkeypatch.setattr("longcut.datasets.ENCODER", "eye")
    result = call("train", birds, *FLAGS, *given, *FAST, "--out", "run")
    assert (result.exit_code, result.stderr.removeprefix("longcut: ").strip()) == (0, said)
    data = runs.read(Path("run")).record.plan.data
    assert data.endswith(",encoder=eye") if net else not data.startswith("embedded:")


def test_auto_says_what_it_lacks(birds, monkeypatch):
    def missing(spec: str) -> None:
        raise UserError(f"{spec} is not installed.")

    monkeypatch.setattr("longcut.encoders.build", missing)
    result = call("train", birds, *FLAGS, "-m", "auto", *FAST, "--out", "run")
    assert result.exit_code == 0
    assert (
        "auto sees pixels alone; features of a pretrained net bring most here: efficientnet-lite0 is" in result.stderr
    )
    assert not runs.read(Path("run")).record.plan.data.startswith("embedded:")


def test_auto_leaves_tables_and_made_images_as_they_are(monkeypatch):
    monkeypatch.setattr("longcut.datasets.ENCODER", "eye")
    assert call("train", "colored-digits", "-m", "auto", *FAST, "--out", "run").stderr == ""
    assert runs.read(Path("run")).record.plan.data == "colored-digits"


def test_compare_takes_features(birds):
    rows = printed_json("compare", birds, *FLAGS, "--features", "eye", "--methods", "erm,dfr", "--seeds", "1", *FAST)
    assert [row["method"] for row in rows] == ["erm", "dfr"]


def test_a_stress_test_of_features_plants_cues_in_the_pictures(birds):
    of = ("stress", birds, *FLAGS, "--size", "24", "--features", "eye", "--cues", "patch", "--methods", "erm")
    found = printed_json(*of, "--seeds", "1", *FAST, "--out", "out")
    assert found["features"] == "eye" and found["data"].startswith("table:path=")
    assert found["cues"] == ["patch, easy", "none", "none, 20% wrong labels"]
    plans = [runs.read(path.parent).record.plan for path in sorted(Path("out").rglob("run.json"))]
    assert [plan.net for plan in plans] == ["linear"] * 3
    assert all(plan.data.startswith("embedded:data=planted:data=table:path=") for plan in plans)


def test_new_photos_are_encoded_by_the_net_of_the_run(birds, run, tmp_path):
    """As a table with labels, as a folder without, as the data set of the run, and as features written before."""
    frame = printed_csv("predict", run, birds)
    table = pd.read_csv(birds)
    weights = runs.read(run).weights()
    files = [np.asarray(x) for x in features.of_files(EYE, table["file"].tolist(), birds.parent)]
    said = torch.from_numpy(np.stack(files)) @ weights["head.weight"].T + weights["head.bias"]
    assert np.allclose(frame["p(1)"], said.softmax(1)[:, 1].numpy(), atol=1e-6)
    assert frame["name"].tolist() == table["file"].tolist() and frame["label"].tolist() == table["label"].tolist()

    (birds.parent / "metadata.csv").rename(tmp_path / "kept.csv")
    loose = printed_csv("predict", run, birds.parent)
    assert "label" not in loose and np.allclose(loose["p(1)"], frame["p(1)"], atol=1e-6)

    (tmp_path / "kept.csv").rename(birds)
    printed("embed", birds, *FLAGS, "--with", "eye", "-o", "f.npz")
    assert np.allclose(printed_csv("predict", run, "f.npz")["p(1)"], frame["p(1)"], atol=1e-6)
    scores = printed_json("evaluate", run, "--data", birds)
    assert scores["values"]["average"] == pytest.approx(frame["right"].mean())


def printed_csv(*words: Any) -> pd.DataFrame:
    printed(*words, "-o", "p.csv")
    return pd.read_csv("p.csv")


def test_a_data_set_is_encoded_by_the_net_of_the_run(tmp_path):
    printed_json("train", "colored-digits", "--features", "eye", "-m", "erm", "--out", "run", *FAST)
    own_test = printed_json("evaluate", "run")
    assert printed_json("evaluate", "run", "--data", "colored-digits")["values"] == own_test["values"]
    photos(tmp_path / "new" / "0", 4)
    loose = tmp_path / "loose"
    write_images(np.zeros((3, 30, 20, 3), np.uint8), [loose / f"{i}.png" for i in range(3)])  # type: ignore[arg-type]
    assert len(printed_csv("predict", "run", loose)) == 3


def test_a_run_on_a_file_of_features_encodes_photos_by_itself(birds, tmp_path):
    printed("embed", birds, *FLAGS, "--with", "eye", "-o", "f.npz")
    printed_json("train", "f.npz", "--split", "split", "-m", "erm", "--out", "run", *FAST)
    loose = tmp_path / "loose"
    write_images(np.full((3, 30, 20, 3), 9, np.uint8), [loose / f"{i}.png" for i in range(3)])  # type: ignore[arg-type]
    assert printed_csv("predict", "run", loose)["name"].tolist() == ["0.png", "1.png", "2.png"]


def test_features_of_another_net_or_of_other_weights_are_refused(birds, run, nets):
    printed("embed", birds, *FLAGS, "--with", "other", "-o", "f.npz")
    assert "knows features of eye@1, but f.npz has other@7; give similar data" in refused("predict", run, "f.npz")
    nets["eye"] = dataclasses.replace(EYE, version="2")
    assert (
        "the run in run works on features of 'eye' with version 1 of its weights and library, and here is 2; bring the "
        "old ones back, or train again." in refused("predict", run, birds)
    )
    printed("embed", birds, *FLAGS, "--with", "eye", "-o", "f.npz")
    assert "knows features of eye@1, but f.npz has eye@2" in refused("evaluate", run, "--data", "f.npz")


def test_what_is_no_photo_is_refused_by_a_run_on_features(run, tmp_path):
    frame = pd.DataFrame({"a": [1.5, 2.5]})
    frame.to_csv("a.csv", index=False)
    assert "file" in refused("predict", run, "a.csv")


def test_a_run_on_pixels_cannot_be_audited_on_features(birds):
    printed_json("train", birds, *FLAGS, "--size", "16", "-m", "erm", "--out", "plain", *FAST)
    printed("embed", birds, *FLAGS, "--with", "eye")
    said = refused("audit", birds, *FLAGS, "--features", "eye", "--model", "plain", "--out", "audit")
    assert "sees no pretrained features, and the audit features of eye@1; give both the same --features." in said


# --- vectors that were made before ------------------------------------------------------------------------------------


def table_with(values: list[Any]) -> pd.DataFrame:
    n = len(values)
    return pd.DataFrame({"y": np.arange(n) % 2, "e": pd.Series(values, dtype=object), "other": np.arange(n)})


@pytest.mark.parametrize("kind", ["list", "array", "float16", "fixed"])
def test_a_column_of_vectors_is_the_input_as_it_is(tmp_path, kind):
    x = np.random.default_rng(0).normal(size=(20, 6)).astype(np.float16)
    path = tmp_path / "v.parquet"
    if kind == "fixed":
        import pyarrow as pa
        import pyarrow.parquet as pq

        cells = pa.FixedSizeListArray.from_arrays(pa.array(x.astype(np.float32).ravel()), 6)
        pq.write_table(pa.table({"y": np.arange(20) % 2, "e": cells}), path)
    else:
        cells = {"list": [row.tolist() for row in x], "array": list(x.astype(np.float64)), "float16": list(x)}[kind]
        table_with(cells).to_parquet(path)
    splits = own(path, label="y", vectors="e")
    assert splits.train.x.dtype == torch.float32 and torch.equal(splits.train.x, torch.from_numpy(x.astype(np.float32)))
    assert splits.train.source is not None and "e" not in splits.train.source.rows


def test_a_layer_of_several_vectors(tmp_path):
    x = np.random.default_rng(0).normal(size=(20, 14, 3)).astype(np.float32)
    path = tmp_path / "v.parquet"
    table_with([row.tolist() for row in x]).to_parquet(path)
    np.save(tmp_path / "v.npy", x.astype(np.float16))
    for given, want in ((0, 0), (13, 13), (-1, 13)):
        assert torch.equal(own(path, label="y", vectors="e", layer=given).train.x, torch.from_numpy(x[:, want].copy()))
    half = torch.from_numpy(x.astype(np.float16)[:, 3].astype(np.float32))
    assert torch.equal(own(path, label="y", vectors="v.npy", layer=3).train.x, half)
    np.savez(tmp_path / "v.npz", x=x, y=np.arange(20) % 2)
    assert torch.equal(own(tmp_path / "v.npz", layer=-1).train.x, torch.from_numpy(x[:, -1].copy()))
    for layer, said in ((None, "none is chosen"), (14, "there is no layer 14")):
        with pytest.raises(
            UserError, match=rf"column 'e' has 14 vectors in each row, and {said}; give --layer from 0 to"
        ):
            read_table(path, label="y", vectors="e", layer=layer)
    with pytest.raises(UserError, match="has one vector in each row, so layer=1 is none of several; leave it out"):
        layer_of(x[:, 0], 1, "x", "here")


def test_vectors_beside_a_table_are_in_the_order_of_its_rows(tmp_path):
    x = np.arange(60, dtype=np.float32).reshape(20, 3)
    np.save(tmp_path / "v.npy", x)
    pd.DataFrame({"y": np.arange(20) % 2}).to_csv(tmp_path / "rows.csv", index=False)
    splits = own(tmp_path / "rows.csv", label="y", vectors="v.npy")
    assert torch.equal(splits.train.x, torch.from_numpy(x))
    np.save(tmp_path / "v.npy", x[:19])
    with pytest.raises(
        UserError, match=r"v\.npy holds float32 of shape \(19, 3\), but .*rows\.csv has 20 rows; give one"
    ):
        own(tmp_path / "rows.csv", label="y", vectors="v.npy")
    (tmp_path / "v.npy").write_bytes(b"no array")
    with pytest.raises(
        UserError, match=r"v\.npy is not a \.npy file that can be read \(.*\); save it with numpy\.save"
    ):
        own(tmp_path / "rows.csv", label="y", vectors="v.npy")
    with pytest.raises(UserError, match=r"w\.npy is not a \.npy file that can be read \(No such file"):
        own(tmp_path / "rows.csv", label="y", vectors="w.npy")


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        ([[1.0, 2.0], [1.0]], r"vectors of shape \(2,\) in row 1 and \(1,\) in row 2; make them equal"),
        ([[1.0], None], "holds no vector in row 2; give a list of numbers in each row"),
        ([[1.0], []], "holds no vector in row 2"),
        (["a", "b"], "holds no vector in row 1"),
        ([[1.0], [["a"], [1, 2]]], "holds no vector in row 2"),
        (
            [[1.0], [np.nan], [np.inf], [3.0]],
            r"not finite \(NaN or infinity\) in row 1, counted from 0, and in 2 of 4 rows",
        ),
    ],
)
def test_vectors_that_are_none_are_refused(cells, said):
    with pytest.raises(UserError, match=said):
        read_vectors(table_with(cells), "e", Path())


def test_vectors_are_one_input_among_others():
    with pytest.raises(UserError, match="image 'other' and vectors 'e' are both given; choose one as the input"):
        read_table(table_with([[1.0]] * 4), label="y", image="other", vectors="e")
    with pytest.raises(UserError, match="is a table of numbers, and pretrained nets take"):
        from longcut.datasets.embedded import embed

        data = Dataset.from_table(table_with([[float(i)] for i in range(40)]), label="y", vectors="e")
        embed(Splits.of(data), EYE)


def test_a_run_on_vectors_takes_a_table_like_it(tmp_path):
    x = np.random.default_rng(0).normal(size=(40, 3))
    table_with(list(x)).to_parquet("a.parquet")
    printed_json("train", "a.parquet", "--label", "y", "--vectors", "e", "-m", "erm", "--out", "run", *FAST)
    assert len(printed_csv("predict", "run", "a.parquet")) == 40
    table_with(list(x[:, :2])).to_parquet("b.parquet")
    assert "samples of shape (3,), but b.parquet has (2,)" in refused("predict", "run", "b.parquet")


def test_half_precision_is_read_as_single(tmp_path):
    x = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float16)
    np.savez(tmp_path / "h.npz", x=x, label=np.arange(20) % 2)
    assert torch.equal(own(tmp_path / "h.npz").train.x, torch.from_numpy(x.astype(np.float32)))
    x[3, 1], x[7, 0] = np.nan, np.inf
    np.savez(tmp_path / "h.npz", x=x, label=np.arange(20) % 2)
    with pytest.raises(UserError, match=r"'x' holds a value that is not finite .* in row 3, .* in 2 of 20 rows"):
        own(tmp_path / "h.npz")
