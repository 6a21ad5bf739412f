"""Text as token ids: 0 is padding, 1 a word that the vocabulary does not hold, then its words, the commonest first."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["LENGTH", "WORDS", "encode", "vocabulary", "words"]

WORDS = 20_000  # of a vocabulary
LENGTH = 128  # words of a text; what comes after is cut off

_PADDING, _UNKNOWN, _FIRST = 0, 1, 2
_WORD = re.compile(r"\w+(?:'\w+)?")


def words(text: str) -> list[str]:
    """The words of a text in lower case, in their order.

    A word is letters, digits and underscores of any script, with one apostrophe inside; punctuation is dropped.

    >>> words("It ISN'T “easy”, they said – 42 times.")
    ['it', "isn't", 'easy', 'they', 'said', '42', 'times']
    """
    return _WORD.findall(text.lower().replace("’", "'"))


def vocabulary(texts: Iterable[str], size: int = WORDS) -> list[str]:
    """The ``size`` commonest words of some texts, the commonest first, ties in order of the alphabet.

    >>> vocabulary(["a lake and a bird", "the bird"], size=3)
    ['a', 'bird', 'and']
    """
    counts = Counter(word for text in texts for word in words(text))
    return sorted(counts, key=lambda word: (-counts[word], word))[:size]


def encode(texts: Sequence[str], vocabulary: Sequence[str], length: int = LENGTH) -> NDArray[np.int64]:
    """Texts as token ids ``(n, length)``: longer ones are cut, shorter ones padded at the end.

    Word ``i`` of the vocabulary has id ``i + 2``. A text without words is one unknown word.

    >>> encode(["The bird!", "bird by the lake", ""], ["the", "bird"], length=3)
    array([[2, 3, 0],
           [3, 1, 2],
           [1, 0, 0]])
    """
    ids = {word: i for i, word in enumerate(vocabulary, _FIRST)}
    x = np.full((len(texts), length), _PADDING, np.int64)
    for row, text in zip(x, texts, strict=True):
        found = [ids.get(word, _UNKNOWN) for word in words(text)[:length]] or [_UNKNOWN]
        row[: len(found)] = found
    return x
