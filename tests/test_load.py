"""A file of somebody's own adds all that can be added, on the command line, in worker processes and resumed runs."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
from conftest import forget_files
from typer.testing import CliRunner

from longcut import UserError, registry, runs
from longcut.cli import app

ALL = '''
from typing import Annotated

import torch
from pydantic import Field
from torch import nn

from longcut import Splits, load, mixing
from longcut.audit import Check, Finding
from longcut.losses import cross_entropy
from longcut.methods.base import Method
from longcut.nets import Net
from longcut.report import Panel


class Focal(Method):
    """Samples that are right already count less."""

    name, paper = "focal", "Lin et al., ICCV 2017"

    def __init__(self, make_net, info, *, power: Annotated[float, Field(ge=0, description="how much less")] = 2.0):
        super().__init__(make_net, info)
        self.power = power

    def loss(self, batch):
        cost = cross_entropy(self(batch.x), batch.label)
        return ((1 - (-cost.detach()).exp()) ** self.power * cost).mean(), {}


def same():
    return lambda batch, pool, generator: mixing.choose(
        torch.zeros(len(batch), len(pool)), batch.label[:, None] == pool.label, generator
    )


def brighter(own, partner, share, generator):
    return torch.maximum(own, partner), share


def flat(info, outputs, *, bias: Annotated[bool, Field(description="with an offset")] = True):
    """One layer."""
    return Net([nn.Flatten()], nn.Linear(info.shape[0] * info.shape[1] * info.shape[2], outputs, bias=bias), levels=[0])


def few_digits(*, ratio: Annotated[float, Field(ge=0, le=1, description="that contradict")] = 0.1, seed: int = 0):
    """Colored digits again."""
    return load(f"colored-digits:ratio={ratio}", seed)


def brier(outputs, data):
    """mean squared difference of probabilities and labels"""
    return (outputs.softmax(1) - nn.functional.one_hot(data.label, outputs.shape[1])).square().sum(1).mean()


brier.lower = True


def check(view, judged, shortcuts):
    return Finding("weekday", "Was it a Friday?", 0.0, "share of Fridays", 0.0, (0.0, 0.0), 1.0, "clear", "It was not.")


METRICS = {"brier": brier}
PAIRS = {"same": same}
BLENDS = {"brighter": brighter}
NETS = {"flat": flat}
DATASETS = {"few-digits": few_digits}
CHECKS = {"weekday": Check(check)}
PANELS = {"note": Panel("study", "A note of mine", lambda study, page: "written by my panel")}
'''


def longcut(*words: Any, code: int = 0) -> str:
    """What a command prints, in a process of its own as far as loaded files go."""
    forget_files()
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == code, result.output
    return result.stdout if code == 0 else result.stderr


def printed(*words: Any) -> Any:
    return json.loads(longcut(*words, "--json"))


@pytest.fixture
def mine_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "all.py"
    path.write_text(ALL)
    return path


FAST = ("--epochs", "1", "--set", "batch=64", "--device", "cpu")


def test_a_file_adds_all_seven_kinds(mine_all: Path):
    assert printed("methods", "focal", "--load", mine_all)["options"][0]["name"] == "power"
    assert "few-digits" in printed("datasets", "--load", mine_all)
    specs = "focal:power=1,mixup:partner=same,mixup:blend=brighter"
    given = ("few-digits:ratio=0.2", "--load", mine_all, "--net", "flat:bias=false", *FAST)
    rows = printed("compare", *given, "--methods", specs, "--seeds", 1, "--select", "best:brier")
    assert [row["method"] for row in rows] == ["focal", "mixup", "mixup"]
    (place,) = Path("runs").iterdir()
    scores = runs.read(next(place.glob("focal*"))).scores()
    assert 0 < scores.values["brier"] < 2
    assert scores.intervals["brier"][0] <= scores.values["brier"] <= scores.intervals["brier"][1]
    printed("report", place, "-o", "page.html", "--load", mine_all)
    assert "A note of mine" in Path("page.html").read_text()
    assert "written by my panel" in Path("page.html").read_text()


def test_a_metric_that_was_added_later_is_measured_on_the_predictions_that_a_run_kept(mine_all: Path):
    longcut("train", "colored-digits", "-m", "erm", *FAST, "--out", "run")
    assert "brier" not in printed("evaluate", "run")["values"]
    told = printed("evaluate", "run", "--load", mine_all)
    assert 0 < told["values"]["brier"] < 2
    assert told["values"]["average"] == printed("evaluate", "run")["values"]["average"]
    assert "mean squared difference" in longcut("evaluate", "run", "--load", mine_all).replace("\n", " ")


def test_a_run_that_needs_a_file_says_which_and_one_that_does_not_needs_none(mine_all: Path):
    longcut("train", "colored-digits", "-m", "focal", *FAST, "--out", "focal", "--load", mine_all)
    longcut("train", "colored-digits", "-m", "erm", *FAST, "--out", "erm", "--load", mine_all)
    longcut("train", "colored-digits", "-m", "erm", *FAST, "--out", "erm")  # the same run, done already
    said = longcut("predict", "focal", "colored-digits", code=2)
    assert "was made with all.py, which is not loaded; add --load all.py" in said
    longcut("predict", "focal", "colored-digits", "--load", mine_all)
    mine_all.write_text(ALL.replace("power: Annotated", "power : Annotated"))
    said = longcut("train", "colored-digits", "-m", "focal", *FAST, "--out", "focal", "--load", mine_all, code=2)
    assert "all.py" in said and "changed" in said
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        result = CliRunner().invoke(app, ["predict", "focal", "colored-digits", "--load", str(mine_all)])
    assert result.exit_code == 0
    assert "longcut: all.py has changed since the run in focal was made." in result.stderr


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("def (", r"SyntaxError.*mend it"),
        ("1 / 0", r"ZeroDivisionError.*mend it"),
        ("NETS = {'mlp': print}", r"adds the net 'mlp', but there is one of that name; give it another"),
    ],
)
def test_a_file_that_cannot_be_loaded_leaves_nothing(content: str, message: str, tmp_path: Path):
    from longcut.evaluate import METRICS
    from longcut.nets import NETS

    path = tmp_path / "bad.py"
    path.write_text("METRICS = {'fine': lambda outputs, data: 1.0}\n" + content)
    with pytest.raises(UserError, match=message):
        registry.load_file(path)
    assert "fine" not in METRICS and "mlp" in NETS
    assert str(path) not in registry.loaded_files()


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            "NETS = {'mine': 3}",
            r"'mine' is a int, but a row is a function \(info, outputs, \*, options\) that returns a Net",
        ),
        ("PAIRS = {'mine': 3}", r"a row is a function without arguments that returns a pair rule"),
        ("BLENDS = {'mine': 3}", r"a row is a function, or a Seeing"),
        ("METHODS = {'mine': 3}", r"a row is a class of longcut.Method with a name"),
        ("DATASETS = {'mine': 'a:b'}", r"'mine' is a str, but a row is an Entry, or a function"),
        ("METRICS = {'mine': 3}", r"metric 'mine' is no function"),
        ("CHECKS = {'mine': print}", r"a row is a Check"),
        ("PANELS = {'mine': print}", r"a row is a Panel"),
        ("METRICS = [1]", r"METRICS in .*bad.py is a list; give a dict of rows by name"),
        (
            "from longcut import Method\nclass A(Method): name = 'a'\nclass B(Method): name = 'a'",
            r"two methods in .* are called 'a'; give one another name",
        ),
    ],
)
def test_a_row_that_is_not_what_its_table_holds_is_refused(row: str, message: str, tmp_path: Path):
    from longcut import audit, datasets, evaluate, methods, mixing, nets
    from longcut.report import panels

    path = tmp_path / "bad.py"
    path.write_text(row)
    with pytest.raises(UserError, match=message):
        registry.load_file(path)
    tables = (
        audit.CHECKS,
        datasets.DATASETS,
        evaluate.METRICS,
        methods.METHODS,
        mixing.PAIRS,
        nets.NETS,
        panels.PANELS,
    )
    assert not any(table.added for table in tables)


def test_a_method_without_a_paper_is_listed(tmp_path: Path):
    path = tmp_path / "mine.py"
    path.write_text("from longcut import Method\n\n\nclass Plain(Method):\n    name = 'plain'\n")
    assert printed("methods", "plain", "--load", path)["paper"] == ""


@pytest.mark.parametrize(("name", "message"), [("gone.py", "No such file"), ("table.csv", r"give a Python file")])
def test_what_is_no_python_file_is_refused(name: str, message: str, tmp_path: Path):
    if name == "table.csv":
        (tmp_path / name).write_text("a,b")
    with pytest.raises(UserError, match=message):
        registry.load_file(tmp_path / name)


def test_a_file_is_loaded_again_when_it_has_changed_and_then_only(tmp_path: Path):
    from longcut.nets import NETS

    path = tmp_path / "mine.py"
    path.write_text("NETS = {'one': max}\n")
    registry.load_file(path)
    first = NETS["one"]
    registry.load_file(path)
    assert NETS["one"] is first
    path.write_text("NETS = {'two': min}\n")
    registry.load_file(path)
    assert "one" not in NETS and NETS["two"] is min


def test_a_package_adds_by_its_entry_point(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """As installed: a folder with metadata that names a module."""
    (tmp_path / "more_nets.py").write_text("NETS = {'from-a-package': max}\n")
    (tmp_path / "broken.py").write_text("raise RuntimeError('not today')\n")
    about = tmp_path / "more-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: more\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[longcut]\nmore = more_nets\nbroken = broken\n")
    code = "import json; from longcut.nets import NETS; print(json.dumps(['from-a-package' in NETS, 'mlp' in NETS]))"
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert json.loads(done.stdout) == [True, True]
    assert "the additions of broken are left out (not today)" in done.stderr
