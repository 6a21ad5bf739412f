"""Every Python block of the README, the contributing guide and the docs runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"(?m)(?P<skip><!-- skip: .+ -->\n)?^```python\n(?P<code>(?s:.*?))^```$")


class Block(NamedTuple):
    line: int
    code: str


def blocks_of(text: str) -> list[Block]:
    """The Python blocks of a page, without those right below ``<!-- skip: why -->``."""
    found = [match for match in BLOCK.finditer(text) if not match["skip"]]
    return [Block(text.count("\n", 0, match.start("code")), match["code"]) for match in found]


def test_blocks_are_found_with_their_line():
    text = "# Page\n\n```python\na = 1\n```\n\n```bash\nb\n```\n\n<!-- skip: an hour -->\n```python\nc = 1\n```\n"
    assert blocks_of(text) == [Block(3, "a = 1\n")]


def test_a_block_without_a_reason_to_skip_is_not_skipped():
    assert blocks_of("<!-- skip -->\n```python\na = 1\n```\n") == [Block(2, "a = 1\n")]
    assert blocks_of("<!-- skip: -->\n\n```python\na = 1\n```\n") == [Block(3, "a = 1\n")]


@pytest.mark.parametrize(
    "page", [page for page in PAGES if blocks_of(page.read_text("utf-8"))], ids=lambda page: page.name
)
def test_python_blocks_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """In their order, in one namespace per page, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "__main__"}
    for block in blocks_of(page.read_text("utf-8")):
        exec(compile("\n" * block.line + block.code, page, "exec", dont_inherit=True), namespace)
