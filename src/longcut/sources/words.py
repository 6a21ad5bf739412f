"""Words of any script, and what else means something in a text: emoji, emoticons, symbols.

Three views of the same text: :func:`words` are what a reader would call words, :func:`tokens` what a net is given, and
:func:`cues` all that an audit compares with the label.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cache, lru_cache
from unicodedata import category, normalize

__all__ = ["bare", "cues", "plain", "stands_alone", "tokens", "whole", "words"]

_UNSPACED = (  # letters of scripts that put no blanks between words
    "\u0e01-\u0e4e\u0e81-\u0ece\u0edc-\u0edf\u1000-\u103f\u1050-\u109f\u1780-\u17d3\u17d7\u17dc\u17dd"  # Thai … Khmer
    "\u1950-\u19ad\u1a20-\u1a7c\u1b05-\u1b4c\ua980-\ua9c0\uaa60-\uaadf"  # Tai, Balinese, Javanese
    "\u3005-\u3007\u3041-\u3096\u3099\u309a\u309d-\u309f\u30a1-\u30fa\u30fc-\u312f\u31a0-\u31ff\uff66-\uff9f"  # kana
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Han
)
_HANGUL = "\uac00-\ud7a3"  # blanks stand between words with all that is glued to them
_JOINERS = "\u200c\u200d"  # within words of Persian and of India, and within emoji
_INVISIBLE = dict.fromkeys(map(ord, "\u00ad\u2060\ufe0e\ufe0f\ufeff"))  # soft hyphens and wishes how to be drawn
_APOSTROPHES = str.maketrans({"’": "'", "ʼ": "'"})

_EMOTICON = (
    r"[:;=]['’]?[-^o]?[()\[\]\\/*@<>]+(?![\w/])|(?<![\w:])[:;=]-?[dpox03](?!\w)|(?<!\w)</?3+(?!\w)"
    r"|(?<![\w(\[])[(\[]['’]?-?[:;=](?!\w)|(?<!\S)[-;.]_+[-;.](?!\S)"
)
_BETWEEN_BLANKS = r"(?<!\S)(?=\S*[\^~=<>+@#%&])[^\w\s]+(?:_+[^\w\s]+)*(?!\S)"  # as in a + b, a -> b, ^_^
_DECORATED = re.compile(r"([#@.]?)(.*?)(\+{1,2}|#)?")


def _class(*kinds: str) -> str:
    """The characters of some categories, for a regular expression; Python's own knows letters and digits only."""
    codes = [code for code in range(0x80, 0x20000) if category(chr(code)).startswith(kinds)]
    starts = [code for code, before in zip(codes, [-1, *codes], strict=False) if code != before + 1]
    ends = [code for code, after in zip(codes, [*codes[1:], -1], strict=True) if after != code + 1]
    return "".join(f"{chr(start)}-{chr(end)}" for start, end in zip(starts, ends, strict=True))


@cache
def _patterns() -> tuple[re.Pattern[str], re.Pattern[str]]:
    """A word, and a letter of a script without blanks, or of Hangul, with its marks."""
    marks, symbols = _class("M"), _class("So", "Sc", "Sm") + "$%&"
    joined = rf"(?:[{marks}]|[{_JOINERS}](?=\w))"
    letters = rf"[^\W{_UNSPACED}]+(?:{joined}+[^\W{_UNSPACED}]*)*"
    word = rf"{letters}(?:['\u05f3\u05f4\u00b7]{letters})?(?:(?:\+{{1,2}}|#)(?![\w+#]))?"
    run = rf"[{_UNSPACED}](?:[{_UNSPACED}]|{joined})*"
    before = rf"(?:(?<![\w#@])[#@](?=\w)|(?<![\w.])\.(?=[^\W\d_])){word}|[#@]{run}"
    one = rf"[{symbols}\U0001f000-\U0001faff][\u20e3\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f]*"
    emoji = rf"[\U0001f1e6-\U0001f1ff]{{2}}|[#*]\u20e3|{one}(?:\u200d{one})*"
    signs = "|".join((_EMOTICON, _BETWEEN_BLANKS, emoji, before))
    return (
        re.compile(rf"{word}|{run}|(?=[^\w\s])(?:{signs})"),
        re.compile(rf"[{_UNSPACED}{_HANGUL}]{joined}*"),
    )


