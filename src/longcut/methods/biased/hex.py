"""HEX: predict from what a model of mere texture cannot say."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from longcut.data import Batch, Info
from longcut.errors import UserError
from longcut.losses import cross_entropy
from longcut.methods.base import MakeNet, Method, Recipe
from longcut.nets import Shrink

STEPS = {"right": (0, 1), "up-right": (-1, 1), "up": (-1, 0), "up-left": (-1, -1)}  # in rows and columns
SIDE = 32  # texture is looked at on images averaged down to this side; the released code resizes to 28
RIDGE = 1e-6  # in parts of the mean square of a column


def neighbours(grey: Tensor, direction: str) -> tuple[Tensor, Tensor]:
    """Every pixel that has a neighbour in that direction, and the neighbour: twice ``(n, pixels)``.

    Args:
        grey: ``(n, H, W)``.
        direction: ``"right"``, ``"up-right"``, ``"up"`` or ``"up-left"``: 0, 45, 90 and 135 degrees.

    >>> own, neighbour = neighbours(torch.tensor([[[1, 2], [3, 4]]]), "up")
    >>> own.tolist(), neighbour.tolist()
    ([[3, 4]], [[1, 2]])
    """
    height, width = grey.shape[1:]
    down, right = STEPS[direction]

    def inside(down: int, right: int) -> Tensor:
        return grey[:, max(down, 0) : height + min(down, 0), max(right, 0) : width + min(right, 0)].flatten(1)

    return inside(-down, -right), inside(down, right)


def membership(value: Tensor, level: Tensor, sharpness: float = 4.0) -> Tensor:
    """How much each value belongs to each grey level: a softmax, so that the levels can be learned.

    Args:
        value: ``(n, pixels)`` in [0, 1].
        level: centres of the bins ``(L,)``.
        sharpness: minus the log-odds of the next level against a value's own, at the usual distance ``1 / (L - 1)``;
            towards infinity every value belongs to the nearest level alone.

    Returns:
        ``(n, L, pixels)``, at least 0; adds up to 1 over the levels.

    >>> membership(torch.tensor([[0.1, 0.5]]), torch.tensor([0.0, 1.0]), sharpness=1e3).round(decimals=3)
    tensor([[[1.0000, 0.5000],
             [0.0000, 0.5000]]])
    """
    steps = (value[:, None] - level[:, None]) * (len(level) - 1)
    return (-sharpness * steps.square()).softmax(1)


def cooccurrence(own: Tensor, neighbour: Tensor) -> Tensor:
    """The grey-level co-occurrence matrix: how often level i has a neighbour of level j, ``(n, L, L)``, sum 1.

    Args:
        own: membership of each pixel ``(n, L, pixels)``.
        neighbour: of its neighbour.

    Source: Haralick et al. 1973; made differentiable by Wang et al., ICLR 2019, §3.1.

    >>> own = torch.tensor([[[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]])
    >>> cooccurrence(own, own.flip(1))[0] * 3
    tensor([[0., 2.],
            [1., 0.]])
    """
    return own @ neighbour.mT / own.shape[2]


def project_out(of: Tensor, what: Tensor) -> Tensor:
    """``of`` without what the columns of ``what`` explain: ``A - P (P'P)^-1 P'A``.

    The columns of P are nearly dependent when the texture says little, and they are dependent when the batch has fewer
    samples than columns. The inverse and its gradient then explode, and so does the gradient of a pseudo-inverse, whose
    rank jumps. A small ridge on P'P, in 64 bits, bounds both and changes the rest by a millionth.

    Args:
        of: A, ``(n, C)``.
        what: P, ``(n, C)``.

    Returns:
        ``(n, C)``, orthogonal to the columns of P but for the ridge.

    Source: Wang et al., ICLR 2019, Eq. 4.

    >>> project_out(torch.tensor([[1.0], [2.0]]), torch.tensor([[1.0], [0.0]])).round(decimals=4)
    tensor([[0.],
            [2.]])
    """
    a, p = of.double(), what.double()
    square = p.mT @ p
    ridge = RIDGE * square.diagonal().mean() + torch.finfo(torch.float32).tiny
    eye = torch.eye(len(square), dtype=square.dtype, device=square.device)
    return (a - p @ torch.linalg.solve(square + ridge * eye, p.mT @ a)).to(of.dtype)


class HEX(Method):
    """``CE(F_A - F_P (F_P'F_P)^-1 F_P'F_A)``: learn from logits minus all that texture explains of them in the batch.

    F_A sees features h and texture g, F_P texture alone, and F_G, which predicts, features alone. Images only.
    """

    name = "hex"
    paper = "Wang et al., Learning robust representations by projecting superficial statistics out, ICLR 2019"
    needs_classes = "it projects logits of classes"
    kinds = frozenset({"image"})
    variants = ({"normalise": "batch", "direction": "up-left"},)
    recipes = {
        "paper": Recipe(
            "the released normalisation, of each unit of the texture branch over the batch", {"normalise": "batch"}
        )
    }

    def __init__(
        self,
        make_net: MakeNet,
        info: Info,
        *,
        levels: Annotated[int, Field(ge=2, description="grey levels of the co-occurrence matrix")] = 16,
        direction: Annotated[
            Literal["right", "up-right", "up", "up-left"], Field(description="which neighbour a pixel is paired with")
        ] = "right",
        normalise: Annotated[
            Literal["features", "batch"],
            Field(description="texture features have length 1 within each sample, or over the batch as released"),
        ] = "features",
    ) -> None:
        super().__init__(make_net, info)
        if min(info.shape[1:]) < 2:
            raise UserError(
                f"hex looks at neighbouring pixels and needs images of at least 2 x 2, but {info.name} has shape "
                f"{info.shape}; take another method, such as dfa."
            )
        self.shrink = Shrink(SIDE)
        self.level = nn.Parameter(torch.linspace(0, 1, levels))
        self.neighbour_level = nn.Parameter(torch.linspace(0, 1, levels))
        self.hidden = nn.Sequential(nn.Flatten(), nn.Linear(levels * levels, 32), nn.ReLU())
        self.texture_head = nn.Linear(32, info.n_classes, bias=False)  # W's part for g; the net's head is that for h
        self.direction = direction
        self.axis = {"features": 1, "batch": 0}[normalise]

    def texture(self, x: Tensor) -> Tensor:
        """Images to texture features g ``(n, 32)``: a learned co-occurrence matrix of grey levels and one layer."""
        own, neighbour = neighbours(self.shrink(x).mean(1), self.direction)
        matrix = cooccurrence(membership(own, self.level), membership(neighbour, self.neighbour_level))
        return F.normalize(self.hidden(matrix), dim=self.axis, eps=1e-6)

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Cross-entropy of what texture leaves of the logits, and the share of their squares that it takes."""
        h, by_texture = self.net.features(batch.x), self.texture_head(self.texture(batch.x))
        f_a = self.net.head(h) + by_texture
        f_p = self.net.head(torch.zeros_like(h)) + by_texture
        logits = project_out(f_a, f_p)
        removed = 1 - logits.detach().square().sum() / f_a.detach().square().sum().clamp_min(1e-12)
        return cross_entropy(logits, batch.label).mean(), {"removed": removed}
