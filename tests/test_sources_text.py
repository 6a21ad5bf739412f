from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from longcut.sources.text import LENGTH, encode, vocabulary, words

texts = st.lists(st.text(alphabet="ab '.", max_size=12), min_size=1, max_size=8)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It isn't so.", ["it", "isn't", "so"]),
        ("It isn’t so.", ["it", "isn't", "so"]),  # as word processors write it
        ("'quoted' o'clock rock'n'roll", ["quoted", "o'clock", "rock'n", "roll"]),
        ("Größe 3,5 naïve_名前", ["größe", "3", "5", "naïve_", "名前"]),
        ("— … !?", []),
        ("", []),
    ],
)
def test_words_are_lower_case_and_keep_their_apostrophe(text: str, expected: list[str]):
    assert words(text) == expected


def test_the_vocabulary_is_ordered_by_count_and_then_by_the_alphabet():
    seen = ["the bird the lake", "The lake bird", "zebra ape"]
    assert vocabulary(seen) == ["the", "bird", "lake", "ape", "zebra"]  # 3, 2, 2, 1, 1
    assert vocabulary(seen, size=2) == ["the", "bird"]


@given(texts, st.integers(1, 3))
def test_the_vocabulary_holds_no_word_rarer_than_one_it_leaves_out(seen: list[str], size: int):
    counts = Counter(word for text in seen for word in words(text))
    kept = vocabulary(seen, size)
    assert len(kept) == min(size, len(counts))
    assert all(counts[word] >= counts[other] for word in kept for other in counts.keys() - set(kept))


def test_encode_numbers_words_from_two():
    x = encode(["lake bird", "Bird, unseen bird", "", "?!"], ["bird", "lake"], length=4)
    assert x.dtype == np.int64
    assert x.tolist() == [[3, 2, 0, 0], [2, 1, 2, 0], [1, 0, 0, 0], [1, 0, 0, 0]]


def test_encode_cuts_what_is_longer():
    assert encode(["a b c"], ["a", "b", "c"], length=2).tolist() == [[2, 3]]
    assert encode(["a " * 200], ["a"]).shape == (1, LENGTH)


@given(texts)
def test_ids_lead_back_to_the_words(seen: list[str]):
    known = vocabulary(seen)
    for text, row in zip(seen, encode(seen, known, length=12), strict=True):
        assert [known[i - 2] for i in row if i >= 2] == words(text)
        assert (row == 1).any() == (not words(text))
