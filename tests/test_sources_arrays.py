from __future__ import annotations

import json
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.lib import format as npy
from safetensors.torch import save_file

from longcut.data import Dataset, Splits
from longcut.errors import UserError
from longcut.sources import Columns
from longcut.sources.arrays import read_arrays

LABEL = np.array([0, 1, 1, 0, 1, 0])
TABLE = np.arange(12, dtype=np.float32).reshape(6, 2)


def saved(folder: Path, **arrays: Any) -> Path:
    path = folder / "toy.npz"
    np.savez(path, **arrays)
    return path


def safe(folder: Path, **arrays: Any) -> Path:
    path = folder / "toy.safetensors"
    save_file({name: torch.as_tensor(values) for name, values in arrays.items()}, path)
    return path


# --- what the arrays are ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("save", [saved, safe])
def test_a_table_with_attribute_and_split(tmp_path: Path, save):
    split = np.array([0, 0, 2, 2, 0, 2])
    path = save(tmp_path, x=TABLE, label=LABEL + 5, place=LABEL[::-1].copy(), split=split)
    columns = read_arrays(path, attribute="place", split="split")
    assert columns.label is not None and columns.attribute is not None
    assert columns.x.dtype == np.float32
    np.testing.assert_array_equal(columns.x, TABLE)
    assert columns.class_names == ("5", "6")
    assert columns.label.tolist() == LABEL.tolist()
    assert columns.attribute.tolist() == LABEL[::-1].tolist()
    assert columns.source.part.tolist() == split.tolist()
    assert columns.source.official
    assert columns.source.rows.columns.tolist() == ["label", "place", "split"]
    assert (columns.source.label, columns.source.attribute, columns.source.split) == ("label", "place", "split")


def test_without_a_split_parts_are_drawn_within_each_class(tmp_path: Path):
    columns = read_arrays(saved(tmp_path, x=TABLE, label=LABEL))
    assert not columns.source.official
    for i in (0, 1):
        assert np.bincount(columns.source.part[columns.label == i]).tolist() == [1, 1, 1]


@pytest.mark.parametrize("name", ["x", "X", "images", "features", "embedding"])
def test_the_input_goes_by_several_names_or_is_the_only_one_left(tmp_path: Path, name: str):
    columns = read_arrays(saved(tmp_path, label=LABEL, **{name: TABLE}))
    np.testing.assert_array_equal(columns.x, TABLE)


@pytest.mark.parametrize("name", ["y", "labels", "target"])
def test_the_label_goes_by_several_names_unless_one_was_asked_for(tmp_path: Path, name: str):
    path = saved(tmp_path, x=TABLE, **{name: LABEL})
    columns = read_arrays(path)
    assert columns.source.label == name
    with pytest.raises(
        UserError, match=rf"unknown array in .*toy.npz: 'class'.*Known: {', '.join(sorted([name, 'x']))}"
    ):
        read_arrays(path, label="class")


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_images_may_have_their_channels_first_or_last(tmp_path: Path, dtype: type):
    first = (np.arange(6 * 3 * 4 * 5) % 100).reshape(6, 3, 4, 5).astype(dtype)
    for x in (first, np.moveaxis(first, 1, 3)):
        columns = read_arrays(saved(tmp_path, x=x, label=LABEL))
        assert columns.x.dtype == dtype
        np.testing.assert_array_equal(columns.x, first)


def test_grey_images_get_a_channel(tmp_path: Path):
    x = np.arange(6 * 4 * 5, dtype=np.uint8).reshape(6, 4, 5)
    for given in (x, x[..., None]):
        np.testing.assert_array_equal(read_arrays(saved(tmp_path, x=given, label=LABEL)).x, x[:, None])


