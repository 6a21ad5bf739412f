"""Nets for token ids, from random weights."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from longcut.data import Info
from longcut.errors import UserError
from longcut.nets.layers import MeanToken
from longcut.nets.net import Dropout, Net, need_tokens

__all__ = ["attended", "tokens", "transformer"]


def tokens(
    info: Info,
    outputs: int,
    *,
    width: Annotated[int, Field(ge=1, description="size of the embeddings and of the hidden layer")] = 64,
) -> Net:
    """The mean of token embeddings (id 0 is padding and counts for nothing), then one hidden layer.

    The first stage is the embedding, so that text can be mixed right behind it.
    """
    need_tokens(info, "tokens")
    hidden = nn.Sequential(nn.Linear(width, width), nn.ReLU())
    return Net([nn.Embedding(info.vocabulary, width, padding_idx=0), MeanToken(), hidden], nn.Linear(width, outputs))


def attended(x: Tensor) -> Tensor:
    """Where token ids are no padding; the first place always, so that a row of padding has something to look at."""
    return x.ne(0) | (torch.arange(x.shape[1], device=x.device) == 0)


class _Transformer(nn.Module):
    """Token ids to features, all in one."""

    def __init__(self, info: Info, width: int, layers: int, heads: int, dropout: float, pool: str) -> None:
        super().__init__()
        self.token = nn.Embedding(info.vocabulary, width, padding_idx=0)
        self.position = nn.Embedding(info.shape[0], width)
        for embedding in (self.token, self.position):
            nn.init.normal_(embedding.weight, std=0.02)
        self.dropout = nn.Dropout(dropout)
        layer = nn.TransformerEncoderLayer(width, heads, 4 * width, dropout, F.gelu, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, layers, nn.LayerNorm(width), enable_nested_tensor=False)
        self.pool = pool

    def forward(self, x: Tensor) -> Tensor:
        """``(n, length)`` to ``(n, width)``."""
        real = attended(x)
        y = self.dropout(self.token(x) + self.position.weight[: x.shape[1]])
        y = self.encoder(y, src_key_padding_mask=~real)
        if self.pool == "first":
            return y[:, 0]
        return (y * real[:, :, None]).sum(1) / real.sum(1, keepdim=True)


def transformer(
    info: Info,
    outputs: int,
    *,
    width: Annotated[
        int, Field(ge=1, description="size of the embeddings and the features; hidden layers are four times as wide")
    ] = 128,
    layers: Annotated[int, Field(ge=1, description="number of attention layers")] = 2,
    heads: Annotated[int, Field(ge=1, description="attention heads of each layer; they divide the width")] = 4,
    dropout: Dropout = 0.1,
    pool: Annotated[
        Literal["mean", "first"], Field(description="features are the mean over the tokens, or those of the first")
    ] = "mean",
) -> Net:
    """A small transformer encoder on token ids (id 0 is padding and is not looked at), from random weights.

    It has learned positions, normalises before attention, and is one stage: text is mixed at the pooled features.
    """
    need_tokens(info, "transformer")
    if width % heads:
        raise UserError(f"net 'transformer': {heads} heads do not divide width={width}; give a multiple, such as 128.")
    stage = _Transformer(info, width, layers, heads, dropout, pool)
    return Net([stage], nn.Linear(width, outputs), levels=[1])
