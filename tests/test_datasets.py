from __future__ import annotations

import gzip
import hashlib
import re
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import entry_of
from PIL import Image
from scipy.stats import chi2

from longcut.data import Dataset, Splits
from longcut.datasets import DATASETS, OWN, colored_mnist, data_folder, load, parse, spec_of
from longcut.datasets.colored_mnist import LFF_COLORS
from longcut.datasets.planted import COLORS, in_rotation, plant
from longcut.errors import UserError
from longcut.registry import load_file
from longcut.sources.options import own_options
from longcut.spec import options_of, validate

RGB = np.array(list(COLORS.values()))


# --- specs ------------------------------------------------------------------------------------------------------------


def test_parse():
    assert parse("colored-mnist") == ("colored-mnist", {})
    options = {"ratio": 0.01, "recipe": "lff", "severity": 2, "folder": "some/where"}
    assert parse("colored-mnist: ratio = 1e-2,recipe=lff,severity=2,folder=some/where") == ("colored-mnist", options)


def test_spec_of_leaves_out_defaults_and_keeps_the_order_of_the_function():
    assert spec_of("colored-mnist", {}) == "colored-mnist"
    assert spec_of("colored-mnist", {"ratio": 0.005, "recipe": "dfa"}) == "colored-mnist"
    assert spec_of("colored-mnist", {"severity": "3", "ratio": "0.02"}) == "colored-mnist:ratio=0.02,severity=3"


@pytest.mark.parametrize("ratio", [0.0, 1e-5, 0.015, 1 / 3, 0.9])
def test_spec_of_and_parse_are_inverse(ratio):
    spec = spec_of("colored-mnist", {"ratio": ratio, "recipe": "lff"})
    assert parse(spec) == ("colored-mnist", {"ratio": ratio, "recipe": "lff"})


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("colored-mist", "unknown data set 'colored-mist': did you mean 'colored-mnist'"),
        ("colored-mnist:rato=1", "unknown option of colored-mnist 'rato': did you mean 'ratio'"),
        ("colored-mnist:seed=1", "unknown option of colored-mnist 'seed'"),
        ("colored-mnist:ratio=0.91", "colored-mnist: ratio=0.91 is not allowed; give a number from 0 to 0.9"),
        ("colored-mnist:ratio=-1", "ratio=-1 is not allowed"),
        ("colored-mnist:ratio=nan", "ratio=nan is not allowed"),
        ("colored-mnist:ratio=much", "ratio=much is not allowed; give a number from 0 to 0.9"),
        ("colored-mnist:severity=6", "severity=6 is not allowed; give a whole number from 1 to 5"),
        ("colored-mnist:severity=2.5", "severity=2.5 is not allowed; give a whole number from 1 to 5"),
        ("colored-mnist:recipe=lfff", "recipe=lfff is not allowed; give dfa or lff"),
        ("colored-mnist:ratio", "'ratio' in data set 'colored-mnist:ratio' is not key=value"),
        ("colored-mnist:ratio=0.1,ratio=0.2", "'ratio=0.2' in data set .* is given twice"),
    ],
)
def test_a_wrong_spec_is_refused(spec, message):
    with pytest.raises(UserError, match=message):
        load(spec)


def test_spec_of_refuses_an_unknown_name():
    with pytest.raises(UserError, match="unknown data set 'digit'"):
        spec_of("digit", {})


def test_what_a_data_set_does_not_take_it_is_not_given(monkeypatch):
    def neither():
        return {}

    def one(*, seed):
        return {"seed": seed}

    def other(*, progress):
        return {"progress": progress}

    def both(*, seed, progress):
        return {"seed": seed, "progress": progress}

    given = {"seed": 7, "progress": print}
    for function, taken in ((neither, ()), (one, ("seed",)), (other, ("progress",)), (both, ("seed", "progress"))):
        monkeypatch.setitem(DATASETS.own, "made", entry_of(function=function))
        assert load("made", **given) == {name: given[name] for name in taken}


