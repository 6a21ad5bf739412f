"""The names of the columns of a table, read without what reads the rest; and what names are."""

from __future__ import annotations

import csv
import gzip
import io
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from longcut.errors import UserError, unknown
from longcut.sources.contents import cells_in, columns_in, names_of_rows

__all__ = [
    "ALL",
    "JSON",
    "NAMELESS",
    "OTHERS",
    "TEXTS",
    "Form",
    "content",
    "kind_of",
    "named",
    "names_in",
    "require_columns",
    "separator_of",
    "split_names",
    "tidy",
]

ALL = "all"  # in place of the names of all columns
NAMELESS = "Unnamed: "  # how pandas begins the name of a column without one, such as the index that it saved
TEXTS = (".csv", ".tsv", ".tab", ".txt", ".data", ".test", ".dat", ".psv")
JSON = (".jsonl", ".ndjson", ".json")
OTHERS = (".parquet", *JSON, ".xlsx")
SNIFFED = 20  # lines
SEPARATORS = {"comma": ",", "semicolon": ";", "tab": "\t", "pipe": "|", "space": r"\s+"}


_WITHOUT_WIDTH = dict.fromkeys(map(ord, "\u200b\u2060\ufeff\u00ad"))
_BLANKS = re.compile(r"[\s\x00-\x1f\x7f-\x9f]")


@dataclass(frozen=True)
class Form:
    """What somebody says about the form of a file; None and 0 are found out, or as usual.

    Attributes:
        separator: between cells, a character or its name.
        charset: of a text file.
        names: of the columns of a file without a line of names.
        skip: lines before the names, or before the first row.
    """

    separator: str | None = None
    charset: str | None = None
    names: str | None = None
    skip: int = 0


def tidy(text: str) -> str:
    r"""A name without what cannot be seen in it: composed letters, plain blanks, none at the ends.

    >>> tidy("cafe\u0301\u00a0") == "caf\u00e9"
    True
    """
    if not text.isascii():
        text = unicodedata.normalize("NFC", text).translate(_WITHOUT_WIDTH)
    if not text.isprintable() or not text.isascii():
        text = _BLANKS.sub(" ", text)
    return text.strip(" \u200c\u200d\u200e\u200f")