def plain(text: str) -> str:
    r"""A text in lower case, with accents composed, and without what is not seen.

    >>> plain("CAFE\u0301 auto\u00admatic")
    'café automatic'
    """
    if text.isascii():
        return text.lower()
    return normalize("NFC", text.lower()).translate(_INVISIBLE).translate(_APOSTROPHES)


def words(text: str) -> list[str]:
    """The words of a text in lower case, in their order.

    A word is letters with their marks, digits and underscores of any script, with one apostrophe inside, and as in
    C++, #tag, @name and .NET with a sign at its ends. What stands between blanks in a script that has none inside is
    one word. Emoji, emoticons and symbols are words, other punctuation is dropped.

    >>> words("It ISN'T “easy”, they said – 42 times.")
    ['it', "isn't", 'easy', 'they', 'said', '42', 'times']
    >>> words("C++ for 5€ :-) 👩‍🚀!")
    ['c++', 'for', '5', '€', ':-)', '👩‍🚀']
    """
    return _patterns()[0].findall(plain(text))


def tokens(text: str) -> list[str]:
    """The words of a text for a net: what has no blanks between words is cut into overlapping pairs of letters.

    >>> tokens("看电影 now"), tokens("ไทย")
    (['看电', '电影', 'now'], ['ไท', 'ทย'])
    """
    return [token for word in words(text) for token in ([word] if word.isascii() else _pieces(word))]


@lru_cache(100_000)
def _pieces(word: str) -> Sequence[str]:
    letters = [] if _is_hangul(word) else _letters(word)
    return [word] if len(letters) < 3 else _grams(letters, 2)


def cues(text: str) -> list[str]:
    """What a text has that another may not have: its words, and what is in them, each once, in their order.

    These are words without the signs at their ends, units behind numbers, and of words in scripts without blanks, and
    of Korean ones, single letters and pairs of neighbours (see :func:`whole`).

    >>> cues("#ad 10kg")
    ['#ad', 'ad', '10kg', 'kg']
    >>> cues("영화는")
    ['영화는', '영', '화', '는', '영화', '화는']
    """
    return list(dict.fromkeys(cue for word in words(text) for cue in _within(word)))


@lru_cache(100_000)
def _within(word: str) -> tuple[str, ...]:
    unit = re.fullmatch(r"\d[\d_]*([^\W\d_]+)", word)
    letters = [] if word.isascii() else _letters(word)
    return (word, bare(word), *(unit.groups() if unit else ()), *_grams(letters, 1), *_grams(letters, 2))


def _letters(word: str) -> list[str]:
    return _patterns()[1].findall(word)


def _is_hangul(word: str) -> bool:
    return any("\uac00" <= letter <= "\ud7a3" for letter in word)


def _grams(letters: Sequence[str], n: int) -> list[str]:
    return ["".join(letters[i : i + n]) for i in range(len(letters) - n + 1)]


def bare(word: str) -> str:
    """A word without the signs at its ends.

    >>> bare("c++"), bare("#tag"), bare(".net"), bare("+")
    ('c', 'tag', 'net', '+')
    """
    found = _DECORATED.fullmatch(word)
    return found[2] if found and found[2] and any(map(str.isalnum, found[2])) else word


def stands_alone(word: str) -> bool:
    """Whether a word is set off from its neighbours: not so in scripts without blanks, and not within Korean words."""
    return not _letters(word)


def whole(cue: str, texts: Iterable[str]) -> str:
    """The longest run of letters that has a cue in it and is in all texts that have the cue.

    Of a word in a script without blanks, any two letters tell as much as the word: this is the word.

    Args:
        cue: of :func:`cues`.
        texts: all that have it, as :func:`plain` makes them.

    >>> whole("视剧", ["这部电视剧很好", "看电视剧"])
    '电视剧'
    """
    texts = list(texts)
    if stands_alone(cue) or not texts:
        return cue
    letter = _patterns()[1].pattern
    grown = True
    while grown:
        grown = False
        for around in (rf"{re.escape(cue)}{letter}", rf"{letter}{re.escape(cue)}"):
            for longer in dict.fromkeys(re.findall(around, texts[0])):
                if all(longer in text for text in texts):
                    cue, grown = longer, True
                    break
    return cue