WHOLE = np.array([[1, 9, 0]] * 6)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int32, np.uint16, np.int64, np.uint64, ">i4", ">i8"])
@pytest.mark.parametrize("name", ["x", "features", "counts"])
def test_whole_numbers_are_a_table(tmp_path: Path, name: str, dtype: Any):
    columns = read_arrays(saved(tmp_path, label=LABEL, **{name: np.asfortranarray(WHOLE.astype(dtype))}))
    assert columns.x.dtype == np.float32
    np.testing.assert_array_equal(columns.x, WHOLE)
    assert (columns.vocabulary, Dataset.from_columns(columns).info.kind) == (0, "table")


@pytest.mark.parametrize("save", [saved, safe])
@pytest.mark.parametrize("name", ["tokens", "token_ids", "input_ids"])
def test_whole_numbers_are_token_ids_if_they_are_called_so(tmp_path: Path, name: str, save):
    columns = read_arrays(save(tmp_path, label=LABEL, **{name: WHOLE.astype(np.int32)}))
    assert columns.x.dtype == np.int64
    assert columns.x[0].tolist() == [1, 9, 0]
    assert columns.vocabulary == 10
    assert Dataset.from_columns(columns).info.kind == "tokens"


@pytest.mark.parametrize("sign", [1, -1])
def test_codes_are_no_quantities(tmp_path: Path, sign: int):
    x = np.full((6, 2), sign * (1 << 24))
    np.testing.assert_array_equal(read_arrays(saved(tmp_path, x=x, label=LABEL)).x, x)
    x[3, 1] += sign
    with pytest.raises(
        UserError, match=r"'x' has whole numbers up to 16,777,217, and .*save a table of quantities as fl"
    ):
        read_arrays(saved(tmp_path, x=x, label=LABEL))
    assert len(read_arrays(saved(tmp_path, x=x.astype(float), label=LABEL)).x) == 6


def test_token_ids_that_no_embedding_holds(tmp_path: Path):
    x = np.full((6, 2), (1 << 22) - 1)
    assert read_arrays(saved(tmp_path, tokens=x, label=LABEL)).vocabulary == 1 << 22
    with pytest.raises(
        UserError, match=r"'tokens' has token id 4194304, and there can be 4,194,304 at most; number the"
    ):
        read_arrays(saved(tmp_path, tokens=x + 1, label=LABEL))


@pytest.mark.parametrize("dtype", [np.int16, np.int64, np.uint32, ">i8"])
@pytest.mark.parametrize("shape", [(6, 4, 5), (6, 4, 5, 3), (6, 1, 4, 5)])
def test_whole_numbers_of_images_are_pixels(tmp_path: Path, shape: tuple[int, ...], dtype: Any):
    x = (np.arange(np.prod(shape)).reshape(shape) % 256).astype(dtype)
    columns = read_arrays(saved(tmp_path, x=x, label=LABEL))
    same = read_arrays(saved(tmp_path, x=x.astype(np.uint8), label=LABEL))
    assert columns.x.dtype == np.uint8
    np.testing.assert_array_equal(columns.x, same.x)
    for wrong in (-1, 256):
        x.flat[7] = np.array(wrong).astype(dtype)
        with pytest.raises(UserError, match=r"'x' has whole numbers from -?\d+ to \d+, and pixels go from 0 to 255"):
            read_arrays(saved(tmp_path, x=x, label=LABEL))


@pytest.mark.parametrize("x", [TABLE > 3, TABLE.astype(np.float64), TABLE.astype(">f4"), TABLE.astype(np.float16)])
def test_booleans_and_all_floats_make_a_table(tmp_path: Path, x: np.ndarray):
    columns = read_arrays(saved(tmp_path, x=x, label=LABEL))
    assert columns.x.dtype == np.float32 and columns.x.dtype.isnative
    np.testing.assert_array_equal(columns.x, x.astype(np.float32))


def test_numbers_that_numpy_does_not_have(tmp_path: Path):
    columns = read_arrays(safe(tmp_path, x=torch.tensor(TABLE, dtype=torch.bfloat16), label=LABEL))
    np.testing.assert_array_equal(columns.x, TABLE)  # 0…11 are exact in bfloat16


