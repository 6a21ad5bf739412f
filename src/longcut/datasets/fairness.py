"""Fairness: public tables about people, whose attribute is a sensitive one, with the published filters.

Adult and COMPAS are filtered and coded as most papers have them since AIF360 (Bellamy et al. 2018). 70 % of the rows
train, 15 % validate and 15 % test, or other shares (``parts``), drawn by seed: five seeds are five splits. Numbers are
standardised by the training part; all other columns are 0 or 1. No attribute value goes with a label, so no sample
agrees with a shortcut or contradicts one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field

from longcut.data import Dataset, Splits, generator
from longcut.datasets.regression import UCI, Folder, parts_of, standardized
from longcut.datasets.subpopulation import Counts, find, ids, name_of, read_csv
from longcut.errors import UserError
from longcut.sources import Source
from longcut.sources.options import Parts
from longcut.sources.parts import shares

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

__all__ = ["adult", "compas", "german"]

Inputs = Annotated[
    Literal["without", "with"], Field(description="whether the net sees the sensitive attribute among its inputs")
]
PROPUBLICA = "github.com/propublica/compas-analysis"


@dataclass(frozen=True)
class Coded:
    """A column of two values.

    Attributes:
        ids: 0 or 1 ``(n,)``.
        names: of 0 and 1.
    """

    ids: NDArray[np.int64]
    names: tuple[str, str]

    @property
    def values(self) -> NDArray[np.object_]:
        """The name of each ``(n,)``."""
        return np.array(self.names, dtype=object)[self.ids]


@dataclass(frozen=True)
class People:
    """A table after its filters.

    Attributes:
        rows: one for each person.
        numbers: columns that are standardised.
        binary: further columns, of 0 and 1.
        categories: columns that become one column for each of their values.
        label, attribute: what is told of each person.
        label_column, attribute_column: what they are called; the attribute, as what is binary or a number is not.
    """

    rows: pd.DataFrame
    numbers: Sequence[str]
    binary: Mapping[str, Coded]
    categories: Sequence[str]
    label: Coded
    label_column: str
    attribute: Coded
    attribute_column: str


def adult(
    *,
    sensitive: Annotated[Literal["sex", "race"], Field(description="the attribute; race is White or another")] = "sex",
    inputs: Inputs = "without",
    parts: Parts = "70/15/15",
    counts: Counts = "published",
    folder: Folder = None,
    seed: int = 0,
) -> Splits:
    """Adult: who earns more than 50,000 dollars a year, from the census of the USA of 1994.

    Both published files together, without the rows in which a value is missing: 45,222 people, 24.8 % of whom earn
    more (31.2 % of the men, 11.4 % of the women). 97 inputs; ``fnlwgt``, the weight of a row, is none of them.

    Args:
        sensitive: the attribute.
        inputs: ``"without"`` removes it from the inputs, though not what tells it, such as being a husband.
        parts: per cent of the rows in each part; they sum to 100.
        counts: ``"any"`` also takes files with other rows.
        folder: with ``adult.data`` and ``adult.test``.
        seed: of the split.

    Raises:
        UserError: when a file is missing or is another one.
    """
    import pandas as pd

    name = name_of("adult", sensitive=sensitive, inputs=inputs, parts=parts, counts=counts)
    origin = f"{UCI} (data set 2)"
    place, _ = find(name, folder, ["adult"], ["adult.data"], origin)
    columns = [
        "age", "workclass", "fnlwgt", "education", "education-num", "marital-status", "occupation", "relationship",
        "race", "sex", "capital-gain", "capital-loss", "hours-per-week", "native-country", "income",
    ]  # fmt: skip
    how: dict[str, Any] = {"header": None, "skipinitialspace": True, "na_values": "?"}
    files = [read_csv(place / "adult.test", origin, skiprows=1, **how), read_csv(place / "adult.data", origin, **how)]
    for file, found in zip(("adult.test", "adult.data"), files, strict=True):
        found.columns = _named(found, columns, place / file, origin)
    rows = pd.concat(files, ignore_index=True).dropna(ignore_index=True)
    _require(name, place, len(rows), 45_222, counts, origin)
    rows["income"] = rows["income"].str.rstrip(".")
    is_male = ids(rows, "sex", {"Female": 0, "Male": 1}, place)
    is_white = (rows["race"] == "White").to_numpy(np.int64)
    binary = {"race": Coded(is_white, ("other", "White")), "sex": Coded(is_male, ("Female", "Male"))}
    people = People(
        rows,
        ["age", "education-num", "capital-gain", "capital-loss", "hours-per-week"],
        {key: value for key, value in binary.items() if inputs == "with" or key != sensitive},
        ["workclass", "education", "marital-status", "occupation", "relationship", "native-country"],
        Coded(ids(rows, "income", {"<=50K": 0, ">50K": 1}, place), ("<=50K", ">50K")),
        "income",
        binary[sensitive],
        sensitive,
    )
    return _splits(name, people, place, parts, seed)


def compas(
    *,
    sensitive: Annotated[
        Literal["race", "sex"], Field(description="the attribute; race is Caucasian or another")
    ] = "race",
    rows: Annotated[
        Literal["all", "black-white"],
        Field(description="everybody, or African-American and Caucasian people alone"),
    ] = "all",
    inputs: Inputs = "without",
    parts: Parts = "70/15/15",
    counts: Counts = "published",
    folder: Folder = None,
    seed: int = 0,
) -> Splits:
    """COMPAS: who was charged again within two years, in Broward County, Florida, 2013 to 2014.

    ProPublica's filter (screened within 30 days of the arrest, and so on) leaves 6,172 people of 7,214, and 5 more are
    without a description of their charge: 6,167, of whom 45.5 % were charged again. 400 inputs, 389 of which say the
    charge; COMPAS's own scores are none of them. The difference of two groups' rates on its 926 test samples has a
    standard error of about 0.05.

    Args:
        sensitive: the attribute.
        rows: ``"black-white"`` leaves 5,273 people.
        inputs: ``"without"`` removes the attribute from the inputs.
        parts: per cent of the rows in each part; they sum to 100.
        counts: ``"any"`` also takes files with other rows.
        folder: with ``compas-scores-two-years.csv``.
        seed: of the split.

    Raises:
        UserError: when the file is missing or is another one.
    """
    name = name_of("compas", sensitive=sensitive, rows=rows, inputs=inputs, parts=parts, counts=counts)
    files = ["compas-scores-two-years.csv", "compas-scores-two-years.noname.csv"]
    place, file = find(name, folder, ["compas"], files, PROPUBLICA)
    table: Any = read_csv(place / file, PROPUBLICA)
    numbers = ["age", "juv_fel_count", "juv_misd_count", "juv_other_count", "priors_count"]
    categories = ["age_cat", "c_charge_degree", "c_charge_desc"]
    others = ["sex", "race", "days_b_screening_arrest", "is_recid", "score_text", "two_year_recid"]
    if absent := [column for column in (*numbers, *categories, *others) if column not in table]:
        raise UserError(f"{name}: {place / file} has no column '{absent[0]}'; get it again from {PROPUBLICA}.")
    kept = table["days_b_screening_arrest"].between(-30, 30) & (table["is_recid"] != -1)
    kept &= (table["c_charge_degree"] != "O") & table["score_text"].notna()  # pandas reads N/A as missing
    table = table[kept].dropna(subset=[*numbers, *categories])
    if rows == "black-white":
        table = table[table["race"].isin(["African-American", "Caucasian"])]
    table = table.reset_index(drop=True)
    _require(name, place, len(table), 6_167 if rows == "all" else 5_273, counts, PROPUBLICA)
    is_male = ids(table, "sex", {"Female": 0, "Male": 1}, place / file)
    is_white = (table["race"] == "Caucasian").to_numpy(np.int64)
    other = "other" if rows == "all" else "African-American"
    binary = {"sex": Coded(is_male, ("Female", "Male")), "race": Coded(is_white, (other, "Caucasian"))}
    people = People(
        table,
        numbers,
        {key: value for key, value in binary.items() if inputs == "with" or key != sensitive},
        categories,
        Coded(ids(table, "two_year_recid", {0: 0, 1: 1}, place / file), ("not charged again", "charged again")),
        "two_year_recid",
        binary[sensitive],
        sensitive,
    )
    return _splits(name, people, place, parts, seed)


def german(
    *,
    sensitive: Annotated[
        Literal["sex", "age"], Field(description="the attribute; age is up to 25 years, or above")
    ] = "sex",
    inputs: Inputs = "without",
    parts: Parts = "70/15/15",
    counts: Counts = "published",
    folder: Folder = None,
    seed: int = 0,
) -> Splits:
    """German credit (Statlog): who pays back, of 1,000 people who got a loan from a bank around 1975.

    Mind the noise: 150 people are tested, about 45 of whom did not pay back, and about 15 of these are women. One of
    them more or less moves a rate by 0.07: gaps between groups, and differences between methods, are noise here.
    The sex is told by ``A92`` and ``A95`` of the column on personal status, which is no input itself.

    Args:
        sensitive: the attribute.
        inputs: ``"without"`` removes it from the inputs: the sex, or the number of years.
        parts: per cent of the rows in each part; they sum to 100.
        counts: ``"any"`` also takes files with other rows.
        folder: with ``german.data``.
        seed: of the split.

    Raises:
        UserError: when the file is missing or is another one.
    """
    name = name_of("german", sensitive=sensitive, inputs=inputs, parts=parts, counts=counts)
    origin = f"{UCI} (data set 144)"
    place, file = find(name, folder, ["german"], ["german.data"], origin)
    columns = [
        "status", "months", "history", "purpose", "amount", "savings", "employment", "rate", "personal", "debtors",
        "residence", "property", "age", "plans", "housing", "credits", "job", "dependants", "telephone", "foreign",
        "credit",
    ]  # fmt: skip
    rows = read_csv(place / file, origin, header=None, sep=r"\s+")
    rows.columns = _named(rows, columns, place / file, origin)
    _require(name, place, len(rows), 1000, counts, origin)
    numbers = ["months", "amount", "rate", "residence", "age", "credits", "dependants"]
    is_male = ids(rows, "personal", {"A91": 1, "A92": 0, "A93": 1, "A94": 1, "A95": 0}, place / file)
    older = (rows["age"] > 25).to_numpy(np.int64)
    sex = Coded(is_male, ("female", "male"))
    hidden = sensitive if inputs == "without" else ""
    people = People(
        rows,
        [column for column in numbers if column != hidden],
        {} if hidden == "sex" else {"sex": sex},
        [column for column in columns if column not in (*numbers, "personal", "credit")],
        Coded(ids(rows, "credit", {1: 1, 2: 0}, place / file), ("bad", "good")),
        "credit",
        *((sex, "sex") if sensitive == "sex" else (Coded(older, ("up to 25", "above 25")), "age group")),
    )
    return _splits(name, people, place, parts, seed)


# --- what they share --------------------------------------------------------------------------------------------------


def _named(rows: pd.DataFrame, columns: Sequence[str], path: Path, origin: str) -> Sequence[str]:
    """The names of the columns of a file that has none.

    Raises:
        UserError: when it has more or fewer.
    """
    if rows.shape[1] != len(columns):
        raise UserError(
            f"{path} has {rows.shape[1]} columns, published are {len(columns)}; get it again from {origin}."
        )
    return columns


def _require(name: str, place: Path, n: int, published: int, counts: str, origin: str) -> None:
    if (counts == "published" and n != published) or n < 3:
        least = f"published: {published:,}" if counts == "published" else "at least 3 are needed"
        raise UserError(
            f"{name}: {place} has {n:,} usable rows ({least}); get the files again from {origin}, or give counts=any "
            "if they are meant to differ."
        )


def _sizes(name: str, parts: str, n: int) -> tuple[int, int]:
    """How many of ``n`` rows train and validate; the others test.

    Raises:
        UserError: when the shares do not sum to 100, or a part would be empty.
    """
    training, validation, test = shares(parts, where=name)
    train = training * n // 100
    valid = (n - train) * validation // (validation + test)
    if not train or not valid or train + valid == n:
        raise UserError(f"{name}: of {n} rows, parts={parts} leaves a part empty; give it a larger share.")
    return train, valid


def _splits(name: str, people: People, place: Path, parts: str, seed: int) -> Splits:
    """Inputs as numbers, binary columns and one-hot columns, in this order, and the parts."""
    import pandas as pd

    rows, n = people.rows, len(people.rows)
    try:
        numbers = rows[list(people.numbers)].to_numpy(np.float64)
    except ValueError as error:
        raise UserError(
            f"{name}: in {place}, {', '.join(people.numbers)} must be numbers ({error}); get it again."
        ) from None
    order, (train, valid) = torch.randperm(n, generator=generator(seed)).numpy(), _sizes(name, parts, n)
    part = np.full(n, 2)
    part[order[:train]], part[order[train : train + valid]] = 0, 1
    kinds = [pd.get_dummies(rows[column], dtype=np.float64).to_numpy() for column in people.categories]
    binary = [column.ids[:, None] for column in people.binary.values()]
    x = np.hstack([standardized(numbers, np.flatnonzero(part == 0)), *binary, *kinds])
    data = Dataset.of(
        x.astype(np.float32),
        people.label.ids,
        people.attribute.ids,
        name=name,
        n_classes=2,
        n_attributes=2,
        class_names=people.label.names,
        attribute_names=people.attribute.names,
    )
    return parts_of(replace(data, source=_source(name, people, part)), part)


def _source(name: str, people: People, part: NDArray[np.int64]) -> Source:
    """The inputs by the names of their columns, as they were before they became numbers."""
    import pandas as pd

    inputs: dict[str, Any] = {column: people.rows[column] for column in people.numbers}
    inputs |= {column: coded.values for column, coded in people.binary.items()}
    inputs |= {column: people.rows[column] for column in people.categories}
    told = {people.attribute_column: people.attribute.values, people.label_column: people.label.values}
    return Source(
        name=name,
        rows=pd.DataFrame(inputs | told),
        part=part,
        official=False,
        label=people.label_column,
        attribute=people.attribute_column,
        features=tuple(inputs),
    )
