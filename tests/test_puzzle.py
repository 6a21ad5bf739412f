"""PuzzleMix's masks against exhaustive search and a minimal cut, its transport against an assignment, its step."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from helpers import context
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import breadth_first_order, maximum_flow
from torch import Tensor, nn
from torch.nn import functional as F

from longcut import mixing
from longcut.data import Dataset, generator
from longcut.errors import UserError
from longcut.methods import build
from longcut.mixing.puzzle import Energy, energy, moved, pieced, puzzle, solved, transport
from longcut.mixing.saliency import gradient


def maps(n: int, grid: int, seed: int, power: float = 3.0) -> Tensor:
    made = torch.rand(n, grid, grid, generator=generator(seed, grid)) ** power
    return made / made.sum((1, 2), keepdim=True)


def problem(n: int, grid: int, seed: int = 0, **how: Any) -> Energy:
    own, partner = torch.rand(2, n, 3, 32, 32, generator=generator(seed, 7))
    share = torch.rand(n, generator=generator(seed, 8))
    return energy(own, partner, share, maps(n, grid, seed), maps(n, grid, seed + 1), **how)


def strips(n: int, length: int) -> Energy:
    """Cells in a row, as the first row of a grid whose others cost nothing and hang on nothing."""
    whole = problem(n, length, 5)
    unary, right = whole.unary.clone(), whole.right.clone()
    unary[:, :, 1:], right[:, 1:] = 0, 0
    return Energy(unary, torch.zeros_like(whole.down), right)


def least(cost: Energy, cells: int) -> Tensor:
    """The least energy over all masks of the first ``cells`` cells, one mask after the other."""
    n, _, grid, _ = cost.unary.shape
    best = torch.full((n,), torch.inf)
    for labels in product((0.0, 0.5, 1.0), repeat=cells):
        mask = torch.zeros(grid * grid)
        mask[:cells] = torch.tensor(labels)
        best = torch.minimum(best, cost.of(mask.view(1, grid, grid).expand(n, -1, -1)))
    return best


def gap(cost: Energy, best: Tensor) -> Tensor:
    return (cost.of(solved(cost)) - best) / best.abs()


@pytest.mark.parametrize(
    ("cost", "cells"),
    [(problem(500, 2), 4), (problem(60, 3), 9), (strips(200, 4), 4), (problem(300, 2, 3, beta=6.0, eta=0.0), 4)],
    ids=["2x2", "3x3", "4x1", "2x2, smooth"],
)
def test_masks_have_nearly_the_least_energy_of_all(cost: Energy, cells: int):
    found = gap(cost, least(cost, cells))
    assert found.min() > -1e-5
    assert found.mean() < 5e-4 and found.max() < 1e-2


def cut_of(unary: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """The mask of least energy by a minimal cut, each cell two switches, "at least half" and "all"."""
    grid = unary.shape[-1]
    n, scale = grid * grid, 1e6
    source, sink = 2 * n, 2 * n + 1
    costs = unary.double().reshape(3, n).numpy()
    on = np.stack([costs[1] - costs[0], costs[2] - costs[1]], 1).flatten()  # switch 2i, then 2i + 1
    edges: list[tuple[int, int, float]] = [(2 * i + 1, 2 * i, 500.0) for i in range(n)]  # all is at least half
    near = [(y * grid + x, (y + 1) * grid + x, float(down[y, x])) for y in range(grid - 1) for x in range(grid)]
    near += [(y * grid + x, y * grid + x + 1, float(right[y, x])) for y in range(grid) for x in range(grid - 1)]
    for i, j, weight in near:  # w (h_i + a_i - h_j - a_j)² / 4 with h a = a, products by cut edges
        for a, b in ((i, j), (j, i)):
            on[2 * a] += weight / 4
            on[2 * a + 1] += 3 * weight / 4
            for mine, other in product((2 * a, 2 * a + 1), (2 * b, 2 * b + 1)):
                on[mine] -= weight / 4
                edges.append((mine, other, weight / 4))
    edges += [(v, sink, c) if c > 0 else (source, v, -c) for v, c in enumerate(on)]
    start, end, capacity = zip(*edges, strict=True)
    graph = coo_matrix((np.rint(np.array(capacity) * scale), (start, end)), shape=(2 * n + 2,) * 2).tocsr()
    graph.data = graph.data.astype(np.int32)
    graph = graph.astype(np.int32)
    rest = graph - maximum_flow(graph, source, sink).flow
    rest.data = np.maximum(rest.data, 0)
    rest.eliminate_zeros()
    reached = np.zeros(2 * n + 2)
    reached[breadth_first_order(rest, source, return_predecessors=False)] = 1
    return torch.from_numpy(reached[: 2 * n].reshape(n, 2).sum(1) / 2).float().view(grid, grid)


@pytest.mark.parametrize("grid", [2, 4, 8, 16])
def test_masks_of_all_grids_are_as_cheap_as_a_minimal_cut(grid: int):
    cost = problem(12, grid, 2)
    best = cost.of(torch.stack([cut_of(*(part[i] for part in cost)) for i in range(12)]))
    found = gap(cost, best)
    assert found.min() > -1e-4, "nothing is cheaper"
    assert found.mean() < 1e-3 and found.max() < 1e-2


def test_energy_is_what_is_hidden_borders_that_show_and_the_share():
    """On masks of 0 and 1 by naive loops in float64, with patches of four pixels."""
    grid, side, beta, gamma, eta = 4, 32, 1.2, 0.5, 0.2
    own, partner = torch.rand(2, 1, 3, side, side, dtype=torch.float64, generator=generator(1))
    s_own, s_partner = maps(1, grid, 2).double(), maps(1, grid, 3).double()
    share = torch.tensor([0.3], dtype=torch.float64)
    cost = energy(own, partner, share, s_own, s_partner, beta=beta, gamma=gamma, eta=eta)
    colours = torch.stack([F.avg_pool2d(image, 4)[0] for image in (partner, own)])  # (2, 3, 8, 8)

    def naive(mask: Tensor) -> float:
        total = 0.0
        for y, x in product(range(grid), repeat=2):
            a = int(mask[y, x])
            total += float((s_own if a == 0 else s_partner)[0, y, x])
            total += eta / grid**2 * -2 * np.log(0.3 if a else 0.7)
            for dy, dx in ((1, 0), (0, 1)):
                if y + dy < grid and x + dx < grid:
                    b = int(mask[y + dy, x + dx])
                    seen = 0.0
                    for k in range(2):
                        first = (2 * y + 1, 2 * x + k) if dy else (2 * y + k, 2 * x + 1)
                        second = (first[0] + dy, first[1] + dx)
                        seen += float((colours[a][:, *first] - colours[b][:, *second]).abs().mean()) / 2
                    total += beta / (16 * grid) * ((a - b) ** 2 + gamma * seen)
        return total

    for seed in range(20):
        mask = torch.randint(2, (grid, grid), generator=generator(seed)).double()
        assert float(cost.of(mask[None])) == pytest.approx(naive(mask), abs=1e-9)


def test_a_half_cell_costs_half_of_both_and_is_drawn_twice_as_often():
    share = torch.tensor([0.3], dtype=torch.float64)
    whole = torch.full((1, 1, 1), 1.0, dtype=torch.float64)
    image = torch.rand(1, 3, 4, 4, dtype=torch.float64)
    cost = energy(image, image, share, 0.6 * whole, 0.2 * whole, eta=0.1)
    expected = [0.6 - 0.1 * np.log(0.49), 0.4 - 0.1 * np.log(0.42), 0.2 - 0.1 * np.log(0.09)]
    np.testing.assert_allclose(cost.unary.flatten(), expected, atol=1e-7)


@pytest.mark.parametrize(("share", "label"), [(0.1, 0.0), (0.3, 0.0), (0.4, 0.5), (0.6, 0.5), (0.7, 1.0), (0.95, 1.0)])
@pytest.mark.parametrize("grid", [2, 16])
def test_with_a_large_eta_every_cell_takes_the_likeliest_label(share: float, label: float, grid: int):
    own, partner = torch.rand(2, 5, 3, 32, 32, generator=generator(1))
    cost = energy(own, partner, torch.full((5,), share), maps(5, grid, 1), maps(5, grid, 2), eta=1e5)
    assert (solved(cost) == label).all()


def test_without_smoothness_and_share_each_cell_shows_what_is_more_salient():
    own, partner, share = torch.rand(4, 3, 8, 8), torch.rand(4, 3, 8, 8), torch.full((4,), 0.5)
    a, b = maps(4, 4, 1), maps(4, 4, 2)
    clear = (a - b).abs() > 1e-2  # nearly the same cost converges slowly
    found = solved(energy(own, partner, share, a, b, beta=0.0, eta=0.0))
    assert torch.equal(found[clear], (a > b).float()[clear]) and clear.float().mean() > 0.7


# --- transport --------------------------------------------------------------------------------------------------------


def prices(shown: Tensor, saliency: Tensor, cost: float) -> np.ndarray:
    """By loops: of cell i at place j."""
    grid, made = len(shown), np.zeros((shown.numel(),) * 2)
    for i, j in np.ndindex(*made.shape):
        far = (i // grid - j // grid) ** 2 + (i % grid - j % grid) ** 2
        made[i, j] = cost * far / max(grid - 1, 1) ** 2 - float(saliency.flatten()[i]) * bool(shown.flatten()[j] > 0)
    return made


@pytest.mark.parametrize("cost", [0.05, 0.8])
@pytest.mark.parametrize("grid", [1, 2, 4, 8])
def test_transport_costs_little_more_than_the_best_assignment(grid: int, cost: float):
    n = 30
    shown, saliency = (maps(n, grid, 1) > maps(n, grid, 2)).float(), maps(n, grid, 1, power=6.0)
    source = transport(shown, saliency, cost)
    assert torch.equal(source.sort(1).values, torch.arange(grid**2).expand(n, -1)), "one cell to each place"
    ours, best, stay = [], [], []
    for i in range(n):
        price = prices(shown[i], saliency[i], cost)
        ours.append(price[source[i].numpy(), np.arange(grid**2)].sum())
        best.append(price[linear_sum_assignment(price)].sum())
        stay.append(np.trace(price))
    assert (np.array(ours) <= np.array(stay) + 1e-6).all(), "never worse than to stay"
    assert np.mean(ours) - np.mean(best) < 0.02 + 0.2 * (np.mean(stay) - np.mean(best))


def test_transport_brings_the_salient_cell_into_view_and_takes_who_is_in_the_way_to_its_place():
    shown = torch.zeros(1, 3, 3)
    shown[0, 1, 1] = 1
    saliency = torch.full((1, 3, 3), 0.01)
    saliency[0, 0, 1] = 0.92
    assert transport(shown, saliency).tolist() == [[0, 4, 2, 3, 1, 5, 6, 7, 8]]
    assert transport(shown, saliency, 5.0).tolist() == [list(range(9))], "too far"
    assert transport(torch.ones(1, 3, 3), saliency).tolist() == [list(range(9))], "all is in view"


def test_who_loses_a_place_takes_the_next():
    shown, saliency = torch.zeros(1, 3, 3), torch.zeros(1, 3, 3)
    shown[0, 1, 1] = shown[0, 2, 2] = 1
    saliency[0, 0, 1], saliency[0, 1, 0] = 0.4, 0.6
    source = transport(shown, saliency, 0.05)[0].tolist()
    assert (source[4], source[8]) == (3, 1)


@pytest.mark.parametrize("sides", [(8, 8), (12, 8)])
def test_cells_move_whole(sides: tuple[int, int]):
    x = torch.rand(3, 2, *sides, generator=generator(1))
    source = torch.stack([torch.randperm(16, generator=generator(i)) for i in range(3)])
    made, (high, wide) = moved(x, source), (sides[0] // 4, sides[1] // 4)
    for n, place in product(range(3), range(16)):
        (y, left), (from_y, from_x) = divmod(place, 4), divmod(int(source[n, place]), 4)
        there = made[n, :, y * high : (y + 1) * high, left * wide : (left + 1) * wide]
        assert torch.equal(there, x[n, :, from_y * high : (from_y + 1) * high, from_x * wide : (from_x + 1) * wide])


def test_cells_of_unlike_sizes_move_and_stay_when_told_to():
    x = torch.rand(2, 3, 7, 10, generator=generator(1))
    assert torch.equal(moved(x, torch.arange(16).expand(2, -1)), x)
    assert moved(x, torch.arange(16).flip(0).expand(2, -1)).shape == x.shape


# --- the blend --------------------------------------------------------------------------------------------------------


def test_what_is_mixed_is_the_masks_mixture_and_its_share_that_of_the_pixels():
    """What is salient in each of two images of one bright cell is kept, and the share is the mask's mean."""
    own, partner = torch.zeros(2, 1, 1, 8, 8)
    own[..., :4, :4], partner[..., 4:, 4:] = 1, 1
    x, share = pieced(
        own, partner, torch.tensor([0.5]), own[:, 0], partner[:, 0], None, grids=(2,), beta=0.0, move_cost=None
    )
    assert x[0, 0, :4, :4].min() == 1 and x[0, 0, 4:, 4:].min() == 1
    assert x[0, 0, :4, 4:].max() == 0 == x[0, 0, 4:, :4].max()
    assert share.tolist() == [0.5]


