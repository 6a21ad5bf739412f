"""Features of a pretrained net: what is encoded, made once, kept, gone on with, trained on and refused."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from test_own_data import columns, write_images
from torch.nn import functional as F

from longcut import encoders
from longcut.audit import View
from longcut.audit.storage import compact
from longcut.data import Dataset, Splits
from longcut.datasets import load, metrics_of, parse, resolve, spec_of, title_of
from longcut.datasets.embedded import embed
from longcut.encoders import Encoder, features
from longcut.errors import UserError
from longcut.fit import Training, fit
from longcut.methods import build
from longcut.methods.last_layer.heads import features_of
from longcut.sources import images

CROP, RESIZE, WIDTH = 16, 20, 5
WEIGHTS = torch.from_numpy(np.random.default_rng(0).integers(-3, 4, (3 * CROP * CROP, WIDTH))).float()


def looks(x: torch.Tensor) -> torch.Tensor:
    """Whole numbers, so that sums are exact in any order and a sample is the same in any batch."""
    assert x.dtype == torch.uint8 and x.shape[1:] == (3, CROP, CROP)
    return x.flatten(1).float() @ WEIGHTS


def letters(texts: list[str]) -> torch.Tensor:
    return torch.tensor([[float(text.count(letter)) for letter in "aeiou"] for text in texts])


EYE = Encoder("eye", "image", WIDTH, "1", looks, RESIZE, CROP)
EAR = Encoder("ear", "text", 5, "1", letters)


@pytest.fixture(autouse=True)
def nets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Encoder]:
    """A registry of our own, and a cache."""
    known = {"eye": EYE, "ear": EAR, "other": dataclasses.replace(EYE, name="other", version="7")}
    monkeypatch.setattr(encoders, "build", lambda spec: known[spec], raising=False)
    monkeypatch.setattr(encoders, "canonical", lambda spec: spec, raising=False)
    monkeypatch.setattr("longcut.cli.early.encoder", lambda spec: None)  # which reads the names in the source
    monkeypatch.setenv("LONGCUT_CACHE", str(tmp_path / "cache"))
    return known


def photos(root: Path, n: int = 40, sides: tuple[int, ...] = (24, 31, 17, 40)) -> Path:
    """Photos of several sizes in two class folders, some smaller than the net wants."""
    draw = np.random.default_rng(3)
    for i in range(n):
        size = (sides[i % len(sides)], sides[i // 2 % len(sides)], 3)
        x = draw.integers(0, 90, size, dtype=np.uint8) + np.uint8(100 * (i % 2))
        write_images([x], [root / ("land", "water")[i % 2] / f"{i:02}.png"])  # type: ignore[arg-type]
    return root


def direct(path: Path) -> torch.Tensor:
    """Features of one file by Pillow's own two steps."""
    image = Image.open(path).convert("RGB")
    width, height = (int(RESIZE * side / min(image.size)) for side in image.size)
    image = image.resize((width, height), Image.Resampling.BILINEAR)
    left, top = round((width - CROP) / 2), round((height - CROP) / 2)
    image = image.crop((left, top, left + CROP, top + CROP))
    return looks(torch.from_numpy(np.array(image)).permute(2, 0, 1)[None])[0]


# --- what is encoded --------------------------------------------------------------------------------------------------


def test_features_are_those_of_each_file_as_large_as_the_net_wants_it(tmp_path):
    root = photos(tmp_path / "photos")
    splits = load(f"embedded:data={root},encoder=eye")
    base = load(f"folder:path={root},size=64")
    for name in ("train", "valid", "test"):
        part, plain = getattr(splits, name), getattr(base, name)
        assert part.x is splits.train.x
        assert part.x.dtype == torch.float32 and part.info.shape == (WIDTH,) and part.info.kind == "table"
        assert torch.equal(part.label, plain.label) and torch.equal(part.index, plain.index)
        assert part.source.rows.equals(plain.source.rows) and part.source.facts.equals(plain.source.facts)
        assert part.info.encoder == "eye@1" and part.info.class_names == ("land", "water")
        assert torch.equal(part.seen(torch.arange(3)), plain.gather(torch.arange(3))), "pictures to show"
        for position in range(len(part)):
            file = root / part.source.rows["path"].iloc[int(part.index[position])]
            assert torch.equal(part.gather(torch.tensor([position]))[0], direct(file)), file


