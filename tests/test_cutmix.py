"""CutMix and SaliencyMix as methods: what their options change, batch by batch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from longcut.context import Context
from longcut.data import Dataset, Info, Splits, generator
from longcut.errors import UserError
from longcut.fit import Training, fit
from longcut.methods import METHODS, build
from longcut.mixing.salient import salient


def images(n: int = 64, h: int = 12, w: int = 8) -> Dataset:
    x = torch.randint(0, 256, (n, 3, h, w), generator=generator(0), dtype=torch.uint8)
    return Dataset.of(x, torch.arange(n) % 2, torch.arange(n) % 4 % 2, name="noise", aligned=(0, 1))


def ready(name: str, options: dict[str, Any], data: Dataset, epoch: int = 0) -> Any:
    model = build(name, data.info, net="mlp:hidden=4", options=options)
    model.on_epoch(Context(generator(0, epoch), data))
    return model


def pasted(model: Any, data: Dataset) -> tuple[Tensor, Tensor, Tensor]:
    """Of a batch: where each image shows its partner ``(n, H, W)``, the labels' share, and who has a partner."""
    batch = data.batch(torch.arange(len(data)))
    mixed, partners, _ = model.mixture(batch)
    differs = (mixed.x != batch.x).any(1)
    assert torch.equal(mixed.x, torch.where(differs[:, None], partners.x, batch.x)) or model.name == "saliencymix"
    return differs, mixed.target.share, mixed.found


def test_cutmix_is_by_default_mixup_with_that_blend():
    splits = Splits(images(), None, images())
    runs = []
    for name, options in (("cutmix", {}), ("mixup", {"blend": "cut"})):
        method = build(name, splits.info, net="mlp:hidden=8", options=options, seed=1)
        runs.append(fit(method, splits, Training(epochs=2, batch=16), seed=1).method.net.state_dict())
    assert all(torch.equal(runs[0][key], runs[1][key]) for key in runs[0])


@pytest.mark.parametrize("name", ["cutmix", "saliencymix"])
def test_scope_says_whether_a_batch_has_one_box(name):
    data = images()
    options = {"policy": "clip"} if name == "saliencymix" else {}
    masks, share, _ = pasted(ready(name, {"scope": "batch", **options}, data), data)
    box = masks.any(0)
    assert (share == share[0]).all()
    assert 0 < share[0] < 1
    assert (masks <= box).all()
    assert box.sum() == round(float(1 - share[0]) * box.numel())
    masks, share, _ = pasted(ready(name, {"scope": "sample", **options}, data), data)
    assert len(share.unique()) > 5  # sides are few in so small an image
    assert masks.any(0).float().mean() > 0.9


@pytest.mark.parametrize("name", ["cutmix", "saliencymix"])
def test_a_batch_is_mixed_whole_or_not_at_all(name):
    data = images(16)
    mixed = []
    for epoch in range(200):
        masks, share, found = pasted(ready(name, {"probability": 0.25}, data, epoch), data)
        assert found.all() or not found.any()
        if not found.any():
            assert not masks.any()
            assert (share == 1).all()
        mixed.append(bool(found.any()))
    assert sum(mixed) == pytest.approx(50, abs=20)  # more than three deviations of 6


def test_without_correction_labels_have_the_share_that_was_drawn():
    data = images()
    masks, share, _ = pasted(ready("cutmix", {}, data), data)
    realised = 1 - masks.float().mean((1, 2))
    same = (share - realised).abs() < 0.02  # a pixel of the partner may be like the anchor's
    assert same.all()
    _, drawn, _ = pasted(ready("cutmix", {"correct": False}, data), data)
    assert (drawn <= share + 1e-6).all(), "clipping leaves more of the anchor"
    assert (drawn < share - 0.01).float().mean() > 0.5


def test_the_control_shows_one_of_the_two_whole():
    data = images()
    for name in ("cutmix", "saliencymix"):
        masks, share, _ = pasted(ready(name, {"blend": "keep-both"}, data), data)
        assert set(share.tolist()) == {0.0, 1.0}
        assert not masks[share == 1].any()


def test_as_paper_and_as_released_are_what_their_recipes_say():
    data, seen = images(), {}
    for name in ("as_paper", "as_released"):
        recipe = METHODS["saliencymix"].recipes[name]
        model = ready("saliencymix", {**recipe.options, "probability": 1.0}, data)
        batch = data.batch(torch.arange(len(data)))
        partners = model.draw(batch, 0)
        given = batch.x, partners.x, partners.share
        how: Any = {"as_paper": {"policy": "shift"}, "as_released": {"scope": "batch", "detector": "released"}}[name]
        expected = salient(*given, generator(5), ties="first" if name == "as_released" else "random", **how)
        shown = model.shown(*given, generator(5))
        assert all(torch.equal(one, other) for one, other in zip(shown, expected, strict=True))
        seen[name] = shown[1]
    assert len(seen["as_released"].unique()) == 1
    assert len(seen["as_paper"].unique()) > 5


@pytest.mark.parametrize("name", ["cutmix", "saliencymix"])
def test_the_report_has_its_pairs_even_where_most_batches_stay_as_they_are(name):
    data = images()
    model = ready(name, {"probability": 1e-6}, data)
    pairs = model.pairs(data, 8)
    assert len(pairs["anchor"]) == 8
    assert (pairs["share"] < 1).any()


@pytest.mark.parametrize("name", ["cutmix", "saliencymix"])
def test_a_table_is_refused(name):
    with pytest.raises(UserError, match=rf"{name} needs images \(C, H, W\), but toy is of kind 'table'"):
        build(name, Info("toy", (4,), 2))


def test_gradients_of_a_regression_are_those_of_its_own_loss():
    data = images(8)
    targets = Dataset.of(data.x, torch.rand(8, generator=generator(1)), name="targets")
    model = ready("saliencymix", {"detector": "gradient"}, targets)
    masks, share, _ = pasted(model, targets)
    assert masks.any()
    assert torch.isfinite(share).all()
    loss, _ = model.loss(targets.batch(torch.arange(8)))
    assert torch.isfinite(loss)
