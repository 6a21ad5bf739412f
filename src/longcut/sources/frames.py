"""Files of tables as frames: text with separators, JSON, Parquet and Excel; packed ones too."""

from __future__ import annotations

import codecs
import csv
import io
import json
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from longcut.errors import UserError
from longcut.sources.header import JSON, NAMELESS, OTHERS, TEXTS, Form, content, kind_of, separator_of, split_names

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Table", "check_names", "open_table"]

CELLS = 4_000_000  # that are text at a time


@dataclass(frozen=True)
class Table:
    """A file that was opened.

    Attributes:
        names: of its columns, as they are written.
        blocks: its columns from left to right, some at a time, under their positions.
        typed: whether the file says which cells are text.
        notes: what was found out about its form.
        comma: whether a decimal comma is likely.
        attrs: what is kept beside the columns, such as the net that made features.
    """

    names: list[str]
    blocks: Iterator[pd.DataFrame]
    typed: bool
    notes: tuple[str, ...] = ()
    comma: bool = False
    attrs: Mapping[str, Any] = field(default_factory=dict)


def open_table(path: Path, form: Form) -> Table:
    """The columns of a file.

    Raises:
        UserError: when it is no such file, or is damaged.
    """
    kind = kind_of(path)
    if kind not in (*TEXTS, *OTHERS):
        more = " ".join((*TEXTS[2:], *OTHERS[1:]))
        raise UserError(
            f"{path}: a table is a .csv, .tsv or .parquet file, not '{path.suffix}' (nor {more}); convert or rename it."
        )
    if not path.is_file():
        raise UserError(f"{path}: there is no such file; give the path of a table.")
    given = {"separator": form.separator, "charset": form.charset, "names": form.names, "skip": form.skip or None}
    if kind not in TEXTS and (said := [name for name, value in given.items() if value is not None]):
        raise UserError(f"{path} is no text with separators, so {said[0]} says nothing about it; leave it out.")
    if kind == ".parquet":
        return _whole(path, _parquet, "parquet")
    if kind == ".xlsx":
        return _whole(path, _xlsx, "excel")
    if kind in JSON:
        return _whole(path, _json, "")
    return _text(path, kind, form)


# --- files that say what is text --------------------------------------------------------------------------------------


def _whole(path: Path, read: Any, extra: str) -> Table:
    import pandas as pd

    try:
        frame = read(path)
    except UserError:
        raise
    except ImportError as error:
        what = {"parquet": "Parquet", "excel": "Excel"}[extra]
        raise UserError(f'{path}: {what} files need a further package; pip install "longcut[{extra}]".') from error
    except Exception as error:  # of parsers of several packages: the list is not ours to keep
        why = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path} is not a table that can be read ({why}); repair or convert it.") from error
    names = [str(name) for name in frame.columns]
    return Table(
        names, iter([cast(pd.DataFrame, frame.set_axis(range(len(names)), axis=1))]), typed=True, attrs=frame.attrs
    )


def _parquet(path: Path) -> pd.DataFrame:
    import pyarrow.parquet as pq

    from longcut.sources.columnar import of_arrow

    return of_arrow(pq.read_table(path))


def _xlsx(path: Path) -> pd.DataFrame:
    import openpyxl
    import pandas as pd

    with closing(openpyxl.load_workbook(path, read_only=True, data_only=True)) as book:
        sheets = book.worksheets
        rows = [row for row in sheets[0].iter_rows(values_only=True) if any(cell is not None for cell in row)]
        names = [sheet.title for sheet in sheets[1:] if any(cell is not None for row in sheet.values for cell in row)]
    if names:
        also = ", ".join(f"'{name}'" for name in names)
        warnings.warn(f"{path}: sheet '{sheets[0].title}' was read, and not {also}.", stacklevel=4)
    if not rows:
        raise UserError(f"{path} is empty; give a line of column names, and rows.")
    names = [f"{NAMELESS}{i}" if name is None else str(name) for i, name in enumerate(rows[0])]
    columns = {i: pd.Series([row[i] for row in rows[1:]], dtype=object) for i in range(len(names))}
    return pd.DataFrame(columns).set_axis(names, axis=1)


def _json(path: Path) -> pd.DataFrame:
    """Objects of names and values, one in each line, or all in one list."""
    import pandas as pd

    with content(path) as file:
        text = io.TextIOWrapper(file, "utf-8-sig")  # which has a name, so that it outlives the loop, and closes nothing
        if kind_of(path) == ".json":
            if not isinstance(found := json.load(text), list):
                raise UserError(f"{path} holds no list; write a list of objects of names and values.")
            rows = [("element", number, row) for number, row in enumerate(found, 1)]
        else:
            rows = [("line", number, json.loads(line)) for number, line in enumerate(text, 1) if line.strip()]
    for what, number, row in rows:
        if not isinstance(row, dict):
            one = "write one in each line" if what == "line" else "write a list of them"
            raise UserError(f"{path}: {what} {number} is no object of names and values; {one}.")
    if not rows:
        raise UserError(f"{path} is empty; give a line for each row.")
    names = list(dict.fromkeys(name for *_, row in rows for name in row))
    columns = [pd.Series([row.get(name) for *_, row in rows], dtype=object) for name in names]
    return pd.DataFrame(dict(enumerate(columns))).set_axis(names, axis=1)


# --- text -------------------------------------------------------------------------------------------------------------


