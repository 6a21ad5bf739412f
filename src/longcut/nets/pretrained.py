"""Pretrained encoders of Hugging Face as nets, for texts and images."""

from __future__ import annotations

import inspect
from typing import Annotated, Literal, Self

from pydantic import Field
from torch import Tensor, nn

from longcut.data import Info
from longcut.errors import UserError
from longcut.nets.hugging import last_part, load_model
from longcut.nets.layers import Resize
from longcut.nets.net import Dropout, Net, need_images, need_tokens
from longcut.nets.pictures import image_tower
from longcut.nets.text import attended
from longcut.nets.tuning import LrScale, Tune, freeze_the_rest, train_only

__all__ = ["hf"]


class _Pretrained(nn.Module):
    """Token ids to what a Hugging Face encoder says about the whole of them."""

    def __init__(self, model: nn.Module, separator: int, dropout: float, pooler: bool) -> None:
        super().__init__()
        self.model, self.separator, self.dropout, self.pooler = model, separator, nn.Dropout(dropout), pooler
        segments = getattr(model.config, "type_vocab_size", 0)
        self.pairs = segments > 1 and "token_type_ids" in inspect.signature(model.forward).parameters

    def train(self, mode: bool = True) -> Self:
        """What is not trained stays in evaluation mode."""
        super().train(mode)
        freeze_the_rest(self.model)
        return self

    def forward(self, x: Tensor) -> Tensor:
        """``(n, length)`` to ``(n, width)``: the pooler's output where there is one, else that of the first token."""
        inputs = {"input_ids": x, "attention_mask": attended(x).long()}
        if self.pairs:
            ends = x.eq(self.separator).long()
            second = ends.cumsum(1) > ends  # behind the first separator
            inputs["token_type_ids"] = (second & x.ne(0)).long()
        said = self.model(**inputs)
        pooled = getattr(said, "pooler_output", None) if self.pooler else None
        return self.dropout(said.last_hidden_state[:, 0] if pooled is None else pooled)


def hf(
    info: Info,
    outputs: int,
    *,
    name: Annotated[
        str, Field(description="name on the hub, or a folder with config.json and model.safetensors")
    ] = "bert-base-uncased",
    weights: Annotated[
        Literal["pretrained", "none"], Field(description="none: random ones of the same layout")
    ] = "pretrained",
    separator: Annotated[int, Field(ge=1, description="id of the token that ends a segment; 102: [SEP] of BERT")] = 102,
    dropout: Dropout = 0.1,
    tune: Tune = "all",
    lr_scale: LrScale = 1.0,
) -> Net:
    """A pretrained encoder of Hugging Face (extra ``hub``): of images, or of texts as token ids of its own tokenizer.

    **Images** in [0, 1] of one channel or three are brought to the square that the model wants (smaller ones enlarged,
    larger ones averaged down) and standardised as its preprocessor_config.json says; features are what its pooler
    says, or the mean of its map, or its first token. ``tune=last`` trains its last block and what stands behind.

    **Texts.** Like BERT's classifier it puts dropout and a linear head on the pooled first token; DistilBERT has no
    pooler, so there it is the first token itself. Padding (id 0) is not looked at. What stands behind the first
    separator is the second segment. It is one stage: text is mixed at the pooled features. The token ids are those of
    :func:`longcut.sources.text.tokenize`.

    Weights are read from safetensors only, and no code that comes with a model is run.
    """
    if info.kind == "image":
        channels = need_images(info, "hf")
        if channels not in (1, 3):
            raise UserError(
                f"net 'hf' needs images of one channel or three, but {info.name} has {channels}; use net 'conv'."
            )
        tower, picture = image_tower(name, pretrained=weights == "pretrained")
        train_only(tune, tower.parameters(), last_part(tower.model), lr_scale)
        stage = nn.Sequential(Resize(picture.crop), tower, nn.Dropout(dropout))
        return Net([stage], nn.Linear(tower.width, outputs))
    need_tokens(info, "hf")
    model, whole = load_model(name, pretrained=weights == "pretrained")
    config = model.config
    padding = getattr(config, "pad_token_id", 0)
    if padding not in (0, None):
        raise UserError(f"net 'hf': {name} pads with id {padding}, but here 0 is padding; take one like BERT.")
    known, longest = config.vocab_size, getattr(config, "max_position_embeddings", info.shape[0])
    if info.vocabulary > known:
        raise UserError(
            f"net 'hf': {info.name} has {info.vocabulary} token ids, but {name} knows {known}; "
            "make them with its own tokenizer."
        )
    if info.shape[0] > longest:
        raise UserError(f"net 'hf': texts of {info.name} have {info.shape[0]} tokens, but {name} takes {longest}; cut.")
    train_only(tune, model.parameters(), last_part(model), lr_scale)
    pooler = whole or tune != "frozen"  # a random one that is never trained says nothing
    return Net([_Pretrained(model, separator, dropout, pooler)], nn.Linear(config.hidden_size, outputs), levels=[1])
