"""The page of look-ups in a real browser, opened as a file: keys, buttons, undo, what it keeps, what it saves."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from test_report_browser import HOSTILE, PHONE, browser  # noqa: F401, the fixture

from longcut.data import Dataset
from longcut.lookup.answers import read
from longcut.report.lookup import Shown, page, shown

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser

VALUES = ["land", "water", *HOSTILE[:2]]


def samples() -> list[Shown]:
    """Two pictures, a text and a row of a table, of hostile names and contents."""
    x = torch.arange(2 * 3 * 8 * 8, dtype=torch.uint8).view(2, 3, 8, 8)
    data = Dataset.of(x, [0, 1], class_names=("gull", HOSTILE[0]), name="birds")
    two = shown(data, [1, 0], [("0.9", "by rule"), ("0.5", "by lot")])
    text = Shown(7, HOSTILE[1], HOSTILE[2], "0.4", "by rule", text=" ".join(HOSTILE))
    table = Shown(8, "=1+1", "-3", "0.3", "by lot", cells=[(HOSTILE[4], HOSTILE[3]), ("age", "12")])
    return [*two, text, table]


@pytest.fixture
def opened(browser: Browser, tmp_path: Path) -> Iterator[Page]:  # noqa: F811
    (tmp_path / "look-up.html").write_text(page(f"Look up {HOSTILE[0]}", "place", VALUES, samples()), "utf-8")
    context = browser.new_context(viewport=PHONE, accept_downloads=True)  # type: ignore[arg-type]
    made, said, asked = context.new_page(), list[str](), list[str]()
    made.on("console", lambda message: said.append(message.text))
    made.on("pageerror", lambda error: said.append(str(error)))
    made.on("request", lambda request: asked.append(request.url))
    made.goto((tmp_path / "look-up.html").as_uri())
    yield made
    assert said == [] and all(url.startswith(("file", "data", "blob")) for url in asked)
    assert made.evaluate("window.harmed") is None
    context.close()


def count(opened: Page) -> str:
    return opened.locator("#count").inner_text()


def saved(opened: Page) -> list[dict[str, str]]:
    with opened.expect_download() as download:
        opened.get_by_role("button", name="Save answers").click()
    assert download.value.suggested_filename == "answers.csv"
    text = Path(download.value.path()).read_bytes().decode()
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_keys_answer_undo_and_move(opened: Page):
    assert count(opened) == "Sample 1 of 4; 0 answered."
    opened.keyboard.press("2")
    assert count(opened) == "Sample 2 of 4; 1 answered."
    opened.keyboard.press("0")
    opened.keyboard.press("9")  # no such value
    assert count(opened) == "Sample 3 of 4; 2 answered."
    opened.keyboard.press("u")
    assert count(opened) == "Sample 2 of 4; 1 answered."
    opened.keyboard.press("ArrowLeft")
    assert opened.locator("#values button[aria-pressed=true]").inner_text().endswith("water")
    opened.keyboard.press("1")  # changed; goes on to the first without an answer
    assert count(opened) == "Sample 2 of 4; 1 answered."
    opened.keyboard.press("Control+z")
    assert opened.locator("#values button[aria-pressed=true]").inner_text().endswith("water")
    assert opened.locator("#bar").get_attribute("value") == "1"


def test_answers_are_saved_as_they_are_read(opened: Page, tmp_path: Path):
    for key in "13":
        opened.keyboard.press(key)
    opened.get_by_role("button", name="cannot tell").click()
    rows = saved(opened)
    assert list(rows[0]) == ["row", "name", "label", "score", "drawn", "attribute"]
    assert [row["attribute"] for row in rows] == ["land", HOSTILE[0], "?", ""]
    assert [row["drawn"] for row in rows] == ["by rule", "by lot", "by rule", "by lot"]
    assert rows[3]["name"] == "'=1+1" and rows[3]["label"] == "-3" and rows[2]["name"] == HOSTILE[1]
    with (tmp_path / "answers.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    found = read([tmp_path / "answers.csv"], VALUES)
    assert [(a.row, a.value, a.label, a.lot) for a in found] == [
        (1, "land", HOSTILE[0], False),
        (0, HOSTILE[0], "gull", True),
        (7, "?", HOSTILE[2], False),
    ]


def test_answers_outlive_a_reload(opened: Page):
    for _ in range(4):
        opened.keyboard.press("2")
    assert count(opened).startswith("All 4 are answered")
    opened.reload()
    assert count(opened).startswith("All 4 are answered")
    opened.keyboard.press("u")
    assert count(opened) == "Sample 4 of 4; 3 answered."
    assert [row["attribute"] for row in saved(opened)] == ["water"] * 3 + [""]


def test_pictures_texts_and_cells_are_shown_as_they_are(opened: Page):
    picture = opened.locator("#sample img")
    assert picture.evaluate("image => image.naturalWidth") == 8
    assert picture.get_attribute("alt") == f"row 1, labelled {HOSTILE[0]}"
    opened.keyboard.press("ArrowRight")
    opened.keyboard.press("ArrowRight")
    assert opened.locator("#sample blockquote").evaluate("text => text.textContent") == " ".join(HOSTILE)
    assert opened.locator("#sample b").evaluate("text => text.textContent") == HOSTILE[2]
    opened.keyboard.press("ArrowRight")
    assert (
        opened.locator("#sample th").last.inner_text() == "age"
        and opened.locator("#sample td").last.inner_text() == "12"
    )


def test_a_phone_scrolls_in_one_direction_and_buttons_are_large(opened: Page):
    for _ in range(4):
        wide = opened.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
        assert wide[0] <= wide[1] == 390
        opened.keyboard.press("ArrowRight")
    for button in opened.locator("button").all():
        box = button.bounding_box()
        assert box is not None and box["height"] >= 44 and box["width"] >= 44


def test_a_keyboard_alone_reaches_everything_and_a_reader_is_told(opened: Page):
    opened.keyboard.press("Tab")
    for _ in range(2):  # land is focused; space presses it as a button
        opened.keyboard.press("Space")
    assert count(opened) == "Sample 3 of 4; 2 answered."
    assert opened.locator("#count").get_attribute("role") == "status"
    group = opened.get_by_role("group", name="place")
    assert group.get_by_role("button").count() == len(VALUES) + 1
    assert group.get_by_role("button").first.get_attribute("aria-keyshortcuts") == "1"
    assert opened.get_by_role("progressbar", name="answered").count() == 1


def test_another_question_begins_anew():
    one, other = (page("t", "place", values, samples()) for values in (["a", "b"], ["a", "c"]))
    keys = [text.split('"key": "')[1].split('"')[0] for text in (one, other)]
    assert keys[0] != keys[1] and keys[0] in page("t", "place", ["a", "b"], samples())
    assert "http" not in one.replace("http-equiv", "") and np.char.find(one, "<script>window") < 0
