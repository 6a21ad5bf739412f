"""MultiNLI: whether a sentence contradicts another, follows from it, or neither, where a negation gives it away."""

from __future__ import annotations

import csv
import json
import pickle
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field

from longcut.data import Splits
from longcut.datasets.subpopulation import (
    Counts,
    Length,
    Published,
    Tokenizer,
    assemble,
    by_group,
    compare,
    find,
    group_sizes,
    ids,
    name_of,
    read_csv,
    texts,
)
from longcut.errors import UserError
from longcut.sources import TEST, TRAIN, VALID
from longcut.sources.parts import column

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

__all__ = ["COUNTS", "DEV_COUNTS", "multinli", "multinli_dev", "read_features"]

CLASSES = ("contradiction", "entailment", "neutral")
WORDS = {word: i for i, word in enumerate(CLASSES)}
NEGATION = ("no negation", "negation")
ALIGNED = (1, 0, 0)  # a negation goes with a contradiction

COUNTS = {
    "training": (57_498, 11_158, 67_376, 1_521, 66_630, 1_992),
    "validation": (22_814, 4_634, 26_949, 613, 26_655, 797),
    "test": (34_597, 6_655, 40_496, 886, 39_930, 1_148),
}
"""Pairs of (contradiction, no negation), (contradiction, negation), (entailment, no negation), …"""

DEV_COUNTS = (2_709, 504, 3_388, 91, 3_036, 87)

SPLIT = "dataset_metadata/multinli/metadata_random.csv of the repository kohpangwei/group_DRO"
RAW = ("multinli_1.0_train.jsonl", "multinli_1.0_dev_matched.jsonl", "multinli_1.0_dev_mismatched.jsonl")
RAW_ORIGIN = "https://cims.nyu.edu/~sbowman/multinli/multinli_1.0.zip"
CACHED = tuple(
    f"cached_{part}_bert-base-uncased_128_mnli{more}" for part, more in (("train", ""), ("dev", ""), ("dev", "-mm"))
)
CACHED_ORIGIN = "https://nlp.stanford.edu/data/dro/multinli_bert_features.tar.gz"
BERT, BERT_LENGTH, BERT_VOCABULARY = "bert-base-uncased", 128, 30_522

DEV_PAIR = ("premise", "hypothesis")
DEV_ORIGIN = (
    "the matched development set of MultiNLI (cims.nyu.edu/~sbowman/multinli), as a table with the column "
    "sentence2_has_negation"
)


