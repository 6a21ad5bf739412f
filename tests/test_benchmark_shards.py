"""The benchmark of shards on a few images."""

from __future__ import annotations

import sys

from helpers import script


def test_it_runs_and_stays_small(monkeypatch, capfd):
    benchmark = script("shards", monkeypatch)
    monkeypatch.setattr(sys, "argv", ["shards.py", "--small"])
    benchmark.main()
    written, decoded, trained, memory = capfd.readouterr().out.splitlines()
    assert written.startswith("400 images in 4 tar files")
    assert decoded.startswith("decoded 400 images")
    assert trained.startswith("trained an epoch of 240")
    resident, own = (float(word.replace(",", "")) for word in memory.split() if word[0].isdigit())
    assert 0 < own < resident < 2000
