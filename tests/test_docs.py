"""What the README and the docs say is what the code does: blocks run, commands parse, generated parts are fresh."""

from __future__ import annotations

import importlib
import json
import pkgutil
import re
import runpy
import shlex
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from test_imports import HEAVY
from typer.testing import CliRunner

import longcut
from longcut.cli import app
from longcut.datasets import ARRAYS, TABLES
from longcut.sources.addresses import is_address, is_pattern

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
REFERENCE = runpy.run_path(str(ROOT / "docs" / "make_reference.py"))
OTHERS = {"loops.md": ("transformers", "accelerate", "lightning", "skorch")}  # packages that a page is about
BLOCK = re.compile(r"(?m)(?P<skip><!-- skip: .+ -->\n)?^```(?P<language>python|bash)\n(?P<code>(?s:.*?))^```$")


class Block(NamedTuple):
    line: int
    code: str


def blocks_of(text: str, language: str = "python") -> list[Block]:
    """The blocks of a page in one language, without those right below ``<!-- skip: why -->``."""
    found = [match for match in BLOCK.finditer(text) if match["language"] == language and not match["skip"]]
    return [Block(text.count("\n", 0, match.start("code")), match["code"]) for match in found]


def words_of(start: str) -> list[list[str]]:
    """The words after ``start`` of each line of a shell block that begins with it, each once."""
    blocks = [block for page in PAGES for block in blocks_of(page.read_text("utf-8"), "bash")]
    lines = (shlex.split(line, comments=True) for block in blocks for line in block.code.splitlines())
    return [list(words) for words in dict.fromkeys(tuple(line[1:]) for line in lines if line[:1] == [start])]


# --- blocks -----------------------------------------------------------------------------------------------------------


def test_blocks_are_found_with_their_line():
    text = "# Page\n\n```python\na = 1\n```\n\n```bash\nb\n```\n\n<!-- skip: an hour -->\n```python\nc = 1\n```\n"
    assert blocks_of(text) == [Block(3, "a = 1\n")]
    assert blocks_of(text, "bash") == [Block(7, "b\n")]


def test_a_block_without_a_reason_to_skip_is_not_skipped():
    assert blocks_of("<!-- skip -->\n```python\na = 1\n```\n") == [Block(2, "a = 1\n")]
    assert blocks_of("<!-- skip: -->\n\n```python\na = 1\n```\n") == [Block(3, "a = 1\n")]


@pytest.mark.parametrize(
    "page", [page for page in PAGES if blocks_of(page.read_text("utf-8"))], ids=lambda page: page.name
)
def test_python_blocks_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """In their order, in one namespace per page, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    for package in OTHERS.get(page.name, ()):
        pytest.importorskip(package, reason=f"{page.name} shows {package}, which is not installed")
    namespace = {"__name__": "__main__"}
    with warnings.catch_warnings():
        if page.name in OTHERS:  # what other packages warn of among themselves
            warnings.simplefilter("ignore")
        for block in blocks_of(page.read_text("utf-8")):
            exec(compile("\n" * block.line + block.code, page, "exec", dont_inherit=True), namespace)


def test_the_loop_in_the_readme_needs_torch_alone():
    (loop,) = (b.code for b in blocks_of((ROOT / "README.md").read_text("utf-8")) if "optimizer.step()" in b.code)
    code = f"{loop}\nimport json, sys; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {name.split(".")[0] for name in json.loads(done.stdout)} & HEAVY


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.py")), ids=lambda path: path.name)
def test_examples_run(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    import torch

    state = torch.get_rng_state()
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(path), run_name="__main__")
    torch.set_rng_state(state)
    assert capsys.readouterr().out


# --- commands ---------------------------------------------------------------------------------------------------------


OWN = {**dict.fromkeys(TABLES, "table"), **dict.fromkeys(ARRAYS, "arrays")}


class Understood(Exception):
    """A command got as far as its work."""


def understood(*_: Any, **__: Any) -> None:
    raise Understood


@pytest.fixture(scope="module")
def all_imported() -> None:
    """Lest a module that is imported while something stands in for another's function keeps that."""
    for module in pkgutil.walk_packages(longcut.__path__, "longcut."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)


def kind_of(path: Path, typed: str) -> str:
    """What reads a path that need not be there."""
    return "shards" if is_address(typed) or is_pattern(typed) else OWN.get(path.suffix, "folder")


