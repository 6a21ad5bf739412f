"""PatchMix: few-shot episodes whose queries show each other in a box, and labels that lie where the boxes do."""

from __future__ import annotations

from itertools import permutations
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from longcut import mixing
from longcut.data import Batch, Dataset, Episodes, Info, Splits, episodes, generator
from longcut.errors import UserError
from longcut.losses import cross_entropy
from longcut.methods.base import MakeNet, Method, Recipe
from longcut.methods.shared import Episodic, Queries, Shots, Ways
from longcut.mixing import regions
from longcut.nets.maps import cell_features, last_map

MOST = 6  # ways, of which all tours can be tried


class PatchMix(Method):
    """``CE(cells, their class) + w CE(cells against the episode's prototypes, their way)``.

    Each step learns from episodes of its own, drawn from the training samples; the minibatches say how many steps there
    are. Every cell of the last feature map is classified: twice, among all classes and by the prototypes, which are the
    means of the episode's support. A net without a map has one cell. What is used at the end is the net itself.
    """

    name = "patchmix"
    paper = "Xu et al., PatchMix augmentation to identify causal features in few-shot learning, TPAMI 2023"
    kinds = frozenset({"image"})
    needs_classes = "its episodes are made of classes"
    variants = ({"pairs": "hardest"}, {"score": "cosine"}, {"blend": "keep-both"}, {"net": "conv:width=4"})
    recipes = {
        "paper": Recipe(
            "the released script, without its reconstruction of the two images (weight 0.5) and with a ResNet-18",
            {"ways": 5, "shots": 1, "queries": 6, "episodes": 4, "episode_weight": 0.5},
            {"optimizer": "sgd", "lr": 0.1, "weight_decay": 5e-4, "epochs": 90},
            "resnet18",
        )
    }

    def __init__(
        self,
        make_net: MakeNet,
        info: Info,
        *,
        ways: Ways = 5,
        shots: Shots = 1,
        queries: Queries = 6,
        episodes: Episodic = 4,
        episode_weight: Annotated[float, Field(ge=0, description="weight of the term with the prototypes")] = 0.5,
        score: Annotated[
            Literal["projection", "cosine"],
            Field(description="cell by prototype: its length along it, as released, or the cosine, as in the paper"),
        ] = "projection",
        pairs: Annotated[
            Literal["random", "hardest"],
            Field(
                description="queries: in random order; or each class with the next one on the tour through the "
                "episode's classes that are most alike (at most 6 ways), as in the second stage"
            ),
        ] = "random",
        blend: Annotated[
            Literal["cut", "keep-both"],
            Field(description="the partner's pixels in a box; keep-both: the control, one of the two whole"),
        ] = "cut",
    ) -> None:
        super().__init__(make_net, info)
        self.ways, self.shots, self.queries, self.episodes = min(ways, info.n_classes), shots, queries, episodes
        if pairs == "hardest" and self.ways > MOST:
            raise UserError(
                f"patchmix with pairs=hardest tries every tour through an episode's classes, but ways={self.ways}; "
                f"give at most {MOST}, or pairs=random."
            )
        self.episode_weight, self.blend = episode_weight, blend
        self.cosine, self.hardest = score == "cosine", pairs == "hardest"
        self.stages, self.ratio = last_map(self.net, info), mixing.beta(1.0)

    def check(self, splits: Splits) -> None:
        """Refuse data with a class too small for an episode."""
        self.draw(splits.train, 1, generator(0))

    def draw(self, data: Dataset, count: int, generator: torch.Generator) -> Episodes:
        """As many episodes."""
        return episodes(data, ways=self.ways, shots=self.shots, queries=self.queries, count=count, generator=generator)

    def cells(self, x: Tensor) -> Tensor:
        """Features of each cell ``(n, h, w, width)``."""
        maps = self.net.features(x) if self.stages is None else self.mixable(x, self.stages)
        return cell_features(self.net, maps, self.stages)

    def prototypes(self, support: Tensor) -> Tensor:
        """The direction of each way ``(episodes, ways, width)``.

        Args:
            support: cells ``(episodes, ways * shots, h, w, width)``.
        """
        by_way = support.unflatten(1, (self.ways, self.shots))
        return F.normalize(by_way.mean((2, 3, 4)), dim=2)

    def partners(self, support: Tensor) -> Tensor:
        """Of each query, its partner among the queries of its episode ``(episodes, ways * queries)``.

        Args:
            support: images ``(episodes, ways * shots, C, H, W)``.
        """
        shape = len(support), self.ways, self.queries
        lot = torch.rand(shape, generator=self.generator, device=support.device)
        if not self.hardest:
            return lot.flatten(1).argsort(1)
        with torch.no_grad():
            direction = self.prototypes(self.cells(support.flatten(0, 1)).unflatten(0, support.shape[:2]))
        return (hardest_tour(direction @ direction.mT)[:, :, None] * self.queries + lot.argsort(2)).flatten(1)

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Both terms over all cells, the support's too; ``share`` is how much of a query is its own."""
        data, device, (height, width), e = self.context.data, batch.x.device, batch.x.shape[2:], self.episodes
        drawn = self.draw(data, e, self.generator)
        rows = torch.cat([drawn.support, drawn.query], 1)
        x = self.context.augment(data.gather(rows.flatten(), device), self.generator)
        s, n = drawn.support.shape[1], rows.shape[1]
        own = torch.arange(n, device=device).repeat(e, 1)
        partner = torch.cat([own[:, :s], s + self.partners(x.unflatten(0, (e, n))[:, :s])], 1)
        partner = (partner + n * torch.arange(e, device=device)[:, None]).flatten()
        corners = regions.box(self.ratio(e, self.generator).to(device), height, width, self.generator)
        corners = regions.Corners(*(side.repeat_interleave(n) for side in corners))  # one for an episode
        if self.blend == "keep-both":
            corners = regions.all_or_nothing(corners, height, width, self.generator)
        cells = self.cells(regions.paste(x, x[partner], corners))
        inside = cells_of(corners, (height, width), (cells.shape[1], cells.shape[2]))

        def labels(label: Tensor) -> Tensor:
            """Of each image to each cell."""
            return torch.where(inside, label[partner, None, None], label[:, None, None]).flatten()

        overall = cross_entropy(self.net.head(cells).flatten(0, 2), labels(data.label[rows.flatten()].to(device)))
        cells = cells.unflatten(0, (e, n))
        against = F.normalize(cells, dim=4) if self.cosine else cells
        scores = torch.einsum("enhwd,ekd->enhwk", against, self.prototypes(cells[:, :s]))
        way = torch.arange(self.ways, device=device)
        way = torch.cat([way.repeat_interleave(self.shots), way.repeat_interleave(self.queries)]).repeat(e)
        episode = cross_entropy(scores.flatten(0, 3), labels(way)).mean()
        logs = {"share": corners.share(height, width).mean(), "episode": episode.detach()}
        return overall.mean() + self.episode_weight * episode, logs


