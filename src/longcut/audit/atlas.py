"""What a page needs to let people explore all audited samples: ``atlas.safetensors`` in the audit folder.

Samples stand in the order of interest, suspects first, the rest as drawn by lot, so that of a large set the first ones
have pictures. Everything is small: pictures are tiles of one sheet, texts are cut, numbers have five digits.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from longcut.audit.noise import CONFLICTING, MISLABELLED, TYPICAL, UNCLEAR

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from longcut.audit.whole import Audit

__all__ = ["FILE", "KINDS", "gather", "opened"]

FILE = "atlas.safetensors"
KINDS = (TYPICAL, CONFLICTING, MISLABELLED, UNCLEAR)
MOST = 20_000  # samples
TILES = ((800, 64), (2000, 48), (4000, 32))  # up to so many pictures are of so many pixels; a sheet holds no more
ACROSS = 40  # tiles in a row of the sheet
LETTERS, SHORTEST, LONGEST = 1_800_000, 90, 240  # of all texts together, and of each
COLUMNS = 12


def gather(audit: Audit) -> dict[str, Tensor]:
    """The columns, with one row for each of ``n`` samples, at most 20,000.

    Returns:
        ``index, label, score, kind (n,)``, ``attribute (n,)`` where it is known of some, ``profile (n, C)``; of the
        biased, the ordinary and the debiased model, which did not see the sample, the class that it ``said`` and how
        ``sure`` it was of it ``(n, 3)``; the ``codes (n, k)`` of the values of columns; ``words``, JSON in UTF-8; and
        perhaps ``sheet``, an image file.
    """
    judged, view = audit.judged, audit.view
    suspects = np.flatnonzero(judged.suspected)
    suspects = suspects[np.argsort(-judged.score[suspects], kind="stable")]
    rows = np.concatenate([suspects, view.random(7).permutation(np.flatnonzero(~judged.suspected))])[:MOST]
    models = (judged.easy, judged.ordinary, judged.debiased)
    columns: dict[str, NDArray[Any]] = {
        "index": view.data.index.numpy()[rows],
        "label": judged.label[rows],
        "score": judged.score[rows],
        "kind": np.array([KINDS.index(kind) for kind in audit.kinds[rows]], np.uint8),
        "profile": judged.profile[rows],
        "said": np.stack([model.argmax(1)[rows] for model in models], 1).astype(np.int32),
        "sure": np.stack([model.max(1)[rows] for model in models], 1),
    }
    if view.attribute is not None:
        columns["attribute"] = view.attribute[rows]
    words, columns["codes"] = _words(audit, rows)
    sheet, size = _sheet(audit, rows)
    if sheet:
        columns["sheet"] = np.frombuffer(sheet, np.uint8)
    columns["words"] = np.frombuffer(json.dumps(words | size).encode("utf-8", "backslashreplace"), np.uint8)
    return {name: torch.from_numpy(np.array(column)) for name, column in columns.items()}


def opened(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """The columns of :func:`gather` as arrays, with ``words`` read and ``sheet`` as bytes.

    Raises:
        ValueError: when they do not fit together.
        KeyError: when one is missing.
    """
    found: dict[str, Any] = {name: column.numpy() for name, column in tensors.items()}
    words = found["words"] = json.loads(found["words"].tobytes())
    if "sheet" in found:
        found["sheet"] = found["sheet"].tobytes()
    n, classes = found["profile"].shape
    shapes = {"index": (n,), "label": (n,), "score": (n,), "kind": (n,), "said": (n, 3), "sure": (n, 3)}
    shapes |= {"codes": (n, len(words["columns"])), **({"attribute": (n,)} if "attribute" in found else {})}
    below = {"label": classes, "said": classes, "kind": len(KINDS), "index": 2**32, "attribute": 2**16}
    sizes = [len(words[name]) for name in ("names", "texts") if words[name] is not None]
    fits = all(found[name].shape == shape for name, shape in shapes.items()) and sizes in ([], [n])
    fits &= all(found[name].max() < most for name, most in below.items() if name in found)
    fits &= all(found[name].min() >= 0 for name in ("index", "label", "said"))
    fits &= all(np.isfinite(found[name]).all() for name in ("profile", "score", "sure"))
    fits &= all(
        codes.min() >= 0 and codes.max() < len(values)
        for codes, values in zip(found["codes"].T, words["values"], strict=True)
    )
    if not fits or n < 2:
        raise ValueError("columns that do not fit together")
    return found


def _words(audit: Audit, rows: NDArray[np.int64]) -> tuple[dict[str, Any], NDArray[np.int32]]:
    """Names, texts and values of columns, as far as there are any, and the number of each sample's value."""
    source, nothing = audit.view.source, np.zeros((len(rows), 0), np.int32)
    words: dict[str, Any] = {"names": None, "texts": None, "columns": [], "values": []}
    if source is None:
        return words, nothing
    frame = source.rows.iloc[audit.view.data.index.numpy()[rows]]
    if source.image is not None:
        words["names"] = [str(name).encode("utf-8", "backslashreplace").decode() for name in frame[source.image]]
    elif source.text:
        most = int(np.clip(LETTERS / len(rows), SHORTEST, LONGEST))
        columns = (frame[name] for name in source.text)
        texts = (" / ".join(map(str, parts)) for parts in zip(*columns, strict=True))
        words["texts"] = [text if len(text) <= most else text[: most - 1] + "…" for text in texts]
    elif source.features:
        words["columns"] = list(source.features[:COLUMNS])
        found = [_coded(frame[name]) for name in words["columns"]]
        words["values"] = [values for values, _ in found]
        return words, np.stack([codes for _, codes in found], 1)
    return words, nothing


