"""CivilComments: comments that are toxic or not, where whom they mention gives it away; four benchmarks of one name."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from longcut.data import Splits
from longcut.datasets.subpopulation import (
    PARTS,
    Counts,
    Length,
    Published,
    Tokenizer,
    compare,
    find,
    ids,
    name_of,
    read_csv,
    texts,
)
from longcut.errors import UserError
from longcut.sources import TEST, TRAIN, VALID
from longcut.sources.parts import column

__all__ = ["IDENTITIES", "IDENTITY_COUNTS", "SIZES", "civilcomments"]

IDENTITIES = ("male", "female", "LGBTQ", "christian", "muslim", "other_religions", "black", "white")
TEXT = ("comment_text",)
CLASSES = ("non-toxic", "toxic")

SIZES = {"training": 269_038, "validation": 45_180, "test": 133_782, "training (comment, identity)": 148_304}
IDENTITY_COUNTS = {
    "validation non-toxic": (4_050, 5_120, 1_099, 4_166, 1_598, 824, 1_119, 2_015),
    "validation toxic": (715, 771, 358, 384, 512, 162, 533, 852),
    "test non-toxic": (12_092, 14_179, 3_210, 12_101, 5_355, 2_980, 3_335, 5_723),
    "test toxic": (2_203, 2_270, 1_216, 1_260, 1_627, 520, 1_537, 2_246),
}
"""Comments that mention each of the identities."""

ORIGIN = "WILDS (civilcomments_v1.0, linked in the README of p-lambda/wilds)"


def civilcomments(
    *,
    variant: Annotated[
        Literal["wilds-16", "coarse-4", "fine", "coarse"],
        Field(description="which of the four benchmarks of this name; their numbers must not be mixed"),
    ] = "wilds-16",
    attribute: Annotated[
        Literal["black", "any"], Field(description="of wilds-16, what methods are told: black, or any identity")
    ] = "black",
    length: Length = 300,
    tokenizer: Tokenizer = None,
    counts: Counts = "published",
    folder: Annotated[str | None, Field(description="where all_data_with_identities.csv lies")] = None,
) -> Splits:
    """CivilComments, comments that are toxic or not, where whom they mention gives it away: one of four benchmarks.

    * ``wilds-16``: all comments; judged on the 16 overlapping groups of eight identities and the label, which are the
      memberships. The attribute, for methods that need one, is black (as in WILDS) or any identity (as in JTT).
    * ``coarse-4``: all comments; four groups, any of the eight identities or none, in all parts.
    * ``fine`` (SubpopBench): comments without any of the eight are left out, and the others are repeated for each of
      their identities; the attribute is that identity.
    * ``coarse`` (SubpopBench): all comments train, the attribute being whether none of the eight is mentioned;
      validation and test are those of ``fine``.

    The test sets of the last two variants and of ``wilds-16`` have the same worst group, but not the same average.
    A comment is toxic, and an identity mentioned, where at least half of the raters say so. Source: Borkan et al.
    2019, "Nuanced Metrics for Measuring Unintended Bias"; Koh et al. 2021, "WILDS: A Benchmark of in-the-Wild
    Distribution Shifts"; Yang et al. 2023, "Change is Hard".

    Args:
        variant: which benchmark.
        attribute: of ``wilds-16``.
        length: tokens of a comment; what comes after is cut off.
        tokenizer: of a Hugging Face model; without, the vocabulary is the commonest words of the training part.
        counts: ``"published"`` refuses groups of other sizes than those published, ``"any"`` takes them.
        folder: of the table; when None, the first of ``civilcomments_v1.0``, ``civilcomments`` and ``jigsaw`` below
            ``$LONGCUT_DATA``, else ``~/.cache/longcut/data``; it may lie in ``data`` there.

    Returns:
        token ids ``(n, length)``. The name of the data always says the variant.

    Raises:
        UserError: when the table or a column is missing, an option does not go with the variant, or the groups do
            not have the published sizes.

    Example::

        splits = civilcomments(variant="coarse-4", tokenizer="distilbert-base-uncased")
    """
    import pandas as pd

    if attribute != "black" and variant != "wilds-16":
        raise UserError(f"civilcomments: attribute={attribute} belongs to variant=wilds-16; leave it out of {variant}.")
    others = name_of("civilcomments", attribute=attribute, length=length, tokenizer=tokenizer, counts=counts)
    name = f"civilcomments:variant={variant}{others.removeprefix('civilcomments').replace(':', ',', 1)}"
    usual = ["civilcomments_v1.0", "civilcomments", "jigsaw"]
    table = "all_data_with_identities.csv"
    place, file = find(name, folder, usual, [table, f"data/{table}"], ORIGIN)
    raters = [*IDENTITIES, *(["identity_any"] if attribute == "any" else [])]
    wanted = ["comment_text", "split", "toxicity", *raters]
    rows = read_csv(place / file, ORIGIN, usecols=wanted, dtype={"comment_text": str}, low_memory=False)
    part = ids(rows, "split", {"train": TRAIN, "val": VALID, "test": TEST}, place / file)
    label = (rows["toxicity"].to_numpy() >= 0.5).astype(np.int64)
    has = rows[list(IDENTITIES)].to_numpy() >= 0.5
    some = np.asarray(has.any(axis=1), np.int64)
    told = (rows[raters[-1] if attribute == "any" else "black"].to_numpy() >= 0.5).astype(np.int64)

    names = ("not black", "black") if (variant, attribute) == ("wilds-16", "black") else ("no identity", "identity")
    about = Published(name, place, ORIGIN, CLASSES, names, (0, 1), "identity")
    if counts == "published":
        mentions = {
            f"{word} {CLASSES[y]}": has[(part == which) & (label == y)].sum(0).tolist()
            for word, which in PARTS.items()
            for y in (0, 1)
        }
        seen = {word: int((part == which).sum()) for word, which in PARTS.items()} | _by_identity(mentions)
        seen["training (comment, identity)"] = int(has[part == TRAIN].sum())
        compare(about, seen, SIZES | _by_identity(IDENTITY_COUNTS))
    how: dict[str, Any] = {"length": length, "tokenizer": tokenizer}
    comments = pd.DataFrame({"comment_text": column(rows, "comment_text", "text", str(place / file))})
    if variant == "wilds-16":
        overlap = {"memberships": has, "membership_names": IDENTITIES}
        return texts(about, comments, TEXT, label, told, part, **how, **overlap)
    if variant == "coarse-4":
        return texts(about, comments, TEXT, label, some, part, **how)

    if variant == "coarse":  # a comment for training stands once, and its attribute is another one
        has = np.where((part == TRAIN)[:, None], np.arange(len(IDENTITIES)) == 0, has)
    row, identity = np.argwhere(has).T.copy()
    part, label = part[row], label[row]
    if variant == "coarse":
        identity[part == TRAIN] = 1 - some[row[part == TRAIN]]
    about = dataclasses.replace(about, attribute_names=IDENTITIES, aligned=())
    splits = texts(about, comments.take(row).reset_index(drop=True), TEXT, label, identity, part, **how)
    return _two_attributes(splits) if variant == "coarse" else splits


def _two_attributes(splits: Splits) -> Splits:
    """With a training set that has an attribute of its own."""
    train, names = splits.train, ("identity", "no identity")
    info = dataclasses.replace(train.info, n_attributes=2, attribute_names=names, aligned=(1, 0))
    assert train.source is not None and train.source.attribute is not None and train.attribute is not None
    train.source.rows.loc[train.index.numpy(), train.source.attribute] = [
        names[value] for value in train.attribute.tolist()
    ]
    return dataclasses.replace(splits, train=dataclasses.replace(train, info=info))


def _by_identity(counts: Mapping[str, Sequence[int]]) -> dict[str, int]:
    """Numbers of comments by what they are called."""
    return {f"{of}, {name}": n for of, found in counts.items() for name, n in zip(IDENTITIES, found, strict=True)}
