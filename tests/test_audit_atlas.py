"""What an audit keeps of all samples: what models said, tiles of pictures, texts, cells, in the order of interest."""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from test_audit_folder import AGAINST, HOSTILE, LABEL, N, bare, findings, pictures, table, texts, write

from longcut.audit import Audit, View, atlas, folder
from longcut.audit.judged import Judged
from longcut.data import Dataset
from longcut.errors import UserError
from longcut.report import write as report
from longcut.sources import Source


@pytest.mark.parametrize("make", [pictures, table, texts, bare])
def test_suspects_come_first_and_every_column_follows(make, tmp_path: Path):
    audit = make()
    write(audit, tmp_path)
    found = folder.samples(tmp_path)
    assert found is not None
    # of sample i the index says where it is stored: backwards among the pictures
    order = N - 1 - found["index"] if make is pictures else found["index"]
    assert sorted(order) == list(range(N))
    assert order[:9].tolist() == list(range(9))[::-1]  # the later of the suspected, the surer
    assert (found["label"] == LABEL[order]).all()
    assert (found["score"] == audit.judged.score[order]).all()
    assert (found["profile"] == audit.judged.profile[order]).all()
    assert [atlas.KINDS[kind] for kind in found["kind"]] == audit.kinds[order].tolist()
    for column, said in enumerate((audit.judged.easy, audit.judged.ordinary, audit.judged.debiased)):
        assert (found["said"][:, column] == said[order].argmax(1)).all()
        assert (found["sure"][:, column] == said[order].max(1)).all()
    assert (found["said"][:9, 0] != found["label"][:9]).all() and AGAINST[order[:9]].all()
    if make is pictures:
        assert (found["attribute"] == (LABEL[order] + 1) % 2).all()
    else:
        assert "attribute" not in found


def test_names_texts_and_cells(tmp_path: Path):
    for make in (pictures, table, texts):
        write(make(), tmp_path / make.__name__)
    named, rows, said = (folder.samples(tmp_path / make.__name__) for make in (pictures, table, texts))
    assert named and rows and said
    names = [*HOSTILE[:5], "\\udcff.jpg", *(f"{i}.jpg" for i in range(6, N))]
    assert named["words"]["names"] == [names[N - 1 - i] for i in named["index"]]
    assert said["words"]["texts"] == [f"text {i} / <i>wet</i>" for i in said["index"]]
    assert rows["words"]["columns"] == ["place", "zeros", "age", "half"]
    written = table().view.source
    assert written is not None
    for column, name in enumerate(rows["words"]["columns"]):
        values = [rows["words"]["values"][column][code] for code in rows["codes"][:, column]]
        given = written.rows[name].iloc[rows["index"]]
        assert values == [f"{value:.5g}" if isinstance(value, float) else str(value) for value in given]
    assert named["codes"].shape == (N, 0) and named["words"]["texts"] is rows["words"]["names"] is None


def test_pictures_are_tiles_of_one_sheet(tmp_path: Path):
    write(pictures(), tmp_path)
    found = folder.samples(tmp_path)
    assert found is not None
    words = found["words"]
    assert (words["side"], words["across"], words["pictured"]) == (64, 40, N)
    sheet = np.asarray(Image.open(io.BytesIO(found["sheet"])).convert("RGB")).astype(int)
    assert sheet.shape == (128, 2560, 3)
    for i in (0, 8, 39, 40, 59):  # the sample stored in row r is as bright as it comes in
        tile = sheet[i // 40 * 64 :, i % 40 * 64 :][:64, :64]
        assert abs(tile.mean() - (N - 1 - found["index"][i])) < 3
    assert "sheet" not in (atlas.gather(texts()))
    assert "sheet" in atlas.gather(bare())


def test_of_a_large_set_the_first_have_pictures(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(atlas, "TILES", ((10, 64), (20, 16)))
    monkeypatch.setattr(atlas, "MOST", 50)
    monkeypatch.setattr(atlas, "LETTERS", 10)
    monkeypatch.setattr(atlas, "SHORTEST", 8)
    found = atlas.gather(pictures())
    words = bytes(found["words"]).decode()
    assert '"side": 16' in words and '"pictured": 20' in words
    assert len(found["index"]) == 50
    assert Image.open(io.BytesIO(bytes(found["sheet"]))).size == (20 * 16, 16)
    assert '"text 8 \\u2026"' in bytes(atlas.gather(texts())["words"]).decode()


def test_old_folders_have_none(tmp_path: Path):
    write(pictures(), tmp_path)
    (tmp_path / atlas.FILE).unlink()
    assert folder.samples(tmp_path) is None
    assert 'class="atlas"' not in report([tmp_path], tmp_path / "page.html").read_text("utf-8")


def test_a_damaged_file_is_said_so(tmp_path: Path):
    write(pictures(), tmp_path)
    (tmp_path / atlas.FILE).write_bytes((tmp_path / atlas.FILE).read_bytes()[:-1] + b"?")
    with pytest.raises(UserError, match=r"atlas.safetensors is damaged; delete the folder and audit again"):
        folder.samples(tmp_path)


@pytest.mark.parametrize("name", ["index", "label", "score", "kind", "said", "sure", "profile", "codes", "words"])
def test_columns_that_do_not_fit_are_refused(name: str):
    given = atlas.gather(table())
    wrong = {
        "index": -1,
        "label": 2,
        "score": np.nan,
        "kind": 4,
        "said": 2,
        "sure": np.inf,
        "profile": np.nan,
        "codes": 99,
    }
    shorter = {key: column[:-1] if key == name else column for key, column in given.items()}
    with pytest.raises(ValueError):  # of words, that JSON ends too early
        atlas.opened(shorter)
    with pytest.raises(KeyError):
        atlas.opened({key: column for key, column in given.items() if key != name})
    if name in wrong:
        given[name] = given[name].clone()
        given[name].view(-1)[3] = wrong[name]
        with pytest.raises(ValueError, match="do not fit together"):
            atlas.opened(given)


def test_a_page_of_20_000_samples_is_small(tmp_path: Path):
    """With pictures, long names, ten classes and an attribute; photographs get about 1.3 MB more for their tiles."""
    rng, n = np.random.default_rng(0), 20_000
    label = rng.integers(0, 10, n)
    easy = rng.dirichlet(np.ones(10), n).astype(np.float32)
    judged = Judged(label, easy, easy.copy(), easy[::-1].copy(), easy[::-1].copy(), [1], np.ones((1, n), bool))
    rows = pd.DataFrame({"path": [f"somewhere/below/a-folder/{i:060}.jpg" for i in range(n)], "y": label})
    found = Source("toy", rows, np.zeros(n, np.int64), False, "y", image="path")
    small = torch.randint(0, 255, (n, 3, 2, 2), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    data = Dataset.of(small, label, label, class_names=tuple("0123456789"))
    data = dataclasses.replace(data, source=found)
    write(Audit(View(data, found), judged, findings(), 0.05, 1.0), tmp_path)
    page = report([tmp_path], tmp_path / "page.html")
    assert page.stat().st_size < 3.7e6
    text = page.read_text("utf-8")
    assert text.count("somewhere/below") >= n
    assert "The first 4,000, the most suspected, have pictures." in text
    record = json.loads((tmp_path / "audit.json").read_text("utf-8"))
    (tmp_path / "audit.json").write_text(json.dumps(record | {"n": 30_000, "checksums": {}}), "utf-8")
    text = report([tmp_path], tmp_path / "page.html").read_text("utf-8")
    assert "Here are 20,000 of the 30,000 samples, all the suspected among them; the first 4,000" in text