def test_of_two_that_are_salient_at_one_place_one_moves():
    own, partner = torch.full((1, 1, 4, 4), 0.2), torch.full((1, 1, 4, 4), 0.3)
    own[..., :2, :2], partner[..., :2, :2] = 0.9, 0.75  # of the whole 0.6 and 0.45
    share, how = torch.tensor([0.5]), {"grids": (2,), "beta": 0.0, "eta": 0.0}
    x, realised = pieced(own, partner, share, own[:, 0], partner[:, 0], None, **how, move_cost=0.05)
    expected = torch.tensor([[0.9, 0.75], [0.3, 0.3]])
    assert torch.equal(x[0, 0], expected.repeat_interleave(2, 0).repeat_interleave(2, 1))
    assert realised.tolist() == [0.25]
    x, _ = pieced(own, partner, share, own[:, 0], partner[:, 0], None, **how, move_cost=5.0)
    assert x[0, 0, 0, 2] == partner[0, 0, 0, 2]


@pytest.mark.parametrize(
    "shape", [(1, 3, 32, 32), (5, 1, 28, 28), (4, 3, 9, 17), (3, 1, 1, 9), (3, 1, 1, 1), (2, 2, 3, 2)]
)
@pytest.mark.parametrize("piece", [0, 1, 4])
def test_sides_of_all_kinds(shape: tuple[int, ...], piece: int):
    own, partner = torch.rand(2, *shape, generator=generator(1))
    looks = torch.rand(2, shape[0], *shape[2:], generator=generator(2))
    for draw in range(6):
        share = torch.rand(shape[0], generator=generator(draw))
        x, realised = pieced(own, partner, share, looks[0], looks[1], generator(draw), piece=piece, move_cost=0.1)
        assert x.shape == own.shape and torch.isfinite(x).all()
        shown, same = pieced(
            torch.ones_like(own), own * 0, share, looks[0], looks[1], generator(draw), gamma=0.0, piece=piece
        )
        torch.testing.assert_close(shown.mean((1, 2, 3)), same)
        assert ((realised >= 0) & (realised <= 1)).all()
        assert (x >= torch.minimum(own, partner).amin((1, 2, 3), keepdim=True) - 1e-6).all()


