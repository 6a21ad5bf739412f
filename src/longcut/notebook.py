"""How results show themselves in a notebook: one small table of escaped text, without scripts or styles of its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

__all__ = ["shown", "trained"]

ROWS, EPOCHS = 30, 5


def shown(title: str, rows: Sequence[Mapping[str, Any]], *, notes: Iterable[str] = ()) -> str:
    """A title, notes and a table of rows with the same keys, as HTML; of many rows the first thirty.

    >>> shown("<b>", [{"a": 1.23456, "b": None}])
    '<p><strong>&lt;b&gt;</strong></p><table><thead><tr><th>a</th><th>b</th></tr></thead><tbody><tr><td>1.23</td><td>–</td></tr></tbody></table>'
    """
    head = f"<p><strong>{escape(title)}</strong></p>" + "".join(f"<p>{escape(note)}</p>" for note in notes if note)
    if not rows:
        return head
    names = "".join(f"<th>{escape(str(name))}</th>" for name in rows[0])
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(_text(value))}</td>" for value in row.values()) + "</tr>" for row in rows[:ROWS]
    )
    table = f"<table><thead><tr>{names}</tr></thead><tbody>{body}</tbody></table>"
    return head + table + (f"<p>… and {len(rows) - ROWS} more</p>" if len(rows) > ROWS else "")


def trained(method: Any, epoch: int, history: Sequence[Mapping[str, Any]]) -> str:
    """A trained method and its last epochs, with the metrics that are defined.

    Args:
        method: with its weights in ``net``.
        epoch: that the weights are from.
        history: a row per epoch: ``epoch, loss``, and metrics in ``valid`` and ``test``.
    """
    rows = [
        {"epoch": row["epoch"], "loss": row["loss"]}
        | {f"{part} {name}": value for part in ("valid", "test") for name, value in (row.get(part) or {}).items()}
        for row in history[-EPOCHS:]
    ]
    names = dict.fromkeys(name for row in rows for name, value in row.items() if value is not None and value == value)
    size = sum(weight.numel() for weight in method.net.parameters())
    note = f"{size:,} parameters; the weights of epoch {epoch} of {len(history)}."
    return shown(type(method).__name__, [{name: row.get(name) for name in names} for row in rows], notes=[note])


def _text(value: Any) -> str:
    """Three digits, and a dash for what is not defined."""
    if isinstance(value, float):
        return "–" if value != value else f"{value:.3g}"
    return "–" if value is None else str(value)
