"""The page on which attributes are looked up: one file, which works from the file system and without a network."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from markupsafe import Markup

from longcut.lookup.answers import name_of
from longcut.report import embed
from longcut.report.template import plain, whole
from longcut.sources.images import squares

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from longcut.data import Dataset

__all__ = ["Shown", "page", "shown"]

PIXELS, SMALL = 256, 64
CELLS = 12


@dataclass(frozen=True)
class Shown:
    """A sample as the page shows it: a picture, a text, or some cells of a table as pairs of column and value."""

    row: int
    name: str
    label: str
    score: str
    drawn: str
    uri: str | None = None
    small: bool = False
    text: str | None = None
    cells: list[tuple[str, str]] = field(default_factory=list)


def shown(data: Dataset, positions: Iterable[int], said: Iterable[tuple[str, str]]) -> list[Shown]:
    """The samples at these positions of ``data``, each with the score and the word on its choice for its answer."""
    source, info, found = data.source, data.info, []
    for position, (score, drawn) in zip(positions, said, strict=True):
        row = int(data.index[position])
        uri = text = None
        cells: list[tuple[str, str]] = []
        x = _picture(data, position)
        if x is not None:
            uri = embed.uri(x if len(x) == 1 else x[:3], PIXELS)
        elif source is not None and source.text:
            text = " / ".join(str(source.rows[name].iloc[row]) for name in source.text)
        elif source is not None and source.features:
            cells = [(name, str(source.rows[name].iloc[row])) for name in source.features[:CELLS]]
        small = x is not None and max(x.shape[1:]) <= SMALL
        label = info.class_names[int(data.label[position])]
        found.append(Shown(row, name_of(data, row), label, score, drawn, uri, small, text, cells))
    return found


def _picture(data: Dataset, position: int) -> NDArray[np.uint8] | None:
    """The sample's picture ``(C, H, W)``: from its file, where there is one, as large as the page shows it."""
    source = data.source
    if source is not None and source.image and source.root:
        path = str(source.rows[source.image].iloc[int(data.index[position])])
        return squares([path], Path(source.root), resize=PIXELS, crop=PIXELS)[0]
    x = data.seen(torch.tensor([position]))
    return None if x is None else (x[0].clamp(0, 1) * 255).round().to(torch.uint8).numpy()


def page(title: str, attribute: str, values: Sequence[str], samples: Sequence[Shown]) -> str:
    """The HTML. What is answered is kept in the browser under a name that depends on what is asked.

    Args:
        title: of the page.
        attribute: what the attribute is called.
        values: that it may have; the first nine have the keys 1 to 9.
        samples: to look up, in this order.
    """
    asked = json.dumps([title, list(values), [(one.row, one.name, one.label) for one in samples]])
    key = f"longcut-{hashlib.sha256(asked.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}"
    data = {"key": key, "values": list(values), "attribute": attribute, "samples": [asdict(one) for one in samples]}
    return whole("lookup.html.j2", "lookup.js", title=title, attribute=attribute, data=Markup(plain(data)))
