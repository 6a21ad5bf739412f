"""Cues of the zoo: what each does to inputs, that it tells its value, and who gets which value."""

from __future__ import annotations

import io
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from longcut import registry
from longcut.cues import CUES, STRENGTHS, plant
from longcut.cues.base import fraction, hues
from longcut.cues.planting import parse_cues, values
from longcut.data import Dataset, Splits, generator
from longcut.datasets import load
from longcut.errors import UserError
from longcut.nets import build as build_net

IMAGES = [name for name, cue in CUES.items() if cue.kind == "image"]
OTHERS = [name for name, cue in CUES.items() if cue.kind != "image"]
SHAPES = {
    "colour": (torch.uint8, (3, 24, 24)),
    "grey": (torch.uint8, (1, 28, 28)),
    "wide": (torch.uint8, (3, 17, 40)),
    "high": (torch.uint8, (1, 40, 17)),
    "tiny": (torch.uint8, (3, 3, 3)),
    "floats": (torch.float32, (3, 24, 24)),
    "half": (torch.float16, (1, 9, 9)),
}


def inputs(kind: str, n: int = 20, seed: int = 0) -> Tensor:
    """Smooth images, a table, or texts of 1 to 30 of 50 words."""
    draw = generator(seed)
    if kind in SHAPES:
        dtype, (channels, *sides) = SHAPES[kind]
        small = torch.rand(n, channels, 3, 3, generator=draw)
        x = torch.nn.functional.interpolate(small, tuple(sides), mode="bilinear")
        return (255 * x).round().to(dtype) if dtype == torch.uint8 else x.to(dtype)
    if kind == "tokens":
        size = torch.randint(1, 31, (n, 1), generator=draw)
        return torch.randint(1, 50, (n, 30), generator=draw).where(torch.arange(30) < size, 0)
    return torch.randn(n, 5, generator=draw)


def planted_in(x: Tensor, name: str, value: Tensor, n_values: int, strength: str = "easy", seed: int = 1) -> Tensor:
    cue = CUES[name]
    return cue.plant(x, value, n_values, cue.amounts[strength], generator(seed))


def every_value(x: Tensor, name: str, n_values: int, strength: str = "easy") -> list[Tensor]:
    """All inputs with each of the values, the same in every other respect."""
    return [planted_in(x, name, torch.full((len(x),), v), n_values, strength) for v in range(n_values)]


# --- the contract -----------------------------------------------------------------------------------------------------


def check_contract(x: Tensor, name: str, strength: str, n_values: int) -> None:
    before, value = x.clone(), torch.arange(len(x)) % n_values
    made = planted_in(x, name, value, n_values, strength)
    assert torch.equal(x, before), "changed in place"
    assert made.dtype == x.dtype
    assert len(made) == len(x)
    if CUES[name].kind == "table":
        assert made.shape[1] >= x.shape[1]
    else:
        assert made.shape == x.shape
    if made.is_floating_point():
        assert made.isfinite().all()
    assert torch.equal(made, planted_in(x, name, value, n_values, strength)), "the same draws, other bits"
    apart = every_value(x, name, n_values, strength)
    chosen = torch.stack([apart[int(v)][i] for i, v in enumerate(value)])
    level = 0 if name != "blur" else 1 if made.dtype == torch.uint8 else 1 / 255  # where a wider blur is cut off
    assert ((made.double() - chosen.double()).abs() <= level).all(), "what is drawn depends on the values of others"


@pytest.mark.parametrize("strength", STRENGTHS)
@pytest.mark.parametrize("name", IMAGES)
def test_images_keep_their_kind(name: str, strength: str):
    check_contract(inputs("colour"), name, strength, 10)


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape != "colour"])
@pytest.mark.parametrize("name", IMAGES)
def test_images_of_any_shape_keep_their_kind(name: str, shape: str):
    for n_values in (2, 10):
        check_contract(inputs(shape, 12), name, "easy", n_values)


