from __future__ import annotations

import os
from pathlib import Path

import pytest

from longcut.errors import UserError
from longcut.sources.paths import find, refuse


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with two photos, one of a name that can be written in several ways."""
    (tmp_path / "birds" / "my photos").mkdir(parents=True)
    for name in ("a.png", "my photos/caf\u00e9 1.png"):
        (tmp_path / "birds" / name).write_text(name)
    return tmp_path / "birds"


PHOTO = "my photos/caf\u00e9 1.png"


@pytest.mark.parametrize(
    "path",
    [
        PHOTO,
        f"./{PHOTO}",
        f"my photos/../{PHOTO}",
        "my photos\\caf\u00e9 1.png",
        ".\\my photos\\caf\u00e9 1.png",
        "my%20photos/caf%C3%A9%201.png",
        "my photos/cafe\u0301 1.png",
        f"  {PHOTO}\t",
        f"birds/{PHOTO}",
        "birds\\my photos\\caf\u00e9 1.png",
        "{root}/" + PHOTO,
        "{link}/" + PHOTO,
        "{root}/../birds/" + PHOTO,
        "file://{root}/" + PHOTO,
        "file://localhost{root}/my%20photos/caf%C3%A9%201.png",
        "FILE:my%20photos/caf%C3%A9%201.png",
    ],
)
@pytest.mark.parametrize("linked", [False, True])
def test_ways_to_write_the_same_path(root: Path, path: str, linked: bool, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(root.parent)
    (root.parent / "link").symlink_to(root)
    (found,) = find([path.format(root=root, link=root.parent / "link")], root.parent / "link" if linked else root)
    assert found.trouble == ""
    assert not os.path.isabs(found.path)
    assert (root / found.path).read_text() == PHOTO


def test_what_is_there_as_it_is_written_goes_first(root: Path):
    for name in ("b\\c.png", "b%20c.png", "b c.png", " b c.png"):
        (root / name).write_text(name)
    (root / "b").mkdir()
    (root / "b" / "c.png").write_text("in a folder")
    for name in ("b\\c.png", "b%20c.png", "b c.png", " b c.png"):
        assert find([name], root)[0].path == name


@pytest.mark.parametrize("path", ["", "  ", None, float("nan"), 7])
def test_without_a_path(root: Path, path: object):
    found = find(["a.png", path], root)
    assert found[1] == ("", None, "missing")
    with pytest.raises(
        UserError, match=r"^birds: image missing in row 2; name one in each row, or leave such rows out"
    ):
        refuse(found, "birds")


@pytest.mark.parametrize("path", ["b.png", "a.png/b.png", "A\0.png", "x" * 5000, "loop.png", "C:\\photos\\a.png"])
def test_no_such_file(root: Path, path: str):
    (root / "loop.png").symlink_to("loop.png")
    found = find([path], root)
    assert found[0] == (path, None, "there is no such file")
    with pytest.raises(UserError, match=r"there is no .* \(row 1\); give paths relative to this folder, or leave"):
        refuse(found, "birds")


@pytest.mark.parametrize("path", ["../out.png", "{out}", "file://{out}", "..%2Fout.png", "link.png", "up/out.png"])
def test_outside(root: Path, path: str):
    out = root.parent / "out.png"
    out.touch()
    (root / "link.png").symlink_to(out)
    (root / "up").symlink_to(root.parent)
    found = find([path.format(out=out)], root)
    assert found[0].about is None
    with pytest.raises(UserError, match=r"lies outside the folder|there is no"):
        refuse(found, "birds")


def test_a_folder_is_no_file(root: Path):
    with pytest.raises(UserError, match=r"image 'my photos' \(row 1\) is no file; give the path of an image"):
        refuse(find(["my photos"], root), "birds")


def test_all_is_well(root: Path):
    refuse(find(["a.png", PHOTO], root), "birds")
