"""Things that are nearly right: tables, arrays and specs, from a ``random.Random``."""

from __future__ import annotations

import io
import random
from collections.abc import Sequence
from typing import Any

import mutate
import numpy as np
import pandas as pd

CELLS = (
    "", " ", "NaN", "nan", "NA", "None", "-", "?", "n.d.", "0", "-0", "007", "1e3", "1e400", "-1e400", "inf", "1,5",
    "1.234,5", "12 kg", "9007199254740993", "0x1F", "1_000", "TRUE", "true", "2020-02-30", "12:61", "[/]", "=1+1",
    "<b>", "a\nb", "a\rb", "\t", "\x00", "\x1b[31m", "\u202e", "é", "e\u0301", "漢字", "\U0001f600", "'", '"', '""',
    "%2C", "%", ",", ";", "../x", "/etc/passwd", "~", "a" * 5000, "١٢", "½", "−1", "1\u00a0000",
)  # fmt: skip
NUMBERS = (
    "0", "1", "-1", "2", "0.5", "-0.5", "1e-30", "1e30", "1e400", "nan", "inf", "-inf", "", " ", "none", "true", "auto",
    "0x10", "1_0", "1,0", "99999", "1-2", "a", "ü", "=", ":", "%2C", "--",
)  # fmt: skip


def content(data: bytes, draw: random.Random) -> bytes:
    """A file damaged in one of the ways files are."""
    return draw.choice(list(mutate.BYTES.values()))(data, draw)


def table(draw: random.Random, columns: Sequence[str], n: int = 40) -> tuple[list[str], list[list[str]]]:
    """A small table with two classes, some of whose cells, rows and headings are not as they should be."""
    head = [*columns]
    rows = [[f"{draw.gauss(0, 1):.1f}" for _ in columns[:-2]] + ["ab"[i % 2], "xy"[i // 2 % 2]] for i in range(n)]
    for _ in range(draw.choice((0, 1, 1, 2, 6))):
        row, column = draw.randrange(len(rows)), draw.randrange(len(head))
        match draw.randrange(9):
            case 0 | 1 | 2:
                rows[row][column] = draw.choice(CELLS)
            case 3:
                every = draw.choice(CELLS)
                for one in rows:
                    one[column] = every
            case 4:
                for one in rows:
                    one[column] = draw.choice(CELLS)
            case 5:
                head[column] = draw.choice((*CELLS, *columns))
            case 6:
                rows[row] = [*rows[row]]
                rows[row].append(draw.choice(CELLS))
                break
            case 7:
                rows[row].pop()
                break
            case 8:
                del rows[draw.choice((0, 1, 2, 3)) :]
                break
    return head, rows


def typed(draw: random.Random, n: int = 40) -> np.ndarray[Any, Any]:
    """An array ``(n, …)`` of some kind and shape, now and then with values that are no use."""
    shape = draw.choice(
        [(n, 3)] * 12 + [(n,), (n, 1), (n, 0), (0, 3), (n, 2, 2), (n, 3, 4, 4), (n, 1, 1, 1), (n, 4, 4, 7), ()]
    )
    kind = draw.choice(
        ["f4"] * 8 + ["f8", "f2", "i8", "i4", "u1", "b1", "u8", "c16", "O", "U3", "S2", "M8[s]", ">f8", "i1"]
    )
    if kind in ("O", "U3", "S2", "M8[s]"):
        return np.zeros(shape, kind)
    values = np.random.default_rng(draw.randrange(1 << 30)).normal(size=shape) * draw.choice((1, 3, 1e30, 1e300, 0))
    with np.errstate(all="ignore"):
        made = values.astype(kind)
    if kind.endswith(("f4", "f8", "f2")) and made.size and draw.random() < 0.15:
        made.flat[draw.randrange(made.size)] = draw.choice((np.nan, np.inf, -np.inf))
    return made


def labels(draw: random.Random, n: int = 40) -> np.ndarray[Any, Any]:
    """Labels that mostly are classes."""
    if draw.random() < 0.2:
        return typed(draw, n)
    made = np.arange(n) % draw.choice((1, *[2] * 8, 3, n))
    return draw.choice(
        [made] * 5 + [made.astype(float), made.astype(str), made - 1, made * 10**12, made[: n - 1], made[:, None]]
    )


def archive(draw: random.Random) -> bytes:
    """An ``.npz`` file."""
    out = io.BytesIO()
    arrays: dict[str, Any] = {"x": typed(draw), "label": labels(draw)}
    for name in draw.sample(["attribute", "split", "encoder", "y", "X"], draw.randrange(3)):
        arrays[name] = draw.choice([typed, labels])(draw)
    if draw.random() < 0.05:
        del arrays[draw.choice([*arrays])]
    np.savez(out, **arrays)
    return content(out.getvalue(), draw) if draw.random() < 0.15 else out.getvalue()


def frame_bytes(head: Sequence[str], rows: Sequence[Sequence[str]], kind: str, draw: random.Random) -> bytes:
    """A table as a file of a kind, in some encoding."""
    if kind == "parquet":
        width = max([len(head), *map(len, rows)])
        names = list(dict.fromkeys([*head, *(f"more{i}" for i in range(width))]))[:width]
        frame = pd.DataFrame([[*row, *[None] * (width - len(row))] for row in rows], columns=names, dtype=object)
        for name in names:
            if draw.random() < 0.5:
                frame[name] = pd.to_numeric(frame[name], errors="coerce")
        out = io.BytesIO()
        frame.to_parquet(out)
        return out.getvalue()
    between = {"tsv": "\t", "csv": draw.choice(",,,,,,,;|")}[kind]
    quoted = [
        '"' + cell.replace('"', '""') + '"' if draw.random() < 0.2 else cell for row in (head, *rows) for cell in row
    ]
    lines, start = [], 0
    for row in (head, *rows):
        lines.append(between.join(quoted[start : start + len(row)]))
        start += len(row)
    text = draw.choice(("\n", "\n", "\n", "\r\n", "\r")).join(lines) + "\n"
    encoding = draw.choice(("utf-8",) * 8 + ("utf-8-sig", "utf-16", "latin-1", "cp1252"))
    return text.encode(encoding, errors="replace")


def spec(text: str, draw: random.Random) -> str:
    """A spec or a recipe's name with characters, words or values changed."""
    for _ in range(draw.choice((1, 1, 2, 3))):
        at = draw.randrange(len(text) + 1)
        match draw.randrange(6):
            case 0:
                text = text[:at] + draw.choice(":,=@%+-./~ \n\x00üé[]{}'\"") + text[at:]
            case 1:
                text = text[:at] + text[at + draw.choice((1, 2, 8)) :]
            case 2:
                text = text[:at] + draw.choice(NUMBERS) + text[at:]
            case 3 | 4:
                key, equals, _ = text.rpartition("=")
                text = key + equals + draw.choice(NUMBERS) if equals else text + draw.choice(NUMBERS)
            case 5:
                text += (
                    draw.choice((",", ":"))
                    + draw.choice(("a", "lr", "epochs", "seed", "path"))
                    + "="
                    + draw.choice(NUMBERS)
                )
    return text
