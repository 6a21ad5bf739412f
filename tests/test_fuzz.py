"""A slice of what ``make fuzz`` tries, the same every time: each case is done, or refused in one sentence."""

from __future__ import annotations

from pathlib import Path

import fuzz
import pytest

SLICE = {
    "tables": 150,
    "arrays": 130,
    "images": 30,
    "runs": 10,
    "again": 10,
    "options": 30,
    "specs": 100,
    "answers": 40,
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fuzz.prepare(tmp_path_factory.mktemp("made"), ["erm"], audited=False)


@pytest.mark.parametrize("kind", SLICE)
def test_what_is_broken_is_refused_in_one_sentence(kind: str, made: Path):
    said = {f"{kind}-{number}": fuzz.outcome(kind, number, made) for number in range(SLICE[kind])}
    faults = {case: what for case, what in said.items() if what not in ("done", "refused")}
    assert not faults, "\n".join(f"{case}: {what}" for case, what in faults.items())
    assert {"done", "refused"} <= set(said.values()), "the cases are neither all broken nor all sound"


def test_the_slice_is_of_every_kind_that_is_quick_to_make():
    assert sum(SLICE.values()) == 500
    assert set(fuzz.KINDS) - set(SLICE) == {"audits"}, "whose audit takes seconds"


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (lambda *_: [][0], "IndexError"),
        (lambda *_: (_ for _ in ()).throw(fuzz.UserError("")), "refused without a word"),
        (lambda *_: fuzz.command("no-such-command"), "refused"),
        (lambda *_: None, "done"),
    ],
)
def test_faults_are_seen(broken, said: str, made: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(fuzz.KINDS, "answers", (broken, 1))
    assert said in fuzz.outcome("answers", 0, made)