def _text(path: Path, kind: str, form: Form) -> Table:
    """A file of text with separators."""
    import pandas as pd

    charset = form.charset or "utf-8"
    try:
        "".encode(charset)
    except LookupError:
        raise UserError(
            f"encoding '{charset}' is not known; give one such as utf-8, latin-1, cp1252 or utf-16."
        ) from None
    try:
        separator, notes = separator_of(path, kind, form, charset)
        how: dict[str, Any] = {
            "sep": separator,
            "encoding": charset,
            "header": None,
            "skiprows": form.skip,
            "dtype": str,
            "keep_default_na": False,
            "compression": "gzip" if path.suffix.lower() == ".gz" else None,
        }
        quoted = not (separator == "\t" and kind == ".tsv")
        how |= {"skipinitialspace": separator not in ("\t", r"\s+")} if quoted else {"quoting": csv.QUOTE_NONE}
        first = pd.read_csv(path, nrows=2, **how)  # fails if a row is longer than the header
        header = 0 if form.names is None else None
        if header is None:
            names = split_names(str(form.names))
            if len(names) != first.shape[1]:
                raise UserError(
                    f"{path} has {first.shape[1]} columns, and {len(names)} names are given; give one for each, joined "
                    "by commas, with --names."
                )
        else:
            names = [name or f"{NAMELESS}{i}" for i, name in enumerate(first.iloc[0].fillna(""))]
            if _like_data(first):
                notes += ["holds numbers in its first line, which was taken for the names of the columns (--names)"]
        how |= {"header": header, "names": range(len(names))}
        blocks = _blocks(path, len(names), how)
        if not quoted:
            names = [*map(_bare, names)]
            blocks = map(_unquoted, blocks)
        return Table(names, _guarded(path, blocks, charset), False, tuple(notes), comma=separator == ";")
    except Exception as error:
        raise _told(path, error, charset) from error


def _guarded(path: Path, blocks: Iterator[pd.DataFrame], charset: str) -> Iterator[pd.DataFrame]:
    try:
        yield from blocks
    except Exception as error:
        raise _told(path, error, charset) from error


def _blocks(path: Path, columns: int, how: dict[str, Any]) -> Iterator[pd.DataFrame]:
    """All columns at once, or where that would be many cells of text, some at a time."""
    import pandas as pd

    size = path.stat().st_size * (8 if how["compression"] else 1)
    width = max(1, columns * CELLS // max(size // 4, 1))
    for start in range(0, columns, width):
        some = range(start, min(start + width, columns))
        yield pd.read_csv(path, usecols=list(some) if len(some) < columns else None, low_memory=False, **how)


def _unquoted(block: pd.DataFrame) -> pd.DataFrame:
    """Columns in which every cell stands in quotation marks, as some programs write texts, without them."""
    for name in block.columns:
        bare: Any = block[name].map(_bare, na_action="ignore")
        if ((bare != block[name]) | (bare == "")).all():
            block[name] = bare
    return block


def _bare(cell: str) -> str:
    return cell[1:-1].replace('""', '"') if len(cell) > 1 and cell[0] == cell[-1] == '"' else cell


def _like_data(first: pd.DataFrame) -> bool:
    """Whether the line of names has numbers where the next line has some, other than positions."""

    def number(cell: Any) -> float | None:
        try:
            return float(cell)
        except (TypeError, ValueError):
            return None

    cells = [[number(cell) for cell in row] for row in first.to_numpy().tolist()]
    if len(cells) < 2:
        return False
    both = [name for name, below in zip(*cells, strict=True) if name is not None and below is not None]
    steps = {after - before for before, after in pairwise(both)}
    return bool(both) and not (steps <= {1.0} and all(name.is_integer() for name in both) and both[0] in (0.0, 1.0))


def _told(path: Path, error: Exception, charset: str) -> UserError:
    """What a parser said, in one sentence."""
    import pandas as pd

    if isinstance(error, UserError):
        return error
    if isinstance(error, UnicodeError):
        if charset.lower().replace("_", "-") not in ("utf-8", "utf8"):
            return UserError(f"{path} is not {charset} text; give the encoding that it is saved in.")
        with content(path) as file:
            likely = "utf-16" if file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "latin-1"
        return UserError(
            f"{path} is not UTF-8 text: {_bad_bytes(path)}; save it as UTF-8, or give its encoding, such as --encoding "
            f"{likely}."
        )
    if isinstance(error, pd.errors.EmptyDataError):
        return UserError(f"{path} is empty; give a line of column names, and rows.")
    why = " ".join(str(error).split()) or type(error).__name__
    return UserError(
        f"{path} is not a table that can be read ({why}); repair or convert it, or where the table begins further down "
        "or is separated otherwise, say --skip LINES or --separator."
    )


def _bad_bytes(path: Path) -> str:
    with content(path) as file:
        before = 0
        for line, raw in enumerate(file, 1):
            try:
                raw.decode()
            except UnicodeDecodeError as error:
                return f"byte {before + error.start + 1}, in line {line}, is 0x{raw[error.start]:02x}"
            before += len(raw)
    return "it ends within a character"


# --- names ------------------------------------------------------------------------------------------------------------


def check_names(names: Sequence[str], where: str) -> None:
    """Refuse columns of the same name."""
    doubled = [name for name, count in Counter(names).items() if count > 1]
    if doubled:
        listed = ", ".join(f"'{name}'" for name in doubled)
        raise UserError(f"{where} has more than one column named {listed}; rename or drop all but one.")