@pytest.mark.parametrize("label", [LABEL.astype(str), LABEL.astype(">i8"), LABEL.astype(np.float16), LABEL == 1])
def test_labels_may_be_of_any_simple_type(tmp_path: Path, label: np.ndarray):
    columns = read_arrays(saved(tmp_path, x=TABLE, label=label))
    assert columns.label is not None
    assert columns.label.tolist() == LABEL.tolist()


def test_fractions_are_a_regression_target(tmp_path: Path):
    columns = read_arrays(saved(tmp_path, x=TABLE, label=LABEL + 0.5))
    assert columns.label is not None
    assert columns.label.dtype == np.float32
    assert columns.source.encoding["task"] == "regression"
    assert Dataset.from_columns(columns).info.task == "regression"


@pytest.mark.parametrize("dtype", [np.int64, np.float64, np.dtype("U3")])
def test_a_single_column_is_as_the_values_in_it(tmp_path: Path, dtype: Any):
    path = saved(tmp_path, x=TABLE, label=LABEL[:, None].astype(dtype), place=LABEL[::-1, None].astype(dtype))
    columns = read_arrays(path, attribute="place")
    assert columns.source.encoding["task"] == "classification"
    assert columns.label is not None and columns.label.tolist() == LABEL.tolist()
    assert columns.attribute is not None and columns.attribute.tolist() == LABEL[::-1].tolist()


# --- parts ------------------------------------------------------------------------------------------------------------

X, Y, PLACE = TABLE, np.array([0, 1, 0, 1, 0, 1]), np.array([0, 0, 1, 1, 0, 1])
CUT = {"train": slice(0, 2), "val": slice(2, 4), "test": slice(4, 6)}


@pytest.mark.parametrize("form", ["{what}_{part}", "{part}_{what}", "{part}-{what}s", "the_{part}.{what}"])
@pytest.mark.parametrize("save", [saved, safe])
def test_arrays_may_be_apart_by_part(tmp_path: Path, save, form: str):
    named = {"image": X, "y": Y[:, None], "place": PLACE}
    stem = {"{part}-{what}s": "{}s", "the_{part}.{what}": "the_{}"}.get(form, "{}")
    apart = {form.format(what=what, part=part): v[cut].copy() for part, cut in CUT.items() for what, v in named.items()}
    path = save(tmp_path, **apart)
    roles: dict[str, Any] = {"label": stem.format("y"), "attribute": stem.format("place")}
    columns = read_arrays(path, **roles)
    np.testing.assert_array_equal(columns.x, X)
    assert columns.source.part.tolist() == [0, 0, 1, 1, 2, 2]
    assert columns.source.official
    assert columns.label is not None and columns.label.tolist() == Y.tolist()
    assert columns.attribute is not None and columns.attribute.tolist() == PLACE.tolist()
    assert columns.source.split == "split"
    with pytest.raises(UserError, match="the split 'split' says the parts already"):
        read_arrays(path, **roles, parts="60/20/20")
    again = read_arrays(path, **roles, encoding=columns.source.encoding)
    assert again.source.part.tolist() == [2] * 6


def test_the_usual_names_are_found_apart_too(tmp_path: Path):
    parts = {
        f"{part}_{what}": values[cut] for part, cut in CUT.items() for what, values in (("images", X), ("labels", Y))
    }
    assert read_arrays(saved(tmp_path, **parts)).source.part.tolist() == [0, 0, 1, 1, 2, 2]
    assert not read_arrays(saved(tmp_path, **parts, x=X, y=Y)).source.official  # whole ones come first


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y_val": Y[:1]}, r"'y_val' is of 1 and 'x_val' of 2 samples; give one for each"),
        ({"x_val": X[2:4, :1]}, r"a sample of 'x' has shape \(2,\), and in 'x_val' \(1,\); give one"),
        ({"y_val": None}, r"unknown array in .*toy\.npz: 'label'"),  # a part without labels: nobody knows what is meant
    ],
)
def test_parts_that_do_not_fit(tmp_path: Path, change: dict[str, Any], message: str):
    apart = {f"{what}_{part}": values[cut] for part, cut in CUT.items() for what, values in (("x", X), ("y", Y))}
    apart = {name: values for name, values in {**apart, **change}.items() if values is not None}
    with pytest.raises(UserError, match=message):
        read_arrays(saved(tmp_path, **apart))


