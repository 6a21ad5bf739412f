"""One record for many identification epochs, and what validation chooses of many settings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from test_cli import in_an_empty_folder, printed, printed_json, refused

from longcut.compare import compare, folders
from longcut.errors import UserError
from longcut.methods import build
from longcut.plans import plan
from longcut.record import Plan
from longcut.runs import read
from longcut.search import alternatives, choices, with_record

__all__ = ["in_an_empty_folder"]  # around every test here, too

DATA = "colored-digits:ratio=0.1"
QUICK = {"epochs": 2, "net": "mlp:hidden=8"}


def run(folder: Path, method: str, seed: int = 0, **settings: Any) -> Any:
    from longcut.execute import execute

    execute(plan(DATA, method, settings={**QUICK, **settings}, seed=seed), folder)
    return read(folder)


def chosen(folder: Path) -> list[bool]:
    found = read(folder).identification()
    assert found is not None
    return found["chosen"].tolist()


@pytest.mark.parametrize("method", ["jtt", "jm1"])
def test_an_epoch_of_one_record_is_what_a_shorter_helper_finds(method: str, tmp_path: Path):
    """A helper learns epoch by epoch, at a constant rate: its third epoch is the same however many follow."""
    run(tmp_path / "long", method, helper_epochs=5)
    for epoch in (1, 3):
        run(tmp_path / f"short{epoch}", method, helper_epochs=epoch)
        run(tmp_path / f"read{epoch}", method, identify=str(tmp_path / "long"), epoch=epoch)
        run(tmp_path / f"own{epoch}", method, helper_epochs=5, epoch=epoch)
        assert (
            chosen(tmp_path / f"read{epoch}") == chosen(tmp_path / f"short{epoch}") == chosen(tmp_path / f"own{epoch}")
        )
    assert chosen(tmp_path / "read1") != chosen(tmp_path / "read3")
    run(tmp_path / "last", method, identify=str(tmp_path / "long"))
    assert chosen(tmp_path / "last") == chosen(tmp_path / "long")


def test_epochs_that_nobody_recorded(tmp_path: Path):
    run(tmp_path / "two", "erm", record="online")
    with pytest.raises(UserError, match=r"jtt: the errors of epoch 3 are asked for, but the helper has 2; lower epoch"):
        run(tmp_path / "jtt", "jtt", identify=str(tmp_path / "two"), epoch=3)
    known = read(tmp_path / "two").inputs()
    assert known is not None
    info = known.info
    with pytest.raises(UserError, match=r"jm1: the errors of epoch 4 are asked for, but the helper has 3"):
        build("jm1", info, options={"epoch": 4})
    for identify in ("oracle", "none"):
        with pytest.raises(UserError, match=rf"epoch=1 is of a helper, and identify={identify} has none; leave it out"):
            build("jm1", info, options={"epoch": 1, "identify": identify})


def test_each_seed_reads_the_record_of_its_own(tmp_path: Path):
    for seed in (0, 1):
        run(tmp_path / f"erm-s{seed}", "erm", seed, record="online")
    plans = [
        plan(DATA, "jtt", settings={**QUICK, "identify": f"{tmp_path}/erm-s{{seed}}"}, seed=seed) for seed in (0, 1)
    ]
    assert plans[0].setting == plans[1].setting, "they are one setting"
    records = compare(plans, tmp_path / "out")
    assert len(records) == 2
    assert [one.options_of_seed["identify"] for one in plans] == [f"{tmp_path}/erm-s{seed}" for seed in (0, 1)]


def test_bars_part_values():
    assert alternatives("jm1@waterbirds:epoch=10|20,law=uniform|beta,net=mlp:hidden=8") == [
        f"jm1@waterbirds:epoch={t},law={law},net=mlp:hidden=8" for t in (10, 20) for law in ("uniform", "beta")
    ]
    assert alternatives("jtt") == ["jtt"] and alternatives("jtt:upweight=5") == ["jtt:upweight=5"]


def test_who_reads_the_record():
    helper = plan(DATA, "erm:record=online")
    (folder,) = folders([helper], Path("out"))
    assert with_record(["erm", "jtt:epoch=2", "jm1:identify=oracle", "umix"], helper, Path("out")) == [
        "erm",
        f"jtt:epoch=2,identify={str(folder)[:-1]}{{seed}}",
        "jm1:identify=oracle",
        f"umix:identify={str(folder)[:-1]}{{seed}}",
    ]
    with pytest.raises(
        UserError, match=r"the helper 'erm' keeps no record of whom it gets wrong; write erm:record=onli"
    ):
        with_record(["jtt"], plan(DATA, "erm"), Path("out"))


class Told:
    """A finished run, as far as a choice looks at it."""

    def __init__(self, method: str, label: str, seed: int, rows: list[tuple[float, float, float, float]]) -> None:
        from types import SimpleNamespace

        one: Plan = plan(DATA, method, label=label, seed=seed)
        self.record = SimpleNamespace(plan=one, task="classification")
        self.rows = rows

    def history(self) -> list[dict[str, Any]]:
        names = ("average", "worst_group")
        return [
            {
                "epoch": i,
                "valid": dict(zip(names, row[:2], strict=True)),
                "test": dict(zip(names, row[2:], strict=True)),
            }
            for i, row in enumerate(self.rows, 1)
        ]


def test_choices_by_hand():
    """Validation average and worst group, then those of the test set, epoch by epoch."""
    runs: Any = [
        Told("jtt", "a", 0, [(0.90, 0.30, 0.91, 0.31), (0.80, 0.60, 0.81, 0.61)]),
        Told("jtt", "a", 1, [(0.70, 0.50, 0.71, 0.51), (0.92, 0.40, 0.93, 0.41)]),
        Told("jtt", "b", 0, [(0.89, 0.70, 0.99, 0.72), (0.10, 0.10, 0.99, 0.99)]),
        Told("jtt", "b", 1, [(0.10, 0.10, 0.99, 0.99), (0.91, 0.62, 0.99, 0.64)]),
        Told("erm", "erm", 0, [(0.99, 0.99, 0.99, 0.99)]),
        Told("dfr", "x", 0, [(0.99, 0.99, 0.99, 0.99)]),
        Told("dfr", "y", 0, [(0.99, 0.99, 0.99, 0.99)]),
    ]
    average, worst = choices(runs)
    assert (average.rule, average.label, average.epochs, average.settings, average.runs) == (
        "average",
        "a",
        (1, 2),
        2,
        2,
    )
    assert average.valid[0] == pytest.approx(0.91) and average.test["worst_group"][0] == pytest.approx(0.36)
    assert (worst.rule, worst.label, worst.epochs) == ("worst_group", "b", (1, 2))
    assert worst.valid[0] == pytest.approx(0.66) and worst.test["worst_group"][0] == pytest.approx(0.68)
    assert worst.test["average"] == (pytest.approx(0.99), pytest.approx(0))


def test_one_command_searches_with_one_helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    command = [
        *("compare", DATA, "--seeds", "1", "--out", "out", "--helper", "erm:record=online,epochs=3"),
        *("--methods", "jtt:epoch=1|3,upweight=4|9,epochs=2", "--net", "mlp:hidden=8"),
    ]
    found = printed_json(*command)
    assert len(found["runs"]) == 4 and [one["rule"] for one in found["chosen"]] == ["average", "worst_group"]
    assert {one["settings"] for one in found["chosen"]} == {4}
    runs = [json.loads(path.read_text()) for path in sorted(Path("out").glob("*/run.json"))]
    assert len(runs) == 5, "ten values of T train one helper"
    labels = {run["plan"]["label"] for run in runs if run["plan"]["method"] == "jtt"}
    assert labels == {f"jtt:epoch={t},upweight={n},epochs=2" for t in (1, 3) for n in (4, 9)}
    text = printed(*command)
    assert "Setting and epoch that validation chooses" in text and "worst group" in text
    assert "keeps no record" in refused(*command[:6], "--helper", "erm", *command[8:])
