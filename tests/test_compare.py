from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from blobs import MINE, break_loss, small_data, without_time  # noqa: F401

from longcut import registry, runs
from longcut.compare import compare
from longcut.errors import UserError
from longcut.fit import fit
from longcut.plans import plan
from longcut.record import Plan
from longcut.tables import summary

pytestmark = pytest.mark.usefixtures("small_data")


def six(**settings) -> list[Plan]:
    return [plan("blobs", m, seed=s, settings=settings) for m in ("erm", "lff:q=0.5", "lff@paper") for s in (0, 1)]


def test_a_comparison_is_summed_up(tmp_path: Path):
    steps = []
    records = compare(six(), tmp_path / "out", progress=lambda done, total: steps.append((done, total)))
    rows = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert rows == [summary(record) for record in records]
    assert [(row["method"], row["options"], row["seed"]) for row in rows] == [
        ("erm", {}, 0), ("erm", {}, 1), ("lff", {"q": 0.5}, 0), ("lff", {"q": 0.5}, 1),
        ("lff", {"scale": "code"}, 0), ("lff", {"scale": "code"}, 1),
    ]  # fmt: skip
    assert list(rows[0]) == [
        "method", "options", "dataset", "seed", "epochs", "seconds", "selection",
        "average", "aligned", "conflicting", "worst_group", "train_weighted", "best_average",
    ]  # fmt: skip
    assert (rows[0]["dataset"], rows[0]["epochs"], rows[0]["selection"]) == ("blobs", 2, "last")
    values = runs.read(tmp_path / "out" / "erm-s1").record.scores.test.values
    names = ("average", "aligned", "conflicting", "worst_group", "train_weighted")
    assert {name: rows[1][name] for name in names} == {name: values[name] for name in names}
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"erm-s0", "erm-s1", "lff@paper-s0", "lff@paper-s1", "summary.json"} < names
    assert len(names) == 7
    assert steps == sorted(steps)
    assert steps[0] == (0.5, 6)
    assert steps[-1] == (6, 6)


def test_a_comparison_goes_on_where_it_was_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def stop(done: float, total: int) -> None:
        if done == 2.5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compare(six(), tmp_path / "out", progress=stop)
    assert not (tmp_path / "out" / "summary.json").exists()
    trained = []
    real = fit

    def counting(method, *args, state=None, **how):
        trained.append((method.name, how["seed"], state is not None))
        return real(method, *args, state=state, **how)

    with monkeypatch.context() as patch:
        patch.setattr("longcut.execute.fit", counting)
        records = compare(six(), tmp_path / "out")
    assert trained == [("lff", 0, True), ("lff", 1, False), ("lff", 0, False), ("lff", 1, False)]
    assert without_time(records) == without_time(compare(six(), tmp_path / "new"))


def test_a_run_that_fails_does_not_stop_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    break_loss(monkeypatch, epoch=2, name="erm", seed=1)
    with pytest.raises(
        UserError, match=r"^1 of 6 runs failed: the loss stopped .* up to epoch 1 is kept in .*erm-s1\.$"
    ):
        compare(six(), tmp_path / "out")
    rows = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert [(row["method"], row["seed"]) for row in rows] == [
        ("erm", 0),
        ("lff", 0),
        ("lff", 1),
        ("lff", 0),
        ("lff", 1),
    ]


@pytest.mark.slow
def test_processes_give_the_same_numbers(tmp_path: Path):
    """On built-in data, because worker processes do not know what a test has registered."""
    plans = [plan("colored-digits", "erm", seed=seed, settings={"epochs": 1}) for seed in (0, 1)]
    steps = []
    records = compare(plans, tmp_path / "two", jobs=2, progress=lambda *step: steps.append(step))
    assert steps == [(1, 2), (2, 2)]
    assert without_time(records) == without_time(compare(plans, tmp_path / "one"))


def mines(**settings: object) -> list[Plan]:
    return [plan("colored-digits", "mine", seed=seed, settings={"epochs": 2, **settings}) for seed in (0, 1)]