# --- pixels -----------------------------------------------------------------------------------------------------------


def test_floats_that_are_pixels_are_pixels(tmp_path: Path):
    grey = np.arange(6 * 16, dtype=np.float64).reshape(6, 4, 4, 1) * 2
    with pytest.warns(UserWarning, match=r"'x' has whole numbers up to 190, and is taken for pixels"):
        columns = read_arrays(saved(tmp_path, x=grey, label=LABEL))
    assert columns.x.dtype == np.uint8
    np.testing.assert_array_equal(columns.x, np.moveaxis(grey, 3, 1))
    dark = read_arrays(saved(tmp_path, x=grey * 0), encoding=columns.source.encoding)
    assert dark.x.dtype == np.uint8  # which none of their own numbers says
    floats = read_arrays(saved(tmp_path, x=grey / 255, label=LABEL)).source.encoding
    with pytest.warns(UserWarning, match=r"'x' has numbers up to 190, and images of floats go from 0 to 1"):
        bright = read_arrays(saved(tmp_path, x=grey), encoding=floats)
    assert bright.x.dtype == np.float32  # as those were that were trained on


@pytest.mark.parametrize("most", [190.5, 256.0, 65535.0])
def test_floats_that_may_be_pixels_are_said(tmp_path: Path, most: float):
    x = np.zeros((6, 4, 4, 1), np.float32)
    x[-1, 0, 0, 0] = most
    with pytest.warns(
        UserWarning, match=rf"'x' has numbers up to {most:.4g}, and images of floats go from 0 to 1".replace("+", r"\+")
    ):
        assert read_arrays(saved(tmp_path, x=x, label=LABEL)).x.max() == most


@pytest.mark.parametrize(("least", "most"), [(0, 1), (0, 16), (-2, 3), (-300, 300)])
def test_other_floats_are_left_alone(tmp_path: Path, least: float, most: float):
    x = np.full((6, 4, 4, 1), least, np.float32)
    x[-1] = most
    assert read_arrays(saved(tmp_path, x=x, label=LABEL)).x.dtype == np.float32


# --- memory -----------------------------------------------------------------------------------------------------------


def test_an_archive_is_read_whether_compressed_or_not(tmp_path: Path):
    x = np.random.default_rng(0).integers(0, 256, (6, 30, 40, 3), np.uint8)
    np.savez_compressed(tmp_path / "small.npz", other=LABEL, x=x, label=LABEL)
    for path in (saved(tmp_path, other=LABEL, x=x, label=LABEL), tmp_path / "small.npz"):
        read = read_arrays(path).x
        np.testing.assert_array_equal(read, np.moveaxis(x, 3, 1))
        assert not isinstance(read, np.memmap)


def test_an_array_that_lies_column_by_column(tmp_path: Path):
    np.testing.assert_array_equal(read_arrays(saved(tmp_path, x=np.asfortranarray(TABLE), label=LABEL)).x, TABLE)


def test_a_large_safetensors_file_is_not_read_into_memory(tmp_path: Path):
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    if not Path("/proc/self/statm").exists():
        pytest.skip("no /proc")
    read_arrays(safe(tmp_path, x=TABLE, label=LABEL))  # imports are not what is measured
    path = safe(tmp_path, x=np.zeros((6, 8000, 1000, 3), np.uint8), label=LABEL)
    before = resident()
    data = Dataset.from_columns(read_arrays(path))
    assert data.gather(torch.tensor([3])).shape == (1, 3, 8000, 1000)
    assert resident() - before < 144e6 / 2  # of 144 MB; one image as uint8 is 24 MB, its floats are gone again


