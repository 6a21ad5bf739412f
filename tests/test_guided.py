"""GuidedMixup: greedy pairs against a sorted list and the best assignment, masks by hand, and pairs that are used."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from helpers import context
from scipy import ndimage
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from longcut import mixing
from longcut.data import Batch, Dataset, generator
from longcut.errors import UserError
from longcut.methods import build
from longcut.mixing.guided import by_gradient, guided, in_proportion, overlap_distance, smoothed, spectral


def batch_of(n: int, seed: int = 0) -> Batch:
    return Batch(torch.rand(n, 6, generator=generator(seed)), torch.zeros(n, dtype=torch.long))


def distance(batch: Any, pool: Any) -> Tensor:
    return torch.cdist(batch.x, pool.x)


def greedy(far: np.ndarray) -> dict[int, int]:
    """The largest first, by a sorted list."""
    pairs: dict[int, int] = {}
    for flat in np.argsort(-far, axis=None, kind="stable"):
        row, column = divmod(int(flat), far.shape[1])
        if np.isfinite(far[row, column]) and row not in pairs and column not in pairs.values():
            pairs[row] = column
    return pairs


@pytest.mark.parametrize(("n", "p"), [(1, None), (2, None), (7, None), (16, None), (5, 9), (9, 5)])
def test_pairs_are_those_of_a_sorted_list(n: int, p: int | None):
    for seed in range(10):
        batch = batch_of(n, seed)
        pool = batch if p is None else batch_of(p, seed + 50)
        far = distance(batch, pool).numpy().copy()
        if p is None:
            np.fill_diagonal(far, -np.inf)
        pairs = mixing.apart(distance)(batch, pool, None)
        found = {i: int(j) for i, j in enumerate(pairs.partner) if pairs.found[i]}
        assert found == greedy(far)
        assert len(set(found.values())) == len(found)


def test_ties_are_broken_and_nobody_is_paired_twice():
    batch = batch_of(6)
    pairs = mixing.apart(lambda batch, pool: torch.ones(len(batch), len(pool)))(batch, batch, None)
    assert pairs.found.all() and sorted(pairs.partner.tolist()) == list(range(6))
    assert not (pairs.partner == torch.arange(6)).any()


@pytest.mark.parametrize("n", [4, 8, 12])
def test_distances_sum_to_at_least_half_and_mostly_nearly_all_of_what_is_possible(n: int):
    parts = []
    for seed in range(40):
        batch = batch_of(n, seed)
        far = distance(batch, batch).numpy().copy()
        np.fill_diagonal(far, -1e3)
        best = far[linear_sum_assignment(-far)].sum()
        pairs = mixing.apart(distance)(batch, batch, None)
        assert pairs.found.all()
        parts.append(far[np.arange(n), pairs.partner.numpy()].sum() / best)
    assert min(parts) >= 0.5 and np.mean(parts) > 0.9 and max(parts) <= 1 + 1e-6


def test_maps_that_overlap_least_are_farthest():
    maps = torch.eye(4).view(4, 2, 2)
    both = (maps[:1] + maps[1:2]) / 2
    assert overlap_distance(maps, both)[0, 0] < overlap_distance(maps, both)[2, 0]


def test_spectral_saliency_is_what_numpy_computes():
    x = torch.rand(2, 3, 128, 128, dtype=torch.float64, generator=generator(1))
    for image, found in zip(x.numpy(), spectral(x), strict=True):
        spectrum = np.fft.fft2(255 * (0.299 * image[0] + 0.587 * image[1] + 0.114 * image[2]))
        log = np.log1p(np.abs(spectrum))
        residual = log - ndimage.uniform_filter(log, 3, mode="nearest")
        back = np.abs(np.fft.ifft2(np.exp(residual + 1j * np.angle(spectrum)))) ** 2
        blurred = ndimage.gaussian_filter(back, 3, mode="nearest", radius=3)
        np.testing.assert_allclose(found, blurred / blurred.sum(), rtol=1e-6)


@pytest.mark.parametrize("shape", [(2, 3, 32, 20), (1, 1, 1, 5), (3, 2, 1, 1), (2, 4, 7, 9)])
def test_maps_of_all_sides_sum_to_one_and_flat_images_are_even(shape: tuple[int, ...]):
    maps = spectral(torch.rand(*shape, generator=generator(1)))
    assert maps.shape == (shape[0], *shape[2:]) and (maps >= 0).all()
    torch.testing.assert_close(maps.sum((1, 2)), torch.ones(shape[0]))
    even = torch.full((shape[0], *shape[2:]), 1 / (shape[2] * shape[3]))
    torch.testing.assert_close(spectral(torch.full(shape, 0.3)), even)
    torch.testing.assert_close(smoothed(torch.zeros(shape[0], *shape[2:])), even)


def test_pixels_are_mixed_in_proportion_and_the_share_is_the_mean_of_that():
    own, partner = torch.ones(2, 1, 1, 2), torch.zeros(2, 1, 1, 2)
    first, second = torch.tensor([[[0.75, 0.25]], [[1.0, 0.0]]]), torch.tensor([[[0.25, 0.75]], [[1.0, 0.0]]])
    x, share = in_proportion(own, partner, torch.tensor([0.1, 0.9]), first, second)
    torch.testing.assert_close(x[:, 0, 0], torch.tensor([[0.75, 0.25], [0.5, 0.5]]))
    torch.testing.assert_close(share, torch.tensor([0.5, 0.5]))
    x, share = in_proportion(own, partner, torch.tensor([1.0, 0.0]), first, second)
    assert torch.equal(x[0], own[0]) and torch.equal(x[1], partner[1]) and share.tolist() == [1.0, 0.0]


def test_what_stands_out_is_shown():
    own, partner = torch.zeros(2, 1, 1, 32, 32)
    own[..., 4:8, 4:8], partner[..., 24:28, 24:28] = 1, 1
    x, _ = guided(own, partner, torch.tensor([0.5]), None)
    assert x[0, 0, 4:8, 4:8].mean() > 0.9 and x[0, 0, 24:28, 24:28].mean() > 0.9


def test_the_blend_says_what_it_needs():
    own, half, label = torch.rand(2, 3, 4, 4), torch.full((2,), 0.5), torch.tensor([0, 1])
    with pytest.raises(UserError, match=r"blend 'guided' needs images \(n, C, H, W\), but .* \(2, 48\)"):
        guided(own.flatten(1), own.flatten(1), half, None)
    with pytest.raises(UserError, match="detector=gradient looks at a net, but is shown none"):
        by_gradient.blend(own, own, half, None, mixing.Seen(label, label, None))
    net = nn.Sequential(nn.Flatten(), nn.Linear(48, 2))
    assert by_gradient.blend(own, own, half, None, mixing.Seen(label, label, net))[0].shape == own.shape


# --- the method -------------------------------------------------------------------------------------------------------


def spots(n: int = 8) -> Dataset:
    """Images with one bright spot, at the left or at the right, in no order of the labels."""
    x = torch.randint(40, (n, 3, 16, 16), generator=generator(1)).to(torch.uint8)
    for i in range(n):
        x[i, :, 6:10, 2 + 8 * (i // 2 % 2) :][..., :4] = 255
    return Dataset.of(x, torch.arange(n) % 2, torch.arange(n) // 2 % 2, name="spots")


def made(data: Dataset, **options: Any) -> Any:
    method = build("guidedmixup", data.info, net="conv:width=2", options={"probability": 1.0, **options})
    method.on_epoch(context(data, 3))
    return method.train()


@pytest.mark.parametrize("blend", ["guided", "keep-both", "linear"])
def test_the_pairs_are_used_each_is_mixed_with_who_is_salient_elsewhere(blend: str):
    data = spots()
    method, batch = made(data, blend=blend), data.batch(torch.arange(8))
    mixed, partners, _ = method.mixture(batch)
    assert partners.found.all() and (data.attribute != partners.attribute).all(), "spots on the other side"
    assert torch.equal(partners.x, batch.x[partners.row]) and torch.equal(partners.label, batch.label[partners.row])
    torch.testing.assert_close(mixed.target.label_b, batch.label[partners.row])
    if blend == "guided":
        maps = spectral(batch.x)
        mask = maps / (maps + maps[partners.row])
        expected = mask[:, None] * batch.x + (1 - mask[:, None]) * batch.x[partners.row]
        torch.testing.assert_close(mixed.x, expected)
        torch.testing.assert_close(mixed.target.share, mask.mean((1, 2)))


@pytest.mark.parametrize("detector", ["spectral", "gradient"])
def test_the_method_mixes_as_its_rules_do(detector: str):
    data = spots()
    method, batch = made(data, detector=detector), data.batch(torch.arange(7))
    mixed, partners, _ = method.mixture(batch)
    assert int(partners.found.sum()) == 6, "of an odd batch one stays as it is"
    alone = ~partners.found
    assert torch.equal(mixed.x[alone], batch.x[alone]) and (mixed.target.share[alone] == 1).all()
    method.on_epoch(context(data, 3))
    partners = method.mix.draw(batch, generator=method.generator)
    again = method.mix.blend_with(batch, partners, method.generator, method.looked_at(0))
    torch.testing.assert_close(mixed.x, again.x)


def test_as_many_batches_are_mixed_as_told():
    data = spots()
    method = made(data, probability=0.3)
    mixed = [bool(method.loss(data.batch(torch.arange(8)))[1]) for _ in range(200)]
    assert 40 < sum(mixed) < 80
