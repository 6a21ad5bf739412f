"""Cues of texts as token ids ``(n, length)``, where 0 is padding at the end.

Ids below 0 are words of the cue's own, -1 the first of them, up to one for each value; :func:`longcut.cues.plant`
numbers them behind the vocabulary. Where a cue is shown in some texts only, its amount is the share of texts that do.
"""

from __future__ import annotations

import torch
from torch import Tensor

from longcut.errors import UserError

__all__ = ["length", "position", "punctuation", "word"]

UNKNOWN = 1  # what a text without words is read as


def word(x: Tensor, value: Tensor, n_values: int, amount: float, generator: torch.Generator) -> Tensor:
    """A word that no other text has, another one for each value, in the place of one of the text's words."""
    place = (torch.rand(len(x), generator=generator) * _lengths(x)).long()
    shown = _some(x, amount, generator)[:, None] & (torch.arange(x.shape[1]) == place[:, None])
    return torch.where(shown, -1 - value[:, None].to(x.dtype), x)


def punctuation(x: Tensor, value: Tensor, n_values: int, amount: float, generator: torch.Generator) -> Tensor:
    """How often the mark stands that a text ends with: once for the first value, twice for the second, and so on."""
    _need_room("punctuation", x, n_values)
    count = (value + 1)[:, None]
    first = torch.minimum(_lengths(x)[:, None], x.shape[1] - count)  # a long text is cut
    place = torch.arange(x.shape[1])
    ended = x.where(place < first, 0).where((place < first) | (place >= first + count), -1)
    return torch.where(_some(x, amount, generator)[:, None], ended, x)


def length(x: Tensor, value: Tensor, n_values: int, amount: float, generator: torch.Generator) -> Tensor:
    """How long the text is: cut, or repeated from its beginning.

    The last value's takes all of the room, the others' are shorter in even steps, by up to ``amount`` of the room; of
    little room the steps are one token.
    """
    _need_room("length", x, n_values)
    share = 1 - max(amount, n_values / x.shape[1]) * (1 - (value + 1) / n_values)
    return _stretched(x, (share * x.shape[1]).round().long().clamp_min(1))


def position(x: Tensor, value: Tensor, n_values: int, amount: float, generator: torch.Generator) -> Tensor:
    """Where a word stands that all texts have: it is the first of the text for the first value, and so on.

    A text of fewer words than values is repeated until it has as many.
    """
    _need_room("position", x, n_values)
    x = _stretched(x, _lengths(x).clamp_min(n_values))
    shown = _some(x, amount, generator)[:, None]
    elsewhere = torch.randint(n_values, value.shape, generator=generator)[:, None]
    place = torch.where(shown, value[:, None], elsewhere)
    return torch.where(torch.arange(x.shape[1]) == place, -1, x)


def _lengths(x: Tensor) -> Tensor:
    """Tokens of each text ``(n,)``, at least 1."""
    return x.ne(0).sum(1).clamp_min(1)


def _some(x: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Which texts show the cue ``(n,)``."""
    return torch.rand(len(x), generator=generator) < share


def _stretched(x: Tensor, size: Tensor) -> Tensor:
    """The texts at these lengths: cut, or repeated from their beginning; one without words is an unknown word."""
    place = torch.arange(x.shape[1]).expand_as(x)
    known = torch.where((x[:, :1] == 0) & (place == 0), UNKNOWN, x)
    return known.gather(1, place % _lengths(x)[:, None]).where(place < size[:, None], 0)


def _need_room(name: str, x: Tensor, n_values: int) -> None:
    if x.shape[1] < n_values:
        raise UserError(
            f"cue '{name}' has no room for {n_values} values in texts of {x.shape[1]} tokens; take the cue 'word'."
        )