# --- an earlier encoding ----------------------------------------------------------------------------------------------


def test_new_samples_go_by_the_earlier_classes(tmp_path: Path):
    label = np.array(list("abcabcabc"))
    path = saved(tmp_path, x=np.ones((9, 2)), label=label, site=np.arange(9) % 2)
    first = read_arrays(path, attribute="site")
    encoding = json.loads(json.dumps(first.source.encoding))
    columns = read_arrays(saved(tmp_path, x=TABLE[:2], label=np.array(["c", "a"])), attribute="site", encoding=encoding)
    assert columns.label is not None
    assert columns.label.tolist() == [2, 0]
    assert columns.class_names == ("a", "b", "c")
    assert columns.attribute is None and columns.source.attribute is None
    assert columns.source.part.tolist() == [2, 2]


def test_new_samples_need_no_label(tmp_path: Path):
    encoding = read_arrays(saved(tmp_path, x=TABLE, label=LABEL)).source.encoding
    columns = read_arrays(saved(tmp_path, x=TABLE), encoding=encoding)
    assert columns.label is None and columns.source.label is None
    assert columns.class_names == ("0", "1")
    assert Splits.of(Dataset.from_columns(columns)).test.info.n_classes == 2


def test_new_samples_of_another_shape_or_with_other_tokens_are_refused(tmp_path: Path):
    encoding = read_arrays(saved(tmp_path, x=TABLE, label=LABEL)).source.encoding
    with pytest.raises(UserError, match=r"sample of 'x' is float32 \(1,\), and was float32 \(2,\)"):
        read_arrays(saved(tmp_path, x=TABLE[:, :1]), encoding=encoding)
    assert read_arrays(saved(tmp_path, x=TABLE.astype(int)), encoding=encoding).x.dtype == np.float32
    with pytest.raises(UserError, match=r"sample of 'tokens' is int64 \(2,\), and was float32 \(2,\)"):
        read_arrays(saved(tmp_path, tokens=TABLE.astype(int)), encoding=encoding)
    encoding = read_arrays(saved(tmp_path, tokens=np.full((6, 2), 4), label=LABEL)).source.encoding
    assert read_arrays(saved(tmp_path, x=np.full((6, 2), 2)), encoding=encoding).vocabulary == 5
    with pytest.raises(UserError, match=r"'x' has token id 5, and the largest was 4"):
        read_arrays(saved(tmp_path, x=np.full((6, 2), 5)), encoding=encoding)
    strange = read_arrays(saved(tmp_path, x=np.full((6, 2), 2), label=LABEL + 1), encoding=encoding).label
    assert strange is not None
    assert strange.tolist() == np.where(np.array(LABEL) == 0, 1, -1).tolist()  # there is no class 2


# --- what is refused --------------------------------------------------------------------------------------------------


def test_a_path_that_is_no_file_of_arrays(tmp_path: Path):
    with pytest.raises(UserError, match=r"\.npz or \.safetensors file, not '\.npy'"):
        read_arrays(tmp_path / "x.npy")
    with pytest.raises(UserError, match=r"x\.npz: there is no such file"):
        read_arrays(tmp_path / "x.npz")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 not really", bytes(range(256)) * 8])
@pytest.mark.parametrize("suffix", ["npz", "safetensors"])
def test_a_file_of_something_else(tmp_path: Path, suffix: str, content: bytes):
    path = tmp_path / f"toy.{suffix}"
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"is not an? \.{suffix} file that can be read \(.*\); save it"):
        read_arrays(path)


def test_pickled_objects_are_refused_without_being_unpickled(tmp_path: Path):
    class Trap:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "sprung",))

    path = saved(tmp_path, x=TABLE, label=LABEL, extra=np.array([Trap()], dtype=object))
    with pytest.raises(UserError, match=r"array 'extra' holds Python objects, which only pickle can read"):
        read_arrays(path)
    assert not (tmp_path / "sprung").exists()