def test_a_file_adds_data_sets_as_functions_or_entries(tmp_path: Path):
    file = tmp_path / "mine.py"
    file.write_text(
        """
from typing import Annotated
from pydantic import Field
from longcut.datasets import Entry

def spots(*, n: Annotated[int, Field(ge=1, description="of spots")] = 3, seed: int = 0):
    return n, seed

DATASETS = {"spots": spots, "more-spots": Entry(spots, {"epochs": 4})}
"""
    )
    load_file(file)
    assert load("spots:n=5", seed=2) == load("more-spots:n=5", seed=2) == (5, 2)
    assert DATASETS["spots"].training == {} and DATASETS["more-spots"].training == {"epochs": 4}
    with pytest.raises(UserError, match=r"spots: n=0 is not allowed; give a whole number at least 1"):
        parse("spots:n=0")


def test_what_can_be_said_about_own_data_is_declared_once():
    declared = {option.name: option.help for option in own_options()}
    taken = {o.name: o.help for name in OWN for o in options_of(DATASETS[name].function) if o.name != "path"}
    assert taken == declared


def test_own_data_has_to_say_which():
    for name in ("folder", "table", "arrays", "hub", "shards"):
        with pytest.raises(UserError, match=f"data set '{name}' was not told which; write {name}:path=…"):
            load(name)


def test_calling_the_function_checks_its_options_too():
    with pytest.raises(UserError, match=r"ratio=1\.5 is not allowed"):
        DATASETS["colored-digits"].function(ratio=1.5)


@pytest.mark.parametrize("name", DATASETS)
def test_every_option_is_described_and_has_an_allowed_default(name):
    function = DATASETS[name].function
    options = options_of(function)
    assert all(option.help and option.allowed for option in options)
    assert validate(name, function, {o.name: o.default for o in options}) == {o.name: o.default for o in options}


def test_data_folder(monkeypatch):
    monkeypatch.setenv("LONGCUT_DATA", "some/where")
    assert data_folder("mnist") == Path("some/where/mnist")
    monkeypatch.delenv("LONGCUT_DATA")
    assert data_folder("mnist") == Path.home() / ".cache/longcut/data/mnist"


# --- what every colored data set has in common ------------------------------------------------------------------------


def independent(data: Dataset) -> bool:
    """Whether label and colour look independent with uniform colours: chi-square over the cells, level 1e-6."""
    counts = torch.bincount(data.group, minlength=100).double().reshape(10, 10)
    expected = counts.sum(1, keepdim=True) / 10
    return bool(((counts - expected) ** 2 / expected).sum().item() < chi2.isf(1e-6, 90))


def same(one: Splits, other: Splits) -> bool:
    pairs = [(one.train, other.train), (one.test, other.test)]
    return all(
        torch.equal(a.x, b.x) and torch.equal(a.index, b.index) and torch.equal(a.group, b.group) for a, b in pairs
    )


def test_a_planted_attribute_contradicts_in_the_first_rows_of_each_part():
    draw = torch.Generator().manual_seed(0)
    label = torch.randint(10, (5000,), generator=draw)
    rank = [int((label[:i] == y).sum()) for i, y in enumerate(label)]
    assert in_rotation(label).tolist() == [n % 10 for n in rank]
    even, odd = torch.arange(0, 5000, 2), torch.arange(1, 5000, 2)
    color = plant(label, [(even, 2500), (odd, 0)], draw)
    assert torch.equal(color[1::2], label[1::2])
    assert (color[::2] != label[::2]).all()
    steps = ((color - label) % 10)[::2].bincount(minlength=10)[1:].double()
    assert float(((steps - 2500 / 9) ** 2 / (2500 / 9)).sum()) < chi2.isf(1e-6, 8)


# --- colored digits ---------------------------------------------------------------------------------------------------


def test_colored_digits_sizes_and_conflicts():
    splits = load("colored-digits", seed=3)
    assert splits.valid is not None
    parts = [splits.train, splits.valid, splits.test]
    assert [len(part) for part in parts] == [1000, 197, 600]
    assert sorted(torch.cat([part.index for part in parts]).tolist()) == list(range(1797))
    assert torch.bincount(splits.train.label[splits.train.conflicting]).tolist() == [5] * 10
    assert int(splits.valid.conflicting.sum()) == 10  # 5 % of 197
    assert splits.info.shape == (3, 8, 8)
    assert splits.info.kind == "image"
    assert splits.info.aligned == tuple(range(10))


def test_colored_digits_classes_are_in_proportion():
    splits = load("colored-digits")
    everything = torch.bincount(torch.cat([splits.train.label, splits.valid.label, splits.test.label]))  # pyright: ignore
    for part in (splits.train, splits.valid, splits.test):
        assert part is not None
        share = everything * len(part) / 1797
        assert (torch.bincount(part.label) - share).abs().max() <= 1.5