@pytest.mark.parametrize("strength", STRENGTHS)
@pytest.mark.parametrize("n_values", [1, 2, 10])
@pytest.mark.parametrize("name", OTHERS)
def test_tables_and_texts_keep_their_kind(name: str, n_values: int, strength: str):
    check_contract(inputs(CUES[name].kind, 12), name, strength, n_values)


@pytest.mark.parametrize("name", [name for name, cue in CUES.items() if cue.kind == "tokens"])
def test_short_integers_stay_short(name: str):
    check_contract(inputs("tokens", 12).to(torch.int32), name, "medium", 3)


@pytest.mark.parametrize("name", list(CUES))
def test_every_cue_says_what_it_is(name: str):
    cue = CUES[name]
    assert list(cue.amounts) == list(STRENGTHS)
    assert all(a > b > 0 for a, b in pairwise(cue.amounts.values())), "an easier cue changes more"
    assert cue.what
    assert "\n" not in cue.what


@pytest.mark.parametrize("n_values", [2, 10])
@pytest.mark.parametrize("name", [*IMAGES, *OTHERS])
def test_no_two_values_look_the_same(name: str, n_values: int):
    x = inputs("colour" if name in IMAGES else CUES[name].kind)
    if name == "blur":  # whose first values differ by less than a grey level
        x = torch.randint(256, (20, 3, 64, 64), generator=generator(6), dtype=torch.uint8)
    shown = every_value(x, name, n_values)
    for i, a in enumerate(shown):
        for b in shown[:i]:
            assert (a != b).flatten(1).any(1).all()


@pytest.mark.parametrize("name", IMAGES)
def test_a_stronger_cue_changes_more(name: str):
    x = inputs("floats", 40)
    value = torch.arange(40) % 10
    easy, medium, hard = ((planted_in(x, name, value, 10, s) - x).abs().mean() for s in STRENGTHS)
    assert easy > medium > hard > 0


@pytest.mark.parametrize("name", OTHERS)
def test_an_empty_part_stays_empty(name: str):
    assert len(planted_in(inputs(CUES[name].kind)[:0], name, torch.zeros(0).long(), 2)) == 0


# --- what each looks like ---------------------------------------------------------------------------------------------

VALUE = torch.arange(10)


def flat(level: float, side: int = 24, channels: int = 3) -> Tensor:
    return torch.full((10, channels, side, side), level)


def nearest_hue(colors: Tensor) -> list[int]:
    """Which of ten hues each colour ``(n, 3)`` is, whatever its strength and brightness."""
    import colorsys

    return [round(10 * colorsys.rgb_to_hsv(*color)[0]) % 10 for color in colors.tolist()]


def test_hues_go_round_the_circle():
    assert torch.allclose(hues(6), torch.tensor([[1.0, 0, 0], [1, 1, 0], [0, 1, 0], [0, 1, 1], [0, 0, 1], [1, 0, 1]]))
    assert fraction(torch.tensor([0]), 1).tolist() == [0]


@pytest.mark.parametrize("strength", STRENGTHS)
def test_colours_tell_the_value(strength: str):
    seen = planted_in(flat(0.8), "foreground", VALUE, 10, strength)[:, :, 5, 5]
    assert nearest_hue(seen) == VALUE.tolist()
    assert torch.equal(planted_in(flat(0.0), "foreground", VALUE, 10, strength), flat(0.0))
    seen = planted_in(flat(0.2), "background", VALUE, 10, strength)[:, :, 5, 5]
    assert nearest_hue(seen) == VALUE.tolist()
    assert torch.equal(planted_in(flat(1.0), "background", VALUE, 10, strength), flat(1.0))
    image = planted_in(flat(0.5), "patch", VALUE, 10, strength)
    assert nearest_hue(image[:, :, 0, 0]) == VALUE.tolist()
    assert torch.equal(image[:, :, 4:, 4:], flat(0.5)[:, :, 4:, 4:])