def _coded(column: pd.Series) -> tuple[list[str], NDArray[np.int32]]:
    """The different values, as they are read, and the number of each one's."""
    import pandas as pd

    def written(value: Any) -> str:
        if value is None or value is pd.NaT or value is pd.NA or value != value:
            return ""
        return f"{value:.5g}" if isinstance(value, float) else str(value)

    codes, values = pd.factorize(pd.Series([written(value) for value in column], dtype=object))
    return [str(value) for value in values], codes.astype(np.int32)


def _sheet(audit: Audit, rows: NDArray[np.int64]) -> tuple[bytes, dict[str, int]]:
    """The pictures of the first samples as tiles of one image, and what to know to find them; nothing without any."""
    from PIL import Image

    many, side = next(((many, side) for many, side in TILES if len(rows) <= many), TILES[-1])
    rows = rows[:many]
    sheet = Image.new("RGB", (side * min(ACROSS, len(rows)), side * -(-len(rows) // ACROSS)))
    for start in range(0, len(rows), 64):
        x = audit.view.data.seen(torch.from_numpy(rows[start : start + 64]))
        if x is None:
            return b"", {}
        pixels = (x.clamp(0, 1) * 255).round().to(torch.uint8)
        pixels = pixels.expand(-1, 3, -1, -1) if pixels.shape[1] < 3 else pixels[:, :3]
        for i, picture in enumerate(pixels.permute(0, 2, 3, 1).numpy(), start):
            small = Image.fromarray(np.ascontiguousarray(picture))
            how = Image.Resampling.BOX if side < max(small.size) else Image.Resampling.NEAREST
            small = small.resize(_fitted(small.size, side), how)
            sheet.paste(small, (i % ACROSS * side, i // ACROSS * side))
    buffer = io.BytesIO()
    sheet.save(buffer, "webp", quality=75)
    return buffer.getvalue(), {"side": side, "across": min(ACROSS, len(rows)), "pictured": len(rows)}


def _fitted(size: tuple[int, int], side: int) -> tuple[int, int]:
    """As large as a tile holds, sides in proportion.

    >>> _fitted((28, 14), 64)
    (64, 32)
    """
    return max(1, side * size[0] // max(size)), max(1, side * size[1] // max(size))
