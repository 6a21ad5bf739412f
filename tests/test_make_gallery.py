"""The pictures of augmentations and mixtures in the docs: all that is in the tables is drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from test_story import script

from longcut import augment
from longcut.errors import UserError
from longcut.methods import METHODS
from longcut.methods.erm import ERM
from longcut.methods.mixing.base import MixingMethod
from longcut.methods.mixing.mixup import Mixup
from longcut.mixing import BLENDS
from longcut.registry import load_file

MINE = """
from longcut.mixing import Seeing


def dark(x, generator):
    return x / 2


def half(own, partner, share, generator, seen):
    \"\"\"The ``left`` half of the partner.\"\"\"
    assert seen.net(own).shape == (len(own), 2)
    mixed = own.clone()
    mixed[:, :, :, : own.shape[3] // 2] = partner[:, :, :, : own.shape[3] // 2]
    return mixed, 0 * share + 0.5


AUGMENTS = {"dark": dark}
BLENDS = {"half": Seeing(half)}
"""


@pytest.fixture(scope="module")
def drawing() -> Any:
    return script("make_gallery")


@pytest.fixture(scope="module")
def data(drawing: Any) -> Any:
    return drawing.photographs()


def test_photographs_are_eight_and_two_contradict_the_shortcut(data: Any):
    assert data.x.shape == (8, 3, 128, 128) and data.x.dtype == torch.uint8
    assert data.label.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    assert data.conflicting.nonzero().flatten().tolist() == [3, 4]
    assert len({tuple(photo.flatten().tolist()) for photo in data.x}) == 8


def test_all_that_is_registered_is_drawn(drawing: Any, data: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "mine.py").write_text(MINE)
    load_file(tmp_path / "mine.py")
    rows = []
    monkeypatch.setattr(drawing, "sheet", lambda pictures, path, *said: rows.append([*pictures]) or path.touch())
    drawing.main(tmp_path / "out")
    of_images = [name for name, rule in augment.AUGMENTS.items() if "image" in augment.kinds_of(rule)]
    assert [row.partition(":")[0] for row in rows[0]] == of_images and "dark" in rows[0]
    mixing = [name for name, cls in METHODS.items() if issubclass(cls, MixingMethod) and "classification" in cls.tasks]
    for what, names in (("blend", [*BLENDS]), ("method", mixing)):
        page = (tmp_path / "out" / f"{what}s.md").read_text("utf-8")
        found = [line[4:] for line in page.splitlines() if line.startswith("### ")]
        assert [name for name in found if name in names] == names
        assert all((tmp_path / "out" / f"{what}-{name}.jpg").exists() for name in names)
    assert "### half\n\nThe `left` half of the partner.\n" in (tmp_path / "out" / "blends.md").read_text("utf-8")


def test_names_in_the_list_of_strong_ones_exist(drawing: Any):
    assert [augment.names(spec) for spec in drawing.STRONG.values()] == [[name] for name in drawing.STRONG]


def test_a_mask_is_the_way_from_the_anchor_to_the_partner(drawing: Any):
    own, partner = torch.zeros(1, 3, 9, 9), torch.ones(1, 3, 9, 9)
    mixed = torch.full_like(own, 0.3)
    mixed[:, :, :, :3], mixed[:, :, :, 3] = 1, 0
    mask = drawing.towards(own, partner, mixed)[0, 0]
    torch.testing.assert_close(mask, torch.tensor([1.0, 1, 1, 0, 0.3, 0.3, 0.3, 0.3, 0.3]).expand(9, 9))
    partner[:, :, 4, 4] = own[:, :, 4, 4] = 0.5  # alike there, and so unknown
    assert drawing.towards(own, partner, torch.lerp(own, partner, 0.3))[0, 0, 4, 4].item() == pytest.approx(
        0.3, abs=1e-5
    )


def test_a_method_that_refuses_is_left_out_and_said(drawing: Any, data: Any, monkeypatch: pytest.MonkeyPatch):
    class Shy(Mixup):
        name = "shy"

        def check(self, splits: Any) -> None:
            raise UserError("it is dark.")

    class OnlyNumbers(Mixup):
        name, tasks = "numbers", frozenset({"regression"})

    monkeypatch.setattr(drawing, "METHODS", {"shy": Shy, "numbers": OnlyNumbers})
    with pytest.warns(UserWarning, match=r"the gallery has no shy: it is dark\."):
        assert drawing.methods(data) == {}


def test_who_has_no_partner_stays_as_it_is(drawing: Any, data: Any, monkeypatch: pytest.MonkeyPatch):
    def pairs(self: Mixup, train: Any, n: int) -> dict[str, torch.Tensor]:
        mixed = torch.full((1, 3, 128, 128), 51.0)
        return {
            "anchor": torch.tensor([2]),
            "partner": torch.tensor([5]),
            "share": torch.tensor([0.25]),
            "mixed": mixed,
        }

    monkeypatch.setattr(Mixup, "pairs", pairs)
    monkeypatch.setattr(drawing, "METHODS", {"mixup": Mixup})
    about, shown = drawing.methods(data)["mixup"]
    assert about.startswith("Train on `share * x") and about.endswith(f"*{Mixup.paper}.*")
    x = data.gather(torch.arange(8))
    assert shown.share.tolist() == [1, 1, 0.25, 1, 1, 1, 1, 1]
    assert shown.label[2].tolist() == [0.25, 0.75] and shown.label[5].tolist() == [0, 1]
    assert torch.equal(shown.partner[2], x[5]) and torch.equal(shown.mixed[7], x[7])
    torch.testing.assert_close(shown.mixed[2], torch.full((3, 128, 128), 0.2))


def test_a_method_may_say_its_pairs_and_no_more(drawing: Any, data: Any, monkeypatch: pytest.MonkeyPatch):
    class Plain(ERM):
        name = "plain"

        def pairs(self, train: Any, n: int) -> dict[str, torch.Tensor]:
            return {"anchor": torch.tensor([0]), "partner": torch.tensor([4]), "share": torch.tensor([0.75])}

    monkeypatch.setattr(drawing, "METHODS", {"plain": Plain, "erm": ERM})
    ((name, (_, shown)),) = drawing.methods(data).items()
    x = data.gather(torch.arange(8))
    assert name == "plain" and shown.label[0].tolist() == [0.75, 0.25]
    torch.testing.assert_close(shown.mixed[0], 0.75 * x[0] + 0.25 * x[4])


def test_a_picture_has_its_tiles_where_they_belong(drawing: Any, tmp_path: Path):
    red, blue = (torch.tensor(color).view(3, 1, 1).expand(8, 3, 128, 128) for color in ([1.0, 0, 0], [0.0, 0, 1]))
    label = torch.eye(2)[[0, 0, 0, 0, 1, 1, 1, 1]]
    drawing.sheet({"red": red, "blue:side=3": blue}, tmp_path / "plain.jpg")
    drawing.sheet({"red": red, "blue:side=3": blue}, tmp_path / "said.jpg", torch.ones(8), label)
    plain, said = (np.asarray(Image.open(tmp_path / name)).astype(int) for name in ("plain.jpg", "said.jpg"))
    assert len(said) == len(plain) + 64
    for picture in (plain, said):
        for column in range(8):
            across = 147 + 134 * column + 64
            assert (abs(picture[[64, 198], across] - [[255, 0, 0], [0, 0, 255]]) < 12).all()
    first, last = said[273, [147 + 64, 147 + 134 * 7 + 64]]  # bars: blue for a temple, orange for a flower
    assert first[2] > 140 > first[0] and last[0] > 200 > last[2]