def kind_of(path: Path) -> str:
    """How the name of a file ends, in small letters, without that it is packed."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    return suffixes[-2] if suffixes[-1:] == [".gz"] and len(suffixes) > 1 else (suffixes[-1:] or [""])[0]


@contextmanager
def content(path: Path) -> Iterator[IO[bytes]]:
    """The bytes of a file, unpacked."""
    with path.open("rb") as file:
        yield cast(IO[bytes], gzip.GzipFile(fileobj=file)) if path.suffix.lower() == ".gz" else file


# --- names -----------------------------------------------------------------------------------------------------------


def split_names(given: str) -> list[str]:
    """Names that are joined by commas, or by ``+``.

    >>> split_names("age,sex"), split_names("age+sex")
    (['age', 'sex'], ['age', 'sex'])
    """
    return [tidy(name) for name in given.split("," if "," in given else "+")]


def named(names: Sequence[str], given: str | None, what: str, where: str) -> list[str]:
    """Those of the columns that are asked for, one or several joined by commas or ``+``.

    Raises:
        UserError: when one is not there.
    """
    if given is None:
        return []
    if given in names:
        return [given]
    found = split_names(given)
    for name in found:
        if name not in names:
            raise UserError(f"{where}: {what}: {unknown('column', name, names)}")
    return found


def names_in(path: Path, form: Form) -> list[str]:
    """The names of the columns of a table in a file, as :mod:`longcut.sources.frames` has them.

    Raises:
        Exception: any, where the file is not like that; who reads it whole says what is wrong.
    """
    kind, charset = kind_of(path), form.charset or "utf-8"
    if kind == ".parquet" and form == Form() and "=" not in str(path):  # folders called so are columns
        return columns_in(path)
    if kind in OTHERS and form == Form():
        with content(path) as file:
            found = cells_in(path) if kind == ".xlsx" else names_of_rows(file)
        return _plain([*map(tidy, found)])
    if kind not in TEXTS:
        raise ValueError("another kind of file")
    separator, _ = separator_of(path, kind, form, charset)
    if form.names is not None:
        return split_names(form.names)
    quoted = not (separator == "\t" and kind == ".tsv")
    with content(path) as file:
        text = io.TextIOWrapper(file, charset, newline="")
        lines = (line for i, line in enumerate(text) if i >= form.skip and line.strip())
        if separator == r"\s+":
            cells = next(lines).removeprefix("\ufeff").split()
        else:
            blanks = quoted and separator != "\t"
            how: dict[str, Any] = {"skipinitialspace": blanks} if quoted else {"quoting": csv.QUOTE_NONE}
            cells = next(csv.reader(_without_mark(lines), delimiter=separator, strict=True, **how))
    return _plain([*map(tidy, cells if quoted else (cell.strip('"') for cell in cells))])


def _plain(names: list[str]) -> list[str]:
    if not all(names) or len({*names}) < len(names):
        raise ValueError("names that are empty or doubled are called otherwise")
    return names


def _without_mark(lines: Iterator[str]) -> Iterator[str]:
    """Without the mark of the order of bytes that some programs begin a file with."""
    yield next(lines).removeprefix("\ufeff")
    yield from lines


def require_columns(path: Path, options: Mapping[str, Any], asked: Sequence[str] = ()) -> None:
    """Refuse a column of a table that is not there, from the names alone; where in doubt, do nothing.

    Args:
        path: of the file.
        options: of the data set ``table``, as they are written.
        asked: columns that an audit is asked about.

    Raises:
        UserError: as :func:`longcut.sources.table.read_table`.
    """
    said = {key: str(value) for key, value in options.items() if value is not None}
    try:
        form = Form(said.get("separator"), said.get("encoding"), said.get("names"), int(said.get("skip", 0)))
        names = names_in(path, form)
    except Exception:  # whatever is odd about the file: who reads it says it
        return
    for what in ("drop", "columns", "categorical", "numeric"):
        named(names, said.get(what), what, str(path))
    text = said.get("text")
    texts = [] if text is None else [text] if text in names else text.split("+")
    dropped = named(names, said.get("drop"), "drop", str(path))
    roles = [("image", said.get("image")), *(("text", name) for name in texts)]
    for what, name in (*roles, *((what, said.get(what)) for what in ("label", "attribute", "split"))):
        if name is not None and name not in names and not (dropped or tidy(name) in names):
            raise UserError(f"{path}: {what}: {unknown('column', name, names)}")
    known = [
        name for name in names if name not in {said.get("label"), said.get("split"), *dropped, *dict(roles).values()}
    ]
    for name in asked if ALL not in asked else ():
        if name not in names:
            raise unknown("column", name, known)


# --- separators ---


def separator_of(path: Path, kind: str, form: Form, charset: str) -> tuple[str, list[str]]:
    """What stands between cells, as it is said, or as the first lines have it; and what is to be told of that."""
    usual = {".tsv": "\t", ".tab": "\t", ".psv": "|"}.get(kind, ",")
    with content(path) as file:
        text = io.TextIOWrapper(file, charset, newline="")
        lines = [line for _, line in zip(range(SNIFFED + form.skip), text, strict=False)][form.skip :]
    found = _sniffed([line for line in lines if line.strip()], usual)
    called = {mark: name for name, mark in SEPARATORS.items()}
    if form.separator is not None:
        given = SEPARATORS.get(form.separator, form.separator.replace("\\t", "\t"))
        if len(given) != 1 and given != r"\s+":
            raise UserError(
                f"separator '{form.separator}' is not allowed; give one character, or {', '.join(SEPARATORS)}."
            )
        if found not in (given, usual) and given not in "".join(lines[:1]):
            raise UserError(
                f"{path} has no '{form.separator}' in its first line, but is separated by {called[found]}; "
                f"give --separator {called[found]}."
            )
        return given, []
    if found == usual:
        return usual, []
    plain = kind in (".txt", ".data", ".test", ".dat")
    return found, [] if plain else [f"is separated by {called[found]}, not by {called[usual]}, and was read so"]


def _sniffed(lines: Sequence[str], usual: str) -> str:
    """The separator that is as often in every line, outside quotes; the usual one if it is in the first."""

    def counts(mark: str) -> list[int]:
        return [sum(part.count(mark) for part in line.split('"')[::2]) for line in lines]

    if not lines or (counts(usual)[0] and len({*counts(usual)}) == 1):
        return usual
    others = {mark: counts(mark) for mark in (",", ";", "\t", "|") if mark != usual}
    steady = {mark: found[0] for mark, found in others.items() if found[0] and len({*found}) == 1}
    if steady:
        return max(steady, key=lambda mark: steady[mark])
    if counts(usual)[0] or _mostly(counts(usual)):
        return usual
    some = {mark: found[0] for mark, found in others.items() if found[0]}
    return max(some, key=lambda mark: some[mark]) if some else usual


def _mostly(counts: Sequence[int]) -> bool:
    """Whether most lines have as many, and more than none."""
    often, n = Counter(counts).most_common(1)[0]
    return often > 0 and n > 0.8 * len(counts)
