from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

from longcut.audit.base import View
from longcut.audit.words import words as check
from longcut.data import Dataset
from longcut.report.samples import marked
from longcut.sources.table import read_table
from longcut.sources.text import apply, encode, fit
from longcut.sources.words import cues, tokens, whole, words

# Words of India, Arabia, Israel, Persia, Korea, of scripts without blanks, and what else is one.
SAID = (
    "विद्यार्थी நண்பர்கள் বন্ধুত্ব ਪੰਜਾਬੀ മലയാളം ಕನ್ನಡ తెలుగు සිංහල مُحَمَّد كِتَابٌ בְּרֵאשִׁית می‌روم 안녕하세요 "
    "ภาษาไทย ພາສາລາວ ភាសាខ្មែរ မြန်မာစာ 電視劇 ひらがな カタカナ cre\u0301me r\u0325 C++ c# F# .NET #tag @name g++ A+ "
    ":) :-( ;) :D =) :'( <3 ^_^ -_- >_< -> 👩‍👩‍👧 👍🏽 🇯🇵 ❤️ 1️⃣ ☎ € $ ½ x² צה״ל col·lega l'eau don’t"
)
ONE = SAID.split()


@pytest.mark.parametrize("text", ONE)
def test_one_word_is_one(text: str):
    assert len(words(text)) == len(words(f"so, {text} there")) - 2 == 1


def test_marks_tell_words_apart():
    assert words("कि की") == ["कि", "की"]
    assert words("cafe\u0301") == words("caf\u00e9") == ["caf\u00e9"] != words("cafe")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A 100% cotton, R&D", ["a", "100", "%", "cotton", "r", "&", "d"]),
        ("20°C for 5€!", ["20", "°", "c", "for", "5", "€"]),
        ("see https://t.co/ab?c=1, bob@ab.de", ["see", "https", "t", "co", "ab", "c", "1", "bob", "ab", "de"]),
        ("end ...and so on... <br /> (U.S.A.)", ["end", "and", "so", "on", "br", "/>", "u", "s", "a"]),
        ("auto\u00admatic \ufefftext", ["automatic", "text"]),
        ("iPhoneが好き 2024年", ["iphone", "が好き", "2024", "年"]),
        ("great!!! 😂😂", ["great", "😂", "😂"]),
        ("a | b", ["a", "b"]),  # the bar stands between the texts of a pair
    ],
)
def test_words_and_what_stands_between(text: str, expected: list[str]):
    assert words(text) == expected


def test_plain_english_is_cut_as_before():
    """The words of ASCII letters, digits and sentence marks, against the rule that was there first."""
    rng = np.random.default_rng(0)
    for _ in range(2000):
        text = "".join(rng.choice(list("abC3 ',.!?()-_"), 20))
        if not re.search(r"\.[a-z_]|-_+-|\._+\.|-_+\.|\._+-", text, re.IGNORECASE):
            assert words(text) == re.findall(r"\w+(?:'\w+)?", text.lower()), text


def test_scripts_without_blanks_become_pairs_for_a_net():
    assert tokens("电影") == ["电影"]
    assert tokens("我看电影, yes") == ["我看", "看电", "电影", "yes"]
    assert tokens("मैं 영화는") == ["मैं", "영화는"]


def test_a_tag_that_is_not_known_is_its_word():
    assert encode(["#bird @lake c++ #no"], ["bird", "#lake", "c++"], length=4).tolist() == [[2, 1, 4, 1]]


def test_encodings_from_before_cut_as_then():
    texts = [["C++ कि", "bird 电影院"]]
    assert apply({"vocabulary": ["c", "क", "电影院"], "length": 3}, texts)[0].tolist() == [[2, 3, 0], [1, 4, 0]]
    assert fit(texts)["vocabulary"] == ["bird", "c++", "कि", "影院", "电影"]
    assert fit(texts, rule=1) == {"vocabulary": ["bird", "c", "क", "电影院"], "length": 2}


def test_cues_hold_the_parts_of_words():
    assert set(cues("12kg #ad .NET")) >= {"12kg", "kg", "#ad", "ad", ".net", "net"}
    assert set(cues("영화를")) >= {"영화를", "영화", "를"}
    assert set(cues("不好")) == {"不好", "不", "好"}


