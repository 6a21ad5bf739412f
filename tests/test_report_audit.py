"""The part of the page about an audit: what it says, what it shows of the samples, and what may be missing."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from test_report import BIASED, HOSTILE, Page, check_self_contained, make_run, plan_of, report
from torch import Tensor

from longcut.errors import UserError
from longcut.report import audit, samples, write

CLASSES = ("landbird", "waterbird")
COLORS = torch.tensor([[200, 30, 30], [30, 160, 60], [40, 60, 220]])  # of the pictures, told apart by eye


# --- synthetic audit folders ------------------------------------------------------------------------------------------


def finding_of(**fields: Any) -> dict[str, Any]:
    finding = {"name": "learned", "question": "Is there an easy cue?", "statistic": 0.6, "measure": "gap of accuracy"}
    finding |= {"baseline": 0.05, "interval": [0.5, 0.7], "p_value": 0.0004, "verdict": "alarm"}
    return finding | {"sentence": "There is one: it is worth 60 points.", "table": []} | fields


def sample_of(row: int, label: str, looks_like: str, kind: str = "typical", **fields: Any) -> dict[str, Any]:
    sample = {"row": row, "name": f"birds/{row}.jpg", "label": label, "looks_like": looks_like, "kind": kind}
    sample |= {"score": round(1 - row / 100, 2), "attribute": None, "picture": None, "text": None, "marks": []}
    return sample | {"cells": None} | fields


def shown_as(kind: str, i: int) -> dict[str, Any]:
    """What a sample of that kind has to be shown by; ``i`` is 0 for landbirds, 1 for waterbirds, 2 for suspects."""
    if kind == "image":
        return {"picture": i}
    if kind == "tokens":
        return {"text": ("It sings in a tree.", "It swims on a lake.", "It sings on a lake.")[i], "marks": ["lake"]}
    cells = {"place": ("tree", "lake", "lake")[i], "sound": ("song", "splash", "song")[i]}
    return {"cells": [{"column": c, "value": v, "odd": i == 2 and c == "place"} for c, v in cells.items()]}


def record_of(kind: str = "image", **changes: Any) -> dict[str, Any]:
    """The record of an audit with five suspects: four landbirds that look like waterbirds, and one the other way."""
    land, water = CLASSES
    suspects = [sample_of(i, land, water, "conflicting", **shown_as(kind, 2)) for i in range(4)]
    suspects += [sample_of(4, water, land, "mislabelled", **shown_as(kind, 2))]
    typical = [sample_of(10 + i, CLASSES[i % 2], CLASSES[i % 2], **shown_as(kind, i % 2)) for i in range(8)]
    pair = {"suspect": suspects[0], "looks_like": typical[1], "same_label": typical[0]}
    record = {"schema": 1, "longcut": "0.1.0", "data": "birds", "kind": kind, "n": 1200, "level": 0.05, "seed": 3}
    record |= {"classes": list(CLASSES), "class_counts": [900, 300], "attribute": None, "attributes": []}
    record |= {"verdict": "alarm", "headline": "The lake gives the label away.", "advice": "Train with SelecMix."}
    record |= {"findings": [finding_of()], "suspected": 60, "suspected_share": 0.05, "pairs": [pair]}
    record["curves"] = {"updates": [10, 20], "aligned": [0.7, 0.97], "conflicting": [0.3, 0.31], "chance": 0.5}
    record["gallery"] = {"suspects": suspects, "typical": typical}
    clusters = [{"class": land, "cluster": 2, "n": 1184, "share_suspected": 0.031, "looks_like": water}]
    record |= {"clusters": clusters, "seconds": 12.34, "environment": {"python": "3.12"}, "fingerprint": "abc123"}
    return record | {"command": "longcut audit birds --size 72"} | changes


def tensors_of() -> dict[str, Tensor]:
    label = torch.arange(30) % 2
    suspected = torch.arange(30) >= 25
    embedding = torch.randn(30, 2, generator=torch.Generator().manual_seed(0))
    looks = torch.where(suspected, 1 - label, label)
    picture = COLORS.to(torch.uint8)[:, :, None, None].expand(3, 3, 6, 6).contiguous()
    mapped = {"embedding": embedding, "label": label, "looks": looks, "suspected": suspected}
    return {"picture": picture} | {f"map_{name}": column for name, column in mapped.items()}


def make_audit(folder: Path, kind: str = "image", tensors: Mapping[str, Tensor] | None = None, **changes: Any) -> Path:
    """An audit folder as an audit writes it."""
    folder.mkdir(parents=True)
    (folder / "audit.json").write_text(json.dumps(record_of(kind, **changes)), "utf-8")
    save_file(dict(tensors_of() if tensors is None else tensors), folder / "gallery.safetensors")
    return folder


def page_of(folder: Path, kind: str = "image", **changes: Any) -> Page:
    return report(make_audit(folder / "audit", kind, **changes))


def in_order(text: str, *parts: str) -> bool:
    places = [text.find(part) for part in parts]
    return -1 not in places and places == sorted(places)


def color(found: Mapping[str, str]) -> int:
    """Which of ``COLORS`` an image has."""
    data = base64.b64decode(found["src"].partition(",")[2])
    pixel = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))[3, 3].astype(int)
    return int(np.abs(COLORS.numpy() - pixel).sum(1).argmin())


# --- what it says -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["image", "tokens", "table"])
def test_the_page_begins_with_verdict_headline_and_advice(tmp_path: Path, kind: str):
    found = page_of(tmp_path, kind)
    check_self_contained(found)
    facts = f"1,200 {audit.KINDS[kind]} · 2 classes · 60 suspected (5.0 %)"
    order = ("Alarm", "The lake gives the label away.", "Train with SelecMix.", facts, "What was checked")
    assert in_order(found.text, *order, "Suspected samples", "Contradicting pairs", "Candidate groups")


def test_a_finding_has_question_answer_picture_and_evidence(tmp_path: Path):
    rows = [{"cue": f"cue {i}", "accuracy": 0.5 + i / 100, "n": 1234, "told": True, "p": None} for i in range(9)]
    found = page_of(tmp_path, findings=[finding_of(table=rows), finding_of(verdict="clear"), finding_of(verdict="?")])
    assert in_order(found.text, "1 alarm", "1 cannot tell", "1 clear", "Is there an easy cue?", "worth 60 points")
    assert in_order(found.text, "Evidence 9 rows", "cue accuracy n told p", "cue 0 0.5 1,234 yes –")
    labels = [attributes.get("aria-label", "") for attributes in found.of("svg")]
    assert "0.6, 95 % interval 0.5 to 0.7; without a shortcut 0.05" in labels
    assert "p < 0.001" in found.text


@pytest.mark.parametrize(
    ("fields", "places"),
    [
        ({"statistic": 0.8, "baseline": 0.5, "interval": [0.75, 0.85]}, (80, 50, 75, 85)),
        ({"statistic": 100, "baseline": 0, "interval": [50, 200]}, (100 / 2.2, 0, 50 / 2.2, 200 / 2.2)),
        ({"statistic": -0.5, "baseline": 0.0, "interval": [-1, 0]}, (0.6 / 2.1 * 100, 1.1 / 2.1 * 100, 100 / 21, None)),
        ({"statistic": 0.25, "baseline": None, "interval": None}, (25, None, None, None)),
    ],
)
def test_a_gauge_puts_numbers_where_they_belong(fields: dict[str, Any], places: tuple[float | None, ...]):
    gauge = audit._gauge(finding_of(**fields))
    assert gauge is not None
    for name, place in zip(("statistic", "baseline", "low", "high"), places, strict=True):
        if place is not None:
            assert gauge[name] == pytest.approx(place)
    assert audit._gauge(finding_of(statistic=None)) is None


def test_without_curves_the_loudest_finding_is_the_picture(tmp_path: Path):
    findings = [
        finding_of(question="Loud, but no alarm?", statistic=0.99, verdict="notice"),
        finding_of(question="The weaker alarm?", statistic=0.3),
        finding_of(question="The stronger alarm?", statistic=0.4),
        finding_of(question="An alarm of nothing?", statistic=None),
    ]
    found = page_of(tmp_path, "table", findings=findings, curves=None)
    assert in_order(found.text, "(5.0 %)", "The stronger alarm? gap of accuracy", "What was checked", "Loud")
    assert "How an ordinary model learns" not in found.text


def test_curves_and_their_ends(tmp_path: Path):
    found = page_of(tmp_path, "tokens")
    agree, contradict = "agrees with the easy cue 97 % an ordinary model", "contradicts it 31 % an ordinary model"
    assert in_order(found.text, agree, contradict, "older audit does not say what remains", "chance, 50 %")
    assert "the same selection without" not in found.text  # which that audit did not keep
    label = next(a["aria-label"] for a in found.of("svg") if "held-out" in a.get("aria-label", ""))
    assert "ends with agreeing 97.0 %, contradicting 31.0 %; chance is 50.0 %" in label


WITHOUT = {"ordinary": [0.97, 0.31], "without": [0.9, 0.65], "remains": 0.41, "interval": [0.3, 0.5]}


@pytest.mark.parametrize("kind", ["table", "image"])
def test_beside_what_is_lost_stands_what_the_same_selection_costs(tmp_path: Path, kind: str):
    curves = record_of()["curves"] | WITHOUT | {"caption": "Remains: <i>41</i> points."}
    found = page_of(tmp_path, kind, curves=curves)
    assert found.text.count("Remains: <i>41</i> points.") == 1, "escaped, and below whichever picture there is"
    assert "<i>41" not in found.source
    fair = "the same selection without relying on the easy cue"
    drawn = (
        f"agrees with the easy cue 97 % an ordinary model 90 % {fair}",
        f"contradicts it 31 % an ordinary model 65 % {fair}",
    )
    assert in_order(found.text, *drawn, "Remains") == (kind == "table")
    widths = [a["style"] for name, a in found.tags if name == "span" and a.get("style", "").startswith("width")]
    if kind == "table":
        assert widths[:4] == ["width: 97.00%", "width: 90.00%", "width: 31.00%", "width: 65.00%"]
    label = next(a["aria-label"] for a in found.of("svg") if "held-out" in a.get("aria-label", ""))
    assert "agreeing, without relying on the easy cue 90.0 %, contradicting, without relying" in label


@pytest.mark.parametrize("part", ["without", "interval", "ordinary"])
def test_a_picture_of_another_size_is_damage(tmp_path: Path, part: str):
    with pytest.raises(UserError, match="damaged"):
        page_of(tmp_path, curves=record_of()["curves"] | WITHOUT | {part: [0.5]})


def test_settings_and_the_command(tmp_path: Path):
    text = page_of(tmp_path, attribute="place", attributes=["land", "water"]).text
    assert in_order(text, "Settings and versions", "Classes landbird 900 · waterbird 300", "Attribute place", "Seed 3")
    assert in_order(text, "Took 12.3 s", "longcut 0.1.0, python 3.12", "abc123", "longcut audit birds --size 72")


# --- samples ----------------------------------------------------------------------------------------------------------


def test_suspected_pictures_stand_beside_typical_ones(tmp_path: Path):
    found = page_of(tmp_path)
    colors = [color(image) for image in found.of("img")]
    # on top: suspects, the doubtful last, over typical ones of the class they look like
    assert colors[:10] == [2, 2, 2, 2, 2, 1, 1, 1, 1, 0]
    assert [image["alt"] for image in found.of("img")][:2] == [
        "birds/0.jpg: landbird, looks like waterbird",
        "birds/1.jpg: landbird, looks like waterbird",
    ]
    # the gallery: four that look like waterbirds beside typical waterbirds, then the other way round
    assert colors[10:] == [2] * 4 + [1] * 3 + [2] + [0] * 3 + [2, 1, 0]
    assert in_order(found.text, "Look like waterbird", "landbird score 1.00", "Typical waterbird")
    assert "perhaps mislabelled" in found.text
    assert "Here are 5; all 60 are in suspects.csv" in found.text


def test_the_strip_takes_turns_and_the_doubtful_come_last():
    given = [("mislabelled", "a"), ("conflicting", "b"), ("conflicting", "b"), ("conflicting", "c"), ("unclear", "b")]
    suspects = [sample_of(i, "x", looks, kind, picture=0) for i, (kind, looks) in enumerate(given)]
    columns = samples.strip(({"gallery": {"suspects": [*suspects, suspects[0]]}, "attribute": "place"}, tensors_of()))
    assert [column["suspect"]["name"] for column in columns] == [f"birds/{i}.jpg" for i in (1, 3, 2, 0, 4)]
    assert all(column["typical"] is None for column in columns)


def test_many_suspects_are_not_all_shown(tmp_path: Path):
    suspects = [sample_of(i, "landbird", "waterbird", "conflicting", picture=2) for i in range(40)]
    found = page_of(tmp_path, gallery={"suspects": suspects, "typical": []}, pairs=None)
    assert len(found.of("img")) == 5 + 24
    assert "birds/23.jpg" in found.text
    assert "birds/24.jpg" not in found.text


def test_cue_words_are_marked(tmp_path: Path):
    found = page_of(tmp_path, "tokens")
    assert len(found.of("mark")) == 5 + 3 + 2  # suspects, typical waterbirds, and two of the pair
    assert "It sings on a <mark>lake</mark>." in found.source


@pytest.mark.parametrize(
    ("text", "words", "expected"),
    [
        ("Lake, lakes; LAKE!", ["lake"], "<mark>Lake</mark>, lakes; <mark>LAKE</mark>!"),
        ("not at all", ["not", "not at"], "<mark>not at</mark> all"),
        ("a flake, a lake", ["lake"], "a flake, a <mark>lake</mark>"),
        ("a.c abc", ["a.c", ""], "<mark>a.c</mark> abc"),
        ("<mark>", ["mark"], "&lt;<mark>mark</mark>&gt;"),
        ("plain & simple", [], "plain &amp; simple"),
    ],
)
def test_marks_stand_where_the_words_do(text: str, words: list[str], expected: str):
    assert str(samples.marked(text, words)) == expected


def test_a_long_text_is_cut_around_the_word():
    text = "a " * 500 + "lake" + " b" * 500
    cut = samples._excerpt(text, ["lake"])
    assert "lake" in cut
    assert cut[0] == cut[-1] == "…"
    assert len(cut) <= samples.LETTERS + 2
    assert samples._excerpt(text, []).startswith("a a")


def test_odd_cells_are_marked(tmp_path: Path):
    found = page_of(tmp_path, "table")
    assert len(found.of("mark")) == 5 + 1
    assert "<mark>lake</mark>" in found.source
    assert in_order(found.text, "Sample Label Looks like Score place sound", "Suspected birds/0.jpg landbird waterbird")
    assert in_order(found.text, "1.00 lake song", "Typical birds/11.jpg waterbird waterbird 0.89 lake splash")
    assert in_order(found.text, "Suspect landbird Looks alike waterbird Same label landbird", "place lake lake tree")


def test_every_cell_stands_under_its_column(tmp_path: Path):
    shown = [("place", "lake"), ("sound", "song")], [("sound", "hiss"), ("size", "8")]
    suspects = [
        sample_of(i, "landbird", "owl", "unclear", cells=[{"column": c, "value": v, "odd": False} for c, v in cells])
        for i, cells in enumerate(shown)
    ]
    found = page_of(tmp_path, "table", gallery={"suspects": suspects, "typical": []}, pairs=None)
    rows = [
        re.findall(r"<td dir=.auto.>(.*?)</td>", row)
        for row in re.findall(r'<tr><th scope="row">.*?</tr>', found.source, re.DOTALL)
    ]
    assert "Score sound place size" in found.text  # the commonest first
    assert rows[:2] == [["landbird", "owl", "song", "lake", ""], ["landbird", "owl", "hiss", "", "8"]]


def test_pairs_may_lack_a_sample_or_a_column(tmp_path: Path):
    suspect = sample_of(0, "landbird", "waterbird", "conflicting", **shown_as("table", 2))
    other = sample_of(1, "waterbird", "waterbird", cells=[{"column": "sound", "value": "hiss", "odd": False}])
    pairs = [{"suspect": suspect, "looks_like": other, "same_label": None}]
    assert "sound song hiss place lake" in page_of(tmp_path, "table", pairs=pairs).text


def test_the_map_is_coloured_by_label_by_looks_and_by_the_attribute(tmp_path: Path):
    tensors = tensors_of() | {"map_attribute": torch.zeros(30, dtype=torch.long)}
    given = {"attribute": "place", "attributes": ["forest"]}
    found = Page(write([make_audit(tmp_path / "a", tensors=tensors, **given)], tmp_path / "a.html"))
    assert in_order(
        found.text, "Coloured by label landbird", "Coloured by what it looks like", "Coloured by place forest"
    )
    assert "Map of 30 samples" in found.source
    assert "a ring marks the suspected" in found.text
    assert "Coloured by place" not in page_of(tmp_path / "b").text


def test_candidate_groups(tmp_path: Path):
    assert "landbird 2 1,184 3.1 % waterbird" in page_of(tmp_path).text


# --- what data may do -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["image", "tokens", "table"])
def test_whatever_comes_from_data_stays_text(tmp_path: Path, kind: str):
    def hostile(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: hostile(item) for key, item in value.items()}
        if isinstance(value, list):
            return [hostile(item) for item in value]
        return HOSTILE if isinstance(value, str) else value

    record = hostile(record_of(kind, findings=[finding_of(table=[{"a": HOSTILE}])]))
    record |= {"kind": kind, "verdict": "alarm", "classes": [HOSTILE, HOSTILE + "2"], "environment": {HOSTILE: HOSTILE}}
    for cluster in record["clusters"]:
        cluster["looks_like"] = HOSTILE
    found = page_of(tmp_path, **record)
    assert len(found.of("script")) == 1
    assert not any(name.startswith("on") for _, attributes in found.tags for name in attributes)
    assert all(image["src"].startswith("data:image/") for image in found.of("img"))
    assert found.text.count(" ".join(HOSTILE.split())) > 15


def test_any_key_may_be_missing_or_null(tmp_path: Path):
    record, keys = record_of(), [key for key in record_of() if key != "schema"]
    some = [{key: value for key, value in record.items() if key != missing} for missing in keys]
    for changed in (*some, record | dict.fromkeys(keys)):
        tensors = {"picture": tensors_of()["picture"]}
        folder = make_audit(tmp_path / str(len(list(tmp_path.iterdir()))), tensors=tensors)
        (folder / "audit.json").write_text(json.dumps(changed), "utf-8")
        assert "None" not in report(folder).text


def test_an_audit_that_says_nothing(tmp_path: Path):
    (tmp_path / "audit.json").write_text('{"schema": 1}', "utf-8")
    found = report(tmp_path)
    assert in_order(found.text, "some data", "Cannot tell", "Nothing was concluded.", "Settings and versions")
    for part in ("What was checked", "Suspected samples", "pairs", "Make it again", "sees the data", "groups"):
        assert part not in found.text


def test_samples_without_their_fields(tmp_path: Path):
    gallery = {"suspects": [{"row": 7}], "typical": [{}]}
    text = page_of(tmp_path, gallery=gallery, pairs=[{}], clusters=[{}], findings=[{}]).text
    assert "row 7" in text
    assert "None" not in text


# --- audits and runs --------------------------------------------------------------------------------------------------


def test_an_audit_comes_before_the_runs(tmp_path: Path):
    make_run(tmp_path / "b", plan_of(), BIASED)
    make_audit(tmp_path / "a" / "audit")
    found = report(tmp_path)
    assert len(found.of("section")) == 2
    assert in_order(found.text, "birds, toy:ratio=0.02", "The lake gives", "ERM follows the colour")
    again = Page(write([tmp_path / "b", tmp_path / "a", tmp_path], tmp_path / "again.html"))
    assert again.source == found.source


def test_neither_run_nor_audit(tmp_path: Path):
    make_audit(tmp_path / "a")
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        UserError, match=r"no run and no audit at or below .*empty; name folders that they were written"
    ):
        write([tmp_path / "a", tmp_path / "empty"], tmp_path / "page.html")


def test_a_damaged_audit_is_said_so(tmp_path: Path):
    (tmp_path / "audit.json").write_text("{", "utf-8")
    with pytest.raises(UserError, match="damaged"):
        write([tmp_path], tmp_path / "page.html")


def test_the_same_audit_gives_the_same_page(tmp_path: Path):
    folder = make_audit(tmp_path / "a")
    assert report(folder).source == report(folder).source
    assert not re.search(r"\bnan\b", report(folder).text)


def test_where_a_model_errs_is_shown_by_samples(tmp_path: Path):
    samples = [sample_of(i, *CLASSES, "conflicting", **shown_as("image", 1)) for i in range(3)]
    found = page_of(tmp_path, slices=[{"slice": "it looks like <lake>", "samples": samples}])
    assert in_order(found.text, "Where an ordinary model errs", "it looks like <lake>", "Suspected samples")
    assert "Where an ordinary model errs" not in page_of(tmp_path / "none").text


def test_what_changed_since_a_baseline_stands_on_the_page(tmp_path: Path):
    then = {"verdict": "notice", "what": "", "statistic": 0.4, "interval": [0.3, None]}
    change = {"name": "words", "how": "graver", "then": then, "now": {**then, "verdict": "alarm"}, "counts": True}
    found = {
        "verdicts": ["notice", "alarm"],
        "sentence": "The verdict was notice and is alarm.",
        "unfair": "Unfair <so>.",
    }
    page = page_of(tmp_path, baseline={**found, "changes": [change, {**change, "how": "gone", "now": None}]})
    told = ("Against the baseline", "The verdict was notice and is alarm.", "Unfair <so>.", "words graver")
    assert in_order(page.text, *told, "notice 0.4 [0.3, –]", "alarm 0.4 [0.3, –]", "words gone", "What was checked")
    assert "Nothing that was found has changed." in page_of(tmp_path / "b", baseline={**found, "changes": []}).text