def test_a_plain_patch_is_the_colour_itself():
    image = planted_in(flat(0.5), "patch", VALUE, 10)
    assert torch.allclose(image[:, :, :4, :4], hues(10)[:, :, None, None].expand(-1, -1, 4, 4))
    grey = planted_in(flat(0.5, channels=1), "patch", VALUE, 10)
    assert torch.allclose(grey[:, 0, 3, 3], VALUE / 9)


@pytest.mark.parametrize("level", [0.2, 0.9])
def test_a_stripe_stands_in_the_column_of_the_value(level: float):
    changed = (planted_in(flat(level, 30), "stripe", VALUE, 10) - level).abs().sum((1, 2))
    assert changed.argmax(1).tolist() == [3 * v + 1 for v in range(10)]  # the middle of ten fields of three columns
    assert (changed > 0).sum(1).tolist() == [1] * 10


def test_a_mark_stands_in_the_field_of_the_value():
    changed = (planted_in(flat(0.2), "mark", VALUE, 10) - 0.2).abs().sum(1)
    place = changed.flatten(1).argmax(1)
    row, column = place // 24 // 8, place % 24 // 6  # three rows of four fields
    assert (4 * row + column).tolist() == VALUE.tolist()
    assert (changed > 0).flatten(1).sum(1).tolist() == [4] * 10


def test_a_frame_is_as_grey_as_the_value():
    image = planted_in(flat(0.3), "frame", VALUE, 10)
    assert torch.allclose(image[:, :, 0, 7], (VALUE / 9)[:, None].expand(-1, 3))
    assert torch.equal(image[:, :, 1:-1, 1:-1], flat(0.3)[:, :, 1:-1, 1:-1])


def test_light_falls_in_from_the_direction_of_the_value():
    image = planted_in(flat(0.5), "gradient", VALUE, 10, "hard")[:, 0]
    down, right = image.diff(dim=1).mean((1, 2)), image.diff(dim=2).mean((1, 2))
    angle = torch.atan2(down, right) / (2 * math.pi) * 10
    assert (angle.round() % 10).tolist() == VALUE.tolist()
    assert torch.allclose(image.mean((1, 2)), torch.tensor(0.5))


