"""Pretrained encoders of Hugging Face."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from longcut.data import Info
from longcut.errors import UserError
from longcut.nets.net import Dropout, Net, need_tokens
from longcut.nets.text import attended

__all__ = ["hf"]


class _Pretrained(nn.Module):
    """Token ids to what a Hugging Face encoder says about the whole of them."""

    def __init__(self, model: nn.Module, separator: int, dropout: float) -> None:
        super().__init__()
        self.model, self.separator, self.dropout = model, separator, nn.Dropout(dropout)
        segments = getattr(model.config, "type_vocab_size", 0)
        self.pairs = segments > 1 and "token_type_ids" in inspect.signature(model.forward).parameters

    def forward(self, x: Tensor) -> Tensor:
        """``(n, length)`` to ``(n, width)``: the pooler's output where there is one, else that of the first token."""
        inputs = {"input_ids": x, "attention_mask": attended(x).long()}
        if self.pairs:
            ends = x.eq(self.separator).long()
            second = ends.cumsum(1) > ends  # behind the first separator
            inputs["token_type_ids"] = (second & x.ne(0)).long()
        said = self.model(**inputs)
        pooled = getattr(said, "pooler_output", None)
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
) -> Net:
    """A pretrained encoder of Hugging Face (extra ``hub``) on the token ids of its own tokenizer.

    Like BERT's classifier it puts dropout and a linear head on the pooled first token; DistilBERT has no pooler, so
    there it is the first token itself. Padding (id 0) is not looked at. What stands behind the first separator is the
    second segment. It is one stage: text is mixed at the pooled features. Weights are read from safetensors only, and
    no code that comes with a model is run. The token ids are those of :func:`longcut.sources.text.tokenize`.
    """
    need_tokens(info, "hf")
    model = _hugging_face(name, weights == "pretrained")
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
    return Net([_Pretrained(model, separator, dropout)], nn.Linear(config.hidden_size, outputs), levels=[1])


def _hugging_face(name: str, pretrained: bool) -> Any:
    """The encoder of that name: from the cache or a folder if it is there, else from the hub."""
    try:
        from transformers import AutoConfig, AutoModel
    except ImportError as error:
        raise UserError("net 'hf' needs a further package; pip install \"longcut[hub]\".") from error

    def load(**where: bool) -> Any:
        if not pretrained:
            return AutoModel.from_config(AutoConfig.from_pretrained(name, trust_remote_code=False, **where))
        model, told = AutoModel.from_pretrained(
            name,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=torch.float32,  # files of half the precision are made for inference
            output_loading_info=True,
            **where,
        )
        missing = sorted(key for key in told["missing_keys"] if not key.startswith("pooler."))
        if missing:
            raise ValueError(f"its file lacks {missing[0]}")
        return model

    with _quiet():
        try:
            try:
                return load(local_files_only=True)
            except OSError:  # not in the cache, or not whole
                if Path(name).is_dir():
                    raise
                return load()
        except Exception as error:  # of the hub, the network or a reader: the list is not ours to keep
            why = " ".join(str(error).split())[:200] or type(error).__name__
            raise UserError(
                f"net 'hf': {name} cannot be loaded ({why}); give a model's name where the hub can be reached, "
                "or a folder with config.json and model.safetensors."
            ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """For the time of a ``with``: transformers shows no bar and no table of weights that are not needed."""
    from transformers.utils import logging

    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()