def test_flat_saliency_is_even_and_shares_of_none_and_all_are_kept():
    own, partner = torch.rand(2, 3, 3, 8, 8, generator=generator(1))
    nothing = torch.zeros(3, 8, 8)
    x, share = pieced(own, partner, torch.tensor([0.0, 1.0, 0.5]), nothing, nothing, generator(1))
    assert torch.equal(x[0], partner[0]) and torch.equal(x[1], own[1]) and torch.isfinite(x).all()
    assert share[:2].tolist() == [0.0, 1.0]


def test_each_grid_that_fits_is_drawn_alike():
    own, partner = torch.zeros(1, 1, 8, 8), torch.ones(1, 1, 8, 8)
    looks, draw, seen = torch.rand(2, 1, 8, 8, generator=generator(1)), generator(2), []
    for _ in range(300):
        x, _ = pieced(own, partner, torch.tensor([0.5]), looks[0], looks[1], draw, beta=0.0, eta=0.0, move_cost=None)
        changes = ((x[0, 0, 1:] != x[0, 0, :-1]).any(1)).nonzero().flatten() + 1
        seen.append(2 if (changes % 4 == 0).all() else 4 if (changes % 2 == 0).all() else 8)
    assert all(70 < seen.count(grid) < 130 for grid in (2, 4, 8))