def cells_of(corners: regions.Corners, image: tuple[int, int], grid: tuple[int, int]) -> Tensor:
    """Which cells of a grid over the image a box has ``(n, h, w)``: its corners times grid by image, rounded.

    >>> box = regions.Corners(*torch.tensor([[10], [84], [0], [40]]))  # rows 10 to 83 and columns 0 to 39 of 84
    >>> cells_of(box, (84, 84), (4, 4)).int()
    tensor([[[1, 1, 0, 0],
             [1, 1, 0, 0],
             [1, 1, 0, 0],
             [1, 1, 0, 0]]], dtype=torch.int32)
    """
    scale = grid[0] / image[0], grid[0] / image[0], grid[1] / image[1], grid[1] / image[1]
    rounded = (torch.round(side * by).long() for side, by in zip(corners, scale, strict=True))
    return regions.Corners(*rounded).mask(*grid)[:, 0]


def hardest_tour(similarity: Tensor) -> Tensor:
    """Who follows whom on the round tour through all classes whose neighbours are most alike ``(n, k)``, all tried.

    Args:
        similarity: ``(n, k, k)``, symmetric, of at most six classes.

    >>> alike = torch.tensor([[9.0, 0, 1, 0], [0, 9, 1, 1], [1, 1, 9, 0], [0, 1, 0, 9]])
    >>> hardest_tour(alike[None])  # 0, 2, 1, 3 and back
    tensor([[2, 3, 1, 0]])
    """
    k = similarity.shape[-1]
    tours = torch.tensor([(0, *rest) for rest in permutations(range(1, k))], device=similarity.device)
    onward = tours.roll(-1, 1)
    best = similarity[:, tours, onward].sum(2).argmax(1)
    return torch.empty_like(tours[best]).scatter_(1, tours[best], onward[best])
