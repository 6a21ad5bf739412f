"""PuzzleMix: a mask that keeps what is salient in two images, and cells moved so that it is not covered.

Masks say in each cell how much of the anchor is shown: all, half or nothing. Images are split into ``grid`` × ``grid``
cells, as equal as their sides allow. Nothing here loops over samples.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from longcut.errors import UserError
from longcut.mixing.saliency import gradient, normalised
from longcut.mixing.types import Seeing, Seen

__all__ = ["Energy", "energy", "moved", "pieced", "puzzle", "puzzling", "solved", "transport"]

PATCH = 4  # pixels of the squares whose colours are compared across a border, as released
FINEST = 16  # cells a side that are moved at most: costs grow with the fourth power


class Energy(NamedTuple):
    """What masks ``(n, grid, grid)`` of 0, ½ and 1 cost.

    Attributes:
        unary: of each cell, shown 0, ½ or 1 of the anchor ``(n, 3, grid, grid)``; convex.
        down, right: weights of the squared difference to the cell below ``(n, grid - 1, grid)`` and to the right of it
            ``(n, grid, grid - 1)``, at least 0.
    """

    unary: Tensor
    down: Tensor
    right: Tensor

    def of(self, mask: Tensor) -> Tensor:
        """The cost of each mask ``(n,)``."""
        alone = self.unary.gather(1, (2 * mask).long()[:, None]).sum((1, 2, 3))
        down, right = mask.diff(dim=1).square(), mask.diff(dim=2).square()
        return alone + (self.down * down).sum((1, 2)) + (self.right * right).sum((1, 2))


def energy(
    own: Tensor,
    partner: Tensor,
    share: Tensor,
    own_map: Tensor,
    partner_map: Tensor,
    *,
    beta: float = 1.2,
    gamma: float = 0.5,
    eta: float = 0.2,
) -> Energy:
    """Saliency thrown away, borders that show, and a share far from the one wanted (Eq. 4 to 6).

    A cell costs the saliency of what it hides, and ``eta / grid²`` times minus the logarithm of its label's chance in
    two draws with probability ``share``. A border costs ``beta / (16 grid)`` times the squared difference of the labels
    plus ``gamma`` times the mean difference in colour that it shows, of squares of four pixels on both sides.

    Args:
        own, partner: ``(n, C, H, W)``.
        share: of the anchor, in (0, 1) ``(n,)``.
        own_map, partner_map: their saliency in each cell, which sums to 1 ``(n, grid, grid)``.
        beta, gamma, eta: weights of smoothness, of colour in it, and of the share.

    Source: Kim et al., ICML 2020, §4.1, with the constants of the released code.
    """
    grid = own_map.shape[1]
    patches = max(1, min(own.shape[2:]) // (PATCH * grid))  # along each border
    a, b = _means(own, patches * grid), _means(partner, patches * grid)
    weight, hides, keeps = beta / (16 * grid), own_map.clone(), partner_map.clone()  # cost of the labels 0 and 1
    edges = []
    for dim in (1, 2):
        aa, ab, ba, bb = (_border(x, y, dim, patches) for x in (a, b) for y in (a, b))
        of_keeps, of_hides = keeps.narrow, hides.narrow
        n, lean, factor = aa.shape[dim], (ab - ba) / 2, weight * gamma / 2
        of_keeps(dim, 0, n).add_(aa + lean, alpha=factor)
        of_hides(dim, 0, n).add_(bb - lean, alpha=factor)
        of_keeps(dim, grid - n, n).add_(aa - lean, alpha=factor)
        of_hides(dim, grid - n, n).add_(bb + lean, alpha=factor)
        edges.append(weight * (1 + gamma / 2 * (ab + ba - aa - bb)).clamp_min(0))
    a_log, b_log = (part.clamp_min(1e-8).log().to(own_map.dtype)[:, None, None] for part in (share, 1 - share))
    two = torch.tensor(2.0).log().item()
    prior = torch.stack([-2 * b_log, -two - a_log - b_log, -2 * a_log], 1)
    unary = torch.stack([hides, (hides + keeps) / 2, keeps], 1) + eta / grid**2 * prior
    return Energy(unary, *edges)


def solved(cost: Energy, steps: int = 100) -> Tensor:
    """The mask of least energy ``(n, grid, grid)``, or one very near.

    Half labels between the two others cost less than the mean of these, and borders cost a convex function of the
    difference. So the energy, interpolated linearly between labels, is convex, its least value is taken at labels, and
    no search in a graph is needed: it is found by the primal-dual steps of Chambolle and Pock (2011), all masks at
    once, and rounded.
    """
    grid = cost.unary.shape[-1]
    unary = grid**2 * cost.unary  # of the order of 1
    weight = unary.new_zeros(len(unary), 2, grid, grid)
    weight[:, 0, :-1], weight[:, 1, :, :-1] = grid**2 * cost.down, grid**2 * cost.right
    primal, dual = 0.25, 0.5  # step sizes, whose product is 1 / ‖differences‖²
    low, high = 2 * primal * (unary[:, 1] - unary[:, 0]), 2 * primal * (unary[:, 2] - unary[:, 1]) + 0.5
    flat, steep = weight / 2, weight / 2 + dual / 2  # slopes: w / 2 up to a difference of ½, then 3 w / 2
    mask = torch.full_like(low, 0.5)
    ahead, force, slope = mask, torch.zeros_like(weight), torch.zeros_like(weight)
    for _ in range(steps):
        slope[:, 0, :-1], slope[:, 1, :, :-1] = ahead.diff(dim=1), ahead.diff(dim=2)
        force = force.add_(slope, alpha=dual)
        force = (
            force.clamp(-flat, flat).add_(force.clamp(steep, steep + weight)).add_(force.clamp(-steep - weight, -steep))
        )
        at = mask.add(force.sum(1), alpha=primal)
        at[:, 1:].sub_(force[:, 0, :-1], alpha=primal)
        at[:, :, 1:].sub_(force[:, 1, :, :-1], alpha=primal)
        new = (at - low).clamp_(0, 0.5).add_((at - high).clamp_(0, 0.5))
        ahead, mask = torch.lerp(mask, new, 2.0), new
    return (2 * mask).round_() / 2


def transport(shown: Tensor, saliency: Tensor, cost: float = 0.8) -> Tensor:
    """Which cell moves to each place, so that salient ones come to where the image is shown.

    A move costs ``cost`` times the squared distance over ``(grid - 1)²``, and wins the cell's saliency where it ends
    shown. In ``grid`` rounds each cell claims its cheapest place; of those that claim one place the cheapest wins it,
    and to the others it costs 1 more. In the released code a place that nobody won is empty. Here the cell that was
    driven out at the end of a chain of moves takes the place that became free at its start, and a circle of moves that
    costs more than it wins is taken back.

    Args:
        shown: how much of the image each cell shows ``(n, grid, grid)``.
        saliency: of its cells ``(n, grid, grid)``.
        cost: above 0.

    Returns:
        For each place the cell that comes there ``(n, grid²)``; every cell comes to one place.

    Source: Kim et al., ICML 2020, §4.2 and Algorithm 1.

    >>> shown, saliency = torch.tensor([[[1.0, 0.0], [0.0, 0.0]]]), torch.tensor([[[0.0, 1.0], [0.0, 0.0]]])
    >>> transport(shown, saliency, 0.2)
    tensor([[1, 0, 2, 3]])
    """
    n, grid, _ = shown.shape
    cell = torch.arange(grid**2, device=shown.device)
    own, y, x = cell.expand(n, -1), cell // grid, cell % grid
    worth, view = saliency.flatten(1), (shown.flatten(1) > 0).to(saliency.dtype)
    far = cost * ((y[:, None] - y) ** 2 + (x[:, None] - x) ** 2).to(worth.dtype) / max(grid - 1, 1) ** 2
    winner, lost = _claimed(torch.addcmul(far, worth[:, :, None], view[:, None], value=-1), own)

    free = winner == grid**2
    source = start = torch.where(free, own, winner)
    hops = (grid**2).bit_length()
    for _ in range(hops):  # back along each chain to its start
        start = start.gather(1, start)
    rest = torch.where(lost, start, grid**2)
    source = F.pad(source, (0, 1)).scatter_(1, rest, own)[:, :-1]

    gain = far[source, own] - (worth.gather(1, source) - worth) * view
    circle, jump = own, source
    for _ in range(hops):  # named by its first cell
        circle, jump = torch.minimum(circle, circle.gather(1, jump)), jump.gather(1, jump)
    total = torch.zeros_like(gain).scatter_add_(1, circle, gain).gather(1, circle)
    return torch.where(total < 0, source, own)


def _claimed(price: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
    """Who won each place, ``grid²`` for nobody, and which cells won none, both ``(n, grid²)``; ``price`` is used up."""
    claim = price.argmin(2)
    winner, lost = _won(price, claim, own)
    for _ in range(round(own.shape[1] ** 0.5) - 1):
        rows = lost.nonzero(as_tuple=True)
        if not len(rows[0]):
            break
        price[(*rows, claim[rows])] += 1
        claim[rows] = price[rows].argmin(1)
        winner, lost = _won(price, claim, own)
    return winner, lost


def _won(price: Tensor, claim: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
    """The cheapest of those that claim a place; of equals the first."""
    bid, nobody = price.gather(2, claim[:, :, None])[:, :, 0], own.shape[1]
    least = torch.full_like(bid, torch.inf).scatter_reduce_(1, claim, bid, "amin")
    bidder = torch.where(bid == least.gather(1, claim), own, nobody)
    winner = torch.full_like(own, nobody).scatter_reduce_(1, claim, bidder, "amin")
    return winner, winner.gather(1, claim) != own


def moved(x: Tensor, source: Tensor) -> Tensor:
    """Images whose cells have moved; where cells differ by a pixel, an edge is repeated or cut.

    Args:
        x: ``(n, C, H, W)``.
        source: the cell that comes to each place ``(n, grid²)``.
    """
    n, channels, height, width = x.shape
    grid = round(source.shape[1] ** 0.5)
    (rows, at_y, top, high), (columns, at_x, left, wide) = (_places(side, grid, x.device) for side in (height, width))
    cell = source[:, (rows[:, None] * grid + columns).flatten()].view(n, height, width)
    y = top[cell // grid] + torch.minimum(at_y[:, None], high[cell // grid] - 1)
    from_x = left[cell % grid] + torch.minimum(at_x, wide[cell % grid] - 1)
    pixel = (y * width + from_x).view(n, 1, -1).expand(-1, channels, -1)
    return x.flatten(2).gather(2, pixel).view_as(x)


def pieced(
    own: Tensor,
    partner: Tensor,
    share: Tensor,
    own_saliency: Tensor,
    partner_saliency: Tensor,
    generator: torch.Generator | None,
    *,
    grids: tuple[int, ...] = (2, 4, 8, 16),
    beta: float = 1.2,
    gamma: float = 0.5,
    eta: float = 0.2,
    move_cost: float | None = 0.8,
    piece: int = 0,
) -> tuple[Tensor, Tensor]:
    """Two images put together by the mask of least energy, of both of which what is salient has moved into view.

    Args:
        own, partner: ``(n, C, H, W)``.
        share: of the anchor, as wanted ``(n,)``; 0 and 1 are kept.
        own_saliency, partner_saliency: of each pixel, at least 0 ``(n, H, W)``.
        generator: source of randomness.
        grids: cells a side, one drawn for the batch among those that are no more than the shorter side has pixels;
            where none is, the image is one cell.
        beta, gamma, eta: see :func:`energy`.
        move_cost: see :func:`transport`; None moves nothing.
        piece: pixels a side of what is moved, if cells are larger (at most 16 pieces a side); 0: cells.

    Returns:
        The mixed images, and the share of the anchor in their pixels.

    Source: Kim et al., Puzzle Mix, ICML 2020.
    """
    height, width = own.shape[2:]
    grid = _draw([grid for grid in grids if grid <= min(height, width)], generator)
    maps = [normalised(_means(saliency[:, None], grid)[:, 0]) for saliency in (own_saliency, partner_saliency)]
    mask = solved(energy(own.detach(), partner.detach(), share, *maps, beta=beta, gamma=gamma, eta=eta))
    wanted = share.to(mask.dtype)[:, None, None]
    mask = torch.where((wanted == 0) | (wanted == 1), wanted, mask)
    if move_cost is not None:
        fine = max(grid, min(FINEST, min(height, width) // piece)) if piece else grid
        if fine > grid:
            mask = _enlarged(mask, fine, fine)
            maps = [normalised(_means(one[:, None], fine)[:, 0]) for one in (own_saliency, partner_saliency)]
        own = moved(own, transport(mask, maps[0], move_cost))
        partner = moved(partner, transport(1 - mask, maps[1], move_cost))
    shown = _enlarged(mask, height, width)
    return torch.lerp(partner, own, shown[:, None].to(own.dtype)), shown.mean((1, 2))


def puzzling(**how: Any) -> Seeing:
    """PuzzleMix as a blend: images pieced together by what moves the net's loss (see :func:`pieced` for options)."""

    def puzzle(
        own: Tensor, partner: Tensor, share: Tensor, generator: torch.Generator | None, seen: Seen
    ) -> tuple[Tensor, Tensor]:
        """PuzzleMix (Kim et al., ICML 2020): cells of the two chosen, and moved, by what moves the net's loss."""
        if own.ndim != 4:
            raise UserError(
                f"blend 'puzzle' needs images (n, C, H, W), but these inputs have shape {tuple(own.shape)}."
            )
        if seen.net is None:
            raise UserError(
                "blend 'puzzle' looks at the gradients of a net, but is shown none; "
                "pass net=… to blend_with, or take a blend that needs none, such as 'cut'."
            )
        if seen.label.is_floating_point():
            raise UserError(
                "blend 'puzzle' needs class ids as labels, but these are numbers; "
                "take a blend that sees no labels, such as 'cut'."
            )
        labels = torch.cat([seen.label, seen.partner_label])
        first, second = gradient(torch.cat([own, partner]), labels, seen.net).chunk(2)
        return pieced(own, partner, share, first, second, generator, **how)

    return Seeing(puzzle)


