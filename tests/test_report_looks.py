"""The panels of where nets look, and of whom they were unsure of while they learned."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from test_report import BETTER, BIASED, Page, make_run, pictures, plan_of, report

from longcut import runs
from longcut.execute import execute
from longcut.plans import plan
from longcut.report import embed, write
from longcut.report.looks import heated

LABEL, ATTRIBUTE = torch.tensor([0, 1, 1, 0]), torch.tensor([0, 1, 0, 1])  # the last two contradict


def kept(correct: list[list[float]]) -> dict[str, torch.Tensor]:
    """A record of the four samples, in another order than they are stored in."""
    row = torch.tensor([3, 0, 2, 1])
    record = torch.tensor(correct, dtype=torch.float32)
    return {"index": row, "label": LABEL[row], "attribute": ATTRIBUTE[row]} | dict.fromkeys(
        ("correct", "loss", "margin"), record
    )


def recorded(place: Path, correct: list[list[float]], method: str = "umix", seed: int = 0) -> Path:
    said = {"outputs": torch.eye(2)[LABEL], "label": LABEL, "attribute": ATTRIBUTE}
    plan = plan_of(method, seed)
    return make_run(place / f"{method}{seed}", plan, BETTER, predictions=said, identification=kept(correct))


# --- whom a net was unsure of -----------------------------------------------------------------------------------------


def test_wrong_epochs_of_those_that_agree_and_of_those_that_contradict(tmp_path: Path):
    nan = float("nan")
    recorded(tmp_path, [[1, 1, 0, 0], [1, 0, 0, 1], [1, nan, 0, 1], [1, nan, 0, 0]])
    part = report(tmp_path).text.partition("Whom the nets were unsure of")[2].partition("Settings")[0]
    # 0 is never wrong and 1 in one of two epochs, 2 in all four and 3 in two of four
    assert "Method Wrong Never right Agree Contradict Agree Contradict UMIX 25.0 75.0 0.0 50.0" in part


def test_seeds_have_a_spread_and_who_keeps_no_record_is_left_out(tmp_path: Path):
    recorded(tmp_path, [[1, 1, 0, 0]], seed=0)
    recorded(tmp_path, [[0, 1, 1, 0]], seed=1)
    make_run(tmp_path / "erm", plan_of("erm"), BIASED)
    recorded(tmp_path, [[1, 1, 0, 0]], "jtt")
    make_run(tmp_path / "jtt1", plan_of("jtt", 1), BETTER)  # an older run of the same method
    part = report(tmp_path).text.partition("Whom the nets were unsure of")[2].partition("Settings")[0]
    assert re.search(r"UMIX 25\.0 ± 35\.4 75\.0 ± 35\.4 25\.0 ± 35\.4 75\.0 ± 35\.4", part)
    assert "ERM" not in part
    assert "JTT" not in part, "half told is not told"


@pytest.mark.parametrize("why", ["no attribute", "removed", "no record"])
def test_no_panel_without_all_it_needs(why: str, tmp_path: Path):
    folder = recorded(tmp_path, [[1, 1, 0, 0]])
    if why == "removed":
        (folder / "identification.safetensors").unlink()
    else:
        left = ("attribute",) if why == "no attribute" else ("correct", "loss", "margin")
        found = {name: column for name, column in kept([[1, 1, 0, 0]]).items() if name not in left}
        make_run(tmp_path / "jtt", plan_of("jtt"), BETTER, identification=found)
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
    assert "unsure" not in report(tmp_path).text


def test_a_run_of_ours_says_the_same_as_the_analysis(tmp_path: Path):
    from longcut.analyses import uncertainty

    settings = {"epochs": 3, "net": "mlp:hidden=32", "record": "online"}
    execute(plan("colored-digits:ratio=0.1", "erm", settings=settings), tmp_path / "erm")
    text = Page(write([tmp_path / "erm"], tmp_path / "page.html")).text
    groups = uncertainty([runs.read(tmp_path / "erm")]).to_dict("records")
    sides = [[group for group in groups if group["conflicting"] is side] for side in (False, True)]
    agree, contradict = (
        f"{100 * np.average([g['uncertainty'] for g in own], weights=[g['samples'] for g in own]):.1f}" for own in sides
    )
    part = text.partition("Whom the nets were unsure of")[2]
    assert f"ERM {agree} {contradict} " in part
    assert float(contradict) > float(agree)


# --- where a net looks ------------------------------------------------------------------------------------------------


def test_an_image_is_bright_where_the_map_is():
    image = torch.full((3, 4, 4), 100, dtype=torch.uint8)
    places = torch.zeros(2, 2)
    places[0, 0] = 5.0
    found = heated(image, places)
    assert found.shape == (3, 4, 4)
    assert found.dtype == np.uint8
    assert found[:, 0, 0].astype(int).sum() == found.astype(int).sum(0).max()
    assert np.array_equal(found, heated(image, 1000 * places)), "each map has its own scale"
    dark = heated(image, torch.zeros(2, 2))
    assert (dark < 45).all(), "four tenths of the image, and nearly black"
    assert np.array_equal(dark, heated(image, torch.full((2, 2), torch.nan)))


def test_images_stand_under_their_maps_by_method(tmp_path: Path):
    shown = pictures() | {"sample_map": torch.rand(40, 2, 2, generator=torch.Generator().manual_seed(0))}
    make_run(tmp_path / "erm", plan_of("erm"), BIASED, gallery=shown)
    make_run(tmp_path / "lff", plan_of("lff"), BETTER, gallery=pictures())
    page = report(tmp_path)
    part = page.source.partition("<h3>Where the net of ERM looks")[2].partition("<h3>")[0]
    uris = re.findall(r'<img src="([^"]*)"', part)
    expected = [embed.uri(heated(shown["sample_x"][i], shown["sample_map"][i])) for i in [*range(10), *range(30, 40)]]
    assert uris[:20] == expected, "ten that agree, then ten that contradict"
    assert "Where the net of LfF looks" not in page.text


def test_without_an_attribute_nothing_is_said_of_it(tmp_path: Path):
    shown = {name: column for name, column in pictures().items() if name.startswith("sample_")}
    shown |= {"sample_map": torch.rand(40, 2, 2), "sample_conflicting": torch.zeros(40, dtype=torch.bool)}
    del shown["sample_attribute"]
    make_run(tmp_path / "erm", plan_of("erm"), BIASED, gallery=shown, attributes=(), aligned=())
    text = report(tmp_path).text
    assert "Where the net of ERM looks" in text
    assert "agrees with" not in text.partition("Where the net of ERM looks")[2].partition("Settings")[0]