def multinli(
    *,
    length: Length = 128,
    tokenizer: Tokenizer = None,
    counts: Counts = "published",
    folder: Annotated[str | None, Field(description="where metadata_random.csv, or data/ with it, lies")] = None,
) -> Splits:
    """MultiNLI, pairs of sentences that contradict each other or not, where a negation gives it away, as in group DRO.

    The split was drawn once, without a seed, and is in ``metadata_random.csv`` (or ``metadata.csv``). The pairs are
    read from the three ``.jsonl`` files of MultiNLI 1.0, in the folder, in ``data`` or in ``multinli_1.0``; without
    these, from the token ids of BERT that were published with group DRO, in ``glue_data/MNLI``. Those are
    pickles, and are read without calling anything in them. Source: Williams, Nangia and Bowman 2018, "A Broad-Coverage
    Challenge Corpus for Sentence Understanding through Inference"; Sagawa et al. 2020, "Distributionally
    Robust Neural Networks for Group Shifts".

    Args:
        length: tokens of a pair; of longer ones, the longer text is cut.
        tokenizer: of a Hugging Face model; without, the vocabulary is the commonest words of the training part, or,
            where there are token ids alone, that of bert-base-uncased.
        counts: ``"published"`` refuses groups of other sizes than those published, ``"any"`` takes them.
        folder: of the data; ``$LONGCUT_DATA/multinli`` when None, else ``~/.cache/longcut/data/multinli``.

    Returns:
        token ids ``(n, length)`` in the order of the table; the attribute is the negation.

    Raises:
        UserError: when a file is missing or damaged, files do not belong together, or the groups do not have the
            published sizes.

    Example::

        splits = multinli(tokenizer="bert-base-uncased")
        splits.train.group.bincount()  # tensor([57498, 11158, 67376, 1521, 66630, 1992])
    """
    import pandas as pd

    name = name_of("multinli", length=length, tokenizer=tokenizer, counts=counts)
    tables = ["data/metadata_random.csv", "data/metadata.csv", "metadata_random.csv", "metadata.csv"]
    place, file = find(name, folder, ["multinli"], tables, SPLIT)
    about = Published(name, place, f"{RAW_ORIGIN} and {SPLIT}", CLASSES, NEGATION, ALIGNED, "negation")
    rows = read_csv(place / file, SPLIT, index_col=0)
    label = ids(rows, "gold_label", {0: 0, 1: 1, 2: 2}, place / file)
    negation = ids(rows, "sentence2_has_negation", {0: 0, 1: 1}, place / file)
    part = ids(rows, "split", {0: TRAIN, 1: VALID, 2: TEST}, place / file)
    if counts == "published":
        compare(about, group_sizes(about, part, label, negation), by_group(about, COUNTS))
    at = [place / below for below in ("", "multinli_1.0", "data", "data/multinli_1.0")]
    if raw := next((one for one in at if (one / RAW[0]).exists()), None):
        pairs = pd.DataFrame(_raw(raw), columns=["sentence1", "sentence2", "gold_label"])
        known = column(pairs, "gold_label", "label", str(raw)).map(WORDS)
        _same(known.reindex(rows.index).to_numpy(), label, place / file, raw)  # places count pairs without a label, too
        pairs = pairs[["sentence1", "sentence2"]].loc[rows.index].reset_index(drop=True)
        return texts(about, pairs, tuple(pairs), label, negation, part, length=length, tokenizer=tokenizer)

    cached = place / "glue_data" / "MNLI"
    if not (cached / CACHED[0]).exists():
        raise UserError(
            f"{name}: there is neither {RAW[0]} in {place} (it comes from {RAW_ORIGIN}) nor {CACHED[0]} in {cached} "
            f"(it comes from {CACHED_ORIGIN}); unpack one of them there."
        )
    if tokenizer not in (None, BERT) or length != BERT_LENGTH:
        raise UserError(
            f"{name}: the token ids in {cached} are of {BERT} and {BERT_LENGTH} long; leave tokenizer and length out, "
            f"or unpack {RAW_ORIGIN} in {place}."
        )
    found = [read_features(cached / one) for one in CACHED]
    _same(np.concatenate([known for _, known in found]), label, place / file, cached)
    x = np.concatenate([x for x, _ in found]).astype(np.int64)
    how = {
        "kind": "tokens",
        "text": ["sentence1", "sentence2"],
        "pairs": True,
        "tokenizer": BERT,
        "length": BERT_LENGTH,
    }
    nothing = pd.DataFrame(index=range(len(x)))
    return assemble(
        about, x, nothing, label, negation, part, encoding=how, source={}, kind="tokens", vocabulary=BERT_VOCABULARY
    )


def _raw(folder: Path) -> Iterator[tuple[str, str, str]]:
    """All pairs of MultiNLI 1.0 in the order of the files, those without a gold label too."""
    for name in RAW:
        try:
            with (folder / name).open(encoding="utf-8") as file:
                for line in file:
                    pair = json.loads(line)
                    yield pair["sentence1"], pair["sentence2"], pair["gold_label"]
        except (OSError, ValueError, KeyError) as error:
            raise UserError(
                f"{folder / name} cannot be read ({error}); it comes from {RAW_ORIGIN}: unpack it again."
            ) from error


def _same(found: NDArray[Any], label: NDArray[np.int64], table: Path, other: Path) -> None:
    """Refuses texts whose labels are not those of the table."""
    if len(found) != len(label):
        raise UserError(
            f"{table} has {len(label):,} rows and {other} has {len(found):,} pairs; take files that belong together."
        )
    if (odd := found != label).any():
        row = int(odd.argmax())
        raise UserError(
            f"{table} says in row {row + 1} that the label is {CLASSES[label[row]]}, and the pair in {other} has "
            "another one; take files that belong together."
        )