def test_colored_digits_test_colors_are_balanced():
    cells = torch.bincount(load("colored-digits").test.group, minlength=100)
    assert cells.min() >= 5 and cells.max() <= 7


def test_colored_digits_without_shortcut():
    assert independent(load("colored-digits:ratio=0.9").train)
    assert not independent(load("colored-digits:ratio=0.5").train)


def test_colored_digits_pixels_are_color_times_level():
    from sklearn.datasets import load_digits

    level = np.asarray(load_digits(return_X_y=True)[0]).reshape(-1, 8, 8)
    train = load("colored-digits:ratio=0.3").train
    assert train.attribute is not None
    for row in range(0, 1000, 97):
        index, color = int(train.index[row]), RGB[train.attribute[row]]
        expected = np.stack([np.round(level[index] / 16 * part) for part in color])
        assert np.array_equal(train.x[index].numpy(), expected)


def test_colored_digits_seed():
    assert same(load("colored-digits", 1), load("colored-digits", 1))
    assert not torch.equal(load("colored-digits", 1).train.index, load("colored-digits", 2).train.index)


# --- colored MNIST from small files in the MNIST format ---------------------------------------------------------------


def write_mnist(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, np.ndarray]:
    """Four small files with every grey level, and the checksums to match."""
    rng = np.random.default_rng(0)
    content, checksums = {}, {}
    folder.mkdir(parents=True, exist_ok=True)
    for part, count in (("train", 240), ("t10k", 500)):
        content[f"{part}-images-idx3-ubyte.gz"] = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        content[f"{part}-labels-idx1-ubyte.gz"] = rng.permutation(np.arange(count, dtype=np.uint8) % 10)
    for name, values in content.items():
        if values.ndim == 3:
            values[:, 0, 0] = 255
        header = struct.pack(f">{1 + values.ndim}i", 0x0800 + values.ndim, *values.shape)
        packed = gzip.compress(header + values.tobytes())
        (folder / name).write_bytes(packed)
        checksums[name] = hashlib.md5(packed).hexdigest()
    monkeypatch.setattr(colored_mnist, "CHECKSUMS", checksums)
    monkeypatch.setattr(colored_mnist, "PUBLISHED_CONFLICTS", {0.005: 7})
    monkeypatch.setattr(colored_mnist, "MIRRORS", ())
    return content


@pytest.fixture
def small(tmp_path, monkeypatch):
    monkeypatch.setenv("LONGCUT_DATA", str(tmp_path))
    return write_mnist(tmp_path / "mnist", monkeypatch)


def test_colored_mnist_splits(small):
    splits = load("colored-mnist:ratio=0.1")
    assert splits.valid is not None
    assert (len(splits.train), len(splits.valid), len(splits.test)) == (220, 20, 500)
    assert independent(splits.test)
    assert int(splits.train.conflicting.sum()) == 22
    assert int(splits.valid.conflicting.sum()) == 2
    assert sorted(splits.train.index.tolist() + splits.valid.index.tolist()) == list(range(240))
    labels = torch.from_numpy(small["train-labels-idx1-ubyte.gz"]).long()
    assert torch.equal(splits.train.label, labels[splits.train.index])
    assert torch.equal(splits.valid.label, labels[splits.valid.index])
    assert splits.info.name == "colored-mnist:ratio=0.1"
    assert splits.info.attribute_names == tuple(COLORS)


def test_colored_mnist_uses_published_counts(small):
    splits = load("colored-mnist")
    assert splits.valid is not None
    assert int(splits.train.conflicting.sum()) == 7
    assert int(splits.valid.conflicting.sum()) == 1  # 7 of 220 is 0.6 of 20


def test_dfa_pixels_by_the_rule(small):
    splits = load("colored-mnist:ratio=0.5")
    for part, data in (("train", splits.train), ("t10k", splits.test)):
        assert data.attribute is not None
        grey = small[f"{part}-images-idx3-ubyte.gz"]
        for row in range(0, len(data), 7):
            index, color = int(data.index[row]), RGB[data.attribute[row]]
            expected = np.stack([np.where(grey[index] > 100, channel, grey[index]) for channel in color])
            assert np.array_equal(data.x[index].numpy(), expected)


