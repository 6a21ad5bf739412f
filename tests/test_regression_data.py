"""The tables and series of C-Mixup's benchmark, from small files of the published layouts, and from the real ones."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from longcut.datasets import load
from longcut.datasets.rcf_mnist import FILE, painted
from longcut.errors import UserError

LAYOUTS = {  # folder, file, rows, columns
    "airfoil": ("airfoil", "airfoil_self_noise.dat", 1503, 6),
    "no2": ("no2", "NO2.csv", 500, 8),
    "exchange-rate": ("exchange_rate", "exchange_rate.txt", 7588, 8),
    "crime": ("communities_crime", "communities.data", 1994, 128),
    "skillcraft": ("skillcraft", "SkillCraft1_Dataset.csv", 3395, 20),
}
SIZES = {
    "airfoil": (1003, 300, 200),
    "no2": (200, 200, 100),
    "exchange-rate": (4373, 1518, 1518),
    "crime": (1390, 231, 373),
    "skillcraft": (1878, 806, 711),
}


def table(name: str) -> np.ndarray:
    """Numbers as such a file has them, with states and leagues of about the right sizes."""
    _, _, rows, columns = LAYOUTS[name]
    values = np.random.default_rng(0).normal(5, 2, (rows, columns)).round(4)
    if name == "crime":  # 46 states, of which the first 31 have 1,390 rows, 6 have 231 and 9 have 373
        sizes = [np.full(31, 1390 // 31), np.full(6, 231 // 6), np.full(9, 373 // 9)]
        for some, total in zip(sizes, (1390, 231, 373), strict=True):
            some[0] += total - some.sum()
        values[:, 0] = np.random.default_rng(1).permutation(np.repeat(2 * np.arange(46) + 1, np.concatenate(sizes)))
    if name == "skillcraft":
        values[:, 1] = np.repeat(np.arange(1, 9), [167, 347, 553, 811, 806, 621, 35, 55])
    return values


def write(root: Path, name: str, values: np.ndarray | None = None, holes: bool = False) -> Path:
    """The file of a data set below ``root``."""
    folder, file, _, _ = LAYOUTS[name]
    values = table(name) if values is None else values
    rows: list[list[Any]] = values.astype(object).tolist()
    if name == "crime":
        for row in rows:
            row[0], row[3] = int(row[0]), "Lakewood city"
    if name == "skillcraft":
        for row in rows:
            row[1] = int(row[1])
    if holes:
        rows[0][10] = rows[1][10] = "?"
    between = "\t" if name == "airfoil" else ","
    lines = [between.join(map(str, row)) for row in rows]
    head = [",".join(f'"c{i}"' for i in range(values.shape[1]))] if name == "skillcraft" else []
    (root / folder).mkdir(parents=True, exist_ok=True)
    (root / folder / file).write_text("\n".join([*head, *lines]) + "\n")
    return root / folder


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("LONGCUT_DATA", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("protocol", ["clean", "legacy"])
@pytest.mark.parametrize("name", LAYOUTS)
def test_parts_and_columns(root, name, protocol):
    write(root, name)
    splits = load(f"{name}:protocol={protocol}", seed=3)
    parts = [splits.train, splits.valid, splits.test]
    assert tuple(len(part) for part in parts if part) == SIZES[name]
    assert len(torch.cat([part.index for part in parts if part]).unique()) == sum(SIZES[name])
    assert splits.info.task == "regression" and splits.info.kind == "table"
    assert splits.train.x.dtype == torch.float32
    shown = name if protocol == "clean" else f"{name}:protocol=legacy"
    assert splits.info.name == shown
    again = load(f"{name}:protocol={protocol}", seed=3)
    assert torch.equal(again.train.index, splits.train.index)
    other = load(f"{name}:protocol={protocol}", seed=4).train.index
    assert torch.equal(other, splits.train.index) != (name in ("airfoil", "no2"))


@pytest.mark.parametrize("name", ["airfoil", "no2", "crime", "skillcraft"])
def test_inputs_are_scaled_by_what_the_protocol_says(root, name):
    write(root, name)
    clean, legacy = load(name), load(f"{name}:protocol=legacy")
    seen = clean.train.gather(torch.arange(len(clean.train)))
    torch.testing.assert_close(seen.mean(0), torch.zeros(seen.shape[1]), atol=1e-4, rtol=0)
    torch.testing.assert_close(seen.std(0, correction=0), torch.ones(seen.shape[1]), atol=1e-3, rtol=0)
    every = legacy.whole.gather(torch.arange(len(legacy.whole)))
    assert torch.equal(every.amin(0), torch.zeros(every.shape[1]))
    assert torch.equal(every.amax(0), torch.ones(every.shape[1]))
    assert torch.equal(clean.train.label, legacy.train.label)


def test_targets_and_inputs_are_the_right_columns(root):
    for name, target, inputs in (("airfoil", 5, 5), ("no2", 0, 7), ("crime", 127, 122), ("skillcraft", 13, 17)):
        values = table(name)
        write(root, name, values)
        data = load(name).whole
        torch.testing.assert_close(data.label[:, 0].double(), torch.from_numpy(values[:, target]), atol=1e-5, rtol=1e-5)
        assert data.info.shape == (inputs,)
        nearest = np.corrcoef(np.c_[data.x.numpy(), values[:, target]].T)[-1, :-1]
        assert abs(nearest).max() < 0.2, "the target is not among the inputs"


@pytest.mark.parametrize("name", ["crime", "skillcraft"])
def test_no_domain_is_in_two_parts(root, name):
    write(root, name)
    splits = load(name)
    domains = [set(part.attribute.tolist()) for part in (splits.train, splits.valid, splits.test)]  # type: ignore[union-attr]
    assert [len(some) for some in domains] == ([31, 6, 9] if name == "crime" else [4, 1, 3])
    assert max(domains[0]) < min(domains[1]) and max(domains[1]) < min(domains[2])
    assert splits.info.attribute_names[-1] == ("state 91" if name == "crime" else "league 8")


@pytest.mark.parametrize("name", ["crime", "skillcraft"])
def test_a_missing_value_is_the_mean_of_its_column(root, name):
    write(root, name, holes=True)
    values, column = table(name), 10
    values[:2, column] = np.nan
    domain = np.unique(values[:, 0], return_inverse=True)[1] if name == "crime" else values[:, 1] - 1
    train = domain < (31 if name == "crime" else 4)
    at = column - 5 if name == "crime" else column - 2
    legacy, clean = load(f"{name}:protocol=legacy").whole.x, load(name).whole.x
    low, high, mean = (f(values[:, column]) for f in (np.nanmin, np.nanmax, np.nanmean))
    assert float(legacy[0, at]) == pytest.approx((mean - low) / (high - low), abs=1e-5)
    assert float(clean[0, at]) == pytest.approx(0, abs=1e-5)
    mean, spread = (
        np.nanmean(values[train, column]),
        np.nanstd(np.where(np.isnan(values), np.nanmean(values[train, column]), values)[train, column]),
    )
    assert float(clean[2, at]) == pytest.approx((values[2, column] - mean) / spread, abs=1e-4)


def test_windows_end_twelve_days_before_their_target(root):
    """By hand: sample i sees days i … i + 167 and is to tell day i + 179."""
    values = np.abs(table("exchange-rate")) + 0.1
    write(root, "exchange-rate", values)
    data = load("exchange-rate:protocol=legacy")
    scaled = torch.from_numpy(values / values.max(0)).float()
    for part, i in ((data.train, 0), (data.train, 4372), (data.valid, 4373), (data.test, 5891), (data.test, 7408)):
        assert part is not None
        row = int((part.index == i).nonzero())
        torch.testing.assert_close(part.gather(torch.tensor([row]))[0], scaled[i : i + 168])
        torch.testing.assert_close(part.label[row], scaled[i + 179])
    clean = load("exchange-rate")
    seen = scaled[179:4552]
    expected = (scaled - seen.mean(0)) / seen.std(0, correction=0)
    torch.testing.assert_close(clean.train.gather(torch.tensor([7]))[0], expected[7:175], atol=1e-4, rtol=1e-4)
    assert torch.equal(clean.train.label, data.train.label)


def test_packed_series_and_statlibs_table_are_read(root):
    folder = write(root, "exchange-rate")
    plain = folder / "exchange_rate.txt"
    before = load("exchange-rate").train.label
    (folder / "exchange_rate.txt.gz").write_bytes(gzip.compress(plain.read_bytes()))
    plain.unlink()
    assert torch.equal(load("exchange-rate").train.label, before)
    folder = write(root, "no2")
    before = load("no2").train.label
    (folder / "NO2.dat").write_text((folder / "NO2.csv").read_text().replace(",", "\t"))
    (folder / "NO2.csv").unlink()
    assert torch.equal(load("no2").train.label, before)


@pytest.mark.parametrize("name", LAYOUTS)
def test_missing_and_other_files_are_refused_in_one_sentence(root, name):
    file = LAYOUTS[name][1]
    with pytest.raises(
        UserError, match=rf"^{name}: there is no {file} in .*; it comes from .*folder=… or LONGCUT_DATA"
    ):
        load(name)
    folder = write(root, name)
    whole = (folder / file).read_text()
    (folder / file).write_text("\n".join(whole.splitlines()[:-5]) + "\n")
    with pytest.raises(UserError, match=rf"^{name}: .*{file} has .* rows of .* columns, published are .*get it again"):
        load(name)
    lines = whole.splitlines()
    lines[3] = lines[3][:-3] + "zzz"
    (folder / file).write_text("\n".join(lines) + "\n")
    with pytest.raises(UserError, match=rf"^{name}: .*{file} must hold numbers alone .*; get it again from"):
        load(name)


def test_a_folder_can_be_named(root, tmp_path_factory, monkeypatch):
    folder = write(tmp_path_factory.mktemp("elsewhere"), "no2")
    assert load(f"no2:folder={folder}").info.name == "no2"


# --- rotated and coloured ---------------------------------------------------------------------------------------------


def images(root: Path, folder: str, n: int = 60, packed: bool = True) -> None:
    """A bright bar in the left half of dark images, as an idx file."""
    grey = np.full((n, 28, 28), 3, np.uint8)
    grey[:, 10:18, 2:12] = 200
    content = np.array([2051, n, 28, 28], ">i4").tobytes() + grey.tobytes()
    (root / folder).mkdir(parents=True)
    (root / folder / (FILE if packed else FILE[:-3])).write_bytes(gzip.compress(content) if packed else content)


@pytest.mark.parametrize(("kind", "folder"), [("fashion", "fashion-mnist"), ("mnist", "mnist")])
def test_colour_tells_the_angle_in_training_and_the_reverse_in_the_test(root, kind, folder):
    images(root, folder, packed=kind == "mnist")
    splits = load(f"rcf-mnist:images={kind}", seed=2)
    assert [len(part) for part in (splits.train, splits.valid, splits.test) if part] == [40, 10, 10]
    assert int(splits.train.attribute.sum()) == 8 and int(splits.test.attribute.sum()) == 8  # type: ignore[union-attr]
    assert splits.info.attribute_names == ("aligned", "reversed")
    for part in (splits.train, splits.test):
        x = part.gather(torch.arange(len(part))) * 255
        red, green, blue = (x[:, channel].amax((1, 2)) for channel in range(3))
        target = part.label[:, 0]
        share = torch.where(part.attribute == 0, target, 1 - target)  # type: ignore[arg-type]
        assert torch.allclose(red, (200 * share).clamp_min(3), atol=0.6)
        assert torch.allclose(blue, (200 * (1 - share)).clamp_min(3), atol=0.6)
        assert (green <= 3).all()
    seen = splits.valid
    assert seen is not None and seen.attribute is not None
    share = seen.gather(torch.arange(10))[:, 0].amax((1, 2)) * 255 / 200
    target = seen.label[:, 0]
    nearer = ((share - target).abs() > (share - 1 + target).abs()).long()
    assert torch.equal(nearer, seen.attribute)
    assert torch.equal(load(f"rcf-mnist:images={kind}", seed=2).train.x, splits.train.x)


def test_images_are_turned_against_the_clock_by_the_target(root):
    """A bar at the left, turned by a quarter, is at the bottom."""
    images(root, "fashion-mnist")
    data = load("rcf-mnist", seed=0).whole
    bright = (data.x.float().amax(1) > 20).float()
    rows, columns = torch.meshgrid(torch.arange(28) - 13.5, torch.arange(28) - 13.5, indexing="ij")
    mass = bright.sum((1, 2))
    x, y = (bright * columns).sum((1, 2)) / mass, -(bright * rows).sum((1, 2)) / mass
    angle = torch.atan2(y, x) / (2 * torch.pi)  # the bar's own is a half
    off = (angle - data.label[:, 0] - 0.5 + 0.5).remainder(1) - 0.5
    assert float(off.abs().max()) < 0.02


def test_what_is_dark_stays_grey():
    assert painted(torch.full((1, 1, 1), 5, dtype=torch.uint8), torch.ones(1)).flatten().tolist() == [5, 5, 5]
    assert painted(torch.full((1, 1, 1), 6, dtype=torch.uint8), torch.ones(1)).flatten().tolist() == [6, 0, 0]


def test_missing_and_broken_images_are_refused(root):
    with pytest.raises(UserError, match=rf"^rcf-mnist: there is no {FILE} in .*fashion-mnist; it comes from"):
        load("rcf-mnist")
    folder = root / "fashion-mnist"
    folder.mkdir()
    for content in (b"no gzip", gzip.compress(b"0123"), gzip.compress(np.array([2049, 1, 1, 1], ">i4").tobytes())):
        (folder / FILE).write_bytes(content)
        with pytest.raises(UserError, match=r"is no file of images \(.*\); get it again from"):
            load("rcf-mnist")


@pytest.mark.parametrize(
    ("name", "third", "target", "attribute"),
    [
        ("airfoil", "chord", "pressure", None),
        ("no2", "wind speed", "log NO2", None),
        ("crime", "racepctblack", "ViolentCrimesPerPop", "state"),
        ("skillcraft", "TotalHours", "ActionLatency", "league"),
    ],
)
def test_columns_have_names(root, name, third, target, attribute):
    values = table(name)
    write(root, name, values)
    data = load(name).whole
    source = data.source
    assert source is not None
    assert (source.features[2], source.label, source.attribute) == (third, target, attribute)
    assert len({*source.features}) == len(source.features) == data.x.shape[1]
    inputs = source.rows[list(source.features)].to_numpy()
    for column, seen in zip(inputs.T, data.x.T.numpy(), strict=True):
        assert np.corrcoef(column, seen)[0, 1] == pytest.approx(1, abs=1e-4)
    at = {"airfoil": 2, "no2": 3, "crime": 7, "skillcraft": 4}[name]
    np.testing.assert_allclose(source.rows[third], values[:, at])
    np.testing.assert_allclose(source.rows[target], data.label[:, 0], rtol=1e-6)
    if attribute is not None:
        assert data.attribute is not None
        assert source.rows[attribute].tolist() == [data.info.attribute_names[i] for i in data.attribute]


@pytest.mark.data
@pytest.mark.parametrize("name", LAYOUTS)
def test_the_real_files(real_data, name):
    """What is published: sizes, the mean and deviation of the targets, and how large the parts are."""
    splits = load(name)
    assert tuple(len(part) for part in (splits.train, splits.valid, splits.test) if part) == SIZES[name]
    label = splits.whole.label
    known = {"airfoil": (124.8, 6.9, 103.4, 141.0), "no2": (3.7, 0.75, 1.2, 6.4), "crime": (0.24, 0.23, 0, 1)}
    if name in known:
        found = [float(value) for value in (label.mean(), label.std(), label.min(), label.max())]
        assert found == pytest.approx(known[name], rel=0.02)
    if name == "skillcraft":
        assert float(splits.train.label.mean()) == pytest.approx(73, abs=0.5)
        assert float(splits.train.label.std()) == pytest.approx(19, abs=0.5)
