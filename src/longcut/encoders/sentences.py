"""Texts to the mean of what an encoder says of their tokens, with its own tokenizer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from longcut.errors import UserError
from longcut.nets.hugging import quiet, reason

__all__ = ["mean_of_tokens", "sentences", "tokenizer_of"]

SLICE = 16  # texts at a time, of about the same length


def mean_of_tokens(states: Tensor, mask: Tensor) -> Tensor:
    """Mean over the tokens that are no padding.

    Args:
        states: what is said of each token ``(n, length, width)``.
        mask: 1 for a token, 0 for padding ``(n, length)``.

    >>> mean_of_tokens(torch.tensor([[[1.0], [3.0], [9.0]]]), torch.tensor([[1, 1, 0]]))
    tensor([[2.]])
    """
    weight = mask[..., None].to(states)
    return (states * weight).sum(1) / weight.sum(1).clamp_min(1)


def sentences(model: Any, tokenizer: Any, longest: int, *, normalize: bool) -> Callable[[Sequence[str]], Tensor]:
    """A function of texts that returns features ``(n, width)``.

    Args:
        model: a Hugging Face encoder, in evaluation mode.
        tokenizer: its own.
        longest: tokens of a text, its special ones included; what comes after is cut off.
        normalize: whether features are brought to length 1.
    """

    def features(texts: Sequence[str]) -> Tensor:
        """Those of like length stand together, so that little is padded."""
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        found: list[Tensor] = []
        for start in range(0, len(order), SLICE):
            some = [texts[i] for i in order[start : start + SLICE]]
            inputs = tokenizer(some, padding=True, truncation=True, max_length=longest, return_tensors="pt")
            states = model(**inputs).last_hidden_state
            found.append(mean_of_tokens(states, inputs["attention_mask"]))
        x = torch.cat(found)[torch.tensor(order).argsort()]
        return F.normalize(x) if normalize else x

    return features


def tokenizer_of(name: str, who: str) -> Any:
    """The tokenizer of a Hugging Face model, by its name on the hub or its folder.

    Raises:
        UserError: when there is none.
    """
    from transformers import AutoTokenizer

    with quiet():
        try:
            found = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
            if len(found) <= len(found.all_special_tokens):  # made of nothing, where there are no files
                raise ValueError("it knows no words")
            return found
        except Exception as error:  # of the hub, the network, the file system or a parser
            raise UserError(
                f"{who}: {name} has no tokenizer to be loaded ({reason(error)}); give a model that has, "
                "or a folder with tokenizer.json."
            ) from error
