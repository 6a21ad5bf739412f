"""Sentences that count something say the number that is there, or say what else they count."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from pathlib import Path

import pytest

from longcut.audit.checks import CHECKS
from longcut.augment import AUGMENTS
from longcut.cues import CUES
from longcut.datasets import DATASETS
from longcut.encoders import ENCODERS
from longcut.evaluate import METRICS
from longcut.methods import METHODS
from longcut.mixing import BLENDS, PAIRS
from longcut.nets import NETS
from longcut.papers import recipes
from longcut.report.panels import PANELS

ROOT = Path(__file__).parents[1]
SPELLED = (
    "five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen twenty"
)
WORDS = {word: number for number, word in enumerate(SPELLED.split(), 5)}
THINGS: dict[str, Collection[str]] = {
    "checks": [*CHECKS, "model"],  # which is asked of a trained model
    "augmentations": AUGMENTS,
    "cues": CUES,
    "data sets": DATASETS,
    "encoders": ENCODERS,
    "metrics": METRICS,
    "methods": METHODS,
    "blends": BLENDS,
    "pair rules": PAIRS,
    "nets": NETS,
    "networks": NETS,
    "recipes": recipes(),
    "panels": PANELS,
}
CLAIM = re.compile(rf"\b({'|'.join(WORDS)}|[0-9]{{1,3}}) ({'|'.join(THINGS)})\b(?! of images)", re.IGNORECASE)
OTHERS = {  # what a sentence counts that is no table of ours
    ("cues.md", "six nets"): "those that its example trains",
    ("cues.md", "fifteen cues"): "of images, which another test counts",
}


def claims(text: str) -> Iterator[tuple[str, int, str]]:
    """What stands there, how many it says, and of what; fewer than five are the ones just named."""
    for found in CLAIM.finditer(text):
        number = WORDS.get(found[1].lower()) or int(found[1])
        if number >= 5:
            yield found[0].lower(), number, found[2].lower()


def pages() -> list[Path]:
    return [*(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")), *(ROOT / "docs").glob("*.md")]


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_what_is_counted_is_there(page: Path):
    text = page.read_text("utf-8")
    if page.name == "CHANGELOG.md":  # what was released stays as it was
        text = "\n## ".join(text.split("\n## ")[:2])
    wrong = [
        f"'{said}', and there are {len(THINGS[what])}"
        for said, number, what in claims(text)
        if (page.name, said) not in OTHERS and number != len(THINGS[what])
    ]
    assert not wrong


def test_a_wrong_number_would_be_noticed():
    assert list(claims("Ten methods, networks from random weights; 22 cues, two nets")) == [
        ("ten methods", 10, "methods"),
        ("22 cues", 22, "cues"),
    ]
    assert len(METHODS) != 10 and len(CUES) == 22


def test_cues_of_images_are_as_many_as_the_page_says():
    images = [name for name, cue in CUES.items() if cue.kind == "image"]
    text = (ROOT / "docs" / "cues.md").read_text("utf-8")
    assert len(images) == 15 and "![Fifteen cues, each easy" in text and "the fifteen cues of images" in text
    (row,) = re.findall(r"^\| images \| (.+) \|$", text, re.MULTILINE)
    assert set(re.findall(r"`([a-z-]+)`", row)) == set(images)