def test_the_blend_says_what_it_needs():
    own = torch.rand(2, 3, 4, 4)
    half, label = torch.full((2,), 0.5), torch.tensor([0, 1])
    net = nn.Sequential(nn.Flatten(), nn.Linear(48, 2))
    with pytest.raises(UserError, match=r"blend 'puzzle' needs images \(n, C, H, W\), but .* \(2, 48\)"):
        puzzle.blend(own.flatten(1), own.flatten(1), half, None, mixing.Seen(label, label, net))
    with pytest.raises(UserError, match="looks at the gradients of a net, but is shown none"):
        puzzle.blend(own, own, half, None, mixing.Seen(label, label, None))
    with pytest.raises(UserError, match="needs class ids as labels, but these are numbers"):
        puzzle.blend(own, own, half, None, mixing.Seen(half, half, net))


# --- the method -------------------------------------------------------------------------------------------------------


def images(n: int = 12) -> Dataset:
    x = torch.randint(256, (n, 3, 8, 8), generator=generator(1)).to(torch.uint8)
    return Dataset.of(x, torch.arange(n) % 3, torch.arange(n) % 2, name="noise")


def made(data: Dataset, name: str = "puzzlemix", **options: Any) -> Any:
    method = build(name, data.info, net="conv:width=2", options=options)
    method.context = context(data, 3)
    return method.train()


