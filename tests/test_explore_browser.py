"""Exploring an audit in a real browser: the map, its colours, filters, the opened sample, answers, what is saved."""

from __future__ import annotations

import base64
import csv
import dataclasses
import io
import json
import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image
from test_audit_folder import LABEL, N, bare, pictures, table, texts
from test_audit_folder import write as write_audit
from test_report_browser import CONTRAST, DESK, HOSTILE, PHONE, SCHEMES, browser, visit  # noqa: F401, fixtures

from longcut.audit import Audit
from longcut.lookup.answers import attach, read
from longcut.report import write

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser

MAKERS: dict[str, Callable[[], Audit]] = {"pictures": pictures, "table": table, "texts": texts, "bare": bare}


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("explore")
    for name, make in MAKERS.items():
        write_audit(make(), root / name)
    return {name: write([root / name], root / f"{name}.html") for name in MAKERS}


def data_of(page: Page) -> dict[str, Any]:
    return json.loads(page.locator("script.atlas").text_content() or "")


def unpacked(text: str, kind: type = np.uint16) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), np.dtype(kind).newbyteorder("<"))


def place(page: Page, i: int) -> tuple[float, float]:
    """Where point ``i`` lies in the canvas."""
    x, y = 0.03 + 0.94 * unpacked(data_of(page)["place"]).reshape(-1, 2)[i] / 65535
    side = page.locator(".points").bounding_box()["width"] - 2  # type: ignore[index]
    return float(x * side + 1), float(y * side + 1)


def point(page: Page, i: int, click: bool = False) -> None:
    page.locator(".points").scroll_into_view_if_needed()
    box, (x, y) = page.locator(".points").bounding_box(), place(page, i)
    assert box is not None
    page.mouse.move(box["x"] + x, box["y"] + y)
    if click:
        page.mouse.down()
        page.mouse.up()


def lasso(page: Page, low: np.ndarray, high: np.ndarray) -> None:
    """Draw around a rectangle of the canvas."""
    box, steps = page.locator(".points").bounding_box(), np.linspace(0, 1, 5)[:, None]
    assert box is not None
    corners = np.array([low, (high[0], low[1]), high, (low[0], high[1]), low])
    for i, (a, b) in enumerate(pairwise(corners)):
        for x, y in a + (b - a) * steps:
            page.mouse.move(box["x"] + float(x), box["y"] + float(y))
            if not i:
                page.mouse.down()
    page.mouse.up()


def color(page: Page, i: int) -> list[int]:
    """What is drawn at point ``i``."""
    script = """([x, y]) => { const c = document.querySelector(".points"), s = c.width / c.clientWidth;
        const read = document.createElement("canvas").getContext("2d");
        read.drawImage(c, Math.round((x - 1) * s), Math.round((y - 1) * s), 1, 1, 0, 0, 1, 1);
        return [...read.getImageData(0, 0, 1, 1).data]; }"""
    return page.evaluate(script, place(page, i))[:3]


def listed(page: Page, column: int = 1) -> list[str]:
    return page.locator(f".chosen tbody tr > :nth-child({column})").all_inner_texts()


def count(page: Page) -> str:
    return page.locator(".chosen output").inner_text()


def downloaded(page: Page, click: Callable[[], None]) -> tuple[str, bytes]:
    with page.expect_download() as found:
        click()
    return found.value.suggested_filename, Path(found.value.path()).read_bytes()


def table_of(content: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(content.decode(), newline="")))


# --- the map ----------------------------------------------------------------------------------------------------------


def test_the_map_answers_the_pointer(pages: dict[str, Path], visit: Callable[..., Page]):  # noqa: F811
    page = visit(pages["texts"])
    assert page.locator(".tip").is_hidden()
    point(page, 0)
    words = page.locator(".tip").inner_text()
    assert re.search(r"text \d+ / <i>wet</i>", words)  # several lie at this place, a suspect or another
    assert re.search(r"(cat|dog), looks like (cat|dog), an ordinary model says (cat|dog), score \d\.\d\d", words)
    page.mouse.move(5, 5)
    assert page.locator(".tip").is_hidden()
    rows = visit(pages["table"])
    point(rows, 0)
    assert re.search(r"row \d+.*place (lake|wood) · zeros", rows.locator(".tip").inner_text(), re.DOTALL)
    seen = visit(pages["pictures"])
    point(seen, 0)
    assert (
        seen.locator(".tip canvas.tile").evaluate("tile => tile.getContext('2d').getImageData(9, 9, 1, 1).data[3]")
        == 255
    )


