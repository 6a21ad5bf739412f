"""The data of the page on which samples are explored: where points lie, who is near, what colours mean; contents."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path

import numpy as np
import pytest
from test_audit_folder import pictures, texts
from test_audit_folder import write as write_audit
from test_report import BIASED, Page, make_run, plan_of
from test_report_audit import make_audit

from longcut.report import explore, write
from longcut.report.figures import PALETTE


def test_who_is_on_the_drawn_map_lies_there_and_others_amid_those_they_are_like():
    rng = np.random.default_rng(0)
    known, place = rng.normal(size=(30, 5)), rng.normal(size=(30, 2))
    found = explore._placed(np.concatenate([known[7:9], known[:1] * 0.5 + known[1:2] * 0.5]), place, known)
    assert found[:2] == pytest.approx(place[7:9], abs=1e-4)
    nearest = np.argsort(np.linalg.norm(known - (known[0] + known[1]) / 2, axis=1))[:3]
    assert (found[2] >= place[nearest].min(0)).all() and (found[2] <= place[nearest].max(0)).all()
    plane = rng.normal(size=(4, 2))
    assert (explore._placed(plane, place, known) == plane).all()
    assert (explore._placed(plane[:, :1], place, known) == np.pad(plane[:, :1], ((0, 0), (0, 1)))).all()


def test_places_keep_their_proportions_and_up_is_up():
    found = explore._screen(np.array([[0.0, 0.0], [4.0, 0.0], [0.0, 2.0]]))
    assert found.tolist() == [[0, round(0.75 * 65535)], [65535, round(0.75 * 65535)], [0, round(0.25 * 65535)]]
    assert np.isfinite(explore._screen(np.zeros((3, 2)))).all()


def test_neighbours_are_the_nearest_others():
    profile = np.random.default_rng(1).normal(size=(40, 3))
    distance = np.linalg.norm(profile[:, None] - profile, axis=2)
    np.fill_diagonal(distance, np.inf)
    assert (explore._neighbours(profile) == distance.argsort(1)[:, :5]).all()
    assert explore._neighbours(np.zeros((3, 2))).shape == (3, 2)


def test_numbers_that_do_not_fit_are_cut_off():
    assert base64.b64decode(explore._packed(np.array([-1.0, 70_000]), np.uint16)) == b"\0\0\xff\xff"


def test_what_is_not_known_is_a_group_of_its_own():
    mode = explore._mode("place", np.array([0, -1, 1]), ["land"], what="attribute")
    assert mode["names"] == ["land", "1", "not known"]
    assert np.frombuffer(base64.b64decode(mode["group"]), "<u2").tolist() == [0, 2, 1]
    assert mode["colors"] == list(PALETTE[:3])


def test_the_data_is_json_in_which_no_tag_ends(tmp_path: Path):
    write_audit(pictures(), tmp_path)  # one of the names is </script><b>.jpg
    source = write([tmp_path], tmp_path / "page.html").read_text("utf-8")
    found = re.search(r'<script type="application/json" class="atlas">(.*?)</script>', source, re.DOTALL)
    assert found and "<" not in found[1]
    assert "</script><b>.jpg" in json.loads(found[1])["names"]
    again = write([tmp_path], tmp_path / "again.html").read_text("utf-8")
    assert again == source


def test_contents_name_what_is_there(tmp_path: Path):
    write_audit(texts(), tmp_path / "a")
    make_run(tmp_path / "b", plan_of(), BIASED)
    page = Page(write([tmp_path], tmp_path / "page.html"))
    links = [attributes["href"] for attributes in page.of("a")]
    ids = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    assert len(links) > 8 and {link[1:] for link in links} <= ids
    contents = page.source.partition("<nav")[2].partition("</nav>")[0]
    for name in ("toy:x=1", "What was checked", "Candidate groups", "Methods", "Make it again"):
        assert name in contents


def test_a_short_page_has_no_contents(tmp_path: Path):
    (tmp_path / "audit.json").write_text('{"schema": 1, "command": "longcut", "clusters": [{}]}', "utf-8")
    assert Page(write([tmp_path], tmp_path / "page.html")).of("nav") == []
    made = Page(write([make_audit(tmp_path / "a")], tmp_path / "other.html"))
    assert len(made.of("nav")) == 1


def test_the_advised_command_can_be_copied(tmp_path: Path):
    said = "Compare <b>: longcut compare 'my data' --label y --methods erm,selecmix"
    page = Page(write([make_audit(tmp_path / "a", advice=said)], tmp_path / "page.html"))
    assert "<pre><code>longcut compare &#39;my data&#39; --label y --methods erm,selecmix</code></pre>" in page.source
    assert "Compare <b>: longcut compare 'my data'" in page.text
