"""What is read from a file's table of contents is what reading the file says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from longcut.errors import UserError
from longcut.sources.contents import arrays_in, columns_in, require_arrays
from longcut.sources.frames import open_table
from longcut.sources.header import Form, names_in, require_columns

pa = pytest.importorskip("pyarrow")

PLAIN = {"age": [1, 2], "größe": [0.5, None], "name": ["a", "b"], "ok": [True, False]}
TABLES: dict[str, dict[str, Any]] = {
    "plain": PLAIN,
    "one": {"x": [1]},
    "many": {f"column {i}": [i] for i in range(300)},  # lengths of more than a byte
    "nested": {"box": [{"x": 1, "y": {"z": [1, 2]}}], "tags": [["a", "b"]], "pairs": [[{"k": 1}]], "label": ["cat"]},
    "empty": {"a": [], "b": []},
}


@pytest.mark.parametrize("version", ["1.0", "2.6"])
@pytest.mark.parametrize("name", TABLES)
def test_columns_of_parquet(name: str, version: str, tmp_path: Path):
    from pyarrow import parquet

    path = tmp_path / "a.parquet"
    parquet.write_table(pa.table(TABLES[name]), path, version=version, row_group_size=1)
    assert columns_in(path) == parquet.read_schema(path).names == [*TABLES[name]]
    assert names_in(path, Form()) == open_table(path, Form()).names


def test_an_index_is_no_column_where_it_has_no_name(tmp_path: Path):
    import pandas as pd

    path = tmp_path / "a.parquet"
    pd.DataFrame(PLAIN, index=pd.Index([7, 9])).to_parquet(path)
    assert columns_in(path) == [*PLAIN] == open_table(path, Form()).names


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" + bytes(8) + b"PAR1", b"x" * 100 + b"\xff\xff\x00\x00PAR1"])
def test_a_damaged_file_is_left_to_who_reads_it(content: bytes, tmp_path: Path):
    for name in ("a.parquet", "a.npz", "a.safetensors"):
        (tmp_path / name).write_bytes(content)
    require_columns(tmp_path / "a.parquet", {"label": "nothing"})
    for name in ("a.npz", "a.safetensors", "none.npz"):
        require_arrays(tmp_path / name, {"label": "nothing"})


def test_every_cut_of_a_footer_ends(tmp_path: Path):
    """Whatever stands in it: a name, or an error that is swallowed, and no endless loop."""
    from pyarrow import parquet

    path = tmp_path / "a.parquet"
    parquet.write_table(pa.table(TABLES["nested"]), path)
    content = path.read_bytes()
    draw = np.random.default_rng(0)
    for _ in range(300):
        broken = bytearray(content)
        broken[int(draw.integers(len(content) // 2, len(content) - 8))] = int(draw.integers(256))
        path.write_bytes(broken)
        try:
            require_columns(path, {"label": "label"})
        except UserError as error:
            assert "unknown column 'label'" in str(error)


def test_arrays(tmp_path: Path):
    arrays = {"x": np.zeros((2, 3)), "y": np.array([0, 1]), "place": np.array([1, 1])}
    np.savez(tmp_path / "a.npz", **arrays)
    np.savez_compressed(tmp_path / "b.npz", **arrays)
    save_file(arrays, tmp_path / "c.safetensors", metadata={"encoder": "minilm"})
    for name in ("a.npz", "b.npz", "c.safetensors"):
        assert sorted(arrays_in(tmp_path / name)) == sorted(arrays)
        require_arrays(tmp_path / name, {})
        require_arrays(tmp_path / name, {"label": "label", "attribute": "place"})
        with pytest.raises(UserError, match=rf"unknown array in .*{name}: 'palce': did you mean 'place'\?"):
            require_arrays(tmp_path / name, {"label": "y", "attribute": "palce"})


def test_arrays_that_are_apart_by_part(tmp_path: Path):
    parts: dict[str, Any] = {
        f"{part}_{what}": np.zeros(2) for part in ("train", "test") for what in ("images", "labels", "place")
    }
    np.savez(tmp_path / "a.npz", **parts)
    require_arrays(tmp_path / "a.npz", {"attribute": "place", "split": "split"})
    with pytest.raises(UserError, match=r"unknown array in .*a\.npz: 'palce': did you mean 'place'\?"):
        require_arrays(tmp_path / "a.npz", {"attribute": "palce"})


@pytest.mark.parametrize("lines", ['["a", "y"]\n', '"a"\n', "no json\n", "{}\n" + " " * 2**22])
def test_lines_that_are_no_rows_or_are_many_are_left_to_who_reads_them(tmp_path: Path, lines: str):
    (tmp_path / "rows.jsonl").write_text(lines)
    require_columns(tmp_path / "rows.jsonl", {"label": "z"})