def archive(path: Path, shape: tuple[int, ...], body: int, compression: int = zipfile.ZIP_DEFLATED) -> Path:
    """An archive whose x claims ``shape`` float32 values and holds ``body`` bytes of zeros."""
    with zipfile.ZipFile(path, "w", compression) as file, file.open("x.npy", "w", force_zip64=True) as member:
        npy.write_array_header_1_0(member, {"descr": "<f4", "fortran_order": False, "shape": shape})
        for start in range(0, body, 1 << 24):
            member.write(bytes(min(1 << 24, body - start)))
    return path


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("shape", [(6, 3), (1 << 33, 2), (1 << 44, 2)])
def test_an_array_that_is_shorter_than_it_says(tmp_path: Path, shape: tuple[int, int], compression: int):
    with pytest.raises(
        UserError, match=r"'x\.npy' is damaged \(it says that it is float32 of shape .*, and holds 48\)"
    ):
        read_arrays(archive(tmp_path / "toy.npz", shape, 4 * 12, compression))


def test_a_member_that_is_no_array(tmp_path: Path):
    path = saved(tmp_path, x=TABLE, label=LABEL)
    with zipfile.ZipFile(path, "a") as file:
        file.writestr("notes.txt", "beside the arrays")
    assert len(read_arrays(path).x) == 6
    with zipfile.ZipFile(path, "a") as file:
        file.writestr("more.npy", "six birds")
    with pytest.raises(UserError, match=r"'more\.npy' is damaged .*magic string is not correct"):
        read_arrays(path)


def claims(path: Path, size: int) -> None:
    """Makes an archive of one member claim another unpacked size, in its central directory."""
    content = bytearray(path.read_bytes())
    at = content.rindex(b"PK\x01\x02")
    content[at + 24 : at + 28] = struct.pack("<I", size)
    path.write_bytes(content)


def test_an_archive_that_unpacks_to_more_than_a_thousandfold(tmp_path: Path):
    n = (1 << 30) // 4 + 1
    path = archive(tmp_path / "bomb.npz", (n, 1), 4 * 12)
    with zipfile.ZipFile(path) as file:
        header = file.getinfo("x.npy").file_size - 4 * 12
    claims(path, header + 4 * n)
    with pytest.raises(
        UserError, match=r"has [\d,]+ bytes and unpacks to 1,073,741,[\d,]+, which is more than is safe"
    ):
        read_arrays(path)


def test_an_archive_that_unpacks_to_more_than_16_gib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("longcut.sources.array_files.LARGEST", 1000)
    np.savez_compressed(tmp_path / "many.npz", x=np.zeros((6, 40), np.float32), label=LABEL)  # 960 and 48 and headers
    with pytest.raises(UserError, match=r"unpacks to 1,264, which is more than is safe"):
        read_arrays(tmp_path / "many.npz")
    assert len(read_arrays(saved(tmp_path, x=np.zeros((6, 40), np.float32), label=LABEL)).x) == 6  # nothing to unpack


def test_more_than_there_is_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = saved(tmp_path, x=TABLE, label=LABEL)
    monkeypatch.setattr("longcut.sources.array_files._memory", lambda: 100)
    with pytest.raises(UserError, match=r"unpacks to 0.0 GB, and there are 0.0 GB of memory; save it as .safetensors"):
        read_arrays(path)
    monkeypatch.undo()

    def full(*_: Any) -> None:
        raise MemoryError

    monkeypatch.setattr("longcut.sources.array_files._check_header", full)
    with pytest.raises(UserError, match=r"'x.npy' needs 0.0 GB of memory, which are not free; save it as .safetensors"):
        read_arrays(path)


def test_an_archive_that_claims_less_than_it_holds_is_not_unpacked_further(tmp_path: Path):
    path = archive(tmp_path / "toy.npz", (6, 2), 1 << 20)
    with zipfile.ZipFile(path) as file:
        header = file.getinfo("x.npy").file_size - (1 << 20)
    claims(path, header + 4 * 12)
    with pytest.raises(UserError, match=r"Bad CRC-32 for file 'x\.npy'"):
        read_arrays(path)


