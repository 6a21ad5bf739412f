"""Names of runs and audits: short, never those of other data, and found from what is typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from longcut.cli import app
from longcut.context import Epoch
from longcut.errors import UserError
from longcut.execute import execute
from longcut.places import AUDITS, RUNS, located, named, place, short
from longcut.plans import plan as planned

ROWS = "".join(f"{i % 7},{i % 3},{i % 2}\n" for i in range(200))
SMALL = ["-m", "erm", "--net", "mlp:hidden=4", "--epochs", "1", "--device", "cpu"]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*words: str, fails: int = 0) -> str:
    result = CliRunner().invoke(app, list(words))
    assert result.exit_code == fails, result.output
    return result.output


def held(folder: Path, data: str) -> None:
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps({"plan": {"data": data}}))


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ("colored-digits:ratio=0.02", "colored-digits-ratio=0.02"),
        ("table:path=a b/adult.tsv.gz,label=y", "adult"),
        ("table:path=birds/metadata.csv,label=y", "birds"),
        ("folder:path=data,size=64", "data"),
        ("folder:path=photos/../x y,size=64", "x-y"),
        ("arrays:path=.hidden.npz", "hidden"),
        ("table:path=v1.2.csv,label=y", "v1.2"),
        ("hub:path=grodino/waterbirds,label=y", "waterbirds"),
        ("embedded:data=folder%3Apath=birds", "birds-features"),
        ("answered:data=table%3Apath=t.csv%2Clabel=y,answers=a.csv", "t-answered"),
        ("planted:data=digits,cue=patch", "planted-data=digits,cue=patch"),
        ("nobody-knows:this=1", "nobody-knows-this=1"),
    ],
)
def test_data_is_called_by_its_file_or_as_it_is_typed(data: str, name: str):
    assert short(data) == name


def test_no_folder_is_shared_by_two_data_sets():
    one, other, third = (f"table:path={folder}/t.csv,label=y" for folder in "abc")
    assert place(RUNS, one) == RUNS / "t"
    held(RUNS / "t" / "erm-s0", one)
    held(RUNS / "t-2" / "erm-s0", other)
    assert [place(RUNS, data) for data in (one, other, third)] == [RUNS / "t", RUNS / "t-2", RUNS / "t-3"]
    (RUNS / "t-3" / "erm-s0").mkdir(parents=True)
    (RUNS / "t-3" / "erm-s0" / "run.json").write_text("[")  # nobody knows what it was about
    assert place(RUNS, third) == RUNS / "t-4"


def test_an_audit_goes_where_the_last_one_of_its_data_is():
    (AUDITS / "t").mkdir(parents=True)
    (AUDITS / "t" / "audit.json").write_text('{"data": "table:path=t.csv,label=y"}')
    assert place(AUDITS, "table:path=t.csv,label=y") == AUDITS / "t"
    assert place(AUDITS, "table:path=t.csv,label=z") == AUDITS / "t-2"


def test_folders_of_older_versions_are_gone_on_with():
    (RUNS / "table-path=t.csv,label=y").mkdir(parents=True)
    assert place(RUNS, "table:path=t.csv,label=y") == RUNS / "table-path=t.csv,label=y"


def test_runs_are_found_by_name_and_by_the_end_of_it():
    for name in ("a/erm-s0", "a/erm-s1", "b/erm-s0", "b/lff-s0"):
        held(RUNS / name, "digits")
    assert located(Path("b/erm-s0")) == RUNS / "b/erm-s0"
    assert located(Path("lff-s0")) == RUNS / "b/lff-s0"
    assert located(Path("a/erm")) == RUNS / "a/erm"  # of every seed
    assert located(Path("runs/a")) == RUNS / "a"
    assert located(Path("nowhere")) == Path("nowhere")
    with pytest.raises(UserError, match=r"^erm-s0 may be a/erm-s0, b/erm-s0; name one of them\.$"):
        located(Path("erm-s0"))
    held(Path("erm-s0"), "digits")
    assert located(Path("erm-s0")) == Path("erm-s0")
    assert [named(folder) for folder in (RUNS / "a/erm-s0", Path("erm-s0"))] == ["a/erm-s0", "erm-s0"]


def test_commands_take_the_names_in_either_order(here: Path):
    (here / "adult.csv").write_text("a,b,y\n" + ROWS)
    assert "The run is in runs/adult/erm-s0" in run("train", "adult.csv", "--label", "y", *SMALL)
    assert "The run is in runs/adult-2/erm-s0" in run("train", "adult.csv", "--label", "b", *SMALL)
    assert "The run is in runs/adult/erm-s0" in run("train", "adult.csv", "--label", "y", *SMALL)
    listed = json.loads(run("runs", "--json"))
    assert [(row["run"], row["data"], row["state"]) for row in listed] == [
        ("adult/erm-s0", "adult.csv", "done"),
        ("adult-2/erm-s0", "adult.csv", "done"),
    ]
    assert "adult-2/erm-s0" in run("runs", "adult-2")
    one = run("predict", "adult/erm-s0", "adult.csv", "--json")
    assert run("predict", "adult.csv", "adult/erm-s0", "--json") == one
    judged = run("evaluate", "adult/erm-s0", "--data", "adult.csv", "--json")
    assert run("evaluate", "adult/erm-s0", "adult.csv", "--json") == judged
    assert run("evaluate", "adult.csv", "adult/erm-s0", "--json") == judged
    assert run("evaluate", "adult/erm-s0", "adult.csv", "--data", "adult.csv", fails=2).startswith(
        "longcut: adult.csv and --data adult.csv are both given"
    )
    assert "write -o page.html." in run("report", "adult/erm-s0", "page.html", fails=2)
    assert run("report", "adult", "-o", "page.html").strip() == "The page: page.html"
    (RUNS / "adult-2" / "erm-s0" / "run.json").write_text("{")
    assert "left out: " in run("runs")


def test_a_run_that_is_on_is_listed_with_its_epoch():
    def stop(epoch: Epoch) -> None:
        raise KeyboardInterrupt

    plan = planned("colored-digits", "erm", settings={"net": "mlp:hidden=4", "epochs": 3})
    with pytest.raises(KeyboardInterrupt):
        execute(plan, RUNS / "colored-digits" / "erm-s0", stop)
    (row,) = json.loads(run("runs", "--json"))
    assert (row["run"], row["state"], row["average"]) == ("colored-digits/erm-s0", "epoch 1 of 3", "–")
