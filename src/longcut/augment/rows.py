"""Changes of tables and of token ids."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from longcut.augment.base import of_kinds

__all__ = ["feature_noise", "feature_swap", "token_dropout"]


@of_kinds("table")
def feature_noise(
    x: Tensor,
    generator: torch.Generator | None,
    *,
    sigma: Annotated[
        float, Field(ge=0, description="standard deviation of the noise, in that of the feature in the batch")
    ] = 0.3,
) -> Tensor:
    """Each feature of a table plus a normal number; those with two or fewer values in the batch stay as they are.

    Args:
        x: ``(n, ...)``, floating point.
        generator: source of randomness.
        sigma: how strong.

    >>> changed = feature_noise(torch.tensor([[0.0, 1.0], [1.0, 2.0], [1.0, 3.0]]), None)
    >>> changed[:, 0]
    tensor([0., 1., 1.])
    """
    noise = torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
    two = ((x == x.amin(0)) | (x == x.amax(0))).all(0)
    return torch.where(two, x, x + sigma * x.std(0, correction=0) * noise)


@of_kinds("table")
def feature_swap(
    x: Tensor,
    generator: torch.Generator | None,
    *,
    rate: Annotated[float, Field(ge=0, le=1, description="probability of each feature, published: 0.6")] = 0.3,
) -> Tensor:
    """Some features of each row of a table replaced by those of other rows of the batch, each of a row of its own.

    Source: Bahri et al., SCARF, ICLR 2022, which replaces the same number of features in every row and draws from the
    whole training set.

    Args:
        x: ``(n, ...)``.
        generator: source of randomness.
        rate: how many.

    >>> feature_swap(torch.tensor([[0.0, 1.0], [2.0, 3.0]]), None, rate=1.0)
    tensor([[2., 3.],
            [0., 1.]])
    """
    if len(x) == 1:
        return x
    shape, device = x.flatten(1).shape, x.device
    step = torch.randint(1, len(x), shape, generator=generator, device=device)
    other = (torch.arange(len(x), device=device)[:, None] + step) % len(x)
    drawn = torch.rand(shape, generator=generator, device=device) < rate
    return torch.where(drawn, x.flatten(1).gather(0, other), x.flatten(1)).view(x.shape)


@of_kinds("tokens")
def token_dropout(
    x: Tensor,
    generator: torch.Generator | None,
    *,
    rate: Annotated[float, Field(ge=0, le=1, description="probability of each token")] = 0.2,
) -> Tensor:
    """Some tokens of each text replaced by padding (id 0), which nets do not look at; the first one stays.

    So no text is empty, and a tokenizer's mark at the beginning, from which a net may read the whole, is there.

    Args:
        x: token ids ``(n, length)``.
        generator: source of randomness.
        rate: how many.

    >>> token_dropout(torch.tensor([[5, 6, 7]]), None, rate=1.0)
    tensor([[5, 0, 0]])
    """
    dropped = torch.rand(x.shape, generator=generator, device=x.device) < rate
    dropped[:, :1] = False
    return x.masked_fill(dropped, 0)
