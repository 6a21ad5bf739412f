"""Model cards: what the hub's own reader finds in them, and that nothing from data is markup."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from blobs import small_data  # noqa: F401
from typer.testing import CliRunner

from longcut import runs
from longcut.card import card, write_card
from longcut.cli import app
from longcut.errors import UserError
from longcut.execute import execute
from longcut.plans import plan

pytestmark = pytest.mark.usefixtures("small_data")


def about(content: str) -> dict[str, Any]:
    return yaml.safe_load(content.split("---\n")[1])


def table(content: str, heading: str) -> list[list[str]]:
    """The cells of the rows below a heading."""
    section = content.split(f"## {heading}\n")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows]


def test_a_card_says_scores_groups_and_limits(tmp_path: Path):
    record = execute(plan("blobs", "lff:q=0.5", select="oracle"), tmp_path / "run")
    content = card(runs.read(tmp_path / "run"))
    values, groups = record.scores.test.values, record.scores.test.groups
    (model,) = about(content)["model-index"]
    scored = {one["name"]: one["value"] for one in model["results"][0]["metrics"]}
    assert scored == {
        "Average accuracy": pytest.approx(values["average"], abs=1e-6),
        "Worst group accuracy": pytest.approx(values["worst_group"], abs=1e-6),
    }
    assert table(content, "Scores")[0][:2] == ["test", f"{100 * values['average']:.1f}"]
    assert [row[2:4] for row in table(content, "Groups")] == [
        [str(group.n), f"{100 * group.value:.1f}"] for group in groups
    ]
    for sentence in (
        "The epoch was chosen on the test set",
        "4 of 4 groups have fewer than 30",
        "q=0.5",
        "One run with",
    ):
        assert sentence in content


def test_the_hub_reads_it(tmp_path: Path):
    hub = pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed")
    record = execute(plan("blobs"), tmp_path / "run")
    found = hub.ModelCard(card(runs.read(tmp_path / "run")))
    about = found.data.to_dict()
    assert (about["library_name"], about["pipeline_tag"]) == ("longcut", "tabular-classification")
    first = found.data.eval_results[0]
    assert (first.metric_type, first.dataset_name) == ("accuracy", "blobs")
    assert first.metric_value == pytest.approx(record.scores.test.values["average"], abs=1e-6)


def test_without_an_attribute_that_is_the_first_limit(tmp_path: Path):
    execute(plan("bare"), tmp_path / "run")
    content = card(runs.read(tmp_path / "run"))
    assert "- No attribute is known on the test set" in content.split("## Limits\n\n")[1].splitlines()[0]


def test_a_regression_has_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    rows = [f"{i % 7},{i % 5},{i % 7 + i / 90}" for i in range(90)]
    Path("n.csv").write_text("\n".join(["u,v,y", *rows]))
    spec = "table:path=n.csv,label=y,task=regression"
    record = execute(plan(spec, settings={"epochs": 1, "net": "mlp:hidden=4"}), tmp_path / "run")
    content = card(runs.read(tmp_path / "run"))
    (model,) = about(content)["model-index"]
    assert model["results"][0]["task"]["type"] == "tabular-regression"
    assert model["results"][0]["metrics"][0]["value"] == pytest.approx(record.scores.test.values["rmse"], abs=1e-5)
    assert "No interval comes with a prediction." in content


def test_nothing_from_data_is_markup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    kinds, places = ("<script>x</script>", "a|b"), ("**z**", "[x](http://x) `y`")
    rows = [f'{i % 7 + i / 97},{i * 3 % 11},"{kinds[i % 2]}","{places[i // 2 % 2]}"' for i in range(120)]
    folder = tmp_path / "secret place"
    folder.mkdir()
    (folder / "odd.csv").write_text("\n".join(["u,v,kind,place", *rows]))
    spec = f"table:path={folder / 'odd.csv'},label=kind,attribute=place"
    execute(plan(spec, settings={"epochs": 1, "net": "mlp:hidden=4"}), tmp_path / "run")
    content = card(runs.read(tmp_path / "run"))
    assert "<script" not in content and "&lt;script&gt;" in content
    assert {len(row) for row in table(content, "Groups")} == {6}
    assert "](http" not in content.replace("\\](http", "")
    assert str(tmp_path) not in content, "where the file lay is nobody's business"
    assert content.count("\n---\n") == 1


def test_the_command_writes_it_beside_the_export(tmp_path: Path):
    execute(plan("blobs"), tmp_path / "run")
    words = ["export", str(tmp_path / "run"), "--to", "safetensors", "--card", str(tmp_path / "hub" / "README.md")]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert "The card is in" in done.stdout
    assert (tmp_path / "hub" / "README.md").read_text("utf-8") == card(runs.read(tmp_path / "run"))


def test_what_cannot_be_written_is_said(tmp_path: Path):
    execute(plan("blobs"), tmp_path / "run")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write the card to"):
        write_card(runs.read(tmp_path / "run"), tmp_path / "file" / "README.md")