def test_a_jpeg_is_turned_upright_before_it_is_cut(tmp_path):
    x = np.zeros((40, 24, 3), np.uint8)
    x[:20] = 200
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    (tmp_path / "a").mkdir()
    Image.fromarray(x).save(tmp_path / "a" / "turned.jpg", exif=exif, quality=95)
    square = images.squares(["a/turned.jpg"], tmp_path, resize=RESIZE, crop=CROP)[0]
    assert square[:, :4].max() < 20 and square[:, -4:].min() > 180


@pytest.mark.parametrize("size", [1, 7, 64, 1000])
def test_features_do_not_depend_on_the_size_of_a_slice(tmp_path, monkeypatch, size):
    root = photos(tmp_path / "photos")
    monkeypatch.setattr(features, "SLICE", size)
    names = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.png"))
    found = features.of_files(EYE, names, root)
    assert torch.equal(torch.tensor(found), torch.stack([direct(root / name) for name in names]))


def test_tensors_are_enlarged_from_what_there_is():
    base = load("colored-digits")
    x = F.interpolate(base.test.x.float(), size=(RESIZE, RESIZE), mode="bilinear", antialias=True)
    middle = x[..., 2:18, 2:18].round().to(torch.uint8)
    splits = load("embedded:data=colored-digits,encoder=eye")
    assert torch.equal(splits.test.x, looks(middle))
    attribute, pictures = splits.test.attribute, splits.train.pictures
    assert attribute is not None and base.test.attribute is not None and attribute.equal(base.test.attribute)
    assert pictures is not None and pictures.equal(base.train.x)
    assert splits.info.aligned == base.info.aligned


def test_grey_images_have_three_equal_channels_and_floats_are_scaled():
    grey = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    square = features.enlarged(grey, 16, 16)
    assert torch.equal(square, grey.expand(1, 3, 16, 16))
    assert torch.equal(features.enlarged(grey.float() / 255, 16, 16), square)


def test_planted_cues_are_in_the_features(tmp_path):
    """A cue is planted in the pixels; the files that they came from do not have it."""
    root = photos(tmp_path / "photos")
    inner = f"planted:data=folder:path={root}%2Csize=32,cue=patch"
    planted = load(inner)
    found = load(spec_of("embedded", {"data": inner, "encoder": "eye"}))
    assert torch.equal(found.train.x[:3], looks(features.enlarged(planted.train.x[:3], RESIZE, CROP)))


