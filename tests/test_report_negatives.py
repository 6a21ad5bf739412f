"""The panel of hard and easy negatives, and the maps of both encoders."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from test_report import BETTER, make_run, pictures, plan_of, report, with_negatives

from longcut.report import embed


def shown(place: Path, gallery: dict[str, torch.Tensor], **about):
    make_run(place / "lff", plan_of("lff"), BETTER, gallery=gallery, **about)
    return report(place)


def test_anchors_stand_beside_their_hardest_and_easiest_negatives(tmp_path: Path):
    found = with_negatives(pictures())
    page = shown(tmp_path, found)
    assert "Hard and easy negatives" in page.text
    assert "Negatives of LfF" in page.text
    part = page.source[page.source.index("Negatives of LfF") :]
    pictured = re.findall(r'<img src="([^"]*)" alt="([^"]*)"', part)
    expected = [embed.uri(picture.numpy()) for picture in found["negative_x"]]
    assert [uri for uri, _ in pictured] == expected, "each anchor, then the hardest, then the easiest"
    row = found["negative_row"]
    weight, far, near = (found[f"negative_{name}"] for name in ("weight", "debiased", "biased"))
    assert f"weights {weight[0, 0, 0]:.2f} to {weight[0, 0, -1]:.2f}" in part
    for i in range(len(row)):
        for j in range(2):
            for k in range(row.shape[2]):
                assert f"net {far[i, j, k]:.2f}<br>bias {near[i, j, k]:.2f}" in part


def test_the_table_says_what_they_have_in_common(tmp_path: Path):
    """A net of the label alone and a bias model of the attribute alone: all hard ones mislead, all easy ones help."""
    page = shown(tmp_path, with_negatives(pictures()))
    part = page.source[page.source.index("Negatives of LfF") :]
    rows = re.findall(r"<th scope=\"row\">([^<]*)</th>(.*?)</tr>", part, re.DOTALL)
    shares = {name: re.findall(r">([\d.]+)&#8239;%<", cells.replace("\u202f", "&#8239;")) for name, cells in rows}
    # 15 of each label agree and 5 contradict: of the 39 others of a sample, the same attribute and another label have
    # 5 if it agrees (30 samples) and 15 if not (10), in all 300 of 1560 pairs
    assert shares["the 3 hardest"][:3] == ["100", "0", "0"]
    assert shares["the 3 easiest"][:3] == ["0", "100", "0"]
    assert [shares["all"][i] for i in (0, 1, 3)] == ["19", "19", "25"]


def test_both_encoders_have_a_map(tmp_path: Path):
    page = shown(tmp_path, with_negatives(pictures()))
    labels = [attributes["aria-label"] for attributes in page.of("svg") if "aria-hidden" not in attributes]
    for who in ("bias model", "net"):
        assert f"How the {who} of LfF sees the data" in page.text
        for what in ("label", "attribute"):
            assert f"Map of 40 training samples as the {who} of LfF sees them, by {what}." in labels


def test_a_run_from_before_has_no_such_panel(tmp_path: Path):
    page = shown(tmp_path, pictures())
    assert "How the bias model of LfF sees the data" in page.text
    assert "How the net" not in page.text
    assert "negatives" not in page.text.lower()


@pytest.mark.parametrize("without", ["attribute", "pictures", "classes"])
def test_what_is_not_known_is_left_out(without: str, tmp_path: Path):
    found = with_negatives(pictures())
    if without == "attribute":
        del found["embedding_attribute"]
        found["embedding_conflicting"] = torch.zeros(40, dtype=torch.bool)
    elif without == "pictures":
        found = {name: value for name, value in found.items() if "_x" not in name and name[:4] not in ("samp", "pair")}
    else:
        found["embedding_label"] = torch.rand(40)
    page = shown(tmp_path, found)
    part = page.source[page.source.index("Negatives of LfF") :]
    assert ("the 3 hardest" in part) == (without == "pictures")
    assert ("more often than they occur" in part) == (without != "attribute")
    assert ("<img" in part) == (without != "pictures")
    assert part.count('class="sample"') == 3 * 7