puzzle = puzzling()
"""The blend with the published constants."""


def _draw(grids: list[int], generator: torch.Generator | None) -> int:
    if not grids:
        return 1
    device = generator.device if generator else None
    return grids[int(torch.randint(len(grids), (), generator=generator, device=device))]


def _cells(length: int, grid: int, device: torch.device) -> Tensor:
    """Which of ``grid`` cells each of ``length`` pixels is in."""
    return torch.arange(length, device=device) * grid // length


def _places(length: int, grid: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of each pixel its cell and its place in it, of each cell its first pixel and its size."""
    cell, first = _cells(length, grid, device), -(-torch.arange(grid + 1, device=device) * length // grid)
    return cell, torch.arange(length, device=device) - first[cell], first[:-1], first.diff()


def _means(x: Tensor, grid: int) -> Tensor:
    """Means of ``(n, C, H, W)`` over ``grid`` × ``grid`` cells."""
    rows, columns = (
        F.normalize(F.one_hot(_cells(side, grid, x.device), grid).to(x.dtype), p=1, dim=0) for side in x.shape[2:]
    )
    return rows.T @ x @ columns


def _enlarged(mask: Tensor, height: int, width: int) -> Tensor:
    rows, columns = (_cells(side, mask.shape[1], mask.device) for side in (height, width))
    return mask[:, rows][:, :, columns]


def _border(before: Tensor, behind: Tensor, dim: int, patches: int) -> Tensor:
    """Mean colour difference across each border, ``before`` above (left of) it and ``behind`` below (right of) it."""
    if dim == 2:
        return _border(before.mT, behind.mT, 1, patches).mT
    difference = (before[:, :, patches - 1 : -1 : patches] - behind[:, :, patches::patches]).abs().mean(1)
    return difference.unflatten(2, (-1, patches)).mean(3)