def test_worker_processes_know_the_loaded_files(tmp_path: Path, mine: Path):
    """Killed after its first epoch, the first run goes on in a process of its own."""
    with pytest.raises(KeyboardInterrupt):
        compare(mines(), tmp_path / "two", progress=lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    assert runs.read(tmp_path / "two" / "mine-s0").record.status == "running"
    records = compare(mines(), tmp_path / "two", jobs=2)
    assert without_time(records) == without_time(compare(mines(), tmp_path / "one"))
    assert [record.plan.files for record in records] == [mines()[0].files] * 2


def test_a_worker_that_is_killed_is_one_sentence_and_costs_nothing_that_is_done(tmp_path: Path, mine: Path):
    """As the system kills it where memory runs out."""
    spared = tmp_path / "spared"
    kill = f"import os, pathlib; pathlib.Path({str(spared)!r}).exists() or os.kill(os.getpid(), 9)"
    mine.write_text(MINE.replace("        value, logs", f"        if self.q > 1: {kill}\n        value, logs"))
    registry.load_file(mine)
    plans = [*mines()[:1], *mines(q=2)[1:]]
    compare(plans[:1], tmp_path / "out")
    with pytest.raises(
        UserError,
        match=r"^a process that worked was ended from outside, .* what is done is kept, and fewer jobs",
    ):
        compare(plans, tmp_path / "out", jobs=2)
    assert runs.read(tmp_path / "out" / "mine-s0").record.status == "done"
    spared.touch()
    assert len(compare(plans, tmp_path / "out", jobs=2)) == 2


def test_a_file_that_was_changed_makes_other_runs(tmp_path: Path, mine: Path):
    compare(mines(epochs=1)[:1], tmp_path / "out")
    mine.write_text(MINE.replace("value * self.q", "value * self.q * 2"))
    registry.load_file(mine)
    with pytest.raises(UserError, match=r"mine-s0 holds another run \(made before my_method\.py was changed\); choose"):
        compare(mines(epochs=1)[:1], tmp_path / "out")


def test_a_file_that_is_changed_while_its_runs_are_on_is_said(tmp_path: Path, mine: Path):
    plans = mines(epochs=1)
    mine.write_text(MINE.replace("value * self.q", "value * self.q * 3"))  # and not loaded again here
    with pytest.raises(UserError, match=r"^2 of 2 runs failed: .*my_method\.py was changed while runs with it were on"):
        compare(plans, tmp_path / "out", jobs=2)
    assert not (tmp_path / "out").exists()


def test_data_sets_get_folders_of_their_own(tmp_path: Path):
    plans = [plan("blobs"), plan("bare")]
    records = compare([*plans, plans[0]], tmp_path / "out")
    assert [record.plan.data for record in records] == ["blobs", "bare", "blobs"], "one record for each plan"
    assert runs.find([tmp_path / "out"]) == [
        tmp_path / "out" / "bare" / "erm-s0",
        tmp_path / "out" / "blobs" / "erm-s0",
    ]
    compare(plans[:1], tmp_path / "alone", by_data=True)
    assert runs.find([tmp_path / "alone"]) == [tmp_path / "alone" / "blobs" / "erm-s0"]


def test_what_a_comparison_refuses_before_it_begins(tmp_path: Path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.png").touch()
    with pytest.raises(UserError, match="is neither empty nor a folder of runs"):
        compare(six(), tmp_path / "photos")
    compare(six(), tmp_path / "out")
    before = (tmp_path / "out" / "summary.json").read_bytes()
    with pytest.raises(UserError, match=r"erm-s0 holds another run \(epochs 2 instead of 3\)"):
        compare(six(epochs=3), tmp_path / "out")
    assert (tmp_path / "out" / "summary.json").read_bytes() == before
    same = [plan("blobs", "erm", label="ours"), plan("blobs", "lff", label="ours")]
    with pytest.raises(UserError, match="two different runs would be called ours-s0; give them different labels"):
        compare(same, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_the_number_of_jobs_changes_no_bit(tmp_path: Path):
    """Each run has one thread, whatever the caller has, and says so."""
    settings = {"epochs": 1, "net": "mlp:hidden=8"}
    plans = [plan("colored-digits", "erm", seed=seed, settings=settings) for seed in range(2)]
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        for jobs in (1, 2):
            compare(plans, tmp_path / f"j{jobs}", jobs)
            assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    for seed in range(2):
        one, two = (runs.read(tmp_path / f"j{jobs}" / f"erm-s{seed}") for jobs in (1, 2))
        assert one.record.environment["threads"] == two.record.environment["threads"] == "1"
        assert all(torch.equal(weight, two.weights()[name]) for name, weight in one.weights().items())
