from __future__ import annotations

import json
import math
import os
import time
from pathlib import Path

import pytest

from longcut.files import replacing, to_json


def test_a_replacement_is_whole_or_not_at_all(tmp_path: Path):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(ArithmeticError), replacing(path) as temporary:
        temporary.write_text("ne")
        assert path.read_text() == "old"
        raise ArithmeticError
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"file": b"old"}
    with replacing(path) as temporary:
        temporary.write_text("new")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"file": b"new"}


def test_what_killed_processes_left_of_a_file_goes_after_a_minute(tmp_path: Path):
    names = (".file.1.tmp", ".file.2.tmp", ".other.1.tmp")
    for name in names:
        (tmp_path / name).write_text("half")
    old = time.time() - 61
    for name in (names[0], names[2]):
        os.utime(tmp_path / name, (old, old))
    with replacing(tmp_path / "file") as temporary:
        temporary.write_text("new")
    assert {path.name for path in tmp_path.iterdir()} == {"file", *names[1:]}


def test_json_is_strict():
    value = {"a": (1, math.inf), "b": [{"c": -math.inf}, "π"], "d": None, "e": True, "f": 0.1}
    assert json.loads(to_json(value)) == {"a": [1, None], "b": [{"c": None}, "π"], "d": None, "e": True, "f": 0.1}
