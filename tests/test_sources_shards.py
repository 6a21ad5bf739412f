from __future__ import annotations

import gzip
import io
import json
import pickle
import re
import sys
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from longcut.data import Dataset, Splits
from longcut.datasets import resolve
from longcut.errors import UserError
from longcut.sources import TEST, TRAIN, VALID, shard_cache, shards
from longcut.sources.addresses import reaching
from longcut.sources.shards import read_shards
from longcut.sources.tars import samples

Members = list[tuple[str, bytes]]
N = 12  # samples of a shard


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LONGCUT_CACHE", str(tmp_path / "cache"))


def png(shade: int, side: int = 4) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (side, side), (shade, 0, 255 - shade)).save(file, "PNG")
    return file.getvalue()


def sample(shard: int, i: int) -> Members:
    """Sample i of a shard: its shade is 20 × shard + i, its label i % 2, its place changes every three samples."""
    key = f"{shard:02}{i:02}"
    about = json.dumps({"place": ["lake", "wood"][i // 3 % 2], "boxes": [[1, 2]]}).encode()
    return [(f"{key}.png", png(20 * shard + i)), (f"{key}.cls", b"%d\n" % (i % 2)), (f"{key}.json", about)]


def shard(number: int) -> Members:
    return [member for i in range(N) for member in sample(number, i)]


def packed(members: Members, kind: bytes = tarfile.REGTYPE) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name, content in members:
            about = tarfile.TarInfo(name)
            about.size, about.type = len(content), kind
            tar.addfile(about, io.BytesIO(content))
    return file.getvalue()


def write(folder: Path, files: dict[str, bytes]) -> str:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return str(folder)


@pytest.fixture
def tars(tmp_path: Path) -> str:
    return write(tmp_path / "tars", {f"s-{number}.tar": packed(shard(number)) for number in range(3)})


def test_pixels_labels_and_fields_are_those_of_the_samples(tars: str):
    found = read_shards(tars, attribute="place")
    assert found.x.shape == (3 * N, 3, 4, 4)
    assert found.x.dtype == np.uint8 and isinstance(found.x, np.memmap)
    shades = [20 * number + i for number in range(3) for i in range(N)]
    assert found.x[:, 0, 0, 0].tolist() == shades
    assert (found.x[:, 2] == 255 - found.x[:, 0]).all() and not found.x[:, 1].any()
    assert found.label is not None and found.label.tolist() == [i % 2 for i in range(N)] * 3
    places = [found.attribute_names[i] for i in found.attribute] if found.attribute is not None else []
    assert places == [["lake", "wood"][i // 3 % 2] for i in range(N)] * 3
    rows = found.source.rows
    assert rows["path"].tolist() == [f"s-{number}.tar/{number:02}{i:02}" for number in range(3) for i in range(N)]
    assert "boxes" not in rows.columns
    assert found.source.facts is not None and found.source.facts["width"].tolist() == [4] * 3 * N
    assert found.source.root is None


@pytest.mark.parametrize("pattern", ["s-{0..2}.tar", "s-{2,0,1}.tar", "s-*.tar"])
@pytest.mark.parametrize("workers", [1, 5])
def test_who_a_sample_is_depends_neither_on_order_nor_on_readers(
    tars: str, pattern: str, workers: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    whole = read_shards(tars)
    monkeypatch.setenv("LONGCUT_CACHE", str(tmp_path / f"other-{workers}"))
    monkeypatch.setattr(shard_cache, "WORKERS", workers)
    monkeypatch.setattr(shard_cache, "CHUNK", 500)  # so that a shard is several chunks
    again = read_shards(f"{tars}/{pattern}")
    assert again.source.rows["path"].tolist() == whole.source.rows["path"].tolist()
    assert (again.x == whole.x).all()
    assert (again.source.part == whole.source.part).all()


def test_names_of_shards_are_parts(tmp_path: Path):
    names = ("val-0.tar", "train/0.tar", "train/1.tar", "test-0.tar")
    found = read_shards(write(tmp_path / "t", {name: packed(shard(i)) for i, name in enumerate(names)}))
    assert found.source.official
    with pytest.raises(UserError, match="parts=50/25/25 are drawn, but the split 'split' says the parts already"):
        read_shards(str(tmp_path / "t"), parts="50/25/25")
    parts = dict(zip(found.source.rows["path"].str.rpartition("/")[0], found.source.part.tolist(), strict=True))
    assert parts == {"val-0.tar": VALID, "train/0.tar": TRAIN, "train/1.tar": TRAIN, "test-0.tar": TEST}


def test_shards_for_training_alone_are_cut(tmp_path: Path):
    found = read_shards(write(tmp_path / "t", {f"train-{i}.tar": packed(shard(i)) for i in range(2)}))
    assert not found.source.official
    assert np.bincount(found.source.part).tolist() == [16, 4, 4]
    found = read_shards(str(tmp_path / "t"), parts="50/25/25")
    assert np.bincount(found.source.part).tolist() == [12, 6, 6]


def test_a_shard_beside_parts(tmp_path: Path):
    folder = write(tmp_path / "t", {f"{name}.tar": packed(shard(0)) for name in ("train", "test", "extra")})
    with pytest.raises(UserError, match=r"'extra.tar' lies beside shards for training and testing; move it"):
        read_shards(folder)


def test_packed_shards(tmp_path: Path):
    assert read_shards(write(tmp_path / "t", {"a.tar.gz": gzip.compress(packed(shard(1)))})).x[2, 0, 0, 0] == 22


# --- killed -----------------------------------------------------------------------------------------------------------


def test_finished_shards_stay_when_it_is_killed(tars: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    whole = np.array(read_shards(tars, size=8).x)
    monkeypatch.setenv("LONGCUT_CACHE", str(tmp_path / "killed"))
    real, opened = shards.samples, Counter[str]()

    def dying(file: Any, *how: Any) -> Iterator[Any]:
        opened["all"] += 1
        for number, one in enumerate(real(file, *how)):
            if opened["all"] == 3 and number == 5:
                raise KeyboardInterrupt
            yield one

    monkeypatch.setattr(shards, "samples", dying)
    monkeypatch.setattr(shard_cache, "CHUNK", 500)
    with pytest.raises(KeyboardInterrupt):
        read_shards(tars, size=8)
    (folder,) = (tmp_path / "killed").glob("shards/*.unfinished")
    assert sorted(path.name for path in folder.iterdir()) == ["000000.json", "000001.json", "x.npy"]
    assert (folder / "x.npy").stat().st_size > 24 * 3 * 64 + 128  # some of the third shard, which is made anew
    assert (read_shards(tars, size=8).x == whole).all()
    assert opened["all"] == 4  # three, and the third again
    assert not list((tmp_path / "killed").glob("shards/*.unfinished"))


def test_it_is_read_once(tars: str, monkeypatch: pytest.MonkeyPatch):
    read_shards(tars)
    monkeypatch.setattr(shards, "samples", None)
    assert len(read_shards(tars, attribute="place", seed=3).x) == 3 * N


def test_a_changed_shard_is_read_again(tars: str):
    read_shards(tars)
    write(Path(tars), {"s-1.tar": packed(shard(5))})
    assert read_shards(tars).x[N, 0, 0, 0] == 100


# --- bad input --------------------------------------------------------------------------------------------------------


class Bomb:
    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return pytest.fail, ("a pickle was loaded",)


def without(extension: str) -> Members:
    return [member for member in sample(1, 0) if not member[0].endswith(extension)]


def bad(kind: str) -> bytes:
    """A shard of twelve samples, with something wrong."""
    good = shard(0)
    extra: dict[str, Members] = {
        "no label": without("cls"),
        "no image": without("png"),
        "duplicate": sample(0, 3),
        "twice": [*sample(1, 0), ("0100.cls", b"1")],
        "broken image": [("0100.png", png(3)[:40]), ("0100.cls", b"1")],
        "no json": [*without("json"), ("0100.json", b"{")],
        "no text": [*without("cls"), ("0100.cls", b"\xff\xfe\xff")],
        "several": [*sample(1, 0), ("0100.mask.png", png(1))],
    }
    content = packed(good + extra.get(kind, []))
    return content[: content.index(b"0008.png") + 600] if kind == "truncated" else content


@pytest.mark.parametrize(
    ("kind", "who", "why", "left"),
    [
        ("no label", "a.tar/0100", r"no label \(cls or label\)", N),
        ("no image", "a.tar/0100", "no image", N),
        ("duplicate", "a.tar/0003", "its key came before", N),
        ("twice", "a.tar/0100", "its key came before", N + 1),
        ("broken image", "a.tar/0100", ".+", N),
        ("no json", "a.tar/0100", r"\.json is no JSON", N),
        ("no text", "a.tar/0100", r"\.cls is no UTF-8 text", N),
        ("several", "a.tar/0100", r"several images \(png, mask\.png\), of which none is chosen \(--image\)", N),
        ("truncated", "a.tar/", "truncated or damaged after 8 samples .+", 8),
    ],
)
def test_what_is_no_sample_is_refused_or_left_out(tmp_path: Path, kind: str, who: str, why: str, left: int):
    folder = write(tmp_path / "bad", {"a.tar": bad(kind)})
    one = rf"bad: 1 of {left + 1} samples cannot be used: {who} \({why}\); mend them, or .*--unreadable skip"
    with pytest.raises(UserError, match=one):
        read_shards(folder)
    found = read_shards(folder, unreadable="skip")
    assert len(found.x) == left
    ((name, told),) = found.source.skipped
    assert name == who and re.fullmatch(why, told)


def test_the_image_is_chosen(tmp_path: Path):
    members = [
        (name, content)
        for i in range(N)
        for name, content in [*sample(0, i), (f"00{i:02}.mask.png", png(200)), (f"00{i:02}.input.png", png(7))]
    ]
    folder = write(tmp_path / "t", {"a.tar": packed(members)})
    found = read_shards(folder, image="mask.png")
    assert (found.x[:, 0] == 200).all()
    again = read_shards(folder, encoding=found.source.encoding, label="cls")  # as for predictions
    assert (again.x[:, 0] == 200).all()


def test_what_belongs_to_no_sample_is_counted_and_never_loaded(tmp_path: Path):
    bomb = pickle.dumps(Bomb())
    members = [
        *(member for i in range(N) for member in [*sample(0, i), (f"00{i:02}.pyd", bomb), (f"00{i:02}.pth", bomb)]),
        ("../../evil.png", png(1)),
        ("/etc/evil.cls", b"1"),
        ("README", b"hello"),
        (".DS_Store", b"x"),
        ("__MACOSX/a.png", png(1)),
        ("0011.npy", b"x"),
    ]
    found = read_shards(write(tmp_path / "t", {"a.tar": packed(members)}))
    assert len(found.x) == N
    assert dict(found.source.skipped) == {
        "a.tar/*.pyd (12 times)": "pickles, which are never loaded",
        "a.tar/*.pth (12 times)": "pickles, which are never loaded",
        "a.tar/../../evil.png": "its name leads out of the archive",
        "a.tar//etc/evil.cls": "its name leads out of the archive",
        "a.tar/README": "without an extension, so it belongs to no sample",
        "a.tar/.DS_Store": "hidden",
        "a.tar/__MACOSX/a.png": "of the system",
        "a.tar/*.npy": "neither images, texts nor json",
    }
    assert not (tmp_path / "evil.png").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_passed_over(kind: bytes):
    left_out = Counter[tuple[str, str]]()
    assert not list(samples(io.BytesIO(packed([("0.png", b"")], kind)), None, True, left_out))
    assert left_out == {("0.png", "a link or device"): 1}


def test_a_member_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("longcut.sources.tars.LARGEST", 50)
    with pytest.raises(UserError, match=r"12 of 12 samples cannot be used: .*no image.*; say which member"):
        read_shards(write(tmp_path / "t", {"a.tar": packed(shard(0))}))


def test_sizes_must_agree_or_be_made_to(tmp_path: Path):
    members = [*shard(0), ("9.png", png(9, side=6)), ("9.cls", b"1")]
    folder = write(tmp_path / "t", {"a.tar": packed(members)})
    with pytest.raises(UserError, match=r"mixed sizes: a.tar/0000 is 4×4 and a.tar/9 is 6×6; pass --size 64"):
        read_shards(folder)
    assert read_shards(folder, size=8).x.shape == (N + 1, 3, 8, 8)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("nowhere/{0..3}.tar", r"there is no .*nowhere/0.tar; check the path"),
        ("{9..1}.tar", r"the range \{9\.\.1\} names no shard"),
        ("{0..9999}-{0..9999}.tar", r"names more than 1,000,000 shards"),
        ("nothing://bucket/a.tar", r"addresses of this kind are not known; those are s3://"),
        ("memory://nowhere/a.tar", r"there is no .*nowhere/a.tar; check the path"),
    ],
)
def test_places_that_are_none(path: str, message: str):
    with pytest.raises(UserError, match=message):
        read_shards(path)


def test_a_folder_without_shards(tmp_path: Path):
    folder = write(tmp_path / "t", {"notes.txt": b"x"})
    with pytest.raises(UserError, match=r"there is no shard here; 'notes.txt' is none; shards are files \.tar"):
        read_shards(folder)


def test_tars_and_tables_together(tmp_path: Path):
    folder = write(tmp_path / "t", {"a.tar": packed(shard(0)), "b.parquet": b"PAR1"})
    with pytest.raises(UserError, match=r"tar files and others, such as 'b.parquet', lie together"):
        read_shards(folder)


def test_no_label_at_all(tmp_path: Path):
    table = pa.table({"a": [1, 2], "b": [3, 4]})
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(UserError, match=r"which field is the label was not said; give --label, one of a, b"):
        read_shards(str(tmp_path))


def test_options_of_others(tars: str):
    with pytest.raises(UserError, match="unknown way with unreadable images"):
        read_shards(tars, unreadable="never")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="config says which variant of a Hugging Face data set"):
        read_shards(tars, config="mnli")
    with pytest.raises(UserError, match="drop is about the columns of a table, and these are images"):
        Dataset.from_shards(tars, chosen=shards.Chosen(drop="place"))


def test_a_missing_package_is_named():
    with pytest.raises(UserError, match=r"need a further package; pip install s3fs"), reaching("s3://bucket/a.tar"):
        raise ImportError("Install s3fs to access S3")


def test_no_network_is_one_sentence():
    message = r"s3://b/a.tar cannot be reached \(no route\); .*what is decoded stays"
    with pytest.raises(UserError, match=message), reaching("s3://b/a.tar"):
        raise ConnectionError("no route")


def test_parquet_without_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pq.write_table(pa.table({"a": [1]}), tmp_path / "a.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UserError, match=r'pip install "longcut\[parquet\]"'):
        read_shards(str(tmp_path))


# --- addresses --------------------------------------------------------------------------------------------------------


@pytest.fixture
def memory() -> Iterator[Any]:
    system = fsspec.filesystem("memory")
    for number in range(3):
        system.pipe(f"/bucket/train-{number}.tar", packed(shard(number)))
    yield system
    system.rm("/bucket", recursive=True)


@pytest.mark.parametrize("path", ["bucket", "bucket/train-{2,1,0}.tar", "bucket/*.tar"])
def test_an_address_is_read_like_a_folder(memory: Any, path: str, tars: str):
    found = read_shards(f"memory://{path}")
    assert (found.x == read_shards(tars).x).all()
    assert found.source.rows["path"].iloc[-1] == "train-2.tar/0211"


def test_a_store_says_when_a_shard_changed(memory: Any):
    read_shards("memory://bucket")
    memory.pipe("/bucket/train-1.tar", packed(shard(7)))
    assert read_shards("memory://bucket").x[N, 0, 0, 0] == 140


def test_what_is_typed(tars: str, tmp_path: Path):
    assert resolve(tars) == f"shards:path={tars}"
    assert resolve("s3://b/train-{00..09}.tar", label="cls") == "shards:path=s3://b/train-{00..09}.tar,label=cls"
    assert resolve("s3://b/a.tar:size=64") == "shards:path=s3://b/a.tar,size=64"
    assert resolve("hf:user/name") == "shards:path=hf:user/name"
    assert resolve(f"{tars}/s-{{0,1}}.tar") == f"shards:path={tars}/s-{{0%2C1}}.tar"
    photos = write(tmp_path / "photos", {"cat/a.png": png(1), "all.tar": b""})
    assert resolve(photos) == f"folder:path={photos}"


# --- Parquet and Arrow ------------------------------------------------------------------------------------------------


def pictures(number: int) -> pa.Table:
    """Images as the hub writes them, with the names of their classes."""
    features = {"label": {"names": ["water", "land"], "_type": "ClassLabel"}, "image": {"_type": "Image"}}
    about = json.dumps({"info": {"features": features}})
    columns = {
        "image": [{"bytes": png(20 * number + i), "path": None} for i in range(N)],
        "label": [i % 2 for i in range(N)],
        "place": [["lake", "wood"][i // 3 % 2] for i in range(N)],
    }
    return pa.table(columns).replace_schema_metadata({"huggingface": about})


def test_images_in_parquet_parts(tmp_path: Path):
    for number, part in enumerate(("train", "test")):
        (tmp_path / f"split={part}").mkdir()
        pq.write_table(pictures(number), tmp_path / f"split={part}" / "0.parquet", row_group_size=5)
    found = read_shards(str(tmp_path), attribute="place")
    assert found.class_names == ("water", "land") or found.class_names == ("land", "water")
    names = [found.class_names[i] for i in found.label] if found.label is not None else []
    assert names == ["water", "land"] * N
    shades = dict(zip(found.source.rows["path"], found.x[:, 0, 0, 0].tolist(), strict=True))
    assert shades["split=test/0.parquet/11"] == 31 and shades["split=train/0.parquet/0"] == 0
    assert found.source.rows["split"].unique().tolist() == ["test", "train"]
    assert np.bincount(found.source.part).tolist() == [N, 0, N]


def test_a_table_in_parquet_parts(tmp_path: Path):
    frame = pd.DataFrame({"age": range(60), "job": ["cook", "nurse", "baker"] * 20, "rich": [0, 1, 1, 0] * 15})
    for number in range(3):
        part = tmp_path / f"year={2020 + number}"
        part.mkdir()
        frame.iloc[20 * number : 20 * number + 20].to_parquet(part / "part-0.parquet", index=False)
    found = read_shards(str(tmp_path), label="rich", attribute="job")
    whole = Dataset.from_table(frame, label="rich", attribute="job")
    rows = found.source.rows
    assert rows["year"].tolist() == [year for year in (2020, 2021, 2022) for _ in range(20)]
    assert rows[["age", "job", "rich"]].to_numpy().tolist() == frame.to_numpy().tolist()
    assert found.source.features == ("age", "year")
    assert (found.x[:, 0] == whole.x[:, 0].numpy()).all()
    again = read_shards(str(tmp_path), label="rich", encoding=found.source.encoding)
    assert (again.x == found.x).all() and (again.source.part == TEST).all()


@pytest.mark.parametrize("stream", [True, False])
def test_images_in_arrow_files(tmp_path: Path, stream: bool):
    table = pictures(2)
    new = pa.ipc.new_stream if stream else pa.ipc.new_file
    with new(str(tmp_path / "a.arrow"), table.schema) as writer:
        writer.write_table(table)
    assert read_shards(str(tmp_path)).x[:, 0, 0, 0].tolist() == list(range(40, 40 + N))


def test_parts_of_different_tables(tmp_path: Path):
    for name in "ab":
        pq.write_table(pa.table({"label": [0, 1], name: [1, 2]}), tmp_path / f"{name}.parquet")
    with pytest.raises(UserError, match=r"'b.parquet' and 'a.parquet' have other columns, such as 'a'"):
        read_shards(str(tmp_path))


def test_a_damaged_part(tmp_path: Path):
    pq.write_table(pa.table({"label": [0, 1] * 10, "age": range(20)}), tmp_path / "a.parquet")
    content = (tmp_path / "a.parquet").read_bytes()
    (tmp_path / "b.parquet").write_bytes(content[:-20])
    with pytest.raises(UserError, match=r"shard 'b.parquet' cannot be read \(.+\); get it again"):
        read_shards(str(tmp_path))
    (tmp_path / "a.parquet").write_bytes(content[:-20])
    with pytest.raises(UserError, match=r"shard 'a.parquet' cannot be read"):
        read_shards(str(tmp_path))


def test_a_damaged_part_with_images(tmp_path: Path):
    for name in ("a", "b"):
        pq.write_table(pictures(0), tmp_path / f"{name}.parquet")
    content = (tmp_path / "b.parquet").read_bytes()
    (tmp_path / "b.parquet").write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=r"1 of 13 samples cannot be used: b.parquet/ \(truncated or damaged after 0"):
        read_shards(str(tmp_path))
    assert len(read_shards(str(tmp_path), unreadable="skip").x) == N


def test_several_columns_with_files(tmp_path: Path):
    pq.write_table(pa.table({"a": [b"x"], "b": [b"y"], "label": [0]}), tmp_path / "a.parquet")
    with pytest.raises(UserError, match=r"columns a, b hold files; say which is the image with --image"):
        read_shards(str(tmp_path))


def test_paths_at_an_address(memory: Any):
    file = io.BytesIO()
    pq.write_table(pa.table({"file": ["a.png"], "label": [0]}), file)
    memory.pipe("/bucket/tables/a.parquet", file.getvalue())
    with pytest.raises(UserError, match=r"column 'file' holds no files, and paths are read from folders here alone"):
        read_shards("memory://bucket/tables", image="file")


# --- Hugging Face, and text -------------------------------------------------------------------------------------------


def test_a_stream_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hub")
    (tmp_path / "birds").mkdir()
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "label": datasets.ClassLabel(names=["water", "land"]),
            "place": datasets.Value("string"),
        }
    )
    train, test = (datasets.Dataset.from_dict(pictures(i).to_pydict(), features=features) for i in range(2))
    train.to_parquet(tmp_path / "birds" / "train.parquet")
    test.to_parquet(tmp_path / "birds" / "test.parquet")
    found = read_shards(f"hf:{tmp_path / 'birds'}", attribute="place")
    shades = dict(zip(found.source.rows["path"], found.x[:, 0, 0, 0].tolist(), strict=True))
    assert shades["train/00000/0"] == 0 and shades["test/00000/11"] == 31
    assert found.source.official and set(found.class_names) == {"water", "land"}
    test.select(range(6, 12)).to_parquet(tmp_path / "birds" / "test.parquet")  # now read anew
    assert read_shards(f"hf:{tmp_path / 'birds'}").x[:, 0, 0, 0].tolist()[:6] == [26, 27, 28, 29, 30, 31]


def test_a_stream_that_is_not_there(tmp_path: Path):
    pytest.importorskip("datasets")
    with pytest.raises(
        UserError, match=r"the data set cannot be streamed \(.+\); give its name on the hub, or a folder"
    ):
        read_shards(f"hf:{tmp_path / 'nothing'}")


def test_a_stream_without_the_package(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UserError, match=r'pip install "longcut\[hub\]"'):
        read_shards("hf:user/name")


def test_text_is_passed_through(tmp_path: Path):
    members = [
        member
        for i in range(30)
        for member in ((f"{i:03}.txt", b"a bird by the lake" if i % 2 else b"a bird"), (f"{i:03}.cls", b"%d" % (i % 2)))
    ]
    found = read_shards(
        write(tmp_path / "t", {"a.tar": packed([*members, ("x.txt", b"y")])}), text="txt", unreadable="skip"
    )
    assert found.vocabulary and len(found.x) == 30
    assert found.source.rows["txt"].iloc[:2].tolist() == ["a bird", "a bird by the lake"]
    assert found.source.skipped == (("a.tar/x", "no label (cls or label)"),)
    assert not (tmp_path / "cache").exists()


def test_a_run_on_shards_reads_new_ones(tars: str, tmp_path: Path):
    first = Splits.of(Dataset.from_shards(tars, attribute="place"))
    encoding = first.train.source.encoding if first.train.source else {}
    members = [(name, content) for name, content in sample(9, 1) if not name.endswith("cls")]
    new = read_shards(write(tmp_path / "new", {"a.tar": packed(members)}), label="cls", encoding=encoding)
    assert new.label is None and new.x[0, 0, 0, 0] == 181
    with pytest.raises(UserError, match="images are"):
        read_shards(
            write(tmp_path / "other", {"a.tar": packed([("a.png", png(1, 9))])}), label="cls", encoding=encoding
        )
