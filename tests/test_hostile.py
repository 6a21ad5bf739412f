"""Names that people did not choose: markup, escape codes, formulas, HTML, paths and line breaks stay text."""

from __future__ import annotations

import csv
import io
import json
import random
import re
import shlex
from pathlib import Path

import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

from longcut.audit import audit, folder
from longcut.cli import app, show
from longcut.data import Dataset, Splits
from longcut.files import escaped, plain, write_csv
from longcut.report import write

RED = "\x1b[31mred\x07"
NAMES = ("[/]", f"=1+1{RED}", "<script>alert(1)</script>", "../../up\nlongcut: all is well")


def call(*words: object) -> str:
    """What a command prints, to both streams."""
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def table(tmp_path, monkeypatch) -> str:
    """A table whose labels, attribute values, columns and file are named like this."""
    monkeypatch.chdir(tmp_path)
    draw = random.Random(0)
    name = "[bold]t[red] $(touch pwned).csv"
    with Path(name).open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["[/red]", "=2+2", "a<b>", "y", "[place]"])
        for i in range(160):
            k, other = i % 4, draw.random() < 0.1
            x = (k + draw.gauss(0, 0.4), draw.gauss(0, 1), draw.gauss(0, 1))
            rows.writerow([*x, NAMES[k], NAMES[(k + other) % 4]])
    return name


def cells(file: Path) -> list[list[str]]:
    return list(csv.reader(io.StringIO(file.read_bytes().decode(), newline="")))


def steers(text: str) -> bool:
    """Whether a terminal would obey it."""
    return re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f]", text) is not None


def test_names_stay_text_from_training_to_the_page(table):
    said = call("compare", table, "--label", "y", "--attribute", "[place]", "--methods", "erm,mixup", "--seeds", 1,
                "--epochs", 1, "--net", "mlp:hidden=4", "--out", "r")  # fmt: skip
    said += call("difference", "r/erm-s0", "r/mixup-s0") + call("evaluate", "r/erm-s0")
    said += call("predict", "r/erm-s0", table, "-o", "p.csv") + call("report", "r", "-o", "page.html")
    assert not steers(said)
    assert "\nlongcut: all is well" not in said
    assert {path.name for path in Path("r").iterdir()} >= {"erm-s0", "mixup-s0"}
    assert not Path("pwned").exists() and not list(Path().rglob("up*"))
    page = Path("page.html").read_text("utf-8")
    assert "<script>alert" not in page and "<b>" not in page.partition("a&lt;b&gt;")[2][:20]
    found = [cell for row in cells(Path("p.csv")) for cell in row]
    assert [cell for cell in found if cell.startswith("'=1+1")] and not [cell for cell in found if cell.startswith("=")]


def test_markup_in_a_label_of_a_run_is_no_markup():
    shown = show.table("method", "[/]")
    shown.add_row("selecmix[/bold]", f":smile: {RED}")
    runner = CliRunner()

    @app.command("print-it-for-a-test")
    def print_it() -> None:
        show.show(shown)

    said = runner.invoke(app, ["print-it-for-a-test"]).output
    app.registered_commands.pop()
    assert "selecmix[/bold]" in said and ":smile: \\u001b[31mred\\u0007" in said and "[/]" in said


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("a\x1b]0;title\x07", "a\\u001b]0;title\\u0007"),
        ("left\u202eright", "left\\u202eright"),
        ("half\udc80", "half\\udc80"),
        ("\x9b31m", "\\u009b31m"),
        ("Ünïcode 漢字 \U0001f468\u200d\U0001f469", "Ünïcode 漢字 \U0001f468\u200d\U0001f469"),
    ],
)
def test_control_characters_are_shown_by_their_numbers(given, shown, capsys):
    assert show.visible(given) == shown
    show.print_json({"name": given})
    assert json.loads(capsys.readouterr().out) == {"name": given}


def test_a_message_is_one_line(tmp_path):
    result = CliRunner().invoke(app, ["train", str(tmp_path / f"no\nlongcut: done{RED}.csv"), "--label", "y"])
    assert result.exit_code == 2
    (line,) = result.output.splitlines()
    assert line.startswith("longcut: ") and "no\\nlongcut: done\\u001b[31mred" in line and not steers(line)


@pytest.mark.parametrize(
    "cell", ["=1+1", "+cmd", "-2+3", "@sum", "\t=1", "\r=1", "\n=1", "＝1", "＋1+1", "－1-1", "＠a"]
)
def test_no_cell_is_a_formula(cell, tmp_path):
    assert escaped(cell) == f"'{cell}" and plain(escaped(cell)) == cell
    frame = pd.DataFrame({cell: [1.5, -2.0], "name": [cell, "-3"], "kind": pd.Categorical([cell, "b"])})
    write_csv(frame, tmp_path / "f.csv")
    head, first, second = cells(tmp_path / "f.csv")
    assert (head, first, second) == ([f"'{cell}", "name", "kind"], ["1.5", f"'{cell}", f"'{cell}"], ["-2.0", "-3", "b"])
    assert frame["name"][0] == cell, "what was given is left as it was"


@pytest.mark.slow
def test_suspects_and_the_page_of_an_audit(tmp_path):
    draw = torch.Generator().manual_seed(0)
    label = torch.arange(200) % 2
    seen = torch.where(torch.rand(200, generator=draw) < 0.1, 1 - label, label)
    x = torch.randn(200, 3, generator=draw)
    x[:, 0] += 6 * seen
    data = Dataset.of(x, label, class_names=(f"=1+1{RED}", "<img src=x>"), name="[/]")
    found = audit(Splits(data, None, data), net="mlp:hidden=8")
    folder.write(found, tmp_path / "a", data="toy", command="longcut audit toy")
    head, *rows = cells(tmp_path / "a" / "suspects.csv")
    labels = {row[head.index("label")] for row in rows}
    assert labels and labels <= {f"'=1+1{RED}", "<img src=x>"}
    page = write([tmp_path / "a"], tmp_path / "page.html").read_text("utf-8")
    assert "<img src=x>" not in page


def test_the_advised_command_is_the_real_one(table, monkeypatch):
    """Path and flags as they were typed, and nothing behind it: copied, it runs."""
    said = call("audit", table, "--label", "y", "--attribute", "[place]", "--seed", "0", "--out", "a")
    command = next(line for line in said.splitlines() if "longcut compare" in line)
    words = shlex.split(command[command.index("longcut compare") :])
    assert words[:7] == ["longcut", "compare", table, "--label", "y", "--attribute", "[place]"]
    assert words[7] == "--methods" and not words[8].endswith(".")
    assert "DATA" not in said
    call(*words[1:], "--seeds", 1, "--epochs", 1, "--net", "mlp:hidden=4", "--out", "r")
    record = json.loads(Path("a/audit.json").read_text("utf-8"))
    assert shlex.join(words) in record["advice"] or "longcut compare" not in record["advice"]