def test_lff_pixels_without_noise_are_mean_color_times_grey(small, monkeypatch):
    monkeypatch.setattr(colored_mnist, "LFF_NOISE", (0.0,) * 5)
    train = load("colored-mnist:recipe=lff,ratio=0.5").train
    assert train.attribute is not None
    grey = small["train-images-idx3-ubyte.gz"]
    for row in range(len(train)):
        expected = [np.floor(grey[row] * np.float32(mean)) for mean in LFF_COLORS[train.attribute[row]]]
        assert np.array_equal(train.x[row].numpy(), np.stack(expected))


@pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])
def test_lff_noise_moves_the_color_of_an_image(small, severity):
    """Where the grey level is 255 the pixel tells the factor of the channel, to 1/255."""
    train = load(f"colored-mnist:recipe=lff,ratio=0.5,severity={severity}").train
    assert train.attribute is not None
    factor = (train.x[:, :, 0, 0].numpy() + 0.5) / 255
    away = factor - np.array(LFF_COLORS)[train.attribute]
    expected = np.sqrt((0.05, 0.02, 0.01, 0.005, 0.002)[severity - 1] ** 2 + 1 / 12 / 255**2)
    assert np.abs(away.mean(0)).max() < 5 * expected / np.sqrt(len(away))
    assert 0.85 * expected < away.std() < 1.15 * expected


@pytest.mark.parametrize("ratio", [0.0, 0.1, 0.35, 0.9])
def test_lff_quotas_by_a_loop(small, ratio):
    splits = load(f"colored-mnist:recipe=lff,ratio={ratio}")
    for data, share in ((splits.train, ratio), (splits.test, 0.9)):
        assert data.attribute is not None
        assert data.attribute.tolist() == quotas_by_loop(data.label.tolist(), share)


def quotas_by_loop(label: list[int], ratio: float) -> list[int]:
    """Count through each class in data order; move to the next attribute when the rounded quota so far is used up."""
    attribute = [0] * len(label)
    for own in range(10):
        rows = [row for row, y in enumerate(label) if y == own]
        used, share = 0, 0.0
        for color in range(10):
            share += 1 - ratio if color == own else ratio / 9
            while used < round(len(rows) * share):
                attribute[rows[used]] = color
                used += 1
        assert used == len(rows)
    return attribute


@pytest.mark.parametrize("recipe", ["dfa", "lff"])
def test_colored_mnist_seed(small, recipe):
    spec = f"colored-mnist:recipe={recipe},ratio=0.2"
    assert same(load(spec, 1), load(spec, 1))
    assert not torch.equal(load(spec, 1).train.x, load(spec, 2).train.x)


@pytest.mark.parametrize(
    "spec", ["colored-mnist:ratio=0.2", "colored-mnist:ratio=0.2,recipe=lff", "colored-digits:ratio=0.2"]
)
def test_noise_replaces_training_labels_and_nothing_else(small, spec):
    clean, noisy, again = load(spec, 3), load(f"{spec},noise=0.4", 3), load(f"{spec},noise=0.4", 3)
    assert noisy.info.name == f"{spec},noise=0.4"
    assert same(noisy, again)
    assert same(clean, load(f"{spec},noise=0", 3))
    other = load(f"{spec},noise=0.4", 4)
    assert not torch.equal(noisy.train.label != clean.train.label, other.train.label != load(spec, 4).train.label)
    for part in ("train", "valid", "test"):
        a, b = getattr(clean, part), getattr(noisy, part)
        if a is None:
            assert b is None
            continue
        for column in ("x", "index", "attribute"):
            assert torch.equal(getattr(a, column), getattr(b, column))
        assert part == "train" or torch.equal(a.label, b.label)
    n = len(clean.train)
    changed = int((clean.train.label != noisy.train.label).sum())
    assert abs(changed - 0.4 * n) < 5 * (n * 0.4 * 0.6) ** 0.5


def test_severity_is_refused_where_it_means_nothing(small):
    with pytest.raises(UserError, match=r"severity=2 belongs to recipe=lff.*leave severity out"):
        load("colored-mnist:severity=2")


