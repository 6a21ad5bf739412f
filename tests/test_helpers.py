"""A helper goes on from where it was, and all that comes after it has the same bits: asked of every method with one."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from test_contract import PARTLY, Case, cases, data, fitted, same, weights

from longcut import runs
from longcut.context import calling
from longcut.data import Dataset, Splits
from longcut.execute import execute
from longcut.fit import Training
from longcut.helpers import helper
from longcut.identify import Recorder, Trajectory
from longcut.methods import build
from longcut.methods.erm import ERM
from longcut.plans import plan

__all__ = ["data"]


class Memory:
    """A shelf in memory, as bytes: every state of each helper, in order."""

    def __init__(self, states: dict[int, dict[str, Any]] | None = None) -> None:
        self.given, self.kept = states or {}, dict[int, list[bytes]]()

    def get(self, number: int) -> dict[str, Any] | None:
        return self.given.get(number)

    def put(self, number: int, state: Callable[[], dict[str, Any]], ended: bool) -> None:
        buffer = io.BytesIO()
        torch.save(state(), buffer)
        self.kept.setdefault(number, []).append(buffer.getvalue())


def read(state: bytes) -> dict[str, Any]:
    return torch.load(io.BytesIO(state), weights_only=True)


ON_IMAGES = [case for case in cases() if case.data == "images"]
FIRST = list({case.method: case for case in reversed(ON_IMAGES)}.values())  # a method with its defaults


@pytest.mark.slow
@pytest.mark.parametrize("case", [pytest.param(case, id=case.id) for case in FIRST])
def test_a_method_whose_helpers_were_interrupted_ends_as_if_they_were_not(case: Case, data: dict[str, Splits]):
    splits = data["partly" if case.method.name in PARTLY else case.data]
    first = Memory()
    whole = fitted(case.method, case.options, splits, shelf=first, examined=True)
    if not first.kept:
        return
    for last in {min(first.kept), max(first.kept)}:
        done = {number: read(states[-1]) for number, states in first.kept.items() if number < last}
        middle = first.kept[last][(len(first.kept[last]) - 1) // 2]
        again = Memory({**done, last: read(middle)})
        resumed = fitted(case.method, case.options, splits, shelf=again, examined=True)
        assert same(weights(whole.method), weights(resumed.method)), last
        assert list(whole.method.remarks()) == list(resumed.method.remarks())
        assert str(whole.verdict) == str(resumed.verdict)
        assert len(again.kept.get(last, [])) < len(first.kept[last]), "some epochs were not trained again"
        assert not set(done) & set(again.kept), "what was done was trained again"


def few(n: int = 40) -> Dataset:
    generator = torch.Generator().manual_seed(3)
    label = torch.arange(n) % 2
    return Dataset.of(torch.randn(n, 3, generator=generator) + label[:, None], label, label)


@pytest.mark.parametrize("done", [1, 2, 3])
def test_what_is_drawn_after_a_helper_is_the_same(done: int):
    train, training = few(), Training(epochs=3, batch=8)

    def trained(shelf: Memory) -> tuple[dict[str, torch.Tensor], Trajectory, list[Any], list[tuple[int, int]]]:
        told, seen = list[tuple[int, int]](), Trajectory()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(8)
            method = build(ERM, train.info, net="mlp:hidden=4", seed=1)
            run = helper(training, 5, 100, "cpu", [calling(on_helper=lambda *at: told.append(at))], shelf)
            run(method, train, observers=[Recorder(seen, "online")])
            drawn = [torch.rand(2).tolist(), torch.rand(2, generator=method.generator).tolist(), method.context.epoch]
        return method.state_dict(), seen, drawn, told

    first = Memory()
    whole = trained(first)
    assert list(first.kept) == [101]
    again = Memory({101: read(first.kept[101][done - 1])})
    resumed = trained(again)
    assert same(whole[0], resumed[0])
    assert torch.equal(whole[1].record.nan_to_num(-9), resumed[1].record.nan_to_num(-9))
    assert whole[2] == resumed[2]
    assert resumed[3] == [(epoch, 3) for epoch in range(done, 4)]
    assert len(again.kept.get(101, [])) == 3 - done


@pytest.mark.parametrize("field", range(6))
def test_the_state_of_another_helper_is_not_taken(field: int):
    train, first = few(), Memory()
    helper(Training(epochs=2, batch=8), 5, 0, "cpu", [], first)(build(ERM, train.info, net="mlp:hidden=4"), train)
    state = read(first.kept[1][-1])
    state["whose"][field] = "another"
    again = Memory({1: state})
    helper(Training(epochs=2, batch=8), 5, 0, "cpu", [], again)(build(ERM, train.info, net="mlp:hidden=4"), train)
    assert len(again.kept[1]) == 2


@pytest.mark.parametrize("how", ["interrupted", "damaged"])
def test_a_run_that_was_stopped_in_its_helper_goes_on_there(how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    chosen = plan("colored-digits:ratio=0.05", "jtt", settings={"net": "mlp:hidden=4", "epochs": 2, "helper_epochs": 4})
    whole = tmp_path / "whole"
    execute(chosen, whole)
    assert not list(whole.glob("*.pt"))

    def stop(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        execute(chosen, tmp_path / "run", on_helper=stop)
    (kept,) = (tmp_path / "run").glob("*.pt")
    assert kept.name == "helper-1001.pt"
    told = list[int]()
    if how == "damaged":
        kept.write_bytes(kept.read_bytes()[:-80])
        with pytest.warns(UserWarning, match=r"helper-1001\.pt .*its helper begins anew"):
            execute(chosen, tmp_path / "run", on_helper=lambda done, total: told.append(done))
    else:
        execute(chosen, tmp_path / "run", on_helper=lambda done, total: told.append(done))
    assert told[: told.index(4) + 1] == ([1, 2, 3, 4] if how == "damaged" else [3, 4])
    assert not list((tmp_path / "run").glob("*.pt"))
    for name in (runs.WEIGHTS, runs.PREDICTIONS, "identification.safetensors"):
        assert (whole / name).read_bytes() == (tmp_path / "run" / name).read_bytes()