def test_colours_are_those_of_label_looks_attribute_correctness_and_suspicion(
    pages: dict[str, Path],
    visit: Callable[..., Page],  # noqa: F811
):
    page = visit(pages["pictures"])
    choice = page.get_by_role("combobox", name="colour by")
    modes = data_of(page)["modes"]
    expected = ["label", "what it looks like", "attribute", "correctness", "suspicion"]
    assert choice.locator("option").all_inner_texts() == expected == [mode["title"] for mode in modes]
    spots = unpacked(data_of(page)["place"]).reshape(-1, 2).astype(int)
    alone = int(np.abs(spots - 32768).sum(1).argmax())
    same = (spots == spots[alone]).all(1)
    for i, mode in enumerate(modes):
        choice.select_option(str(i))
        keys = page.locator(".keys button").all_inner_texts()
        groups = unpacked(mode["group"])
        assert [key.split("\n")[0] for key in keys] == mode["names"]
        assert [int(key.split("\n")[-1]) for key in keys] == np.bincount(groups).tolist()
        drawn = [[int(mode["colors"][g][j : j + 2], 16) for j in (1, 3, 5)] for g in set(groups[same])]
        assert min(np.abs(np.array(color(page, alone)) - rgb).max() for rgb in drawn) < 60


def test_a_key_a_lasso_and_words_filter_the_table(pages: dict[str, Path], visit: Callable[..., Page]):  # noqa: F811
    page = visit(pages["pictures"])
    assert count(page) == "60 samples" and len(listed(page)) == 15
    page.get_by_role("combobox", name="colour by").select_option("4")
    key = page.locator(".keys button", has_text="perhaps mislabelled")
    key.click()
    assert count(page) == "4 of 60 samples" and key.get_attribute("aria-pressed") == "true"
    assert set(listed(page, 8)) == {"perhaps mislabelled"}
    key.click()
    assert count(page) == "60 samples"
    page.get_by_role("button", name="Lasso").click()
    spots = np.array([place(page, i) for i in range(N)])
    left = spots[spots[:, 0].argmin()]
    beside = (left + np.array((20, -10)), left + np.array((80, 10)))  # to the right of all that is at this height
    for low, high in ((left - 14, left + 14), beside, (left - 8, spots.mean(0))):
        inside = int(((spots > low) & (spots < high)).all(1).sum())
        lasso(page, low, high)
        assert count(page) == f"{inside} of 60 samples"
    page.get_by_role("button", name="Show all").click()
    assert count(page) == "60 samples"
    page.get_by_role("searchbox", name="Filter: samples").fill("sofa 7.jpg")
    found = [f"{i}.jpg" for i in range(6, N) if "7.jpg" in f"{i}.jpg" and (LABEL[i] + 1) % 2]
    assert sorted(listed(page)) == sorted(found)


def test_the_table_sorts_and_turns_its_pages(pages: dict[str, Path], visit: Callable[..., Page]):  # noqa: F811
    page = visit(pages["table"])
    page.locator(".chosen thead button", has_text="age").click()
    column = page.locator(".chosen thead th").all_inner_texts().index("age") + 1
    assert listed(page, column) == [str(20 + i) for i in range(15)]
    for _ in range(3):
        page.get_by_role("button", name="Next →").click()
    assert listed(page, column) == [str(20 + i) for i in range(45, 60)]
    assert page.get_by_role("button", name="Next →").is_disabled()
    page.locator(".chosen thead button", has_text="age").click()
    assert listed(page, column)[0] == "79"
    assert page.evaluate("document.activeElement.textContent") == "age"
    name, content = downloaded(page, page.get_by_role("button", name="save these samples as CSV").click)
    rows = table_of(content)
    assert name == "samples.csv" and len(rows) == N + 1
    assert rows[0] == ["Row", "Sample", "Label", "Looks like", "Ordinary model", "Kept from the cue", "Score",
                       "Suspicion", "Answer", "place", "zeros", "age", "half"]  # fmt: skip
    assert rows[1][0] == "59" and rows[1][2] == ("dog" if LABEL[59] else "cat")