def test_a_damaged_file_is_refused(small, tmp_path):
    path = tmp_path / "mnist" / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-1])
    found, expected = hashlib.md5(path.read_bytes()).hexdigest(), colored_mnist.CHECKSUMS[path.name]
    with pytest.raises(UserError, match=f"{path.name} is damaged: its md5 checksum is {found}, expected {expected}"):
        load("colored-mnist")


def test_a_missing_file_is_named(small, tmp_path):
    path = tmp_path / "mnist" / "train-labels-idx1-ubyte.gz"
    path.unlink()
    with pytest.raises(UserError, match=f"{path.name} does not exist .* put the four MNIST files .*LONGCUT_DATA"):
        load("colored-mnist")


def test_missing_files_are_downloaded_from_the_first_intact_mirror(small, tmp_path, monkeypatch):
    whole = load("colored-mnist")
    empty, broken, good, target = (tmp_path / name for name in ("empty", "broken", "mnist", "target"))
    for mirror in (empty, broken):
        mirror.mkdir()
    for name in small:
        (broken / name).write_bytes(b"not this")
    monkeypatch.setattr(colored_mnist, "MIRRORS", [f"{mirror.as_uri()}/" for mirror in (empty, broken, good)])
    assert same(load(f"colored-mnist:folder={target}"), whole)
    assert sorted(path.name for path in target.iterdir()) == sorted(small)
    monkeypatch.setattr(colored_mnist, "MIRRORS", [])
    assert same(load(f"colored-mnist:folder={target}"), whole)  # now from the folder


def test_a_failed_download_tells_why_and_leaves_nothing(small, tmp_path, monkeypatch):
    broken, target = tmp_path / "broken", tmp_path / "target"
    broken.mkdir()
    for name in small:
        (broken / name).write_bytes(b"not this")
    mirrors = [f"{(tmp_path / 'empty').as_uri()}/", f"{broken.as_uri()}/"]
    monkeypatch.setattr(colored_mnist, "MIRRORS", mirrors)
    with pytest.raises(UserError, match=r"could not be downloaded \(.*empty/: .*broken/: wrong checksum"):
        load(f"colored-mnist:folder={target}")
    assert not target.exists()