def test_an_archive_with_a_flipped_bit(tmp_path: Path):
    path = tmp_path / "toy.npz"
    np.savez_compressed(path, x=np.random.default_rng(0).random((6, 500)), label=LABEL)
    content = bytearray(path.read_bytes())
    content[5000] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"'x\.npy' is damaged"):
        read_arrays(path)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
@pytest.mark.parametrize("shape", [(5000, 2), (5000, 3, 1, 1)])
def test_inputs_that_are_not_finite(tmp_path: Path, shape: tuple[int, ...], value: float):
    x = np.zeros(shape)
    x[4321].flat[-1] = value
    with pytest.raises(UserError, match=r"'x' holds a value that is not finite .* in row 4321"):
        read_arrays(saved(tmp_path, x=x, label=np.arange(5000) % 2))


@pytest.mark.parametrize(
    "x", [np.zeros(6, int), np.zeros((6, 2, 2)), np.zeros((6, 4, 4, 4), np.uint8), np.zeros((6, 2), complex)]
)
def test_inputs_of_an_unclear_kind(tmp_path: Path, x: np.ndarray):
    with pytest.raises(UserError, match=r"'x' is \w+ of shape \(6,.*; give images as uint8"):
        read_arrays(saved(tmp_path, x=x, label=LABEL))


def test_further_inputs_that_are_refused(tmp_path: Path):
    with pytest.raises(UserError, match=r"'x' has no samples"):
        read_arrays(saved(tmp_path, x=np.zeros((0, 2)), label=LABEL[:0]))
    with pytest.raises(UserError, match=r"'x' has no samples"):
        read_arrays(saved(tmp_path, x=np.float32(3), label=LABEL))
    for shape in ((6, 0), (6, 0, 3, 3), (6, 4, 0)):
        with pytest.raises(UserError, match=r"'x' has no samples, or nothing in them \(its shape is"):
            read_arrays(saved(tmp_path, x=np.zeros(shape, np.uint8), label=LABEL))
    with pytest.raises(UserError, match=r"'tokens' has token id -1"):
        read_arrays(saved(tmp_path, tokens=np.full((6, 2), -1), label=LABEL))
    with pytest.raises(UserError, match=r"none of the arrays a, b, label is the input, x, X, images or features"):
        read_arrays(saved(tmp_path, a=TABLE, b=TABLE, label=LABEL))


@pytest.mark.parametrize("label", [LABEL[:5], np.stack([LABEL, LABEL], 1), LABEL.astype("S1"), LABEL.astype(complex)])
def test_labels_of_another_shape_or_kind(tmp_path: Path, label: np.ndarray):
    with pytest.raises(
        UserError, match=r"'label' is .* of shape .*; give one number or text for each of the 6 samples"
    ):
        read_arrays(saved(tmp_path, x=TABLE, label=label))


def test_an_array_that_is_not_there(tmp_path: Path):
    path = saved(tmp_path, x=TABLE, label=LABEL, place=LABEL)
    for option in ("attribute", "split"):
        columns: dict[str, Any] = {option: "plaec"}
        with pytest.raises(UserError, match=r"unknown array in .*: 'plaec': did you mean 'place'\?"):
            read_arrays(path, **columns)


def test_one_class_is_refused(tmp_path: Path):
    with pytest.raises(UserError, match=r"label 'label' has one class only, '0'"):
        read_arrays(saved(tmp_path, x=TABLE, label=0 * LABEL))


def test_the_columns_make_a_data_set(tmp_path: Path):
    columns = read_arrays(saved(tmp_path, x=TABLE, label=LABEL))
    assert isinstance(columns, Columns)
    splits = Splits.of(Dataset.from_columns(columns))
    assert splits.valid is not None
    assert sorted(torch.cat([splits.train.index, splits.valid.index, splits.test.index]).tolist()) == list(range(6))