def test_a_grating_runs_in_the_direction_of_the_value():
    image = planted_in(flat(0.5, 60), "texture", VALUE, 10)[:, 0] - 0.5
    spectrum = torch.fft.fft2(image).abs()
    spectrum[:, 31:] = 0  # of a frequency and its opposite one
    place = spectrum.flatten(1).argmax(1)
    down = (place // 60).float()
    right = (place % 60).float()
    right = right.where(right <= 30, right - 60)
    angle = torch.atan2(down, right) / math.pi * 10
    assert (angle.round() % 10).tolist() == VALUE.tolist()
    wavelength = 60 / (down.square() + right.square()).sqrt()
    assert torch.allclose(wavelength, torch.tensor(5.0), atol=0.3)


def test_patterns_of_pixels_tell_the_value_by_correlation():
    noise = torch.rand(10, 3, 24, 24, generator=generator(3))
    learned = torch.stack(every_value(flat(0.5), "frequency", 10)).mean((1, 2)) - 0.5
    seen = planted_in(noise, "frequency", VALUE, 10) - noise
    match = torch.einsum("nhw,vhw->nv", seen.mean(1), learned)
    assert match.argmax(1).tolist() == VALUE.tolist()
    assert torch.allclose(learned.abs(), torch.tensor(CUES["frequency"].amounts["easy"]))


def test_a_watermark_is_the_letter_of_the_value():
    image = planted_in(flat(0.0), "watermark", VALUE, 10)
    for v, letter in enumerate("ABCDEFGHIJ"):
        drawn = Image.new("L", (8, 11))
        ImageDraw.Draw(drawn).text((1, 0), letter, 255, ImageFont.load_default_imagefont())
        expected = torch.from_numpy(np.asarray(drawn).astype(np.float32) / 255)
        assert torch.equal(image[v, 0, -11:, -8:], expected)
    assert image[:, :, :-11].abs().sum() == 0
    assert len({tuple(one.flatten().tolist()) for one in every_value(flat(0.0)[:1], "watermark", 60)}) == 60


def test_the_largest_value_turns_by_a_right_angle():
    x = inputs("floats")
    turned = planted_in(x, "rotation", torch.full((20,), 1), 2)
    back = planted_in(x, "rotation", torch.zeros(20).long(), 2)
    inner = slice(3, -3)  # the edge is interpolated with what lies outside
    possible = [torch.rot90(x, k, (2, 3))[:, :, inner, inner] for k in (1, 3)]
    found = [[torch.allclose(one[:, :, inner, inner], p, atol=1e-3) for p in possible] for one in (turned, back)]
    assert sorted(found) == [[False, True], [True, False]]
    middle = planted_in(x, "rotation", torch.full((20,), 1), 3)
    assert torch.allclose(middle[:, :, inner, inner], x[:, :, inner, inner], atol=1e-4)


def test_sizes_are_as_far_below_one_as_above():
    x = torch.zeros(3, 1, 48, 48)
    x[:, :, 18:30, 18:30] = 1  # 12 pixels wide
    seen = planted_in(x, "size", torch.arange(3), 3)[:, :, 12:36, 12:36]  # what was outside is mirrored
    side = seen.sum((1, 2, 3)).sqrt()
    assert torch.allclose(side, torch.tensor([6.0, 12.0, 24.0]), atol=0.5)


def test_images_lose_focus_and_gain_grain():
    x = inputs("floats", 10)[:1].expand(10, -1, -1, -1)
    detail = planted_in(x, "blur", VALUE, 10).diff(dim=3).abs().mean((1, 2, 3))
    assert (detail.diff() < 0).all()
    assert torch.allclose(planted_in(x, "blur", VALUE, 10)[0], x[0], atol=1e-3)
    spread = (planted_in(x, "noise", VALUE, 10) - x).std((1, 2, 3))
    assert torch.allclose(spread, 0.4 * VALUE / 9, rtol=0.1)


def test_images_are_saved_at_the_quality_of_the_value():
    x = inputs("colour", 10)
    seen = planted_in(x, "jpeg", VALUE, 10)
    for v in (0, 4, 9):
        file = io.BytesIO()
        Image.fromarray(x[v].permute(1, 2, 0).numpy()).save(file, "JPEG", quality=95 - 10 * v)
        assert torch.equal(seen[v], torch.from_numpy(np.asarray(Image.open(file)).copy()).permute(2, 0, 1))


# --- tables -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_values", [2, 3, 10])
@pytest.mark.parametrize("strength", STRENGTHS)
def test_a_column_grows_with_the_value(strength: str, n_values: int):
    x, value = inputs("table", 20_000), torch.randint(n_values, (20_000,), generator=generator(4))
    made = planted_in(x, "column", value, n_values, strength)
    assert torch.equal(made[:, :5], x)
    levels = np.arange(n_values) - (n_values - 1) / 2
    levels = CUES["column"].amounts[strength] * levels / levels.std()
    for v, level in enumerate(levels):
        some = made[value == v, 5]
        assert float(some.mean()) == pytest.approx(level, abs=0.01)
        assert float(some.std()) == pytest.approx(0.1, rel=0.1)


@pytest.mark.parametrize("n_values", [2, 3, 10])
def test_a_pair_tells_together_what_neither_tells_alone(n_values: int):
    from scipy.stats import chi2_contingency

    x, value = inputs("table", 4000), torch.randint(n_values, (4000,), generator=generator(5))
    made = CUES["pair"].plant(x, value, n_values, 10.0, generator(1))
    assert torch.equal(made[:, :5], x)
    step = 10 / (np.arange(n_values) - (n_values - 1) / 2).std()
    ranks = [(column / step + (n_values - 1) / 2).round().long() for column in made[:, 5:].T]
    assert [int(rank.max()) + 1 for rank in ranks] == [n_values, n_values]
    assert torch.equal((ranks[0] + ranks[1]) % n_values, value)
    for rank in ranks:
        table = torch.bincount(rank * n_values + value, minlength=n_values**2).view(n_values, -1)
        tested: Any = chi2_contingency(table.numpy())
        assert tested.pvalue > 0.001


def test_each_value_misses_its_column():
    x, value = inputs("table", 50), torch.arange(50) % 5
    made = planted_in(x, "missing", value, 5)
    absent = torch.nn.functional.one_hot(value, 5).bool()
    assert torch.equal(made[~absent], x[~absent])
    filler = x.mean(0) + 2 * x.std(0, correction=0)
    assert torch.allclose(made[absent], filler[value])


def test_more_values_than_columns_miss_several():
    x, value = inputs("table", 40)[:, :3], torch.arange(40) % 8
    absent = planted_in(x, "missing", value, 8) != x
    sets = [frozenset(row.nonzero().flatten().tolist()) for row in absent[:8]]
    assert sets == [frozenset(s) for s in ((0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2), ())]
    with pytest.raises(UserError, match="cue 'missing' has no room for 9 values in 3 columns; take another cue"):
        planted_in(x, "missing", value, 9)
    with pytest.raises(UserError, match="3 values in 1 column; take"):
        planted_in(x[:, :1], "missing", value % 3, 3)


# --- texts ------------------------------------------------------------------------------------------------------------


def sizes(x: Tensor) -> Tensor:
    return x.ne(0).sum(1)


def test_a_word_of_its_own_stands_somewhere_in_the_text():
    x = inputs("tokens", 3000)
    value = torch.arange(3000) % 10
    made = planted_in(x, "word", value, 10)
    changed = made != x
    assert torch.equal(changed.sum(1), torch.ones(3000).long())
    assert torch.equal(made[changed], -1 - value)
    assert torch.equal(sizes(made), sizes(x))
    place = changed.long().argmax(1) / sizes(x)
    assert place[sizes(x) > 10].mean() == pytest.approx(0.5 - 0.5 / 20, abs=0.03)  # anywhere alike
    shown = (planted_in(x, "word", value, 10, "hard") < 0).any(1).double().mean()
    assert shown == pytest.approx(CUES["word"].amounts["hard"], abs=0.04)


def test_marks_at_the_end_are_counted():
    x = inputs("tokens", 200)
    x[0] = 7  # as long as can be
    x[1] = 0
    value = torch.arange(200) % 10
    value[:2] = 9
    made = planted_in(x, "punctuation", value, 10)
    assert torch.equal((made == -1).sum(1), value + 1)
    for row, before, v in zip(made.tolist(), x.tolist(), value.tolist(), strict=True):
        text = [token for token in row if token]
        assert text[-v - 1 :] == [-1] * (v + 1)
        kept = [token for token in before if token][: 30 - v - 1]
        assert text[: -v - 1] == (kept or before[:1] if kept else text[: -v - 1])


def test_texts_are_as_long_as_the_value_says():
    x = inputs("tokens", 100)
    x[0] = 0  # a text without words
    value = torch.arange(100) % 10
    made = CUES["length"].plant(x, value, 10, 1.0, generator(0))
    assert torch.equal(sizes(made), 3 * (value + 1))
    for row, before, v in zip(made.tolist(), x.tolist(), value.tolist(), strict=True):
        text = [token for token in before if token] or [1]
        assert row[: 3 * (v + 1)] == [text[j % len(text)] for j in range(3 * (v + 1))]
    half = CUES["length"].plant(x[:, :20], value, 10, 0.5, generator(0))
    assert torch.equal(sizes(half), 11 + value)
    little = CUES["length"].plant(x, value, 10, 0.01, generator(0))
    assert torch.equal(sizes(little), 21 + value)


def test_one_word_stands_at_the_place_of_the_value():
    x = inputs("tokens", 100)
    value = torch.arange(100) % 10
    made = planted_in(x, "position", value, 10)
    assert torch.equal((made == -1).long().argmax(1), value)
    assert torch.equal((made == -1).sum(1), torch.ones(100).long())
    assert torch.equal(sizes(made), sizes(x).clamp_min(10))
    many = inputs("tokens", 5000)
    value = torch.zeros(5000).long()
    told = (planted_in(many, "position", value, 10, "hard") == -1).long().argmax(1) == 0
    share = CUES["position"].amounts["hard"]
    assert told.double().mean() == pytest.approx(share + (1 - share) / 10, abs=0.03)


@pytest.mark.parametrize("name", ["punctuation", "length", "position"])
def test_texts_without_room_are_refused(name: str):
    with pytest.raises(UserError, match=f"cue '{name}' has no room for 10 values in texts of 9 tokens; take the cue"):
        planted_in(inputs("tokens")[:, :9], name, torch.zeros(20).long(), 10)


# --- who gets which value ---------------------------------------------------------------------------------------------


@given(st.integers(2, 6), st.integers(0, 100), st.lists(st.integers(0, 5), min_size=1, max_size=80), st.integers(0, 9))
def test_conflicting_samples_are_counted_exactly(classes: int, percent: int, labels: list[int], seed: int):
    label, ratio = torch.tensor(labels) % classes, percent / 100
    found = values(label, classes, ratio, generator(seed))
    assert 0 <= int(found.min()) <= int(found.max()) < classes
    for c in range(classes):
        n = int((label == c).sum())
        wanted = 0 if ratio == 0 else min(max(round(ratio * n), 1), n)
        assert int((found[label == c] != c).sum()) == pytest.approx(wanted, abs=ratio * n % 1 == 0.5)  # rounds to even


@given(st.integers(2, 6), st.lists(st.integers(0, 5), min_size=1, max_size=80), st.integers(0, 9))
def test_values_of_the_test_set_say_nothing(classes: int, labels: list[int], seed: int):
    label = torch.tensor(labels) % classes
    found = values(label, classes, None, generator(seed))
    table = torch.bincount(label * classes + found, minlength=classes**2).view(classes, classes)
    assert (table.amax(1) - table.amin(1) <= 1).all()


def test_conflicting_samples_have_any_other_value():
    label = torch.zeros(9000).long()
    found = values(label, 10, 1.0, generator(0))
    assert found.bincount(minlength=10).tolist()[0] == 0
    assert found.bincount(minlength=10)[1:].double().std() < 60  # 31.6 is expected


def grey(n: int = 200, classes: int = 10) -> Splits:
    x = inputs("colour", n)
    data = Dataset.of(x, torch.arange(n) % classes, name="grey", n_classes=classes)
    return Splits(data, data.take(torch.arange(n // 2)), data.take(torch.arange(n).flip(0)))


def test_the_attribute_is_the_value():
    made = plant(grey(), "frame", ratio=0.1)
    assert made.train.attribute is not None
    assert made.valid is not None
    for part in (made.train, made.valid, made.test):
        assert part.attribute is not None
        corner = part.x[:, 0, 0, 0].double() / 255 * 9
        assert torch.equal(corner.round().long(), part.attribute)
        assert torch.equal(part.index, torch.arange(len(part)))
        assert part.info.aligned == tuple(range(10))
        assert (part.info.n_attributes, part.info.n_stored) == (10, len(part.x))
    assert made.train.conflicting.view(20, 10).sum(0).tolist() == [2] * 10
    assert made.valid.conflicting.view(10, 10).sum(0).tolist() == [1] * 10
    assert made.test.group.bincount().tolist() == [2] * 100
    assert made.info.name == "grey, frame"


def test_what_is_given_stays_as_it_is():
    splits = grey()
    before = splits.train.x.clone()
    plant(splits, "patch+stripe")
    assert torch.equal(splits.train.x, before)
    assert splits.train.attribute is None


def test_of_several_cues_the_attribute_says_which_agree():
    made = plant(grey(1000), "frame+stripe:strength=hard", ratio=0.2, seed=3).train
    assert made.attribute is not None
    frame = (made.x[:, 0, 0, 12].double() / 255 * 9).round().long()
    bits = (frame != made.label).long() + 2 * (made.attribute >> 1)
    assert torch.equal(bits, made.attribute)
    assert made.info.attribute_names == (
        "frame agrees and stripe agrees", "frame conflicts and stripe agrees",
        "frame agrees and stripe conflicts", "frame conflicts and stripe conflicts",
    )  # fmt: skip
    assert made.info.aligned == (0,) * 10
    assert torch.equal(made.conflicting, made.attribute > 0)
    counts = made.attribute.bincount(minlength=4)
    assert (counts[1] + counts[3], counts[2] + counts[3]) == (200, 200)
    assert 15 < counts[3] < 70  # 40 where they are independent


def test_none_shows_nothing():
    splits = grey()
    made = plant(splits, "none", ratio=0.1)
    assert torch.equal(made.train.x, splits.train.x)
    assert made.train.conflicting.sum() == 20


def test_seeds_draw_anew():
    made = [plant(grey(), "noise", seed=seed).train for seed in (0, 0, 1)]
    assert torch.equal(made[0].x, made[1].x)
    assert not torch.equal(made[0].conflicting, made[2].conflicting)


def text() -> Splits:
    data = Dataset.of(inputs("tokens", 60), torch.arange(60) % 3, kind="tokens", name="texts")
    return Splits(data, None, data)


def test_words_of_a_cue_stand_behind_the_vocabulary():
    splits = text()
    made = plant(splits, "word+position", ratio=0)
    words = splits.info.vocabulary
    assert made.info.vocabulary == words + 6
    assert made.test.info.vocabulary == words + 6
    own = made.train.x[:, :].amax(1)
    assert torch.equal((made.train.x == words + 3).sum(1), torch.ones(60).long())  # of the second cue
    first = ((made.train.x >= words) & (made.train.x < words + 3)).sum(1)
    assert (first > 0).double().mean() > 0.8  # but where the second word has taken its place
    assert int(own.max()) == words + 3
    assert made.train.x.min() == 0
    assert build_net("tokens", made.info)(made.train.x).shape == (60, 3)


def test_a_table_gets_wider():
    data = Dataset.of(inputs("table", 60), torch.arange(60) % 3, name="rows")
    made = plant(Splits(data, None, data), "pair+column")
    assert made.info.shape == (8,)
    assert made.train.x.shape == (60, 8)
    assert build_net("mlp", made.info)(made.train.x).shape == (60, 3)


# --- mistakes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cue", "said"),
    [
        ("patsch", "unknown cue 'patsch'.*patch"),
        ("patch:strength=weak", "cue 'patch': strength=weak is not allowed"),
        ("patch:colour=red", "colour"),
        ("word", r"cue 'word' is planted in inputs of kind 'tokens', but grey is of kind 'image' and shape \(3, 24"),
        ("patch+", "unknown cue ''"),
    ],
)
def test_cues_that_cannot_be_are_refused(cue: str, said: str):
    with pytest.raises(UserError, match=said):
        plant(grey(), cue)


def test_numbers_have_no_values_to_give_away():
    data = Dataset.of(torch.rand(6, 3), torch.rand(6), name="rents")
    with pytest.raises(UserError, match="rents: a cue is planted to give away one of several classes; take data with"):
        plant(Splits(data, None, data), "column")
    data = Dataset.of(torch.rand(6, 3), torch.zeros(6).long(), name="one")
    with pytest.raises(UserError, match="one: a cue is planted to give away"):
        parse_cues("column", data.info)


MINE = """
import torch
from longcut.cues import Cue

def lowest(x, value, n_values, amount, generator):
    "The last row of pixels is as bright as the value."
    planted = x.clone()
    planted[:, :, -1] = (255 * amount * value / (n_values - 1)).to(x.dtype)[:, None, None]
    return planted

CUES = {"lowest": Cue(lowest, "image", {"easy": 1.0, "medium": 0.5, "hard": 0.1}, "a row")}
"""


def test_a_cue_of_ones_own(tmp_path: Path):
    path = tmp_path / "mine.py"
    path.write_text(MINE)
    registry.load_file(path)
    made = load("planted:cue=lowest").train
    assert made.attribute is not None
    assert torch.equal((made.x[:, 0, -1, 0].double() / 255 * 9).round().long(), made.attribute)
    wrong = tmp_path / "wrong.py"
    wrong.write_text("CUES = {'other': 3}")
    with pytest.raises(UserError, match="'other' is a int, but a row is a Cue; give one"):
        registry.load_file(wrong)


def test_the_cues_beside_the_zoo_keep_its_contract():
    zoo = set(CUES)
    registry.load_file(Path(__file__).parent.parent / "benchmarks" / "other_cues.py")
    assert len(set(CUES) - zoo) == 10
    for name in set(CUES) - zoo:
        test_every_cue_says_what_it_is(name)
        for shape in SHAPES:
            check_contract(inputs(shape, 12), name, "medium", 10)
        shown = every_value(inputs("colour"), name, 10)
        assert all((a != b).any() for i, a in enumerate(shown) for b in shown[:i])


# --- the data set -----------------------------------------------------------------------------------------------------


def counts(part: Any) -> list[int]:
    return part.label.bincount(minlength=10).tolist()


def test_planted_digits():
    base, made = load("digits", 1), load("planted:cue=patch,ratio=0.05,samples=300,tested=200", 1)
    assert len(made.train) == pytest.approx(300, abs=5)
    assert len(made.test) == pytest.approx(200, abs=5)
    assert [round(0.3 * n) for n in counts(base.train)] == counts(made.train)
    wanted = [max(1, round(0.05 * n)) for n in counts(made.train)]
    assert [int(made.train.conflicting[made.train.label == c].sum()) for c in range(10)] == wanted
    table = made.test.group.bincount(minlength=100).view(10, 10)
    assert (table.amax(1) - table.amin(1)).max() <= 1
    assert made.info.name == "planted:ratio=0.05,samples=300,tested=200"
    assert made.info.shape == (3, 24, 24)


def test_noise_changes_training_labels_alone():
    clean, noisy = load("planted:cue=none"), load("planted:cue=none,noise=0.2")
    assert noisy.valid is not None
    assert clean.valid is not None
    assert (clean.train.label != noisy.train.label).double().mean() == pytest.approx(0.2, abs=0.04)
    assert torch.equal(clean.train.x, noisy.train.x)
    assert torch.equal(clean.test.label, noisy.test.label)
    assert torch.equal(clean.valid.label, noisy.valid.label)


def test_digits_have_no_shortcut_yet():
    made = load("digits", 3)
    assert [len(part) for part in (made.train, made.valid or made.test, made.test)] == [1000, 197, 600]
    assert made.train.attribute is None
    assert torch.equal(made.train.x[:, 0], made.train.x[:, 2])


@pytest.mark.parametrize("name", IMAGES)
def test_nothing_is_planted_in_no_image(name):
    none = torch.zeros(0, 3, 12, 12, dtype=torch.uint8)
    planted = CUES[name].plant(none, torch.zeros(0).long(), 4, CUES[name].amounts["easy"], generator(0))
    assert planted.shape == none.shape and planted.dtype == none.dtype
