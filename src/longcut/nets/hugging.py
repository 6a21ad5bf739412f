"""Models of Hugging Face: found in a folder, the cache or the hub, and read from safetensors alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from longcut.errors import UserError

__all__ = ["last_part", "load_model", "near_first", "quiet", "reason"]

T = TypeVar("T")


def load_model(name: str, *, pretrained: bool = True, who: str = "net 'hf'", extra: str = "hub") -> tuple[Any, bool]:
    """The Hugging Face model of that name, from the cache or a folder if it is there, else from the hub.

    Args:
        name: on the hub, or a folder with config.json and model.safetensors.
        pretrained: or with random weights of the same layout.
        who: needs it, for error messages.
        extra: of longcut that installs what it needs.

    Returns:
        The model, float32, and whether all its weights are those of the file: those of a pooler may be random.

    Raises:
        UserError: without the package ``transformers``, or when there is no such model or it lacks weights.
    """
    try:
        from transformers import AutoConfig, AutoModel
    except ImportError as error:
        raise UserError(f'{who} needs a further package; pip install "longcut[{extra}]".') from error

    def load(**where: bool) -> tuple[Any, bool]:
        if not pretrained:
            return AutoModel.from_config(AutoConfig.from_pretrained(name, trust_remote_code=False, **where)), True
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
        return model, not told["missing_keys"]

    with quiet():
        try:
            return near_first(load, name)
        except Exception as error:  # of the hub, the network or a reader: the list is not ours to keep
            raise UserError(
                f"{who}: {name} cannot be loaded ({reason(error)}); give a model's name where the hub can be reached, "
                "or a folder with config.json and model.safetensors."
            ) from error


def near_first(load: Callable[..., T], name: str) -> T:
    """What ``load`` finds in a folder or the cache, else what it finds on the hub."""
    try:
        return load(local_files_only=True)
    except OSError:  # not in the cache, or not whole
        if Path(name).is_dir():
            raise
        return load()


@contextmanager
def quiet() -> Iterator[None]:
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


def reason(error: Exception) -> str:
    """Why somebody else's code failed, in one line that is not too long."""
    return " ".join(str(error).split())[:200] or type(error).__name__


def last_part(model: nn.Module) -> list[nn.Parameter]:
    """The parameters from the last block of an encoder on: of the block, and of norms and poolers behind it.

    >>> from torch.nn import Linear, ModuleList
    >>> model = nn.ModuleDict({"layers": ModuleList([Linear(2, 2), Linear(2, 3)]), "norm": nn.LayerNorm(3)})
    >>> [tuple(parameter.shape) for parameter in last_part(model)]
    [(3, 2), (3,), (3,), (3,)]
    """
    blocks = next((m for m in model.modules() if isinstance(m, nn.ModuleList) and len(m) > 1), [model])
    everything = list(model.parameters())
    first = next(iter(blocks[-1].parameters()))
    return everything[next(i for i, parameter in enumerate(everything) if parameter is first) :]
