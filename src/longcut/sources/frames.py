"""Files of tables: CSV, TSV and Parquet, as frames."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Container, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from longcut.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["NAMELESS", "check_names", "read_frame"]

EMPTY = ("", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "null", "NULL", "None")  # cells of a missing value
NAMELESS = "Unnamed: "  # how pandas begins the name of a column without one, such as the index that it saved


def read_frame(path: Path, verbatim: Container[str | None], categorical: Container[str]) -> pd.DataFrame:
    """The rows of a file; ``verbatim`` columns are text even where they say NA, ``categorical`` where they say 1."""
    import pandas as pd

    kind = path.suffix.lower()
    if kind not in (".csv", ".tsv", ".parquet"):
        raise UserError(f"{path}: a table is a .csv, .tsv or .parquet file, not '{path.suffix}'; convert or rename it.")
    if not path.is_file():
        raise UserError(f"{path}: there is no such file; give the path of a table.")
    try:
        if kind == ".parquet":
            return pd.read_parquet(path)
        how: dict[str, Any] = {"encoding": "utf-8", "low_memory": False, "keep_default_na": False}
        how |= {"sep": "\t", "quoting": csv.QUOTE_NONE} if kind == ".tsv" else {"skipinitialspace": True}
        first = pd.read_csv(path, header=None, nrows=2, dtype=str, **how)  # fails if a row is longer than the header
        names = [name or f"{NAMELESS}{i}" for i, name in enumerate(first.iloc[0])]
        check_names(names, str(path))  # pandas would rename what is doubled
        return pd.read_csv(
            path,
            header=0,
            names=names,
            dtype={name: str for name in names if name in verbatim or name in categorical},
            na_values={name: EMPTY for name in names if name not in verbatim},
            **how,
        )
    except UserError:  # is a ValueError too
        raise
    except ImportError as error:
        raise UserError(f'{path}: Parquet files need a further package; pip install "longcut[parquet]".') from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text: {_bad_bytes(path)}; save it as UTF-8.") from error
    except pd.errors.EmptyDataError as error:
        raise UserError(f"{path} is empty; give a line of column names, and rows.") from error
    except (ValueError, OSError) as error:  # of the parsers: pandas' and pyarrow's own are kinds of ValueError
        why = " ".join(str(error).split())
        raise UserError(f"{path} is not a table that can be read ({why}); repair or convert it.") from error


def check_names(names: Iterable[str], where: str) -> None:
    """Refuse columns of the same name."""
    doubled = [name for name, count in Counter(names).items() if count > 1]
    if doubled:
        listed = ", ".join(f"'{name}'" for name in doubled)
        raise UserError(f"{where} has more than one column named {listed}; rename or drop all but one.")


def _bad_bytes(path: Path) -> str:
    with path.open("rb") as file:
        before = 0
        for line, raw in enumerate(file, 1):
            try:
                raw.decode()
            except UnicodeDecodeError as error:
                return f"byte {before + error.start + 1}, in line {line}, is 0x{raw[error.start]:02x}"
            before += len(raw)
    return "it ends within a character"
