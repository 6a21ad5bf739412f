"""Answers in files: CSV tables of samples by ``row``, with their ``attribute``.

The columns ``name`` and ``label`` tell whether the data is the same, ``score`` and ``drawn`` how a sample was chosen.
An empty attribute is no answer yet; ``?`` is the answer that nobody can tell, which is not asked again either.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from longcut.data import Dataset
from longcut.errors import UserError
from longcut.files import plain

__all__ = ["COLUMNS", "UNSURE", "Answer", "attach", "name_of", "names_of", "read", "write"]

COLUMNS = ("row", "name", "label", "score", "drawn", "attribute")
UNSURE, LOT, RULE = "?", "by lot", "by rule"


@dataclass(frozen=True)
class Answer:
    """What was looked up: of which stored sample, called and labelled how, how suspected, and whether drawn by lot."""

    row: int
    value: str
    name: str = ""
    label: str = ""
    score: float = float("nan")
    lot: bool = False


def read(files: Iterable[Path | str], values: Sequence[str] = ()) -> list[Answer]:
    """All answers in the files, in the order of their first file and row; the same answer may be given twice.

    Args:
        files: in any number of rounds.
        values: the only ones allowed beside ``?``; without, any.

    Raises:
        UserError: for a file that is missing, empty, no such table or without the columns, a row that is no number, a
            value that is not allowed, or two answers for one sample.
    """
    found: dict[int, Answer] = {}
    for file in files:
        for answer in _rows(Path(file)):
            if values and answer.value not in (*values, UNSURE):
                raise UserError(
                    f"{file} answers '{answer.value}' for sample {answer.row}, which is none of the values "
                    f"{', '.join(values)} (or {UNSURE}); correct it, or name it with --values."
                )
            before = found.setdefault(answer.row, answer)
            if before.value != answer.value:
                raise UserError(
                    f"{file} answers '{answer.value}' for sample {answer.row}, which is answered '{before.value}', "
                    "too; decide on one and delete the other."
                )
    return list(found.values())


def _rows(file: Path) -> list[Answer]:
    try:
        text = file.read_bytes().decode("utf-8-sig")  # whatever ends its lines: names may hold such signs
    except OSError as error:
        raise UserError(f"cannot read the answers in {file} ({error.strerror}); check the path.") from None
    except UnicodeDecodeError:
        raise UserError(f"{file} is not UTF-8 text; save the answers as a CSV file in UTF-8.") from None
    if not text.strip():
        raise UserError(f"{file} is empty; give a file of answers with the columns row and attribute.")
    try:
        rows = list(table := csv.DictReader(io.StringIO(text, newline="")))
    except csv.Error as error:
        raise UserError(f"{file} is not a table that can be read ({error}); save the answers as a CSV file.") from None
    if missing := [name for name in ("row", "attribute") if name not in (table.fieldnames or ())]:
        raise UserError(
            f"{file} has no column {' and no column '.join(missing)}; it needs row and attribute, as to-look-up.csv."
        )
    answers = []
    for record in rows:
        value = plain((record["attribute"] or "").strip())
        if not value:
            continue
        row, score = (record["row"] or "").strip(), (record.get("score") or "").strip()
        if not row.isdecimal():
            raise UserError(
                f"{file} has an answer in a row called '{row}'; the column row holds the numbers of samples."
            )
        try:
            suspected = float(score or "nan")
        except ValueError:
            suspected = float("nan")
        name, label = (plain(record.get(column) or "") for column in ("name", "label"))
        answers.append(Answer(int(row), value, name, label, suspected, record.get("drawn") == LOT))
    return answers


def write(answers: Iterable[Answer], file: Path) -> None:
    """A file of answers."""
    from longcut.files import escaped, replacing

    with replacing(file) as temporary, temporary.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(COLUMNS)
        for one in answers:
            score = "" if np.isnan(one.score) else f"{one.score:.6g}"
            drawn = LOT if one.lot else RULE
            writer.writerow([one.row, escaped(one.name), escaped(one.label), score, drawn, escaped(one.value)])


def name_of(data: Dataset, row: int) -> str:
    """What a stored sample is called: the path of its image, or its row."""
    source = data.source
    name = f"row {row}" if source is None or source.image is None else str(source.rows[source.image].iloc[row])
    return name.encode("utf-8", "backslashreplace").decode()


def names_of(answers: Iterable[Answer], values: Sequence[str] = ()) -> tuple[str, ...]:
    """The values of the attribute: those that are declared, else those that are answered, numbers by size first.

    >>> names_of([Answer(1, "water"), Answer(2, "?"), Answer(3, "land")])
    ('land', 'water')
    """
    from longcut.sources.parts import number

    if values:
        return tuple(values)
    import pandas as pd

    said = [answer.value for answer in answers if answer.value != UNSURE]
    return number(pd.Series(said, dtype=object), what="attribute", where="the answers")[1]


def attach(data: Dataset, answers: Sequence[Answer], names: Sequence[str], where: str = "the answers") -> torch.Tensor:
    """The attribute of each sample of ``data`` ``(n,)``: what was answered, and -1 for all others.

    Raises:
        UserError: when an answer is of a sample that is not stored, or its name or label is another one here.
    """
    column = torch.full((data.info.n_stored or len(data.x),), -1)
    place = {int(row): i for i, row in enumerate(data.index.tolist())}
    ids = {name: i for i, name in enumerate(names)}
    for answer in answers:
        if not answer.row < len(column):
            raise UserError(
                f"{where} name sample {answer.row}, but {data.info.name} has samples 0 to {len(column) - 1}; "
                "give answers about this data."
            )
        here = place.get(answer.row)
        label = "" if here is None or not data.info.class_names else data.info.class_names[int(data.label[here])]
        for what, theirs, ours in (("name", answer.name, name_of(data, answer.row)), ("label", answer.label, label)):
            if theirs and ours and theirs != ours:
                raise UserError(
                    f"{where} are about other data: they give sample {answer.row} the {what} '{theirs}', but in "
                    f"{data.info.name} it is '{ours}'; give answers about this data."
                )
        if answer.value != UNSURE:
            if answer.value not in ids:
                raise UserError(
                    f"{where} say '{answer.value}' of sample {answer.row}, but the values are {', '.join(names)}; "
                    "correct it."
                )
            column[answer.row] = ids[answer.value]
    return column[data.index]