def test_the_whole_word_of_a_pair():
    assert whole("视剧", ["这电视剧好", "看电视剧", "电视剧电视"]) == "电视剧"
    assert whole("视剧", ["这电视剧好", "视剧"]) == "视剧"
    assert whole("bird", ["a bird"]) == "bird"


FILLERS = {
    "en": ["the", "a", "cast", "score", "ending", "scenes", "plot", "light", "camera", "first"],
    "zh": list("的一是在不了有和人这中大为上个国我以要他时来用们生到作地于出就分对成会可主发年动同工也能"),
    "th": ["หนัง", "เรื่อง", "นี้", "ดี", "มาก", "ฉัน", "ชอบ", "ดู", "เมื่อ", "วาน", "เพลง", "ยาว", "สั้น", "บ้าน", "น้ำ"],
    "ko": ["이것은", "정말", "좋은", "우리가", "어제", "본", "노래가", "길다", "짧은", "집에서", "사람이", "많은"],
    "ja": ["これ", "は", "とても", "良い", "私", "昨日", "見た", "音楽", "長い", "短い", "家", "人"],
    "km": ["នេះ", "ល្អ", "ណាស់", "ខ្ញុំ", "ចូលចិត្ត", "មើល", "ម្សិលមិញ", "ចម្រៀង", "វែង", "ខ្លី"],
    "ar": ["هذا", "جيد", "جدا", "أنا", "أحب", "شاهدت", "أمس", "موسيقى", "طويل", "قصير"],
}


@pytest.mark.parametrize(
    ("pool", "gap", "pair", "named"),
    [
        ("zh", "", ("电视剧", "好莱坞"), {"电视剧", "好莱坞"}),
        ("th", "", ("ภาพยนตร์", "ละคร"), None),
        ("km", "", ("ភាពយន្ត", "ល្ខោន"), None),
        ("ja", "", ("映画館", "劇場版"), {"映画館", "劇場版"}),
        ("ko", " ", ("영화{}", "연극{}"), {"영화", "연극"}),
        ("ar", " ", ("فِيلم", "فَيلم"), {"فِيلم", "فَيلم"}),
        ("en", " ", ("C++", "C#"), {"c++", "c#"}),
        ("en", " ", (":)", ":("), {":)", ":("}),
        ("en", " ", ("👩‍🚀", "👩‍🍳"), {"👩‍🚀", "👩‍🍳"}),
        ("en", " ", ("🇩🇪", "🇩🇰"), {"🇩🇪", "🇩🇰"}),
        ("en", " ", ("#ad", "ad"), {"#ad"}),
        ("en", " ", ("{}kg", "{}lb"), {"kg", "lb"}),
        ("en", " ", ("{}€", "{}$"), {"€", "$"}),
    ],
)
def test_a_cue_in_any_script_is_found_and_named(pool: str, gap: str, pair: tuple[str, str], named: set[str] | None):
    rng = np.random.default_rng(0)
    label = rng.integers(0, 2, 400)
    ends = ["은", "는", "이", "가", "을", "를"] if pool == "ko" else [str(i) for i in range(10, 99)]

    def text(y: int) -> str:
        said = list(rng.choice(FILLERS[pool], 7))
        said.insert(int(rng.integers(1, 6)), pair[y].format(rng.choice(ends)))
        return gap.join(said)

    data = Dataset.from_columns(
        read_table(pd.DataFrame({"t": [text(y) for y in label], "y": label}), label="y", text="t")
    )
    found = check(View(data, data.source, 0.01, 0))
    assert found is not None
    assert found.verdict == "alarm"
    if named is not None:
        assert set(found.more["cue_words"]) & named
        assert found.table[0]["word"] in named | set(found.more["cue_words"])
    else:
        assert set(found.more["cue_words"]) & {*pair}


def test_words_are_marked_where_they_stand():
    assert marked("我看电影, cafe\u0301", ["电影", "caf\u00e9"]) == "我看<mark>电影</mark>, <mark>caf\u00e9</mark>"
    assert marked("C++ :)", ["c++", ":)"]) == "<mark>C++</mark> <mark>:)</mark>"