@pytest.mark.parametrize("name", ["puzzlemix", "mixup", "lisa", "guidedmixup"])
def test_a_look_at_the_net_leaves_no_trace(name: str):
    data = images()
    options = {"detector": "gradient"} if name == "guidedmixup" else {"blend": "puzzle"}
    method = made(data, name, **options)
    before = {key: value.clone() for key, value in method.state_dict().items()}
    method.on_epoch(context(data, 3))
    method.mixture(method.on_pool(data.batch(torch.arange(12))))
    assert all(torch.equal(value, before[key]) for key, value in method.state_dict().items()), "batch statistics"
    assert all(parameter.grad is None for parameter in method.parameters())
    assert all(module.training for module in method.modules())


def test_with_one_look_at_the_anchors_the_method_mixes_as_the_blend_does():
    data = images()
    method, batch = made(data), data.batch(torch.arange(12))
    x = method.mixture(batch)[0].x
    method.context = context(data, 3)
    partners = method.mix.draw(batch, generator=method.generator)
    expected = method.mix.blend_with(batch, partners, method.generator, method.looked_at(0))
    torch.testing.assert_close(x, expected.x)
    assert not torch.equal(x, batch.x)


def test_saliency_is_seen_by_the_net_in_evaluation_mode():
    data, looked = images(), []
    method = made(data)
    method.net.register_forward_hook(lambda *_: looked.append(method.net.training))
    method.loss(data.batch(torch.arange(12)))
    assert looked == [False, True]


def test_the_clean_loss_is_added_and_its_gradient_is_the_saliency():
    data = images()
    batch, losses = data.batch(torch.arange(12)), []
    for clean in (0.0, 2.0):
        method = made(data, clean=clean, blend="linear")
        losses.append(float(method.loss(batch)[0].detach()))
    alone = F.cross_entropy(made(data)(batch.x), batch.label).detach()
    assert losses[1] - losses[0] == pytest.approx(2 * float(alone), rel=1e-4)
    method = made(data, clean=1.0)
    seen: list[Tensor] = []
    method.mixture = lambda batch, saliency: (seen.append(saliency), made(data).mixture(batch))[1]
    method.loss(batch)
    torch.testing.assert_close(seen[0], gradient(batch.x, batch.label, made(data)))


def test_the_binary_loss_is_that_of_each_class_by_hand():
    data = images()
    method, batch = made(data, objective="bce"), data.batch(torch.arange(12))
    mixed, _, level = method.mixture(batch)
    p, target = method.outputs(mixed.x, level).double().softmax(1), mixed.target.soft(3).double()
    expected = -(target * p.log() + (1 - target) * (1 - p).log()).sum(1) / 3
    torch.testing.assert_close(method.mixed_losses(mixed, level).double(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["puzzlemix", "guidedmixup"])
def test_images_are_needed(name: str):
    table = Dataset.of(torch.rand(4, 5), torch.arange(4) % 2, name="numbers")
    with pytest.raises(
        UserError, match=rf"{name} needs images \(C, H, W\), but numbers is of kind 'table' and shape \(5,\)"
    ):
        build(name, table.info, net="mlp:hidden=4")