def sentences(root: Path) -> Path:
    frame = columns()
    frame["text"] = ["a bird by the lake", "an owl in the wood", "", "aeiou NA"][::1] * (len(frame) // 4)
    frame["more"] = ["ea", "io"] * (len(frame) // 2)
    frame.to_csv(root / "texts.csv", index=False)
    return root / "texts.csv"


def test_texts_are_encoded_as_they_are_written(tmp_path):
    path = sentences(tmp_path)
    splits = load(spec_of(*parse(resolve(str(path), "ear", label="label", text="text+more", split="part"))))
    frame = pd.read_csv(path, keep_default_na=False)
    assert torch.equal(splits.train.x, letters([f"{a} {b}" for a, b in zip(frame["text"], frame["more"], strict=True)]))
    assert splits.train.source is not None and splits.train.source.text == ("text", "more")
    assert splits.info.vocabulary == 0
    assert splits.train.seen(torch.arange(2)) is None


def test_pairs_of_texts_are_u_v_their_difference_and_their_product(tmp_path):
    path = sentences(tmp_path)
    base = load(f"table:path={path},label=label,text=text+more").train
    assert base.source is not None
    source = dataclasses.replace(base.source, encoding={**base.source.encoding, "pairs": True})
    paired = dataclasses.replace(base, source=source)
    x = embed(Splits(paired, None, paired), EAR).train.x
    frame = pd.read_csv(path, keep_default_na=False)
    u, v = letters(frame["text"].tolist()), letters(frame["more"].tolist())
    assert torch.equal(x, torch.cat([u, v, (u - v).abs(), u * v], 1))


# --- made once --------------------------------------------------------------------------------------------------------


def counting(encoder: Encoder, seen: list[int]) -> Encoder:
    def counted(x):
        seen.append(len(x))
        return encoder.features(x)

    return dataclasses.replace(encoder, features=counted)


def test_what_is_encoded_is_encoded_once(tmp_path, nets):
    root, seen = photos(tmp_path / "photos"), []
    nets["eye"] = counting(EYE, seen)
    told: list[tuple[int, int]] = []
    first = load(f"embedded:data={root},encoder=eye", progress=lambda done, total: told.append((done, total)))
    assert sum(seen) == 40 and told[-1] == (40, 40)
    again = load(f"embedded:data={root},encoder=eye")
    assert sum(seen) == 40 and torch.equal(first.train.x, again.train.x)
    assert isinstance(np.load(next((tmp_path / "cache" / "features").glob("*/x.npy")), mmap_mode="r"), np.memmap)


@pytest.mark.parametrize("change", [{"version": "2"}, {"name": "brow"}, {"resize": 22}])
def test_another_net_is_another_key(tmp_path, change):
    root, seen = photos(tmp_path / "photos", 6), []
    names = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.png"))
    features.of_files(counting(EYE, seen), names, root)
    features.of_files(counting(dataclasses.replace(EYE, **change), seen), names, root)
    assert sum(seen) == 12


def test_a_changed_file_is_another_key(tmp_path):
    root = photos(tmp_path / "photos", 6)
    names = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.png"))
    before = torch.tensor(features.of_files(EYE, names, root))
    write_images([np.full((30, 30, 3), 77, np.uint8)], [root / names[2]])  # type: ignore[arg-type]
    after = torch.tensor(features.of_files(EYE, names, root))
    assert (before != after).any(1).tolist() == [False, False, True, False, False, False]
    assert torch.equal(after[2], direct(root / names[2]))


def test_changed_texts_and_pixels_are_another_key():
    one, two = (torch.tensor(features.of_texts(EAR, ["a", word], "texts")) for word in ("e", "i"))
    assert not torch.equal(one, two)
    x = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    one = torch.tensor(features.of_pixels(EYE, x, "x"))
    x[1, 0, 4, 4] = 255
    two = torch.tensor(features.of_pixels(EYE, x, "x"))
    assert torch.equal(one[0], two[0]) and not torch.equal(one[1], two[1])


KILLED = """
import os, signal, sys
from pathlib import Path
import numpy as np, torch
sys.path.insert(0, {tests!r})
import test_embedded as t
from longcut.encoders import features
features.SLICE = 4
calls = []
def dies(x):
    calls.append(0)
    if len(calls) == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    return t.looks(x)
root = Path({root!r})
names = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.png"))
features.of_files(t.dataclasses.replace(t.EYE, features=dies), names, root)
"""


def test_a_killed_process_is_gone_on_with_behind_its_last_whole_slice(tmp_path, monkeypatch):
    root, seen = photos(tmp_path / "photos", 22), []
    script = tmp_path / "killed.py"
    script.write_text(textwrap.dedent(KILLED.format(tests=str(Path(__file__).parent), root=str(root))))
    died = subprocess.run([sys.executable, str(script)], env=dict(os.environ), check=False)
    assert died.returncode == -signal.SIGKILL
    (unfinished,) = (tmp_path / "cache" / "features").glob("*.unfinished")
    with (unfinished / "x.npy").open("ab") as file:
        file.write(b"half a slice")  # as if the kill had come in the middle of a write
    monkeypatch.setattr(features, "SLICE", 4)
    names = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.png"))
    found = features.of_files(counting(EYE, seen), names, root)
    assert sum(seen) == 22 - 12, "three slices of four were whole"
    assert torch.equal(torch.tensor(found), torch.stack([direct(root / name) for name in names]))
    assert not unfinished.exists()


def test_what_fails_keeps_the_slices_before_it(tmp_path, monkeypatch):
    monkeypatch.setattr(features, "SLICE", 2)
    texts, seen = ["a", "e", "i", "!", "u"], []

    def broken(some):
        return letters(some).where(torch.tensor([["!" not in text] for text in some]), torch.tensor(float("nan")))

    with pytest.raises(UserError, match=r"^text 3 of mine: its features by 'ear' are not finite; leave it out"):
        features.of_texts(dataclasses.replace(EAR, features=broken), texts, "mine")
    found = features.of_texts(counting(EAR, seen), texts, "mine")
    assert seen == [2, 1] and torch.equal(torch.tensor(found), letters(texts))


def test_an_image_whose_features_are_not_finite_is_named(tmp_path):
    root = photos(tmp_path / "photos", 6)
    broken = dataclasses.replace(EYE, features=lambda x: looks(x) / (x.flatten(1).float().mean(1, keepdim=True) > 90))
    with pytest.raises(UserError, match=r"photos/land/00\.png: its features by 'eye' are not finite"):
        features.of_files(broken, ["water/01.png", "land/00.png"], root)


# --- what is refused --------------------------------------------------------------------------------------------------


def test_what_cannot_be_embedded_is_said(tmp_path):
    frame = columns()
    frame["age"] = np.arange(len(frame)) % 7
    frame.to_csv(tmp_path / "rows.csv", index=False)
    with pytest.raises(UserError, match=r"rows\.csv is a table of numbers, and pretrained nets take images or texts"):
        load(f"embedded:data=table:path={tmp_path / 'rows.csv'}%2Clabel=label,encoder=eye")
    with pytest.raises(UserError, match="holds images, and 'ear' takes texts; take a net for images"):
        load("embedded:data=colored-digits,encoder=ear")
    with pytest.raises(UserError, match="are features already; embed the images or texts that they were made from"):
        load("embedded:data=embedded:data=colored-digits%2Cencoder=eye,encoder=eye")
    with pytest.raises(UserError, match="'embedded' was not told of what; write embedded:data="):
        load("embedded:encoder=eye")
    np.savez(tmp_path / "ids.npz", tokens=np.arange(1, 81).reshape(40, 2), y=np.arange(40) % 2)
    with pytest.raises(UserError, match="holds token ids without the text that they stand for"):
        load(f"embedded:data={tmp_path / 'ids.npz'},encoder=ear")
    with pytest.raises(UserError, match="images have 2 channels, and 'eye' takes 1 or 3"):
        features.of_pixels(EYE, torch.zeros(1, 2, 4, 4, dtype=torch.uint8), "x")


def test_an_image_that_cannot_be_read_is_named(tmp_path):
    root = photos(tmp_path / "photos", 6)
    (root / "land" / "00.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"1 of 2 images cannot be read: land/00\.png"):
        images.squares(["water/01.png", "land/00.png"], root, resize=RESIZE, crop=CROP)


def test_a_cache_that_cannot_be_written_is_said(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LONGCUT_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match=r"cannot store features here .*; set LONGCUT_CACHE to another folder"):
        features.of_texts(EAR, ["a"], "mine")


# --- other views ------------------------------------------------------------------------------------------------------


def test_views_are_cut_at_random_and_mirrored_or_not(tmp_path):
    """Each is one of the twelve or so that can be cut and mirrored, by Pillow's own steps, and not all are the same."""
    root = photos(tmp_path / "photos", 12)
    names = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.png"))
    found = torch.tensor(features.views_of_files(EYE, names, root, 5))
    assert found.shape == (12, 5, WIDTH)
    side, hits = round(CROP * 8 / 7), set()
    for name, views in zip(names, found, strict=True):
        image = torch.from_numpy(images.squares([name], root, resize=side, crop=side))
        possible = {
            (top, left, turned): looks(part.flip(3) if turned else part)[0]
            for top in range(side - CROP + 1)
            for left in range(side - CROP + 1)
            for turned in (False, True)
            for part in [image[..., top : top + CROP, left : left + CROP]]
        }
        for view in views:
            same = [how for how, value in possible.items() if torch.equal(value, view)]
            assert same
            hits.update(same)
    assert {turned for *_, turned in hits} == {False, True}
    assert {top for top, *_ in hits} == {left for _, left, _ in hits} == set(range(side - CROP + 1))


def test_views_do_not_depend_on_the_size_of_a_slice(tmp_path, monkeypatch):
    root = photos(tmp_path / "photos", 12)
    names = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.png"))
    whole = np.array(features.views_of_files(EYE, names, root, 3))
    monkeypatch.setattr(features, "SLICE", 5)
    monkeypatch.setenv("LONGCUT_CACHE", str(tmp_path / "another"))
    assert (np.array(features.views_of_files(EYE, names, root, 3)) == whole).all()


@pytest.mark.parametrize("of", ["files", "pixels"])
def test_views_are_of_training_images_alone_and_belong_to_them(tmp_path, of):
    root = photos(tmp_path / "photos")
    data = str(root) if of == "files" else "colored-digits"
    plain, splits = load(f"embedded:data={data},encoder=eye"), load(f"embedded:data={data},encoder=eye,views=2")
    assert splits.valid is None or splits.valid.views is None
    assert splits.test.views is None and plain.train.views is None
    assert torch.equal(splits.train.x, plain.train.x) and torch.equal(splits.train.index, plain.train.index)
    views, train = splits.train.views, splits.train
    assert views is not None and views.shape == (len(train.x), 2, WIDTH)
    if of == "files":
        assert train.source is not None
        paths = train.source.rows["path"].iloc[train.index.numpy()].tolist()
        expected = features.views_of_files(EYE, paths, root, 2)
    else:
        images_of = load(data).train
        expected = features.views_of_pixels(EYE, images_of.x[images_of.index], 2, "digits")
    assert torch.equal(views[train.index], torch.tensor(expected))
    assert splits.whole.views is None, "test images have none"


def test_a_net_that_learns_sees_samples_and_their_views_and_is_judged_by_samples():
    n = 64
    data = Dataset.of(torch.zeros(n, 3), torch.arange(n) % 2)
    train = dataclasses.replace(data, views=1 + torch.arange(2.0).view(1, 2, 1).expand(n, 2, 3).contiguous())
    seen: list[torch.Tensor] = []
    method = build("erm", data.info, net="linear")
    method.net.register_forward_pre_hook(lambda net, given: seen.append(given[0].clone()))
    fit(method, Splits(train, None, data), Training(epochs=30, batch=16, pool=2, every=30))
    learned = torch.cat([x for x in seen if len(x) == 16])
    share = torch.stack([(learned == value).all(1).float().mean() for value in range(3)])
    assert len(learned) == 30 * n and share == pytest.approx([1 / 3] * 3, abs=0.04)
    assert all((x == 0).all() for x in seen if len(x) != 16), "what is evaluated"


def test_a_storage_of_its_own_keeps_the_views_of_its_samples():
    """An audit copies the samples that it looks at, and the head of a net is given features that have no views."""
    data = Dataset.of(torch.arange(12.0)[:, None], torch.arange(12) % 2)
    data = dataclasses.replace(data, views=100 + torch.arange(24.0).view(12, 2, 1))
    some = data.take(torch.tensor([9, 2, 2, 7]))
    alone = compact(View(some, None, 0.05)).data
    assert len(alone.x) == 3 and alone.views is not None
    assert torch.equal(alone.x[alone.index], data.x[some.index])
    assert some.views is not None and torch.equal(alone.views[alone.index], some.views[some.index])
    features = features_of(build("erm", data.info, net="mlp:hidden=4").net, some)
    assert features.views is None and features.x.shape == (4, 4)


def test_texts_have_no_views(tmp_path):
    frame = pd.DataFrame({"text": [f"word{i}" for i in range(40)], "label": np.arange(40) % 2})
    frame.to_csv(tmp_path / "texts.csv", index=False)
    spec = f"table:path={tmp_path / 'texts.csv'}%2Clabel=label%2Ctext=text"
    with pytest.raises(UserError, match="holds texts, and views are of images; leave views=2 out"):
        load(f"embedded:data={spec},encoder=ear,views=2")


# --- as a spec --------------------------------------------------------------------------------------------------------


def test_flags_and_features_become_one_spec():
    assert resolve("colored-digits:ratio=0.02", "eye") == "embedded:data=colored-digits:ratio=0.02,encoder=eye"
    spec = spec_of(*parse(resolve("table:path=a.csv", "hf:name=b", label="y", text="t")))
    assert spec == "embedded:data=table:path=a.csv%2Clabel=y%2Ctext=t,encoder=hf:name=b"
    assert title_of(spec) == "a.csv (hf:name=b)"
    assert metrics_of("embedded:data=adult,encoder=ear") == metrics_of("adult") != ()
