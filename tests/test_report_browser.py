"""The page in a real browser: it opens without a complaint, its tables work, and it fits a phone and a printer."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from test_report import BETTER, BIASED, cell_of, make_run, pictures, plan_of, predictions_of, with_negatives
from test_report_audit import finding_of, make_audit, record_of, sample_of

from longcut.report import write

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
QUIET += ["--disable-sync", "--no-first-run"]
HOSTILE = [
    "<script>window.harmed = 1</script>",
    '"><img src=x onerror="window.harmed = 2">',
    "</title></style></svg><b onmouseover=harmed>",
    "\u202egnp.\u05d0\u05d1\u05d2\nnew line {{ 7 * 7 }} ' onload='x",
    "a-very-long-name-without-a-break/" * 8,
    "and_one_that_no_hyphen_parts" * 8,
]
PHONE, DESK = {"width": 390, "height": 844}, {"width": 1280, "height": 900}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, headless=True, args=QUIET)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A page of each kind by name."""
    root = tmp_path_factory.mktemp("pages")
    table = [{"cue": f"cue {i}", "accuracy": round(0.5 + (i * 7 % 10) / 100, 2)} for i in range(10)]
    for kind in ("image", "tokens", "table"):
        make_audit(root / kind, kind, findings=[finding_of(table=table), finding_of(statistic=None)])
    for seed in range(2):
        for method, values in (("erm", BIASED), ("selecmix", BETTER)):
            cells = [cell_of(i // 4, i % 4, (seed + i * (3 if method == "erm" else 5) % 12) / 13) for i in range(12)]
            predictions = predictions_of([0, 1, 1], [0, 0, 1], [0, 1, 0])
            plan = plan_of(method, seed)
            folder = root / "compare" / f"{method}{seed}"
            make_run(folder, plan, values, gallery=with_negatives(pictures()), groups=cells, predictions=predictions)
    _hostile(root / "hostile")
    # pytest keeps long names for its folders; a page must not depend on where it lies
    return {name: write([root / name], root / f"{name}.html") for name in os.listdir(root)}


def _hostile(root: Path) -> None:
    """Audits of each kind and a run in which every name comes from an enemy."""
    names = HOSTILE[:2]
    for kind in ("image", "tokens", "table"):
        shown: dict[str, Any] = {"picture": 0} if kind == "image" else {}
        if kind == "tokens":
            shown = {"text": " and ".join(HOSTILE), "marks": ["<script>", "img"]}
        elif kind == "table":
            shown = {"cells": [{"column": name, "value": name, "odd": True} for name in HOSTILE]}
        suspects = [
            sample_of(i, names[0], names[1], "conflicting", **{"name": name, "attribute": name, **shown})
            for i, name in enumerate(HOSTILE)
        ]
        record = record_of(kind) | {"data": HOSTILE[3], "classes": names, "pairs": [{"suspect": suspects[0]}]}
        record |= {"gallery": {"suspects": suspects, "typical": suspects}, "headline": HOSTILE[0]}
        record |= {"findings": [finding_of(question=text, table=[{text: text}]) for text in HOSTILE]}
        record["slices"] = [{"slice": name, "samples": suspects} for name in HOSTILE]
        make_audit(root / kind, **record)
    plan = plan_of("mine", label=HOSTILE[4], data=HOSTILE[2], options={HOSTILE[0]: HOSTILE[1]})
    make_run(
        root / "run",
        plan,
        BIASED,
        gallery=with_negatives(pictures()),
        classes=HOSTILE[:2],
        attributes=HOSTILE[2:4],
        called=HOSTILE[5],
    )


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Opens a page, and afterwards nothing may have complained or asked the network for anything."""
    complaints: list[str] = []
    opened = []

    def request(asked: Any) -> None:
        if not asked.url.startswith(("file:", "data:")):
            complaints.append(asked.url)

    def visit(path: Path, viewport: dict[str, int] = DESK, scheme: str = "light", **options: Any) -> Page:
        context = browser.new_context(viewport=viewport, color_scheme=scheme, **options)  # type: ignore[arg-type]
        opened.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", request)
        page.goto(path.as_uri())
        return page

    yield visit
    for context in opened:
        context.close()
    assert complaints == []


KINDS = ["image", "tokens", "table", "compare", "hostile"]
SCHEMES = {"light": "rgb(252, 252, 250)", "dark": "rgb(20, 23, 26)"}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("viewport", [PHONE, DESK], ids=["phone", "desk"])
def test_it_opens_and_fits(
    files: dict[str, Path], visit: Callable[..., Page], kind: str, scheme: str, viewport: dict[str, int]
):
    page = visit(files[kind], viewport, scheme)
    page.evaluate("document.querySelectorAll('details').forEach(part => part.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0
    assert page.evaluate("[...document.images].filter(image => !image.naturalWidth).length") == 0
    empty = "[...document.querySelectorAll('svg')].filter(svg => !svg.getBoundingClientRect().height).length"
    assert page.evaluate(empty) == 0
    assert page.evaluate("getComputedStyle(document.documentElement).backgroundColor") == SCHEMES[scheme]
    # nothing sticks out of the page to the right, but inside of what scrolls
    inside = "!e.closest('.scroll') && e.getBoundingClientRect().right > innerWidth + 1"
    assert page.evaluate(f"[...document.querySelectorAll('main *')].filter(e => {inside}).map(e => e.outerHTML)") == []


# whatever is written with a contrast below 4.5 (WCAG AA)
CONTRAST = """() => {
  const parse = text => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
    .map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const ground = element => {
    for (let e = element; e; e = e.parentElement) {
      const color = getComputedStyle(e).backgroundColor;
      if (color.startsWith("rgb") && (parse(color)[3] ?? 1) === 1) return parse(color);
    }
  };
  const texts = [...document.querySelectorAll("main *:not(svg *)")]
    .filter(e => [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim()))
    .filter(e => !e.closest(".confusion"));
  return texts.map(e => [e, ...[parse(getComputedStyle(e).color), ground(e)].map(light).sort((a, b) => b - a)])
    .filter(([e, high, low]) => (high + .05) / (low + .05) < 4.5).map(([e]) => e.outerHTML);
}"""


def test_ink_stands_out_from_its_ground(files: dict[str, Path], visit: Callable[..., Page]):
    """A contrast of 4.5 (WCAG AA) for whatever is written, in both schemes."""
    for kind in KINDS[:4]:
        for scheme in SCHEMES:
            assert visit(files[kind], DESK, scheme).evaluate(CONTRAST) == []


def first_column(page: Page, table: str, column: int = 1) -> list[str]:
    return page.locator(f"{table} tbody tr:not(.heading):visible > :nth-child({column})").all_inner_texts()


def test_tables_sort_by_click(files: dict[str, Path], visit: Callable[..., Page]):
    page = visit(files["compare"])
    assert first_column(page, "table.methods") == ["ERM", "SelecMix"]
    head = page.locator("table.methods th", has_text="Average").first
    assert head.get_attribute("aria-sort") is None
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    assert first_column(page, "table.methods") == ["SelecMix", "ERM"]
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    assert first_column(page, "table.methods") == ["ERM", "SelecMix"]
    page.locator("table.methods th").first.get_by_role("button").click()
    assert head.get_attribute("aria-sort") is None
    page.locator("table.methods th").first.get_by_role("button").click()
    assert first_column(page, "table.methods") == ["SelecMix", "ERM"]


def test_tables_sort_by_keyboard(files: dict[str, Path], visit: Callable[..., Page]):
    page = visit(files["compare"])
    page.locator("table.groups thead button").last.focus()
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    page.keyboard.press("Enter")
    shown = [float(text.split()[0].lstrip("▼")) for text in first_column(page, "table.groups", 6)]
    assert shown == sorted(shown, reverse=True)
    page.keyboard.press("Space")
    shown = [float(text.split()[0].lstrip("▼")) for text in first_column(page, "table.groups", 6)]
    assert shown == sorted(shown)
    page.keyboard.press("Shift+Tab")
    assert page.evaluate("document.activeElement.textContent") == "ERM"
    assert outline != "none"  # one sees where the keyboard is


def test_numbers_are_not_sorted_as_words(files: dict[str, Path], visit: Callable[..., Page]):
    page = visit(files["tokens"])
    page.locator(".finding summary").first.click()
    page.locator(".finding th", has_text="accuracy").get_by_role("button").click()
    shown = [float(text) for text in first_column(page, ".finding table", 2)]
    assert shown == sorted(shown, reverse=True)
    assert shown[0] == 0.59


def test_parts_of_a_table_are_sorted_each(files: dict[str, Path], visit: Callable[..., Page]):
    page = visit(files["table"])
    page.locator("table.rows th", has_text="Score").get_by_role("button").click(click_count=2)
    first, second = (page.locator("table.rows tbody").nth(i) for i in range(2))
    assert first.locator("tr").first.inner_text() == "Suspected"
    assert second.locator("tr").first.inner_text() == "Typical"
    assert first.locator("tr").nth(1).inner_text().startswith("birds/4.jpg")


def test_long_tables_can_be_filtered(files: dict[str, Path], visit: Callable[..., Page]):
    page = visit(files["compare"])
    assert page.get_by_role("searchbox").count() == 1  # twelve groups; two methods are few
    box = page.get_by_role("searchbox", name="Filter: groups")
    box.fill("CAT red")
    assert first_column(page, "table.groups") == ["cat"]
    assert page.locator("output").inner_text() == "1 of 12 rows"
    box.fill("")
    assert len(first_column(page, "table.groups")) == 12
    assert page.locator("output").inner_text() == "12 rows"
    rows = visit(files["table"])
    rows.get_by_role("searchbox", name="Filter: suspected samples").fill("birds/4")
    assert first_column(rows, "table.rows") == ["birds/4.jpg\nperhaps mislabelled"]


def test_names_from_an_enemy_stay_text(files: dict[str, Path], visit: Callable[..., Page]):
    page = visit(files["hostile"])
    page.locator("summary").evaluate_all("parts => parts.forEach(part => part.parentElement.open = true)")
    page.wait_for_timeout(200)  # for an image that fails to load
    assert page.evaluate("window.harmed") is None
    assert page.locator("script").count() == 1
    assert page.locator("[onerror], [onload], [onmouseover], img:not([src^='data:image/'])").count() == 0
    text = page.inner_text("body")
    for name in HOSTILE:
        assert " ".join(name.split()) in " ".join(text.split())
    assert "{{ 7 * 7 }}" in text
    # right-to-left letters turn nothing but themselves around
    assert page.locator("h1").evaluate("e => getComputedStyle(e).unicodeBidi") in ("isolate", "plaintext")
    page.locator("table.data").first.locator("thead button").first.click()


def test_the_policy_lets_no_other_script_run(files: dict[str, Path], browser: Browser, tmp_path: Path):
    source = files["image"].read_text("utf-8").replace("</main>", "<script>window.harmed = 1</script></main>")
    (tmp_path / "page.html").write_text(source, "utf-8")
    page = browser.new_page()
    page.goto((tmp_path / "page.html").as_uri())
    assert page.evaluate("window.harmed") is None
    page.close()


@pytest.mark.parametrize("kind", KINDS)
def test_it_can_be_read_without_a_script(files: dict[str, Path], visit: Callable[..., Page], kind: str):
    page = visit(files[kind], java_script_enabled=False)
    assert page.locator("h2").first.is_visible()
    assert page.get_by_role("button").count() == page.get_by_role("searchbox").count() == 0
    assert all(page.locator("tbody tr").nth(i).text_content() for i in range(page.locator("tbody tr").count()))


@pytest.mark.parametrize("kind", KINDS)
def test_it_prints(files: dict[str, Path], visit: Callable[..., Page], kind: str):
    page = visit(files[kind], scheme="dark")
    printed = page.pdf(format="A4")
    assert printed.startswith(b"%PDF")
    assert 2 <= printed.count(b"/Type /Page\n") + printed.count(b"/Type /Page ") <= 60
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.documentElement).backgroundColor") == "rgb(255, 255, 255)"
    assert page.locator(".filter:visible").count() == 0
    assert page.locator(".exhibit, .pair").count() == 0 or page.locator(".exhibit, .pair").first.evaluate(
        "e => getComputedStyle(e).breakInside"
    ).startswith("avoid")


def test_every_part_has_a_name(files: dict[str, Path], visit: Callable[..., Page]):
    for kind in KINDS[:4]:
        page = visit(files[kind])
        unnamed = "svg[role=img]:not([aria-label]), img:not([alt]), [role=region]:not([aria-label])"
        assert page.locator(unnamed).count() == 0
        heads = page.evaluate("[...document.querySelectorAll('h1,h2,h3,h4')].map(h => Number(h.tagName[1]))")
        assert heads[0] == 1
        assert all(b - a <= 1 for a, b in pairwise(heads)), json.dumps(heads)