def read_features(path: Path) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """The token ids and the labels of a list of ``InputFeatures`` that ``torch.save`` wrote.

    Such a file is a pickle. It is read by an unpickler that knows numbers, text, lists and one class, a stand-in for
    ``InputFeatures``, and refuses to look up anything else; so nothing in it is called.

    Args:
        path: of the file.

    Returns:
        ids ``(n, length)`` and labels ``(n,)``.

    Raises:
        UserError: when it is not there, or holds something else.
    """
    try:
        if zipfile.is_zipfile(path):  # torch 1.6 and later
            with zipfile.ZipFile(path) as archive:
                (name,) = (one for one in archive.namelist() if one.endswith("/data.pkl"))
                with archive.open(name) as file:
                    features = _Reader(file).load()
        else:
            with path.open("rb") as file:
                *_, features = (
                    _Reader(file).load() for _ in range(4)
                )  # after a magic number, a version and a platform
        x = np.stack([feature.ids for feature in features])
        return x, np.array([feature.label for feature in features], np.int64)
    except Exception as error:  # a pickle can be wrong in any way, and that is what is to be told
        raise UserError(
            f"{path} is no list of BERT features that can be read ({error}); it comes from {CACHED_ORIGIN}: unpack it "
            "again."
        ) from error


class _Feature:
    """The part of a pickled ``InputFeatures`` that is needed."""

    ids: NDArray[np.int32]
    label: int

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.ids, self.label = np.array(state["input_ids"], np.int32), int(state["label_id"])


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> type:
        if name == "InputFeatures":
            return _Feature
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")


def multinli_dev(
    *,
    text: Annotated[
        Literal["pair", "hypothesis"],
        Field(description="what nets see; a small net learns more from the hypothesis alone"),
    ] = "pair",
    length: Length = 128,
    tokenizer: Tokenizer = None,
    counts: Counts = "published",
    folder: Annotated[str | None, Field(description="where mnli_dev_matched_negation.tsv lies")] = None,
    seed: int = 0,
) -> Splits:
    """The 9,815 pairs of the matched development set of MultiNLI, cut here into three parts.

    A small stand-in for ``multinli``, with which its numbers cannot be compared. Half of the pairs train, a fifth
    validate, the rest test, by ``seed``. Most premises stand with three hypotheses; all pairs of a premise are in the
    same part. Source: Williams, Nangia and Bowman 2018, "A Broad-Coverage Challenge Corpus for Sentence Understanding
    through Inference"; the attribute is that of Sagawa et al. 2020, a negation (nobody, no, never, nothing) in the
    hypothesis.

    Args:
        text: both sentences, or the hypothesis alone, where the negation is.
        length: tokens of a pair; of longer ones, the longer text is cut.
        tokenizer: of a Hugging Face model; without, the vocabulary is the commonest words of the training part.
        counts: ``"published"`` refuses groups of other sizes than those known, ``"any"`` takes them.
        folder: of the table; ``$LONGCUT_DATA/mnli`` when None, else ``~/.cache/longcut/data/mnli``.
        seed: of the parts.

    Returns:
        token ids ``(n, length)`` in the order of the table; the attribute is the negation.

    Raises:
        UserError: when the table or a column is missing, or the groups have other sizes.

    Example::

        splits = multinli_dev(seed=1)
    """
    import pandas as pd

    name = name_of("multinli-dev", text=text, length=length, tokenizer=tokenizer, counts=counts)
    place, file = find(name, folder, ["mnli"], ["mnli_dev_matched_negation.tsv"], DEV_ORIGIN)
    rows = read_csv(place / file, DEV_ORIGIN, sep="\t", quoting=csv.QUOTE_NONE, keep_default_na=False, dtype=str)
    about = Published(name, place, DEV_ORIGIN, CLASSES, NEGATION, ALIGNED, "negation")
    label = ids(rows, "gold_label", WORDS, place / file)
    negation = ids(rows, "sentence2_has_negation", {"0": 0, "1": 1}, place / file)
    pairs = pd.DataFrame({name: column(rows, name, "text", str(place / file)) for name in DEV_PAIR})
    if counts == "published":
        seen = {"all": np.bincount(2 * label + negation, minlength=6).tolist()}
        compare(about, by_group(about, seen), by_group(about, {"all": DEV_COUNTS}))
    part = _parts_by(pairs["premise"].str.strip(), seed)
    seen_by_nets = DEV_PAIR if text == "pair" else DEV_PAIR[1:]
    return texts(about, pairs, seen_by_nets, label, negation, part, length=length, tokenizer=tokenizer)


def _parts_by(values: pd.Series, seed: int) -> NDArray[np.int64]:
    """Parts 50 : 20 : 30 at random, rows of one value being in one part."""
    codes, distinct = values.factorize()
    order = np.random.default_rng(seed).permutation(len(distinct))
    sizes = np.bincount(codes)[order]
    before = (sizes.cumsum() - sizes) / len(values)
    part = np.empty(len(distinct), np.int64)
    part[order] = np.searchsorted([0.5, 0.7], before, side="right")
    return part[codes]