def test_keys_go_from_point_to_point(pages: dict[str, Path], visit: Callable[..., Page]):  # noqa: F811
    page = visit(pages["texts"])
    page.locator(".points").focus()
    page.keyboard.press("ArrowLeft")
    first = page.locator(".aloud").inner_text()
    assert first.startswith("text ") and page.locator(".tip").is_visible()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Enter")
    assert page.locator(".detail").is_visible()
    assert page.evaluate("document.activeElement.className") == "detail"
    assert page.locator(".points").get_attribute("aria-label").startswith("Map of 60 samples")  # type: ignore[union-attr]
    page.locator(".points").focus()
    page.keyboard.press("+")
    page.keyboard.press("Escape")
    assert page.locator(".tip").is_hidden()


def test_a_finger_opens_a_sample(pages: dict[str, Path], visit: Callable[..., Page]):  # noqa: F811
    page = visit(pages["bare"], PHONE, has_touch=True)
    page.locator(".points").scroll_into_view_if_needed()
    box, (x, y) = page.locator(".points").bounding_box(), place(page, 0)
    assert box is not None
    before = color(page, 0)
    page.touchscreen.tap(box["x"] + x, box["y"] + y)
    assert page.locator(".detail h4").inner_text()[:3] in ("cat", "dog")
    assert color(page, 0) == before
    assert page.locator(".points").evaluate("points => getComputedStyle(points).touchAction") == "pan-y pinch-zoom"


# --- one sample -------------------------------------------------------------------------------------------------------


def test_a_sample_opens_with_models_and_neighbours(pages: dict[str, Path], visit: Callable[..., Page]):  # noqa: F811
    page = visit(pages["table"])
    page.locator(".chosen .name").first.click()
    detail = page.locator(".detail")
    audit = table()
    row = int(listed(page)[0].split()[1])
    judged = audit.judged
    names = ("cat", "dog")
    for i, said in enumerate((judged.easy, judged.ordinary, judged.debiased)):
        line = detail.locator("tr").nth(i).inner_text().split("\t")
        assert line[1:] == [names[said[row].argmax()], f"{100 * said[row].max():.0f} %"]
    assert detail.locator("h4").inner_text().startswith(names[LABEL[row]])
    facts = detail.locator("dl").inner_text().split("\n")
    assert facts[facts.index("age") + 1] == str(20 + row)
    near = detail.locator(".near button").all_inner_texts()
    assert len(near) == 5
    distance = np.linalg.norm(judged.profile - judged.profile[row], axis=1)
    found = [int(text.split()[1]) for text in near]
    others = np.delete(distance, row)
    assert sorted(distance[found]) == pytest.approx(sorted(others)[:5], abs=1e-6)
    detail.locator(".near button").first.click()
    assert detail.locator("p.soft").first.inner_text().startswith(f"row {found[0]},")
    point(page, 3, click=True)
    assert detail.locator("p.soft").first.inner_text() != ""