def test_an_interrupted_write_leaves_nothing(small, tmp_path, monkeypatch):
    target = tmp_path / "target"
    monkeypatch.setattr(colored_mnist, "MIRRORS", [f"{(tmp_path / 'mnist').as_uri()}/"])

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(colored_mnist.os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        load(f"colored-mnist:folder={target}")
    assert not list(target.iterdir())


# --- the published archive --------------------------------------------------------------------------------------------


@pytest.fixture
def archive(tmp_path, monkeypatch):
    """For each label an aligned, a conflicting (colour + 1), a validation and a test (colour + 2) image of one grey."""
    monkeypatch.setenv("LONGCUT_DATA", str(tmp_path))
    monkeypatch.setenv("LONGCUT_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "cmnist"
    for label in range(10):
        for kind, shift in (("1pct/align", 0), ("1pct/conflict", 1), ("1pct/valid", 0), ("test", 2)):
            folder = root / kind if kind.endswith("valid") else root / kind / str(label)
            folder.mkdir(parents=True, exist_ok=True)
            color = (label + shift) % 10
            pixels = np.zeros((28, 28, 3), np.uint8)
            pixels[0, 1] = (label, color, 200)
            Image.fromarray(pixels).save(folder / f"image_{9 - label}_{label}_{color}.png")
    return root


def test_colored_mnist_png(archive):
    splits = load("colored-mnist-png:percent=1pct", seed=5)
    assert splits.info.name == "colored-mnist-png:percent=1pct"
    assert splits.train.label.tolist() == [*range(10), *range(10)]
    assert splits.train.conflicting.tolist() == [False] * 10 + [True] * 10
    assert splits.valid is not None and splits.valid.label.tolist() == [*range(9, -1, -1)]  # sorted by name
    assert splits.test.attribute is not None
    assert splits.test.attribute.tolist() == [(label + 2) % 10 for label in range(10)]
    for data in (splits.train, splits.valid, splits.test):
        assert data.attribute is not None and data.x.shape[1:] == (3, 28, 28) and data.x.dtype == torch.uint8
        rows = torch.stack([data.label, data.attribute, torch.full_like(data.label, 200)], 1)
        assert torch.equal(data.x[:, :, 0, 1].long(), rows)
        assert data.x.sum() == rows.sum()


def test_png_folder_without_images_is_refused(archive):
    with pytest.raises(UserError, match=r"there is no image .*0\.5pct/align/\*/\*\.png; unpack the archive"):
        load("colored-mnist-png")


@pytest.mark.parametrize("name", ["3.png", "image_3.png", "image_3_red.png", "image_3_10.png", "image__3.png"])
def test_png_with_a_malformed_name_is_refused(archive, name):
    source = next((archive / "1pct/align/3").iterdir())
    source.rename(source.with_name(name))
    with pytest.raises(UserError, match=re.escape(name) + r": the name must end in _<label>_<colour>\.png"):
        load("colored-mnist-png:percent=1pct")


def test_png_that_is_no_image_is_refused(archive):
    next((archive / "test/3").iterdir()).write_bytes(b"text")
    with pytest.raises(UserError, match=r"_3_5\.png cannot be read as an image"):
        load("colored-mnist-png:percent=1pct")


def test_png_of_another_size_is_refused(archive):
    path = next((archive / "test/3").iterdir())
    Image.new("RGB", (32, 30)).save(path)
    with pytest.raises(UserError, match=r"_3_5\.png is 32 x 30 pixels, not 28 x 28"):
        load("colored-mnist-png:percent=1pct")


# --- the original MNIST files -----------------------------------------------------------------------------------------


@pytest.fixture
def mnist():
    if not all((data_folder("mnist") / name).exists() for name in colored_mnist.CHECKSUMS):
        pytest.skip("LONGCUT_DATA/mnist does not hold the MNIST files")


@pytest.mark.data
@pytest.mark.parametrize(("ratio", "count"), [(0.005, 249), (0.01, 491), (0.02, 986), (0.05, 2449), (0.03, 1650)])
def test_published_counts(mnist, ratio, count):
    """249, 491, 986, 2449 of 55,000 are the published counts (Lee et al. 2021); 1650 is 3 % of 55,000."""
    splits = load(f"colored-mnist:ratio={ratio}", seed=7)
    assert splits.valid is not None
    assert (len(splits.train), len(splits.valid), len(splits.test)) == (55_000, 5_000, 10_000)
    assert int(splits.train.conflicting.sum()) == count
    assert int(splits.valid.conflicting.sum()) == round(count / 11)
    assert len(set(splits.train.index.tolist()) & set(splits.valid.index.tolist())) == 0
    assert independent(splits.test)
    # conflicting colours are uniform over the other nine
    train = splits.train
    assert train.attribute is not None
    steps = ((train.attribute - train.label) % 10).bincount(minlength=10)[1:].double()
    assert float(((steps - count / 9) ** 2 / (count / 9)).sum()) < chi2.isf(1e-6, 8)


@pytest.mark.data
def test_one_color_and_dark_greys_in_each_image(mnist):
    splits = load("colored-mnist")
    for data in (splits.train, splits.test):
        assert data.attribute is not None
        pixels = data.x[data.index]
        color = torch.from_numpy(RGB).to(torch.uint8)[data.attribute][:, :, None, None]
        grey = (pixels == pixels[:, :1]).all(1)
        assert int(pixels.amax(1)[grey].max()) == 100  # level 100 occurs in MNIST and stays grey
        assert torch.equal((pixels == color).all(1), ~grey)
        assert (~grey).flatten(1).any(1).all()


@pytest.mark.data
def test_no_shortcut_at_nine_tenths(mnist):
    splits = load("colored-mnist:ratio=0.9")
    assert splits.valid is not None
    assert int(splits.train.conflicting.sum()) == 49_500
    assert independent(splits.train)
    assert independent(splits.valid)
    assert not independent(load("colored-mnist:ratio=0.88").train)  # so the check can fail


@pytest.mark.data
def test_lff_on_mnist(mnist):
    splits = load("colored-mnist:recipe=lff,ratio=0.01")
    assert splits.valid is None
    assert (len(splits.train), len(splits.test)) == (60_000, 10_000)
    for data, share in ((splits.train, 0.01), (splits.test, 0.9)):
        assert data.attribute is not None
        assert data.attribute.tolist() == quotas_by_loop(data.label.tolist(), share)


def test_importing_the_registry_loads_nothing_heavy():
    code = "import sys, longcut.datasets; print({'torch', 'pydantic', 'sklearn', 'PIL'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
