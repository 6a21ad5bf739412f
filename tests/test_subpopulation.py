from __future__ import annotations

import json
import pickle
import sys
import types
import warnings
from collections.abc import Iterable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from longcut.data import Dataset, Splits
from longcut.datasets import celeba, civilcomments, load, multinli, waterbirds
from longcut.errors import UserError
from longcut.sources.text import SEPARATOR, apply, encode, fit, tokenize


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LONGCUT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("LONGCUT_DATA", str(tmp_path))
    return tmp_path


def paint(path: Path, label: int, attribute: int, width: int = 20, height: int = 16) -> None:
    """An image of one colour, which tells label and attribute."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height), (40 * label, 40 * attribute, 200)).save(path, "PNG")


def told(data: Dataset) -> list[tuple[int, int]]:
    """Label and attribute as the pixels say."""
    red, green, _ = (data.x[data.index].float().mean((2, 3)) / 40).round().long().T
    return list(zip(red.tolist(), green.tolist(), strict=True))


def known(data: Dataset) -> list[tuple[int, int]]:
    assert data.attribute is not None
    return list(zip(data.label.tolist(), data.attribute.tolist(), strict=True))


def parts(splits: Splits) -> Iterable[Dataset]:
    assert splits.valid is not None
    return splits.train, splits.valid, splits.test


def words_of(data: Dataset) -> list[list[str]]:
    """The words of texts that went through the own vocabulary."""
    assert data.source is not None
    words = ["", "?", *data.source.encoding["vocabulary"]]
    return [[words[i] for i in row if i] for row in data.x[data.index].tolist()]


# --- Waterbirds -------------------------------------------------------------------------------------------------------

BIRDS = [(split, y, place) for split in (0, 1, 2) for y, place in product((0, 1), (0, 1))] + [(0, 0, 0), (0, 1, 1)]


def attribute_of(splits: Splits) -> str | None:
    """What the attribute is called."""
    source = splits.train.source
    assert source is not None and source.attribute in source.rows and source.encoding["attribute"] == source.attribute
    return source.attribute


def write_birds(
    root: Path, table: str = "metadata.csv", images: str = ".", rename: dict[str, str] | None = None
) -> None:
    rows = [
        {
            "img_id": i,
            "img_filename": f"{i:03}.Bird/b_{i}.jpg",
            "y": y,
            "split": split,
            "place": a,
            "place_filename": "/x",
        }
        for i, (split, y, a) in enumerate(BIRDS)
    ]
    for row in rows:
        paint(root / images / row["img_filename"], row["y"], row["place"])
    frame = pd.DataFrame(rows).rename(columns=rename or {})
    (root / table).parent.mkdir(parents=True, exist_ok=True)
    frame.to_csv(root / table, index=False)


OFFICIAL = "waterbird_complete95_forest2water2"
BIRD_LAYOUTS: dict[str, dict[str, Any]] = {
    OFFICIAL: {},
    "waterbirds_v1.0": {},
    "waterbirds_72px": {},
    "waterbirds": {"table": f"{OFFICIAL}/metadata.csv", "images": OFFICIAL},
    "waterbirds ": {
        "table": "metadata_waterbirds.csv",
        "images": OFFICIAL,
        "rename": {"img_id": "id", "img_filename": "filename", "place": "a"},
    },
}


@pytest.mark.parametrize("folder", BIRD_LAYOUTS)
def test_waterbirds_in_each_layout(place, folder):
    write_birds(place / folder.strip(), **BIRD_LAYOUTS[folder])
    splits = load("waterbirds:size=8,counts=any")
    for number, part in enumerate(parts(splits)):
        assert known(part) == told(part) == [(y, a) for split, y, a in BIRDS if split == number]
    assert splits.train.group.tolist() == [0, 1, 2, 3, 0, 3]
    assert splits.train.conflicting.tolist() == [False, True, True, False, False, False]
    assert splits.train.index.tolist() == [0, 1, 2, 3, 12, 13]  # its row in the table, and so in the storage
    info = splits.info
    assert (info.name, info.shape) == ("waterbirds:size=8,counts=any", (3, 8, 8))
    assert (info.class_names, info.attribute_names) == (("landbird", "waterbird"), ("land", "water"))
    source = splits.train.source
    assert source is not None and source.official
    assert source.rows.loc[1].to_dict() == {"path": "001.Bird/b_1.jpg", "label": "landbird", "background": "water"}


def test_waterbirds_saved_from_the_hub(place):
    datasets = pytest.importorskip("datasets")

    def rows(split: int) -> Any:
        found = [(y, a) for part, y, a in BIRDS if part == split]
        images = []
        for i, (y, a) in enumerate(found):
            paint(place / "made" / f"{split}_{i}.png", y, a)
            images.append(str(place / "made" / f"{split}_{i}.png"))
        columns = {
            "image": images,
            "label": [y for y, _ in found],
            "place": [a for _, a in found],
            "bird": [7] * len(found),
        }
        features = datasets.Features(
            {
                "image": datasets.Image(),
                "label": datasets.ClassLabel(names=["landbird", "waterbird"]),
                "place": datasets.Value("int64"),
                "bird": datasets.Value("int64"),
            }
        )
        return datasets.Dataset.from_dict(columns, features=features)

    names = ("train", "validation", "test")
    saved = datasets.DatasetDict({name: rows(split) for split, name in enumerate(names)})
    saved.save_to_disk(str(place / "waterbirds"))
    splits = load("waterbirds:size=8,counts=any")
    for number, part in enumerate(parts(splits)):
        assert known(part) == told(part) == [(y, a) for split, y, a in BIRDS if split == number]
    with pytest.raises(UserError, match=r"has 2 training \(landbird, land\) samples \(published: 3,498\)"):
        load("waterbirds:size=8")
    saved["train"].save_to_disk(str(place / "part"))
    with pytest.raises(UserError, match="needs images and the splits train, validation and test; save all of it"):
        load(f"waterbirds:size=8,counts=any,folder={place}/part")


def test_waterbirds_are_squeezed_as_in_papers(place):
    """Both sides to 256 by the bilinear filter, then the middle 224, as Resize((256, 256)) and CenterCrop(224) do."""
    from longcut.sources.folder import read_folder

    write_birds(place / "waterbirds")
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 500, 3), np.uint8))
    photo.save(place / "waterbirds/000.Bird/b_0.jpg", "PNG")
    splits = load("waterbirds:size=224,crop=paper,counts=any")
    expected = np.asarray(photo.resize((256, 256), Image.Resampling.BILINEAR))[16:240, 16:240].transpose(2, 0, 1)
    assert np.array_equal(splits.train.x[0].numpy(), expected)
    assert not np.array_equal(load("waterbirds:size=224,counts=any").train.x[0].numpy(), expected)
    (place / "new").mkdir()
    photo.save(place / "new/photo.png")  # a trained network sees new photos in the same way
    assert splits.train.source is not None
    assert np.array_equal(read_folder(place / "new", encoding=splits.train.source.encoding).x[0], expected)
    assert splits.info.name == "waterbirds:size=224,crop=paper,counts=any"


def test_group_counts_are_those_published(place, monkeypatch):
    write_birds(place / "waterbirds")
    message = (
        r"waterbirds: .*/waterbirds has 2 training \(landbird, land\) samples \(published: 3,498\), 1 training "
        r"\(landbird, water\) samples \(published: 184\), .* and 9 more such differences; get the files again from "
        r".*\.tar\.gz.*, or give counts=any if they are meant to differ"
    )
    with pytest.raises(UserError, match=message):
        load("waterbirds")
    right = {"training": (2, 1, 1, 2), "validation": (1, 1, 1, 1), "test": (1, 1, 1, 1)}
    monkeypatch.setattr(waterbirds, "COUNTS", right)
    assert load("waterbirds").info.name == "waterbirds"
    monkeypatch.setattr(waterbirds, "COUNTS", right | {"test": (1, 1, 1, 2)})
    with pytest.raises(
        UserError, match=r"has 1 test \(waterbird, water\) samples \(published: 2\); get the files again"
    ):
        load("waterbirds")


def test_published_counts_add_up():
    """Totals of the papers: Sagawa et al. 2020 and WILDS."""
    sums = [[sum(found) for found in counts.values()] for counts in (waterbirds.COUNTS, celeba.COUNTS, multinli.COUNTS)]
    assert sums == [[4_795, 1_199, 5_794], [162_770, 19_867, 19_962], [206_175, 82_462, 123_712]]
    assert sum(multinli.DEV_COUNTS) == 9_815


def test_what_is_missing_is_named_with_where_it_comes_from(place):
    with pytest.raises(
        UserError,
        match=rf"waterbirds: there is no metadata\.csv in {place}/{OFFICIAL}; it comes from https://nlp\.stanford.*: "
        "unpack it there, or name its folder with folder=… or LONGCUT_DATA",
    ):
        load("waterbirds")
    write_birds(place / "waterbirds")
    (place / "waterbirds/004.Bird/b_4.jpg").unlink()
    with pytest.raises(
        UserError,
        match=r"waterbirds.*004\.Bird/b_4\.jpg cannot be read as an image \(there is no such file\); it comes from",
    ):
        load("waterbirds:counts=any")


def test_files_that_are_not_as_they_should_be(place):
    write_birds(place / "waterbirds")
    (place / "waterbirds/004.Bird/b_4.jpg").write_bytes(b"no image")
    with pytest.raises(
        UserError, match=r"b_4\.jpg cannot be read as an image \(not a JPEG.*\); it comes from https://nlp"
    ):
        load("waterbirds:counts=any")
    (place / "waterbirds/005.Bird/b_5.jpg").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"b_4\.jpg cannot be read .*, nor can 1 more; it comes from"):
        load("waterbirds:counts=any")
    table = place / "waterbirds/metadata.csv"
    frame = pd.read_csv(table)
    frame.assign(y=frame["y"].replace(1, 7)).to_csv(table, index=False)
    with pytest.raises(
        UserError, match=r"metadata\.csv: column 'y' holds '7' in row 3, and must hold 0 or 1; get the file"
    ):
        load("waterbirds:counts=any")
    frame.drop(columns="place").to_csv(table, index=False)
    with pytest.raises(
        UserError, match=r"metadata\.csv: column: unknown column 'place': Known: img_filename, .*split, y"
    ):
        load("waterbirds:counts=any")
    table.write_text("")
    with pytest.raises(UserError, match=r"metadata\.csv cannot be read \(No columns.*\); it comes from https://nlp"):
        load("waterbirds:counts=any")


@pytest.mark.data
def test_real_waterbirds(real_data: Path, monkeypatch: pytest.MonkeyPatch):
    """The 72 px copy: group sizes of Sagawa et al. 2020; 240 of the training images are bias-conflicting."""
    monkeypatch.setenv("LONGCUT_DATA", str(real_data))
    splits = load("waterbirds:size=16")
    counts = [part.group.bincount().tolist() for part in parts(splits)]
    assert counts == [[3498, 184, 56, 1057], [467, 466, 133, 133], [2255, 2255, 642, 642]]
    assert int(splits.train.conflicting.sum()) == 184 + 56
    assert splits.train.x.shape == (11_788, 3, 16, 16)


# --- CelebA -----------------------------------------------------------------------------------------------------------

FACES = [(split, blond, male) for split in (0, 1, 2) for blond, male in product((0, 1), (0, 1))]


def write_faces(root: Path, layout: str) -> None:
    nested = {"kaggle": "img_align_celeba/img_align_celeba", "anno": "Img/img_align_celeba"}
    names = [f"{i:06}.jpg" for i in range(1, len(FACES) + 1)]
    for name, (_, blond, male) in zip(names, FACES, strict=True):
        paint(root / nested.get(layout, "img_align_celeba") / name, blond, male, 178, 218)
    head = ["Attractive", "Blond_Hair", "Male", "Young"]
    values = [[1 - 2 * blond, 2 * blond - 1, 2 * male - 1, 1] for _, blond, male in FACES]
    if layout in ("txt", "anno"):
        attributes = [str(len(FACES)), " ".join(head)] + [
            f"{n}  {' '.join(map(str, v))}" for n, v in zip(names, values, strict=True)
        ]
        given = [f"{n} {split}" for n, (split, *_) in zip(names, FACES, strict=True)]
        ending, above = ".txt", ("Anno/", "Eval/") if layout == "anno" else ("", "")
    else:
        sep = "  " if layout == "cnc" else ","
        attributes = [sep.join(["image_id", *head])] + [
            sep.join([n, *map(str, v)]) for n, v in zip(names, values, strict=True)
        ]
        given = [sep.join(["image_id", "partition"])] + [
            sep.join([n, str(s)]) for n, (s, *_) in zip(names, FACES, strict=True)
        ]
        ending, above = ".csv", ("", "")
    for name, folder, lines in (("list_attr_celeba", above[0], attributes), ("list_eval_partition", above[1], given)):
        (root / folder).mkdir(exist_ok=True)
        end = b"\r\n" if layout == "cnc" else b"\n"
        (root / folder / f"{name}{ending}").write_bytes(end.join(line.encode() for line in lines) + end)


@pytest.mark.parametrize(
    ("layout", "folder"),
    [("kaggle", "celeba"), ("wilds", "celebA_v1.0"), ("cnc", "celebA"), ("txt", "celeba"), ("anno", "celeba")],
)
def test_celeba_in_each_layout(place, layout, folder):
    write_faces(place / folder, layout)
    splits = load("celeba:size=32,counts=any")
    for number, part in enumerate(parts(splits)):
        assert known(part) == told(part) == [(blond, male) for split, blond, male in FACES if split == number]
        assert part.group.tolist() == [0, 1, 2, 3]
        assert part.conflicting.tolist() == [
            True,
            False,
            False,
            True,
        ]  # a conflicting face is blond and male, or neither
    assert splits.info.class_names == ("not blond", "blond") and splits.info.shape == (3, 32, 32)


def test_celeba_with_the_other_label(place):
    """In the files made here, whoever is blond is not attractive."""
    write_faces(place / "celeba", "txt")
    splits = load("celeba:size=32,counts=any,target=attractive")
    assert attribute_of(splits) == "sex"
    assert splits.info.class_names == ("not attractive", "attractive")
    assert splits.train.label.tolist() == [1 - blond for split, blond, _ in FACES if split == 0]
    assert load("celeba:size=32,target=attractive").train.label.tolist() == splits.train.label.tolist()


def test_celeba_by_any_two_of_its_attributes(place):
    """In the files made here the young are all, blond is whoever is not attractive, and male is independent."""
    write_faces(place / "celeba", "wilds")
    splits = load("celeba:size=32,target=male,attribute=blond")
    assert attribute_of(splits) == "blond"
    faces = [(blond, male) for split, blond, male in FACES if split == 0]
    assert splits.train.label.tolist() == [male for _, male in faces]
    assert splits.train.attribute is not None and splits.train.attribute.tolist() == [blond for blond, _ in faces]
    assert splits.info.class_names == ("not male", "male") and splits.info.attribute_names == ("not blond", "blond")
    against = load("celeba:size=32,target=attractive,attribute=blond")
    assert against.info.aligned == (1, 0) and not against.train.conflicting.any(), "told by what is seen together"
    assert load("celeba:size=32,target=young").train.label.tolist() == [1] * len(faces)
    assert len(celeba.ATTRIBUTES) == len(set(celeba.ATTRIBUTES.values())) == 40
    with pytest.raises(UserError, match=r"the label and the attribute are both 'male'; give two of the 40"):
        load("celeba:target=male")
    with pytest.raises(UserError, match=r"target=bold is not allowed; give 5-o-clock-shadow or arched-eyebrows or "):
        load("celeba:target=bold")
    with pytest.raises(UserError, match=r"Wearing_Hat"):
        load("celeba:size=32,target=wearing-hat")


def test_celeba_cuts_out_the_middle_178_pixels(place):
    write_faces(place / "celeba", "txt")
    image = np.zeros((218, 178, 3), np.uint8)
    image[20:198] = 255  # torchvision's CenterCrop(178) starts at row 20
    Image.fromarray(image).save(place / "celeba/img_align_celeba/000001.jpg", "PNG")
    assert load("celeba:size=89,counts=any").train.x[0].min() == 255


def test_celeba_with_a_missing_file(place):
    write_faces(place / "celeba", "txt")
    (place / "celeba/list_eval_partition.txt").unlink()
    with pytest.raises(
        UserError, match=r"there is no list_eval_partition\.txt in .*/celeba; it comes from https://mmlab"
    ):
        load("celeba:counts=any")
    write_faces(place / "celebA", "wilds")
    with pytest.raises(UserError, match=r"has 1 training \(not blond, female\) samples \(published: 71,629\)"):
        load(f"celeba:folder={place}/celebA")


# --- MultiNLI ---------------------------------------------------------------------------------------------------------

NAMES = ("contradiction", "entailment", "neutral")
RAW = [  # label and hypothesis of the three files; pairs without a label count in places, and are in no table
    [
        ("neutral", "It rains"),
        ("contradiction", "No rain"),
        ("entailment", "Rain falls"),
        ("contradiction", "It never rains"),
    ],
    [("-", "Who knows"), ("entailment", "No sun"), ("neutral", "A cloud"), ("contradiction", "Sun")],
    [("neutral", "Nothing falls"), ("-", "Hm"), ("entailment", "It is wet"), ("neutral", "He sings")],
]
SPLIT = [0, 1, 2, 0, 1, 2, 0, 2, 0, 1]


def write_pairs(root: Path, table: str = "data/metadata_random.csv") -> pd.DataFrame:
    """The table of group DRO for the pairs with a label."""
    rows = pd.DataFrame([pair for file in RAW for pair in file], columns=["gold_label", "hypothesis"])
    words = rows["hypothesis"].str.lower().str.split()
    rows["sentence2_has_negation"] = [int(bool({"no", "never", "nothing", "nobody"} & set(one))) for one in words]
    rows = rows.query("gold_label != '-'").copy()
    rows["gold_label"] = rows["gold_label"].map(NAMES.index)
    rows["split"] = SPLIT
    (root / table).parent.mkdir(parents=True, exist_ok=True)
    rows[["gold_label", "sentence2_has_negation", "split"]].to_csv(root / table)
    return rows


def write_raw(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, pairs in zip(multinli.RAW, RAW, strict=True):
        lines = [
            json.dumps({"gold_label": y, "sentence1": "The weather", "sentence2": text, "genre": "x"})
            for y, text in pairs
        ]
        (folder / name).write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize(
    ("table", "raw"),
    [
        ("data/metadata_random.csv", "data"),
        ("metadata.csv", "multinli_1.0"),
        ("data/metadata.csv", "."),
        ("metadata_random.csv", "."),
    ],
)
def test_multinli_is_joined_by_the_place_before_pairs_without_a_label_are_dropped(place, table, raw):
    rows = write_pairs(place / "multinli", table)
    write_raw(place / "multinli" / raw)
    splits = load("multinli:counts=any")
    for number, part in enumerate(parts(splits)):
        own = rows[rows["split"] == number]
        assert known(part) == list(zip(own["gold_label"], own["sentence2_has_negation"], strict=True))
        assert part.source is not None
        assert part.source.rows["sentence2"].iloc[part.index.numpy()].tolist() == own["hypothesis"].tolist()
    assert splits.train.group.tolist() == [4, 1, 0, 2]  # 2 y + negation
    assert words_of(splits.train)[1] == ["the", "weather", SEPARATOR, "it", "never", "rains"]
    assert splits.info.class_names == NAMES
    assert splits.train.conflicting.tolist() == [False, False, True, False]  # a contradiction without negation


def test_multinli_refuses_files_that_do_not_belong_together(place):
    write_pairs(place / "multinli")
    write_raw(place / "multinli")
    first = place / "multinli" / multinli.RAW[0]
    lines = first.read_text().splitlines()
    first.write_text("\n".join([lines[1], lines[0], *lines[2:]]))
    with pytest.raises(
        UserError, match=r"metadata_random\.csv says in row 1 that the label is neutral, and the pair in"
    ):
        load("multinli:counts=any")
    first.write_text("\n".join(lines[:-1]))  # all later places are off by one
    with pytest.raises(UserError, match="says in row 4 that the label is contradiction, and the pair in"):
        load("multinli:counts=any")
    first.write_text("{}")
    with pytest.raises(
        UserError, match=r"multinli_1\.0_train\.jsonl cannot be read \('sentence1'\); it comes from https://cims"
    ):
        load("multinli:counts=any")


class InputFeatures:  # pickled under the name of a module that is not there when it is read
    def __init__(self, ids: list[int], label: int) -> None:
        self.input_ids, self.input_mask, self.segment_ids, self.label_id = ids, [1] * len(ids), [0] * len(ids), label


def save_features(path: Path, features: object, monkeypatch: pytest.MonkeyPatch, *, zipped: bool) -> None:
    module = types.ModuleType("utils_glue")
    with monkeypatch.context() as patched:
        patched.setitem(sys.modules, "utils_glue", module)
        patched.setattr(InputFeatures, "__module__", "utils_glue")
        module.InputFeatures = InputFeatures  # type: ignore[attr-defined]
        path.parent.mkdir(parents=True, exist_ok=True)
        with warnings.catch_warnings(action="ignore"):
            torch.save(features, path, _use_new_zipfile_serialization=zipped)


def write_cached(root: Path, monkeypatch: pytest.MonkeyPatch, zipped: bool) -> None:
    number = iter(range(100))
    for name, pairs in zip(multinli.CACHED, RAW, strict=True):
        features = [InputFeatures([101, next(number), 102, 0], NAMES.index(y)) for y, _ in pairs if y != "-"]
        save_features(root / "glue_data/MNLI" / name, features, monkeypatch, zipped=zipped)


@pytest.mark.parametrize("zipped", [False, True])
def test_multinli_from_cached_features_without_unpickling(place, monkeypatch, zipped):
    rows = write_pairs(place / "multinli")
    write_cached(place / "multinli", monkeypatch, zipped)
    splits = load("multinli:counts=any")
    assert "utils_glue" not in sys.modules
    for number, part in enumerate(parts(splits)):
        at = np.flatnonzero(rows["split"] == number).tolist()
        assert part.x[part.index].tolist() == [[101, i, 102, 0] for i in at]
        assert known(part) == list(
            zip(rows["gold_label"].iloc[at], rows["sentence2_has_negation"].iloc[at], strict=True)
        )
    assert splits.train.x.dtype == torch.int64 and splits.info.vocabulary == 30_522
    message = "the token ids in .* are of bert-base-uncased and 128 long; leave tokenizer and length out, or unpack https://cims"
    with pytest.raises(UserError, match=message):
        load("multinli:counts=any,length=64")
    write_raw(place / "multinli")  # text is preferred, as it takes any tokenizer
    assert load("multinli:counts=any,length=64").info.vocabulary < 100


class Bomb:
    called = False

    def __reduce__(self) -> Any:
        return (setattr, (Bomb, "called", True))


@pytest.mark.parametrize("zipped", [False, True])
def test_a_malicious_pickle_is_refused_and_nothing_in_it_is_called(place, monkeypatch, zipped):
    path = place / "cached"
    save_features(path, [InputFeatures([1], 0), Bomb()], monkeypatch, zipped=zipped)
    with pytest.raises(
        UserError, match=r"no list of BERT features .*asks for __builtin__\.setattr.*bert_features\.tar"
    ):
        multinli.read_features(path)
    assert not Bomb.called
    path.write_bytes(pickle.dumps(3))
    with pytest.raises(UserError, match="no list of BERT features that can be read"):
        multinli.read_features(path)


def test_multinli_without_texts_or_with_too_few(place, monkeypatch):
    write_pairs(place / "multinli")
    message = (
        r"neither multinli_1\.0_train\.jsonl in .* \(it comes from https://cims.*\) nor cached_train.*gz\); unpack"
    )
    with pytest.raises(UserError, match=message):
        load("multinli:counts=any")
    write_cached(place / "multinli", monkeypatch, True)
    save_features(
        place / "multinli/glue_data/MNLI" / multinli.CACHED[2],
        [InputFeatures([101, 1, 102, 0], 2)],
        monkeypatch,
        zipped=True,
    )
    with pytest.raises(
        UserError, match=r"metadata_random\.csv has 10 rows and .* has 8 pairs; take files that belong together"
    ):
        load("multinli:counts=any")
    with pytest.raises(
        UserError, match=r"multinli.* has 1 training \(contradiction, no negation\) samples \(published: 57,498\)"
    ):
        load("multinli")
    with pytest.raises(
        UserError, match=r"there is no data/metadata_random\.csv in .*/none; it comes from dataset_metadata/"
    ):
        load(f"multinli:folder={place}/none")


# --- MultiNLI, development set ----------------------------------------------------------------------------------------


def write_dev(root: Path, n: int = 40) -> pd.DataFrame:
    """``n`` premises with three hypotheses each, the last of them with a negation."""
    rows = [
        (NAMES[j], int(j == 2), f'premise{i} said "so', f"{'never' if j == 2 else 'surely'} number{i}")
        for i in range(n)
        for j in (2, 0, 1)
    ]
    columns = ["gold_label", "sentence2_has_negation", "premise", "hypothesis"]
    frame = pd.DataFrame(rows, columns=columns)
    root.mkdir(parents=True, exist_ok=True)
    lines = ["\t".join(["index", *columns])] + ["\t".join(map(str, (i, *row))) for i, row in enumerate(rows)]
    (root / "mnli_dev_matched_negation.tsv").write_text("\n".join(lines) + "\n")
    return frame


def test_multinli_dev_keeps_the_pairs_of_a_premise_together(place):
    frame = write_dev(place / "mnli")
    splits = load("multinli-dev:counts=any", seed=3)
    assert attribute_of(splits) == "negation"
    premises = [set(frame["premise"].iloc[part.index.numpy()]) for part in parts(splits)]
    assert not premises[0] & premises[1] and not premises[0] & premises[2] and not premises[1] & premises[2]
    assert [len(part) for part in parts(splits)] == [60, 24, 36]  # 50, 20 and 30 % of 120
    for part in parts(splits):
        own = frame.iloc[part.index.numpy()]
        assert known(part) == list(zip(own["gold_label"].map(NAMES.index), own["sentence2_has_negation"], strict=True))
    again, other = load("multinli-dev:counts=any", seed=3), load("multinli-dev:counts=any", seed=4)
    assert torch.equal(again.train.index, splits.train.index) and not torch.equal(other.train.index, splits.train.index)
    assert words_of(splits.train)[0][1:4] == ["said", "so", SEPARATOR]
    alone = load("multinli-dev:text=hypothesis,counts=any", seed=3)
    assert torch.equal(alone.train.index, splits.train.index)
    assert {len(one) for one in words_of(alone.train)} == {2} and SEPARATOR not in words_of(alone.train)[0]
    with pytest.raises(UserError, match=r"has 40 all \(contradiction, no negation\) samples \(published: 2,709\)"):
        load("multinli-dev")


@pytest.mark.data
def test_real_multinli_dev(real_data: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LONGCUT_DATA", str(real_data))
    splits = load("multinli-dev")
    whole = splits.whole
    assert whole.group.bincount().tolist() == [2709, 504, 3388, 91, 3036, 87]
    assert splits.train.source is not None and whole.attribute is not None
    premise = splits.train.source.rows["premise"].str.strip()
    sets = [set(premise.iloc[part.index.numpy()]) for part in parts(splits)]
    assert sum(map(len, sets)) == len(set.union(*sets)) > 3_000
    sizes = torch.tensor([len(part) for part in parts(splits)]) / 9_815
    assert torch.allclose(sizes, torch.tensor([0.5, 0.2, 0.3]), atol=0.001)
    # the rule of Sagawa et al.: nobody, no, never or nothing among the words of the hypothesis
    bare = splits.train.source.rows["hypothesis"].str.lower().str.replace(r"[^\w\s]", "", regex=True).str.split(" ")
    negated = torch.tensor([bool({"nobody", "no", "never", "nothing"} & set(words)) for words in bare])
    assert torch.equal(whole.attribute, negated.long())


# --- CivilComments ----------------------------------------------------------------------------------------------------

COMMENTS = [  # split, toxicity, identities
    ("train", 0.5, ["black"]),
    ("train", 0.0, []),
    ("train", 0.9, ["male", "white"]),
    ("train", 0.49, ["female"]),
    ("val", 0.1, ["muslim", "LGBTQ"]),
    ("val", 0.7, []),
    ("test", 0.6, ["male", "black", "white"]),
    ("test", 0.2, ["christian"]),
    ("test", 0.0, []),
]


def write_comments(folder: Path, times: int = 1) -> None:
    rows = [
        {
            "id": 100 + i,
            "comment_text": f'word{i} said, "hm"',
            "split": split,
            "created_date": "x",
            "toxicity": toxicity,
        }
        | {name: 0.5 if name in has else 0.4 for name in civilcomments.IDENTITIES}
        | {"identity_any": 0.5 if has or i == 1 else 0.0}  # comment 1 is about an identity that is not among the eight
        for i, (split, toxicity, has) in enumerate(COMMENTS * times)
    ]
    folder.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_csv(folder / "all_data_with_identities.csv")


def comments(data: Dataset) -> list[int]:
    assert data.source is not None
    text = data.source.rows["comment_text"].iloc[data.index.numpy()]
    return [int(one[4]) for one in text]


@pytest.mark.parametrize("folder", ["civilcomments_v1.0", "civilcomments", "jigsaw/data"])
def test_civilcomments_wilds_16(place, folder):
    write_comments(place / folder)
    splits = load("civilcomments:counts=any")
    assert splits.info.name == "civilcomments:variant=wilds-16,counts=any"
    assert [comments(part) for part in parts(splits)] == [[0, 1, 2, 3], [4, 5], [6, 7, 8]]
    assert known(splits.train) == [(1, 1), (0, 0), (1, 0), (0, 0)]  # toxic, black
    assert splits.info.membership_names == civilcomments.IDENTITIES
    for part in parts(splits):
        assert part.memberships is not None
        for row, number in zip(part.memberships.tolist(), comments(part), strict=True):
            assert [name for name, has in zip(civilcomments.IDENTITIES, row, strict=True) if has] == sorted(
                COMMENTS[number][2], key=civilcomments.IDENTITIES.index
            )
    assert splits.train.conflicting.tolist() == [False, False, True, False]
    anyone = load("civilcomments:attribute=any,counts=any")
    assert anyone.info.name == "civilcomments:variant=wilds-16,attribute=any,counts=any"
    assert known(anyone.train) == [(1, 1), (0, 1), (1, 1), (0, 1)]
    assert anyone.info.attribute_names == ("no identity", "identity")


def test_civilcomments_coarse_4(place):
    write_comments(place / "civilcomments")
    splits = load("civilcomments:variant=coarse-4,counts=any")
    assert splits.info.name == "civilcomments:variant=coarse-4,counts=any"
    assert [known(part) for part in parts(splits)] == [
        [(1, 1), (0, 0), (1, 1), (0, 1)],
        [(0, 1), (1, 0)],
        [(1, 1), (0, 1), (0, 0)],
    ]
    assert splits.train.memberships is None


def test_civilcomments_fine_and_coarse(place):
    """As SubpopBench cuts them: a comment stands once for each identity; in coarse, for training it stands once."""
    write_comments(place / "civilcomments")
    fine, coarse = (load(f"civilcomments:variant={variant},counts=any") for variant in ("fine", "coarse"))
    number = civilcomments.IDENTITIES.index
    assert comments(fine.train) == [0, 2, 2, 3]
    assert known(fine.train) == [(1, number("black")), (1, 0), (1, number("white")), (0, 1)]
    for splits in (fine, coarse):
        _, valid, test = parts(splits)
        assert (comments(valid), comments(test)) == ([4, 4], [6, 6, 6, 7])
        assert known(valid) == [(0, number("LGBTQ")), (0, number("muslim"))]
        assert known(test) == [(1, 0), (1, number("black")), (1, number("white")), (0, number("christian"))]
        assert test.info.n_attributes == 8
    assert comments(coarse.train) == [0, 1, 2, 3]
    assert known(coarse.train) == [(1, 0), (0, 1), (1, 0), (0, 0)]  # 1 where none of the eight is mentioned
    info, source = coarse.train.info, coarse.train.source
    assert (info.n_attributes, info.attribute_names) == (2, ("identity", "no identity")) and source is not None
    assert source.rows["identity"].iloc[:5].tolist() == ["identity", "no identity", "identity", "identity", "LGBTQ"]
    assert coarse.train.group.tolist() == [2, 1, 2, 0]
    assert coarse.train.conflicting.tolist() == [False, False, False, True]
    assert fine.info.name != coarse.info.name and fine.info.aligned == ()


def test_civilcomments_refuses_what_does_not_fit(place):
    write_comments(place / "civilcomments")
    with pytest.raises(UserError, match="attribute=any belongs to variant=wilds-16; leave it out of fine"):
        load("civilcomments:variant=fine,attribute=any")
    message = r"variant=wilds-16: .* 4 training samples \(published: 269,038\), 2 validation .* and 33 more such diff"
    with pytest.raises(UserError, match=message):
        load("civilcomments")
    table = place / "civilcomments/all_data_with_identities.csv"
    pd.read_csv(table).drop(columns="black").to_csv(table)
    with pytest.raises(UserError, match=r"identities\.csv cannot be read \(.*'black'.*\); it comes from WILDS"):
        load("civilcomments:counts=any")


def test_published_counts_of_civilcomments(place, monkeypatch):
    write_comments(place / "civilcomments")
    sizes = {"training": 4, "validation": 2, "test": 3, "training (comment, identity)": 4}
    counts = {
        "validation non-toxic": (0, 0, 1, 0, 1, 0, 0, 0),
        "validation toxic": (0,) * 8,
        "test non-toxic": (0, 0, 0, 1, 0, 0, 0, 0),
        "test toxic": (1, 0, 0, 0, 0, 0, 1, 1),
    }
    monkeypatch.setattr(civilcomments, "SIZES", sizes)
    monkeypatch.setattr(civilcomments, "IDENTITY_COUNTS", counts)
    for variant in ("wilds-16", "coarse-4", "fine", "coarse"):
        assert load(f"civilcomments:variant={variant}").info.name == f"civilcomments:variant={variant}"
    monkeypatch.setattr(civilcomments, "IDENTITY_COUNTS", counts | {"test toxic": (1, 0, 0, 0, 0, 0, 9, 1)})
    with pytest.raises(UserError, match=r"has 1 test toxic, black samples \(published: 9\); get the files again"):
        load("civilcomments:variant=coarse")


@pytest.mark.parametrize("variant", ["wilds-16", "coarse-4", "fine", "coarse"])
def test_a_run_on_each_civilcomments(place, variant):
    from longcut.execute import execute
    from longcut.plans import plan

    write_comments(place / "civilcomments", times=3)
    spec = f"civilcomments:variant={variant},counts=any"
    record = execute(plan(spec, "erm", settings={"epochs": "1", "batch": "2", "pool": "1"}), place / "run")
    assert 0 <= record.scores.test.values["worst_group"] <= 1


# --- Camelyon17 -------------------------------------------------------------------------------------------------------


def write_patches(root: Path) -> list[tuple[int, int, int]]:
    """Hospital, tumour and split of each patch."""
    rows = [(center, tumor, split) for center in (3, 0, 1, 2, 4) for tumor, split in product((0, 1), (0, 1))]
    table = []
    for i, (center, tumor, split) in enumerate(rows):
        patient, node, x, y = f"{i:03}", i % 4, 40 * i, 7
        name = f"patient_{patient}_node_{node}"
        paint(root / "patches" / name / f"patch_{name}_x_{x}_y_{y}.png", tumor, center, 12, 12)
        table.append([patient, node, x, y, tumor, 9, center, split])
    columns = ["patient", "node", "x_coord", "y_coord", "tumor", "slide", "center", "split"]
    pd.DataFrame(table, columns=columns).to_csv(root / "metadata.csv")
    return rows


@pytest.mark.parametrize("folder", ["camelyon17_v1.0", "camelyon17"])
def test_camelyon17(place, folder):
    rows = write_patches(place / folder)
    splits = load("camelyon17:counts=any")
    assert attribute_of(splits) == "hospital"
    train, valid, test = parts(splits)
    for part in (train, valid, test):
        assert known(part) == told(part)
    assert known(train) == [(tumor, center) for center, tumor, split in rows if center in (0, 3, 4) and split == 0]
    assert known(valid) == [(tumor, 1) for tumor in (0, 0, 1, 1)]  # whatever their split says
    assert known(test) == [(tumor, 2) for tumor in (0, 0, 1, 1)]
    assert splits.info.attribute_names[4] == "hospital 4" and splits.info.shape == (3, 12, 12)
    assert train.x.shape[0] == 6 + 4 + 4  # what is held back within the training hospitals is not stored
    with pytest.raises(UserError, match=r"has 6 training samples \(published: 302,436\), 4 validation samples"):
        load("camelyon17")


# --- texts ------------------------------------------------------------------------------------------------------------


def test_of_a_long_pair_the_longer_text_is_cut():
    vocabulary = [*"abcdefgh", SEPARATOR]

    def joined(first: str, second: str, length: int) -> str:
        row = encode([first], vocabulary, length, [second])[0]
        return "".join(vocabulary[i - 2] for i in row if i)

    assert joined("a b c", "d e", 7) == "abc|de"
    assert joined("a b c d e", "f", 5) == "abc|f"
    assert joined("a", "b c d e f", 5) == "a|bcd"
    assert joined("a b c d", "e f g h", 5) == "ab|ef"
    assert joined("a b c d", "e f g h", 6) == "abc|ef"
    assert joined("", "b", 3) == "|b"


def test_a_separator_changes_no_id():
    """Of a single text, all is as it was; of a pair, it is the last id."""
    one, two = fit([["a b", "a"]]), fit([["a b", "a"], ["a", "b"]])
    assert one == {"vocabulary": ["a", "b"], "length": 2, "rule": 2}
    assert two == {"vocabulary": ["a", "b", SEPARATOR], "length": 4, "rule": 2}
    x, size = apply(two, [["b"], ["a a"]])
    assert (x.tolist(), size) == ([[3, 4, 2, 2]], 5)
    assert apply(one, [["b | a"]])[0].tolist() == [[3, 2]]  # a bar in a text is no word


@pytest.fixture
def bert(tmp_path: Path) -> str:
    transformers = pytest.importorskip("transformers")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "weather", "it", "rain", "##s", "never", "no"]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    transformers.BertTokenizerFast(vocab=str(tmp_path / "vocab.txt")).save_pretrained(tmp_path / "bert")
    return str(tmp_path / "bert")


def test_a_hugging_face_tokenizer(bert, place):
    x, vocabulary = tokenize(["It rains", "the"], bert, 6)
    assert (x.tolist(), vocabulary) == ([[2, 7, 8, 9, 3, 0], [2, 5, 3, 0, 0, 0]], 12)
    assert tokenize(["It rains"], bert, 7, ["no"])[0].tolist() == [[2, 7, 8, 9, 3, 11, 3]]
    assert tokenize(["It rains"], bert, 6, ["no"])[0].tolist() == [[2, 7, 8, 3, 11, 3]]
    write_pairs(place / "multinli")
    write_raw(place / "multinli")
    splits = load(f"multinli:counts=any,length=8,tokenizer={bert}")
    assert splits.train.x[1].tolist() == [2, 5, 6, 3, 11, 8, 3, 0]  # the weather [SEP] no rain [SEP]
    assert splits.info.vocabulary == 12 and splits.info.shape == (8,)


def test_a_tokenizer_that_does_not_fit(bert, place):
    with pytest.raises(
        UserError, match=r"nowhere: there is no tokenizer to be loaded \(.*\); give its name on the hub, or"
    ):
        (place / "nowhere").mkdir()
        tokenize(["a"], str(place / "nowhere"), 4)
    config = Path(bert) / "tokenizer_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"pad_token": "[MASK]"}))
    with pytest.raises(
        UserError, match=r"bert: this tokenizer pads with id 4, and here padding is 0; take one like that of"
    ):
        tokenize(["a"], bert, 4)


def test_a_tokenizer_needs_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(
        UserError, match=r'bert: Hugging Face tokenizers need a further package; pip install "longcut\[hub\]"'
    ):
        tokenize(["a"], "bert", 4)


def test_a_network_trained_on_pairs_predicts_a_table_of_pairs(place):
    from longcut.deploy import predict
    from longcut.execute import execute
    from longcut.plans import plan
    from longcut.runs import read

    write_dev(place / "mnli")
    settings = {"epochs": "1", "batch": "16", "pool": "1"}
    execute(plan("multinli-dev:counts=any", "erm", settings=settings), place / "run")
    new = pd.DataFrame({"premise": ["premise1 said", "premise2"], "hypothesis": ["never number1", "surely"]})
    new.to_csv(place / "new.csv", index=False)
    frame = predict(read(place / "run"), place / "new.csv")
    assert set(frame["prediction"]) <= set(NAMES) and len(frame) == 2


def test_a_network_trained_on_birds_predicts_photos_of_any_size(place):
    from longcut.deploy import predict
    from longcut.execute import execute
    from longcut.plans import plan
    from longcut.runs import read

    write_birds(place / "waterbirds")
    execute(plan("waterbirds:size=8,counts=any", "erm", settings={"epochs": "1", "net": "tiny:width=2"}), place / "run")
    paint(place / "photos/new.png", 1, 1, 50, 40)
    frame = predict(read(place / "run"), place / "photos")
    assert frame["name"].tolist() == ["new.png"] and set(frame["prediction"]) < {"landbird", "waterbird"}
