"""The worked story of the docs: its birds are drawn as it says, and its commands and pictures are made."""

from __future__ import annotations

import csv
import re
import subprocess
import sys
from collections import Counter
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture(scope="module")
def birds() -> Any:
    return script("draw_birds")


@pytest.fixture(scope="module")
def story() -> Any:
    return script("make_story")


def script(name: str) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(DOCS)
        return import_module(name)


@pytest.fixture(scope="module")
def folder(birds: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of birds, with fewer of them."""
    folder = tmp_path_factory.mktemp("story") / "birds"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(birds, "COUNTS", {"train": 80, "valid": 40, "test": 20})
        birds.draw_folder(folder)
    return folder


def rows_of(table: Path) -> list[dict[str, str]]:
    with table.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_photo_is_noted_and_every_note_has_its_photo(folder: Path):
    rows = rows_of(folder / "metadata.csv")
    assert {row["path"] for row in rows} == {path.relative_to(folder).as_posix() for path in folder.rglob("*.jpg")}
    assert all(row["path"].startswith(f"{row['split']}/{row['bird']}/") for row in rows)
    assert Counter((row["split"], row["bird"]) for row in rows) == {
        ("train", "landbird"): 40,
        ("train", "waterbird"): 40,
        ("valid", "landbird"): 20,
        ("valid", "waterbird"): 20,
        ("test", "landbird"): 10,
        ("test", "waterbird"): 10,
    }


def test_in_training_nearly_all_birds_are_where_they_belong(birds: Any):
    """19 of 20 of each class, and in the test set half of each."""
    for split, away in (("train", 0.05), ("valid", 0.05), ("test", 0.5)):
        rows = birds._listed(split, np.random.default_rng(0))
        for bird, home in (("landbird", "land"), ("waterbird", "water")):
            places = [place for _, kind, place, _ in rows if kind == bird]
            assert len(places) == birds.COUNTS[split] // 2
            assert sum(place != home for place in places) == away * len(places)


def test_numbers_of_files_do_not_tell_the_place(birds: Any):
    """The birds elsewhere are not the last files of their class."""
    places = [place for _, bird, place, _ in birds._listed("test", np.random.default_rng(0)) if bird == "landbird"]
    assert "water" in places[: len(places) // 2] and "land" in places[len(places) // 2 :]


def test_photos_have_many_sizes(folder: Path):
    sizes = set()
    for path in folder.rglob("*.jpg"):
        with Image.open(path) as picture:
            sizes.add(picture.size)
    assert len(sizes) > 50
    assert all(80 <= side <= 120 for size in sizes for side in size)


def test_the_same_seed_draws_the_same_files(birds: Any, tmp_path: Path):
    drawn = []
    for name, seed in (("one", 1), ("again", 1), ("other", 2)):
        truth = birds.draw_new(tmp_path / name, seed)
        drawn.append({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()})
        assert sorted(truth) == sorted(drawn[-1])
        assert Counter(truth.values()) == {"landbird": 12, "waterbird": 12}
    assert drawn[0] == drawn[1]
    assert not set(drawn[0].values()) & set(drawn[2].values())


def test_water_is_blue_and_woods_are_not(birds: Any):
    """The shortcut is there: the place, whatever the bird, shows in the corner of the photo."""
    rng = np.random.default_rng(0)
    for place, blue in (("water", True), ("land", False)):
        for bird in birds.BIRDS * 10:
            red, green, blueness = np.asarray(birds.photo(bird, place, rng)).reshape(-1, 3).mean(0)
            assert (blueness > max(red, green) - 20) == blue


def test_the_page_includes_what_the_story_makes():
    """Each included output has its command."""
    page = (DOCS / "birds.md").read_text("utf-8")
    commands = re.findall(r"(?m)^longcut .+$", page)
    numbers = [int(number) for number in re.findall(r"_story/(\d\d)\.txt", page)]
    assert numbers == sorted(numbers)
    assert set(numbers) <= set(range(1, len(commands) + 1))
    for number in numbers:  # the output stands below its own command
        shown = page.index(f"_story/{number:02}.txt")
        assert page.index(commands[number - 1]) < shown
        assert all(page.index(later) > shown for later in commands[number:])


def test_long_lines_are_folded_between_words(story: Any):
    line = "  " + "--word " * 20 + "end"
    lines = story.folded(line).split("\n")
    assert len(lines) == 2
    assert all(len(one) <= story.WIDTH and one.startswith("  --word") for one in lines)
    assert " ".join(story.folded(line).split()) == line.strip()
    table = "a   b" + " " * 20 + "c"
    assert story.folded(table) == table


def test_commands_are_those_of_the_shell_blocks(story: Any):
    shell = "```bash\nls\nlongcut audit 'a b'  # why\n```\n"
    other = "longcut no\n```text\nlongcut no\n```\n"
    assert story.commands(f"{other}{shell}{other}```bash\nlongcut demo\n```\n") == [["audit", "a b"], ["demo"]]


@pytest.mark.slow
def test_the_story_runs(tmp_path: Path):
    """Every command of the page works, and every file that the page includes is made."""
    out = tmp_path / "story"
    subprocess.run([sys.executable, DOCS / "make_story.py", out], check=True)
    page = (DOCS / "birds.md").read_text("utf-8")
    included = re.findall(r"_story/([\w/.-]+)", page)
    assert included
    assert [name for name in included if not (out / name).stat().st_size] == []
    assert (out / "01.txt").read_text("utf-8").startswith("There is a shortcut: ")
    away = {row["path"] for row in rows_of(out / "birds/metadata.csv") if not row["bird"].startswith(row["place"])}
    suspected = [row["name"] for row in rows_of(out / "audit/suspects.csv")][:10]
    assert len(away.intersection(suspected)) >= 9  # drawn at random, it would be one in twenty


@pytest.mark.slow
def test_a_command_that_fails_stops_the_story(story: Any, tmp_path: Path):
    with pytest.raises(subprocess.CalledProcessError):
        story.run(["audit", "no-such-folder"], tmp_path, tmp_path / "01.txt")