@pytest.mark.usefixtures("all_imported")
@pytest.mark.parametrize("words", words_of("longcut"), ids=shlex.join)
def test_commands_exist_with_these_options_methods_and_data(
    words: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """Each is run up to where it would train, read or write; files it names need not be there, but those it loads."""
    monkeypatch.chdir(tmp_path)
    if "--load" in words:
        exec(blocks_of((ROOT / "docs" / "extend.md").read_text("utf-8"))[0].code, {})
    monkeypatch.setattr("longcut.datasets._kind", kind_of)
    works = ("execute.execute", "compare.compare", "compare.seeds_of", "papers.run", "runs.read", "report.write")
    works += ("papers.known_in", "datasets.load", "annotate.annotate", "audit.folder.read", "runs.find")
    for work in works:
        monkeypatch.setattr(f"longcut.{work}", understood)
    asked = ("find", "of_one_method", "require_run", "require_either", "require_report")
    for check in (*(f"folders.{name}" for name in asked), "cli.early.audits", "cli.judge.require_there"):
        monkeypatch.setattr(f"longcut.{check}", lambda *_: None)
    result = CliRunner().invoke(app, words)
    assert isinstance(result.exception, Understood) or result.exit_code == 0, result.output


@pytest.mark.usefixtures("all_imported")
def test_a_command_that_does_not_exist_would_be_noticed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("longcut.execute.execute", understood)
    for wrong in ("teach colored-digits", "train colored-digits --sed 3", "train colored-digits --method erm:q=1"):
        assert CliRunner().invoke(app, wrong.split()).exit_code == 2


def test_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text("utf-8")
    named = {words[0] for words in words_of("make")}
    assert {"demo", "test"} <= named
    assert all(re.search(rf"(?m)^{target}:", makefile) for target in named)


# --- generated parts --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", REFERENCE["pages"](), ids=lambda page: page.name)
def test_generated_parts_are_fresh(page: Path):
    text = page.read_text("utf-8")
    assert REFERENCE["refreshed"](text) == text, "run python docs/make_reference.py"


def parts(page: str) -> list[str]:
    return [found["part"] for found in REFERENCE["GENERATED"].finditer((ROOT / "docs" / page).read_text("utf-8"))]


def test_pages_have_all_that_is_registered():
    pages = [page.read_text("utf-8") for page in REFERENCE["pages"]()]
    for every in REFERENCE["EVERY"]:
        assert sum(f"\n<!-- every: {every} -->\n" in page for page in pages) == 1


@pytest.mark.parametrize(
    ("every", "heading", "said"),
    [
        ("method", "## lff", "| `decay` | `0.7` | a number at least 0 and below 1 |"),
        ("net", "### conv", "Four convolutions"),
        ("data", "### colored-digits", "| `ratio` | `0.05` | a number from 0 to 0.9 |"),
        ("help", "## report", "Usage: longcut report [OPTIONS]"),
    ],
)
def test_what_is_new_appears_by_itself(every: str, heading: str, said: str):
    refreshed = REFERENCE["refreshed"]
    page = refreshed(f"# Page\n\n<!-- every: {every} -->\n\nThe end.\n")
    assert said in page[page.index(f"\n{heading}\n") :]
    assert page.endswith(f"<!-- end -->\n\n<!-- every: {every} -->\n\nThe end.\n")
    assert refreshed(page) == page
    begun = refreshed(f"# Page\n\n{heading}\n\nWhat we say of it.\n\n<!-- every: {every} -->\n")
    assert begun.count(f"\n{heading}\n") == 1
    assert begun.index(heading) < begun.index(said) < begun.index("What we say of it.")


def test_prose_stays_where_it_is():
    page = REFERENCE["refreshed"]("# Page\n\n<!-- every: method -->\n")
    moved = page.replace("## lff\n", "## lff\n\nWhat we say of it.\n")
    assert REFERENCE["refreshed"](moved) == moved


def test_each_difference_from_the_paper_has_its_reason():
    page = (ROOT / "docs" / "methods.md").read_text("utf-8")
    (differs,) = (p for p in parts("methods.md") if p.startswith("difference"))
    reasons = page[page.index("The reasons, one by one") : page.index("### Where the paper and its released code")]
    settings = re.findall(r"(?m)^\| `(\w+)`", REFERENCE["made"](differs))
    assert settings
    assert [name for name in settings if f"`{name}`" not in reasons] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pictures_are_there_and_small(page: Path):
    for picture in re.findall(r"!\[.+?\]\((.+?)\)", page.read_text("utf-8")):
        assert 0 < (page.parent / picture).stat().st_size < 200_000
