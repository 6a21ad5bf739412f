"""Text as token ids: 0 is padding, 1 a word that the vocabulary does not hold, then its words, the commonest first."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from longcut.errors import UserError
from longcut.sources.words import bare, tokens, words

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["LENGTH", "SEPARATOR", "WORDS", "apply", "encode", "fit", "tokenize", "vocabulary", "words"]

WORDS = 20_000  # of a vocabulary
LENGTH = 128  # words of a text; what comes after is cut off
SEPARATOR = "|"  # stands between the texts of a pair; it is no word of any text, and only vocabularies of pairs hold it

_PADDING, _UNKNOWN, _FIRST = 0, 1, 2
_WORD = re.compile(r"\w+(?:'\w+)?")


def _letters_alone(text: str) -> list[str]:
    """Words without marks and signs, as they were found at first: the published data sets keep their vocabulary."""
    return _WORD.findall(text.lower().replace("’", "'"))


RULES = {1: _letters_alone, 2: tokens}  # how a text is cut, by the number that an encoding keeps; without one, 1


def vocabulary(texts: Iterable[str], size: int = WORDS, rule: int = 2) -> list[str]:
    """The ``size`` commonest words of some texts, the commonest first, ties in order of the alphabet.

    Where a script has no blanks between words, pairs of letters stand for them; see
    :func:`longcut.sources.words.tokens`.

    >>> vocabulary(["a lake and a bird", "the bird"], size=3)
    ['a', 'bird', 'and']
    """
    counts = Counter(word for text in texts for word in RULES[rule](text))
    return sorted(counts, key=lambda word: (-counts[word], word))[:size]


def encode(
    texts: Sequence[str],
    vocabulary: Sequence[str],
    length: int = LENGTH,
    pairs: Sequence[str] | None = None,
    rule: int = 2,
) -> NDArray[np.int64]:
    """Texts as token ids ``(n, length)``: longer ones are cut, shorter ones padded at the end.

    Word ``i`` of the vocabulary has id ``i + 2``. A text without words is one unknown word. A word with a sign, such as
    #tag, that the vocabulary does not hold is the word without it.

    Args:
        texts: the texts.
        vocabulary: the words.
        length: of a row of ids.
        pairs: second texts: each follows its first, behind the separator. Of pairs that are too long, the longer text
            is cut until both are as long.
        rule: by which texts are cut, a key of ``RULES``.

    >>> encode(["The bird!", "bird by the lake", ""], ["the", "bird"], length=3)
    array([[2, 3, 0],
           [3, 1, 2],
           [1, 0, 0]])
    >>> encode(["The bird by the lake"], ["the", "bird", SEPARATOR], length=5, pairs=["A bird"])
    array([[2, 3, 4, 1, 3]])
    """
    ids, cut = {word: i for i, word in enumerate(vocabulary, _FIRST)}, RULES[rule]
    x = np.full((len(texts), length), _PADDING, np.int64)
    for row, text, other in zip(x, texts, texts if pairs is None else pairs, strict=True):
        found = cut(text)[:length] if pairs is None else _joined(cut(text), cut(other), length)
        found = [ids.get(word) or ids.get(bare(word), _UNKNOWN) for word in found] or [_UNKNOWN]
        row[: len(found)] = found
    return x


def _joined(first: list[str], second: list[str], length: int) -> list[str]:
    """A pair, the longer one cut where they do not both fit."""
    room = length - 1
    kept = first[: max(room - len(second), room - room // 2)]
    return [*kept, SEPARATOR, *second[: room - len(kept)]]


def fit(texts: Sequence[Sequence[str]], length: int = LENGTH, rule: int = 2) -> dict[str, Any]:
    """What is needed to turn texts, or pairs of texts, into token ids, learned from those for training.

    Args:
        texts: one column of texts, or two with the first and the second texts of pairs.
        length: of a row of ids; shorter, where all texts are.
        rule: by which texts are cut, a key of ``RULES``.

    Returns:
        ``vocabulary``, its words, ``length``, and the ``rule`` unless it is the first.

    >>> fit([["a lake", "a bird"], ["the bird", "no"]])
    {'vocabulary': ['a', 'bird', 'lake', 'no', 'the', '|'], 'length': 5, 'rule': 2}
    """
    longest = max(sum(len(RULES[rule](text)) for text in row) for row in zip(*texts, strict=True)) + len(texts) - 1
    every = (text for column in texts for text in column)
    found = vocabulary(every, rule=rule) + [SEPARATOR] * (len(texts) - 1)
    return {"vocabulary": found, "length": min(length, max(1, longest)), **({"rule": rule} if rule > 1 else {})}


def apply(encoding: Mapping[str, Any], texts: Sequence[Sequence[str]]) -> tuple[NDArray[np.int64], int]:
    """Texts, or pairs of texts, as token ids ``(n, length)``, and how many ids there are.

    Args:
        encoding: with ``length``, and with ``vocabulary``, or ``tokenizer``, that of a Hugging Face model.
        texts: one column of texts, or two with the first and the second texts of pairs.

    >>> apply(fit([["a lake", "a bird"]]), [["one bird"]])
    (array([[1, 3]]), 5)
    """
    if name := encoding.get("tokenizer"):
        return tokenize(texts[0], name, encoding["length"], *texts[1:])
    x = encode(texts[0], encoding["vocabulary"], encoding["length"], *texts[1:], rule=encoding.get("rule", 1))
    return x, len(encoding["vocabulary"]) + _FIRST  # padding and the unknown word


def tokenize(
    texts: Sequence[str], name: str, length: int, pairs: Sequence[str] | None = None
) -> tuple[NDArray[np.int64], int]:
    """Texts as ids of a Hugging Face tokenizer ``(n, length)``, its special tokens included, and how many ids it has.

    Args:
        texts: the texts.
        name: of a model on the hub, such as ``"bert-base-uncased"``, or the folder of one.
        length: of a row of ids; longer texts are cut, the longer of two first, and shorter ones padded.
        pairs: second texts, which the tokenizer joins to the first as its model expects.

    Raises:
        UserError: without the package ``transformers``, when there is no such tokenizer, or it does not pad with 0.

    Example::

        x, vocabulary = tokenize(["The bird by the lake"], "bert-base-uncased", 16)
    """
    try:
        from transformers import AutoTokenizer
    except ImportError as error:
        raise UserError(
            f'{name}: Hugging Face tokenizers need a further package; pip install "longcut[hub]".'
        ) from error
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    except Exception as error:  # of the hub, the network, the file system or a parser: the list is not ours to keep
        why = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"{name}: there is no tokenizer to be loaded ({why}); give its name on the hub, or a folder."
        ) from error
    if tokenizer.pad_token_id != _PADDING:
        raise UserError(
            f"{name}: this tokenizer pads with id {tokenizer.pad_token_id}, and here padding is {_PADDING}; "
            "take one like that of bert-base-uncased."
        )
    x = np.full((len(texts), length), _PADDING, np.int64)
    for start in range(0, len(texts), 10_000):
        some = slice(start, start + 10_000)
        both = list(texts[some]), None if pairs is None else list(pairs[some])
        x[some] = tokenizer(*both, truncation=True, padding="max_length", max_length=length)["input_ids"]
    return x, len(tokenizer)
