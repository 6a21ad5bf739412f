"""What parts of data are called: train, valid and test, in anybody's spelling."""

from __future__ import annotations

import re
from itertools import pairwise

from longcut.sources import TEST, TRAIN, VALID

__all__ = ["PARTS", "part_of"]

PARTS = {
    **dict.fromkeys(("train", "training", "0"), TRAIN),
    **dict.fromkeys(("valid", "val", "validation", "dev", "1"), VALID),
    **dict.fromkeys(("test", "testing", "2"), TEST),
}

WORDS = {  # of a name that says more, such as seg_train, Testing2019 or validationSet
    **dict.fromkeys(("train", "training", "trn", "trainval"), TRAIN),
    **dict.fromkeys(("valid", "val", "vali", "validate", "validation", "dev", "development", "eval"), VALID),
    **dict.fromkeys(("evaluation", "tune", "tuning"), VALID),
    **dict.fromkeys(("test", "testing", "tst", "holdout", "heldout"), TEST),
}
_BEHIND = re.compile(r"(?<=.)(?:sets?|data|images|imgs|pics|photos|split|folder)$")


def part_of(name: str) -> int | None:
    """The part that a word or a longer name means, in anybody's spelling; None if it means none, or several.

    >>> [part_of(name) for name in ("Train", "seg_test", "validationSet", "2: dev", "hold-out", "cat", "train_test")]
    [0, 2, 1, 1, 2, None, None]
    """
    if name.strip().lower() in PARTS:
        return PARTS[name.strip().lower()]
    words = re.findall(r"[^\W\d_]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name))
    words = [word if word in WORDS else _BEHIND.sub("", word) for word in map(str.lower, words)]
    pairs = [one + other for one, other in pairwise(words)]
    for found in (pairs, words):
        if hits := {WORDS[word] for word in found if word in WORDS}:
            return hits.pop() if len(hits) == 1 else None
    return None
