from __future__ import annotations

import csv
import gzip
import io
import json
import os
import shutil
import struct
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFile

from longcut.errors import UserError
from longcut.sources import cache as caching
from longcut.sources import images, picture
from longcut.sources.cache import cache_folder
from longcut.sources.images import decode
from longcut.sources.paths import Found

RED, BLUE = (255, 0, 0), (0, 0, 255)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LONGCUT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "images"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "photos").mkdir()
    return tmp_path / "photos"


def noise(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def two_colours(width: int, height: int) -> Image.Image:
    """Red to the left of the middle, blue to the right of it."""
    image = Image.new("RGB", (width, height), RED)
    image.paste(BLUE, (width // 2, 0, width, height))
    return image


def pixels(root: Path, name: str, size: int | None = None) -> NDArray[np.uint8]:
    """One file, as ``(H, W, 3)``."""
    return np.asarray(decode([name], root, size=size).x[0]).transpose(1, 2, 0)


# --- what pixels become -----------------------------------------------------------------------------------------------


def test_pixels_come_back_in_order(root: Path):
    stored = [noise(5, 7, seed) for seed in range(9)]
    names = [f"{seed}.{'bmp' if seed % 2 else 'png'}" for seed in range(9)]
    for name, image in zip(names, stored, strict=True):
        Image.fromarray(image).save(root / name)
    found = decode(names[::-1], root, size=None)
    assert isinstance(found.x, np.memmap)
    assert found.x.dtype == np.uint8
    np.testing.assert_array_equal(found.x, np.stack(stored[::-1]).transpose(0, 3, 1, 2))
    assert found.kept.tolist() == [True] * 9
    assert found.facts["width"].tolist() == [7] * 9
    assert found.facts["height"].tolist() == [5] * 9
    assert found.facts["bytes"].tolist() == [(root / name).stat().st_size for name in names[::-1]]
    assert np.isnan(found.facts["quality"].to_numpy()).all()


def test_the_centre_is_cut_out_when_the_short_side_has_the_size(root: Path):
    image = noise(4, 9)
    Image.fromarray(image).save(root / "wide.png")
    Image.fromarray(image.transpose(1, 0, 2)).save(root / "tall.png")
    np.testing.assert_array_equal(pixels(root, "wide.png", 4), image[:, 2:6])  # (9 − 4) // 2 = 2
    np.testing.assert_array_equal(pixels(root, "tall.png", 4), image[:, 2:6].transpose(1, 0, 2))


def test_resizing_keeps_colours_and_the_middle(root: Path):
    two_colours(120, 60).save(root / "wide.png")
    small = pixels(root, "wide.png", 20)
    assert small.shape == (20, 20, 3)
    np.testing.assert_array_equal(small[:, :8], np.broadcast_to(RED, (20, 8, 3)))
    np.testing.assert_array_equal(small[:, 12:], np.broadcast_to(BLUE, (20, 8, 3)))


def test_resizing_is_antialiased(root: Path):
    """Every second pixel of a checkerboard would be all black or all white."""
    board = (np.indices((64, 64)).sum(axis=0) % 2 * 255).astype(np.uint8)
    Image.fromarray(board).save(root / "board.png")
    assert abs(pixels(root, "board.png", 16).astype(int) - 127).max() <= 8


def test_a_small_image_is_made_larger(root: Path):
    Image.new("RGB", (3, 2), RED).save(root / "a.png")
    np.testing.assert_array_equal(pixels(root, "a.png", 8), np.broadcast_to(RED, (8, 8, 3)))


def test_a_jpeg_scaled_by_its_decoder_looks_the_same(root: Path):
    ramp = np.linspace(0, 255, 800).astype(np.uint8)
    Image.fromarray(np.broadcast_to(ramp[None, :, None], (800, 800, 3)).copy()).save(root / "a.jpg", quality=95)
    means = ramp.reshape(20, 40).mean(axis=1)  # each small pixel stands for 40 columns
    assert abs(pixels(root, "a.jpg", 20).astype(float)[:, :, 0] - means).max() < 4


def test_a_very_long_image_costs_no_memory(root: Path):
    Image.new("L", (200_000, 1), 7).save(root / "line.png")  # resized before it is cut: 10¹⁰ pixels
    assert (pixels(root, "line.png", 224) == 7).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "tiff", "webp", "jpg"])
@pytest.mark.parametrize("size", [None, 16])
def test_images_are_turned_upright(root: Path, orientation: int, suffix: str, size: int | None):
    """Stored so that it shows the same upright picture under each orientation: red above, blue below left."""
    upright = Image.new("RGB", (16, 32), RED)
    upright.paste(BLUE, (0, 16, 8, 32))
    back = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # Image.Transpose that undoes what a viewer does
    stored = upright if orientation == 1 else upright.transpose(Image.Transpose(back[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    how: dict[str, Any] = {"webp": {"lossless": True}, "jpg": {"quality": 95, "subsampling": 0}}.get(suffix, {})
    stored.save(root / f"a.{suffix}", exif=exif, **how)
    found = decode([f"a.{suffix}"], root, size=size)
    expected = np.asarray(upright).astype(int)[8:24] if size else np.asarray(upright).astype(int)
    assert abs(found.x[0].transpose(1, 2, 0).astype(int) - expected).max() <= (3 if suffix == "jpg" else 0)
    assert found.facts[["width", "height"]].values.tolist() == [[16, 32]]


@pytest.mark.parametrize("value", [0, 9, 255, 65535])
@pytest.mark.parametrize("suffix", ["png", "tiff", "webp", "jpg"])
def test_an_impossible_orientation_turns_nothing(root: Path, value: int, suffix: str):
    exif = Image.Exif()
    exif[0x0112] = value
    two_colours(6, 4).save(root / f"a.{suffix}", exif=exif)
    two_colours(4, 6).save(root / "b.png")
    found = decode([f"a.{suffix}"], root, size=None)
    assert found.x.shape == (1, 3, 4, 6)
    assert found.facts[["width", "height"]].values.tolist() == [[6, 4]]
    with pytest.raises(UserError, match=rf"mixed sizes: a.{suffix} is 6×4 and b.png is 4×6"):
        decode([f"a.{suffix}", "b.png"], root, size=None)


def test_an_image_never_lies_in_the_shape_of_another(root: Path, monkeypatch: pytest.MonkeyPatch):
    """Whatever a decoder says of itself: rows of pixels in another order would look like noise, without a word."""
    read = images._read

    def lies(path: str, **how: Any) -> Any:
        found = read(path, size=how["size"])
        return found._replace(facts=(4, 6, *found.facts[2:]))

    two_colours(4, 6).save(root / "a.png")
    two_colours(6, 4).save(root / "b.png")
    monkeypatch.setattr(images, "_read", lies)
    with pytest.raises(UserError, match="mixed sizes"):
        decode(["a.png", "b.png"], root, size=None)


FILES = "jfif:JPEG jpe:JPEG ppm:PPM pgm:PPM jp2:JPEG2000 j2k:JPEG2000 avif:AVIF tif:TIFF dib:BMP png:GIF :WEBP"


@pytest.mark.parametrize(("suffix", "form"), [file.split(":") for file in FILES.split()])
def test_a_file_is_what_it_holds_whatever_it_is_called(root: Path, suffix: str, form: str):
    Image.new("L" if suffix == "pgm" else "RGB", (16, 16), 200 if suffix == "pgm" else (200, 200, 200)).save(
        root / f"a.{suffix}", form
    )
    assert abs(pixels(root, f"a.{suffix}").astype(int) - 200).max() <= 2


def heic(brand: bytes) -> bytes:
    return b"\0\0\0\x18ftyp" + brand + b"\0\0\0\0mif1" + brand + bytes(40)


def test_heic_needs_a_package(root: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    picture._reader.cache_clear()
    (root / "a.heic").write_bytes(heic(b"heic"))
    with pytest.raises(UserError, match=r"a.heic \(HEIC, which needs a further package: pip install pillow-heif\)"):
        decode(["a.heic"], root, size=4)


def test_heic_is_read_with_that_package(root: Path, monkeypatch: pytest.MonkeyPatch):
    class Heif(ImageFile.ImageFile):
        format = "HEIF"

        def _open(self) -> None:
            self._size, self._mode = (2, 2), "RGB"

        def load(self) -> Any:
            self.im = Image.new("RGB", (2, 2), RED).im

    monkeypatch.setitem(sys.modules, "pillow_heif", SimpleNamespace(HeifImageFile=Heif))
    picture._reader.cache_clear()
    (root / "a.heic").write_bytes(heic(b"heix"))
    assert pixels(root, "a.heic")[1, 1].tolist() == list(RED)
    picture._reader.cache_clear()


def test_avif_under_another_brand(root: Path):
    Image.new("RGB", (4, 4), RED).save(root / "a.avif")
    content = (root / "a.avif").read_bytes()
    assert picture.format_of(content[:8] + b"mif1" + content[12:64]) == "AVIF"
    assert picture.format_of(heic(b"mif1")[:64]) == "HEIC"


@pytest.mark.parametrize(
    "exif", [b"", b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\0\x09\x01", b"nonsense" * 9]
)
def test_a_broken_exif_block_is_no_trouble(root: Path, exif: bytes):
    Image.new("RGB", (4, 4), RED).save(root / "a.jpg", exif=exif)
    assert pixels(root, "a.jpg").shape == (4, 4, 3)


def test_grey_palette_bits_and_alpha_become_rgb(root: Path):
    half = Image.new("RGBA", (2, 2), (*RED, 0))
    half.putpixel((0, 0), (*RED, 255))
    half.putpixel((1, 0), (*RED, 128))
    palette = Image.new("P", (2, 2), 0)
    palette.putpalette([*RED, *BLUE])
    clear = palette.copy()
    clear.putpixel((1, 1), 1)
    Image.new("L", (2, 2), 100).save(root / "grey.png")
    Image.new("LA", (2, 2), (100, 0)).save(root / "clear-grey.png")
    Image.new("1", (2, 2), 1).save(root / "bit.png")
    Image.new("RGB", (2, 2), RED).save(root / "key.png", transparency=RED)
    half.save(root / "alpha.png")
    half.save(root / "alpha.webp", lossless=True)
    palette.save(root / "palette.png")
    clear.save(root / "clear.png", transparency=b"\xff\x00")  # as bytes, about which Pillow warns
    clear.save(root / "clear.gif", transparency=1)
    white = (255, 255, 255)
    for name, expected in {
        "grey.png": [(100, 100, 100)] * 4,
        "clear-grey.png": [white] * 4,
        "bit.png": [white] * 4,
        "key.png": [white] * 4,
        "alpha.png": [RED, (255, 127, 127), white, white],
        "alpha.webp": [RED, (255, 127, 127), white, white],
        "palette.png": [RED] * 4,
        "clear.png": [RED, RED, RED, white],
        "clear.gif": [RED, RED, RED, white],
    }.items():
        np.testing.assert_array_equal(pixels(root, name).reshape(4, 3), expected, err_msg=name)


def test_of_an_animation_the_first_frame_is_taken(root: Path):
    frames = [Image.new("RGB", (4, 4), colour) for colour in (RED, BLUE)]
    frames[0].save(root / "a.gif", save_all=True, append_images=frames[1:])
    frames[0].save(root / "a.webp", save_all=True, append_images=frames[1:], lossless=True)
    for name in ("a.gif", "a.webp"):
        np.testing.assert_array_equal(pixels(root, name), np.broadcast_to(RED, (4, 4, 3)))


@pytest.mark.parametrize("quality", [1, 5, 20, 49, 50, 51, 75, 90, 95, 100])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_jpeg_quality_is_estimated(root: Path, quality: int, mode: str):
    Image.fromarray(noise(16, 16)).convert(mode).save(root / "a.jpg", quality=quality)
    assert abs(decode(["a.jpg"], root, size=None).facts["quality"].to_numpy()[0] - quality) <= 3


def test_jpeg_quality_of_other_tables_is_that_of_the_nearest(root: Path):
    Image.fromarray(noise(16, 16)).save(root / "a.jpg", qtables=[[10] * 64, [10] * 64])
    found = decode(["a.jpg"], root, size=None).facts["quality"].to_numpy()[0]
    distance = []
    for quality in range(1, 101):
        file = io.BytesIO()
        Image.new("L", (8, 8)).save(file, "JPEG", quality=quality)
        tables: dict[int, list[int]] = Image.open(file).quantization  # type: ignore[reportAttributeAccessIssue]
        distance.append(sum(abs(step - 10) for step in tables[0]))
    assert distance[int(found) - 1] == min(distance)


# --- what cannot be read ----------------------------------------------------------------------------------------------


def png_of(width: int, height: int, depth: int = 8, colour: int = 2, body: bytes = b"") -> bytes:
    """A PNG by hand: its header says anything."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(body)) + chunk(b"IEND", b"")


def unreadable_files(root: Path) -> dict[str, str]:
    """Writes a file of each kind: what is said about it, by name."""
    grey = Image.fromarray(np.full((4, 4), 40_000, np.uint16))
    grey.save(root / "deep.png")
    grey.save(root / "deep.tif")
    (root / "deep-colour.png").write_bytes(png_of(2, 2, depth=16, body=(b"\0" + b"\1\2" * 6) * 2))
    Image.fromarray(np.zeros((4, 4), np.float32)).save(root / "float.tiff")
    Image.fromarray(np.zeros((4, 4), np.int32)).save(root / "int.tiff")
    Image.new("CMYK", (4, 4)).save(root / "print.jpg")
    Image.fromarray(noise(64, 64)).save(root / "whole.jpg")
    Image.fromarray(noise(64, 64)).save(root / "whole.png")
    Image.fromarray(noise(64, 64)).save(root / "whole.webp")
    for suffix in ("jpg", "png", "webp"):
        whole = (root / f"whole.{suffix}").read_bytes()
        (root / f"cut.{suffix}").write_bytes(whole[: len(whole) // 2])
        (root / f"whole.{suffix}").unlink()
    (root / "stub.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    (root / "text.png").write_text("not an image")
    (root / "empty.png").write_bytes(b"")
    (root / "script.jpg").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    (root / "bomb.png").write_bytes(png_of(30_000, 30_000))
    (root / "large.png").write_bytes(png_of(8001, 8000))
    (root / "thin.png").write_bytes(png_of(1, 60_000_000, colour=0))
    (root / "hollow.png").write_bytes(png_of(4000, 4000))
    Image.new("RGB", (4, 4)).save(root / "camera.NEF", "TIFF")  # such files hold a small picture in front
    deep = "more than 8 bits per channel"
    return {
        "deep.png": deep,
        "deep.tif": deep,
        "deep-colour.png": deep,
        "float.tiff": deep,
        "int.tiff": deep,
        "print.jpg": "CMYK colours",
        "cut.jpg": "truncated",
        "cut.png": "truncated",
        "cut.webp": "",
        "stub.jpg": "",
        "text.png": "not a JPEG, PNG, .* or HEIC image",
        "empty.png": "an empty file",
        "script.jpg": "not a JPEG, PNG, .* or HEIC image",
        "camera.NEF": "a raw photograph of a camera; export it as JPEG",
        "thin.png": "1×60000000 pixels, a side of more than 1 million",
        "hollow.png": r"truncated: \d+ bytes cannot hold its 4000×4000 pixels",
        "bomb.png": "30000×30000 pixels, more than 64 million",
        "large.png": "8001×8000 pixels, more than 64 million",
    }


@pytest.mark.parametrize("size", [None, 4])
def test_unreadable_images_are_refused_by_name_with_the_reason(root: Path, size: int | None):
    Image.new("RGB", (64, 64), RED).save(root / "good.png")
    for name, reason in unreadable_files(root).items():
        with pytest.raises(UserError, match=rf"1 of 2 images cannot be read: {name} \(.*{reason}.*--unreadable skip"):
            decode(["good.png", name], root, size=size)


def test_five_unreadable_images_are_named(root: Path):
    Image.new("RGB", (4, 4), RED).save(root / "good.png")
    for i in range(7):
        (root / f"{i}.png").write_text("no")
    with pytest.raises(UserError, match=r"7 of 8 images cannot be read: 0.png \(.*4.png \([^()]*\) and 2 more; mend"):
        decode(["good.png", *(f"{i}.png" for i in range(7))], root, size=None)


@pytest.mark.parametrize("size", [None, 4])
def test_unreadable_images_are_skipped_on_request(root: Path, size: int | None):
    broken = list(unreadable_files(root))
    names, kept = [], []
    for i, name in enumerate(broken):  # beginning with a broken one
        Image.new("RGB", (64, 64), (i, i, i)).save(root / f"{i}.png")
        names += [name, f"{i}.png"]
        kept += [False, True]
    found = decode(names, root, size=size, unreadable="skip")
    assert found.kept.tolist() == kept
    assert found.x.shape == (len(broken), 3, size or 64, size or 64)
    assert found.x[:, 0, 0, 0].tolist() == list(range(len(broken)))
    assert len(found.facts) == len(broken)
    with pytest.raises(UserError, match="images cannot be read"):  # the cache does not hide them
        decode(names, root, size=size)


def test_nothing_readable_is_refused_even_when_skipping(root: Path):
    (root / "a.png").write_text("no")
    with pytest.raises(UserError, match=r"1 of 1 images cannot be read: a.png .*; mend them\."):
        decode(["a.png"], root, size=None, unreadable="skip")


def test_the_header_is_right_when_almost_all_are_skipped(root: Path):
    """The number of rows in the file's header shrinks from four digits to one."""
    Image.fromarray(noise(3, 3)).save(root / "good.png")
    (root / "bad.png").write_text("no")
    found = decode(["bad.png"] * 999 + ["good.png"], root, size=None, unreadable="skip")
    np.testing.assert_array_equal(found.x, noise(3, 3).transpose(2, 0, 1)[None])


# --- users' mistakes --------------------------------------------------------------------------------------------------


def test_mixed_sizes_need_a_size(root: Path):
    Image.new("RGB", (4, 4)).save(root / "a.png")
    Image.new("RGB", (4, 4)).save(root / "b.png")
    Image.new("RGB", (4, 6)).save(root / "c.png")
    with pytest.raises(UserError, match=r"mixed sizes: a.png is 4×4 and c.png is 4×6; pass --size 64"):
        decode(["a.png", "b.png", "c.png"], root, size=None)
    assert decode(["a.png", "b.png", "c.png"], root, size=4).x.shape == (3, 3, 4, 4)


def test_a_missing_file(root: Path):
    for name in ("a.png", "no/where.png", "a\0b.png", "x" * 5000):
        with pytest.raises(UserError, match=r"image path missing: there is no .* \(row 1\)"):
            decode([name], root, size=None)


@pytest.mark.parametrize("path", ["", None, float("nan")])
def test_a_row_without_a_path(root: Path, path: str):
    Image.new("RGB", (4, 4)).save(root / "a.png")
    with pytest.raises(UserError, match="image missing in row 2; name one in each row"):
        decode(["a.png", path], root, size=None)


def test_paths_must_stay_in_the_folder(root: Path, tmp_path: Path):
    for folder in (tmp_path, root, tmp_path / "photos-of-others"):
        folder.mkdir(exist_ok=True)
        Image.new("RGB", (4, 4)).save(folder / "a.png")
    (root / "link.png").symlink_to(tmp_path / "a.png")
    (root / "dangling.png").symlink_to(tmp_path / "nothing.png")
    (root / "up").symlink_to(tmp_path)
    (root / "near.png").symlink_to("a.png")
    absolute = str(tmp_path / "photos-of-others" / "a.png")
    for path in ("../a.png", "../photos-of-others/a.png", absolute, "link.png", "dangling.png", "up/a.png"):
        with pytest.raises(UserError, match=rf"image '{path}' \(row 1\) lies outside the folder"):
            decode([path], root, size=None)
    assert decode(["near.png", "a.png"], root, size=None).kept.all()


def test_the_folder_itself_may_be_a_link(root: Path, tmp_path: Path):
    Image.new("RGB", (4, 4)).save(root / "a.png")
    (tmp_path / "link").symlink_to(root)
    assert len(decode(["a.png"], tmp_path / "link", size=None).x) == 1


def test_what_is_no_file(root: Path):
    (root / "folder.png").mkdir()
    os.mkfifo(root / "pipe.png")  # reading it would wait forever
    for name in ("folder.png", "pipe.png"):
        with pytest.raises(UserError, match=rf"image '{name}' \(row 1\) is no file"):
            decode([name], root, size=None)


def test_no_paths(root: Path):
    with pytest.raises(UserError, match="no images were named"):
        decode([], root, size=None)


def test_a_size_below_one(root: Path):
    with pytest.raises(UserError, match="images of size 0 are not possible"):
        decode(["a.png"], root, size=0)


def test_an_unknown_way_with_unreadable_images(root: Path):
    with pytest.raises(UserError, match="unknown way with unreadable images 'skp': did you mean 'skip'"):
        decode(["a.png"], root, size=4, unreadable="skp")  # type: ignore[reportArgumentType]


def test_a_cache_that_cannot_be_written(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    Image.new("RGB", (4, 4)).save(root / "a.png")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LONGCUT_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match=r"cannot store images here \(.*set LONGCUT_CACHE"):
        decode(["a.png"], root, size=None)


def test_a_disk_that_is_too_full(root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch):
    Image.new("RGB", (4, 4)).save(root / "a.png")
    monkeypatch.setattr(images.shutil, "disk_usage", lambda _: images.shutil._ntuple_diskusage(99, 52, 47))  # type: ignore[reportAttributeAccessIssue]
    with pytest.raises(UserError, match=r"the decoded images need 0.0 GB, but 0.0 GB are free; set LONGCUT_CACHE"):
        decode(["a.png"], root, size=None)  # 48 bytes
    assert not [path for path in cache.iterdir() if path.is_dir()]


# --- the cache --------------------------------------------------------------------------------------------------------


def explode(*_, **__):
    raise AssertionError("decoded again")


def test_a_second_start_decodes_nothing(root: Path, monkeypatch: pytest.MonkeyPatch):
    Image.fromarray(noise(8, 8)).save(root / "a.jpg", quality=80)
    (root / "b.png").write_text("no")
    first = decode(["a.jpg", "b.png"], root, size=4, unreadable="skip")
    monkeypatch.setattr(images, "_read", explode)
    again = decode(["a.jpg", "b.png"], root, size=4, unreadable="skip")
    np.testing.assert_array_equal(first.x, again.x)
    assert again.kept.tolist() == [True, False]
    assert first.facts.equals(again.facts)


def key(names: list[str], root: Path, size: int | None = 4) -> str:
    return images.key(names, root, size)


def test_the_key_is_that_of_the_files(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("a.png", "b.png"):
        Image.new("RGB", (4, 4)).save(root / name)
        os.utime(root / name, ns=(10**18, 10**18))
    names = ["a.png", "b.png"]
    keys = {key(names, root), key(names[::-1], root), key(names[:1], root), key(names, root, 5), key(names, root, None)}
    assert len(keys) == 5
    assert key(names, root) in keys
    monkeypatch.chdir(tmp_path)
    assert key(names, Path("photos")) in keys  # however the folder is called
    (tmp_path / "copy").mkdir()
    for name in names:
        (tmp_path / "copy" / name).write_bytes((root / name).read_bytes())
        os.utime(tmp_path / "copy" / name, ns=(10**18, 10**18))
    assert key(names, tmp_path / "copy") not in keys  # another folder may hold other pictures under the same names
    os.utime(root / "b.png", ns=(10**18, 10**18 + 1))
    assert key(names, root) not in keys


def test_a_changed_file_is_decoded_again(root: Path):
    Image.new("RGB", (4, 4), RED).save(root / "a.bmp")
    assert pixels(root, "a.bmp")[0, 0].tolist() == list(RED)
    stamp = (root / "a.bmp").stat().st_mtime_ns
    Image.new("RGB", (4, 4), BLUE).save(root / "a.bmp")  # as long as before
    os.utime(root / "a.bmp", ns=(stamp, stamp + 1))
    assert pixels(root, "a.bmp")[0, 0].tolist() == list(BLUE)


def replaced(path: Path, colour: tuple[int, int, int], how: str) -> None:
    """Another picture under the same name, of the same size and time."""
    before = path.stat()
    other = path.with_name("other.bmp")
    Image.new("RGB", (4, 4), colour).save(other)
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    if how == "in place":
        path.write_bytes(other.read_bytes())
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    else:
        other.replace(path)
    after = path.stat()
    assert (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)


@pytest.mark.parametrize("how", ["in place", "by another file"])
def test_a_file_that_was_replaced_with_the_same_size_and_time_is_decoded_again(root: Path, how: str):
    Image.new("RGB", (4, 4), RED).save(root / "a.bmp")
    assert pixels(root, "a.bmp")[0, 0].tolist() == list(RED)
    replaced(root / "a.bmp", BLUE, how)
    assert pixels(root, "a.bmp")[0, 0].tolist() == list(BLUE)


def test_where_times_are_coarse_the_content_decides(root: Path, monkeypatch: pytest.MonkeyPatch):
    """As on disks that keep whole seconds: nothing that the system says differs."""
    Image.new("RGB", (4, 4), RED).save(root / "a.bmp")
    about = (root / "a.bmp").stat()
    coarse = SimpleNamespace(st_size=about.st_size, st_mtime_ns=10**18, st_ctime_ns=10**18, st_ino=0)
    monkeypatch.setattr(images, "find", lambda paths, _: [Found(path, cast(Any, coarse)) for path in paths])
    before = key(["a.bmp"], root)
    assert key(["a.bmp"], root) == before
    Image.new("RGB", (4, 4), BLUE).save(root / "a.bmp")
    assert key(["a.bmp"], root) != before


def damages() -> dict[str, Callable[[Path], object]]:
    def flip(file: Path) -> None:
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        file.write_bytes(content)

    return {
        "cut": lambda folder: os.truncate(folder / "x.npy", 150),
        "flipped": lambda folder: flip(folder / "x.npy"),
        "flipped facts": lambda folder: flip(folder / "facts.npy"),
        "no pixels": lambda folder: (folder / "x.npy").unlink(),
        "no facts": lambda folder: (folder / "facts.npy").unlink(),
        "no list": lambda folder: (folder / "unreadable.json").unlink(),
        "emptied": lambda folder: shutil.rmtree(folder) or folder.mkdir(),
        "unsealed": lambda folder: (folder / "whole.json").unlink(),
        "no seal": lambda folder: (folder / "whole.json").write_text("[1"),
        "another seal": lambda folder: (folder / "whole.json").write_text('{"x.npy": 3}'),
        "an empty seal": lambda folder: (folder / "whole.json").write_text("{}"),
    }


@pytest.mark.parametrize("damage", damages())
@pytest.mark.parametrize("small", [True, False])
def test_a_damaged_cache_heals_itself(root: Path, cache: Path, damage: str, small: bool, monkeypatch):
    monkeypatch.setattr(caching, "SMALL", 64_000_000 * small)
    Image.fromarray(noise(8, 8)).save(root / "a.png")
    first = np.array(decode(["a.png"], root, size=None).x)
    (folder,) = (path for path in cache.iterdir() if path.is_dir())
    damages()[damage](folder)
    again = decode(["a.png"], root, size=None)
    np.testing.assert_array_equal(again.x, first)
    assert again.facts["width"].tolist() == [8]


def test_a_small_cache_is_read_over_even_where_nothing_seems_to_have_been_written(root: Path, cache: Path):
    """As where a disk loses bits: the times of the seal are made those of the file."""
    Image.fromarray(noise(8, 8)).save(root / "a.png")
    first = np.array(decode(["a.png"], root, size=None).x)
    (folder,) = (path for path in cache.iterdir() if path.is_dir())
    damages()["flipped"](folder)
    seal = json.loads((folder / "whole.json").read_text())
    seal["x.npy"][:3] = caching._state(folder / "x.npy")
    (folder / "whole.json").write_text(json.dumps(seal))
    np.testing.assert_array_equal(decode(["a.png"], root, size=None).x, first)


def test_a_copy_of_a_cache_is_not_made_anew(root: Path, cache: Path, tmp_path: Path, monkeypatch):
    Image.fromarray(noise(8, 8)).save(root / "a.png")
    first = decode(["a.png"], root, size=None)
    shutil.copytree(cache.parent, tmp_path / "copied")
    monkeypatch.setenv("LONGCUT_CACHE", str(tmp_path / "copied"))
    monkeypatch.setattr(images, "_read", explode)
    np.testing.assert_array_equal(decode(["a.png"], root, size=None).x, first.x)


def test_an_interrupted_decode_leaves_nothing(root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch):
    Image.new("RGB", (4, 4), RED).save(root / "a.png")
    read = images._read

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(images, "_read", interrupt)
    with pytest.raises(KeyboardInterrupt):
        decode(["a.png"], root, size=None)
    assert not [path for path in cache.iterdir() if path.is_dir()]
    monkeypatch.setattr(images, "_read", read)
    assert pixels(root, "a.png").shape == (4, 4, 3)


def test_what_a_killed_decode_left_is_cleared_away(root: Path, cache: Path):
    Image.new("RGB", (4, 4), RED).save(root / "a.png")
    left = cache / f"{key(['a.png'], root, None)}.unfinished"
    left.mkdir(parents=True)
    (left / "x.npy").write_bytes(b"half")
    assert pixels(root, "a.png")[0, 0].tolist() == list(RED)
    assert not left.exists()


def test_two_at_once_decode_once(root: Path, monkeypatch: pytest.MonkeyPatch):
    names = [f"{i}.png" for i in range(20)]
    for name in names:
        Image.new("RGB", (4, 4), RED).save(root / name)
    calls: list[str] = []
    read, both = images._read, threading.Barrier(2)
    monkeypatch.setattr(images, "_read", lambda path, **how: (calls.append(path), read(path, **how))[1])
    found = []

    def start():
        both.wait()
        found.append(decode(names, root, size=None).x.sum())

    threads = [threading.Thread(target=start) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [255 * 16 * 20] * 2
    assert len(calls) == 20


def test_progress_ends_with_all_done(root: Path):
    names = [f"{i}.png" for i in range(3)]
    for name in names:
        Image.new("RGB", (4, 4), RED).save(root / name)
    said: list[tuple[int, int]] = []
    decode(names, root, size=None, progress=lambda done, total: said.append((done, total)))
    assert said == [(1, 3), (3, 3)]  # the first one alone: it gives the size


def test_without_the_variable_the_cache_is_below_the_home_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.delenv("LONGCUT_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder("abc") == tmp_path / ".cache" / "longcut" / "images" / "abc"


# --- larger than memory -----------------------------------------------------------------------------------------------

GATHER = """
import json, sys
import numpy as np, torch
from longcut import Dataset
file, rows = sys.argv[1], int(sys.argv[2])
with open(file, "wb") as out:
    header = {"descr": "|u1", "fortran_order": False, "shape": (rows, 3, 200, 200)}
    np.lib.format.write_array_header_1_0(out, header)
    out.truncate(out.tell() + rows * 120_000)
data = Dataset.of(np.load(file, mmap_mode="r"), np.arange(rows) % 2)
random, peak = torch.Generator().manual_seed(0), 0
for _ in range(100):
    batch = data.gather(torch.randint(rows, (64,), generator=random))
    lines = open("/proc/self/status").read().splitlines()
    peak = max(peak, next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")))
print(json.dumps([peak * 1024, tuple(batch.shape)]))
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_data_set_larger_than_memory_is_gathered_within_600_mb(tmp_path: Path):
    """6 GB of images; memory that is not a copy of a file is what counts, the rest the system takes back at need."""
    command = [sys.executable, "-c", GATHER, str(tmp_path / "x.npy"), "50000"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    (tmp_path / "x.npy").unlink()
    peak, shape = json.loads(done.stdout)
    assert shape == [64, 3, 200, 200]
    assert peak < 600e6


# --- real images ------------------------------------------------------------------------------------------------------


@pytest.mark.data
def test_waterbirds_have_mixed_sizes_and_become_squares(real_data: Path):
    folder = real_data / "waterbirds_72px"
    with (folder / "metadata.csv").open(encoding="utf-8", newline="") as file:
        names = [row["img_filename"] for row in csv.DictReader(file)][:500]
    with pytest.raises(UserError, match="mixed sizes"):
        decode(names, folder, size=None)
    found = decode(names, folder, size=72)
    assert found.x.shape == (500, 3, 72, 72)
    assert (found.facts[["width", "height"]].to_numpy().min(axis=1) == 72).sum() > 400
    for row in range(0, 500, 50):  # those whose short side is 72 are cut, not resized
        image = np.asarray(Image.open(folder / names[row]).convert("RGB"))
        height, width = image.shape[:2]
        if min(height, width) == 72:
            top, left = (height - 72) // 2, (width - 72) // 2
            np.testing.assert_array_equal(
                found.x[row].transpose(1, 2, 0), image[top : top + 72, left : left + 72], err_msg=names[row]
            )


@pytest.mark.data
def test_mnist_digits_come_back_exactly(real_data: Path, root: Path):
    with gzip.open(real_data / "mnist" / "t10k-images-idx3-ubyte.gz") as file:
        digits = np.frombuffer(file.read(16 + 300 * 784), np.uint8, offset=16).reshape(300, 28, 28)
    for i, digit in enumerate(digits):
        Image.fromarray(digit).save(root / f"{i}.png")
    found = decode([f"{i}.png" for i in range(300)], root, size=None)
    np.testing.assert_array_equal(found.x, np.repeat(digits[:, None], 3, axis=1))