def test_answers_are_what_annotate_reads(pages: dict[str, Path], visit: Callable[..., Page], tmp_path: Path):  # noqa: F811
    page = visit(pages["pictures"], accept_downloads=True)
    for i, value in enumerate(("lawn", "<sofa>", "cannot tell")):
        page.locator(".chosen .name").nth(i).click()
        page.locator(".marks").get_by_role("button", name=value, exact=True).click()
    page.locator(".chosen .name").nth(3).click()
    page.get_by_label("another value of attribute").fill('=a "b",c')
    page.keyboard.press("Enter")
    assert page.locator(".marks [aria-pressed=true]").inner_text() == '=a "b",c'
    page.locator(".chosen .name").nth(4).click()  # answered, and taken back
    for _ in range(2):
        page.locator(".marks").get_by_role("button", name="lawn").click()
    assert listed(page, 9)[:5] == ["lawn", "<sofa>", "cannot tell", '=a "b",c', ""]
    page.reload()
    assert listed(page, 9)[:5] == ["lawn", "<sofa>", "cannot tell", '=a "b",c', ""]
    page.locator(".chosen .name").first.click()
    name, content = downloaded(page, page.get_by_role("button", name="Save 4 answers (CSV)").click)
    assert name == "answers.csv"
    (tmp_path / name).write_bytes(content)
    found = read([tmp_path / name])
    data = pictures().view.data
    order = unpacked(data_of(page)["row"], np.uint32)[:4].tolist()
    assert {a.row: a.value for a in found} == dict(zip(order, ["lawn", "<sofa>", "?", '=a "b",c'], strict=True))
    assert all(answer.name and answer.label in ("cat", "dog") for answer in found)
    # names and labels are those by which the data is known again
    column = attach(data, found, ("lawn", "<sofa>", '=a "b",c'))
    assert [int(column[N - 1 - row]) for row in order] == [0, 1, -1, 2]
    assert [a.score for a in found] == pytest.approx([float(pictures().judged.score[N - 1 - row]) for row in
                                                      [a.row for a in found]], abs=1e-4)  # fmt: skip


# --- taken along ------------------------------------------------------------------------------------------------------


def test_tables_and_figures_are_saved(pages: dict[str, Path], visit: Callable[..., Page]):  # noqa: F811
    page = visit(pages["pictures"], scheme="dark", accept_downloads=True)
    name, content = downloaded(page, page.get_by_role("button", name="save the map as PNG").click)
    assert name == "map.png" and np.asarray(Image.open(io.BytesIO(content)))[..., 3].any()
    groups = page.locator(".saves", has=page.get_by_role("button", name="save this table as CSV")).last
    name, content = downloaded(page, groups.get_by_role("button").click)
    rows = table_of(content)
    assert name == "candidate-groups.csv" and rows[0] == ["Class", "Cluster", "Samples", "Suspected", "Looks like"]
    assert sum(int(row[2]) for row in rows[1:]) == N
    figure = page.locator("figure.learning")
    name, content = downloaded(page, figure.get_by_role("button", name="save this figure as SVG").click)
    assert name == "how-an-ordinary-model-learns.svg"
    assert ElementTree.fromstring(content).tag == "{http://www.w3.org/2000/svg}svg"
    name, content = downloaded(page, figure.get_by_role("button", name="save this figure as PNG").click)
    picture = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
    assert (picture[0, 0] == 255).all() and picture.min() < 90  # dark ink on white


def test_cells_are_no_formulas(pages: dict[str, Path], visit: Callable[..., Page]):  # noqa: F811
    page = visit(pages["pictures"], accept_downloads=True)
    content = downloaded(page, page.get_by_role("button", name="save these samples as CSV").click)[1]
    names = [row[1] for row in table_of(content)[1:]]
    assert "'=1+1.jpg" in names and 'a,"b"\n.jpg' in names


# --- as a page --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("viewport", [PHONE, DESK], ids=["phone", "desk"])
def test_it_fits(
    pages: dict[str, Path],
    visit: Callable[..., Page],  # noqa: F811
    kind: str,
    scheme: str,
    viewport: dict[str, int],
):
    page = visit(pages[kind], viewport, scheme)
    page.locator(".chosen .name").first.click()
    page.locator("nav summary").click(force=True)
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    inside = "!e.closest('.scroll, .aloud') && e.getBoundingClientRect().right > innerWidth + 1"
    assert page.evaluate(f"[...document.querySelectorAll('body *')].filter(e => {inside}).map(e => e.outerHTML)") == []
    small = "[...document.querySelectorAll('.marks button')].filter(e => e.getBoundingClientRect().height < 36).length"
    assert page.evaluate(small) == 0
    unnamed = "button, select, input, canvas:not([role=presentation]):not(.key)"
    for part in page.locator(f".explorer :is({unnamed})").all():
        assert part.get_attribute("aria-label") or part.inner_text().strip()


@pytest.mark.parametrize("viewport", [PHONE, DESK], ids=["phone", "desk"])
def test_contents_stay(pages: dict[str, Path], visit: Callable[..., Page], viewport: dict[str, int]):  # noqa: F811
    page = visit(pages["pictures"], viewport)
    nav = page.get_by_role("navigation", name="contents")
    if viewport is PHONE:
        nav.locator("summary").click()
    nav.get_by_role("link", name="Candidate groups").click()
    head = page.get_by_role("heading", name="Candidate groups").bounding_box()
    assert head is not None and -1 < head["y"] < viewport["height"] / 2
    box = nav.locator("summary").bounding_box()
    assert box is not None and 0 <= box["y"] < 60  # still there
    assert nav.get_by_role("link").first.is_visible() == (viewport is DESK)  # on a phone folded again
    links = nav.get_by_role("link", include_hidden=True)
    targets = links.evaluate_all("links => links.map(a => a.getAttribute('href'))")
    assert len(targets) >= 5 and all(page.locator(target).count() == 1 for target in targets)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_ink_stands_out(pages: dict[str, Path], visit: Callable[..., Page], scheme: str):  # noqa: F811
    page = visit(pages["table"], DESK, scheme)
    assert page.evaluate(CONTRAST) == []
    page.locator(".chosen .name").first.click()
    page.locator(".marks").get_by_role("button", name="cannot tell").click()
    point(page, 3)
    assert page.evaluate(CONTRAST) == []


def test_names_from_an_enemy_stay_text(visit: Callable[..., Page], tmp_path: Path):  # noqa: F811
    audit = texts()
    info = dataclasses.replace(audit.view.data.info, class_names=tuple(HOSTILE[:2]))
    assert audit.view.source is not None
    rows = audit.view.source.rows.assign(a=HOSTILE[2], b=HOSTILE[3])
    source = dataclasses.replace(audit.view.source, rows=rows)
    data = dataclasses.replace(audit.view.data, info=info, source=source)
    write_audit(dataclasses.replace(audit, view=dataclasses.replace(audit.view, data=data, source=source)), tmp_path)
    page = visit(write([tmp_path], tmp_path / "page.html"))
    page.locator(".chosen .name").first.click()
    page.get_by_label("another value of attribute").fill(HOSTILE[1])
    page.get_by_role("button", name="Add").click()
    point(page, 0)
    page.wait_for_timeout(200)
    assert page.evaluate("window.harmed") is None
    assert page.locator("[onerror], [onload], [onmouseover], img:not([src^='data:image/'])").count() == 0
    shown = " ".join(page.locator(".detail").inner_text().split())
    for name in (*HOSTILE[:3], "{{ 7 * 7 }}"):
        assert name in shown
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0


def test_zoom_shows_pictures_and_brings_the_opened_into_view(
    pages: dict[str, Path],
    visit: Callable[..., Page],  # noqa: F811
):
    page = visit(pages["pictures"])
    page.locator(".chosen .name").first.click()
    page.mouse.move(5, 5)
    before = color(page, 0)
    for _ in range(4):
        page.get_by_role("button", name="zoom in").click()
    # the point stays where it is, and its picture covers what lay around it
    assert color(page, 0) != before
    page.get_by_role("button", name="Show all").click()
    assert color(page, 0) == before


def test_without_scripts_it_is_a_document(pages: dict[str, Path], visit: Callable[..., Page]):  # noqa: F811
    page = visit(pages["pictures"], java_script_enabled=False)
    assert page.locator(".maps svg[role=img]").first.is_visible()
    assert page.get_by_role("button").count() == page.locator(".points").count() == 0
    assert page.get_by_role("navigation", name="contents").get_by_role("link").first.is_visible()
    with_ = visit(pages["pictures"])
    assert not with_.locator(".maps").is_visible()
    with_.emulate_media(media="print")
    assert with_.locator(".maps").is_visible() and not with_.locator(".explore").is_visible()


def test_the_first_screen(pages: dict[str, Path], visit: Callable[..., Page]):  # noqa: F811
    page = visit(pages["pictures"])
    for part in (".lead", ".next", ".hero"):
        box = page.locator(part).first.bounding_box()
        assert box is not None and box["y"] + box["height"] <= DESK["height"]
